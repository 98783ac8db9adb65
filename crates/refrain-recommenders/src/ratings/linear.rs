//! What the factor models have in common once fitted.
//!
//! ```text
//! r(u, i) = μ + b_i + b_u + x_u · q_i        x_u = p_u + |N(u)|^-½ Σ_{j ∈ N(u)} y_j
//! ```
//!
//! The `y` are SVD++'s; the other models have none. `b_u` and `p_u` of everyone are the exact
//! solution of their row ([`Ridge`]), which makes a fold-in of the same ratings the stored user.

use rayon::prelude::*;
use refrain_core::{ModelFile, ModelWriter, kernels};
use refrain_data::Interactions;

use super::RatingScale;
use super::ridge::{Ridge, Side};
use crate::memory::finite;
use crate::neighbours::sparse::Csr;
use crate::{Change, Contribution, Error, Memory, Reason, Result, Who};

/// A fitted factor model of ratings.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Linear {
    pub memory: Memory,
    pub scale: RatingScale,
    /// μ
    pub mean: f32,
    /// λ of users, and of items for those that are learned later.
    pub ridges: (Ridge, Ridge),
    pub users: Side,
    pub items: Side,
    /// y, items × width; empty without.
    pub implied: Vec<f32>,
    /// Without mean and biases: the mean factors of users and of items, for who and what is unknown.
    typical: (Vec<f32>, Vec<f32>),
}

/// Someone as the model sees them.
struct Person {
    bias: f32,
    /// x
    factors: Vec<f32>,
}

impl Linear {
    /// A model whose users are still to be solved.
    pub(super) fn new(
        memory: Memory,
        scale: RatingScale,
        mean: f32,
        ridges: (Ridge, Ridge),
        items: Side,
        implied: Vec<f32>,
    ) -> Self {
        let users = Side::zeros(memory.n_users(), items.width);
        Self {
            memory,
            scale,
            mean,
            ridges,
            users,
            items,
            implied,
            typical: Default::default(),
        }
    }

    fn find_typical(&mut self) {
        if self.ridges.0.bias.is_none() {
            self.typical = (typical(&self.users), typical(&self.items));
        }
    }

    /// The part of `x` that having rated says; empty without `y`.
    fn implied_by(&self, rated: &[u32]) -> Vec<f32> {
        let width = self.items.width;
        if self.implied.is_empty() {
            return Vec::new();
        }
        let mut sum = vec![0.0; width];
        for &item in rated {
            let at = item as usize * width;
            if let Some(y) = self.implied.get(at..at + width) {
                kernels::axpy(1.0, y, &mut sum);
            }
        }
        kernels::scale(1.0 / (rated.len().max(1) as f32).sqrt(), &mut sum);
        sum
    }

    /// What `b_u` and `p_u` have to explain.
    fn targets(&self, rated: &[u32], ratings: &[f32], implied: &[f32]) -> Vec<f64> {
        let target = |(&item, &rating): (&u32, &f32)| {
            let known = match implied.is_empty() {
                true => 0.0,
                false => kernels::dot(self.items.row(item), implied),
            };
            let known = f64::from(self.mean) + f64::from(self.items.bias(item)) + f64::from(known);
            f64::from(rating) - known
        };
        rated.iter().zip(ratings).map(target).collect()
    }

    fn person(&self, rated: &[u32], ratings: &[f32]) -> Result<Person> {
        if rated.is_empty() && !self.typical.0.is_empty() {
            return Ok(Person {
                bias: 0.0,
                factors: self.typical.0.clone(),
            });
        }
        let implied = self.implied_by(rated);
        let targets = self.targets(rated, ratings, &implied);
        let solved = self.ridges.0.solve(&self.items, rated, &targets);
        let person = solved.map(|x| {
            let mut factors: Vec<f32> = x.factors.iter().map(|&x| x as f32).collect();
            if !implied.is_empty() {
                kernels::axpy(1.0, &implied, &mut factors);
            }
            Person {
                bias: x.bias as f32,
                factors,
            }
        });
        let finite = |p: &Person| p.bias.is_finite() && p.factors.iter().all(|x| x.is_finite());
        person.filter(finite).ok_or(Error::Data {
            model: "a rating model",
            reason: "ratings are too large".to_string(),
        })
    }

