//! The world the listeners live in: how famous each tune is, its hidden flavour, when it appeared, and
//! which tunes are played after which.

use std::cmp::Ordering;
use std::ops::Range;

use super::draw::{Draw, exp, ln};
use super::{DAY, FLAVOURS, SimulatedLog};
use crate::bundled::TuneRecord;

/// How many tunes may follow a tune in a set, and how often each is the one.
pub(super) const COMPANIONS: [f64; 4] = [0.4, 0.7, 0.9, 1.0];
/// How many candidates a tune's companions are chosen from.
const CANDIDATES: usize = 48;

/// What a session needs to know of one tune.
pub(super) struct Tune {
    /// Seconds after the start of the log.
    pub(super) appeared: i64,
    pub(super) companions: Vec<u32>,
}

/// What a taste judges, one entry per tune in the world's order; range and difficulty are
/// standardised over the catalogue.
pub(super) struct Columns {
    pub(super) mode: Vec<u32>,
    pub(super) range: Vec<f64>,
    pub(super) difficulty: Vec<f64>,
    pub(super) log_fame: Vec<f64>,
    pub(super) flavours: Vec<Vec<f64>>,
}

pub(super) struct World {
    pub(super) rhythms: Vec<String>,
    pub(super) modes: Vec<String>,
    pub(super) tunes: Vec<Tune>,
    pub(super) columns: Columns,
    /// Tunes by rhythm; `groups[r]` is the part of `order` with rhythm `r`.
    pub(super) order: Vec<u32>,
    pub(super) groups: Vec<Range<usize>>,
    /// Running totals of fame, by tune.
    pub(super) fame: Vec<f64>,
    /// Tunes that were there from the start, the most famous first.
    pub(super) old: Vec<u32>,
}

impl World {
    pub(super) fn new(config: &SimulatedLog, catalogue: &[TuneRecord]) -> Self {
        let mut draw = Draw::new(config.seed, 0);
        let (rhythms, rhythm) = labels(catalogue.iter().map(|t| t.rhythm.as_str()));
        let (modes, mode) = labels(catalogue.iter().map(|t| t.mode.as_str()));
        let range = standardise(catalogue.iter().map(|t| f64::from(t.range)).collect());
        let difficulty = standardise(catalogue.iter().map(|t| f64::from(t.difficulty)).collect());

        let mut ranks: Vec<u32> = (1..=catalogue.len() as u32).collect();
        draw.shuffle(&mut ranks);
        let length = i64::from(config.days) * DAY;
        let log_fame: Vec<f64> = ranks
            .iter()
            .map(|&r| -config.popularity * ln(f64::from(r)))
            .collect();
        let flavours: Vec<[f64; FLAVOURS]> = ranks.iter().map(|_| draw.normals()).collect();

        let mut order: Vec<u32> = (0..catalogue.len() as u32).collect();
        order.sort_by_key(|&i| rhythm[i as usize]);
        let groups: Vec<Range<usize>> = (0..rhythms.len() as u32)
            .map(|r| {
                order.partition_point(|&i| rhythm[i as usize] < r)
                    ..order.partition_point(|&i| rhythm[i as usize] <= r)
            })
            .collect();
        let tunes: Vec<Tune> = (0..catalogue.len())
            .map(|i| {
                let new = draw.chance(config.new_tunes);
                let appeared = if new {
                    (draw.unit() * length as f64) as i64
                } else {
                    0
                };
                let group = &order[groups[rhythm[i] as usize].clone()];
                Tune {
                    appeared,
                    companions: companions(&mut draw, i, group, &flavours, catalogue),
                }
            })
            .collect();

        let by_order = |values: &[f64]| order.iter().map(|&i| values[i as usize]).collect();
        let columns = Columns {
            mode: order.iter().map(|&i| mode[i as usize]).collect(),
            range: by_order(&range),
            difficulty: by_order(&difficulty),
            log_fame: by_order(&log_fame),
            flavours: (0..FLAVOURS)
                .map(|f| order.iter().map(|&i| flavours[i as usize][f]).collect())
                .collect(),
        };
        let fame = running(log_fame.iter().map(|&l| exp(l)));
        let mut old: Vec<u32> = (0..tunes.len() as u32)
            .filter(|&i| tunes[i as usize].appeared == 0)
            .collect();
        old.sort_by_key(|&i| ranks[i as usize]);
        Self {
            rhythms,
            modes,
            tunes,
            columns,
            order,
            groups,
            fame,
            old,
        }
    }
}

/// The tunes nearest in flavour and key among some of the same rhythm: what a player goes on with.
fn companions(
    draw: &mut Draw,
    tune: usize,
    group: &[u32],
    flavours: &[[f64; FLAVOURS]],
    catalogue: &[TuneRecord],
) -> Vec<u32> {
    let mut near: Vec<(f64, u32)> = (0..CANDIDATES)
        .map(|_| group[draw.below(group.len())])
        .filter(|&other| other as usize != tune)
        .map(|other| {
            let apart: f64 = flavours[tune]
                .iter()
                .zip(&flavours[other as usize])
                .map(|(a, b)| (a - b) * (a - b))
                .sum();
            let key = if catalogue[tune].key == catalogue[other as usize].key {
                0.0
            } else {
                2.0
            };
            (apart + key, other)
        })
        .collect();
    near.sort_by(|a, b| {
        a.0.partial_cmp(&b.0)
            .unwrap_or(Ordering::Equal)
            .then(a.1.cmp(&b.1))
    });
    near.dedup_by_key(|n| n.1);
    near.iter().take(COMPANIONS.len()).map(|n| n.1).collect()
}

/// Distinct labels in order of first appearance, and the number of each value's label.
fn labels<'a>(values: impl Iterator<Item = &'a str>) -> (Vec<String>, Vec<u32>) {
    let mut names: Vec<String> = Vec::new();
    let numbers = values
        .map(|value| {
            let found = names.iter().position(|n| n == value).unwrap_or_else(|| {
                names.push(value.to_owned());
                names.len() - 1
            });
            found as u32
        })
        .collect();
    (names, numbers)
}

/// Mean 0 and variance 1; zeros if all are equal.
fn standardise(mut values: Vec<f64>) -> Vec<f64> {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let deviation = (values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n).sqrt();
    let scale = if deviation > 0.0 {
        1.0 / deviation
    } else {
        0.0
    };
    values.iter_mut().for_each(|v| *v = (*v - mean) * scale);
    values
}

/// Running totals.
pub(super) fn running(values: impl Iterator<Item = f64>) -> Vec<f64> {
    values
        .scan(0.0, |sum, v| {
            *sum += v;
            Some(*sum)
        })
        .collect()
}
