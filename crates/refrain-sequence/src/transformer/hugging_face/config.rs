//! The `config.json` of a decoder.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::hugging_face;
use crate::transformer::{Biases, Positions, RotaryScaling, TransformerConfig};
use crate::{Error, Result};

/// What a `config.json` says; fields that are often left out have the values they then stand for.
#[derive(Deserialize)]
struct File {
    model_type: String,
    vocab_size: usize,
    // GPT-2's names.
    #[serde(alias = "n_embd")]
    hidden_size: usize,
    #[serde(alias = "n_layer")]
    num_hidden_layers: usize,
    #[serde(alias = "n_head")]
    num_attention_heads: usize,
    #[serde(alias = "n_positions")]
    max_position_embeddings: usize,
    #[serde(alias = "n_inner")]
    intermediate_size: Option<usize>,
    #[serde(alias = "activation_function")]
    hidden_act: Option<String>,
    #[serde(alias = "layer_norm_epsilon")]
    rms_norm_eps: Option<f32>,
    tie_word_embeddings: Option<bool>,
    #[serde(default = "yes")]
    scale_attn_weights: bool,
    #[serde(default)]
    scale_attn_by_inverse_layer_idx: bool,
    #[serde(default)]
    add_cross_attention: bool,
    // Llama's.
    num_key_value_heads: Option<usize>,
    head_dim: Option<usize>,
    #[serde(default)]
    attention_bias: bool,
    #[serde(default)]
    mlp_bias: bool,
    sliding_window: Option<usize>,
    // Qwen2's.
    #[serde(default)]
    use_sliding_window: bool,
    rope_theta: Option<f32>,
    rope_scaling: Option<Rope>,
    /// Both of the last, since transformers 5.
    rope_parameters: Option<Rope>,
}

