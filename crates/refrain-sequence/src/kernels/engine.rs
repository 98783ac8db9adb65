//! Training with the kernels: whole sequences are shared out over the threads.

use rayon::prelude::*;

use super::adam;
use super::network::{Network, Tape};
use super::norm::add;
use crate::Result;
use crate::batch::{Dropout, Example};
use crate::engine::{Engine, Parameters, Update};
use crate::transformer::config::TransformerConfig;
use crate::transformer::layout::Layout;

/// Rows of one tile: enough for the matrix products, few enough for the caches.
const TILE: usize = 512;

/// One thread's share: its sequences' buffers and its part of the gradient.
#[derive(Default)]
struct Worker {
    tape: Tape,
    gradient: Vec<f32>,
    loss: f64,
}

pub(crate) struct KernelEngine {
    network: Network,
    parameters: Parameters,
    /// The first worker's gradient is the sum.
    workers: Vec<Worker>,
    smoothing: f32,
}

impl KernelEngine {
    pub(crate) fn new(config: &TransformerConfig, layout: &Layout, weights: &[f32]) -> Self {
        let zeros = || vec![0.0; layout.total];
        let parameters = Parameters {
            weights: weights.to_vec(),
            first: zeros(),
            second: zeros(),
            lanes: Vec::new(),
        };
        Self {
            network: Network::new(config, layout),
            parameters,
            workers: Vec::new(),
            smoothing: 0.0,
        }
    }
}

/// Shares sequences out evenly: the longest first, each to whoever has least.
pub(crate) fn shares(batch: &[Example], workers: usize) -> Vec<Vec<Example>> {
    let mut order: Vec<&Example> = batch.iter().collect();
    order.sort_by_key(|e| std::cmp::Reverse(e.len()));
    let mut shares = vec![(0usize, Vec::new()); workers.clamp(1, batch.len().max(1))];
    for example in order {
        if let Some((load, share)) = shares.iter_mut().min_by_key(|(load, _)| *load) {
            *load += example.len();
            share.push(example.clone());
        }
    }
    shares.into_iter().map(|(_, share)| share).collect()
}

/// Adds the other workers' gradients to the first one's.
pub(crate) fn sum_of_gradients<'a>(sum: &mut [f32], others: impl Iterator<Item = &'a [f32]>) {
    let others: Vec<&[f32]> = others.collect();
    sum.par_chunks_mut(1 << 14)
        .enumerate()
        .for_each(|(i, chunk)| {
            for other in &others {
                let start = (i << 14).min(other.len());
                let end = (start + chunk.len()).min(other.len());
                add(chunk, &other[start..end]);
            }
        });
}

/// Cuts a share into tiles of at most [`TILE`] rows, or one longer sequence.
fn tiles(share: &[Example]) -> Vec<&[Example]> {
    let mut tiles = Vec::new();
    let (mut start, mut rows) = (0, 0);
    for (i, example) in share.iter().enumerate() {
        if i > start && rows + example.len() > TILE {
            tiles.push(&share[start..i]);
            (start, rows) = (i, 0);
        }
        rows += example.len();
    }
    if start < share.len() {
        tiles.push(&share[start..]);
    }
    tiles
}

impl Engine for KernelEngine {
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
        let (network, weights) = (&self.network, &self.parameters.weights);
        let smoothing = self.smoothing;
        self.workers
            .par_iter_mut()
            .zip(&shares)
            .with_max_len(1)
            .for_each(|(worker, share)| {
                worker.gradient.resize(weights.len(), 0.0);
                worker.loss = 0.0;
                worker.tape.smoothing = smoothing;
                for tile in tiles(share) {
                    let tape = &mut worker.tape;
                    worker.loss += network.forward(weights, tile, scale as f32, dropout, tape);
                    network.backward(weights, &mut worker.gradient, tile, dropout, tape);
                }
            });
        Ok(self.workers.iter().take(shares.len()).map(|w| w.loss).sum())
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
            let entries = &self.network.layout.entries;
            let shrink = update.shrink(norm);
            adam::step(&mut self.parameters, &sum.gradient, entries, update, shrink);
        }
        self.workers
            .par_iter_mut()
            .for_each(|w| w.gradient.fill(0.0));
        Ok(norm)
    }

    fn evaluate(&self, batch: &[Example]) -> Result<f64> {
        let (network, weights) = (&self.network, &self.parameters.weights);
        let losses: Vec<f64> = shares(batch, rayon::current_num_threads())
            .par_iter()
            .with_max_len(1)
            .map(|share| {
                let mut tape = Tape::default();
                tiles(share)
                    .into_iter()
                    .map(|tile| network.forward(weights, tile, 1.0, None, &mut tape))
                    .sum()
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
            if !worker.gradient.is_empty() {
                add(&mut sum, &worker.gradient);
            }
            worker.gradient.fill(0.0);
        }
        Ok(sum)
    }
}
