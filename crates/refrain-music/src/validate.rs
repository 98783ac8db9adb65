//! Does the tune add up?
//!
//! A bar inside a section must hold exactly what the metre asks for. A bar next to a double bar, a
//! repeat sign, an ending or the end of the tune may be short, since a pickup may stand on its other
//! side; it may not be long. What meets there as the tune is played (the last bar of a section, then
//! the pickup of the next) should make one bar. The printed books are loose about that last rule (a
//! full bar and then a pickup is everywhere in them), so it gives a [`Level::Warning`].

use std::fmt;

use crate::fraction::Fraction;
use crate::measure::Measure;
use crate::tune::{Element, Tune};

/// How bad an [`Issue`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Loose notation that a player puts right without thinking.
    Warning,
    /// The notation does not add up.
    Error,
}

/// One thing the validator found; the bar counts from 1 with the pickup.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Issue {
    /// A bar holds too much or too little.
    BarLength {
        /// Which bar.
        bar: usize,
        /// Whole notes in it.
        found: Fraction,
        /// Whole notes the metre asks for.
        expected: Fraction,
    },
    /// The end of a section and the pickup after it do not make a bar.
    Pickup {
        /// The bar before the seam.
        bar: usize,
        /// The bar after it, as played.
        next: usize,
        /// Whole notes in both.
        found: Fraction,
        /// Whole notes of a bar.
        expected: Fraction,
    },
    /// A note outside the allowed range.
    Range {
        /// Which bar.
        bar: usize,
        /// Its MIDI key.
        pitch: u8,
    },
    /// Most of the notes do not belong to the key.
    Key {
        /// Share of the notes that do.
        share: f32,
    },
    /// A tuplet lacks notes, or another begins inside it.
    Tuplet {
        /// Which bar.
        bar: usize,
    },
    /// A tie to nothing, or to another pitch (older books write slurs so).
    Tie {
        /// Which bar.
        bar: usize,
    },
    /// Slurs open and close unevenly.
    Slurs,
    /// A second ending without a first, or the other way round.
    Ending {
        /// The bar after it.
        bar: usize,
    },
    /// The last bar line is missing.
    Unfinished,
    /// There are no notes.
    Empty,
}

impl Issue {
    /// How bad it is.
    pub fn level(&self) -> Level {
        match self {
            Self::BarLength { .. }
            | Self::Range { .. }
            | Self::Key { .. }
            | Self::Tuplet { .. }
            | Self::Empty => Level::Error,
            _ => Level::Warning,
        }
    }
}

impl fmt::Display for Issue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BarLength {
                bar,
                found,
                expected,
            } => {
                write!(f, "bar {bar} holds {found} instead of {expected}")
            }
            Self::Pickup {
                bar,
                next,
                found,
                expected,
            } => {
                write!(
                    f,
                    "bar {bar} and bar {next} after it hold {found} instead of {expected}"
                )
            }
            Self::Range { bar, pitch } => write!(f, "bar {bar}: MIDI key {pitch} is out of range"),
            Self::Key { share } => {
                write!(
                    f,
                    "only {:.0} % of the notes belong to the key",
                    share * 100.0
                )
            }
            Self::Tuplet { bar } => write!(f, "bar {bar}: a tuplet lacks notes"),
            Self::Tie { bar } => write!(f, "bar {bar}: a tie leads to no note of its pitch"),
            Self::Slurs => f.write_str("slurs open and close unevenly"),
            Self::Ending { bar } => write!(f, "bar {bar}: an ending has no partner"),
            Self::Unfinished => f.write_str("no bar line at the end"),
            Self::Empty => f.write_str("no notes"),
        }
    }
}

/// What a tune must fulfil.
#[derive(Clone, Debug, PartialEq)]
pub struct Validator {
    /// Lowest MIDI key allowed; 43 is the G below the fiddle's fourth string by an octave.
    pub lowest: u8,
    /// Highest MIDI key allowed.
    pub highest: u8,
    /// Least share of the notes that must belong to the key signature.
    pub in_key: f32,
}

