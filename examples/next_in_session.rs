//! What comes next: models that read a listening session in its order.
//!
//! ```sh
//! cargo run --release --example next_in_session            # add --quick to see that it runs
//! ```
//!
//! The bundled tunes and their simulated listeners; the last tune of each listener is to be guessed
//! from those before it, among all tunes. Popularity and item-kNN, which know no order, stand beside
//! a Markov chain, session-based neighbours and SASRec, a transformer. Then a session is typed in:
//! `--session oneill-0100,oneill-0200`. Writes `leaderboard.svg` into `--out`.

mod support;

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::Monitor;
use refrain::data::{bundled, split};
use refrain::recommenders::{
    Bootstrap, ItemKnn, Leaderboard, Markov, Metric, Popularity, Recommender, SasRec, SessionKnn,
};

/// What comes next in a listening session.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// Tunes of a session, oldest first; without it, the last five of one listener
    #[arg(long, value_name = "IDS", value_delimiter = ',')]
    session: Vec<String>,
    /// Where to train: cpu, flex, ndarray, wgpu or cuda; REFRAIN_DEVICE sets it too
    #[arg(long, value_name = "NAME")]
    device: Option<String>,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/session")]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("next_in_session: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let device = support::device(&options.device)?;
    let tunes = bundled::tunes()?;
    let titles: HashMap<&str, &str> = tunes
        .iter()
        .map(|t| (t.id.as_str(), t.title.as_str()))
        .collect();
    let title = |id: &str| titles.get(id).map_or(id.to_string(), |t| (*t).to_string());
    let log = bundled::listening_log(options.seed)?;
    let (train, test) = split::leave_last_out(&log, 1)?;
    println!(
        "{} pairs of {} listeners and tunes (simulated)",
        log.len(),
        log.n_users()
    );

    let columns = [Metric::HitRate(10), Metric::Ndcg(10), Metric::Coverage(10)];
    let mut board = Leaderboard::new(&train, &test)?.metrics(&columns);
    let monitor = Monitor::bars();
    board.run("popularity", || Popularity::default().fit(&train))?;
    board.run("item-kNN (no order)", || ItemKnn::default().fit(&train))?;
    board.run("Markov", || Markov::default().fit(&train))?;
    let sessions = board.run("session-kNN", || SessionKnn::default().fit(&train))?;
    let mut config = SasRec::default();
    config.training.seed = options.seed;
    config.training.epochs = if options.quick { 1 } else { 30 };
    let sasrec = board.run("SASRec", || config.fit_with(&train, &device, &monitor))?;
    println!("\n{board}");

    let session = match options.session.is_empty() {
        false => options.session.clone(),
        true => last_five(&train, "listener-0007"),
    };
    if session.is_empty() {
        return Err("a session needs at least one tune".into());
    }
    println!("A session:");
    for id in &session {
        println!("  {}", title(id));
    }
    let history: Vec<(&str, f32)> = session.iter().map(|id| (id.as_str(), 1.0)).collect();
    for model in [&sasrec as &dyn Recommender, &sessions] {
        println!("next, by {}:", model.name());
        for best in model.recommend_for(&history, 5)? {
            let why = model.explain_for(&history, &best.item)?;
            let why = why.because(1).first().map(|part| part.reason.to_string());
            println!(
                "  {:6.2}  {}  ({})",
                best.score,
                title(&best.item),
                why.unwrap_or_default()
            );
        }
    }

    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let picture = options.out.join("leaderboard.svg");
    std::fs::write(
        &picture,
        board.to_svg(Metric::Ndcg(10), &Bootstrap::default())?,
    )?;
    println!("{} written", picture.display());
    Ok(())
}

/// The last five tunes a listener played, oldest first.
fn last_five(log: &refrain::data::Interactions, listener: &str) -> Vec<String> {
    let user = log.users().get(listener).unwrap_or(u32::MAX);
    let (items, _) = log.user_items(user);
    let mut timed: Vec<(i64, u32)> = log
        .user_times(user)
        .unwrap_or_default()
        .iter()
        .copied()
        .zip(items.iter().copied())
        .collect();
    timed.sort_unstable();
    let last = timed.iter().rev().take(5).rev();
    last.filter_map(|&(_, item)| log.items().name(item).map(str::to_string))
        .collect()
}
