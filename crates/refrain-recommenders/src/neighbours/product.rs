//! The `k` nearest rows of every row, by sparse multiplication.
//!
//! Row a of the product of a sparse matrix with another's transpose is the sum of the rows of that
//! transpose that a's columns name: only pairs that share a column are touched. Each thread keeps
//! one dense row of sums, which stays in its cache, and a list of the best `k`.
//!
//! A few columns (the users who had thousands of items) would make most of the work: those filled to
//! more than an eighth are written out with their zeros, for a run of multiply-adds in vectors costs
//! less than the same sums in scattered places.
//!
//! Costs Σ over columns of (rows in that column)², divided among threads; one dense row of memory a
//! thread, and at most 32 bytes more for each value in a full column. A row's sums are added in one
//! order whatever the number of threads, so the result is the same to the bit.

use std::cmp::Ordering;

use rayon::prelude::*;
use refrain_core::Stage;
use refrain_core::kernels::{self, Scored};

use super::sparse::Csr;
use crate::Result;

/// How a product of two rows becomes their similarity.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    /// Of the row whose neighbours are sought.
    own: Vec<f32>,
    /// Of the neighbour.
    other: Vec<f32>,
    below: Below,
    shrinkage: f32,
}

/// What a product is divided by.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Below {
    /// own · other + shrinkage
    Product,
    /// own + other − product + shrinkage
    Union,
}

impl Scale {
    /// `product / (own · other + shrinkage)`.
    pub(crate) fn product(own: Vec<f32>, other: Vec<f32>, shrinkage: f32) -> Self {
        Self {
            own,
            other,
            below: Below::Product,
            shrinkage,
        }
    }

    /// `product / (size + size − product + shrinkage)`.
    pub(crate) fn union(sizes: Vec<f32>, shrinkage: f32) -> Self {
        Self {
            own: sizes.clone(),
            other: sizes,
            below: Below::Union,
            shrinkage,
        }
    }

    pub(crate) fn own(&self, row: u32) -> f32 {
        self.own.get(row as usize).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn apply(&self, product: f32, own: f32, other: f32) -> f32 {
        match self.below {
            Below::Product => product / (own * other + self.shrinkage),
            Below::Union => product / (own + other - product + self.shrinkage),
        }
    }
}

/// The transpose of the other matrix, with its full rows written out.
#[derive(Debug, Clone)]
pub(crate) struct Turned {
    sparse: Csr,
    /// For each row its place in `full`, or `SPARSE`.
    places: Vec<u32>,
    /// Rows with their zeros, one after the other.
    full: Vec<f32>,
}

const SPARSE: u32 = u32::MAX;

impl Turned {
    pub(crate) fn new(sparse: Csr) -> Self {
        let width = sparse.width();
        let (mut places, mut full) = (vec![SPARSE; sparse.n_rows()], Vec::new());
        for (row, place) in (0u32..).zip(&mut places) {
            if sparse.row(row).0.len() * 8 <= width {
                continue;
            }
            *place = full.len().checked_div(width).unwrap_or_default() as u32;
            let start = full.len();
            full.resize(start + width, 0.0);
            for (column, value) in sparse.pairs(row) {
                if let Some(cell) = full.get_mut(start + column as usize) {
                    *cell = value;
                }
            }
        }
        Self {
            sparse,
            places,
            full,
        }
    }

    pub(crate) fn sparse(&self) -> &Csr {
        &self.sparse
    }

    /// The row with its zeros, if it is full.
    fn full(&self, row: u32) -> Option<&[f32]> {
        let place = *self.places.get(row as usize).filter(|&&p| p != SPARSE)? as usize;
        let width = self.sparse.width();
        self.full.get(place * width..(place + 1) * width)
    }

