//! Keys: a tonic, a mode, and signs a tune adds of its own.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Problem, Result};
use crate::pitch::{Accidental, Letter};

/// The seven modes; `ion` reads as major, `aeo` as minor.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Ionian.
    #[default]
    Major,
    /// Aeolian.
    Minor,
    /// Minor with a raised sixth.
    Dorian,
    /// Major with a lowered seventh.
    Mixolydian,
    /// Minor with a lowered second.
    Phrygian,
    /// Major with a raised fourth.
    Lydian,
    /// Minor with lowered second and fifth.
    Locrian,
}

impl Mode {
    /// All seven.
    pub const ALL: [Self; 7] = [
        Self::Major,
        Self::Minor,
        Self::Dorian,
        Self::Mixolydian,
        Self::Phrygian,
        Self::Lydian,
        Self::Locrian,
    ];

    /// The English name in small letters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Major => "major",
            Self::Minor => "minor",
            Self::Dorian => "dorian",
            Self::Mixolydian => "mixolydian",
            Self::Phrygian => "phrygian",
            Self::Lydian => "lydian",
            Self::Locrian => "locrian",
        }
    }

    /// As ABC writes it after the tonic; nothing for major.
    pub fn as_abc(self) -> &'static str {
        match self {
            Self::Major => "",
            Self::Minor => "m",
            Self::Dorian => "dor",
            Self::Mixolydian => "mix",
            Self::Phrygian => "phr",
            Self::Lydian => "lyd",
            Self::Locrian => "loc",
        }
    }

    /// Fifths the signature stands above that of the major key on the same tonic.
    pub fn fifths(self) -> i32 {
        match self {
            Self::Lydian => 1,
            Self::Major => 0,
            Self::Mixolydian => -1,
            Self::Dorian => -2,
            Self::Minor => -3,
            Self::Phrygian => -4,
            Self::Locrian => -5,
        }
    }

    /// Reads `m`, `min`, `dor`, `Mixolydian`, …: three letters count, case does not.
    pub fn from_name(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        if lower == "m" {
            return Some(Self::Minor);
        }
        Some(match lower.get(..3)? {
            "maj" | "ion" => Self::Major,
            "min" | "aeo" => Self::Minor,
            "dor" => Self::Dorian,
            "mix" => Self::Mixolydian,
            "phr" => Self::Phrygian,
            "lyd" => Self::Lydian,
            "loc" => Self::Locrian,
            _ => return None,
        })
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The note a key rests on: a letter, perhaps flat or sharp.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Tonic {
    /// The note name.
    pub letter: Letter,
    /// -1 flat, 0 natural, 1 sharp.
    pub alter: i8,
}

impl Tonic {
    /// Pitch class, 0 (C) to 11.
    pub fn pitch_class(self) -> u8 {
        (self.letter.semitones() + i32::from(self.alter)).rem_euclid(12) as u8
    }

    /// Place on the line of fifths; C is 0.
    pub fn fifths(self) -> i32 {
        self.letter.fifths() + 7 * i32::from(self.alter)
    }

    /// The tonic at a place on the line of fifths, if it needs no double sign.
    pub fn from_fifths(fifths: i32) -> Option<Self> {
        let alter = (fifths + 1).div_euclid(7);
        let letter = Letter::ALL
            .into_iter()
            .find(|l| l.fifths() == fifths - 7 * alter)?;
        let alter = i8::try_from(alter).ok().filter(|a| a.abs() <= 1)?;
        Some(Self { letter, alter })
    }
}

impl fmt::Display for Tonic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.alter {
            -1 => "b",
            1 => "#",
            _ => "",
        };
        write!(f, "{}{sign}", self.letter.as_char())
    }
}

/// A key signature with its tonic and mode.
///
/// ```
/// use refrain_music::{Key, Letter, Mode};
/// let key: Key = "Ador".parse()?;
/// assert_eq!(key.mode, Mode::Dorian);
/// assert_eq!(key.fifths(), 1); // one sharp
/// assert_eq!(key.alter(Letter::F), 1);
/// assert_eq!(key.to_string(), "Ador");
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Key {
    /// The note it rests on.
    pub tonic: Tonic,
    /// The mode.
    pub mode: Mode,
    /// Signs that differ from the mode's own (`K:D =c`), by [`Letter::index`].
    pub changes: [Option<Accidental>; 7],
}

