//! Augmentation that the generator learns through, for small sets of images.
//!
//! With few images the discriminator learns them by heart. Showing it both real and painted images
//! only after random changes keeps it from that, and as the changes are differentiable and the same
//! for both sides, the generator does not learn to paint them (DiffAugment: Zhao et al. 2020,
//! <https://arxiv.org/abs/2006.10738>). [`Chance::Adaptive`] applies each change with a chance that
//! rises while the discriminator is too sure of the real images, and falls otherwise (ADA: Karras et
//! al. 2020, <https://arxiv.org/abs/2006.06676>, with the three changes here in place of its eighteen):
//!
//! ```text
//! r = mean sign(D(real))      chance ← chance ± batch / ramp      up when r > target
//! ```
//!
//! Logits of a loss that only compares (relativistic, Wasserstein) have no sign of their own; `r` is
//! then the share of pairs judged rightly less that of those judged wrongly. Those of least squares
//! count from ½ on.
//!
//! **When**: below some thousand images. **Cost**: two small matrix products and a few passes over the
//! pixels.

use burn::tensor::{Tensor, TensorData};
use rand::RngExt;
use refrain_core::rng::Stream;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Which changes images see before they are judged.
///
/// ```
/// use refrain_gan::{Augment, Chance, Gan};
/// let gan = Gan {
///     augment: Some(Augment { chance: Chance::Adaptive { target: 0.6, ramp: 50_000 }, ..Augment::default() }),
///     ..Gan::default()
/// };
/// # assert!(gan.augment.is_some());
/// ```
#[doc(alias = "DiffAugment")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Augment {
    /// Brightness by up to a quarter of the range either way, saturation by a factor of 0 to 2,
    /// contrast by a factor of ½ to 1½.
    pub colour: bool,
    /// Shifts of up to this share of each side, grey coming in; 0 turns them off.
    pub translation: f32,
    /// The sides of a grey rectangle, as shares of the image's; 0 turns it off.
    pub cutout: f32,
    /// How often each of the changes is made.
    pub chance: Chance,
}

/// How often a change is made.
#[doc(alias = "ADA")]
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Chance {
    /// Always the same share of the images, 1 for all.
    Fixed(f32),
    /// From 0 on, up and down after how sure the discriminator is.
    Adaptive {
        /// The wished `r`: 0.6 in the paper, whose loss does not compare.
        target: f32,
        /// In how many images the chance may go from 0 to 1: 500,000 in the paper.
        ramp: u64,
    },
}

impl Default for Augment {
    fn default() -> Self {
        Self {
            colour: true,
            translation: 0.125,
            cutout: 0.5,
            chance: Chance::Fixed(1.0),
        }
    }
}

impl Augment {
    pub(crate) fn check(&self) -> Result<()> {
        let share = |field: &str, value: f32| match (0.0..=1.0).contains(&value) {
            true => Ok(()),
            false => Err(Error::config(field, format!("{value} is not in 0..1"))),
        };
        share("augment.translation", self.translation)?;
        share("augment.cutout", self.cutout)?;
        match self.chance {
            Chance::Fixed(chance) => share("augment.chance", chance),
            Chance::Adaptive { target, ramp } => {
                share("augment.chance.target", target)?;
                match ramp {
                    0 => Err(Error::config("augment.chance.ramp", "must be at least 1")),
                    _ => Ok(()),
                }
            }
        }
    }

    /// The chance of the first step.
    pub(crate) fn first_chance(&self) -> f32 {
        match self.chance {
            Chance::Fixed(chance) => chance,
            Chance::Adaptive { .. } => 0.0,
        }
    }

    /// The chance after a batch of which the share `accuracy` of the real images was taken for real.
    pub(crate) fn next_chance(&self, chance: f32, accuracy: f32, batch: usize) -> f32 {
        match self.chance {
            Chance::Fixed(chance) => chance,
            Chance::Adaptive { target, ramp } => {
                let step = batch as f32 / ramp as f32;
                let sure = 2.0 * accuracy - 1.0 > target;
                (chance + if sure { step } else { -step }).clamp(0.0, 1.0)
            }
        }
    }

    /// Images `[batch, channels, height, width]` of 0..1, each change made with `chance`.
    pub(crate) fn apply(&self, images: Tensor<4>, chance: f32, rng: &mut Stream) -> Tensor<4> {
        let mut x = images * 2.0 - 1.0; // grey is 0
        if self.colour {
            x = colour(x, chance, rng);
        }
        if self.translation > 0.0 {
            x = translate(x, self.translation, chance, rng);
        }
        if self.cutout > 0.0 {
            x = cut_out(x, self.cutout, chance, rng);
        }
        (x + 1.0) * 0.5
    }
}

