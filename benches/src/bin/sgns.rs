//! Skip-gram with negative sampling against gensim: words per second and the quality of the vectors,
//! on the same file of tokens, with the same hyperparameters and threads, in the same run.
//!
//! ```text
//! REFRAIN_DATA=data cargo run --release -p refrain-benches --bin sgns -- --python python3
//! ```
//!
//! `REFRAIN_DATA/old-books/*.txt` is the corpus (any English text does: a paragraph a sentence, words
//! in lower case), and `REFRAIN_DATA/word-benchmarks` holds `simlex999.csv`, `wordsim353-sim.csv`,
//! `wordsim353-rel.csv`, `men.csv` and `google-analogies.csv` of vecto-ai/word-benchmarks. Without
//! them the bundled text is the corpus and no quality is shown. The sides take turns; both are
//! measured by tokens of the vocabulary over the time of training alone, skipped occurrences
//! included, and by the processor time it took, which a busy machine distorts less. Vectors of both
//! sides are judged by the same code: Spearman's correlation with people's scores, and the share of
//! analogies solved (3CosAdd, over the whole vocabulary). Without Python only our side runs.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use refrain::Monitor;
use refrain::embeddings::evaluate::{JudgedPair, Question};
use refrain::embeddings::{
    Analogy, Corpus, Embeddings, Engine, Word2Vec, evaluate, formats::word2vec, tokenize,
};
use serde::Deserialize;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Skip-gram: words per second and quality, beside gensim")]
struct Arguments {
    /// A Python with gensim 4.4.0; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads of both sides; several are tried one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Turns of each side, each with another seed.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    #[arg(long, default_value_t = 100)]
    dim: usize,
    #[arg(long, default_value_t = 5)]
    window: usize,
    #[arg(long, default_value_t = 5)]
    negatives: usize,
    #[arg(long, default_value_t = 5)]
    epochs: usize,
    #[arg(long, default_value_t = 1e-3)]
    sample: f64,
    #[arg(long, default_value_t = 5)]
    min_count: u64,
    #[arg(long, default_value_t = 0.025)]
    learning_rate: f64,
    /// Tokens between merges of our threads.
    #[arg(long, default_value_t = Word2Vec::default().merge_every)]
    merge_every: usize,
    /// Also train as tensors, on the device of `REFRAIN_DEVICE`.
    #[arg(long)]
    tensors: bool,
    /// Windows in a step of tensors.
    #[arg(long, default_value_t = Word2Vec::default().batch)]
    batch: usize,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

/// One line of the table.
struct Row {
    name: String,
    threads: usize,
    words: f64,
    seconds: f64,
    cpu_seconds: f64,
    quality: String,
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if arguments.threads.contains(&0) {
        return Err("--threads must be at least 1".into());
    }
    let folder = std::env::temp_dir().join(format!("refrain-sgns-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let result = compare(arguments, &folder);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn compare(arguments: &Arguments, folder: &Path) -> Result<(), Box<dyn Error>> {
    let data = std::env::var_os("REFRAIN_DATA").map(PathBuf::from);
    let tokens = folder.join("tokens.txt");
    write_tokens(data.as_deref(), &tokens)?;
    let judge = Judge::new(data.as_deref())?;
    let corpus = Corpus::from_files([&tokens], tokenize::whitespace);
    println!(
        "{:18} {:>7} {:>11} {:>15}  quality",
        "", "threads", "words/s", "words/cpu-s"
    );
    for &threads in &arguments.threads {
        for seed in 1..=arguments.rounds {
            let ours = train(arguments, &corpus, threads, seed, Engine::Auto, &judge)?;
            print(&ours);
            if let Some(python) = &arguments.python {
                let theirs = gensim(arguments, python, &tokens, folder, threads, seed, &judge)?;
                print(&theirs);
                println!(
                    "{:18} {:>7} {:>10.2}× {:>14.2}×",
                    "ours / gensim",
                    "",
                    ours.words / ours.seconds / (theirs.words / theirs.seconds),
                    ours.words / ours.cpu_seconds / (theirs.words / theirs.cpu_seconds),
                );
            }
        }
    }
    if arguments.tensors {
        print(&train(arguments, &corpus, 1, 1, Engine::Tensors, &judge)?);
    }
    Ok(())
}

/// The corpus as both sides read it: a sentence a line, tokens between spaces.
fn write_tokens(data: Option<&Path>, to: &Path) -> Result<(), Box<dyn Error>> {
    let mut text = String::new();
    match data.map(|data| data.join("old-books")) {
        Some(books) => {
            let mut paths: Vec<PathBuf> = std::fs::read_dir(&books)
                .map_err(|e| format!("{}: {e}", books.display()))?
                .map(|entry| entry.map(|e| e.path()))
                .collect::<Result<_, _>>()?;
            paths.retain(|path| path.extension().is_some_and(|e| e == "txt"));
            paths.sort();
            for path in &paths {
                text.push_str(&String::from_utf8_lossy(&std::fs::read(path)?));
                text.push_str("\n\n");
            }
            println!("corpus: {} books of {}", paths.len(), books.display());
        }
        None => {
            text = refrain::data::bundled::text()?.replace('\n', "\n\n");
            println!("corpus: the bundled text (set REFRAIN_DATA for another)");
        }
    }
    let mut out = BufWriter::new(File::create(to)?);
    let mut sentence = String::new();
    for line in text.lines().chain([""]) {
        tokenize::words(line, &mut |token| {
            sentence.push_str(token);
            sentence.push(' ');
        });
        if line.trim().is_empty() && !sentence.is_empty() {
            writeln!(out, "{}", sentence.trim_end())?;
            sentence.clear();
        }
    }
    out.flush()?;
    Ok(())
}

fn train(
    arguments: &Arguments,
    corpus: &Corpus<'_>,
    threads: usize,
    seed: u64,
    engine: Engine,
    judge: &Judge,
) -> Result<Row, Box<dyn Error>> {
    let config = Word2Vec {
        dim: arguments.dim,
        window: arguments.window,
        negatives: arguments.negatives,
        epochs: arguments.epochs,
        learning_rate: arguments.learning_rate,
        min_count: arguments.min_count,
        subsample: arguments.sample,
        merge_every: arguments.merge_every,
        batch: arguments.batch,
        seed,
        threads,
        engine,
        ..Word2Vec::default()
    };
    let mut training = config.start(corpus)?.on(&refrain::device_from_env()?)?;
    let (mut words, mut seconds, cpu) = (0.0, 0.0, processor_seconds());
    while !training.is_finished() {
        let report = training.epoch(corpus, &Monitor::silent())?;
        words += report.tokens as f64;
        seconds += report.tokens as f64 / report.tokens_per_second;
    }
    let cpu_seconds = processor_seconds() - cpu;
    let name = match engine {
        Engine::Tensors => "refrain, tensors",
        _ => "refrain",
    };
    let quality = judge.judge(&training.finish()?);
    Ok(Row {
        name: name.to_string(),
        threads,
        words,
        seconds,
        cpu_seconds,
        quality,
    })
}

fn gensim(
    arguments: &Arguments,
    python: &Path,
    tokens: &Path,
    folder: &Path,
    threads: usize,
    seed: u64,
    judge: &Judge,
) -> Result<Row, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Report {
        version: String,
        words: f64,
        seconds: f64,
        cpu_seconds: f64,
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/gensim_sgns.py");
    let vectors = folder.join("gensim.txt");
    let numbers = [
        arguments.dim.to_string(),
        arguments.window.to_string(),
        arguments.negatives.to_string(),
        arguments.epochs.to_string(),
        arguments.sample.to_string(),
        arguments.min_count.to_string(),
        arguments.learning_rate.to_string(),
        threads.to_string(),
        seed.to_string(),
    ];
    let output = Command::new(python)
        .arg(script)
        .args([tokens, &vectors])
        .args(numbers)
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{}: {message}", python.display()).into());
    }
    let report: Report = serde_json::from_slice(&output.stdout)?;
    // gensim counts raw tokens; we count those of the vocabulary. The same unit for both:
    let words = in_vocabulary(tokens, arguments)?.min(report.words);
    Ok(Row {
        name: format!("gensim {}", report.version),
        threads,
        words,
        seconds: report.seconds,
        cpu_seconds: report.cpu_seconds,
        quality: judge.judge(&word2vec::read_text(&vectors)?),
    })
}

fn in_vocabulary(tokens: &Path, arguments: &Arguments) -> Result<f64, Box<dyn Error>> {
    let corpus = Corpus::from_files([tokens], tokenize::whitespace);
    let vocabulary = refrain::embeddings::Vocabulary::build(&corpus, arguments.min_count)?;
    Ok(vocabulary.tokens() as f64 * arguments.epochs as f64)
}

fn print(row: &Row) {
    println!(
        "{:18} {:>7} {:>10.0}k {:>14.0}k  {}",
        row.name,
        row.threads,
        row.words / row.seconds / 1e3,
        row.words / row.cpu_seconds / 1e3,
        row.quality
    );
}

/// Processor time of this process, in seconds; not a number where the system does not tell.
fn processor_seconds() -> f64 {
    let ticks = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        let fields: Vec<&str> = stat.rsplit(')').next()?.split_whitespace().collect();
        let user: f64 = fields.get(11)?.parse().ok()?;
        let system: f64 = fields.get(12)?.parse().ok()?;
        Some(user + system)
    };
    // Linux reports this in hundredths, whatever its own clock is.
    ticks().map_or(f64::NAN, |ticks| ticks / 100.0)
}

/// Word pairs with the scores people gave them, and analogies.
#[derive(Default)]
struct Judge {
    similarity: Vec<(&'static str, Vec<JudgedPair>)>,
    analogies: Vec<[String; 4]>,
}

impl Judge {
    /// All in lower case, as the corpus is.
    fn new(data: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let Some(folder) = data.map(|data| data.join("word-benchmarks")) else {
            return Ok(Self::default());
        };
        let missing = |error| format!("{error} (from vecto-ai/word-benchmarks)");
        let mut similarity = Vec::new();
        for name in ["simlex999", "wordsim353-sim", "wordsim353-rel", "men"] {
            let file = folder.join(format!("{name}.csv"));
            let pairs = evaluate::read_pairs(file).map_err(missing)?.into_iter();
            let lower = pairs.map(|(a, b, score)| (a.to_lowercase(), b.to_lowercase(), score));
            similarity.push((name, lower.collect()));
        }
        let file = folder.join("google-analogies.csv");
        let questions = evaluate::read_analogies(file).map_err(missing)?;
        let lower = |question: Question| question.words.map(|word| word.to_lowercase());
        Ok(Self {
            similarity,
            analogies: questions.into_iter().map(lower).collect(),
        })
    }

    fn judge(&self, words: &Embeddings) -> String {
        let mut line = String::new();
        for (name, pairs) in &self.similarity {
            let pairs = pairs.iter().map(|(a, b, score)| (a, b, *score));
            let report = evaluate::word_similarity(words, pairs);
            line += &format!("{name} {:.3} ({})  ", report.spearman, report.pairs);
        }
        let questions = self.analogies.iter().map(|words| words.each_ref());
        match evaluate::analogies(words, questions, Analogy::Add) {
            Ok(report) if report.asked > 0 => {
                line += &format!("analogies {}/{}", report.right, report.asked);
            }
            _ => {}
        }
        line
    }
}