impl File {
    /// Mistral has none, and Qwen2 no choice.
    fn biases(&self, default: Biases) -> Biases {
        match (self.model_type.as_str(), self.attention_bias, self.mlp_bias) {
            ("qwen2", ..) => Biases::QueriesKeysValues,
            ("llama", true, true) => Biases::All,
            ("llama", true, false) => Biases::Attention,
            ("llama", false, true) => Biases::FeedForward,
            _ => default,
        }
    }
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Rope {
    rope_theta: Option<f32>,
    #[serde(alias = "type")]
    rope_type: Option<String>,
    factor: Option<f32>,
    low_freq_factor: Option<f32>,
    high_freq_factor: Option<f32>,
    original_max_position_embeddings: Option<usize>,
}

impl Rope {
    fn scaling(&self) -> Result<Option<RotaryScaling>, String> {
        let missing = || "scaled rotary positions without all their numbers".to_string();
        let factor = self.factor.ok_or_else(missing);
        Ok(match self.rope_type.as_deref() {
            None | Some("default") => None,
            Some("linear") => Some(RotaryScaling::Linear { factor: factor? }),
            Some("llama3") => Some(RotaryScaling::Llama3 {
                factor: factor?,
                low: self.low_freq_factor.ok_or_else(missing)?,
                high: self.high_freq_factor.ok_or_else(missing)?,
                original: self.original_max_position_embeddings.ok_or_else(missing)?,
            }),
            Some(other) => {
                return Err(format!(
                    "rope_type is {other:?}; known: default, linear, llama3"
                ));
            }
        })
    }
}

/// The config and the size of the vocabulary.
pub(super) fn read(path: &Path) -> Result<(TransformerConfig, usize)> {
    let file: File = hugging_face::json(path)?;
    let bad = |reason: String| Error::file(&path.display().to_string(), reason);
    let (known, default): (&[&str], _) = match file.model_type.as_str() {
        "gpt2" => (
            &["gelu_new", "gelu_pytorch_tanh"],
            TransformerConfig::gpt2(),
        ),
        "llama" | "mistral" | "qwen2" => (&["silu", "swish"], TransformerConfig::llama()),
        other => {
            let known = "known: gpt2, llama, mistral, qwen2";
            return Err(bad(format!("model_type is {other:?}; {known}")));
        }
    };
    if let Some(other) = file
        .hidden_act
        .as_deref()
        .filter(|act| !known.contains(act))
    {
        let reason = format!("the activation is {other:?}; known for this type: {known:?}");
        return Err(bad(reason));
    }
    let refused = [
        (
            "scale_attn_by_inverse_layer_idx",
            file.scale_attn_by_inverse_layer_idx,
        ),
        ("add_cross_attention", file.add_cross_attention),
        ("use_sliding_window", file.use_sliding_window),
    ];
    if let Some((field, _)) = refused.iter().find(|(_, set)| *set) {
        return Err(bad(format!("{field} is true, which is not computed here")));
    }
    if !file.scale_attn_weights {
        return Err(bad(
            "scale_attn_weights is false, which is not computed here".to_string(),
        ));
    }
    let (width, heads) = (file.hidden_size, file.num_attention_heads);
    let llama = default.positions != Positions::Learned;
    let rope = file.rope_parameters.as_ref().or(file.rope_scaling.as_ref());
    let scaling = rope.filter(|_| llama).map(Rope::scaling).transpose();
    let scaling = scaling.map_err(bad)?.flatten();
    let base = rope.and_then(|rope| rope.rope_theta).or(file.rope_theta);
    let config = TransformerConfig {
        layers: file.num_hidden_layers,
        heads,
        head_width: file
            .head_dim
            .filter(|&d| llama && d.checked_mul(heads) != Some(width)),
        width,
        context: file.max_position_embeddings,
        hidden: file.intermediate_size.or(width.checked_mul(4)),
        key_value_heads: file.num_key_value_heads.filter(|&n| llama && n != heads),
        window: file.sliding_window.filter(|_| file.model_type == "mistral"),
        positions: match llama {
            true => Positions::Rotary {
                base: base.unwrap_or(10_000.0),
            },
            false => Positions::Learned,
        },
        rotary_scaling: scaling,
        norm_epsilon: file.rms_norm_eps.unwrap_or(if llama { 1e-6 } else { 1e-5 }),
        bias: file.biases(default.bias),
        tied: file.tie_word_embeddings.unwrap_or(!llama),
        ..default
    };
    // Sizes are checked here, before any of them is believed.
    config
        .parameters(file.vocab_size)
        .map_err(|e| Error::file(&path.display().to_string(), e))?;
    Ok((config, file.vocab_size))
}

/// A `config.json` that `transformers` reads.
pub(super) fn written(config: &TransformerConfig, vocabulary: usize) -> Result<Value> {
    let (gpt2, llama) = (TransformerConfig::gpt2(), TransformerConfig::llama());
    let like = |other: &TransformerConfig| {
        (config.norm, config.feed_forward) == (other.norm, other.feed_forward)
    };
    let common = json!({
        "dtype": "float32",
        "vocab_size": vocabulary,
        "tie_word_embeddings": config.tied,
        "bos_token_id": null,
        "eos_token_id": null,
    });
    let own = match config.positions {
        Positions::Learned
            if like(&gpt2)
                && config.bias == gpt2.bias
                && config.key_value_heads.is_none()
                && config.window.is_none()
                && config.attended() == config.width =>
        {
            json!({
                "architectures": ["GPT2LMHeadModel"],
                "model_type": "gpt2",
                "activation_function": "gelu_new",
                "n_embd": config.width,
                "n_head": config.heads,
                "n_inner": config.inner(),
                "n_layer": config.layers,
                "n_positions": config.context,
                "layer_norm_epsilon": config.norm_epsilon,
                "attn_pdrop": 0.0,
                "embd_pdrop": config.dropout,
                "resid_pdrop": config.dropout,
            })
        }
        Positions::Rotary { base }
            if like(&llama) && (config.window.is_none() || config.bias == Biases::None) =>
        {
            let (class, name) = match (config.bias, config.window) {
                (Biases::QueriesKeysValues, _) => ("Qwen2ForCausalLM", "qwen2"),
                (_, Some(_)) => ("MistralForCausalLM", "mistral"),
                (_, None) => ("LlamaForCausalLM", "llama"),
            };
            json!({
                "architectures": [class],
                "model_type": name,
                "attention_bias": config.bias.of_output(),
                "mlp_bias": config.bias.of_feed_forward(),
                "head_dim": config.head_width(),
                "hidden_act": "silu",
                "hidden_size": config.width,
                "intermediate_size": config.inner(),
                "max_position_embeddings": config.context,
                "num_attention_heads": config.heads,
                "num_hidden_layers": config.layers,
                "num_key_value_heads": config.shared_heads(),
                "rms_norm_eps": config.norm_epsilon,
                "sliding_window": config.window,
                // Before and since transformers 5.
                "rope_theta": base,
                "rope_scaling": written_scaling(config, None),
                "rope_parameters": written_scaling(config, Some(base)),
            })
        }
        _ => {
            return Err(Error::config(
                "the transformer",
                format_args!(
                    "{:?}, {:?}, {:?}, bias {:?}, window {:?}",
                    config.positions, config.norm, config.feed_forward, config.bias, config.window
                ),
                "as TransformerConfig::gpt2 or TransformerConfig::llama, to be written for others",
            ));
        }
    };
    let mut all = common;
    if let (Value::Object(all), Value::Object(own)) = (&mut all, own) {
        all.extend(own);
    }
    Ok(all)
}

/// The scaling of rotary positions, with their base or (older) without.
fn written_scaling(config: &TransformerConfig, base: Option<f32>) -> Value {
    let mut value = match (config.rotary_scaling, base) {
        (None, None) => return Value::Null,
        (None, Some(_)) => json!({ "rope_type": "default" }),
        (Some(RotaryScaling::Linear { factor }), _) => {
            json!({ "rope_type": "linear", "factor": factor })
        }
        (
            Some(RotaryScaling::Llama3 {
                factor,
                low,
                high,
                original,
            }),
            _,
        ) => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low,
            "high_freq_factor": high,
            "original_max_position_embeddings": original,
        }),
    };
    if let (Some(base), Value::Object(value)) = (base, &mut value) {
        value.insert("rope_theta".to_string(), base.into());
    }
    value
}
