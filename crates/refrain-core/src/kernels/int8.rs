//! Vectors of 8-bit whole numbers: a quarter of the bytes, for a first pass over many rows.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// The nearest vector of numbers from −127 to 127 times a scale, which is returned: x ≈ scale · code.
///
/// Rounding is to nearest, so no value is off by more than half the scale. What is not finite counts
/// as 0; a vector of zeros has scale 0. The shorter of the two slices counts.
///
/// ```
/// let mut codes = [0; 3];
/// let scale = refrain_core::kernels::quantize_i8(&[0.5, -1.0, 0.0], &mut codes);
/// assert_eq!(codes, [64, -127, 0]);
/// assert_eq!(scale, 1.0 / 127.0);
/// ```
pub fn quantize_i8(x: &[f32], codes: &mut [i8]) -> f32 {
    let finite = |v: f32| if v.is_finite() { v } else { 0.0 };
    let most = x.iter().fold(0.0f32, |most, &v| most.max(finite(v).abs()));
    let scale = most / 127.0;
    if scale < f32::MIN_POSITIVE {
        codes.fill(0);
        return 0.0;
    }
    let inverse = 1.0 / f64::from(scale);
    for (code, &v) in codes.iter_mut().zip(x) {
        *code = (f64::from(finite(v)) * inverse).round_ties_even() as i8;
    }
    scale
}

/// The inner products of `query` with the rows of `rows`, which have its length and lie end to end.
///
/// Sums are exact for rows of up to 131,071 values, and wrap beyond.
///
/// ```
/// let mut out = [0; 2];
/// refrain_core::kernels::scores_i8(&[1, -2], &[3, 1, 100, 127], &mut out);
/// assert_eq!(out, [1, -154]);
/// ```
pub fn scores_i8(query: &[i8], rows: &[i8], out: &mut [i32]) {
    if query.is_empty() {
        out.fill(0);
        return;
    }
    let query: Vec<i16> = query.iter().map(|&q| q.into()).collect();
    dispatch(Scores(&query, rows, out));
}

struct Scores<'a>(&'a [i16], &'a [i8], &'a mut [i32]);

impl WithSimd for Scores<'_> {
    type Output = ();

    // Plain loops, which the compiler turns into the multiply-adds of 16-bit pairs that the dispatched
    // instruction set has.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Self(query, rows, out) = self;
        for (row, out) in rows.chunks_exact(query.len()).zip(out) {
            let mut sum = 0i32;
            for (&q, &r) in query.iter().zip(row) {
                sum = sum.wrapping_add(i32::from(q) * i32::from(r));
            }
            *out = sum;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kernels::reference::scores_i8_reference;

    proptest! {
        #[test]
        fn products_match_the_reference(
            dim in 1usize..130, rows in 0usize..9, seed in any::<u64>(),
        ) {
            use rand::RngExt;
            let mut rng = crate::rng::stream(seed, 3);
            let mut draw = |n: usize| -> Vec<i8> {
                (0..n).map(|_| rng.random_range(i8::MIN..=i8::MAX)).collect()
            };
            let (query, rows) = (draw(dim), draw(rows * dim));
            let mut out = vec![7; rows.len() / dim];
            scores_i8(&query, &rows, &mut out);
            prop_assert_eq!(out, scores_i8_reference(&query, &rows));
        }

        #[test]
        fn codes_are_the_nearest(x in proptest::collection::vec(-1e3f32..1e3, 0..40)) {
            let mut codes = vec![1; x.len()];
            let scale = quantize_i8(&x, &mut codes);
            for (&x, &code) in x.iter().zip(&codes) {
                let off = (f64::from(x) - f64::from(scale) * f64::from(code)).abs();
                prop_assert!(off <= f64::from(scale) * 0.5001, "{x} {code} {scale}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_counts_as_nothing() {
        let mut codes = [1; 4];
        assert_eq!(quantize_i8(&[0.0; 4], &mut codes), 0.0);
        assert_eq!(codes, [0; 4]);
        let scale = quantize_i8(&[f32::NAN, f32::INFINITY, -2.0, 1.0], &mut codes);
        assert_eq!((codes, scale), ([0, 0, -127, 64], 2.0 / 127.0));
        quantize_i8(&[1e-45, 0.0], &mut codes[..2]);
        scores_i8(&[], &[1], &mut []);
    }
}
