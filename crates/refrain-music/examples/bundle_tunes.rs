//! Makes the bundled catalogue of tunes (maintenance; users never need it).
//!
//! ```text
//! cargo run --release -p refrain-music --example bundle_tunes -- CORPUS OUT
//! ```
//!
//! `CORPUS` is the folder `music21/corpus` of the unpacked wheel music21 10.5.1, of which only
//! `oneills1850` and `ryansMammoth` are read. `OUT` is the folder for `tunes.csv.gz` and
//! `REJECTED.md`, in the repository `crates/refrain-data/data/tunes`.

mod bundle;

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use bundle::{Entry, clean, titles};
use refrain_music::{Tokenizer, Tune};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(corpus), Some(out)) = (arguments.next(), arguments.next()) else {
        return Err("usage: bundle_tunes CORPUS OUT".into());
    };
    let (corpus, out) = (Path::new(&corpus), Path::new(&out));
    let mut entries = Vec::new();
    for book in [bundle::Book::ONeill, bundle::Book::Ryan] {
        entries.extend(read_book(book, corpus)?);
    }
    let source = entries.len();

    // One transcription of each number: the first that is sound, else the first that parses.
    let mut chosen: BTreeMap<String, Entry> = BTreeMap::new();
    let mut duplicates = Vec::new();
    for entry in entries {
        match chosen.get(&entry.id) {
            Some(held) if held.rank() >= entry.rank() => duplicates.push(entry),
            _ => duplicates.extend(chosen.insert(entry.id.clone(), entry)),
        }
    }
    duplicates.sort_by(|a, b| (&a.id, &a.file).cmp(&(&b.id, &b.file)));

    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record([
        "id",
        "number",
        "title",
        "book",
        "rhythm",
        "metre",
        "unit",
        "key",
        "mode",
        "range",
        "density",
        "difficulty",
        "body",
    ])?;
    let (mut unsound, mut left_out) = (Vec::new(), Vec::new());
    let (mut bundled, mut sound) = (0usize, 0u32);
    for entry in chosen.values() {
        let reasons = reasons(entry);
        if reasons.len() > 1 || entry.tune.is_err() {
            left_out.push((entry, reasons));
            continue;
        }
        if let Ok(tune) = &entry.tune {
            let rhythm = bundle::rhythm(entry, tune);
            let f = Tune {
                rhythm: Some(rhythm),
                ..tune.clone()
            }
            .features();
            bundled += 1;
            table.write_record([
                entry.id.clone(),
                entry.number.to_string(),
                titles::clean(&entry.title),
                entry.book.name().into(),
                rhythm.to_string(),
                tune.metre.to_string(),
                tune.unit.to_string(),
                tune.key.to_string(),
                tune.key.mode.to_string(),
                f.range.to_string(),
                format!("{:.2}", f.density),
                format!("{:.3}", f.difficulty),
                entry.body(),
            ])?;
        }
        if reasons.is_empty() {
            sound += 1;
        } else {
            unsound.push((entry, reasons));
        }
    }
    let bytes = table.into_inner()?;
    let mut packed = flate2::GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), flate2::Compression::best());
    packed.write_all(&bytes)?;
    let packed = packed.finish()?;
    std::fs::create_dir_all(out)?;
    std::fs::write(out.join("tunes.csv.gz"), &packed)?;

    let page = &mut String::from("# Tunes that do not add up, and tunes left out\n\n");
    let share = |of: usize| 100.0 * f64::from(sound) / of.max(1) as f64;
    writeln!(
        page,
        "Written by `crates/refrain-music/examples/bundle_tunes.rs`. The source holds {source} \
         transcriptions of {} tunes. {bundled} tunes are in `tunes.csv.gz`; {sound} of them parse, \
         pass the validator and survive ABC → tokens → ABC: {:.1} % of the file, {:.1} % of all \
         tunes of the source.\n",
        chosen.len(),
        share(bundled),
        share(chosen.len())
    )?;
    writeln!(page, "## In the file, with one bar that does not add up\n")?;
    list(page, &unsound)?;
    writeln!(
        page,
        "\n## Left out: not understood, or wrong in more than one place\n"
    )?;
    list(page, &left_out)?;
    writeln!(page, "\n## Second transcriptions of a number, left out\n")?;
    for entry in &duplicates {
        writeln!(
            page,
            "- `{}` {} ({})",
            entry.id,
            titles::clean(&entry.title),
            entry.file
        )?;
    }
    std::fs::write(out.join("REJECTED.md"), page)?;
    println!(
        "{source} transcriptions, {} tunes, {bundled} bundled, {sound} sound ({:.2} %, {:.2} % of all), \
         {} bytes",
        chosen.len(),
        share(bundled),
        share(chosen.len()),
        packed.len()
    );
    Ok(())
}

/// A line for each tune with its first reasons.
fn list(page: &mut String, tunes: &[(&Entry, Vec<String>)]) -> std::fmt::Result {
    for (entry, reasons) in tunes {
        let shown: Vec<&str> = reasons.iter().take(3).map(String::as_str).collect();
        let more = match reasons.len().saturating_sub(3) {
            0 => String::new(),
            n => format!("; {n} more"),
        };
        let title = titles::clean(&entry.title);
        writeln!(page, "- `{}` {title}: {}{more}", entry.id, shown.join("; "))?;
    }
    Ok(())
}

/// Why a tune is not sound; empty if it is.
fn reasons(entry: &Entry) -> Vec<String> {
    let tune = match &entry.tune {
        Ok(tune) => tune,
        Err(e) => return vec![format!("not understood: {e}")],
    };
    let mut out: Vec<String> = tune.validate().errors().map(ToString::to_string).collect();
    let tokenizer = Tokenizer::default();
    match tokenizer.encode(tune) {
        Err(e) => out.push(format!("no tokens: {e}")),
        Ok(tokens) => match tokenizer.decode(&tokens) {
            Ok(back) if back == tokenizer.image(tune) => {}
            _ => out.push("tokens do not give the tune back".into()),
        },
    }
    out
}

fn read_book(book: bundle::Book, corpus: &Path) -> Result<Vec<Entry>, Box<dyn Error>> {
    let folder = corpus.join(book.folder());
    let mut files: Vec<String> = std::fs::read_dir(&folder)
        .map_err(|e| format!("{}: {e}", folder.display()))?
        .filter_map(|f| f.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".abc"))
        .collect();
    files.sort();
    let mut entries = Vec::new();
    for (place, file) in files.iter().enumerate() {
        let bytes = std::fs::read(folder.join(file))?;
        for text in clean::tunes(file, &bytes) {
            entries.push(Entry::new(book, file, place + 1, text));
        }
    }
    Ok(entries)
}
