//! Bars: stretches of the body between bar lines.

use std::ops::Range;

use crate::fraction::Fraction;
use crate::resolve::Resolved;
use crate::tune::{Element, Tune};

/// A bar that holds time; bar lines that stand together make none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Measure {
    /// From 1, pickup included.
    pub number: usize,
    /// Its elements in the body, without the bar lines.
    pub elements: Range<usize>,
    /// Whole notes it holds.
    pub duration: Fraction,
    /// Whole notes the metre asks for; `None` in free metre.
    pub expected: Option<Fraction>,
    /// The tune begins, a section ends or a repeat sign stands right before it.
    pub after_boundary: bool,
    /// The tune ends, a section ends or a repeat sign stands right after it.
    pub before_boundary: bool,
}

impl Measure {
    /// True if it holds exactly what the metre asks for.
    pub fn is_full(&self) -> bool {
        self.expected.is_none_or(|e| e == self.duration)
    }
}

impl Tune {
    /// The bars in the order written.
    pub fn measures(&self) -> Vec<Measure> {
        self.measures_of(&self.resolve())
    }

    pub(crate) fn measures_of(&self, resolved: &[Resolved]) -> Vec<Measure> {
        let mut out: Vec<Measure> = Vec::new();
        let mut start = 0;
        let mut duration = Fraction::ZERO;
        let mut expected = self.metre.bar();
        let mut boundary = true;
        for (i, (element, r)) in self.body.iter().zip(resolved).enumerate() {
            if !r.duration.is_zero() {
                if duration.is_zero() {
                    expected = r.metre.bar();
                }
                duration += r.duration;
            }
            // An ending starts a new way through the tune, so bars at it may be cut in two.
            let at_boundary = match element {
                Element::Bar(bar) => bar.is_boundary(),
                Element::Ending(_) if duration.is_zero() => {
                    if let Some(last) = out.last_mut() {
                        last.before_boundary = true;
                    }
                    boundary = true;
                    continue;
                }
                _ => continue,
            };
            if duration.is_zero() {
                if at_boundary && let Some(last) = out.last_mut() {
                    last.before_boundary = true;
                }
                boundary |= at_boundary;
            } else {
                out.push(Measure {
                    number: out.len() + 1,
                    elements: start..i,
                    duration,
                    expected,
                    after_boundary: boundary,
                    before_boundary: at_boundary,
                });
                boundary = at_boundary;
            }
            duration = Fraction::ZERO;
            start = i + 1;
        }
        if !duration.is_zero() {
            out.push(Measure {
                number: out.len() + 1,
                elements: start..self.body.len(),
                duration,
                expected,
                after_boundary: boundary,
                before_boundary: true,
            });
        } else if let Some(last) = out.last_mut() {
            last.before_boundary = true;
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pickups_and_repeats() {
        let tune =
            Tune::parse("X:1\nM:6/8\nL:1/8\nK:D\nA|d3 d3|e3 e2:|\n|:f|g6|1 a5:|2 a5|]\n").unwrap();
        let m = tune.measures();
        let d: Vec<String> = m.iter().map(|m| m.duration.to_string()).collect();
        assert_eq!(d, ["1/8", "3/4", "5/8", "1/8", "3/4", "5/8", "5/8"]);
        let b: Vec<(bool, bool)> = m
            .iter()
            .map(|m| (m.after_boundary, m.before_boundary))
            .collect();
        assert_eq!(b[0], (true, false));
        assert_eq!(b[2], (false, true));
        assert_eq!(b[3], (true, false));
        assert_eq!(b[4], (false, true));
        assert_eq!(b[5], (true, true));
        assert_eq!(b[6], (true, true));
    }
}
