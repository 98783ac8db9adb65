//! What training tells: per step, per epoch, and in words when the game goes wrong.

use std::fmt;

use crate::{Error, Images, Result};

/// The numbers of one training step.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct StepReport {
    /// Steps done, this one included.
    pub step: u64,
    /// The discriminator's loss, without its penalty.
    pub discriminator_loss: f32,
    /// The generator's loss.
    pub generator_loss: f32,
    /// The penalty on the discriminator's slope.
    pub penalty: f32,
    /// Share of real images the discriminator took for real.
    pub real_accuracy: f32,
    /// Share of painted images the discriminator took for painted.
    pub fake_accuracy: f32,
}

impl fmt::Display for StepReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "D {:.3} G {:.3} D right {:.0} %",
            self.discriminator_loss,
            self.generator_loss,
            50.0 * (self.real_accuracy + self.fake_accuracy)
        )
    }
}

/// The numbers of one epoch: means over its steps.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct EpochReport {
    /// The epoch, counted from 1.
    pub epoch: usize,
    /// The discriminator's loss, without its penalty; 2 ln 2 = 1.386 when it can only guess.
    pub discriminator_loss: f32,
    /// The generator's loss; ln 2 = 0.693 when the discriminator can only guess.
    pub generator_loss: f32,
    /// The penalty on the discriminator's slope.
    pub penalty: f32,
    /// Share of real images the discriminator took for real.
    pub real_accuracy: f32,
    /// Share of painted images the discriminator took for painted.
    pub fake_accuracy: f32,
    /// How much the painted images differ among themselves (within a class, if there are classes),
    /// as a share of how much the real ones do: total variance over total variance.
    pub variety: f32,
    /// What looks wrong.
    pub alarms: Vec<Alarm>,
}

impl EpochReport {
    /// Columns of the saved history.
    pub(crate) const NUMBERS: usize = 6;

    pub(crate) fn numbers(&self) -> [f32; Self::NUMBERS] {
        [
            self.discriminator_loss,
            self.generator_loss,
            self.penalty,
            self.real_accuracy,
            self.fake_accuracy,
            self.variety,
        ]
    }

    pub(crate) fn new(epoch: usize, numbers: [f32; Self::NUMBERS]) -> Self {
        let [
            discriminator_loss,
            generator_loss,
            penalty,
            real_accuracy,
            fake_accuracy,
            variety,
        ] = numbers;
        let mut alarms = Vec::new();
        // A good game, too, starts with a sure discriminator and images that are all alike.
        if epoch > 10 {
            if real_accuracy.min(fake_accuracy) > 0.98 {
                let accuracy = (real_accuracy + fake_accuracy) / 2.0;
                alarms.push(Alarm::DiscriminatorWins { accuracy });
            }
            if variety < 0.25 {
                alarms.push(Alarm::Collapse { variety });
            }
        }
        Self {
            epoch,
            discriminator_loss,
            generator_loss,
            penalty,
            real_accuracy,
            fake_accuracy,
            variety,
            alarms,
        }
    }
}

impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "epoch {}: D {:.3} G {:.3}, D right on {:.0} % of real and {:.0} % of painted, variety {:.2}",
            self.epoch,
            self.discriminator_loss,
            self.generator_loss,
            100.0 * self.real_accuracy,
            100.0 * self.fake_accuracy,
            self.variety
        )?;
        self.alarms
            .iter()
            .try_for_each(|alarm| write!(f, "; {alarm}"))
    }
}

/// A way the game goes wrong, with what to try.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Alarm {
    /// The discriminator is hardly ever wrong, so the generator has little to learn from.
    DiscriminatorWins {
        /// How often it is right.
        accuracy: f32,
    },
    /// The painted images hardly differ from one another.
    Collapse {
        /// Their variance, as a share of the real images'.
        variety: f32,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiscriminatorWins { accuracy } => write!(
                f,
                "the discriminator is right {:.1} % of the time: raise `penalty.weight` or lower \
                 `discriminator_adam.rate`",
                100.0 * accuracy
            ),
            Self::Collapse { variety } => write!(
                f,
                "the painted images vary {:.0} % as much as the real ones, which looks like a \
                 collapse: raise `penalty.weight`, lower both rates, or enlarge the batch",
                100.0 * variety
            ),
        }
    }
}

/// Sums over an epoch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tally {
    steps: u64,
    sums: [f64; 5],
}

