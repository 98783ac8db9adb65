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
    /// Of users and items, zero without biases.
    pub biases: [Vec<f64>; 2],
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
        let start = config.initial(m, 0);
        let start = start.iter().map(|&v| f64::from(v));
        let start = DMatrix::from_row_iterator(m, config.width(), start);
        let y = start.columns(0, f).into_owned();
        let x = DMatrix::zeros(n, f);
        let of_items = match config.biases {
            true => start.column(f).iter().copied().collect(),
            false => vec![0.0; m],
        };
        let mut new = Self {
            weights,
            liked,
            lambda_users,
            lambda_items,
            x,
            y,
            biases: [vec![0.0; n], of_items],
            losses: Vec::new(),
        };
        for _ in 0..config.iterations {
            new.solve_users(config.biases);
            let (weights, liked) = (new.weights.transpose(), new.liked.transpose());
            let of_users = config.biases.then_some(&new.biases[0][..]);
            (new.y, new.biases[1]) = solve(&weights, &liked, &new.lambda_items, &new.x, of_users);
            new.losses.push(new.loss());
        }
        new.solve_users(config.biases);
        new
    }

    fn solve_users(&mut self, biases: bool) {
        let of_items = biases.then_some(&self.biases[1][..]);
        (self.x, self.biases[0]) = solve(
            &self.weights,
            &self.liked,
            &self.lambda_users,
            &self.y,
            of_items,
        );
    }

    pub(super) fn scores(&self) -> DMatrix<f64> {
        let mut scores = &self.x * self.y.transpose();
        for ((u, i), score) in (0..scores.ncols())
            .flat_map(|i| (0..self.x.nrows()).map(move |u| (u, i)))
            .zip(scores.iter_mut())
        {
            *score += self.biases[0][u] + self.biases[1][i];
        }
        scores
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
        let biases: f64 = [&self.lambda_users, &self.lambda_items]
            .into_iter()
            .zip(&self.biases)
            .flat_map(|(lambda, biases)| lambda.iter().zip(biases).map(|(l, b)| l * b * b))
            .sum();
        fit + biases + size(&self.x, &self.lambda_users) + size(&self.y, &self.lambda_items)
    }
}

/// The rows and their biases, given the other side's: what is left of p once the other's bias is taken
/// off is regressed on its factors and a 1.
fn solve(
    w: &DMatrix<f64>,
    p: &DMatrix<f64>,
    lambda: &[f64],
    y: &DMatrix<f64>,
    biases: Option<&[f64]>,
) -> (DMatrix<f64>, Vec<f64>) {
    let f = y.ncols();
    let mut z = y.clone();
    if biases.is_some() {
        z = z.insert_column(f, 1.0);
    }
    let offset = match biases {
        Some(biases) => DVector::from_column_slice(biases),
        None => DVector::zeros(y.nrows()),
    };
    let mut x = DMatrix::zeros(w.nrows(), f);
    let mut own = vec![0.0; w.nrows()];
    for (row, &lambda) in lambda.iter().enumerate() {
        let confidence = DMatrix::from_diagonal(&w.row(row).transpose().add_scalar(1.0));
        let a = z.transpose() * &confidence * &z + DMatrix::identity(z.ncols(), z.ncols()) * lambda;
        let left = p.row(row).transpose() - &offset;
        let b: DVector<f64> = z.transpose() * confidence * left;
        let solved = a.cholesky().unwrap().solve(&b);
        x.set_row(row, &solved.rows(0, f).transpose());
        if biases.is_some() {
            own[row] = solved[f];
        }
    }
    (x, own)
}
