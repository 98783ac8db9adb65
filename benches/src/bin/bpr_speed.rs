//! BPR against `implicit` on a generated log: seconds per epoch, and what the epochs bought.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin bpr_speed -- --python python3
//! ```
//!
//! 100,000 users × 20,000 items, 5 million draws: users by a Pareto law of exponent 1.2, items by
//! 1 / (rank + 10)^0.9. A tenth of the pairs is held out. Both sides take the same steps (factors,
//! learning rate, regularisation, epochs, threads) and take turns; medians are reported. implicit
//! draws negatives by popularity, which is the first of our rows; NDCG@10 is that of the first 5,000
//! users with anything held out. A ratio above 1 means that ours is faster. Without Python only our
//! side runs.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use refrain::data::{Interactions, split};
use refrain::recommenders::{Bpr, Negatives, Query, Recommender};
use refrain::{Event, Monitor};
use refrain_benches::{Peer, generated_log, median};
use serde::Deserialize;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How many users are judged.
const JUDGED: usize = 5_000;

/// The best items of each user.
type Lists = Vec<Vec<u32>>;

#[derive(Parser)]
#[command(about = "BPR: seconds per epoch beside implicit")]
struct Arguments {
    /// A Python with implicit 0.7.3; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    #[arg(long, default_value_t = 64)]
    factors: usize,
    /// Turns of each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Epochs in a turn, at least 2.
    #[arg(long, default_value_t = 6)]
    epochs: usize,
    #[arg(long, default_value_t = 0.05)]
    learning_rate: f32,
    #[arg(long, default_value_t = 0.01)]
    regularization: f32,
    /// Of the log, the split and both sides' first factors.
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
    if arguments.epochs < 2 || arguments.rounds == 0 {
        return Err("--epochs must be at least 2 and --rounds at least 1".into());
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
    let (train, test) = split::random(&log, 0.1, arguments.seed)?;
    println!(
        "{} users × {} items, {} pairs to learn from",
        train.n_users(),
        train.n_items(),
        train.len()
    );
    let mut peer = match &arguments.python {
        Some(python) => Some(Peer::start(
            python,
            "implicit_bpr_speed.py",
            arguments.threads,
            1,
            &train,
        )?),
        None => None,
    };
    compare(arguments, &train, &test, peer.as_mut())
}

#[derive(Deserialize)]
struct Turn {
    /// Of each epoch.
    seconds: Vec<f64>,
}

fn compare(
    arguments: &Arguments,
    train: &Interactions,
    test: &Interactions,
    mut peer: Option<&mut Peer>,
) -> Result<(), Box<dyn Error>> {
    let kinds = [
        ("by popularity", Negatives::Popularity { power: 1.0 }),
        ("uniform", Negatives::Uniform),
        ("hardest of 6", Negatives::Hardest { of: 6 }),
    ];
    let mut ours = kinds.map(|_| (Vec::new(), 0.0));
    let mut theirs = (Vec::new(), 0.0);
    for _ in 0..arguments.rounds {
        for ((_, negatives), (seconds, ndcg)) in kinds.iter().zip(&mut ours) {
            let (turn, lists) = our_turn(arguments, train, *negatives)?;
            // The first epoch also fills the caches and the pages.
            seconds.extend(turn.seconds.into_iter().skip(1));
            *ndcg = judge(&lists, test);
        }
        if let Some(peer) = peer.as_deref_mut() {
            let Arguments {
                factors,
                epochs,
                learning_rate,
                regularization,
                seed,
                users,
                ..
            } = arguments;
            let users = JUDGED.min(*users);
            let turn: Turn = peer.turn(&format!(
                "{factors} {epochs} {learning_rate} {regularization} {seed} {users}"
            ))?;
            theirs.0.extend(turn.seconds);
            let bytes = std::fs::read(peer.folder().join("top.i32"))?;
            let numbers = bytes
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
            let flat: Vec<u32> = numbers.collect();
            let lists: Vec<Vec<u32>> = flat.chunks(10).map(<[u32]>::to_vec).collect();
            theirs.1 = judge(&lists, test);
        }
    }
    println!(
        "{:>24} {:>12} {:>10} {:>8}",
        "", "s per epoch", "NDCG@10", "ratio"
    );
    let them = median(theirs.0);
    for ((name, _), (seconds, ndcg)) in kinds.iter().zip(ours) {
        let us = median(seconds);
        let ratio = if them.is_nan() {
            String::new()
        } else {
            format!("{:.2}", them / us)
        };
        println!(
            "{:>24} {us:>12.4} {ndcg:>10.4} {ratio:>8}",
            format!("refrain, {name}")
        );
    }
    if !them.is_nan() {
        println!("{:>24} {them:>12.4} {:>10.4}", "implicit 0.7.3", theirs.1);
    }
    Ok(())
}

fn our_turn(
    arguments: &Arguments,
    log: &Interactions,
    negatives: Negatives,
) -> Result<(Turn, Lists), Box<dyn Error>> {
    let config = Bpr {
        factors: arguments.factors,
        epochs: arguments.epochs,
        learning_rate: arguments.learning_rate,
        regularization: arguments.regularization,
        negatives,
        seed: arguments.seed,
        ..Bpr::default()
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
    let pairs = times.windows(2);
    let seconds = pairs
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    let some: Vec<u32> = (0..JUDGED.min(log.n_users()) as u32).collect();
    let lists = model.top(&some, &Query::top(10))?;
    let lists = lists
        .into_iter()
        .map(|list| list.iter().map(|s| s.index).collect());
    Ok((Turn { seconds }, lists.collect()))
}

/// The mean NDCG@10 of the first users' lists, over users with anything held out.
fn judge(lists: &[Vec<u32>], test: &Interactions) -> f64 {
    let gain = |rank: usize| 1.0 / (rank as f64 + 2.0).log2();
    let (mut sum, mut users) = (0.0, 0usize);
    for (user, list) in (0u32..).zip(lists) {
        let (wanted, _) = test.user_items(user);
        if wanted.is_empty() {
            continue;
        }
        let hits = list
            .iter()
            .enumerate()
            .filter(|(_, item)| wanted.binary_search(item).is_ok());
        let found: f64 = hits.map(|(rank, _)| gain(rank)).sum();
        sum += found / (0..wanted.len().min(10)).map(gain).sum::<f64>();
        users += 1;
    }
    sum / users.max(1) as f64
}
