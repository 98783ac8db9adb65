//! The `*.refrain` model file.
//!
//! A safetensors file, so that other programs can read its tensors, whose metadata holds one JSON
//! header under the key `refrain`:
//!
//! ```json
//! {"format": 1, "kind": "recommenders.als", "version": 1, "config": { … }}
//! ```
//!
//! `format` is the version of this container, `kind` and `version` say which model wrote it, and
//! `config` is whatever that model needs beside its tensors. Id tables are two tensors each,
//! `ids.NAME.bytes` (U8, the names end to end) and `ids.NAME.ends` (U64, where each ends), since a
//! catalogue of millions would not fit a JSON header.
//!
//! Reading maps the file into memory, checks every size against the file before anything is
//! allocated, refuses what it does not know, and executes nothing.
//!
//! ```
//! use refrain_core::{IdMap, ModelFile, ModelWriter};
//!
//! let ids = IdMap::from_ids(["a", "b"])?;
//! let bytes = ModelWriter::new("example.tiny", 1)
//!     .config(&("any", "thing"))?
//!     .ids("items", &ids)?
//!     .f32("factors", &[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?
//!     .to_bytes()?;
//! let file = ModelFile::from_bytes(bytes)?;
//! file.expect("example.tiny", 1)?;
//! assert_eq!(file.ids("items")?, ids);
//! assert_eq!(file.f32("factors")?.data[4], 4.0);
//! # Ok::<(), refrain_core::Error>(())
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::path::Path;

use bytemuck::Pod;
use safetensors::tensor::{Dtype, SafeTensors, View};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Error, IdMap, Result};

/// The version of the container that this build writes and the newest it reads.
const FORMAT: u32 = 1;
const KEY: &str = "refrain";

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    kind: String,
    version: u32,
    #[serde(default)]
    config: serde_json::Value,
}

fn bad(origin: &str, reason: impl Display) -> Error {
    Error::ModelFile {
        origin: origin.to_string(),
        reason: reason.to_string(),
    }
}

/// Collects a model's config, ids and tensors, and writes them as one file.
#[derive(Debug)]
pub struct ModelWriter<'a> {
    kind: String,
    version: u32,
    config: serde_json::Value,
    tensors: BTreeMap<String, Stored<'a>>,
}

#[derive(Debug)]
struct Stored<'a> {
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl View for &Stored<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

macro_rules! element_types {
    ($($name:ident: $t:ty = $dtype:ident),* $(,)?) => {
        impl<'a> ModelWriter<'a> {$(
            #[doc = concat!("Adds a tensor of `", stringify!($t), "`, row-major.")]
            ///
            /// # Errors
            /// [`Error::Shape`] when the product of `shape` is not the number of values, and
            /// [`Error::ModelFile`] when the name is taken.
            pub fn $name(
                self,
                name: impl Into<String>,
                shape: &[usize],
                values: impl Into<Cow<'a, [$t]>>,
            ) -> Result<Self> {
                self.push(name.into(), Dtype::$dtype, shape, values.into())
            }
        )*}
        impl ModelFile {$(
            #[doc = concat!("The tensor `name` of `", stringify!($t), "`; borrowed from the file where its place allows.")]
            ///
            /// # Errors
            /// [`Error::ModelFile`] when there is none, or it has another type.
            pub fn $name(&self, name: &str) -> Result<Array<'_, $t>> {
                self.array(name, Dtype::$dtype)
            }
        )*}
    };
}
element_types!(f32: f32 = F32, u32: u32 = U32, u64: u64 = U64, i64: i64 = I64, u8: u8 = U8);

impl<'a> ModelWriter<'a> {
    /// A file of a model called `kind` (crate and model, `recommenders.als`) in the given version.
    pub fn new(kind: impl Into<String>, version: u32) -> Self {
        Self {
            kind: kind.into(),
            version,
            config: serde_json::Value::Null,
            tensors: BTreeMap::new(),
        }
    }

    /// Sets the config: anything serde can write as JSON.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when it cannot be written as JSON.
    pub fn config(mut self, config: &impl Serialize) -> Result<Self> {
        self.config = serde_json::to_value(config)
            .map_err(|e| bad(&self.kind, format_args!("config is not JSON: {e}")))?;
        Ok(self)
    }

