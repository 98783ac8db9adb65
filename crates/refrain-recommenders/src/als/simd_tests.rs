//! Each kernel against its reference, on this processor and on plain arrays as wide as SSE, AVX2 and
//! AVX-512 registers, so that the paths for other processors are tested too.

use proptest::prelude::*;
use pulp::{Arch, Scalar, Scalar128b, Scalar256b, Scalar512b, Simd, WithSimd};
use rand::RngExt;
use refrain_core::rng;

use super::factors::Factors;
use super::reference::{gram_reference, multiply_reference, normal_product_reference};
use super::simd::*;

fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = rng::stream(seed, 0);
    (0..len).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect()
}

fn assert_close(fast: &[f32], slow: &[f64]) {
    assert_eq!(fast.len(), slow.len());
    let size = slow.iter().fold(1.0f64, |m, x| m.max(x.abs()));
    for (&a, &b) in fast.iter().zip(slow) {
        assert!((f64::from(a) - b).abs() <= 2e-5 * size, "{a} {b}");
    }
}

/// Runs a check on every width.
macro_rules! on_all {
    ($check:expr) => {{
        let check = $check;
        Arch::new().dispatch(check);
        check.with_simd(Scalar);
        check.with_simd(Scalar128b);
        check.with_simd(Scalar256b);
        check.with_simd(Scalar512b);
    }};
}

#[derive(Clone, Copy)]
struct Products<'a> {
    rows: &'a [f32],
    square: &'a [f32],
    stride: usize,
}

impl WithSimd for Products<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            rows,
            square,
            stride,
        } = self;
        let mut out = vec![7.0; rows.len()];
        multiply(simd, rows, &into_panels(square, stride), stride, &mut out);
        assert_close(&out, &multiply_reference(rows, square, stride));

        let mut gram = vec![0.0; stride * stride];
        add_gram(simd, rows, stride, &mut gram, &mut vec![0.0; PACK * stride]);
        let mut expected = gram_reference(rows, stride);
        for i in 0..stride {
            for j in (i / LANES + 1) * LANES..stride {
                expected[i * stride + j] = 0.0; // only blocks up to the diagonal are made
            }
        }
        assert_close(&gram, &expected);
    }
}

#[derive(Clone, Copy)]
struct Normal<'a> {
    table: &'a [f32],
    events: Events<'a>,
    x: &'a [f32],
}

impl WithSimd for Normal<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { table, events, x } = self;
        let start = noise(x.len(), 9);
        let wide = || start.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
        let (mut out, mut expected) = (start.clone(), wide());
        assert_eq!(
            normal_product::<S, false>(simd, table, events, x, &mut out),
            0.0
        );
        normal_product_reference(table, events, x, false, &mut expected);
        assert_close(&out, &expected);

        let (mut out, mut expected) = (start.clone(), wide());
        let loss = normal_product::<S, true>(simd, table, events, x, &mut out);
        let loss_expected = normal_product_reference(table, events, x, true, &mut expected);
        assert_close(&out, &expected);
        assert!((loss - loss_expected).abs() <= 1e-4 * (1.0 + loss_expected.abs()));
    }
}

#[derive(Clone, Copy)]
struct Solve<'a> {
    /// n × n, symmetric positive.
    matrix: &'a [f64],
    b: &'a [f32],
}

impl WithSimd for Solve<'_> {
    type Output = ();
    fn with_simd<S: Simd>(self, simd: S) {
        let n = self.b.len();
        let stride = padded(n);
        let mut a = vec![0.0; stride * stride];
        for i in 0..n {
            for j in 0..=i {
                a[i * stride + j] = self.matrix[i * n + j] as f32;
            }
        }
        assert!(cholesky(simd, &mut a, n, stride));
        let mut x = vec![0.0; stride];
        x[..n].copy_from_slice(self.b);
        cholesky_solve(simd, &a, n, stride, &mut x);
        let product = |i: usize| {
            (0..n)
                .map(|j| self.matrix[i * n + j] * f64::from(x[j]))
                .sum::<f64>() as f32
        };
        let product: Vec<f32> = (0..n).map(product).collect();
        assert_close(
            &product,
            &self.b.iter().map(|&b| f64::from(b)).collect::<Vec<f64>>(),
        );
        assert!(!cholesky(simd, &mut vec![-1.0; stride * stride], n, stride));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn products(rows in 0usize..300, blocks in 1usize..4, seed in 0u64..1000) {
        let stride = blocks * LANES;
        let (rows, square) = (noise(rows * stride, seed), noise(stride * stride, seed + 1));
        on_all!(Products { rows: &rows, square: &square, stride });
    }

    #[test]
    fn normal_equations(n in 0usize..40, blocks in 1usize..6, seed in 0u64..1000) {
        let stride = blocks * LANES;
        let (table, x) = (noise(50 * stride, seed), noise(stride, seed + 1));
        let mut rng = rng::stream(seed, 2);
        let indices: Vec<u32> = (0..n).map(|_| rng.random_range(0..50)).collect();
        let weights: Vec<f32> =
            (0..n).map(|_| f32::from(rng.random_range(-2..9i8)) / 2.0).collect();
        let events = Events { indices: &indices, weights: &weights };
        on_all!(Normal { table: &table, events, x: &x });
    }

    #[test]
    fn factorisations(n in 1usize..70, seed in 0u64..1000) {
        let (root, b) = (noise(n * n, seed), noise(n, seed + 1));
        let mut matrix = gram_reference(&root, n);
        for i in 0..n {
            matrix[i * n + i] += 1.0;
        }
        on_all!(Solve { matrix: &matrix, b: &b });
    }

    #[test]
    fn rotations_keep_scores(factors in 1usize..40, rows in 1usize..200, seed in 0u64..1000) {
        let dense = noise(rows * factors, seed);
        let mut rotated = Factors::from_dense(&dense, factors);
        let rotation = rotated.diagonalise().unwrap();
        let after = rotated.into_dense();
        // Products of rows stay; the Gram matrix is diagonal, and falls.
        let inner = |m: &[f32], a: usize, b: usize| -> f64 {
            let row = |r: usize| m[r * factors..][..factors].iter().map(|&v| f64::from(v));
            row(a).zip(row(b)).map(|(a, b)| a * b).sum()
        };
        for (a, b) in [(0, 0), (0, rows - 1), (rows / 2, rows / 3)] {
            prop_assert!((inner(&dense, a, b) - inner(&after, a, b)).abs() < 1e-4);
        }
        let gram = gram_reference(&after, factors);
        let size = f64::from(rotation.spectrum[0]) + 1e-3;
        for i in 0..factors {
            for j in 0..factors {
                let expected = if i == j { f64::from(rotation.spectrum[i]) } else { 0.0 };
                prop_assert!((gram[i * factors + j] - expected).abs() < 1e-5 * size);
            }
        }
        prop_assert!(rotation.spectrum.is_sorted_by(|a, b| a >= b));
    }
}
