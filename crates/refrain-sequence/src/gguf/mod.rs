//! GGUF, the file of llama.cpp: metadata, and tensors of which most are packed into few bits.
//!
//! ```text
//! "GGUF" · version 2 or 3 · numbers of tensors and of metadata
//! metadata: key, type, value · tensors: name, shape, packing, place · the tensors, aligned
//! ```
//!
//! Nothing of a file is trusted: counts are held against the bytes that are left, shapes against the
//! blocks of their packing, places against each other and the end, and nothing in it is executed.

mod blocks;
mod reader;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

pub use blocks::Packing;
use reader::parse;

use crate::{Error, Result};

/// A file whose description was read; see the module's page for what is in it. Tensors are read when they
/// are asked for.
///
/// ```
/// use refrain_sequence::gguf::{GgufFile, Packing};
/// # let bytes = include_bytes!("../../tests/golden/blocks.gguf").to_vec();
/// let file = GgufFile::from_bytes(bytes, "blocks.gguf")?; // or GgufFile::open(path)
/// assert_eq!(file.text("general.architecture")?, "llama");
/// let tensor = file.tensor("q4_0")?;
/// assert_eq!((tensor.shape(), tensor.packing()), (&[3, 256][..], Packing::Q4_0));
/// assert_eq!(tensor.to_f32().len(), 768);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug)]
pub struct GgufFile {
    origin: String,
    metadata: BTreeMap<String, GgufValue>,
    tensors: BTreeMap<String, Entry>,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Memory(Vec<u8>),
    File(PathBuf, Mutex<File>),
}

impl Source {
    fn read(&self, range: Range<usize>) -> Result<Cow<'_, [u8]>> {
        match self {
            Self::Memory(bytes) => Ok(bytes.get(range).unwrap_or_default().into()),
            Self::File(path, file) => {
                let mut file = file.lock().unwrap_or_else(PoisonError::into_inner);
                let mut bytes = vec![0; range.len()];
                file.seek(SeekFrom::Start(range.start as u64))
                    .and_then(|_| file.read_exact(&mut bytes))
                    .map_err(|error| refrain_core::Error::io(path, error))?;
                Ok(bytes.into())
            }
        }
    }
}

#[derive(Debug)]
struct Entry {
    /// Outermost dimension first.
    shape: Vec<usize>,
    packing: Packing,
    range: Range<usize>,
}

/// A value of metadata.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GgufValue {
    /// A whole number from 0.
    Unsigned(u64),
    /// A whole number.
    Signed(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
    /// Text; what is no UTF-8 is `U+FFFD`.
    Text(String),
    /// Several values of one type.
    Array(Vec<GgufValue>),
}

/// A tensor of a file, packed as it is there.
#[derive(Debug, Clone)]
pub struct GgufTensor<'a> {
    entry: &'a Entry,
    bytes: Cow<'a, [u8]>,
}

impl<'a> GgufTensor<'a> {
    /// The length of each dimension, the outermost first (files have it last).
    pub fn shape(&self) -> &'a [usize] {
        &self.entry.shape
    }

    /// How its values are packed.
    pub fn packing(&self) -> Packing {
        self.entry.packing
    }

    /// The blocks of all rows, end to end.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, without a copy where the tensor came from a file.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes.into_owned()
    }

    /// All values, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let blocks = self.bytes.len() / self.entry.packing.bytes();
        let mut values = vec![0.0; blocks * self.entry.packing.values()];
        self.entry.packing.unpack(&self.bytes, &mut values);
        values
    }
}

