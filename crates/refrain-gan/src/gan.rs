//! The game as one configuration: two networks, a loss, two optimizers.
//!
//! A generative adversarial network (Goodfellow et al. 2014) learns to paint images by a contest:
//! the discriminator learns to tell real images from painted ones, the generator learns to be taken
//! for real. [`Gan::fit`] plays it to the end; [`Trainer`](crate::Trainer) plays it step by step.
//!
//! **When**: to make new images of a kind of which thousands exist. A contest has no loss that goes
//! down, so look at the sheets and at [`metrics`](crate::metrics), not at the losses.
//!
//! **Deterministic**: the same seed, images and configuration give the same bits on the CPU device.
//!
//! **Cost** per step: a discriminator pass with gradient over two batches and its penalty, a generator
//! pass without gradient, and one of each with the gradient for the generator.

use serde::{Deserialize, Serialize};

use refrain_core::{Device, Monitor};

use crate::players::Task;
use crate::{
    Adam, Augment, Conditional, ConvDiscriminator, ConvGenerator, DiscriminatorConfig, Error,
    GanModel, GeneratorConfig, ImageShape, Images, Loss, MlpDiscriminator, MlpGenerator, Output,
    Penalty, Result, Sheets, Trainer,
};

/// A generative adversarial network, before training.
///
/// ```
/// use refrain_gan::{Gan, ImageShape, Images};
/// let device = refrain_core::device("cpu")?;
/// let squares = Images::from_f32(ImageShape::square(1, 4), [0.2, 0.8].repeat(64))?;
/// let gan = Gan { epochs: 1, batch: 4, ..Gan::default() };
/// let model = gan.fit(&squares, &device)?;
/// let painted = model.sample(3, 1)?;
/// assert_eq!((painted.len(), painted.shape()), (3, squares.shape()));
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[doc(alias = "PacGAN")]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gan {
    /// The network that paints.
    pub generator: GeneratorConfig,
    /// The network that judges.
    pub discriminator: DiscriminatorConfig,
    /// The rules of the game.
    pub loss: Loss,
    /// What keeps the discriminator's slope in hand.
    pub penalty: Penalty,
    /// The penalty is computed in every so many steps, and counts for as many (lazy regularisation,
    /// Karras et al. 2020); 1 for all of them.
    #[doc(alias = "lazy regularization")]
    pub penalty_every: u64,
    /// Changes that real and painted images alike see before they are judged.
    pub augment: Option<Augment>,
    /// Images judged together (packing); needs [`Conditional::None`], or images without labels.
    #[doc(alias = "PacGAN")]
    pub pac: usize,
    /// How the generator learns.
    pub generator_adam: Adam,
    /// How the discriminator learns.
    pub discriminator_adam: Adam,
    /// Over which share of all steps, the last ones, both rates fall in a straight line to nothing: 0 for
    /// none of them, 1 for all.
    #[doc(alias = "learning rate schedule")]
    pub decay: f32,
    /// Discriminator updates before each generator update.
    pub discriminator_steps: usize,
    /// The longest memory of the averaged generator, which paints the samples; 0 turns averaging off.
    #[doc(alias = "EMA")]
    pub average: f32,
    /// What class labels are for, where the images have some.
    pub conditional: Conditional,
    /// Images per step; the last, incomplete batch of an epoch is left out.
    pub batch: usize,
    /// Passes over the images.
    pub epochs: usize,
    /// Where all random numbers come from.
    pub seed: u64,
    /// A picture of each epoch and an animated GIF, painted into a folder while training. No file of a
    /// model or a checkpoint knows it.
    #[serde(skip)]
    pub sheets: Option<Sheets>,
}

impl Default for Gan {
    fn default() -> Self {
        Self {
            generator: ConvGenerator::default().into(),
            discriminator: ConvDiscriminator::default().into(),
            loss: Loss::default(),
            penalty: Penalty::default(),
            penalty_every: 1,
            augment: None,
            pac: 1,
            generator_adam: Adam::default(),
            discriminator_adam: Adam::default(),
            decay: 0.0,
            discriminator_steps: 1,
            average: 0.995,
            conditional: Conditional::default(),
            batch: 64,
            epochs: 50,
            seed: 1,
            sheets: None,
        }
    }
}

