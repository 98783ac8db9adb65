//! Feature vectors as rows, checked once, and the distances between them.

use rayon::prelude::*;

use crate::{Error, Result};

/// Rows of `dim` finite numbers each.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rows<'a> {
    values: &'a [f32],
    dim: usize,
}

impl<'a> Rows<'a> {
    /// Refuses values that are no whole number of rows, fewer than `least` rows, and values that are
    /// not finite; `what` names them in the message.
    pub(super) fn new(
        what: &'static str,
        values: &'a [f32],
        dim: usize,
        least: usize,
    ) -> Result<Self> {
        if dim == 0 || !values.len().is_multiple_of(dim) || values.len() / dim < least {
            let expected = format!("at least {least} rows of {dim} features");
            let found = format_args!("{} values", values.len()).to_string();
            return Err(Error::shape(what, expected, found));
        }
        if let Some((at, value)) = values.iter().enumerate().find(|(_, v)| !v.is_finite()) {
            let reason = format!("row {}, feature {} is {value}", at / dim, at % dim);
            return Err(Error::Numeric { what, reason });
        }
        Ok(Self { values, dim })
    }

    pub(super) fn len(&self) -> usize {
        self.values.len() / self.dim
    }

    pub(super) fn iter(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.dim)
    }

    pub(super) fn row(&self, index: usize) -> &'a [f32] {
        self.values
            .get(index * self.dim..(index + 1) * self.dim)
            .unwrap_or(&[])
    }

    /// For each of these rows, what `fold` makes of its squared distances to all rows of `others`.
    pub(super) fn distances<T: Send>(
        &self,
        others: Rows<'_>,
        fold: impl Fn(usize, Vec<f32>) -> T + Sync,
    ) -> Vec<T> {
        (0..self.len())
            .into_par_iter()
            .map(|i| {
                let row = self.row(i);
                fold(
                    i,
                    others
                        .iter()
                        .map(|other| squared_distance(row, other))
                        .collect(),
                )
            })
            .collect()
    }

    /// For each of these rows its `k` nearest rows of `others`: squared distance and index, nearest
    /// first, the earlier row first where two are as near.
    pub(super) fn nearest(&self, others: Rows<'_>, k: usize) -> Vec<Vec<(f32, usize)>> {
        let order = |a: &(f32, usize), b: &(f32, usize)| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        self.distances(others, |_, distances| {
            let mut all: Vec<(f32, usize)> = distances
                .into_iter()
                .enumerate()
                .map(|(j, d)| (d, j))
                .collect();
            if k > 0 && k < all.len() {
                all.select_nth_unstable_by(k - 1, order);
            }
            all.truncate(k);
            all.sort_by(order);
            all
        })
    }
}

/// The squared Euclidean distance.
pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums side by side, so that the loop runs in vectors.
    let mut sums = [0f32; 8];
    let (a8, b8) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (x, y) in a8.0.iter().zip(b8.0) {
        for ((sum, x), y) in sums.iter_mut().zip(x).zip(y) {
            *sum += (x - y) * (x - y);
        }
    }
    let rest: f32 = a8.1.iter().zip(b8.1).map(|(x, y)| (x - y) * (x - y)).sum();
    sums.iter().sum::<f32>() + rest
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `n` rows of `d` numbers in 0..1 without a pattern, the same in any language.
    pub(in crate::metrics) fn made(n: usize, d: usize, salt: i64) -> Vec<f32> {
        let value = |k: i64| ((k * k * 7919 + k * 104_729 + salt) % 10_007) as f32 / 10_007.0;
        (0..(n * d) as i64).map(value).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn nearest_agrees_with_a_full_sort(
            (dim, a, b) in (1usize..20).prop_flat_map(|dim| {
                let rows = |n: usize| prop::collection::vec(-2f32..2.0, dim * n);
                (Just(dim), rows(5), rows(9))
            }),
            k in 1usize..12,
        ) {
            let (a, b) = (Rows::new("a", &a, dim, 1).unwrap(), Rows::new("b", &b, dim, 1).unwrap());
            for (i, found) in a.nearest(b, k).iter().enumerate() {
                let distance = |j: usize| -> f32 {
                    a.row(i).iter().zip(b.row(j)).map(|(x, y)| (x - y).powi(2)).sum()
                };
                let mut all: Vec<f32> = (0..9).map(distance).collect();
                all.sort_by(f32::total_cmp);
                prop_assert_eq!(found.len(), k.min(9));
                for ((near, j), expected) in found.iter().zip(all) {
                    prop_assert!((near - expected).abs() < 1e-4);
                    prop_assert!((distance(*j) - near).abs() < 1e-4);
                }
            }
        }
    }
}
