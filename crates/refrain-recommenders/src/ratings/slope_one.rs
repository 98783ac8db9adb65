//! Slope One: people rate this one half a star below that one.
//!
//! ```text
//! d_ij = mean over those who rated both of (r_i − r_j)            c_ij: how many they are
//! r(u, i) = Σ_{j ∈ N(u), j ≠ i} c_ij (r_uj + d_ij) / Σ c_ij
//! ```
//!
//! The weighted scheme of Lemire and Maclachlan, *Slope One predictors for online rating-based
//! collaborative filtering*, 2005.
//!
//! **When.** Reasons that anyone can follow, exact updates, nothing to tune. [`KnnBaseline`] predicts
//! better.
//!
//! **Unseen.** Without ratings to compare, the average of the user's ratings; without those, of the
//! item's; without those, of all.
//!
//! **Cost.** Σ over users of ratings² to fit, 16 bytes for each two items that someone rated both. A
//! change costs the items that its users have rated, and leaves exactly what a new fit gives.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! [`KnnBaseline`]: crate::KnnBaseline

use rayon::prelude::*;
use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::linear::{damaged, ratings_by_user};
use super::predictor::mean_rating;
use super::{RatingPredictor, RatingScale};
use crate::neighbours::sparse::Csr;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.slope_one";
const NAME: &str = "Slope One";

/// Settings of Slope One.
///
/// ```
/// use refrain_recommenders::{RatingPredictor, SlopeOne};
/// # use refrain_data::Interactions;
/// let log = Interactions::from_events([
///     ("ann", "reel", 4.0), ("ann", "jig", 3.0), ("bob", "reel", 3.0), ("bob", "jig", 1.0),
///     ("cat", "reel", 5.0),
/// ])?;
/// let model = SlopeOne::default().fit(&log)?;
/// assert_eq!(model.predict("cat", "jig")?, 3.5); // jigs lie 1.5 below reels
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlopeOne {
    /// Two items are compared when so many have rated both, at least 1.
    pub min_common: u32,
    /// The ratings there are; `None`: from the lowest to the highest in the log.
    pub scale: Option<RatingScale>,
}

impl Default for SlopeOne {
    fn default() -> Self {
        Self {
            min_common: 1,
            scale: None,
        }
    }
}

impl SlopeOne {
    /// Compares all pairs of items.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, [`Error::Data`] for an empty log.
    pub fn fit(&self, log: &Interactions) -> Result<SlopeOneModel> {
        self.check()?;
        let memory = Memory::new(log);
        let items: Vec<u32> = (0..memory.n_items() as u32).collect();
        let empty = Pairs::empty(memory.n_items());
        SlopeOneModel::of(self.clone(), memory, &empty, &items)
    }

    fn check(&self) -> Result<()> {
        match self.min_common {
            0 => Err(Error::Config {
                model: NAME,
                field: "min_common",
                value: "0".to_string(),
                expected: "must be at least 1",
            }),
            _ => Ok(()),
        }
    }
}

/// What is known of pairs of items: d and c, items × items.
#[derive(Debug, Clone, PartialEq)]
struct Pairs {
    differences: Csr,
    counts: Csr,
}

/// One item's (other, d, c), ascending.
type Row = Vec<(u32, f32, f32)>;

impl Pairs {
    fn empty(items: usize) -> Self {
        Self {
            differences: Csr::with_width(items),
            counts: Csr::with_width(items),
        }
    }

    fn push(&mut self, row: &[(u32, f32, f32)]) {
        self.differences
            .push_row(row.iter().map(|&(j, d, _)| (j, d)));
        self.counts.push_row(row.iter().map(|&(j, _, c)| (j, c)));
    }

    fn row(&self, item: u32) -> impl Iterator<Item = (u32, f32, f32)> + '_ {
        let pairs = self.differences.pairs(item);
        pairs
            .zip(self.counts.row(item).1)
            .map(|((j, d), &c)| (j, d, c))
    }

    /// d and c of a pair, when there is something.
    fn get(&self, item: u32, other: u32) -> Option<(f32, f32)> {
        let (columns, differences) = self.differences.row(item);
        let at = columns.binary_search(&other).ok()?;
        Some((*differences.get(at)?, *self.counts.row(item).1.get(at)?))
    }
}

/// One thread's sums over the raters of an item.
struct Sums {
    differences: Vec<f64>,
    counts: Vec<u32>,
}

