use std::fmt;

use super::{Example, TextClassifierModel};

/// How a classifier does on examples.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ClassificationReport {
    /// How many examples there were.
    pub examples: usize,
    /// The share whose most likely label is one of theirs.
    pub accuracy: f64,
    /// The mean of the labels' F1.
    pub macro_f1: f64,
    /// Each label of the model.
    pub labels: Vec<LabelReport>,
    /// `[true, predicted]`, in the order of `labels`: how often the most likely label was which, for
    /// each true label that the model knows.
    pub confusion: Vec<Vec<u64>>,
}

/// How a classifier does on one label, by the most likely label of each example.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LabelReport {
    /// The label.
    pub label: String,
    /// The share of its predictions that are right; 0 when it was never predicted.
    pub precision: f64,
    /// The share of its examples for which it was predicted; 0 when it has none.
    pub recall: f64,
    /// The harmonic mean of the two.
    pub f1: f64,
    /// How many examples have it.
    pub examples: u64,
}

impl TextClassifierModel {
    /// Judges the most likely label of each example. Labels that the model does not know count as missed.
    pub fn evaluate(&self, examples: &[Example]) -> ClassificationReport {
        let n = self.labels().len();
        let texts: Vec<&[String]> = examples.iter().map(|e| e.tokens.as_slice()).collect();
        let mut confusion = vec![vec![0u64; n]; n];
        let (mut predicted, mut right, mut own) = (vec![0u64; n], vec![0u64; n], vec![0u64; n]);
        let mut hits = 0u64;
        for (example, best) in examples.iter().zip(self.predict_batch(&texts, 1)) {
            let Some(best) = best.first().and_then(|best| self.labels().get(best.label)) else {
                continue;
            };
            let best = best as usize;
            predicted[best] += 1;
            let labels = example
                .labels
                .iter()
                .filter_map(|label| self.labels().get(label));
            for label in labels.map(|label| label as usize) {
                own[label] += 1;
                confusion[label][best] += 1;
                if label == best {
                    right[best] += 1;
                    hits += 1;
                }
            }
        }
        let share = |part: u64, whole: u64| part as f64 / whole.max(1) as f64;
        let report = |(i, label): (usize, &str)| {
            let (precision, recall) = (share(right[i], predicted[i]), share(right[i], own[i]));
            let f1 = match precision + recall {
                0.0 => 0.0,
                sum => 2.0 * precision * recall / sum,
            };
            LabelReport {
                label: label.to_string(),
                precision,
                recall,
                f1,
                examples: own[i],
            }
        };
        let labels: Vec<LabelReport> = self.labels().iter().enumerate().map(report).collect();
        ClassificationReport {
            examples: examples.len(),
            accuracy: share(hits, examples.len() as u64),
            macro_f1: labels.iter().map(|label| label.f1).sum::<f64>() / n.max(1) as f64,
            labels,
            confusion,
        }
    }
}

impl fmt::Display for ClassificationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .labels
            .iter()
            .map(|l| l.label.chars().count())
            .max()
            .unwrap_or(0)
            .max(5);
        writeln!(
            f,
            "accuracy {:.3}, mean F1 {:.3} on {} examples",
            self.accuracy, self.macro_f1, self.examples
        )?;
        write!(f, "{:width$}  precision  recall     F1  examples", "label")?;
        for label in &self.labels {
            write!(
                f,
                "\n{:width$}  {:>9.3}  {:>6.3}  {:>5.3}  {:>8}",
                label.label, label.precision, label.recall, label.f1, label.examples
            )?;
        }
        Ok(())
    }
}
