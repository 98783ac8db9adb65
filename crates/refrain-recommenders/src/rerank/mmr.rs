use refrain_core::kernels::Scored;
use serde::{Deserialize, Serialize};

use super::{Groups, Kinds, best_place, relevance};
use crate::{Recommender, Result};

/// Maximal marginal relevance: a list of good items that are unlike each other.
///
/// ```text
/// next = argmax over the pool of λ · relevance(j) − (1 − λ) · max over the list of alike(i, j)
/// ```
///
/// Relevance is the score, stretched to 0 … 1 over the pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mmr {
    /// How much relevance counts against likeness, from 0 to 1; at 1 nothing changes.
    pub lambda: f32,
    /// What makes items alike.
    pub alike: Alike,
}

impl Default for Mmr {
    fn default() -> Self {
        Self {
            lambda: 0.7,
            alike: Alike::Model,
        }
    }
}

/// What makes items alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Alike {
    /// The model's similarity, as a share of each item's largest in the pool and not below 0.
    Model,
    /// The cosine of the shares of groups: diversity by feature.
    Groups(Groups),
}

impl Mmr {
    pub(super) fn order(
        &self,
        model: &dyn Recommender,
        kinds: Option<&Kinds>,
        pool: &[Scored],
        k: usize,
    ) -> Result<Vec<Scored>> {
        let relevance = relevance(pool);
        let lambda = f64::from(self.lambda);
        let mut nearest = vec![0.0f32; pool.len()];
        let mut open = vec![true; pool.len()];
        let mut row = vec![
            0.0;
            if kinds.is_some() {
                0
            } else {
                model.items().len()
            }
        ];
        let mut list = Vec::new();
        while list.len() < k {
            let values = (0..).zip(relevance.iter().zip(&nearest)).zip(&open);
            let values = values.filter(|(_, open)| **open).map(|((at, (r, n)), _)| {
                (at, lambda * f64::from(*r) - (1.0 - lambda) * f64::from(*n))
            });
            let Some(chosen) = best_place(values) else {
                break;
            };
            let Some(&item) = pool.get(chosen) else { break };
            if let Some(open) = open.get_mut(chosen) {
                *open = false;
            }
            list.push(item);
            if list.len() == k {
                break;
            }
            let mut largest = 1.0;
            if kinds.is_none() {
                model.similarity(item.index, &mut row)?;
                let others = pool.iter().filter(|s| s.index != item.index);
                let alike = others.filter_map(|s| row.get(s.index as usize).copied());
                largest = alike.fold(0.0, f32::max);
            }
            for (near, other) in nearest.iter_mut().zip(pool) {
                let alike = match kinds {
                    Some(kinds) => kinds.cosine(item.index, other.index),
                    None if largest > 0.0 => {
                        row.get(other.index as usize).copied().unwrap_or_default() / largest
                    }
                    None => 0.0,
                };
                *near = near.max(alike);
            }
        }
        Ok(list)
    }
}

/// Less of what everyone has.
///
/// ```text
/// value(j) = (1 − β) · relevance(j) + β · (1 − ln(1 + users of j) / ln(1 + users of the most popular))
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Debias {
    /// β, from 0 to 1: how much being little known counts; at 0 nothing changes.
    pub strength: f32,
}

impl Default for Debias {
    fn default() -> Self {
        Self { strength: 0.2 }
    }
}

impl Debias {
    pub(super) fn order(&self, users: &[u32], pool: &[Scored], k: usize) -> Vec<Scored> {
        let known = |n: u32| f64::from(n).ln_1p();
        let most = users.iter().copied().max().map_or(0.0, known).max(1e-9);
        let strength = f64::from(self.strength);
        let mut valued: Vec<(f64, Scored)> = relevance(pool)
            .iter()
            .zip(pool)
            .map(|(&r, &s)| {
                let n = users.get(s.index as usize).copied().unwrap_or_default();
                let rare = 1.0 - known(n) / most;
                ((1.0 - strength) * f64::from(r) + strength * rare, s)
            })
            .collect();
        // Stable: equal ones stay in the model's order.
        valued.sort_by(|a, b| b.0.total_cmp(&a.0));
        valued.truncate(k);
        valued.into_iter().map(|(_, s)| s).collect()
    }
}
