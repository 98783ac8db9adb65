//! What stands between the vectors of a history and the vector of what comes next: the layers of a
//! transformer or recurrent units, each with kernels for the CPU and a tensor program for any device.

use burn::tensor::Tensor;
use refrain_core::Device;
use refrain_sequence::parts::{Dropout, Layers, LayersProgram, Rows, Tape};

use super::gru::{Gru, GruProgram, GruTape};
use super::pool::{Pool, PoolProgram, PoolTape};
use super::table::{Adam, BETAS, EPSILON};
use crate::{Error, Result};

#[derive(Debug, Clone)]
pub(super) enum Body {
    Attention(Box<Layers>),
    Recurrent(Gru),
    Mean(Pool),
}

/// Buffers of one tile.
#[derive(Debug, Default)]
pub(super) struct BodyTape {
    attention: Tape,
    recurrent: GruTape,
    mean: PoolTape,
}

/// The body as a tensor program.
pub(super) enum Program {
    Attention(Box<LayersProgram>),
    Recurrent(GruProgram),
    Mean(PoolProgram),
}

pub(super) fn device_error(reason: impl std::fmt::Display) -> Error {
    Error::Device {
        reason: reason.to_string(),
    }
}

impl Body {
    pub(super) fn total(&self) -> usize {
        match self {
            Self::Attention(layers) => layers.total(),
            Self::Recurrent(gru) => gru.total(),
            Self::Mean(pool) => pool.total(),
        }
    }

    pub(super) fn initial(&self, seed: u64) -> Vec<f32> {
        match self {
            Self::Attention(layers) => layers.initial(seed),
            Self::Recurrent(gru) => gru.initial(seed),
            Self::Mean(pool) => pool.initial(seed),
        }
    }

    /// The rows of all sequences, one below the other → their vectors of what comes next.
    pub(super) fn forward<'t>(
        &self,
        w: &[f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        x: &[f32],
        tape: &'t mut BodyTape,
    ) -> &'t [f32] {
        match self {
            Self::Attention(layers) => layers.forward(w, tile, dropout, x, &mut tape.attention),
            Self::Recurrent(gru) => gru.forward(w, tile, dropout, x, &mut tape.recurrent),
            Self::Mean(pool) => pool.forward(w, tile, dropout, x, &mut tape.mean),
        }
    }

    /// Adds the weights' gradient to `g`, given that of the last [`forward`](Self::forward); returns
    /// that of its rows.
    pub(super) fn backward<'t>(
        &self,
        w: &[f32],
        g: &mut [f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        dy: &[f32],
        tape: &'t mut BodyTape,
    ) -> &'t [f32] {
        match self {
            Self::Attention(body) => body.backward(w, g, tile, dropout, dy, &mut tape.attention),
            Self::Recurrent(body) => body.backward(w, g, tile, dropout, dy, &mut tape.recurrent),
            Self::Mean(body) => body.backward(w, g, tile, dropout, dy, &mut tape.mean),
        }
    }

    pub(super) fn program(&self, weights: &[f32], device: &Device) -> Program {
        match self {
            Self::Attention(layers) => {
                Program::Attention(Box::new(layers.program(weights, device)))
            }
            Self::Recurrent(gru) => Program::Recurrent(GruProgram::new(*gru, weights, device)),
            Self::Mean(pool) => Program::Mean(PoolProgram::new(*pool, weights, device)),
        }
    }
}

impl Program {
    /// One pass forward and back over rows padded at the end of each sequence; `loss` turns the
    /// vectors of what comes next into their gradient; returns that of the rows.
    pub(super) fn learn(
        &mut self,
        x: Vec<f32>,
        tile: &[Rows],
        dropout: Option<Dropout>,
        loss: impl FnOnce(Tensor<2>) -> Result<Tensor<2>>,
    ) -> Result<Vec<f32>> {
        match self {
            Self::Attention(program) => {
                let mut failed = None;
                let learned = program.learn(x, tile, dropout, |y| {
                    loss(y).map_err(|error| {
                        let reason = error.to_string();
                        failed = Some(error);
                        refrain_sequence::Error::Device { reason }
                    })
                });
                match (learned, failed) {
                    (_, Some(error)) => Err(error),
                    (learned, None) => learned.map_err(device_error),
                }
            }
            Self::Recurrent(program) => program.learn(x, tile, dropout, loss),
            Self::Mean(program) => program.learn(x, tile, dropout, loss),
        }
    }

    pub(super) fn update(&mut self, adam: Adam) -> Result<()> {
        match self {
            Self::Attention(program) => {
                let betas = (f64::from(BETAS.0), f64::from(BETAS.1));
                let (rate, epsilon) = (f64::from(adam.rate), f64::from(EPSILON));
                let norm = program.update(rate, betas, epsilon, adam.step);
                norm.map(drop).map_err(device_error)
            }
            Self::Recurrent(GruProgram { leaves, .. }) | Self::Mean(PoolProgram { leaves, .. }) => {
                leaves.update(adam);
                Ok(())
            }
        }
    }

    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        match self {
            Self::Attention(program) => program.weights().map_err(device_error),
            Self::Recurrent(GruProgram { leaves, .. }) | Self::Mean(PoolProgram { leaves, .. }) => {
                leaves.weights()
            }
        }
    }

    /// The weights and Adam's moments, each flat.
    pub(super) fn parameters(&self) -> Result<[Vec<f32>; 3]> {
        match self {
            Self::Attention(program) => program.parameters().map_err(device_error),
            Self::Recurrent(GruProgram { leaves, .. }) | Self::Mean(PoolProgram { leaves, .. }) => {
                leaves.parameters()
            }
        }
    }

    /// Takes back what [`parameters`](Self::parameters) told.
    pub(super) fn restore(&mut self, parameters: [Vec<f32>; 3]) -> Result<()> {
        match self {
            Self::Attention(program) => program.restore(parameters).map_err(device_error),
            Self::Recurrent(GruProgram { leaves, .. }) | Self::Mean(PoolProgram { leaves, .. }) => {
                leaves.restore(parameters);
                Ok(())
            }
        }
    }
}
