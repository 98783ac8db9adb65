//! Training the tensor program: gradients by burn's autodiff, and the state that each lane of a stream carries on.

use burn::module::Module;
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};

use super::program::{Network, Program};
use super::slices::Slices;
use super::{PIECE, RnnConfig, RnnLm, lanes};
use crate::adamw::{self, Moments};
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::entries::Entry;
use crate::rnn::RecurrentState;
use crate::transformer::{Compute, taped};
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
    /// For the size of a state.
    network: Slices,
    smoothing: f32,
}

impl RnnEngine {
    pub(super) fn new(model: &RnnLm, compute: Compute) -> Result<Self> {
        let device = taped(compute, &model.device);
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
            network: Slices::new(config, vocabulary),
            smoothing: 0.0,
        })
    }

    /// What the lanes of a batch left behind.
    fn carried(&self, batch: &[Example]) -> RecurrentState {
        let (layers, width) = (self.config.layers, self.config.width);
        let states = lanes::take(&self.lanes, batch, self.network.state_size());
        let kinds = states.len() / batch.len().max(1) / width;
        let plain = self.device.clone().inner();
        let data = TensorData::new(states, [batch.len(), kinds, width]);
        // [hidden and cell states of the layers, batch, width]
        let states = Tensor::<3>::from_data(data, &plain).swap_dims(0, 1);
        let cell = kinds > layers;
        RecurrentState {
            hidden: states.clone().narrow(0, 0, layers),
            cell: cell.then(|| states.narrow(0, layers, layers)),
        }
    }

    fn leave(&mut self, batch: &[Example], state: RecurrentState) -> Result<()> {
        let all = std::iter::once(state.hidden).chain(state.cell);
        let all = Tensor::cat(all.map(Tensor::inner).collect(), 0).swap_dims(0, 1);
        let states = all.try_into_vec_as::<f32>().map_err(Error::device)?;
        let size = self.network.state_size();
        lanes::leave(&mut self.lanes, batch, size, &states);
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
        let carried = batch.iter().any(|e| e.lane.is_some());
        let begin = carried.then(|| self.carried(batch));
        let (loss, state) = self.program.loss(batch, begin, dropout, self.smoothing)?;
        let gradients = (loss.clone() * scale).backward();
        let own = GradientsParams::from_grads(gradients, &self.program.network);
        self.gradients.accumulate(&self.program.network, own);
        if carried {
            self.leave(batch, state)?;
        }
        let loss = loss.inner().try_into_scalar::<f32>();
        loss.map(f64::from).map_err(Error::device)
    }

    fn smooth_labels(&mut self, share: f32) {
        self.smoothing = share;
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
            let (loss, end) = program.loss(&piece, state, None, 0.0)?;
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
        self.replace_weights(&parameters.weights)?;
        self.moments = adamw::moments(&self.entries, Some(&parameters), &self.device);
        self.lanes = parameters.lanes;
        Ok(())
    }

    fn replace_weights(&mut self, weights: &[f32]) -> Result<()> {
        self.program = Program::new(&self.config, self.vocabulary, weights, &self.device)?;
        self.gradients = GradientsAccumulator::new();
        Ok(())
    }

    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        adamw::read_gradients(&self.program.network, &self.gradients.grads())
    }
}