    /// Adds an id table.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when the name is taken.
    pub fn ids(self, name: &str, ids: &IdMap) -> Result<Self> {
        let mut bytes = Vec::new();
        let mut ends = Vec::with_capacity(ids.len());
        for id in ids.iter() {
            bytes.extend_from_slice(id.as_bytes());
            ends.push(bytes.len() as u64);
        }
        let (n_bytes, n_ends) = (bytes.len(), ends.len());
        self.u8(format!("ids.{name}.bytes"), &[n_bytes], bytes)?
            .u64(format!("ids.{name}.ends"), &[n_ends], ends)
    }

    fn push<T: Pod>(
        mut self,
        name: String,
        dtype: Dtype,
        shape: &[usize],
        values: Cow<'a, [T]>,
    ) -> Result<Self> {
        let expected = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        if expected != Some(values.len()) {
            return Err(Error::Shape {
                what: format!("tensor {name} of shape {shape:?}"),
                expected: expected.unwrap_or(usize::MAX),
                found: values.len(),
            });
        }
        if self.tensors.contains_key(&name) {
            return Err(bad(
                &self.kind,
                format_args!("tensor {name} was added twice"),
            ));
        }
        let bytes = match values {
            Cow::Borrowed(v) => Cow::Borrowed(bytemuck::cast_slice(v)),
            // The alignment of its type belongs to a Vec: callers with much data lend a slice.
            Cow::Owned(v) => Cow::Owned(bytemuck::cast_slice(&v).to_vec()),
        };
        self.tensors.insert(
            name,
            Stored {
                dtype,
                shape: shape.to_vec(),
                bytes,
            },
        );
        Ok(self)
    }

    fn metadata(&self) -> Result<Option<std::collections::HashMap<String, String>>> {
        let header = Header {
            format: FORMAT,
            kind: self.kind.clone(),
            version: self.version,
            config: self.config.clone(),
        };
        let json = serde_json::to_string(&header).map_err(|e| bad(&self.kind, e))?;
        Ok(Some([(KEY.to_string(), json)].into()))
    }

    /// The file's bytes; the same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when the header grows beyond 100 MB.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        safetensors::serialize(self.tensors.iter(), self.metadata()?)
            .map_err(|e| bad(&self.kind, e))
    }

    /// Writes the file. An existing file is replaced in one step, never left half written.
    ///
    /// # Errors
    /// [`Error::Io`] naming the path.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        // The temporary file behind the replacement is private to its user; the model should have
        // the permissions any new file gets.
        let permissions = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|file| file.metadata())
            .map_err(|e| Error::io(path, e))?
            .permissions();
        safetensors::serialize_to_file(self.tensors.iter(), self.metadata()?, path).map_err(
            |e| match e {
                safetensors::SafeTensorError::IoError(e) => Error::io(path, e),
                e => bad(&path.display().to_string(), e),
            },
        )?;
        std::fs::set_permissions(path, permissions).map_err(|e| Error::io(path, e))
    }
}

/// Values with a shape, row-major; borrowed from the file where possible.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a, T: Clone> {
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// The values, as many as the product of `shape`.
    pub data: Cow<'a, [T]>,
}

impl<T: Clone> Array<'_, T> {
    /// Checks the shape before the values are used; `name` is for the message.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when it differs.
    pub fn expect_shape(self, name: &str, shape: &[usize]) -> Result<Self> {
        match self.shape == shape {
            true => Ok(self),
            false => Err(bad(
                "model file",
                format_args!(
                    "tensor {name} has shape {:?}, expected {shape:?}",
                    self.shape
                ),
            )),
        }
    }
}

enum Backing {
    Map(memmap2::Mmap),
    Bytes(Vec<u8>),
}

impl std::ops::Deref for Backing {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Map(map) => map,
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// An open `*.refrain` file.
pub struct ModelFile {
    origin: String,
    backing: Backing,
    header: Header,
    /// Type, shape and byte range of each tensor, checked against the file.
    tensors: BTreeMap<String, (Dtype, Vec<usize>, std::ops::Range<usize>)>,
}

impl std::fmt::Debug for ModelFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelFile")
            .field("origin", &self.origin)
            .field("kind", &self.header.kind)
            .field("version", &self.header.version)
            .field("tensors", &self.tensors.len())
            .finish()
    }
}

