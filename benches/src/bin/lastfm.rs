//! HetRec Last.fm-2K: our recommenders at their defaults and after a search, beside `implicit` and LightFM
//! at their defaults and after as many trials, on the very same split.
//!
//! ```text
//! REFRAIN_DATA=DATA cargo run --release -p refrain-benches --bin lastfm -- --python python3
//! ```
//!
//! Random 80/20 by the seed, every artist a user played counts as one to find, full ranking over all
//! artists, training artists left out. Searches see only a random 80/20 split inside the training
//! part, the same for both sides, and judge by NDCG@10; the best settings are then fitted on the whole
//! training part. `DATA/lastfm-2k` is the data set's folder; without Python only our side runs.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use refrain::data::datasets::LastFm;
use refrain::data::{Interactions, split};
use refrain::recommenders::{
    Als, Blend, BlendModel, Bootstrap, Confidence, ContentBased, ItemKnn, Leaderboard, LightFm,
    Metric, Mix, Popularity, Recommender, Regularization, Search, Similarity, Space, StackModel,
    Trial, UserKnn, Value, Weighting,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const HOW_TO_GET: &str = "HetRec 2011 Last.fm 2K is not shipped: get it from \
    https://grouplens.org/datasets/hetrec-2011/, then pass the folder with --data or set REFRAIN_DATA \
    to the folder that holds lastfm-2k";

#[derive(Parser)]
#[command(about = "Last.fm-2K: our recommenders and implicit, at defaults and after a search")]
struct Arguments {
    /// The folder of Last.fm-2K; REFRAIN_DATA/lastfm-2k if not given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A Python with implicit 0.7.3; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// The seed of the splits and of the searches.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Trials of each search, on both sides.
    #[arg(long, default_value_t = 20)]
    trials: usize,
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
        (None, Some(data)) => Path::new(&data).join("lastfm-2k"),
        (None, None) => return Err(HOW_TO_GET.into()),
    };
    let lastfm = LastFm::load(&folder).map_err(|error| format!("{error}\n{HOW_TO_GET}"))?;
    let (train, test) = split::random(&lastfm.plays, 0.2, arguments.seed)?;
    println!(
        "seed {}: {} training and {} test events, {} users, {} artists",
        arguments.seed,
        train.len(),
        test.len(),
        train.n_users(),
        train.n_items()
    );
    ours(&train, &test, &lastfm, arguments)?;
    if let Some(python) = &arguments.python {
        theirs(python, &train, &test, arguments)?;
    }
    Ok(())
}

