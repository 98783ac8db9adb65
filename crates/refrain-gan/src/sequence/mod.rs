//! Sequence GAN: a language model of texts or tunes that is trained further against a discriminator
//! (SeqGAN, Yu et al. 2017, <https://arxiv.org/abs/1609.05473>).
//!
//! Tokens are drawn, not computed, so no gradient flows from the discriminator to the generator. Instead
//! the generator is taught by reward (Williams 1992, REINFORCE): the discriminator's probability that
//! the text is real. A token in the middle of a text gets the mean reward of several ends that the
//! generator itself writes after it (rollouts):
//!
//! ```text
//! Q(t) = mean over rollouts of D(s₁ … s_t, rollout)       Q at the end: D(s)
//! loss = − mean over texts of Σ_t (Q(t) − b(t)) ln p(s_t | s₁ … s_{t−1})
//! ```
//!
//! with the batch's mean reward at each place as the baseline `b`. The generator is an
//! [`RnnLm`], trained by maximum likelihood before, and stays one: it is sampled, saved and judged as any.
//!
//! **When**: to study adversarial training of text. Maximum likelihood with a lower temperature gives
//! better text at the same variety (Caccia et al. 2020, *Language GANs Falling Short*,
//! <https://arxiv.org/abs/1811.02549>); [`sweep`] measures exactly that, and `text_gan` among the examples
//! prints it.
//!
//! **Cost** per round: `batch · length · rollouts` texts are finished by the generator, half a text long
//! on average, and judged.
//!
//! **Deterministic**: the same seed, texts and configuration give the same bits on the CPU device.

mod discriminator;
mod evaluate;
mod policy;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::{Device, Monitor};
use refrain_sequence::{Corpus, Prompt, RnnLm, Sampler};
use serde::{Deserialize, Serialize};

use crate::random::{Purpose, stream};
use crate::{Error, Result};
use discriminator::Discriminator;
pub use discriminator::SequenceDiscriminator;
pub use evaluate::{Sweep, SweepPoint, reverse_perplexity, sweep};
use policy::Policy;

/// How texts begin and end, in tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TextFrame {
    /// The first token of every text.
    pub start: u32,
    /// The last token of every text.
    pub end: u32,
    /// The most tokens after the first one.
    pub longest: usize,
}

/// A sequence GAN, before its game.
///
/// ```
/// use refrain_gan::{SequenceDiscriminator, SequenceGan, TextFrame};
/// use refrain_sequence::{Cell, Corpus, RnnConfig, Trainer, Vocabulary};
///
/// // Two lines of three words each, with a beginning and an end.
/// let names = Vocabulary::named(["<", ">", "the", "a", "cat", "dog", "sleeps"])?;
/// let lines = (0..40).map(|i| if i % 2 == 0 { vec![0, 2, 4, 6, 1] } else { vec![0, 3, 5, 6, 1] });
/// let corpus = Corpus::documents(names, lines.collect())?;
/// let device = refrain_core::device("cpu")?;
/// let config = RnnConfig { cell: Cell::Gru, layers: 1, width: 8, ..RnnConfig::default() };
/// let trainer = Trainer { steps: 20, learning_rate: 2e-2, warm_up: 5, ..Trainer::default() };
/// let pretrained = trainer.fit(&config, &corpus, &device)?.model;
///
/// let frame = TextFrame { start: 0, end: 1, longest: 6 };
/// let gan = SequenceGan {
///     discriminator: SequenceDiscriminator { width: 4, filters: 4, ..Default::default() },
///     rounds: 2, warm_up: 2, batch: 4, rollouts: 1, ..SequenceGan::default()
/// };
/// let trained = gan.fit(&pretrained, &corpus, frame, &device)?;
/// assert_eq!(trained.history.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SequenceGan {
    /// The network that judges texts.
    pub discriminator: SequenceDiscriminator,
    /// Rounds of the game: a generator step, then the discriminator's.
    pub rounds: usize,
    /// Discriminator steps before the first round.
    pub warm_up: usize,
    /// Discriminator steps in each round.
    pub discriminator_steps: usize,
    /// Texts in a step.
    pub batch: usize,
    /// Ends written after each token to judge it; 0 rewards every token by its whole text.
    pub rollouts: usize,
    /// The generator's step size (Adam).
    pub generator_rate: f64,
    /// The discriminator's step size (Adam).
    pub discriminator_rate: f64,
    /// Where all random numbers come from.
    pub seed: u64,
}

