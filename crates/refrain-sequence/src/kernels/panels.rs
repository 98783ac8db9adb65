//! Products of a few rows with a matrix that is arranged once and read many times.
//!
//! A general product rearranges its right-hand side at every call, or reads it with long strides;
//! a recurrent layer multiplies the same matrix with the few rows of a batch at every step. Here
//! the matrix is cut into panels of as many columns as two registers hold, and each tile of up to
//! six rows by one panel is summed in registers (Goto and van de Geijn, 2008).

use std::ops::Range;

use pulp::{Simd, WithSimd};

use super::ARCH;
use super::gemm::{Into, Mat};

/// Rows of a tile: with two registers of columns twelve sums at once, which hide how long each
/// operation takes and leave registers for what is multiplied.
const ROWS: usize = 6;

/// Places of a sum taken at once: so much of a panel stays in the nearest cache.
const DEPTH: usize = 256;

/// Rows taken at once: so much of them stays in the second cache.
const BLOCK: usize = 16 * ROWS;

/// A cache line, in values.
const LINE: usize = 16;

/// Columns of a panel.
#[inline(always)]
fn width_of<S: Simd>() -> usize {
    2 * S::F32_LANES
}

struct Width;

impl WithSimd for Width {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        width_of::<S>()
    }
}

/// A matrix `[rows, cols]`, arranged for products with it on their right.
#[derive(Debug, Default)]
pub struct Panels {
    /// By pieces of [`DEPTH`] rows, then by panels, then row by row; zeros fill the last panel.
    data: Vec<f32>,
    /// Where the first panel begins: on a cache line.
    start: usize,
    rows: usize,
    cols: usize,
}

impl Panels {
    /// Arranges a matrix, in the memory of the one before.
    pub fn arrange(&mut self, b: Mat<'_>) {
        let width = ARCH.dispatch(Width);
        let (rows, cols) = b.shape();
        let panels = cols.div_ceil(width);
        self.data.resize(rows * panels * width + LINE, 0.0);
        self.start = self.data.as_ptr().align_offset(4 * LINE).min(LINE);
        (self.rows, self.cols) = (rows, cols);
        let mut out = &mut self.data[self.start..];
        for from in (0..rows).step_by(DEPTH) {
            let here = from..rows.min(from + DEPTH);
            for panel in 0..panels {
                let (own, rest) = out.split_at_mut(here.len() * width);
                b.copy_columns(here.clone(), panel * width, width, own);
                out = rest;
            }
        }
    }
}

/// `c = a b`, or added to it, on the calling thread: `c` is `[m, n]`, `a` `[m, k]`, row by row;
/// `tiles` is memory to work in.
pub fn product(c: &mut [f32], into: Into, a: &[f32], b: &Panels, tiles: &mut Vec<f32>) {
    let (k, n) = (b.rows, b.cols);
    if c.is_empty() {
        return;
    }
    if k == 0 {
        if into == Into::Replace {
            c.fill(0.0);
        }
        return;
    }
    let m = a.len() / k;
    assert_eq!((a.len(), c.len()), (m * k, m * n), "shapes of a product");
    let product = Product {
        c,
        into,
        a,
        b,
        tiles,
    };
    ARCH.dispatch(product);
}

struct Product<'a> {
    c: &'a mut [f32],
    into: Into,
    a: &'a [f32],
    b: &'a Panels,
    tiles: &'a mut Vec<f32>,
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (m, k) = (self.a.len() / self.b.rows, self.b.rows);
        let panels = self.b.cols.div_ceil(width_of::<S>());
        let mut rest = &self.b.data[self.b.start..];
        for from in (0..k).step_by(DEPTH) {
            let places = from..k.min(from + DEPTH);
            let (here, after) = rest.split_at(places.len() * panels * width_of::<S>());
            rest = after;
            let replace = from == 0 && self.into == Into::Replace;
            for top in (0..m).step_by(BLOCK) {
                let rows = top..m.min(top + BLOCK);
                self.block(simd, rows, places.clone(), here, replace);
            }
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn block<S: Simd>(
        &mut self,
        simd: S,
        rows: Range<usize>,
        places: Range<usize>,
        panels: &[f32],
        replace: bool,
    ) {
        let (k, n, depth) = (self.b.rows, self.b.cols, places.len());
        // Tiles of nearly the same height: one of few rows would wait for its own sums.
        let count = rows.len().div_ceil(ROWS);
        let height = |tile: usize| rows.len() / count + usize::from(tile < rows.len() % count);
        self.tiles.resize(count * depth * ROWS, 0.0);
        let mut row = rows.start;
        for (t, tile) in self.tiles.chunks_exact_mut(depth * ROWS).enumerate() {
            let (tile, _) = tile.as_chunks_mut::<ROWS>();
            for r in 0..height(t) {
                let values = &self.a[(row + r) * k..][places.clone()];
                tile.iter_mut().zip(values).for_each(|(t, &x)| t[r] = x);
            }
            row += height(t);
        }
        let panels = panels.chunks_exact(depth * width_of::<S>());
        for (j, panel) in panels.enumerate() {
            let left = j * width_of::<S>();
            let columns = left..n.min(left + width_of::<S>());
            let mut row = rows.start;
            for (t, tile) in self.tiles.chunks_exact(depth * ROWS).enumerate() {
                let (tile, _) = tile.as_chunks::<ROWS>();
                let out = Out {
                    rows: &mut self.c[row * n..(row + height(t)) * n],
                    n,
                    columns: columns.clone(),
                    replace,
                };
                match height(t) {
                    1 => out.tile::<S, 1>(simd, tile, panel),
                    2 => out.tile::<S, 2>(simd, tile, panel),
                    3 => out.tile::<S, 3>(simd, tile, panel),
                    4 => out.tile::<S, 4>(simd, tile, panel),
                    5 => out.tile::<S, 5>(simd, tile, panel),
                    _ => out.tile::<S, 6>(simd, tile, panel),
                }
                row += height(t);
            }
        }
    }
}

/// Where a tile's sums go: some columns of some rows of `n` values.
struct Out<'a> {
    rows: &'a mut [f32],
    n: usize,
    columns: Range<usize>,
    replace: bool,
}

impl Out<'_> {
    #[inline(always)]
    fn tile<S: Simd, const M: usize>(self, simd: S, a: &[[f32; ROWS]], panel: &[f32]) {
        let (b, _) = S::as_simd_f32s(panel);
        let (b, _) = b.as_chunks::<2>();
        let mut sums = [[simd.splat_f32s(0.0); 2]; M];
        for (a, b) in a.iter().zip(b) {
            for (sums, &a) in sums.iter_mut().zip(a) {
                let a = simd.splat_f32s(a);
                sums[0] = simd.mul_add_e_f32s(a, b[0], sums[0]);
                sums[1] = simd.mul_add_e_f32s(a, b[1], sums[1]);
            }
        }
        for (row, sums) in self.rows.chunks_exact_mut(self.n).zip(&sums) {
            let row = &mut row[self.columns.clone()];
            if row.len() == width_of::<S>()
                && let ([x, y], _) = S::as_mut_simd_f32s(row)
            {
                (*x, *y) = match self.replace {
                    true => (sums[0], sums[1]),
                    false => (simd.add_f32s(*x, sums[0]), simd.add_f32s(*y, sums[1])),
                };
                continue;
            }
            let lanes: &[f32] = pulp::bytemuck::cast_slice(sums);
            for (x, &sum) in row.iter_mut().zip(lanes) {
                *x = if self.replace { sum } else { *x + sum };
            }
        }
    }
}
