//! Operations of our own among burn's, on the processor's tensors.
//!
//! A recurrent layer as a tensor program is hundreds of small operations, a convolution one that
//! burn's backend does at half the speed it could have. An [`Operation`] is such a step as two
//! functions on slices, its value and its gradient; [`apply`] puts it among burn's own, so that
//! modules, optimizers and `backward()` need not know.
//!
//! It reads and writes the memory of burn's `flex` tensors where they lie; tensors of another
//! device are left to the tensor program that the operation is a faster form of.

//! ```
//! use burn::tensor::Tensor;
//! use refrain_core::operation::{Operation, apply};
//!
//! #[derive(Debug)]
//! struct Cube;
//!
//! impl Operation<1> for Cube {
//!     type Kept = ();
//!
//!     fn forward(&self, [x]: [&[f32]; 1], _tracked: bool) -> (Vec<f32>, ()) {
//!         (x.iter().map(|x| x * x * x).collect(), ())
//!     }
//!
//!     fn backward(
//!         &self,
//!         _kept: &(),
//!         [x]: [&[f32]; 1],
//!         gradient: &[f32],
//!         _wanted: [bool; 1],
//!     ) -> [Option<Vec<f32>>; 1] {
//!         let slope = x.iter().zip(gradient).map(|(x, g)| 3.0 * x * x * g);
//!         [Some(slope.collect())]
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let device = refrain_core::device("cpu")?.autodiff();
//! let x = Tensor::<1>::from_floats([1.0, 2.0], &device).require_grad();
//! let cubes = match apply(Cube, [2], [x.clone().into()]) {
//!     Some(cubes) => cubes,
//!     None => x.clone() * x.clone() * x.clone(), // on another device
//! };
//! let gradients = cubes.sum().backward();
//! let slope = x.grad(&gradients).ok_or("no gradient")?;
//! assert_eq!(slope.try_into_vec_as::<f32>()?, [3.0, 12.0]);
//! # Ok(())
//! # }
//! ```

#[cfg(feature = "flex")]
mod flex;

use std::fmt::Debug;

use burn::tensor::Tensor;

/// A differentiable function of `N` tensors, on their values, row by row.
pub trait Operation<const N: usize>: Debug + Send + Sync + 'static {
    /// What the gradient needs beside the inputs.
    type Kept: Debug + Send + Sync + 'static;

    /// The values of the result, and what the gradient will need; `tracked` is false where no
    /// gradient will be asked for.
    fn forward(&self, inputs: [&[f32]; N], tracked: bool) -> (Vec<f32>, Self::Kept);

    /// The gradient of each input that is `wanted`, from that of the result; `None` for the others.
    fn backward(
        &self,
        kept: &Self::Kept,
        inputs: [&[f32]; N],
        gradient: &[f32],
        wanted: [bool; N],
    ) -> [Option<Vec<f32>>; N];
}

