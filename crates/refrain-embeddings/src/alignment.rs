//! One space turned onto another: orthogonal Procrustes (Schönemann, *A generalized solution of the
//! orthogonal Procrustes problem*, 1966; for words: Smith et al., *Offline bilingual word vectors,
//! orthogonal transformations and the inverted softmax*, 2017).
//!
//! ```text
//! R = argmin over rotations   Σ over pairs |R a − b|²  =  U Vᵀ        with U S Vᵀ = Σ b aᵀ
//! ```
//!
//! *When to use it*: to translate by vectors, or to compare vectors of two times or two trainings,
//! whose axes have nothing to do with each other. Distances within the space stay as they are.

use nalgebra::DMatrix;

use crate::{Embeddings, Error, Result};

/// A rotation from one space to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Alignment {
    dim: usize,
    /// `[dim, dim]`, a row for each value of the target.
    rotation: Vec<f32>,
    /// How many pairs it was fitted on.
    pub pairs: usize,
}

impl Alignment {
    /// The rotation that brings the first words of `pairs` nearest to the second ones, all scaled to
    /// length 1. Pairs with an unknown word are left out.
    ///
    /// ```
    /// use refrain_embeddings::{Alignment, Embeddings};
    /// let english = Embeddings::from_vectors([("cat", [1.0, 0.0]), ("dog", [0.8, 0.6]), ("car", [0.0, 1.0])])?;
    /// // The same, a quarter turned.
    /// let french = Embeddings::from_vectors([("chat", [0.0, 1.0]), ("chien", [-0.6, 0.8]), ("auto", [-1.0, 0.0])])?;
    /// let turn = Alignment::fit(&english, &french, [("cat", "chat"), ("car", "auto")])?;
    /// let turned = turn.apply(&english)?;
    /// let dog = turned.vector("dog").unwrap_or_default();
    /// assert_eq!(french.nearest(dog, 1)?[0].word, "chien");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Shape`] when the spaces differ in length, [`Error::TooFewWords`] when no pair is known.
    pub fn fit<A: AsRef<str>, B: AsRef<str>>(
        source: &Embeddings,
        target: &Embeddings,
        pairs: impl IntoIterator<Item = (A, B)>,
    ) -> Result<Self> {
        let dim = source.dim();
        if target.dim() != dim {
            return Err(Error::Shape {
                what: "vectors of the target".to_string(),
                expected: dim,
                found: target.dim(),
            });
        }
        let mut product = DMatrix::<f64>::zeros(dim, dim);
        let mut count = 0;
        for (a, b) in pairs {
            let (Some(a), Some(b)) = (source.embed(a.as_ref()), target.embed(b.as_ref())) else {
                continue;
            };
            let unit = |vector: &[f32]| {
                let vector =
                    nalgebra::DVector::from_iterator(dim, vector.iter().map(|&v| v.into()));
                vector.normalize()
            };
            let (a, b) = (unit(&a), unit(&b));
            if a.iter()
                .chain(b.iter())
                .all(|value: &f64| value.is_finite())
            {
                product.ger(1.0, &b, &a, 1.0);
                count += 1;
            }
        }
        let svd = product.svd(true, true);
        let (Some(u), Some(v), true) = (svd.u, svd.v_t, count > 0) else {
            return Err(Error::TooFewWords {
                what: "alignment",
                expected: 1,
                found: count,
            });
        };
        let rotation = (u * v).transpose();
        Ok(Self {
            dim,
            // nalgebra keeps columns: the transpose's are the rows.
            rotation: rotation.iter().map(|&value| value as f32).collect(),
            pairs: count,
        })
    }

    /// As [`Alignment::fit`], by the words that both spaces have.
    ///
    /// # Errors
    /// As [`Alignment::fit`].
    pub fn by_shared_words(source: &Embeddings, target: &Embeddings) -> Result<Self> {
        let words = source.vocabulary().ids().iter();
        let shared = words.filter(|word| target.vocabulary().get(word).is_some());
        Self::fit(source, target, shared.map(|word| (word, word)))
    }

    /// `[dim, dim]`, a row for each value of the target.
    pub fn rotation(&self) -> &[f32] {
        &self.rotation
    }

