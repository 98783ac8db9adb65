//! What a search tries: ranges of settings, and one choice of each.

use std::fmt;
use std::ops::RangeInclusive;

use rand::RngExt;
use refrain_core::rng;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What a setting may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Range {
    /// A number; with `log`, each doubling is as likely as another.
    Float {
        /// The least value.
        low: f64,
        /// The largest value.
        high: f64,
        /// Whether to draw evenly in the logarithm.
        log: bool,
    },
    /// A whole number.
    Int {
        /// The least value.
        low: i64,
        /// The largest value, which is among them.
        high: i64,
        /// Whether to draw evenly in the logarithm.
        log: bool,
    },
    /// One of some words.
    Choice(Vec<String>),
}

/// The value of a setting in one trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum Value {
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// A word.
    Choice(String),
}

/// The settings a search may change, and their ranges.
///
/// ```
/// use refrain_recommenders::Space;
/// let space = Space::new()
///     .log("regularization", 1e-3..=10.0)
///     .linear("alpha", 0.0..=1.0)
///     .int("factors", 16..=128)
///     .choice("weighting", ["plain", "bm25"]);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Space {
    pub(super) ranges: Vec<(String, Range)>,
}

impl Space {
    /// No settings yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A number, drawn evenly.
    #[must_use]
    pub fn linear(self, name: impl Into<String>, range: RangeInclusive<f64>) -> Self {
        let (low, high) = range.into_inner();
        let log = false;
        self.with(name, Range::Float { low, high, log })
    }

    /// A number above 0, drawn evenly in its logarithm: for what matters by its order of magnitude.
    #[must_use]
    pub fn log(self, name: impl Into<String>, range: RangeInclusive<f64>) -> Self {
        let (low, high) = range.into_inner();
        let log = true;
        self.with(name, Range::Float { low, high, log })
    }

    /// A whole number, drawn evenly.
    #[must_use]
    pub fn int(self, name: impl Into<String>, range: RangeInclusive<i64>) -> Self {
        let (low, high) = range.into_inner();
        let log = false;
        self.with(name, Range::Int { low, high, log })
    }

    /// A whole number above 0, drawn evenly in its logarithm.
    #[must_use]
    pub fn int_log(self, name: impl Into<String>, range: RangeInclusive<i64>) -> Self {
        let (low, high) = range.into_inner();
        let log = true;
        self.with(name, Range::Int { low, high, log })
    }

    /// One of some words.
    #[must_use]
    pub fn choice<T: Into<String>>(
        self,
        name: impl Into<String>,
        words: impl IntoIterator<Item = T>,
    ) -> Self {
        self.with(
            name,
            Range::Choice(words.into_iter().map(Into::into).collect()),
        )
    }

    /// A setting with any range.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, range: Range) -> Self {
        self.ranges.push((name.into(), range));
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        for (at, (name, range)) in self.ranges.iter().enumerate() {
            let bad = |expected| {
                Err(Error::Config {
                    model: "search",
                    field: "space",
                    value: format!("{name}: {range:?}"),
                    expected,
                })
            };
            if self.ranges.iter().take(at).any(|(other, _)| other == name) {
                return bad("must name each setting once");
            }
            match range {
                Range::Float { low, high, log } => match () {
                    () if !(low.is_finite() && high.is_finite() && low <= high) => {
                        return bad("must run from a number to one not below it");
                    }
                    () if *log && *low <= 0.0 => return bad("must lie above 0"),
                    () => {}
                },
                Range::Int { low, high, log } => match () {
                    () if low > high => return bad("must run from a number to one not below it"),
                    () if *log && *low <= 0 => return bad("must lie above 0"),
                    () => {}
                },
                Range::Choice(words) if words.is_empty() => return bad("must have a word"),
                Range::Choice(_) => {}
            }
        }
        Ok(())
    }

    /// The values in the order of the settings.
    pub(super) fn ordered(&self, values: &[(String, Value)]) -> Vec<(String, Value)> {
        let of = |name: &String| values.iter().find(|(other, _)| other == name).cloned();
        self.ranges
            .iter()
            .filter_map(|(name, _)| of(name))
            .collect()
    }

    /// Whether these are values of all settings, each of its kind; they may lie outside the range.
    pub(super) fn check_values(&self, values: &[(String, Value)]) -> Result<()> {
        let bad = |value, expected| {
            Err(Error::Config {
                model: "search",
                field: "first",
                value,
                expected,
            })
        };
        for (name, range) in &self.ranges {
            let Some((_, value)) = values.iter().find(|(other, _)| other == name) else {
                return bad(format!("without {name}"), "must name every setting");
            };
            let fits = match (range, value) {
                (Range::Float { .. }, Value::Float(value)) => value.is_finite(),
                (Range::Int { .. } | Range::Float { .. }, Value::Int(_)) => true,
                (Range::Choice(words), Value::Choice(word)) => words.contains(word),
                _ => false,
            };
            if !fits {
                return bad(
                    format!("{name} = {value}"),
                    "must be a value of its setting",
                );
            }
        }
        let known = |name: &String| self.ranges.iter().any(|(other, _)| other == name);
        match values.iter().find(|(name, _)| !known(name)) {
            Some((name, _)) => bad(name.clone(), "must name settings of the space"),
            None if values.len() > self.ranges.len() => bad(
                format!("{} values", values.len()),
                "must name each setting once",
            ),
            None => Ok(()),
        }
    }

    /// The values of random trial `number`.
    pub(super) fn draw(&self, seed: u64, number: usize) -> Vec<(String, Value)> {
        let mut rng = rng::stream(seed, number as u64);
        let drawn = self.ranges.iter().map(|(name, range)| {
            let share: f64 = rng.random();
            (name.clone(), range.at(share, false))
        });
        drawn.collect()
    }

    /// How many points a grid with `steps` points a range has; `None` for too many to count.
    pub(super) fn grid_len(&self, steps: usize) -> Option<usize> {
        self.ranges.iter().try_fold(1usize, |all, (_, range)| {
            all.checked_mul(range.points(steps).len())
        })
    }

    /// A point of the grid, the last setting changing fastest.
    pub(super) fn grid_point(&self, steps: usize, mut number: usize) -> Vec<(String, Value)> {
        let mut values = Vec::with_capacity(self.ranges.len());
        for (name, range) in self.ranges.iter().rev() {
            let points = range.points(steps);
            if let Some(value) = points.get(number % points.len().max(1)) {
                values.push((name.clone(), value.clone()));
            }
            number /= points.len().max(1);
        }
        values.reverse();
        values
    }
}

