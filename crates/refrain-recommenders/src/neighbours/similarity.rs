//! How histories are compared: what they are weighed by, what they are centred on, and what their
//! product is divided by. Item-kNN and user-kNN share it.

use refrain_core::Stage;
use refrain_core::kernels::Scored;
use serde::{Deserialize, Serialize};

use super::Weighting;
use super::product::{Scale, Sums, Turned, nearest_rows};
use super::sparse::Csr;
use super::weighting::Terms;
use crate::{Error, Result};

/// How two histories are compared.
///
/// Below, x and y are what the [`Weighting`] makes of two histories (two items' users, for item-kNN;
/// two users' items, for user-kNN), x being the one whose neighbours are sought, and `h` is the
/// shrinkage. Only positive similarities count.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Similarity {
    /// `x·y / (|x|^2(1−a) · |y|^2a + h)`: with an asymmetry of ½ the cosine; above ½ it pulls less
    /// towards neighbours with long histories, below ½ more.
    Cosine {
        /// From 0 to 1.
        asymmetry: f32,
    },
    /// The cosine after each value lost the mean of those it stands across from: for items, the mean
    /// of the user who gave it, so that a generous user's 4 is not a strict user's 4 (Sarwar et al.,
    /// 2001). Norms are over the whole history. Needs weights that differ: nothing is similar where
    /// every weight is 1.
    AdjustedCosine,
    /// The cosine after each history lost its own mean: for items, the item's mean. What is absent
    /// counts as the mean. Needs weights that differ.
    Pearson,
    /// `|x ∩ y| / (|x ∪ y| + h)`: only who had what counts, not how much.
    Jaccard,
}

impl Similarity {
    /// The plain cosine.
    pub const COSINE: Self = Self::Cosine { asymmetry: 0.5 };

    pub(crate) fn check(self, model: &'static str) -> Result<()> {
        match self {
            Similarity::Cosine { asymmetry } if !(0.0..=1.0).contains(&asymmetry) => {
                Err(Error::Config {
                    model,
                    field: "asymmetry",
                    value: asymmetry.to_string(),
                    expected: "must be from 0 to 1",
                })
            }
            _ => Ok(()),
        }
    }

    /// The exponents of the squared norms.
    fn exponents(self) -> (f32, f32) {
        match self {
            Similarity::Cosine { asymmetry } => (1.0 - asymmetry, asymmetry),
            _ => (0.5, 0.5),
        }
    }
}

/// Histories as vectors, and what is needed to compare one that arrives later with them.
#[derive(Debug, Clone)]
pub(crate) struct Space {
    similarity: Similarity,
    terms: Terms,
    /// The terms' means, for the adjusted cosine.
    means: Vec<f32>,
    /// Documents × terms.
    rows: Csr,
    turned: Turned,
    scale: Scale,
}

impl Space {
    /// From documents whose values are strengths.
    ///
    /// # Errors
    /// [`Error::Data`], for the model of this name, when values are too large to square.
    pub(crate) fn new(
        model: &'static str,
        mut rows: Csr,
        weighting: Weighting,
        similarity: Similarity,
        shrinkage: f32,
    ) -> Result<Self> {
        let terms = Terms::learn(&rows, weighting);
        rows.map_rows(|columns, values| terms.weigh(columns, values));
        let means = match similarity {
            Similarity::AdjustedCosine => means(&rows),
            _ => Vec::new(),
        };
        rows.map_rows(|columns, values| centre(similarity, &means, columns, values));
        let squares: Vec<f32> = (0..rows.n_rows() as u32)
            .map(|r| square(rows.row(r).1))
            .collect();
        if squares.iter().any(|s| !s.is_finite()) {
            let reason = "its weights are too large".to_string();
            return Err(Error::Data { model, reason });
        }
        let scale = match similarity {
            Similarity::Jaccard => Scale::union(squares, shrinkage),
            _ => {
                let (own, other) = similarity.exponents();
                let power = |p: f32| squares.iter().map(|s| s.powf(p)).collect();
                Scale::product(power(own), power(other), shrinkage)
            }
        };
        let turned = Turned::new(rows.transpose());
        Ok(Self {
            similarity,
            terms,
            means,
            rows,
            turned,
            scale,
        })
    }

    /// Documents × terms, as vectors.
    pub(crate) fn rows(&self) -> &Csr {
        &self.rows
    }

    /// Terms × documents.
    pub(crate) fn turned(&self) -> &Csr {
        self.turned.sparse()
    }

    /// The `k` nearest of every document.
    pub(crate) fn nearest_all(&self, k: usize, stage: &Stage) -> Result<Csr> {
        nearest_rows(&self.rows, &self.turned, &self.scale, k, stage)
    }

    /// The `k` documents nearest to one given by its terms and strengths, ascending.
    pub(crate) fn nearest(
        &self,
        terms: &[u32],
        mut strengths: Vec<f32>,
        k: usize,
        sums: &mut Sums,
    ) -> Vec<Scored> {
        self.terms.weigh(terms, &mut strengths);
        centre(self.similarity, &self.means, terms, &mut strengths);
        let own = match self.similarity {
            Similarity::Jaccard => square(&strengths),
            _ => square(&strengths).powf(self.similarity.exponents().0),
        };
        sums.nearest((terms, &strengths), &self.turned, &self.scale, own, None, k)
    }
}

