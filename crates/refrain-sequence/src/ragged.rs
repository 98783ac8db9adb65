//! Batches of sequences of different lengths, in recurrences written as tensor programs. Rows of
//! one step lie together: `[time · batch, values]`.

use burn::tensor::{Bool, Device, Tensor, TensorData};

use crate::{Error, Result};

pub(crate) fn check_size(what: &str, expected: usize, found: usize) -> Result<()> {
    if expected == found {
        return Ok(());
    }
    let what = what.to_string();
    Err(Error::Core(refrain_core::Error::Shape {
        what,
        expected,
        found,
    }))
}

/// One length per sequence, none beyond the time.
pub(crate) fn check_lengths([batch, time]: [usize; 2], lengths: Option<&[usize]>) -> Result<()> {
    let Some(lengths) = lengths else {
        return Ok(());
    };
    check_size("lengths of a batch", batch, lengths.len())?;
    match lengths.iter().find(|&&n| n > time) {
        Some(length) => {
            let expected = "at most the time of the batch";
            Err(Error::config("the length of a sequence", length, expected))
        }
        None => Ok(()),
    }
}

/// The values of each sequence of `[batch, time, values]` on the host, `[length, values]`; the
/// lengths have been checked.
pub(crate) fn on_host(x: Tensor<3>, lengths: Option<&[usize]>) -> Result<Vec<Vec<f32>>> {
    let [batch, time, width] = x.dims();
    let all = x.inner().try_into_vec_as::<f32>().map_err(Error::device)?;
    let length = |b: usize| lengths.and_then(|l| l.get(b).copied()).unwrap_or(time);
    let rows = (0..batch).map(|b| {
        let from = b * time * width;
        let part = all.get(from..from + length(b) * width);
        part.unwrap_or_default().to_vec()
    });
    Ok(rows.collect())
}

/// Which rows of a batch are padding.
pub(crate) struct Ragged {
    /// For each row of `[time · batch]` whether it is padding; `None` where nothing is.
    padding: Option<Vec<bool>>,
    /// For each step `[batch, width]`, where any sequence has ended.
    ended: Vec<Option<Tensor<2, Bool>>>,
    plain: Device,
}

impl Ragged {
    /// For recurrences over states of `width` values; all lengths are at most `time`.
    pub(crate) fn new(
        lengths: Option<&[usize]>,
        time: usize,
        width: usize,
        plain: &Device,
    ) -> Self {
        let plain = plain.clone();
        let Some(lengths) = lengths.filter(|all| all.iter().any(|&n| n < time)) else {
            return Self {
                padding: None,
                ended: Vec::new(),
                plain,
            };
        };
        let padding: Vec<bool> = (0..time)
            .flat_map(|t| lengths.iter().map(move |&n| t >= n))
            .collect();
        let ended = padding.chunks(lengths.len()).map(|row| {
            row.iter()
                .any(|&ended| ended)
                .then(|| mask(row, width, &plain))
        });
        Self {
            ended: ended.collect(),
            padding: Some(padding),
            plain,
        }
    }

    /// Zeros in place of padding.
    pub(crate) fn clean(&self, x: Tensor<2>) -> Tensor<2> {
        match &self.padding {
            Some(padding) => {
                let width = x.dims()[1];
                x.mask_fill(mask(padding, width, &self.plain), 0.0)
            }
            None => x,
        }
    }

    /// The old state where a sequence has no step `t`, the new one elsewhere.
    pub(crate) fn keep(&self, t: usize, old: Tensor<2>, new: Tensor<2>) -> Tensor<2> {
        match self.ended.get(t) {
            Some(Some(ended)) => new.mask_where(ended.clone(), old),
            _ => new,
        }
    }
}

/// `[rows, width]`, each row all of one kind.
fn mask(rows: &[bool], width: usize, device: &Device) -> Tensor<2, Bool> {
    let values: Vec<bool> = rows
        .iter()
        .flat_map(|&row| std::iter::repeat_n(row, width))
        .collect();
    Tensor::from_data(TensorData::new(values, [rows.len(), width]), device)
}

/// Cuts rows into steps of `batch` rows. In halves, because the gradient of a cut is as large as
/// what was cut: this way each value is copied `log₂ time` times, not `time` times.
pub(crate) fn split(x: Tensor<2>, batch: usize, time: usize, steps: &mut Vec<Tensor<2>>) {
    if time <= 1 {
        steps.push(x);
        return;
    }
    let half = time / 2;
    let first = x.clone().narrow(0, 0, half * batch);
    split(first, batch, half, steps);
    let second = x.narrow(0, half * batch, (time - half) * batch);
    split(second, batch, time - half, steps);
}
