//! The description at the beginning of a file: metadata, and where tensors lie.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read};
use std::ops::Range;

use super::{Entry, GgufValue, Packing};
use crate::{Error, Result};

pub(super) type Description = (BTreeMap<String, GgufValue>, BTreeMap<String, Entry>);

/// Reads the description of a file of so many bytes, and holds every place in it against them.
pub(super) fn parse(source: impl Read, length: u64, origin: &str) -> Result<Description> {
    let length =
        usize::try_from(length).map_err(|_| Error::file(origin, "it is larger than any memory"))?;
    let mut reader = Reader {
        source,
        length,
        at: 0,
        origin,
    };
    if &reader.array::<4>()? != b"GGUF" {
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
        if metadata.contains_key(&key) {
            return Err(reader.bad(format_args!("the key {key:?} a second time")));
        }
        metadata.insert(key, value);
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
    Ok((metadata, place(entries, start, alignment, length, origin)?))
}

/// Moves tensors to where they lie in the file: aligned, inside it, one beside the other.
fn place(
    entries: Vec<(String, Entry)>,
    start: usize,
    alignment: usize,
    length: usize,
    origin: &str,
) -> Result<BTreeMap<String, Entry>> {
    let mut tensors = BTreeMap::new();
    for (name, mut entry) in entries {
        let moved = |at: usize| at.checked_add(start).filter(|&end| end <= length);
        let (Some(from), Some(end)) = (moved(entry.range.start), moved(entry.range.end)) else {
            let reason = format_args!("the tensor {name} lies beyond the end of the file");
            return Err(Error::file(origin, reason));
        };
        if !entry.range.start.is_multiple_of(alignment) {
            let reason = format_args!("the tensor {name} is not aligned to {alignment} bytes");
            return Err(Error::file(origin, reason));
        }
        entry.range = from..end;
        if tensors.contains_key(&name) {
            let reason = format_args!("the tensor {name} stands twice");
            return Err(Error::file(origin, reason));
        }
        tensors.insert(name, entry);
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
    Ok(tensors)
}

/// Little-endian numbers, and errors that tell where.
struct Reader<'a, R> {
    source: R,
    /// Of the whole file.
    length: usize,
    at: usize,
    origin: &'a str,
}

impl<R: Read> Reader<'_, R> {
    fn bad(&self, reason: impl std::fmt::Display) -> Error {
        Error::file(self.origin, format_args!("byte {}: {reason}", self.at))
    }

    fn fill(&mut self, into: &mut [u8]) -> Result<()> {
        match self.source.read_exact(into) {
            Ok(()) => {
                self.at += into.len();
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                Err(self.bad("the file ends early"))
            }
            Err(error) => Err(self.bad(error)),
        }
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
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
        let most = self.length.saturating_sub(self.at) / bytes;
        match usize::try_from(count) {
            Ok(count) if count <= most => Ok(count),
            _ => Err(self.bad(format_args!("{count} {what} in a file of so few bytes"))),
        }
    }

    fn text(&mut self) -> Result<String> {
        let length = self.count(1, "bytes of text")?;
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
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
