//! Layers between the convolutions, each as one pass over the memory on the CPU; tensor programs
//! would read and write it five times.
//!
//! All return `None` on other devices.

use burn::tensor::Tensor;
use rayon::prelude::*;
use refrain_core::operation::{Operation, apply};

/// Values worked on in one piece.
const PIECE: usize = 1 << 14;

/// `x` where not negative, `slope · x` elsewhere.
pub(crate) fn rectified(x: &Tensor<4>, slope: f64) -> Option<Tensor<4>> {
    let slope = slope as f32;
    apply(Rectified { slope }, x.dims(), [x.clone().into()])
}

/// `g` where `x` is not negative, `slope · g` elsewhere; `x` gets no gradient.
pub(crate) fn rectified_gradient(x: &Tensor<4>, g: &Tensor<4>, slope: f64) -> Option<Tensor<4>> {
    let step = RectifiedGradient {
        slope: slope as f32,
    };
    apply(step, g.dims(), [g.clone().into(), x.clone().into()])
}

/// Every pixel's channels over the root of their mean square.
pub(crate) fn pixel_norm(x: &Tensor<4>, epsilon: f64) -> Option<Tensor<4>> {
    let [_, channels, height, width] = x.dims();
    let step = PixelNorm {
        channels,
        area: height * width,
        epsilon: epsilon as f32,
    };
    apply(step, x.dims(), [x.clone().into()])
}

/// Nearest neighbour resizing to height and width `to`.
pub(crate) fn resized(x: &Tensor<4>, to: [usize; 2]) -> Option<Tensor<4>> {
    let [batch, channels, height, width] = x.dims();
    let step = Resized {
        small: [height, width],
        large: to,
        back: false,
    };
    apply(step, [batch, channels, to[0], to[1]], [x.clone().into()])
}

/// The gradient of [`resized`] for an image of height and width `of`, of that for its result.
pub(crate) fn resized_gradient(g: &Tensor<4>, of: [usize; 2]) -> Option<Tensor<4>> {
    let [batch, channels, height, width] = g.dims();
    let step = Resized {
        small: of,
        large: [height, width],
        back: true,
    };
    apply(step, [batch, channels, of[0], of[1]], [g.clone().into()])
}

#[derive(Debug)]
struct Rectified {
    slope: f32,
}

impl Operation<1> for Rectified {
    type Kept = ();

    fn forward(&self, [x]: [&[f32]; 1], _: bool) -> (Vec<f32>, ()) {
        (masked(x, x, self.slope), ())
    }

    fn backward(
        &self,
        _: &(),
        [x]: [&[f32]; 1],
        gradient: &[f32],
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [Some(masked(gradient, x, self.slope))]
    }
}

#[derive(Debug)]
struct RectifiedGradient {
    slope: f32,
}

impl Operation<2> for RectifiedGradient {
    type Kept = ();

    fn forward(&self, [g, x]: [&[f32]; 2], _: bool) -> (Vec<f32>, ()) {
        (masked(g, x, self.slope), ())
    }

    fn backward(
        &self,
        _: &(),
        [_, x]: [&[f32]; 2],
        gradient: &[f32],
        [of_g, of_x]: [bool; 2],
    ) -> [Option<Vec<f32>>; 2] {
        [
            of_g.then(|| masked(gradient, x, self.slope)),
            of_x.then(|| vec![0.0; x.len()]),
        ]
    }
}

/// `values` where `x` is not negative, the slope times them elsewhere.
fn masked(values: &[f32], x: &[f32], slope: f32) -> Vec<f32> {
    let mut out = vec![0.0; values.len()];
    let inputs = values.par_chunks(PIECE).zip(x.par_chunks(PIECE));
    let pieces = out.par_chunks_mut(PIECE).zip(inputs);
    // By value, or the loop would read the slope anew each time.
    pieces.for_each(move |(out, (values, x))| {
        for (out, (value, x)) in out.iter_mut().zip(values.iter().zip(x)) {
            let factor = if *x < 0.0 { slope } else { 1.0 };
            *out = value * factor;
        }
    });
    out
}

