//! Operations of our own among burn's, on the processor's tensors.
//!
//! A recurrent layer as a tensor program is hundreds of small operations, a convolution one that
//! burn's backend does at half the speed it could have. An [`Operation`] is such a step as two
//! functions on slices, its value and its gradient; [`apply`] puts it among burn's own, so that
//! modules, optimizers and `backward()` need not know.
//!
//! It reads and writes the memory of burn's `flex` tensors where they lie; tensors of another
//! device are left to the tensor program that the operation is a faster form of.
//!
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

#[cfg(test)]
mod tests;
