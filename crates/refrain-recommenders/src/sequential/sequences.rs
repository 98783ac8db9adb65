//! Ordered histories: who had what, oldest first.

use std::collections::HashMap;
use std::sync::Arc;

use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;

use crate::{Error, Memory, Result};

/// Each user's items in the order of their times; clones share one copy.
///
/// Events at equal times keep the order of the log, which is that of the items' numbers. A log holds
/// an item once per user, at its latest time; events of weight 0 or below are left out. Costs 12
/// bytes an event.
#[derive(Debug, Clone, PartialEq)]
pub struct Sequences(Arc<Inner>);

#[derive(Debug, Default, PartialEq)]
struct Inner {
    /// Where each user's events end.
    ends: Vec<u64>,
    items: Vec<u32>,
    times: Vec<i64>,
}

impl Inner {
    /// Adds a user's events, which are in the order of the log.
    fn push(&mut self, mut events: Vec<(i64, u32)>) {
        events.sort_by_key(|&(time, _)| time);
        for (time, item) in events {
            self.items.push(item);
            self.times.push(time);
        }
        self.ends.push(self.items.len() as u64);
    }

    fn finish(self) -> Sequences {
        Sequences(Arc::new(self))
    }
}

impl Sequences {
    /// Orders the events of `log`.
    ///
    /// # Errors
    /// [`Error::Data`] for a log without times, unless it is empty.
    pub fn new(log: &Interactions) -> Result<Self> {
        if !log.is_empty() && !log.has_times() {
            return Err(Error::Data {
                model: "a sequential model",
                reason: "the log has no times, so its histories have no order".to_string(),
            });
        }
        let mut inner = Inner::default();
        for user in 0..log.n_users() as u32 {
            let (items, weights) = log.user_items(user);
            let times = log.user_times(user).unwrap_or_default();
            let events = times.iter().copied().zip(items.iter().copied());
            let kept = events.zip(weights).filter(|&(_, &weight)| weight > 0.0);
            inner.push(kept.map(|(event, _)| event).collect());
        }
        Ok(inner.finish())
    }

    /// As [`new`](Self::new), or in the order of the log where there are no times.
    #[cfg(feature = "sequential")]
    pub(crate) fn with_or_without_times(log: &Interactions) -> Result<Self> {
        if log.is_empty() || log.has_times() {
            return Self::new(log);
        }
        let mut inner = Inner::default();
        for user in 0..log.n_users() as u32 {
            let (items, weights) = log.user_items(user);
            let kept = items
                .iter()
                .zip(weights)
                .filter(|&(_, &weight)| weight > 0.0);
            inner.push(kept.map(|(&item, _)| (0, item)).collect());
        }
        Ok(inner.finish())
    }

    /// How many users there are, with or without events.
    pub fn n_users(&self) -> usize {
        self.0.ends.len()
    }

    /// Whether the order is that of times; without them a model looks at sets.
    #[cfg(feature = "sequential")]
    pub(crate) fn has_times(&self) -> bool {
        self.0.times.iter().any(|&time| time != 0)
    }

    /// How many events there are.
    pub fn n_events(&self) -> usize {
        self.0.items.len()
    }

    fn range(&self, user: u32) -> std::ops::Range<usize> {
        let user = user as usize;
        let end = |u: usize| self.0.ends.get(u).map(|&e| e as usize);
        match end(user) {
            Some(last) => user.checked_sub(1).and_then(end).unwrap_or(0)..last,
            None => 0..0,
        }
    }

    /// A user's items, oldest first; empty for an unknown user.
    pub fn of(&self, user: u32) -> &[u32] {
        self.0.items.get(self.range(user)).unwrap_or_default()
    }

    /// The times of [`of`](Self::of).
    pub fn times(&self, user: u32) -> &[i64] {
        self.0.times.get(self.range(user)).unwrap_or_default()
    }

