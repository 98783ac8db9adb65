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
//! with the batch's mean reward at each place as the baseline `b`. The generator is a language model of
//! `refrain-sequence`, an [`RnnLm`] or a [`Transformer`](refrain_sequence::Transformer), trained by maximum
//! likelihood before, and stays one: it is sampled, saved and judged as any.
//!
//! **When**: to study adversarial training of text. Maximum likelihood with a lower temperature gives
//! better text at the same variety (Caccia et al. 2020, *Language GANs Falling Short*,
//! <https://arxiv.org/abs/1811.02549>); [`sweep`] measures exactly that, and `text_gan` among the examples
//! prints it.
//!
//! **Cost** per round: `batch · length · rollouts` texts are finished by the generator, half a text long
//! on average, and judged.
//!
//! **Deterministic**: the same seed, texts and configuration give the same bits on the CPU device, also
//! across a checkpoint ([`SequenceTrainer::save`]).

mod checkpoint;
mod discriminator;
mod evaluate;
mod policy;
mod texts;
mod trainer;

use std::fmt;

use refrain_core::{Device, Monitor};
use refrain_sequence::{Corpus, RnnLm, TrainableModel};
use serde::{Deserialize, Serialize};

use crate::{Adam, Error, Result};
pub use discriminator::SequenceDiscriminator;
pub use evaluate::{Sweep, SweepPoint, reverse_perplexity, sweep};
pub use trainer::SequenceTrainer;

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
#[doc(alias = "SeqGAN")]
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
    /// How the generator learns.
    pub generator_adam: Adam,
    /// How the discriminator learns.
    pub discriminator_adam: Adam,
    /// Where all random numbers come from.
    pub seed: u64,
}

/// Rewards are noisy, so the mean gradient remembers longer than in a game of images.
const ADAM: Adam = Adam {
    rate: 1e-3,
    beta_1: 0.9,
    beta_2: 0.999,
    epsilon: 1e-8,
};

impl Default for SequenceGan {
    fn default() -> Self {
        Self {
            discriminator: SequenceDiscriminator::default(),
            rounds: 100,
            warm_up: 100,
            discriminator_steps: 2,
            batch: 32,
            rollouts: 4,
            generator_adam: ADAM,
            discriminator_adam: ADAM,
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

impl fmt::Display for RoundReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let right = 100.0 * self.accuracy;
        write!(f, "reward {:.3}, D right {right:.0} %", self.reward)
    }
}

/// A sequence GAN after its game.
#[derive(Debug, Clone)]
pub struct TrainedSequenceGan<M = RnnLm> {
    /// The generator, a language model like any: its `save` writes it.
    pub generator: M,
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
    pub fn fit<M: TrainableModel>(
        &self,
        pretrained: &M,
        corpus: &Corpus,
        frame: TextFrame,
        device: &Device,
    ) -> Result<TrainedSequenceGan<M>> {
        self.fit_with(pretrained, corpus, frame, device, &Monitor::silent())
    }

    /// Plays the game, telling `monitor` the reward.
    ///
    /// # Errors
    /// As [`SequenceGan::fit`], and [`refrain_core::Error::Cancelled`].
    pub fn fit_with<M: TrainableModel>(
        &self,
        pretrained: &M,
        corpus: &Corpus,
        frame: TextFrame,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<TrainedSequenceGan<M>> {
        let mut trainer = self.trainer(pretrained, corpus, frame, device)?;
        trainer.run(monitor)?;
        Ok(trainer.into_trained())
    }

    /// A game before its first step, for a loop of your own and for checkpoints.
    ///
    /// # Errors
    /// As [`SequenceGan::fit`].
    pub fn trainer<M: TrainableModel>(
        &self,
        pretrained: &M,
        corpus: &Corpus,
        frame: TextFrame,
        device: &Device,
    ) -> Result<SequenceTrainer<M>> {
        SequenceTrainer::new(self.clone(), pretrained, corpus, frame, device)
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
        if self.rollouts > 1 << 16 {
            let reason = format!("{} is more than 65536", self.rollouts);
            return Err(Error::config("rollouts", reason));
        }
        self.generator_adam.check("generator_adam")?;
        self.discriminator_adam.check("discriminator_adam")
    }
}

#[cfg(test)]
mod tests;
