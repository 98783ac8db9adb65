//! Trains a classifier of texts and shows how well it does, and by which words.
//!
//! ```sh
//! cargo run --release --example classify_text
//! cargo run --release --example classify_text -- reviews.txt --epochs 20
//! ```
//!
//! Without a file it tells paragraphs of *Moby-Dick* from sentences of presidents' speeches before and
//! after 1900. A file is in fastText's form, `__label__good a fine film`, a text a line. One text in five
//! is set aside to judge on. The model goes into `--out`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::data::bundled;
use refrain::embeddings::{Example, TextClassifier, tokenize};

/// Train a classifier of texts
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Examples in fastText's form; the bundled texts if not given
    file: Option<PathBuf>,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/classify")]
    out: PathBuf,
    /// Passes over the examples
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// The most words in an n-gram of words
    #[arg(long, default_value_t = 2)]
    word_ngrams: usize,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("classify_text: {error}");
            ExitCode::FAILURE
        }
    }
}

fn tokens(text: &str) -> Vec<String> {
    let mut all = Vec::new();
    tokenize::words(text, &mut |token| all.push(token.to_string()));
    all
}

/// Paragraphs of the novel, and sentences of speeches of two times.
fn bundled_examples() -> Result<Vec<Example>, Box<dyn Error>> {
    let mut all = Vec::new();
    for paragraph in bundled::moby_dick()?.lines() {
        all.push(Example::new("Moby-Dick", tokens(paragraph)));
    }
    for speech in bundled::speeches()? {
        let label = if speech.year < 1900 {
            "before 1900"
        } else {
            "after 1900"
        };
        for sentence in speech.text.split_inclusive(['.', '?', '!']) {
            all.push(Example::new(label, tokens(sentence)));
        }
    }
    all.retain(|example| example.tokens.len() >= 8);
    Ok(all)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let examples = match &options.file {
        Some(path) => Example::read(path, tokenize::words)?,
        None => bundled_examples()?,
    };
    let (mut train, mut test) = (Vec::new(), Vec::new());
    for (i, example) in examples.into_iter().enumerate() {
        if i % 5 == 4 { &mut test } else { &mut train }.push(example);
    }
    let config = TextClassifier {
        epochs: if options.quick { 2 } else { options.epochs },
        buckets: if options.quick { 1 << 12 } else { 1 << 18 },
        word_ngrams: options.word_ngrams,
        several: train.iter().any(|example| example.labels.len() > 1),
        ..TextClassifier::default()
    };
    let model = config.fit_with(&train, &Monitor::bars())?;
    let report = model.evaluate(&test);
    println!("{} texts to learn from\n{report}\n", train.len());
    if report.labels.len() <= 10 {
        println!("rows: the label, columns: what was said, in the order above");
        for (label, row) in report.labels.iter().zip(&report.confusion) {
            let counts: Vec<String> = row.iter().map(|n| format!("{n:>7}")).collect();
            println!("{:16}{}", label.label, counts.concat());
        }
        println!();
        for label in &report.labels {
            let words = model.telling_words(&label.label, 8);
            let words: Vec<&str> = words.into_iter().map(|(word, _)| word).collect();
            println!("{:16} by {}", label.label, words.join(", "));
        }
    }
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let path = out.join("classifier.refrain");
    model.save(&path)?;
    println!("\n{} written", path.display());
    Ok(())
}
