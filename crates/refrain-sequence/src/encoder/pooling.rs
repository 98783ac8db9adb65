//! From one vector per token to one per text.

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
