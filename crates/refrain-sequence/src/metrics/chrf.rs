//! chrF, an F-score of character n-grams: kinder than BLEU to languages with many word forms.
//!
//! `chrF = (1 + β²) P R / (β² P + R)` with the means over n = 1 … 6 of the precision and the recall of
//! character n-grams, spaces left out (Popović, *chrF: character n-gram F-score for automatic MT
//! evaluation*, 2015). β is 2: recall counts four times. The numbers are those of sacreBLEU's `chrF2`.

use std::collections::HashMap;

use super::{check_references, words};
use crate::Result;

/// The highest order of n-grams.
const ORDER: usize = 6;
/// β².
const FACTOR: f64 = 4.0;

/// n-grams of the text, of the reference, and of both, of each order.
type Counts = [[usize; 3]; ORDER];

/// How chrF is computed. The default is sacreBLEU's `chrF2`.
///
/// ```
/// use refrain_sequence::metrics::ChrF;
/// let score = ChrF::default().corpus(&["Zwei Männer sprechen."], &[["Zwei Männer reden."]])?;
/// assert!((55.0..65.0).contains(&score));
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChrF {
    /// Whether upper and lower case are the same.
    pub lowercase: bool,
}

impl ChrF {
    /// The score of all texts together, from 0 to 100; of several references the best counts.
    ///
    /// # Errors
    /// When there are not as many lists of references as texts, or one of them is empty.
    pub fn corpus<S, R, T>(&self, texts: &[S], references: &[R]) -> Result<f64>
    where
        S: AsRef<str>,
        R: AsRef<[T]>,
        T: AsRef<str>,
    {
        check_references(texts.len(), references)?;
        let mut sum = Counts::default();
        for (text, references) in texts.iter().zip(references) {
            let text = self.letters(text.as_ref());
            let mut best: Option<(f64, Counts)> = None;
            for reference in references.as_ref() {
                let counts = count(&text, &self.letters(reference.as_ref()));
                let score = score(&counts);
                if best.as_ref().is_none_or(|(most, _)| score > *most) {
                    best = Some((score, counts));
                }
            }
            for (sum, own) in sum.iter_mut().zip(best.map(|b| b.1).unwrap_or_default()) {
                for (sum, own) in sum.iter_mut().zip(own) {
                    *sum += own;
                }
            }
        }
        Ok(score(&sum))
    }

    fn letters(&self, text: &str) -> Vec<char> {
        let text = if self.lowercase {
            text.to_lowercase()
        } else {
            text.to_string()
        };
        words(&text).flat_map(str::chars).collect()
    }
}

fn count(text: &[char], reference: &[char]) -> Counts {
    let mut counts = Counts::default();
    for (n, [own, theirs, both]) in (1..).zip(&mut counts) {
        let mut left: HashMap<&[char], usize> = HashMap::new();
        for gram in reference.windows(n) {
            *left.entry(gram).or_default() += 1;
            *theirs += 1;
        }
        // Where the reference has no n-gram, the text's do not count.
        if left.is_empty() {
            continue;
        }
        for gram in text.windows(n) {
            *own += 1;
            if let Some(left) = left.get_mut(gram).filter(|left| **left > 0) {
                *left -= 1;
                *both += 1;
            }
        }
    }
    counts
}

fn score(counts: &Counts) -> f64 {
    let (mut precision, mut recall, mut orders) = (0.0, 0.0, 0.0);
    for &[own, theirs, both] in counts {
        if own > 0 && theirs > 0 {
            precision += both as f64 / own as f64;
            recall += both as f64 / theirs as f64;
            orders += 1.0;
        }
    }
    if precision + recall == 0.0 {
        return 0.0;
    }
    let (precision, recall) = (precision / orders, recall / orders);
    100.0 * (1.0 + FACTOR) * precision * recall / (FACTOR * precision + recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_are_those_of_sacrebleu() {
        let golden = include_str!("../../tests/golden/bleu.json");
        let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
        let texts: Vec<String> = serde_json::from_value(golden["texts"].clone()).unwrap();
        let references: Vec<Vec<String>> =
            serde_json::from_value(golden["references"].clone()).unwrap();
        for (lowercase, key) in [(false, "chrf"), (true, "chrf_lowercase")] {
            let expected: Vec<f64> = serde_json::from_value(golden[key].clone()).unwrap();
            assert!(expected.len() > 5);
            for (n, expected) in (1..).zip(expected) {
                let got = ChrF { lowercase }.corpus(&texts[..n], &references[..n]);
                let got = got.unwrap();
                assert!((got - expected).abs() < 1e-9, "{n}: {got} {expected}");
            }
        }
        assert!(ChrF::default().corpus(&["a"], &[[""; 0]]).is_err());
    }
}
