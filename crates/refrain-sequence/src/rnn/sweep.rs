//! One direction of one layer over the steps of a batch, forward and backward, on slices.
//!
//! Rows go step by step, the longest sequence first: step `s` has the rows `steps[s]..steps[s + 1]`,
//! of the sequences that are at least so long, so that one step is one matrix product and nothing
//! is padded.

use super::{Cell, steps};
use crate::kernels::gemm::{Into, Mat, MatMut, product};
use crate::kernels::norm::add;
use crate::kernels::panels::{self, Panels};

/// What a pass forward computes and the way back reads; a row per sequence and step.
#[derive(Debug, Default)]
pub(super) struct Values {
    pub(super) gates: Vec<f32>,
    /// `U h + c`, of a GRU.
    pub(super) products: Vec<f32>,
    /// The states before.
    pub(super) before: Vec<f32>,
    /// Of an LSTM the cell states before and after, and `tanh` of these.
    pub(super) cells_before: Vec<f32>,
    pub(super) cells: Vec<f32>,
    pub(super) bent: Vec<f32>,
}

impl Values {
    pub(super) fn resize(&mut self, cell: Cell, width: usize, rows: usize) {
        self.gates.resize(rows * width * cell.gates(), 0.0);
        self.before.resize(rows * width, 0.0);
        match cell {
            Cell::Gru => self.products.resize(rows * width * cell.gates(), 0.0),
            Cell::Lstm => {
                for buffer in [&mut self.cells_before, &mut self.cells, &mut self.bent] {
                    buffer.resize(rows * width, 0.0);
                }
            }
            Cell::Elman => {}
        }
    }
}

/// The gradient of the gates' sums.
#[derive(Debug, Default)]
pub(super) struct Slopes {
    pub(super) gates: Vec<f32>,
    /// That of `U h + c` where it is another: of a GRU.
    pub(super) products: Vec<f32>,
}

impl Slopes {
    /// The gradient of `U h + c`.
    pub(super) fn of_products(&self, cell: Cell) -> &[f32] {
        match cell {
            Cell::Gru => &self.products,
            _ => &self.gates,
        }
    }
}

/// Memory to work in.
#[derive(Debug, Default)]
pub(super) struct Work {
    /// The matrix of the steps.
    panels: Panels,
    /// Of the steps' products.
    tiles: Vec<f32>,
}

/// The recurrence: its matrix `[gates · width, width]`, its bias, and where the steps begin and end.
pub(super) struct Sweep<'a> {
    pub(super) cell: Cell,
    pub(super) width: usize,
    pub(super) hidden: &'a [f32],
    /// Read by a GRU only: the gates of the others hold it already.
    pub(super) bias: &'a [f32],
    pub(super) steps: &'a [usize],
}

impl Sweep<'_> {
    /// Writes the new state of each row to `out`. `values.gates` holds what the input brings, and
    /// the first step's rows of `before` and `cells_before` the states to begin with.
    pub(super) fn forward(&self, values: &mut Values, out: &mut [f32], work: &mut Work) {
        let (d, g) = (self.width, self.width * self.cell.gates());
        let matrix = Mat::new(self.hidden, g, d).t();
        // A text that is read token by token would arrange the matrix for one product.
        let few = self.steps.len() <= 4;
        if !few {
            work.panels.arrange(matrix);
        }
        let mut last = 0;
        for (step, pair) in self.steps.windows(2).enumerate() {
            let (from, n) = (pair[0], pair[1] - pair[0]);
            let here = from * d..(from + n) * d;
            if step > 0 {
                let past = last * d..(last + n) * d;
                values.before[here.clone()].copy_from_slice(&out[past.clone()]);
                if self.cell == Cell::Lstm {
                    let (before, cells) = (&mut values.cells_before, &values.cells);
                    before[here.clone()].copy_from_slice(&cells[past]);
                }
            }
            let sums = from * g..(from + n) * g;
            let (sums, into) = match self.cell {
                Cell::Gru => (&mut values.products[sums], Into::Replace),
                _ => (&mut values.gates[sums], Into::Add),
            };
            let before = &values.before[here];
            match few {
                true => {
                    let sums = MatMut::new(sums, n, g);
                    product(sums, into, 1.0, Mat::new(before, n, d), matrix);
                }
                false => panels::product(sums, into, before, &work.panels, &mut work.tiles),
            }
            if self.cell == Cell::Gru {
                sums.chunks_exact_mut(g).for_each(|row| add(row, self.bias));
            }
            steps::forward(self.cell, d, values, from..from + n, out);
            last = from;
        }
    }

    /// From the gradient of the new states in `dh` to that of the gates' sums, in `slopes`. `dc`
    /// holds, a row per sequence, the gradient of the last cell states of an LSTM, and then that of
    /// the first ones; to `first` goes the gradient of the states to begin with.
    pub(super) fn backward(
        &self,
        values: &Values,
        slopes: &mut Slopes,
        dh: &mut [f32],
        dc: &mut [f32],
        first: Option<&mut [f32]>,
        work: &mut Work,
    ) {
        let (d, g) = (self.width, self.width * self.cell.gates());
        work.panels.arrange(Mat::new(self.hidden, g, d));
        slopes.gates.resize(values.gates.len(), 0.0);
        slopes.products.resize(values.products.len(), 0.0);
        let mut first = first;
        for step in (0..self.steps.len().saturating_sub(1)).rev() {
            let (from, n) = (self.steps[step], self.steps[step + 1] - self.steps[step]);
            let (earlier, now) = dh.split_at_mut(from * d);
            let now = &mut now[..n * d];
            let cells = dc.len().min(n * d);
            let rows = from..from + n;
            steps::backward(self.cell, d, values, slopes, rows, now, &mut dc[..cells]);
            let carry = match step.checked_sub(1) {
                Some(before) => &mut earlier[self.steps[before] * d..][..n * d],
                None => match first.as_deref_mut() {
                    Some(first) => &mut first[..n * d],
                    None => continue,
                },
            };
            if self.cell == Cell::Gru {
                add(carry, now);
            }
            let sums = &slopes.of_products(self.cell)[from * g..(from + n) * g];
            panels::product(carry, Into::Add, sums, &work.panels, &mut work.tiles);
        }
    }
}
