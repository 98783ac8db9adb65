//! Training steps of image GANs beside PyTorch's, taking turns on as many threads.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin gan_step -- --python python3 --threads 1
//! ```
//!
//! The convolutional and the residual networks at 32×32, colour, batch 64, without a penalty and with
//! R1 and R2 in every step. Images are noise: it is about time alone.

use std::error::Error;
use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use rand::RngExt;
use refrain::gan::{
    ConvDiscriminator, ConvGenerator, DiscriminatorConfig, Gan, GeneratorConfig, ImageShape,
    Images, Penalty, ResidualDiscriminator, ResidualGenerator, Trainer,
};
use refrain::rng;
use refrain_benches::{Torch, median, processor_seconds, script};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "Image GANs: time per training step, beside PyTorch")]
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
    #[arg(long, default_value_t = 6)]
    burst: usize,
    #[arg(long, default_value_t = 64)]
    batch: usize,
    /// Run this one alone: `dcgan` or `residual`.
    #[arg(long)]
    only: Option<String>,
}

/// Channels of the networks.
const GENERATOR: [usize; 4] = [128, 64, 64, 32];
const DISCRIMINATOR: [usize; 3] = [32, 64, 128];

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
    let shape = ImageShape::square(3, 32);
    let mut draw = rng::stream(1, 0);
    let pixels = (0..256 * shape.len()).map(|_| draw.random_range(0.0..1.0f32));
    let images = Images::from_f32(shape, pixels.collect())?;
    println!(
        "3×32×32, batch {}, threads {}; ms per step, wall (processor):",
        arguments.batch, arguments.threads
    );
    for kind in ["dcgan", "residual"] {
        if arguments.only.as_deref().is_some_and(|only| only != kind) {
            continue;
        }
        for gamma in [0.0, 0.1] {
            compare(arguments, kind, gamma, &images)?;
        }
    }
    Ok(())
}

fn networks(kind: &str) -> (GeneratorConfig, DiscriminatorConfig) {
    match kind {
        "dcgan" => (
            ConvGenerator {
                base_channels: GENERATOR[0],
                channels: GENERATOR[1..].to_vec(),
                ..ConvGenerator::default()
            }
            .into(),
            ConvDiscriminator {
                channels: DISCRIMINATOR.to_vec(),
                ..ConvDiscriminator::default()
            }
            .into(),
        ),
        _ => (
            ResidualGenerator {
                channels: GENERATOR.to_vec(),
                ..ResidualGenerator::default()
            }
            .into(),
            ResidualDiscriminator {
                channels: DISCRIMINATOR.to_vec(),
                ..ResidualDiscriminator::default()
            }
            .into(),
        ),
    }
}

fn compare(
    arguments: &Arguments,
    kind: &str,
    gamma: f32,
    images: &Images,
) -> Result<(), Box<dyn Error>> {
    let (generator, discriminator) = networks(kind);
    let gan = Gan {
        generator,
        discriminator,
        penalty: match gamma > 0.0 {
            true => Penalty::R1R2 { gamma },
            false => Penalty::None,
        },
        batch: arguments.batch,
        ..Gan::default()
    };
    let mut trainer = gan.trainer(images, &refrain::device("cpu")?)?;
    let mut torch = match &arguments.python {
        Some(python) => {
            let list = |channels: &[usize]| {
                let names: Vec<String> = channels.iter().map(usize::to_string).collect();
                names.join(",")
            };
            let mut command = Command::new(python);
            command.arg(script("torch_gan.py")).arg(kind).args([
                "--image",
                "3,32,32",
                "--threads",
                &arguments.threads.to_string(),
                "--batch",
                &arguments.batch.to_string(),
                "--generator",
                &list(&GENERATOR),
                "--discriminator",
                &list(&DISCRIMINATOR),
                "--gamma",
                &gamma.to_string(),
            ]);
            Some(Torch::start(&mut command)?)
        }
        None => None,
    };
    burst(&mut trainer, 3)?;
    let (mut ours, mut rival) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for _ in 0..arguments.rounds {
        let (wall, processor) = burst(&mut trainer, arguments.burst)?;
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
    let penalty = if gamma > 0.0 {
        "R1 and R2"
    } else {
        "no penalty"
    };
    println!("{kind}, {penalty}: {wall:.1} ({processor:.1})");
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
fn burst(trainer: &mut Trainer, steps: usize) -> Result<(f64, f64), Box<dyn Error>> {
    let (mut walls, began) = (Vec::new(), processor_seconds());
    for _ in 0..steps {
        let began = Instant::now();
        trainer.step()?;
        walls.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let processor = 1e3 * (processor_seconds() - began) / steps.max(1) as f64;
    Ok((median(walls), processor))
}
