//! From events to rows: the builder, the policy for duplicates, and one compacting pass.

use std::sync::Arc;

use refrain_core::{AsId, IdMap};

use super::sort::{Column, Slices};
use super::{Event, Interactions, matrix};
use crate::{Error, Result};

/// What becomes of several events of one user with one item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Duplicates {
    /// The weights are added, the latest time is kept. Right for plays and clicks. The sum does not
    /// depend on the order of the events: it is taken in `f64`, smallest weight first.
    #[default]
    Sum,
    /// The event with the latest time counts; at equal times, or without times, the one that came
    /// last. Right for ratings that were changed. Costs 4 bytes more per event while it builds.
    Last,
    /// The largest weight counts, with its time (the latest one, if it occurs twice).
    Max,
    /// [`Error::Duplicate`].
    Error,
}

/// Collects events and makes [`Interactions`] of them.
///
/// ```
/// use refrain_data::{Duplicates, Interactions};
/// let mut builder = Interactions::builder().duplicates(Duplicates::Last);
/// builder.push("alice", "Acacia", 3.0, Some(10))?;
/// builder.push("alice", "Acacia", 5.0, Some(20))?;
/// let log = builder.build()?;
/// assert_eq!(log.user_items(0).1, [5.0]);
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug)]
pub struct InteractionsBuilder {
    user_ids: Arc<IdMap>,
    item_ids: Arc<IdMap>,
    duplicates: Duplicates,
    users: Column<u32>,
    items: Column<u32>,
    weights: Column<f32>,
    times: Column<i64>,
    pushed: u64,
    timed: bool,
}

impl InteractionsBuilder {
    pub(super) fn new(user_ids: Arc<IdMap>, item_ids: Arc<IdMap>) -> Self {
        Self {
            user_ids,
            item_ids,
            duplicates: Duplicates::default(),
            users: Column::new(),
            items: Column::new(),
            weights: Column::new(),
            times: Column::new(),
            pushed: 0,
            timed: false,
        }
    }

    /// Sets the policy for duplicates; [`Duplicates::Sum`] unless told otherwise.
    #[must_use]
    pub fn duplicates(mut self, duplicates: Duplicates) -> Self {
        self.duplicates = duplicates;
        self
    }

    /// Starts from these id tables instead of empty ones, so that numbers agree with another log.
    /// Ids that they do not hold are added behind them.
    #[must_use]
    pub fn ids(mut self, users: Arc<IdMap>, items: Arc<IdMap>) -> Self {
        (self.user_ids, self.item_ids) = (users, items);
        self
    }

