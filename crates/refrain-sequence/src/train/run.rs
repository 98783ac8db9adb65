//! The loop of a run: step, validate, keep the best, save, tell.

use std::time::{Duration, Instant};

use refrain_core::Monitor;

use super::{Keep, LearningCurve, LossPoint, Trained, Trainer, checkpoint};
use crate::batch::{Batcher, Dropout, Example, scored};
use crate::engine::{Engine, Parameters};
use crate::trainable::TrainableModel;
use crate::{Corpus, Error, Result};

/// Where a run stands.
pub(crate) struct Run {
    pub(crate) step: usize,
    pub(crate) curve: LearningCurve,
    /// Weights of the lowest validation loss so far.
    pub(crate) best: Option<Vec<f32>>,
    pub(crate) best_loss: f32,
    /// Validations since then.
    pub(crate) stale: usize,
}

impl Trainer {
    /// Trains from where `run` stands to the end.
    pub(super) fn run<M: TrainableModel>(
        &self,
        model: &M,
        parameters: Option<Parameters>,
        mut run: Run,
        corpus: &Corpus,
        monitor: &Monitor,
    ) -> Result<Trained<M>> {
        self.validate()?;
        if model.names() != corpus.vocabulary() {
            return Err(Error::config(
                "Corpus.vocabulary",
                format_args!("of {} tokens", corpus.vocabulary().len()),
                "the vocabulary the model was trained with",
            ));
        }
        let mut engine = model.trainable(self.compute)?;
        if let Some(parameters) = parameters {
            engine.restore(parameters)?;
        }
        let reading = model.reading();
        let mut batcher = Batcher::new(corpus.train(), reading.window, self.seed);
        if reading.carried {
            batcher = batcher.in_lanes(self.batch.saturating_mul(self.accumulate));
        }
        let held = corpus.validation().map(|data| model.scored(data));
        let dropout = (reading.dropout > 0.0).then_some(Dropout {
            rate: reading.dropout,
            seed: self.seed,
        });

        let stage = monitor.start(format!("train {}", M::NAME), Some(self.steps as u64));
        stage.advance(run.step as u64, "")?;
        let (mut training_time, mut tokens) = (Duration::ZERO, 0u64);
        let mut stopped_early = false;
        let mut validation = String::new();
        while run.step < self.steps && !stopped_early {
            let began = Instant::now();
            let (loss, count) = self.step(engine.as_mut(), &mut batcher, run.step, dropout)?;
            training_time += began.elapsed();
            tokens += count as u64;
            run.curve.train.push(LossPoint {
                step: run.step,
                loss: loss as f32,
            });
            run.step += 1;

            let last = run.step == self.steps;
            if let Some(held) = &held
                && (last || run.step.is_multiple_of(self.evaluate_every))
            {
                let loss = evaluate(engine.as_ref(), held, self.batch)? as f32;
                run.curve.validation.push(LossPoint {
                    step: run.step,
                    loss,
                });
                validation = format!(" · validation {loss:.3}");
                if loss < run.best_loss {
                    run.best_loss = loss;
                    run.best = Some(engine.weights()?);
                    run.stale = 0;
                } else {
                    run.stale += 1;
                    stopped_early = self.patience.is_some_and(|p| run.stale >= p);
                }
            }
            if let Some(path) = &self.checkpoint
                && (last || run.step.is_multiple_of(self.checkpoint_every))
            {
                checkpoint::write(path, self, model, engine.as_ref(), &run, corpus)?;
            }
            let rate = tokens as f64 / training_time.as_secs_f64().max(1e-9);
            stage.advance(
                1,
                format_args!("loss {loss:.3}{validation} · {:.1}k tokens/s", rate / 1e3),
            )?;
        }
        let weights = match (self.keep, run.best) {
            (Keep::Best, Some(best)) => best,
            _ => engine.weights()?,
        };
        Ok(Trained {
            model: model.reweighted(weights)?,
            curve: run.curve,
            stopped_early,
            training_time,
            tokens,
        })
    }

    /// One optimizer step; the mean loss and the number of targets.
    fn step(
        &self,
        engine: &mut dyn Engine,
        batcher: &mut Batcher<'_>,
        step: usize,
        dropout: Option<Dropout>,
    ) -> Result<(f64, usize)> {
        let first = (step * self.accumulate) as u64;
        let batches: Vec<Vec<Example>> = (0..self.accumulate as u64)
            .map(|i| batcher.batch(first + i, self.batch))
            .collect();
        let count: usize = batches.iter().map(|b| scored(b)).sum();
        let mut sum = 0.0;
        for batch in &batches {
            sum += engine.accumulate(batch, 1.0 / count.max(1) as f64, dropout)?;
        }
        let loss = sum / count.max(1) as f64;
        let update = self.update_at(step);
        let gradient_norm = engine.update(&update)?;
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            let learning_rate = update.learning_rate;
            return Err(Error::Diverged {
                step,
                loss,
                gradient_norm,
                learning_rate,
            });
        }
        Ok((loss, count))
    }
}

/// The mean loss over `examples`, in nats per target.
pub(crate) fn evaluate(engine: &dyn Engine, examples: &[Example], batch: usize) -> Result<f64> {
    // By length, so that little is padded.
    let mut order: Vec<&Example> = examples.iter().collect();
    order.sort_by_key(|e| e.len());
    let mut sum = 0.0;
    for chunk in order.chunks(batch.max(32)) {
        let chunk: Vec<Example> = chunk.iter().map(|&e| e.clone()).collect();
        sum += engine.evaluate(&chunk)?;
    }
    Ok(sum / scored(examples).max(1) as f64)
}
