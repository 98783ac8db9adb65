//! Gradient steps for biased matrix factorisation, with SVD++'s implicit part or without.
//!
//! For one rating r of item i by user u, with `x = p + |N|^-½ Σ_{j ∈ N} y_j` and the error
//! `e = r − μ − b_u − b_i − x·q_i`, the loss is
//!
//! ```text
//! ½ e² + ½ λ_b (b_u² + b_i²) + ½ λ (‖p‖² + ‖q‖² + Σ_{j ∈ N} ‖y_j‖²)
//! ```
//!
//! and a step follows its gradient. Ratings are visited user by user, users and their ratings in a
//! new random order each time, so that the sum over `N` is made once a visit: the `y` take the steps
//! of a whole visit together at its end. A visit costs O(ratings of the user · f) instead of their
//! square. One thread does it all, so threads do not matter.

use pulp::Arch;
use rand::RngExt;
use rand::seq::SliceRandom;
use refrain_core::{Monitor, rng};

use super::RatingScale;
use super::linear::Linear;
use super::predictor::mean_rating;
use super::ridge::{Ridge, Side};
use crate::{Error, Memory, Result};

/// What the two models share of their settings.
pub(super) struct Sgd {
    pub model: &'static str,
    pub factors: usize,
    pub epochs: usize,
    pub learning_rate: f32,
    /// The rate is multiplied by this after each epoch.
    pub decay: f32,
    pub regularization: f32,
    pub bias_regularization: f32,
    pub init_deviation: f32,
    pub seed: u64,
    pub implicit: bool,
}

/// What was learned: items, y, and the root of the mean squared error of each epoch.
struct Learned {
    items: Side,
    implied: Vec<f32>,
    errors: Vec<f64>,
}

impl Sgd {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                model: self.model,
                field,
                value,
                expected,
            })
        };
        if !(1..=4096).contains(&self.factors) {
            return refuse("factors", self.factors.to_string(), "must be 1 to 4096");
        }
        if self.epochs == 0 {
            return refuse("epochs", "0".to_string(), "must be at least 1");
        }
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("decay", self.decay),
            ("regularization", self.regularization),
            ("bias_regularization", self.bias_regularization),
            ("init_deviation", self.init_deviation),
        ] {
            if !(value.is_finite() && value > 0.0) {
                return refuse(field, value.to_string(), "must be above 0 and finite");
            }
        }
        Ok(())
    }

    /// Fits, and solves for the users at the end; with the errors of the epochs.
    pub(super) fn fit(
        &self,
        memory: Memory,
        scale: Option<RatingScale>,
        monitor: &Monitor,
    ) -> Result<(Linear, Vec<f64>)> {
        self.check()?;
        let scale = RatingScale::of(scale, &memory, self.model)?;
        let mean = mean_rating(&memory);
        let learned = self.train(&memory, mean, monitor)?;
        let (items, implied) = (learned.items, learned.implied);
        let mut core = Linear::new(memory, scale, mean, self.ridges(), items, implied);
        core.solve_users()?;
        Ok((core, learned.errors))
    }

    /// The penalties of the last solution.
    pub(super) fn ridges(&self) -> (Ridge, Ridge) {
        let ridge = Ridge {
            bias: Some(f64::from(self.bias_regularization)),
            factors: f64::from(self.regularization),
            exponent: 1.0,
            nonnegative: false,
        };
        (ridge, ridge)
    }

    fn train(&self, memory: &Memory, mean: f32, monitor: &Monitor) -> Result<Learned> {
        let (n_users, n_items, f) = (memory.n_users(), memory.n_items(), self.factors);
        let mut state = State {
            users: self.noise(n_users, 0),
            items: self.noise(n_items, 1),
            implied: match self.implicit {
                true => self.noise(n_items, 2).factors,
                false => Vec::new(),
            },
        };
        let mut rng = rng::stream(self.seed, 3);
        let mut order: Vec<u32> = (0..n_users as u32)
            .filter(|&user| !memory.history(user).0.is_empty())
            .collect();
        let mut rate = self.learning_rate;
        let mut visit = Visit::new(f);
        let mut errors = Vec::with_capacity(self.epochs);
        let stage = monitor.start(self.model, Some(self.epochs as u64));
        for epoch in 0..self.epochs {
            order.shuffle(&mut rng);
            let step = Step {
                mean,
                rate,
                regularization: self.regularization,
                bias_regularization: self.bias_regularization,
            };
            let mut squares = 0.0;
            for &user in &order {
                let (rated, ratings) = memory.history(user);
                let mut events: Vec<(u32, f32)> =
                    rated.iter().copied().zip(ratings.iter().copied()).collect();
                events.shuffle(&mut rng);
                squares +=
                    Arch::new().dispatch(|| visit.run(&step, &mut state, user, &events, rated));
            }
            let error = (squares / memory.n_events().max(1) as f64).sqrt();
            if !error.is_finite() || !state.is_finite() {
                return Err(Error::Diverged {
                    model: self.model,
                    iteration: epoch,
                    reason: "numbers overflowed; make learning_rate smaller".to_string(),
                });
            }
            errors.push(error);
            rate *= self.decay;
            stage.advance(1, format_args!("training RMSE {error:.4}"))?;
        }
        Ok(Learned {
            items: state.items,
            implied: state.implied,
            errors,
        })
    }

    /// Normal noise from the seed.
    fn noise(&self, rows: usize, stream: u64) -> Side {
        let mut side = Side::zeros(rows, self.factors);
        side.factors = normal(rows * self.factors, self.init_deviation, self.seed, stream);
        side
    }
}

