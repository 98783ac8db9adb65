//! Which tokens a step sees: a pure function of the seed and the step, so that a resumed run
//! draws what an unbroken one would have drawn.

use rand::seq::SliceRandom;
use rand::{Rng, RngExt};
use refrain_core::rng;

use crate::TokenSequences;

/// A target that is not scored.
pub(crate) const UNSCORED: u32 = u32::MAX;

const WINDOWS: u64 = 0x7769_6e64;
const ORDER: u64 = 0x6f72_6465;
const DROPOUT: u64 = 0x6472_6f70;

/// One sequence to learn from: after `inputs[..=i]` comes `targets[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    pub(crate) inputs: Vec<u32>,
    pub(crate) targets: Vec<u32>,
    /// How much the loss of each target counts; empty where each counts once.
    pub(crate) weights: Vec<f32>,
    /// Its number among all examples ever drawn; dropout draws from it.
    pub(crate) number: u64,
    /// The lane of a stream that it is the next window of.
    pub(crate) lane: Option<Lane>,
}

/// One of the equal parts of a stream that are read side by side, window after window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lane {
    pub(crate) index: usize,
    /// Whether this window is the lane's first.
    pub(crate) begins: bool,
}

impl Example {
    /// The example of consecutive tokens; needs two at least.
    pub(crate) fn of(tokens: &[u32], number: u64) -> Self {
        let end = tokens.len().saturating_sub(1);
        Self {
            inputs: tokens[..end].to_vec(),
            targets: tokens[end.min(1)..].to_vec(),
            weights: Vec::new(),
            number,
            lane: None,
        }
    }

    /// The same, the loss of each target counting so much; of targets without a weight it counts once.
    pub fn weighted(self, weights: Vec<f32>) -> Self {
        Self { weights, ..self }
    }

    /// How much the loss of a target counts.
    pub(crate) fn weight(&self, target: usize) -> f32 {
        self.weights.get(target).copied().unwrap_or(1.0)
    }

    /// Tokens to read, nothing to score.
    pub(crate) fn reading(tokens: &[u32]) -> Self {
        Self {
            inputs: tokens.to_vec(),
            ..Self::rows(tokens.len(), 0)
        }
    }

    /// An example of `length` rows that are embedded elsewhere.
    pub fn rows(length: usize, number: u64) -> Self {
        Self {
            inputs: vec![0; length],
            targets: vec![UNSCORED; length],
            weights: Vec::new(),
            number,
            lane: None,
        }
    }

    /// How many rows it has.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(&self) -> usize {
        self.inputs.len()
    }

    /// Its tokens from `start`, `length` at most.
    pub(crate) fn piece(&self, start: usize, length: usize) -> Self {
        let cut = |tokens: &[u32]| tokens.iter().skip(start).take(length).copied().collect();
        Self {
            inputs: cut(&self.inputs),
            targets: cut(&self.targets),
            weights: self
                .weights
                .iter()
                .skip(start)
                .take(length)
                .copied()
                .collect(),
            number: self.number,
            lane: self.lane,
        }
    }

    pub(crate) fn scored(&self) -> usize {
        self.targets.iter().filter(|&&t| t != UNSCORED).count()
    }
}

/// How many targets of a batch are scored.
pub(crate) fn scored(batch: &[Example]) -> usize {
    batch.iter().map(Example::scored).sum()
}

/// Dropout of one step.
#[derive(Debug, Clone, Copy)]
pub struct Dropout {
    /// The share of values dropped.
    pub rate: f32,
    /// What the draws begin with.
    pub seed: u64,
}

impl Dropout {
    /// The factors of one place in the network for one example: 0, or `1 / (1 - rate)`.
    pub fn fill(&self, site: usize, example: &Example, factors: &mut [f32]) {
        self.fill_number(site, example.number, factors);
    }

    /// The same for the example of this number; places are told apart by 16 bits.
    pub(crate) fn fill_number(&self, site: usize, number: u64, factors: &mut [f32]) {
        let mut draw = rng::stream(self.seed ^ DROPOUT, number ^ ((site as u64) << 48));
        let keep = 1.0 / (1.0 - self.rate);
        let threshold = (f64::from(self.rate) * f64::from(u32::MAX)) as u32;
        for pair in factors.chunks_mut(2) {
            let bits = draw.next_u64();
            for (factor, bits) in pair.iter_mut().zip([bits as u32, (bits >> 32) as u32]) {
                *factor = if bits < threshold { 0.0 } else { keep };
            }
        }
    }
}

