//! EASE: *each item is explained by all others*, in closed form.
//!
//! The weights B that rebuild the histories X best, with no item explaining itself:
//!
//! ```text
//! min ‖X − X·B‖² + λ‖B‖²  with diag B = 0        P = (XᵀX + λI)⁻¹     B_ij = −P_ij / P_jj
//! score(u, j) = Σ_{i ∈ u} x_ui · B_ij
//! ```
//!
//! Steck, *Embarrassingly shallow autoencoders for sparse data*, 2019.
//!
//! **When.** Catalogues up to some ten thousand items: hard to beat there, with one setting and no
//! training loop. Explains itself by the user's own items; weights may be negative (*having X speaks
//! against Y*). New users need no training. [`Slim`](crate::Slim) is sparse from the start.
//!
//! **Cost.** With n items a fit is n³ multiply-adds, by blocked Cholesky on all threads, and
//! 8 bytes × n² while it runs: 3 GiB at 20,000 items. [`Ease::max_memory`] bounds that before
//! anything is allocated. The model keeps 4 bytes × n², or with [`Ease::neighbours`] 16 bytes × K ×
//! n. A user's scores: history length × n, or × K. Updating and forgetting are exact and cost a fit
//! without building the log.
//!
//! **Determinism.** The same bits for any number of threads on one processor.
//!
//! **Defaults.** λ was chosen on validation splits inside the training part of MovieLens-100K, where
//! everything from 300 to 600 is within 1 %. It grows with the number of users, and a search over
//! 100 … 2000 is worth its minutes.

use std::ops::Bound;

use rayon::prelude::*;
use refrain_core::Monitor;
use serde::{Deserialize, Serialize};

use super::Weighting;
use super::gram::{check_memory, gram, invert};
use super::linear::{ItemConfig, ItemModel, Weights, check_neighbours, check_range, item_model};
use super::sparse::Csr;
use super::weighting::strengths;
use crate::{Error, Memory, Result};

/// Settings of EASE.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ease {
    /// λ, how strongly weights are held near zero.
    pub lambda: f32,
    /// What an event is worth: [`Binary`](Weighting::Binary), [`Raw`](Weighting::Raw) or
    /// [`Log`](Weighting::Log).
    pub weighting: Weighting,
    /// Keep only so many weights per scored item, the largest: much smaller, and a little worse.
    /// `None` keeps all.
    pub neighbours: Option<usize>,
    /// The most bytes that the matrices of a fit may take.
    pub max_memory: u64,
}

impl Default for Ease {
    fn default() -> Self {
        Self {
            lambda: 500.0,
            weighting: Weighting::Binary,
            neighbours: None,
            max_memory: 4 << 30,
        }
    }
}

/// Fitted EASE.
///
/// A score is near 1 for what the history has or implies and near 0 elsewhere, since the model
/// rebuilds histories of ones; it compares within a user, and roughly across users.
pub type EaseModel = ItemModel<Ease>;

item_model!(Ease);

impl ItemConfig for Ease {
    const KIND: &'static str = "recommenders.ease";
    const NAME: &'static str = "EASE";

    fn strength(&self) -> Weighting {
        self.weighting
    }

    fn check(&self) -> Result<()> {
        let above_0 = (Bound::Excluded(0.0), Bound::Unbounded);
        check_range(
            Self::NAME,
            "lambda",
            self.lambda,
            above_0,
            "must be above 0",
        )?;
        self.weighting.check_strength(Self::NAME)?;
        check_neighbours(Self::NAME, self.neighbours.unwrap_or(1))
    }

    fn learn(&self, memory: &Memory, monitor: &Monitor) -> Result<Weights> {
        let n = memory.n_items();
        check_memory(Self::NAME, n, 2, self.max_memory)?;
        let stage = monitor.start(Self::NAME, Some(n as u64));
        let mut matrix = gram(&strengths(memory, self.weighting), &stage)?;
        matrix
            .iter_mut()
            .step_by(n + 1)
            .for_each(|d| *d += self.lambda);
        let mut inverse = invert(matrix, n).ok_or_else(|| Error::Data {
            model: Self::NAME,
            reason: "the matrix cannot be inverted in single precision: raise lambda, or use \
                     smaller weights"
                .to_string(),
        })?;
        stage.check()?;
        let diagonal: Vec<f32> = inverse.iter().step_by(n + 1).copied().collect();
        match self.neighbours {
            None => {
                let rows = inverse.par_chunks_exact_mut(n.max(1)).enumerate();
                rows.for_each(|(i, row)| {
                    row.iter_mut().zip(&diagonal).for_each(|(p, d)| *p /= -d);
                    if let Some(own) = row.get_mut(i) {
                        *own = 0.0;
                    }
                });
                Ok(Weights::dense(n, inverse))
            }
            Some(k) => {
                // P is symmetric: its row j is the column of what speaks for j.
                let rows = inverse.par_chunks_exact(n.max(1)).zip(&diagonal);
                let kept: Vec<Vec<(u32, f32)>> = (0u32..n as u32)
                    .into_par_iter()
                    .zip(rows)
                    .map(|(j, (row, d))| largest(j, row, -d, k))
                    .collect();
                let mut nearest = Csr::with_width(n);
                kept.into_iter().for_each(|row| nearest.push_row(row));
                Ok(Weights::sparse(nearest))
            }
        }
    }
}

