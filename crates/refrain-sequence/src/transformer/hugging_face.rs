//! Folders of Hugging Face: `config.json` and safetensors of GPT-2, Llama, Mistral and Qwen2, read and written.
//!
//! GPT-2 keeps matrices `[in, out]` as we do; the others `[out, in]`, with queries, keys and values (and gate
//! and value of SwiGLU) as matrices of their own. Rotary positions pair halves in both. Nothing in a folder is
//! executed.

use std::path::Path;

use refrain_core::Device;
use serde::Deserialize;
use serde_json::{Value, json};

use super::layout::{Layout, LinearAt, NormAt};
use super::{Biases, Positions, RotaryScaling, Transformer, TransformerConfig};
use crate::hugging_face::{self, Weights};
use crate::{Error, Result, Vocabulary};

/// A tensor of the files, and where its values stand in the flat weights.
struct Part {
    name: String,
    shape: Vec<usize>,
    /// The first value.
    at: usize,
    /// From one row to the next, and from one column to the next.
    steps: (usize, usize),
}

impl Part {
    /// Pairs of places: in the file's tensor, and in the flat weights.
    fn places(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let columns = self.shape.last().copied().unwrap_or(1);
        let values: usize = self.shape.iter().product();
        (0..values).map(move |i| {
            let (row, column) = (i / columns, i % columns);
            (i, self.at + row * self.steps.0 + column * self.steps.1)
        })
    }
}

/// What the files of a model have.
struct Names {
    parts: Vec<Part>,
    /// `[out, in]`.
    transposed: bool,
}

impl Names {
    fn new(config: &TransformerConfig, layout: &Layout) -> Self {
        let mut names = Self {
            parts: Vec::new(),
            transposed: config.positions != Positions::Learned,
        };
        match names.transposed {
            false => names.gpt2(config, layout),
            true => names.llama(config, layout),
        }
        if !config.tied {
            names.table(
                "lm_head",
                layout.vocabulary,
                config.width,
                layout.head.start,
            );
        }
        names
    }

    fn gpt2(&mut self, config: &TransformerConfig, layout: &Layout) {
        let width = config.width;
        self.table(
            "transformer.wte",
            layout.vocabulary,
            width,
            layout.embedding.start,
        );
        if let Some(positions) = &layout.positions {
            self.table("transformer.wpe", config.context, width, positions.start);
        }
        for (i, layer) in layout.layers.iter().enumerate() {
            let name = |part: &str| format!("transformer.h.{i}.{part}");
            self.norm(&name("ln_1"), &layer.norm1);
            self.linear(&[&name("attn.c_attn")], &layer.qkv, &[layer.qkv.output]);
            self.linear(&[&name("attn.c_proj")], &layer.output, &[width]);
            self.norm(&name("ln_2"), &layer.norm2);
            self.linear(&[&name("mlp.c_fc")], &layer.up, &[layer.up.output]);
            self.linear(&[&name("mlp.c_proj")], &layer.down, &[width]);
        }
        self.norm("transformer.ln_f", &layout.norm);
    }

    fn llama(&mut self, config: &TransformerConfig, layout: &Layout) {
        let (width, hidden) = (config.width, config.inner());
        let (own, shared) = (
            config.attended(),
            config.shared_heads() * config.head_width(),
        );
        self.table(
            "model.embed_tokens",
            layout.vocabulary,
            width,
            layout.embedding.start,
        );
        for (i, layer) in layout.layers.iter().enumerate() {
            let name = |part: &str| format!("model.layers.{i}.{part}");
            self.norm(&name("input_layernorm"), &layer.norm1);
            let qkv = ["q_proj", "k_proj", "v_proj"].map(|part| name(&format!("self_attn.{part}")));
            let [q, k, v] = &qkv;
            self.linear(&[q, k, v], &layer.qkv, &[own, shared, shared]);
            self.linear(&[&name("self_attn.o_proj")], &layer.output, &[width]);
            self.norm(&name("post_attention_layernorm"), &layer.norm2);
            let (gate, up) = (name("mlp.gate_proj"), name("mlp.up_proj"));
            self.linear(&[&gate, &up], &layer.up, &[hidden, hidden]);
            self.linear(&[&name("mlp.down_proj")], &layer.down, &[width]);
        }
        self.norm("model.norm", &layout.norm);
    }

    fn push(&mut self, name: String, shape: Vec<usize>, at: usize, steps: (usize, usize)) {
        self.parts.push(Part {
            name,
            shape,
            at,
            steps,
        });
    }

    fn table(&mut self, name: &str, rows: usize, width: usize, at: usize) {
        self.push(format!("{name}.weight"), vec![rows, width], at, (width, 1));
    }

    fn norm(&mut self, name: &str, at: &NormAt) {
        let vectors = [("weight", Some(&at.weight)), ("bias", at.bias.as_ref())];
        for (kind, range) in vectors {
            if let Some(range) = range {
                self.push(
                    format!("{name}.{kind}"),
                    vec![range.len()],
                    range.start,
                    (0, 1),
                );
            }
        }
    }

