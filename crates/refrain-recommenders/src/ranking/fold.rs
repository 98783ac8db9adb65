//! The half step that turns a history into a vector, items held.
//!
//! A ranking loss learns items and users together, but says nothing about anyone who was not there.
//! So once the items are learned every user, known or new, is solved for in the same way: with z the
//! items' vectors less their mean (the bias is one more coordinate) and H the history,
//!
//! ```text
//! (S + Σ_{i ∈ H} z_i z_iᵀ) x = 2 Σ_{i ∈ H} z_i + S x₀     S = Σ_j z_j z_jᵀ + λ,  λ = 4 · mean eigenvalue of Σ z zᵀ
//! ```
//!
//! which is ALS's half step with confidence 2: what was had should score 1, everything else what x₀
//! gives it. x₀ is what is known of a user without a history: 0, or the vector of their features. On MovieLens-100K this
//! ranks as well as the users' own gradients or better, it is linear in the history, so that reasons
//! add up, and a new user gets what a known one with the same history has.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::als::simd::{self, Aligned, PACK, padded};

/// λ in units of the mean eigenvalue: strong, as a history is short beside a catalogue. The best of
/// ½, 1, 2, 4, 8 on parts held out of the training events of MovieLens-100K, three splits.
const PENALTY: f32 = 4.0;
/// α of the history's items; between ½ and 4 it made no difference there.
const CONFIDENCE: f32 = 1.0;

/// The part of the half step that all users share.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ridge {
    width: usize,
    /// S, its lower triangle, stride × stride.
    shared: Vec<f32>,
}

impl Ridge {
    /// `items` is items × width.
    pub(super) fn new(items: &[f32], width: usize) -> Self {
        let stride = padded(width);
        let trace: f64 = items.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        let lambda = (f64::from(PENALTY) * trace / width as f64).max(1e-6) as f32;
        let mut shared = Aligned::zeros(stride * stride);
        Arch::new().dispatch(Gram {
            items,
            width,
            gram: &mut shared,
        });
        for k in 0..width {
            shared[k * stride + k] += lambda;
        }
        Self {
            width,
            shared: shared.to_vec(),
        }
    }

    /// The vector of a history, near `start`; `None` when the numbers are not finite.
    pub(super) fn vector(
        &self,
        items: &[f32],
        history: &[u32],
        start: Option<&[f32]>,
    ) -> Option<Vec<f32>> {
        let mut right = start.map_or_else(|| vec![0.0; self.width], |start| self.times(start));
        for &item in history {
            let z = row(items, item, self.width);
            right
                .iter_mut()
                .zip(z)
                .for_each(|(sum, z)| *sum += (1.0 + CONFIDENCE) * z);
        }
        self.solve(items, history, &right)
    }

    /// What each item of the history adds to the score of `item`.
    pub(super) fn influence(&self, items: &[f32], history: &[u32], item: u32) -> Option<Vec<f32>> {
        let v = self.solve(items, history, row(items, item, self.width))?;
        let part = |&had: &u32| {
            let z = row(items, had, self.width).iter().zip(&v);
            let sum: f64 = z.map(|(&z, &v)| f64::from(z) * f64::from(v)).sum();
            (f64::from(1.0 + CONFIDENCE) * sum) as f32
        };
        Some(history.iter().map(part).collect())
    }

    /// `S x`
    fn times(&self, x: &[f32]) -> Vec<f32> {
        let stride = padded(self.width);
        let at = |k: usize, l: usize| self.shared[k.max(l) * stride + k.min(l)];
        let product = |k| (0..self.width).zip(x).map(|(l, x)| at(k, l) * x).sum();
        (0..self.width).map(product).collect()
    }

    /// `A⁻¹ right` with the matrix A of this history.
    fn solve(&self, items: &[f32], history: &[u32], right: &[f32]) -> Option<Vec<f32>> {
        let stride = padded(self.width);
        let mut matrix = Aligned::zeros(stride * stride);
        matrix.copy_from_slice(&self.shared);
        let mut x = Aligned::zeros(stride);
        x[..self.width].copy_from_slice(right);
        let done = Arch::new().dispatch(Solve {
            width: self.width,
            items,
            history,
            matrix: &mut matrix,
            x: &mut x,
        });
        let x = &x[..self.width];
        (done && x.iter().all(|x| x.is_finite())).then(|| x.to_vec())
    }

    /// The vectors of many histories, in parallel.
    pub(super) fn vectors<'a>(
        &self,
        items: &[f32],
        users: usize,
        history: impl Fn(usize) -> &'a [u32] + Sync,
        start: impl Fn(usize) -> Option<&'a [f32]> + Sync,
    ) -> Option<Vec<f32>> {
        let mut table = vec![0.0; users * self.width];
        let done = table
            .par_chunks_mut(self.width)
            .enumerate()
            .all(|(user, to)| {
                let history = history(user);
                let start = start(user);
                if history.is_empty() && start.is_none() {
                    return true;
                }
                self.vector(items, history, start).is_some_and(|x| {
                    to.copy_from_slice(&x);
                    true
                })
            });
        done.then_some(table)
    }
}

