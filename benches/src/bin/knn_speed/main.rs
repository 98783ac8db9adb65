//! Item-kNN's fit against `implicit`, and EASE's against LAPACK.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin knn_speed -- --python python3
//! ```
//!
//! On the generated log of `als_speed`, and on MovieLens-100K (random 80 %, seed 42) where
//! REFRAIN_DATA holds it: cosine of raw weights with 50 neighbours beside implicit's
//! `CosineRecommender`, and BM25 beside its `BM25Recommender`. With `--ease N` also EASE on the N
//! most popular items: the whole fit, the Gram matrix in it, and what remains as GFLOP/s of the n³
//! multiply-adds that an inverse by Cholesky takes, beside LAPACK's spotrf and spotri in single
//! precision on a matrix of the same size. Both sides take turns on the same number of threads;
//! medians are reported. A ratio below 1 means that ours is faster. Without Python only our side
//! runs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Args, Parser};
use rand::RngExt;
use rand::seq::SliceRandom;
use refrain::data::datasets::MovieLens;
use refrain::data::{Interactions, split};
use refrain::recommenders::{Ease, ItemKnn, Similarity, Weighting};
use refrain::{Event, Monitor, rng};
use serde::Deserialize;

mod peer;

use peer::Peer;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Item-kNN's fit beside implicit, EASE's beside LAPACK")]
struct Arguments {
    /// A Python with implicit 0.7.3 and scipy; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// How many neighbours an item keeps.
    #[arg(long, default_value_t = 50)]
    neighbours: usize,
    /// Turns of each side.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// EASE on so many of the most popular items.
    #[arg(long, value_delimiter = ',')]
    ease: Vec<usize>,
    /// Leave the neighbours out.
    #[arg(long)]
    only_ease: bool,
    #[command(flatten)]
    generated: Generated,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let mut logs = vec![("generated", arguments.generated.log()?)];
    if let Some(data) = std::env::var_os("REFRAIN_DATA") {
        let movies = MovieLens::load(Path::new(&data).join("ml-100k"))?;
        logs.push(("ML-100K", split::random(&movies.ratings, 0.2, 42)?.0));
    }
    println!("seconds of a fit, {} threads", arguments.threads);
    for (name, log) in &logs {
        println!(
            "{name}: {} users × {} items, {} pairs",
            log.n_users(),
            log.n_items(),
            log.len()
        );
        let mut peer = match &arguments.python {
            Some(python) => Some(Peer::start(
                python,
                "knn_speed.py",
                arguments.threads,
                arguments.threads,
                log,
            )?),
            None => None,
        };
        if !arguments.only_ease {
            neighbours(arguments, log, peer.as_mut())?;
        }
        if *name == "generated" {
            for &items in &arguments.ease {
                ease(arguments, log, items, peer.as_mut())?;
            }
        }
    }
    Ok(())
}

#[derive(Deserialize)]
struct Took {
    seconds: f64,
    #[serde(default)]
    numpy_seconds: Option<f64>,
}

fn neighbours(
    arguments: &Arguments,
    log: &Interactions,
    mut peer: Option<&mut Peer>,
) -> Result<(), Box<dyn Error>> {
    let k = arguments.neighbours;
    let cosine = ItemKnn {
        neighbours: k,
        weighting: Weighting::Raw,
        similarity: Similarity::COSINE,
        ..ItemKnn::default()
    };
    let bm25 = ItemKnn {
        weighting: Weighting::Bm25 { k1: 1.2, b: 0.75 },
        ..cosine.clone()
    };
    for (name, config) in [("cosine", &cosine), ("bm25", &bm25)] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..arguments.rounds {
            let began = Instant::now();
            config.fit(log)?;
            ours.push(began.elapsed().as_secs_f64());
            if let Some(peer) = peer.as_deref_mut() {
                let took: Took = peer.turn(&format!("{name} {k}"))?;
                theirs.push(took.seconds);
            }
        }
        report(&format!("{name}, K {k}"), median(ours), median(theirs));
    }
    Ok(())
}

fn report(what: &str, ours: f64, theirs: f64) {
    match theirs.is_nan() {
        true => println!("  {what:24} refrain {ours:>9.3}"),
        false => println!(
            "  {what:24} refrain {ours:>9.3}   rival {theirs:>9.3}   ratio {:.2}",
            ours / theirs
        ),
    }
}

