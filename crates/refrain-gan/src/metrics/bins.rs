//! Modes of data that has no labels: how many kinds of real sample are never generated.
//!
//! K-means (Lloyd 1982) parts the real samples into bins; generated ones are counted in the bin of
//! the nearest centre (Richardson and Weiss 2018, <https://arxiv.org/abs/1805.12462>).
//!
//! ```text
//! empty        bins without a sample, where (1 − p)ⁿ < 0.001      p: the bin's share of real samples
//! different    bins with |p − q| > 1.96 √(s (1 − s) (1/m + 1/n))  q: its share of n generated ones
//!                                                                 s: its share of all m + n
//! ```
//!
//! `different` is the article's *number of statistically different bins*, NDB: one bin in twenty
//! differs by chance alone. `empty` asks less and is surer: each empty bin is a kind of real sample
//! that, were the two sets alike, one set in a thousand would miss.
//!
//! **When**: at each epoch, to see a collapse; on point data bins and modes are much the same. Over
//! pixels bins are styles and places rather than things; pass features for things.
//!
//! **Cost**: at most 20 rounds of real samples × bins × features to fit; one to compare.

use rand::RngExt;
use refrain_core::rng::Stream;

use super::rows::{Rows, squared_distance};
use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// The most rounds of k-means.
const ROUNDS: usize = 20;

/// Two shares differ beyond so many standard errors: 5 % do by chance.
const DIFFERENT: f64 = 1.959_963_984_540_054;

/// A bin that fewer than one fair set in so many would miss should not be empty.
const SURE: f64 = 1e3;

/// Real samples in bins.
///
/// ```
/// use refrain_gan::Mixture;
/// use refrain_gan::metrics::Bins;
/// let ring = Mixture::ring();
/// let bins = Bins::fit(ring.sample(1000, 1)?.pixels(), 2, 8, 1)?;
/// let good = bins.compare(ring.sample(500, 2)?.pixels())?;
/// assert_eq!((good.bins, good.expected, good.empty), (8, 8, 0));
/// let collapsed = bins.compare(&[0.9, 0.5].repeat(500))?;
/// assert_eq!((collapsed.empty, collapsed.different), (7, 8));
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[doc(alias = "NDB")]
#[derive(Debug, Clone, PartialEq)]
pub struct Bins {
    centres: Vec<f32>,
    dim: usize,
    counts: Vec<usize>, // of the real samples
}

/// How samples fall into the [`Bins`] of real ones.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct BinReport {
    /// How many bins there are.
    pub bins: usize,
    /// Bins so common that a set of this size should have a sample there.
    pub expected: usize,
    /// Those of them that have none.
    pub empty: usize,
    /// Bins whose shares differ significantly (NDB).
    pub different: usize,
    /// Samples in each bin.
    pub counts: Vec<usize>,
}

impl Bins {
    /// Parts real samples, rows of `dim` features, into at most `bins` bins; fewer where there are
    /// fewer distinct rows. K-means begins by k-means++ (Arthur and Vassilvitskii 2007).
    ///
    /// # Errors
    /// [`Error::Config`] for no bins, [`Error::Shape`] for rows that are none, [`Error::Numeric`] for
    /// values that are not finite.
    #[doc(alias = "KMeans")]
    pub fn fit(rows: &[f32], dim: usize, bins: usize, seed: u64) -> Result<Self> {
        Self::fit_until(rows, dim, bins, 0.0, seed)
    }

    /// [`Bins::fit`] with as few bins as leave no more than this share of the samples' variance inside
    /// them: where the data has modes, a bin for each.
    pub(crate) fn fit_until(
        rows: &[f32],
        dim: usize,
        bins: usize,
        left: f64,
        seed: u64,
    ) -> Result<Self> {
        let rows = Rows::new("samples to bin", rows, dim, 1)?;
        if bins == 0 {
            return Err(Error::config("bins", "must be at least 1"));
        }
        let mean = means(rows, &vec![0; rows.len()], &vec![0.0; dim], dim);
        let variance: f64 = rows
            .iter()
            .map(|row| f64::from(squared_distance(row, &mean)))
            .sum();
        let mut rng = stream(seed, Purpose::Metric, 1);
        let mut centres = spread_out(rows, bins, left * variance, &mut rng);
        let mut places = Vec::new();
        for _ in 0..ROUNDS {
            let before = std::mem::replace(&mut places, nearest(rows, &centres, dim)?);
            if before == places {
                break;
            }
            centres = means(rows, &places, &centres, dim);
        }
        let places = nearest(rows, &centres, dim)?;
        let counts = count(&places, centres.len() / dim);
        Ok(Self {
            centres,
            dim,
            counts,
        })
    }

