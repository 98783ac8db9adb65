//! Training any burn module on examples of its own kind.

mod low_rank;

use std::borrow::Borrow;
use std::path::Path;

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, GradientCheckpointingStrategy, Tensor, TensorData};
use refrain_core::Monitor;

use super::buckets::Buckets;
use super::task::{Fingerprint, Score, Task};
use super::{Examples, Run, Trained, Trainer, checkpoint};
use crate::adamw::{self, Moments};
use crate::batch::Dropout;
use crate::engine::{Parameters, Update};
use crate::entries::{Entries, Init, Role};
use crate::fnv::Fnv;
use crate::rnn::DropoutDraw;
use crate::{Compute, Error, Result};

/// A burn module that a [`Trainer`] fits to examples of its own kind: labelled sentences, pairs of
/// texts, recordings.
///
/// ```
/// use burn::module::Module;
/// use burn::nn::{Linear, LinearConfig};
/// use burn::tensor::{Tensor, TensorData};
/// use refrain_sequence::{Learner, Learning, Result, Trainer};
///
/// /// y = a x + b.
/// #[derive(Module, Debug)]
/// struct Line { layer: Linear }
///
/// impl Learner for Line {
///     type Example = (f32, f32);
///     fn length(_: &(f32, f32)) -> usize { 1 }
///     fn targets(_: &(f32, f32)) -> usize { 1 }
///     fn loss(&self, batch: &[&(f32, f32)], _: &Learning<'_>) -> Result<Tensor<1>> {
///         let device = self.layer.weight.val().device().inner();
///         let column = |values: Vec<f32>| {
///             Tensor::<2>::from_data(TensorData::new(values, [batch.len(), 1]), &device)
///         };
///         let (x, y) = (batch.iter().map(|e| e.0).collect(), batch.iter().map(|e| e.1).collect());
///         Ok((self.layer.forward(column(x)) - column(y)).square().sum())
///     }
/// }
///
/// let device = refrain_core::device("cpu")?;
/// let examples: Vec<(f32, f32)> = (0..64).map(|i| i as f32 / 64.0).map(|x| (x, 3.0 * x - 1.0)).collect();
/// let line = Line { layer: LinearConfig::new(1, 1).init(&device) };
/// let trainer = Trainer { steps: 500, batch: 16, learning_rate: 0.05, weight_decay: 0.0, ..Trainer::default() };
/// let trained = trainer.fit_module(&line, &examples, &examples[..8])?;
/// assert!(trained.curve.best().unwrap().loss < 0.01);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Learner: Module {
    /// What it learns from.
    type Example: Sync;

    /// How long an example is, in tokens or frames: examples of like length share a batch, so that
    /// little is padded.
    fn length(example: &Self::Example) -> usize;

    /// How many targets an example's loss is the sum of; losses are told per target.
    fn targets(example: &Self::Example) -> usize;

    /// The sum of the losses of all targets of a batch, `[1]`, in nats.
    ///
    /// # Errors
    /// Whatever does not fit the module; it ends the run.
    fn loss(&self, batch: &[&Self::Example], learning: &Learning<'_>) -> Result<Tensor<1>>;

    /// What validation ranks weights by instead of the loss, lower being better: say one minus F1.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn validation_error(&self, examples: &[Self::Example]) -> Result<Option<f64>> {
        let _ = examples;
        Ok(None)
    }
}

/// What one pass knows beside its examples; the default is a pass of validation.
#[derive(Debug, Clone, Copy, Default)]
pub struct Learning<'a> {
    /// What decides the values that are dropped; `None` outside of training.
    pub dropout: Option<DropoutDraw<'a>>,
    /// [`Trainer::label_smoothing`]; 0 outside of training.
    pub label_smoothing: f32,
}

impl Learning<'_> {
    /// Refuses label smoothing, for a loss that has no use for it.
    pub(crate) fn expect_sharp(&self) -> Result<()> {
        match self.label_smoothing > 0.0 {
            true => Err(Error::config(
                "Trainer.label_smoothing",
                self.label_smoothing,
                "0, as this model's loss has none",
            )),
            false => Ok(()),
        }
    }

    /// Dropout (Srivastava et al., 2014): multiplies values by 0, or by `1 / (1 - rate)`. `x` is
    /// `[batch, …]`. What is dropped is a function of the run's seed, the example's number and
    /// `site`, which should differ from place to place in a module and be below 32,768 (an
    /// [`EncoderModule`](crate::EncoderModule) takes those from there on): a resumed run drops what an
    /// unbroken one would have. Nothing is dropped outside of training.
    pub fn drop<const D: usize>(&self, x: Tensor<D>, rate: f32, site: usize) -> Tensor<D> {
        let Some(draw) = self.dropout.filter(|_| rate > 0.0) else {
            return x;
        };
        let shape = x.dims();
        let each = shape.iter().skip(1).product::<usize>();
        let mut factors = vec![0.0; shape.iter().product()];
        let dropout = Dropout {
            rate: rate.min(0.999),
            seed: draw.seed,
        };
        let rows = factors.chunks_mut(each.max(1));
        for (row, &number) in rows.zip(draw.sequences) {
            dropout.fill_number(site, number, row);
        }
        let plain = x.device().inner();
        x * Tensor::<D>::from_data(TensorData::new(factors, shape), &plain)
    }
}

