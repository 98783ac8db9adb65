//! The recurrent language model on slices, forward and backward, for the CPU.
//!
//! The rows of a batch are taken step by step, the longest sequence first, so that one step of all
//! sequences is one matrix product and nothing is padded. Without dropout below it, the first layer
//! multiplies its matrix with the vector of each different token once, however often it is read.

use std::ops::Range;

use super::RnnConfig;
use super::tape::Tape;
use crate::batch::{Dropout, Example};
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::loss::weighted_cross_entropy;
use crate::kernels::norm::add;
use crate::rnn::Cell;
use crate::rnn::sweep::Sweep;

/// Rows of logits held at once.
const LOGITS: usize = 512;

/// The sizes of a model, and where its weights lie.
#[derive(Debug, Clone)]
pub(super) struct Slices {
    cell: Cell,
    layers: usize,
    width: usize,
    variational: bool,
    embedding: Range<usize>,
    recurrent: Range<usize>,
    head: Range<usize>,
    bias: Range<usize>,
}

/// A layer's weights: two matrices `[gates · width, width]`, then two biases.
fn split(w: &[f32], width: usize, gates: usize) -> [&[f32]; 4] {
    let square = gates * width * width;
    let (wx, rest) = w.split_at(square);
    let (wh, rest) = rest.split_at(square);
    let (bx, bh) = rest.split_at(gates * width);
    [wx, wh, bx, bh]
}

fn add_bias(rows: &mut [f32], bias: &[f32]) {
    rows.chunks_exact_mut(bias.len())
        .for_each(|row| add(row, bias));
}

fn add_rows(sum: &mut [f32], rows: &[f32]) {
    rows.chunks_exact(sum.len()).for_each(|row| add(sum, row));
}

fn multiply(x: &mut [f32], factors: &[f32]) {
    x.iter_mut().zip(factors).for_each(|(x, f)| *x *= f);
}

impl Slices {
    pub(super) fn new(config: &RnnConfig, vocabulary: usize) -> Self {
        let (d, gates) = (config.width, config.cell.gates());
        let table = vocabulary * d;
        let recurrent = table..table + config.layers * (2 * gates * d * d + 2 * gates * d);
        let head = match config.tied {
            true => 0..table,
            false => recurrent.end..recurrent.end + table,
        };
        let bias = recurrent.end.max(head.end);
        Self {
            cell: config.cell,
            layers: config.layers,
            width: d,
            variational: config.variational,
            embedding: 0..table,
            recurrent,
            head,
            bias: bias..bias + vocabulary,
        }
    }

    fn gates(&self) -> usize {
        self.cell.gates()
    }

    fn per_layer(&self) -> usize {
        self.recurrent.len() / self.layers
    }

    /// Values of one sequence's state: the hidden states of the layers, then the cell states.
    pub(super) fn state_size(&self) -> usize {
        let kinds = if self.cell == Cell::Lstm { 2 } else { 1 };
        kinds * self.layers * self.width
    }

    /// Reads a batch; its states, one per example, are read and replaced.
    pub(super) fn forward(
        &self,
        w: &[f32],
        batch: &[Example],
        states: &mut [f32],
        dropout: Option<Dropout>,
        tape: &mut Tape,
    ) {
        let d = self.width;
        tape.arrange(batch, self.layers);
        for (site, mask) in tape.masks.iter_mut().enumerate() {
            mask.clear();
            if let Some(dropout) = dropout {
                self.mask(dropout, site, batch, &tape.rows, mask);
            }
        }
        tape.find_tokens(batch);
        let embedding = &w[self.embedding.clone()];
        tape.output.clear();
        let mut read = |token: u32| {
            let vector = &embedding[token as usize * d..][..d];
            tape.output.extend_from_slice(vector);
        };
        match tape.tokens.is_empty() {
            true => tape
                .rows
                .iter()
                .for_each(|&(e, t)| read(batch[e].inputs[t])),
            false => tape.tokens.iter().for_each(|&token| read(token)),
        }
        let weights = w[self.recurrent.clone()].chunks_exact(self.per_layer());
        for (l, w) in weights.enumerate() {
            multiply(&mut tape.output, &tape.masks[l]);
            std::mem::swap(&mut tape.layers[l].input, &mut tape.output);
            tape.output.resize(tape.rows.len() * d, 0.0);
            self.layer(l, w, batch, states, tape);
        }
        multiply(&mut tape.output, &tape.masks[self.layers]);
    }

    fn mask(
        &self,
        dropout: Dropout,
        site: usize,
        batch: &[Example],
        rows: &[(usize, usize)],
        mask: &mut Vec<f32>,
    ) {
        let d = self.width;
        let own: Vec<Vec<f32>> = batch
            .iter()
            .map(|example| {
                let drawn = if self.variational { 1 } else { example.len() };
                let mut factors = vec![0.0; drawn * d];
                dropout.fill(site, example, &mut factors);
                factors
            })
            .collect();
        for &(e, t) in rows {
            let t = if self.variational { 0 } else { t };
            mask.extend_from_slice(&own[e][t * d..][..d]);
        }
    }

