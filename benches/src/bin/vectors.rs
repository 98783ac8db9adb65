//! Reading and asking large files of vectors, beside gensim: seconds to read word2vec's binary file, to
//! open our own and find the first neighbours, and for a later query, with the bytes a second that it
//! reads beside what the machine can read.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin vectors -- --python python3
//! ```
//!
//! With `--file words.refrain`: the bytes, the recall and the time of a query of vectors made smaller, and
//! of a graph (HNSW), on vectors that were trained.
//!
//! With `--own` only our own file is made and opened: `--words 3000000 --own` takes 3.6 GB in memory and as
//! much on the disk.
//!
//! The vectors are random, a million words of 300 values by default: 1.2 GB in memory and twice on the
//! disk, in a folder of the system's own. Files were just written, so they are read from the system's
//! cache on both sides, which take turns. gensim answers with the linear algebra of numpy, on as many threads
//! as it takes.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use rand::RngExt;
use rayon::prelude::*;
use refrain::embeddings::{
    Approximate, Embeddings, Neighbour, Quantization, Vocabulary,
    formats::{finalfusion, word2vec},
};
use refrain_benches::{median, processor_seconds};
use serde::Deserialize;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Large files of vectors: reading, opening, neighbours, beside gensim")]
struct Arguments {
    /// A Python with gensim 4.4.0; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    #[arg(long, default_value_t = 1_000_000)]
    words: usize,
    #[arg(long, default_value_t = 300)]
    dim: usize,
    /// A `*.refrain` file of vectors, to make smaller and to ask approximately, instead of the large files.
    #[arg(long)]
    file: Option<PathBuf>,
    /// Only our own file is made and opened.
    #[arg(long)]
    own: bool,
    /// Turns of reading, and queries of each turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("refrain-vectors-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = match &arguments.file {
        Some(file) => smaller(file, arguments.rounds),
        None if arguments.own => open_own(arguments, &folder),
        None => compare(arguments, &folder),
    };
    std::fs::remove_dir_all(&folder)?;
    result
}

/// Bytes, the share of the ten nearest that is found, and the time of a query, of vectors made smaller
/// and of a graph.
fn smaller(file: &Path, rounds: usize) -> Result<(), Box<dyn Error>> {
    let words = Arc::new(Embeddings::load(file)?);
    let dim = words.dim();
    println!("{} words of {dim} values", words.len());
    println!(
        "{:24} {:>8} {:>8} {:>10} {:>8}",
        "", "MB", "recall", "a query", "made in"
    );
    let step = (words.len() / 500).max(1);
    let asked: Vec<&str> = words.vocabulary().ids().iter().step_by(step).collect();
    let exact = words.neighbours_batch(&asked, 10)?;
    let full = (words.len() * dim * 4) as f64 / 1e6;
    let row = |name: &str, mb: f64, made: f64, ask: &dyn Fn(&str) -> Vec<u32>| {
        let mut times = Vec::new();
        let mut found = 0;
        for _ in 0..rounds {
            let (time, lists) = seconds(|| asked.iter().map(|word| ask(word)).collect::<Vec<_>>());
            times.push(time / asked.len() as f64);
            let both = lists.iter().zip(&exact);
            let same = |(list, exact): (&Vec<u32>, &Vec<Neighbour<'_>>)| {
                exact
                    .iter()
                    .filter(|near| list.contains(&near.index))
                    .count()
            };
            found = both.map(same).sum();
        }
        let recall = f64::from(found as u32) / (10 * asked.len()) as f64;
        let time = median(times) * 1e6;
        println!("{name:24} {mb:>8.1} {recall:>8.3} {time:>7.0} µs {made:>6.1} s");
    };
    let numbers = |list: refrain::embeddings::Result<Vec<Neighbour<'_>>>| -> Vec<u32> {
        list.map(|near| near.iter().map(|n| n.index).collect())
            .unwrap_or_default()
    };
    row("in full", full, 0.0, &|word| {
        numbers(words.neighbours(word, 10))
    });
    let (made, indexed) = seconds(|| Embeddings::clone(&words).indexed());
    row("indexed", full * 1.25, made, &|word| {
        numbers(indexed.neighbours(word, 10))
    });
    for (name, to) in [
        ("int8", Quantization::Int8),
        (
            "product, a half",
            Quantization::Product {
                parts: dim / 2,
                seed: 1,
            },
        ),
        (
            "product, a fourth",
            Quantization::Product {
                parts: dim / 4,
                seed: 1,
            },
        ),
        (
            "product, an eighth",
            Quantization::Product {
                parts: dim / 8,
                seed: 1,
            },
        ),
    ] {
        let (made, small) = seconds(|| words.quantized(to));
        let small = small?;
        let mb = small.bytes() as f64 / 1e6;
        // Asked by the vectors in full, as a service that keeps its questions so would.
        row(name, mb, made, &|word| {
            let own = words.vocabulary().get(word);
            let vector = words.vector(word).unwrap_or_default();
            numbers(small.nearest_where(vector, 10, |index, _| Some(index) != own))
        });
    }
    for search in [30, 100, 300] {
        let config = Approximate {
            search,
            ..Approximate::default()
        };
        let (made, graph) = seconds(|| config.build(words.clone()));
        let graph = graph?;
        row(
            &format!("graph, {search} candidates"),
            full,
            made,
            &|word| numbers(graph.neighbours(word, 10)),
        );
    }
    Ok(())
}

