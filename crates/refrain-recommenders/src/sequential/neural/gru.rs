//! Gated recurrent units (Cho et al., 2014) on the CPU, forward and backward; and as a tensor program.
//!
//! ```text
//! r = σ(x Wr + h Ur)   z = σ(x Wz + h Uz)   n = tanh(x Wn + r ⊙ (h Un))   h ← (1 − z) ⊙ n + z ⊙ h
//! ```
//!
//! with biases on both products, as PyTorch has them. The rows of a tile are taken step by step, the
//! longest sequence first, so that a step of all sequences is one matrix product and nothing is padded.

use burn::tensor::activation::sigmoid;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use refrain_core::rng;
use refrain_sequence::parts::{Dropout, Into, Mat, MatMut, Rows, exp, product, run};

use super::body::device_error;
use super::leaves::Leaves;
use super::slices::{add_bias, add_columns, drop_rows};
use crate::Result;

/// The sizes of the units.
#[derive(Debug, Clone, Copy)]
pub(super) struct Gru {
    pub(super) width: usize,
    pub(super) layers: usize,
}

/// Buffers of a tile, all in the order of the steps.
#[derive(Debug, Default)]
pub(super) struct GruTape {
    /// For each row, its row in the order of the sequences.
    places: Vec<usize>,
    /// Where each step begins, and the end.
    steps: Vec<usize>,
    layers: Vec<LayerTape>,
    output: Vec<f32>,
    dh: Vec<f32>,
    packed: Vec<f32>,
    factors: Vec<f32>,
}

#[derive(Debug, Default)]
struct LayerTape {
    input: Vec<f32>,
    /// r, z, n.
    gates: Vec<f32>,
    /// The state before, and its product `h U`.
    before: Vec<f32>,
    products: Vec<f32>,
    dgates: Vec<f32>,
    dproducts: Vec<f32>,
}

/// A layer's weights: `W` and `U` are `[width, 3 · width]`, then two biases.
fn split(w: &[f32], width: usize) -> [&[f32]; 4] {
    let square = 3 * width * width;
    let (wx, rest) = w.split_at(square);
    let (wh, rest) = rest.split_at(square);
    let (bx, bh) = rest.split_at(3 * width);
    [wx, wh, bx, bh]
}

