//! The catalogue of traditional tunes: O'Neill's *Music of Ireland* (1903) and *Ryan's Mammoth
//! Collection* (1883).

use std::collections::HashMap;

use super::{broken, unpack};
use crate::Result;

const NAME: &str = "tunes";
static PACKED: &[u8] = include_bytes!("../../data/tunes/tunes.csv.gz");

/// One tune of the catalogue.
#[derive(Debug, Clone, PartialEq)]
pub struct TuneRecord {
    /// Its id: book and number.
    pub id: String,
    /// Its number in the book.
    pub number: u32,
    /// Its title.
    pub title: String,
    /// The book it stands in.
    pub book: String,
    /// What it is danced or sung to: reel, jig, hornpipe, air, …
    pub rhythm: String,
    /// The metre, such as `6/8`.
    pub metre: String,
    /// The unit length of the notation, such as `1/8`.
    pub unit: String,
    /// The tonic.
    pub key: String,
    /// The mode: major, minor, dorian, mixolydian, …
    pub mode: String,
    /// Semitones from the lowest note to the highest.
    pub range: f32,
    /// Notes a quarter-note of time.
    pub density: f32,
    /// How hard it is to play, from 0 to 1: an estimate from speed, leaps and range.
    pub difficulty: f32,
    /// The notes, in ABC.
    pub body: String,
}

/// The bundled tunes.
pub fn tunes() -> Result<Vec<TuneRecord>> {
    parse_tunes(&unpack(NAME, PACKED)?)
}

/// Reads a catalogue with the bundled one's columns: CSV with a header.
pub fn parse_tunes(table: &[u8]) -> Result<Vec<TuneRecord>> {
    let mut reader = csv::ReaderBuilder::new().from_reader(table);
    let header = reader.headers().map_err(|e| broken(NAME, e))?.clone();
    let place: HashMap<&str, usize> = header.iter().enumerate().map(|(i, n)| (n, i)).collect();
    let mut tunes = Vec::new();
    for row in reader.records() {
        let row = row.map_err(|e| broken(NAME, e))?;
        let line = row.position().map_or(0, csv::Position::line);
        let text = |column: &str| {
            place
                .get(column)
                .and_then(|&i| row.get(i))
                .ok_or_else(|| broken(NAME, format!("line {line}: no {column}")))
        };
        let number = |column: &str| {
            let value = text(column)?;
            value
                .parse::<f32>()
                .ok()
                .filter(|v| v.is_finite())
                .ok_or_else(|| {
                    broken(
                        NAME,
                        format!("line {line}: {column} is {value:?}, not a number"),
                    )
                })
        };
        tunes.push(TuneRecord {
            id: text("id")?.to_owned(),
            number: number("number")? as u32,
            title: text("title")?.to_owned(),
            book: text("book")?.to_owned(),
            rhythm: text("rhythm")?.to_owned(),
            metre: text("metre")?.to_owned(),
            unit: text("unit")?.to_owned(),
            key: text("key")?.to_owned(),
            mode: text("mode")?.to_owned(),
            range: number("range")?,
            density: number("density")?,
            difficulty: number("difficulty")?,
            body: text("body")?.to_owned(),
        });
    }
    Ok(tunes)
}

impl TuneRecord {
    /// The tune as a complete ABC text.
    pub fn abc(&self) -> String {
        format!(
            "X:{}\nT:{}\nR:{}\nM:{}\nL:{}\nK:{}\n{}\n",
            self.number, self.title, self.rhythm, self.metre, self.unit, self.key, self.body
        )
    }
}
