//! Checkpoints: everything a run needs to go on as if it had not stopped.

use std::path::Path;

use refrain_core::{Device, ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use super::{LearningCurve, LossPoint, Run, Trainer};
use crate::engine::{Engine, Parameters};
use crate::tokenizer::TokenKind;
use crate::trainable::TrainableModel;
use crate::{Corpus, Error, Result, Vocabulary};

const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header<C> {
    /// As JSON text: a number that went through a JSON value may come back one bit off.
    trainer: String,
    config: C,
    tokens: TokenKind,
    step: usize,
    stale: usize,
    /// Of the training and the validation part.
    corpus: (u64, Option<u64>),
}

fn kind<M: TrainableModel>() -> String {
    format!("sequence.checkpoint.{}", M::NAME)
}

fn fingerprints(corpus: &Corpus) -> (u64, Option<u64>) {
    (
        corpus.train().fingerprint(),
        corpus.validation().map(|v| v.fingerprint()),
    )
}

fn trainer_text(path: &Path, trainer: &Trainer) -> Result<String> {
    serde_json::to_string(trainer).map_err(|e| Error::checkpoint(path, e))
}

pub(super) fn write<M: TrainableModel>(
    path: &Path,
    trainer: &Trainer,
    model: &M,
    engine: &dyn Engine,
    run: &Run,
    corpus: &Corpus,
) -> Result<()> {
    let header = Header {
        trainer: trainer_text(path, trainer)?,
        config: model.shape().clone(),
        tokens: model.names().kind(),
        step: run.step,
        stale: run.stale,
        corpus: fingerprints(corpus),
    };
    let parameters = engine.parameters()?;
    let n = parameters.weights.len();
    let mut file = ModelWriter::new(kind::<M>(), VERSION)
        .config(&header)?
        .ids("tokens", model.names().ids())?
        .f32("weights", &[n], parameters.weights)?
        .f32("first", &[n], parameters.first)?
        .f32("second", &[n], parameters.second)?
        .f32("best_loss", &[1], vec![run.best_loss])?;
    if !parameters.lanes.is_empty() {
        file = file.f32("lanes", &[parameters.lanes.len()], parameters.lanes)?;
    }
    if let Some(best) = &run.best {
        file = file.f32("best", &[n], best.as_slice())?;
    }
    for (name, points) in [
        ("train", &run.curve.train),
        ("validation", &run.curve.validation),
    ] {
        let steps: Vec<u64> = points.iter().map(|p| p.step as u64).collect();
        let losses: Vec<f32> = points.iter().map(|p| p.loss).collect();
        file = file
            .u64(format!("curve.{name}.steps"), &[steps.len()], steps)?
            .f32(format!("curve.{name}.losses"), &[losses.len()], losses)?;
    }
    Ok(file.write(path)?)
}

pub(super) fn read<M: TrainableModel>(
    path: &Path,
    trainer: &Trainer,
    corpus: &Corpus,
    device: &Device,
) -> Result<(M, Parameters, Run)> {
    let file = ModelFile::open(path)?;
    file.expect(&kind::<M>(), VERSION)?;
    let header: Header<M::Config> = file.config()?;
    if header.trainer != trainer_text(path, trainer)? {
        let reason = "written by a trainer with other settings";
        return Err(Error::checkpoint(path, reason));
    }
    if header.corpus != fingerprints(corpus) {
        return Err(Error::checkpoint(
            path,
            "written while training on another corpus",
        ));
    }
    let vocabulary = Vocabulary::from_parts(header.tokens, file.ids("tokens")?);
    let values = |name: &str, n: usize| -> Result<Vec<f32>> {
        Ok(file.f32(name)?.expect_shape(name, &[n])?.data.into_owned())
    };
    let has = |name: &str| file.names().any(|other| other == name);
    let total = M::count(&header.config, vocabulary.len())?;
    let parameters = Parameters {
        weights: values("weights", total)?,
        first: values("first", total)?,
        second: values("second", total)?,
        lanes: match has("lanes") {
            true => file.f32("lanes")?.data.into_owned(),
            false => Vec::new(),
        },
    };
    let best = match has("best") {
        true => Some(values("best", total)?),
        false => None,
    };
    let points = |name: &str| -> Result<Vec<LossPoint>> {
        let steps = file.u64(&format!("curve.{name}.steps"))?;
        let losses = file.f32(&format!("curve.{name}.losses"))?;
        if steps.data.len() != losses.data.len() {
            return Err(Error::checkpoint(
                path,
                format_args!("curve {name} has gaps"),
            ));
        }
        let pairs = steps.data.iter().zip(losses.data.iter());
        Ok(pairs
            .map(|(&step, &loss)| LossPoint {
                step: step as usize,
                loss,
            })
            .collect())
    };
    let run = Run {
        step: header.step,
        curve: LearningCurve {
            train: points("train")?,
            validation: points("validation")?,
        },
        best,
        best_loss: values("best_loss", 1)?
            .first()
            .copied()
            .unwrap_or(f32::INFINITY),
        stale: header.stale,
    };
    let weights = parameters.weights.clone();
    let model = M::with_flat(&header.config, vocabulary, weights, device)?;
    Ok((model, parameters, run))
}
