//! Neighbours over a baseline: what was rated like this one, beyond what baselines explain.
//!
//! ```text
//! e_ui = r_ui − b_ui, with the baseline b_ui = μ + b_u + b_i
//! s_ij = (n_ij − 1) / (n_ij − 1 + shrinkage) · Σ e_ui e_uj / √(Σ e_ui² Σ e_uj²)    over the n_ij who rated both
//! r(u, i) = b_ui + Σ_j s_ij e_uj / Σ_j s_ij           over the k most similar j that u has rated
//! ```
//!
//! The similarity is a Pearson correlation about the baseline, shrunk where few have rated both:
//! Koren, *Factor in the neighbors: scalable and accurate collaborative filtering*, 2010. By users
//! the roles change: neighbours are people who rated the item.
//!
//! **When.** Accurate, and each prediction names the ratings it rests on. By items it also answers
//! newcomers quickly; by users it wants no more memory than the log.
//!
//! **Cost.** By items: Σ over users of ratings² to fit, 8 bytes for each kept similarity. By users:
//! nothing beyond the baseline to fit, and one pass over the raters of the user's items to ask.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Koren's, checked on a random split inside the training part of MovieLens-100K.

use rayon::prelude::*;
use refrain_core::kernels::{Scored, TopK};
use refrain_core::{ModelFile, ModelWriter, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::linear::{Linear, damaged};
use super::{Baseline, RatingPredictor, RatingScale};
use crate::neighbours::sparse::Csr;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.knn_baseline";
const NAME: &str = "kNN baseline";

/// Settings of neighbours over a baseline.
///
/// ```
/// use refrain_recommenders::{KnnBaseline, RatingPredictor, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..600).map(|n| (n / 20, (n * n + n / 20) % 30, (n % 5 + 1) as f32)))?;
/// let model = KnnBaseline::default().fit(&log)?;
/// let stars = model.predict("3", "7")?;
/// println!("{}", model.explain("3", "7")?); // the ratings of similar items
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KnnBaseline {
    /// What is compared.
    pub by: Neighbours,
    /// k: at most so many neighbours speak for a prediction.
    pub neighbours: usize,
    /// Similarities resting on n ratings are multiplied by (n − 1) / (n − 1 + shrinkage).
    pub shrinkage: f32,
    /// By items: so many of the most similar ones are kept for each.
    pub kept: usize,
    /// The baseline, and the scale.
    pub baseline: Baseline,
}

/// What neighbours are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Neighbours {
    /// Items that the user has rated.
    Items,
    /// Users who have rated the item.
    Users,
}

impl Default for KnnBaseline {
    fn default() -> Self {
        Self {
            by: Neighbours::Items,
            neighbours: 40,
            shrinkage: 100.0,
            kept: 1000,
            baseline: Baseline::default(),
        }
    }
}

