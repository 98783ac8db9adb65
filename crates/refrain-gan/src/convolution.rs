//! Convolutions and their transposes as tensor operations: by our kernels on the CPU, by burn's own
//! on other devices.
//!
//! Each is the gradient of the other for its first operand, so that both have a first derivative of
//! the same kind and a gradient penalty's program stays inside them.

use burn::tensor::Tensor;
use burn::tensor::module::{conv_transpose2d, conv2d};
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use refrain_core::kernels::Convolution;
use refrain_core::operation::{Operation, apply};

/// The windows of a convolution: square, with zeros around the image.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Windows {
    pub(crate) stride: usize,
    pub(crate) padding: usize,
}

/// The convolution of `x`, `[batch, channels, height, width]`, with `weight`, `[filters, channels,
/// kernel, kernel]`.
pub(crate) fn convolution(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    windows: Windows,
) -> Tensor<4> {
    let ([batch, _, height, width], [filters, _, kernel, _]) = (x.dims(), weight.dims());
    let Windows { stride, padding } = windows;
    let maps = [height, width].map(|side| (side + 2 * padding - kernel) / stride + 1);
    let step = Step::new(&weight, windows, [height, width], maps, false);
    let operands = [x.clone().into(), weight.clone().into(), bias.clone().into()];
    if let Some(y) = apply(step, [batch, filters, maps[0], maps[1]], operands) {
        return y;
    }
    convolution_program(x, weight, bias, windows)
}

fn convolution_program(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Tensor<1>,
    Windows { stride, padding }: Windows,
) -> Tensor<4> {
    let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
    conv2d(x, weight, Some(bias), options)
}

/// The transposed convolution of `g`, `[batch, filters, rows, columns]`, to images of `image` height
/// and width, with `weight`, `[filters, channels, kernel, kernel]`.
pub(crate) fn transposed(
    g: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    windows: Windows,
    image: [usize; 2],
) -> Tensor<4> {
    let ([batch, _, rows, columns], [_, channels, _, _]) = (g.dims(), weight.dims());
    let step = Step::new(&weight, windows, image, [rows, columns], true);
    let no_bias = || Tensor::zeros([channels], &g.device().inner());
    let operands = [
        g.clone().into(),
        weight.clone().into(),
        bias.clone().unwrap_or_else(no_bias).into(),
    ];
    if let Some(y) = apply(step, [batch, channels, image[0], image[1]], operands) {
        return y;
    }
    transposed_program(g, weight, bias, windows, image)
}

fn transposed_program(
    g: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    Windows { stride, padding }: Windows,
    image: [usize; 2],
) -> Tensor<4> {
    let ([_, _, rows, columns], [_, _, kernel, _]) = (g.dims(), weight.dims());
    // Rows and columns that windows do not reach, and those that the image does not have.
    let full = [rows, columns].map(|side| (side - 1) * stride + kernel - 2 * padding);
    let beyond = [0, 1].map(|i| image[i].saturating_sub(full[i]));
    let options = ConvTransposeOptions::new([stride; 2], [padding; 2], beyond, [1; 2], 1);
    conv_transpose2d(g, weight, bias, options)
        .narrow(2, 0, image[0])
        .narrow(3, 0, image[1])
}

/// One of the two, of `[first operand, weight, bias]`.
#[derive(Debug)]
struct Step {
    convolution: Convolution,
    transposed: bool,
}

impl Step {
    fn new(
        weight: &Tensor<4>,
        windows: Windows,
        image: [usize; 2],
        maps: [usize; 2],
        transposed: bool,
    ) -> Self {
        let [filters, channels, kernel, _] = weight.dims();
        let convolution = Convolution {
            channels,
            filters,
            kernel,
            stride: windows.stride,
            padding: windows.padding,
            image,
            maps,
        };
        Self {
            convolution,
            transposed,
        }
    }
}

impl Operation<3> for Step {
    type Kept = ();

    fn forward(&self, [x, weight, bias]: [&[f32]; 3], _: bool) -> (Vec<f32>, ()) {
        let y = match self.transposed {
            false => self.convolution.forward(x, weight, bias),
            true => self.convolution.transposed(x, weight, bias),
        };
        (y, ())
    }

