//! Dropout between recurrent layers.

use burn::tensor::{Device, Tensor, TensorData};

use crate::batch::Dropout;

/// What is dropped from a batch while training; a sequence draws the same whatever stands beside
/// it.
pub(crate) struct Drops<'a> {
    pub(crate) dropout: Dropout,
    /// A number per sequence.
    pub(crate) sequences: &'a [u64],
    pub(crate) lengths: Option<&'a [usize]>,
    pub(crate) variational: bool,
}

impl Drops<'_> {
    /// Drops values of `[time · batch, values]` at one place of the network.
    pub(crate) fn apply(&self, x: Tensor<2>, site: usize, device: &Device) -> Tensor<2> {
        let (batch, [rows, width]) = (self.sequences.len(), x.dims());
        if self.dropout.rate == 0.0 || batch == 0 || width == 0 {
            return x;
        }
        let time = rows / batch;
        let mut factors = vec![1.0f32; rows * width];
        for (b, &number) in self.sequences.iter().enumerate() {
            let length = self.lengths.and_then(|l| l.get(b).copied()).unwrap_or(time);
            let drawn = if self.variational { 1 } else { length };
            let mut own = vec![0.0; drawn * width];
            self.dropout.fill_number(site, number, &mut own);
            // One draw for all steps, or one for each.
            let steps = own.chunks_exact(width).cycle().take(length);
            let targets = factors.chunks_exact_mut(width).skip(b).step_by(batch);
            for (target, drawn) in targets.zip(steps) {
                target.copy_from_slice(drawn);
            }
        }
        x * Tensor::<2>::from_data(TensorData::new(factors, [rows, width]), device)
    }
}
