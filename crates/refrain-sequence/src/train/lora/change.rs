//! Which matrices are adapted, and how their `A` and `B` learn.

use serde::{Deserialize, Serialize};

use super::Lora;
use crate::engine::{Parameters, Update};
use crate::entries::{Entries, Entry, Init, Role, initial};
use crate::fnv::of_weights;
use crate::kernels::adam;
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::{Error, Result};

const LIMIT: usize = 1 << 20;

/// A matrix that is adapted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Target {
    name: String,
    rows: usize,
    cols: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in crate::train) struct Shape {
    pub(super) lora: Lora,
    targets: Vec<Target>,
}

impl Shape {
    pub(in crate::train) fn of(lora: Lora, parameters: &[Entry]) -> Self {
        let matrices = parameters.iter().filter(|e| e.role == Role::Matrix);
        let targets = matrices.filter_map(|entry| match entry.shape[..] {
            [rows, cols] => Some(Target {
                name: entry.name.clone(),
                rows,
                cols,
            }),
            _ => None,
        });
        Self {
            lora,
            targets: targets.collect(),
        }
    }

    /// Of each target first `A`, `[rank, cols]`, then `B`, `[rows, rank]`, which begins as zeros.
    pub(in crate::train) fn entries(&self) -> Result<Entries> {
        let rank = self.lora.rank;
        if rank == 0 || rank > LIMIT {
            return Err(Error::config("Lora.rank", rank, "between 1 and 2^20"));
        }
        if !self.lora.alpha.is_finite() {
            return Err(Error::config("Lora.alpha", self.lora.alpha, "a number"));
        }
        if self.targets.is_empty() {
            let expected = "at least one matrix that is no embedding";
            return Err(Error::config("LowRank.targets", 0, expected));
        }
        let mut entries = Entries::default();
        for Target { name, rows, cols } in &self.targets {
            if *rows.max(cols) > 1 << 32 || entries.total > 1 << 56 {
                let expected = "a matrix of at most 2^32 rows and columns, 2^56 values of all";
                return Err(Error::config("LowRank.targets", name, expected));
            }
            let init = Init::Normal(1.0 / (*cols as f32).sqrt());
            entries.push(format!("{name}.a"), vec![rank, *cols], Role::Matrix, init);
            let (shape, init) = (vec![*rows, rank], Init::Constant(0.0));
            entries.push(format!("{name}.b"), shape, Role::Matrix, init);
        }
        Ok(entries)
    }

    fn scale(&self) -> f32 {
        self.lora.alpha / self.lora.rank as f32
    }

    /// Each target with its place in the model, and its `A` and `B` among the adapter's weights.
    fn places<'a>(
        &'a self,
        model: &'a [Entry],
        own: &'a [Entry],
    ) -> impl Iterator<Item = Result<Place<'a>>> + 'a {
        let pairs = self.targets.iter().zip(own.chunks_exact(2));
        pairs.map(|(target, pair)| {
            let shape = [target.rows, target.cols];
            let found = model.iter().find(|e| e.name == target.name);
            match (found.filter(|e| e.shape == shape), pair) {
                (Some(at), [a, b]) => Ok(Place { target, at, a, b }),
                _ => {
                    let [rows, cols] = shape;
                    let reason = format_args!("is not a matrix of {rows} × {cols} of the model");
                    Err(Error::tensor(&target.name, reason))
                }
            }
        })
    }

    /// Adds the change to a model's weights.
    pub(in crate::train) fn add(
        &self,
        model: &[Entry],
        own: &Entries,
        change: &[f32],
        sum: &mut [f32],
    ) -> Result<()> {
        for place in self.places(model, &own.list) {
            let Place { target, at, a, b } = place?;
            let rank = self.lora.rank;
            product(
                MatMut::new(&mut sum[at.range.clone()], target.rows, target.cols),
                Into::Add,
                self.scale(),
                Mat::new(&change[b.range.clone()], target.rows, rank),
                Mat::new(&change[a.range.clone()], rank, target.cols),
            );
        }
        Ok(())
    }
}

struct Place<'a> {
    target: &'a Target,
    at: &'a Entry,
    a: &'a Entry,
    b: &'a Entry,
}

/// A change that learns by the gradients of the whole matrices: `dA = (α / r) Bᵀ dW`,
/// `dB = (α / r) dW Aᵀ`.
pub(in crate::train) struct Change {
    model: Vec<Entry>,
    /// All weights of the model as it was.
    base: Vec<f32>,
    pub(in crate::train) base_hash: u64,
    pub(in crate::train) shape: Shape,
    pub(in crate::train) own: Entries,
    /// `A` and `B` of all targets.
    pub(in crate::train) parameters: Parameters,
}

impl Change {
    pub(in crate::train) fn new(
        shape: Shape,
        model: &[Entry],
        base: Vec<f32>,
        seed: u64,
    ) -> Result<Self> {
        let own = shape.entries()?;
        Ok(Self {
            model: model.to_vec(),
            base_hash: of_weights(&base),
            base,
            parameters: Parameters {
                weights: initial(&own.list, seed),
                first: vec![0.0; own.total],
                second: vec![0.0; own.total],
                lanes: Vec::new(),
            },
            shape,
            own,
        })
    }

    /// All weights of the changed model.
    pub(in crate::train) fn changed(&self) -> Result<Vec<f32>> {
        let mut weights = self.base.clone();
        let change = &self.parameters.weights;
        self.shape
            .add(&self.model, &self.own, change, &mut weights)?;
        Ok(weights)
    }

    /// The gradient of `A` and `B`, given that of all weights.
    pub(in crate::train) fn gradient(&self, whole: &[f32]) -> Result<Vec<f32>> {
        let mut gradient = vec![0.0; self.own.total];
        let (weights, scale) = (&self.parameters.weights, self.shape.scale());
        for place in self.shape.places(&self.model, &self.own.list) {
            let Place { target, at, a, b } = place?;
            let (rows, cols, rank) = (target.rows, target.cols, self.shape.lora.rank);
            let dw = Mat::new(&whole[at.range.clone()], rows, cols);
            let known_a = Mat::new(&weights[a.range.clone()], rank, cols);
            let known_b = Mat::new(&weights[b.range.clone()], rows, rank);
            let da = MatMut::new(&mut gradient[a.range.clone()], rank, cols);
            product(da, Into::Replace, scale, known_b.t(), dw);
            let db = MatMut::new(&mut gradient[b.range.clone()], rows, rank);
            product(db, Into::Replace, scale, dw, known_a.t());
        }
        Ok(gradient)
    }

    /// One step by the gradient of `A` and `B`, unless that is not finite; its norm before clipping.
    pub(in crate::train) fn step(&mut self, gradient: &[f32], update: &Update) -> f64 {
        let norm = adam::norm(gradient);
        if norm.is_finite() {
            let shrink = update.shrink(norm);
            let (parameters, entries) = (&mut self.parameters, &self.own.list);
            adam::step(parameters, gradient, entries, update, shrink);
        }
        norm
    }
}