/// Words of five to twelve letters with random vectors.
fn make(words: usize, dim: usize) -> Result<Embeddings, Box<dyn Error>> {
    let letters = |mut n: usize| {
        let mut word = String::from("w");
        for _ in 0..4 + n % 8 {
            word.push(char::from(b'a' + (n % 26) as u8));
            n = n / 26 + 7919;
        }
        word
    };
    let names = (0..words).map(|i| (format!("{}{i}", letters(i)), (words - i) as u64));
    let values: Vec<f32> = (0..words)
        .into_par_iter()
        .flat_map_iter(|word| {
            let mut rng = refrain::rng::stream(1, word as u64);
            (0..dim).map(move |_| rng.random_range(-1.0..1.0))
        })
        .collect();
    Ok(Embeddings::new(
        Vocabulary::from_counts(names)?,
        dim,
        values,
    )?)
}

fn seconds<T>(work: impl FnOnce() -> T) -> (f64, T) {
    let began = Instant::now();
    let result = work();
    (began.elapsed().as_secs_f64(), result)
}

/// Opening a file of any size and the first neighbours.
fn open_own(arguments: &Arguments, folder: &Path) -> Result<(), Box<dyn Error>> {
    let own = folder.join("vectors.refrain");
    let words = make(arguments.words, arguments.dim)?;
    let word = words.vocabulary().word(arguments.words as u32 / 2);
    let word = word.unwrap_or_default().to_string();
    words.save(&own)?;
    drop(words);
    let mut asked = Asked::default();
    for _ in 0..arguments.rounds {
        asked.round(|| Embeddings::load(&own), &word, arguments.rounds)?;
    }
    println!(
        "{} words of {} values, seconds",
        arguments.words, arguments.dim
    );
    for (name, times) in [
        ("opening our own", asked.opens),
        ("opening it and first neighbours", asked.firsts),
        ("a later query", asked.queries),
    ] {
        println!("{name:34} {:>9.6}", median(times));
    }
    Ok(())
}

