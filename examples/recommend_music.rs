//! Plays, tags and friends of Last.fm (HetRec 2011), all in one hybrid.
//!
//! ```sh
//! cargo run --release --example recommend_music -- path/to/hetrec2011-lastfm-2k
//! ```
//!
//! ALS learns from plays, a content-based model from the artists' tags, and LightFM from plays, tags
//! and who is whose friend; a blend of the three is weighted on a split inside the training part.
//! Writes `leaderboard.svg` into `--out`. With `--made-up` it makes a small data set of the same form up
//! and shows that it runs, not how good it gets.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use rand::RngExt;
use refrain::data::datasets::LastFm;
use refrain::data::{
    FeatureEncoding, FeatureValue, Interactions, ItemFeatures, UserFeatures, split,
};
use refrain::recommenders::{
    Als, Blend, BlendModel, Bootstrap, ContentBased, Leaderboard, LightFm, Metric, Mix, Popularity,
    Reason, Recommender,
};
use refrain::{Monitor, rng};

/// Plays, tags and friends of Last.fm, all in one hybrid.
#[derive(Parser)]
#[command(version, about)]
struct Options {
    /// The folder of HetRec 2011 Last.fm; REFRAIN_DATA/lastfm-2k if not given
    folder: Option<PathBuf>,
    /// Who to recommend to; without it, the first person of the log
    #[arg(long, value_name = "ID")]
    user: Option<String>,
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(long, value_name = "FOLDER", default_value = "refrain-out/music")]
    out: PathBuf,
    /// Use a small data set that is made up
    #[arg(long, conflicts_with = "folder")]
    made_up: bool,
}

type Answer<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("recommend_music: {}", error.to_string().replace('\n', "; "));
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Answer<()> {
    let folder = match (&options.folder, std::env::var_os("REFRAIN_DATA")) {
        _ if options.made_up => make_up(&options.out.join("made-up"), options.seed)?,
        (Some(folder), _) => folder.clone(),
        (None, Some(data)) => Path::new(&data).join("lastfm-2k"),
        (None, None) => return Err("which folder? Name that of Last.fm, or use --made-up".into()),
    };
    let lastfm = LastFm::load(&folder)?;
    std::fs::create_dir_all(&options.out).map_err(|e| format!("{}: {e}", options.out.display()))?;
    let (train, test) = split::random(&lastfm.plays, 0.2, options.seed)?;
    println!(
        "{} artists, {} people, {} friendships: {} pairs to learn from, {} to judge by",
        train.n_items(),
        train.n_users(),
        lastfm.friends.len(),
        train.len(),
        test.len()
    );
    let friends = friends(&lastfm)?;
    // Tags that only one artist has tell nothing.
    let content = ContentBased {
        encoding: FeatureEncoding {
            min_rows: 5,
            ..ContentBased::default().encoding
        },
        ..ContentBased::default()
    };
    let lightfm = LightFm {
        encoding: FeatureEncoding {
            min_rows: 20,
            ..LightFm::default().encoding
        },
        seed: options.seed,
        ..LightFm::default()
    };
    let fit_lightfm =
        |log: &Interactions| lightfm.fit(log, Some(&lastfm.artists), friends.as_ref());

    let monitor = Monitor::bars();
    let columns = [Metric::Ndcg(10), Metric::Recall(20), Metric::Coverage(10)];
    let mut board = Leaderboard::new(&train, &test)?.metrics(&columns);
    board.run("popularity", || Popularity::default().fit(&train))?;
    let by_tags = Arc::new(board.run("tags", || content.fit(&train, &lastfm.artists))?);
    let by_plays =
        Arc::new(board.run("plays (ALS)", || Als::default().fit_with(&train, &monitor))?);
    let by_all = Arc::new(board.run("all (LightFM)", || fit_lightfm(&train))?);
    let weights = Blend::default()
        .member("tags", |log| content.fit(log, &lastfm.artists))
        .member("plays", |log| Als::default().fit(log))
        .member("all", fit_lightfm)
        .tune(&train)?
        .weights(Mix::Scores)?;
    let members: [Arc<dyn Recommender>; 3] = [by_tags, by_plays, by_all];
    let blend = BlendModel::new(Mix::Scores, members.into_iter().zip(weights.clone()))?;
    board.enter("blend", &blend, None)?;
    println!("\n{board}");
    println!("weights of the blend: tags, plays, all: {weights:.2?}");

    let user = match &options.user {
        Some(user) => user.as_str(),
        None => train.users().name(0).ok_or("the log is empty")?,
    };
    println!("\nFor {user}:");
    for best in blend.recommend(user, 5)? {
        let why = blend.explain(user, &best.item)?;
        let why: Vec<String> = why
            .because(3)
            .iter()
            .map(|part| match &part.reason {
                Reason::Item(id) => format!("because of “{}”", artist(&lastfm.artists, id)),
                other => other.to_string(),
            })
            .collect();
        println!(
            "  {}: {}",
            artist(&lastfm.artists, &best.item),
            why.join(", ")
        );
    }
    let picture = options.out.join("leaderboard.svg");
    std::fs::write(
        &picture,
        board.to_svg(Metric::Ndcg(10), &Bootstrap::default())?,
    )?;
    println!("\n{} written", picture.display());
    Ok(())
}

