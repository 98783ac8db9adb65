//! How good written or labelled sequences are, by the formulas that others publish their numbers with.

mod bleu;
mod chrf;
mod classes;
mod errors;
mod rouge;
mod self_bleu;
mod spans;

pub use bleu::{Bleu, BleuScore};
pub use chrf::ChrF;
pub use classes::{ClassScores, Matches};
pub use errors::{ErrorRate, character_error_rate, edit_distance, word_error_rate};
pub use rouge::{Overlap, Rouge};
pub use spans::{Span, SpanScores, spans, to_iob2};

use crate::{Error, Result};

/// Words as Python's `str.split` cuts them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    text.split(space).filter(|word| !word.is_empty())
}

/// Refuses texts without references, and references without texts.
fn check_references<R: AsRef<[T]>, T>(texts: usize, references: &[R]) -> Result<()> {
    if texts != references.len() {
        return Err(Error::Core(refrain_core::Error::Shape {
            what: "references".to_string(),
            expected: texts,
            found: references.len(),
        }));
    }
    match references.iter().position(|r| r.as_ref().is_empty()) {
        None => Ok(()),
        Some(at) => Err(Error::TooShort {
            what: format!("references of text {at}"),
            needed: 1,
            found: 0,
        }),
    }
}

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
