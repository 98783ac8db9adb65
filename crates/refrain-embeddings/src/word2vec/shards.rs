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
//!
//! Copying and merging a row costs about as much as stepping it. So the rows that are stepped often are
//! merged after every round, and the others, which most of the table is, after several of them: their
//! few changes wait, and a row that a thread has touched once is copied once. They wait for as many rounds
//! as their copies fit the processor's cache, since from there copying and merging are cheap; rows of a
//! large vocabulary, of which hardly one is touched twice, are merged after every round. Which rows are
//! stepped how often is told by the counts of the words, before training.

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

/// The rows that one thread has touched since they were merged.
#[derive(Debug)]
pub(super) struct Overlay {
    /// For each word, which of `rows` is its own.
    slots: Vec<u32>,
    /// The words of `rows` and how often each was stepped: first those that are stepped often, and then
    /// the others in order of first touch.
    words: Vec<u32>,
    steps: Vec<u32>,
    rows: Rows,
    /// How many are stepped often.
    hot: usize,
}

impl Overlay {
    /// For a table of so many rows, `hot` of which, ascending, are stepped often.
    pub(super) fn new(count: usize, dim: usize, hot: &[u32]) -> Self {
        let mut slots = vec![ABSENT; count];
        for (slot, &word) in (0u32..).zip(hot) {
            slots[word as usize] = slot;
        }
        let mut rows = Rows::zeros(0, dim);
        rows.reserve(hot.len());
        Self {
            slots,
            words: hot.to_vec(),
            steps: vec![0; hot.len()],
            rows,
            hot: hot.len(),
        }
    }

    /// Copies the rows that are stepped often anew.
    pub(super) fn refresh(&mut self, base: &Rows) {
        let stride = base.stride();
        let rows = self.rows.as_mut_slice().chunks_exact_mut(stride);
        for (row, &word) in rows.zip(&self.words[..self.hot]) {
            let from = word as usize * stride;
            row.copy_from_slice(&base.as_slice()[from..from + stride]);
        }
        self.steps[..self.hot].fill(0);
    }

    /// Forgets the other rows.
    fn clear(&mut self) {
        for &word in &self.words[self.hot..] {
            self.slots[word as usize] = ABSENT;
        }
        self.words.truncate(self.hot);
        self.steps.truncate(self.hot);
    }

    /// How often the row was stepped.
    #[cfg(test)]
    pub(super) fn steps_of(&self, row: u32) -> u32 {
        self.touched(row as usize).map_or(0, |(_, steps)| steps)
    }

    /// The row of `word` and its steps, if it was touched.
    #[inline]
    fn touched(&self, word: usize) -> Option<(&[f32], u32)> {
        let slot = *self.slots.get(word)? as usize;
        let steps = *self.steps.get(slot).filter(|&&steps| steps > 0)?;
        let stride = self.rows.stride();
        Some((
            &self.rows.as_slice()[slot * stride..(slot + 1) * stride],
            steps,
        ))
    }
}

/// Which rows are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scope {
    Hot,
    All,
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

/// Applies the overlays' changes to the table, of the rows that are stepped often or of all, and
/// forgets the others. `contraction` is `c` above.
pub(super) fn merge(
    base: &mut Rows,
    overlays: &mut [&mut Overlay],
    contraction: f64,
    scope: Scope,
) {
    const BLOCK: usize = 256;
    let stride = base.stride();
    let shared: &[&mut Overlay] = overlays;
    let hot = shared.first().map_or(&[][..], |o| &o.words[..o.hot]);
    let log = (-contraction).ln_1p();
    // One thread writes a part of the table. It looks for its rows among all others that were touched, so
    // that there should be few parts then.
    let rows = base.as_slice().len() / stride;
    let part = match scope {
        Scope::Hot => BLOCK,
        Scope::All => rows.div_ceil(2 * shared.len().max(1)).max(BLOCK),
    };
    base.as_mut_slice()
        .par_chunks_mut(part * stride)
        .enumerate()
        .for_each(|(at, values)| {
            let own = at * part..(at + 1) * part;
            let mut old = vec![0.0f32; stride];
            let mut each = |word: usize| {
                let at = (word - own.start) * stride;
                merge_row(&mut values[at..at + stride], shared, word, log, &mut old);
            };
            let from = hot.partition_point(|&word| (word as usize) < own.start);
            let words = hot[from..].iter().map(|&word| word as usize);
            words
                .take_while(|word| own.contains(word))
                .for_each(&mut each);
            if scope == Scope::Hot {
                return;
            }
            for (number, overlay) in shared.iter().enumerate() {
                for word in overlay.words[overlay.hot..]
                    .iter()
                    .map(|&word| word as usize)
                {
                    // The first thread that touched a row merges it for all.
                    let first = || shared.iter().position(|o| o.touched(word).is_some());
                    if own.contains(&word) && first() == Some(number) {
                        each(word);
                    }
                }
            }
        });
    if scope == Scope::All {
        overlays.par_iter_mut().for_each(|overlay| overlay.clear());
    }
}

