//! One row's regression: a bias and factors from the ratings of that row, the other side held.
//!
//! ```text
//! min Σ_j (t_j − b − x·q_j)² + n^ν (λ_b b² + λ ‖x‖²)        t_j = r_j − μ − b_j, n ratings
//! ```
//!
//! ν = 1 penalises as often as there are ratings (weighted-λ: Zhou et al., *Large-scale parallel
//! collaborative filtering for the Netflix prize*, 2008), which is what a gradient step per rating
//! does too; ν = 0 shrinks short rows most. Rows are solved in f64 and in parallel; their order does
//! not matter, so neither do threads. With `nonnegative` the factors are found by coordinate descent
//! over x ≥ 0, started from zero.

use nalgebra::{Cholesky, DMatrix, DVector, Dyn};
use pulp::Arch;
use rayon::prelude::*;

use crate::neighbours::sparse::Csr;

/// Rows solved before their results are written back.
const BLOCK: usize = 1024;

/// The penalties of one side's rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ridge {
    /// λ_b; `None`: no bias.
    pub bias: Option<f64>,
    /// λ
    pub factors: f64,
    /// ν
    pub exponent: f64,
    pub nonnegative: bool,
}

/// One side of the model.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Side {
    /// rows
    pub bias: Vec<f32>,
    /// rows × width
    pub factors: Vec<f32>,
    pub width: usize,
}

impl Side {
    pub(super) fn zeros(rows: usize, width: usize) -> Self {
        Self {
            bias: vec![0.0; rows],
            factors: vec![0.0; rows * width],
            width,
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.bias.len()
    }

    pub(super) fn bias(&self, row: u32) -> f32 {
        self.bias.get(row as usize).copied().unwrap_or_default()
    }

    /// A row's factors; empty for an unknown row.
    pub(super) fn row(&self, row: u32) -> &[f32] {
        let at = row as usize * self.width;
        self.factors.get(at..at + self.width).unwrap_or_default()
    }

    pub(super) fn set(&mut self, row: u32, bias: f32, factors: &[f32]) {
        let at = row as usize * self.width;
        if let Some(to) = self.factors.get_mut(at..at + self.width) {
            to.copy_from_slice(factors);
        }
        if let Some(to) = self.bias.get_mut(row as usize) {
            *to = bias;
        }
    }

    /// Grows to so many rows; the new ones are zero.
    pub(super) fn grow(&mut self, rows: usize) {
        self.bias.resize(rows, 0.0);
        self.factors.resize(rows * self.width, 0.0);
    }

    /// Without a row; those behind it move up.
    pub(super) fn remove(&mut self, row: u32) {
        let (row, width) = (row as usize, self.width);
        if row < self.rows() {
            self.bias.remove(row);
            self.factors.drain(row * width..(row + 1) * width);
        }
    }

    pub(super) fn is_finite(&self) -> bool {
        self.bias.iter().chain(&self.factors).all(|x| x.is_finite())
    }
}

/// A row's solution.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Solution {
    pub bias: f64,
    pub factors: Vec<f64>,
}

/// The normal equations of a row.
struct System {
    matrix: DMatrix<f64>,
    right: DVector<f64>,
    /// 1 when the first unknown is the bias.
    offset: usize,
}

impl Ridge {
    fn scale(&self, n: usize) -> f64 {
        (n.max(1) as f64).powf(self.exponent)
    }

    fn system(&self, other: &Side, rated: &[u32], targets: &[f64]) -> System {
        let offset = usize::from(self.bias.is_some());
        let d = other.width + offset;
        let mut matrix = DMatrix::zeros(d, d);
        let mut right = DVector::zeros(d);
        let mut z = vec![1.0; d];
        Arch::new().dispatch(|| {
            for (&row, &target) in rated.iter().zip(targets) {
                for (z, &q) in z[offset..].iter_mut().zip(other.row(row)) {
                    *z = f64::from(q);
                }
                // Column c down to the diagonal: the upper triangle.
                let columns = matrix.as_mut_slice().chunks_exact_mut(d);
                for (c, column) in columns.enumerate() {
                    let value = z[c];
                    for (sum, &z) in column[..=c].iter_mut().zip(&z) {
                        *sum += value * z;
                    }
                }
                for (sum, &z) in right.as_mut_slice().iter_mut().zip(&z) {
                    *sum += target * z;
                }
            }
        });
        matrix.fill_lower_triangle_with_upper_triangle();
        let scale = self.scale(rated.len());
        for at in 0..d {
            let penalty = match self.bias {
                Some(bias) if at == 0 => bias,
                _ => self.factors,
            };
            matrix[(at, at)] += scale * penalty;
        }
        System {
            matrix,
            right,
            offset,
        }
    }

