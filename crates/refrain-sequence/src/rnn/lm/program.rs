//! The recurrent language model as a tensor program.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};

use super::RnnConfig;
use crate::batch::{Dropout, Example};
use crate::loss::{cross_entropy, tokens};
use crate::rnn::{DropoutDraw, Drops, Pass, Recurrent, RecurrentState};
use crate::transformer::Compute;
use crate::{Error, Result};

/// The parameters, in the order of the flat vector.
#[derive(Module, Debug)]
pub(super) struct Network {
    /// `[vocabulary, width]`.
    embedding: Param<Tensor<2>>,
    recurrent: Recurrent,
    /// `[vocabulary, width]`; the embedding where there is none.
    head: Option<Param<Tensor<2>>>,
    /// `[vocabulary]`.
    head_bias: Param<Tensor<1>>,
}

#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) network: Network,
    config: RnnConfig,
    plain: Device,
}

impl Program {
    /// A program with these flat weights; on an autodiff device they are trainable.
    pub(super) fn new(
        config: &RnnConfig,
        vocabulary: usize,
        weights: &[f32],
        device: &Device,
    ) -> Result<Self> {
        let recurrent = config.recurrent();
        let sizes = [
            vocabulary * config.width,
            recurrent.parameters()?,
            if config.tied {
                0
            } else {
                vocabulary * config.width
            },
            vocabulary,
        ];
        let mut rest = weights;
        let mut parts = Vec::with_capacity(sizes.len());
        for size in sizes {
            let (part, after) = rest.split_at_checked(size).ok_or_else(|| {
                Error::Core(refrain_core::Error::Shape {
                    what: "the weights".to_string(),
                    expected: size,
                    found: rest.len(),
                })
            })?;
            parts.push(part);
            rest = after;
        }
        let [embedding, layers, head, bias] = parts.as_slice() else {
            return Err(Error::device("weights in other parts than expected"));
        };
        let table = |values: &[f32]| {
            let shape = [vocabulary, config.width];
            Param::from_data(TensorData::new(values.to_vec(), shape), device)
        };
        let network = Network {
            embedding: table(embedding),
            recurrent: Recurrent::from_flat(&recurrent, layers, device)?,
            head: (!config.tied).then(|| table(head)),
            head_bias: Param::from_data(TensorData::new(bias.to_vec(), [vocabulary]), device),
        };
        Ok(Self {
            network,
            config: config.clone(),
            plain: device.clone().inner(),
        })
    }

    /// The same program without gradients.
    pub(super) fn valid(&self) -> Self {
        Self {
            network: self.network.valid(),
            ..self.clone()
        }
    }

    /// The sum of the targets' losses, `[1]`, with label smoothing, and the state after the last tokens.
    pub(super) fn loss(
        &self,
        batch: &[Example],
        state: Option<RecurrentState>,
        dropout: Option<Dropout>,
        smoothing: f32,
    ) -> Result<(Tensor<1>, RecurrentState)> {
        let rows = tokens(batch.iter().map(|e| e.inputs.as_slice()), &self.plain);
        let [count, time] = rows.dims();
        let lengths: Vec<usize> = batch.iter().map(Example::len).collect();
        let numbers: Vec<u64> = batch.iter().map(|e| e.number).collect();
        let drops = dropout.map(|dropout| Drops {
            dropout,
            sequences: &numbers,
            lengths: Some(&lengths),
            variational: self.config.variational,
        });
        let drop = |x: Tensor<3>, site: usize| match &drops {
            Some(drops) => {
                let width = self.config.width;
                let flat = x.swap_dims(0, 1).reshape([time * count, width]);
                let flat = drops.apply(flat, site, &self.plain);
                flat.reshape([time, count, width]).swap_dims(0, 1)
            }
            None => x,
        };
        let pass = Pass {
            lengths: Some(&lengths),
            state,
            dropout: dropout.map(|d| DropoutDraw {
                seed: d.seed,
                sequences: &numbers,
            }),
        };
        let x = drop(self.embed(rows), 0);
        let (y, state) = self
            .network
            .recurrent
            .forward_by(Compute::Program, x, pass)?;
        let logits = self.logits(drop(y, self.config.layers));
        Ok((cross_entropy(logits, batch, smoothing, &self.plain), state))
    }

    /// Logits after each token of one text or after the last, on the host, and the state there.
    pub(super) fn extend(
        &self,
        text: &[u32],
        state: Option<RecurrentState>,
        last_only: bool,
    ) -> Result<(Vec<f32>, RecurrentState)> {
        let pass = Pass {
            state,
            ..Pass::default()
        };
        let x = self.embed(tokens(std::iter::once(text), &self.plain));
        let (mut y, state) = self
            .network
            .recurrent
            .forward_by(Compute::Program, x, pass)?;
        if last_only {
            y = y.narrow(1, text.len().saturating_sub(1), 1);
        }
        let logits = self.logits(y).try_into_vec_as::<f32>();
        Ok((logits.map_err(Error::device)?, state))
    }

    /// `[batch, tokens]` → `[batch, tokens, width]`.
    fn embed(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let [batch, time] = tokens.dims();
        let rows = self.network.embedding.val().select(0, tokens.flatten(0, 1));
        rows.reshape([batch, time, self.config.width])
    }

    /// `[batch, tokens, width]` → `[batch · tokens, vocabulary]`.
    fn logits(&self, y: Tensor<3>) -> Tensor<2> {
        let [batch, time, width] = y.dims();
        let network = &self.network;
        let head = network.head.as_ref().unwrap_or(&network.embedding).val();
        let product = y.reshape([batch * time, width]).matmul(head.transpose());
        product + network.head_bias.val().unsqueeze()
    }
}
