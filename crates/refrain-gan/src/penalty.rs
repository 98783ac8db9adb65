//! What keeps the discriminator's slope in hand.
//!
//! A discriminator that has learnt the training images by heart is a cliff: flat where the fakes are
//! (so that the generator learns nothing) and steep around each image. Holding its slope down makes
//! the game converge:
//!
//! ```text
//! R1        γ/2 · mean over real images of ‖∇D(x)‖²        Mescheder et al. 2018, arXiv 1801.04406
//! R2        the same over fakes
//! WGAN-GP   w · mean (‖∇D(x̂)‖ − 1)²                        Gulrajani et al. 2017, arXiv 1704.00028
//!           x̂ = u · real + (1 − u) · fake, u uniform in 0..1, one for each image
//! clipping  every weight is cut to −limit..limit            Arjovsky et al. 2017, arXiv 1701.07875
//! ```
//!
//! The gradients are exact: the discriminator's input gradient is computed by a program of its own,
//! which automatic differentiation of first order walks through. Tests hold them against finite
//! differences and PyTorch's `create_graph=True`. Images of 0..1 count as −1..1 here, as in the papers. With
//! [`Gan::augment`](crate::Gan::augment) the slope is that at the images as the discriminator sees them,
//! augmented ones; the papers' penalties know no augmentation.
//!
//! **Cost**: R1 adds to a step about one discriminator pass and its gradient over the real images,
//! R1 with R2 twice, WGAN-GP three times that, as its points need a pass of their own. Leave steps
//! out with [`Gan::penalty_every`](crate::Gan::penalty_every).

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A term added to the discriminator's loss, or a limit on its weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Penalty {
    /// Nothing.
    None,
    /// `γ/2 ‖∇D‖²` at the real images.
    #[doc(alias = "zero-centred gradient penalty")]
    R1 {
        /// How much it counts: more for few or large images.
        gamma: f32,
    },
    /// `γ/2 ‖∇D‖²` at the real images and at the fakes.
    R1R2 {
        /// How much each counts.
        gamma: f32,
    },
    /// `weight · (‖∇D‖ − target)²` on the way from real images to fakes.
    #[doc(alias = "WGAN-GP")]
    GradientPenalty {
        /// How much it counts: 10 in the paper.
        weight: f32,
        /// The slope that is wished for: 1 in the paper.
        target: f32,
    },
    /// Weights cut to `−limit..limit` after each step: what [`Loss::Wasserstein`](crate::Loss) had
    /// before the gradient penalty.
    WeightClip {
        /// The largest size of a weight: 0.01 in the paper.
        limit: f32,
    },
}

impl Default for Penalty {
    fn default() -> Self {
        Self::R1R2 { gamma: 0.1 }
    }
}

impl Penalty {
    pub(crate) fn check(&self) -> Result<()> {
        let positive = |field: &str, value: f32| match value.is_finite() && value > 0.0 {
            true => Ok(()),
            false => Err(Error::config(
                &format!("penalty.{field}"),
                format!("{value} is not a positive number"),
            )),
        };
        match *self {
            Self::None => Ok(()),
            Self::R1 { gamma } | Self::R1R2 { gamma } => positive("gamma", gamma),
            Self::GradientPenalty { weight, target } => {
                positive("weight", weight)?;
                match target.is_finite() && target >= 0.0 {
                    true => Ok(()),
                    false => Err(Error::config(
                        "penalty.target",
                        format!("{target} is not a number from 0 up"),
                    )),
                }
            }
            Self::WeightClip { limit } => positive("limit", limit),
        }
    }

    /// Whether it needs the discriminator's slope.
    pub(crate) fn needs_slope(&self) -> bool {
        !matches!(self, Self::None | Self::WeightClip { .. })
    }
}

/// `γ/2 · mean ‖slope‖²`, `[1]`, of slopes `[batch, values]`.
pub(crate) fn zero_centred(gamma: f32, slope: Tensor<2>) -> Tensor<1> {
    slope.square().sum_dim(1).mean() * (gamma / 2.0)
}

/// `weight · mean (‖slope‖ − target)²`, `[1]`, of slopes `[batch, values]`.
pub(crate) fn centred(weight: f32, target: f32, slope: Tensor<2>) -> Tensor<1> {
    // The root has no derivative at 0.
    let norm = (slope.square().sum_dim(1) + 1e-12).sqrt();
    (norm - target).square().mean() * weight
}

#[cfg(test)]
#[path = "penalty_tests.rs"]
mod tests;
