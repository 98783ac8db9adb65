//! Learning a stacker's coefficients: listwise logistic regression by Newton's method.

use nalgebra::{DMatrix, DVector};
use rayon::prelude::*;

use super::{NAME, PER_MEMBER, StackWeights, context};
use crate::hybrid::tune::Case;
use crate::{Error, Result};

/// Keeps coefficients from running off where the data says nothing.
const RIDGE: f64 = 1e-4;

/// The data of a fit: cases whose scores have z and r for each member.
struct Problem<'a> {
    cases: Vec<&'a Case>,
    /// Length of a row of a case: z and r for each member.
    columns: usize,
    context: (f32, f32),
}

/// Value, gradient and Hessian of what is minimised.
struct Point {
    value: f64,
    gradient: DVector<f64>,
    hessian: DMatrix<f64>,
}

impl Problem<'_> {
    fn dim(&self) -> usize {
        self.columns * 2
    }

    /// The features of a candidate: each of its columns, and each times the context.
    fn features(&self, row: &[f32], context: f32, out: &mut [f64]) {
        for (pair, &value) in out.chunks_exact_mut(2).zip(row) {
            if let [plain, with] = pair {
                *plain = f64::from(value);
                *with = f64::from(value * context);
            }
        }
    }

    /// −mean over users of the mean log-likelihood of their held-out items, plus the ridge.
    fn value(&self, theta: &DVector<f64>) -> f64 {
        let each: Vec<f64> = self
            .cases
            .par_iter()
            .map(|c| self.case(c, theta, None))
            .collect();
        each.iter().sum::<f64>() / self.cases.len().max(1) as f64
            + 0.5 * RIDGE * theta.norm_squared()
    }

    fn point(&self, theta: &DVector<f64>) -> Point {
        let d = self.dim();
        // Fixed chunks, summed in order: the same bits for any number of threads.
        let parts: Vec<Point> = self
            .cases
            .par_chunks(64)
            .map(|cases| {
                let mut sum = Point {
                    value: 0.0,
                    gradient: DVector::zeros(d),
                    hessian: DMatrix::zeros(d, d),
                };
                for case in cases {
                    sum.value +=
                        self.case(case, theta, Some((&mut sum.gradient, &mut sum.hessian)));
                }
                sum
            })
            .collect();
        let mut all = Point {
            value: 0.5 * RIDGE * theta.norm_squared(),
            gradient: theta * RIDGE,
            hessian: DMatrix::identity(d, d) * RIDGE,
        };
        let share = 1.0 / self.cases.len().max(1) as f64;
        for part in parts {
            all.value += part.value * share;
            all.gradient += part.gradient * share;
            all.hessian += part.hessian * share;
        }
        all
    }

    /// One user's −log-likelihood, and its derivatives added to `sums`.
    fn case(
        &self,
        case: &Case,
        theta: &DVector<f64>,
        sums: Option<(&mut DVector<f64>, &mut DMatrix<f64>)>,
    ) -> f64 {
        let d = self.dim();
        let context = context(case.history, self.context);
        let rows = || case.scores.chunks_exact(self.columns.max(1));
        let mut features = vec![0.0; d];
        let scores: Vec<f64> = rows()
            .map(|row| {
                self.features(row, context, &mut features);
                features.iter().zip(theta.iter()).map(|(x, t)| x * t).sum()
            })
            .collect();
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|s| (s - largest).exp()).sum();
        let normaliser = largest + total.ln();
        let found = case.relevant.iter().filter(|r| **r).count().max(1) as f64;
        let chosen = scores.iter().zip(&case.relevant).filter(|(_, r)| **r);
        let value = chosen.map(|(s, _)| normaliser - s).sum::<f64>() / found;
        let Some((gradient, hessian)) = sums else {
            return value;
        };
        let mut mean: DVector<f64> = DVector::zeros(d);
        for ((row, score), &relevant) in rows().zip(&scores).zip(&case.relevant) {
            self.features(row, context, &mut features);
            let p = (score - normaliser).exp();
            let target = if relevant { 1.0 / found } else { 0.0 };
            for (at, &x) in features.iter().enumerate() {
                mean[at] += p * x;
                gradient[at] += (p - target) * x;
                // The lower half, by columns; the other is its mirror.
                for (low, &y) in features.iter().enumerate().skip(at) {
                    hessian[(low, at)] += p * x * y;
                }
            }
        }
        for at in 0..d {
            for low in at..d {
                hessian[(low, at)] -= mean[at] * mean[low];
            }
        }
        value
    }
}