fn colour(x: Tensor<4>, chance: f32, rng: &mut Stream) -> Tensor<4> {
    let [batch, channels, _, _] = x.dims();
    let device = x.device();
    let mut draw = |neutral: f32, low: f32, high: f32| {
        let values: Vec<f32> = (0..batch)
            .map(|_| match rng.random::<f32>() < chance {
                true => rng.random_range(low..high),
                false => neutral,
            })
            .collect();
        Tensor::<4>::from_data(TensorData::new(values, [batch, 1, 1, 1]), &device)
    };
    let mut x = x + draw(0.0, -0.5, 0.5);
    let saturation = draw(1.0, 0.0, 2.0);
    if channels > 1 {
        let grey = x.clone().mean_dim(1);
        x = (x - grey.clone()) * saturation + grey;
    }
    let mean = x.clone().mean_dim(1).mean_dim(2).mean_dim(3);
    (x - mean.clone()) * draw(1.0, 0.5, 1.5) + mean
}

/// Each image moved by whole pixels: a product with a shifted unit matrix from the right for its
/// columns, and one for its rows.
fn translate(x: Tensor<4>, share: f32, chance: f32, rng: &mut Stream) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let device = x.device();
    let moves: Vec<bool> = (0..batch).map(|_| rng.random::<f32>() < chance).collect();
    let mut shift = |side: usize| -> Tensor<3> {
        let most = (side as f32 * share + 0.5) as i64;
        let mut matrices = vec![0f32; batch * side * side];
        for (matrix, &moves) in matrices.chunks_exact_mut(side * side).zip(&moves) {
            let by = rng.random_range(-most..=most);
            let by = if moves { by } else { 0 };
            for to in 0..side {
                let from = to as i64 - by;
                if (0..side as i64).contains(&from) {
                    matrix[from as usize * side + to] = 1.0;
                }
            }
        }
        Tensor::from_data(TensorData::new(matrices, [batch, side, side]), &device)
    };
    let columns = shift(width);
    let rows = shift(height);
    let x = x.reshape([batch, channels * height, width]).matmul(columns);
    let x = x.reshape([batch, channels, height, width]).swap_dims(2, 3);
    let x = x.reshape([batch, channels * width, height]).matmul(rows);
    x.reshape([batch, channels, width, height]).swap_dims(2, 3)
}