    fn layer(&self, l: usize, w: &[f32], batch: &[Example], states: &mut [f32], tape: &mut Tape) {
        let (d, g) = (self.width, self.gates() * self.width);
        let [wx, wh, bx, bh] = split(w, d, self.gates());
        let (size, cells_at) = (self.state_size(), self.layers * d);
        let Tape {
            order,
            rows,
            tokens,
            places,
            steps,
            layers,
            output: out,
            work,
            ..
        } = tape;
        let (layer, rows) = (&mut layers[l], rows.len());
        layer.values.resize(self.cell, d, rows);
        // All that does not wait for a step before.
        let by_token = l == 0 && !tokens.is_empty();
        let sums = match by_token {
            true => &mut layer.table,
            false => &mut layer.values.gates,
        };
        let inputs = layer.input.len() / d;
        sums.resize(inputs * g, 0.0);
        for row in sums.chunks_exact_mut(g) {
            row.copy_from_slice(bx);
            if self.cell != Cell::Gru {
                add(row, bh);
            }
        }
        product(
            MatMut::new(sums, inputs, g),
            Into::Add,
            1.0,
            Mat::new(&layer.input, inputs, d),
            Mat::new(wx, g, d).t(),
        );
        if by_token {
            for (row, &place) in layer.values.gates.chunks_exact_mut(g).zip(&*places) {
                row.copy_from_slice(&layer.table[place as usize * g..][..g]);
            }
        }
        let first = steps.get(1).copied().unwrap_or(0);
        for (k, &e) in order.iter().take(first).enumerate() {
            let state = &states[e * size..][..size];
            layer.values.before[k * d..][..d].copy_from_slice(&state[l * d..][..d]);
            if self.cell == Cell::Lstm {
                let cell = &state[cells_at + l * d..][..d];
                layer.values.cells_before[k * d..][..d].copy_from_slice(cell);
            }
        }
        self.sweep(wh, bh, steps)
            .forward(&mut layer.values, out, work);
        for (k, &e) in order.iter().enumerate() {
            let Some(step) = batch[e].len().checked_sub(1) else {
                continue;
            };
            let row = (steps[step] + k) * d;
            let state = &mut states[e * size..][..size];
            state[l * d..][..d].copy_from_slice(&out[row..][..d]);
            if self.cell == Cell::Lstm {
                state[cells_at + l * d..][..d].copy_from_slice(&layer.values.cells[row..][..d]);
            }
        }
    }

