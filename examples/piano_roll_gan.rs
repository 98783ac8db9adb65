//! A GAN of images composes: bars of the bundled tunes as piano rolls.
//!
//! ```sh
//! cargo run --release --example piano_roll_gan
//! cargo run --release --example piano_roll_gan -- --one-dimensional
//! ```
//!
//! Four bars of each tune in common time, moved to one key, are an image of 32 eighths by 32 keys. A GAN
//! learns those of most tunes (a tune's bars are alike, so whole tunes are held out) and paints new ones; at each step only the brightest key sounds. Printed are MuseGAN's
//! measures of the painted bars beside those of bars that were held out, and how like them they are. MIDI
//! files, a picture and the model go into `--out`. With `--one-dimensional` the keys are channels: both networks
//! are convolutions over time alone, which see all keys at once.

mod support;

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use rand::seq::SliceRandom;
use refrain::data::bundled;
use refrain::gan::metrics::{kernel_distance, manifold, memorisation, piano_roll_quality};
use refrain::gan::{
    ConvDiscriminator, ConvGenerator, Gan, Grid, ImageShape, Images, Penalty, PianoRoll, RollNote,
    Sheets, grid_png,
};
use refrain::music::{Letter, Midi, PlayedNote, Tonic, Tune};
use refrain::{Monitor, rng};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compose bars of music with a GAN
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Passes over the bars
    #[arg(long, default_value_t = 60)]
    epochs: usize,
    /// Convolutions over time alone, with the keys as channels
    #[arg(long)]
    one_dimensional: bool,
    /// How much the judge's slope counts: more than for pictures, for it tells 0 and 1 from what lies between
    #[arg(long, default_value_t = 1.0)]
    gamma: f32,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/piano-roll")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

/// Eighths of four bars, from the G below the middle C on.
const ROLL: PianoRoll = PianoRoll {
    tracks: 1,
    bars: 4,
    steps: 8,
    lowest: 55,
    keys: 32,
};
/// Seconds of an eighth.
const EIGHTH: f64 = 0.2;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("piano_roll_gan: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let mut tunes = bars(if options.quick { 40 } else { usize::MAX })?;
    tunes.shuffle(&mut rng::stream(options.seed, 0));
    let kept = tunes.split_off(tunes.len() / 5);
    let rolls = |tunes: &[Vec<f32>]| Images::from_f32(ROLL.shape(), tunes.concat());
    let (train, held_out) = (rolls(&kept)?, rolls(&tunes)?);
    println!(
        "{} times four bars of {} tunes to learn from, {} of {} tunes held out",
        train.len(),
        kept.len(),
        held_out.len(),
        tunes.len()
    );

    let mut gan = Gan {
        penalty: Penalty::R1R2 {
            gamma: options.gamma,
        },
        epochs: if options.quick { 1 } else { options.epochs },
        seed: options.seed,
        ..Gan::default()
    };
    let monitor = Monitor::bars();
    let model = if options.one_dimensional {
        gan.generator = ConvGenerator {
            base_channels: 128,
            channels: vec![128, 64],
            ..ConvGenerator::default()
        }
        .into();
        gan.discriminator = ConvDiscriminator {
            channels: vec![64, 128],
            ..ConvDiscriminator::default()
        }
        .into();
        gan.fit_with(&ROLL.keys_as_channels(&train)?, &device, &monitor)?
    } else {
        gan.sheets = Some(Sheets::new(&options.out));
        gan.fit_with(&train, &device, &monitor)?
    };
    if let Some(last) = model.history().last() {
        println!("{last}");
    }
    model.save(options.out.join("composer.refrain"))?;
    let sample = model.sample(held_out.len(), options.seed)?;
    let painted = ROLL.one_voice(&match options.one_dimensional {
        true => ROLL.keys_as_columns(&sample)?,
        false => sample,
    })?;

    println!("\n                     empty bars  pitch classes  long notes  movement");
    for (name, rolls) in [("painted", &painted), ("real, held out", &held_out)] {
        let q = piano_roll_quality(rolls, &ROLL, 2)?;
        println!(
            "{name:<20}{:>9.1} %{:>15.2}{:>10.1} %{:>10.3}",
            100.0 * q.empty_bars,
            q.used_pitch_classes,
            100.0 * q.qualified_notes,
            q.tonal_distance.unwrap_or(f64::NAN)
        );
    }
    let dim = ROLL.shape().len();
    let like = manifold(painted.pixels(), held_out.pixels(), dim, 5)?;
    let copies = memorisation(painted.pixels(), train.pixels(), held_out.pixels(), dim)?;
    println!(
        "\nkernel distance over pixels {:.4}; density {:.2}, coverage {:.2}; {:.1} % perhaps copies",
        kernel_distance(painted.pixels(), held_out.pixels(), dim)?,
        like.density,
        like.coverage,
        100.0 * copies.copied
    );

    let shown = painted.select(&[0, 1, 2, 3, 4, 5, 6, 7]);
    for (i, notes) in ROLL.notes(&shown)?.iter().take(3).enumerate() {
        let played: Vec<PlayedNote> = notes.iter().map(played).collect();
        let midi = Midi::default().notes_to_bytes(&played, 2.0 * EIGHTH, "Four bars")?;
        write(&options.out.join(format!("bars-{}.mid", i + 1)), midi)?;
    }
    let grid = Grid {
        columns: 4,
        scale: 3,
        gap: 4,
        ink: true,
    };
    write(
        &options.out.join("bars.png"),
        grid_png(&upright(&shown)?, &grid)?,
    )
}

