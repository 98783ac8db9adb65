use std::path::{Path, PathBuf};

/// What can be wrong with data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Something in the shared parts: too many ids, a cancelled run, a damaged model file.
    #[error(transparent)]
    Core(#[from] refrain_core::Error),
    /// Reading or writing failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A line of a file that cannot be used.
    #[error("{origin}, line {line}: {reason}")]
    Row {
        /// The file.
        origin: String,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be used as a whole.
    #[error("{origin}: {reason}")]
    File {
        /// The file.
        origin: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A column that the file does not have.
    #[error("{origin}: no column {column}; it has {known}")]
    NoColumn {
        /// The file.
        origin: String,
        /// The column that was asked for.
        column: String,
        /// The columns there are.
        known: String,
    },
    /// Nothing to work with.
    #[error("{origin}: there are no events")]
    Empty {
        /// The file, or what was built.
        origin: String,
    },
    /// An event whose weight is NaN or infinite.
    #[error("event {event}: weight is {value}")]
    Weight {
        /// The event, counted from 1.
        event: u64,
        /// Its weight.
        value: f32,
    },
    /// An event whose number belongs to no id.
    #[error("event {event}: {what} {index} is unknown; there are {count}")]
    Index {
        /// The event, counted from 1.
        event: u64,
        /// `user` or `item`.
        what: &'static str,
        /// Its number.
        index: u32,
        /// How many ids there are.
        count: usize,
    },
    /// The same user and item twice, under [`Duplicates::Error`](crate::Duplicates::Error).
    #[error("user {user:?} and item {item:?} occur more than once")]
    Duplicate {
        /// The user's id.
        user: String,
        /// The item's id.
        item: String,
    },
    /// Weights of one pair that add up beyond `f32`.
    #[error("the weights of user {user:?} and item {item:?} add up to {value}")]
    Overflow {
        /// The user's id.
        user: String,
        /// The item's id.
        item: String,
        /// The sum.
        value: f64,
    },
    /// Some events carry a time and others do not.
    #[error("event {event} has {}", if *.has_time { "a time, the ones before have none" } else { "no time, the ones before have one" })]
    MixedTimes {
        /// The event, counted from 1.
        event: u64,
        /// Whether this one has a time.
        has_time: bool,
    },
    /// The work needs times and the log has none.
    #[error("{what} needs times, and this log has none")]
    NoTimes {
        /// What was asked for.
        what: &'static str,
    },
    /// A setting outside its range.
    #[error("{field} is {value}; it must be {must}")]
    Config {
        /// The setting.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        must: &'static str,
    },
    /// A split that leaves one side without events.
    #[error("{split}: {reason}")]
    Split {
        /// The kind of split.
        split: &'static str,
        /// Why it cannot be made.
        reason: String,
    },
    /// A public data set that is not where it was looked for.
    #[error("{}: not found. {name} comes from {url}; terms: {terms}", path.display())]
    DataSet {
        /// The file that is missing.
        path: PathBuf,
        /// The data set.
        name: &'static str,
        /// Where it comes from.
        url: &'static str,
        /// What its licence allows.
        terms: &'static str,
    },
    /// A row of features that cannot be used.
    #[error("{id:?}, column {column:?}: {reason}")]
    Feature {
        /// The row's id.
        id: String,
        /// The column.
        column: String,
        /// What is wrong.
        reason: String,
    },
    /// A sparse matrix whose parts do not fit together.
    #[error("{origin}: {reason}")]
    Matrix {
        /// Where the matrix came from.
        origin: String,
        /// What does not fit.
        reason: String,
    },
}

impl Error {
    /// An input/output error that names its file.
    pub(crate) fn io(path: impl AsRef<Path>, source: std::io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_path_buf(),
            source,
        }
    }

    /// An error that names the line.
    pub(crate) fn row(origin: &str, line: u64, reason: impl Into<String>) -> Self {
        Self::Row {
            origin: origin.to_owned(),
            line,
            reason: reason.into(),
        }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
