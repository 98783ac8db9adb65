//! The transformer encoder: text → one vector per token, or one per text.
//!
//! Every token looks at all tokens of its text: `x ← norm(x + attention(x))` and
//! `x ← norm(x + feed(x))`, layer by layer, over the sum of word, position and type vectors
//! (Vaswani et al., 2017; Devlin et al., *BERT*, 2019); [`NormPlace`] also offers norms before the
//! parts. [`Encoder::load`] reads what others trained, from folders of Hugging Face;
//! [`Encoder::save`] writes such folders.
//!
//! **Use it** for sentence vectors and as features of texts; to write text, take
//! [`Transformer`](crate::Transformer). **Cost**: about `2 · parameters · tokens` operations, without
//! the tables, and `tokens²` per text for attention.
//!
//! A batch gives each text what it gives alone, up to rounding: padding is never looked at, and the
//! CPU kernels have none.

pub(crate) mod activation;
#[cfg(feature = "tokenizers")]
mod classifier;
mod config;
mod kernels;
mod layout;
mod module;
mod pooling;
#[cfg(test)]
mod tests;
#[cfg(feature = "tokenizers")]
mod text;
#[cfg(all(test, feature = "tokenizers"))]
mod transformers_tests;

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Tensor;
use rayon::prelude::*;
use refrain_core::{Device, is_cpu};

#[cfg(feature = "tokenizers")]
pub use classifier::{EncoderClassifier, EncoderClassifierModule, LabelledText};
pub use config::{Activation, EncoderConfig, NormPlace};
pub(crate) use module::activate;
pub use module::{EncoderModule, EncoderOutput};
pub use pooling::Pooling;
#[cfg(feature = "tokenizers")]
pub use text::TextEncoder;

use crate::hugging_face::{self, Weights};
use crate::{Compute, Error, Learning, Result};
use kernels::Buffers;
use layout::Layout;

/// How many rows are computed together: large enough for the matrix products, small enough for the
/// caches and for the threads to share evenly.
const TILE: usize = 256;

/// The tokens of one text, as a tokenizer gives them (with `[CLS]` and `[SEP]` where the model has
/// them).
#[derive(Debug, Clone, Copy, Default)]
pub struct EncoderInput<'a> {
    /// At least one, at most [`EncoderConfig::context`].
    pub tokens: &'a [u32],
    /// Each token's type; empty for all 0.
    pub types: &'a [u32],
}

impl<'a> From<&'a [u32]> for EncoderInput<'a> {
    fn from(tokens: &'a [u32]) -> Self {
        Self { tokens, types: &[] }
    }
}

/// What an encoder computed for one text; see [`Encoder::trace`].
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderTrace {
    /// After the last layer (and norm), `[tokens, width]`.
    pub states: Vec<f32>,
    /// The embeddings, then what each layer gave, `[tokens, width]` each.
    pub layers: Vec<Vec<f32>>,
    /// Each layer's attention: how much a query looks at a key, `[heads, queries, keys]`.
    pub attention: Vec<Vec<f32>>,
    /// The pooler's vector, where the model has one: `[width]`.
    pub pooled: Option<Vec<f32>>,
}

/// An encoder with its weights.
///
/// ```
/// use refrain_sequence::{Encoder, EncoderConfig, EncoderInput, Pooling};
///
/// let config = EncoderConfig {
///     vocabulary: 50, layers: 2, heads: 2, width: 16, hidden: 32, positions: 20,
///     ..EncoderConfig::default()
/// };
/// let encoder = Encoder::new(&config, 1, &refrain_core::device("cpu")?)?; // or Encoder::load(folder, …)
/// let texts: [&[u32]; 2] = [&[2, 7, 3], &[2, 9, 9, 41, 3]];
/// let states = encoder.encode(&texts.map(EncoderInput::from))?;
/// assert_eq!(states[1].len(), 5 * 16);
/// let vector = Pooling::Mean.pool(&states[1], 16);
/// assert_eq!(vector.len(), 16);
///
/// let folder = std::env::temp_dir().join("refrain-encoder");
/// encoder.save(&folder)?; // config.json and model.safetensors, for `transformers` too
/// let again = Encoder::load(&folder, &refrain_core::device("cpu")?)?;
/// assert_eq!(again.encode(&texts.map(EncoderInput::from))?, states);
/// # std::fs::remove_dir_all(folder)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct Encoder {
    config: EncoderConfig,
    layout: Arc<Layout>,
    /// Flat, in the order of `layout`.
    weights: Arc<Vec<f32>>,
    device: Device,
    /// `None` computes by kernels.
    program: Option<Arc<EncoderModule>>,
}