/// Learns the coefficients from cases that hold z and r for each member.
pub(in crate::hybrid) fn fit(cases: &[Case], members: usize) -> Result<StackWeights> {
    let useful: Vec<&Case> = cases
        .iter()
        .filter(|c| c.relevant.contains(&true))
        .collect();
    if useful.is_empty() {
        return Err(Error::Data {
            model: NAME,
            reason: "no member proposes anything of what was set aside".to_string(),
        });
    }
    let n = useful.len() as f64;
    let logs = || useful.iter().map(|case| (case.history as f64).ln_1p());
    let mean = logs().sum::<f64>() / n;
    let deviation = (logs().map(|l| (l - mean).powi(2)).sum::<f64>() / n).sqrt();
    let problem = Problem {
        cases: useful,
        columns: 2 * members,
        context: (mean as f32, deviation as f32),
    };
    let theta = newton(&problem)?;
    // In a row a member has z and r; in theta each is followed by its product with the context.
    let members = theta.as_slice().chunks_exact(PER_MEMBER);
    Ok(StackWeights {
        members: members
            .filter_map(|c| <[f64; PER_MEMBER]>::try_from(c).ok())
            .map(|c| c.map(|value| value as f32))
            .collect(),
        context: problem.context,
    })
}

/// Newton's method with halved steps until the value falls.
fn newton(problem: &Problem<'_>) -> Result<DVector<f64>> {
    let mut theta = DVector::zeros(problem.dim());
    for iteration in 0..30 {
        let mut point = problem.point(&theta);
        point.hessian.fill_upper_triangle_with_lower_triangle();
        let gain = point.gradient.clone();
        let Some(factor) = point.hessian.cholesky() else {
            return Err(Error::Diverged {
                model: NAME,
                iteration,
                reason: "a member's scores are not finite".to_string(),
            });
        };
        let step = factor.solve(&gain);
        if step.dot(&gain) < 1e-10 {
            break;
        }
        let mut size = 1.0;
        let next = loop {
            let next = &theta - &step * size;
            if problem.value(&next) < point.value || size < 1e-4 {
                break next;
            }
            size *= 0.5;
        };
        theta = next;
    }
    Ok(theta)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cases(members: usize) -> Vec<Case> {
        (0..9usize)
            .map(|u| {
                let n = 12;
                let value = |i: usize| ((i * 37 + u * 11) % 23) as f32 / 11.0 - 1.0;
                Case {
                    relevant: (0..n).map(|i| (i + u) % 5 == 0).collect(),
                    scores: (0..n * 2 * members).map(value).collect(),
                    n_relevant: 4,
                    history: 3 + u * u,
                }
            })
            .collect()
    }

    #[test]
    fn gradient_and_hessian_equal_finite_differences() {
        let cases = cases(2);
        let problem = Problem {
            cases: cases.iter().collect(),
            columns: 4,
            context: (2.0, 0.9),
        };
        let theta = DVector::from_fn(problem.dim(), |i, _| ((i * 7) % 5) as f64 / 5.0 - 0.4);
        let point = problem.point(&theta);
        assert!((point.value - problem.value(&theta)).abs() < 1e-12);
        let h = 1e-5;
        for i in 0..problem.dim() {
            let moved = |by: f64| {
                let mut theta = theta.clone();
                theta[i] += by;
                theta
            };
            let slope = (problem.value(&moved(h)) - problem.value(&moved(-h))) / (2.0 * h);
            assert!((slope - point.gradient[i]).abs() < 1e-7, "{i}");
            let (up, down) = (problem.point(&moved(h)), problem.point(&moved(-h)));
            for j in i..problem.dim() {
                let slope = (up.gradient[j] - down.gradient[j]) / (2.0 * h);
                assert!((slope - point.hessian[(j, i)]).abs() < 1e-6, "{i} {j}");
            }
        }
        let best = newton(&problem).unwrap();
        assert!(problem.point(&best).gradient.norm() < 1e-4);
    }
}
