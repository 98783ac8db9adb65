//! Models of the Llama family, read from GGUF and kept packed: RMS norm, rotary positions, SwiGLU, and
//! heads that share keys and values (Touvron et al., *LLaMA*, 2023; Ainslie et al., *GQA*, 2023).
//!
//! For generating on a CPU: a token costs one pass over the packed weights. Train and fine-tune with
//! [`Transformer`](crate::Transformer).

use std::path::Path;

use rayon::prelude::*;
use refrain_core::kernels;

use crate::gguf::GgufFile;
use crate::{Error, LanguageModel, LanguageState, QuantizedMatrix, Result};

/// The sizes of a model.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LlamaConfig {
    /// Layers, each attention and feed-forward.
    pub layers: usize,
    /// Attention heads of the queries.
    pub heads: usize,
    /// Heads of keys and values, which divide those of the queries evenly.
    pub shared_heads: usize,
    /// The length of a token's vector.
    pub width: usize,
    /// The length of a head's vectors.
    pub head_width: usize,
    /// The inner width of the feed-forward part.
    pub hidden: usize,
    /// The most tokens the model looks at.
    pub context: usize,
    /// Added to the mean square inside the norm.
    pub norm_epsilon: f32,
    /// The base of the rotary angles.
    pub rotary_base: f64,
    /// How many of a head's values are rotated.
    pub rotated: usize,
    /// How many tokens the model knows.
    pub vocabulary: usize,
}

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

    /// Takes the weights of a file, packed as they are there.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] for another architecture, metadata or tensors that are missing,
    /// and shapes that do not fit.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let architecture = file.text("general.architecture")?;
        if architecture != "llama" {
            let reason = format_args!("architecture {architecture:?}; llama can be read");
            return Err(file.bad(reason));
        }
        let number = |key: &str| file.number(&format!("llama.{key}"));
        let or = |key: &str, otherwise: usize| match file.metadata().contains_key(key) {
            true => file.number(key),
            false => Ok(otherwise),
        };
        let (heads, width) = (number("attention.head_count")?, number("embedding_length")?);
        let head_width = or("llama.attention.key_length", width / heads.max(1))?;
        let embedding = QuantizedMatrix::from_gguf(file.tensor("token_embd.weight")?)?;
        let base = "llama.rope.freq_base";
        let config = LlamaConfig {
            layers: number("block_count")?,
            heads,
            shared_heads: or("llama.attention.head_count_kv", heads)?,
            width,
            head_width,
            hidden: number("feed_forward_length")?,
            context: number("context_length")?,
            norm_epsilon: file.float("llama.attention.layer_norm_rms_epsilon")? as f32,
            rotary_base: match file.metadata().contains_key(base) {
                true => file.float(base)?,
                false => 10_000.0,
            },
            rotated: or("llama.rope.dimension_count", head_width)?,
            vocabulary: embedding.rows(),
        };
        config.check().map_err(|reason| file.bad(reason))?;
        if file
            .metadata()
            .keys()
            .any(|key| key.starts_with("llama.rope.scaling."))
        {
            return Err(file.bad("scaled rotary positions cannot be read"));
        }
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
        let vector = |name: &str| -> Result<Vec<f32>> {
            let values = file.tensor(name)?.to_f32();
            match values.len() == width {
                true => Ok(values),
                false => Err(file.bad(format_args!("{name} has {} values", values.len()))),
            }
        };
        let (own, shared) = (heads * head_width, config.shared_heads * head_width);
        let layer = |i: usize| -> Result<Layer> {
            let name = |part: &str| format!("blk.{i}.{part}.weight");
            Ok(Layer {
                attention_norm: vector(&name("attn_norm"))?,
                query: matrix(&name("attn_q"), own, width)?,
                key: matrix(&name("attn_k"), shared, width)?,
                value: matrix(&name("attn_v"), shared, width)?,
                attended: matrix(&name("attn_output"), width, own)?,
                hidden_norm: vector(&name("ffn_norm"))?,
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
        Ok(Self {
            layers: (0..config.layers).map(layer).collect::<Result<_>>()?,
            norm: vector("output_norm.weight")?,
            output,
            embedding,
            config,
        })
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
    fn extend(&self, tokens: &[u32], cache: &mut Cache, last_only: bool) -> Result<Vec<f32>> {
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
        let turns: Vec<Vec<(f32, f32)>> = (start..start + n).map(|at| config.turns(at)).collect();
        cache
            .layers
            .resize_with(self.layers.len(), Default::default);
        for (layer, (keys, values)) in self.layers.iter().zip(&mut cache.layers) {
            self.norm(&layer.attention_norm, &x, &mut normed);
            layer.query.multiply(&normed, &mut q)?;
            layer.key.multiply(&normed, &mut k)?;
            layer.value.multiply(&normed, &mut v)?;
            config.rotate(&mut q, own, &turns);
            config.rotate(&mut k, shared, &turns);
            keys.extend_from_slice(&k);
            values.extend_from_slice(&v);
            let attended = config.attend(&q, keys, values, start);
            layer.attended.multiply(&attended, &mut added)?;
            x.iter_mut().zip(&added).for_each(|(x, a)| *x += a);
            self.norm(&layer.hidden_norm, &x, &mut normed);
            layer.gate.multiply(&normed, &mut gate)?;
            layer.up.multiply(&normed, &mut up)?;
            for (gate, up) in gate.iter_mut().zip(&up) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
            layer.down.multiply(&gate, &mut added)?;
            x.iter_mut().zip(&added).for_each(|(x, a)| *x += a);
        }
        cache.tokens += n;
        let from = if last_only { (n - 1) * width } else { 0 };
        let x = &x[from..];
        let mut normed = vec![0.0; x.len()];
        self.norm(&self.norm, x, &mut normed);
        let output = self.output.as_ref().unwrap_or(&self.embedding);
        let mut logits = vec![0.0; x.len() / width * config.vocabulary];
        output.multiply(&normed, &mut logits)?;
        Ok(logits)
    }

    /// `x / √(mean(x²) + ε) · g`, row by row.
    fn norm(&self, gains: &[f32], x: &[f32], out: &mut [f32]) {
        let width = gains.len();
        for (x, out) in x.chunks_exact(width).zip(out.chunks_exact_mut(width)) {
            let mean = kernels::dot(x, x) / width as f32;
            let scale = 1.0 / (mean + self.config.norm_epsilon).sqrt();
            for ((out, &x), &gain) in out.iter_mut().zip(x).zip(gains) {
                *out = x * scale * gain;
            }
        }
    }
}

impl LlamaConfig {
    /// Refuses sizes that no model has, before anything is multiplied.
    fn check(&self) -> Result<(), String> {
        const MOST: usize = 1 << 24;
        for (what, size) in [
            ("layers", self.layers),
            ("heads", self.heads),
            ("heads of keys and values", self.shared_heads),
            ("values in a vector", self.width),
            ("values in a head", self.head_width),
            ("inner values", self.hidden),
            ("tokens of context", self.context),
            ("tokens", self.vocabulary),
        ] {
            if !(1..=MOST).contains(&size) {
                return Err(format!("{size} {what}"));
            }
        }
        if !self.heads.is_multiple_of(self.shared_heads) {
            let (heads, shared) = (self.heads, self.shared_heads);
            return Err(format!("{heads} heads share {shared} unevenly"));
        }
        if !self.rotated.is_multiple_of(2) || self.rotated > self.head_width {
            return Err(format!(
                "{} rotated values of {}",
                self.rotated, self.head_width
            ));
        }
        if !(self.rotary_base > 1.0 && self.rotary_base.is_finite() && self.norm_epsilon >= 0.0) {
            let (base, epsilon) = (self.rotary_base, self.norm_epsilon);
            return Err(format!(
                "a rotary base of {base} and an epsilon of {epsilon}"
            ));
        }
        Ok(())
    }

    /// Cosine and sine of each pair's angle at a position.
    fn turns(&self, position: usize) -> Vec<(f32, f32)> {
        let turn = |pair: usize| {
            let power = -2.0 * pair as f64 / self.rotated as f64;
            let angle = position as f64 * self.rotary_base.powf(power);
            (angle.cos() as f32, angle.sin() as f32)
        };
        (0..self.rotated / 2).map(turn).collect()
    }

    /// Turns neighbouring values of each head.
    fn rotate(&self, rows: &mut [f32], width: usize, turns: &[Vec<(f32, f32)>]) {
        for (row, turns) in rows.chunks_exact_mut(width).zip(turns) {
            for head in row.chunks_exact_mut(self.head_width) {
                let (pairs, _) = head.as_chunks_mut::<2>();
                for ([a, b], &(cos, sin)) in pairs.iter_mut().zip(turns) {
                    (*a, *b) = (*a * cos - *b * sin, *a * sin + *b * cos);
                }
            }
        }
    }

    /// What each query sees of the keys and values up to its own position, `[queries, heads · head]`.
    fn attend(&self, q: &[f32], keys: &[f32], values: &[f32], start: usize) -> Vec<f32> {
        let (head, own) = (self.head_width, self.heads * self.head_width);
        let (shared, group) = (self.shared_heads * head, self.heads / self.shared_heads);
        let scale = 1.0 / (head as f32).sqrt();
        let mut out = vec![0.0; q.len()];
        out.par_chunks_exact_mut(head)
            .enumerate()
            .for_each(|(at, out)| {
                let (row, number) = (at / self.heads, at % self.heads);
                let query = &q[row * own + number * head..][..head];
                let from = number / group * head;
                let seen = start + row + 1;
                let mut scores: Vec<f32> = keys
                    .chunks_exact(shared)
                    .take(seen)
                    .map(|key| kernels::dot(query, &key[from..from + head]) * scale)
                    .collect();
                let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                scores
                    .iter_mut()
                    .for_each(|score| *score = (*score - most).exp());
                let sum: f32 = scores.iter().sum();
                for (score, value) in scores.iter().zip(values.chunks_exact(shared)) {
                    kernels::axpy(score / sum, &value[from..from + head], out);
                }
            });
        out
    }
}

/// Keys and values of the tokens read so far, `[tokens, shared heads · head]` of each layer.
#[derive(Debug, Clone, Default)]
struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    tokens: usize,
}

/// A text being read. When the context is full, the newest half is read again from position 0.
#[derive(Clone)]
struct LlamaState<'a> {
    model: &'a Llama,
    /// All tokens read.
    tokens: Vec<u32>,
    cache: Cache,
    /// How many were read when the cache was last filled anew.
    renewed: usize,
}

