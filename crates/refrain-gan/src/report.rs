//! What training tells: per step, per epoch, and in words when the game goes wrong.

use std::fmt;

use crate::{Error, Gan, Images, Loss, Result};

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
    /// The length of the gradient for the discriminator's weights.
    pub discriminator_gradient: f32,
    /// The length of the gradient for the generator's weights.
    pub generator_gradient: f32,
    /// The chance of each augmentation.
    pub chance: f32,
    /// What looks wrong.
    pub alarms: Vec<Alarm>,
}

impl EpochReport {
    /// Columns of the saved history.
    pub(crate) const NUMBERS: usize = 9;

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
        ]
    }

    /// The report of the epoch after `before`, with its alarms.
    pub(crate) fn new(loss: Loss, before: &[Self], numbers: [f32; Self::NUMBERS]) -> Self {
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
        ] = numbers;
        let mut report = Self {
            epoch: before.len() + 1,
            discriminator_loss,
            generator_loss,
            penalty,
            real_accuracy,
            fake_accuracy,
            variety,
            discriminator_gradient,
            generator_gradient,
            chance,
            alarms: Vec::new(),
        };
        report.alarms = alarms(loss, before, &report);
        report
    }
}

/// What looks wrong in an epoch.
fn alarms(loss: Loss, before: &[EpochReport], now: &EpochReport) -> Vec<Alarm> {
    // A good game, too, starts with a sure discriminator and images that are all alike.
    if before.len() < 10 {
        return Vec::new();
    }
    let mut alarms = Vec::new();
    // A critic is meant to win.
    if loss != Loss::Wasserstein && now.real_accuracy.min(now.fake_accuracy) > 0.98 {
        let accuracy = (now.real_accuracy + now.fake_accuracy) / 2.0;
        alarms.push(Alarm::DiscriminatorWins { accuracy });
    }
    let best = before.iter().map(|e| e.variety).fold(0.0, f32::max);
    if now.variety < 0.25 {
        let variety = now.variety;
        alarms.push(Alarm::Collapse { variety });
    } else if now.variety < 0.6 * best.min(1.0) {
        let variety = now.variety;
        alarms.push(Alarm::VarietyFalls { variety, best });
    }
    type Length = fn(&EpochReport) -> f32;
    let lengths: [(&str, Length); 2] = [
        ("discriminator", |e| e.discriminator_gradient),
        ("generator", |e| e.generator_gradient),
    ];
    for (network, length) in lengths {
        let mut usual: Vec<f32> = before.iter().map(length).collect();
        usual.sort_by(f32::total_cmp);
        let usual = usual[usual.len() / 2];
        let length = length(now);
        if length > 30.0 * usual && usual > 0.0 {
            alarms.push(Alarm::GradientExplodes {
                network,
                length,
                usual,
            });
        } else if length < 1e-6 {
            alarms.push(Alarm::GradientVanishes { network, length });
        }
    }
    alarms
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
    /// The painted images differ far less than they did before.
    VarietyFalls {
        /// Their variance, as a share of the real images'.
        variety: f32,
        /// The largest of an earlier epoch.
        best: f32,
    },
    /// A network's gradient is far longer than it was.
    GradientExplodes {
        /// `generator` or `discriminator`.
        network: &'static str,
        /// Its length.
        length: f32,
        /// The median length of the epochs before.
        usual: f32,
    },
    /// A network's gradient is next to nothing: it does not learn.
    GradientVanishes {
        /// `generator` or `discriminator`.
        network: &'static str,
        /// Its length.
        length: f32,
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DiscriminatorWins { accuracy } => write!(
                f,
                "the discriminator is right {:.1} % of the time: strengthen the `penalty`, lower \
                 `discriminator_adam.rate`, or `augment` a small set",
                100.0 * accuracy
            ),
            Self::Collapse { variety } => write!(
                f,
                "the painted images vary {:.0} % as much as the real ones, which looks like a \
                 collapse: strengthen the `penalty`, judge packs (`pac`), lower both rates, or \
                 enlarge the batch",
                100.0 * variety
            ),
            Self::VarietyFalls { variety, best } => write!(
                f,
                "the painted images vary {:.0} % as much as the real ones, after {:.0} %: a \
                 collapse may be coming; lower both rates or strengthen the `penalty`",
                100.0 * variety,
                100.0 * best
            ),
            Self::GradientExplodes {
                network,
                length,
                usual,
            } => write!(
                f,
                "the {network}'s gradient is {length:.2e} long after {usual:.2e}: lower \
                 `{network}_adam.rate` or strengthen the `penalty`"
            ),
            Self::GradientVanishes { network, length } => write!(
                f,
                "the {network}'s gradient is {length:.0e} long, so it does not learn: another \
                 `loss` (minimax starves the generator), or a weaker discriminator"
            ),
        }
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

    pub(crate) fn epoch(&self, loss: Loss, before: &[EpochReport], variety: f32) -> EpochReport {
        let mut numbers = [variety; EpochReport::NUMBERS];
        for (number, sum) in numbers.iter_mut().zip(self.sums) {
            *number = (sum / self.steps.max(1) as f64) as f32;
        }
        EpochReport::new(loss, before, numbers)
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
pub(crate) fn history(gan: &Gan, numbers: &[f32], file: &str) -> Result<Vec<EpochReport>> {
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
    let mut history = Vec::with_capacity(rows.len());
    for &row in rows {
        history.push(EpochReport::new(gan.loss, &history, row));
    }
    Ok(history)
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

    /// Losses, penalty, accuracies, gradients, chance and variety.
    fn epochs(rows: &[[f32; 9]]) -> Vec<EpochReport> {
        let numbers: Vec<f32> = rows.concat();
        history(&Gan::default(), &numbers, "x").unwrap()
    }

    #[test]
    fn alarms_speak_after_the_first_epochs() {
        let bad = [0.01, 9.0, 0.0, 0.99, 1.0, 1.0, 1.0, 0.0, 0.01];
        let all = epochs(&[bad; 11]);
        assert!(all[9].alarms.is_empty());
        assert_eq!(all[10].alarms.len(), 2);
        let text = all[10].to_string();
        assert!(
            text.contains("99.5 %") && text.contains("collapse"),
            "{text}"
        );

        let good = [0.6, 0.8, 0.1, 0.6, 0.6, 1.0, 1.0, 0.0, 0.9];
        let with = |at: usize, value: f32| {
            let mut rows = [good; 12];
            rows[11][at] = value;
            epochs(&rows)[11].alarms.clone()
        };
        assert!(with(0, 0.6).is_empty());
        assert!(matches!(with(8, 0.4)[..], [Alarm::VarietyFalls { .. }]));
        assert!(with(5, 29.0).is_empty());
        let explodes = with(5, 31.0);
        assert!(
            explodes[0].to_string().contains("discriminator_adam.rate"),
            "{explodes:?}"
        );
        assert!(matches!(
            with(6, 0.0)[..],
            [Alarm::GradientVanishes {
                network: "generator",
                ..
            }]
        ));
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
                discriminator_gradient: 2.0,
                generator_gradient: 3.0,
                chance: 0.25,
            });
        }
        assert_eq!(tally.to_bits().len(), Tally::BITS);
        assert_eq!(Tally::from_bits(&tally.to_bits()), tally);
        let report = tally.epoch(Loss::default(), &[], 0.5);
        assert!((report.discriminator_loss - 0.2).abs() < 1e-6);
        assert_eq!((report.chance, report.variety), (0.25, 0.5));
        assert_eq!(epochs(&[report.numbers()]), [report]);
        assert!(history(&Gan::default(), &[1.0; 7], "x").is_err());
    }
}