#[derive(Debug)]
struct PixelNorm {
    channels: usize,
    /// Pixels of an image.
    area: usize,
    epsilon: f32,
}

impl PixelNorm {
    fn image(&self) -> usize {
        (self.channels * self.area).max(1)
    }
}

impl Operation<1> for PixelNorm {
    /// One over the root of the mean square of each pixel.
    type Kept = Vec<f32>;

    fn forward(&self, [x]: [&[f32]; 1], _: bool) -> (Vec<f32>, Vec<f32>) {
        let (image, area) = (self.image(), self.area.max(1));
        let mut out = vec![0.0; x.len()];
        let mut factors = vec![0.0; x.len() / self.channels.max(1)];
        let images = out.par_chunks_mut(image).zip(x.par_chunks(image));
        let images = images.zip(factors.par_chunks_mut(area));
        images.for_each(|((out, x), factors)| {
            for plane in x.chunks_exact(area) {
                factors.iter_mut().zip(plane).for_each(|(f, x)| *f += x * x);
            }
            for factor in factors.iter_mut() {
                *factor = 1.0 / (*factor / self.channels as f32 + self.epsilon).sqrt();
            }
            for (out, x) in out.chunks_exact_mut(area).zip(x.chunks_exact(area)) {
                let values = x.iter().zip(factors.iter());
                out.iter_mut()
                    .zip(values)
                    .for_each(|(y, (x, f))| *y = x * f);
            }
        });
        (out, factors)
    }

    fn backward(
        &self,
        factors: &Vec<f32>,
        [x]: [&[f32]; 1],
        gradient: &[f32],
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        let (image, area) = (self.image(), self.area.max(1));
        let mut out = vec![0.0; x.len()];
        let images = out.par_chunks_mut(image).zip(x.par_chunks(image));
        let images = images.zip(gradient.par_chunks(image).zip(factors.par_chunks(area)));
        images.for_each(|((out, x), (g, factors))| {
            let mut along = vec![0.0f32; area];
            for (x, g) in x.chunks_exact(area).zip(g.chunks_exact(area)) {
                let products = x.iter().zip(g);
                along
                    .iter_mut()
                    .zip(products)
                    .for_each(|(a, (x, g))| *a += x * g);
            }
            for (along, f) in along.iter_mut().zip(factors) {
                *along *= f * f * f / self.channels as f32;
            }
            let planes = x.chunks_exact(area).zip(g.chunks_exact(area));
            for (out, (x, g)) in out.chunks_exact_mut(area).zip(planes) {
                let pixels = x.iter().zip(g).zip(factors.iter().zip(&along));
                for (out, ((x, g), (f, along))) in out.iter_mut().zip(pixels) {
                    *out = g * f - x * along;
                }
            }
        });
        [Some(out)]
    }
}

/// Pixel `i` of the `large` side is pixel `i · small / large` of the small one, which either may be.
#[derive(Debug)]
struct Resized {
    small: [usize; 2],
    large: [usize; 2],
    back: bool,
}

