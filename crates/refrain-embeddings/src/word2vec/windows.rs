//! Windows: what is drawn from a sentence, and which rows of which table it touches.

use rand::RngExt;
use refrain_core::rng::Stream;

use super::Architecture;
use super::hot::Hot;
use super::ngrams::NgramRows;
use super::paths::Paths;
use super::sampling::Negatives;

/// What stays the same during training.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) architecture: Architecture,
    pub(super) targets: Targets,
    /// The rows of each word's n-grams.
    pub(super) ngrams: Option<NgramRows>,
    /// The row of the first document, and whether words are trained beside, if documents are.
    pub(super) documents: Option<(u32, bool)>,
    /// The chance in 2³² that an occurrence is kept, for each word.
    pub(super) keep: Vec<u32>,
    pub(super) window: usize,
    pub(super) learning_rate: f64,
    /// From so many words on, negatives are drawn from a few thousand at a time.
    pub(super) large: usize,
    /// With threads, the rows that are merged most often.
    pub(super) hot: Hot,
}

/// What a word is told from.
#[derive(Debug)]
pub(super) enum Targets {
    /// Words drawn at random, so many a window.
    Negatives(Negatives, usize),
    /// The other turns on its way.
    Paths(Paths),
}

impl Plan {
    /// The learning rate after `done` of `total` tokens: it falls in a straight line to a
    /// ten-thousandth.
    pub(super) fn rate(&self, done: u64, total: u64) -> f64 {
        let left = 1.0 - done as f64 / total.max(1) as f64;
        self.learning_rate * left.max(1e-4)
    }

    /// Whether a window's centre tells its contexts, and not they the centre.
    pub(super) fn tells_contexts(&self) -> bool {
        self.architecture == Architecture::SkipGram && self.ngrams.is_some()
    }

    /// The most labels a word has: itself and its negatives, or its turns.
    pub(super) fn most_labels(&self) -> usize {
        match &self.targets {
            Targets::Negatives(_, drawn) => 1 + drawn,
            Targets::Paths(paths) => paths.longest(),
        }
    }
}

/// Draws the windows of a sentence: subsampling, dynamic width, negatives.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// What negatives are drawn from, unless it is empty and they are drawn from all words.
    pool: Vec<u32>,
    kept: Vec<u32>,
    negatives: Vec<u32>,
    contexts: Vec<u32>,
}

/// Words that the negatives of a piece are drawn from, where the vocabulary is large.
const POOL: usize = 4096;

impl Windows {
    /// A piece of the corpus begins. Of a large vocabulary it draws its negatives from some thousand, drawn
    /// as negatives are: each is then read a few times while it is near, and not once from far away.
    pub(super) fn begin(&mut self, plan: &Plan, rng: &mut Stream) {
        self.pool.clear();
        if let Targets::Negatives(negatives, _) = &plan.targets
            && plan.keep.len() >= plan.large
        {
            self.pool.extend((0..POOL).map(|_| negatives.draw(rng)));
        }
    }

    /// Calls `each` with the centre word, its contexts and the negatives drawn for them.
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
            let reach = 1 + below(rng, plan.window);
            self.contexts.clear();
            self.contexts
                .extend_from_slice(&self.kept[i.saturating_sub(reach)..i]);
            let end = (i + 1).saturating_add(reach).min(self.kept.len());
            self.contexts.extend_from_slice(&self.kept[i + 1..end]);
            if self.contexts.is_empty() && plan.documents.is_none() {
                continue;
            }
            self.negatives.clear();
            if let Targets::Negatives(negatives, drawn) = &plan.targets {
                // Contexts share negatives where each is a row of its own; where the centre tells them
                // all, the same few negatives would count too much.
                let words = match plan.tells_contexts() {
                    true => self.contexts.len(),
                    false => 1,
                };
                let count = *drawn * words;
                let pool = self.pool.as_slice();
                self.negatives
                    .extend((0..count).map(|_| match pool.is_empty() {
                        true => negatives.draw(rng),
                        false => pool[below(rng, pool.len())],
                    }));
            }
            each(centre, &self.contexts, &self.negatives);
        }
    }
}

/// A number below `bound`, which is less than 2³².
#[inline(always)]
fn below(rng: &mut Stream, bound: usize) -> usize {
    ((u64::from(rng.random::<u32>()) * bound as u64) >> 32) as usize
}

/// The rows that one window touches, each once, with weights and labels.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// Rows of the inputs and how often each stands in the window; or, of a window whose only input is a
    /// mean, the rows it is made of, with repetitions.
    pub(super) inputs: Vec<u32>,
    pub(super) input_weights: Vec<f32>,
    pub(super) outputs: Vec<u32>,
    pub(super) output_weights: Vec<f32>,
    /// 1 for a word that is there, 0 for one that is not, between them for a row that is both.
    pub(super) labels: Vec<f32>,
    /// Pairs of an input and a word it should tell.
    pub(super) pairs: usize,
    /// Whether the only input is a mean.
    pub(super) composed: bool,
    /// Where the rows begin in their tables, in floats: of the inputs, of what an input is made of,
    /// and of the outputs.
    pub(super) at_inputs: Vec<usize>,
    pub(super) components: Vec<usize>,
    pub(super) at_outputs: Vec<usize>,
    /// `x·y` of the last step, `[B, M]`.
    pub(super) logits: Vec<f32>,
    /// `G` of the last step, `[B, M]`, padded to whole lines.
    pub(super) g: Vec<f32>,
    /// The old inputs, needed when there are more outputs than one block.
    pub(super) old: Vec<f32>,
    /// A mean of rows before and after the step.
    pub(super) hidden: Vec<f32>,
}

