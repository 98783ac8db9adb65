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
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use refrain::data::Interactions;
use refrain::recommenders::{Als, Confidence, Query, Recommender, Regularization, Solver};
use refrain::{Event, Monitor};
use refrain_benches::{generated_log, median};
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
    let folder = std::env::temp_dir().join(format!("als-speed-{}", std::process::id()));
    let mut peer = match &arguments.python {
        Some(python) => Some(Peer::start(python, arguments.threads, &folder, &log)?),
        None => None,
    };
    let result = compare(arguments, &log, peer.as_mut());
    drop(peer);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    result
}

/// What one turn measured.
#[derive(Deserialize)]
struct Turn {
    /// Of each iteration.
    seconds: Vec<f64>,
    /// After the last one.
    loss: f64,
    /// Top 10 of all users.
    top_seconds: f64,
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
                theirs.push(peer.turn(factors, arguments.iterations, arguments.seed)?);
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
        let loss = |turns: &[Turn]| turns.first().map_or(f64::NAN, |turn| turn.loss);
        for (name, a, b) in [
            (
                "seconds per iteration",
                iteration(&ours),
                iteration(&theirs),
            ),
            ("seconds for all top 10", top(&ours), top(&theirs)),
            ("loss / 10⁶", loss(&ours) / 1e6, loss(&theirs) / 1e6),
        ] {
            match peer {
                Some(_) => println!("{factors:>8} {name:>22} {a:>10.4} {b:>10.4} {:>7.2}", b / a),
                None => println!("{factors:>8} {name:>22} {a:>10.4}"),
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
    let model = config.fit_with(log, &monitor)?;
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
        top_seconds,
    })
}

/// `implicit` in a process of its own: one line per turn in, one line of JSON out.
struct Peer {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Peer {
    fn start(
        python: &Path,
        threads: usize,
        folder: &Path,
        log: &Interactions,
    ) -> Result<Self, Box<dyn Error>> {
        std::fs::create_dir_all(folder)?;
        let mut rows = BufWriter::new(File::create(folder.join("rows.i32"))?);
        let mut ends = BufWriter::new(File::create(folder.join("ends.i64"))?);
        let mut end = 0i64;
        for user in 0..log.n_users() as u32 {
            let (items, _) = log.user_items(user);
            for item in items {
                rows.write_all(&item.to_le_bytes())?;
            }
            end += items.len() as i64;
            ends.write_all(&end.to_le_bytes())?;
        }
        rows.flush()?;
        ends.flush()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/implicit_als_speed.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(folder)
            .args([
                "--threads",
                &threads.to_string(),
                "--items",
                &log.n_items().to_string(),
            ])
            .env("OPENBLAS_NUM_THREADS", "1")
            .env("MKL_NUM_THREADS", "1")
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_L2_SIZE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|e| format!("{}: {e}", python.display()))?;
        let input = process.stdin.take().ok_or("no standard input")?;
        let output = BufReader::new(process.stdout.take().ok_or("no standard output")?);
        Ok(Self {
            process,
            input,
            output,
        })
    }

    fn turn(
        &mut self,
        factors: usize,
        iterations: usize,
        seed: u64,
    ) -> Result<Turn, Box<dyn Error>> {
        writeln!(self.input, "{factors} {iterations} {seed}")?;
        self.input.flush()?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.is_empty() {
            return Err(format!("implicit ended: {}", self.process.wait()?).into());
        }
        Ok(serde_json::from_str(&line)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It is waiting for a line, or has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
