//! Word vectors against gensim and fastText: words per second and the quality of the vectors, on the
//! same file of tokens, with the same hyperparameters and threads, in the same run.
//!
//! ```text
//! REFRAIN_DATA=data cargo run --release -p refrain-benches --bin word2vec -- --python python3
//! ```
//!
//! All texts (`*.txt`) of `REFRAIN_DATA/old-books`, `REFRAIN_DATA/datasets-sotu` and
//! `REFRAIN_DATA/datasets-moby-dick` (the last two are npm packages of stdlib, unpacked) are the
//! corpus: a paragraph a sentence, words in lower case. `REFRAIN_DATA/word-benchmarks` holds
//! `simlex999.csv`, `wordsim353-sim.csv`, `wordsim353-rel.csv`, `men.csv`, `rw.csv` and
//! `google-analogies.csv` of vecto-ai/word-benchmarks. Without them the bundled text is the corpus and
//! no quality is shown. The sides take turns, gensim for models of whole words, fastText and the
//! crate `fasttext` for those of n-grams, the crate for skip-gram too.
//!
//! Words are raw tokens of the vocabulary, skipped occurrences included; the time is that of
//! training alone where a rival tells it, and with its counting of words where it does not, on both
//! sides. Processor time is told beside it: a busy machine distorts it less. Vectors of all sides are
//! judged by the same code: Spearman's correlation with people's scores (and how many pairs of
//! words were known), and the share of analogies solved (3CosAdd, over the whole vocabulary).

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use refrain::Monitor;
use refrain::embeddings::{
    Architecture, Corpus, Embeddings, Engine, Ngrams, Objective, Vocabulary, Word2Vec,
    formats::word2vec, tokenize,
};
use refrain_benches::{Judge, processor_seconds, write_tokens};
use serde::Deserialize;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Word vectors: words per second and quality, beside gensim and fastText")]
struct Arguments {
    /// A Python with gensim 4.4.0 and fasttext-wheel 0.9.2; without it only Rust runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// What is trained; several are tried one after the other.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Kind::SkipGram])]
    models: Vec<Kind>,
    /// Threads of both sides; several are tried one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    threads: Vec<usize>,
    /// Turns of each side, each with another seed.
    #[arg(long, default_value_t = 2)]
    rounds: u64,
    /// The seed of the first turn.
    #[arg(long, default_value_t = 1)]
    seed: u64,
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
    /// Negatives are drawn by counts to this power, of ours; else as the rivals do, to .5 with n-grams and
    /// to .75 without.
    #[arg(long)]
    power: Option<f64>,
    /// Tokens between merges of our threads.
    #[arg(long, default_value_t = Word2Vec::default().merge_every)]
    merge_every: usize,
    /// Leaves the crate `fasttext` out, which takes longest.
    #[arg(long)]
    without_crate: bool,
    /// Also train as tensors, on the device of `REFRAIN_DEVICE`.
    #[arg(long)]
    tensors: bool,
    /// Keeps our vectors of the last turn in a `*.refrain` file.
    #[arg(long)]
    save: Option<PathBuf>,
    /// Trains nothing and judges these vectors, in word2vec's form of text, as a rival's.
    #[arg(long)]
    judge: Vec<PathBuf>,
    /// Windows in a step of tensors.
    #[arg(long, default_value_t = Word2Vec::default().batch)]
    batch: usize,
}

/// What is trained.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    SkipGram,
    SkipGramTree,
    Cbow,
    CbowTree,
    Ngrams,
    NgramsCbow,
}

impl Kind {
    fn cbow(self) -> bool {
        matches!(self, Self::Cbow | Self::CbowTree | Self::NgramsCbow)
    }

    fn tree(self) -> bool {
        matches!(self, Self::SkipGramTree | Self::CbowTree)
    }

    fn ngrams(self) -> bool {
        matches!(self, Self::Ngrams | Self::NgramsCbow)
    }
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
    /// Of training alone.
    seconds: Option<f64>,
    /// With the counting of words.
    whole: f64,
    cpu_seconds: f64,
    quality: String,
}

impl Row {
    fn print(&self) {
        let speed = |seconds: f64| self.words / seconds / 1e3;
        let alone = self
            .seconds
            .map_or("-".into(), |s| format!("{:.0}k", speed(s)));
        println!(
            "{:18} {:>7} {:>10} {:>10.0}k {:>10.0}k  {}",
            self.name,
            self.threads,
            alone,
            speed(self.whole),
            speed(self.cpu_seconds),
            self.quality
        );
    }

