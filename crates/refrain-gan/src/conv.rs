//! The convolutional generator and discriminator.
//!
//! The generator turns noise into a small map by one matrix, then doubles the map and convolves
//! until it is an image (Radford, Metz and Chintala 2016, <https://arxiv.org/abs/1511.06434>; by
//! default with resizing and a convolution in place of the transposed convolution, which leaves a
//! checkerboard: Odena et al. 2016). The discriminator goes the other way with strided convolutions.
//!
//! Sizes need not be powers of two. Sides are halved, rounding up, as long as they stay at least
//! `base` pixels and there is a convolution left; the generator walks the same sizes upward. An
//! image of 28 × 28 grows 4 → 7 → 14 → 28, one of 30 × 20 grows 8 × 5 → 15 × 10 → 30 × 20, one of
//! 5 × 5 is painted at its size. A side of one pixel stays: an image of 1 × 32 grows 1 × 4 → 1 × 8 → 1 × 16 →
//! 1 × 32, so sequences are images one pixel high with as many channels as there are numbers at a time, and
//! are convolved over time alone. (The kernels' rows above and below see zeros there; the first weights are
//! as for kernels without them.)
//!
//! **Cost** per image and step: 2 · 9 · channels in · channels out · pixels for each convolution,
//! three times that with the gradient.

use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::players::{Trunk, width};
use crate::{Activation, ImageShape, Result};

/// What keeps the size of the generator's activations in hand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Norm {
    /// Nothing.
    None,
    /// Every pixel's channels are brought to mean square 1 (Karras et al. 2018). No batch is
    /// involved, so training and use agree.
    #[default]
    Pixel,
}

/// How a generator's map grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Upsample {
    /// Nearest neighbour resizing, then a 3 × 3 convolution.
    #[default]
    Resize,
    /// A transposed 4 × 4 convolution of stride 2.
    Transposed,
}

/// Noise → matrix → map → (resize, convolution) … → image.
///
/// The shape of the common tutorial, noise 100 → 256 values as 8×8×4 → 128 → 64 → colour at 64×64:
/// ```
/// use refrain_gan::{ConvGenerator, ImageShape};
/// let tutorial = ConvGenerator {
///     noise: 100,
///     base: 8,
///     base_channels: 4,
///     channels: vec![128, 64],
///     ..ConvGenerator::default()
/// };
/// assert_eq!(tutorial.sizes(ImageShape::square(3, 64)), [[8, 8], [16, 16], [32, 32], [64, 64]]);
/// ```
#[doc(alias = "DCGAN")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConvGenerator {
    /// Numbers of noise per image.
    pub noise: usize,
    /// The first map's sides are at least this long, if the image's are.
    pub base: usize,
    /// Channels of the first map.
    pub base_channels: usize,
    /// Channels after each hidden convolution; one more convolution paints the image.
    pub channels: Vec<usize>,
    /// How the map grows.
    pub upsample: Upsample,
    /// What follows each hidden layer.
    pub norm: Norm,
}

impl Default for ConvGenerator {
    fn default() -> Self {
        Self {
            noise: 64,
            base: 4,
            base_channels: 64,
            channels: vec![64, 32],
            upsample: Upsample::Resize,
            norm: Norm::Pixel,
        }
    }
}

impl ConvGenerator {
    /// The sizes `[height, width]` that the map takes, the first map first and the image last.
    pub fn sizes(&self, image: ImageShape) -> Vec<[usize; 2]> {
        let mut sizes = halvings(image, self.base, self.channels.len() + 1);
        sizes.reverse();
        sizes
    }

    pub(crate) fn check(&self) -> Result<()> {
        width("generator.noise", self.noise)?;
        width("generator.base", self.base)?;
        width("generator.base_channels", self.base_channels)?;
        self.channels
            .iter()
            .try_for_each(|&c| width("generator.channels", c))
    }

