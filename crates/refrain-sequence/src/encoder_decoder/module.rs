//! The encoder-decoder as a tensor program: the same code on every device burn knows.

use burn::module::{Module, Param};
use burn::nn::{Embedding, EmbeddingConfig};
use burn::tensor::activation::softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Pair;
use super::config::EncoderDecoderConfig;
use super::kernels::Network;
use super::layout::{Kind, Layout, PairAt, PartAt, StackAt};
use crate::encoder::{NormPlace, activate};
use crate::{Result, adamw, loss};

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
struct Part {
    input: Dense,
    memory: Option<Dense>,
    output: Dense,
    norm: Scale,
}

#[derive(Module, Debug)]
struct Stack {
    parts: Vec<Part>,
    last: Option<Scale>,
}

/// An encoder-decoder's layers as a burn module, for a [`Trainer`](crate::Trainer) or a training loop of
/// one's own: see [`EncoderDecoder::module`](super::EncoderDecoder::module).
///
/// Its fields stand in the order of the layout.
#[derive(Module, Debug)]
pub struct EncoderDecoderModule {
    table: Embedding,
    encoder: Stack,
    decoder: Stack,
    #[module(skip)]
    pub(super) fixed: std::sync::Arc<Fixed>,
}

/// What is no parameter.
#[derive(Debug)]
pub(super) struct Fixed {
    pub(super) network: Network,
    /// Added to the logits, and never trained.
    pub(super) bias: Option<Vec<f32>>,
}

/// Multiplies values with dropout factors of one site: `[batch, tokens, width]`.
pub(super) type Drop<'a> = dyn Fn(Tensor<3>, usize) -> Tensor<3> + 'a;

/// Keys and values of one attention, `[batch, heads, tokens, head width]` each.
pub(super) type KeysValues = (Tensor<4>, Tensor<4>);

/// What one side of a pass knows beside its tokens.
pub(super) struct Pass<'a> {
    /// Whether it is the decoder's side.
    pub(super) decoder: bool,
    /// How many tokens went before.
    pub(super) start: usize,
    /// What is added to the scores of own attention, where anything is hidden.
    pub(super) mask: Option<Tensor<4>>,
    /// Where the rows of the sources end.
    pub(super) memory_mask: Option<Tensor<4>>,
    /// The encoder's output, `[batch · tokens, width]`, for the keys and values that are not cached.
    pub(super) memory: Option<Tensor<2>>,
    /// One per part of the decoder: what the attention saw before, or the keys and values of the source.
    pub(super) cache: Option<&'a mut Vec<Option<KeysValues>>>,
    pub(super) drop: &'a Drop<'a>,
    /// Where attention weights are gathered, one per attention.
    pub(super) seen: Option<&'a mut Vec<Tensor<4>>>,
}

/// No dropout.
pub(super) fn keep(x: Tensor<3>, _: usize) -> Tensor<3> {
    x
}

impl EncoderDecoderModule {
    /// A module with these flat weights; on an autodiff device they are trainable.
    pub(super) fn new(
        config: &EncoderDecoderConfig,
        layout: &Layout,
        weights: &[f32],
        bias: Option<&[f32]>,
        device: &Device,
    ) -> Self {
        let values = |range: &std::ops::Range<usize>| weights[range.clone()].to_vec();
        let vector = |range: &std::ops::Range<usize>| {
            Param::from_data(TensorData::new(values(range), [range.len()]), device)
        };
        let matrix = |range: &std::ops::Range<usize>, columns: usize| {
            let shape = [range.len() / columns, columns];
            Param::from_data(TensorData::new(values(range), shape), device)
        };
        let scale = |at: &PairAt| Scale {
            weight: vector(&at.weight),
            bias: vector(&at.bias),
        };
        let dense = |at: &PairAt| Dense {
            weight: matrix(&at.weight, at.weight.len() / at.bias.len()),
            bias: vector(&at.bias),
        };
        let part = |at: &PartAt| Part {
            input: dense(&at.input),
            memory: at.memory.as_ref().map(dense),
            output: dense(&at.output),
            norm: scale(&at.norm),
        };
        let stack = |at: &StackAt| Stack {
            parts: at.parts.iter().map(part).collect(),
            last: at.last.as_ref().map(scale),
        };
        let mut table = EmbeddingConfig::new(config.vocabulary, config.width).init(device);
        table.weight = matrix(&layout.table, config.width);
        Self {
            table,
            encoder: stack(&layout.encoder),
            decoder: stack(&layout.decoder),
            fixed: std::sync::Arc::new(Fixed {
                network: Network::new(config, layout),
                bias: bias.map(<[f32]>::to_vec),
            }),
        }
    }

