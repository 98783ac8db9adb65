//! Recurrent layers: Elman's network, GRU and LSTM, and the language model made of them.
//!
//! A recurrent layer reads a sequence one step at a time and keeps a hidden state of fixed size,
//! `h_t = step(x_t, h_{t-1})`; the three [`Cell`]s differ in the step. [`Recurrent`] stacks layers,
//! reads in one or both directions, takes batches of sequences of different lengths, and takes and
//! returns the state, so that a long text can be read in pieces.
//!
//! **Use it** for labelling (both directions, below a [`Crf`](crate::Crf) or
//! [`Ctc`](crate::Ctc)), for streams without end, and where a transformer's attention costs too
//! much. **Cost**: a step of a layer is `2 · gates · hidden · (input + hidden)` operations per
//! sequence; the input's half is done for all steps in one matrix product, the other half cannot
//! begin before the step before it is done.

mod config;
mod drops;
mod elman;
mod gru;
mod lm;
mod lstm;
#[cfg(feature = "flex")]
mod operation;
mod pytorch;
mod steps;
mod sweep;

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};

pub use config::{Cell, RecurrentConfig};
pub(crate) use drops::Drops;
pub use lm::{RnnConfig, RnnLm};
pub use pytorch::NamedTensor;

use crate::batch::Dropout;
use crate::entries::{Entries, initial};
use crate::ragged::{Ragged, check_lengths, check_size, split};
use crate::transformer::Compute;
use crate::{Error, Result};

/// One direction of one layer.
#[derive(Module, Debug)]
struct Direction {
    /// `[gates · hidden, input]`.
    input: Param<Tensor<2>>,
    /// `[gates · hidden, hidden]`.
    hidden: Param<Tensor<2>>,
    /// `[gates · hidden]`.
    input_bias: Option<Param<Tensor<1>>>,
    /// `[gates · hidden]`.
    hidden_bias: Option<Param<Tensor<1>>>,
}

/// What the recurrence of one direction multiplies with, made ready once for a sequence.
struct Ready {
    /// `[hidden, gates · hidden]`.
    hidden: Tensor<2>,
    /// `[1, gates · hidden]`.
    hidden_bias: Option<Tensor<2>>,
    size: usize,
}

impl Ready {
    /// `[batch, hidden]` → `[batch, gates · hidden]`, without the bias.
    fn product(&self, h: &Tensor<2>) -> Tensor<2> {
        h.clone().matmul(self.hidden.clone())
    }

    /// Gate number `first`, and `count - 1` after it.
    fn gates(&self, all: &Tensor<2>, first: usize, count: usize) -> Tensor<2> {
        all.clone().narrow(1, first * self.size, count * self.size)
    }
}

/// Hidden states of all layers and directions, as PyTorch's `h_n` and `c_n`.
#[derive(Debug, Clone)]
pub struct RecurrentState {
    /// `[layers · directions, batch, hidden]`; of one layer first the forward direction, then the
    /// backward one.
    pub hidden: Tensor<3>,
    /// The cell states of an LSTM, of the same shape.
    pub cell: Option<Tensor<3>>,
}

impl RecurrentState {
    /// The same values without their history: gradients end here (truncated backpropagation
    /// through time; Williams and Peng, 1990).
    pub fn detach(self) -> Self {
        Self {
            hidden: self.hidden.detach(),
            cell: self.cell.map(Tensor::detach),
        }
    }
}

/// The states of one direction of one layer, `[batch, hidden]`: hidden, and the cell of an LSTM.
type States = (Tensor<2>, Option<Tensor<2>>);

/// What decides the values that are dropped while training.
#[derive(Debug, Clone, Copy)]
pub struct DropoutDraw<'a> {
    /// The seed of the run.
    pub seed: u64,
    /// A number per sequence; the same number drops the same values.
    pub sequences: &'a [u64],
}

/// What one pass over a batch knows beside its values.
///
/// ```
/// # use refrain_sequence::Pass;
/// let two_sequences = Pass { lengths: Some(&[5, 3]), ..Pass::default() };
/// ```
#[derive(Debug, Clone, Default)]
pub struct Pass<'a> {
    /// The length of each sequence, the rest being padding; all of them full where `None`.
    pub lengths: Option<&'a [usize]>,
    /// The state to begin with; zeros where `None`.
    pub state: Option<RecurrentState>,
    /// Dropout between the layers; none where `None`.
    pub dropout: Option<DropoutDraw<'a>>,
}

