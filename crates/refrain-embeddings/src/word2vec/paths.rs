//! Hierarchical softmax: a word is told from all others by the turns on the way to its leaf in a
//! Huffman tree (Morin and Bengio, *Hierarchical Probabilistic Neural Network Language Model*, 2005;
//! Mikolov et al., 2013), so that frequent words have short ways.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The inner nodes on the way to each word and whether it turns left there.
#[derive(Debug)]
pub(super) struct Paths {
    /// Where the way of each word begins in `turns`; one more than there are words.
    starts: Vec<usize>,
    /// Inner node, and the label of its turn: 1 to the left, 0 to the right.
    turns: Vec<(u32, f32)>,
}

impl Paths {
    /// The tree of the least total length of ways, each counted as often as its word.
    pub(super) fn new(counts: &[u64]) -> Self {
        let leaves = counts.len();
        // Of equal counts the older node is joined first, so that the tree is one.
        let mut heap: BinaryHeap<Reverse<(u64, usize)>> = counts
            .iter()
            .enumerate()
            .map(|(word, &count)| Reverse((count, word)))
            .collect();
        // For each node its parent among the inner nodes, and its label there.
        let mut parents = vec![(0usize, 0.0f32); (2 * leaves).saturating_sub(1)];
        let mut next = leaves;
        while let (Some(Reverse((a, left))), Some(Reverse((b, right)))) = (heap.pop(), heap.pop()) {
            parents[left] = (next, 1.0);
            parents[right] = (next, 0.0);
            heap.push(Reverse((a.saturating_add(b), next)));
            next += 1;
            if heap.len() == 1 {
                break;
            }
        }
        let root = parents.len().saturating_sub(1);
        let (mut starts, mut turns) = (vec![0], Vec::new());
        for word in 0..leaves {
            let (begin, mut node) = (turns.len(), word);
            while node != root {
                let (parent, label) = parents[node];
                turns.push(((parent - leaves) as u32, label));
                node = parent;
            }
            turns[begin..].reverse();
            starts.push(turns.len());
        }
        Self { starts, turns }
    }

    /// The way to `word` from the root.
    pub(super) fn of(&self, word: u32) -> &[(u32, f32)] {
        let word = word as usize;
        &self.turns[self.starts[word]..self.starts[word + 1]]
    }

    /// The most turns a word has.
    pub(super) fn longest(&self) -> usize {
        self.starts
            .windows(2)
            .map(|w| w[1] - w[0])
            .max()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn frequent_words_have_short_ways() {
        // The textbook's example (Cormen et al., chapter 15): a 45, b 13, c 12, d 16, e 9, f 5.
        let paths = Paths::new(&[45, 13, 12, 16, 9, 5]);
        let lengths: Vec<usize> = (0..6).map(|word| paths.of(word).len()).collect();
        assert_eq!(lengths, [1, 3, 3, 3, 4, 4]);
        assert_eq!(paths.longest(), 4);
        assert!(Paths::new(&[7]).of(0).is_empty(), "one word needs no turn");
        assert_eq!(Paths::new(&[7, 7]).of(1), [(0, 0.0)]);
        assert_eq!(Paths::new(&[]).longest(), 0);
    }

    proptest! {
        /// With any scores of the inner nodes the words' probabilities add up to 1: no way is a
        /// part of another, and none is missing.
        #[test]
        fn probabilities_add_up(counts in proptest::collection::vec(0u64..50, 2..40)) {
            let paths = Paths::new(&counts);
            let sigmoid = |node: u32| 1.0 / (1.0 + (-f64::from(node % 7) + 3.0).exp());
            let total: f64 = (0..counts.len() as u32)
                .map(|word| {
                    paths.of(word).iter().map(|&(node, label)| {
                        if label == 1.0 { sigmoid(node) } else { 1.0 - sigmoid(node) }
                    }).product::<f64>()
                })
                .sum();
            prop_assert!((total - 1.0).abs() < 1e-9, "{}", total);
            let nodes = (0..counts.len() as u32).flat_map(|w| paths.of(w).to_vec());
            prop_assert_eq!(nodes.map(|(node, _)| node).max(), Some(counts.len() as u32 - 2));
        }
    }
}
