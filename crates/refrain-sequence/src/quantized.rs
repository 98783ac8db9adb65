//! Matrices that stay packed in memory, and their products with vectors.
//!
//! A product reads each weight once, so at one token a time its bound is the bytes of the weights: 4 bits
//! instead of 32 are up to seven times as fast. For the packings of 32 values the vector is packed too, in
//! 8 bits and a scale for 32 values, and blocks are multiplied as whole numbers; other packings are
//! unpacked row by row.

use pulp::{Simd, WithSimd};
use rayon::prelude::*;
use refrain_core::kernels;

use crate::gguf::{GgufTensor, Packing};
use crate::{Error, Result};

/// Values of a block that the kernels know.
const BLOCK: usize = 32;
/// Rows of one task.
const ROWS: usize = 16;

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
    bytes: Vec<u8>,
}

/// A vector in 8 bits, block by block.
struct Packed {
    codes: Vec<i8>,
    scales: Vec<f32>,
    /// Of the values of each block, as packed.
    sums: Vec<f32>,
}

impl Packed {
    fn new(x: &[f32]) -> Self {
        let blocks = x.len() / BLOCK;
        let mut codes = vec![0; x.len()];
        let (mut scales, mut sums) = (Vec::with_capacity(blocks), Vec::with_capacity(blocks));
        for (codes, x) in codes.chunks_exact_mut(BLOCK).zip(x.chunks_exact(BLOCK)) {
            let scale = kernels::quantize_i8(x, codes);
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            scales.push(scale);
            sums.push(scale * sum as f32);
        }
        Self {
            codes,
            scales,
            sums,
        }
    }
}

impl QuantizedMatrix {
    /// Takes the packed rows.
    ///
    /// # Errors
    /// [`Error::Config`] when rows are no whole blocks, or the bytes are not as many as that makes.
    pub fn new(packing: Packing, rows: usize, columns: usize, bytes: Vec<u8>) -> Result<Self> {
        let blocks = columns / packing.values();
        let size = blocks
            .checked_mul(packing.bytes())
            .and_then(|row| row.checked_mul(rows));
        if !columns.is_multiple_of(packing.values()) || size != Some(bytes.len()) || columns == 0 {
            return Err(Error::config(
                "the packed matrix",
                format_args!("{rows} × {columns} as {packing:?} in {} bytes", bytes.len()),
                "whole blocks, one row after the other",
            ));
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
            [rows, columns] => Self::new(tensor.packing(), rows, columns, tensor.bytes().to_vec()),
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

    /// Unpacks a row; nothing for one that is not there.
    pub fn row(&self, row: usize, out: &mut [f32]) {
        let size = self.row_bytes();
        let bytes = self.bytes.chunks_exact(size).nth(row);
        self.packing.unpack(bytes.unwrap_or_default(), out);
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
        let whole = matches!(self.packing, Packing::Q8_0 | Packing::Q4_0 | Packing::Q4_1);
        let packed: Vec<Packed> = match whole {
            true => x.chunks_exact(self.columns).map(Packed::new).collect(),
            false => Vec::new(),
        };
        let size = self.row_bytes();
        let block = |rows: &[u8]| -> Vec<f32> {
            // [rows, vectors]
            let mut products = Vec::with_capacity(rows.len() / size * n);
            let mut unpacked = vec![0.0; if whole { 0 } else { self.columns }];
            for row in rows.chunks_exact(size) {
                if whole {
                    let packing = self.packing;
                    let each = |x: &Packed| pulp::Arch::new().dispatch(Dot { packing, row, x });
                    products.extend(packed.iter().map(each));
                } else {
                    self.packing.unpack(row, &mut unpacked);
                    let vectors = x.chunks_exact(self.columns);
                    products.extend(vectors.map(|x| kernels::dot(&unpacked, x)));
                }
            }
            products
        };
        let blocks: Vec<Vec<f32>> = self.bytes.par_chunks(size * ROWS).map(block).collect();
        for (row, products) in blocks
            .iter()
            .flat_map(|b| b.chunks_exact(n.max(1)))
            .enumerate()
        {
            for (out, &product) in out.chunks_exact_mut(self.rows).zip(products) {
                if let Some(out) = out.get_mut(row) {
                    *out = product;
                }
            }
        }
        Ok(())
    }
}

/// A packed row and a packed vector.
struct Dot<'a> {
    packing: Packing,
    row: &'a [u8],
    x: &'a Packed,
}

impl WithSimd for Dot<'_> {
    type Output = f32;

    // Plain loops of a fixed length, which become vector instructions of the dispatched set.
    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let Self { packing, row, x } = self;
        let blocks = row.chunks_exact(packing.bytes());
        let (codes, _) = x.codes.as_chunks::<BLOCK>();
        let known = codes.iter().zip(x.scales.iter().zip(&x.sums));
        let mut sum = 0.0;
        for (block, (codes, (&scale, &total))) in blocks.zip(known) {
            let d = half(block, 0);
            sum += match packing {
                Packing::Q8_0 => {
                    let mut whole = 0i32;
                    for (&q, &code) in block[2..].iter().zip(codes) {
                        whole += i32::from(q as i8) * i32::from(code);
                    }
                    d * scale * whole as f32
                }
                Packing::Q4_0 => d * (scale * nibbles(&block[2..], codes) as f32 - 8.0 * total),
                _ => d * scale * nibbles(&block[4..], codes) as f32 + half(block, 2) * total,
            };
        }
        sum
    }
}

