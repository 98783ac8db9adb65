//! The non-linear middle of the feed-forward part, forward and backward.

use super::{exp, run};
use crate::transformer::config::FeedForward;

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `√(2/π)` and the cubic coefficient of GELU's tanh form.
const GELU: (f32, f32) = (0.797_884_6, 0.044_715);

/// `½(1 + tanh u)` = `sigmoid(2u)`.
#[inline(always)]
fn gelu_gate(x: f32) -> f32 {
    sigmoid(2.0 * GELU.0 * (x + GELU.1 * x * x * x))
}

/// `up` is `[rows, hidden]`, or `[rows, 2 · hidden]` (gate, value) for SwiGLU; `out` is
/// `[rows, hidden]`.
pub(crate) fn forward(kind: FeedForward, hidden: usize, up: &[f32], out: &mut [f32]) {
    run(forward_kernel, (kind, hidden, up, out));
}

#[inline(always)]
fn forward_kernel((kind, hidden, up, out): (FeedForward, usize, &[f32], &mut [f32])) {
    match kind {
        FeedForward::Relu => map(up, out, |x| if x > 0.0 { x } else { 0.0 }),
        FeedForward::ReluSquared => map(up, out, |x| if x > 0.0 { x * x } else { 0.0 }),
        FeedForward::Gelu => map(up, out, |x| x * gelu_gate(x)),
        FeedForward::SwiGlu => {
            let rows = up
                .chunks_exact(2 * hidden)
                .zip(out.chunks_exact_mut(hidden));
            for (up, out) in rows {
                let (gate, value) = up.split_at(hidden);
                for ((out, &g), &v) in out.iter_mut().zip(gate).zip(value) {
                    *out = g * sigmoid(g) * v;
                }
            }
        }
    }
}

#[inline(always)]
fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// The gradient of `up` in place of it, given that of the output.
pub(crate) fn backward(kind: FeedForward, hidden: usize, up: &mut [f32], dout: &[f32]) {
    run(backward_kernel, (kind, hidden, up, dout));
}

#[inline(always)]
fn backward_kernel((kind, hidden, up, dout): (FeedForward, usize, &mut [f32], &[f32])) {
    match kind {
        FeedForward::Relu => chain(up, dout, |x| if x > 0.0 { 1.0 } else { 0.0 }),
        FeedForward::ReluSquared => chain(up, dout, |x| if x > 0.0 { 2.0 * x } else { 0.0 }),
        FeedForward::Gelu => chain(up, dout, |x| {
            let gate = gelu_gate(x);
            let slope = 2.0 * GELU.0 * (1.0 + 3.0 * GELU.1 * x * x);
            gate + x * gate * (1.0 - gate) * slope
        }),
        FeedForward::SwiGlu => {
            let rows = up
                .chunks_exact_mut(2 * hidden)
                .zip(dout.chunks_exact(hidden));
            for (up, dout) in rows {
                let (gate, value) = up.split_at_mut(hidden);
                for ((g, v), &d) in gate.iter_mut().zip(value).zip(dout) {
                    let s = sigmoid(*g);
                    let silu = *g * s;
                    *g = d * *v * (s + silu * (1.0 - s));
                    *v = d * silu;
                }
            }
        }
    }
}

#[inline(always)]
fn chain(x: &mut [f32], dout: &[f32], slope: impl Fn(f32) -> f32) {
    for (x, &d) in x.iter_mut().zip(dout) {
        *x = d * slope(*x);
    }
}
