//! The size and the variant of an encoder, and what `config.json` calls it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::EncoderInput;
use crate::{Error, Result, hugging_face};

/// Where a layer normalises.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NormPlace {
    /// `x ← norm(x + part(x))`, as in the first transformer and in BERT.
    #[default]
    After,
    /// `x ← x + part(norm(x))` and one more norm at the end: deep models train without a warm-up
    /// (Xiong et al., *On layer normalization in the transformer architecture*, 2020).
    Before,
}

/// The non-linear middle of an encoder's feed-forward part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Activation {
    /// `x Φ(x)` with the error function (Hendrycks and Gimpel, 2016), as in BERT.
    #[default]
    Gelu,
    /// Its tanh form, as in GPT-2.
    GeluTanh,
    /// `max(x, 0)`.
    Relu,
    /// `x σ(x)`, also called SiLU (Ramachandran et al., 2017), as in Marian.
    Swish,
}

impl Activation {
    /// By the name that `config.json` has for it.
    pub(crate) fn named(name: &str) -> Result<Self, String> {
        Ok(match name {
            "gelu" => Self::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Self::GeluTanh,
            "relu" => Self::Relu,
            "silu" | "swish" => Self::Swish,
            other => {
                return Err(format!(
                    "is {other:?}; known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish"
                ));
            }
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_new",
            Self::Relu => "relu",
            Self::Swish => "swish",
        }
    }
}

/// The size and the variant of an encoder. The default has the shape of MiniLM-L6.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderConfig {
    /// How many tokens there are.
    pub vocabulary: usize,
    /// Layers, each attention and feed-forward.
    pub layers: usize,
    /// Attention heads; they share `width` evenly.
    pub heads: usize,
    /// The length of a token's vector.
    pub width: usize,
    /// The inner width of the feed-forward part.
    pub hidden: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// The row of a text's first token: 0 in BERT, `padding + 1` in RoBERTa.
    pub first_position: usize,
    /// Rows of the table of token types (which of two texts a token belongs to).
    pub types: usize,
    /// Where a layer normalises.
    pub norm: NormPlace,
    /// Added to the variance inside a norm.
    pub norm_epsilon: f32,
    /// The non-linear middle of the feed-forward part.
    pub activation: Activation,
    /// Whether a matrix and a tanh for the first token follow, trained to tell whether one text
    /// follows another.
    pub pooler: bool,
    /// The token that others pad with. It never enters the computation.
    pub padding: u32,
    /// How much [`EncoderModule::forward`](super::EncoderModule::forward) drops in training: of the attention as
    /// much as of the rest, where a `config.json` may tell two rates (`hidden_dropout_prob` is read).
    pub dropout: f32,
}

impl Default for EncoderConfig {
    fn default() -> Self {
        Self {
            vocabulary: 30_522,
            layers: 6,
            heads: 12,
            width: 384,
            hidden: 1536,
            positions: 512,
            first_position: 0,
            types: 2,
            norm: NormPlace::After,
            norm_epsilon: 1e-12,
            activation: Activation::Gelu,
            pooler: false,
            padding: 0,
            dropout: 0.1,
        }
    }
}

/// Larger than any model a machine of today holds, small enough that sizes cannot overflow.
const LIMIT: usize = 1 << 20;
const MOST_PARAMETERS: u128 = 1 << 34;

impl EncoderConfig {
    /// The most tokens of a text.
    pub fn context(&self) -> usize {
        self.positions.saturating_sub(self.first_position)
    }

    pub(crate) fn head_width(&self) -> usize {
        self.width / self.heads.max(1)
    }

