//! The encoder as a tensor program: the same code on every device burn knows.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::activation::{gelu, gelu_approximate, relu, silu, softmax, tanh};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{Activation, EncoderConfig, NormPlace};
use super::layout::{Layout, PairAt};
use crate::{Error, Result};

#[derive(Module, Debug)]
struct Scale {
    weight: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

/// `y = x Wᵀ + b`, with `W` as `[out, in]`.
#[derive(Module, Debug)]
struct Dense {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Dense {
    /// `[rows, in]` → `[rows, out]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        x.matmul(self.weight.val().transpose()) + self.bias.val().unsqueeze()
    }
}

#[derive(Module, Debug)]
struct Layer {
    qkv: Dense,
    output: Dense,
    norm1: Scale,
    up: Dense,
    down: Dense,
    norm2: Scale,
}

/// An encoder's layers as a burn module, for a training loop of one's own: see
/// [`Encoder::module`](super::Encoder::module).
///
/// Its fields stand in the order of the layout.
#[derive(Module, Debug)]
pub struct EncoderModule {
    words: Param<Tensor<2>>,
    positions: Param<Tensor<2>>,
    types: Param<Tensor<2>>,
    norm: Scale,
    layers: Vec<Layer>,
    last: Option<Scale>,
    pooler: Option<Dense>,
    #[module(skip)]
    config: EncoderConfig,
}

/// What [`EncoderModule::trace`] gives.
#[derive(Debug, Clone)]
pub struct EncoderOutput {
    /// After the last layer (and norm), `[batch, tokens, width]`; rows after a text's end mean
    /// nothing.
    pub states: Tensor<3>,
    /// The embeddings, then what each layer gave, `[batch, tokens, width]` each.
    pub layers: Vec<Tensor<3>>,
    /// Each layer's attention: how much a query looks at a key, `[batch, heads, queries, keys]`.
    pub attention: Vec<Tensor<4>>,
}

impl EncoderModule {
    /// A module with these flat weights; on an autodiff device they are trainable.
    pub(super) fn new(
        config: &EncoderConfig,
        layout: &Layout,
        weights: &[f32],
        device: &Device,
    ) -> Self {
        let vector = |range: &std::ops::Range<usize>| {
            Param::from_data(
                TensorData::new(weights[range.clone()].to_vec(), [range.len()]),
                device,
            )
        };
        let matrix = |range: &std::ops::Range<usize>, columns: usize| {
            let shape = [range.len() / columns, columns];
            Param::from_data(
                TensorData::new(weights[range.clone()].to_vec(), shape),
                device,
            )
        };
        let scale = |at: &PairAt| Scale {
            weight: vector(&at.weight),
            bias: vector(&at.bias),
        };
        let dense = |at: &PairAt, input: usize| Dense {
            weight: matrix(&at.weight, input),
            bias: vector(&at.bias),
        };
        let width = config.width;
        Self {
            words: matrix(&layout.words, width),
            positions: matrix(&layout.positions, width),
            types: matrix(&layout.types, width),
            norm: scale(&layout.norm),
            layers: layout
                .layers
                .iter()
                .map(|at| Layer {
                    qkv: dense(&at.qkv, width),
                    output: dense(&at.output, width),
                    norm1: scale(&at.norm1),
                    up: dense(&at.up, width),
                    down: dense(&at.down, config.hidden),
                    norm2: scale(&at.norm2),
                })
                .collect(),
            last: layout.last.as_ref().map(scale),
            pooler: layout.pooler.as_ref().map(|at| dense(at, width)),
            config: config.clone(),
        }
    }

    /// The config.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The states after the last layer, `[batch, tokens, width]`.
    ///
    /// `tokens` and `types` are `[batch, tokens]`, each text at the beginning of its row; `lengths`
    /// says how long it is. What stands after a text's end changes nothing of its own rows. The
    /// caller answers for tokens, types and lengths being in range: devices differ in what they do
    /// with others.
    pub fn forward(
        &self,
        tokens: Tensor<2, Int>,
        types: Tensor<2, Int>,
        lengths: &[usize],
    ) -> Tensor<3> {
        self.run(tokens, types, lengths, None)
    }

    /// As [`forward`](Self::forward), with the states of all layers and the attention.
    pub fn trace(
        &self,
        tokens: Tensor<2, Int>,
        types: Tensor<2, Int>,
        lengths: &[usize],
    ) -> EncoderOutput {
        let mut seen = (Vec::new(), Vec::new());
        let states = self.run(tokens, types, lengths, Some(&mut seen));
        EncoderOutput {
            states,
            layers: seen.0,
            attention: seen.1,
        }
    }

    /// The pooler on the first token's state: `[batch, tokens, width]` → `[batch, width]`; `None`
    /// where the model has no pooler.
    pub fn pooled(&self, states: Tensor<3>) -> Option<Tensor<2>> {
        let [batch, _, width] = states.dims();
        let first = states.narrow(1, 0, 1).reshape([batch, width]);
        Some(tanh(self.pooler.as_ref()?.forward(first)))
    }

