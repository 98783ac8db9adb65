//! The two inner loops: sums that never leave the registers while they grow.

use pulp::{Simd, WithSimd};

use super::Convolution;
use super::layout::Layout;
use crate::kernels::dispatch;

/// Registers of positions in one tile.
const WIDE: usize = 3;

/// Rows of results in one tile: with `WIDE` registers each, what 32 and 16 registers hold.
const HIGH: usize = 8;
const LOW: usize = 4;

/// Weights as the inner loop reads them: for each tile of rows, for each channel it sums over, for
/// each place of the window, one weight a row.
pub(super) struct Filters {
    weights: Vec<f32>,
    /// Rows of each tile.
    tiles: Vec<usize>,
    rows: usize,
    /// Channels to sum over, and how far apart they are.
    channels: usize,
    pitch: usize,
    plane: usize,
    /// Where each place of the window reads, from the place of the result on.
    offsets: Vec<isize>,
    positions: usize,
}

impl Filters {
    /// From images to maps.
    pub(super) fn forward(c: &Convolution, layout: &Layout, weights: &[f32]) -> Self {
        let window = c.kernel * c.kernel;
        let places = layout.places.iter();
        let offsets = places.map(|&(phase, on)| (phase * layout.plane + on) as isize);
        let weight = |row: usize, channel: usize, place: usize| {
            weights[(row * c.channels + channel) * window + place]
        };
        let pitch = layout.phases() * layout.plane;
        Self::new(
            layout,
            c.filters,
            (c.channels, pitch),
            (layout.plane, offsets.collect()),
            weight,
        )
    }

    /// From maps to one part of the images.
    pub(super) fn transposed(
        c: &Convolution,
        layout: &Layout,
        phase: usize,
        weights: &[f32],
    ) -> Self {
        let window = c.kernel * c.kernel;
        let places = layout.places.iter().enumerate();
        let own: Vec<_> = places.filter(|(_, place)| place.0 == phase).collect();
        let offsets = own.iter().map(|(_, place)| -(place.1 as isize));
        let weight = |row: usize, channel: usize, place: usize| {
            weights[(channel * c.channels + row) * window + own[place].0]
        };
        let pitch = layout.phases() * layout.plane;
        Self::new(
            layout,
            c.channels,
            (c.filters, layout.plane),
            (pitch, offsets.collect()),
            weight,
        )
    }

    fn new(
        layout: &Layout,
        rows: usize,
        (channels, pitch): (usize, usize),
        (plane, offsets): (usize, Vec<isize>),
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Self {
        let tallest = if dispatch(Registers) < 32 { LOW } else { HIGH };
        let (mut tiles, mut packed, mut first) = (Vec::new(), Vec::new(), 0);
        while first < rows {
            let tile = if rows - first > LOW { tallest } else { LOW };
            for channel in 0..channels {
                for place in 0..offsets.len() {
                    let row = |m| match first + m < rows {
                        true => weight(first + m, channel, place),
                        false => 0.0,
                    };
                    packed.extend((0..tile).map(row));
                }
            }
            tiles.push(tile);
            first += tile;
        }
        Self {
            weights: packed,
            tiles,
            rows,
            channels,
            pitch,
            plane,
            offsets,
            positions: layout.positions,
        }
    }

    /// The results' rows, `plane` apart from `to` on, of the channels, `pitch` apart from `from` on.
    pub(super) fn products(&self, source: &[f32], from: usize, out: &mut [f32], to: usize) {
        dispatch(Products {
            filters: self,
            source,
            from,
            out,
            to,
        });
    }
}

struct Registers;

impl WithSimd for Registers {
    type Output = usize;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> usize {
        S::REGISTER_COUNT
    }
}

struct Products<'a> {
    filters: &'a Filters,
    source: &'a [f32],
    from: usize,
    out: &'a mut [f32],
    to: usize,
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let width = WIDE * S::F32_LANES;
        for position in (0..self.filters.positions).step_by(width) {
            let (mut first, mut weights) = (0, self.filters.weights.as_slice());
            for &tile in &self.filters.tiles {
                let len = tile * self.filters.channels * self.filters.offsets.len();
                let (own, rest) = weights.split_at(len);
                match tile {
                    HIGH => self.high(simd, own, first, position),
                    _ => self.low(simd, own, first, position),
                }
                (first, weights) = (first + tile, rest);
            }
        }
    }
}

/// A tile of one local variable a row: an array of so many would not stay in the registers.
macro_rules! tile {
    ($name:ident, $rows:expr, $($sum:ident $row:literal),+) => {
        #[inline(always)]
        fn $name<S: Simd>(&mut self, simd: S, weights: &[f32], first: usize, position: usize) {
            let Filters { rows, channels, pitch, plane, ref offsets, .. } = *self.filters;
            let width = WIDE * S::F32_LANES;
            let zero = [simd.splat_f32s(0.0); WIDE];
            $(let mut $sum = zero;)+
            let mut weights = pulp::as_arrays::<{ $rows }, _>(weights).0.iter();
            let mut channel = self.from + position;
            for _ in 0..channels {
                for (&offset, weights) in offsets.iter().zip(&mut weights) {
                    let at = channel.wrapping_add_signed(offset);
                    let (values, _) = S::as_simd_f32s(&self.source[at..at + width]);
                    let Some(&values) = values.first_chunk::<WIDE>() else {
                        return; // `width` values are WIDE registers
                    };
                    $($sum = multiply_add(simd, weights[$row], values, $sum);)+
                }
                channel += pitch;
            }
            // The surplus of the last tile is dropped.
            for (row, sums) in (first..rows).zip([$($sum),+]) {
                let at = self.to + row * plane + position;
                let (out, _) = S::as_mut_simd_f32s(&mut self.out[at..at + width]);
                out.copy_from_slice(&sums);
            }
        }
    };
}

