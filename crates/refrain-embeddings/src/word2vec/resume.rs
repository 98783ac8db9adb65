//! Going on: from a checkpoint, and with another corpus.

use std::path::Path;

use refrain_core::{ModelFile, ModelWriter};

use super::kernel::Rows;
use super::training::{Word2VecTraining, first_vectors};
use super::{Objective, Word2Vec};
use crate::encoded::Encoded;
use crate::vocabulary::Vocabulary;
use crate::{Corpus, Error, Result};

const KIND: &str = "embeddings.word2vec_training";
const VERSION: u32 = 1;

impl Word2VecTraining {
    /// Goes on with another corpus for `epochs` more epochs, from the vectors so far, with the
    /// learning rate back at its first value. Words of the new corpus that occur
    /// [`Word2Vec::min_count`] times in it are added behind those that are known, and counts add up.
    /// A [device](Word2VecTraining::on) other than the CPU is to be chosen again.
    ///
    /// The documents are those of the new corpus; the old ones' vectors go. With hierarchical softmax
    /// the tree is built anew, and the vectors of its turns begin at zero.
    ///
    /// ```
    /// use refrain_core::Monitor;
    /// use refrain_embeddings::{Corpus, Word2Vec};
    /// let first = Corpus::from_fn(|| (0..50).map(|_| ["red", "green", "blue"]));
    /// let second = Corpus::from_fn(|| (0..50).map(|_| ["red", "green", "violet"]));
    /// let mut training = Word2Vec { dim: 8, threads: 1, ..Word2Vec::default() }.start(&first)?;
    /// while !training.is_finished() {
    ///     training.epoch(&first, &Monitor::silent())?;
    /// }
    /// let mut training = training.extend(&second, 2)?;
    /// while !training.is_finished() {
    ///     training.epoch(&second, &Monitor::silent())?;
    /// }
    /// assert!(training.finish()?.vector("violet").is_some());
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Word2Vec::start`], and [`Error::Interrupted`].
    pub fn extend(self, corpus: &Corpus<'_>, epochs: usize) -> Result<Self> {
        self.check_whole()?;
        let mut config = self.config.clone();
        config.epochs = epochs;
        config.validate()?;
        let (known, dim) = (self.vocabulary.len(), config.dim);
        let (vocabulary, encoded, seen) = Encoded::extend(
            corpus,
            &self.vocabulary,
            config.min_count,
            config.cache_tokens,
        )?;
        let tokens = seen.iter().sum();
        let (old_inputs, old_outputs) = self.dense()?;
        let documents = config.count_documents(encoded.sentences)?;
        let rows = config.rows(vocabulary.len());
        let mut inputs = first_vectors(&config, rows + documents);
        let mut outputs = Rows::zeros(vocabulary.len(), dim);
        let (words, rest) = old_inputs.split_at(known * dim);
        let ngrams = &rest[..(config.rows(known) - known) * dim];
        inputs.copy(0, words, dim);
        inputs.copy(vocabulary.len(), ngrams, dim);
        if config.objective == Objective::NegativeSampling {
            outputs.copy(0, &old_outputs, dim);
        }
        let amounts = (tokens, documents);
        let mut training = Self::assemble(config, vocabulary, amounts, inputs, outputs);
        training.encoded = Some(encoded);
        Ok(training)
    }

    /// Writes a checkpoint: the config, the words, both tables and how many epochs are done.
    ///
    /// # Errors
    /// When an epoch was interrupted, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check_whole()?;
        let (inputs, outputs) = self.dense()?;
        let dim = self.config.dim;
        let shape = [self.vocabulary.len(), dim];
        let reals = self.config.reals();
        let losses: Vec<u64> = self.losses.iter().map(|loss| loss.to_bits()).collect();
        ModelWriter::new(KIND, VERSION)
            .config(&self.config)?
            .u64("reals", &[reals.len()], &reals[..])?
            .u64("losses", &[losses.len()], losses)?
            .ids("words", self.vocabulary.ids())?
            .u64("counts", &shape[..1], self.vocabulary.counts())?
            .u64("tokens", &[2], vec![self.tokens, self.documents as u64])?
            .f32("inputs", &[inputs.len() / dim, dim], inputs)?
            .f32("outputs", &shape, outputs)?
            .write(path)?;
        Ok(())
    }

    /// Reads a checkpoint. Training goes on with [`Word2VecTraining::epoch`] on the same corpus, and
    /// gives the same bits as if it had never stopped.
    ///
    /// # Errors
    /// When the file is none, or broken.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let mut config = Word2Vec::from_file(&file)?;
        config.threads = config.threads.max(1);
        let losses = file.u64("losses")?.data;
        let ids = file.ids("words")?;
        let shape = [ids.len(), config.dim];
        let counts = file.u64("counts")?.expect_shape("counts", &shape[..1])?;
        let vocabulary = Vocabulary::from_counts(ids.iter().zip(counts.data.iter().copied()))?;
        let amounts = file.u64("tokens")?.expect_shape("tokens", &[2])?.data;
        let amount = |at: usize| amounts.get(at).copied().unwrap_or_default();
        let documents = config.count_documents(amount(1))?;
        let rows = |name: &str, count: usize| {
            let shape = [count, config.dim];
            let values = file.f32(name)?.expect_shape(name, &shape)?;
            Ok::<_, Error>(Rows::from_dense(&values.data, config.dim))
        };
        let inputs = rows("inputs", config.rows(shape[0]) + documents)?;
        let outputs = rows("outputs", shape[0])?;
        let amounts = (amount(0), documents);
        let mut training = Self::assemble(config, vocabulary, amounts, inputs, outputs);
        training.losses = losses.iter().map(|&bits| f64::from_bits(bits)).collect();
        Ok(training)
    }
}