impl Resized {
    fn run(&self, x: &[f32], back: bool) -> Vec<f32> {
        let ([height, width], [rows, columns]) = (self.small, self.large);
        let (small, large) = ((height * width).max(1), (rows * columns).max(1));
        let source: Vec<usize> = (0..columns).map(|i| i * width / columns).collect();
        let row = |i: usize| i * height / rows * width..(i * height / rows + 1) * width;
        if back {
            let mut out = vec![0.0; x.len() / large * small];
            let planes = out.par_chunks_mut(small).zip(x.par_chunks(large));
            planes.for_each(|(out, x)| {
                for (i, x) in x.chunks_exact(columns).enumerate() {
                    let out = &mut out[row(i)];
                    if columns == 2 * width {
                        let pairs = out.iter_mut().zip(x.chunks_exact(2));
                        pairs.for_each(|(y, x)| *y += x[0] + x[1]);
                    } else {
                        x.iter().zip(&source).for_each(|(x, &at)| out[at] += x);
                    }
                }
            });
            return out;
        }
        let mut out = vec![0.0; x.len() / small * large];
        let planes = out.par_chunks_mut(large).zip(x.par_chunks(small));
        planes.for_each(|(out, x)| {
            for (i, out) in out.chunks_exact_mut(columns).enumerate() {
                let x = &x[row(i)];
                if columns == 2 * width {
                    let pairs = out.chunks_exact_mut(2).zip(x);
                    pairs.for_each(|(y, x)| y.fill(*x));
                } else {
                    out.iter_mut().zip(&source).for_each(|(y, &at)| *y = x[at]);
                }
            }
        });
        out
    }
}

impl Operation<1> for Resized {
    type Kept = ();

    fn forward(&self, [x]: [&[f32]; 1], _: bool) -> (Vec<f32>, ()) {
        (self.run(x, self.back), ())
    }

    fn backward(
        &self,
        _: &(),
        _: [&[f32]; 1],
        gradient: &[f32],
        _: [bool; 1],
    ) -> [Option<Vec<f32>>; 1] {
        [Some(self.run(gradient, !self.back))]
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::activation::leaky_relu;
    use burn::tensor::module::interpolate;
    use burn::tensor::ops::{InterpolateMode, InterpolateOptions};
    use proptest::prelude::*;

    use super::*;
    use crate::params::{host, tensor};
    use crate::random::{Purpose, normal, stream};

    /// The value for some images, and the gradient of a random weighting of it.
    fn run(shape: [usize; 4], seed: u64, of: &dyn Fn(Tensor<4>) -> Tensor<4>) -> [Vec<f32>; 2] {
        let device = refrain_core::device("cpu").unwrap();
        let mut rng = stream(seed, Purpose::Step, 0);
        let mut draw = |shape: [usize; 4]| {
            tensor(normal(&mut rng, shape.iter().product()), &device).reshape(shape)
        };
        let x = draw(shape).autodiff().require_grad();
        let y = of(x.clone());
        let gradients = (y.clone() * draw(y.dims()).autodiff()).sum().backward();
        let flat = |x: Tensor<4>| host(x.inner().reshape([-1])).unwrap();
        [flat(y), flat(x.grad(&gradients).unwrap())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn values_and_gradients_are_those_of_tensor_programs(
            shape in (1usize..5, 1usize..6, 1usize..9, 1usize..9),
            to in (1usize..19, 1usize..19),
            double in any::<bool>(),
            seed in any::<u64>(),
        ) {
            let shape: [usize; 4] = shape.into();
            let to = if double { [2 * shape[2], 2 * shape[3]] } else { to.into() };
            let nearest = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(to);
            type Way = Box<dyn Fn(Tensor<4>) -> Tensor<4>>;
            let ways: [(Way, Way); 3] = [
                (
                    Box::new(|x| rectified(&x, 0.2).unwrap()),
                    Box::new(|x| leaky_relu(x, 0.2)),
                ),
                (
                    Box::new(|x| pixel_norm(&x, 1e-3).unwrap()),
                    Box::new(|x| {
                        let square = x.clone().square().mean_dim(1) + 1e-3;
                        x / square.sqrt()
                    }),
                ),
                (
                    Box::new(move |x| resized(&x, to).unwrap()),
                    Box::new(move |x| interpolate(x, nearest.clone())),
                ),
            ];
            for (ours, program) in &ways {
                let (ours, program) = (run(shape, seed, ours), run(shape, seed, program));
                for (a, b) in ours.iter().flatten().zip(program.iter().flatten()) {
                    prop_assert!((a - b).abs() < 1e-4 * (1.0 + b.abs()), "{} {}", a, b);
                }
            }
        }
    }
}
