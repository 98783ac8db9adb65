//! Classes: accuracy, precision, recall and F1, who is taken for whom.

use std::collections::BTreeMap;

use super::check_pairs;
use crate::Result;

/// How often something is there, was found, and was found rightly.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Matches {
    /// How often it is there.
    pub truth: usize,
    /// How often it was found.
    pub found: usize,
    /// How often it was found where it is.
    pub right: usize,
}

fn share(part: usize, of: usize) -> f64 {
    match of {
        0 => 0.0,
        _ => part as f64 / of as f64,
    }
}

impl Matches {
    /// The share of what was found that is right; 0 where nothing was found.
    pub fn precision(&self) -> f64 {
        share(self.right, self.found)
    }

    /// The share of what is there that was found; 0 where there is nothing.
    pub fn recall(&self) -> f64 {
        share(self.right, self.truth)
    }

    /// The harmonic mean of precision and recall; 0 where both are.
    pub fn f1(&self) -> f64 {
        share(2 * self.right, self.truth + self.found)
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.truth += other.truth;
        self.found += other.found;
        self.right += other.right;
    }
}

/// How well one label per example was told.
///
/// ```
/// use refrain_sequence::metrics::ClassScores;
/// let scores = ClassScores::new(&["cat", "cat", "dog"], &["cat", "dog", "dog"])?;
/// assert_eq!(scores.labels, ["cat", "dog"]);
/// assert_eq!(scores.confusion, [[1, 1], [0, 1]]); // a cat was taken for a dog
/// assert!((scores.accuracy() - 2.0 / 3.0).abs() < 1e-12);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClassScores {
    /// All labels, in order.
    pub labels: Vec<String>,
    /// How often the label of the row was taken for that of the column.
    pub confusion: Vec<Vec<usize>>,
}

impl ClassScores {
    /// The scores of outputs, one for each truth.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) for other numbers of them,
    /// [`Error::TooShort`](crate::Error::TooShort) without any.
    pub fn new(truth: &[impl AsRef<str>], found: &[impl AsRef<str>]) -> Result<Self> {
        check_pairs(truth.len(), found.len())?;
        let truth = truth.iter().map(AsRef::as_ref);
        let pairs: Vec<(&str, &str)> = truth.zip(found.iter().map(AsRef::as_ref)).collect();
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        for (truth, found) in &pairs {
            numbers.insert(truth, 0);
            numbers.insert(found, 0);
        }
        (0..).zip(numbers.values_mut()).for_each(|(i, n)| *n = i);
        let mut confusion = vec![vec![0; numbers.len()]; numbers.len()];
        for (truth, found) in pairs {
            if let (Some(&row), Some(&column)) = (numbers.get(truth), numbers.get(found)) {
                confusion[row][column] += 1;
            }
        }
        Ok(Self {
            labels: numbers.into_keys().map(str::to_string).collect(),
            confusion,
        })
    }

    /// The share of examples whose label was told.
    pub fn accuracy(&self) -> f64 {
        let all = self.confusion.iter().flatten().sum();
        let rows = self.confusion.iter().enumerate();
        share(rows.filter_map(|(i, row)| row.get(i)).sum(), all)
    }

    /// How one label was told; all zero for an unknown one.
    pub fn of(&self, label: &str) -> Matches {
        let Some(at) = self.labels.iter().position(|l| l == label) else {
            return Matches::default();
        };
        let column = |row: &Vec<usize>| row.get(at).copied().unwrap_or_default();
        let row = self.confusion.get(at);
        Matches {
            truth: row.map_or(0, |row| row.iter().sum()),
            found: self.confusion.iter().map(column).sum(),
            right: row.map_or(0, column),
        }
    }

    /// The mean of the labels' F1.
    pub fn macro_f1(&self) -> f64 {
        let sum: f64 = self.labels.iter().map(|label| self.of(label).f1()).sum();
        sum / self.labels.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in the documentation of scikit-learn's `classification_report`.
    #[test]
    fn scores_equal_a_published_report() {
        let truth = ["0", "1", "2", "2", "2"];
        let scores = ClassScores::new(&truth, &["0", "0", "2", "2", "1"]).unwrap();
        assert_eq!(scores.accuracy(), 0.6);
        let of = |label| {
            let m = scores.of(label);
            [m.precision(), m.recall(), m.f1()].map(|x| (x * 100.0).round() / 100.0)
        };
        assert_eq!(of("0"), [0.5, 1.0, 0.67]);
        assert_eq!(of("1"), [0.0, 0.0, 0.0]);
        assert_eq!(of("2"), [1.0, 0.67, 0.8]);
        assert!((scores.macro_f1() - 0.49).abs() < 0.005);
        assert_eq!(scores.of("3"), Matches::default());
    }

    #[test]
    fn nothing_to_score_is_an_error() {
        assert!(ClassScores::new(&[""; 0], &[""; 0]).is_err());
        assert!(ClassScores::new(&["a"], &["a", "b"]).is_err());
    }
}
