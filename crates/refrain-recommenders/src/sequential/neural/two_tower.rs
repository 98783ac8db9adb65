//! Two towers: a vector of the user from what they had, a vector of the item from its number and its
//! features, and their inner product.
//!
//! ```text
//! v_j = E[j] + Σ_f x_jf F[f]     m = mean of v_i over the history     u = m + relu(m A + a) B + b
//! score(j) = u · v_j
//! ```
//!
//! Each item of a history is asked for from the others, against all items or against negatives shared
//! by the batch, with the logarithm of their chance to be drawn taken off: Yi et al.,
//! *Sampling-bias-corrected neural modeling for large corpus item recommendations*, 2019. While
//! training, an item's own vector `E[j]` is left out now and then, so that its features learn to speak
//! for it; an item nobody had yet is its features alone: Volkovs et al., *DropoutNet*, 2017.
//!
//! **When.** New items with features must be recommended from their first day, to users old and new.
//! Where every item has a past, try [`Als`](crate::Als) first: it is quicker.
//!
//! **Cost.** A step costs its batch: targets times candidates, the touched rows and their features. An
//! answer costs one mean, two small products and one product with the items' vectors.
//!
//! **Determinism.** On the CPU the same bits for any number of threads; other devices within rounding.
//!
//! **Defaults.** Not tuned yet.

use refrain_core::{Device, Monitor};
use refrain_data::{FeatureEncoding, Interactions, ItemFeatures};
use serde::{Deserialize, Serialize};

use super::Training;
use super::body::Body;
use super::fit::{self, Plan, Reading};
use super::model::{NextItemModel, Settings};
use super::pool::Pool;
use crate::neighbours::sparse::Csr;
use crate::sequential::check;
use crate::{Error, Result};

pub(super) const NAME: &str = "two towers";

/// Settings of the two towers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TwoTower {
    /// The length of the vectors.
    pub width: usize,
    /// The width inside the user's tower.
    pub hidden: usize,
    /// The most items of a history that are read, the newest where there are times.
    pub context: usize,
    /// The share of values dropped from the user's mean while training.
    pub dropout: f32,
    /// How often an item is seen by its features alone while training.
    pub cold: f32,
    /// How features become numbers; the default in a loaded model's settings.
    #[serde(skip)] // the fitted encoder is stored, which says it all
    pub encoding: FeatureEncoding,
    /// How it learns.
    pub training: Training,
}

impl Default for TwoTower {
    fn default() -> Self {
        Self {
            width: 64,
            hidden: 128,
            context: 200,
            dropout: 0.2,
            cold: 0.1,
            encoding: FeatureEncoding::default(),
            training: Training::default(),
        }
    }
}

impl TwoTower {
    /// Learns from the log alone.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    pub fn fit(&self, log: &Interactions, device: &Device) -> Result<NextItemModel> {
        self.fit_with(log, None, device, &Monitor::silent())
    }

    /// Learns from the log and the items' features.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with).
    pub fn fit_features(
        &self,
        log: &Interactions,
        features: &ItemFeatures,
        device: &Device,
    ) -> Result<NextItemModel> {
        self.fit_with(log, Some(features), device, &Monitor::silent())
    }

    /// Learns on `device`, telling `monitor` the losses; the fitted model answers on the CPU. Times are
    /// not needed.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range,
    /// [`Error::Data`](crate::Error::Data) for a log without anyone who had two items,
    /// [`Error::Interactions`](crate::Error::Interactions) for features that cannot be encoded,
    /// [`Error::Diverged`](crate::Error::Diverged), [`Error::Device`](crate::Error::Device), and when
    /// cancelled.
    pub fn fit_with(
        &self,
        log: &Interactions,
        features: Option<&ItemFeatures>,
        device: &Device,
        monitor: &Monitor,
    ) -> Result<NextItemModel> {
        let features = match features {
            None => None,
            Some(features) => {
                let (rows, joined) = features.join(&log.shared_items())?;
                if joined.matched == 0 {
                    let reason = "no item of the log has features; are the ids the same?";
                    return Err(Error::Data {
                        model: NAME,
                        reason: reason.to_string(),
                    });
                }
                let encoder = self.encoding.fit(&rows)?;
                let encoded = encoder.encode(&rows)?;
                let mut csr = Csr::with_width(encoded.names.len());
                for item in 0..log.n_items() as u32 {
                    let (columns, values) = encoded.row(item);
                    csr.push_row(columns.iter().copied().zip(values.iter().copied()));
                }
                Some((encoder, csr))
            }
        };
        let settings = Settings::TwoTower(self.clone());
        fit::fit(settings, log, features, device, monitor)
    }

    pub(super) fn plan(&self) -> Result<Plan> {
        for (field, value) in [
            ("context", self.context),
            ("hidden", self.hidden),
            ("width", self.width),
        ] {
            let fits = (1..=1 << 14).contains(&value);
            check(NAME, field, value as f64, fits, "must be from 1 to 16384")?;
        }
        for (field, value) in [("dropout", self.dropout), ("cold", self.cold)] {
            let fits = (0.0..1.0).contains(&value);
            check(
                NAME,
                field,
                value.into(),
                fits,
                "must be at least 0, below 1",
            )?;
        }
        Ok(Plan {
            name: NAME,
            training: self.training.clone(),
            width: self.width,
            context: self.context,
            dropout: self.dropout,
            reading: Reading::Set { cold: self.cold },
            body: Body::Mean(Pool {
                width: self.width,
                hidden: self.hidden,
            }),
        })
    }
}