impl KnnBaseline {
    /// Fits the baseline and compares all items.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, and those of [`Baseline::fit`].
    pub fn fit(&self, log: &Interactions) -> Result<KnnBaselineModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), with progress.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`] when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<KnnBaselineModel> {
        self.learn(Memory::new(log), monitor)
    }

    fn learn(&self, memory: Memory, monitor: &Monitor) -> Result<KnnBaselineModel> {
        self.check()?;
        let baseline = self.baseline.train(memory, monitor)?.core;
        let mut model = KnnBaselineModel::new(self.clone(), baseline);
        if self.by == Neighbours::Items {
            model.similar = model.compare_items(monitor)?;
        }
        Ok(model)
    }

    fn check(&self) -> Result<()> {
        let (field, value, expected) = match () {
            () if self.neighbours == 0 => ("neighbours", 0.0, "must be at least 1"),
            () if self.kept == 0 => ("kept", 0.0, "must be at least 1"),
            () if !(self.shrinkage.is_finite() && self.shrinkage >= 0.0) => {
                ("shrinkage", self.shrinkage, "must be at least 0")
            }
            () => return Ok(()),
        };
        Err(Error::Config {
            model: NAME,
            field,
            value: value.to_string(),
            expected,
        })
    }
}

/// One thread's sums over what a row shares with each other row.
struct Sums {
    products: Vec<f32>,
    own: Vec<f32>,
    other: Vec<f32>,
    common: Vec<f32>,
}

impl Sums {
    fn new(rows: usize) -> Self {
        let zeros = || vec![0.0; rows];
        Self {
            products: zeros(),
            own: zeros(),
            other: zeros(),
            common: zeros(),
        }
    }

    /// The positive similarities of a row, given as (column, e), to all rows; `turned` holds the
    /// columns of their matrix.
    fn similar(&mut self, row: (&[u32], &[f32]), turned: &Csr, shrinkage: f32) -> Vec<Scored> {
        for (&column, &e) in row.0.iter().zip(row.1) {
            for (other, f) in turned.pairs(column) {
                let at = other as usize;
                self.products[at] += e * f;
                self.own[at] += e * e;
                self.other[at] += f * f;
                self.common[at] += 1.0;
            }
        }
        let mut found = Vec::new();
        for (at, common) in self.common.iter_mut().enumerate() {
            if *common == 0.0 {
                continue;
            }
            let n = std::mem::take(common) - 1.0;
            let product = std::mem::take(&mut self.products[at]);
            let size = std::mem::take(&mut self.own[at]) * std::mem::take(&mut self.other[at]);
            let score = n / (n + shrinkage) * product / size.sqrt();
            if n > 0.0 && score.is_finite() && score > 0.0 {
                let index = at as u32;
                found.push(Scored { index, score });
            }
        }
        found
    }
}

/// Fitted neighbours over a baseline. A score is a predicted rating, not yet clamped, and compares
/// across users.
///
/// `update`, `forget_user` and `forget_item` learn again from the ratings it remembers: exact, at the
/// cost of a fit.
#[derive(Debug, Clone, PartialEq)]
pub struct KnnBaselineModel {
    config: KnnBaseline,
    baseline: Linear,
    /// e, items × users
    by_item: Csr,
    /// s, items × items; empty when by users.
    similar: Csr,
}

/// Someone's ratings beyond the baseline, and who speaks for them.
struct Person {
    /// μ + b_u
    own: f32,
    bias: f32,
    /// By items: e of each item, NaN where not rated. By users: s of each user, 0 where unlike.
    lookup: Vec<f32>,
}

impl KnnBaselineModel {
    fn new(config: KnnBaseline, baseline: Linear) -> Self {
        let memory = &baseline.memory;
        let mut by_user = Csr::with_width(memory.n_items());
        for user in 0..memory.n_users() as u32 {
            let (items, ratings) = memory.history(user);
            let own = baseline.mean + baseline.users.bias(user);
            let pairs = items.iter().zip(ratings);
            by_user.push_row(pairs.map(|(&i, &r)| (i, r - own - baseline.items.bias(i))));
        }
        Self {
            by_item: by_user.transpose(),
            similar: Csr::default(),
            config,
            baseline,
        }
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &KnnBaseline {
        &self.config
    }

    fn learn_again(&mut self, memory: Memory) -> Result<Change> {
        *self = self.config.learn(memory, &Monitor::silent())?;
        Ok(Change::Exact)
    }

    fn compare_items(&self, monitor: &Monitor) -> Result<Csr> {
        let n = self.by_item.n_rows();
        let by_user = self.by_item.transpose();
        let stage = monitor.start(NAME, Some(n as u64));
        let rows: Vec<Vec<Scored>> = (0..n as u32)
            .into_par_iter()
            .map_init(
                || Sums::new(n),
                |sums, item| {
                    let row = self.by_item.row(item);
                    let mut best = TopK::new(self.config.kept.min(n));
                    for other in sums.similar(row, &by_user, self.config.shrinkage) {
                        if other.index != item {
                            best.push(other.index, other.score);
                        }
                    }
                    let mut row = best.into_sorted();
                    row.sort_unstable_by_key(|other| other.index);
                    stage.advance(1, "")?;
                    Ok(row)
                },
            )
            .collect::<Result<_>>()?;
        let mut similar = Csr::with_width(n);
        for row in rows {
            similar.push_row(row.into_iter().map(|other| (other.index, other.score)));
        }
        Ok(similar)
    }

    fn person(&self, who: Who<'_>) -> Result<Person> {
        let memory = &self.baseline.memory;
        let (rated, ratings) = memory.ratings_of(who)?;
        let own = self.baseline.rating(who, None)?;
        let residual = |(&i, &r): (&u32, &f32)| r - own - self.baseline.items.bias(i);
        let residuals: Vec<f32> = rated.iter().zip(&ratings).map(residual).collect();
        let lookup = match self.config.by {
            Neighbours::Items => {
                let mut lookup = vec![f32::NAN; memory.n_items()];
                for (&item, &e) in rated.iter().zip(&residuals) {
                    if let Some(place) = lookup.get_mut(item as usize) {
                        *place = e;
                    }
                }
                lookup
            }
            Neighbours::Users => {
                let n = memory.n_users();
                let mut lookup = vec![0.0; n];
                let row = (rated.as_slice(), residuals.as_slice());
                for other in Sums::new(n).similar(row, &self.by_item, self.config.shrinkage) {
                    let itself = matches!(who, Who::User(user) if user == other.index);
                    if let Some(place) = lookup.get_mut(other.index as usize)
                        && !itself
                    {
                        *place = other.score;
                    }
                }
                lookup
            }
        };
        Ok(Person {
            own,
            bias: own - self.baseline.mean,
            lookup,
        })
    }

    /// The k neighbours that speak for an item: who, how similar, and e.
    fn neighbours(&self, person: &Person, item: u32) -> Vec<(Scored, f32)> {
        let mut best = TopK::new(self.config.neighbours);
        let at = |index: u32| person.lookup.get(index as usize).copied();
        match self.config.by {
            Neighbours::Items => {
                for (other, score) in self.similar.pairs(item) {
                    if at(other).is_some_and(|e| !e.is_nan()) {
                        best.push(other, score);
                    }
                }
                let found = best.into_sorted().into_iter();
                found
                    .map(|s| (s, at(s.index).unwrap_or_default()))
                    .collect()
            }
            Neighbours::Users => {
                for &user in self.by_item.row(item).0 {
                    if let Some(score) = at(user).filter(|&score| score > 0.0) {
                        best.push(user, score);
                    }
                }
                let found = best.into_sorted().into_iter();
                found
                    .map(|s| (s, self.by_item.get(item, s.index)))
                    .collect()
            }
        }
    }

    fn predict_item(&self, person: &Person, item: u32) -> f32 {
        let base = person.own + self.baseline.items.bias(item);
        let (mut above, mut below) = (0.0f64, 0.0f64);
        for (neighbour, e) in self.neighbours(person, item) {
            above += f64::from(neighbour.score) * f64::from(e);
            below += f64::from(neighbour.score);
        }
        match below > 0.0 {
            true => base + (above / below) as f32,
            false => base,
        }
    }

    fn fill(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        self.baseline.memory.check_scores(out)?;
        let person = self.person(who)?;
        for (item, score) in (0u32..).zip(out) {
            *score = self.predict_item(&person, item);
        }
        Ok(())
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: KnnBaseline = file.config()?;
        config.check()?;
        let baseline = Linear::read(file, 0, false, config.baseline.ridges())?;
        let n = baseline.memory.n_items();
        let similar = match config.by {
            Neighbours::Items => Csr::read(file, "similar", n, n)?,
            Neighbours::Users => Csr::default(),
        };
        if (0..n as u32).any(|item| similar.row(item).1.iter().any(|&s| s <= 0.0)) {
            return Err(damaged(file, "a similarity is not above 0".to_string()));
        }
        let mut model = Self::new(config, baseline);
        model.similar = similar;
        Ok(Box::new(model))
    }
}

impl RatingPredictor for KnnBaselineModel {
    fn scale(&self) -> RatingScale {
        self.baseline.scale
    }

    fn rating(&self, who: Who<'_>, item: Option<u32>) -> Result<f32> {
        match item {
            None => self.baseline.rating(who, None),
            Some(item) => {
                self.baseline.memory.check_item(item)?;
                Ok(self.predict_item(&self.person(who)?, item))
            }
        }
    }
}

impl Recommender for KnnBaselineModel {
    fn name(&self) -> String {
        match self.config.by {
            Neighbours::Items => NAME.to_string(),
            Neighbours::Users => format!("{NAME} by users"),
        }
    }

    fn memory(&self) -> &Memory {
        &self.baseline.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.baseline.memory.check_user(user)?;
        self.fill(Who::User(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.fill(Who::History(history), out)
    }

    /// The shrunk correlation, where it is above 0.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        let memory = &self.baseline.memory;
        memory.check_item(item)?;
        memory.check_scores(out)?;
        if self.config.by == Neighbours::Users {
            return Err(self.unsupported("compare items"));
        }
        out.fill(0.0);
        for (other, similarity) in self.similar.pairs(item) {
            if let Some(score) = out.get_mut(other as usize) {
                *score = similarity;
            }
        }
        Ok(())
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        let memory = &self.baseline.memory;
        memory.check_item(item)?;
        let person = self.person(who)?;
        let constant = |what, value| Contribution::new(Reason::Constant(what), value);
        let mut all = vec![
            constant("the average rating", self.baseline.mean),
            constant("how the item is rated", self.baseline.items.bias(item)),
            constant("how the user rates", person.bias),
        ];
        let neighbours = self.neighbours(&person, item);
        let below: f64 = neighbours.iter().map(|(s, _)| f64::from(s.score)).sum();
        for (neighbour, e) in neighbours {
            let reason = match self.config.by {
                Neighbours::Items => Reason::Item(memory.item_name(neighbour.index)),
                Neighbours::Users => Reason::User(memory.user_name(neighbour.index)),
            };
            let part = f64::from(neighbour.score) * f64::from(e) / below;
            all.push(Contribution::new(reason, part as f32));
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = self
            .baseline
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        match self.config.by {
            Neighbours::Items => self.similar.write(writer, "similar"),
            Neighbours::Users => Ok(writer),
        }
    }

    fn ratings(&self) -> Option<&dyn RatingPredictor> {
        Some(self)
    }

    /// Exact, at the cost of a fit.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.learn_again(self.memory().rated_again(events)?)
    }

    /// Exact, at the cost of a fit.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let memory = self.memory();
        self.learn_again(memory.without_user(memory.user(user)?)?)
    }

    /// Exact, at the cost of a fit.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let memory = self.memory();
        self.learn_again(memory.without_item(memory.item(item)?)?)
    }
}

pub(super) const READER: (&str, crate::load::Reader) = (KIND, KnnBaselineModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::blocks_log;
    use crate::ratings::tests::{finds_tastes, tastes};

    fn by_users() -> KnnBaseline {
        KnnBaseline {
            by: Neighbours::Users,
            shrinkage: 10.0,
            ..KnnBaseline::default()
        }
    }

    // General: what was not rated says nothing to this model, and all ratings of the suite's
    // checkerboard are alike.
    crate::conformance!(items, general, |log| KnnBaseline::default().fit(log));
    crate::conformance!(users, general, |log| KnnBaseline {
        by: Neighbours::Users,
        ..KnnBaseline::default()
    }
    .fit(log));

    #[test]
    fn finds_the_tastes() {
        let (log, _) = tastes();
        finds_tastes(&KnnBaseline::default().fit(&log).unwrap());
        finds_tastes(&by_users().fit(&log).unwrap());
    }

    /// A similarity by its definition.
    fn pearson(e: impl Fn(u32, u32) -> Option<f32>, a: u32, b: u32, n: u32, shrinkage: f64) -> f64 {
        let both: Vec<(f64, f64)> = (0..n)
            .filter_map(|at| Some((f64::from(e(a, at)?), f64::from(e(b, at)?))))
            .collect();
        let product: f64 = both.iter().map(|(a, b)| a * b).sum();
        let (a, b) = both
            .iter()
            .fold((0.0, 0.0), |(x, y), (a, b)| (x + a * a, y + b * b));
        let more = both.len() as f64 - 1.0;
        more / (more + shrinkage) * product / (a * b).sqrt()
    }

    #[test]
    fn equals_its_definition() {
        let log = blocks_log();
        for by in [Neighbours::Items, Neighbours::Users] {
            let config = KnnBaseline {
                by,
                neighbours: 3,
                shrinkage: 5.0,
                ..KnnBaseline::default()
            };
            let model = config.fit(&log).unwrap();
            let e = |i: u32, u: u32| {
                let (users, values) = model.by_item.row(i);
                users.binary_search(&u).ok().map(|at| values[at])
            };
            for (u, i) in [(0, 1), (7, 3), (20, 29), (35, 11)] {
                let mut near: Vec<(f64, f32)> = match by {
                    Neighbours::Items => (0..30)
                        .filter(|&j| j != i)
                        .filter_map(|j| Some((pearson(e, i, j, 36, 5.0), e(j, u)?)))
                        .collect(),
                    Neighbours::Users => (0..36)
                        .filter(|&v| v != u)
                        .filter_map(|v| Some((pearson(|u, i| e(i, u), u, v, 30, 5.0), e(i, v)?)))
                        .collect(),
                };
                near.retain(|(s, _)| *s > 0.0);
                near.sort_by(|a, b| b.0.total_cmp(&a.0));
                near.truncate(3);
                let below: f64 = near.iter().map(|(s, _)| s).sum();
                let above: f64 = near.iter().map(|(s, e)| s * f64::from(*e)).sum();
                let base = model.baseline.rating(Who::User(u), Some(i)).unwrap();
                let expected = f64::from(base) + if below > 0.0 { above / below } else { 0.0 };
                let predicted = model.rating(Who::User(u), Some(i)).unwrap();
                assert!(
                    (f64::from(predicted) - expected).abs() < 1e-4,
                    "{by:?} {u} {i}"
                );
            }
        }
    }

    #[test]
    fn refuses_settings_out_of_range() {
        let log = blocks_log();
        let no = |config: KnnBaseline| {
            assert!(matches!(config.fit(&log), Err(Error::Config { .. })));
        };
        no(KnnBaseline {
            neighbours: 0,
            ..KnnBaseline::default()
        });
        no(KnnBaseline {
            shrinkage: f32::NAN,
            ..KnnBaseline::default()
        });
    }
}
