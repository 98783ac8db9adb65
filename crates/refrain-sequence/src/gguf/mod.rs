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

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

pub use blocks::Packing;

use refrain_core::MappedFile;

use crate::{Error, Result};

/// A file that was read; see the module's page for what is in it.
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
    bytes: MappedFile,
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
#[derive(Debug, Clone, Copy)]
pub struct GgufTensor<'a> {
    entry: &'a Entry,
    bytes: &'a [u8],
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
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// All values, row-major.
    pub fn to_f32(&self) -> Vec<f32> {
        let blocks = self.bytes.len() / self.entry.packing.bytes();
        let mut values = vec![0.0; blocks * self.entry.packing.values()];
        self.entry.packing.unpack(self.bytes, &mut values);
        values
    }
}

impl GgufFile {
    /// Maps a file into memory: tensors are read from it when they are asked for. It must not be changed in
    /// place meanwhile.
    ///
    /// # Errors
    /// [`refrain_core::Error::Io`] when it cannot be read, and as [`from_bytes`](Self::from_bytes).
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(MappedFile::open(path)?, &path.display().to_string())
    }

    /// Takes the bytes of a file, which `origin` names in errors.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] saying what is wrong with it and at which byte.
    pub fn from_bytes(bytes: Vec<u8>, origin: &str) -> Result<Self> {
        Self::parse(bytes.into(), origin)
    }

    fn parse(bytes: MappedFile, origin: &str) -> Result<Self> {
        let mut reader = Reader {
            bytes: &bytes,
            at: 0,
            origin,
        };
        if reader.take(4)? != b"GGUF" {
            return Err(Error::file(
                origin,
                "no GGUF file: it begins with other bytes",
            ));
        }
        let version = reader.u32()?;
        if !(2..=3).contains(&version) {
            return Err(reader.bad(format_args!("version {version}: 2 and 3 can be read")));
        }
        // A tensor has at least 24 bytes of description, a value of metadata 13.
        let tensors = reader.count(24, "tensors")?;
        let values = reader.count(13, "values of metadata")?;
        let mut metadata = BTreeMap::new();
        for _ in 0..values {
            let key = reader.text()?;
            let kind = reader.u32()?;
            let value = reader.value(kind, 0)?;
            if let Some((key, _)) = metadata.insert(key.clone(), value).map(|old| (key, old)) {
                return Err(reader.bad(format_args!("the key {key:?} a second time")));
            }
        }
        let alignment = match metadata.get("general.alignment") {
            None => 32,
            Some(GgufValue::Unsigned(n)) if n.is_power_of_two() && *n <= 1 << 20 => *n as usize,
            Some(other) => return Err(reader.bad(format_args!("an alignment of {other:?}"))),
        };
        let mut entries = Vec::new();
        for _ in 0..tensors {
            entries.push(reader.entry()?);
        }
        let start = reader.at.next_multiple_of(alignment);
        let mut tensors = BTreeMap::new();
        for (name, mut entry) in entries {
            let moved = |at: usize| at.checked_add(start).filter(|&end| end <= bytes.len());
            let (Some(from), Some(end)) = (moved(entry.range.start), moved(entry.range.end)) else {
                let reason = format_args!("the tensor {name} lies beyond the end of the file");
                return Err(Error::file(origin, reason));
            };
            if !entry.range.start.is_multiple_of(alignment) {
                let reason = format_args!("the tensor {name} is not aligned to {alignment} bytes");
                return Err(Error::file(origin, reason));
            }
            entry.range = from..end;
            if tensors.insert(name.clone(), entry).is_some() {
                let reason = format_args!("the tensor {name} stands twice");
                return Err(Error::file(origin, reason));
            }
        }
        let mut places: Vec<(&Range<usize>, &String)> = tensors
            .iter()
            .map(|(name, entry)| (&entry.range, name))
            .collect();
        places.sort_by_key(|(range, _)| (range.start, range.end));
        for pair in places.windows(2) {
            if let [(a, left), (b, right)] = pair
                && a.end > b.start
            {
                let reason = format_args!("the tensors {left} and {right} overlap");
                return Err(Error::file(origin, reason));
            }
        }
        Ok(Self {
            origin: origin.to_string(),
            metadata,
            tensors,
            bytes,
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
    /// [`refrain_core::Error::ModelFile`] when there is none of this name.
    pub fn tensor(&self, name: &str) -> Result<GgufTensor<'_>> {
        let entry = self.tensors.get(name);
        let found = entry.and_then(|entry| {
            let bytes = self.bytes.get(entry.range.clone())?;
            Some(GgufTensor { entry, bytes })
        });
        found.ok_or_else(|| Error::file(&self.origin, format_args!("it has no tensor {name:?}")))
    }
}

/// Little-endian numbers, and errors that tell where.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    origin: &'a str,
}