    /// How many times as fast as `other`.
    fn print_ratio(&self, other: &Self) {
        let ratio = |a: f64, b: f64| format!("{:.2}×", self.words / a / (other.words / b));
        println!(
            "{:18} {:>7} {:>10} {:>11} {:>11}",
            format!(
                "ours / {}",
                other.name.split(' ').next().unwrap_or_default()
            ),
            "",
            match (self.seconds, other.seconds) {
                (Some(a), Some(b)) => ratio(a, b),
                _ => "-".to_string(),
            },
            ratio(self.whole, other.whole),
            ratio(self.cpu_seconds, other.cpu_seconds),
        );
    }
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
    if !arguments.judge.is_empty() {
        let known = vocabulary(&tokens, arguments)?.len();
        for file in &arguments.judge {
            let quality = judge.judge_first(&word2vec::read_text(file)?, known);
            println!("{}: {quality}", file.display());
        }
        return Ok(());
    }
    println!(
        "{:18} {:>7} {:>10} {:>11} {:>11}  quality",
        "words a second:", "threads", "training", "and counts", "of cpu"
    );
    for (&kind, &threads) in arguments
        .models
        .iter()
        .flat_map(|kind| arguments.threads.iter().map(move |n| (kind, n)))
    {
        println!("{kind:?}");
        for seed in (arguments.seed..).take(arguments.rounds as usize) {
            let ours = train(
                arguments,
                &corpus,
                kind,
                threads,
                seed,
                Engine::Auto,
                &judge,
            )?;
            ours.print();
            let beside = |theirs: Row| {
                theirs.print();
                ours.print_ratio(&theirs);
            };
            if let Some(python) = &arguments.python {
                let run = Run {
                    arguments,
                    python,
                    tokens: &tokens,
                    folder,
                    kind,
                    threads,
                    seed,
                };
                beside(python_peer(&run, &judge)?);
            }
            if !arguments.without_crate && (kind.ngrams() || kind == Kind::SkipGram) {
                beside(fasttext_crate(
                    arguments, &tokens, kind, threads, seed, &judge,
                )?);
            }
        }
        if arguments.tensors {
            train(arguments, &corpus, kind, 1, 1, Engine::Tensors, &judge)?.print();
        }
    }
    Ok(())
}

fn train(
    arguments: &Arguments,
    corpus: &Corpus<'_>,
    kind: Kind,
    threads: usize,
    seed: u64,
    engine: Engine,
    judge: &Judge,
) -> Result<Row, Box<dyn Error>> {
    let config = Word2Vec {
        architecture: match kind.cbow() {
            true => Architecture::Cbow,
            false => Architecture::SkipGram,
        },
        objective: match kind.tree() {
            true => Objective::HierarchicalSoftmax,
            false => Objective::NegativeSampling,
        },
        ngrams: kind.ngrams().then(Ngrams::default),
        dim: arguments.dim,
        window: arguments.window,
        negatives: arguments.negatives,
        epochs: arguments.epochs,
        learning_rate: arguments.learning_rate,
        min_count: arguments.min_count,
        subsample: arguments.sample,
        power: arguments
            .power
            .unwrap_or(if kind.ngrams() { 0.5 } else { 0.75 }),
        merge_every: arguments.merge_every,
        batch: arguments.batch,
        seed,
        threads,
        engine,
        ..Word2Vec::default()
    };
    let began = Instant::now();
    let mut training = config.start(corpus)?.on(&refrain::device_from_env()?)?;
    let (mut words, mut seconds, cpu) = (0.0, 0.0, processor_seconds());
    while !training.is_finished() {
        let report = training.epoch(corpus, &Monitor::silent())?;
        words += report.tokens as f64;
        seconds += report.tokens as f64 / report.tokens_per_second;
    }
    let (whole, cpu_seconds) = (began.elapsed().as_secs_f64(), processor_seconds() - cpu);
    let name = match engine {
        Engine::Tensors => "refrain, tensors",
        _ => "refrain",
    };
    let vectors = training.finish()?;
    if let Some(path) = &arguments.save {
        vectors.save(path)?;
    }
    let quality = judge.judge(&vectors);
    Ok(Row {
        name: name.to_string(),
        threads,
        words,
        seconds: Some(seconds),
        whole,
        cpu_seconds,
        quality,
    })
}

