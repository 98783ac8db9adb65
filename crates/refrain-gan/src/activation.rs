//! The functions between the layers, each with the program of its input's gradient.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, silu, tanh};
use serde::{Deserialize, Serialize};

/// A function of each number by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Activation {
    /// `x` where positive, `slope · x` elsewhere.
    LeakyRelu {
        /// The slope on the negative side: 0 gives the plain rectifier.
        slope: f64,
    },
    /// `x · σ(x)`: smooth, so that the gradient penalties are smooth too.
    Silu,
    /// The hyperbolic tangent; slow on a CPU.
    Tanh,
    /// `σ(x) = 1 / (1 + e⁻ˣ)`: squeezes into 0..1.
    Sigmoid,
}

impl Default for Activation {
    fn default() -> Self {
        Self::LeakyRelu { slope: 0.2 }
    }
}

impl Activation {
    /// The gain that keeps variance 1 through it (He et al. 2015).
    pub(crate) fn gain(self) -> f32 {
        match self {
            Self::LeakyRelu { slope } => (2.0 / (1.0 + slope * slope)).sqrt() as f32,
            Self::Silu => 1.676,
            Self::Tanh => 5.0 / 3.0,
            Self::Sigmoid => 1.0,
        }
    }

    /// The result, and what [`Activation::input_gradient`] needs.
    pub(crate) fn forward_kept(self, x: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        match self {
            Self::LeakyRelu { slope } => {
                // Off the tape: one constant serves forward, backward and the penalty's program.
                let taped = x.is_autodiff();
                let factor = x.clone().inner().sign() * ((1.0 - slope) / 2.0) + (1.0 + slope) / 2.0;
                let factor = if taped { factor.autodiff() } else { factor };
                (x * factor.clone(), factor)
            }
            Self::Silu => (silu(x.clone()), x),
            Self::Tanh => (tanh(x.clone()), x),
            Self::Sigmoid => (sigmoid(x.clone()), x),
        }
    }

    pub(crate) fn input_gradient(self, kept: Tensor<4>, g: Tensor<4>) -> Tensor<4> {
        match self {
            Self::LeakyRelu { .. } => g * kept,
            Self::Silu => {
                let s = sigmoid(kept.clone());
                g * (s.clone() * (kept * (-s + 1.0) + 1.0))
            }
            Self::Tanh => g * (-tanh(kept).square() + 1.0),
            Self::Sigmoid => {
                let s = sigmoid(kept);
                g * (s.clone() * (-s + 1.0))
            }
        }
    }
}