impl Plan {
    /// Calls `each` with the windows of a sentence, which is document number `document`, laid out in
    /// `window`.
    #[inline(always)]
    pub(super) fn windows(
        &self,
        windows: &mut Windows,
        window: &mut Window,
        (sentence, document): (&[u32], u32),
        rng: &mut Stream,
        mut each: impl FnMut(&mut Window),
    ) {
        windows.draw(self, sentence, rng, |centre, contexts, negatives| {
            let Some((first, words)) = self.documents else {
                window.fill(self, None, centre, contexts, negatives);
                return each(window);
            };
            let row = first + document;
            if self.architecture == Architecture::Cbow {
                window.fill(self, Some(row), centre, contexts, negatives);
                return each(window);
            }
            window.fill_document(self, row, centre, negatives);
            each(window);
            if words && !contexts.is_empty() {
                window.fill(self, None, centre, contexts, negatives);
                each(window);
            }
        });
    }
}

impl Window {
    fn clear(&mut self) {
        self.inputs.clear();
        self.input_weights.clear();
        self.outputs.clear();
        self.output_weights.clear();
        self.labels.clear();
        self.composed = false;
    }

    /// A document that tells one of its words.
    #[inline(always)]
    pub(super) fn fill_document(&mut self, plan: &Plan, row: u32, word: u32, negatives: &[u32]) {
        self.clear();
        self.pairs = 1;
        self.input(row);
        self.told(plan, &[word], negatives);
    }

    /// The rows, weights and labels of what was drawn from `document`.
    #[inline(always)]
    pub(super) fn fill(
        &mut self,
        plan: &Plan,
        document: Option<u32>,
        centre: u32,
        contexts: &[u32],
        negatives: &[u32],
    ) {
        self.clear();
        self.pairs = contexts.len();
        match (plan.architecture, &plan.ngrams) {
            (Architecture::SkipGram, None) => {
                contexts.iter().for_each(|&word| self.input(word));
                self.told(plan, &[centre], negatives);
            }
            (Architecture::SkipGram, Some(ngrams)) => {
                self.composed = true;
                ngrams.append(centre, &mut self.inputs);
                self.told(plan, contexts, negatives);
            }
            (Architecture::Cbow, ngrams) => {
                self.composed = true;
                self.pairs = 1;
                for &word in contexts {
                    match ngrams {
                        Some(ngrams) => ngrams.append(word, &mut self.inputs),
                        None => self.inputs.push(word),
                    }
                }
                self.inputs.extend(document);
                self.told(plan, &[centre], negatives);
            }
        }
    }

    /// The words that are to be told, and what from.
    #[inline(always)]
    fn told(&mut self, plan: &Plan, words: &[u32], negatives: &[u32]) {
        match &plan.targets {
            Targets::Negatives(..) => {
                words.iter().for_each(|&word| self.output(word, 1.0, 1.0));
                let each = (negatives.len() / words.len().max(1)).max(1);
                for (&word, own) in words.iter().zip(negatives.chunks(each)) {
                    // A word is no negative of itself.
                    for &negative in own.iter().filter(|&&negative| negative != word) {
                        self.output(negative, 1.0, 0.0);
                    }
                }
            }
            Targets::Paths(paths) => {
                for &word in words {
                    for &(node, label) in paths.of(word) {
                        self.output(node, 1.0, label);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn input(&mut self, row: u32) {
        match self.inputs.iter().position(|&r| r == row) {
            Some(at) => self.input_weights[at] += 1.0,
            None => {
                self.inputs.push(row);
                self.input_weights.push(1.0);
            }
        }
    }

    /// Labels of one row are one label of their mean and of their weight together: the gradient is
    /// the same.
    #[inline(always)]
    fn output(&mut self, row: u32, weight: f32, label: f32) {
        match self.outputs.iter().position(|&r| r == row) {
            Some(at) => {
                let sum = self.output_weights[at] + weight;
                self.labels[at] += (label - self.labels[at]) * weight / sum;
                self.output_weights[at] = sum;
            }
            None => {
                self.outputs.push(row);
                self.output_weights.push(weight);
                self.labels.push(label);
            }
        }
    }

    /// The loss of the last step before its update, and how many pairs it sums over.
    pub(super) fn loss(&self) -> (f64, f64) {
        let m = self.at_outputs.len().max(1);
        let mut loss = 0.0;
        for (row, &weight) in self.logits.chunks(m).zip(&self.input_weights) {
            loss += f64::from(weight) * cross_entropy(row, &self.output_weights, &self.labels);
        }
        (loss, self.pairs as f64)
    }
}

/// `Σ w (log(1 + eˣ) − label·x)`.
pub(super) fn cross_entropy(logits: &[f32], weights: &[f32], labels: &[f32]) -> f64 {
    logits
        .iter()
        .zip(weights)
        .zip(labels)
        .map(|((&x, &weight), &label)| {
            let x = f64::from(x);
            f64::from(weight) * (softplus(x) - f64::from(label) * x)
        })
        .sum()
}

/// `log(1 + eˣ)` without overflow; not a number stays so.
fn softplus(x: f64) -> f64 {
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
