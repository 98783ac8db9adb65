//! Kernel distance between two sets of feature vectors (Bińkowski et al. 2018,
//! <https://arxiv.org/abs/1801.01401>): the squared maximum mean discrepancy under a polynomial kernel.
//!
//! ```text
//! k(x, y) = (xᵀy / d + 1)³
//! MMD² = Σ_{i≠j} k(xᵢ, xⱼ) / m(m−1) + Σ_{i≠j} k(yᵢ, yⱼ) / n(n−1) − 2 Σ_{i,j} k(xᵢ, yⱼ) / mn
//! ```
//!
//! Unlike the [Fréchet distance](super::frechet_distance) it is unbiased (a little below 0 at times for
//! two sets of one kind), so sets of different sizes may be compared, and it sees three moments.
//!
//! **Cost**: one product of two vectors per pair.

use rand::seq::index::sample;
use rayon::prelude::*;

use super::rows::Rows;
use crate::random::{Purpose, stream};
use crate::{Error, Result};

const WHAT: &str = "kernel distance";

/// A number with the standard deviation over the parts it is the mean of.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The mean over the parts.
    pub mean: f64,
    /// The standard deviation over them, divided by their number (not by one less).
    pub deviation: f64,
}

impl Estimate {
    pub(super) fn of(parts: &[f64]) -> Self {
        let n = parts.len().max(1) as f64;
        let mean = parts.iter().sum::<f64>() / n;
        let variance = parts.iter().map(|p| (p - mean).powi(2)).sum::<f64>() / n;
        Self {
            mean,
            deviation: variance.sqrt(),
        }
    }
}

/// The unbiased squared kernel distance between all row vectors of length `dim` in two sets.
///
/// # Errors
/// [`Error::Shape`] when a set is no whole number of rows or has fewer than two; [`Error::Numeric`]
/// when a value is not finite.
///
/// ```
/// use refrain_gan::metrics::kernel_distance;
/// let near = kernel_distance(&[0.0, 0.1, 0.2], &[0.0, 0.1, 0.2], 1)?;
/// let far = kernel_distance(&[0.0, 0.1, 0.2], &[1.0, 1.1, 1.2], 1)?;
/// assert!(near < far);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[doc(alias = "KID")]
#[doc(alias = "MMD")]
pub fn kernel_distance(a: &[f32], b: &[f32], dim: usize) -> Result<f64> {
    let (a, b) = (Rows::new(WHAT, a, dim, 2)?, Rows::new(WHAT, b, dim, 2)?);
    let (all_a, all_b): (Vec<_>, Vec<_>) = ((0..a.len()).collect(), (0..b.len()).collect());
    Ok(unbiased(a, &all_a, b, &all_b))
}

/// The kernel distance as the mean over random subsets, which is how it is usually reported.
///
/// ```
/// use refrain_gan::metrics::KernelDistance;
/// let a: Vec<f32> = (0..60).map(|i| (i * 37 % 60) as f32 / 60.0).collect();
/// let b: Vec<f32> = a.iter().map(|v| 0.5 * v).collect();
/// let distance = KernelDistance { subsets: 20, size: 20, seed: 1 }.between(&a, &b, 1)?;
/// assert!(distance.mean > distance.deviation / 20f64.sqrt());
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KernelDistance {
    /// How many subsets are drawn.
    pub subsets: usize,
    /// Rows in each subset of either set, drawn without replacement; all of them where a set has fewer.
    pub size: usize,
    /// What they are drawn by.
    pub seed: u64,
}

impl Default for KernelDistance {
    /// 100 subsets of 1,000, as in the paper.
    fn default() -> Self {
        Self {
            subsets: 100,
            size: 1000,
            seed: 0,
        }
    }
}

