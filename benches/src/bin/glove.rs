//! GloVe against the Python package glove-python3: seconds of counting pairs, seconds of an epoch, and
//! the quality of the vectors, on the same file of tokens and the same threads.
//!
//! ```text
//! REFRAIN_DATA=data cargo run --release -p refrain-benches --bin glove -- --python python3.9
//! ```
//!
//! The corpus and the judge are those of the bench `word2vec`. The rival keeps one vector for a word and
//! half of the pairs (each once instead of in both orders), so its epoch has half the steps: pairs a
//! second are compared beside whole epochs.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use refrain::Monitor;
use refrain::embeddings::{Corpus, Glove, formats::word2vec, tokenize};
use refrain_benches::{Judge, write_tokens};
use serde::Deserialize;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "GloVe: seconds and quality, beside glove-python3")]
struct Arguments {
    /// A Python with glove-python3 0.1.0; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads of both sides.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 100)]
    dim: usize,
    #[arg(long, default_value_t = 10)]
    window: usize,
    #[arg(long, default_value_t = 25)]
    epochs: usize,
    #[arg(long, default_value_t = 5)]
    min_count: u64,
    #[arg(long, default_value_t = 0.05)]
    learning_rate: f64,
    #[arg(long, default_value_t = 10.0)]
    x_max: f64,
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("refrain-glove-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = compare(arguments, &folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

/// What a side took.
#[derive(Deserialize)]
struct Report {
    counting: f64,
    seconds: f64,
    pairs: f64,
}

fn compare(arguments: &Arguments, folder: &Path) -> Result<(), Box<dyn Error>> {
    let data = std::env::var_os("REFRAIN_DATA").map(PathBuf::from);
    let tokens = folder.join("tokens.txt");
    write_tokens(data.as_deref(), &tokens)?;
    let judge = Judge::new(data.as_deref())?;
    println!(
        "{:14} {:>12} {:>9} {:>10} {:>10}  quality",
        "", "counting, s", "pairs", "epoch, s", "pairs/s"
    );
    let print = |name: &str, report: &Report, quality: &str| {
        let epoch = report.seconds / arguments.epochs as f64;
        println!(
            "{name:14} {:>12.2} {:>8.1}M {epoch:>10.2} {:>9.2}M  {quality}",
            report.counting,
            report.pairs / 1e6,
            report.pairs / epoch / 1e6,
        );
    };
    let config = Glove {
        dim: arguments.dim,
        window: arguments.window,
        epochs: arguments.epochs,
        min_count: arguments.min_count,
        learning_rate: arguments.learning_rate,
        x_max: arguments.x_max,
        seed: arguments.seed,
        threads: arguments.threads,
        ..Glove::default()
    };
    let (corpus, monitor) = (
        Corpus::from_files([&tokens], tokenize::whitespace),
        Monitor::silent(),
    );
    let began = Instant::now();
    let mut training = config.start(&corpus, &monitor)?;
    let counting = began.elapsed().as_secs_f64();
    let (mut seconds, mut pairs) = (0.0, 0.0);
    while !training.is_finished() {
        let report = training.epoch(&corpus, &monitor)?;
        pairs = report.pairs as f64;
        seconds += pairs / report.pairs_per_second;
    }
    let ours = Report {
        counting,
        seconds,
        pairs,
    };
    print("refrain", &ours, &judge.judge(&training.finish()?));
    let Some(python) = &arguments.python else {
        return Ok(());
    };
    let vectors = folder.join("vectors.txt");
    let numbers = [
        arguments.dim.to_string(),
        arguments.window.to_string(),
        arguments.epochs.to_string(),
        arguments.min_count.to_string(),
        arguments.learning_rate.to_string(),
        arguments.x_max.to_string(),
        arguments.threads.to_string(),
        arguments.seed.to_string(),
    ];
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/glove_python.py"))
        .args([&tokens, &vectors])
        .args(numbers)
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{}: {message}", python.display()).into());
    }
    let line = output
        .stdout
        .rsplit(|&b| b == b'\n')
        .find(|line| !line.is_empty());
    let theirs: Report = serde_json::from_slice(line.unwrap_or_default())?;
    let quality = judge.judge(&word2vec::read_text(&vectors)?);
    print("glove-python3", &theirs, &quality);
    Ok(())
}
