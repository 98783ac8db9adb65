//! The network that judges texts: convolutions of several widths over the tokens' vectors, the largest
//! value of each over the text, one number (Kim 2014, <https://arxiv.org/abs/1408.5882>).

use burn::module::Module;
use burn::nn::conv::{Conv1d, Conv1dConfig};
use burn::nn::{Embedding, EmbeddingConfig, Linear, LinearConfig};
use burn::optim::GradientsParams;
use burn::tensor::activation::{log_sigmoid, relu, sigmoid};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::SequenceGan;
use crate::adam::AdamState;
use crate::params::{drawn, host, tensor};
use crate::random::{Purpose, stream};
use crate::trainer::MOST_WEIGHTS;
use crate::{Error, Result};

/// Texts judged at once.
const CHUNK: usize = 256;

/// The size of the network that judges texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SequenceDiscriminator {
    /// The length of a token's vector.
    pub width: usize,
    /// Filters of each window.
    pub filters: usize,
    /// How many tokens in a row a filter sees.
    pub windows: Vec<usize>,
}

impl Default for SequenceDiscriminator {
    fn default() -> Self {
        Self {
            width: 32,
            filters: 32,
            windows: vec![2, 3, 4],
        }
    }
}

impl SequenceDiscriminator {
    pub(super) fn check(&self) -> Result<()> {
        let windows = self.windows.iter().map(|&w| ("discriminator.windows", w));
        let sizes = [
            ("discriminator.width", self.width),
            ("discriminator.filters", self.filters),
        ];
        for (field, value) in sizes.into_iter().chain(windows) {
            if value == 0 || value > 1 << 12 {
                return Err(Error::config(
                    field,
                    format!("{value} is not between 1 and 4096"),
                ));
            }
        }
        match self.windows.is_empty() {
            true => Err(Error::config("discriminator.windows", "there must be one")),
            false => Ok(()),
        }
    }

    /// How many weights the network has; `None` when that is beyond counting.
    pub(super) fn weights(&self, vocabulary: usize) -> Option<usize> {
        let mut sum = vocabulary.checked_add(1)?.checked_mul(self.width)?;
        for window in &self.windows {
            let filter = self.width.checked_mul(*window)?.checked_add(1)?;
            sum = sum.checked_add(filter.checked_mul(self.filters)?)?;
        }
        let head = self.windows.len().checked_mul(self.filters)?;
        sum.checked_add(head)?.checked_add(1)
    }
}

#[derive(Module, Debug)]
pub(super) struct DiscriminatorNet {
    embedding: Embedding, // one row more than there are tokens: the padding
    filters: Vec<Conv1d>,
    head: Linear,
}

impl DiscriminatorNet {
    /// Logits `[batch]` of padded texts `[batch, time]`.
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<1> {
        let batch = tokens.dims()[0];
        let x = self.embedding.forward(tokens).swap_dims(1, 2); // [batch, width, time]
        let largest = |conv: &Conv1d| {
            relu(conv.forward(x.clone()))
                .max_dim(2)
                .reshape([batch as i32, -1])
        };
        let features: Vec<Tensor<2>> = self.filters.iter().map(largest).collect();
        self.head.forward(Tensor::cat(features, 1)).reshape([batch])
    }
}

#[derive(Debug)]
pub(super) struct Discriminator {
    pub(super) net: DiscriminatorNet,
    pub(super) adam: AdamState,
    padding: u32,
    time: usize,
    plain: Device,
}

impl Discriminator {
    /// For texts of at most `longest` tokens.
    pub(super) fn new(
        gan: &SequenceGan,
        vocabulary: usize,
        longest: usize,
        device: &Device,
    ) -> Result<Self> {
        let config = &gan.discriminator;
        if config.weights(vocabulary).is_none_or(|n| n > MOST_WEIGHTS) {
            let reason = format!("more than {MOST_WEIGHTS} weights for {vocabulary} tokens");
            return Err(Error::config("discriminator", reason));
        }
        let SequenceDiscriminator {
            width,
            filters,
            windows,
        } = config;
        let plain = device.clone().inner();
        let taped = plain.clone().autodiff();
        let conv = |&window: &usize| Conv1dConfig::new(*width, *filters, window).init(&taped);
        let net = DiscriminatorNet {
            embedding: EmbeddingConfig::new(vocabulary + 1, *width).init(&taped),
            filters: windows.iter().map(conv).collect(),
            head: LinearConfig::new(windows.len() * filters, 1).init(&taped),
        };
        let mut rng = stream(gan.seed, Purpose::Discriminator, 0);
        let net = drawn(net, &mut rng, &plain, |shape| match shape {
            [_, inputs, window] => Some((2.0 / (inputs * window) as f32).sqrt()),
            [inputs, 1] => Some(1.0 / (*inputs as f32).sqrt()),
            [_, _] => Some(1.0),
            _ => None,
        });
        let widest = windows.iter().copied().max().unwrap_or(1);
        Ok(Self {
            adam: AdamState::new(gan.discriminator_adam, &net),
            net,
            padding: vocabulary as u32,
            time: longest.max(widest),
            plain,
        })
    }

