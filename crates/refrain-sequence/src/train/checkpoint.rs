//! Checkpoints: everything a run needs to go on as if it had not stopped.

use std::path::{Path, PathBuf};

use refrain_core::{Device, ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use super::corpus_task::fingerprints;
use super::task::{Fingerprint, Task};
use super::{LearningCurve, LossPoint, Run, Trainer};
use crate::engine::Parameters;
use crate::tokenizer::TokenKind;
use crate::trainable::TrainableModel;
use crate::{Corpus, Error, Result, Vocabulary};

const VERSION: u32 = 2;

#[derive(Serialize, Deserialize)]
struct Header {
    /// As JSON text: a number that went through a JSON value may come back one bit off.
    trainer: String,
    task: Fingerprint,
    step: usize,
    stale: usize,
}

fn kind(name: &str) -> String {
    format!("sequence.checkpoint.{name}")
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

/// A checkpoint that this trainer wrote.
pub(super) struct Checkpoint {
    path: PathBuf,
    file: ModelFile,
    header: Header,
}

pub(super) fn open(path: &Path, trainer: &Trainer, name: &str) -> Result<Checkpoint> {
    let file = ModelFile::open(path)?;
    file.expect(&kind(name), VERSION)?;
    let header: Header = file.config()?;
    if header.trainer != trainer_text(path, trainer)? {
        let reason = "written by a trainer with other settings";
        return Err(Error::checkpoint(path, reason));
    }
    Ok(Checkpoint {
        path: path.to_path_buf(),
        file,
        header,
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
    fn parameters(&self, total: usize) -> Result<(Parameters, Run)> {
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
        };
        Ok((parameters, run))
    }

    /// The same, of a task that must be the one which wrote it.
    pub(super) fn continued<T: Task>(&self, task: &T, total: usize) -> Result<(Parameters, Run)> {
        if self.header.task != task.fingerprint() {
            let reason = "written by another kind of model, or on other examples";
            return Err(Error::checkpoint(&self.path, reason));
        }
        self.parameters(total)
    }

    /// The language model that was being trained on `corpus`.
    pub(super) fn model<M: TrainableModel>(
        &self,
        corpus: &Corpus,
        device: &Device,
    ) -> Result<(M, Parameters, Run)> {
        if self.header.task.data != fingerprints(corpus) {
            let reason = "written while training on another corpus";
            return Err(Error::checkpoint(&self.path, reason));
        }
        let (config, tokens): (M::Config, TokenKind) =
            serde_json::from_str(&self.header.task.model)
                .map_err(|e| Error::checkpoint(&self.path, e))?;
        let vocabulary = Vocabulary::from_parts(tokens, self.file.ids("tokens")?);
        let (parameters, run) = self.parameters(M::count(&config, vocabulary.len())?)?;
        let model = M::with_flat(&config, vocabulary, parameters.weights.clone(), device)?;
        Ok((model, parameters, run))
    }
}
