//! One step of training: vectors of the histories, the body, the loss, and back.
//!
//! On the CPU the sequences of a batch are divided into shares, by their number alone, so that the
//! same bits come out of any number of threads; a share goes through body and loss as a few large
//! matrix products. Other devices run the same step as a tensor program over padded rows, with the
//! loss in the same closed form.

use burn::tensor::activation::{log_softmax, sigmoid, softmax};
use burn::tensor::{Device, Int, Tensor, TensorData};
use rayon::prelude::*;
use refrain_sequence::parts::{Dropout, Into, Mat, MatMut, Rows, product};

use super::body::{Body, BodyTape, Program, device_error};
use super::objective::{Candidates, NONE, gradients};
use super::table::{Adam, Gathered, Table};
use super::training::NextItemLoss;
use crate::Result;

/// What a step learns from.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) sequences: Vec<Rows>,
    /// Rows of the table, of all sequences one behind the other.
    pub(super) inputs: Vec<u32>,
    /// The item that each should lead to, or [`NONE`].
    pub(super) targets: Vec<u32>,
}

/// Sequences in a share.
const SHARE: usize = 16;
/// The most shares; each has a gradient of its own.
const MOST_SHARES: usize = 16;

/// The part of a step that one thread computes.
#[derive(Default)]
struct Share {
    tape: BodyTape,
    x: Vec<f32>,
    /// Vectors and targets of the scored rows.
    hidden: Vec<f32>,
    targets: Vec<u32>,
    logits: Vec<f32>,
    own: Vec<f32>,
    own_rows: Vec<f32>,
    dhidden: Vec<f32>,
    dy: Vec<f32>,
    dx: Vec<f32>,
    dcandidates: Vec<f32>,
    gradient: Vec<f32>,
    loss: f64,
}

enum Way {
    Kernels {
        weights: Vec<f32>,
        first: Vec<f32>,
        second: Vec<f32>,
        shares: Vec<Share>,
    },
    Program {
        program: Program,
        device: Device,
    },
}

pub(super) struct Engine {
    body: Body,
    pub(super) table: Table,
    /// What a vector is multiplied with before it enters the body.
    pub(super) scale: f32,
    /// How many rows of the table are items.
    items: usize,
    loss: NextItemLoss,
    way: Way,
}

impl Engine {
    pub(super) fn new(
        body: Body,
        table: Table,
        scale: f32,
        items: usize,
        loss: NextItemLoss,
        seed: u64,
        device: &Device,
    ) -> Self {
        let weights = body.initial(seed);
        let way = match refrain_core::is_cpu(device) {
            true => Way::Kernels {
                first: vec![0.0; weights.len()],
                second: vec![0.0; weights.len()],
                weights,
                shares: Vec::new(),
            },
            false => Way::Program {
                program: body.program(&weights, device),
                device: device.clone().without_autodiff(),
            },
        };
        Self {
            body,
            table,
            scale,
            items,
            loss,
            way,
        }
    }

    /// Computes by the tensor program from here on.
    #[cfg(test)]
    pub(super) fn use_program(&mut self, device: &Device) {
        if let Ok(weights) = self.weights() {
            self.way = Way::Program {
                program: self.body.program(&weights, device),
                device: device.clone().without_autodiff(),
            };
        }
    }

    /// The body's weights.
    pub(super) fn weights(&self) -> Result<Vec<f32>> {
        match &self.way {
            Way::Kernels { weights, .. } => Ok(weights.clone()),
            Way::Program { program, .. } => program.weights(),
        }
    }

    /// The body's weights and Adam's moments, each flat.
    pub(super) fn parameters(&self) -> Result<[Vec<f32>; 3]> {
        match &self.way {
            Way::Kernels {
                weights,
                first,
                second,
                ..
            } => Ok([weights.clone(), first.clone(), second.clone()]),
            Way::Program { program, .. } => program.parameters(),
        }
    }

    /// Takes back what [`parameters`](Self::parameters) told.
    pub(super) fn restore(&mut self, parameters: [Vec<f32>; 3]) -> Result<()> {
        match &mut self.way {
            Way::Kernels {
                weights,
                first,
                second,
                ..
            } => {
                [*weights, *first, *second] = parameters;
                Ok(())
            }
            Way::Program { program, .. } => program.restore(parameters),
        }
    }

