//! The encoder on the CPU, forward only, written out on slices.
//!
//! Rows of all texts stand one below the other without padding, `[rows, width]`; only attention
//! looks at one text at a time. The tensor program is the reference.

use super::config::{EncoderConfig, NormPlace};
use super::layout::{Layout, PairAt};
use super::{EncoderInput, activation};
use crate::kernels::attention::{self, Heads};
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::norm;
use crate::transformer::Norm;

/// Buffers of one worker, reused from tile to tile.
#[derive(Debug, Default)]
pub(super) struct Buffers {
    x: Vec<f32>,
    normed: Vec<f32>,
    /// `[rows, 3 · width]`.
    qkv: Vec<f32>,
    probabilities: Vec<f32>,
    attended: Vec<f32>,
    /// `[rows, hidden]`.
    inner: Vec<f32>,
    stats: Vec<[f32; 2]>,
}

/// The states of some checked texts, one below the other, `[rows, width]`.
pub(super) fn forward<'b>(
    config: &EncoderConfig,
    layout: &Layout,
    w: &[f32],
    texts: &[EncoderInput<'_>],
    buffers: &'b mut Buffers,
) -> &'b [f32] {
    let (width, hidden) = (config.width, config.hidden);
    let rows = texts.iter().map(|text| text.tokens.len()).sum::<usize>();
    let longest = texts
        .iter()
        .map(|text| text.tokens.len())
        .max()
        .unwrap_or(0);
    let Buffers {
        x,
        normed,
        qkv,
        probabilities,
        attended,
        inner,
        stats,
    } = buffers;
    for buffer in [&mut *x, &mut *normed, &mut *attended] {
        buffer.resize(rows * width, 0.0);
    }
    qkv.resize(rows * 3 * width, 0.0);
    probabilities.resize(config.heads * longest * longest, 0.0);
    inner.resize(rows * hidden, 0.0);
    stats.resize(rows, [0.0; 2]);
    let heads = Heads {
        heads: config.heads,
        shared: config.heads,
        head_width: config.head_width(),
        causal: false,
        window: None,
    };
    let mut normalise = |at: &PairAt, x: &[f32], y: &mut [f32]| {
        let pair = (&w[at.weight.clone()], Some(&w[at.bias.clone()]));
        norm::forward(Norm::Layer, config.norm_epsilon, x, pair, y, stats);
    };
    let matrix = |at: &PairAt, x: &[f32], y: &mut [f32], into: Into| {
        let output = at.bias.len();
        let input = at.weight.len() / output;
        product(
            MatMut::new(y, rows, output),
            into,
            1.0,
            Mat::new(x, rows, input),
            Mat::new(&w[at.weight.clone()], output, input).t(),
        );
    };

    embed(config, layout, w, texts, normed);
    normalise(&layout.norm, normed, x);
    for layer in &layout.layers {
        let source: &[f32] = match config.norm {
            NormPlace::After => x,
            NormPlace::Before => {
                normalise(&layer.norm1, x, normed);
                normed
            }
        };
        matrix(&layer.qkv, source, qkv, Into::Replace);
        norm::add_bias(qkv, &w[layer.qkv.bias.clone()]);
        let mut first = 0;
        for text in texts {
            let n = text.tokens.len();
            let own = &qkv[first * 3 * width..(first + n) * 3 * width];
            attention::forward(
                heads,
                (own, 3 * width),
                (&own[width..], &own[2 * width..], 3 * width),
                (n, n),
                probabilities,
                &mut attended[first * width..(first + n) * width],
            );
            first += n;
        }
        matrix(&layer.output, attended, x, Into::Add);
        norm::add_bias(x, &w[layer.output.bias.clone()]);
        let source: &[f32] = match config.norm {
            NormPlace::After => {
                normalise(&layer.norm1, x, normed);
                std::mem::swap(x, normed);
                x
            }
            NormPlace::Before => {
                normalise(&layer.norm2, x, normed);
                normed
            }
        };
        matrix(&layer.up, source, inner, Into::Replace);
        activation::forward(config.activation, inner, &w[layer.up.bias.clone()]);
        matrix(&layer.down, inner, x, Into::Add);
        norm::add_bias(x, &w[layer.down.bias.clone()]);
        if config.norm == NormPlace::After {
            normalise(&layer.norm2, x, normed);
            std::mem::swap(x, normed);
        }
    }
    if let Some(last) = &layout.last {
        normalise(last, x, normed);
        std::mem::swap(x, normed);
    }
    x
}

/// Word + position + type.
fn embed(
    config: &EncoderConfig,
    layout: &Layout,
    w: &[f32],
    texts: &[EncoderInput<'_>],
    x: &mut [f32],
) {
    let width = config.width;
    let row_of = |table: &std::ops::Range<usize>, row: usize| {
        let at = table.start + row * width;
        &w[at..at + width]
    };
    let mut rows = x.chunks_exact_mut(width);
    for text in texts {
        for (i, (&token, x)) in text.tokens.iter().zip(&mut rows).enumerate() {
            let kind = text.types.get(i).copied().unwrap_or(0);
            x.copy_from_slice(row_of(&layout.words, token as usize));
            norm::add(x, row_of(&layout.positions, config.first_position + i));
            norm::add(x, row_of(&layout.types, kind as usize));
        }
    }
}
