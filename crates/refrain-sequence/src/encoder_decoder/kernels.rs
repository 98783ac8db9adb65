//! The encoder-decoder on the CPU, forward, written out on slices; `backward.rs` is its mirror.
//!
//! Rows of all texts stand one below the other without padding, `[rows, width]`; only attention looks
//! at one text at a time. The tape keeps what backward needs. The tensor program is the reference.

use std::ops::Range;

use super::config::EncoderDecoderConfig;
use super::layout::{Kind, Layout, PairAt, PartAt, StackAt};
use crate::batch::Dropout;
use crate::encoder::{NormPlace, activation};
use crate::kernels::attention::{self, Heads};
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::norm;
use crate::kernels::panels::{self, Panels};
use crate::transformer::Norm;

/// What is fixed: sizes, places, angles.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) config: EncoderDecoderConfig,
    pub(super) layout: Layout,
    /// `[positions, width]`.
    pub(super) sinusoids: Vec<f32>,
}

/// Of each part of the decoder what it reads and writes by, and the table of the logits. They take as
/// much memory as the matrices themselves, which a general product would rearrange for every token.
#[derive(Debug)]
pub(super) struct Arranged {
    pub(super) parts: Vec<[Panels; 2]>,
    pub(super) head: Panels,
}

/// `y = x Wᵀ + b` by an arranged matrix; `tiles` is memory to work in.
pub(super) fn arranged(
    panels: &Panels,
    bias: Option<&[f32]>,
    x: &[f32],
    y: &mut [f32],
    tiles: &mut Vec<f32>,
) {
    panels::product(y, Into::Replace, x, panels, tiles);
    if let Some(bias) = bias {
        norm::add_bias(y, bias);
    }
}

/// One side of a batch: the tokens of all texts, and each text's rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    pub(super) tokens: Vec<u32>,
    pub(super) spans: Vec<Range<usize>>,
}

impl Side {
    pub(super) fn push(&mut self, tokens: impl Iterator<Item = u32>) {
        let start = self.tokens.len();
        self.tokens.extend(tokens);
        self.spans.push(start..self.tokens.len());
    }

    pub(super) fn rows(&self) -> usize {
        self.tokens.len()
    }
}

/// The dropout of one pass: what it draws from, and the number of each text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    pub(super) dropout: Dropout,
    pub(super) numbers: &'a [u64],
}

#[derive(Debug, Default)]
pub(super) struct PartTape {
    /// What enters the part, and its norm where norms stand before, `[rows, width]`.
    pub(super) x: Vec<f32>,
    pub(super) normed: Vec<f32>,
    /// The stream after the part, before its norm, where norms stand after.
    pub(super) sum: Vec<f32>,
    pub(super) stats: Vec<[f32; 2]>,
    /// `[rows, 3 · width]`; the queries `[rows, width]` and behind them keys and values of the source,
    /// `[source rows, 2 · width]`; or `[rows, hidden]` before the activation.
    pub(super) projected: Vec<f32>,
    /// Per text `[heads, queries, keys]`.
    pub(super) probabilities: Vec<f32>,
    /// What the output matrix reads, `[rows, width]` or `[rows, hidden]`.
    pub(super) mixed: Vec<f32>,
}

/// Buffers of one side.
#[derive(Debug, Default)]
pub(super) struct StackTape {
    pub(super) parts: Vec<PartTape>,
    /// The stream after the last part.
    pub(super) stream: Vec<f32>,
    /// The same after the last norm, where there is one.
    pub(super) normed: Vec<f32>,
    pub(super) stats: Vec<[f32; 2]>,
    pub(super) branch: Vec<f32>,
    pub(super) factors: Vec<f32>,
}

impl StackTape {
    /// What the side gives, `[rows, width]`.
    pub(super) fn output<'t>(&'t self, at: &StackAt) -> &'t [f32] {
        match at.last {
            Some(_) => &self.normed,
            None => &self.stream,
        }
    }
}

/// Makes room for `n` values; old ones may stay, every user overwrites them.
pub(super) fn room<T: Clone + Default>(buffer: &mut Vec<T>, n: usize) {
    buffer.resize(n, T::default());
}

/// Where the attention weights of each text begin, and how many there are in all.
pub(super) fn squares(heads: usize, queries: &Side, keys: &Side) -> (Vec<usize>, usize) {
    let mut total = 0;
    let spans = queries.spans.iter().zip(&keys.spans);
    let starts = spans
        .map(|(q, k)| {
            let start = total;
            total += heads * q.len() * k.len();
            start
        })
        .collect();
    (starts, total)
}