fn compare(arguments: &Arguments, folder: &Path) -> Result<(), Box<dyn Error>> {
    let (binary, own) = (folder.join("vectors.bin"), folder.join("vectors.refrain"));
    let words = make(arguments.words, arguments.dim)?;
    let word = words.vocabulary().word(arguments.words as u32 / 2);
    let word = word.unwrap_or_default().to_string();
    word2vec::write_binary(&words, &binary)?;
    words.save(&own)?;
    let fifu = folder.join("vectors.fifu");
    finalfusion::write(&words, &fifu)?;
    let coded = folder.join("indexed.refrain");
    let (coding, words) = seconds(|| words.indexed());
    words.save(&coded)?;
    let bytes = (arguments.words * arguments.dim * 4) as f64;
    // What the machine reads: the sum of as many numbers as there are, on all threads.
    let sum = |values: &[f32]| -> f32 {
        let chunk = |c: &[f32]| {
            let mut sums = [0.0f32; 64];
            for block in c.chunks_exact(64) {
                sums.iter_mut().zip(block).for_each(|(sum, v)| *sum += v);
            }
            sums.iter().sum::<f32>()
        };
        values.par_chunks(1 << 20).map(chunk).sum()
    };
    let reads = (0..arguments.rounds).map(|_| {
        let (time, total) = seconds(|| sum(words.vectors()));
        std::hint::black_box(total);
        bytes / time / 1e9
    });
    let machine = median(reads.collect());
    drop(words);

    let (mut loads, mut loads_cpu, mut reports) = (Vec::new(), Vec::new(), Vec::new());
    let (mut plain, mut indexed, mut mapped) = <(Asked, Asked, Asked)>::default();
    for _ in 0..arguments.rounds {
        let cpu = processor_seconds();
        let (time, read) = seconds(|| word2vec::read_binary(&binary));
        loads.push(time);
        loads_cpu.push(processor_seconds() - cpu);
        drop(read?);
        plain.round(|| Embeddings::load(&own), &word, arguments.rounds)?;
        indexed.round(|| Embeddings::load(&coded), &word, arguments.rounds)?;
        mapped.round(|| finalfusion::open(&fifu), &word, arguments.rounds)?;
        if let Some(python) = &arguments.python {
            reports.push(gensim(python, &binary, &word, arguments.rounds)?);
        }
    }
    let query = median(plain.queries);
    println!(
        "{:34} {:>9} {:>9} {:>7}",
        "seconds", "ours", "gensim", "ratio"
    );
    let theirs = Report::median(&reports);
    let rows = [
        (
            "reading word2vec's binary file",
            median(loads),
            theirs.as_ref().map(|t| t.load),
        ),
        (
            "of processor time",
            median(loads_cpu),
            theirs.as_ref().map(|t| t.load_cpu),
        ),
        ("opening our own", median(plain.opens), None),
        (
            "opening it and first neighbours",
            median(plain.firsts),
            theirs.as_ref().map(|t| t.load + t.first),
        ),
        ("opening finalfusion's", median(mapped.opens), None),
        (
            "opening it and first neighbours",
            median(mapped.firsts),
            theirs.as_ref().map(|t| t.load + t.first),
        ),
        ("a later query", query, theirs.as_ref().map(|t| t.query)),
        ("one of 256 at once", median(plain.batches), None),
        ("making codes", coding, None),
        (
            "indexed: opening, first neighbours",
            median(indexed.firsts),
            theirs.as_ref().map(|t| t.load + t.first),
        ),
        (
            "indexed: a later query",
            median(indexed.queries),
            theirs.as_ref().map(|t| t.query),
        ),
    ];
    for (name, ours, theirs) in rows {
        match theirs {
            Some(theirs) => println!("{name:34} {ours:>9.4} {theirs:>9.4} {:>7.1}", theirs / ours),
            None => println!("{name:34} {ours:>9.4} {:>9} {:>7}", "-", "-"),
        }
    }
    println!(
        "a query reads {:.1} GB/s; the machine {machine:.1} GB/s: {:.2} of it",
        bytes / query / 1e9,
        bytes / query / 1e9 / machine
    );
    Ok(())
}

/// Seconds of questions to a file that stays on the disk.
#[derive(Default)]
struct Asked {
    opens: Vec<f64>,
    firsts: Vec<f64>,
    queries: Vec<f64>,
    batches: Vec<f64>,
}

impl Asked {
    fn round(
        &mut self,
        open: impl FnOnce() -> refrain::embeddings::Result<Embeddings>,
        word: &str,
        queries: usize,
    ) -> Result<(), Box<dyn Error>> {
        let (open, words) = seconds(open);
        let words = words?;
        let (first, near) = seconds(|| words.neighbours(word, 10).map(|near| near.len()));
        near?;
        self.opens.push(open);
        self.firsts.push(open + first);
        for other in words.vocabulary().ids().iter().take(queries) {
            let (time, near) = seconds(|| words.neighbours(other, 10).map(|near| near.len()));
            near?;
            self.queries.push(time);
        }
        let many: Vec<&str> = words.vocabulary().ids().iter().take(256).collect();
        let (time, lists) = seconds(|| words.neighbours_batch(&many, 10).map(|lists| lists.len()));
        lists?;
        self.batches.push(time / 256.0);
        Ok(())
    }
}

#[derive(Deserialize)]
struct Report {
    load: f64,
    load_cpu: f64,
    first: f64,
    query: f64,
}

impl Report {
    /// The median of each figure, if there are any.
    fn median(all: &[Self]) -> Option<Self> {
        let of = |field: fn(&Self) -> f64| median(all.iter().map(field).collect());
        (!all.is_empty()).then(|| Self {
            load: of(|r| r.load),
            load_cpu: of(|r| r.load_cpu),
            first: of(|r| r.first),
            query: of(|r| r.query),
        })
    }
}

fn gensim(
    python: &Path,
    binary: &Path,
    word: &str,
    queries: usize,
) -> Result<Report, Box<dyn Error>> {
    let output = Command::new(python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/gensim_vectors.py"))
        .arg(binary)
        .args([word, &queries.to_string()])
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{}: {message}", python.display()).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}
