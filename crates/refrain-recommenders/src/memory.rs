//! What every fitted recommender remembers: the ids, and who had what.
//!
//! It lets a model answer in the user's own ids, hide what was already seen, and explain itself,
//! without the log it was fitted on. Clones share one copy.

use std::sync::Arc;

use refrain_core::{IdMap, ModelFile, ModelWriter, kernels};
use refrain_data::Interactions;

use crate::{Error, Result, Who};

/// Ids and histories, shared by the clones of a fitted model and by the members of a blend.
///
/// Costs 8 bytes an event plus the ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Memory(Arc<Inner>);

#[derive(Debug, PartialEq)]
struct Inner {
    users: Arc<IdMap>,
    items: Arc<IdMap>,
    /// Where each user's events end in `history` and `weights`.
    ends: Vec<u64>,
    history: Vec<u32>,
    weights: Vec<f32>,
}

impl Memory {
    /// Remembers `log`.
    pub fn new(log: &Interactions) -> Self {
        let mut ends = Vec::with_capacity(log.n_users());
        let mut history = Vec::with_capacity(log.len());
        let mut weights = Vec::with_capacity(log.len());
        for user in 0..log.n_users() {
            let (items, values) = log.user_items(user as u32);
            history.extend_from_slice(items);
            weights.extend_from_slice(values);
            ends.push(history.len() as u64);
        }
        let (users, items) = (log.shared_users(), log.shared_items());
        Self(Arc::new(Inner {
            users,
            items,
            ends,
            history,
            weights,
        }))
    }

    /// The users' ids.
    pub fn users(&self) -> &IdMap {
        &self.0.users
    }

    /// The items' ids.
    pub fn items(&self) -> &IdMap {
        &self.0.items
    }

    /// How many users there are.
    pub fn n_users(&self) -> usize {
        self.0.users.len()
    }

    /// How many items there are.
    pub fn n_items(&self) -> usize {
        self.0.items.len()
    }

    /// How many events there are.
    pub fn n_events(&self) -> usize {
        self.0.history.len()
    }

    /// The items a user had, ascending, and their weights; empty for an unknown user.
    pub fn history(&self, user: u32) -> (&[u32], &[f32]) {
        let user = user as usize;
        let Some(&end) = self.0.ends.get(user) else {
            return (&[], &[]);
        };
        let start = user
            .checked_sub(1)
            .and_then(|u| self.0.ends.get(u))
            .map_or(0, |&e| e as usize);
        let range = start..end as usize;
        (
            self.0.history.get(range.clone()).unwrap_or_default(),
            self.0.weights.get(range).unwrap_or_default(),
        )
    }

