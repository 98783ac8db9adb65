//! Low-rank adaptation (Hu et al., *LoRA*, 2022): of a matrix `W` only `W + (α / r) B A` is
//! trained, with `A` of `r` rows and `B` of `r` columns.

use std::path::Path;

use refrain_core::{ModelFile, ModelWriter, Monitor};
use serde::{Deserialize, Serialize};

use super::corpus_task::CorpusTask;
use super::task::{Fingerprint, Score, Task};
use super::{Run, Trained, Trainer, checkpoint};
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::entries::{Entries, Entry, Init, Role, initial, read_weights, write_weights};
use crate::kernels::adam;
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::trainable::TrainableModel;
use crate::{Corpus, Error, Result, Vocabulary};

/// How a model is adapted: every matrix but the embeddings gets `2 · rank` vectors of its own.
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
    shape: Shape,
    weights: Vec<f32>,
}

/// A matrix that is adapted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Target {
    name: String,
    rows: usize,
    cols: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shape {
    lora: Lora,
    targets: Vec<Target>,
}

const KIND: &str = "sequence.low_rank";
const VERSION: u32 = 1;
const LIMIT: usize = 1 << 20;

impl Shape {
    fn of(lora: Lora, parameters: &[Entry]) -> Self {
        let matrices = parameters.iter().filter(|e| e.role == Role::Matrix);
        let targets = matrices.filter_map(|entry| match entry.shape[..] {
            [rows, cols] => Some(Target {
                name: entry.name.clone(),
                rows,
                cols,
            }),
            _ => None,
        });
        Self {
            lora,
            targets: targets.collect(),
        }
    }

    /// Of each target first `A`, `[rank, cols]`, then `B`, `[rows, rank]`, which begins as zeros.
    fn entries(&self) -> Result<Entries> {
        let rank = self.lora.rank;
        if rank == 0 || rank > LIMIT {
            return Err(Error::config("Lora.rank", rank, "between 1 and 2^20"));
        }
        if !self.lora.alpha.is_finite() {
            return Err(Error::config("Lora.alpha", self.lora.alpha, "a number"));
        }
        let mut entries = Entries::default();
        for Target { name, rows, cols } in &self.targets {
            if *rows.max(cols) > 1 << 32 {
                let expected = "a matrix of at most 2^32 rows and columns";
                return Err(Error::config("LowRank.targets", name, expected));
            }
            let init = Init::Normal(1.0 / (*cols as f32).sqrt());
            entries.push(format!("{name}.a"), vec![rank, *cols], Role::Matrix, init);
            let (shape, init) = (vec![*rows, rank], Init::Constant(0.0));
            entries.push(format!("{name}.b"), shape, Role::Matrix, init);
        }
        Ok(entries)
    }

    fn scale(&self) -> f32 {
        self.lora.alpha / self.lora.rank as f32
    }

    /// Each target with its place in the model, and its `A` and `B` among the adapter's weights.
    fn places<'a>(
        &'a self,
        model: &'a [Entry],
        own: &'a [Entry],
    ) -> impl Iterator<Item = Result<Place<'a>>> + 'a {
        let pairs = self.targets.iter().zip(own.chunks_exact(2));
        pairs.map(|(target, pair)| {
            let shape = [target.rows, target.cols];
            let found = model.iter().find(|e| e.name == target.name);
            match (found.filter(|e| e.shape == shape), pair) {
                (Some(at), [a, b]) => Ok(Place { target, at, a, b }),
                _ => {
                    let [rows, cols] = shape;
                    let reason = format_args!("is not a matrix of {rows} × {cols} of the model");
                    Err(Error::tensor(&target.name, reason))
                }
            }
        })
    }

    /// Adds the change to a model's weights.
    fn add(&self, model: &[Entry], own: &Entries, change: &[f32], sum: &mut [f32]) -> Result<()> {
        for place in self.places(model, &own.list) {
            let Place { target, at, a, b } = place?;
            let rank = self.lora.rank;
            product(
                MatMut::new(&mut sum[at.range.clone()], target.rows, target.cols),
                Into::Add,
                self.scale(),
                Mat::new(&change[b.range.clone()], target.rows, rank),
                Mat::new(&change[a.range.clone()], rank, target.cols),
            );
        }
        Ok(())
    }
}

