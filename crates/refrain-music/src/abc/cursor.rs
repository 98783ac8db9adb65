//! A place in a line of ABC.

use crate::error::{Error, Problem, Result};
use crate::fraction::Fraction;

/// Longest note, in unit lengths.
pub(crate) const LONGEST: i64 = 512;
/// Finest division of a unit length.
pub(crate) const FINEST: i64 = 512;

/// Reads one line character by character.
pub(crate) struct Cursor<'a> {
    text: &'a str,
    place: usize,
    /// The line's number, for errors.
    pub(crate) line: usize,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(text: &'a str, line: usize) -> Self {
        Self {
            text,
            place: 0,
            line,
        }
    }

    pub(crate) fn rest(&self) -> &'a str {
        self.text.get(self.place..).unwrap_or("")
    }

    pub(crate) fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Steps over `bytes` bytes; the caller has matched them.
    pub(crate) fn skip(&mut self, bytes: usize) {
        self.place = (self.place + bytes).min(self.text.len());
    }

    /// Steps over a text if it comes next.
    pub(crate) fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected);
        if found {
            self.skip(expected.len());
        }
        found
    }

    pub(crate) fn error<T>(&self, problem: Problem) -> Result<T> {
        Err(Error::abc(self.line, problem))
    }

    /// The longest run of digits next, possibly empty.
    pub(crate) fn digits(&mut self) -> &'a str {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        self.skip(end);
        &rest[..end]
    }

    /// A length such as nothing, `2`, `3/2`, `/`, `//`, `/4`.
    pub(crate) fn length(&mut self) -> Result<Fraction> {
        let from = self.place;
        let whole = self.digits();
        let mut num: i64 = if whole.is_empty() {
            1
        } else {
            whole.parse().unwrap_or(i64::MAX)
        };
        let mut den: i64 = 1;
        if self.peek() == Some('/') {
            let mut slashes = 0u32;
            while self.eat("/") {
                slashes += 1;
            }
            let below = self.digits();
            den = match (slashes, below.is_empty()) {
                (1, false) => below.parse().unwrap_or(i64::MAX),
                (n, true) if n <= 9 => 1 << n,
                _ => i64::MAX,
            };
        }
        if den < 1 {
            (num, den) = (0, 1);
        }
        let length = Fraction::new(num, den);
        let fine = self.is_fine(length);
        if num < 1 || den > FINEST || num > LONGEST * den || !fine {
            let text = self.text.get(from..self.place).unwrap_or("").to_owned();
            return self.error(Problem::BadLength(text));
        }
        Ok(length)
    }

    /// Denominators stay products of 2 and 3, so that sums of bars stay small fractions.
    fn is_fine(&self, length: Fraction) -> bool {
        let mut den = length.denominator();
        for prime in [2, 3] {
            while den % prime == 0 {
                den /= prime;
            }
        }
        den == 1
    }
}
