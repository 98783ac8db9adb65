//! A user as the mean of what they had, moved by a small network: on the CPU, and as a tensor program.
//!
//! ```text
//! m_t = mean of the other rows     y_t = m_t + relu(m_t A + a) B + b
//! ```
//!
//! Each row is asked for itself from the others, so that a history of n items is n examples at the
//! price of one sum.

use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use refrain_sequence::parts::{Dropout, Into, Mat, MatMut, Rows, product};

use super::body::device_error;
use super::leaves::Leaves;
use super::slices::{add_bias, add_columns, drop_rows};
use super::table::normal;
use crate::Result;

/// The sizes: `width` in and out, `hidden` between.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pool {
    pub(super) width: usize,
    pub(super) hidden: usize,
}

#[derive(Debug, Default)]
pub(super) struct PoolTape {
    means: Vec<f32>,
    inner: Vec<f32>,
    output: Vec<f32>,
    dinner: Vec<f32>,
    factors: Vec<f32>,
}

impl Pool {
    pub(super) fn total(self) -> usize {
        2 * self.width * self.hidden + self.hidden + self.width
    }

    /// Starts as the mean itself, nearly.
    pub(super) fn initial(self, seed: u64) -> Vec<f32> {
        let size = self.width * self.hidden;
        let mut w = normal(size, 1.0 / (self.width as f32).sqrt(), seed, 0);
        w.resize(size + self.hidden, 0.0);
        w.extend(normal(size, 0.02, seed, 1));
        w.resize(self.total(), 0.0);
        w
    }

    /// `A`, `a`, `B`, `b`.
    fn split(self, w: &[f32]) -> [&[f32]; 4] {
        let size = self.width * self.hidden;
        let (a, rest) = w.split_at(size);
        let (bias, rest) = rest.split_at(self.hidden);
        let (b, last) = rest.split_at(size);
        [a, bias, b, last]
    }

    pub(super) fn forward<'t>(
        self,
        w: &[f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        x: &[f32],
        tape: &'t mut PoolTape,
    ) -> &'t [f32] {
        let (d, hidden, rows) = (self.width, self.hidden, x.len() / self.width);
        tape.means.clear();
        tape.means.extend_from_slice(x);
        others(tile, d, &mut tape.means);
        drop_rows(tile, dropout, 0, d, &mut tape.factors, &mut tape.means);
        let [a, bias, b, last] = self.split(w);
        tape.inner.resize(rows * hidden, 0.0);
        let means = Mat::new(&tape.means, rows, d);
        let inner = MatMut::new(&mut tape.inner, rows, hidden);
        product(inner, Into::Replace, 1.0, means, Mat::new(a, d, hidden));
        add_bias(&mut tape.inner, bias);
        tape.inner.iter_mut().for_each(|x| *x = x.max(0.0));
        tape.output.clear();
        tape.output.extend_from_slice(&tape.means);
        let inner = Mat::new(&tape.inner, rows, hidden);
        let output = MatMut::new(&mut tape.output, rows, d);
        product(output, Into::Add, 1.0, inner, Mat::new(b, hidden, d));
        add_bias(&mut tape.output, last);
        &tape.output
    }

    pub(super) fn backward<'t>(
        self,
        w: &[f32],
        g: &mut [f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        dy: &[f32],
        tape: &'t mut PoolTape,
    ) -> &'t [f32] {
        let (d, hidden, rows) = (self.width, self.hidden, dy.len() / self.width);
        let [a, _, b, _] = self.split(w);
        let size = d * hidden;
        let (ga, rest) = g.split_at_mut(size);
        let (gbias, rest) = rest.split_at_mut(hidden);
        let (gb, glast) = rest.split_at_mut(size);
        let outer = Mat::new(dy, rows, d);
        let inner = Mat::new(&tape.inner, rows, hidden);
        product(MatMut::new(gb, hidden, d), Into::Add, 1.0, inner.t(), outer);
        add_columns(dy, glast);
        tape.dinner.resize(rows * hidden, 0.0);
        let dinner = MatMut::new(&mut tape.dinner, rows, hidden);
        product(
            dinner,
            Into::Replace,
            1.0,
            outer,
            Mat::new(b, hidden, d).t(),
        );
        for (dx, &x) in tape.dinner.iter_mut().zip(&tape.inner) {
            if x <= 0.0 {
                *dx = 0.0;
            }
        }
        let dinner = Mat::new(&tape.dinner, rows, hidden);
        let means = Mat::new(&tape.means, rows, d);
        product(
            MatMut::new(ga, d, hidden),
            Into::Add,
            1.0,
            means.t(),
            dinner,
        );
        add_columns(&tape.dinner, gbias);
        tape.output.clear();
        tape.output.extend_from_slice(dy);
        let output = MatMut::new(&mut tape.output, rows, d);
        product(output, Into::Add, 1.0, dinner, Mat::new(a, d, hidden).t());
        drop_rows(tile, dropout, 0, d, &mut tape.factors, &mut tape.output);
        // The mean of the others is its own transpose.
        others(tile, d, &mut tape.output);
        &tape.output
    }
}