    /// Solves all users again.
    pub(super) fn solve_users(&mut self) -> Result<()> {
        self.typical = Default::default();
        let people: Vec<Person> = (0..self.memory.n_users() as u32)
            .into_par_iter()
            .map(|user| {
                let (rated, ratings) = self.memory.history(user);
                self.person(rated, ratings)
            })
            .collect::<Result<_>>()?;
        for (user, person) in (0u32..).zip(people) {
            self.users.set(user, person.bias, &person.factors);
        }
        self.find_typical();
        Ok(())
    }

    fn of(&self, who: Who<'_>) -> Result<Person> {
        match who {
            Who::User(user) => {
                self.memory.check_user(user)?;
                if self.memory.history(user).0.is_empty() {
                    return self.person(&[], &[]);
                }
                Ok(Person {
                    bias: self.users.bias(user),
                    factors: self.users.row(user).to_vec(),
                })
            }
            Who::History(history) => {
                let (rated, ratings) = self.memory.tidy_ratings(history)?;
                self.person(&rated, &ratings)
            }
        }
    }

    pub(super) fn score(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        let person = self.of(who)?;
        match self.items.width {
            0 => out.fill(0.0),
            _ => kernels::scores(&person.factors, &self.items.factors, out),
        }
        let own = self.mean + person.bias;
        for (score, bias) in out.iter_mut().zip(&self.items.bias) {
            *score += own + bias;
        }
        Ok(())
    }

    pub(super) fn rating(&self, who: Who<'_>, item: Option<u32>) -> Result<f32> {
        let person = self.of(who)?;
        let Some(item) = item else {
            let taste = match self.typical.1.is_empty() {
                true => 0.0,
                false => kernels::dot(&person.factors, &self.typical.1),
            };
            return Ok(taste + (self.mean + person.bias));
        };
        self.memory.check_item(item)?;
        let taste = match self.items.width {
            0 => 0.0,
            _ => kernels::dot(&person.factors, self.items.row(item)),
        };
        Ok(taste + (self.mean + person.bias + self.items.bias(item)))
    }

    /// The cosine of the items' factors.
    pub(super) fn similarity(&self, name: &str, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        if self.items.width == 0 {
            return Err(Error::Unsupported {
                model: name.to_string(),
                what: "compare items",
            });
        }
        let own = self.items.row(item);
        kernels::scores(own, &self.items.factors, out);
        let own = kernels::norm(own);
        let rows = self.items.factors.chunks_exact(self.items.width);
        for (score, row) in out.iter_mut().zip(rows) {
            let size = own * kernels::norm(row);
            *score = if size > 0.0 { *score / size } else { 0.0 };
        }
        Ok(())
    }