/// Applies the overlays' changes to one row; `log` is that of `1−c`.
fn merge_row(row: &mut [f32], overlays: &[&mut Overlay], word: usize, log: f64, old: &mut [f32]) {
    let touched = || overlays.iter().filter_map(|overlay| overlay.touched(word));
    if touched().count() <= 1 {
        if let Some((new, _)) = touched().next() {
            row.copy_from_slice(new);
        }
        return;
    }
    // −expm1(n·log(1−c)) is 1 − (1−c)ⁿ.
    let total: u64 = touched().map(|(_, n)| u64::from(n)).sum();
    let sum: f64 = touched().map(|(_, n)| -(f64::from(n) * log).exp_m1()).sum();
    let scale = (-(total as f64 * log).exp_m1() / sum) as f32;
    old.copy_from_slice(row);
    for (new, _) in touched() {
        for ((value, &new), &old) in row.iter_mut().zip(new).zip(&*old) {
            *value += scale * (new - old);
        }
    }
}

/// Every thread's space.
#[derive(Debug, Default)]
pub(super) struct Shards {
    shards: Vec<Shard>,
    /// Since all rows were merged.
    rounds: usize,
    /// `c` of the last round.
    contraction: f64,
}

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
        let overlay = |rows: &Rows, hot: &[u32]| match alone {
            true => Overlay::new(0, stride, &[]),
            false => Overlay::new(rows.as_slice().len() / stride, stride, hot),
        };
        self.shards.resize_with(threads, || Shard {
            worker: Worker::default(),
            inputs: overlay(inputs, &plan.hot.inputs),
            outputs: overlay(outputs, &plan.hot.outputs),
        });
        for shard in &mut self.shards {
            shard.worker.loss = Loss::default();
        }
        if alone {
            for (piece, shard) in pieces.into_iter().zip(&mut self.shards) {
                let (mut xs, mut ys) = (Direct::new(inputs), Direct::new(outputs));
                shard.worker.train(plan, piece, &mut xs, &mut ys);
            }
        } else {
            let rate = pieces
                .first()
                .map_or(0.0, |piece| plan.rate(piece.first, piece.total));
            let (xs, ys): (&Rows, &Rows) = (inputs, outputs);
            let pieces = pieces.into_par_iter().zip(self.shards.par_iter_mut());
            pieces.for_each(|(piece, shard)| {
                shard.inputs.refresh(xs);
                shard.outputs.refresh(ys);
                let mut inputs = Covered {
                    base: xs,
                    overlay: &mut shard.inputs,
                };
                let mut outputs = Covered {
                    base: ys,
                    overlay: &mut shard.outputs,
                };
                shard.worker.train(plan, piece, &mut inputs, &mut outputs);
            });
            self.contraction = (CONTRACTION * rate).min(0.5);
            self.rounds += 1;
            match self.rounds < plan.hot.rounds {
                true => self.merge(inputs, outputs, Scope::Hot),
                false => self.finish(inputs, outputs),
            }
        }
        let mut loss = Loss::default();
        for shard in &self.shards {
            loss.add((shard.worker.loss.sum, shard.worker.loss.pairs));
        }
        loss
    }

    /// Merges what waits to be.
    pub(super) fn finish(&mut self, inputs: &mut Rows, outputs: &mut Rows) {
        if self.rounds > 0 {
            self.merge(inputs, outputs, Scope::All);
            self.rounds = 0;
        }
    }

    fn merge(&mut self, inputs: &mut Rows, outputs: &mut Rows, scope: Scope) {
        let shards = self.shards.iter_mut();
        let (mut xs, mut ys): (Vec<&mut Overlay>, Vec<&mut Overlay>) =
            shards.map(|s| (&mut s.inputs, &mut s.outputs)).unzip();
        merge(inputs, &mut xs, self.contraction, scope);
        merge(outputs, &mut ys, self.contraction, scope);
    }
}