impl Sums {
    fn row(&mut self, item: u32, by_user: &Csr, by_item: &Csr, min_common: u32) -> Row {
        for (user, own) in by_item.pairs(item) {
            for (other, rating) in by_user.pairs(user) {
                let at = other as usize;
                if let (Some(sum), Some(count)) =
                    (self.differences.get_mut(at), self.counts.get_mut(at))
                {
                    *sum += f64::from(own) - f64::from(rating);
                    *count += 1;
                }
            }
        }
        let mut row = Row::new();
        for (other, (sum, count)) in (0u32..).zip(self.differences.iter_mut().zip(&mut self.counts))
        {
            let (sum, count) = (std::mem::take(sum), std::mem::take(count));
            if count >= min_common && other != item {
                row.push((other, (sum / f64::from(count)) as f32, count as f32));
            }
        }
        row
    }
}

/// Fitted Slope One. A score is a predicted rating, not yet clamped, and compares across users.
#[derive(Debug, Clone, PartialEq)]
pub struct SlopeOneModel {
    config: SlopeOne,
    memory: Memory,
    scale: RatingScale,
    mean: f32,
    /// The average rating of each item; that of all where there is none.
    item_means: Vec<f32>,
    pairs: Pairs,
}

impl SlopeOneModel {
    /// The model of `memory` when the pairs of all items but the `touched` ones (ascending) are
    /// known.
    fn of(config: SlopeOne, memory: Memory, known: &Pairs, touched: &[u32]) -> Result<Self> {
        let scale = RatingScale::of(config.scale, &memory, NAME)?;
        let by_user = ratings_by_user(&memory);
        let by_item = by_user.transpose();
        let n = memory.n_items();
        let sums = || Sums {
            differences: vec![0.0; n],
            counts: vec![0; n],
        };
        let rows: Vec<Row> = touched
            .par_iter()
            .map_init(sums, |sums, &item| {
                sums.row(item, &by_user, &by_item, config.min_common)
            })
            .collect();
        let mut rows = touched.iter().zip(rows).peekable();
        let mut pairs = Pairs::empty(n);
        for item in 0..n as u32 {
            match rows.next_if(|(touched, _)| **touched == item) {
                Some((_, row)) => pairs.push(&row),
                None => pairs.push(&known.row(item).collect::<Row>()),
            }
        }
        let mut model = Self {
            config,
            mean: mean_rating(&memory),
            memory,
            scale,
            item_means: Vec::new(),
            pairs,
        };
        model.average(&by_item);
        Ok(model)
    }

    fn average(&mut self, by_item: &Csr) {
        let mean = |item: u32| {
            let ratings = by_item.row(item).1;
            match ratings.is_empty() {
                true => self.mean,
                false => average(ratings),
            }
        };
        self.item_means = (0..self.memory.n_items() as u32).map(mean).collect();
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &SlopeOne {
        &self.config
    }

    /// How much higher `item` is rated than `other` by those who rated both, and how many they are.
    pub fn difference(&self, item: &str, other: &str) -> Option<(f32, u32)> {
        let items = self.memory.items();
        let (difference, count) = self.pairs.get(items.get(item)?, items.get(other)?)?;
        Some((difference, count as u32))
    }

    /// The rating of someone of whom no rating can be compared.
    fn fallback(&self, ratings: &[f32], item: Option<u32>) -> (&'static str, f32) {
        if !ratings.is_empty() {
            return ("the average of the user's ratings", average(ratings));
        }
        let of_item = item.and_then(|item| self.item_means.get(item as usize));
        match of_item {
            Some(&mean) => ("the average of the item's ratings", mean),
            None => ("the average rating", self.mean),
        }
    }

    fn fill(&self, rated: &[u32], ratings: &[f32], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        let mut sums = vec![(0.0f64, 0.0f64); out.len()];
        for (&had, &rating) in rated.iter().zip(ratings) {
            for (item, difference, count) in self.pairs.row(had) {
                if let Some((above, below)) = sums.get_mut(item as usize) {
                    // d_ij = −d_ji
                    *above += f64::from(count) * (f64::from(rating) - f64::from(difference));
                    *below += f64::from(count);
                }
            }
        }
        for ((item, score), (above, below)) in (0u32..).zip(out).zip(sums) {
            *score = match below > 0.0 {
                true => (above / below) as f32,
                false => self.fallback(ratings, Some(item)).1,
            };
        }
        Ok(())
    }

    /// Each rating's c_ij and c_ij (r_j + d_ij).
    fn parts<'a>(
        &'a self,
        rated: &'a [u32],
        ratings: &'a [f32],
        item: u32,
    ) -> impl Iterator<Item = (u32, f64, f64)> + 'a {
        rated
            .iter()
            .zip(ratings)
            .filter_map(move |(&had, &rating)| {
                let (difference, count) = self.pairs.get(had, item)?;
                let count = f64::from(count);
                Some((
                    had,
                    count,
                    count * (f64::from(rating) - f64::from(difference)),
                ))
            })
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: SlopeOne = file.config()?;
        config.check()?;
        let memory = Memory::read(file)?;
        let n = memory.n_items();
        let pairs = Pairs {
            differences: Csr::read(file, "differences", n, n)?,
            counts: Csr::read(file, "counts", n, n)?,
        };
        let aligned = (0..n as u32).all(|item| {
            let (columns, counts) = pairs.counts.row(item);
            columns == pairs.differences.row(item).0 && counts.iter().all(|&c| c >= 1.0)
        });
        if !aligned {
            let reason = "its counts do not fit its differences".to_string();
            return Err(damaged(file, reason));
        }
        let mut model = Self {
            scale: RatingScale::of(config.scale, &memory, NAME)?,
            mean: mean_rating(&memory),
            config,
            memory,
            item_means: Vec::new(),
            pairs,
        };
        model.average(&ratings_by_user(&model.memory).transpose());
        Ok(Box::new(model))
    }

    /// The items that any of these users has rated, ascending.
    fn rated_by(memory: &Memory, users: impl Iterator<Item = u32>) -> Vec<u32> {
        let mut items: Vec<u32> = users
            .flat_map(|user| memory.history(user).0)
            .copied()
            .collect();
        items.sort_unstable();
        items.dedup();
        items
    }
}

