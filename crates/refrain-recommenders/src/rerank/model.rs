use std::sync::Arc;

use rayon::prelude::*;
use refrain_core::kernels::Scored;
use refrain_core::{ModelFile, ModelWriter};
use refrain_data::{Interactions, ItemFeatures};
use serde::{Deserialize, Serialize};

use super::groups::Kinds;
use super::rules::Resolved;
use super::{Alike, Rerank, share};
use crate::load::{duplicate, nested};
use crate::{Change, Contribution, Memory, Query, Recommender, Result, Who};

const KIND: &str = "recommenders.reranked";

/// Candidates held at once, over all users of a batch.
const AT_ONCE: usize = 4_000_000;

/// A model whose lists are put in another order; see [`Rerank`] for the ways.
///
/// ```
/// # use std::sync::Arc;
/// # use refrain_recommenders::*;
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let model: Arc<dyn Recommender> = Arc::new(ItemKnn::default().fit(&log)?);
/// let diverse = Reranked::new(model.clone(), Mmr { lambda: 0.5, ..Mmr::default() })?;
/// assert_eq!(diverse.recommend("7", 5)?.len(), 5);
/// let little_known = Reranked::new(model, Debias::default())?;
/// assert_eq!(little_known.explain("7", "3")?.reasons, diverse.explain("7", "3")?.reasons);
/// # Ok::<(), Error>(())
/// ```
pub struct Reranked {
    model: Arc<dyn Recommender>,
    how: Rerank,
    pool: usize,
    /// How many users had each item.
    users: Vec<u32>,
    kinds: Option<Kinds>,
    rules: Option<Resolved>,
}

#[derive(Serialize, Deserialize)]
struct Header {
    how: Rerank,
    pool: u64,
}

impl std::fmt::Debug for Reranked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reranked")
            .field("model", &self.model.name())
            .field("how", &self.how)
            .field("pool", &self.pool)
            .finish()
    }
}

impl Reranked {
    /// Wraps a model. The pool is its best 100 items, and everything for [`Explore`](super::Explore).
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for settings out of range, [`Error::Unsupported`](crate::Error::Unsupported) for
    /// [`Mmr`](super::Mmr) by the similarity of a model that cannot compare items.
    pub fn new(model: Arc<dyn Recommender>, how: impl Into<Rerank>) -> Result<Self> {
        let how = how.into();
        let pool = match how {
            Rerank::Explore(_) => usize::MAX,
            _ => 100,
        };
        Self::of(model, how, pool)
    }

    /// Chooses from the best `items` instead; never fewer than a list is long.
    #[must_use]
    pub fn pool(mut self, items: usize) -> Self {
        self.pool = items;
        self
    }

    /// The model beneath.
    pub fn model(&self) -> &dyn Recommender {
        &*self.model
    }

    /// How it is re-ranked.
    pub fn how(&self) -> &Rerank {
        &self.how
    }

    fn of(model: Arc<dyn Recommender>, how: Rerank, pool: usize) -> Result<Self> {
        let items = model.items();
        let (mut kinds, mut rules) = (None, None);
        match &how {
            Rerank::Mmr(mmr) => {
                share("MMR", "lambda", mmr.lambda)?;
                match &mmr.alike {
                    Alike::Groups(groups) => kinds = Some(groups.resolve(items)),
                    Alike::Model if !items.is_empty() => {
                        model.similarity(0, &mut vec![0.0; items.len()])?;
                    }
                    Alike::Model => {}
                }
            }
            Rerank::Debias(debias) => share("debias", "strength", debias.strength)?,
            Rerank::Calibrate(calibrate) => {
                share("calibrate", "lambda", calibrate.lambda)?;
                kinds = Some(calibrate.groups.resolve(items));
            }
            Rerank::Rules(found) => {
                found.check()?;
                rules = Some(found.resolve(items));
            }
            Rerank::Explore(explore) => explore.check()?,
        }
        let mut users = vec![0u32; items.len()];
        for user in 0..model.users().len() as u32 {
            for &item in model.history(user).0 {
                if let Some(count) = users.get_mut(item as usize) {
                    *count += 1;
                }
            }
        }
        Ok(Self {
            model,
            how,
            pool,
            users,
            kinds,
            rules,
        })
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let header: Header = file.config()?;
        let pool = usize::try_from(header.pool).unwrap_or(usize::MAX);
        let model = nested(file, "model")?.into();
        Ok(Box::new(Self::of(model, header.how, pool)?))
    }

