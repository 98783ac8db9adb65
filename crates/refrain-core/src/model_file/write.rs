use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use bytemuck::Pod;
use safetensors::tensor::{Dtype, View};
use serde::Serialize;

use super::{FORMAT, Header, KEY, bad};
use crate::ids::slots;
use crate::{Error, IdMap, Result};

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
        let (bytes, ends) = ids.parts();
        self.u8(format!("ids.{name}.bytes"), &[bytes.len()], bytes.to_vec())?
            .u64(format!("ids.{name}.ends"), &[ends.len()], ends.to_vec())
    }

    /// Adds an id table and a hash table of it, with which it need not be read
    /// [at opening](super::ModelFile::ids_in_place): 8 to 16 bytes more an id.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when the name is taken.
    pub fn ids_in_place(self, name: &str, ids: &IdMap) -> Result<Self> {
        let writer = self.ids(name, ids)?;
        match slots(ids) {
            None => Ok(writer),
            Some(slots) => writer.u32(format!("ids.{name}.slots"), &[slots.len()], slots),
        }
    }

    pub(super) fn push<T: Pod>(
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
        let new = !path.exists();
        let permissions = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|file| file.metadata())
            .map_err(|e| Error::io(path, e))?
            .permissions();
        let written = self.metadata().and_then(|metadata| {
            safetensors::serialize_to_file(self.tensors.iter(), metadata, path).map_err(|e| match e
            {
                safetensors::SafeTensorError::IoError(e) => Error::io(path, e),
                e => bad(&path.display().to_string(), e),
            })
        });
        if written.is_err() && new {
            std::fs::remove_file(path).ok();
        }
        written?;
        std::fs::set_permissions(path, permissions).map_err(|e| Error::io(path, e))
    }
}
