//! Which tunes are alike: by who plays them (item2vec) and by what they are (features), side by side.
//!
//! ```sh
//! cargo run --release --example similar_tunes
//! ```
//!
//! The bundled tunes and their simulated sessions. For some tunes the neighbours by listening and by
//! features are printed; then how often neighbours share the tune's rhythm and mode, and how often
//! tunes that are heard in one session are found among each other's neighbours. Writes a picture of
//! rhythms into `--out`.

use std::collections::HashMap;
use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use refrain::data::bundled::{self, TuneRecord};
use refrain::embeddings::{Corpus, Word2Vec};
use refrain::recommenders::{ContentBased, Recommender};

/// Which tunes are alike, by listening and by features
#[derive(Parser)]
#[command(version, about)]
struct Options {
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Folder to write into
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "refrain-out/similar-tunes"
    )]
    out: PathBuf,
    /// Everything small: shows that it runs, not how good it gets
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("similar_tunes: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let tunes = bundled::tunes()?;
    let by_id: HashMap<&str, &TuneRecord> = tunes.iter().map(|t| (t.id.as_str(), t)).collect();
    let log = bundled::listening_log(options.seed)?;
    let features = bundled::tune_features(&tunes)?;

    let sessions = Corpus::from_interactions(&log, Some(60 * 60))?;
    let config = Word2Vec {
        dim: 32,
        window: 10,
        subsample: 0.0,
        epochs: if options.quick { 2 } else { 15 },
        seed: options.seed,
        ..Word2Vec::default()
    };
    let heard = config.fit(&sessions)?;
    let content = ContentBased::default().fit(&log, &features)?;
    println!(
        "{} tunes heard often enough, of {} (the log is simulated)\n",
        heard.len(),
        tunes.len()
    );

    let describe = |id: &str| match by_id.get(id) {
        Some(tune) => format!("{} ({}, {})", tune.title, tune.rhythm, tune.mode),
        None => id.to_string(),
    };
    for id in heard.vocabulary().ids().iter().take(3) {
        println!("{}", describe(id));
        for near in heard.neighbours(id, 4)? {
            println!(
                "  heard together {:.2}  {}",
                near.similarity,
                describe(near.word)
            );
        }
        for near in content.similar_items(id, 4)? {
            println!(
                "  alike by kind  {:.2}  {}",
                near.score,
                describe(&near.item)
            );
        }
    }

    // How much of a neighbourhood is of the tune's own kind?
    let sample: Vec<&str> = heard.vocabulary().ids().iter().take(300).collect();
    let (mut rows, mut both) = ([[0u32; 2]; 2], 0u32);
    for &id in &sample {
        let by_ear: Vec<String> = heard
            .neighbours(id, 10)?
            .iter()
            .map(|n| n.word.to_string())
            .collect();
        let by_kind: Vec<String> = content
            .similar_items(id, 10)?
            .into_iter()
            .map(|n| n.item)
            .collect();
        both += by_ear.iter().filter(|item| by_kind.contains(item)).count() as u32;
        for (row, list) in rows.iter_mut().zip([&by_ear, &by_kind]) {
            for other in list.iter().filter_map(|item| by_id.get(item.as_str())) {
                let Some(tune) = by_id.get(id) else { continue };
                row[0] += u32::from(other.rhythm == tune.rhythm);
                row[1] += u32::from(other.mode == tune.mode);
            }
        }
    }
    let share = |n: u32| f64::from(n) / (10 * sample.len().max(1)) as f64;
    println!("\nof ten neighbours      same rhythm  same mode");
    println!(
        "by listening           {:>11.2}  {:>9.2}",
        share(rows[0][0]),
        share(rows[0][1])
    );
    println!(
        "by features            {:>11.2}  {:>9.2}",
        share(rows[1][0]),
        share(rows[1][1])
    );
    println!("in both lists          {:>11.2}", share(both));

    // A picture of some tunes, each named by its rhythm.
    let shown: Vec<&str> = heard.vocabulary().ids().iter().take(60).collect();
    let mut picture = heard.project(&shown, 2, true)?;
    for word in &mut picture.words {
        if let Some(tune) = by_id.get(word.as_str()) {
            *word = tune.rhythm.clone();
        }
    }
    let out = &options.out;
    std::fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
    let path = out.join("tunes.svg");
    std::fs::write(
        &path,
        picture.to_svg("Tunes by who hears them, named by their rhythm"),
    )?;
    println!("{} written", path.display());
    Ok(())
}
