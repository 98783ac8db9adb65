//! Numbers that describe a tune, for people who browse and for models that recommend.

use serde::{Deserialize, Serialize};

use crate::key::{Key, Mode};
use crate::metre::Metre;
use crate::rhythm::Rhythm;
use crate::tune::Tune;

/// What a tune is like.
///
/// ```
/// use refrain_music::{Mode, Tune};
/// let tune = Tune::parse("X:1\nR:jig\nM:6/8\nL:1/8\nK:Edor\nEFG ABc | d3 e3 |]\n")?;
/// let features = tune.features();
/// assert_eq!(features.mode, Mode::Dorian);
/// assert_eq!(features.range, 12);
/// assert_eq!(features.density, 4.0); // notes per bar
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Features {
    /// Kind of dance or song; [`Rhythm::Other`] if the tune does not say.
    pub rhythm: Rhythm,
    /// Metre at the beginning.
    pub metre: Metre,
    /// Key at the beginning.
    pub key: Key,
    /// Mode at the beginning.
    pub mode: Mode,
    /// Usual beats per minute of its rhythm, or its own.
    pub tempo: u32,
    /// Bars as written, repeats not counted.
    pub bars: usize,
    /// Notes as written, repeats not counted.
    pub notes: usize,
    /// Lowest MIDI key.
    pub lowest: u8,
    /// Highest MIDI key.
    pub highest: u8,
    /// Semitones from lowest to highest.
    pub range: u8,
    /// Notes per bar.
    pub density: f32,
    /// Notes per second at the usual tempo.
    pub speed: f32,
    /// Mean size of the steps between notes, in semitones.
    pub leap: f32,
    /// Share of notes outside the key signature.
    pub chromatic: f32,
    /// Share of note pairs that are uneven (dotted or broken rhythm).
    pub dotted: f32,
    /// Share of time on each pitch class, counted from the tonic; sums to 1.
    pub pitch_classes: [f32; 12],
    /// From 0 (easy) to 1; see [`difficulty`](Self::difficulty).
    pub difficulty: f32,
}

impl Features {
    /// How hard the tune is to play, 0 to 1:
    ///
    /// `0.35·speed + 0.25·leap + 0.20·range + 0.10·chromatic + 0.10·key`, each first brought to
    /// 0 … 1: speed 1.5 … 9.5 notes a second, leap 1.5 … 5 semitones on average, range 7 … 24
    /// semitones, chromatic 0 … 10 % of the notes, key 0 … 4 sharps or flats.
    pub fn difficulty(&self) -> f32 {
        let unit = |x: f32, from: f32, to: f32| ((x - from) / (to - from)).clamp(0.0, 1.0);
        0.35 * unit(self.speed, 1.5, 9.5)
            + 0.25 * unit(self.leap, 1.5, 5.0)
            + 0.20 * unit(f32::from(self.range), 7.0, 24.0)
            + 0.10 * unit(self.chromatic, 0.0, 0.1)
            + 0.10 * unit(self.key.fifths().abs() as f32, 0.0, 4.0)
    }

    /// Names of the numbers in [`vector`](Self::vector).
    pub const VECTOR_NAMES: [&'static str; 20] = [
        "range",
        "density",
        "speed",
        "leap",
        "chromatic",
        "dotted",
        "difficulty",
        "minor",
        "pc0",
        "pc1",
        "pc2",
        "pc3",
        "pc4",
        "pc5",
        "pc6",
        "pc7",
        "pc8",
        "pc9",
        "pc10",
        "pc11",
    ];

    /// The numeric features as one row, each roughly between 0 and 1.
    pub fn vector(&self) -> [f32; 20] {
        let mut out = [0.0; 20];
        let head = [
            f32::from(self.range) / 24.0,
            self.density / 12.0,
            self.speed / 10.0,
            self.leap / 5.0,
            self.chromatic,
            self.dotted,
            self.difficulty,
            f32::from(u8::from(self.key.is_minor())),
        ];
        out[..8].copy_from_slice(&head);
        out[8..].copy_from_slice(&self.pitch_classes);
        out
    }
}