    pub(crate) fn plans(&self, image: ImageShape, inputs: usize, gain: f32) -> Vec<Plan> {
        let activation = Activation::default();
        let hidden_gain = activation.gain() * self.seen(image);
        let sizes = self.sizes(image);
        let to = ImageShape {
            channels: self.base_channels,
            height: sizes[0][0],
            width: sizes[0][1],
        };
        let mut plans = vec![Plan::Dense {
            inputs,
            to,
            gain: gain * activation.gain(),
            spectral: false,
        }];
        let mut channels = self.base_channels;
        let mut later = sizes.into_iter().skip(1);
        for &next in &self.channels {
            plans.extend(hidden(self.norm));
            let grow = later.next();
            plans.extend(self.grow([channels, next], grow, hidden_gain));
            channels = next;
        }
        plans.extend(hidden(self.norm));
        plans.extend(self.grow([channels, image.channels], later.next(), self.seen(image)));
        plans.push(Plan::Activate(Activation::Sigmoid));
        plans
    }

    fn seen(&self, image: ImageShape) -> f32 {
        beside(
            image,
            if self.upsample == Upsample::Transposed {
                2
            } else {
                3
            },
        )
    }

    fn grow(&self, channels: [usize; 2], to: Option<[usize; 2]>, gain: f32) -> Vec<Plan> {
        match (to, self.upsample) {
            (Some(to), Upsample::Transposed) => vec![Plan::Transposed { channels, to, gain }],
            (Some(to), Upsample::Resize) => {
                vec![Plan::Resize(to), Plan::conv(channels, 3, gain, false)]
            }
            (None, _) => vec![Plan::conv(channels, 3, gain, false)],
        }
    }
}

/// What follows a hidden layer of a generator.
pub(crate) fn hidden(norm: Norm) -> Vec<Plan> {
    let mut plans = vec![Plan::Activate(Activation::default())];
    if norm == Norm::Pixel {
        plans.push(Plan::PixelNorm);
    }
    plans
}

/// Image → (convolution, halving) … → features.
#[doc(alias = "DCGAN")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConvDiscriminator {
    /// The last map's sides are at least this long, if the image's are.
    pub base: usize,
    /// Channels after each convolution. Where there are more convolutions than halvings, the
    /// first ones keep the size.
    pub channels: Vec<usize>,
    /// What follows each convolution.
    pub activation: Activation,
    /// Whether every layer's matrix is divided by its largest singular value (Miyato et al. 2018).
    pub spectral: bool,
    /// Whether the discriminator sees how much the images of a batch differ (Karras et al. 2018).
    /// Such a layer's gradient for one image depends on the others, so gradient penalties refuse it.
    pub batch_spread: bool,
}

impl Default for ConvDiscriminator {
    fn default() -> Self {
        Self {
            base: 4,
            channels: vec![32, 64],
            activation: Activation::default(),
            spectral: false,
            batch_spread: false,
        }
    }
}

impl ConvDiscriminator {
    /// The sizes `[height, width]` that the map takes, the image first.
    pub fn sizes(&self, image: ImageShape) -> Vec<[usize; 2]> {
        halvings(image, self.base, self.channels.len())
    }

    pub(crate) fn check(&self) -> Result<()> {
        width("discriminator.base", self.base)?;
        self.activation.check("discriminator.activation")?;
        self.channels
            .iter()
            .try_for_each(|&c| width("discriminator.channels", c))
    }

    pub(crate) fn trunk(&self, image: ImageShape) -> Trunk {
        let sizes = self.sizes(image);
        let keep = self.channels.len() - (sizes.len() - 1);
        let mut plans = Vec::new();
        let mut channels = image.channels;
        for (i, &next) in self.channels.iter().enumerate() {
            plans.push(Plan::Conv {
                channels: [channels, next],
                kernel: 3,
                stride: if i < keep { 1 } else { 2 },
                gain: self.activation.gain() * beside(image, 3),
                spectral: self.spectral,
            });
            plans.push(Plan::Activate(self.activation));
            channels = next;
        }
        if self.batch_spread {
            plans.push(Plan::BatchSpread);
            channels = channels.saturating_add(1);
        }
        let [height, width] = sizes[sizes.len() - 1];
        let features = ImageShape {
            channels,
            height,
            width,
        };
        Trunk { plans, features }
    }
}

