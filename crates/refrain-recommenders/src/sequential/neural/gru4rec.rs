//! GRU4Rec: a recurrent state that each item of the history moves on.
//!
//! ```text
//! h_t = GRU(h_{t−1}, √d · E[i_t])     score(j | i_1 … i_t) = h_t · E[j]
//! ```
//!
//! Hidasi et al., *Session-based recommendations with recurrent neural networks*, 2016; with the items'
//! vectors at both ends and many negatives shared by the batch, as in Hidasi and Karatzoglou,
//! *Recurrent neural networks with top-k gains*, 2018.
//!
//! **When.** Sessions in which the last few items decide, and answers that must cost little: a step
//! costs the same at any length. [`SasRec`](crate::SasRec) is as a rule better on long histories.
//!
//! **Cost.** A step costs its batch: `12 · width²` operations an item and layer forward, one step after
//! the other, the targets times their candidates, and the touched rows of the table.
//!
//! **Determinism.** On the CPU the same bits for any number of threads; other devices within rounding.
//!
//! **Defaults.** Those usual in the literature; not tuned yet.

use refrain_core::{Device, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::Training;
use super::body::Body;
use super::fit::{self, Plan, Reading};
use super::gru::Gru;
use super::model::{NextItemModel, Settings};
use crate::Result;
use crate::sequential::check;

pub(super) const NAME: &str = "GRU4Rec";

/// Settings of GRU4Rec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gru4Rec {
    /// The length of the vectors.
    pub width: usize,
    /// How many layers of units, one above the other.
    pub layers: usize,
    /// How many of the last items are looked at.
    pub context: usize,
    /// The share of values dropped while training.
    pub dropout: f32,
    /// How it learns.
    pub training: Training,
}

impl Default for Gru4Rec {
    fn default() -> Self {
        Self {
            width: 64,
            layers: 1,
            context: 50,
            dropout: 0.3,
            training: Training::default(),
        }
    }
}

impl Gru4Rec {
    /// Learns on `device`; the fitted model answers on the CPU.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for a log without times or without anyone who had two
    /// items, [`Error::Diverged`](crate::Error::Diverged) when the loss stops being a number,
    /// [`Error::Device`](crate::Error::Device).
    pub fn fit(&self, log: &Interactions, device: &Device) -> Result<NextItemModel> {
        self.fit_with(log, device, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the losses.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with(
        &self,
        log: &Interactions,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<NextItemModel> {
        fit::fit(Settings::Gru4Rec(self.clone()), log, None, device, monitor)
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        for (field, value) in [
            ("context", self.context),
            ("layers", self.layers),
            ("width", self.width),
        ] {
            let fits = (1..=1 << 14).contains(&value);
            check(NAME, field, value as f64, fits, "must be from 1 to 16384")?;
        }
        let dropout = f64::from(self.dropout);
        let fits = (0.0..1.0).contains(&dropout);
        check(
            NAME,
            "dropout",
            dropout,
            fits,
            "must be at least 0, below 1",
        )?;
        Ok(Plan {
            name: NAME,
            training: self.training.clone(),
            width: self.width,
            context: self.context,
            dropout: self.dropout,
            reading: Reading::Forward,
            body: Body::Recurrent(Gru {
                width: self.width,
                layers: self.layers,
            }),
        })
    }
}
