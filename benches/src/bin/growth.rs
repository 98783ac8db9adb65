//! How the time and the memory of fitting grow with the log.
//!
//! ```text
//! cargo run --release -p refrain-benches --bin growth -- --events 100000,1000000,10000000,50000000
//! ```
//!
//! Logs as in `als_speed`, with a user for each 50 events and an item for each 250. Each model and
//! size runs in a process of its own, so that the peak of resident memory is its own; what the log
//! alone takes is a row too. The exponents are the slopes of a line through the logarithms: 1 is
//! growth in proportion. `--out` writes a picture.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use clap::Parser;
use plotters::prelude::*;
use refrain::data::Interactions;
use refrain::recommenders::{Als, Bpr, ItemKnn, Popularity, Recommender, Rp3Beta};
use refrain_benches::{generated_log, megabytes};

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(about = "How the time and the memory of fitting grow with the log")]
struct Arguments {
    /// Sizes of the log.
    #[arg(long, value_delimiter = ',', default_values_t = [100_000, 1_000_000, 10_000_000])]
    events: Vec<usize>,
    /// Models to run; all of them if not given.
    #[arg(long, value_delimiter = ',')]
    models: Vec<String>,
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Seconds after which a model is given no larger log.
    #[arg(long, default_value_t = 300.0)]
    patience: f64,
    /// Where to write a picture (SVG).
    #[arg(long)]
    out: Option<PathBuf>,
    /// What a child process runs.
    #[arg(long, hide = true, requires = "size")]
    child: Option<String>,
    #[arg(long, hide = true)]
    size: Option<usize>,
}

type Fit = fn(&Interactions) -> refrain::recommenders::Result<Box<dyn Recommender>>;

/// The log alone, then one row a model.
const MODELS: &[(&str, Option<Fit>)] = &[
    ("the log alone", None),
    (
        "popularity",
        Some(|log| boxed(Popularity::default().fit(log))),
    ),
    ("item-kNN", Some(|log| boxed(ItemKnn::default().fit(log)))),
    ("RP3β", Some(|log| boxed(Rp3Beta::default().fit(log)))),
    ("ALS", Some(|log| boxed(Als::default().fit(log)))),
    ("BPR", Some(|log| boxed(Bpr::default().fit(log)))),
];

fn boxed<M: Recommender + 'static>(
    model: refrain::recommenders::Result<M>,
) -> refrain::recommenders::Result<Box<dyn Recommender>> {
    model.map(|model| Box::new(model) as Box<dyn Recommender>)
}

fn main() {
    if let Err(error) = run(&Arguments::parse()) {
        eprintln!("error: {error}");
        std::process::exit(1);
    }
}

fn run(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    if let (Some(model), Some(size)) = (&arguments.child, arguments.size) {
        return child(model, size, arguments.threads);
    }
    let mut found: Vec<(&str, Vec<Measured>)> = Vec::new();
    println!(
        "{:16} {:>12} {:>10} {:>10} {:>12}",
        "", "events", "pairs", "seconds", "peak (MB)"
    );
    for (name, _) in MODELS {
        if !arguments.models.is_empty() && !arguments.models.iter().any(|m| m == name) {
            continue;
        }
        let mut rows = Vec::new();
        for &events in &arguments.events {
            let row = measure(name, events, arguments.threads)?;
            println!(
                "{name:16} {events:>12} {:>10} {:>10.2} {:>12.0}",
                row.pairs, row.seconds, row.megabytes
            );
            let enough = row.seconds > arguments.patience;
            rows.push(row);
            if enough {
                break;
            }
        }
        if let (Some(seconds), Some(memory)) = (
            slope(rows.iter().map(|r| (r.pairs, r.seconds))),
            slope(rows.iter().map(|r| (r.pairs, r.megabytes))),
        ) {
            println!("{name:16} time grows as pairs^{seconds:.2}, memory as pairs^{memory:.2}");
        }
        found.push((name, rows));
    }
    if let Some(path) = &arguments.out {
        plot(path, &found)?;
    }
    Ok(())
}

