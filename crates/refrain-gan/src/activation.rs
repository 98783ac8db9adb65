//! The functions between the layers, each with the program of its input's gradient.

use burn::tensor::Tensor;
use burn::tensor::activation::{sigmoid, silu, tanh};
use serde::{Deserialize, Serialize};

use crate::fused::{rectified, rectified_gradient};
use crate::{Error, Result};

/// A function of each number by itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Activation {
    /// `x` where not negative, `slope · x` elsewhere.
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
    pub(crate) fn check(self, field: &str) -> Result<()> {
        match self {
            Self::LeakyRelu { slope } if !(0.0..=1.0).contains(&slope) => {
                let field = format!("{field}.slope");
                Err(Error::config(&field, format!("{slope} is not in 0..1")))
            }
            _ => Ok(()),
        }
    }

    /// The gain that keeps variance 1 through it (He et al. 2015).
    pub(crate) fn gain(self) -> f32 {
        match self {
            Self::LeakyRelu { slope } => (2.0 / (1.0 + slope * slope)).sqrt() as f32,
            Self::Silu => 1.676,
            Self::Tanh => 5.0 / 3.0,
            Self::Sigmoid => 1.0,
        }
    }

    pub(crate) fn forward(self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::LeakyRelu { slope } => match rectified(&x, slope) {
                Some(y) => y,
                None => x.clone() * slopes(x, slope),
            },
            Self::Silu => silu(x),
            Self::Tanh => tanh(x),
            Self::Sigmoid => sigmoid(x),
        }
    }

    /// The gradient for the input `x`, of the result's gradient `g`.
    pub(crate) fn input_gradient(self, x: Tensor<4>, g: Tensor<4>) -> Tensor<4> {
        match self {
            Self::LeakyRelu { slope } => match rectified_gradient(&x, &g, slope) {
                Some(gradient) => gradient,
                None => g * slopes(x, slope),
            },
            Self::Silu => {
                let s = sigmoid(x.clone());
                g * (s.clone() * (x * (-s + 1.0) + 1.0))
            }
            Self::Tanh => g * (-tanh(x).square() + 1.0),
            Self::Sigmoid => {
                let s = sigmoid(x);
                g * (s.clone() * (-s + 1.0))
            }
        }
    }
}

/// 1 where `x` is not negative, the slope elsewhere; off the tape, as it is constant almost
/// everywhere.
fn slopes(x: Tensor<4>, slope: f64) -> Tensor<4> {
    let taped = x.is_autodiff();
    let x = x.inner();
    let slopes = x.ones_like().mask_fill(x.lower_scalar(0.0), slope);
    if taped { slopes.autodiff() } else { slopes }
}
