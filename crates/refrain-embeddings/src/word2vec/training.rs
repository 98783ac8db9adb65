//! Training step by step.

use std::time::Instant;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::rng::stream;
use refrain_core::{Device, Monitor, is_cpu};

use super::documents::DocumentVectors;
use super::kernel::Rows;
use super::pass::Pass;
use super::shards::Shards;
use super::tensors::Tensors;
use super::windows::{Loss, Plan};
use super::{Architecture, Engine, Word2Vec};
use crate::encoded::Encoded;
use crate::vocabulary::Vocabulary;
use crate::{Corpus, Embeddings, Error, Result};

/// Word2Vec between epochs: run the next one, look at the vectors so far, save, resume.
///
/// ```
/// use refrain_core::Monitor;
/// use refrain_embeddings::{Corpus, Word2Vec, Word2VecTraining};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("checkpoint.refrain");
/// let corpus = Corpus::from_fn(|| (0..200).map(|i| ["a", "b", if i % 2 == 0 { "c" } else { "d" }]));
/// let config = Word2Vec { dim: 8, epochs: 3, threads: 1, ..Word2Vec::default() };
///
/// let mut training = config.start(&corpus)?;
/// training.epoch(&corpus, &Monitor::silent())?;
/// training.save(&path)?;
///
/// // another day
/// let mut training = Word2VecTraining::load(&path)?;
/// while !training.is_finished() {
///     let report = training.epoch(&corpus, &Monitor::silent())?;
///     println!("epoch {}: loss {:.3}", report.epoch, report.loss);
/// }
/// assert_eq!(training.finish()?.vector("c"), config.fit(&corpus)?.vector("c"));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug)]
pub struct Word2VecTraining {
    pub(super) config: Word2Vec,
    pub(super) vocabulary: Vocabulary,
    /// Tokens of the vocabulary in the corpus that is trained on.
    pub(super) tokens: u64,
    /// Documents that have vectors of their own.
    pub(super) documents: usize,
    plan: Plan,
    tables: Tables,
    /// The corpus in numbers; read again after a resume.
    pub(super) encoded: Option<Encoded>,
    pub(super) losses: Vec<f64>,
    /// An epoch was begun and not ended.
    interrupted: bool,
}

/// The tables, where they are trained.
#[derive(Debug)]
// There is one of these in a training.
#[allow(clippy::large_enum_variant)]
enum Tables {
    Rows {
        inputs: Rows,
        outputs: Rows,
        shards: Shards,
    },
    Tensors(Box<Tensors>),
}

/// What one epoch did.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// Which one, counted from 1.
    pub epoch: usize,
    /// The mean loss of a word and its negatives in one context, from a sample of the windows; of a
    /// [classifier](crate::TextClassifierTraining), the mean loss of a text.
    pub loss: f64,
    /// Tokens of the vocabulary read, skipped occurrences included.
    pub tokens: u64,
    /// Tokens per second.
    pub tokens_per_second: f64,
}

impl Word2VecTraining {
    pub(super) fn new(mut config: Word2Vec, corpus: &Corpus<'_>) -> Result<Self> {
        config.threads = config.resolved_threads();
        let (vocabulary, encoded) = Encoded::count(
            corpus,
            (config.min_count, config.max_vocabulary),
            config.cache_tokens,
            config.threads,
        )?;
        let documents = config.count_documents(encoded.sentences)?;
        let inputs = first_vectors(&config, config.rows(vocabulary.len()) + documents);
        let outputs = Rows::zeros(vocabulary.len(), config.dim);
        let tokens = vocabulary.tokens();
        let mut training = Self::assemble(config, vocabulary, (tokens, documents), inputs, outputs);
        training.encoded = Some(encoded);
        Ok(training)
    }

    pub(super) fn assemble(
        config: Word2Vec,
        vocabulary: Vocabulary,
        (tokens, documents): (u64, usize),
        inputs: Rows,
        outputs: Rows,
    ) -> Self {
        let plan = config.plan(&vocabulary);
        let tables = Tables::Rows {
            inputs,
            outputs,
            shards: Shards::default(),
        };
        Self {
            config,
            vocabulary,
            tokens,
            documents,
            plan,
            tables,
            encoded: None,
            losses: Vec::new(),
            interrupted: false,
        }
    }

    /// Moves training to `device`; the engine follows [`Word2Vec::engine`]. A checkpoint of one
    /// device can be resumed on another.
    ///
    /// # Errors
    /// When the tables cannot be read back from the device they are on.
    pub fn on(mut self, device: &Device) -> Result<Self> {
        let kernels = match self.config.engine {
            Engine::Auto => is_cpu(device),
            Engine::Kernels => true,
            Engine::Tensors => false,
        };
        let (inputs, outputs) = self.dense()?;
        let dim = self.config.dim;
        self.tables = match kernels {
            true => Tables::Rows {
                inputs: Rows::from_dense(&inputs, dim),
                outputs: Rows::from_dense(&outputs, dim),
                shards: Shards::default(),
            },
            false => Tables::Tensors(Box::new(Tensors::new(inputs, outputs, dim, device))),
        };
        Ok(self)
    }

    /// The config; `threads` is the number that is used.
    pub fn config(&self) -> &Word2Vec {
        &self.config
    }

    /// The words.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// The loss of each epoch so far.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Whether all epochs are done.
    pub fn is_finished(&self) -> bool {
        self.losses.len() >= self.config.epochs
    }

