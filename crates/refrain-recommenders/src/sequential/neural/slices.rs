//! Small loops over rows.

use refrain_sequence::parts::{Dropout, Rows};

/// Adds `bias` to each row.
pub(super) fn add_bias(rows: &mut [f32], bias: &[f32]) {
    for row in rows.chunks_exact_mut(bias.len()) {
        for (x, b) in row.iter_mut().zip(bias) {
            *x += b;
        }
    }
}

/// Adds the sum of the rows to `sum`.
pub(super) fn add_columns(rows: &[f32], sum: &mut [f32]) {
    for row in rows.chunks_exact(sum.len()) {
        for (sum, x) in sum.iter_mut().zip(row) {
            *sum += x;
        }
    }
}

/// Multiplies the rows of every sequence with its dropout factors.
pub(super) fn drop_rows(
    tile: &[Rows],
    dropout: Option<Dropout>,
    site: usize,
    width: usize,
    factors: &mut Vec<f32>,
    mut x: &mut [f32],
) {
    let Some(dropout) = dropout else { return };
    for sequence in tile {
        factors.resize(sequence.len() * width, 0.0);
        dropout.fill(site, sequence, factors);
        let (now, later) = std::mem::take(&mut x).split_at_mut(factors.len());
        for (x, factor) in now.iter_mut().zip(&*factors) {
            *x *= factor;
        }
        x = later;
    }
}
