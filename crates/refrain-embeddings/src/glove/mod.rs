//! GloVe (Pennington, Socher and Manning, *GloVe: Global Vectors for Word Representation*, 2014).
//!
//! First is counted how often each word stands near each other, then each word gets a vector `w` and a
//! vector `c` as a context, whose products are near the logarithms of those counts:
//!
//! ```text
//! minimise   Σ over pairs   ½ f(x) (w·c + b_w + b_c − ln x)²        f(x) = min(1, (x / x_max)^alpha)
//! ```
//!
//! by AdaGrad, as the original program does it. The embeddings are `w + c`.
//!
//! *When to use it*: a large corpus that is counted once and trained on many times, with other settings
//! or for more epochs: an epoch costs as much as there are different pairs, not tokens. On small
//! corpora [`Word2Vec`](crate::Word2Vec) is better.
//!
//! *Cost*: counting takes tokens × `window` and [`Glove::memory`]; training keeps 12 bytes for each
//! pair, and four tables of `vocabulary × dim`. An epoch is `12 · dim` operations and as many bytes
//! read and written for each pair.
//!
//! *Threads* never share a row: words and contexts are dealt into as many groups as there are threads,
//! and in each round every thread takes pairs of another group of words and of contexts (Gemulla et
//! al., *Large-Scale Matrix Factorization with Distributed Stochastic Gradient Descent*, 2011). One
//! (seed, threads) pair gives the same bits on every run.

mod pairs;
mod resume;
mod step;
mod training;

use std::path::PathBuf;

use refrain_core::Monitor;
use serde::{Deserialize, Serialize};

pub use training::{GloveEpoch, GloveTraining};

use crate::{Corpus, Embeddings, Error, Result};

/// Configuration of GloVe; the defaults are those of the original program, but for longer vectors.
///
/// ```
/// use refrain_embeddings::{Corpus, Glove};
/// let corpus = Corpus::from_fn(|| {
///     (0..500).map(|i| if i % 2 == 0 { ["red", "green", "blue"] } else { ["one", "two", "three"] })
/// });
/// let words = Glove { dim: 8, threads: 1, ..Glove::default() }.fit(&corpus)?;
/// assert!(words.similarity("red", "blue")? > words.similarity("red", "two")?);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Glove {
    /// Length of the vectors.
    pub dim: usize,
    /// How many tokens away a context may be; one `d` tokens away counts `1/d`.
    pub window: usize,
    /// Whether what follows a word is context too, not only what stands before it.
    pub symmetric: bool,
    /// Pairs that occur this often, or more often, count in full.
    pub x_max: f64,
    /// The power by which rarer pairs count less.
    pub alpha: f64,
    /// Passes over the pairs.
    pub epochs: usize,
    /// The first learning rate; AdaGrad lowers it for each value by itself.
    pub learning_rate: f64,
    /// Words that occur less often are left out.
    pub min_count: u64,
    /// When there are more different words than this while counting, the rarest so far are forgotten.
    pub max_vocabulary: usize,
    /// Decides every random choice.
    pub seed: u64,
    /// Threads; 0 takes as many as the machine has cores.
    pub threads: usize,
    /// Bytes for the pairs of rarer words while they are counted.
    pub memory: usize,
    /// The folder where pairs are put that do not fit [`Glove::memory`]; files there have no names and
    /// vanish by themselves. Without one, too little memory is an error.
    #[serde(skip)]
    pub folder: Option<PathBuf>,
    /// A corpus of up to this many tokens is held in memory as numbers, 4 bytes each; a longer one is
    /// read twice.
    pub cache_tokens: usize,
}

impl Default for Glove {
    fn default() -> Self {
        Self {
            dim: 100,
            window: 15,
            symmetric: true,
            x_max: 100.0,
            alpha: 0.75,
            epochs: 25,
            learning_rate: 0.05,
            min_count: 5,
            max_vocabulary: 20_000_000,
            seed: 1,
            threads: 0,
            memory: 1 << 30,
            folder: None,
            cache_tokens: 1 << 28,
        }
    }
}

impl Glove {
    /// Counts and trains.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::EmptyVocabulary`], [`Error::NoPairs`],
    /// [`Error::Diverged`], and whatever reading the corpus reports.
    pub fn fit(&self, corpus: &Corpus<'_>) -> Result<Embeddings> {
        self.fit_with(corpus, &Monitor::silent())
    }

    /// The same, telling `monitor` the loss and the speed.
    ///
    /// # Errors
    /// As [`Glove::fit`], and cancellation.
    pub fn fit_with(&self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<Embeddings> {
        let mut training = self.start(corpus, monitor)?;
        while !training.is_finished() {
            training.epoch(corpus, monitor)?;
        }
        training.finish()
    }

    /// Counts and draws the first vectors; the caller runs the epochs.
    ///
    /// # Errors
    /// As [`Glove::fit_with`].
    pub fn start(&self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<GloveTraining> {
        self.validate()?;
        GloveTraining::new(self.clone(), corpus, monitor)
    }

    fn validate(&self) -> Result<()> {
        let bad = |field, value: String, reason| {
            Err(Error::Config {
                field,
                value,
                reason,
            })
        };
        for (field, value, most) in [
            ("dim", self.dim, 65_536),
            ("window", self.window, 10_000),
            ("epochs", self.epochs, 1 << 20),
        ] {
            if !(1..=most).contains(&value) {
                return bad(
                    field,
                    value.to_string(),
                    "must be at least 1, and not so large",
                );
            }
        }
        if self.threads > 1024 {
            let reason = "choose at most 1024, or 0 for every core";
            return bad("threads", self.threads.to_string(), reason);
        }
        if self.max_vocabulary < 2 {
            let value = self.max_vocabulary.to_string();
            return bad("max_vocabulary", value, "must be at least 2");
        }
        for (field, value) in [
            ("x_max", self.x_max),
            ("alpha", self.alpha),
            ("learning_rate", self.learning_rate),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return bad(field, value.to_string(), "must be above 0");
            }
        }
        Ok(())
    }
}
