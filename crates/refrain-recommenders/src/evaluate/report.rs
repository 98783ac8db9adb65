use std::fmt;

use super::significance::{Bootstrap, Interval, Paired};
use crate::{Error, Metric, Result};

/// What a model scored; displayed, it is a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The model's name.
    pub model: String,
    /// How many users had something to find.
    pub users: usize,
    /// How many of them had no training history.
    pub cold_users: usize,
    /// The metrics in the order they were asked for.
    pub values: Vec<(Metric, f64)>,
    /// The numbers of the users with something to find.
    pub(super) tested: Vec<u32>,
    /// For each of `values` one number per user, or none for metrics over all lists together.
    pub(super) per_user: Vec<Vec<f64>>,
}

impl Report {
    /// The value of a metric, when it was asked for.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.values
            .iter()
            .find(|(m, _)| *m == metric)
            .map(|&(_, value)| value)
    }

    /// The users' numbers, in the order of [`per_user`](Self::per_user).
    pub fn tested(&self) -> &[u32] {
        &self.tested
    }

    /// A metric's value for each user; none for what was not asked for, and for coverage and the Gini
    /// coefficient, which no single user has.
    pub fn per_user(&self, metric: Metric) -> Option<&[f64]> {
        let at = self.values.iter().position(|(m, _)| *m == metric)?;
        let values = self.per_user.get(at)?;
        metric.is_per_user().then_some(values)
    }

    /// Where the mean over all such users lies, by resampling the users.
    ///
    /// ```
    /// # use refrain_data::{Interactions, split};
    /// # use refrain_recommenders::{Bootstrap, ItemKnn, Metric::*, evaluate};
    /// # let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
    /// # let (train, test) = split::random(&log, 0.2, 7)?;
    /// let model = ItemKnn::default().fit(&train)?;
    /// let report = evaluate(&model, &train, &test, &[Ndcg(10)])?;
    /// println!("{}", report.interval(Ndcg(10), &Bootstrap::default())?); // 0.6120 [0.5623, 0.6581]
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`] for a metric that was not asked for or no user has, and for settings out of
    /// range.
    pub fn interval(&self, metric: Metric, bootstrap: &Bootstrap) -> Result<Interval> {
        bootstrap.interval(self.values_of(metric)?)
    }

    /// Whether this model differs from another on the same users, by more than chance.
    ///
    /// # Errors
    /// [`Error::Mismatch`] for reports of other users, [`Error::Config`] as
    /// [`interval`](Self::interval).
    pub fn versus(&self, other: &Self, metric: Metric, bootstrap: &Bootstrap) -> Result<Paired> {
        if self.tested != other.tested {
            return Err(Error::Mismatch {
                left: format!("the report of {}", self.model),
                right: format!("that of {}", other.model),
                what: "users",
            });
        }
        bootstrap.paired(self.values_of(metric)?, other.values_of(metric)?)
    }

    fn values_of(&self, metric: Metric) -> Result<&[f64]> {
        self.per_user(metric).ok_or_else(|| Error::Config {
            model: "report",
            field: "metric",
            value: metric.to_string(),
            expected: "must have been measured, and for each user",
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} users", self.model, self.users)?;
        if self.cold_users > 0 {
            write!(f, " ({} without a training history)", self.cold_users)?;
        }
        for (metric, value) in &self.values {
            write!(f, "\n  {metric:<16} {value:.4}")?;
        }
        Ok(())
    }
}
