//! Skip-gram with negative sampling (Mikolov, Sutskever, Chen, Corrado and Dean, *Distributed
//! Representations of Words and Phrases and their Compositionality*, 2013).
//!
//! Each word gets two vectors, `x` as a context and `y` as a centre. For every window of text the
//! model tells the word that stands in its centre from words drawn at random,
//!
//! ```text
//! maximise   Σ over contexts c   log σ(x_c · y_centre) + Σ over negatives n  log σ(−x_c · y_n)
//! ```
//!
//! with negatives drawn in proportion to `count^0.75`, occurrences of frequent words skipped at
//! random, a window whose reach is drawn anew for each centre, and a learning rate that falls in a
//! straight line. The vectors `x` are the embeddings.
//!
//! *When to use it*: words, and items that occur in sessions or playlists (item2vec), from about
//! ten thousand tokens upwards. Rare words get poor vectors.
//!
//! *Cost*: time in proportion to tokens × `window` × `negatives` × `dim` on the CPU's fast path (a
//! window is two small matrix products), two tables of `vocabulary × dim`, and 4 bytes a token
//! while the corpus fits [`SkipGram::cache_tokens`]. On other devices a step's cost follows its
//! batch and not the tables.

mod chunks;
mod kernel;
mod sampling;
mod shards;
mod tensors;
#[cfg(test)]
mod tests;
mod training;
mod worker;

use refrain_core::{Device, Monitor};
use serde::{Deserialize, Serialize};

pub use training::{EpochReport, SkipGramTraining};

use crate::{Corpus, Embeddings, Error, Result};

/// Configuration of skip-gram with negative sampling.
///
/// ```
/// use refrain_embeddings::{Corpus, SkipGram};
/// let corpus = Corpus::from_fn(|| {
///     (0..500).map(|i| if i % 2 == 0 { ["red", "green", "blue"] } else { ["one", "two", "three"] })
/// });
/// let words = SkipGram { dim: 16, epochs: 20, ..SkipGram::default() }.fit(&corpus)?;
/// assert!(words.similarity("red", "blue")? > words.similarity("red", "two")?);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SkipGram {
    /// Length of the vectors.
    pub dim: usize,
    /// How many tokens to each side can be context; the reach of each window is drawn between 1 and
    /// this.
    pub window: usize,
    /// Random words told from the centre word, for each window; all its contexts share them.
    pub negatives: usize,
    /// Passes over the corpus.
    pub epochs: usize,
    /// The first learning rate; it falls to a ten-thousandth in a straight line.
    pub learning_rate: f64,
    /// Words that occur less often are left out.
    pub min_count: u64,
    /// Occurrences of words more frequent than this are skipped at random; 0 keeps them all.
    pub subsample: f64,
    /// Negatives are drawn in proportion to `count` to this power.
    pub power: f64,
    /// Decides every random choice.
    pub seed: u64,
    /// Pieces of the corpus trained at the same time on the CPU; 0 takes as many as the machine has
    /// cores. Results are the same bits for one (seed, threads) pair.
    pub threads: usize,
    /// Tokens that all threads together train on before their changes are merged: more is a little
    /// faster, fewer is closer to one thread's quality.
    pub merge_every: usize,
    /// Windows in one step on other devices than the CPU's fast path.
    pub batch: usize,
    /// Which program trains.
    pub engine: Engine,
    /// A corpus of up to this many tokens is held in memory as numbers, 4 bytes each; a longer one
    /// is read again in every epoch.
    pub cache_tokens: usize,
}

/// Which program trains a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Engine {
    /// The CPU's kernels on the CPU, tensors on every other device.
    #[default]
    Auto,
    /// The CPU's kernels, whatever the device.
    Kernels,
    /// Tensors, on the CPU too.
    Tensors,
}

impl Default for SkipGram {
    fn default() -> Self {
        Self {
            dim: 100,
            window: 5,
            negatives: 5,
            epochs: 5,
            learning_rate: 0.025,
            min_count: 5,
            subsample: 1e-3,
            power: 0.75,
            seed: 1,
            threads: 0,
            merge_every: 10_000,
            batch: 256,
            engine: Engine::Auto,
            cache_tokens: 1 << 28,
        }
    }
}

