//! The whole network on a tile of sequences, forward; `backward.rs` is its mirror.
//!
//! Rows of all sequences stand one below the other, `[rows, width]`; only attention looks at one
//! sequence at a time. The tape keeps what backward needs: the residual stream before and inside
//! each layer, the two norms, queries/keys/values, attention weights, the feed-forward middle.

use std::ops::Range;

use super::attention::{self, Heads};
use super::gemm::{Into, Mat, MatMut, product};
use super::loss::weighted_cross_entropy;
use super::{activation, norm};
use crate::batch::{Dropout, Example};
use crate::transformer::config::{Positions, TransformerConfig};
use crate::transformer::layout::{Layout, LinearAt, NormAt, rotary_tables};

/// What is fixed: sizes, places, angles.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) config: TransformerConfig,
    pub(crate) layout: Layout,
    /// Cosines and sines, `[context, half head width]`.
    pub(crate) rotary: Option<(Vec<f32>, Vec<f32>)>,
    /// Whether a token sees only itself and those before it.
    pub(crate) causal: bool,
}

#[derive(Debug, Default)]
pub(super) struct LayerTape {
    /// The residual stream at the layer's input and between its two parts, `[rows, width]`.
    pub(super) input: Vec<f32>,
    pub(super) middle: Vec<f32>,
    pub(super) norm1: Vec<f32>,
    pub(super) norm2: Vec<f32>,
    pub(super) stats1: Vec<[f32; 2]>,
    pub(super) stats2: Vec<[f32; 2]>,
    /// `[rows, attended + 2 · shared width]`, rotated.
    pub(super) qkv: Vec<f32>,
    /// Per sequence `[heads, tokens, tokens]`.
    pub(super) probabilities: Vec<f32>,
    /// `[rows, heads · head width]`.
    pub(super) attended: Vec<f32>,
    /// `[rows, gates · hidden]`.
    pub(super) up: Vec<f32>,
    pub(super) active: Vec<f32>,
}

/// Buffers of one worker, reused from tile to tile.
#[derive(Debug, Default)]
pub struct Tape {
    /// What the loss spreads of each target's probability over all tokens.
    pub(super) smoothing: f32,
    pub(super) layers: Vec<LayerTape>,
    pub(crate) output: Vec<f32>,
    pub(super) stats: Vec<[f32; 2]>,
    pub(crate) normed: Vec<f32>,
    pub(super) logits: Vec<f32>,
    /// Each sequence's rows, and where its attention weights begin.
    pub(super) sequences: Vec<(Range<usize>, usize)>,
    pub(super) targets: Vec<u32>,
    weights: Vec<f32>,
    pub(crate) dx: Vec<f32>,
    pub(super) branch: Vec<f32>,
    pub(crate) dnorm: Vec<f32>,
    pub(super) dattended: Vec<f32>,
    pub(super) dqkv: Vec<f32>,
    pub(super) dactive: Vec<f32>,
    pub(super) scratch: Vec<f32>,
    pub(super) factors: Vec<f32>,
}

/// Makes room for `n` values; old ones may stay, every user overwrites them.
pub(super) fn room<T: Clone + Default>(buffer: &mut Vec<T>, n: usize) {
    buffer.resize(n, T::default());
}

impl Network {
    pub(crate) fn new(config: &TransformerConfig, layout: &Layout) -> Self {
        let rotary = match config.positions {
            Positions::Learned => None,
            Positions::Rotary { base } => {
                Some(rotary_tables(&config.frequencies(base), config.context))
            }
        };
        Self {
            config: config.clone(),
            layout: layout.clone(),
            rotary,
            causal: true,
        }
    }

    pub(crate) fn heads(&self) -> Heads {
        Heads {
            heads: self.config.heads,
            shared: self.config.shared_heads(),
            head_width: self.config.head_width(),
            causal: self.causal,
            window: self.config.window,
        }
    }

    /// `y = x W + b`.
    pub(crate) fn linear(&self, w: &[f32], at: &LinearAt, x: &[f32], y: &mut [f32], into: Into) {
        let rows = x.len() / at.input;
        product(
            MatMut::new(y, rows, at.output),
            into,
            1.0,
            Mat::new(x, rows, at.input),
            Mat::new(&w[at.weight.clone()], at.input, at.output),
        );
        if let Some(bias) = &at.bias {
            norm::add_bias(y, &w[bias.clone()]);
        }
    }

