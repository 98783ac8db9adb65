//! P3α and RP3β: *a walk from your items to the people who had them, and on to what they had*.
//!
//! The weight of j for someone who had i is the chance that such a walk ends there, with each step's
//! chance raised to the power α; RP3β then marks down what is popular anyway:
//!
//! ```text
//! S[i → j] = Σ_u (x_ui / |x_·i|₁)^α · (x_uj / |x_u·|₁)^α  /  n_j^β        β = 0: P3α
//! ```
//!
//! with n_j the number of users who had j. Each item keeps the K others it hears best. Cooper et al.,
//! *Random walks in recommender systems: exact computation and simulations*, 2014 (P3α); Paudel et
//! al., *Updatable, accurate, diverse, and scalable recommendations for interactive applications*,
//! 2017 (RP3β).
//!
//! **When.** As cheap as item-kNN, and better where few items take most of the events: β moves
//! recommendations towards the long tail.
//!
//! **Cost.** Fit: Σ over users of (history length)², in parallel. Memory: 16 bytes × K × items.
//! A user's scores: history length × K. Updating and forgetting are exact and cost a fit without
//! building the log.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by validation splits inside the training part. Keeping the
//! best sources of each target, as here, was better there than the best targets of each source.

use refrain_core::Monitor;
use serde::{Deserialize, Serialize};

use super::Weighting;
use super::linear::{ItemConfig, ItemModel, Weights, check_neighbours, check_range, item_model};
use super::product::{Scale, Turned, nearest_rows};
use super::sparse::Csr;
use super::weighting::strengths;
use crate::{Memory, Result};

/// Settings of P3α.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct P3Alpha {
    /// How many others each item keeps.
    pub neighbours: usize,
    /// The power of each step's chance.
    pub alpha: f32,
    /// What an event is worth: [`Binary`](Weighting::Binary), [`Raw`](Weighting::Raw) or
    /// [`Log`](Weighting::Log).
    pub weighting: Weighting,
}

impl Default for P3Alpha {
    fn default() -> Self {
        Self {
            neighbours: 100,
            alpha: 0.7,
            weighting: Weighting::Binary,
        }
    }
}

/// Fitted P3α.
///
/// A score is a sum of walks' chances and compares within a user, not across users; it is 0 where no
/// walk leads.
pub type P3AlphaModel = ItemModel<P3Alpha>;

item_model!(P3Alpha);

impl ItemConfig for P3Alpha {
    const KIND: &'static str = "recommenders.p3_alpha";
    const NAME: &'static str = "P3α";

    fn strength(&self) -> Weighting {
        self.weighting
    }

    fn check(&self) -> Result<()> {
        check_neighbours(Self::NAME, self.neighbours)?;
        let expected = "must be at least 0";
        check_range(Self::NAME, "alpha", self.alpha, 0.0.., expected)?;
        self.weighting.check_strength(Self::NAME)
    }

    fn learn(&self, memory: &Memory, monitor: &Monitor) -> Result<Weights> {
        let users = strengths(memory, self.weighting);
        walks(Self::NAME, users, self.alpha, 0.0, self.neighbours, monitor)
    }
}

/// Settings of RP3β.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rp3Beta {
    /// How many others each item keeps.
    pub neighbours: usize,
    /// The power of each step's chance.
    pub alpha: f32,
    /// The power of an item's popularity by which its weights are divided; 0 is P3α.
    pub beta: f32,
    /// What an event is worth: [`Binary`](Weighting::Binary), [`Raw`](Weighting::Raw) or
    /// [`Log`](Weighting::Log).
    pub weighting: Weighting,
}

impl Default for Rp3Beta {
    fn default() -> Self {
        Self {
            neighbours: 200,
            alpha: 0.7,
            beta: 0.4,
            weighting: Weighting::Binary,
        }
    }
}

/// Fitted RP3β.
///
/// A score is a sum of walks' chances over powers of popularity and compares within a user, not
/// across users; it is 0 where no walk leads.
pub type Rp3BetaModel = ItemModel<Rp3Beta>;

item_model!(Rp3Beta);

impl ItemConfig for Rp3Beta {
    const KIND: &'static str = "recommenders.rp3_beta";
    const NAME: &'static str = "RP3β";

    fn strength(&self) -> Weighting {
        self.weighting
    }

