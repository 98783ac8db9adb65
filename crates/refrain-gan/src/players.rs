//! The two players: which networks there are, and how noise, classes and packs enter them.
//!
//! The generator receives its class beside the noise, which is a learnt embedding added to the first
//! layer. The discriminator ends in one logit, to which it adds the score of the image's features
//! under the asked class (projection: Miyato and Koyama 2018, <https://arxiv.org/abs/1802.05637>); or
//! it names the class by a head of its own (auxiliary classifier: Odena et al. 2017,
//! <https://arxiv.org/abs/1610.09585>). It may judge several images of one kind together, stacked as
//! channels (packing: Lin et al. 2018, <https://arxiv.org/abs/1712.04086>): a generator that paints
//! ever the same is found out at once.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::conv::{ConvDiscriminator, ConvGenerator};
use crate::mlp::{MlpDiscriminator, MlpGenerator, Output};
use crate::net::{Dense, Kept, Net, rows};
use crate::plan::{Plan, build, count, dense};
use crate::random::{Purpose, stream};
use crate::residual::{ResidualDiscriminator, ResidualGenerator};
use crate::{Error, ImageShape, Result};

/// The largest width of a layer that is accepted: a mistyped number should not eat the memory.
pub(crate) const WIDEST: usize = 1 << 16;

/// The network that paints.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum GeneratorConfig {
    /// Matrices alone.
    Mlp(MlpGenerator),
    /// Convolutions one after the other.
    Conv(ConvGenerator),
    /// Residual blocks.
    Residual(ResidualGenerator),
}

/// The network that judges.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DiscriminatorConfig {
    /// Matrices alone.
    Mlp(MlpDiscriminator),
    /// Convolutions one after the other.
    Conv(ConvDiscriminator),
    /// Residual blocks.
    Residual(ResidualDiscriminator),
}

macro_rules! from {
    ($($config:ident::$variant:ident($of:ident),)*) => {$(
        impl From<$of> for $config {
            fn from(config: $of) -> Self {
                Self::$variant(config)
            }
        }
    )*};
}

from! {
    GeneratorConfig::Mlp(MlpGenerator),
    GeneratorConfig::Conv(ConvGenerator),
    GeneratorConfig::Residual(ResidualGenerator),
    DiscriminatorConfig::Mlp(MlpDiscriminator),
    DiscriminatorConfig::Conv(ConvDiscriminator),
    DiscriminatorConfig::Residual(ResidualDiscriminator),
}

/// What class labels are for, where the images have some.
#[doc(alias = "cGAN")]
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Conditional {
    /// Nothing: labels are left out.
    None,
    /// The generator paints by class, the discriminator judges the image under its class.
    #[default]
    Projection,
    /// The generator paints by class; the discriminator names the class beside its judgement, and
    /// both players want it to be right.
    #[doc(alias = "ACGAN")]
    Auxiliary {
        /// How much the classification counts: 1 in the paper.
        weight: f32,
    },
}

impl GeneratorConfig {
    /// Numbers of noise per image.
    pub fn noise(&self) -> usize {
        match self {
            Self::Mlp(g) => g.noise,
            Self::Conv(g) => g.noise,
            Self::Residual(g) => g.noise,
        }
    }

    /// What the last layer ends in.
    pub fn output(&self) -> Output {
        match self {
            Self::Mlp(g) => g.output,
            Self::Conv(_) | Self::Residual(_) => Output::Brightness,
        }
    }

    /// How many weights the network has for such images; `None` when that is beyond counting.
    pub fn weights(&self, image: ImageShape, classes: usize) -> Option<usize> {
        count(&self.plans(image, classes))
    }

    fn plans(&self, image: ImageShape, classes: usize) -> Vec<Plan> {
        // Noise and class each bring variance 1 per number of noise: see `Generator::forward`.
        let inputs = self.noise().saturating_add(classes);
        let sources = self.noise() * if classes > 0 { 2 } else { 1 };
        let gain = (inputs as f32 / sources.max(1) as f32).sqrt();
        match self {
            Self::Mlp(g) => g.plans(image, inputs, gain),
            Self::Conv(g) => g.plans(image, inputs, gain),
            Self::Residual(g) => g.plans(image, inputs, gain),
        }
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Mlp(g) => g.check(),
            Self::Conv(g) => g.check(),
            Self::Residual(g) => g.check(),
        }
    }

    /// A network with weights drawn from `seed`.
    pub(crate) fn build(
        &self,
        image: ImageShape,
        classes: usize,
        seed: u64,
        device: &Device,
    ) -> Generator {
        let rng = &mut stream(seed, Purpose::Generator, 0);
        Generator {
            net: build(&self.plans(image, classes), rng, device),
            noise: self.noise(),
        }
    }
}