    fn sweep<'a>(&self, hidden: &'a [f32], bias: &'a [f32], steps: &'a [usize]) -> Sweep<'a> {
        Sweep {
            cell: self.cell,
            width: self.width,
            hidden,
            bias,
            steps,
        }
    }

    /// The sum of the targets' losses after [`forward`](Self::forward). With `g`, adds the
    /// gradient of `scale` × that sum to it.
    pub(super) fn loss(
        &self,
        w: &[f32],
        g: Option<&mut [f32]>,
        batch: &[Example],
        scale: f64,
        tape: &mut Tape,
    ) -> f64 {
        let (d, vocabulary) = (self.width, self.bias.len());
        let head = &w[self.head.clone()];
        let targets: Vec<u32> = tape
            .rows
            .iter()
            .map(|&(e, t)| batch[e].targets[t])
            .collect();
        let weighted = batch.iter().any(|example| !example.weights.is_empty());
        let weights: Vec<f32> = match weighted {
            true => tape.rows.iter().map(|&(e, t)| batch[e].weight(t)).collect(),
            false => Vec::new(),
        };
        tape.dh.resize(tape.output.len(), 0.0);
        let mut g = g;
        let mut sum = 0.0;
        let chunks = tape
            .output
            .chunks(LOGITS * d)
            .zip(tape.dh.chunks_mut(LOGITS * d));
        for (i, ((rows, dh), targets)) in chunks.zip(targets.chunks(LOGITS)).enumerate() {
            let n = targets.len();
            tape.logits.resize(n * vocabulary, 0.0);
            self.head(w, rows, &mut tape.logits);
            let weights = weights.chunks(LOGITS).nth(i).unwrap_or_default();
            let (logits, smoothing) = (&mut tape.logits, tape.smoothing);
            sum += weighted_cross_entropy(logits, targets, weights, scale as f32, smoothing);
            let Some(g) = g.as_deref_mut() else { continue };
            let dlogits = Mat::new(&tape.logits, n, vocabulary);
            product(
                MatMut::new(&mut g[self.head.clone()], vocabulary, d),
                Into::Add,
                1.0,
                dlogits.t(),
                Mat::new(rows, n, d),
            );
            add_rows(&mut g[self.bias.clone()], &tape.logits);
            product(
                MatMut::new(dh, n, d),
                Into::Replace,
                1.0,
                dlogits,
                Mat::new(head, vocabulary, d),
            );
        }
        if let Some(g) = g {
            self.backward(w, g, batch, tape);
        }
        sum
    }

    fn head(&self, w: &[f32], rows: &[f32], logits: &mut [f32]) {
        let (n, d, vocabulary) = (rows.len() / self.width, self.width, self.bias.len());
        product(
            MatMut::new(logits, n, vocabulary),
            Into::Replace,
            1.0,
            Mat::new(rows, n, d),
            Mat::new(&w[self.head.clone()], vocabulary, d).t(),
        );
        add_bias(logits, &w[self.bias.clone()]);
    }

    /// Logits after each token of one example, or after the last.
    pub(super) fn logits(&self, w: &[f32], last_only: bool, tape: &Tape) -> Vec<f32> {
        let from = match last_only {
            true => tape.output.len().saturating_sub(self.width),
            false => 0,
        };
        let rows = &tape.output[from..];
        let mut logits = vec![0.0; rows.len() / self.width * self.bias.len()];
        self.head(w, rows, &mut logits);
        logits
    }

    /// From the gradient of the output in `tape.dh` to that of everything.
    fn backward(&self, w: &[f32], g: &mut [f32], batch: &[Example], tape: &mut Tape) {
        let (d, size) = (self.width, self.per_layer());
        for l in (0..self.layers).rev() {
            multiply(&mut tape.dh, &tape.masks[l + 1]);
            let range = self.recurrent.start + l * size..self.recurrent.start + (l + 1) * size;
            self.layer_backward(l, &w[range.clone()], &mut g[range], tape);
        }
        multiply(&mut tape.dh, &tape.masks[0]);
        let table = &mut g[self.embedding.clone()];
        let gather = |(token, row): (u32, &[f32])| add(&mut table[token as usize * d..][..d], row);
        let rows = tape.dh.chunks_exact(d);
        match tape.tokens.is_empty() {
            true => {
                let tokens = tape.rows.iter().map(|&(e, t)| batch[e].inputs[t]);
                tokens.zip(rows).for_each(gather);
            }
            false => tape.tokens.iter().copied().zip(rows).for_each(gather),
        }
    }

    /// In `tape.dh`: the gradient of what the layer puts out, then of what it reads.
    fn layer_backward(&self, l: usize, w: &[f32], g: &mut [f32], tape: &mut Tape) {
        let (d, gd) = (self.width, self.gates() * self.width);
        let [wx, wh, _, bh] = split(w, d, self.gates());
        let Tape {
            steps,
            tokens,
            places,
            layers,
            dh,
            dc,
            rows,
            work,
            ..
        } = tape;
        let (layer, rows) = (&mut layers[l], rows.len());
        let widest = steps.get(1).copied().unwrap_or(0);
        dc.clear();
        if self.cell == Cell::Lstm {
            dc.resize(widest * d, 0.0);
        }
        let sweep = self.sweep(wh, bh, steps);
        sweep.backward(&layer.values, &mut layer.slopes, dh, dc, None, work);
        let dgates = &layer.slopes.gates;
        let inputs = layer.input.len() / d;
        let dsums = match l == 0 && !tokens.is_empty() {
            true => {
                layer.table.clear();
                layer.table.resize(inputs * gd, 0.0);
                for (row, &place) in dgates.chunks_exact(gd).zip(&*places) {
                    add(&mut layer.table[place as usize * gd..][..gd], row);
                }
                &layer.table
            }
            false => dgates,
        };
        let dproducts = layer.slopes.of_products(self.cell);
        let (gx, rest) = g.split_at_mut(gd * d);
        let (gh, rest) = rest.split_at_mut(gd * d);
        let (gbx, gbh) = rest.split_at_mut(gd);
        for (g, x, dy, n) in [
            (gx, &layer.input, dsums.as_slice(), inputs),
            (gh, &layer.values.before, dproducts, rows),
        ] {
            product(
                MatMut::new(g, gd, d),
                Into::Add,
                1.0,
                Mat::new(dy, n, gd).t(),
                Mat::new(x, n, d),
            );
        }
        let mut sums = vec![0.0; gd];
        add_rows(&mut sums, dsums);
        add(gbx, &sums);
        match self.cell {
            Cell::Gru => add_rows(gbh, dproducts),
            _ => add(gbh, &sums),
        }
        dh.resize(inputs * d, 0.0);
        product(
            MatMut::new(dh, inputs, d),
            Into::Replace,
            1.0,
            Mat::new(dsums, inputs, gd),
            Mat::new(wx, gd, d),
        );
    }
}
