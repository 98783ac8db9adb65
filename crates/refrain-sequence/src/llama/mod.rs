//! Models of the Llama family (Llama, Mistral, Qwen2), read from GGUF and kept packed: RMS norm, rotary
//! positions, SwiGLU, and heads that share keys and values (Touvron et al., *LLaMA*, 2023; Ainslie et al., *GQA*, 2023).
//!
//! For generating on a CPU: a token costs one pass over the packed weights. Train and fine-tune with
//! [`Transformer`](crate::Transformer).

mod attention;
mod config;
mod state;
#[cfg(test)]
mod tests;

use std::path::Path;

use rayon::prelude::*;

use crate::gguf::GgufFile;
use crate::kernels::{exp, norm, run};
use crate::quantized::{Activations, multiply_all};
use crate::{LanguageModel, LanguageState, Norm, QuantizedMatrix, Result};
use config::FACTORS;
pub use config::{LlamaConfig, RotaryPairs};
use state::{Cache, LlamaState};

/// Tokens of a prompt that are read at once: enough for the products, few enough for the caches.
const PART: usize = 128;
/// Values of the feed-forward part that one task takes.
const SHARE: usize = 1 << 14;

/// A decoder that was read from a file; a [`LanguageModel`] to generate with.
///
/// ```
/// use refrain_sequence::{Llama, Sampler};
/// # let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/llama.gguf");
/// let model = Llama::open(path)?; // a tiny one with random weights
/// let sampler = Sampler { max_tokens: 5, ..Sampler::default() };
/// assert_eq!(sampler.generate(&model, &[3, 17])?.tokens.len(), 5);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug)]
pub struct Llama {
    config: LlamaConfig,
    embedding: QuantizedMatrix,
    layers: Vec<Layer>,
    norm: Vec<f32>,
    /// The embedding itself, if there is none.
    output: Option<QuantizedMatrix>,
}

#[derive(Debug)]
struct Layer {
    attention_norm: Vec<f32>,
    query: QuantizedMatrix,
    key: QuantizedMatrix,
    value: QuantizedMatrix,
    /// Of the three.
    biases: [Option<Vec<f32>>; 3],
    attended: QuantizedMatrix,
    hidden_norm: Vec<f32>,
    gate: QuantizedMatrix,
    up: QuantizedMatrix,
    down: QuantizedMatrix,
}

