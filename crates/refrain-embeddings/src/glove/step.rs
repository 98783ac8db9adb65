//! One pair's step, on vector registers.

use pulp::{Simd, WithSimd};

/// What a row of a table holds, in floats: the vector and its bias, padded; then as many sums of
/// squared gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Layout {
    pub(super) dim: usize,
    /// The vector, padded; the bias comes behind.
    padded: usize,
}

/// The widest vector register, in floats.
const LANES: usize = 16;

impl Layout {
    pub(super) fn new(dim: usize) -> Self {
        Self {
            dim,
            padded: dim.div_ceil(LANES) * LANES,
        }
    }

    /// Floats of a row.
    pub(super) fn stride(self) -> usize {
        2 * (self.padded + LANES)
    }

    /// Where the bias lies.
    pub(super) fn bias(self) -> usize {
        self.padded
    }

    /// Where the sums of squares begin.
    pub(super) fn squares(self) -> usize {
        self.padded + LANES
    }
}

/// A step on the rows of a word and of a context that occur together.
pub(super) struct Step<'a> {
    pub(super) layout: Layout,
    pub(super) word: &'a mut [f32],
    pub(super) context: &'a mut [f32],
    /// `ln x` and `f(x)`.
    pub(super) log: f32,
    pub(super) weight: f32,
    pub(super) rate: f32,
}

/// Gradients beyond this are cut, as in the original program.
const CLIP: f32 = 100.0;

impl WithSimd for Step<'_> {
    /// The pair's loss before the step.
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f32 {
        let (bias, squares) = (self.layout.bias(), self.layout.squares());
        let (w, gw) = self.word.split_at_mut(squares);
        let (c, gc) = self.context.split_at_mut(squares);
        let (bias_w, bias_c) = (w[bias], c[bias]);
        let (step, difference) = {
            let (w, _) = S::as_mut_simd_f32s(&mut w[..bias]);
            let (c, _) = S::as_mut_simd_f32s(&mut c[..bias]);
            let mut sum = simd.splat_f32s(0.0);
            for (w, c) in w.iter().zip(c.iter()) {
                sum = simd.mul_add_e_f32s(*w, *c, sum);
            }
            let difference = simd.reduce_sum_f32s(sum) + bias_w + bias_c - self.log;
            let step = self.weight * difference * self.rate;
            let (gw, _) = S::as_mut_simd_f32s(&mut gw[..bias]);
            let (gc, _) = S::as_mut_simd_f32s(&mut gc[..bias]);
            let factor = simd.splat_f32s(step);
            let (low, high) = (simd.splat_f32s(-CLIP), simd.splat_f32s(CLIP));
            for (((w, c), gw), gc) in w.iter_mut().zip(c).zip(gw).zip(gc) {
                let cut = |g| simd.max_f32s(low, simd.min_f32s(high, g));
                let to_w = cut(simd.mul_f32s(factor, *c));
                let to_c = cut(simd.mul_f32s(factor, *w));
                *w = simd.sub_f32s(*w, simd.div_f32s(to_w, simd.sqrt_f32s(*gw)));
                *c = simd.sub_f32s(*c, simd.div_f32s(to_c, simd.sqrt_f32s(*gc)));
                *gw = simd.mul_add_e_f32s(to_w, to_w, *gw);
                *gc = simd.mul_add_e_f32s(to_c, to_c, *gc);
            }
            (step, difference)
        };
        self.biases(step, difference)
    }
}