/// A stack of recurrent layers, a burn module.
///
/// All gates of a layer are one matrix product; the input's half of it is done for all steps at
/// once, the state's half step by step: `2 · gates · hidden · (input + hidden)` operations per
/// step, layer and direction.
///
/// # Weights
///
/// Layer `k` has PyTorch's parameters in PyTorch's layout, [from it](Recurrent::from_pytorch) and
/// [back](Recurrent::to_pytorch) unchanged:
///
/// | name | shape | |
/// |---|---|---|
/// | `weight_ih_l{k}` | `[gates · hidden, input]` | `W`, acting as `W x` |
/// | `weight_hh_l{k}` | `[gates · hidden, hidden]` | `U` |
/// | `bias_ih_l{k}` | `[gates · hidden]` | `b`, with [`RecurrentConfig::bias`] |
/// | `bias_hh_l{k}` | `[gates · hidden]` | `c`, likewise |
///
/// Rows go gate by gate: r, z, n of a GRU; i, f, g, o of an LSTM. The backward direction has the
/// same names with `_reverse` at their end. The `input` of a layer above the first is the
/// [output](RecurrentConfig::output) of the one below.
///
/// ```
/// use burn::tensor::{Distribution, Tensor};
/// use refrain_sequence::{Cell, Pass, Recurrent, RecurrentConfig};
///
/// let device = refrain_core::device("cpu")?;
/// let config = RecurrentConfig {
///     cell: Cell::Gru, input: 8, hidden: 16, layers: 2, bidirectional: true,
///     ..RecurrentConfig::default()
/// };
/// let gru = Recurrent::new(&config, 0, &device)?;
/// let x = Tensor::<3>::random([4, 10, 8], Distribution::Default, &device);
/// let (y, state) = gru.forward(x, Pass { lengths: Some(&[10, 7, 10, 2]), ..Pass::default() })?;
/// assert_eq!(y.dims(), [4, 10, 32]); // zeros where a sequence has ended
/// assert_eq!(state.hidden.dims(), [4, 4, 16]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Recurrent {
    directions: Vec<Direction>,
    #[module(skip)]
    config: RecurrentConfig,
}

