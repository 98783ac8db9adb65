//! One direction of one layer as one operation among burn's, for the CPU: its steps are those of
//! the language model's kernels, and `backward()` runs them back.

use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use refrain_core::operation::{Operation, apply};

use super::sweep::{Slopes, Sweep, Values, Work};
use super::{Cell, States};
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::norm::add;

/// How a batch is read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    pub(super) cell: Cell,
    /// The length of a hidden state.
    pub(super) width: usize,
    pub(super) time: usize,
    /// Of each sequence, at most `time`.
    pub(super) lengths: Vec<usize>,
    /// From the end to the beginning.
    pub(super) backwards: bool,
}

/// What the steps read beside the gates' sums.
pub(super) struct Weights {
    /// `[gates · width, width]`.
    pub(super) hidden: Tensor<2>,
    /// `[gates · width]`; of no account but to a GRU.
    pub(super) bias: Option<Tensor<1>>,
}

impl Reading {
    /// All new states, `[time · batch, width]`, with zeros after a sequence's end, and the last ones
    /// of each sequence; `gates`, `[time · batch, gates · width]`, holds what the input brings.
    /// `None` where the tensors do not lie on the CPU.
    pub(super) fn run(
        self,
        gates: &Tensor<2>,
        weights: &Weights,
        begin: &States,
        plain: &Device,
    ) -> Option<(Tensor<2>, States)> {
        if !refrain_core::is_cpu(plain) {
            return None;
        }
        let (width, batch, rows) = (self.width, self.lengths.len(), self.rows());
        let cell = self.cell;
        let bias = match &weights.bias {
            Some(bias) if cell == Cell::Gru => bias.clone(),
            _ => Tensor::zeros([cell.gates() * width], plain),
        };
        let no_cells = || Tensor::zeros([batch, width], plain);
        let operands = [
            gates.clone().into(),
            weights.hidden.clone().into(),
            bias.into(),
            begin.0.clone().into(),
            begin.1.clone().unwrap_or_else(no_cells).into(),
        ];
        let kinds = if cell == Cell::Lstm { 2 } else { 1 };
        let all: Tensor<2> = apply(self, [rows + kinds * batch, width], operands)?;
        let last = all.clone().narrow(0, rows, batch);
        let cells = (kinds == 2).then(|| all.clone().narrow(0, rows + batch, batch));
        Some((all.narrow(0, 0, rows), (last, cells)))
    }

    fn rows(&self) -> usize {
        self.time * self.lengths.len()
    }

    /// The sequences shared out over the threads, each share the longest first.
    fn shares(&self) -> Vec<Share> {
        let mut order: Vec<usize> = (0..self.lengths.len()).collect();
        order.retain(|&b| self.lengths[b] > 0);
        order.sort_by_key(|&b| std::cmp::Reverse(self.lengths[b]));
        // A step of fewer sequences would leave the product's registers empty.
        let threads = rayon::current_num_threads().min(order.len() / 4).max(1);
        let share = |first| {
            let own: Vec<usize> = order.iter().copied().skip(first).step_by(threads).collect();
            Share::new(self, own)
        };
        (0..threads).map(share).collect()
    }

    fn sweep<'a>(&self, hidden: &'a [f32], bias: &'a [f32], share: &'a Share) -> Sweep<'a> {
        Sweep {
            cell: self.cell,
            width: self.width,
            hidden,
            bias,
            steps: &share.steps,
        }
    }
}

/// Some of the sequences.
#[derive(Debug)]
pub(super) struct Share {
    /// The longest first.
    order: Vec<usize>,
    steps: Vec<usize>,
    /// Of each row its place in `[time · batch]`.
    places: Vec<usize>,
    /// Of each sequence its last row.
    ends: Vec<usize>,
    values: Values,
}

impl Share {
    fn new(reading: &Reading, order: Vec<usize>) -> Self {
        let (batch, lengths) = (reading.lengths.len(), &reading.lengths);
        let (mut steps, mut places) = (vec![0], Vec::new());
        let mut ends = vec![0; order.len()];
        let longest = order.first().map_or(0, |&b| lengths[b]);
        for step in 0..longest {
            let active = order.iter().take_while(|&&b| lengths[b] > step);
            for (k, &b) in active.enumerate() {
                let time = match reading.backwards {
                    true => lengths[b] - 1 - step,
                    false => step,
                };
                ends[k] = places.len();
                places.push(time * batch + b);
            }
            steps.push(places.len());
        }
        Self {
            order,
            steps,
            places,
            ends,
            values: Values::default(),
        }
    }

    /// The share's rows of values of `width` that lie at their places.
    fn gather(&self, from: &[f32], width: usize, into: &mut [f32]) {
        for (row, &place) in into.chunks_exact_mut(width).zip(&self.places) {
            row.copy_from_slice(&from[place * width..][..width]);
        }
    }
}

/// Row `k` of `of` to row `at[k]` of `into`.
fn scatter(of: &[f32], at: &[usize], width: usize, into: &mut [f32]) {
    for (row, &place) in of.chunks_exact(width).zip(at) {
        into[place * width..][..width].copy_from_slice(row);
    }
}