/// Who is whose friend, as a feature of people: each has the tag of each friend, and their own, so
/// that friends share something.
fn friends(lastfm: &LastFm) -> Answer<Option<UserFeatures>> {
    if lastfm.friends.is_empty() {
        return Ok(None);
    }
    let users = lastfm.plays.users();
    let name = |user: u32| users.name(user).unwrap_or_default();
    let both = lastfm
        .friends
        .iter()
        .flat_map(|&(a, b)| [(a, b), (b, a), (a, a), (b, b)]);
    let mut pairs: Vec<(u32, u32)> = both.collect();
    pairs.sort_unstable();
    pairs.dedup();
    let pairs = pairs
        .into_iter()
        .map(|(user, friend)| (name(user), name(friend)));
    Ok(Some(
        UserFeatures::builder().tags("friends", pairs)?.build()?,
    ))
}

fn artist(artists: &ItemFeatures, id: &str) -> String {
    let row = artists.ids().get(id);
    match row.and_then(|row| artists.value(row, "name")) {
        Some(FeatureValue::Text(name)) => name.to_string(),
        _ => id.to_string(),
    }
}

/// Plays of made-up artists of four styles by people who prefer one, with tags and friends, as HetRec
/// writes them.
fn make_up(folder: &Path, seed: u64) -> Answer<PathBuf> {
    std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut draw = rng::stream(seed, 0);
    let mut plays = "userID\tartistID\tweight\n".to_string();
    let mut artists = "id\tname\turl\tpictureURL\n".to_string();
    let mut tags = "tagID\ttagValue\n".to_string();
    let mut tagged = "userID\tartistID\ttagID\tday\tmonth\tyear\n".to_string();
    let mut friends = "userID\tfriendID\n".to_string();
    for (at, style) in ["folk", "jazz", "metal", "pop"].iter().enumerate() {
        writeln!(tags, "{at}\t{style}")?;
    }
    for artist in 1..=80u32 {
        writeln!(artists, "{artist}\tArtist {artist}\t\t")?;
        for user in 1..=3 {
            writeln!(tagged, "{user}\t{artist}\t{}\t1\t1\t2010", artist % 4)?;
        }
    }
    for user in 1..=120u32 {
        for artist in 1..=80u32 {
            let chance = if user % 4 == artist % 4 { 0.45 } else { 0.08 };
            if draw.random::<f64>() < chance {
                writeln!(plays, "{user}\t{artist}\t{}", draw.random_range(1..500u32))?;
            }
        }
        if user > 4 {
            writeln!(friends, "{user}\t{}", user - 4)?;
        }
    }
    for (name, text) in [
        ("user_artists.dat", plays),
        ("artists.dat", artists),
        ("tags.dat", tags),
        ("user_taggedartists.dat", tagged),
        ("user_friends.dat", friends),
    ] {
        std::fs::write(folder.join(name), text)?;
    }
    Ok(folder.to_path_buf())
}
