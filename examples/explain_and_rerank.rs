//! Why was this recommended, and could the list be better for the listener and for the house?
//!
//! ```sh
//! cargo run --release --example explain_and_rerank
//! ```
//!
//! One model on the bundled tunes and their simulated listeners; its reasons; and the same list more
//! diverse, calibrated to the listener's mix of rhythms, with fewer hits, under rules of the house,
//! and with some exploration. Each list is measured. Writes `rhythms.svg` into `--out`.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use plotters::prelude::*;
use refrain::data::bundled::{self, TuneRecord};
use refrain::data::split;
use refrain::recommenders::{
    Alike, Als, Calibrate, Debias, Explore, Groups, Leaderboard, Metric, Mmr, Reason,
    Recommendation, Recommender, Reranked, Rules,
};

/// Why was this recommended, and could the list be better?
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Who to recommend to
    #[arg(long, value_name = "ID", default_value = "listener-0007")]
    listener: String,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/rerank")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("explain_and_rerank: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let tunes = bundled::tunes()?;
    let tunes: HashMap<&str, &TuneRecord> = tunes.iter().map(|t| (t.id.as_str(), t)).collect();
    let log = bundled::listening_log(options.seed)?;
    let (train, test) = split::temporal(&log, 0.1)?;
    let als = Als {
        seed: options.seed,
        ..Als::default()
    };
    let model: Arc<dyn Recommender> = Arc::new(als.fit(&train)?);

    println!("{} (simulated), by ALS alone, and why:", options.listener);
    for best in model.recommend(&options.listener, 10)? {
        let why = model.explain(&options.listener, &best.item)?;
        println!("  {}", shown(&tunes, &best));
        let parts: Vec<String> = why
            .because(3)
            .iter()
            .map(|part| match &part.reason {
                Reason::Item(id) => format!("{:+.2} “{}”", part.weight, title(&tunes, id)),
                other => format!("{:+.2} {other}", part.weight),
            })
            .collect();
        println!("        {} …", parts.join(", "));
    }

    let rhythms = Groups::new(tunes.values().map(|t| (t.id.as_str(), t.rhythm.as_str())));
    let books = Groups::new(tunes.values().map(|t| (t.id.as_str(), t.book.as_str())));
    // The house has new arrivals, and does not want more than seven tunes of one book.
    let arrivals = tunes.values().filter(|t| t.number % 40 == 0);
    let rules = Rules::new()
        .cap(books, 7)
        .fresh_first(arrivals.map(|t| t.id.as_str()));
    let variety = Mmr {
        alike: Alike::Groups(rhythms.clone()),
        ..Mmr::default()
    };
    let lists: Vec<(&str, Arc<dyn Recommender>)> = vec![
        ("as it is", model.clone()),
        ("diverse", Arc::new(Reranked::new(model.clone(), variety)?)),
        (
            "calibrated",
            Arc::new(Reranked::new(model.clone(), Calibrate::new(rhythms))?),
        ),
        (
            "fewer hits",
            Arc::new(Reranked::new(model.clone(), Debias::default())?),
        ),
        ("rules", Arc::new(Reranked::new(model.clone(), rules)?)),
        (
            "exploring",
            Arc::new(Reranked::new(
                model.clone(),
                Explore::thompson(0.5, options.seed),
            )?),
        ),
    ];

    println!("\nThe same ten places, by rhythm:");
    let had = train.users().get(options.listener.as_str());
    let (had, plays) = train.user_items(had.unwrap_or(u32::MAX));
    let had = had.iter().filter_map(|&item| train.items().name(item));
    let mut mixes = vec![(
        "history",
        mix(&tunes, had.zip(plays.iter().map(|&w| f64::from(w)))),
    )];
    for (name, model) in &lists {
        let list = model.recommend(&options.listener, 10)?;
        let found = mix(&tunes, list.iter().map(|r| (r.item.as_str(), 1.0)));
        let best: Vec<&str> = list
            .iter()
            .take(3)
            .map(|r| title(&tunes, &r.item))
            .collect();
        println!("  {name:11} {}", best.join(", "));
        mixes.push((name, found));
    }

    println!("\nWhat it costs and brings, over all listeners:");
    let columns = [
        Metric::Ndcg(10),
        Metric::Diversity(10),
        Metric::Novelty(10),
        Metric::Coverage(10),
    ];
    let mut board = Leaderboard::new(&train, &test)?.metrics(&columns);
    for (name, model) in &lists {
        board.enter(*name, model.as_ref(), None)?;
    }
    println!("{board}");

    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let picture = options.out.join("rhythms.svg");
    plot(&picture, &options.listener, &mixes)?;
    println!("{} written", picture.display());
    Ok(())
}