impl SkipGram {
    /// Trains on the CPU.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::EmptyVocabulary`], [`Error::Diverged`], and
    /// whatever reading the corpus reports.
    pub fn fit(&self, corpus: &Corpus<'_>) -> Result<Embeddings> {
        self.fit_with(corpus, &Monitor::silent())
    }

    /// Trains on the CPU, telling `monitor` the loss and the speed.
    ///
    /// # Errors
    /// As [`SkipGram::fit`], and cancellation.
    pub fn fit_with(&self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<Embeddings> {
        run(self.start_with(corpus, monitor)?, corpus, monitor)
    }

    /// Trains on `device`: with the CPU's kernels where that is the CPU, else as tensors.
    ///
    /// # Errors
    /// As [`SkipGram::fit_with`].
    pub fn fit_on(
        &self,
        corpus: &Corpus<'_>,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<Embeddings> {
        run(
            self.start_with(corpus, monitor)?.on(device)?,
            corpus,
            monitor,
        )
    }

    /// Counts the words and draws the first vectors; the caller runs the epochs.
    ///
    /// # Errors
    /// As [`SkipGram::fit`].
    pub fn start(&self, corpus: &Corpus<'_>) -> Result<SkipGramTraining> {
        self.start_with(corpus, &Monitor::silent())
    }

    fn start_with(&self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<SkipGramTraining> {
        self.validate()?;
        let stage = monitor.start("vocabulary", None);
        let training = SkipGramTraining::new(self.clone(), corpus)?;
        stage.advance(
            training.vocabulary().tokens(),
            format_args!("{} words", training.vocabulary().len()),
        )?;
        Ok(training)
    }

    fn validate(&self) -> Result<()> {
        let whole = |field, value: usize, least: usize, most: usize, reason| match (least..=most)
            .contains(&value)
        {
            true => Ok(()),
            false => Err(Error::Config {
                field,
                value: value.to_string(),
                reason,
            }),
        };
        whole("dim", self.dim, 1, 65_536, "choose between 1 and 65536")?;
        whole(
            "window",
            self.window,
            1,
            1 << 20,
            "choose between 1 and 1048576",
        )?;
        whole(
            "negatives",
            self.negatives,
            1,
            65_536,
            "choose between 1 and 65536",
        )?;
        whole(
            "epochs",
            self.epochs,
            1,
            1 << 20,
            "choose between 1 and 1048576",
        )?;
        whole(
            "threads",
            self.threads,
            0,
            1024,
            "choose at most 1024, or 0 for every core",
        )?;
        whole(
            "merge_every",
            self.merge_every,
            1,
            usize::MAX,
            "must be at least 1",
        )?;
        whole(
            "batch",
            self.batch,
            1,
            1 << 20,
            "choose between 1 and 1048576",
        )?;
        let real = |field, value: f64, least: f64, reason| match value.is_finite() && value >= least
        {
            true => Ok(()),
            false => Err(Error::Config {
                field,
                value: value.to_string(),
                reason,
            }),
        };
        real(
            "learning_rate",
            self.learning_rate,
            f64::MIN_POSITIVE,
            "must be above 0",
        )?;
        real("subsample", self.subsample, 0.0, "must be 0 or above")?;
        real("power", self.power, 0.0, "must be 0 or above")
    }

    /// Tokens of one thread between merges; below the least, merging would cost more than training.
    fn piece_size(&self) -> usize {
        const LEAST: usize = 500;
        (self.merge_every / self.threads.max(1)).max(LEAST.min(self.merge_every))
    }

    /// The number of threads that 0 stands for.
    fn resolved_threads(&self) -> usize {
        match self.threads {
            0 => rayon::current_num_threads().max(1),
            n => n,
        }
    }
}

fn run(
    mut training: SkipGramTraining,
    corpus: &Corpus<'_>,
    monitor: &Monitor,
) -> Result<Embeddings> {
    while !training.is_finished() {
        training.epoch(corpus, monitor)?;
    }
    training.finish()
}