    /// Lists for several people, whose candidates `propose` finds: for the given places a pool each,
    /// of a given size.
    fn lists(
        &self,
        people: &[Who<'_>],
        query: &Query,
        propose: impl Fn(&[usize], &Query) -> Result<Vec<Vec<Scored>>>,
    ) -> Result<Vec<Vec<Scored>>> {
        let n = self.items().len();
        let asked = match &self.how {
            Rerank::Rules(rules) => rules.narrow(query),
            _ => query.clone(),
        };
        let mut lists = vec![Vec::new(); people.len()];
        let mut open: Vec<usize> = (0..people.len()).collect();
        let mut size = self.pool.max(query.k()).min(n);
        while !open.is_empty() {
            let asked = asked.clone().and_top(size);
            let mut short = Vec::new();
            for part in open.chunks((AT_ONCE / size.max(1)).max(1)) {
                let pools = propose(part, &asked)?;
                let found: Vec<(usize, usize, Vec<Scored>)> = part
                    .par_iter()
                    .zip(&pools)
                    .filter_map(|(&at, pool)| Some((at, *people.get(at)?, pool)))
                    .map(|(at, who, pool)| Ok((at, pool.len(), self.order(who, pool, query.k())?)))
                    .collect::<Result<_>>()?;
                for (at, proposed, list) in found {
                    // With a larger pool there might be more.
                    if list.len() < query.k() && proposed == size && size < n {
                        short.push(at);
                    }
                    if let Some(place) = lists.get_mut(at) {
                        *place = list;
                    }
                }
            }
            open = short;
            size = size.saturating_mul(4).min(n);
        }
        Ok(lists)
    }

    fn order(&self, who: Who<'_>, pool: &[Scored], k: usize) -> Result<Vec<Scored>> {
        Ok(match &self.how {
            Rerank::Mmr(mmr) => mmr.order(&*self.model, self.kinds.as_ref(), pool, k)?,
            Rerank::Debias(debias) => debias.order(&self.users, pool, k),
            Rerank::Calibrate(calibrate) => match &self.kinds {
                Some(kinds) => {
                    let (items, weights) = self.memory().history_of(who)?;
                    calibrate.order(kinds, (&items, &weights), pool, k)
                }
                None => pool.iter().take(k).copied().collect(),
            },
            Rerank::Rules(_) => match &self.rules {
                Some(rules) => rules.order(pool, k),
                None => pool.iter().take(k).copied().collect(),
            },
            Rerank::Explore(explore) => explore.order(person(who), &self.users, pool, k),
        })
    }

    /// Changes the model beneath and takes it in.
    fn change(
        &mut self,
        change: impl Fn(&mut dyn Recommender) -> Result<Change>,
    ) -> Result<Change> {
        let mut model: Arc<dyn Recommender> = duplicate(&*self.model)?.into();
        let changed = match Arc::get_mut(&mut model) {
            Some(model) => change(model)?,
            None => return Err(self.unsupported("change a shared model")),
        };
        *self = Self::of(model, self.how.clone(), self.pool)?;
        Ok(changed)
    }
}

/// A number by which people are told apart.
fn person(who: Who<'_>) -> u64 {
    match who {
        Who::User(user) => user.into(),
        Who::History(history) => {
            // FNV-1a, above the numbers of users; the order of a history does not matter.
            let mut items: Vec<u32> = history.iter().map(|h| h.0).collect();
            items.sort_unstable();
            let hash = items.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, item| {
                (hash ^ u64::from(*item)).wrapping_mul(0x100_0000_01b3)
            });
            hash | 1 << 63
        }
    }
}

impl Recommender for Reranked {
    fn name(&self) -> String {
        let how = match self.how {
            Rerank::Mmr(_) => "MMR",
            Rerank::Debias(_) => "debiased",
            Rerank::Calibrate(_) => "calibrated",
            Rerank::Rules(_) => "by rules",
            Rerank::Explore(_) => "exploring",
        };
        format!("{}, {how}", self.model.name())
    }

    fn memory(&self) -> &Memory {
        self.model.memory()
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.model.score(user, out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.model.score_history(history, out)
    }

    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.model.similarity(item, out)
    }

    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.model.user_similarity(user, out)
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.model.contributions(who, item)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let header = Header {
            how: self.how.clone(),
            pool: self.pool as u64,
        };
        let bytes = self.model.to_file()?.to_bytes()?;
        Ok(ModelWriter::new(KIND, 1)
            .config(&header)?
            .u8("model", &[bytes.len()], bytes)?)
    }

    /// In the new order, with the model's scores.
    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        let people: Vec<Who<'_>> = users.iter().map(|&user| Who::User(user)).collect();
        self.lists(&people, query, |places, query| {
            let some = places.iter().filter_map(|&at| users.get(at).copied());
            self.model.top(&some.collect::<Vec<u32>>(), query)
        })
    }

    fn top_for(&self, history: &[(u32, f32)], query: &Query) -> Result<Vec<Scored>> {
        let lists = self.lists(&[Who::History(history)], query, |_, query| {
            Ok(vec![self.model.top_for(history, query)?])
        })?;
        Ok(lists.into_iter().next().unwrap_or_default())
    }

    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let mut model = duplicate(&*self.model)?;
        let added = model.add_items(features)?;
        *self = Self::of(model.into(), self.how.clone(), self.pool)?;
        Ok(added)
    }

    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.change(|model| model.update(events))
    }

    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.change(|model| model.forget_user(user))
    }

    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.change(|model| model.forget_item(item))
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, Reranked::read);
