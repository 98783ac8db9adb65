//! What looks wrong in an epoch, in words.

use std::fmt;

use crate::{EpochReport, Loss};

/// Epochs without alarms at the start, unless they are long.
const QUIET_EPOCHS: usize = 10;

/// Steps after which there are alarms, however few the epochs.
const QUIET_STEPS: u64 = 1000;

/// Epochs in a row that say what a game holds: one alone may have had luck, or none.
const SPAN: usize = 5;

/// A way the game goes wrong, with what to try.
///
/// A good game, too, starts with a sure discriminator and images that are all alike. So there are no
/// alarms in the first ten epochs, or the first thousand steps where those are over sooner.
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
    /// In each of the last five epochs, or as many as there are, more than one in ten kinds of real image were not painted: k-means
    /// [`Bins`](crate::metrics::Bins) of the training images that none of an epoch's painted ones fall
    /// into, though a fair set of that size would.
    ModesLost {
        /// Bins without a painted image, in the best of these epochs.
        lost: usize,
        /// Bins that should have one.
        modes: usize,
    },
    /// The painted images differ far less than they did before.
    VarietyFalls {
        /// Their variance, as a share of the real images'.
        variety: f32,
        /// The largest that five earlier epochs in a row reached.
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
            Self::ModesLost { lost, modes } => write!(
                f,
                "{lost} of {modes} kinds of real image are no longer painted: judge packs (`pac`), \
                 strengthen the `penalty`, or enlarge the batch"
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

impl Alarm {
    /// What is wrong, without what to try.
    pub(crate) fn cause(&self) -> String {
        let text = self.to_string();
        let cause = text.split_once(": ").map(|(cause, _)| cause.to_string());
        cause.unwrap_or(text)
    }
}

/// What looks wrong in an epoch.
pub(crate) fn alarms(loss: Loss, before: &[EpochReport], now: &EpochReport) -> Vec<Alarm> {
    if before.len() < QUIET_EPOCHS && now.steps < QUIET_STEPS {
        return Vec::new();
    }
    let mut alarms = Vec::new();
    // A critic is meant to win.
    if loss != Loss::Wasserstein && now.real_accuracy.min(now.fake_accuracy) > 0.98 {
        let accuracy = (now.real_accuracy + now.fake_accuracy) / 2.0;
        alarms.push(Alarm::DiscriminatorWins { accuracy });
    }
    let held = |span: &[EpochReport]| span.iter().map(|e| e.variety).fold(f32::INFINITY, f32::min);
    let spans = before.windows(SPAN.min(before.len()).max(1));
    let best = spans.map(held).fold(0.0, f32::max);
    if now.variety < 0.25 {
        let variety = now.variety;
        alarms.push(Alarm::Collapse { variety });
    } else if now.variety < 0.6 * best.min(1.0) {
        let variety = now.variety;
        alarms.push(Alarm::VarietyFalls { variety, best });
    }
    let lately = before.iter().rev().take(SPAN - 1).map(|e| e.modes);
    let painted = lately.fold(now.modes, usize::max);
    let lost = now.modes_in_data.saturating_sub(painted);
    if 10 * lost > now.modes_in_data {
        let modes = now.modes_in_data;
        alarms.push(Alarm::ModesLost { lost, modes });
    }
    type Length = fn(&EpochReport) -> f32;
    let lengths: [(&str, Length); 2] = [
        ("discriminator", |e| e.discriminator_gradient),
        ("generator", |e| e.generator_gradient),
    ];
    for (network, length) in lengths {
        let mut usual: Vec<f32> = before.iter().map(length).collect();
        usual.sort_by(f32::total_cmp);
        let usual = usual.get(usual.len() / 2).copied().unwrap_or(0.0);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gan;
    use crate::report::of_numbers;

    /// Losses, penalty, accuracies, gradients, chance, variety, modes, those in the data.
    fn epochs(rows: &[[f32; 11]], steps: u64) -> Vec<EpochReport> {
        of_numbers(
            Gan::default().loss,
            &rows.concat(),
            &vec![steps; rows.len()],
        )
    }

    const GOOD: [f32; 11] = [0.6, 0.8, 0.1, 0.6, 0.6, 1.0, 1.0, 0.0, 0.9, 28.0, 30.0];

    #[test]
    fn alarms_speak_after_the_first_epochs() {
        let bad = [0.01, 9.0, 0.0, 0.99, 1.0, 1.0, 1.0, 0.0, 0.01, 30.0, 30.0];
        let all = epochs(&[bad; 11], 9);
        assert!(all[9].alarms.is_empty());
        assert_eq!(all[10].alarms.len(), 2);
        let text = all[10].to_string();
        assert!(
            text.contains("99.5 %") && text.contains("collapse"),
            "{text}"
        );
        // Epochs of a thousand steps are not waited for.
        assert_eq!(epochs(&[bad], 1000)[0].alarms.len(), 2);
    }

    #[test]
    fn each_alarm_has_its_cause() {
        let with = |changes: &[(usize, f32)]| {
            let mut rows = [GOOD; 16];
            changes.iter().for_each(|&(at, value)| rows[15][at] = value);
            epochs(&rows, 9)[15].alarms.clone()
        };
        assert!(with(&[]).is_empty());
        assert!(matches!(
            with(&[(8, 0.4)])[..],
            [Alarm::VarietyFalls { .. }]
        ));
        assert!(with(&[(5, 29.0)]).is_empty());
        let explodes = with(&[(5, 31.0)]);
        assert!(
            explodes[0].to_string().contains("discriminator_adam.rate"),
            "{explodes:?}"
        );
        assert!(matches!(
            with(&[(6, 0.0)])[..],
            [Alarm::GradientVanishes {
                network: "generator",
                ..
            }]
        ));
    }
    /// The epochs, counted from 1, with an alarm that `is` one.
    fn heard(history: &[EpochReport], is: fn(&Alarm) -> bool) -> Vec<usize> {
        let with = history.iter().filter(|e| e.alarms.iter().any(is));
        with.map(|e| e.epoch).collect()
    }

    #[test]
    fn lost_modes_are_those_of_a_span_not_of_an_epoch() {
        let lost = |a: &Alarm| matches!(a, Alarm::ModesLost { .. });
        // A long game: 27 to 30 of 30 kinds, and now and then an epoch or four with fewer.
        let mut modes: Vec<usize> = (0..400).map(|i| 27 + i * i % 4).collect();
        for (at, few) in [(30, 1), (77, 3), (120, 4), (301, 2), (390, 4)] {
            modes[at..at + few].fill(20 + few);
        }
        let history = |modes: &[usize]| {
            let row = |&modes: &usize| {
                let mut row = GOOD;
                row[9] = modes as f32;
                row
            };
            epochs(&modes.iter().map(row).collect::<Vec<_>>(), 9)
        };
        assert!(heard(&history(&modes), lost).is_empty());
        // From epoch 201 to 250 at most 26 of them, though never the same number twice in a row.
        for (i, modes) in modes[200..250].iter_mut().enumerate() {
            *modes = 26 - i % 3;
        }
        let history = history(&modes);
        assert_eq!(heard(&history, lost), (205..=250).collect::<Vec<_>>());
        let alarm = history[204].alarms[0];
        assert_eq!(alarm, Alarm::ModesLost { lost: 4, modes: 30 });
        assert!(alarm.to_string().contains("4 of 30 kinds"));
    }

    #[test]
    fn variety_falls_from_what_was_held() {
        let falls = |a: &Alarm| matches!(a, Alarm::VarietyFalls { .. });
        let history = |variety: &dyn Fn(usize) -> f32| {
            let row = |i| {
                let mut row = GOOD;
                row[8] = variety(i);
                row
            };
            epochs(&(0..300).map(row).collect::<Vec<_>>(), 9)
        };
        // A single epoch of 1 among those of a half is no height to fall from.
        let spiky = history(&|i| if i % 50 == 20 { 1.0 } else { 0.5 });
        assert!(heard(&spiky, falls).is_empty());
        // Slowly down from 0.9: below six tenths of what the first five epochs held.
        let slow = history(&|i| 0.9 - 0.002 * i as f32);
        assert_eq!(heard(&slow, falls).first(), Some(&184));
    }
}