    /// How many events were pushed so far.
    pub fn len(&self) -> u64 {
        self.pushed
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// Adds one event. Its time is a number that grows, usually Unix seconds; either every event
    /// has one or none has.
    ///
    /// # Errors
    /// [`Error::Weight`] for NaN and infinity, [`Error::MixedTimes`], too many ids.
    pub fn push(
        &mut self,
        user: impl AsId,
        item: impl AsId,
        weight: f32,
        time: Option<i64>,
    ) -> Result<()> {
        self.check(weight, time)?;
        let (user, item) = (self.user(user)?, self.item(item)?);
        self.store(user, item, weight, time);
        Ok(())
    }

    /// The number of a user's id, new or known.
    pub(super) fn user(&mut self, id: impl AsId) -> Result<u32> {
        number(&mut self.user_ids, id)
    }

    /// The number of an item's id, new or known.
    pub(super) fn item(&mut self, id: impl AsId) -> Result<u32> {
        number(&mut self.item_ids, id)
    }

    /// Adds one event by the numbers of its user and item in the id tables.
    ///
    /// # Errors
    /// [`Error::Index`] for a number without an id; otherwise as [`push`](Self::push).
    pub fn push_event(&mut self, event: Event) -> Result<()> {
        self.check(event.weight, event.time)?;
        for (what, index, count) in [
            ("user", event.user, self.user_ids.len()),
            ("item", event.item, self.item_ids.len()),
        ] {
            if index as usize >= count {
                return Err(Error::Index {
                    event: self.pushed + 1,
                    what,
                    index,
                    count,
                });
            }
        }
        self.store(event.user, event.item, event.weight, event.time);
        Ok(())
    }

    fn check(&self, weight: f32, time: Option<i64>) -> Result<()> {
        let event = self.pushed + 1;
        if !weight.is_finite() {
            return Err(Error::Weight {
                event,
                value: weight,
            });
        }
        if self.pushed > 0 && time.is_some() != self.timed {
            return Err(Error::MixedTimes {
                event,
                has_time: time.is_some(),
            });
        }
        Ok(())
    }

    fn store(&mut self, user: u32, item: u32, weight: f32, time: Option<i64>) {
        self.users.push(user);
        self.items.push(item);
        self.weights.push(weight);
        if let Some(time) = time {
            self.timed = true;
            self.times.push(time);
        }
        self.pushed += 1;
    }

    /// Sorts the events into rows. No events make an empty log.
    ///
    /// # Errors
    /// [`Error::Duplicate`] under that policy; [`Error::Overflow`] when weights add up beyond `f32`.
    pub fn build(self) -> Result<Interactions> {
        let mut order = match self.duplicates {
            Duplicates::Last => {
                let last = u32::try_from(self.pushed).map_err(|_| Error::Config {
                    field: "duplicates",
                    value: format!("Last with {} events", self.pushed),
                    must: "another policy beyond 4294967295 events",
                })?;
                (0..last).collect()
            }
            _ => Vec::new(),
        };
        let mut rows = Rows {
            users: self.users.into_vec(),
            items: self.items.into_vec(),
            weights: self.weights.into_vec(),
            times: self.times.into_vec(),
        };
        Slices {
            users: &mut rows.users,
            items: &mut rows.items,
            weights: &mut rows.weights,
            times: &mut rows.times,
            order: &mut order,
        }
        .sort(self.user_ids.len(), self.item_ids.len());
        drop(order);
        rows.finish(self.user_ids, self.item_ids, self.duplicates, self.timed)
    }
}

fn number(ids: &mut Arc<IdMap>, id: impl AsId) -> Result<u32> {
    // A shared table is only copied when it has to grow.
    match Arc::get_mut(ids) {
        Some(ids) => Ok(ids.insert(id)?),
        None => match ids.get(&id) {
            Some(known) => Ok(known),
            None => Ok(Arc::make_mut(ids).insert(id)?),
        },
    }
}

/// Sorted events.
struct Rows {
    users: Vec<u32>,
    items: Vec<u32>,
    weights: Vec<f32>,
    times: Vec<i64>,
}

impl Rows {
    /// Merges duplicates in place, drops the user column and wraps what is left.
    fn finish(
        mut self,
        user_ids: Arc<IdMap>,
        item_ids: Arc<IdMap>,
        duplicates: Duplicates,
        timed: bool,
    ) -> Result<Interactions> {
        let n = self.users.len();
        let mut starts = vec![0usize; user_ids.len() + 1];
        let (mut from, mut to) = (0, 0);
        while from < n {
            let (user, item) = (self.users[from], self.items[from]);
            let mut end = from + 1;
            while end < n && self.users[end] == user && self.items[end] == item {
                end += 1;
            }
            let (weight, time) = match end - from {
                1 => (self.weights[from], self.times.get(from).copied()),
                _ => self.merge(from..end, duplicates).map_err(|problem| {
                    let name = |ids: &IdMap, i| ids.name(i).unwrap_or_default().to_owned();
                    let (user, item) = (name(&user_ids, user), name(&item_ids, item));
                    match problem {
                        Merge::Twice => Error::Duplicate { user, item },
                        Merge::Overflow(value) => Error::Overflow { user, item, value },
                    }
                })?,
            };
            self.items[to] = item;
            self.weights[to] = weight;
            if let (Some(slot), Some(time)) = (self.times.get_mut(to), time) {
                *slot = time;
            }
            starts[user as usize + 1] += 1;
            to += 1;
            from = end;
        }
        drop(std::mem::take(&mut self.users));
        for i in 1..starts.len() {
            starts[i] += starts[i - 1];
        }
        self.items.truncate(to);
        self.items.shrink_to_fit();
        self.weights.truncate(to);
        self.weights.shrink_to_fit();
        self.times.truncate(to);
        self.times.shrink_to_fit();
        let shape = (user_ids.len(), item_ids.len());
        let by_user = matrix(shape, starts, self.items, self.weights)?;
        Ok(Interactions::assemble(
            user_ids,
            item_ids,
            by_user,
            timed.then_some(self.times),
        ))
    }

