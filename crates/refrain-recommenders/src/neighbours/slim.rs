//! SLIM: *each item is explained by a few others*, learned by an elastic net.
//!
//! ```text
//! min ½‖x_j − X·w‖² + ½ l2 ‖w‖² + l1 ‖w‖₁   with w_j = 0, w ≥ 0        score(u, j) = Σ_{i ∈ u} x_ui · w_i
//! ```
//!
//! once for each item j. By coordinate descent on the Gram matrix G = XᵀX: with r = G_j − G·w the
//! correlation of every item with what is still unexplained, one weight is
//!
//! ```text
//! w_i ← max(0, r_i + G_ii·w_i − l1) / (G_ii + l2)        r ← r − Δw_i · G_i
//! ```
//!
//! Full passes find which weights are not zero, passes over those bring them to rest, until a full
//! pass moves nothing by more than the tolerance. Ning and Karypis, *SLIM: sparse linear methods for
//! top-N recommender systems*, 2011; Friedman et al., *Regularization paths for generalized linear
//! models via coordinate descent*, 2010.
//!
//! **When.** Where [`Ease`](crate::Ease) is good and reasons should be few and for the item: a sparse
//! model that explains itself by the user's own items. New users need no training. EASE fits faster.
//!
//! **Cost.** With n items a fit is n × (weights that move) × passes × n multiply-adds, in parallel
//! over items, and 4 bytes × n² while it runs ([`Slim::max_memory`] bounds that before anything is
//! allocated). The model keeps 16 bytes for each weight. Updating and forgetting are exact but for
//! the tolerance and cost a fit without building the log.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by a validation split inside the training part. Stopping
//! early (a tolerance of 0.01, not 0.0001) cost nothing there and took a quarter of the time.

use rayon::prelude::*;
use refrain_core::{Monitor, kernels};
use serde::{Deserialize, Serialize};

use super::Weighting;
use super::gram::{check_memory, gram};
use super::linear::{ItemConfig, ItemModel, Weights, check_range, item_model};
use super::sparse::Csr;
use super::weighting::strengths;
use crate::{Error, Memory, Result};

/// Settings of SLIM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Slim {
    /// How strongly weights are pushed to zero: more gives fewer. In squared strengths, as sums over
    /// users, not means.
    pub l1: f32,
    /// How strongly weights are held near zero and shared among like items.
    pub l2: f32,
    /// Whether weights below zero are ruled out, as in the paper. Allowing them costs time.
    pub non_negative: bool,
    /// A pass that moves no weight by more than this is the last one. Weights are below 1.
    pub tolerance: f32,
    /// The most full passes for an item.
    pub max_passes: usize,
    /// What an event is worth: [`Binary`](Weighting::Binary), [`Raw`](Weighting::Raw) or
    /// [`Log`](Weighting::Log).
    pub weighting: Weighting,
    /// The most bytes that the Gram matrix may take.
    pub max_memory: u64,
}

impl Default for Slim {
    fn default() -> Self {
        Self {
            l1: 1.0,
            l2: 200.0,
            non_negative: true,
            tolerance: 0.01,
            max_passes: 50,
            weighting: Weighting::Binary,
            max_memory: 4 << 30,
        }
    }
}

/// Fitted SLIM.
///
/// A score is near 1 for what the history has or implies and near 0 elsewhere, since the model
/// rebuilds histories of ones; it compares within a user, and roughly across users.
pub type SlimModel = ItemModel<Slim>;

item_model!(Slim);

impl ItemConfig for Slim {
    const KIND: &'static str = "recommenders.slim";
    const NAME: &'static str = "SLIM";

    fn strength(&self) -> Weighting {
        self.weighting
    }

