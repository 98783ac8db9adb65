//! The Inception score (Salimans et al. 2016, <https://arxiv.org/abs/1606.03498>), for any classifier.
//!
//! ```text
//! S = exp( mean over images of KL( p(y | x) ‖ p(y) ) )      p(y) = mean over images of p(y | x)
//! ```
//!
//! Between 1 (every image gets the same answer, sure or not) and the number of classes (each answer is
//! certain, and all classes are as common). It sees neither copies nor a lack of variety within a class,
//! and never looks at real images: use it beside a distance.

use super::kernel::Estimate;
use super::rows::Rows;
use crate::{Error, Result};

const WHAT: &str = "class score";

/// The score of rows of `classes` probabilities, as the mean over `splits` equal parts in the order
/// given (10 in the paper; the score of fewer images is lower).
///
/// # Errors
/// [`Error::Shape`] when there are not at least `splits` whole rows; [`Error::Numeric`] for a row that
/// is not of probabilities that sum to 1; [`Error::Config`] without a part.
///
/// ```
/// use refrain_gan::metrics::class_score;
/// let sure = class_score(&[1.0, 0.0, 0.0, 1.0], 2, 1)?;
/// let unsure = class_score(&[0.5, 0.5, 0.5, 0.5], 2, 1)?;
/// assert!((sure.mean - 2.0).abs() < 1e-9 && (unsure.mean - 1.0).abs() < 1e-9);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[doc(alias = "IS")]
#[doc(alias = "inception_score")]
pub fn class_score(probabilities: &[f32], classes: usize, splits: usize) -> Result<Estimate> {
    if splits == 0 {
        return Err(Error::config("splits", "must be at least 1"));
    }
    let rows = Rows::new(WHAT, probabilities, classes, splits)?;
    for (i, row) in rows.iter().enumerate() {
        let sum: f32 = row.iter().sum();
        if (sum - 1.0).abs() > 1e-3 || row.iter().any(|&p| p < 0.0) {
            let reason = format!("row {i} is not of probabilities: they sum to {sum}");
            return Err(Error::Numeric { what: WHAT, reason });
        }
    }
    let n = rows.len();
    let score = |part: usize| {
        let part: Vec<&[f32]> = (part * n / splits..(part + 1) * n / splits)
            .map(|i| rows.row(i))
            .collect();
        let mut marginal = vec![0f64; classes];
        for row in &part {
            marginal
                .iter_mut()
                .zip(*row)
                .for_each(|(m, &p)| *m += f64::from(p) / part.len() as f64);
        }
        let divergence = |row: &&[f32]| -> f64 {
            let terms = row.iter().zip(&marginal).filter(|(p, _)| **p > 0.0);
            terms
                .map(|(&p, m)| f64::from(p) * (f64::from(p) / m).ln())
                .sum()
        };
        (part.iter().map(divergence).sum::<f64>() / part.len() as f64).exp()
    };
    Ok(Estimate::of(&(0..splits).map(score).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::metrics::golden::CLASS_SCORE;
    use crate::metrics::rows::tests::made;

    fn softmax(logits: &[f32]) -> Vec<f32> {
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        logits
            .iter()
            .map(|&l| (f64::from(l).exp() / sum) as f32)
            .collect()
    }

    #[test]
    fn golden_values_of_torch_fidelity() {
        for (n, d, splits, mean, deviation) in CLASS_SCORE {
            let logits: Vec<f32> = made(n, d, 1).iter().map(|v| 8.0 * v).collect();
            let rows: Vec<f32> = logits.chunks(d).flat_map(softmax).collect();
            let got = class_score(&rows, d, splits).unwrap();
            assert!((got.mean - mean).abs() < 1e-5, "{got:?} {mean}");
            assert!(
                (got.deviation - deviation).abs() < 1e-5,
                "{got:?} {deviation}"
            );
        }
    }

    #[test]
    fn rows_that_are_no_probabilities_are_refused() {
        assert!(matches!(
            class_score(&[0.5, 0.6], 2, 1),
            Err(Error::Numeric { .. })
        ));
        assert!(matches!(
            class_score(&[1.5, -0.5], 2, 1),
            Err(Error::Numeric { .. })
        ));
        assert!(matches!(
            class_score(&[0.5, f32::NAN], 2, 1),
            Err(Error::Numeric { .. })
        ));
        assert!(matches!(
            class_score(&[0.5, 0.5], 2, 2),
            Err(Error::Shape { .. })
        ));
        assert!(matches!(
            class_score(&[0.5, 0.5], 2, 0),
            Err(Error::Config { .. })
        ));
        assert!(matches!(class_score(&[], 0, 1), Err(Error::Shape { .. })));
    }

    proptest! {
        #[test]
        fn lies_between_one_and_the_classes(values in prop::collection::vec(-9f32..9.0, 4 * 12)) {
            let rows: Vec<f32> = values.chunks(4).flat_map(softmax).collect();
            let score = class_score(&rows, 4, 3).unwrap().mean;
            prop_assert!((1.0 - 1e-6..=4.0 + 1e-6).contains(&score), "{score}");
        }
    }
}
