use std::any::Any;
use std::path::Path;

use rayon::prelude::*;
use refrain_core::kernels::{Scored, TopK};
use refrain_core::{IdMap, ModelWriter};
use refrain_data::{Interactions, ItemFeatures};

use crate::{Contribution, Error, Explanation, Memory, Query, RatingPredictor, Result, Who};

/// An item and its score.
#[derive(Debug, Clone, PartialEq)]
pub struct Recommendation {
    /// The item's id.
    pub item: String,
    /// Its score; what it means is said by the model that gave it.
    pub score: f32,
}

/// A user and how similar they are to another.
#[derive(Debug, Clone, PartialEq)]
pub struct SimilarUser {
    /// The user's id.
    pub user: String,
    /// The similarity, in the model's own terms.
    pub score: f32,
}

/// What a change left behind: how near a model is to one fitted anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The model is what `fit` on the events that are left, or are there now, gives (but for
    /// rounding).
    Exact,
    /// The model is near that, and drifts with many changes: fit it again from time to time. What was
    /// forgotten may still show in what was learned from it.
    Approximate,
}

/// A fitted recommender.
///
/// Callers use the methods in ids ([`recommend`](Self::recommend) and below). A new model
/// implements the seven methods without a body, in dense numbers, and gets the rest; its tests get the
/// conformance suite with one line.
///
/// Dense numbers are places in [`users`](Self::users) and [`items`](Self::items). Scores are
/// finite, higher is better, and equal scores go to the lower item number.
pub trait Recommender: Any + Send + Sync {
    /// What the model is called, for tables and explanations.
    fn name(&self) -> String;

    /// Ids and histories.
    fn memory(&self) -> &Memory;

    /// Scores all items for a user; `out` has one place per item.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown user, [`Error::Length`] for a wrong slice.
    fn score(&self, user: u32, out: &mut [f32]) -> Result<()>;

    /// Scores all items for anyone with this history, who need not have been there at `fit`.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown item, [`Error::Weight`] for a weight that is not finite,
    /// [`Error::Length`] for a wrong slice.
    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()>;

    /// How similar each item is to `item`, in the model's own terms; 0 where nothing is known.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown item, [`Error::Length`] for a wrong slice,
    /// [`Error::Unsupported`] where the model has no notion of it.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()>;

    /// The parts that add up to the score of `item`.
    ///
    /// # Errors
    /// As [`score`](Self::score) and [`score_history`](Self::score_history).
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>>;

    /// The model as a file that [`load`](crate::load) reads back to the same bits.
    ///
    /// # Errors
    /// [`Error::Core`].
    fn to_file(&self) -> Result<ModelWriter<'_>>;

