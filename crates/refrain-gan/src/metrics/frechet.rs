//! Fréchet distance between two sets of feature vectors (Dowson and Landau 1982; for generated images
//! Heusel et al. 2017, <https://arxiv.org/abs/1706.08500>).
//!
//! ```text
//! d² = ‖μ₁ − μ₂‖² + tr(Σ₁ + Σ₂ − 2 (Σ₁ Σ₂)^½)
//! ```
//!
//! the squared 2-Wasserstein distance between normal distributions of the same means `μ` and
//! covariances `Σ` (divided by n − 1). `tr (Σ₁ Σ₂)^½` is the sum of the square roots of the eigenvalues
//! of `Σ₁^½ Σ₂ Σ₁^½`, which is symmetric, so no complex square root is needed. With `Σ₁ = A Aᵀ` and
//! `Σ₂ = B Bᵀ` from the centred rows it is also the sum of the singular values of `Aᵀ B`, which has no
//! more rows and columns than there are samples: where they are fewer than the features (whole images),
//! that is computed.
//!
//! It sees two moments only, and is biased upwards for few samples: compare sets of the same size.
//!
//! **Cost**: n d² for the covariances, and some 20 d³ for the eigenvalues; by samples, n₁ of one set and
//! n₂ of the other, n₁ n₂ d, and some 4 n₁ n₂ min(n₁, n₂). The cheaper of the two should stay below that
//! of some 4,000 features (minutes on one core, half a gigabyte): measure fewer images, or smaller ones
//! ([`Images::resized`]).

use nalgebra::{DMatrix, DVector, SVD, SymmetricEigen};

use super::rows::Rows;
use crate::{Error, Images, Result};

const WHAT: &str = "Fréchet distance";

/// The squared Fréchet distance between two sets of row vectors of length `dim`.
///
/// # Errors
/// [`Error::Shape`] when a set is no whole number of rows or has fewer than two; [`Error::Numeric`]
/// when a value is not finite or the eigenvalues do not converge.
///
/// ```
/// use refrain_gan::metrics::frechet_distance;
/// let a = [0.0, 1.0, 2.0, 3.0];
/// let b = [5.0, 6.0, 7.0, 8.0]; // the same spread, five further
/// assert!((frechet_distance(&a, &b, 1)? - 25.0).abs() < 1e-9);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[doc(alias = "FID")]
pub fn frechet_distance(a: &[f32], b: &[f32], dim: usize) -> Result<f64> {
    let (mean_a, a) = centred(a, dim)?;
    let (mean_b, b) = centred(b, dim)?;
    let [one, other] = [a.ncols() as f64, b.ncols() as f64];
    let cheap = 4.0 * one * other * one.min(other) < 20.0 * (dim as f64).powi(3);
    let cross = match one.min(other) < dim as f64 && cheap {
        true => by_samples(&a, &b)?,
        false => by_features(&a, &b)?,
    };
    let distance = (mean_a - mean_b).norm_squared() + a.norm_squared() + b.norm_squared();
    // Rounding can leave a little less than nothing.
    Ok((distance - 2.0 * cross).max(0.0))
}

