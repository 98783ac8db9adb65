//! What notation leaves to the reader: how long each symbol lasts and which keys sound.

use crate::fraction::Fraction;
use crate::key::Key;
use crate::metre::Metre;
use crate::pitch::{Letter, Pitch};
use crate::tune::{Element, Field, Tune};

/// What one element of a body means where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolved {
    /// Whole notes; zero for anything but notes, rests and chords.
    pub duration: Fraction,
    /// MIDI keys; empty for rests. Grace notes have theirs, but no duration.
    pub pitches: Vec<u8>,
    /// The metre in force.
    pub metre: Metre,
    /// The key in force.
    pub key: Key,
}

impl Default for Fraction {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The signs that hold in a bar.
#[derive(Clone)]
pub(crate) struct Signs {
    key: Key,
    bar: [Option<i32>; 7],
}

impl Signs {
    pub(crate) fn new(key: Key) -> Self {
        Self {
            key,
            bar: [None; 7],
        }
    }

    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn set_key(&mut self, key: Key) {
        *self = Self::new(key);
    }

    pub(crate) fn bar_line(&mut self) {
        self.bar = [None; 7];
    }

    /// Alteration of a letter that carries no sign.
    pub(crate) fn implied(&self, letter: Letter) -> i32 {
        self.bar[letter.index()].unwrap_or_else(|| self.key.alter(letter))
    }

    /// Alteration of a written pitch; a sign holds to the end of the bar, in every octave.
    pub(crate) fn alter(&mut self, pitch: Pitch) -> i32 {
        if let Some(a) = pitch.accidental {
            self.bar[pitch.letter.index()] = Some(a.alter());
        }
        self.implied(pitch.letter)
    }
}

impl Tune {
    /// Meaning of every element of the body, in the order written.
    ///
    /// Signs follow ABC 2.1: one holds for its letter, in every octave, to the end of the bar. A
    /// tie carries it over the bar line to the tied note. Signs on grace notes hold for the grace
    /// notes alone.
    pub fn resolve(&self) -> Vec<Resolved> {
        let mut signs = Signs::new(self.key);
        let (mut metre, mut unit) = (self.metre, self.unit);
        let mut tuplet: Option<(Fraction, u8)> = None;
        // Pitches tied to what follows, with their alteration.
        let mut tied: Vec<(Pitch, i32)> = Vec::new();
        let mut out = Vec::with_capacity(self.body.len());
        for element in &self.body {
            let mut duration = Fraction::ZERO;
            if let Some(length) = element.length() {
                duration = length * unit;
                if let Some((factor, left)) = &mut tuplet {
                    duration = duration * *factor;
                    *left -= 1;
                    if *left == 0 {
                        tuplet = None;
                    }
                }
            }
            let mut pitches = Vec::new();
            match element {
                Element::Note(n) => {
                    let alter = sounding(&mut signs, &tied, n.pitch);
                    pitches.push(n.pitch.midi(alter));
                    tied.clear();
                    if n.tie {
                        tied.push((n.pitch, alter));
                    }
                }
                Element::Chord(c) => {
                    let alters: Vec<(Pitch, i32)> = c
                        .pitches
                        .iter()
                        .map(|p| (*p, sounding(&mut signs, &tied, *p)))
                        .collect();
                    pitches.extend(alters.iter().map(|(p, a)| p.midi(*a)));
                    tied = if c.tie { alters } else { Vec::new() };
                }
                Element::Rest(_) => tied.clear(),
                Element::Grace(g) => {
                    let mut own = Signs {
                        key: signs.key,
                        bar: signs.bar,
                    };
                    pitches.extend(g.notes.iter().map(|(p, _)| p.midi(own.alter(*p))));
                }
                Element::Tuplet(t) => {
                    tuplet = Some((Fraction::new(t.q.into(), t.p.max(1).into()), t.r.max(1)));
                }
                Element::Bar(_) => signs.bar_line(),
                Element::Field(Field::Key(key)) => signs.set_key(*key),
                Element::Field(Field::Metre(m)) => metre = *m,
                Element::Field(Field::Unit(u)) => unit = *u,
                _ => {}
            }
            out.push(Resolved {
                duration,
                pitches,
                metre,
                key: signs.key(),
            });
        }
        out
    }
}

fn sounding(signs: &mut Signs, tied: &[(Pitch, i32)], pitch: Pitch) -> i32 {
    if pitch.accidental.is_none()
        && let Some((_, alter)) = tied
            .iter()
            .find(|(p, _)| (p.letter, p.octave) == (pitch.letter, pitch.octave))
    {
        return *alter;
    }
    signs.alter(pitch)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(body: &str) -> Vec<u8> {
        let tune = Tune::parse(&format!("X:1\nL:1/8\nM:4/4\nK:G\n{body}\n")).unwrap();
        tune.resolve().into_iter().flat_map(|r| r.pitches).collect()
    }

    #[test]
    fn signature_and_signs() {
        assert_eq!(keys("F f"), [66, 78]);
        assert_eq!(keys("=F f | F"), [65, 77, 66]);
        assert_eq!(keys("^G _G =G"), [68, 66, 67]);
    }

    #[test]
    fn a_tie_carries_a_sign_over_the_bar_and_no_further() {
        assert_eq!(keys("^c-|c c"), [73, 73, 72]);
    }

    #[test]
    fn signs_on_grace_notes_stay_there() {
        assert_eq!(keys("{=f}f f"), [77, 78, 78]);
    }

    #[test]
    fn key_changes() {
        assert_eq!(keys("F [K:C] F"), [66, 65]);
    }

    #[test]
    fn tuplets_take_their_time() {
        let tune = Tune::parse("X:1\nL:1/8\nM:4/4\nK:C\n(3ABc d (5:4:5 ABcde z|\n").unwrap();
        let d: Vec<Fraction> = tune
            .resolve()
            .iter()
            .map(|r| r.duration)
            .filter(|d| !d.is_zero())
            .collect();
        assert_eq!(d[0], Fraction::new(1, 12));
        assert_eq!(d[3], Fraction::new(1, 8));
        assert_eq!(d[4], Fraction::new(1, 10));
        assert_eq!(d.iter().copied().sum::<Fraction>(), Fraction::new(1, 1));
    }
}
