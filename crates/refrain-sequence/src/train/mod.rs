//! Training: a language model on a [`Corpus`], or any burn module on examples of its own
//! ([`Learner`]).
//!
//! Of a language model every step draws `batch × accumulate` windows or documents (a recurrent model that carries its
//! state reads a stream in as many lanes, window after window instead), averages the cross-entropy of all
//! their targets, clips the gradient by its global norm (Pascanu et al., 2013) and takes one AdamW
//! step; the learning rate warms up linearly and falls along a cosine. At intervals the *whole*
//! validation part is scored; the best weights are kept, and training may stop early.
//!
//! What a step sees depends only on the seed and the step's number, so a run that was interrupted
//! and resumed from a checkpoint gives the same losses as an unbroken one, bit for bit, on the CPU
//! with the same number of threads.

mod buckets;
mod checkpoint;
mod corpus_task;
mod curve;
mod examples;
mod lora;
mod module;
mod picture;
mod run;
mod task;

use std::path::{Path, PathBuf};
use std::time::Duration;

use refrain_core::{Device, Monitor};
use serde::{Deserialize, Serialize};

use corpus_task::CorpusTask;
pub(crate) use corpus_task::evaluate;
pub use curve::{Fit, LearningCurve, LossPoint, Measure};
pub use examples::{Examples, JsonLines};
pub use lora::{Lora, LowRank};
pub use module::{Learner, Learning};
pub(crate) use module::{entries, with_weights};
use run::Run;
use task::Task;

use crate::engine::Update;
use crate::entries::Role;
use crate::trainable::{ModelConfig, Sealed, TrainableModel};
use crate::transformer::{Compute, Transformer};
use crate::{Corpus, Error, Result};

/// Which parameters weight decay pulls towards zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Decay {
    /// Matrices and embeddings, as nanoGPT; never norms and biases.
    Matrices,
    /// Matrices only; never embeddings, norms and biases.
    NotEmbeddings,
    /// Everything.
    All,
}

impl Decay {
    pub(crate) fn applies(self, role: Role) -> bool {
        match (self, role) {
            (Self::All, _) | (_, Role::Matrix) => true,
            (Self::Matrices, Role::Embedding) => true,
            (Self::NotEmbeddings, Role::Embedding) | (_, Role::Vector) => false,
        }
    }
}

/// How the learning rate falls after the warm-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Schedule {
    /// Along half a cosine to [`Trainer::final_share`] (Loshchilov and Hutter, 2017).
    Cosine,
    /// Along a line to [`Trainer::final_share`].
    Linear,
    /// Not at all.
    Constant,
    /// As `√(warm_up / step)` (Vaswani et al., 2017).
    InverseSqrt,
}

/// Which weights a run returns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Keep {
    /// Those with the lowest validation loss; the last ones where nothing is held out.
    Best,
    /// The last ones.
    Last,
}

