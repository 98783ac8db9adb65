//! The formats of the program word2vec, which gensim, fastText (`.vec`) and others share.
//!
//! **Text.** A first line with the number of words and their dimension, then a line for each word
//! with its values, separated by spaces. **Binary.** The same first line; then each word, a space and
//! its values as 32-bit floats, little end first.
//!
//! Quirks: the program itself ends each line of text with a space, which is read and not written, and
//! each vector of the binary format with a line break, which gensim does not; both are read, and the
//! break is written. Counts are not in the file, so every word counts once; the order is that of the
//! file, which programs write by falling frequency. In the binary format a word ends at its first
//! space. Bytes that are not UTF-8 become `U+FFFD`, and of words that are equal after that the first
//! is kept.

use std::fs::File;
use std::io::{BufRead, BufWriter, Write};
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use refrain_core::{Error as CoreError, IdMap};

use super::lines::{self, Lines};
use super::{Gathered, bad, bytes, check_word};
use crate::{Embeddings, Result, Vocabulary};

/// Reads a file of text.
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming the line.
pub fn read_text(path: impl AsRef<Path>) -> Result<Embeddings> {
    let (reader, origin) = lines::open(path.as_ref())?;
    parse_text(reader, &origin)
}

/// Reads text; `origin` names it in errors.
///
/// # Errors
/// As [`read_text`].
pub fn parse_text(reader: impl BufRead, origin: &str) -> Result<Embeddings> {
    let mut lines = Lines::new(reader, origin);
    let (count, dim) = header(&mut lines)?;
    // The header is not trusted with memory: both grow with the lines that are there.
    let mut found = Gathered::new();
    for read in 0..count {
        if !lines.next()? {
            return Err(lines.bad(format!("the file ends after {read} of {count} words")));
        }
        lines.take(dim, &mut found)?;
    }
    found.finish(dim)
}

/// The numbers of words and of values.
fn header(lines: &mut Lines<'_, impl BufRead>) -> Result<(usize, usize)> {
    lines.next()?;
    let line = lines.line();
    let mut fields = line.split_ascii_whitespace().map(str::parse::<usize>);
    match (fields.next(), fields.next(), fields.next()) {
        (Some(Ok(_)), Some(Ok(0)), None) => Err(lines.bad("vectors of length 0".to_string())),
        (Some(Ok(count)), Some(Ok(dim)), None) => Ok((count, dim)),
        _ => Err(lines.bad(format!("expected two numbers, found {line:?}"))),
    }
}

/// Writes a file of text.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) when it cannot be written;
/// [`Error::Vectors`](crate::Error::Vectors) when a word holds a line break or is empty, which the
/// format cannot carry.
pub fn write_text(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    lines::write(embeddings, path.as_ref(), true)
}

/// Reads a binary file.
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming the word by its number.
pub fn read_binary(path: impl AsRef<Path>) -> Result<Embeddings> {
    let (file, origin) = bytes::open(path.as_ref())?;
    parse_binary(&file, &origin)
}

/// Reads the bytes of a binary file; `origin` names it in errors.
///
/// # Errors
/// As [`read_binary`].
pub fn parse_binary(bytes: &[u8], origin: &str) -> Result<Embeddings> {
    let mut lines = Lines::new(bytes, origin);
    let (count, dim) = header(&mut lines)?;
    let records = Records::find(lines.into_reader(), count, dim, origin)?;
    let (named, values) = rayon::join(|| records.names(), || records.values(&records.rows));
    let (names, kept) = named?;
    let values = match kept.len() == records.rows.len() {
        true => values,
        false => records.values(&kept),
    };
    let counts = vec![1; names.len()];
    Embeddings::new(Vocabulary::from_ids(names, counts), dim, values)
}

/// Where the words and the vectors of a binary file stand.
struct Records<'a> {
    bytes: &'a [u8],
    dim: usize,
    words: Vec<Range<usize>>,
    /// Where each vector begins; all of it is there.
    rows: Vec<usize>,
}

impl<'a> Records<'a> {
    /// Goes from word to word, past the vectors.
    fn find(bytes: &'a [u8], count: usize, dim: usize, origin: &str) -> Result<Self> {
        let Some(size) = dim.checked_mul(4) else {
            return Err(bad(origin, "line 1", format!("vectors of {dim} values")));
        };
        // The header is not trusted with memory.
        let most = count.min(bytes.len() / size);
        let (mut words, mut rows) = (Vec::with_capacity(most), Vec::with_capacity(most));
        let mut at = 0;
        for number in 1..=count {
            let bad = |reason| bad(origin, format_args!("word {number} of {count}"), reason);
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(length) = rest.iter().position(|&byte| byte == b' ') else {
                return Err(bad("the file ends before the word does".to_string()));
            };
            let left = rest.len() - length - 1;
            if left < size {
                let missing = size - left;
                return Err(bad(format!(
                    "the file ends in its vector, {missing} of {size} bytes before its end"
                )));
            }
            let broken = usize::from(rest.first() == Some(&b'\n'));
            words.push(at + broken..at + length);
            rows.push(at + length + 1);
            at += length + 1 + size;
        }
        Ok(Self {
            bytes,
            dim,
            words,
            rows,
        })
    }

    /// The words, and where their vectors begin; of equal ones the first is kept.
    fn names(&self) -> Result<(IdMap, Vec<usize>)> {
        let bytes = self.words.iter().map(Range::len).sum();
        let mut names = IdMap::with_capacity(self.words.len(), bytes);
        let mut kept = Vec::with_capacity(self.rows.len());
        for (word, &row) in self.words.iter().zip(&self.rows) {
            let word = self.bytes.get(word.clone()).unwrap_or_default();
            if names.insert(&*String::from_utf8_lossy(word))? as usize == kept.len() {
                kept.push(row);
            }
        }
        Ok((names, kept))
    }

