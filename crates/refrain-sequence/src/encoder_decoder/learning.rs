//! What an encoder-decoder learns from: the loss of pairs.

use burn::module::{ModuleVisitor, Param};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Int, Tensor, TensorData};
use refrain_core::is_cpu;

use super::module::{EncoderDecoderModule, keep};
use super::training::Learn;
use super::{Pair, check_pairs};
use crate::Result;
use crate::batch::Dropout;
use crate::rnn::DropoutDraw;

impl EncoderDecoderModule {
    /// The sum of the losses of all targets, `[1]`, in nats.
    ///
    /// On the CPU kernels compute the loss and its gradient `g`, and autodiff is told `θ · g`; elsewhere
    /// it follows the tensor program.
    pub(super) fn pairs_loss(
        &self,
        batch: &[&Pair],
        draw: Option<DropoutDraw<'_>>,
        label_smoothing: f32,
    ) -> Result<Tensor<1>> {
        check_pairs(self.config(), batch.iter().copied())?;
        match is_cpu(&self.plain()) {
            true => self.kernel_loss(batch, draw, label_smoothing),
            false => Ok(self.program_loss(batch, draw, label_smoothing)),
        }
    }

    pub(super) fn kernel_loss(
        &self,
        batch: &[&Pair],
        draw: Option<DropoutDraw<'_>>,
        label_smoothing: f32,
    ) -> Result<Tensor<1>> {
        let rate = self.config().dropout;
        let learn = Learn {
            dropout: draw.filter(|_| rate > 0.0).map(|draw| (rate, draw)),
            label_smoothing,
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

    pub(super) fn program_loss(
        &self,
        batch: &[&Pair],
        draw: Option<DropoutDraw<'_>>,
        label_smoothing: f32,
    ) -> Tensor<1> {
        let rate = self.config().dropout;
        let drop = |x: Tensor<3>, site: usize| match draw {
            Some(draw) if rate > 0.0 => x.clone() * factors(x, rate, draw, site),
            _ => keep(x, site),
        };
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
        match label_smoothing > 0.0 {
            true => {
                let shared = label_smoothing / self.config().vocabulary as f32;
                own * (1.0 - label_smoothing) - likely.sum() * shared
            }
            false => own,
        }
    }
}

/// Dropout factors of one site, `[batch, tokens, width]`; each text has the same ones whatever stands
/// beside it.
fn factors(x: Tensor<3>, rate: f32, draw: DropoutDraw<'_>, site: usize) -> Tensor<3> {
    let [batch, length, width] = x.dims();
    let dropout = Dropout {
        rate,
        seed: draw.seed,
    };
    let mut values = vec![1.0; batch * length * width];
    for (row, &number) in values
        .chunks_mut((length * width).max(1))
        .zip(draw.sequences)
    {
        dropout.fill_number(site, number, row);
    }
    let values = TensorData::new(values, [batch, length, width]);
    Tensor::from_data(values, &x.device().inner())
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