    /// The best items for each of many users: pairs of number and score, sorted.
    ///
    /// Provided by scoring users in parallel; models with a faster way (a blocked matrix product)
    /// replace it.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        let mask = query.mask(self.items());
        users
            .par_iter()
            .map_init(
                || vec![0.0; self.items().len()],
                |scores, &user| {
                    self.score(user, scores)?;
                    Ok(pick(scores, self.history(user).0, mask.as_deref(), query))
                },
            )
            .collect()
    }

    /// The model as a predictor of ratings, where it is one: so that a loaded model can be asked.
    fn ratings(&self) -> Option<&dyn RatingPredictor> {
        None
    }

    /// The best items for anyone with this history, as [`top`](Self::top).
    ///
    /// # Errors
    /// As [`score_history`](Self::score_history).
    fn top_for(&self, history: &[(u32, f32)], query: &Query) -> Result<Vec<Scored>> {
        let mut scores = vec![0.0; self.items().len()];
        self.score_history(history, &mut scores)?;
        let (seen, _) = self.memory().tidy(history)?;
        let mask = query.mask(self.items());
        Ok(pick(&scores, &seen, mask.as_deref(), query))
    }

    /// The users' ids.
    fn users(&self) -> &IdMap {
        self.memory().users()
    }

    /// The items' ids.
    fn items(&self) -> &IdMap {
        self.memory().items()
    }

    /// The items a user had, ascending, and their weights; empty for an unknown user.
    fn history(&self, user: u32) -> (&[u32], &[f32]) {
        self.memory().history(user)
    }

    /// The best `k` items that `user` has not had yet.
    ///
    /// # Errors
    /// [`Error::UnknownUser`].
    fn recommend(&self, user: &str, k: usize) -> Result<Vec<Recommendation>> {
        self.recommend_where(user, &Query::top(k))
    }

    /// The best items for `user` among those that `query` lets through.
    ///
    /// # Errors
    /// [`Error::UnknownUser`].
    fn recommend_where(&self, user: &str, query: &Query) -> Result<Vec<Recommendation>> {
        let user = self.memory().user(user)?;
        let best = self.top(&[user], query)?.pop().unwrap_or_default();
        Ok(named(self.items(), best))
    }

    /// The best `k` items for each of `users`, in their order, computed in parallel.
    ///
    /// # Errors
    /// [`Error::UnknownUser`] for the first unknown one.
    fn recommend_batch(&self, users: &[&str], k: usize) -> Result<Vec<Vec<Recommendation>>> {
        self.recommend_batch_where(users, &Query::top(k))
    }

    /// The best items for each of `users` among those that `query` lets through.
    ///
    /// # Errors
    /// [`Error::UnknownUser`] for the first unknown one.
    fn recommend_batch_where(
        &self,
        users: &[&str],
        query: &Query,
    ) -> Result<Vec<Vec<Recommendation>>> {
        let users = users
            .iter()
            .map(|id| self.memory().user(id))
            .collect::<Result<Vec<u32>>>()?;
        let best = self.top(&users, query)?;
        Ok(best
            .into_iter()
            .map(|list| named(self.items(), list))
            .collect())
    }

    /// The best `k` items for someone the model has never seen, from items and weights.
    ///
    /// # Errors
    /// [`Error::UnknownItem`], [`Error::Weight`].
    fn recommend_for(&self, history: &[(&str, f32)], k: usize) -> Result<Vec<Recommendation>> {
        self.recommend_for_where(history, &Query::top(k))
    }

    /// The best items for someone the model has never seen, among those that `query` lets through.
    ///
    /// # Errors
    /// [`Error::UnknownItem`], [`Error::Weight`].
    fn recommend_for_where(
        &self,
        history: &[(&str, f32)],
        query: &Query,
    ) -> Result<Vec<Recommendation>> {
        let history = numbered(self.memory(), history)?;
        Ok(named(self.items(), self.top_for(&history, query)?))
    }

    /// The `k` items most similar to `item`, which is not among them. Fewer come back where the model
    /// knows fewer: items of similarity 0 are left out.
    ///
    /// # Errors
    /// [`Error::UnknownItem`], [`Error::Unsupported`].
    fn similar_items(&self, item: &str, k: usize) -> Result<Vec<Recommendation>> {
        let item = self.memory().item(item)?;
        let mut scores = vec![0.0; self.items().len()];
        self.similarity(item, &mut scores)?;
        leave_out_zeros(&mut scores);
        Ok(named(
            self.items(),
            pick(&scores, &[item], None, &Query::top(k)),
        ))
    }

    /// How similar each user is to `user`, in the model's own terms, within [−1, 1]; 0 where nothing
    /// is known. By default the cosine of their histories. `out` has one place per user.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown user, [`Error::Length`] for a wrong slice.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory().user_similarity(user, out)
    }

    /// The `k` users most similar to `user`, who is not among them. Fewer come back where the model
    /// knows fewer: users of similarity 0 are left out.
    ///
    /// # Errors
    /// [`Error::UnknownUser`].
    fn similar_users(&self, user: &str, k: usize) -> Result<Vec<SimilarUser>> {
        let user = self.memory().user(user)?;
        let mut scores = vec![0.0; self.users().len()];
        self.user_similarity(user, &mut scores)?;
        leave_out_zeros(&mut scores);
        let best = pick(&scores, &[user], None, &Query::top(k));
        let known = |s: Scored| {
            Some(SimilarUser {
                user: self.users().name(s.index)?.to_string(),
                score: s.score,
            })
        };
        Ok(best.into_iter().filter_map(known).collect())
    }

    /// Why `user` would get `item`: the score and what it is made of.
    ///
    /// # Errors
    /// [`Error::UnknownUser`], [`Error::UnknownItem`].
    fn explain(&self, user: &str, item: &str) -> Result<Explanation> {
        let (user, item) = (self.memory().user(user)?, self.memory().item(item)?);
        let mut scores = vec![0.0; self.items().len()];
        self.score(user, &mut scores)?;
        explanation(
            self.memory(),
            item,
            &scores,
            self.contributions(Who::User(user), item)?,
        )
    }

    /// Why someone with this history would get `item`.
    ///
    /// # Errors
    /// [`Error::UnknownItem`], [`Error::Weight`].
    fn explain_for(&self, history: &[(&str, f32)], item: &str) -> Result<Explanation> {
        let item = self.memory().item(item)?;
        let history = numbered(self.memory(), history)?;
        let mut scores = vec![0.0; self.items().len()];
        self.score_history(&history, &mut scores)?;
        let parts = self.contributions(Who::History(&history), item)?;
        explanation(self.memory(), item, &scores, parts)
    }

    /// Learns from new events, of new users and items too. What it costs stands on the model's page: a
    /// step for factors, up to a fit for neighbourhoods.
    ///
    /// Says whether the model is now what `fit` on all events would give. After an error the model
    /// is as before.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the model has to be fitted again, [`Error::Data`].
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let _ = events;
        Err(self.unsupported("learn from new events: fit it again"))
    }

    /// Adds the items that are not there yet, from their features; they are recommended from now on, to
    /// whom the model thinks them fit. Nothing else changes. An item that came by an
    /// [`update`](Self::update) is there already, so features come first. Returns how many were new.
    ///
    /// A blend adds them to those of its members that can; the others take a new item for their average
    /// one.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where items are known by their events alone, or the model was fitted without
    /// features, [`Error::Interactions`] when the features lack a column that was there.
    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let _ = features;
        Err(self.unsupported("add items from features"))
    }

    /// Forgets a user: the id, the history and, as far as [`Change`] says, what was learned from it.
    ///
    /// # Errors
    /// [`Error::UnknownUser`], [`Error::Unsupported`] where the model has to be fitted again.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.memory().user(user)?;
        Err(self.unsupported("forget a user: fit it again"))
    }

    /// Forgets an item, which is never recommended again.
    ///
    /// # Errors
    /// [`Error::UnknownItem`], [`Error::Unsupported`] where the model has to be fitted again.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.memory().item(item)?;
        Err(self.unsupported("forget an item: fit it again"))
    }

    /// The error of a model that has no answer.
    #[doc(hidden)]
    fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported {
            model: self.name(),
            what,
        }
    }

    /// Writes the model to one file.
    ///
    /// # Errors
    /// [`Error::Core`] naming the path.
    fn save(&self, path: &Path) -> Result<()> {
        Ok(self.to_file()?.write(path)?)
    }
}

