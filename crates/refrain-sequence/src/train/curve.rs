use std::fmt;

/// The loss at one step, in nats per target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPoint {
    /// How many steps were done before it was measured.
    pub step: usize,
    /// The mean cross-entropy.
    pub loss: f32,
}

impl LossPoint {
    /// `e^loss`: among how many equally likely tokens the model chooses, so to say.
    pub fn perplexity(self) -> f32 {
        self.loss.exp()
    }

    /// The loss in bits; bits per character where the tokens are characters.
    pub fn bits(self) -> f32 {
        self.loss / std::f32::consts::LN_2
    }
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LearningCurve {
    /// The loss of each step's own batch, before the step; with dropout and label smoothing, where
    /// there are any.
    pub train: Vec<LossPoint>,
    /// The loss over the whole validation part, at intervals.
    pub validation: Vec<LossPoint>,
    /// What validation ranked the weights by in place of the loss
    /// ([`Learner::validation_error`](crate::Learner::validation_error)), if it did.
    pub errors: Vec<LossPoint>,
}

/// What a learning curve says of the run, as far as a curve can; its `Display` says it in words.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fit {
    /// Fewer than three validations: nothing can be said.
    TooFewValidations,
    /// Validation was still improving at the end.
    StillImproving {
        /// The last validation.
        last: LossPoint,
        /// By how much it fell over the last third of the validations, as a share.
        fell: f32,
    },
    /// Validation has become worse since its best, while training went on improving.
    Overfitting {
        /// The best validation.
        best: LossPoint,
        /// The last one.
        last: LossPoint,
    },
    /// Validation no longer improves, and training is far below it.
    Gap {
        /// The training loss at the end.
        train: f32,
        /// The last validation.
        last: LossPoint,
    },
    /// Neither improves any more, and they are close.
    Settled {
        /// The training loss at the end.
        train: f32,
        /// The last validation.
        last: LossPoint,
    },
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewValidations => {
                f.write_str("too few validations to tell: hold a part out and validate more often")
            }
            Self::StillImproving { last, fell } => write!(
                f,
                "still improving: the validation loss, {:.3} at step {}, fell by {:.1} % over the \
                 last third of the run; more steps should help",
                last.loss,
                last.step,
                100.0 * fell
            ),
            Self::Overfitting { best, last } => write!(
                f,
                "overfitting: the validation loss was best at step {} ({:.3}) and is {:.3} at step \
                 {} while the training loss fell; stop early, regularise more, or find more data",
                best.step, best.loss, last.loss, last.step
            ),
            Self::Gap { train, last } => write!(
                f,
                "settled with a gap: the validation loss, {:.3}, no longer falls and the training \
                 loss is {train:.3}; more data or more regularisation may help, more steps will not",
                last.loss
            ),
            Self::Settled { train, last } => write!(
                f,
                "settled: neither the validation loss, {:.3}, nor the training loss, {train:.3}, \
                 falls any more; a larger model or another learning rate may still help",
                last.loss
            ),
        }
    }
}

/// Changes of a loss by less than this share are taken for noise.
const NOISE: f32 = 0.01;

impl LearningCurve {
    /// The lowest validation loss.
    pub fn best(&self) -> Option<LossPoint> {
        lowest(&self.validation)
    }

    /// The lowest of [`errors`](Self::errors).
    pub fn best_error(&self) -> Option<LossPoint> {
        lowest(&self.errors)
    }

    /// The training loss averaged over `window` steps at a time, for drawing.
    pub fn smoothed(&self, window: usize) -> Vec<LossPoint> {
        self.train
            .chunks(window.max(1))
            .filter_map(|chunk| {
                chunk.last().map(|last| LossPoint {
                    step: last.step,
                    loss: mean(chunk),
                })
            })
            .collect()
    }

