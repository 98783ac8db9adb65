//! Training the tensor program: gradients by burn's autodiff.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::TransformerConfig;
use super::layout::Layout;
use super::program::{Decoder, Program};
use crate::adamw::{self, Moments};
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::{Error, Result};

pub(crate) struct TensorEngine {
    program: Program,
    layout: Layout,
    config: TransformerConfig,
    /// With autodiff.
    device: Device,
    gradients: GradientsAccumulator<Decoder>,
    /// One pair of moments per parameter, flat, in the layout's order.
    moments: Moments,
    smoothing: f32,
}

impl TensorEngine {
    /// `device` is one with autodiff.
    pub(crate) fn new(
        config: &TransformerConfig,
        layout: &Layout,
        weights: &[f32],
        device: &Device,
    ) -> Self {
        let moments = adamw::moments(&layout.entries, None, device);
        Self {
            program: Program::new(config, layout, weights, device),
            layout: layout.clone(),
            config: config.clone(),
            gradients: GradientsAccumulator::new(),
            moments,
            smoothing: 0.0,
            device: device.clone(),
        }
    }

    /// One pass through the layers alone and back: `loss` turns the last norm's rows into their
    /// gradient; returns that of `x`, whose rows are padded at the end of each example.
    pub(crate) fn learn(
        &mut self,
        x: Vec<f32>,
        batch: &[Example],
        causal: bool,
        dropout: Option<Dropout>,
        loss: impl FnOnce(Tensor<2>) -> Result<Tensor<2>>,
    ) -> Result<Vec<f32>> {
        let width = self.config.width;
        let shape = [x.len() / width, width];
        let x = Tensor::<2>::from_data(TensorData::new(x, shape), &self.device).require_grad();
        let y = self.program.encode(x.clone(), batch, causal, dropout);
        let gradient = loss(y.clone().inner())?;
        let mut gradients = (y * gradient).sum().backward();
        let dx = x.grad_remove(&mut gradients);
        let own = GradientsParams::from_grads(gradients, &self.program.decoder);
        self.gradients.accumulate(&self.program.decoder, own);
        let dx = dx.ok_or_else(|| Error::device("no gradient of the rows"))?;
        dx.try_into_vec_as::<f32>().map_err(Error::device)
    }
}

impl Engine for TensorEngine {
    fn accumulate(
        &mut self,
        batch: &[Example],
        scale: f64,
        dropout: Option<Dropout>,
    ) -> Result<f64> {
        let loss = self.program.loss(batch, dropout, self.smoothing);
        let scaled = loss.clone() * scale;
        let gradients = GradientsParams::from_grads(scaled.backward(), &self.program.decoder);
        self.gradients.accumulate(&self.program.decoder, gradients);
        loss.inner()
            .try_into_scalar::<f32>()
            .map(f64::from)
            .map_err(Error::device)
    }

    fn smooth_labels(&mut self, share: f32) {
        self.smoothing = share;
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let mut gradients = self.gradients.grads();
        let (decoder, entries) = (self.program.decoder.clone(), &self.layout.entries);
        let (decoder, norm) =
            adamw::step(decoder, &mut gradients, &mut self.moments, entries, update)?;
        self.program.decoder = decoder;
        Ok(norm)
    }

    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        let loss = self.program.valid().loss(batch, None, 0.0);
        loss.try_into_scalar::<f32>()
            .map(f64::from)
            .map_err(Error::device)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        adamw::read(&self.program.decoder.valid())
    }

    fn parameters(&self) -> Result<Parameters> {
        let (first, second) = adamw::read_moments(&self.moments)?;
        Ok(Parameters {
            weights: self.weights()?,
            first,
            second,
            lanes: Vec::new(),
        })
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.replace_weights(&parameters.weights)?;
        self.moments = adamw::moments(&self.layout.entries, Some(&parameters), &self.device);
        Ok(())
    }

    fn replace_weights(&mut self, weights: &[f32]) -> Result<()> {
        self.program = Program::new(&self.config, &self.layout, weights, &self.device);
        self.gradients = GradientsAccumulator::new();
        Ok(())
    }

    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        adamw::read_gradients(&self.program.decoder, &self.gradients.grads())
    }
}
