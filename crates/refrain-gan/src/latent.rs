//! What can be done with a trained model's latent space: truncation, straight walks, attributes, and the
//! way back from an image to the noise it might have been painted from.

use burn::tensor::Tensor;
use rand::RngExt;
use refrain_core::Monitor;
use serde::{Deserialize, Serialize};

use crate::params::{host, tensor};
use crate::random::{Purpose, normal, stream};
use crate::{Error, GanModel, ImageShape, Images, Latent, Result};

impl Latent {
    /// The point at `t` (0: here, 1: `other`) on the straight line to `other`.
    /// [`Latent::towards`] walks on a sphere, which suits normal noise better.
    #[must_use]
    pub fn straight(&self, other: &Self, t: f32) -> Self {
        let mix = |a: &[f32], b: &[f32]| {
            a.iter()
                .zip(b)
                .map(|(x, y)| x * (1.0 - t) + y * t)
                .collect()
        };
        Self {
            noise: mix(&self.noise, &other.noise),
            class: mix(&self.class, &other.class),
        }
    }

    /// The mean of some latents; averaging several with one attribute in common leaves the attribute
    /// (Radford et al. 2016, <https://arxiv.org/abs/1511.06434>).
    ///
    /// # Errors
    /// [`Error::Empty`]; [`Error::Shape`] when they are not of equal lengths.
    pub fn mean(latents: &[Self]) -> Result<Self> {
        let first = latents.first().ok_or(Error::Empty { what: "latents" })?;
        let mut sum = Self {
            noise: vec![0.0; first.noise.len()],
            class: vec![0.0; first.class.len()],
        };
        for (i, latent) in latents.iter().enumerate() {
            latent.expect_like(first, &format!("latent {i}"))?;
            let add = |to: &mut Vec<f32>, from: &[f32]| {
                to.iter_mut()
                    .zip(from)
                    .for_each(|(t, f)| *t += f / latents.len() as f32);
            };
            add(&mut sum.noise, &latent.noise);
            add(&mut sum.class, &latent.class);
        }
        Ok(sum)
    }

    /// From the mean of `without` to the mean of `with`: the direction of what the ones have and the
    /// others lack. Add it with [`Latent::moved`].
    ///
    /// # Errors
    /// As [`Latent::mean`].
    ///
    /// ```
    /// use refrain_gan::Latent;
    /// let at = |x: f32, y: f32| Latent { noise: vec![x, y], class: vec![] };
    /// let smile = Latent::direction(&[at(1.0, 5.0), at(1.0, 7.0)], &[at(1.0, 0.0)])?;
    /// assert_eq!(at(3.0, 1.0).moved(&smile, 0.5)?, at(3.0, 4.0));
    /// # Ok::<(), refrain_gan::Error>(())
    /// ```
    pub fn direction(with: &[Self], without: &[Self]) -> Result<Self> {
        Self::mean(with)?.moved(&Self::mean(without)?, -1.0)
    }

    /// This point, `amount` times `direction` further.
    ///
    /// # Errors
    /// [`Error::Shape`] when the two are not of equal lengths.
    pub fn moved(&self, direction: &Self, amount: f32) -> Result<Self> {
        direction.expect_like(self, "direction")?;
        let add = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x + amount * y).collect();
        Ok(Self {
            noise: add(&self.noise, &direction.noise),
            class: add(&self.class, &direction.class),
        })
    }

    fn expect_like(&self, other: &Self, what: &str) -> Result<()> {
        let lengths = |l: &Self| [l.noise.len(), l.class.len()];
        match lengths(self) == lengths(other) {
            true => Ok(()),
            false => {
                let text = |[n, c]: [usize; 2]| format!("{n} numbers of noise and {c} classes");
                Err(Error::shape(
                    what,
                    text(lengths(other)),
                    text(lengths(self)),
                ))
            }
        }
    }
}

