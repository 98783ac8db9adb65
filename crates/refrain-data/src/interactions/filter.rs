//! Fewer events: thresholds, windows, minimum counts and cores.
//!
//! A filter keeps the id tables, so the numbers of users and items stay what they were;
//! [`Interactions::compact`] then drops ids that have no events left.

use std::sync::Arc;

use refrain_core::IdMap;

use super::{Event, Interactions, matrix};
use crate::{Error, Result};

impl Interactions {
    /// The events for which `keep` is true. It is asked once for each, in the order of
    /// [`iter`](Self::iter).
    ///
    /// # Errors
    /// None that a log built here can cause.
    pub fn filter(&self, mut keep: impl FnMut(&Event) -> bool) -> Result<Self> {
        let mut starts = Vec::with_capacity(self.n_users() + 1);
        let (mut items, mut weights, mut times) = (Vec::new(), Vec::new(), Vec::new());
        starts.push(0);
        for user in 0..self.n_users() as u32 {
            let (row_items, row_weights) = self.user_items(user);
            let row_times = self.user_times(user);
            for (i, (&item, &weight)) in row_items.iter().zip(row_weights).enumerate() {
                let time = row_times.and_then(|times| times.get(i).copied());
                if keep(&Event {
                    user,
                    item,
                    weight,
                    time,
                }) {
                    items.push(item);
                    weights.push(weight);
                    times.extend(time);
                }
            }
            starts.push(items.len());
        }
        items.shrink_to_fit();
        weights.shrink_to_fit();
        times.shrink_to_fit();
        let by_user = matrix((self.n_users(), self.n_items()), starts, items, weights)?;
        let times = self.has_times().then_some(times);
        Ok(Self::assemble(
            self.users.clone(),
            self.items.clone(),
            by_user,
            times,
        ))
    }

    /// The same events with `f(weight)` for a weight: `|_| 1.0` to forget ratings, `f32::ln_1p` to
    /// damp plays.
    ///
    /// # Errors
    /// [`Error::Weight`] when `f` gives NaN or infinity.
    pub fn map_weights(&self, mut f: impl FnMut(f32) -> f32) -> Result<Self> {
        let mut by_user = self.rows.by_user.clone();
        for (i, weight) in by_user.data_mut().iter_mut().enumerate() {
            *weight = f(*weight);
            if !weight.is_finite() {
                return Err(Error::Weight {
                    event: i as u64 + 1,
                    value: *weight,
                });
            }
        }
        let times = self.rows.times.clone();
        Ok(Self::assemble(
            self.users.clone(),
            self.items.clone(),
            by_user,
            times,
        ))
    }

    /// The events with a weight of at least `threshold`.
    ///
    /// # Errors
    /// [`Error::Config`] when the threshold is NaN.
    pub fn at_least(&self, threshold: f32) -> Result<Self> {
        if threshold.is_nan() {
            return Err(Error::Config {
                field: "threshold",
                value: threshold.to_string(),
                must: "a number",
            });
        }
        self.filter(|event| event.weight >= threshold)
    }

    /// The events in a window of time: `log.between(from..to)`, `log.between(from..)`.
    ///
    /// # Errors
    /// [`Error::NoTimes`].
    pub fn between(&self, window: impl std::ops::RangeBounds<i64>) -> Result<Self> {
        if !self.has_times() {
            return Err(Error::NoTimes {
                what: "a time window",
            });
        }
        self.filter(|event| event.time.is_some_and(|time| window.contains(&time)))
    }

    /// One pass: first the items with fewer than `per_item` events go, then the users with fewer
    /// than `per_user` of what is left. An item may then be below its minimum again; see
    /// [`k_core`](Self::k_core).
    ///
    /// # Errors
    /// None that a log built here can cause.
    pub fn min_counts(&self, per_user: u32, per_item: u32) -> Result<Self> {
        let items = self.item_counts();
        let enough = |item: u32| items.get(item as usize).is_some_and(|&n| n >= per_item);
        let users: Vec<u32> = (0..self.n_users() as u32)
            .map(|user| {
                self.user_items(user)
                    .0
                    .iter()
                    .filter(|&&item| enough(item))
                    .count() as u32
            })
            .collect();
        self.filter(|event| {
            enough(event.item)
                && users
                    .get(event.user as usize)
                    .is_some_and(|&n| n >= per_user)
        })
    }

    /// The largest part of the log in which every user has at least `per_user` events and every
    /// item at least `per_item`: users and items below are removed until none is left below.
    /// Each event is removed once, so this takes time in proportion to the log.
    ///
    /// # Errors
    /// None that a log built here can cause.
    pub fn k_core(&self, per_user: u32, per_item: u32) -> Result<Self> {
        let n_users = self.n_users();
        let mut left = self.user_counts();
        left.extend(self.item_counts());
        let least = |node: usize| if node < n_users { per_user } else { per_item };
        let mut gone: Vec<bool> = left
            .iter()
            .enumerate()
            .map(|(i, &n)| n < least(i))
            .collect();
        let mut queue: Vec<usize> = (0..gone.len()).filter(|&node| gone[node]).collect();
        while let Some(node) = queue.pop() {
            let (neighbours, shift) = match node < n_users {
                true => (self.user_items(node as u32).0, n_users),
                false => (self.item_users((node - n_users) as u32).0, 0),
            };
            for &neighbour in neighbours {
                let other = neighbour as usize + shift;
                left[other] = left[other].saturating_sub(1);
                if !gone[other] && left[other] < least(other) {
                    gone[other] = true;
                    queue.push(other);
                }
            }
        }
        self.filter(|event| !gone[event.user as usize] && !gone[n_users + event.item as usize])
    }

