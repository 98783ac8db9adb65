//! The sequence game step by step.
//!
//! Everything drawn at random in a step comes from streams numbered by the step, so a run resumed from
//! a checkpoint goes on with the bits an unbroken one would have had.

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::{Device, Monitor};
use refrain_sequence::{Corpus, RnnLm, TrainableModel};

use super::discriminator::Discriminator;
use super::policy::Policy;
use super::texts::{rollouts, texts, write};
use super::{RoundReport, SequenceGan, TextFrame, TrainedSequenceGan};
use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// A sequence game in progress.
///
/// ```
/// use refrain_core::Monitor;
/// use refrain_gan::{SequenceDiscriminator, SequenceGan, SequenceTrainer, TextFrame};
/// use refrain_sequence::{Cell, Corpus, RnnConfig, RnnLm, Vocabulary};
///
/// let lines = (0..40).map(|i| if i % 2 == 0 { vec![0, 2, 4, 1] } else { vec![0, 3, 4, 1] });
/// let corpus = Corpus::documents(Vocabulary::numbered(5)?, lines.collect())?;
/// let device = refrain_core::device("cpu")?;
/// let config = RnnConfig { cell: Cell::Gru, layers: 1, width: 8, ..RnnConfig::default() };
/// let model = RnnLm::new(&config, corpus.vocabulary().clone(), 1, &device)?; // better: a trained one
///
/// let frame = TextFrame { start: 0, end: 1, longest: 5 };
/// let gan = SequenceGan {
///     discriminator: SequenceDiscriminator { width: 4, filters: 4, ..Default::default() },
///     rounds: 2, warm_up: 1, batch: 4, rollouts: 1, ..SequenceGan::default()
/// };
/// let mut trainer = gan.trainer(&model, &corpus, frame, &device)?;
/// trainer.step()?; // the discriminator alone: `warm_up`
/// # let folder = std::env::temp_dir().join(format!("refrain-texts-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder).unwrap();
/// let path = folder.join("texts.refrain");
/// trainer.save(&path)?;
/// let mut resumed = SequenceTrainer::<RnnLm>::resume(&path, &corpus, &device)?;
/// assert_eq!(resumed.step()?, trainer.step()?); // the same bits
/// resumed.run(&Monitor::silent())?;
/// assert_eq!(resumed.into_trained().history.len(), 2);
/// # std::fs::remove_dir_all(&folder).unwrap();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct SequenceTrainer<M: TrainableModel = RnnLm> {
    pub(super) config: SequenceGan,
    pub(super) frame: TextFrame,
    pub(super) generator: M,
    pub(super) policy: Policy, // the generator's weights and their moments
    pub(super) discriminator: Discriminator,
    pub(super) real: Vec<Vec<u32>>,
    pub(super) step: u64,
    pub(super) history: Vec<RoundReport>,
    halfway: bool, // a step has failed
}

impl<M: TrainableModel> SequenceTrainer<M> {
    pub(super) fn new(
        config: SequenceGan,
        pretrained: &M,
        corpus: &Corpus,
        frame: TextFrame,
        device: &Device,
    ) -> Result<Self> {
        config.check(&frame)?;
        let real = texts(corpus, &frame)?;
        if let Some(context) = pretrained.context()
            && context < frame.longest
        {
            let longest = frame.longest;
            let reason =
                format!("{longest} tokens are more than the generator's context, {context}");
            return Err(Error::config("frame.longest", reason));
        }
        if corpus.vocabulary() != pretrained.names() {
            let expected = "the generator's vocabulary";
            return Err(Error::shape("the texts' vocabulary", expected, "another"));
        }
        let vocabulary = pretrained.vocabulary_size();
        Ok(Self {
            policy: Policy::new(pretrained, config.generator_adam, device)?,
            discriminator: Discriminator::new(&config, vocabulary, frame.longest + 1, device)?,
            generator: pretrained.clone(),
            config,
            frame,
            real,
            step: 0,
            history: Vec::new(),
            halfway: false,
        })
    }

    /// Steps done: those of the warm-up, then rounds.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// Steps to do in all.
    pub fn total_steps(&self) -> u64 {
        (self.config.warm_up as u64).saturating_add(self.config.rounds as u64)
    }

    /// The rounds so far.
    pub fn history(&self) -> &[RoundReport] {
        &self.history
    }

    /// The generator as it is now.
    pub fn generator(&self) -> &M {
        &self.generator
    }

    /// One step, whether or not the configured rounds are over: of the discriminator alone while it
    /// warms up (`None`), then a round.
    ///
    /// # Errors
    /// [`Error::Numeric`] when a loss is no longer a number; [`Error::Device`], and those of the
    /// sequence models. The game can neither go on nor be saved after one ([`Error::Broken`]).
    pub fn step(&mut self) -> Result<Option<RoundReport>> {
        self.expect_sound()?;
        self.halfway = true;
        let report = match self.step.checked_sub(self.config.warm_up as u64) {
            None => {
                self.judge(0, self.step)?;
                None
            }
            Some(before) => {
                let report = self.round(1 + before)?;
                self.history.push(report);
                Some(report)
            }
        };
        self.halfway = false;
        self.step += 1;
        Ok(report)
    }

