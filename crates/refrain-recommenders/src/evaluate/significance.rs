//! How sure a number is: bootstrap intervals, and paired tests between two models.
//!
//! **Interval.** The users are drawn again with replacement, as many as there are, `samples` times; the
//! interval holds the middle `confidence` of the means (the percentile bootstrap, Efron 1979).
//!
//! **Paired test.** Two models on the same users: d is the mean of the differences per user. If neither
//! were better, each difference could as well have the other sign, so signs are drawn at random
//! `samples` times and p is the share of draws with a mean at least as far from 0 as d, the given one
//! counted too: p = (1 + n) / (1 + samples) (the randomisation test, two-sided; Smucker, Allan and
//! Carterette 2007 find it the one to prefer for means of ranking metrics). The interval of d is by
//! bootstrap of the differences.
//!
//! **Determinism.** By the seed, the same for any number of threads.

use std::fmt;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::rng;

use crate::{Error, Result};

const NAME: &str = "bootstrap";

/// How often and by which seed users are resampled.
#[derive(Debug, Clone, PartialEq)]
pub struct Bootstrap {
    /// How many times.
    pub samples: usize,
    /// How much of the resampled means an interval holds.
    pub confidence: f64,
    /// The seed of the draws.
    pub seed: u64,
}

impl Default for Bootstrap {
    fn default() -> Self {
        Self {
            samples: 2000,
            confidence: 0.95,
            seed: 0,
        }
    }
}

/// A mean over users and where it would lie for other such users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// Where the interval begins.
    pub low: f64,
    /// Where it ends.
    pub high: f64,
}

/// One model less another on the same users.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Paired {
    /// The mean difference and its interval; above 0 the first model is better.
    pub difference: Interval,
    /// How likely a difference of this size is if neither model is better.
    pub p: f64,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.4} [{:.4}, {:.4}]", self.mean, self.low, self.high)
    }
}

impl fmt::Display for Paired {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Interval { mean, low, high } = self.difference;
        write!(f, "{mean:+.4} [{low:+.4}, {high:+.4}], p = {:.4}", self.p)
    }
}

impl Bootstrap {
    /// The interval of the mean of `values`, one per user.
    ///
    /// # Errors
    /// [`Error::Config`] for settings out of range, [`Error::Data`] without values.
    pub fn interval(&self, values: &[f64]) -> Result<Interval> {
        self.check(values.len())?;
        let n = values.len() as f64;
        self.resample(values.len(), |users| {
            users.filter_map(|user| values.get(user)).sum::<f64>() / n
        })
    }

    /// The interval of any statistic of `n` users, who are drawn with replacement.
    pub(crate) fn resample(
        &self,
        n: usize,
        statistic: impl Fn(&mut dyn Iterator<Item = usize>) -> f64 + Sync,
    ) -> Result<Interval> {
        self.check(n)?;
        let mut found: Vec<f64> = (0..self.samples as u64)
            .into_par_iter()
            .map(|sample| {
                let mut rng = rng::stream(self.seed, sample);
                statistic(&mut (0..n).map(|_| rng.random_range(0..n)))
            })
            .collect();
        found.sort_unstable_by(f64::total_cmp);
        let tail = (1.0 - self.confidence) / 2.0;
        Ok(Interval {
            mean: statistic(&mut (0..n)),
            low: quantile(&found, tail),
            high: quantile(&found, 1.0 - tail),
        })
    }

    /// The randomisation test of `left` against `right`, one value per user each, in the same order.
    ///
    /// # Errors
    /// As [`interval`](Self::interval), and [`Error::Length`] for slices of different lengths.
    pub fn paired(&self, left: &[f64], right: &[f64]) -> Result<Paired> {
        if left.len() != right.len() {
            return Err(Error::Length {
                what: "the second slice of values per user".to_string(),
                expected: left.len(),
                found: right.len(),
            });
        }
        let differences: Vec<f64> = left.iter().zip(right).map(|(a, b)| a - b).collect();
        let difference = self.interval(&differences)?;
        let p = self.randomise(differences.len(), |swapped| {
            let signed = differences.iter().zip(swapped);
            signed.map(|(d, swap)| if swap { -d } else { *d }).sum()
        });
        Ok(Paired { difference, p })
    }

    /// How likely a difference at least as far from 0 is when the two models' values of each of `n` users
    /// are swapped at random; `difference` is told for each whether they are.
    pub(crate) fn randomise(
        &self,
        n: usize,
        difference: impl Fn(&mut dyn Iterator<Item = bool>) -> f64 + Sync,
    ) -> f64 {
        // A little slack, so that the same sum in another order counts as equal.
        let far = difference(&mut std::iter::repeat_n(false, n)).abs() * (1.0 - 1e-9);
        let extreme = (0..self.samples as u64)
            .into_par_iter()
            .filter(|sample| {
                let mut rng = rng::stream(self.seed, u64::MAX - sample);
                let mut bits = 0u64;
                let mut swaps = (0..n).map(|at| {
                    if at % 64 == 0 {
                        bits = rng.random();
                    }
                    let swap = bits & 1 == 1;
                    bits >>= 1;
                    swap
                });
                difference(&mut swaps).abs() >= far
            })
            .count();
        (1 + extreme) as f64 / (1 + self.samples) as f64
    }

