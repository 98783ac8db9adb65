//! Low-rank adaptation (Hu et al., *LoRA*, 2022): of a matrix `W` only `W + (α / r) B A` is
//! trained, with `A` of `r` rows and `B` of `r` columns.

mod change;

use std::path::Path;

use burn::module::Module;
use refrain_core::{ModelFile, ModelWriter, Monitor};
use serde::{Deserialize, Serialize};

pub(super) use change::{Change, Shape};

use super::corpus_task::CorpusTask;
use super::module::{entries, with_weights};
use super::task::{Fingerprint, Score, Task};
use super::{Run, Trained, Trainer, checkpoint};
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::entries::{read_weights, write_weights};
use crate::trainable::TrainableModel;
use crate::{Corpus, Result, Vocabulary};

/// How a model is adapted: every matrix but the embeddings gets `2 · rank` vectors of its own. Of a burn
/// module embeddings are burn's `Embedding`s, and any other parameter of two dimensions is a matrix.
///
/// ```
/// use refrain_sequence::{Characters, Corpus, Lora, Trainer, TransformerConfig};
/// let general = "a stitch in time saves nine; ".repeat(30);
/// let special = "a snitch in time gets fine; ".repeat(10);
/// let characters = Characters::from_text(&(general.clone() + &special))?;
/// let config = TransformerConfig { layers: 1, heads: 2, width: 32, context: 16, ..Default::default() };
/// let trainer = Trainer { steps: 60, learning_rate: 1e-2, warm_up: 10, ..Trainer::default() };
/// let device = refrain_core::device("cpu")?;
/// let model = trainer.fit(&config, &Corpus::text(&characters, &general)?, &device)?.model;
///
/// let corpus = Corpus::text(&characters, &special)?;
/// let adapted = trainer.fine_tune_low_rank(&model, &corpus, &Lora::default())?.model;
/// adapted.save(std::env::temp_dir().join("special.refrain"))?; // a small file beside the model's
/// let merged = adapted.merge(&model)?; // a model like any other
/// assert!(merged.loss(corpus.train())? < model.loss(corpus.train())?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Lora {
    /// The rank `r` of the change.
    pub rank: usize,
    /// `α`; the change is multiplied with `α / r`, so that another rank needs no other learning
    /// rate.
    pub alpha: f32,
}

impl Default for Lora {
    fn default() -> Self {
        Self {
            rank: 8,
            alpha: 16.0,
        }
    }
}

/// A trained change of a model's matrices.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    pub(super) shape: Shape,
    pub(super) weights: Vec<f32>,
}

const KIND: &str = "sequence.low_rank";
const VERSION: u32 = 1;

impl LowRank {
    /// How it was made.
    pub fn lora(&self) -> Lora {
        self.shape.lora
    }

    /// How many values it has.
    pub fn parameters(&self) -> usize {
        self.weights.len()
    }

    /// The model with the change, as a model of its own.
    ///
    /// # Errors
    /// [`Error::Tensor`](crate::Error::Tensor) naming a matrix that the model does not have.
    pub fn merge<M: TrainableModel>(&self, model: &M) -> Result<M> {
        let mut weights = model.trainable(crate::Compute::Auto)?.weights()?;
        let own = self.shape.entries()?;
        self.shape
            .add(model.entries(), &own, &self.weights, &mut weights)?;
        model.reweighted(weights)
    }

    /// The module, which lies on a plain device, with the change.
    ///
    /// # Errors
    /// As [`merge`](Self::merge), and those of the device.
    pub fn merge_module<M: Module>(&self, module: &M) -> Result<M> {
        let mut weights = crate::adamw::read(module)?;
        let (model, own) = (entries(module).list, self.shape.entries()?);
        self.shape.add(&model, &own, &self.weights, &mut weights)?;
        Ok(with_weights(module.clone(), &weights))
    }

    /// Writes the change alone to a file.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let file = ModelWriter::new(KIND, VERSION).config(&self.shape)?;
        let entries = self.shape.entries()?;
        Ok(write_weights(file, &entries.list, &self.weights)?.write(path)?)
    }

    /// Reads a change.
    ///
    /// # Errors
    /// When the file is no such change, is damaged, or comes from a newer version.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let shape: Shape = file.config()?;
        let weights = read_weights(&file, &shape.entries()?.list)?;
        Ok(Self { shape, weights })
    }
}

impl Trainer {
    /// Trains a low-rank change of a model, which itself stays as it is: fewer values to keep, to
    /// hand over and to overfit with. Time is that of [`fine_tune`](Trainer::fine_tune), memory
    /// that without the optimizer's.
    ///
    /// # Errors
    /// As [`Trainer::fine_tune`], and [`Error::Config`](crate::Error::Config) for a rank of 0.
    pub fn fine_tune_low_rank<M: TrainableModel>(
        &self,
        model: &M,
        corpus: &Corpus,
        lora: &Lora,
    ) -> Result<Trained<LowRank>> {
        self.fine_tune_low_rank_with(model, corpus, lora, &Monitor::silent())
    }

    /// Trains a low-rank change, telling `monitor` loss and rate.
    ///
    /// # Errors
    /// As [`Trainer::fine_tune_low_rank`], and when cancelled.
    pub fn fine_tune_low_rank_with<M: TrainableModel>(
        &self,
        model: &M,
        corpus: &Corpus,
        lora: &Lora,
        monitor: &Monitor,
    ) -> Result<Trained<LowRank>> {
        self.validate()?;
        let task = LowRankTask::new(self, model, corpus, *lora)?;
        self.run(task, Run::default(), monitor)
    }