    fn backward(
        &self,
        _: &(),
        [x, weight, bias]: [&[f32]; 3],
        gradient: &[f32],
        [of_x, of_weight, of_bias]: [bool; 3],
    ) -> [Option<Vec<f32>>; 3] {
        let c = &self.convolution;
        let zeros = |len| vec![0.0; len];
        let (images, maps) = match self.transposed {
            false => (x, gradient),
            true => (gradient, x),
        };
        [
            of_x.then(|| match self.transposed {
                false => c.transposed(gradient, weight, &zeros(c.channels)),
                true => c.forward(gradient, weight, &zeros(c.filters)),
            }),
            of_weight.then(|| c.weight_gradient(images, maps)),
            of_bias.then(|| sums(gradient, bias.len(), c, self.transposed)),
        ]
    }
}

/// The sum of each channel's values over all images.
fn sums(gradient: &[f32], channels: usize, c: &Convolution, transposed: bool) -> Vec<f32> {
    let [height, width] = if transposed { c.image } else { c.maps };
    let mut sums = vec![0.0f64; channels];
    let planes = gradient.chunks_exact((height * width).max(1));
    for (plane, sum) in planes.zip((0..channels).cycle()) {
        sums[sum] += f64::from(plane.iter().sum::<f32>());
    }
    sums.into_iter().map(|sum| sum as f32).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::params::{host, tensor};
    use crate::random::{Purpose, normal, stream};

    fn flat<const D: usize>(x: Tensor<D>) -> Vec<f32> {
        host(x.inner().reshape([-1])).unwrap()
    }

    /// The value of `of` for random operands of these shapes, and the gradient for each of them.
    fn run(
        shapes: [[usize; 4]; 2],
        biases: usize,
        seed: u64,
        of: impl Fn(Tensor<4>, Tensor<4>, Tensor<1>) -> Tensor<4>,
    ) -> Vec<Vec<f32>> {
        let device = refrain_core::device("cpu").unwrap();
        let mut rng = stream(seed, Purpose::Step, 0);
        let mut draw = |len: usize| tensor(normal(&mut rng, len), &device);
        let mut image = |shape: [usize; 4]| draw(shape.iter().product()).reshape(shape);
        let [x, w] = shapes.map(|shape| image(shape).autodiff().require_grad());
        let bias = draw(biases).autodiff().require_grad();
        let y = of(x.clone(), w.clone(), bias.clone());
        let seed = draw(y.dims().iter().product()).reshape(y.dims()).autodiff();
        let gradients = (y.clone() * seed).sum().backward();
        vec![
            flat(y),
            flat(x.grad(&gradients).unwrap()),
            flat(w.grad(&gradients).unwrap()),
            flat(bias.grad(&gradients).unwrap()),
        ]
    }

    fn close(ours: &[Vec<f32>], program: &[Vec<f32>]) -> std::result::Result<(), TestCaseError> {
        for (ours, program) in ours.iter().zip(program) {
            prop_assert_eq!(ours.len(), program.len());
            for (a, b) in ours.iter().zip(program) {
                prop_assert!((a - b).abs() < 1e-3 * (1.0 + b.abs()), "{} {}", a, b);
            }
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn values_and_gradients_are_those_of_the_tensor_programs(
            (kernel, padding) in prop::sample::select(vec![(1usize, 0usize), (3, 1), (5, 2), (4, 1)]),
            stride in 1usize..3,
            (height, width) in (2usize..12, 2usize..12),
            (channels, filters, batch) in (1usize..6, 1usize..6, 1usize..5),
            seed in any::<u64>(),
        ) {
            let windows = Windows { stride, padding };
            let weight = [filters, channels, kernel, kernel];
            let shapes = [[batch, channels, height, width], weight];
            let ours = run(shapes, filters, seed, |x, w, b| convolution(x, w, b, windows));
            let program = run(shapes, filters, seed, |x, w, b| convolution_program(x, w, b, windows));
            close(&ours, &program)?;

            let maps = [height, width].map(|side| (side + 2 * padding - kernel) / stride + 1);
            let shapes = [[batch, filters, maps[0], maps[1]], weight];
            let image = [height, width];
            let ours = run(shapes, channels, seed, |g, w, b| {
                transposed(g, w, Some(b), windows, image)
            });
            let program = run(shapes, channels, seed, |g, w, b| {
                transposed_program(g, w, Some(b), windows, image)
            });
            close(&ours, &program)?;
        }
    }
}