    fn check(&self) -> Result<()> {
        let at_least_0 = "must be at least 0";
        check_range(Self::NAME, "l1", self.l1, 0.0.., at_least_0)?;
        check_range(Self::NAME, "l2", self.l2, 0.0.., at_least_0)?;
        check_range(Self::NAME, "tolerance", self.tolerance, 0.0.., at_least_0)?;
        if self.max_passes == 0 {
            return Err(Error::Config {
                model: Self::NAME,
                field: "max_passes",
                value: "0".to_string(),
                expected: "must be at least 1",
            });
        }
        self.weighting.check_strength(Self::NAME)
    }

    fn learn(&self, memory: &Memory, monitor: &Monitor) -> Result<Weights> {
        let n = memory.n_items();
        check_memory(Self::NAME, n, 1, self.max_memory)?;
        let stage = monitor.start("SLIM: Gram matrix", Some(n as u64));
        let gram = gram(&strengths(memory, self.weighting), &stage)?;
        if gram.iter().any(|g| !g.is_finite()) {
            let reason = "its weights are too large".to_string();
            return Err(Error::Data {
                model: Self::NAME,
                reason,
            });
        }
        drop(stage);
        let stage = monitor.start(Self::NAME, Some(n as u64));
        let descent = Descent {
            config: self,
            gram: &gram,
            n,
        };
        let rows: Vec<Vec<(u32, f32)>> = (0..n)
            .into_par_iter()
            .map_init(Scratch::default, |scratch, j| {
                let row = descent.explain(j, scratch);
                stage.advance(1, "").map(|()| row)
            })
            .collect::<Result<_, _>>()?;
        let mut nearest = Csr::with_width(n);
        rows.into_iter().for_each(|row| nearest.push_row(row));
        Ok(Weights::sparse(nearest))
    }
}

struct Descent<'a> {
    config: &'a Slim,
    /// items × items.
    gram: &'a [f32],
    n: usize,
}

#[derive(Default)]
struct Scratch {
    /// Correlations with what is unexplained.
    rest: Vec<f32>,
    weights: Vec<f32>,
    /// Which weights are not zero.
    active: Vec<usize>,
}

impl Descent<'_> {
    fn row(&self, item: usize) -> &[f32] {
        let start = item * self.n;
        self.gram.get(start..start + self.n).unwrap_or_default()
    }

    /// The weights that explain item j, ascending.
    fn explain(&self, j: usize, scratch: &mut Scratch) -> Vec<(u32, f32)> {
        let Scratch {
            rest,
            weights,
            active,
        } = scratch;
        rest.clear();
        rest.extend_from_slice(self.row(j));
        weights.clear();
        weights.resize(self.n, 0.0);
        active.clear();
        // Without ties to j a weight has nothing to gain, unless it may be negative.
        let tied = |i: &usize| *i != j && (!self.config.non_negative || rest.get(*i) > Some(&0.0));
        let candidates: Vec<usize> = (0..self.n).filter(tied).collect();
        for _ in 0..self.config.max_passes {
            let moved = self.pass(&candidates, rest, weights);
            if moved <= self.config.tolerance {
                break;
            }
            active.clear();
            let nonzero = |&i: &usize| weights.get(i).is_some_and(|w| *w != 0.0);
            active.extend(candidates.iter().copied().filter(nonzero));
            for _ in 0..self.config.max_passes {
                if self.pass(active, rest, weights) <= self.config.tolerance {
                    break;
                }
            }
        }
        let all = (0u32..).zip(weights.iter().copied());
        all.filter(|&(_, w)| w != 0.0).collect()
    }

    /// Brings each of these weights to its best, the others held; returns how far the furthest moved.
    fn pass(&self, items: &[usize], rest: &mut [f32], weights: &mut [f32]) -> f32 {
        let mut furthest = 0.0f32;
        for &i in items {
            let row = self.row(i);
            let (Some(&own), Some(&r), Some(weight)) =
                (row.get(i), rest.get(i), weights.get_mut(i))
            else {
                continue;
            };
            let below = own + self.config.l2;
            if below <= 0.0 {
                continue;
            }
            let new = soft(r + own * *weight, self.config.l1, self.config.non_negative) / below;
            let change = new - *weight;
            if change != 0.0 {
                *weight = new;
                kernels::axpy(-change, row, rest);
                furthest = furthest.max(change.abs());
            }
        }
        furthest
    }
}

