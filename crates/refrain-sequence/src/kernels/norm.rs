//! Layer norm and RMS norm, forward and backward.
//!
//! With `x̂ = (x - μ)·r` (μ = 0 for RMS) and `y = w·x̂ + b`, and `g = w·∂y`:
//! `∂x = r·(g - [mean(g)] - x̂·mean(g·x̂))`, where the middle term is layer norm's only;
//! `∂w = Σ ∂y·x̂`, `∂b = Σ ∂y`.

use super::{run, sum1};
use crate::transformer::config::Norm;

/// Normalises each row of `x` into `y`; keeps `(μ, r)` of each row in `stats`.
pub(crate) fn forward(
    kind: Norm,
    epsilon: f32,
    x: &[f32],
    (weight, bias): (&[f32], Option<&[f32]>),
    y: &mut [f32],
    stats: &mut [[f32; 2]],
) {
    run(forward_kernel, (kind, epsilon, x, weight, bias, y, stats));
}

type Forward<'a> = (
    Norm,
    f32,
    &'a [f32],
    &'a [f32],
    Option<&'a [f32]>,
    &'a mut [f32],
    &'a mut [[f32; 2]],
);

#[inline(always)]
fn forward_kernel((kind, epsilon, x, weight, bias, y, stats): Forward<'_>) {
    let width = weight.len();
    let rows = x
        .chunks_exact(width)
        .zip(y.chunks_exact_mut(width))
        .zip(stats);
    for ((x, y), stats) in rows {
        let mean = match kind {
            Norm::Layer => sum1(x, |v| v) / width as f32,
            Norm::Rms => 0.0,
        };
        let variance = sum1(x, |v| (v - mean) * (v - mean)) / width as f32;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        *stats = [mean, inverse];
        match bias {
            None => {
                for ((y, &x), &w) in y.iter_mut().zip(x).zip(weight) {
                    *y = (x - mean) * inverse * w;
                }
            }
            Some(bias) => {
                for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                    *y = (x - mean) * inverse * w + b;
                }
            }
        }
    }
}

/// Adds the gradients of `x`, weight and bias, given that of `y`.
pub(crate) fn backward(
    kind: Norm,
    x: &[f32],
    stats: &[[f32; 2]],
    weight: &[f32],
    dy: &[f32],
    dx: &mut [f32],
    (dweight, dbias): (&mut [f32], Option<&mut [f32]>),
) {
    run(
        backward_kernel,
        (kind, x, stats, weight, dy, dx, dweight, dbias),
    );
}

type Backward<'a> = (
    Norm,
    &'a [f32],
    &'a [[f32; 2]],
    &'a [f32],
    &'a [f32],
    &'a mut [f32],
    &'a mut [f32],
    Option<&'a mut [f32]>,
);

#[inline(always)]
fn backward_kernel((kind, x, stats, weight, dy, dx, dweight, mut dbias): Backward<'_>) {
    let width = weight.len();
    let n = width as f32;
    let rows = x
        .chunks_exact(width)
        .zip(dy.chunks_exact(width))
        .zip(dx.chunks_exact_mut(width));
    for (((x, dy), dx), &[mean, inverse]) in rows.zip(stats) {
        let mut along = 0.0;
        let mut shift = 0.0;
        // Σ g·x̂ needs three slices: fold the weight in by chunks.
        let mut lanes = [[0.0f32; super::LANES]; 2];
        let chunks = |s| <[f32]>::chunks_exact(s, super::LANES);
        for ((x, dy), w) in chunks(x).zip(chunks(dy)).zip(chunks(weight)) {
            for i in 0..super::LANES {
                let g = dy[i] * w[i];
                lanes[0][i] += g;
                lanes[1][i] += g * (x[i] - mean) * inverse;
            }
        }
        let done = width / super::LANES * super::LANES;
        for i in done..width {
            let g = dy[i] * weight[i];
            shift += g;
            along += g * (x[i] - mean) * inverse;
        }
        shift = match kind {
            Norm::Layer => (shift + lanes[0].iter().sum::<f32>()) / n,
            Norm::Rms => 0.0,
        };
        along = (along + lanes[1].iter().sum::<f32>()) / n;
        let gradients = dx.iter_mut().zip(dweight.iter_mut());
        for ((((dx, dw), &x), &dy), &w) in gradients.zip(x).zip(dy).zip(weight) {
            let normal = (x - mean) * inverse;
            *dw += dy * normal;
            *dx += inverse * (dy * w - shift - normal * along);
        }
        if let Some(dbias) = dbias.as_deref_mut() {
            for (db, &dy) in dbias.iter_mut().zip(dy) {
                *db += dy;
            }
        }
    }
}

/// Adds `bias` to each row.
pub(crate) fn add_bias(y: &mut [f32], bias: &[f32]) {
    run(
        #[inline(always)]
        |(y, bias): (&mut [f32], &[f32])| {
            for row in y.chunks_exact_mut(bias.len()) {
                for (y, &b) in row.iter_mut().zip(bias) {
                    *y += b;
                }
            }
        },
        (y, bias),
    );
}

/// Adds the sum of the rows of `dy` to `dbias`.
pub(crate) fn bias_backward(dy: &[f32], dbias: &mut [f32]) {
    run(
        #[inline(always)]
        |(dy, dbias): (&[f32], &mut [f32])| {
            for row in dy.chunks_exact(dbias.len()) {
                for (b, &d) in dbias.iter_mut().zip(row) {
                    *b += d;
                }
            }
        },
        (dy, dbias),
    );
}

/// `y += x`.
pub(crate) fn add(y: &mut [f32], x: &[f32]) {
    run(
        #[inline(always)]
        |(y, x): (&mut [f32], &[f32])| {
            for (y, &x) in y.iter_mut().zip(x) {
                *y += x;
            }
        },
        (y, x),
    );
}

/// `y *= x`, element by element.
pub(crate) fn multiply(y: &mut [f32], x: &[f32]) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y *= x;
    }
}
