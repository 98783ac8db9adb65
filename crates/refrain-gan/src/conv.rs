//! The convolutional generator and discriminator.
//!
//! The generator turns noise into a small map by one matrix, then doubles the map and convolves
//! until it is an image (Radford, Metz and Chintala 2016, <https://arxiv.org/abs/1511.06434>, with
//! resizing and a convolution in place of the transposed convolution, which leaves a checkerboard:
//! Odena et al. 2016). The discriminator goes the other way with strided convolutions, and ends in
//! one logit. With class labels the generator receives the class beside the noise, and the
//! discriminator adds to its logit the score of the image's features under the asked class
//! (projection: Miyato and Koyama 2018, <https://arxiv.org/abs/1802.05637>).
//!
//! Sizes need not be powers of two. Sides are halved, rounding up, as long as they stay at least
//! `base` pixels and there is a convolution left; the generator walks the same sizes upward. An
//! image of 28 × 28 grows 4 → 7 → 14 → 28, one of 30 × 20 grows 8 × 5 → 15 × 10 → 30 × 20, one of
//! 5 × 5 is painted at its size.
//!
//! **Cost** per image and step: 2 · 9 · channels in · channels out · pixels for each convolution,
//! three times that with the gradient.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::net::{Conv, Dense, Layer, Net, Resize, leaky_gain};
use crate::random::{Purpose, stream};
use crate::{Error, ImageShape, Result};

/// The slope of every leaky rectifier on the negative side.
const SLOPE: f64 = 0.2;

/// The largest width of a layer that is accepted: a mistyped number should not eat the memory.
const WIDEST: usize = 1 << 16;

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

    /// How many weights the network has for such images; `None` when that is beyond counting.
    pub fn weights(&self, image: ImageShape, classes: usize) -> Option<usize> {
        let [height, width] = *self.sizes(image).first()?;
        let base = self.base_channels.checked_mul(height)?.checked_mul(width)?;
        let dense = self
            .noise
            .checked_add(classes)?
            .checked_add(1)?
            .checked_mul(base)?;
        let mut channels = self.base_channels;
        let all = self.channels.iter().chain([&image.channels]);
        all.copied().try_fold(dense, |sum, next| {
            sum.checked_add(conv_weights(&mut channels, next)?)
        })
    }

    pub(crate) fn check(&self) -> Result<()> {
        width("generator.noise", self.noise)?;
        width("generator.base", self.base)?;
        width("generator.base_channels", self.base_channels)?;
        self.channels
            .iter()
            .try_for_each(|&c| width("generator.channels", c))
    }

    /// A network with weights drawn from `seed`.
    pub(crate) fn build(
        &self,
        image: ImageShape,
        classes: usize,
        seed: u64,
        d: &Device,
    ) -> Generator {
        let rng = &mut stream(seed, Purpose::Generator, 0);
        let gain = leaky_gain(SLOPE);
        let sizes = self.sizes(image);
        let [height, width] = sizes[0];
        let base = ImageShape {
            channels: self.base_channels,
            height,
            width,
        };
        // Noise and class each bring variance 1 per number of noise: see `Generator::forward`.
        let inputs = self.noise + classes;
        let sources = if classes > 0 {
            2 * self.noise
        } else {
            self.noise
        };
        let dense_gain = gain * (inputs as f32 / sources as f32).sqrt();

        let mut layers = Vec::new();
        let hidden = |layers: &mut Vec<Layer>, layer: Layer| {
            layers.extend([layer, Layer::leaky_relu(SLOPE)]);
            if self.norm == Norm::Pixel {
                layers.push(Layer::pixel_norm());
            }
        };
        hidden(
            &mut layers,
            Layer::Dense(Dense::new(inputs, base, dense_gain, rng, d)),
        );
        let mut channels = self.base_channels;
        let mut later = sizes.into_iter().skip(1);
        for &next in &self.channels {
            layers.extend(later.next().map(|size| Layer::Resize(Resize::new(size))));
            hidden(
                &mut layers,
                Layer::Conv(Conv::new([channels, next], 1, gain, rng, d)),
            );
            channels = next;
        }
        layers.extend(later.next().map(|size| Layer::Resize(Resize::new(size))));
        let paint = Conv::new([channels, image.channels], 1, 1.0, rng, d);
        layers.extend([Layer::Conv(paint), Layer::sigmoid()]);
        Generator {
            net: Net::new(layers),
            noise: self.noise,
        }
    }
}

