//! Residual generator and discriminator without normalisation.
//!
//! ```text
//! block of the discriminator    x + conv(a(conv(a(x))))          then the mean of each 2 × 2
//! block of the generator        up(x) + conv(a(conv(up(a(x)))))
//! ```
//!
//! `a` is a leaky rectifier; where the channels change, the short way is a 1 × 1 convolution. These
//! are the blocks of SNGAN (Miyato et al. 2018) without batch normalisation, which R3GAN (Huang et
//! al. 2024, <https://arxiv.org/abs/2501.05441>) shows to be needless when the penalties R1 and R2
//! hold the discriminator and the long way starts out small.
//!
//! **When**: images of 32 × 32 and more, where plain stacks of convolutions stop learning. **Cost**:
//! about twice the convolutions of [`ConvGenerator`](crate::ConvGenerator) at the same channels.

use serde::{Deserialize, Serialize};

use crate::conv::halvings;
use crate::plan::Plan;
use crate::players::{Trunk, width};
use crate::{Activation, Error, ImageShape, Result};

/// The gain of a block's last convolution: the long way starts out small.
const SMALL: f32 = 0.25;

/// Noise → matrix → map → blocks that double it → convolution → image.
#[doc(alias = "SNGAN")]
#[doc(alias = "R3GAN")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResidualGenerator {
    /// Numbers of noise per image.
    pub noise: usize,
    /// The first map's sides are at least this long, if the image's are.
    pub base: usize,
    /// Channels of the first map, then of each block. Where there are more blocks than doublings,
    /// the last ones keep the size.
    pub channels: Vec<usize>,
}

impl Default for ResidualGenerator {
    fn default() -> Self {
        Self {
            noise: 64,
            base: 4,
            channels: vec![64, 64, 32],
        }
    }
}

impl ResidualGenerator {
    pub(crate) fn check(&self) -> Result<()> {
        width("generator.noise", self.noise)?;
        width("generator.base", self.base)?;
        channels("generator.channels", &self.channels)
    }

    pub(crate) fn plans(&self, image: ImageShape, inputs: usize, gain: f32) -> Vec<Plan> {
        let mut sizes = halvings(image, self.base, self.channels.len().saturating_sub(1));
        sizes.reverse();
        let mut channels = self.channels.first().copied().unwrap_or(1);
        let to = ImageShape {
            channels,
            height: sizes[0][0],
            width: sizes[0][1],
        };
        let mut plans = vec![Plan::Dense {
            inputs,
            to,
            gain,
            spectral: false,
        }];
        let mut later = sizes.into_iter().skip(1);
        for &next in self.channels.iter().skip(1) {
            let grow = later.next().map(Plan::Resize);
            plans.push(block([channels, next], grow, false));
            channels = next;
        }
        let paint = Plan::conv([channels, image.channels], 3, 1.0, false);
        plans.extend([
            Plan::Activate(Activation::default()),
            paint,
            Plan::Activate(Activation::Sigmoid),
        ]);
        plans
    }
}

/// Image → convolution → blocks, each halved → features.
#[doc(alias = "SNGAN")]
#[doc(alias = "R3GAN")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ResidualDiscriminator {
    /// The last map's sides are at least this long, if the image's are.
    pub base: usize,
    /// Channels of the first convolution, then of each block. Where there are more blocks than
    /// halvings, the first ones keep the size.
    pub channels: Vec<usize>,
    /// Whether every layer's matrix is divided by its largest singular value (Miyato et al. 2018).
    pub spectral: bool,
}

impl Default for ResidualDiscriminator {
    fn default() -> Self {
        Self {
            base: 4,
            channels: vec![32, 64, 64],
            spectral: false,
        }
    }
}

impl ResidualDiscriminator {
    pub(crate) fn check(&self) -> Result<()> {
        width("discriminator.base", self.base)?;
        channels("discriminator.channels", &self.channels)
    }

    pub(crate) fn trunk(&self, image: ImageShape) -> Trunk {
        let blocks = self.channels.len().saturating_sub(1);
        let sizes = halvings(image, self.base, blocks);
        let keep = blocks - (sizes.len() - 1);
        let mut channels = self.channels.first().copied().unwrap_or(1);
        let mut plans = vec![Plan::conv(
            [image.channels, channels],
            3,
            1.0,
            self.spectral,
        )];
        for (i, &next) in self.channels.iter().skip(1).enumerate() {
            plans.push(block([channels, next], None, self.spectral));
            if i >= keep {
                plans.push(Plan::Pool);
            }
            channels = next;
        }
        plans.push(Plan::Activate(Activation::default()));
        let [height, width] = sizes[sizes.len() - 1];
        let features = ImageShape {
            channels,
            height,
            width,
        };
        Trunk { plans, features }
    }
}

fn channels(field: &str, channels: &[usize]) -> Result<()> {
    if channels.is_empty() {
        return Err(Error::config(field, "needs at least one number"));
    }
    channels.iter().try_for_each(|&c| width(field, c))
}

fn block([from, to]: [usize; 2], grow: Option<Plan>, spectral: bool) -> Plan {
    let activation = Activation::default();
    let mut body = vec![Plan::Activate(activation)];
    body.extend(grow.clone());
    body.push(Plan::conv([from, to], 3, activation.gain(), spectral));
    body.push(Plan::Activate(activation));
    body.push(Plan::conv([to, to], 3, SMALL * activation.gain(), spectral));
    let mut skip: Vec<Plan> = grow.into_iter().collect();
    if from != to {
        skip.push(Plan::conv([from, to], 1, 1.0, spectral));
    }
    Plan::Residual { body, skip }
}