impl Default for Key {
    fn default() -> Self {
        Self::new(
            Tonic {
                letter: Letter::C,
                alter: 0,
            },
            Mode::Major,
        )
    }
}

impl Key {
    /// A key with the mode's own signature.
    pub fn new(tonic: Tonic, mode: Mode) -> Self {
        Self {
            tonic,
            mode,
            changes: [None; 7],
        }
    }

    /// Sharps (positive) or flats (negative) of the mode's own signature.
    pub fn fifths(&self) -> i32 {
        self.tonic.fifths() + self.mode.fifths()
    }

    /// What the signature does to a letter: -2 … 2.
    pub fn alter(&self, letter: Letter) -> i32 {
        match self.changes[letter.index()] {
            Some(a) => a.alter(),
            None => (self.fifths() - letter.fifths() + 5).div_euclid(7),
        }
    }

    /// Pitch classes of the scale, from the tonic up.
    pub fn scale(&self) -> [u8; 7] {
        let mut out = [0; 7];
        for (i, slot) in out.iter_mut().enumerate() {
            let letter = Letter::from_index(self.tonic.letter.index() as i32 + i as i32);
            *slot = (letter.semitones() + self.alter(letter)).rem_euclid(12) as u8;
        }
        out
    }

    /// True when the third above the tonic is minor.
    pub fn is_minor(&self) -> bool {
        matches!(
            self.mode,
            Mode::Minor | Mode::Dorian | Mode::Phrygian | Mode::Locrian
        )
    }

    /// A name for people, such as `A dorian`.
    pub fn name(&self) -> String {
        format!("{} {}", self.tonic, self.mode)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.tonic, self.mode.as_abc())?;
        for letter in Letter::ALL {
            if let Some(a) = self.changes[letter.index()] {
                write!(
                    f,
                    " {}{}",
                    a.as_abc(),
                    letter.as_char().to_ascii_lowercase()
                )?;
            }
        }
        Ok(())
    }
}

impl FromStr for Key {
    type Err = Error;

    /// Reads what stands after `K:`: tonic, mode, extra signs; clef words are skipped.
    fn from_str(text: &str) -> Result<Self> {
        parse(text).ok_or_else(|| Error::abc(1, Problem::BadKey(text.trim().into())))
    }
}

fn parse(text: &str) -> Option<Key> {
    let text = text.trim();
    let mut words = text.split_whitespace();
    let first = words.next()?;
    match first {
        "none" => return Some(Key::default()),
        // Highland pipes: F and C sharp, G natural.
        "HP" | "Hp" => {
            return Some(Key::new(
                Tonic {
                    letter: Letter::A,
                    alter: 0,
                },
                Mode::Mixolydian,
            ));
        }
        _ => {}
    }
    let mut rest = first.chars();
    let letter = rest
        .next()
        .filter(char::is_ascii_uppercase)
        .and_then(Letter::from_char)?;
    let mut tail = rest.as_str();
    let mut alter = 0;
    if let Some(t) = tail.strip_prefix('#') {
        (alter, tail) = (1, t);
    } else if let Some(t) = tail.strip_prefix('b') {
        (alter, tail) = (-1, t);
    }
    let mut key = Key::new(Tonic { letter, alter }, Mode::Major);
    let mut mode_seen = false;
    if !tail.is_empty() {
        // `K:Dmix^c` without a space is common.
        let cut = tail.find(['^', '_', '=']).unwrap_or(tail.len());
        let (mode, signs) = tail.split_at(cut);
        if !mode.is_empty() {
            key.mode = Mode::from_name(mode)?;
            mode_seen = true;
        }
        if !signs.is_empty() {
            add_signs(&mut key, signs)?;
        }
    }
    for word in words {
        if word.starts_with(['^', '_', '=']) {
            add_signs(&mut key, word)?;
        } else if let (false, Some(mode)) = (mode_seen, Mode::from_name(word)) {
            key.mode = mode;
            mode_seen = true;
        } else if word == "exp" {
            // Explicit signature: every letter not named is natural.
            for l in Letter::ALL {
                key.changes[l.index()] = Some(Accidental::Natural);
            }
        } else if !is_clef_word(word) {
            return None;
        }
    }
    // Keep only what differs, so that equal signatures compare equal.
    let plain = Key::new(key.tonic, key.mode);
    for l in Letter::ALL {
        if key.changes[l.index()].is_some_and(|a| a.alter() == plain.alter(l)) {
            key.changes[l.index()] = None;
        }
    }
    (plain.fifths().abs() <= 13).then_some(key)
}

