//! The rows of each word's n-grams, looked up once.

use serde::{Deserialize, Serialize};

use crate::embeddings::subwords;
use crate::{Result, Vocabulary};

/// Which n-grams words are made of, see [`Subwords`](crate::Subwords).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ngrams {
    /// The fewest characters of an n-gram, the marks of a word's ends among them.
    pub least: usize,
    /// The most characters.
    pub most: usize,
    /// Rows that n-grams are hashed to.
    pub buckets: usize,
}

impl Default for Ngrams {
    fn default() -> Self {
        Self {
            least: 3,
            most: 6,
            buckets: 2_000_000,
        }
    }
}

impl Ngrams {
    pub(crate) fn validate(&self) -> Result<()> {
        subwords::check_lengths(self.least, self.most)?;
        match (1..=1 << 28).contains(&self.buckets) {
            true => Ok(()),
            false => Err(crate::Error::Config {
                field: "buckets",
                value: self.buckets.to_string(),
                reason: "choose between 1 and 268435456",
            }),
        }
    }
}

/// For each word its own row and those of its n-grams, which follow the words' rows in their table.
#[derive(Debug)]
pub(super) struct NgramRows {
    /// Where the rows of each word begin; one more than there are words.
    starts: Vec<usize>,
    rows: Vec<u32>,
}

impl NgramRows {
    pub(super) fn new(vocabulary: &Vocabulary, ngrams: &Ngrams) -> Self {
        let (mut starts, mut rows) = (vec![0], Vec::new());
        let words = vocabulary.len() as u32;
        for (id, (word, _)) in vocabulary.iter().enumerate() {
            rows.push(id as u32);
            let buckets = ngrams.buckets as u32;
            subwords::rows(word, ngrams.least, ngrams.most, buckets, |row| {
                rows.push(words + row);
            });
            starts.push(rows.len());
        }
        Self { starts, rows }
    }

    /// The rows of `word`.
    pub(super) fn of(&self, word: u32) -> &[u32] {
        let word = word as usize;
        &self.rows[self.starts[word]..self.starts[word + 1]]
    }

    #[inline(always)]
    pub(super) fn append(&self, word: u32, to: &mut Vec<u32>) {
        to.extend_from_slice(self.of(word));
    }
}
