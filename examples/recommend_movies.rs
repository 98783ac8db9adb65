//! Recommenders on MovieLens, of any edition: which model is best, what to watch next, and why.
//!
//! ```sh
//! cargo run --release --example recommend_movies -- path/to/ml-100k
//! ```
//!
//! Random 80/20 split, every rating a positive, all films ranked, what was rated left out. Writes
//! `leaderboard.svg` and `model.refrain` into `--out`. With `--made-up` it makes a small data set of
//! the same form up and shows that it runs, not how good it gets.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rand::RngExt;
use refrain::data::datasets::MovieLens;
use refrain::data::{FeatureValue, Features, split};
use refrain::recommenders::{
    Als, Blend, BlendModel, Bootstrap, Bpr, ContentBased, Ease, ItemKnn, Leaderboard, Metric, Mix,
    Popularity, Recommender, load,
};
use refrain::{Monitor, rng};

/// Which recommender is best on MovieLens, what to watch next, and why.
/// Films up to which EASE takes part.
const LARGEST_EASE: usize = 12_000;

#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// A folder of MovieLens 100K, 1M, 10M, 20M or latest; REFRAIN_DATA/ml-100k if not given
    folder: Option<PathBuf>,
    /// Who to recommend to; without it, the first person of the log
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/movies")]
    out: PathBuf,
    /// Use a small data set that is made up
    #[arg(long, conflicts_with = "folder")]
    made_up: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!(
                "recommend_movies: {}",
                error.to_string().replace('\n', "; ")
            );
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let folder = match (&options.folder, std::env::var_os("REFRAIN_DATA")) {
        _ if options.made_up => make_up(&options.out.join("made-up"), options.seed)?,
        (Some(folder), _) => folder.clone(),
        (None, Some(data)) => Path::new(&data).join("ml-100k"),
        (None, None) => return Err("which folder? Name one of MovieLens, or use --made-up".into()),
    };
    let movies = MovieLens::load_with(&folder, &Monitor::bars())?;
    let films = movies.movies.ok_or("the folder has no file of films")?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;

    // Having watched and rated is what counts, not how.
    let log = movies.ratings.map_weights(|_| 1.0)?;
    let (train, test) = split::random(&log, 0.2, options.seed)?;
    println!(
        "{} ratings of {} films by {} people: {} to learn from, {} to judge by",
        log.len(),
        log.n_items(),
        log.n_users(),
        train.len(),
        test.len()
    );

    let columns = [Metric::Ndcg(10), Metric::Recall(20), Metric::Coverage(10)];
    let mut board = Leaderboard::new(&train, &test)?.metrics(&columns);
    board.run("popularity", || Popularity::default().fit(&train))?;
    board.run("content", || ContentBased::default().fit(&train, &films))?;
    board.run("BPR", || Bpr::default().fit(&train))?;
    let knn = Arc::new(board.run("item-kNN", || ItemKnn::default().fit(&train))?);
    let als = Arc::new(board.run("ALS", || Als::default().fit(&train))?);
    let mut members: Vec<Arc<dyn Recommender>> = vec![knn, als];
    let mut blend = Blend::default()
        .member("item-kNN", |log| ItemKnn::default().fit(log))
        .member("ALS", |log| Als::default().fit(log));
    // EASE inverts a matrix of items × items: minutes at 10,000, which SLIM does without.
    if train.n_items() <= LARGEST_EASE {
        members.push(Arc::new(board.run("EASE", || Ease::default().fit(&train))?));
        blend = blend.member("EASE", |log| Ease::default().fit(log));
    } else {
        println!(
            "EASE is left out: it is for catalogues of some thousand, this one has {} films",
            train.n_items()
        );
    }
    // Weights from a split inside the training part; then the members that are fitted already.
    let weights = blend.tune(&train)?.weights(Mix::Scores)?;
    let blend = BlendModel::new(Mix::Scores, members.into_iter().zip(weights))?;
    board.enter("blend", &blend, None)?;
    println!("\n{board}");
    for (name, behind) in board.versus_best(&Bootstrap::default())? {
        println!("{name} against the best: {behind}");
    }
    let picture = options.out.join("leaderboard.svg");
    std::fs::write(
        &picture,
        board.to_svg(Metric::Ndcg(10), &Bootstrap::default())?,
    )?;

    let user = match &options.user {
        Some(user) => user.as_str(),
        None => log.users().name(0).ok_or("the log is empty")?,
    };
    let number = log
        .users()
        .get(user)
        .ok_or_else(|| format!("--user: the log has no {user:?}"))?;
    println!("\nFor {user}, who rated, among others:");
    for &film in train.user_items(number).0.iter().take(5) {
        println!(
            "  {}",
            title(&films, train.items().name(film).unwrap_or_default())
        );
    }
    println!("next:");
    for best in blend.recommend(user, 5)? {
        let why = blend.explain(user, &best.item)?;
        println!("  {}", title(&films, &best.item));
        for part in why.because(3) {
            // A reason names an id; people know films by their titles.
            let reason = part.reason.to_string();
            println!("    {:+.2} {}", part.weight, with_titles(&films, &reason));
        }
    }

    let file = options.out.join("model.refrain");
    blend.save(&file)?;
    let again = load(&file)?;
    assert_eq!(again.recommend(user, 5)?, blend.recommend(user, 5)?);
    println!("\n{} and {} written", picture.display(), file.display());
    Ok(())
}

fn title(films: &Features, id: &str) -> String {
    let row = films.ids().get(id);
    match row.and_then(|row| films.value(row, "title")) {
        Some(FeatureValue::Text(title)) => title.to_string(),
        _ => id.to_string(),
    }
}

/// A reason such as `because of “50”` with the film's title in place of its id.
fn with_titles(films: &Features, reason: &str) -> String {
    match reason
        .split_once('“')
        .and_then(|(a, rest)| Some((a, rest.split_once('”')?)))
    {
        Some((before, (id, after))) => format!("{before}“{}”{after}", title(films, id)),
        None => reason.to_string(),
    }
}

/// Ratings of made-up films by made-up people with a taste for one of four genres, as MovieLens-100K
/// writes them.
fn make_up(folder: &Path, seed: u64) -> Result<PathBuf, Box<dyn Error>> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut draw = rng::stream(seed, 0);
    let (mut ratings, mut films) = (String::new(), String::new());
    for user in 1..=120u32 {
        for film in 1..=80u32 {
            let chance = if user % 4 == film % 4 { 0.45 } else { 0.08 };
            if draw.random::<f64>() < chance {
                let stars = draw.random_range(1..=5u8);
                let time = 880_000_000 + i64::from(draw.random_range(0..10_000_000u32));
                writeln!(ratings, "{user}\t{film}\t{stars}\t{time}")?;
            }
        }
    }
    for film in 1..=80u32 {
        let genres = (0..19).map(|g| if g == 1 + film % 4 { "|1" } else { "|0" });
        let genres: String = genres.collect();
        writeln!(
            films,
            "{film}|Film {film} (1990)|01-Jan-1990|||{}",
            genres.trim_start_matches('|')
        )?;
    }
    std::fs::write(folder.join("u.data"), ratings)?;
    std::fs::write(folder.join("u.item"), films)?;
    Ok(folder.to_path_buf())
}
