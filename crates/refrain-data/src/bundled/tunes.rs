//! The catalogue of traditional tunes: O'Neill's *Music of Ireland* (1903) and *Ryan's Mammoth
//! Collection* (1883), melodies in the public domain. Their transcribers are credited in the
//! `README.md` beside the file.

use std::io::{BufRead, Cursor};
use std::path::Path;

use hashbrown::{HashMap, HashSet};

use super::unpack;
use crate::{Error, ItemFeatures, Result, table};

const NAME: &str = "tunes";
static PACKED: &[u8] = include_bytes!("../../data/tunes/tunes.csv.gz");

/// One tune of a catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct TuneRecord {
    /// Its id, such as `oneill-0123` or `ryan-0045`.
    pub id: String,
    /// Its number in the book.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// The book it stands in.
    pub book: String,
    /// What it is danced or sung to: reel, jig, hornpipe, air, …
    pub rhythm: String,
    /// The metre, such as `6/8`, as after `M:`.
    pub metre: String,
    /// The unit length of the notation, such as `1/8`, as after `L:`.
    pub unit: String,
    /// Tonic and mode, such as `Em` or `Dmix`, as after `K:`.
    pub key: String,
    /// The mode: major, minor, dorian, mixolydian, …
    pub mode: String,
    /// Semitones from the lowest note to the highest.
    pub range: f32,
    /// Notes per bar.
    pub density: f32,
    /// How hard it is to play, from 0 to 1: an estimate.
    pub difficulty: f32,
    /// The notes, in ABC.
    pub body: String,
}

/// The bundled tunes: 2,854 of them.
///
/// ```
/// let tunes = refrain_data::bundled::tunes()?;
/// let jigs = tunes.iter().filter(|t| t.rhythm == "jig").count();
/// println!("{} tunes, {jigs} jigs", tunes.len());
/// println!("{}", tunes[0].abc());
/// # Ok::<(), refrain_data::Error>(())
/// ```
pub fn tunes() -> Result<Vec<TuneRecord>> {
    read(Cursor::new(unpack(NAME, PACKED)?), "bundled tunes")
}

/// What a recommender may know of tunes: rhythm, mode, metre and key as categories, range, density
/// and difficulty as numbers, the title as text. Rows are numbered as the slice.
///
/// ```
/// use refrain_data::{FeatureValue, bundled};
/// let tunes = bundled::tunes()?;
/// let features = bundled::tune_features(&tunes)?;
/// assert_eq!(features.value(0, "rhythm"), Some(FeatureValue::Category(&tunes[0].rhythm)));
/// # Ok::<(), refrain_data::Error>(())
/// ```
pub fn tune_features(tunes: &[TuneRecord]) -> Result<ItemFeatures> {
    let text =
        |value: fn(&TuneRecord) -> &str| tunes.iter().map(move |t| (t.id.as_str(), value(t)));
    let number =
        |value: fn(&TuneRecord) -> f32| tunes.iter().map(move |t| (t.id.as_str(), value(t)));
    ItemFeatures::builder()
        .category("rhythm", text(|t| &t.rhythm))?
        .category("mode", text(|t| &t.mode))?
        .category("metre", text(|t| &t.metre))?
        .category("key", text(|t| &t.key))?
        .numeric("range", number(|t| t.range))?
        .numeric("density", number(|t| t.density))?
        .numeric("difficulty", number(|t| t.difficulty))?
        .text("title", text(|t| &t.title))?
        .build()
}

impl TuneRecord {
    /// The tune as a complete ABC text.
    pub fn abc(&self) -> String {
        let Self {
            number,
            title,
            rhythm,
            metre,
            unit,
            key,
            body,
            ..
        } = self;
        let body = body.trim_end();
        format!("X:{number}\nT:{title}\nR:{rhythm}\nM:{metre}\nL:{unit}\nK:{key}\n{body}\n")
    }

    /// Reads a catalogue of your own: CSV with a header that names the bundled catalogue's columns,
    /// in any order, perhaps gzipped. `id`, `key` and `body` are needed. Of the others, a missing
    /// number is 0, a missing title the id, metre and unit are `4/4` and `1/8`, and text is empty.
    ///
    /// # Errors
    /// Each names the file, and the line where there is one: a file that cannot be read, a column
    /// that is not there, an empty or repeated id, numbers that are none, no tunes at all.
    pub fn from_csv(path: impl AsRef<Path>) -> Result<Vec<Self>> {
        let path = path.as_ref();
        read(table::open(path)?, &path.display().to_string())
    }
}