    /// Adds `row · turned` to `sums`, which has one place per column.
    pub(crate) fn multiply(&self, row: (&[u32], &[f32]), sums: &mut [f32]) {
        for (&column, &weight) in row.0.iter().zip(row.1) {
            match self.full(column) {
                Some(values) => kernels::axpy(weight, values, sums),
                None => {
                    let (others, values) = self.sparse.row(column);
                    for (&other, &value) in others.iter().zip(values) {
                        if let Some(sum) = sums.get_mut(other as usize) {
                            *sum += weight * value;
                        }
                    }
                }
            }
        }
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

    /// The best `k` neighbours of a row given as pairs, ascending by number; `own` is its part of
    /// the scale, `skip` itself.
    pub(crate) fn nearest(
        &mut self,
        row: (&[u32], &[f32]),
        turned: &Turned,
        scale: &Scale,
        own: f32,
        skip: Option<u32>,
        k: usize,
    ) -> Vec<Scored> {
        let mut best = Best::new(k);
        let work: usize = row.0.iter().map(|&c| turned.sparse.row(c).0.len()).sum();
        if work < self.sums.len() / 8 {
            self.few(row, turned, scale, own, skip, &mut best);
        } else {
            turned.multiply(row, &mut self.sums);
            if let Some(sum) = skip.and_then(|s| self.sums.get_mut(s as usize)) {
                *sum = 0.0;
            }
            offer_all(&self.sums, scale, own, &mut best);
            self.sums.fill(0.0);
        }
        best.into_ascending()
    }

    /// Few sums: remembering where they are is cheaper than looking at all.
    fn few(
        &mut self,
        row: (&[u32], &[f32]),
        turned: &Turned,
        scale: &Scale,
        own: f32,
        skip: Option<u32>,
        best: &mut Best,
    ) {
        for (&column, &weight) in row.0.iter().zip(row.1) {
            for (other, value) in turned.sparse.pairs(column) {
                if let Some(sum) = self.sums.get_mut(other as usize) {
                    if *sum == 0.0 {
                        self.touched.push(other);
                    }
                    *sum += weight * value;
                }
            }
        }
        for other in self.touched.drain(..) {
            let at = other as usize;
            if let (Some(sum), Some(&below)) = (self.sums.get_mut(at), scale.other.get(at)) {
                let score = scale.apply(std::mem::take(sum), own, below);
                if score >= best.threshold && Some(other) != skip {
                    best.push(other, score);
                }
            }
        }
    }
}

/// Offers the similarity of every sum, a run at a time: most runs have none that is good enough.
fn offer_all(sums: &[f32], scale: &Scale, own: f32, best: &mut Best) {
    const RUN: usize = 16;
    let mut first = 0u32;
    for (sums, others) in sums.chunks(RUN).zip(scale.other.chunks(RUN)) {
        let mut scores = [0.0f32; RUN];
        for ((score, &sum), &other) in scores.iter_mut().zip(sums).zip(others) {
            *score = scale.apply(sum, own, other);
        }
        let good = scores
            .iter()
            .fold(false, |good, &score| good | (score >= best.threshold));
        if good {
            for (other, &score) in (first..).zip(&scores) {
                if score >= best.threshold {
                    best.push(other, score);
                }
            }
        }
        first += RUN as u32;
    }
}

/// The best `k` positive scores: gathers twice as many, then drops the worse half.
struct Best {
    k: usize,
    kept: Vec<Scored>,
    /// Nothing below this can be among the best.
    threshold: f32,
}

impl Best {
    fn new(k: usize) -> Self {
        Self {
            k,
            kept: Vec::new(),
            threshold: f32::MIN_POSITIVE,
        }
    }

    fn push(&mut self, index: u32, score: f32) {
        if score.is_finite() {
            self.kept.push(Scored { index, score });
            if self.kept.len() >= self.k.max(16).saturating_mul(2) {
                self.halve();
            }
        }
    }

    fn halve(&mut self) {
        if self.kept.len() > self.k && self.k > 0 {
            let (_, worst, _) = self.kept.select_nth_unstable_by(self.k - 1, better);
            self.threshold = worst.score;
        }
        self.kept.truncate(self.k);
    }

