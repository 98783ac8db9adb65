//! The loss and its gradient by kernels: `kernels.rs` forward, and its mirror.
//!
//! The gradient of the stream, `dx`, walks up the parts of a side; each adds those of its weights to the
//! flat gradient, and attention over the source adds to the gradient of the encoder's output.

use rayon::prelude::*;

use super::Pair;
use super::kernels::{Draw, Network, PartTape, Side, StackTape, room, squares};
use super::layout::{Kind, PairAt, PartAt};
use crate::batch::Dropout;
use crate::encoder::{NormPlace, activation};
use crate::kernels::attention::{self, Places};
use crate::kernels::engine::sum_of_gradients;
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::loss::softmax_cross_entropy;
use crate::kernels::norm;
use crate::rnn::DropoutDraw;
use crate::transformer::Norm;

/// Rows of both sides of one tile: enough for the matrix products, few enough for the caches.
const TILE: usize = 1024;

/// Buffers of one worker, reused from tile to tile.
#[derive(Debug, Default)]
struct Tape {
    source: Side,
    target: Side,
    labels: Vec<u32>,
    numbers: Vec<u64>,
    encoder: StackTape,
    decoder: StackTape,
    logits: Vec<f32>,
    dx: Vec<f32>,
    dmemory: Vec<f32>,
    work: Work,
}

#[derive(Debug, Default)]
struct Work {
    branch: Vec<f32>,
    /// The gradient of what the part reads.
    dread: Vec<f32>,
    dmixed: Vec<f32>,
    dprojected: Vec<f32>,
    dsource: Vec<f32>,
    scratch: Vec<f32>,
    factors: Vec<f32>,
}

/// What a pass over a batch asks for beside the sum of its losses.
#[derive(Clone, Copy)]
pub(super) struct Learn<'a> {
    pub(super) dropout: Option<(f32, DropoutDraw<'a>)>,
    pub(super) label_smoothing: f32,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) gradient: bool,
}

impl Network {
    /// The sum of the losses of all targets; where it was asked for, with its gradient.
    pub(super) fn learn(&self, w: &[f32], batch: &[&Pair], learn: Learn<'_>) -> (f64, Vec<f32>) {
        let shares = shares(batch, rayon::current_num_threads());
        let mut made: Vec<(f64, Vec<f32>)> = shares
            .par_iter()
            .with_max_len(1)
            .map(|share| {
                let mut gradient = vec![0.0; if learn.gradient { w.len() } else { 0 }];
                let mut tape = Tape::default();
                let mut loss = 0.0;
                for tile in tiles(share) {
                    let g = learn.gradient.then_some(&mut gradient[..]);
                    loss += self.tile(w, g, batch, &tile, learn, &mut tape);
                }
                (loss, gradient)
            })
            .collect();
        let loss = made.iter().map(|(loss, _)| loss).sum();
        let Some((first, others)) = made.split_first_mut() else {
            return (0.0, Vec::new());
        };
        sum_of_gradients(&mut first.1, others.iter().map(|(_, g)| g.as_slice()));
        (loss, std::mem::take(&mut first.1))
    }

    fn tile(
        &self,
        w: &[f32],
        gradient: Option<&mut [f32]>,
        batch: &[&Pair],
        tile: &[usize],
        learn: Learn<'_>,
        tape: &mut Tape,
    ) -> f64 {
        let Tape {
            source,
            target,
            labels,
            numbers,
            encoder,
            decoder,
            logits,
            dx,
            dmemory,
            work,
        } = tape;
        (*source, *target) = (Side::default(), Side::default());
        labels.clear();
        numbers.clear();
        for &i in tile {
            let Some(pair) = batch.get(i) else { continue };
            source.push(pair.source.iter().copied());
            let before = pair
                .target
                .iter()
                .copied()
                .take(pair.target.len().saturating_sub(1));
            target.push(std::iter::once(self.config.start).chain(before));
            labels.extend_from_slice(&pair.target);
            let number = learn.dropout.and_then(|(_, draw)| draw.sequences.get(i));
            numbers.push(number.copied().unwrap_or(i as u64));
        }
        let draw = learn.dropout.map(|(rate, draw)| Draw {
            dropout: Dropout {
                rate,
                seed: draw.seed,
            },
            numbers,
        });
        self.stack(w, source, None, draw, encoder);
        let memory = encoder.output(&self.layout.encoder);
        self.stack(w, target, Some((memory, source)), draw, decoder);
        let (width, vocabulary) = (self.config.width, self.config.vocabulary);
        let rows = labels.len();
        room(logits, rows * vocabulary);
        let output = decoder.output(&self.layout.decoder);
        self.head(w, learn.bias, output, logits);
        let loss = softmax_cross_entropy(logits, labels, 1.0, learn.label_smoothing);
        let Some(g) = gradient else { return loss };

        let dlogits = Mat::new(logits, rows, vocabulary);
        room(dx, rows * width);
        let table = self.layout.table.clone();
        let matrix = Mat::new(&w[table.clone()], vocabulary, width);
        product(
            MatMut::new(dx, rows, width),
            Into::Replace,
            1.0,
            dlogits,
            matrix,
        );
        product(
            MatMut::new(&mut g[table], vocabulary, width),
            Into::Add,
            1.0,
            dlogits.t(),
            Mat::new(output, rows, width),
        );
        dmemory.clear();
        dmemory.resize(source.rows() * width, 0.0);
        let across = Some((memory, source as &Side, &mut dmemory[..]));
        self.stack_backward(w, g, target, across, draw, decoder, dx, work);
        self.stack_backward(w, g, source, None, draw, encoder, dmemory, work);
        loss
    }