    /// The same events with new id tables that hold only users and items that have events, in the
    /// old order.
    ///
    /// # Errors
    /// None that a log built here can cause.
    pub fn compact(&self) -> Result<Self> {
        let (users, _) = kept(&self.users, &self.user_counts())?;
        let (items, renumbered) = kept(&self.items, &self.item_counts())?;
        let mut starts = vec![0];
        let mut indices = Vec::with_capacity(self.len());
        for user in 0..self.n_users() as u32 {
            let (row, _) = self.user_items(user);
            if !row.is_empty() {
                indices.extend(row.iter().filter_map(|&item| renumbered.get(item as usize)));
                starts.push(indices.len());
            }
        }
        let weights = self.rows.by_user.data().to_vec();
        let by_user = matrix((users.len(), items.len()), starts, indices, weights)?;
        let times = self.rows.times.clone();
        Ok(Self::assemble(
            Arc::new(users),
            Arc::new(items),
            by_user,
            times,
        ))
    }
}

/// The ids that have events, and each old number's new one.
fn kept(ids: &IdMap, counts: &[u32]) -> Result<(IdMap, Vec<u32>)> {
    let mut table = IdMap::new();
    let mut numbers = Vec::with_capacity(ids.len());
    for (id, &count) in ids.iter().zip(counts) {
        numbers.push(table.len() as u32);
        if count > 0 {
            table.insert(id)?;
        }
    }
    Ok((table, numbers))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn log(events: &[(u8, u8)]) -> Interactions {
        Interactions::from_events(
            events
                .iter()
                .map(|&(u, i)| (u32::from(u), u32::from(i), 1.0)),
        )
        .unwrap()
    }

    /// Passes of `min_counts` until nothing changes.
    fn k_core_reference(log: &Interactions, per_user: u32, per_item: u32) -> Interactions {
        let next = log.min_counts(per_user, per_item).unwrap();
        match next.len() == log.len() {
            true => next,
            false => k_core_reference(&next, per_user, per_item),
        }
    }

    proptest! {
        #[test]
        fn the_core_is_a_fixed_point(
            events in proptest::collection::vec((0u8..12, 0u8..12), 0..90), u in 0u32..5, i in 0u32..5,
        ) {
            let log = log(&events);
            let core = log.k_core(u, i).unwrap();
            prop_assert_eq!(&core, &k_core_reference(&log, u, i));
            prop_assert!(core.user_counts().iter().all(|&n| n == 0 || n >= u));
            prop_assert!(core.item_counts().iter().all(|&n| n == 0 || n >= i));
        }

        #[test]
        fn compacting_keeps_every_event(
            events in proptest::collection::vec((0u8..12, 0u8..12), 0..60), keep in any::<u64>(),
        ) {
            let log = log(&events);
            let part = log.filter(|e| keep >> ((e.user + 7 * e.item) % 64) & 1 == 1).unwrap();
            let small = part.compact().unwrap();
            let names = |log: &Interactions| -> Vec<(String, String)> {
                log.iter().map(|e| (
                    log.users().name(e.user).unwrap().to_owned(),
                    log.items().name(e.item).unwrap().to_owned(),
                )).collect()
            };
            prop_assert_eq!(names(&part), names(&small));
            prop_assert!(small.user_counts().iter().all(|&n| n > 0));
            prop_assert!(small.item_counts().iter().all(|&n| n > 0));
        }
    }

    #[test]
    fn thresholds_and_windows() {
        let mut builder = Interactions::builder();
        for (item, weight, time) in [("x", 1.0, 1), ("y", 4.0, 2), ("z", 5.0, 3)] {
            builder.push("a", item, weight, Some(time)).unwrap();
        }
        let log = builder.build().unwrap();
        assert_eq!(log.at_least(4.0).unwrap().user_items(0).0, [1, 2]);
        assert_eq!(log.between(..3).unwrap().user_items(0).0, [0, 1]);
        assert_eq!(log.between(2..=2).unwrap().user_times(0), Some(&[2][..]));
        assert_eq!(log.map_weights(|_| 1.0).unwrap().user_items(0).1, [1.0; 3]);
        assert!(log.map_weights(|_| f32::NAN).is_err());
        assert!(log.at_least(f32::NAN).is_err());
        let timeless = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        assert!(matches!(timeless.between(..), Err(Error::NoTimes { .. })));
    }
}