/// The layers of a discriminator before its heads.
#[derive(Debug)]
pub(crate) struct Trunk {
    pub(crate) plans: Vec<Plan>,
    /// The shape of their result.
    pub(crate) features: ImageShape,
}

/// What a discriminator is built for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Task {
    pub(crate) image: ImageShape,
    pub(crate) classes: usize,
    pub(crate) conditional: Conditional,
    pub(crate) pac: usize,
    pub(crate) output: Output,
}

impl Task {
    /// Outputs of the projection head and of the auxiliary one, 0 where there is none.
    fn heads(&self) -> [usize; 2] {
        match self.conditional {
            Conditional::None => [0, 0],
            Conditional::Projection => [self.classes, 0],
            Conditional::Auxiliary { .. } => [0, self.classes],
        }
    }
}

impl DiscriminatorConfig {
    pub(crate) fn spectral(&self) -> bool {
        match self {
            Self::Mlp(d) => d.spectral,
            Self::Conv(d) => d.spectral,
            Self::Residual(d) => d.spectral,
        }
    }

    fn trunk(&self, task: &Task) -> Trunk {
        let image = ImageShape {
            channels: task.image.channels.saturating_mul(task.pac),
            ..task.image
        };
        match self {
            Self::Mlp(d) => d.trunk(image),
            Self::Conv(d) => d.trunk(image),
            Self::Residual(d) => d.trunk(image),
        }
    }