/// `tr (Σ₁ Σ₂)^½` from matrices of features.
fn by_features(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<f64> {
    let root = square_root(a * a.transpose())?;
    let inner = &root * (b * b.transpose()) * &root;
    let inner = (&inner + inner.transpose()) * 0.5;
    let values = eigen(inner)?.eigenvalues;
    Ok(values.iter().map(|v| v.max(0.0).sqrt()).sum())
}

/// `tr (Σ₁ Σ₂)^½` from a matrix of samples.
fn by_samples(a: &DMatrix<f64>, b: &DMatrix<f64>) -> Result<f64> {
    let inner = a.transpose() * b;
    let most = sweeps(inner.nrows().min(inner.ncols()));
    let found = SVD::try_new(inner, false, false, f64::EPSILON, most);
    found.map(|svd| svd.singular_values.sum()).ok_or_else(stuck)
}

/// [`frechet_distance`] with the pixels as features.
///
/// # Errors
/// [`Error::Shape`] when the images are of different shapes, and as [`frechet_distance`].
pub fn frechet_images(a: &Images, b: &Images) -> Result<f64> {
    b.expect_shape(WHAT, a.shape())?;
    frechet_distance(a.pixels(), b.pixels(), a.shape().len())
}

/// The mean of the rows, and what they differ from it, one a column, over √(n − 1).
fn centred(rows: &[f32], dim: usize) -> Result<(DVector<f64>, DMatrix<f64>)> {
    let n = Rows::new(WHAT, rows, dim, 2)?.len();
    let mut matrix = DMatrix::from_iterator(dim, n, rows.iter().map(|&v| f64::from(v)));
    let mean = matrix.column_mean();
    for mut column in matrix.column_iter_mut() {
        column -= &mean;
    }
    matrix /= ((n - 1) as f64).sqrt();
    Ok((mean, matrix))
}

/// The symmetric square root of a positive semi-definite matrix.
fn square_root(matrix: DMatrix<f64>) -> Result<DMatrix<f64>> {
    let eigen = eigen(matrix)?;
    let roots = eigen.eigenvalues.map(|v| v.max(0.0).sqrt());
    Ok(&eigen.eigenvectors * DMatrix::from_diagonal(&roots) * eigen.eigenvectors.transpose())
}

fn eigen(matrix: DMatrix<f64>) -> Result<SymmetricEigen<f64, nalgebra::Dyn>> {
    let most = sweeps(matrix.nrows());
    SymmetricEigen::try_new(matrix, f64::EPSILON, most).ok_or_else(stuck)
}

/// Steps for so many values: two or three each are usual.
fn sweeps(values: usize) -> usize {
    values.saturating_mul(30).max(10_000)
}

fn stuck() -> Error {
    Error::Numeric {
        what: WHAT,
        reason: "eigenvalues or singular values of the covariances do not converge".to_string(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::golden::FRECHET;
    use crate::metrics::rows::tests::made;

    #[test]
    fn golden_values_of_scipy() {
        // crates/refrain-gan/tests/golden/frechet.py with numpy 2.4.6 and scipy 1.17.1
        let golden: [(usize, usize, f64); 4] = [
            (6, 1, 0.00589545732706),
            (20, 3, 0.228412801687),
            (50, 8, 0.77230294841),
            (200, 64, 5.91645538627),
        ];
        for (n, d, expected) in golden {
            let a = made(n, d, 1);
            let b: Vec<f32> = made(n + 5, d, 5000).iter().map(|v| v * 0.5).collect();
            let got = frechet_distance(&a, &b, d).unwrap();
            assert!(
                (got - expected).abs() < 1e-6 * expected,
                "{n} {d}: {got} {expected}"
            );
        }
    }

    #[test]
    fn golden_values_of_torch_fidelity() {
        // Among them fewer rows than columns: covariances without full rank.
        for (n, d, expected) in FRECHET {
            let b: Vec<f32> = made(n + 5, d, 5000).iter().map(|v| v * 0.5).collect();
            let got = frechet_distance(&made(n, d, 1), &b, d).unwrap();
            // The square root of a rounding error of an eigenvalue that should be 0.
            assert!(
                (got - expected).abs() < 1e-5 * expected,
                "{n} {d}: {got} {expected}"
            );
        }
    }

    #[test]
    fn bad_features_are_refused() {
        assert!(matches!(
            frechet_distance(&[1.0], &[1.0, 2.0], 1),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            frechet_distance(&[1.0; 5], &[1.0; 4], 2),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            frechet_distance(&[], &[], 0),
            Err(Error::Shape { .. })
        ));
        let error = frechet_distance(&[1.0, f32::NAN], &[1.0, 2.0], 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            "Fréchet distance: row 1, feature 0 is NaN"
        );
    }

    #[test]
    fn both_ways_agree() {
        for (n, m, d) in [(5, 9, 12), (30, 20, 31), (3, 2, 40)] {
            let (a, b) = (made(n, d, 1), made(m, d, 5000));
            let (a, b) = (centred(&a, d).unwrap().1, centred(&b, d).unwrap().1);
            let (x, y) = (by_samples(&a, &b).unwrap(), by_features(&a, &b).unwrap());
            assert!((x - y).abs() < 1e-6 * y, "{n} {m} {d}: {x} {y}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn is_a_distance(
            a in prop::collection::vec(-2f32..2.0, 12..=12),
            b in prop::collection::vec(-2f32..2.0, 18..=18),
            shift in -3f32..3.0,
        ) {
            let ab = frechet_distance(&a, &b, 3).unwrap();
            let ba = frechet_distance(&b, &a, 3).unwrap();
            prop_assert!((ab - ba).abs() < 1e-6 * (1.0 + ab));
            prop_assert!(frechet_distance(&a, &a, 3).unwrap() < 1e-6);
            let moved: Vec<f32> = a.iter().map(|v| v + shift).collect();
            let expected = 3.0 * f64::from(shift).powi(2);
            prop_assert!((frechet_distance(&a, &moved, 3).unwrap() - expected).abs() < 1e-3);
        }
    }
}
