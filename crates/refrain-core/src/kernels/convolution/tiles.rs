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
                    HIGH => self.tile::<S, HIGH>(simd, own, first, position),
                    _ => self.tile::<S, LOW>(simd, own, first, position),
                }
                (first, weights) = (first + tile, rest);
            }
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn tile<S: Simd, const ROWS: usize>(
        &mut self,
        simd: S,
        weights: &[f32],
        first: usize,
        position: usize,
    ) {
        let filters = self.filters;
        let width = WIDE * S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); WIDE]; ROWS];
        let mut weights = pulp::as_arrays::<ROWS, _>(weights).0.iter();
        let mut channel = self.from + position;
        for _ in 0..filters.channels {
            for (&offset, weights) in filters.offsets.iter().zip(&mut weights) {
                let at = channel.wrapping_add_signed(offset);
                let (values, _) = S::as_simd_f32s(&self.source[at..at + width]);
                let Some(values) = values.first_chunk::<WIDE>() else {
                    return; // `width` values are WIDE registers
                };
                for (sums, &weight) in sums.iter_mut().zip(weights) {
                    let weight = simd.splat_f32s(weight);
                    for (sum, &value) in sums.iter_mut().zip(values) {
                        *sum = simd.mul_add_e_f32s(weight, value, *sum);
                    }
                }
            }
            channel += filters.pitch;
        }
        // The last tile's surplus goes to the room after each row.
        for (row, sums) in (first..filters.rows).zip(&sums) {
            let at = self.to + row * filters.plane + position;
            let (out, _) = S::as_mut_simd_f32s(&mut self.out[at..at + width]);
            out.copy_from_slice(sums);
        }
    }
}

/// Rows of maps and columns of the window in one tile of the weights' gradient.
const MAPS: usize = 4;
const COLUMNS: usize = 6;

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
        if S::REGISTER_COUNT < 32 {
            self.run::<S, { COLUMNS / 2 }>(simd);
        } else {
            self.run::<S, COLUMNS>(simd);
        }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn run<S: Simd, const WIDTH: usize>(self, simd: S) {
        let Self {
            layout,
            images,
            maps,
            sums,
        } = self;
        let pitch = layout.phases() * layout.plane;
        let length = layout.positions.next_multiple_of(S::F32_LANES);
        let channels = (0..).step_by(pitch).take_while(|at| at + pitch <= images.len());
        let places = |channel: usize| {
            let at = move |&(phase, on): &(usize, usize)| channel + phase * layout.plane + on;
            layout.places.iter().map(at)
        };
        let columns: Vec<usize> = channels.flat_map(places).collect();
        let maps: Vec<&[f32]> = maps
            .chunks_exact(layout.plane)
            .map(|map| &map[layout.lead..][..length])
            .collect();
        for (maps, sums) in maps.chunks(MAPS).zip(sums.chunks_mut(MAPS * columns.len())) {
            let map: [_; MAPS] = std::array::from_fn(|m| maps[m.min(maps.len() - 1)]);
            for (tile, starts) in columns.chunks(WIDTH).enumerate() {
                let column: [_; WIDTH] = std::array::from_fn(|n| {
                    &images[starts[n.min(starts.len() - 1)]..][..length]
                });
                let products = inner_products(simd, map, column);
                let rows = sums.chunks_exact_mut(columns.len());
                for (row, products) in rows.zip(products) {
                    let row = &mut row[tile * WIDTH..][..starts.len()];
                    row.iter_mut().zip(products).for_each(|(sum, x)| *sum += x);
                }
            }
        }
    }
}

/// The inner product of each row of `a` with each of `b`.
#[inline(always)]
fn inner_products<S: Simd, const M: usize, const N: usize>(
    simd: S,
    a: [&[f32]; M],
    b: [&[f32]; N],
) -> [[f32; N]; M] {
    let a = a.map(|row| S::as_simd_f32s(row).0);
    let b = b.map(|row| S::as_simd_f32s(row).0);
    let length = a.iter().chain(&b).map(|row| row.len()).min().unwrap_or(0);
    let (a, b) = (a.map(|row| &row[..length]), b.map(|row| &row[..length]));
    let mut sums = [[simd.splat_f32s(0.0); N]; M];
    for p in 0..length {
        let b = b.map(|row| row[p]);
        for (sums, a) in sums.iter_mut().zip(a) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = simd.mul_add_e_f32s(a[p], b, *sum);
            }
        }
    }
    sums.map(|row| row.map(|sum| simd.reduce_sum_f32s(sum)))
}
