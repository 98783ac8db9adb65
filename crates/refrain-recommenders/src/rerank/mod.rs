//! Re-ranking: another order for what a model would recommend.
//!
//! | | puts first | paper |
//! |---|---|---|
//! | [`Mmr`] | what is good and unlike what the list already has, by the model's similarity or by groups | Carbonell and Goldstein, 1998 |
//! | [`Debias`] | what is good and not popular | |
//! | [`Calibrate`] | a mix of groups as in the user's history | Steck, 2018 |
//! | [`Rules`] | allowed items, not too many of a group, fresh ones before others | |
//! | [`Explore`] | now and then something to learn about | |
//!
//! [`Reranked`] wraps any model and one of these, and is a [`Recommender`] again, so they nest. The model
//! proposes its best `pool` items that the query lets through, and the wrapper chooses from
//! those: excluded items cannot get in, nothing is padded. Where a rule leaves fewer than were asked
//! for, the model is asked for more, until there are enough or no more.
//!
//! **Scores.** Lists stand in the new order, and each score is still the model's own, so scores need
//! not fall along a list; [`explain`](Recommender::explain) and [`score`](Recommender::score)
//! are the model's.
//!
//! **Cost.** The model's, plus pool × k steps a user; [`Mmr`] by the model's similarity asks it for the
//! neighbours of each chosen item.

mod calibrate;
mod explore;
mod groups;
mod mmr;
mod model;
mod rules;

use std::cmp::Ordering;

use refrain_core::kernels::Scored;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
use groups::Kinds;

pub use calibrate::Calibrate;
pub use explore::Explore;
pub use groups::Groups;
pub use mmr::{Alike, Debias, Mmr};
pub use model::Reranked;
pub use rules::Rules;

pub(crate) use model::READER;

/// One of the ways to re-rank; each converts into it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Rerank {
    /// Unlike items.
    Mmr(Mmr),
    /// Less popular items.
    Debias(Debias),
    /// The user's mix of groups.
    Calibrate(Calibrate),
    /// Business rules.
    Rules(Rules),
    /// Exploration.
    Explore(Explore),
}

macro_rules! from {
    ($($name:ident),*) => {$(
        impl From<$name> for Rerank {
            fn from(how: $name) -> Self {
                Rerank::$name(how)
            }
        }
    )*};
}
from!(Mmr, Debias, Calibrate, Rules, Explore);

/// Relevance from 0 to 1 along the pool; all 1 when the scores do not differ.
fn relevance(pool: &[Scored]) -> Vec<f32> {
    let scores = || pool.iter().map(|s| s.score);
    let (low, high) = (
        scores().fold(f32::INFINITY, f32::min),
        scores().fold(f32::NEG_INFINITY, f32::max),
    );
    let span = high - low;
    let share = |score: f32| match span > 0.0 && span.is_finite() {
        true => (score - low) / span,
        false => 1.0,
    };
    scores().map(share).collect()
}

/// The place with the largest value, the first of equal ones.
fn best_place(values: impl Iterator<Item = (usize, f64)>) -> Option<usize> {
    values
        .reduce(|best, other| match other.1.total_cmp(&best.1) {
            Ordering::Greater => other,
            _ => best,
        })
        .map(|(place, _)| place)
}

fn share(model: &'static str, field: &'static str, value: f32) -> Result<()> {
    match (0.0..=1.0).contains(&value) {
        true => Ok(()),
        false => Err(Error::Config {
            model,
            field,
            value: value.to_string(),
            expected: "must be from 0 to 1",
        }),
    }
}

#[cfg(test)]
mod tests;