impl Trainer {
    /// Trains a module, which lies on a plain device, on examples of its own, in memory or
    /// [in a file](super::JsonLines); what is held out is in memory. The given module stays as it is. Parameters without gradients ([`Module::no_grad`]) keep their values.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::TooShort`] without examples,
    /// [`Error::Diverged`] naming step and examples, [`Error::Validation`] naming the step, and whatever the
    /// module's loss refuses.
    pub fn fit_module<M: Learner, X: Examples<M::Example> + ?Sized>(
        &self,
        module: &M,
        training: &X,
        validation: &[M::Example],
    ) -> Result<Trained<M>> {
        self.fit_module_with(module, training, validation, &Monitor::silent())
    }

    /// Trains a module, telling `monitor` loss and rate.
    ///
    /// # Errors
    /// As [`Trainer::fit_module`], and when cancelled.
    pub fn fit_module_with<M: Learner, X: Examples<M::Example> + ?Sized>(
        &self,
        module: &M,
        training: &X,
        validation: &[M::Example],
        monitor: &Monitor,
    ) -> Result<Trained<M>> {
        self.validate()?;
        let task = ModuleTask::new(self, module, training, validation, monitor)?;
        self.run(task, Run::default(), monitor)
    }

    /// Continues an interrupted run of [`Trainer::fit_module_with`] from its checkpoint, as if it
    /// had not stopped; `module` is of the same shape as the one that it began with. Of the examples their
    /// number, lengths and targets ([`Learner::length`], [`Learner::targets`]) are compared, and nothing else.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when the trainer is not the one that wrote it, the module is of another shape, or
    /// the examples are of another number or other lengths.
    pub fn resume_module_with<M: Learner, X: Examples<M::Example> + ?Sized>(
        &self,
        checkpoint: impl AsRef<Path>,
        module: &M,
        training: &X,
        validation: &[M::Example],
        monitor: &Monitor,
    ) -> Result<Trained<M>> {
        self.validate()?;
        let mut task = ModuleTask::new(self, module, training, validation, monitor)?;
        let file = checkpoint::open(checkpoint.as_ref(), self, task.name())?;
        let (parameters, run) = file.continued(&task, task.entries.total)?;
        task.restore(parameters)?;
        self.run(task, run, monitor)
    }
}

impl<M: Module> Trained<M> {
    /// The module in a checkpoint of [`Trainer::fit_module_with`], as
    /// [`Trained::from_checkpoint`] gives language models; `module` is of the same shape.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] when it is of another shape; when the file is no checkpoint of such a module or
    /// is damaged.
    pub fn from_module_checkpoint(path: impl AsRef<Path>, module: &M) -> Result<Self> {
        let name = name::<M>();
        let checkpoint = checkpoint::read(path.as_ref(), |found| found == name, name)?;
        let entries = entries(module);
        checkpoint.expect_model(&shapes(&entries))?;
        let found = checkpoint.parameters(entries.total)?;
        checkpoint.ended(found, |weights| Ok(with_weights(module.clone(), &weights)))
    }
}

/// The module's type, without its path.
fn name<M>() -> &'static str {
    let name = std::any::type_name::<M>();
    name.rsplit("::").next().unwrap_or(name)
}

/// The name and the shape of every parameter.
fn shapes(entries: &Entries) -> String {
    let shapes = entries.list.iter().map(|e| (&e.name, &e.shape));
    format!("{:?}", shapes.collect::<Vec<_>>())
}

/// What training must know of all examples.
struct Read {
    lengths: Vec<usize>,
    targets: usize,
    fingerprint: u64,
}

/// Reading more examples than this is told.
const MANY: usize = 100_000;

