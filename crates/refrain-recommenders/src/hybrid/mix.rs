use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How members are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Mix {
    /// A weighted sum of standardised scores.
    #[default]
    Scores,
    /// Weighted reciprocal rank fusion.
    Ranks {
        /// Larger makes the first places count less against the following ones; 60 is usual.
        constant: f32,
    },
}

impl Mix {
    /// Rank fusion with the usual constant of 60.
    pub fn ranks() -> Self {
        Mix::Ranks { constant: 60.0 }
    }

    pub(super) fn check(self) -> Result<()> {
        match self {
            Mix::Ranks { constant } if !(constant.is_finite() && constant > 0.0) => {
                Err(Error::Config {
                    model: "blend",
                    field: "mix.constant",
                    value: constant.to_string(),
                    expected: "must be above 0",
                })
            }
            _ => Ok(()),
        }
    }

    /// Makes one member's scores comparable with the others', in place.
    pub(super) fn level(self, scores: &mut [f32], seen: &[u32]) -> Level {
        match self {
            Mix::Scores => {
                let n = unseen(scores, seen).count().max(1) as f64;
                let mean = unseen(scores, seen).map(f64::from).sum::<f64>() / n;
                let squares = unseen(scores, seen).map(|s| (f64::from(s) - mean).powi(2));
                let scale = (1.0 / (squares.sum::<f64>() / n).sqrt()) as f32;
                // All the same: this member has nothing to say.
                let scale = if scale.is_finite() { scale } else { 0.0 };
                let mean = mean as f32;
                scores.iter_mut().for_each(|s| *s = (*s - mean) * scale);
                Level { mean, scale }
            }
            Mix::Ranks { constant } => {
                let mut order: Vec<f32> = unseen(scores, seen).collect();
                order.sort_unstable_by(|a, b| b.total_cmp(a));
                for score in scores {
                    let rank = order.partition_point(|other| other >= score);
                    *score = constant / (constant + rank as f32);
                }
                Level {
                    mean: 0.0,
                    scale: 1.0,
                }
            }
        }
    }
}

/// The scores of the items that are not in `seen`, which ascends.
pub(super) fn unseen<'a>(scores: &'a [f32], seen: &'a [u32]) -> impl Iterator<Item = f32> + 'a {
    let mut seen = seen.iter().copied().peekable();
    let all = (0u32..).zip(scores);
    all.filter(move |(item, _)| seen.next_if_eq(item).is_none())
        .map(|(_, &score)| score)
}

/// How scores were made comparable.
#[derive(Clone, Copy)]
pub(super) struct Level {
    pub mean: f32,
    pub scale: f32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_share_the_worst_rank_and_seen_items_do_not_count() {
        let mut scores = [5.0, 3.0, 3.0, 9.0, 0.0];
        Mix::Ranks { constant: 1.0 }.level(&mut scores, &[3]);
        assert_eq!(scores, [1.0 / 2.0, 1.0 / 4.0, 1.0 / 4.0, 1.0, 1.0 / 5.0]);
        let mut flat = [2.0; 3];
        Mix::Scores.level(&mut flat, &[]);
        assert_eq!(flat, [0.0; 3]);
    }
}
