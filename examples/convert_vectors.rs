//! Turns vectors of one format into another.
//!
//! ```sh
//! cargo run --release --example convert_vectors -- vectors.bin vectors.refrain
//! cargo run --release --example convert_vectors -- glove.6B.50d.txt --from glove vectors.npy
//! ```
//!
//! The formats follow from the endings of the names unless they are given: `.txt` and `.vec` are
//! word2vec's text, `.bin` its binary format unless the file begins as one of fastText does, `.ftz`
//! fastText's quantised one, `.floret` floret's, `.fifu` finalfusion's, a folder one of Model2Vec, `.npy` a
//! matrix of numpy with its words in a file of the same name that ends in `.words.txt`, `.refrain` our
//! own, which opens at once whatever its size.
//! Prints what was read and, as a check, the neighbours of a word.

use std::error::Error;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use refrain::embeddings::Embeddings;
use refrain::embeddings::formats::{
    fasttext, finalfusion, floret, glove, model2vec, numpy, word2vec,
};

/// Turn vectors of one format into another
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The file to read
    from_file: PathBuf,
    /// The file to write
    to_file: PathBuf,
    /// The format to read; by the ending if not given
    #[arg(long, value_enum)]
    from: Option<Format>,
    /// The format to write; by the ending if not given
    #[arg(long, value_enum)]
    to: Option<Format>,
    /// A file with the words to make, one on each line, when vectors of floret are read, which name none
    #[arg(long)]
    words: Option<PathBuf>,
    /// Whose neighbours to print; the first word's if not given
    #[arg(long)]
    word: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// A line of counts, then a word and its values on each line
    Word2vec,
    /// The same in bytes
    Word2vecBinary,
    /// fastText's model, with the n-grams that unknown words are made of
    Fasttext,
    /// The same in a byte for each two values
    FasttextSmall,
    /// floret's rows of n-grams
    Floret,
    /// finalfusion's chunks
    Finalfusion,
    /// A word and its values on each line
    Glove,
    /// A folder of Model2Vec: safetensors with a tokenizer
    Model2vec,
    /// A matrix, and a list of words beside it
    Numpy,
    /// Our own
    Refrain,
}

impl Format {
    fn of(path: &Path) -> Result<Self, String> {
        match path.extension().and_then(|ending| ending.to_str()) {
            _ if path.is_dir() => Ok(Self::Model2vec),
            Some("txt" | "vec") => Ok(Self::Word2vec),
            Some("bin") if begins_as_fasttext(path) => Ok(Self::Fasttext),
            Some("bin") => Ok(Self::Word2vecBinary),
            Some("ftz") => Ok(Self::FasttextSmall),
            Some("floret") => Ok(Self::Floret),
            Some("fifu") => Ok(Self::Finalfusion),
            Some("npy") => Ok(Self::Numpy),
            Some("refrain") => Ok(Self::Refrain),
            _ => Err(format!(
                "{}: the ending names no format; say which with --from or --to",
                path.display()
            )),
        }
    }
}

/// Whether there is a file that begins with fastText's number.
fn begins_as_fasttext(path: &Path) -> bool {
    let mut number = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut number));
    read.is_ok() && i32::from_le_bytes(number) == 793_712_314
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("convert_vectors: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let (source, target) = (&options.from_file, &options.to_file);
    let from = options.from.map_or_else(|| Format::of(source), Ok)?;
    // What an old file at the target's place is says nothing of what is to be written.
    let binary = target.extension().is_some_and(|ending| ending == "bin");
    let to = match options.to {
        Some(to) => to,
        None if binary => Format::Word2vecBinary,
        None => Format::of(target)?,
    };
    let began = Instant::now();
    let vectors = match from {
        Format::Word2vec => word2vec::read_text(source)?,
        Format::Word2vecBinary => word2vec::read_binary(source)?,
        Format::Fasttext | Format::FasttextSmall => fasttext::read(source)?,
        Format::Floret => {
            let words = options.words.as_ref().map(std::fs::read_to_string);
            floret::read_words(source, words.transpose()?.unwrap_or_default().lines())?
        }
        Format::Finalfusion => finalfusion::read(source)?,
        Format::Glove => glove::read(source)?,
        Format::Model2vec => model2vec::read(source)?,
        Format::Numpy => numpy::read(source, source.with_extension("words.txt"))?,
        Format::Refrain => Embeddings::load(source)?,
    };
    println!(
        "{}: {} words, {} values each, read in {:.2} s",
        source.display(),
        vectors.len(),
        vectors.dim(),
        began.elapsed().as_secs_f64()
    );
    let began = Instant::now();
    match to {
        Format::Word2vec => word2vec::write_text(&vectors, target)?,
        Format::Word2vecBinary => word2vec::write_binary(&vectors, target)?,
        Format::Fasttext => fasttext::write(&vectors, target)?,
        Format::FasttextSmall => {
            let part = 1 + usize::from(vectors.dim().is_multiple_of(2));
            fasttext::write_quantised(&vectors, target, part)?;
        }
        Format::Floret => {
            let ngrams = vectors.subwords().ok_or("there are no n-grams to write")?;
            floret::write(ngrams, target)?;
        }
        Format::Finalfusion => finalfusion::write(&vectors, target)?,
        Format::Glove => glove::write(&vectors, target)?,
        Format::Model2vec => model2vec::write(&vectors, target)?,
        Format::Numpy => numpy::write(&vectors, target, target.with_extension("words.txt"))?,
        Format::Refrain => vectors.save(target)?,
    }
    println!(
        "{}: written in {:.2} s",
        target.display(),
        began.elapsed().as_secs_f64()
    );
    let first = vectors.vocabulary().word(0).unwrap_or_default();
    let word = options.word.as_deref().unwrap_or(first);
    if !vectors.is_empty() {
        println!("near {word:?}:");
        for near in vectors.neighbours(word, 5)? {
            println!("  {:24} {:.3}", near.word, near.similarity);
        }
    }
    Ok(())
}