    pub(crate) fn norm(
        &self,
        w: &[f32],
        at: &NormAt,
        x: &[f32],
        y: &mut [f32],
        stats: &mut [[f32; 2]],
    ) {
        let weights = (
            &w[at.weight.clone()],
            at.bias.as_ref().map(|b| &w[b.clone()]),
        );
        norm::forward(
            self.config.norm,
            self.config.norm_epsilon,
            x,
            weights,
            y,
            stats,
        );
    }

    /// Multiplies the rows of every example with its dropout factors of one site.
    pub(super) fn drop(
        &self,
        tile: &[Example],
        dropout: Option<Dropout>,
        site: usize,
        factors: &mut Vec<f32>,
        x: &mut [f32],
    ) {
        let Some(dropout) = dropout else { return };
        let mut rest = x;
        for example in tile {
            let n = example.len() * self.config.width;
            room(factors, n);
            dropout.fill(site, example, factors);
            let (now, later) = rest.split_at_mut(n);
            norm::multiply(now, factors);
            rest = later;
        }
    }

    /// `next = x + drop(branch W + b)`.
    #[allow(clippy::too_many_arguments)]
    fn residual(
        &self,
        w: &[f32],
        at: &LinearAt,
        tile: &[Example],
        (dropout, site): (Option<Dropout>, usize),
        branch: &[f32],
        x: &[f32],
        next: &mut [f32],
        (scratch, factors): (&mut Vec<f32>, &mut Vec<f32>),
    ) {
        next.copy_from_slice(x);
        match dropout {
            None => self.linear(w, at, branch, next, Into::Add),
            Some(_) => {
                room(scratch, next.len());
                self.linear(w, at, branch, scratch, Into::Replace);
                self.drop(tile, dropout, site, factors, scratch);
                norm::add(next, scratch);
            }
        }
    }

