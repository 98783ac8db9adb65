//! One thread's part of training: sentences in, windows drawn, rows stepped.

use pulp::{Simd, WithSimd};
use refrain_core::rng::Stream;

use super::kernel::Step;
use super::windows::{Loss, Plan, Window, Windows};
use crate::encoded::MAX_SENTENCE;
use crate::vocabulary::END;

/// A piece of the corpus.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub(super) tokens: &'a [u32],
    /// The number of its first token, over all epochs, and how many there are.
    pub(super) first: u64,
    pub(super) total: u64,
    /// The number of its first sentence in this epoch.
    pub(super) sentence: u32,
    /// Its own random stream.
    pub(super) rng: Stream,
}

impl<'a> Piece<'a> {
    /// Its sentences with their numbers, long ones cut; the learning rate for each.
    #[inline(always)]
    pub(super) fn sentences<'p>(
        &self,
        plan: &'p Plan,
    ) -> impl Iterator<Item = (&'a [u32], u32, f32)> + use<'a, 'p> {
        let (mut done, total, first) = (self.first, self.total, self.sentence);
        self.tokens
            .split(|&id| id == END)
            .zip(first..)
            .flat_map(|(sentence, number)| {
                sentence
                    .chunks(MAX_SENTENCE)
                    .map(move |part| (part, number))
            })
            .map(move |(part, number)| {
                let rate = plan.rate(done, total) as f32;
                done += part.len() as u64;
                (part, number, rate)
            })
    }
}

/// A table whose rows a worker may change.
pub(super) trait Table {
    /// A window begins.
    #[inline(always)]
    fn begin(&mut self) {}
    /// Where row number `row` begins in [`Table::values`], in floats.
    fn row(&mut self, row: u32) -> usize;
    fn values(&mut self) -> &mut [f32];
    fn stride(&self) -> usize;
}

/// One window in so many is measured.
const LOSS_EVERY: u32 = 32;

/// A thread's scratch space and its sums.
#[derive(Debug, Default)]
pub(super) struct Worker {
    windows: Windows,
    window: Window,
    pub(super) loss: Loss,
}

impl Worker {
    /// Trains on one piece of the corpus.
    pub(super) fn train<T: Table>(
        &mut self,
        plan: &Plan,
        piece: Piece<'_>,
        inputs: &mut T,
        outputs: &mut T,
    ) {
        pulp::Arch::new().dispatch(Train {
            worker: self,
            plan,
            piece,
            inputs,
            outputs,
        });
    }
}

struct Train<'a, T> {
    worker: &'a mut Worker,
    plan: &'a Plan,
    piece: Piece<'a>,
    inputs: &'a mut T,
    outputs: &'a mut T,
}

impl<T: Table> WithSimd for Train<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            worker,
            plan,
            mut piece,
            inputs: xs,
            outputs: ys,
        } = self;
        let Worker {
            windows,
            window,
            loss,
        } = worker;
        let stride = xs.stride();
        let mut count = 0u32;
        let sentences = piece.sentences(plan);
        let rng = &mut piece.rng;
        windows.begin(plan, rng);
        for (sentence, number, rate) in sentences {
            plan.windows(windows, window, (sentence, number), rng, |window| {
                window.locate(xs, ys);
                let (inputs, outputs) = (xs.values(), ys.values());
                simd.vectorize(Step {
                    window,
                    inputs,
                    outputs,
                    stride,
                    rate,
                });
                count += 1;
                if count.is_multiple_of(LOSS_EVERY) {
                    loss.add(window.loss());
                }
            });
        }
    }
}

impl Window {
    /// Finds the rows in their tables.
    #[inline(always)]
    pub(super) fn locate<T: Table>(&mut self, xs: &mut T, ys: &mut T) {
        xs.begin();
        ys.begin();
        self.at_inputs.clear();
        self.components.clear();
        let rows = self.inputs.iter().map(|&row| xs.row(row));
        match self.composed {
            false => self.at_inputs.extend(rows),
            true => {
                self.components.extend(rows);
                // The mean of the components is the one row of a table of its own.
                self.at_inputs.push(0);
                self.input_weights.push(1.0);
            }
        }
        self.at_outputs.clear();
        self.at_outputs
            .extend(self.outputs.iter().map(|&row| ys.row(row)));
    }
}