impl KernelDistance {
    /// Mean and deviation over the subsets.
    ///
    /// # Errors
    /// As [`kernel_distance`], and [`Error::Config`] for no subset or subsets of fewer than two.
    pub fn between(&self, a: &[f32], b: &[f32], dim: usize) -> Result<Estimate> {
        if self.subsets == 0 || self.size < 2 {
            let reason = format!("{} subsets of {} measure nothing", self.subsets, self.size);
            return Err(Error::config("subsets", reason));
        }
        let (a, b) = (Rows::new(WHAT, a, dim, 2)?, Rows::new(WHAT, b, dim, 2)?);
        let part = |i: usize| {
            let mut rng = stream(self.seed, Purpose::Metric, i as u64);
            let mut draw =
                |rows: Rows<'_>| sample(&mut rng, rows.len(), self.size.min(rows.len())).into_vec();
            let (from_a, from_b) = (draw(a), draw(b));
            unbiased(a, &from_a, b, &from_b)
        };
        Ok(Estimate::of(
            &(0..self.subsets).map(part).collect::<Vec<_>>(),
        ))
    }
}

fn unbiased(a: Rows<'_>, from_a: &[usize], b: Rows<'_>, from_b: &[usize]) -> f64 {
    // Row by row in order: the sum does not depend on how many threads there are.
    let total = |x: Rows<'_>, xs: &[usize], y: Rows<'_>, ys: &[usize], same: bool| -> f64 {
        let rows: Vec<f64> = xs
            .par_iter()
            .map(|&i| {
                let others = ys.iter().filter(|&&j| !(same && i == j));
                others.map(|&j| kernel(x.row(i), y.row(j))).sum()
            })
            .collect();
        rows.iter().sum()
    };
    let (m, n) = (from_a.len() as f64, from_b.len() as f64);
    total(a, from_a, a, from_a, true) / (m * (m - 1.0))
        + total(b, from_b, b, from_b, true) / (n * (n - 1.0))
        - 2.0 * total(a, from_a, b, from_b, false) / (m * n)
}

fn kernel(x: &[f32], y: &[f32]) -> f64 {
    let dot: f64 = x
        .iter()
        .zip(y)
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum();
    (dot / x.len() as f64 + 1.0).powi(3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::rows::tests::made;

    #[test]
    fn golden_values_of_torch_fidelity() {
        // tests/golden/metrics.py; all rows as the only subset
        for (n, d, expected) in crate::metrics::golden::KERNEL {
            let (a, b) = (made(n, d, 1), made(n, d, 5000));
            let b: Vec<f32> = b.iter().map(|v| v * 0.5).collect();
            let got = kernel_distance(&a, &b, d).unwrap();
            assert!(
                (got - expected).abs() < 1e-9 + 1e-7 * expected.abs(),
                "{n} {d}: {got} {expected}"
            );
            let whole = KernelDistance {
                subsets: 3,
                size: n,
                seed: 4,
            }
            .between(&a, &b, d)
            .unwrap();
            assert!((whole.mean - got).abs() < 1e-12 && whole.deviation < 1e-12);
        }
    }

    #[test]
    fn subsets_scatter_around_the_whole() {
        let (a, b) = (made(120, 5, 1), made(150, 5, 77));
        let b: Vec<f32> = b.iter().map(|v| v * 0.8).collect();
        let whole = kernel_distance(&a, &b, 5).unwrap();
        let config = KernelDistance {
            subsets: 200,
            size: 40,
            seed: 9,
        };
        let parts = config.between(&a, &b, 5).unwrap();
        let error = 5.0 * parts.deviation / (200f64).sqrt();
        assert!(
            parts.deviation > 0.0 && (parts.mean - whole).abs() < error,
            "{parts:?} {whole}"
        );
        assert_eq!(parts, config.between(&a, &b, 5).unwrap());
        assert_ne!(
            parts,
            KernelDistance { seed: 10, ..config }
                .between(&a, &b, 5)
                .unwrap()
        );
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(kernel_distance(&[1.0], &[1.0, 2.0], 1).is_err());
        assert!(kernel_distance(&[1.0, f32::INFINITY], &[1.0, 2.0], 1).is_err());
        let config = KernelDistance {
            subsets: 0,
            ..KernelDistance::default()
        };
        assert!(matches!(
            config.between(&[1.0; 4], &[1.0; 4], 1),
            Err(Error::Config { .. })
        ));
    }
}