fn ease(
    arguments: &Arguments,
    log: &Interactions,
    items: usize,
    mut peer: Option<&mut Peer>,
) -> Result<(), Box<dyn Error>> {
    let mut counts = log.item_counts();
    counts.sort_unstable_by_key(|&count| std::cmp::Reverse(count));
    let bar = counts.get(items.saturating_sub(1)).copied().unwrap_or(0);
    let of = log.item_counts();
    let mut room = items;
    let mut kept = vec![false; log.n_items()];
    for (at, keep) in kept.iter_mut().enumerate() {
        *keep = of[at] > bar;
        room -= usize::from(*keep);
    }
    for (at, keep) in kept.iter_mut().enumerate() {
        if of[at] == bar && room > 0 {
            *keep = true;
            room -= 1;
        }
    }
    let log = log.filter(|e| kept[e.item as usize])?.compact()?;
    let n = log.n_items();
    let (mut gram, mut rest, mut lapack, mut numpy) = (vec![], vec![], vec![], vec![]);
    for _ in 0..arguments.rounds {
        let began = Instant::now();
        let half = std::sync::Arc::new(std::sync::Mutex::new(began));
        let clock = half.clone();
        // The Gram matrix advances item by item; the inverse follows.
        let monitor = Monitor::new(move |event: &Event<'_>| {
            if let (Event::Advance { .. }, Ok(mut at)) = (event, clock.lock()) {
                *at = Instant::now();
            }
        });
        let model = Ease {
            max_memory: u64::MAX,
            ..Ease::default()
        };
        drop(model.fit_with(&log, &monitor)?);
        let ended = Instant::now();
        let half = *half.lock().map_err(|_| "a listener panicked")?;
        gram.push((half - began).as_secs_f64());
        rest.push((ended - half).as_secs_f64());
        if let Some(peer) = peer.as_deref_mut() {
            let took: Took = peer.turn(&format!("inverse {n}"))?;
            lapack.push(took.seconds);
            numpy.extend(took.numpy_seconds);
        }
    }
    let (gram, rest, lapack) = (median(gram), median(rest), median(lapack));
    let rate = |seconds: f64| 2.0 * (n as f64).powi(3) / seconds / 1e9;
    report(&format!("EASE {n}: Gram matrix"), gram, f64::NAN);
    report(&format!("EASE {n}: the rest"), rest, lapack);
    println!(
        "  GFLOP/s of the inverse: ours {:.0}, LAPACK {:.0}; numpy.linalg.inv {:.2} s",
        rate(rest),
        rate(lapack),
        median(numpy)
    );
    Ok(())
}

/// A log to generate: users by a Pareto law of exponent 1.2, items by 1 / (rank + 10)^0.9.
#[derive(Args, Debug, Clone)]
struct Generated {
    /// Of the log, and of whatever else is drawn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many users there are.
    #[arg(long, default_value_t = 100_000)]
    users: usize,
    /// How many items there are.
    #[arg(long, default_value_t = 20_000)]
    items: usize,
    /// How many events are drawn; a pair drawn again adds to its weight.
    #[arg(long, default_value_t = 5_000_000)]
    draws: usize,
}

impl Generated {
    /// Draws the log.
    ///
    /// # Errors
    /// None that these settings can cause.
    fn log(&self) -> Result<Interactions, Box<dyn Error>> {
        let mut rng = rng::stream(self.seed, 0);
        let users: Vec<f64> = (0..self.users)
            .map(|_| (1.0 - rng.random::<f64>()).powf(-1.0 / 1.2))
            .collect();
        let mut items: Vec<f64> = (0..self.items)
            .map(|rank| (rank as f64 + 10.0).powf(-0.9))
            .collect();
        items.shuffle(&mut rng);
        let (users, items) = (cumulated(&users), cumulated(&items));
        let mut draw = |sums: &[f64]| {
            let at = rng.random::<f64>() * sums.last().copied().unwrap_or_default();
            sums.partition_point(|&sum| sum <= at)
        };
        let draws = (0..self.draws).map(|_| (draw(&users), draw(&items), 1.0));
        // In order, so that neighbouring numbers are no more alike than elsewhere.
        let mut pairs: Vec<(usize, usize, f32)> = draws.collect();
        pairs.sort_unstable_by_key(|&(user, item, _)| (user, item));
        let number = |n: usize| n as u64;
        let events = pairs.into_iter().map(|(u, i, w)| (number(u), number(i), w));
        Ok(Interactions::from_events(events)?)
    }
}

fn cumulated(weights: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |&weight: &f64| {
        sum += weight;
        sum
    };
    weights.iter().map(add).collect()
}

/// The middle value; NaN of none.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
