//! The shape of a transformer, and where each of its parameters lies in one flat vector.
//!
//! Both ways of computing (the tensor program and the CPU kernels), the optimizer and the model
//! file agree on this layout, so weights pass between them without renaming or transposing.
//! Matrices are `[in, out]`, row-major: `y = x W`.

use std::ops::Range;

use rand::RngExt;
use refrain_core::rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How the model knows where a token stands.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Positions {
    /// A learned vector per position, added to the embedding (GPT-2).
    Learned,
    /// Queries and keys rotated by an angle proportional to the position, so that attention sees
    /// distances (Su et al., *RoFormer*, 2021; halves paired as in Llama).
    Rotary {
        /// The slowest wavelength is about `2π · base`; 10,000 in the paper.
        base: f32,
    },
}

/// What keeps activations in range before each sub-layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Norm {
    /// Subtract the mean, divide by the deviation (Ba et al., 2016).
    Layer,
    /// Divide by the root mean square (Zhang and Sennrich, 2019): cheaper, as good.
    Rms,
}

/// The position-wise part of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeedForward {
    /// `relu(x A) B`.
    Relu,
    /// `relu(x A)² B` (So et al., *Primer*, 2021): as cheap as ReLU, better at the same size.
    ReluSquared,
    /// `gelu(x A) B` with the tanh form of GPT-2.
    Gelu,
    /// `(silu(x A₁) ⊙ x A₂) B` (Shazeer, 2020), as in Llama.
    SwiGlu,
}

/// The size and the variant of a decoder-only transformer.
///
/// The default is small enough for a laptop: 4 layers of width 128.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerConfig {
    /// Layers, each attention and feed-forward.
    pub layers: usize,
    /// Attention heads; they share `width` evenly.
    pub heads: usize,
    /// The length of a token's vector.
    pub width: usize,
    /// The most tokens the model looks at.
    pub context: usize,
    /// The inner width of the feed-forward part; `None` gives 4 × width, or 8/3 × width (a
    /// multiple of 8) for [`FeedForward::SwiGlu`], which has three matrices instead of two.
    pub hidden: Option<usize>,
    /// The share of values dropped from the embedding and from each sub-layer's output while
    /// training. Generation and validation never drop.
    pub dropout: f32,
    /// How positions enter.
    pub positions: Positions,
    /// The normalisation.
    pub norm: Norm,
    /// Added to the variance inside the normalisation.
    pub norm_epsilon: f32,
    /// The position-wise part.
    pub feed_forward: FeedForward,
    /// Whether matrices (and layer norms) have biases.
    pub bias: bool,
    /// Whether the output matrix is the embedding itself.
    pub tied: bool,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            layers: 4,
            heads: 4,
            width: 128,
            context: 64,
            hidden: None,
            dropout: 0.0,
            positions: Positions::Rotary { base: 10_000.0 },
            norm: Norm::Rms,
            norm_epsilon: 1e-5,
            feed_forward: FeedForward::ReluSquared,
            bias: false,
            tied: true,
        }
    }
}

/// Larger than any model a machine of today trains, small enough that sizes cannot overflow.
const LIMIT: usize = 1 << 20;
const MOST_PARAMETERS: u128 = 1 << 34;
const MOST_ANGLES: usize = 1 << 26;

impl TransformerConfig {
    /// The shape of GPT-2 and nanoGPT: learned positions, layer norm, GELU, biases.
    pub fn gpt2() -> Self {
        Self {
            positions: Positions::Learned,
            norm: Norm::Layer,
            feed_forward: FeedForward::Gelu,
            bias: true,
            ..Self::default()
        }
    }

    /// The shape of Llama: rotary positions, RMS norm, SwiGLU.
    pub fn llama() -> Self {
        Self {
            feed_forward: FeedForward::SwiGlu,
            ..Self::default()
        }
    }

    /// How many parameters a model with this vocabulary has.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that no model can have.
    pub fn parameters(&self, vocabulary: usize) -> Result<usize> {
        Ok(Layout::new(self, vocabulary)?.total)
    }