    /// All users' sequences.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> + '_ {
        (0..self.n_users()).map(|user| self.of(user as u32))
    }

    /// With the events of `log` too, which `memory` has learned already.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn extended(&self, memory: &Memory, log: &Interactions) -> Result<Self> {
        Self::new(log).map(drop)?;
        let mut new: HashMap<u32, Vec<(u32, i64)>> = HashMap::new();
        for event in log.iter() {
            let user = log.users().name(event.user).map(|id| memory.user(id));
            let item = log.items().name(event.item).map(|id| memory.item(id));
            if let (Some(user), Some(item), Some(time)) = (user, item, event.time) {
                new.entry(user?).or_default().push((item?, time));
            }
        }
        let mut inner = Inner::default();
        for user in 0..memory.n_users() as u32 {
            let Some(new) = new.get(&user) else {
                let (times, items) = (self.times(user), self.of(user));
                inner.push(times.iter().copied().zip(items.iter().copied()).collect());
                continue;
            };
            let old = self.of(user).iter().zip(self.times(user));
            let mut latest: HashMap<u32, i64> = old.map(|(&item, &time)| (item, time)).collect();
            for &(item, time) in new {
                let known = latest.entry(item).or_insert(time);
                *known = time.max(*known);
            }
            let (items, weights) = memory.history(user);
            let kept = items.iter().zip(weights).filter(|&(_, &w)| w > 0.0);
            inner.push(
                kept.filter_map(|(&item, _)| Some((*latest.get(&item)?, item)))
                    .collect(),
            );
        }
        Ok(inner.finish())
    }

    fn kept(&self, users: impl Fn(u32) -> bool, item: impl Fn(u32) -> Option<u32>) -> Self {
        let mut inner = Inner::default();
        for user in (0..self.n_users() as u32).filter(|&user| users(user)) {
            let events = self.times(user).iter().zip(self.of(user));
            inner.push(
                events
                    .filter_map(|(&time, &had)| Some((time, item(had)?)))
                    .collect(),
            );
        }
        inner.finish()
    }

    /// Without a user; users behind them move up by one.
    #[must_use]
    pub fn without_user(&self, user: u32) -> Self {
        self.kept(|other| other != user, Some)
    }

    /// Without an item; items behind it move up by one.
    #[must_use]
    pub fn without_item(&self, item: u32) -> Self {
        let moved = |had: u32| had - u32::from(had > item);
        self.kept(|_| true, |had| (had != item).then(|| moved(had)))
    }

    /// Adds the sequences to a model file.
    ///
    /// # Errors
    /// [`Error::Core`] when a tensor of that name is there already.
    pub fn write<'a>(&'a self, writer: ModelWriter<'a>) -> Result<ModelWriter<'a>> {
        let n = self.n_events();
        Ok(writer
            .u64("sequences.ends", &[self.n_users()], &self.0.ends)?
            .u32("sequences.items", &[n], &self.0.items)?
            .i64("sequences.times", &[n], &self.0.times)?)
    }

    /// Reads the sequences of `memory`'s users from a model file, checking each number.
    ///
    /// # Errors
    /// [`Error::Core`] naming what does not fit.
    pub fn read(file: &ModelFile, memory: &Memory) -> Result<Self> {
        let inner = Inner {
            ends: file.u64("sequences.ends")?.data.into_owned(),
            items: file.u32("sequences.items")?.data.into_owned(),
            times: file.i64("sequences.times")?.data.into_owned(),
        };
        let ascending = inner
            .ends
            .windows(2)
            .all(|pair| pair.first() <= pair.last());
        let events = inner.items.len();
        let whole = inner.ends.last().map_or(0, |&e| e) == events as u64;
        let known = |&item: &u32| (item as usize) < memory.n_items();
        let fits = ascending
            && whole
            && inner.ends.len() == memory.n_users()
            && inner.times.len() == events
            && inner.items.iter().all(known);
        let sequences = inner.finish();
        let ordered = (0..sequences.n_users() as u32).all(|user| sequences.times(user).is_sorted());
        match fits && ordered {
            true => Ok(sequences),
            false => Err(refrain_core::Error::ModelFile {
                origin: file.origin().to_string(),
                reason: "the sequences do not fit the ids and histories".to_string(),
            }
            .into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(events: &[(&str, &str, f32, i64)]) -> Interactions {
        let mut builder = Interactions::builder();
        for &(user, item, weight, time) in events {
            builder.push(user, item, weight, Some(time)).unwrap();
        }
        builder.build().unwrap()
    }

    const FIRST: [(&str, &str, f32, i64); 5] = [
        ("a", "x", 1.0, 9),
        ("a", "y", 1.0, 3),
        ("a", "z", 1.0, 3),
        ("b", "y", -1.0, 2),
        ("b", "x", 2.0, 1),
    ];

    #[test]
    fn times_order_and_ties_keep_the_order_of_the_log() {
        let sequences = Sequences::new(&log(&FIRST)).unwrap();
        assert_eq!(sequences.of(0), [1, 2, 0]);
        assert_eq!(sequences.times(0), [3, 3, 9]);
        assert_eq!(sequences.of(1), [0]); // y has a weight below 0
        assert_eq!(sequences.of(2), [] as [u32; 0]);
        let timeless = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        assert!(matches!(Sequences::new(&timeless), Err(Error::Data { .. })));
    }

    #[test]
    fn changes_equal_a_new_start() {
        let more = [
            ("b", "z", 1.0, 7),
            ("c", "w", 1.0, 2),
            ("a", "y", 1.0, 20),
            ("b", "y", 5.0, 4),
        ];
        let all: Vec<_> = FIRST.iter().chain(&more).copied().collect();
        let (first, all) = (log(&FIRST), log(&all));
        let memory = Memory::new(&first).extended(&log(&more)).unwrap();
        let sequences = Sequences::new(&first).unwrap();
        let extended = sequences.extended(&memory, &log(&more)).unwrap();
        assert_eq!(extended, Sequences::new(&all).unwrap());
        let gone = extended.without_user(0);
        assert_eq!((gone.n_users(), gone.of(0)), (2, extended.of(1)));
        let gone = extended.without_item(0);
        assert_eq!(gone.of(0), [1, 0]);
        assert_eq!(gone.of(1), [0, 1]);
    }

    #[test]
    fn files_that_do_not_fit_are_refused() {
        let log = log(&FIRST);
        let (memory, sequences) = (Memory::new(&log), Sequences::new(&log).unwrap());
        let writer = sequences.write(ModelWriter::new("test", 1)).unwrap();
        let file = ModelFile::from_bytes(writer.to_bytes().unwrap()).unwrap();
        assert_eq!(Sequences::read(&file, &memory).unwrap(), sequences);
        for (ends, items, times) in [
            (&[4u64][..], &[1u32, 2, 0, 0][..], &[3i64, 3, 9, 1][..]),
            (&[5, 4], &[1, 2, 0, 0], &[3, 3, 9, 1]),
            (&[3, 4], &[1, 2, 0, 3], &[3, 3, 9, 1]),
            (&[3, 4], &[1, 2, 0, 0], &[3, 4, 1, 1]),
            (&[3, 4], &[1, 2, 0, 0], &[3, 3, 9]),
        ] {
            let writer = ModelWriter::new("test", 1)
                .u64("sequences.ends", &[ends.len()], ends.to_vec())
                .and_then(|w| w.u32("sequences.items", &[items.len()], items.to_vec()))
                .and_then(|w| w.i64("sequences.times", &[times.len()], times.to_vec()))
                .unwrap();
            let file = ModelFile::from_bytes(writer.to_bytes().unwrap()).unwrap();
            assert!(Sequences::read(&file, &memory).is_err());
        }
    }
}
