//! Training step by step: epochs, checkpoints, and resuming as if nothing had happened.

use std::path::Path;
use std::time::Instant;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::rng::stream;
use refrain_core::{Device, ModelFile, ModelWriter, Monitor, Stage, is_cpu};

use super::chunks::Encoded;
use super::kernel::Rows;
use super::sampling::{Negatives, keep_chances};
use super::shards::Shards;
use super::tensors::Tensors;
use super::worker::{Begun, Loss, Plan};
use super::{Engine, SkipGram};
use crate::vocabulary::{END, Vocabulary};
use crate::{Corpus, Embeddings, Error, Result};

const KIND: &str = "embeddings.skip_gram_training";
const VERSION: u32 = 1;

/// Skip-gram between epochs: run the next one, look at the vectors so far, save, resume.
///
/// ```
/// use refrain_core::Monitor;
/// use refrain_embeddings::{Corpus, SkipGram, SkipGramTraining};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("checkpoint.refrain");
/// let corpus = Corpus::from_fn(|| (0..200).map(|i| ["a", "b", if i % 2 == 0 { "c" } else { "d" }]));
/// let config = SkipGram { dim: 8, epochs: 3, threads: 1, ..SkipGram::default() };
///
/// let mut training = config.start(&corpus)?;
/// training.epoch(&corpus, &Monitor::silent())?;
/// training.save(&path)?;
///
/// // another day
/// let mut training = SkipGramTraining::load(&path)?;
/// while !training.is_finished() {
///     let report = training.epoch(&corpus, &Monitor::silent())?;
///     println!("epoch {}: loss {:.3}", report.epoch, report.loss);
/// }
/// assert_eq!(training.finish()?.vector("c"), config.fit(&corpus)?.vector("c"));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug)]
pub struct SkipGramTraining {
    config: SkipGram,
    vocabulary: Vocabulary,
    plan: Plan,
    tables: Tables,
    /// The corpus in numbers; read again after a resume.
    encoded: Option<Encoded>,
    losses: Vec<f64>,
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
    /// The mean loss of a word and its negatives in one context, from a sample of the windows.
    pub loss: f64,
    /// Tokens of the vocabulary read, skipped occurrences included.
    pub tokens: u64,
    /// Tokens per second.
    pub tokens_per_second: f64,
}

impl SkipGramTraining {
    pub(super) fn new(mut config: SkipGram, corpus: &Corpus<'_>) -> Result<Self> {
        config.threads = config.resolved_threads();
        let (vocabulary, encoded) = Encoded::count(corpus, config.min_count, config.cache_tokens)?;
        let inputs = first_vectors(config.seed, vocabulary.len(), config.dim);
        let outputs = Rows::zeros(vocabulary.len(), config.dim);
        Ok(Self::assemble(
            config,
            vocabulary,
            inputs,
            outputs,
            Some(encoded),
            Vec::new(),
        ))
    }

    fn assemble(
        config: SkipGram,
        vocabulary: Vocabulary,
        inputs: Rows,
        outputs: Rows,
        encoded: Option<Encoded>,
        losses: Vec<f64>,
    ) -> Self {
        let plan = Plan {
            negatives: Negatives::new(vocabulary.counts(), config.power),
            keep: keep_chances(vocabulary.counts(), config.subsample),
            window: config.window,
            negatives_per_window: config.negatives,
            learning_rate: config.learning_rate,
            total: vocabulary.tokens().saturating_mul(config.epochs as u64),
        };
        let tables = Tables::Rows {
            inputs,
            outputs,
            shards: Shards::default(),
        };
        Self {
            config,
            vocabulary,
            plan,
            tables,
            encoded,
            losses,
            interrupted: false,
        }
    }

