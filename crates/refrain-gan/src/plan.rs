//! A network before it has weights: what a configuration asks for, counted before it is built.
//!
//! First weights are drawn on the host (He et al. 2015), so a seed means the same on every device.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::rng::Stream;

use crate::net::{
    Activate, BatchSpread, Conv, Dense, Layer, Net, PixelNorm, Pool, Residual, Resize, Transposed,
};
use crate::random::normal;
use crate::spectral::Spectral;
use crate::{Activation, ImageShape};

/// A layer to build. `gain` is the standard deviation of its result for inputs of variance 1.
#[derive(Debug, Clone)]
pub(crate) enum Plan {
    Dense {
        inputs: usize,
        to: ImageShape,
        gain: f32,
        spectral: bool,
    },
    Conv {
        channels: [usize; 2],
        kernel: usize,
        stride: usize,
        gain: f32,
        spectral: bool,
    },
    Transposed {
        channels: [usize; 2],
        to: [usize; 2],
        gain: f32,
    },
    Resize([usize; 2]),
    Pool,
    Activate(Activation),
    PixelNorm,
    BatchSpread,
    Residual {
        body: Vec<Plan>,
        skip: Vec<Plan>,
    },
}

impl Plan {
    /// A matrix to `outputs` numbers.
    pub(crate) fn dense(inputs: usize, outputs: usize, gain: f32, spectral: bool) -> Self {
        let to = ImageShape {
            channels: outputs,
            height: 1,
            width: 1,
        };
        Self::Dense {
            inputs,
            to,
            gain,
            spectral,
        }
    }

    /// A convolution of stride 1.
    pub(crate) fn conv(channels: [usize; 2], kernel: usize, gain: f32, spectral: bool) -> Self {
        Self::Conv {
            channels,
            kernel,
            stride: 1,
            gain,
            spectral,
        }
    }

    /// How many numbers it holds; `None` when that is beyond counting.
    fn weights(&self) -> Option<usize> {
        match self {
            Self::Dense {
                inputs,
                to,
                spectral,
                ..
            } => matrix(to.len(), *inputs, *spectral),
            Self::Conv {
                channels: [i, o],
                kernel,
                spectral,
                ..
            } => {
                let inputs = i.checked_mul(kernel * kernel)?;
                matrix(*o, inputs, *spectral)
            }
            Self::Transposed {
                channels: [i, o], ..
            } => matrix(*o, i.checked_mul(16)?, false),
            Self::Residual { body, skip } => count(body)?.checked_add(count(skip)?),
            _ => Some(0),
        }
    }

    fn build(&self, rng: &mut Stream, device: &Device) -> Layer {
        let zeros = |len: usize| Param::from_data(TensorData::zeros::<f32, _>([len]), device);
        match self {
            Self::Dense {
                inputs,
                to,
                gain,
                spectral,
            } => Layer::Dense(dense(*inputs, *to, *gain, *spectral, rng, device)),
            Self::Conv {
                channels: [i, o],
                kernel,
                stride,
                gain,
                spectral,
            } => {
                let inputs = i * kernel * kernel;
                Layer::Conv(Conv {
                    weight: parameter([*o, *i, *kernel, *kernel], *gain, inputs, rng, device),
                    bias: zeros(*o),
                    spectral: spectral.then(|| Spectral::new([*o, inputs], rng, device)),
                    stride: *stride,
                })
            }
            // Each pixel of the result is reached by a quarter of the 16 weights.
            Self::Transposed {
                channels: [i, o],
                to: [height, width],
                gain,
            } => Layer::Transposed(Transposed {
                weight: parameter([*i, *o, 4, 4], *gain, i * 4, rng, device),
                bias: zeros(*o),
                height: *height,
                width: *width,
            }),
            Self::Resize([height, width]) => Layer::Resize(Resize {
                height: *height,
                width: *width,
            }),
            Self::Pool => Layer::Pool(Pool),
            Self::Activate(function) => Layer::Activate(Activate {
                function: *function,
            }),
            Self::PixelNorm => Layer::PixelNorm(PixelNorm { epsilon: 1e-8 }),
            Self::BatchSpread => Layer::BatchSpread(BatchSpread),
            Self::Residual { body, skip } => Layer::Residual(Residual {
                body: build(body, rng, device),
                skip: build(skip, rng, device),
            }),
        }
    }
}

/// How many numbers all layers hold; `None` when that is beyond counting.
pub(crate) fn count(plans: &[Plan]) -> Option<usize> {
    plans
        .iter()
        .try_fold(0usize, |sum, plan| sum.checked_add(plan.weights()?))
}

/// The network with its first weights.
pub(crate) fn build(plans: &[Plan], rng: &mut Stream, device: &Device) -> Net {
    Net {
        layers: plans.iter().map(|plan| plan.build(rng, device)).collect(),
    }
}

/// A matrix with its first weights, for where no list of layers is wanted.
pub(crate) fn dense(
    inputs: usize,
    to: ImageShape,
    gain: f32,
    spectral: bool,
    rng: &mut Stream,
    device: &Device,
) -> Dense {
    Dense {
        weight: parameter([inputs, to.len()], gain, inputs, rng, device),
        bias: Param::from_data(TensorData::zeros::<f32, _>([to.len()]), device),
        spectral: spectral.then(|| Spectral::new([inputs, to.len()], rng, device)),
        channels: to.channels,
        height: to.height,
        width: to.width,
    }
}

/// Weights, one bias an output, and the two vectors of spectral normalisation.
fn matrix(outputs: usize, inputs: usize, spectral: bool) -> Option<usize> {
    let weights = inputs.checked_add(1)?.checked_mul(outputs)?;
    match spectral {
        true => weights.checked_add(inputs)?.checked_add(outputs),
        false => Some(weights),
    }
}

/// A parameter of normal draws for results of standard deviation `gain` from `inputs` numbers each.
fn parameter<const D: usize>(
    shape: [usize; D],
    gain: f32,
    inputs: usize,
    rng: &mut Stream,
    device: &Device,
) -> Param<Tensor<D>> {
    let scale = gain / (inputs.max(1) as f32).sqrt();
    let mut values = normal(rng, shape.iter().product());
    values.iter_mut().for_each(|v| *v *= scale);
    Param::from_data(TensorData::new(values, shape), device)
}