impl Tally {
    pub(crate) fn add(&mut self, report: &StepReport) {
        let values = [
            report.discriminator_loss,
            report.generator_loss,
            report.penalty,
            report.real_accuracy,
            report.fake_accuracy,
        ];
        self.steps += 1;
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += f64::from(value);
        }
    }

    pub(crate) fn epoch(&self, epoch: usize, variety: f32) -> EpochReport {
        let [a, b, c, d, e] = self.sums.map(|sum| (sum / self.steps.max(1) as f64) as f32);
        EpochReport::new(epoch, [a, b, c, d, e, variety])
    }

    /// As bits, because a resumed run should not differ by the rounding of a decimal text.
    pub(crate) fn to_bits(self) -> Vec<u64> {
        std::iter::once(self.steps)
            .chain(self.sums.map(f64::to_bits))
            .collect()
    }

    pub(crate) fn from_bits(bits: &[u64]) -> Self {
        let mut tally = Self {
            steps: bits.first().copied().unwrap_or(0),
            ..Self::default()
        };
        for (sum, &bits) in tally.sums.iter_mut().zip(bits.iter().skip(1)) {
            *sum = f64::from_bits(bits);
        }
        tally
    }
}

/// A saved history back from its numbers.
pub(crate) fn history(numbers: &[f32], file: &str) -> Result<Vec<EpochReport>> {
    let (rows, rest) = numbers.as_chunks::<{ EpochReport::NUMBERS }>();
    if !rest.is_empty() {
        let reason = format!(
            "the history's {} numbers are no whole epochs",
            numbers.len()
        );
        return Err(Error::Saved {
            file: file.to_string(),
            reason,
        });
    }
    Ok(rows
        .iter()
        .enumerate()
        .map(|(i, &row)| EpochReport::new(i + 1, row))
        .collect())
}

/// The total variance of images around the mean of their class (around the mean of all, without
/// labels): mean over images of the squared distance to it.
pub(crate) fn spread(images: &Images) -> f32 {
    let size = images.shape().len();
    let classes = images.classes().max(1);
    let class_of = |i: usize| images.labels().map_or(0, |labels| labels[i] as usize);
    let mut means = vec![0f64; classes * size];
    let mut counts = vec![0usize; classes];
    for i in 0..images.len() {
        let class = class_of(i);
        counts[class] += 1;
        let mean = &mut means[class * size..(class + 1) * size];
        mean.iter_mut()
            .zip(images.image(i))
            .for_each(|(m, &v)| *m += f64::from(v));
    }
    for (mean, count) in means.chunks_exact_mut(size).zip(&counts) {
        mean.iter_mut().for_each(|m| *m /= (*count).max(1) as f64);
    }
    let total: f64 = (0..images.len())
        .map(|i| {
            let mean = &means[class_of(i) * size..][..size];
            mean.iter()
                .zip(images.image(i))
                .map(|(m, &v)| (f64::from(v) - m).powi(2))
                .sum::<f64>()
        })
        .sum();
    // A mean over n images eats one degree of freedom per class.
    let degrees = counts
        .iter()
        .map(|count| count.saturating_sub(1))
        .sum::<usize>();
    (total / degrees.max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;

    #[test]
    fn spread_is_within_classes() {
        let pixels = vec![0.0, 0.2, 0.8, 1.0];
        let images = Images::from_f32(ImageShape::square(1, 1), pixels).unwrap();
        assert!((spread(&images) - 0.68 / 3.0).abs() < 1e-6);
        let labelled = images.with_labels(vec![0, 0, 1, 1], 2).unwrap();
        assert!((spread(&labelled) - 0.04 / 2.0).abs() < 1e-6);
    }

    #[test]
    fn alarms_speak_after_the_first_epochs() {
        let bad = [0.01, 9.0, 0.0, 0.99, 1.0, 0.01];
        assert!(EpochReport::new(10, bad).alarms.is_empty());
        let report = EpochReport::new(11, bad);
        assert_eq!(report.alarms.len(), 2);
        let text = report.to_string();
        assert!(
            text.contains("99.5 %") && text.contains("collapse"),
            "{text}"
        );
        assert!(
            EpochReport::new(30, [1.3, 0.8, 0.0, 0.6, 0.6, 0.9])
                .alarms
                .is_empty()
        );
    }

    #[test]
    fn tally_and_history_survive_bits() {
        let mut tally = Tally::default();
        for step in 1..4 {
            tally.add(&StepReport {
                step,
                discriminator_loss: 0.1 * step as f32,
                generator_loss: 1.0 / step as f32,
                penalty: 0.3,
                real_accuracy: 0.5,
                fake_accuracy: 0.7,
            });
        }
        assert_eq!(Tally::from_bits(&tally.to_bits()), tally);
        let report = tally.epoch(1, 0.5);
        assert!((report.discriminator_loss - 0.2).abs() < 1e-6);
        assert_eq!(history(&report.numbers(), "x").unwrap(), [report]);
        assert!(history(&[1.0; 7], "x").is_err());
    }
}
