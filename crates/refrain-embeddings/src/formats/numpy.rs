//! A matrix of numpy (`.npy`) beside a list of words.
//!
//! The matrix has a row for each word, of 32- or 64-bit floats, and may lie row by row or column by
//! column; the list is text with a word on each line, in the order of the rows. Quirks: values of 64
//! bits are rounded; a matrix of Python objects is refused, as reading one can run code; of words that
//! are equal the first is kept. Written are 32-bit floats row by row, version 1.0.
//!
//! Format: numpy's NEP 1, "A simple file format for NumPy arrays".

use std::fs::File;
use std::io::{BufRead, BufWriter, Read, Write};
use std::path::Path;

use refrain_core::Error as CoreError;

use super::lines::{self, Lines};
use super::{Gathered, bad, check_word};
use crate::{Embeddings, Error, Result};

const MAGIC: &[u8] = b"\x93NUMPY";
/// Headers of two dimensions are far shorter.
const LONGEST_HEADER: usize = 4096;

/// Reads a matrix and its words.
///
/// # Errors
/// [`Error::Vectors`] naming what is wrong with which file, [`Error::Shape`] when there are not as
/// many words as rows.
pub fn read(vectors: impl AsRef<Path>, words: impl AsRef<Path>) -> Result<Embeddings> {
    let (matrix, matrix_origin) = lines::open(vectors.as_ref())?;
    let (words, words_origin) = lines::open(words.as_ref())?;
    parse((matrix, &matrix_origin), (words, &words_origin))
}

/// Reads a matrix and its words from memory or a stream, each with its name in errors.
///
/// # Errors
/// As [`read`].
pub fn parse(
    (mut matrix, origin): (impl Read, &str),
    (words, words_origin): (impl BufRead, &str),
) -> Result<Embeddings> {
    let header = Header::read(&mut matrix, origin)?;
    let mut lines = Lines::new(words, words_origin);
    let mut names = Vec::new();
    while lines.next()? {
        names.push(lines.line().into_owned());
    }
    if names.len() != header.rows {
        return Err(Error::Shape {
            what: format!("words of {words_origin} for the rows of {origin}"),
            expected: header.rows,
            found: names.len(),
        });
    }
    let values = header.values(matrix, origin)?;
    let mut found = Gathered::new();
    for (row, name) in names.iter().enumerate() {
        let start = found.values.len();
        let row = (0..header.dim).map(|column| match header.by_column {
            true => column * header.rows + row,
            false => row * header.dim + column,
        });
        let row = row.filter_map(|at| values.get(at).copied());
        found.values.extend(row);
        found.name(name, start)?;
    }
    found.finish(header.dim)
}

/// Writes a matrix and its words.
///
/// # Errors
/// [`Error::Core`] when one cannot be written; [`Error::Vectors`] when a word holds a line break, ends
/// with a space or is empty, which the list cannot carry.
pub fn write(
    embeddings: &Embeddings,
    vectors: impl AsRef<Path>,
    words: impl AsRef<Path>,
) -> Result<()> {
    let (vectors, words) = (vectors.as_ref(), words.as_ref());
    let origin = words.display().to_string();
    for (at, (word, _)) in (1..).zip(embeddings.iter()) {
        check_word(word, &origin, format_args!("line {at}"))?;
    }
    let list = || {
        let mut out = BufWriter::new(File::create(words)?);
        for (word, _) in embeddings.iter() {
            writeln!(out, "{word}")?;
        }
        out.flush()
    };
    list().map_err(|error| CoreError::io(words, error))?;
    let matrix = || {
        let mut out = BufWriter::with_capacity(1 << 20, File::create(vectors)?);
        let mut header = format!(
            "{{'descr': '<f4', 'fortran_order': False, 'shape': ({}, {}), }}",
            embeddings.len(),
            embeddings.dim()
        );
        // The values begin at a multiple of 64.
        let before = MAGIC.len() + 4;
        let size = (before + header.len() + 1).next_multiple_of(64) - before;
        header.extend(std::iter::repeat_n(' ', size - header.len() - 1));
        out.write_all(MAGIC)?;
        out.write_all(&[1, 0])?;
        out.write_all(&(size as u16).to_le_bytes())?;
        writeln!(out, "{header}")?;
        for value in embeddings.vectors() {
            out.write_all(&value.to_le_bytes())?;
        }
        out.flush()
    };
    Ok(matrix().map_err(|error| CoreError::io(vectors, error))?)
}

