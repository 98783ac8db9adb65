use std::collections::{BTreeSet, HashMap};

use refrain_core::IdMap;
use refrain_core::kernels::Scored;
use serde::{Deserialize, Serialize};

use super::{Groups, Kinds};
use crate::{Error, Query, Result};

/// What the house wants, whatever the model says.
///
/// ```
/// # use std::sync::Arc;
/// # use refrain_recommenders::*;
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let model = Arc::new(ItemKnn::default().fit(&log)?);
/// let artists = Groups::new((0..40).map(|item| (item.to_string(), format!("artist {}", item / 8))));
/// let rules = Rules::new().deny(["3", "4"]).cap(artists, 2).fresh_first(["17", "33"]);
/// let model = Reranked::new(model, rules)?;
/// let list = model.recommend("7", 8)?; // at most two of an artist
/// assert!(list.len() <= 8 && list.iter().all(|r| r.item != "3"));
/// # Ok::<(), Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Rules {
    allow: Option<BTreeSet<String>>,
    deny: BTreeSet<String>,
    caps: Vec<(Groups, usize)>,
    fresh: BTreeSet<String>,
}

impl Rules {
    /// No rules yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only these items; called again, only those in both lists.
    #[must_use]
    pub fn allow<T: Into<String>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        let items: BTreeSet<String> = items.into_iter().map(Into::into).collect();
        self.allow = Some(match self.allow {
            Some(before) => before.intersection(&items).cloned().collect(),
            None => items,
        });
        self
    }

    /// None of these items; lists add up.
    #[must_use]
    pub fn deny<T: Into<String>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        self.deny.extend(items.into_iter().map(Into::into));
        self
    }

    /// At most `most` items of each group: of an artist, of a label. Items of no group are not
    /// counted; caps add up.
    #[must_use]
    pub fn cap(mut self, groups: Groups, most: usize) -> Self {
        self.caps.push((groups, most));
        self
    }

    /// These items, the new arrivals, before all others that the model proposes, each part in the
    /// model's order.
    #[must_use]
    pub fn fresh_first<T: Into<String>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        self.fresh.extend(items.into_iter().map(Into::into));
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.caps.iter().any(|(_, most)| *most == 0) {
            return Err(Error::Config {
                model: "rules",
                field: "cap",
                value: "0".to_string(),
                expected: "must be at least 1; deny leaves items out",
            });
        }
        Ok(())
    }

    /// The query with the lists in it, so that the model proposes only what may be.
    pub(super) fn narrow(&self, query: &Query) -> Query {
        let mut query = query.clone();
        if let Some(allow) = &self.allow {
            query = query.allow(allow.iter().cloned());
        }
        if !self.deny.is_empty() {
            query = query.deny(self.deny.iter().cloned());
        }
        query
    }

    pub(super) fn resolve(&self, items: &IdMap) -> Resolved {
        let fresh = self.fresh.iter().filter_map(|id| items.get(id.as_str()));
        let caps = self.caps.iter();
        Resolved {
            caps: caps.map(|(g, most)| (g.resolve(items), *most)).collect(),
            fresh: fresh.collect(),
        }
    }
}

/// Rules in a model's numbers.
#[derive(Debug)]
pub(super) struct Resolved {
    caps: Vec<(Kinds, usize)>,
    fresh: BTreeSet<u32>,
}

impl Resolved {
    pub fn order(&self, pool: &[Scored], k: usize) -> Vec<Scored> {
        let mut counts: Vec<HashMap<u32, usize>> = vec![HashMap::new(); self.caps.len()];
        let is_fresh = |s: &&Scored| self.fresh.contains(&s.index);
        let fresh = pool.iter().filter(is_fresh);
        let others = pool.iter().filter(|s| !is_fresh(s));
        let mut list = Vec::new();
        for item in fresh.chain(others) {
            if list.len() == k {
                break;
            }
            let room = self.caps.iter().zip(&counts).all(|((kinds, most), n)| {
                let groups = kinds.of(item.index).iter();
                groups
                    .copied()
                    .all(|(g, _)| n.get(&g).copied().unwrap_or(0) < *most)
            });
            if room {
                for ((kinds, _), n) in self.caps.iter().zip(&mut counts) {
                    for (group, _) in kinds.of(item.index) {
                        *n.entry(*group).or_default() += 1;
                    }
                }
                list.push(*item);
            }
        }
        list
    }
}