impl Network {
    pub(super) fn new(config: &EncoderDecoderConfig, layout: &Layout) -> Self {
        Self {
            config: config.clone(),
            layout: layout.clone(),
            sinusoids: config.sinusoids(),
        }
    }

    pub(super) fn heads(&self, causal: bool) -> Heads {
        Heads {
            heads: self.config.heads,
            shared: self.config.heads,
            head_width: self.config.head_width(),
            causal,
            window: None,
        }
    }

    /// `y = x Wᵀ + b`.
    pub(super) fn linear(&self, w: &[f32], at: &PairAt, x: &[f32], y: &mut [f32]) {
        let output = at.bias.len();
        let input = at.weight.len() / output;
        let rows = x.len() / input;
        product(
            MatMut::new(y, rows, output),
            Into::Replace,
            1.0,
            Mat::new(x, rows, input),
            Mat::new(&w[at.weight.clone()], output, input).t(),
        );
        norm::add_bias(y, &w[at.bias.clone()]);
    }

    pub(super) fn norm(
        &self,
        w: &[f32],
        at: &PairAt,
        x: &[f32],
        y: &mut [f32],
        stats: &mut [[f32; 2]],
    ) {
        let pair = (&w[at.weight.clone()], Some(&w[at.bias.clone()]));
        norm::forward(Norm::Layer, self.config.norm_epsilon, x, pair, y, stats);
    }

    /// Multiplies each text's rows with its dropout factors of one site.
    pub(super) fn drop(
        &self,
        draw: Option<Draw<'_>>,
        site: usize,
        side: &Side,
        factors: &mut Vec<f32>,
        x: &mut [f32],
    ) {
        let Some(Draw { dropout, numbers }) = draw else {
            return;
        };
        let width = self.config.width;
        for (span, &number) in side.spans.iter().zip(numbers) {
            room(factors, span.len() * width);
            dropout.fill_number(site, number, factors);
            norm::multiply(&mut x[span.start * width..span.end * width], factors);
        }
    }

    /// The row of a token at a position.
    pub(super) fn embed_row(&self, w: &[f32], token: u32, position: usize, row: &mut [f32]) {
        let width = self.config.width;
        let at = self.layout.table.start + token as usize * width;
        let scale = self.config.scale();
        let places = &self.sinusoids[position * width..(position + 1) * width];
        for ((x, &w), &p) in row.iter_mut().zip(&w[at..at + width]).zip(places) {
            *x = w * scale + p;
        }
    }

    /// One side: from tokens to [`StackTape::output`]. The decoder looks at a source's rows, and is
    /// causal; its dropout has the sites after the encoder's.
    pub(super) fn stack(
        &self,
        w: &[f32],
        side: &Side,
        source: Option<(&[f32], &Side)>,
        draw: Option<Draw<'_>>,
        tape: &mut StackTape,
    ) {
        let (at, first_site) = self.side(source.is_some());
        let (width, rows) = (self.config.width, side.rows());
        let StackTape {
            parts,
            stream,
            branch,
            factors,
            ..
        } = tape;
        parts.resize_with(at.parts.len(), PartTape::default);
        room(stream, rows * width);
        room(branch, rows * width);
        for span in &side.spans {
            let lines = stream[span.start * width..span.end * width].chunks_exact_mut(width);
            let tokens = side.tokens[span.clone()].iter().zip(lines);
            for (position, (&token, row)) in tokens.enumerate() {
                self.embed_row(w, token, position, row);
            }
        }
        self.drop(draw, first_site, side, factors, stream);
        for (i, (part_at, part)) in at.parts.iter().zip(parts).enumerate() {
            std::mem::swap(&mut part.x, stream);
            room(stream, rows * width);
            room(&mut part.stats, rows);
            if self.config.norm == NormPlace::Before {
                room(&mut part.normed, rows * width);
                let PartTape {
                    x, normed, stats, ..
                } = part;
                self.norm(w, &part_at.norm, x, normed, stats);
            }
            self.part(w, part_at, side, source, part);
            self.linear(w, &part_at.output, &part.mixed, branch);
            self.drop(draw, first_site + 1 + i, side, factors, branch);
            match self.config.norm {
                NormPlace::Before => {
                    stream.copy_from_slice(&part.x);
                    norm::add(stream, branch);
                }
                NormPlace::After => {
                    norm::add(branch, &part.x);
                    std::mem::swap(&mut part.sum, branch);
                    room(branch, rows * width);
                    self.norm(w, &part_at.norm, &part.sum, stream, &mut part.stats);
                }
            }
        }
        if let Some(last) = &at.last {
            room(&mut tape.normed, rows * width);
            room(&mut tape.stats, rows);
            self.norm(w, last, &tape.stream, &mut tape.normed, &mut tape.stats);
        }
    }

