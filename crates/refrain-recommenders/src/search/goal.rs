use std::fmt;

use refrain_data::Interactions;

use crate::{Error, Evaluator, Metric, Recommender, Result, evaluate_ratings};

/// What a search judges models by.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Goal {
    /// A metric of ranked lists of which more is better.
    Ranking(Metric),
    /// The root of the mean squared error of predicted ratings; less is better. For models that predict
    /// ratings: [`Recommender::ratings`].
    Rmse,
    /// Their mean absolute error; less is better.
    Mae,
}

impl From<Metric> for Goal {
    fn from(metric: Metric) -> Self {
        Self::Ranking(metric)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ranking(metric) => metric.fmt(f),
            Self::Rmse => f.write_str("RMSE"),
            Self::Mae => f.write_str("MAE"),
        }
    }
}

impl Goal {
    /// Whether more is better.
    pub(super) fn rises(self) -> bool {
        matches!(self, Self::Ranking(_))
    }

    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Ranking(Metric::Gini(_) | Metric::PopularityLift(_)) => Err(Error::Config {
                model: super::NAME,
                field: "metric",
                value: self.to_string(),
                expected: "must be one of which more is better",
            }),
            _ => Ok(()),
        }
    }
}

/// What models are judged on.
pub(super) struct Judge<'a> {
    goal: Goal,
    lists: Evaluator<'a>,
    valid: &'a Interactions,
}

impl<'a> Judge<'a> {
    pub(super) fn new(
        goal: Goal,
        train: &'a Interactions,
        valid: &'a Interactions,
    ) -> Result<Self> {
        Ok(Self {
            goal,
            lists: Evaluator::new(train, valid)?,
            valid,
        })
    }

    /// The model's score; none when it is no number.
    pub(super) fn score(&self, model: &dyn Recommender) -> Result<Option<f64>> {
        let score = match self.goal {
            Goal::Ranking(metric) => self.lists.run(model, &[metric])?.get(metric),
            Goal::Rmse | Goal::Mae => {
                let Some(predictor) = model.ratings() else {
                    return Err(model.unsupported("predict ratings"));
                };
                let report = evaluate_ratings(predictor, self.valid)?;
                Some(match self.goal {
                    Goal::Mae => report.mae,
                    _ => report.rmse,
                })
            }
        };
        Ok(score.filter(|score| score.is_finite()))
    }
}
