//! Exact fractions, the unit in which this crate counts time.
//!
//! A bar of 6/8 filled with triplets must add up exactly, so durations are never floats. The
//! denominators that notation produces are products of small primes; sums stay far inside `i64`,
//! and the operations saturate instead of overflowing if a hostile file tries.

use std::fmt;
use std::ops::{Add, AddAssign, Div, Mul, Sub};

use serde::{Deserialize, Serialize};

/// A fraction in lowest terms; as a duration it counts whole notes (1/8 is a quaver).
///
/// ```
/// use refrain_music::Fraction;
/// let dotted = Fraction::new(3, 2) * Fraction::new(1, 8);
/// assert_eq!(dotted + Fraction::new(1, 16), Fraction::new(1, 4));
/// assert_eq!(dotted.to_string(), "3/16");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "(i64, i64)", from = "(i64, i64)")]
pub struct Fraction {
    num: i64,
    den: i64,
}

impl Fraction {
    /// Zero.
    pub const ZERO: Self = Self { num: 0, den: 1 };
    /// One.
    pub const ONE: Self = Self { num: 1, den: 1 };

    /// `num / den` in lowest terms; a zero denominator is read as 1.
    pub fn new(num: i64, den: i64) -> Self {
        reduce(i128::from(num), i128::from(den))
    }

    /// The numerator; carries the sign.
    pub fn numerator(self) -> i64 {
        self.num
    }

    /// The denominator; at least 1.
    pub fn denominator(self) -> i64 {
        self.den
    }

    /// The nearest float.
    pub fn to_f64(self) -> f64 {
        self.num as f64 / self.den as f64
    }

    /// True for zero.
    pub fn is_zero(self) -> bool {
        self.num == 0
    }

    /// The largest whole number that is not larger.
    pub fn floor(self) -> i64 {
        self.num.div_euclid(self.den)
    }
}

fn reduce(num: i128, den: i128) -> Fraction {
    let (mut num, mut den) = match den {
        0 => (num, 1),
        d if d < 0 => (-num, -d),
        d => (num, d),
    };
    let (mut a, mut b) = (num.unsigned_abs(), den.unsigned_abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    if a > 1 {
        num /= a as i128;
        den /= a as i128;
    }
    // Notation never gets here; a hostile file loses precision instead of panicking.
    while num.unsigned_abs() > i64::MAX as u128 || den > i64::MAX as i128 {
        num /= 2;
        den = (den / 2).max(1);
        if den == 1 {
            num = num.clamp(-(i64::MAX as i128), i64::MAX as i128);
        }
    }
    Fraction {
        num: num as i64,
        den: den as i64,
    }
}

impl From<Fraction> for (i64, i64) {
    fn from(f: Fraction) -> Self {
        (f.num, f.den)
    }
}

impl From<(i64, i64)> for Fraction {
    fn from((num, den): (i64, i64)) -> Self {
        Self::new(num, den)
    }
}

impl Add for Fraction {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        let (a, b) = (i128::from(self.num), i128::from(self.den));
        let (c, d) = (i128::from(o.num), i128::from(o.den));
        reduce((a * d).saturating_add(c * b), b * d)
    }
}

impl AddAssign for Fraction {
    fn add_assign(&mut self, o: Self) {
        *self = *self + o;
    }
}

impl Sub for Fraction {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        self + Self {
            num: -o.num,
            den: o.den,
        }
    }
}

impl Mul for Fraction {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        reduce(
            i128::from(self.num) * i128::from(o.num),
            i128::from(self.den) * i128::from(o.den),
        )
    }
}

impl Div for Fraction {
    type Output = Self;
    /// Division by zero gives zero.
    fn div(self, o: Self) -> Self {
        if o.num == 0 {
            return Self::ZERO;
        }
        reduce(
            i128::from(self.num) * i128::from(o.den),
            i128::from(self.den) * i128::from(o.num),
        )
    }
}

impl PartialOrd for Fraction {
    fn partial_cmp(&self, o: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(o))
    }
}

impl Ord for Fraction {
    fn cmp(&self, o: &Self) -> std::cmp::Ordering {
        (i128::from(self.num) * i128::from(o.den)).cmp(&(i128::from(o.num) * i128::from(self.den)))
    }
}

impl std::iter::Sum for Fraction {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |a, b| a + b)
    }
}

impl std::str::FromStr for Fraction {
    type Err = crate::Error;

    /// Reads `3/8` or `2`.
    fn from_str(text: &str) -> crate::Result<Self> {
        let (num, den) = text.trim().split_once('/').unwrap_or((text.trim(), "1"));
        match (num.trim().parse(), den.trim().parse()) {
            (Ok(num), Ok(den)) if den != 0 => Ok(Self::new(num, den)),
            _ => Err(crate::Error::Setting {
                name: "fraction",
                reason: format!("{text:?} is not a fraction such as 1/8"),
            }),
        }
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 {
            write!(f, "{}", self.num)
        } else {
            write!(f, "{}/{}", self.num, self.den)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hostile_sizes_do_not_panic() {
        let big = Fraction::new(i64::MAX, 3);
        let odd = Fraction::new(1, i64::MAX - 2);
        let _ = big + big + odd + Fraction::new(i64::MIN, 7);
        let _ = big * big / odd - big;
        assert_eq!(Fraction::new(3, 0), Fraction::new(3, 1));
        assert_eq!(big / Fraction::ZERO, Fraction::ZERO);
    }

    proptest! {
        #[test]
        fn agrees_with_floats(a in -999i64..999, b in 1i64..99, c in -999i64..999, d in 1i64..99) {
            let (x, y) = (Fraction::new(a, b), Fraction::new(c, d));
            prop_assert!(((x + y).to_f64() - (x.to_f64() + y.to_f64())).abs() < 1e-9);
            prop_assert!(((x * y).to_f64() - x.to_f64() * y.to_f64()).abs() < 1e-6);
            prop_assert_eq!(x + y - y, x);
            prop_assert_eq!(x < y, x.to_f64() < y.to_f64());
        }
    }
}
