//! Random draws and the two functions they need, with the same bits on every machine.
//!
//! The system's `exp` and `ln` differ in the last bit from platform to platform, and one such bit is
//! enough to turn one play into another. Here everything is built from additions, multiplications
//! and divisions, which IEEE 754 defines exactly.

use rand::Rng;
use refrain_core::rng::{Stream, stream};

const LN2_HIGH: f64 = 0.693_147_180_369_123_8;
const LN2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// `e^x` for `|x| ≤ 700` (clamped beyond), by `x = k ln 2 + r` and the Taylor polynomial in `r`.
#[inline]
pub(super) fn exp(x: f64) -> f64 {
    const INVERSE_FACTORIALS: [f64; 12] = [
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
        1.0,
    ];
    // Adding 1.5 · 2^52 leaves the nearest integer in the low bits: no call to `round`, so that a loop
    // over this function vectorises.
    const NEAREST: f64 = 6_755_399_441_055_744.0;
    let shifted = x.clamp(-700.0, 700.0) * std::f64::consts::LOG2_E + NEAREST;
    let k = shifted - NEAREST;
    let r = (x.clamp(-700.0, 700.0) - k * LN2_HIGH) - k * LN2_LOW;
    let mut polynomial = 0.0;
    for c in INVERSE_FACTORIALS {
        polynomial = polynomial * r + c;
    }
    polynomial * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// `ln x` for a positive, normal `x`, by `x = 2^k m` and the series of `artanh((m − 1) / (m + 1))`.
pub(super) fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut k = ((bits >> 52) & 0x7ff) as i64 - 1023;
    let mut m = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if m > std::f64::consts::SQRT_2 {
        m *= 0.5;
        k += 1;
    }
    let t = (m - 1.0) / (m + 1.0);
    let square = t * t;
    let series = (0..11)
        .rev()
        .fold(0.0, |sum, n| sum * square + 1.0 / (2 * n + 1) as f64);
    k as f64 * LN2_HIGH + (2.0 * t * series + k as f64 * LN2_LOW)
}

/// A seeded source of the draws the simulation makes.
pub(super) struct Draw(Stream);

impl Draw {
    pub(super) fn new(seed: u64, index: u64) -> Self {
        Self(stream(seed, index))
    }

    /// Uniform in `[0, 1)`.
    pub(super) fn unit(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }

    pub(super) fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Uniform in `0..n`; zero for `n = 0`.
    pub(super) fn below(&mut self, n: usize) -> usize {
        ((self.unit() * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Standard normal, as the sum of twelve uniform numbers (Irwin and Hall): no logarithm, no sine.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    pub(super) fn normals<const N: usize>(&mut self) -> [f64; N] {
        std::array::from_fn(|_| self.normal())
    }

    /// Number of trials up to the first success, at least 1: mean `mean`.
    pub(super) fn geometric(&mut self, mean: f64) -> usize {
        if mean <= 1.0 {
            return 1;
        }
        1 + (ln(1.0 - self.unit()) / ln(1.0 - 1.0 / mean)) as usize
    }

    /// An index by running totals: `totals[i] − totals[i − 1]` is the weight of `i`, `before` the
    /// total ahead of the first.
    pub(super) fn weighted(&mut self, totals: &[f64], before: f64) -> usize {
        let all = totals.last().copied().unwrap_or(before) - before;
        let target = before + self.unit() * all;
        totals
            .partition_point(|&t| t <= target)
            .min(totals.len().saturating_sub(1))
    }

    pub(super) fn shuffle<T>(&mut self, values: &mut [T]) {
        for i in (1..values.len()).rev() {
            let j = self.below(i + 1);
            values.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_agree_with_the_system() {
        for n in -4000..4000 {
            let x = f64::from(n) * 0.013;
            let (got, want) = (exp(x), x.exp());
            assert!(
                (got - want).abs() <= 1e-12 * want,
                "exp({x}): {got} instead of {want}"
            );
            let back = ln(want);
            assert!(
                (back - x).abs() <= 1e-13 * x.abs().max(1.0),
                "ln({want}): {back}"
            );
        }
        assert_eq!(exp(0.0).to_bits(), 1.0_f64.to_bits());
        assert_eq!(ln(1.0).to_bits(), 0.0_f64.to_bits());
    }

    #[test]
    fn draws_have_the_stated_moments() {
        let mut draw = Draw::new(5, 0);
        let n = 40_000;
        let normals: Vec<f64> = (0..n).map(|_| draw.normal()).collect();
        let mean = normals.iter().sum::<f64>() / n as f64;
        let variance = normals.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        assert!(
            mean.abs() < 0.02 && (variance - 1.0).abs() < 0.03,
            "{mean} {variance}"
        );
        let lengths = (0..n).map(|_| draw.geometric(6.0)).sum::<usize>() as f64 / n as f64;
        assert!((lengths - 6.0).abs() < 0.15, "{lengths}");
        let mut counts = [0; 3];
        (0..n).for_each(|_| counts[draw.weighted(&[3.0, 3.5, 6.0], 2.0)] += 1);
        assert!(
            (counts[0] as f64 / n as f64 - 0.25).abs() < 0.01,
            "{counts:?}"
        );
        assert!(
            (counts[1] as f64 / n as f64 - 0.125).abs() < 0.01,
            "{counts:?}"
        );
    }
}
