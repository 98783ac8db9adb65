//! Events in compact columns, and the sort that turns them into rows without a second copy.
//!
//! An event takes 12 bytes while it waits: user, item and weight in columns of their own (8 more
//! for a time, 4 more for its place where the policy is `Last`). Columns grow by blocks, so
//! growing never copies what is there. The sort is an in-place radix sort from the most
//! significant byte of (user, item) ("American flag sort", McIlroy, Bostic and McIlroy, 1993):
//! one pass over everything, then each of the 256 buckets on its own, in parallel, down to
//! pieces that fit in cache. It costs O(n) time, no memory beyond the columns, and gives the same
//! result for any number of threads.

use rayon::prelude::*;

/// A growing column. Blocks double up to a size that the allocator returns to the system.
#[derive(Debug)]
pub(crate) struct Column<T> {
    full: Vec<Vec<T>>,
    open: Vec<T>,
}

const FIRST_BLOCK: usize = 1 << 10;
const LAST_BLOCK: usize = 1 << 24;

impl<T: Copy> Column<T> {
    pub(crate) fn new() -> Self {
        Self {
            full: Vec::new(),
            open: Vec::new(),
        }
    }

    pub(crate) fn push(&mut self, value: T) {
        if self.open.len() == self.open.capacity() {
            let next = (self.open.capacity() * 2).clamp(FIRST_BLOCK, LAST_BLOCK);
            let full = std::mem::replace(&mut self.open, Vec::with_capacity(next));
            if !full.is_empty() {
                self.full.push(full);
            }
        }
        self.open.push(value);
    }

    fn len(&self) -> usize {
        self.full.iter().map(Vec::len).sum::<usize>() + self.open.len()
    }

    /// One vector; each block is freed as soon as it is copied.
    pub(crate) fn into_vec(self) -> Vec<T> {
        if self.full.is_empty() {
            return self.open;
        }
        let mut all = Vec::with_capacity(self.len());
        for block in self.full {
            all.extend_from_slice(&block);
        }
        all.extend_from_slice(&self.open);
        all
    }
}

/// Views of the columns that the sort moves together.
#[derive(Default)]
pub(crate) struct Slices<'a> {
    pub(crate) users: &'a mut [u32],
    pub(crate) items: &'a mut [u32],
    pub(crate) weights: &'a mut [f32],
    /// Empty when the events have no times.
    pub(crate) times: &'a mut [i64],
    /// Empty unless the order of arrival matters.
    pub(crate) order: &'a mut [u32],
}

/// What the sort knows of one event; compared in this order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Record {
    key: u64,
    time: i64,
    order: u32,
    /// The weight's bits, ordered like the weight itself.
    weight: u32,
}

/// Below this many events a piece is sorted by comparison, in a scratch of this many records.
const SMALL: usize = 1 << 10;
const DIGIT: u32 = 8;

impl<'a> Slices<'a> {
    fn len(&self) -> usize {
        self.users.len()
    }

    fn swap(&mut self, a: usize, b: usize) {
        self.users.swap(a, b);
        self.items.swap(a, b);
        self.weights.swap(a, b);
        if !self.times.is_empty() {
            self.times.swap(a, b);
        }
        if !self.order.is_empty() {
            self.order.swap(a, b);
        }
    }

    fn split_at(self, at: usize) -> (Self, Self) {
        let (users, users_rest) = self.users.split_at_mut(at);
        let (items, items_rest) = self.items.split_at_mut(at);
        let (weights, weights_rest) = self.weights.split_at_mut(at);
        let (times, times_rest) = self.times.split_at_mut(at.min(self.times.len()));
        let (order, order_rest) = self.order.split_at_mut(at.min(self.order.len()));
        (
            Self {
                users,
                items,
                weights,
                times,
                order,
            },
            Self {
                users: users_rest,
                items: items_rest,
                weights: weights_rest,
                times: times_rest,
                order: order_rest,
            },
        )
    }

    /// Sorts by user, item, time, order of arrival and weight.
    pub(crate) fn sort(self, n_users: usize, n_items: usize) {
        let item_bits = bits(n_items);
        let top = item_bits + bits(n_users);
        if self.len() <= SMALL {
            return self.sort_small(&mut Vec::new());
        }
        let shift = top.saturating_sub(DIGIT);
        let buckets = self.partition(shift, item_bits);
        buckets
            .into_par_iter()
            .for_each_init(Vec::new, |scratch, bucket| {
                bucket.descend(shift, item_bits, scratch)
            });
    }

    /// Sorts a piece whose bits from `shift` upwards agree.
    fn descend(self, shift: u32, item_bits: u32, scratch: &mut Vec<Record>) {
        if self.len() <= SMALL {
            return self.sort_small(scratch);
        }
        if shift == 0 {
            // One pair only, very often: time, arrival and weight are left.
            return self.sort_small(scratch);
        }
        let next = shift.saturating_sub(DIGIT);
        for bucket in self.partition(next, item_bits) {
            bucket.descend(next, item_bits, scratch);
        }
    }

