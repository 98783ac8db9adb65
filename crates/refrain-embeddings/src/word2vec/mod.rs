//! Word2Vec: skip-gram and continuous bag of words, with negative sampling or hierarchical softmax,
//! over words or words and their n-grams (Mikolov, Chen, Corrado and Dean, *Efficient Estimation of
//! Word Representations in Vector Space*, 2013; Mikolov, Sutskever et al., *Distributed
//! Representations of Words and Phrases and their Compositionality*, 2013; Bojanowski et al.,
//! *Enriching Word Vectors with Subword Information*, 2017).
//!
//! Each word gets two vectors, `x` as what is given and `y` as what is to be told. For every window
//! of text, skip-gram with negative sampling tells the word that stands in its centre from words
//! drawn at random,
//!
//! ```text
//! maximise   Σ over contexts c   log σ(x_c · y_centre) + Σ over negatives n  log σ(−x_c · y_n)
//! ```
//!
//! with negatives drawn in proportion to `count^0.75`, occurrences of frequent words skipped at
//! random, a window whose reach is drawn anew for each centre, and a learning rate that falls in a
//! straight line. The vectors `x` are the embeddings.
//!
//! - [`Architecture::Cbow`] puts the mean of the contexts' vectors in the place of each of them.
//! - [`Objective::HierarchicalSoftmax`] tells a word by the turns on its way through a Huffman tree.
//! - [`Word2Vec::ngrams`] makes the vector `x` of a word the mean of its own and its n-grams', so
//!   that rare words learn from words that are spelled alike and unknown words have vectors too. The
//!   window's centre is what is given then, and its contexts are to be told.
//!
//! - [`Word2Vec::documents`] gives each document a vector that takes part in telling its words (Le and
//!   Mikolov, *Distributed Representations of Sentences and Documents*, 2014).
//!
//! *When to use it*: words, and items that occur in sessions or playlists (item2vec), from about
//! ten thousand tokens upwards. Skip-gram for rare words and small corpora, the bag of words where
//! time counts; n-grams for languages of many forms, and for texts with misspellings.
//!
//! *Cost*: time in proportion to tokens × `window` × `negatives` × `dim` on the CPU's fast path (a
//! window is two small matrix products), two tables of `vocabulary × dim`, and 4 bytes a token
//! while the corpus fits [`Word2Vec::cache_tokens`]. The bag of words takes a `window`th of the
//! products; n-grams read and write about 15 rows more for each token, far apart in memory. On other
//! devices a step's cost follows its batch and not the tables.

mod documents;
mod hot;
mod kernel;
mod ngrams;
mod pass;
mod paths;
mod resume;
mod sampling;
mod shards;
mod tensors;
#[cfg(test)]
mod tests;
mod training;
mod validate;
mod windows;
mod worker;

use rayon::prelude::*;
use refrain_core::{Device, Monitor, kernels};
use serde::{Deserialize, Serialize};

pub use documents::{DocumentVectors, Documents};
pub use ngrams::Ngrams;
pub use training::{EpochReport, Word2VecTraining};

use self::ngrams::NgramRows;
use self::paths::Paths;
use self::sampling::{Negatives, keep_chances};
use self::windows::{Plan, Targets};
use crate::{Corpus, Embeddings, Result, Subwords, Vocabulary};

