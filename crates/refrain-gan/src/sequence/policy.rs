//! The generator as a tensor program whose log-probabilities have gradients.

use burn::module::{Module, Param};
use burn::optim::GradientsParams;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use refrain_sequence::{NamedTensor, Pass, Recurrent, RecurrentConfig, RnnLm};

use crate::adam::AdamState;
use crate::params::{host, tensor};
use crate::{Adam, Error, Result};

/// The weights of an [`RnnLm`].
#[derive(Module, Debug)]
pub(super) struct PolicyNet {
    embedding: Param<Tensor<2>>, // [vocabulary, width]
    layers: Recurrent,
    head: Option<Param<Tensor<2>>>, // [vocabulary, width]; the embedding where there is none
    bias: Param<Tensor<1>>,         // [vocabulary]
}

impl PolicyNet {
    /// Logits `[batch, time, vocabulary]` after each of the tokens `[batch, time]`.
    fn forward(&self, tokens: Tensor<2, Int>, lengths: &[usize]) -> Result<Tensor<3>> {
        let [batch, time] = tokens.dims();
        let [vocabulary, width] = self.embedding.val().dims();
        let rows = self
            .embedding
            .val()
            .select(0, tokens.reshape([batch * time]));
        let pass = Pass {
            lengths: Some(lengths),
            ..Pass::default()
        };
        let (y, _) = self
            .layers
            .forward(rows.reshape([batch, time, width]), pass)?;
        let head = self.head.as_ref().unwrap_or(&self.embedding).val();
        let logits = y.reshape([batch * time, width]).matmul(head.transpose());
        let logits = logits + self.bias.val().unsqueeze::<2>();
        Ok(logits.reshape([batch, time, vocabulary]))
    }
}

#[derive(Debug)]
pub(super) struct Policy {
    pub(super) net: PolicyNet,
    pub(super) adam: AdamState,
    plain: Device,
}

impl Policy {
    pub(super) fn new(model: &RnnLm, adam: Adam, device: &Device) -> Result<Self> {
        let plain = device.clone().inner();
        let taped = plain.clone().autodiff();
        let mut tensors = model.tensors();
        let mut take = |name: &str| {
            let at = tensors.iter().position(|t| t.name == name);
            at.map(|at| tensors.swap_remove(at))
        };
        let missing = |name: &str| Error::Shape {
            what: "the generator's tensors".to_string(),
            expected: name.to_string(),
            found: "none of that name".to_string(),
        };
        let table = |t: NamedTensor| {
            let shape = [
                t.shape.first().copied().unwrap_or(0),
                t.shape.get(1).copied().unwrap_or(0),
            ];
            Param::from_data(TensorData::new(t.values, shape), &taped)
        };
        let embedding = take("embedding.weight").ok_or_else(|| missing("embedding.weight"))?;
        let head = take("head.weight");
        let bias = take("head.bias").ok_or_else(|| missing("head.bias"))?;
        let layers = tensors.into_iter().filter_map(|mut t| {
            t.name = t.name.strip_prefix("rnn.")?.to_string();
            Some(t)
        });
        let config = model.config();
        let recurrent = RecurrentConfig {
            cell: config.cell,
            input: config.width,
            hidden: config.width,
            layers: config.layers,
            ..RecurrentConfig::default()
        };
        let size = [bias.values.len()];
        let net = PolicyNet {
            embedding: table(embedding),
            layers: Recurrent::from_pytorch(&recurrent, layers, &taped)?,
            head: head.map(table),
            bias: Param::from_data(TensorData::new(bias.values, size), &taped),
        };
        Ok(Self {
            adam: AdamState::new(adam, &net),
            net,
            plain,
        })
    }

    /// `− mean over texts of Σ_t advantage · ln p(token)`, `[1]`.
    fn loss(&self, texts: &[Vec<u32>], advantages: &[Vec<f32>]) -> Result<Tensor<1>> {
        let lengths: Vec<usize> = texts.iter().map(|t| t.len() - 1).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        let batch = texts.len();
        let padded = |from: usize| -> Tensor<2, Int> {
            let row = |text: &Vec<u32>| -> Vec<i32> {
                (0..time)
                    .map(|t| text.get(from + t).map_or(0, |&token| token as i32))
                    .collect()
            };
            let flat: Vec<i32> = texts.iter().flat_map(row).collect();
            Tensor::from_data(TensorData::new(flat, [batch, time]), &self.plain)
        };
        // The last token is read too where a text is shorter, but its row is beyond the length.
        let logits = self.net.forward(padded(0), &lengths)?;
        let targets = padded(1).reshape([batch, time, 1]);
        let chosen = log_softmax(logits, 2)
            .gather(2, targets)
            .reshape([batch, time]);
        let weights = advantages.iter().flat_map(|row| {
            (0..time)
                .map(|t| row.get(t).copied().unwrap_or(0.0))
                .collect::<Vec<f32>>()
        });
        let weights = tensor(weights.collect(), &self.plain).reshape([batch, time]);
        Ok(-(chosen * weights.autodiff()).sum().div_scalar(batch as f32))
    }

