//! Training: gradients by burn's autodiff, and the state that each lane of a stream carries on.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};

use super::program::{Network, Program};
use super::{PIECE, RnnConfig, RnnLm};
use crate::adamw::{self, Moments};
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::entries::Entry;
use crate::rnn::{Cell, RecurrentState};
use crate::{Error, Result};

pub(super) struct RnnEngine {
    program: Program,
    config: RnnConfig,
    vocabulary: usize,
    entries: Vec<Entry>,
    /// With autodiff.
    device: Device,
    gradients: GradientsAccumulator<Network>,
    moments: Moments,
    /// What each lane has left behind: the hidden states of its layers, then the cell states.
    lanes: Vec<f32>,
}

impl RnnEngine {
    pub(super) fn new(model: &RnnLm) -> Result<Self> {
        let device = model.device.clone().autodiff();
        let (config, vocabulary) = (&model.config, model.vocabulary.len());
        Ok(Self {
            program: Program::new(config, vocabulary, &model.weights, &device)?,
            config: config.clone(),
            vocabulary,
            entries: model.entries.to_vec(),
            gradients: GradientsAccumulator::new(),
            moments: adamw::moments(&model.entries, None, &device),
            device,
            lanes: Vec::new(),
        })
    }

    /// Kinds of state: hidden, and the LSTM's cell.
    fn kinds(&self) -> usize {
        if self.config.cell == Cell::Lstm { 2 } else { 1 }
    }

    /// Values of one lane's state.
    fn lane_size(&self) -> usize {
        self.kinds() * self.config.layers * self.config.width
    }

    /// What the lanes of a batch left behind, zeros where one begins; `None` where all do.
    fn carried(&self, batch: &[Example]) -> Option<RecurrentState> {
        let going_on = |e: &Example| e.lane.is_some_and(|lane| !lane.begins);
        if !batch.iter().any(going_on) {
            return None;
        }
        let (layers, width) = (self.config.layers, self.config.width);
        let plain = self.device.clone().inner();
        let kind = |kind: usize| {
            // [layers, batch, width]
            let mut values = vec![0.0f32; layers * batch.len() * width];
            for (b, example) in batch.iter().enumerate() {
                let Some(lane) = example.lane.filter(|lane| !lane.begins) else {
                    continue;
                };
                let from = lane.index * self.lane_size() + kind * layers * width;
                let states = self.lanes.get(from..).unwrap_or_default();
                let rows = values.chunks_exact_mut(width).skip(b).step_by(batch.len());
                for (row, state) in rows.zip(states.chunks_exact(width)) {
                    row.copy_from_slice(state);
                }
            }
            let shape = [layers, batch.len(), width];
            Tensor::from_data(TensorData::new(values, shape), &plain)
        };
        Some(RecurrentState {
            hidden: kind(0),
            cell: (self.kinds() == 2).then(|| kind(1)),
        })
    }

    fn leave(&mut self, batch: &[Example], state: RecurrentState) -> Result<()> {
        let Some(most) = batch.iter().filter_map(|e| e.lane).map(|l| l.index).max() else {
            return Ok(());
        };
        let (size, width) = (self.lane_size(), self.config.width);
        if self.lanes.len() < (most + 1) * size {
            self.lanes.resize((most + 1) * size, 0.0);
        }
        let all = std::iter::once(state.hidden).chain(state.cell);
        for (kind, tensor) in all.enumerate() {
            let values = tensor.inner().try_into_vec_as::<f32>();
            let values = values.map_err(Error::device)?;
            for (b, example) in batch.iter().enumerate() {
                let Some(lane) = example.lane else { continue };
                let from = lane.index * size + kind * self.config.layers * width;
                let states = self.lanes.get_mut(from..).unwrap_or_default();
                let rows = values.chunks_exact(width).skip(b).step_by(batch.len());
                for (state, row) in states.chunks_exact_mut(width).zip(rows) {
                    state.copy_from_slice(row);
                }
            }
        }
        Ok(())
    }
}

impl Engine for RnnEngine {
    fn accumulate(
        &mut self,
        batch: &[Example],
        scale: f64,
        dropout: Option<Dropout>,
    ) -> Result<f64> {
        let (loss, state) = self.program.loss(batch, self.carried(batch), dropout)?;
        let gradients = (loss.clone() * scale).backward();
        let own = GradientsParams::from_grads(gradients, &self.program.network);
        self.gradients.accumulate(&self.program.network, own);
        self.leave(batch, state)?;
        let loss = loss.inner().try_into_scalar::<f32>();
        loss.map(f64::from).map_err(Error::device)
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let mut gradients = self.gradients.grads();
        let (network, entries) = (self.program.network.clone(), &self.entries);
        let (network, norm) =
            adamw::step(network, &mut gradients, &mut self.moments, entries, update)?;
        self.program.network = network;
        Ok(norm)
    }

    /// Examples of any length are read in pieces, the state carried on.
    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        let program = self.program.valid();
        let longest = batch.iter().map(Example::len).max().unwrap_or(0);
        let (mut state, mut sum) = (None, 0.0);
        for start in (0..longest).step_by(PIECE) {
            let piece: Vec<Example> = batch.iter().map(|e| e.piece(start, PIECE)).collect();
            let (loss, end) = program.loss(&piece, state, None)?;
            let loss = loss.try_into_scalar::<f32>().map_err(Error::device)?;
            sum += f64::from(loss);
            state = Some(end);
        }
        Ok(sum)
    }

    fn weights(&self) -> Result<Vec<f32>> {
        adamw::read(&self.program.network.valid())
    }

    fn parameters(&self) -> Result<Parameters> {
        let (first, second) = adamw::read_moments(&self.moments)?;
        Ok(Parameters {
            weights: self.weights()?,
            first,
            second,
            lanes: self.lanes.clone(),
        })
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.program = Program::new(
            &self.config,
            self.vocabulary,
            &parameters.weights,
            &self.device,
        )?;
        self.gradients = GradientsAccumulator::new();
        self.moments = adamw::moments(&self.entries, Some(&parameters), &self.device);
        self.lanes = parameters.lanes;
        Ok(())
    }

    #[cfg(test)]
    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        adamw::read_gradients(&self.program.network, &self.gradients.grads())
    }
}
