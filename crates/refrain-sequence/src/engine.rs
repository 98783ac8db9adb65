//! What the trainer asks of a model, however it computes.

use crate::Result;
use crate::batch::{Dropout, Example};
use crate::train::Decay;

/// One step of AdamW (Loshchilov and Hutter, 2019) with clipping by the global norm:
///
/// `m ← β₁m + (1-β₁)g`, `v ← β₂v + (1-β₂)g²`,
/// `w ← w - η·λ·w - η · (m / (1-β₁ᵗ)) / (√(v / (1-β₂ᵗ)) + ε)`.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    pub(crate) learning_rate: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) epsilon: f64,
    pub(crate) weight_decay: f64,
    pub(crate) decay: Decay,
    /// The largest norm of the whole gradient.
    pub(crate) clip: Option<f64>,
    /// `t`, counted from 1.
    pub(crate) step: u64,
}

impl Update {
    /// What the gradient is multiplied with when its norm is `norm`.
    pub(crate) fn shrink(&self, norm: f64) -> f64 {
        match self.clip {
            Some(most) if norm > most => most / norm,
            _ => 1.0,
        }
    }

    /// `1 - β₁ᵗ` and `1 - β₂ᵗ`.
    pub(crate) fn corrections(&self) -> (f64, f64) {
        let t = self.step.min(i32::MAX as u64) as i32;
        (1.0 - self.beta1.powi(t), 1.0 - self.beta2.powi(t))
    }
}

/// Weights and AdamW's two moments, flat, and what else a run goes on with.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    pub(crate) weights: Vec<f32>,
    pub(crate) first: Vec<f32>,
    pub(crate) second: Vec<f32>,
    /// What each lane of the stream has left behind in a recurrent model; else empty.
    pub(crate) lanes: Vec<f32>,
}

/// A trainable model on some device.
pub trait Engine {
    /// Adds the gradient of `scale` × (sum of the targets' losses, each times its weight) and returns that
    /// sum, in nats.
    fn accumulate(
        &mut self,
        batch: &[Example],
        scale: f64,
        dropout: Option<Dropout>,
    ) -> Result<f64>;

    /// What [`accumulate`](Self::accumulate) spreads of each target's probability over all tokens.
    fn smooth_labels(&mut self, share: f32);

    /// Applies the gradient and forgets it; returns its global norm before clipping. A gradient
    /// that is not finite changes nothing.
    fn update(&mut self, update: &Update) -> Result<f64>;

    /// The sum of the targets' losses, in nats, without dropout.
    fn evaluate(&self, batch: &[Example]) -> Result<f64>;

    /// The weights, flat.
    fn weights(&self) -> Result<Vec<f32>>;

    /// Everything a checkpoint needs.
    fn parameters(&self) -> Result<Parameters>;

    /// Continues from a checkpoint.
    fn restore(&mut self, parameters: Parameters) -> Result<()>;

    /// Goes on with other weights, everything else staying as it is.
    fn replace_weights(&mut self, weights: &[f32]) -> Result<()>;

    /// The gradient gathered so far, flat; forgets it.
    fn take_gradient(&mut self) -> Result<Vec<f32>>;
}
