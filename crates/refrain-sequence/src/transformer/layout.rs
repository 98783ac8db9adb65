//! Where each parameter of a transformer lies in one flat vector.
//!
//! Both ways of computing (the tensor program and the CPU kernels), the optimizer and the model
//! file agree on this layout, so weights pass between them without renaming or transposing.
//! Matrices are `[in, out]`, row-major: `y = x W`.

use std::ops::Range;

use super::config::{Biases, FeedForward, Norm, Positions, TransformerConfig};
use crate::Result;
use crate::entries::{Entries, Entry, Init, Role, initial};

/// Where a normalisation's parameters lie.
#[derive(Debug, Clone)]
pub(crate) struct NormAt {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
}

/// Where a matrix and its bias lie.
#[derive(Debug, Clone)]
pub(crate) struct LinearAt {
    pub(crate) weight: Range<usize>,
    pub(crate) bias: Option<Range<usize>>,
    pub(crate) input: usize,
    pub(crate) output: usize,
}

#[derive(Debug, Clone)]
pub(crate) struct LayerAt {
    pub(crate) norm1: NormAt,
    pub(crate) qkv: LinearAt,
    pub(crate) output: LinearAt,
    pub(crate) norm2: NormAt,
    pub(crate) up: LinearAt,
    pub(crate) down: LinearAt,
}

/// Every parameter of a model, in the order of the flat vector.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) entries: Vec<Entry>,
    pub(crate) total: usize,
    pub(crate) vocabulary: usize,
    /// `[vocabulary, width]`.
    pub(crate) embedding: Range<usize>,
    /// `[context, width]`.
    pub(crate) positions: Option<Range<usize>>,
    pub(crate) layers: Vec<LayerAt>,
    pub(crate) norm: NormAt,
    /// `[vocabulary, width]`, the same as `embedding` when tied.
    pub(crate) head: Range<usize>,
}

impl Layout {
    pub(crate) fn new(config: &TransformerConfig, vocabulary: usize) -> Result<Self> {
        config.validate(vocabulary)?;
        let mut b = Builder {
            entries: Entries::default(),
            config,
        };
        let (width, hidden) = (config.width, config.inner());
        let (attended, shared) = (
            config.attended(),
            config.shared_heads() * config.head_width(),
        );
        let bias = config.bias;
        let gates = if config.feed_forward == FeedForward::SwiGlu {
            2
        } else {
            1
        };
        // Residual branches start smaller the deeper the model is (GPT-2).
        let branch = 0.02 / (2.0 * config.layers as f32).sqrt();

        let embedding = b.table("embedding.weight", vocabulary, Role::Embedding);
        let positions = (config.positions == Positions::Learned)
            .then(|| b.table("positions.weight", config.context, Role::Embedding));
        let layers = (0..config.layers)
            .map(|i| LayerAt {
                norm1: b.norm(&format!("layers.{i}.norm1")),
                qkv: b.linear(
                    &format!("layers.{i}.qkv"),
                    (width, attended + 2 * shared),
                    0.02,
                    bias.of_queries(),
                ),
                output: b.linear(
                    &format!("layers.{i}.output"),
                    (attended, width),
                    branch,
                    bias.of_output(),
                ),
                norm2: b.norm(&format!("layers.{i}.norm2")),
                up: b.linear(
                    &format!("layers.{i}.up"),
                    (width, gates * hidden),
                    0.02,
                    bias.of_feed_forward(),
                ),
                down: b.linear(
                    &format!("layers.{i}.down"),
                    (hidden, width),
                    branch,
                    bias.of_feed_forward(),
                ),
            })
            .collect();
        let norm = b.norm("norm");
        let head = match config.tied {
            true => embedding.clone(),
            false => b.table("head.weight", vocabulary, Role::Matrix),
        };
        let (entries, total) = (b.entries.list, b.entries.total);
        Ok(Self {
            entries,
            total,
            vocabulary,
            embedding,
            positions,
            layers,
            norm,
            head,
        })
    }

    /// First values, drawn on the host: a seed means the same on every device.
    pub(crate) fn initial(&self, seed: u64) -> Vec<f32> {
        initial(&self.entries, seed)
    }
}

struct Builder<'a> {
    entries: Entries,
    config: &'a TransformerConfig,
}

impl Builder<'_> {
    fn table(&mut self, name: &str, rows: usize, role: Role) -> Range<usize> {
        let shape = vec![rows, self.config.width];
        self.entries
            .push(name.to_string(), shape, role, Init::Normal(0.02))
    }

    fn norm(&mut self, name: &str) -> NormAt {
        let width = self.config.width;
        let weight = self.entries.push(
            format!("{name}.weight"),
            vec![width],
            Role::Vector,
            Init::Constant(1.0),
        );
        let bias =
            (self.config.bias == Biases::All && self.config.norm == Norm::Layer).then(|| {
                self.entries.push(
                    format!("{name}.bias"),
                    vec![width],
                    Role::Vector,
                    Init::Constant(0.0),
                )
            });
        NormAt { weight, bias }
    }

    fn linear(
        &mut self,
        name: &str,
        (input, output): (usize, usize),
        deviation: f32,
        biased: bool,
    ) -> LinearAt {
        let shape = vec![input, output];
        let weight = self.entries.push(
            format!("{name}.weight"),
            shape,
            Role::Matrix,
            Init::Normal(deviation),
        );
        let bias = biased.then(|| {
            self.entries.push(
                format!("{name}.bias"),
                vec![output],
                Role::Vector,
                Init::Constant(0.0),
            )
        });
        LinearAt {
            weight,
            bias,
            input,
            output,
        }
    }
}

/// Cosine and sine of each position's angles: two tables `[length, frequencies]`.
pub(crate) fn rotary_tables(frequencies: &[f64], length: usize) -> (Vec<f32>, Vec<f32>) {
    let mut cos = Vec::with_capacity(length * frequencies.len());
    let mut sin = Vec::with_capacity(length * frequencies.len());
    for position in 0..length {
        for frequency in frequencies {
            let angle = position as f64 * frequency;
            cos.push(angle.cos() as f32);
            sin.push(angle.sin() as f32);
        }
    }
    (cos, sin)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_has_no_gaps_and_counts_like_gpt2() {
        for config in [TransformerConfig::default(), TransformerConfig::gpt2()] {
            let layout = Layout::new(&config, 65).unwrap();
            let mut at = 0;
            for entry in &layout.entries {
                assert_eq!(entry.range.start, at, "{}", entry.name);
                assert_eq!(entry.range.len(), entry.shape.iter().product::<usize>());
                at = entry.range.end;
            }
            assert_eq!(at, layout.total);
        }
        // GPT-2 small: 124,439,808 parameters.
        let gpt2 = TransformerConfig {
            layers: 12,
            heads: 12,
            width: 768,
            context: 1024,
            ..TransformerConfig::gpt2()
        };
        assert_eq!(gpt2.parameters(50_257).unwrap(), 124_439_808);
    }

    #[test]
    fn first_values_have_the_stated_spread() {
        let layout = Layout::new(&TransformerConfig::default(), 65).unwrap();
        let weights = layout.initial(3);
        assert_eq!(weights.len(), layout.total);
        assert_eq!(weights, layout.initial(3));
        let qkv = &weights[layout.layers[0].qkv.weight.clone()];
        let deviation = (qkv.iter().map(|x| x * x).sum::<f32>() / qkv.len() as f32).sqrt();
        assert!((deviation - 0.02).abs() < 2e-4, "{deviation}");
        assert!(
            weights[layout.norm.weight.clone()]
                .iter()
                .all(|&x| x == 1.0)
        );
    }
}