    /// Trains one epoch. Once all are done it does nothing but repeat the last loss.
    ///
    /// # Errors
    /// Cancellation, [`Error::Diverged`], [`Error::CorpusChanged`], and whatever reading the corpus
    /// reports. After an error the epoch is half done: go back to the last checkpoint.
    pub fn epoch(&mut self, corpus: &Corpus<'_>, monitor: &Monitor) -> Result<EpochReport> {
        self.check_whole()?;
        let epoch = self.losses.len();
        if self.is_finished() {
            let loss = self.losses.last().copied().unwrap_or_default();
            return Ok(EpochReport {
                epoch,
                loss,
                tokens: 0,
                tokens_per_second: 0.0,
            });
        }
        let encoded = match self.encoded.take() {
            Some(encoded) => encoded,
            None => Encoded::encode(corpus, &self.vocabulary, self.config.cache_tokens)?.0,
        };
        self.interrupted = true;
        let tokens = self.tokens;
        let stage = monitor.start(
            format!("word vectors, epoch {}/{}", epoch + 1, self.config.epochs),
            Some(tokens),
        );
        let began = Instant::now();
        // A hundred times the loss of vectors that know nothing.
        let limit = 100.0 * std::f64::consts::LN_2 * self.plan.most_labels() as f64;
        let mut pass = Pass::new((epoch, self.config.epochs), tokens, limit, stage);
        let group = match &self.tables {
            Tables::Rows { .. } => self.config.threads,
            Tables::Tensors(_) => 1,
        };
        let mut loss = Loss::default();
        encoded.rounds(
            corpus,
            &self.vocabulary,
            self.config.piece_size(),
            group,
            |pieces| {
                let begun = pass.begin(pieces, self.config.seed);
                let sample = match &mut self.tables {
                    Tables::Rows {
                        inputs,
                        outputs,
                        shards,
                    } => shards.round(&self.plan, self.config.threads, inputs, outputs, begun),
                    Tables::Tensors(tensors) => {
                        begun
                            .into_iter()
                            .try_fold(Loss::default(), |mut sum, piece| {
                                let l = tensors.train(&self.plan, self.config.batch, piece)?;
                                sum.add((l.sum, l.pairs));
                                Ok::<_, Error>(sum)
                            })?
                    }
                };
                loss.add((sample.sum, sample.pairs));
                pass.end(sample, &loss)
            },
        )?;
        if pass.done() != tokens {
            return Err(Error::CorpusChanged {
                expected: tokens,
                found: pass.done(),
            });
        }
        if let Tables::Rows {
            inputs,
            outputs,
            shards,
        } = &mut self.tables
        {
            shards.finish(inputs, outputs);
        }
        self.losses.push(loss.mean());
        self.encoded = Some(encoded);
        self.interrupted = false;
        let tokens_per_second = tokens as f64 / began.elapsed().as_secs_f64().max(1e-9);
        Ok(EpochReport {
            epoch: epoch + 1,
            loss: loss.mean(),
            tokens,
            tokens_per_second,
        })
    }

    /// The vectors so far.
    ///
    /// # Errors
    /// When they cannot be read back from their device, or are not finite.
    pub fn embeddings(&self) -> Result<Embeddings> {
        let (inputs, _) = self.finite()?;
        self.plan
            .words(&self.config, self.vocabulary.clone(), &inputs)
    }

    /// Both tables without padding, if all is finite.
    fn finite(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let (inputs, outputs) = self.dense()?;
        if let Some(loss) = inputs.iter().chain(&outputs).find(|v| !v.is_finite()) {
            return Err(Error::Diverged {
                loss: f64::from(*loss),
                step: self.tokens * self.losses.len() as u64,
                epoch: self.losses.len(),
            });
        }
        Ok((inputs, outputs))
    }

    /// Ends training that [documents](Word2Vec::documents) took part in.
    ///
    /// # Errors
    /// As [`Word2VecTraining::embeddings`], and [`Error::Config`] when none did.
    pub fn finish_documents(self) -> Result<DocumentVectors> {
        self.config.expect_documents()?;
        let (inputs, outputs) = self.finite()?;
        DocumentVectors::new(self.config, self.vocabulary, inputs, outputs)
    }

    /// Ends training.
    ///
    /// # Errors
    /// As [`Word2VecTraining::embeddings`].
    pub fn finish(self) -> Result<Embeddings> {
        self.embeddings()
    }

    pub(super) fn check_whole(&self) -> Result<()> {
        match self.interrupted {
            true => Err(Error::Interrupted {
                epoch: self.losses.len() + 1,
            }),
            false => Ok(()),
        }
    }

    /// Both tables without padding.
    pub(super) fn dense(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        match &self.tables {
            Tables::Rows {
                inputs, outputs, ..
            } => Ok((
                inputs.to_dense(self.config.dim),
                outputs.to_dense(self.config.dim),
            )),
            Tables::Tensors(tensors) => tensors.read(),
        }
    }
}

/// Input vectors drawn evenly from `±1/(2·dim)`, a stream for each row; those that are parts of
/// means from `±1/dim`.
pub(super) fn first_vectors(config: &Word2Vec, count: usize) -> Rows {
    let mut rows = Rows::zeros(count, config.dim);
    let stride = rows.stride();
    let mean = config.ngrams.is_some() || config.architecture == Architecture::Cbow;
    let half = if mean { 1.0 } else { 0.5 } / config.dim as f32;
    rows.as_mut_slice()
        .par_chunks_mut(stride)
        .enumerate()
        .for_each(|(word, row)| {
            let mut rng = stream(config.seed, word as u64);
            for value in &mut row[..config.dim] {
                *value = rng.random_range(-half..half);
            }
        });
    rows
}
