//! How training of word vectors grows with the vocabulary and with threads: words a second, and the
//! memory of a word.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin word_growth
//! ```
//!
//! Sentences of 20 words are drawn by Zipf's law (the word of rank r in proportion to 1 / r), after each
//! word of the vocabulary has stood once. Skip-gram with 5 negatives, window 5, one epoch, nothing left
//! out for being frequent. Each row is a process of its own, so that the peak of memory is its own.

use std::error::Error;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use rand::RngExt;
use refrain::Monitor;
use refrain::embeddings::{Corpus, Word2Vec};
use refrain_benches::{megabytes, processor_seconds};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Word vectors: words per second and memory by vocabulary and threads")]
struct Arguments {
    /// Words of the vocabulary; several are tried one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    words: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Tokens of the corpus.
    #[arg(long, default_value_t = 10_000_000)]
    tokens: usize,
    #[arg(long, default_value_t = 100)]
    dim: usize,
    /// Measures one row in this process.
    #[arg(long, hide = true)]
    child: bool,
}

fn main() {
    let arguments = Arguments::parse();
    let result = match (&arguments.words[..], &arguments.threads[..]) {
        ([words], [threads]) if arguments.child => child(&arguments, *words, *threads),
        _ => run(&arguments),
    };
    if let Err(error) = result {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    println!(
        "{:>10} {:>8} {:>12} {:>14} {:>10} {:>10} {:>14}",
        "words", "threads", "counting (s)", "words a second", "of cpu", "peak (MB)", "bytes a word"
    );
    for &words in &arguments.words {
        for &threads in &arguments.threads {
            let output = Command::new(std::env::current_exe()?)
                .arg("--child")
                .args(["--words", &words.to_string()])
                .args(["--threads", &threads.to_string()])
                .args(["--tokens", &arguments.tokens.to_string()])
                .args(["--dim", &arguments.dim.to_string()])
                .output()?;
            if !output.status.success() {
                return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
            }
            let said = String::from_utf8_lossy(&output.stdout);
            let numbers: Vec<f64> = said
                .split_whitespace()
                .map(str::parse)
                .collect::<Result<_, _>>()?;
            let [counting, speed, cpu, peak, bytes] = numbers[..] else {
                return Err("a row said nothing".into());
            };
            println!(
                "{words:>10} {threads:>8} {counting:>12.2} {speed:>14.0} {cpu:>10.0} {peak:>10.0} {bytes:>14.0}"
            );
        }
    }
    Ok(())
}

fn child(arguments: &Arguments, words: usize, threads: usize) -> Result<(), Box<dyn Error>> {
    let names: Vec<String> = (0..words).map(|rank| format!("word{rank}")).collect();
    let mut sum = 0.0;
    let cumulated: Vec<f64> = (1..=words)
        .map(|rank| {
            sum += 1.0 / rank as f64;
            sum
        })
        .collect();
    let mut rng = refrain::rng::stream(1, 0);
    let mut drawn = Vec::with_capacity(arguments.tokens);
    drawn.extend(0..words.min(arguments.tokens) as u32);
    drawn.extend((drawn.len()..arguments.tokens).map(|_| {
        let at = rng.random_range(0.0..sum);
        cumulated.partition_point(|&upper| upper <= at) as u32
    }));
    drop(cumulated);
    let corpus = Corpus::from_fn(|| {
        let sentence = |ranks: &[u32]| {
            let words = ranks.iter().map(|&rank| names[rank as usize].as_str());
            words.collect::<Vec<&str>>()
        };
        drawn.chunks(20).map(sentence)
    });
    let config = Word2Vec {
        dim: arguments.dim,
        epochs: 1,
        min_count: 1,
        subsample: 0.0,
        threads,
        ..Word2Vec::default()
    };
    // The texts themselves, and the numbers that the training keeps of them, are not the words'.
    let before = megabytes("VmRSS")? + arguments.tokens as f64 * 4.0 / 1e6;
    let began = Instant::now();
    let mut training = config.start(&corpus)?;
    let counting = began.elapsed().as_secs_f64();
    let (began, cpu) = (Instant::now(), processor_seconds());
    training.epoch(&corpus, &Monitor::silent())?;
    let tokens = arguments.tokens as f64;
    let (speed, cpu) = (
        tokens / began.elapsed().as_secs_f64(),
        tokens / (processor_seconds() - cpu),
    );
    let peak = megabytes("VmHWM")?;
    println!(
        "{counting} {speed} {cpu} {peak} {}",
        (peak - before) * 1e6 / words as f64
    );
    Ok(())
}
