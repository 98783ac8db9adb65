//! New people and new items: what to recommend when the log knows nothing of them yet.
//!
//! ```sh
//! cargo run --release --example cold_start
//! ```
//!
//! The bundled tunes and their simulated listeners. First, one listener in five is set aside, and each
//! of them is asked for after their first 0, 1, 2, 5, 10 and 20 tunes: how soon do models know someone?
//! Then one tune in ten is set aside with all its plays, and comes in later, known by its features
//! alone: who gets to hear it? Writes `new_people.svg` into `--out`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use plotters::prelude::*;
use refrain::Monitor;
use refrain::data::{Interactions, ItemFeatures, bundled, split};
use refrain::recommenders::{
    Als, ContentBased, ItemKnn, LightFm, Popularity, Query, Random, Recommender,
};

/// After so many tunes new people are asked for.
const KNOWN: [usize; 6] = [0, 1, 2, 5, 10, 20];

/// New people and new items: what to recommend when the log knows nothing of them yet.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/cold-start")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

type Answer<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cold_start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Answer<()> {
    let features = bundled::tune_features(&bundled::tunes()?)?;
    let log = bundled::listening_log(options.seed)?;
    let curves = new_people(options, &log, &features)?;
    new_items(options, &log, &features)?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let picture = options.out.join("new_people.svg");
    plot(&picture, &curves)?;
    println!("{} written", picture.display());
    Ok(())
}

/// NDCG@10 for people the models have never seen, by how much is known of them.
fn new_people(
    options: &Options,
    log: &Interactions,
    features: &ItemFeatures,
) -> Answer<Vec<(String, Vec<f64>)>> {
    let (train, new) = split::users_holdout(log, 0.2, options.seed)?;
    let models: Vec<Box<dyn Recommender>> = vec![
        Box::new(Popularity::default().fit(&train)?),
        Box::new(ContentBased::default().fit(&train, features)?),
        Box::new(ItemKnn::default().fit(&train)?),
        Box::new(Als::default().fit(&train)?),
    ];
    let people: Vec<Vec<u32>> = (0..new.n_users() as u32)
        .map(|user| in_order(&new, user))
        .filter(|items| items.len() >= 25)
        .collect();
    println!(
        "{} new people (simulated), NDCG@10 after so many tunes:",
        people.len()
    );
    println!("{:12} {}", "", KNOWN.map(|n| format!("{n:>6}")).join(" "));
    let mut curves = Vec::new();
    for model in &models {
        let mut curve = Vec::new();
        for known in KNOWN {
            let mut sum = 0.0;
            for items in &people {
                let (history, rest) = items.split_at(known);
                let history: Vec<(&str, f32)> = history
                    .iter()
                    .map(|&item| (name(&new, item), 1.0))
                    .collect();
                let list = model.recommend_for(&history, 10)?;
                let list: Vec<u32> = list
                    .iter()
                    .filter_map(|r| new.items().get(r.item.as_str()))
                    .collect();
                sum += ndcg(&list, rest);
            }
            curve.push(sum / people.len().max(1) as f64);
        }
        let shown: Vec<String> = curve.iter().map(|value| format!("{value:6.3}")).collect();
        println!("{:12} {}", model.name(), shown.join(" "));
        curves.push((model.name(), curve));
    }
    Ok(curves)
}