    /// Moves every event into the bucket of its digit, in place, and returns the buckets.
    fn partition(mut self, shift: u32, item_bits: u32) -> Vec<Slices<'a>> {
        const BUCKETS: usize = 1 << DIGIT;
        let digit =
            |user: u32, item: u32| ((key(user, item, item_bits) >> shift) as usize) & (BUCKETS - 1);
        let mut tails = [0usize; BUCKETS];
        for (&user, &item) in self.users.iter().zip(self.items.iter()) {
            tails[digit(user, item)] += 1;
        }
        let mut heads = [0usize; BUCKETS];
        let mut start = 0;
        for (head, tail) in heads.iter_mut().zip(&mut tails) {
            *head = start;
            start += *tail;
            *tail = start;
        }
        for bucket in 0..BUCKETS {
            while heads[bucket] < tails[bucket] {
                let here = heads[bucket];
                let home = digit(self.users[here], self.items[here]);
                if home != bucket {
                    self.swap(here, heads[home]);
                }
                heads[home] += 1;
            }
        }
        let mut buckets = Vec::with_capacity(BUCKETS);
        let mut done = 0;
        for tail in tails {
            let (bucket, rest) = self.split_at(tail - done);
            if bucket.len() > 1 {
                buckets.push(bucket);
            }
            self = rest;
            done = tail;
        }
        buckets
    }

    fn sort_small(self, scratch: &mut Vec<Record>) {
        scratch.clear();
        scratch.extend((0..self.len()).map(|i| Record {
            key: key(self.users[i], self.items[i], 32),
            time: self.times.get(i).copied().unwrap_or_default(),
            order: self.order.get(i).copied().unwrap_or_default(),
            weight: ordered_bits(self.weights[i]),
        }));
        scratch.sort_unstable();
        for (i, record) in scratch.iter().enumerate() {
            self.users[i] = (record.key >> 32) as u32;
            self.items[i] = record.key as u32;
            self.weights[i] = from_ordered_bits(record.weight);
            if let Some(time) = self.times.get_mut(i) {
                *time = record.time;
            }
            if let Some(order) = self.order.get_mut(i) {
                *order = record.order;
            }
        }
    }
}

fn bits(count: usize) -> u32 {
    usize::BITS - count.leading_zeros()
}

fn key(user: u32, item: u32, item_bits: u32) -> u64 {
    (u64::from(user) << item_bits) | u64::from(item)
}

/// A number whose order among `u32` is the weight's order among `f32`.
fn ordered_bits(weight: f32) -> u32 {
    let bits = weight.to_bits();
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

fn from_ordered_bits(bits: u32) -> f32 {
    f32::from_bits(if bits >> 31 == 1 {
        bits & !(1 << 31)
    } else {
        !bits
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;

    #[test]
    fn columns_keep_their_order() {
        let mut column = Column::new();
        (0..5000u32).for_each(|i| column.push(i));
        assert_eq!(column.into_vec(), (0..5000).collect::<Vec<_>>());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn sorts_like_the_standard_library(
            seed in any::<u64>(), n in 0usize..6000, users in 1u32..3000, items in 1u32..3000,
            with_times in any::<bool>(), with_order in any::<bool>(),
        ) {
            let mut rng = refrain_core::rng::stream(seed, 0);
            let mut u: Vec<u32> = (0..n).map(|_| rng.random_range(0..users)).collect();
            let mut i: Vec<u32> = (0..n).map(|_| rng.random_range(0..items)).collect();
            let mut w: Vec<f32> = (0..n).map(|_| rng.random_range(-2.0f32..2.0)).collect();
            let mut t: Vec<i64> =
                (0..if with_times { n } else { 0 }).map(|_| rng.random_range(-5..5)).collect();
            let mut o: Vec<u32> = (0..if with_order { n as u32 } else { 0 }).collect();
            let mut expected: Vec<_> = (0..n).map(|k| (
                u[k], i[k], t.get(k).copied(), o.get(k).copied(), ordered_bits(w[k]),
            )).collect();
            expected.sort_unstable();
            Slices { users: &mut u, items: &mut i, weights: &mut w, times: &mut t, order: &mut o }
                .sort(users as usize, items as usize);
            let got: Vec<_> = (0..n).map(|k| (
                u[k], i[k], t.get(k).copied(), o.get(k).copied(), ordered_bits(w[k]),
            )).collect();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn weight_bits_round_trip(a in any::<f32>(), b in any::<f32>()) {
            prop_assume!(!a.is_nan() && !b.is_nan());
            prop_assert_eq!(from_ordered_bits(ordered_bits(a)).to_bits(), a.to_bits());
            if a < b {
                prop_assert!(ordered_bits(a) < ordered_bits(b));
            }
        }
    }
}
