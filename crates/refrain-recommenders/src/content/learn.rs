//! Feature weights by pairwise ranking.
//!
//! For a user, an item i of theirs and an item j they do not have, with p the user's profile without
//! i, the model should have Δ = Σ_f θ_f p_f (x_if − x_jf) / |p| > 0. A step of stochastic gradient
//! ascent on ln σ(Δ) − λ/2 · (θ − 1)² moves each feature of i and j by
//!
//! ```text
//! θ_f += rate · ( σ(−Δ) · p_f (x_if − x_jf) / |p| − λ (θ_f − 1) )        θ_f ≥ 0
//! ```

use rand::RngExt;
use refrain_core::{Monitor, rng};

use super::NAME;
use crate::neighbours::Weighting;
use crate::neighbours::sparse::Csr;
use crate::neighbours::weighting::strengths_of;
use crate::{Error, Memory, Result};

pub(super) struct Learning {
    pub(super) samples: usize,
    pub(super) rate: f32,
    pub(super) regularisation: f32,
    pub(super) seed: u64,
}

impl Learning {
    pub(super) fn run(&self, memory: &Memory, items: &Csr, monitor: &Monitor) -> Result<Vec<f32>> {
        for (field, value) in [
            ("weights.rate", self.rate),
            ("weights.regularisation", self.regularisation),
        ] {
            if !(value.is_finite() && value >= 0.0) {
                return Err(Error::Config {
                    model: NAME,
                    field,
                    value: value.to_string(),
                    expected: "must be at least 0",
                });
            }
        }
        let mut theta = vec![1.0f32; items.width()];
        // Someone with one item has no rest of a history to judge it by.
        let users: Vec<u32> = (0..memory.n_users() as u32)
            .filter(|&u| memory.history(u).0.len() > 1)
            .collect();
        if users.is_empty() {
            return Ok(theta);
        }
        let samples = self.samples.min(memory.n_events().saturating_mul(20));
        let per_user = samples.div_ceil(users.len());
        let stage = monitor.start("content: feature weights", Some(users.len() as u64));
        let mut rng = rng::stream(self.seed, 0);
        let mut profile = vec![0.0f32; items.width()];
        for &user in &users {
            profile.fill(0.0);
            let history: Vec<(u32, f32)> =
                strengths_of(memory.history(user), Weighting::Log).collect();
            for &(item, strength) in &history {
                add(&mut profile, items, item, strength);
            }
            for _ in 0..per_user {
                let chosen = history.get(rng.random_range(0..history.len().max(1)));
                let other = rng.random_range(0..memory.n_items().max(1)) as u32;
                let Some(&(item, strength)) = chosen else {
                    break;
                };
                if memory.history(user).0.binary_search(&other).is_err() {
                    add(&mut profile, items, item, -strength);
                    self.step(&mut theta, &profile, items, item, other);
                    add(&mut profile, items, item, strength);
                }
            }
            stage.advance(1, "")?;
        }
        Ok(theta)
    }

    fn step(&self, theta: &mut [f32], profile: &[f32], items: &Csr, item: u32, other: u32) {
        let length = profile.iter().map(|p| p * p).sum::<f32>().sqrt();
        // What rounding leaves of a profile that is empty without the item.
        if length < 1e-4 {
            return;
        }
        let pull = |feature: u32| profile.get(feature as usize).map_or(0.0, |p| p / length);
        let sides = || {
            let up = items.pairs(item);
            up.chain(items.pairs(other).map(|(feature, value)| (feature, -value)))
        };
        let weight = |feature: u32| theta.get(feature as usize).copied().unwrap_or_default();
        let delta: f32 = sides().map(|(f, value)| weight(f) * pull(f) * value).sum();
        let slope = 1.0 / (1.0 + delta.exp());
        for (feature, value) in sides() {
            if let Some(weight) = theta.get_mut(feature as usize) {
                let gradient = slope * pull(feature) * value;
                *weight += self.rate * (gradient - self.regularisation * (*weight - 1.0));
                *weight = weight.max(0.0);
            }
        }
    }
}

fn add(profile: &mut [f32], items: &Csr, item: u32, strength: f32) {
    for (feature, value) in items.pairs(item) {
        if let Some(sum) = profile.get_mut(feature as usize) {
            *sum += strength * value;
        }
    }
}
