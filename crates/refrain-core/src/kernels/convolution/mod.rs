//! Convolutions of many images, and their gradients.
//!
//! Lowered to one matrix product, a 3 × 3 convolution copies every pixel nine times. Here each is
//! copied once: the rows of a channel lie one behind the other with zeros between them, so that a
//! weight of the window finds its pixel at the same distance everywhere,
//!
//! ```text
//! map[f][p] = Σ over channels c and places t of the window:  weight[f][c][t] · image[c][p + offset[t]]
//! ```
//!
//! which is a matrix product that reads its right side nine times from the cache. A convolution of
//! stride 2 has its image in four such parts, of the even and odd rows and columns. The gradient for
//! the image is the same product with the shifts turned round, that for the weights one along `p`.
//!
//! The bound is the multiply-add units: 2 · filters · channels · kernel² operations for each pixel of
//! a map. The zeros cost one column in `width + 1` and one row in `height + 1`.

mod layout;
mod tiles;

use rayon::prelude::*;

use layout::Layout;
use tiles::Filters;

/// Two-dimensional convolution of images with square filters, as `torch.nn.functional.conv2d`
/// defines it (the filters are not turned round), and its gradients.
///
/// Images are `[images, channels, height, width]`, maps `[images, filters, rows, columns]` and
/// weights `[filters, channels, kernel, kernel]`, all row-major. The map's value at row `r` and
/// column `c` is that of the window whose first pixel is `(r · stride − padding, c · stride −
/// padding)`; what a window reads outside of the image is zero.
///
/// Works on all threads of rayon's pool; results do not depend on how many there are. Nothing here
/// comes from a user's data unchecked: the three functions panic where a size is zero or a slice is not
/// of its shape.
///
/// ```
/// use refrain_core::kernels::Convolution;
/// // One image of one channel, three pixels wide; the filter is the difference to the right.
/// let difference = Convolution {
///     channels: 1,
///     filters: 1,
///     kernel: 1,
///     stride: 2,
///     padding: 0,
///     image: [1, 3],
///     maps: [1, 2],
/// };
/// assert_eq!(difference.forward(&[1.0, 2.0, 4.0], &[10.0], &[0.5]), [10.5, 40.5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Convolution {
    /// Of an image.
    pub channels: usize,
    /// Of a map.
    pub filters: usize,
    /// Both sides of the window.
    pub kernel: usize,
    /// Pixels from one window to the next.
    pub stride: usize,
    /// Zeros before the first pixel.
    pub padding: usize,
    /// Height and width of an image.
    pub image: [usize; 2],
    /// Height and width of a map.
    pub maps: [usize; 2],
}

/// Images are summed in this many parts at most, however many threads there are.
const PARTS: usize = 8;

impl Convolution {
    /// The maps of `images` for filters `weights`, with `bias` (`[filters]`) added.
    ///
    /// # Panics
    /// Where a size is zero or a slice is not of its shape.
    pub fn forward(&self, images: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let count = self.check(images, self.image_len());
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert_eq!(bias.len(), self.filters, "bias");
        let layout = Layout::new(self);
        let filters = Filters::forward(self, &layout, weights);
        let mut out = vec![0.0; count * self.map_len()];
        let images = images.par_chunks(layout.group * self.image_len());
        let maps = out.par_chunks_mut(layout.group * self.map_len());
        let scratch = || (layout.image_buffer(), layout.map_buffer());
        maps.zip(images)
            .for_each_init(scratch, |(x, y), (out, images)| {
                layout.read_images(images, x);
                filters.products(x, 0, y, layout.lead);
                layout.write_maps(y, bias, out);
            });
        out
    }

    /// The gradient for the images, from that for the maps: with `bias` (`[channels]`) added, the
    /// transposed convolution of the maps.
    ///
    /// # Panics
    /// Where a size is zero or a slice is not of its shape.
    pub fn transposed(&self, maps: &[f32], weights: &[f32], bias: &[f32]) -> Vec<f32> {
        let count = self.check(maps, self.map_len());
        assert_eq!(weights.len(), self.weights_len(), "weights");
        assert_eq!(bias.len(), self.channels, "bias");
        let layout = Layout::new(self);
        let filters: Vec<Filters> = (0..layout.phases())
            .map(|phase| Filters::transposed(self, &layout, phase, weights))
            .collect();
        let mut out = vec![0.0; count * self.image_len()];
        let maps = maps.par_chunks(layout.group * self.map_len());
        let images = out.par_chunks_mut(layout.group * self.image_len());
        let scratch = || (layout.image_buffer(), layout.map_buffer());
        images
            .zip(maps)
            .for_each_init(scratch, |(x, y), (out, maps)| {
                layout.read_maps(maps, y);
                for (phase, filters) in filters.iter().enumerate() {
                    filters.products(y, layout.lead, x, phase * layout.plane);
                }
                layout.write_images(x, bias, out);
            });
        out
    }

    /// The gradient for the weights, from the images and the gradient for the maps.
    ///
    /// # Panics
    /// Where a size is zero, a slice is not of its shape, or there are not as many images as maps.
    pub fn weight_gradient(&self, images: &[f32], maps: &[f32]) -> Vec<f32> {
        let count = self.check(images, self.image_len());
        assert_eq!(count, self.check(maps, self.map_len()), "images and maps");
        let layout = Layout::new(self);
        let groups = count.div_ceil(layout.group);
        let part = groups.div_ceil(PARTS).max(1) * layout.group;
        let sums: Vec<Vec<f32>> = images
            .par_chunks(part * self.image_len())
            .zip(maps.par_chunks(part * self.map_len()))
            .map(|(images, maps)| {
                let mut sums = vec![0.0; self.weights_len()];
                let (mut x, mut y) = (layout.image_buffer(), layout.map_buffer());
                let images = images.chunks(layout.group * self.image_len());
                let maps = maps.chunks(layout.group * self.map_len());
                for (images, maps) in images.zip(maps) {
                    layout.read_images(images, &mut x);
                    layout.read_maps(maps, &mut y);
                    tiles::weight_gradient(&layout, &x, &y, &mut sums);
                }
                sums
            })
            .collect();
        let mut sums = sums.into_iter();
        let mut total = sums.next().unwrap_or_else(|| vec![0.0; self.weights_len()]);
        for part in sums {
            total.iter_mut().zip(part).for_each(|(sum, x)| *sum += x);
        }
        total
    }

    /// How many images, or maps of images, of `len` values each there are.
    fn check(&self, values: &[f32], len: usize) -> usize {
        assert!(self.kernel > 0 && self.stride > 0, "no windows");
        assert!(len > 0 && values.len().is_multiple_of(len), "values");
        values.len() / len
    }

    /// Values of the weights.
    fn weights_len(&self) -> usize {
        self.filters * self.channels * self.kernel * self.kernel
    }

    /// Values of one image.
    pub fn image_len(&self) -> usize {
        self.channels * self.image[0] * self.image[1]
    }

    /// Values of the maps of one image.
    pub fn map_len(&self) -> usize {
        self.filters * self.maps[0] * self.maps[1]
    }
}

#[cfg(test)]
mod tests;
