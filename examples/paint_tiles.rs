//! Paints small pictures in colour after those in a folder.
//!
//! ```sh
//! REFRAIN_DATA=data cargo run --release --example paint_tiles
//! cargo run --release --example paint_tiles -- --folder pictures
//! cargo run --release --example paint_tiles -- --quick
//! ```
//!
//! Learns the 32×32 tiles of Dungeon Crawl Stone Soup (`crawl/tiles`, CC0) in `$REFRAIN_DATA/dcss-tiles`,
//! or the PNG and JPEG files of any folder, or, without either, tiles made up of shapes. They are few, so
//! real and painted tiles alike are changed a little before they are judged (DiffAugment). Writes the
//! sheets painted while it learns as an animated GIF, and tells how near the painted tiles come to real
//! ones that were held out. All sixty passes take two hours of one core: look at the first few sheets.

mod support;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::gan::metrics::{frechet_distance, kernel_distance, manifold, memorisation};
use refrain::gan::{
    Augment, Fit, Gan, Grid, ImageFolder, ImageShape, Images, ResidualDiscriminator,
    ResidualGenerator, Sheets, save_grid,
};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Paint small pictures in colour
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// A folder of PNG and JPEG files in place of the tiles
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// Passes over the tiles
    #[arg(long, default_value_t = 60)]
    epochs: usize,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/paint-tiles")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("paint_tiles: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The share of the pictures that is not learnt from, and the fewest of which it holds two to judge by.
const HELD_OUT: f64 = 0.15;
const FEWEST: usize = 14;

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let out = &options.out;
    let tiles = tiles(options)?;
    if tiles.len() < FEWEST {
        let few = format!(
            "{} pictures are too few: at least {FEWEST} are needed",
            tiles.len()
        );
        return Err(few.into());
    }
    let (train, held_out) = tiles.split(HELD_OUT, options.seed)?;
    println!(
        "{} pictures to learn from, {} held out",
        train.len(),
        held_out.len()
    );

    let grid = Grid {
        columns: 8,
        scale: 2,
        gap: 4,
        ink: false,
    };
    let channels = if options.quick {
        vec![8, 8, 8, 8]
    } else {
        vec![64, 64, 64, 32]
    };
    let mut narrowing = channels.clone();
    narrowing.reverse();
    let gan = Gan {
        generator: ResidualGenerator {
            channels,
            ..ResidualGenerator::default()
        }
        .into(),
        discriminator: ResidualDiscriminator {
            channels: narrowing,
            ..Default::default()
        }
        .into(),
        augment: Some(Augment::default()),
        epochs: if options.quick { 1 } else { options.epochs },
        batch: if options.quick { 8 } else { 32 },
        seed: options.seed,
        sheets: Some(Sheets {
            grid: Some(grid),
            ..Sheets::new(out)
        }),
        ..Gan::default()
    };
    let mut trainer = gan.trainer(&train, &device)?;
    let mut told = 0;
    while trainer.epoch(&Monitor::bars())?.is_some() {
        told = support::tell_alarms(trainer.history(), told);
    }
    let model = trainer.into_model();
    model.save(out.join("painter.refrain"))?;
    save_grid(&model.sheet(6, options.seed)?, &grid, out.join("tiles.png"))?;
    println!(
        "{}, training.gif and painter.refrain written",
        out.join("tiles.png").display()
    );

    // Over coarser pixels: the metrics see shapes and colours, not single pixels.
    let side = if options.quick { 8 } else { 16 };
    let small = |images: &Images| images.resized(side, side);
    let painted = small(&model.sample(held_out.len(), options.seed)?)?;
    let (known, unknown) = (small(&train)?, small(&held_out)?);
    let dim = unknown.shape().len();
    let count = unknown.len().min(known.len());
    let others = known.select(&(0..count).collect::<Vec<_>>());
    println!("\n                  Fréchet   kernel  density  coverage");
    for (name, set) in [("painted", &painted), ("real", &others)] {
        let (a, b) = (set.pixels(), unknown.pixels());
        let near = manifold(a, b, dim, 5.min(count - 1))?;
        println!(
            "{name:<16}{:>9.2}{:>9.4}{:>9.2}{:>10.2}",
            frechet_distance(a, b, dim)?,
            kernel_distance(a, b, dim)?,
            near.density,
            near.coverage
        );
    }
    let copies = memorisation(painted.pixels(), known.pixels(), unknown.pixels(), dim)?;
    println!(
        "a painted tile is nearer to a training tile than a held-out one is {:.0} % of the time; {:.1} % are perhaps copies",
        100.0 * copies.closer,
        100.0 * copies.copied
    );
    Ok(())
}

fn tiles(options: &Options) -> Result<Images, Box<dyn Error>> {
    let reader = ImageFolder {
        skip_broken: true,
        ..ImageFolder::sized(3, 32)
    };
    let (folder, reader) = match (&options.folder, support::data(options.quick, "dcss-tiles")) {
        (Some(folder), _) => (folder.clone(), reader),
        (None, Some(folder)) => (
            folder,
            ImageFolder {
                fit: Fit::Exact,
                ..reader
            },
        ),
        (None, None) => {
            println!("REFRAIN_DATA/dcss-tiles not used: tiles are made up of shapes");
            return shapes(if options.quick { 64 } else { 2_000 }, options.seed);
        }
    };
    let read = reader.read(&folder)?;
    if let Some(first) = read.skipped.first() {
        println!("{} files left out; the first: {first}", read.skipped.len());
    }
    Ok(read.images)
}

/// Discs and squares of one colour on another.
fn shapes(count: usize, seed: u64) -> Result<Images, Box<dyn Error>> {
    let mut choice = support::Choice(seed);
    let colours = ["800", "080", "008", "880", "088", "808", "fff", "f80"];
    let sizes = ["5", "8", "11"];
    let mut bytes = Vec::new();
    for _ in 0..count {
        let (front, back) = (choice.of(&colours), choice.of(&["222", "421"]));
        let size: f32 = choice.of(&sizes).parse()?;
        let round = choice.of(&["disc", "square"]) == "disc";
        let centre = [choice.of(&sizes), choice.of(&sizes)].map(|s| 8.0 + s.parse().unwrap_or(8.0));
        for i in 0..32 * 32 {
            let [dx, dy] = [(i % 32) as f32 - centre[0], (i / 32) as f32 - centre[1]].map(f32::abs);
            let inside = if round {
                dx.hypot(dy) < size
            } else {
                dx.max(dy) < size
            };
            let colour = if inside { front } else { back };
            bytes.extend(
                colour
                    .chars()
                    .map(|c| c.to_digit(16).unwrap_or(0) as u8 * 17),
            );
        }
    }
    Ok(Images::from_u8(ImageShape::square(3, 32), &bytes)?)
}