fn write(path: &Path, bytes: Vec<u8>) -> Result<(), Box<dyn Error>> {
    std::fs::write(path, bytes).map_err(|e| format!("{}: {e}", path.display()))?;
    println!("{} written", path.display());
    Ok(())
}

fn played(note: &RollNote) -> PlayedNote {
    PlayedNote {
        start: note.start as f64 * EIGHTH,
        duration: note.length as f64 * EIGHTH * 0.94,
        pitch: note.key,
        velocity: if note.start.is_multiple_of(4) {
            0.9
        } else {
            0.7
        },
        element: None,
    }
}

/// Time to the right, high keys above: as one reads music.
fn upright(rolls: &Images) -> Result<Images, Box<dyn Error>> {
    let ImageShape {
        channels,
        height,
        width,
    } = rolls.shape();
    let mut pixels = Vec::new();
    for roll in 0..rolls.len() {
        for key in (0..width).rev() {
            pixels.extend((0..height).map(|step| rolls.image(roll)[step * width + key]));
        }
    }
    Ok(Images::from_f32(
        ImageShape {
            channels,
            height: width,
            width: height,
        },
        pixels,
    )?)
}

/// Of each bundled tune in common time whose notes begin on eighths, moved to G: four bars at a time.
/// Tunes of one title are settings of one tune.
fn bars(most: usize) -> Result<Vec<Vec<f32>>, Box<dyn Error>> {
    let g = Tonic {
        letter: Letter::G,
        alter: 0,
    };
    let mut tunes: BTreeMap<String, Vec<f32>> = BTreeMap::new();
    for record in bundled::tunes()? {
        if tunes.len() == most {
            break;
        }
        let Ok(tune) = Tune::parse(&record.abc()).and_then(|tune| tune.transpose_to(g)) else {
            continue;
        };
        if tune.metre.bar().map(|bar| bar.to_f64()) != Some(1.0) {
            continue;
        }
        let notes = tune.perform_once().notes;
        // The first bar that is whole: a pick-up may come before it.
        let starts: Vec<f64> = notes
            .iter()
            .filter(|n| n.accent)
            .map(|n| n.start.to_f64())
            .collect();
        let Some(first) = starts.windows(2).find(|w| w[1] - w[0] == 1.0).map(|w| w[0]) else {
            continue;
        };
        for part in 0..4 {
            let from = first + 4.0 * f64::from(part);
            let eighth = |time: f64| (time - from) * 8.0;
            let here = notes
                .iter()
                .filter(|n| (0.0..32.0).contains(&eighth(n.start.to_f64())));
            let note = |n: &refrain::music::Sounding| {
                let (start, length) = (eighth(n.start.to_f64()), 8.0 * n.duration.to_f64());
                let whole = start.fract() == 0.0 && length.fract() == 0.0;
                let (start, length) = (start as usize, length as usize);
                whole.then_some(RollNote {
                    track: 0,
                    key: n.pitch,
                    start,
                    length: length.min(32 - start),
                })
            };
            let Some(bars) = here.map(note).collect::<Option<Vec<_>>>() else {
                continue; // shorter notes than a roll of eighths can hold
            };
            let sounding: usize = bars.iter().map(|n| n.length).sum();
            if sounding >= 24 {
                let title = record.title.to_lowercase();
                let pixels = tunes.entry(title).or_default();
                pixels.extend_from_slice(ROLL.image(&bars)?.pixels());
            }
        }
    }
    Ok(tunes.into_values().collect())
}