impl Default for Validator {
    /// From the G an octave and a half under middle C to the B three octaves above it; two thirds
    /// of the notes in the key.
    fn default() -> Self {
        Self {
            lowest: 43,
            highest: 107,
            in_key: 0.66,
        }
    }
}

/// The validator's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// All that was found, in order.
    pub issues: Vec<Issue>,
}

impl Report {
    /// No errors; warnings are allowed.
    pub fn is_valid(&self) -> bool {
        self.issues.iter().all(|i| i.level() == Level::Warning)
    }

    /// No errors, and every pickup has its complement.
    pub fn is_strict(&self) -> bool {
        self.is_valid()
            && !self
                .issues
                .iter()
                .any(|i| matches!(i, Issue::Pickup { .. }))
    }

    /// The issues that make the tune invalid.
    pub fn errors(&self) -> impl Iterator<Item = &Issue> {
        self.issues.iter().filter(|i| i.level() == Level::Error)
    }
}

impl Tune {
    /// Checks the tune with the default [`Validator`].
    ///
    /// ```
    /// use refrain_music::Tune;
    /// let good = Tune::parse("X:1\nM:3/4\nL:1/8\nK:D\nA2|d4 e2|f4:|\n")?;
    /// assert!(good.validate().is_strict());
    /// let bad = Tune::parse("X:1\nM:3/4\nL:1/8\nK:D\nA2|d4 e|f4 g2|a4:|\n")?;
    /// let report = bad.validate();
    /// assert_eq!(report.errors().next().unwrap().to_string(), "bar 2 holds 5/8 instead of 3/4");
    /// # Ok::<(), refrain_music::Error>(())
    /// ```
    pub fn validate(&self) -> Report {
        Validator::default().check(self)
    }
}

impl Validator {
    /// Checks a tune.
    pub fn check(&self, tune: &Tune) -> Report {
        let resolved = tune.resolve();
        let measures = tune.measures_of(&resolved);
        let mut issues = Vec::new();
        if !resolved
            .iter()
            .any(|r| !r.duration.is_zero() && !r.pitches.is_empty())
        {
            issues.push(Issue::Empty);
            return Report { issues };
        }
        for m in &measures {
            let Some(expected) = m.expected else { continue };
            let may_be_short = m.after_boundary || m.before_boundary;
            if m.duration > expected || (m.duration < expected && !may_be_short) {
                issues.push(Issue::BarLength {
                    bar: m.number,
                    found: m.duration,
                    expected,
                });
            }
        }
        seams(tune, &measures, &mut issues);
        let bar_of = |element: usize| {
            measures
                .iter()
                .find(|m| element < m.elements.end)
                .map_or(measures.len(), |m| m.number)
        };
        let (mut inside, mut all) = (0usize, 0usize);
        for (i, r) in resolved.iter().enumerate() {
            let scale = r.key.scale();
            for &pitch in r.pitches.iter().filter(|_| !r.duration.is_zero()) {
                all += 1;
                inside += usize::from(scale.contains(&(pitch % 12)));
                if !(self.lowest..=self.highest).contains(&pitch) {
                    issues.push(Issue::Range {
                        bar: bar_of(i),
                        pitch,
                    });
                }
            }
        }
        let share = inside as f32 / all.max(1) as f32;
        if share < self.in_key {
            issues.push(Issue::Key { share });
        }
        marks(tune, &resolved, bar_of, &mut issues);
        Report { issues }
    }
}

