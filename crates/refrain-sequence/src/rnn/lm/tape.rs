//! What a pass over a batch keeps.

use crate::batch::Example;
use crate::rnn::sweep::{Slopes, Values, Work};

/// Buffers of a pass, rows in the order of the steps.
#[derive(Debug, Default)]
pub(super) struct Tape {
    /// What the loss spreads of each target's probability over all tokens.
    pub(super) smoothing: f32,
    /// The examples, the longest first.
    pub(super) order: Vec<usize>,
    /// Of each row its example and its place in it.
    pub(super) rows: Vec<(usize, usize)>,
    /// The different tokens, where the first layer reads each of them once; else empty.
    pub(super) tokens: Vec<u32>,
    /// Then: of each row the place of its token among them.
    pub(super) places: Vec<u32>,
    /// Where each step begins, and the end.
    pub(super) steps: Vec<usize>,
    pub(super) layers: Vec<LayerTape>,
    /// What dropout multiplies with below each layer and above the last; empty without.
    pub(super) masks: Vec<Vec<f32>>,
    /// The rows after the last layer and dropout.
    pub(super) output: Vec<f32>,
    pub(super) dh: Vec<f32>,
    pub(super) dc: Vec<f32>,
    pub(super) logits: Vec<f32>,
    pub(super) work: Work,
}

#[derive(Debug, Default)]
pub(super) struct LayerTape {
    /// One per row, or per different token.
    pub(super) input: Vec<f32>,
    /// Of each different token the sums of its gates, or their gradient.
    pub(super) table: Vec<f32>,
    pub(super) values: Values,
    pub(super) slopes: Slopes,
}

impl Tape {
    pub(super) fn arrange(&mut self, batch: &[Example], layers: usize) {
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
    /// Finds the different tokens of a batch, where they are few: what a layer makes of a token's
    /// vector is then computed once. Dropout below the layer makes every row different.
    pub(super) fn find_tokens(&mut self, batch: &[Example]) {
        let Self {
            rows,
            tokens,
            places,
            masks,
            ..
        } = self;
        tokens.clear();
        places.clear();
        if masks.first().is_none_or(|mask| !mask.is_empty()) {
            return;
        }
        let token = |&(e, t): &(usize, usize)| batch[e].inputs[t];
        tokens.extend(rows.iter().map(token));
        tokens.sort_unstable();
        tokens.dedup();
        if 2 * tokens.len() > rows.len() {
            return tokens.clear();
        }
        let place = |row| tokens.partition_point(|&t| t < token(row)) as u32;
        places.extend(rows.iter().map(place));
    }
}