fn read(table: impl BufRead, origin: &str) -> Result<Vec<TuneRecord>> {
    let mut reader = csv::Reader::from_reader(table);
    let failed = |e: csv::Error| match e.position() {
        Some(at) => Error::row(origin, at.line(), e.to_string()),
        None => Error::File {
            origin: origin.to_owned(),
            reason: e.to_string(),
        },
    };
    let header = reader.headers().map_err(failed)?.clone();
    let place: HashMap<&str, usize> = header.iter().enumerate().map(|(i, n)| (n, i)).collect();
    for column in ["id", "key", "body"] {
        if !place.contains_key(column) {
            let known = header.iter().collect::<Vec<_>>().join(", ");
            let (origin, column) = (origin.to_owned(), column.to_owned());
            return Err(Error::NoColumn {
                origin,
                column,
                known,
            });
        }
    }
    let mut tunes: Vec<TuneRecord> = Vec::new();
    let mut ids = HashSet::new();
    for row in reader.records() {
        let row = row.map_err(failed)?;
        let wrong = |reason: String| {
            Error::row(
                origin,
                row.position().map_or(0, csv::Position::line),
                reason,
            )
        };
        let text = |column: &str, otherwise: &str| {
            let value = place
                .get(column)
                .and_then(|&i| row.get(i))
                .unwrap_or_default()
                .trim();
            if value.is_empty() {
                otherwise.to_owned()
            } else {
                value.to_owned()
            }
        };
        let number = |column: &str| {
            let value = text(column, "0");
            let number = value.parse::<f32>().ok().filter(|v| v.is_finite());
            number.ok_or_else(|| wrong(format!("{column} is {value:?}, which is no number")))
        };
        let id = text("id", "");
        if id.is_empty() {
            return Err(wrong("id is missing".to_owned()));
        }
        if !ids.insert(id.clone()) {
            return Err(wrong(format!("id {id:?} has a tune already")));
        }
        tunes.push(TuneRecord {
            number: number("number")? as u32,
            title: text("title", &id),
            book: text("book", ""),
            rhythm: text("rhythm", ""),
            metre: text("metre", "4/4"),
            unit: text("unit", "1/8"),
            key: text("key", ""),
            mode: text("mode", ""),
            range: number("range")?,
            density: number("density")?,
            difficulty: number("difficulty")?,
            body: text("body", ""),
            id,
        });
    }
    if tunes.is_empty() {
        return Err(Error::File {
            origin: origin.to_owned(),
            reason: "there are no tunes".into(),
        });
    }
    Ok(tunes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FeatureValue;

    #[test]
    fn the_catalogue_is_whole() {
        let tunes = tunes().unwrap();
        assert_eq!(tunes.len(), 2_854);
        let of = |book: &str| tunes.iter().filter(|t| t.book == book).count();
        assert_eq!(of("O'Neill's Music of Ireland"), 1_804);
        assert_eq!(of("Ryan's Mammoth Collection"), 1_050);
        for tune in &tunes {
            assert!(!tune.title.is_empty() && !tune.body.is_empty() && !tune.rhythm.is_empty());
            assert!(
                (0.0..=1.0).contains(&tune.difficulty) && tune.range > 0.0,
                "{}",
                tune.id
            );
        }
        let first = tunes.iter().find(|t| t.id == "oneill-0001").unwrap();
        assert!(first.abc().starts_with(
            "X:1\nT:The Enchanted Valley\nR:air\nM:2/4\nL:1/16\nK:Gm\nG3-A (Bcd=e) | f4 (g2dB) |"
        ));
    }

    #[test]
    fn features_are_the_columns() {
        let tunes = tunes().unwrap();
        let features = tune_features(&tunes).unwrap();
        assert_eq!(features.len(), tunes.len());
        assert_eq!(features.columns().count(), 8);
        for (row, tune) in tunes.iter().enumerate().step_by(97) {
            let value = |column| features.value(row as u32, column).unwrap();
            assert_eq!(features.ids().name(row as u32), Some(tune.id.as_str()));
            assert_eq!(value("key"), FeatureValue::Category(&tune.key));
            assert_eq!(value("difficulty"), FeatureValue::Numeric(tune.difficulty));
            assert_eq!(value("title"), FeatureValue::Text(&tune.title));
        }
    }

    #[test]
    fn own_catalogues_need_little_and_say_what_is_wrong() {
        let tunes = read(&b"body,id,key\n\"ABc |\nd2\",a,D\nE,b,G\n"[..], "t.csv").unwrap();
        assert_eq!(
            tunes[0].abc(),
            "X:0\nT:a\nR:\nM:4/4\nL:1/8\nK:D\nABc |\nd2\n"
        );
        for (table, message) in [
            ("id,key\na,D\n", "t.csv: no column body; it has id, key"),
            ("id,key,body\n", "t.csv: there are no tunes"),
            ("", "t.csv: no column id; it has "),
            ("id,key,body\n,D,A\n", "t.csv, line 2: id is missing"),
            (
                "id,key,body\na,D,A\na,D,A\n",
                "t.csv, line 3: id \"a\" has a tune already",
            ),
            (
                "id,key,body,range\na,D,A,NaN\n",
                "t.csv, line 2: range is \"NaN\", which is no number",
            ),
        ] {
            assert_eq!(
                read(table.as_bytes(), "t.csv").unwrap_err().to_string(),
                message
            );
        }
        assert!(read(&b"id,key,body\na,D\n"[..], "t.csv").is_err());
        assert!(read(&b"id,key,body\na,\xff,A\n"[..], "t.csv").is_err());
    }
}
