use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use super::{Array, FORMAT, Header, KEY, bad};
use crate::{BadIds, Error, IdMap, MappedFile, Result};

/// An open `*.refrain` file.
pub struct ModelFile {
    origin: String,
    backing: MappedFile,
    header: Header,
    /// Type, shape and byte range of each tensor, checked against the file.
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Range<usize>)>,
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
    /// The file must not be changed in place while it is open;
    /// [`ModelWriter::write`](super::ModelWriter::write) replaces files, which is safe.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::ModelFile`] when it is truncated, is no such file, or comes from
    /// a newer version.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::parse(MappedFile::open(path)?, path.display().to_string())
    }

    /// Reads a file that is already in memory.
    ///
    /// # Errors
    /// As [`ModelFile::open`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::parse(bytes.into(), "memory".to_string())
    }

    fn parse(backing: MappedFile, origin: String) -> Result<Self> {
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

    /// All its bytes.
    pub fn bytes(&self) -> &MappedFile {
        &self.backing
    }

    /// Where the values of a tensor stand among [all bytes](Self::bytes), if there is one of this name.
    pub fn place(&self, name: &str) -> Option<Range<usize>> {
        self.tensors.get(name).map(|(_, _, place)| place.clone())
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
        let names = (bytes.data.into_owned(), ends.data.into_owned());
        IdMap::from_parts(names.0, names.1).map_err(|bad| match bad {
            BadIds::Broken(i) => self.bad(format_args!("ids {name}: entry {i} is broken")),
            BadIds::Twice(i) => self.bad(format_args!("ids {name}: entry {i} stood before")),
            BadIds::LeftOver => self.bad(format_args!("ids {name}: bytes left over")),
        })
    }

    pub(super) fn array<T: Pod>(&self, name: &str, dtype: Dtype) -> Result<Array<'_, T>> {
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
