//! What each player is told to want.
//!
//! The discriminator `D` gives an image a logit. With `softplus(a) = ln(1 + eᵃ)` and `[a]₊ = max(a, 0)`,
//! each player minimises a mean over the batch:
//!
//! | game | discriminator | generator | from |
//! |---|---|---|---|
//! | non-saturating | softplus(−D(real)) + softplus(D(fake)) | softplus(−D(fake)) | Goodfellow et al. 2014, arXiv 1406.2661 |
//! | minimax | the same | −softplus(D(fake)) | the same |
//! | least squares | ½ (D(real) − 1)² + ½ D(fake)² | ½ (D(fake) − 1)² | Mao et al. 2017, arXiv 1611.04076 |
//! | hinge | \[1 − D(real)\]₊ + \[1 + D(fake)\]₊ | −D(fake) | Lim and Ye 2017, arXiv 1705.02894 |
//! | Wasserstein | D(fake) − D(real) | −D(fake) | Arjovsky et al. 2017, arXiv 1701.07875 |
//! | relativistic | softplus(D(fake) − D(real)) | softplus(D(real) − D(fake)) | Jolicoeur-Martineau 2019, arXiv 1807.00734 |
//! | feature matching | as non-saturating | ‖mean features of real − of fake‖² | Salimans et al. 2016, arXiv 1606.03498 |
//!
//! The relativistic game in pairs has no place where the generator may put all its images: each fake
//! is compared with a real image, so leaving a mode out costs. With the penalties R1 and R2 it is R3GAN
//! (Huang et al. 2024, <https://arxiv.org/abs/2501.05441>), the default.

use burn::tensor::Tensor;
use burn::tensor::activation::{log_sigmoid, log_softmax, relu};
use serde::{Deserialize, Serialize};

use crate::players::Judged;
use crate::{Error, Result};

/// The game the two networks play.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Loss {
    /// Binary cross-entropy; the generator minimises `−ln σ(D(fake))`.
    #[doc(alias = "BCE")]
    NonSaturating {
        /// What the discriminator should answer for real images: 1, or a little less (one-sided
        /// label smoothing, Salimans et al. 2016), which keeps it from growing sure of itself.
        real_target: f32,
    },
    /// Binary cross-entropy; the generator minimises `ln(1 − σ(D(fake)))`, which gives it next to no
    /// gradient while it is bad: for comparison.
    Minimax,
    /// Squared distance to 1 for real images and to 0 for fakes.
    #[doc(alias = "LSGAN")]
    LeastSquares,
    /// Margins of 1 on either side; usual with spectral normalisation.
    Hinge,
    /// The discriminator is a critic: needs a bound, such as
    /// [`Penalty::GradientPenalty`](crate::Penalty), [`Penalty::WeightClip`](crate::Penalty) or spectral
    /// normalisation, and some discriminator steps each.
    #[doc(alias = "WGAN")]
    Wasserstein,
    /// Each fake is compared with a real image.
    #[doc(alias = "R3GAN")]
    #[doc(alias = "RpGAN")]
    #[default]
    Relativistic,
    /// The generator matches the mean of the discriminator's last features.
    FeatureMatching,
}

impl Loss {
    pub(crate) fn check(&self) -> Result<()> {
        match *self {
            Self::NonSaturating { real_target } if !(real_target > 0.0 && real_target <= 1.0) => {
                Err(Error::config(
                    "loss.real_target",
                    format!("{real_target} is not above 0 and at most 1"),
                ))
            }
            _ => Ok(()),
        }
    }

    /// The discriminator's loss `[1]` from its logits `[batch]` on real images and on fakes.
    pub(crate) fn discriminator(&self, real: Tensor<1>, fake: Tensor<1>) -> Tensor<1> {
        match *self {
            Self::NonSaturating { real_target } => {
                cross_entropy(real, real_target) + cross_entropy(fake, 0.0)
            }
            Self::Minimax | Self::FeatureMatching => {
                cross_entropy(real, 1.0) + cross_entropy(fake, 0.0)
            }
            Self::LeastSquares => ((real - 1.0).square().mean() + fake.square().mean()) * 0.5,
            Self::Hinge => relu(-real + 1.0).mean() + relu(fake + 1.0).mean(),
            Self::Wasserstein => fake.mean() - real.mean(),
            Self::Relativistic => cross_entropy(real - fake, 1.0),
        }
    }

    /// The generator's loss `[1]` from what the discriminator says of its images, and of real ones
    /// where [`Loss::compares`].
    pub(crate) fn generator(&self, fake: &Judged, real: Option<&Judged>) -> Tensor<1> {
        let logits = fake.logits.clone();
        match (self, real) {
            (Self::Minimax, _) => -cross_entropy(logits, 0.0),
            (Self::LeastSquares, _) => (logits - 1.0).square().mean() * 0.5,
            (Self::Hinge | Self::Wasserstein, _) => -logits.mean(),
            (Self::Relativistic, Some(real)) => cross_entropy(logits - real.logits.clone(), 1.0),
            (Self::FeatureMatching, Some(real)) => {
                let gap = real.features.clone().mean_dim(0) - fake.features.clone().mean_dim(0);
                gap.square().sum()
            }
            (Self::NonSaturating { .. } | Self::Relativistic | Self::FeatureMatching, _) => {
                cross_entropy(logits, 1.0)
            }
        }
    }

