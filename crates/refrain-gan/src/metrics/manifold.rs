//! Precision, recall, density and coverage: whether the painted images lie where the real ones do, and
//! whether they lie everywhere the real ones do.
//!
//! Around each image lies a ball that reaches to its `k`-th nearest neighbour of its own set.
//!
//! ```text
//! precision  share of painted images inside a real one's ball
//! recall     share of real images inside a painted one's ball
//! density    how many real balls a painted image is in, divided by k, on average
//! coverage   share of real images whose ball has a painted image in it
//! ```
//!
//! Precision and recall are the improved ones of Kynkäänniemi et al. 2019
//! (<https://arxiv.org/abs/1904.06991>, k = 3); density and coverage are Naeem et al.'s 2020
//! (<https://arxiv.org/abs/2002.09797>, k = 5), which a single outlier's large ball spoils less. On two
//! sets of one kind density is near 1 (it may be more) and coverage near `1 − 2⁻ᵏ`. A point on the edge
//! counts as inside.
//!
//! **Cost**: one distance per pair of images, three times.

use super::rows::Rows;
use crate::{Error, Result};

const WHAT: &str = "manifold";

/// Precision, recall, density and coverage of painted images.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Manifold {
    /// Share of painted images where real ones lie: quality.
    pub precision: f64,
    /// Share of real images where painted ones lie: variety.
    pub recall: f64,
    /// Quality, by count; about 1 for real images.
    pub density: f64,
    /// Variety, robustly.
    pub coverage: f64,
}

/// Compares row vectors of length `dim` by balls that reach to the `k`-th neighbour.
///
/// # Errors
/// [`Error::Shape`] when a set is no whole number of rows or has no more than `k`, [`Error::Numeric`]
/// when a value is not finite, [`Error::Config`] when `k` is 0.
///
/// ```
/// use refrain_gan::metrics::manifold;
/// let real = [0.0, 1.0, 2.0, 3.0];
/// let some = manifold(&[0.2, 0.3, 0.4], &real, 1, 1)?; // good, but not everywhere
/// assert_eq!((some.precision, some.recall, some.coverage), (1.0, 0.0, 0.5));
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[doc(alias = "PRDC")]
#[doc(alias = "precision")]
#[doc(alias = "recall")]
#[doc(alias = "density")]
#[doc(alias = "coverage")]
pub fn manifold(painted: &[f32], real: &[f32], dim: usize, k: usize) -> Result<Manifold> {
    if k == 0 {
        return Err(Error::config("k", "must be at least 1"));
    }
    let painted = Rows::new(WHAT, painted, dim, k.saturating_add(1))?;
    let real = Rows::new(WHAT, real, dim, k.saturating_add(1))?;
    let (painted_reach, real_reach) = (reach(painted, k), reach(real, k));

    let inside = |d: &f32, reach: &f32| d <= reach;
    // For each painted image, how many real balls it is in.
    let balls = painted.distances(real, |_, distances| {
        distances
            .iter()
            .zip(&real_reach)
            .filter(|(d, r)| inside(d, r))
            .count()
    });
    // For each real image, whether it is in a painted ball, and whether its own holds a painted one.
    let found = real.distances(painted, |i, distances| {
        let recalled = distances
            .iter()
            .zip(&painted_reach)
            .any(|(d, r)| inside(d, r));
        (
            recalled,
            distances
                .iter()
                .any(|d| real_reach.get(i).is_some_and(|r| inside(d, r))),
        )
    });
    let share = |count: usize, of: usize| count as f64 / of as f64;
    Ok(Manifold {
        precision: share(balls.iter().filter(|&&n| n > 0).count(), painted.len()),
        recall: share(found.iter().filter(|f| f.0).count(), real.len()),
        density: share(balls.iter().sum(), painted.len() * k),
        coverage: share(found.iter().filter(|f| f.1).count(), real.len()),
    })
}

/// For each row the squared distance to its `k`-th nearest other row; there are more than `k`.
fn reach(rows: Rows<'_>, k: usize) -> Vec<f32> {
    rows.distances(rows, |i, mut distances| {
        distances.swap_remove(i);
        *distances.select_nth_unstable_by(k - 1, f32::total_cmp).1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::golden::MANIFOLD;
    use crate::metrics::rows::tests::made;

    #[test]
    fn golden_values_of_prdc_and_torch_fidelity() {
        for (n, d, k, [precision, recall, density, coverage]) in MANIFOLD {
            let painted: Vec<f32> = made(n + 5, d, 5000).iter().map(|v| v * 0.8).collect();
            let got = manifold(&painted, &made(n, d, 1), d, k).unwrap();
            let expected = Manifold {
                precision,
                recall,
                density,
                coverage,
            };
            assert!(
                (got.precision - precision).abs() < 1e-6,
                "{got:?} {expected:?}"
            );
            assert!((got.recall - recall).abs() < 1e-6, "{got:?} {expected:?}");
            assert!((got.density - density).abs() < 1e-6, "{got:?} {expected:?}");
            assert!(
                (got.coverage - coverage).abs() < 1e-6,
                "{got:?} {expected:?}"
            );
        }
    }

    #[test]
    fn one_set_is_its_own_manifold() {
        let rows = made(40, 3, 2);
        let got = manifold(&rows, &rows, 3, 3).unwrap();
        assert_eq!((got.precision, got.recall, got.coverage), (1.0, 1.0, 1.0));
        // Collapse: one good point again and again.
        let point = rows[..3].repeat(40);
        let collapsed = manifold(&point, &rows, 3, 3).unwrap();
        assert_eq!(collapsed.precision, 1.0);
        assert!(
            collapsed.recall < 0.1 && collapsed.coverage < 0.3,
            "{collapsed:?}"
        );
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(
            manifold(&[1.0; 3], &[1.0; 3], 1, 3),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            manifold(&[1.0; 3], &[1.0; 3], 1, 0),
            Err(Error::Config { .. })
        ));
        assert!(matches!(
            manifold(&[1.0; 3], &[1.0; 3], 1, usize::MAX),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            manifold(&[f32::NAN; 3], &[1.0; 3], 1, 1),
            Err(Error::Numeric { .. })
        ));
    }
}
