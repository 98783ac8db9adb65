//! ROUGE: how much of a reference a summary has (Lin, *ROUGE: A Package for Automatic Evaluation of
//! Summaries*, 2004).

use std::collections::HashMap;
use std::hash::Hash;

/// What two texts share, as parts of each.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Overlap {
    /// Shared, by what the candidate has.
    pub precision: f64,
    /// Shared, by what the reference has.
    pub recall: f64,
    /// Their harmonic mean, `2 p r / (p + r)`; 0 where both are.
    pub f1: f64,
}

impl Overlap {
    fn new(shared: usize, candidate: usize, reference: usize) -> Self {
        let part = |all: usize| shared as f64 / all.max(1) as f64;
        let (precision, recall) = (part(candidate), part(reference));
        let f1 = match shared {
            0 => 0.0,
            _ => 2.0 * precision * recall / (precision + recall),
        };
        Self {
            precision,
            recall,
            f1,
        }
    }
}

/// ROUGE-1, -2 and -L of a candidate and a reference.
///
/// A word that stands several times is shared as often as both have it. Where there is nothing to share (no
/// words; no pairs of a single word), the part is 0. Costs the product of both lengths, for ROUGE-L.
///
/// ```
/// use refrain_sequence::metrics::Rouge;
/// let rouge = Rouge::of("police killed the gunman", "police kill the gunman");
/// assert_eq!(rouge.words.f1, 0.75); // 3 of 4
/// assert_eq!(rouge.pairs.f1, 1.0 / 3.0); // "the gunman"
/// assert_eq!(rouge.longest.f1, 0.75); // police … the gunman
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rouge {
    /// ROUGE-1: words.
    pub words: Overlap,
    /// ROUGE-2: pairs of neighbouring words.
    pub pairs: Overlap,
    /// ROUGE-L: the longest common subsequence of words.
    pub longest: Overlap,
}

impl Rouge {
    /// Of two texts. Words are runs of `a` to `z` and `0` to `9` in lower case, as PyPI `rouge-score` has
    /// them without its stemmer; for other scripts, see [`of_words`](Self::of_words).
    pub fn of(candidate: &str, reference: &str) -> Self {
        Self::of_words(&words(candidate), &words(reference))
    }

    /// Of two texts in words of your own.
    pub fn of_words<T: Eq + Hash>(candidate: &[T], reference: &[T]) -> Self {
        Self {
            words: shared(candidate, reference, 1),
            pairs: shared(candidate, reference, 2),
            longest: Overlap::new(
                longest_common(candidate, reference),
                candidate.len(),
                reference.len(),
            ),
        }
    }

    /// The mean of each number over several texts; 0 of none.
    pub fn mean(all: &[Self]) -> Self {
        let n = all.len().max(1) as f64;
        let mean = |part: fn(&Self) -> Overlap| {
            let of =
                |number: fn(Overlap) -> f64| all.iter().map(|r| number(part(r))).sum::<f64>() / n;
            Overlap {
                precision: of(|o| o.precision),
                recall: of(|o| o.recall),
                f1: of(|o| o.f1),
            }
        };
        Self {
            words: mean(|r| r.words),
            pairs: mean(|r| r.pairs),
            longest: mean(|r| r.longest),
        }
    }
}

fn words(text: &str) -> Vec<String> {
    let lower = text.to_lowercase();
    lower
        .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
        .filter(|word| !word.is_empty())
        .map(str::to_string)
        .collect()
}

/// Runs of `n` words, each counted as often as both have it.
fn shared<T: Eq + Hash>(candidate: &[T], reference: &[T], n: usize) -> Overlap {
    let mut left: HashMap<&[T], usize> = HashMap::new();
    for run in reference.windows(n) {
        *left.entry(run).or_default() += 1;
    }
    let mut shared = 0;
    for run in candidate.windows(n) {
        if let Some(count) = left.get_mut(run).filter(|count| **count > 0) {
            *count -= 1;
            shared += 1;
        }
    }
    let runs = |words: &[T]| (words.len() + 1).saturating_sub(n);
    Overlap::new(shared, runs(candidate), runs(reference))
}

/// The length of the longest common subsequence.
fn longest_common<T: Eq>(a: &[T], b: &[T]) -> usize {
    // Of the words of `a` so far with each beginning of `b`.
    let mut row = vec![0; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (y, at) in b.iter().zip(1..) {
            let above = row[at];
            row[at] = match x == y {
                true => diagonal + 1,
                false => above.max(row[at - 1]),
            };
            diagonal = above;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Golden {
        candidate: String,
        reference: String,
        scores: [[f64; 3]; 3],
    }

    /// `tests/golden/make_rouge.py` made the file with PyPI rouge-score 0.1.2.
    #[test]
    fn agrees_with_rouge_score() {
        let golden: Vec<Golden> =
            serde_json::from_str(include_str!("../../tests/golden/rouge.json")).unwrap();
        let mut all = Vec::new();
        for pair in &golden {
            let rouge = Rouge::of(&pair.candidate, &pair.reference);
            for (found, expected) in [rouge.words, rouge.pairs, rouge.longest]
                .iter()
                .zip(&pair.scores)
            {
                let found = [found.precision, found.recall, found.f1];
                for (a, b) in found.iter().zip(expected) {
                    assert!(
                        (a - b).abs() < 1e-12,
                        "{:?}: {found:?} {expected:?}",
                        pair.candidate
                    );
                }
            }
            all.push(rouge);
        }
        let mean = golden.iter().map(|g| g.scores[1][1]).sum::<f64>() / golden.len() as f64;
        assert!((Rouge::mean(&all).pairs.recall - mean).abs() < 1e-12);
        assert_eq!(Rouge::mean(&[]), Rouge::default());
    }

    /// All subsequences, tried.
    fn longest_reference(a: &[u8], b: &[u8]) -> usize {
        match (a.split_first(), b.split_first()) {
            (Some((x, a_rest)), Some((y, b_rest))) => match x == y {
                true => 1 + longest_reference(a_rest, b_rest),
                false => longest_reference(a_rest, b).max(longest_reference(a, b_rest)),
            },
            _ => 0,
        }
    }

    proptest! {
        #[test]
        fn the_longest_is_the_longest(
            a in proptest::collection::vec(0u8..4, 0..9), b in proptest::collection::vec(0u8..4, 0..9),
        ) {
            prop_assert_eq!(longest_common(&a, &b), longest_reference(&a, &b));
            let (one, other) = (Rouge::of_words(&a, &b), Rouge::of_words(&b, &a));
            prop_assert_eq!(one.pairs.precision, other.pairs.recall);
            prop_assert!(one.longest.f1 <= one.words.f1 + 1e-12);
        }
    }
}
