//! Weights to and from PyTorch's `nn.RNN`, `nn.GRU` and `nn.LSTM`; nothing is transposed.

use std::collections::BTreeMap;

use burn::module::Module;
use burn::tensor::Device;

use super::{Recurrent, RecurrentConfig};
use crate::adamw;
use crate::entries::{Entries, Entry};
use crate::{Error, Result};

/// One tensor of a model, on the host.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name, as in PyTorch's `state_dict`.
    pub name: String,
    /// Its shape.
    pub shape: Vec<usize>,
    /// Its values, row-major.
    pub values: Vec<f32>,
}

/// Input matrix, hidden matrix and their biases.
pub(super) fn names(layer: usize, direction: usize) -> [String; 4] {
    let end = if direction == 1 { "_reverse" } else { "" };
    ["weight_ih", "weight_hh", "bias_ih", "bias_hh"].map(|name| format!("{name}_l{layer}{end}"))
}

impl Recurrent {
    /// Layers with the weights of PyTorch's module of the same kind and size, in any order.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming the tensor that is missing, unknown, there twice, of another shape
    /// or not finite.
    pub fn from_pytorch(
        config: &RecurrentConfig,
        tensors: impl IntoIterator<Item = NamedTensor>,
        device: &Device,
    ) -> Result<Self> {
        let mut entries = Entries::default();
        config.entries(&mut entries)?;
        Self::from_flat(config, &flat_of(&entries.list, tensors)?, device)
    }

    /// Its weights under PyTorch's names: what `load_state_dict` takes.
    ///
    /// # Errors
    /// [`Error::Device`] when the weights cannot be read.
    pub fn to_pytorch(&self) -> Result<Vec<NamedTensor>> {
        let mut entries = Entries::default();
        self.config.entries(&mut entries)?;
        Ok(named(&entries.list, &adamw::read(&self.valid())?))
    }
}

/// Each parameter with its name.
pub(super) fn named(entries: &[Entry], weights: &[f32]) -> Vec<NamedTensor> {
    let tensor = |entry: &Entry| NamedTensor {
        values: weights
            .get(entry.range.clone())
            .unwrap_or_default()
            .to_vec(),
        name: entry.name.clone(),
        shape: entry.shape.clone(),
    };
    entries.iter().map(tensor).collect()
}

/// The values of named tensors, in the order of `entries`.
pub(super) fn flat_of(
    entries: &[Entry],
    tensors: impl IntoIterator<Item = NamedTensor>,
) -> Result<Vec<f32>> {
    let mut found = BTreeMap::new();
    for tensor in tensors {
        if let Some(twice) = found.insert(tensor.name.clone(), tensor) {
            return Err(Error::tensor(&twice.name, "is there twice"));
        }
    }
    let mut weights = Vec::new();
    for entry in entries {
        let name = &entry.name;
        let tensor = found
            .remove(name)
            .ok_or_else(|| Error::tensor(name, "is missing"))?;
        if tensor.shape != entry.shape || tensor.values.len() != entry.range.len() {
            let (found, expected) = (&tensor.shape, &entry.shape);
            let reason = format!(
                "has shape {found:?} and {} values, expected {expected:?}",
                tensor.values.len()
            );
            return Err(Error::tensor(name, reason));
        }
        if let Some(at) = tensor.values.iter().position(|x| !x.is_finite()) {
            let reason = format!("value {at} is not a finite number");
            return Err(Error::tensor(name, reason));
        }
        weights.extend(tensor.values);
    }
    match found.into_keys().next() {
        Some(name) => Err(Error::tensor(&name, "is no tensor of these layers")),
        None => Ok(weights),
    }
}