fn cut_out(x: Tensor<4>, share: f32, chance: f32, rng: &mut Stream) -> Tensor<4> {
    let [batch, _, height, width] = x.dims();
    let mut mask = vec![1f32; batch * height * width];
    for image in mask.chunks_exact_mut(height * width) {
        let mut span = |side: usize| {
            let size = (side as f32 * share + 0.5) as usize;
            // The centre is anywhere, so the rectangle may reach over an edge.
            let centre = rng.random_range(0..side + 1 - size % 2);
            centre.saturating_sub(size / 2)..(centre + size - size / 2).min(side)
        };
        let (rows, columns) = (span(height), span(width));
        if rng.random::<f32>() < chance {
            for row in rows {
                image[row * width..][columns.clone()].fill(0.0);
            }
        }
    }
    let mask = TensorData::new(mask, [batch, 1, height, width]);
    let device = x.device();
    x * Tensor::<4>::from_data(mask, &device)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{host, tensor};
    use crate::random::{Purpose, stream};

    fn flat(x: Tensor<4>) -> Vec<f32> {
        let len = x.dims().iter().product::<usize>();
        host(x.reshape([len])).unwrap()
    }

    #[test]
    fn cutout_is_as_likely_on_the_left_as_on_the_right() {
        let device = refrain_core::device("cpu").unwrap();
        let batch = 4_000;
        for (side, share) in [(9, 0.5), (8, 0.5), (5, 0.2)] {
            let ones = Tensor::ones([batch, 1, side, side], &device);
            let cut = flat(cut_out(ones, share, 1.0, &mut stream(1, Purpose::Step, 0)));
            let whole = |at: usize| cut.iter().skip(at).step_by(side).sum::<f32>();
            let rates: Vec<f32> = (0..side)
                .map(|at| 1.0 - whole(at) / (batch * side) as f32)
                .collect();
            for (left, right) in rates.iter().zip(rates.iter().rev()) {
                assert!((left - right).abs() < 0.02, "{side}, {share}: {rates:?}");
            }
            // In the middle the rectangle is cut wherever its centre is near enough.
            assert!(rates[side / 2] > share * share * 0.7);
        }
    }

    #[test]
    fn translation_moves_whole_images_by_whole_pixels() {
        let device = refrain_core::device("cpu").unwrap();
        let (batch, channels, height, width) = (40, 2, 5, 7);
        let values: Vec<f32> = (1..=batch * channels * height * width)
            .map(|v| v as f32)
            .collect();
        let x = tensor(values.clone(), &device).reshape([batch, channels, height, width]);
        let y = flat(translate(x, 0.2, 1.0, &mut stream(1, Purpose::Step, 0)));
        let size = channels * height * width;
        let mut seen = std::collections::BTreeSet::new();
        for (x, y) in values.chunks(size).zip(y.chunks(size)) {
            let matches = |dy: isize, dx: isize| {
                (0..size).all(|at| {
                    let (c, i, j) = (at / (height * width), at / width % height, at % width);
                    let (i, j) = (i as isize - dy, j as isize - dx);
                    let inside =
                        (0..height as isize).contains(&i) && (0..width as isize).contains(&j);
                    let want = match inside {
                        true => x[(c * height + i as usize) * width + j as usize],
                        false => 0.0,
                    };
                    y[at] == want
                })
            };
            let all = (-1..=1).flat_map(|dy| (-1..=1).map(move |dx| (dy, dx)));
            let found: Vec<_> = all.filter(|&(dy, dx)| matches(dy, dx)).collect();
            assert_eq!(found.len(), 1);
            seen.extend(found);
        }
        assert_eq!(seen.len(), 9);
    }

    #[test]
    fn chance_zero_changes_nothing_and_gradients_flow() {
        let device = refrain_core::device("cpu").unwrap().autodiff();
        let values: Vec<f32> = (0..2 * 3 * 16).map(|v| (v % 13) as f32 / 12.0).collect();
        let x = tensor(values.clone(), &device)
            .reshape([2, 3, 4, 4])
            .require_grad();
        let augment = Augment::default();
        let rng = &mut stream(2, Purpose::Step, 0);
        let same = flat(augment.apply(x.clone(), 0.0, rng).inner());
        for (a, b) in values.iter().zip(same) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        let y = augment.apply(x.clone(), 1.0, rng);
        assert!(
            flat(y.clone().inner())
                .iter()
                .zip(&values)
                .any(|(a, b)| (a - b).abs() > 0.05)
        );
        let gradient = flat(x.grad(&y.sum().backward()).unwrap());
        assert!(gradient.iter().any(|g| *g != 0.0));
        // Without the mean colour, what is cut out has no gradient.
        let cut = Augment {
            colour: false,
            ..augment
        };
        let y = cut.apply(x.clone(), 1.0, rng);
        let gradient = flat(x.grad(&y.sum().backward()).unwrap());
        assert!(gradient.contains(&1.0) && gradient.contains(&0.0));
    }

    #[test]
    fn colour_keeps_what_it_says_it_keeps() {
        // Brightness, saturation and contrast are affine: differences between pixels of one channel
        // are scaled by one factor, and the mean moves by the brightness alone.
        let device = refrain_core::device("cpu").unwrap();
        let values = vec![-0.5f32, 0.25, 0.5, 0.75];
        let x = tensor(values.clone(), &device).reshape([1, 1, 2, 2]);
        let y = flat(colour(x, 1.0, &mut stream(3, Purpose::Step, 0)));
        let factor = (y[1] - y[0]) / 0.75;
        assert!((0.5..1.5).contains(&factor));
        for i in 1..4 {
            assert!(((y[i] - y[0]) - factor * (values[i] - values[0])).abs() < 1e-5);
        }
        let shift = (y.iter().sum::<f32>() - values.iter().sum::<f32>()) / 4.0;
        assert!(shift.abs() <= 0.5);
    }

    #[test]
    fn the_adaptive_chance_follows_the_discriminator() {
        let augment = Augment {
            chance: Chance::Adaptive {
                target: 0.6,
                ramp: 640,
            },
            ..Augment::default()
        };
        assert_eq!(augment.first_chance(), 0.0);
        assert_eq!(augment.next_chance(0.5, 0.9, 64), 0.6); // mean sign 0.8
        assert_eq!(augment.next_chance(0.5, 0.7, 64), 0.4); // mean sign 0.4
        assert_eq!(augment.next_chance(0.0, 0.5, 64), 0.0);
        assert_eq!(Augment::default().next_chance(1.0, 0.5, 64), 1.0);
        let wrong = Augment {
            cutout: 1.5,
            ..Augment::default()
        };
        assert_eq!(
            wrong.check().unwrap_err().to_string(),
            "augment.cutout: 1.5 is not in 0..1"
        );
    }
}
