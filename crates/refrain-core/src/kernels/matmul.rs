//! `A · Bᵀ` for row-major `A` and `B`: many queries against many rows.
//!
//! The rows of `B` are packed into panels of two registers' width, laid out so that one step of the
//! inner loop reads them in order; a tile of 6 × 2 registers is summed without ever leaving them.
//! The bound is the multiply-add units: `2·m·n·dim` operations.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// Rows of `A` in one tile.
pub(super) const TILE: usize = 6;

/// Rows packed; pack once, multiply often.
pub(super) struct PackedRows {
    /// Panel after panel, each `[dim][width]`, padded with zero rows.
    data: Vec<f32>,
    rows: usize,
    dim: usize,
    /// Rows in a panel: two registers.
    width: usize,
}

struct Width;

impl WithSimd for Width {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        2 * S::F32_LANES
    }
}

impl PackedRows {
    /// Packs row-major `rows`, each of `dim` values; values after the last whole row are ignored.
    pub(super) fn new(rows: &[f32], dim: usize) -> Self {
        let width = dispatch(Width);
        let n = rows.len().checked_div(dim).unwrap_or(0);
        let mut data = vec![0.0; n.div_ceil(width) * width * dim];
        if dim > 0 {
            for (i, row) in rows.chunks_exact(dim).enumerate() {
                let at = i / width * width * dim + i % width;
                for (k, &value) in row.iter().enumerate() {
                    data[at + k * width] = value;
                }
            }
        }
        Self {
            data,
            rows: n,
            dim,
            width,
        }
    }

    /// How many rows were packed.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// How far apart the rows of [`products`](Self::products) are.
    pub(super) fn stride(&self) -> usize {
        self.rows.next_multiple_of(self.width)
    }

    /// `queries · rowsᵀ` into `out`, row-major.
    pub(super) fn products(&self, queries: &PackedQueries, out: &mut Vec<f32>) {
        let n = queries.0.len().checked_div(self.dim).unwrap_or(0);
        out.resize(n * self.stride(), 0.0);
        dispatch(Multiply {
            tiles: &queries.0,
            panels: &self.data,
            dim: self.dim,
            out,
            stride: self.stride(),
        });
    }
}

/// Queries as the inner loop reads them: tile after tile, each `[dim][TILE]`, padded with zeros.
pub(super) struct PackedQueries(Vec<f32>);

impl PackedQueries {
    /// Packs row-major `queries`, each of `dim` values.
    pub(super) fn new(queries: &[f32], dim: usize) -> Self {
        let mut data = vec![0.0; (queries.len() / dim).next_multiple_of(TILE) * dim];
        for (tile, queries) in data
            .chunks_exact_mut(TILE * dim)
            .zip(queries.chunks(TILE * dim))
        {
            for (m, query) in queries.chunks_exact(dim).enumerate() {
                for (step, &value) in tile.chunks_exact_mut(TILE).zip(query) {
                    step[m] = value;
                }
            }
        }
        Self(data)
    }
}

struct Multiply<'a> {
    tiles: &'a [f32],
    panels: &'a [f32],
    dim: usize,
    out: &'a mut [f32],
    stride: usize,
}

impl WithSimd for Multiply<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            tiles,
            panels,
            dim,
            out,
            stride,
        } = self;
        let width = 2 * S::F32_LANES;
        // A panel stays in the first-level cache while every tile passes it.
        for (p, panel) in panels.chunks_exact(width * dim).enumerate() {
            let tiles = tiles.chunks_exact(TILE * dim);
            for (tile, out) in tiles.zip(out.chunks_mut(TILE * stride)) {
                let sums = products(simd, tile, panel);
                for (sums, row) in sums.iter().zip(out.chunks_mut(stride)) {
                    let (row, _) = S::as_mut_simd_f32s(&mut row[p * width..(p + 1) * width]);
                    row.copy_from_slice(sums);
                }
            }
        }
    }
}

/// The inner products of a tile's queries with a panel's rows.
#[inline(always)]
fn products<S: Simd>(simd: S, tile: &[f32], panel: &[f32]) -> [[S::f32s; 2]; TILE] {
    let mut sums = [[simd.splat_f32s(0.0); 2]; TILE];
    let (panel, _) = pulp::as_arrays::<2, _>(S::as_simd_f32s(panel).0);
    for (a, b) in pulp::as_arrays::<TILE, _>(tile).0.iter().zip(panel) {
        for (sums, &a) in sums.iter_mut().zip(a) {
            let a = simd.splat_f32s(a);
            sums[0] = simd.mul_add_e_f32s(a, b[0], sums[0]);
            sums[1] = simd.mul_add_e_f32s(a, b[1], sums[1]);
        }
    }
    sums
}

/// Every row of `a` with every row of `b`: `out[i][j] = dot(a[i], b[j])`.
///
/// `a` is `m × dim`, `b` is `n × dim`, `out` is `m × n`, all row-major; whatever of `out` lies
/// beyond is left alone. One thread; callers split `a`.
pub fn matmul_transposed(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    if dim == 0 || b.len() < dim {
        return;
    }
    let rows = PackedRows::new(b, dim);
    let n = rows.len();
    let mut products = Vec::new();
    for (a, out) in a.chunks(TILE * dim).zip(out.chunks_mut(TILE * n)) {
        rows.products(&PackedQueries::new(a, dim), &mut products);
        let products = products.chunks_exact(rows.stride()).take(a.len() / dim);
        for (out, products) in out.chunks_mut(n).zip(products) {
            let len = out.len();
            out.copy_from_slice(&products[..len]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::super::reference::matmul_transposed_reference;
    use super::*;

    proptest! {
        #[test]
        fn matches_the_reference(
            m in 0usize..20, n in 0usize..70, dim in 0usize..70, seed in any::<u64>(),
        ) {
            let mut rng = crate::rng::stream(seed, 1);
            let mut draw = |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random::<f32>() - 0.5).collect() };
            let (a, b) = (draw(m * dim), draw(n * dim));
            let mut out = vec![f32::NAN; if dim == 0 { 0 } else { m * n }];
            matmul_transposed(&a, &b, dim, &mut out);
            let want = matmul_transposed_reference(&a, &b, dim);
            prop_assert_eq!(out.len(), want.len());
            for (got, want) in out.iter().zip(&want) {
                prop_assert!((got - want).abs() < 1e-4, "{} {}", got, want);
            }
        }
    }
}
