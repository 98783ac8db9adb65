//! Word and item embeddings: train, save, load and query.

mod corpus;
mod embeddings;
mod error;
pub mod evaluate;
pub mod formats;
mod skip_gram;
pub mod tokenize;
mod vocabulary;

pub use corpus::Corpus;
pub use embeddings::{Analogy, Embeddings, Neighbour};
pub use error::{Error, Result};
pub use skip_gram::{Engine, EpochReport, SkipGram, SkipGramTraining};
pub use vocabulary::Vocabulary;
