//! Which rows threads step often, from the counts of words alone.

use super::windows::{Plan, Targets};

/// What the counts of words foretell of a thread.
#[derive(Debug, Default)]
pub(super) struct Hot {
    /// Rows that are stepped often, ascending.
    pub(super) inputs: Vec<u32>,
    pub(super) outputs: Vec<u32>,
    /// After how many rounds the others are merged.
    pub(super) rounds: usize,
}

/// After how many rounds, a power of two up to 16, no more than `most` rows are expected to be touched that
/// are stepped so often in a round each.
pub(super) fn rounds(steps: impl Iterator<Item = f64> + Clone, most: usize) -> usize {
    // Of rows that are stepped s times in the mean, 1 − e⁻ˢ are.
    let touched = |n: usize| {
        steps
            .clone()
            .map(|s| -(-s * n as f64).exp_m1())
            .sum::<f64>()
    };
    let fits = |&n: &usize| touched(n) <= most as f64;
    [16, 8, 4, 2].into_iter().find(fits).unwrap_or(1)
}

impl Plan {
    /// The rows that a thread is expected to step `often` times or more in a round of so many tokens, from
    /// the words' counts, those of documents left out; `waiting` of the others may wait to be merged.
    pub(super) fn hot(
        &self,
        counts: &[u64],
        power: f64,
        tokens: f64,
        often: f64,
        waiting: usize,
    ) -> Hot {
        let all = counts.iter().sum::<u64>().max(1) as f64;
        let kept = counts.iter().zip(&self.keep);
        let centres: Vec<f64> = kept
            .map(|(&count, &keep)| {
                tokens * count as f64 / all * f64::from(keep) / f64::from(u32::MAX)
            })
            .collect();
        // A word is a context of all words in its window, and they are its contexts.
        let contexts = self.window as f64 + 1.0;
        let inputs = match self.tells_contexts() {
            true => 1.0,
            false => contexts,
        };
        let mut stepped = vec![0.0; counts.len()];
        for (word, centre) in centres.iter().enumerate() {
            match &self.ngrams {
                None => stepped[word] += inputs * centre,
                Some(ngrams) => {
                    for &row in ngrams.of(word as u32) {
                        let row = row as usize;
                        if row >= stepped.len() {
                            stepped.resize(row + 1, 0.0);
                        }
                        stepped[row] += inputs * centre;
                    }
                }
            }
        }
        let told = match self.tells_contexts() {
            true => contexts,
            false => 1.0,
        };
        let mut outputs: Vec<f64> = centres.iter().map(|centre| told * centre).collect();
        match &self.targets {
            Targets::Negatives(_, drawn) => {
                let windows: f64 = centres.iter().sum();
                let weight = |&count: &u64| (count as f64).powf(power);
                let weights = counts
                    .iter()
                    .map(weight)
                    .sum::<f64>()
                    .max(f64::MIN_POSITIVE);
                for (output, count) in outputs.iter_mut().zip(counts) {
                    *output += told * windows * *drawn as f64 * weight(count) / weights;
                }
            }
            Targets::Paths(paths) => {
                outputs.fill(0.0);
                for (word, centre) in centres.iter().enumerate() {
                    for &(node, _) in paths.of(word as u32) {
                        outputs[node as usize] += told * centre;
                    }
                }
            }
        }
        let choose = |steps: &[f64]| -> Vec<u32> {
            let rows = (0u32..).zip(steps);
            rows.filter(|(_, steps)| **steps >= often)
                .map(|(row, _)| row)
                .collect()
        };
        let others = stepped.iter().chain(&outputs).copied();
        Hot {
            rounds: rounds(others.filter(|&steps| steps < often), waiting),
            inputs: choose(&stepped),
            outputs: choose(&outputs),
        }
    }
}
