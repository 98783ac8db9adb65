//! The non-linear middle of the feed-forward part on slices, forward and backward.

use super::config::Activation;
use crate::kernels::{exp, run};

/// `x ← f(x + bias)` for every row.
pub(crate) fn forward(kind: Activation, x: &mut [f32], bias: &[f32]) {
    run(forward_kernel, (kind, x, bias));
}

#[inline(always)]
fn forward_kernel((kind, x, bias): (Activation, &mut [f32], &[f32])) {
    match kind {
        Activation::Gelu => map(x, bias, gelu),
        Activation::GeluTanh => map(x, bias, |x| x * sigmoid(tanh_gate(x))),
        Activation::Relu => map(x, bias, |x| if x > 0.0 { x } else { 0.0 }),
        Activation::Swish => map(x, bias, |x| x * sigmoid(x)),
    }
}

#[inline(always)]
fn map(x: &mut [f32], bias: &[f32], f: impl Fn(f32) -> f32) {
    for row in x.chunks_exact_mut(bias.len()) {
        for (x, &b) in row.iter_mut().zip(bias) {
            *x = f(*x + b);
        }
    }
}

/// `y = f(x)`.
pub(crate) fn apply(kind: Activation, x: &[f32], y: &mut [f32]) {
    run(apply_kernel, (kind, x, y));
}

#[inline(always)]
fn apply_kernel((kind, x, y): (Activation, &[f32], &mut [f32])) {
    match kind {
        Activation::Gelu => each(x, y, gelu),
        Activation::GeluTanh => each(x, y, |x| x * sigmoid(tanh_gate(x))),
        Activation::Relu => each(x, y, |x| if x > 0.0 { x } else { 0.0 }),
        Activation::Swish => each(x, y, |x| x * sigmoid(x)),
    }
}

#[inline(always)]
fn each(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (y, &x) in y.iter_mut().zip(x) {
        *y = f(x);
    }
}

/// `x ← ∂y · f'(x)`.
pub(crate) fn backward(kind: Activation, x: &mut [f32], dy: &[f32]) {
    run(backward_kernel, (kind, x, dy));
}

#[inline(always)]
fn backward_kernel((kind, x, dy): (Activation, &mut [f32], &[f32])) {
    match kind {
        Activation::Gelu => chain(x, dy, |x| {
            let tail = gelu_tail(x);
            let under = if x > 0.0 { 1.0 - tail } else { tail };
            under + x * 0.398_942_3 * exp(-0.5 * x * x)
        }),
        Activation::GeluTanh => chain(x, dy, |x| {
            let gate = sigmoid(tanh_gate(x));
            let slope = 1.595_769 * (1.0 + 3.0 * 0.044_715 * x * x);
            gate + x * gate * (1.0 - gate) * slope
        }),
        Activation::Relu => chain(x, dy, |x| if x > 0.0 { 1.0 } else { 0.0 }),
        Activation::Swish => chain(x, dy, |x| {
            let gate = sigmoid(x);
            gate + x * gate * (1.0 - gate)
        }),
    }
}

#[inline(always)]
fn chain(x: &mut [f32], dy: &[f32], slope: impl Fn(f32) -> f32) {
    for (x, &d) in x.iter_mut().zip(dy) {
        *x = d * slope(*x);
    }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `½(1 + tanh u)` is the logistic function of this.
#[inline(always)]
fn tanh_gate(x: f32) -> f32 {
    1.595_769 * (x + 0.044_715 * x * x * x)
}

/// `x Φ(x)`: within 2·10⁻⁷ · |x|.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    // The tail beyond |x|, so that nothing cancels where it is small.
    (if x > 0.0 { x } else { 0.0 }) - x.abs() * gelu_tail(x)
}

/// `Φ(-|x|)` by the error function of Abramowitz and Stegun, 7.1.26.
#[inline(always)]
fn gelu_tail(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = 1.061_405_4;
    let p = p * t - 1.453_152_1;
    let p = p * t + 1.421_413_8;
    let p = p * t - 0.284_496_72;
    let p = p * t + 0.254_829_6;
    0.5 * p * t * exp(-z * z)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error function by its series, in 64 bits.
    fn erf(x: f64) -> f64 {
        let (mut term, mut sum) = (x, x);
        for n in 1..200 {
            let n = f64::from(n);
            term *= -x * x / n;
            sum += term / (2.0 * n + 1.0);
        }
        sum * 2.0 / std::f64::consts::PI.sqrt()
    }

    #[test]
    fn gelu_is_that_of_the_error_function() {
        for i in -500..=500 {
            let x = i as f32 / 100.0;
            let wide = f64::from(x);
            let expected = 0.5 * wide * (1.0 + erf(wide / std::f64::consts::SQRT_2));
            let error = (f64::from(gelu(x)) - expected).abs();
            assert!(error <= 2e-7 * wide.abs() + 1e-9, "{x}: {error:e}");
        }
        assert!(gelu(-40.0).abs() < 1e-30);
        assert_eq!(gelu(40.0), 40.0);
        assert!(gelu(f32::NAN).is_nan());
    }

    #[test]
    fn slopes_are_those_of_finite_differences() {
        let kinds = [
            Activation::Gelu,
            Activation::GeluTanh,
            Activation::Relu,
            Activation::Swish,
        ];
        for kind in kinds {
            for i in -60..60 {
                let x = (i as f32 + 0.5) / 10.0;
                let value = |x: f32| {
                    let mut y = [0.0];
                    apply(kind, &[x], &mut y);
                    let mut shifted = [x - 0.25];
                    forward(kind, &mut shifted, &[0.25]);
                    assert!((shifted[0] - y[0]).abs() < 1e-6);
                    f64::from(y[0])
                };
                let step = 1.0 / 64.0;
                let expected = (value(x + step) - value(x - step)) / (2.0 * f64::from(step));
                let mut slope = [x];
                backward(kind, &mut slope, &[2.0]);
                let slope = f64::from(slope[0]) / 2.0;
                assert!(
                    (slope - expected).abs() < 3e-4,
                    "{kind:?} {x}: {slope} {expected}"
                );
            }
        }
    }
}