#[inline(always)]
fn nibbles(bytes: &[u8], codes: &[i8; BLOCK]) -> i32 {
    let (low, high) = codes.split_at(BLOCK / 2);
    let mut sum = 0i32;
    for ((&byte, &a), &b) in bytes.iter().zip(low).zip(high) {
        sum += i32::from(byte & 15) * i32::from(a) + i32::from(byte >> 4) * i32::from(b);
    }
    sum
}

#[inline(always)]
fn half(block: &[u8], at: usize) -> f32 {
    half::f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::RngExt;

    use super::*;

    const ALL: [Packing; 8] = [
        Packing::F32,
        Packing::F16,
        Packing::Bf16,
        Packing::Q8_0,
        Packing::Q4_0,
        Packing::Q4_1,
        Packing::Q4K,
        Packing::Q6K,
    ];

    /// Random bytes whose scales are finite.
    fn random(packing: Packing, rows: usize, columns: usize, seed: u64) -> QuantizedMatrix {
        let mut rng = refrain_core::rng::stream(seed, 0);
        let blocks = rows * columns / packing.values();
        let mut bytes = Vec::new();
        for _ in 0..blocks {
            let mut block: Vec<u8> = (0..packing.bytes()).map(|_| rng.random()).collect();
            let mut scale = |at: usize| {
                let value = half::f16::from_f32(rng.random_range(-1.0..1.0));
                block[at..at + 2].copy_from_slice(&value.to_le_bytes());
            };
            match packing {
                Packing::F32 => block = rng.random_range(-1.0f32..1.0).to_le_bytes().to_vec(),
                Packing::Bf16 => {
                    block = half::bf16::from_f32(rng.random_range(-1.0..1.0))
                        .to_le_bytes()
                        .to_vec();
                }
                Packing::Q4_1 | Packing::Q4K => [0, 2].into_iter().for_each(scale),
                Packing::Q6K => scale(208),
                _ => scale(0),
            }
            bytes.extend(block);
        }
        QuantizedMatrix::new(packing, rows, columns, bytes).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn products_are_those_of_unpacked_rows(
            kind in 0usize..8, rows in 1usize..40, wide in 1usize..4, n in 0usize..4, seed in any::<u64>(),
        ) {
            let packing = ALL[kind];
            let columns = wide * packing.values().max(32);
            let matrix = random(packing, rows, columns, seed);
            let mut rng = refrain_core::rng::stream(seed, 1);
            let x: Vec<f32> = (0..n * columns).map(|_| rng.random_range(-1.0..1.0)).collect();
            let mut found = vec![9.0; n * rows];
            matrix.multiply(&x, &mut found).unwrap();
            let mut row = vec![0.0; columns];
            for r in 0..rows {
                matrix.row(r, &mut row);
                for (i, x) in x.chunks_exact(columns).enumerate() {
                    let products = x.iter().zip(&row).map(|(&a, &b)| f64::from(a) * f64::from(b));
                    let (mut sum, mut size) = (0.0, 0.0);
                    products.for_each(|p| { sum += p; size += p.abs(); });
                    // A vector in 8 bits is off by 1/254 of the largest of 32 values.
                    let largest: f64 = row.iter().map(|&v| f64::from(v).abs()).sum::<f64>() / 254.0;
                    let error = (f64::from(found[i * rows + r]) - sum).abs();
                    let most = 1e-5 * size + if packing.values() == 32 { largest } else { 1e-6 };
                    prop_assert!(error <= most, "{packing:?}: {error} {most}");
                }
            }
        }
    }

    #[test]
    fn vectors_that_are_packed_without_loss_have_exact_products() {
        // Whole numbers with 127 among each 32 are their own codes.
        for packing in [Packing::Q8_0, Packing::Q4_0, Packing::Q4_1] {
            let matrix = random(packing, 20, 96, 3);
            let x: Vec<f32> = (0..96i16)
                .map(|i| f32::from(if i % 32 == 5 { 127 } else { i - 40 }))
                .collect();
            let mut found = vec![0.0; 20];
            matrix.multiply(&x, &mut found).unwrap();
            let mut row = vec![0.0; 96];
            for (r, found) in found.iter().enumerate() {
                matrix.row(r, &mut row);
                let products = x
                    .iter()
                    .zip(&row)
                    .map(|(&a, &b)| f64::from(a) * f64::from(b));
                let (sum, size): (f64, f64) =
                    products.fold((0.0, 0.0), |(s, t), p| (s + p, t + p.abs()));
                assert!(
                    (f64::from(*found) - sum).abs() <= 1e-6 * size,
                    "{packing:?} {found} {sum}"
                );
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(QuantizedMatrix::new(Packing::Q8_0, 1, 33, vec![0; 34]).is_err());
        assert!(QuantizedMatrix::new(Packing::Q8_0, 2, 32, vec![0; 34]).is_err());
        assert!(QuantizedMatrix::new(Packing::F32, usize::MAX, 4, vec![0; 16]).is_err());
        assert!(QuantizedMatrix::new(Packing::F32, 1, 0, vec![]).is_err());
        let matrix = random(Packing::Q4_0, 2, 32, 1);
        assert!(matrix.multiply(&[0.0; 31], &mut [0.0; 2]).is_err());
        assert!(matrix.multiply(&[0.0; 32], &mut [0.0; 3]).is_err());
    }
}
