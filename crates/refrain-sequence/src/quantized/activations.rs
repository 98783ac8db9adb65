//! Vectors in 8 bits, block by block.
//!
//! As in llama.cpp, scales (and a block's sum, where it meets a least value) are rounded to 16-bit floats, so
//! that the likeliest tokens are the same; that is a tenth of what 8 bits are off by.

use crate::kernels;

/// Values that share a scale.
pub(super) const BLOCK: usize = 32;

/// 32 values of a vector.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Block {
    /// Four codes in each, from -127 to 127.
    pub(super) codes: [i32; BLOCK / 4],
    pub(super) scale: f32,
    /// Of the codes.
    pub(super) sum: i32,
    /// Of the values.
    pub(super) total: f32,
}

/// Vectors end to end, as they are and in 8 bits: made once, multiplied with several matrices.
#[derive(Debug, Default)]
pub(crate) struct Activations<'a> {
    pub(super) x: &'a [f32],
    pub(super) columns: usize,
    /// Of one vector after the other; none where vectors are no whole blocks.
    blocks: Vec<Block>,
}

impl<'a> Activations<'a> {
    /// The whole vectors of `x`.
    pub(crate) fn new(x: &'a [f32], columns: usize) -> Self {
        let mut blocks = Vec::new();
        if columns.is_multiple_of(BLOCK) {
            blocks.resize(x.len() / BLOCK, Block::default());
            kernels::run(pack, (x, &mut blocks));
        }
        Self { x, columns, blocks }
    }

    /// How many vectors there are.
    pub(super) fn len(&self) -> usize {
        self.x.len().checked_div(self.columns).unwrap_or(0)
    }

    /// The blocks of a vector.
    pub(super) fn vector(&self, index: usize) -> &[Block] {
        let size = self.columns / BLOCK;
        &self.blocks[index * size..(index + 1) * size]
    }
}

/// Adding it rounds to the nearest integer, which then stands in the low bits.
const ROUND: f32 = 12_582_912.0;
const FINITE: u32 = 0x7f80_0000;

#[inline(always)]
fn pack((x, blocks): (&[f32], &mut Vec<Block>)) {
    for (x, block) in x.as_chunks::<BLOCK>().0.iter().zip(blocks) {
        let mut most = 0;
        for v in x {
            let bits = v.to_bits() & !(1 << 31);
            most = if bits > most { bits } else { most };
        }
        if most < FINITE {
            *block = pack_finite(x, f32::from_bits(most));
        } else {
            // What is not finite counts as nothing.
            let x = x.map(|v| if v.is_finite() { v } else { 0.0 });
            let most = x.iter().fold(0.0f32, |most, v| most.max(v.abs()));
            *block = pack_finite(&x, most);
        }
    }
}

#[inline(always)]
fn pack_finite(x: &[f32; BLOCK], most: f32) -> Block {
    let scale = most / 127.0;
    if scale < f32::MIN_POSITIVE {
        return Block::default();
    }
    let inverse = 127.0 / most;
    let mut codes = [0i8; BLOCK];
    let mut sum = 0;
    for (code, &v) in codes.iter_mut().zip(x) {
        let whole = (v * inverse + ROUND).to_bits() as i8;
        *code = whole;
        sum += i32::from(whole);
    }
    let mut block = Block {
        scale: rounded(scale),
        sum,
        total: rounded(scale * sum as f32),
        ..Block::default()
    };
    for (four, codes) in block.codes.iter_mut().zip(codes.as_chunks::<4>().0) {
        *four = i32::from_le_bytes(codes.map(|code| code as u8));
    }
    block
}

/// To a 16-bit float, if it is not too large for one.
fn rounded(x: f32) -> f32 {
    let near = half::f16::from_f32(x).to_f32();
    if near.is_finite() { near } else { x }
}
