//! How varied the painted images are beside the real ones: their variance, and the kinds they are of.

use rand::RngExt;
use rand::seq::SliceRandom;

use crate::metrics::Bins;
use crate::random::{Purpose, stream};
use crate::{Images, Result};

/// Real images that are parted into bins.
const MOST_IMAGES: usize = 2048;

/// The longest side over which images are parted.
const LONGEST: usize = 16;

/// The most bins; each has so many real images, and half as many painted ones, on average.
const MOST_BINS: usize = 32;
const PER_BIN: usize = 32;

/// Bins are added while more than this share of the variance is inside them.
const LEFT: f64 = 0.005;

/// The fewest images that are painted to be measured.
const FEWEST: usize = 64;

/// What the painted images of each epoch are measured against.
#[derive(Debug)]
pub(crate) struct Reference {
    spread: f32,
    bins: Bins,
    size: [usize; 2],
    labels: Vec<u32>, // of the images to paint
}

/// What they are found to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Variety {
    /// Total variance over that of the real images.
    pub(crate) share: f32,
    /// Bins of real images that painted ones fall into, and those that should have some.
    pub(crate) modes: usize,
    pub(crate) modes_in_data: usize,
}

impl Reference {
    pub(crate) fn new(images: &Images, seed: u64) -> Result<Self> {
        let mut rng = stream(seed, Purpose::Variety, 0);
        let mut order: Vec<usize> = (0..images.len()).collect();
        order.shuffle(&mut rng);
        order.truncate(MOST_IMAGES);
        let shape = images.shape();
        let size = [shape.height.min(LONGEST), shape.width.min(LONGEST)];
        let some = resized(&images.select(&order), size)?;
        let count = (images.len() / PER_BIN).clamp(1, MOST_BINS);
        let bins = Bins::fit_until(some.pixels(), some.shape().len(), count, LEFT, seed)?;
        // Classes as common as among the real images, each drawn one twice: variance is within classes.
        let mut labels = Vec::new();
        for _ in 0..(count * PER_BIN / 2).max(FEWEST).div_ceil(2) {
            let label = match images.labels() {
                Some(own) => own.get(rng.random_range(0..own.len())).copied(),
                None => None,
            };
            labels.extend([label.unwrap_or(0); 2]);
        }
        Ok(Self {
            spread: spread(images),
            bins,
            size,
            labels,
        })
    }

    /// The classes of the images that should be painted to be measured; 0 without classes.
    pub(crate) fn labels(&self) -> &[u32] {
        &self.labels
    }

    pub(crate) fn measure(&self, painted: &Images) -> Result<Variety> {
        // Two images of a class that was drawn once may be of one bin.
        let draws = match painted.labels() {
            Some(_) => painted.len() / 2,
            None => painted.len(),
        };
        let painted_small = resized(painted, self.size)?;
        let report = self.bins.compare_draws(painted_small.pixels(), draws)?;
        Ok(Variety {
            share: spread(painted) / self.spread.max(1e-12),
            modes: report.expected - report.empty,
            modes_in_data: report.expected,
        })
    }
}

fn resized(images: &Images, [height, width]: [usize; 2]) -> Result<Images> {
    let shape = images.shape();
    match [shape.height, shape.width] == [height, width] {
        true => Ok(images.clone()),
        false => images.resized(height, width),
    }
}

/// The total variance of images around the mean of their class (around the mean of all, without
/// labels): mean over images of the squared distance to it.
fn spread(images: &Images) -> f32 {
    let size = images.shape().len();
    let classes = images.classes().max(1);
    let class_of = |i: usize| images.labels().map_or(0, |labels| labels[i] as usize);
    let mut means = vec![0f64; classes * size];
    let mut counts = vec![0usize; classes];
    for i in 0..images.len() {
        let class = class_of(i);
        counts[class] += 1;
        let mean = &mut means[class * size..(class + 1) * size];
        mean.iter_mut()
            .zip(images.image(i))
            .for_each(|(m, &v)| *m += f64::from(v));
    }
    for (mean, count) in means.chunks_exact_mut(size).zip(&counts) {
        mean.iter_mut().for_each(|m| *m /= (*count).max(1) as f64);
    }
    let total: f64 = (0..images.len())
        .map(|i| {
            let mean = &means[class_of(i) * size..][..size];
            mean.iter()
                .zip(images.image(i))
                .map(|(m, &v)| (f64::from(v) - m).powi(2))
                .sum::<f64>()
        })
        .sum();
    // A mean over n images eats one degree of freedom per class.
    let degrees = counts
        .iter()
        .map(|count| count.saturating_sub(1))
        .sum::<usize>();
    (total / degrees.max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ImageShape, Mixture};

    #[test]
    fn spread_is_within_classes() {
        let pixels = vec![0.0, 0.2, 0.8, 1.0];
        let images = Images::from_f32(ImageShape::square(1, 1), pixels).unwrap();
        assert!((spread(&images) - 0.68 / 3.0).abs() < 1e-6);
        let labelled = images.with_labels(vec![0, 0, 1, 1], 2).unwrap();
        assert!((spread(&labelled) - 0.04 / 2.0).abs() < 1e-6);
    }

    #[test]
    fn kinds_are_counted_whatever_the_size_of_images() {
        let ring = Mixture::ring();
        let reference = Reference::new(&ring.sample(1024, 1).unwrap(), 1).unwrap();
        let all = reference.measure(&ring.sample(512, 2).unwrap()).unwrap();
        assert_eq!((all.modes, all.modes_in_data), (8, 8));
        assert!((all.share - 1.0).abs() < 0.1, "{all:?}");
        let half = Mixture {
            centres: ring.centres[..4].to_vec(),
            ..ring
        };
        let half = reference.measure(&half.sample(512, 2).unwrap()).unwrap();
        assert_eq!((half.modes, half.modes_in_data), (4, 8));

        // 40 × 24 pixels: a bright half on the left or on the right.
        let shape = ImageShape {
            channels: 3,
            height: 40,
            width: 24,
        };
        let side = |left: bool| {
            let pixel = move |p: usize| if (p % 24 < 12) == left { 0.9 } else { 0.1 };
            (0..shape.len()).map(pixel)
        };
        let both: Vec<f32> = (0..100).flat_map(|i| side(i % 2 == 0)).collect();
        let both = Images::from_f32(shape, both).unwrap();
        let reference = Reference::new(&both, 1).unwrap();
        let found = |images: &Images| {
            let variety = reference.measure(images).unwrap();
            (variety.modes, variety.modes_in_data)
        };
        assert_eq!(found(&both), (2, 2));
        let left = Images::from_f32(shape, (0..50).flat_map(|_| side(true)).collect()).unwrap();
        assert_eq!(found(&left), (1, 2));
        // Too few to say anything.
        let one = Reference::new(&left.select(&[0]), 1).unwrap();
        assert_eq!(one.measure(&left).unwrap().modes_in_data, 1);
    }
}
