//! Analogies: *a* is to *b* as *c* is to what?
//!
//! 3CosAdd (Mikolov, Yih and Zweig, 2013) takes the word nearest to `b − a + c`; 3CosMul (Levy and
//! Goldberg, 2014) multiplies instead, so that one large similarity cannot outweigh the others:
//!
//! ```text
//! 3CosAdd   cos(w, b) − cos(w, a) + cos(w, c)
//! 3CosMul   s(w, b) · s(w, c) / (s(w, a) + ε)      s = (1 + cos)/2,  ε = 10⁻³
//! ```

use refrain_core::kernels;

use super::{Embeddings, Neighbour};
use crate::{Error, Result};

/// How the three similarities of an analogy become one score.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Analogy {
    /// 3CosAdd: the sum; its score is a cosine.
    #[default]
    Add,
    /// 3CosMul: the product.
    Mul,
}

impl Embeddings {
    /// The `k` best answers to "*a* is to *b* as *c* is to …"; the three words are never answers.
    ///
    /// ```
    /// use refrain_embeddings::{Analogy, Embeddings};
    /// let words = Embeddings::from_vectors([
    ///     ("man", [1.0, 0.0, 0.2]),
    ///     ("woman", [0.0, 1.0, 0.2]),
    ///     ("king", [1.0, 0.0, 2.0]),
    ///     ("queen", [0.0, 1.0, 2.0]),
    ///     ("tree", [0.6, 0.6, -1.0]),
    /// ])?;
    /// let best = words.analogy("man", "king", "woman", 1, Analogy::Mul)?;
    /// assert_eq!(best[0].word, "queen");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownWord`].
    pub fn analogy(
        &self,
        a: &str,
        b: &str,
        c: &str,
        k: usize,
        by: Analogy,
    ) -> Result<Vec<Neighbour<'_>>> {
        self.most_similar(&[b, c], &[a], k, by)
    }

    /// The `k` words most similar to all of `positive` and to none of `negative`, which are never
    /// answers themselves.
    ///
    /// # Errors
    /// [`Error::UnknownWord`], and [`Error::TooFewWords`] for none.
    pub fn most_similar(
        &self,
        positive: &[&str],
        negative: &[&str],
        k: usize,
        by: Analogy,
    ) -> Result<Vec<Neighbour<'_>>> {
        if positive.is_empty() && negative.is_empty() {
            return Err(Error::TooFewWords {
                what: "most similar",
                expected: 1,
                found: 0,
            });
        }
        let mut given = Vec::new();
        for word in positive.iter().chain(negative) {
            given.push(self.find(word)?);
        }
        let keep = |index: u32, _: &str| given.iter().all(|found| found.index != Some(index));
        match by {
            Analogy::Add => {
                let weighted: Vec<(&str, f32)> = positive
                    .iter()
                    .map(|&w| (w, 1.0))
                    .chain(negative.iter().map(|&w| (w, -1.0)))
                    .collect();
                self.nearest_where(&self.combine(&weighted)?, k, keep)
            }
            Analogy::Mul => Ok(self.best_by(k, keep, |rows, inverse, out| {
                let mut products = vec![0.0; out.len()];
                out.fill(1.0);
                for (i, found) in given.iter().enumerate() {
                    kernels::scores(&found.vector, rows, &mut products);
                    for ((out, product), inverse) in out.iter_mut().zip(&products).zip(inverse) {
                        let similarity = 0.5 + 0.5 * product * found.inverse * inverse;
                        match i < positive.len() {
                            true => *out *= similarity,
                            false => *out /= similarity + 1e-3,
                        }
                    }
                }
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_solve_a_grid_and_leave_the_question_out() {
        // Word (i, j) lies at row direction i plus column direction j.
        let grid = (0..4).flat_map(|i| {
            (0..5).map(move |j| {
                let mut vector = vec![0.0f32; 9];
                vector[i] = 1.0;
                vector[4 + j] = 1.0;
                (format!("{i}{j}"), vector)
            })
        });
        let words = Embeddings::from_vectors(grid).unwrap();
        for by in [Analogy::Add, Analogy::Mul] {
            for (a, b, c, d) in [("00", "01", "30", "31"), ("12", "14", "02", "04")] {
                let best = words.analogy(a, b, c, 3, by).unwrap();
                assert_eq!(best[0].word, d);
                assert!(best.iter().all(|n| ![a, b, c].contains(&n.word)));
            }
        }
        let cosine = words.analogy("00", "01", "30", 1, Analogy::Add).unwrap()[0].similarity;
        assert!(cosine <= 1.0001 && cosine > 0.9, "{cosine}");
        assert!(words.most_similar(&[], &[], 1, Analogy::Add).is_err());
        assert!(words.analogy("00", "01", "99", 1, Analogy::Mul).is_err());
    }
}
