//! The encoder-decoder: a sequence in, another sequence out.
//!
//! The first transformer (Vaswani et al., *Attention is all you need*, 2017). The encoder reads the
//! whole source; the decoder writes the target token by token, each looking at those before it and at
//! all of the source: `x ← norm(x + attention(x))`, `x ← norm(x + attention(x, source))`,
//! `x ← norm(x + feed(x))`, over token vectors with sinusoids for positions. [`NormPlace`](crate::NormPlace) also offers
//! norms before the parts.
//!
//! **Use it** for translation, and wherever one sequence becomes another. **Cost**: a training step
//! takes about `6 · parameters · tokens` operations, where the encoder's parameters count for source
//! tokens and the decoder's for target tokens; a written token reads each of the decoder's weights
//! once.
//!
//! [`EncoderDecoder::load`] reads Marian and Pegasus models from folders of Hugging Face;
//! [`EncoderDecoder::save`] writes such folders. A batch gives each pair what it gives alone, up to
//! rounding: padding is never looked at, and the CPU kernels have none.

mod config;
mod kernels;
mod layout;
mod learning;
mod module;
mod state;
#[cfg(test)]
mod tests;
mod training;

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use refrain_core::Device;

pub use config::EncoderDecoderConfig;
pub use module::EncoderDecoderModule;
pub use state::Conditioned;

use crate::hugging_face::{self, Weights};
use crate::transformer::uses_program;
use crate::{BeamSearch, Compute, Error, Generated, Learning, Result, tokenizer};
use kernels::{Arranged, Network, Side, StackTape};
use layout::Layout;
use module::keep;
use state::Memory;

/// A source with its target. Both end with [`EncoderDecoderConfig::end`] where the model is to know it;
/// neither begins with [`EncoderDecoderConfig::start`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pair {
    /// The tokens read.
    pub source: Vec<u32>,
    /// The tokens to write.
    pub target: Vec<u32>,
}

/// Where an encoder-decoder looks; see [`EncoderDecoder::trace`].
#[derive(Debug, Clone, PartialEq)]
pub struct EncoderDecoderTrace {
    /// The encoder's output, `[source tokens, width]`.
    pub states: Vec<f32>,
    /// The logits of each target token, `[target tokens, vocabulary]`.
    pub logits: Vec<f32>,
    /// Each encoder layer's attention: how much a query looks at a key, `[heads, source, source]`.
    pub encoder: Vec<Vec<f32>>,
    /// Each decoder layer's attention over the target, `[heads, target, target]`.
    pub decoder: Vec<Vec<f32>>,
    /// Each decoder layer's attention over the source, `[heads, target, source]`: which source tokens a
    /// target token was written from. Row `i` is that of the step that writes target `i`.
    pub across: Vec<Vec<f32>>,
}

/// An encoder-decoder with its weights.
///
/// ```
/// use refrain_sequence::{BeamSearch, EncoderDecoder, EncoderDecoderConfig, Sampler};
///
/// let device = refrain_core::device("cpu")?;
/// let config = EncoderDecoderConfig {
///     vocabulary: 50, encoder_layers: 1, decoder_layers: 1, width: 16, hidden: 32, positions: 20,
///     ..EncoderDecoderConfig::default()
/// };
/// let model = EncoderDecoder::new(&config, 1, &device)?; // or EncoderDecoder::load(folder, …)
/// let source = [7, 9, 9, 41, config.end];
///
/// // Any way of writing with a language model, here with a cache of keys and values.
/// let given = model.given(&source)?;
/// let sampler = Sampler { stop: vec![config.end], max_tokens: 10, ..Sampler::default() };
/// let drawn = sampler.generate(&given, &[config.start])?;
/// assert!(drawn.tokens.len() <= 10);
///
/// // The likeliest translations of many sources, on all threads.
/// let search = BeamSearch { max_tokens: 10, ..BeamSearch::default() };
/// let texts = model.translate(&[&source[..], &source[1..]], &search)?;
/// let trace = model.trace(&source, &texts[0][0].tokens)?;
/// assert_eq!(trace.across[0].len(), config.heads * texts[0][0].tokens.len() * source.len());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EncoderDecoder {
    /// Flat, in the order of the layout.
    weights: Arc<Vec<f32>>,
    /// Added to the logits.
    bias: Option<Arc<[f32]>>,
    network: Arc<Network>,
    /// The decoder's matrices as writing reads them, made when it first does.
    arranged: Arc<OnceLock<Arranged>>,
    device: Device,
    /// `None` computes by kernels.
    program: Option<Arc<EncoderDecoderModule>>,
}

