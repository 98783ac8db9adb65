//! A network as a list of layers on `[batch, channels, height, width]` tensors, with the gradient for
//! its input as a program of its own.
//!
//! # Gradient penalties without second derivatives
//!
//! A penalty on `∇ₓD(x)` needs the derivative of a derivative, which an automatic differentiation of
//! first order does not give. But the input's gradient of a list of layers is itself a plain forward
//! computation: walk the layers back from the logit, each by its transpose.
//!
//! ```text
//! dense          y = x W + b            ∂x = ∂y Wᵀ
//! convolution    y = W ∗ x + b          ∂x = the transposed convolution of ∂y with W
//! leaky ReLU     y = f ⊙ x              ∂x = f ⊙ ∂y        f ∈ {1, slope}, constant almost everywhere
//! smooth         y = s(x)               ∂x = s'(x) ⊙ ∂y
//! pixel norm     y = r x                ∂x = r ∂y − r³ x mean(x ⊙ ∂y)
//! pool, resize   y = A x                ∂x = Aᵀ ∂y
//! residual       y = f(x) + g(x)        ∂x = ∂x by f + ∂x by g
//! ```
//!
//! Run on the tape ([`Net::input_gradient`]), this program is made of operations that have a first
//! derivative, so `backward()` through `‖∇ₓD‖²` gives the true derivative with respect to the weights.
//! A layer that mixes the images of a batch has no such program, and says so
//! ([`Net::mixes_batch`]).

use crate::Activation;
use crate::convolution::{Windows, convolution, transposed};
use crate::fused;
use crate::spectral::Spectral;
use burn::module::{Module, Param};
use burn::tensor::module::{avg_pool2d, interpolate};
use burn::tensor::ops::{AvgPoolOptions, InterpolateMode, InterpolateOptions};
use burn::tensor::{IndexingUpdateOp, Int, Tensor, TensorData};

/// A matrix, and the shape its result takes.
#[derive(Module, Debug)]
pub(crate) struct Dense {
    pub(crate) weight: Param<Tensor<2>>, // [in, out]
    pub(crate) bias: Param<Tensor<1>>,   // [out]
    pub(crate) spectral: Option<Spectral>,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Dense {
    fn matrix(&self) -> Tensor<2> {
        normalised(&self.spectral, self.weight.val())
    }

    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let batch = x.dims()[0];
        let x = x.reshape([batch as i32, -1]); // [batch, in]
        let y = x.matmul(self.matrix()) + self.bias.val().unsqueeze::<2>();
        y.reshape([batch, self.channels, self.height, self.width])
    }

    pub(crate) fn input_gradient(&self, shape: [usize; 4], g: Tensor<4>) -> Tensor<4> {
        let g = g.reshape([shape[0] as i32, -1]); // [batch, out]
        g.matmul(self.matrix().transpose()).reshape(shape)
    }

    pub(crate) fn refresh(&mut self) {
        let weight = self.weight.val();
        self.spectral.iter_mut().for_each(|s| s.refresh(&weight));
    }
}

/// A convolution that keeps the size, or halves it (rounded up) with stride 2.
#[derive(Module, Debug)]
pub(crate) struct Conv {
    pub(crate) weight: Param<Tensor<4>>, // [out, in, kernel, kernel], kernel odd
    pub(crate) bias: Param<Tensor<1>>,   // [out]
    pub(crate) spectral: Option<Spectral>,
    pub(crate) stride: usize,
}

impl Conv {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let weight = normalised(&self.spectral, self.weight.val());
        convolution(x, weight, self.bias.val(), self.windows())
    }

    fn input_gradient(&self, [_, _, height, width]: [usize; 4], g: Tensor<4>) -> Tensor<4> {
        let weight = normalised(&self.spectral, self.weight.val());
        transposed(g, weight, None, self.windows(), [height, width])
    }

    fn windows(&self) -> Windows {
        Windows {
            stride: self.stride,
            padding: self.weight.dims()[2] / 2,
        }
    }
}

/// A transposed 4 × 4 convolution that doubles the size, cut to `height` × `width`.
#[derive(Module, Debug)]
pub(crate) struct Transposed {
    pub(crate) weight: Param<Tensor<4>>, // [in, out, 4, 4]
    pub(crate) bias: Param<Tensor<1>>,   // [out]
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Transposed {
    const WINDOWS: Windows = Windows {
        stride: 2,
        padding: 1,
    };

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), Some(self.bias.val()));
        transposed(x, weight, bias, Self::WINDOWS, [self.height, self.width])
    }

    fn input_gradient(&self, [_, _, height, width]: [usize; 4], g: Tensor<4>) -> Tensor<4> {
        let weight = self.weight.val();
        let none = Tensor::zeros([weight.dims()[0]], &g.device().inner());
        let g = grown(g, [2 * height, 2 * width]);
        convolution(g, weight, none, Self::WINDOWS)
    }
}

/// Nearest neighbour resizing.
#[derive(Module, Debug)]
pub(crate) struct Resize {
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Resize {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        nearest(x, [self.height, self.width])
    }