    /// The words with their vectors turned, n-grams too.
    ///
    /// # Errors
    /// [`Error::Shape`] when the vectors have another length.
    pub fn apply(&self, words: &Embeddings) -> Result<Embeddings> {
        if words.dim() != self.dim {
            return Err(Error::Shape {
                what: "vectors to be turned".to_string(),
                expected: self.dim,
                found: words.dim(),
            });
        }
        let turn = |values: &[f32]| {
            let mut turned = vec![0.0; values.len()];
            refrain_core::kernels::matmul_transposed(values, &self.rotation, self.dim, &mut turned);
            turned
        };
        let turned = Embeddings::new(words.vocabulary().clone(), self.dim, turn(words.vectors()))?;
        match words.subwords() {
            None => Ok(turned),
            Some(subwords) => turned.with_subwords(subwords.with_values(turn(subwords.values()))),
        }
    }

    /// The share of `pairs` whose second word is among the `k` nearest in the target to the first one
    /// turned: precision at `k` of a dictionary. Pairs with an unknown word are left out; none gives 0.
    ///
    /// # Errors
    /// [`Error::Shape`] when vectors have another length.
    pub fn precision<A: AsRef<str>, B: AsRef<str>>(
        &self,
        source: &Embeddings,
        target: &Embeddings,
        pairs: impl IntoIterator<Item = (A, B)>,
        k: usize,
    ) -> Result<f64> {
        let (mut right, mut asked) = (0u32, 0u32);
        for (a, b) in pairs {
            let (Some(a), Some(b)) = (
                source.embed(a.as_ref()),
                target.vocabulary().get(b.as_ref()),
            ) else {
                continue;
            };
            let mut turned = vec![0.0; self.dim];
            refrain_core::kernels::matmul_transposed(&a, &self.rotation, self.dim, &mut turned);
            let near = target.nearest(&turned, k)?;
            right += u32::from(near.iter().any(|n| n.index == b));
            asked += 1;
        }
        Ok(f64::from(right) / f64::from(asked.max(1)))
    }
}

#[cfg(test)]
mod tests {
    use rand::RngExt;

    use super::*;

    fn random(words: usize, dim: usize) -> Embeddings {
        let mut rng = refrain_core::rng::stream(3, 1);
        Embeddings::from_vectors((0..words).map(|i| {
            let vector: Vec<f32> = (0..dim).map(|_| rng.random_range(-1.0..1.0)).collect();
            (format!("w{i}"), vector)
        }))
        .unwrap()
    }

    #[test]
    fn a_rotation_is_found_again() {
        let (words, dim) = (random(60, 8), 8);
        // A rotation by the orthogonal matrix of a random one.
        let matrix = DMatrix::from_fn(dim, dim, |i, j| {
            ((i * 7 + j * 3 + 1) % 5) as f64 - 2.0 + (i == j) as u8 as f64
        });
        let q = matrix.qr().q();
        let turned = words.iter().map(|(word, vector)| {
            let vector =
                q.clone() * nalgebra::DVector::from_iterator(dim, vector.iter().map(|&v| v.into()));
            (
                word.to_uppercase(),
                vector.iter().map(|&v| v as f32).collect::<Vec<_>>(),
            )
        });
        let target = Embeddings::from_vectors(turned.collect::<Vec<_>>()).unwrap();
        let pairs =
            |range: std::ops::Range<usize>| range.map(|i| (format!("w{i}"), format!("W{i}")));
        let found = Alignment::fit(&words, &target, pairs(0..20)).unwrap();
        assert_eq!(found.pairs, 20);
        for (i, &value) in found.rotation().iter().enumerate() {
            let expected = q[(i / dim, i % dim)];
            assert!(
                (f64::from(value) - expected).abs() < 1e-5,
                "{i}: {value} {expected}"
            );
        }
        // Words that were no pairs come to lie on theirs.
        assert_eq!(
            found.precision(&words, &target, pairs(20..60), 1).unwrap(),
            1.0
        );
        let turned = found.apply(&words).unwrap();
        assert!(
            (turned.similarity("w1", "w2").unwrap() - words.similarity("w1", "w2").unwrap()).abs()
                < 1e-5
        );
        let nobody = [("nobody", "nowhere")];
        assert!(matches!(
            Alignment::fit(&words, &target, nobody),
            Err(Error::TooFewWords { found: 0, .. })
        ));
        assert!(Alignment::by_shared_words(&words, &random(9, 5)).is_err());
        assert_eq!(found.precision(&words, &target, nobody, 1).unwrap(), 0.0);
        assert!(
            Alignment::by_shared_words(&words, &words)
                .unwrap()
                .apply(&random(9, 5))
                .is_err()
        );
    }
}