impl Default for SequenceGan {
    fn default() -> Self {
        Self {
            discriminator: SequenceDiscriminator::default(),
            rounds: 100,
            warm_up: 100,
            discriminator_steps: 2,
            batch: 32,
            rollouts: 4,
            generator_rate: 1e-3,
            discriminator_rate: 1e-3,
            seed: 1,
        }
    }
}

/// What one round did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct RoundReport {
    /// The discriminator's mean probability that the generator's texts are real.
    pub reward: f32,
    /// The discriminator's loss, mean of real and generated texts, in nats.
    pub discriminator_loss: f32,
    /// The share of texts, half of them real, that the discriminator is right about.
    pub accuracy: f32,
}

/// A sequence GAN after its game.
#[derive(Debug, Clone)]
pub struct TrainedSequenceGan {
    /// The generator, a language model like any.
    pub generator: RnnLm,
    /// The rounds.
    pub history: Vec<RoundReport>,
}

impl SequenceGan {
    /// Plays the game from a generator trained by maximum likelihood.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting that cannot work, [`Error::Shape`] when the texts of `corpus` do
    /// not begin and end as `frame` says, [`Error::Numeric`] when a loss is no longer a number, and
    /// those of the sequence models.
    pub fn fit(
        &self,
        pretrained: &RnnLm,
        corpus: &Corpus,
        frame: TextFrame,
        device: &Device,
    ) -> Result<TrainedSequenceGan> {
        self.fit_with(pretrained, corpus, frame, device, &Monitor::silent())
    }

    /// Plays the game, telling `monitor` the reward.
    ///
    /// # Errors
    /// As [`SequenceGan::fit`], and [`refrain_core::Error::Cancelled`].
    pub fn fit_with(
        &self,
        pretrained: &RnnLm,
        corpus: &Corpus,
        frame: TextFrame,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<TrainedSequenceGan> {
        self.check(&frame)?;
        let real = texts(corpus, &frame)?;
        let vocabulary = pretrained.vocabulary().len();
        if corpus.vocabulary() != pretrained.vocabulary() {
            let expected = "the generator's vocabulary";
            return Err(Error::shape("the texts' vocabulary", expected, "another"));
        }
        let mut game = Game {
            config: self,
            frame,
            policy: Policy::new(pretrained, self.generator_rate, device)?,
            discriminator: Discriminator::new(self, vocabulary, frame.longest + 1, device)?,
            generator: pretrained.clone(),
            real,
        };
        let stage = monitor.start("sequence gan", Some((self.warm_up + self.rounds) as u64));
        for step in 0..self.warm_up {
            let (loss, accuracy) = game.judge(0, step)?;
            stage.advance(
                1,
                format_args!("D loss {loss:.3}, right {:.0} %", 100.0 * accuracy),
            )?;
        }
        let mut history = Vec::with_capacity(self.rounds);
        for round in 0..self.rounds {
            let report = game.round(1 + round as u64)?;
            stage.advance(
                1,
                format_args!(
                    "reward {:.3}, D right {:.0} %",
                    report.reward,
                    100.0 * report.accuracy
                ),
            )?;
            history.push(report);
        }
        Ok(TrainedSequenceGan {
            generator: game.generator,
            history,
        })
    }

    fn check(&self, frame: &TextFrame) -> Result<()> {
        self.discriminator.check()?;
        for (field, value, least) in [
            ("batch", self.batch, 2), // each text is held against the others
            ("discriminator_steps", self.discriminator_steps, 1),
            ("frame.longest", frame.longest, 1),
        ] {
            if !(least..=1 << 16).contains(&value) {
                return Err(Error::config(
                    field,
                    format!("{value} is not between {least} and 65536"),
                ));
            }
        }
        for (field, rate) in [
            ("generator_rate", self.generator_rate),
            ("discriminator_rate", self.discriminator_rate),
        ] {
            if !(rate.is_finite() && rate > 0.0) {
                return Err(Error::config(
                    field,
                    format!("{rate} is not a positive number"),
                ));
            }
        }
        Ok(())
    }
}

/// The training texts, which must fit the frame.
fn texts(corpus: &Corpus, frame: &TextFrame) -> Result<Vec<Vec<u32>>> {
    let fits = |text: &[u32]| {
        text.first() == Some(&frame.start)
            && text.last() == Some(&frame.end)
            && (2..=frame.longest + 1).contains(&text.len())
    };
    let all: Vec<Vec<u32>> = corpus.train().iter().map(<[u32]>::to_vec).collect();
    match all.iter().position(|text| !fits(text)) {
        None => Ok(all),
        Some(at) => {
            let expected = format!(
                "token {}, then at most {} with {} as the last",
                frame.start, frame.longest, frame.end
            );
            let found = format!(
                "{} tokens that begin and end otherwise, or too many",
                all[at].len()
            );
            Err(Error::shape(format!("text {at}"), expected, found))
        }
    }
}

/// `count` texts by a model, with the token they begin with.
pub(crate) fn write(
    model: &RnnLm,
    frame: &TextFrame,
    temperature: f32,
    count: usize,
    seed: u64,
) -> Result<Vec<Vec<u32>>> {
    let text = |i: usize| -> Result<Vec<u32>> {
        let sampler = Sampler {
            temperature,
            stop: vec![frame.end],
            max_tokens: frame.longest,
            seed: stream(seed, Purpose::Sequence, i as u64).random(),
            ..Sampler::default()
        };
        let mut text = vec![frame.start];
        text.extend(sampler.generate(model, &[frame.start])?.tokens);
        Ok(text)
    };
    (0..count).into_par_iter().map(text).collect()
}

struct Game<'a> {
    config: &'a SequenceGan,
    frame: TextFrame,
    generator: RnnLm,
    policy: Policy,
    discriminator: Discriminator,
    real: Vec<Vec<u32>>,
}