    /// How many weights the network has; `None` when that is beyond counting.
    pub(crate) fn weights(&self, task: &Task) -> Option<usize> {
        let Trunk { plans, features } = self.trunk(task);
        let [projection, auxiliary] = task.heads();
        let heads = [1, projection, auxiliary].into_iter().filter(|&n| n > 0);
        let heads: Vec<Plan> = heads
            .map(|n| Plan::dense(features.len(), n, 1.0, self.spectral()))
            .collect();
        count(&plans)?.checked_add(count(&heads)?)
    }

    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Self::Mlp(d) => d.check(),
            Self::Conv(d) => d.check(),
            Self::Residual(d) => d.check(),
        }
    }

    /// A network with weights drawn from `seed`.
    pub(crate) fn build(&self, task: &Task, seed: u64, device: &Device) -> Discriminator {
        let rng = &mut stream(seed, Purpose::Discriminator, 0);
        let Trunk { plans, features } = self.trunk(task);
        let trunk = build(&plans, rng, device);
        let mut head = |outputs: usize| {
            let to = ImageShape {
                channels: outputs,
                height: 1,
                width: 1,
            };
            dense(features.len(), to, 1.0, self.spectral(), rng, device)
        };
        let one = head(1);
        let [projection, auxiliary] = task.heads().map(|n| (n > 0).then(|| head(n)));
        Discriminator {
            trunk,
            head: one,
            projection,
            auxiliary,
            centre: task.output == Output::Brightness,
            pac: task.pac,
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
    /// `[batch, channels, height, width]`.
    pub(crate) fn forward(&self, noise: Tensor<4>, class: Option<Tensor<4>>) -> Tensor<4> {
        let input = match class {
            // As loud as all the noise together, so that the class is heard from the start.
            Some(class) => Tensor::cat(vec![noise, class * (self.noise as f64).sqrt()], 1),
            None => noise,
        };
        self.net.forward(input)
    }

    #[cfg(feature = "onnx")]
    pub(crate) fn net(&self) -> &Net {
        &self.net
    }
}

/// The discriminator's network.
#[derive(Module, Debug)]
pub(crate) struct Discriminator {
    trunk: Net,
    head: Dense,
    projection: Option<Dense>,
    auxiliary: Option<Dense>,
    centre: bool, // whether brightness 0..1 is brought to −1..1
    pac: usize,
}

/// What a discriminator says of a batch, and what its input's gradient needs.
#[derive(Debug)]
pub(crate) struct Judged {
    /// `[batch / pac]`, positive for "real".
    pub(crate) logits: Tensor<1>,
    /// The last layer before the heads, `[batch / pac, channels, height, width]`.
    pub(crate) features: Tensor<4>,
    /// Logits of the auxiliary classifier, `[batch, classes]`.
    pub(crate) classes: Option<Tensor<2>>,
    class: Option<Tensor<4>>,
    kept: Vec<Kept>,
}

impl Judged {
    #[cfg(test)]
    pub(crate) fn of_logits(logits: Tensor<1>) -> Self {
        Self {
            features: Tensor::zeros([1; 4], &logits.device()),
            logits,
            classes: None,
            class: None,
            kept: Vec::new(),
        }
    }

    /// The logits, features and classes of parts judged one by one.
    pub(crate) fn cat(parts: Vec<Self>) -> Self {
        let (mut logits, mut features, mut classes) = (Vec::new(), Vec::new(), Vec::new());
        for part in parts {
            logits.push(part.logits);
            features.push(part.features);
            classes.extend(part.classes);
        }
        Self {
            logits: Tensor::cat(logits, 0),
            features: Tensor::cat(features, 0),
            classes: (!classes.is_empty()).then(|| Tensor::cat(classes, 0)),
            class: None,
            kept: Vec::new(),
        }
    }

    /// The same as constants on the tape.
    pub(crate) fn autodiff(self) -> Self {
        Self {
            logits: self.logits.autodiff(),
            features: self.features.autodiff(),
            ..self
        }
    }
}

impl Discriminator {
    /// Judges images `[batch, channels, height, width]`, `batch` a multiple of `pac`; `class` is
    /// one-hot `[batch, classes, 1, 1]`.
    pub(crate) fn judge(&self, images: Tensor<4>, class: Option<Tensor<4>>) -> Judged {
        let [batch, channels, height, width] = images.dims();
        let packs = batch / self.pac;
        let x = images.reshape([packs, channels * self.pac, height, width]);
        let x = if self.centre { x * 2.0 - 1.0 } else { x };
        let (features, kept) = self.trunk.forward_kept(x);
        let mut logits = self.head.forward(features.clone()); // [packs, 1, 1, 1]
        if let (Some(projection), Some(class)) = (&self.projection, &class) {
            let scores = projection.forward(features.clone());
            logits = logits + (scores * class.clone()).sum_dim(1);
        }
        let classes = self.auxiliary.as_ref().map(|auxiliary| {
            let logits = auxiliary.forward(features.clone());
            logits.reshape([packs as i32, -1])
        });
        Judged {
            logits: logits.reshape([packs]),
            features,
            classes,
            class,
            kept,
        }
    }

    /// `∇ₓD(x)` of `count` packs from pack `start` on, `[count, values of a pack]`, on the tape.
    /// `x` is what the first layer sees: images brought to −1..1, so that a penalty's strength means
    /// what it does in the papers.
    pub(crate) fn slope(&self, judged: &Judged, start: usize, count: usize) -> Tensor<2> {
        let [_, channels, height, width] = judged.features.dims();
        let shape = [count, channels, height, width];
        let ones = Tensor::ones([count, 1, 1, 1], &judged.features.device());
        let mut g = self.head.input_gradient(shape, ones);
        if let (Some(projection), Some(class)) = (&self.projection, &judged.class) {
            g = g + projection.input_gradient(shape, class.clone().narrow(0, start, count));
        }
        let kept = rows(&judged.kept, start, count);
        self.trunk
            .input_gradient(&kept, g)
            .reshape([count as i32, -1])
    }

    /// Whether an image's logit depends on the others of its batch, beyond its pack.
    pub(crate) fn mixes_batch(&self) -> bool {
        self.trunk.mixes_batch()
    }

    /// One round of power iteration in every layer with spectral normalisation.
    pub(crate) fn refresh(&mut self) {
        self.trunk.refresh();
        let heads = [
            Some(&mut self.head),
            self.projection.as_mut(),
            self.auxiliary.as_mut(),
        ];
        heads.into_iter().flatten().for_each(Dense::refresh);
    }
}

pub(crate) fn width(field: &str, value: usize) -> Result<()> {
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
#[path = "players_tests.rs"]
mod tests;
