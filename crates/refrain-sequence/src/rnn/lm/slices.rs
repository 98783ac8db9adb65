//! The recurrent language model on slices, forward and backward, for the CPU.
//!
//! The rows of a batch are taken step by step, the longest sequence first, so that one step of all
//! sequences is one matrix product and nothing is padded.

use std::ops::Range;

use super::{RnnConfig, steps};
use crate::batch::{Dropout, Example};
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::loss::softmax_cross_entropy;
use crate::kernels::norm::add;
use crate::rnn::Cell;

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

/// Buffers of a pass, rows in the order of the steps.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// What the loss spreads of each target's probability over all tokens.
    pub(super) smoothing: f32,
    /// The examples, the longest first.
    order: Vec<usize>,
    /// Of each row its example and its place in it.
    rows: Vec<(usize, usize)>,
    /// Where each step begins, and the end.
    steps: Vec<usize>,
    layers: Vec<LayerTape>,
    /// What dropout multiplies with below each layer and above the last; empty without.
    masks: Vec<Vec<f32>>,
    /// The rows after the last layer and dropout.
    output: Vec<f32>,
    dh: Vec<f32>,
    dc: Vec<f32>,
    logits: Vec<f32>,
}

#[derive(Debug, Default)]
pub(super) struct LayerTape {
    pub(super) input: Vec<f32>,
    pub(super) gates: Vec<f32>,
    /// `U h + c`, of a GRU.
    pub(super) products: Vec<f32>,
    /// The states before.
    pub(super) before: Vec<f32>,
    /// Of an LSTM the cell states before and after, and `tanh` of these.
    pub(super) cells_before: Vec<f32>,
    pub(super) cells: Vec<f32>,
    pub(super) bent: Vec<f32>,
    pub(super) dgates: Vec<f32>,
    /// Of a GRU.
    pub(super) dproducts: Vec<f32>,
    /// `U` as `[width, gates · width]`.
    turned: Vec<f32>,
}

impl Tape {
    fn arrange(&mut self, batch: &[Example], layers: usize) {
        self.order = (0..batch.len()).collect();
        self.order
            .sort_by_key(|&e| std::cmp::Reverse(batch[e].len()));
        self.rows.clear();
        self.steps.clear();
        let longest = self.order.first().map_or(0, |&e| batch[e].len());
        for t in 0..longest {
            self.steps.push(self.rows.len());
            let active = self.order.iter().take_while(|&&e| batch[e].len() > t);
            self.rows.extend(active.map(|&e| (e, t)));
        }
        self.steps.push(self.rows.len());
        self.layers.resize_with(layers, LayerTape::default);
        self.masks.resize_with(layers + 1, Vec::new);
    }
}

/// A layer's weights: two matrices `[gates · width, width]`, then two biases.
fn split(w: &[f32], width: usize, gates: usize) -> [&[f32]; 4] {
    let square = gates * width * width;
    let (wx, rest) = w.split_at(square);
    let (wh, rest) = rest.split_at(square);
    let (bx, bh) = rest.split_at(gates * width);
    [wx, wh, bx, bh]
}

