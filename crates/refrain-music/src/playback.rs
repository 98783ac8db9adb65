//! From a performance on paper to one in time: tempo, lilt, accents, grace notes.
//!
//! MIDI and WAV both play what this module prepares, so they agree.

use crate::error::{Error, Result};
use crate::fraction::Fraction;
use crate::perform::Performance;
use crate::tune::{Element, Tempo, Tune};

/// How to play a tune.
#[derive(Clone, Debug, PartialEq)]
pub struct Playback {
    /// Tempo; `None` for the tune's own or the usual one of its rhythm.
    pub tempo: Option<Tempo>,
    /// How much of a pair of notes the first takes: 0.5 is even, 0.67 a full swing. `None` for the
    /// usual lilt of the rhythm ([`Rhythm::swing`](crate::Rhythm::swing)).
    pub swing: Option<f32>,
    /// Play repeats and endings.
    pub repeats: bool,
    /// Play grace notes.
    pub graces: bool,
    /// Semitones to move all notes by.
    pub transpose: i8,
}

impl Default for Playback {
    /// The usual tempo and lilt, with repeats and grace notes.
    fn default() -> Self {
        Self {
            tempo: None,
            swing: None,
            repeats: true,
            graces: true,
            transpose: 0,
        }
    }
}

/// A note in time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PlayedNote {
    /// Seconds from the beginning.
    pub start: f64,
    /// Seconds it is held.
    pub duration: f64,
    /// MIDI key.
    pub pitch: u8,
    /// Loudness, 0 to 1.
    pub velocity: f32,
    /// Element of the body it comes from, to follow the score; `None` for grace notes.
    pub element: Option<usize>,
}

/// Seconds a grace note takes.
const GRACE: f64 = 0.07;

impl Playback {
    /// The notes with their times, sorted by start.
    ///
    /// # Errors
    /// [`Error::Setting`] if `swing` is outside 0.3 … 0.8.
    pub fn notes(&self, tune: &Tune) -> Result<Vec<PlayedNote>> {
        if let Some(swing) = self.swing
            && !(0.3..=0.8).contains(&swing)
        {
            let reason = format!("{swing} is not between 0.3 and 0.8");
            return Err(Error::Setting {
                name: "swing",
                reason,
            });
        }
        let mut played = if self.repeats {
            tune.perform()
        } else {
            tune.perform_once()
        };
        if let (Some(tempo), Some(first)) = (self.tempo, played.tempos.first_mut()) {
            first.1 = tempo;
            played.tempos.truncate(1);
        }
        let warp = Warp::new(self, tune, &played);
        let beat = tune.metre.beat();
        let mut out: Vec<PlayedNote> = Vec::with_capacity(played.notes.len() + played.graces.len());
        let mut bar_start = Fraction::ZERO;
        for note in &played.notes {
            if note.accent {
                bar_start = note.start;
            }
            let start = warp.seconds(note.start);
            let end = warp.seconds(note.start + note.duration);
            let on_beat = ((note.start - bar_start) / beat).denominator() == 1;
            let velocity = match (note.accent, on_beat) {
                (true, _) => 0.95,
                (false, true) => 0.82,
                _ => 0.7,
            };
            let short = staccato(tune, note.element);
            let held = (end - start) * if short { 0.5 } else { 0.94 };
            let pitch = (i16::from(note.pitch) + i16::from(self.transpose)).clamp(0, 127) as u8;
            let element = Some(note.element);
            out.push(PlayedNote {
                start,
                duration: held,
                pitch,
                velocity,
                element,
            });
        }
        if self.graces {
            self.add_graces(&played, &warp, &mut out);
        }
        out.sort_by(|a, b| a.start.total_cmp(&b.start));
        Ok(out)
    }

    /// Grace notes take their time from the note they lead to.
    fn add_graces(&self, played: &Performance, warp: &Warp, out: &mut Vec<PlayedNote>) {
        let main = out.len();
        let mut i = 0;
        while i < played.graces.len() {
            let time = played.graces[i].0;
            let count = played.graces[i..]
                .iter()
                .take_while(|g| g.0 == time)
                .count();
            let start = warp.seconds(time);
            let follower = out[..main]
                .iter()
                .position(|n| (n.start - start).abs() < 1e-9);
            let room = follower.map_or(GRACE, |k| out[k].duration * 0.5);
            let each = GRACE.min(room / count as f64);
            for (k, grace) in played.graces[i..i + count].iter().enumerate() {
                let pitch = (i16::from(grace.1) + i16::from(self.transpose)).clamp(0, 127) as u8;
                let start = start + k as f64 * each;
                out.push(PlayedNote {
                    start,
                    duration: each,
                    pitch,
                    velocity: 0.6,
                    element: None,
                });
            }
            if let Some(k) = follower {
                let taken = each * count as f64;
                let before = out[k].start;
                for note in out[..main].iter_mut().filter(|n| n.start == before) {
                    note.start += taken;
                    note.duration = (note.duration - taken).max(0.02);
                }
            }
            i += count;
        }
    }
}