    /// One step; returns the mean loss.
    pub(super) fn step(
        &mut self,
        batch: &Batch,
        candidates: &Candidates,
        dropout: Option<Dropout>,
        adam: Adam,
    ) -> Result<f64> {
        let scored = batch.targets.iter().filter(|&&t| t != NONE).count();
        if scored == 0 {
            return Ok(0.0);
        }
        self.table.begin(adam.step);
        let composed = !candidates.all || self.table.has_features();
        let mut rows = Vec::new();
        if composed {
            self.table.gather(&candidates.items, 1.0, &mut rows);
        }
        let width = self.table.width;
        let matrix = match composed {
            true => &rows[..],
            false => &self.table.rows[..self.items * width],
        };
        let task = Task {
            batch,
            candidates,
            matrix,
            table: &self.table,
            scale: self.scale,
            items: self.items,
            loss: self.loss,
            dropout,
            share: 1.0 / scored as f32,
        };
        match &mut self.way {
            Way::Kernels {
                weights,
                first,
                second,
                shares,
            } => {
                let loss = task.on_slices(&self.body, weights, shares);
                if !loss.is_finite() {
                    return Ok(loss);
                }
                let Some((sum, others)) = shares.split_first_mut() else {
                    return Ok(0.0);
                };
                for other in others.iter() {
                    add(&mut sum.gradient, &other.gradient);
                    add(&mut sum.dcandidates, &other.dcandidates);
                }
                let Some(sum) = shares.first() else {
                    return Ok(0.0);
                };
                adam.apply(weights, first, second, &sum.gradient);
                let mut parts = vec![Gathered {
                    items: &candidates.items,
                    values: &sum.dcandidates,
                    scale: 1.0,
                }];
                let mut inputs = &batch.inputs[..];
                for share in shares.iter() {
                    let (own, rest) = inputs.split_at(share.dx.len() / width);
                    inputs = rest;
                    parts.push(Gathered {
                        items: own,
                        values: &share.dx,
                        scale: self.scale,
                    });
                    if !candidates.all {
                        parts.push(Gathered {
                            items: &share.targets,
                            values: &share.own_rows,
                            scale: 1.0,
                        });
                    }
                }
                self.table.update(&parts, adam);
                Ok(loss / scored as f64)
            }
            Way::Program { program, device } => {
                let parts = task.on_tensors(program, device)?;
                if !parts.loss.is_finite() {
                    return Ok(parts.loss);
                }
                program.update(adam)?;
                let mut gathered = vec![
                    Gathered {
                        items: &candidates.items,
                        values: &parts.dcandidates,
                        scale: 1.0,
                    },
                    Gathered {
                        items: &batch.inputs,
                        values: &parts.dx,
                        scale: self.scale,
                    },
                ];
                if !candidates.all {
                    gathered.push(Gathered {
                        items: &parts.targets,
                        values: &parts.own_rows,
                        scale: 1.0,
                    });
                }
                self.table.update(&gathered, adam);
                Ok(parts.loss / scored as f64)
            }
        }
    }
}

fn add(sum: &mut [f32], x: &[f32]) {
    refrain_core::kernels::axpy(1.0, x, sum);
}

struct Task<'a> {
    batch: &'a Batch,
    candidates: &'a Candidates,
    /// The candidates' vectors.
    matrix: &'a [f32],
    table: &'a Table,
    scale: f32,
    items: usize,
    loss: NextItemLoss,
    dropout: Option<Dropout>,
    /// What one target's loss counts.
    share: f32,
}

/// What a step on a device gives back.
struct Parts {
    loss: f64,
    dx: Vec<f32>,
    dcandidates: Vec<f32>,
    targets: Vec<u32>,
    own_rows: Vec<f32>,
}

