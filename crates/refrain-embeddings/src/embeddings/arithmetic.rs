//! Sums of directions, and the word that fits them least.

use refrain_core::kernels;

use super::Embeddings;
use crate::{Error, Result};

impl Embeddings {
    /// The word that fits the others least: the one farthest from the mean of their directions.
    ///
    /// # Errors
    /// [`Error::UnknownWord`], and [`Error::TooFewWords`] for less than two.
    pub fn doesnt_match<'w>(&self, words: &[&'w str]) -> Result<&'w str> {
        let mean = self.mean(words)?;
        let mut worst: Option<(f32, &str)> = None;
        for &word in words {
            let found = self.find(word)?;
            let score = kernels::dot(&mean, &found.vector) * found.inverse;
            if worst.is_none_or(|(least, _)| score < least) {
                worst = Some((score, word));
            }
        }
        match worst {
            Some((_, word)) if words.len() >= 2 => Ok(word),
            _ => Err(Error::TooFewWords {
                what: "doesn't match",
                expected: 2,
                found: words.len(),
            }),
        }
    }

    /// The mean direction of some words.
    ///
    /// # Errors
    /// [`Error::UnknownWord`], and [`Error::TooFewWords`] for none.
    pub fn mean(&self, words: &[&str]) -> Result<Vec<f32>> {
        let weighted: Vec<(&str, f32)> = words.iter().map(|&w| (w, 1.0)).collect();
        self.combine(&weighted)
    }

    /// Arithmetic: the weighted sum of the words' directions, of length 1.
    ///
    /// ```
    /// # use refrain_embeddings::Embeddings;
    /// # let words = Embeddings::from_vectors([("king", [1.0, 1.0]), ("man", [0.0, 1.0]), ("throne", [1.0, 0.0])])?;
    /// let direction = words.combine(&[("king", 1.0), ("man", -0.7)])?;
    /// assert_eq!(words.nearest(&direction, 1)?[0].word, "throne");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownWord`], and [`Error::TooFewWords`] for none.
    pub fn combine(&self, words: &[(&str, f32)]) -> Result<Vec<f32>> {
        if words.is_empty() {
            return Err(Error::TooFewWords {
                what: "combine",
                expected: 1,
                found: 0,
            });
        }
        let mut sum = vec![0.0; self.dim];
        for &(word, weight) in words {
            let found = self.find(word)?;
            kernels::axpy(weight * found.inverse, &found.vector, &mut sum);
        }
        kernels::normalize(&mut sum);
        Ok(sum)
    }
}