    fn check(&self, n: usize) -> Result<()> {
        let bad = |field, value: String, expected| Error::Config {
            model: NAME,
            field,
            value,
            expected,
        };
        if self.samples == 0 {
            return Err(bad("samples", "0".into(), "must be at least 1"));
        }
        if !(self.confidence > 0.0 && self.confidence < 1.0) {
            let value = self.confidence.to_string();
            return Err(bad("confidence", value, "must be between 0 and 1"));
        }
        if n == 0 {
            let reason = "there is no user to draw".to_string();
            return Err(Error::Data {
                model: NAME,
                reason,
            });
        }
        Ok(())
    }
}

/// Linear between the two values next to it, as numpy's default.
fn quantile(sorted: &[f64], at: f64) -> f64 {
    let place = at * sorted.len().saturating_sub(1) as f64;
    let value = |i: f64| sorted.get(i as usize).copied().unwrap_or_default();
    let (low, high) = (value(place.floor()), value(place.ceil()));
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two models on 40 users, as `tests/golden_metrics.py` makes them.
    fn users() -> (Vec<f64>, Vec<f64>) {
        let left = |i: u32| f64::from((i * 37 + 11) % 101) / 100.0;
        let right = |i: u32| 0.8 * left(i) + f64::from((i * 53 + 7) % 29) / 150.0;
        ((0..40).map(left).collect(), (0..40).map(right).collect())
    }

    // Golden values: `python crates/refrain-recommenders/tests/golden_metrics.py`, scipy 1.17.1's
    // bootstrap (percentile) and permutation_test (samples) with 200,000 draws.
    #[test]
    fn equals_scipy_but_for_the_draws() {
        let (left, right) = users();
        let bootstrap = Bootstrap {
            samples: 50_000,
            ..Bootstrap::default()
        };
        let close = |found: f64, expected: f64, by: f64| {
            assert!((found - expected).abs() < by, "{found} {expected}");
        };
        let found = bootstrap.interval(&left).unwrap();
        close(found.mean, 0.48225, 1e-9);
        close(found.low, 0.39225, 2e-3);
        close(found.high, 0.5725, 2e-3);
        let found = bootstrap.paired(&left, &right).unwrap();
        close(found.difference.mean, 0.00378333333, 1e-9);
        close(found.difference.low, -0.02386667, 1e-3);
        close(found.difference.high, 0.03126667, 1e-3);
        close(found.p, 0.7929760, 0.01);
        let more: Vec<f64> = left.iter().map(|v| v + 0.02).collect();
        close(bootstrap.paired(&more, &right).unwrap().p, 0.1033395, 0.01);
    }

    #[test]
    fn a_seed_gives_the_same_numbers_on_any_threads() {
        let (left, right) = users();
        let bootstrap = Bootstrap::default();
        let expected = bootstrap.paired(&left, &right).unwrap();
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
        let again = pool.unwrap().install(|| bootstrap.paired(&left, &right));
        assert_eq!(again.unwrap(), expected);
        let other = Bootstrap {
            seed: 1,
            ..bootstrap
        };
        assert_ne!(other.paired(&left, &right).unwrap(), expected);
    }

    #[test]
    fn equal_models_do_not_differ_and_clear_ones_do() {
        let (left, _) = users();
        let bootstrap = Bootstrap::default();
        let same = bootstrap.paired(&left, &left).unwrap();
        assert_eq!((same.difference.mean, same.p), (0.0, 1.0));
        let worse: Vec<f64> = left.iter().map(|v| v - 0.1).collect();
        let clear = bootstrap.paired(&left, &worse).unwrap();
        assert!(clear.p < 0.001 && clear.difference.low > 0.09, "{clear}");
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let bootstrap = |samples, confidence| Bootstrap {
            samples,
            confidence,
            seed: 0,
        };
        assert!(bootstrap(0, 0.9).interval(&[1.0]).is_err());
        assert!(bootstrap(9, 1.0).interval(&[1.0]).is_err());
        assert!(bootstrap(9, f64::NAN).interval(&[1.0]).is_err());
        assert!(bootstrap(9, 0.9).interval(&[]).is_err());
        let error = bootstrap(9, 0.9).paired(&[1.0], &[]).unwrap_err();
        assert!(matches!(error, Error::Length { .. }));
    }
}
