//! Linear item–item models: what ItemKnn, P3α, RP3β, SLIM and EASE have in common, which is all but
//! how they find their weights.
//!
//! ```text
//! score(u, j) = Σ_{i ∈ u}  strength(w_ui) · S[i → j]
//! ```
//!
//! A model is a config that learns S from histories ([`ItemConfig`]); [`ItemModel`] does the rest:
//! scores, reasons, similar items, files, updates.
//!
//! A score costs the history's length times the weights of a row: K where K neighbours are kept, the
//! catalogue where all are. Updating and forgetting learn S anew from the remembered histories: the
//! cost of a fit, but for building the log.

use rayon::prelude::*;
use refrain_core::{ModelFile, ModelWriter, Monitor, kernels};
use refrain_data::Interactions;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Weighting;
use super::sparse::Csr;
use super::weighting::strengths_of;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

/// How one linear item–item model differs from the others.
pub trait ItemConfig:
    std::fmt::Debug + Clone + PartialEq + Serialize + DeserializeOwned + Send + Sync + 'static
{
    /// The kind of its model files.
    const KIND: &'static str;
    /// What it is called.
    const NAME: &'static str;

    /// What an event of a history is worth.
    fn strength(&self) -> Weighting;

    /// Refuses settings out of range.
    ///
    /// # Errors
    /// [`Error::Config`].
    fn check(&self) -> Result<()>;

    /// What to remember of a log.
    ///
    /// # Errors
    /// [`Error::Data`] for a log that lacks what the settings need.
    fn remember(&self, log: &Interactions) -> Result<Memory> {
        Ok(Memory::new(log))
    }

    /// Whether histories alone, without the log, are enough to learn from again.
    fn learns_from_memory(&self) -> bool {
        true
    }

    /// Finds the weights.
    ///
    /// # Errors
    /// [`Error::Data`], and when cancelled.
    fn learn(&self, memory: &Memory, monitor: &Monitor) -> Result<Weights>;
}

/// Weights from items that were had to items that are scored.
#[derive(Debug, Clone, PartialEq)]
pub struct Weights(Kind);

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Sparse {
        /// Row j: the items j listens to.
        nearest: Csr,
        /// Its transpose: row i, who listens to i.
        listeners: Csr,
    },
    /// Row i: what having i says about each item.
    Dense { items: usize, rows: Vec<f32> },
}

impl Weights {
    /// From the lists of what each item listens to.
    pub(crate) fn sparse(nearest: Csr) -> Self {
        let listeners = nearest.transpose();
        Self(Kind::Sparse { nearest, listeners })
    }

    /// From a whole matrix whose row i is what having i says about each item.
    pub(crate) fn dense(items: usize, rows: Vec<f32>) -> Self {
        Self(Kind::Dense { items, rows })
    }

    /// For each item those weights of what it listens to that `largest` keeps.
    pub(crate) fn pruned(
        &self,
        items: usize,
        largest: impl Fn(u32, &[f32]) -> Vec<(u32, f32)> + Sync,
    ) -> Self {
        let kept: Vec<Vec<(u32, f32)>> = (0..items as u32)
            .into_par_iter()
            .map_init(
                || vec![0.0; items],
                |row, item| {
                    self.heard_by(item, row);
                    largest(item, row)
                },
            )
            .collect();
        let mut nearest = Csr::with_width(items);
        kept.into_iter().for_each(|row| nearest.push_row(row));
        Self::sparse(nearest)
    }

    /// Adds what having `item` says about each item.
    fn add(&self, item: u32, strength: f32, out: &mut [f32]) {
        match &self.0 {
            Kind::Sparse { listeners, .. } => {
                for (target, weight) in listeners.pairs(item) {
                    if let Some(score) = out.get_mut(target as usize) {
                        *score += strength * weight;
                    }
                }
            }
            Kind::Dense { items, rows } => {
                let start = item as usize * items;
                let row = rows.get(start..start + items).unwrap_or_default();
                kernels::axpy(strength, row, out);
            }
        }
    }

