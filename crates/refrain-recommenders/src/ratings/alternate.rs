//! Solving both sides by turns: the training of [`ExplicitAls`](super::ExplicitAls) and
//! [`Nmf`](super::Nmf).

use refrain_core::Monitor;

use super::RatingScale;
use super::linear::{Linear, ratings_by_user};
use super::predictor::mean_rating;
use super::ridge::{Ridge, Side, half_step};
use super::sgd::normal;
use crate::{Error, Memory, Result};

/// What the two models share of their settings.
pub(super) struct Alternate {
    pub model: &'static str,
    pub factors: usize,
    pub iterations: usize,
    pub regularization: f32,
    pub bias_regularization: f32,
    /// Whether there are biases and a mean.
    pub biased: bool,
    pub nonnegative: bool,
    pub init_deviation: f32,
    pub seed: u64,
}

impl Alternate {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                model: self.model,
                field,
                value,
                expected,
            })
        };
        if !(1..=1024).contains(&self.factors) {
            return refuse("factors", self.factors.to_string(), "must be 1 to 1024");
        }
        if self.iterations == 0 {
            return refuse("iterations", "0".to_string(), "must be at least 1");
        }
        for (field, value) in [
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

    pub(super) fn ridges(&self) -> (Ridge, Ridge) {
        let bias = f64::from(self.bias_regularization);
        let ridge = Ridge {
            bias: self.biased.then_some(bias),
            factors: f64::from(self.regularization),
            exponent: 1.0,
            nonnegative: self.nonnegative,
        };
        (ridge, ridge)
    }

    /// The fitted core, its users solved last, and the loss of each iteration.
    pub(super) fn train(
        &self,
        memory: Memory,
        scale: Option<RatingScale>,
        monitor: &Monitor,
    ) -> Result<(Linear, Vec<f64>)> {
        self.check()?;
        let scale = RatingScale::of(scale, &memory, self.model)?;
        let mean = if self.biased {
            mean_rating(&memory)
        } else {
            0.0
        };
        let by_user = ratings_by_user(&memory);
        let by_item = by_user.transpose();
        let (users, items) = self.ridges();
        let empty = Side::zeros(memory.n_items(), self.factors);
        let mut core = Linear::new(memory, scale, mean, (users, items), empty, Vec::new());
        // Factors that can only add start from what adds.
        let count = core.users.rows() * self.factors;
        core.users.factors = normal(count, self.init_deviation, self.seed, 0);
        if self.nonnegative {
            core.users.factors.iter_mut().for_each(|x| *x = x.abs());
        }
        let stage = monitor.start(self.model, Some(self.iterations as u64));
        let mut losses = Vec::with_capacity(self.iterations);
        for iteration in 0..self.iterations {
            let loss = half_step(&items, &by_item, mean, &core.users, &mut core.items)
                .and_then(|_| half_step(&users, &by_user, mean, &core.items, &mut core.users));
            let loss = loss.ok_or_else(|| Error::Diverged {
                model: self.model,
                iteration,
                reason: "numbers overflowed; make the ratings smaller".to_string(),
            })?;
            let loss = loss + items.penalty(&core.items, &by_item);
            losses.push(loss);
            stage.advance(1, format_args!("loss {loss:.4e}"))?;
        }
        core.solve_users()?;
        Ok((core, losses))
    }
}