impl GanModel {
    /// `count` new images from noise without extremes: numbers beyond ±`threshold` are drawn again
    /// (Brock et al. 2019, <https://arxiv.org/abs/1809.11096>). Smaller is more typical and less varied;
    /// 2 changes little, 0.5 much. Labelled as by [`GanModel::sample`].
    ///
    /// # Errors
    /// [`Error::Config`] for a threshold that is no positive number; as [`GanModel::sample`].
    pub fn sample_truncated(&self, count: usize, threshold: f32, seed: u64) -> Result<Images> {
        if !(threshold.is_finite() && threshold > 0.0) {
            return Err(Error::config(
                "threshold",
                format!("{threshold} is not a positive number"),
            ));
        }
        self.painter.expect_room(count)?;
        let labels = self.draw_labels(count, seed);
        let mut latents = self.painter.latents(&labels, 0, seed, Purpose::Sample);
        for (i, latent) in latents.iter_mut().enumerate() {
            let mut rng = stream(seed, Purpose::Inversion, i as u64);
            for value in &mut latent.noise {
                // Uniform within a tiny threshold, where redrawing would not end.
                let mut tries = 0;
                while value.abs() > threshold {
                    tries += 1;
                    *value = match tries {
                        ..1000 => normal(&mut rng, 1)[0],
                        _ => rng.random_range(-threshold..=threshold),
                    };
                }
            }
        }
        let painted = self.paint(&latents)?;
        match self.classes() {
            0 => Ok(painted),
            classes => painted.with_labels(labels, classes),
        }
    }

    /// `count` images on the straight line between two points, both ends included;
    /// [`GanModel::interpolate`] walks on a sphere.
    ///
    /// # Errors
    /// As [`GanModel::paint`].
    pub fn interpolate_straight(&self, from: &Latent, to: &Latent, count: usize) -> Result<Images> {
        self.painter.expect_room(count)?;
        let last = count.saturating_sub(1).max(1) as f32;
        let walk: Vec<Latent> = (0..count)
            .map(|i| from.straight(to, i as f32 / last))
            .collect();
        self.paint(&walk)
    }
}

/// How images are led back to the noise that paints them: Adam on the noise, from several starts, on the
/// mean squared error of the pixels (Creswell and Bharath 2016, <https://arxiv.org/abs/1611.05644>).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Inversion {
    /// Places to start from, the best of which is kept: the error has many hollows.
    pub starts: usize,
    /// Steps from each.
    pub steps: usize,
    /// Adam's step size; it falls to a tenth along a line.
    pub rate: f32,
    /// How much large noise is resented: added to the error as so many times the mean square of the
    /// noise, which pulls it to the middle, where images are likely. 0 for none.
    pub prior: f32,
    /// What the starts are drawn by.
    pub seed: u64,
}

impl Default for Inversion {
    fn default() -> Self {
        Self {
            starts: 4,
            steps: 200,
            rate: 0.1,
            prior: 1e-4,
            seed: 0,
        }
    }
}

/// An image led back.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Inverted {
    /// What paints the image, nearly.
    pub latent: Latent,
    /// The mean squared error of the pixels; judge it against that between two images of the data.
    pub error: f32,
}

impl Inversion {
    fn check(&self) -> Result<()> {
        for (field, value) in [("starts", self.starts), ("steps", self.steps)] {
            if value == 0 || value > 1 << 20 {
                return Err(Error::config(
                    field,
                    format!("{value} is not between 1 and 1048576"),
                ));
            }
        }
        if !(self.rate.is_finite() && self.rate > 0.0) {
            return Err(Error::config(
                "rate",
                format!("{} is not a positive number", self.rate),
            ));
        }
        if !(self.prior.is_finite() && self.prior >= 0.0) {
            return Err(Error::config(
                "prior",
                format!("{} is not 0 or positive", self.prior),
            ));
        }
        Ok(())
    }
}

/// Images inverted at once, over all their starts.
const CHUNK: usize = 64;

impl GanModel {
    /// For each image the latent that paints it best, as far as `how` finds it.
    ///
    /// # Errors
    /// [`Error::Shape`] for images of another shape than the model's, [`Error::Class`] when a model with
    /// classes is given images without labels, or with one it does not know, [`Error::Config`] for a
    /// setting that cannot work; [`Error::Device`].
    pub fn invert(&self, images: &Images, how: &Inversion) -> Result<Vec<Inverted>> {
        self.invert_with(images, how, &Monitor::silent())
    }

    /// [`GanModel::invert`], telling `monitor` the error.
    ///
    /// # Errors
    /// As [`GanModel::invert`], and [`refrain_core::Error::Cancelled`].
    pub fn invert_with(
        &self,
        images: &Images,
        how: &Inversion,
        monitor: &Monitor,
    ) -> Result<Vec<Inverted>> {
        how.check()?;
        images.expect_shape("images to invert", self.shape())?;
        let classes = self.classes();
        if classes > 0 {
            let labels = images.labels().ok_or_else(|| {
                Error::Class(format!(
                    "label the images with the model's {classes} classes"
                ))
            })?;
            labels
                .iter()
                .try_for_each(|&label| self.check_class(label))?;
        }
        let per_chunk = (CHUNK / how.starts).max(1);
        let chunks: Vec<Vec<usize>> = (0..images.len())
            .collect::<Vec<_>>()
            .chunks(per_chunk)
            .map(<[usize]>::to_vec)
            .collect();
        let stage = monitor.start("inversion", Some((chunks.len() * how.steps) as u64));
        let mut found = Vec::with_capacity(images.len());
        for chunk in &chunks {
            found.extend(self.invert_some(images, chunk, how, &stage)?);
        }
        Ok(found)
    }

