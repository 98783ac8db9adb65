//! Skip-gram as a tensor program, for devices without kernels of ours.
//!
//! A step takes `W` windows at once, padded to the same number `S` of contexts; `M` is one centre
//! word and its negatives. Padding has weight 0. With both tables gathered by row,
//!
//! ```text
//! X = inputs[contexts]     [W, S, D]        Y = outputs[targets]     [W, M, D]
//! G = weight ⊙ (label − σ(X Yᵀ))            [W, S, M]
//! inputs[contexts] += G Y                   outputs[targets] += Gᵀ X
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
use refrain_core::rng::Stream;

use super::chunks::MAX_SENTENCE;
use super::worker::{Loss, Plan, Windows};
use crate::vocabulary::END;
use crate::{Error, Result};

/// The tables on a device.
#[derive(Debug)]
pub(super) struct Tensors {
    /// `[words, dim]` each. `None` only while a step owns them: a second owner would make the
    /// scattered addition copy the table.
    tables: Option<(Tensor<2>, Tensor<2>)>,
    dim: usize,
    device: Device,
    windows: Windows,
    batch: Batch,
    /// For each word, the sum of learning rates of its row in this step; zeros between steps.
    load: Vec<f32>,
}

/// The sum of learning rates, over a step's pairs, up to which a row takes its changes in full.
pub(super) const CAP: f32 = 0.5;

/// Windows that wait for their step.
#[derive(Debug, Default)]
struct Batch {
    windows: usize,
    /// All contexts end to end, and how many each window has.
    contexts: Vec<u32>,
    lengths: Vec<usize>,
    rates: Vec<f32>,
    /// `[W, M]`; the weight of a negative that was the centre is 0.
    targets: Vec<i32>,
    weights: Vec<f32>,
}

impl Batch {
    fn push(&mut self, centre: u32, contexts: &[u32], negatives: &[u32], drawn: usize, rate: f32) {
        self.windows += 1;
        self.contexts.extend_from_slice(contexts);
        self.lengths.push(contexts.len());
        self.rates.push(rate);
        let padding = drawn.saturating_sub(negatives.len());
        self.targets.push(centre as i32);
        self.targets.extend(negatives.iter().map(|&n| n as i32));
        self.targets
            .extend(std::iter::repeat_n(centre as i32, padding));
        self.weights
            .extend(std::iter::repeat_n(1.0, 1 + negatives.len()));
        self.weights.extend(std::iter::repeat_n(0.0, padding));
    }

    fn clear(&mut self) {
        self.windows = 0;
        self.contexts.clear();
        self.lengths.clear();
        self.rates.clear();
        self.targets.clear();
        self.weights.clear();
    }

    /// Contexts and their weights, padded to `[W, S]`, and `S`.
    fn padded(&self) -> (Vec<i32>, Vec<f32>, usize) {
        let widest = self.lengths.iter().copied().max().unwrap_or_default();
        let mut contexts = vec![0; self.windows * widest];
        let mut weights = vec![0.0; self.windows * widest];
        let mut from = 0;
        for (w, (&length, &rate)) in self.lengths.iter().zip(&self.rates).enumerate() {
            let at = w * widest;
            for i in 0..length {
                contexts[at + i] = self.contexts[from + i] as i32;
                weights[at + i] = rate;
            }
            from += length;
        }
        (contexts, weights, widest)
    }
}

