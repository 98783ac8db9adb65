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

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use refrain_core::rng::stream;
use refrain_core::{IdMap, Monitor};
use serde::{Deserialize, Serialize};

pub use example::Example;
pub use model::{Prediction, TextClassifierModel};
pub use report::{ClassificationReport, LabelReport};

use crate::{Error, Ngrams, Result};
use model::Work;

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

    /// The same, telling `monitor` the loss.
    ///
    /// # Errors
    /// As [`TextClassifier::fit`], and cancellation.
    pub fn fit_with(&self, examples: &[Example], monitor: &Monitor) -> Result<TextClassifierModel> {
        self.validate()?;
        let mut model = self.begin(examples)?;
        let mut texts = Vec::with_capacity(examples.len());
        for example in examples {
            let rows = model.rows(&example.tokens);
            let labels = example
                .labels
                .iter()
                .filter_map(|label| model.labels.get(label));
            texts.push((rows, labels.collect::<Vec<u32>>()));
        }
        let total = (examples.len() * self.epochs) as f64;
        let mut order: Vec<usize> = (0..examples.len()).collect();
        let mut work = Work::default();
        for epoch in 0..self.epochs {
            let title = format!("classifier, epoch {}/{}", epoch + 1, self.epochs);
            let stage = monitor.start(title, Some(examples.len() as u64));
            order.shuffle(&mut stream(self.seed, (1 << 40) + epoch as u64));
            let (mut loss, mut told) = (0.0, 0u64);
            for (done, &at) in order.iter().enumerate() {
                let past = (epoch * examples.len() + done) as f64;
                let rate = (self.learning_rate * (1.0 - past / total)) as f32;
                let (rows, labels) = &texts[at];
                if let Some(own) = model.step(rows, labels, rate, &mut work) {
                    (loss, told) = (loss + f64::from(own), told + 1);
                }
                if done % 1024 == 1023 {
                    let mean = loss / told.max(1) as f64;
                    stage.advance(1024, format_args!("loss {mean:.4}"))?;
                }
            }
            if !(loss / told.max(1) as f64).is_finite() {
                return Err(Error::Diverged {
                    loss,
                    step: ((epoch + 1) * examples.len()) as u64,
                    epoch: epoch + 1,
                });
            }
            let rest = examples.len() as u64 % 1024;
            let mean = loss / told.max(1) as f64;
            stage.advance(rest, format_args!("loss {mean:.4}"))?;
        }
        Ok(model)
    }

    /// Counts words and labels and draws the first rows.
    fn begin(&self, examples: &[Example]) -> Result<TextClassifierModel> {
        let (mut all, mut counts, mut labels) = (IdMap::new(), Vec::<u64>::new(), IdMap::new());
        for (at, example) in examples.iter().enumerate() {
            let n = example.labels.len();
            if n == 0 || (n > 1 && !self.several) {
                return Err(Error::Labels {
                    example: at,
                    found: n,
                });
            }
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
        let frequent = all
            .iter()
            .zip(&counts)
            .filter(|(_, n)| **n >= self.min_count);
        let words = IdMap::from_ids(frequent.map(|(word, _)| word))?;
        if words.is_empty() {
            return Err(Error::EmptyVocabulary {
                tokens: counts.iter().sum(),
                min_count: self.min_count,
            });
        }
        let rows = words.len() + self.hashed();
        let half = 1.0 / self.dim as f32;
        let mut inputs = vec![0.0; rows * self.dim];
        inputs
            .par_chunks_mut(self.dim)
            .enumerate()
            .for_each(|(row, values)| {
                let mut rng = stream(self.seed, row as u64);
                values
                    .iter_mut()
                    .for_each(|v| *v = rng.random_range(-half..half));
            });
        Ok(TextClassifierModel {
            outputs: vec![0.0; labels.len() * self.dim],
            config: self.clone(),
            words,
            labels,
            inputs,
        })
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
