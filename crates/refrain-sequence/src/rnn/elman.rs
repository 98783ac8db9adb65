//! Elman's simple recurrent network (*Finding structure in time*, 1990) with tanh:
//!
//! `h' = tanh(W x + b + U h + c)`
//!
//! The same as PyTorch's `nn.RNN` with its default nonlinearity.

use burn::tensor::Tensor;

use super::Ready;

/// `gates` `[batch, hidden]` holds `W x + b + c`.
pub(super) fn step(ready: &Ready, gates: Tensor<2>, h: &Tensor<2>) -> Tensor<2> {
    (gates + ready.product(h)).tanh()
}
