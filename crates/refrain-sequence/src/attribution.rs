//! Which tokens a score comes from: integrated gradients.

use burn::tensor::{Tensor, TensorData};

use crate::{Error, Result};

/// Points that are scored in one pass.
const TOGETHER: usize = 16;

/// What each token of a text contributes to a score; see [`integrated_gradients`].
#[derive(Debug, Clone, PartialEq)]
pub struct Attribution {
    /// What each row of `x` adds to the score, compared with the baseline's row.
    pub tokens: Vec<f32>,
    /// The score of `x`.
    pub score: f32,
    /// The score of the baseline.
    pub baseline: f32,
}

impl Attribution {
    /// The completeness check: by how much the sum of the contributions misses the difference of
    /// the scores. It is 0 but for the steps of the integral and rounding; take more steps where it
    /// is not small beside that difference.
    pub fn gap(&self) -> f32 {
        let sum: f64 = self.tokens.iter().map(|&x| f64::from(x)).sum();
        (sum - f64::from(self.score - self.baseline)) as f32
    }
}

/// Integrated gradients (Sundararajan, Taly and Yan, *Axiomatic attribution for deep networks*,
/// 2017): the contribution of row `i` is
/// `Σ_j (x - b)_ij · ∫₀¹ ∂score(b + α (x - b)) / ∂x_ij dα`. The contributions add up to
/// `score(x) - score(baseline)`.
///
/// `score` turns embedded texts, `[points, tokens, width]`, into one score each, `[points]`; it is
/// called with tensors that record gradients, on the device of `x`, so a model on the plain device
/// will do. `x` and `baseline` are `[tokens, width]`: the embedded text, and one that says nothing
/// (padding, or zeros). The integral is the mean over `steps` midpoints; 32 to 256 are usual.
///
/// ```
/// use burn::tensor::Tensor;
/// use refrain_sequence::integrated_gradients;
///
/// let device = refrain_core::device("cpu")?;
/// let x = Tensor::<2>::from_data([[1.0, 2.0], [0.5, -1.0]], &device);
/// // The square of the sum of all values.
/// let score = |points: Tensor<3>| Ok(points.sum_dim(2).sum_dim(1).squeeze_dims::<1>(&[1, 2]).square());
/// let told = integrated_gradients(score, x.clone(), x.zeros_like(), 8)?;
/// assert_eq!(told.score, 6.25);
/// assert!(told.gap().abs() < 1e-4);
/// assert!((told.tokens[0] - 7.5).abs() < 1e-4 && (told.tokens[1] + 1.25).abs() < 1e-4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`Error::Config`] for no steps, [`Error::Tensor`] for a baseline of another shape or scores that
/// are not one per point, [`Error::Device`], and whatever `score` refuses.
pub fn integrated_gradients(
    score: impl Fn(Tensor<3>) -> Result<Tensor<1>>,
    x: Tensor<2>,
    baseline: Tensor<2>,
    steps: usize,
) -> Result<Attribution> {
    if steps == 0 {
        return Err(Error::config("steps", steps, "at least 1"));
    }
    if x.dims() != baseline.dims() {
        let reason = format!("is {:?}, the text {:?}", baseline.dims(), x.dims());
        return Err(Error::tensor("baseline", reason));
    }
    let (x, baseline) = (x.inner(), baseline.inner());
    let [tokens, width] = x.dims();
    let difference = x.clone() - baseline.clone();
    // The mean gradient over the way, `[tokens, width]`.
    let mut mean = x.zeros_like();
    for first in (0..steps).step_by(TOGETHER) {
        let count = TOGETHER.min(steps - first);
        let places = (first..first + count).map(|i| (i as f32 + 0.5) / steps as f32);
        let places = TensorData::new(places.collect::<Vec<f32>>(), [count, 1, 1]);
        let places = Tensor::<3>::from_data(places, &x.device());
        let way = difference.clone().unsqueeze::<3>() * places;
        let points = way + baseline.clone().unsqueeze::<3>();
        let points = points.autodiff().require_grad();
        let scores = checked(score(points.clone())?, count)?;
        let deaf = || Error::tensor("x", "has no say in the score");
        if !scores.is_tracked() {
            return Err(deaf());
        }
        let mut gradients = scores.sum().backward();
        let gradient = points.grad_remove(&mut gradients).ok_or_else(deaf)?;
        mean = mean + gradient.sum_dim(0).reshape([tokens, width]) / steps as f64;
    }
    let both = Tensor::stack::<3>(vec![x, baseline], 0);
    // Scored without a graph that nobody would walk back.
    let ends = checked(score(both)?, 2)?.inner();
    let ends = ends.try_into_vec_as::<f32>().map_err(Error::device)?;
    let told = (mean * difference).sum_dim(1).try_into_vec_as::<f32>();
    let (Some(&score), Some(&baseline)) = (ends.first(), ends.get(1)) else {
        return Err(Error::device("no scores"));
    };
    Ok(Attribution {
        tokens: told.map_err(Error::device)?,
        score,
        baseline,
    })
}