impl Read {
    fn all<M: Learner, X: Examples<M::Example> + ?Sized>(
        examples: &X,
        monitor: &Monitor,
    ) -> Result<Self> {
        let count = examples.count();
        let stage = (count > MANY).then(|| monitor.start("read examples", Some(count as u64)));
        let mut hash = Fnv::new();
        let (mut lengths, mut targets) = (Vec::with_capacity(count), 0);
        for number in 0..count {
            let held = examples.example(number)?;
            let own = (M::length(held.borrow()), M::targets(held.borrow()));
            [own.0, own.1].iter().for_each(|&n| hash.eat(n as u64));
            lengths.push(own.0);
            targets += own.1;
            if let Some(stage) = stage.as_ref()
                && (number % 1024 == 1023 || number + 1 == count)
            {
                stage.advance(number as u64 % 1024 + 1, "")?;
            }
        }
        Ok(Self {
            lengths,
            targets,
            fingerprint: hash.finish(),
        })
    }
}

/// The module on a device where it learns.
fn taped<M: Module>(module: M, compute: Compute) -> M {
    let module = module.train();
    match compute {
        Compute::CheckpointedProgram => module.map(&mut Checkpointed),
        _ => module,
    }
}

/// Has what a parameter enters into computed again on the way back.
struct Checkpointed;

impl ModuleMapper for Checkpointed {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let learns = value.is_require_grad();
            let value = value.inner().autodiff();
            value
                .with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Balanced)
                .set_require_grad(learns)
        })
    }
}

struct ModuleTask<'a, M: Learner, X: ?Sized> {
    name: &'static str,
    /// With autodiff.
    module: M,
    compute: Compute,
    entries: Entries,
    gradients: GradientsAccumulator<M>,
    moments: Moments,
    device: Device,
    training: &'a X,
    validation: &'a [M::Example],
    /// Of the lengths and targets of both parts.
    fingerprints: (u64, Option<u64>),
    buckets: Buckets,
}

