//! What the trainer and its checkpoints ask of a model and of its config.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::batch::Example;
use crate::engine::Engine;
use crate::entries::Entry;
use crate::transformer::Compute;
use crate::{Device, LanguageModel, Result, TokenSequences, Vocabulary};

/// A config that [`Trainer::fit`](crate::Trainer::fit) makes a model of.
pub trait ModelConfig: Clone + Serialize + DeserializeOwned {
    /// What it makes.
    type Model: TrainableModel<Config = Self>;
}

/// A model that a [`Trainer`](crate::Trainer) trains: [`Transformer`](crate::Transformer) or
/// [`RnnLm`](crate::RnnLm).
pub trait TrainableModel: LanguageModel + Sealed {}

impl<M: LanguageModel + Sealed> TrainableModel for M {}

/// How a model reads training data.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// Tokens of a window.
    pub(crate) window: usize,
    /// Whether a window goes on with the state that the one before it left.
    pub(crate) carried: bool,
    pub(crate) dropout: f32,
}

/// The part of a model that is not for callers.
pub trait Sealed: Clone {
    /// What makes it.
    type Config: ModelConfig<Model = Self>;

    /// In the kinds of files and in progress messages.
    const NAME: &'static str;

    /// How many weights a model of this shape has.
    fn count(config: &Self::Config, vocabulary: usize) -> Result<usize>;

    fn untrained(
        config: &Self::Config,
        vocabulary: Vocabulary,
        seed: u64,
        device: &Device,
    ) -> Result<Self>;

    fn with_flat(
        config: &Self::Config,
        vocabulary: Vocabulary,
        weights: Vec<f32>,
        device: &Device,
    ) -> Result<Self>;

    /// The same model with other weights, computing in the same way.
    fn reweighted(&self, weights: Vec<f32>) -> Result<Self>;

    /// Something that trains a copy of these weights.
    fn trainable(&self, compute: Compute) -> Result<Box<dyn Engine>>;

    fn shape(&self) -> &Self::Config;

    /// Where each parameter lies among the flat weights.
    fn entries(&self) -> &[Entry];

    fn names(&self) -> &Vocabulary;

    fn reading(&self) -> Reading;

    /// What validation scores: each target once.
    fn scored(&self, data: &TokenSequences) -> Vec<Example>;
}
