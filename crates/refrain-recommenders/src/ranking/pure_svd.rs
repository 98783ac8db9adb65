//! PureSVD: *the log as a matrix, and its strongest directions*.
//!
//! The matrix R of users and items, 0 where nothing was had, is best approximated at rank f by its
//! first f right singular vectors V:
//!
//! ```text
//! score(u, ·) = r_u V Vᵀ
//! ```
//!
//! Cremonesi, Koren and Turrin, *Performance of recommender algorithms on top-n recommendation tasks*,
//! 2010. V is found by a randomised subspace iteration: a random block of f + 16 columns is multiplied
//! by RᵀR and made orthonormal a few times over, and turned to the singular vectors at the end (Halko,
//! Martinsson and Tropp, *Finding structure with randomness*, 2011).
//!
//! **When.** A strong baseline without a training loop: a few products, one real setting. Anyone with a
//! history is answered exactly as the users it was fitted on.
//!
//! **Weights.** The numbers of the matrix, negative ones too. For counts, which spread over decades,
//! take logs first ([`Interactions::map_weights`]).
//!
//! **Cost.** 4 · events · (f + 16) multiply-adds an iteration and 2 · items · (f + 16)² for making the
//! block orthonormal. Memory: 4 bytes × f × (users + items).
//!
//! **Determinism.** The same bits for any number of threads, on processors with the same vector width.
//!
//! **Defaults.** Chosen on MovieLens-100K by a validation split inside the training part.