    pub(super) fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let (rated, ratings) = self.memory.ratings_of(who)?;
        let person = self.of(who)?;
        let mut all = vec![
            Contribution::new(Reason::Constant("the average rating"), self.mean),
            Contribution::new(
                Reason::Constant("how the item is rated"),
                self.items.bias(item),
            ),
            Contribution::new(Reason::Constant("how the user rates"), person.bias),
        ];
        let toward = self.items.row(item);
        if rated.is_empty() && !self.typical.0.is_empty() {
            let part = kernels::dot(&self.typical.0, toward);
            all.push(Contribution::new(Reason::Constant("the usual taste"), part));
        }
        if self.items.width == 0 || rated.is_empty() {
            return Ok(all);
        }
        let implied = self.implied_by(&rated);
        let targets = self.targets(&rated, &ratings, &implied);
        let parts = self
            .ridges
            .0
            .parts(&self.items, &rated, &targets, &person.factors, toward);
        let share = 1.0 / (rated.len() as f32).sqrt();
        for (&had, part) in rated.iter().zip(parts.unwrap_or_default()) {
            let at = had as usize * self.items.width;
            let said = self.implied.get(at..at + self.items.width);
            let said = said.map_or(0.0, |y| share * kernels::dot(y, toward));
            let reason = Reason::Item(self.memory.item_name(had));
            all.push(Contribution::new(reason, part as f32 + said));
        }
        Ok(all)
    }

    /// Learns the touched items from everyone who rated them, then all users; of two ratings for one
    /// item the last counts.
    pub(super) fn update(&mut self, events: &Interactions) -> Result<Change> {
        let mut next = self.clone();
        next.memory = self.memory.rated_again(events)?;
        let (users, items) = (next.memory.n_users(), next.memory.n_items());
        next.users.grow(users);
        next.items.grow(items);
        if !self.implied.is_empty() {
            next.implied.resize(items * next.items.width, 0.0);
        }
        // New users first, from the items that are known.
        next.solve_users()?;
        let raters = ratings_by_user(&next.memory).transpose();
        for id in events.items().iter() {
            let Some(item) = next.memory.items().get(id) else {
                continue;
            };
            let (who, ratings) = raters.row(item);
            let targets: Vec<f64> = who
                .iter()
                .zip(ratings)
                .map(|(&user, &r)| {
                    f64::from(r) - f64::from(next.mean) - f64::from(next.users.bias(user))
                })
                .collect();
            let Some(x) = next.ridges.1.solve(&next.users, who, &targets) else {
                continue;
            };
            let narrow: Vec<f32> = x.factors.iter().map(|&x| x as f32).collect();
            next.items.set(item, x.bias as f32, &narrow);
        }
        next.solve_users()?;
        *self = next;
        Ok(Change::Approximate)
    }

    pub(super) fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        self.memory = self.memory.without_user(user)?;
        self.users.remove(user);
        Ok(Change::Approximate)
    }

    pub(super) fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let mut next = self.clone();
        next.memory = self.memory.without_item(item)?;
        next.items.remove(item);
        if !next.implied.is_empty() {
            let at = item as usize * next.items.width;
            next.implied.drain(at..at + next.items.width);
        }
        next.solve_users()?;
        *self = next;
        Ok(Change::Approximate)
    }

    pub(super) fn write<'a>(&'a self, writer: ModelWriter<'a>) -> Result<ModelWriter<'a>> {
        let (users, items, width) = (self.users.rows(), self.items.rows(), self.items.width);
        let constants = vec![self.mean, self.scale.min, self.scale.max];
        let writer = self
            .memory
            .write(writer)?
            .f32("constants", &[3], constants)?
            .f32("users.bias", &[users], &self.users.bias)?
            .f32("items.bias", &[items], &self.items.bias)?
            .f32("users.factors", &[users, width], &self.users.factors)?
            .f32("items.factors", &[items, width], &self.items.factors)?;
        Ok(match self.implied.is_empty() {
            true => writer,
            false => writer.f32("items.implied", &[items, width], &self.implied)?,
        })
    }

    /// Reads a model of `width` factors, with `y` or without.
    pub(super) fn read(
        file: &ModelFile,
        width: usize,
        implied: bool,
        ridges: (Ridge, Ridge),
    ) -> Result<Self> {
        let memory = Memory::read(file)?;
        let (users, items) = (memory.n_users(), memory.n_items());
        let read = |name: &str, shape: &[usize]| finite(file, name, shape);
        let constants = read("constants", &[3])?;
        let (mean, scale) = match constants[..] {
            [mean, min, max] if min <= max => (mean, RatingScale { min, max }),
            _ => return Err(damaged(file, "its scale does not ascend".to_string())),
        };
        let side = |name: &str, rows: usize| -> Result<Side> {
            Ok(Side {
                bias: read(&format!("{name}.bias"), &[rows])?,
                factors: read(&format!("{name}.factors"), &[rows, width])?,
                width,
            })
        };
        let mut model = Self {
            scale,
            mean,
            ridges,
            users: side("users", users)?,
            items: side("items", items)?,
            implied: match implied {
                true => read("items.implied", &[items, width])?,
                false => Vec::new(),
            },
            memory,
            typical: Default::default(),
        };
        model.find_typical();
        Ok(model)
    }
}