impl Operation<5> for Reading {
    type Kept = Vec<Share>;

    fn forward(
        &self,
        [gates, hidden, bias, begin, cells]: [&[f32]; 5],
        tracked: bool,
    ) -> (Vec<f32>, Vec<Share>) {
        let (d, cell) = (self.width, self.cell);
        let g = d * cell.gates();
        let lstm = cell == Cell::Lstm;
        let mut shares = self.shares();
        let outputs: Vec<Vec<f32>> = shares
            .par_iter_mut()
            .with_max_len(1)
            .map(|share| {
                let mut values = std::mem::take(&mut share.values);
                values.resize(cell, d, share.places.len());
                share.gather(gates, g, &mut values.gates);
                for (k, &b) in share.order.iter().enumerate() {
                    values.before[k * d..][..d].copy_from_slice(&begin[b * d..][..d]);
                    if lstm {
                        values.cells_before[k * d..][..d].copy_from_slice(&cells[b * d..][..d]);
                    }
                }
                let mut out = vec![0.0; share.places.len() * d];
                let sweep = self.sweep(hidden, bias, share);
                sweep.forward(&mut values, &mut out, &mut Work::default());
                share.values = values;
                out
            })
            .collect();
        let (rows, states) = (self.rows() * d, self.lengths.len() * d);
        let mut result = vec![0.0; rows + if lstm { 2 } else { 1 } * states];
        let (all, last) = result.split_at_mut(rows);
        let (last, last_cells) = last.split_at_mut(states);
        // What has no step keeps its state.
        last.copy_from_slice(begin);
        if lstm {
            last_cells.copy_from_slice(cells);
        }
        for (share, out) in shares.iter().zip(&outputs) {
            scatter(out, &share.places, d, all);
            for (&b, &row) in share.order.iter().zip(&share.ends) {
                last[b * d..][..d].copy_from_slice(&out[row * d..][..d]);
                if lstm {
                    let cells = &share.values.cells[row * d..][..d];
                    last_cells[b * d..][..d].copy_from_slice(cells);
                }
            }
        }
        if !tracked {
            shares.clear();
        }
        (result, shares)
    }

    fn backward(
        &self,
        shares: &Vec<Share>,
        [gates, hidden, bias, begin, cells]: [&[f32]; 5],
        gradient: &[f32],
        wanted: [bool; 5],
    ) -> [Option<Vec<f32>>; 5] {
        let (d, cell) = (self.width, self.cell);
        let g = d * cell.gates();
        let lstm = cell == Cell::Lstm;
        let (of_rows, of_last) = gradient.split_at(self.rows() * d);
        let (of_last, of_cells) = of_last.split_at(self.lengths.len() * d);
        let found: Vec<Found> = shares
            .par_iter()
            .with_max_len(1)
            .map(|share| {
                let mut found = Found::default();
                let mut dh = vec![0.0; share.places.len() * d];
                share.gather(of_rows, d, &mut dh);
                for (&b, &row) in share.order.iter().zip(&share.ends) {
                    add(&mut dh[row * d..][..d], &of_last[b * d..][..d]);
                    if lstm {
                        found.cells.extend_from_slice(&of_cells[b * d..][..d]);
                    }
                }
                found.begin.resize(share.order.len() * d, 0.0);
                self.sweep(hidden, bias, share).backward(
                    &share.values,
                    &mut found.slopes,
                    &mut dh,
                    &mut found.cells,
                    Some(&mut found.begin),
                    &mut Work::default(),
                );
                if wanted[1] {
                    let n = share.places.len();
                    found.hidden.resize(g * d, 0.0);
                    product(
                        MatMut::new(&mut found.hidden, g, d),
                        Into::Replace,
                        1.0,
                        Mat::new(found.slopes.of_products(cell), n, g).t(),
                        Mat::new(&share.values.before, n, d),
                    );
                }
                found
            })
            .collect();
        let mut result = [gates, hidden, bias, begin, cells].map(|input| vec![0.0; input.len()]);
        let [dgates, dhidden, dbias, dbegin, dcells] = &mut result;
        // What has no step hands its gradient through.
        dbegin.copy_from_slice(of_last);
        if lstm {
            dcells.copy_from_slice(of_cells);
        }
        for (share, found) in shares.iter().zip(&found) {
            scatter(&found.slopes.gates, &share.places, g, dgates);
            if wanted[1] {
                add(dhidden, &found.hidden);
            }
            if cell == Cell::Gru && wanted[2] {
                let rows = found.slopes.products.chunks_exact(g);
                rows.for_each(|row| add(dbias, row));
            }
            scatter(&found.begin, &share.order, d, dbegin);
            scatter(&found.cells, &share.order, d, dcells);
        }
        let mut wanted = wanted.into_iter();
        result.map(|values| wanted.next().unwrap_or(false).then_some(values))
    }
}

/// What one share finds on the way back.
#[derive(Default)]
struct Found {
    slopes: Slopes,
    /// `[gates · width, width]`.
    hidden: Vec<f32>,
    /// A row per sequence of the share.
    begin: Vec<f32>,
    cells: Vec<f32>,
}
