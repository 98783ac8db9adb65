//! The text format of the program word2vec, which gensim, fastText (`.vec`) and others share.
//!
//! A first line with the number of words and their dimension, then a line for each word with its
//! values, separated by spaces. Quirks: the program itself ends each line with a space, which is
//! read and not written; counts are not in the file, so every word counts once; the order is that
//! of the file, which programs write by falling frequency; bytes that are not UTF-8 become
//! `U+FFFD`, and of words that are equal after that the first is kept.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use refrain_core::Error as CoreError;

use crate::{Embeddings, Error, Result, Vocabulary};

/// Reads a file of text.
///
/// # Errors
/// [`Error::Vectors`] naming the line.
pub fn read_text(path: impl AsRef<Path>) -> Result<Embeddings> {
    let path = path.as_ref();
    let file = File::open(path).map_err(|e| CoreError::io(path, e))?;
    parse_text(
        BufReader::with_capacity(1 << 20, file),
        &path.display().to_string(),
    )
}

/// Reads text; `origin` names it in errors.
///
/// # Errors
/// As [`read_text`].
pub fn parse_text(mut reader: impl BufRead, origin: &str) -> Result<Embeddings> {
    let mut bytes = Vec::new();
    let mut number = 0u64;
    let mut next = |bytes: &mut Vec<u8>, number: &mut u64| {
        bytes.clear();
        *number += 1;
        reader
            .read_until(b'\n', bytes)
            .map_err(|e| bad(origin, *number, e.to_string()))
            .map(|n| n > 0)
    };
    next(&mut bytes, &mut number)?;
    let header = String::from_utf8_lossy(&bytes);
    let mut fields = header.split_ascii_whitespace().map(str::parse::<usize>);
    let (Some(Ok(count)), Some(Ok(dim)), None) = (fields.next(), fields.next(), fields.next())
    else {
        return Err(bad(
            origin,
            1,
            format!("expected two numbers, found {:?}", header.trim_end()),
        ));
    };
    if dim == 0 {
        return Err(bad(origin, 1, "vectors of length 0".to_string()));
    }
    // The header is not trusted with memory: both grow with the lines that are there.
    let (mut names, mut values) = (refrain_core::IdMap::new(), Vec::new());
    let mut read = 0usize;
    while read < count {
        if !next(&mut bytes, &mut number)? {
            let reason = format!("the file ends after {read} of {count} words");
            return Err(bad(origin, number, reason));
        }
        let line = String::from_utf8_lossy(&bytes);
        let line = line.trim_end_matches(['\n', '\r', ' ']);
        // Values are taken from the end, because some programs write words with spaces.
        let mut fields = line.rsplitn(dim + 1, ' ');
        let start = values.len();
        for field in fields.by_ref().take(dim) {
            values.push(field.parse::<f32>().map_err(|_| {
                bad(
                    origin,
                    number,
                    format!("expected {dim} values, found {field:?} among them"),
                )
            })?);
        }
        let Some(word) = fields.next().filter(|_| values.len() - start == dim) else {
            let found = values.len() - start;
            return Err(bad(
                origin,
                number,
                format!("expected a word and {dim} values, found {found}"),
            ));
        };
        read += 1;
        let known = names.len();
        match names.insert(word)? as usize == known {
            true => values[start..].reverse(),
            false => values.truncate(start),
        }
    }
    let vocabulary = Vocabulary::from_counts(names.iter().map(|name| (name, 1)))?;
    Embeddings::new(vocabulary, dim, values)
}

/// Writes a file of text.
///
/// # Errors
/// [`Error::Core`] when it cannot be written; [`Error::Vectors`] when a word holds a line break or
/// is empty, which the format cannot carry.
pub fn write_text(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let io = |e| Error::Core(CoreError::io(path, e));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    writeln!(out, "{} {}", embeddings.len(), embeddings.dim()).map_err(io)?;
    for (i, (word, vector)) in embeddings.iter().enumerate() {
        if word.is_empty() || word.contains(['\n', '\r']) || word.ends_with(' ') {
            let reason = format!("the word {word:?} does not fit the format");
            return Err(bad(&path.display().to_string(), i as u64 + 2, reason));
        }
        write!(out, "{word}").map_err(io)?;
        for value in vector {
            write!(out, " {value}").map_err(io)?;
        }
        writeln!(out).map_err(io)?;
    }
    out.flush().map_err(io)
}

fn bad(origin: &str, line: u64, reason: String) -> Error {
    Error::Vectors {
        origin: origin.to_string(),
        line,
        reason,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: impl AsRef<[u8]>) -> Result<Embeddings> {
        parse_text(text.as_ref(), "memory")
    }

    #[test]
    fn reads_what_others_write() {
        // gensim 4.4.0: KeyedVectors.save_word2vec_format("v.txt"); the second as word2vec.c does.
        for text in [
            "2 3\nthe 1 -0.5 2e-3\ncat 0 0.25 1.0\n",
            "2 3\r\nthe 1 -0.5 0.002 \r\ncat 0 0.25 1 ",
        ] {
            let words = parse(text).unwrap();
            assert_eq!(words.vector("the"), Some(&[1.0, -0.5, 0.002][..]));
            assert_eq!(words.vector("cat"), Some(&[0.0, 0.25, 1.0][..]));
        }
        assert_eq!(
            parse("1 2\nnew york 1 2\n")
                .unwrap()
                .vocabulary()
                .get("new york"),
            Some(0)
        );
        assert_eq!(
            parse("2 1\na 1\na 2\n").unwrap().vector("a"),
            Some(&[1.0][..])
        );
        assert_eq!(
            parse(b"1 1\ncaf\xe9 1\n").unwrap().vocabulary().word(0),
            Some("caf\u{fffd}")
        );
    }

    #[test]
    fn errors_name_the_line() {
        for (text, says) in [
            ("", "line 1: expected two numbers"),
            ("5 x\n", "line 1"),
            ("1 0\n", "length 0"),
            ("2 2\na 1 2\n", "line 3: the file ends after 1 of 2 words"),
            ("1 2\na 1\n", "line 2"),
            (
                "2 2\na 1 2\nb 1 x\n",
                "line 3: expected 2 values, found \"x\"",
            ),
            ("99999999999 99999999999\na 1\n", "line 2"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.txt");
        let words =
            Embeddings::from_vectors([("a", [0.1, f32::MIN_POSITIVE]), ("猫", [-1e30, 0.3])])
                .unwrap();
        write_text(&words, &path).unwrap();
        let again = read_text(&path).unwrap();
        assert_eq!(again.vectors(), words.vectors());
        assert_eq!(again.vocabulary(), words.vocabulary());
        let broken = Embeddings::from_vectors([("a\nb", [1.0])]).unwrap();
        assert!(write_text(&broken, &path).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = b"3 2\nthe 1.5 -2\ncat 0.25 1e-3\ndog 7 8\n".to_vec();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(keep.index(bytes.len() + 1));
            let _ = parse(&bytes);
        }
    }
}
