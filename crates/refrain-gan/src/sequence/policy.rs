//! The generator's weights, and how rewards move them.
//!
//! The model computes its gradient itself, by the kernels or the tensor program that trains it, each
//! token's loss counting by its advantage.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use refrain_sequence::{Compute, TokenSequences, TrainableModel};

use crate::adam::AdamState;
use crate::params::{host, tensor};
use crate::{Adam, Error, Result};

/// The weights of a language model, one behind the other in its own order.
#[derive(Module, Debug)]
pub(super) struct Weights {
    weights: Param<Tensor<1>>,
}

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) net: Weights,
    pub(super) adam: AdamState,
    plain: Device,
}

impl Policy {
    pub(super) fn new<M: TrainableModel>(model: &M, adam: Adam, device: &Device) -> Result<Self> {
        let plain = device.clone().inner();
        let weights = model.trainable(Compute::Auto)?.weights()?;
        let size = [weights.len()];
        let net = Weights {
            weights: Param::from_data(TensorData::new(weights, size), &plain),
        };
        Ok(Self {
            adam: AdamState::new(adam, &net),
            net,
            plain,
        })
    }

    /// A step down `− mean over texts of Σ_t advantage · ln p(token)` of `model`, which has these weights.
    pub(super) fn step<M: TrainableModel>(
        &mut self,
        model: &M,
        texts: &[Vec<u32>],
        advantages: &[Vec<f32>],
    ) -> Result<()> {
        let (loss, gradient) = gradient(model, texts, advantages)?;
        if !loss.is_finite() || gradient.iter().any(|g| !g.is_finite()) {
            let reason = format!("the generator's loss is {loss}; lower `generator_adam.rate`");
            return Err(Error::Numeric {
                what: "sequence gan",
                reason,
            });
        }
        let mut gradients = GradientsParams::new();
        gradients.register(self.net.weights.id, tensor(gradient, &self.plain));
        self.net = self.adam.step(self.net.clone(), gradients).0;
        Ok(())
    }

    /// `model` with these weights.
    pub(super) fn model<M: TrainableModel>(&self, model: &M) -> Result<M> {
        Ok(model.reweighted(host(self.net.weights.val())?)?)
    }
}

/// The loss and its gradient for each weight.
fn gradient<M: TrainableModel>(
    model: &M,
    texts: &[Vec<u32>],
    advantages: &[Vec<f32>],
) -> Result<(f64, Vec<f32>)> {
    let mut engine = model.trainable(Compute::Auto)?;
    let mut batch = Vec::new();
    for (text, row) in texts.iter().zip(advantages) {
        let mut rest = row.iter().copied();
        for piece in model.scored(&TokenSequences::documents([text])) {
            let weights = rest.by_ref().take(piece.len()).collect();
            batch.push(piece.weighted(weights));
        }
    }
    let scale = 1.0 / texts.len().max(1) as f64;
    let sum = engine.accumulate(&batch, scale, None)?;
    Ok((scale * sum, engine.take_gradient()?))
}

#[cfg(test)]
mod tests {
    use refrain_sequence::{
        Cell, FeedForward, RnnConfig, RnnLm, Transformer, TransformerConfig, Vocabulary,
    };

    use super::*;

    const QUICK: Adam = Adam {
        rate: 1e-2,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
    };

    fn cpu() -> Device {
        refrain_core::device("cpu").unwrap()
    }

    fn rnn(tied: bool) -> RnnLm {
        let config = RnnConfig {
            cell: Cell::Gru,
            layers: 2,
            width: 5,
            tied,
            ..RnnConfig::default()
        };
        RnnLm::new(&config, Vocabulary::numbered(7).unwrap(), 3, &cpu()).unwrap()
    }

    fn transformer(config: TransformerConfig) -> Transformer {
        let config = TransformerConfig {
            layers: 2,
            heads: 2,
            width: 8,
            context: 8,
            ..config
        };
        Transformer::new(&config, Vocabulary::numbered(7).unwrap(), 3, &cpu()).unwrap()
    }

    /// The loss by its definition, and its gradient by differences of it.
    fn check<M: TrainableModel>(model: &M) {
        let texts = [vec![0, 3, 2, 6, 1], vec![0, 5, 1]];
        let weights = [vec![0.5, -1.0, 2.0, 0.25], vec![1.5, -0.5]];
        let by_definition = |model: &M| -> f64 {
            let of = |(text, weights): (&Vec<u32>, &Vec<f32>)| {
                let logs = model.log_probabilities(text).unwrap();
                let terms = logs.iter().zip(weights);
                terms
                    .map(|(&l, &w)| f64::from(l) * f64::from(w))
                    .sum::<f64>()
            };
            -texts.iter().zip(&weights).map(of).sum::<f64>() / 2.0
        };
        let (loss, found) = gradient(model, &texts, &weights).unwrap();
        assert!((loss - by_definition(model)).abs() < 1e-4);
        let own = model.trainable(Compute::Auto).unwrap().weights().unwrap();
        assert_eq!(own.len(), found.len());
        let mut checked = 0;
        for i in (0..own.len()).step_by(own.len().div_ceil(60)) {
            let moved = |by: f32| {
                let mut weights = own.clone();
                weights[i] += by;
                by_definition(&model.reweighted(weights).unwrap())
            };
            let difference = ((moved(2e-3) - moved(-2e-3)) / 4e-3) as f32;
            let gap = (found[i] - difference).abs();
            assert!(
                gap < 2e-3 + 0.02 * difference.abs(),
                "{i}: {} {difference}",
                found[i]
            );
            checked += usize::from(difference.abs() > 0.01);
        }
        assert!(checked > 4, "{checked} derivatives to speak of");
    }

    #[test]
    fn the_gradient_is_that_of_finite_differences() {
        check(&rnn(true));
        check(&rnn(false));
        check(&transformer(TransformerConfig::default()));
        check(&transformer(TransformerConfig {
            feed_forward: FeedForward::SwiGlu,
            ..TransformerConfig::gpt2()
        }));
    }

    /// A step makes rewarded tokens likelier.
    fn step<M: TrainableModel>(model: &M) {
        let mut policy = Policy::new(model, QUICK, &cpu()).unwrap();
        let texts = vec![vec![0, 3, 2, 1], vec![0, 4, 5, 1]];
        let advantages = [vec![1.0, 1.0, 0.0], vec![-1.0, -1.0, 0.0]];
        policy.step(model, &texts, &advantages).unwrap();
        let after = policy.model(model).unwrap();
        let sum = |m: &M, text: &[u32]| m.log_probabilities(text).unwrap()[..2].iter().sum::<f32>();
        assert!(sum(&after, &texts[0]) > sum(model, &texts[0]) + 0.01);
        assert!(sum(&after, &texts[1]) < sum(model, &texts[1]) - 0.01);
        let nan = vec![vec![f32::NAN; 3]; 2];
        assert!(matches!(
            policy.step(model, &texts, &nan),
            Err(Error::Numeric { .. })
        ));
    }

    #[test]
    fn a_step_makes_rewarded_tokens_likelier() {
        step(&rnn(true));
        step(&transformer(TransformerConfig::default()));
    }
}