    fn input_gradient(&self, shape: [usize; 4], g: Tensor<4>) -> Tensor<4> {
        let [batch, channels, height, width] = shape;
        if let Some(gradient) = fused::resized_gradient(&g, [height, width]) {
            return gradient;
        }
        let device = g.device();
        let source = |from: usize, to: usize| -> Tensor<1, Int> {
            let of: Vec<i32> = (0..to).map(|i| (i * from / to) as i32).collect();
            Tensor::from_data(TensorData::new(of, [to]), &device)
        };
        let zeros = |h, w| Tensor::zeros([batch, channels, h, w], &device);
        let add = IndexingUpdateOp::Add;
        let rows = source(height, self.height);
        let g = zeros(height, self.width).select_assign(2, rows, g, add);
        zeros(height, width).select_assign(3, source(width, self.width), g, add)
    }
}

/// The mean of each 2 × 2 block; a row or column left over is averaged with zeros.
#[derive(Module, Debug)]
pub(crate) struct Pool;

impl Pool {
    fn forward(x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let even = grown(x, [height.next_multiple_of(2), width.next_multiple_of(2)]);
        avg_pool2d(even, AvgPoolOptions::new([2; 2]))
    }

    fn input_gradient([_, _, height, width]: [usize; 4], g: Tensor<4>) -> Tensor<4> {
        let [_, _, rows, columns] = g.dims();
        (nearest(g, [2 * rows, 2 * columns]) * 0.25)
            .narrow(2, 0, height)
            .narrow(3, 0, width)
    }
}

/// An [`Activation`] as a layer.
#[derive(Module, Debug)]
pub(crate) struct Activate {
    #[module(skip)]
    pub(crate) function: Activation,
}

/// Brings every pixel's channels to mean square 1 (Karras et al. 2018). It needs no batch, so it
/// does the same in training and use.
#[derive(Module, Debug)]
pub(crate) struct PixelNorm {
    pub(crate) epsilon: f64,
}

impl PixelNorm {
    /// One over the root of the mean square, `[batch, 1, height, width]`.
    fn factor(&self, x: &Tensor<4>) -> Tensor<4> {
        (x.clone().square().mean_dim(1) + self.epsilon)
            .sqrt()
            .recip()
    }

    fn forward(&self, x: &Tensor<4>) -> Tensor<4> {
        match fused::pixel_norm(x, self.epsilon) {
            Some(y) => y,
            None => x.clone() * self.factor(x),
        }
    }

    fn input_gradient(&self, x: Tensor<4>, g: Tensor<4>) -> Tensor<4> {
        let factor = self.factor(&x);
        let along = (x.clone() * g.clone()).mean_dim(1) * factor.clone().powi_scalar(3);
        g * factor - x * along
    }
}

/// One more channel, everywhere the standard deviation over the batch, averaged over all pixels
/// (Karras et al. 2018): lets a discriminator see that the images are all alike.
#[derive(Module, Debug)]
pub(crate) struct BatchSpread;

impl BatchSpread {
    fn forward(x: Tensor<4>) -> Tensor<4> {
        let [batch, _, height, width] = x.dims();
        let gap = x.clone() - x.clone().mean_dim(0);
        let spread = (gap.square().mean_dim(0) + 1e-8).sqrt().mean();
        let channel = spread
            .reshape([1, 1, 1, 1])
            .expand([batch, 1, height, width]);
        Tensor::cat(vec![x, channel], 1)
    }
}

/// The sum of two ways from the same input; a way without layers hands it on.
#[derive(Module, Debug)]
pub(crate) struct Residual {
    pub(crate) body: Net,
    pub(crate) skip: Net,
}

/// One step of a network.
#[derive(Module, Debug)]
pub(crate) enum Layer {
    Dense(Dense),
    Conv(Conv),
    Transposed(Transposed),
    Resize(Resize),
    Pool(Pool),
    Activate(Activate),
    PixelNorm(PixelNorm),
    BatchSpread(BatchSpread),
    Residual(Residual),
}

/// What the way back through a layer needs of the way forward.
#[derive(Debug, Clone)]
pub(crate) enum Kept {
    /// The shape of the input: enough where the layer is linear.
    Shape([usize; 4]),
    /// The input.
    Input(Box<Tensor<4>>),
    /// What the two ways of a residual layer kept.
    Ways(Vec<Kept>, Vec<Kept>),
}

impl Kept {
    /// The part of `count` images from `start` on.
    fn rows(&self, start: usize, count: usize) -> Self {
        let all = |way: &[Self]| way.iter().map(|kept| kept.rows(start, count)).collect();
        match self {
            Self::Shape([_, c, h, w]) => Self::Shape([count, *c, *h, *w]),
            Self::Input(x) => Self::Input(Box::new(x.as_ref().clone().narrow(0, start, count))),
            Self::Ways(body, skip) => Self::Ways(all(body), all(skip)),
        }
    }
}

