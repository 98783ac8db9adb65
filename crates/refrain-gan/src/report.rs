//! What training tells: per step and per epoch.

use std::collections::BTreeMap;
use std::fmt;

use refrain_core::{ModelFile, ModelWriter};

use crate::alarm::alarms;
use crate::variety::Variety;
use crate::{Alarm, Error, Gan, Loss, Result};

/// The numbers of one training step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
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
    /// Share of painted images the discriminator took for painted. A game that compares
    /// ([`Loss::Relativistic`](crate::Loss), [`Loss::Wasserstein`](crate::Loss)) has one share for
    /// both: of pairs, in which the real image has the higher logit.
    pub fake_accuracy: f32,
    /// The length of the gradient for the discriminator's weights.
    pub discriminator_gradient: f32,
    /// The length of the gradient for the generator's weights.
    pub generator_gradient: f32,
    /// The chance of each augmentation.
    pub chance: f32,
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
    /// Steps done at its end.
    pub steps: u64,
    /// The discriminator's loss, without its penalty. When it can only guess: ln 2 = 0.693 in the
    /// relativistic game, 1.386 in the non-saturating one.
    pub discriminator_loss: f32,
    /// The generator's loss; ln 2 = 0.693 when the discriminator can only guess in these games.
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
    /// Kinds of real image that the epoch's painted ones are of: k-means
    /// [`Bins`](crate::metrics::Bins) of the training images with a painted image in them. There are at
    /// most 32 bins, of at least 32 images on average, over pixels scaled to 16×16 at most; fewer where
    /// these leave less than half a hundredth of the variance, so that modes of points are bins.
    pub modes: usize,
    /// Kinds of real image that a fair set of as many images would have.
    pub modes_in_data: usize,
    /// The length of the gradient for the discriminator's weights.
    pub discriminator_gradient: f32,
    /// The length of the gradient for the generator's weights.
    pub generator_gradient: f32,
    /// The chance of each augmentation.
    pub chance: f32,
    /// What was asked to be measured in this epoch ([`Trainer::measure`](crate::Trainer::measure)), by
    /// name.
    pub metrics: BTreeMap<String, f32>,
    /// What looks wrong; nothing in the first epochs (see [`Alarm`]).
    pub alarms: Vec<Alarm>,
}

impl EpochReport {
    /// Columns of the saved history.
    pub(crate) const NUMBERS: usize = 11;

    pub(crate) fn numbers(&self) -> [f32; Self::NUMBERS] {
        [
            self.discriminator_loss,
            self.generator_loss,
            self.penalty,
            self.real_accuracy,
            self.fake_accuracy,
            self.discriminator_gradient,
            self.generator_gradient,
            self.chance,
            self.variety,
            self.modes as f32,
            self.modes_in_data as f32,
        ]
    }

    /// The report of the epoch after `before`, with its alarms.
    pub(crate) fn new(
        loss: Loss,
        before: &[Self],
        numbers: [f32; Self::NUMBERS],
        steps: u64,
    ) -> Self {
        let [
            discriminator_loss,
            generator_loss,
            penalty,
            real_accuracy,
            fake_accuracy,
            discriminator_gradient,
            generator_gradient,
            chance,
            variety,
            modes,
            modes_in_data,
        ] = numbers;
        let mut report = Self {
            epoch: before.len() + 1,
            steps,
            discriminator_loss,
            generator_loss,
            penalty,
            real_accuracy,
            fake_accuracy,
            variety,
            modes: modes as usize,
            modes_in_data: modes_in_data as usize,
            discriminator_gradient,
            generator_gradient,
            chance,
            metrics: BTreeMap::new(),
            alarms: Vec::new(),
        };
        report.alarms = alarms(loss, before, &report);
        report
    }
}

impl fmt::Display for EpochReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "epoch {}: D {:.3} G {:.3}, D right on {:.0} % of real and {:.0} % of painted, variety {:.2}, modes {}/{}",
            self.epoch,
            self.discriminator_loss,
            self.generator_loss,
            100.0 * self.real_accuracy,
            100.0 * self.fake_accuracy,
            self.variety,
            self.modes,
            self.modes_in_data
        )?;
        let mut metrics = self.metrics.iter();
        metrics.try_for_each(|(name, value)| write!(f, ", {name} {value:.4}"))?;
        self.alarms
            .iter()
            .try_for_each(|alarm| write!(f, "; {alarm}"))
    }
}

/// Sums over an epoch so far.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Tally {
    steps: u64,
    sums: [f64; 8],
}

impl Tally {
    pub(crate) fn add(&mut self, report: &StepReport) {
        let values = [
            report.discriminator_loss,
            report.generator_loss,
            report.penalty,
            report.real_accuracy,
            report.fake_accuracy,
            report.discriminator_gradient,
            report.generator_gradient,
            report.chance,
        ];
        self.steps += 1;
        for (sum, value) in self.sums.iter_mut().zip(values) {
            *sum += f64::from(value);
        }
    }

    /// Numbers of its bits.
    pub(crate) const BITS: usize = 9;