    /// The weights, flat.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        let mut read = Read {
            values: Vec::new(),
            failed: None,
        };
        self.visit(&mut read);
        read.failed.map_or(Ok(read.values), Err)
    }

    fn run(
        &self,
        tokens: Tensor<2, Int>,
        types: Tensor<2, Int>,
        lengths: &[usize],
        mut seen: Option<&mut (Vec<Tensor<3>>, Vec<Tensor<4>>)>,
    ) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let width = self.config.width;
        let rows = batch * length;
        // What is added to the scores: 0 where there is a key, a very negative number after the end.
        let mask = lengths.iter().any(|&n| n != length).then(|| {
            let mut values = vec![0.0f32; rows];
            for (row, &n) in values.chunks_mut(length.max(1)).zip(lengths) {
                row[n.min(length)..].fill(-1e30);
            }
            let shape = [batch, 1, 1, length];
            Tensor::<4>::from_data(TensorData::new(values, shape), &tokens.device().inner())
        });

        let x = self.words.val().select(0, tokens.reshape([rows]))
            + self.types.val().select(0, types.reshape([rows]));
        let positions = self
            .positions
            .val()
            .narrow(0, self.config.first_position, length);
        let x = x.reshape([batch, length, width]) + positions.unsqueeze();
        let mut x = self.normalise(&self.norm, x.reshape([rows, width]));
        let mut keep = |x: &Tensor<2>, attention: Option<Tensor<4>>| {
            if let Some((layers, attentions)) = &mut seen {
                layers.push(x.clone().reshape([batch, length, width]));
                attentions.extend(attention);
            }
        };
        keep(&x, None);
        for layer in &self.layers {
            let attention;
            x = match self.config.norm {
                NormPlace::After => {
                    let (y, p) = self.attend(layer, x.clone(), [batch, length], mask.clone());
                    attention = p;
                    let x = self.normalise(&layer.norm1, x + y);
                    let y = self.feed(layer, x.clone());
                    self.normalise(&layer.norm2, x + y)
                }
                NormPlace::Before => {
                    let normed = self.normalise(&layer.norm1, x.clone());
                    let (y, p) = self.attend(layer, normed, [batch, length], mask.clone());
                    attention = p;
                    let x = x + y;
                    let y = self.feed(layer, self.normalise(&layer.norm2, x.clone()));
                    x + y
                }
            };
            keep(&x, Some(attention));
        }
        if let Some(last) = &self.last {
            x = self.normalise(last, x);
        }
        x.reshape([batch, length, width])
    }

    fn normalise(&self, scale: &Scale, x: Tensor<2>) -> Tensor<2> {
        let mean = x.clone().mean_dim(1);
        let x = x - mean;
        let variance = (x.clone() * x.clone()).mean_dim(1);
        x * (variance + self.config.norm_epsilon).sqrt().recip() * scale.weight.val().unsqueeze()
            + scale.bias.val().unsqueeze()
    }

    /// What attention adds, and its weights.
    fn attend(
        &self,
        layer: &Layer,
        x: Tensor<2>,
        [batch, length]: [usize; 2],
        mask: Option<Tensor<4>>,
    ) -> (Tensor<2>, Tensor<4>) {
        let (heads, head_width) = (self.config.heads, self.config.head_width());
        let qkv = layer.qkv.forward(x);
        let qkv = qkv.reshape([batch, length, 3 * heads, head_width]);
        // [batch, heads, tokens, head width]
        let part = |from: usize| qkv.clone().narrow(2, from * heads, heads).swap_dims(1, 2);
        let (q, k, v) = (part(0), part(1), part(2));
        let scale = 1.0 / (head_width as f32).sqrt();
        let mut scores = (q * scale).matmul(k.swap_dims(2, 3));
        if let Some(mask) = mask {
            scores = scores + mask;
        }
        let weights = softmax(scores, 3);
        let mixed = weights.clone().matmul(v).swap_dims(1, 2);
        let y = layer
            .output
            .forward(mixed.reshape([batch * length, self.config.width]));
        (y, weights)
    }

    fn feed(&self, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        let inner = layer.up.forward(x);
        layer.down.forward(activate(self.config.activation, inner))
    }
}

/// The non-linear middle of the feed-forward part.
pub(crate) fn activate(kind: Activation, x: Tensor<2>) -> Tensor<2> {
    match kind {
        Activation::Gelu => gelu(x),
        Activation::GeluTanh => gelu_approximate(x),
        Activation::Relu => relu(x),
        Activation::Swish => silu(x),
    }
}

/// Copies each parameter to the host.
struct Read {
    values: Vec<f32>,
    failed: Option<Error>,
}

impl ModuleVisitor for Read {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match param.val().try_into_vec_as::<f32>() {
            Ok(values) => self.values.extend(values),
            Err(e) => self.failed = Some(Error::device(e)),
        }
    }
}