pub(super) fn row(table: &[f32], row: u32, width: usize) -> &[f32] {
    let start = row as usize * width;
    table.get(start..start + width).unwrap_or_default()
}

/// Moves the mean of the rows to zero; returns where it was.
pub(super) fn centre(table: &mut [f32], width: usize) -> Vec<f32> {
    let rows = (table.len() / width.max(1)).max(1) as f64;
    let mut mean = vec![0.0f64; width];
    for row in table.chunks_exact(width) {
        mean.iter_mut()
            .zip(row)
            .for_each(|(m, &x)| *m += f64::from(x) / rows);
    }
    let mean: Vec<f32> = mean.into_iter().map(|m| m as f32).collect();
    for row in table.chunks_exact_mut(width) {
        row.iter_mut().zip(&mean).for_each(|(x, m)| *x -= m);
    }
    mean
}

struct Gram<'a> {
    items: &'a [f32],
    width: usize,
    gram: &'a mut [f32],
}

impl WithSimd for Gram<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = padded(self.width);
        let mut rows = Aligned::zeros(PACK * stride);
        let mut pack = Aligned::zeros(PACK * stride);
        for items in self.items.chunks(PACK * self.width) {
            let n = items.len() / self.width;
            for (to, from) in rows
                .chunks_exact_mut(stride)
                .zip(items.chunks_exact(self.width))
            {
                to[..self.width].copy_from_slice(from);
            }
            simd::add_gram(simd, &rows[..n * stride], stride, self.gram, &mut pack);
        }
    }
}

struct Solve<'a> {
    width: usize,
    items: &'a [f32],
    history: &'a [u32],
    matrix: &'a mut [f32],
    x: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = bool;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> bool {
        let (width, stride) = (self.width, padded(self.width));
        let mut z = Aligned::zeros(stride);
        for &item in self.history {
            z[..width].copy_from_slice(row(self.items, item, width));
            for k in 0..width {
                // Up to the diagonal's vector: the upper triangle is not read.
                let end = (k / simd::LANES + 1) * simd::LANES;
                let target = &mut self.matrix[k * stride..][..end];
                simd::axpy(simd, CONFIDENCE * z[k], &z[..end], target);
            }
        }
        if !simd::cholesky(simd, self.matrix, width, stride) {
            return false;
        }
        simd::cholesky_solve(simd, self.matrix, width, stride, self.x);
        true
    }
}

#[cfg(test)]
mod tests {
    use nalgebra::{DMatrix, DVector};
    use rand::RngExt;
    use refrain_core::rng;

    use super::*;

    #[test]
    fn equals_its_normal_equations() {
        let (n, width) = (40usize, 21usize);
        let mut rng = rng::stream(5, 0);
        let mut items: Vec<f32> = (0..n * width).map(|_| rng.random::<f32>()).collect();
        centre(&mut items, width);
        let z = DMatrix::from_fn(n, width, |r, c| f64::from(items[r * width + c]));
        let gram = z.transpose() * &z;
        let lambda = f64::from(PENALTY) * gram.trace() / width as f64;
        let shared = gram + DMatrix::identity(width, width) * lambda;
        let ridge = Ridge::new(&items, width);
        let start: Vec<f32> = (0..width).map(|k| k as f32 / 9.0).collect();
        for history in [&[][..], &[3], &[0, 7, 8, 30, 39]] {
            for start in [None, Some(&start[..])] {
                let mut a = shared.clone();
                let x0 = DVector::from_fn(width, |k, _| start.map_or(0.0, |x| f64::from(x[k])));
                let mut b = &a * x0;
                for &i in history {
                    let row = z.row(i as usize).transpose();
                    a += &row * row.transpose();
                    b += row * 2.0;
                }
                let expected = a.cholesky().unwrap().solve(&b);
                let got = ridge.vector(&items, history, start).unwrap();
                for (got, expected) in got.iter().zip(expected.iter()) {
                    assert!(
                        (f64::from(*got) - expected).abs() < 1e-4,
                        "{got} {expected}"
                    );
                }
                if start.is_none() {
                    let total: f32 = ridge.influence(&items, history, 11).unwrap().iter().sum();
                    let score = got.iter().zip(row(&items, 11, width)).map(|(x, z)| x * z);
                    let score: f32 = score.sum();
                    assert!((total - score).abs() < 1e-4, "{total} {score}");
                }
            }
        }
    }
}