    /// The vectors that begin there, end to end.
    fn values(&self, rows: &[usize]) -> Vec<f32> {
        /// Rows that a thread copies together.
        const BLOCK: usize = 256;
        let mut values = vec![0.0; rows.len() * self.dim];
        let blocks = values.par_chunks_mut(BLOCK * self.dim);
        blocks.zip(rows.par_chunks(BLOCK)).for_each(|(to, rows)| {
            for (to, &row) in to.chunks_exact_mut(self.dim).zip(rows) {
                let (from, _) = self.bytes.get(row..).unwrap_or_default().as_chunks::<4>();
                for (value, &bytes) in to.iter_mut().zip(from) {
                    *value = f32::from_le_bytes(bytes);
                }
            }
        });
        values
    }
}

/// Writes a binary file, with a line break after each vector as the program does.
///
/// # Errors
/// [`Error::Core`](crate::Error::Core) when it cannot be written;
/// [`Error::Vectors`](crate::Error::Vectors) when a word is empty or holds a space or a line break,
/// which the format cannot carry.
pub fn write_binary(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    let path = path.as_ref();
    let io = |error| CoreError::io(path, error);
    let origin = path.display().to_string();
    for (at, (word, _)) in (1..).zip(embeddings.iter()) {
        check_word(word, &origin, format_args!("word {at}"))?;
        if word.contains(' ') {
            let reason = format!("the word {word:?} does not fit the format");
            return Err(bad(&origin, format_args!("word {at}"), reason));
        }
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    writeln!(out, "{} {}", embeddings.len(), embeddings.dim()).map_err(io)?;
    for (word, vector) in embeddings.iter() {
        write!(out, "{word} ").map_err(io)?;
        for value in vector {
            out.write_all(&value.to_le_bytes()).map_err(io)?;
        }
        out.write_all(b"\n").map_err(io)?;
    }
    Ok(out.flush().map_err(io)?)
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

    #[test]
    fn reads_both_habits_of_binary() {
        // gensim 4.4.0: KeyedVectors.save_word2vec_format("v.bin", binary=True) of a, (1, -2) and
        // caf\xc3\xa9, (0.5, 3); then as word2vec.c does, with line breaks.
        let gensim = b"2 2\na \0\0\x80?\0\0\0\xc0caf\xc3\xa9 \0\0\0?\0\0@@";
        let original = b"2 2\na \0\0\x80?\0\0\0\xc0\ncaf\xc3\xa9 \0\0\0?\0\0@@\n";
        for bytes in [&gensim[..], original] {
            let words = parse_binary(bytes, "memory").unwrap();
            assert_eq!(words.vector("a"), Some(&[1.0, -2.0][..]));
            assert_eq!(words.vector("caf\u{e9}"), Some(&[0.5, 3.0][..]));
            for end in 0..bytes.len() - 1 {
                let cut = parse_binary(&bytes[..end], "memory");
                assert!(cut.is_err(), "{end}");
            }
        }
        let error = parse_binary(&gensim[..20], "memory").unwrap_err();
        assert!(error.to_string().contains("word 2 of 2"), "{error}");
        let error = parse_binary(&gensim[..gensim.len() - 3], "memory").unwrap_err();
        assert!(error.to_string().contains("3 of 8 bytes"), "{error}");
        let huge = b"9 4611686018427387905\na 1234";
        assert!(parse_binary(&huge[..], "memory").is_err());
    }

    #[test]
    fn of_equal_words_the_first_is_kept() {
        // More than one block of rows; the second word and the last are the first again, once as bytes that
        // are not UTF-8.
        let mut bytes = b"600 1\n".to_vec();
        for number in 0..600u16 {
            let word = match number {
                0 | 1 => "caf\u{fffd}".as_bytes().to_vec(),
                599 => b"caf\xe9".to_vec(),
                _ => format!("w{number}").into_bytes(),
            };
            bytes.extend(word);
            bytes.push(b' ');
            bytes.extend(f32::from(number).to_le_bytes());
        }
        let words = parse_binary(&bytes, "memory").unwrap();
        assert_eq!(words.len(), 598);
        assert_eq!(words.vector("caf\u{fffd}"), Some(&[0.0][..]));
        for number in 2..599u16 {
            let vector = words.vector(&format!("w{number}"));
            assert_eq!(vector, Some(&[f32::from(number)][..]));
        }
    }

    #[test]
    fn binary_round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.bin");
        let words = Embeddings::from_vectors([("a", [0.1, 1e-40]), ("\u{732b}", [-1e30, 0.3])]);
        let words = words.unwrap();
        write_binary(&words, &path).unwrap();
        let again = read_binary(&path).unwrap();
        assert_eq!(again.vectors(), words.vectors());
        assert_eq!(again.vocabulary(), words.vocabulary());
        let broken = Embeddings::from_vectors([("a", [1.0]), ("a b", [1.0])]).unwrap();
        let path = folder.path().join("none.bin");
        assert!(write_binary(&broken, &path).is_err());
        assert!(!path.exists());
    }

    proptest! {
        #[test]
        fn hostile_binary_never_panics(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            keep in any::<prop::sample::Index>(),
        ) {
            let mut bytes = b"2 2\na \0\0\x80?\0\0\0\xc0\nb \0\0\0?\0\0@@\n".to_vec();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            bytes.truncate(keep.index(bytes.len() + 1));
            let _ = parse_binary(&bytes[..], "memory");
        }

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