fn average(ratings: &[f32]) -> f32 {
    let sum: f64 = ratings.iter().map(|&r| f64::from(r)).sum();
    (sum / ratings.len().max(1) as f64) as f32
}

impl RatingPredictor for SlopeOneModel {
    fn scale(&self) -> RatingScale {
        self.scale
    }

    fn rating(&self, who: Who<'_>, item: Option<u32>) -> Result<f32> {
        let (rated, ratings) = self.memory.ratings_of(who)?;
        let Some(known) = item else {
            return Ok(self.fallback(&ratings, None).1);
        };
        self.memory.check_item(known)?;
        let (mut above, mut below) = (0.0, 0.0);
        for (_, count, part) in self.parts(&rated, &ratings, known) {
            above += part;
            below += count;
        }
        Ok(match below > 0.0 {
            true => (above / below) as f32,
            false => self.fallback(&ratings, item).1,
        })
    }
}

impl Recommender for SlopeOneModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        let (rated, ratings) = self.memory.history(user);
        self.fill(rated, ratings, out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        let (rated, ratings) = self.memory.tidy_ratings(history)?;
        self.fill(&rated, &ratings, out)
    }

    fn similarity(&self, item: u32, _: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        Err(self.unsupported("compare items"))
    }

    /// What each rating of the history makes of this item, in its share.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let (rated, ratings) = self.memory.ratings_of(who)?;
        let parts: Vec<(u32, f64, f64)> = self.parts(&rated, &ratings, item).collect();
        let below: f64 = parts.iter().map(|(_, count, _)| count).sum();
        if parts.is_empty() {
            let (what, value) = self.fallback(&ratings, Some(item));
            return Ok(vec![Contribution::new(Reason::Constant(what), value)]);
        }
        let part = |(had, _, part): (u32, f64, f64)| {
            let reason = Reason::Item(self.memory.item_name(had));
            Contribution::new(reason, (part / below) as f32)
        };
        Ok(parts.into_iter().map(part).collect())
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        let writer = self.pairs.differences.write(writer, "differences")?;
        self.pairs.counts.write(writer, "counts")
    }

    fn ratings(&self) -> Option<&dyn RatingPredictor> {
        Some(self)
    }

    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let memory = self.memory.rated_again(events)?;
        let users = events
            .users()
            .iter()
            .filter_map(|id| memory.users().get(id));
        let touched = Self::rated_by(&memory, users);
        *self = Self::of(self.config.clone(), memory, &self.pairs, &touched)?;
        Ok(Change::Exact)
    }

    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        let touched = Self::rated_by(&self.memory, std::iter::once(user));
        let memory = self.memory.without_user(user)?;
        *self = Self::of(self.config.clone(), memory, &self.pairs, &touched)?;
        Ok(Change::Exact)
    }

    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let memory = self.memory.without_item(item)?;
        let mut pairs = Pairs::empty(memory.n_items());
        for other in (0..self.memory.n_items() as u32).filter(|&other| other != item) {
            let row = self.pairs.row(other).filter(|&(j, ..)| j != item);
            let row: Row = row
                .map(|(j, d, c)| (j - u32::from(j > item), d, c))
                .collect();
            pairs.push(&row);
        }
        *self = Self::of(self.config.clone(), memory, &pairs, &[])?;
        Ok(Change::Exact)
    }
}