/// How a model is trained. The default follows nanoGPT's small recipe.
///
/// ```
/// use refrain_sequence::{Characters, Corpus, Trainer, TransformerConfig};
/// let text = "so long and thanks for all the fish. ".repeat(30);
/// let corpus = Corpus::text(&Characters::from_text(&text)?, &text)?.hold_out(0.1, 0)?;
/// let config = TransformerConfig { layers: 1, heads: 2, width: 32, context: 16, ..Default::default() };
/// let trainer = Trainer { steps: 60, learning_rate: 1e-2, warm_up: 10, ..Trainer::default() };
/// let trained = trainer.fit(&config, &corpus, &refrain_core::device("cpu")?)?;
/// let first = trained.curve.train[0].loss;
/// assert!(trained.curve.best().unwrap().loss < 0.6 * first);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trainer {
    /// Optimizer steps.
    pub steps: usize,
    /// Windows or documents in one pass through the model.
    pub batch: usize,
    /// Passes whose gradients make one step; the same as a larger batch, in less memory.
    pub accumulate: usize,
    /// The highest learning rate.
    pub learning_rate: f64,
    /// How it falls after the warm-up.
    pub schedule: Schedule,
    /// The last learning rate, as a share of the highest; of the cosine and the linear schedule.
    pub final_share: f64,
    /// Steps of linear warm-up.
    pub warm_up: usize,
    /// AdamW's decoupled weight decay.
    pub weight_decay: f64,
    /// What it applies to.
    pub decay: Decay,
    /// AdamW's β₁ and β₂.
    pub betas: (f64, f64),
    /// AdamW's ε.
    pub epsilon: f64,
    /// The largest global norm of a gradient.
    pub clip: Option<f64>,
    /// The share of each target's probability that is spread over all classes (Szegedy et al., 2016;
    /// Müller et al., 2019); validation has none. Losses that are a softmax's of single targets have it:
    /// language models, encoder-decoders, classifiers, and labellers without a CRF; a
    /// [`Learner`] of one's own finds it in [`Learning::label_smoothing`].
    pub label_smoothing: f32,
    /// The decay of a running mean of the weights, `a ← d a + (1 - d) w` at every step (Polyak and
    /// Juditsky, 1992), say 0.999: validation judges the mean, and the run returns it. The mean is
    /// kept on the host.
    pub average: Option<f64>,
    /// How many batches' worth of examples [`Trainer::fit_module`] sorts by length together, so
    /// that little is padded; 1 for none. Documents of a language model are drawn as they come: the
    /// kernels of a CPU pad nothing.
    pub bucket: usize,
    /// Steps between two validations; one more follows the last step.
    pub evaluate_every: usize,
    /// Stop after so many validations without a new best.
    pub patience: Option<usize>,
    /// Which weights the run returns.
    pub keep: Keep,
    /// Where to write checkpoints, from which a run goes on ([`Trainer::resume`]), or which give the best
    /// weights until then ([`Trained::from_checkpoint`]). A file of an earlier run stays there until the first
    /// is written.
    #[serde(skip)]
    pub checkpoint: Option<PathBuf>,
    /// Steps between two checkpoints.
    #[serde(skip)]
    pub checkpoint_every: usize,
    /// How a language model computes. Modules compute as they are made, and learn with gradient checkpointing
    /// where this is [`Compute::CheckpointedProgram`], to the same numbers but for rounding.
    pub compute: Compute,
    /// Decides first weights, batches and dropout.
    pub seed: u64,
}

impl Default for Trainer {
    fn default() -> Self {
        Self {
            steps: 2_000,
            batch: 12,
            accumulate: 1,
            learning_rate: 1e-3,
            schedule: Schedule::Cosine,
            final_share: 0.1,
            warm_up: 100,
            weight_decay: 0.1,
            decay: Decay::Matrices,
            betas: (0.9, 0.99),
            epsilon: 1e-8,
            clip: Some(1.0),
            label_smoothing: 0.0,
            average: None,
            bucket: 16,
            evaluate_every: 250,
            patience: None,
            keep: Keep::Best,
            checkpoint: None,
            checkpoint_every: 250,
            compute: Compute::Auto,
            seed: 0,
        }
    }
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Trained<M = Transformer> {
    /// The model.
    pub model: M,
    /// Training loss at each step and validation loss at intervals.
    pub curve: LearningCurve,
    /// Whether [`Trainer::patience`] ran out.
    pub stopped_early: bool,
    /// Time in training steps, without validation; after a resume that before the checkpoint too.
    pub training_time: Duration,
    /// Targets trained on, as many times as they were drawn; after a resume those before the checkpoint too.
    pub tokens: u64,
}

impl<M> Trained<M> {
    /// Targets trained on in one second.
    pub fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.training_time.as_secs_f64().max(1e-9)
    }
}

