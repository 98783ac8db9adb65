//! Kinds of dance and song, with the tempo each is usually played at.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fraction::Fraction;
use crate::tune::Tempo;

/// What stands after `R:`, as far as the books use it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Rhythm {
    Air,
    Clog,
    ContraDance,
    Fling,
    Hornpipe,
    Jig,
    March,
    Mazurka,
    Other,
    Polka,
    Quadrille,
    Quickstep,
    Reel,
    Schottische,
    SetDance,
    Slide,
    SlipJig,
    Strathspey,
    Walkaround,
    Waltz,
}

impl Rhythm {
    /// All of them, in alphabetical order.
    pub const ALL: [Self; 20] = [
        Self::Air,
        Self::Clog,
        Self::ContraDance,
        Self::Fling,
        Self::Hornpipe,
        Self::Jig,
        Self::March,
        Self::Mazurka,
        Self::Other,
        Self::Polka,
        Self::Quadrille,
        Self::Quickstep,
        Self::Reel,
        Self::Schottische,
        Self::SetDance,
        Self::Slide,
        Self::SlipJig,
        Self::Strathspey,
        Self::Walkaround,
        Self::Waltz,
    ];

    /// The name in small letters, as written after `R:`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Air => "air",
            Self::Clog => "clog",
            Self::ContraDance => "contra dance",
            Self::Fling => "fling",
            Self::Hornpipe => "hornpipe",
            Self::Jig => "jig",
            Self::March => "march",
            Self::Mazurka => "mazurka",
            Self::Other => "other",
            Self::Polka => "polka",
            Self::Quadrille => "quadrille",
            Self::Quickstep => "quickstep",
            Self::Reel => "reel",
            Self::Schottische => "schottische",
            Self::SetDance => "set dance",
            Self::Slide => "slide",
            Self::SlipJig => "slip jig",
            Self::Strathspey => "strathspey",
            Self::Walkaround => "walkaround",
            Self::Waltz => "waltz",
        }
    }

    /// The usual tempo for dancers (airs: for singers), as beats of the metre's own beat.
    ///
    /// Beats a minute: reel 104 half notes, jig 116 and slip jig 112 dotted quarters, hornpipe and
    /// clog 84 half notes, strathspey 62 half notes, waltz 126 and air 80 quarters.
    pub fn tempo(self) -> Tempo {
        let (beat, bpm) = match self {
            Self::Reel => ((1, 2), 104),
            Self::Jig => ((3, 8), 116),
            Self::SlipJig => ((3, 8), 112),
            Self::Slide => ((3, 8), 126),
            Self::Hornpipe | Self::Clog => ((1, 2), 84),
            Self::Strathspey | Self::Fling => ((1, 2), 62),
            Self::Schottische => ((1, 2), 76),
            Self::Polka => ((1, 4), 120),
            Self::March | Self::Quickstep => ((1, 4), 108),
            Self::ContraDance | Self::Quadrille | Self::Walkaround => ((1, 4), 112),
            Self::SetDance => ((1, 4), 132),
            Self::Waltz => ((1, 4), 126),
            Self::Mazurka => ((1, 4), 132),
            Self::Air => ((1, 4), 80),
            Self::Other => ((1, 4), 100),
        };
        Tempo {
            beat: Fraction::new(beat.0, beat.1),
            bpm,
        }
    }

    /// How unevenly players take pairs of quavers: 0.5 is even, 0.62 the lilt of a hornpipe.
    pub fn swing(self) -> f32 {
        match self {
            Self::Hornpipe | Self::Clog => 0.6,
            Self::Reel => 0.53,
            _ => 0.5,
        }
    }
}

impl fmt::Display for Rhythm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text names no rhythm this crate knows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a rhythm this crate knows; examples: reel, jig, slip jig, hornpipe, air")]
pub struct UnknownRhythm(pub String);

impl FromStr for Rhythm {
    type Err = UnknownRhythm;

    /// Reads a name in any case; `slipjig`, `double jig`, `Highland Fling`, `long dance` are known.
    fn from_str(text: &str) -> Result<Self, UnknownRhythm> {
        let folded: String = text
            .chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect();
        Ok(match folded.as_str() {
            "air" | "slowair" | "song" | "carolan" | "planxty" => Self::Air,
            "clog" => Self::Clog,
            "contra" | "contradance" | "countrydance" => Self::ContraDance,
            "fling" | "highlandfling" | "highland" => Self::Fling,
            "hornpipe" => Self::Hornpipe,
            "jig" | "doublejig" | "singlejig" => Self::Jig,
            "march" => Self::March,
            "mazurka" => Self::Mazurka,
            "other" => Self::Other,
            "polka" => Self::Polka,
            "quadrille" => Self::Quadrille,
            "quickstep" => Self::Quickstep,
            "reel" => Self::Reel,
            "schottische" => Self::Schottische,
            "setdance" | "longdance" => Self::SetDance,
            "slide" => Self::Slide,
            "slipjig" | "hopjig" => Self::SlipJig,
            "strathspey" => Self::Strathspey,
            "walkaround" => Self::Walkaround,
            "waltz" => Self::Waltz,
            _ => return Err(UnknownRhythm(text.trim().into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_are_sorted() {
        for r in Rhythm::ALL {
            assert_eq!(r.name().parse::<Rhythm>().unwrap(), r);
        }
        assert!(Rhythm::ALL.is_sorted_by_key(|r| r.name()));
        assert_eq!("SlipJig".parse(), Ok(Rhythm::SlipJig));
        assert!("tango".parse::<Rhythm>().is_err());
    }
}