/// Draws training batches.
#[derive(Debug)]
pub(crate) struct Batcher<'a> {
    data: &'a TokenSequences,
    context: usize,
    seed: u64,
    /// How many lanes a stream is read in; 0 for windows drawn at random.
    lanes: usize,
    /// For documents: each piece as (document, first token, tokens).
    pieces: Vec<(usize, usize, usize)>,
    /// The order of the pieces in one epoch.
    order: Vec<u32>,
    epoch: Option<u64>,
}

impl<'a> Batcher<'a> {
    pub(crate) fn new(data: &'a TokenSequences, context: usize, seed: u64) -> Self {
        let pieces = match data.is_stream() {
            true => Vec::new(),
            false => {
                let lengths = data.iter().map(<[u32]>::len).enumerate();
                lengths
                    .flat_map(|(i, n)| pieces(n, context).map(move |(s, l)| (i, s, l)))
                    .collect()
            }
        };
        Self {
            data,
            context,
            seed,
            lanes: 0,
            pieces,
            order: Vec::new(),
            epoch: None,
        }
    }

    /// Reads a stream in so many lanes at once, each batch going on where the one before ended,
    /// and from the beginning after the end. A stream too short for two windows per lane keeps its
    /// random windows.
    pub(crate) fn in_lanes(mut self, lanes: usize) -> Self {
        let windows = self.data.targets() / lanes.max(1) / self.context.max(1);
        if windows >= 2 && self.data.is_stream() {
            self.lanes = lanes;
        }
        self
    }

    /// `size` examples, the batch number `index` of the run.
    pub(crate) fn batch(&mut self, index: u64, size: usize) -> Vec<Example> {
        let first = index * size as u64;
        (first..first + size as u64)
            .map(|number| self.example(number))
            .collect()
    }

    fn example(&mut self, number: u64) -> Example {
        if !self.data.is_stream() {
            return self.of_documents(number);
        }
        let tokens = self.data.get(0).unwrap_or_default();
        if self.lanes == 0 {
            let length = self.context.min(tokens.len() - 1) + 1;
            let mut draw = rng::stream(self.seed ^ WINDOWS, number);
            let start = draw.random_range(0..=tokens.len() - length);
            return Example::of(&tokens[start..start + length], number);
        }
        let lane = (number % self.lanes as u64) as usize;
        let length = (tokens.len() - 1) / self.lanes;
        let windows = length.div_ceil(self.context) as u64;
        let window = (number / self.lanes as u64 % windows) as usize;
        let start = window * self.context;
        let end = length.min(start + self.context);
        let of_lane = &tokens[lane * length..];
        let lane = Lane {
            index: lane,
            begins: window == 0,
        };
        Example {
            lane: Some(lane),
            ..Example::of(&of_lane[start..=end], number)
        }
    }

    fn of_documents(&mut self, number: u64) -> Example {
        let (epoch, place) = (
            number / self.pieces.len() as u64,
            number % self.pieces.len() as u64,
        );
        if self.epoch != Some(epoch) {
            self.order = (0..self.pieces.len() as u32).collect();
            self.order
                .shuffle(&mut rng::stream(self.seed ^ ORDER, epoch));
            self.epoch = Some(epoch);
        }
        let (document, start, length) = self.pieces[self.order[place as usize] as usize];
        let tokens = self.data.get(document).unwrap_or_default();
        Example::of(&tokens[start..start + length], number)
    }
}

/// Cuts a sequence of `length` tokens so that each token but the first is a target once; pieces
/// are (first token, tokens) with at most `context` targets.
fn pieces(length: usize, context: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..length.saturating_sub(1))
        .step_by(context)
        .map(move |start| (start, (length - start).min(context.saturating_add(1))))
}