    /// Counts the bins of generated samples.
    ///
    /// # Errors
    /// [`Error::Shape`] for rows that are none, [`Error::Numeric`] for values that are not finite.
    pub fn compare(&self, rows: &[f32]) -> Result<BinReport> {
        let draws = rows.len() / self.dim.max(1);
        self.compare_draws(rows, draws)
    }

    /// [`Bins::compare`] of samples that are so many draws: fewer than samples where what decides a bin is
    /// drawn once for several.
    pub(crate) fn compare_draws(&self, rows: &[f32], draws: usize) -> Result<BinReport> {
        let rows = Rows::new("samples to count", rows, self.dim, 1)?;
        let counts = count(&nearest(rows, &self.centres, self.dim)?, self.counts.len());
        let (n, m) = (rows.len() as f64, self.counts.iter().sum::<usize>() as f64);
        let (mut expected, mut empty, mut different) = (0, 0, 0);
        for (&real, &made) in self.counts.iter().zip(&counts) {
            let (p, q) = (real as f64 / m, made as f64 / n);
            if (1.0 - p).powf(draws as f64) * SURE < 1.0 {
                expected += 1;
                empty += usize::from(made == 0);
            }
            let both = (real + made) as f64 / (m + n);
            let error = (both * (1.0 - both) * (1.0 / m + 1.0 / n)).sqrt();
            different += usize::from((p - q).abs() > DIFFERENT * error);
        }
        Ok(BinReport {
            bins: counts.len(),
            expected,
            empty,
            different,
            counts,
        })
    }
}

/// First centres: rows drawn by their squared distance to the nearest one drawn before, until no more
/// than `left` of these distances is left in all.
fn spread_out(rows: Rows<'_>, bins: usize, left: f64, rng: &mut Stream) -> Vec<f32> {
    let mut centre = rows.row(rng.random_range(0..rows.len()));
    let mut centres = centre.to_vec();
    let mut gaps = vec![f32::INFINITY; rows.len()];
    for _ in 1..bins.min(rows.len()) {
        for (gap, row) in gaps.iter_mut().zip(rows.iter()) {
            *gap = gap.min(squared_distance(row, centre));
        }
        let total: f64 = gaps.iter().map(|&g| f64::from(g)).sum();
        if !(total > left && total.is_finite()) {
            break; // at the latest when every row is a centre
        }
        let mut way = rng.random::<f64>() * total;
        let reached = gaps.iter().position(|&gap| {
            way -= f64::from(gap);
            way < 0.0 && gap > 0.0
        });
        let farthest = || {
            let all = gaps.iter().enumerate();
            all.fold((0, 0.0), |a, (i, &g)| if g > a.1 { (i, g) } else { a })
                .0
        };
        centre = rows.row(reached.unwrap_or_else(farthest));
        centres.extend_from_slice(centre);
    }
    centres
}

/// The nearest centre of each row.
fn nearest(rows: Rows<'_>, centres: &[f32], dim: usize) -> Result<Vec<usize>> {
    let centres = Rows::new("centres of bins", centres, dim, 1)?;
    let first = |found: Vec<(f32, usize)>| found.first().map_or(0, |f| f.1);
    Ok(rows.nearest(centres, 1).into_iter().map(first).collect())
}

fn count(places: &[usize], bins: usize) -> Vec<usize> {
    let mut counts = vec![0; bins];
    for &place in places {
        if let Some(count) = counts.get_mut(place) {
            *count += 1;
        }
    }
    counts
}