    /// Where a side's parameters lie, and its first site of dropout.
    pub(super) fn side(&self, decoder: bool) -> (&StackAt, usize) {
        match decoder {
            false => (&self.layout.encoder, 0),
            true => (&self.layout.decoder, 1 + self.layout.encoder.parts.len()),
        }
    }

    /// From what a part reads to what its output matrix reads.
    fn part(
        &self,
        w: &[f32],
        at: &PartAt,
        side: &Side,
        source: Option<(&[f32], &Side)>,
        part: &mut PartTape,
    ) {
        let (width, rows) = (self.config.width, side.rows());
        let PartTape {
            x,
            normed,
            projected,
            probabilities,
            mixed,
            ..
        } = part;
        let read: &[f32] = match self.config.norm {
            NormPlace::Before => normed,
            NormPlace::After => x,
        };
        match (at.kind, source, &at.memory) {
            (Kind::Across, Some((memory, keys)), Some(memory_at)) => {
                room(projected, (rows + 2 * keys.rows()) * width);
                room(mixed, rows * width);
                let (starts, total) = squares(self.config.heads, side, keys);
                room(probabilities, total);
                let (q, kv) = projected.split_at_mut(rows * width);
                self.linear(w, &at.input, read, q);
                self.linear(w, memory_at, memory, kv);
                for ((span, seen), start) in side.spans.iter().zip(&keys.spans).zip(starts) {
                    let kv = &kv[2 * seen.start * width..2 * seen.end * width];
                    attention::forward(
                        self.heads(false),
                        (&q[span.start * width..], width),
                        (kv, kv.get(width..).unwrap_or_default(), 2 * width),
                        (span.len(), seen.len()),
                        &mut probabilities[start..],
                        &mut mixed[span.start * width..span.end * width],
                    );
                }
            }
            (Kind::Feed, ..) => {
                let hidden = self.config.hidden;
                room(projected, rows * hidden);
                room(mixed, rows * hidden);
                self.linear(w, &at.input, read, projected);
                activation::apply(self.config.activation, projected, mixed);
            }
            _ => {
                room(projected, rows * 3 * width);
                room(mixed, rows * width);
                let (starts, total) = squares(self.config.heads, side, side);
                room(probabilities, total);
                self.linear(w, &at.input, read, projected);
                for (span, start) in side.spans.iter().zip(starts) {
                    let own = &projected[span.start * 3 * width..span.end * 3 * width];
                    attention::forward(
                        self.heads(source.is_some()),
                        (own, 3 * width),
                        (&own[width..], &own[2 * width..], 3 * width),
                        (span.len(), span.len()),
                        &mut probabilities[start..],
                        &mut mixed[span.start * width..span.end * width],
                    );
                }
            }
        }
    }

    /// The decoder's matrices, arranged for products of a few rows with them.
    pub(super) fn arrange(&self, w: &[f32]) -> Arranged {
        let matrix = |weight: &Range<usize>, rows: usize| {
            let mut panels = Panels::default();
            let columns = weight.len() / rows;
            panels.arrange(Mat::new(&w[weight.clone()], rows, columns).t());
            panels
        };
        let pair = |at: &PairAt| matrix(&at.weight, at.bias.len());
        let parts = self.layout.decoder.parts.iter();
        Arranged {
            parts: parts
                .map(|at| [pair(&at.input), pair(&at.output)])
                .collect(),
            head: matrix(&self.layout.table, self.config.vocabulary),
        }
    }

    /// `logits = x tableᵀ + bias`.
    pub(super) fn head(&self, w: &[f32], bias: Option<&[f32]>, x: &[f32], logits: &mut [f32]) {
        let (width, vocabulary) = (self.config.width, self.config.vocabulary);
        let rows = x.len() / width;
        product(
            MatMut::new(logits, rows, vocabulary),
            Into::Replace,
            1.0,
            Mat::new(x, rows, width),
            Mat::new(&w[self.layout.table.clone()], vocabulary, width).t(),
        );
        if let Some(bias) = bias {
            norm::add_bias(logits, bias);
        }
    }
}
