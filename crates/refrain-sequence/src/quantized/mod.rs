//! Matrices that stay packed in memory, and their products with vectors.
//!
//! A product reads each weight once, so at one token a time its bound is the bytes of the weights: 4 bits
//! instead of 32 are up to seven times as fast. For the packings of 32 values the vector is packed too, in
//! 8 bits and a scale for 32 values, and blocks are multiplied as whole numbers, sixteen rows at a time
//! (`kernels.rs`); other packings are unpacked row by row.

mod activations;
mod kernels;
mod panels;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::gguf::{GgufTensor, Packing};
use crate::{Error, Result};
pub(crate) use activations::Activations;
use kernels::{Kernel, ROWS, Sums};

/// Vectors that are multiplied at once.
const TILE: usize = 8;
/// From so many vectors on, threads share vectors instead of rows.
const MANY: usize = 8;

/// A packed matrix, `[rows, columns]`.
///
/// ```
/// use refrain_sequence::gguf::Packing;
/// use refrain_sequence::QuantizedMatrix;
/// let ones = QuantizedMatrix::new(Packing::F32, 2, 1, [1.0f32, -2.0].map(f32::to_le_bytes).concat())?;
/// let mut out = [0.0; 2];
/// ones.multiply(&[3.0], &mut out)?;
/// assert_eq!(out, [3.0, -6.0]);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QuantizedMatrix {
    packing: Packing,
    rows: usize,
    columns: usize,
    /// Rows, or panels of sixteen where there are kernels; padded with rows of zeros to whole panels.
    bytes: Vec<u8>,
}

impl QuantizedMatrix {
    /// Takes the packed rows.
    ///
    /// # Errors
    /// [`Error::Config`] when rows are no whole blocks, or the bytes are not as many as that makes.
    pub fn new(packing: Packing, rows: usize, columns: usize, mut bytes: Vec<u8>) -> Result<Self> {
        let blocks = columns / packing.values();
        let row = blocks.checked_mul(packing.bytes());
        let size = row.and_then(|row| row.checked_mul(rows));
        let Some(row) = row.filter(|_| {
            columns.is_multiple_of(packing.values())
                && size == Some(bytes.len())
                && !bytes.is_empty()
        }) else {
            return Err(Error::config(
                "the packed matrix",
                format_args!("{rows} × {columns} as {packing:?} in {} bytes", bytes.len()),
                "whole blocks, one row after the other",
            ));
        };
        if has_kernels(packing) {
            bytes.resize(rows.next_multiple_of(ROWS) * row, 0);
            panels::interleave(packing, row, &mut bytes);
        }
        Ok(Self {
            packing,
            rows,
            columns,
            bytes,
        })
    }

    /// A tensor of two dimensions, packed as it is in its file.
    ///
    /// # Errors
    /// [`Error::Config`] for another number of dimensions.
    pub fn from_gguf(tensor: GgufTensor<'_>) -> Result<Self> {
        match *tensor.shape() {
            [rows, columns] => Self::new(tensor.packing(), rows, columns, tensor.into_bytes()),
            _ => Err(Error::config(
                "the tensor",
                format_args!("{:?}", tensor.shape()),
                "of two dimensions",
            )),
        }
    }

