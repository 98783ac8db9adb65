//! The inner loops of ALS on padded rows, written once over [`pulp::Simd`].
//!
//! Rows are padded with zeros to a multiple of [`LANES`] floats, so that no loop has a tail on any
//! instruction set. Each function is inlined into one dispatched region per block of rows: a call
//! per vector would cost as much as the vector.

use pulp::Simd;

/// Rows are padded to a multiple of this many floats: one AVX-512 register, one cache line.
pub(crate) const LANES: usize = 16;

/// `factors` rounded up to whole [`LANES`].
pub(crate) fn padded(factors: usize) -> usize {
    factors.div_ceil(LANES) * LANES
}

/// Floats that start on a cache line.
#[derive(Default)]
pub(crate) struct Aligned {
    data: Vec<f32>,
    start: usize,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut new = Self::default();
        new.grow(len);
        new
    }

    /// Makes room for `len` floats; what was inside is lost when it has to grow.
    pub(crate) fn grow(&mut self, len: usize) {
        if len > self.len || self.data.is_empty() {
            self.data = vec![0.0; len + LANES];
            self.start = self.data.as_ptr().align_offset(64).min(LANES);
        }
        self.len = self.len.max(len);
    }
}

impl Aligned {
    /// The first `len` floats, in the same memory.
    pub(crate) fn into_vec(mut self, len: usize) -> Vec<f32> {
        self.data.copy_within(self.start..self.start + len, 0);
        self.data.truncate(len);
        self.data.shrink_to_fit();
        self.data
    }
}

impl std::ops::Deref for Aligned {
    type Target = [f32];
    #[inline(always)]
    fn deref(&self) -> &[f32] {
        &self.data[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Aligned {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.data[self.start..self.start + self.len]
    }
}

#[inline(always)]
pub(crate) fn vectors<S: Simd>(x: &[f32]) -> &[S::f32s] {
    S::as_simd_f32s(x).0
}

#[inline(always)]
pub(crate) fn vectors_mut<S: Simd>(x: &mut [f32]) -> &mut [S::f32s] {
    S::as_mut_simd_f32s(x).0
}

/// `a · b`
#[inline(always)]
pub(crate) fn dot<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let (a, b) = (vectors::<S>(a), vectors::<S>(b));
    let zero = simd.splat_f32s(0.0);
    let (mut even, mut odd) = (zero, zero);
    let (pairs_a, rest_a) = a.as_chunks::<2>();
    let (pairs_b, rest_b) = b.as_chunks::<2>();
    for (a, b) in pairs_a.iter().zip(pairs_b) {
        even = simd.mul_add_f32s(a[0], b[0], even);
        odd = simd.mul_add_f32s(a[1], b[1], odd);
    }
    for (&a, &b) in rest_a.iter().zip(rest_b) {
        even = simd.mul_add_f32s(a, b, even);
    }
    simd.reduce_sum_f32s(simd.add_f32s(even, odd))
}

/// `y += alpha x`
#[inline(always)]
pub(crate) fn axpy<S: Simd>(simd: S, alpha: f32, x: &[f32], y: &mut [f32]) {
    let alpha = simd.splat_f32s(alpha);
    for (y, &x) in vectors_mut::<S>(y).iter_mut().zip(vectors::<S>(x)) {
        *y = simd.mul_add_f32s(alpha, x, *y);
    }
}

/// `y = x + beta y`
#[inline(always)]
pub(super) fn xpby<S: Simd>(simd: S, x: &[f32], beta: f32, y: &mut [f32]) {
    let beta = simd.splat_f32s(beta);
    for (y, &x) in vectors_mut::<S>(y).iter_mut().zip(vectors::<S>(x)) {
        *y = simd.mul_add_f32s(beta, *y, x);
    }
}

/// `out = alpha (x ∘ y)`
#[inline(always)]
pub(super) fn scaled_product<S: Simd>(simd: S, alpha: f32, x: &[f32], y: &[f32], out: &mut [f32]) {
    let alpha = simd.splat_f32s(alpha);
    let out = vectors_mut::<S>(out).iter_mut();
    for ((out, &x), &y) in out.zip(vectors::<S>(x)).zip(vectors::<S>(y)) {
        *out = simd.mul_f32s(simd.mul_f32s(alpha, x), y);
    }
}

/// The events of one row: which rows of the other side, and how much each weighs.
#[derive(Clone, Copy)]
pub(super) struct Events<'a> {
    pub indices: &'a [u32],
    /// `w = c − 1`; negative for a dislike of weight `|w|`, 0 for an event to be ignored.
    pub weights: &'a [f32],
}

