//! Implicit ALS against `implicit` on a generated log: seconds per iteration, the loss they reach,
//! and seconds for the top 10 of every user.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin als_speed -- --python python3
//! ```
//!
//! 100,000 users × 20,000 items, 5 million draws: users by a Pareto law of exponent 1.2, items by
//! 1 / (rank + 10)^0.9. Both sides minimise the same loss (confidence 2 where something was drawn,
//! λ = 5) with three steps of conjugate gradients on the same number of threads, and take turns;
//! medians are reported. A ratio above 1 means that ours is faster. Without Python only our side
//! runs.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use refrain::data::Interactions;
use refrain::recommenders::{Als, Confidence, Query, Recommender, Regularization, Solver};
use refrain::{Event, Monitor};
use refrain_benches::{Peer, forget_peak, generated_log, median, megabytes};
use serde::Deserialize;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(
    about = "Implicit ALS: seconds per iteration and per top 10 of all users, beside implicit"
)]
struct Arguments {
    /// A Python with implicit 0.7.3; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Lengths of the factors.
    #[arg(long, value_delimiter = ',', default_values_t = [64, 128, 256])]
    factors: Vec<usize>,
    /// Turns of each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Iterations in a turn; the first of a turn is not counted.
    #[arg(long, default_value_t = 4)]
    iterations: usize,
    /// Of the log and of both sides' first factors.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    #[arg(long, default_value_t = 20_000)]
    items: usize,
    #[arg(long, default_value_t = 5_000_000)]
    draws: usize,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.iterations < 2 || arguments.rounds == 0 {
        return Err("--iterations must be at least 2 and --rounds at least 1".into());
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let log = generated_log(
        arguments.users,
        arguments.items,
        arguments.draws,
        arguments.seed,
    )?;
    println!(
        "{} users × {} items, {} distinct pairs",
        log.n_users(),
        log.n_items(),
        log.len()
    );
    let mut peer = match &arguments.python {
        Some(python) => Some(Peer::start(
            python,
            "implicit_als_speed.py",
            arguments.threads,
            1,
            &log,
        )?),
        None => None,
    };
    compare(arguments, &log, peer.as_mut())
}

/// What one turn measured.
#[derive(Deserialize)]
struct Turn {
    /// Of each iteration.
    seconds: Vec<f64>,
    /// After the last one.
    loss: f64,
    /// What the fit added to resident memory at its peak; NaN where that is not known.
    #[serde(default = "nothing")]
    megabytes: f64,
    /// Top 10 of all users.
    top_seconds: f64,
}

fn nothing() -> f64 {
    f64::NAN
}

fn compare(
    arguments: &Arguments,
    log: &Interactions,
    mut peer: Option<&mut Peer>,
) -> Result<(), Box<dyn Error>> {
    println!(
        "{:>8} {:>22} {:>10} {:>10} {:>7}",
        "factors", "", "refrain", "implicit", "ratio"
    );
    for &factors in &arguments.factors {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            ours.push(our_turn(arguments, log, factors)?);
            if let Some(peer) = peer.as_deref_mut() {
                let (iterations, seed) = (arguments.iterations, arguments.seed);
                theirs.push(peer.turn(&format!("{factors} {iterations} {seed}"))?);
            }
        }
        let iteration = |turns: &[Turn]| {
            median(
                turns
                    .iter()
                    .flat_map(|turn| turn.seconds.iter().skip(1).copied())
                    .collect(),
            )
        };
        let top = |turns: &[Turn]| median(turns.iter().map(|turn| turn.top_seconds).collect());
        let memory = |turns: &[Turn]| median(turns.iter().map(|turn| turn.megabytes).collect());
        let loss = |turns: &[Turn]| turns.first().map_or(f64::NAN, |turn| turn.loss);
        for (name, a, b) in [
            (
                "seconds per iteration",
                iteration(&ours),
                iteration(&theirs),
            ),
            ("MB of a fit, peak", memory(&ours), memory(&theirs)),
            ("seconds for all top 10", top(&ours), top(&theirs)),
            ("loss / 10⁶", loss(&ours) / 1e6, loss(&theirs) / 1e6),
        ] {
            match peer {
                Some(_) => println!("{factors:>8} {name:>22} {a:>10.4} {b:>10.4} {:>7.2}", b / a),
                None => println!("{factors:>8} {name:>22} {a:>10.4}"),
            }
        }
        // Operations of a solver that works from the events (no matrix per row): in each of the 1 + 3
        // products of a row with its matrix, 4·f for an event and 2·f² for the row; and f² for each row
        // in the Gram matrix. At least one row of factors, 4·f bytes, is read for each event of each side.
        let (f, rows) = (factors as f64, (log.n_users() + log.n_items()) as f64);
        let (pairs, products) = (log.len() as f64, 4.0);
        let solve = products * (2.0 * pairs * 4.0 * f + rows * 2.0 * f * f) + rows * f * f;
        let bytes = 2.0 * pairs * 4.0 * f;
        // Whoever multiplies all users with all items does so many.
        let multiply = 2.0 * log.n_users() as f64 * log.n_items() as f64 * f;
        for (name, amount, seconds) in [
            (
                "GFLOP/s of iterations",
                solve,
                iteration as fn(&[Turn]) -> f64,
            ),
            ("GB/s of iterations", bytes, iteration),
            ("GFLOP/s of top 10", multiply, top),
        ] {
            let rate = |turns: &[Turn]| amount / seconds(turns) / 1e9;
            let (a, b) = (rate(&ours), rate(&theirs));
            match peer {
                Some(_) => println!("{factors:>8} {name:>22} {a:>10.1} {b:>10.1} {:>7.2}", a / b),
                None => println!("{factors:>8} {name:>22} {a:>10.1}"),
            }
        }
    }
    Ok(())
}

fn our_turn(
    arguments: &Arguments,
    log: &Interactions,
    factors: usize,
) -> Result<Turn, Box<dyn Error>> {
    let config = Als {
        factors,
        iterations: arguments.iterations,
        alpha: 1.0,
        confidence: Confidence::Binary,
        regularization: Regularization::Absolute(5.0),
        frequency_exponent: 0.0,
        solver: Solver::ConjugateGradient { steps: 3 },
        seed: arguments.seed,
        ..Als::default()
    };
    let times = Arc::new(Mutex::new(vec![Instant::now()]));
    let clock = times.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let (Event::Advance { .. }, Ok(mut times)) = (event, clock.lock()) {
            times.push(Instant::now());
        }
    });
    let before = megabytes("VmRSS").and_then(|before| forget_peak().map(|()| before));
    let model = config.fit_with(log, &monitor)?;
    let peak = before.and_then(|before| Ok(megabytes("VmHWM")? - before));
    let times = times.lock().map_err(|_| "a listener panicked")?;
    let seconds = times
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect::<Vec<f64>>();
    let everyone: Vec<u32> = (0..log.n_users() as u32).collect();
    let began = Instant::now();
    let lists = model.top(&everyone, &Query::top(10))?;
    let top_seconds = began.elapsed().as_secs_f64();
    assert_eq!(lists.len(), everyone.len());
    let loss = model.losses().last().copied().unwrap_or(f64::NAN);
    Ok(Turn {
        seconds,
        loss,
        megabytes: peak.unwrap_or_else(|_| nothing()),
        top_seconds,
    })
}
