//! Where each parameter of an encoder-decoder lies in one flat vector, and what Hugging Face calls it.
//!
//! Matrices are `[out, in]` as in the files. Those of queries, keys and values stand one below the
//! other, a `[3 · width, width]` matrix of one product; likewise keys and values of the source.

use std::ops::Range;

use super::config::EncoderDecoderConfig;
use crate::Result;
use crate::encoder::NormPlace;
use crate::entries::{Entries, Init, Role};

/// A norm, or a matrix `[out, in]` with its bias.
#[derive(Debug, Clone)]
pub(super) struct PairAt {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
}

/// What a part of a layer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Attention over the part's own rows.
    Own,
    /// Attention over the source's rows.
    Across,
    Feed,
}

/// One part of a layer, with its norm.
#[derive(Debug, Clone)]
pub(super) struct PartAt {
    pub(super) kind: Kind,
    /// Queries, keys and values, `[3 · width, width]`; queries alone, `[width, width]`; or the way into
    /// the middle, `[hidden, width]`.
    pub(super) input: PairAt,
    /// Keys and values of the source, `[2 · width, width]`.
    pub(super) memory: Option<PairAt>,
    pub(super) output: PairAt,
    pub(super) norm: PairAt,
}

/// The layers of one side, part by part.
#[derive(Debug, Clone)]
pub(super) struct StackAt {
    pub(super) parts: Vec<PartAt>,
    /// Where norms stand before.
    pub(super) last: Option<PairAt>,
}

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) entries: Entries,
    /// `[vocabulary, width]`.
    pub(super) table: Range<usize>,
    pub(super) encoder: StackAt,
    pub(super) decoder: StackAt,
}

impl Layout {
    pub(super) fn new(config: &EncoderDecoderConfig) -> Result<Self> {
        config.validate()?;
        let mut b = Builder {
            entries: Entries::default(),
            width: config.width,
            hidden: config.hidden,
        };
        let table = b.entries.push(
            "model.shared.weight".to_string(),
            vec![config.vocabulary, config.width],
            Role::Embedding,
            Init::Normal(1.0 / (config.width as f32).sqrt()),
        );
        let mut stack = |side: &str, layers: usize, kinds: &[Kind]| {
            let mut parts = Vec::with_capacity(layers * kinds.len());
            for layer in 0..layers {
                let prefix = format!("model.{side}.layers.{layer}");
                parts.extend(kinds.iter().map(|&kind| b.part(&prefix, kind)));
            }
            let last = (config.norm == NormPlace::Before)
                .then(|| b.norm(&format!("model.{side}.layer_norm")));
            StackAt { parts, last }
        };
        let encoder = stack("encoder", config.encoder_layers, &[Kind::Own, Kind::Feed]);
        let kinds = [Kind::Own, Kind::Across, Kind::Feed];
        let decoder = stack("decoder", config.decoder_layers, &kinds);
        Ok(Self {
            entries: b.entries,
            table,
            encoder,
            decoder,
        })
    }
}

struct Builder {
    entries: Entries,
    width: usize,
    hidden: usize,
}

impl Builder {
    fn part(&mut self, prefix: &str, kind: Kind) -> PartAt {
        let (width, hidden) = (self.width, self.hidden);
        let (stem, norm) = match kind {
            Kind::Own => (format!("{prefix}.self_attn."), "self_attn_layer_norm"),
            Kind::Across => (format!("{prefix}.encoder_attn."), "encoder_attn_layer_norm"),
            Kind::Feed => (format!("{prefix}."), "final_layer_norm"),
        };
        let (input, memory, output) = match kind {
            Kind::Own => (
                self.linear(&stem, &["q_proj", "k_proj", "v_proj"], width, width),
                None,
                self.linear(&stem, &["out_proj"], width, width),
            ),
            Kind::Across => (
                self.linear(&stem, &["q_proj"], width, width),
                Some(self.linear(&stem, &["k_proj", "v_proj"], width, width)),
                self.linear(&stem, &["out_proj"], width, width),
            ),
            Kind::Feed => (
                self.linear(&stem, &["fc1"], width, hidden),
                None,
                self.linear(&stem, &["fc2"], hidden, width),
            ),
        };
        PartAt {
            kind,
            input,
            memory,
            output,
            norm: self.norm(&format!("{prefix}.{norm}")),
        }
    }

    fn norm(&mut self, name: &str) -> PairAt {
        let mut vector = |kind: &str, value: f32| {
            let (name, init) = (format!("{name}.{kind}"), Init::Constant(value));
            self.entries
                .push(name, vec![self.width], Role::Vector, init)
        };
        PairAt {
            weight: vector("weight", 1.0),
            bias: vector("bias", 0.0),
        }
    }

    /// Matrices one below the other, then their biases. First values are Glorot's (2010).
    fn linear(&mut self, stem: &str, names: &[&str], input: usize, output: usize) -> PairAt {
        let start = self.entries.total;
        let init = Init::Uniform((6.0 / (input + output) as f32).sqrt());
        for name in names {
            let (name, shape) = (format!("{stem}{name}.weight"), vec![output, input]);
            self.entries.push(name, shape, Role::Matrix, init);
        }
        let middle = self.entries.total;
        for name in names {
            let (name, init) = (format!("{stem}{name}.bias"), Init::Constant(0.0));
            self.entries.push(name, vec![output], Role::Vector, init);
        }
        PairAt {
            weight: start..middle,
            bias: middle..self.entries.total,
        }
    }
}
