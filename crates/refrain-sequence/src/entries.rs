//! Where each parameter of a model lies in one flat vector, and its first values.

use std::ops::Range;

use rand::RngExt;
use refrain_core::{ModelFile, ModelWriter, rng};

use crate::{Error, Result};

/// What a parameter is, for weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Embedding,
    Matrix,
    Vector,
}

/// How a parameter's first values are drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Init {
    Constant(f32),
    /// With this deviation around 0.
    Normal(f32),
    /// Between minus and plus this.
    Uniform(f32),
}

#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
    pub(crate) role: Role,
    init: Init,
}

/// Parameters one behind the other.
#[derive(Debug, Clone, Default)]
pub struct Entries {
    pub(crate) list: Vec<Entry>,
    pub(crate) total: usize,
}

impl Entries {
    pub(crate) fn push(
        &mut self,
        name: String,
        shape: Vec<usize>,
        role: Role,
        init: Init,
    ) -> Range<usize> {
        let range = self.total..self.total + shape.iter().product::<usize>();
        self.total = range.end;
        self.list.push(Entry {
            name,
            shape,
            range: range.clone(),
            role,
            init,
        });
        range
    }
}

/// First values, drawn on the host: a seed means the same on every device.
pub(crate) fn initial(entries: &[Entry], seed: u64) -> Vec<f32> {
    let mut weights = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let mut draw = rng::stream(seed, index as u64);
        match entry.init {
            Init::Constant(value) => weights.resize(entry.range.end, value),
            Init::Normal(deviation) => {
                weights.extend(normals(seed, index, deviation).take(entry.range.len()));
            }
            Init::Uniform(most) => weights.extend(
                entry
                    .range
                    .clone()
                    .map(|_| (2.0 * draw.random::<f32>() - 1.0) * most),
            ),
        }
    }
    weights
}

/// Normally distributed values; every `(seed, index)` has its own.
pub(crate) fn normals(seed: u64, index: usize, deviation: f32) -> impl Iterator<Item = f32> {
    let mut draw = rng::stream(seed, index as u64);
    std::iter::repeat_with(move || {
        // Box and Muller, on (0, 1].
        let (u, v) = (1.0 - draw.random::<f64>(), draw.random::<f64>());
        let radius = (-2.0 * u.ln()).sqrt();
        (radius * (std::f64::consts::TAU * v).cos()) as f32 * deviation
    })
}

/// Adds each parameter as a tensor of its name.
pub(crate) fn write_weights<'a>(
    mut file: ModelWriter<'a>,
    entries: &[Entry],
    weights: &'a [f32],
) -> Result<ModelWriter<'a>> {
    for entry in entries {
        let values = weights.get(entry.range.clone()).unwrap_or_default();
        file = file.f32(entry.name.clone(), &entry.shape, values)?;
    }
    Ok(file)
}

/// All parameters of a file, flat; nothing is allocated before every shape has been checked.
pub(crate) fn read_weights(file: &ModelFile, entries: &[Entry]) -> Result<Vec<f32>> {
    let mut arrays = Vec::with_capacity(entries.len());
    for entry in entries {
        let array = file.f32(&entry.name)?;
        arrays.push(array.expect_shape(&entry.name, &entry.shape)?);
    }
    let mut weights = Vec::new();
    for (entry, array) in entries.iter().zip(&arrays) {
        if let Some(at) = array.data.iter().position(|x| !x.is_finite()) {
            let reason = format!("tensor {}: value {at} is not a finite number", entry.name);
            return Err(Error::file(file.origin(), reason));
        }
        weights.extend_from_slice(&array.data);
    }
    Ok(weights)
}