    /// Whether the generator's loss looks at real images, too.
    pub(crate) fn compares(&self) -> bool {
        matches!(self, Self::Relativistic | Self::FeatureMatching)
    }

    /// Shares of real images and of fakes that the discriminator judged rightly. A game that only
    /// compares has one share: of pairs, in which the real image has the higher logit.
    pub(crate) fn accuracy(&self, real: &[f32], fake: &[f32]) -> [f32; 2] {
        let share = |right: usize, of: usize| right as f32 / of.max(1) as f32;
        let bound = match self {
            Self::Wasserstein | Self::Relativistic => {
                let right = real.iter().zip(fake).filter(|(r, f)| r > f).count();
                return [share(right, real.len()); 2];
            }
            Self::LeastSquares => 0.5,
            _ => 0.0,
        };
        let real_right = real.iter().filter(|l| **l > bound).count();
        let fake_right = fake.iter().filter(|l| **l < bound).count();
        [share(real_right, real.len()), share(fake_right, fake.len())]
    }
}

/// The mean of `−ln softmax(logits)` at the classes named by `one_hot`; both `[batch, classes]`.
pub(crate) fn class_entropy(logits: Tensor<2>, one_hot: Tensor<2>) -> Tensor<1> {
    -(log_softmax(logits, 1) * one_hot).sum_dim(1).mean()
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

    fn logits(values: [f32; 3]) -> Tensor<1> {
        Tensor::from_floats(values, &refrain_core::device("cpu").unwrap())
    }

    #[test]
    fn golden_values_of_pytorch() {
        // python -c "import torch, torch.nn.functional as F
        // r=torch.tensor([2.,-1.,.5]); f=torch.tensor([-3.,0.,4.]); b=F.binary_cross_entropy_with_logits
        // o=torch.ones(3); z=torch.zeros(3)
        // for d,g in [(b(r,.9*o)+b(f,z),b(f,o)), (b(r,o)+b(f,z),-b(f,z)),
        //  (F.mse_loss(r,o)/2+F.mse_loss(f,z)/2,F.mse_loss(f,o)/2),
        //  (F.relu(1-r).mean()+F.relu(1+f).mean(),-f.mean()), (f.mean()-r.mean(),-f.mean()),
        //  (F.softplus(f-r).mean(),F.softplus(r-f).mean())]: print(d.item(),g.item())" (torch 2.15.0)
        let (real, fake) = (logits([2.0, -1.0, 0.5]), logits([-3.0, 0.0, 4.0]));
        let smooth = Loss::NonSaturating { real_target: 0.9 };
        for (game, d, g) in [
            (smooth, 2.274717, 1.253295),
            (Loss::Minimax, 2.224717, -1.586628),
            (Loss::LeastSquares, 5.041667, 4.333333),
            (Loss::Hinge, 2.833333, -0.333333),
            (Loss::Wasserstein, -0.166667, -0.333333),
            (Loss::Relativistic, 1.616576, 1.783242),
        ] {
            let discriminator = game.discriminator(real.clone(), fake.clone());
            let [fake, real] = [&fake, &real].map(|l| Judged::of_logits(l.clone()));
            let generator = game.generator(&fake, Some(&real));
            for (found, expected) in [(discriminator, d), (generator, g)] {
                let found: f32 = found.try_into_scalar().unwrap();
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{game:?}: {found} {expected}"
                );
            }
        }
    }

    #[test]
    fn feature_matching_is_the_squared_gap_of_means() {
        let device = refrain_core::device("cpu").unwrap();
        let of = |values: Vec<f32>| {
            let mut judged = Judged::of_logits(logits([0.0; 3]));
            judged.features = crate::params::tensor(values, &device).reshape([2, 2, 1, 1]);
            judged
        };
        let (real, fake) = (of(vec![1.0, 2.0, 3.0, 4.0]), of(vec![0.0, 0.0, 2.0, 0.0]));
        let loss = Loss::FeatureMatching.generator(&fake, Some(&real));
        assert_eq!(loss.try_into_scalar::<f32>().unwrap(), 1.0 + 9.0);
    }

    #[test]
    fn accuracy_counts_by_the_rule_of_the_game() {
        let (real, fake) = ([2.0, -1.0, 0.4], [-3.0, 0.2, 0.3]);
        let of = |loss: Loss| {
            loss.accuracy(&real, &fake)
                .map(|share| (3.0 * share).round())
        };
        assert_eq!(of(Loss::Hinge), [2.0, 1.0]);
        assert_eq!(of(Loss::LeastSquares), [1.0, 3.0]);
        assert_eq!(of(Loss::Relativistic), [2.0, 2.0]);
    }

    #[test]
    fn class_entropy_is_minus_the_log_of_the_softmax() {
        let device = refrain_core::device("cpu").unwrap();
        let of = |values: Vec<f32>| crate::params::tensor(values, &device).reshape([2, 2]);
        let loss = class_entropy(of(vec![1.0, 0.0, 0.0, 3.0]), of(vec![1.0, 0.0, 1.0, 0.0]));
        let expected = ((1.0 + (-1f32).exp()).ln() + (1.0 + 3f32.exp()).ln()) / 2.0;
        assert!((loss.try_into_scalar::<f32>().unwrap() - expected).abs() < 1e-6);
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