    /// How many rows there are: values of a product.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns there are: values of a vector that is multiplied.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// How the values are packed.
    pub fn packing(&self) -> Packing {
        self.packing
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn row_bytes(&self) -> usize {
        self.columns / self.packing.values() * self.packing.bytes()
    }

    fn panels(&self) -> usize {
        self.rows.div_ceil(ROWS)
    }

    fn panel(&self, index: usize) -> &[u8] {
        let size = self.row_bytes() * ROWS;
        &self.bytes[index * size..self.bytes.len().min((index + 1) * size)]
    }

    /// Unpacks a row; nothing for one that is not there.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        if row >= self.rows {
            return;
        }
        let (panel, row) = (self.panel(row / ROWS), row % ROWS);
        if has_kernels(self.packing) {
            let bytes = panels::row(self.packing, panel, row);
            self.packing.unpack(&bytes, out);
        } else {
            self.packing.unpack(&panel[row * self.row_bytes()..], out);
        }
    }

    /// The products of all rows with one or more vectors that lie end to end: `out[i][r] = row r · xᵢ`,
    /// `[vectors, rows]`, on all cores.
    ///
    /// # Errors
    /// [`Error::Config`] unless `x` is whole vectors and `out` has a value for each row and vector.
    pub fn multiply(&self, x: &[f32], out: &mut [f32]) -> Result<()> {
        let n = x.len() / self.columns;
        if n * self.columns != x.len() || out.len() != n * self.rows {
            return Err(Error::config(
                "the product",
                format_args!("of {} values into {}", x.len(), out.len()),
                "whole vectors, and a value for each row and vector",
            ));
        }
        multiply_all(&Activations::new(x, self.columns), &mut [(self, out)]);
        Ok(())
    }

    /// The products of a panel with vectors `from..from + N`.
    fn products<const N: usize>(
        &self,
        kernel: Kernel,
        panel: usize,
        x: &Activations<'_>,
        from: usize,
    ) -> [Sums; N] {
        let bytes = self.panel(panel);
        if !has_kernels(self.packing) {
            return self.unpacked(bytes, x, from);
        }
        let x = std::array::from_fn(|i| x.vector(from + i));
        match self.packing {
            Packing::Q8_0 => kernel.products::<8, false, N>(bytes, x),
            Packing::Q4_0 => kernel.products::<4, false, N>(bytes, x),
            _ => kernel.products::<4, true, N>(bytes, x),
        }
    }

    fn unpacked<const N: usize>(
        &self,
        panel: &[u8],
        x: &Activations<'_>,
        from: usize,
    ) -> [Sums; N] {
        let mut sums = [[0.0; ROWS]; N];
        let mut row = vec![0.0; self.columns];
        for (r, bytes) in panel.chunks_exact(self.row_bytes()).enumerate() {
            self.packing.unpack(bytes, &mut row);
            let vectors = x.x.chunks_exact(self.columns).skip(from);
            for (sums, x) in sums.iter_mut().zip(vectors) {
                sums[r] = refrain_core::kernels::dot(&row, x);
            }
        }
        sums
    }

    /// Hands on the products of panels with the vectors `from..to`: panel, vector, sums.
    fn each(
        &self,
        kernel: Kernel,
        panels: std::ops::Range<usize>,
        x: &Activations<'_>,
        (from, to): (usize, usize),
        mut done: impl FnMut(usize, usize, &Sums),
    ) {
        for panel in panels {
            let mut at = from;
            while at + TILE <= to {
                let sums = self.products::<TILE>(kernel, panel, x, at);
                sums.iter().zip(at..).for_each(|(s, i)| done(panel, i, s));
                at += TILE;
            }
            for i in at..to {
                let [sums] = self.products::<1>(kernel, panel, x, i);
                done(panel, i, &sums);
            }
        }
    }
}

/// Whether there are kernels that multiply whole numbers.
fn has_kernels(packing: Packing) -> bool {
    matches!(packing, Packing::Q8_0 | Packing::Q4_0 | Packing::Q4_1)
}

/// The products of the same vectors with several matrices, `[vectors, rows]` each, shared by all threads.
pub(crate) fn multiply_all(x: &Activations<'_>, products: &mut [(&QuantizedMatrix, &mut [f32])]) {
    let (n, threads) = (x.len(), rayon::current_num_threads());
    let kernel = Kernel::best();
    if threads > 1 && n < MANY {
        return share_rows(kernel, x, products, threads);
    }
    let share = n.div_ceil(threads).next_multiple_of(TILE);
    for (matrix, out) in products {
        let rows = matrix.rows;
        let part = |(i, out): (usize, &mut [f32])| {
            let from = i * share;
            let to = from + out.len() / rows;
            matrix.each(
                kernel,
                0..matrix.panels(),
                x,
                (from, to),
                |panel, i, sums| {
                    let out = &mut out[(i - from) * rows..(i - from + 1) * rows];
                    let out = &mut out[panel * ROWS..];
                    let kept = out.len().min(ROWS);
                    out[..kept].copy_from_slice(&sums[..kept]);
                },
            );
        };
        match threads > 1 {
            true => out.par_chunks_mut(share * rows).enumerate().for_each(part),
            false => part((0, out)),
        }
    }
}

/// Few vectors: each thread takes some panels of all matrices.
fn share_rows(
    kernel: Kernel,
    x: &Activations<'_>,
    products: &mut [(&QuantizedMatrix, &mut [f32])],
    threads: usize,
) {
    let all: usize = products.iter().map(|(matrix, _)| matrix.panels()).sum();
    let share = all.div_ceil(2 * threads).max(1);
    let mut tasks = Vec::new();
    for (index, (matrix, _)) in products.iter().enumerate() {
        let panels = matrix.panels();
        tasks.extend((0..panels).step_by(share).map(|first| {
            let range = first..(first + share).min(panels);
            (index, *matrix, range)
        }));
    }
    // Sums of one panel after the other, a vector after the other.
    let done: Vec<Vec<Sums>> = tasks
        .par_iter()
        .with_max_len(1)
        .map(|(_, matrix, panels)| {
            let mut made = Vec::with_capacity(panels.len() * x.len());
            matrix.each(kernel, panels.clone(), x, (0, x.len()), |_, _, sums| {
                made.push(*sums);
            });
            made
        })
        .collect();
    for ((index, matrix, panels), made) in tasks.iter().zip(&done) {
        let Some((_, out)) = products.get_mut(*index) else {
            continue;
        };
        for (panel, sums) in panels.clone().zip(made.chunks_exact(x.len().max(1))) {
            for (out, sums) in out.chunks_exact_mut(matrix.rows).zip(sums) {
                let out = &mut out[panel * ROWS..];
                let kept = out.len().min(ROWS);
                out[..kept].copy_from_slice(&sums[..kept]);
            }
        }
    }
}
