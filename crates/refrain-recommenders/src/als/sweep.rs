//! Half a sweep: every row of one side solved against the other side.

use std::sync::Mutex;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use refrain_data::Sparse;

use super::factors::{Factors, Rotation};
use super::simd::{self, Aligned, Events};
use super::solve::{Counterpart, Method, Workspace};

/// Rows solved in one task.
const TASK_ROWS: usize = 16;

/// The events of one side as the solver wants them.
pub(super) struct Side<'a> {
    indptr: &'a [usize],
    indices: &'a [u32],
    /// `w = c − 1` of each event, signed as in [`Events`].
    pub weights: Vec<f32>,
    /// λ of each row.
    pub lambda: Vec<f32>,
    /// Rows that are only carried along to the new basis; empty when all are solved.
    pub kept: Vec<bool>,
    /// Rows by falling number of events: the long ones start first.
    order: Vec<u32>,
}

impl<'a> Side<'a> {
    /// The rows of a matrix, each value made a weight by `weigh`; λ is still zero.
    pub(super) fn new(matrix: &'a Sparse, weigh: impl Fn(f32) -> f32 + Sync) -> Self {
        let indptr = matrix.indptr().into_raw_storage();
        let length = |&row: &u32| indptr[row as usize + 1] - indptr[row as usize];
        let mut order: Vec<u32> = (0..matrix.rows() as u32).collect();
        order.sort_by_key(|row| std::cmp::Reverse(length(row)));
        Self {
            indptr,
            indices: matrix.indices(),
            weights: matrix
                .data()
                .par_iter()
                .map(|&value| weigh(value))
                .collect(),
            lambda: vec![0.0; order.len()],
            kept: Vec::new(),
            order,
        }
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.lambda.len()
    }

    pub(super) fn events(&self, row: usize) -> Events<'_> {
        let range = self.indptr[row]..self.indptr[row + 1];
        Events {
            indices: &self.indices[range.clone()],
            weights: &self.weights[range],
        }
    }
}

/// What a half-sweep found.
pub(super) struct Half {
    /// The loss over all pairs, and the regularisation of the rows just solved.
    pub loss: f64,
    /// That regularisation alone.
    pub penalty: f64,
    /// The eigenvalues of the other side's Gram matrix; the other side is in their basis now.
    pub spectrum: Vec<f32>,
}

/// Solves every row of `own` against `other`, which is rotated to its eigenbasis on the way, and
/// `own` with it. `None` when the numbers are no longer finite.
pub(super) fn half_sweep(
    side: &Side<'_>,
    own: &mut Factors,
    other: &mut Factors,
    method: Method,
    pool: &Mutex<Vec<Workspace>>,
) -> Option<Half> {
    let stride = own.stride();
    let rotation = other.diagonalise()?;
    own.pin = own.pin.as_deref().map(|pin| rotation.of(pin));
    let counterpart = Counterpart {
        rows: &other.data,
        spectrum: &rotation.spectrum,
        pin: own.pin.as_deref(),
    };
    let mut rows: Vec<Option<&mut [f32]>> = own.data.chunks_exact_mut(stride).map(Some).collect();
    let mut work: Vec<(usize, &mut [f32])> = Vec::with_capacity(rows.len());
    for &row in &side.order {
        if let Some(x) = rows[row as usize].take() {
            work.push((row as usize, x));
        }
    }
    // One place per row, summed in order afterwards, so that threads do not matter.
    let mut found = vec![(0.0, 0.0); work.len()];
    let tasks = work
        .par_chunks_mut(TASK_ROWS)
        .zip(found.par_chunks_mut(TASK_ROWS));
    tasks.for_each(|(block, found)| {
        let mut workspace = pool
            .lock()
            .ok()
            .and_then(|mut pool| pool.pop())
            .unwrap_or_default();
        Arch::new().dispatch(SolveRows {
            side,
            other: &counterpart,
            rotation: &rotation,
            method,
            workspace: &mut workspace,
            block,
            found,
        });
        if let Ok(mut pool) = pool.lock() {
            pool.push(workspace);
        }
    });
    let loss: f64 = found.iter().map(|(loss, _)| loss).sum();
    let penalty = found.iter().map(|(_, penalty)| penalty).sum();
    loss.is_finite().then_some(Half {
        loss,
        penalty,
        spectrum: rotation.spectrum,
    })
}

struct SolveRows<'a, 'b> {
    side: &'a Side<'a>,
    other: &'a Counterpart<'a>,
    rotation: &'a Rotation,
    method: Method,
    workspace: &'a mut Workspace,
    block: &'a mut [(usize, &'b mut [f32])],
    found: &'a mut [(f64, f64)],
}

impl WithSimd for SolveRows<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let stride = self.other.spectrum.len();
        let mut start = std::mem::take(&mut self.workspace.start);
        start.grow(2 * TASK_ROWS * stride);
        let (before, after) = start.split_at_mut(TASK_ROWS * stride);
        let kept = &self.side.kept;
        if !matches!(self.method, Method::Exact) || !kept.is_empty() {
            // The rows' present values in the new basis, where steps start.
            for (before, (_, x)) in before.chunks_exact_mut(stride).zip(self.block.iter()) {
                before.copy_from_slice(x);
            }
            let used = self.block.len() * stride;
            let panels = &self.rotation.panels;
            simd::multiply(simd, &before[..used], panels, stride, &mut after[..used]);
        }
        let mut next = self.block.first().map(|(row, _)| self.side.events(*row));
        for at in 0..self.block.len() {
            let Some(events) = next else { break };
            next = self
                .block
                .get(at + 1)
                .map(|(row, _)| self.side.events(*row));
            if let Some(next) = next {
                simd::prefetch(self.other.rows, stride, next.indices, TASK_ROWS);
            }
            let (row, x) = &mut self.block[at];
            x.copy_from_slice(&after[at * stride..][..stride]);
            if kept.get(*row).copied().unwrap_or(false) {
                continue;
            }
            let lambda = self.side.lambda[*row];
            let loss = self
                .workspace
                .solve(simd, self.other, events, lambda, self.method, x);
            let penalty = f64::from(lambda) * f64::from(simd::dot(simd, x, x));
            // What is held costs nothing.
            let held = self.other.pin.map_or(0.0, |pin| simd::dot(simd, pin, x));
            let held = f64::from(lambda) * f64::from(held * held);
            self.found[at] = (loss - held, penalty - held);
        }
        self.workspace.start = start;
    }
}

/// One row alone, exactly: a half-sweep for someone new. `None` when the result is not finite.
pub(super) fn solve_alone(
    table: &[f32],
    spectrum: &[f32],
    pin: Option<&[f32]>,
    events: Events<'_>,
    lambda: f32,
) -> Option<Aligned> {
    let mut x = Aligned::zeros(spectrum.len());
    let other = Counterpart {
        rows: table,
        spectrum,
        pin,
    };
    let loss = Arch::new().dispatch(SolveAlone {
        other: &other,
        events,
        lambda,
        x: &mut x,
    });
    (loss.is_finite() && x.iter().all(|value| value.is_finite())).then_some(x)
}

struct SolveAlone<'a> {
    other: &'a Counterpart<'a>,
    events: Events<'a>,
    lambda: f32,
    x: &'a mut [f32],
}

impl WithSimd for SolveAlone<'_> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let mut workspace = Workspace::default();
        workspace.solve(
            simd,
            self.other,
            self.events,
            self.lambda,
            Method::Exact,
            self.x,
        )
    }
}
