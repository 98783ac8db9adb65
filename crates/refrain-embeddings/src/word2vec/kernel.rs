//! One window of text, as two small matrix products.
//!
//! A window has `B` input rows and `M` output rows, each with a label. With `X` the inputs `[B, D]`
//! and `Y` the outputs `[M, D]`,
//!
//! ```text
//! G  = η · w ⊙ (label − σ(X Yᵀ))        [B, M]
//! X += G Y       Y += Gᵀ X               both from the old X and Y
//! ```
//!
//! which is one step of gradient descent on the cross-entropy `Σ w (log(1 + eˣʸ) − label·x·y)`. A
//! word that stands twice in the window is one row with weight two and the mean of its labels, so
//! that rows never alias and the step is exactly that of the sum. Sharing the negatives makes the
//! arithmetic a matrix product (Ji, Satish, Li and Dubey, *Parallelizing Word2Vec in Shared and
//! Distributed Memory*, 2016): rows are read once a window instead of once a pair, and every load
//! feeds several multiplications.
//!
//! Where one input is made of several rows, as the mean of the contexts or of a word's n-grams, that
//! mean is the only row of `X`, and its change is added to each row it is made of.
//!
//! Cost: `6·B·M·D` floating-point operations and `B + M` rows read and written.

// Indices run over a constant number of registers: as iterators, they leave them.
#![allow(clippy::needless_range_loop)]

use pulp::{Simd, WithSimd};

use super::windows::Window;

/// Floats a row is padded to: one cache line, and a multiple of every vector width.
pub(super) const LINE: usize = 16;

/// Output rows handled together: their values and their updates fill the vector registers.
const BLOCK: usize = 6;

/// Rows of `dim` floats, each padded with zeros to whole cache lines and beginning on one.
#[derive(Debug, Clone)]
pub(super) struct Rows {
    buffer: Vec<f32>,
    start: usize,
    len: usize,
    stride: usize,
}

impl Rows {
    /// `count` rows of zeros.
    pub(super) fn zeros(count: usize, dim: usize) -> Self {
        let stride = stride(dim);
        let len = count * stride;
        let buffer = vec![0.0; len + LINE];
        let start = buffer
            .as_ptr()
            .align_offset(LINE * size_of::<f32>())
            .min(LINE);
        Self {
            buffer,
            start,
            len,
            stride,
        }
    }

    /// Rows from `count × dim` values end to end.
    pub(super) fn from_dense(values: &[f32], dim: usize) -> Self {
        let mut rows = Self::zeros(values.len() / dim.max(1), dim);
        rows.copy(0, values, dim);
        rows
    }

    /// Copies rows that lie end to end in `values` to the rows from `first` on.
    pub(super) fn copy(&mut self, first: usize, values: &[f32], dim: usize) {
        let stride = self.stride;
        for (row, value) in self
            .as_mut_slice()
            .chunks_exact_mut(stride)
            .skip(first)
            .zip(values.chunks(dim))
        {
            row[..value.len()].copy_from_slice(value);
        }
    }

    /// The values without their padding.
    pub(super) fn to_dense(&self, dim: usize) -> Vec<f32> {
        self.as_slice()
            .chunks_exact(self.stride)
            .flat_map(|row| &row[..dim])
            .copied()
            .collect()
    }

    /// Makes room for `count` rows; the values of those that are there stay.
    pub(super) fn reserve(&mut self, count: usize) {
        let len = count * self.stride;
        if len > self.len {
            let mut grown = Self::zeros((count + count / 2).max(64), self.stride);
            grown.as_mut_slice()[..self.len].copy_from_slice(self.as_slice());
            *self = grown;
        }
    }

    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &self.buffer[self.start..self.start + self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut self.buffer[self.start..self.start + self.len]
    }
}

/// The padded length of a row.
pub(super) fn stride(dim: usize) -> usize {
    dim.div_ceil(LINE) * LINE
}

/// A step on two tables, with learning rate `rate`; rows are `stride` floats long.
///
/// It is run by [`Simd::vectorize`], so that everything in it is compiled for the processor's
/// vectors; nothing in it is a closure, which the compiler might not inline.
#[derive(Debug)]
pub(super) struct Step<'a> {
    pub(super) window: &'a mut Window,
    pub(super) inputs: &'a mut [f32],
    pub(super) outputs: &'a mut [f32],
    pub(super) stride: usize,
    pub(super) rate: f32,
}

impl WithSimd for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            window,
            inputs,
            outputs,
            stride,
            rate,
        } = self;
        match window.components.is_empty() {
            true => window.step(simd, inputs, outputs, stride, rate),
            false => window.composed(simd, inputs, outputs, stride, rate),
        }
    }
}