    /// Refuses a game in which a step failed.
    pub(super) fn expect_sound(&self) -> Result<()> {
        match self.halfway {
            false => Ok(()),
            true => Err(Error::Broken {
                step: self.step + 1,
            }),
        }
    }

    /// Plays until the configured rounds are over.
    ///
    /// # Errors
    /// As [`SequenceTrainer::step`], and [`refrain_core::Error::Cancelled`], after which the game can go
    /// on or be saved.
    pub fn run(&mut self, monitor: &Monitor) -> Result<()> {
        let stage = monitor.start("sequence gan", Some(self.total_steps()));
        stage.advance(self.step.min(self.total_steps()), "")?;
        while self.step < self.total_steps() {
            match self.step()? {
                Some(report) => stage.advance(1, report)?,
                None => stage.advance(1, "the discriminator warms up")?,
            }
        }
        Ok(())
    }

    /// The generator and its rounds, when nothing more is to be learnt.
    pub fn into_trained(self) -> TrainedSequenceGan<M> {
        TrainedSequenceGan {
            generator: self.generator,
            history: self.history,
        }
    }

    /// A seed of its own for each use.
    fn seed(&self, round: u64, use_: u64) -> u64 {
        let mut rng = stream(self.config.seed, Purpose::Sequence, u64::MAX - use_);
        rng.random::<u64>()
            .wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// One step of the discriminator: its loss and accuracy.
    fn judge(&mut self, round: u64, step: u64) -> Result<(f32, f32)> {
        let seed = self.seed(round, 1 + step);
        let written = write(&self.generator, &self.frame, 1.0, self.config.batch, seed)?;
        let mut rng = stream(seed, Purpose::Sequence, 0);
        let picks = (0..self.config.batch).map(|_| rng.random_range(0..self.real.len()));
        let real: Vec<&[u32]> = picks.map(|i| self.real[i].as_slice()).collect();
        self.discriminator.step(&real, &written)
    }

    /// One round of the game: a generator step, then the discriminator's.
    fn round(&mut self, round: u64) -> Result<RoundReport> {
        let seed = self.seed(round, u64::from(u32::MAX));
        let written = write(&self.generator, &self.frame, 1.0, self.config.batch, seed)?;
        let (advantages, reward) = self.advantages(&written, seed)?;
        self.policy.step(&self.generator, &written, &advantages)?;
        self.generator = self.policy.model(&self.generator)?;
        let (mut loss, mut accuracy) = (0.0, 0.0);
        let steps = self.config.discriminator_steps;
        for step in 0..steps {
            let (l, a) = self.judge(round, step as u64)?;
            (loss, accuracy) = (loss + l / steps as f32, accuracy + a / steps as f32);
        }
        Ok(RoundReport {
            reward,
            discriminator_loss: loss,
            accuracy,
        })
    }

    /// For each text and each token after the first its reward less the baseline, and the mean reward
    /// of the texts.
    pub(super) fn advantages(
        &self,
        written: &[Vec<u32>],
        seed: u64,
    ) -> Result<(Vec<Vec<f32>>, f32)> {
        let whole = self.discriminator.probabilities(written)?;
        let mean = whole.iter().sum::<f32>() / whole.len().max(1) as f32;
        let mut rewards: Vec<Vec<f32>> = written
            .iter()
            .zip(&whole)
            .map(|(t, &r)| vec![r; t.len() - 1])
            .collect();
        if self.config.rollouts > 0 {
            let (generator, frame, count) = (&self.generator, &self.frame, self.config.rollouts);
            let ends: Result<Vec<_>> = written
                .par_iter()
                .enumerate()
                .map(|(i, text)| {
                    let seed = stream(seed, Purpose::Sequence, i as u64).random();
                    rollouts(generator, frame, count, text, seed)
                })
                .collect();
            for (rewards, ends) in rewards.iter_mut().zip(ends?) {
                let judged = self.discriminator.probabilities(&ends)?;
                for (reward, some) in rewards.iter_mut().zip(judged.chunks(self.config.rollouts)) {
                    *reward = some.iter().sum::<f32>() / some.len() as f32;
                }
            }
        }
        // The baseline of a place: the mean over the texts that have one; of a place that one text
        // alone has, the mean over all texts' ends.
        let longest = rewards.iter().map(Vec::len).max().unwrap_or(0);
        for t in 0..longest {
            let there: Vec<f32> = rewards.iter().filter_map(|r| r.get(t)).copied().collect();
            let baseline = match there.len() {
                1 => mean,
                count => there.iter().sum::<f32>() / count.max(1) as f32,
            };
            rewards
                .iter_mut()
                .filter_map(|r| r.get_mut(t))
                .for_each(|r| *r -= baseline);
        }
        Ok((rewards, mean))
    }
}