/// The mean of each bin's rows; a bin without rows keeps its centre.
fn means(rows: Rows<'_>, places: &[usize], centres: &[f32], dim: usize) -> Vec<f32> {
    let counts = count(places, centres.len() / dim);
    let mut sums = vec![0f64; centres.len()];
    for (row, place) in rows.iter().zip(places) {
        let sum = sums.iter_mut().skip(place * dim);
        sum.zip(row).for_each(|(s, &v)| *s += f64::from(v));
    }
    let of = |(i, sum): (usize, f64)| match counts.get(i / dim) {
        Some(&count) if count > 0 => (sum / count as f64) as f32,
        _ => centres.get(i).copied().unwrap_or(0.0),
    };
    sums.into_iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Mixture;
    use crate::metrics::rows::tests::made;

    #[test]
    fn golden_values_of_scipy() {
        // crates/refrain-gan/tests/golden/bins.py with scipy 1.17.1
        let golden = [
            (60, 40, 1, [7, 14, 11, 3, 5]),
            (300, 200, 4, [25, 60, 71, 14, 30]),
            (1000, 50, 2, [8, 17, 14, 5, 6]),
        ];
        for (real, generated, different, counts) in golden {
            // The centres are the first five rows, so that another program has the same ones.
            let rows = made(real, 3, 1);
            let centres = rows[..15].to_vec();
            let places = nearest(Rows::new("x", &rows, 3, 1).unwrap(), &centres, 3).unwrap();
            let bins = Bins {
                counts: count(&places, 5),
                centres,
                dim: 3,
            };
            let others: Vec<f32> = made(generated, 3, 5000).iter().map(|v| v * 0.8).collect();
            let report = bins.compare(&others).unwrap();
            assert_eq!(report.counts, counts);
            assert_eq!(report.different, different);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn bins_are_those_of_k_means(
            (dim, rows) in (1usize..5).prop_flat_map(|dim| {
                (Just(dim), prop::collection::vec(-2f32..2.0, 30 * dim))
            }),
            k in 1usize..12,
            seed in 0u64..9,
        ) {
            let bins = Bins::fit(&rows, dim, k, seed).unwrap();
            prop_assert_eq!(&bins, &Bins::fit(&rows, dim, k, seed).unwrap());
            prop_assert_eq!(bins.counts.len(), k);
            prop_assert_eq!(bins.counts.iter().sum::<usize>(), 30);
            // Parted no worse than into one bin, and by the nearest centre.
            let cost = |centres: &[f32]| -> f64 {
                rows.chunks(dim)
                    .map(|row| centres.chunks(dim).map(|c| {
                        row.iter().zip(c).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>()
                    }).fold(f64::INFINITY, f64::min))
                    .sum()
            };
            let one = Bins::fit(&rows, dim, 1, seed).unwrap();
            prop_assert!(cost(&bins.centres) <= cost(&one.centres) + 1e-4);
            let same = bins.compare(&rows).unwrap();
            prop_assert_eq!(&same.counts, &bins.counts);
            prop_assert_eq!((same.empty, same.different), (0, 0));
        }
    }

    #[test]
    fn modes_of_points_are_bins() {
        for (mixture, modes) in [(Mixture::ring(), 8), (Mixture::grid(), 25)] {
            for seed in 0..20 {
                let points = mixture.sample(1000, seed).unwrap();
                let bins = Bins::fit_until(points.pixels(), 2, 32, 0.005, seed).unwrap();
                let fair = bins
                    .compare(mixture.sample(1000, seed + 50).unwrap().pixels())
                    .unwrap();
                // A mode has two of them once in a while.
                assert!((modes..=modes + 2).contains(&fair.bins), "{seed}: {fair:?}");
                assert_eq!(fair.empty, 0);
                let lacking = Mixture {
                    centres: mixture.centres[1..].to_vec(),
                    ..mixture.clone()
                };
                let lacking = bins
                    .compare(lacking.sample(1000, 9).unwrap().pixels())
                    .unwrap();
                assert!(lacking.empty > 0, "{seed}: {lacking:?}");
            }
        }
    }

    #[test]
    fn few_distinct_rows_and_bad_input() {
        let bins = Bins::fit(&[1.0, 1.0, 3.0, 3.0, 3.0], 1, 4, 1).unwrap();
        assert_eq!(bins.compare(&[1.1]).unwrap().bins, 2);
        assert!(matches!(
            Bins::fit(&[1.0], 1, 0, 1),
            Err(Error::Config { .. })
        ));
        assert!(matches!(Bins::fit(&[], 1, 2, 1), Err(Error::Shape { .. })));
        assert!(matches!(
            bins.compare(&[f32::NAN]),
            Err(Error::Numeric { .. })
        ));
        // A rare bin may well be missed by few samples, and is not held against them.
        let rows: Vec<f32> = (0..100).map(|i| if i == 0 { 9.0 } else { 0.0 }).collect();
        let rare = Bins::fit(&rows, 1, 2, 1).unwrap();
        assert_eq!(rare.compare(&[0.0; 20]).unwrap().empty, 0);
        assert_eq!(rare.compare(&[0.0; 2000]).unwrap().empty, 1);
    }
}