    /// The cosine of each user's history with `user`'s, as vectors of weights over the items; 0 for
    /// those who have nothing. Costs one pass over the events. `out` has one place per user.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown user, [`Error::Length`] for a wrong slice.
    pub fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.check_user(user)?;
        self.check_user_scores(out)?;
        let mut own = vec![0.0; self.n_items()];
        let (items, weights) = self.history(user);
        for (&item, &weight) in items.iter().zip(weights) {
            if let Some(own) = own.get_mut(item as usize) {
                *own = weight;
            }
        }
        let length = kernels::norm(weights);
        for (other, cosine) in (0..).zip(out) {
            let (items, weights) = self.history(other);
            let shared = items.iter().zip(weights).map(|(&item, weight)| {
                own.get(item as usize).copied().unwrap_or_default() * weight
            });
            let lengths = length * kernels::norm(weights);
            *cosine = match lengths > 0.0 {
                true => shared.sum::<f32>() / lengths,
                false => 0.0,
            };
        }
        Ok(())
    }

    /// Refuses a user number that is out of range.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn check_user(&self, user: u32) -> Result<()> {
        check("user", user, self.n_users())
    }

    /// Refuses an item number that is out of range.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn check_item(&self, item: u32) -> Result<()> {
        check("item", item, self.n_items())
    }

    /// Refuses a slice for scores that does not have one place per item.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn check_scores(&self, out: &[f32]) -> Result<()> {
        check_length("the slice for scores", self.n_items(), out)
    }

    /// Refuses a slice that does not have one place per user.
    ///
    /// # Errors
    /// [`Error::Length`].
    pub fn check_user_scores(&self, out: &[f32]) -> Result<()> {
        check_length("the slice for users", self.n_users(), out)
    }

    /// A history as models want it: known items only, ascending, duplicates summed.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown item, [`Error::Weight`] for a weight that is not finite.
    pub fn tidy(&self, history: &[(u32, f32)]) -> Result<(Vec<u32>, Vec<f32>)> {
        self.tidy_by(history, ADD)
    }

    /// As [`tidy`](Self::tidy), for ratings: of an item's duplicates the last one counts.
    ///
    /// # Errors
    /// As [`tidy`](Self::tidy).
    pub fn tidy_ratings(&self, history: &[(u32, f32)]) -> Result<(Vec<u32>, Vec<f32>)> {
        self.tidy_by(history, REPLACE)
    }

    fn tidy_by(&self, history: &[(u32, f32)], again: Again) -> Result<(Vec<u32>, Vec<f32>)> {
        let check = |&(item, weight): &(u32, f32)| {
            self.check_item(item)?;
            match weight.is_finite() {
                true => Ok(()),
                false => Err(Error::Weight {
                    item: self.item_name(item),
                    weight,
                }),
            }
        };
        history.iter().try_for_each(check)?;
        let mut sorted = history.to_vec();
        merge(&mut sorted, again);
        sorted.iter().try_for_each(check)?;
        Ok(sorted.into_iter().unzip())
    }

    /// The history of a user or of someone else, tidy, with its items and weights apart.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown user or item, [`Error::Weight`].
    pub fn history_of(&self, who: Who<'_>) -> Result<(Vec<u32>, Vec<f32>)> {
        match who {
            Who::User(user) => {
                self.check_user(user)?;
                let (items, weights) = self.history(user);
                Ok((items.to_vec(), weights.to_vec()))
            }
            Who::History(history) => self.tidy(history),
        }
    }

    /// As [`history_of`](Self::history_of), for ratings: of an item's duplicates the last one counts.
    ///
    /// # Errors
    /// As [`history_of`](Self::history_of).
    pub fn ratings_of(&self, who: Who<'_>) -> Result<(Vec<u32>, Vec<f32>)> {
        match who {
            Who::User(_) => self.history_of(who),
            Who::History(history) => self.tidy_ratings(history),
        }
    }

    /// The number of a user's id.
    ///
    /// # Errors
    /// [`Error::UnknownUser`].
    pub fn user(&self, id: &str) -> Result<u32> {
        self.users()
            .get(id)
            .ok_or_else(|| Error::UnknownUser { id: id.to_string() })
    }

    /// The number of an item's id.
    ///
    /// # Errors
    /// [`Error::UnknownItem`].
    pub fn item(&self, id: &str) -> Result<u32> {
        self.items()
            .get(id)
            .ok_or_else(|| Error::UnknownItem { id: id.to_string() })
    }

    /// The id of an item, or its number in digits when it has none.
    pub fn item_name(&self, item: u32) -> String {
        self.items()
            .name(item)
            .map_or_else(|| format!("#{item}"), str::to_string)
    }

    /// The id of a user, or its number in digits when it has none.
    pub fn user_name(&self, user: u32) -> String {
        self.users()
            .name(user)
            .map_or_else(|| format!("#{user}"), str::to_string)
    }

    /// With these users and items too, of whom there are no events.
    pub(crate) fn with_ids(&self, users: IdMap, items: IdMap) -> Result<Self> {
        let ids = Interactions::builder().ids(Arc::new(users), Arc::new(items));
        self.extended(&ids.build()?)
    }

    /// With these events too: new ids get the next numbers, the weights of a pair that was there add
    /// up.
    ///
    /// # Errors
    /// [`Error::Core`] for too many ids, [`Error::Weight`] for a sum that is not finite.
    pub fn extended(&self, log: &Interactions) -> Result<Self> {
        self.extended_by(log, ADD)
    }

    /// With these ratings too: as [`extended`](Self::extended), but the rating of a pair that was there
    /// takes the place of the old one.
    ///
    /// # Errors
    /// As [`extended`](Self::extended).
    pub fn rated_again(&self, log: &Interactions) -> Result<Self> {
        self.extended_by(log, REPLACE)
    }

    fn extended_by(&self, log: &Interactions, again: Again) -> Result<Self> {
        let (mut users, mut items) = (self.users().clone(), self.items().clone());
        let numbers = |ids: &mut IdMap, new: &IdMap| -> Result<Vec<u32>> {
            Ok(new
                .iter()
                .map(|id| ids.insert(id))
                .collect::<Result<_, _>>()?)
        };
        let user_numbers = numbers(&mut users, log.users())?;
        let item_numbers = numbers(&mut items, log.items())?;
        let mut new: Vec<Vec<(u32, f32)>> = vec![Vec::new(); users.len()];
        for event in log.iter() {
            let user = user_numbers.get(event.user as usize);
            let item = item_numbers.get(event.item as usize);
            if let (Some(&user), Some(&item)) = (user, item)
                && let Some(row) = new.get_mut(user as usize)
            {
                row.push((item, event.weight));
            }
        }
        let mut rows = Rows::with_capacity(self.n_events() + log.len());
        for (user, more) in (0u32..).zip(&mut new) {
            let (items, weights) = self.history(user);
            let mut row: Vec<(u32, f32)> =
                items.iter().copied().zip(weights.iter().copied()).collect();
            if !more.is_empty() {
                row.append(more);
                merge(&mut row, again);
            }
            rows.push(row.into_iter());
        }
        if let Some(at) = rows.weights.iter().position(|w| !w.is_finite()) {
            let item = rows.history.get(at).copied().unwrap_or_default();
            return Err(Error::Weight {
                item: items.name(item).unwrap_or_default().to_string(),
                weight: rows.weights.get(at).copied().unwrap_or_default(),
            });
        }
        Ok(rows.into_memory(users, items))
    }

    /// Without a user: their id and history are gone and users behind them move up by one.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn without_user(&self, user: u32) -> Result<Self> {
        self.check_user(user)?;
        let users = without(self.users(), user)?;
        let mut rows = Rows::with_capacity(self.n_events());
        for other in (0..self.n_users() as u32).filter(|&other| other != user) {
            let (items, weights) = self.history(other);
            rows.push(items.iter().copied().zip(weights.iter().copied()));
        }
        Ok(rows.into_memory(users, self.items().clone()))
    }

    /// Without an item: its id and events are gone and items behind it move up by one.
    ///
    /// # Errors
    /// [`Error::Index`].
    pub fn without_item(&self, item: u32) -> Result<Self> {
        self.check_item(item)?;
        let items = without(self.items(), item)?;
        let mut rows = Rows::with_capacity(self.n_events());
        for user in 0..self.n_users() as u32 {
            let (had, weights) = self.history(user);
            let kept = had.iter().copied().zip(weights.iter().copied());
            let kept = kept.filter(|&(had, _)| had != item);
            rows.push(kept.map(|(had, weight)| (had - u32::from(had > item), weight)));
        }
        Ok(rows.into_memory(self.users().clone(), items))
    }

    /// The remembered events as a log, with the same numbers; times are not remembered.
    ///
    /// # Errors
    /// [`Error::Interactions`] for a log that the data crate refuses.
    pub fn to_log(&self) -> Result<Interactions> {
        let mut builder =
            Interactions::builder().ids(Arc::clone(&self.0.users), Arc::clone(&self.0.items));
        for user in 0..self.n_users() as u32 {
            let (items, weights) = self.history(user);
            for (&item, &weight) in items.iter().zip(weights) {
                builder.push_event(refrain_data::Event {
                    user,
                    item,
                    weight,
                    time: None,
                })?;
            }
        }
        Ok(builder.build()?)
    }

    /// Adds ids and histories to a model file.
    ///
    /// # Errors
    /// [`Error::Core`] when a tensor of that name is there already.
    pub fn write<'a>(&'a self, writer: ModelWriter<'a>) -> Result<ModelWriter<'a>> {
        let n = self.n_events();
        Ok(writer
            .ids("users", self.users())?
            .ids("items", self.items())?
            .u64("history.ends", &[self.n_users()], &self.0.ends)?
            .u32("history.items", &[n], &self.0.history)?
            .f32("history.weights", &[n], &self.0.weights)?)
    }

    /// Reads ids and histories from a model file, checking each number.
    ///
    /// # Errors
    /// [`Error::Core`] naming what does not fit.
    pub fn read(file: &ModelFile) -> Result<Self> {
        let (users, items) = (file.ids("users")?, file.ids("items")?);
        let ends = file.u64("history.ends")?.data.into_owned();
        let history = file.u32("history.items")?.data.into_owned();
        let weights = file.f32("history.weights")?.data.into_owned();
        let broken = |reason: &str| refrain_core::Error::ModelFile {
            origin: file.origin().to_string(),
            reason: format!("history: {reason}"),
        };
        if ends.len() != users.len() {
            return Err(broken("it does not have one entry per user").into());
        }
        if history.len() != weights.len() || ends.last().map_or(0, |&e| e) != history.len() as u64 {
            return Err(broken("its tensors do not have the same length").into());
        }
        let mut start = 0usize;
        for &end in &ends {
            let events = usize::try_from(end)
                .ok()
                .and_then(|end| history.get(start..end));
            let events = events.ok_or_else(|| broken("its ends are not ascending"))?;
            let ascending = events.windows(2).all(|pair| pair.first() < pair.last());
            let known = events
                .last()
                .is_none_or(|&item| (item as usize) < items.len());
            if !ascending || !known {
                return Err(broken("its items are not ascending or not known").into());
            }
            start += events.len();
        }
        if weights.iter().any(|w| !w.is_finite()) {
            return Err(broken("a weight is not a finite number").into());
        }
        let (users, items) = (Arc::new(users), Arc::new(items));
        Ok(Self(Arc::new(Inner {
            users,
            items,
            ends,
            history,
            weights,
        })))
    }

    /// Refuses two memories whose numbers do not mean the same.
    pub(crate) fn same_ids(&self, log: &Interactions, left: &str, right: &str) -> Result<()> {
        let same = |a: &Arc<IdMap>, b: &Arc<IdMap>| Arc::ptr_eq(a, b) || a == b;
        let what = match () {
            () if !same(&self.0.users, &log.shared_users()) => "users",
            () if !same(&self.0.items, &log.shared_items()) => "items",
            () => return Ok(()),
        };
        Err(Error::Mismatch {
            left: left.to_string(),
            right: right.to_string(),
            what,
        })
    }
}

