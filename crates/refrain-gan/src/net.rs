//! A network as a list of layers on `[batch, channels, height, width]` tensors.
//!
//! Generator and discriminator are both such lists, so that whatever walks a network (counting its
//! weights, printing it, running its gradient as a program of its own) has five layers to know.
//! First weights are drawn on the host (He et al. 2015), so a seed means the same on every device.

use burn::module::{Module, Param};
use burn::tensor::activation::{leaky_relu, sigmoid};
use burn::tensor::module::{conv2d, interpolate};
use burn::tensor::ops::{ConvOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::rng::Stream;

use crate::ImageShape;
use crate::random::normal;

/// A matrix, and the shape its result takes.
#[derive(Module, Debug)]
pub(crate) struct Dense {
    weight: Param<Tensor<2>>, // [in, out]
    bias: Param<Tensor<1>>,   // [out]
    channels: usize,
    height: usize,
    width: usize,
}

impl Dense {
    /// `gain` is the standard deviation of the result for inputs of variance 1.
    pub(crate) fn new(
        inputs: usize,
        to: ImageShape,
        gain: f32,
        rng: &mut Stream,
        d: &Device,
    ) -> Self {
        let scale = gain / (inputs.max(1) as f32).sqrt();
        Self {
            weight: parameter([inputs, to.len()], scale, rng, d),
            bias: Param::from_data(TensorData::zeros::<f32, _>([to.len()]), d),
            channels: to.channels,
            height: to.height,
            width: to.width,
        }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let batch = x.dims()[0];
        let x = x.reshape([batch as i32, -1]); // [batch, in]
        let y = x.matmul(self.weight.val()) + self.bias.val().unsqueeze::<2>();
        y.reshape([batch, self.channels, self.height, self.width])
    }
}

/// A 3 × 3 convolution that keeps the size, or halves it (rounded up) with stride 2.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    weight: Param<Tensor<4>>, // [out, in, 3, 3]
    bias: Param<Tensor<1>>,   // [out]
    stride: usize,
}

impl Conv {
    pub(crate) fn new(
        [inputs, outputs]: [usize; 2],
        stride: usize,
        gain: f32,
        rng: &mut Stream,
        d: &Device,
    ) -> Self {
        let scale = gain / ((inputs * 9).max(1) as f32).sqrt();
        Self {
            weight: parameter([outputs, inputs, 3, 3], scale, rng, d),
            bias: Param::from_data(TensorData::zeros::<f32, _>([outputs]), d),
            stride,
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = ConvOptions::new([self.stride, self.stride], [1, 1], [1, 1], 1);
        conv2d(x, self.weight.val(), Some(self.bias.val()), options)
    }
}

/// Nearest neighbour resizing.
#[derive(Module, Debug)]
pub(crate) struct Resize {
    height: usize,
    width: usize,
}

impl Resize {
    pub(crate) fn new([height, width]: [usize; 2]) -> Self {
        Self { height, width }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let options = InterpolateOptions::new(InterpolateMode::Nearest)
            .with_output_size([self.height, self.width]);
        interpolate(x, options)
    }
}

/// `x` where positive, `slope · x` elsewhere.
#[derive(Module, Debug)]
pub(crate) struct LeakyRelu {
    slope: f64,
}

/// Brings every pixel's channels to mean square 1 (Karras et al. 2018). It needs no batch, so it
/// does the same in training and use.
#[derive(Module, Debug)]
pub(crate) struct PixelNorm {
    epsilon: f64,
}

/// Squeezes into 0..1.
#[derive(Module, Debug)]
pub(crate) struct Sigmoid {
    unused: usize,
}

/// One step of a network.
#[derive(Module, Debug)]
pub(crate) enum Layer {
    Dense(Dense),
    Conv(Conv),
    Resize(Resize),
    LeakyRelu(LeakyRelu),
    PixelNorm(PixelNorm),
    Sigmoid(Sigmoid),
}

impl Layer {
    pub(crate) fn leaky_relu(slope: f64) -> Self {
        Self::LeakyRelu(LeakyRelu { slope })
    }

    pub(crate) fn pixel_norm() -> Self {
        Self::PixelNorm(PixelNorm { epsilon: 1e-8 })
    }

    pub(crate) fn sigmoid() -> Self {
        Self::Sigmoid(Sigmoid { unused: 0 })
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Dense(dense) => dense.forward(x),
            Self::Conv(conv) => conv.forward(x),
            Self::Resize(resize) => resize.forward(x),
            Self::LeakyRelu(LeakyRelu { slope }) => leaky_relu(x, *slope),
            Self::PixelNorm(PixelNorm { epsilon }) => {
                let mean_square = x.clone().square().mean_dim(1); // [batch, 1, height, width]
                x / (mean_square + *epsilon).sqrt()
            }
            Self::Sigmoid(_) => sigmoid(x),
        }
    }
}

/// Layers one after the other.
#[derive(Module, Debug)]
pub(crate) struct Net {
    layers: Vec<Layer>,
}

impl Net {
    pub(crate) fn new(layers: Vec<Layer>) -> Self {
        Self { layers }
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }
}

/// The standard deviation that keeps variance 1 through a leaky rectifier of `slope`.
pub(crate) fn leaky_gain(slope: f64) -> f32 {
    (2.0 / (1.0 + slope * slope)).sqrt() as f32
}

/// A parameter of normal draws with standard deviation `scale`.
fn parameter<const D: usize>(
    shape: [usize; D],
    scale: f32,
    rng: &mut Stream,
    device: &Device,
) -> Param<Tensor<D>> {
    let mut values = normal(rng, shape.iter().product());
    values.iter_mut().for_each(|v| *v *= scale);
    Param::from_data(TensorData::new(values, shape), device)
}
