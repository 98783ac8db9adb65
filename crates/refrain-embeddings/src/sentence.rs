//! Sentences as means of their words: weighted as one likes, or by smooth inverse frequency (Arora,
//! Liang and Ma, *A Simple but Tough-to-Beat Baseline for Sentence Embeddings*, 2017).
//!
//! ```text
//! v = (1 / n) Σ over known words   a / (a + p(word)) · x_word        then   v − u uᵀ v
//! ```
//!
//! `p` is a word's share of the tokens the embeddings were trained on, and `u` the direction that all
//! sentences share: the first singular vector of a set of them.
//!
//! *When to use it*: to compare short texts by what they speak of. Order does not count; where it
//! matters, an encoder is needed.

use std::path::Path;

use nalgebra::{DMatrix, SymmetricEigen};
use rayon::prelude::*;
use refrain_core::{ModelFile, ModelWriter, kernels};

use crate::{Embeddings, Error, Result};

const KIND: &str = "embeddings.sif";
const VERSION: u32 = 1;

impl Embeddings {
    /// The mean of the tokens' vectors, each times what `weight` says of it; `None` when no token has a
    /// vector, or the weights add up to nothing. Weights that are no finite numbers count as 0.
    ///
    /// ```
    /// use refrain_embeddings::Embeddings;
    /// let words = Embeddings::from_vectors([("good", [1.0, 0.0]), ("day", [0.0, 1.0])])?;
    /// let mean = words.sentence(&["good", "day", "sir"], |word| if word == "day" { 3.0 } else { 1.0 });
    /// assert_eq!(mean, Some(vec![0.25, 0.75]));
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    pub fn sentence<T: AsRef<str>>(
        &self,
        tokens: &[T],
        weight: impl Fn(&str) -> f32,
    ) -> Option<Vec<f32>> {
        let (mut sum, mut total) = (vec![0.0; self.dim()], 0.0);
        for token in tokens {
            let weight = Some(weight(token.as_ref())).filter(|w| w.is_finite());
            if let (Some(vector), Some(weight)) = (self.embed(token.as_ref()), weight) {
                kernels::axpy(weight, &vector, &mut sum);
                total += weight;
            }
        }
        kernels::scale(1.0 / total, &mut sum);
        (total != 0.0).then_some(sum)
    }
}

/// Sentence vectors by smooth inverse frequency.
///
/// ```
/// use refrain_embeddings::{Corpus, SentenceVectors, Word2Vec, tokenize};
/// let text = refrain_data::bundled::text()?;
/// let config = Word2Vec { dim: 20, epochs: 1, threads: 1, ..Word2Vec::default() };
/// let words = config.fit(&Corpus::from_text(text.as_str(), tokenize::words))?;
///
/// let tokens = |text: &str| {
///     let mut all = Vec::new();
///     tokenize::words(text, &mut |token| all.push(token.to_string()));
///     all
/// };
/// let some: Vec<Vec<String>> = text.lines().take(300).map(tokens).collect();
/// let sentences = SentenceVectors::fit(&words, &some, 1e-3)?;
/// let a = sentences.embed(&words, &tokens("the white whale swam away"));
/// assert_eq!(a.map(|vector| vector.len()), Some(20));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SentenceVectors {
    a: f64,
    /// Of length 1, or all zeros when there was nothing to learn it from.
    common: Vec<f32>,
}

impl SentenceVectors {
    /// Finds the direction that these sentences share; those without a known word are left out. `a` is
    /// usually 10⁻³.
    ///
    /// # Errors
    /// [`Error::Config`] unless `a` is above 0, [`Error::TooFewWords`] when no sentence has a vector.
    pub fn fit<S: AsRef<[T]> + Sync, T: AsRef<str>>(
        words: &Embeddings,
        sentences: &[S],
        a: f64,
    ) -> Result<Self> {
        if !(a.is_finite() && a > 0.0) {
            return Err(Error::Config {
                field: "a",
                value: a.to_string(),
                reason: "must be above 0",
            });
        }
        let dim = words.dim();
        let mut unfitted = Self {
            a,
            common: vec![0.0; dim],
        };
        let vectors: Vec<Vec<f32>> = sentences
            .par_iter()
            .filter_map(|sentence| unfitted.embed(words, sentence.as_ref()))
            .collect();
        if vectors.is_empty() {
            return Err(Error::TooFewWords {
                what: "sentences with a known word",
                expected: 1,
                found: 0,
            });
        }
        let mut products = DMatrix::<f64>::zeros(dim, dim);
        for vector in &vectors {
            let vector = vector.iter().map(|&v| f64::from(v));
            let vector = nalgebra::DVector::from_iterator(dim, vector);
            products.ger(1.0, &vector, &vector, 1.0);
        }
        let eigen = SymmetricEigen::new(products);
        let first = (0..dim).max_by(|&a, &b| eigen.eigenvalues[a].total_cmp(&eigen.eigenvalues[b]));
        if let Some(first) = first.filter(|&i| eigen.eigenvalues[i] > 0.0) {
            let column = eigen.eigenvectors.column(first);
            unfitted.common = column.iter().map(|&value| value as f32).collect();
        }
        Ok(unfitted)
    }