impl Products<'_> {
    tile!(high, HIGH, a 0, b 1, c 2, d 3, e 4, f 5, g 6, h 7);
    tile!(low, LOW, a 0, b 1, c 2, d 3);
}

#[inline(always)]
fn multiply_add<S: Simd>(
    simd: S,
    weight: f32,
    values: [S::f32s; WIDE],
    sums: [S::f32s; WIDE],
) -> [S::f32s; WIDE] {
    let weight = simd.splat_f32s(weight);
    [
        simd.mul_add_e_f32s(weight, values[0], sums[0]),
        simd.mul_add_e_f32s(weight, values[1], sums[1]),
        simd.mul_add_e_f32s(weight, values[2], sums[2]),
    ]
}

/// Rows of maps in one tile of the weights' gradient.
const MAPS: usize = 4;

/// Adds `Σ over positions of map[f][p] · image[c][p + offset[t]]` to `sums[f][c][t]`.
pub(super) fn weight_gradient(layout: &Layout, images: &[f32], maps: &[f32], sums: &mut [f32]) {
    dispatch(WeightGradient {
        layout,
        images,
        maps,
        sums,
    });
}

struct WeightGradient<'a> {
    layout: &'a Layout,
    images: &'a [f32],
    maps: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self {
            layout,
            images,
            maps,
            sums,
        } = self;
        let pitch = layout.phases() * layout.plane;
        let length = layout.positions.next_multiple_of(S::F32_LANES);
        let mut columns = Vec::new();
        for channel in 0..images.len() / pitch {
            for &(phase, on) in &layout.places {
                columns.push(channel * pitch + phase * layout.plane + on);
            }
        }
        let map = |number: usize| {
            let number = number.min(maps.len() / layout.plane - 1);
            S::as_simd_f32s(&maps[number * layout.plane + layout.lead..][..length]).0
        };
        let image = |start: usize| S::as_simd_f32s(&images[start..][..length]).0;
        let tile = if S::REGISTER_COUNT < 32 { 2 } else { 6 };
        for (first, sums) in sums.chunks_mut(MAPS * columns.len()).enumerate() {
            let first = first * MAPS;
            let maps = [map(first), map(first + 1), map(first + 2), map(first + 3)];
            for (number, starts) in columns.chunks(tile).enumerate() {
                let of = |n: usize| image(starts[n.min(starts.len() - 1)]);
                let mut products = [[0.0; MAPS]; 6];
                if tile == 2 {
                    narrow(simd, maps, [of(0), of(1)], &mut products);
                } else {
                    let images = [of(0), of(1), of(2), of(3), of(4), of(5)];
                    wide(simd, maps, images, &mut products);
                }
                for (m, row) in sums.chunks_exact_mut(columns.len()).enumerate() {
                    let row = &mut row[number * tile..][..starts.len()];
                    for (sum, products) in row.iter_mut().zip(&products) {
                        *sum += products[m];
                    }
                }
            }
        }
    }
}

/// The inner products of four rows of maps with some rows of images.
macro_rules! inner_products {
    ($name:ident, $columns:literal, $($sum:ident $column:literal),+) => {
        #[inline(always)]
        fn $name<S: Simd>(
            simd: S,
            maps: [&[S::f32s]; MAPS],
            images: [&[S::f32s]; $columns],
            products: &mut [[f32; MAPS]; 6],
        ) {
            let zero = [simd.splat_f32s(0.0); MAPS];
            $(let mut $sum = zero;)+
            let rows = maps[0].iter().zip(maps[1]).zip(maps[2]).zip(maps[3]);
            for (p, (((&m0, &m1), &m2), &m3)) in rows.enumerate() {
                let maps = [m0, m1, m2, m3];
                $($sum = multiply_add_all(simd, maps, images[$column][p], $sum);)+
            }
            $(
                for (product, sum) in products[$column].iter_mut().zip($sum) {
                    *product = simd.reduce_sum_f32s(sum);
                }
            )+
        }
    };
}

inner_products!(wide, 6, a 0, b 1, c 2, d 3, e 4, f 5);
inner_products!(narrow, 2, a 0, b 1);

#[inline(always)]
fn multiply_add_all<S: Simd>(
    simd: S,
    maps: [S::f32s; MAPS],
    image: S::f32s,
    sums: [S::f32s; MAPS],
) -> [S::f32s; MAPS] {
    [
        simd.mul_add_e_f32s(maps[0], image, sums[0]),
        simd.mul_add_e_f32s(maps[1], image, sums[1]),
        simd.mul_add_e_f32s(maps[2], image, sums[2]),
        simd.mul_add_e_f32s(maps[3], image, sums[3]),
    ]
}
