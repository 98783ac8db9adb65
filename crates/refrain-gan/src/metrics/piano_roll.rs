//! What is heard of painted piano rolls, after MuseGAN (Dong et al. 2018,
//! <https://arxiv.org/abs/1709.06298>).
//!
//! ```text
//! empty bars          share of bars of a track without a note
//! used pitch classes  distinct pitch classes (0 to 12) in a bar of a track that is not empty, on average
//! qualified notes     share of notes that are at least so many steps long; a low share is fragments
//! tonal distance      how far apart two bars are harmonically (Harte et al. 2006)
//! ```
//!
//! None of them is better when larger: compare with the training rolls.

use std::f64::consts::PI;

use crate::{Error, Images, PianoRoll, Result};

/// The numbers of a set of piano rolls.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct PianoRollQuality {
    /// Share of bars without a note.
    pub empty_bars: f64,
    /// Pitch classes in a bar with notes, on average; 0 when no bar has any.
    pub used_pitch_classes: f64,
    /// Share of notes of the length asked for or more; 0 without notes.
    pub qualified_notes: f64,
    /// Mean tonal distance between tracks in the same bar; of a single track, between a bar and the
    /// next one. `None` when no two such bars both have notes.
    pub tonal_distance: Option<f64>,
}

/// Measures rolls; notes of `shortest` steps and more are qualified (MuseGAN: a 32nd and more).
///
/// # Errors
/// [`Error::Shape`] when the images are no such rolls, [`Error::Config`] for an impossible layout,
/// [`Error::Empty`].
///
/// ```
/// use refrain_gan::{PianoRoll, RollNote, metrics::piano_roll_quality};
/// let roll = PianoRoll { tracks: 1, bars: 2, steps: 4, lowest: 60, keys: 12 };
/// let note = |key, start, length| RollNote { track: 0, key, start, length };
/// let image = roll.image(&[note(60, 0, 2), note(64, 2, 1), note(67, 3, 1)])?;
/// let quality = piano_roll_quality(&image, &roll, 2)?;
/// assert_eq!((quality.empty_bars, quality.used_pitch_classes), (0.5, 3.0));
/// assert_eq!(quality.qualified_notes, 1.0 / 3.0);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
pub fn piano_roll_quality(
    rolls: &Images,
    layout: &PianoRoll,
    shortest: usize,
) -> Result<PianoRollQuality> {
    if rolls.is_empty() {
        return Err(Error::Empty {
            what: "piano rolls",
        });
    }
    let (mut notes, mut qualified) = (0usize, 0usize);
    let (mut bars, mut empty, mut classes) = (0usize, 0usize, 0usize);
    let (mut pairs, mut distance) = (0usize, 0f64);
    for roll in layout.notes(rolls)? {
        notes += roll.len();
        qualified += roll.iter().filter(|n| n.length >= shortest).count();
        let mut chroma = vec![[0f64; 12]; layout.tracks * layout.bars];
        for note in &roll {
            for step in note.start..note.start + note.length {
                let bar = note.track * layout.bars + step / layout.steps;
                if let Some(bar) = chroma.get_mut(bar) {
                    bar[usize::from(note.key % 12)] += 1.0;
                }
            }
        }
        bars += chroma.len();
        for bar in &chroma {
            let used = bar.iter().filter(|&&c| c > 0.0).count();
            empty += usize::from(used == 0);
            classes += used;
        }
        let at = |track: usize, bar: usize| chroma.get(track * layout.bars + bar);
        let mut compare = |a: Option<&[f64; 12]>, b: Option<&[f64; 12]>| {
            if let Some(d) = a.zip(b).and_then(|(a, b)| tonal_distance(a, b)) {
                pairs += 1;
                distance += d;
            }
        };
        for bar in 0..layout.bars {
            match layout.tracks {
                1 => compare(
                    at(0, bar),
                    (bar + 1 < layout.bars).then(|| at(0, bar + 1)).flatten(),
                ),
                tracks => (0..tracks)
                    .flat_map(|a| (a + 1..tracks).map(move |b| (a, b)))
                    .for_each(|(a, b)| compare(at(a, bar), at(b, bar))),
            }
        }
    }
    let share = |part: usize, of: usize| part as f64 / of.max(1) as f64;
    Ok(PianoRollQuality {
        empty_bars: share(empty, bars),
        used_pitch_classes: share(classes, bars - empty),
        qualified_notes: share(qualified, notes),
        tonal_distance: (pairs > 0).then(|| distance / pairs as f64),
    })
}

