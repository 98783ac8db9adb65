//! A fast classifier of texts (Joulin, Grave, Bojanowski and Mikolov, *Bag of Tricks for Efficient Text
//! Classification*, 2017: the supervised mode of the program fastText).
//!
//! ```text
//! h = mean of the rows of the text's words, n-grams of words and n-grams of characters
//! P(label) = softmax(O h)        or, with several labels a text, σ(O h) for each
//! ```
//!
//! Rows and `O` are trained together by gradient descent with a learning rate that falls in a straight
//! line. N-grams are hashed to a fixed number of rows, words have their own.
//!
//! *When to use it*: topics, languages, spam, moods, from some hundred texts upwards, in milliseconds
//! a thousand texts. What turns on fine word order is for a transformer.
//!
//! *Cost*: an epoch takes `dim` × (rows of all texts + texts × labels) multiply-adds on one thread;
//! prediction runs on all. Memory: `(words + buckets) × dim` numbers.

mod example;
mod model;
mod report;
mod training;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::rng::stream;
use refrain_core::{IdMap, Monitor};
use serde::{Deserialize, Serialize};

pub use example::Example;
pub use model::{Prediction, TextClassifierModel};
pub use report::{ClassificationReport, LabelReport};
pub use training::TextClassifierTraining;

use crate::{Error, Ngrams, Result};

/// Configuration of the classifier.
///
/// ```
/// use refrain_embeddings::{Example, TextClassifier};
/// let examples: Vec<Example> = (0..60)
///     .map(|i| match i % 2 {
///         0 => Example::new("sea", ["the", "whale", "swam", if i % 4 == 0 { "away" } else { "home" }]),
///         _ => Example::new("land", ["the", "horse", "ran", if i % 4 == 1 { "away" } else { "home" }]),
///     })
///     .collect();
/// let model = TextClassifier { dim: 8, ..TextClassifier::default() }.fit(&examples)?;
/// let best = &model.predict(&["a", "whale", "ran"], 2);
/// println!("{} {:.2}", best[0].label, best[0].probability);
/// assert_eq!(model.predict(&["the", "whale", "swam"], 1)[0].label, "sea");
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextClassifier {
    /// Length of the vectors.
    pub dim: usize,
    /// Passes over the examples.
    pub epochs: usize,
    /// The first learning rate; it falls to nothing in a straight line.
    pub learning_rate: f64,
    /// The most words in an n-gram of words; 1 takes words alone.
    pub word_ngrams: usize,
    /// Rows that n-grams of words are hashed to.
    pub buckets: usize,
    /// N-grams of characters; they have rows of their own.
    pub ngrams: Option<Ngrams>,
    /// Words that occur less often are left out.
    pub min_count: u64,
    /// Whether a text may have several labels, each told by itself, or exactly one.
    pub several: bool,
    /// Decides every random choice.
    pub seed: u64,
}

impl Default for TextClassifier {
    fn default() -> Self {
        Self {
            dim: 50,
            epochs: 10,
            learning_rate: 0.5,
            word_ngrams: 2,
            buckets: 1 << 18,
            ngrams: None,
            min_count: 1,
            several: false,
            seed: 1,
        }
    }
}

impl TextClassifier {
    /// Trains on these examples.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::EmptyVocabulary`] when there is no word to learn
    /// from, [`Error::Labels`] for an example without a label or, unless there may be several, with more
    /// than one, [`Error::Diverged`].
    pub fn fit(&self, examples: &[Example]) -> Result<TextClassifierModel> {
        self.fit_with(examples, &Monitor::silent())
    }

    /// The same, telling `monitor` the loss and the speed.
    ///
    /// # Errors
    /// As [`TextClassifier::fit`], and cancellation.
    pub fn fit_with(&self, examples: &[Example], monitor: &Monitor) -> Result<TextClassifierModel> {
        let mut training = self.start(examples)?;
        while !training.is_finished() {
            training.epoch(examples, monitor)?;
        }
        training.finish()
    }

    /// Counts words and labels and draws the first rows.
    fn begin(&self, examples: &[Example]) -> Result<TextClassifierModel> {
        self.validate()?;
        let (words, labels) = self.names(examples, IdMap::new(), IdMap::new())?;
        Ok(TextClassifierModel {
            inputs: self.first_rows(words.len()),
            outputs: vec![0.0; labels.len() * self.dim],
            config: self.clone(),
            words,
            labels,
        })
    }

    /// These words and labels, and behind them those of the examples that are new and, if words, frequent.
    fn names(
        &self,
        examples: &[Example],
        mut words: IdMap,
        mut labels: IdMap,
    ) -> Result<(IdMap, IdMap)> {
        let (mut all, mut counts) = (IdMap::new(), Vec::<u64>::new());
        for (at, example) in examples.iter().enumerate() {
            self.check_labels(at, example.labels.len())?;
            for label in &example.labels {
                labels.insert(label)?;
            }
            for token in &example.tokens {
                match counts.get_mut(all.insert(token)? as usize) {
                    Some(count) => *count += 1,
                    None => counts.push(1),
                }
            }
        }
        for (word, &count) in all.iter().zip(&counts) {
            if count >= self.min_count {
                words.insert(word)?;
            }
        }
        match examples.is_empty() || words.is_empty() {
            false => Ok((words, labels)),
            true => Err(Error::EmptyVocabulary {
                tokens: counts.iter().sum(),
                min_count: self.min_count,
            }),
        }
    }

    fn check_labels(&self, example: usize, found: usize) -> Result<()> {
        match found == 0 || (found > 1 && !self.several) {
            false => Ok(()),
            true => Err(Error::Labels { example, found }),
        }
    }

    /// First rows of so many words and of all n-grams, a random stream for each.
    fn first_rows(&self, words: usize) -> Vec<f32> {
        let half = 1.0 / self.dim as f32;
        let mut rows = vec![0.0; (words + self.hashed()) * self.dim];
        let draw = |(row, values): (usize, &mut [f32])| {
            let mut rng = stream(self.seed, row as u64);
            let values = values.iter_mut();
            values.for_each(|v| *v = rng.random_range(-half..half));
        };
        rows.par_chunks_mut(self.dim).enumerate().for_each(draw);
        rows
    }

    /// Rows of n-grams of words and of characters.
    fn hashed(&self) -> usize {
        let words = if self.word_ngrams > 1 {
            self.buckets
        } else {
            0
        };
        words + self.ngrams.as_ref().map_or(0, |ngrams| ngrams.buckets)
    }

    fn validate(&self) -> Result<()> {
        let bad = |field, value: String, reason| {
            Err(Error::Config {
                field,
                value,
                reason,
            })
        };
        for (field, value, most) in [
            ("dim", self.dim, 65_536),
            ("epochs", self.epochs, 1 << 20),
            ("word_ngrams", self.word_ngrams, 100),
            ("buckets", self.buckets, 1 << 28),
        ] {
            if !(1..=most).contains(&value) {
                return bad(
                    field,
                    value.to_string(),
                    "must be at least 1, and not so large",
                );
            }
        }
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            return bad(
                "learning_rate",
                self.learning_rate.to_string(),
                "must be above 0",
            );
        }
        self.ngrams.as_ref().map_or(Ok(()), Ngrams::validate)
    }
}

#[cfg(test)]
mod tests;
