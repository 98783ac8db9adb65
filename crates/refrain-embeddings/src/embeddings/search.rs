//! Exact search: one pass over all vectors with a heap of the best.

use std::ops::Range;

use rayon::prelude::*;
use refrain_core::kernels::{self, TopK};

use super::{Embeddings, direction, inverse_norm};
use crate::{Error, Result, Vocabulary};

/// Rows searched together.
pub(super) const BLOCK: usize = 4096;

/// A word near another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour<'a> {
    /// The word.
    pub word: &'a str,
    /// Its number in the vocabulary.
    pub index: u32,
    /// How near: the cosine, or the score of an analogy.
    pub similarity: f32,
}

impl<'a> Neighbour<'a> {
    pub(crate) fn new(words: &'a Vocabulary, index: u32, similarity: f32) -> Self {
        Self {
            word: words.word(index).unwrap_or_default(),
            index,
            similarity,
        }
    }
}

impl Embeddings {
    /// The `k` words nearest to `word`, itself left out, nearest first.
    ///
    /// # Errors
    /// [`Error::UnknownWord`].
    pub fn neighbours(&self, word: &str, k: usize) -> Result<Vec<Neighbour<'_>>> {
        let found = self.find(word)?;
        self.nearest_where(&found.vector, k, |other, _| Some(other) != found.index)
    }

    /// The `k` words nearest to a vector.
    ///
    /// # Errors
    /// [`Error::Shape`] when its length differs.
    pub fn nearest(&self, vector: &[f32], k: usize) -> Result<Vec<Neighbour<'_>>> {
        self.nearest_where(vector, k, |_, _| true)
    }

    /// The `k` words nearest to a vector among those that `keep` accepts, by number and word: a
    /// prefix, a set, the frequent ones (numbers below a bound). It is asked only about words that
    /// would otherwise be returned.
    ///
    /// ```
    /// # use refrain_embeddings::Embeddings;
    /// # let words = Embeddings::from_vectors([("cat", [1.0, 0.1]), ("dog", [0.9, 0.2]), ("car", [0.5, 0.5])])?;
    /// let cat = words.vector("cat").unwrap_or_default();
    /// let near = words.nearest_where(cat, 1, |_, word| word.starts_with("d"))?;
    /// assert_eq!(near[0].word, "dog");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when its length differs.
    pub fn nearest_where(
        &self,
        vector: &[f32],
        k: usize,
        keep: impl Fn(u32, &str) -> bool + Sync,
    ) -> Result<Vec<Neighbour<'_>>> {
        check(vector, self.dim)?;
        let scale = inverse_norm(vector);
        if let Some(codes) = self.codes.as_ref().filter(|_| scale.is_finite()) {
            let keep = |index| keep(index, self.vocabulary.word(index).unwrap_or_default());
            return Ok(named(
                &self.vocabulary,
                codes.best(self, vector, k.min(self.len()), &keep),
            ));
        }
        let query = direction(vector, scale);
        Ok(self.best_by(k, keep, |rows, inverse, out| {
            kernels::scores(&query, rows, out);
            for (score, inverse) in out.iter_mut().zip(inverse) {
                *score *= inverse;
            }
        }))
    }

    /// The `k` best words by the scores that `fill` computes from a run of rows and their inverse
    /// lengths.
    pub(super) fn best_by(
        &self,
        k: usize,
        keep: impl Fn(u32, &str) -> bool + Sync,
        fill: impl Fn(&[f32], &[f32], &mut [f32]) + Sync,
    ) -> Vec<Neighbour<'_>> {
        let (vectors, inverse) = (self.vectors(), &self.inverse_norms[..]);
        best(&self.vocabulary, k, keep, |rows, out| {
            let values = &vectors[rows.start * self.dim..rows.end * self.dim];
            fill(values, &inverse[rows], out);
        })
    }
}

/// The `k` best words by the scores that `fill` computes for a run of them.
pub(crate) fn best(
    words: &Vocabulary,
    k: usize,
    keep: impl Fn(u32, &str) -> bool + Sync,
    fill: impl Fn(Range<usize>, &mut [f32]) + Sync,
) -> Vec<Neighbour<'_>> {
    let k = k.min(words.len());
    if k == 0 {
        return Vec::new();
    }
    let search = |block: usize| {
        let first = block * BLOCK;
        let rows = first..words.len().min(first + BLOCK);
        let mut scores = vec![0.0; rows.len()];
        fill(rows, &mut scores);
        let mut top = TopK::new(k);
        for (index, &score) in (first as u32..).zip(&scores) {
            let good = score > top.threshold() || top.len() < k;
            if good && keep(index, words.word(index).unwrap_or_default()) {
                top.push(index, score);
            }
        }
        top.into_sorted()
    };
    let blocks = (0..words.len().div_ceil(BLOCK)).into_par_iter();
    let mut top = TopK::new(k);
    for found in blocks.map(search).collect::<Vec<_>>().into_iter().flatten() {
        top.push(found.index, found.score);
    }
    named(words, top)
}

/// What was found, by its words.
pub(super) fn named(words: &Vocabulary, top: TopK) -> Vec<Neighbour<'_>> {
    let found = top.into_sorted().into_iter();
    found
        .map(|found| Neighbour::new(words, found.index, found.score))
        .collect()
}

/// Refuses a vector of another length.
pub(crate) fn check(vector: &[f32], dim: usize) -> Result<()> {
    match vector.len() == dim {
        true => Ok(()),
        false => Err(Error::Shape {
            what: "vector".to_string(),
            expected: dim,
            found: vector.len(),
        }),
    }
}
