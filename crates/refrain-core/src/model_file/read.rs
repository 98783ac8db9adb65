use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Range;
use std::path::Path;

use bytemuck::Pod;
use safetensors::tensor::{Dtype, SafeTensors};
use serde::de::DeserializeOwned;

use super::{Array, FORMAT, Header, KEY, bad};
use crate::ids::Stored;
use crate::{Error, IdMap, MappedFile, Result, Values};

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
        let names = IdMap::from_parts(bytes.data.into_owned(), ends.data.into_owned());
        names.map_err(|why| self.bad(format_args!("ids {name}: {why}")))
    }

    /// An id table that stays in the file, if it was [written for it](super::ModelWriter::ids_in_place):
    /// opening does not depend on how many ids there are. Otherwise it is read as by [`ids`](Self::ids).
    ///
    /// The ids of a broken file are looked at when they are asked for: some may be unknown then, or have no
    /// name.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when there is none, or its parts do not fit one another.
    pub fn ids_in_place(&self, name: &str) -> Result<IdMap> {
        let slots = format!("ids.{name}.slots");
        if !self.tensors.contains_key(&slots) {
            return self.ids(name);
        }
        let bytes = self.keep(self.u8(&format!("ids.{name}.bytes"))?.data);
        let ends = self.keep(self.u64(&format!("ids.{name}.ends"))?.data);
        let slots = self.keep(self.u32(&slots)?.data);
        Stored::new(format!("{}: ids {name}", self.origin), bytes, ends, slots)
            .map(IdMap::from_stored)
            .ok_or_else(|| self.bad(format_args!("ids {name}: parts that do not fit together")))
    }

    /// Values of a tensor, left in the file if they were borrowed from it.
    pub fn keep<T: Pod>(&self, values: Cow<'_, [T]>) -> Values<T> {
        let start = |bytes: &[u8]| bytes.as_ptr().addr();
        let place = match &values {
            Cow::Owned(_) => None,
            Cow::Borrowed(values) => {
                let bytes = bytemuck::cast_slice(values);
                let from = start(bytes).checked_sub(start(&self.backing));
                from.map(|from| from..from.saturating_add(bytes.len()))
                    .filter(|place| place.end <= self.backing.len())
            }
        };
        match place {
            Some(place) => Values::Mapped(self.backing.clone(), place),
            None => Values::Owned(values.into_owned()),
        }
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
