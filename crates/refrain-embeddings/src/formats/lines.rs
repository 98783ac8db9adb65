//! A word and its values on each line.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;

use refrain_core::Error as CoreError;

use super::{Gathered, bad, check_word};
use crate::{Embeddings, Result};

/// Lines with their numbers.
pub(super) struct Lines<'a, R> {
    reader: R,
    origin: &'a str,
    bytes: Vec<u8>,
    number: u64,
}

/// A file to read, and its name in errors.
pub(super) fn open(path: &Path) -> Result<(BufReader<File>, String)> {
    let file = File::open(path).map_err(|e| CoreError::io(path, e))?;
    let reader = BufReader::with_capacity(1 << 20, file);
    Ok((reader, path.display().to_string()))
}

impl<'a, R: BufRead> Lines<'a, R> {
    pub fn new(reader: R, origin: &'a str) -> Self {
        Self {
            reader,
            origin,
            bytes: Vec::new(),
            number: 0,
        }
    }

    /// What comes after the lines read.
    pub fn into_reader(self) -> R {
        self.reader
    }

    /// Goes to the next line; false after the last.
    pub fn next(&mut self) -> Result<bool> {
        self.bytes.clear();
        self.number += 1;
        match self.reader.read_until(b'\n', &mut self.bytes) {
            Ok(read) => Ok(read > 0),
            Err(error) => Err(self.bad(error.to_string())),
        }
    }

    /// The line without its end.
    pub fn line(&self) -> Cow<'_, str> {
        let mut line = &self.bytes[..];
        while let [rest @ .., b'\n' | b'\r' | b' '] = line {
            line = rest;
        }
        String::from_utf8_lossy(line)
    }

    pub fn bad(&self, reason: String) -> crate::Error {
        bad(self.origin, format_args!("line {}", self.number), reason)
    }

    /// Adds the word and the `dim` values of the line.
    pub fn take(&self, dim: usize, into: &mut Gathered) -> Result<()> {
        let line = self.line();
        // Values are taken from the end, because some programs write words with spaces.
        let mut fields = line.rsplitn(dim.saturating_add(1), ' ');
        let start = into.values.len();
        for field in fields.by_ref().take(dim) {
            into.values.push(field.parse().map_err(|_| {
                self.bad(format!("expected {dim} values, found {field:?} among them"))
            })?);
        }
        let found = into.values.len() - start;
        let Some(word) = fields.next().filter(|_| found == dim) else {
            return Err(self.bad(format!("expected a word and {dim} values, found {found}")));
        };
        into.values[start..].reverse();
        into.name(word, start)
    }
}

/// Writes a line for each word, under a line of counts when there is to be one.
pub(super) fn write(embeddings: &Embeddings, path: &Path, counts: bool) -> Result<()> {
    let io = |error| CoreError::io(path, error);
    let origin = path.display().to_string();
    // Before the file is there, so that none is left unfinished.
    for (number, (word, _)) in (1 + usize::from(counts)..).zip(embeddings.iter()) {
        check_word(word, &origin, format_args!("line {number}"))?;
    }
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    if counts {
        writeln!(out, "{} {}", embeddings.len(), embeddings.dim()).map_err(io)?;
    }
    for (word, vector) in embeddings.iter() {
        write!(out, "{word}").map_err(io)?;
        for value in vector {
            write!(out, " {value}").map_err(io)?;
        }
        writeln!(out).map_err(io)?;
    }
    Ok(out.flush().map_err(io)?)
}