impl Tensors {
    pub(super) fn new(inputs: Vec<f32>, outputs: Vec<f32>, dim: usize, device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let table = |values: Vec<f32>| {
            let rows = values.len() / dim;
            Tensor::<2>::from_data(TensorData::new(values, [rows, dim]), &device)
        };
        let load = vec![0.0; inputs.len() / dim];
        let tables = Some((table(inputs), table(outputs)));
        Self {
            tables,
            dim,
            device,
            windows: Windows::default(),
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
        piece: &[u32],
        mut done: u64,
        mut rng: Stream,
    ) -> Result<Loss> {
        let mut loss = None;
        let mut windows = std::mem::take(&mut self.windows);
        let mut result = Ok(());
        for sentence in piece
            .split(|&id| id == END)
            .flat_map(|s| s.chunks(MAX_SENTENCE))
        {
            let rate = plan.rate(done) as f32;
            done += sentence.len() as u64;
            windows.draw(plan, sentence, &mut rng, |centre, contexts, negatives| {
                self.batch
                    .push(centre, contexts, negatives, plan.negatives_per_window, rate);
                if self.batch.windows >= batch && result.is_ok() {
                    result = self.step(&mut loss);
                }
            });
        }
        self.windows = windows;
        result?;
        if self.batch.windows > 0 {
            self.step(&mut loss)?;
        }
        Ok(loss.unwrap_or_default())
    }

    /// Steps on the waiting windows. `loss` is filled when it is empty, which waits for the device.
    fn step(&mut self, loss: &mut Option<Loss>) -> Result<()> {
        let (inputs, outputs) = self.tables.take().ok_or_else(|| device("no tables"))?;
        let (contexts, rates, s) = self.batch.padded();
        let (w, d) = (self.batch.windows, self.dim);
        let m = self.batch.targets.len() / w.max(1);
        let dev = &self.device;
        let scales = [
            caps(&mut self.load, &contexts, |i| {
                rates[i] * self.batch.pairs_of_context(i / s, m)
            }),
            caps(&mut self.load, &self.batch.targets, |i| {
                self.batch.load_of_target(i, m)
            }),
        ];
        let [scale_inputs, scale_outputs] = scales.map(|scale| {
            let n = scale.len();
            Tensor::<2>::from_data(TensorData::new(scale, [n, 1]), dev)
        });
        let index = |ids: Vec<i32>| {
            let n = ids.len();
            Tensor::<1, Int>::from_data(TensorData::new(ids, [n]), dev)
        };
        let contexts = index(contexts);
        let targets = index(std::mem::take(&mut self.batch.targets));
        let per_context = Tensor::<3>::from_data(TensorData::new(rates.clone(), [w, s, 1]), dev);
        let per_target =
            Tensor::<3>::from_data(TensorData::new(self.batch.weights.clone(), [w, 1, m]), dev);
        let mut label = vec![0.0f32; m];
        label[..1].fill(1.0);
        let label = Tensor::<3>::from_data(TensorData::new(label, [1, 1, m]), dev);

        let x = inputs
            .clone()
            .select(0, contexts.clone())
            .reshape([w, s, d]);
        let y = outputs
            .clone()
            .select(0, targets.clone())
            .reshape([w, m, d]);
        let logits = x.clone().matmul(y.clone().swap_dims(1, 2)); // [W, S, M]
        if loss.is_none() {
            *loss = Some(self.batch.loss(&values(logits.clone())?, &rates));
        }
        let g = (label - sigmoid(logits)) * per_context * per_target; // [W, S, M]
        let to_inputs = g.clone().matmul(y).reshape([w * s, d]) * scale_inputs;
        let to_outputs = g.swap_dims(1, 2).matmul(x).reshape([w * m, d]) * scale_outputs;
        self.tables = Some((
            inputs.select_assign(0, contexts, to_inputs, IndexingUpdateOp::Add),
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

impl Batch {
    /// How many pairs a context of window `w` is part of.
    fn pairs_of_context(&self, w: usize, m: usize) -> f32 {
        self.weights[w * m..(w + 1) * m].iter().sum()
    }

    /// The sum of learning rates of target number `i`.
    fn load_of_target(&self, i: usize, m: usize) -> f32 {
        self.weights[i] * self.rates[i / m] * self.lengths[i / m] as f32
    }

    /// The loss of the windows from their logits `[W, S, M]`.
    fn loss(&self, logits: &[f32], per_context: &[f32]) -> Loss {
        let mut loss = Loss::default();
        let m = self.weights.len() / self.windows.max(1);
        let s = per_context.len() / self.windows.max(1);
        for (i, row) in logits.chunks_exact(m.max(1)).enumerate() {
            if per_context.get(i).is_none_or(|&weight| weight == 0.0) {
                continue;
            }
            let weights = &self.weights[i / s * m..][..m];
            let pairs = row
                .iter()
                .zip(weights)
                .enumerate()
                .map(|(j, (&logit, &weight))| {
                    let signed = if j == 0 {
                        -f64::from(logit)
                    } else {
                        f64::from(logit)
                    };
                    f64::from(weight) * super::worker::softplus(signed)
                });
            loss.add((pairs.sum(), 1.0));
        }
        loss
    }
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
