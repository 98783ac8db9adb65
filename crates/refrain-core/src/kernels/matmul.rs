//! `A · Bᵀ` for row-major `A` and `B`: many queries against many rows.
//!
//! The rows of `B` are packed into panels of two registers' width, laid out so that one step of the
//! inner loop reads them in order; a tile of 6 × 2 registers is summed without ever leaving them.
//! The bound is the multiply-add units: `2·m·n·dim` operations.

use pulp::{Simd, WithSimd};

use super::dispatch;

/// Rows of `A` in one tile.
pub(super) const TILE: usize = 6;

/// Rows packed for [`matmul_transposed`]; pack once, multiply often.
#[derive(Debug, Clone)]
pub struct PackedRows {
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
    pub fn new(rows: &[f32], dim: usize) -> Self {
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
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Rows in a panel.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// `queries · rows[from..from + n]ᵀ` into `out`, whose rows are `stride` apart. `from` is a
    /// multiple of the panel width, and `stride` has room for whole panels.
    pub(super) fn multiply(
        &self,
        queries: &[f32],
        from: usize,
        n: usize,
        out: &mut [f32],
        stride: usize,
    ) {
        if self.dim > 0 && n > 0 {
            let start = from * self.dim;
            let end = (from + n.next_multiple_of(self.width)) * self.dim;
            let panels = &self.data[start..end.min(self.data.len())];
            dispatch(Multiply {
                queries,
                panels,
                dim: self.dim,
                out,
                stride,
            });
        } else {
            out.fill(0.0);
        }
    }
}

struct Multiply<'a> {
    queries: &'a [f32],
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
            queries,
            panels,
            dim,
            out,
            stride,
        } = self;
        let width = 2 * S::F32_LANES;
        let tiles = queries
            .chunks(TILE * dim)
            .zip(out.chunks_mut(TILE * stride));
        for (queries, out) in tiles {
            for (p, panel) in panels.chunks_exact(width * dim).enumerate() {
                let out = &mut out[p * width..];
                // The number of rows is a constant in each arm, so that the sums stay in registers.
                match queries.len() / dim {
                    6 => tile::<S, 6>(simd, queries, panel, dim, out, stride),
                    5 => tile::<S, 5>(simd, queries, panel, dim, out, stride),
                    4 => tile::<S, 4>(simd, queries, panel, dim, out, stride),
                    3 => tile::<S, 3>(simd, queries, panel, dim, out, stride),
                    2 => tile::<S, 2>(simd, queries, panel, dim, out, stride),
                    1 => tile::<S, 1>(simd, queries, panel, dim, out, stride),
                    _ => {}
                }
            }
        }
    }
}

#[inline(always)]
fn tile<S: Simd, const M: usize>(
    simd: S,
    queries: &[f32],
    panel: &[f32],
    dim: usize,
    out: &mut [f32],
    stride: usize,
) {
    let lanes = S::F32_LANES;
    let mut sums = [[simd.splat_f32s(0.0); 2]; M];
    let rows: [&[f32]; M] = std::array::from_fn(|m| &queries[m * dim..(m + 1) * dim]);
    let (steps, _) = S::as_simd_f32s(panel);
    for (k, b) in steps.chunks_exact(2).enumerate().take(dim) {
        for m in 0..M {
            let a = simd.splat_f32s(rows[m][k]);
            sums[m][0] = simd.mul_add_e_f32s(a, b[0], sums[m][0]);
            sums[m][1] = simd.mul_add_e_f32s(a, b[1], sums[m][1]);
        }
    }
    for (m, sums) in sums.iter().enumerate() {
        let row = &mut out[m * stride..m * stride + 2 * lanes];
        let (row, _) = S::as_mut_simd_f32s(row);
        row[0] = sums[0];
        row[1] = sums[1];
    }
}

/// Every row of `a` with every row of `b`: `out[i][j] = dot(a[i], b[j])`.
///
/// `a` is `m × dim`, `b` is `n × dim`, `out` is `m × n`, all row-major; whatever of `out` lies
/// beyond is left alone. One thread; callers split `a`.
pub fn matmul_transposed(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    let packed = PackedRows::new(b, dim);
    let n = packed.len();
    if n == 0 {
        return;
    }
    let stride = n.next_multiple_of(packed.width());
    let mut tile = vec![0.0; TILE * stride];
    for (a, out) in a.chunks(TILE * dim).zip(out.chunks_mut(TILE * n)) {
        packed.multiply(a, 0, n, &mut tile, stride);
        for (out, tile) in out
            .chunks_mut(n)
            .zip(tile.chunks(stride))
            .take(a.len() / dim)
        {
            let len = out.len();
            out.copy_from_slice(&tile[..len]);
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