/// Everything in `data` once, in order: what validation scores.
pub(crate) fn everything(data: &TokenSequences, context: usize) -> Vec<Example> {
    data.iter()
        .flat_map(|sequence| {
            pieces(sequence.len(), context).map(|(s, n)| Example::of(&sequence[s..s + n], 0))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn validation_scores_each_token_once(
            lengths in proptest::collection::vec(0usize..40, 1..8),
            context in 1usize..10,
        ) {
            let mut next = 0;
            let documents: Vec<Vec<u32>> = lengths
                .iter()
                .map(|&n| (0..n).map(|_| { next += 1; next }).collect())
                .collect();
            let data = TokenSequences::documents(documents.clone());
            let examples = everything(&data, context);
            let mut seen: Vec<u32> = examples.iter().flat_map(|e| e.targets.clone()).collect();
            seen.sort_unstable();
            let mut expected: Vec<u32> =
                documents.iter().flat_map(|d| d.iter().skip(1).copied()).collect();
            expected.sort_unstable();
            prop_assert_eq!(seen, expected);
            for example in examples {
                prop_assert!((1..=context).contains(&example.len()));
                for (a, b) in example.inputs.iter().zip(&example.targets) {
                    prop_assert_eq!(a + 1, *b);
                }
            }
        }
    }

    #[test]
    fn batches_repeat_and_an_epoch_sees_everything() {
        let data = TokenSequences::documents((0..7).map(|i| vec![i; 12]));
        let mut batcher = Batcher::new(&data, 8, 5);
        let batches: Vec<_> = (0..7).map(|i| batcher.batch(i, 2)).collect();
        assert_eq!(batches[3], Batcher::new(&data, 8, 5).batch(3, 2));
        let mut counts = [0; 7];
        batches
            .iter()
            .flatten()
            .for_each(|e| counts[e.inputs[0] as usize] += 1);
        assert_eq!(counts, [2; 7]); // 14 pieces of 7 documents
        let stream = TokenSequences::stream((0..100).collect());
        let batch = Batcher::new(&stream, 8, 1).batch(4, 3);
        assert!(
            batch
                .iter()
                .all(|e| e.len() == 8 && e.targets[7] == e.inputs[0] + 8)
        );
        // A stream shorter than the context is one window.
        let short = TokenSequences::stream(vec![1, 2, 3]);
        assert_eq!(Batcher::new(&short, 8, 1).batch(0, 1)[0].targets, [2, 3]);
    }

    #[test]
    fn lanes_go_on_where_they_ended_and_cover_the_stream() {
        let stream = TokenSequences::stream((0..100).collect());
        // 3 lanes of 33 targets: windows of 10, 10, 10 and 3.
        let mut batcher = Batcher::new(&stream, 10, 1).in_lanes(3);
        let batches: Vec<_> = (0..8).map(|i| batcher.batch(i, 3)).collect();
        let mut targets: Vec<u32> = Vec::new();
        for (step, batch) in batches.iter().enumerate() {
            for (lane, example) in batch.iter().enumerate() {
                let begins = step % 4 == 0;
                assert_eq!(
                    example.lane,
                    Some(Lane {
                        index: lane,
                        begins
                    })
                );
                if !begins {
                    let before = &batches[step - 1][lane];
                    assert_eq!(before.targets.last(), example.inputs.first());
                }
                if step < 4 {
                    targets.extend(&example.targets);
                }
            }
        }
        targets.sort_unstable();
        assert_eq!(targets, (1..100).collect::<Vec<_>>());
        assert_eq!(batches[4][2].inputs, batches[0][2].inputs);
        assert_ne!(batches[4][2].number, batches[0][2].number);
        // Two batches of a step are lanes side by side.
        let mut batcher = Batcher::new(&stream, 10, 1).in_lanes(4);
        assert_eq!(batcher.batch(1, 2)[1].lane.map(|l| l.index), Some(3));
        assert!(
            Batcher::new(&stream, 10, 1).in_lanes(6).batch(0, 1)[0]
                .lane
                .is_none()
        );
    }

    #[test]
    fn dropout_keeps_the_mean() {
        let dropout = Dropout { rate: 0.3, seed: 1 };
        let example = Example::of(&[1, 2], 9);
        let mut factors = vec![0.0; 20_001];
        dropout.fill(2, &example, &mut factors);
        let mean = factors.iter().sum::<f32>() / factors.len() as f32;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        let mut again = vec![0.0; 20_001];
        dropout.fill(2, &example, &mut again);
        assert_eq!(factors, again);
        dropout.fill(3, &example, &mut again);
        assert_ne!(factors, again);
    }
}