impl LlamaState<'_> {
    fn read(&mut self, tokens: &[u32], last_only: bool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::TooShort {
                what: "tokens to read".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let config = &self.model.config;
        crate::tokenizer::check_tokens("tokens", tokens, config.vocabulary)?;
        self.tokens.extend_from_slice(tokens);
        let mut new = tokens.len();
        if self.cache.tokens + new > config.context {
            new = match self.cache.tokens {
                0 => config.context,
                _ => config.context.div_ceil(2),
            };
            new = new.min(self.tokens.len());
            self.cache = Cache::default();
            self.renewed = self.tokens.len();
        }
        let window = &self.tokens[self.tokens.len() - new..];
        self.model.extend(window, &mut self.cache, last_only)
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
        Ok(Box::new(LlamaState {
            model: self,
            tokens: Vec::new(),
            cache: Cache::default(),
            renewed: 0,
        }))
    }
}

impl LanguageState for LlamaState<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, true)
    }

    fn feed_each(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        let config = &self.model.config;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        if self.cache.tokens + tokens.len() > config.context {
            return tokens.iter().map(|&token| self.feed(&[token])).collect();
        }
        let logits = self.read(tokens, false)?;
        let rows = logits.chunks_exact(self.model.config.vocabulary);
        Ok(rows.map(<[f32]>::to_vec).collect())
    }

    fn rewind(&mut self, position: usize) -> bool {
        let forgotten = self.tokens.len().checked_sub(position);
        let kept = forgotten.and_then(|n| self.cache.tokens.checked_sub(n));
        let Some(kept) = kept.filter(|_| position >= self.renewed) else {
            return false;
        };
        let shared = self.model.config.shared_heads * self.model.config.head_width;
        for (keys, values) in &mut self.cache.layers {
            keys.truncate(kept * shared);
            values.truncate(kept * shared);
        }
        self.cache.tokens = kept;
        self.tokens.truncate(position);
        true
    }

    fn position(&self) -> usize {
        self.tokens.len()
    }

    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's,
    {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Sampler;

    /// Made by `tests/golden/make_llama.py` with PyPI transformers, as are the logits.
    const FILE: &[u8] = include_bytes!("../tests/golden/llama.gguf");
    const EXPECTED: &str = include_str!("../tests/golden/llama.json");

    fn model() -> Llama {
        let file = GgufFile::from_bytes(FILE.to_vec(), "llama.gguf").unwrap();
        Llama::from_gguf(&file).unwrap()
    }

    fn expected() -> (Vec<u32>, Vec<Vec<f32>>) {
        let golden: serde_json::Value = serde_json::from_str(EXPECTED).unwrap();
        let tokens = serde_json::from_value(golden["tokens"].clone()).unwrap();
        (
            tokens,
            serde_json::from_value(golden["logits"].clone()).unwrap(),
        )
    }

    fn near(found: &[f32], expected: &[f32], tolerance: f32) {
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() <= tolerance, "{found} {expected}");
        }
    }

    #[test]
    fn logits_are_those_of_transformers_however_the_text_is_fed() {
        let (model, (tokens, logits)) = (model(), expected());
        assert_eq!(
            (model.config().shared_heads, model.config().rotary_base),
            (2, 1000.0)
        );
        for split in 0..tokens.len() {
            let mut state = model.start().unwrap();
            let (first, rest) = tokens.split_at(split);
            let mut found = state.feed_each(first).unwrap();
            found.extend(state.feed_each(rest).unwrap());
            for (found, expected) in found.iter().zip(&logits) {
                near(found, expected, 1e-4);
            }
        }
        let mut state = model.start().unwrap();
        near(&state.feed(&tokens).unwrap(), logits.last().unwrap(), 1e-4);
        assert!(state.rewind(5) && state.position() == 5);
        near(&state.feed(&tokens[5..7]).unwrap(), &logits[6], 1e-4);
        assert!(!state.rewind(20) && state.feed(&[40]).is_err() && state.feed(&[]).is_err());
    }

    #[test]
    fn drafts_and_long_texts() {
        let model = model();
        let sampler = Sampler {
            max_tokens: 150,
            seed: 3,
            ..Sampler::default()
        };
        let plain = sampler.generate(&model, &[1, 2]).unwrap();
        let (text, _) = sampler
            .generate_with_draft(&model, &model, &[1, 2], 5)
            .unwrap();
        assert_eq!(text.tokens, plain.tokens);
        assert_eq!(plain.tokens.len(), 150);
    }

    /// The same model with some of its metadata or tensors changed.
    fn changed(from: &str, to: &str) -> Result<Llama> {
        let at = FILE
            .windows(from.len())
            .position(|w| w == from.as_bytes())
            .unwrap();
        let mut bytes = FILE.to_vec();
        bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
        Llama::from_gguf(&GgufFile::from_bytes(bytes, "changed.gguf")?)
    }

    #[test]
    fn what_is_missing_is_named() {
        for (from, to) in [
            ("llama.block_count", "llama.block_kount"),
            ("blk.1.ffn_gate", "blk.1.ffn_gade"),
            ("output_norm", "output_morm"),
            ("token_embd", "taken_embd"),
        ] {
            let error = changed(from, to).unwrap_err().to_string();
            assert!(
                error.contains(from) && error.contains("changed.gguf"),
                "{error}"
            );
        }
        assert!(Llama::open("/no/such.gguf").is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        #[test]
        fn hostile_files_never_panic(
            edits in proptest::collection::vec((0usize..2000, any::<u8>()), 1..4),
        ) {
            let mut bytes = FILE.to_vec();
            for (at, value) in edits {
                bytes[at] = value;
            }
            let file = GgufFile::from_bytes(bytes, "hostile.gguf");
            if let Ok(model) = file.and_then(|file| Llama::from_gguf(&file))
                && let Ok(mut state) = model.start()
            {
                let _ = state.feed(&[0, 1]);
            }
        }
    }
}
