/// What can go wrong while training, reading or asking embeddings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a config holds a value that cannot work.
    #[error("{field} is {value}: {reason}")]
    Config {
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        reason: &'static str,
    },
    /// No word occurs often enough to be learned.
    #[error(
        "nothing to learn from: of {tokens} tokens no word occurs at least {min_count} times \
         (lower min_count, or check that the corpus is not empty)"
    )]
    EmptyVocabulary {
        /// How many tokens the corpus holds.
        tokens: u64,
        /// The least count a word must have.
        min_count: u64,
    },
    /// An example without a label, or with several where there may be one.
    #[error(
        "example {example} has {found} labels: it must have one, or any number of them where `several` \
         is set"
    )]
    Labels {
        /// Which one, counted from 0.
        example: usize,
        /// How many labels it has.
        found: usize,
    },
    /// A corpus in which no two known words stand near each other.
    #[error("nothing to learn from: none of the {tokens} tokens has another near it")]
    NoPairs {
        /// How many tokens of the vocabulary there are.
        tokens: u64,
    },
    /// A word that the vocabulary does not hold.
    #[error("the vocabulary has no word {word:?}")]
    UnknownWord {
        /// The word that was asked for.
        word: String,
    },
    /// A question about words that needs more of them.
    #[error("{what}: needs at least {expected} words, got {found}")]
    TooFewWords {
        /// The question.
        what: &'static str,
        /// How many it needs.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A vector whose length is not that of the embeddings.
    #[error("{what}: expected {expected} values, found {found}")]
    Shape {
        /// Which value.
        what: String,
        /// How many were expected.
        expected: usize,
        /// How many there were.
        found: usize,
    },
    /// A vector with a value that is infinite or not a number.
    #[error("the vector of {word:?} has a value that is not a finite number")]
    NotFinite {
        /// Whose vector.
        word: String,
    },
    /// Training left the range of numbers.
    #[error(
        "training diverged: the loss is {loss} at step {step} (epoch {epoch}); \
         lower the learning rate"
    )]
    Diverged {
        /// The loss, infinite or not a number.
        loss: f64,
        /// Tokens trained on so far, over all epochs.
        step: u64,
        /// The epoch, counted from 1.
        epoch: usize,
    },
    /// Training that stopped in the middle of an epoch.
    #[error("epoch {epoch} was interrupted: go back to the last checkpoint")]
    Interrupted {
        /// The epoch, counted from 1.
        epoch: usize,
    },
    /// A corpus that is not the one training began with.
    #[error("the corpus changed: expected {expected} tokens of the vocabulary, found {found}")]
    CorpusChanged {
        /// Tokens when training began.
        expected: u64,
        /// Tokens now.
        found: u64,
    },
    /// Other examples than those that training began with.
    #[error("the examples are not those that training began with, in their order")]
    ExamplesChanged,
    /// A device that did not give its values back.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
    /// A file of vectors that cannot be understood.
    #[error("{origin}, {place}: {reason}")]
    Vectors {
        /// The file.
        origin: String,
        /// Where in it: a line or a word, counted from 1.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Files, devices, ids and cancellation.
    #[error(transparent)]
    Core(#[from] refrain_core::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn unknown(word: impl Into<String>) -> Self {
        Self::UnknownWord { word: word.into() }
    }
}