/// What makes up in first weights for the lines of a kernel that lie beside an image of one line, `lines` of
/// them for each that sees it.
fn beside(image: ImageShape, lines: u8) -> f32 {
    let sides = [image.height, image.width].into_iter();
    sides
        .filter(|&side| side == 1)
        .map(|_| f32::from(lines).sqrt())
        .product()
}

/// The sizes an image takes when its sides are halved, rounding up, while they stay at least `base` (those
/// of one pixel stay) and at most `most` times; the image's own size first.
pub(crate) fn halvings(image: ImageShape, base: usize, most: usize) -> Vec<[usize; 2]> {
    let mut size = [image.height, image.width];
    let mut sizes = vec![size];
    while sizes.len() <= most {
        let half = size.map(|side| side.div_ceil(2));
        let short = |(&half, &side): (&usize, &usize)| side > 1 && half < base;
        if half.iter().zip(&size).any(short) || half == size {
            break;
        }
        size = half;
        sizes.push(size);
    }
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::params::{host, tensor};
    use crate::plan::build;
    use crate::random::{Purpose, normal, stream};

    #[test]
    fn sizes_of_common_images() {
        let g = ConvGenerator::default();
        let of = |h, w| {
            g.sizes(ImageShape {
                channels: 1,
                height: h,
                width: w,
            })
        };
        assert_eq!(of(8, 8), [[4, 4], [8, 8]]);
        assert_eq!(of(28, 28), [[4, 4], [7, 7], [14, 14], [28, 28]]);
        assert_eq!(of(30, 20), [[8, 5], [15, 10], [30, 20]]);
        assert_eq!(of(5, 5), [[5, 5]]);
        assert_eq!(of(1, 1), [[1, 1]]);
        assert_eq!(of(1, 32), [[1, 4], [1, 8], [1, 16], [1, 32]]);
        assert_eq!(of(20, 1), [[5, 1], [10, 1], [20, 1]]);
        assert_eq!(of(256, 256), [[32, 32], [64, 64], [128, 128], [256, 256]]);
    }

    /// At first a layer's results vary as much in an image of one line as in a square: `0.8..1.25` times.
    #[test]
    fn first_weights_fit_images_of_one_line() {
        let device = refrain_core::device("cpu").unwrap();
        let deviation = |height: usize, upsample| {
            let image = ImageShape {
                channels: 40,
                height,
                width: 32,
            };
            let g = ConvGenerator {
                upsample,
                norm: Norm::None,
                ..ConvGenerator::default()
            };
            let mut plans = g.plans(image, 64, 1.0);
            plans.pop(); // the sigmoid
            let rng = &mut stream(3, Purpose::Generator, 0);
            let net = build(&plans, rng, &device);
            let noise = tensor(normal(rng, 40 * 64), &device).reshape([40, 64, 1, 1]);
            let y = net.forward(noise);
            let len = y.dims().iter().product::<usize>();
            let y = host(y.reshape([len])).unwrap();
            (y.iter().map(|v| v * v).sum::<f32>() / len as f32).sqrt()
        };
        for upsample in [Upsample::Resize, Upsample::Transposed] {
            let ratio = deviation(1, upsample) / deviation(32, upsample);
            assert!((0.8..1.25).contains(&ratio), "{ratio}");
        }
        let d = ConvDiscriminator::default();
        let deviation = |height: usize| {
            let image = ImageShape {
                channels: 40,
                height,
                width: 32,
            };
            let rng = &mut stream(3, Purpose::Discriminator, 0);
            let net = build(&d.trunk(image).plans, rng, &device);
            let shape = [40, 40, height, 32];
            let x = normal(rng, shape.iter().product());
            let y = net.forward(tensor(x, &device).reshape(shape));
            let len = y.dims().iter().product::<usize>();
            let y = host(y.reshape([len])).unwrap();
            (y.iter().map(|v| v * v).sum::<f32>() / len as f32).sqrt()
        };
        let ratio = deviation(1) / deviation(32);
        assert!((0.8..1.25).contains(&ratio), "{ratio}");
    }
}
