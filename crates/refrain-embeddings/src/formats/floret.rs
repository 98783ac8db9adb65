//! The text format of floret, which spaCy and finalfusion read too: rows of n-grams and no words.
//!
//! ```text
//! rows, values in each, least and greatest length of n-grams, hashes, seed, marks: 50 300 4 5 2 7 < >
//! a line for each row with its number, from 0, and its values
//! ```
//!
//! Any word has a vector: the mean of the rows of its n-grams and of the whole word, each of which has as
//! many rows as there are hashes (see [`SubwordHashing::Floret`]). Which words there are the file does not
//! say, so that neighbours are found among those one names: [`read_words`].
//!
//! Quirks: floret writes five digits, and a space at the end of each line, which is not written. The most
//! frequent word of the text it was trained on has a row of its own that is in its binary model alone, so
//! that its vector differs here, as it does in spaCy. `</s>`, the end of a line, has no n-grams. spaCy,
//! unlike floret, takes a mark alone for an n-gram; this can matter where the least length is 1, and floret
//! is followed. A file that was cut within its last value cannot be told from a whole one.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::path::Path;

use refrain_core::Error as CoreError;

use super::bad;
use super::lines::{self, Lines};
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords};

/// Reads the n-grams.
///
/// # Errors
/// [`Error::Vectors`] naming the line.
pub fn read(path: impl AsRef<Path>) -> Result<Subwords> {
    let (reader, origin) = lines::open(path.as_ref())?;
    parse(reader, &origin)
}

/// Reads the n-grams, and makes the vectors of some words of them, in this order.
///
/// # Errors
/// As [`read`] and [`Embeddings::from_subwords`].
pub fn read_words<W: AsRef<str>>(
    path: impl AsRef<Path>,
    words: impl IntoIterator<Item = W>,
) -> Result<Embeddings> {
    Embeddings::from_subwords(read(path)?, words)
}

/// Reads text; `origin` names it in errors.
///
/// ```
/// use refrain_embeddings::{Embeddings, formats::floret};
/// let text = "2 1 2 3 1 2166136261 < >\n0 0.5\n1 -0.25\n";
/// let subwords = floret::parse(text.as_bytes(), "an example")?;
/// let words = Embeddings::from_subwords(subwords, ["cat", "cats", "dog"])?;
/// assert_eq!(words.neighbours("doggy", 3)?.len(), 3);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// As [`read`].
pub fn parse(reader: impl BufRead, origin: &str) -> Result<Subwords> {
    let mut lines = Lines::new(reader, origin);
    lines.next()?;
    let line = lines.line();
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    let header = || {
        lines.bad(format!(
            "expected six numbers and two marks, found {line:?}"
        ))
    };
    let [rows, dim, least, most, hashes, seed, begin, end] = fields[..] else {
        return Err(header());
    };
    let count = |field: &str| field.parse::<usize>().map_err(|_| header());
    let (rows, dim) = (count(rows)?, count(dim)?);
    let lengths = count(least)?..=count(most)?;
    let number = |field: &str| field.parse::<u32>().map_err(|_| header());
    let hashing = SubwordHashing::Floret {
        hashes: number(hashes)?,
        seed: number(seed)?,
        begin: begin.to_string(),
        end: end.to_string(),
    };
    // The header is not trusted with memory: the values grow with the lines that are there.
    let mut values = Vec::new();
    for row in 0..rows {
        if !lines.next()? {
            return Err(lines.bad(format!("the file ends after {row} of {rows} rows")));
        }
        let line = lines.line();
        let mut fields = line.split_ascii_whitespace();
        let first = fields.next().unwrap_or_default();
        if first.parse() != Ok(row) {
            return Err(lines.bad(format!("expected row {row}, found {first:?}")));
        }
        let start = values.len();
        for field in fields {
            values.push(field.parse().map_err(|_| {
                lines.bad(format!("expected {dim} values, found {field:?} among them"))
            })?);
        }
        let found = values.len() - start;
        if found != dim {
            return Err(lines.bad(format!("expected {dim} values, found {found}")));
        }
    }
    let subwords = Subwords::hashed(lengths, dim, values, hashing);
    subwords.map_err(|error| match error {
        Error::Config { .. } => bad(origin, "line 1", error.to_string()),
        other => other,
    })
}

