//! How the neural models learn: one set of settings for all of them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::check;
use crate::Result;

/// What a step asks of the scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NextItemLoss {
    /// [`Softmax`](Self::Softmax) up to 10,000 items, [`SampledSoftmax`](Self::SampledSoftmax)
    /// with 1,024 negatives above.
    Auto,
    /// The cross-entropy against every item: exact, and a step costs the whole catalogue.
    Softmax,
    /// The cross-entropy against `negatives` items drawn once a step, each corrected by the logarithm
    /// of how often it is drawn (Bengio and Senécal, 2003), so that the gradient's expectation does
    /// not depend on how the negatives are drawn.
    SampledSoftmax {
        /// How many are drawn a step, for all its targets.
        negatives: usize,
    },
    /// The cross-entropy against the other targets of the batch, each corrected by the logarithm of how
    /// often it occurs (Yi et al., *Sampling-bias-corrected neural modeling*, 2019). Nothing is drawn, so
    /// items that nobody had are never pushed down.
    InBatchSoftmax,
    /// Generalised binary cross-entropy (Petrov and Macdonald, *gSASRec*, 2023): `−β log σ(s⁺) − Σ
    /// log(1 − σ(s⁻))` over logits shifted to the odds of chance, with β below 1 so that sampling does not make the model overconfident. A
    /// negative counts what it would if all items were drawn alike, as in the paper.
    Gbce {
        /// How many negatives are drawn a step, for all its targets.
        negatives: usize,
        /// From 0 (plain BCE) to 1 (fully calibrated); 0.75 in the paper.
        calibration: f32,
    },
}

impl NextItemLoss {
    /// The loss itself for so many items.
    pub(super) fn resolved(self, items: usize) -> Self {
        match self {
            Self::Auto if items <= 10_000 => Self::Softmax,
            Self::Auto => Self::SampledSoftmax { negatives: 1024 },
            loss => loss,
        }
    }

    /// How many negatives a step draws from so many items; `None` takes all items.
    pub(super) fn negatives(self, items: usize) -> Option<usize> {
        match self {
            Self::SampledSoftmax { negatives } | Self::Gbce { negatives, .. } => {
                Some(negatives.min(items))
            }
            Self::Auto | Self::Softmax | Self::InBatchSoftmax => None,
        }
    }
}

/// How a neural sequential model learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// The most passes over the log.
    pub epochs: usize,
    /// Stops after so many passes without a better validation; `None` trains all epochs.
    pub patience: Option<usize>,
    /// Whether each user's last item is held out for that; the best weights are kept. Without it
    /// every event is learned and the last weights are kept.
    pub validate: bool,
    /// Sequences in a step.
    pub batch: usize,
    /// Adam's step.
    pub learning_rate: f32,
    /// What a step asks of the scores.
    pub loss: NextItemLoss,
    /// How negatives are drawn: by their number of users to this power; 0 draws all alike.
    pub negative_power: f32,
    /// The seed of first values, batches, negatives and dropout.
    pub seed: u64,
    /// A file written after each epoch. If it is there already, training goes on from it as if it had
    /// not stopped; one of other settings or data is refused. A member of a blend or a trial of a search
    /// is fitted on several logs: give it no checkpoint, or one a log.
    #[serde(skip)]
    pub checkpoint: Option<PathBuf>,
}

impl Default for Training {
    fn default() -> Self {
        Self {
            epochs: 200,
            patience: Some(10),
            validate: true,
            batch: 64,
            learning_rate: 1e-3,
            loss: NextItemLoss::Auto,
            negative_power: 0.5,
            seed: 0,
            checkpoint: None,
        }
    }
}

impl Training {
    pub(super) fn validate(&self, model: &'static str) -> Result<()> {
        let one = "must be at least 1";
        for (field, value) in [
            ("training.epochs", self.epochs),
            ("training.patience", self.patience.unwrap_or(1)),
            ("training.batch", self.batch),
            (
                "training.loss.negatives",
                self.loss.negatives(usize::MAX).unwrap_or(1),
            ),
        ] {
            check(model, field, value as f64, value >= 1, one)?;
        }
        let rate = f64::from(self.learning_rate);
        check(
            model,
            "training.learning_rate",
            rate,
            rate > 0.0,
            "must be above 0",
        )?;
        let power = f64::from(self.negative_power);
        let fits = (0.0..=1.0).contains(&power);
        check(
            model,
            "training.negative_power",
            power,
            fits,
            "must be from 0 to 1",
        )?;
        if let NextItemLoss::Gbce { calibration, .. } = self.loss {
            let value = f64::from(calibration);
            let fits = (0.0..=1.0).contains(&value);
            check(
                model,
                "training.loss.calibration",
                value,
                fits,
                "must be from 0 to 1",
            )?;
        }
        Ok(())
    }
}
