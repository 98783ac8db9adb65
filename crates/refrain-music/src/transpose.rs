//! Transposition along the line of fifths.
//!
//! Moving by `n` semitones moves every name (keys and notes alike) by the same number of fifths,
//! congruent to `7n` modulo 12. Of the possible ones each key takes the one that leaves it the fewest
//! sharps or flats; its notes follow, so their spelling keeps its sense (a raised leading note stays
//! a raised leading note) and signs stay where they were written.

use crate::error::{Error, Result};
use crate::key::{Key, Tonic};
use crate::pitch::{Accidental, Letter, Pitch};
use crate::resolve::Signs;
use crate::tune::{Element, Field, Tune};

impl Tune {
    /// The tune moved by semitones (negative: down), its key with it.
    ///
    /// ```
    /// use refrain_music::Tune;
    /// let tune = Tune::parse("X:1\nM:C\nL:1/8\nK:Em\nE2 ^DE|\n")?;
    /// let up = tune.transpose(3)?;
    /// assert_eq!(up.key.to_string(), "Gm");
    /// assert_eq!(up.body_to_abc().trim(), "G2^FG |");
    /// # Ok::<(), refrain_music::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::OutOfRange`] if a note leaves the octaves ABC can write here.
    pub fn transpose(&self, semitones: i32) -> Result<Self> {
        let out_of_range = || Error::OutOfRange { semitones };
        let mut shift = best_shift(&self.key, semitones).ok_or_else(out_of_range)?;
        let mut out = self.clone();
        out.key = shift_key(&self.key, shift).ok_or_else(out_of_range)?;
        let mut signs = Signs::new(self.key);
        let mut tied: Vec<(Pitch, i32)> = Vec::new();
        for (element, old) in out.body.iter_mut().zip(&self.body) {
            match element {
                Element::Note(n) => {
                    let alter = follow(&mut signs, &tied, n.pitch);
                    tied.clear();
                    if n.tie {
                        tied.push((n.pitch, alter));
                    }
                    n.pitch =
                        move_pitch(n.pitch, alter, semitones, shift).ok_or_else(out_of_range)?;
                }
                Element::Chord(c) => {
                    let mut held = Vec::new();
                    for pitch in &mut c.pitches {
                        let alter = follow(&mut signs, &tied, *pitch);
                        held.push((*pitch, alter));
                        *pitch =
                            move_pitch(*pitch, alter, semitones, shift).ok_or_else(out_of_range)?;
                    }
                    tied = if c.tie { held } else { Vec::new() };
                }
                Element::Grace(g) => {
                    let mut own = signs.clone();
                    for (pitch, _) in &mut g.notes {
                        let alter = own.alter(*pitch);
                        *pitch =
                            move_pitch(*pitch, alter, semitones, shift).ok_or_else(out_of_range)?;
                    }
                }
                Element::Bar(_) => signs.bar_line(),
                Element::Rest(_) => tied.clear(),
                Element::Text(text) => *text = move_chord_symbol(text, shift),
                Element::Field(Field::Key(key)) => {
                    signs.set_key(*key);
                    shift = best_shift(key, semitones).ok_or_else(out_of_range)?;
                    *key = shift_key(key, shift).ok_or_else(out_of_range)?;
                }
                _ => {}
            }
            debug_assert_eq!(std::mem::discriminant(element), std::mem::discriminant(old));
        }
        Ok(out)
    }

    /// The tune moved to another tonic by the smallest interval: at most a fourth down or a
    /// diminished fifth up.
    ///
    /// # Errors
    /// As [`transpose`](Self::transpose).
    pub fn transpose_to(&self, tonic: Tonic) -> Result<Self> {
        let up = (i32::from(tonic.pitch_class()) - i32::from(self.key.tonic.pitch_class()))
            .rem_euclid(12);
        self.transpose(if up > 6 { up - 12 } else { up })
    }
}

fn follow(signs: &mut Signs, tied: &[(Pitch, i32)], pitch: Pitch) -> i32 {
    let held = tied
        .iter()
        .find(|(p, _)| (p.letter, p.octave) == (pitch.letter, pitch.octave));
    match held {
        Some((_, alter)) if pitch.accidental.is_none() => *alter,
        _ => signs.alter(pitch),
    }
}

/// Fifths to move by, so that the new key has the fewest signs; sharps win a draw.
fn best_shift(key: &Key, semitones: i32) -> Option<i32> {
    let base = (7 * semitones).rem_euclid(12);
    [base, base - 12, base + 12, base - 24]
        .into_iter()
        .filter(|s| shift_key(key, *s).is_some())
        .min_by_key(|s| {
            let fifths = key.fifths() + s;
            (fifths.abs(), fifths < 0)
        })
}

fn shift_key(key: &Key, shift: i32) -> Option<Key> {
    let tonic = Tonic::from_fifths(key.tonic.fifths() + shift)?;
    let mut out = Key::new(tonic, key.mode);
    for letter in Letter::ALL {
        if let Some(sign) = key.changes[letter.index()] {
            let (to, alter) = name(letter.fifths() + 7 * sign.alter() + shift);
            out.changes[to.index()] = Some(Accidental::from_alter(alter)?);
        }
    }
    Some(out)
}