/// Writes the n-grams.
///
/// # Errors
/// [`Error::Vectors`] unless they are hashed as floret does, with marks that are not empty and hold no
/// spaces; and when the file cannot be written.
pub fn write(subwords: &Subwords, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let refuse = |reason: String| bad(&path.display().to_string(), "n-grams", reason);
    let SubwordHashing::Floret {
        hashes,
        seed,
        begin,
        end,
    } = subwords.hashing()
    else {
        return Err(refuse("they are not hashed as floret does".to_string()));
    };
    for mark in [begin, end] {
        if mark.is_empty() || mark.contains(char::is_whitespace) {
            return Err(refuse(format!("the mark {mark:?} does not fit the format")));
        }
    }
    let io = |error| CoreError::io(path, error);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    let (lengths, dim) = (subwords.lengths(), subwords.dim());
    let (least, most) = (lengths.start(), lengths.end());
    let rows = subwords.buckets();
    writeln!(
        out,
        "{rows} {dim} {least} {most} {hashes} {seed} {begin} {end}"
    )
    .map_err(io)?;
    for (row, values) in subwords.values().chunks(dim).enumerate() {
        write!(out, "{row}").map_err(io)?;
        for value in values {
            write!(out, " {value}").map_err(io)?;
        }
        writeln!(out).map_err(io)?;
    }
    Ok(out.flush().map_err(io)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::broken;
    use super::*;

    /// Made by `tests/golden/make_floret.py` with floret itself, as are the rows and vectors below.
    const WORDS: &str = include_str!("../../tests/golden/words.floret");

    fn parsed(text: &str) -> Result<Subwords> {
        parse(text.as_bytes(), "memory")
    }

    fn rows(subwords: &Subwords, word: &str) -> Vec<u32> {
        let mut found = Vec::new();
        subwords.rows(word, |row| found.push(row));
        found
    }

    #[test]
    fn rows_and_vectors_are_those_of_floret() {
        let subwords = parsed(WORDS).unwrap();
        assert_eq!((subwords.lengths(), subwords.dim()), (2..=4, 3));
        let cats = [
            3, 17, 11, 24, 11, 6, 2, 6, 19, 11, 14, 0, 25, 9, 8, 1, 19, 2, 20, 25, 0, 28, 14, 21,
            11, 26, 18, 12, 6, 18, 4, 12, 3, 2, 7, 25, 2, 17, 11,
        ];
        assert_eq!(rows(&subwords, "cats"), cats);
        let cat = [2, 23, 3, 22, 13, 5, 2, 23, 3, 16, 24, 12];
        assert_eq!(rows(&subwords, "猫"), cat);
        // More than the sixteen bytes that are hashed at once.
        let long = rows(&subwords, "incomprehensibilities");
        assert_eq!(long.len(), 192);
        assert_eq!(long[..6], [27, 21, 21, 10, 11, 0]);
        let words = Embeddings::from_subwords(subwords, ["cats", "猫"]).unwrap();
        for (word, expected) in [
            (
                "cats",
                [
                    0.058877408504486084,
                    -0.009080352261662483,
                    0.1356097161769867,
                ],
            ),
            (
                "猫",
                [
                    -0.0412701815366745,
                    -0.05669662356376648,
                    0.13494232296943665,
                ],
            ),
            (
                "naïve猫s",
                [
                    0.06479138135910034,
                    -0.023497963324189186,
                    0.1399042010307312,
                ],
            ),
            (
                "a",
                [
                    0.04827010631561279,
                    0.02379506826400757,
                    0.10461466014385223,
                ],
            ),
            (
                "incomprehensibilities",
                [
                    0.06703604757785797,
                    -0.0094657763838768,
                    0.08918758481740952,
                ],
            ),
        ] {
            let found = words.embed(word).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (f64::from(*found) - expected).abs() < 1e-5,
                    "{word}: {found} {expected}"
                );
            }
        }
        assert_eq!(words.embed("</s>"), None);
    }

    /// Other marks, and lengths from 0: whole words alone, or n-grams from one character on.
    #[test]
    fn marks_and_whole_words() {
        let text = "3 1 0 0 2 2166136261 [ ]\n0 1\n1 2\n2 4";
        let subwords = parsed(text).unwrap();
        assert_eq!(rows(&subwords, "der").len(), 2);
        let other = parsed(&text.replace("[ ]", "< >")).unwrap();
        assert_ne!(rows(&subwords, "der"), rows(&other, "der"));
        assert_eq!(
            rows(&parsed(&text.replace("0 0 2", "0 3 2")).unwrap(), "a").len(),
            10
        );
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.floret");
        for text in [WORDS, "2 1 0 0 4 7 [[ #\n0 1e-40\n1 -3.4e30\n"] {
            let subwords = parsed(text).unwrap();
            write(&subwords, &path).unwrap();
            assert_eq!(read(&path).unwrap(), subwords);
        }
        let words = read_words(&path, ["cat", "猫"]).unwrap();
        assert_eq!(words.len(), 2);
        assert!(read_words(&path, ["</s>"]).is_err());

        let none = folder.path().join("none.floret");
        assert!(write(&Subwords::new(3..=6, 1, vec![1.0]).unwrap(), &none).is_err());
        let hashing = SubwordHashing::Floret {
            hashes: 1,
            seed: 0,
            begin: " ".to_string(),
            end: ">".to_string(),
        };
        let spaced = Subwords::hashed(3..=6, 1, vec![1.0], hashing).unwrap();
        assert!(write(&spaced, &none).is_err());
        assert!(!none.exists());
    }

    #[test]
    fn errors_name_the_line() {
        // All cuts but those within the last value, which cannot be told from another.
        for end in 0..=WORDS.trim_end().rfind(' ').unwrap() {
            assert!(parsed(&WORDS[..end]).is_err(), "{end} bytes");
        }
        for (text, says) in [
            ("", "line 1: expected six numbers"),
            ("2 1\n", "line 1: expected six numbers"),
            ("1 1 3 6 2 -1 < >\n0 1\n", "line 1: expected six numbers"),
            ("1 1 3 2 2 7 < >\n0 1\n", "line 1: lengths is 3 to 2"),
            ("1 1 3 6 5 7 < >\n0 1\n", "line 1: hashes is 5"),
            ("0 1 3 6 2 7 < >\n", "line 1: buckets is 0"),
            ("1 0 3 6 2 7 < >\n0\n", "line 1: buckets is 0"),
            (
                "2 1 3 6 2 7 < >\n0 1\n",
                "line 3: the file ends after 1 of 2 rows",
            ),
            (
                "2 1 3 6 2 7 < >\n0 1\n2 1\n",
                "line 3: expected row 1, found \"2\"",
            ),
            (
                "1 2 3 6 2 7 < >\n0 1\n",
                "line 2: expected 2 values, found 1",
            ),
            (
                "1 2 3 6 2 7 < >\n0 1 x\n",
                "line 2: expected 2 values, found \"x\"",
            ),
            ("1 1 3 6 2 7 < >\n0 inf\n", "row 0 of the n-grams"),
            (
                "4000000000 4000000000 3 6 2 7 < >\n0 1\n",
                "line 2: expected 4000000000 values, found 1",
            ),
        ] {
            let error = parsed(text).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            bytes in broken(b"3 2 1 3 4 7 < >\n0 1 2\n1 3 -4\n2 1e3 0\n"),
            word in ".{0,12}",
        ) {
            if let Ok(subwords) = parse(&bytes[..], "memory") {
                let _ = subwords.embed(&word);
            }
        }
    }
}