impl<'a, M: Learner, X: Examples<M::Example> + ?Sized> ModuleTask<'a, M, X> {
    fn new(
        trainer: &Trainer,
        module: &M,
        training: &'a X,
        validation: &'a [M::Example],
        monitor: &Monitor,
    ) -> Result<Self> {
        let read = Read::all::<M, X>(training, monitor)?;
        if read.targets == 0 {
            return Err(Error::TooShort {
                what: "examples with targets to train on".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let entries = entries(module);
        let first = module.devices().into_iter().next();
        let device = first.ok_or(Error::TooShort {
            what: "parameters of the module".to_string(),
            needed: 1,
            found: 0,
        })?;
        let held = Read::all::<M, _>(validation, &Monitor::silent())?;
        Ok(Self {
            name: name::<M>(),
            module: taped(module.clone(), trainer.compute),
            compute: trainer.compute,
            moments: adamw::moments(&entries.list, None, &device),
            entries,
            gradients: GradientsAccumulator::new(),
            device,
            training,
            validation,
            fingerprints: (read.fingerprint, Some(held.fingerprint)),
            buckets: Buckets::new(read.lengths, trainer.seed, trainer.batch, trainer.bucket),
        })
    }

    /// Other weights, and no gradients.
    fn replace(&mut self, weights: &[f32]) {
        self.module = taped(with_weights(self.module.valid(), weights), self.compute);
        self.gradients = GradientsAccumulator::new();
    }

    /// The numbers in `training` of the examples of each pass of a step.
    fn passes(&mut self, trainer: &Trainer, step: usize) -> Vec<(u64, Vec<usize>)> {
        let first = (step * trainer.accumulate) as u64;
        let indices = first..first + trainer.accumulate as u64;
        indices
            .map(|i| (i, self.buckets.batch(i).to_vec()))
            .collect()
    }
}

impl<M: Learner, X: Examples<M::Example> + ?Sized> Task for ModuleTask<'_, M, X> {
    type Model = M;

    fn name(&self) -> &str {
        self.name
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            model: shapes(&self.entries),
            data: self.fingerprints,
        }
    }

    fn learn(&mut self, trainer: &Trainer, step: usize) -> Result<(f64, usize)> {
        let passes = self.passes(trainer, step);
        let read = |(index, pass): (u64, Vec<usize>)| -> Result<_> {
            let held = pass.into_iter().map(|i| self.training.example(i));
            Ok((index, held.collect::<Result<Vec<_>>>()?))
        };
        let passes = passes.into_iter().map(read).collect::<Result<Vec<_>>>()?;
        let all = passes.iter().flat_map(|(_, pass)| pass);
        let count: usize = all.map(|held| M::targets(held.borrow())).sum();
        let mut sum = 0.0;
        for (index, pass) in &passes {
            let batch: Vec<&M::Example> = pass.iter().map(Borrow::borrow).collect();
            let first = index * trainer.batch as u64;
            let numbers: Vec<u64> = (first..).take(pass.len()).collect();
            let learning = Learning {
                dropout: Some(DropoutDraw {
                    seed: trainer.seed,
                    sequences: &numbers,
                }),
                label_smoothing: trainer.label_smoothing,
            };
            let loss = self.module.loss(&batch, &learning)?;
            if !loss.is_tracked() {
                let reason = "depends on no parameter that learns";
                return Err(Error::tensor("loss", reason));
            }
            let gradients = (loss.clone() / count.max(1) as f64).backward();
            let own = GradientsParams::from_grads(gradients, &self.module);
            self.gradients.accumulate(&self.module, own);
            let loss = loss.inner().try_into_scalar::<f32>();
            sum += f64::from(loss.map_err(Error::device)?);
        }
        Ok((sum / count.max(1) as f64, count))
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let mut gradients = self.gradients.grads();
        let (module, norm) = adamw::step(
            self.module.clone(),
            &mut gradients,
            &mut self.moments,
            &self.entries.list,
            update,
        )?;
        self.module = module;
        Ok(norm)
    }

    fn validate(&self, trainer: &Trainer) -> Result<Option<Score>> {
        let count: usize = self.validation.iter().map(M::targets).sum();
        if count == 0 {
            return Ok(None);
        }
        let module = self.module.valid();
        let mut order: Vec<&M::Example> = self.validation.iter().collect();
        order.sort_by_key(|example| M::length(example));
        let mut sum = 0.0;
        for batch in order.chunks(trainer.batch.max(32)) {
            let loss = module.loss(batch, &Learning::default())?;
            let loss = loss.try_into_scalar::<f32>().map_err(Error::device)?;
            sum += f64::from(loss);
        }
        Ok(Some(Score {
            loss: sum / count as f64,
            error: module.validation_error(self.validation)?,
        }))
    }

    fn describe(&mut self, trainer: &Trainer, step: usize) -> String {
        let passes = self.passes(trainer, step);
        let examples = passes.into_iter().flat_map(|(_, pass)| pass);
        let numbers: Vec<String> = examples.take(8).map(|i| i.to_string()).collect();
        format!(
            "training examples {}, … (counted from 0)",
            numbers.join(", ")
        )
    }

    fn weights(&self) -> Result<Vec<f32>> {
        adamw::read(&self.module.valid())
    }

    fn parameters(&self) -> Result<Parameters> {
        let (first, second) = adamw::read_moments(&self.moments)?;
        Ok(Parameters {
            weights: self.weights()?,
            first,
            second,
            lanes: Vec::new(),
        })
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.replace(&parameters.weights);
        self.moments = adamw::moments(&self.entries.list, Some(&parameters), &self.device);
        Ok(())
    }

    fn finish(self, weights: Vec<f32>) -> Result<M> {
        Ok(with_weights(self.module.valid(), &weights))
    }
}

/// Every parameter of a module with its role.
pub(crate) fn entries<M: Module>(module: &M) -> Entries {
    let mut list = List::default();
    module.visit(&mut list);
    list.entries
}

#[derive(Default)]
struct List {
    path: Vec<String>,
    /// How many of the containers around are embeddings.
    embeddings: usize,
    entries: Entries,
}

fn is_embedding(container: &str) -> bool {
    container == "Struct:Embedding"
}

impl ModuleVisitor for List {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let role = match D {
            0 | 1 => Role::Vector,
            _ if self.embeddings > 0 => Role::Embedding,
            _ => Role::Matrix,
        };
        let shape = param.val().dims().to_vec();
        let init = Init::Constant(0.0);
        self.entries.push(self.path.join("."), shape, role, init);
    }

    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.push(name.to_string());
        self.embeddings += usize::from(is_embedding(container));
    }

    fn exit_module(&mut self, _: &str, container: &str) {
        self.path.pop();
        self.embeddings -= usize::from(is_embedding(container));
    }
}

/// The module with these parameters, flat in the order of a visit.
pub(crate) fn with_weights<M: Module>(module: M, weights: &[f32]) -> M {
    module.map(&mut Replace { rest: weights })
}

struct Replace<'a> {
    rest: &'a [f32],
}

impl ModuleMapper for Replace<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let Some((own, rest)) = self.rest.split_at_checked(shape.iter().product()) else {
            return param;
        };
        self.rest = rest;
        let device = param.val().device();
        param.map(|_| Tensor::from_data(TensorData::new(own.to_vec(), shape), &device))
    }
}

#[cfg(test)]
mod low_rank_tests;
#[cfg(test)]
mod tests;
