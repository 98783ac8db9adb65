//! The size and the variant of an encoder-decoder, and what `config.json` calls it.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::encoder::{Activation, NormPlace};
use crate::{Error, Result, hugging_face};

/// The size and the variant of an encoder-decoder. The default is small enough to be trained on a CPU;
/// the first transformer's *base* has `layers` 6 and 6, `heads` 8, `width` 512, `hidden` 2048 and
/// dropout 0.1.
///
/// One table holds the vectors of the tokens read, of the tokens written, and of the output (Press and
/// Wolf, *Using the output embedding to improve language models*, 2017).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EncoderDecoderConfig {
    /// How many tokens there are, those of both languages together.
    pub vocabulary: usize,
    /// Layers of the encoder, each attention and feed-forward.
    pub encoder_layers: usize,
    /// Layers of the decoder, each attention, attention over the source, and feed-forward.
    pub decoder_layers: usize,
    /// Attention heads; they share `width` evenly.
    pub heads: usize,
    /// The length of a token's vector, an even number.
    pub width: usize,
    /// The inner width of the feed-forward parts.
    pub hidden: usize,
    /// The most tokens of a source, and of a target.
    pub positions: usize,
    /// Where a layer normalises.
    pub norm: NormPlace,
    /// Added to the variance inside a norm.
    pub norm_epsilon: f32,
    /// The non-linear middle of the feed-forward parts.
    pub activation: Activation,
    /// Whether a token's vector is multiplied by `√width` before its position is added.
    pub scaled: bool,
    /// The share of values dropped while training, of embeddings and of what each part adds.
    pub dropout: f32,
    /// The token that a target begins with, which is never written; others also pad with it.
    pub start: u32,
    /// The token that ends a source and a target.
    pub end: u32,
}

impl Default for EncoderDecoderConfig {
    fn default() -> Self {
        Self {
            vocabulary: 8_000,
            encoder_layers: 4,
            decoder_layers: 4,
            heads: 4,
            width: 128,
            hidden: 256,
            positions: 256,
            norm: NormPlace::After,
            norm_epsilon: 1e-5,
            activation: Activation::Relu,
            scaled: true,
            dropout: 0.1,
            start: 0,
            end: 1,
        }
    }
}

/// Larger than any model a machine of today holds, small enough that sizes cannot overflow.
const LIMIT: usize = 1 << 20;
const MOST_PARAMETERS: u128 = 1 << 34;

impl EncoderDecoderConfig {
    pub(crate) fn head_width(&self) -> usize {
        self.width / self.heads.max(1)
    }

    /// What embeddings are multiplied by.
    pub(super) fn scale(&self) -> f32 {
        if self.scaled {
            (self.width as f32).sqrt()
        } else {
            1.0
        }
    }

    /// The vector of each position, `[positions, width]`: `sin(t / 10000^(2i/width))`, then as many
    /// cosines.
    pub(super) fn sinusoids(&self) -> Vec<f32> {
        let half = self.width / 2;
        let mut table = Vec::with_capacity(self.positions * self.width);
        for position in 0..self.positions {
            let angle = |i: usize| {
                let power = 2.0 * i as f64 / self.width as f64;
                position as f64 / 10_000f64.powf(power)
            };
            table.extend((0..half).map(|i| angle(i).sin() as f32));
            table.extend((0..half).map(|i| angle(i).cos() as f32));
        }
        table
    }