    /// What `item` listens to.
    fn heard_by(&self, item: u32, out: &mut [f32]) {
        match &self.0 {
            Kind::Sparse { nearest, .. } => {
                out.fill(0.0);
                for (other, weight) in nearest.pairs(item) {
                    if let Some(score) = out.get_mut(other as usize) {
                        *score = weight;
                    }
                }
            }
            Kind::Dense { items, rows } => {
                let column = rows.iter().skip(item as usize).step_by((*items).max(1));
                out.iter_mut().zip(column).for_each(|(o, w)| *o = *w);
            }
        }
    }

    /// What having `from` says about `to`.
    fn get(&self, from: u32, to: u32) -> f32 {
        match &self.0 {
            Kind::Sparse { nearest, .. } => nearest.get(to, from),
            Kind::Dense { items, rows } => {
                let at = from as usize * items + to as usize;
                rows.get(at).copied().unwrap_or_default()
            }
        }
    }

    fn write<'a>(&'a self, writer: ModelWriter<'a>) -> Result<ModelWriter<'a>> {
        match &self.0 {
            Kind::Sparse { nearest, .. } => nearest.write(writer, "nearest"),
            Kind::Dense { items, rows } => Ok(writer.f32("weights", &[*items, *items], rows)?),
        }
    }

    fn read(file: &ModelFile, items: usize) -> Result<Self> {
        if file.u64("nearest.ends").is_ok() {
            return Ok(Self::sparse(Csr::read(file, "nearest", items, items)?));
        }
        let rows = file
            .f32("weights")?
            .expect_shape("weights", &[items, items])?;
        let rows = rows.data.into_owned();
        match rows.iter().all(|w| w.is_finite()) {
            true => Ok(Self::dense(items, rows)),
            false => Err(refrain_core::Error::ModelFile {
                origin: file.origin().to_string(),
                reason: "a weight is not a finite number".to_string(),
            }
            .into()),
        }
    }
}

/// A fitted linear item–item model of the settings `C`. Its score and what that means stand with the
/// name it goes by, as [`ItemKnnModel`](crate::ItemKnnModel).
#[derive(Debug, Clone, PartialEq)]
pub struct ItemModel<C> {
    pub(super) config: C,
    pub(super) memory: Memory,
    pub(super) weights: Weights,
}

impl<C: ItemConfig> ItemModel<C> {
    pub(crate) fn fit(config: &C, log: &Interactions, monitor: &Monitor) -> Result<Self> {
        config.check()?;
        let memory = config.remember(log)?;
        let weights = config.learn(&memory, monitor)?;
        Ok(Self {
            config: config.clone(),
            memory,
            weights,
        })
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &C {
        &self.config
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(C::KIND, 1)?;
        let config: C = file.config()?;
        config.check()?;
        let memory = Memory::read(file)?;
        let weights = Weights::read(file, memory.n_items())?;
        Ok(Box::new(Self {
            config,
            memory,
            weights,
        }))
    }

    fn score_items(&self, history: (&[u32], &[f32]), out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        out.fill(0.0);
        for (item, strength) in strengths_of(history, self.config.strength()) {
            self.weights.add(item, strength, out);
        }
        Ok(())
    }

    fn learn_again(&mut self, change: impl FnOnce(&Memory) -> Result<Memory>) -> Result<Change> {
        if !self.config.learns_from_memory() {
            return Err(self.unsupported("change once times have faded: fit it again"));
        }
        let memory = change(&self.memory)?;
        self.weights = self.config.learn(&memory, &Monitor::silent())?;
        self.memory = memory;
        Ok(Change::Exact)
    }
}

impl<C: ItemConfig> Recommender for ItemModel<C> {
    fn name(&self) -> String {
        C::NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.score_items(self.memory.history(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        let (items, weights) = self.memory.tidy(history)?;
        self.score_items((&items, &weights), out)
    }

    /// How much each other item's presence adds to the score of `item`.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        self.weights.heard_by(item, out);
        Ok(())
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let (items, weights) = self.memory.history_of(who)?;
        Ok(strengths_of((&items, &weights), self.config.strength())
            .map(|(had, strength)| {
                let reason = Reason::Item(self.memory.item_name(had));
                Contribution::new(reason, strength * self.weights.get(had, item))
            })
            .filter(|part| part.weight != 0.0)
            .collect())
    }

    /// Exact, at the cost of a fit without building the log.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.learn_again(|memory| memory.extended(events))
    }