impl Task<'_> {
    /// Fills the shares with the gradients; returns the sum of the losses.
    fn on_slices(&self, body: &Body, weights: &[f32], shares: &mut Vec<Share>) -> f64 {
        let sequences = &self.batch.sequences;
        let n = sequences.len().div_ceil(SHARE).clamp(1, MOST_SHARES);
        let size = sequences.len().div_ceil(n);
        let mut parts = Vec::with_capacity(n);
        let mut start = 0;
        for tile in sequences.chunks(size) {
            let rows: usize = tile.iter().map(Rows::len).sum();
            parts.push((tile, start..start + rows));
            start += rows;
        }
        shares.resize_with(parts.len(), Share::default);
        let work = shares.par_iter_mut().zip(parts).with_max_len(1);
        work.for_each(|(share, (tile, rows))| self.share(body, weights, share, tile, rows));
        shares.iter().map(|share| share.loss).sum()
    }

    fn share(
        &self,
        body: &Body,
        weights: &[f32],
        share: &mut Share,
        tile: &[Rows],
        rows: std::ops::Range<usize>,
    ) {
        let width = self.table.width;
        let (inputs, targets) = (&self.batch.inputs[rows.clone()], &self.batch.targets[rows]);
        self.table.gather(inputs, self.scale, &mut share.x);
        let y = body.forward(weights, tile, self.dropout, &share.x, &mut share.tape);
        share.hidden.clear();
        share.targets.clear();
        for (row, &target) in y.chunks_exact(width).zip(targets) {
            if target != NONE {
                share.hidden.extend_from_slice(row);
                share.targets.push(target);
            }
        }
        let (n, m) = (share.targets.len(), self.candidates.items.len());
        // [targets, candidates]
        share.logits.resize(n * m, 0.0);
        let hidden = Mat::new(&share.hidden, n, width);
        let matrix = Mat::new(self.matrix, m, width);
        product(
            MatMut::new(&mut share.logits, n, m),
            Into::Replace,
            1.0,
            hidden,
            matrix.t(),
        );
        share.own.clear();
        share.own.resize(n, 0.0);
        if !self.candidates.all {
            self.table.gather(&share.targets, 1.0, &mut share.own_rows);
            let pairs = share
                .hidden
                .chunks_exact(width)
                .zip(share.own_rows.chunks_exact(width));
            for (own, (a, b)) in share.own.iter_mut().zip(pairs) {
                *own = refrain_core::kernels::dot(a, b);
            }
        }
        let columns = self.candidates.columns(&share.targets);
        share.loss = gradients(
            self.loss,
            self.candidates,
            self.items,
            &columns,
            &mut share.logits,
            &mut share.own,
            self.share,
        );
        let dlogits = Mat::new(&share.logits, n, m);
        share.dhidden.resize(n * width, 0.0);
        share.dcandidates.resize(m * width, 0.0);
        let dhidden = MatMut::new(&mut share.dhidden, n, width);
        product(dhidden, Into::Replace, 1.0, dlogits, matrix);
        let dcandidates = MatMut::new(&mut share.dcandidates, m, width);
        product(dcandidates, Into::Replace, 1.0, dlogits.t(), hidden);
        if !self.candidates.all {
            // The own vectors give way to their gradients.
            let rows = share.own_rows.chunks_exact_mut(width);
            let both = share
                .hidden
                .chunks_exact(width)
                .zip(share.dhidden.chunks_exact_mut(width));
            for ((own_row, &own), (hidden, dhidden)) in rows.zip(&share.own).zip(both) {
                for ((e, h), dh) in own_row.iter_mut().zip(hidden).zip(dhidden) {
                    *dh += own * *e;
                    *e = own * h;
                }
            }
        }
        share.dy.clear();
        share.dy.resize(targets.len() * width, 0.0);
        let mut scored = share.dhidden.chunks_exact(width);
        for (row, &target) in share.dy.chunks_exact_mut(width).zip(targets) {
            if target != NONE
                && let Some(gradient) = scored.next()
            {
                row.copy_from_slice(gradient);
            }
        }
        share.gradient.clear();
        share.gradient.resize(weights.len(), 0.0);
        let Share {
            gradient,
            dy,
            dx,
            tape,
            ..
        } = share;
        dx.clear();
        dx.extend_from_slice(body.backward(weights, gradient, tile, self.dropout, dy, tape));
    }

    /// The same as a tensor program.
    fn on_tensors(&self, program: &mut Program, device: &Device) -> Result<Parts> {
        let (width, sequences) = (self.table.width, &self.batch.sequences);
        let length = sequences.iter().map(Rows::len).max().unwrap_or(0);
        let mut x = vec![0.0; sequences.len() * length * width];
        let mut places: Vec<i32> = Vec::new();
        let mut targets = Vec::new();
        let (mut rows, mut from) = (Vec::new(), 0);
        for (s, sequence) in sequences.iter().enumerate() {
            let range = from..from + sequence.len();
            from = range.end;
            self.table
                .gather(&self.batch.inputs[range.clone()], self.scale, &mut rows);
            x[s * length * width..][..rows.len()].copy_from_slice(&rows);
            for (step, &target) in self.batch.targets[range].iter().enumerate() {
                if target != NONE {
                    places.push((s * length + step) as i32);
                    targets.push(target);
                }
            }
        }
        let (n, m) = (targets.len(), self.candidates.items.len());
        let matrix = |values: Vec<f32>, columns: usize| {
            let shape = [values.len() / columns, columns];
            Tensor::<2>::from_data(TensorData::new(values, shape), device)
        };
        let integers = |values: Vec<i32>| {
            let n = values.len();
            Tensor::<1, Int>::from_data(TensorData::new(values, [n]), device)
        };
        let mut out = Parts {
            loss: 0.0,
            dx: Vec::new(),
            dcandidates: Vec::new(),
            targets,
            own_rows: Vec::new(),
        };
        let mut own_rows = Vec::new();
        self.table.gather(&out.targets, 1.0, &mut own_rows);
        let columns = self.candidates.columns(&out.targets);
        let dx = program.learn(x, sequences, self.dropout, |y| {
            let places = integers(places);
            let h = y.clone().select(0, places.clone()); // [targets, width]
            let e = matrix(self.matrix.to_vec(), width); // [candidates, width]
            let own_e = matrix(own_rows, width);
            let logits = h.clone().matmul(e.clone().transpose());
            let column = |&c: &u32| if c == NONE { -1 } else { c as i32 };
            let columns = integers(columns.iter().map(column).collect()).reshape([n, 1]);
            let hit = integers((0..m as i32).collect())
                .reshape([1, m])
                .equal(columns);
            let own = (h.clone() * own_e.clone()).sum_dim(1); // [targets, 1]
            let (loss, dlogits, down) = match self.loss {
                NextItemLoss::Gbce { calibration, .. } => {
                    let times = self.candidates.times.clone();
                    let draws = self.candidates.draws + 1.0;
                    let beta = self.candidates.beta(calibration, self.items);
                    let odds = self.candidates.odds(beta);
                    let (logits, own) = (logits + odds, own + odds);
                    let times = matrix(times, m);
                    let likely = |x: Tensor<2>| sigmoid(x).clamp_min(1e-30).log().neg();
                    let others =
                        (likely(logits.clone().neg()) * times.clone()).mask_fill(hit.clone(), 0.0);
                    let loss = (likely(own.clone()) * beta).sum() + others.sum();
                    let dlogits = (sigmoid(logits) * times).mask_fill(hit, 0.0);
                    let down = sigmoid(own.neg()) * -beta;
                    let part = self.share / draws;
                    (loss / draws, dlogits * part, down * part)
                }
                _ if self.candidates.all => {
                    let hit = hit.float();
                    let loss = (log_softmax(logits.clone(), 1) * hit.clone()).sum().neg();
                    let dlogits = (softmax(logits, 1) - hit) * self.share;
                    (loss, dlogits, own * 0.0)
                }
                _ => {
                    let bias = matrix(self.candidates.bias.clone(), m);
                    let logits = (logits + bias).mask_fill(hit, -1e30);
                    let all = Tensor::cat(vec![own, logits], 1);
                    let loss = log_softmax(all.clone(), 1).narrow(1, 0, 1).sum().neg();
                    let p = softmax(all, 1) * self.share;
                    let down = p.clone().narrow(1, 0, 1) - self.share;
                    (loss, p.narrow(1, 1, m), down)
                }
            };
            out.loss = loss.try_into_scalar::<f32>().map_err(device_error)?.into();
            let dh = dlogits.clone().matmul(e) + down.clone() * own_e;
            let read = |t: Tensor<2>| t.try_into_vec_as::<f32>().map_err(device_error);
            out.dcandidates = read(dlogits.transpose().matmul(h.clone()))?;
            out.own_rows = read(down * h)?;
            let zeros = Tensor::<2>::zeros(y.dims(), device);
            Ok(zeros.select_assign(0, places, dh, burn::tensor::IndexingUpdateOp::Add))
        })?;
        for (sequence, padded) in sequences.iter().zip(dx.chunks(length.max(1) * width)) {
            out.dx.extend_from_slice(&padded[..sequence.len() * width]);
        }
        Ok(out)
    }
}
