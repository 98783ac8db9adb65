//! A fitted classifier: what it predicts, how it learns, and its file.

use std::path::Path;

use rayon::prelude::*;
use refrain_core::kernels::{self, TopK};
use refrain_core::{IdMap, ModelFile, ModelWriter};

use super::TextClassifier;
use crate::embeddings::subwords;
use crate::{Error, Result};

const KIND: &str = "embeddings.classifier";
const VERSION: u32 = 1;

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
    pub(super) config: TextClassifier,
    pub(super) words: IdMap,
    pub(super) labels: IdMap,
    /// Rows of words, of n-grams of words, and of n-grams of characters.
    pub(super) inputs: Vec<f32>,
    /// A row for each label.
    pub(super) outputs: Vec<f32>,
}

/// Space for a step.
#[derive(Default)]
pub(super) struct Work {
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
    pub(super) fn rows(&self, tokens: &[impl AsRef<str>]) -> Vec<u32> {
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
    pub(super) fn step(
        &mut self,
        rows: &[u32],
        labels: &[u32],
        rate: f32,
        work: &mut Work,
    ) -> Option<f32> {
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
        let writer = self.fill(ModelWriter::new(KIND, VERSION))?;
        Ok(writer.write(path)?)
    }

    /// Adds config, names and rows to a file.
    pub(super) fn fill<'a>(&'a self, writer: ModelWriter<'a>) -> Result<ModelWriter<'a>> {
        let dim = self.config.dim;
        Ok(writer
            .config(&self.config)?
            .ids("words", &self.words)?
            .ids("labels", &self.labels)?
            .f32("inputs", &[self.inputs.len() / dim, dim], &self.inputs[..])?
            .f32("outputs", &[self.labels.len(), dim], &self.outputs[..])?)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When there is none, it is broken, or another model's.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        Self::from_file(&file)
    }

    pub(super) fn from_file(file: &ModelFile) -> Result<Self> {
        let config: TextClassifier = file.config()?;
        config.validate()?;
        let (words, labels) = (file.ids("words")?, file.ids("labels")?);
        let table = |name: &str, rows: usize| {
            let values = file.f32(name)?.expect_shape(name, &[rows, config.dim])?;
            Ok::<_, Error>(values.data.into_owned())
        };
        Ok(Self {
            inputs: table("inputs", words.len().saturating_add(config.hashed()))?,
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