impl<'a> Reader<'a> {
    fn bad(&self, reason: impl std::fmt::Display) -> Error {
        Error::file(self.origin, format_args!("byte {}: {reason}", self.at))
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(count);
        let Some(bytes) = end.and_then(|end| self.bytes.get(self.at..end)) else {
            return Err(self.bad("the file ends early"));
        };
        self.at += count;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let bytes = self.take(N)?;
        Ok(bytes.try_into().unwrap_or([0; N]))
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A number of things of at least so many bytes each, which must fit what is left.
    fn count(&mut self, bytes: usize, what: &str) -> Result<usize> {
        let count = self.u64()?;
        let most = (self.bytes.len() - self.at) / bytes;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.bad(format_args!("{count} {what} in a file of so few bytes"))),
        }
    }

    fn text(&mut self) -> Result<String> {
        let length = self.count(1, "bytes of text")?;
        Ok(String::from_utf8_lossy(self.take(length)?).into_owned())
    }

    fn value(&mut self, kind: u32, depth: u32) -> Result<GgufValue> {
        use GgufValue::{Array, Bool, Float, Signed, Text, Unsigned};
        Ok(match kind {
            0 => Unsigned(u8::from_le_bytes(self.array()?).into()),
            1 => Signed(i8::from_le_bytes(self.array()?).into()),
            2 => Unsigned(u16::from_le_bytes(self.array()?).into()),
            3 => Signed(i16::from_le_bytes(self.array()?).into()),
            4 => Unsigned(self.u32()?.into()),
            5 => Signed(i32::from_le_bytes(self.array()?).into()),
            6 => Float(f32::from_le_bytes(self.array()?).into()),
            7 => Bool(self.array::<1>()? != [0]),
            8 => Text(self.text()?),
            9 if depth < 4 => {
                let kind = self.u32()?;
                let count = self.count(1, "values")?;
                let values = (0..count).map(|_| self.value(kind, depth + 1));
                Array(values.collect::<Result<_>>()?)
            }
            10 => Unsigned(self.u64()?),
            11 => Signed(i64::from_le_bytes(self.array()?)),
            12 => Float(f64::from_le_bytes(self.array()?)),
            _ => return Err(self.bad(format_args!("a value of type {kind}"))),
        })
    }

    /// A tensor's description; its range begins where the tensors do.
    fn entry(&mut self) -> Result<(String, Entry)> {
        let name = self.text()?;
        let dimensions = self.u32()?;
        if !(1..=4).contains(&dimensions) {
            return Err(self.bad(format_args!("{name} has {dimensions} dimensions")));
        }
        let mut shape = Vec::new();
        let mut values = 1usize;
        for _ in 0..dimensions {
            let length = usize::try_from(self.u64()?).ok();
            let product = length.and_then(|length| values.checked_mul(length));
            let (Some(length), Some(product)) = (length, product) else {
                return Err(self.bad(format_args!("{name} is larger than any memory")));
            };
            shape.push(length);
            values = product;
        }
        let number = self.u32()?;
        let Some(packing) = Packing::from_number(number) else {
            return Err(self.bad(format_args!(
                "{name} has type {number}, which cannot be read"
            )));
        };
        let row = shape.first().copied().unwrap_or_default();
        if !row.is_multiple_of(packing.values()) {
            return Err(self.bad(format_args!(
                "rows of {row} values of {name} are no whole blocks"
            )));
        }
        let start = usize::try_from(self.u64()?).ok();
        let size = (values / packing.values()).checked_mul(packing.bytes());
        let range = start
            .zip(size)
            .and_then(|(start, size)| Some(start..start.checked_add(size)?));
        let Some(range) = range else {
            return Err(self.bad(format_args!("{name} is larger than any memory")));
        };
        shape.reverse();
        let entry = Entry {
            shape,
            packing,
            range,
        };
        Ok((name, entry))
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
