//! Recommenders that read a history in its order: what comes next.

mod markov;
#[cfg(feature = "sequential")]
mod neural;
mod sequences;
mod session_knn;

pub use markov::{Markov, MarkovModel};
#[cfg(feature = "sequential")]
pub use neural::{
    Bert4Rec, Gru4Rec, NextItemLoss, NextItemModel, Order, SasRec, Settings, Training, TwoTower,
};
pub use sequences::Sequences;
pub use session_knn::{SessionKnn, SessionKnnModel};

pub(crate) use markov::READER as MARKOV;
#[cfg(feature = "sequential")]
pub(crate) use neural::READER as NEXT_ITEM;
pub(crate) use session_knn::READER as SESSION_KNN;

use crate::{Error, Memory, Result, Who};

/// The history of a user or of someone else, oldest first, as the sequential models read it: known
/// items only, events of weight 0 or below left out, repetitions kept.
fn ordered(memory: &Memory, sequences: &Sequences, who: Who<'_>) -> Result<Vec<u32>> {
    match who {
        Who::User(user) => {
            memory.check_user(user)?;
            Ok(sequences.of(user).to_vec())
        }
        Who::History(history) => {
            memory.tidy(history)?;
            let kept = history.iter().filter(|&&(_, weight)| weight > 0.0);
            Ok(kept.map(|&(item, _)| item).collect())
        }
    }
}

/// Refuses a setting that is not a finite number in its range.
fn check(
    model: &'static str,
    field: &'static str,
    value: f64,
    fits: bool,
    expected: &'static str,
) -> Result<()> {
    match value.is_finite() && fits {
        true => Ok(()),
        false => Err(Error::Config {
            model,
            field,
            value: value.to_string(),
            expected,
        }),
    }
}