    /// Whether the run overfitted, underfitted or settled.
    ///
    /// ```
    /// use refrain_sequence::{Fit, LearningCurve, LossPoint};
    /// let points = |losses: &[f32]| -> Vec<LossPoint> {
    ///     losses.iter().enumerate().map(|(i, &loss)| LossPoint { step: 10 * i, loss }).collect()
    /// };
    /// let curve = LearningCurve {
    ///     train: points(&[3.0, 2.0, 1.5, 1.0, 0.7]),
    ///     validation: points(&[3.0, 2.2, 2.0, 2.3, 2.6]),
    ///     ..LearningCurve::default()
    /// };
    /// assert!(matches!(curve.fit(), Fit::Overfitting { best: LossPoint { step: 20, .. }, .. }));
    /// println!("{}", curve.fit()); // overfitting: the validation loss was best at step 20 (2.000) …
    /// ```
    pub fn fit(&self) -> Fit {
        let count = self.validation.len();
        let (Some(best), Some(&last)) = (self.best(), self.validation.last()) else {
            return Fit::TooFewValidations;
        };
        if count < 3 {
            return Fit::TooFewValidations;
        }
        let around = |step: usize| {
            let window = (self.train.len() / 10).max(1);
            let end = self.train.partition_point(|p| p.step < step);
            let points = self.train.get(end.saturating_sub(window)..end);
            mean(points.filter(|p| !p.is_empty()).unwrap_or(&self.train))
        };
        let train = around(usize::MAX);
        if last.loss > best.loss * (1.0 + NOISE) && train < around(best.step) {
            return Fit::Overfitting { best, last };
        }
        let third = self.validation.get(count - 1 - count.div_ceil(3));
        let before = third.map_or(last.loss, |p| p.loss);
        let fell = 1.0 - last.loss / before;
        if fell > NOISE {
            return Fit::StillImproving { last, fell };
        }
        match train < 0.9 * last.loss {
            true => Fit::Gap { train, last },
            false => Fit::Settled { train, last },
        }
    }

    /// The curve as a picture in SVG: the training loss of each step, averaged over fiftieths of
    /// the run, and the validation loss.
    pub fn to_svg(&self) -> String {
        super::picture::draw(self)
    }
}

fn lowest(points: &[LossPoint]) -> Option<LossPoint> {
    let points = points.iter().copied();
    points.min_by(|a, b| a.loss.total_cmp(&b.loss))
}

fn mean(points: &[LossPoint]) -> f32 {
    points.iter().map(|p| p.loss).sum::<f32>() / points.len().max(1) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(losses: &[f32]) -> Vec<LossPoint> {
        let points = losses.iter().enumerate();
        points
            .map(|(step, &loss)| LossPoint { step, loss })
            .collect()
    }

    fn curve(train: &[f32], validation: &[f32]) -> LearningCurve {
        LearningCurve {
            train: points(train),
            validation: points(validation),
            errors: Vec::new(),
        }
    }

    #[test]
    fn best_and_smoothed() {
        let curve = curve(&[4.0, 2.0, 1.0], &[3.0, 1.5, 2.0]);
        assert_eq!(curve.best(), Some(LossPoint { step: 1, loss: 1.5 }));
        let smoothed = curve.smoothed(2);
        assert_eq!(smoothed[0], LossPoint { step: 1, loss: 3.0 });
        assert_eq!(smoothed[1], LossPoint { step: 2, loss: 1.0 });
        assert_eq!(LearningCurve::default().best(), None);
        let bit = LossPoint {
            step: 0,
            loss: 2f32.ln(),
        };
        assert!((bit.bits() - 1.0).abs() < 1e-6 && (bit.perplexity() - 2.0).abs() < 1e-6);
    }

    #[test]
    fn a_curve_is_told_in_words() {
        let says = |train: &[f32], validation: &[f32]| curve(train, validation).fit().to_string();
        assert!(says(&[1.0], &[1.0, 1.0]).starts_with("too few"));
        let falling = [3.0, 2.5, 2.2, 2.0, 1.9, 1.8];
        assert!(says(&falling, &falling).starts_with("still improving"));
        let worse = [3.0, 2.5, 2.2, 2.3, 2.5, 2.9];
        assert!(says(&falling, &worse).contains("best at step 2"));
        // Validation went up, but training did too: not overfitting.
        assert!(says(&worse, &worse).starts_with("settled"));
        let flat = [3.0, 2.5, 2.2, 2.2, 2.2, 2.2];
        assert!(says(&flat, &flat).starts_with("settled:"));
        assert!(says(&falling, &flat).starts_with("settled with a gap"));
    }
}