fn ours(
    train: &Interactions,
    test: &Interactions,
    lastfm: &LastFm,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let columns = [Metric::Ndcg(10), Metric::Recall(10), Metric::Coverage(10)];
    let mut board = Leaderboard::new(train, test)?.metrics(&columns);
    let content = |log: &Interactions| ContentBased::default().fit(log, &lastfm.artists);

    let popular = board.run("popularity", || Popularity::default().fit(train))?;
    let content_model = board.run("content (tags)", || content(train))?;
    let user_knn = board.run("user-kNN", || UserKnn::default().fit(train))?;
    let item_knn = board.run("item-kNN", || ItemKnn::default().fit(train))?;
    let als = board.run("ALS", || Als::default().fit(train))?;
    let light = LightFm::default();
    board.run("LightFM, ids only", || light.fit(train, None, None))?;
    let tags = Some(&lastfm.artists);
    board.run("LightFM (tags)", || light.fit(train, tags, None))?;

    let began = Instant::now();
    let tuning = Blend::default()
        .member("ALS", |log| Als::default().fit(log))
        .member("item-kNN", |log| ItemKnn::default().fit(log))
        .member("user-kNN", |log| UserKnn::default().fit(log))
        .member("content", content)
        .member("popularity", |log| Popularity::default().fit(log))
        .tune(train)?;
    let members: [Arc<dyn Recommender>; 5] = [
        Arc::new(als),
        Arc::new(item_knn),
        Arc::new(user_knn),
        Arc::new(content_model),
        Arc::new(popular),
    ];
    let weights = tuning.weights(Mix::Scores)?;
    println!("weights of the blend: {weights:.2?}");
    let stack = StackModel::new(members.iter().cloned(), tuning.stack()?)?;
    let seconds = began.elapsed().as_secs_f64();
    let blend = BlendModel::new(Mix::Scores, members.into_iter().zip(weights))?;
    board.enter("weighted blend", &blend, seconds)?;
    board.enter("stacked blend", &stack, seconds)?;

    let knn = || {
        Space::new()
            .int_log("neighbours", 10..=500)
            .choice("weighting", ["binary", "log", "tf-idf", "bm25"])
            .log("k1", 0.1..=200.0)
            .linear("b", 0.0..=1.0)
            .linear("asymmetry", 0.3..=0.7)
            .log("shrinkage", 0.01..=100.0)
    };
    // A model's defaults are the first trial.
    let searched = |name: &str,
                    space: Space,
                    defaults: &[(&str, Value)],
                    fit: &(dyn Fn(&Trial, &Interactions) -> Fitted + Sync),
                    board: &mut Leaderboard<'_>|
     -> Result<(), Box<dyn Error>> {
        let named = |(name, value): &(&str, Value)| (name.to_string(), value.clone());
        let search = Search {
            space,
            first: vec![defaults.iter().map(named).collect()],
            trials: arguments.trials,
            seed: arguments.seed,
            ..Search::default()
        };
        let began = Instant::now();
        let (model, report) = search.fit(train, fit)?;
        let seconds = began.elapsed().as_secs_f64();
        if let Some(best) = report.best() {
            println!("{name}, {} trials, on validation: {best}", arguments.trials);
        }
        board.enter(format!("{name}, searched"), &*model, seconds)?;
        Ok(())
    };
    let weighted = |weighting: Weighting| -> [(&str, Value); 3] {
        let (name, k1, b) = match weighting {
            Weighting::Binary => ("binary", 1.2, 0.75),
            Weighting::Log => ("log", 1.2, 0.75),
            Weighting::Bm25 { k1, b } => ("bm25", f64::from(k1), f64::from(b)),
            _ => ("tf-idf", 1.2, 0.75),
        };
        [
            ("weighting", name.into()),
            ("k1", k1.into()),
            ("b", b.into()),
        ]
    };
    let asymmetry = |similarity| match similarity {
        Similarity::Cosine { asymmetry } => f64::from(asymmetry),
        _ => 0.5,
    };
    let default = UserKnn::default();
    let mut first = vec![
        ("neighbours", Value::from(default.neighbours as i64)),
        ("asymmetry", asymmetry(default.similarity).into()),
        ("shrinkage", f64::from(default.shrinkage).into()),
        ("amplification", f64::from(default.amplification).into()),
    ];
    first.extend(weighted(default.weighting));
    let user_space = knn().linear("amplification", 1.0..=5.0);
    searched("user-kNN", user_space, &first, &fit_user_knn, &mut board)?;
    let default = ItemKnn::default();
    let mut first = vec![
        ("neighbours", Value::from(default.neighbours as i64)),
        ("asymmetry", asymmetry(default.similarity).into()),
        ("shrinkage", f64::from(default.shrinkage).into()),
    ];
    first.extend(weighted(default.weighting));
    searched("item-kNN", knn(), &first, &fit_item_knn, &mut board)?;
    let space = Space::new()
        .int_log("factors", 16..=128)
        .log("alpha", 0.5..=50.0)
        .choice("confidence", ["binary", "log", "linear"])
        .log("regularization", 0.05..=5.0)
        .linear("frequency", 0.0..=1.0);
    let first = [
        ("factors", 64.into()),
        ("alpha", 4.0.into()),
        ("confidence", "log".into()),
        ("regularization", 0.5.into()),
        ("frequency", 0.5.into()),
    ];
    searched("ALS", space, &first, &fit_als, &mut board)?;

    println!("{board}");
    println!("less the best, by NDCG@10, with 95 % intervals and p of a paired test:");
    for (name, paired) in board.versus_best(&Bootstrap::default())? {
        println!("  {name:22} {paired}");
    }
    Ok(())
}

