//! Word2Vec as a tensor program, for devices without kernels of ours.
//!
//! A step takes `W` windows at once, padded to the same numbers `S` of inputs and `M` of outputs.
//! Padding has weight 0. With both tables gathered by row,
//!
//! ```text
//! X = inputs[rows]                          [W, S, D], or their mean [W, 1, D]
//! Y = outputs[targets]                      [W, M, D]
//! G = weight ⊙ (label − σ(X Yᵀ))            [W, S, M]
//! inputs[rows] += G Y                       outputs[targets] += Gᵀ X
//! ```
//!
//! The gradient is the closed form: no tape, and no dense gradient of the tables. The additions
//! are scattered to the touched rows, so a step costs what its batch costs.
//!
//! All windows of a step see the rows as they were before it. The changes of a frequent word's row,
//! made without knowing of each other, would add up to far more than is left of its way, so the sum
//! of its learning rates over the pairs of a step is held to [`CAP`]: above that its changes are
//! scaled down together. Rows of other words are not scaled.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, IndexingUpdateOp, Int, Tensor, TensorData};

use super::windows::{Loss, Plan, Window, Windows, cross_entropy};
use super::worker::Piece;
use crate::{Error, Result};

/// The tables on a device.
#[derive(Debug)]
pub(super) struct Tensors {
    /// Rows of `dim` each. `None` only while a step owns them: a second owner would make the
    /// scattered addition copy the table.
    tables: Option<(Tensor<2>, Tensor<2>)>,
    dim: usize,
    device: Device,
    windows: Windows,
    window: Window,
    batch: Batch,
    /// For each row, the sum of its learning rates in this step; zeros between steps.
    load: Vec<f32>,
}

/// The sum of learning rates, over a step's pairs, up to which a row takes its changes in full.
pub(super) const CAP: f32 = 0.5;

/// Rows of a batch of windows, end to end, and how many each window has.
#[derive(Debug, Default)]
struct Ragged {
    rows: Vec<u32>,
    weights: Vec<f32>,
    lengths: Vec<usize>,
}

/// The same, padded to as many in each window as the widest has.
struct Padded {
    rows: Vec<i32>,
    weights: Vec<f32>,
    width: usize,
}

impl Ragged {
    fn push(&mut self, rows: &[u32], weights: impl IntoIterator<Item = f32>) {
        self.rows.extend_from_slice(rows);
        self.weights.extend(weights);
        self.lengths.push(rows.len());
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.weights.clear();
        self.lengths.clear();
    }

    /// Each window's part of `values`, padded with zeros.
    fn pad<T: Copy, U: Default + Clone>(&self, values: &[T], as_u: impl Fn(T) -> U) -> Vec<U> {
        let width = self.width();
        let mut padded = vec![U::default(); self.lengths.len() * width];
        let mut from = values.iter();
        for (row, &length) in padded.chunks_mut(width).zip(&self.lengths) {
            for (to, &value) in row.iter_mut().zip(from.by_ref().take(length)) {
                *to = as_u(value);
            }
        }
        padded
    }

    fn width(&self) -> usize {
        self.lengths
            .iter()
            .copied()
            .max()
            .unwrap_or_default()
            .max(1)
    }

    fn padded(&self) -> Padded {
        Padded {
            rows: self.pad(&self.rows, |row| row as i32),
            weights: self.pad(&self.weights, |weight| weight),
            width: self.width(),
        }
    }
}

/// Windows that wait for their step.
#[derive(Debug, Default)]
struct Batch {
    /// Whether the windows' inputs are means.
    composed: bool,
    inputs: Ragged,
    outputs: Ragged,
    labels: Vec<f32>,
    rates: Vec<f32>,
    pairs: usize,
}

impl Batch {
    fn push(&mut self, window: &Window, rate: f32) {
        self.composed = window.composed;
        match window.composed {
            true => {
                let ones = std::iter::repeat_n(1.0, window.inputs.len());
                self.inputs.push(&window.inputs, ones);
            }
            false => {
                let weights = window.input_weights.iter().copied();
                self.inputs.push(&window.inputs, weights);
            }
        }
        let weights = window.output_weights.iter().copied();
        self.outputs.push(&window.outputs, weights);
        self.labels.extend_from_slice(&window.labels);
        self.rates.push(rate);
        self.pairs += window.pairs;
    }

    fn clear(&mut self) {
        self.inputs.clear();
        self.outputs.clear();
        self.labels.clear();
        self.rates.clear();
        self.pairs = 0;
    }
}

impl Tensors {
    pub(super) fn new(inputs: Vec<f32>, outputs: Vec<f32>, dim: usize, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let table = |values: Vec<f32>| {
            let rows = values.len() / dim;
            Tensor::<2>::from_data(TensorData::new(values, [rows, dim]), &device)
        };
        let load = vec![0.0; inputs.len().max(outputs.len()) / dim];
        let tables = Some((table(inputs), table(outputs)));
        Self {
            tables,
            dim,
            device,
            windows: Windows::default(),
            window: Window::default(),
            batch: Batch::default(),
            load,
        }
    }

    /// Both tables, read back.
    pub(super) fn read(&self) -> Result<(Vec<f32>, Vec<f32>)> {
        let (inputs, outputs) = self.tables.as_ref().ok_or_else(|| device("no tables"))?;
        Ok((values(inputs.clone())?, values(outputs.clone())?))
    }

