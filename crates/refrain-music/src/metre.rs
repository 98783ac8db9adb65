//! Metres, the unit length they imply, and how a bar divides into beats.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Problem, Result};
use crate::fraction::Fraction;

/// What stands after `M:`.
///
/// ```
/// use refrain_music::{Fraction, Metre};
/// let jig: Metre = "6/8".parse()?;
/// assert_eq!(jig.default_unit(), Fraction::new(1, 8));
/// assert!(jig.is_compound());
/// # Ok::<(), refrain_music::Error>(())
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub enum Metre {
    /// `M:none`: bars of any length.
    Free,
    /// `M:C`, 4/4 written as a C.
    #[default]
    Common,
    /// `M:C|`, 2/2 written as a struck-through C.
    Cut,
    /// Beats over a beat unit, such as `6/8`.
    Time(u8, u8),
}

impl Metre {
    /// Beats and beat unit; `None` for free metre.
    pub fn fraction(self) -> Option<(u8, u8)> {
        match self {
            Self::Free => None,
            Self::Common => Some((4, 4)),
            Self::Cut => Some((2, 2)),
            Self::Time(n, d) => Some((n, d)),
        }
    }

    /// Length of a bar in whole notes; `None` for free metre.
    pub fn bar(self) -> Option<Fraction> {
        self.fraction()
            .map(|(n, d)| Fraction::new(i64::from(n), i64::from(d)))
    }

    /// Unit length when no `L:` is given (ABC 2.1, 3.1.7): 1/16 under 3/4, else 1/8.
    pub fn default_unit(self) -> Fraction {
        match self.bar() {
            Some(bar) if bar < Fraction::new(3, 4) => Fraction::new(1, 16),
            _ => Fraction::new(1, 8),
        }
    }

    /// True for 6/8, 9/8, 12/8, …: beats divide in three.
    pub fn is_compound(self) -> bool {
        matches!(self.fraction(), Some((n, _)) if n >= 6 && n % 3 == 0)
    }

    /// Length of one felt beat in whole notes: a dotted quarter in 6/8, a half in C|.
    pub fn beat(self) -> Fraction {
        match self.fraction() {
            Some((_, d)) if self.is_compound() => Fraction::new(3, i64::from(d)),
            Some((_, d)) => Fraction::new(1, i64::from(d)),
            None => Fraction::new(1, 4),
        }
    }

    /// Length of the groups in which quavers are beamed: half bars in 4/4 and 2/2, else beats.
    pub fn beam_group(self) -> Fraction {
        match self.fraction() {
            Some((4, 4) | (2, 2)) => Fraction::new(1, 2),
            Some((3, 8)) => Fraction::new(3, 8),
            _ => self.beat(),
        }
    }
}

impl fmt::Display for Metre {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Free => f.write_str("none"),
            Self::Common => f.write_str("C"),
            Self::Cut => f.write_str("C|"),
            Self::Time(n, d) => write!(f, "{n}/{d}"),
        }
    }
}

impl FromStr for Metre {
    type Err = Error;

    /// Reads `C`, `C|`, `6/8`, `(2+3)/8`, `none`.
    fn from_str(text: &str) -> Result<Self> {
        parse(text.trim()).ok_or_else(|| Error::abc(1, Problem::BadMetre(text.trim().into())))
    }
}

fn parse(text: &str) -> Option<Metre> {
    match text {
        "none" | "" => return Some(Metre::Free),
        "C" => return Some(Metre::Common),
        "C|" => return Some(Metre::Cut),
        _ => {}
    }
    let (beats, unit) = text.split_once('/')?;
    let beats = beats.trim().trim_start_matches('(').trim_end_matches(')');
    let mut sum = 0u8;
    for part in beats.split('+') {
        sum = sum.checked_add(part.trim().parse().ok()?)?;
    }
    let unit: u8 = unit.trim().parse().ok()?;
    ((1..=64).contains(&sum) && unit.is_power_of_two() && unit <= 64)
        .then_some(Metre::Time(sum, unit))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for text in ["C", "C|", "6/8", "9/8", "2/4", "none"] {
            assert_eq!(text.parse::<Metre>().unwrap().to_string(), text);
        }
        assert_eq!("(2+3)/8".parse::<Metre>().unwrap(), Metre::Time(5, 8));
        for text in ["0/4", "4/0", "3/5", "x", "4", "300/4", "4/4/4", "-1/4"] {
            assert!(text.parse::<Metre>().is_err(), "{text}");
        }
    }

    #[test]
    fn unit_lengths() {
        let unit = |t: &str| t.parse::<Metre>().unwrap().default_unit();
        assert_eq!(unit("2/4"), Fraction::new(1, 16));
        assert_eq!(unit("3/4"), Fraction::new(1, 8));
        assert_eq!(unit("C|"), Fraction::new(1, 8));
        assert_eq!(unit("3/8"), Fraction::new(1, 16));
    }

    #[test]
    fn beats() {
        assert_eq!("6/8".parse::<Metre>().unwrap().beat(), Fraction::new(3, 8));
        assert_eq!(Metre::Cut.beat(), Fraction::new(1, 2));
        assert_eq!("3/4".parse::<Metre>().unwrap().beat(), Fraction::new(1, 4));
    }
}