impl Tune {
    /// Describes the tune in numbers; grace notes do not count, repeats count once.
    pub fn features(&self) -> Features {
        let played = self.perform_once();
        let resolved = self.resolve();
        let bars = self.measures_of(&resolved).len();
        let notes = &played.notes;
        let lowest = notes.iter().map(|n| n.pitch).min().unwrap_or(0);
        let highest = notes.iter().map(|n| n.pitch).max().unwrap_or(0);
        let mut classes = [0.0f64; 12];
        let mut outside = 0usize;
        let tonic = self.key.tonic.pitch_class();
        for note in notes {
            let class = usize::from((note.pitch + 12 - tonic) % 12);
            classes[class] += note.duration.to_f64();
            let key = resolved.get(note.element).map_or(self.key, |r| r.key);
            outside += usize::from(!key.scale().contains(&(note.pitch % 12)));
        }
        let total: f64 = classes.iter().sum();
        let pitch_classes = classes.map(|c| if total > 0.0 { (c / total) as f32 } else { 0.0 });
        let pairs = notes.windows(2).filter(|w| w[1].start > w[0].start);
        let (mut steps, mut leap, mut uneven) = (0usize, 0i32, 0usize);
        for w in pairs {
            steps += 1;
            leap += (i32::from(w[1].pitch) - i32::from(w[0].pitch)).abs();
            let ratio = (w[0].duration / w[1].duration).to_f64();
            uneven += usize::from(ratio >= 2.5 || (ratio > 0.0 && ratio <= 0.4));
        }
        let share = |n: usize, of: usize| n as f32 / of.max(1) as f32;
        let seconds = played.seconds(played.duration).max(1e-3);
        let mut features = Features {
            rhythm: self.rhythm.unwrap_or(Rhythm::Other),
            metre: self.metre,
            key: self.key,
            mode: self.key.mode,
            tempo: self.playing_tempo().bpm,
            bars,
            notes: notes.len(),
            lowest,
            highest,
            range: highest - lowest,
            density: share(notes.len(), bars),
            speed: (notes.len() as f64 / seconds) as f32,
            leap: leap as f32 / steps.max(1) as f32,
            chromatic: share(outside, notes.len()),
            dotted: share(uneven, steps),
            pitch_classes,
            difficulty: 0.0,
        };
        features.difficulty = features.difficulty();
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_scale() {
        let tune = Tune::parse("X:1\nR:reel\nM:C|\nL:1/8\nK:G\nGABc defg|]\n").unwrap();
        let f = tune.features();
        assert_eq!((f.bars, f.notes, f.lowest, f.highest), (1, 8, 67, 79));
        assert_eq!(f.chromatic, 0.0);
        assert!((f.pitch_classes.iter().sum::<f32>() - 1.0).abs() < 1e-5);
        assert!((f.pitch_classes[0] - 0.25).abs() < 1e-6);
        // 104 half notes a minute, four quavers in each.
        assert!((f.speed - 104.0 * 4.0 / 60.0).abs() < 1e-3);
        assert!((0.0..=1.0).contains(&f.difficulty));
    }

    #[test]
    fn chromatic_and_dotted_shares() {
        let tune = Tune::parse("X:1\nM:C\nL:1/8\nK:C\n^C>D E>F|]\n").unwrap();
        let f = tune.features();
        assert!((f.chromatic - 0.25).abs() < 1e-6);
        assert!((f.dotted - 1.0).abs() < 1e-6);
    }

    #[test]
    fn names_fit_the_vector() {
        let tune = Tune::parse("X:1\nK:C\nC|]\n").unwrap();
        assert_eq!(tune.features().vector().len(), Features::VECTOR_NAMES.len());
    }
}
