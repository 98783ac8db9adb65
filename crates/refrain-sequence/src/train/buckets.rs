//! Which examples a step sees: a pure function of the seed and the step, like lengths together.

use rand::seq::SliceRandom;
use refrain_core::rng;

const ORDER: u64 = 0x6275_636b;

/// Draws batches of examples, every one once in an epoch.
#[derive(Debug)]
pub(super) struct Buckets {
    lengths: Vec<usize>,
    seed: u64,
    batch: usize,
    /// How many batches' worth of examples are sorted by length together.
    pool: usize,
    epoch: Option<u64>,
    batches: Vec<Vec<usize>>,
}

impl Buckets {
    /// `lengths` has at least one value, `batch` and `pool` are at least 1.
    pub(super) fn new(lengths: Vec<usize>, seed: u64, batch: usize, pool: usize) -> Self {
        Self {
            lengths,
            seed,
            batch,
            pool,
            epoch: None,
            batches: Vec::new(),
        }
    }

    /// The examples of the batch number `index` of the run.
    pub(super) fn batch(&mut self, index: u64) -> &[usize] {
        let count = self.lengths.len().div_ceil(self.batch).max(1) as u64;
        let (epoch, place) = (index / count, (index % count) as usize);
        if self.epoch != Some(epoch) {
            self.begin(epoch);
        }
        self.batches.get(place).map_or(&[], Vec::as_slice)
    }

    fn begin(&mut self, epoch: u64) {
        let mut draw = rng::stream(self.seed ^ ORDER, epoch);
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        order.shuffle(&mut draw);
        self.batches.clear();
        for pool in order.chunks_mut(self.batch.saturating_mul(self.pool)) {
            pool.sort_by_key(|&example| self.lengths.get(example).copied());
            let batches = pool.chunks(self.batch).map(<[usize]>::to_vec);
            self.batches.extend(batches);
        }
        self.batches.shuffle(&mut draw);
        self.epoch = Some(epoch);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_epoch_sees_everything_once(
            lengths in proptest::collection::vec(0usize..40, 1..60),
            batch in 1usize..9,
            pool in 1usize..5,
            epoch in 0u64..3,
        ) {
            let mut buckets = Buckets::new(lengths.clone(), 3, batch, pool);
            let count = lengths.len().div_ceil(batch) as u64;
            let mut seen = Vec::new();
            for index in epoch * count..(epoch + 1) * count {
                let examples = buckets.batch(index).to_vec();
                prop_assert!((1..=batch).contains(&examples.len()));
                // What is drawn does not depend on what was drawn before.
                let mut anew = Buckets::new(lengths.clone(), 3, batch, pool);
                prop_assert_eq!(anew.batch(index), examples.as_slice());
                seen.extend(examples);
            }
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..lengths.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn like_lengths_share_a_batch() {
        let lengths: Vec<usize> = (0..1024).map(|i| i * 37 % 101).collect();
        let padded = |pool: usize| -> usize {
            let mut buckets = Buckets::new(lengths.clone(), 1, 8, pool);
            let batches = (0..128).map(|index| {
                let longest = buckets.batch(index).iter().map(|&i| lengths[i]).max();
                longest.unwrap() * 8
            });
            batches.sum()
        };
        let told: usize = lengths.iter().sum();
        assert!(padded(1) > told * 17 / 10, "{} of {told}", padded(1));
        assert!(padded(32) < told * 11 / 10, "{} of {told}", padded(32));
        let mut buckets = Buckets::new(lengths.clone(), 1, 8, 32);
        assert_ne!(buckets.batch(0).to_vec(), buckets.batch(128).to_vec());
    }
}
