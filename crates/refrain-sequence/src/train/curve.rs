/// The loss at one step, in nats per token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LossPoint {
    /// How many steps were done before it was measured.
    pub step: usize,
    /// The mean cross-entropy.
    pub loss: f32,
}

/// How a run went.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LearningCurve {
    /// The loss of each step's own batch, before the step.
    pub train: Vec<LossPoint>,
    /// The loss over the whole validation part, at intervals.
    pub validation: Vec<LossPoint>,
}

impl LearningCurve {
    /// The lowest validation loss.
    pub fn best(&self) -> Option<LossPoint> {
        self.validation
            .iter()
            .copied()
            .min_by(|a, b| a.loss.total_cmp(&b.loss))
    }

    /// The training loss averaged over `window` steps at a time, for drawing.
    pub fn smoothed(&self, window: usize) -> Vec<LossPoint> {
        self.train
            .chunks(window.max(1))
            .filter_map(|chunk| {
                let loss = chunk.iter().map(|p| p.loss).sum::<f32>() / chunk.len() as f32;
                chunk.last().map(|last| LossPoint {
                    step: last.step,
                    loss,
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn best_and_smoothed() {
        let points = |losses: &[f32]| {
            losses
                .iter()
                .enumerate()
                .map(|(step, &loss)| LossPoint { step, loss })
                .collect()
        };
        let curve = LearningCurve {
            train: points(&[4.0, 2.0, 1.0]),
            validation: points(&[3.0, 1.5, 2.0]),
        };
        assert_eq!(curve.best(), Some(LossPoint { step: 1, loss: 1.5 }));
        let smoothed = curve.smoothed(2);
        assert_eq!(smoothed[0], LossPoint { step: 1, loss: 3.0 });
        assert_eq!(smoothed[1], LossPoint { step: 2, loss: 1.0 });
        assert_eq!(LearningCurve::default().best(), None);
    }
}
