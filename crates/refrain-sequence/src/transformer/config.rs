//! The size and the variant of a transformer.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::layout::Layout;
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

/// How the angles of rotary positions change for texts longer than those of the first training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RotaryScaling {
    /// Every angle is divided by `factor` (Chen et al., *Position Interpolation*, 2023).
    Linear {
        /// At least 1.
        factor: f32,
    },
    /// As Llama 3.1: wavelengths longer than `original / low` are divided by `factor`, those shorter than
    /// `original / high` stay, and those between are something between.
    Llama3 {
        /// At least 1.
        factor: f32,
        /// Less than `high`.
        low: f32,
        /// More than `low`.
        high: f32,
        /// The context of the first training.
        original: usize,
    },
}

impl RotaryScaling {
    fn apply(self, frequency: f64) -> f64 {
        match self {
            Self::Linear { factor } => frequency / f64::from(factor),
            Self::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                let (low, high) = (f64::from(low), f64::from(high));
                let turns = original as f64 * frequency / std::f64::consts::TAU;
                let kept = ((turns - low) / (high - low)).clamp(0.0, 1.0);
                frequency * (kept + (1.0 - kept) / f64::from(factor))
            }
        }
    }

    fn validate(self) -> Result<()> {
        let sound = match self {
            Self::Linear { factor } => (1.0..f32::INFINITY).contains(&factor),
            Self::Llama3 {
                factor,
                low,
                high,
                original,
            } => {
                (1.0..f32::INFINITY).contains(&factor)
                    && low > 0.0
                    && low < high
                    && high.is_finite()
                    && (1..=LIMIT).contains(&original)
            }
        };
        let expected = "a factor of at least 1, and 0 < low < high";
        let field = "TransformerConfig.rotary_scaling";
        match sound {
            true => Ok(()),
            false => Err(Error::config(field, format_args!("{self:?}"), expected)),
        }
    }
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

/// Which matrices of a layer have biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Biases {
    /// None of them, as in Llama and Mistral.
    #[default]
    None,
    /// Those of queries, keys and values, as in Qwen2.
    QueriesKeysValues,
    /// Those of attention, its output too: `attention_bias` of Hugging Face's Llama.
    Attention,
    /// Those of the feed-forward part: `mlp_bias` there.
    FeedForward,
    /// All, and the layer norms too, as in GPT-2.
    All,
}

impl Biases {
    /// Of queries, keys and values.
    pub(crate) fn of_queries(self) -> bool {
        self.of_output() || self == Self::QueriesKeysValues
    }

    /// Of the output of attention.
    pub(crate) fn of_output(self) -> bool {
        matches!(self, Self::Attention | Self::All)
    }

    pub(crate) fn of_feed_forward(self) -> bool {
        matches!(self, Self::FeedForward | Self::All)
    }

    /// None and all as the files and checkpoints of before have them: whether there are any.
    fn write<S: Serializer>(&self, file: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::None => file.serialize_bool(false),
            Self::All => file.serialize_bool(true),
            which => which.serialize(file),
        }
    }

    fn read<'de, D: Deserializer<'de>>(file: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Stored {
            Any(bool),
            Which(Biases),
        }
        Ok(match Stored::deserialize(file)? {
            Stored::Any(false) => Self::None,
            Stored::Any(true) => Self::All,
            Stored::Which(biases) => biases,
        })
    }
}

