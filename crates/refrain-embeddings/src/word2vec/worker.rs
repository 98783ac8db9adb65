//! One thread's part of training: sentences in, windows drawn, rows stepped.

use pulp::{Simd, WithSimd};
use refrain_core::rng::Stream;

use super::chunks::MAX_SENTENCE;
use super::kernel::Step;
use super::windows::{Loss, Plan, Window, Windows};
use crate::vocabulary::END;

/// A piece of the corpus, the number of its first token, and its own random stream.
pub(super) type Begun<'a> = (&'a [u32], u64, Stream);

/// A table whose rows a worker may change.
pub(super) trait Table {
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
    /// Trains on one piece of the corpus, whose first token is token number `done`.
    pub(super) fn train<T: Table>(
        &mut self,
        plan: &Plan,
        piece: &[u32],
        done: u64,
        rng: Stream,
        inputs: &mut T,
        outputs: &mut T,
    ) {
        pulp::Arch::new().dispatch(Train {
            worker: self,
            plan,
            piece,
            done,
            rng,
            inputs,
            outputs,
        });
    }
}

struct Train<'a, T> {
    worker: &'a mut Worker,
    plan: &'a Plan,
    piece: &'a [u32],
    done: u64,
    rng: Stream,
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
            piece,
            mut done,
            mut rng,
            inputs: xs,
            outputs: ys,
        } = self;
        let Worker {
            windows,
            window,
            loss,
        } = worker;
        let stride = xs.stride();
        let composes = plan.composes();
        let mut count = 0u32;
        for sentence in piece
            .split(|&id| id == END)
            .flat_map(|s| s.chunks(MAX_SENTENCE))
        {
            let rate = plan.rate(done) as f32;
            done += sentence.len() as u64;
            windows.draw(plan, sentence, &mut rng, |centre, contexts, negatives| {
                window.fill(plan, centre, contexts, negatives);
                window.locate(composes, xs, ys);
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
    pub(super) fn locate<T: Table>(&mut self, composes: bool, xs: &mut T, ys: &mut T) {
        self.at_inputs.clear();
        self.components.clear();
        let rows = self.inputs.iter().map(|&row| xs.row(row));
        match composes {
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