/// Configuration of word vectors; the defaults are skip-gram with negative sampling.
///
/// ```
/// use refrain_embeddings::{Corpus, Word2Vec};
/// let corpus = Corpus::from_fn(|| {
///     (0..500).map(|i| if i % 2 == 0 { ["red", "green", "blue"] } else { ["one", "two", "three"] })
/// });
/// let words = Word2Vec { dim: 16, epochs: 20, ..Word2Vec::default() }.fit(&corpus)?;
/// assert!(words.similarity("red", "blue")? > words.similarity("red", "two")?);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Word2Vec {
    /// What is given and what is to be told.
    pub architecture: Architecture,
    /// How a word is told from all others.
    pub objective: Objective,
    /// N-grams that words are made of; none makes each word a thing of its own.
    pub ngrams: Option<Ngrams>,
    /// Vectors of documents, each sentence of the corpus being one; none trains words alone.
    pub documents: Option<Documents>,
    /// Length of the vectors.
    pub dim: usize,
    /// How many tokens to each side can be context; the reach of each window is drawn between 1 and
    /// this.
    pub window: usize,
    /// Random words that a word is told from, for each window; all its contexts share them.
    pub negatives: usize,
    /// Passes over the corpus.
    pub epochs: usize,
    /// The first learning rate; it falls to a ten-thousandth in a straight line.
    pub learning_rate: f64,
    /// Words that occur less often are left out.
    pub min_count: u64,
    /// When there are more different words than this while counting, the rarest so far are forgotten,
    /// so that a corpus of any size fits in memory.
    pub max_vocabulary: usize,
    /// Occurrences of words more frequent than this are skipped at random; 0 keeps them all.
    pub subsample: f64,
    /// Negatives are drawn in proportion to `count` to this power: .75 in word2vec and gensim, .5 in
    /// fastText. From 65,536 words on each piece of the corpus draws its negatives from 4,096 that it drew
    /// before, which stay near.
    pub power: f64,
    /// Decides every random choice.
    pub seed: u64,
    /// Pieces of the corpus trained at the same time on the CPU; 0 takes as many as the machine has
    /// cores. Results are the same bits for one (seed, threads) pair.
    pub threads: usize,
    /// Tokens that all threads together train on before their changes to frequent words are merged, and up
    /// to 16 times as many before those to the others are: more is a little faster, fewer is closer to one
    /// thread's quality.
    pub merge_every: usize,
    /// Windows in one step on other devices than the CPU's fast path.
    pub batch: usize,
    /// Which program trains.
    pub engine: Engine,
    /// A corpus of up to this many tokens is held in memory as numbers, 4 bytes each; a longer one
    /// is read again in every epoch.
    pub cache_tokens: usize,
}

/// What a window gives and what is to be told from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Architecture {
    /// Each context and the word in the centre are a pair.
    #[default]
    SkipGram,
    /// The mean of the contexts tells the word in the centre: continuous bag of words.
    Cbow,
}

/// How a word is told from all others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Objective {
    /// It is told from a few words drawn at random.
    #[default]
    NegativeSampling,
    /// Its way through a Huffman tree is told turn by turn: as many turns as the logarithm of the
    /// number of words, fewer for frequent ones. Better for rare words, slower for large vocabularies.
    HierarchicalSoftmax,
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

