//! Fitted vectors and the questions one asks them.
//!
//! Similarity is the cosine everywhere: `cos(a, b) = a·b / (|a| |b|)`. Search is exact: one pass
//! over all vectors with a heap of the best, `vocabulary × dim` multiplications on all cores.

mod analogy;
mod arithmetic;
mod batch;
mod codes;
mod file;
mod search;
pub(crate) mod subwords;

use std::borrow::Cow;

use rayon::prelude::*;
use refrain_core::{Values, kernels};

pub use analogy::Analogy;
pub use search::Neighbour;
pub use subwords::{SubwordHashing, Subwords};

use codes::Codes;
use search::{BLOCK, named};
pub(crate) use search::{best, check};

use crate::{Error, Result, Vocabulary};

/// Words (or items) with a vector each.
///
/// ```
/// use refrain_embeddings::Embeddings;
/// let words = Embeddings::from_vectors([
///     ("cat", [1.0, 0.1]),
///     ("dog", [0.9, 0.2]),
///     ("plant", [0.0, 1.0]),
/// ])?;
/// assert_eq!(words.neighbours("cat", 1)?[0].word, "dog");
/// assert!(words.similarity("cat", "dog")? > words.similarity("cat", "plant")?);
/// assert_eq!(words.doesnt_match(&["cat", "dog", "plant"])?, "plant");
/// assert_eq!(words.vector("unicorn"), None);
/// assert!(words.neighbours("unicorn", 1).is_err());
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug)]
pub struct Embeddings {
    vocabulary: Vocabulary,
    dim: usize,
    /// `[words, dim]`.
    vectors: Values,
    /// `1/|v|` of each vector; 0 for a vector of zeros.
    inverse_norms: Values,
    /// What a first pass over all vectors reads, if there are any.
    codes: Option<Codes>,
    /// What words outside the vocabulary are made of.
    subwords: Option<Subwords>,
}

/// A word's vector and `1/|v|`.
struct Found<'a> {
    /// Its number, if it stands in the vocabulary.
    index: Option<u32>,
    vector: Cow<'a, [f32]>,
    inverse: f32,
}

impl Clone for Embeddings {
    fn clone(&self) -> Self {
        Self {
            vocabulary: self.vocabulary.clone(),
            dim: self.dim,
            vectors: Values::Owned(self.vectors().to_vec()),
            inverse_norms: self.inverse_norms.clone(),
            codes: self.codes.clone(),
            subwords: self.subwords.clone(),
        }
    }
}

impl Embeddings {
    /// Vectors for the words of `vocabulary`, end to end in its order.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are not `dim` values for each word, [`Error::NotFinite`] naming the
    /// first word with a value that is no finite number.
    pub fn new(vocabulary: Vocabulary, dim: usize, vectors: Vec<f32>) -> Result<Self> {
        let expected = vocabulary.len().checked_mul(dim).filter(|_| dim > 0);
        if expected != Some(vectors.len()) {
            return Err(Error::Shape {
                what: format!("vectors of {} words, {dim} values each", vocabulary.len()),
                expected: expected.unwrap_or_default(),
                found: vectors.len(),
            });
        }
        let inverse_norms: Vec<f32> = vectors.par_chunks(dim).map(inverse_norm).collect();
        if let Some(at) = inverse_norms.iter().position(|inverse| inverse.is_nan()) {
            let word = vocabulary.word(at as u32).unwrap_or_default();
            return Err(Error::NotFinite {
                word: word.to_string(),
            });
        }
        Ok(Self {
            vocabulary,
            dim,
            vectors: Values::Owned(vectors),
            inverse_norms: Values::Owned(inverse_norms),
            codes: None,
            subwords: None,
        })
    }

    /// The same words, and n-grams of which unknown words are made.
    ///
    /// # Errors
    /// [`Error::Shape`] when the n-grams' rows differ in length from the words' vectors.
    pub fn with_subwords(mut self, subwords: Subwords) -> Result<Self> {
        if subwords.dim() != self.dim {
            return Err(Error::Shape {
                what: "rows of n-grams".to_string(),
                expected: self.dim,
                found: subwords.dim(),
            });
        }
        self.subwords = Some(subwords);
        Ok(self)
    }

