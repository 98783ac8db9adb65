//! The decoder-only transformer.
//!
//! Causal self-attention over one growing text: layer by layer `x ← x + attention(norm(x))` and
//! `x ← x + feed(norm(x))`, then a norm and the logits against the embedding table (Vaswani et
//! al., 2017; Radford et al., 2019). [`TransformerConfig`] spans GPT-2's and Llama's variants.
//!
//! **Use it** for text and tunes of some length, where what stands far back matters. **Cost**: a
//! training step takes about `6 · parameters · tokens` operations and `tokens · context` for
//! attention; one generated token reads each weight and each cached key and value once. A text longer than
//! the context goes on with its newest half read again ([`WhenFull`](crate::WhenFull)); with a
//! [window](TransformerConfig::window) keys and values that have left it are dropped as well.
//!
//! Two ways to compute give the same numbers up to rounding: a tensor program for every device of
//! burn's, and kernels on slices for the CPU, chosen by [`Compute`].

pub(crate) mod config;
mod file;
mod hugging_face;
pub(crate) mod layout;
mod program;
mod state;
pub(crate) mod tensor_engine;

use std::sync::Arc;

use refrain_core::{Device, is_cpu};
use serde::{Deserialize, Serialize};

pub use config::{Biases, FeedForward, Norm, Positions, RotaryScaling, TransformerConfig};

use crate::batch::{Example, everything};
use crate::engine::Engine;
use crate::entries::Entry;
use crate::kernels::engine::KernelEngine;
use crate::kernels::network::Network;
use crate::language_model::log_probability;
use crate::train::evaluate;
use crate::trainable::{ModelConfig, Reading, Sealed};
use crate::{Error, LanguageModel, LanguageState, Result, TokenSequences, Vocabulary};
use layout::Layout;
use program::Program;
use state::TransformerState;
use tensor_engine::TensorEngine;

/// How to compute: see the module's page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Compute {
    /// Kernels on the CPU device, the tensor program elsewhere.
    #[default]
    Auto,
    /// The tensor program, on any device.
    Program,
    /// The tensor program, which learns with gradient checkpointing: what cheap operations put out, such
    /// as activations and norms, is computed again on the way back and not kept (Chen et al. 2016,
    /// [arXiv 1604.06174](https://arxiv.org/abs/1604.06174), as far as burn goes). Less memory, more time,
    /// the same numbers. Where nothing is learnt, as [`Program`](Self::Program).
    CheckpointedProgram,
    /// Kernels on slices; the CPU device only.
    Kernels,
}

/// The device on which a tensor program learns.
pub(crate) fn taped(compute: Compute, device: &Device) -> Device {
    let taped = device.clone().autodiff();
    match compute {
        Compute::CheckpointedProgram => taped.gradient_checkpointing(),
        _ => taped,
    }
}

/// Whether to compute as a tensor program on this device.
pub(crate) fn uses_program(compute: Compute, device: &Device) -> Result<bool> {
    match compute {
        Compute::Program | Compute::CheckpointedProgram => Ok(true),
        Compute::Auto => Ok(!is_cpu(device)),
        Compute::Kernels if is_cpu(device) => Ok(false),
        Compute::Kernels => {
            let device = format!("{device:?}");
            let expected = "kernels compute on the device \"cpu\"";
            Err(Error::config("Compute", device, expected))
        }
    }
}

/// A transformer with its weights and its vocabulary, ready to generate or to be trained further.
#[derive(Debug, Clone)]
pub struct Transformer {
    config: TransformerConfig,
    vocabulary: Vocabulary,
    layout: Arc<Layout>,
    /// Flat, in the order of `layout`.
    weights: Arc<Vec<f32>>,
    device: Device,
    way: Way,
}

/// How this model computes.
#[derive(Debug, Clone)]
enum Way {
    Program(Arc<Program>),
    Kernels(Arc<Network>),
}

