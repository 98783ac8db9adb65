//! Tiny Shakespeare, character by character: validation loss after nanoGPT's small recipe, and
//! milliseconds per training step beside PyTorch's, interleaved on the same threads.
//!
//! ```text
//! REFRAIN_DATA=DATA cargo run --release -p refrain-benches --bin shakespeare -- --python python3
//! ```
//!
//! `DATA/tinyshakespeare/input.txt` is Karpathy's file of 1,115,394 characters (char-rnn, MIT);
//! the last tenth is held out, as in nanoGPT.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use clap::{Parser, ValueEnum};
use refrain::sequence::{
    Biases, Characters, Compute, Corpus, FeedForward, Trainer, TransformerConfig,
};
use refrain::{Device, Event, Monitor};
use refrain_benches::{Torch, median, script};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shape {
    /// The crate's default: rotary positions, RMS norm, ReLU².
    Default,
    /// As Llama: SwiGLU instead.
    Llama,
    /// As nanoGPT: learned positions, layer norm, GELU.
    Gpt2,
}

#[derive(Parser)]
#[command(about = "Tiny Shakespeare: loss and time per step, beside PyTorch")]
struct Arguments {
    /// A Python with PyTorch; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// Threads for both sides.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Interleaved rounds of the timing.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Steps in each round.
    #[arg(long, default_value_t = 20)]
    burst: usize,
    /// Steps of the training whose loss is reported; 0 trains nothing.
    #[arg(long, default_value_t = 2000)]
    train: usize,
    #[arg(long, default_value_t = 1e-3)]
    learning_rate: f64,
    #[arg(long, value_enum, default_value_t = Shape::Default)]
    shape: Shape,
    /// Also time the tensor program.
    #[arg(long)]
    program: bool,
    #[arg(long, default_value_t = 1337)]
    seed: u64,
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
    let folder = std::env::var("REFRAIN_DATA")
        .map_err(|_| "set REFRAIN_DATA to a folder that holds tinyshakespeare/input.txt")?;
    let path = Path::new(&folder).join("tinyshakespeare/input.txt");
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let corpus = Corpus::text(&Characters::from_text(&text)?, &text)?.hold_out(0.1, 0)?;
    let device = refrain::device("cpu")?;
    let config = match arguments.shape {
        Shape::Default => TransformerConfig::default(),
        Shape::Llama => TransformerConfig {
            feed_forward: FeedForward::SwiGlu,
            ..TransformerConfig::default()
        },
        Shape::Gpt2 => TransformerConfig {
            bias: Biases::None,
            ..TransformerConfig::gpt2()
        },
    };
    println!(
        "{} layers, {} heads, width {}, context {}, batch 12, {} parameters, {} threads",
        config.layers,
        config.heads,
        config.width,
        config.context,
        config.parameters(corpus.vocabulary().len())?,
        arguments.threads
    );
    time(arguments, &config, &corpus, &device, &path)?;
    if arguments.train > 0 {
        train(arguments, &config, &corpus, &device, &path)?;
    }
    Ok(())
}

/// Milliseconds of each of `n` steps, after two to warm up.
fn our_steps(
    n: usize,
    compute: Compute,
    config: &TransformerConfig,
    corpus: &Corpus,
    device: &Device,
) -> Result<Vec<f64>, Box<dyn Error>> {
    // No validation part: nothing but steps runs between two events.
    let corpus = Corpus::stream(
        corpus.vocabulary().clone(),
        corpus.train().iter().flatten().copied().collect(),
    )?;
    let trainer = Trainer {
        steps: n + 3,
        compute,
        ..Trainer::default()
    };
    let times = Arc::new(Mutex::new(Vec::new()));
    let log = times.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let (Event::Advance { .. }, Ok(mut log)) = (event, log.lock()) {
            log.push(Instant::now());
        }
    });
    trainer.fit_with(config, &corpus, device, &monitor)?;
    let times = times.lock().map_err(|_| "a step panicked")?;
    let gaps = times.windows(2).map(|w| (w[1] - w[0]).as_secs_f64() * 1e3);
    Ok(gaps.skip(3).collect())
}

fn time(
    arguments: &Arguments,
    config: &TransformerConfig,
    corpus: &Corpus,
    device: &Device,
    text: &Path,
) -> Result<(), Box<dyn Error>> {
    let mut sides = vec![("refrain, kernels", Compute::Kernels, Vec::new())];
    if arguments.program {
        sides.push(("refrain, tensor program", Compute::Program, Vec::new()));
    }
    let mut torch = match &arguments.python {
        Some(python) => Some(Torch::start(
            Command::new(python)
                .arg(script("torch_shakespeare.py"))
                .arg(text)
                .args(["--serve", "--threads", &arguments.threads.to_string()]),
        )?),
        None => None,
    };
    let mut torch_times = Vec::new();
    for _ in 0..arguments.rounds {
        for (_, compute, times) in &mut sides {
            times.push(median(our_steps(
                arguments.burst,
                *compute,
                config,
                corpus,
                device,
            )?));
        }
        if let Some(torch) = &mut torch {
            let answer = torch.turn(arguments.burst)?;
            let times = answer["ms"].as_array().ok_or("PyTorch sent no times")?;
            let times = times.iter().filter_map(serde_json::Value::as_f64);
            torch_times.push(median(times.collect()));
        }
    }
    println!(
        "median of {} rounds of {} steps:",
        arguments.rounds, arguments.burst
    );
    let torch_ms = median(torch_times);
    for (name, _, times) in sides {
        let ms = median(times);
        let against = match torch_ms.is_nan() {
            true => String::new(),
            false => format!("   {:.2} × PyTorch", ms / torch_ms),
        };
        println!("  {name:24} {ms:8.2} ms/step{against}");
    }
    if !torch_ms.is_nan() {
        println!("  {:24} {torch_ms:8.2} ms/step", "PyTorch");
    }
    Ok(())
}

fn train(
    arguments: &Arguments,
    config: &TransformerConfig,
    corpus: &Corpus,
    device: &Device,
    text: &Path,
) -> Result<(), Box<dyn Error>> {
    let trainer = Trainer {
        steps: arguments.train,
        learning_rate: arguments.learning_rate,
        seed: arguments.seed,
        ..Trainer::default()
    };
    let trained = trainer.fit(config, corpus, device)?;
    for point in &trained.curve.validation {
        println!("  step {:5}  validation loss {:.4}", point.step, point.loss);
    }
    println!(
        "refrain: {} steps in {:.1} s, {:.0} tokens/s, validation loss {:.4}",
        arguments.train,
        trained.training_time.as_secs_f64(),
        trained.tokens_per_second(),
        trained.curve.best().map_or(f32::NAN, |p| p.loss)
    );
    if let Some(python) = &arguments.python {
        let output = Command::new(python)
            .arg(script("torch_shakespeare.py"))
            .arg(text)
            .args(["--threads", &arguments.threads.to_string()])
            .args(["--train", &arguments.train.to_string()])
            .output()?;
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| String::from_utf8_lossy(&output.stderr).into_owned())?;
        println!(
            "PyTorch, nanoGPT's model: {} steps in {:.1} s, validation loss {:.4}",
            answer["steps"],
            answer["seconds"].as_f64().unwrap_or(f64::NAN),
            answer["validation"].as_f64().unwrap_or(f64::NAN)
        );
    }
    Ok(())
}
