//! The classic picture of mode collapse: points on a ring of 8 and a grid of 25 centres, painted by
//! each kind of GAN side by side.
//!
//! ```sh
//! cargo run --release --example gaussian_ring
//! cargo run --release --example gaussian_ring -- --only default --runs 10
//! cargo run --release --example gaussian_ring -- --quick
//! ```
//!
//! The measure is PacGAN's (Lin et al. 2018): of 2,500 points each belongs to its nearest centre and is
//! good within three standard deviations of it; a mode counts when it has a good point. Its published
//! means of modes are 6.3 of 8 and 17.3 of 25 for a plain GAN, 7.9 (packs of two) and 24.8 (of four)
//! for PacGAN.

mod support;

use std::error::Error;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::gan::{Adam, Gan, Images, Loss, Mixture, MlpDiscriminator, Penalty};

/// GANs on points in the plane
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Train those alone whose name begins so
    #[arg(long, default_value = "")]
    only: String,
    /// Runs of each, from consecutive seeds; the picture shows the first
    #[arg(long, default_value_t = 1)]
    runs: u64,
    /// Training steps
    #[arg(long, default_value_t = 20_000)]
    steps: usize,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/ring")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

/// Points to learn from, and points to judge.
const TRAIN: usize = 100_000;
const JUDGED: usize = 2_500;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gaussian_ring: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The games, the default last.
fn games() -> Vec<(&'static str, Gan)> {
    let default = Gan::points();
    let plain = |loss| Gan {
        loss,
        penalty: Penalty::None,
        ..default.clone()
    };
    let wasserstein = |penalty| Gan {
        penalty,
        discriminator_steps: 5,
        ..plain(Loss::Wasserstein)
    };
    let slow = Adam {
        rate: 1e-4,
        ..Adam::default()
    };
    let cross_entropy = Loss::NonSaturating { real_target: 1.0 };
    vec![
        ("minimax", plain(Loss::Minimax)),
        ("non-saturating", plain(cross_entropy)),
        (
            "packs of four",
            Gan {
                pac: 4,
                ..plain(cross_entropy)
            },
        ),
        ("least squares", plain(Loss::LeastSquares)),
        (
            "hinge, spectral",
            Gan {
                discriminator: MlpDiscriminator {
                    hidden: vec![128; 3],
                    spectral: true,
                    ..MlpDiscriminator::default()
                }
                .into(),
                ..plain(Loss::Hinge)
            },
        ),
        (
            "Wasserstein, clipped",
            Gan {
                generator_adam: slow,
                discriminator_adam: slow,
                ..wasserstein(Penalty::WeightClip { limit: 0.1 })
            },
        ),
        (
            // Means of features alone do not tell how far points lie apart, so the judge's slope is bounded.
            "feature matching",
            Gan {
                loss: Loss::FeatureMatching,
                ..default.clone()
            },
        ),
        (
            "WGAN-GP",
            wasserstein(Penalty::GradientPenalty {
                weight: 1.0,
                target: 1.0,
            }),
        ),
        ("default", default),
    ]
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let steps = if options.quick { 60 } else { options.steps };
    let names: Vec<&str> = games().into_iter().map(|game| game.0).collect();
    if !names.iter().any(|name| name.starts_with(&options.only)) {
        let (only, names) = (&options.only, names.join("; "));
        return Err(format!("no game's name begins with {only:?}; there are: {names}").into());
    }
    let mut panels = Vec::new();
    println!("                              modes  good points  reverse KL");
    for (data, mixture) in [
        ("ring of 8", Mixture::ring()),
        ("grid of 25", Mixture::grid()),
    ] {
        let points = mixture.sample(if options.quick { 2_000 } else { TRAIN }, options.seed)?;
        let mut row = vec![(
            format!("{data}, real"),
            mixture.sample(JUDGED, options.seed + 1)?,
        )];
        for (name, game) in games() {
            if !name.starts_with(&options.only) {
                continue;
            }
            let mut sums = [0.0; 3];
            for run in 0..options.runs.max(1) {
                let gan = Gan {
                    seed: options.seed + run,
                    ..game.clone()
                };
                let mut trainer = gan.trainer(&points, &device)?;
                let stage = Monitor::bars().start(format!("{data}, {name}"), Some(steps as u64));
                let mut told = 0;
                for _ in 0..steps {
                    let report = trainer.step()?;
                    told = support::tell_alarms(trainer.history(), told);
                    stage.advance(1, report)?;
                }
                let painted = trainer.into_model().sample(JUDGED, options.seed)?;
                let coverage = mixture.coverage(&painted)?;
                let numbers = [
                    coverage.modes as f64,
                    coverage.high_quality,
                    coverage.reverse_kl,
                ];
                sums.iter_mut().zip(numbers).for_each(|(sum, n)| *sum += n);
                if run == 0 {
                    row.push((name.to_string(), painted));
                }
            }
            let [modes, good, divergence] = sums.map(|sum| sum / options.runs.max(1) as f64);
            println!(
                "{data:10}  {name:20}  {modes:4.1}     {:5.1} %      {divergence:7.3}",
                100.0 * good
            );
        }
        panels.push(row);
    }
    std::fs::create_dir_all(&options.out)?;
    let path = options.out.join("modes.svg");
    std::fs::write(&path, picture(&panels))?;
    println!("picture: {}", path.display());
    Ok(())
}

/// A row for each mixture, a panel for each game.
fn picture(rows: &[Vec<(String, Images)>]) -> String {
    const SIDE: f32 = 150.0;
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let (width, height) = (SIDE * columns as f32, (SIDE + 20.0) * rows.len() as f32);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (y, row) in rows.iter().enumerate() {
        for (x, (name, points)) in row.iter().enumerate() {
            let (left, top) = (SIDE * x as f32, (SIDE + 20.0) * y as f32);
            let color = if x == 0 { "#cc661a" } else { "#1f6f5c" };
            let _ = writeln!(
                svg,
                "<text x=\"{}\" y=\"{}\">{name}</text>\n<g fill=\"{color}\" fill-opacity=\"0.4\">",
                left + 8.0,
                top + 14.0
            );
            for i in 0..points.len().min(800) {
                let [x, y] = [points.image(i)[0], points.image(i)[1]];
                if (0.0..1.0).contains(&x) && (0.0..1.0).contains(&y) {
                    let (x, y) = (left + SIDE * x, top + 20.0 + SIDE * (1.0 - y));
                    let _ = writeln!(svg, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.2\"/>");
                }
            }
            svg.push_str("</g>\n");
        }
    }
    svg.push_str("</svg>\n");
    svg
}