fn checked(scores: Tensor<1>, points: usize) -> Result<Tensor<1>> {
    match scores.dims() == [points] {
        true => Ok(scores),
        false => {
            let reason = format!("are {:?} for {points} points", scores.dims());
            Err(Error::tensor("scores", reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::nn::{Linear, LinearConfig};
    use burn::tensor::Distribution;
    use burn::tensor::activation::{sigmoid, softmax};

    use super::*;

    fn cpu() -> refrain_core::Device {
        refrain_core::device("flex").unwrap()
    }

    fn random(shape: [usize; 2]) -> Tensor<2> {
        Tensor::random(shape, Distribution::Uniform(-1.0, 1.0), &cpu())
    }

    #[test]
    fn a_linear_score_is_shared_out_exactly() {
        let (x, baseline, weights) = (random([4, 3]), random([4, 3]), random([4, 3]));
        let score = |points: Tensor<3>| {
            let rows = points * weights.clone().unsqueeze::<3>();
            Ok(rows.sum_dim(2).sum_dim(1).squeeze_dims::<1>(&[1, 2]))
        };
        let told = integrated_gradients(score, x.clone(), baseline.clone(), 1).unwrap();
        let expected = ((x - baseline) * weights).sum_dim(1);
        let expected = expected.try_into_vec_as::<f32>().unwrap();
        for (got, expected) in told.tokens.iter().zip(&expected) {
            assert!((got - expected).abs() < 1e-5);
        }
        assert!(told.gap().abs() < 1e-5);
    }

    #[test]
    fn contributions_add_up_and_a_dummy_has_none() {
        // Attention pooling: rows weigh each other, so nothing is linear.
        let layer: Linear = LinearConfig::new(3, 1).init(&cpu());
        let score = |points: Tensor<3>| {
            let known = points.narrow(1, 0, 4); // the last row has no say
            let heights = layer.forward(known.clone());
            let mean = (softmax(heights * 4.0, 1) * known).sum_dim(1);
            Ok(sigmoid(layer.forward(mean) * 3.0).squeeze_dims::<1>(&[1, 2]))
        };
        let x = random([5, 3]) * 2.0;
        let tell = |steps| integrated_gradients(score, x.clone(), x.zeros_like(), steps).unwrap();
        let (coarse, fine) = (tell(2), tell(200));
        assert!(fine.gap().abs() < 1e-4, "{}", fine.gap());
        assert!(fine.gap().abs() <= coarse.gap().abs() + 1e-6);
        assert_eq!(fine.tokens[4], 0.0);
        assert!(fine.tokens[..4].iter().any(|t| t.abs() > 1e-3));
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let score = |points: Tensor<3>| Ok(points.sum());
        let told = |baseline, steps| {
            let result = integrated_gradients(score, random([2, 3]), baseline, steps);
            result.unwrap_err().to_string()
        };
        assert!(told(random([2, 3]), 0).contains("steps"));
        assert!(told(random([3, 3]), 4).contains("baseline"));
        assert!(told(random([2, 3]), 4).contains("scores are [1] for 4 points"));
        let deaf = |points: Tensor<3>| Ok(Tensor::<1>::ones([points.dims()[0]], &cpu()));
        let error = integrated_gradients(deaf, random([2, 3]), random([2, 3]), 4);
        assert!(error.unwrap_err().to_string().contains("no say"));
    }
}
