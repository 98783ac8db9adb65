//! Sets of images from others: split, resized, stacked.

use rand::RngExt;
use rand::seq::SliceRandom;
use refrain_core::rng;

use super::expect_room;
use crate::random::{Purpose, stream};
use crate::{Error, ImageShape, Images, Result};

/// The longest side that images are brought to.
const LONGEST: usize = 1 << 16;

impl Images {
    /// A seeded split into two sets that share no image; the second holds `fraction` of them,
    /// rounded down.
    ///
    /// # Errors
    /// [`Error::Config`] when either side would be empty.
    ///
    /// ```
    /// # use refrain_gan::{ImageShape, Images};
    /// let ten = Images::from_f32(ImageShape::square(1, 1), vec![0.5; 10])?;
    /// let (train, held_out) = ten.split(0.2, 1)?;
    /// assert_eq!((train.len(), held_out.len()), (8, 2));
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn split(&self, fraction: f64, seed: u64) -> Result<(Self, Self)> {
        let held_out = (self.len() as f64 * fraction) as usize;
        if !(0.0..1.0).contains(&fraction) || held_out == 0 || held_out == self.len() {
            let reason = format!("{fraction} of {} images leaves one side empty", self.len());
            return Err(Error::config("fraction", reason));
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.shuffle(&mut rng::stream(seed, 0));
        let (second, first) = order.split_at(held_out);
        Ok((self.select(first), self.select(second)))
    }

    /// The images at another size, by linear interpolation between pixel centres.
    ///
    /// # Errors
    /// [`Error::Config`] when a side is 0 or beyond 65,536, and for more pixels than there is memory for.
    pub fn resized(&self, height: usize, width: usize) -> Result<Self> {
        if height == 0 || width == 0 {
            return Err(Error::config(
                "size",
                format!("{height}×{width} holds no pixel"),
            ));
        }
        if height.max(width) > LONGEST {
            let reason = format!("{height}×{width} has a side beyond {LONGEST}");
            return Err(Error::config("size", reason));
        }
        let shape = ImageShape {
            height,
            width,
            ..self.shape
        };
        expect_room("size", self.len(), shape.len(), shape)?;
        let rows = line_weights(self.shape.height, height);
        let columns = line_weights(self.shape.width, width);
        let area = self.shape.height * self.shape.width;
        let mut pixels = Vec::with_capacity(self.len() * shape.len());
        for plane in self.pixels.chunks_exact(area) {
            let at = |row: usize, column: usize| plane[row * self.shape.width + column];
            for &(top, bottom, down) in &rows {
                for &(left, right, across) in &columns {
                    let upper = at(top, left) * (1.0 - across) + at(top, right) * across;
                    let lower = at(bottom, left) * (1.0 - across) + at(bottom, right) * across;
                    pixels.push(upper * (1.0 - down) + lower * down);
                }
            }
        }
        Ok(Self {
            shape,
            pixels: pixels.into(),
            ..self.clone()
        })
    }

    /// `count` images that each hold three of these in their colour channels, drawn at random: the
    /// classic test of mode collapse (Metz et al. 2017, <https://arxiv.org/abs/1611.02163>), since ten
    /// digits give 1,000 modes of like frequency. With labels below `classes`, the label of a stack is
    /// the number that the three write, `(a · classes + b) · classes + c`.
    ///
    /// # Errors
    /// [`Error::Empty`] without images, [`Error::Shape`] for images of more than one channel,
    /// [`Error::Class`] for more classes than 1,024, [`Error::Config`] for more stacks than there is memory
    /// for.
    ///
    /// ```
    /// # use refrain_gan::{ImageShape, Images};
    /// let two = Images::from_f32(ImageShape::square(1, 1), vec![0.2, 0.7])?.with_labels(vec![0, 1], 2)?;
    /// let stacked = two.stacked(50, 1)?;
    /// assert_eq!((stacked.shape().channels, stacked.classes()), (3, 8));
    /// let bits = stacked.image(0).iter().fold(0, |n, &v| 2 * n + u32::from(v > 0.5));
    /// assert_eq!(stacked.labels().map(|l| l[0]), Some(bits));
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn stacked(&self, count: usize, seed: u64) -> Result<Self> {
        if self.is_empty() {
            return Err(Error::Empty {
                what: "images to stack",
            });
        }
        if self.shape.channels != 1 {
            return Err(Error::shape("images to stack", "one channel", self.shape));
        }
        if self.classes > 1 << 10 {
            let text = format!(
                "{} classes are too many to stack; 1024 are not",
                self.classes
            );
            return Err(Error::Class(text));
        }
        let shape = ImageShape {
            channels: 3,
            ..self.shape
        };
        expect_room("count", count, shape.len() + 1, shape)?;
        let mut rng = stream(seed, Purpose::Data, 1);
        let mut pixels = Vec::with_capacity(count * shape.len());
        let mut labels = self.labels().map(|_| Vec::with_capacity(count));
        for _ in 0..count {
            let picks: [usize; 3] = std::array::from_fn(|_| rng.random_range(0..self.len()));
            picks
                .iter()
                .for_each(|&i| pixels.extend_from_slice(self.image(i)));
            if let (Some(out), Some(own)) = (&mut labels, self.labels()) {
                let number = |n: u32, &i: &usize| n * self.classes as u32 + own[i];
                out.push(picks.iter().fold(0, number));
            }
        }
        let classes = self.classes.pow(3);
        Ok(Self::unclamped(shape, pixels, labels, classes))
    }
}

/// For each of `to` target pixels along a line of `from` source pixels: the two source pixels around
/// its centre, and the weight of the second.
fn line_weights(from: usize, to: usize) -> Vec<(usize, usize, f32)> {
    let scale = from as f32 / to as f32;
    (0..to)
        .map(|i| {
            let centre = ((i as f32 + 0.5) * scale - 0.5).clamp(0.0, (from - 1) as f32);
            let first = (centre as usize).min(from - 1);
            (first, (first + 1).min(from - 1), centre - first as f32)
        })
        .collect()
}