    /// One weight and time for the equal pairs in `range`, sorted by time, arrival and weight.
    fn merge(
        &self,
        range: std::ops::Range<usize>,
        duplicates: Duplicates,
    ) -> Result<(f32, Option<i64>), Merge> {
        let last = range.end - 1;
        let weights = &self.weights[range.clone()];
        match duplicates {
            Duplicates::Error => Err(Merge::Twice),
            Duplicates::Last => Ok((self.weights[last], self.times.get(last).copied())),
            Duplicates::Sum => {
                let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
                match sum as f32 {
                    weight if weight.is_finite() => Ok((weight, self.times.get(last).copied())),
                    _ => Err(Merge::Overflow(sum)),
                }
            }
            Duplicates::Max => {
                let (at, weight) = range
                    .clone()
                    .zip(weights)
                    .max_by(|a, b| a.1.total_cmp(b.1))
                    .map_or((last, 0.0), |(at, &weight)| (at, weight));
                Ok((weight, self.times.get(at).copied()))
            }
        }
    }
}

enum Merge {
    Twice,
    Overflow(f64),
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Made = Vec<(u8, u8, i8, i8)>;

    /// The naive way: a map from pair to everything that happened, then the policy.
    fn build_reference(
        events: &Made,
        timed: bool,
        duplicates: Duplicates,
    ) -> Vec<(u8, u8, f32, Option<i64>)> {
        let mut pairs: BTreeMap<(u8, u8), Vec<(i64, f32)>> = BTreeMap::new();
        for &(u, i, w, t) in events {
            pairs
                .entry((u, i))
                .or_default()
                .push((if timed { t.into() } else { 0 }, w.into()));
        }
        let merged = pairs.into_iter().map(|((u, i), list)| {
            let latest = list.iter().map(|e| e.0).max().unwrap();
            let (time, weight) = match duplicates {
                Duplicates::Last => *list.iter().rfind(|e| e.0 == latest).unwrap(),
                Duplicates::Max => *list
                    .iter()
                    .max_by(|a, b| (a.1, a.0).partial_cmp(&(b.1, b.0)).unwrap())
                    .unwrap(),
                _ => (latest, list.iter().map(|e| e.1).sum()),
            };
            (u, i, weight, timed.then_some(time))
        });
        merged.collect()
    }

    proptest! {
        #[test]
        fn equals_the_naive_way(
            events in proptest::collection::vec((0u8..6, 0u8..6, -5i8..5, -3i8..3), 0..60),
            timed in any::<bool>(),
            duplicates in proptest::sample::select(vec![Duplicates::Sum, Duplicates::Last, Duplicates::Max]),
        ) {
            let mut builder = Interactions::builder().duplicates(duplicates);
            for &(u, i, w, t) in &events {
                builder.push(u32::from(u), u32::from(i), w.into(), timed.then_some(t.into())).unwrap();
            }
            let log = builder.build().unwrap();
            let mut got: Vec<_> = log.iter().map(|e| (
                log.users().name(e.user).unwrap().parse::<u8>().unwrap(),
                log.items().name(e.item).unwrap().parse::<u8>().unwrap(),
                e.weight,
                e.time,
            )).collect();
            got.sort_by_key(|e| (e.0, e.1));
            prop_assert_eq!(got, build_reference(&events, timed, duplicates));
        }
    }

    #[test]
    fn bad_events_are_named() {
        let mut builder = Interactions::builder();
        builder.push("a", "x", 1.0, None).unwrap();
        let error = builder.push("a", "y", f32::NAN, None).unwrap_err();
        assert_eq!(error.to_string(), "event 2: weight is NaN");
        let error = builder.push("a", "y", 1.0, Some(1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "event 2 has a time, the ones before have none"
        );
        let event = Event {
            user: 0,
            item: 9,
            weight: 1.0,
            time: None,
        };
        let error = builder.push_event(event).unwrap_err();
        assert_eq!(error.to_string(), "event 2: item 9 is unknown; there are 1");
        builder.push("a", "x", 1.0, None).unwrap();
        let error = builder.duplicates(Duplicates::Error).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            "user \"a\" and item \"x\" occur more than once"
        );
        let error =
            Interactions::from_events([("a", "x", f32::MAX), ("a", "x", f32::MAX)]).unwrap_err();
        assert!(matches!(error, Error::Overflow { .. }), "{error}");
    }

    #[test]
    fn shared_tables_keep_their_numbers() {
        let first = Interactions::from_events([("a", "x", 1.0), ("b", "y", 1.0)]).unwrap();
        let mut builder = Interactions::builder().ids(first.shared_users(), first.shared_items());
        builder.push("c", "y", 1.0, None).unwrap();
        let second = builder.build().unwrap();
        assert_eq!(second.users().get("b"), Some(1));
        assert_eq!(second.users().get("c"), Some(2));
        assert_eq!(first.n_users(), 2);
        assert!(std::ptr::eq(first.items(), second.items()));
    }
}