    /// The vector of a sentence; `None` when no token has one. The words must be those it was fitted on,
    /// or at least as long.
    pub fn embed<T: AsRef<str>>(&self, words: &Embeddings, tokens: &[T]) -> Option<Vec<f32>> {
        let vocabulary = words.vocabulary();
        let total = vocabulary.tokens().max(1) as f64;
        let (mut sum, mut known) = (vec![0.0; words.dim()], 0u32);
        for token in tokens {
            let Some(vector) = words.embed(token.as_ref()) else {
                continue;
            };
            let count = vocabulary
                .get(token.as_ref())
                .and_then(|id| vocabulary.count(id));
            let share = count.unwrap_or_default() as f64 / total;
            kernels::axpy((self.a / (self.a + share)) as f32, &vector, &mut sum);
            known += 1;
        }
        kernels::scale(1.0 / known as f32, &mut sum);
        let along = kernels::dot(&sum, &self.common);
        kernels::axpy(-along, &self.common, &mut sum);
        (known > 0).then_some(sum)
    }

    /// [`SentenceVectors::embed`] for many sentences, on all cores.
    pub fn embed_batch<S: AsRef<[T]> + Sync, T: AsRef<str>>(
        &self,
        words: &Embeddings,
        sentences: &[S],
    ) -> Vec<Option<Vec<f32>>> {
        let embed = |sentence: &S| self.embed(words, sentence.as_ref());
        sentences.par_iter().map(embed).collect()
    }

    /// The direction that is taken out, of length 1.
    pub fn common(&self) -> &[f32] {
        &self.common
    }

    /// Writes the file; the words have one of their own.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        ModelWriter::new(KIND, VERSION)
            .u64("a", &[1], vec![self.a.to_bits()])?
            .f32("common", &[self.common.len()], &self.common[..])?
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
        let a = file.u64("a")?.expect_shape("a", &[1])?.data;
        Ok(Self {
            a: f64::from_bits(a.first().copied().unwrap_or_default()),
            common: file.f32("common")?.data.into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Vocabulary;

    fn words() -> Embeddings {
        let words = [("the", 900), ("cat", 60), ("dog", 30), ("sat", 10)];
        let values = vec![1.0, 0.2, 0.1, 0.9, 1.0, 0.0, 0.8, 0.9, 0.3, 0.7, 0.1, 1.0];
        Embeddings::new(Vocabulary::from_counts(words).unwrap(), 3, values).unwrap()
    }

    /// Golden values of numpy 2.4: `python crates/refrain-embeddings/tests/golden/make_sif.py`.
    #[test]
    fn vectors_are_those_of_numpy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sif.refrain");
        let words = words();
        let sentences = [
            vec!["the", "cat", "sat"],
            vec!["the", "dog"],
            vec!["cat", "dog", "fish"],
        ];
        let model = SentenceVectors::fit(&words, &sentences, 1e-2).unwrap();
        let expected: [[f32; 3]; 3] = [
            [0.0079858, -0.0636964, 0.0795492],
            [-0.0047771, 0.022146, -0.0241085],
            [-0.0042289, 0.0441723, -0.0574884],
        ];
        for (found, expected) in model.embed_batch(&words, &sentences).iter().zip(expected) {
            for (found, expected) in found.as_ref().unwrap().iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{found} {expected}");
            }
        }
        assert_eq!(model.embed(&words, &["fish"]), None);
        assert_eq!(model.embed::<&str>(&words, &[]), None);
        model.save(&path).unwrap();
        assert_eq!(SentenceVectors::load(&path).unwrap(), model);
        assert!(SentenceVectors::fit(&words, &sentences, 0.0).is_err());
        assert!(SentenceVectors::fit(&words, &[["fish"]], 1e-3).is_err());
        assert!(Embeddings::load(&path).is_err());
        assert_eq!(words.sentence(&["the", "cat"], |_| f32::NAN), None);
    }
}
