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
//! operations that an inverse by Cholesky takes, beside LAPACK's spotrf and spotri in single
//! precision on a matrix of the same size. Both sides take turns on the same number of threads;
//! medians are reported. A ratio below 1 means that ours is faster. Without Python only our side
//! runs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Parser;
use refrain::data::datasets::MovieLens;
use refrain::data::{Interactions, split};
use refrain::recommenders::{Ease, ItemKnn, Similarity, Weighting};
use refrain::{Event, Monitor};
use refrain_benches::{Peer, generated_log, median};
use serde::Deserialize;

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
    /// Of the generated log.
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
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let mut logs = vec![(
        "generated",
        generated_log(
            arguments.users,
            arguments.items,
            arguments.draws,
            arguments.seed,
        )?,
    )];
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
    let rate = |seconds: f64| (n as f64).powi(3) / seconds / 1e9;
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