fn square(values: &[f32]) -> f32 {
    values.iter().map(|v| v * v).sum()
}

fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().copied().map(f64::from).sum();
    (sum / values.len().max(1) as f64) as f32
}

/// The mean of each column over the rows that have it.
fn means(rows: &Csr) -> Vec<f32> {
    let turned = rows.transpose();
    (0..turned.n_rows() as u32)
        .map(|column| mean(turned.row(column).1))
        .collect()
}

fn centre(similarity: Similarity, means: &[f32], columns: &[u32], values: &mut [f32]) {
    // What is left of equal values is rounding, which must not pass for a difference.
    let less = |value: f32, mean: f32| match (value - mean).abs() > 1e-5 * mean.abs() {
        true => value - mean,
        false => 0.0,
    };
    match similarity {
        Similarity::Cosine { .. } => {}
        Similarity::Jaccard => values.fill(1.0),
        Similarity::Pearson => {
            let mean = mean(values);
            values.iter_mut().for_each(|v| *v = less(*v, mean));
        }
        Similarity::AdjustedCosine => {
            for (value, &column) in values.iter_mut().zip(columns) {
                let mean = means.get(column as usize).copied().unwrap_or_default();
                *value = less(*value, mean);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use refrain_core::Monitor;

    use super::*;

    /// Rows x = (5, 3, 1), y = (4, 2, –), z = (1, –, 5).
    fn nearest(similarity: Similarity, shrinkage: f32) -> Csr {
        let mut rows = Csr::with_width(3);
        rows.push_row([(0, 5.0), (1, 3.0), (2, 1.0)]);
        rows.push_row([(0, 4.0), (1, 2.0)]);
        rows.push_row([(0, 1.0), (2, 5.0)]);
        let stage = Monitor::silent().start("test", None);
        let space = Space::new("test", rows, Weighting::Raw, similarity, shrinkage).unwrap();
        let all = space.nearest_all(3, &stage).unwrap();
        // A document that arrives with the same terms is as near to the others as the one there.
        let mut sums = Sums::new(3);
        for like in space.nearest(&[0, 1, 2], vec![5.0, 3.0, 1.0], 3, &mut sums) {
            if like.index != 0 {
                assert!((like.score - all.get(0, like.index)).abs() < 1e-6);
            }
        }
        all
    }

    fn close(a: f32, b: f64) {
        assert!((f64::from(a) - b).abs() < 1e-5, "{a} {b}");
    }

    #[test]
    fn each_similarity_is_its_formula() {
        let cosine = nearest(Similarity::COSINE, 0.0);
        close(cosine.get(0, 1), 26.0 / (35f64.sqrt() * 20f64.sqrt()));
        close(cosine.get(0, 2), 10.0 / (35f64.sqrt() * 26f64.sqrt()));
        let asymmetric = nearest(Similarity::Cosine { asymmetry: 0.8 }, 2.0);
        close(
            asymmetric.get(0, 1),
            26.0 / (35f64.powf(0.2) * 20f64.powf(0.8) + 2.0),
        );
        // x − 3 = (2, 0, −2); y − 3 = (1, −1); z − 3 = (−2, 2).
        let pearson = nearest(Similarity::Pearson, 0.0);
        close(pearson.get(0, 1), 2.0 / (8f64.sqrt() * 2f64.sqrt()));
        close(pearson.get(0, 2), 0.0);
        // Columns' means are 10/3, 5/2 and 3.
        let adjusted = nearest(Similarity::AdjustedCosine, 0.0);
        let (x, y) = ([5.0 / 3.0, 0.5, -2.0], [2.0 / 3.0, -0.5]);
        let product: f64 = x[0] * y[0] + x[1] * y[1];
        let norm = |v: &[f64]| v.iter().map(|a| a * a).sum::<f64>().sqrt();
        close(adjusted.get(0, 1), product / (norm(&x) * norm(&y)));
        let jaccard = nearest(Similarity::Jaccard, 0.0);
        close(jaccard.get(0, 1), 2.0 / 3.0);
        close(jaccard.get(1, 2), 1.0 / 3.0);
        close(nearest(Similarity::Jaccard, 1.0).get(1, 2), 1.0 / 4.0);
    }

    #[test]
    fn equal_weights_say_nothing_once_centred() {
        let mut rows = Csr::with_width(4);
        for row in [[0, 1, 2], [1, 2, 3], [0, 2, 3]] {
            rows.push_row(row.map(|column| (column, 0.1)));
        }
        let stage = Monitor::silent().start("test", None);
        for similarity in [Similarity::Pearson, Similarity::AdjustedCosine] {
            let space = Space::new("test", rows.clone(), Weighting::Log, similarity, 0.0).unwrap();
            assert_eq!(space.nearest_all(3, &stage).unwrap().len(), 0);
        }
    }
}