/// Each row becomes the mean of the other rows of its sequence; zero where there is no other.
fn others(tile: &[Rows], width: usize, mut x: &mut [f32]) {
    let mut sum = vec![0.0; width];
    for sequence in tile {
        let n = sequence.len();
        let (rows, later) = std::mem::take(&mut x).split_at_mut(n * width);
        x = later;
        sum.fill(0.0);
        add_columns(rows, &mut sum);
        let share = 1.0 / n.saturating_sub(1).max(1) as f32;
        for row in rows.chunks_exact_mut(width) {
            for (x, sum) in row.iter_mut().zip(&sum) {
                *x = (sum - *x) * share;
            }
        }
    }
}

/// The same on any device, by burn's autodiff.
#[derive(Debug)]
pub(super) struct PoolProgram {
    pool: Pool,
    pub(super) leaves: Leaves,
    device: Device,
}

impl PoolProgram {
    pub(super) fn new(pool: Pool, weights: &[f32], device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let [a, bias, b, last] = pool.split(weights);
        let parts = [
            (a, pool.hidden),
            (bias, pool.hidden),
            (b, pool.width),
            (last, pool.width),
        ];
        Self {
            pool,
            leaves: Leaves::new(parts, &device),
            device,
        }
    }

    pub(super) fn learn(
        &mut self,
        x: Vec<f32>,
        tile: &[Rows],
        dropout: Option<Dropout>,
        loss: impl FnOnce(Tensor<2>) -> Result<Tensor<2>>,
    ) -> Result<Vec<f32>> {
        let d = self.pool.width;
        let (batch, length) = (tile.len(), x.len() / d / tile.len().max(1));
        let constant = |values: Vec<f32>, columns: usize| {
            let shape = [values.len() / columns, columns];
            Tensor::<2>::from_data(TensorData::new(values, shape), &self.device)
        };
        let rows = constant(x, d).autodiff().require_grad();
        // Padding is zero, so it adds nothing to a sum.
        let cube = rows.clone().reshape([batch, length, d]);
        let shares = tile
            .iter()
            .map(|s| 1.0 / s.len().saturating_sub(1).max(1) as f32);
        let shares = constant(shares.collect(), 1).reshape([batch, 1, 1]);
        let means = (cube.clone().sum_dim(1) - cube) * shares;
        let mut means = means.reshape([batch * length, d]);
        if let Some(dropout) = dropout {
            let mut factors = vec![1.0; batch * length * d];
            for (sequence, row) in tile.iter().zip(factors.chunks_mut(length * d)) {
                dropout.fill(0, sequence, &mut row[..sequence.len() * d]);
            }
            means = means * constant(factors, d);
        }
        let leaf = |i: usize| self.leaves.get(i);
        let inner = relu(means.clone().matmul(leaf(0)) + leaf(1));
        let y = means + inner.matmul(leaf(2)) + leaf(3);
        let gradient = loss(y.clone().inner())?;
        let mut gradients = (y * gradient).sum().backward();
        let dx = rows.grad_remove(&mut gradients);
        self.leaves.keep(gradients);
        let dx = dx.ok_or_else(|| device_error("no gradient of the rows"))?;
        dx.try_into_vec_as::<f32>().map_err(device_error)
    }
}