fn add_signs(key: &mut Key, mut text: &str) -> Option<()> {
    while !text.is_empty() {
        let sign = ["^^", "__", "^", "_", "="]
            .into_iter()
            .find(|s| text.starts_with(s))?;
        text = &text[sign.len()..];
        let accidental = Accidental::ALL.into_iter().find(|a| a.as_abc() == sign)?;
        let letter = text.chars().next().and_then(Letter::from_char)?;
        text = &text[1..];
        key.changes[letter.index()] = Some(accidental);
    }
    Some(())
}

fn is_clef_word(word: &str) -> bool {
    const WORDS: [&str; 6] = ["treble", "bass", "alto", "tenor", "perc", "none"];
    const FIELDS: [&str; 7] = [
        "clef=",
        "middle=",
        "m=",
        "octave=",
        "transpose=",
        "stafflines=",
        "style=",
    ];
    WORDS.iter().any(|w| word.starts_with(w)) || FIELDS.iter().any(|f| word.starts_with(f))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signature(text: &str) -> [i32; 7] {
        let key: Key = text.parse().unwrap();
        Letter::ALL.map(|l| key.alter(l))
    }

    #[test]
    fn signatures() {
        assert_eq!(signature("C"), [0; 7]);
        assert_eq!(signature("D"), [1, 0, 0, 1, 0, 0, 0]);
        assert_eq!(signature("Bb"), [0, 0, -1, 0, 0, 0, -1]);
        assert_eq!(signature("Ador"), signature("G"));
        assert_eq!(signature("E minor"), signature("G"));
        assert_eq!(signature("F#m"), signature("A"));
        assert_eq!(signature("D Phrygian"), signature("Bb"));
        assert_eq!(signature("Glyd"), signature("D"));
        assert_eq!(signature("Bloc"), [0; 7]);
        assert_eq!(signature("HP"), signature("D"));
        assert_eq!(signature("Amix ^g"), signature("A"));
        assert_eq!(signature("D exp ^f =c"), [0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn text_round_trip() {
        for tonic in ["C", "G", "Bb", "F#"] {
            for mode in Mode::ALL {
                let key: Key = format!("{tonic}{}", mode.as_abc()).parse().unwrap();
                assert_eq!(key.to_string().parse::<Key>().unwrap(), key);
                let named: Key = format!("{tonic} {}", mode.name()).parse().unwrap();
                assert_eq!(named, key);
            }
        }
        let odd: Key = "Am ^g _b clef=treble".parse().unwrap();
        assert_eq!(odd.to_string(), "Am ^g _b");
        assert_eq!(odd.to_string().parse::<Key>().unwrap(), odd);
    }

    #[test]
    fn scale_of_a_minor_mode() {
        let key: Key = "Edor".parse().unwrap();
        assert_eq!(key.scale(), [4, 6, 7, 9, 11, 1, 2]);
        assert!(key.is_minor());
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "H", "Gblah", "g", "D ^h", "#", "Gé", "Dmé"] {
            assert!(text.parse::<Key>().is_err(), "{text}");
        }
    }

    #[test]
    fn tonics_by_fifths() {
        for f in -8..=12 {
            if let Some(t) = Tonic::from_fifths(f) {
                assert_eq!(t.fifths(), f);
            }
        }
        assert_eq!(Tonic::from_fifths(-2).unwrap().to_string(), "Bb");
    }
}