/// `[rows, columns]` → `[columns, rows]`.
fn turn(w: &[f32], rows: usize, columns: usize, out: &mut Vec<f32>) {
    out.resize(rows * columns, 0.0);
    for (i, block) in w.chunks(16 * columns).enumerate() {
        for (j, out) in out.chunks_exact_mut(rows).enumerate() {
            let column = block.iter().skip(j).step_by(columns);
            out[16 * i..]
                .iter_mut()
                .zip(column)
                .for_each(|(o, &x)| *o = x);
        }
    }
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
        let embedding = &w[self.embedding.clone()];
        tape.output.clear();
        for &(e, t) in &tape.rows {
            let token = batch[e].inputs[t] as usize;
            tape.output.extend_from_slice(&embedding[token * d..][..d]);
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
            steps,
            layers,
            output: out,
            ..
        } = tape;
        let (layer, rows) = (&mut layers[l], rows.len());
        layer.gates.resize(rows * g, 0.0);
        layer.before.resize(rows * d, 0.0);
        match self.cell {
            Cell::Gru => layer.products.resize(rows * g, 0.0),
            Cell::Lstm => {
                for buffer in [&mut layer.cells_before, &mut layer.cells, &mut layer.bent] {
                    buffer.resize(rows * d, 0.0);
                }
            }
            Cell::Elman => {}
        }
        product(
            MatMut::new(&mut layer.gates, rows, g),
            Into::Replace,
            1.0,
            Mat::new(&layer.input, rows, d),
            Mat::new(wx, g, d).t(),
        );
        add_bias(&mut layer.gates, bx);
        if self.cell != Cell::Gru {
            add_bias(&mut layer.gates, bh);
        }
        // Over several steps it pays to turn the matrix once: a product of few rows reads it as it
        // lies, where it would rearrange it at every step.
        let mut buffer = std::mem::take(&mut layer.turned);
        let turned = match steps.len() > 4 {
            true => {
                turn(wh, g, d, &mut buffer);
                Mat::new(&buffer, d, g)
            }
            false => Mat::new(wh, g, d).t(),
        };
        let mut last = 0;
        for (step, pair) in steps.windows(2).enumerate() {
            let (from, n) = (pair[0], pair[1] - pair[0]);
            let here = from * d..(from + n) * d;
            if step == 0 {
                for (k, &e) in order.iter().take(n).enumerate() {
                    let state = &states[e * size..][..size];
                    layer.before[k * d..][..d].copy_from_slice(&state[l * d..][..d]);
                    if self.cell == Cell::Lstm {
                        let cell = &state[cells_at + l * d..][..d];
                        layer.cells_before[k * d..][..d].copy_from_slice(cell);
                    }
                }
            } else {
                let past = last * d..(last + n) * d;
                layer.before[here.clone()].copy_from_slice(&out[past.clone()]);
                if self.cell == Cell::Lstm {
                    let (before, cells) = (&mut layer.cells_before, &layer.cells);
                    before[here.clone()].copy_from_slice(&cells[past]);
                }
            }
            let sums = from * g..(from + n) * g;
            let (sums, into) = match self.cell {
                Cell::Gru => (&mut layer.products[sums], Into::Replace),
                _ => (&mut layer.gates[sums], Into::Add),
            };
            product(
                MatMut::new(sums, n, g),
                into,
                1.0,
                Mat::new(&layer.before[here], n, d),
                turned,
            );
            if self.cell == Cell::Gru {
                add_bias(sums, bh);
            }
            steps::forward(self.cell, d, layer, from..from + n, out);
            last = from;
        }
        layer.turned = buffer;
        for (k, &e) in order.iter().enumerate() {
            let Some(step) = batch[e].len().checked_sub(1) else {
                continue;
            };
            let row = (steps[step] + k) * d;
            let state = &mut states[e * size..][..size];
            state[l * d..][..d].copy_from_slice(&out[row..][..d]);
            if self.cell == Cell::Lstm {
                state[cells_at + l * d..][..d].copy_from_slice(&layer.cells[row..][..d]);
            }
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
        tape.dh.resize(tape.output.len(), 0.0);
        let mut g = g;
        let mut sum = 0.0;
        let chunks = tape
            .output
            .chunks(LOGITS * d)
            .zip(tape.dh.chunks_mut(LOGITS * d));
        for ((rows, dh), targets) in chunks.zip(targets.chunks(LOGITS)) {
            let n = targets.len();
            tape.logits.resize(n * vocabulary, 0.0);
            self.head(w, rows, &mut tape.logits);
            sum += softmax_cross_entropy(&mut tape.logits, targets, scale as f32, tape.smoothing);
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
        for (&(e, t), row) in tape.rows.iter().zip(tape.dh.chunks_exact(d)) {
            let token = batch[e].inputs[t] as usize;
            add(&mut table[token * d..][..d], row);
        }
    }

    /// In `tape.dh`: the gradient of what the layer puts out, then of what it reads.
    fn layer_backward(&self, l: usize, w: &[f32], g: &mut [f32], tape: &mut Tape) {
        let (d, gd) = (self.width, self.gates() * self.width);
        let [wx, wh, ..] = split(w, d, self.gates());
        let Tape {
            steps,
            layers,
            dh,
            dc,
            rows,
            ..
        } = tape;
        let (layer, rows) = (&mut layers[l], rows.len());
        layer.dgates.resize(rows * gd, 0.0);
        if self.cell == Cell::Gru {
            layer.dproducts.resize(rows * gd, 0.0);
        }
        let widest = steps.get(1).copied().unwrap_or(0);
        dc.clear();
        dc.resize(
            if self.cell == Cell::Lstm {
                widest * d
            } else {
                0
            },
            0.0,
        );
        for step in (0..steps.len() - 1).rev() {
            let (from, n) = (steps[step], steps[step + 1] - steps[step]);
            let (earlier, now) = dh.split_at_mut(from * d);
            let now = &mut now[..n * d];
            let cells = dc.len().min(n * d);
            steps::backward(self.cell, d, layer, from..from + n, now, &mut dc[..cells]);
            if step == 0 {
                continue;
            }
            let carry = &mut earlier[steps[step - 1] * d..][..n * d];
            let sums = match self.cell {
                Cell::Gru => {
                    add(carry, now);
                    &layer.dproducts
                }
                _ => &layer.dgates,
            };
            product(
                MatMut::new(carry, n, d),
                Into::Add,
                1.0,
                Mat::new(&sums[from * gd..(from + n) * gd], n, gd),
                Mat::new(wh, gd, d),
            );
        }
        let dproducts = match self.cell {
            Cell::Gru => &layer.dproducts,
            _ => &layer.dgates,
        };
        let (gx, rest) = g.split_at_mut(gd * d);
        let (gh, rest) = rest.split_at_mut(gd * d);
        let (gbx, gbh) = rest.split_at_mut(gd);
        for (g, x, dy) in [
            (gx, &layer.input, &layer.dgates),
            (gh, &layer.before, dproducts),
        ] {
            product(
                MatMut::new(g, gd, d),
                Into::Add,
                1.0,
                Mat::new(dy, rows, gd).t(),
                Mat::new(x, rows, d),
            );
        }
        add_rows(gbx, &layer.dgates);
        add_rows(gbh, dproducts);
        product(
            MatMut::new(dh, rows, d),
            Into::Replace,
            1.0,
            Mat::new(&layer.dgates, rows, gd),
            Mat::new(wx, gd, d),
        );
    }
}
