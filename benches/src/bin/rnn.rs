//! Training steps of recurrent language models beside PyTorch's, taking turns on as many threads.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin rnn -- --python python3 --threads 1
//! ```
//!
//! Tokens are drawn at random: it is about time alone.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::Parser;
use rand::RngExt;
use refrain::sequence::{Cell, Corpus, RnnConfig, Trainer, Vocabulary};
use refrain::{Event, Monitor, rng};
use refrain_benches::{Torch, median, processor_seconds, script};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Recurrent language models: time per training step, beside PyTorch")]
struct Arguments {
    /// A Python with PyTorch; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Interleaved rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Steps in each round.
    #[arg(long, default_value_t = 12)]
    burst: usize,
    #[arg(long, default_value_t = 2)]
    layers: usize,
    #[arg(long, default_value_t = 256)]
    width: usize,
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Tokens of a window.
    #[arg(long, default_value_t = 64)]
    bptt: usize,
    #[arg(long, default_value_t = 65)]
    vocabulary: usize,
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
    let names: Vec<String> = (0..arguments.vocabulary).map(|i| i.to_string()).collect();
    let vocabulary = Vocabulary::named(names.iter().map(String::as_str))?;
    let mut draw = rng::stream(1, 0);
    let tokens = arguments.batch * arguments.bptt * 8 + 1;
    let tokens = (0..tokens).map(|_| draw.random_range(0..arguments.vocabulary as u32));
    let corpus = Corpus::stream(vocabulary, tokens.collect())?;
    println!(
        "{} layers of {}, batch {}, {} tokens each, vocabulary {}, threads {}; ms per step, wall (processor):",
        arguments.layers,
        arguments.width,
        arguments.batch,
        arguments.bptt,
        arguments.vocabulary,
        arguments.threads
    );
    for (cell, theirs) in [
        (Cell::Lstm, "LSTM"),
        (Cell::Gru, "GRU"),
        (Cell::Elman, "RNN"),
    ] {
        let config = RnnConfig {
            cell,
            layers: arguments.layers,
            width: arguments.width,
            bptt: arguments.bptt,
            tied: false,
            ..RnnConfig::default()
        };
        compare(arguments, &config, theirs, &corpus)?;
    }
    Ok(())
}

fn compare(
    arguments: &Arguments,
    config: &RnnConfig,
    theirs: &str,
    corpus: &Corpus,
) -> Result<(), Box<dyn Error>> {
    let mut torch = match &arguments.python {
        Some(python) => {
            let mut command = Command::new(python);
            command.arg(script("torch_rnn.py")).arg(theirs);
            for (name, value) in [
                ("--threads", arguments.threads),
                ("--layers", arguments.layers),
                ("--width", arguments.width),
                ("--batch", arguments.batch),
                ("--bptt", arguments.bptt),
                ("--vocabulary", arguments.vocabulary),
            ] {
                command.args([name, &value.to_string()]);
            }
            Some(Torch::start(&mut command)?)
        }
        None => None,
    };
    let (mut ours, mut rival) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..arguments.rounds {
        let (wall, processor) = burst(arguments, config, corpus)?;
        ours.0.push(wall);
        ours.1.push(processor);
        if let Some(torch) = &mut torch {
            let answer = torch.turn(arguments.burst)?;
            let number = |name: &str| answer[name].as_f64().unwrap_or(f64::NAN);
            rival.0.push(number("ms"));
            rival.1.push(number("processor_ms"));
        }
    }
    let (wall, processor) = (median(ours.0), median(ours.1));
    println!("{:?}: {wall:.1} ({processor:.1})", config.cell);
    if torch.is_some() {
        let (theirs, their_processor) = (median(rival.0), median(rival.1));
        println!(
            "  PyTorch: {theirs:.1} ({their_processor:.1}); ours takes {:.2} ({:.2}) of it",
            wall / theirs,
            processor / their_processor
        );
    }
    Ok(())
}

/// Milliseconds of a step, the median by the wall clock, and the mean by the processor's.
fn burst(
    arguments: &Arguments,
    config: &RnnConfig,
    corpus: &Corpus,
) -> Result<(f64, f64), Box<dyn Error>> {
    let trainer = Trainer {
        steps: arguments.burst + 3,
        batch: arguments.batch,
        ..Trainer::default()
    };
    let times = Arc::new(Mutex::new(Vec::new()));
    let log = times.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let (Event::Advance { .. }, Ok(mut log)) = (event, log.lock()) {
            log.push((Instant::now(), processor_seconds()));
        }
    });
    trainer.fit_with(config, corpus, &refrain::device("cpu")?, &monitor)?;
    let times = times.lock().map_err(|_| "a step panicked")?;
    // The first event comes before the first step; three steps warm up.
    let times = times.get(3..).unwrap_or_default();
    let walls = times
        .windows(2)
        .map(|w| (w[1].0 - w[0].0).as_secs_f64() * 1e3);
    let (Some(first), Some(last)) = (times.first(), times.last()) else {
        return Err("no step was timed".into());
    };
    let processor = 1e3 * (last.1 - first.1) / (times.len() - 1).max(1) as f64;
    Ok((median(walls.collect()), processor))
}
