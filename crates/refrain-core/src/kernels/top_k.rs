//! The best `k` of many scores, without sorting them all.
//!
//! A heap keeps the best so far; its worst is a threshold that most later scores fail, so a block of
//! scores costs one comparison with its maximum.

use std::cmp::Ordering;

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use super::dispatch;
use super::matmul::{PackedQueries, PackedRows, TILE};

/// A row's number and its score.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// The row.
    pub index: u32,
    /// Its score; larger is better.
    pub score: f32,
}

impl Scored {
    /// Better first: higher score, then lower index. NaN never gets here.
    pub(super) fn rank(&self, other: &Self) -> Ordering {
        let by_score = other
            .score
            .partial_cmp(&self.score)
            .unwrap_or(Ordering::Equal);
        by_score.then(self.index.cmp(&other.index))
    }
}

/// Keeps the best `k` of the scores pushed into it.
///
/// NaN and negative infinity are never kept. Among equal scores the lower index is better.
///
/// ```
/// use refrain_core::kernels::TopK;
/// let mut best = TopK::new(2);
/// for (i, score) in [0.5, 2.0, 1.0].into_iter().enumerate() {
///     best.push(i as u32, score);
/// }
/// let best = best.into_sorted();
/// assert_eq!((best[0].index, best[1].index), (1, 2));
/// ```
#[derive(Debug, Clone)]
pub struct TopK {
    k: usize,
    /// The worst of the kept ones is at the root.
    heap: Vec<Scored>,
}

impl TopK {
    /// Nothing kept yet; at most `k` will be.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            heap: Vec::with_capacity(k.min(1024)),
        }
    }

    /// A score must be at least this to be kept; negative infinity while there is room.
    pub fn threshold(&self) -> f32 {
        match self.heap.first() {
            Some(worst) if self.heap.len() == self.k => worst.score,
            _ => f32::NEG_INFINITY,
        }
    }

    /// How many are kept now.
    pub fn len(&self) -> usize {
        self.heap.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// Offers a score.
    pub fn push(&mut self, index: u32, score: f32) {
        let new = Scored { index, score };
        if self.k == 0 || score.is_nan() || score == f32::NEG_INFINITY {
            return;
        }
        if self.heap.len() < self.k {
            self.heap.push(new);
            let mut child = self.heap.len() - 1;
            while child > 0 {
                let parent = (child - 1) / 2;
                if self.heap[child].rank(&self.heap[parent]) != Ordering::Greater {
                    break;
                }
                self.heap.swap(child, parent);
                child = parent;
            }
        } else if new.rank(&self.heap[0]) == Ordering::Less {
            self.heap[0] = new;
            let mut parent = 0;
            loop {
                let mut worst = parent;
                for child in [2 * parent + 1, 2 * parent + 2] {
                    if child < self.k && self.heap[child].rank(&self.heap[worst]).is_gt() {
                        worst = child;
                    }
                }
                if worst == parent {
                    break;
                }
                self.heap.swap(parent, worst);
                parent = worst;
            }
        }
    }

    /// The kept ones, best first.
    pub fn into_sorted(mut self) -> Vec<Scored> {
        self.heap.sort_unstable_by(Scored::rank);
        self.heap
    }
}

/// Scores compared at once before any is looked at alone.
const BLOCK: usize = 64;

struct AnyAbove<'a>(&'a [f32], f32);

impl WithSimd for AnyAbove<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let (head, tail) = S::as_simd_f32s(self.0);
        let mut max = simd.splat_f32s(f32::NEG_INFINITY);
        for &x in head {
            // This order drops a NaN score instead of letting it hide the others.
            max = simd.max_f32s(x, max);
        }
        let max = simd.reduce_max_f32s(max);
        // A NaN here (some processors keep it) means: look closely.
        max.is_nan() || max > self.1 || tail.iter().any(|&x| x > self.1)
    }
}

/// Offers a run of scores whose indices start at `from` and ascend.
fn push_run(best: &mut TopK, scores: &[f32], from: u32, skip: impl Fn(u32) -> bool) {
    for (block, scores) in scores.chunks(BLOCK).enumerate() {
        // Indices ascend, so a score equal to the threshold can no longer win.
        if !dispatch(AnyAbove(scores, best.threshold())) {
            continue;
        }
        let first = from + (block * BLOCK) as u32;
        for (i, &score) in scores.iter().enumerate() {
            let index = first + i as u32;
            if score > best.threshold() && !skip(index) {
                best.push(index, score);
            }
        }
    }
}

/// The best `k` scores, best first; equal scores in order of index; NaN and negative infinity
/// never.
pub fn top_k(scores: &[f32], k: usize) -> Vec<Scored> {
    let mut best = TopK::new(k.min(scores.len()));
    push_run(&mut best, scores, 0, |_| false);
    best.into_sorted()
}

/// The most queries scored together: a row is read from memory once for all of them.
const QUERIES: usize = 32 * TILE;
/// Rows scored together.
const ROWS: usize = 64;