    /// Words that are made of n-grams, in this order, and all others when they are [asked
    /// for](Embeddings::embed). There may be none.
    ///
    /// ```
    /// use refrain_embeddings::{Embeddings, Subwords};
    /// let subwords = Subwords::new(3..=3, 1, vec![1.0, 2.0, 3.0, 4.0])?;
    /// let words = Embeddings::from_subwords(subwords, ["cat", "dog"])?;
    /// assert_eq!(words.vector("cat"), words.subwords().and_then(|s| s.embed("cat")).as_deref());
    /// assert!(words.embed("horse").is_some());
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownWord`] when a word has no n-grams, [`Error::Config`] when it stands twice.
    pub fn from_subwords<W: AsRef<str>>(
        subwords: Subwords,
        words: impl IntoIterator<Item = W>,
    ) -> Result<Self> {
        let (mut names, mut values) = (Vec::new(), Vec::new());
        for word in words {
            let vector = subwords.embed(word.as_ref());
            values.extend(vector.ok_or_else(|| Error::unknown(word.as_ref()))?);
            names.push((word, 1));
        }
        let vocabulary = Vocabulary::from_counts(names)?;
        Self::new(vocabulary, subwords.dim(), values)?.with_subwords(subwords)
    }

    /// The n-grams of which unknown words are made, if there are any.
    pub fn subwords(&self) -> Option<&Subwords> {
        self.subwords.as_ref()
    }

    /// Words with their vectors; each counts once.
    ///
    /// # Errors
    /// [`Error::Shape`] when vectors differ in length or are empty, [`Error::Config`] when a word
    /// stands twice.
    pub fn from_vectors<W: AsRef<str>, V: AsRef<[f32]>>(
        words: impl IntoIterator<Item = (W, V)>,
    ) -> Result<Self> {
        let (mut names, mut values, mut dim) = (Vec::new(), Vec::new(), None);
        for (word, vector) in words {
            let vector = vector.as_ref();
            let dim = *dim.get_or_insert(vector.len());
            if vector.len() != dim || dim == 0 {
                return Err(Error::Shape {
                    what: format!("vector of {:?}", word.as_ref()),
                    expected: dim.max(1),
                    found: vector.len(),
                });
            }
            names.push((word, 1));
            values.extend_from_slice(vector);
        }
        Self::new(Vocabulary::from_counts(names)?, dim.unwrap_or(1), values)
    }

    /// The same words, and an 8-bit code of each value, so that a search reads a quarter of the bytes and
    /// finds the same: what the codes cannot rule out is compared in full. Saved with the vectors.
    ///
    /// Worth its memory, a quarter of the vectors', where these do not fit the processor's caches: from some
    /// hundred thousand words on. Vectors of more than 131,071 values are left as they are.
    ///
    /// ```
    /// # use refrain_embeddings::Embeddings;
    /// # let words = Embeddings::from_vectors([("cat", [1.0, 0.1]), ("dog", [0.9, 0.2]), ("car", [0.5, 0.5])])?;
    /// let words = words.indexed();
    /// assert_eq!(words.neighbours("cat", 1)?[0].word, "dog");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    #[must_use]
    pub fn indexed(mut self) -> Self {
        self.codes = Codes::new(&self);
        self
    }

    /// Whether a search reads codes first; see [`indexed`](Self::indexed).
    pub fn is_indexed(&self) -> bool {
        self.codes.is_some()
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.vocabulary.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.vocabulary.is_empty()
    }

    /// The length of the vectors.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The words and their counts.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// All vectors, `[words, dim]`, in the order of the vocabulary.
    pub fn vectors(&self) -> &[f32] {
        &self.vectors
    }

    /// The vector of `word`.
    pub fn vector(&self, word: &str) -> Option<&[f32]> {
        self.row(self.vocabulary.get(word)?)
    }

