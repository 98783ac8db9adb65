//! A sequence game in progress as a file, from which it goes on as if it had never stopped.
//!
//! The file holds both networks, both optimizers' moments, the step and the rounds so far, bit by bit.
//! Random numbers need no state: each step draws from streams numbered by the step. The texts are not
//! in the file; a fingerprint of them and of the tokens' names is, and others are refused.

use std::path::Path;

use refrain_core::{Device, ModelFile, ModelWriter};
use refrain_sequence::{Corpus, TrainableModel};
use serde::{Deserialize, Serialize};

use super::{RoundReport, SequenceGan, SequenceTrainer, TextFrame};
use crate::checkpoint::fingerprint;
use crate::{Error, Result, params};

const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Saved<C> {
    gan: SequenceGan,
    frame: TextFrame,
    model: C,
    fingerprint: String,
}

/// What is looked at before a model is laid out.
#[derive(Deserialize)]
struct Claim {
    model: Layers,
}

#[derive(Deserialize)]
struct Layers {
    layers: usize,
}

/// The kind of the file.
fn kind<M: TrainableModel>() -> String {
    format!("gan.{}.checkpoint", M::NAME)
}

impl<M: TrainableModel> SequenceTrainer<M> {
    /// Writes a checkpoint.
    ///
    /// # Errors
    /// [`Error::Broken`] after a step that failed; [`refrain_core::Error::Io`]; [`Error::Device`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.expect_sound()?;
        let saved = Saved {
            gan: self.config.clone(),
            frame: self.frame,
            model: self.generator.shape().clone(),
            fingerprint: text_fingerprint(&self.real, self.generator.names().iter()),
        };
        let mut file = ModelWriter::new(kind::<M>(), VERSION).config(&saved)?;
        file = params::write(file, "generator", &self.policy.net)?;
        file = params::write(file, "discriminator", &self.discriminator.net)?;
        file = self.policy.adam.write(file, "generator_adam")?;
        file = self.discriminator.adam.write(file, "discriminator_adam")?;
        let history: Vec<f32> = self.history.iter().flat_map(|r| r.numbers()).collect();
        file =
            file.u64("step", &[1], vec![self.step])?
                .f32("history", &[history.len()], history)?;
        Ok(file.write(path)?)
    }

    /// Goes on from a checkpoint, with the texts it was training on.
    ///
    /// # Errors
    /// [`refrain_core::Error`] for a file that cannot be read or is no such checkpoint,
    /// [`Error::Saved`] when its parts do not fit together or the texts are others.
    pub fn resume(path: impl AsRef<Path>, corpus: &Corpus, device: &Device) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(&kind::<M>(), VERSION)?;
        let saved: Saved<M::Config> = file.config()?;
        let Claim {
            model: Layers { layers },
        } = file.config()?;
        let refuse = |reason: String| Error::Saved {
            file: file.origin().to_string(),
            reason,
        };
        let texts: Vec<Vec<u32>> = corpus.train().iter().map(<[u32]>::to_vec).collect();
        let vocabulary = corpus.vocabulary();
        if text_fingerprint(&texts, vocabulary.iter()) != saved.fingerprint {
            return Err(refuse("it was training on other texts than these".into()));
        }
        // No layer is laid out that has no weights.
        if layers > file.f32("generator.weights")?.data.len() {
            return Err(refuse(format!("it claims {layers} layers")));
        }
        let generator = M::count(&saved.model, vocabulary.len())?;
        params::check_size(&file, "generator", Some(generator))?;
        saved.gan.discriminator.check()?;
        let discriminator = saved.gan.discriminator.weights(vocabulary.len());
        params::check_size(&file, "discriminator", discriminator)?;

        let base = M::untrained(&saved.model, vocabulary.clone(), 0, device)?;
        let mut trainer = Self::new(saved.gan, &base, corpus, saved.frame, device)?;
        let plain = device.clone().inner();
        trainer.policy.net = params::read(&file, "generator", trainer.policy.net, &plain)?;
        let judge = trainer.discriminator.net;
        trainer.discriminator.net = params::read(&file, "discriminator", judge, &plain)?;
        let adam = trainer.policy.adam;
        trainer.policy.adam = adam.read(&file, "generator_adam", &plain)?;
        let adam = trainer.discriminator.adam;
        trainer.discriminator.adam = adam.read(&file, "discriminator_adam", &plain)?;
        trainer.generator = trainer.policy.model(&base)?;
        trainer.step = file.u64("step")?.expect_shape("step", &[1])?.data[0];
        if trainer.step >> 40 != 0 {
            return Err(refuse(format!("step {} cannot be", trainer.step)));
        }
        let history = file.f32("history")?;
        let (rounds, rest) = history.data.as_chunks::<{ RoundReport::NUMBERS }>();
        let played = trainer.step.saturating_sub(trainer.config.warm_up as u64);
        if !rest.is_empty() || rounds.len() as u64 != played {
            let numbers = history.data.len();
            return Err(refuse(format!(
                "{numbers} numbers of history are not those of {played} rounds"
            )));
        }
        trainer.history = rounds.iter().map(|&n| RoundReport::of(n)).collect();
        Ok(trainer)
    }
}

impl RoundReport {
    /// Columns of the saved history.
    const NUMBERS: usize = 3;

    fn numbers(&self) -> [f32; Self::NUMBERS] {
        [self.reward, self.discriminator_loss, self.accuracy]
    }

    fn of([reward, discriminator_loss, accuracy]: [f32; Self::NUMBERS]) -> Self {
        Self {
            reward,
            discriminator_loss,
            accuracy,
        }
    }
}

/// Of the tokens of all texts, their lengths, and the tokens' names.
fn text_fingerprint<'a>(texts: &[Vec<u32>], names: impl Iterator<Item = &'a str>) -> String {
    let lengths = texts.iter().map(|text| text.len() as u64);
    let tokens = texts.iter().flatten().map(|&token| u64::from(token));
    let names = names.flat_map(|name| name.bytes().map(u64::from).chain([u64::MAX]));
    fingerprint(lengths.chain(tokens).chain(names))
}
