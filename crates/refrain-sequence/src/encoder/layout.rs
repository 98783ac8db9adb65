//! Where each parameter of an encoder lies in one flat vector, and what Hugging Face calls it.
//!
//! Matrices are `[out, in]` as in the files, so that nothing is transposed on the way, and those of
//! queries, keys and values stand one below the other: together they are the `[3 · width, width]`
//! matrix of one product.

use std::ops::Range;

use super::config::{EncoderConfig, NormPlace};
use crate::entries::normals;
use crate::{Error, Result};

/// One tensor of the file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
    pub(super) range: Range<usize>,
    start: Start,
}

#[derive(Debug, Clone, Copy)]
enum Start {
    Drawn,
    Zero,
    One,
}

/// A norm, or a matrix `[out, in]` with its bias.
#[derive(Debug, Clone)]
pub(super) struct PairAt {
    pub(super) weight: Range<usize>,
    pub(super) bias: Range<usize>,
}

#[derive(Debug, Clone)]
pub(super) struct LayerAt {
    /// `[3 · width, width]`.
    pub(super) qkv: PairAt,
    pub(super) output: PairAt,
    pub(super) norm1: PairAt,
    /// `[hidden, width]`.
    pub(super) up: PairAt,
    /// `[width, hidden]`.
    pub(super) down: PairAt,
    pub(super) norm2: PairAt,
}

#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) entries: Vec<Entry>,
    pub(super) total: usize,
    pub(super) words: Range<usize>,
    pub(super) positions: Range<usize>,
    pub(super) types: Range<usize>,
    pub(super) norm: PairAt,
    pub(super) layers: Vec<LayerAt>,
    /// Where norms stand before.
    pub(super) last: Option<PairAt>,
    pub(super) pooler: Option<PairAt>,
}

impl Layout {
    pub(super) fn new(config: &EncoderConfig) -> Result<Self> {
        config.validate()?;
        let (width, hidden) = (config.width, config.hidden);
        let mut b = Builder::default();
        let words = b.table(
            "embeddings.word_embeddings.weight",
            config.vocabulary,
            width,
        );
        let positions = b.table(
            "embeddings.position_embeddings.weight",
            config.positions,
            width,
        );
        let types = b.table(
            "embeddings.token_type_embeddings.weight",
            config.types,
            width,
        );
        let norm = b.norm("embeddings.LayerNorm", width);
        let (norm1, norm2) = match config.norm {
            NormPlace::After => ("attention.output.LayerNorm", "output.LayerNorm"),
            NormPlace::Before => ("attention.LayerNorm", "intermediate.LayerNorm"),
        };
        let layers = (0..config.layers)
            .map(|i| {
                let at = |name: &str| format!("encoder.layer.{i}.{name}");
                LayerAt {
                    qkv: b.linear(
                        &["query", "key", "value"].map(|n| at(&format!("attention.self.{n}"))),
                        width,
                        width,
                    ),
                    output: b.linear(&[at("attention.output.dense")], width, width),
                    norm1: b.norm(&at(norm1), width),
                    up: b.linear(&[at("intermediate.dense")], width, hidden),
                    down: b.linear(&[at("output.dense")], hidden, width),
                    norm2: b.norm(&at(norm2), width),
                }
            })
            .collect();
        let last = (config.norm == NormPlace::Before).then(|| b.norm("LayerNorm", width));
        let pooler = config
            .pooler
            .then(|| b.linear(&["pooler.dense".to_string()], width, width));
        Ok(Self {
            words,
            positions,
            types,
            norm,
            layers,
            last,
            pooler,
            entries: b.entries,
            total: b.total,
        })
    }

    /// First values as BERT's: normal with deviation 0.02, norms at 1, biases at 0.
    pub(super) fn initial(&self, seed: u64) -> Vec<f32> {
        let mut weights = Vec::with_capacity(self.total);
        for (index, entry) in self.entries.iter().enumerate() {
            match entry.start {
                Start::Drawn => weights.extend(normals(seed, index, 0.02).take(entry.range.len())),
                Start::Zero => weights.resize(entry.range.end, 0.0),
                Start::One => weights.resize(entry.range.end, 1.0),
            }
        }
        weights
    }

    /// Refuses another number of weights.
    pub(super) fn expect(&self, weights: &[f32]) -> Result<()> {
        match weights.len() == self.total {
            true => Ok(()),
            false => Err(Error::Core(refrain_core::Error::Shape {
                what: "the weights".to_string(),
                expected: self.total,
                found: weights.len(),
            })),
        }
    }
}

#[derive(Default)]
struct Builder {
    entries: Vec<Entry>,
    total: usize,
}

impl Builder {
    fn push(&mut self, name: String, shape: Vec<usize>, start: Start) -> Range<usize> {
        let range = self.total..self.total + shape.iter().product::<usize>();
        self.total = range.end;
        self.entries.push(Entry {
            name,
            shape,
            range: range.clone(),
            start,
        });
        range
    }

    fn table(&mut self, name: &str, rows: usize, width: usize) -> Range<usize> {
        self.push(name.to_string(), vec![rows, width], Start::Drawn)
    }

    fn norm(&mut self, name: &str, width: usize) -> PairAt {
        PairAt {
            weight: self.push(format!("{name}.weight"), vec![width], Start::One),
            bias: self.push(format!("{name}.bias"), vec![width], Start::Zero),
        }
    }

    /// Matrices one below the other, then their biases.
    fn linear(&mut self, names: &[String], input: usize, output: usize) -> PairAt {
        let start = self.total;
        for name in names {
            self.push(format!("{name}.weight"), vec![output, input], Start::Drawn);
        }
        let middle = self.total;
        for name in names {
            self.push(format!("{name}.bias"), vec![output], Start::Zero);
        }
        PairAt {
            weight: start..middle,
            bias: middle..self.total,
        }
    }
}