/// Image → (convolution, halving) … → matrix → logit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ConvDiscriminator {
    /// The last map's sides are at least this long, if the image's are.
    pub base: usize,
    /// Channels after each convolution. Where there are more convolutions than halvings, the
    /// first ones keep the size.
    pub channels: Vec<usize>,
}

impl Default for ConvDiscriminator {
    fn default() -> Self {
        Self {
            base: 4,
            channels: vec![32, 64],
        }
    }
}

impl ConvDiscriminator {
    /// The sizes `[height, width]` that the map takes, the image first.
    pub fn sizes(&self, image: ImageShape) -> Vec<[usize; 2]> {
        halvings(image, self.base, self.channels.len())
    }

    /// How many weights the network has for such images; `None` when that is beyond counting.
    pub fn weights(&self, image: ImageShape, classes: usize) -> Option<usize> {
        let mut channels = image.channels;
        let mut trunk = self.channels.iter();
        let trunk = trunk.try_fold(0usize, |sum, &next| {
            sum.checked_add(conv_weights(&mut channels, next)?)
        })?;
        let [height, width] = *self.sizes(image).last()?;
        let features = channels
            .checked_mul(height)?
            .checked_mul(width)?
            .checked_add(1)?;
        trunk.checked_add(features.checked_mul(classes.checked_add(1)?)?)
    }

    pub(crate) fn check(&self) -> Result<()> {
        width("discriminator.base", self.base)?;
        self.channels
            .iter()
            .try_for_each(|&c| width("discriminator.channels", c))
    }

    /// A network with weights drawn from `seed`.
    pub(crate) fn build(
        &self,
        image: ImageShape,
        classes: usize,
        seed: u64,
        d: &Device,
    ) -> Discriminator {
        let rng = &mut stream(seed, Purpose::Discriminator, 0);
        let gain = leaky_gain(SLOPE);
        let sizes = self.sizes(image);
        let keep = self.channels.len() - (sizes.len() - 1);
        let mut layers = Vec::new();
        let mut channels = image.channels;
        for (i, &next) in self.channels.iter().enumerate() {
            let stride = if i < keep { 1 } else { 2 };
            layers.push(Layer::Conv(Conv::new(
                [channels, next],
                stride,
                gain,
                rng,
                d,
            )));
            layers.push(Layer::leaky_relu(SLOPE));
            channels = next;
        }
        let [height, width] = sizes[sizes.len() - 1];
        let features = ImageShape {
            channels,
            height,
            width,
        }
        .len();
        let one = |channels| ImageShape {
            channels,
            height: 1,
            width: 1,
        };
        Discriminator {
            trunk: Net::new(layers),
            head: Dense::new(features, one(1), 1.0, rng, d),
            classes: (classes > 0).then(|| Dense::new(features, one(classes), 1.0, rng, d)),
        }
    }
}

/// The generator's network.
#[derive(Module, Debug)]
pub(crate) struct Generator {
    net: Net,
    noise: usize,
}

impl Generator {
    /// `noise` is `[batch, noise, 1, 1]`, `class` one-hot `[batch, classes, 1, 1]`; the images are
    /// `[batch, channels, height, width]` between 0 and 1.
    pub(crate) fn forward(&self, noise: Tensor<4>, class: Option<Tensor<4>>) -> Tensor<4> {
        let input = match class {
            // As loud as all the noise together, so that the class is heard from the start.
            Some(class) => Tensor::cat(vec![noise, class * (self.noise as f64).sqrt()], 1),
            None => noise,
        };
        self.net.forward(input)
    }
}

/// The discriminator's network.
#[derive(Module, Debug)]
pub(crate) struct Discriminator {
    trunk: Net,
    head: Dense,
    classes: Option<Dense>,
}