impl Window {
    /// A step whose one input is the mean of the components' rows.
    #[inline(always)]
    fn composed<S: Simd>(
        &mut self,
        simd: S,
        inputs: &mut [f32],
        outputs: &mut [f32],
        stride: usize,
        rate: f32,
    ) {
        let mut hidden = std::mem::take(&mut self.hidden);
        hidden.clear();
        hidden.resize(2 * stride, 0.0);
        let (mean, new) = hidden.split_at_mut(stride);
        for &at in &self.components {
            for (sum, value) in mean.iter_mut().zip(&inputs[at..at + stride]) {
                *sum += value;
            }
        }
        let scale = 1.0 / self.components.len() as f32;
        for (value, new) in mean.iter_mut().zip(new.iter_mut()) {
            *value *= scale;
            *new = *value;
        }
        self.step(simd, new, outputs, stride, rate);
        for (new, old) in new.iter_mut().zip(mean.iter()) {
            *new -= old;
        }
        for &at in &self.components {
            for (value, change) in inputs[at..at + stride].iter_mut().zip(new.iter()) {
                *value += change;
            }
        }
        self.hidden = hidden;
    }

    #[inline(always)]
    fn step<S: Simd>(
        &mut self,
        simd: S,
        inputs: &mut [f32],
        outputs: &mut [f32],
        stride: usize,
        rate: f32,
    ) {
        let lanes = size_of::<S::f32s>() / size_of::<f32>();
        let (x, _) = S::as_mut_simd_f32s(inputs);
        let (y, _) = S::as_mut_simd_f32s(outputs);
        let vectors = stride / lanes;
        let (b, m) = (self.at_inputs.len(), self.at_outputs.len());
        let padded = (b * m).div_ceil(LINE) * LINE;
        self.logits.clear();
        self.logits.resize(padded, 0.0);
        self.g.resize(padded, 0.0);

        for first in (0..m).step_by(BLOCK) {
            match (m - first).min(BLOCK) {
                1 => self.products::<S, 1>(simd, x, y, vectors, lanes, first),
                2 => self.products::<S, 2>(simd, x, y, vectors, lanes, first),
                3 => self.products::<S, 3>(simd, x, y, vectors, lanes, first),
                4 => self.products::<S, 4>(simd, x, y, vectors, lanes, first),
                5 => self.products::<S, 5>(simd, x, y, vectors, lanes, first),
                _ => self.products::<S, BLOCK>(simd, x, y, vectors, lanes, first),
            }
        }

        sigmoid_into(simd, &self.logits, &mut self.g);
        for (row, &weight) in self.g.chunks_exact_mut(m.max(1)).zip(&self.input_weights) {
            let scale = rate * weight;
            let targets = self.output_weights.iter().zip(&self.labels);
            for (g, (&w, &label)) in row.iter_mut().zip(targets) {
                *g = scale * w * (label - *g);
            }
        }

        if m > BLOCK {
            // Later blocks must see the inputs as they were before the first one changed them.
            self.old.clear();
            let values = vectors * lanes;
            let flat: &[S::f32s] = x;
            self.old.resize(b * values, 0.0);
            let (old, _) = S::as_mut_simd_f32s(&mut self.old);
            for (to, &from) in old.chunks_exact_mut(vectors).zip(&self.at_inputs) {
                to.copy_from_slice(&flat[from / lanes..from / lanes + vectors]);
            }
        }
        for first in (0..m).step_by(BLOCK) {
            match (m - first).min(BLOCK) {
                1 => self.update::<S, 1>(simd, x, y, vectors, lanes, first),
                2 => self.update::<S, 2>(simd, x, y, vectors, lanes, first),
                3 => self.update::<S, 3>(simd, x, y, vectors, lanes, first),
                4 => self.update::<S, 4>(simd, x, y, vectors, lanes, first),
                5 => self.update::<S, 5>(simd, x, y, vectors, lanes, first),
                _ => self.update::<S, BLOCK>(simd, x, y, vectors, lanes, first),
            }
        }
    }

