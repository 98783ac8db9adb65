/// What can go wrong while training or using a generative adversarial network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is nothing to work on.
    #[error("{what}: there are none")]
    Empty {
        /// Where images were expected.
        what: &'static str,
    },
    /// A number of values, or a shape, that does not fit.
    #[error("{what}: expected {expected}, found {found}")]
    Shape {
        /// What was being read.
        what: String,
        /// What was expected there.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A pixel that is no brightness.
    #[error("image {image}, value {position}: {value} is not between 0 and {max}")]
    Pixel {
        /// Which image.
        image: usize,
        /// Which value of it, counted channel by channel, row by row.
        position: usize,
        /// The value.
        value: f32,
        /// The brightest value allowed.
        max: f32,
    },
    /// A class label without a class.
    #[error("image {image}: label {label} is not below the number of classes, {classes}")]
    Label {
        /// Which image.
        image: usize,
        /// Its label.
        label: u32,
        /// How many classes there are.
        classes: usize,
    },
    /// A class was asked of a model, or a metric, that knows none, or not that one.
    #[error("{0}")]
    Class(String),
    /// A setting that cannot work.
    #[error("{field}: {reason}")]
    Config {
        /// The setting, as a path of field names.
        field: String,
        /// Why it cannot work.
        reason: String,
    },
    /// The losses are no longer numbers.
    #[error(
        "training diverged at step {step}: the {network}'s loss is {loss}, its gradient {gradient} \
         long; lower `{network}_adam.rate`, or add a penalty on the discriminator"
    )]
    Diverged {
        /// The step, counted from 1.
        step: u64,
        /// `generator` or `discriminator`.
        network: &'static str,
        /// The loss.
        loss: f32,
        /// The length of the gradient for the weights.
        gradient: f32,
    },
    /// A game in which a step failed was to go on or to be saved.
    #[error(
        "step {step} failed halfway, so this game cannot go on or be saved: go back to an earlier \
         checkpoint"
    )]
    Broken {
        /// The step, counted from 1.
        step: u64,
    },
    /// A matrix whose eigenvalues could not be found, or that holds values that are not finite.
    #[error("{what}: {reason}")]
    Numeric {
        /// What was being computed.
        what: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// A saved model or checkpoint whose parts do not fit together.
    #[error("{file}: {reason}")]
    Saved {
        /// The file.
        file: String,
        /// What does not fit.
        reason: String,
    },
    /// A picture could not be made, read or written.
    #[error("{file}: {reason}")]
    Picture {
        /// The file, or `sheet` for one in memory.
        file: String,
        /// What went wrong.
        reason: String,
    },
    /// The device could not do its part.
    #[error("device: {0}")]
    Device(String),
    /// Cancelled, a file that cannot be read, or one that is no model.
    #[error(transparent)]
    Core(#[from] refrain_core::Error),
    /// A sequence model could not be trained or asked.
    #[cfg(feature = "sequence")]
    #[error(transparent)]
    Sequence(#[from] refrain_sequence::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn config(field: &str, reason: impl Into<String>) -> Self {
        Self::Config {
            field: field.to_string(),
            reason: reason.into(),
        }
    }

    pub(crate) fn shape(
        what: impl Into<String>,
        expected: impl std::fmt::Display,
        found: impl std::fmt::Display,
    ) -> Self {
        Self::Shape {
            what: what.into(),
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }

    pub(crate) fn device(error: impl std::fmt::Debug) -> Self {
        Self::Device(format!("{error:?}"))
    }
}