/// Normal noise: Box and Muller, 1958.
pub(super) fn normal(count: usize, deviation: f32, seed: u64, stream: u64) -> Vec<f32> {
    let mut rng = rng::stream(seed, stream);
    (0..count)
        .map(|_| {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32 * deviation
        })
        .collect()
}

/// The parameters.
struct State {
    users: Side,
    items: Side,
    implied: Vec<f32>,
}

impl State {
    fn is_finite(&self) -> bool {
        let implied = self.implied.iter().all(|x| x.is_finite());
        implied && self.users.is_finite() && self.items.is_finite()
    }
}

struct Step {
    mean: f32,
    rate: f32,
    regularization: f32,
    bias_regularization: f32,
}

/// Scratch space of a visit to one user.
struct Visit {
    /// |N|^-½ Σ y
    implied: Vec<f32>,
    /// Σ e q
    pull: Vec<f32>,
}

impl Visit {
    fn new(f: usize) -> Self {
        Self {
            implied: vec![0.0; f],
            pull: vec![0.0; f],
        }
    }

    /// A step for each rating of a user; returns the squared errors met.
    #[inline(always)]
    fn run(
        &mut self,
        step: &Step,
        state: &mut State,
        user: u32,
        ratings: &[(u32, f32)],
        had: &[u32],
    ) -> f64 {
        let f = self.implied.len();
        let (at, user) = (user as usize * f, user as usize);
        let share = 1.0 / (had.len().max(1) as f32).sqrt();
        self.implied.fill(0.0);
        self.pull.fill(0.0);
        if !state.implied.is_empty() {
            for &item in had {
                let y = &state.implied[item as usize * f..][..f];
                for (sum, y) in self.implied.iter_mut().zip(y) {
                    *sum += share * y;
                }
            }
        }
        let p = &mut state.users.factors[at..at + f];
        let user_bias = &mut state.users.bias[user];
        let keep = 1.0 - step.rate * step.regularization;
        let keep_bias = 1.0 - step.rate * step.bias_regularization;
        let mut squares = 0.0;
        for &(item, rating) in ratings {
            let q = &mut state.items.factors[item as usize * f..][..f];
            let item_bias = &mut state.items.bias[item as usize];
            let score = score(p, &self.implied, q);
            let error = rating - step.mean - *user_bias - *item_bias - score;
            squares += f64::from(error) * f64::from(error);
            let along = step.rate * error;
            *user_bias = keep_bias * *user_bias + along;
            *item_bias = keep_bias * *item_bias + along;
            let parts = p.iter_mut().zip(q).zip(&self.implied).zip(&mut self.pull);
            for (((p, q), implied), pull) in parts {
                let (old_p, old_q) = (*p, *q);
                *p = keep * old_p + along * old_q;
                *q = keep * old_q + along * (old_p + implied);
                *pull += error * old_q;
            }
        }
        if !state.implied.is_empty() {
            let keep = keep.max(0.0).powi(ratings.len() as i32);
            let along = step.rate * share;
            for &item in had {
                let y = &mut state.implied[item as usize * f..][..f];
                for (y, pull) in y.iter_mut().zip(&self.pull) {
                    *y = keep * *y + along * pull;
                }
            }
        }
        squares
    }
}