    pub(super) fn validate(&self) -> Result<()> {
        let sizes = [
            ("EncoderConfig.vocabulary", self.vocabulary),
            ("EncoderConfig.layers", self.layers),
            ("EncoderConfig.heads", self.heads),
            ("EncoderConfig.width", self.width),
            ("EncoderConfig.hidden", self.hidden),
            ("EncoderConfig.positions", self.positions),
            ("EncoderConfig.types", self.types),
        ];
        for (field, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 1048576"));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(Error::config(
                "EncoderConfig.width",
                format_args!("{} with {} heads", self.width, self.heads),
                "a multiple of heads",
            ));
        }
        if self.first_position >= self.positions {
            return Err(Error::config(
                "EncoderConfig.first_position",
                self.first_position,
                "less than positions",
            ));
        }
        // Every factor is below 2²¹, so nothing overflows here, nor later once this holds.
        let layer = 4 * self.width as u128 * self.width as u128
            + 2 * self.width as u128 * self.hidden as u128;
        let tables = (self.vocabulary + self.positions + self.types) as u128 * self.width as u128;
        let size = layer * self.layers as u128 + tables;
        if size > MOST_PARAMETERS {
            let field = "the encoder's size";
            return Err(Error::config(field, size, "at most 17179869184 parameters"));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            return Err(Error::config(
                "EncoderConfig.norm_epsilon",
                self.norm_epsilon,
                "a number, not negative",
            ));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let expected = "at least 0 and below 1";
            return Err(Error::config(
                "EncoderConfig.dropout",
                self.dropout,
                expected,
            ));
        }
        Ok(())
    }

    /// Refuses texts that the encoder cannot read.
    pub(super) fn check(&self, texts: &[EncoderInput<'_>]) -> Result<()> {
        for (i, text) in texts.iter().enumerate() {
            let length = text.tokens.len();
            if length == 0 {
                return Err(Error::TooShort {
                    what: format!("text {i}"),
                    needed: 1,
                    found: 0,
                });
            }
            if length > self.context() {
                return Err(Error::config(
                    "the length of a text",
                    format_args!("{length} (text {i})"),
                    "at most the encoder's context",
                ));
            }
            if !(text.types.is_empty() || text.types.len() == length) {
                return Err(Error::Core(refrain_core::Error::Shape {
                    what: format!("types of text {i}"),
                    expected: length,
                    found: text.types.len(),
                }));
            }
            let kinds = [
                ("token", text.tokens, self.vocabulary),
                ("type of token", text.types, self.types),
            ];
            for (what, values, vocabulary) in kinds {
                if let Some(at) = values.iter().position(|&t| t as usize >= vocabulary) {
                    return Err(Error::Token {
                        place: format!("text {i}, {what} {at}"),
                        token: values.get(at).copied().unwrap_or_default(),
                        vocabulary,
                    });
                }
            }
        }
        Ok(())
    }

    /// Reads a `config.json`; the pooler is not told there.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file: File = hugging_face::json(path)?;
        let bad = |reason: String| Error::file(&path.display().to_string(), reason);
        let (norm, roberta) = match file.model_type.as_str() {
            "bert" => (NormPlace::After, false),
            "roberta" | "xlm-roberta" | "camembert" => (NormPlace::After, true),
            "roberta-prelayernorm" => (NormPlace::Before, true),
            other => {
                return Err(bad(format!(
                    "model_type is {other:?}; known: bert, roberta, xlm-roberta, camembert, \
                     roberta-prelayernorm"
                )));
            }
        };
        let activation = Activation::named(&file.hidden_act)
            .map_err(|reason| bad(format!("hidden_act {reason}")))?;
        if let Some(kind) = file
            .position_embedding_type
            .filter(|kind| kind != "absolute")
        {
            return Err(bad(format!(
                "position_embedding_type is {kind:?}; known: absolute"
            )));
        }
        if file.is_decoder {
            return Err(bad("is_decoder is true: this is no encoder".to_string()));
        }
        let padding = file.pad_token_id.unwrap_or(if roberta { 1 } else { 0 });
        let config = Self {
            vocabulary: file.vocab_size,
            layers: file.num_hidden_layers,
            heads: file.num_attention_heads,
            width: file.hidden_size,
            hidden: file.intermediate_size,
            positions: file.max_position_embeddings,
            first_position: if roberta { padding as usize + 1 } else { 0 },
            types: file.type_vocab_size,
            norm,
            norm_epsilon: file.layer_norm_eps,
            activation,
            pooler: false,
            padding,
            dropout: file.hidden_dropout_prob,
        };
        config.validate().map_err(|e| bad(e.to_string()))?;
        Ok(config)
    }

    /// Writes a `config.json` that `transformers` reads.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        let roberta = self.first_position == self.padding as usize + 1;
        let (model_type, architecture) = match self.norm {
            NormPlace::After if self.first_position == 0 => ("bert", "BertModel"),
            NormPlace::After if roberta => ("roberta", "RobertaModel"),
            NormPlace::Before if roberta => ("roberta-prelayernorm", "RobertaPreLayerNormModel"),
            _ => {
                return Err(Error::config(
                    "EncoderConfig.first_position",
                    self.first_position,
                    "0 with norms after, or padding + 1, to be written for others",
                ));
            }
        };
        // As it is written, not its 32 bits as a number of 64.
        let dropout: f64 = self.dropout.to_string().parse().unwrap_or_default();
        let config = json!({
            "architectures": [architecture],
            "attention_probs_dropout_prob": dropout,
            "dtype": "float32",
            "hidden_act": self.activation.name(),
            "hidden_dropout_prob": dropout,
            "hidden_size": self.width,
            "intermediate_size": self.hidden,
            "layer_norm_eps": f64::from(self.norm_epsilon),
            "max_position_embeddings": self.positions,
            "model_type": model_type,
            "num_attention_heads": self.heads,
            "num_hidden_layers": self.layers,
            "pad_token_id": self.padding,
            "type_vocab_size": self.types,
            "vocab_size": self.vocabulary,
        });
        Ok(refrain_core::replace_file(
            path,
            format!("{config:#}\n").as_bytes(),
        )?)
    }
}

/// What a `config.json` says; fields that are often left out have the values they then stand for.
#[derive(Deserialize)]
struct File {
    model_type: String,
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    max_position_embeddings: usize,
    #[serde(default = "two")]
    type_vocab_size: usize,
    #[serde(default = "tiny")]
    layer_norm_eps: f32,
    #[serde(default = "gelu")]
    hidden_act: String,
    pad_token_id: Option<u32>,
    position_embedding_type: Option<String>,
    #[serde(default = "tenth")]
    hidden_dropout_prob: f32,
    #[serde(default)]
    is_decoder: bool,
}

fn two() -> usize {
    2
}

fn tenth() -> f32 {
    0.1
}

fn tiny() -> f32 {
    1e-12
}

fn gelu() -> String {
    "gelu".to_string()
}