#[inline(always)]
fn sigma(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

impl Gru {
    fn per_layer(self) -> usize {
        6 * self.width * self.width + 6 * self.width
    }

    pub(super) fn total(self) -> usize {
        self.layers * self.per_layer()
    }

    /// Uniform within 1/√width, as PyTorch.
    pub(super) fn initial(self, seed: u64) -> Vec<f32> {
        let bound = 1.0 / (self.width as f32).sqrt();
        let mut draw = rng::stream(seed, 0);
        let value = |_| draw.random_range(-bound..=bound);
        (0..self.total()).map(value).collect()
    }

    /// Orders the rows of a tile by step.
    fn arrange(self, tile: &[Rows], tape: &mut GruTape) {
        let mut starts = Vec::with_capacity(tile.len());
        let mut rows = 0;
        for sequence in tile {
            starts.push((sequence.len(), rows));
            rows += sequence.len();
        }
        starts.sort_by_key(|&(length, _)| std::cmp::Reverse(length));
        tape.places.clear();
        tape.steps.clear();
        for step in 0..starts.first().map_or(0, |&(length, _)| length) {
            tape.steps.push(tape.places.len());
            let active = starts.iter().take_while(|&&(length, _)| length > step);
            tape.places.extend(active.map(|&(_, start)| start + step));
        }
        tape.steps.push(tape.places.len());
        tape.layers.resize_with(self.layers, LayerTape::default);
    }

    /// Rows of all sequences, one below the other → the states after each.
    pub(super) fn forward<'t>(
        self,
        w: &[f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        x: &[f32],
        tape: &'t mut GruTape,
    ) -> &'t [f32] {
        let width = self.width;
        self.arrange(tile, tape);
        tape.packed.clear();
        tape.packed.extend_from_slice(x);
        drop_rows(tile, dropout, 0, width, &mut tape.factors, &mut tape.packed);
        tape.output.resize(x.len(), 0.0);
        for (&place, row) in tape.places.iter().zip(tape.output.chunks_exact_mut(width)) {
            row.copy_from_slice(&tape.packed[place * width..][..width]);
        }
        for (layer, w) in tape.layers.iter_mut().zip(w.chunks_exact(self.per_layer())) {
            std::mem::swap(&mut layer.input, &mut tape.output);
            tape.output.resize(x.len(), 0.0);
            self.layer(w, layer, &tape.steps, &mut tape.output);
        }
        for (&place, row) in tape.places.iter().zip(tape.output.chunks_exact(width)) {
            tape.packed[place * width..][..width].copy_from_slice(row);
        }
        drop_rows(tile, dropout, 1, width, &mut tape.factors, &mut tape.packed);
        &tape.packed
    }

    fn layer(self, w: &[f32], tape: &mut LayerTape, steps: &[usize], out: &mut [f32]) {
        let (d, d3) = (self.width, 3 * self.width);
        let [wx, wh, bx, bh] = split(w, d);
        let rows = tape.input.len() / d;
        tape.gates.resize(rows * d3, 0.0);
        tape.products.resize(rows * d3, 0.0);
        tape.before.resize(rows * d, 0.0);
        product(
            MatMut::new(&mut tape.gates, rows, d3),
            Into::Replace,
            1.0,
            Mat::new(&tape.input, rows, d),
            Mat::new(wx, d, d3),
        );
        add_bias(&mut tape.gates, bx);
        let mut last = 0;
        for (step, pair) in steps.windows(2).enumerate() {
            let (from, n) = (pair[0], pair[1] - pair[0]);
            let before = &mut tape.before[from * d..(from + n) * d];
            match step {
                0 => before.fill(0.0),
                _ => before.copy_from_slice(&out[last * d..(last + n) * d]),
            }
            let products = &mut tape.products[from * d3..(from + n) * d3];
            product(
                MatMut::new(products, n, d3),
                Into::Replace,
                1.0,
                Mat::new(before, n, d),
                Mat::new(wh, d, d3),
            );
            add_bias(products, bh);
            let gates = &mut tape.gates[from * d3..(from + n) * d3];
            let out = &mut out[from * d..(from + n) * d];
            run(step_kernel, (d, gates, &*products, &*before, out));
            last = from;
        }
    }

    /// Adds the gradient of the weights of the last [`forward`](Self::forward) to `g`, given that of
    /// its states; returns that of the rows.
    pub(super) fn backward<'t>(
        self,
        w: &[f32],
        g: &mut [f32],
        tile: &[Rows],
        dropout: Option<Dropout>,
        dy: &[f32],
        tape: &'t mut GruTape,
    ) -> &'t [f32] {
        let (d, d3) = (self.width, 3 * self.width);
        let rows = dy.len() / d;
        tape.packed.clear();
        tape.packed.extend_from_slice(dy);
        drop_rows(tile, dropout, 1, d, &mut tape.factors, &mut tape.packed);
        tape.dh.resize(dy.len(), 0.0);
        for (&place, row) in tape.places.iter().zip(tape.dh.chunks_exact_mut(d)) {
            row.copy_from_slice(&tape.packed[place * d..][..d]);
        }
        let size = self.per_layer();
        let layers = tape.layers.iter_mut().zip(w.chunks_exact(size));
        for ((layer, w), g) in layers.zip(g.chunks_exact_mut(size)).rev() {
            let [wx, wh, ..] = split(w, d);
            layer.dgates.resize(rows * d3, 0.0);
            layer.dproducts.resize(rows * d3, 0.0);
            for step in (0..tape.steps.len() - 1).rev() {
                let (from, n) = (tape.steps[step], tape.steps[step + 1] - tape.steps[step]);
                let (earlier, now) = tape.dh.split_at_mut(from * d);
                let range = from * d3..(from + n) * d3;
                let dproducts = &mut layer.dproducts[range.clone()];
                run(
                    step_backward_kernel,
                    (
                        d,
                        &layer.gates[range.clone()],
                        &layer.products[range.clone()],
                        &layer.before[from * d..(from + n) * d],
                        &mut now[..n * d],
                        &mut layer.dgates[range],
                        &mut *dproducts,
                    ),
                );
                if step > 0 {
                    // What is left in `now` is dh ⊙ z.
                    let carry = &mut earlier[tape.steps[step - 1] * d..][..n * d];
                    for (carry, x) in carry.iter_mut().zip(now.iter()) {
                        *carry += x;
                    }
                    product(
                        MatMut::new(carry, n, d),
                        Into::Add,
                        1.0,
                        Mat::new(dproducts, n, d3),
                        Mat::new(wh, d, d3).t(),
                    );
                }
            }
            let (gx, rest) = g.split_at_mut(d * d3);
            let (gh, rest) = rest.split_at_mut(d * d3);
            let (gbx, gbh) = rest.split_at_mut(d3);
            for (g, x, dy) in [
                (gx, &layer.input, &layer.dgates),
                (gh, &layer.before, &layer.dproducts),
            ] {
                product(
                    MatMut::new(g, d, d3),
                    Into::Add,
                    1.0,
                    Mat::new(x, rows, d).t(),
                    Mat::new(dy, rows, d3),
                );
            }
            add_columns(&layer.dgates, gbx);
            add_columns(&layer.dproducts, gbh);
            product(
                MatMut::new(&mut tape.dh, rows, d),
                Into::Replace,
                1.0,
                Mat::new(&layer.dgates, rows, d3),
                Mat::new(wx, d, d3).t(),
            );
        }
        for (&place, row) in tape.places.iter().zip(tape.dh.chunks_exact(d)) {
            tape.packed[place * d..][..d].copy_from_slice(row);
        }
        drop_rows(tile, dropout, 0, d, &mut tape.factors, &mut tape.packed);
        &tape.packed
    }
}

