//! The products of sixteen packed rows with a few packed vectors.
//!
//! Sixteen rows stand side by side in a *panel*, so that a register holds four neighbouring values of
//! each and nothing is summed across a register:
//!
//! ```text
//! of each 32 columns: 16 × d, 16 × m (Q4_1), then bytes [group][row][4]
//! group g of Q8_0: columns 4g .. 4g + 4; of 4 bits: those, and 4g + 16 .. in the upper halves
//! ```
//!
//! Bytes are multiplied as unsigned with the vector's signed ones, which is what processors have an
//! instruction for; what that adds, 8 or 128 times the sum of the vector's codes, is taken off first.

use super::activations::Block;

/// Rows of a panel.
pub(super) const ROWS: usize = 16;

/// Products of a panel's rows with one vector.
pub(super) type Sums = [f32; ROWS];

/// Bytes of a panel for 32 columns.
const fn block_bytes<const BITS: usize, const LEAST: bool>() -> usize {
    ROWS * (2 + if LEAST { 2 } else { 0 } + BITS * 4)
}

/// The kernels that this processor may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kernel {
    /// AVX-512 with products of bytes (VNNI).
    Vnni,
    Avx2,
    /// Any processor: the reference of the others.
    Portable,
}

impl Kernel {
    /// The fastest.
    pub(super) fn best() -> Self {
        *Self::all().first().unwrap_or(&Self::Portable)
    }

    /// All, the fastest first.
    pub(super) fn all() -> &'static [Self] {
        #[cfg(target_arch = "x86_64")]
        {
            let vnni = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vnni");
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                return match vnni {
                    true => &[Self::Vnni, Self::Avx2, Self::Portable],
                    false => &[Self::Avx2, Self::Portable],
                };
            }
        }
        &[Self::Portable]
    }

    /// The products of a panel with `N` vectors. `BITS` a value; `LEAST` when blocks have a least value.
    pub(super) fn products<const BITS: usize, const LEAST: bool, const N: usize>(
        self,
        panel: &[u8],
        x: [&[Block]; N],
    ) -> [Sums; N] {
        match self {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `all`, the only place that makes these, saw that the processor has the features.
            Self::Vnni => unsafe { x86::vnni::<BITS, LEAST, N>(panel, x) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Self::Avx2 => unsafe { x86::avx2::<BITS, LEAST, N>(panel, x) },
            _ => portable::<BITS, LEAST, N>(panel, x),
        }
    }
}

/// What unsigned bytes are too large by.
const fn excess<const BITS: usize, const LEAST: bool>() -> i32 {
    match (BITS, LEAST) {
        (8, _) => 128,
        (_, false) => 8,
        (_, true) => 0,
    }
}

/// The scales (and least values) of 16 rows, and their bytes.
#[inline(always)]
fn parts<const LEAST: bool>(block: &[u8]) -> (&[u8], &[u8], &[u8]) {
    let (scales, rest) = block.split_at(2 * ROWS);
    let (least, codes) = rest.split_at(if LEAST { 2 * ROWS } else { 0 });
    (scales, least, codes)
}

#[inline(always)]
fn half(bytes: &[u8], row: usize) -> f32 {
    half::f16::from_le_bytes([bytes[2 * row], bytes[2 * row + 1]]).to_f32()
}

fn portable<const BITS: usize, const LEAST: bool, const N: usize>(
    panel: &[u8],
    x: [&[Block]; N],
) -> [Sums; N] {
    let mut sums = [[0.0; ROWS]; N];
    for (b, block) in panel.chunks_exact(block_bytes::<BITS, LEAST>()).enumerate() {
        let (scales, least, codes) = parts::<LEAST>(block);
        for (x, sums) in x.iter().zip(&mut sums) {
            let Some(x) = x.get(b) else { continue };
            let mut whole = [-excess::<BITS, LEAST>() * x.sum; ROWS];
            for (g, codes) in codes.chunks_exact(4 * ROWS).enumerate() {
                for (whole, codes) in whole.iter_mut().zip(codes.as_chunks::<4>().0) {
                    if BITS == 8 {
                        *whole += dot4(codes.map(|c| c ^ 128), x.codes[g]);
                    } else {
                        *whole += dot4(codes.map(|c| c & 15), x.codes[g]);
                        *whole += dot4(codes.map(|c| c >> 4), x.codes[g + 4]);
                    }
                }
            }
            for (row, (sum, &whole)) in sums.iter_mut().zip(&whole).enumerate() {
                *sum += half(scales, row) * x.scale * whole as f32;
                if LEAST {
                    *sum += half(least, row) * x.total;
                }
            }
        }
    }
    sums
}

