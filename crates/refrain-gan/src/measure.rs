//! Metrics that are measured while a game is played.

use std::fmt;

use crate::{Error, GanModel, Result, Trainer};

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

impl Trainer {
    /// From now on measures the model as it is, after each `every`-th epoch, into
    /// [`EpochReport::metrics`](crate::EpochReport::metrics) under `name`: it is printed, saved and drawn
    /// ([`GanModel::curves`]) with the rest of the report; NaN is left out. An error of `metric` is given back by the
    /// step that ends the epoch, after which training can go on. A checkpoint holds the values, but not
    /// the metrics: name them again after [`Trainer::resume`].
    ///
    /// # Errors
    /// [`Error::Config`] for a name that is empty, longer than 64 bytes, taken, or of more than one
    /// line, and for an `every` of 0.
    ///
    /// ```
    /// use refrain_core::Monitor;
    /// use refrain_gan::{Gan, ImageShape, Images, metrics::frechet_images};
    /// let device = refrain_core::device("cpu")?;
    /// let images = Images::from_f32(ImageShape::square(1, 2), [0.2, 0.8].repeat(64))?;
    /// let mut trainer = Gan { epochs: 4, batch: 8, ..Gan::default() }.trainer(&images, &device)?;
    /// let real = images.clone();
    /// trainer.measure("Fréchet", 2, move |model| frechet_images(&model.sample(50, 1)?, &real))?;
    /// trainer.run(&Monitor::silent())?;
    /// let measured: Vec<bool> = trainer.history().iter().map(|e| e.metrics.contains_key("Fréchet")).collect();
    /// assert_eq!(measured, [false, true, false, true]);
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn measure(
        &mut self,
        name: impl Into<String>,
        every: usize,
        metric: impl FnMut(&GanModel) -> Result<f64> + Send + 'static,
    ) -> Result<()> {
        let measure = Measure::new(name.into(), every, metric)?;
        if self.measures.iter().any(|m| m.name == measure.name) {
            return Err(Error::config(
                "name",
                format!("{:?} is taken", measure.name),
            ));
        }
        self.measures.push(measure);
        Ok(())
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