    /// From the gradient of a side's output, in `dx`, to those of its weights and of the table.
    #[allow(clippy::too_many_arguments)]
    fn stack_backward(
        &self,
        w: &[f32],
        g: &mut [f32],
        side: &Side,
        mut source: Option<(&[f32], &Side, &mut [f32])>,
        draw: Option<Draw<'_>>,
        tape: &mut StackTape,
        dx: &mut Vec<f32>,
        work: &mut Work,
    ) {
        let (width, rows) = (self.config.width, side.rows());
        let (at, first_site) = self.side(source.is_some());
        if let Some(last) = &at.last {
            zeros(&mut work.dread, rows * width);
            norm_backward(w, g, last, &tape.stream, &tape.stats, dx, &mut work.dread);
            std::mem::swap(dx, &mut work.dread);
        }
        for (i, (part_at, part)) in at.parts.iter().zip(&mut tape.parts).enumerate().rev() {
            // What follows the residual sum reaches both the stream and the branch.
            if self.config.norm == NormPlace::After {
                zeros(&mut work.dread, rows * width);
                let (sum, stats) = (&part.sum, &part.stats);
                norm_backward(w, g, &part_at.norm, sum, stats, dx, &mut work.dread);
                std::mem::swap(dx, &mut work.dread);
            }
            work.branch.clear();
            work.branch.extend_from_slice(dx);
            let site = first_site + 1 + i;
            self.drop(draw, site, side, &mut work.factors, &mut work.branch);
            let across = source.as_mut().map(|(m, s, d)| (&**m, &**s, &mut **d));
            self.part_backward(w, g, part_at, side, across, part, work);
            match self.config.norm {
                NormPlace::After => norm::add(dx, &work.dread),
                NormPlace::Before => {
                    let (x, stats) = (&part.x, &part.stats);
                    norm_backward(w, g, &part_at.norm, x, stats, &work.dread, dx);
                }
            }
        }
        self.drop(draw, first_site, side, &mut work.factors, dx);
        let scale = self.config.scale();
        for (&token, row) in side.tokens.iter().zip(dx.chunks_exact(width)) {
            let at = self.layout.table.start + token as usize * width;
            for (g, &d) in g[at..at + width].iter_mut().zip(row) {
                *g += d * scale;
            }
        }
    }

