//! The whole network on a tile of sequences, backward: the mirror of `network.rs`.
//!
//! The gradient of the residual stream, `dx`, walks down the layers; each part of a layer adds the
//! gradient of its own input to it, and those of its weights to the flat gradient.

use std::ops::Range;

use super::attention::Places;
use super::gemm::{Into, Mat, MatMut, product};
use super::network::{LayerTape, Network, Tape, room};
use super::{activation, attention, norm};
use crate::batch::{Dropout, Example};
use crate::transformer::layout::{LinearAt, NormAt};

/// Gradient slices of a norm: the bias stands right behind the weight.
fn norm_gradient<'g>(g: &'g mut [f32], at: &NormAt) -> (&'g mut [f32], Option<&'g mut [f32]>) {
    match &at.bias {
        None => (&mut g[at.weight.clone()], None),
        Some(bias) => {
            let (weight, bias) =
                g[at.weight.start..bias.end].split_at_mut(bias.start - at.weight.start);
            (weight, Some(bias))
        }
    }
}

impl Network {
    /// Adds the gradients of `W` and `b`, and replaces `dx`.
    fn linear_backward(
        &self,
        w: &[f32],
        g: &mut [f32],
        at: &LinearAt,
        x: &[f32],
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let rows = x.len() / at.input;
        let dy_mat = Mat::new(dy, rows, at.output);
        product(
            MatMut::new(dx, rows, at.input),
            Into::Replace,
            1.0,
            dy_mat,
            Mat::new(&w[at.weight.clone()], at.input, at.output).t(),
        );
        product(
            MatMut::new(&mut g[at.weight.clone()], at.input, at.output),
            Into::Add,
            1.0,
            Mat::new(x, rows, at.input).t(),
            dy_mat,
        );
        if let Some(bias) = &at.bias {
            norm::bias_backward(dy, &mut g[bias.clone()]);
        }
    }

    /// Adds the gradient of the last [`Network::forward`] to `g`.
    pub(crate) fn backward(
        &self,
        w: &[f32],
        g: &mut [f32],
        tile: &[Example],
        dropout: Option<Dropout>,
        tape: &mut Tape,
    ) {
        let (width, vocabulary) = (self.config.width, self.layout.vocabulary);
        let rows = tape.targets.len();
        room(&mut tape.dnorm, rows * width);
        let dlogits = Mat::new(&tape.logits, rows, vocabulary);
        let head = self.layout.head.clone();
        product(
            MatMut::new(&mut g[head.clone()], vocabulary, width),
            Into::Add,
            1.0,
            dlogits.t(),
            Mat::new(&tape.normed, rows, width),
        );
        product(
            MatMut::new(&mut tape.dnorm, rows, width),
            Into::Replace,
            1.0,
            dlogits,
            Mat::new(&w[head], vocabulary, width),
        );
        self.layers_backward(w, g, tile, dropout, tape);
        let mut gradients = tape.dx.chunks_exact(width);
        for example in tile {
            for (position, (&token, row)) in example.inputs.iter().zip(&mut gradients).enumerate() {
                let at = self.layout.embedding.start + token as usize * width;
                norm::add(&mut g[at..at + width], row);
                self.position_backward(g, position, row);
            }
        }
    }

    /// Adds the gradient of a row to that of its learned position.
    pub(crate) fn position_backward(&self, g: &mut [f32], position: usize, row: &[f32]) {
        if let Some(positions) = &self.layout.positions {
            let at = positions.start + position * row.len();
            norm::add(&mut g[at..at + row.len()], row);
        }
    }

    /// From the gradient of the last norm in `tape.dnorm` to that of the embedded rows in `tape.dx`.
    pub(crate) fn layers_backward(
        &self,
        w: &[f32],
        g: &mut [f32],
        tile: &[Example],
        dropout: Option<Dropout>,
        tape: &mut Tape,
    ) {
        let width = self.config.width;
        let rows = tape.stats.len();
        let Tape {
            dx,
            branch,
            dnorm,
            dattended,
            dqkv,
            dactive,
            scratch,
            factors,
            ..
        } = tape;
        for buffer in [&mut *dx, branch] {
            room(buffer, rows * width);
        }
        room(dattended, rows * self.heads().width());
        room(dqkv, rows * self.heads().stride());
        room(dactive, rows * self.config.inner());
        dx.fill(0.0);
        self.norm_backward(
            w,
            g,
            &self.layout.norm,
            &tape.output,
            &tape.stats,
            dnorm,
            dx,
        );
        for (i, (layer, at)) in tape
            .layers
            .iter_mut()
            .zip(&self.layout.layers)
            .enumerate()
            .rev()
        {
            // What follows the residual sum reaches both the stream and the branch.
            branch.copy_from_slice(dx);
            self.drop(tile, dropout, 2 + 2 * i, factors, branch);
            self.linear_backward(w, g, &at.down, &layer.active, branch, dactive);
            let (kind, hidden) = (self.config.feed_forward, self.config.inner());
            activation::backward(kind, hidden, &mut layer.up, dactive);
            self.linear_backward(w, g, &at.up, &layer.norm2, &layer.up, dnorm);
            self.norm_backward(w, g, &at.norm2, &layer.middle, &layer.stats2, dnorm, dx);

            branch.copy_from_slice(dx);
            self.drop(tile, dropout, 1 + 2 * i, factors, branch);
            self.linear_backward(w, g, &at.output, &layer.attended, branch, dattended);
            for (range, square) in &tape.sequences {
                self.attend_backward(layer, range, *square, dattended, dqkv, scratch);
            }
            self.linear_backward(w, g, &at.qkv, &layer.norm1, dqkv, dnorm);
            self.norm_backward(w, g, &at.norm1, &layer.input, &layer.stats1, dnorm, dx);
        }
        self.drop(tile, dropout, 0, factors, dx);
    }

    #[allow(clippy::too_many_arguments)]
    fn norm_backward(
        &self,
        w: &[f32],
        g: &mut [f32],
        at: &NormAt,
        x: &[f32],
        stats: &[[f32; 2]],
        dy: &[f32],
        dx: &mut [f32],
    ) {
        let weight = &w[at.weight.clone()];
        norm::backward(
            self.config.norm,
            x,
            stats,
            weight,
            dy,
            dx,
            norm_gradient(g, at),
        );
    }

    fn attend_backward(
        &self,
        layer: &LayerTape,
        range: &Range<usize>,
        square: usize,
        dout: &[f32],
        dqkv: &mut [f32],
        scratch: &mut Vec<f32>,
    ) {
        let (width, n) = (self.heads().width(), range.len());
        let stride = self.heads().stride();
        let squares = self.config.heads * n * n;
        let dqkv = &mut dqkv[range.start * stride..range.end * stride];
        dqkv.fill(0.0);
        let qkv = &layer.qkv[range.start * stride..range.end * stride];
        attention::backward(
            self.heads(),
            (qkv, Places::together(0, self.heads())),
            (n, n),
            &layer.probabilities[square..square + squares],
            &dout[range.start * width..range.end * width],
            dqkv,
            scratch,
        );
        if let Some((cos, sin)) = &self.rotary {
            attention::rotate(self.heads(), dqkv, (cos, sin), 0, true);
        }
    }
}