    /// Solves one row. `None` when the result is not finite.
    pub(super) fn solve(&self, other: &Side, rated: &[u32], targets: &[f64]) -> Option<Solution> {
        if rated.is_empty() {
            return Some(Solution {
                bias: 0.0,
                factors: vec![0.0; other.width],
            });
        }
        let system = self.system(other, rated, targets);
        let x = match self.nonnegative {
            true => descend(&system),
            false => factorise(&system.matrix)?.solve(&system.right),
        };
        if x.iter().any(|x| !x.is_finite()) {
            return None;
        }
        let bias = if system.offset == 1 { x[0] } else { 0.0 };
        Some(Solution {
            bias,
            factors: x.iter().skip(system.offset).copied().collect(),
        })
    }

    /// How much each rating of a row adds to `x·toward`, given its solution `x`: the solution is
    /// linear in the targets (on the factors that are not held at zero). The parts add up.
    pub(super) fn parts(
        &self,
        other: &Side,
        rated: &[u32],
        targets: &[f64],
        x: &[f32],
        toward: &[f32],
    ) -> Option<Vec<f64>> {
        let system = self.system(other, rated, targets);
        let offset = system.offset;
        let free: Vec<usize> = (0..system.right.len())
            .filter(|&at| {
                let held = self.nonnegative && at >= offset;
                !held || x.get(at - offset).is_some_and(|&x| x > 0.0)
            })
            .collect();
        let place = |at: usize, row: &[f32]| match at.checked_sub(offset) {
            Some(k) => row.get(k).copied().map_or(0.0, f64::from),
            None => 1.0,
        };
        let matrix = DMatrix::from_fn(free.len(), free.len(), |i, j| {
            system.matrix[(free[i], free[j])]
        });
        // Toward has no bias: that is a part of its own.
        let right = free.iter().map(|&at| match at < offset {
            true => 0.0,
            false => place(at, toward),
        });
        let right = DVector::from_iterator(free.len(), right);
        let influence = match free.is_empty() {
            true => right,
            false => factorise(&matrix)?.solve(&right),
        };
        let part = |(&row, &target): (&u32, &f64)| {
            let row = other.row(row);
            let along = free.iter().zip(influence.iter());
            target * along.map(|(&at, v)| v * place(at, row)).sum::<f64>()
        };
        Some(rated.iter().zip(targets).map(part).collect())
    }
}

fn factorise(matrix: &DMatrix<f64>) -> Option<Cholesky<f64, Dyn>> {
    Cholesky::new(matrix.clone())
}

/// Coordinate descent, the factors held at or above zero.
fn descend(system: &System) -> DVector<f64> {
    let d = system.right.len();
    let mut x = DVector::<f64>::zeros(d);
    // right − matrix · x
    let mut residual = system.right.clone();
    for _ in 0..1000 {
        let (mut moved, mut size) = (0.0f64, 0.0f64);
        for at in 0..d {
            let step = residual[at] / system.matrix[(at, at)];
            let mut value = x[at] + step;
            if at >= system.offset {
                value = value.max(0.0);
            }
            let step = value - x[at];
            if step != 0.0 {
                x[at] = value;
                residual.axpy(-step, &system.matrix.column(at), 1.0);
            }
            moved = moved.max(step.abs());
            size = size.max(value.abs());
        }
        if moved.is_nan() || moved <= 1e-10 * size {
            break;
        }
    }
    x
}

