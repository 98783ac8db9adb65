//! MovieLens-100K, predicting ratings: every rating model at its defaults, beside scikit-surprise on
//! the very same folds.
//!
//! ```text
//! REFRAIN_DATA=DATA cargo run --release -p refrain-benches --bin ratings -- --python python3
//! ```
//!
//! Five random folds by the seed. The two sides take turns: a model of ours, then the same of theirs,
//! fold by fold. RMSE and MAE are the means over folds, as Surprise's `cross_validate` has it; fit
//! seconds too. Without Python the table that Surprise publishes stands beside ours, marked so: it
//! was made on other folds and another machine.

use std::error::Error;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use clap::Parser;
use refrain::data::datasets::MovieLens;
use refrain::data::{Interactions, split};
use refrain::recommenders::{
    Baseline, BiasedMf, ExplicitAls, KnnBaseline, Neighbours, Nmf, RatingBlend, RatingPredictor,
    Result as Fitted, SlopeOne, SvdPlusPlus, evaluate_ratings,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "MovieLens-100K: our rating models and scikit-surprise on the same folds")]
struct Arguments {
    /// The folder of MovieLens-100K; REFRAIN_DATA/ml-100k if not given.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A Python with scikit-surprise 1.1.5; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Of the folds.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// How many of the folds are run.
    #[arg(long, default_value_t = 5)]
    folds: usize,
    /// Threads of our side; Surprise uses one.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Only models whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

type Fit = fn(&Interactions) -> Fitted<Box<dyn RatingPredictor>>;
type Published = Option<(&'static str, f64)>;

/// Our model, Surprise's, and the RMSE that Surprise's README gives for it.
const MODELS: &[(&str, Fit, Published)] = &[
    (
        "baseline",
        |log| Ok(Box::new(Baseline::default().fit(log)?)),
        Some(("BaselineOnly", 0.944)),
    ),
    (
        "biased MF",
        |log| Ok(Box::new(BiasedMf::default().fit(log)?)),
        Some(("SVD", 0.934)),
    ),
    (
        "SVD++",
        |log| Ok(Box::new(SvdPlusPlus::default().fit(log)?)),
        Some(("SVDpp", 0.919)),
    ),
    (
        "kNN baseline",
        |log| Ok(Box::new(KnnBaseline::default().fit(log)?)),
        Some(("KNNBaseline", 0.931)),
    ),
    (
        "  by users",
        |log| Ok(Box::new(neighbours_by_users().fit(log)?)),
        None,
    ),
    (
        "Slope One",
        |log| Ok(Box::new(SlopeOne::default().fit(log)?)),
        Some(("SlopeOne", 0.946)),
    ),
    (
        "NMF",
        |log| Ok(Box::new(Nmf::default().fit(log)?)),
        Some(("NMF", 0.963)),
    ),
    (
        "explicit ALS",
        |log| Ok(Box::new(ExplicitAls::default().fit(log)?)),
        None,
    ),
    ("rating blend", |log| Ok(Box::new(blend().fit(log)?)), None),
];

fn neighbours_by_users() -> KnnBaseline {
    KnnBaseline {
        by: Neighbours::Users,
        ..KnnBaseline::default()
    }
}

/// All of them, at their defaults.
fn blend() -> RatingBlend {
    RatingBlend::default()
        .member("biased MF", |log| BiasedMf::default().fit(log))
        .member("SVD++", |log| SvdPlusPlus::default().fit(log))
        .member("explicit ALS", |log| ExplicitAls::default().fit(log))
        .member("kNN by items", |log| KnnBaseline::default().fit(log))
        .member("kNN by users", |log| neighbours_by_users().fit(log))
        .member("NMF", |log| Nmf::default().fit(log))
        .member("Slope One", |log| SlopeOne::default().fit(log))
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

#[derive(Default, Clone, Copy)]
struct Sums {
    rmse: f64,
    mae: f64,
    seconds: f64,
}

impl Sums {
    fn add(&mut self, rmse: f64, mae: f64, seconds: f64) {
        self.rmse += rmse;
        self.mae += mae;
        self.seconds += seconds;
    }

    fn show(&self, n: usize) -> String {
        let n = n as f64;
        format!(
            "{:>8.4} {:>8.4} {:>9.2}",
            self.rmse / n,
            self.mae / n,
            self.seconds / n
        )
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let folder = match (&arguments.data, std::env::var_os("REFRAIN_DATA")) {
        (Some(folder), _) => folder.clone(),
        (None, Some(data)) => Path::new(&data).join("ml-100k"),
        (None, None) => return Err("pass the folder of MovieLens-100K with --data".into()),
    };
    let ratings = MovieLens::load(&folder)?.ratings;
    let mut folds = split::k_fold(&ratings, 5, arguments.seed)?;
    folds.truncate(arguments.folds.max(1));
    let mut peer = match &arguments.python {
        Some(python) => Some(Peer::start(python, &folds)?),
        None => None,
    };
    let theirs = match peer {
        Some(_) => "scikit-surprise 1.1.5",
        None => "scikit-surprise, as published",
    };
    println!(
        "{:<14} {:>8} {:>8} {:>9}   {theirs:<20} {:>8} {:>8} {:>9}",
        "refrain", "RMSE", "MAE", "fit (s)", "RMSE", "MAE", "fit (s)"
    );
    let wanted = |name: &str| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| name.contains(only))
    };
    for (name, fit, rival) in MODELS.iter().filter(|(name, ..)| wanted(name)) {
        let (mut ours, mut other) = (Sums::default(), Sums::default());
        for (at, (train, test)) in folds.iter().enumerate() {
            let began = Instant::now();
            let model = fit(train)?;
            let seconds = began.elapsed().as_secs_f64();
            let report = evaluate_ratings(&*model, test)?;
            ours.add(report.rmse, report.mae, seconds);
            if let (Some(peer), Some((rival, _))) = (&mut peer, rival) {
                let (rmse, mae, seconds) = peer.ask(at, rival)?;
                other.add(rmse, mae, seconds);
            }
        }
        let beside = match rival {
            Some((rival, _)) if peer.is_some() => {
                format!("{rival:<20} {}", other.show(folds.len()))
            }
            Some((rival, rmse)) => format!("{rival:<20} {rmse:>8.3}"),
            None => String::new(),
        };
        println!("{name:<14} {}   {beside}", ours.show(folds.len()));
    }
    Ok(())
}

/// Surprise, waiting for a fold and a model on each line.
struct Peer {
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
    folder: PathBuf,
}

impl Peer {
    fn start(
        python: &Path,
        folds: &[(Interactions, Interactions)],
    ) -> Result<Self, Box<dyn Error>> {
        let folder = std::env::temp_dir().join(format!("refrain-ratings-{}", std::process::id()));
        std::fs::create_dir_all(&folder)?;
        for (at, (train, test)) in folds.iter().enumerate() {
            for (side, log) in [("train", train), ("test", test)] {
                let path = folder.join(format!("{side}.{at}.tsv"));
                let mut file = BufWriter::new(File::create(path)?);
                for event in log.iter() {
                    writeln!(file, "{}\t{}\t{}", event.user, event.item, event.weight)?;
                }
                file.flush()?;
            }
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/ratings.py");
        let mut process = Command::new(python)
            .arg(script)
            .arg(&folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("{}: {error}", python.display()))?;
        let (ask, answers) = (process.stdin.take(), process.stdout.take());
        Ok(Self {
            ask: ask.ok_or("no standard input")?,
            answers: BufReader::new(answers.ok_or("no standard output")?),
            process,
            folder,
        })
    }

    /// RMSE, MAE and fit seconds of a model on a fold.
    fn ask(&mut self, fold: usize, model: &str) -> Result<(f64, f64, f64), Box<dyn Error>> {
        writeln!(self.ask, "{fold} {model}")?;
        let mut line = String::new();
        if self.answers.read_line(&mut line)? == 0 {
            return Err("the peer ended; it needs scikit-surprise".into());
        }
        let row: serde_json::Value = serde_json::from_str(&line)?;
        let number = |key: &str| row[key].as_f64().unwrap_or(f64::NAN);
        Ok((number("rmse"), number("mae"), number("seconds")))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input; nothing can be done about an error here.
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
