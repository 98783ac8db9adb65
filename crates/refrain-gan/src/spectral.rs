//! Spectral normalisation (Miyato et al. 2018, <https://arxiv.org/abs/1802.05957>).
//!
//! ```text
//! W̄ = W / σ      σ = uᵀ W v      v ← Wᵀu / ‖Wᵀu‖      u ← W v / ‖W v‖   (once before each step)
//! ```
//!
//! σ is the largest singular value of the layer's matrix when `u` and `v` have settled. They are kept
//! with the weights, so a resumed run goes on from the same estimate; the gradient flows through `W`
//! in both places, and treats `u` and `v` as constants.
//!
//! **Cost**: three products of the matrix with a vector per pass.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::rng::Stream;

use crate::random::normal;

/// The singular vectors of the largest singular value, as far as they are known.
#[derive(Module, Debug)]
pub(crate) struct Spectral {
    left: Param<Tensor<1>>,  // [rows], length 1
    right: Param<Tensor<1>>, // [columns], length 1
}

impl Spectral {
    /// A random guess for a matrix of `rows` × `columns`.
    pub(crate) fn new([rows, columns]: [usize; 2], rng: &mut Stream, device: &Device) -> Self {
        let mut unit = |len: usize| {
            let mut values = normal(rng, len);
            let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
            values
                .iter_mut()
                .for_each(|v| *v /= length.max(f32::MIN_POSITIVE));
            Param::from_data(TensorData::new(values, [len]), device).set_require_grad(false)
        };
        let left = unit(rows);
        Self {
            left,
            right: unit(columns),
        }
    }

    /// `weight` divided by its largest singular value, the first dimension taken for rows.
    pub(crate) fn apply<const D: usize>(&self, weight: Tensor<D>) -> Tensor<D> {
        let (rows, columns) = (self.left.val(), self.right.val());
        let [r, c] = [rows.dims()[0], columns.dims()[0]];
        let sigma = rows
            .reshape([1, r])
            .matmul(weight.clone().reshape([r, c]))
            .matmul(columns.reshape([c, 1]));
        weight / sigma.reshape([1; D])
    }

    /// One round of power iteration on `weight`.
    pub(crate) fn refresh<const D: usize>(&mut self, weight: &Tensor<D>) {
        let left = self.left.val().inner();
        let columns = self.right.val().dims()[0];
        let rows = left.dims()[0];
        let matrix = weight.clone().inner().reshape([rows, columns]);
        let unit = |v: Tensor<2>| v.clone() / (v.square().sum().sqrt() + 1e-12).unsqueeze::<2>();
        let right = unit(left.reshape([1, rows]).matmul(matrix.clone())); // [1, columns]
        let left = unit(matrix.matmul(right.clone().transpose())); // [rows, 1]
        set(&mut self.left, left.reshape([rows]));
        set(&mut self.right, right.reshape([columns]));
    }
}

fn set(param: &mut Param<Tensor<1>>, value: Tensor<1>) {
    *param = param.clone().map(|old| match old.is_autodiff() {
        true => value.autodiff(),
        false => value,
    });
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;

    use super::*;
    use crate::params::host;
    use crate::random::{Purpose, stream};

    #[test]
    fn the_largest_singular_value_becomes_one() {
        let device = refrain_core::device("cpu").unwrap();
        let mut rng = stream(1, Purpose::Discriminator, 0);
        let values = normal(&mut rng, 6 * 12);
        let weight = Tensor::<4>::from_data(TensorData::new(values, [6, 3, 2, 2]), &device);
        let mut spectral = Spectral::new([6, 12], &mut rng, &device);
        for _ in 0..200 {
            spectral.refresh(&weight);
        }
        let normalised = host(spectral.apply(weight).reshape([72])).unwrap();
        let singular = DMatrix::from_row_slice(6, 12, &normalised).singular_values();
        assert!((singular[0] - 1.0).abs() < 1e-4, "{singular}");
        assert!(singular[1] < 0.999);
    }
}