    /// From the gradient of a part's output, in `work.branch`, to that of what it reads, in
    /// `work.dread`.
    #[allow(clippy::too_many_arguments)]
    fn part_backward(
        &self,
        w: &[f32],
        g: &mut [f32],
        at: &PartAt,
        side: &Side,
        source: Option<(&[f32], &Side, &mut [f32])>,
        part: &mut PartTape,
        work: &mut Work,
    ) {
        let width = self.config.width;
        let Work {
            branch,
            dread,
            dmixed,
            dprojected,
            dsource,
            scratch,
            ..
        } = work;
        let read: &[f32] = match self.config.norm {
            NormPlace::Before => &part.normed,
            NormPlace::After => &part.x,
        };
        linear_backward(w, g, &at.output, &part.mixed, branch, dmixed);
        if at.kind == Kind::Feed {
            activation::backward(self.config.activation, &mut part.projected, dmixed);
            linear_backward(w, g, &at.input, read, &part.projected, dread);
            return;
        }
        zeros(dprojected, part.projected.len());
        let causal = source.is_some() && at.kind == Kind::Own;
        let own = side.rows() * width;
        let keys = match &source {
            Some((_, keys, _)) if at.kind == Kind::Across => *keys,
            _ => side,
        };
        let (starts, _) = squares(self.config.heads, side, keys);
        for ((span, seen), start) in side.spans.iter().zip(&keys.spans).zip(starts) {
            let places = match at.kind {
                Kind::Across => Places {
                    q: (span.start * width, width),
                    k: (own + 2 * seen.start * width, 2 * width),
                    v: (own + 2 * seen.start * width + width, 2 * width),
                },
                _ => Places::together(span.start, self.heads(causal)),
            };
            attention::backward(
                self.heads(causal),
                (&part.projected, places),
                (span.len(), seen.len()),
                &part.probabilities[start..],
                &dmixed[span.start * width..span.end * width],
                dprojected,
                scratch,
            );
        }
        match (source, &at.memory) {
            (Some((memory, _, dmemory)), Some(memory_at)) => {
                let (dq, dkv) = dprojected.split_at(own);
                linear_backward(w, g, &at.input, read, dq, dread);
                linear_backward(w, g, memory_at, memory, dkv, dsource);
                norm::add(dmemory, dsource);
            }
            _ => linear_backward(w, g, &at.input, read, dprojected, dread),
        }
    }
}

fn zeros(buffer: &mut Vec<f32>, n: usize) {
    buffer.clear();
    buffer.resize(n, 0.0);
}

/// Adds the gradients of `W` and `b`, and replaces `dx`.
fn linear_backward(
    w: &[f32],
    g: &mut [f32],
    at: &PairAt,
    x: &[f32],
    dy: &[f32],
    dx: &mut Vec<f32>,
) {
    let output = at.bias.len();
    let input = at.weight.len() / output;
    let rows = x.len() / input;
    room(dx, rows * input);
    let dy_matrix = Mat::new(dy, rows, output);
    product(
        MatMut::new(dx, rows, input),
        Into::Replace,
        1.0,
        dy_matrix,
        Mat::new(&w[at.weight.clone()], output, input),
    );
    product(
        MatMut::new(&mut g[at.weight.clone()], output, input),
        Into::Add,
        1.0,
        dy_matrix.t(),
        Mat::new(x, rows, input),
    );
    norm::bias_backward(dy, &mut g[at.bias.clone()]);
}

/// Adds the gradients of weight, bias and `x`.
fn norm_backward(
    w: &[f32],
    g: &mut [f32],
    at: &PairAt,
    x: &[f32],
    stats: &[[f32; 2]],
    dy: &[f32],
    dx: &mut [f32],
) {
    // The bias stands right behind the weight.
    let both = &mut g[at.weight.start..at.bias.end];
    let (weight, bias) = both.split_at_mut(at.weight.len());
    let own = &w[at.weight.clone()];
    norm::backward(Norm::Layer, x, stats, own, dy, dx, (weight, Some(bias)));
}

/// Shares pairs out evenly, by their places in the batch: the longest first, each to whoever has least.
fn shares(batch: &[&Pair], workers: usize) -> Vec<Vec<(usize, usize)>> {
    let rows = |pair: &Pair| pair.source.len() + pair.target.len();
    let mut order: Vec<(usize, usize)> = batch.iter().map(|pair| rows(pair)).enumerate().collect();
    order.sort_by_key(|&(_, rows)| std::cmp::Reverse(rows));
    let mut shares = vec![(0usize, Vec::new()); workers.clamp(1, batch.len().max(1))];
    for (i, rows) in order {
        if let Some((load, share)) = shares.iter_mut().min_by_key(|(load, _)| *load) {
            *load += rows;
            share.push((i, rows));
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// Cuts a share into tiles of at most [`TILE`] rows, or one longer pair.
fn tiles(share: &[(usize, usize)]) -> Vec<Vec<usize>> {
    let (mut tiles, mut rows) = (Vec::new(), usize::MAX);
    for &(i, own) in share {
        if rows.saturating_add(own) > TILE {
            tiles.push(Vec::new());
            rows = 0;
        }
        rows += own;
        if let Some(tile) = tiles.last_mut() {
            tile.push(i);
        }
    }
    tiles
}