/// For each query the best `k` rows by inner product, best first, in parallel.
///
/// `queries` and `rows` are row-major with `dim` values each. `skip(query, row)` excludes a row; it
/// is asked only for rows good enough to be kept, and the list is shorter where too few remain. A
/// query's list does not depend on the queries beside it, to the last bit.
pub fn top_k_products(
    queries: &[f32],
    rows: &[f32],
    dim: usize,
    k: usize,
    skip: &(dyn Fn(u32, u32) -> bool + Sync),
) -> Vec<Vec<Scored>> {
    if dim == 0 {
        return Vec::new();
    }
    let n = queries.len() / dim;
    let none = |n| vec![TopK::new(k.min(rows.len() / dim)); n];
    let blocks = rows.par_chunks(ROWS * dim).enumerate();
    if n <= QUERIES / 8 {
        // The threads share the rows.
        let packed = PackedQueries::new(queries, dim);
        let best = blocks
            .fold(
                || (none(n), Vec::new()),
                |(mut best, mut scores), (block, rows)| {
                    let rows = PackedRows::new(rows, dim);
                    offer(&mut best, &packed, &rows, block * ROWS, &mut scores, skip);
                    (best, scores)
                },
            )
            .map(|(best, _)| best)
            .reduce(
                || none(n),
                |mut best, others| {
                    for (best, other) in best.iter_mut().zip(others) {
                        for scored in other.heap {
                            best.push(scored.index, scored.score);
                        }
                    }
                    best
                },
            );
        return best.into_iter().map(TopK::into_sorted).collect();
    }
    let blocks: Vec<_> = blocks
        .map(|(block, rows)| (block * ROWS, PackedRows::new(rows, dim)))
        .collect();
    // Every thread has some chunks, so that a slow thread does not hold up the rest.
    let chunk = n / (4 * rayon::current_num_threads());
    let chunk = chunk.next_multiple_of(TILE).clamp(TILE, QUERIES);
    queries
        .par_chunks(chunk * dim)
        .enumerate()
        .flat_map_iter(|(at, queries)| {
            let mut best = none(queries.len() / dim);
            let packed = PackedQueries::new(queries, dim);
            let mut scores = Vec::new();
            for (from, rows) in &blocks {
                let skip = |query, row| skip((at * chunk) as u32 + query, row);
                offer(&mut best, &packed, rows, *from, &mut scores, &skip);
            }
            best.into_iter().map(TopK::into_sorted)
        })
        .collect()
}

/// Offers each query its products with some rows, the first of which is row `from`.
fn offer(
    best: &mut [TopK],
    queries: &PackedQueries,
    rows: &PackedRows,
    from: usize,
    scores: &mut Vec<f32>,
    skip: &dyn Fn(u32, u32) -> bool,
) {
    rows.products(queries, scores);
    let scores = scores.chunks_exact(rows.stride());
    for (query, (best, scores)) in (0..).zip(best.iter_mut().zip(scores)) {
        let scores = &scores[..rows.len()];
        push_run(best, scores, from as u32, |row| skip(query, row));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::super::reference::{matmul_transposed_reference, top_k_reference};
    use super::*;

    fn score() -> impl Strategy<Value = f32> {
        prop_oneof![
            8 => (-20i32..20).prop_map(|x| x as f32 / 4.0),
            1 => Just(f32::NAN),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(f32::INFINITY),
        ]
    }

    proptest! {
        #[test]
        fn matches_sorting(scores in proptest::collection::vec(score(), 0..400), k in 0usize..30) {
            prop_assert_eq!(top_k(&scores, k), top_k_reference(&scores, k));
        }

        #[test]
        fn the_order_of_pushes_does_not_matter(
            scores in proptest::collection::vec(score(), 0..60), k in 0usize..10,
        ) {
            let mut best = TopK::new(k);
            for (i, &s) in scores.iter().enumerate().rev() {
                best.push(i as u32, s);
            }
            prop_assert_eq!(best.into_sorted(), top_k_reference(&scores, k));
        }

        #[test]
        fn products_match_the_reference(
            m in 0usize..120, n in 0usize..1300, dim in 1usize..9, k in 0usize..8, seed in any::<u64>(),
        ) {
            let mut rng = crate::rng::stream(seed, 2);
            // Small whole numbers: sums are exact, so order and ties must agree exactly.
            let mut draw = |n: usize| -> Vec<f32> {
                (0..n).map(|_| rng.random_range(-3i32..=3) as f32).collect()
            };
            let (queries, rows) = (draw(m * dim), draw(n * dim));
            let skip = |q: u32, r: u32| (q + r).is_multiple_of(3);
            let got = top_k_products(&queries, &rows, dim, k, &skip);
            let mut all = matmul_transposed_reference(&queries, &rows, dim);
            prop_assert_eq!(got.len(), m);
            for (q, got) in got.iter().enumerate() {
                let scores = &mut all[q * n..(q + 1) * n];
                for (r, s) in scores.iter_mut().enumerate() {
                    if skip(q as u32, r as u32) { *s = f32::NEG_INFINITY; }
                }
                prop_assert_eq!(got, &top_k_reference(scores, k));
            }
        }
    }
}