impl Transformer {
    /// An untrained model; the same seed gives the same weights on every device.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn new(
        config: &TransformerConfig,
        vocabulary: Vocabulary,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let weights = Layout::new(config, vocabulary.len())?.initial(seed);
        Self::from_weights(config, vocabulary, weights, device)
    }

    pub(crate) fn from_weights(
        config: &TransformerConfig,
        vocabulary: Vocabulary,
        weights: Vec<f32>,
        device: &Device,
    ) -> Result<Self> {
        let layout = Arc::new(Layout::new(config, vocabulary.len())?);
        if weights.len() != layout.total {
            return Err(Error::Core(refrain_core::Error::Shape {
                what: "the weights".to_string(),
                expected: layout.total,
                found: weights.len(),
            }));
        }
        let model = Self {
            config: config.clone(),
            vocabulary,
            way: Way::Kernels(Arc::new(Network::new(config, &layout))),
            layout,
            weights: Arc::new(weights),
            device: device.clone().inner(),
        };
        model.with_compute(Compute::Auto)
    }

    fn compute(&self) -> Compute {
        match self.way {
            Way::Program(_) => Compute::Program,
            Way::Kernels(_) => Compute::Kernels,
        }
    }

    /// The same model, computing in this way.
    ///
    /// # Errors
    /// [`Error::Config`] for kernels on another device than the CPU.
    pub fn with_compute(&self, compute: Compute) -> Result<Self> {
        let (config, layout) = (&self.config, &self.layout);
        let way = match uses_program(compute, &self.device)? {
            true => Way::Program(Arc::new(Program::new(
                config,
                layout,
                &self.weights,
                &self.device,
            ))),
            false => Way::Kernels(Arc::new(Network::new(config, layout))),
        };
        Ok(Self {
            way,
            ..self.clone()
        })
    }

    #[cfg(test)]
    pub(crate) fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Something that trains a copy of these weights.
    pub(crate) fn engine(&self, compute: Compute) -> Result<Box<dyn Engine>> {
        let (config, layout, weights) = (&self.config, &self.layout, &self.weights);
        Ok(match uses_program(compute, &self.device)? {
            true => {
                let device = taped(compute, &self.device);
                Box::new(TensorEngine::new(config, layout, weights, &device))
            }
            false => Box::new(KernelEngine::new(config, layout, weights)),
        })
    }

    /// Its shape.
    pub fn config(&self) -> &TransformerConfig {
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
        self.layout.total
    }

    /// The mean cross-entropy over `data`, in nats per token, each token scored once.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::TooShort`], [`Error::Device`].
    pub fn loss(&self, data: &TokenSequences) -> Result<f64> {
        data.check("data", self.vocabulary.len())?;
        let engine = self.engine(self.compute())?;
        evaluate(engine.as_ref(), &everything(data, self.config.context), 32)
    }

    fn check_window(&self, tokens: &[u32]) -> Result<()> {
        self.vocabulary.check("tokens", tokens)?;
        let count = tokens.len();
        match count {
            0 => Err(Error::TooShort {
                what: "tokens".to_string(),
                needed: 1,
                found: 0,
            }),
            _ if count > self.config.context => {
                let expected = "at most the model's context";
                Err(Error::config("the number of tokens", count, expected))
            }
            _ => Ok(()),
        }
    }

    /// The logits after every one of `tokens`, `[tokens, vocabulary]` row-major; at most
    /// [`TransformerConfig::context`] tokens.
    ///
    /// # Errors
    /// [`Error::Token`], [`Error::TooShort`] for none, [`Error::Config`] for too many.
    pub fn logits(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.check_window(tokens)?;
        TransformerState::new(self).read(tokens, false)
    }

    /// How much each of `tokens` looks at each one up to itself: of every layer
    /// `[heads, tokens, tokens]`, row-major, the rows adding up to 1. Computed on the CPU.
    ///
    /// # Errors
    /// As [`Transformer::logits`].
    pub fn attention(&self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        self.check_window(tokens)?;
        Ok(Network::new(&self.config, &self.layout).attention(&self.weights, tokens))
    }
}

impl ModelConfig for TransformerConfig {
    type Model = Transformer;
}

impl Sealed for Transformer {
    type Config = TransformerConfig;

    const NAME: &'static str = "transformer";

    fn count(config: &TransformerConfig, vocabulary: usize) -> Result<usize> {
        config.parameters(vocabulary)
    }

    fn untrained(
        config: &TransformerConfig,
        vocabulary: Vocabulary,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        Self::new(config, vocabulary, seed, device)
    }

    fn with_flat(
        config: &TransformerConfig,
        vocabulary: Vocabulary,
        weights: Vec<f32>,
        device: &Device,
    ) -> Result<Self> {
        Self::from_weights(config, vocabulary, weights, device)
    }

    fn reweighted(&self, weights: Vec<f32>) -> Result<Self> {
        Self::from_weights(&self.config, self.vocabulary.clone(), weights, &self.device)?
            .with_compute(self.compute())
    }

    fn trainable(&self, compute: Compute) -> Result<Box<dyn Engine>> {
        self.engine(compute)
    }

    fn shape(&self) -> &TransformerConfig {
        &self.config
    }

    fn entries(&self) -> &[Entry] {
        &self.layout.entries
    }

    fn names(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn reading(&self) -> Reading {
        Reading {
            window: self.config.context,
            carried: false,
            dropout: self.config.dropout,
        }
    }

    fn scored(&self, data: &TokenSequences) -> Vec<Example> {
        everything(data, self.config.context)
    }
}

impl LanguageModel for Transformer {
    fn vocabulary_size(&self) -> usize {
        self.vocabulary.len()
    }

    fn context(&self) -> Option<usize> {
        Some(self.config.context)
    }

    fn start(&self) -> Result<Box<dyn LanguageState + '_>> {
        Ok(Box::new(TransformerState::new(self)))
    }

    /// Text longer than the context is scored in consecutive windows, as in validation.
    fn log_probabilities(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.vocabulary.check("tokens", tokens)?;
        let data = TokenSequences::stream(tokens.to_vec());
        let mut out = Vec::with_capacity(tokens.len());
        for example in everything(&data, self.config.context) {
            let logits = self.logits(&example.inputs)?;
            let rows = logits.chunks_exact(self.vocabulary.len());
            out.extend(
                rows.zip(&example.targets)
                    .map(|(row, &t)| log_probability(row, t)),
            );
        }
        Ok(out)
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