    fn invert_some(
        &self,
        images: &Images,
        chunk: &[usize],
        how: &Inversion,
        stage: &refrain_core::Stage,
    ) -> Result<Vec<Inverted>> {
        let (width, classes) = (self.painter.noise, self.painter.classes);
        let device = &self.painter.device;
        let ImageShape {
            channels,
            height,
            width: columns,
        } = self.shape();
        let rows = chunk.len() * how.starts; // image by image, start by start
        let repeated = |i: &usize| std::iter::repeat_n(*i, how.starts);
        let of_row: Vec<usize> = chunk.iter().flat_map(repeated).collect();

        let start = |(row, &image): (usize, &usize)| {
            let index = (image * how.starts + row % how.starts) as u64;
            normal(&mut stream(how.seed, Purpose::Inversion, index), width)
        };
        let starts: Vec<f32> = of_row.iter().enumerate().flat_map(start).collect();
        let target: Vec<f32> = of_row
            .iter()
            .flat_map(|&i| images.image(i))
            .copied()
            .collect();
        let target = tensor(target, device)
            .reshape([rows, channels, height, columns])
            .autodiff();
        let class: Option<Vec<f32>> = images.labels().filter(|_| classes > 0).map(|labels| {
            of_row
                .iter()
                .flat_map(|&i| Latent::one_hot(labels[i], classes))
                .collect()
        });
        let class: Option<Tensor<4>> =
            class.map(|flat| tensor(flat, device).reshape([rows, classes, 1, 1]));

        let mut noise = tensor(starts, device).reshape([rows, width, 1, 1]);
        let (mut mean, mut square) = (noise.zeros_like(), noise.zeros_like());
        let mut best = vec![(f32::INFINITY, Vec::new()); chunk.len()];
        for step in 0..=how.steps {
            let leaf: Tensor<4> = noise.clone().autodiff().require_grad();
            let class = class.clone().map(Tensor::autodiff);
            let painted = self.painter.generator.forward(leaf.clone(), class);
            let each = (painted - target.clone())
                .square()
                .flatten::<2>(1, 3)
                .mean_dim(1); // [rows, 1]
            let told = host(each.clone().inner().flatten(0, 1))?;
            if step == how.steps || step % 10 == 0 {
                let values = host(noise.clone().flatten(0, 3))?;
                for (row, &error) in told.iter().enumerate() {
                    if let Some(best) = best.get_mut(row / how.starts)
                        && (error < best.0 || best.1.is_empty())
                    {
                        *best = (error, values[row * width..(row + 1) * width].to_vec());
                    }
                }
            }
            if step == how.steps {
                break;
            }
            let far = leaf.clone().square().flatten::<2>(1, 3).mean_dim(1);
            let loss = (each + far.mul_scalar(how.prior)).sum();
            let Some(gradient) = leaf.grad(&loss.backward()) else {
                return Err(Error::Device(
                    "the generator's noise has no gradient".to_string(),
                ));
            };
            // Adam with β₁ 0.9 and β₂ 0.99.
            mean = mean * 0.9 + gradient.clone() * 0.1;
            square = square * 0.99 + gradient.square() * 0.01;
            let t = step as i32 + 1;
            let rate = how.rate * (1.0 - 0.9 * step as f32 / how.steps as f32);
            let up = mean.clone() / (1.0 - 0.9f32.powi(t));
            let down = (square.clone() / (1.0 - 0.99f32.powi(t))).sqrt() + 1e-8;
            noise = noise - up / down * rate;
            let least = told.iter().copied().fold(f32::INFINITY, f32::min);
            stage.advance(1, format_args!("error {least:.5}"))?;
        }
        let inverted = |((error, noise), &image): ((f32, Vec<f32>), &usize)| {
            let label = images
                .labels()
                .and_then(|labels| labels.get(image))
                .copied();
            let class = Latent::one_hot(label.unwrap_or(0), classes);
            Inverted {
                latent: Latent { noise, class },
                error,
            }
        };
        Ok(best.into_iter().zip(chunk).map(inverted).collect())
    }
}

#[cfg(test)]
#[path = "latent_tests.rs"]
mod tests;