/// Solves every row of `own` for its ratings with `other` held; returns the loss: squared errors
/// and the penalty of these rows. `None` when numbers overflow.
pub(super) fn half_step(
    ridge: &Ridge,
    ratings: &Csr,
    mean: f32,
    other: &Side,
    own: &mut Side,
) -> Option<f64> {
    let mut loss = 0.0;
    for start in (0..own.rows()).step_by(BLOCK) {
        let rows = start as u32..own.rows().min(start + BLOCK) as u32;
        let solve = |row: u32| {
            let (rated, values) = ratings.row(row);
            let targets: Vec<f64> = rated
                .iter()
                .zip(values)
                .map(|(&j, &r)| f64::from(r) - f64::from(mean) - f64::from(other.bias(j)))
                .collect();
            let x = ridge.solve(other, rated, &targets)?;
            let loss = ridge.loss(other, rated, &targets, &x);
            Some((x, loss))
        };
        let solved: Vec<Option<(Solution, f64)>> =
            rows.clone().into_par_iter().map(solve).collect();
        for (row, solved) in rows.zip(solved) {
            let (x, own_loss) = solved?;
            let narrow: Vec<f32> = x.factors.iter().map(|&x| x as f32).collect();
            own.set(row, x.bias as f32, &narrow);
            loss += own_loss;
        }
    }
    (loss.is_finite() && own.is_finite()).then_some(loss)
}

impl Ridge {
    /// What [`Ridge::solve`] minimises.
    fn loss(&self, other: &Side, rated: &[u32], targets: &[f64], x: &Solution) -> f64 {
        let errors = rated.iter().zip(targets).map(|(&row, &target)| {
            let along = other.row(row).iter().zip(&x.factors);
            let score: f64 = along.map(|(&q, x)| f64::from(q) * x).sum();
            (target - x.bias - score).powi(2)
        });
        let size = self.size(x.bias, x.factors.iter().copied());
        errors.sum::<f64>() + self.scale(rated.len()) * size
    }

    fn size(&self, bias: f64, factors: impl Iterator<Item = f64>) -> f64 {
        let square: f64 = factors.map(|x| x * x).sum();
        self.bias.unwrap_or(0.0) * bias * bias + self.factors * square
    }

    /// The penalty of all rows of a side.
    pub(super) fn penalty(&self, side: &Side, ratings: &Csr) -> f64 {
        let row = |row: u32| {
            let factors = side.row(row).iter().map(|&x| f64::from(x));
            let size = self.size(f64::from(side.bias(row)), factors);
            self.scale(ratings.row(row).0.len()) * size
        };
        (0..side.rows() as u32).map(row).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problem() -> impl Strategy<Value = (Side, Vec<f64>)> {
        let values = proptest::collection::vec(-1.0f32..1.0, 24);
        (values, proptest::collection::vec(-2.0f64..2.0, 8)).prop_map(|(factors, targets)| {
            let mut side = Side::zeros(8, 3);
            side.factors = factors;
            (side, targets)
        })
    }

    proptest! {
        /// No small step lowers the loss: the definition of a minimum.
        #[test]
        fn rows_are_at_their_minimum((side, targets) in problem(), nonnegative in any::<bool>(), biased in any::<bool>()) {
            let ridge = Ridge { bias: biased.then_some(0.3), factors: 0.2, exponent: 0.5, nonnegative };
            let rated: Vec<u32> = (0..8).collect();
            let x = ridge.solve(&side, &rated, &targets).unwrap();
            let best = ridge.loss(&side, &rated, &targets, &x);
            for at in 0..4 {
                for step in [-1e-3, 1e-3] {
                    let mut other = x.clone();
                    match at {
                        0 if biased => other.bias += step,
                        0 => continue,
                        k => other.factors[k - 1] += step,
                    }
                    if nonnegative && other.factors.iter().any(|&x| x < 0.0) {
                        continue;
                    }
                    prop_assert!(ridge.loss(&side, &rated, &targets, &other) >= best - 1e-9);
                }
            }
            prop_assert!(!nonnegative || x.factors.iter().all(|&x| x >= 0.0));
        }

        #[test]
        fn parts_add_up((side, targets) in problem(), nonnegative in any::<bool>()) {
            let ridge = Ridge { bias: Some(0.3), factors: 0.2, exponent: 1.0, nonnegative };
            let rated: Vec<u32> = (0..8).collect();
            let x = ridge.solve(&side, &rated, &targets).unwrap();
            let narrow: Vec<f32> = x.factors.iter().map(|&x| x as f32).collect();
            let toward = [0.5, -0.25, 1.0];
            let parts = ridge.parts(&side, &rated, &targets, &narrow, &toward).unwrap();
            let score: f64 = x.factors.iter().zip(toward).map(|(x, q)| x * f64::from(q)).sum();
            prop_assert!((parts.iter().sum::<f64>() - score).abs() < 1e-5);
        }
    }
}
