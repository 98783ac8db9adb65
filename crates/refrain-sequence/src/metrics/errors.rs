//! Edit distance, and the error rates of words and characters.

use super::check_pairs;
use crate::{Error, Result};

/// The least number of substitutions, deletions and insertions that make one sequence of the other
/// (Levenshtein, 1966), in `a · b` operations.
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    // The distances of all beginnings of `b` from what has been read of `a`.
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let (mut left, mut diagonal) = (i + 1, i);
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            let changed = diagonal + usize::from(x != y);
            row[j] = left;
            (left, diagonal) = (changed.min(above + 1).min(left + 1), above);
        }
        row[b.len()] = left;
    }
    row[b.len()]
}

/// How many edits make the outputs of the truths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ErrorRate {
    /// Words or characters put in place of others, left out, or put in.
    pub edits: usize,
    /// Words or characters of the truths.
    pub length: usize,
}

impl ErrorRate {
    /// The edits of these sequences.
    pub fn of<T: PartialEq>(truth: &[T], found: &[T]) -> Self {
        Self {
            edits: edit_distance(truth, found),
            length: truth.len(),
        }
    }

    /// Edits per word or character of the truth; above 1 where more was put in than there is. 0 for
    /// an empty truth that is matched, infinite for one that is not.
    pub fn rate(&self) -> f64 {
        match (self.edits, self.length) {
            (0, _) => 0.0,
            (edits, length) => edits as f64 / length as f64,
        }
    }
}

impl std::ops::AddAssign for ErrorRate {
    fn add_assign(&mut self, other: Self) {
        self.edits += other.edits;
        self.length += other.length;
    }
}

/// The word error rate of all texts together: edits per word of the truth. Words are what stands
/// between spaces.
///
/// ```
/// use refrain_sequence::metrics::word_error_rate;
/// let rate = word_error_rate(&["the cat sat", "on it"], &["a cat sat", "on it too"])?;
/// assert_eq!((rate.edits, rate.length, rate.rate()), (2, 5, 0.4));
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
///
/// # Errors
/// [`Error::Core`] for other numbers of outputs than of truths, [`Error::TooShort`] where the
/// truths have no word.
pub fn word_error_rate(truth: &[impl AsRef<str>], found: &[impl AsRef<str>]) -> Result<ErrorRate> {
    rate(truth, found, |text| text.split_whitespace().collect())
}

/// The character error rate of all texts together: edits per character of the truth, spaces inside
/// a text included.
///
/// # Errors
/// As [`word_error_rate`].
pub fn character_error_rate(
    truth: &[impl AsRef<str>],
    found: &[impl AsRef<str>],
) -> Result<ErrorRate> {
    rate(truth, found, |text| text.trim().chars().collect())
}

fn rate<'a, T: PartialEq>(
    truth: &'a [impl AsRef<str>],
    found: &'a [impl AsRef<str>],
    parts: impl Fn(&'a str) -> Vec<T>,
) -> Result<ErrorRate> {
    check_pairs(truth.len(), found.len())?;
    let mut sum = ErrorRate::default();
    for (truth, found) in truth.iter().zip(found) {
        sum += ErrorRate::of(&parts(truth.as_ref()), &parts(found.as_ref()));
    }
    match sum.length {
        0 => Err(Error::TooShort {
            what: "words of the truth".to_string(),
            needed: 1,
            found: 0,
        }),
        _ => Ok(sum),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// By the definition, without a table.
    fn naive(a: &[u8], b: &[u8]) -> usize {
        match (a.split_first(), b.split_first()) {
            (None, _) => b.len(),
            (_, None) => a.len(),
            (Some((x, a_rest)), Some((y, b_rest))) if x == y => naive(a_rest, b_rest),
            (Some((_, a_rest)), Some((_, b_rest))) => {
                let best = naive(a_rest, b_rest).min(naive(a_rest, b));
                1 + best.min(naive(a, b_rest))
            }
        }
    }

    proptest! {
        #[test]
        fn the_distance_is_that_of_the_definition(
            a in proptest::collection::vec(0u8..3, 0..7),
            b in proptest::collection::vec(0u8..3, 0..7),
        ) {
            prop_assert_eq!(edit_distance(&a, &b), naive(&a, &b));
        }
    }

    /// Made by `tests/golden/metrics/make.py`.
    #[test]
    fn rates_equal_jiwers() {
        let golden = include_str!("../../tests/golden/metrics/errors.json");
        let golden: Vec<(Vec<String>, Vec<String>, f64, f64)> =
            serde_json::from_str(golden).unwrap();
        assert!(golden.len() >= 5);
        for (truth, found, words, characters) in &golden {
            let wer = word_error_rate(truth, found).unwrap().rate();
            let cer = character_error_rate(truth, found).unwrap().rate();
            assert!((wer - words).abs() < 1e-12, "{truth:?}: {wer} {words}");
            assert!(
                (cer - characters).abs() < 1e-12,
                "{truth:?}: {cer} {characters}"
            );
        }
    }

    #[test]
    fn empty_truths() {
        assert!(word_error_rate(&[" "], &["a"]).is_err());
        assert!(word_error_rate(&[""; 0], &[""; 0]).is_err());
        assert_eq!(ErrorRate::of::<u8>(&[], &[]).rate(), 0.0);
        assert_eq!(ErrorRate::of(&[], &[1]).rate(), f64::INFINITY);
    }
}