    /// The inner width of the feed-forward part.
    pub(crate) fn inner(&self) -> usize {
        self.hidden.unwrap_or(match self.feed_forward {
            FeedForward::SwiGlu => (self.width.min(LIMIT) * 8 / 3).next_multiple_of(8),
            _ => self.width.saturating_mul(4),
        })
    }

    pub(crate) fn head_width(&self) -> usize {
        self.width / self.heads
    }

    fn validate(&self, vocabulary: usize) -> Result<()> {
        let sizes = [
            ("TransformerConfig.layers", self.layers),
            ("TransformerConfig.heads", self.heads),
            ("TransformerConfig.width", self.width),
            ("TransformerConfig.context", self.context),
            ("TransformerConfig.hidden", self.inner()),
            ("the vocabulary's size", vocabulary),
        ];
        for (field, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 1048576"));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(Error::config(
                "TransformerConfig.width",
                format_args!("{} with {} heads", self.width, self.heads),
                "a multiple of heads",
            ));
        }
        // Every factor is below 2²², so nothing overflows here, nor later once this holds.
        let layer = 4 * self.width as u128 * self.width as u128
            + 2 * self.width as u128 * self.inner() as u128;
        let tables = (vocabulary + self.context) as u128 * self.width as u128;
        let size = layer * self.layers as u128 + tables;
        if size > MOST_PARAMETERS {
            let field = "the model's size";
            return Err(Error::config(field, size, "at most 17179869184 parameters"));
        }
        if let Positions::Rotary { base } = self.positions {
            if !self.head_width().is_multiple_of(2) {
                let value = self.head_width();
                return Err(Error::config(
                    "width / heads",
                    value,
                    "even, for rotary positions",
                ));
            }
            if self.context.saturating_mul(self.head_width()) > MOST_ANGLES {
                let value = self.context;
                let expected = "smaller, for rotary positions of this width";
                return Err(Error::config("TransformerConfig.context", value, expected));
            }
            if !(base.is_finite() && base > 1.0) {
                return Err(Error::config(
                    "Positions::Rotary.base",
                    base,
                    "greater than 1",
                ));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let value = self.dropout;
            return Err(Error::config(
                "TransformerConfig.dropout",
                value,
                "at least 0, below 1",
            ));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon > 0.0) {
            let value = self.norm_epsilon;
            return Err(Error::config(
                "TransformerConfig.norm_epsilon",
                value,
                "greater than 0",
            ));
        }
        Ok(())
    }
}

/// What a parameter is, for weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Embedding,
    Matrix,
    Vector,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) name: String,
    pub(crate) shape: Vec<usize>,
    pub(crate) range: Range<usize>,
    pub(crate) role: Role,
    /// The deviation of its first values; `None` starts at 1 for scales and 0 for biases.
    deviation: Option<f32>,
    start: f32,
}

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
            entries: Vec::new(),
            total: 0,
            config,
        };
        let (width, hidden) = (config.width, config.inner());
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
                qkv: b.linear(&format!("layers.{i}.qkv"), width, 3 * width, 0.02),
                output: b.linear(&format!("layers.{i}.output"), width, width, branch),
                norm2: b.norm(&format!("layers.{i}.norm2")),
                up: b.linear(&format!("layers.{i}.up"), width, gates * hidden, 0.02),
                down: b.linear(&format!("layers.{i}.down"), hidden, width, branch),
            })
            .collect();
        let norm = b.norm("norm");
        let head = match config.tied {
            true => embedding.clone(),
            false => b.table("head.weight", vocabulary, Role::Matrix),
        };
        let (entries, total) = (b.entries, b.total);
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
        let mut weights = Vec::with_capacity(self.total);
        for (index, entry) in self.entries.iter().enumerate() {
            let mut draw = rng::stream(seed, index as u64);
            match entry.deviation {
                None => weights.resize(entry.range.end, entry.start),
                Some(deviation) => weights.extend(entry.range.clone().map(|_| {
                    // Box and Muller, on (0, 1].
                    let (u, v) = (1.0 - draw.random::<f64>(), draw.random::<f64>());
                    let radius = (-2.0 * u.ln()).sqrt();
                    (radius * (std::f64::consts::TAU * v).cos()) as f32 * deviation
                })),
            }
        }
        weights
    }
}