impl ItemModel<Ease> {
    /// The model that [`Ease::neighbours`] would have given: for each item the `neighbours` weights
    /// largest in size, 16 bytes each instead of 4 for every pair of items.
    ///
    /// ```
    /// use refrain_data::Interactions;
    /// use refrain_recommenders::{Ease, Recommender};
    /// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
    /// let dense = Ease::default().fit(&log)?;
    /// let small = dense.pruned(10)?;
    /// assert_eq!(small.recommend("7", 5)?.len(), 5);
    /// # Ok::<(), refrain_recommenders::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] when there are to be none.
    pub fn pruned(&self, neighbours: usize) -> Result<Self> {
        let config = Ease {
            neighbours: Some(neighbours),
            ..self.config.clone()
        };
        config.check()?;
        let keep = |item: u32, row: &[f32]| largest(item, row, 1.0, neighbours);
        Ok(Self {
            config,
            memory: self.memory.clone(),
            weights: self.weights.pruned(self.memory.n_items(), keep),
        })
    }
}

/// The `k` largest of `row / by` by absolute value, without `own`, ascending by number.
fn largest(own: u32, row: &[f32], by: f32, k: usize) -> Vec<(u32, f32)> {
    let weights = (0u32..).zip(row).map(|(i, p)| (i, p / by));
    let mut all: Vec<(u32, f32)> = weights.filter(|&(i, w)| i != own && w != 0.0).collect();
    if all.len() > k && k > 0 {
        all.select_nth_unstable_by(k - 1, |a, b| {
            b.1.abs().total_cmp(&a.1.abs()).then(a.0.cmp(&b.0))
        });
    }
    all.truncate(k);
    all.sort_unstable_by_key(|&(i, _)| i);
    all
}

#[cfg(test)]
mod tests {
    use nalgebra::DMatrix;
    use refrain_data::Interactions;

    use super::*;
    use crate::Recommender;
    use crate::conformance::blocks_log;

    crate::conformance!(default, personal, |log| Ease::default().fit(log));
    crate::conformance!(small, personal, |log| {
        Ease {
            lambda: 30.0,
            weighting: Weighting::Log,
            neighbours: Some(12),
            ..Ease::default()
        }
        .fit(log)
    });

    /// B by its formula, in double precision.
    fn ease_reference(log: &Interactions, lambda: f64) -> DMatrix<f64> {
        let x = DMatrix::from_fn(log.n_users(), log.n_items(), |u, i| {
            f64::from(u8::from(log.user_items(u as u32).0.contains(&(i as u32))))
        });
        let n = log.n_items();
        let p = (x.transpose() * x + DMatrix::identity(n, n) * lambda)
            .try_inverse()
            .unwrap();
        DMatrix::from_fn(n, n, |i, j| match i == j {
            true => 0.0,
            false => -p[(i, j)] / p[(j, j)],
        })
    }

    #[test]
    fn equals_its_reference() {
        let log = blocks_log();
        let expected = ease_reference(&log, 10.0);
        let model = Ease {
            lambda: 10.0,
            ..Ease::default()
        };
        let dense = model.fit(&log).unwrap();
        let model = Ease {
            neighbours: Some(7),
            ..model
        };
        let sparse = model.fit(&log).unwrap();
        let pruned = dense.pruned(7).unwrap();
        assert_eq!(pruned.config, model);
        assert_eq!(pruned.weights, sparse.weights);
        let bytes = pruned.to_file().unwrap().to_bytes().unwrap();
        let read = crate::from_file(&refrain_core::ModelFile::from_bytes(bytes).unwrap()).unwrap();
        let user = &log.users().iter().next().unwrap().to_string();
        assert_eq!(
            read.recommend(user, 30).unwrap(),
            sparse.recommend(user, 30).unwrap()
        );
        assert!(dense.pruned(0).is_err());
        let mut scores = vec![0.0; 30];
        for j in 0..30 {
            dense.similarity(j as u32, &mut scores).unwrap();
            for i in 0..30 {
                let error = (f64::from(scores[i]) - expected[(i, j)]).abs();
                assert!(error < 1e-5, "{i} {j}: {error}");
            }
            let mut sizes: Vec<f32> = scores.iter().map(|w| w.abs()).collect();
            sizes.sort_by(f32::total_cmp);
            let bar = sizes[30 - 7];
            let full = scores.clone();
            sparse.similarity(j as u32, &mut scores).unwrap();
            for (kept, whole) in scores.iter().zip(&full) {
                assert_eq!(*kept, if whole.abs() >= bar { *whole } else { 0.0 });
            }
        }
    }

    #[test]
    fn settings_and_catalogues_out_of_range_are_refused() {
        let log = blocks_log();
        let refused = |model: Ease| model.fit(&log).unwrap_err().to_string();
        let with = Ease::default;
        assert_eq!(
            refused(Ease {
                lambda: 0.0,
                ..with()
            }),
            "EASE: lambda is 0, must be above 0"
        );
        assert!(
            refused(Ease {
                neighbours: Some(0),
                ..with()
            })
            .contains("neighbours")
        );
        let weighting = Weighting::TfIdf;
        assert!(
            refused(Ease {
                weighting,
                ..with()
            })
            .contains("weighting")
        );
        assert!(
            refused(Ease {
                max_memory: 1000,
                ..with()
            })
            .contains("30 items need")
        );
    }
}
