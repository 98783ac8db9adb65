use serde::{Deserialize, Serialize};

use super::NAME;
use crate::{Error, Result};

/// A score, whether it was right, and for how many it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Judged {
    pub score: f32,
    pub hit: bool,
    pub weight: f64,
}

/// A rising curve from scores to probabilities.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Curve {
    /// 1 / (1 + exp(−(a s + b)))
    Platt { a: f64, b: f64 },
    /// Lines between these points, level outside.
    Isotonic { scores: Vec<f32>, shares: Vec<f32> },
}

impl Curve {
    /// The probability of a score.
    pub fn at(&self, score: f32) -> f32 {
        match self {
            Curve::Platt { a, b } => sigmoid(a * f64::from(score) + b) as f32,
            Curve::Isotonic { scores, shares } => {
                let after = scores.partition_point(|s| *s < score);
                let point = |at: usize| Some((*scores.get(at)?, *shares.get(at)?));
                match (after.checked_sub(1).and_then(point), point(after)) {
                    (Some((x0, y0)), Some((x1, y1))) => {
                        y0 + (y1 - y0) * ((score - x0) / (x1 - x0)).clamp(0.0, 1.0)
                    }
                    (Some((_, y)), None) | (None, Some((_, y))) => y,
                    (None, None) => 0.0,
                }
            }
        }
    }

    /// Refuses a curve from a file that does not rise from 0 to 1.
    pub fn check(&self) -> Result<()> {
        let sound = match self {
            Curve::Platt { a, b } => a.is_finite() && *a >= 0.0 && b.is_finite(),
            Curve::Isotonic { scores, shares } => {
                let rising = scores.windows(2).all(|w| w.first() < w.last());
                let finite = scores.iter().all(|s| s.is_finite());
                let shares_rise = shares.windows(2).all(|w| w.first() <= w.last());
                let within = shares.iter().all(|s| (0.0..=1.0).contains(s));
                let same = scores.len() == shares.len() && !scores.is_empty();
                same && rising && finite && shares_rise && within
            }
        };
        match sound {
            true => Ok(()),
            false => Err(no_curve("its curve does not rise from 0 to 1".to_string())),
        }
    }
}

