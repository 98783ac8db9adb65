//! Weights in a Hugging Face folder: `model.safetensors`, or several files that
//! `model.safetensors.index.json` lists.
//!
//! *Reading*: the header's size, overlaps and gaps are checked by the crate `safetensors`, then type
//! and shape of each tensor that is asked for; what nobody asks for (position ids, heads) is left
//! alone. 32-bit floats, 16-bit floats and brain floats become `f32`; a value that is not finite is
//! an error. Names may have a prefix (`bert.`), and norms the names of old files (`gamma`, `beta`).
//! Files in an index are plain names: one that points out of the folder is refused.
//!
//! *Writing*: one file of 32-bit floats, replaced in one step.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

const SINGLE: &str = "model.safetensors";
const INDEX: &str = "model.safetensors.index.json";

/// The whole of a file.
pub(crate) fn bytes(path: &Path) -> Result<Vec<u8>> {
    Ok(std::fs::read(path).map_err(|e| refrain_core::Error::io(path, e))?)
}

/// A JSON file as a value of this type.
pub(crate) fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    serde_json::from_slice(&bytes(path)?).map_err(|e| Error::file(&path.display().to_string(), e))
}

struct Stored {
    /// Which of the files.
    file: usize,
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

/// The tensors of a folder, not yet decoded.
pub(crate) struct Weights {
    /// Where they come from, for errors about tensors that are in no file.
    origin: PathBuf,
    files: Vec<(PathBuf, Vec<u8>)>,
    tensors: BTreeMap<String, Stored>,
    /// What stands before every name.
    prefix: String,
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

impl Weights {
    /// Reads a folder. Every name is looked up behind the prefix with which `anchor` is found.
    pub(crate) fn open(folder: &Path, anchor: &str) -> Result<Self> {
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX));
        if single.exists() || !index.exists() {
            let content = bytes(&single)?;
            return Self::new(single.clone(), vec![(single, content)], None, anchor);
        }
        let map = json::<Index>(&index)?.weight_map;
        let names: BTreeSet<&str> = map.values().map(String::as_str).collect();
        let mut files = Vec::with_capacity(names.len());
        for name in names {
            let plain = Path::new(name).file_name().is_some_and(|last| last == name);
            if !plain || name.contains(['/', '\\', ':']) {
                let reason = format!("{name:?} is no name of a file in the same folder");
                return Err(Error::file(&index.display().to_string(), reason));
            }
            let path = folder.join(name);
            let content = bytes(&path)?;
            files.push((path, content));
        }
        Self::new(index, files, Some(&map), anchor)
    }

    fn new(
        origin: PathBuf,
        files: Vec<(PathBuf, Vec<u8>)>,
        map: Option<&BTreeMap<String, String>>,
        anchor: &str,
    ) -> Result<Self> {
        let mut tensors = BTreeMap::new();
        for (file, (path, content)) in files.iter().enumerate() {
            let (header, metadata) = SafeTensors::read_metadata(content)
                .map_err(|e| Error::file(&path.display().to_string(), e))?;
            for (name, info) in metadata.tensors() {
                let start = header.saturating_add(8);
                let range = start.saturating_add(info.data_offsets.0)
                    ..start.saturating_add(info.data_offsets.1);
                if content.get(range.clone()).is_none() {
                    return Err(Error::file_tensor(path, &name, "lies outside the file"));
                }
                // With an index, a tensor is the one in the file that the index names.
                let own = map
                    .is_none_or(|map| map.get(&name).is_some_and(|listed| path.ends_with(listed)));
                if own {
                    let stored = Stored {
                        file,
                        dtype: info.dtype,
                        shape: info.shape.clone(),
                        range,
                    };
                    tensors.insert(name, stored);
                }
            }
        }
        if let Some(lost) = map.and_then(|map| map.keys().find(|name| !tensors.contains_key(*name)))
        {
            return Err(Error::file_tensor(
                &origin,
                lost,
                "is not in the file listed for it",
            ));
        }
        let mut prefixes = tensors
            .keys()
            .filter_map(|name| name.strip_suffix(anchor))
            .filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        let prefix = match (prefixes.next(), prefixes.next()) {
            (None, _) => return Err(Error::file_tensor(&origin, anchor, "is missing")),
            (Some(prefix), None) => prefix.to_string(),
            (Some(one), Some(other)) => {
                let reason = format!("stands twice, behind {one:?} and {other:?}");
                return Err(Error::file_tensor(&origin, anchor, reason));
            }
        };
        Ok(Self {
            origin,
            files,
            tensors,
            prefix,
        })
    }

