//! What skip-gram draws at random: which occurrences of frequent words to skip, and which words
//! serve as negatives.

use rand::RngExt;
use refrain_core::rng::Stream;

/// Draws a word with probability in proportion to `count^power` in constant time, by Vose's alias
/// method: a column is chosen evenly, and holds at most two words.
#[derive(Debug)]
pub(super) struct Negatives {
    /// In each column, the share of its own word in 2³², and the other word.
    columns: Vec<(u32, u32)>,
}

impl Negatives {
    pub(super) fn new(counts: &[u64], power: f64) -> Self {
        let weights: Vec<f64> = counts.iter().map(|&c| (c as f64).powf(power)).collect();
        let mean = weights.iter().sum::<f64>() / weights.len().max(1) as f64;
        let mut share: Vec<f64> = weights.iter().map(|w| w / mean).collect();
        let mut columns: Vec<(u32, u32)> =
            (0..counts.len() as u32).map(|i| (u32::MAX, i)).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..share.len()).partition(|&i| share[i] < 1.0);
        while let (Some(&low), Some(&high)) = (small.last(), large.last()) {
            small.pop();
            columns[low] = ((share[low] * 4_294_967_296.0) as u32, high as u32);
            share[high] -= 1.0 - share[low];
            if share[high] < 1.0 {
                large.pop();
                small.push(high);
            }
        }
        Self { columns }
    }

    #[inline(always)]
    pub(super) fn draw(&self, rng: &mut Stream) -> u32 {
        let bits: u64 = rng.random();
        let column = ((bits >> 32) * self.columns.len() as u64) >> 32;
        let (share, other) = self.columns[column as usize];
        if (bits as u32) < share {
            column as u32
        } else {
            other
        }
    }
}

/// For each word the chance, in 2³², that an occurrence is kept: `√(t/f) + t/f` at a frequency of
/// `f` and a threshold of `t`, as the program word2vec does. A threshold of 0 keeps everything.
pub(super) fn keep_chances(counts: &[u64], threshold: f64) -> Vec<u32> {
    let total = counts.iter().sum::<u64>() as f64;
    let chance = |&count: &u64| {
        let ratio = threshold * total / (count as f64).max(1.0);
        if threshold == 0.0 {
            1.0
        } else {
            ratio.sqrt() + ratio
        }
    };
    counts
        .iter()
        .map(|count| (chance(count).min(1.0) * f64::from(u32::MAX)) as u32)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_follow_the_power_law() {
        let counts = [1000, 200, 50, 50, 1, 1];
        let negatives = Negatives::new(&counts, 0.75);
        let mut rng = refrain_core::rng::stream(1, 2);
        let draws = 200_000;
        let mut seen = [0u32; 6];
        for _ in 0..draws {
            seen[negatives.draw(&mut rng) as usize] += 1;
        }
        let total: f64 = counts.iter().map(|&c| (c as f64).powf(0.75)).sum();
        for (&count, &n) in counts.iter().zip(&seen) {
            let expected = (count as f64).powf(0.75) / total;
            let found = f64::from(n) / f64::from(draws);
            assert!((expected - found).abs() < 0.004, "{expected} {found}");
        }
        let alone = Negatives::new(&[3], 0.75);
        assert_eq!(alone.draw(&mut rng), 0);
    }

    #[test]
    fn frequent_words_are_kept_less() {
        let chances = keep_chances(&[9_000, 999, 1], 1e-3);
        let share = |i: usize| f64::from(chances[i]) / f64::from(u32::MAX);
        let ratio: f64 = 1e-3 * 10_000.0 / 9_000.0;
        assert!((share(0) - (ratio.sqrt() + ratio)).abs() < 1e-6);
        assert!(share(1) > share(0));
        assert_eq!(chances[2], u32::MAX);
        assert_eq!(keep_chances(&[5, 1], 0.0), [u32::MAX; 2]);
    }
}