/// `(p + implied) · q`, in eight sums side by side.
#[inline(always)]
fn score(p: &[f32], implied: &[f32], q: &[f32]) -> f32 {
    let mut sums = [0.0f32; 8];
    let (p8, p_rest) = p.as_chunks::<8>();
    let (i8, i_rest) = implied.as_chunks::<8>();
    let (q8, q_rest) = q.as_chunks::<8>();
    for ((p, i), q) in p8.iter().zip(i8).zip(q8) {
        for k in 0..8 {
            sums[k] += (p[k] + i[k]) * q[k];
        }
    }
    let rest = p_rest.iter().zip(i_rest).zip(q_rest);
    sums.iter().sum::<f32>() + rest.map(|((p, i), q)| (p + i) * q).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const F: usize = 5;

    fn state() -> State {
        let side = |rows, stream| {
            let mut side = Side::zeros(rows, F);
            side.factors = normal(rows * F, 0.5, 9, stream);
            side.bias = normal(rows, 0.5, 9, stream + 10);
            side
        };
        State {
            users: side(1, 0),
            items: side(3, 1),
            implied: normal(3 * F, 0.5, 9, 2),
        }
    }

    fn parameters(state: &State) -> Vec<f32> {
        let sides = [&state.users, &state.items];
        let sides = sides.iter().flat_map(|s| s.bias.iter().chain(&s.factors));
        sides.chain(&state.implied).copied().collect()
    }

    fn nudge(state: &mut State, at: usize, by: f32) {
        let sides = [&mut state.users, &mut state.items];
        let sides = sides
            .into_iter()
            .flat_map(|s| s.bias.iter_mut().chain(&mut s.factors));
        *sides.chain(&mut state.implied).nth(at).unwrap() += by;
    }

    /// The loss of a rating of 4 for item 1 by someone who had items 0 and 1, by its definition.
    fn loss(state: &State, step: &Step) -> f64 {
        let wide = |x: &[f32]| -> Vec<f64> { x.iter().map(|&x| f64::from(x)).collect() };
        let (p, q) = (wide(state.users.row(0)), wide(state.items.row(1)));
        let y: Vec<Vec<f64>> = [0, 1]
            .iter()
            .map(|j| wide(&state.implied[j * F..][..F]))
            .collect();
        let x = |k: usize| p[k] + (y[0][k] + y[1][k]) / 2f64.sqrt();
        let (bu, bi) = (
            f64::from(state.users.bias(0)),
            f64::from(state.items.bias(1)),
        );
        let score: f64 = (0..F).map(|k| x(k) * q[k]).sum();
        let e = 4.0 - f64::from(step.mean) - bu - bi - score;
        let square = |x: &[f64]| x.iter().map(|x| x * x).sum::<f64>();
        let sizes = square(&p) + square(&q) + square(&y[0]) + square(&y[1]);
        0.5 * e * e
            + 0.5 * f64::from(step.bias_regularization) * (bu * bu + bi * bi)
            + 0.5 * f64::from(step.regularization) * sizes
    }

    #[test]
    fn a_step_follows_the_gradient() {
        // With a rate of 1 and one rating, what is taken away is the gradient.
        let step = Step {
            mean: 3.5,
            rate: 1.0,
            regularization: 0.3,
            bias_regularization: 0.2,
        };
        let before = state();
        let mut after = state();
        Visit::new(F).run(&step, &mut after, 0, &[(1, 4.0)], &[0, 1]);
        let (before_all, after_all) = (parameters(&before), parameters(&after));
        for at in 0..before_all.len() {
            let h = 1e-2;
            let (mut up, mut down) = (state(), state());
            nudge(&mut up, at, h);
            nudge(&mut down, at, -h);
            let slope = (loss(&up, &step) - loss(&down, &step)) / f64::from(2.0 * h);
            let taken = f64::from(before_all[at] - after_all[at]);
            assert!((slope - taken).abs() < 1e-4, "{at}: {slope} {taken}");
        }
    }
}
