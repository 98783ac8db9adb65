//! How many of the data's modes a generator paints, and how evenly.
//!
//! ```text
//! modes         modes with at least one good sample
//! high quality  share of samples that are good
//! reverse KL    Σ q(m) ln( q(m) / p(m) )     q: painted share of mode m, p: its share in the data
//! ```
//!
//! The measures of VEEGAN (Srivastava et al. 2017, <https://arxiv.org/abs/1705.07761>) and PacGAN (Lin
//! et al. 2018, <https://arxiv.org/abs/1712.04086>). On points of a [`Mixture`](crate::Mixture) a sample
//! belongs to the nearest centre and is good within three standard deviations of it; on stacked digits
//! the mode is the class that a classifier reads in each channel, and every sample is good.

use crate::{Error, Result};

/// How a generator covers the modes of its data.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ModeCoverage {
    /// Modes with at least one good sample.
    pub modes: usize,
    /// Share of samples that are good.
    pub high_quality: f64,
    /// Reverse Kullback-Leibler divergence of the painted modes from the data's, in nats: 0 when each
    /// mode is as common as in the data; infinite when a mode is painted that the data lacks.
    pub reverse_kl: f64,
    /// Samples of each mode, good or not.
    pub counts: Vec<usize>,
}

/// A sample's mode, and whether the sample is good.
pub type ModeSample = (usize, bool);

/// Counts modes; `data` holds how common each mode is in the data, in any unit.
///
/// # Errors
/// [`Error::Empty`] without samples, [`Error::Class`] for a mode that `data` does not have,
/// [`Error::Numeric`] for shares that are negative, not finite or all zero.
///
/// ```
/// use refrain_gan::metrics::mode_coverage;
/// let samples = [(0, true), (0, true), (1, true), (1, false)];
/// let coverage = mode_coverage(&samples, &[1.0, 1.0, 2.0])?;
/// assert_eq!((coverage.modes, coverage.high_quality), (2, 0.75));
/// assert!((coverage.reverse_kl - 2f64.ln()).abs() < 1e-12);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
pub fn mode_coverage(samples: &[ModeSample], data: &[f64]) -> Result<ModeCoverage> {
    if samples.is_empty() {
        return Err(Error::Empty {
            what: "samples of modes",
        });
    }
    let total: f64 = data.iter().sum();
    if !(total.is_finite() && total > 0.0) || data.iter().any(|&p| p < 0.0) {
        let reason = "the data's modes need shares of at least 0 that are not all 0".to_string();
        return Err(Error::Numeric {
            what: "mode coverage",
            reason,
        });
    }
    let mut counts = vec![0usize; data.len()];
    let mut reached = vec![false; data.len()];
    for &(mode, good) in samples {
        let (Some(count), Some(reached)) = (counts.get_mut(mode), reached.get_mut(mode)) else {
            return Err(Error::Class(format!(
                "mode {mode} is not below the data's {}",
                data.len()
            )));
        };
        *count += 1;
        *reached |= good;
    }
    let n = samples.len() as f64;
    let term = |(&count, &share): (&usize, &f64)| match count {
        0 => 0.0,
        _ => {
            let q = count as f64 / n;
            q * (q / (share / total)).ln()
        }
    };
    Ok(ModeCoverage {
        modes: reached.iter().filter(|&&r| r).count(),
        high_quality: samples.iter().filter(|s| s.1).count() as f64 / n,
        reverse_kl: counts.iter().zip(data).map(term).sum(),
        counts,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::golden::MODES;
    use crate::metrics::rows::tests::made;
    use crate::{Images, Mixture};

    proptest! {
        #[test]
        fn divergence_is_never_negative(
            modes in prop::collection::vec((0usize..6, any::<bool>()), 1..60),
            data in prop::collection::vec(0.01f64..5.0, 6),
        ) {
            let coverage = mode_coverage(&modes, &data).unwrap();
            prop_assert!(coverage.reverse_kl > -1e-12);
            prop_assert!(coverage.modes <= 6 && coverage.counts.iter().sum::<usize>() == modes.len());
            // The data's own histogram: no divergence.
            let own: Vec<f64> = coverage.counts.iter().map(|&c| c as f64).collect();
            prop_assert!(mode_coverage(&modes, &own).unwrap().reverse_kl.abs() < 1e-12);
        }
    }

    #[test]
    fn golden_values_of_scipy() {
        for (name, n, good, modes, high_quality, reverse_kl) in MODES {
            let mixture = Mixture {
                deviation: good / 3.0,
                ..if name == "ring" {
                    Mixture::ring()
                } else {
                    Mixture::grid()
                }
            };
            let points = Images::from_f32(Mixture::shape(), made(n, 2, 17)).unwrap();
            let got = mixture.coverage(&points).unwrap();
            assert_eq!(got.modes, modes, "{name} {n}");
            assert!((got.high_quality - high_quality).abs() < 1e-9, "{got:?}");
            assert!((got.reverse_kl - reverse_kl).abs() < 1e-9, "{got:?}");
        }
    }

    #[test]
    fn one_of_many_modes() {
        // Collapse onto one of 1,000 equal modes: KL = ln 1000.
        let coverage = mode_coverage(&[(7, true); 50], &[1.0; 1000]).unwrap();
        assert_eq!(coverage.modes, 1);
        assert!((coverage.reverse_kl - 1000f64.ln()).abs() < 1e-9);
    }

    #[test]
    fn bad_input_is_refused() {
        assert!(matches!(
            mode_coverage(&[], &[1.0]),
            Err(Error::Empty { .. })
        ));
        assert!(matches!(
            mode_coverage(&[(1, true)], &[1.0]),
            Err(Error::Class(_))
        ));
        for data in [&[][..], &[0.0], &[-1.0, 2.0], &[f64::NAN], &[f64::INFINITY]] {
            assert!(matches!(
                mode_coverage(&[(0, true)], data),
                Err(Error::Numeric { .. })
            ));
        }
        assert_eq!(
            mode_coverage(&[(0, true)], &[0.0, 1.0]).unwrap().reverse_kl,
            f64::INFINITY
        );
    }
}
