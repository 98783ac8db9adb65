//! BERT4Rec: hidden items of the history, guessed from both sides.
//!
//! ```text
//! x_t = √d · E[i_t or hidden] (+ P[t])     h = norm(layers(x))     score(j at t) = h_t · E[j]
//! ```
//!
//! A cloze hides some items of each history; to ask what comes next, a hidden item is put at its end.
//! Sun et al., *BERT4Rec*, 2019. A quarter of the histories are cut somewhere and have only their
//! last item hidden, so that what is asked is what was trained.
//!
//! **When.** Histories whose order is loose. Needs several times the epochs of
//! [`SasRec`](crate::SasRec), as an epoch asks for few items, and is seldom better with equal losses.
//!
//! **Cost.** A step costs its batch: the layers, the hidden items times their candidates, and the
//! touched rows of the table.
//!
//! **Determinism.** On the CPU the same bits for any number of threads; other devices within rounding.
//!
//! **Defaults.** The share of hidden items and the patience were chosen on MovieLens-100K by the
//! last-but-one item of each user; the others are those usual in the literature.

use refrain_core::{Device, Monitor};
use refrain_data::Interactions;
use refrain_sequence::FeedForward;
use serde::{Deserialize, Serialize};

use super::fit::{self, Plan, Reading};
use super::model::{NextItemModel, Settings};
use super::{Order, Shape, Training};
use crate::Result;
use crate::sequential::check;

pub(super) const NAME: &str = "BERT4Rec";

/// Settings of BERT4Rec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Bert4Rec {
    /// The length of the vectors.
    pub width: usize,
    /// How many layers.
    pub layers: usize,
    /// Attention heads; they share the width evenly.
    pub heads: usize,
    /// How many of the last items are looked at, with the one to come.
    pub context: usize,
    /// The share of values dropped while training.
    pub dropout: f32,
    /// The share of items that a cloze hides.
    pub cloze: f32,
    /// How places enter.
    pub order: Order,
    /// How it learns.
    pub training: Training,
}

impl Default for Bert4Rec {
    fn default() -> Self {
        Self {
            width: 64,
            layers: 2,
            heads: 2,
            context: 50,
            dropout: 0.3,
            cloze: 0.6,
            order: Order::Rotary,
            training: Training {
                epochs: 400,
                patience: Some(60),
                ..Training::default()
            },
        }
    }
}

impl Bert4Rec {
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
        fit::fit(Settings::Bert4Rec(self.clone()), log, None, device, monitor)
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        let context = self.context;
        check(
            NAME,
            "context",
            context as f64,
            context >= 2,
            "must be at least 2",
        )?;
        let cloze = f64::from(self.cloze);
        let fits = cloze > 0.0 && cloze < 1.0;
        check(NAME, "cloze", cloze, fits, "must be above 0 and below 1")?;
        let shape = Shape {
            name: NAME,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            context,
            dropout: self.dropout,
            order: self.order,
            causal: false,
            feed_forward: FeedForward::Gelu,
        };
        Ok(Plan {
            name: NAME,
            training: self.training.clone(),
            width: self.width,
            context,
            dropout: self.dropout,
            reading: Reading::Cloze(self.cloze),
            body: shape.body()?,
        })
    }
}