    /// Continues an interrupted run of [`Trainer::fine_tune_low_rank_with`] from its checkpoint.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) when trainer, model, `lora` or corpus are not those that
    /// wrote it; the tokens of the corpus and the weights of the model are compared.
    pub fn resume_low_rank_with<M: TrainableModel>(
        &self,
        checkpoint: impl AsRef<Path>,
        model: &M,
        corpus: &Corpus,
        lora: &Lora,
        monitor: &Monitor,
    ) -> Result<Trained<LowRank>> {
        self.validate()?;
        let mut task = LowRankTask::new(self, model, corpus, *lora)?;
        let total = task.shape.entries()?.total;
        let (parameters, run) =
            checkpoint::open(checkpoint.as_ref(), self, NAME)?.continued(&task, total)?;
        task.restore(parameters)?;
        self.run(task, run, monitor)
    }
}

impl Trained<LowRank> {
    /// The change in a checkpoint of [`Trainer::fine_tune_low_rank_with`] or
    /// [`Trainer::fit_module_low_rank_with`], as [`Trained::from_checkpoint`] gives language models; merged,
    /// it gives a model to go on from.
    ///
    /// # Errors
    /// When the file is no checkpoint of a low-rank change, or is damaged.
    pub fn from_low_rank_checkpoint(path: impl AsRef<Path>) -> Result<Self> {
        let fits = |name: &str| name.starts_with(NAME);
        let checkpoint = checkpoint::read(path.as_ref(), fits, NAME)?;
        let (_, shape, _): Described = checkpoint.described()?;
        let total = shape.entries()?.total;
        checkpoint.ended(checkpoint.parameters(total)?, |weights| {
            Ok(LowRank { shape, weights })
        })
    }
}

/// In the name of every task that trains a change.
pub(super) const NAME: &str = "low rank";

/// What a checkpoint says of the model, of the change, and of the weights that it is a change of.
type Described = (String, Shape, u64);

pub(super) fn fingerprint(model: String, shape: &Shape, base_hash: u64) -> String {
    serde_json::to_string(&(model, shape, base_hash)).unwrap_or_default()
}

/// A corpus with an engine that trains the change alone.
struct LowRankTask<'a, M> {
    inner: CorpusTask<'a, M>,
    shape: Shape,
    base_hash: u64,
}

impl<'a, M: TrainableModel> LowRankTask<'a, M> {
    fn new(trainer: &Trainer, model: &'a M, corpus: &'a Corpus, lora: Lora) -> Result<Self> {
        let shape = Shape::of(lora, model.entries());
        let engine = LowRankEngine::new(trainer, model, shape.clone())?;
        Ok(Self {
            base_hash: engine.change.base_hash,
            inner: CorpusTask::with_engine(trainer, model, corpus, Box::new(engine))?,
            shape,
        })
    }
}

impl<M: TrainableModel> Task for LowRankTask<'_, M> {
    type Model = LowRank;

    fn name(&self) -> &str {
        NAME
    }

    fn unit(&self) -> &'static str {
        self.inner.unit()
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut own = self.inner.fingerprint();
        own.model = fingerprint(own.model, &self.shape, self.base_hash);
        own
    }

    fn names(&self) -> Option<&Vocabulary> {
        None
    }

    fn learn(&mut self, trainer: &Trainer, step: usize) -> Result<(f64, usize)> {
        self.inner.learn(trainer, step)
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        self.inner.update(update)
    }

    fn validate(&self, trainer: &Trainer) -> Result<Option<Score>> {
        self.inner.validate(trainer)
    }

    fn describe(&mut self, trainer: &Trainer, step: usize) -> String {
        self.inner.describe(trainer, step)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        self.inner.weights()
    }

    fn parameters(&self) -> Result<Parameters> {
        self.inner.parameters()
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.inner.restore(parameters)
    }

    fn finish(self, weights: Vec<f32>) -> Result<LowRank> {
        Ok(LowRank {
            shape: self.shape,
            weights,
        })
    }
}

/// Trains a change by the gradients that another engine finds for the whole matrices.
struct LowRankEngine {
    inner: Box<dyn Engine>,
    change: Change,
}

impl LowRankEngine {
    fn new<M: TrainableModel>(trainer: &Trainer, model: &M, shape: Shape) -> Result<Self> {
        let inner = model.trainable(trainer.compute)?;
        let change = Change::new(shape, model.entries(), inner.weights()?, trainer.seed)?;
        Ok(Self { inner, change })
    }

    /// Hands the changed matrices to the other engine.
    fn apply(&mut self) -> Result<()> {
        self.inner.replace_weights(&self.change.changed()?)
    }
}

impl Engine for LowRankEngine {
    fn accumulate(
        &mut self,
        batch: &[Example],
        scale: f64,
        dropout: Option<Dropout>,
    ) -> Result<f64> {
        self.inner.accumulate(batch, scale, dropout)
    }

    fn smooth_labels(&mut self, share: f32) {
        self.inner.smooth_labels(share);
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let gradient = self.take_gradient()?;
        let norm = self.change.step(&gradient, update);
        if norm.is_finite() {
            self.apply()?;
        }
        Ok(norm)
    }

    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        self.inner.evaluate(batch)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.change.parameters.weights.clone())
    }

    fn parameters(&self) -> Result<Parameters> {
        Ok(Parameters {
            lanes: self.inner.parameters()?.lanes,
            ..self.change.parameters.clone()
        })
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        let own = self.inner.parameters()?;
        self.inner.restore(Parameters {
            lanes: parameters.lanes.clone(),
            ..own
        })?;
        self.change.parameters = parameters;
        self.apply()
    }

    fn replace_weights(&mut self, weights: &[f32]) -> Result<()> {
        self.change.parameters.weights.copy_from_slice(weights);
        self.apply()
    }

    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        let whole = self.inner.take_gradient()?;
        self.change.gradient(&whole)
    }
}

#[cfg(test)]
mod tests;