impl Llama {
    /// Reads a model from a GGUF file.
    ///
    /// # Errors
    /// As [`from_gguf`](Self::from_gguf), and when the file cannot be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_gguf(&GgufFile::open(path)?)
    }

    /// Takes the weights of a file of architecture `llama` or `qwen2`, packed as they are there.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] for another architecture, metadata or tensors that are missing,
    /// and shapes that do not fit.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let embedding = QuantizedMatrix::from_gguf(file.tensor("token_embd.weight")?)?;
        let config = LlamaConfig::read(file, embedding.rows())?;
        let (width, head_width) = (config.width, config.head_width);
        let matrix = |name: &str, rows: usize, columns: usize| -> Result<QuantizedMatrix> {
            let matrix = QuantizedMatrix::from_gguf(file.tensor(name)?)?;
            match (matrix.rows(), matrix.columns()) == (rows, columns) {
                true => Ok(matrix),
                false => Err(file.bad(format_args!(
                    "{name} is {} × {}, not {rows} × {columns}",
                    matrix.rows(),
                    matrix.columns()
                ))),
            }
        };
        let vector = |name: &str, length: usize| -> Result<Vec<f32>> {
            let values = file.tensor(name)?.to_f32();
            match values.len() == length {
                true => Ok(values),
                false => Err(file.bad(format_args!("{name} has {} values", values.len()))),
            }
        };
        let bias = |name: String, length: usize| match file.names().any(|other| other == name) {
            true => vector(&name, length).map(Some),
            false => Ok(None),
        };
        let (own, shared) = (config.heads * head_width, config.shared_heads * head_width);
        let layer = |i: usize| -> Result<Layer> {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            Ok(Layer {
                attention_norm: vector(&name("attn_norm"), width)?,
                query: matrix(&name("attn_q"), own, width)?,
                key: matrix(&name("attn_k"), shared, width)?,
                value: matrix(&name("attn_v"), shared, width)?,
                biases: [
                    bias(format!("blk.{i}.attn_q.bias"), own)?,
                    bias(format!("blk.{i}.attn_k.bias"), shared)?,
                    bias(format!("blk.{i}.attn_v.bias"), shared)?,
                ],
                attended: matrix(&name("attn_output"), width, own)?,
                hidden_norm: vector(&name("ffn_norm"), width)?,
                gate: matrix(&name("ffn_gate"), config.hidden, width)?,
                up: matrix(&name("ffn_up"), config.hidden, width)?,
                down: matrix(&name("ffn_down"), width, config.hidden)?,
            })
        };
        let output = match file.names().any(|name| name == "output.weight") {
            true => Some(matrix("output.weight", config.vocabulary, width)?),
            false => None,
        };
        if embedding.columns() != width {
            let reason = format_args!("token_embd.weight has rows of {}", embedding.columns());
            return Err(file.bad(reason));
        }
        let layers = config.layers;
        let model = Self {
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            norm: vector("output_norm.weight", width)?,
            output,
            embedding,
            config,
        };
        if let Some(name) = file.names().find(|name| !is_read(name, layers)) {
            return Err(file.bad(format_args!("tensor {name} is not one that this model has")));
        }
        Ok(model)
    }

    /// The sizes.
    pub fn config(&self) -> &LlamaConfig {
        &self.config
    }

    /// Bytes of all matrices in memory.
    pub fn bytes(&self) -> usize {
        let layers = self.layers.iter().map(|layer| {
            let own = [&layer.query, &layer.key, &layer.value, &layer.attended];
            let hidden = [&layer.gate, &layer.up, &layer.down];
            let all = own.into_iter().chain(hidden);
            all.map(QuantizedMatrix::bytes).sum::<usize>()
        });
        let output = self.output.as_ref().map_or(0, QuantizedMatrix::bytes);
        layers.sum::<usize>() + self.embedding.bytes() + output
    }

    /// Reads tokens, of which `cache` has read those before; logits after each, or after the last.
    fn extend(&self, tokens: &[u32], cache: &mut Cache, last_only: bool) -> Vec<f32> {
        let (width, mut logits) = (self.config.width, Vec::new());
        let mut parts = tokens.chunks(PART).peekable();
        while let Some(part) = parts.next() {
            let x = self.layers(part, cache);
            let from = match (last_only, parts.peek()) {
                (false, _) => 0,
                (true, None) => (part.len() - 1) * width,
                (true, Some(_)) => continue,
            };
            let x = x.get(from..).unwrap_or_default();
            let mut normed = vec![0.0; x.len()];
            self.norm(&self.norm, x, &mut normed);
            let output = self.output.as_ref().unwrap_or(&self.embedding);
            let start = logits.len();
            logits.resize(start + x.len() / width * self.config.vocabulary, 0.0);
            let out = logits.get_mut(start..).unwrap_or_default();
            multiply_all(&Activations::new(&normed, width), &mut [(output, out)]);
        }
        logits
    }

    /// The rows after the last layer.
    fn layers(&self, tokens: &[u32], cache: &mut Cache) -> Vec<f32> {
        let config = &self.config;
        let (n, width, start) = (tokens.len(), config.width, cache.tokens);
        let (own, shared) = (
            config.heads * config.head_width,
            config.shared_heads * config.head_width,
        );
        let mut x = vec![0.0; n * width];
        for (row, &token) in x.chunks_exact_mut(width).zip(tokens) {
            self.embedding.row(token as usize, row);
        }
        let mut normed = vec![0.0; n * width];
        let (mut q, mut k) = (vec![0.0; n * own], vec![0.0; n * shared]);
        let (mut v, mut added) = (vec![0.0; n * shared], vec![0.0; n * width]);
        let (mut gate, mut up) = (vec![0.0; n * config.hidden], vec![0.0; n * config.hidden]);
        let mut attended = vec![0.0; n * own];
        let turns: Vec<Vec<(f32, f32)>> = (start..start + n).map(|at| config.turns(at)).collect();
        cache
            .layers
            .resize_with(self.layers.len(), Default::default);
        for (layer, (keys, values)) in self.layers.iter().zip(&mut cache.layers) {
            self.norm(&layer.attention_norm, &x, &mut normed);
            multiply_all(
                &Activations::new(&normed, width),
                &mut [
                    (&layer.query, &mut q),
                    (&layer.key, &mut k),
                    (&layer.value, &mut v),
                ],
            );
            for (bias, rows) in layer.biases.iter().zip([&mut q, &mut k, &mut v]) {
                if let Some(bias) = bias {
                    norm::add_bias(rows, bias);
                }
            }
            config.rotate(&mut q, own, &turns);
            config.rotate(&mut k, shared, &turns);
            keys.extend_from_slice(&k);
            values.extend_from_slice(&v);
            config.attend(&q, keys, values, &mut attended);
            multiply_all(
                &Activations::new(&attended, own),
                &mut [(&layer.attended, &mut added)],
            );
            norm::add(&mut x, &added);
            self.norm(&layer.hidden_norm, &x, &mut normed);
            multiply_all(
                &Activations::new(&normed, width),
                &mut [(&layer.gate, &mut gate), (&layer.up, &mut up)],
            );
            gate.par_chunks_mut(SHARE)
                .zip(up.par_chunks(SHARE))
                .for_each(|(gate, up)| run(swiglu, (gate, up)));
            multiply_all(
                &Activations::new(&gate, config.hidden),
                &mut [(&layer.down, &mut added)],
            );
            norm::add(&mut x, &added);
        }
        cache.tokens += n;
        x
    }

    /// `x / √(mean(x²) + ε) · g`, row by row.
    fn norm(&self, gains: &[f32], x: &[f32], out: &mut [f32]) {
        let (width, epsilon) = (gains.len(), self.config.norm_epsilon);
        let mut stats = [[0.0; 2]; 1];
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            norm::forward(Norm::Rms, epsilon, x, (gains, None), out, &mut stats);
        }
    }
}