/// The letter and alteration at a place on the line of fifths.
fn name(fifths: i32) -> (Letter, i32) {
    let alter = (fifths + 1).div_euclid(7);
    // F C G D A E B: the letter a step of four further each time.
    let place = (fifths + 1).rem_euclid(7);
    (Letter::from_index(3 + 4 * place), alter)
}

fn move_pitch(pitch: Pitch, alter: i32, semitones: i32, shift: i32) -> Option<Pitch> {
    let (letter, new_alter) = name(pitch.letter.fifths() + 7 * alter + shift);
    let key = 12 * i32::from(pitch.octave) + pitch.letter.semitones() + alter + semitones;
    let octave = (key - letter.semitones() - new_alter).div_euclid(12);
    let octave = i8::try_from(octave).ok()?;
    if !(Pitch::LOWEST_OCTAVE..=Pitch::HIGHEST_OCTAVE).contains(&octave) {
        return None;
    }
    let sign = Accidental::from_alter(new_alter)?;
    Some(Pitch {
        letter,
        octave,
        accidental: pitch.accidental.map(|_| sign),
    })
}

/// `"F#m7/A"`: root and bass move, the rest and annotations stay.
fn move_chord_symbol(text: &str, shift: i32) -> String {
    if !text.starts_with(|c| ('A'..='G').contains(&c)) {
        return text.into();
    }
    let parts: Vec<String> = text
        .split('/')
        .map(|part| {
            let mut chars = part.chars();
            let Some(letter) = chars
                .next()
                .filter(char::is_ascii_uppercase)
                .and_then(Letter::from_char)
            else {
                return part.into();
            };
            let mut rest = chars.as_str();
            let mut alter = 0;
            for (sign, value) in [("#", 1), ("b", -1)] {
                if let Some(after) = rest.strip_prefix(sign) {
                    (alter, rest) = (value, after);
                    break;
                }
            }
            let known = [
                "", "m", "7", "maj", "min", "dim", "aug", "sus", "+", "6", "9",
            ];
            if !known
                .iter()
                .any(|k| rest == *k || (!k.is_empty() && rest.starts_with(k)))
            {
                return part.into();
            }
            let (to, alter) = name(letter.fifths() + 7 * alter + shift);
            let sign = if alter < 0 { "b" } else { "#" };
            format!(
                "{}{}{rest}",
                to.as_char(),
                sign.repeat(alter.unsigned_abs() as usize)
            )
        })
        .collect();
    parts.join("/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TUNE: &str = "X:1\nM:C\nL:1/8\nK:Gm\n\"Gm\"G2 ^F{=B}G [B,DG]2 ^c-|c=e fe \"_slow\"d4|[K:G]\"D/F#\"B2 ^A_c d4|]\n";

    fn keys(tune: &Tune) -> Vec<i32> {
        tune.resolve()
            .iter()
            .flat_map(|r| r.pitches.clone())
            .map(i32::from)
            .collect()
    }

    #[test]
    fn spelling_follows_the_key() {
        let tune = Tune::parse(TUNE).unwrap();
        let up = tune.transpose(2).unwrap();
        assert_eq!(up.key.to_string(), "Am");
        assert!(up.to_abc().contains("\"Am\""));
        assert!(up.to_abc().contains("\"_slow\""));
        assert!(up.to_abc().contains("\"E/G#\""));
        let e: Key = "E".parse().unwrap();
        assert_eq!(
            shift_key(&e, best_shift(&e, 1).unwrap())
                .unwrap()
                .to_string(),
            "F"
        );
        let b: Key = "B".parse().unwrap();
        assert_eq!(
            shift_key(&b, best_shift(&b, 2).unwrap())
                .unwrap()
                .to_string(),
            "Db"
        );
    }

    #[test]
    fn to_a_tonic() {
        let tune = Tune::parse(TUNE).unwrap();
        let to = tune
            .transpose_to("D".parse::<Key>().unwrap().tonic)
            .unwrap();
        assert_eq!(to.key.to_string(), "Dm");
        assert_eq!(keys(&to)[0], keys(&tune)[0] - 5);
    }

    #[test]
    fn too_far_is_an_error() {
        let tune = Tune::parse(TUNE).unwrap();
        assert!(matches!(
            tune.transpose(60),
            Err(Error::OutOfRange { semitones: 60 })
        ));
    }

    proptest! {
        #[test]
        fn sounds_as_far_away_as_asked(n in -12i32..=12) {
            let tune = Tune::parse(TUNE).unwrap();
            let there = tune.transpose(n).unwrap();
            let expected: Vec<i32> = keys(&tune).iter().map(|k| k + n).collect();
            prop_assert_eq!(keys(&there), expected);
            prop_assert!(there.key.fifths().abs() <= 6);
            prop_assert_eq!(Tune::parse(&there.to_abc()).unwrap(), there.clone());
            let back = there.transpose(-n).unwrap();
            prop_assert_eq!(back.body_to_abc(), tune.body_to_abc());
        }
    }
}