struct Place<'a> {
    target: &'a Target,
    at: &'a Entry,
    a: &'a Entry,
    b: &'a Entry,
}

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
    /// [`Error::Tensor`] naming a matrix that the model does not have.
    pub fn merge<M: TrainableModel>(&self, model: &M) -> Result<M> {
        let mut weights = model.trainable(crate::Compute::Auto)?.weights()?;
        let own = self.shape.entries()?;
        self.shape
            .add(model.entries(), &own, &self.weights, &mut weights)?;
        model.reweighted(weights)
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
    /// As [`Trainer::fine_tune`], and [`Error::Config`] for a rank of 0.
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
    /// [`Error::Checkpoint`] when trainer, model, `lora` or corpus are not those that wrote it.
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

const NAME: &str = "low rank";

/// A corpus with an engine that trains the change alone.
struct LowRankTask<'a, M> {
    inner: CorpusTask<'a, M>,
    shape: Shape,
}

impl<'a, M: TrainableModel> LowRankTask<'a, M> {
    fn new(trainer: &Trainer, model: &'a M, corpus: &'a Corpus, lora: Lora) -> Result<Self> {
        let shape = Shape::of(lora, model.entries());
        let engine = LowRankEngine::new(trainer, model, shape.clone())?;
        Ok(Self {
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

    fn fingerprint(&self) -> Fingerprint {
        let mut own = self.inner.fingerprint();
        own.model += &format!("{:?}", self.shape);
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

/// Trains `A` and `B` by the gradients that another engine finds for the whole matrices:
/// `dA = (α / r) Bᵀ dW`, `dB = (α / r) dW Aᵀ`.
struct LowRankEngine {
    inner: Box<dyn Engine>,
    model: Vec<Entry>,
    base: Vec<f32>,
    shape: Shape,
    own: Entries,
    parameters: Parameters,
}

impl LowRankEngine {
    fn new<M: TrainableModel>(trainer: &Trainer, model: &M, shape: Shape) -> Result<Self> {
        let own = shape.entries()?;
        let inner = model.trainable(trainer.compute)?;
        Ok(Self {
            base: inner.weights()?,
            inner,
            model: model.entries().to_vec(),
            parameters: Parameters {
                weights: initial(&own.list, trainer.seed),
                first: vec![0.0; own.total],
                second: vec![0.0; own.total],
                lanes: Vec::new(),
            },
            shape,
            own,
        })
    }

    /// Hands the changed matrices to the other engine.
    fn apply(&mut self) -> Result<()> {
        let mut weights = self.base.clone();
        let change = &self.parameters.weights;
        self.shape
            .add(&self.model, &self.own, change, &mut weights)?;
        self.inner.replace_weights(&weights)
    }

    fn own_gradient(&self, whole: &[f32]) -> Result<Vec<f32>> {
        let mut gradient = vec![0.0; self.own.total];
        let (weights, scale) = (&self.parameters.weights, self.shape.scale());
        for place in self.shape.places(&self.model, &self.own.list) {
            let Place { target, at, a, b } = place?;
            let (rows, cols, rank) = (target.rows, target.cols, self.shape.lora.rank);
            let dw = Mat::new(&whole[at.range.clone()], rows, cols);
            let known_a = Mat::new(&weights[a.range.clone()], rank, cols);
            let known_b = Mat::new(&weights[b.range.clone()], rows, rank);
            let da = MatMut::new(&mut gradient[a.range.clone()], rank, cols);
            product(da, Into::Replace, scale, known_b.t(), dw);
            let db = MatMut::new(&mut gradient[b.range.clone()], rows, rank);
            product(db, Into::Replace, scale, dw, known_a.t());
        }
        Ok(gradient)
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
        let norm = adam::norm(&gradient);
        if norm.is_finite() {
            let shrink = update.shrink(norm);
            let (parameters, entries) = (&mut self.parameters, &self.own.list);
            adam::step(parameters, &gradient, entries, update, shrink);
            self.apply()?;
        }
        Ok(norm)
    }

    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        self.inner.evaluate(batch)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.parameters.weights.clone())
    }

    fn parameters(&self) -> Result<Parameters> {
        Ok(Parameters {
            lanes: self.inner.parameters()?.lanes,
            ..self.parameters.clone()
        })
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        let own = self.inner.parameters()?;
        self.inner.restore(Parameters {
            lanes: parameters.lanes.clone(),
            ..own
        })?;
        self.parameters = parameters;
        self.apply()
    }

    fn replace_weights(&mut self, weights: &[f32]) -> Result<()> {
        self.parameters.weights.copy_from_slice(weights);
        self.apply()
    }

    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        let whole = self.inner.take_gradient()?;
        self.own_gradient(&whole)
    }
}

#[cfg(test)]
mod tests;
