//! The step of [`Cell::Gru`](super::Cell::Gru).

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use super::Ready;

/// `gates` `[batch, 3 · hidden]` holds `W x + b`.
pub(super) fn step(ready: &Ready, gates: Tensor<2>, h: &Tensor<2>) -> Tensor<2> {
    let mut recurrent = ready.product(h);
    if let Some(bias) = &ready.hidden_bias {
        recurrent = recurrent + bias.clone();
    }
    let both = sigmoid(ready.gates(&gates, 0, 2) + ready.gates(&recurrent, 0, 2));
    let (reset, update) = (ready.gates(&both, 0, 1), ready.gates(&both, 1, 1));
    let new = (ready.gates(&gates, 2, 1) + reset * ready.gates(&recurrent, 2, 1)).tanh();
    // (1 - z) n + z h
    new.clone() + update * (h.clone() - new)
}