    /// The sum of the losses over a tile; `tape.logits` becomes their gradient times `scale`.
    pub(crate) fn forward(
        &self,
        w: &[f32],
        tile: &[Example],
        scale: f32,
        dropout: Option<Dropout>,
        tape: &mut Tape,
    ) -> f64 {
        tape.targets.clear();
        tape.weights.clear();
        for example in tile {
            tape.targets.extend_from_slice(&example.targets);
        }
        if tile.iter().any(|example| !example.weights.is_empty()) {
            let of = |example: &'_ Example| {
                (0..example.len())
                    .map(|t| example.weight(t))
                    .collect::<Vec<_>>()
            };
            tape.weights.extend(tile.iter().flat_map(of));
        }
        let rows = tape.targets.len();
        room(&mut tape.output, rows * self.config.width);
        self.embed(w, tile, &mut tape.output);
        self.layers(w, tile, dropout, tape);
        room(&mut tape.logits, rows * self.layout.vocabulary);
        self.head(w, &tape.normed, &mut tape.logits);
        weighted_cross_entropy(
            &mut tape.logits,
            &tape.targets,
            &tape.weights,
            scale,
            tape.smoothing,
        )
    }

    /// The attention weights of every layer over one text, `[heads, tokens, tokens]`.
    pub(crate) fn attention(&self, w: &[f32], tokens: &[u32]) -> Vec<Vec<f32>> {
        let (tile, n) = ([Example::reading(tokens)], tokens.len());
        let mut tape = Tape::default();
        room(&mut tape.output, n * self.config.width);
        self.embed(w, &tile, &mut tape.output);
        self.layers(w, &tile, None, &mut tape);
        // What no token sees is still 0, as the tape is new.
        tape.layers.into_iter().map(|l| l.probabilities).collect()
    }

    /// From embedded rows with their positions in `tape.output` to the last norm in `tape.normed`.
    pub(crate) fn layers(
        &self,
        w: &[f32],
        tile: &[Example],
        dropout: Option<Dropout>,
        tape: &mut Tape,
    ) {
        let (width, hidden) = (self.config.width, self.config.inner());
        let (mut rows, mut squares) = (0, 0);
        tape.sequences.clear();
        for example in tile {
            tape.sequences.push((rows..rows + example.len(), squares));
            rows += example.len();
            squares += self.config.heads * example.len() * example.len();
        }
        tape.layers
            .resize_with(self.config.layers, LayerTape::default);
        let Tape {
            layers,
            output,
            scratch,
            factors,
            sequences,
            ..
        } = tape;
        self.drop(tile, dropout, 0, factors, output);
        for (i, (layer, at)) in layers.iter_mut().zip(&self.layout.layers).enumerate() {
            // The stream moves on: the last output is this layer's input.
            std::mem::swap(&mut layer.input, output);
            room(output, rows * width);
            for buffer in [&mut layer.middle, &mut layer.norm1, &mut layer.norm2] {
                room(buffer, rows * width);
            }
            room(&mut layer.attended, rows * at.output.input);
            room(&mut layer.stats1, rows);
            room(&mut layer.stats2, rows);
            room(&mut layer.qkv, rows * at.qkv.output);
            room(&mut layer.probabilities, squares);
            room(&mut layer.up, rows * at.up.output);
            room(&mut layer.active, rows * hidden);

            self.norm(
                w,
                &at.norm1,
                &layer.input,
                &mut layer.norm1,
                &mut layer.stats1,
            );
            self.linear(w, &at.qkv, &layer.norm1, &mut layer.qkv, Into::Replace);
            for (range, square) in sequences.iter() {
                self.attend(layer, range, *square);
            }
            let buffers = (&mut *scratch, &mut *factors);
            self.residual(
                w,
                &at.output,
                tile,
                (dropout, 1 + 2 * i),
                &layer.attended,
                &layer.input,
                &mut layer.middle,
                buffers,
            );
            self.norm(
                w,
                &at.norm2,
                &layer.middle,
                &mut layer.norm2,
                &mut layer.stats2,
            );
            self.linear(w, &at.up, &layer.norm2, &mut layer.up, Into::Replace);
            activation::forward(
                self.config.feed_forward,
                hidden,
                &layer.up,
                &mut layer.active,
            );
            let buffers = (&mut *scratch, &mut *factors);
            self.residual(
                w,
                &at.down,
                tile,
                (dropout, 2 + 2 * i),
                &layer.active,
                &layer.middle,
                output,
                buffers,
            );
        }
        room(&mut tape.stats, rows);
        room(&mut tape.normed, rows * width);
        self.norm(
            w,
            &self.layout.norm,
            &tape.output,
            &mut tape.normed,
            &mut tape.stats,
        );
    }

    /// Embedding rows, with positions where they are learned.
    fn embed(&self, w: &[f32], tile: &[Example], x: &mut [f32]) {
        let mut rows = x.chunks_exact_mut(self.config.width);
        for example in tile {
            for (position, (&token, row)) in example.inputs.iter().zip(&mut rows).enumerate() {
                self.embed_row(w, token, position, row);
            }
        }
    }

    pub(crate) fn embed_row(&self, w: &[f32], token: u32, position: usize, row: &mut [f32]) {
        let width = self.config.width;
        let at = self.layout.embedding.start + token as usize * width;
        row.copy_from_slice(&w[at..at + width]);
        self.add_position(w, position, row);
    }

    /// Adds the learned vector of a position, where there are any.
    pub(crate) fn add_position(&self, w: &[f32], position: usize, row: &mut [f32]) {
        if let Some(positions) = &self.layout.positions {
            let at = positions.start + position * row.len();
            norm::add(row, &w[at..at + row.len()]);
        }
    }

    /// `logits = x headᵀ`.
    pub(crate) fn head(&self, w: &[f32], x: &[f32], logits: &mut [f32]) {
        let (width, vocabulary) = (self.config.width, self.layout.vocabulary);
        let rows = x.len() / width;
        product(
            MatMut::new(logits, rows, vocabulary),
            Into::Replace,
            1.0,
            Mat::new(x, rows, width),
            Mat::new(&w[self.layout.head.clone()], vocabulary, width).t(),
        );
    }

    fn attend(&self, layer: &mut LayerTape, range: &Range<usize>, square: usize) {
        let (width, n) = (self.heads().width(), range.len());
        let (stride, shared) = (self.heads().stride(), self.heads().shared_width());
        let qkv = &mut layer.qkv[range.start * stride..range.end * stride];
        if let Some((cos, sin)) = &self.rotary {
            attention::rotate(self.heads(), qkv, (cos, sin), 0, false);
        }
        let squares = self.config.heads * n * n;
        attention::forward(
            self.heads(),
            (qkv, stride),
            (&qkv[width..], &qkv[width + shared..], stride),
            (n, n),
            &mut layer.probabilities[square..square + squares],
            &mut layer.attended[range.start * width..range.end * width],
        );
    }
}