impl Discriminator {
    /// Logits `[batch]`, positive for "real", of images between 0 and 1.
    pub(crate) fn forward(&self, images: Tensor<4>, class: Option<Tensor<4>>) -> Tensor<1> {
        let features = self.trunk.forward(images * 2.0 - 1.0);
        let mut logits = self.head.forward(features.clone()); // [batch, 1, 1, 1]
        if let (Some(classes), Some(class)) = (&self.classes, class) {
            logits = logits + (classes.forward(features) * class).sum_dim(1);
        }
        let batch = logits.dims()[0];
        logits.reshape([batch])
    }
}

/// The sizes an image takes when its sides are halved, rounding up, while they stay at least `base`
/// and at most `most` times; the image's own size first.
fn halvings(image: ImageShape, base: usize, most: usize) -> Vec<[usize; 2]> {
    let mut size = [image.height, image.width];
    let mut sizes = vec![size];
    while sizes.len() <= most {
        let half = size.map(|side| side.div_ceil(2));
        if half.iter().any(|&side| side < base) || half == size {
            break;
        }
        size = half;
        sizes.push(size);
    }
    sizes
}

/// Weights of a convolution from `channels` to `next`, which becomes the new `channels`.
fn conv_weights(channels: &mut usize, next: usize) -> Option<usize> {
    let weights = channels.checked_mul(9)?.checked_add(1)?.checked_mul(next);
    *channels = next;
    weights
}

fn width(field: &str, value: usize) -> Result<()> {
    match value {
        0 => Err(Error::config(field, "must be at least 1")),
        _ if value > WIDEST => Err(Error::config(
            field,
            format!("{value} is more than {WIDEST}, the most allowed"),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(of(256, 256), [[32, 32], [64, 64], [128, 128], [256, 256]]);
    }

    #[test]
    fn every_size_is_painted_and_judged() {
        let device = refrain_core::device("cpu").unwrap();
        let (g, d) = (ConvGenerator::default(), ConvDiscriminator::default());
        let small = ConvGenerator {
            noise: 3,
            base_channels: 2,
            channels: vec![3, 2],
            ..g
        };
        let critic = ConvDiscriminator {
            channels: vec![2, 3],
            ..d
        };
        for (height, width) in [(1, 1), (2, 3), (5, 5), (8, 8), (12, 7), (16, 16), (28, 28)] {
            for (channels, classes) in [(1, 0), (3, 4)] {
                let shape = ImageShape {
                    channels,
                    height,
                    width,
                };
                let g = small.build(shape, classes, 1, &device);
                let d = critic.build(shape, classes, 1, &device);
                assert_eq!(small.weights(shape, classes), Some(g.num_params()));
                assert_eq!(critic.weights(shape, classes), Some(d.num_params()));
                let noise = Tensor::<4>::ones([2, 3, 1, 1], &device);
                let class = (classes > 0).then(|| Tensor::<4>::ones([2, classes, 1, 1], &device));
                let images = g.forward(noise, class.clone());
                assert_eq!(images.dims(), [2, channels, height, width]);
                let logits = d.forward(images, class);
                assert_eq!(logits.dims(), [2]);
            }
        }
    }

    #[test]
    fn first_activations_are_neither_tiny_nor_huge() {
        let device = refrain_core::device("cpu").unwrap();
        let shape = ImageShape::square(1, 8);
        let noise = crate::random::normal(&mut stream(3, Purpose::Step, 0), 64 * 64);
        let noise = Tensor::<4>::from_data(
            burn::tensor::TensorData::new(noise, [64, 64, 1, 1]),
            &device,
        );
        let images = ConvGenerator::default()
            .build(shape, 0, 5, &device)
            .forward(noise, None);
        let logits = ConvDiscriminator::default()
            .build(shape, 0, 5, &device)
            .forward(images, None);
        let spread: f32 = logits.var(0).sqrt().try_into_scalar().unwrap();
        assert!((0.02..5.0).contains(&spread), "{spread}");
    }

    #[test]
    fn zero_widths_are_refused() {
        let error = ConvGenerator {
            noise: 0,
            ..Default::default()
        }
        .check()
        .unwrap_err();
        assert_eq!(error.to_string(), "generator.noise: must be at least 1");
        assert!(
            ConvDiscriminator {
                channels: vec![4, 0],
                ..Default::default()
            }
            .check()
            .is_err()
        );
        assert!(
            ConvDiscriminator {
                channels: vec![1 << 40],
                ..Default::default()
            }
            .check()
            .is_err()
        );
    }
}
