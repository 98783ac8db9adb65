//! Pitches as they are written: a letter, an octave, perhaps an accidental.

use serde::{Deserialize, Serialize};

/// One of the seven note names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Letter {
    C,
    D,
    E,
    F,
    G,
    A,
    B,
}

impl Letter {
    /// All seven, from C.
    pub const ALL: [Self; 7] = [
        Self::C,
        Self::D,
        Self::E,
        Self::F,
        Self::G,
        Self::A,
        Self::B,
    ];

    /// 0 for C … 6 for B.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The letter `steps` above C, wrapping round.
    pub fn from_index(steps: i32) -> Self {
        Self::ALL[steps.rem_euclid(7) as usize]
    }

    /// Semitones above C of the natural note.
    pub fn semitones(self) -> i32 {
        [0, 2, 4, 5, 7, 9, 11][self.index()]
    }

    /// The capital letter.
    pub fn as_char(self) -> char {
        ['C', 'D', 'E', 'F', 'G', 'A', 'B'][self.index()]
    }

    /// Reads a capital or small letter.
    pub fn from_char(c: char) -> Option<Self> {
        Some(match c.to_ascii_uppercase() {
            'C' => Self::C,
            'D' => Self::D,
            'E' => Self::E,
            'F' => Self::F,
            'G' => Self::G,
            'A' => Self::A,
            'B' => Self::B,
            _ => return None,
        })
    }

    /// Place on the line of fifths; F is -1, C is 0, G is 1 … B is 5.
    pub fn fifths(self) -> i32 {
        [0, 2, 4, -1, 1, 3, 5][self.index()]
    }
}

/// A sign in front of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Accidental {
    /// `__`
    DoubleFlat,
    /// `_`
    Flat,
    /// `=`
    Natural,
    /// `^`
    Sharp,
    /// `^^`
    DoubleSharp,
}

impl Accidental {
    /// All five, from double flat to double sharp.
    pub const ALL: [Self; 5] = [
        Self::DoubleFlat,
        Self::Flat,
        Self::Natural,
        Self::Sharp,
        Self::DoubleSharp,
    ];

    /// Semitones it adds to the natural note: -2 … 2.
    pub fn alter(self) -> i32 {
        self as i32 - 2
    }

    /// The sign for -2 … 2.
    pub fn from_alter(alter: i32) -> Option<Self> {
        usize::try_from(alter + 2)
            .ok()
            .and_then(|i| Self::ALL.get(i).copied())
    }

    /// As ABC writes it.
    pub fn as_abc(self) -> &'static str {
        ["__", "_", "=", "^", "^^"][self as usize]
    }
}

/// A written pitch.
///
/// Octave 0 begins at middle C: `C` is octave 0, `c` is 1, `C,` is -1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pitch {
    /// The note name.
    pub letter: Letter,
    /// 0 is the octave from middle C.
    pub octave: i8,
    /// The sign written in front, if any.
    pub accidental: Option<Accidental>,
}

impl Pitch {
    /// The lowest octave the parser takes.
    pub const LOWEST_OCTAVE: i8 = -4;
    /// The highest octave the parser takes.
    pub const HIGHEST_OCTAVE: i8 = 4;

    /// A pitch without a sign.
    pub fn natural(letter: Letter, octave: i8) -> Self {
        Self {
            letter,
            octave,
            accidental: None,
        }
    }

    /// MIDI key for a given alteration (from the sign, the bar or the key signature).
    pub fn midi(self, alter: i32) -> u8 {
        let key = 60 + 12 * i32::from(self.octave) + self.letter.semitones() + alter;
        key.clamp(0, 127) as u8
    }

    /// Staff steps above middle C: C is 0, D is 1, the treble staff's bottom line (E) is 2.
    pub fn steps(self) -> i32 {
        7 * i32::from(self.octave) + self.letter.index() as i32
    }

    /// As ABC writes it, such as `^f'`.
    pub fn to_abc(self) -> String {
        let mut s = String::new();
        if let Some(a) = self.accidental {
            s.push_str(a.as_abc());
        }
        let c = self.letter.as_char();
        if self.octave >= 1 {
            s.push(c.to_ascii_lowercase());
            (1..self.octave).for_each(|_| s.push('\''));
        } else {
            s.push(c);
            (self.octave..0).for_each(|_| s.push(','));
        }
        s
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn midi_numbers() {
        assert_eq!(Pitch::natural(Letter::C, 0).midi(0), 60);
        assert_eq!(Pitch::natural(Letter::A, 0).midi(0), 69);
        assert_eq!(Pitch::natural(Letter::B, -1).midi(-1), 58);
        assert_eq!(Pitch::natural(Letter::F, 1).midi(1), 78);
    }

    #[test]
    fn writes_octaves() {
        let p = Pitch {
            letter: Letter::F,
            octave: 2,
            accidental: Some(Accidental::Sharp),
        };
        assert_eq!(p.to_abc(), "^f'");
        assert_eq!(Pitch::natural(Letter::G, -2).to_abc(), "G,,");
    }

    #[test]
    fn signs_and_alterations_are_inverse() {
        for a in Accidental::ALL {
            assert_eq!(Accidental::from_alter(a.alter()), Some(a));
        }
        assert_eq!(Accidental::from_alter(3), None);
    }
}
