//! One thread's part of training: sentences in, windows drawn, rows stepped.

use pulp::{Simd, WithSimd};
use rand::RngExt;
use refrain_core::rng::Stream;

use super::chunks::MAX_SENTENCE;
use super::kernel::{Step, Window};
use super::sampling::Negatives;
use crate::vocabulary::END;

/// What stays the same during training.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) negatives: Negatives,
    /// The chance in 2³² that an occurrence is kept, for each word.
    pub(super) keep: Vec<u32>,
    pub(super) window: usize,
    pub(super) negatives_per_window: usize,
    pub(super) learning_rate: f64,
    /// Tokens over all epochs.
    pub(super) total: u64,
}

impl Plan {
    /// The learning rate after `done` tokens: it falls in a straight line to a ten-thousandth.
    pub(super) fn rate(&self, done: u64) -> f64 {
        let left = 1.0 - done as f64 / self.total.max(1) as f64;
        self.learning_rate * left.max(1e-4)
    }
}

/// A piece of the corpus, the number of its first token, and its own random stream.
pub(super) type Begun<'a> = (&'a [u32], u64, Stream);

/// A table whose rows a worker may change.
pub(super) trait Table {
    /// Where the row of `word` begins in [`Table::values`], in floats.
    fn row(&mut self, word: u32) -> usize;
    fn values(&mut self) -> &mut [f32];
    fn stride(&self) -> usize;
}

/// Draws the windows of a sentence: subsampling, dynamic width, shared negatives.
#[derive(Debug, Default)]
pub(super) struct Windows {
    kept: Vec<u32>,
    negatives: Vec<u32>,
    contexts: Vec<u32>,
}

impl Windows {
    /// Calls `each` with the centre word, its contexts and its negatives (never the centre).
    #[inline(always)]
    pub(super) fn draw(
        &mut self,
        plan: &Plan,
        sentence: &[u32],
        rng: &mut Stream,
        mut each: impl FnMut(u32, &[u32], &[u32]),
    ) {
        self.kept.clear();
        self.kept.extend(sentence.iter().copied().filter(|&word| {
            let chance = plan.keep[word as usize];
            chance == u32::MAX || rng.random::<u32>() < chance
        }));
        for (i, &centre) in self.kept.iter().enumerate() {
            let reach = 1 + ((rng.random::<u32>() as u64 * plan.window as u64) >> 32) as usize;
            self.contexts.clear();
            self.contexts
                .extend_from_slice(&self.kept[i.saturating_sub(reach)..i]);
            let end = (i + 1).saturating_add(reach).min(self.kept.len());
            self.contexts.extend_from_slice(&self.kept[i + 1..end]);
            if self.contexts.is_empty() {
                continue;
            }
            self.negatives.clear();
            for _ in 0..plan.negatives_per_window {
                let word = plan.negatives.draw(rng);
                if word != centre {
                    self.negatives.push(word);
                }
            }
            each(centre, &self.contexts, &self.negatives);
        }
    }
}

/// Adds `word` to a list of different words with weights, or one to its weight.
#[inline(always)]
pub(super) fn add(words: &mut Vec<u32>, weights: &mut Vec<f32>, word: u32) {
    match words.iter().position(|&w| w == word) {
        Some(at) => weights[at] += 1.0,
        None => {
            words.push(word);
            weights.push(1.0);
        }
    }
}

/// `log(1 + eˣ)` without overflow; not a number stays so.
pub(super) fn softplus(x: f64) -> f64 {
    match x.is_nan() {
        true => x,
        false => x.max(0.0) + (-x.abs()).exp().ln_1p(),
    }
}

/// A sample of the loss.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Loss {
    pub(super) sum: f64,
    pub(super) pairs: f64,
}

impl Loss {
    pub(super) fn add(&mut self, (sum, pairs): (f64, f64)) {
        self.sum += sum;
        self.pairs += pairs;
    }

    /// The mean over the sampled pairs of a word and a context, its negatives included.
    pub(super) fn mean(&self) -> f64 {
        self.sum / self.pairs.max(1.0)
    }
}

/// One window in so many is measured.
const LOSS_EVERY: u32 = 32;

/// A thread's scratch space and its sums.
#[derive(Debug, Default)]
pub(super) struct Worker {
    windows: Windows,
    window: Window,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
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
            inputs,
            outputs,
            loss,
        } = worker;
        let stride = xs.stride();
        let mut count = 0u32;
        for sentence in piece
            .split(|&id| id == END)
            .flat_map(|s| s.chunks(MAX_SENTENCE))
        {
            let rate = plan.rate(done) as f32;
            done += sentence.len() as u64;
            windows.draw(plan, sentence, &mut rng, |centre, contexts, negatives| {
                inputs.clear();
                window.input_weights.clear();
                for &word in contexts {
                    add(inputs, &mut window.input_weights, word);
                }
                outputs.clear();
                window.output_weights.clear();
                for &word in [centre].iter().chain(negatives) {
                    add(outputs, &mut window.output_weights, word);
                }
                window.inputs.clear();
                window
                    .inputs
                    .extend(inputs.iter().map(|&word| xs.row(word)));
                window.outputs.clear();
                window
                    .outputs
                    .extend(outputs.iter().map(|&word| ys.row(word)));
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