fn no_curve(reason: String) -> Error {
    Error::Data {
        model: NAME,
        reason,
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// Both kinds of answer have to be there.
fn check(judged: &[Judged]) -> Result<()> {
    let hits = judged.iter().filter(|j| j.hit).count();
    match hits > 0 && hits < judged.len() {
        true => Ok(()),
        false => Err(no_curve(format!(
            "{hits} of the {} judged scores are of items that were set aside",
            judged.len()
        ))),
    }
}

/// Newton's method on standardised scores.
pub(super) fn platt(judged: &[Judged]) -> Result<Curve> {
    check(judged)?;
    let total: f64 = judged.iter().map(|j| j.weight).sum();
    let mean = judged
        .iter()
        .map(|j| j.weight * f64::from(j.score))
        .sum::<f64>()
        / total;
    let squares = judged
        .iter()
        .map(|j| j.weight * (f64::from(j.score) - mean).powi(2));
    let deviation = (squares.sum::<f64>() / total).sqrt();
    if !(deviation > 0.0 && deviation.is_finite()) {
        return Err(no_curve("all scores are the same".to_string()));
    }
    // Platt's targets: a little off 1 and 0, so that separable scores keep finite curves.
    let hits: f64 = judged.iter().filter(|j| j.hit).map(|j| j.weight).sum();
    let (high, low) = ((hits + 1.0) / (hits + 2.0), 1.0 / (total - hits + 2.0));
    let target = |j: &Judged| if j.hit { high } else { low };
    let x = |j: &Judged| (f64::from(j.score) - mean) / deviation;
    let loss = |a: f64, b: f64| -> f64 {
        let each = judged.iter().map(|j| {
            let s = a * x(j) + b;
            // ln(1 + e^s) − t s, without overflow.
            j.weight * (s.max(0.0) + (-s.abs()).exp().ln_1p() - target(j) * s)
        });
        each.sum()
    };
    let (mut a, mut b) = (0.0, ((hits + 1.0) / (total - hits + 1.0)).ln());
    for _ in 0..100 {
        let (mut ga, mut gb, mut haa, mut hab, mut hbb) = (0.0, 0.0, 1e-12, 0.0, 1e-12);
        for j in judged {
            let p = sigmoid(a * x(j) + b);
            let (d, h) = (j.weight * (p - target(j)), j.weight * p * (1.0 - p));
            ga += d * x(j);
            gb += d;
            haa += h * x(j) * x(j);
            hab += h * x(j);
            hbb += h;
        }
        let determinant = haa * hbb - hab * hab;
        if determinant <= 0.0 || ga.abs().max(gb.abs()) < 1e-9 * total {
            break;
        }
        let (da, db) = (
            (hbb * ga - hab * gb) / determinant,
            (haa * gb - hab * ga) / determinant,
        );
        let before = loss(a, b);
        let mut size = 1.0;
        while loss(a - size * da, b - size * db) > before && size > 1e-6 {
            size *= 0.5;
        }
        a -= size * da;
        b -= size * db;
    }
    if !(a >= 0.0 && b.is_finite()) {
        return Err(no_curve(
            "higher scores are not more often right".to_string(),
        ));
    }
    Ok(Curve::Platt {
        a: a / deviation,
        b: b - a * mean / deviation,
    })
}

/// Pools adjacent violators.
pub(super) fn isotonic(mut judged: Vec<Judged>) -> Result<Curve> {
    check(&judged)?;
    judged.sort_unstable_by(|a, b| a.score.total_cmp(&b.score).then(a.hit.cmp(&b.hit)));
    struct Block {
        first: f32,
        last: f32,
        hits: f64,
        weight: f64,
    }
    let mut blocks: Vec<Block> = Vec::new();
    for ties in judged.chunk_by(|a, b| a.score == b.score) {
        let score = ties.first().map_or(0.0, |j| j.score);
        blocks.push(Block {
            first: score,
            last: score,
            hits: ties.iter().filter(|j| j.hit).map(|j| j.weight).sum(),
            weight: ties.iter().map(|j| j.weight).sum(),
        });
        // As long as a block is not above the one before, they are one.
        while let [.., before, last] = blocks.as_mut_slice() {
            if before.hits * last.weight < last.hits * before.weight {
                break;
            }
            before.last = last.last;
            before.hits += last.hits;
            before.weight += last.weight;
            blocks.pop();
        }
    }
    let (mut scores, mut shares) = (Vec::new(), Vec::new());
    for block in &blocks {
        let share = (block.hits / block.weight) as f32;
        scores.push(block.first);
        shares.push(share);
        if block.last > block.first {
            scores.push(block.last);
            shares.push(share);
        }
    }
    Ok(Curve::Isotonic { scores, shares })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 scores, as `tests/golden_probability.py` makes them.
    fn judged() -> Vec<Judged> {
        let one = |i: u32| {
            let score = f64::from((i * 37 + 11) % 101) / 100.0;
            let noise = f64::from((i * 53 + 7) % 29) / 29.0;
            Judged {
                score: score as f32,
                hit: 0.7 * score + 0.3 * noise > 0.55,
                weight: 1.0,
            }
        };
        (0..60).map(one).collect()
    }

    // Golden values: `python crates/refrain-recommenders/tests/golden_probability.py`, scikit-learn
    // 1.9.1's _SigmoidCalibration and IsotonicRegression.
    #[test]
    fn equals_scikit_learn() {
        let close = |found: f32, expected: f32, by: f32| {
            assert!((found - expected).abs() < by, "{found} {expected}");
        };
        const PLATT: [f32; 6] = [
            0.0023522, 0.0277928, 0.2573973, 0.546883, 0.8077893, 0.9807529,
        ];
        const ISOTONIC: [f32; 6] = [0.0, 0.0, 0.1428571, 0.7, 1.0, 1.0];
        let curve = platt(&judged()).unwrap();
        let at = [0.0, 0.25, 0.5, 0.625, 0.75, 1.0];
        for (score, expected) in at.into_iter().zip(PLATT) {
            close(curve.at(score), expected, 1e-4);
        }
        let curve = isotonic(judged()).unwrap();
        for (score, expected) in at.into_iter().zip(ISOTONIC) {
            close(curve.at(score), expected, 1e-5);
        }
        for curve in [platt(&judged()), isotonic(judged())] {
            curve.unwrap().check().unwrap();
        }
    }

    #[test]
    fn weights_count_like_copies() {
        let mut doubled = judged();
        doubled.extend(judged());
        let weighted: Vec<Judged> = judged()
            .into_iter()
            .map(|j| Judged { weight: 2.0, ..j })
            .collect();
        let score = 0.6;
        let (a, b) = (platt(&doubled).unwrap(), platt(&weighted).unwrap());
        assert!((a.at(score) - b.at(score)).abs() < 1e-6);
        let (a, b) = (isotonic(doubled).unwrap(), isotonic(weighted).unwrap());
        assert!((a.at(score) - b.at(score)).abs() < 1e-6);
    }

    #[test]
    fn curves_never_fall() {
        let turned: Vec<Judged> = judged()
            .into_iter()
            .map(|j| Judged { hit: !j.hit, ..j })
            .collect();
        assert!(matches!(platt(&turned), Err(Error::Data { .. })));
        let flat = isotonic(turned).unwrap();
        assert!(flat.check().is_ok() && flat.at(0.9) >= flat.at(0.1));
        for hit in [true, false] {
            let same: Vec<Judged> = judged().into_iter().map(|j| Judged { hit, ..j }).collect();
            assert!(platt(&same).is_err() && isotonic(same).is_err());
        }
        let level: Vec<Judged> = judged()
            .into_iter()
            .map(|j| Judged { score: 1.0, ..j })
            .collect();
        assert!(platt(&level).is_err());
        let falling = Curve::Isotonic {
            scores: vec![0.0, 1.0],
            shares: vec![0.5, 0.4],
        };
        assert!(falling.check().is_err());
    }
}