type Step<'a> = (usize, &'a mut [f32], &'a [f32], &'a [f32], &'a mut [f32]);

#[inline(always)]
fn step_kernel((d, gates, products, before, out): Step<'_>) {
    let rows = gates
        .chunks_exact_mut(3 * d)
        .zip(products.chunks_exact(3 * d));
    let states = before.chunks_exact(d).zip(out.chunks_exact_mut(d));
    for ((gates, products), (before, out)) in rows.zip(states) {
        let (r, rest) = gates.split_at_mut(d);
        let (z, n) = rest.split_at_mut(d);
        for i in 0..d {
            r[i] = sigma(r[i] + products[i]);
            z[i] = sigma(z[i] + products[d + i]);
            n[i] = 2.0 * sigma(2.0 * (n[i] + r[i] * products[2 * d + i])) - 1.0;
            out[i] = (1.0 - z[i]) * n[i] + z[i] * before[i];
        }
    }
}

type StepBackward<'a> = (
    usize,
    &'a [f32],
    &'a [f32],
    &'a [f32],
    &'a mut [f32],
    &'a mut [f32],
    &'a mut [f32],
);

/// Leaves `dh ⊙ z` in `dh`.
#[inline(always)]
fn step_backward_kernel((d, gates, products, before, dh, dgates, dproducts): StepBackward<'_>) {
    let rows = gates.chunks_exact(3 * d).zip(products.chunks_exact(3 * d));
    let states = before.chunks_exact(d).zip(dh.chunks_exact_mut(d));
    let out = dgates
        .chunks_exact_mut(3 * d)
        .zip(dproducts.chunks_exact_mut(3 * d));
    for (((gates, products), (before, dh)), (dg, dp)) in rows.zip(states).zip(out) {
        for i in 0..d {
            let (r, z, n) = (gates[i], gates[d + i], gates[2 * d + i]);
            let dn = dh[i] * (1.0 - z) * (1.0 - n * n);
            let dz = dh[i] * (before[i] - n) * z * (1.0 - z);
            let dr = dn * products[2 * d + i] * r * (1.0 - r);
            (dg[i], dg[d + i], dg[2 * d + i]) = (dr, dz, dn);
            (dp[i], dp[d + i], dp[2 * d + i]) = (dr, dz, dn * r);
            dh[i] *= z;
        }
    }
}