impl Default for Word2Vec {
    fn default() -> Self {
        Self {
            architecture: Architecture::SkipGram,
            objective: Objective::NegativeSampling,
            ngrams: None,
            documents: None,
            dim: 100,
            window: 5,
            negatives: 5,
            epochs: 5,
            learning_rate: 0.025,
            min_count: 5,
            max_vocabulary: 20_000_000,
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

impl Word2Vec {
    /// The defaults of the program fastText for `skipgram`: n-grams of 3 to 6 characters in two million
    /// rows, a learning rate of .05, frequent words skipped more often, and negatives drawn in proportion
    /// to the root of the counts.
    ///
    /// ```
    /// use refrain_embeddings::{Corpus, Ngrams, Word2Vec, tokenize};
    /// let text = "walk walks walked walking\ntalk talks talked talking\n".repeat(20);
    /// let ngrams = Some(Ngrams { buckets: 1000, ..Ngrams::default() });
    /// let config = Word2Vec { dim: 8, ngrams, threads: 1, ..Word2Vec::fast_text() };
    /// let words = config.fit(&Corpus::from_text(text, tokenize::whitespace))?;
    /// assert_eq!(words.vector("walker"), None); // not in the text,
    /// assert!(words.similarity("walker", "walked").is_ok()); // but made of what was
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    pub fn fast_text() -> Self {
        Self {
            ngrams: Some(Ngrams::default()),
            learning_rate: 0.05,
            subsample: 1e-4,
            power: 0.5,
            ..Self::default()
        }
    }

    /// Trains on the CPU.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the field,
    /// [`Error::EmptyVocabulary`](crate::Error::EmptyVocabulary),
    /// [`Error::Diverged`](crate::Error::Diverged), and whatever reading the corpus reports.
    pub fn fit(&self, corpus: &Corpus<'_>) -> Result<Embeddings> {
        self.fit_with(corpus, &Monitor::silent())
    }

    /// Trains on the CPU, telling `monitor` the loss and the speed.
    ///
    /// # Errors
    /// As [`Word2Vec::fit`], and cancellation.
    pub fn fit_with(&self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<Embeddings> {
        run(self.start_with(corpus, monitor)?, corpus, monitor)
    }

    /// Trains on `device`: with the CPU's kernels where that is the CPU, else as tensors.
    ///
    /// # Errors
    /// As [`Word2Vec::fit_with`].
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
    /// As [`Word2Vec::fit`].
    pub fn start(&self, corpus: &Corpus<'_>) -> Result<Word2VecTraining> {
        self.start_with(corpus, &Monitor::silent())
    }

    fn start_with(&self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<Word2VecTraining> {
        self.validate()?;
        let stage = monitor.start("vocabulary", None);
        let training = Word2VecTraining::new(self.clone(), corpus)?;
        stage.advance(
            training.vocabulary().tokens(),
            format_args!("{} words", training.vocabulary().len()),
        )?;
        Ok(training)
    }

    /// What stays the same during training.
    fn plan(&self, vocabulary: &Vocabulary) -> Plan {
        let counts = vocabulary.counts();
        let mut plan = Plan {
            architecture: self.architecture,
            targets: match self.objective {
                Objective::NegativeSampling => {
                    Targets::Negatives(Negatives::new(counts, self.power), self.negatives)
                }
                Objective::HierarchicalSoftmax => Targets::Paths(Paths::new(counts)),
            },
            ngrams: self
                .ngrams
                .as_ref()
                .map(|ngrams| NgramRows::new(vocabulary, ngrams)),
            documents: self
                .documents
                .as_ref()
                .map(|documents| (self.rows(vocabulary.len()) as u32, documents.words)),
            keep: keep_chances(counts, self.subsample),
            window: self.window,
            learning_rate: self.learning_rate,
            large: LARGE,
            hot: hot::Hot::default(),
        };
        if self.threads > 1 {
            let (tokens, waiting) = (
                self.piece_size() as f64,
                CACHE / (kernel::stride(self.dim) * 4),
            );
            plan.hot = plan.hot(counts, self.power, tokens, OFTEN, waiting);
        }
        plan
    }

    /// Rows of the inputs for so many words.
    fn rows(&self, words: usize) -> usize {
        words + self.ngrams.as_ref().map_or(0, |ngrams| ngrams.buckets)
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

/// A vocabulary of so many words is large: their rows do not fit the processor's caches.
const LARGE: usize = 1 << 16;
/// A row that a thread steps more often than this in a round is merged after it.
const OFTEN: f64 = 2.0;
/// Bytes of a thread's copies of the other rows that may wait to be merged.
const CACHE: usize = 32 << 20;

impl Plan {
    /// The vectors of words and n-grams from the rows of the inputs: a word is the mean of its own
    /// row and its n-grams'.
    fn words(&self, config: &Word2Vec, words: Vocabulary, inputs: &[f32]) -> Result<Embeddings> {
        let (dim, count) = (config.dim, words.len());
        let (own, rest) = inputs.split_at(count * dim);
        let (Some(rows), Some(ngrams)) = (&self.ngrams, &config.ngrams) else {
            return Embeddings::new(words, dim, own.to_vec());
        };
        let mut vectors = vec![0.0; own.len()];
        vectors
            .par_chunks_mut(dim)
            .enumerate()
            .for_each(|(word, vector)| {
                let rows = rows.of(word as u32);
                let scale = 1.0 / rows.len() as f32;
                for &row in rows {
                    let at = row as usize * dim;
                    kernels::axpy(scale, &inputs[at..at + dim], vector);
                }
            });
        let buckets = rest[..ngrams.buckets * dim].to_vec();
        let lengths = ngrams.least..=ngrams.most;
        Embeddings::new(words, dim, vectors)?.with_subwords(Subwords::new(lengths, dim, buckets)?)
    }
}

fn run(
    mut training: Word2VecTraining,
    corpus: &Corpus<'_>,
    monitor: &Monitor,
) -> Result<Embeddings> {
    while !training.is_finished() {
        training.epoch(corpus, monitor)?;
    }
    training.finish()
}
