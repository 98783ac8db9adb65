//! How good vectors are, against judgements of people.
//!
//! | question | asked by | files |
//! |---|---|---|
//! | are words that people find alike near each other? | [`word_similarity`] | [`read_pairs`] |
//! | *a* is to *b* as *c* is to what? | [`analogies`] | [`read_analogies`] |
//! | which word does not belong? | [`outliers`] | [`read_outliers`] |
//! | do clusters find the categories of words? | [`categories`] | [`read_categories`] |
//! | what prejudices did they learn? | [`association`] | |
//! | which neighbours are chance? | [`neighbour_stability`] | |
//!
//! Programs differ in what they leave out. gensim's evaluators compare words in upper case and its
//! analogies look at the 300,000 most frequent words alone: [`Embeddings::folded`] and
//! [`Embeddings::most_frequent`] give vectors for which these functions count the same, but for words
//! that stand there in several spellings: gensim lets the vectors of the rarer ones answer analogies.

mod diagnostics;
mod files;
mod groups;
mod sets;

pub use diagnostics::{Association, Stability, association, neighbour_stability};
pub use files::{JudgedPair, Question, parse_analogies, parse_pairs, read_analogies, read_pairs};
pub use groups::{Categories, Outliers, categories, outliers};
pub use sets::{OutlierSet, parse_categories, parse_outliers, read_categories, read_outliers};

use crate::{Analogy, Embeddings, Result};

/// Agreement with pairs of words that people scored.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct WordSimilarity {
    /// Spearman's rank correlation of the cosines and the scores; ties share their mean rank. Not a
    /// number with less than two known pairs.
    pub spearman: f64,
    /// Pairs whose words are both known.
    pub pairs: usize,
    /// Pairs left out because a word is unknown.
    pub unknown: usize,
}

/// Compares cosines with scores, over the pairs whose words are both known.
///
/// ```
/// use refrain_embeddings::{Embeddings, evaluate};
/// let words = Embeddings::from_vectors([("a", [1.0, 0.0]), ("b", [1.0, 0.1]), ("c", [0.0, 1.0])])?;
/// let report =
///     evaluate::word_similarity(&words, [("a", "b", 9.0), ("b", "c", 2.0), ("a", "c", 1.0)]);
/// assert_eq!((report.spearman, report.pairs, report.unknown), (1.0, 3, 0));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
pub fn word_similarity<W: AsRef<str>>(
    embeddings: &Embeddings,
    pairs: impl IntoIterator<Item = (W, W, f64)>,
) -> WordSimilarity {
    let (mut ours, mut theirs, mut unknown) = (Vec::new(), Vec::new(), 0);
    for (a, b, score) in pairs {
        match embeddings.similarity(a.as_ref(), b.as_ref()) {
            Ok(similarity) => {
                ours.push(f64::from(similarity));
                theirs.push(score);
            }
            Err(_) => unknown += 1,
        }
    }
    WordSimilarity {
        spearman: spearman(&ours, &theirs),
        pairs: ours.len(),
        unknown,
    }
}

/// Spearman's rank correlation; ties share their mean rank.
///
/// Not a number for less than two values, or when one side is constant.
pub fn spearman(a: &[f64], b: &[f64]) -> f64 {
    let n = a.len().min(b.len());
    let (a, b) = (ranks(&a[..n]), ranks(&b[..n]));
    let mean = (n as f64 + 1.0) / 2.0;
    let product = |x: &[f64], y: &[f64]| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mean) * (y - mean)).sum()
    };
    product(&a, &b) / (product(&a, &a) * product(&b, &b)).sqrt()
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&i, &j| values[i].total_cmp(&values[j]));
    let mut ranks = vec![0.0; values.len()];
    for tied in order.chunk_by(|&i, &j| values[i] == values[j]) {
        let first = order.partition_point(|&i| values[i].total_cmp(&values[tied[0]]).is_lt());
        let mean = first as f64 + (tied.len() as f64 + 1.0) / 2.0;
        for &i in tied {
            ranks[i] = mean;
        }
    }
    ranks
}

/// How many analogies were solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Analogies {
    /// Questions whose best answer is right.
    pub right: usize,
    /// Questions whose words are all known.
    pub asked: usize,
    /// Questions left out because a word is unknown.
    pub unknown: usize,
}

/// Asks "a is to b as c is to d" for each question, and counts the right answers.
///
/// # Errors
/// None in practice: unknown words are counted.
pub fn analogies<W: AsRef<str>>(
    embeddings: &Embeddings,
    questions: impl IntoIterator<Item = [W; 4]>,
    by: Analogy,
) -> Result<Analogies> {
    let mut report = Analogies::default();
    for question in questions {
        let [a, b, c, d] = question.each_ref().map(AsRef::as_ref);
        if [a, b, c, d]
            .iter()
            .any(|w| embeddings.vocabulary().get(w).is_none())
        {
            report.unknown += 1;
            continue;
        }
        report.asked += 1;
        let best = embeddings.analogy(a, b, c, 1, by)?;
        report.right += usize::from(best.first().is_some_and(|n| n.word == d));
    }
    Ok(report)
}

#[cfg(test)]
mod gensim_tests;
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spearman_with_ties() {
        // scipy 1.17.1: scipy.stats.spearmanr([1, 2, 2, 4, 5, 5, 5], [3, 1, 4, 4, 9, 2, 8])
        let (a, b) = ([1., 2., 2., 4., 5., 5., 5.], [3., 1., 4., 4., 9., 2., 8.]);
        assert!(
            (spearman(&a, &b) - 0.481_475_006_431_467_7).abs() < 1e-12,
            "{}",
            spearman(&a, &b)
        );
        assert_eq!(spearman(&[1.0, 2.0, 3.0], &[9.0, 4.0, 1.0]), -1.0);
        assert!(spearman(&[1.0], &[1.0]).is_nan());
        assert!(spearman(&[1.0, 1.0], &[1.0, 2.0]).is_nan());
    }

    #[test]
    fn unknown_words_are_counted() {
        let words = Embeddings::from_vectors([
            ("a", [1.0, 0.0, 0.0]),
            ("b", [1.0, 1.0, 0.0]),
            ("c", [0.0, 0.0, 1.0]),
            ("d", [0.0, 1.0, 1.0]),
        ])
        .unwrap();
        let report = word_similarity(&words, [("a", "b", 1.0), ("a", "x", 2.0), ("c", "b", 0.0)]);
        assert_eq!((report.pairs, report.unknown, report.spearman), (2, 1, 1.0));
        let questions = [["a", "b", "c", "d"], ["a", "b", "c", "x"]];
        let report = analogies(&words, questions, Analogy::Add).unwrap();
        assert_eq!(
            report,
            Analogies {
                right: 1,
                asked: 1,
                unknown: 1
            }
        );
    }
}
