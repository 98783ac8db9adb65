//! The `k` nearest rows of every row, by sparse multiplication.
//!
//! Similarity of rows a and b of a sparse matrix is `a·b / (|a|^2p · |b|^2q + shrinkage)`, with
//! `p = q = ½` the cosine (the norms are L2). Row a of the product is the sum of the rows of the
//! transpose that a's columns name: only pairs that share a column are touched. Each thread keeps
//! one dense row of sums, which stays in its cache, and a heap of the best `k`.
//!
//! Costs Σ over columns of (rows in that column)², divided among threads, and one dense row of
//! memory a thread. A row's sums are added in one order whatever the number of threads, so the
//! result is the same to the bit.

use rayon::prelude::*;
use refrain_core::Stage;
use refrain_core::kernels::{Scored, TopK};

use super::sparse::Csr;
use crate::Result;

/// How a product of two rows becomes their similarity.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// |row|^2p of the row whose neighbours are sought.
    own: Vec<f32>,
    /// |row|^2q of the neighbour.
    other: Vec<f32>,
    shrinkage: f32,
}

impl Scale {
    /// From a matrix's rows; exponents apply to the squared norm, so ½ and ½ is the cosine.
    pub(crate) fn new(rows: &Csr, own: f32, other: f32, shrinkage: f32) -> Self {
        let squares: Vec<f32> = (0..rows.n_rows() as u32)
            .map(|r| rows.row(r).1.iter().map(|v| v * v).sum())
            .collect();
        Self {
            own: squares.iter().map(|s| s.powf(own)).collect(),
            other: squares.iter().map(|s| s.powf(other)).collect(),
            shrinkage,
        }
    }

    /// Similarity from a product.
    fn apply(&self, product: f32, own: f32, other: u32) -> f32 {
        let below = own * self.other.get(other as usize).copied().unwrap_or_default();
        product / (below + self.shrinkage)
    }

    pub(crate) fn own(&self, row: u32) -> f32 {
        self.own.get(row as usize).copied().unwrap_or_default()
    }
}

/// One thread's sums.
#[derive(Debug)]
pub(crate) struct Sums {
    sums: Vec<f32>,
    touched: Vec<u32>,
}

impl Sums {
    pub(crate) fn new(rows: usize) -> Self {
        Self {
            sums: vec![0.0; rows],
            touched: Vec::new(),
        }
    }

    /// The best `k` neighbours of a row given as pairs; `own` is its |row|^2p, `skip` itself.
    pub(crate) fn nearest(
        &mut self,
        row: (&[u32], &[f32]),
        turned: &Csr,
        scale: &Scale,
        own: f32,
        skip: Option<u32>,
        k: usize,
    ) -> Vec<Scored> {
        let work: usize = row.0.iter().map(|&c| turned.row(c).0.len()).sum();
        // Few sums: remember where they are. Many: scanning all is cheaper than remembering.
        let few = work < self.sums.len() / 4;
        for (&column, &weight) in row.0.iter().zip(row.1) {
            let (others, values) = turned.row(column);
            if few {
                for (&other, &value) in others.iter().zip(values) {
                    if let Some(sum) = self.sums.get_mut(other as usize) {
                        if *sum == 0.0 {
                            self.touched.push(other);
                        }
                        *sum += weight * value;
                    }
                }
            } else {
                for (&other, &value) in others.iter().zip(values) {
                    if let Some(sum) = self.sums.get_mut(other as usize) {
                        *sum += weight * value;
                    }
                }
            }
        }
        let mut best = TopK::new(k);
        let mut offer = |other: u32, sum: &mut f32| {
            let product = std::mem::take(sum);
            if product > 0.0 && Some(other) != skip {
                let score = scale.apply(product, own, other);
                if score >= best.threshold() && score.is_finite() {
                    best.push(other, score);
                }
            }
        };
        if few {
            for other in self.touched.drain(..) {
                if let Some(sum) = self.sums.get_mut(other as usize) {
                    offer(other, sum);
                }
            }
        } else {
            for (other, sum) in (0u32..).zip(&mut self.sums) {
                if *sum != 0.0 {
                    offer(other, sum);
                }
            }
        }
        best.into_sorted()
    }
}

