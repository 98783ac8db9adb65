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

mod report;

use std::path::Path;

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use refrain_core::kernels::{self, TopK};
use refrain_core::rng::stream;
use refrain_core::{Error as CoreError, IdMap, ModelFile, ModelWriter, Monitor};
use serde::{Deserialize, Serialize};

pub use report::{ClassificationReport, LabelReport};

use crate::embeddings::subwords;
use crate::{Error, Ngrams, Result};

const KIND: &str = "embeddings.classifier";
const VERSION: u32 = 1;

/// A text in tokens, and its labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// One, or several where labels do not exclude each other.
    pub labels: Vec<String>,
    /// The text.
    pub tokens: Vec<String>,
}

impl Example {
    /// A text with one label.
    pub fn new<T: Into<String>>(
        label: impl Into<String>,
        tokens: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            labels: vec![label.into()],
            tokens: tokens.into_iter().map(Into::into).collect(),
        }
    }

    /// Reads lines in fastText's form: `__label__sport __label__news the text`, labels first; each
    /// line is an example, empty ones are skipped.
    ///
    /// # Errors
    /// When the file cannot be read; [`Error::Vectors`] naming the first line without a label.
    pub fn read(
        path: impl AsRef<Path>,
        tokenizer: impl Fn(&str, &mut dyn FnMut(&str)),
    ) -> Result<Vec<Self>> {
        const MARK: &str = "__label__";
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| CoreError::io(path, e))?;
        let mut all = Vec::new();
        for (number, line) in (1..).zip(String::from_utf8_lossy(&bytes).lines()) {
            let (mut labels, mut rest) = (Vec::new(), line.trim());
            while let Some(marked) = rest.strip_prefix(MARK) {
                let (label, text) = marked
                    .split_once(char::is_whitespace)
                    .unwrap_or((marked, ""));
                labels.push(label.to_string());
                rest = text.trim_start();
            }
            if labels.is_empty() {
                if rest.is_empty() {
                    continue;
                }
                return Err(Error::Vectors {
                    origin: path.display().to_string(),
                    place: format!("line {number}"),
                    reason: format!("expected {MARK} and a label first"),
                });
            }
            let mut tokens = Vec::new();
            tokenizer(rest, &mut |token| tokens.push(token.to_string()));
            all.push(Self { labels, tokens });
        }
        Ok(all)
    }
}

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

/// A label and how likely it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prediction<'a> {
    /// The label.
    pub label: &'a str,
    /// Its probability: among all labels, or by itself where a text may have several.
    pub probability: f32,
}

/// A fitted classifier.
#[derive(Debug, Clone, PartialEq)]
pub struct TextClassifierModel {
    config: TextClassifier,
    words: IdMap,
    labels: IdMap,
    /// Rows of words, of n-grams of words, and of n-grams of characters.
    inputs: Vec<f32>,
    /// A row for each label.
    outputs: Vec<f32>,
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

/// Space for a step.
#[derive(Default)]
struct Work {
    hidden: Vec<f32>,
    gradient: Vec<f32>,
    scores: Vec<f32>,
}

impl TextClassifierModel {
    /// The settings it was fitted with.
    pub fn config(&self) -> &TextClassifier {
        &self.config
    }

    /// The labels, in the order of first appearance.
    pub fn labels(&self) -> &IdMap {
        &self.labels
    }

    /// The words it knows.
    pub fn words(&self) -> &IdMap {
        &self.words
    }

    /// The rows of a text, as fastText numbers them: words, then n-grams of words by a hash of their
    /// words' hashes, then n-grams of characters.
    fn rows(&self, tokens: &[impl AsRef<str>]) -> Vec<u32> {
        let config = &self.config;
        let words = self.words.len() as u32;
        let mut rows: Vec<u32> = tokens
            .iter()
            .filter_map(|token| self.words.get(token.as_ref()))
            .collect();
        let mut next = words;
        if config.word_ngrams > 1 {
            // Sign-extended to 64 bits, as in fastText.
            let hash = |token: &str| i64::from(subwords::fnv(token.as_bytes()) as i32) as u64;
            let hashes: Vec<u64> = tokens.iter().map(|token| hash(token.as_ref())).collect();
            for (at, &first) in hashes.iter().enumerate() {
                let mut joined = first;
                for &other in hashes.iter().skip(at + 1).take(config.word_ngrams - 1) {
                    joined = joined.wrapping_mul(116_049_371).wrapping_add(other);
                    rows.push(next + (joined % config.buckets as u64) as u32);
                }
            }
            next += config.buckets as u32;
        }
        if let Some(ngrams) = &config.ngrams {
            for token in tokens {
                let buckets = ngrams.buckets as u32;
                subwords::rows(token.as_ref(), ngrams.least, ngrams.most, buckets, |row| {
                    rows.push(next + row);
                });
            }
        }
        rows
    }

    fn row(&self, row: u32) -> &[f32] {
        let at = row as usize * self.config.dim;
        self.inputs
            .get(at..at + self.config.dim)
            .unwrap_or_default()
    }

    /// The mean of the rows; false when there are none.
    fn hidden(&self, rows: &[u32], hidden: &mut Vec<f32>) -> bool {
        hidden.clear();
        hidden.resize(self.config.dim, 0.0);
        for &row in rows {
            kernels::axpy(1.0, self.row(row), hidden);
        }
        kernels::scale(1.0 / rows.len().max(1) as f32, hidden);
        !rows.is_empty()
    }