    /// Exact, at the cost of a fit without building the log.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.learn_again(|memory| memory.without_user(memory.user(user)?))
    }

    /// Exact, at the cost of a fit without building the log.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.learn_again(|memory| memory.without_item(memory.item(item)?))
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = ModelWriter::new(C::KIND, 1).config(&self.config)?;
        self.weights.write(self.memory.write(writer)?)
    }
}

/// `fit` and `fit_with` of a linear item–item model, and its reader.
macro_rules! item_model {
    ($config:ident) => {
        impl $config {
            /// Learns from the log.
            ///
            /// # Errors
            /// [`Error::Config`](crate::Error::Config) for a setting out of range,
            /// [`Error::Data`](crate::Error::Data) for a log the settings cannot learn from.
            pub fn fit(&self, log: &refrain_data::Interactions) -> $crate::Result<ItemModel<Self>> {
                self.fit_with(log, &refrain_core::Monitor::silent())
            }

            /// As [`fit`](Self::fit), telling `monitor`.
            ///
            /// # Errors
            /// As [`fit`](Self::fit), and when cancelled.
            pub fn fit_with(
                &self,
                log: &refrain_data::Interactions,
                monitor: &refrain_core::Monitor,
            ) -> $crate::Result<ItemModel<Self>> {
                ItemModel::fit(self, log, monitor)
            }

            pub(crate) const READER: (&'static str, crate::load::Reader) =
                (<Self as ItemConfig>::KIND, ItemModel::<Self>::read);
        }
    };
}
pub(crate) use item_model;

/// Refuses a number that is not finite or outside `allowed`.
pub(crate) fn check_range(
    model: &'static str,
    field: &'static str,
    value: f32,
    allowed: impl std::ops::RangeBounds<f32>,
    expected: &'static str,
) -> Result<()> {
    match value.is_finite() && allowed.contains(&value) {
        true => Ok(()),
        false => Err(Error::Config {
            model,
            field,
            value: value.to_string(),
            expected,
        }),
    }
}

/// Refuses lists of no neighbours.
pub(crate) fn check_neighbours(model: &'static str, neighbours: usize) -> Result<()> {
    match neighbours {
        0 => Err(Error::Config {
            model,
            field: "neighbours",
            value: "0".to_string(),
            expected: "must be at least 1",
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ease, ItemKnn};

    #[test]
    fn a_file_with_settings_out_of_range_is_refused() {
        let log = crate::conformance::blocks_log();
        fn field<C: ItemConfig>(model: &ItemModel<C>) -> &'static str {
            let bytes = model.to_file().unwrap().to_bytes().unwrap();
            match ItemModel::<C>::read(&ModelFile::from_bytes(bytes).unwrap()).map(drop) {
                Err(Error::Config { field, .. }) => field,
                other => panic!("{other:?}"),
            }
        }
        let mut knn = ItemKnn::default().fit(&log).unwrap();
        knn.config.neighbours = 0;
        assert_eq!(field(&knn), "neighbours");
        let mut ease = Ease::default().fit(&log).unwrap();
        ease.config.lambda = -1.0;
        assert_eq!(field(&ease), "lambda");
    }
}