    fn padded<T: AsRef<[u32]>>(&self, texts: &[T]) -> Tensor<2, Int> {
        let row = |text: &T| -> Vec<i32> {
            let text = text.as_ref();
            (0..self.time)
                .map(|t| text.get(t).copied().unwrap_or(self.padding) as i32)
                .collect()
        };
        let flat: Vec<i32> = texts.iter().flat_map(row).collect();
        Tensor::from_data(TensorData::new(flat, [texts.len(), self.time]), &self.plain)
    }

    /// The probability that each text is real.
    pub(super) fn probabilities<T: AsRef<[u32]>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        let net = self.net.valid();
        let mut all = Vec::with_capacity(texts.len());
        for some in texts.chunks(CHUNK) {
            all.extend(host(sigmoid(net.forward(self.padded(some))))?);
        }
        Ok(all)
    }

    /// One step on as many real as written texts: the loss and the share it is right about.
    pub(super) fn step(&mut self, real: &[&[u32]], written: &[Vec<u32>]) -> Result<(f32, f32)> {
        let all: Vec<&[u32]> = real
            .iter()
            .copied()
            .chain(written.iter().map(Vec::as_slice))
            .collect();
        let logits = self.net.forward(self.padded(&all));
        let sign: Vec<f32> = (0..all.len())
            .map(|i| if i < real.len() { 1.0 } else { -1.0 })
            .collect();
        let sign = tensor(sign, &self.plain).autodiff();
        let right = logits.clone() * sign; // positive where the judgement is right
        let loss = -log_sigmoid(right.clone()).mean();
        let gradients = GradientsParams::from_grads(loss.backward(), &self.net);
        let told = host(loss.inner())?.first().copied().unwrap_or(f32::NAN);
        if !told.is_finite() {
            let reason =
                format!("the discriminator's loss is {told}; lower `discriminator_adam.rate`");
            return Err(Error::Numeric {
                what: "sequence gan",
                reason,
            });
        }
        self.net = self.adam.step(self.net.clone(), gradients).0;
        let right = host(right.inner())?.iter().filter(|&&r| r > 0.0).count();
        Ok((told, right as f32 / all.len().max(1) as f32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_counted_before_they_are_there() {
        let device = refrain_core::device("cpu").unwrap();
        let mut gan = SequenceGan::default();
        for windows in [vec![1], vec![2, 5, 3]] {
            gan.discriminator.windows = windows;
            let net = Discriminator::new(&gan, 7, 5, &device).unwrap().net;
            assert_eq!(gan.discriminator.weights(7), Some(net.num_params()));
        }
        gan.discriminator.width = 1 << 12;
        gan.discriminator.filters = 1 << 12;
        gan.discriminator.windows = vec![1 << 12];
        let refused = Discriminator::new(&gan, 7, 5, &device).unwrap_err();
        assert!(matches!(refused, Error::Config { .. }), "{refused}");
    }

    #[test]
    fn learns_to_tell_texts_apart() {
        let device = refrain_core::device("cpu").unwrap();
        let mut gan = SequenceGan::default();
        gan.discriminator_adam.rate = 1e-2;
        let mut judge = Discriminator::new(&gan, 6, 5, &device).unwrap();
        // Real texts rise; written ones fall.
        let real: Vec<&[u32]> = vec![&[0, 2, 3, 4, 1], &[0, 3, 4, 1], &[0, 2, 3, 1]];
        let written = vec![vec![0, 4, 3, 2, 1], vec![0, 4, 3, 1], vec![0, 3, 2, 1]];
        let (first, _) = judge.step(&real, &written).unwrap();
        let mut last = (first, 0.0);
        for _ in 0..60 {
            last = judge.step(&real, &written).unwrap();
        }
        assert!(last.0 < 0.3 * first && last.1 == 1.0, "{first} {last:?}");
        let p = judge.probabilities(&written).unwrap();
        assert!(p.iter().all(|&p| p < 0.4), "{p:?}");
        assert!(judge.probabilities(&real).unwrap().iter().all(|&p| p > 0.6));
    }
}