    /// Products become probabilities.
    fn squash(&self, scores: &mut [f32]) {
        if self.config.several {
            scores
                .iter_mut()
                .for_each(|s| *s = 1.0 / (1.0 + (-*s).exp()));
            return;
        }
        let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        scores.iter_mut().for_each(|s| *s = (*s - most).exp());
        let sum: f32 = scores.iter().sum();
        kernels::scale(1.0 / sum, scores);
    }

    /// One step of gradient descent; the loss before it.
    fn step(&mut self, rows: &[u32], labels: &[u32], rate: f32, work: &mut Work) -> Option<f32> {
        let dim = self.config.dim;
        if !self.hidden(rows, &mut work.hidden) {
            return None;
        }
        work.scores.clear();
        work.scores.resize(self.labels.len(), 0.0);
        kernels::scores(&work.hidden, &self.outputs, &mut work.scores);
        self.squash(&mut work.scores);
        work.gradient.clear();
        work.gradient.resize(dim, 0.0);
        let mut loss = 0.0;
        for (label, output) in (0u32..).zip(self.outputs.chunks_exact_mut(dim)) {
            let p = work.scores[label as usize];
            let told = labels.contains(&label);
            if told {
                loss -= log(p);
            } else if self.config.several {
                loss -= log(1.0 - p);
            }
            let g = rate * (f32::from(u8::from(told)) - p);
            kernels::axpy(g, output, &mut work.gradient);
            kernels::axpy(g, &work.hidden, output);
        }
        kernels::scale(1.0 / rows.len() as f32, &mut work.gradient);
        for &row in rows {
            let at = row as usize * dim;
            kernels::axpy(1.0, &work.gradient, &mut self.inputs[at..at + dim]);
        }
        Some(loss)
    }

    /// The probability of each label, in the order of [`TextClassifierModel::labels`]. A text of which
    /// nothing is known makes all labels equally likely.
    pub fn probabilities<T: AsRef<str>>(&self, tokens: &[T]) -> Vec<f32> {
        let mut hidden = Vec::new();
        self.hidden(&self.rows(tokens), &mut hidden);
        let mut scores = vec![0.0; self.labels.len()];
        kernels::scores(&hidden, &self.outputs, &mut scores);
        self.squash(&mut scores);
        scores
    }

    /// The `k` most likely labels.
    pub fn predict<T: AsRef<str>>(&self, tokens: &[T], k: usize) -> Vec<Prediction<'_>> {
        let probabilities = self.probabilities(tokens);
        let mut top = TopK::new(k.min(probabilities.len()));
        for (label, &probability) in (0u32..).zip(&probabilities) {
            top.push(label, probability);
        }
        let named = top.into_sorted().into_iter();
        named
            .map(|found| Prediction {
                label: self.labels.name(found.index).unwrap_or_default(),
                probability: found.score,
            })
            .collect()
    }

    /// [`TextClassifierModel::predict`] for many texts, on all cores.
    pub fn predict_batch<S: AsRef<[T]> + Sync, T: AsRef<str>>(
        &self,
        texts: &[S],
        k: usize,
    ) -> Vec<Vec<Prediction<'_>>> {
        let predict = |text: &S| self.predict(text.as_ref(), k);
        texts.par_iter().map(predict).collect()
    }

    /// The words that speak most for a label: their rows' products with it, highest first.
    pub fn telling_words(&self, label: &str, k: usize) -> Vec<(&str, f32)> {
        let dim = self.config.dim;
        let Some(label) = self.labels.get(label) else {
            return Vec::new();
        };
        let at = label as usize * dim;
        let output = self.outputs.get(at..at + dim).unwrap_or_default();
        // What a word says for all labels alike says nothing.
        let count = self.labels.len().max(1) as f32;
        let mut contrast: Vec<f32> = output.to_vec();
        for other in self.outputs.chunks_exact(dim) {
            kernels::axpy(-1.0 / count, other, &mut contrast);
        }
        let mut top = TopK::new(k.min(self.words.len()));
        for word in 0..self.words.len() as u32 {
            top.push(word, kernels::dot(&contrast, self.row(word)));
        }
        let named = top.into_sorted().into_iter();
        named
            .filter_map(|found| Some((self.words.name(found.index)?, found.score)))
            .collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let dim = self.config.dim;
        ModelWriter::new(KIND, VERSION)
            .config(&self.config)?
            .ids("words", &self.words)?
            .ids("labels", &self.labels)?
            .f32("inputs", &[self.inputs.len() / dim, dim], &self.inputs[..])?
            .f32("outputs", &[self.labels.len(), dim], &self.outputs[..])?
            .write(path)?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When there is none, it is broken, or another model's.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let config: TextClassifier = file.config()?;
        config.validate()?;
        let (words, labels) = (file.ids("words")?, file.ids("labels")?);
        let table = |name: &str, rows: usize| {
            let shape = [rows, config.dim];
            Ok::<_, Error>(
                file.f32(name)?
                    .expect_shape(name, &shape)?
                    .data
                    .into_owned(),
            )
        };
        Ok(Self {
            inputs: table("inputs", words.len() + config.hashed())?,
            outputs: table("outputs", labels.len())?,
            config,
            words,
            labels,
        })
    }
}

/// `ln p` with a floor; not a number stays so.
fn log(p: f32) -> f32 {
    if p < 1e-30 { -69.0 } else { p.ln() }
}

#[cfg(test)]
mod tests;