    /// The config.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.fixed.network.config
    }

    /// The logits after each token of each target, `[batch, tokens, vocabulary]`: row `i` is what the
    /// model says of target `i` after [`start`](EncoderDecoderConfig::start) and the targets before it.
    /// Rows after a target's end mean nothing.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::TooShort`] and [`Error::Config`] for what no model can read.
    pub fn logits(&self, batch: &[&Pair]) -> Result<Tensor<3>> {
        super::check_pairs(self.config(), batch.iter().copied())?;
        let (x, [count, length]) = self.hidden(batch, &keep, None);
        let logits = self.head(x);
        Ok(logits.reshape([count, length, self.config().vocabulary]))
    }

    /// The decoder's output for each target token, `[batch · tokens, width]`, padded at the end.
    pub(super) fn hidden(
        &self,
        batch: &[&Pair],
        drop: &Drop<'_>,
        mut seen: Option<[&mut Vec<Tensor<4>>; 2]>,
    ) -> (Tensor<2>, [usize; 2]) {
        let start = self.config().start;
        let sources: Vec<&[u32]> = batch.iter().map(|pair| pair.source.as_slice()).collect();
        let inputs: Vec<Vec<u32>> = batch
            .iter()
            .map(|pair| {
                let before = pair.target.len().saturating_sub(1);
                let before = pair.target.iter().copied().take(before);
                std::iter::once(start).chain(before).collect()
            })
            .collect();
        let (first, second) = match seen.as_mut() {
            Some([encoder, decoder]) => (Some(&mut **encoder), Some(&mut **decoder)),
            None => (None, None),
        };
        let (memory, memory_mask) = self.encode(&sources, drop, first);
        let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
        let length = inputs.iter().map(|row| row.len()).max().unwrap_or(0);
        let pass = Pass {
            decoder: true,
            start: 0,
            mask: (length > 1).then(|| self.causal(length, length)),
            memory_mask,
            memory: Some(memory),
            cache: None,
            drop,
            seen: second,
        };
        let x = self.stack(&inputs, pass);
        (x, [inputs.len(), length])
    }

    /// The encoder's output, `[batch · tokens, width]`, and what hides the ends of the sources.
    pub(super) fn encode(
        &self,
        sources: &[&[u32]],
        drop: &Drop<'_>,
        seen: Option<&mut Vec<Tensor<4>>>,
    ) -> (Tensor<2>, Option<Tensor<4>>) {
        let longest = sources.iter().map(|row| row.len()).max().unwrap_or(0);
        let padded = sources.iter().any(|row| row.len() != longest);
        let mask = padded.then(|| {
            let mut values = vec![0.0f32; sources.len() * longest];
            for (row, source) in values.chunks_mut(longest.max(1)).zip(sources) {
                row[source.len()..].fill(-1e30);
            }
            let shape = [sources.len(), 1, 1, longest];
            Tensor::from_data(TensorData::new(values, shape), &self.plain())
        });
        let pass = Pass {
            decoder: false,
            start: 0,
            mask: mask.clone(),
            memory_mask: None,
            memory: None,
            cache: None,
            drop,
            seen,
        };
        (self.stack(sources, pass), mask)
    }

    /// What is added to the scores: 0 where a token may look, a very negative number elsewhere;
    /// `[queries, keys]`, the queries being the last of the keys.
    pub(super) fn causal(&self, queries: usize, keys: usize) -> Tensor<4> {
        let mut values = vec![0.0f32; queries * keys];
        for (i, row) in values.chunks_mut(keys).enumerate() {
            row[keys - queries + i + 1..].fill(-1e30);
        }
        Tensor::from_data(
            TensorData::new(values, [1, 1, queries, keys]),
            &self.plain(),
        )
    }

    /// The device without autodiff.
    pub(super) fn plain(&self) -> Device {
        self.table.weight.val().device().inner()
    }

    /// Whether gradients are kept.
    pub(super) fn learns(&self) -> bool {
        self.table.weight.val().device().is_autodiff()
    }

    /// `[rows, width]` → `[rows, vocabulary]`.
    pub(super) fn head(&self, x: Tensor<2>) -> Tensor<2> {
        let logits = x.matmul(self.table.weight.val().transpose());
        match &self.fixed.bias {
            Some(bias) => {
                let bias = TensorData::new(bias.clone(), [1, bias.len()]);
                logits + Tensor::<2>::from_data(bias, &self.plain())
            }
            None => logits,
        }
    }

    /// One side, `[batch · tokens, width]`.
    pub(super) fn stack(&self, rows: &[&[u32]], mut pass: Pass<'_>) -> Tensor<2> {
        let stack = match pass.decoder {
            false => &self.encoder,
            true => &self.decoder,
        };
        let (at, site) = self.fixed.network.side(pass.decoder);
        let width = self.config().width;
        let tokens = loss::tokens(rows.iter().copied(), &self.plain());
        let [batch, length] = tokens.dims();
        let drop = pass.drop;
        let drop = |x: Tensor<2>, i: usize| {
            let x = drop(x.reshape([batch, length, width]), site + i);
            x.reshape([batch * length, width])
        };
        let mut x = drop(self.embed(tokens, pass.start), 0);
        for (i, (part, at)) in stack.parts.iter().zip(&at.parts).enumerate() {
            let read = match self.config().norm {
                NormPlace::Before => self.normalise(&part.norm, x.clone()),
                NormPlace::After => x.clone(),
            };
            let branch = self.part((i, at.kind), part, read, [batch, length], &mut pass);
            x = x + drop(part.output.forward(branch), 1 + i);
            if self.config().norm == NormPlace::After {
                x = self.normalise(&part.norm, x);
            }
        }
        match &stack.last {
            Some(last) => self.normalise(last, x),
            None => x,
        }
    }

    fn embed(&self, tokens: Tensor<2, Int>, start: usize) -> Tensor<2> {
        let width = self.config().width;
        let [batch, length] = tokens.dims();
        let x = self
            .table
            .weight
            .val()
            .select(0, tokens.reshape([batch * length]));
        let x = if self.config().scaled {
            x * self.config().scale()
        } else {
            x
        };
        let places = &self.fixed.network.sinusoids[start * width..(start + length) * width];
        let places = TensorData::new(places.to_vec(), [1, length, width]);
        let places = Tensor::<3>::from_data(places, &self.plain());
        (x.reshape([batch, length, width]) + places).reshape([batch * length, width])
    }

    fn normalise(&self, scale: &Scale, x: Tensor<2>) -> Tensor<2> {
        let mean = x.clone().mean_dim(1);
        let x = x - mean;
        let variance = (x.clone() * x.clone()).mean_dim(1);
        x * (variance + self.config().norm_epsilon).sqrt().recip() * scale.weight.val().unsqueeze()
            + scale.bias.val().unsqueeze()
    }

    /// From what a part reads to what its output matrix reads.
    fn part(
        &self,
        (index, kind): (usize, Kind),
        part: &Part,
        x: Tensor<2>,
        [batch, length]: [usize; 2],
        pass: &mut Pass<'_>,
    ) -> Tensor<2> {
        let projected = part.input.forward(x);
        if kind == Kind::Feed {
            return activate(self.config().activation, projected);
        }
        let (heads, width) = (self.config().heads, self.config().width);
        // [batch, heads, tokens, head width]
        let split = |x: &Tensor<2>, from: usize| {
            let rows = x.dims()[0] / batch.max(1);
            let x = x.clone().narrow(1, from * width, width);
            x.reshape([batch, rows, heads, width / heads])
                .swap_dims(1, 2)
        };
        let q = split(&projected, 0);
        let slot = pass.cache.as_mut().and_then(|cache| cache.get_mut(index));
        let (k, v) = match (kind, &part.memory) {
            (Kind::Across, Some(dense)) => match (slot, &pass.memory) {
                (Some(Some(known)), _) => known.clone(),
                (slot, Some(memory)) => {
                    let kv = dense.forward(memory.clone());
                    let both = (split(&kv, 0), split(&kv, 1));
                    if let Some(slot) = slot {
                        *slot = Some(both.clone());
                    }
                    both
                }
                // No source: nothing to look at.
                (_, None) => (q.clone(), q.clone()),
            },
            _ => {
                let (mut k, mut v) = (split(&projected, 1), split(&projected, 2));
                if let Some(slot) = slot {
                    if let Some((before_k, before_v)) = slot.take() {
                        k = Tensor::cat(vec![before_k, k], 2);
                        v = Tensor::cat(vec![before_v, v], 2);
                    }
                    *slot = Some((k.clone(), v.clone()));
                }
                (k, v)
            }
        };
        let scale = 1.0 / (self.config().head_width() as f32).sqrt();
        let mut scores = (q * scale).matmul(k.swap_dims(2, 3));
        let mask = match kind {
            Kind::Across => &pass.memory_mask,
            _ => &pass.mask,
        };
        if let Some(mask) = mask {
            scores = scores + mask.clone();
        }
        let weights = softmax(scores, 3);
        if let Some(seen) = pass.seen.as_mut() {
            seen.push(weights.clone());
        }
        let mixed = weights.matmul(v).swap_dims(1, 2);
        mixed.reshape([batch * length, width])
    }

    /// The weights, flat.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        adamw::read(self)
    }
}
