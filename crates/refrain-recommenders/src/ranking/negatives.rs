//! Where negatives come from: items that the user has not had, to be ranked below one they had.

use rand::RngExt;
use refrain_core::rng::Stream;
use serde::{Deserialize, Serialize};

/// Where negatives come from. What the user had is never among them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Negatives {
    /// All items alike.
    Uniform,
    /// By (number of users)^power: 1 as in the log, ¾ as in word2vec. Popular items then have to be
    /// earned.
    Popularity {
        /// 0 is uniform, 1 as often as in the log.
        power: f32,
    },
    /// The one with the highest score among `of` drawn uniformly, which gives larger gradients the
    /// longer training lasts. Rendle and Freudenthaler, *Improving pairwise learning for item
    /// recommendation from implicit feedback*, 2014, in the form of Zhang et al., *Optimizing top-n
    /// collaborative filtering via dynamic negative item sampling*, 2013.
    Hardest {
        /// 1 is uniform; 2 to 8 sharpen the top of the list.
        of: u32,
    },
}

/// How often a draw is repeated when it meets something the user had.
const TRIES: usize = 16;

/// Draws places of one block of items.
pub(super) struct Table {
    n: u32,
    /// Walker's alias table, 1977: the chance to stay, and where else to go. Empty for uniform.
    alias: Vec<(f32, u32)>,
}

impl Table {
    pub(super) fn new(negatives: &Negatives, items: &[u32], counts: &[u32]) -> Self {
        let alias = match *negatives {
            Negatives::Popularity { power } if power != 0.0 => {
                // An item that nobody had counts as if one user in two had.
                let weight =
                    |&item: &u32| (f64::from(counts[item as usize]).max(0.5)).powf(power.into());
                alias(&items.iter().map(weight).collect::<Vec<f64>>())
            }
            _ => Vec::new(),
        };
        Self {
            n: items.len() as u32,
            alias,
        }
    }

    /// Any place of the block.
    #[inline(always)]
    pub(super) fn any(&self, rng: &mut Stream) -> u32 {
        let bits: u64 = rng.random();
        let place = (((bits >> 32) * u64::from(self.n)) >> 32) as u32;
        match self.alias.get(place as usize) {
            Some(&(stay, other)) => {
                let coin = ((bits as u32) >> 8) as f32 * (1.0 / (1u32 << 24) as f32);
                if coin < stay { place } else { other }
            }
            None => place,
        }
    }

    /// A place that is not marked; `None` when none was met in a few tries.
    #[inline(always)]
    pub(super) fn unmarked(&self, rng: &mut Stream, marks: &[u64]) -> Option<u32> {
        (0..TRIES)
            .map(|_| self.any(rng))
            .find(|&place| !marked(marks, place))
    }
}

#[inline(always)]
pub(super) fn marked(marks: &[u64], place: u32) -> bool {
    (marks[place as usize / 64] >> (place % 64)) & 1 == 1
}

fn alias(weights: &[f64]) -> Vec<(f32, u32)> {
    let n = weights.len();
    let mean = weights.iter().sum::<f64>() / n.max(1) as f64;
    let mut shares: Vec<f64> = weights.iter().map(|w| w / mean).collect();
    let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| shares[i] < 1.0);
    let mut table: Vec<(f32, u32)> = (0..n as u32).map(|i| (1.0, i)).collect();
    while let (Some(&from), Some(to)) = (large.last(), small.pop()) {
        table[to] = (shares[to] as f32, from as u32);
        shares[from] -= 1.0 - shares[to];
        if shares[from] < 1.0 {
            large.pop();
            small.push(from);
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use refrain_core::rng;

    use super::*;

    #[test]
    fn draws_follow_their_weights() {
        let (items, counts) = ([2u32, 0, 1], [8u32, 1, 27]);
        for (negatives, expected) in [
            (Negatives::Uniform, [1.0, 1.0, 1.0]),
            (Negatives::Hardest { of: 3 }, [1.0, 1.0, 1.0]),
            (Negatives::Popularity { power: 1.0 }, [27.0, 8.0, 1.0]),
            (Negatives::Popularity { power: 1.0 / 3.0 }, [3.0, 2.0, 1.0]),
        ] {
            let table = Table::new(&negatives, &items, &counts);
            let mut rng = rng::stream(1, 0);
            let mut drawn = [0.0f64; 3];
            (0..60_000).for_each(|_| drawn[table.any(&mut rng) as usize] += 1.0);
            let total: f64 = expected.iter().sum();
            for (drawn, expected) in drawn.iter().zip(expected) {
                assert!(
                    (drawn / 60_000.0 - expected / total).abs() < 0.01,
                    "{negatives:?} {drawn}"
                );
            }
        }
    }

    #[test]
    fn what_is_marked_is_never_drawn() {
        let table = Table::new(
            &Negatives::Uniform,
            &(0..70).collect::<Vec<u32>>(),
            &[1; 70],
        );
        let mut rng = rng::stream(1, 0);
        let marks = [!(1u64 << 5), !(1u64 << 2)];
        for _ in 0..2000 {
            assert!(matches!(
                table.unmarked(&mut rng, &marks),
                None | Some(5 | 66)
            ));
        }
        assert_eq!(table.unmarked(&mut rng, &[u64::MAX; 2]), None);
    }
}