impl EncoderDecoder {
    /// An untrained model; the same seed gives the same weights on every device. Matrices begin as
    /// Glorot and Bengio's (2010), the table with deviation `1 / √width`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn new(config: &EncoderDecoderConfig, seed: u64, device: &Device) -> Result<Self> {
        let layout = Layout::new(config)?;
        let weights = crate::entries::initial(&layout.entries.list, seed);
        Self::from_weights(config, weights, None, device)
    }

    fn from_weights(
        config: &EncoderDecoderConfig,
        weights: Vec<f32>,
        bias: Option<Vec<f32>>,
        device: &Device,
    ) -> Result<Self> {
        let layout = Layout::new(config)?;
        if weights.len() != layout.entries.total {
            return Err(Error::Core(refrain_core::Error::Shape {
                what: "the weights".to_string(),
                expected: layout.entries.total,
                found: weights.len(),
            }));
        }
        let model = Self {
            weights: Arc::new(weights),
            bias: bias
                .filter(|bias| bias.iter().any(|&b| b != 0.0))
                .map(Arc::from),
            network: Arc::new(Network::new(config, &layout)),
            arranged: Arc::default(),
            device: device.clone().inner(),
            program: None,
        };
        model.with_compute(Compute::Auto)
    }

    /// Reads a Hugging Face folder: `config.json` with `model.safetensors`, or with the files that
    /// `model.safetensors.index.json` lists, of 32-bit, 16-bit or brain floats.
    ///
    /// Models of type `marian` (OPUS-MT) and `pegasus` are known, with one table for all tokens. Nothing
    /// in the folder is executed. OPUS-MT's own tokenizers (`source.spm`, `target.spm`, `vocab.json`) are not
    /// read here: texts come as tokens, from those files by another program or from a `tokenizer.json`.
    ///
    /// # Errors
    /// When a file cannot be read or says what no encoder-decoder can have; [`Error::FileTensor`] naming
    /// file and tensor where one is missing, or of another type or shape than the config asks for.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let path = folder.join("config.json");
        let config = EncoderDecoderConfig::read(&path)?;
        let weights = Weights::open(folder, "model.shared.weight")?;
        // A claimed size is only believed where the file holds the values: no layer is laid out
        // that has no tensor, and no room is made before all shapes are seen.
        let layers = config.encoder_layers + config.decoder_layers;
        if layers > weights.len() || config.positions > MOST_POSITIONS {
            let positions = config.positions;
            let reason = format!("claims {layers} layers and {positions} positions");
            return Err(Error::file(&path.display().to_string(), reason));
        }
        let layout = Layout::new(&config)?;
        for entry in &layout.entries.list {
            weights.check(&entry.name, &entry.shape)?;
        }
        let mut values = Vec::with_capacity(layout.entries.total);
        for entry in &layout.entries.list {
            weights.read(&entry.name, &entry.shape, &mut values)?;
        }
        let mut bias = Vec::new();
        if weights.has(BIAS) {
            weights.read(BIAS, &[1, config.vocabulary], &mut bias)?;
        }
        let bias = (!bias.is_empty()).then_some(bias);
        Self::from_weights(&config, values, bias, device)
    }

    /// Writes `config.json` and `model.safetensors` into a folder, which is made if need be.
    /// `transformers` reads it by `AutoModelForSeq2SeqLM.from_pretrained(folder)`, as Marian, or as
    /// Pegasus where norms stand before.
    ///
    /// # Errors
    /// When a file cannot be written; [`Error::Config`] for an epsilon that Hugging Face has no name for.
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        std::fs::create_dir_all(folder).map_err(|e| refrain_core::Error::io(folder, e))?;
        self.config().write(&folder.join("config.json"))?;
        let (none, shape) = (
            vec![0.0; self.config().vocabulary],
            [1, self.config().vocabulary],
        );
        let bias = (BIAS, &shape[..], self.bias.as_deref().unwrap_or(&none));
        let tensors = self.layout().entries.list.iter().map(|entry| {
            let values = self.weights.get(entry.range.clone()).unwrap_or_default();
            (entry.name.as_str(), entry.shape.as_slice(), values)
        });
        hugging_face::write(folder, tensors.chain(std::iter::once(bias)))
    }

    /// The same model, computing in another way.
    ///
    /// # Errors
    /// [`Error::Config`] for kernels on a device that is not the CPU.
    pub fn with_compute(&self, compute: Compute) -> Result<Self> {
        let program = uses_program(compute, &self.device)?;
        let program = program.then(|| Arc::new(self.module(&self.device)));
        Ok(Self {
            program,
            ..self.clone()
        })
    }

    /// The config.
    pub fn config(&self) -> &EncoderDecoderConfig {
        &self.network.config
    }

    fn layout(&self) -> &Layout {
        &self.network.layout
    }

    /// How many parameters there are.
    pub fn parameters(&self) -> usize {
        self.weights.len()
    }

    /// The layers as a burn module with a copy of the weights, for [`Trainer::fit_module`](crate::Trainer::fit_module): on a
    /// device with autodiff they are trainable. [`from_module`](Self::from_module) takes them back.
    pub fn module(&self, device: &Device) -> EncoderDecoderModule {
        let bias = self.bias.as_deref();
        EncoderDecoderModule::new(self.config(), self.layout(), &self.weights, bias, device)
    }

    /// A model with the weights of a module.
    ///
    /// # Errors
    /// Those of the device.
    pub fn from_module(module: &EncoderDecoderModule, device: &Device) -> Result<Self> {
        let bias = module.fixed.bias.clone();
        Self::from_weights(module.config(), module.weights()?, bias, device)
    }

    /// Reads a source: what comes back is a language model of its target.
    ///
    /// # Errors
    /// [`Error::Token`] for a token that the model does not have, [`Error::TooShort`] for a source
    /// without tokens, [`Error::Config`] for one longer than the model's positions; those of the device.
    pub fn given(&self, source: &[u32]) -> Result<Conditioned<'_>> {
        check_text(self.config(), "source", source)?;
        let memory = match &self.program {
            Some(program) => Memory::Program(Box::new(program.encode(&[source], &keep, None).0)),
            None => {
                let mut tape = StackTape::default();
                let states = self.encode(source, &mut tape);
                Memory::Kernels(self.network.memory(&self.weights, states))
            }
        };
        Ok(Conditioned::new(self, memory))
    }

    /// The encoder's output by kernels.
    fn encode<'t>(&self, source: &[u32], tape: &'t mut StackTape) -> &'t [f32] {
        let mut side = Side::default();
        side.push(source.iter().copied());
        self.network.stack(&self.weights, &side, None, None, tape);
        tape.output(&self.layout().encoder)
    }

    /// The likeliest targets of each source, the best first, on all threads. A search that names no
    /// stop token stops at [`EncoderDecoderConfig::end`]; none writes more than the model has positions
    /// for.
    ///
    /// # Errors
    /// As [`given`](Self::given), and those of the search.
    pub fn translate(
        &self,
        sources: &[&[u32]],
        search: &BeamSearch,
    ) -> Result<Vec<Vec<Generated>>> {
        let config = self.config();
        let mut search = search.clone();
        if search.stop.is_empty() {
            search.stop = vec![config.end];
        }
        let translate = |source: &&[u32]| search.generate(&self.given(source)?, &[config.start]);
        sources.par_iter().map(translate).collect()
    }

    /// The mean cross-entropy of the targets, in nats per token.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::TooShort`], [`Error::Config`] for what the model cannot read; those of
    /// the device.
    pub fn loss(&self, pairs: &[Pair]) -> Result<f64> {
        let targets: usize = pairs.iter().map(|pair| pair.target.len()).sum();
        let own;
        let module = match &self.program {
            Some(program) => program.as_ref(),
            None => {
                own = self.module(&self.device);
                &own
            }
        };
        let mut sum = 0.0;
        for batch in pairs.chunks(64) {
            let batch: Vec<&Pair> = batch.iter().collect();
            check_pairs(self.config(), batch.iter().copied())?;
            let loss = match self.program {
                Some(_) => module.program_loss(&batch, &Learning::default()),
                None => module.kernel_loss(&batch, &Learning::default())?,
            };
            let loss = loss.try_into_scalar::<f32>().map_err(Error::device)?;
            sum += f64::from(loss);
        }
        Ok(sum / targets.max(1) as f64)
    }

    /// How the target is written when the source is read: logits, and where each head looks. For
    /// pictures of alignments and explanations. It computes by the tensor program.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    pub fn trace(&self, source: &[u32], target: &[u32]) -> Result<EncoderDecoderTrace> {
        let pair = Pair {
            source: source.to_vec(),
            target: target.to_vec(),
        };
        check_pairs(self.config(), std::iter::once(&pair))?;
        let own;
        let module = match &self.program {
            Some(program) => program.as_ref(),
            None => {
                own = self.module(&self.device);
                &own
            }
        };
        let (mut encoder, mut decoder) = (Vec::new(), Vec::new());
        let seen = Some([&mut encoder, &mut decoder]);
        let (x, _) = module.hidden(&[&pair], &keep, seen);
        let (states, _) = module.encode(&[source], &keep, None);
        let all = |tensors: Vec<burn::tensor::Tensor<4>>| -> Result<Vec<Vec<f32>>> {
            let values = tensors.into_iter().map(|t| t.try_into_vec_as::<f32>());
            values.map(|v| v.map_err(Error::device)).collect()
        };
        let (mut decoder, mut across) = (all(decoder)?, Vec::new());
        // The two attentions of each layer take turns.
        let mut at = 0;
        decoder.retain_mut(|weights| {
            at += 1;
            let own = at % 2 == 1;
            if !own {
                across.push(std::mem::take(weights));
            }
            own
        });
        Ok(EncoderDecoderTrace {
            states: states.try_into_vec_as::<f32>().map_err(Error::device)?,
            logits: module
                .head(x)
                .try_into_vec_as::<f32>()
                .map_err(Error::device)?,
            encoder: all(encoder)?,
            decoder,
            across,
        })
    }
}

/// What Hugging Face calls what is added to the logits.
const BIAS: &str = "final_logits_bias";

/// The most positions of a file: their sinusoids are made, not read.
const MOST_POSITIONS: usize = 1 << 16;

/// Refuses what no model of this shape can read.
fn check_text(config: &EncoderDecoderConfig, place: &str, tokens: &[u32]) -> Result<()> {
    if tokens.is_empty() {
        return Err(Error::TooShort {
            what: place.to_string(),
            needed: 1,
            found: 0,
        });
    }
    if tokens.len() > config.positions {
        return Err(Error::config(
            "the length of a text",
            format_args!("{} ({place})", tokens.len()),
            "at most the model's positions",
        ));
    }
    tokenizer::check_tokens(place, tokens, config.vocabulary)
}

fn check_pairs<'p>(
    config: &EncoderDecoderConfig,
    pairs: impl Iterator<Item = &'p Pair>,
) -> Result<()> {
    for (i, pair) in pairs.enumerate() {
        check_text(config, &format!("source {i}"), &pair.source)?;
        check_text(config, &format!("target {i}"), &pair.target)?;
    }
    Ok(())
}
