//! Paints 64×64 colour pictures with the network of the usual tutorial.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --example paint_emoji
//! cargo run --release --example paint_emoji -- --quick
//! ```
//!
//! Noise of 100 numbers → 256 as 8×8×4 → 128 → 64 → colour at 64×64, through convolutions. Learns the
//! pictures in `$REFRAIN_DATA/emoji/img/google/64` (npm `emoji-datasource-google` 16.0.0), few as they
//! are with [`Augment`]; without the folder, pictures made up of coloured discs on a coloured ground.
//!
//! Printed is how like real pictures the painted ones are, over colours at 8×8 pixels, beside real pictures
//! that were held out; the Fréchet distance of each tenth of the steps is drawn into `curves.svg`. The sheet of
//! each epoch and all of them as an animated GIF are written beside.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use rand::RngExt;
use refrain::gan::metrics::{frechet_images, manifold};
use refrain::gan::{
    Augment, ConvDiscriminator, ConvGenerator, Gan, Grid, ImageFolder, ImageShape, Images, Sheets,
    save_grid,
};
use refrain::{Monitor, rng};

/// Paint colour pictures
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Training steps
    #[arg(long, default_value_t = 3_000)]
    steps: u64,
    /// Pictures in a step
    #[arg(long, default_value_t = 32)]
    batch: usize,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/paint_emoji")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paint_emoji: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let images = match support::data(options.quick, "emoji/img/google/64") {
        Some(folder) => {
            let loader = ImageFolder {
                background: [255; 3],
                ..ImageFolder::sized(3, 64)
            };
            loader.read(folder)?.images
        }
        None => {
            println!("REFRAIN_DATA/emoji/img/google/64 not used: pictures made up of discs");
            discs(if options.quick { 32 } else { 2_000 })?
        }
    };
    let (train, held_out) = images.split(0.2, options.seed)?;
    let gan = Gan {
        generator: ConvGenerator {
            noise: 100,
            base: 8,
            base_channels: 4,
            channels: if options.quick {
                vec![8, 4]
            } else {
                vec![128, 64]
            },
            ..ConvGenerator::default()
        }
        .into(),
        discriminator: ConvDiscriminator {
            base: 8,
            channels: if options.quick {
                vec![4, 8, 8]
            } else {
                vec![32, 64, 128]
            },
            ..ConvDiscriminator::default()
        }
        .into(),
        augment: Some(Augment::default()),
        batch: if options.quick { 8 } else { options.batch },
        seed: options.seed,
        ..Gan::default()
    };
    let grid = Grid {
        columns: 8,
        scale: 1,
        gap: 2,
        ink: false,
    };
    let steps = if options.quick { 4 } else { options.steps };
    println!(
        "{} pictures to learn from, {} held out, {steps} steps of {}",
        train.len(),
        held_out.len(),
        gan.batch
    );
    let mut trainer = gan.trainer(&train, &device)?;
    trainer.keep_sheets(Sheets {
        grid: Some(grid),
        ..Sheets::new(&options.out)
    })?;
    let epochs = (steps / trainer.steps_per_epoch()).max(1);
    let (real, count) = (held_out.clone(), held_out.len());
    trainer.measure(
        "Fréchet distance",
        epochs.div_ceil(10) as usize,
        move |model| frechet_images(&coarse(&model.sample(count, 2)?)?, &coarse(&real)?),
    )?;
    let stage = Monitor::bars().start("painter", Some(steps));
    let mut told = 0;
    for step in 1..=steps {
        let report = trainer.step()?;
        if step.is_multiple_of(steps.div_ceil(10)) {
            println!("step {step}: {report}");
        }
        told = support::tell_alarms(trainer.history(), told);
        stage.advance(1, report)?;
    }
    save_grid(
        &held_out.select(&(0..64.min(held_out.len())).collect::<Vec<_>>()),
        &grid,
        options.out.join("real.png"),
    )?;
    let model = trainer.into_model();
    model.save(options.out.join("painter.refrain"))?;
    save_grid(
        &model.sheet(8, options.seed)?,
        &grid,
        options.out.join("painted.png"),
    )?;
    std::fs::write(options.out.join("curves.svg"), model.curves())?;

    // As many real pictures, of those learnt from, show how good it can get.
    let painted = coarse(&model.sample(held_out.len(), options.seed)?)?;
    let some: Vec<usize> = (0..held_out.len()).collect();
    let (real, held_out) = (coarse(&train.select(&some))?, coarse(&held_out)?);
    let dim = held_out.shape().len();
    println!("\n                        Fréchet  precision  recall  density  coverage");
    for (name, set) in [("painted", &painted), ("real, learnt from", &real)] {
        let like = manifold(set.pixels(), held_out.pixels(), dim, 3)?;
        println!(
            "{name:<20}{:>11.3}{:>11.2}{:>8.2}{:>9.2}{:>10.2}",
            frechet_images(set, &held_out)?,
            like.precision,
            like.recall,
            like.density,
            like.coverage
        );
    }
    println!("written to {}", options.out.display());
    Ok(())
}

/// Small enough to compare a few hundred pictures by their pixels.
fn coarse(images: &Images) -> refrain::gan::Result<Images> {
    images.resized(8, 8)
}

/// One to three discs of any colour on a ground of any colour.
fn discs(count: usize) -> Result<Images, Box<dyn Error>> {
    let mut rng = rng::stream(5, 0);
    let mut pixels = Vec::with_capacity(count * 3 * 64 * 64);
    for _ in 0..count {
        let color = |rng: &mut rng::Stream| [0; 3].map(|_| rng.random_range(0.0..1.0f32));
        let ground = color(&mut rng);
        let discs: Vec<([f32; 3], [f32; 3])> = (0..rng.random_range(1..=3))
            .map(|_| {
                let place = [
                    rng.random_range(12.0..52.0),
                    rng.random_range(12.0..52.0),
                    rng.random_range(5.0..20.0f32),
                ];
                (place, color(&mut rng))
            })
            .collect();
        for channel in 0..3 {
            for at in 0..64 * 64 {
                let (x, y) = ((at % 64) as f32, (at / 64) as f32);
                let inside = |([cx, cy, r], _): &&([f32; 3], [f32; 3])| (x - cx).hypot(y - cy) < *r;
                let top = discs.iter().rev().find(inside);
                pixels.push(top.map_or(ground, |disc| disc.1)[channel]);
            }
        }
    }
    Ok(Images::from_f32(ImageShape::square(3, 64), pixels)?)
}
