//! Models that read a sentence of words: a label for each of them, or one for all.

mod classifier;
mod encode;
pub(crate) mod file;
mod labeller;
mod labelling;
mod reader;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use classifier::SentenceClassifier;
pub use encode::EncodedSentence;
#[cfg(feature = "tokenizers")]
pub(crate) use labeller::negative_likelihood;
pub use labeller::{LabelScheme, LabelledSentence, Labeller, LabellerConfig};
pub(crate) use reader::seeded;

use crate::rnn::Cell;
use crate::{Error, Result};

/// Words in order, and what else is known of each.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sentence {
    /// The words.
    pub words: Vec<String>,
    /// Values that each word brings along, `[words, `[`SentenceConfig::features`]`]` row-major: a
    /// vector from elsewhere, whether it is the predicate. Empty where there are none.
    pub features: Vec<f32>,
}

impl Sentence {
    /// A sentence of words alone.
    pub fn new<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Self {
        Self {
            words: words.into_iter().map(Into::into).collect(),
            features: Vec::new(),
        }
    }
}

/// A label and how likely the model takes it to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The label.
    pub label: String,
    /// Its probability, between 0 and 1.
    pub probability: f32,
}

/// What lets the words of a sentence know of each other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Body {
    /// Recurrent layers in both directions.
    Recurrent {
        /// Their kind.
        cell: Cell,
        /// The length of a hidden state, in each direction.
        hidden: usize,
        /// How many.
        layers: usize,
    },
    /// Attention of all words to all, norms first, with sinusoids for the positions (Vaswani et
    /// al., 2017).
    Transformer {
        /// The length of a word's state.
        width: usize,
        /// Attention heads; they share `width` evenly.
        heads: usize,
        /// The inner width of the feed-forward part.
        hidden: usize,
        /// How many layers.
        layers: usize,
    },
}

/// How a model reads a sentence. A word's input is its vector, what its letters look like, its
/// shape and its own features, side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SentenceConfig {
    /// Length of a word's vector; 0 for none.
    pub word_width: usize,
    /// Words that occur less often in training are read as one unknown word.
    pub min_count: usize,
    /// Whether `The` is `the` for its vector; letters and shape keep it.
    pub lower_case: bool,
    /// Whether the words' vectors are trained; those that are not stay as they were given.
    pub tune_words: bool,
    /// Filters of a convolution over three letters at a time, of which each gives its highest value
    /// in the word (dos Santos and Zadrozny, 2014); 0 for none.
    pub filters: usize,
    /// Length of a letter's vector.
    pub letter_width: usize,
    /// Whether a word says that it is in capitals, has a digit and the like.
    pub shape: bool,
    /// How many values each word of a [`Sentence`] brings along.
    pub features: usize,
    /// What follows.
    pub body: Body,
    /// The share of values dropped in training, of the inputs, between layers and of the states.
    pub dropout: f32,
    /// The share of words whose vectors are dropped in training, which teaches to do without.
    pub word_dropout: f32,
}

impl Default for SentenceConfig {
    fn default() -> Self {
        Self {
            word_width: 100,
            min_count: 2,
            lower_case: true,
            tune_words: true,
            filters: 50,
            letter_width: 25,
            shape: true,
            features: 0,
            body: Body::Recurrent {
                cell: Cell::Lstm,
                hidden: 100,
                layers: 1,
            },
            dropout: 0.5,
            word_dropout: 0.1,
        }
    }
}

/// Larger than any of these models, small enough that products cannot overflow.
const LIMIT: usize = 1 << 14;

impl SentenceConfig {
    pub(crate) fn validate(&self) -> Result<()> {
        let sizes = match self.body {
            Body::Recurrent { hidden, layers, .. } => {
                [("Body.hidden", hidden), ("Body.layers", layers)]
            }
            Body::Transformer {
                width,
                heads,
                hidden,
                layers,
            } => {
                if heads == 0 || !width.is_multiple_of(heads) || width == 0 || width > LIMIT {
                    let value = format_args!("{width} with {heads} heads");
                    return Err(Error::config("Body.width", value, "a multiple of heads"));
                }
                [("Body.hidden", hidden), ("Body.layers", layers)]
            }
        };
        for (field, value) in sizes {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 16384"));
            }
        }
        for (field, value) in [
            ("SentenceConfig.word_width", self.word_width),
            ("SentenceConfig.filters", self.filters),
            ("SentenceConfig.letter_width", self.letter_width),
            ("SentenceConfig.features", self.features),
        ] {
            if value > LIMIT {
                return Err(Error::config(field, value, "at most 16384"));
            }
        }
        if self.filters > 0 && self.letter_width == 0 {
            let expected = "at least 1 where there are filters";
            return Err(Error::config("SentenceConfig.letter_width", 0, expected));
        }
        if self.inputs() == 0 {
            let expected = "words, letters, shape or features to read";
            return Err(Error::config("SentenceConfig", "empty", expected));
        }
        for (field, rate) in [
            ("SentenceConfig.dropout", self.dropout),
            ("SentenceConfig.word_dropout", self.word_dropout),
        ] {
            if !(0.0..1.0).contains(&rate) {
                return Err(Error::config(field, rate, "at least 0, below 1"));
            }
        }
        Ok(())
    }

    /// Values that a word brings from the host.
    fn given(&self) -> usize {
        self.features + if self.shape { encode::SHAPES } else { 0 }
    }

    /// All values of a word.
    fn inputs(&self) -> usize {
        self.word_width + self.filters + self.given()
    }

    /// Values of a word's state.
    fn states(&self) -> usize {
        match self.body {
            Body::Recurrent { hidden, .. } => 2 * hidden,
            Body::Transformer { width, .. } => width,
        }
    }
}
