//! One table that says how good the painted images are.
//!
//! Each set of images (the painted ones, real ones held out, and two kinds of noise) is measured the
//! same way, with the same number of images, against the same training images.

use std::fmt;

use rand::RngExt;

use super::{Neighbours, frechet_images};
use crate::random::{Purpose, stream};
use crate::{Error, Images, Result};

/// The numbers of one set of images.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SetQuality {
    /// Fréchet distance to the training images, over pixels.
    pub frechet: f64,
    /// Share of images that [`Neighbours`] recognises.
    pub recognised: f32,
    /// Recognised images of each class.
    pub per_class: Vec<usize>,
    /// Classes with at least one recognised image in a hundred.
    pub classes: usize,
    /// Share of images that are of the class they are labelled with, if they are labelled.
    pub right_class: Option<f32>,
    /// Share of images nearer to a training image than 99 % of real ones: copies, perhaps.
    pub copied: f32,
}

/// Painted images beside real ones and noise.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Quality {
    /// The images asked about.
    pub painted: SetQuality,
    /// Real images that were held out: as good as it gets.
    pub real: SetQuality,
    /// Noise with the right brightness at every place: each pixel from an image of its own.
    pub shuffled: SetQuality,
    /// Plain noise: as bad as it gets.
    pub noise: SetQuality,
}

/// Measures `painted` against the labelled images `train` and `held_out`, which the model must not have
/// seen. One half of `held_out`, drawn at random, teaches the judge how far real images lie from known
/// ones; the other half is the row *real, held out*. As many images of each set are measured as the
/// smallest has.
///
/// # Errors
/// [`Error::Class`] without labels, [`Error::Shape`] when the images are of different shapes,
/// [`Error::Config`] with fewer than ten images in a set, or twenty in `held_out`.
///
/// ```
/// use refrain_gan::{ImageShape, Images, metrics::quality};
/// // Two kinds of image: dark with a bright corner, and bright with a dark one.
/// let value = |i: usize| 0.1 * ((i * 7919) % 10) as f32 * 0.1;
/// let pixels: Vec<f32> = (0..400)
///     .map(|i| if (i / 4) % 2 == usize::from(i % 4 == 0) { value(i) } else { 1.0 - value(i) })
///     .collect();
/// let labels = (0..100).map(|i| i % 2).collect();
/// let images = Images::from_f32(ImageShape::square(1, 2), pixels)?.with_labels(labels, 2)?;
/// let (train, rest) = images.split(0.6, 1)?;
/// let (held_out, painted) = rest.split(0.5, 1)?; // real images stand in for painted ones
/// let report = quality(&painted, &train, &held_out)?;
/// assert_eq!(report.painted.classes, 2);
/// assert!(report.painted.frechet < report.noise.frechet);
/// println!("{report}");
/// # Ok::<(), refrain_gan::Error>(())
/// ```
pub fn quality(painted: &Images, train: &Images, held_out: &Images) -> Result<Quality> {
    if painted.len() < 10 || train.len() < 10 || held_out.len() < 20 {
        return Err(Error::config(
            "images",
            "quality needs at least ten in each set, and twenty that were held out",
        ));
    }
    let (calibration, held_out) = held_out.split(0.5, 0)?;
    let count = painted.len().min(held_out.len());
    painted.expect_shape("painted images", train.shape())?;
    for images in [painted, train, &calibration, &held_out] {
        images.expect_brightness()?;
    }
    let judge = Neighbours::fit(train, &calibration, 5)?;
    let first = |images: &Images| images.select(&(0..count).collect::<Vec<_>>());
    let mut rng = stream(0, Purpose::Metric, 0);
    let size = train.shape().len();
    let shuffled = (0..count * size)
        .map(|i| train.image(rng.random_range(0..train.len()))[i % size])
        .collect();
    let noise = (0..count * size).map(|_| rng.random()).collect();
    let plain = |pixels| Images::painted(train.shape(), pixels, None, 0);
    let measure = |images: &Images| measure(images, train, &judge);
    Ok(Quality {
        painted: measure(&first(painted))?,
        real: measure(&first(&held_out))?,
        shuffled: measure(&plain(shuffled))?,
        noise: measure(&plain(noise))?,
    })
}

fn measure(images: &Images, train: &Images, judge: &Neighbours) -> Result<SetQuality> {
    let judged = judge.judge(images)?;
    let share = |count: usize| count as f32 / images.len() as f32;
    let mut per_class = vec![0; train.classes()];
    for judgement in judged.iter().filter(|j| j.recognised) {
        per_class[judgement.class as usize] += 1;
    }
    let enough = images.len().div_ceil(100);
    let right_class = images.labels().map(|labels| {
        share(
            judged
                .iter()
                .zip(labels)
                .filter(|(j, label)| j.class == **label)
                .count(),
        )
    });
    Ok(SetQuality {
        frechet: frechet_images(images, train)?,
        recognised: share(per_class.iter().sum()),
        classes: per_class.iter().filter(|&&count| count >= enough).count(),
        per_class,
        right_class,
        copied: share(judged.iter().filter(|j| j.copied).count()),
    })
}

impl fmt::Display for Quality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<22}{:>9}{:>12}{:>9}{:>13}{:>8}",
            "images", "Fréchet", "recognised", "classes", "right class", "copied"
        )?;
        let rows = [
            ("painted", &self.painted),
            ("real, held out", &self.real),
            ("pixels of real images", &self.shuffled),
            ("noise", &self.noise),
        ];
        for (name, set) in rows {
            let right = set
                .right_class
                .map_or("–".to_string(), |r| format!("{:.1} %", 100.0 * r));
            writeln!(
                f,
                "{name:<22}{:>9.3}{:>10.1} %{:>6}/{:<2}{right:>13}{:>6.1} %",
                set.frechet,
                100.0 * set.recognised,
                set.classes,
                set.per_class.len(),
                100.0 * set.copied,
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;

    /// Points on a line, two classes.
    fn points(count: usize, salt: usize) -> Images {
        let value = |i: usize| ((i * 7919 + salt * 104_729) % 997) as f32 / 997.0;
        let values = (0..count)
            .map(|i| 0.4 * value(i) + 0.6 * (i % 2) as f32)
            .collect();
        let labels = (0..count).map(|i| (i % 2) as u32).collect();
        let images = Images::from_f32(ImageShape::square(1, 1), values).unwrap();
        images.with_labels(labels, 2).unwrap()
    }

    #[test]
    fn the_judge_has_not_seen_the_images_it_reports() {
        // Calibrated and reported on one set, exactly 95 % would pass: 38 of 40.
        let (train, held_out) = (points(100, 1), points(40, 2));
        let report = quality(&points(60, 3), &train, &held_out).unwrap();
        let (calibration, rest) = held_out.split(0.5, 0).unwrap();
        let judge = Neighbours::fit(&train, &calibration, 5).unwrap();
        let judged = judge.judge(&rest).unwrap();
        let passed = judged.iter().filter(|j| j.recognised).count();
        assert_eq!(report.real.recognised, passed as f32 / 20.0);
        assert!(report.noise.recognised < report.real.recognised);
        let few = quality(&points(60, 3), &train, &points(19, 2)).unwrap_err();
        assert!(few.to_string().contains("twenty"), "{few}");
    }
}