    /// `X Yᵀ` for the `N` outputs from `first`, two inputs at a time.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // several arrays of registers, one index
    fn products<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        x: &[S::f32s],
        y: &[S::f32s],
        vectors: usize,
        lanes: usize,
        first: usize,
    ) {
        let m = self.at_outputs.len();
        let mut outs: [&[S::f32s]; N] = [&[]; N];
        for j in 0..N {
            let at = self.at_outputs[first + j] / lanes;
            outs[j] = &y[at..at + vectors];
        }
        let zero = simd.splat_f32s(0.0);
        let mut i = 0;
        while i + 1 < self.at_inputs.len() {
            let at = self.at_inputs[i] / lanes;
            let x0 = &x[at..at + vectors];
            let at = self.at_inputs[i + 1] / lanes;
            let x1 = &x[at..at + vectors];
            let mut s0 = [zero; N];
            let mut s1 = [zero; N];
            for v in 0..vectors {
                for j in 0..N {
                    let out = outs[j][v];
                    s0[j] = simd.mul_add_e_f32s(x0[v], out, s0[j]);
                    s1[j] = simd.mul_add_e_f32s(x1[v], out, s1[j]);
                }
            }
            for j in 0..N {
                self.logits[i * m + first + j] = simd.reduce_sum_f32s(s0[j]);
                self.logits[(i + 1) * m + first + j] = simd.reduce_sum_f32s(s1[j]);
            }
            i += 2;
        }
        if i < self.at_inputs.len() {
            let at = self.at_inputs[i] / lanes;
            let x0 = &x[at..at + vectors];
            let mut s0 = [zero; N];
            for v in 0..vectors {
                for j in 0..N {
                    s0[j] = simd.mul_add_e_f32s(x0[v], outs[j][v], s0[j]);
                }
            }
            for j in 0..N {
                self.logits[i * m + first + j] = simd.reduce_sum_f32s(s0[j]);
            }
        }
    }

    /// `X += G Y` and `Y += Gᵀ X` for the `N` outputs from `first`, one vector of every row at a
    /// time: the outputs' values and sums stay in registers while the inputs stream past.
    #[inline(always)]
    #[allow(clippy::needless_range_loop)] // several arrays of registers, one index
    fn update<S: Simd, const N: usize>(
        &mut self,
        simd: S,
        x: &mut [S::f32s],
        y: &mut [S::f32s],
        vectors: usize,
        lanes: usize,
        first: usize,
    ) {
        let m = self.at_outputs.len();
        let (old, _) = S::as_simd_f32s(&self.old);
        let blocks = m > BLOCK;
        let mut at = [0; N];
        for j in 0..N {
            at[j] = self.at_outputs[first + j] / lanes;
        }
        for v in 0..vectors {
            let mut out = [simd.splat_f32s(0.0); N];
            for j in 0..N {
                out[j] = y[at[j] + v];
            }
            let mut sum = out;
            for (i, &from) in self.at_inputs.iter().enumerate() {
                let value = &mut x[from / lanes + v];
                let mut new = *value;
                let input = if blocks { old[i * vectors + v] } else { new };
                let g = &self.g[i * m + first..i * m + first + N];
                for j in 0..N {
                    let g = simd.splat_f32s(g[j]);
                    new = simd.mul_add_e_f32s(g, out[j], new);
                    sum[j] = simd.mul_add_e_f32s(g, input, sum[j]);
                }
                *value = new;
            }
            for j in 0..N {
                y[at[j] + v] = sum[j];
            }
        }
    }
}

/// `σ(x) = ½ + ½ tanh(x/2)` of each value, with tanh as a ratio of polynomials (the one of the
/// Eigen library); within 4·10⁻⁷ of the truth everywhere. Lengths are multiples of [`LINE`].
#[inline(always)]
fn sigmoid_into<S: Simd>(simd: S, values: &[f32], out: &mut [f32]) {
    const LIMIT: f32 = 7.905_311;
    const P: [f32; 7] = [
        -2.760_768_5e-16,
        2.000_188e-13,
        -8.604_672e-11,
        5.122_297e-8,
        1.485_722_4e-5,
        6.372_619_3e-4,
        4.893_524_6e-3,
    ];
    const Q: [f32; 4] = [1.198_258_4e-6, 1.185_347_1e-4, 2.268_434_6e-3, 4.893_525e-3];
    let (values, _) = S::as_simd_f32s(values);
    let (out, _) = S::as_mut_simd_f32s(out);
    let half = simd.splat_f32s(0.5);
    for (&value, out) in values.iter().zip(out) {
        let x = simd.mul_f32s(value, half);
        let x = simd.max_f32s(
            simd.splat_f32s(-LIMIT),
            simd.min_f32s(simd.splat_f32s(LIMIT), x),
        );
        let x2 = simd.mul_f32s(x, x);
        let mut p = simd.splat_f32s(P[0]);
        for &c in &P[1..] {
            p = simd.mul_add_e_f32s(p, x2, simd.splat_f32s(c));
        }
        let mut q = simd.splat_f32s(Q[0]);
        for &c in &Q[1..] {
            q = simd.mul_add_e_f32s(q, x2, simd.splat_f32s(c));
        }
        let tanh = simd.div_f32s(simd.mul_f32s(x, p), q);
        *out = simd.mul_add_e_f32s(half, tanh, half);
    }
}