/// The `k` nearest other rows of each row, as a sparse matrix with ascending columns.
///
/// `turned` is the transpose of `rows`. Only positive similarities are kept.
pub(crate) fn nearest_rows(
    rows: &Csr,
    turned: &Csr,
    scale: &Scale,
    k: usize,
    stage: &Stage,
) -> Result<Csr> {
    let n = rows.n_rows();
    // Blocks are cut by rows, not by threads: the cut does not show in the result.
    let block = 256;
    let mut found = Csr::with_width(n);
    let blocks: Vec<Vec<Vec<Scored>>> = (0..n.div_ceil(block))
        .into_par_iter()
        .map_init(
            || Sums::new(n),
            |sums, b| {
                let range = (b * block) as u32..n.min((b + 1) * block) as u32;
                let steps = u64::from(range.end - range.start);
                let lists = range
                    .map(|r| sums.nearest(rows.row(r), turned, scale, scale.own(r), Some(r), k))
                    .collect();
                stage.advance(steps, "").map(|()| lists)
            },
        )
        .collect::<Result<_, _>>()?;
    for mut list in blocks.into_iter().flatten() {
        list.sort_unstable_by_key(|s| s.index);
        found.push_row(list.into_iter().map(|s| (s.index, s.score)));
    }
    Ok(found)
}

/// What [`nearest_rows`] computes, by its definition.
#[cfg(test)]
pub(crate) fn nearest_rows_reference(
    rows: &Csr,
    own: f32,
    other: f32,
    shrinkage: f32,
    k: usize,
) -> Vec<Vec<(u32, f32)>> {
    let n = rows.n_rows() as u32;
    let square = |r: u32| rows.pairs(r).map(|(_, v)| v * v).sum::<f32>();
    (0..n)
        .map(|a| {
            let mut all: Vec<(u32, f32)> = (0..n)
                .filter(|&b| b != a)
                .map(|b| {
                    let product: f32 = rows.pairs(a).map(|(c, v)| v * rows.get(b, c)).sum();
                    let below = square(a).powf(own) * square(b).powf(other);
                    (
                        b,
                        if product > 0.0 {
                            product / (below + shrinkage)
                        } else {
                            0.0
                        },
                    )
                })
                .filter(|&(_, s)| s > 0.0)
                .collect();
            all.sort_by(|x, y| y.1.total_cmp(&x.1).then(x.0.cmp(&y.0)));
            all.truncate(k);
            all.sort_by_key(|&(b, _)| b);
            all
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use refrain_core::Monitor;

    use super::super::sparse::tests::any_csr;
    use super::*;

    proptest! {
        #[test]
        fn equals_its_reference(
            rows in any_csr(12, 9),
            own in 0.2f32..0.8,
            other in 0.2f32..0.8,
            shrinkage in prop_oneof![Just(0.0f32), Just(3.0)],
            k in 1usize..14,
        ) {
            let scale = Scale::new(&rows, own, other, shrinkage);
            let stage = Monitor::silent().start("test", None);
            let found = nearest_rows(&rows, &rows.transpose(), &scale, k, &stage).unwrap();
            let expected = nearest_rows_reference(&rows, own, other, shrinkage, k);
            for (r, list) in (0u32..).zip(expected) {
                let got: Vec<(u32, f32)> = found.pairs(r).collect();
                prop_assert_eq!(got.len(), list.len());
                // Near-equal similarities may swap places at the edge of the list, so values count.
                let sorted = |pairs: &[(u32, f32)]| {
                    let mut v: Vec<f32> = pairs.iter().map(|p| p.1).collect();
                    v.sort_by(f32::total_cmp);
                    v
                };
                for (a, b) in sorted(&got).iter().zip(sorted(&list)) {
                    prop_assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{} {}", a, b);
                }
            }
        }
    }
}
