//! What the fast parts are held equal to: loops and dense f64 matrices, written as the formulas are.

use nalgebra::{DMatrix, DVector};
use refrain_data::Interactions;

use super::simd::{Events, gain};
use super::{Als, Regularization};

/// `out[r][c] = Σ_k rows[r][k] · square[k][c]`
pub(super) fn multiply_reference(rows: &[f32], square: &[f32], stride: usize) -> Vec<f64> {
    let mut out = Vec::new();
    for row in rows.chunks_exact(stride) {
        for c in 0..stride {
            let product = |k: usize| f64::from(row[k]) * f64::from(square[k * stride + c]);
            out.push((0..stride).map(product).sum());
        }
    }
    out
}

/// `gram[i][j] = Σ_r rows[r][i] · rows[r][j]`
pub(super) fn gram_reference(rows: &[f32], stride: usize) -> Vec<f64> {
    let mut gram = vec![0.0; stride * stride];
    for row in rows.chunks_exact(stride) {
        for i in 0..stride {
            for j in 0..stride {
                gram[i * stride + j] += f64::from(row[i]) * f64::from(row[j]);
            }
        }
    }
    gram
}

/// Both kinds of [`normal_product`](super::simd::normal_product), added to `out`.
pub(super) fn normal_product_reference(
    table: &[f32],
    events: Events<'_>,
    x: &[f32],
    residual: bool,
    out: &mut [f64],
) -> f64 {
    let mut loss = 0.0;
    for (&index, &weight) in events.indices.iter().zip(events.weights) {
        let y = &table[index as usize * x.len()..][..x.len()];
        let score: f64 = y
            .iter()
            .zip(x)
            .map(|(&y, &x)| f64::from(y) * f64::from(x))
            .sum();
        let (w, gain) = (f64::from(weight.abs()), f64::from(gain(weight)));
        let p = f64::from(weight > 0.0);
        let step = if residual {
            gain - w * score
        } else {
            w * score
        };
        for (out, &y) in out.iter_mut().zip(y) {
            *out += step * f64::from(y);
        }
        if residual {
            loss += (1.0 + w) * (p - score).powi(2) - score * score;
        }
    }
    loss
}

/// ALS as the paper writes it, all pairs in dense matrices.
pub(super) struct Dense {
    /// c − 1, users × items.
    pub weights: DMatrix<f64>,
    /// p, users × items.
    pub liked: DMatrix<f64>,
    pub lambda_users: Vec<f64>,
    pub lambda_items: Vec<f64>,
    /// users × factors
    pub x: DMatrix<f64>,
    /// items × factors
    pub y: DMatrix<f64>,
    pub losses: Vec<f64>,
}

impl Dense {
    pub(super) fn fit(config: &Als, log: &Interactions) -> Self {
        let (n, m, f) = (log.n_users(), log.n_items(), config.factors);
        let mut weights = DMatrix::zeros(n, m);
        let mut liked = DMatrix::zeros(n, m);
        for event in log.iter() {
            let at = (event.user as usize, event.item as usize);
            let weight = config.weigh(event.weight);
            weights[at] = f64::from(weight.abs());
            liked[at] = f64::from(weight > 0.0);
        }
        let squares: f64 = weights
            .iter()
            .zip(&liked)
            .map(|(w, p)| p * (1.0 + w) * (1.0 + w))
            .sum();
        let busy_users = (0..n)
            .filter(|&u| !log.user_items(u as u32).0.is_empty())
            .count();
        let busy_items = (0..m)
            .filter(|&i| !log.item_users(i as u32).0.is_empty())
            .count();
        let chance = (squares / busy_users as f64).sqrt() + (squares / busy_items as f64).sqrt();
        let lambda = match config.regularization {
            Regularization::Absolute(lambda) => f64::from(lambda),
            Regularization::Relative(part) => f64::from(part) * chance,
        };
        let share = |confidences: Vec<f64>| {
            let mean = confidences.iter().sum::<f64>() / confidences.len() as f64;
            let nu = f64::from(config.frequency_exponent);
            confidences
                .iter()
                .map(|c| lambda * (c / mean).powf(nu))
                .collect::<Vec<f64>>()
        };
        let lambda_users = share(weights.row_iter().map(|row| row.sum() + m as f64).collect());
        let lambda_items = share(weights.column_iter().map(|c| c.sum() + n as f64).collect());
        let start = config.initial(m, 0).to_dense();
        let y = DMatrix::from_row_iterator(m, f, start.iter().map(|&v| f64::from(v)));
        let x = DMatrix::zeros(n, f);
        let mut new = Self {
            weights,
            liked,
            lambda_users,
            lambda_items,
            x,
            y,
            losses: Vec::new(),
        };
        for _ in 0..config.iterations {
            new.x = solve(&new.weights, &new.liked, &new.lambda_users, &new.y);
            let (weights, liked) = (new.weights.transpose(), new.liked.transpose());
            new.y = solve(&weights, &liked, &new.lambda_items, &new.x);
            new.losses.push(new.loss());
        }
        new.x = solve(&new.weights, &new.liked, &new.lambda_users, &new.y);
        new
    }

    pub(super) fn scores(&self) -> DMatrix<f64> {
        &self.x * self.y.transpose()
    }

    fn loss(&self) -> f64 {
        let error = &self.liked - self.scores();
        let fit: f64 = error
            .iter()
            .zip(&self.weights)
            .map(|(e, w)| (1.0 + w) * e * e)
            .sum();
        let size = |m: &DMatrix<f64>, lambda: &[f64]| {
            m.row_iter()
                .zip(lambda)
                .map(|(row, l)| l * row.norm_squared())
                .sum::<f64>()
        };
        fit + size(&self.x, &self.lambda_users) + size(&self.y, &self.lambda_items)
    }
}

fn solve(w: &DMatrix<f64>, p: &DMatrix<f64>, lambda: &[f64], y: &DMatrix<f64>) -> DMatrix<f64> {
    let f = y.ncols();
    let mut x = DMatrix::zeros(w.nrows(), f);
    for (row, &lambda) in lambda.iter().enumerate() {
        let confidence = DMatrix::from_diagonal(&w.row(row).transpose().add_scalar(1.0));
        let a = y.transpose() * &confidence * y + DMatrix::identity(f, f) * lambda;
        let b: DVector<f64> = y.transpose() * confidence * p.row(row).transpose();
        x.set_row(row, &a.cholesky().unwrap().solve(&b).transpose());
    }
    x
}
