//! The step of [`Cell::Lstm`](super::Cell::Lstm).

use burn::tensor::Tensor;
use burn::tensor::activation::sigmoid;

use super::Ready;

/// `gates` `[batch, 4 · hidden]` holds `W x + b + c`; returns the hidden and the cell state.
pub(super) fn step(
    ready: &Ready,
    gates: Tensor<2>,
    h: &Tensor<2>,
    c: &Tensor<2>,
) -> (Tensor<2>, Tensor<2>) {
    let gates = gates + ready.product(h);
    let both = sigmoid(ready.gates(&gates, 0, 2));
    let (input, forget) = (ready.gates(&both, 0, 1), ready.gates(&both, 1, 1));
    let new = ready.gates(&gates, 2, 1).tanh();
    let output = sigmoid(ready.gates(&gates, 3, 1));
    let c = forget * c.clone() + input * new;
    (output * c.clone().tanh(), c)
}
