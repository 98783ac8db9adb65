//! A model with the data it learns from, as the loop of a run sees it.

use serde::{Deserialize, Serialize};

use super::Trainer;
use crate::engine::{Parameters, Update};
use crate::{Result, Vocabulary};

/// What a validation found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Score {
    /// In nats per target.
    pub(crate) loss: f64,
    /// What weights are ranked by, if not by the loss.
    pub(crate) error: Option<f64>,
}

/// Something that learns step by step.
pub(crate) trait Task {
    /// What a run gives back.
    type Model;

    /// In progress messages and in the kinds of checkpoints.
    fn name(&self) -> &str;

    /// What its targets are called.
    fn unit(&self) -> &'static str {
        "targets"
    }

    /// What a checkpoint must agree with to be continued.
    fn fingerprint(&self) -> Fingerprint;

    /// The tokens that a checkpoint keeps beside the weights.
    fn names(&self) -> Option<&Vocabulary> {
        None
    }

    /// Gathers the gradient of step `step`; the mean loss and the number of targets.
    fn learn(&mut self, trainer: &Trainer, step: usize) -> Result<(f64, usize)>;

    /// Applies the gradient and forgets it; its norm before clipping.
    fn update(&mut self, update: &Update) -> Result<f64>;

    /// Scores everything that is held out, if something is.
    fn validate(&self, trainer: &Trainer) -> Result<Option<Score>>;

    /// The examples of step `step`, in words.
    fn describe(&mut self, trainer: &Trainer, step: usize) -> String;

    fn weights(&self) -> Result<Vec<f32>>;

    fn parameters(&self) -> Result<Parameters>;

    fn restore(&mut self, parameters: Parameters) -> Result<()>;

    fn finish(self, weights: Vec<f32>) -> Result<Self::Model>;
}

/// The data of a run, and what makes its model; the config as JSON text, as a number that went
/// through a JSON value may come back one bit off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Fingerprint {
    pub(crate) model: String,
    /// Of the training and the validation part.
    pub(crate) data: (u64, Option<u64>),
}
