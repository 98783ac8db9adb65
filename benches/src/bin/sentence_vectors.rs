//! Vectors of sentences beside sentence-transformers: how far apart, and texts a second, taking turns.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin sentence_vectors -- \
//!     --model FOLDER --texts FILE --python python3 --threads 1
//! ```

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use refrain::sequence::TextEncoder;
use refrain_benches::{Torch, median, processor_seconds, script};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Vectors of sentences: texts a second, beside sentence-transformers")]
struct Arguments {
    /// Folder of the encoder.
    #[arg(long)]
    model: PathBuf,
    /// A text a line.
    #[arg(long)]
    texts: PathBuf,
    /// A Python with sentence-transformers; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Texts in each round, from the beginning of the file.
    #[arg(long, default_value_t = 600)]
    count: usize,
    /// Texts whose vectors are compared.
    #[arg(long, default_value_t = 500)]
    compared: usize,
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(arguments.threads)
        .build_global()?;
    let bytes = std::fs::read(&arguments.texts)?;
    let text = String::from_utf8_lossy(&bytes);
    let texts: Vec<&str> = text.split('\n').filter(|l| !l.trim().is_empty()).collect();
    let texts = texts.get(..arguments.count).unwrap_or(&texts);
    let encoder = TextEncoder::load(&arguments.model, &refrain::device("cpu")?)?;

    let compared = texts.get(..arguments.compared).unwrap_or(texts);
    let vectors = encoder.encode(compared)?;
    let name = format!("refrain-sentence-vectors-{}.json", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, serde_json::to_vec(&vectors)?)?;
    let result = rounds(arguments, &encoder, texts, &path);
    std::fs::remove_file(&path)?;
    result
}

fn rounds(
    arguments: &Arguments,
    encoder: &TextEncoder,
    texts: &[&str],
    vectors: &std::path::Path,
) -> Result<(), Box<dyn Error>> {
    let mut torch = match &arguments.python {
        Some(python) => {
            let mut command = Command::new(python);
            command.arg(script("torch_sentences.py"));
            command.arg(&arguments.model).arg(&arguments.texts);
            command.arg(vectors);
            command.args(["--threads", &arguments.threads.to_string()]);
            Some(Torch::start(&mut command)?)
        }
        None => None,
    };
    if let Some(torch) = &mut torch {
        let answer = torch.turn(0)?;
        println!(
            "largest difference from transformers, each of {} texts alone: {:.1e}",
            answer["compared"],
            answer["difference"].as_f64().unwrap_or(f64::NAN)
        );
    }
    let (mut ours, mut rival) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    encoder.encode(texts.get(..64).unwrap_or(texts))?;
    for _ in 0..arguments.rounds {
        let (began, processor) = (Instant::now(), processor_seconds());
        encoder.encode(texts)?;
        ours.0.push(began.elapsed().as_secs_f64());
        ours.1.push(processor_seconds() - processor);
        if let Some(torch) = &mut torch {
            let answer = torch.turn(texts.len())?;
            let number = |name: &str| answer[name].as_f64().unwrap_or(f64::NAN);
            rival.0.push(number("seconds"));
            rival.1.push(number("processor"));
        }
    }
    let told = |who: &str, (wall, processor): (Vec<f64>, Vec<f64>)| {
        let wall = median(wall);
        let (rate, processor) = (texts.len() as f64 / wall, median(processor));
        println!("{who}: {rate:.0} texts a second, {processor:.2} s of processor time");
        wall
    };
    println!("{} texts, threads {}:", texts.len(), arguments.threads);
    let ours = told("refrain", ours);
    if torch.is_some() {
        let theirs = told("sentence-transformers", rival);
        println!("ours does {:.2} times as many", theirs / ours);
    }
    Ok(())
}
