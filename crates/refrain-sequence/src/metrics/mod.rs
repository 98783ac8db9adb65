//! How good written or labelled sequences are, by the formulas that others publish their numbers with.

mod bleu;
mod chrf;
mod rouge;

pub use bleu::{Bleu, BleuScore};
pub use chrf::ChrF;
pub use rouge::{Overlap, Rouge};

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