    pub(super) fn validate(&self) -> Result<()> {
        let sizes = [
            ("EncoderDecoderConfig.vocabulary", self.vocabulary),
            ("EncoderDecoderConfig.encoder_layers", self.encoder_layers),
            ("EncoderDecoderConfig.decoder_layers", self.decoder_layers),
            ("EncoderDecoderConfig.heads", self.heads),
            ("EncoderDecoderConfig.width", self.width),
            ("EncoderDecoderConfig.hidden", self.hidden),
            ("EncoderDecoderConfig.positions", self.positions),
        ];
        for (field, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 1048576"));
            }
        }
        let (heads, width) = (self.heads, self.width);
        if !width.is_multiple_of(heads) || !width.is_multiple_of(2) {
            return Err(Error::config(
                "EncoderDecoderConfig.width",
                format_args!("{width} with {heads} heads"),
                "even, and a multiple of heads",
            ));
        }
        // Every factor is below 2²¹, so nothing overflows here, nor later once this holds.
        let (square, feed) = (
            width as u128 * width as u128,
            width as u128 * self.hidden as u128,
        );
        let layers = self.encoder_layers as u128 * (4 * square + 2 * feed)
            + self.decoder_layers as u128 * (8 * square + 2 * feed);
        let size = layers + (self.vocabulary + self.positions) as u128 * width as u128;
        if size > MOST_PARAMETERS {
            let field = "the encoder-decoder's size";
            return Err(Error::config(field, size, "at most 17179869184 parameters"));
        }
        if !(self.norm_epsilon.is_finite() && self.norm_epsilon >= 0.0) {
            let (field, value) = ("EncoderDecoderConfig.norm_epsilon", self.norm_epsilon);
            return Err(Error::config(field, value, "a number, not negative"));
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let (field, value) = ("EncoderDecoderConfig.dropout", self.dropout);
            return Err(Error::config(field, value, "at least 0, below 1"));
        }
        for (field, token) in [
            ("EncoderDecoderConfig.start", self.start),
            ("EncoderDecoderConfig.end", self.end),
        ] {
            if token as usize >= self.vocabulary {
                return Err(Error::config(field, token, "a token of the vocabulary"));
            }
        }
        Ok(())
    }

    /// Reads a `config.json`.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let file: File = hugging_face::json(path)?;
        let bad = |reason: String| Error::file(&path.display().to_string(), reason);
        let norm = match file.model_type.as_str() {
            "marian" => NormPlace::After,
            "pegasus" => NormPlace::Before,
            other => {
                let reason = format!("model_type is {other:?}; known: marian, pegasus");
                return Err(bad(reason));
            }
        };
        let activation = Activation::named(&file.activation_function)
            .map_err(|reason| bad(format!("activation_function {reason}")))?;
        let both = |what: &str, a: usize, b: usize| match a == b {
            true => Ok(a),
            false => Err(bad(format!(
                "{what} of encoder and decoder are {a} and {b}"
            ))),
        };
        if !(file.share_encoder_decoder_embeddings && file.tie_word_embeddings) {
            return Err(bad(
                "separate tables of embeddings cannot be read".to_string()
            ));
        }
        let config = Self {
            vocabulary: both(
                "vocabularies",
                file.vocab_size,
                file.decoder_vocab_size.unwrap_or(file.vocab_size),
            )?,
            encoder_layers: file.encoder_layers,
            decoder_layers: file.decoder_layers,
            heads: both(
                "heads",
                file.encoder_attention_heads,
                file.decoder_attention_heads,
            )?,
            width: file.d_model,
            hidden: both("inner widths", file.encoder_ffn_dim, file.decoder_ffn_dim)?,
            positions: file.max_position_embeddings,
            norm,
            norm_epsilon: 1e-5,
            activation,
            scaled: file.scale_embedding,
            dropout: file.dropout,
            start: file.decoder_start_token_id,
            end: file.eos_token_id,
        };
        config.validate().map_err(|e| bad(e.to_string()))?;
        Ok(config)
    }

    /// Writes a `config.json` that `transformers` reads.
    pub(super) fn write(&self, path: &Path) -> Result<()> {
        if self.norm_epsilon != 1e-5 {
            let (field, value) = ("EncoderDecoderConfig.norm_epsilon", self.norm_epsilon);
            return Err(Error::config(
                field,
                value,
                "1e-5, to be written for others",
            ));
        }
        let (model_type, architecture) = match self.norm {
            NormPlace::After => ("marian", "MarianMTModel"),
            NormPlace::Before => ("pegasus", "PegasusForConditionalGeneration"),
        };
        let config = json!({
            "activation_dropout": 0.0,
            "activation_function": self.activation.name(),
            "architectures": [architecture],
            "attention_dropout": 0.0,
            "bos_token_id": null,
            "d_model": self.width,
            "decoder_attention_heads": self.heads,
            "decoder_ffn_dim": self.hidden,
            "decoder_layers": self.decoder_layers,
            "decoder_start_token_id": self.start,
            "decoder_vocab_size": self.vocabulary,
            // A sum of decimal digits, as the number was written.
            "dropout": self.dropout.to_string().parse::<f64>().unwrap_or_default(),
            "dtype": "float32",
            "encoder_attention_heads": self.heads,
            "encoder_ffn_dim": self.hidden,
            "encoder_layers": self.encoder_layers,
            "eos_token_id": self.end,
            "forced_eos_token_id": self.end,
            "is_encoder_decoder": true,
            "max_position_embeddings": self.positions,
            "model_type": model_type,
            "pad_token_id": self.start,
            "scale_embedding": self.scaled,
            "share_encoder_decoder_embeddings": true,
            "tie_word_embeddings": true,
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
    decoder_vocab_size: Option<usize>,
    d_model: usize,
    encoder_layers: usize,
    decoder_layers: usize,
    encoder_attention_heads: usize,
    decoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    decoder_ffn_dim: usize,
    max_position_embeddings: usize,
    activation_function: String,
    #[serde(default)]
    dropout: f32,
    #[serde(default)]
    scale_embedding: bool,
    decoder_start_token_id: u32,
    eos_token_id: u32,
    #[serde(default = "yes")]
    share_encoder_decoder_embeddings: bool,
    #[serde(default = "yes")]
    tie_word_embeddings: bool,
}

fn yes() -> bool {
    true
}
