//! How GGUF packs numbers: blocks of 32 or 256 values that share a scale.
//!
//! ```text
//! Q8_0   d, 32 × i8                          x = d·q
//! Q4_0   d, 32 × 4 bits                      x = d·(q − 8)
//! Q4_1   d, m, 32 × 4 bits                   x = d·q + m
//! Q4_K   d, e, 8 × (6 + 6 bits), 256 × 4     x = d·s·q − e·t, s and t of each 32
//! Q6_K   256 × 6 bits, 16 × i8, d            x = d·s·(q − 32), s of each 16
//! ```
//!
//! `d`, `e` and `m` are 16-bit floats, all numbers little-endian. Of 32 values in 4 bits the first 16 are
//! the low halves of the bytes.

use half::{bf16, f16};

/// How the values of a tensor are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Packing {
    /// 32-bit floats.
    F32,
    /// 16-bit floats.
    F16,
    /// The upper halves of 32-bit floats.
    Bf16,
    /// 8 bits and a scale for 32 values: 8.5 bits a value.
    Q8_0,
    /// 4 bits and a scale for 32 values: 4.5 bits a value.
    Q4_0,
    /// 4 bits, a scale and a least value for 32 values: 5 bits a value.
    Q4_1,
    /// 4 bits, and scales of scales for 256 values: 4.5 bits a value.
    Q4K,
    /// 6 bits, and scales of scales for 256 values: 6.5625 bits a value.
    Q6K,
}

impl Packing {
    /// By its number in files.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::F32,
            1 => Self::F16,
            2 => Self::Q4_0,
            3 => Self::Q4_1,
            8 => Self::Q8_0,
            12 => Self::Q4K,
            14 => Self::Q6K,
            30 => Self::Bf16,
            _ => return None,
        })
    }

    /// How many values a block has.
    pub fn values(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 | Self::Q4_1 => 32,
            Self::Q4K | Self::Q6K => 256,
        }
    }

    /// How many bytes a block has.
    pub fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
            Self::Q4_1 => 20,
            Self::Q4K => 144,
            Self::Q6K => 210,
        }
    }

    /// Unpacks whole blocks; as many as both sides have.
    pub fn unpack(self, bytes: &[u8], out: &mut [f32]) {
        let blocks = bytes
            .chunks_exact(self.bytes())
            .zip(out.chunks_exact_mut(self.values()));
        for (block, out) in blocks {
            match self {
                Self::F32 => out[0] = f32::from_le_bytes([block[0], block[1], block[2], block[3]]),
                Self::F16 => out[0] = half(block, 0),
                Self::Bf16 => out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32(),
                Self::Q8_0 => {
                    let d = half(block, 0);
                    for (out, &q) in out.iter_mut().zip(&block[2..]) {
                        *out = d * f32::from(q as i8);
                    }
                }
                Self::Q4_0 => {
                    let d = half(block, 0);
                    nibbles(&block[2..], out, |q| d * (f32::from(q) - 8.0));
                }
                Self::Q4_1 => {
                    let (d, m) = (half(block, 0), half(block, 2));
                    nibbles(&block[4..], out, |q| d * f32::from(q) + m);
                }
                Self::Q4K => q4_k(block, out),
                Self::Q6K => q6_k(block, out),
            }
        }
    }
}

fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// The low halves of bytes, and then the high ones.
fn nibbles(bytes: &[u8], out: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = out.split_at_mut(bytes.len());
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

fn q4_k(block: &[u8], out: &mut [f32]) {
    let (d, e) = (half(block, 0), half(block, 2));
    let (scales, quants) = (&block[4..16], &block[16..]);
    // Six bits each: the first four of both kinds whole, the others in two places.
    let pair = |j: usize| match j {
        0..4 => (scales[j] & 63, scales[j + 4] & 63),
        _ => (
            (scales[j + 4] & 15) | (scales[j - 4] >> 6 << 4),
            (scales[j + 4] >> 4) | (scales[j] >> 6 << 4),
        ),
    };
    for (at, (out, quants)) in out
        .chunks_exact_mut(64)
        .zip(quants.chunks_exact(32))
        .enumerate()
    {
        let (low, high) = out.split_at_mut(32);
        for (half, (out, shift)) in [(low, 0), (high, 4)].into_iter().enumerate() {
            let (s, t) = pair(2 * at + half);
            let (scale, least) = (d * f32::from(s), e * f32::from(t));
            for (out, &q) in out.iter_mut().zip(quants) {
                *out = scale * f32::from(q >> shift & 15) - least;
            }
        }
    }
}

fn q6_k(block: &[u8], out: &mut [f32]) {
    let (low, rest) = block.split_at(128);
    let (high, rest) = rest.split_at(64);
    let d = half(rest, 16);
    for (part, out) in out.chunks_exact_mut(128).enumerate() {
        let (low, high) = (&low[64 * part..], &high[32 * part..]);
        let scales = &rest[8 * part..];
        for (at, out) in out.iter_mut().enumerate() {
            // Of each 128 values: 32 by low bits and 32 more, then the same bytes' high bits.
            let (quarter, l) = (at / 32, at % 32);
            let four = low[l + 32 * (quarter % 2)] >> (4 * (quarter / 2)) & 15;
            let two = high[l] >> (2 * quarter) & 3;
            let q = i16::from(four | two << 4) - 32;
            let scale = scales[l / 16 + 2 * quarter] as i8;
            *out = d * f32::from(scale) * f32::from(q);
        }
    }
}