    /// How many tensors there are.
    pub(crate) fn len(&self) -> usize {
        self.tensors.len()
    }

    fn find(&self, name: &str) -> Option<(String, &Stored)> {
        let full = format!("{}{name}", self.prefix);
        let old = full
            .strip_suffix("LayerNorm.weight")
            .map(|stem| format!("{stem}LayerNorm.gamma"))
            .or_else(|| {
                let stem = full.strip_suffix("LayerNorm.bias")?;
                Some(format!("{stem}LayerNorm.beta"))
            });
        let known = |name: String| self.tensors.get(&name).map(|t| (name, t));
        // What stands beside the model (`lm_head`) has no prefix.
        let beside = || known(name.to_string());
        known(full).or_else(|| known(old?)).or_else(beside)
    }

    /// Whether there is a tensor of this name.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    /// Where something about this tensor is to be reported.
    fn error(&self, name: &str, reason: impl std::fmt::Display) -> Error {
        match self.find(name) {
            Some((full, stored)) => {
                let file = self.files.get(stored.file);
                Error::file_tensor(file.map_or(&self.origin, |(path, _)| path), &full, reason)
            }
            None => Error::file_tensor(&self.origin, &format!("{}{name}", self.prefix), reason),
        }
    }

    /// Checks that a tensor is there, of a type that can be read and of this shape.
    pub(crate) fn check(&self, name: &str, shape: &[usize]) -> Result<()> {
        let Some((_, stored)) = self.find(name) else {
            return Err(self.error(name, "is missing"));
        };
        if !matches!(stored.dtype, Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            let reason = format!("numbers of type {:?} cannot be read", stored.dtype);
            return Err(self.error(name, reason));
        }
        if stored.shape != shape {
            let reason = format!("has shape {:?}, expected {shape:?}", stored.shape);
            return Err(self.error(name, reason));
        }
        Ok(())
    }

    /// Appends a tensor's values.
    pub(crate) fn read(&self, name: &str, shape: &[usize], into: &mut Vec<f32>) -> Result<()> {
        self.check(name, shape)?;
        let start = into.len();
        if let Some((_, stored)) = self.find(name) {
            let content = self.files.get(stored.file).map_or(&[][..], |file| &file.1);
            let data = content.get(stored.range.clone()).unwrap_or_default();
            let pairs = data.as_chunks::<2>().0.iter().copied();
            match stored.dtype {
                Dtype::F16 => into.extend(pairs.map(|b| f16::from_le_bytes(b).to_f32())),
                Dtype::BF16 => into.extend(pairs.map(|b| bf16::from_le_bytes(b).to_f32())),
                _ => into.extend(
                    data.as_chunks::<4>()
                        .0
                        .iter()
                        .map(|b| f32::from_le_bytes(*b)),
                ),
            }
        }
        let read = into.get(start..).unwrap_or_default();
        if let Some(at) = read.iter().position(|x| !x.is_finite()) {
            return Err(self.error(name, format!("value {at} is not a finite number")));
        }
        let expected: usize = shape.iter().product();
        if read.len() != expected {
            let reason = format!("holds {} values, expected {expected}", read.len());
            return Err(self.error(name, reason));
        }
        Ok(())
    }
}

/// Writes `model.safetensors` into a folder: names, shapes and values.
pub(crate) fn write<'a>(
    folder: &Path,
    tensors: impl Iterator<Item = (&'a str, &'a [usize], &'a [f32])>,
) -> Result<()> {
    let path = folder.join(SINGLE);
    let broken = |e: safetensors::SafeTensorError| Error::file(&path.display().to_string(), e);
    let packed: Vec<(&str, &[usize], Vec<u8>)> = tensors
        .map(|(name, shape, values)| {
            let bytes = values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, shape, bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(packed.len());
    for (name, shape, bytes) in &packed {
        let view = TensorView::new(Dtype::F32, shape.to_vec(), bytes).map_err(broken)?;
        views.push((*name, view));
    }
    let metadata = [("format".to_string(), "pt".to_string())].into();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(broken)?;
    Ok(refrain_core::replace_file(path, &bytes)?)
}
