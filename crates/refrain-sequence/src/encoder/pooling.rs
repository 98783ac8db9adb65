//! From one vector per token to one per text.

#[cfg(feature = "tokenizers")]
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

/// How the vectors of a text's tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Pooling {
    /// Their mean (Reimers and Gurevych, *Sentence-BERT*, 2019: the best of these three there).
    #[default]
    Mean,
    /// The first one, `[CLS]`.
    First,
    /// The largest value of each coordinate.
    Max,
    /// Their sum, divided by the square root of their number.
    MeanRoot,
}

impl Pooling {
    /// The vector of one text: `states` is `[tokens, width]`, the result `[width]`, 0 where there are
    /// no tokens.
    pub fn pool(self, states: &[f32], width: usize) -> Vec<f32> {
        let mut rows = states.chunks_exact(width.max(1));
        let tokens = rows.len();
        let (Some(first), true) = (rows.next(), width > 0) else {
            return vec![0.0; width];
        };
        let mut pooled = first.to_vec();
        let each: fn(&mut f32, f32) = match self {
            Self::First => return pooled,
            Self::Max => |p, x| *p = p.max(x),
            Self::Mean | Self::MeanRoot => |p, x| *p += x,
        };
        for row in rows {
            for (p, &x) in pooled.iter_mut().zip(row) {
                each(p, x);
            }
        }
        let divisor = match self {
            Self::Mean => tokens as f32,
            Self::MeanRoot => (tokens as f32).sqrt(),
            Self::First | Self::Max => return pooled,
        };
        for p in &mut pooled {
            *p /= divisor;
        }
        pooled
    }
}

#[cfg(feature = "tokenizers")]
impl Pooling {
    /// As [`pool`](Self::pool), of a padded batch: `[texts, tokens, width]` → `[texts, width]`.
    pub(super) fn pool_batch(self, states: Tensor<3>, lengths: &[usize]) -> Tensor<2> {
        let [texts, time, width] = states.dims();
        let device = states.device().inner();
        let table = |value: fn(usize, bool) -> f32| {
            let values = lengths
                .iter()
                .flat_map(|&n| (0..time).map(move |t| value(n, t < n)));
            TensorData::new(values.collect::<Vec<f32>>(), [texts, 1, time])
        };
        let share = |value| Tensor::<3>::from_data(table(value), &device);
        let pooled = match self {
            Self::First => states.narrow(1, 0, 1),
            Self::Mean => {
                share(|n, present| f32::from(u8::from(present)) / n.max(1) as f32).matmul(states)
            }
            Self::MeanRoot => {
                let root = |n: usize, present: bool| {
                    f32::from(u8::from(present)) / (n.max(1) as f32).sqrt()
                };
                share(root).matmul(states)
            }
            Self::Max => {
                let ended = share(|_, present| if present { 0.0 } else { -1e30 });
                (states + ended.swap_dims(1, 2)).max_dim(1)
            }
        };
        pooled.reshape([texts, width])
    }
}

/// Divides a vector by its length; one of zeros stays.
#[cfg(feature = "tokenizers")]
pub(super) fn normalise(vector: &mut [f32]) {
    let length = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    if length > 0.0 {
        for x in vector {
            *x /= length;
        }
    }
}
