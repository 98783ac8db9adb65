//! Where the random numbers come from: one stream per purpose and step, all from one seed.
//!
//! Nothing keeps a generator's state. The numbers of step 1,000 are those of the stream numbered
//! 1,000, so a run that was stopped and resumed draws what an unbroken one would have drawn.

use rand::RngExt;
use refrain_core::rng::{self, Stream};

/// What random numbers are drawn for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// The generator's first weights.
    Generator = 0,
    /// The discriminator's first weights.
    Discriminator = 1,
    /// The order of the images; numbered by epoch.
    Order = 2,
    /// What one training step draws.
    Step = 3,
    /// The noise of the sheets painted while training.
    Sheet = 4,
    /// Samples asked of a trained model.
    Sample = 5,
    /// Images for comparison, and subsets, in the metrics.
    Metric = 6,
    /// The images painted at each epoch to be measured.
    Variety = 7,
    /// Which part of a picture is kept; numbered by file.
    Crop = 8,
    /// Toy data and stacked digits.
    Data = 20,
    /// The classifier's first weights, and the batches it learns from.
    Classifier = 21,
    /// Where an inversion starts.
    Inversion = 22,
    /// The sequence game's texts.
    #[cfg(feature = "sequence")]
    Sequence = 23,
}

/// Stream number `index` of `seed` for one purpose.
pub(crate) fn stream(seed: u64, purpose: Purpose, index: u64) -> Stream {
    rng::stream(rng::stream(seed, purpose as u64).random(), index)
}

/// `count` draws from the standard normal distribution (Box and Muller, 1958).
pub(crate) fn normal(rng: &mut Stream, count: usize) -> Vec<f32> {
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * rng.random::<f64>()).sin_cos();
        values.extend([(radius * cos) as f32, (radius * sin) as f32]);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_has_the_right_moments() {
        let values = normal(&mut stream(1, Purpose::Step, 0), 100_001);
        let n = values.len() as f64;
        let moment = |k: i32| values.iter().map(|&v| f64::from(v).powi(k)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.01 && (moment(2) - 1.0).abs() < 0.02);
        assert!(moment(3).abs() < 0.05 && (moment(4) - 3.0).abs() < 0.1);
    }

    #[test]
    fn purposes_and_indices_differ() {
        let first = |purpose, index| stream(9, purpose, index).random::<u64>();
        assert_eq!(first(Purpose::Step, 3), first(Purpose::Step, 3));
        assert_ne!(first(Purpose::Step, 3), first(Purpose::Step, 4));
        assert_ne!(first(Purpose::Step, 3), first(Purpose::Sheet, 3));
    }
}