impl ModelFile {
    /// Maps the file into memory and checks its header.
    ///
    /// The file must not be changed in place while it is open; [`ModelWriter::write`] replaces
    /// files, which is safe.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::ModelFile`] when it is truncated, is no such file, or comes from
    /// a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = std::fs::File::open(path).map_err(|e| Error::io(path, e))?;
        // SAFETY: a private read-only map. Rust cannot rule out that another process changes the
        // file meanwhile; every value read from it is plain data, checked where it is used, and
        // our own writer replaces files instead of changing them.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|e| Error::io(path, e))?;
        Self::parse(Backing::Map(map), path.display().to_string())
    }

    /// Reads a file that is already in memory.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::parse(Backing::Bytes(bytes), "memory".to_string())
    }

    fn parse(backing: Backing, origin: String) -> Result<Self> {
        let (header_len, metadata) = SafeTensors::read_metadata(&backing)
            .map_err(|e| bad(&origin, format_args!("not a model file: {e}")))?;
        let json = metadata
            .metadata()
            .as_ref()
            .and_then(|m| m.get(KEY))
            .ok_or_else(|| {
                bad(
                    &origin,
                    "a safetensors file, but not one of refrain's: it has no refrain header",
                )
            })?;
        let header: Header = serde_json::from_str(json)
            .map_err(|e| bad(&origin, format_args!("its refrain header is broken: {e}")))?;
        if header.format > FORMAT {
            return Err(bad(
                &origin,
                format_args!(
                    "written in format {}, newer than {FORMAT}: update refrain",
                    header.format
                ),
            ));
        }
        let start = header_len + 8;
        let mut tensors = BTreeMap::new();
        for (name, info) in metadata.tensors() {
            let (a, b) = info.data_offsets;
            let range = start + a..start + b;
            if backing.get(range.clone()).is_none() {
                return Err(bad(
                    &origin,
                    format_args!("tensor {name} lies outside the file"),
                ));
            }
            tensors.insert(name, (info.dtype, info.shape.clone(), range));
        }
        Ok(Self {
            origin,
            backing,
            header,
            tensors,
        })
    }

    /// Which model wrote it, as in `recommenders.als`.
    pub fn kind(&self) -> &str {
        &self.header.kind
    }

    /// The version of that model's layout.
    pub fn version(&self) -> u32 {
        self.header.version
    }

    /// Where it came from: the path, or `memory`.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// The names of its tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// Refuses another kind, or a version above `newest`.
    ///
    /// # Errors
    /// [`Error::ModelFile`].
    pub fn expect(&self, kind: &str, newest: u32) -> Result<()> {
        if self.header.kind != kind {
            return Err(self.bad(format_args!(
                "holds a model of kind {:?}, expected {kind:?}",
                self.header.kind
            )));
        }
        if self.header.version > newest {
            return Err(self.bad(format_args!(
                "{kind} of version {}, newer than {newest}: update refrain",
                self.header.version
            )));
        }
        Ok(())
    }

    /// The config.
    ///
    /// # Errors
    /// [`Error::ModelFile`] naming the field that does not fit.
    pub fn config<T: DeserializeOwned>(&self) -> Result<T> {
        T::deserialize(&self.header.config).map_err(|e| self.bad(format_args!("config: {e}")))
    }

    /// An id table.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when there is none, it is not UTF-8, or an id stands in it twice.
    pub fn ids(&self, name: &str) -> Result<IdMap> {
        let bytes = self.u8(&format!("ids.{name}.bytes"))?;
        let ends = self.u64(&format!("ids.{name}.ends"))?;
        let mut ids = IdMap::new();
        let mut start = 0usize;
        for (i, &end) in ends.data.iter().enumerate() {
            let text = usize::try_from(end)
                .ok()
                .and_then(|end| bytes.data.get(start..end))
                .and_then(|b| std::str::from_utf8(b).ok())
                .ok_or_else(|| self.bad(format_args!("ids {name}: entry {i} is broken")))?;
            if ids.insert(text)? as usize != i {
                return Err(self.bad(format_args!("ids {name}: {text:?} stands twice")));
            }
            start += text.len();
        }
        if start != bytes.data.len() {
            return Err(self.bad(format_args!("ids {name}: bytes left over")));
        }
        Ok(ids)
    }

    fn array<T: Pod>(&self, name: &str, dtype: Dtype) -> Result<Array<'_, T>> {
        let (found, shape, range) = self
            .tensors
            .get(name)
            .ok_or_else(|| self.bad(format_args!("has no tensor {name:?}")))?;
        if *found != dtype {
            return Err(self.bad(format_args!(
                "tensor {name} is {found:?}, expected {dtype:?}"
            )));
        }
        let bytes = self.backing.get(range.clone()).unwrap_or_default();
        let data = match bytemuck::try_cast_slice(bytes) {
            Ok(values) => Cow::Borrowed(values),
            Err(_) => {
                // Not aligned for this type (a file in memory may lie anywhere): copy.
                let mut values = vec![T::zeroed(); bytes.len() / size_of::<T>().max(1)];
                let whole = values.len() * size_of::<T>();
                bytemuck::cast_slice_mut(&mut values)
                    .copy_from_slice(bytes.get(..whole).unwrap_or_default());
                Cow::Owned(values)
            }
        };
        Ok(Array {
            shape: shape.clone(),
            data,
        })
    }

    fn bad(&self, reason: impl Display) -> Error {
        bad(&self.origin, reason)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sample() -> Vec<u8> {
        ModelWriter::new("test.kind", 2)
            .config(&vec![1, 2])
            .unwrap()
            .ids("users", &IdMap::from_ids(["ann", "", "五"]).unwrap())
            .unwrap()
            .f32("w", &[2, 2], vec![1.0, 2.0, 3.0, f32::NAN])
            .unwrap()
            .u32("n", &[3], vec![7, 8, 9])
            .unwrap()
            .i64("t", &[1], vec![-1])
            .unwrap()
            .to_bytes()
            .unwrap()
    }

    /// Reads everything a file says it has; must never panic.
    fn read_all(bytes: Vec<u8>) -> Result<()> {
        let file = ModelFile::from_bytes(bytes)?;
        file.expect("test.kind", 2)?;
        let _: Result<Vec<i32>> = file.config();
        let _ = file.ids("users");
        for name in file.names() {
            let _ = (
                file.f32(name),
                file.u32(name),
                file.u64(name),
                file.i64(name),
                file.u8(name),
            );
        }
        Ok(())
    }

    #[test]
    fn round_trip_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.refrain");
        let bytes = sample();
        assert_eq!(bytes, sample(), "the same model must give the same bytes");
        let ids = IdMap::from_ids(["a"]).unwrap();
        let values = [1.5f32, -2.0];
        for _ in 0..2 {
            ModelWriter::new("k", 1)
                .ids("x", &ids)
                .unwrap()
                .f32("v", &[2], &values[..])
                .unwrap()
                .write(&path)
                .unwrap();
            let file = ModelFile::open(&path).unwrap();
            assert_eq!(file.f32("v").unwrap().data[..], values);
            assert!(matches!(file.f32("v").unwrap().data, Cow::Borrowed(_)));
            assert_eq!(file.ids("x").unwrap(), ids);
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let file = ModelFile::from_bytes(sample()).unwrap();
        assert_eq!(file.config::<Vec<i32>>().unwrap(), [1, 2]);
        let says = |r: Result<()>| r.unwrap_err().to_string();
        assert!(says(file.expect("other", 2)).contains("\"test.kind\""));
        assert!(says(file.expect("test.kind", 1)).contains("newer"));
        assert!(says(file.f32("n").map(|_| ())).contains("U32"));
        assert!(says(file.f32("zzz").map(|_| ())).contains("zzz"));
        assert!(says(file.config::<String>().map(|_| ())).contains("config"));
        assert!(says(ModelFile::open("/no/such.refrain").map(|_| ())).contains("no/such"));
        let plain = safetensors::serialize(Vec::<(&str, &Stored)>::new(), None).unwrap();
        assert!(says(read_all(plain)).contains("no refrain header"));
        let wrong = ModelWriter::new("k", 1).f32("w", &[2, 2], vec![0.0; 3]);
        assert!(matches!(
            wrong,
            Err(Error::Shape {
                expected: 4,
                found: 3,
                ..
            })
        ));
        let mut bytes = sample();
        let key = br#"format\":"#;
        let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
        bytes[at + key.len()] = b'9';
        assert!(says(read_all(bytes)).contains("newer"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        for n in 0..bytes.len() {
            assert!(
                read_all(bytes[..n].to_vec()).is_err(),
                "{n} bytes of {}",
                bytes.len()
            );
        }
        read_all(bytes).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn hostile_bytes_never_panic(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
            as_is in any::<bool>(),
        ) {
            let mut bytes = sample();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if as_is { bytes = noise; }
            let _ = read_all(bytes);
        }
    }
}