/// The same on any device, by burn's autodiff.
#[derive(Debug)]
pub(super) struct GruProgram {
    gru: Gru,
    /// `W`, `U` and the two biases of each layer.
    pub(super) leaves: Leaves,
    device: Device,
}

impl GruProgram {
    pub(super) fn new(gru: Gru, weights: &[f32], device: &Device) -> Self {
        let device = device.clone().without_autodiff();
        let layers = weights.chunks_exact(gru.per_layer());
        let parts = layers.flat_map(|w| split(w, gru.width));
        Self {
            gru,
            leaves: Leaves::new(parts.map(|w| (w, 3 * gru.width)), &device),
            device,
        }
    }

    /// As `LayersProgram::learn` of the transformer's layers.
    pub(super) fn learn(
        &mut self,
        x: Vec<f32>,
        tile: &[Rows],
        dropout: Option<Dropout>,
        loss: impl FnOnce(Tensor<2>) -> Result<Tensor<2>>,
    ) -> Result<Vec<f32>> {
        let d = self.gru.width;
        let (batch, length) = (tile.len(), x.len() / d / tile.len().max(1));
        let constant = |values: Vec<f32>| {
            Tensor::<2>::from_data(TensorData::new(values, [batch * length, d]), &self.device)
        };
        let factors = |site: usize| {
            let dropout = dropout?;
            let mut factors = vec![1.0; batch * length * d];
            for (sequence, row) in tile.iter().zip(factors.chunks_mut(length * d)) {
                dropout.fill(site, sequence, &mut row[..sequence.len() * d]);
            }
            Some(constant(factors))
        };
        let drop = |x: Tensor<2>, site| match factors(site) {
            Some(factors) => x * factors,
            None => x,
        };
        let rows = constant(x).autodiff().require_grad();
        let mut x = drop(rows.clone(), 0);
        for layer in 0..self.gru.layers {
            let [wx, wh, bx, bh] = [0, 1, 2, 3].map(|i| self.leaves.get(4 * layer + i));
            let gates = (x.matmul(wx) + bx).reshape([batch, length, 3 * d]);
            let mut h = Tensor::<2>::zeros([batch, d], &self.device);
            let mut states = Vec::with_capacity(length);
            for step in 0..length {
                let gate = gates.clone().narrow(1, step, 1).reshape([batch, 3 * d]);
                let past = h.clone().matmul(wh.clone()) + bh.clone();
                let part = |t: &Tensor<2>, i: usize| t.clone().narrow(1, i * d, d);
                let r = sigmoid(part(&gate, 0) + part(&past, 0));
                let z = sigmoid(part(&gate, 1) + part(&past, 1));
                let n = (part(&gate, 2) + r * part(&past, 2)).tanh();
                h = n.clone() + z * (h - n);
                states.push(h.clone().reshape([batch, 1, d]));
            }
            x = Tensor::cat(states, 1).reshape([batch * length, d]);
        }
        let y = drop(x, 1);
        let gradient = loss(y.clone().inner())?;
        let mut gradients = (y * gradient).sum().backward();
        let dx = rows.grad_remove(&mut gradients);
        self.leaves.keep(gradients);
        let dx = dx.ok_or_else(|| device_error("no gradient of the rows"))?;
        dx.try_into_vec_as::<f32>().map_err(device_error)
    }
}
