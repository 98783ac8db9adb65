//! Training the tensor program: gradients by burn's autodiff, and AdamW with clipping by the
//! *global* norm, which burn's own optimizers clip per tensor.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};

use super::config::TransformerConfig;
use super::layout::Layout;
use super::program::{Decoder, Program};
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
    moments: Vec<(Tensor<1>, Tensor<1>)>,
}

impl TensorEngine {
    pub(crate) fn new(
        config: &TransformerConfig,
        layout: &Layout,
        weights: &[f32],
        device: &Device,
    ) -> Self {
        let device = device.clone().autodiff();
        let zeros = |n: usize| Tensor::<1>::zeros([n], &device.clone().inner());
        let moments = layout
            .entries
            .iter()
            .map(|e| (zeros(e.range.len()), zeros(e.range.len())))
            .collect();
        Self {
            program: Program::new(config, layout, weights, &device),
            layout: layout.clone(),
            config: config.clone(),
            gradients: GradientsAccumulator::new(),
            moments,
            device,
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
        let plain = self.device.clone().inner();
        let x = Tensor::<2>::from_data(TensorData::new(x, shape), &plain);
        let x = x.autodiff().require_grad();
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
        let loss = self.program.loss(batch, dropout);
        let scaled = loss.clone() * scale;
        let gradients = GradientsParams::from_grads(scaled.backward(), &self.program.decoder);
        self.gradients.accumulate(&self.program.decoder, gradients);
        loss.inner()
            .try_into_scalar::<f32>()
            .map(f64::from)
            .map_err(Error::device)
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let mut gradients = self.gradients.grads();
        let mut squares = Squares {
            gradients: &gradients,
            sums: Vec::new(),
        };
        self.program.decoder.visit(&mut squares);
        let sums = squares.sums;
        if sums.is_empty() {
            return Ok(0.0);
        }
        let norm = Tensor::cat(sums, 0).sum().sqrt();
        let norm = norm
            .try_into_scalar::<f32>()
            .map(f64::from)
            .map_err(Error::device)?;
        if !norm.is_finite() {
            return Ok(norm);
        }
        let mut step = Step {
            gradients: &mut gradients,
            moments: &mut self.moments,
            layout: &self.layout,
            update,
            shrink: update.shrink(norm),
            next: 0,
        };
        self.program.decoder = self.program.decoder.clone().map(&mut step);
        Ok(norm)
    }

    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        let loss = self.program.valid().loss(batch, None);
        loss.try_into_scalar::<f32>()
            .map(f64::from)
            .map_err(Error::device)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        let mut read = Read {
            values: Vec::with_capacity(self.layout.total),
            failed: None,
        };
        self.program.decoder.valid().visit(&mut read);
        read.failed.map_or(Ok(read.values), Err)
    }

    fn parameters(&self) -> Result<Parameters> {
        let flat = |pick: fn(&(Tensor<1>, Tensor<1>)) -> &Tensor<1>| {
            let mut values = Vec::with_capacity(self.layout.total);
            for pair in &self.moments {
                values.extend(
                    pick(pair)
                        .clone()
                        .try_into_vec_as::<f32>()
                        .map_err(Error::device)?,
                );
            }
            Ok::<_, Error>(values)
        };
        Ok(Parameters {
            weights: self.weights()?,
            first: flat(|pair| &pair.0)?,
            second: flat(|pair| &pair.1)?,
        })
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        let plain = self.device.clone().inner();
        let tensor = |values: &[f32]| {
            Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), &plain)
        };
        self.program = Program::new(
            &self.config,
            &self.layout,
            &parameters.weights,
            &self.device,
        );
        self.gradients = GradientsAccumulator::new();
        self.moments = self
            .layout
            .entries
            .iter()
            .map(|e| {
                let range = e.range.clone();
                (
                    tensor(&parameters.first[range.clone()]),
                    tensor(&parameters.second[range]),
                )
            })
            .collect();
        Ok(())
    }

    #[cfg(test)]
    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        let gradients = self.gradients.grads();
        let mut read = ReadGradients {
            gradients: &gradients,
            values: Vec::new(),
        };
        self.program.decoder.visit(&mut read);
        Ok(read.values)
    }
}

/// The sum of squares of each parameter's gradient.
struct Squares<'a> {
    gradients: &'a GradientsParams,
    sums: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(gradient) = self.gradients.get::<D>(param.id) {
            self.sums.push((gradient.clone() * gradient).sum());
        }
    }
}

/// Copies each parameter to the host.
struct Read {
    values: Vec<f32>,
    failed: Option<Error>,
}

impl ModuleVisitor for Read {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match param.val().try_into_vec_as::<f32>() {
            Ok(values) => self.values.extend(values),
            Err(e) => self.failed = Some(Error::device(e)),
        }
    }
}

#[cfg(test)]
struct ReadGradients<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
}

#[cfg(test)]
impl ModuleVisitor for ReadGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id).unwrap();
        self.values
            .extend(gradient.try_into_vec_as::<f32>().unwrap());
    }
}

/// One AdamW step on each parameter.
struct Step<'a> {
    gradients: &'a mut GradientsParams,
    moments: &'a mut [(Tensor<1>, Tensor<1>)],
    layout: &'a Layout,
    update: &'a Update,
    shrink: f64,
    next: usize,
}

impl ModuleMapper for Step<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let (entry, pair) = (
            &self.layout.entries[self.next],
            &mut self.moments[self.next],
        );
        self.next += 1;
        let Some(gradient) = self.gradients.remove::<D>(param.id) else {
            return param;
        };
        let u = self.update;
        let gradient: Tensor<1> = gradient.flatten(0, D - 1) * self.shrink;
        let (first, second) = pair.clone();
        let first = first * u.beta1 + gradient.clone() * (1.0 - u.beta1);
        let second = second * u.beta2 + gradient.clone() * gradient * (1.0 - u.beta2);
        *pair = (first.clone(), second.clone());
        let (c1, c2) = u.corrections();
        let change = first / ((second / c2).sqrt() + u.epsilon) * (u.learning_rate / c1);
        let keep = match u.decay.applies(entry.role) {
            true => 1.0 - u.learning_rate * u.weight_decay,
            false => 1.0,
        };
        param.map(|value| {
            let value = value.inner();
            let shape = value.shape();
            let next = value * keep - change.reshape(shape);
            next.autodiff().require_grad()
        })
    }
}
