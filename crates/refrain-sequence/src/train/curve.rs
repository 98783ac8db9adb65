use std::fmt;

/// The loss at one step, in nats per target; of [`LearningCurve::errors`] the error.
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

    /// The loss in bits per token; bits per character where the tokens are characters.
    pub fn bits(self) -> f32 {
        self.loss / std::f32::consts::LN_2
    }

    /// The loss in bits per character of a text that is so many tokens and so many characters long:
    /// `bits · tokens / characters`. Models of one text compare by it, whatever their tokens are; but words
    /// that a vocabulary does not know cost no letters.
    ///
    /// ```
    /// # use refrain_sequence::{LossPoint, Tokenizer, Words};
    /// let text = "to be or not to be";
    /// let tokens = Words::from_text(text)?.encode(text)?.len(); // 6 of 18 characters
    /// let of_a_word = LossPoint { step: 100, loss: 8f32.ln() }; // 3 bits
    /// assert!((of_a_word.bits_per_character(tokens, text.chars().count()) - 1.0).abs() < 1e-6);
    /// # Ok::<(), refrain_sequence::Error>(())
    /// ```
    pub fn bits_per_character(self, tokens: usize, characters: usize) -> f32 {
        self.bits() * (tokens as f64 / characters.max(1) as f64) as f32
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

/// What weights are ranked by: what a [`Fit`] is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The validation loss, in nats per target.
    Loss,
    /// The validation error ([`LearningCurve::errors`]).
    Error,
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Loss => "loss",
            Self::Error => "error",
        })
    }
}

/// What a learning curve says of the run, as far as a curve can; its `Display` says it in words. Whether a
/// larger model would do better no curve can say.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Fit {
    /// Fewer than three validations: nothing can be said.
    TooFewValidations,
    /// Validation was still improving at the end: the run was too short.
    StillImproving {
        /// What was judged.
        by: Measure,
        /// The last validation.
        last: LossPoint,
        /// By how much it fell over the last third of the validations, as a share.
        fell: f32,
    },
    /// Validation has become worse since its best, while training went on improving.
    Overfitting {
        /// What was judged.
        by: Measure,
        /// The best validation.
        best: LossPoint,
        /// The last one.
        last: LossPoint,
    },
    /// Validation no longer improves, and the training loss is far below the validation loss. Dropout and
    /// label smoothing raise the training loss, which is that of the steps themselves: with them a gap may go
    /// unseen.
    Gap {
        /// What was judged.
        by: Measure,
        /// The training loss at the end.
        train: f32,
        /// The last validation loss.
        last: LossPoint,
    },
    /// Validation no longer improves, and the training loss is not far below the validation loss.
    Settled {
        /// What was judged.
        by: Measure,
        /// The training loss at the end.
        train: f32,
        /// The last validation loss.
        last: LossPoint,
    },
}

impl fmt::Display for Fit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooFewValidations => {
                f.write_str("too few validations to tell: hold a part out and validate more often")
            }
            Self::StillImproving { by, last, fell } => write!(
                f,
                "still improving: the validation {by}, {:.3} at step {}, fell by {:.1} % over the last \
                 third of the run; more steps should help",
                last.loss,
                last.step,
                100.0 * fell
            ),
            Self::Overfitting { by, best, last } => write!(
                f,
                "overfitting: the validation {by} was best at step {} ({:.3}) and is {:.3} at step {} \
                 while the training loss fell; stop early, regularise more, or find more data",
                best.step, best.loss, last.loss, last.step
            ),
            Self::Gap { by, train, last } => write!(
                f,
                "settled with a gap: the validation {by} no longer falls, and the training loss, \
                 {train:.3}, is far below the validation loss, {:.3}; more data or more regularisation may \
                 help, more steps will not",
                last.loss
            ),
            Self::Settled { by, train, last } => write!(
                f,
                "settled: the validation {by} no longer falls, and the training loss, {train:.3}, is not \
                 far below the validation loss, {:.3}; a larger model or another learning rate may still \
                 help",
                last.loss
            ),
        }
    }
}