/// True if a dot stands before the note.
fn staccato(tune: &Tune, element: usize) -> bool {
    tune.body[..element]
        .iter()
        .rev()
        .take_while(|e| e.length().is_none() && !matches!(e, Element::Bar(_)))
        .any(|e| *e == Element::Decoration(crate::tune::Decoration::Short('.')))
}

/// Bends time within pairs of short notes, then turns it to seconds.
struct Warp<'a> {
    played: &'a Performance,
    /// Where bars begin.
    bars: Vec<Fraction>,
    /// Length of a pair, and the first note's share.
    pair: Fraction,
    share: f64,
}

impl<'a> Warp<'a> {
    fn new(playback: &Playback, tune: &Tune, played: &'a Performance) -> Self {
        let usual = tune.rhythm.map_or(0.5, crate::Rhythm::swing);
        let mut share = f64::from(playback.swing.unwrap_or(usual));
        if tune.metre.is_compound() || tune.unit > Fraction::new(1, 8) {
            share = 0.5;
        }
        let bars = played
            .notes
            .iter()
            .filter(|n| n.accent)
            .map(|n| n.start)
            .collect();
        Self {
            played,
            bars,
            pair: tune.unit + tune.unit,
            share,
        }
    }

    fn seconds(&self, time: Fraction) -> f64 {
        let plain = self.played.seconds(time);
        if self.share == 0.5 {
            return plain;
        }
        // The pickup counts back from the first full bar.
        let later = self.bars.partition_point(|b| *b <= time);
        let anchor = if later <= 1 {
            self.bars.get(1)
        } else {
            self.bars.get(later - 1)
        };
        let since = time - anchor.copied().unwrap_or(Fraction::ZERO);
        let pairs = (since / self.pair).floor();
        let pair_start = time - (since - self.pair * Fraction::new(pairs, 1));
        let inside = ((time - pair_start) / self.pair).to_f64();
        let bent = if inside < 0.5 {
            inside * 2.0 * self.share
        } else {
            self.share + (inside - 0.5) * 2.0 * (1.0 - self.share)
        };
        let (from, to) = (
            self.played.seconds(pair_start),
            self.played.seconds(pair_start + self.pair),
        );
        if to <= from || pair_start < Fraction::ZERO {
            return plain;
        }
        from + bent * (to - from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tune(head: &str, body: &str) -> Tune {
        Tune::parse(&format!("X:1\n{head}\nK:C\n{body}\n")).unwrap()
    }

    #[test]
    fn tempo_and_swing() {
        let reel = tune("R:other\nM:C\nL:1/8\nQ:1/4=60", "CDEF GABc|]");
        let even = Playback::default().notes(&reel).unwrap();
        assert!((even[1].start - 0.5).abs() < 1e-9);
        let swung = Playback {
            swing: Some(0.6),
            ..Playback::default()
        }
        .notes(&reel)
        .unwrap();
        assert!((swung[1].start - 0.6).abs() < 1e-6);
        assert!((swung[2].start - 1.0).abs() < 1e-9);
        assert!(
            Playback {
                swing: Some(0.95),
                ..Playback::default()
            }
            .notes(&reel)
            .is_err()
        );
    }

    #[test]
    fn graces_take_time_from_their_note() {
        let t = tune("M:C\nL:1/4\nQ:1/4=60", "C {de}D2 E|]");
        let notes = Playback::default().notes(&t).unwrap();
        let keys: Vec<u8> = notes.iter().map(|n| n.pitch).collect();
        assert_eq!(keys, [60, 74, 76, 62, 64]);
        assert!((notes[3].start - 1.14).abs() < 1e-9);
        let plain = Playback {
            graces: false,
            ..Playback::default()
        }
        .notes(&t)
        .unwrap();
        assert_eq!(plain.len(), 3);
    }

    #[test]
    fn the_pickup_swings_with_the_bars() {
        let t = tune("M:C\nL:1/8\nQ:1/4=60", "C|DEFG ABcd|]");
        let notes = Playback {
            swing: Some(0.6),
            ..Playback::default()
        }
        .notes(&t)
        .unwrap();
        assert!((notes[2].start - notes[1].start - 0.6).abs() < 1e-6);
    }
}
