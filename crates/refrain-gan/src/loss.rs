//! What each player is told to want.
//!
//! The discriminator `D` gives an image a logit; `σ(D(x))` is its belief that `x` is real.
//! The non-saturating game (Goodfellow et al. 2014, <https://arxiv.org/abs/1406.2661>):
//!
//! ```text
//! discriminator  minimise  mean softplus(−D(real)) + mean softplus(D(fake))
//! generator      minimise  mean softplus(−D(fake))            softplus(a) = ln(1 + eᵃ)
//! ```
//!
//! In place of the certain answer 1 for real images a softer `real_target` may be asked (one-sided
//! label smoothing, Salimans et al. 2016), which keeps the discriminator from growing sure of itself.

use burn::tensor::Tensor;
use burn::tensor::activation::log_sigmoid;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The game the two networks play.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Loss {
    /// Binary cross-entropy on logits; the generator minimises `−ln σ(D(fake))`.
    NonSaturating {
        /// What the discriminator should answer for real images: 1, or a little less.
        real_target: f32,
    },
}

impl Default for Loss {
    fn default() -> Self {
        Self::NonSaturating { real_target: 1.0 }
    }
}

impl Loss {
    pub(crate) fn check(&self) -> Result<()> {
        let Self::NonSaturating { real_target } = self;
        match *real_target > 0.0 && *real_target <= 1.0 {
            true => Ok(()),
            false => Err(Error::config(
                "loss.real_target",
                format!("{real_target} is not above 0 and at most 1"),
            )),
        }
    }

    /// The discriminator's loss `[1]` from its logits `[batch]` on real images and on fakes.
    pub fn discriminator(&self, real: Tensor<1>, fake: Tensor<1>) -> Tensor<1> {
        let Self::NonSaturating { real_target } = self;
        cross_entropy(real, *real_target) + cross_entropy(fake, 0.0)
    }

    /// The generator's loss `[1]` from the discriminator's logits `[batch]` on fakes.
    pub fn generator(&self, fake: Tensor<1>) -> Tensor<1> {
        let Self::NonSaturating { .. } = self;
        cross_entropy(fake, 1.0)
    }
}

/// The mean binary cross-entropy `−t ln σ(l) − (1 − t) ln(1 − σ(l))` of logits `[batch]` against one
/// target `t` between 0 and 1: soft targets are allowed, and no logit overflows.
///
/// ```
/// # #[cfg(feature = "flex")] {
/// use burn::tensor::Tensor;
/// let device = refrain_core::device("cpu")?;
/// let logits = Tensor::<1>::from_floats([0.0, 200.0, -200.0], &device);
/// let loss: f32 = refrain_gan::cross_entropy(logits, 1.0).try_into_scalar().unwrap();
/// assert!((loss - (2f32.ln() + 0.0 + 200.0) / 3.0).abs() < 1e-4);
/// # }
/// # Ok::<(), refrain_core::Error>(())
/// ```
pub fn cross_entropy(logits: Tensor<1>, target: f32) -> Tensor<1> {
    // −ln σ(l) and −ln(1 − σ(l)) = −ln σ(−l)
    match target {
        1.0 => -log_sigmoid(logits).mean(),
        0.0 => -log_sigmoid(-logits).mean(),
        t => {
            let unreal = log_sigmoid(-logits.clone()) * (1.0 - t);
            -(log_sigmoid(logits) * t + unreal).mean()
        }
    }
}

/// [`cross_entropy`] written out on the host in double precision, with its gradient for each logit.
#[cfg(test)]
fn cross_entropy_reference(logits: &[f32], target: f64) -> (f64, Vec<f64>) {
    let n = logits.len() as f64;
    let softplus = |a: f64| a.max(0.0) + (-a.abs()).exp().ln_1p();
    let loss = |l: f64| target * softplus(-l) + (1.0 - target) * softplus(l);
    let total = logits.iter().map(|&l| loss(f64::from(l))).sum::<f64>() / n;
    let step = 1e-5;
    let slope = |&l: &f32| {
        let l = f64::from(l);
        (loss(l + step) - loss(l - step)) / (2.0 * step) / n
    };
    (total, logits.iter().map(slope).collect())
}

#[cfg(test)]
mod tests {
    use burn::tensor::TensorData;
    use proptest::prelude::*;

    use super::*;

    fn value_and_gradient(logits: &[f32], target: f32) -> (f32, Vec<f32>) {
        let device = refrain_core::device("cpu").unwrap().autodiff();
        let data = TensorData::new(logits.to_vec(), [logits.len()]);
        let leaf = Tensor::<1>::from_data(data, &device).require_grad();
        let loss = cross_entropy(leaf.clone(), target);
        let gradients = loss.backward();
        let gradient = leaf
            .grad(&gradients)
            .unwrap()
            .into_data()
            .try_into_vec()
            .unwrap();
        (loss.try_into_scalar().unwrap(), gradient)
    }

    proptest! {
        #[test]
        fn agrees_with_reference_and_finite_differences(
            logits in prop::collection::vec(-30f32..30.0, 1..8),
            target in prop::sample::select(vec![0.0f32, 0.1, 0.9, 1.0]),
        ) {
            let (loss, gradient) = value_and_gradient(&logits, target);
            let (expected, slopes) = cross_entropy_reference(&logits, f64::from(target));
            prop_assert!((f64::from(loss) - expected).abs() < 1e-5 * (1.0 + expected));
            for (g, s) in gradient.iter().zip(slopes) {
                prop_assert!((f64::from(*g) - s).abs() < 1e-4, "{} {}", g, s);
            }
        }
    }

    #[test]
    fn golden_values_of_pytorch() {
        // python -c "import torch, torch.nn.functional as F
        // r=torch.tensor([2.,-1.,.5]); f=torch.tensor([-3.,0.,4.])
        // print(F.binary_cross_entropy_with_logits(r,torch.full((3,),.9))
        //  +F.binary_cross_entropy_with_logits(f,torch.zeros(3)),
        //  F.binary_cross_entropy_with_logits(f,torch.ones(3)))"     (torch 2.15.0)
        let device = refrain_core::device("cpu").unwrap();
        let real = Tensor::<1>::from_floats([2.0, -1.0, 0.5], &device);
        let fake = Tensor::<1>::from_floats([-3.0, 0.0, 4.0], &device);
        let game = Loss::NonSaturating { real_target: 0.9 };
        let d: f32 = game
            .discriminator(real, fake.clone())
            .try_into_scalar()
            .unwrap();
        let g: f32 = game.generator(fake).try_into_scalar().unwrap();
        assert!((d - 2.274_717).abs() < 1e-5, "{d}");
        assert!((g - 1.253_295).abs() < 1e-5, "{g}");
    }

    #[test]
    fn huge_logits_stay_finite_and_zero_has_its_slope() {
        for logit in [-1e30f32, 1e30] {
            let (loss, gradient) = value_and_gradient(&[logit], 0.9);
            assert!(
                loss.is_finite() && gradient[0].is_finite(),
                "{loss} {gradient:?}"
            );
        }
        let (_, gradient) = value_and_gradient(&[0.0], 1.0);
        assert!((gradient[0] + 0.5).abs() < 1e-6);
    }

    #[test]
    fn targets_outside_their_range_are_refused() {
        for real_target in [0.0, -1.0, 1.1, f32::NAN] {
            assert!(Loss::NonSaturating { real_target }.check().is_err());
        }
    }
}
