//! The transformer as a tensor program: the same code on every device burn knows.
//!
//! Pre-norm layers (Xiong et al., 2020): `x ← x + attention(norm(x))`, `x ← x + feed(norm(x))`,
//! with causal multi-head attention (Vaswani et al., 2017) over one matrix product for queries,
//! keys and values together. With a cache, the keys and values of earlier tokens are kept, and a
//! new token costs one row.

use burn::module::{Module, Param};
use burn::tensor::activation::{gelu_approximate, relu, silu, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::config::{FeedForward, Norm, Positions, TransformerConfig};
use super::layout::{Layout, LinearAt, NormAt, rotary_tables};
use crate::batch::{Dropout, Example};
use crate::loss::{self, cross_entropy};
use crate::{Error, Result};

#[derive(Module, Debug)]
pub(crate) struct Scale {
    weight: Param<Tensor<1>>,
    bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
pub(crate) struct Matrix {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

#[derive(Module, Debug)]
pub(crate) struct Layer {
    norm1: Scale,
    qkv: Matrix,
    output: Matrix,
    norm2: Scale,
    up: Matrix,
    down: Matrix,
}

/// The parameters, in the order of [`Layout`].
#[derive(Module, Debug)]
pub(crate) struct Decoder {
    embedding: Param<Tensor<2>>,
    positions: Option<Param<Tensor<2>>>,
    layers: Vec<Layer>,
    norm: Scale,
    head: Option<Param<Tensor<2>>>,
}

impl Matrix {
    /// `[rows, in]` → `[rows, out]`.
    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let y = x.matmul(self.weight.val());
        match &self.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }
}

/// Keys and values of one layer, `[batch, shared heads, tokens, head width]` each.
pub(super) type KeysValues = Option<(Tensor<4>, Tensor<4>)>;

/// The decoder with what is fixed: the config and the rotary tables.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) decoder: Decoder,
    config: TransformerConfig,
    /// `[context, half head width]`.
    rotary: Option<(Tensor<2>, Tensor<2>)>,
    device: Device,
}

/// What a forward pass changes or draws from.
#[derive(Default)]
pub(crate) struct Pass<'a> {
    /// How many tokens went before.
    start: usize,
    /// One per layer; empty while training.
    cache: Option<&'a mut Vec<KeysValues>>,
    dropout: Option<(Dropout, &'a [Example])>,
}

impl Program {
    /// A program with these flat weights; on an autodiff device they are trainable.
    pub(crate) fn new(
        config: &TransformerConfig,
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
        let scale = |at: &NormAt| Scale {
            weight: vector(&at.weight),
            bias: at.bias.as_ref().map(vector),
        };
        let linear = |at: &LinearAt| Matrix {
            weight: matrix(&at.weight, at.output),
            bias: at.bias.as_ref().map(vector),
        };
        let width = config.width;
        let decoder = Decoder {
            embedding: matrix(&layout.embedding, width),
            positions: layout.positions.as_ref().map(|at| matrix(at, width)),
            layers: layout
                .layers
                .iter()
                .map(|at| Layer {
                    norm1: scale(&at.norm1),
                    qkv: linear(&at.qkv),
                    output: linear(&at.output),
                    norm2: scale(&at.norm2),
                    up: linear(&at.up),
                    down: linear(&at.down),
                })
                .collect(),
            norm: scale(&layout.norm),
            head: (!config.tied).then(|| matrix(&layout.head, width)),
        };
        let plain = device.clone().inner();
        let rotary = match config.positions {
            Positions::Learned => None,
            Positions::Rotary { base } => {
                let half = config.head_width() / 2;
                let (cos, sin) = rotary_tables(&config.frequencies(base), config.context);
                let table = |values: Vec<f32>| {
                    Tensor::from_data(TensorData::new(values, [config.context, half]), &plain)
                };
                Some((table(cos), table(sin)))
            }
        };
        Self {
            decoder,
            config: config.clone(),
            rotary,
            device: device.clone(),
        }
    }

    /// The same program without gradients.
    pub(crate) fn valid(&self) -> Self {
        Self {
            decoder: self.decoder.valid(),
            device: self.device.clone().inner(),
            ..self.clone()
        }
    }

    /// The sum of the targets' losses, `[1]`, with label smoothing.
    pub(crate) fn loss(
        &self,
        batch: &[Example],
        dropout: Option<Dropout>,
        smoothing: f32,
    ) -> Tensor<1> {
        let plain = self.device.clone().inner();
        let inputs = loss::tokens(batch.iter().map(|e| e.inputs.as_slice()), &plain);
        let pass = Pass {
            dropout: dropout.map(|d| (d, batch)),
            ..Pass::default()
        };
        let logits = self.logits(self.hidden(inputs, pass));
        cross_entropy(logits, batch, smoothing, &plain)
    }

    /// Logits of the tokens after those in the cache, `[tokens, vocabulary]`, on the host.
    pub(crate) fn extend(
        &self,
        tokens: &[u32],
        start: usize,
        cache: &mut Vec<KeysValues>,
        last_only: bool,
    ) -> Result<Vec<f32>> {
        cache.resize(self.config.layers, None);
        let rows = loss::tokens(std::iter::once(tokens), &self.device.clone().inner());
        let pass = Pass {
            start,
            cache: Some(cache),
            dropout: None,
        };
        let mut x = self.hidden(rows, pass);
        if last_only {
            x = x.narrow(1, tokens.len() - 1, 1);
        }
        self.logits(x)
            .try_into_vec_as::<f32>()
            .map_err(Error::device)
    }

    /// `[batch, tokens, width]` → `[batch · tokens, vocabulary]`.
    fn logits(&self, x: Tensor<3>) -> Tensor<2> {
        let [batch, tokens, width] = x.dims();
        let head = self
            .decoder
            .head
            .as_ref()
            .unwrap_or(&self.decoder.embedding)
            .val();
        x.reshape([batch * tokens, width]).matmul(head.transpose())
    }

    /// `[batch, tokens]` → `[batch, tokens, width]`, after the last norm.
    fn hidden(&self, tokens: Tensor<2, Int>, mut pass: Pass<'_>) -> Tensor<3> {
        let [batch, length] = tokens.dims();
        let flat = tokens.reshape([batch * length]);
        let x = self.decoder.embedding.val().select(0, flat);
        let cached = pass.cache.as_ref().and_then(|cache| cache.first());
        let cached = cached.and_then(|slot| slot.as_ref().map(|(k, _)| k.dims()[2]));
        let keys = cached.unwrap_or(0) + length;
        let far = self.config.window.is_some_and(|window| keys > window);
        let mask = (length > 1 || far).then(|| self.mask(length, keys));
        self.layers(x, [batch, length], mask, &mut pass)
    }

    /// Embedded rows, `[batch · tokens, width]` → `[batch, tokens, width]`, after the last norm.
    fn layers(
        &self,
        mut x: Tensor<2>,
        [batch, length]: [usize; 2],
        mask: Option<Tensor<4>>,
        pass: &mut Pass<'_>,
    ) -> Tensor<3> {
        let width = self.config.width;
        if let Some(positions) = &self.decoder.positions {
            let rows = positions
                .val()
                .narrow(0, pass.start, length)
                .unsqueeze::<3>();
            x = (x.reshape([batch, length, width]) + rows).reshape([batch * length, width]);
        }
        x = self.drop(x, 0, length, pass);
        for (i, layer) in self.decoder.layers.iter().enumerate() {
            let branch = self.attention(i, x.clone(), [batch, length], mask.clone(), pass);
            x = x + self.drop(branch, 1 + 2 * i, length, pass);
            let branch = self.feed_forward(layer, x.clone());
            x = x + self.drop(branch, 2 + 2 * i, length, pass);
        }
        self.norm(&self.decoder.norm, x)
            .reshape([batch, length, width])
    }

    /// The layers alone over embedded rows, padded at the end of each example. Where it is not
    /// causal, a token sees all of its own example.
    pub(crate) fn encode(
        &self,
        x: Tensor<2>,
        batch: &[Example],
        causal: bool,
        dropout: Option<Dropout>,
    ) -> Tensor<2> {
        let length = batch.iter().map(Example::len).max().unwrap_or(0);
        let mask = match causal {
            true => (length > 1).then(|| self.mask(length, length)),
            false => {
                let mut values = vec![0.0f32; batch.len() * length];
                for (row, example) in values.chunks_mut(length.max(1)).zip(batch) {
                    row[example.len()..].fill(-1e30);
                }
                let plain = self.device.clone().inner();
                let shape = [batch.len(), 1, 1, length];
                Some(Tensor::from_data(TensorData::new(values, shape), &plain))
            }
        };
        let mut pass = Pass {
            dropout: dropout.map(|d| (d, batch)),
            ..Pass::default()
        };
        let y = self.layers(x, [batch.len(), length], mask, &mut pass);
        y.reshape([batch.len() * length, self.config.width])
    }

    /// What is added to the scores: 0 where a token may look, a very negative number elsewhere;
    /// `[queries, keys]`, the queries being the last of the keys.
    fn mask(&self, queries: usize, keys: usize) -> Tensor<4> {
        let mut values = vec![0.0f32; queries * keys];
        for (i, row) in values.chunks_mut(keys).enumerate() {
            let own = keys - queries + i + 1;
            let first = self
                .config
                .window
                .map_or(0, |window| own.saturating_sub(window));
            row[..first].fill(-1e30);
            row[own..].fill(-1e30);
        }
        let plain = self.device.clone().inner();
        Tensor::from_data(TensorData::new(values, [1, 1, queries, keys]), &plain)
    }

    fn drop(&self, x: Tensor<2>, site: usize, length: usize, pass: &Pass<'_>) -> Tensor<2> {
        let Some((dropout, batch)) = pass.dropout else {
            return x;
        };
        let width = self.config.width;
        let mut factors = vec![1.0; batch.len() * length * width];
        for (example, row) in batch.iter().zip(factors.chunks_mut(length * width)) {
            dropout.fill(site, example, &mut row[..example.len() * width]);
        }
        let plain = self.device.clone().inner();
        x * Tensor::<2>::from_data(
            TensorData::new(factors, [batch.len() * length, width]),
            &plain,
        )
    }

    fn norm(&self, scale: &Scale, x: Tensor<2>) -> Tensor<2> {
        let x = match self.config.norm {
            Norm::Rms => x,
            Norm::Layer => {
                let mean = x.clone().mean_dim(1);
                x - mean
            }
        };
        let square = (x.clone() * x.clone()).mean_dim(1);
        let y =
            x * (square + self.config.norm_epsilon).sqrt().recip() * scale.weight.val().unsqueeze();
        match &scale.bias {
            Some(bias) => y + bias.val().unsqueeze(),
            None => y,
        }
    }

    fn attention(
        &self,
        index: usize,
        x: Tensor<2>,
        [batch, length]: [usize; 2],
        mask: Option<Tensor<4>>,
        pass: &mut Pass<'_>,
    ) -> Tensor<2> {
        let layer = &self.decoder.layers[index];
        let (heads, head_width) = (self.config.heads, self.config.head_width());
        let shared = self.config.shared_heads();
        let qkv = layer.qkv.forward(self.norm(&layer.norm1, x));
        let qkv = qkv.reshape([batch, length, heads + 2 * shared, head_width]);
        let part = |from: usize, heads: usize| qkv.clone().narrow(2, from, heads);
        let (mut q, mut k) = (part(0, heads), part(heads, shared));
        let v = part(heads + shared, shared);
        if let Some((cos, sin)) = &self.rotary {
            let table = |t: &Tensor<2>| {
                let rows = t.clone().narrow(0, pass.start, length);
                rows.reshape([1, length, 1, head_width / 2])
            };
            let (cos, sin) = (table(cos), table(sin));
            q = rotate(q, cos.clone(), sin.clone());
            k = rotate(k, cos, sin);
        }
        // [batch, heads, tokens, head width]
        let q = q.swap_dims(1, 2);
        let (mut k, mut v) = (k.swap_dims(1, 2), v.swap_dims(1, 2));
        if let Some(slot) = pass.cache.as_mut().and_then(|cache| cache.get_mut(index)) {
            if let Some((old_k, old_v)) = slot.take() {
                k = Tensor::cat(vec![old_k, k], 2);
                v = Tensor::cat(vec![old_v, v], 2);
            }
            // What later tokens see.
            let keys = k.dims()[2];
            let kept = self.config.window.map_or(keys, |window| keys.min(window));
            let last = |t: &Tensor<4>| t.clone().narrow(2, keys - kept, kept);
            *slot = Some((last(&k), last(&v)));
        }
        // Heads that share keys stand one below the other: [batch, shared, heads · queries, keys].
        let (scale, keys) = (1.0 / (head_width as f32).sqrt(), k.dims()[2]);
        let rows = heads / shared * length;
        let q = (q * scale).reshape([batch, shared, rows, head_width]);
        let scores = q.matmul(k.swap_dims(2, 3));
        let mut scores = scores.reshape([batch, heads, length, keys]);
        if let Some(mask) = mask {
            scores = scores + mask;
        }
        let weights = softmax(scores, 3).reshape([batch, shared, rows, keys]);
        let mixed = weights
            .matmul(v)
            .reshape([batch, heads, length, head_width]);
        let mixed = mixed.swap_dims(1, 2);
        layer
            .output
            .forward(mixed.reshape([batch * length, self.config.attended()]))
    }

    fn feed_forward(&self, layer: &Layer, x: Tensor<2>) -> Tensor<2> {
        let inner = layer.up.forward(self.norm(&layer.norm2, x));
        let hidden = self.config.inner();
        let inner = match self.config.feed_forward {
            FeedForward::Relu => relu(inner),
            FeedForward::ReluSquared => {
                let y = relu(inner);
                y.clone() * y
            }
            FeedForward::Gelu => gelu_approximate(inner),
            FeedForward::SwiGlu => {
                silu(inner.clone().narrow(1, 0, hidden)) * inner.narrow(1, hidden, hidden)
            }
        };
        layer.down.forward(inner)
    }
}

/// Rotates the pairs (i, i + half) of the last dimension.
fn rotate(x: Tensor<4>, cos: Tensor<4>, sin: Tensor<4>) -> Tensor<4> {
    let half = x.dims()[3] / 2;
    let (a, b) = (x.clone().narrow(3, 0, half), x.narrow(3, half, half));
    Tensor::cat(
        vec![
            a.clone() * cos.clone() - b.clone() * sin.clone(),
            b * cos + a * sin,
        ],
        3,
    )
}