/// The weight of an item that comes again, from what it was and what it is now.
type Again = fn(f32, f32) -> f32;
const ADD: Again = |old, new| old + new;
const REPLACE: Again = |_, new| new;

/// Makes items ascend and each come once; those that come again do so in their order.
fn merge(events: &mut Vec<(u32, f32)>, again: Again) {
    events.sort_by_key(|&(item, _)| item);
    events.dedup_by(|new, old| {
        let same = new.0 == old.0;
        if same {
            old.1 = again(old.1, new.1);
        }
        same
    });
}

/// A tensor of a model file whose values are all finite.
pub(crate) fn finite(file: &ModelFile, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
    let values = file.f32(name)?.expect_shape(name, shape)?.data.into_owned();
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(values),
        false => Err(refrain_core::Error::ModelFile {
            origin: file.origin().to_string(),
            reason: format!("{name} has a value that is not finite"),
        }
        .into()),
    }
}

/// Histories as they are gathered.
struct Rows {
    ends: Vec<u64>,
    history: Vec<u32>,
    weights: Vec<f32>,
}

impl Rows {
    fn with_capacity(events: usize) -> Self {
        Self {
            ends: Vec::new(),
            history: Vec::with_capacity(events),
            weights: Vec::with_capacity(events),
        }
    }

