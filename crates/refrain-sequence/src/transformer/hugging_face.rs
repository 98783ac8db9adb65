//! Folders of Hugging Face: `config.json` and safetensors of GPT-2, Llama, Mistral and Qwen2, read and written.
//!
//! GPT-2 keeps matrices `[in, out]` as we do; the others `[out, in]`, with queries, keys and values (and gate
//! and value of SwiGLU) as matrices of their own. Rotary positions pair halves in both. Nothing in a folder is
//! executed.

mod config;

use std::path::Path;

use refrain_core::Device;

use super::layout::{Layout, LinearAt, NormAt};
use super::{Positions, Transformer, TransformerConfig};
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
        let (config, vocabulary) = config::read(&path)?;
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
    /// [`Biases::QueriesKeysValues`](crate::Biases::QueriesKeysValues) as Qwen2.
    pub fn save_hugging_face(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        let config = config::written(&self.config, self.vocabulary.len())?;
        std::fs::create_dir_all(folder).map_err(|e| refrain_core::Error::io(folder, e))?;
        let path = folder.join("config.json");
        refrain_core::replace_file(&path, format!("{config:#}\n").as_bytes())?;
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

#[cfg(test)]
#[path = "hugging_face_tests.rs"]
mod tests;