    /// The vector of `word`, or of its n-grams if it is unknown and there are
    /// [subwords](Embeddings::with_subwords). All questions about words ask this.
    pub fn embed(&self, word: &str) -> Option<Cow<'_, [f32]>> {
        match self.vector(word) {
            Some(vector) => Some(Cow::Borrowed(vector)),
            None => Some(Cow::Owned(self.subwords.as_ref()?.embed(word)?)),
        }
    }

    /// The vector of the word with this number.
    pub fn row(&self, index: u32) -> Option<&[f32]> {
        let at = (index as usize).checked_mul(self.dim)?;
        self.vectors().get(at..at.checked_add(self.dim)?)
    }

    /// Words with their vectors, most frequent first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[f32])> + '_ {
        self.vocabulary
            .ids()
            .iter()
            .zip(self.vectors().chunks_exact(self.dim))
    }

    /// The first `n` words with their vectors: the most frequent, as they stand in that order. N-grams are
    /// left out, so that the others are unknown.
    ///
    /// # Errors
    /// None in practice: the words were checked before.
    pub fn most_frequent(&self, n: usize) -> Result<Self> {
        let kept = self.vocabulary.iter().take(n);
        let vocabulary = Vocabulary::from_counts(kept)?;
        let values = vocabulary.len().saturating_mul(self.dim);
        let vectors = self.vectors().get(..values).unwrap_or_default();
        Self::new(vocabulary, self.dim, vectors.to_vec())
    }

    /// The same words with the first `dim` values of their vectors: for vectors that were trained so that
    /// their beginnings serve alone (Kusupati et al., *Matryoshka Representation Learning*, 2022), as those
    /// of WordLlama. N-grams are left out.
    ///
    /// # Errors
    /// [`Error::Config`] unless `dim` is between 1 and the length of the vectors.
    pub fn truncated(&self, dim: usize) -> Result<Self> {
        if !(1..=self.dim).contains(&dim) {
            return Err(Error::Config {
                field: "dim",
                value: dim.to_string(),
                reason: "choose between 1 and the length of the vectors",
            });
        }
        let rows = self.vectors().chunks_exact(self.dim);
        let vectors = rows.flat_map(|row| row.iter().take(dim).copied());
        Self::new(self.vocabulary.clone(), dim, vectors.collect())
    }

    /// The same words in lower case; of those that become equal the most frequent keeps its vector,
    /// and their counts add up.
    ///
    /// # Errors
    /// None in practice: the words were checked before.
    pub fn folded(&self) -> Result<Self> {
        let mut ids = refrain_core::IdMap::new();
        let (mut counts, mut vectors) = (Vec::<u64>::new(), Vec::new());
        for ((word, count), vector) in self
            .vocabulary
            .iter()
            .zip(self.vectors().chunks_exact(self.dim))
        {
            let at = ids.insert(word.to_lowercase())? as usize;
            match counts.get_mut(at) {
                Some(sum) => *sum = sum.saturating_add(count),
                None => {
                    counts.push(count);
                    vectors.extend_from_slice(vector);
                }
            }
        }
        let vocabulary = Vocabulary::from_ids(ids, counts);
        Self::new(vocabulary, self.dim, vectors)
    }

    /// The cosine of two words.
    ///
    /// # Errors
    /// [`Error::UnknownWord`].
    pub fn similarity(&self, a: &str, b: &str) -> Result<f32> {
        let (a, b) = (self.find(a)?, self.find(b)?);
        Ok(kernels::dot(&a.vector, &b.vector) * a.inverse * b.inverse)
    }

    fn find(&self, word: &str) -> Result<Found<'_>> {
        let index = self.vocabulary.get(word);
        let vector = self.embed(word).ok_or_else(|| Error::unknown(word))?;
        let inverse = match index {
            Some(index) => self.inverse(index),
            None => inverse_norm(&vector),
        };
        Ok(Found {
            index,
            vector,
            inverse,
        })
    }

    fn inverse(&self, index: u32) -> f32 {
        self.inverse_norms
            .get(index as usize)
            .copied()
            .unwrap_or_default()
    }
}

/// `1/|v|`, and 0 where it is not a number of 32 bits: for vectors of zeros and of less than 10⁻³⁷. Not a
/// number where a value is not finite.
pub(crate) fn inverse_norm(vector: &[f32]) -> f32 {
    let norm = kernels::norm(vector);
    if (1e-15..1e15).contains(&norm) {
        return 1.0 / norm;
    }
    // Squares may be too large or too small for 32 bits.
    let squares = vector.iter().map(|&v| f64::from(v) * f64::from(v));
    match squares.sum::<f64>().sqrt() {
        norm if !norm.is_finite() => f32::NAN,
        norm if norm < 1e-37 => 0.0,
        norm => (1.0 / norm) as f32,
    }
}

/// The vector times `1/|v|`.
pub(crate) fn direction(vector: &[f32], inverse: f32) -> Vec<f32> {
    vector.iter().map(|v| v * inverse).collect()
}

#[cfg(test)]
mod tests;
