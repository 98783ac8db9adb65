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
//! **Cost** per step: a discriminator pass with gradient over 2 to 3 batches, a generator pass without
//! gradient, and one of each with the gradient for the generator.

use serde::{Deserialize, Serialize};

use refrain_core::{Device, Monitor};

use crate::{
    Adam, ConvDiscriminator, ConvGenerator, Error, GanModel, Images, Loss, Penalty, Result, Trainer,
};

/// A generative adversarial network of convolutions, before training.
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gan {
    /// The network that paints.
    pub generator: ConvGenerator,
    /// The network that judges.
    pub discriminator: ConvDiscriminator,
    /// The rules of the game.
    pub loss: Loss,
    /// What keeps the discriminator's slope in hand.
    pub penalty: Penalty,
    /// How the generator learns.
    pub generator_adam: Adam,
    /// How the discriminator learns.
    pub discriminator_adam: Adam,
    /// Discriminator updates before each generator update.
    pub discriminator_steps: usize,
    /// The longest memory of the averaged generator, which paints the samples; 0 turns averaging off.
    pub average: f32,
    /// Whether to paint by class, where the images have labels.
    pub conditional: bool,
    /// Images per step; the last, incomplete batch of an epoch is left out.
    pub batch: usize,
    /// Passes over the images.
    pub epochs: usize,
    /// Where all random numbers come from.
    pub seed: u64,
}

impl Default for Gan {
    fn default() -> Self {
        Self {
            generator: ConvGenerator::default(),
            discriminator: ConvDiscriminator::default(),
            loss: Loss::default(),
            penalty: Penalty::default(),
            generator_adam: Adam::default(),
            discriminator_adam: Adam::default(),
            discriminator_steps: 1,
            average: 0.995,
            conditional: true,
            batch: 64,
            epochs: 50,
            seed: 1,
        }
    }
}

impl Gan {
    /// Trains to the end.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that cannot work, [`Error::Empty`] without images,
    /// [`Error::Diverged`] when a loss is no longer a number.
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

    /// A trainer before its first step, for a loop of your own.
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
            ("batch", self.batch),
            ("epochs", self.epochs),
        ];
        for (field, count) in counts {
            if count == 0 {
                return Err(Error::config(field, "must be at least 1"));
            }
        }
        if !(0.0..1.0).contains(&self.average) {
            return Err(Error::config(
                "average",
                format!("{} is not in 0..1", self.average),
            ));
        }
        Ok(())
    }

    /// How many classes are painted: 0 where classes play no part.
    pub(crate) fn classes(&self, images: &Images) -> usize {
        if self.conditional {
            images.classes()
        } else {
            0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unusable_setting_is_named() {
        type Spoil = fn(&mut Gan);
        let cases: [(&str, Spoil); 7] = [
            ("batch", |g| g.batch = 0),
            ("epochs", |g| g.epochs = 0),
            ("discriminator_steps", |g| g.discriminator_steps = 0),
            ("average", |g| g.average = 1.0),
            ("penalty.radius", |g| {
                g.penalty = Penalty::Slope {
                    weight: 1.0,
                    radius: 0.0,
                }
            }),
            ("generator_adam.rate", |g| g.generator_adam.rate = 0.0),
            ("generator.noise", |g| g.generator.noise = 0),
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
