//! Threads that share two tables without racing on them.
//!
//! Training goes in rounds. In a round every thread trains on a piece of the corpus of its own; it
//! reads the shared tables, which nobody changes meanwhile, and copies a row into its [`Overlay`]
//! when it first touches it. Between rounds the overlays are merged row by row, each row by one
//! thread, in an order that does not depend on scheduling. So the result is the same bits for one
//! (seed, threads) pair, and there is nothing to race on.
//!
//! How much of each thread's change to apply? For a rare row, all of it: the changes are what one
//! thread would have made one after the other. But the row of a frequent word is moved towards the
//! same optimum by every thread, and the sum overshoots; there the mean is right. If one step
//! closes the share `c` of a row's distance to its optimum, `n` steps close `1 − (1−c)ⁿ`, so the
//! changes of threads that made `n₁, n₂ …` steps are all multiplied by
//!
//! ```text
//! s = (1 − (1−c)^(n₁+n₂+…)) / ((1 − (1−c)^n₁) + (1 − (1−c)^n₂) + …)
//! ```
//!
//! which is 1 where steps are few and `1/threads` where they are many.

use rayon::prelude::*;

use super::kernel::Rows;
use super::windows::{Loss, Plan};
use super::worker::{Piece, Table, Worker};

/// The table itself, when there is one thread.
#[derive(Debug)]
pub(super) struct Direct<'a> {
    values: &'a mut [f32],
    stride: usize,
}

impl<'a> Direct<'a> {
    pub(super) fn new(rows: &'a mut Rows) -> Self {
        let stride = rows.stride();
        Self {
            values: rows.as_mut_slice(),
            stride,
        }
    }
}

impl Table for Direct<'_> {
    #[inline(always)]
    fn row(&mut self, row: u32) -> usize {
        row as usize * self.stride
    }
    #[inline(always)]
    fn values(&mut self) -> &mut [f32] {
        self.values
    }
    #[inline(always)]
    fn stride(&self) -> usize {
        self.stride
    }
}

const ABSENT: u32 = u32::MAX;

/// The rows that one thread has touched in this round.
#[derive(Debug)]
pub(super) struct Overlay {
    /// For each word, which of `rows` is its own.
    slots: Vec<u32>,
    /// The words of `rows`, in order of first touch, and how often each was stepped.
    words: Vec<u32>,
    steps: Vec<u32>,
    rows: Rows,
}

impl Overlay {
    pub(super) fn new(count: usize, dim: usize) -> Self {
        Self {
            slots: vec![ABSENT; count],
            words: Vec::new(),
            steps: Vec::new(),
            rows: Rows::zeros(0, dim),
        }
    }

    fn clear(&mut self) {
        for &word in &self.words {
            self.slots[word as usize] = ABSENT;
        }
        self.words.clear();
        self.steps.clear();
    }

    /// The row of `word` and its steps, if it was touched.
    #[inline]
    fn touched(&self, word: usize) -> Option<(&[f32], u32)> {
        let slot = self.slots[word];
        (slot != ABSENT).then(|| {
            let (slot, stride) = (slot as usize, self.rows.stride());
            (
                &self.rows.as_slice()[slot * stride..(slot + 1) * stride],
                self.steps[slot],
            )
        })
    }
}

/// An overlay on the table it covers.
#[derive(Debug)]
pub(super) struct Covered<'a> {
    pub(super) base: &'a Rows,
    pub(super) overlay: &'a mut Overlay,
}

impl Table for Covered<'_> {
    #[inline(always)]
    fn row(&mut self, word: u32) -> usize {
        let slot = self.overlay.slots[word as usize];
        if slot == ABSENT {
            return self.first_touch(word);
        }
        self.overlay.steps[slot as usize] += 1;
        slot as usize * self.base.stride()
    }
    #[inline(always)]
    fn values(&mut self) -> &mut [f32] {
        self.overlay.rows.as_mut_slice()
    }
    #[inline(always)]
    fn stride(&self) -> usize {
        self.base.stride()
    }
}

impl Covered<'_> {
    #[inline(never)]
    fn first_touch(&mut self, word: u32) -> usize {
        let stride = self.base.stride();
        let slot = self.overlay.words.len();
        self.overlay.slots[word as usize] = slot as u32;
        self.overlay.words.push(word);
        self.overlay.steps.push(1);
        let (from, to) = (word as usize * stride, slot * stride);
        self.overlay.rows.reserve(slot + 1);
        self.overlay.rows.as_mut_slice()[to..to + stride]
            .copy_from_slice(&self.base.as_slice()[from..from + stride]);
        to
    }
}

