//! Vectors in other programs' formats, one file each, reader and writer together.
//!
//! | files | read and written by |
//! |---|---|
//! | word2vec text and binary, fastText `.vec`, gensim's `save_word2vec_format` | [`word2vec`] |
//! | fastText `.bin` and `.ftz`, with n-grams | [`fasttext`] |
//! | floret `.floret`, n-grams alone | [`floret`] |
//! | finalfusion `.fifu`, plain or quantised, with n-grams | [`finalfusion`] |
//! | GloVe, and others without a first line of counts | [`glove`] |
//! | safetensors with a `tokenizer.json`: Model2Vec, WordLlama | [`model2vec`] |
//! | a matrix `.npy` of numpy and a list of words | [`numpy`] |
//! | refrain's own, which opens without being read | [`Embeddings::load`](crate::Embeddings::load) |
//!
//! finalfusion's files of plain vectors [open](finalfusion::open) without being read, too.
//!
//! Readers trust no count with memory, read words that are not UTF-8 with `U+FFFD` for what they
//! cannot decode, and keep the first of words that are equal after that.

mod bytes;
pub mod fasttext;
pub mod finalfusion;
pub mod floret;
pub mod glove;
mod lines;
pub mod model2vec;
pub mod numpy;
#[cfg(test)]
mod testing;
pub mod word2vec;

use crate::{Embeddings, Error, Result, Vocabulary};

/// Words and their values as they come.
struct Gathered {
    names: refrain_core::IdMap,
    values: Vec<f32>,
}

impl Gathered {
    fn new() -> Self {
        Self {
            names: refrain_core::IdMap::new(),
            values: Vec::new(),
        }
    }

    /// Names the values that were pushed since `start`; of equal words the first is kept.
    fn name(&mut self, word: &str, start: usize) -> Result<()> {
        let known = self.names.len();
        if self.names.insert(word)? as usize != known {
            self.values.truncate(start);
        }
        Ok(())
    }

    fn finish(self, dim: usize) -> Result<Embeddings> {
        let counts = vec![1; self.names.len()];
        let vocabulary = Vocabulary::from_ids(self.names, counts);
        Embeddings::new(vocabulary, dim, self.values)
    }
}

fn bad(origin: &str, place: impl std::fmt::Display, reason: String) -> Error {
    Error::Vectors {
        origin: origin.to_string(),
        place: place.to_string(),
        reason,
    }
}

/// Refuses a word that a line of text cannot carry.
fn check_word(word: &str, origin: &str, place: impl std::fmt::Display) -> Result<()> {
    if word.is_empty() || word.contains(['\n', '\r']) || word.ends_with(' ') {
        let reason = format!("the word {word:?} does not fit the format");
        return Err(bad(origin, place, reason));
    }
    Ok(())
}