impl Range {
    /// The value at a share of the way, from 0 to 1; `ends` says whether 1 is the last value itself.
    fn at(&self, share: f64, ends: bool) -> Value {
        match self {
            Range::Float { low, high, log } => {
                let value = match log {
                    true => (low.ln() + share * (high.ln() - low.ln())).exp(),
                    false => low + share * (high - low),
                };
                Value::Float(rounded(value).clamp(*low, *high))
            }
            Range::Int { low, high, log } => {
                let (a, b) = (*low as f64, *high as f64);
                let value = match (log, ends) {
                    (true, true) => (a.ln() + share * (b.ln() - a.ln())).exp().round(),
                    (true, false) => (a.ln() + share * ((b + 1.0).ln() - a.ln())).exp().floor(),
                    (false, true) => (a + share * (b - a)).round(),
                    (false, false) => (a + share * (b - a + 1.0)).floor(),
                };
                Value::Int((value as i64).clamp(*low, *high))
            }
            Range::Choice(words) => {
                let at = ((share * words.len() as f64) as usize).min(words.len().saturating_sub(1));
                Value::Choice(words.get(at).cloned().unwrap_or_default())
            }
        }
    }

    fn points(&self, steps: usize) -> Vec<Value> {
        if let Range::Choice(words) = self {
            return words.iter().cloned().map(Value::Choice).collect();
        }
        let last = steps.saturating_sub(1).max(1) as f64;
        let mut points: Vec<Value> = (0..steps.max(1))
            .map(|step| self.at(step as f64 / last, true))
            .collect();
        points.dedup();
        points
    }
}

/// Six digits: enough for a setting, and the same after a way through text.
fn rounded(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Choice(value.to_string())
    }
}

impl Value {
    /// Whether two values are the same but for rounding.
    pub(super) fn same(&self, other: &Self) -> bool {
        let number = |value: &Self| match value {
            Value::Int(v) => Some(*v as f64),
            Value::Float(v) => Some(*v),
            Value::Choice(_) => None,
        };
        match (number(self), number(other)) {
            (Some(a), Some(b)) => (a - b).abs() <= 1e-9 * a.abs().max(b.abs()),
            _ => self == other,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Int(v) => write!(f, "{v}"),
            Value::Float(v) if *v != 0.0 && !(1e-3..1e6).contains(&v.abs()) => write!(f, "{v:e}"),
            Value::Float(v) => write!(f, "{v}"),
            Value::Choice(v) => f.write_str(v),
        }
    }
}

/// One choice of settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Its number, from 0.
    pub number: usize,
    /// Each setting's value, in the order of the space.
    pub values: Vec<(String, Value)>,
    /// How much of the work to do, above 0 and up to 1: below 1 only in the first rounds of successive
    /// halving. With [`Resource::Work`](crate::Resource::Work) the closure cuts its iterations by it.
    pub share: f64,
}

impl Trial {
    /// The value of a number, whole or not.
    ///
    /// # Errors
    /// [`Error::Config`] when the space has no such number.
    pub fn float(&self, name: &str) -> Result<f64> {
        match self.value(name) {
            Some(Value::Float(value)) => Ok(*value),
            Some(Value::Int(value)) => Ok(*value as f64),
            _ => Err(missing(name, "must be a number of the search space")),
        }
    }

