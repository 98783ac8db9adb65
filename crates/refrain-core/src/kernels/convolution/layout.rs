//! Where the pixels of some images and the values of their maps lie, so that a window's place is a
//! distance.

use super::Convolution;

/// Positions worked on at once, at least, where there are images enough.
const POSITIONS: usize = 512;

/// Room after the last position: as many as the widest tile may run over.
const SLACK: usize = 64;

/// A position is the same number in a map and in each part of an image: `(image · rows + row) ·
/// columns + column`, with fewer zeros between than a window would need for itself, since those at
/// the end of a row serve as those before the next.
#[derive(Debug)]
pub(super) struct Layout {
    convolution: Convolution,
    /// Rows and columns from one image, or row, to the next.
    pitch: [usize; 2],
    /// Images laid out together.
    pub(super) group: usize,
    /// Positions of a group.
    pub(super) positions: usize,
    /// Of each place of the window, row by row, the part of the image it reads and how far on.
    pub(super) places: Vec<(usize, usize)>,
    /// The farthest that a place of the window reads on; as much room is before a map's first.
    pub(super) lead: usize,
    /// Length of one part of one channel, and of one map.
    pub(super) plane: usize,
}

impl Layout {
    pub(super) fn new(convolution: &Convolution) -> Self {
        let c = *convolution;
        let pitch = [0, 1].map(|side| pitch(&c, c.image[side], c.maps[side]));
        let [rows, columns] = pitch;
        let group = (POSITIONS / (rows * columns).max(1)).max(1);
        let positions = group * rows * columns;
        let place = |t: usize| {
            let [a, b] = [t / c.kernel, t % c.kernel];
            let phase = a % c.stride * c.stride + b % c.stride;
            (phase, a / c.stride * columns + b / c.stride)
        };
        let places: Vec<_> = (0..c.kernel * c.kernel).map(place).collect();
        let lead = places.iter().map(|&(_, on)| on).max().unwrap_or(0);
        Self {
            convolution: c,
            pitch,
            group,
            positions,
            places,
            lead,
            plane: lead + positions + SLACK,
        }
    }

    /// Parts of an image.
    pub(super) fn phases(&self) -> usize {
        self.convolution.stride * self.convolution.stride
    }

    /// `[channels, phases, plane]`.
    pub(super) fn image_buffer(&self) -> Vec<f32> {
        vec![0.0; self.convolution.channels * self.phases() * self.plane]
    }

    /// `[filters, plane]`, the first position at `lead`.
    pub(super) fn map_buffer(&self) -> Vec<f32> {
        vec![0.0; self.convolution.filters * self.plane]
    }

    /// Copies the images of a group; a group that is not full ends with zeros.
    pub(super) fn read_images(&self, images: &[f32], buffer: &mut [f32]) {
        let c = &self.convolution;
        if images.len() < self.group * c.image_len() {
            buffer.fill(0.0);
        }
        self.image_rows(images.len() / c.image_len(), |at, from, row| {
            let row = &images[row];
            match c.stride {
                1 => buffer[at..at + row.len()].copy_from_slice(row),
                stride => {
                    let pixels = row[from..].iter().step_by(stride);
                    buffer[at..]
                        .iter_mut()
                        .zip(pixels)
                        .for_each(|(x, p)| *x = *p);
                }
            }
        });
    }

    /// Copies the images of a group back, each channel's bias added.
    pub(super) fn write_images(&self, buffer: &[f32], bias: &[f32], images: &mut [f32]) {
        let c = &self.convolution;
        let area = c.image[0] * c.image[1];
        for (channel, pixels) in images.chunks_exact_mut(area).enumerate() {
            pixels.fill(bias[channel % c.channels]);
        }
        self.image_rows(images.len() / c.image_len(), |at, from, row| {
            let row = &mut images[row];
            let pixels = row[from..].iter_mut().step_by(c.stride);
            pixels.zip(&buffer[at..]).for_each(|(p, x)| *p += x);
        });
    }

    /// For each row of the first `count` images and each part that windows read of it: where it lies
    /// in the buffer, the first of its pixels, and the row (cut to what windows read).
    fn image_rows(&self, count: usize, mut each: impl FnMut(usize, usize, std::ops::Range<usize>)) {
        let c = &self.convolution;
        let ([height, width], [rows, columns]) = (c.image, self.pitch);
        for image in 0..count {
            for channel in 0..c.channels {
                for h in 0..height {
                    let (row, a) = ((h + c.padding) / c.stride, (h + c.padding) % c.stride);
                    if row >= rows || a >= c.kernel {
                        continue; // no window reads it
                    }
                    let start = ((image * c.channels + channel) * height + h) * width;
                    for b in 0..c.stride.min(c.kernel) {
                        // The first column of this part with a pixel, and the pixel.
                        let column = c.padding.saturating_sub(b).div_ceil(c.stride);
                        let from = column * c.stride + b - c.padding;
                        if from >= width || column >= columns {
                            continue;
                        }
                        let most = from + (columns - column - 1) * c.stride + 1;
                        let phase = channel * self.phases() + a * c.stride + b;
                        let position = (image * rows + row) * columns + column;
                        let end = start + width.min(most);
                        each(phase * self.plane + position, from, start..end);
                    }
                }
            }
        }
    }

    /// Copies the maps of a group; what lies between them stays zero.
    pub(super) fn read_maps(&self, maps: &[f32], buffer: &mut [f32]) {
        let c = &self.convolution;
        if maps.len() < self.group * c.map_len() {
            buffer.fill(0.0);
        }
        let columns = c.maps[1];
        for (row, values) in maps.chunks_exact(columns).enumerate() {
            buffer[self.map_row(row)..][..columns].copy_from_slice(values);
        }
    }

    /// Copies the maps of a group back, each filter's bias added.
    pub(super) fn write_maps(&self, buffer: &[f32], bias: &[f32], maps: &mut [f32]) {
        let [rows, columns] = self.convolution.maps;
        for (row, values) in maps.chunks_exact_mut(columns).enumerate() {
            let bias = bias[row / rows % self.convolution.filters];
            let sums = &buffer[self.map_row(row)..][..columns];
            values
                .iter_mut()
                .zip(sums)
                .for_each(|(y, sum)| *y = sum + bias);
        }
    }

    /// Where row number `row` of all maps of a group lies.
    fn map_row(&self, row: usize) -> usize {
        let (map, row) = (
            row / self.convolution.maps[0],
            row % self.convolution.maps[0],
        );
        let filters = self.convolution.filters;
        let (image, filter) = (map / filters, map % filters);
        filter * self.plane + self.lead + (image * self.pitch[0] + row) * self.pitch[1]
    }
}

/// The least distance between rows (or images) at which every window reads its own pixels or zeros.
fn pitch(c: &Convolution, image: usize, maps: usize) -> usize {
    let widest = maps + c.kernel.saturating_sub(1) / c.stride;
    // Whether the pixel at this place of a part is one of the image.
    let real = |place: usize, phase: usize| {
        let pixel = place * c.stride + phase;
        (c.padding..c.padding + image).contains(&pixel)
    };
    let right = |pitch: &usize| {
        (0..c.kernel).all(|t| {
            let (on, phase) = (t / c.stride, t % c.stride);
            (*pitch..maps + on).all(|at| !real(at, phase) && !real(at % pitch, phase))
        })
    };
    (maps.max(1)..widest).find(right).unwrap_or(widest)
}
