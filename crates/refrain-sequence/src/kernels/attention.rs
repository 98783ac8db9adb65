//! Multi-head attention over one sequence, forward and backward.
//!
//! `P = softmax(Q Kᵀ / √d)`, below the diagonal where it is causal, `O = P V`. Backward, with `∂P = ∂O Vᵀ`:
//! `∂S = P ⊙ (∂P - rowsum(P ⊙ ∂P))`, `∂Q = ∂S K / √d`, `∂K = ∂Sᵀ Q / √d`, `∂V = Pᵀ ∂O`.
//!
//! Rows are taken in blocks, so that a block never computes the keys after it, nor those that have left its
//! window: a long sequence costs half of the full square where it is causal. `qkv` is
//! `[tokens, width + 2 · shared width]` as the matrix product left it; heads are columns of it, and several
//! heads of queries may share one of keys and values.

use super::gemm::{Into, Mat, MatMut, product};
use super::{exp, largest, run, sum1, sum2};

/// Query rows per block.
const BLOCK: usize = 64;

/// The sizes of one attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    /// Heads of keys and values, which divide those of the queries evenly.
    pub(crate) shared: usize,
    pub(crate) head_width: usize,
    /// Whether a row sees only itself and those before it.
    pub(crate) causal: bool,
    /// Where it is causal: how many keys a row sees at most, its own the last.
    pub(crate) window: Option<usize>,
}

impl Heads {
    /// Of all queries.
    pub(crate) fn width(self) -> usize {
        self.heads * self.head_width
    }

    /// Of all keys, or values.
    pub(crate) fn shared_width(self) -> usize {
        self.shared * self.head_width
    }

    /// Of a row of queries, keys and values.
    pub(crate) fn stride(self) -> usize {
        self.width() + 2 * self.shared_width()
    }

    /// Where a head's keys begin in a row of keys.
    fn shared_column(self, head: usize) -> usize {
        head / (self.heads / self.shared) * self.head_width
    }

    /// The keys that rows `first..end` see together, counted as the rows are.
    fn seen(self, first: usize, end: usize, keys: usize) -> (usize, usize) {
        match self.causal {
            true => ((first + 1).saturating_sub(self.most()), end),
            false => (0, keys),
        }
    }

    fn most(self) -> usize {
        self.window.filter(|_| self.causal).unwrap_or(usize::MAX)
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_width as f32).sqrt()
    }
}

/// Attention of `queries` rows over `keys` rows; where it is causal the queries' own rows are the last
/// of the keys. `q` and `kv` are slices that begin at the first query, key and value of head 0; each with its row stride.
pub(crate) fn forward(
    shape: Heads,
    (q, q_stride): (&[f32], usize),
    (k, v, kv_stride): (&[f32], &[f32], usize),
    (queries, keys): (usize, usize),
    probabilities: &mut [f32],
    out: &mut [f32],
) {
    let (width, d) = (shape.width(), shape.head_width);
    let before = keys.saturating_sub(queries);
    for head in 0..shape.heads {
        let p = &mut probabilities[head * queries * keys..][..queries * keys];
        let (column, shared) = (head * d, shape.shared_column(head));
        let mut first = 0;
        while first < queries {
            let rows = BLOCK.min(queries - first);
            let (low, high) = shape.seen(before + first, before + first + rows, keys);
            let seen = high - low;
            let block = &mut p[first * keys + low..(first + rows) * keys];
            let from = low * kv_stride + shared;
            product(
                MatMut::strided(block, rows, seen, keys),
                Into::Replace,
                shape.scale(),
                Mat::strided(&q[first * q_stride + column..], rows, d, q_stride),
                Mat::strided(&k[from..], seen, d, kv_stride).t(),
            );
            let own = if shape.causal {
                before + first - low
            } else {
                seen
            };
            run(softmax_kernel, (block, keys, own, seen, shape.most()));
            product(
                MatMut::strided(&mut out[first * width + column..], rows, d, width),
                Into::Replace,
                1.0,
                Mat::strided(block, rows, seen, keys),
                Mat::strided(&v[from..], seen, d, kv_stride),
            );
            first += rows;
        }
    }
}

/// Softmax of row `i` over the last `most` of its first `own + i + 1` scores, `seen` at most; what else
/// there is up to `seen` becomes 0.
#[inline(always)]
fn softmax_kernel((block, stride, own, seen, most): (&mut [f32], usize, usize, usize, usize)) {
    for (i, row) in block.chunks_mut(stride).enumerate() {
        let (row, hidden) = row[..seen].split_at_mut(seen.min(own + i + 1));
        let (left, row) = row.split_at_mut(row.len().saturating_sub(most));
        let most = largest(row);
        for x in row.iter_mut() {
            *x = exp(*x - most);
        }
        let inverse = 1.0 / sum1(row, |x| x);
        for x in row.iter_mut() {
            *x *= inverse;
        }
        hidden.fill(0.0);
        left.fill(0.0);
    }
}