    /// Trains on one piece of the corpus in steps of `batch` windows; the first step is measured.
    pub(super) fn train(
        &mut self,
        plan: &Plan,
        batch: usize,
        mut piece: Piece<'_>,
    ) -> Result<Loss> {
        let mut loss = None;
        let mut windows = std::mem::take(&mut self.windows);
        let mut window = std::mem::take(&mut self.window);
        let mut result = Ok(());
        let sentences = piece.sentences(plan);
        let rng = &mut piece.rng;
        windows.begin(plan, rng);
        for (sentence, number, rate) in sentences {
            plan.windows(
                &mut windows,
                &mut window,
                (sentence, number),
                rng,
                |window| {
                    let full = self.batch.rates.len() >= batch;
                    let other = self.batch.composed != window.composed;
                    if result.is_ok() && !self.batch.rates.is_empty() && (full || other) {
                        result = self.step(&mut loss);
                    }
                    self.batch.push(window, rate);
                },
            );
        }
        self.window = window;
        self.windows = windows;
        result?;
        if !self.batch.rates.is_empty() {
            self.step(&mut loss)?;
        }
        Ok(loss.unwrap_or_default())
    }

    /// Steps on the waiting windows. `loss` is filled when it is empty, which waits for the device.
    fn step(&mut self, loss: &mut Option<Loss>) -> Result<()> {
        let (inputs, outputs) = self.tables.take().ok_or_else(|| device("no tables"))?;
        let (batch, d, dev) = (&self.batch, self.dim, &self.device);
        let (w, composed) = (batch.rates.len(), batch.composed);
        let (ins, outs) = (batch.inputs.padded(), batch.outputs.padded());
        let (s, m) = (ins.width, outs.width);
        // The rows of X a window has, and their weights.
        let (b, weights) = match composed {
            true => (1, vec![1.0; w]),
            false => (s, ins.weights.clone()),
        };
        let sums = |weights: &[f32], width: usize| -> Vec<f32> {
            weights.chunks(width).map(|row| row.iter().sum()).collect()
        };
        let (rows_of, targets_of) = (sums(&weights, b), sums(&outs.weights, m));
        let scale = |load: &mut [f32], padded: &Padded, others: &[f32]| {
            let n = padded.rows.len();
            let scale = caps(load, &padded.rows, |i| {
                let window = i / padded.width;
                padded.weights[i] * batch.rates[window] * others[window]
            });
            Tensor::<2>::from_data(TensorData::new(scale, [n, 1]), dev)
        };
        let scale_inputs = scale(&mut self.load, &ins, &targets_of);
        let scale_outputs = scale(&mut self.load, &outs, &rows_of);
        let index = |ids: Vec<i32>| {
            let n = ids.len();
            Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), dev)
        };
        let real = |values: Vec<f32>, shape: [usize; 3]| {
            Tensor::<3>::from_data(TensorData::new(values, shape), dev)
        };
        let labels = batch.outputs.pad(&batch.labels, |label| label);
        let label = real(labels.clone(), [w, 1, m]);
        let per_target = real(outs.weights.clone(), [w, 1, m]);
        let steps = weights
            .iter()
            .zip(0..)
            .map(|(weight, i)| weight * batch.rates[i / b]);
        let per_row = real(steps.collect(), [w, b, 1]);
        let part = real(ins.weights, [w, s, 1]);
        let (rows, targets) = (index(ins.rows), index(outs.rows));

        let gathered = inputs.clone().select(0, rows.clone()).reshape([w, s, d]);
        let x = match composed {
            false => gathered,
            true => (gathered * part.clone()).sum_dim(1) / part.clone().sum_dim(1),
        };
        let y = outputs
            .clone()
            .select(0, targets.clone())
            .reshape([w, m, d]);
        let logits = x.clone().matmul(y.clone().swap_dims(1, 2)); // [W, B, M]
        if loss.is_none() {
            let mut sum = 0.0;
            for (i, (row, &weight)) in values(logits.clone())?.chunks(m).zip(&weights).enumerate() {
                let at = i / b * m;
                let (w, l) = (&outs.weights[at..at + m], &labels[at..at + m]);
                if weight != 0.0 {
                    sum += f64::from(weight) * cross_entropy(row, w, l);
                }
            }
            *loss = Some(Loss {
                sum,
                pairs: batch.pairs as f64,
            });
        }
        let g = (label - sigmoid(logits)) * per_row * per_target; // [W, B, M]
        let change = g.clone().matmul(y); // [W, B, D]
        let change = match composed {
            false => change,
            true => change * part, // for each row the mean is made of
        };
        let to_inputs = change.reshape([w * s, d]) * scale_inputs;
        let to_outputs = g.swap_dims(1, 2).matmul(x).reshape([w * m, d]) * scale_outputs;
        self.tables = Some((
            inputs.select_assign(0, rows, to_inputs, IndexingUpdateOp::Add),
            outputs.select_assign(0, targets, to_outputs, IndexingUpdateOp::Add),
        ));
        self.batch.clear();
        Ok(())
    }
}

/// How much of each row's change to apply: `min(1, CAP / load)`, the load summed over its places.
fn caps(load: &mut [f32], rows: &[i32], of: impl Fn(usize) -> f32) -> Vec<f32> {
    for (i, &row) in rows.iter().enumerate() {
        load[row as usize] += of(i);
    }
    let scales = rows
        .iter()
        .map(|&row| (CAP / load[row as usize]).min(1.0))
        .collect();
    for &row in rows {
        load[row as usize] = 0.0;
    }
    scales
}

fn values<const D: usize>(tensor: Tensor<D>) -> Result<Vec<f32>> {
    tensor
        .into_data()
        .try_into_vec::<f32>()
        .map_err(|e| device(&format!("{e:?}")))
}

fn device(reason: &str) -> Error {
    Error::Device {
        reason: reason.to_string(),
    }
}