    /// The report of the epoch that ends with step `steps`.
    pub(crate) fn epoch(
        &self,
        loss: Loss,
        before: &[EpochReport],
        variety: Variety,
        steps: u64,
    ) -> EpochReport {
        let mean = |sum: f64| (sum / self.steps.max(1) as f64) as f32;
        let [a, b, c, d, e, f, g, h] = self.sums.map(mean);
        let [modes, in_data] = [variety.modes, variety.modes_in_data].map(|n| n as f32);
        let numbers = [a, b, c, d, e, f, g, h, variety.share, modes, in_data];
        EpochReport::new(loss, before, numbers, steps)
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

/// A history from the numbers of each epoch and the steps done at its end.
pub(crate) fn of_numbers(loss: Loss, numbers: &[f32], steps: &[u64]) -> Vec<EpochReport> {
    let (rows, _) = numbers.as_chunks::<{ EpochReport::NUMBERS }>();
    let mut history = Vec::with_capacity(rows.len());
    for (&row, &steps) in rows.iter().zip(steps) {
        history.push(EpochReport::new(loss, &history, row, steps));
    }
    history
}

/// Adds a history to a file: `history`, `[epoch, number]`, `history.steps`, `[epoch]`, and each metric as `metric.<name>`,
/// `[epoch]`, with NaN where it was not measured.
pub(crate) fn write_history<'a>(
    file: ModelWriter<'a>,
    history: &[EpochReport],
) -> Result<ModelWriter<'a>> {
    let numbers: Vec<f32> = history.iter().flat_map(EpochReport::numbers).collect();
    let steps: Vec<u64> = history.iter().map(|epoch| epoch.steps).collect();
    let mut file = file
        .f32("history", &[history.len(), EpochReport::NUMBERS], numbers)?
        .u64("history.steps", &[history.len()], steps)?;
    let mut names: Vec<&String> = history.iter().flat_map(|e| e.metrics.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let of = |epoch: &EpochReport| epoch.metrics.get(name).copied().unwrap_or(f32::NAN);
        let values: Vec<f32> = history.iter().map(of).collect();
        file = file.f32(format!("metric.{name}"), &[values.len()], values)?;
    }
    Ok(file)
}

/// Reads what [`write_history`] wrote.
pub(crate) fn read_history(gan: &Gan, file: &ModelFile) -> Result<Vec<EpochReport>> {
    let numbers = file.f32("history")?;
    if numbers.shape.get(1..) != Some(&[EpochReport::NUMBERS][..]) {
        let reason = format!("its history has the shape {:?}", numbers.shape);
        let file = file.origin().to_string();
        return Err(Error::Saved { file, reason });
    }
    let epochs = numbers.shape.first().copied().unwrap_or(0);
    let steps = file.u64("history.steps")?;
    let steps = steps.expect_shape("history.steps", &[epochs])?;
    let mut history = of_numbers(gan.loss, &numbers.data, &steps.data);
    for tensor in file.names() {
        let Some(name) = tensor.strip_prefix("metric.") else {
            continue;
        };
        let values = file.f32(tensor)?.expect_shape(tensor, &[history.len()])?;
        for (epoch, &value) in history.iter_mut().zip(values.data.iter()) {
            if !value.is_nan() {
                epoch.metrics.insert(name.to_string(), value);
            }
        }
    }
    Ok(history)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// More steps than a 32-bit float can tell apart.
    const LONG: u64 = (1 << 40) + 1;

    #[test]
    fn tally_survives_bits_and_history_a_file() {
        let mut tally = Tally::default();
        for step in 1..4 {
            tally.add(&StepReport {
                step,
                discriminator_loss: 0.1 * step as f32,
                generator_loss: 1.0 / step as f32,
                penalty: 0.3,
                real_accuracy: 0.5,
                fake_accuracy: 0.7,
                discriminator_gradient: 2.0,
                generator_gradient: 3.0,
                chance: 0.25,
            });
        }
        assert_eq!(tally.to_bits().len(), Tally::BITS);
        assert_eq!(Tally::from_bits(&tally.to_bits()), tally);
        let variety = Variety {
            share: 0.5,
            modes: 3,
            modes_in_data: 8,
        };
        let mut history = Vec::new();
        for epoch in 1..=12 {
            let report = tally.epoch(Loss::default(), &history, variety, LONG + 100 * epoch);
            history.push(report);
        }
        assert!((history[0].discriminator_loss - 0.2).abs() < 1e-6);
        assert_eq!((history[0].chance, history[0].variety), (0.25, 0.5));
        assert_eq!((history[11].modes, history[11].steps), (3, LONG + 1200));
        history[2].metrics.insert("Fréchet".to_string(), 1.5);
        history[4].metrics.insert("copies".to_string(), 0.25);
        history[6].metrics.insert("Fréchet".to_string(), 0.5);
        assert!(
            history[2].to_string().contains("Fréchet 1.5"),
            "{}",
            history[2]
        );
        let bytes = |numbers: &[f32], shape: &[usize]| {
            let file = ModelWriter::new("x", 1).f32("history", shape, numbers);
            file.unwrap().to_bytes().unwrap()
        };
        let writer = write_history(ModelWriter::new("x", 1), &history).unwrap();
        let file = ModelFile::from_bytes(writer.to_bytes().unwrap()).unwrap();
        assert_eq!(read_history(&Gan::default(), &file).unwrap(), history);
        let old = ModelFile::from_bytes(bytes(&[1.0; 18], &[18])).unwrap();
        let refused = read_history(&Gan::default(), &old).unwrap_err();
        assert!(matches!(refused, Error::Saved { .. }), "{refused}");
    }
}