impl Measure {
    /// Whether `to` is above `from` by more than noise: by a hundredth of a loss, which is a mean over all
    /// targets; of an error, which is a count and moves in jumps, by a twentieth and two in a thousand.
    fn rose(self, from: f32, to: f32) -> bool {
        let noise = match self {
            Self::Loss => 0.01 * from,
            Self::Error => 0.05 * from + 0.002,
        };
        to - from > noise
    }
}

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

    /// Whether the run overfitted, was cut short or settled: judged by the [errors](Self::errors) where there
    /// are any, as the weights are, else by the validation loss.
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
        let (by, points) = match self.errors.is_empty() {
            true => (Measure::Loss, &self.validation),
            false => (Measure::Error, &self.errors),
        };
        let count = points.len();
        let ends = (lowest(points), points.last(), self.validation.last());
        let (Some(best), Some(&last), Some(&last_loss), 3..) = (ends.0, ends.1, ends.2, count)
        else {
            return Fit::TooFewValidations;
        };
        let around = |step: usize| {
            let window = (self.train.len() / 10).max(1);
            let end = self.train.partition_point(|p| p.step < step);
            let points = self.train.get(end.saturating_sub(window)..end);
            mean(points.filter(|p| !p.is_empty()).unwrap_or(&self.train))
        };
        let train = around(usize::MAX);
        if by.rose(best.loss, last.loss) && train < around(best.step) {
            return Fit::Overfitting { by, best, last };
        }
        let third = points.get(count - 1 - count.div_ceil(3));
        let before = third.map_or(last.loss, |p| p.loss);
        if by.rose(last.loss, before) {
            let fell = 1.0 - last.loss / before;
            return Fit::StillImproving { by, last, fell };
        }
        let last = last_loss;
        match train < 0.9 * last.loss && last.loss.is_finite() {
            true => Fit::Gap { by, train, last },
            false => Fit::Settled { by, train, last },
        }
    }

    /// The curve as a picture in SVG: the training loss of each step, averaged over fiftieths of
    /// the run, and the validation loss; the [errors](Self::errors), where there are any, on a scale of their
    /// own to the right.
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
    fn bits_per_character_do_not_depend_on_the_tokens() {
        // A text of 1,200 characters costs 600 bits, told by characters, by bytes or by words.
        let nats = 600.0 * 2f32.ln();
        for tokens in [1_200, 1_500, 300] {
            let loss = nats / tokens as f32;
            let point = LossPoint { step: 0, loss };
            assert!((point.bits_per_character(tokens, 1_200) - 0.5).abs() < 1e-6);
        }
    }

    #[test]
    fn errors_are_judged_where_there_are_any() {
        let falling = [3.0, 2.5, 2.2, 2.0, 1.9, 1.8];
        let rising = [1.0, 0.8, 0.7, 0.9, 1.2, 1.5];
        let fit = |validation: &[f32], errors: &[f32]| {
            let curve = LearningCurve {
                errors: points(errors),
                ..curve(&falling, validation)
            };
            curve.fit()
        };
        let by = Measure::Error;
        // The loss rises, as it may where a model is sure of itself, but fewer and fewer are wrong.
        let better = fit(&rising, &[0.5, 0.4, 0.3, 0.25, 0.2, 0.15]);
        let last = LossPoint {
            step: 5,
            loss: 0.15,
        };
        assert!(
            matches!(better, Fit::StillImproving { by: Measure::Error, last: l, .. } if l == last),
            "{better}"
        );
        assert!(
            better.to_string().contains("validation error, 0.150"),
            "{better}"
        );
        // The loss falls, but more and more are wrong.
        let worse = fit(&falling, &[0.5, 0.3, 0.2, 0.25, 0.3, 0.35]);
        let (best, last) = (
            LossPoint { step: 2, loss: 0.2 },
            LossPoint {
                step: 5,
                loss: 0.35,
            },
        );
        assert_eq!(worse, Fit::Overfitting { by, best, last });
        // One more of a thousand is noise; the gap is one between losses.
        let still = fit(&rising, &[0.5, 0.3, 0.02, 0.019, 0.02, 0.02]);
        let last = LossPoint { step: 5, loss: 1.5 };
        assert_eq!(
            still,
            Fit::Settled {
                by,
                train: 1.8,
                last
            }
        );
        let none = fit(&[4.0; 6], &[0.0, 0.0, 0.0, 0.0, 0.0, 0.001]);
        assert!(
            matches!(
                none,
                Fit::Gap {
                    by: Measure::Error,
                    ..
                }
            ),
            "{none}"
        );
        assert_eq!(fit(&falling, &[0.5, 0.4]), Fit::TooFewValidations);
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