impl Encoder {
    /// An untrained encoder; the same seed gives the same weights on every device.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn new(config: &EncoderConfig, seed: u64, device: &Device) -> Result<Self> {
        let weights = Layout::new(config)?.initial(seed);
        Self::from_weights(config, weights, device)
    }

    fn from_weights(config: &EncoderConfig, weights: Vec<f32>, device: &Device) -> Result<Self> {
        let layout = Layout::new(config)?;
        layout.expect(&weights)?;
        let encoder = Self {
            config: config.clone(),
            layout: Arc::new(layout),
            weights: Arc::new(weights),
            device: device.clone().inner(),
            program: None,
        };
        encoder.with_compute(Compute::Auto)
    }

    /// Reads a Hugging Face folder: `config.json` with `model.safetensors`, or with the files that
    /// `model.safetensors.index.json` lists, of 32-bit, 16-bit or brain floats.
    ///
    /// Models of type `bert`, `roberta`, `xlm-roberta`, `camembert` and `roberta-prelayernorm` are
    /// known, alone or inside a larger one (`bert.` before each name). Tensors that an encoder does
    /// not have are left alone. Nothing in the folder is executed.
    ///
    /// # Errors
    /// When a file cannot be read or says what no encoder can have; [`Error::FileTensor`] naming file and
    /// tensor where one is missing, or of another type or shape than the config asks for.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join("config.json");
        let mut config = EncoderConfig::read(&path)?;
        let weights = Weights::open(folder, "embeddings.word_embeddings.weight")?;
        // A claimed size is only believed where the file holds the values: no layer is laid out
        // that has no tensor, and no room is made before all shapes are seen.
        if config.layers > weights.len() {
            let reason = format!("claims {} layers", config.layers);
            return Err(Error::file(&path.display().to_string(), reason));
        }
        config.pooler = weights.has("pooler.dense.weight");
        let layout = Layout::new(&config)?;
        for entry in &layout.entries {
            weights.check(&entry.name, &entry.shape)?;
        }
        let mut values = Vec::with_capacity(layout.total);
        for entry in &layout.entries {
            weights.read(&entry.name, &entry.shape, &mut values)?;
        }
        Self::from_weights(&config, values, device)
    }

    /// Writes `config.json` and `model.safetensors` into a folder, which is made if need be.
    /// `transformers` reads it by `AutoModel.from_pretrained(folder)`.
    /// Where the encoder has no pooler, it says so and draws one.
    ///
    /// # Errors
    /// When a file cannot be written; [`Error::Config`] for a variant that Hugging Face has no name
    /// for (norms before with a first position other than `padding + 1`).
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| refrain_core::Error::io(folder, e))?;
        self.config.write(&folder.join("config.json"))?;
        let tensors = self.layout.entries.iter().map(|entry| {
            let values = self.weights.get(entry.range.clone()).unwrap_or_default();
            (entry.name.as_str(), entry.shape.as_slice(), values)
        });
        hugging_face::write(folder, tensors)
    }

    /// The same encoder, computing in another way.
    ///
    /// # Errors
    /// [`Error::Config`] for kernels on a device that is not the CPU.
    pub fn with_compute(&self, compute: Compute) -> Result<Self> {
        let cpu = is_cpu(&self.device);
        let kernels = match compute {
            Compute::Auto => cpu,
            Compute::Program | Compute::CheckpointedProgram => false,
            Compute::Kernels if cpu => true,
            Compute::Kernels => {
                return Err(Error::config(
                    "Compute",
                    "Kernels",
                    "used on the CPU device",
                ));
            }
        };
        let program = (!kernels).then(|| Arc::new(self.module(&self.device)));
        Ok(Self {
            program,
            ..self.clone()
        })
    }

    /// The config.
    pub fn config(&self) -> &EncoderConfig {
        &self.config
    }

    /// What tells its weights from others.
    #[cfg(feature = "tokenizers")]
    pub(crate) fn fingerprint(&self) -> String {
        format!("{:016x}", crate::fnv::of_weights(&self.weights))
    }

    /// Where it computes.
    #[cfg(feature = "tokenizers")]
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.layout.total
    }

    /// The layers as a burn module with a copy of the weights, for a training loop of one's own: on a
    /// device with autodiff they are trainable. [`from_module`](Self::from_module) takes them back.
    pub fn module(&self, device: &Device) -> EncoderModule {
        EncoderModule::new(&self.config, &self.layout, &self.weights, device)
    }

    /// An encoder with the weights of a module.
    ///
    /// # Errors
    /// Those of the device.
    pub fn from_module(module: &EncoderModule, device: &Device) -> Result<Self> {
        Self::from_weights(module.config(), module.weights()?, device)
    }

    /// Each text's states after the last layer, `[tokens, width]`.
    ///
    /// # Errors
    /// [`Error::Token`] for a token or type that the model does not have, [`Error::TooShort`] for a
    /// text without tokens, [`Error::Config`] for one longer than the context; those of the device.
    pub fn encode(&self, texts: &[EncoderInput<'_>]) -> Result<Vec<Vec<f32>>> {
        self.map_states(texts, |states| states.to_vec())
    }

    /// Each text's states pooled, `[width]`.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn pool(&self, texts: &[EncoderInput<'_>], pooling: Pooling) -> Result<Vec<Vec<f32>>> {
        let width = self.config.width;
        self.map_states(texts, |states| pooling.pool(states, width))
    }

    /// Each text's states with those of all layers, and how the heads look: for pictures and
    /// explanations. It computes by the tensor program, and keeps everything.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn trace(&self, texts: &[EncoderInput<'_>]) -> Result<Vec<EncoderTrace>> {
        self.config.check(texts)?;
        let own;
        let module = match &self.program {
            Some(program) => program.as_ref(),
            None => {
                own = self.module(&self.device);
                &own
            }
        };
        let (width, heads) = (self.config.width, self.config.heads);
        let mut all = Vec::with_capacity(texts.len());
        for batch in tiles(texts, true) {
            let lengths: Vec<usize> = batch.iter().map(|text| text.tokens.len()).collect();
            let longest = lengths.iter().copied().max().unwrap_or(0);
            let out = module.trace(batch)?;
            let pooled = module.pooled(out.states.clone()).map(host).transpose()?;
            let states = host(out.states)?;
            let layers: Vec<_> = out.layers.into_iter().map(host).collect::<Result<_>>()?;
            let attention: Vec<_> = out.attention.into_iter().map(host).collect::<Result<_>>()?;
            for (i, &n) in lengths.iter().enumerate() {
                let rows = |values: &Vec<f32>| part(values, i, longest * width, n * width).to_vec();
                let square = |values: &Vec<f32>| {
                    let all = part(
                        values,
                        i,
                        heads * longest * longest,
                        heads * longest * longest,
                    );
                    let rows = all.chunks(longest).enumerate();
                    rows.filter(|(row, _)| row % longest < n)
                        .flat_map(|(_, row)| row.iter().take(n).copied())
                        .collect()
                };
                all.push(EncoderTrace {
                    states: rows(&states),
                    layers: layers.iter().map(rows).collect(),
                    attention: attention.iter().map(square).collect(),
                    pooled: pooled.as_ref().map(|p| part(p, i, width, width).to_vec()),
                });
            }
        }
        Ok(all)
    }

    /// Something made of each text's states, in the order of the texts.
    fn map_states<R: Send>(
        &self,
        texts: &[EncoderInput<'_>],
        make: impl Fn(&[f32]) -> R + Sync,
    ) -> Result<Vec<R>> {
        self.config.check(texts)?;
        let width = self.config.width;
        match &self.program {
            None => {
                let tiles: Vec<_> = tiles(texts, false).collect();
                let made: Vec<Vec<R>> = tiles
                    .par_iter()
                    .map_init(Buffers::default, |buffers, tile| {
                        let mut states = kernels::forward(
                            &self.config,
                            &self.layout,
                            &self.weights,
                            tile,
                            buffers,
                        );
                        tile.iter()
                            .map(|text| {
                                let (own, rest) = states.split_at(text.tokens.len() * width);
                                states = rest;
                                make(own)
                            })
                            .collect()
                    })
                    .collect();
                Ok(made.into_iter().flatten().collect())
            }
            Some(module) => {
                let mut made = Vec::with_capacity(texts.len());
                for batch in tiles(texts, true) {
                    let longest = batch.iter().map(|text| text.tokens.len()).max();
                    let longest = longest.unwrap_or(0);
                    let states = host(module.forward(batch, &Learning::default())?)?;
                    for (i, text) in batch.iter().enumerate() {
                        let n = text.tokens.len() * width;
                        made.push(make(part(&states, i, longest * width, n)));
                    }
                }
                Ok(made)
            }
        }
    }
}

/// The values of a tensor.
fn host<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor.try_into_vec_as::<f32>().map_err(Error::device)
}

/// The beginning of the `i`-th of parts of this size.
fn part(values: &[f32], i: usize, size: usize, length: usize) -> &[f32] {
    values.get(i * size..i * size + length).unwrap_or_default()
}

/// Neighbouring texts of about [`TILE`] rows together; where they are padded, those count too.
fn tiles<'t, 'a>(
    texts: &'t [EncoderInput<'a>],
    padded: bool,
) -> impl Iterator<Item = &'t [EncoderInput<'a>]> {
    let mut rest = texts;
    std::iter::from_fn(move || {
        let (mut rows, mut longest) = (0, 0);
        let fits = rest
            .iter()
            .enumerate()
            .take_while(|(i, text)| {
                longest = longest.max(text.tokens.len());
                rows += text.tokens.len();
                *i == 0 || if padded { (i + 1) * longest } else { rows } <= TILE
            })
            .count();
        let (now, later) = rest.split_at(fits);
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}