pub(super) const READER: (&str, crate::load::Reader) = (KIND, SlopeOneModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::blocks_log;
    use crate::ratings::tests::{never_nan, tastes};

    // General: what was not rated says nothing to this model.
    crate::conformance!(default, general, |log| SlopeOne::default().fit(log));

    #[test]
    fn finds_differences_but_no_tastes() {
        // In `tastes` every two items differ by nothing on average: Slope One cannot tell them apart,
        // but knows more where one taste alone is left.
        let (log, _) = tastes();
        let even = log.filter(|event| event.user % 2 == 0).unwrap();
        let model = SlopeOne::default().fit(&even).unwrap();
        let high = model.predict_for(&[("i1", 1.5)], "i0").unwrap();
        assert!(high > 3.5, "{high}");
        never_nan(&model);
    }

    #[test]
    fn the_examples_of_the_paper() {
        let log = Interactions::from_events([
            ("john", "a", 5.0),
            ("john", "b", 3.0),
            ("john", "c", 2.0),
            ("mark", "a", 3.0),
            ("mark", "b", 4.0),
            ("lucy", "b", 2.0),
            ("lucy", "c", 5.0),
        ])
        .unwrap();
        let model = SlopeOne::default().fit(&log).unwrap();
        // Lucy's a: ((2 + 0.5) · 2 + (5 + 3) · 1) / 3 = 4.33
        let lucy = model.predict("lucy", "a").unwrap();
        assert!((lucy - 13.0 / 3.0).abs() < 1e-6, "{lucy}");
        assert_eq!(model.difference("a", "b"), Some((0.5, 2)));
        let why = model.explain("lucy", "a").unwrap();
        assert!((why.total() - 13.0 / 3.0).abs() < 1e-6, "{why}");
        assert_eq!(model.predict("nobody", "a").unwrap(), 4.0);
        assert_eq!(model.predict("lucy", "nothing").unwrap(), 3.5);
    }

    #[test]
    fn equals_its_definition() {
        let log = blocks_log();
        let model = SlopeOne::default().fit(&log).unwrap();
        let rating = |u: u32, i: u32| {
            let (items, ratings) = log.user_items(u);
            items
                .binary_search(&i)
                .ok()
                .map(|at| f64::from(ratings[at]))
        };
        let users = 0..log.n_users() as u32;
        for (u, i) in [(0, 4), (3, 7), (11, 29), (20, 0)] {
            let (mut above, mut below) = (0.0, 0.0);
            for j in (0..30).filter(|&j| j != i) {
                let Some(own) = rating(u, j) else { continue };
                let both = users
                    .clone()
                    .filter_map(|v| Some(rating(v, i)? - rating(v, j)?));
                let both: Vec<f64> = both.collect();
                above += both.iter().sum::<f64>() + own * both.len() as f64;
                below += both.len() as f64;
            }
            let predicted = model.rating(Who::User(u), Some(i)).unwrap();
            assert!((f64::from(predicted) - above / below).abs() < 1e-4);
        }
    }

    #[test]
    fn changes_are_exact() {
        let log = blocks_log();
        let mut model = SlopeOne::default().fit(&log).unwrap();
        let before = model.clone();
        let more = [("new", "i3", 5.0), ("new", "inew", 2.0), ("u1", "i2", 1.0)];
        let more = Interactions::from_events(more).unwrap();
        assert_eq!(model.update(&more).unwrap(), Change::Exact);
        let refit = |model: &SlopeOneModel| {
            SlopeOne::default()
                .fit(&model.memory().to_log().unwrap())
                .unwrap()
        };
        assert_eq!(model, refit(&model));
        model.forget_user("u7").unwrap();
        assert_eq!(model, refit(&model));
        model.forget_item("i4").unwrap();
        assert_eq!(model, refit(&model));
        assert!(model.forget_item("i4").is_err());
        assert_ne!(model, before);
    }
}
