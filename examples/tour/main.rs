//! The main job, from a listening log to a new tune in one listener's taste.
//!
//! ```sh
//! cargo run --release --example tour
//! ```
//!
//! Needs no network. Six stages, each with its progress and a number: a leaderboard of recommenders,
//! recommendations with reasons, neighbours of tunes, a transformer that learns the tunes, a new
//! tune composed from one listener's favourites, and a GAN that paints digits. All of it ends up in
//! one page, `report.html`, beside the tune as ABC, MIDI, WAV and SVG, and the fitted models.

mod compose;
mod listen;
mod paint;
mod recommend;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use refrain::{Device, Monitor};

use crate::report::Page;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static GLOBAL: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// From a listening log to a tune composed in one listener's taste.
#[derive(Parser)]
#[command(version, about)]
pub struct Options {
    /// Your own log, CSV or TSV with a user, an item and perhaps a weight and a time per line;
    /// without it, simulated listeners of the bundled tunes
    #[arg(long, value_name = "FILE")]
    interactions: Option<PathBuf>,
    /// Your own catalogue, CSV with a column `id`; with columns `key` and `body` it holds tunes in
    /// ABC, otherwise features of any kind; without it, the bundled tunes
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,
    /// Who to recommend to and compose for; without it, someone with a clear taste
    #[arg(long, value_name = "ID")]
    listener: Option<String>,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    /// Decides everything random: the same seed gives the same report
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

/// What can go wrong in an example: anything, said in one line.
pub type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What every stage needs.
pub struct Tour {
    options: Options,
    device: Device,
    monitor: Monitor,
    page: Page,
}

impl Tour {
    /// A path inside the output folder.
    fn path(&self, name: &str) -> PathBuf {
        self.options.out.join(name)
    }

    /// Writes a file into the output folder.
    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(name);
        std::fs::write(&path, bytes).map_err(|e| format!("{}: {e}", path.display()).into())
    }
}

fn main() -> ExitCode {
    match run(Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let line = error.to_string().replace('\n', "; ");
            eprintln!("tour: {line}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: Options) -> Result<()> {
    let began = Instant::now();
    let device = match &options.device {
        Some(name) => refrain::device(name)?,
        None => refrain::device_from_env()?,
    };
    // The user's files are read before anything is written or trained.
    let data = listen::load(&options)?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let page = Page::new(
        &format!("A tune for {}", data.listener),
        "What a listener likes, what to recommend to them and why, and a new tune in that taste: \
         one run of refrain, from the log to the score.",
    );
    let mut tour = Tour {
        options,
        device,
        monitor: Monitor::bars(),
        page,
    };

    stage(1, "The log");
    listen::describe(&mut tour, &data);
    stage(2, "Recommenders, compared on what was played next");
    let recommended = recommend::run(&mut tour, &data)?;
    stage(3, "Neighbours, from who plays what in one session");
    recommend::neighbours(&mut tour, &data)?;
    stage(4, "A transformer learns the tunes");
    let composer = compose::train(&mut tour, &data, &recommended)?;
    stage(5, "A new tune in one listener's taste");
    compose::compose(&mut tour, &data, composer)?;
    stage(6, "A GAN paints digits");
    paint::run(&mut tour)?;

    credits(&mut tour, &data);
    let Tour { page, options, .. } = tour;
    let html = page.finish(&format!("refrain: a tune for {}", data.listener));
    let report = options.out.join("report.html");
    std::fs::write(&report, html).map_err(|e| format!("{}: {e}", report.display()))?;
    println!(
        "\n{} written in {:.0} s",
        shown(&report),
        began.elapsed().as_secs_f64()
    );
    println!(
        "{}: the tune, to be heard",
        shown(&options.out.join("tune.wav"))
    );
    Ok(())
}

fn stage(number: usize, title: &str) {
    println!("\n{number}. {title}");
}

fn shown(path: &Path) -> String {
    std::path::absolute(path)
        .map_or_else(|_| path.display().to_string(), |p| p.display().to_string())
}

fn credits(tour: &mut Tour, data: &listen::Data) {
    let page = &mut tour.page;
    page.section("How this page was made");
    let options = &tour.options;
    let mut command = format!("--seed {}", options.seed);
    for (name, file) in [
        ("interactions", &options.interactions),
        ("catalogue", &options.catalogue),
    ] {
        if let Some(file) = file {
            command += &format!(" --{name} {}", file.display());
        }
    }
    if let Some(listener) = &options.listener {
        command += &format!(" --listener {listener}");
    }
    if options.quick {
        command += " --quick";
    }
    page.text(format_args!(
        "By `cargo run --release --example tour -- {command}`. The same seed gives the same \
         page on the same machine; times, which never repeat, are printed on the terminal instead."
    ));
    if data.simulated {
        page.note("The listeners are simulated and do not exist.");
    }
    if data.bundled_tunes {
        page.note(
            "The tunes are real: O’Neill’s Music of \
             Ireland (1903) and Ryan’s Mammoth Collection (1883), in the public domain; their ABC \
             transcriptions come with the Python package music21, whose transcribers are credited \
             in the data folder of refrain-data.",
        );
    }
    page.note(
        "The digits the GAN learned from are the UCI Optical Recognition of Handwritten Digits set \
         (E. Alpaydin and C. Kaynak), CC BY 4.0.",
    );
}
