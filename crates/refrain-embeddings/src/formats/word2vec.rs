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
#[path = "word2vec_tests.rs"]
mod tests;
