//! Vector kernels: dot, axpy, norms, and scoring many rows against many queries.
//!
//! Each picks the widest instructions the processor has at run time (AVX-512, AVX2 with FMA, NEON,
//! or plain code) through `pulp`. Results are the same for any number of threads; they differ in
//! the last bits between instruction sets, since sums are taken in another order. Every kernel has
//! a plain `*_reference` in [`reference`](mod@reference) that a property test holds it to.
//!
//! Slices of different lengths are not an error here: the shorter one counts, as with `zip`.

mod convolution;
mod int8;
mod matmul;
pub mod reference;
mod top_k;

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

pub use convolution::Convolution;
pub use int8::{quantize_i8, scores_i8};
pub use matmul::matmul_transposed;
pub use top_k::{Scored, TopK, top_k, top_k_products};

/// The processor's instruction set, found once.
static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

/// Runs `op` compiled for the instruction set of this processor.
#[inline]
pub(crate) fn dispatch<O: WithSimd>(op: O) -> O::Output {
    ARCH.dispatch(op)
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl WithSimd for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        dot_simd(simd, self.0, self.1)
    }
}

/// Four sums at once hide the latency of the multiply-add.
#[inline(always)]
pub(crate) fn dot_simd<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let n = a.len().min(b.len());
    let (a, a_tail) = S::as_simd_f32s(&a[..n]);
    let (b, b_tail) = S::as_simd_f32s(&b[..n]);
    let zero = simd.splat_f32s(0.0);
    let mut sums = [zero; 4];
    let (a4, a1) = pulp::as_arrays::<4, _>(a);
    let (b4, b1) = pulp::as_arrays::<4, _>(b);
    for (x, y) in a4.iter().zip(b4) {
        for i in 0..4 {
            sums[i] = simd.mul_add_e_f32s(x[i], y[i], sums[i]);
        }
    }
    for (x, y) in a1.iter().zip(b1) {
        sums[0] = simd.mul_add_e_f32s(*x, *y, sums[0]);
    }
    let sum = simd.add_f32s(
        simd.add_f32s(sums[0], sums[1]),
        simd.add_f32s(sums[2], sums[3]),
    );
    let tail: f32 = a_tail.iter().zip(b_tail).map(|(x, y)| x * y).sum();
    simd.reduce_sum_f32s(sum) + tail
}

/// The inner product of `a` and `b`.
///
/// ```
/// assert_eq!(refrain_core::kernels::dot(&[1.0, 2.0], &[3.0, 4.0]), 11.0);
/// ```
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    dispatch(Dot(a, b))
}

struct Axpy<'a>(f32, &'a [f32], &'a mut [f32]);

impl WithSimd for Axpy<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.1.len().min(self.2.len());
        let (x, x_tail) = S::as_simd_f32s(&self.1[..n]);
        let (y, y_tail) = S::as_mut_simd_f32s(&mut self.2[..n]);
        let alpha = simd.splat_f32s(self.0);
        for (x, y) in x.iter().zip(y) {
            *y = simd.mul_add_e_f32s(alpha, *x, *y);
        }
        for (x, y) in x_tail.iter().zip(y_tail) {
            *y += self.0 * x;
        }
    }
}

/// `y += alpha · x`.
pub fn axpy(alpha: f32, x: &[f32], y: &mut [f32]) {
    dispatch(Axpy(alpha, x, y));
}

struct Scale<'a>(f32, &'a mut [f32]);

impl WithSimd for Scale<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.1 {
            *x *= self.0;
        }
    }
}

/// `x *= alpha`.
pub fn scale(alpha: f32, x: &mut [f32]) {
    dispatch(Scale(alpha, x));
}

/// The Euclidean length of `x`.
pub fn norm(x: &[f32]) -> f32 {
    dot(x, x).sqrt()
}

/// Scales `x` to length 1 and returns the length it had; a zero vector stays zero.
pub fn normalize(x: &mut [f32]) -> f32 {
    let length = norm(x);
    if length > 0.0 && length.is_finite() {
        scale(1.0 / length, x);
    }
    length
}

struct Scores<'a> {
    query: &'a [f32],
    rows: &'a [f32],
    out: &'a mut [f32],
}