impl<M: TrainableModel> Trained<M> {
    /// The language model in a [checkpoint](Trainer::checkpoint), as if its run had ended there: the best
    /// weights found before, whatever [`Trainer::keep`] says, or the last ones where nothing was held out. So a run that diverged or was
    /// cancelled is not lost, and may go on with other settings, which [`resume`](Trainer::resume)
    /// refuses. [`Trained::from_module_checkpoint`] and [`Trained::from_low_rank_checkpoint`] do it for
    /// other runs.
    ///
    /// ```
    /// use refrain_sequence::{Characters, Corpus, Error, Trained, Trainer, TransformerConfig};
    /// # let folder = tempfile::tempdir().unwrap();
    /// # let path = folder.path().join("run.refrain");
    /// # let device = refrain_core::device("cpu")?;
    /// let text = "so long and thanks for all the fish. ".repeat(30);
    /// let corpus = Corpus::text(&Characters::from_text(&text)?, &text)?.hold_out(0.1, 0)?;
    /// let config = TransformerConfig { layers: 1, heads: 2, width: 16, context: 16, ..Default::default() };
    /// let trainer = Trainer {
    ///     steps: 20,
    ///     evaluate_every: 5,
    ///     checkpoint: Some(path.clone()),
    ///     checkpoint_every: 5,
    ///     ..Trainer::default()
    /// };
    /// let trained = match trainer.fit(&config, &corpus, &device) {
    ///     Err(Error::Diverged { .. } | Error::Validation { .. }) => {
    ///         let best: Trained = Trained::from_checkpoint(&path, &device)?;
    ///         let gentler = Trainer { learning_rate: trainer.learning_rate / 10.0, ..trainer };
    ///         gentler.fine_tune(&best.model, &corpus)?
    ///     }
    ///     ended => ended?,
    /// };
    /// # let kept: Trained = Trained::from_checkpoint(&path, &device)?;
    /// # assert_eq!(kept.curve, trained.curve);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the file is no checkpoint of such a model or is damaged; those of the device.
    pub fn from_checkpoint(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let checkpoint = checkpoint::read(path.as_ref(), |name| name == M::NAME, M::NAME)?;
        let (model, parameters, run) = checkpoint.model::<M>(device)?;
        checkpoint.ended((parameters, run), |weights| model.reweighted(weights))
    }
}

impl Trainer {
    /// Settings for continuing a trained model on a little data of one kind: few steps, a low
    /// learning rate, early stopping.
    pub fn fine_tuning() -> Self {
        Self {
            steps: 200,
            learning_rate: 2e-4,
            warm_up: 20,
            evaluate_every: 20,
            patience: Some(3),
            ..Self::default()
        }
    }

    /// Trains a new model.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::Diverged`] and [`Error::Validation`] naming the step.
    pub fn fit<C: ModelConfig>(
        &self,
        config: &C,
        corpus: &Corpus,
        device: &Device,
    ) -> Result<Trained<C::Model>> {
        self.fit_with(config, corpus, device, &Monitor::silent())
    }