impl Gan {
    /// Settings for rows of a few numbers, say points in the plane: networks of dense layers, and a slope that
    /// counts a hundredth of an image's. The fewer the numbers, the less it should (the heuristic of
    /// StyleGAN2 has it grow with the pixels): a judge must be steep to tell points a hundredth apart.
    ///
    /// ```
    /// use refrain_gan::{Gan, Mixture};
    /// let ring = Mixture::ring(); // eight small clouds, found by 20,000 steps
    /// let gan = Gan { epochs: 4, batch: 32, ..Gan::points() };
    /// let model = gan.fit(&ring.sample(400, 1)?, &refrain_core::device("cpu")?)?;
    /// let painted = model.sample(100, 1)?;
    /// assert_eq!(painted.image(99).len(), 2); // x and y
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn points() -> Self {
        let hidden = vec![128; 3];
        Self {
            generator: MlpGenerator {
                noise: 8,
                hidden: hidden.clone(),
                output: Output::Any,
                ..MlpGenerator::default()
            }
            .into(),
            discriminator: MlpDiscriminator {
                hidden,
                ..MlpDiscriminator::default()
            }
            .into(),
            penalty: Penalty::R1R2 { gamma: 1e-3 },
            average: 0.999,
            batch: 128,
            ..Self::default()
        }
    }

    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that cannot work, [`Error::Empty`] without images,
    /// [`Error::Diverged`] when a loss is no longer a number; with `sheets`, also [`Error::Picture`] for
    /// images that cannot be drawn and [`refrain_core::Error::Io`].
    pub fn fit(&self, images: &Images, device: &Device) -> Result<GanModel> {
        self.fit_with(images, device, &Monitor::silent())
    }