type Fitted = refrain::recommenders::Result<Box<dyn Recommender>>;

fn weighting(trial: &Trial) -> refrain::recommenders::Result<Weighting> {
    Ok(match trial.choice("weighting")? {
        "binary" => Weighting::Binary,
        "log" => Weighting::Log,
        "tf-idf" => Weighting::TfIdf,
        _ => Weighting::Bm25 {
            k1: trial.f32("k1")?,
            b: trial.f32("b")?,
        },
    })
}

fn fit_user_knn(trial: &Trial, log: &Interactions) -> Fitted {
    let model = UserKnn {
        neighbours: trial.size("neighbours")?,
        weighting: weighting(trial)?,
        similarity: Similarity::Cosine {
            asymmetry: trial.f32("asymmetry")?,
        },
        shrinkage: trial.f32("shrinkage")?,
        amplification: trial.f32("amplification")?,
    };
    Ok(Box::new(model.fit(log)?))
}

fn fit_item_knn(trial: &Trial, log: &Interactions) -> Fitted {
    let model = ItemKnn {
        neighbours: trial.size("neighbours")?,
        weighting: weighting(trial)?,
        similarity: Similarity::Cosine {
            asymmetry: trial.f32("asymmetry")?,
        },
        shrinkage: trial.f32("shrinkage")?,
        ..ItemKnn::default()
    };
    Ok(Box::new(model.fit(log)?))
}

fn fit_als(trial: &Trial, log: &Interactions) -> Fitted {
    let model = Als {
        factors: trial.size("factors")?,
        alpha: trial.f32("alpha")?,
        confidence: match trial.choice("confidence")? {
            "binary" => Confidence::Binary,
            "log" => Confidence::Log,
            _ => Confidence::Linear,
        },
        regularization: Regularization::Relative(trial.f32("regularization")?),
        frequency_exponent: trial.f32("frequency")?,
        ..Als::default()
    };
    Ok(Box::new(model.fit(log)?))
}

/// Writes the splits, runs the peer on them, and prints its rows.
fn theirs(
    python: &Path,
    train: &Interactions,
    test: &Interactions,
    arguments: &Arguments,
) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("refrain-lastfm-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let (inner, valid) = split::random(train, 0.2, arguments.seed)?;
    for (name, log) in [
        ("train.csv", train),
        ("test.csv", test),
        ("inner.csv", &inner),
        ("valid.csv", &valid),
    ] {
        let mut file = BufWriter::new(File::create(folder.join(name))?);
        writeln!(file, "user,item,weight")?;
        for event in log.iter() {
            writeln!(file, "{},{},{}", event.user, event.item, event.weight)?;
        }
        file.flush()?;
    }
    let (users, items) = (train.n_users(), train.n_items());
    let shape = format!("{{\"users\": {users}, \"items\": {items}}}");
    std::fs::write(folder.join("shape.json"), shape)?;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/lastfm.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&folder)
        .args(["--threads", &arguments.threads.to_string()])
        .args(["--trials", &arguments.trials.to_string()])
        .args(["--seed", &arguments.seed.to_string()])
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("{}: {error}", python.display()))?;
    std::fs::remove_dir_all(&folder)?;
    if !output.status.success() {
        let python = python.display();
        return Err(
            format!("{python} failed; it needs implicit, lightfm-next, numpy, scipy").into(),
        );
    }
    println!(
        "{:22}  {:>12}  {:>12}  {:>12}  {:>8}",
        "peers", "NDCG@10", "recall@10", "", "fit (s)"
    );
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
        println!(
            "{:22}  {:>12.4}  {:>12.4}  {:>12}  {:>8.2}  {}",
            text("name"),
            number("ndcg"),
            number("recall"),
            "",
            number("seconds"),
            text("settings"),
        );
    }
    Ok(())
}
