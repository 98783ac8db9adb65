//! A language model of recurrent layers (Mikolov et al., 2010; Zaremba et al., 2014).
//!
//! A token's vector goes through the layers, and the last hidden state times the output matrix
//! gives the logits of the next token. With [`RnnConfig::tied`], the output matrix is the
//! embedding itself (Press and Wolf, 2017). What was read is held in a state of fixed size, so a
//! text can go on for ever, and each generated token costs the same.
//!
//! Training cuts a stream into lanes that are read side by side, [`RnnConfig::bptt`] tokens at a
//! time; the state is carried from window to window and gradients end at the window (truncated
//! backpropagation through time). Documents begin with an empty state, and so does each window of
//! a longer one.

mod engine;
mod file;
mod kernel_engine;
mod lanes;
mod program;
mod slices;
mod state;
mod tape;

use std::sync::Arc;

use refrain_core::Device;
use serde::{Deserialize, Serialize};

use super::pytorch::{NamedTensor, flat_of, named};
use super::{Cell, RecurrentConfig};
use crate::batch::{Example, everything};
use crate::engine::Engine;
use crate::entries::{Entries, Entry, Init, Role, initial};
use crate::language_model::log_probability;
use crate::train::evaluate;
use crate::trainable::{ModelConfig, Reading, Sealed};
use crate::transformer::{Compute, uses_program};
use crate::{Error, LanguageModel, LanguageState, Result, TokenSequences, Vocabulary};
use engine::RnnEngine;
use kernel_engine::RnnKernelEngine;
use program::Program;
use slices::Slices;
use state::RnnState;

/// The size and the kind of a recurrent language model.
///
/// ```
/// use refrain_sequence::{Cell, Characters, Corpus, RnnConfig, Trainer};
/// let text = "so long and thanks for all the fish. ".repeat(30);
/// let corpus = Corpus::text(&Characters::from_text(&text)?, &text)?.hold_out(0.1, 0)?;
/// let config = RnnConfig { cell: Cell::Gru, layers: 1, width: 32, bptt: 16, ..Default::default() };
/// let trainer = Trainer { steps: 60, batch: 8, learning_rate: 2e-2, warm_up: 5, ..Trainer::default() };
/// let trained = trainer.fit(&config, &corpus, &refrain_core::device("cpu")?)?;
/// assert!(trained.curve.best().unwrap().loss < 0.6 * trained.curve.train[0].loss);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RnnConfig {
    /// The step of a layer.
    pub cell: Cell,
    /// Layers.
    pub layers: usize,
    /// The length of a token's vector and of each hidden state.
    pub width: usize,
    /// The share of values dropped after the embedding, between layers and before the output
    /// while training (Zaremba et al., 2014). Generation and validation never drop.
    pub dropout: f32,
    /// Whether all tokens of a window drop the same values (Gal and Ghahramani, 2016).
    pub variational: bool,
    /// Whether the output matrix is the embedding itself.
    pub tied: bool,
    /// How many tokens gradients reach back: the length of a training window.
    pub bptt: usize,
    /// Whether a stream's windows follow each other and carry the state on; where not, windows
    /// are drawn at random and begin with an empty state.
    pub carry: bool,
}

impl Default for RnnConfig {
    fn default() -> Self {
        Self {
            cell: Cell::Lstm,
            layers: 2,
            width: 128,
            dropout: 0.0,
            variational: false,
            tied: true,
            bptt: 64,
            carry: true,
        }
    }
}

const LIMIT: usize = 1 << 20;
const MOST_PARAMETERS: u128 = 1 << 34;

impl RnnConfig {
    /// How many parameters a model with this vocabulary has.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field that no model can have.
    pub fn parameters(&self, vocabulary: usize) -> Result<usize> {
        Ok(self.entries(vocabulary)?.total)
    }

    fn recurrent(&self) -> RecurrentConfig {
        RecurrentConfig {
            cell: self.cell,
            input: self.width,
            hidden: self.width,
            layers: self.layers,
            bidirectional: false,
            bias: true,
            dropout: self.dropout,
            variational: self.variational,
        }
    }

