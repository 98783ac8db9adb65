//! How well a model's output agrees with the truth.

mod classes;
mod errors;
mod spans;

pub use classes::{ClassScores, Matches};
pub use errors::{ErrorRate, character_error_rate, edit_distance, word_error_rate};
pub use spans::{Span, SpanScores, spans, to_iob2};

use crate::{Error, Result};

/// As many outputs as truths, and one at least.
fn check_pairs(truth: usize, found: usize) -> Result<()> {
    crate::ragged::check_size("outputs, one for each truth", truth, found)?;
    match truth {
        0 => Err(Error::TooShort {
            what: "outputs to score".to_string(),
            needed: 1,
            found: 0,
        }),
        _ => Ok(()),
    }
}