/// The distance between two chroma vectors (how much each pitch class sounds) in the tonal space of
/// Harte, Sandler and Gasser 2006 (*Detecting harmonic change in musical audio*): each, divided by its
/// sum, is placed on circles of fifths (radius 1), minor thirds (1) and major thirds (½), six
/// coordinates in all, whose Euclidean distance this is. `None` when either is silent.
///
/// ```
/// use refrain_gan::metrics::tonal_distance;
/// let tone = |class: usize| {
///     let mut chroma = [0.0; 12];
///     chroma[class] = 1.0;
///     chroma
/// };
/// let to = |class| tonal_distance(&tone(0), &tone(class)).unwrap_or(f64::NAN);
/// assert!(to(0) == 0.0 && to(7) < to(6)); // a fifth is near, the tritone far
/// ```
pub fn tonal_distance(a: &[f64; 12], b: &[f64; 12]) -> Option<f64> {
    let (a, b) = (centroid(a)?, centroid(b)?);
    Some(
        a.iter()
            .zip(b)
            .map(|(x, y)| (x - y).powi(2))
            .sum::<f64>()
            .sqrt(),
    )
}

fn centroid(chroma: &[f64; 12]) -> Option<[f64; 6]> {
    let sum: f64 = chroma.iter().sum();
    if !(sum.is_finite() && sum > 0.0) {
        return None;
    }
    let mut point = [0f64; 6];
    for (class, &weight) in chroma.iter().enumerate() {
        for (circle, (radius, turn)) in [(1.0, 7.0 / 6.0), (1.0, 1.5), (0.5, 2.0 / 3.0)]
            .into_iter()
            .enumerate()
        {
            let (sin, cos) = (class as f64 * turn * PI).sin_cos();
            point[2 * circle] += radius * sin * weight / sum;
            point[2 * circle + 1] += radius * cos * weight / sum;
        }
    }
    Some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::golden::PIANO_ROLL;

    const ONE: PianoRoll = PianoRoll {
        tracks: 1,
        bars: 2,
        steps: 16,
        lowest: 40,
        keys: 44,
    };

    /// The pattern of tests/golden/metrics.py.
    fn roll(salt: usize) -> Vec<f32> {
        let sounds = |t: usize, p: usize| (p * 7 + (t / (1 + p % 4)) * 13 + salt) % 29 < 2;
        (0..32)
            .flat_map(|t| (40..84).map(move |p| f32::from(u8::from(sounds(t, p)))))
            .collect()
    }

    #[test]
    fn golden_values_of_other_programs() {
        for (salt, classes, qualified, tonal) in PIANO_ROLL {
            let one = Images::from_f32(ONE.shape(), roll(salt)).unwrap();
            let got = piano_roll_quality(&one, &ONE, 3).unwrap();
            assert!(
                (got.used_pitch_classes - classes).abs() < 1e-9,
                "{got:?} {classes}"
            );
            assert!(
                (got.qualified_notes - qualified).abs() < 1e-9,
                "{got:?} {qualified}"
            );
            assert_eq!(got.empty_bars, 0.0);
            let two = PianoRoll { tracks: 2, ..ONE };
            let both =
                Images::from_f32(two.shape(), [roll(salt), roll(salt + 3)].concat()).unwrap();
            let got = piano_roll_quality(&both, &two, 3)
                .unwrap()
                .tonal_distance
                .unwrap();
            assert!((got - tonal).abs() < 1e-9, "{got} {tonal}");
        }
    }

    #[test]
    fn silence_is_measured_too() {
        let silent = Images::from_f32(ONE.shape(), vec![0.0; ONE.shape().len()]).unwrap();
        let got = piano_roll_quality(&silent, &ONE, 2).unwrap();
        assert_eq!(
            (got.empty_bars, got.used_pitch_classes, got.qualified_notes),
            (1.0, 0.0, 0.0)
        );
        assert_eq!(got.tonal_distance, None);
        assert!(matches!(
            piano_roll_quality(&silent.select(&[]), &ONE, 2),
            Err(Error::Empty { .. })
        ));
        let other = PianoRoll { keys: 10, ..ONE };
        assert!(matches!(
            piano_roll_quality(&silent, &other, 2),
            Err(Error::Shape { .. })
        ));
        // Of one track: from bar to bar. The same bar twice is no movement.
        let same = Images::from_f32(ONE.shape(), roll(1)[..16 * 44].repeat(2)).unwrap();
        assert_eq!(
            piano_roll_quality(&same, &ONE, 2).unwrap().tonal_distance,
            Some(0.0)
        );
    }
}
