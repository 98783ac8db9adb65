//! What the tensor programs of all language models begin and end with.

use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};

use crate::batch::{Example, UNSCORED};

/// Tokens on a device, `[batch, tokens]`, shorter rows padded with token 0 at their end.
pub(crate) fn tokens<'a>(
    rows: impl ExactSizeIterator<Item = &'a [u32]> + Clone,
    device: &Device,
) -> Tensor<2, Int> {
    let length = rows.clone().map(<[u32]>::len).max().unwrap_or(0);
    let batch = rows.len();
    let mut values = Vec::with_capacity(batch * length);
    for (i, row) in rows.enumerate() {
        let known = |&t: &u32| if t == UNSCORED { 0 } else { t as i32 };
        values.extend(row.iter().map(known));
        values.resize((i + 1) * length, 0);
    }
    Tensor::from_data(TensorData::new(values, [batch, length]), device)
}

/// The sum of the targets' losses, each times its weight, `[1]`, of logits `[batch · tokens, vocabulary]`; `smoothing` of
/// each target's probability is spread over all tokens.
pub(crate) fn cross_entropy(
    logits: Tensor<2>,
    batch: &[Example],
    smoothing: f32,
    device: &Device,
) -> Tensor<1> {
    let targets = tokens(batch.iter().map(|e| e.targets.as_slice()), device);
    let [rows, _] = logits.dims();
    let all = log_softmax(logits, 1);
    let mut likely = all.clone().gather(1, targets.reshape([rows, 1]));
    if smoothing > 0.0 {
        likely = likely * (1.0 - smoothing) + all.mean_dim(1) * smoothing;
    }
    // Every target is scored unless a row is shorter or hides some.
    let length = rows / batch.len().max(1);
    let mut weights = Vec::with_capacity(rows);
    for example in batch {
        let row = example.targets.iter().enumerate().map(|(at, &t)| {
            if t == UNSCORED {
                0.0f32
            } else {
                example.weight(at)
            }
        });
        weights.extend(row);
        weights.resize(weights.len() + length - example.len(), 0.0);
    }
    let likely = match weights.iter().all(|&w| w == 1.0) {
        true => likely,
        false => likely * Tensor::<2>::from_data(TensorData::new(weights, [rows, 1]), device),
    };
    likely.sum().neg()
}