/// Four unsigned bytes with four signed ones that stand in an integer.
#[inline(always)]
fn dot4(a: [u8; 4], b: i32) -> i32 {
    let products = a.iter().zip(b.to_le_bytes());
    products
        .map(|(&a, b)| i32::from(a) * i32::from(b as i8))
        .sum()
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Block, ROWS, Sums, block_bytes, excess, parts};

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load64(bytes: &[u8], at: usize) -> __m512i {
        let bytes = &bytes[64 * at..64 * at + 64];
        // SAFETY: 64 bytes are read, of a slice of 64; no alignment is asked for.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx")]
    fn load32(bytes: &[u8], at: usize) -> __m256i {
        let bytes = &bytes[32 * at..32 * at + 32];
        // SAFETY: 32 bytes are read, of a slice of 32; no alignment is asked for.
        unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
    }

    #[target_feature(enable = "avx2,fma,f16c,avx512f,avx512bw,avx512vnni")]
    pub(super) fn vnni<const BITS: usize, const LEAST: bool, const N: usize>(
        panel: &[u8],
        x: [&[Block]; N],
    ) -> [Sums; N] {
        let size = block_bytes::<BITS, LEAST>();
        let x = x.map(|x| &x[..panel.len() / size]);
        let mut sums = [_mm512_setzero_ps(); N];
        for (b, block) in panel.chunks_exact(size).enumerate() {
            let (scales, least, codes) = parts::<LEAST>(block);
            let d = _mm512_cvtph_ps(load32(scales, 0));
            let mut w = [_mm512_setzero_si512(); 8];
            if BITS == 8 {
                for (g, w) in w.iter_mut().enumerate() {
                    *w = _mm512_xor_si512(load64(codes, g), _mm512_set1_epi8(-128));
                }
            } else {
                let low = _mm512_set1_epi8(15);
                for g in 0..4 {
                    let both = load64(codes, g);
                    w[g] = _mm512_and_si512(both, low);
                    w[g + 4] = _mm512_and_si512(_mm512_srli_epi16::<4>(both), low);
                }
            }
            for (x, sums) in x.iter().zip(&mut sums) {
                let x = &x[b];
                let mut a = _mm512_set1_epi32(-excess::<BITS, LEAST>() * x.sum);
                let mut c = _mm512_setzero_si512();
                for g in 0..4 {
                    a = _mm512_dpbusd_epi32(a, w[g], _mm512_set1_epi32(x.codes[g]));
                    c = _mm512_dpbusd_epi32(c, w[g + 4], _mm512_set1_epi32(x.codes[g + 4]));
                }
                let whole = _mm512_cvtepi32_ps(_mm512_add_epi32(a, c));
                let scale = _mm512_mul_ps(d, _mm512_set1_ps(x.scale));
                *sums = _mm512_fmadd_ps(whole, scale, *sums);
                if LEAST {
                    let m = _mm512_cvtph_ps(load32(least, 0));
                    *sums = _mm512_fmadd_ps(m, _mm512_set1_ps(x.total), *sums);
                }
            }
        }
        sums.map(|sums| {
            let mut out = [0.0; ROWS];
            // SAFETY: 16 floats are written to as many.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums) };
            out
        })
    }

    #[target_feature(enable = "avx2,fma,f16c")]
    pub(super) fn avx2<const BITS: usize, const LEAST: bool, const N: usize>(
        panel: &[u8],
        x: [&[Block]; N],
    ) -> [Sums; N] {
        let size = block_bytes::<BITS, LEAST>();
        let x = x.map(|x| &x[..panel.len() / size]);
        let mut sums = [[_mm256_setzero_ps(); 2]; N];
        let (ones, low) = (_mm256_set1_epi16(1), _mm256_set1_epi8(15));
        for (b, block) in panel.chunks_exact(size).enumerate() {
            let (scales, least, codes) = parts::<LEAST>(block);
            for side in 0..2 {
                let floats = |bytes: &[u8]| {
                    let half = load32(bytes, 0);
                    _mm256_cvtph_ps(match side {
                        0 => _mm256_castsi256_si128(half),
                        _ => _mm256_extracti128_si256::<1>(half),
                    })
                };
                let d = floats(scales);
                let mut w = [_mm256_setzero_si256(); 8];
                for g in 0..BITS {
                    let bytes = load32(codes, 2 * g + side);
                    if BITS == 8 {
                        w[g] = bytes;
                    } else {
                        w[g] = _mm256_and_si256(bytes, low);
                        w[g + 4] = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), low);
                    }
                }
                for (x, sums) in x.iter().zip(&mut sums) {
                    let x = &x[b];
                    let mut whole = _mm256_setzero_si256();
                    if BITS == 8 {
                        // A product's sign goes to the vector, for the other side must be unsigned.
                        for (w, &x) in w.iter().zip(&x.codes) {
                            let x = _mm256_sign_epi8(_mm256_set1_epi32(x), *w);
                            let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(*w), x);
                            whole = _mm256_add_epi32(whole, _mm256_madd_epi16(pairs, ones));
                        }
                    } else {
                        // Eight sums of two products up to 15 · 127 fit 16 bits.
                        let mut pairs = _mm256_setzero_si256();
                        for (w, &x) in w.iter().zip(&x.codes) {
                            let products = _mm256_maddubs_epi16(*w, _mm256_set1_epi32(x));
                            pairs = _mm256_add_epi16(pairs, products);
                        }
                        let excess = _mm256_set1_epi32(-excess::<BITS, LEAST>() * x.sum);
                        whole = _mm256_add_epi32(_mm256_madd_epi16(pairs, ones), excess);
                    }
                    let scale = _mm256_mul_ps(d, _mm256_set1_ps(x.scale));
                    let sum = &mut sums[side];
                    *sum = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, *sum);
                    if LEAST {
                        let total = _mm256_set1_ps(x.total);
                        *sum = _mm256_fmadd_ps(floats(least), total, *sum);
                    }
                }
            }
        }
        sums.map(|[first, second]| {
            let mut out = [0.0; ROWS];
            // SAFETY: 8 floats are written to each half of 16.
            unsafe {
                _mm256_storeu_ps(out.as_mut_ptr(), first);
                _mm256_storeu_ps(out[8..].as_mut_ptr(), second);
            }
            out
        })
    }
}