fn title<'a>(tunes: &HashMap<&str, &'a TuneRecord>, id: &'a str) -> &'a str {
    tunes.get(id).map_or(id, |tune| tune.title.as_str())
}

fn shown(tunes: &HashMap<&str, &TuneRecord>, best: &Recommendation) -> String {
    let kind = tunes.get(best.item.as_str());
    let kind = kind.map_or(String::new(), |t| format!(", a {} in {}", t.rhythm, t.key));
    format!("{:5.2}  {}{kind}", best.score, title(tunes, &best.item))
}

/// The share of each rhythm, the largest first.
fn mix<'a>(
    tunes: &HashMap<&str, &TuneRecord>,
    items: impl Iterator<Item = (&'a str, f64)>,
) -> Vec<(String, f64)> {
    let mut sums: HashMap<&str, f64> = HashMap::new();
    for (id, weight) in items {
        let rhythm = tunes.get(id).map_or("other", |t| t.rhythm.as_str());
        *sums.entry(rhythm).or_default() += weight;
    }
    let total: f64 = sums.values().sum();
    let mut shares: Vec<(String, f64)> = sums
        .into_iter()
        .map(|(rhythm, sum)| (rhythm.to_string(), sum / total.max(1e-9)))
        .collect();
    shares.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    shares
}

/// A bar a list, cut by rhythm.
fn plot(
    path: &std::path::Path,
    listener: &str,
    mixes: &[(&str, Vec<(String, f64)>)],
) -> Result<(), Box<dyn Error>> {
    // The listener's own five, and the rest together.
    let mut rhythms: Vec<&str> = Vec::new();
    for (rhythm, _) in mixes.iter().flat_map(|(_, shares)| shares) {
        if rhythms.len() < 5 && !rhythms.contains(&rhythm.as_str()) {
            rhythms.push(rhythm);
        }
    }
    let root = SVGBackend::new(path, (720, 340)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(format!("Rhythms for {listener}"), ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(25)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..1.45f64, (0..mixes.len() as i32).into_segmented())?;
    chart
        .configure_mesh()
        .disable_mesh()
        .x_label_formatter(&|x| match *x {
            x if x <= 1.0 => format!("{:.0} %", x * 100.0),
            _ => String::new(),
        })
        .y_label_formatter(&|y| match y {
            SegmentValue::CenterOf(at) => mixes
                .get(*at as usize)
                .map_or(String::new(), |(name, _)| (*name).to_string()),
            _ => String::new(),
        })
        .draw()?;
    for at in 0..=rhythms.len() {
        let color = Palette99::pick(at).to_rgba();
        let bars = (0i32..).zip(mixes).map(|(row, (_, shares))| {
            let of = |at: usize| match rhythms.get(at) {
                Some(rhythm) => shares.iter().find(|s| s.0 == *rhythm).map_or(0.0, |s| s.1),
                None => shares
                    .iter()
                    .filter(|s| !rhythms.contains(&s.0.as_str()))
                    .map(|s| s.1)
                    .sum(),
            };
            let start: f64 = (0..at).map(of).sum();
            let mut bar = Rectangle::new(
                [
                    (start, SegmentValue::Exact(row)),
                    (start + of(at), SegmentValue::Exact(row + 1)),
                ],
                color.filled(),
            );
            bar.set_margin(4, 4, 0, 0);
            bar
        });
        chart
            .draw_series(bars)?
            .label(rhythms.get(at).copied().unwrap_or("other"))
            .legend(move |(x, y)| Rectangle::new([(x, y - 5), (x + 12, y + 5)], color.filled()));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::MiddleRight)
        .draw()?;
    root.present()?;
    Ok(())
}
