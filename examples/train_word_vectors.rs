//! Trains word vectors and looks at them.
//!
//! ```sh
//! cargo run --release --example train_word_vectors
//! cargo run --release --example train_word_vectors -- mytext.txt other.txt.gz --ngrams
//! ```
//!
//! Without files the text is the bundled one: *Moby-Dick* and speeches of presidents. Prints neighbours,
//! checks that words of one kind lie nearer to each other than to words of another, solves analogies,
//! and writes the vectors and a picture of some words into `--out`.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::data::bundled;
use refrain::embeddings::{
    Analogy, Architecture, Corpus, Embeddings, Ngrams, Tsne, Word2Vec, tokenize,
};

/// Train word vectors and look at them
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Texts, a sentence a line, packed by gzip or not; the bundled text if there are none
    files: Vec<PathBuf>,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/words")]
    out: PathBuf,
    /// Make words of their n-grams too, so that unknown words have vectors
    #[arg(long)]
    ngrams: bool,
    /// Rows that the n-grams share: more for more text
    #[arg(long, default_value_t = 200_000, requires = "ngrams")]
    buckets: usize,
    /// Train the continuous bag of words instead of skip-gram
    #[arg(long)]
    cbow: bool,
    /// Length of the vectors
    #[arg(long, default_value_t = 100)]
    dim: usize,
    /// Words on either side that count as near
    #[arg(long, default_value_t = 5)]
    window: usize,
    /// Passes over the text
    #[arg(long, default_value_t = 10)]
    epochs: usize,
    /// Whose neighbours to print
    #[arg(long, value_delimiter = ',', default_values_t = ["whale".to_string(), "congress".to_string(), "peace".to_string()])]
    words: Vec<String>,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

/// Words of a kind in the bundled text, for the checks and the picture.
const KINDS: [(&str, &[&str]); 4] = [
    (
        "the sea",
        &["sea", "ocean", "waves", "ship", "boat", "whale"],
    ),
    (
        "the state",
        &[
            "congress",
            "senate",
            "treasury",
            "legislation",
            "treaty",
            "president",
        ],
    ),
    ("the body", &["head", "hand", "arm", "eyes", "face", "foot"]),
    ("numbers", &["two", "three", "four", "five", "six", "ten"]),
];

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train_word_vectors: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let text = bundled::text()?;
    let corpus = match options.files.is_empty() {
        true => Corpus::from_text(text, tokenize::words),
        false => Corpus::from_files(&options.files, tokenize::words),
    };
    let config = Word2Vec {
        dim: if options.quick { 20 } else { options.dim },
        epochs: if options.quick { 1 } else { options.epochs },
        window: options.window,
        architecture: match options.cbow {
            true => Architecture::Cbow,
            false => Architecture::SkipGram,
        },
        ngrams: options.ngrams.then(|| Ngrams {
            buckets: if options.quick {
                20_000
            } else {
                options.buckets
            },
            ..Ngrams::default()
        }),
        ..Word2Vec::default()
    };
    let words = config.fit_with(&corpus, &Monitor::bars())?;
    println!("{} words, {} values each\n", words.len(), words.dim());

    for word in &options.words {
        match words.neighbours(word, 6) {
            Ok(near) => {
                let near = near
                    .iter()
                    .map(|n| format!("{} {:.2}", n.word, n.similarity));
                println!("near {word:12} {}", near.collect::<Vec<_>>().join(", "));
            }
            Err(error) => println!("near {word:12} {error}"),
        }
    }
    kinds(&words)?;
    analogies(&words);
    if options.ngrams {
        for word in ["whalers", "unpresidential", "oceanlike"] {
            let known = if words.vector(word).is_some() {
                "known"
            } else {
                "never seen"
            };
            let near = words.neighbours(word, 4)?;
            let near: Vec<&str> = near.iter().map(|n| n.word).collect();
            println!("{word} ({known}): {}", near.join(", "));
        }
    }

    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    words.save(out.join("words.refrain"))?;
    let shown = KINDS.iter().flat_map(|(_, kind)| kind.iter().copied());
    let shown: Vec<&str> = shown.filter(|word| words.embed(word).is_some()).collect();
    let picture = match shown.len() {
        0 | 1 => {
            let frequent: Vec<&str> = words.vocabulary().ids().iter().take(40).collect();
            words.project(&frequent, 2.min(words.dim()), true)?
        }
        _ => words.project(&shown, 2.min(words.dim()), true)?,
    };
    let path = out.join("words.svg");
    std::fs::write(&path, picture.to_svg("Words by their vectors"))?;
    let frequent: Vec<&str> = words.vocabulary().ids().iter().skip(30).take(300).collect();
    let perplexity = Tsne::default().perplexity.min(frequent.len() as f64 / 4.0);
    if perplexity >= 1.0 {
        let map = Tsne {
            perplexity,
            ..Tsne::default()
        };
        let map = map.fit_with(&words, &frequent, &Monitor::bars())?;
        std::fs::write(out.join("map.svg"), map.to_svg("Frequent words, by t-SNE"))?;
    }
    println!("\n{}, map.svg and words.refrain written", path.display());
    Ok(())
}

/// Are words of a kind nearer to each other than to words of other kinds?
fn kinds(words: &Embeddings) -> Result<(), Box<dyn Error>> {
    println!("\nmean similarity       within   to others");
    for (name, kind) in KINDS {
        let known = |word: &&&str| words.embed(word).is_some();
        let own: Vec<&&str> = kind.iter().filter(known).collect();
        let rest: Vec<&&str> = KINDS
            .iter()
            .filter(|(other, _)| *other != name)
            .flat_map(|(_, kind)| kind.iter())
            .filter(known)
            .collect();
        let mean = |pairs: Vec<(&str, &str)>| -> Result<f32, Box<dyn Error>> {
            let mut sum = 0.0;
            for (a, b) in &pairs {
                sum += words.similarity(a, b)?;
            }
            Ok(sum / pairs.len().max(1) as f32)
        };
        let (mut within, mut others) = (Vec::new(), Vec::new());
        for (i, &&a) in own.iter().enumerate() {
            within.extend(own.iter().skip(i + 1).map(|&&b| (a, b)));
            others.extend(rest.iter().map(|&&b| (a, b)));
        }
        if !within.is_empty() && !others.is_empty() {
            println!("{name:20}  {:>6.3}   {:>9.3}", mean(within)?, mean(others)?);
        }
    }
    Ok(())
}

fn analogies(words: &Embeddings) {
    println!();
    for [a, b, c] in [
        ["man", "men", "year"],
        ["good", "better", "great"],
        ["his", "he", "their"],
        ["is", "was", "are"],
    ] {
        if let Ok(best) = words.analogy(a, b, c, 3, Analogy::Mul) {
            let best: Vec<&str> = best.iter().map(|n| n.word).collect();
            println!("{a} is to {b} as {c} is to {}", best.join(", "));
        }
    }
}
