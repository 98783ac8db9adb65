//! A trained generator: samples, walks between them, and its file.

use rand::RngExt;
use refrain_core::{Device, ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use crate::painter::Painter;
use crate::params;
use crate::random::{Purpose, stream};
use crate::report::{read_history, write_history};
use crate::{EpochReport, Error, Gan, ImageShape, Images, Result};

/// What the file of a trained model calls itself.
const KIND: &str = "gan";
const VERSION: u32 = 4;

/// Where an image is painted from: noise, and how much of each class.
#[derive(Debug, Clone, PartialEq)]
pub struct Latent {
    /// Standard normal numbers.
    pub noise: Vec<f32>,
    /// A weight for each class, 1 in all; empty for a model without classes.
    pub class: Vec<f32>,
}

impl Latent {
    /// The point at `t` (0: here, 1: `other`) on the way to `other`. Noise walks on a sphere, because
    /// the middle of a straight line is nearer to the origin than normal noise ever is (Shoemake 1985;
    /// White 2016, <https://arxiv.org/abs/1609.04468>); classes are mixed.
    ///
    /// ```
    /// use refrain_gan::Latent;
    /// let east = Latent { noise: vec![1.0, 0.0], class: vec![] };
    /// let north = Latent { noise: vec![0.0, 1.0], class: vec![] };
    /// let half = east.towards(&north, 0.5);
    /// assert!((half.noise[0] - 0.5f32.sqrt()).abs() < 1e-6);
    /// ```
    #[must_use]
    pub fn towards(&self, other: &Self, t: f32) -> Self {
        let class = self
            .class
            .iter()
            .zip(&other.class)
            .map(|(a, b)| a * (1.0 - t) + b * t);
        Self {
            noise: slerp(&self.noise, &other.noise, t),
            class: class.collect(),
        }
    }

    pub(crate) fn one_hot(label: u32, classes: usize) -> Vec<f32> {
        (0..classes)
            .map(|class| if class == label as usize { 1.0 } else { 0.0 })
            .collect()
    }
}

/// Spherical interpolation; lengths are interpolated linearly.
fn slerp(a: &[f32], b: &[f32], t: f32) -> Vec<f32> {
    let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
    let (la, lb) = (length(a), length(b));
    let cos = a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>() / (la * lb).max(f32::MIN_POSITIVE);
    let angle = cos.clamp(-1.0, 1.0).acos();
    let sin = angle.sin();
    let line = |x: f32, y: f32| x * (1.0 - t) + y * t;
    if sin < 1e-4 || la * lb < f32::MIN_POSITIVE {
        return a.iter().zip(b).map(|(&x, &y)| line(x, y)).collect();
    }
    let (wa, wb) = (
        ((1.0 - t) * angle).sin() / sin / la,
        (t * angle).sin() / sin / lb,
    );
    let scale = line(la, lb);
    a.iter()
        .zip(b)
        .map(|(x, y)| scale * (wa * x + wb * y))
        .collect()
}

/// A trained generative adversarial network.
#[derive(Debug, Clone)]
pub struct GanModel {
    config: Gan,
    pub(crate) painter: Painter,
    history: Vec<EpochReport>,
}

#[derive(Serialize, Deserialize)]
struct Saved {
    gan: Gan,
    shape: ImageShape,
    classes: usize,
}

impl GanModel {
    pub(crate) fn new(config: Gan, painter: Painter, history: Vec<EpochReport>) -> Self {
        Self {
            config,
            painter,
            history,
        }
    }

    /// The configuration it was trained with.
    pub fn config(&self) -> &Gan {
        &self.config
    }

    /// The shape of the images it paints.
    pub fn shape(&self) -> ImageShape {
        self.painter.shape
    }

    /// How many classes it tells apart; 0 when it paints without classes.
    pub fn classes(&self) -> usize {
        self.painter.classes
    }

    /// The numbers of each epoch of its training.
    pub fn history(&self) -> &[EpochReport] {
        &self.history
    }

    /// Losses, accuracy and variety over the epochs as an SVG picture.
    pub fn curves(&self) -> String {
        crate::curves::draw(&self.history)
    }

    /// `count` new images; with classes, each of a class drawn at random, as common as among the
    /// training images ([`GanModel::class_shares`]), and labelled with it. For as many of each class
    /// give their labels to [`GanModel::sample_labels`]. The same seed gives the same images, and a
    /// longer request begins with the shorter one's (to rounding).
    ///
    /// # Errors
    /// [`Error::Config`] for more images than there is memory for; [`Error::Device`].
    pub fn sample(&self, count: usize, seed: u64) -> Result<Images> {
        self.painter.expect_room(count)?;
        let labels = self.draw_labels(count, seed);
        self.painter.labelled(&labels, seed, Purpose::Sample)
    }

    /// How common each class was among the training images, 1 in all; empty without classes.
    pub fn class_shares(&self) -> &[f32] {
        &self.painter.shares
    }

    /// A class for each of `count` images; 0 where there are no classes.
    pub(crate) fn draw_labels(&self, count: usize, seed: u64) -> Vec<u32> {
        let mut rng = stream(seed, Purpose::Sample, u64::MAX);
        let shares = &self.painter.shares;
        let class = |_| {
            let mut left = rng.random::<f32>();
            let reached = shares.iter().position(|&share| {
                left -= share;
                left < 0.0
            });
            // Rounding can leave a little: the last class that there is.
            let last = || shares.iter().rposition(|&share| share > 0.0);
            reached.or_else(last).unwrap_or(0) as u32
        };
        (0..count).map(class).collect()
    }

    /// One new image for each label.
    ///
    /// # Errors
    /// [`Error::Class`] when the model has no such class; as [`GanModel::sample`].
    pub fn sample_labels(&self, labels: &[u32], seed: u64) -> Result<Images> {
        labels
            .iter()
            .try_for_each(|&label| self.check_class(label))?;
        self.painter.expect_room(labels.len())?;
        self.painter.labelled(labels, seed, Purpose::Sample)
    }

    /// `rows` rows of eight new images, or of one image per class: feed them to
    /// [`save_grid`](crate::save_grid) with [`GanModel::columns`].
    ///
    /// # Errors
    /// As [`GanModel::sample`].
    pub fn sheet(&self, rows: usize, seed: u64) -> Result<Images> {
        self.painter.sheet(rows, seed, Purpose::Sample)
    }

    /// Images in one row of a sheet.
    pub fn columns(&self) -> usize {
        self.painter.columns()
    }

    /// A point to paint from, drawn from `seed`; `class` must be given exactly when the model has
    /// classes.
    ///
    /// # Errors
    /// [`Error::Class`].
    pub fn latent(&self, class: Option<u32>, seed: u64) -> Result<Latent> {
        match (class, self.painter.classes) {
            (None, 0) => {}
            (Some(class), _) => self.check_class(class)?,
            (None, classes) => {
                return Err(Error::Class(format!(
                    "name one of the model's {classes} classes"
                )));
            }
        }
        let mut latents = self
            .painter
            .latents(&[class.unwrap_or(0)], 0, seed, Purpose::Sample);
        latents.pop().ok_or(Error::Empty { what: "latents" })
    }

    /// The images at `latents`, without labels.
    ///
    /// # Errors
    /// [`Error::Shape`] when a latent does not have the model's lengths, or holds a number that is
    /// not finite; [`Error::Device`].
    pub fn paint(&self, latents: &[Latent]) -> Result<Images> {
        let want = [self.painter.noise, self.painter.classes];
        for (i, latent) in latents.iter().enumerate() {
            let found = [latent.noise.len(), latent.class.len()];
            if found != want {
                let text = |[n, c]: [usize; 2]| format!("{n} numbers of noise and {c} classes");
                return Err(Error::shape(format!("latent {i}"), text(want), text(found)));
            }
            if let Some(v) = latent
                .noise
                .iter()
                .chain(&latent.class)
                .find(|v| !v.is_finite())
            {
                return Err(Error::shape(format!("latent {i}"), "finite numbers", v));
            }
        }
        let pixels = self.painter.pixels(latents)?;
        Ok(self.painter.images(pixels, None, 0))
    }

    /// `count` images on the way from one point to another, both ends included.
    ///
    /// # Errors
    /// As [`GanModel::paint`] and [`GanModel::sample`].
    pub fn interpolate(&self, from: &Latent, to: &Latent, count: usize) -> Result<Images> {
        self.painter.expect_room(count)?;
        let last = count.saturating_sub(1).max(1) as f32;
        let walk: Vec<Latent> = (0..count)
            .map(|i| from.towards(to, i as f32 / last))
            .collect();
        self.paint(&walk)
    }

    /// Writes the generator to a `*.refrain` file of kind `gan`, which is a safetensors file. Its tensors
    /// are `history`, `history.steps`, each `metric.<name>`, `class_shares`, and per layer `generator.net.layers.<i>.weight` and `.bias`: matrices `[in, out]`,
    /// convolutions `[out, in, height, width]`, transposed ones `[in, out, height, width]`; a residual
    /// block's stand under `.body.layers.<j>` and `.skip.layers.<j>`.
    ///
    /// # Errors
    /// [`Error::Numeric`] for weights that are no numbers, as divergence leaves them;
    /// [`refrain_core::Error::Io`]; [`Error::Device`].
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        Ok(self.writer()?.write(path)?)
    }

    /// The bytes [`GanModel::save`] writes.
    ///
    /// # Errors
    /// [`Error::Numeric`] as there; [`Error::Device`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.writer()?.to_bytes()?)
    }

    fn writer(&self) -> Result<ModelWriter<'static>> {
        let Painter {
            shape,
            classes,
            ref shares,
            ..
        } = self.painter;
        let saved = Saved {
            gan: self.config.clone(),
            shape,
            classes,
        };
        let file = ModelWriter::new(KIND, VERSION).config(&saved)?;
        let file = params::write(file, "generator", &self.painter.generator)?;
        let file = file.f32("class_shares", &[classes], shares.clone())?;
        write_history(file, &self.history)
    }

    /// Reads a model that [`GanModel::save`] wrote.
    ///
    /// # Errors
    /// [`refrain_core::Error`] for a file that cannot be read or holds something else,
    /// [`Error::Saved`] when its parts do not fit together.
    pub fn load(path: impl AsRef<std::path::Path>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::open(path)?, device)
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// As [`GanModel::load`].
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::from_bytes(bytes)?, device)
    }

    fn read(file: &ModelFile, device: &Device) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let Saved {
            gan,
            shape,
            classes,
        } = file.config()?;
        gan.check()?;
        params::check_size(file, "generator", gan.generator.weights(shape, classes))?;
        let device = device.clone().inner();
        let generator = gan.generator.build(shape, classes, 0, &device);
        let generator = params::read(file, "generator", generator, &device)?;
        let history = read_history(&gan, file)?;
        let shares = file.f32("class_shares")?;
        let shares = shares.expect_shape("class_shares", &[classes])?.data;
        if let Some(share) = shares.iter().find(|s| !(0.0..=1.0).contains(*s)) {
            return Err(Error::Saved {
                file: file.origin().to_string(),
                reason: format!("a class cannot have the share {share}"),
            });
        }
        let (noise, output) = (gan.generator.noise(), gan.generator.output());
        Ok(Self {
            config: gan,
            painter: Painter {
                generator,
                noise,
                shape,
                classes,
                shares: shares.into_owned(),
                output,
                device,
            },
            history,
        })
    }

    pub(crate) fn check_class(&self, class: u32) -> Result<()> {
        match (class as usize) < self.painter.classes {
            true => Ok(()),
            false if self.painter.classes == 0 => Err(Error::Class(
                "the model has no classes: train with labelled images and `conditional`".into(),
            )),
            false => {
                let classes = self.painter.classes;
                Err(Error::Class(format!(
                    "class {class} is not below the model's {classes}"
                )))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::normal;

    #[test]
    fn slerp_keeps_length_and_ends() {
        let a = normal(&mut stream(1, Purpose::Sample, 0), 50);
        let b = normal(&mut stream(1, Purpose::Sample, 1), 50);
        let length = |v: &[f32]| v.iter().map(|x| x * x).sum::<f32>().sqrt();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-5);
        assert!(close(&slerp(&a, &b, 0.0), &a) && close(&slerp(&a, &b, 1.0), &b));
        let half = length(&slerp(&a, &b, 0.5));
        assert!(
            (half - (length(&a) + length(&b)) / 2.0).abs() < 1e-4,
            "{half}"
        );
        assert!(close(&slerp(&a, &a, 0.3), &a));
        let zero = vec![0.0; 50];
        assert!(slerp(&zero, &b, 0.5).iter().all(|v| v.is_finite()));
    }
}
