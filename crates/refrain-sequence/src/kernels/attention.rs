//! Multi-head attention over one sequence, forward and backward.
//!
//! `P = softmax(Q Kᵀ / √d)`, below the diagonal where it is causal, `O = P V`. Backward, with `∂P = ∂O Vᵀ`:
//! `∂S = P ⊙ (∂P - rowsum(P ⊙ ∂P))`, `∂Q = ∂S K / √d`, `∂K = ∂Sᵀ Q / √d`, `∂V = Pᵀ ∂O`.
//!
//! Rows are taken in blocks, so that a block never computes the keys after it: a long sequence
//! costs half of the full square where it is causal. `qkv` is `[tokens, 3 · width]` as the matrix product left it;
//! heads are columns of it.

use super::gemm::{Into, Mat, MatMut, product};
use super::{exp, largest, run, sum1, sum2};

/// Query rows per block.
const BLOCK: usize = 64;

/// The sizes of one attention.
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    pub(crate) heads: usize,
    pub(crate) head_width: usize,
    /// Whether a row sees only itself and those before it.
    pub(crate) causal: bool,
}

impl Heads {
    fn width(self) -> usize {
        self.heads * self.head_width
    }

    /// How many keys the rows up to `end` see together.
    fn seen(self, end: usize, keys: usize) -> usize {
        if self.causal { end } else { keys }
    }

    fn scale(self) -> f32 {
        1.0 / (self.head_width as f32).sqrt()
    }
}

/// Attention of `queries` rows over `keys` rows; where it is causal the queries' own rows are the last
/// of the keys. `q` and `kv` are slices
/// that begin at the first query, key and value of head 0; each with its row stride.
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
        let column = head * d;
        let mut first = 0;
        while first < queries {
            let rows = BLOCK.min(queries - first);
            let seen = shape.seen(before + first + rows, keys);
            let block = &mut p[first * keys..(first + rows) * keys];
            product(
                MatMut::strided(block, rows, seen, keys),
                Into::Replace,
                shape.scale(),
                Mat::strided(&q[first * q_stride + column..], rows, d, q_stride),
                Mat::strided(&k[column..], seen, d, kv_stride).t(),
            );
            let own = if shape.causal { before + first } else { keys };
            run(softmax_kernel, (block, keys, own, seen));
            product(
                MatMut::strided(&mut out[first * width + column..], rows, d, width),
                Into::Replace,
                1.0,
                Mat::strided(block, rows, seen, keys),
                Mat::strided(&v[column..], seen, d, kv_stride),
            );
            first += rows;
        }
    }
}

/// Softmax of row `i` over its first `own + i + 1` scores, `seen` at most; what comes after, up to
/// `seen`, is 0.
#[inline(always)]
fn softmax_kernel((block, stride, own, seen): (&mut [f32], usize, usize, usize)) {
    for (i, row) in block.chunks_mut(stride).enumerate() {
        let (row, hidden) = row[..seen].split_at_mut(seen.min(own + i + 1));
        let most = largest(row);
        for x in row.iter_mut() {
            *x = exp(*x - most);
        }
        let inverse = 1.0 / sum1(row, |x| x);
        for x in row.iter_mut() {
            *x *= inverse;
        }
        hidden.fill(0.0);
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
    pub(crate) fn together(first: usize, width: usize) -> Self {
        let (start, stride) = (first * 3 * width, 3 * width);
        Self {
            q: (start, stride),
            k: (start + width, stride),
            v: (start + 2 * width, stride),
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
        let column = head * d;
        let mut first = 0;
        while first < queries {
            let rows = BLOCK.min(queries - first);
            let seen = shape.seen(before + first + rows, keys);
            let block = &p[first * keys..];
            let weights = Mat::strided(block, rows, seen, keys);
            let dout = Mat::strided(&dout[first * width + column..], rows, d, width);
            let (q, k, v) = (
                at.q.0 + first * at.q.1 + column,
                at.k.0 + column,
                at.v.0 + column,
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
    let (width, half) = (shape.width(), shape.head_width / 2);
    let sign = if inverse { -1.0 } else { 1.0 };
    for (i, row) in qkv.chunks_exact_mut(3 * width).enumerate() {
        let at = (start + i) * half;
        let (cos, sin) = (&cos[at..at + half], &sin[at..at + half]);
        for head in row[..2 * width].chunks_exact_mut(2 * half) {
            let (a, b) = head.split_at_mut(half);
            for (((a, b), &c), &s) in a.iter_mut().zip(b).zip(cos).zip(sin) {
                let s = s * sign;
                (*a, *b) = (*a * c - *b * s, *b * c + *a * s);
            }
        }
    }
}