/// What one process said of itself.
struct Measured {
    pairs: f64,
    seconds: f64,
    megabytes: f64,
}

fn measure(model: &str, events: usize, threads: usize) -> Result<Measured, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args(["--child", model, "--size", &events.to_string()])
        .args(["--threads", &threads.to_string()])
        .output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{model} on {events} events: {said}").into());
    }
    let numbers: Vec<f64> = String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .map(str::parse)
        .collect::<Result<_, _>>()?;
    match numbers[..] {
        [pairs, seconds, megabytes] => Ok(Measured {
            pairs,
            seconds,
            megabytes,
        }),
        _ => Err(format!("{model} on {events} events said nothing").into()),
    }
}

fn child(model: &str, events: usize, threads: usize) -> Result<(), Box<dyn Error>> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let (_, fit) = MODELS
        .iter()
        .find(|(name, _)| *name == model)
        .ok_or("no such model")?;
    let log = generated_log((events / 50).max(1), (events / 250).max(1), events, 1)?;
    let began = Instant::now();
    let fitted = fit.map(|fit| fit(&log)).transpose()?;
    let seconds = began.elapsed().as_secs_f64();
    println!("{} {seconds} {}", log.len(), megabytes("VmHWM")?);
    drop(fitted);
    Ok(())
}

/// The slope of the line of least squares through the logarithms of two or more points.
fn slope(points: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let points: Vec<(f64, f64)> = points
        .filter(|&(x, y)| x > 0.0 && y > 0.0)
        .map(|(x, y)| (x.ln(), y.ln()))
        .collect();
    let n = points.len() as f64;
    let (x, y) = (
        points.iter().map(|p| p.0).sum::<f64>() / n,
        points.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let below: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let above: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    (points.len() > 1 && below > 0.0).then(|| above / below)
}

fn plot(path: &Path, found: &[(&str, Vec<Measured>)]) -> Result<(), Box<dyn Error>> {
    let root = SVGBackend::new(path, (900, 400)).into_drawing_area();
    root.fill(&WHITE)?;
    let (left, right) = root.split_horizontally(450);
    let all = || found.iter().flat_map(|(_, rows)| rows);
    let pairs = all().fold((f64::MAX, 0.0f64), |(a, b), r| {
        (a.min(r.pairs), b.max(r.pairs))
    });
    let seconds = |r: &Measured| r.seconds.max(1e-3);
    let megabytes = |r: &Measured| r.megabytes;
    for (area, title, value) in [
        (left, "seconds", &seconds as &dyn Fn(&Measured) -> f64),
        (right, "peak, MB", &megabytes),
    ] {
        let range = all()
            .map(value)
            .fold((f64::MAX, 0.0f64), |(a, b), v| (a.min(v), b.max(v)));
        let mut chart = ChartBuilder::on(&area)
            .caption(title, ("sans-serif", 18))
            .margin(10)
            .x_label_area_size(40)
            .y_label_area_size(60)
            .build_cartesian_2d(
                (pairs.0..pairs.1 * 1.1).log_scale(),
                (range.0..range.1 * 1.1).log_scale(),
            )?;
        chart.configure_mesh().x_desc("pairs").draw()?;
        for (at, (name, rows)) in found.iter().enumerate() {
            let color = Palette99::pick(at).to_rgba();
            chart
                .draw_series(LineSeries::new(
                    rows.iter().map(|r| (r.pairs, value(r))),
                    color.stroke_width(2),
                ))?
                .label(*name)
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], color));
        }
        chart
            .configure_series_labels()
            .border_style(BLACK)
            .background_style(WHITE)
            .position(SeriesLabelPosition::UpperLeft)
            .draw()?;
    }
    root.present()?;
    println!("{} written", path.display());
    Ok(())
}