    /// Moves training to `device`; the engine follows [`SkipGram::engine`]. A checkpoint of one
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
    pub fn config(&self) -> &SkipGram {
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
            None => Encoded::encode(corpus, &self.vocabulary, self.config.cache_tokens)?,
        };
        self.interrupted = true;
        let tokens = self.vocabulary.tokens();
        let stage = monitor.start(
            format!("skip-gram epoch {}/{}", epoch + 1, self.config.epochs),
            Some(tokens),
        );
        let began = Instant::now();
        let first = epoch as u64 * tokens;
        let mut pass = Pass {
            epoch,
            first,
            done: 0,
            // A hundred times the loss of vectors that know nothing.
            limit: 100.0 * std::f64::consts::LN_2 * (1 + self.config.negatives) as f64,
            reported: 0,
            piece: 0,
            began,
            stage,
        };
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
                    Tables::Tensors(tensors) => begun.into_iter().try_fold(
                        Loss::default(),
                        |mut sum, (piece, done, rng)| {
                            let l =
                                tensors.train(&self.plan, self.config.batch, piece, done, rng)?;
                            sum.add((l.sum, l.pairs));
                            Ok::<_, Error>(sum)
                        },
                    )?,
                };
                loss.add((sample.sum, sample.pairs));
                pass.end(sample)
            },
        )?;
        if pass.done != tokens {
            return Err(Error::CorpusChanged {
                expected: tokens,
                found: pass.done,
            });
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
        let (inputs, _) = self.dense()?;
        if let Some(loss) = inputs.iter().find(|v| !v.is_finite()) {
            let step = self.vocabulary.tokens() * self.losses.len() as u64;
            return Err(Error::Diverged {
                loss: f64::from(*loss),
                step,
                epoch: self.losses.len(),
            });
        }
        Embeddings::new(self.vocabulary.clone(), self.config.dim, inputs)
    }

    /// Ends training.
    ///
    /// # Errors
    /// As [`SkipGramTraining::embeddings`].
    pub fn finish(self) -> Result<Embeddings> {
        self.embeddings()
    }

    /// Writes a checkpoint: the config, the words, both tables and how many epochs are done.
    ///
    /// # Errors
    /// When an epoch was interrupted, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check_whole()?;
        let (inputs, outputs) = self.dense()?;
        let shape = [self.vocabulary.len(), self.config.dim];
        // JSON need not keep the last bit of a number; a resume must.
        let SkipGram {
            learning_rate,
            subsample,
            power,
            ..
        } = self.config;
        let reals = [learning_rate, subsample, power].map(f64::to_bits);
        let losses: Vec<u64> = self.losses.iter().map(|loss| loss.to_bits()).collect();
        ModelWriter::new(KIND, VERSION)
            .config(&self.config)?
            .u64("reals", &[reals.len()], &reals[..])?
            .u64("losses", &[losses.len()], losses)?
            .ids("words", self.vocabulary.ids())?
            .u64("counts", &shape[..1], self.vocabulary.counts())?
            .f32("inputs", &shape, inputs)?
            .f32("outputs", &shape, outputs)?
            .write(path)?;
        Ok(())
    }

    /// Reads a checkpoint. Training goes on with [`SkipGramTraining::epoch`] on the same corpus, and
    /// gives the same bits as if it had never stopped.
    ///
    /// # Errors
    /// When the file is none, or broken.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let mut config: SkipGram = file.config()?;
        let reals = file.u64("reals")?.expect_shape("reals", &[3])?;
        let fields = [
            &mut config.learning_rate,
            &mut config.subsample,
            &mut config.power,
        ];
        for (field, &bits) in fields.into_iter().zip(reals.data.iter()) {
            *field = f64::from_bits(bits);
        }
        config.validate()?;
        let losses = file
            .u64("losses")?
            .data
            .iter()
            .map(|&bits| f64::from_bits(bits))
            .collect();
        let ids = file.ids("words")?;
        let shape = [ids.len(), config.dim];
        let counts = file.u64("counts")?.expect_shape("counts", &shape[..1])?;
        let vocabulary = Vocabulary::from_counts(ids.iter().zip(counts.data.iter().copied()))?;
        let rows = |name: &str| {
            let values = file.f32(name)?.expect_shape(name, &shape)?;
            Ok::<_, Error>(Rows::from_dense(&values.data, config.dim))
        };
        let (inputs, outputs) = (rows("inputs")?, rows("outputs")?);
        Ok(Self::assemble(
            config, vocabulary, inputs, outputs, None, losses,
        ))
    }

    fn check_whole(&self) -> Result<()> {
        match self.interrupted {
            true => Err(Error::Interrupted {
                epoch: self.losses.len() + 1,
            }),
            false => Ok(()),
        }
    }

    /// Both tables without padding.
    fn dense(&self) -> Result<(Vec<f32>, Vec<f32>)> {
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

/// Where an epoch stands.
struct Pass {
    epoch: usize,
    /// The number of its first token, over all epochs.
    first: u64,
    /// Tokens done in it.
    done: u64,
    /// A mean loss above this is divergence.
    limit: f64,
    /// Of these, tokens already reported.
    reported: u64,
    /// Pieces begun in it.
    piece: u64,
    began: Instant,
    stage: Stage,
}

impl Pass {
    fn begin<'a>(&mut self, pieces: &[&'a [u32]], seed: u64) -> Vec<Begun<'a>> {
        let begin = |piece: &&'a [u32]| {
            let at = self.first + self.done;
            self.done += piece.iter().filter(|&&id| id != END).count() as u64;
            self.piece += 1;
            (
                *piece,
                at,
                stream(seed, ((self.epoch as u64 + 1) << 40) + self.piece),
            )
        };
        pieces.iter().map(begin).collect()
    }

    fn end(&mut self, loss: Loss) -> Result<()> {
        if loss.mean().is_nan() || loss.mean() > self.limit {
            let step = self.first + self.done;
            return Err(Error::Diverged {
                loss: loss.mean(),
                step,
                epoch: self.epoch + 1,
            });
        }
        let new = self.done;
        let speed = new as f64 / self.began.elapsed().as_secs_f64().max(1e-9) / 1e3;
        let steps = new - std::mem::replace(&mut self.reported, new);
        self.stage.advance(
            steps,
            format_args!("{speed:.0}k words/s, loss {:.3}", loss.mean()),
        )?;
        Ok(())
    }
}

/// Input vectors drawn evenly from `±1/(2·dim)`, a stream for each word.
fn first_vectors(seed: u64, count: usize, dim: usize) -> Rows {
    let mut rows = Rows::zeros(count, dim);
    let stride = rows.stride();
    let half = 0.5 / dim as f32;
    rows.as_mut_slice()
        .par_chunks_mut(stride)
        .enumerate()
        .for_each(|(word, row)| {
            let mut rng = stream(seed, word as u64);
            for value in &mut row[..dim] {
                *value = rng.random_range(-half..half);
            }
        });
    rows
}