    fn into_ascending(mut self) -> Vec<Scored> {
        self.halve();
        self.kept.sort_unstable_by_key(|s| s.index);
        self.kept
    }
}

/// Higher scores first, then lower numbers.
fn better(a: &Scored, b: &Scored) -> Ordering {
    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
}

/// The `k` nearest other rows of each row, as a sparse matrix with ascending columns.
///
/// `turned` is the transpose of the matrix `rows` are multiplied with: of `rows` itself, or of one
/// with as many rows. Only positive similarities are kept.
pub(crate) fn nearest_rows(
    rows: &Csr,
    turned: &Turned,
    scale: &Scale,
    k: usize,
    stage: &Stage,
) -> Result<Csr> {
    let n = rows.n_rows();
    // Blocks are cut by rows, not by threads: the cut does not show in the result.
    let block = 32;
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
    for list in blocks.into_iter().flatten() {
        found.push_row(list.into_iter().map(|s| (s.index, s.score)));
    }
    Ok(found)
}

/// What [`nearest_rows`] computes, by its definition.
#[cfg(test)]
pub(crate) fn nearest_rows_reference(
    rows: &Csr,
    k: usize,
    similarity: impl Fn(u32, u32, f32) -> f32,
) -> Vec<Vec<(u32, f32)>> {
    let n = rows.n_rows() as u32;
    (0..n)
        .map(|a| {
            let mut all: Vec<(u32, f32)> = (0..n)
                .filter(|&b| b != a)
                .map(|b| {
                    let product: f32 = rows.pairs(a).map(|(c, v)| v * rows.get(b, c)).sum();
                    (b, product)
                })
                .filter(|&(_, product)| product > 0.0)
                .map(|(b, product)| (b, similarity(a, b, product)))
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

    fn squares(rows: &Csr) -> Vec<f32> {
        (0..rows.n_rows() as u32)
            .map(|r| rows.row(r).1.iter().map(|v| v * v).sum())
            .collect()
    }

    proptest! {
        #[test]
        fn equals_its_reference(
            rows in prop_oneof![any_csr(12, 9), any_csr(40, 5), any_csr(3, 20)],
            own in 0.2f32..0.8,
            shrinkage in prop_oneof![Just(0.0f32), Just(3.0)],
            union in any::<bool>(),
            k in 1usize..45,
        ) {
            let squares = squares(&rows);
            let other = 1.0 - own;
            let power = |p: f32| squares.iter().map(|s| s.powf(p)).collect::<Vec<f32>>();
            let scale = match union {
                true => Scale::union(squares.clone(), shrinkage),
                false => Scale::product(power(own), power(other), shrinkage),
            };
            let stage = Monitor::silent().start("test", None);
            let turned = Turned::new(rows.transpose());
            let found = nearest_rows(&rows, &turned, &scale, k, &stage).unwrap();
            let expected = nearest_rows_reference(&rows, k, |a, b, product| {
                let (a, b) = (squares[a as usize], squares[b as usize]);
                match union {
                    true => product / (a + b - product + shrinkage),
                    false => product / (a.powf(own) * b.powf(other) + shrinkage),
                }
            });
            for (r, list) in (0u32..).zip(expected) {
                let got: Vec<(u32, f32)> = found.pairs(r).collect();
                prop_assert!(got.windows(2).all(|p| p[0].0 < p[1].0));
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

        #[test]
        fn full_columns_add_the_same(rows in any_csr(12, 9)) {
            let turned = Turned::new(rows.transpose());
            let mut plain = turned.clone();
            plain.places.fill(SPARSE);
            for r in 0..12 {
                let (mut a, mut b) = (vec![0.0; 12], vec![0.0; 12]);
                turned.multiply(rows.row(r), &mut a);
                plain.multiply(rows.row(r), &mut b);
                prop_assert_eq!(a, b); // whole numbers: exact in any order
            }
        }

        #[test]
        fn the_best_are_those_of_sorting(scores in proptest::collection::vec(0i8..20, 0..90), k in 0usize..30) {
            let mut best = Best::new(k);
            let mut all: Vec<Scored> = (0u32..).zip(scores)
                .map(|(index, score)| Scored { index, score: f32::from(score) })
                .filter(|s| s.score > 0.0)
                .collect();
            all.iter().rev().filter(|s| s.score >= best.threshold).cloned().collect::<Vec<_>>()
                .into_iter().for_each(|s| best.push(s.index, s.score));
            all.sort_by(better);
            all.truncate(k);
            all.sort_by_key(|s| s.index);
            prop_assert_eq!(best.into_ascending(), all);
        }
    }
}
