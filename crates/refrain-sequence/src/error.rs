use std::fmt::Display;
use std::path::{Path, PathBuf};

/// What can go wrong when a sequence model is trained, loaded or asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A field of a config that no model can have.
    #[error("{field} is {value}: {expected}")]
    Config {
        /// The field, as in `TransformerConfig.heads`.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A token outside the vocabulary.
    #[error("{place}: token {token} is not in a vocabulary of {vocabulary}")]
    Token {
        /// Where it stands.
        place: String,
        /// The token.
        token: u32,
        /// How many tokens the vocabulary has.
        vocabulary: usize,
    },
    /// Text that the tokenizer cannot express.
    #[error("byte {position}: {symbol:?} is not in the vocabulary")]
    Symbol {
        /// The character or name.
        symbol: String,
        /// Where it starts in the text.
        position: usize,
    },
    /// Too little of something to work with.
    #[error("{what}: needs at least {needed}, found {found}")]
    TooShort {
        /// What is too short.
        what: String,
        /// The least that works.
        needed: usize,
        /// What there was.
        found: usize,
    },
    /// The loss or the gradient stopped being a number. The last checkpoint, where
    /// one was written, has the best weights until then: see
    /// [`Trained::from_checkpoint`](crate::Trained::from_checkpoint).
    #[error(
        "step {step}: the loss is {loss} and the gradient's norm {gradient_norm}, at learning rate \
         {learning_rate:.2e}, on {batch}; try a lower learning rate"
    )]
    Diverged {
        /// The step, counted from 0.
        step: usize,
        /// The training loss of that step.
        loss: f64,
        /// The gradient's global norm before clipping.
        gradient_norm: f64,
        /// The learning rate of that step.
        learning_rate: f64,
        /// What it read, in words.
        batch: String,
    },
    /// Validation found no number, though training went on. As with [`Diverged`](Self::Diverged), the last
    /// checkpoint has the best weights until then.
    #[error(
        "after {step} steps the validation loss is {loss}{}; try a lower learning rate, and look for \
         held-out examples that the model cannot judge",
        error.map(|e| format!(", the validation error {e}")).unwrap_or_default()
    )]
    Validation {
        /// How many steps were done.
        step: usize,
        /// The validation loss, in nats per target.
        loss: f64,
        /// What weights are ranked by in its place, where they are.
        error: Option<f64>,
    },
    /// A checkpoint that does not fit what it should continue.
    #[error("{}: {reason}", path.display())]
    Checkpoint {
        /// The checkpoint.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// A tensor that does not fit the model it was given to.
    #[error("tensor {name} {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What does not fit.
        reason: String,
    },
    /// The device refused to compute or to return a value.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
    /// A label that the model does not have.
    #[error("{place}: no label is called {label:?}")]
    Label {
        /// Where it stands.
        place: String,
        /// The label.
        label: String,
    },
    /// No token is left to choose from.
    #[error("position {position}: every token has been ruled out")]
    NoTokenLeft {
        /// How many tokens stood before it.
        position: usize,
    },
    /// A tensor in a file that is missing, or not what the model needs.
    #[error("{}, tensor {tensor}: {reason}", file.display())]
    FileTensor {
        /// The file or folder.
        file: PathBuf,
        /// Its name in the file.
        tensor: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A line of a file that is no example.
    #[error("{}, line {line}: {reason}", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A tokenizer that cannot be read, trained or applied.
    #[error("{origin}: {reason}")]
    Tokenizer {
        /// The file, or `memory`.
        origin: String,
        /// What is wrong.
        reason: String,
    },
    /// Files, devices, cancellation.
    #[error(transparent)]
    Core(#[from] refrain_core::Error),
}

impl Error {
    pub(crate) fn config(field: &'static str, value: impl Display, expected: &'static str) -> Self {
        Self::Config {
            field,
            value: value.to_string(),
            expected,
        }
    }

    pub(crate) fn tensor(name: &str, reason: impl Display) -> Self {
        Self::Tensor {
            name: name.to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn device(reason: impl Display) -> Self {
        Self::Device {
            reason: reason.to_string(),
        }
    }

    pub(crate) fn checkpoint(path: &Path, reason: impl Display) -> Self {
        Self::Checkpoint {
            path: path.to_path_buf(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn file_tensor(file: &Path, tensor: &str, reason: impl Display) -> Self {
        Self::FileTensor {
            file: file.to_path_buf(),
            tensor: tensor.to_string(),
            reason: reason.to_string(),
        }
    }

    #[cfg(feature = "tokenizers")]
    pub(crate) fn tokenizer(origin: &str, reason: impl Display) -> Self {
        Self::Tokenizer {
            origin: origin.to_string(),
            reason: reason.to_string(),
        }
    }

    pub(crate) fn file(origin: &str, reason: impl Display) -> Self {
        Self::Core(refrain_core::Error::ModelFile {
            origin: origin.to_string(),
            reason: reason.to_string(),
        })
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
