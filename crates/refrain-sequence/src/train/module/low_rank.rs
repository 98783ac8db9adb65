//! Low-rank changes of burn modules.

use std::path::Path;

use refrain_core::Monitor;

use super::{Learner, ModuleTask};
use crate::Result;
use crate::adamw;
use crate::engine::{Parameters, Update};
use crate::train::lora::{Change, Lora, LowRank, NAME, Shape, fingerprint};
use crate::train::task::{Fingerprint, Score, Task};
use crate::train::{Examples, Run, Trained, Trainer, checkpoint};

impl Trainer {
    /// Trains a low-rank change of a module, which itself stays as it is:
    /// [`LowRank::merge_module`] gives the changed one. Vectors (biases, norms) and embeddings do not
    /// learn; a new layer on top of a pretrained encoder does, as one of the matrices. Time is that of
    /// [`fit_module`](Trainer::fit_module).
    ///
    /// # Errors
    /// As [`Trainer::fit_module`], and [`Error::Config`](crate::Error::Config) for a rank of 0.
    pub fn fit_module_low_rank<M: Learner, X: Examples<M::Example> + ?Sized>(
        &self,
        module: &M,
        training: &X,
        validation: &[M::Example],
        lora: &Lora,
    ) -> Result<Trained<LowRank>> {
        self.fit_module_low_rank_with(module, training, validation, lora, &Monitor::silent())
    }

    /// Trains a low-rank change of a module, telling `monitor` loss and rate.
    ///
    /// # Errors
    /// As [`Trainer::fit_module_low_rank`], and when cancelled.
    pub fn fit_module_low_rank_with<M: Learner, X: Examples<M::Example> + ?Sized>(
        &self,
        module: &M,
        training: &X,
        validation: &[M::Example],
        lora: &Lora,
        monitor: &Monitor,
    ) -> Result<Trained<LowRank>> {
        self.validate()?;
        let inner = ModuleTask::new(self, module, training, validation, monitor)?;
        self.run(
            LowRankTask::new(self, inner, *lora)?,
            Run::default(),
            monitor,
        )
    }

    /// Continues an interrupted run of [`Trainer::fit_module_low_rank_with`] from its checkpoint. Of the
    /// examples their number, lengths and targets are compared, of the module every weight.
    ///
    /// # Errors
    /// [`Error::Checkpoint`](crate::Error::Checkpoint) when trainer, module or `lora` are not those that wrote
    /// it, or the examples are of another number or other lengths.
    pub fn resume_module_low_rank_with<M: Learner, X: Examples<M::Example> + ?Sized>(
        &self,
        checkpoint: impl AsRef<Path>,
        module: &M,
        training: &X,
        validation: &[M::Example],
        lora: &Lora,
        monitor: &Monitor,
    ) -> Result<Trained<LowRank>> {
        self.validate()?;
        let inner = ModuleTask::new(self, module, training, validation, monitor)?;
        let mut task = LowRankTask::new(self, inner, *lora)?;
        let file = checkpoint::open(checkpoint.as_ref(), self, task.name())?;
        let (parameters, run) = file.continued(&task, task.change.own.total)?;
        task.restore(parameters)?;
        self.run(task, run, monitor)
    }
}

/// A module of which the change alone is trained.
pub(super) struct LowRankTask<'a, M: Learner, X: ?Sized> {
    name: String,
    pub(super) inner: ModuleTask<'a, M, X>,
    pub(super) change: Change,
}

impl<'a, M: Learner, X: Examples<M::Example> + ?Sized> LowRankTask<'a, M, X> {
    pub(super) fn new(
        trainer: &Trainer,
        mut inner: ModuleTask<'a, M, X>,
        lora: Lora,
    ) -> Result<Self> {
        // The optimizer's room for the whole matrices is not needed.
        inner.moments.clear();
        let model = &inner.entries.list;
        let shape = Shape::of(lora, model);
        let mut task = Self {
            name: format!("{NAME} {}", inner.name),
            change: Change::new(shape, model, inner.weights()?, trainer.seed)?,
            inner,
        };
        task.apply()?;
        Ok(task)
    }

    /// Hands the changed matrices to the module.
    pub(super) fn apply(&mut self) -> Result<()> {
        self.inner.replace(&self.change.changed()?);
        Ok(())
    }

    pub(super) fn take_gradient(&mut self) -> Result<Vec<f32>> {
        let gradients = self.inner.gradients.grads();
        let whole = adamw::read_gradients(&self.inner.module, &gradients)?;
        self.change.gradient(&whole)
    }
}

impl<M: Learner, X: Examples<M::Example> + ?Sized> Task for LowRankTask<'_, M, X> {
    type Model = LowRank;

    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> Fingerprint {
        let mut own = self.inner.fingerprint();
        own.model = fingerprint(own.model, &self.change.shape, self.change.base_hash);
        own
    }

    fn learn(&mut self, trainer: &Trainer, step: usize) -> Result<(f64, usize)> {
        self.inner.learn(trainer, step)
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let gradient = self.take_gradient()?;
        let norm = self.change.step(&gradient, update);
        if norm.is_finite() {
            self.apply()?;
        }
        Ok(norm)
    }

    fn validate(&self, trainer: &Trainer) -> Result<Option<Score>> {
        self.inner.validate(trainer)
    }

    fn describe(&mut self, trainer: &Trainer, step: usize) -> String {
        self.inner.describe(trainer, step)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.change.parameters.weights.clone())
    }

    fn parameters(&self) -> Result<Parameters> {
        Ok(self.change.parameters.clone())
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.change.parameters = parameters;
        self.apply()
    }

    fn finish(self, weights: Vec<f32>) -> Result<LowRank> {
        Ok(LowRank {
            shape: self.change.shape,
            weights,
        })
    }
}
