//! A judge by nearest neighbours: which class an image is of, and whether it lies where real ones do.
//!
//! A classifier alone cannot tell a digit from a blot: it names the nearest class for anything. So an
//! image counts as recognised only when
//! - the `k` nearest real images agree on one class, and
//! - it is no further from its nearest real image than 95 % of real images *that were held out* are.
//!
//! Real images the judge has not seen pass a little less than 95 % of the time; noise never does.
//! Distances are Euclidean over the pixels, which suits small centred images; for larger ones pass
//! features in place of pixels.
//!
//! **Cost**: one multiply-add per pixel, real image and judged image.

use super::rows::Rows;
use crate::{Error, Images, Result};

/// The judge, fitted on labelled images.
#[derive(Debug, Clone)]
pub struct Neighbours {
    train: Images,
    k: usize,
    far: f32,  // squared distance that 95 % of held-out images stay within
    near: f32, // squared distance that 99 % of held-out images stay beyond
}

/// What [`Neighbours`] thinks of one image.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Judgement {
    /// The class most of the nearest real images have.
    pub class: u32,
    /// The share of them that have it.
    pub agreement: f32,
    /// Distance to the nearest real image.
    pub distance: f32,
    /// Whether all agree and the image lies where real images do.
    pub recognised: bool,
    /// Whether the image is nearer to a real one than 99 % of held-out images are to any: perhaps a
    /// copy.
    pub copied: bool,
}

impl Neighbours {
    /// A judge that knows `train`, and learns from `held_out` how far real images lie from those it
    /// knows. The two should share no image.
    ///
    /// # Errors
    /// [`Error::Class`] without labels, [`Error::Shape`] when the images are of different shapes,
    /// [`Error::Config`] when there are fewer than `k` images or `k` is 0, [`Error::Empty`].
    pub fn fit(train: &Images, held_out: &Images, k: usize) -> Result<Self> {
        if train.labels().is_none() {
            return Err(Error::Class("the judge needs labelled images".to_string()));
        }
        if k == 0 || k > train.len() {
            return Err(Error::config("k", format!("{k} of {} images", train.len())));
        }
        if held_out.is_empty() {
            return Err(Error::Empty {
                what: "held-out images",
            });
        }
        held_out.expect_shape("held-out images", train.shape())?;
        let mut judge = Self {
            train: train.clone(),
            k,
            far: 0.0,
            near: 0.0,
        };
        let mut nearest: Vec<f32> = judge.neighbours(held_out)?.iter().map(|n| n[0].0).collect();
        nearest.sort_by(f32::total_cmp);
        let quantile = |q: f64| nearest[((nearest.len() - 1) as f64 * q).round() as usize];
        (judge.far, judge.near) = (quantile(0.95), quantile(0.01));
        Ok(judge)
    }

    /// What the judge thinks of each image.
    ///
    /// # Errors
    /// [`Error::Shape`] when the images have another shape than those the judge knows.
    pub fn judge(&self, images: &Images) -> Result<Vec<Judgement>> {
        images.expect_shape("judged images", self.train.shape())?;
        let labels = self.train.labels().unwrap_or(&[]);
        let judgement = |neighbours: &Vec<(f32, usize)>| {
            let mut votes = vec![0usize; self.train.classes()];
            neighbours
                .iter()
                .for_each(|&(_, i)| votes[labels[i] as usize] += 1);
            // Ties go to the class of the nearer neighbour.
            let mut class = labels[neighbours[0].1];
            for &(_, i) in neighbours {
                if votes[labels[i] as usize] > votes[class as usize] {
                    class = labels[i];
                }
            }
            let agreement = votes[class as usize] as f32 / self.k as f32;
            let squared = neighbours[0].0;
            Judgement {
                class,
                agreement,
                distance: squared.sqrt(),
                recognised: votes[class as usize] == self.k && squared <= self.far,
                copied: squared == 0.0 || squared < self.near,
            }
        };
        Ok(self.neighbours(images)?.iter().map(judgement).collect())
    }

    /// For each image its `k` nearest known images: squared distance and index, nearest first.
    fn neighbours(&self, images: &Images) -> Result<Vec<Vec<(f32, usize)>>> {
        let dim = self.train.shape().len();
        let rows = |images| Rows::new("judge", images, dim, 0);
        Ok(rows(images.pixels())?.nearest(rows(self.train.pixels())?, self.k))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ImageShape;

    /// Points on a line in two clusters, around 0.2 (class 0) and 0.8 (class 1).
    fn line(points: &[f32]) -> Images {
        let labels = points.iter().map(|&p| u32::from(p > 0.5)).collect();
        Images::from_f32(ImageShape::square(1, 1), points.to_vec())
            .unwrap()
            .with_labels(labels, 2)
            .unwrap()
    }

    #[test]
    fn recognises_members_and_not_strangers() {
        let train = line(&[0.10, 0.15, 0.20, 0.25, 0.30, 0.70, 0.75, 0.80, 0.85, 0.90]);
        let held_out = line(&[0.12, 0.17, 0.23, 0.28, 0.72, 0.78, 0.83, 0.88]);
        let judge = Neighbours::fit(&train, &held_out, 3).unwrap();
        let judged = judge.judge(&line(&[0.18, 0.82, 0.50, 1.0, 0.2])).unwrap();
        let seen: Vec<_> = judged
            .iter()
            .map(|j| (j.class, j.recognised, j.copied))
            .collect();
        assert_eq!(seen[..2], [(0, true, false), (1, true, false)]);
        assert!(!seen[2].1 && !seen[3].1); // between the clusters; beyond them
        assert_eq!(seen[4], (0, true, true)); // a known point itself
        assert!((judged[3].distance - 0.1).abs() < 1e-6);
    }

    #[test]
    fn bad_input_is_refused() {
        let train = line(&[0.1, 0.2, 0.8]);
        let plain = train.clone().without_labels();
        assert!(matches!(
            Neighbours::fit(&plain, &train, 1),
            Err(Error::Class(_))
        ));
        assert!(matches!(
            Neighbours::fit(&train, &train, 0),
            Err(Error::Config { .. })
        ));
        assert!(matches!(
            Neighbours::fit(&train, &train, 4),
            Err(Error::Config { .. })
        ));
        let none = train.select(&[]);
        assert!(matches!(
            Neighbours::fit(&train, &none, 1),
            Err(Error::Empty { .. })
        ));
        let large = Images::from_f32(ImageShape::square(1, 2), vec![0.0; 4]).unwrap();
        assert!(matches!(
            Neighbours::fit(&train, &large, 1),
            Err(Error::Shape { .. })
        ));
        let judge = Neighbours::fit(&train, &train, 1).unwrap();
        assert!(matches!(judge.judge(&large), Err(Error::Shape { .. })));
        assert!(judge.judge(&none).unwrap().is_empty());
    }
}
