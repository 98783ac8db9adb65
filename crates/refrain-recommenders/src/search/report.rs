use std::cmp::Ordering;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Goal, Trial};

/// A trial and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Its settings.
    pub trial: Trial,
    /// The metric; none when it failed.
    pub score: Option<f64>,
    /// Why it failed.
    pub error: Option<String>,
    /// How long fitting and judging took.
    pub seconds: f64,
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.score, &self.error) {
            (Some(score), _) => write!(f, "{score:.4}  {}", self.trial),
            (None, Some(error)) => write!(f, "failed  {}: {error}", self.trial),
            (None, None) => write!(f, "failed  {}", self.trial),
        }
    }
}

/// What a search tried; displayed, the ten best, then what failed.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchReport {
    /// What counted.
    pub metric: Goal,
    /// The trials, round by round, each in order.
    pub trials: Vec<Finished>,
    /// Whether time was up before all was tried.
    pub stopped: bool,
}

impl SearchReport {
    /// The best trial among those with the largest share of the work; of equal ones the earliest.
    pub fn best(&self) -> Option<&Finished> {
        let judged = self.trials.iter().filter(|f| f.score.is_some());
        judged.min_by(|a, b| better_first(self.metric, a, b))
    }
}

/// Larger shares first, then better scores, then lower numbers.
pub(super) fn better_first(goal: Goal, a: &Finished, b: &Finished) -> Ordering {
    let score = |f: &Finished| match (f.score, goal.rises()) {
        (None, _) => f64::NEG_INFINITY,
        (Some(score), true) => score,
        (Some(score), false) => -score,
    };
    (b.trial.share.total_cmp(&a.trial.share))
        .then(score(b).total_cmp(&score(a)))
        .then(a.trial.number.cmp(&b.trial.number))
}

impl fmt::Display for SearchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds: f64 = self.trials.iter().map(|t| t.seconds).sum();
        write!(
            f,
            "{} trials in {seconds:.1} s, by {}",
            self.trials.len(),
            self.metric
        )?;
        if self.stopped {
            f.write_str(", stopped by the time limit")?;
        }
        let mut ranked: Vec<&Finished> = self.trials.iter().collect();
        ranked.sort_by(|a, b| better_first(self.metric, a, b));
        let (good, failed): (Vec<&Finished>, Vec<&Finished>) =
            ranked.into_iter().partition(|t| t.score.is_some());
        for trial in good.iter().take(10) {
            write!(f, "\n  {trial}")?;
            if trial.trial.share < 1.0 {
                write!(f, "  (on {:.0} %)", 100.0 * trial.trial.share)?;
            }
        }
        if good.len() > 10 {
            write!(f, "\n  … and {} more", good.len() - 10)?;
        }
        for trial in failed.iter().take(3) {
            write!(f, "\n  {trial}")?;
        }
        if failed.len() > 3 {
            write!(f, "\n  … and {} more failed", failed.len() - 3)?;
        }
        Ok(())
    }
}