    /// Trains a new model, telling `monitor` loss and rate.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and when cancelled.
    pub fn fit_with<C: ModelConfig>(
        &self,
        config: &C,
        corpus: &Corpus,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<Trained<C::Model>> {
        let model = C::Model::untrained(config, corpus.vocabulary().clone(), self.seed, device)?;
        self.fine_tune_with(&model, corpus, monitor)
    }

    /// Continues from a model, on its device, with a fresh optimizer; the given model stays as it
    /// is. [`Trainer::fine_tuning`] has settings for it.
    ///
    /// # Errors
    /// As [`Trainer::fit`], and [`Error::Config`] when the corpus has another vocabulary.
    pub fn fine_tune<M: TrainableModel>(&self, model: &M, corpus: &Corpus) -> Result<Trained<M>> {
        self.fine_tune_with(model, corpus, &Monitor::silent())
    }

    /// Continues from a model, telling `monitor` loss and rate.
    ///
    /// # Errors
    /// As [`Trainer::fine_tune`], and when cancelled.
    pub fn fine_tune_with<M: TrainableModel>(
        &self,
        model: &M,
        corpus: &Corpus,
        monitor: &Monitor,
    ) -> Result<Trained<M>> {
        self.validate()?;
        let task = CorpusTask::new(self, model, corpus)?;
        self.run(task, Run::default(), monitor)
    }

    /// Continues an interrupted run from its checkpoint, as if it had not stopped.
    ///
    /// The kind of model is the caller's to name:
    /// `let trained: Trained<RnnLm> = trainer.resume(..)?`.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the trainer or the corpus is not the one that wrote it.
    pub fn resume<M: TrainableModel>(
        &self,
        checkpoint: impl AsRef<Path>,
        corpus: &Corpus,
        device: &Device,
    ) -> Result<Trained<M>> {
        self.resume_with(checkpoint, corpus, device, &Monitor::silent())
    }

    /// Continues an interrupted run, telling `monitor` loss and rate.
    ///
    /// # Errors
    /// As [`Trainer::resume`], and when cancelled.
    pub fn resume_with<M: TrainableModel>(
        &self,
        checkpoint: impl AsRef<Path>,
        corpus: &Corpus,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<Trained<M>> {
        self.validate()?;
        let checkpoint = checkpoint::open(checkpoint.as_ref(), self, M::NAME)?;
        checkpoint.expect_corpus(corpus)?;
        let (model, parameters, run) = checkpoint.model::<M>(device)?;
        let mut task = CorpusTask::new(self, &model, corpus)?;
        task.restore(parameters)?;
        self.run(task, run, monitor)
    }

    fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("Trainer.steps", self.steps),
            ("Trainer.batch", self.batch),
            ("Trainer.accumulate", self.accumulate),
            ("Trainer.evaluate_every", self.evaluate_every),
            ("Trainer.bucket", self.bucket),
        ] {
            if value == 0 || value > u32::MAX as usize {
                return Err(Error::config(field, value, "at least 1"));
            }
        }
        if self.checkpoint.is_some() && self.checkpoint_every == 0 {
            return Err(Error::config("Trainer.checkpoint_every", 0, "at least 1"));
        }
        let unit = |x: f64| (0.0..1.0).contains(&x);
        for (field, value, fits, expected) in [
            (
                "Trainer.learning_rate",
                self.learning_rate,
                self.learning_rate.is_finite() && self.learning_rate >= 0.0,
                "0 or positive",
            ),
            (
                "Trainer.final_share",
                self.final_share,
                (0.0..=1.0).contains(&self.final_share),
                "between 0 and 1",
            ),
            (
                "Trainer.weight_decay",
                self.weight_decay,
                self.weight_decay.is_finite() && self.weight_decay >= 0.0,
                "0 or positive",
            ),
            (
                "Trainer.betas.0",
                self.betas.0,
                unit(self.betas.0),
                "at least 0, below 1",
            ),
            (
                "Trainer.betas.1",
                self.betas.1,
                unit(self.betas.1),
                "at least 0, below 1",
            ),
            (
                "Trainer.epsilon",
                self.epsilon,
                self.epsilon.is_finite() && self.epsilon > 0.0,
                "positive",
            ),
            (
                "Trainer.label_smoothing",
                f64::from(self.label_smoothing),
                (0.0..1.0).contains(&self.label_smoothing),
                "at least 0, below 1",
            ),
            (
                "Trainer.average",
                self.average.unwrap_or_default(),
                unit(self.average.unwrap_or_default()),
                "at least 0, below 1",
            ),
            (
                "Trainer.clip",
                self.clip.unwrap_or(1.0),
                self.clip.is_none_or(|c| c.is_finite() && c > 0.0),
                "positive",
            ),
        ] {
            if !fits {
                return Err(Error::config(field, value, expected));
            }
        }
        Ok(())
    }

    /// Linear warm-up, then as the [schedule](Trainer::schedule) says.
    pub fn learning_rate_at(&self, step: usize) -> f64 {
        let warm_up = self.warm_up.min(self.steps);
        if step < warm_up {
            return self.learning_rate * (step + 1) as f64 / (warm_up + 1) as f64;
        }
        let progress = (step - warm_up) as f64 / (self.steps - warm_up).max(1) as f64;
        let progress = progress.min(1.0);
        let share = match self.schedule {
            Schedule::Cosine => 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()),
            Schedule::Linear => 1.0 - progress,
            Schedule::Constant => 1.0,
            Schedule::InverseSqrt => {
                let warm_up = warm_up.max(1) as f64;
                return self.learning_rate * (warm_up / warm_up.max((step + 1) as f64)).sqrt();
            }
        };
        self.learning_rate * (self.final_share + (1.0 - self.final_share) * share)
    }

    fn update_at(&self, step: usize) -> Update {
        Update {
            learning_rate: self.learning_rate_at(step),
            beta1: self.betas.0,
            beta2: self.betas.1,
            epsilon: self.epsilon,
            weight_decay: self.weight_decay,
            decay: self.decay,
            clip: self.clip,
            step: step as u64 + 1,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
