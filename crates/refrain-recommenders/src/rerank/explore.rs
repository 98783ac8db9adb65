use rand::RngExt;
use rand::seq::SliceRandom;
use refrain_core::kernels::Scored;
use refrain_core::rng::{self, Stream};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// Exploration: now and then an item whose worth is not known yet, so that the next log can tell.
///
/// The same seed gives the same person the same list; take a new seed for each round of lists.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Explore {
    /// Each place of the list goes, with probability ε, to a random item of the pool, else to the best
    /// that is left. The pool is everything the query lets through.
    EpsilonGreedy {
        /// ε, from 0 to 1.
        epsilon: f32,
        /// The seed of the draws.
        seed: u64,
    },
    /// Thompson sampling with normal beliefs: items are ranked by a draw from
    /// N(score, (scale · deviation)² / (1 + users of the item)), deviation being that of the scores
    /// of the pool. Items few people had move most.
    Thompson {
        /// How wide beliefs are at first, in deviations of the scores; 1 is a good deal.
        scale: f32,
        /// The seed of the draws.
        seed: u64,
    },
}

impl Explore {
    /// ε-greedy.
    pub fn epsilon(epsilon: f32, seed: u64) -> Self {
        Self::EpsilonGreedy { epsilon, seed }
    }

    /// Thompson sampling.
    pub fn thompson(scale: f32, seed: u64) -> Self {
        Self::Thompson { scale, seed }
    }

    pub(super) fn check(&self) -> Result<()> {
        match *self {
            Explore::EpsilonGreedy { epsilon, .. } => super::share("explore", "epsilon", epsilon),
            Explore::Thompson { scale, .. } if !(scale.is_finite() && scale >= 0.0) => {
                Err(Error::Config {
                    model: "explore",
                    field: "scale",
                    value: scale.to_string(),
                    expected: "must be at least 0",
                })
            }
            Explore::Thompson { .. } => Ok(()),
        }
    }

    /// `person` tells people apart; `users` counts who had each item.
    pub(super) fn order(
        &self,
        person: u64,
        users: &[u32],
        pool: &[Scored],
        k: usize,
    ) -> Vec<Scored> {
        match *self {
            Explore::EpsilonGreedy { epsilon, seed } => {
                let mut rng = rng::stream(seed, person);
                let mut chances = pool.to_vec();
                chances.shuffle(&mut rng);
                let mut open: Vec<bool> = Vec::new();
                let mut list = Vec::new();
                let (mut best, mut random) = (pool.iter(), chances.iter());
                // Both orders hold each item once; what one has taken the other skips.
                while list.len() < k.min(pool.len()) {
                    let explore = rng.random::<f32>() < epsilon;
                    let source = if explore { &mut random } else { &mut best };
                    let taken = |s: &&Scored, open: &[bool]| {
                        open.get(s.index as usize).copied().unwrap_or(false)
                    };
                    let Some(item) = source.find(|s| !taken(s, &open)) else {
                        break;
                    };
                    let at = item.index as usize;
                    if open.len() <= at {
                        open.resize(at + 1, false);
                    }
                    if let Some(flag) = open.get_mut(at) {
                        *flag = true;
                    }
                    list.push(*item);
                }
                list
            }
            Explore::Thompson { scale, seed } => {
                let mut rng = rng::stream(seed, person);
                let n = pool.len().max(1) as f64;
                let mean = pool.iter().map(|s| f64::from(s.score)).sum::<f64>() / n;
                let squares = pool.iter().map(|s| (f64::from(s.score) - mean).powi(2));
                let width = f64::from(scale) * (squares.sum::<f64>() / n).sqrt();
                let mut drawn: Vec<(f64, Scored)> = pool
                    .iter()
                    .map(|&s| {
                        let seen = users.get(s.index as usize).copied().unwrap_or_default();
                        let sigma = width / (1.0 + f64::from(seen)).sqrt();
                        (f64::from(s.score) + sigma * normal(&mut rng), s)
                    })
                    .collect();
                drawn.sort_by(|a, b| b.0.total_cmp(&a.0));
                drawn.truncate(k);
                drawn.into_iter().map(|(_, s)| s).collect()
            }
        }
    }
}

/// A standard normal draw (Box and Muller).
fn normal(rng: &mut Stream) -> f64 {
    let (a, b): (f64, f64) = (rng.random(), rng.random());
    (-2.0 * (1.0 - a).ln()).sqrt() * (2.0 * std::f64::consts::PI * b).cos()
}