/// Follows the tune as played and checks what meets at its seams.
fn seams(tune: &Tune, measures: &[Measure], issues: &mut Vec<Issue>) {
    let mut seen = std::collections::HashSet::new();
    let played = played_measures(tune, measures);
    for pair in played.windows(2) {
        let (Some(a), Some(b)) = (measures.get(pair[0]), measures.get(pair[1])) else {
            continue;
        };
        let Some(expected) = b.expected else { continue };
        let seam = a.before_boundary && b.after_boundary;
        let sane = a.duration <= expected && b.duration <= expected;
        // A short bar with a seam on either side (an ending of one bar) is judged at the other seam.
        let elsewhere = (a.is_full() && b.before_boundary) || (b.is_full() && a.after_boundary);
        if !seam || !sane || elsewhere || (a.is_full() && b.is_full()) {
            continue;
        }
        let found = a.duration + b.duration;
        if found != expected && seen.insert((pair[0], pair[1])) {
            issues.push(Issue::Pickup {
                bar: a.number,
                next: b.number,
                found,
                expected,
            });
        }
    }
}

/// Indices of the measures in the order they are played.
fn played_measures(tune: &Tune, measures: &[Measure]) -> Vec<usize> {
    let mut owner = vec![None; tune.body.len()];
    for (k, m) in measures.iter().enumerate() {
        owner
            .iter_mut()
            .take(m.elements.end)
            .skip(m.elements.start)
            .for_each(|o| *o = Some(k));
    }
    let mut out: Vec<usize> = Vec::new();
    let mut previous = None;
    for i in tune.play_order() {
        let Some(k) = owner.get(i).copied().flatten() else {
            continue;
        };
        if out.last() != Some(&k) || previous.is_some_and(|p| i <= p) {
            out.push(k);
        }
        previous = Some(i);
    }
    out
}

/// Tuplets, ties, slurs, endings and the last bar line.
fn marks(
    tune: &Tune,
    resolved: &[crate::Resolved],
    bar_of: impl Fn(usize) -> usize,
    issues: &mut Vec<Issue>,
) {
    let mut tuplet_left = 0u8;
    let mut tied: Vec<u8> = Vec::new();
    let (mut open, mut uneven) = (0i32, false);
    let mut first_ending: Option<usize> = None;
    for (i, (element, r)) in tune.body.iter().zip(resolved).enumerate() {
        match element {
            Element::Note(_) | Element::Chord(_) | Element::Rest(_) => {
                tuplet_left = tuplet_left.saturating_sub(1);
                if !tied.is_empty() && !tied.iter().any(|p| r.pitches.contains(p)) {
                    issues.push(Issue::Tie { bar: bar_of(i) });
                }
                let tie = match element {
                    Element::Note(n) => n.tie,
                    Element::Chord(c) => c.tie,
                    _ => false,
                };
                tied = if tie { r.pitches.clone() } else { Vec::new() };
            }
            Element::Tuplet(t) => {
                if tuplet_left > 0 {
                    issues.push(Issue::Tuplet { bar: bar_of(i) });
                }
                tuplet_left = t.r;
            }
            Element::Bar(_) if tuplet_left > 0 => {
                issues.push(Issue::Tuplet { bar: bar_of(i) });
                tuplet_left = 0;
            }
            Element::SlurStart => open += 1,
            Element::SlurEnd => {
                open -= 1;
                uneven |= open < 0;
            }
            Element::Ending(e) => {
                let first = e.passes.contains(&1);
                match first_ending {
                    // Two firsts in a row: the earlier one stood alone.
                    Some(bar) if first => issues.push(Issue::Ending { bar }),
                    None if !first => issues.push(Issue::Ending { bar: bar_of(i) }),
                    _ => {}
                }
                first_ending = first.then(|| bar_of(i));
            }
            _ => {}
        }
    }
    if tuplet_left > 0 {
        issues.push(Issue::Tuplet {
            bar: bar_of(tune.body.len()),
        });
    }
    if let Some(bar) = first_ending {
        issues.push(Issue::Ending { bar });
    }
    if uneven || open != 0 {
        issues.push(Issue::Slurs);
    }
    let last = tune
        .body
        .iter()
        .rev()
        .find(|e| matches!(e, Element::Bar(_)) || e.length().is_some());
    if !matches!(last, Some(Element::Bar(_))) {
        issues.push(Issue::Unfinished);
    }
}