/// Tunes nobody has played yet, known by their features: how often one of the ten that a listener is
/// shown is one they go on to play.
fn new_items(options: &Options, log: &Interactions, features: &ItemFeatures) -> Answer<()> {
    let is_new = |item: u32| item % 10 == 3;
    let known = log.filter(|event| !is_new(event.item))?.compact()?;
    let mut config = LightFm {
        seed: options.seed,
        ..LightFm::default()
    };
    if options.quick {
        config.epochs = 3;
    }
    let mut lightfm = config.fit_with(&known, Some(features), None, &Monitor::bars())?;
    let added = lightfm.add_items(features)?;

    // These two take items without plays as they are.
    let unplayed = log.filter(|event| !is_new(event.item))?;
    let models: Vec<Box<dyn Recommender>> = vec![
        Box::new(Random::default().fit(&unplayed)?),
        Box::new(ContentBased::default().fit(&unplayed, features)?),
        Box::new(lightfm),
    ];
    let arrivals = (0..log.n_items() as u32).filter(|&item| is_new(item));
    let arrivals: Vec<&str> = arrivals.map(|item| name(log, item)).collect();
    println!(
        "\n{} tunes come in ({added} by their features alone). Among them,",
        arrivals.len()
    );
    let query = Query::top(10).allow(arrivals.iter().copied());
    for model in &models {
        let (mut found, mut asked) = (0, 0);
        for user in 0..log.n_users() as u32 {
            let played: Vec<u32> = in_order(log, user)
                .into_iter()
                .filter(|&i| is_new(i))
                .collect();
            let id = log.users().name(user).unwrap_or_default();
            if played.is_empty() || model.users().get(id).is_none() {
                continue;
            }
            let list = model.recommend_where(id, &query)?;
            let hit = |r: &refrain::recommenders::Recommendation| {
                let item = log.items().get(r.item.as_str());
                item.is_some_and(|item| played.contains(&item))
            };
            found += usize::from(list.iter().any(hit));
            asked += 1;
        }
        println!(
            "  {:12} shows {:4.1} % of {asked} listeners a tune they go on to play",
            model.name(),
            100.0 * found as f64 / asked.max(1) as f64
        );
    }
    let model = &models[models.len() - 1];
    let listener = "listener-0007";
    println!("\nFor {listener} (simulated), by {}:", model.name());
    for best in model.recommend_where(listener, &query)?.iter().take(3) {
        let why = model.explain(listener, &best.item)?;
        let why: Vec<String> = why
            .because(3)
            .iter()
            .map(|part| part.reason.to_string())
            .collect();
        println!("  {:5.2}  {}: {}", best.score, best.item, why.join(", "));
    }
    Ok(())
}

fn name(log: &Interactions, item: u32) -> &str {
    log.items().name(item).unwrap_or_default()
}

/// A user's items, oldest first.
fn in_order(log: &Interactions, user: u32) -> Vec<u32> {
    let (items, _) = log.user_items(user);
    let times = log.user_times(user).unwrap_or_default();
    let mut timed: Vec<(i64, u32)> = times.iter().copied().zip(items.iter().copied()).collect();
    timed.sort_unstable();
    timed.into_iter().map(|(_, item)| item).collect()
}

/// NDCG of a list of ten.
fn ndcg(list: &[u32], relevant: &[u32]) -> f64 {
    let gain = |at: usize| 1.0 / (at as f64 + 2.0).log2();
    let found = list
        .iter()
        .enumerate()
        .filter(|(_, item)| relevant.contains(item));
    let ideal: f64 = (0..relevant.len().min(10)).map(gain).sum();
    found.map(|(at, _)| gain(at)).sum::<f64>() / ideal.max(1e-9)
}

fn plot(path: &Path, curves: &[(String, Vec<f64>)]) -> Answer<()> {
    let root = SVGBackend::new(path, (640, 380)).into_drawing_area();
    root.fill(&WHITE)?;
    let top = curves
        .iter()
        .flat_map(|(_, c)| c)
        .fold(0.0f64, |a, &b| a.max(b));
    let mut chart = ChartBuilder::on(&root)
        .caption("How soon is someone known?", ("sans-serif", 18))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..20.0f64, 0.0..top * 1.1)?;
    chart
        .configure_mesh()
        .x_desc("tunes known of a person")
        .y_desc("NDCG@10")
        .draw()?;
    for (at, (name, curve)) in curves.iter().enumerate() {
        let color = Palette99::pick(at).to_rgba();
        let points = KNOWN.iter().map(|&n| n as f64).zip(curve.iter().copied());
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)))?
            .label(name.as_str())
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 15, y)], color));
    }
    chart
        .configure_series_labels()
        .border_style(BLACK)
        .background_style(WHITE)
        .position(SeriesLabelPosition::LowerRight)
        .draw()?;
    root.present()?;
    Ok(())
}