/// `gate ← silu(gate) · up`.
#[inline(always)]
fn swiglu((gate, up): (&mut [f32], &[f32])) {
    for (gate, &up) in gate.iter_mut().zip(up) {
        *gate = *gate / (1.0 + exp(-*gate)) * up;
    }
}

impl LanguageModel for Llama {
    fn vocabulary_size(&self) -> usize {
        self.config.vocabulary
    }

    fn context(&self) -> Option<usize> {
        Some(self.config.context)
    }

    fn start(&self) -> Result<Box<dyn LanguageState + '_>> {
        Ok(Box::new(LlamaState::new(self)))
    }
}

/// Whether a tensor of a file is one of the model's: other biases would give other numbers.
fn is_read(name: &str, layers: usize) -> bool {
    let parts = [
        "attn_norm",
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_norm",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    match name.split('.').collect::<Vec<_>>()[..] {
        ["blk", layer, part, "weight"] => {
            layer.parse().is_ok_and(|layer: usize| layer < layers) && parts.contains(&part)
        }
        ["blk", layer, "attn_q" | "attn_k" | "attn_v", "bias"] => {
            layer.parse().is_ok_and(|layer: usize| layer < layers)
        }
        ["token_embd" | "output_norm" | "output", "weight"] => true,
        _ if name == FACTORS => true,
        _ => false,
    }
}
