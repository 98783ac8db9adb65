//! Checkpoints: everything a run needs to go on as if it had not stopped.

use std::path::{Path, PathBuf};
use std::time::Duration;

use refrain_core::{Device, ModelFile, ModelWriter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::corpus_task::fingerprints;
use super::task::{Fingerprint, Task};
use super::{LearningCurve, LossPoint, Run, Trained, Trainer};
use crate::engine::Parameters;
use crate::tokenizer::TokenKind;
use crate::trainable::TrainableModel;
use crate::{Corpus, Error, Result, Vocabulary};

const VERSION: u32 = 3;

#[derive(Serialize, Deserialize)]
struct Header {
    /// As JSON text: a number that went through a JSON value may come back one bit off.
    trainer: String,
    task: Fingerprint,
    step: usize,
    stale: usize,
    #[serde(default)]
    training_time: Duration,
    #[serde(default)]
    tokens: u64,
}

const KIND: &str = "sequence.checkpoint.";

fn kind(name: &str) -> String {
    format!("{KIND}{name}")
}

fn trainer_text(path: &Path, trainer: &Trainer) -> Result<String> {
    serde_json::to_string(trainer).map_err(|e| Error::checkpoint(path, e))
}

pub(super) fn write<T: Task>(path: &Path, trainer: &Trainer, task: &T, run: &Run) -> Result<()> {
    let header = Header {
        trainer: trainer_text(path, trainer)?,
        task: task.fingerprint(),
        step: run.step,
        stale: run.stale,
        training_time: run.training_time,
        tokens: run.tokens,
    };
    let parameters = task.parameters()?;
    let n = parameters.weights.len();
    let mut file = ModelWriter::new(kind(task.name()), VERSION)
        .config(&header)?
        .f32("weights", &[n], parameters.weights)?
        .f32("first", &[n], parameters.first)?
        .f32("second", &[n], parameters.second)?
        .f32("best_loss", &[1], vec![run.best_loss])?;
    if let Some(names) = task.names() {
        file = file.ids("tokens", names.ids())?;
    }
    if !parameters.lanes.is_empty() {
        file = file.f32("lanes", &[parameters.lanes.len()], parameters.lanes)?;
    }
    for (name, weights) in [("best", &run.best), ("average", &run.average)] {
        if let Some(weights) = weights {
            file = file.f32(name, &[n], weights.as_slice())?;
        }
    }
    for (name, points) in [
        ("train", &run.curve.train),
        ("validation", &run.curve.validation),
        ("errors", &run.curve.errors),
    ] {
        let steps: Vec<u64> = points.iter().map(|p| p.step as u64).collect();
        let losses: Vec<f32> = points.iter().map(|p| p.loss).collect();
        file = file
            .u64(format!("curve.{name}.steps"), &[steps.len()], steps)?
            .f32(format!("curve.{name}.losses"), &[losses.len()], losses)?;
    }
    Ok(file.write(path)?)
}

/// Where a run stood.
pub(super) struct Checkpoint {
    path: PathBuf,
    file: ModelFile,
    header: Header,
}

/// The checkpoint of a run that this trainer began.
pub(super) fn open(path: &Path, trainer: &Trainer, name: &str) -> Result<Checkpoint> {
    let checkpoint = read(path, |found| found == name, name)?;
    if checkpoint.header.trainer != trainer_text(path, trainer)? {
        let reason = "written by a trainer with other settings";
        return Err(Error::checkpoint(path, reason));
    }
    Ok(checkpoint)
}

/// The checkpoint of a task whose name fits, whoever trained it.
pub(super) fn read(path: &Path, fits: impl Fn(&str) -> bool, expected: &str) -> Result<Checkpoint> {
    let file = ModelFile::open(path)?;
    let name = file.kind().strip_prefix(KIND).filter(|name| fits(name));
    file.expect(&kind(name.unwrap_or(expected)), VERSION)?;
    Ok(Checkpoint {
        path: path.to_path_buf(),
        header: file.config()?,
        file,
    })
}

impl Checkpoint {
    fn values(&self, name: &str, n: usize) -> Result<Vec<f32>> {
        let array = self.file.f32(name)?;
        Ok(array.expect_shape(name, &[n])?.data.into_owned())
    }

    fn has(&self, name: &str) -> bool {
        self.file.names().any(|other| other == name)
    }

    fn values_if_any(&self, name: &str, n: usize) -> Result<Option<Vec<f32>>> {
        self.has(name).then(|| self.values(name, n)).transpose()
    }

    fn points(&self, name: &str) -> Result<Vec<LossPoint>> {
        let steps = self.file.u64(&format!("curve.{name}.steps"))?;
        let losses = self.file.f32(&format!("curve.{name}.losses"))?;
        if steps.data.len() != losses.data.len() {
            let reason = format_args!("curve {name} has gaps");
            return Err(Error::checkpoint(&self.path, reason));
        }
        let pairs = steps.data.iter().zip(losses.data.iter());
        let points = pairs.map(|(&step, &loss)| LossPoint {
            step: step as usize,
            loss,
        });
        Ok(points.collect())
    }

    /// What a model of `total` weights goes on with, and where its run stood.
    pub(super) fn parameters(&self, total: usize) -> Result<(Parameters, Run)> {
        let parameters = Parameters {
            weights: self.values("weights", total)?,
            first: self.values("first", total)?,
            second: self.values("second", total)?,
            lanes: match self.has("lanes") {
                true => self.file.f32("lanes")?.data.into_owned(),
                false => Vec::new(),
            },
        };
        let best_loss = self.values("best_loss", 1)?;
        let run = Run {
            step: self.header.step,
            curve: LearningCurve {
                train: self.points("train")?,
                validation: self.points("validation")?,
                errors: self.points("errors")?,
            },
            best: self.values_if_any("best", total)?,
            best_loss: best_loss.first().copied().unwrap_or(f32::INFINITY),
            stale: self.header.stale,
            average: self.values_if_any("average", total)?,
            training_time: self.header.training_time,
            tokens: self.header.tokens,
        };
        Ok((parameters, run))
    }

    /// The same, of a task that must be the one which wrote it.
    pub(super) fn continued<T: Task>(&self, task: &T, total: usize) -> Result<(Parameters, Run)> {
        let Fingerprint { model, data } = task.fingerprint();
        self.expect_model(&model)?;
        if self.header.task.data != data {
            let reason = "written on other examples, of another number or other lengths";
            return Err(Error::checkpoint(&self.path, reason));
        }
        self.parameters(total)
    }

    pub(super) fn expect_model(&self, model: &str) -> Result<()> {
        if self.header.task.model != model {
            let reason = "written by another kind of model, or for a change of another model";
            return Err(Error::checkpoint(&self.path, reason));
        }
        Ok(())
    }

    pub(super) fn expect_corpus(&self, corpus: &Corpus) -> Result<()> {
        if self.header.task.data != fingerprints(corpus) {
            let reason = "written while training on another corpus";
            return Err(Error::checkpoint(&self.path, reason));
        }
        Ok(())
    }

    /// What the task's fingerprint says of the model.
    pub(super) fn described<D: DeserializeOwned>(&self) -> Result<D> {
        serde_json::from_str(&self.header.task.model).map_err(|e| Error::checkpoint(&self.path, e))
    }

    /// The language model that was being trained.
    pub(super) fn model<M: TrainableModel>(&self, device: &Device) -> Result<(M, Parameters, Run)> {
        let (config, tokens): (M::Config, TokenKind) = self.described()?;
        let vocabulary = Vocabulary::from_parts(tokens, self.file.ids("tokens")?);
        let (parameters, run) = self.parameters(M::count(&config, vocabulary.len())?)?;
        let model = M::with_flat(&config, vocabulary, parameters.weights.clone(), device)?;
        Ok((model, parameters, run))
    }

    /// The run as if it had ended here: the best of its weights, or the last ones where nothing was
    /// validated.
    pub(super) fn ended<M>(
        &self,
        (parameters, mut run): (Parameters, Run),
        finish: impl FnOnce(Vec<f32>) -> Result<M>,
    ) -> Result<Trained<M>> {
        let trainer = serde_json::from_str(&self.header.trainer);
        let trainer: Trainer = trainer.map_err(|e| Error::checkpoint(&self.path, e))?;
        let best = run.best.take().or(run.average.take());
        Ok(Trained {
            model: finish(best.unwrap_or(parameters.weights))?,
            stopped_early: run.out_of_patience(&trainer),
            training_time: run.training_time,
            tokens: run.tokens,
            curve: run.curve,
        })
    }
}
