//! What an encoder-decoder learns from: the loss of pairs.

use burn::module::{ModuleVisitor, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use refrain_core::is_cpu;

use super::module::EncoderDecoderModule;
use super::training::Learn;
use super::{Pair, check_pairs};
use crate::{Learner, Learning, Result};

/// On the CPU kernels compute the loss and its gradient `g`, and autodiff is told `θ · g`; elsewhere it
/// follows the tensor program.
impl Learner for EncoderDecoderModule {
    type Example = Pair;

    fn length(pair: &Pair) -> usize {
        pair.source.len() + pair.target.len()
    }

    fn targets(pair: &Pair) -> usize {
        pair.target.len()
    }

    fn loss(&self, batch: &[&Pair], learning: &Learning<'_>) -> Result<Tensor<1>> {
        check_pairs(self.config(), batch.iter().copied())?;
        match is_cpu(&self.plain()) {
            true => self.kernel_loss(batch, learning),
            false => Ok(self.program_loss(batch, learning)),
        }
    }
}

impl EncoderDecoderModule {
    pub(super) fn kernel_loss(
        &self,
        batch: &[&Pair],
        learning: &Learning<'_>,
    ) -> Result<Tensor<1>> {
        let rate = self.config().dropout;
        let learn = Learn {
            dropout: learning
                .dropout
                .filter(|_| rate > 0.0)
                .map(|draw| (rate, draw)),
            label_smoothing: learning.label_smoothing,
            bias: self.fixed.bias.as_deref(),
            gradient: self.learns(),
        };
        let weights = self.weights()?;
        let (loss, gradient) = self.fixed.network.learn(&weights, batch, learn);
        let loss = Tensor::<1>::from_floats([loss as f32], &self.plain());
        if !learn.gradient {
            return Ok(loss);
        }
        let mut told = Told {
            gradient: &gradient,
            sum: None,
        };
        burn::module::Module::visit(self, &mut told);
        Ok(match told.sum {
            // The value is the loss, the gradient that of the sum.
            Some(sum) => loss + (sum.clone() - sum.detach()),
            None => loss,
        })
    }

    pub(super) fn program_loss(&self, batch: &[&Pair], learning: &Learning<'_>) -> Tensor<1> {
        let rate = self.config().dropout;
        let drop = |x: Tensor<3>, site: usize| learning.drop(x, rate, site);
        let (x, [_, length]) = self.hidden(batch, &drop, None);
        // Only rows that have a target go through the head.
        let (mut rows, mut targets) = (Vec::new(), Vec::new());
        for (i, pair) in batch.iter().enumerate() {
            rows.extend((0..pair.target.len()).map(|t| (i * length + t) as i32));
            targets.extend(pair.target.iter().map(|&t| t as i32));
        }
        let plain = self.plain();
        let count = rows.len();
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [count]), &plain);
        let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [count, 1]), &plain);
        let likely = log_softmax(self.head(x.select(0, rows)), 1);
        let own = likely.clone().gather(1, targets).sum().neg();
        match learning.label_smoothing > 0.0 {
            true => {
                let shared = learning.label_smoothing / self.config().vocabulary as f32;
                own * (1.0 - learning.label_smoothing) - likely.sum() * shared
            }
            false => own,
        }
    }
}

/// `Σ θ · g`, whose gradient is `g`.
struct Told<'a> {
    /// What is left of it.
    gradient: &'a [f32],
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Told<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        let shape = value.shape();
        let Some((own, rest)) = self.gradient.split_at_checked(shape.num_elements()) else {
            return;
        };
        self.gradient = rest;
        if !value.is_require_grad() {
            return;
        }
        let own = TensorData::new(own.to_vec(), shape);
        let own = Tensor::<D>::from_data(own, &value.device().inner());
        let product = (value * own).sum();
        self.sum = Some(match self.sum.take() {
            Some(sum) => sum + product,
            None => product,
        });
    }
}