impl<'a> Events<'a> {
    fn split_at(self, n: usize) -> (Self, Self) {
        let (indices, more_indices) = self.indices.split_at(n);
        let (weights, more_weights) = self.weights.split_at(n);
        (
            Self { indices, weights },
            Self {
                indices: more_indices,
                weights: more_weights,
            },
        )
    }
}

/// `c p` of an event: its confidence where it is a like, 0 where it is a dislike.
#[inline(always)]
pub(super) fn gain(weight: f32) -> f32 {
    if weight > 0.0 { 1.0 + weight } else { 0.0 }
}

/// One reading of `N` rows of the table does both halves of a product with the normal matrix:
///
/// - `RESIDUAL`: `out += Σ_j (c_j p_j − w_j (y_j·x)) y_j`, returning `Σ_j c_j (p_j − y_j·x)² − (y_j·x)²`;
/// - else `out += Σ_j w_j (y_j·x) y_j`, returning 0.
#[inline(always)]
fn normal_block<S: Simd, const N: usize, const RESIDUAL: bool>(
    simd: S,
    table: &[f32],
    events: Events<'_>,
    x: &[S::f32s],
    out: &mut [S::f32s],
) -> f32 {
    let width = x.len();
    let out = &mut out[..width];
    let mut rows: [&[S::f32s]; N] = [&[]; N];
    for (row, &index) in rows.iter_mut().zip(events.indices) {
        let stride = width * S::F32_LANES;
        *row = &vectors::<S>(&table[index as usize * stride..][..stride])[..width];
    }
    let mut sums = [simd.splat_f32s(0.0); N];
    for k in 0..width {
        for r in 0..N {
            sums[r] = simd.mul_add_f32s(rows[r][k], x[k], sums[r]);
        }
    }
    let mut loss = 0.0;
    let mut steps = [simd.splat_f32s(0.0); N];
    for r in 0..N {
        let score = simd.reduce_sum_f32s(sums[r]);
        let weight = events.weights[r];
        let mut step = weight.abs() * score;
        if RESIDUAL {
            let gain = gain(weight);
            step = gain - step;
            loss += gain * (1.0 - score) - score * step;
        }
        steps[r] = simd.splat_f32s(step);
    }
    for k in 0..width {
        let mut sum = out[k];
        for r in 0..N {
            sum = simd.mul_add_f32s(rows[r][k], steps[r], sum);
        }
        out[k] = sum;
    }
    loss
}

/// [`normal_block`] over all events, the next block's rows on their way from memory meanwhile.
#[inline(always)]
pub(super) fn normal_product<S: Simd, const RESIDUAL: bool>(
    simd: S,
    table: &[f32],
    events: Events<'_>,
    x: &[f32],
    out: &mut [f32],
) -> f64 {
    let stride = x.len();
    let (x, out) = (vectors::<S>(x), vectors_mut::<S>(out));
    let mut loss = 0.0f64;
    let mut rest = events;
    while rest.indices.len() >= 8 {
        let (block, tail) = rest.split_at(8);
        prefetch(table, stride, tail.indices, 8);
        loss += f64::from(normal_block::<S, 8, RESIDUAL>(simd, table, block, x, out));
        rest = tail;
    }
    if rest.indices.len() >= 4 {
        let (block, tail) = rest.split_at(4);
        loss += f64::from(normal_block::<S, 4, RESIDUAL>(simd, table, block, x, out));
        rest = tail;
    }
    while !rest.indices.is_empty() {
        let (block, tail) = rest.split_at(1);
        loss += f64::from(normal_block::<S, 1, RESIDUAL>(simd, table, block, x, out));
        rest = tail;
    }
    loss
}

