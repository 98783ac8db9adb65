//! A game in progress as a file, from which it goes on as if it had never stopped.
//!
//! The file holds both networks (with the vectors of spectral normalisation), the averaged generator,
//! both optimizers' moments, the chance of adaptive augmentation, the step and the epoch's sums, bit
//! by bit. Random numbers need no state: each step draws from a stream numbered by
//! the step. The images are not in the file; a fingerprint of them is, and others are refused.

use std::path::Path;

use refrain_core::{Device, ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use crate::report::{Tally, read_history, write_history};
use crate::{Error, Gan, ImageShape, Images, Result, Trainer, params};

const KIND: &str = "gan.checkpoint";
const VERSION: u32 = 4;

#[derive(Serialize, Deserialize)]
struct Saved {
    gan: Gan,
    shape: ImageShape,
    classes: usize,
    images: usize,
    fingerprint: String,
}

impl Trainer {
    /// Writes a checkpoint.
    ///
    /// # Errors
    /// [`Error::Broken`] after a step that failed; [`refrain_core::Error::Io`]; [`Error::Device`].
    ///
    /// ```
    /// use refrain_gan::{Gan, ImageShape, Images, Trainer};
    /// let device = refrain_core::device("cpu")?;
    /// let images = Images::from_f32(ImageShape::square(1, 4), [0.2, 0.8].repeat(64))?;
    /// let mut unbroken = Gan { batch: 4, ..Gan::default() }.trainer(&images, &device)?;
    /// unbroken.step()?;
    ///
    /// # let folder = std::env::temp_dir().join(format!("refrain-gan-{}", std::process::id()));
    /// # std::fs::create_dir_all(&folder).unwrap();
    /// let path = folder.join("game.refrain");
    /// unbroken.save(&path)?;
    /// let mut resumed = Trainer::resume(&path, &images, &device)?;
    /// assert_eq!(resumed.step()?, unbroken.step()?); // the same bits
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.expect_sound()?;
        Ok(self.writer()?.write(path)?)
    }

    fn writer(&self) -> Result<ModelWriter<'static>> {
        let saved = Saved {
            gan: self.config.clone(),
            shape: self.images.shape(),
            classes: self.classes(),
            images: self.images.len(),
            fingerprint: image_fingerprint(&self.images),
        };
        let mut file = ModelWriter::new(KIND, VERSION).config(&saved)?;
        file = params::write(file, "generator", &self.generator)?;
        file = params::write(file, "average", &self.average)?;
        file = params::write(file, "discriminator", &self.discriminator)?;
        file = self.generator_adam.write(file, "generator_adam")?;
        file = self.discriminator_adam.write(file, "discriminator_adam")?;
        let tally = self.tally.to_bits();
        file = file
            .u64("step", &[1], vec![self.step])?
            .u64("tally", &[tally.len()], tally)?
            .f32("chance", &[1], vec![self.chance])?;
        write_history(file, &self.history)
    }

    /// Goes on from a checkpoint, with the images it was training on. What was measured and painted along the
    /// way is not in the file: ask for it again ([`Trainer::measure`], [`Trainer::keep_sheets`]).
    ///
    /// # Errors
    /// [`refrain_core::Error`] for a file that cannot be read or is no checkpoint,
    /// [`Error::Saved`] when its parts do not fit together or the images are others.
    pub fn resume(path: impl AsRef<Path>, images: &Images, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::open(path)?, images, device)
    }

    fn read(file: &ModelFile, images: &Images, device: &Device) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let Saved {
            gan,
            shape,
            classes,
            images: count,
            fingerprint: print,
        } = file.config()?;
        gan.check()?;
        let refuse = |reason: String| {
            Err(Error::Saved {
                file: file.origin().to_string(),
                reason,
            })
        };
        if (shape, classes) != (images.shape(), gan.classes(images)) {
            return refuse(format!(
                "it was training on {shape} images of {classes} classes, these are {} of {}",
                images.shape(),
                gan.classes(images)
            ));
        }
        let used = if classes == 0 {
            images.clone().without_labels()
        } else {
            images.clone()
        };
        if image_fingerprint(&used) != print {
            return refuse(format!(
                "it was training on {count} other images than these"
            ));
        }
        params::check_size(file, "generator", gan.generator.weights(shape, classes))?;
        params::check_size(
            file,
            "discriminator",
            gan.discriminator.weights(&gan.task(shape, classes)),
        )?;

        let mut trainer = Self::new(gan, images, device)?;
        let plain = trainer.device.clone();
        trainer.generator = params::read(file, "generator", trainer.generator, &plain)?;
        trainer.average = params::read(file, "average", trainer.average, &plain)?;
        trainer.discriminator = params::read(file, "discriminator", trainer.discriminator, &plain)?;
        trainer.generator_adam = trainer
            .generator_adam
            .read(file, "generator_adam", &plain)?;
        trainer.discriminator_adam =
            trainer
                .discriminator_adam
                .read(file, "discriminator_adam", &plain)?;
        trainer.step = file.u64("step")?.expect_shape("step", &[1])?.data[0];
        trainer.tally = Tally::from_bits(
            &file
                .u64("tally")?
                .expect_shape("tally", &[Tally::BITS])?
                .data,
        );
        trainer.chance = file.f32("chance")?.expect_shape("chance", &[1])?.data[0];
        if trainer.step >> 40 != 0 || !(0.0..=1.0).contains(&trainer.chance) {
            return Err(Error::Saved {
                file: file.origin().to_string(),
                reason: format!(
                    "step {} or chance {} cannot be",
                    trainer.step, trainer.chance
                ),
            });
        }
        trainer.history = read_history(&trainer.config, file)?;
        let epochs = trainer.step / trainer.steps_per_epoch();
        if trainer.history.len() as u64 != epochs {
            return Err(Error::Saved {
                file: file.origin().to_string(),
                reason: format!(
                    "{} epochs are told of, {epochs} were played",
                    trainer.history.len()
                ),
            });
        }
        Ok(trainer)
    }
}

/// Of shape, pixels and labels.
fn image_fingerprint(images: &Images) -> String {
    let ImageShape {
        channels,
        height,
        width,
    } = images.shape();
    let sizes = [channels, height, width, images.classes()].map(|n| n as u64);
    let pixels = images.pixels().iter().map(|v| u64::from(v.to_bits()));
    let labels = images.labels().unwrap_or(&[]).iter().map(|&l| u64::from(l));
    fingerprint(sizes.into_iter().chain(pixels).chain(labels))
}

/// FNV-1a (Fowler, Noll, Vo): tells sets apart, guards nothing.
pub(crate) fn fingerprint(values: impl Iterator<Item = u64>) -> String {
    let hash = values.fold(0xcbf2_9ce4_8422_2325, |h, v| {
        (h ^ v).wrapping_mul(0x0000_0100_0000_01b3u64)
    });
    format!("{hash:016x}")
}