impl Step<'_> {
    #[inline(always)]
    fn biases(self, step: f32, difference: f32) -> f32 {
        let (bias, squares) = (self.layout.bias(), self.layout.squares());
        for row in [self.word, self.context] {
            let (values, sums) = row.split_at_mut(squares);
            values[bias] -= step / sums[bias].sqrt();
            sums[bias] += step * step;
        }
        0.5 * self.weight * difference * difference
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;

    /// The same step in f64, on rows of `dim` values and a bias; returns the loss and the new rows and
    /// squares.
    fn slow(
        [w, c, gw, gc]: [&[f64]; 4],
        (log, weight, rate): (f64, f64, f64),
    ) -> (f64, [Vec<f64>; 4]) {
        let dim = w.len() - 1;
        let product: f64 = (0..dim).map(|d| w[d] * c[d]).sum();
        let difference = product + w[dim] + c[dim] - log;
        let step = rate * weight * difference;
        let gradient = |other: &[f64]| -> Vec<f64> {
            let values = other[..dim].iter().map(|v| (step * v).clamp(-100.0, 100.0));
            values.chain([step]).collect()
        };
        let (to_w, to_c) = (gradient(c), gradient(w));
        let new = |old: &[f64], g: &[f64], sums: &[f64]| -> Vec<f64> {
            old.iter()
                .zip(g)
                .zip(sums)
                .map(|((v, g), s)| v - g / s.sqrt())
                .collect()
        };
        let sums = |old: &[f64], g: &[f64]| -> Vec<f64> {
            old.iter().zip(g).map(|(s, g)| s + g * g).collect()
        };
        (
            0.5 * weight * difference * difference,
            [
                new(w, &to_w, gw),
                new(c, &to_c, gc),
                sums(gw, &to_w),
                sums(gc, &to_c),
            ],
        )
    }

    proptest! {
        #[test]
        fn step_equals_reference(
            dim in 1usize..70, log in -3.0f64..6.0, weight in 0.0f64..1.0, seed in any::<u64>(),
        ) {
            let mut rng = refrain_core::rng::stream(seed, 1);
            let mut draw = |low: f32, high: f32| -> Vec<f64> {
                (0..=dim).map(|_| f64::from(rng.random_range(low..high))).collect()
            };
            let (w, c) = (draw(-1.0, 1.0), draw(-1.0, 1.0));
            let (gw, gc) = (draw(1.0, 3.0), draw(1.0, 3.0));
            let layout = Layout::new(dim);
            let row = |values: &[f64], sums: &[f64]| {
                let mut row = vec![0.0f32; layout.stride()];
                for (at, values, rest) in [(0, values, 0.0), (layout.squares(), sums, 1.0)] {
                    row[at..at + layout.bias()].fill(rest);
                    for d in 0..dim {
                        row[at + d] = values[d] as f32;
                    }
                    row[at + layout.bias()] = values[dim] as f32;
                }
                row
            };
            let (mut word, mut context) = (row(&w, &gw), row(&c, &gc));
            let loss = pulp::Arch::new().dispatch(Step {
                layout,
                word: &mut word,
                context: &mut context,
                log: log as f32,
                weight: weight as f32,
                rate: 0.05,
            });
            let (expected, [w, c, gw, gc]) = slow([&w, &c, &gw, &gc], (log, weight, 0.05));
            prop_assert!((f64::from(loss) - expected).abs() < 1e-4 * expected.max(1.0));
            for (found, values, sums) in [(&word, &w, &gw), (&context, &c, &gc)] {
                let close = |at: usize, wanted: f64| {
                    (f64::from(found[at]) - wanted).abs() < 1e-4 * wanted.abs().max(1.0)
                };
                for d in 0..dim {
                    prop_assert!(close(d, values[d]) && close(layout.squares() + d, sums[d]));
                }
                prop_assert!(close(layout.bias(), values[dim]));
                prop_assert!(close(layout.squares() + layout.bias(), sums[dim]));
                prop_assert!(found[dim..layout.bias()].iter().all(|&v| v == 0.0), "padding");
            }
        }
    }

    /// With sums of 1 the step is `rate` times the gradient of the loss.
    #[test]
    fn the_step_is_the_gradient() {
        let (w, c) = (vec![0.3, -0.2, 0.5, 0.1], vec![-0.4, 0.7, 0.2, -0.3]);
        let ones = vec![1.0; 4];
        let loss = |w: &[f64], c: &[f64]| slow([w, c, &ones, &ones], (1.5, 0.6, 0.0)).0;
        let (_, [new_w, new_c, ..]) = slow([&w, &c, &ones, &ones], (1.5, 0.6, 1.0));
        let h = 1e-6;
        for d in 0..4 {
            let (mut up, mut down) = (w.clone(), w.clone());
            up[d] += h;
            down[d] -= h;
            let slope = (loss(&up, &c) - loss(&down, &c)) / (2.0 * h);
            assert!((w[d] - new_w[d] - slope).abs() < 1e-7);
            let (mut up, mut down) = (c.clone(), c.clone());
            up[d] += h;
            down[d] -= h;
            let slope = (loss(&w, &up) - loss(&w, &down)) / (2.0 * h);
            assert!((c[d] - new_c[d] - slope).abs() < 1e-7);
        }
    }
}
