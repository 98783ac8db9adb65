//! What a stack of recurrent layers is made of.

use serde::{Deserialize, Serialize};

use super::pytorch;
use crate::entries::{Entries, Init, Role};
use crate::{Error, Result};

/// The step of a recurrent layer, from `x` and the state before it; `σ` is the logistic function,
/// `⊙` the product value by value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cell {
    /// Elman's simple network (*Finding structure in time*, 1990), PyTorch's `nn.RNN`: the
    /// cheapest, forgets soon.
    ///
    /// `h' = tanh(W x + b + U h + c)`
    Elman,
    /// The gated recurrent unit (Cho et al., 2014) with the reset gate after the product,
    /// PyTorch's `nn.GRU`: three gates, one state.
    ///
    /// ```text
    /// r  = σ(Wr x + br + Ur h + cr)
    /// z  = σ(Wz x + bz + Uz h + cz)
    /// n  = tanh(Wn x + bn + r ⊙ (Un h + cn))
    /// h' = (1 - z) ⊙ n + z ⊙ h
    /// ```
    Gru,
    /// Long short-term memory (Hochreiter and Schmidhuber, 1997) with forget gates (Gers et al.,
    /// 2000), PyTorch's `nn.LSTM`: four gates, and a cell state that is only scaled and added to.
    ///
    /// ```text
    /// i  = σ(Wi x + bi + Ui h + ci)
    /// f  = σ(Wf x + bf + Uf h + cf)
    /// g  = tanh(Wg x + bg + Ug h + cg)
    /// o  = σ(Wo x + bo + Uo h + co)
    /// c' = f ⊙ c + i ⊙ g
    /// h' = o ⊙ tanh(c')
    /// ```
    Lstm,
}

impl Cell {
    /// How many gates one step has; a layer computes all of them in one matrix product.
    pub fn gates(self) -> usize {
        match self {
            Self::Elman => 1,
            Self::Gru => 3,
            Self::Lstm => 4,
        }
    }
}

/// The size and the kind of a stack of recurrent layers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecurrentConfig {
    /// The step.
    pub cell: Cell,
    /// The length of an input vector.
    pub input: usize,
    /// The length of a hidden state; a bidirectional layer puts out twice that.
    pub hidden: usize,
    /// Layers, each reading what the one below puts out.
    pub layers: usize,
    /// Whether each layer also reads from the end to the beginning.
    pub bidirectional: bool,
    /// Whether the products have biases.
    pub bias: bool,
    /// The share of values dropped between two layers, when [`Pass::dropout`](crate::Pass::dropout) is given.
    pub dropout: f32,
    /// Whether all steps of a sequence drop the same values (Gal and Ghahramani, 2016).
    pub variational: bool,
}

impl Default for RecurrentConfig {
    fn default() -> Self {
        Self {
            cell: Cell::Lstm,
            input: 128,
            hidden: 128,
            layers: 1,
            bidirectional: false,
            bias: true,
            dropout: 0.0,
            variational: false,
        }
    }
}

/// Larger than any model a machine of today trains, small enough that sizes cannot overflow.
const LIMIT: usize = 1 << 20;
const MOST_PARAMETERS: u128 = 1 << 34;

impl RecurrentConfig {
    pub(super) fn directions(&self) -> usize {
        if self.bidirectional { 2 } else { 1 }
    }

    /// The length of an output vector: `hidden`, or twice that in both directions.
    pub fn output(&self) -> usize {
        self.hidden * self.directions()
    }

    /// How many parameters the layers have.
    ///
    /// # Errors
    /// [`Error::Config`] naming a field that no layer can have.
    pub fn parameters(&self) -> Result<usize> {
        let mut entries = Entries::default();
        self.entries(&mut entries)?;
        Ok(entries.total)
    }

    pub(crate) fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("RecurrentConfig.input", self.input),
            ("RecurrentConfig.hidden", self.hidden),
            ("RecurrentConfig.layers", self.layers),
        ] {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 2^20"));
            }
        }
        if !(0.0..1.0).contains(&self.dropout) {
            let expected = "at least 0, below 1";
            return Err(Error::config(
                "RecurrentConfig.dropout",
                self.dropout,
                expected,
            ));
        }
        let (hidden, input) = (self.hidden as u128, self.input as u128);
        let widest = input.max(hidden * self.directions() as u128) + hidden;
        let layers = (self.layers * self.directions()) as u128;
        let total = layers * self.cell.gates() as u128 * hidden * widest;
        if total > MOST_PARAMETERS {
            let expected = "fewer than 2^34 parameters";
            return Err(Error::config("RecurrentConfig", total, expected));
        }
        Ok(())
    }

    /// What layer `layer` reads.
    pub(super) fn input_of(&self, layer: usize) -> usize {
        if layer == 0 {
            self.input
        } else {
            self.output()
        }
    }

    /// Appends the parameters in the order of the module, under PyTorch's names.
    pub(crate) fn entries(&self, entries: &mut Entries) -> Result<()> {
        self.validate()?;
        let rows = self.cell.gates() * self.hidden;
        let init = Init::Uniform(1.0 / (self.hidden as f32).sqrt());
        for layer in 0..self.layers {
            for direction in 0..self.directions() {
                let [input, hidden, input_bias, hidden_bias] = pytorch::names(layer, direction);
                let shape = vec![rows, self.input_of(layer)];
                entries.push(input, shape, Role::Matrix, init);
                entries.push(hidden, vec![rows, self.hidden], Role::Matrix, init);
                if self.bias {
                    entries.push(input_bias, vec![rows], Role::Vector, init);
                    entries.push(hidden_bias, vec![rows], Role::Vector, init);
                }
            }
        }
        Ok(())
    }
}