impl GgufFile {
    /// Reads a file's description, and tensors when they are asked for.
    ///
    /// # Errors
    /// [`refrain_core::Error::Io`] when it cannot be read, and as [`from_bytes`](Self::from_bytes).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let failed = |error| refrain_core::Error::io(path, error);
        let file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let origin = path.display().to_string();
        let (metadata, tensors) = parse(BufReader::new(&file), length, &origin)?;
        Ok(Self {
            origin,
            metadata,
            tensors,
            source: Source::File(path.to_path_buf(), Mutex::new(file)),
        })
    }

    /// Takes the bytes of a file, which `origin` names in errors.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] saying what is wrong with it and at which byte.
    pub fn from_bytes(bytes: Vec<u8>, origin: &str) -> Result<Self> {
        let (metadata, tensors) = parse(&bytes[..], bytes.len() as u64, origin)?;
        Ok(Self {
            origin: origin.to_string(),
            metadata,
            tensors,
            source: Source::Memory(bytes),
        })
    }

    /// What names the file in errors.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// All metadata, by key.
    pub fn metadata(&self) -> &BTreeMap<String, GgufValue> {
        &self.metadata
    }

    /// An error about this file.
    pub(crate) fn bad(&self, reason: impl std::fmt::Display) -> Error {
        Error::file(&self.origin, reason)
    }

    fn wanted<'a, T>(
        &'a self,
        key: &str,
        what: &str,
        get: impl Fn(&'a GgufValue) -> Option<T>,
    ) -> Result<T> {
        let value = self.metadata.get(key);
        value.and_then(get).ok_or_else(|| {
            let reason = match value {
                None => format!("it has no {key:?}"),
                Some(_) => format!("{key:?} is no {what}"),
            };
            Error::file(&self.origin, reason)
        })
    }

    /// A text of the metadata.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] when there is none of this key, or it is something else; so for
    /// the others below.
    pub fn text(&self, key: &str) -> Result<&str> {
        self.wanted(key, "text", |value| match value {
            GgufValue::Text(text) => Some(text.as_str()),
            _ => None,
        })
    }

    /// A whole number of the metadata.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn number(&self, key: &str) -> Result<usize> {
        self.wanted(key, "whole number", |value| match *value {
            GgufValue::Unsigned(n) => usize::try_from(n).ok(),
            GgufValue::Signed(n) => usize::try_from(n).ok(),
            _ => None,
        })
    }

    /// A number of the metadata.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn float(&self, key: &str) -> Result<f64> {
        self.wanted(key, "number", |value| match *value {
            GgufValue::Float(x) => Some(x),
            _ => None,
        })
    }

    /// Texts of the metadata: the tokens of a vocabulary.
    ///
    /// # Errors
    /// As [`text`](Self::text).
    pub fn texts(&self, key: &str) -> Result<Vec<&str>> {
        self.wanted(key, "list of texts", |value| match value {
            GgufValue::Array(values) => values
                .iter()
                .map(|value| match value {
                    GgufValue::Text(text) => Some(text.as_str()),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// The names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// A tensor.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] when there is none of this name, [`refrain_core::Error::Io`] when
    /// it cannot be read.
    pub fn tensor(&self, name: &str) -> Result<GgufTensor<'_>> {
        let Some(entry) = self.tensors.get(name) else {
            return Err(self.bad(format_args!("it has no tensor {name:?}")));
        };
        let bytes = self.source.read(entry.range.clone())?;
        Ok(GgufTensor { entry, bytes })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by `tests/golden/make_gguf.py` with PyPI gguf.
    const FILE: &[u8] = include_bytes!("../../tests/golden/blocks.gguf");

    fn parse(bytes: &[u8]) -> Result<GgufFile> {
        GgufFile::from_bytes(bytes.to_vec(), "memory")
    }

    #[test]
    fn a_file_is_what_its_bytes_are() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        let (open, memory) = (GgufFile::open(file.path()).unwrap(), parse(FILE).unwrap());
        assert_eq!(open.metadata(), memory.metadata());
        assert!(open.names().eq(memory.names()));
        for name in open.names() {
            let (a, b) = (open.tensor(name).unwrap(), memory.tensor(name).unwrap());
            assert_eq!((a.bytes(), a.shape()), (b.bytes(), b.shape()));
        }
        // One that became shorter meanwhile.
        std::fs::write(file.path(), &FILE[..FILE.len() - 4000]).unwrap();
        let lost = open.names().filter(|name| open.tensor(name).is_err());
        assert!(lost.count() > 0);
    }

    #[test]
    fn values_are_those_that_another_program_unpacks() {
        let file = parse(FILE).unwrap();
        let kinds = [
            ("f32", Packing::F32),
            ("f16", Packing::F16),
            ("bf16", Packing::Bf16),
            ("q8_0", Packing::Q8_0),
            ("q4_0", Packing::Q4_0),
            ("q4_1", Packing::Q4_1),
            ("q4_k", Packing::Q4K),
            ("q6_k", Packing::Q6K),
        ];
        assert_eq!(file.names().count(), 2 * kinds.len());
        for (name, packing) in kinds {
            let tensor = file.tensor(name).unwrap();
            assert_eq!(
                (tensor.packing(), tensor.shape()),
                (packing, &[3, 256][..]),
                "{name}"
            );
            let expected = file.tensor(&format!("{name}.expected")).unwrap().to_f32();
            for (at, (found, expected)) in tensor.to_f32().iter().zip(&expected).enumerate() {
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-5 * expected.abs().max(1e-3),
                    "{name} {at}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn tensors_that_share_bytes_are_refused() {
        // Of "f16" the offset, to where "f32" stands: after the name two dimensions and the type.
        let name = [&3u64.to_le_bytes()[..], b"f16"].concat();
        let at = FILE.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 24;
        let mut bytes = FILE.to_vec();
        bytes[at..at + 8].fill(0);
        let error = parse(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("f16") && error.ends_with("overlap"),
            "{error}"
        );
    }

    #[test]
    fn metadata_of_every_type() {
        let file = parse(FILE).unwrap();
        for (key, number) in [("t.u8", 200), ("t.u16", 60_000), ("t.u32", 4_000_000_000)] {
            assert_eq!(file.number(key).unwrap(), number);
        }
        assert_eq!(file.number("t.u64").unwrap(), 1 << 60);
        let signed = |key: &str| file.metadata()[key].clone();
        assert_eq!(signed("t.i8"), GgufValue::Signed(-100));
        assert_eq!(signed("t.i16"), GgufValue::Signed(-30_000));
        assert_eq!(signed("t.i32"), GgufValue::Signed(-2_000_000_000));
        assert_eq!(signed("t.i64"), GgufValue::Signed(-(1 << 60)));
        assert_eq!(signed("t.bool"), GgufValue::Bool(true));
        assert_eq!(file.float("t.f32").unwrap(), 0.15625);
        assert_eq!(file.float("t.f64").unwrap(), 1e-300);
        assert_eq!(file.text("t.string").unwrap(), "né");
        assert_eq!(file.texts("t.words").unwrap(), ["a", "", "猫"]);
        let numbers = [3, -4, 5].map(GgufValue::Signed);
        assert_eq!(signed("t.numbers"), GgufValue::Array(numbers.to_vec()));
        for error in [
            file.text("none").unwrap_err(),
            file.text("t.u8").unwrap_err(),
            file.number("t.i8").unwrap_err(),
            file.texts("t.numbers").unwrap_err(),
            file.tensor("none").unwrap_err(),
        ] {
            assert!(error.to_string().contains("memory"), "{error}");
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        // The last tensor's padding may be missing.
        let end = parse(FILE)
            .unwrap()
            .tensors
            .values()
            .map(|e| e.range.end)
            .max()
            .unwrap();
        assert!(parse(&FILE[..end]).is_ok());
        for end in (0..end).step_by(37).chain(0..2000) {
            assert!(parse(&FILE[..end]).is_err(), "{end} bytes");
        }
        assert!(GgufFile::open("/no/such.gguf").is_err());
        let mut older = FILE.to_vec();
        older[4] = 1;
        assert!(parse(&older).unwrap_err().to_string().contains("version 1"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        #[test]
        fn hostile_bytes_never_panic(
            edits in proptest::collection::vec((0usize..2600, any::<u8>()), 1..6),
        ) {
            let mut bytes = FILE.to_vec();
            for (at, value) in edits {
                bytes[at] = value;
            }
            if let Ok(file) = parse(&bytes) {
                for name in file.names() {
                    let _ = file.tensor(name).unwrap().to_f32();
                }
            }
        }
    }
}