    /// Adds a user's events, their items ascending.
    fn push(&mut self, events: impl Iterator<Item = (u32, f32)>) {
        for (item, weight) in events {
            self.history.push(item);
            self.weights.push(weight);
        }
        self.ends.push(self.history.len() as u64);
    }

    fn into_memory(self, users: IdMap, items: IdMap) -> Memory {
        Memory(Arc::new(Inner {
            users: Arc::new(users),
            items: Arc::new(items),
            ends: self.ends,
            history: self.history,
            weights: self.weights,
        }))
    }
}

fn without(ids: &IdMap, index: u32) -> Result<IdMap> {
    let kept = (0u32..).zip(ids.iter()).filter(|&(at, _)| at != index);
    Ok(IdMap::from_ids(kept.map(|(_, id)| id))?)
}

fn check_length(what: &'static str, expected: usize, out: &[f32]) -> Result<()> {
    match out.len() == expected {
        true => Ok(()),
        false => Err(Error::Length {
            what: what.to_string(),
            expected,
            found: out.len(),
        }),
    }
}

fn check(what: &'static str, index: u32, count: usize) -> Result<()> {
    match (index as usize) < count {
        true => Ok(()),
        false => Err(Error::Index { what, index, count }),
    }
}

#[cfg(test)]
mod tests;
