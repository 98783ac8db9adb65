/// What can go wrong while fitting, asking, saving or judging a recommender.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The user was not in the data the model was fitted on.
    #[error(
        "user {id:?} is unknown to this model; for someone new, `recommend_for` takes a history"
    )]
    UnknownUser {
        /// The id that was asked for.
        id: String,
    },
    /// The item was not in the data the model was fitted on.
    #[error("item {id:?} is unknown to this model")]
    UnknownItem {
        /// The id that was asked for.
        id: String,
    },
    /// A dense number that no user or item has.
    #[error("{what} number {index} is out of range: there are {count}")]
    Index {
        /// `user` or `item`.
        what: &'static str,
        /// The number that was given.
        index: u32,
        /// How many there are.
        count: usize,
    },
    /// A slice of the wrong length.
    #[error("{what} has {found} values, expected {expected}")]
    Length {
        /// Which slice.
        what: String,
        /// How many values it should have.
        expected: usize,
        /// How many it has.
        found: usize,
    },
    /// A setting outside its range.
    #[error("{model}: {field} is {value}, {expected}")]
    Config {
        /// The model's name.
        model: &'static str,
        /// The field of its config.
        field: &'static str,
        /// The value it has.
        value: String,
        /// What it has to be.
        expected: &'static str,
    },
    /// A weight that is not a finite number.
    #[error("the weight of item {item:?} is {weight}, which is not a finite number")]
    Weight {
        /// The item's id.
        item: String,
        /// The weight.
        weight: f32,
    },
    /// Data that this model cannot be fitted on.
    #[error("{model} cannot be fitted: {reason}")]
    Data {
        /// The model's name.
        model: &'static str,
        /// What is missing or wrong.
        reason: String,
    },
    /// Training diverged.
    #[error("{model} diverged in iteration {iteration}: {reason}")]
    Diverged {
        /// The model's name.
        model: &'static str,
        /// The iteration.
        iteration: usize,
        /// What was seen, and what to change.
        reason: String,
    },
    /// The device refused to compute or to return a value.
    #[error("the device failed: {reason}")]
    Device {
        /// What it said.
        reason: String,
    },
    /// Two things that do not share their users and items.
    #[error("{left} and {right} do not have the same {what}; splits of one log do")]
    Mismatch {
        /// One of the two.
        left: String,
        /// The other one.
        right: String,
        /// `users` or `items`.
        what: &'static str,
    },
    /// A question to which this model has no answer.
    #[error("{model} cannot {what}")]
    Unsupported {
        /// The model's name.
        model: String,
        /// What was asked.
        what: &'static str,
    },
    /// The journal of a search that does not fit it.
    #[error("{path}, line {line}: {reason}")]
    Journal {
        /// The file.
        path: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A model file of a kind this crate does not know.
    #[error("{origin}: a model of kind {kind:?} is not a recommender of this version")]
    UnknownKind {
        /// The file.
        origin: String,
        /// The kind it names.
        kind: String,
    },
    /// A model file that holds another type of model than was asked for.
    #[error("{origin}: a model of kind {kind:?} is no {expected}")]
    OtherModel {
        /// The file.
        origin: String,
        /// The kind it names.
        kind: String,
        /// The type that was asked for.
        expected: &'static str,
    },
    /// From the shared parts: model files, ids, cancellation.
    #[error(transparent)]
    Core(#[from] refrain_core::Error),
    /// From the data crate.
    #[error(transparent)]
    Interactions(#[from] refrain_data::Error),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