/// Where the first query, key and value of head 0 stand in one buffer, each with its row stride.
#[derive(Clone, Copy)]
pub(crate) struct Places {
    pub(crate) q: (usize, usize),
    pub(crate) k: (usize, usize),
    pub(crate) v: (usize, usize),
}

impl Places {
    /// Rows of queries, keys and values side by side, from row `first` on.
    pub(crate) fn together(first: usize, shape: Heads) -> Self {
        let stride = shape.stride();
        let (start, keys) = (first * stride, first * stride + shape.width());
        Self {
            q: (start, stride),
            k: (keys, stride),
            v: (keys + shape.shared_width(), stride),
        }
    }
}

/// The gradient of queries, keys and values, given that of the output: replaces that of the queries and
/// adds to those of keys and values. `x` and `dx` have the same places; `scratch` holds a block of scores.
pub(crate) fn backward(
    shape: Heads,
    (x, at): (&[f32], Places),
    (queries, keys): (usize, usize),
    probabilities: &[f32],
    dout: &[f32],
    dx: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    let (width, d) = (shape.width(), shape.head_width);
    let before = keys.saturating_sub(queries);
    scratch.resize(BLOCK.min(queries) * keys, 0.0);
    for head in 0..shape.heads {
        let p = &probabilities[head * queries * keys..][..queries * keys];
        let (column, shared) = (head * d, shape.shared_column(head));
        let mut first = 0;
        while first < queries {
            let rows = BLOCK.min(queries - first);
            let (low, high) = shape.seen(before + first, before + first + rows, keys);
            let seen = high - low;
            let block = &p[first * keys + low..];
            let weights = Mat::strided(block, rows, seen, keys);
            let dout = Mat::strided(&dout[first * width + column..], rows, d, width);
            let (q, k, v) = (
                at.q.0 + first * at.q.1 + column,
                at.k.0 + low * at.k.1 + shared,
                at.v.0 + low * at.v.1 + shared,
            );
            product(
                MatMut::new(scratch, rows, seen),
                Into::Replace,
                1.0,
                dout,
                Mat::strided(&x[v..], seen, d, at.v.1).t(),
            );
            run(scores_backward_kernel, (scratch, block, keys, seen, rows));
            let dscores = Mat::new(scratch, rows, seen);
            product(
                MatMut::strided(&mut dx[q..], rows, d, at.q.1),
                Into::Replace,
                shape.scale(),
                dscores,
                Mat::strided(&x[k..], seen, d, at.k.1),
            );
            product(
                MatMut::strided(&mut dx[k..], seen, d, at.k.1),
                Into::Add,
                shape.scale(),
                dscores.t(),
                Mat::strided(&x[q..], rows, d, at.q.1),
            );
            product(
                MatMut::strided(&mut dx[v..], seen, d, at.v.1),
                Into::Add,
                1.0,
                weights.t(),
                dout,
            );
            first += rows;
        }
    }
}

/// `∂S = P ⊙ (∂P - rowsum(P ⊙ ∂P))` in place of `∂P`; `P` has rows `stride` apart.
#[inline(always)]
fn scores_backward_kernel(
    (dp, p, stride, seen, rows): (&mut Vec<f32>, &[f32], usize, usize, usize),
) {
    for (dp, p) in dp.chunks_exact_mut(seen).zip(p.chunks(stride)).take(rows) {
        let p = &p[..seen];
        let sum = sum2(dp, p, |x, y| x * y);
        for (dp, &p) in dp.iter_mut().zip(p) {
            *dp = p * (*dp - sum);
        }
    }
}

/// Rotates queries and keys in place; row `i` stands at position `start + i`. `inverse` rotates
/// back, which is the gradient of a rotation.
pub(crate) fn rotate(
    shape: Heads,
    qkv: &mut [f32],
    (cos, sin): (&[f32], &[f32]),
    start: usize,
    inverse: bool,
) {
    run(rotate_kernel, (shape, qkv, cos, sin, start, inverse));
}

#[inline(always)]
fn rotate_kernel(
    (shape, qkv, cos, sin, start, inverse): (Heads, &mut [f32], &[f32], &[f32], usize, bool),
) {
    let (turned, half) = (shape.width() + shape.shared_width(), shape.head_width / 2);
    let sign = if inverse { -1.0 } else { 1.0 };
    for (i, row) in qkv.chunks_exact_mut(shape.stride()).enumerate() {
        let at = (start + i) * half;
        let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
        for head in row[..turned].chunks_exact_mut(2 * half) {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), &c), &s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                let s = s * sign;
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}
