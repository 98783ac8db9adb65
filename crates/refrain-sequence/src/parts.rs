//! The transformer's layers and kernels without its tables, for the crates of this family that keep
//! embedding tables of their own. No promise is made for it.

use burn::tensor::Tensor;
use refrain_core::Device;

pub use crate::batch::{Dropout, Example as Rows};
pub use crate::kernels::gemm::{Into, Mat, MatMut, product};
pub use crate::kernels::network::Tape;
pub use crate::kernels::{exp, largest, run, sum1, sum2};

use crate::engine::{Engine, Parameters, Update};
use crate::kernels::network::Network;
use crate::train::Decay;
use crate::transformer::layout::Layout;
use crate::transformer::tensor_engine::TensorEngine;
use crate::{Result, TransformerConfig};

/// The layers of a transformer on the CPU; weights and gradients are flat slices.
#[derive(Debug, Clone)]
pub struct Layers(Network);

impl Layers {
    /// The layers of `config`; where they are not causal, every row sees all rows.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) naming the field.
    pub fn new(config: &TransformerConfig, causal: bool) -> Result<Self> {
        // A vocabulary of one token, whose row is never read.
        let layout = Layout::new(config, 1)?;
        let mut network = Network::new(config, &layout);
        network.causal = causal;
        Ok(Self(network))
    }

    /// How many weights there are.
    pub fn total(&self) -> usize {
        self.0.layout.total
    }

    /// First values.
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        self.0.layout.initial(seed)
    }

    /// Embedded rows of all examples, one below the other → the rows after the last norm.
    pub fn forward<'t>(
        &self,
        w: &[f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        x: &[f32],
        tape: &'t mut Tape,
    ) -> &'t [f32] {
        tape.output.clear();
        tape.output.extend_from_slice(x);
        let mut rows = tape.output.chunks_exact_mut(self.0.config.width);
        for example in tile {
            for (position, row) in (0..example.len()).zip(&mut rows) {
                self.0.add_position(w, position, row);
            }
        }
        self.0.layers(w, tile, dropout, tape);
        &tape.normed
    }

    /// Adds the gradient of the weights of the last [`forward`](Self::forward) to `g`, given that of
    /// its rows; returns that of the embedded rows.
    pub fn backward<'t>(
        &self,
        w: &[f32],
        g: &mut [f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        dy: &[f32],
        tape: &'t mut Tape,
    ) -> &'t [f32] {
        tape.dnorm.clear();
        tape.dnorm.extend_from_slice(dy);
        self.0.layers_backward(w, g, tile, dropout, tape);
        let mut rows = tape.dx.chunks_exact(self.0.config.width);
        for example in tile {
            for (position, row) in (0..example.len()).zip(&mut rows) {
                self.0.position_backward(g, position, row);
            }
        }
        &tape.dx
    }

    /// The same layers with these weights as a tensor program.
    pub fn program(&self, weights: &[f32], device: &Device) -> LayersProgram {
        let network = &self.0;
        LayersProgram {
            engine: {
                let device = device.clone().autodiff();
                TensorEngine::new(&network.config, &network.layout, weights, &device)
            },
            causal: network.causal,
        }
    }
}

/// The layers of a transformer on any device, with an Adam of their own.
pub struct LayersProgram {
    engine: TensorEngine,
    causal: bool,
}

impl LayersProgram {
    /// One pass forward and back. Rows are padded at the end of each example to the longest; `loss`
    /// turns those after the last norm into their gradient; returns that of the embedded rows.
    ///
    /// # Errors
    /// Those of the device, and of `loss`.
    pub fn learn(
        &mut self,
        x: Vec<f32>,
        tile: &[Rows],
        dropout: Option<Dropout>,
        loss: impl FnOnce(Tensor<2>) -> Result<Tensor<2>>,
    ) -> Result<Vec<f32>> {
        self.engine.learn(x, tile, self.causal, dropout, loss)
    }

    /// One step of Adam on what was gathered; returns the gradient's norm. One that is not finite
    /// changes nothing.
    ///
    /// # Errors
    /// Those of the device.
    pub fn update(
        &mut self,
        learning_rate: f64,
        (beta1, beta2): (f64, f64),
        epsilon: f64,
        step: u64,
    ) -> Result<f64> {
        self.engine.update(&Update {
            learning_rate,
            beta1,
            beta2,
            epsilon,
            weight_decay: 0.0,
            decay: Decay::Matrices,
            clip: None,
            step,
        })
    }

    /// The weights, flat.
    ///
    /// # Errors
    /// Those of the device.
    pub fn weights(&self) -> Result<Vec<f32>> {
        self.engine.weights()
    }

    /// The weights and Adam's two moments, each flat: what a checkpoint needs.
    ///
    /// # Errors
    /// Those of the device.
    pub fn parameters(&self) -> Result<[Vec<f32>; 3]> {
        let all = self.engine.parameters()?;
        Ok([all.weights, all.first, all.second])
    }

    /// Takes back what [`parameters`](Self::parameters) told.
    ///
    /// # Errors
    /// Those of the device, and another number of values.
    pub fn restore(&mut self, [weights, first, second]: [Vec<f32>; 3]) -> Result<()> {
        self.engine.restore(Parameters {
            weights,
            first,
            second,
            lanes: Vec::new(),
        })
    }
}
