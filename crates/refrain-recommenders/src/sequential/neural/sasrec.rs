//! SASRec: self-attention over the history, each item asked what came next.
//!
//! ```text
//! x_t = √d · E[i_t] (+ P[t])     h = norm(layers(x))     score(j | i_1 … i_t) = h_t · E[j]
//! ```
//!
//! Pre-norm transformer layers that look back only; the items' vectors serve at both ends. Kang and
//! McAuley, *Self-attentive sequential recommendation*, 2018; with a softmax over the catalogue, or
//! over many negatives shared by the batch, in the place of one negative each: Klenitskiy and Vasilev,
//! *Turning dross into gold loss: is BERT4Rec really better than SASRec?*, 2023.
//!
//! **When.** Histories of some length in which order matters, and enough of them: from about 100,000
//! events. Below that try [`Markov`](crate::Markov) and [`SessionKnn`](crate::SessionKnn) first: they
//! cost nothing.
//!
//! **Cost.** A step costs its batch: the layers, the targets times their candidates, and the rows of
//! the table that were touched. Only the full softmax costs the catalogue. An answer costs the layers
//! over one history and one product with the items' vectors.
//!
//! **Determinism.** On the CPU the same bits for any number of threads; other devices within rounding.
//!
//! **Defaults.** Those usual in the literature; not tuned yet.

use refrain_core::{Device, Monitor};
use refrain_data::Interactions;
use refrain_sequence::FeedForward;
use serde::{Deserialize, Serialize};

use super::fit::{self, Plan, Reading};
use super::model::{NextItemModel, Settings};
use super::{Shape, Training};
use crate::Result;
use crate::sequential::check;

pub(super) const NAME: &str = "SASRec";

/// How a model knows where in the history an item stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Order {
    /// A learned vector for each place.
    Learned,
    /// Distances, by rotating queries and keys (Su et al., *RoFormer*, 2021).
    Rotary,
}

/// Settings of SASRec.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SasRec {
    /// The length of the vectors.
    pub width: usize,
    /// How many layers.
    pub layers: usize,
    /// Attention heads; they share the width evenly.
    pub heads: usize,
    /// How many of the last items are looked at.
    pub context: usize,
    /// The share of values dropped while training.
    pub dropout: f32,
    /// How places enter.
    pub order: Order,
    /// How it learns.
    pub training: Training,
}

impl Default for SasRec {
    fn default() -> Self {
        Self {
            width: 64,
            layers: 2,
            heads: 2,
            context: 50,
            dropout: 0.3,
            order: Order::Learned,
            training: Training::default(),
        }
    }
}

impl SasRec {
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
        fit::fit(Settings::SasRec(self.clone()), log, None, device, monitor)
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        let context = self.context;
        check(
            NAME,
            "context",
            context as f64,
            context >= 1,
            "must be at least 1",
        )?;
        let shape = Shape {
            name: NAME,
            width: self.width,
            layers: self.layers,
            heads: self.heads,
            context,
            dropout: self.dropout,
            order: self.order,
            causal: true,
            feed_forward: FeedForward::Relu,
        };
        Ok(Plan {
            name: NAME,
            training: self.training.clone(),
            width: self.width,
            context,
            dropout: self.dropout,
            reading: Reading::Forward,
            body: shape.body()?,
        })
    }
}