impl Game<'_> {
    /// A seed of its own for each use.
    fn seed(&self, round: u64, use_: u64) -> u64 {
        let mut rng = stream(self.config.seed, Purpose::Sequence, u64::MAX - use_);
        rng.random::<u64>()
            .wrapping_add(round.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// One step of the discriminator: its loss and accuracy.
    fn judge(&mut self, round: u64, step: usize) -> Result<(f32, f32)> {
        let seed = self.seed(round, 1 + step as u64);
        let written = write(&self.generator, &self.frame, 1.0, self.config.batch, seed)?;
        let mut rng = stream(seed, Purpose::Sequence, 0);
        let picks = (0..self.config.batch).map(|_| rng.random_range(0..self.real.len()));
        let real: Vec<&[u32]> = picks.map(|i| self.real[i].as_slice()).collect();
        self.discriminator.step(&real, &written)
    }

    fn round(&mut self, round: u64) -> Result<RoundReport> {
        let seed = self.seed(round, u64::from(u32::MAX));
        let written = write(&self.generator, &self.frame, 1.0, self.config.batch, seed)?;
        let (advantages, reward) = self.advantages(&written, seed)?;
        self.policy.step(&written, &advantages)?;
        self.generator = self.generator.with_tensors(self.policy.tensors()?)?;
        let (mut loss, mut accuracy) = (0.0, 0.0);
        let steps = self.config.discriminator_steps;
        for step in 0..steps {
            let (l, a) = self.judge(round, step)?;
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
    fn advantages(&self, written: &[Vec<u32>], seed: u64) -> Result<(Vec<Vec<f32>>, f32)> {
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

/// For each token of a text after the first and before the last, `count` ends that the generator writes
/// after it, with the text so far.
fn rollouts(
    generator: &RnnLm,
    frame: &TextFrame,
    count: usize,
    text: &[u32],
    seed: u64,
) -> Result<Vec<Vec<u32>>> {
    let mut prompt = Prompt::read(generator, &text[..1])?;
    let mut ends = Vec::new();
    for t in 1..text.len() - 1 {
        prompt.push(&text[t..=t])?;
        for rollout in 0..count {
            let index = (t * count + rollout) as u64;
            let sampler = Sampler {
                stop: vec![frame.end],
                max_tokens: frame.longest - t,
                seed: stream(seed, Purpose::Sequence, index).random(),
                ..Sampler::default()
            };
            let mut end = text[..=t].to_vec();
            end.extend(sampler.continue_prompt(&prompt)?.finish()?.tokens);
            ends.push(end);
        }
    }
    Ok(ends)
}

#[cfg(test)]
mod tests;