/// The size and the variant of a decoder-only transformer.
///
/// The default is small enough for a laptop: 4 layers of width 128.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransformerConfig {
    /// Layers, each attention and feed-forward.
    pub layers: usize,
    /// Attention heads.
    pub heads: usize,
    /// The length of a head's vectors; `None` lets the heads share `width` evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub head_width: Option<usize>,
    /// Heads of keys and values, each shared by as many heads of queries (Ainslie et al., *GQA*, 2023);
    /// `None` gives each its own.
    pub key_value_heads: Option<usize>,
    /// The length of a token's vector.
    pub width: usize,
    /// The most tokens the model looks at.
    pub context: usize,
    /// How many tokens each layer's attention reaches back, the token itself counted, as in Mistral;
    /// `None` for all. Keys and values that have left the window are forgotten.
    pub window: Option<usize>,
    /// The inner width of the feed-forward part; `None` gives 4 × width, or 8/3 × width (a
    /// multiple of 8) for [`FeedForward::SwiGlu`], which has three matrices instead of two.
    pub hidden: Option<usize>,
    /// The share of values dropped from the embedding and from each sub-layer's output while
    /// training. Generation and validation never drop.
    pub dropout: f32,
    /// How positions enter.
    pub positions: Positions,
    /// Slower angles of rotary positions.
    pub rotary_scaling: Option<RotaryScaling>,
    /// The normalisation.
    pub norm: Norm,
    /// Added to the variance inside the normalisation.
    pub norm_epsilon: f32,
    /// The position-wise part.
    pub feed_forward: FeedForward,
    /// Which matrices have biases.
    #[serde(serialize_with = "Biases::write", deserialize_with = "Biases::read")]
    pub bias: Biases,
    /// Whether the output matrix is the embedding itself.
    pub tied: bool,
}

impl Default for TransformerConfig {
    fn default() -> Self {
        Self {
            layers: 4,
            heads: 4,
            head_width: None,
            key_value_heads: None,
            width: 128,
            context: 64,
            window: None,
            hidden: None,
            dropout: 0.0,
            positions: Positions::Rotary { base: 10_000.0 },
            rotary_scaling: None,
            norm: Norm::Rms,
            norm_epsilon: 1e-5,
            feed_forward: FeedForward::ReluSquared,
            bias: Biases::None,
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
            bias: Biases::All,
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

    /// The length of a head's vectors.
    pub(crate) fn head_width(&self) -> usize {
        self.head_width.unwrap_or(self.width / self.heads)
    }

    /// The length of what all heads find together.
    pub(crate) fn attended(&self) -> usize {
        self.heads * self.head_width()
    }

    /// Heads of keys and values.
    pub(crate) fn shared_heads(&self) -> usize {
        self.key_value_heads.unwrap_or(self.heads)
    }

    /// Of rotary positions: the angle from one position to the next, of each pair.
    pub(crate) fn frequencies(&self, base: f32) -> Vec<f64> {
        let half = self.head_width() / 2;
        let frequency = |i: usize| f64::from(base).powf(-(i as f64) / half as f64);
        let scaled = |f: f64| self.rotary_scaling.map_or(f, |scaling| scaling.apply(f));
        (0..half).map(frequency).map(scaled).collect()
    }

    pub(super) fn validate(&self, vocabulary: usize) -> Result<()> {
        let sizes = [
            ("TransformerConfig.layers", self.layers),
            ("TransformerConfig.heads", self.heads),
            ("TransformerConfig.width", self.width),
            ("TransformerConfig.context", self.context),
            ("TransformerConfig.hidden", self.inner()),
            ("TransformerConfig.key_value_heads", self.shared_heads()),
            ("TransformerConfig.window", self.window.unwrap_or(1)),
            ("TransformerConfig.head_width", self.head_width.unwrap_or(1)),
            ("the vocabulary's size", vocabulary),
        ];
        for (field, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 1048576"));
            }
        }
        if self.head_width.is_none() && !self.width.is_multiple_of(self.heads) {
            return Err(Error::config(
                "TransformerConfig.width",
                format_args!("{} with {} heads", self.width, self.heads),
                "a multiple of heads",
            ));
        }
        if !self.heads.is_multiple_of(self.shared_heads()) {
            return Err(Error::config(
                "TransformerConfig.key_value_heads",
                format_args!("{} for {} heads", self.shared_heads(), self.heads),
                "a divisor of heads",
            ));
        }
        if let Some(scaling) = self.rotary_scaling {
            scaling.validate()?;
        }
        // Every factor is below 2²², so nothing overflows here, nor later once this holds.
        let attended = self.heads as u128 * self.head_width() as u128;
        let layer =
            4 * self.width as u128 * attended + 2 * self.width as u128 * self.inner() as u128;
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
                    "TransformerConfig.head_width",
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

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