use nalgebra::DMatrix;
use rand::RngExt;
use rayon::prelude::*;
use refrain_core::kernels::{self, Scored};
use refrain_core::{ModelFile, ModelWriter, Monitor, rng};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::fold::row;
use super::model::best_products;
use crate::memory::finite;
use crate::{Change, Contribution, Error, Memory, Query, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.pure_svd";
const NAME: &str = "PureSVD";
/// Columns beyond f, which make the first f converge fast.
const EXTRA: usize = 16;

/// Settings of PureSVD.
///
/// ```
/// use refrain_recommenders::{PureSvd, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     [("ann", "reel", 3.0), ("ann", "jig", 1.0), ("bob", "reel", 2.0), ("bob", "air", 1.0)])?;
/// let model = PureSvd { factors: 2, ..PureSvd::default() }.fit(&log)?;
/// let best = model.recommend("ann", 5)?;
/// assert_eq!(best[0].item, "air"); // ann had the other two
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PureSvd {
    /// How many directions are kept, at least 1; fewer where the log has fewer.
    pub factors: usize,
    /// How often the block is multiplied by RᵀR.
    pub iterations: usize,
    /// Of the first block.
    pub seed: u64,
}

impl Default for PureSvd {
    fn default() -> Self {
        Self {
            factors: 16,
            iterations: 6,
            seed: 42,
        }
    }
}

impl PureSvd {
    /// Finds the directions.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, [`Error::Data`] for a log without a weight other
    /// than 0 or with weights too large, or all of them too small, to square.
    pub fn fit(&self, log: &Interactions) -> Result<PureSvdModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`] when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<PureSvdModel> {
        self.check()?;
        if log.iter().all(|event| event.weight == 0.0) {
            return Err(refuse("no event of the log has a weight other than 0"));
        }
        let stage = monitor.start(NAME, Some(self.iterations as u64));
        let width = (self.factors.saturating_add(EXTRA)).min(log.n_items());
        let mut rng = rng::stream(self.seed, 0);
        let noise = (0..log.n_items() * width).map(|_| rng.random::<f32>() - 0.5);
        let mut block: Vec<f32> = noise.collect();
        for _ in 0..self.iterations {
            block = orthonormal(block, width).ok_or_else(|| refuse("its weights are too large"))?;
            let users = times(log.n_users(), &block, width, |user| log.user_items(user));
            block = times(log.n_items(), &users, width, |item| log.item_users(item));
            // Of zeros any directions would do.
            if block.iter().all(|&x| x == 0.0) {
                return Err(refuse("its weights are too small"));
            }
            stage.advance(1, "")?;
        }
        block = orthonormal(block, width).ok_or_else(|| refuse("its weights are too large"))?;
        let users = times(log.n_users(), &block, width, |user| log.user_items(user));
        // Turn the basis to the singular vectors: the eigenvectors of (R V)ᵀ (R V).
        let dense = DMatrix::from_row_slice(log.n_users(), width, &users).map(f64::from);
        let gram = dense.tr_mul(&dense);
        if gram.iter().any(|x| !x.is_finite()) {
            return Err(refuse("its weights are too large"));
        }
        let eigen = gram.symmetric_eigen();
        let mut order: Vec<usize> = (0..width).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let largest = order.first().map_or(0.0, |&first| eigen.eigenvalues[first]);
        order.truncate(self.factors);
        // Directions that the log does not have are noise.
        order.retain(|&at| eigen.eigenvalues[at] > largest * 1e-9);
        let kept = order.len();
        if kept == 0 {
            return Err(refuse("its weights are too small"));
        }
        let mut items = vec![0.0f32; log.n_items() * kept];
        for (to, from) in items.chunks_exact_mut(kept).zip(block.chunks_exact(width)) {
            for (to, &at) in to.iter_mut().zip(&order) {
                let column = eigen.eigenvectors.column(at);
                *to = from
                    .iter()
                    .zip(column.iter())
                    .map(|(&x, &v)| f64::from(x) * v)
                    .sum::<f64>() as f32;
            }
        }
        let singular = order
            .iter()
            .map(|&at| eigen.eigenvalues[at].max(0.0).sqrt() as f32)
            .collect();
        let memory = Memory::new(log);
        PureSvdModel::new(self.clone(), memory, singular, items)
    }

    fn check(&self) -> Result<()> {
        for (field, value) in [("factors", self.factors), ("iterations", self.iterations)] {
            if value == 0 {
                return Err(Error::Config {
                    model: NAME,
                    field,
                    value: "0".to_string(),
                    expected: "must be at least 1",
                });
            }
        }
        Ok(())
    }
}

fn refuse(reason: &str) -> Error {
    Error::Data {
        model: NAME,
        reason: reason.to_string(),
    }
}

/// A sparse matrix, by rows, times a dense one of `width` columns.
fn times<'a>(
    rows: usize,
    dense: &[f32],
    width: usize,
    of: impl Fn(u32) -> (&'a [u32], &'a [f32]) + Sync,
) -> Vec<f32> {
    let mut product = vec![0.0; rows * width];
    let out = product.par_chunks_mut(width).enumerate();
    out.for_each(|(at, out)| {
        let (columns, values) = of(at as u32);
        for (&column, &value) in columns.iter().zip(values) {
            kernels::axpy(value, row(dense, column, width), out);
        }
    });
    product
}

/// The same space with orthonormal columns; `None` when numbers are not finite.
fn orthonormal(block: Vec<f32>, width: usize) -> Option<Vec<f32>> {
    let rows = block.len() / width.max(1);
    let dense = DMatrix::from_row_slice(rows, width, &block).map(f64::from);
    let q = dense.qr().q();
    let finite = q.iter().all(|x| x.is_finite());
    finite.then(|| q.transpose().iter().map(|&x| x as f32).collect())
}

/// Fitted PureSVD. A score estimates the matrix's number for the pair, so scores compare across users.
///
/// `update`, `forget_user` and `forget_item` keep V for the items that stay and multiply anew, R V; all
/// three are approximate. An item that an `update` brings scores 0 until the model is fitted again.
#[derive(Debug, Clone, PartialEq)]
pub struct PureSvdModel {
    config: PureSvd,
    memory: Memory,
    singular: Vec<f32>,
    /// items × kept: V
    items: Vec<f32>,
    /// users × kept: R V
    users: Vec<f32>,
}

impl PureSvdModel {
    fn new(config: PureSvd, memory: Memory, singular: Vec<f32>, items: Vec<f32>) -> Result<Self> {
        let width = singular.len();
        let users = times(memory.n_users(), &items, width, |user| memory.history(user));
        if users.iter().any(|x| !x.is_finite()) {
            return Err(refuse("its weights are too large"));
        }
        Ok(Self {
            config,
            memory,
            singular,
            items,
            users,
        })
    }

    /// Other histories and rows of V.
    fn change(&mut self, memory: Memory, items: Vec<f32>) -> Result<Change> {
        *self = Self::new(self.config.clone(), memory, self.singular.clone(), items)?;
        Ok(Change::Approximate)
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &PureSvd {
        &self.config
    }

    /// The singular values that were kept, falling.
    pub fn singular_values(&self) -> &[f32] {
        &self.singular
    }

    /// A user's vector, `r V`.
    pub fn user_factors(&self, user: &str) -> Option<&[f32]> {
        Some(row(
            &self.users,
            self.memory.users().get(user)?,
            self.width(),
        ))
    }

    /// An item's row of V.
    pub fn item_factors(&self, item: &str) -> Option<&[f32]> {
        Some(row(
            &self.items,
            self.memory.items().get(item)?,
            self.width(),
        ))
    }

    fn width(&self) -> usize {
        self.singular.len()
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: PureSvd = file.config()?;
        let memory = Memory::read(file)?;
        let width = file.f32("singular")?.data.len();
        let singular = finite(file, "singular", &[width])?;
        let items = finite(file, "items", &[memory.n_items(), width])?;
        if width == 0 {
            return Err(refrain_core::Error::ModelFile {
                origin: file.origin().to_string(),
                reason: "there is no singular value".to_string(),
            }
            .into());
        }
        Ok(Box::new(Self::new(config, memory, singular, items)?))
    }
}

impl Recommender for PureSvdModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_scores(out)?;
        kernels::scores(row(&self.users, user, self.width()), &self.items, out);
        Ok(())
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        let (items, weights) = self.memory.tidy(history)?;
        let mut sum = vec![0.0; self.width()];
        for (&item, &weight) in items.iter().zip(&weights) {
            kernels::axpy(weight, row(&self.items, item, self.width()), &mut sum);
        }
        kernels::scores(&sum, &self.items, out);
        Ok(())
    }

    /// The cosine of the items' rows of V.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        kernels::cosines(row(&self.items, item, self.width()), &self.items, out);
        Ok(())
    }

    /// The cosine of the users' vectors.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        kernels::cosines(row(&self.users, user, self.width()), &self.users, out);
        Ok(())
    }

    /// r_ui v_i · v_j for each item i of the history.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        let (items, weights) = self.memory.history_of(who)?;
        self.memory.check_item(item)?;
        let own = row(&self.items, item, self.width());
        let part = |(&had, &weight): (&u32, &f32)| {
            let part = weight * kernels::dot(row(&self.items, had, self.width()), own);
            Contribution::new(Reason::Item(self.memory.item_name(had)), part)
        };
        Ok(items.iter().zip(&weights).map(part).collect())
    }

    /// The users' vectors follow their new events; V stays, and new items are not in it.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let memory = self.memory.extended(events)?;
        let mut items = self.items.clone();
        items.resize(memory.n_items() * self.width(), 0.0);
        self.change(memory, items)
    }

    /// The user's vector is gone; what V learned from it stays.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let memory = self.memory.without_user(self.memory.user(user)?)?;
        self.change(memory, self.items.clone())
    }

    /// The item's row is gone, from the users' vectors too; what else V learned from it stays.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let memory = self.memory.without_item(item)?;
        let mut items = self.items.clone();
        items.drain(item as usize * self.width()..(item as usize + 1) * self.width());
        self.change(memory, items)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        Ok(writer
            .f32("singular", &[self.width()], &self.singular)?
            .f32("items", &[self.memory.n_items(), self.width()], &self.items)?)
    }

    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        best_products(
            &self.memory,
            (&self.users, &self.items),
            self.width(),
            users,
            query,
        )
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, PureSvdModel::read);

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(small, personal, |log| PureSvd {
        factors: 3,
        ..PureSvd::default()
    }
    .fit(log));

    #[test]
    fn finds_the_singular_values_and_the_projection() {
        let log = crate::conformance::blocks_log();
        let mut dense = DMatrix::<f64>::zeros(log.n_users(), log.n_items());
        for event in log.iter() {
            dense[(event.user as usize, event.item as usize)] = event.weight.into();
        }
        let svd = dense.clone().svd(false, true);
        let mut expected: Vec<f64> = svd.singular_values.iter().copied().collect();
        expected.sort_by(|a, b| b.total_cmp(a));
        let model = PureSvd {
            factors: 4,
            ..PureSvd::default()
        }
        .fit(&log)
        .unwrap();
        assert_eq!(model.singular_values().len(), 4);
        for (got, expected) in model.singular_values().iter().zip(&expected) {
            assert!(
                (f64::from(*got) - expected).abs() < 1e-3 * expected,
                "{got} {expected}"
            );
        }
        let v = svd.v_t.unwrap();
        let mut order: Vec<usize> = (0..v.nrows()).collect();
        order.sort_by(|&a, &b| svd.singular_values[b].total_cmp(&svd.singular_values[a]));
        let v = DMatrix::from_fn(4, v.ncols(), |r, c| v[(order[r], c)]);
        let scores = &dense * v.transpose() * v;
        let mut got = vec![0.0; log.n_items()];
        for user in 0..log.n_users() {
            model.score(user as u32, &mut got).unwrap();
            for (item, got) in got.iter().enumerate() {
                assert!(
                    (f64::from(*got) - scores[(user, item)]).abs() < 0.02,
                    "{user} {item}"
                );
            }
        }
    }

    #[test]
    fn users_follow_what_changes() {
        let log = crate::conformance::blocks_log();
        let small = PureSvd {
            factors: 3,
            ..PureSvd::default()
        };
        let mut model = small.fit(&log).unwrap();
        let events = [("u3", "i1", 2.0), ("new", "i5", 1.0), ("new", "inew", 9.0)];
        let events = Interactions::from_events(events).unwrap();
        let before = model.clone();
        assert_eq!(model.update(&events).unwrap(), Change::Approximate);
        assert_eq!(model.item_factors("i9"), before.item_factors("i9"));
        assert_eq!(model.user_factors("u9"), before.user_factors("u9"));
        // What is new counts as in a history that is given, and inew, of which V knows nothing, not.
        assert_eq!(
            model.user_factors("new").unwrap(),
            before.item_factors("i5").unwrap()
        );
        let (old, added) = (before.user_factors("u3"), before.item_factors("i1"));
        let sum = old
            .unwrap()
            .iter()
            .zip(added.unwrap())
            .map(|(r, v)| r + 2.0 * v);
        for (got, expected) in model.user_factors("u3").unwrap().iter().zip(sum) {
            assert!((got - expected).abs() < 1e-5, "{got} {expected}");
        }
        // Without the events that came, all is as it was.
        model.forget_user("new").unwrap();
        model.forget_item("inew").unwrap();
        model.forget_user("u3").unwrap();
        let mut expected = before;
        expected.forget_user("u3").unwrap();
        assert_eq!(model, expected);
        // The first row of Vᵀ has one sign, so that this overflows, and nothing has changed.
        let huge = (0..30).map(|i| ("u1", format!("i{i}"), f32::MAX));
        let error = model.update(&Interactions::from_events(huge).unwrap());
        assert!(matches!(error, Err(Error::Data { .. })), "{error:?}");
        assert_eq!(model, expected);
    }

    #[test]
    fn bad_settings_and_logs_are_refused() {
        let log = crate::conformance::blocks_log();
        for config in [
            PureSvd {
                factors: 0,
                ..PureSvd::default()
            },
            PureSvd {
                iterations: 0,
                ..PureSvd::default()
            },
        ] {
            assert!(
                matches!(config.fit(&log), Err(Error::Config { .. })),
                "{config:?}"
            );
        }
        let empty = Interactions::from_events::<&str, &str>([]).unwrap();
        let zero = Interactions::from_events([("a", "x", 0.0)]).unwrap();
        let huge = Interactions::from_events([("a", "x", f32::MAX), ("b", "x", f32::MAX)]).unwrap();
        let tiny = Interactions::from_events([("a", "x", 1e-25), ("b", "y", 1e-25)]).unwrap();
        for log in [empty, zero, huge, tiny] {
            assert!(matches!(
                PureSvd::default().fit(&log),
                Err(Error::Data { .. })
            ));
        }
        // More directions than the log has.
        let thin = Interactions::from_events([("a", "x", 1.0), ("b", "x", 1.0), ("b", "y", 1.0)]);
        let model = PureSvd::default().fit(&thin.unwrap()).unwrap();
        assert_eq!(model.singular_values().len(), 2);
    }
}
