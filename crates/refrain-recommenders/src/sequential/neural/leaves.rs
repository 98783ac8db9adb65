//! Trainable matrices of a tensor program, with Adam's moments.

use burn::tensor::{Device, Gradients, Tensor, TensorData};

use super::body::device_error;
use super::table::{Adam, BETAS, EPSILON};
use crate::Result;

#[derive(Debug)]
pub(super) struct Leaves {
    /// The value and its moments.
    all: Vec<[Tensor<2>; 3]>,
    gradients: Vec<Tensor<2>>,
}

impl Leaves {
    /// Matrices from their values and numbers of columns, on a device without autodiff.
    pub(super) fn new<'a>(
        parts: impl IntoIterator<Item = (&'a [f32], usize)>,
        device: &Device,
    ) -> Self {
        let leaf = |(values, columns): (&[f32], usize)| {
            let shape = [values.len() / columns, columns];
            let value = Tensor::<2>::from_data(TensorData::new(values.to_vec(), shape), device);
            let zeros = || Tensor::<2>::zeros(shape, device);
            [value.autodiff().require_grad(), zeros(), zeros()]
        };
        Self {
            all: parts.into_iter().map(leaf).collect(),
            gradients: Vec::new(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Tensor<2> {
        self.all[at][0].clone()
    }

    /// Takes the gradients of a backward pass.
    pub(super) fn keep(&mut self, mut gradients: Gradients) {
        let leaves = self.all.iter();
        let own = leaves.filter_map(|leaf| leaf[0].grad_remove(&mut gradients));
        self.gradients = own.collect();
    }

    /// One step of Adam on what was taken.
    pub(super) fn update(&mut self, adam: Adam) {
        let (b1, b2) = BETAS;
        let t = adam.step.min(i32::MAX as u64) as i32;
        let (c1, c2) = (1.0 - b1.powi(t), 1.0 - b2.powi(t));
        for ([value, m, v], g) in self.all.iter_mut().zip(self.gradients.drain(..)) {
            *m = m.clone() * b1 + g.clone() * (1.0 - b1);
            *v = v.clone() * b2 + g.clone() * g * (1.0 - b2);
            let change = m.clone() / ((v.clone() / c2).sqrt() + EPSILON) * (adam.rate / c1);
            *value = (value.clone().inner() - change).autodiff().require_grad();
        }
    }

    /// The values, flat.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        self.read(|[value, ..]| value.clone().inner())
    }

    /// The values and their moments, each flat.
    pub(super) fn parameters(&self) -> Result<[Vec<f32>; 3]> {
        Ok([
            self.weights()?,
            self.read(|[_, m, _]| m.clone())?,
            self.read(|[.., v]| v.clone())?,
        ])
    }

    fn read(&self, part: impl Fn(&[Tensor<2>; 3]) -> Tensor<2>) -> Result<Vec<f32>> {
        let mut all = Vec::new();
        for leaf in &self.all {
            let values = part(leaf).try_into_vec_as::<f32>();
            all.extend(values.map_err(device_error)?);
        }
        Ok(all)
    }

    /// Takes back what [`parameters`](Self::parameters) told.
    pub(super) fn restore(&mut self, parameters: [Vec<f32>; 3]) {
        let [mut w, mut m, mut v] = parameters.map(Vec::into_iter);
        for [value, first, second] in &mut self.all {
            let (shape, device) = (value.dims(), first.device());
            let next = |from: &mut std::vec::IntoIter<f32>| {
                let values: Vec<f32> = from.take(shape[0] * shape[1]).collect();
                Tensor::<2>::from_data(TensorData::new(values, shape), &device)
            };
            *value = next(&mut w).autodiff().require_grad();
            (*first, *second) = (next(&mut m), next(&mut v));
        }
    }
}