/// Towards zero by `by`, stopping there; below zero only where that is allowed.
fn soft(value: f32, by: f32, non_negative: bool) -> f32 {
    let size = (value.abs() - by).max(0.0);
    match value > 0.0 {
        true => size,
        false if non_negative => 0.0,
        false => -size,
    }
}

#[cfg(test)]
mod tests {
    use refrain_data::Interactions;

    use super::*;
    use crate::Recommender;
    use crate::conformance::blocks_log;

    crate::conformance!(default, personal, |log| Slim {
        l2: 5.0,
        ..Slim::default()
    }
    .fit(log));
    crate::conformance!(signed, personal, |log| {
        Slim {
            l1: 1.0,
            l2: 30.0,
            non_negative: false,
            weighting: Weighting::Log,
            ..Slim::default()
        }
        .fit(log)
    });

    fn x(log: &Interactions, u: u32, i: u32) -> f64 {
        f64::from(u8::from(log.user_items(u).0.contains(&i)))
    }

    /// The slope of the loss without l1, in each weight of item j, from the histories themselves.
    fn slopes(log: &Interactions, w: &[f32], j: u32, l2: f64) -> Vec<f64> {
        let (users, items) = (log.n_users() as u32, log.n_items() as u32);
        let left: Vec<f64> = (0..users)
            .map(|u| {
                let told: f64 = (0..items)
                    .map(|i| x(log, u, i) * f64::from(w[i as usize]))
                    .sum();
                x(log, u, j) - told
            })
            .collect();
        (0..items)
            .map(|i| {
                let ties: f64 = (0..users).map(|u| x(log, u, i) * left[u as usize]).sum();
                l2 * f64::from(w[i as usize]) - ties
            })
            .collect()
    }

    #[test]
    fn no_weight_could_be_better() {
        let log = blocks_log();
        for non_negative in [true, false] {
            let model = Slim {
                l1: 0.5,
                l2: 2.0,
                non_negative,
                tolerance: 1e-6,
                ..Slim::default()
            };
            let model = model.fit(&log).unwrap();
            let mut w = vec![0.0; 30];
            let mut nonzero = 0;
            for j in 0..30 {
                model.similarity(j, &mut w).unwrap();
                assert_eq!(w[j as usize], 0.0);
                for (i, slope) in slopes(&log, &w, j, 2.0).into_iter().enumerate() {
                    let weight = w[i];
                    if i == j as usize {
                        continue;
                    }
                    nonzero += usize::from(weight != 0.0);
                    // The optimality conditions of the elastic net.
                    let sound = match weight {
                        w if w > 0.0 => (slope + 0.5).abs() < 1e-3,
                        w if w < 0.0 => !non_negative && (slope - 0.5).abs() < 1e-3,
                        _ if non_negative => slope > -0.5 - 1e-3,
                        _ => slope.abs() < 0.5 + 1e-3,
                    };
                    assert!(sound, "{i} → {j}: {weight}, slope {slope}");
                }
            }
            assert!(nonzero > 60, "{nonzero}");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let log = blocks_log();
        let with = Slim::default;
        let refused = |model: Slim| model.fit(&log).unwrap_err().to_string();
        let l1 = -1.0;
        assert_eq!(
            refused(Slim { l1, ..with() }),
            "SLIM: l1 is -1, must be at least 0"
        );
        assert!(
            refused(Slim {
                l2: f32::NAN,
                ..with()
            })
            .contains("l2")
        );
        assert!(
            refused(Slim {
                max_passes: 0,
                ..with()
            })
            .contains("max_passes")
        );
        assert!(
            refused(Slim {
                max_memory: 9,
                ..with()
            })
            .contains("30 items need")
        );
        let weighting = Weighting::TfIdf;
        assert!(
            refused(Slim {
                weighting,
                ..with()
            })
            .contains("weighting")
        );
    }
}