    fn entries(&self, vocabulary: usize) -> Result<Entries> {
        for (field, value) in [
            ("RnnConfig.layers", self.layers),
            ("RnnConfig.width", self.width),
            ("RnnConfig.bptt", self.bptt),
            ("the vocabulary's size", vocabulary),
        ] {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 1048576"));
            }
        }
        let table = vocabulary as u128 * self.width as u128;
        if table > MOST_PARAMETERS {
            let expected = "at most 17179869184 parameters";
            return Err(Error::config("the model's size", table, expected));
        }
        let mut entries = Entries::default();
        let table = vec![vocabulary, self.width];
        let name = |name: &str| name.to_string();
        let init = Init::Uniform(0.1);
        entries.push(
            name("embedding.weight"),
            table.clone(),
            Role::Embedding,
            init,
        );
        let from = entries.list.len();
        self.recurrent().entries(&mut entries)?;
        for entry in entries.list.iter_mut().skip(from) {
            entry.name.insert_str(0, "rnn.");
        }
        if !self.tied {
            entries.push(name("head.weight"), table, Role::Matrix, init);
        }
        let zeros = Init::Constant(0.0);
        entries.push(name("head.bias"), vec![vocabulary], Role::Vector, zeros);
        Ok(entries)
    }
}

/// A recurrent language model with its weights and its vocabulary, ready to generate or to be
/// trained further.
///
/// ```
/// use refrain_sequence::{Cell, RnnConfig, RnnLm, Sampler, Vocabulary};
/// let device = refrain_core::device("cpu")?;
/// let config = RnnConfig { layers: 1, width: 16, ..RnnConfig::default() };
/// let model = RnnLm::new(&config, Vocabulary::numbered(10)?, 0, &device)?;
/// let sampler = Sampler { max_tokens: 5, ..Sampler::default() };
/// assert_eq!(sampler.generate(&model, &[1, 2])?.tokens.len(), 5);
/// let again = RnnLm::from_bytes(model.to_bytes()?, &device)?;
/// assert_eq!(sampler.generate(&again, &[1, 2])?, sampler.generate(&model, &[1, 2])?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct RnnLm {
    config: RnnConfig,
    vocabulary: Vocabulary,
    entries: Arc<Vec<Entry>>,
    /// Flat, in the order of `entries`.
    weights: Arc<Vec<f32>>,
    device: Device,
    way: Way,
}

/// How this model computes.
#[derive(Debug, Clone)]
enum Way {
    Program(Arc<Program>),
    Kernels(Arc<Slices>),
}

impl RnnLm {
    /// An untrained model; the same seed gives the same weights on every device.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn new(
        config: &RnnConfig,
        vocabulary: Vocabulary,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let entries = config.entries(vocabulary.len())?;
        let weights = initial(&entries.list, seed);
        Self::with_flat(config, vocabulary, weights, device)
    }

    /// The same model, computing in this way.
    ///
    /// # Errors
    /// [`Error::Config`] for kernels on another device than the CPU.
    pub fn with_compute(&self, compute: Compute) -> Result<Self> {
        let vocabulary = self.vocabulary.len();
        let way = match uses_program(compute, &self.device)? {
            true => Way::Program(Arc::new(Program::new(
                &self.config,
                vocabulary,
                &self.weights,
                &self.device,
            )?)),
            false => Way::Kernels(Arc::new(Slices::new(&self.config, vocabulary))),
        };
        Ok(Self {
            way,
            ..self.clone()
        })
    }

    fn compute(&self) -> Compute {
        match self.way {
            Way::Program(_) => Compute::Program,
            Way::Kernels(_) => Compute::Kernels,
        }
    }

    /// Its shape.
    pub fn config(&self) -> &RnnConfig {
        &self.config
    }

    /// The names of its tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Where it computes.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// How many parameters it has.
    pub fn parameters(&self) -> usize {
        self.weights.len()
    }

    /// The mean cross-entropy over `data`, in nats per token, each token scored once. Each
    /// document is read from its beginning to its end; a stream in at most 32 equal parts, so
    /// that they can be read side by side.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::TooShort`], [`Error::Device`].
    pub fn loss(&self, data: &TokenSequences) -> Result<f64> {
        data.check("data", self.vocabulary.len())?;
        let engine = self.trainable(self.compute())?;
        evaluate(engine.as_ref(), &self.scored(data), 32)
    }

    /// Its parameters by name, for a training loop of your own: `embedding.weight` and, where it is
    /// not [tied](RnnConfig::tied), `head.weight`, both `[vocabulary, width]`; `head.bias`; and those of
    /// the layers as [`Recurrent::to_pytorch`](crate::Recurrent::to_pytorch) names them, with `rnn.` in
    /// front.
    pub fn tensors(&self) -> Vec<NamedTensor> {
        named(&self.entries, &self.weights)
    }

    /// The same model with other parameters, in any order.
    ///
    /// # Errors
    /// [`Error::Tensor`] naming the tensor that is missing, unknown, there twice, of another shape
    /// or not finite.
    ///
    /// ```
    /// use refrain_sequence::{RnnConfig, RnnLm, Vocabulary};
    /// let config = RnnConfig { layers: 1, width: 4, ..RnnConfig::default() };
    /// let device = refrain_core::device("cpu")?;
    /// let model = RnnLm::new(&config, Vocabulary::numbered(3)?, 0, &device)?;
    /// let other = RnnLm::new(&config, Vocabulary::numbered(3)?, 1, &device)?;
    /// let same = other.with_tensors(model.tensors())?;
    /// assert_eq!(same.logits(&[1, 2])?, model.logits(&[1, 2])?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn with_tensors(&self, tensors: impl IntoIterator<Item = NamedTensor>) -> Result<Self> {
        self.reweighted(flat_of(&self.entries, tensors)?)
    }

    /// The logits after every one of `tokens`, `[tokens, vocabulary]` row-major.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::TooShort`] for none.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        RnnState::new(self).read(tokens, false)
    }
}

