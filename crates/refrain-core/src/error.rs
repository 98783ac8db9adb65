use std::path::{Path, PathBuf};

/// What can go wrong in the shared parts.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No device of that name exists.
    #[error("no device is called {name:?}; known: cpu, flex, ndarray, wgpu, cuda")]
    UnknownDevice {
        /// The name that was asked for.
        name: String,
    },
    /// The device exists, but this build does not contain it.
    #[error("device {device:?} is not in this build: enable the cargo feature `{feature}`")]
    MissingFeature {
        /// The device that was asked for.
        device: String,
        /// The cargo feature that brings it.
        feature: &'static str,
    },
    /// The device is compiled in, but the machine has none.
    #[error("device {device:?} cannot be used on this machine: {reason}")]
    DeviceUnavailable {
        /// The device that was asked for.
        device: String,
        /// What the driver said, or what to install.
        reason: String,
    },
    /// More ids than a `u32` counts.
    #[error("too many ids: {count} is more than 4294967295")]
    TooManyIds {
        /// How many there were.
        count: usize,
    },
    /// The caller cancelled the work.
    #[error("cancelled during {stage}")]
    Cancelled {
        /// The stage that was running.
        stage: String,
    },
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A model file that cannot be trusted or understood.
    #[error("{origin}: {reason}")]
    ModelFile {
        /// The file, or `memory`.
        origin: String,
        /// What is wrong, and where.
        reason: String,
    },
    /// Slices whose lengths do not fit together.
    #[error("{what}: expected {expected} values, found {found}")]
    Shape {
        /// Which value.
        what: String,
        /// How many were expected.
        expected: usize,
        /// How many there were.
        found: usize,
    },
}

impl Error {
    /// An input/output error that names its file.
    pub fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_path_buf(),
            source,
        }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