/// The best of `scores` but those in `seen` (ascending) and those the mask or the query leave out.
pub(crate) fn pick(
    scores: &[f32],
    seen: &[u32],
    mask: Option<&[bool]>,
    query: &Query,
) -> Vec<Scored> {
    let seen = if query.hides_seen() { seen } else { &[] };
    let mut best = TopK::new(query.k().min(scores.len()));
    let mut seen = seen.iter().copied().peekable();
    for (item, &score) in (0u32..).zip(scores) {
        if seen.next_if_eq(&item).is_some() {
            continue;
        }
        let allowed = mask.is_none_or(|m| m.get(item as usize).copied().unwrap_or(false));
        if allowed && score > query.threshold() {
            best.push(item, score);
        }
    }
    best.into_sorted()
}

/// What is not known to be similar is never picked.
fn leave_out_zeros(scores: &mut [f32]) {
    let zeros = scores.iter_mut().filter(|s| **s == 0.0);
    zeros.for_each(|s| *s = f32::NEG_INFINITY);
}

fn named(items: &IdMap, best: Vec<Scored>) -> Vec<Recommendation> {
    best.into_iter()
        .filter_map(|Scored { index, score }| {
            Some(Recommendation {
                item: items.name(index)?.to_string(),
                score,
            })
        })
        .collect()
}

fn numbered(memory: &Memory, history: &[(&str, f32)]) -> Result<Vec<(u32, f32)>> {
    history
        .iter()
        .map(|&(id, weight)| Ok((memory.item(id)?, weight)))
        .collect()
}

fn explanation(
    memory: &Memory,
    item: u32,
    scores: &[f32],
    parts: Vec<Contribution>,
) -> Result<Explanation> {
    let score = scores.get(item as usize).copied().ok_or(Error::Index {
        what: "item",
        index: item,
        count: scores.len(),
    })?;
    Ok(Explanation::new(memory.item_name(item), score, parts))
}