impl WithSimd for Scores<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let dim = self.query.len();
        for (row, out) in self.rows.chunks_exact(dim).zip(self.out) {
            *out = dot_simd(simd, self.query, row);
        }
    }
}

/// One query against many rows: `out[i] = dot(query, rows[i])`, with `rows` row-major and as wide
/// as the query.
pub fn scores(query: &[f32], rows: &[f32], out: &mut [f32]) {
    if query.is_empty() {
        out.fill(0.0);
    } else {
        dispatch(Scores { query, rows, out });
    }
}

/// The cosine of one query with many rows, laid out as for [`scores`]; 0 where either has no length.
///
/// ```
/// let mut out = [0.0; 2];
/// refrain_core::kernels::cosines(&[3.0, 4.0], &[6.0, 8.0, 0.0, 0.0], &mut out);
/// assert_eq!(out, [1.0, 0.0]);
/// ```
pub fn cosines(query: &[f32], rows: &[f32], out: &mut [f32]) {
    scores(query, rows, out);
    let length = norm(query);
    for (score, row) in out.iter_mut().zip(rows.chunks_exact(query.len().max(1))) {
        let lengths = length * norm(row);
        *score = if lengths > 0.0 { *score / lengths } else { 0.0 };
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn close(a: f32, b: f32, size: f32) -> bool {
        (a - b).abs() <= 1e-5 * (1.0 + size)
    }

    proptest! {
        #[test]
        fn vectors_match_the_reference(
            pairs in proptest::collection::vec((-9.0f32..9.0, -9.0f32..9.0), 0..300),
            alpha in -3.0f32..3.0,
            offset in 0usize..3,
        ) {
            let offset = offset.min(pairs.len());
            let x: Vec<f32> = pairs.iter().map(|p| p.0).collect();
            let y: Vec<f32> = pairs.iter().map(|p| p.1).collect();
            // An offset makes the slice unaligned.
            let (x, y) = (&x[offset..], &y[offset..]);
            let size: f32 = x.iter().zip(y).map(|(a, b)| (a * b).abs()).sum();
            prop_assert!(close(dot(x, y), reference::dot_reference(x, y), size));
            prop_assert!(close(norm(x), reference::dot_reference(x, x).sqrt(), size));
            let (mut fast, mut slow) = (y.to_vec(), y.to_vec());
            axpy(alpha, x, &mut fast);
            reference::axpy_reference(alpha, x, &mut slow);
            for (a, b) in fast.iter().zip(&slow) {
                prop_assert!(close(*a, *b, b.abs()));
            }
            scale(alpha, &mut fast);
            for (a, b) in fast.iter().zip(&slow) {
                prop_assert!(close(*a, *b * alpha, (b * alpha).abs()));
            }
            let old = normalize(&mut fast);
            prop_assert!(old == 0.0 || (norm(&fast) - 1.0).abs() < 1e-4);
        }

        #[test]
        fn one_query_matches_the_reference(
            dim in 1usize..40, n in 0usize..30, seed in any::<u64>(),
        ) {
            let mut rng = crate::rng::stream(seed, 0);
            let mut draw = |n: usize| -> Vec<f32> {
                (0..n).map(|_| rand::RngExt::random::<f32>(&mut rng) - 0.5).collect()
            };
            let (query, rows) = (draw(dim), draw(n * dim));
            let mut out = vec![0.0; n];
            scores(&query, &rows, &mut out);
            for (i, &got) in out.iter().enumerate() {
                let want = reference::dot_reference(&query, &rows[i * dim..(i + 1) * dim]);
                prop_assert!(close(got, want, dim as f32));
            }
        }
    }

    #[test]
    fn unequal_and_empty_slices() {
        assert_eq!(dot(&[1.0, 2.0, 3.0], &[1.0]), 1.0);
        assert_eq!(dot(&[], &[]), 0.0);
        let mut y = [1.0];
        axpy(2.0, &[1.0, 9.0], &mut y);
        assert_eq!(y, [3.0]);
        assert_eq!(normalize(&mut [0.0, 0.0]), 0.0);
        let mut out = [5.0; 2];
        scores(&[], &[], &mut out);
        assert_eq!(out, [0.0; 2]);
    }
}