/// What a rival in Python is to do.
struct Run<'a> {
    arguments: &'a Arguments,
    python: &'a Path,
    tokens: &'a Path,
    folder: &'a Path,
    kind: Kind,
    threads: usize,
    seed: u64,
}

/// gensim, or fastText where words are made of n-grams.
fn python_peer(run: &Run<'_>, judge: &Judge) -> Result<Row, Box<dyn Error>> {
    #[derive(Deserialize)]
    struct Report {
        name: String,
        seconds: Option<f64>,
        whole: f64,
        cpu_seconds: f64,
    }
    let Run {
        arguments, kind, ..
    } = run;
    let script = match kind.ngrams() {
        true => "peers/fasttext_words.py",
        false => "peers/gensim_word2vec.py",
    };
    let vectors = run.folder.join("vectors.txt");
    let numbers = [
        u8::from(kind.cbow()).to_string(),
        u8::from(kind.tree()).to_string(),
        arguments.dim.to_string(),
        arguments.window.to_string(),
        arguments.negatives.to_string(),
        arguments.epochs.to_string(),
        arguments.sample.to_string(),
        arguments.min_count.to_string(),
        arguments.learning_rate.to_string(),
        run.threads.to_string(),
        run.seed.to_string(),
    ];
    let judged = run.folder.join("judged.txt");
    std::fs::write(
        &judged,
        judge.unknown(run.tokens, arguments.min_count)?.join("\n"),
    )?;
    let output = Command::new(run.python)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
        .args([run.tokens, &vectors])
        .args(numbers)
        .arg(judged)
        .output()?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("{}: {message}", run.python.display()).into());
    }
    // Some print their progress before the line that is meant for us.
    let line = output
        .stdout
        .rsplit(|&b| b == b'\n')
        .find(|line| !line.is_empty());
    let report: Report = serde_json::from_slice(line.unwrap_or_default())?;
    let known = vocabulary(run.tokens, arguments)?;
    Ok(Row {
        name: report.name,
        threads: run.threads,
        words: (known.tokens() * arguments.epochs as u64) as f64,
        seconds: report.seconds,
        whole: report.whole,
        cpu_seconds: report.cpu_seconds,
        quality: judge.judge_first(&word2vec::read_text(&vectors)?, known.len()),
    })
}

/// The crate `fasttext`; with n-grams of no length where words are not made of them.
fn fasttext_crate(
    arguments: &Arguments,
    tokens: &Path,
    kind: Kind,
    threads: usize,
    seed: u64,
    judge: &Judge,
) -> Result<Row, Box<dyn Error>> {
    use fasttext::args::{Args, ModelName};
    let args = Args {
        input: tokens.to_path_buf(),
        model: match kind.cbow() {
            true => ModelName::Cbow,
            false => ModelName::SkipGram,
        },
        lr: arguments.learning_rate,
        dim: arguments.dim.try_into()?,
        ws: arguments.window.try_into()?,
        epoch: arguments.epochs.try_into()?,
        min_count: arguments.min_count.try_into()?,
        neg: arguments.negatives.try_into()?,
        maxn: if kind.ngrams() { 6 } else { 0 },
        bucket: if kind.ngrams() { 2_000_000 } else { 0 },
        thread: threads.try_into()?,
        t: arguments.sample,
        seed: seed.try_into()?,
        verbose: 0,
        ..Args::default()
    };
    let (began, cpu) = (Instant::now(), processor_seconds());
    let model = fasttext::FastText::train(args)?;
    let (whole, cpu_seconds) = (began.elapsed().as_secs_f64(), processor_seconds() - cpu);
    let words = model
        .get_vocab()
        .0
        .into_iter()
        .filter(|word| word != "</s>");
    let vectors = words.map(|word| {
        let vector = model.get_word_vector(&word);
        (word, vector)
    });
    Ok(Row {
        name: "fasttext (crate)".to_string(),
        threads,
        words: (vocabulary(tokens, arguments)?.tokens() * arguments.epochs as u64) as f64,
        seconds: None,
        whole,
        cpu_seconds,
        quality: judge.judge(&Embeddings::from_vectors(vectors)?),
    })
}

fn vocabulary(tokens: &Path, arguments: &Arguments) -> Result<Vocabulary, Box<dyn Error>> {
    let corpus = Corpus::from_files([tokens], tokenize::whitespace);
    Ok(Vocabulary::build(&corpus, arguments.min_count)?)
}
