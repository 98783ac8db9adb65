//! Metrics that are measured while a game is played.

use std::fmt;

use crate::{Error, GanModel, Result};

type Metric = dyn FnMut(&GanModel) -> Result<f64> + Send;

/// A metric of the model as it is at an epoch's end.
pub(crate) struct Measure {
    pub(crate) name: String,
    every: usize,
    metric: Box<Metric>,
}

impl Measure {
    pub(crate) fn new(
        name: String,
        every: usize,
        metric: impl FnMut(&GanModel) -> Result<f64> + Send + 'static,
    ) -> Result<Self> {
        if name.is_empty() || name.len() > 64 || name.chars().any(char::is_control) {
            let reason = format!("{name:?} is not a name of 1 to 64 bytes in one line");
            return Err(Error::config("name", reason));
        }
        if every == 0 {
            return Err(Error::config("every", "must be at least 1"));
        }
        Ok(Self {
            name,
            every,
            metric: Box::new(metric),
        })
    }

    /// What the metric says, if it is asked after this epoch.
    pub(crate) fn after(&mut self, epoch: usize, model: &GanModel) -> Option<Result<f64>> {
        let due = epoch.is_multiple_of(self.every);
        due.then(|| (self.metric)(model))
    }
}

impl fmt::Debug for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measure")
            .field("name", &self.name)
            .field("every", &self.every)
            .finish_non_exhaustive()
    }
}