/// A tensor of any rank.
#[derive(Debug, Clone)]
pub struct Operand(#[cfg_attr(not(feature = "flex"), allow(dead_code))] Tensor<1>);

impl<const D: usize> From<Tensor<D>> for Operand {
    fn from(tensor: Tensor<D>) -> Self {
        // The rank is only the type's; the shape stays what it is.
        Self(Tensor::from_dispatch(tensor.into_dispatch()))
    }
}

/// The operation's result, of `shape`; `None` where an operand lies on another device than `flex`
/// or holds something else than `f32`, or where burn is to compute again what it has forgotten
/// (gradient checkpointing).
///
/// # Panics
/// Where the operation returns other sizes than `shape` and those of its inputs.
pub fn apply<const N: usize, const D: usize, O: Operation<N>>(
    operation: O,
    shape: [usize; D],
    operands: [Operand; N],
) -> Option<Tensor<D>> {
    #[cfg(feature = "flex")]
    return flex::apply(operation, shape, operands);
    #[cfg(not(feature = "flex"))]
    {
        let _ = (operation, shape, operands);
        None
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use super::*;
    use burn::tensor::{Device, Distribution};

    /// `a b + c` of matrices.
    #[derive(Debug)]
    struct Affine {
        rows: usize,
        inner: usize,
        cols: usize,
    }

    impl Operation<3> for Affine {
        type Kept = ();

        fn forward(&self, [a, b, c]: [&[f32]; 3], _: bool) -> (Vec<f32>, ()) {
            let mut out = Vec::new();
            for row in a.chunks_exact(self.inner).take(self.rows) {
                for (j, c) in c.iter().enumerate() {
                    let terms = row.iter().zip(b.iter().skip(j).step_by(self.cols));
                    out.push(terms.map(|(a, b)| a * b).sum::<f32>() + c);
                }
            }
            (out, ())
        }

        fn backward(
            &self,
            _: &(),
            [a, b, c]: [&[f32]; 3],
            g: &[f32],
            wanted: [bool; 3],
        ) -> [Option<Vec<f32>>; 3] {
            let [mut da, mut db, mut dc] = [a, b, c].map(|values| vec![0.0; values.len()]);
            for i in 0..self.rows {
                for (j, &g) in g[i * self.cols..][..self.cols].iter().enumerate() {
                    dc[j] += g;
                    for k in 0..self.inner {
                        da[i * self.inner + k] += g * b[k * self.cols + j];
                        db[k * self.cols + j] += g * a[i * self.inner + k];
                    }
                }
            }
            let mut found = [Some(da), Some(db), Some(dc)];
            for (found, wanted) in found.iter_mut().zip(wanted) {
                found.take_if(|_| !wanted);
            }
            found
        }
    }

    fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
    }

    fn close(a: Tensor<1>, b: Tensor<1>) {
        let apart: f32 = (a - b).abs().max().try_into_scalar().unwrap();
        assert!(apart < 1e-5, "{apart}");
    }

    fn flat<const D: usize>(x: Tensor<D>) -> Tensor<1> {
        x.reshape([-1])
    }

    #[test]
    fn value_and_gradients_are_those_of_the_tensor_program() {
        let plain = crate::device("cpu").unwrap();
        let taped = plain.clone().autodiff();
        let [rows, inner, cols] = [3, 4, 5];
        // A transposed operand, one that needs no gradient, and a result used twice.
        let a = random([inner, rows], &taped).require_grad();
        let b = random([inner, cols], &plain);
        let c = random([cols], &taped).require_grad();
        let weights = random([rows, cols], &plain);
        let loss = |y: Tensor<2>| (y.clone() * y.clone() * weights.clone()).sum() + y.sum();
        let own = apply(
            Affine { rows, inner, cols },
            [rows, cols],
            [
                a.clone().transpose().into(),
                b.clone().into(),
                c.clone().into(),
            ],
        )
        .unwrap();
        let program = a.clone().transpose().matmul(b.autodiff()) + c.clone().unsqueeze();
        close(flat(own.clone().inner()), flat(program.clone().inner()));
        let own = loss(own).backward();
        let program = loss(program).backward();
        close(flat(a.grad(&own).unwrap()), flat(a.grad(&program).unwrap()));
        close(c.grad(&own).unwrap(), c.grad(&program).unwrap());
    }

    #[test]
    fn plain_tensors_stay_plain_and_views_are_read_right() {
        let plain = crate::device("cpu").unwrap();
        let all = random([6, 4], &plain);
        let (a, b) = (all.clone().narrow(0, 2, 3), random([4, 2], &plain));
        let affine = Affine {
            rows: 3,
            inner: 4,
            cols: 2,
        };
        let zeros = Tensor::<1>::zeros([2], &plain);
        let own = apply(
            affine,
            [3, 2],
            [a.clone().into(), b.clone().into(), zeros.into()],
        );
        let own: Tensor<2> = own.unwrap();
        assert_eq!(own.device(), plain);
        close(flat(own), flat(a.matmul(b)));
    }
}