impl LanguageModel for RnnLm {
    fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// None: whatever was read has left its trace in the state.
    fn context(&self) -> Option<usize> {
        None
    }

    fn start(&self) -> Result<Box<dyn LanguageState + '_>> {
        Ok(Box::new(RnnState::new(self)))
    }

    fn log_probabilities(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.vocabulary.check("tokens", tokens)?;
        let Some((_, inputs)) = tokens.split_last() else {
            return Ok(Vec::new());
        };
        let mut state = RnnState::new(self);
        let mut out = Vec::with_capacity(inputs.len());
        // In pieces, so that few logits are held at once.
        let targets = tokens.get(1..).unwrap_or_default();
        for (inputs, targets) in inputs.chunks(PIECE).zip(targets.chunks(PIECE)) {
            let logits = state.read(inputs, false)?;
            let rows = logits.chunks_exact(self.vocabulary.len());
            out.extend(rows.zip(targets).map(|(row, &t)| log_probability(row, t)));
        }
        Ok(out)
    }
}

/// Tokens read at once where no gradient is asked for.
const PIECE: usize = 256;

/// Parts of a stream that validation reads side by side.
const VALIDATION_LANES: usize = 32;

impl ModelConfig for RnnConfig {
    type Model = RnnLm;
}

impl Sealed for RnnLm {
    type Config = RnnConfig;

    const NAME: &'static str = "rnn";

    fn count(config: &RnnConfig, vocabulary: usize) -> Result<usize> {
        config.parameters(vocabulary)
    }

    fn untrained(
        config: &RnnConfig,
        vocabulary: Vocabulary,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        Self::new(config, vocabulary, seed, device)
    }

    fn with_flat(
        config: &RnnConfig,
        vocabulary: Vocabulary,
        weights: Vec<f32>,
        device: &Device,
    ) -> Result<Self> {
        let entries = config.entries(vocabulary.len())?;
        if weights.len() != entries.total {
            return Err(Error::Core(refrain_core::Error::Shape {
                what: "the weights".to_string(),
                expected: entries.total,
                found: weights.len(),
            }));
        }
        let model = Self {
            way: Way::Kernels(Arc::new(Slices::new(config, vocabulary.len()))),
            config: config.clone(),
            vocabulary,
            entries: Arc::new(entries.list),
            weights: Arc::new(weights),
            device: device.clone().inner(),
        };
        model.with_compute(Compute::Auto)
    }

    fn reweighted(&self, weights: Vec<f32>) -> Result<Self> {
        Self::with_flat(&self.config, self.vocabulary.clone(), weights, &self.device)?
            .with_compute(self.compute())
    }

    fn trainable(&self, compute: Compute) -> Result<Box<dyn Engine>> {
        Ok(match uses_program(compute, &self.device)? {
            true => Box::new(RnnEngine::new(self, compute)?),
            false => Box::new(RnnKernelEngine::new(self)),
        })
    }

    fn shape(&self) -> &RnnConfig {
        &self.config
    }

    fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn names(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn reading(&self) -> Reading {
        Reading {
            window: self.config.bptt,
            carried: self.config.carry,
            dropout: self.config.dropout,
        }
    }

    fn scored(&self, data: &TokenSequences) -> Vec<Example> {
        let window = match data.is_stream() {
            true => data.targets().div_ceil(VALIDATION_LANES),
            false => usize::MAX,
        };
        everything(data, window.max(self.config.bptt))
    }
}

#[cfg(test)]
mod tests;
