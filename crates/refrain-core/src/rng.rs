//! Seeded random streams.
//!
//! Every source of randomness in refrain is [`stream`]`(seed, index)`: the same pair gives the same
//! numbers on every machine, and different indices give streams that do not overlap in practice.
//! A thread, a row or a stage takes an index of its own, so results do not depend on scheduling.

use rand::SeedableRng;

/// The generator behind every stream: xoshiro256++ (Blackman and Vigna, 2019).
pub type Stream = rand_xoshiro::Xoshiro256PlusPlus;

/// The random stream number `index` of `seed`.
///
/// ```
/// use rand::RngExt;
/// let mut a = refrain_core::rng::stream(7, 0);
/// let mut b = refrain_core::rng::stream(7, 1);
/// assert_ne!(a.random::<u64>(), b.random::<u64>());
/// ```
pub fn stream(seed: u64, index: u64) -> Stream {
    // Two rounds of SplitMix64's finaliser, so that neighbouring seeds and indices share nothing.
    Stream::seed_from_u64(mix(mix(seed) ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::RngExt;

    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let mut seen = HashSet::new();
        for seed in 0..50 {
            for index in 0..50 {
                let first: u64 = stream(seed, index).random();
                assert_eq!(first, stream(seed, index).random::<u64>());
                assert!(
                    seen.insert(first),
                    "seed {seed} index {index} repeats another stream"
                );
            }
        }
    }

    #[test]
    fn numbers_are_pinned() {
        // Made by a few lines of Python that follow Blackman and Vigna's C code (splitmix64 to
        // seed, xoshiro256++): changing these numbers changes what everyone's seeds mean.
        let mut rng = stream(42, 3);
        assert_eq!(
            [rng.random::<u64>(), rng.random()],
            [1774118819310752213, 859231826212702010]
        );
        let mean: f64 = (0..10_000).map(|_| rng.random::<f64>()).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