impl Recurrent {
    /// Layers with first values from U(-1/√hidden, 1/√hidden), PyTorch's, drawn on the host: a
    /// seed means the same on every device. On an autodiff device they can be trained.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn new(config: &RecurrentConfig, seed: u64, device: &Device) -> Result<Self> {
        let mut entries = Entries::default();
        config.entries(&mut entries)?;
        Self::from_flat(config, &initial(&entries.list, seed), device)
    }

    /// Layers with these parameters, one behind the other.
    pub(crate) fn from_flat(
        config: &RecurrentConfig,
        weights: &[f32],
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let mut rest = weights;
        let mut take = |n: usize| -> Result<Vec<f32>> {
            let (part, after) = rest.split_at_checked(n).ok_or_else(|| {
                Error::Core(refrain_core::Error::Shape {
                    what: "the weights".to_string(),
                    expected: n,
                    found: rest.len(),
                })
            })?;
            rest = after;
            Ok(part.to_vec())
        };
        let rows = config.cell.gates() * config.hidden;
        let mut directions = Vec::new();
        for layer in 0..config.layers {
            for _ in 0..config.directions() {
                let mut matrix = |columns: usize| -> Result<Param<Tensor<2>>> {
                    let data = TensorData::new(take(rows * columns)?, [rows, columns]);
                    Ok(Param::from_data(data, device))
                };
                let (input, hidden) = (matrix(config.input_of(layer))?, matrix(config.hidden)?);
                let mut bias = || -> Result<Option<Param<Tensor<1>>>> {
                    if !config.bias {
                        return Ok(None);
                    }
                    let data = TensorData::new(take(rows)?, [rows]);
                    Ok(Some(Param::from_data(data, device)))
                };
                directions.push(Direction {
                    input,
                    hidden,
                    input_bias: bias()?,
                    hidden_bias: bias()?,
                });
            }
        }
        Ok(Self {
            directions,
            config: config.clone(),
        })
    }

    /// Its shape.
    pub fn config(&self) -> &RecurrentConfig {
        &self.config
    }

    /// Reads a batch, `[batch, time, input]`, and returns the last layer's hidden states,
    /// `[batch, time, output]`, and the state after each sequence's last step.
    ///
    /// Padding has no say, whatever it holds: each sequence gives what it gives alone, in both
    /// directions, and its output is zero after its end. A sequence of length 0 hands its state
    /// through.
    ///
    /// # Errors
    /// [`Error::Core`] with the shape that does not fit, [`Error::Config`] for a length beyond the
    /// time.
    pub fn forward(&self, x: Tensor<3>, pass: Pass<'_>) -> Result<(Tensor<3>, RecurrentState)> {
        self.forward_by(Compute::Auto, x, pass)
    }

    /// As [`forward`](Self::forward): on the CPU by kernels, elsewhere, or where asked to, by a
    /// tensor program.
    pub(crate) fn forward_by(
        &self,
        compute: Compute,
        x: Tensor<3>,
        pass: Pass<'_>,
    ) -> Result<(Tensor<3>, RecurrentState)> {
        let [batch, time, _] = x.dims();
        self.check(&x, &pass)?;
        let config = &self.config;
        let plain = x.device().inner();
        let ragged = Ragged::new(pass.lengths, time, config.hidden, &plain);

        // [time · batch, values]: the rows of a step lie together.
        let mut x = ragged.clean(flat(x.swap_dims(0, 1)));
        let drops = pass.dropout.map(|draw| Drops {
            dropout: Dropout {
                rate: config.dropout,
                seed: draw.seed,
            },
            sequences: draw.sequences,
            lengths: pass.lengths,
            variational: config.variational,
        });
        let mut ends = (Vec::new(), Vec::new());
        for layer in 0..config.layers {
            if let Some(drops) = drops.as_ref().filter(|_| layer > 0) {
                x = drops.apply(x, layer, &plain);
            }
            let mut outputs = Vec::with_capacity(2);
            for direction in 0..config.directions() {
                let index = layer * config.directions() + direction;
                let begin = match &pass.state {
                    Some(state) => {
                        let row = |t: &Tensor<3>| {
                            let row = t.clone().narrow(0, index, 1);
                            row.reshape([batch, config.hidden])
                        };
                        (row(&state.hidden), state.cell.as_ref().map(row))
                    }
                    None => {
                        let zeros = Tensor::zeros([batch, config.hidden], &plain);
                        let cell = (config.cell == Cell::Lstm).then(|| zeros.clone());
                        (zeros, cell)
                    }
                };
                let gates = self.gates(index, x.clone());
                let backwards = direction == 1;
                let by_kernels = match compute {
                    Compute::Program => None,
                    _ => self.kernels(index, &gates, &begin, backwards, pass.lengths, &plain),
                };
                let (y, (h, c)) = match by_kernels {
                    Some(found) => found,
                    None => self.program(index, gates, begin, backwards, &ragged),
                };
                outputs.push(y);
                ends.0.push(h);
                ends.1.extend(c);
            }
            x = match outputs.len() {
                1 => outputs.remove(0),
                _ => Tensor::cat(outputs, 1),
            };
        }
        let y = x.reshape([time, batch, config.output()]).swap_dims(0, 1);
        let state = RecurrentState {
            hidden: Tensor::stack(ends.0, 0),
            cell: (config.cell == Cell::Lstm).then(|| Tensor::stack(ends.1, 0)),
        };
        Ok((y, state))
    }

    /// What the input brings to all gates of all steps: `[time · batch, input]` →
    /// `[time · batch, gates · hidden]`.
    fn gates(&self, index: usize, x: Tensor<2>) -> Tensor<2> {
        let weights = &self.directions[index];
        let mut gates = x.matmul(weights.input.val().transpose());
        if let Some(bias) = &weights.input_bias {
            gates = gates + bias.val().unsqueeze();
        }
        if let (Cell::Elman | Cell::Lstm, Some(bias)) = (self.config.cell, &weights.hidden_bias) {
            gates = gates + bias.val().unsqueeze();
        }
        gates
    }

    /// One direction of one layer: `[time · batch, gates · hidden]` → `[time · batch, hidden]`, with
    /// zeros after a sequence's end.
    #[cfg(feature = "flex")]
    fn kernels(
        &self,
        index: usize,
        gates: &Tensor<2>,
        begin: &States,
        backwards: bool,
        lengths: Option<&[usize]>,
        plain: &Device,
    ) -> Option<(Tensor<2>, States)> {
        let weights = &self.directions[index];
        let batch = begin.0.dims()[0];
        let time = gates.dims()[0] / batch;
        let reading = operation::Reading {
            cell: self.config.cell,
            width: self.config.hidden,
            time,
            lengths: lengths.map_or_else(|| vec![time; batch], <[usize]>::to_vec),
            backwards,
        };
        let weights = operation::Weights {
            hidden: weights.hidden.val(),
            bias: weights.hidden_bias.as_ref().map(Param::val),
        };
        reading.run(gates, &weights, begin, plain)
    }

    #[cfg(not(feature = "flex"))]
    fn kernels(
        &self,
        _: usize,
        _: &Tensor<2>,
        _: &States,
        _: bool,
        _: Option<&[usize]>,
        _: &Device,
    ) -> Option<(Tensor<2>, States)> {
        None
    }

    /// The same as a tensor program.
    fn program(
        &self,
        index: usize,
        gates: Tensor<2>,
        (mut h, mut c): States,
        backwards: bool,
        ragged: &Ragged,
    ) -> (Tensor<2>, States) {
        let weights = &self.directions[index];
        let cell = self.config.cell;
        let (batch, time) = (h.dims()[0], gates.dims()[0] / h.dims()[0]);
        let ready = Ready {
            hidden: weights.hidden.val().transpose(),
            hidden_bias: weights.hidden_bias.as_ref().map(|b| b.val().unsqueeze()),
            size: self.config.hidden,
        };
        let mut steps = Vec::with_capacity(time);
        split(gates, batch, time, &mut steps);
        let mut order: Vec<(usize, Tensor<2>)> = steps.into_iter().enumerate().collect();
        if backwards {
            order.reverse();
        }
        let mut outputs = Vec::with_capacity(time);
        for (t, gates) in order {
            let (new_h, new_c) = match (cell, &c) {
                (Cell::Gru, _) => (gru::step(&ready, gates, &h), None),
                (Cell::Lstm, Some(c)) => {
                    let (h, c) = lstm::step(&ready, gates, &h, c);
                    (h, Some(c))
                }
                _ => (elman::step(&ready, gates, &h), None),
            };
            h = ragged.keep(t, h, new_h);
            c = match (c, new_c) {
                (Some(c), Some(new_c)) => Some(ragged.keep(t, c, new_c)),
                (c, _) => c,
            };
            outputs.push(h.clone());
        }
        if backwards {
            outputs.reverse();
        }
        (ragged.clean(Tensor::cat(outputs, 0)), (h, c))
    }

    fn check(&self, x: &Tensor<3>, pass: &Pass<'_>) -> Result<()> {
        let config = &self.config;
        let [batch, time, input] = x.dims();
        let mut found = vec![("Recurrent input: values", config.input, input)];
        if batch == 0 || time == 0 {
            return Err(Error::TooShort {
                what: "Recurrent input: sequences and steps".to_string(),
                needed: 1,
                found: 0,
            });
        }
        if let Some(draw) = &pass.dropout {
            found.push(("Pass.dropout: sequences", batch, draw.sequences.len()));
        }
        if let Some(state) = &pass.state {
            let has_cell = usize::from(state.cell.is_some());
            let wants_cell = usize::from(config.cell == Cell::Lstm);
            found.push(("Pass.state: cell states", wants_cell, has_cell));
            for tensor in std::iter::once(&state.hidden).chain(&state.cell) {
                let [layers, rows, hidden] = tensor.dims();
                let directions = config.layers * config.directions();
                found.push(("Pass.state: layers", directions, layers));
                found.push(("Pass.state: sequences", batch, rows));
                found.push(("Pass.state: hidden", config.hidden, hidden));
            }
        }
        for (what, expected, found) in found {
            check_size(what, expected, found)?;
        }
        check_lengths([batch, time], pass.lengths)
    }
}

/// `[a, b, values]` → `[a · b, values]`.
fn flat(x: Tensor<3>) -> Tensor<2> {
    let [a, b, values] = x.dims();
    x.reshape([a * b, values])
}

#[cfg(test)]
mod tests;