    /// The value of a number as `f32`.
    ///
    /// # Errors
    /// As [`float`](Self::float).
    pub fn f32(&self, name: &str) -> Result<f32> {
        Ok(self.float(name)? as f32)
    }

    /// The value of a whole number.
    ///
    /// # Errors
    /// [`Error::Config`] when the space has no such whole number.
    pub fn int(&self, name: &str) -> Result<i64> {
        match self.value(name) {
            Some(Value::Int(value)) => Ok(*value),
            _ => Err(missing(name, "must be a whole number of the search space")),
        }
    }

    /// The value of a whole number that is not below 0.
    ///
    /// # Errors
    /// As [`int`](Self::int), and for one below 0.
    pub fn size(&self, name: &str) -> Result<usize> {
        usize::try_from(self.int(name)?)
            .map_err(|_| missing(name, "must not be below 0 to be a size"))
    }

    /// The word that was chosen.
    ///
    /// # Errors
    /// [`Error::Config`] when the space has no such choice.
    pub fn choice(&self, name: &str) -> Result<&str> {
        match self.value(name) {
            Some(Value::Choice(word)) => Ok(word),
            _ => Err(missing(name, "must be a choice of the search space")),
        }
    }

    /// `full` cut to the share of the work this trial is to do, at least 1.
    pub fn cut(&self, full: usize) -> usize {
        ((full as f64 * self.share).round() as usize).clamp(1, full.max(1))
    }

    fn value(&self, name: &str) -> Option<&Value> {
        let found = self.values.iter().find(|(other, _)| other == name);
        found.map(|(_, value)| value)
    }
}

impl fmt::Display for Trial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.values.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            write!(f, "{comma}{name} {value}")?;
        }
        Ok(())
    }
}

fn missing(name: &str, expected: &'static str) -> Error {
    Error::Config {
        model: "search",
        field: "setting",
        value: name.to_string(),
        expected,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space() -> Space {
        Space::new()
            .log("rate", 1e-4..=1.0)
            .linear("share", -1.0..=1.0)
            .int("small", -2..=3)
            .int_log("large", 1..=1000)
            .choice("word", ["a", "b"])
    }

    #[test]
    fn draws_lie_in_range_and_cover_it() {
        let space = space();
        space.check().unwrap();
        let (mut low, mut large, mut small) = (0, 0, [0; 6]);
        for number in 0..600 {
            let trial = Trial {
                number,
                values: space.draw(3, number),
                share: 1.0,
            };
            let rate = trial.float("rate").unwrap();
            assert!((1e-4..=1.0).contains(&rate));
            low += usize::from(rate < 1e-2);
            large += usize::from(trial.size("large").unwrap() <= 31);
            small[(trial.int("small").unwrap() + 2) as usize] += 1;
            assert!((-1.0..=1.0).contains(&trial.float("share").unwrap()));
            assert!(["a", "b"].contains(&trial.choice("word").unwrap()));
            let text = serde_json::to_string(&trial).unwrap();
            let again: Trial = serde_json::from_str(&text).unwrap();
            assert!(
                again
                    .values
                    .iter()
                    .zip(&trial.values)
                    .all(|(a, b)| a.1.same(&b.1))
            );
        }
        assert!((240..360).contains(&low) && (240..360).contains(&large));
        assert!(small.iter().all(|n| (60..140).contains(n)), "{small:?}");
    }

    #[test]
    fn a_grid_has_each_point_once() {
        let space = space();
        assert_eq!(space.grid_len(3), Some(3 * 3 * 3 * 3 * 2));
        let mut all: Vec<String> = (0..162)
            .map(|at| format!("{:?}", space.grid_point(3, at)))
            .collect();
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 162);
        let first = space.grid_point(3, 0);
        assert_eq!(first[0].1, Value::Float(1e-4));
        assert_eq!(space.grid_point(3, 161)[3].1, Value::Int(1000));
        // Whole numbers are not tried twice where there are fewer than steps.
        assert_eq!(Space::new().int("n", 1..=3).grid_len(10), Some(3));
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        let trial = Trial {
            number: 0,
            values: space().draw(3, 0),
            share: 0.25,
        };
        assert!(trial.float("word").is_err() && trial.float("none").is_err());
        assert!(trial.int("rate").is_err() && trial.choice("rate").is_err());
        assert_eq!((trial.cut(100), trial.cut(1)), (25, 1));
        for bad in [
            Space::new().log("x", 0.0..=1.0),
            Space::new().linear("x", 2.0..=1.0),
            Space::new().linear("x", f64::NAN..=1.0),
            Space::new().int_log("x", 0..=1),
            Space::new().int("x", RangeInclusive::new(2, 1)),
            Space::new().choice("x", Vec::<String>::new()),
            Space::new().int("x", 1..=2).int("x", 1..=2),
        ] {
            assert!(matches!(bad.check(), Err(Error::Config { .. })), "{bad:?}");
        }
    }
}
