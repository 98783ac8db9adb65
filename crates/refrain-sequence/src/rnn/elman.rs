//! The step of [`Cell::Elman`](super::Cell::Elman).

use burn::tensor::Tensor;

use super::Ready;

/// `gates` `[batch, hidden]` holds `W x + b + c`.
pub(super) fn step(ready: &Ready, gates: Tensor<2>, h: &Tensor<2>) -> Tensor<2> {
    (gates + ready.product(h)).tanh()
}