    /// Trains to the end, telling `monitor` the losses and the discriminator's accuracy.
    ///
    /// # Errors
    /// As [`Gan::fit`], and [`refrain_core::Error::Cancelled`].
    pub fn fit_with(
        &self,
        images: &Images,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<GanModel> {
        let mut trainer = self.trainer(images, device)?;
        trainer.run(monitor)?;
        Ok(trainer.into_model())
    }

    /// A trainer before its first step, for a loop of your own. With `sheets`, the first one is painted now.
    ///
    /// # Errors
    /// As [`Gan::fit`].
    pub fn trainer(&self, images: &Images, device: &Device) -> Result<Trainer> {
        Trainer::new(self.clone(), images, device)
    }

    pub(crate) fn check(&self) -> Result<()> {
        self.generator.check()?;
        self.discriminator.check()?;
        self.loss.check()?;
        self.penalty.check()?;
        self.generator_adam.check("generator_adam")?;
        self.discriminator_adam.check("discriminator_adam")?;
        let counts = [
            ("discriminator_steps", self.discriminator_steps),
            ("penalty_every", self.penalty_every as usize),
            ("pac", self.pac),
            ("batch", self.batch),
            ("epochs", self.epochs),
        ];
        for (field, count) in counts {
            if count == 0 {
                return Err(Error::config(field, "must be at least 1"));
            }
        }
        if self.pac > self.batch {
            let reason = format!(
                "{} images do not fit into a batch of {}",
                self.pac, self.batch
            );
            return Err(Error::config("pac", reason));
        }
        if let Some(augment) = &self.augment {
            augment.check()?;
            if self.generator.output() == Output::Any {
                return Err(Error::config(
                    "augment",
                    "is for images of brightness 0 to 1",
                ));
            }
        }
        if let Conditional::Auxiliary { weight } = self.conditional
            && !(weight.is_finite() && weight > 0.0)
        {
            let reason = format!("{weight} is not a positive number");
            return Err(Error::config("conditional.weight", reason));
        }
        let unbound = self.penalty == Penalty::None && !self.discriminator.spectral();
        if self.loss == Loss::Wasserstein && unbound {
            return Err(Error::config(
                "penalty",
                "a Wasserstein critic without a bound grows for ever: use `Penalty::GradientPenalty` \
                 or `WeightClip`, or a discriminator with `spectral`",
            ));
        }
        if matches!(self.penalty, Penalty::WeightClip { .. }) && self.discriminator.spectral() {
            return Err(Error::config(
                "penalty",
                "clipped weights and spectral normalisation exclude each other",
            ));
        }
        if !(0.0..=1.0).contains(&self.decay) {
            let reason = format!("{} is not in 0..=1", self.decay);
            return Err(Error::config("decay", reason));
        }
        if !(0.0..1.0).contains(&self.average) {
            return Err(Error::config(
                "average",
                format!("{} is not in 0..1", self.average),
            ));
        }
        Ok(())
    }

    /// What is left of the rates at a step, counted from 0, of so many. Steps beyond those are as the last.
    pub(crate) fn rate_share(&self, step: u64, steps: u64) -> f64 {
        let falling = f64::from(self.decay) * steps as f64;
        let left = steps.saturating_sub(step).max(1) as f64;
        (left / falling).min(1.0) // infinite where none fall
    }

    /// How many classes are painted: 0 where classes play no part.
    pub(crate) fn classes(&self, images: &Images) -> usize {
        match self.conditional {
            Conditional::None => 0,
            _ => images.classes(),
        }
    }

    /// What the discriminator is built for.
    pub(crate) fn task(&self, image: ImageShape, classes: usize) -> Task {
        Task {
            image,
            classes,
            conditional: self.conditional,
            pac: self.pac,
            output: self.generator.output(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{MlpDiscriminator, MlpGenerator, ResidualDiscriminator};

    #[test]
    fn each_unusable_setting_is_named() {
        type Spoil = fn(&mut Gan);
        let cases: [(&str, Spoil); 17] = [
            ("batch", |g| g.batch = 0),
            ("epochs", |g| g.epochs = 0),
            ("discriminator_steps", |g| g.discriminator_steps = 0),
            ("penalty_every", |g| g.penalty_every = 0),
            ("pac", |g| g.pac = 0),
            ("pac", |g| g.pac = 65),
            ("average", |g| g.average = 1.0),
            ("decay", |g| g.decay = f32::NAN),
            ("penalty.gamma", |g| g.penalty = Penalty::R1 { gamma: -1.0 }),
            ("augment.cutout", |g| {
                let cutout = f32::NAN;
                g.augment = Some(Augment {
                    cutout,
                    ..Augment::default()
                });
            }),
            ("augment", |g| {
                let output = Output::Any;
                g.generator = MlpGenerator {
                    output,
                    ..Default::default()
                }
                .into();
                g.augment = Some(Augment::default());
            }),
            ("conditional.weight", |g| {
                g.conditional = Conditional::Auxiliary { weight: 0.0 }
            }),
            ("penalty", |g| {
                g.penalty = Penalty::WeightClip { limit: 0.01 };
                g.discriminator = MlpDiscriminator {
                    spectral: true,
                    ..Default::default()
                }
                .into();
            }),
            ("penalty", |g| {
                (g.loss, g.penalty) = (Loss::Wasserstein, Penalty::None);
            }),
            ("generator_adam.rate", |g| g.generator_adam.rate = 0.0),
            ("generator.noise", |g| {
                g.generator = ConvGenerator {
                    noise: 0,
                    ..Default::default()
                }
                .into();
            }),
            ("discriminator.channels", |g| {
                g.discriminator = ResidualDiscriminator {
                    channels: vec![],
                    ..Default::default()
                }
                .into();
            }),
        ];
        for (field, spoil) in cases {
            let mut gan = Gan::default();
            spoil(&mut gan);
            let message = gan.check().unwrap_err().to_string();
            assert!(message.starts_with(field), "{message}");
        }
        Gan::default().check().unwrap();
    }
}