    pub(super) fn step(&mut self, texts: &[Vec<u32>], advantages: &[Vec<f32>]) -> Result<()> {
        let loss = self.loss(texts, advantages)?;
        let told = host(loss.clone().inner())?
            .first()
            .copied()
            .unwrap_or(f32::NAN);
        if !told.is_finite() {
            let reason = format!("the generator's loss is {told}; lower `generator_adam.rate`");
            return Err(Error::Numeric {
                what: "sequence gan",
                reason,
            });
        }
        let gradients = GradientsParams::from_grads(loss.backward(), &self.net);
        self.net = self.adam.step(self.net.clone(), gradients).0;
        Ok(())
    }

    /// The weights under the names of [`RnnLm::tensors`].
    pub(super) fn tensors(&self) -> Result<Vec<NamedTensor>> {
        let mut tensors = self.net.layers.to_pytorch()?;
        tensors
            .iter_mut()
            .for_each(|t| t.name.insert_str(0, "rnn."));
        let table = |name: &str, param: &Param<Tensor<2>>| -> Result<NamedTensor> {
            let values = param.val().inner();
            let shape = values.dims().to_vec();
            Ok(NamedTensor {
                name: name.to_string(),
                shape,
                values: host(values.flatten(0, 1))?,
            })
        };
        tensors.push(table("embedding.weight", &self.net.embedding)?);
        if let Some(head) = &self.net.head {
            tensors.push(table("head.weight", head)?);
        }
        let bias = host(self.net.bias.val().inner())?;
        tensors.push(NamedTensor {
            name: "head.bias".to_string(),
            shape: vec![bias.len()],
            values: bias,
        });
        Ok(tensors)
    }
}

#[cfg(test)]
mod tests {
    use refrain_sequence::{Cell, LanguageModel, RnnConfig, Vocabulary};

    use super::*;

    const QUICK: Adam = Adam {
        rate: 1e-2,
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-8,
    };

    fn model(tied: bool) -> (RnnLm, Device) {
        let device = refrain_core::device("cpu").unwrap();
        let config = RnnConfig {
            cell: Cell::Gru,
            layers: 2,
            width: 5,
            tied,
            ..RnnConfig::default()
        };
        (
            RnnLm::new(&config, Vocabulary::numbered(7).unwrap(), 3, &device).unwrap(),
            device,
        )
    }

    #[test]
    fn weights_go_there_and_back_and_the_loss_is_the_model_s() {
        for tied in [true, false] {
            let (model, device) = model(tied);
            let policy = Policy::new(&model, QUICK, &device).unwrap();
            let mut back = policy.tensors().unwrap();
            let mut own = model.tensors();
            back.sort_by(|a, b| a.name.cmp(&b.name));
            own.sort_by(|a, b| a.name.cmp(&b.name));
            assert_eq!(back, own);

            let texts = vec![vec![0, 3, 2, 6, 1], vec![0, 5, 1]];
            let weights = vec![vec![0.5, -1.0, 2.0, 0.25], vec![1.5, -0.5]];
            let mut expected = 0.0;
            for (text, weights) in texts.iter().zip(&weights) {
                let logs = model.log_probabilities(text).unwrap();
                expected -= logs.iter().zip(weights).map(|(l, w)| l * w).sum::<f32>() / 2.0;
            }
            let got = host(policy.loss(&texts, &weights).unwrap().inner()).unwrap()[0];
            assert!((got - expected).abs() < 1e-4, "{got} {expected}");
        }
    }

    #[test]
    fn a_step_makes_rewarded_tokens_likelier() {
        let (model, device) = model(true);
        let mut policy = Policy::new(&model, QUICK, &device).unwrap();
        let texts = vec![vec![0, 3, 2, 1], vec![0, 4, 5, 1]];
        policy
            .step(&texts, &[vec![1.0, 1.0, 0.0], vec![-1.0, -1.0, 0.0]])
            .unwrap();
        let after = model.with_tensors(policy.tensors().unwrap()).unwrap();
        let sum =
            |m: &RnnLm, text: &[u32]| m.log_probabilities(text).unwrap()[..2].iter().sum::<f32>();
        assert!(sum(&after, &texts[0]) > sum(&model, &texts[0]) + 0.01);
        assert!(sum(&after, &texts[1]) < sum(&model, &texts[1]) - 0.01);
        let nan = vec![vec![f32::NAN; 3]; 2];
        assert!(matches!(
            policy.step(&texts, &nan),
            Err(Error::Numeric { .. })
        ));
    }
}
