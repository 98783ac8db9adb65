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

use burn::tensor::Tensor;
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
        Self::Slope {
            weight: 0.1,
            radius: 0.1,
        }
    }
}

impl Penalty {
    pub(crate) fn check(&self) -> Result<()> {
        let Self::Slope { weight, radius } = self else {
            return Ok(());
        };
        for (field, value) in [("penalty.weight", weight), ("penalty.radius", radius)] {
            if !(value.is_finite() && *value > 0.0) {
                return Err(Error::config(
                    field,
                    format!("{value} is not a positive number"),
                ));
            }
        }
        Ok(())
    }

    /// The penalty `[1]` from the logits `[batch]` at the images and at the points `radius · u` beside
    /// them.
    pub(crate) fn slope(weight: f32, radius: f32, here: Tensor<1>, near: Tensor<1>) -> Tensor<1> {
        ((near - here) / radius).square().mean() * (weight / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{host, tensor};
    use crate::random::{Purpose, normal, stream};

    #[test]
    fn expectation_and_gradient_are_those_of_the_exact_penalty() {
        // D(x) = w · x has slope w everywhere: the exact penalty is weight/2 ‖w‖², its gradient
        // weight · w.
        let device = refrain_core::device("cpu").unwrap().autodiff();
        let w = [1.5, -0.5, 2.0];
        let leaf = tensor(w.to_vec(), &device).require_grad();
        let n = 40_000;
        let u = tensor(normal(&mut stream(1, Purpose::Step, 0), 3 * n), &device).reshape([n, 3]);
        let x = u.zeros_like() + 0.3;
        let logits = |x: Tensor<2>| x.matmul(leaf.clone().reshape([3, 1])).reshape([n]);
        let penalty = Penalty::slope(0.5, 0.1, logits(x.clone()), logits(x + u * 0.1));
        let gradients = penalty.backward();
        let gradient = host(leaf.grad(&gradients).unwrap()).unwrap();
        let value = host(penalty.inner()).unwrap()[0];
        let exact = 0.25 * w.iter().map(|v| v * v).sum::<f32>();
        assert!((value - exact).abs() < 0.03 * exact, "{value} {exact}");
        for (g, w) in gradient.iter().zip(w) {
            assert!((g - 0.5 * w).abs() < 0.05, "{g} {w}");
        }
    }

    #[test]
    fn unusable_settings_name_their_field() {
        let error = Penalty::Slope {
            weight: -1.0,
            radius: 0.1,
        }
        .check()
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "penalty.weight: -1 is not a positive number"
        );
        assert!(
            Penalty::Slope {
                weight: 1.0,
                radius: f32::NAN
            }
            .check()
            .is_err()
        );
        assert!(Penalty::None.check().is_ok());
    }
}
