//! Training on slices: whole sequences are shared out over the threads.

use rayon::prelude::*;

use super::slices::Slices;
use super::tape::Tape;
use super::{PIECE, RnnLm, lanes};
use crate::Result;
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::entries::Entry;
use crate::kernels::adam;
use crate::kernels::engine::{shares, sum_of_gradients};

/// One thread's share: its buffers and its part of the gradient.
#[derive(Default)]
struct Worker {
    tape: Tape,
    gradient: Vec<f32>,
    states: Vec<f32>,
    loss: f64,
}

pub(super) struct RnnKernelEngine {
    network: Slices,
    entries: Vec<Entry>,
    parameters: Parameters,
    /// The first worker's gradient is the sum.
    workers: Vec<Worker>,
    smoothing: f32,
}

impl RnnKernelEngine {
    pub(super) fn new(model: &RnnLm) -> Self {
        let zeros = || vec![0.0; model.weights.len()];
        Self {
            network: Slices::new(&model.config, model.vocabulary.len()),
            entries: model.entries.to_vec(),
            parameters: Parameters {
                weights: model.weights.to_vec(),
                first: zeros(),
                second: zeros(),
                lanes: Vec::new(),
            },
            workers: Vec::new(),
            smoothing: 0.0,
        }
    }
}

impl Engine for RnnKernelEngine {
    fn accumulate(
        &mut self,
        batch: &[Example],
        scale: f64,
        dropout: Option<Dropout>,
    ) -> Result<f64> {
        let shares = shares(batch, rayon::current_num_threads());
        if self.workers.len() < shares.len() {
            self.workers.resize_with(shares.len(), Worker::default);
        }
        let (network, parameters) = (&self.network, &self.parameters);
        let (weights, size) = (&parameters.weights, network.state_size());
        let smoothing = self.smoothing;
        let work = self.workers.par_iter_mut().zip(&shares).with_max_len(1);
        work.for_each(|(worker, share)| {
            worker.gradient.resize(weights.len(), 0.0);
            worker.states = lanes::take(&parameters.lanes, share, size);
            let (states, tape) = (&mut worker.states, &mut worker.tape);
            tape.smoothing = smoothing;
            network.forward(weights, share, states, dropout, tape);
            let gradient = Some(worker.gradient.as_mut_slice());
            worker.loss = network.loss(weights, gradient, share, scale, tape);
        });
        let mut sum = 0.0;
        for (worker, share) in self.workers.iter().zip(&shares) {
            lanes::leave(&mut self.parameters.lanes, share, size, &worker.states);
            sum += worker.loss;
        }
        Ok(sum)
    }

    fn smooth_labels(&mut self, share: f32) {
        self.smoothing = share;
    }

    fn update(&mut self, update: &Update) -> Result<f64> {
        let Some((sum, others)) = self.workers.split_first_mut() else {
            return Ok(0.0);
        };
        sum_of_gradients(
            &mut sum.gradient,
            others.iter().map(|w| w.gradient.as_slice()),
        );
        let norm = adam::norm(&sum.gradient);
        if norm.is_finite() {
            let shrink = update.shrink(norm);
            adam::step(
                &mut self.parameters,
                &sum.gradient,
                &self.entries,
                update,
                shrink,
            );
        }
        let workers = self.workers.par_iter_mut();
        workers.for_each(|w| w.gradient.fill(0.0));
        Ok(norm)
    }

    /// Examples of any length are read in pieces, the state carried on.
    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        let (network, weights) = (&self.network, &self.parameters.weights);
        let shares = shares(batch, rayon::current_num_threads());
        let losses: Vec<f64> = shares
            .par_iter()
            .with_max_len(1)
            .map(|share| {
                let mut tape = Tape::default();
                let mut states = vec![0.0; share.len() * network.state_size()];
                let longest = share.iter().map(Example::len).max().unwrap_or(0);
                let mut sum = 0.0;
                for start in (0..longest).step_by(PIECE) {
                    let piece: Vec<Example> = share.iter().map(|e| e.piece(start, PIECE)).collect();
                    network.forward(weights, &piece, &mut states, None, &mut tape);
                    sum += network.loss(weights, None, &piece, 1.0, &mut tape);
                }
                sum
            })
            .collect();
        Ok(losses.iter().sum())
    }

    fn weights(&self) -> Result<Vec<f32>> {
        Ok(self.parameters.weights.clone())
    }

    fn parameters(&self) -> Result<Parameters> {
        Ok(self.parameters.clone())
    }

    fn restore(&mut self, parameters: Parameters) -> Result<()> {
        self.parameters = parameters;
        self.workers.clear();
        Ok(())
    }

    fn replace_weights(&mut self, weights: &[f32]) -> Result<()> {
        self.parameters.weights.copy_from_slice(weights);
        Ok(())
    }

    fn take_gradient(&mut self) -> Result<Vec<f32>> {
        let mut sum = vec![0.0; self.parameters.weights.len()];
        for worker in &mut self.workers {
            sum.iter_mut()
                .zip(&worker.gradient)
                .for_each(|(s, g)| *s += g);
            worker.gradient.fill(0.0);
        }
        Ok(sum)
    }
}