/// The mean of the rows that are not zero: those with ratings.
fn typical(side: &Side) -> Vec<f32> {
    let mut sum = vec![0.0; side.width];
    let mut n = 0;
    for row in side.factors.chunks_exact(side.width.max(1)) {
        if row.iter().any(|&x| x != 0.0) {
            kernels::axpy(1.0, row, &mut sum);
            n += 1;
        }
    }
    kernels::scale(1.0 / n.max(1) as f32, &mut sum);
    sum
}

pub(super) fn damaged(file: &ModelFile, reason: String) -> Error {
    refrain_core::Error::ModelFile {
        origin: file.origin().to_string(),
        reason,
    }
    .into()
}

/// What is remembered as a matrix, users × items.
pub(super) fn ratings_by_user(memory: &Memory) -> Csr {
    let mut rows = Csr::with_width(memory.n_items());
    for user in 0..memory.n_users() as u32 {
        let (items, ratings) = memory.history(user);
        rows.push_row(items.iter().copied().zip(ratings.iter().copied()));
    }
    rows
}

/// [`Recommender`](crate::Recommender) and [`RatingPredictor`](super::RatingPredictor) for a struct
/// with a `config` and a `core: Linear`; `exact` models fit again to learn and to forget, which is
/// cheap for them.
macro_rules! linear_model {
    ($model:ident, $name:expr, $kind:expr, $change:ident) => {
        impl $crate::Recommender for $model {
            fn name(&self) -> String {
                $name.to_string()
            }

            fn memory(&self) -> &$crate::Memory {
                &self.core.memory
            }

            fn score(&self, user: u32, out: &mut [f32]) -> $crate::Result<()> {
                self.core.score($crate::Who::User(user), out)
            }

            fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> $crate::Result<()> {
                self.core.score($crate::Who::History(history), out)
            }

            fn similarity(&self, item: u32, out: &mut [f32]) -> $crate::Result<()> {
                self.core.similarity($name, item, out)
            }

            fn contributions(
                &self,
                who: $crate::Who<'_>,
                item: u32,
            ) -> $crate::Result<Vec<$crate::Contribution>> {
                self.core.contributions(who, item)
            }

            fn to_file(&self) -> $crate::Result<refrain_core::ModelWriter<'_>> {
                self.core
                    .write(refrain_core::ModelWriter::new($kind, 1).config(&self.config)?)
            }

            fn ratings(&self) -> Option<&dyn $crate::RatingPredictor> {
                Some(self)
            }

            $crate::ratings::linear::linear_model!(@$change);
        }

        impl $crate::RatingPredictor for $model {
            fn scale(&self) -> $crate::RatingScale {
                self.core.scale
            }

            fn rating(&self, who: $crate::Who<'_>, item: Option<u32>) -> $crate::Result<f32> {
                self.core.rating(who, item)
            }
        }
    };
    (@approximate) => {
        fn update(&mut self, events: &refrain_data::Interactions) -> $crate::Result<$crate::Change> {
            self.core.update(events)
        }

        fn forget_user(&mut self, user: &str) -> $crate::Result<$crate::Change> {
            self.core.forget_user(user)
        }

        fn forget_item(&mut self, item: &str) -> $crate::Result<$crate::Change> {
            self.core.forget_item(item)
        }
    };
    (@exact) => {
        fn update(&mut self, events: &refrain_data::Interactions) -> $crate::Result<$crate::Change> {
            self.refit(self.core.memory.rated_again(events)?)
        }

        fn forget_user(&mut self, user: &str) -> $crate::Result<$crate::Change> {
            let memory = &self.core.memory;
            self.refit(memory.without_user(memory.user(user)?)?)
        }

        fn forget_item(&mut self, item: &str) -> $crate::Result<$crate::Change> {
            let memory = &self.core.memory;
            self.refit(memory.without_item(memory.item(item)?)?)
        }
    };
}
pub(super) use linear_model;