    /// Matrices whose outputs stand side by side in one of ours.
    fn linear(&mut self, names: &[&str], at: &LinearAt, outputs: &[usize]) {
        let mut column = 0;
        for (name, &output) in names.iter().zip(outputs) {
            let (shape, steps) = match self.transposed {
                true => (vec![output, at.input], (1, at.output)),
                false => (vec![at.input, output], (at.output, 1)),
            };
            self.push(
                format!("{name}.weight"),
                shape,
                at.weight.start + column,
                steps,
            );
            if let Some(bias) = &at.bias {
                self.push(
                    format!("{name}.bias"),
                    vec![output],
                    bias.start + column,
                    (0, 1),
                );
            }
            column += output;
        }
    }
}

impl Transformer {
    /// Reads a Hugging Face folder: `config.json` with `model.safetensors`, or with the files that
    /// `model.safetensors.index.json` lists, of 32-bit, 16-bit or brain floats.
    ///
    /// Models of type `gpt2`, `llama`, `mistral` and `qwen2` are known, with heads of any width and biases
    /// where their config has them; a variant that we do not compute (other activations, other scalings of
    /// rotary positions, a window on some layers alone) is an error that names it.
    /// Tokens are numbered; [`with_vocabulary`](Self::with_vocabulary) names them. Nothing in the folder is
    /// executed.
    ///
    /// ```
    /// use refrain_sequence::Transformer;
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gpt2");
    /// let model = Transformer::from_hugging_face(folder, &refrain_core::device("cpu")?)?;
    /// assert_eq!(model.logits(&[3, 17])?.len(), 2 * model.vocabulary().len());
    /// # Ok::<(), refrain_sequence::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a file cannot be read or says what no model can have; [`Error::FileTensor`] naming file and tensor
    /// where one is missing, or of another type or shape than the config asks for.
    pub fn from_hugging_face(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join("config.json");
        let bad = |reason: String| Error::file(&path.display().to_string(), reason);
        let (config, vocabulary) = read_config(&path)?;
        let anchor = match config.positions {
            Positions::Learned => "wte.weight",
            Positions::Rotary { .. } => "embed_tokens.weight",
        };
        let weights = Weights::open(folder, anchor)?;
        // A claimed size is only believed where the file holds the values: no layer is laid out
        // that has no tensor, and no room is made before all shapes are seen.
        if config.layers > weights.len() {
            return Err(bad(format!("claims {} layers", config.layers)));
        }
        let layout = Layout::new(&config, vocabulary).map_err(|e| bad(e.to_string()))?;
        let names = Names::new(&config, &layout);
        // Bare decoders (`GPT2Model`) have names without the first word.
        let stored = |part: &Part| match part.name.split_once('.') {
            Some(("transformer" | "model", rest)) => rest.to_string(),
            _ => part.name.clone(),
        };
        for part in &names.parts {
            weights.check(&stored(part), &part.shape)?;
        }
        let mut flat = vec![0.0; layout.total];
        let mut values = Vec::new();
        for part in &names.parts {
            values.clear();
            weights.read(&stored(part), &part.shape, &mut values)?;
            for (from, to) in part.places() {
                flat[to] = values[from];
            }
        }
        Self::from_weights(&config, Vocabulary::numbered(vocabulary)?, flat, device)
    }

    /// Writes `config.json` and `model.safetensors` into a folder, which is made if need be; `transformers`
    /// reads it by `AutoModelForCausalLM.from_pretrained(folder)`. Other files there (a tokenizer) stay.
    ///
    /// # Errors
    /// When a file cannot be written; [`Error::Config`] for a variant that has no name there: it is GPT-2
    /// ([`TransformerConfig::gpt2`]) or Llama ([`TransformerConfig::llama`]) that can be written; the latter
    /// with a [`window`](TransformerConfig::window) as Mistral, which has no biases, and with
    /// [`Biases::QueriesKeysValues`] as Qwen2.
    pub fn save_hugging_face(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let config = written_config(&self.config, self.vocabulary.len())?;
        std::fs::create_dir_all(folder).map_err(|e| refrain_core::Error::io(folder, e))?;
        let path = folder.join("config.json");
        hugging_face::replace(&path, format!("{config:#}\n").as_bytes())?;
        let names = Names::new(&self.config, &self.layout);
        let tensors: Vec<(&Part, Vec<f32>)> = names
            .parts
            .iter()
            .map(|part| {
                let values = part.places().map(|(_, from)| self.weights[from]);
                (part, values.collect())
            })
            .collect();
        let tensors = tensors
            .iter()
            .map(|(part, values)| (part.name.as_str(), &part.shape[..], &values[..]));
        hugging_face::write(folder, tensors)
    }

    /// The same model with other names for its tokens.
    ///
    /// # Errors
    /// [`Error::Config`] for another number of them.
    pub fn with_vocabulary(&self, vocabulary: Vocabulary) -> Result<Self> {
        match vocabulary.len() == self.vocabulary.len() {
            true => Ok(Self {
                vocabulary,
                ..self.clone()
            }),
            false => Err(Error::config(
                "the vocabulary's size",
                vocabulary.len(),
                "the model's",
            )),
        }
    }
}

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
fn read_config(path: &Path) -> Result<(TransformerConfig, usize)> {
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
fn written_config(config: &TransformerConfig, vocabulary: usize) -> Result<Value> {
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

#[cfg(test)]
#[path = "hugging_face_tests.rs"]
mod tests;