impl Layer {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Dense(dense) => dense.forward(x),
            Self::Conv(conv) => conv.forward(x),
            Self::Transposed(conv) => conv.forward(x),
            Self::Resize(resize) => resize.forward(x),
            Self::Pool(_) => Pool::forward(x),
            Self::Activate(Activate { function }) => function.forward(x),
            Self::PixelNorm(norm) => norm.forward(&x),
            Self::BatchSpread(_) => BatchSpread::forward(x),
            Self::Residual(Residual { body, skip }) => body.forward(x.clone()) + skip.forward(x),
        }
    }

    fn forward_kept(&self, x: Tensor<4>) -> (Tensor<4>, Kept) {
        match self {
            Self::Activate(_) | Self::PixelNorm(_) => {
                (self.forward(x.clone()), Kept::Input(Box::new(x)))
            }
            Self::Residual(Residual { body, skip }) => {
                let (by_body, body) = body.forward_kept(x.clone());
                let (by_skip, skip) = skip.forward_kept(x);
                (by_body + by_skip, Kept::Ways(body, skip))
            }
            _ => {
                let shape = Kept::Shape(x.dims());
                (self.forward(x), shape)
            }
        }
    }

    fn input_gradient(&self, kept: &Kept, g: Tensor<4>) -> Tensor<4> {
        match (self, kept) {
            (Self::Dense(dense), Kept::Shape(shape)) => dense.input_gradient(*shape, g),
            (Self::Conv(conv), Kept::Shape(shape)) => conv.input_gradient(*shape, g),
            (Self::Transposed(conv), Kept::Shape(shape)) => conv.input_gradient(*shape, g),
            (Self::Resize(resize), Kept::Shape(shape)) => resize.input_gradient(*shape, g),
            (Self::Pool(_), Kept::Shape(shape)) => Pool::input_gradient(*shape, g),
            (Self::Activate(Activate { function }), Kept::Input(x)) => {
                function.input_gradient(x.as_ref().clone(), g)
            }
            (Self::PixelNorm(norm), Kept::Input(x)) => norm.input_gradient(x.as_ref().clone(), g),
            (Self::Residual(layer), Kept::Ways(body, skip)) => {
                let by_body = layer.body.input_gradient(body, g.clone());
                by_body + layer.skip.input_gradient(skip, g)
            }
            // Kept by another layer, or `mixes_batch`, which a penalty's configuration refuses.
            _ => g,
        }
    }

    fn mixes_batch(&self) -> bool {
        match self {
            Self::BatchSpread(_) => true,
            Self::Residual(Residual { body, skip }) => body.mixes_batch() || skip.mixes_batch(),
            _ => false,
        }
    }

    fn refresh(&mut self) {
        match self {
            Self::Dense(dense) => dense.refresh(),
            Self::Conv(l) => l
                .spectral
                .iter_mut()
                .for_each(|s| s.refresh(&l.weight.val())),
            Self::Residual(Residual { body, skip }) => {
                body.refresh();
                skip.refresh();
            }
            _ => {}
        }
    }
}

/// Layers one after the other.
#[derive(Module, Debug)]
pub(crate) struct Net {
    pub(crate) layers: Vec<Layer>,
}

impl Net {
    pub(crate) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.layers.iter().fold(x, |x, layer| layer.forward(x))
    }

    /// The result, and what [`Net::input_gradient`] needs.
    pub(crate) fn forward_kept(&self, mut x: Tensor<4>) -> (Tensor<4>, Vec<Kept>) {
        let mut all = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (y, kept) = layer.forward_kept(x);
            all.push(kept);
            x = y;
        }
        (x, all)
    }

    /// The gradient for the input from the gradient `g` for the result, on the tape.
    pub(crate) fn input_gradient(&self, kept: &[Kept], g: Tensor<4>) -> Tensor<4> {
        let back = self.layers.iter().zip(kept).rev();
        back.fold(g, |g, (layer, kept)| layer.input_gradient(kept, g))
    }

    /// Whether an image's result depends on the others of its batch.
    pub(crate) fn mixes_batch(&self) -> bool {
        self.layers.iter().any(Layer::mixes_batch)
    }

    /// One round of power iteration in every layer with spectral normalisation.
    pub(crate) fn refresh(&mut self) {
        self.layers.iter_mut().for_each(Layer::refresh);
    }
}

/// What was kept, for the part of `count` images from `start` on.
pub(crate) fn rows(kept: &[Kept], start: usize, count: usize) -> Vec<Kept> {
    kept.iter().map(|kept| kept.rows(start, count)).collect()
}

fn normalised<const D: usize>(spectral: &Option<Spectral>, weight: Tensor<D>) -> Tensor<D> {
    match spectral {
        Some(spectral) => spectral.apply(weight),
        None => weight,
    }
}

fn nearest(x: Tensor<4>, size: [usize; 2]) -> Tensor<4> {
    if let Some(y) = fused::resized(&x, size) {
        return y;
    }
    let options = InterpolateOptions::new(InterpolateMode::Nearest).with_output_size(size);
    interpolate(x, options)
}

/// Zeros added below and on the right.
fn grown(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    match (height - h, width - w) {
        (0, 0) => x,
        (rows, columns) => x.pad([(0, rows), (0, columns)], 0.0),
    }
}

#[cfg(test)]
#[path = "net_tests.rs"]
mod tests;