/// Asks for the first `count` of these rows of the table ahead of their use.
#[inline(always)]
pub(super) fn prefetch(table: &[f32], stride: usize, indices: &[u32], count: usize) {
    #[cfg(target_arch = "x86_64")]
    for &index in indices.iter().take(count) {
        if let Some(row) = table.get(index as usize * stride..(index as usize + 1) * stride) {
            for line in row.chunks_exact(LANES) {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: a prefetch is a hint; it reads nothing, and the address is inside `row`.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (table, stride, indices, count);
}

/// `out[r][..16] += Σ_k a[r·row + k·step] · panel[k][..16]` for `N` rows: the heart of the small
/// matrix products. `out` is `N` rows of `stride` floats.
#[inline(always)]
fn panel_block<S: Simd, const N: usize>(
    simd: S,
    a: &[f32],
    (row, step): (usize, usize),
    panel: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let (panel, _) = panel.as_chunks::<LANES>();
    let n = panel.len();
    let zero = simd.splat_f32s(0.0);
    // At most 4 registers a row: 16 floats on NEON or SSE.
    let width = (LANES / S::F32_LANES).min(4);
    let mut sums = [[zero; 4]; N];
    if width == 2 {
        // AVX2, spelled out so that the sums stay in registers.
        let mut sums = [[zero; 2]; N];
        for k in 0..n {
            let b = vectors::<S>(&panel[k]);
            let (b0, b1) = (b[0], b[1]);
            for r in 0..N {
                let x = simd.splat_f32s(a[r * row + k * step]);
                sums[r][0] = simd.mul_add_f32s(x, b0, sums[r][0]);
                sums[r][1] = simd.mul_add_f32s(x, b1, sums[r][1]);
            }
        }
        for r in 0..N {
            let out = vectors_mut::<S>(&mut out[r * stride..][..LANES]);
            out[0] = simd.add_f32s(out[0], sums[r][0]);
            out[1] = simd.add_f32s(out[1], sums[r][1]);
        }
        return;
    }
    if width * S::F32_LANES < LANES {
        // No vector unit: plain sums.
        for k in 0..n {
            for r in 0..N {
                let x = a[r * row + k * step];
                for (out, &b) in out[r * stride..][..LANES].iter_mut().zip(&panel[k]) {
                    *out += x * b;
                }
            }
        }
        return;
    }
    for k in 0..n {
        let b = vectors::<S>(&panel[k]);
        for r in 0..N {
            let x = simd.splat_f32s(a[r * row + k * step]);
            for c in 0..width {
                sums[r][c] = simd.mul_add_f32s(x, b[c], sums[r][c]);
            }
        }
    }
    for r in 0..N {
        let out = vectors_mut::<S>(&mut out[r * stride..][..LANES]);
        for c in 0..width {
            out[c] = simd.add_f32s(out[c], sums[r][c]);
        }
    }
}

/// How many rows the Gram kernel packs at a time: 16 columns of them are 8 KiB.
pub(crate) const PACK: usize = 128;

/// `gram += rowsᵀ rows`, its blocks of 16 columns at and below the diagonal only.
///
/// `rows` is n × stride, `gram` stride × stride, `pack` at least `128 · stride` floats of scratch.
#[inline(always)]
pub(crate) fn add_gram<S: Simd>(
    simd: S,
    rows: &[f32],
    stride: usize,
    gram: &mut [f32],
    pack: &mut [f32],
) {
    for rows in rows.chunks(PACK * stride) {
        let n = rows.len() / stride;
        // Columns side by side: panel c holds columns 16c..16c+16 of every row.
        let pack = &mut pack[..n * stride];
        for (panel, c) in pack.chunks_exact_mut(n * LANES).zip((0..).step_by(LANES)) {
            let (panel, _) = panel.as_chunks_mut::<LANES>();
            for (to, from) in panel.iter_mut().zip(rows.chunks_exact(stride)) {
                to.copy_from_slice(&from[c..c + LANES]);
            }
        }
        for (i, a) in pack.chunks_exact(n * LANES).enumerate() {
            for (j, b) in pack.chunks_exact(n * LANES).take(i + 1).enumerate() {
                for r in (0..LANES).step_by(4) {
                    let out = &mut gram[(i * LANES + r) * stride + j * LANES..];
                    panel_block::<S, 4>(simd, &a[r..], (1, LANES), b, out, stride);
                }
            }
        }
    }
}

/// `out = rows · square`, where `square` was arranged by [`into_panels`].
#[inline(always)]
pub(super) fn multiply<S: Simd>(
    simd: S,
    rows: &[f32],
    panels: &[f32],
    stride: usize,
    out: &mut [f32],
) {
    out.fill(0.0);
    let mut rest = rows;
    let mut out = out;
    while !rest.is_empty() {
        let n = if rest.len() >= 4 * stride { 4 } else { 1 };
        let (block, tail) = rest.split_at(n * stride);
        let (to, out_tail) = out.split_at_mut(n * stride);
        for (c, panel) in panels.chunks_exact(stride * LANES).enumerate() {
            let to = &mut to[c * LANES..];
            if n == 4 {
                panel_block::<S, 4>(simd, block, (stride, 1), panel, to, stride);
            } else {
                panel_block::<S, 1>(simd, block, (stride, 1), panel, to, stride);
            }
        }
        (rest, out) = (tail, out_tail);
    }
}

/// A stride × stride matrix cut into panels of 16 columns, for [`multiply`].
pub(super) fn into_panels(square: &[f32], stride: usize) -> Vec<f32> {
    let mut panels = Vec::with_capacity(square.len());
    for c in (0..stride).step_by(LANES) {
        for row in square.chunks_exact(stride) {
            panels.extend_from_slice(&row[c..c + LANES]);
        }
    }
    panels
}

/// Factors a symmetric positive matrix, given by its lower triangle, as `L Lᵀ`, in place; the
/// upper triangle is overwritten with zeros. Returns whether every pivot was positive.
#[inline(always)]
pub(crate) fn cholesky<S: Simd>(simd: S, a: &mut [f32], n: usize, stride: usize) -> bool {
    // Right-looking on the rows of Lᵀ: mirror the triangle, then eliminate with whole vectors.
    for i in 0..n {
        for j in i + 1..n {
            a[i * stride + j] = a[j * stride + i];
        }
    }
    for k in 0..n {
        let pivot = a[k * stride + k];
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        let scale = 1.0 / pivot.sqrt();
        let from = k / LANES * LANES;
        let (above, below) = a.split_at_mut((k + 1) * stride);
        let row = &mut above[k * stride..];
        for x in &mut row[from..k] {
            *x = 0.0;
        }
        for x in &mut row[k..n] {
            *x *= scale;
        }
        let row = &row[..stride];
        for (i, target) in below.chunks_exact_mut(stride).take(n - k - 1).enumerate() {
            let i = k + 1 + i;
            let from = i / LANES * LANES;
            axpy(simd, -row[i], &row[from..], &mut target[from..]);
        }
    }
    true
}

/// Solves `Uᵀ U x = b` in place, with the rows of `U` as [`cholesky`] leaves them.
#[inline(always)]
pub(crate) fn cholesky_solve<S: Simd>(simd: S, u: &[f32], n: usize, stride: usize, x: &mut [f32]) {
    for k in 0..n {
        let row = &u[k * stride..][..stride];
        let value = x[k] / row[k];
        let from = k / LANES * LANES;
        // Columns before k in this vector are zero; column k itself is set afterwards.
        axpy(simd, -value, &row[from..], &mut x[from..stride]);
        x[k] = value;
    }
    for k in (0..n).rev() {
        let row = &u[k * stride..][..stride];
        let from = k / LANES * LANES;
        let value = x[k];
        x[k] = 0.0;
        x[k] = (value - dot(simd, &row[from..], &x[from..stride])) / row[k];
    }
}