/// Applies the overlays' changes to the table, and empties them. `contraction` is `c` above.
pub(super) fn merge(base: &mut Rows, overlays: &mut [&mut Overlay], contraction: f64) {
    const BLOCK: usize = 256;
    let stride = base.stride();
    let shared: &[&mut Overlay] = overlays;
    let log = (-contraction).ln_1p();
    base.as_mut_slice()
        .par_chunks_mut(BLOCK * stride)
        .enumerate()
        .for_each(|(block, rows)| {
            let mut old = vec![0.0f32; stride];
            for (i, row) in rows.chunks_exact_mut(stride).enumerate() {
                let word = block * BLOCK + i;
                let touched = || shared.iter().filter_map(|o| o.touched(word));
                let threads = touched().count();
                if threads <= 1 {
                    if let Some((new, _)) = touched().next() {
                        row.copy_from_slice(new);
                    }
                    continue;
                }
                // −expm1(n·log(1−c)) is 1 − (1−c)ⁿ.
                let total: u64 = touched().map(|(_, n)| u64::from(n)).sum();
                let sum: f64 = touched().map(|(_, n)| -(f64::from(n) * log).exp_m1()).sum();
                let scale = (-(total as f64 * log).exp_m1() / sum) as f32;
                old.copy_from_slice(row);
                for (new, _) in touched() {
                    for ((value, &new), &old) in row.iter_mut().zip(new).zip(&old) {
                        *value += scale * (new - old);
                    }
                }
            }
        });
    overlays.par_iter_mut().for_each(|overlay| overlay.clear());
}

/// Every thread's space.
#[derive(Debug, Default)]
pub(super) struct Shards(Vec<Shard>);

#[derive(Debug)]
struct Shard {
    worker: Worker,
    inputs: Overlay,
    outputs: Overlay,
}

/// `c` above, per unit of learning rate: chosen so that two threads learn as well as one.
const CONTRACTION: f64 = 1.0;

impl Shards {
    /// One round on `threads` threads: a piece each, then the merge.
    pub(super) fn round(
        &mut self,
        plan: &Plan,
        threads: usize,
        inputs: &mut Rows,
        outputs: &mut Rows,
        pieces: Vec<Piece<'_>>,
    ) -> Loss {
        let (alone, stride) = (threads == 1, inputs.stride());
        let overlay = |rows: &Rows| {
            let count = rows.as_slice().len() / stride;
            Overlay::new(if alone { 0 } else { count }, stride)
        };
        self.0.resize_with(threads, || Shard {
            worker: Worker::default(),
            inputs: overlay(inputs),
            outputs: overlay(outputs),
        });
        for shard in &mut self.0 {
            shard.worker.loss = Loss::default();
        }
        if alone {
            for (piece, shard) in pieces.into_iter().zip(&mut self.0) {
                let (mut xs, mut ys) = (Direct::new(inputs), Direct::new(outputs));
                shard.worker.train(plan, piece, &mut xs, &mut ys);
            }
        } else {
            let rate = pieces
                .first()
                .map_or(0.0, |piece| plan.rate(piece.first, piece.total));
            let (xs, ys): (&Rows, &Rows) = (inputs, outputs);
            pieces.into_par_iter().zip(self.0.par_iter_mut()).for_each(
                |(
                    piece,
                    Shard {
                        worker,
                        inputs,
                        outputs,
                    },
                )| {
                    let mut inputs = Covered {
                        base: xs,
                        overlay: inputs,
                    };
                    let mut outputs = Covered {
                        base: ys,
                        overlay: outputs,
                    };
                    worker.train(plan, piece, &mut inputs, &mut outputs);
                },
            );
            let contraction = (CONTRACTION * rate).min(0.5);
            let mut overlays: Vec<&mut Overlay> =
                self.0.iter_mut().map(|s| &mut s.inputs).collect();
            merge(inputs, &mut overlays, contraction);
            let mut overlays: Vec<&mut Overlay> =
                self.0.iter_mut().map(|s| &mut s.outputs).collect();
            merge(outputs, &mut overlays, contraction);
        }
        let mut loss = Loss::default();
        for shard in &self.0 {
            loss.add((shard.worker.loss.sum, shard.worker.loss.pairs));
        }
        loss
    }
}