struct Builder<'a> {
    entries: Vec<Entry>,
    total: usize,
    config: &'a TransformerConfig,
}

impl Builder<'_> {
    fn push(
        &mut self,
        name: String,
        shape: Vec<usize>,
        role: Role,
        deviation: Option<f32>,
        start: f32,
    ) -> Range<usize> {
        let size: usize = shape.iter().product();
        let range = self.total..self.total + size;
        self.total = range.end;
        self.entries.push(Entry {
            name,
            shape,
            range: range.clone(),
            role,
            deviation,
            start,
        });
        range
    }

    fn table(&mut self, name: &str, rows: usize, role: Role) -> Range<usize> {
        self.push(
            name.to_string(),
            vec![rows, self.config.width],
            role,
            Some(0.02),
            0.0,
        )
    }

    fn norm(&mut self, name: &str) -> NormAt {
        let width = self.config.width;
        let weight = self.push(
            format!("{name}.weight"),
            vec![width],
            Role::Vector,
            None,
            1.0,
        );
        let bias = (self.config.bias && self.config.norm == Norm::Layer)
            .then(|| self.push(format!("{name}.bias"), vec![width], Role::Vector, None, 0.0));
        NormAt { weight, bias }
    }

    fn linear(&mut self, name: &str, input: usize, output: usize, deviation: f32) -> LinearAt {
        let shape = vec![input, output];
        let weight = self.push(
            format!("{name}.weight"),
            shape,
            Role::Matrix,
            Some(deviation),
            0.0,
        );
        let bias = self.config.bias.then(|| {
            self.push(
                format!("{name}.bias"),
                vec![output],
                Role::Vector,
                None,
                0.0,
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

/// Cosine and sine of each position's angles: two tables `[length, half]`.
pub(crate) fn rotary_tables(base: f32, half: usize, length: usize) -> (Vec<f32>, Vec<f32>) {
    let mut cos = Vec::with_capacity(length * half);
    let mut sin = Vec::with_capacity(length * half);
    for position in 0..length {
        for i in 0..half {
            let frequency = f64::from(base).powf(-(i as f64) / half as f64);
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
    fn impossible_shapes_are_refused_by_name() {
        let default = TransformerConfig::default;
        let bad = [
            (
                TransformerConfig {
                    heads: 3,
                    ..default()
                },
                "multiple of heads",
            ),
            (
                TransformerConfig {
                    layers: 0,
                    ..default()
                },
                "layers",
            ),
            (
                TransformerConfig {
                    width: 12,
                    heads: 4,
                    ..default()
                },
                "even",
            ),
            (
                TransformerConfig {
                    dropout: 1.0,
                    ..default()
                },
                "dropout",
            ),
            (
                TransformerConfig {
                    dropout: f32::NAN,
                    ..default()
                },
                "dropout",
            ),
            (
                TransformerConfig {
                    context: usize::MAX,
                    ..default()
                },
                "context",
            ),
            (
                TransformerConfig {
                    norm_epsilon: 0.0,
                    ..default()
                },
                "norm_epsilon",
            ),
            (
                TransformerConfig {
                    layers: 1 << 20,
                    width: 1 << 12,
                    ..default()
                },
                "size",
            ),
        ];
        for (config, word) in bad {
            let error = config.parameters(10).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        assert!(default().parameters(0).is_err());
        for config in [TransformerConfig::gpt2(), TransformerConfig::llama()] {
            let width = usize::MAX;
            assert!(
                TransformerConfig {
                    width,
                    ..config.clone()
                }
                .parameters(9)
                .is_err()
            );
            let (width, context) = (1 << 16, 1 << 20);
            assert!(
                TransformerConfig {
                    width,
                    context,
                    ..config
                }
                .parameters(9)
                .is_err()
            );
        }
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
