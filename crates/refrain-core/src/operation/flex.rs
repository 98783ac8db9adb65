//! The operations on burn's `flex` tensors, and their place on its tape.

use std::marker::PhantomData;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::NoCheckpointing;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::flex::FlexTensor;
use burn::backend::{Autodiff, Flex};
use burn::tensor::{DType, Tensor, TensorData};

use super::{Operand, Operation};

pub(super) fn apply<const N: usize, const D: usize, O: Operation<N>>(
    operation: O,
    shape: [usize; D],
    operands: [Operand; N],
) -> Option<Tensor<D>> {
    let taped = operands.iter().any(|Operand(t)| t.is_autodiff());
    if !taped {
        let inputs = each(operands, |Operand(t)| {
            contiguous(t.try_into_primitive::<Flex>().ok()?)
        })?;
        let (values, _) = operation.forward(slices(&inputs), false);
        return Some(Tensor::from_primitive::<Flex>(tensor(
            values,
            shape.to_vec(),
        )));
    }
    let operands = each(operands, |Operand(t)| {
        t.autodiff().try_into_primitive::<Autodiff<Flex>>().ok()
    })?;
    let guards = operands.each_ref().map(|operand| operand.node());
    let inputs = each(operands, |operand| contiguous(operand.into_primitive()))?;
    let step = Step::<O, N>(PhantomData);
    let prepared = step.prepare::<NoCheckpointing>(guards);
    let result = match prepared.compute_bound().stateful() {
        OpsKind::Tracked(prepared) => {
            let (values, kept) = operation.forward(slices(&inputs), true);
            let state = Arc::new(Kept {
                operation,
                kept,
                inputs,
            });
            prepared.finish(state, tensor(values, shape.to_vec()))
        }
        OpsKind::UnTracked(prepared) => {
            let (values, _) = operation.forward(slices(&inputs), false);
            prepared.finish(tensor(values, shape.to_vec()))
        }
    };
    Some(Tensor::from_primitive::<Autodiff<Flex>>(result))
}

/// What the tape holds of one operation.
#[derive(Debug)]
struct Kept<O: Operation<N>, const N: usize> {
    operation: O,
    kept: O::Kept,
    inputs: [FlexTensor; N],
}

#[derive(Debug)]
struct Step<O, const N: usize>(PhantomData<O>);

impl<O: Operation<N>, const N: usize> Backward<Flex, N> for Step<O, N> {
    type State = Arc<Kept<O, N>>;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        gradients: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let gradient = gradients.consume::<Flex>(&ops.node);
        let Some(gradient) = contiguous(gradient) else {
            return; // the gradient of an `f32` result is `f32`
        };
        let wanted = ops.parents.each_ref().map(Option::is_some);
        let Kept {
            operation,
            kept,
            inputs,
        } = &*ops.state;
        let found = operation.backward(kept, slices(inputs), values(&gradient), wanted);
        for ((parent, found), input) in ops.parents.into_iter().zip(found).zip(inputs) {
            if let (Some(parent), Some(found)) = (parent, found) {
                let shape = input.layout().shape().to_vec();
                gradients.register::<Flex>(parent.id, tensor(found, shape));
            }
        }
    }
}

/// All of them, or nothing.
fn each<A, B, const N: usize>(all: [A; N], f: impl Fn(A) -> Option<B>) -> Option<[B; N]> {
    let all: Vec<B> = all.into_iter().map(f).collect::<Option<_>>()?;
    all.try_into().ok()
}

/// The tensor with its values row by row; `None` for another type than `f32`.
fn contiguous(tensor: FlexTensor) -> Option<FlexTensor> {
    if tensor.dtype() != DType::F32 {
        return None;
    }
    match tensor.as_slice::<f32>() {
        Some(_) => Some(tensor),
        None => Some(tensor.to_contiguous()),
    }
}

fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().unwrap_or_default()
}

fn slices<const N: usize>(tensors: &[FlexTensor; N]) -> [&[f32]; N] {
    tensors.each_ref().map(values)
}

fn tensor(values: Vec<f32>, shape: Vec<usize>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
