//! Where each parameter of a model lies in one flat vector, and its first values.

use std::ops::Range;

use rand::RngExt;
use refrain_core::rng;

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
            Init::Normal(deviation) => weights.extend(entry.range.clone().map(|_| {
                // Box and Muller, on (0, 1].
                let (u, v) = (1.0 - draw.random::<f64>(), draw.random::<f64>());
                let radius = (-2.0 * u.ln()).sqrt();
                (radius * (std::f64::consts::TAU * v).cos()) as f32 * deviation
            })),
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