/// What the first bytes say of a matrix.
struct Header {
    /// Bytes of a value, 4 or 8.
    size: usize,
    big_endian: bool,
    by_column: bool,
    rows: usize,
    dim: usize,
}

impl Header {
    fn read(reader: &mut impl Read, origin: &str) -> Result<Self> {
        let bad = |reason: &str| bad(origin, "the header", reason.to_string());
        let mut exact = |n: usize| {
            let mut bytes = vec![0; n];
            let read = reader.read_exact(&mut bytes);
            read.map_err(|_| bad("the file ends in it")).map(|()| bytes)
        };
        if exact(MAGIC.len())? != MAGIC {
            return Err(bad("not a file of numpy"));
        }
        let version = exact(2)?;
        let size = match version[..] {
            [1, _] => exact(2)?,
            [2 | 3, _] => exact(4)?,
            _ => return Err(bad("a version other than 1, 2 and 3")),
        };
        let size = size
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | usize::from(byte));
        if size > LONGEST_HEADER {
            return Err(bad("longer than that of a matrix"));
        }
        let text = exact(size)?;
        let text = String::from_utf8_lossy(&text);
        // The value of a key, up to the comma or brace after it.
        let after = |key: &str| {
            let value = text.split_once(&format!("'{key}':"))?.1.trim_start();
            match value.strip_prefix('(') {
                Some(tuple) => tuple.split(')').next(),
                None => value.split([',', '}']).next(),
            }
            .map(str::trim)
        };
        let (size, big_endian) = match after("descr") {
            Some("'<f4'") => (4, false),
            Some("'>f4'") => (4, true),
            Some("'<f8'") => (8, false),
            Some("'>f8'") => (8, true),
            Some(other) => {
                return Err(bad(&format!(
                    "values of {other}, not floats of 32 or 64 bits"
                )));
            }
            None => return Err(bad("it does not say what the values are")),
        };
        let by_column = match after("fortran_order") {
            Some("True") => true,
            Some("False") => false,
            _ => return Err(bad("it does not say in which order the values are")),
        };
        let shape = after("shape").unwrap_or_default().split(',');
        let shape: Vec<Option<usize>> = shape
            .map(str::trim)
            .filter(|side| !side.is_empty())
            .map(|side| side.parse().ok())
            .collect();
        let [Some(rows), Some(dim)] = shape[..] else {
            return Err(bad("not a matrix of two dimensions"));
        };
        if dim == 0 {
            return Err(bad("vectors of length 0"));
        }
        Ok(Self {
            size,
            big_endian,
            by_column,
            rows,
            dim,
        })
    }

    /// All values as they lie in the file.
    fn values(&self, mut reader: impl Read, origin: &str) -> Result<Vec<f32>> {
        let cut = |found: usize| {
            let (rows, dim) = (self.rows, self.dim);
            let reason = format!("the file ends after {found} of {rows} × {dim} values");
            bad(origin, "the matrix", reason)
        };
        let expected = self.rows.checked_mul(self.dim).ok_or_else(|| cut(0))?;
        let mut values = Vec::new();
        // Read piece by piece: the header is not trusted with memory.
        let mut bytes = vec![0; self.size << 14];
        while values.len() < expected {
            let piece = bytes
                .len()
                .min((expected - values.len()).saturating_mul(self.size));
            let piece = &mut bytes[..piece];
            let read = reader.read_exact(piece);
            read.map_err(|_| cut(values.len()))?;
            values.extend(piece.chunks_exact(self.size).map(|bytes| {
                let mut value = [0; 8];
                value[..bytes.len()].copy_from_slice(bytes);
                if self.big_endian {
                    value[..bytes.len()].reverse();
                }
                match value {
                    [a, b, c, d, ..] if self.size == 4 => f32::from_le_bytes([a, b, c, d]),
                    value => f64::from_le_bytes(value) as f32,
                }
            }));
        }
        Ok(values)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::broken;
    use super::*;

    /// numpy 2.3: `numpy.save(f, numpy.array([[1, -2, .5], [3, 4, 1e-3]], dtype))`, without the spaces
    /// that pad the header.
    fn matrix(descr: &str, by_column: bool) -> Vec<u8> {
        let order = if by_column { "True" } else { "False" };
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': {order}, 'shape': (2, 3), }}\n");
        let mut bytes = [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes()].concat();
        bytes.extend(header.as_bytes());
        let rows = [1.0, -2.0, 0.5, 3.0, 4.0, 1e-3];
        let columns = [1.0, 3.0, -2.0, 4.0, 0.5, 1e-3];
        for value in if by_column { columns } else { rows } {
            match descr {
                "<f4" => bytes.extend((value as f32).to_le_bytes()),
                ">f4" => bytes.extend((value as f32).to_be_bytes()),
                "<f8" => bytes.extend(f64::to_le_bytes(value)),
                _ => bytes.extend(f64::to_be_bytes(value)),
            }
        }
        bytes
    }

    fn parsed(bytes: &[u8], words: &str) -> Result<Embeddings> {
        parse((bytes, "m.npy"), (words.as_bytes(), "w.txt"))
    }

    #[test]
    fn reads_all_kinds_of_floats() {
        for descr in ["<f4", ">f4", "<f8", ">f8"] {
            for by_column in [false, true] {
                let words = parsed(&matrix(descr, by_column), "the\nnew york\n").unwrap();
                assert_eq!(words.vector("the"), Some(&[1.0, -2.0, 0.5][..]));
                assert_eq!(words.vector("new york"), Some(&[3.0, 4.0, 1e-3][..]));
            }
        }
        let twice = parsed(&matrix("<f4", false), "a\na\n").unwrap();
        assert_eq!((twice.len(), twice.vector("a").unwrap()[0]), (1, 1.0));
    }

    #[test]
    fn refuses_what_is_not_a_matrix_of_floats() {
        let good = matrix("<f4", false);
        let error = |bytes: &[u8], words: &str| parsed(bytes, words).unwrap_err().to_string();
        assert!(error(&good, "a\n").contains("expected 2 values, found 1"));
        assert!(error(&good[..good.len() - 1], "a\nb\n").contains("the matrix"));
        for end in 0..good.len() {
            assert!(parsed(&good[..end], "a\nb\n").is_err(), "{end}");
        }
        let changed = |from: &str, to: &str| {
            let text: String = good.iter().map(|&byte| char::from(byte)).collect();
            let bytes: Vec<u8> = text.replace(from, to).chars().map(|c| c as u8).collect();
            error(&bytes, "a\nb\n")
        };
        assert!(changed("<f4", "|O8").contains("'|O8'"));
        assert!(changed("(2, 3)", "(2,  )").contains("two dimensions"));
        assert!(changed("(2, 3)", "(2, 0)").contains("length 0"));
        assert!(changed("False", "Maybe").contains("order"));
        assert!(changed("NUMPY", "PANDA").contains("not a file of numpy"));
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let (matrix, list) = (folder.path().join("m.npy"), folder.path().join("w.txt"));
        let words = Embeddings::from_vectors([("a b", [0.1, -3e-9]), ("猫", [7.0, 0.3])]).unwrap();
        write(&words, &matrix, &list).unwrap();
        let again = read(&matrix, &list).unwrap();
        assert_eq!(again.vectors(), words.vectors());
        assert_eq!(again.vocabulary(), words.vocabulary());
        let bytes = std::fs::read(&matrix).unwrap();
        assert_eq!(
            (bytes.len() - 16) % 64,
            0,
            "the values begin at a multiple of 64"
        );
        let broken = Embeddings::from_vectors([("a\nb", [1.0])]).unwrap();
        assert!(write(&broken, &matrix, &list).is_err());
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in broken(&matrix("<f8", true))) {
            let _ = parsed(&bytes, "a\nb\n");
        }
    }
}
