//! What keeps the discriminator's slope in hand.
//!
//! A discriminator that has learnt the training images by heart is a cliff: flat where the fakes are
//! (so that the generator learns nothing) and steep around each image. Holding its slope down at the
//! real images makes the game converge (R1: Mescheder et al. 2018,
//! <https://arxiv.org/abs/1801.04406>). The exact penalty `‖∇D(x)‖²` needs a derivative of a
//! derivative; [`Penalty::Slope`] takes the mean squared slope along random directions, whose
//! expectation is the same as `radius → 0`:
//!
//! ```text
//! weight / 2 · mean ((D(x + radius · u) − D(x)) / radius)²      u ~ N(0, I)
//! ```
//!
//! **Cost**: half a discriminator pass more per step.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A term added to the discriminator's loss.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Penalty {
    /// Nothing.
    None,
    /// The mean squared slope at the real images along random directions.
    Slope {
        /// How much it counts.
        weight: f32,
        /// How far the second point is, in brightness (the image's range is 1).
        radius: f32,
    },
}

impl Default for Penalty {
    fn default() -> Self {
        Self::Slope { weight: 0.1, radius: 0.1 }
    }
}

impl Penalty {
    pub(crate) fn check(&self) -> Result<()> {
        let Self::Slope { weight, radius } = self else { return Ok(()) };
        for (field, value) in [("penalty.weight", weight), ("penalty.radius", radius)] {
            if !(value.is_finite() && *value > 0.0) {
                return Err(Error::config(field, format!("{value} is not a positive number")));
            }
        }
        Ok(())
    }
}
