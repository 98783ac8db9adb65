//! The encoder as a tensor program: the same code on every device burn knows.

use burn::module::{Module, ModuleVisitor, Param};
use burn::nn::Embedding;
use burn::tensor::activation::{gelu, gelu_approximate, relu, silu, softmax, tanh};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::EncoderInput;
use super::config::{Activation, EncoderConfig, NormPlace};
use super::layout::{Layout, PairAt};
use crate::{Error, Learning, Result};

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

/// Where an encoder's places to drop at begin, far from those of a module around it.
const SITE: usize = 1 << 15;

/// An encoder's layers as a burn module, for a training loop of one's own: see
/// [`Encoder::module`](super::Encoder::module).
///
/// Its fields stand in the order of the layout.
#[derive(Module, Debug)]
pub struct EncoderModule {
    words: Embedding,
    positions: Embedding,
    types: Embedding,
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
        let table = |range| Embedding {
            weight: matrix(range, width),
        };
        Self {
            words: table(&layout.words),
            positions: table(&layout.positions),
            types: table(&layout.types),
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

    /// The same, dropping so much in training in place of [`EncoderConfig::dropout`].
    #[must_use]
    pub fn with_dropout(mut self, rate: f32) -> Self {
        self.config.dropout = rate.clamp(0.0, 0.99);
        self
    }

    /// The config.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// The states after the last layer, `[texts, tokens of the longest, width]`; rows after a text's end
    /// mean nothing, and change nothing of its own. In training [`EncoderConfig::dropout`] drops values
    /// of the embeddings, of what each part of a layer adds and of the attention, as BERT does.
    ///
    /// # Errors
    /// As [`Encoder::encode`](super::Encoder::encode), and [`Error::TooShort`] without texts.
    pub fn forward(
        &self,
        texts: &[EncoderInput<'_>],
        learning: &Learning<'_>,
    ) -> Result<Tensor<3>> {
        self.check(texts)?;
        Ok(self.run(texts, learning, None))
    }

    /// As [`forward`](Self::forward) outside of training, with the states of all layers and the attention.
    ///
    /// # Errors
    /// As [`forward`](Self::forward).
    pub fn trace(&self, texts: &[EncoderInput<'_>]) -> Result<EncoderOutput> {
        self.check(texts)?;
        let mut seen = (Vec::new(), Vec::new());
        let states = self.run(texts, &Learning::default(), Some(&mut seen));
        Ok(EncoderOutput {
            states,
            layers: seen.0,
            attention: seen.1,
        })
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

    fn check(&self, texts: &[EncoderInput<'_>]) -> Result<()> {
        if texts.is_empty() {
            return Err(Error::TooShort {
                what: "texts".to_string(),
                needed: 1,
                found: 0,
            });
        }
        self.config.check(texts)
    }

    /// Texts that [`check`](Self::check) has seen.
    fn run(
        &self,
        texts: &[EncoderInput<'_>],
        learning: &Learning<'_>,
        mut seen: Option<&mut (Vec<Tensor<3>>, Vec<Tensor<4>>)>,
    ) -> Tensor<3> {
        let lengths: Vec<usize> = texts.iter().map(|text| text.tokens.len()).collect();
        let (batch, length) = (texts.len(), lengths.iter().copied().max().unwrap_or(0));
        let (width, rows) = (self.config.width, batch * length);
        let device = self.words.weight.val().device().inner();
        // Padded at the end.
        let table = |pick: fn(&EncoderInput<'_>) -> Vec<u32>| {
            let mut values = Vec::with_capacity(rows);
            for (i, text) in texts.iter().enumerate() {
                values.extend(pick(text).into_iter().map(|t| t as i32));
                values.resize((i + 1) * length, 0);
            }
            Tensor::<1, Int>::from_data(TensorData::new(values, [rows]), &device)
        };
        let (tokens, types) = (
            table(|text| text.tokens.to_vec()),
            table(|text| text.types.to_vec()),
        );
        // What is added to the scores: 0 where there is a key, a very negative number after the end.
        let mask = lengths.iter().any(|&n| n != length).then(|| {
            let mut values = vec![0.0f32; rows];
            for (row, &n) in values.chunks_mut(length.max(1)).zip(&lengths) {
                row[n..].fill(-1e30);
            }
            let shape = [batch, 1, 1, length];
            Tensor::<4>::from_data(TensorData::new(values, shape), &device)
        });
        let rate = self.config.dropout;
        let drop = |x: Tensor<2>, site: usize| {
            let x = x.reshape([batch, length, width]);
            learning.drop(x, rate, SITE + site).reshape([rows, width])
        };

        let x =
            self.words.weight.val().select(0, tokens) + self.types.weight.val().select(0, types);
        let positions = self.positions.weight.val();
        let positions = positions.narrow(0, self.config.first_position, length);
        let x = x.reshape([batch, length, width]) + positions.unsqueeze();
        let mut x = drop(self.normalise(&self.norm, x.reshape([rows, width])), 0);
        let mut keep = |x: &Tensor<2>, attention: Option<Tensor<4>>| {
            if let Some((layers, attentions)) = &mut seen {
                layers.push(x.clone().reshape([batch, length, width]));
                attentions.extend(attention);
            }
        };
        keep(&x, None);
        for (i, layer) in self.layers.iter().enumerate() {
            let attention;
            let site = 1 + 3 * i;
            let attend = |x: Tensor<2>| {
                let shape = [batch, length];
                let fade = |weights: Tensor<4>| learning.drop(weights, rate, SITE + site);
                let (y, weights) = self.attend(layer, x, shape, mask.clone(), fade);
                (drop(y, site + 1), weights)
            };
            let feed = |x: Tensor<2>| drop(self.feed(layer, x), site + 2);
            x = match self.config.norm {
                NormPlace::After => {
                    let (y, p) = attend(x.clone());
                    attention = p;
                    let x = self.normalise(&layer.norm1, x + y);
                    let y = feed(x.clone());
                    self.normalise(&layer.norm2, x + y)
                }
                NormPlace::Before => {
                    let (y, p) = attend(self.normalise(&layer.norm1, x.clone()));
                    attention = p;
                    let x = x + y;
                    let y = feed(self.normalise(&layer.norm2, x.clone()));
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

    /// What attention adds, and its weights before `fade` drops some of them.
    fn attend(
        &self,
        layer: &Layer,
        x: Tensor<2>,
        [batch, length]: [usize; 2],
        mask: Option<Tensor<4>>,
        fade: impl Fn(Tensor<4>) -> Tensor<4>,
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
        let mixed = fade(weights.clone()).matmul(v).swap_dims(1, 2);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::Dropout;

    #[test]
    fn places_to_drop_differ() {
        let dropout = Dropout { rate: 0.5, seed: 3 };
        let mut seen = std::collections::BTreeSet::new();
        for site in (0..20).chain(SITE..SITE + 40) {
            let mut factors = [0.0; 64];
            dropout.fill_number(site, 7, &mut factors);
            assert!(seen.insert(factors.map(f32::to_bits)), "{site}");
        }
    }
}
