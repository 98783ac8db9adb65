//! One side's factors, and their rotation to the basis in which their Gram matrix is diagonal.
//!
//! Replacing `X` and `Y` by `XQ` and `YQ` for an orthogonal `Q` changes no score and no loss, so the
//! basis is free. With `Q` the eigenvectors of `YᵀY` the part of the normal equations that all rows
//! share becomes a diagonal: two rotations per half-sweep, as blocked products, take the place of a
//! product with a dense f × f matrix in every step of every row.

use nalgebra::DMatrix;
use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use refrain_core::kernels;

use super::simd::{self, Aligned, padded};

/// Rows whose Gram matrices are summed in one task: fixed, so that the sum does not depend on the
/// number of threads.
const GRAM_ROWS: usize = 2048;
/// How many of these matrices are held at once.
const GRAM_TASKS: usize = 16;
/// Rows rotated in one task.
const ROTATED_ROWS: usize = 64;

/// One side's factors: padded rows on cache lines.
pub(super) struct Factors {
    pub data: Aligned,
    pub factors: usize,
    /// The direction in which every row says 1, padded, so that what the other side's rows say in it is
    /// their bias.
    pub pin: Option<Vec<f32>>,
}

impl Factors {
    pub(super) fn zeros(rows: usize, factors: usize) -> Self {
        Self {
            data: Aligned::zeros(rows * padded(factors)),
            factors,
            pin: None,
        }
    }

    /// Moves every row along `pin` until it says 1 there.
    pub(super) fn held(mut self, pin: Option<&[f32]>) -> Self {
        let stride = self.stride();
        let Some(pin) = pin else { return self };
        let mut pin = pin.to_vec();
        pin.resize(stride, 0.0);
        let size = kernels::norm(&pin); // 1, but for the rounding of many rotations
        pin.iter_mut().for_each(|x| *x /= size);
        for row in self.data.chunks_exact_mut(stride) {
            let short = 1.0 - kernels::dot(&pin, row);
            kernels::axpy(short, &pin, row);
        }
        self.pin = Some(pin);
        self
    }

    pub(super) fn from_dense(dense: &[f32], factors: usize) -> Self {
        let mut new = Self::zeros(dense.len() / factors.max(1), factors);
        let stride = new.stride();
        for (to, from) in new
            .data
            .chunks_exact_mut(stride)
            .zip(dense.chunks_exact(factors))
        {
            to[..factors].copy_from_slice(from);
        }
        new
    }

    /// The rows without their padding, in the same memory.
    pub(super) fn into_dense(mut self) -> Vec<f32> {
        let (stride, factors) = (self.stride(), self.factors);
        let rows = self.data.len() / stride.max(1);
        for row in 0..rows {
            let from = row * stride;
            self.data.copy_within(from..from + factors, row * factors);
        }
        self.data.into_vec(rows * factors)
    }

    pub(super) fn stride(&self) -> usize {
        padded(self.factors)
    }

    /// `FᵀF` in f64, summed over fixed chunks in a fixed order.
    fn gram(&self) -> DMatrix<f64> {
        let (f, stride) = (self.factors, self.stride());
        let mut sum = DMatrix::<f64>::zeros(f, f);
        for rows in self.data.chunks(GRAM_TASKS * GRAM_ROWS * stride) {
            let partials: Vec<Aligned> = rows
                .par_chunks(GRAM_ROWS * stride)
                .map(|rows| {
                    let mut gram = Aligned::zeros(stride * stride);
                    Arch::new().dispatch(Gram {
                        rows,
                        stride,
                        gram: &mut gram,
                    });
                    gram
                })
                .collect();
            for partial in &partials {
                for i in 0..f {
                    for j in 0..=i {
                        sum[(i, j)] += f64::from(partial[i * stride + j]);
                    }
                }
            }
        }
        sum.fill_upper_triangle_with_lower_triangle();
        sum
    }

    /// Rotates the columns so that `FᵀF` is diagonal, the largest first. `None` when the Gram
    /// matrix is not finite.
    pub(super) fn diagonalise(&mut self) -> Option<Rotation> {
        let (f, stride) = (self.factors, self.stride());
        let gram = self.gram();
        if gram.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let eigen = gram.try_symmetric_eigen(f64::EPSILON, 100 * f + 1000)?;
        let mut order: Vec<usize> = (0..f).collect();
        order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
        let mut spectrum = vec![0.0; stride];
        let mut square = vec![0.0; stride * stride];
        for (to, &from) in order.iter().enumerate() {
            spectrum[to] = eigen.eigenvalues[from].max(0.0) as f32;
            for row in 0..f {
                square[row * stride + to] = eigen.eigenvectors[(row, from)] as f32;
            }
        }
        let rotation = Rotation {
            spectrum,
            panels: simd::into_panels(&square, stride),
        };
        self.pin = self.pin.as_deref().map(|pin| rotation.of(pin));
        self.data
            .par_chunks_mut(ROTATED_ROWS * stride)
            .for_each_init(
                || Aligned::zeros(ROTATED_ROWS * stride),
                |scratch, rows| {
                    let from = &mut scratch[..rows.len()];
                    from.copy_from_slice(rows);
                    let panels = &rotation.panels;
                    Arch::new().dispatch(Multiply {
                        rows: from,
                        panels,
                        stride,
                        out: rows,
                    });
                },
            );
        Some(rotation)
    }
}

/// What [`Factors::diagonalise`] did.
pub(super) struct Rotation {
    /// The eigenvalues of the Gram matrix, falling; padded with zeros.
    pub spectrum: Vec<f32>,
    /// The eigenvectors, arranged for [`simd::multiply`].
    pub panels: Vec<f32>,
}

impl Rotation {
    /// One row in the new basis.
    pub(super) fn of(&self, row: &[f32]) -> Vec<f32> {
        let mut out = Aligned::zeros(row.len());
        Arch::new().dispatch(Multiply {
            rows: row,
            panels: &self.panels,
            stride: row.len(),
            out: &mut out,
        });
        out.to_vec()
    }
}

struct Gram<'a> {
    rows: &'a [f32],
    stride: usize,
    gram: &'a mut [f32],
}

impl WithSimd for Gram<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut pack = Aligned::zeros(simd::PACK * self.stride);
        simd::add_gram(simd, self.rows, self.stride, self.gram, &mut pack);
    }
}

struct Multiply<'a> {
    rows: &'a [f32],
    panels: &'a [f32],
    stride: usize,
    out: &'a mut [f32],
}

impl WithSimd for Multiply<'_> {
    type Output = ();
    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        simd::multiply(simd, self.rows, self.panels, self.stride, self.out);
    }
}
