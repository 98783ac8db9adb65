//! The transformer on the CPU: forward and backward written out on slices.
//!
//! A tensor program walks through memory once per operation and stores every intermediate for
//! autodiff; here each layer is a handful of large matrix products with fused loops between them,
//! as in llm.c. A batch is split over the threads by whole sequences, so that a step needs two
//! synchronisations instead of hundreds, and sequences of different length need no padding.
//!
//! Matrix products are those of the `gemm` crate (the one under burn's CPU backend); the loops
//! between them are compiled for each instruction set and chosen at run time. The tensor program
//! is the reference: tests hold losses, gradients and logits of both equal.

pub(crate) mod activation;
pub(crate) mod adam;
pub(crate) mod attention;
mod backward;
pub(crate) mod decode;
pub(crate) mod engine;
pub(crate) mod gemm;
pub(crate) mod loss;
pub(crate) mod network;
pub(crate) mod norm;
pub(crate) mod panels;

use std::sync::LazyLock;

use pulp::{Arch, Simd, WithSimd};

static ARCH: LazyLock<Arch> = LazyLock::new(Arch::new);

struct Call<F, A>(F, A);

impl<F: FnOnce(A) -> R, A, R> WithSimd for Call<F, A> {
    type Output = R;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> R {
        (self.0)(self.1)
    }
}

/// Runs `kernel`, an `#[inline(always)]` function, compiled for this processor's instructions.
pub fn run<A, R>(kernel: impl FnOnce(A) -> R, arguments: A) -> R {
    ARCH.dispatch(Call(kernel, arguments))
}

/// Sums taken side by side, so that the compiler may use wide registers.
const LANES: usize = 16;

/// `Σ f(a, b)`.
#[inline(always)]
pub fn sum2(a: &[f32], b: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut sums = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(&x, &y)| f(x, y))
        .sum();
    for (x, y) in a_chunks.zip(b_chunks) {
        for i in 0..LANES {
            sums[i] += f(x[i], y[i]);
        }
    }
    sums.iter().sum::<f32>() + tail
}

/// `Σ f(a)`.
#[inline(always)]
pub fn sum1(a: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    sum2(a, a, |x, _| f(x))
}

/// The largest value; `-∞` for none.
#[inline(always)]
pub fn largest(a: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let chunks = a.chunks_exact(LANES);
    let tail = chunks.remainder();
    for x in chunks {
        for i in 0..LANES {
            most[i] = if x[i] > most[i] { x[i] } else { most[i] };
        }
    }
    most.iter()
        .chain(tail)
        .fold(f32::NEG_INFINITY, |m, &x| if x > m { x } else { m })
}

/// `eˣ` to about 2 units in the last place, without a branch or a call: `2ⁿ · eᶠ` with the
/// polynomial of Cephes. Below -87.3 it stays at 10⁻³⁸, above 88 at 10³⁸; NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    /// Adding it rounds to an integer, which then stands in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x < -87.3 { -87.3 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let f = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.987_569_2e-4;
    let p = p * f + 1.398_2e-3;
    let p = p * f + 8.333_452e-3;
    let p = p * f + 4.166_579_6e-2;
    let p = p * f + 1.666_666_5e-1;
    let p = p * f + 0.5;
    let power = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    (p * f * f + f + 1.0) * f32::from_bits(power)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
