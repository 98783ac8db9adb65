//! The loop of a run: step, validate, keep the best, save, tell.

use std::time::{Duration, Instant};

use refrain_core::Monitor;

use super::task::{Score, Task};
use super::{Keep, LearningCurve, LossPoint, Trained, Trainer, checkpoint};
use crate::engine::Parameters;
use crate::{Error, Result};

/// Where a run stands.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) step: usize,
    pub(crate) curve: LearningCurve,
    /// Weights of the lowest validation loss so far.
    pub(crate) best: Option<Vec<f32>>,
    pub(crate) best_loss: f32,
    /// Validations since then.
    pub(crate) stale: usize,
    /// The running mean of the weights.
    pub(crate) average: Option<Vec<f32>>,
    /// Time in training steps.
    pub(crate) training_time: Duration,
    /// Targets trained on.
    pub(crate) tokens: u64,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            step: 0,
            curve: LearningCurve::default(),
            best: None,
            best_loss: f32::INFINITY,
            stale: 0,
            average: None,
            training_time: Duration::ZERO,
            tokens: 0,
        }
    }
}

impl Run {
    /// One more step's weights, `w`: `a ← d a + (1 - d) w`. The decay rises with the steps, so that
    /// the first weights are soon forgotten.
    fn average(&mut self, decay: f64, weights: Vec<f32>) {
        let decay = decay.min((1.0 + self.step as f64) / (10.0 + self.step as f64)) as f32;
        match &mut self.average {
            Some(average) => average
                .iter_mut()
                .zip(weights)
                .for_each(|(a, w)| *a += (1.0 - decay) * (w - *a)),
            none => *none = Some(weights),
        }
    }

    pub(super) fn out_of_patience(&self, trainer: &Trainer) -> bool {
        let patience = trainer.patience;
        patience.is_some_and(|patience| self.stale >= patience.max(1))
    }

    /// The weights that a validation judges and a run returns.
    fn judged<T: Task>(&self, task: &T) -> Result<Vec<f32>> {
        match &self.average {
            Some(average) => Ok(average.clone()),
            None => task.weights(),
        }
    }

    /// Validates with the mean of the weights, where there is one.
    fn validate<T: Task>(&self, trainer: &Trainer, task: &mut T) -> Result<Option<Score>> {
        let Some(average) = &self.average else {
            return task.validate(trainer);
        };
        let own = task.parameters()?;
        task.restore(Parameters {
            weights: average.clone(),
            ..own.clone()
        })?;
        let score = task.validate(trainer);
        task.restore(own)?;
        score
    }
}

impl Trainer {
    /// Trains from where `run` stands to the end.
    pub(super) fn run<T: Task>(
        &self,
        mut task: T,
        mut run: Run,
        monitor: &Monitor,
    ) -> Result<Trained<T::Model>> {
        let stage = monitor.start(format!("train {}", task.name()), Some(self.steps as u64));
        stage.advance(run.step as u64, "")?;
        let mut stopped_early = run.out_of_patience(self);
        let mut validation = String::new();
        while run.step < self.steps && !stopped_early {
            let began = Instant::now();
            let (loss, count) = self.step(&mut task, &mut run)?;
            run.training_time += began.elapsed();
            run.tokens += count as u64;

            let last = run.step == self.steps;
            if (last || run.step.is_multiple_of(self.evaluate_every))
                && let Some(score) = run.validate(self, &mut task)?
            {
                validation = run.note(score)?;
                if run.stale == 0 {
                    run.best = Some(run.judged(&task)?);
                }
                stopped_early = run.out_of_patience(self);
            }
            if let Some(path) = &self.checkpoint
                && (last || stopped_early || run.step.is_multiple_of(self.checkpoint_every))
            {
                checkpoint::write(path, self, &task, &run)?;
            }
            let rate = run.tokens as f64 / run.training_time.as_secs_f64().max(1e-9);
            stage.advance(
                1,
                format_args!(
                    "loss {loss:.3}{validation} · {} {}/s",
                    told(rate),
                    task.unit()
                ),
            )?;
        }
        let weights = match (self.keep, run.best.take()) {
            (Keep::Best, Some(best)) => best,
            _ => run.judged(&task)?,
        };
        Ok(Trained {
            model: task.finish(weights)?,
            curve: run.curve,
            stopped_early,
            training_time: run.training_time,
            tokens: run.tokens,
        })
    }

    /// One optimizer step; the mean loss and the number of targets.
    fn step<T: Task>(&self, task: &mut T, run: &mut Run) -> Result<(f64, usize)> {
        let step = run.step;
        let (loss, count) = task.learn(self, step)?;
        let update = self.update_at(step);
        let gradient_norm = task.update(&update)?;
        if !(loss.is_finite() && gradient_norm.is_finite()) {
            return Err(Error::Diverged {
                step,
                loss,
                gradient_norm,
                learning_rate: update.learning_rate,
                batch: task.describe(self, step),
            });
        }
        run.curve.train.push(LossPoint {
            step,
            loss: loss as f32,
        });
        run.step += 1;
        if let Some(decay) = self.average {
            run.average(decay, task.weights()?);
        }
        Ok((loss, count))
    }
}

/// Three digits or so.
fn told(rate: f64) -> String {
    match rate {
        ..10.0 => format!("{rate:.1}"),
        ..1000.0 => format!("{rate:.0}"),
        _ => format!("{:.1}k", rate / 1e3),
    }
}

impl Run {
    /// Puts a validation on record, and tells of it in words. What ranks weights must be a number; a loss
    /// that does not may be infinite, as where a target is impossible.
    fn note(&mut self, score: Score) -> Result<String> {
        let ranked = score.error.unwrap_or(score.loss) as f32;
        if !ranked.is_finite() || score.loss.is_nan() {
            return Err(Error::Validation {
                step: self.step,
                loss: score.loss,
                error: score.error,
            });
        }
        let point = |loss: f64| LossPoint {
            step: self.step,
            loss: loss as f32,
        };
        self.curve.validation.push(point(score.loss));
        let mut words = format!(" · validation {:.3}", score.loss);
        if let Some(error) = score.error {
            self.curve.errors.push(point(error));
            words += &format!(" (error {error:.4})");
        }
        match ranked < self.best_loss {
            true => (self.best_loss, self.stale) = (ranked, 0),
            false => self.stale += 1,
        }
        Ok(words)
    }
}