    fn check(&self) -> Result<()> {
        check_neighbours(Self::NAME, self.neighbours)?;
        let expected = "must be at least 0";
        check_range(Self::NAME, "alpha", self.alpha, 0.0.., expected)?;
        check_range(Self::NAME, "beta", self.beta, 0.0.., expected)?;
        self.weighting.check_strength(Self::NAME)
    }

    fn learn(&self, memory: &Memory, monitor: &Monitor) -> Result<Weights> {
        let users = strengths(memory, self.weighting);
        let (alpha, beta, k) = (self.alpha, self.beta, self.neighbours);
        walks(Self::NAME, users, alpha, beta, k, monitor)
    }
}

/// The `k` best heard of each item, by walks of two steps.
fn walks(
    name: &'static str,
    users: Csr,
    alpha: f32,
    beta: f32,
    k: usize,
    monitor: &Monitor,
) -> Result<Weights> {
    let n = users.width();
    let stage = monitor.start(name, Some(n as u64));
    let items = users.transpose();
    let popularity: Vec<f32> = (0..n as u32)
        .map(|item| (items.row(item).0.len() as f32).powf(beta))
        .collect();
    // From a user to an item, by item; from an item to a user, by user.
    let to_item = chances(users, alpha).transpose();
    let to_user = Turned::new(chances(items, alpha).transpose());
    let scale = Scale::product(popularity, vec![1.0; n], 0.0);
    Ok(Weights::sparse(nearest_rows(
        &to_item, &to_user, &scale, k, &stage,
    )?))
}

/// Each row's shares of its sum, to the power α.
fn chances(mut rows: Csr, alpha: f32) -> Csr {
    rows.map_rows(|_, values| {
        let sum: f32 = values.iter().sum();
        values.iter_mut().for_each(|v| *v = (*v / sum).powf(alpha));
    });
    rows
}

#[cfg(test)]
mod tests {
    use refrain_data::Interactions;

    use super::*;
    use crate::Recommender;

    crate::conformance!(p3_alpha, personal, |log| P3Alpha::default().fit(log));
    crate::conformance!(rp3_beta, personal, |log| Rp3Beta::default().fit(log));
    crate::conformance!(logarithms, personal, |log| {
        Rp3Beta {
            neighbours: 12,
            alpha: 0.7,
            beta: 0.2,
            weighting: Weighting::Log,
        }
        .fit(log)
    });

    #[test]
    fn the_chances_of_a_small_walk() {
        // From x to a or b by half; from a to x, y by half; from b to x, y, z by a third.
        let log = Interactions::from_events([
            ("a", "x", 1.0),
            ("a", "y", 1.0),
            ("b", "x", 1.0),
            ("b", "y", 1.0),
            ("b", "z", 1.0),
        ])
        .unwrap();
        let history = [("x", 1.0)];
        let model = P3Alpha {
            alpha: 1.0,
            ..P3Alpha::default()
        };
        let model = model.fit(&log).unwrap();
        let best = model.recommend_for(&history, 2).unwrap();
        assert_eq!((best[0].item.as_str(), best[1].item.as_str()), ("y", "z"));
        assert!((best[0].score - (0.25 + 0.5 / 3.0)).abs() < 1e-6);
        assert!((best[1].score - 0.5 / 3.0).abs() < 1e-6);
        let model = Rp3Beta {
            alpha: 2.0,
            beta: 1.0,
            ..Rp3Beta::default()
        };
        let best = model.fit(&log).unwrap().recommend_for(&history, 2).unwrap();
        let y = (0.25 * 0.25 + 0.25 / 9.0) / 2.0;
        assert!((best[0].score - y).abs() < 1e-6, "{best:?}");
        assert!((best[1].score - 0.25 / 9.0).abs() < 1e-6, "{best:?}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let log = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        let with = Rp3Beta::default;
        let refused = |model: Rp3Beta| model.fit(&log).unwrap_err().to_string();
        let beta = f32::NAN;
        assert_eq!(
            refused(Rp3Beta { beta, ..with() }),
            "RP3β: beta is NaN, must be at least 0"
        );
        assert!(
            refused(Rp3Beta {
                alpha: -1.0,
                ..with()
            })
            .contains("alpha")
        );
        assert!(
            refused(Rp3Beta {
                neighbours: 0,
                ..with()
            })
            .contains("neighbours")
        );
        let model = P3Alpha {
            alpha: -1.0,
            ..P3Alpha::default()
        };
        assert!(model.fit(&log).is_err());
    }
}
