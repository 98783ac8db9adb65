//! Words as numbers.

use std::collections::HashMap;

use refrain_core::IdMap;

use super::{Sentence, SentenceConfig};
use crate::ragged::check_size;
use crate::{Error, Result};

/// How many values say what a word looks like.
pub(super) const SHAPES: usize = 9;

/// Letters of a word that are looked at.
const LETTERS: usize = 24;

/// A sentence as numbers, made by the model that is to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedSentence {
    /// 0 for an unknown word.
    pub(super) words: Vec<u32>,
    /// Of each word; 0 pads, 1 is an unknown letter.
    pub(super) letters: Vec<Vec<u32>>,
    /// Shape and features of each word.
    pub(super) values: Vec<f32>,
}

impl EncodedSentence {
    /// How many words it has.
    #[allow(clippy::len_without_is_empty)] // there is none without a word
    pub fn len(&self) -> usize {
        self.words.len()
    }
}

/// The words and letters that a model knows; word `i` has number `i + 1`, letter `i` `i + 2`.
#[derive(Debug, Clone)]
pub(super) struct Known {
    pub(super) words: IdMap,
    pub(super) letters: IdMap,
}

impl Known {
    /// Those of sentences, the frequent first.
    pub(super) fn of<'a>(
        config: &SentenceConfig,
        sentences: impl Iterator<Item = &'a Sentence> + Clone,
    ) -> Result<Self> {
        let words = sentences.flat_map(|s| &s.words);
        let all = words.clone().map(|word| normal(config, word));
        let letters = words.flat_map(|word| word.chars());
        Ok(Self {
            words: match config.word_width {
                0 => IdMap::new(),
                _ => frequent(all, config.min_count)?,
            },
            letters: match config.filters {
                0 => IdMap::new(),
                _ => frequent(letters.map(String::from), 1)?,
            },
        })
    }

    pub(super) fn encode(
        &self,
        config: &SentenceConfig,
        sentence: &Sentence,
    ) -> Result<EncodedSentence> {
        let count = sentence.words.len();
        if count == 0 {
            return Err(Error::TooShort {
                what: "words of a sentence".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let features = count * config.features;
        check_size("features of a sentence", features, sentence.features.len())?;
        if let Some(at) = sentence.features.iter().position(|x| !x.is_finite()) {
            let reason = format_args!("value {at} is not finite");
            return Err(Error::tensor("features of a sentence", reason));
        }
        let number = |word: &String| self.words.get(normal(config, word).as_str());
        let mut values = Vec::with_capacity(count * config.given());
        for (i, word) in sentence.words.iter().enumerate() {
            if config.shape {
                values.extend(shape(word));
            }
            let from = i * config.features;
            let own = sentence.features.get(from..from + config.features);
            values.extend_from_slice(own.unwrap_or_default());
        }
        let words = sentence.words.iter();
        Ok(EncodedSentence {
            letters: match config.filters {
                0 => Vec::new(),
                _ => words.clone().map(|word| self.letters(word)).collect(),
            },
            words: words.map(|w| number(w).map_or(0, |n| n + 1)).collect(),
            values,
        })
    }

    fn letters(&self, word: &str) -> Vec<u32> {
        let mut buffer = [0; 4];
        let letters = word.chars().take(LETTERS);
        letters
            .map(|c| {
                self.letters
                    .get(&*c.encode_utf8(&mut buffer))
                    .map_or(1, |n| n + 2)
            })
            .collect()
    }
}

pub(super) fn normal(config: &SentenceConfig, word: &str) -> String {
    match config.lower_case {
        true => word.to_lowercase(),
        false => word.to_string(),
    }
}

/// What occurs so often, the most frequent first.
fn frequent(all: impl Iterator<Item = String>, least: usize) -> Result<IdMap> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for one in all {
        *counts.entry(one).or_default() += 1;
    }
    let mut kept: Vec<(String, usize)> = counts.into_iter().filter(|(_, n)| *n >= least).collect();
    kept.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(IdMap::from_ids(kept.into_iter().map(|(one, _)| one))?)
}

/// What a word looks like, 1 for what it is.
fn shape(word: &str) -> [f32; SHAPES] {
    let letters = || word.chars().filter(|c| c.is_alphabetic());
    let first = word.chars().next().unwrap_or(' ');
    let is = |yes: bool| if yes { 1.0 } else { 0.0 };
    [
        is(first.is_uppercase()),
        is(letters().count() > 1 && letters().all(char::is_uppercase)),
        is(letters().count() > 0 && letters().all(char::is_lowercase)),
        is(word.chars().skip(1).any(char::is_uppercase)),
        is(word.chars().any(char::is_numeric)),
        is(!word.chars().any(char::is_alphanumeric)),
        is(word.chars().any(|c| matches!(c, '-' | '\'' | '.'))),
        is(matches!(first, '@' | '#')),
        is(word.starts_with("http") || word.starts_with("www.")),
    ]
}
