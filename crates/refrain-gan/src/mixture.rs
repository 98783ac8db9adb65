//! The toy data on which collapse is easy to see: points around a few centres in the plane.
//!
//! Points are images of 1×1 pixel and two channels, x and y, so that they train like any image. The
//! originals (Metz et al. 2017; PacGAN) have their centres at radius 1, or from −4 to 4; here the plane
//! is shrunk into 0..1, and the standard deviations with it.

use rand::RngExt;

use crate::images::expect_room;
use crate::metrics::{ModeCoverage, ModeSample, mode_coverage};
use crate::random::{Purpose, normal, stream};
use crate::{Error, ImageShape, Images, Result};

/// Normal clouds of one size around centres in the unit square, all as common.
///
/// ```
/// use refrain_gan::Mixture;
/// let ring = Mixture::ring();
/// let points = ring.sample(1000, 1)?;
/// let coverage = ring.coverage(&points)?;
/// assert_eq!(coverage.modes, 8);
/// assert!(coverage.high_quality > 0.97 && coverage.reverse_kl < 0.01);
/// # Ok::<(), refrain_gan::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    /// The centres, each coordinate between 0 and 1.
    pub centres: Vec<[f32; 2]>,
    /// The standard deviation of each coordinate around its centre.
    pub deviation: f32,
}

/// Points beyond so many standard deviations from their centre are not good.
const GOOD: f32 = 3.0;

impl Mixture {
    /// The ring of 8: radius 1, standard deviation 0.01 (here 0.4 and 0.004).
    pub fn ring() -> Self {
        let centre = |i: usize| {
            let angle = i as f32 * std::f32::consts::FRAC_PI_4;
            [0.5 + 0.4 * angle.cos(), 0.5 + 0.4 * angle.sin()]
        };
        Self {
            centres: (0..8).map(centre).collect(),
            deviation: 0.004,
        }
    }

    /// The grid of 25: coordinates −4, −2, 0, 2, 4, standard deviation 0.05 (here a tenth of each).
    pub fn grid() -> Self {
        let at = |i: usize| 0.1 + 0.2 * i as f32;
        Self {
            centres: (0..25).map(|i| [at(i % 5), at(i / 5)]).collect(),
            deviation: 0.005,
        }
    }

    /// The shape of a point as an image.
    pub fn shape() -> ImageShape {
        ImageShape {
            channels: 2,
            height: 1,
            width: 1,
        }
    }

    /// `count` points.
    ///
    /// # Errors
    /// [`Error::Config`] for more points than there is memory for.
    pub fn sample(&self, count: usize, seed: u64) -> Result<Images> {
        expect_room("count", count, Self::shape().len(), Self::shape())?;
        let mut rng = stream(seed, Purpose::Data, 0);
        let mut pixels = Vec::with_capacity(2 * count);
        for _ in 0..count {
            let centre = match self.centres.len() {
                0 => [0.5; 2],
                n => self.centres[rng.random_range(0..n)],
            };
            let noise = normal(&mut rng, 2);
            pixels.extend(
                centre
                    .iter()
                    .zip(noise)
                    .map(|(c, z)| c + self.deviation * z),
            );
        }
        Ok(Images::painted(Self::shape(), pixels, None, 0))
    }

    /// How points cover the centres. A point belongs to the nearest centre, and is good within three
    /// standard deviations of it.
    ///
    /// # Errors
    /// [`Error::Shape`] when the images are no points, [`Error::Empty`] without points or centres.
    pub fn coverage(&self, points: &Images) -> Result<ModeCoverage> {
        points.expect_shape("points", Self::shape())?;
        if self.centres.is_empty() {
            return Err(Error::Empty { what: "centres" });
        }
        let mode = |i: usize| -> ModeSample {
            let point = points.image(i);
            let distance = |c: &[f32; 2]| {
                c.iter()
                    .zip(point)
                    .map(|(c, p)| (c - p).powi(2))
                    .sum::<f32>()
                    .sqrt()
            };
            let all = self.centres.iter().map(distance).enumerate();
            let (mode, near) =
                all.fold(
                    (0, f32::INFINITY),
                    |best, new| if new.1 < best.1 { new } else { best },
                );
            (mode, near <= GOOD * self.deviation)
        };
        let samples: Vec<ModeSample> = (0..points.len()).map(mode).collect();
        mode_coverage(&samples, &vec![1.0; self.centres.len()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_mixture_s_moments() {
        for mixture in [Mixture::ring(), Mixture::grid()] {
            let points = mixture.sample(20_000, 3).unwrap();
            let (mut sum, mut square, mut near) = ([0f64; 2], 0f64, 0usize);
            for i in 0..points.len() {
                let p = points.image(i);
                sum[0] += f64::from(p[0]);
                sum[1] += f64::from(p[1]);
                let gap = |c: &[f32; 2]| (c[0] - p[0]).powi(2) + (c[1] - p[1]).powi(2);
                let nearest = mixture
                    .centres
                    .iter()
                    .map(gap)
                    .fold(f32::INFINITY, f32::min);
                square += f64::from(nearest);
                near += usize::from(nearest.sqrt() < 3.0 * mixture.deviation);
            }
            let n = points.len() as f64;
            assert!(sum.iter().all(|s| (s / n - 0.5).abs() < 0.01), "{sum:?}");
            // Two coordinates of variance σ² each; P(r < 3σ) = 1 − e^(−4.5) = 0.9889.
            let sigma = f64::from(mixture.deviation);
            assert!((square / n / (2.0 * sigma * sigma) - 1.0).abs() < 0.05);
            assert!((near as f64 / n - 0.9889).abs() < 0.005);
            let coverage = mixture.coverage(&points).unwrap();
            assert_eq!(coverage.modes, mixture.centres.len());
            assert!((coverage.high_quality - near as f64 / n).abs() < 1e-3);
            assert_eq!(points, mixture.sample(20_000, 3).unwrap());
        }
    }

    #[test]
    fn collapse_and_bad_input() {
        let ring = Mixture::ring();
        let one = Images::from_f32(Mixture::shape(), [0.9, 0.5].repeat(10)).unwrap();
        let coverage = ring.coverage(&one).unwrap();
        assert_eq!((coverage.modes, coverage.high_quality), (1, 1.0));
        let middle = Images::from_f32(Mixture::shape(), vec![0.5, 0.5]).unwrap();
        assert_eq!(ring.coverage(&middle).unwrap().modes, 0);
        let square = Images::from_f32(ImageShape::square(1, 2), vec![0.5; 4]).unwrap();
        assert!(matches!(ring.coverage(&square), Err(Error::Shape { .. })));
        let nothing = Mixture {
            centres: vec![],
            deviation: 0.1,
        };
        assert_eq!(nothing.sample(2, 1).unwrap().len(), 2);
        assert!(matches!(nothing.coverage(&one), Err(Error::Empty { .. })));
    }
}
