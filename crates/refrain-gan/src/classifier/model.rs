//! A trained classifier: features, classes, modes, and its file.

use burn::tensor::activation::softmax;
use burn::tensor::{Device, Tensor};
use refrain_core::{ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use super::{ClassifierNet, ImageClassifier, input};
use crate::params::{self, host};
use crate::{Error, ImageShape, Images, Result};

const KIND: &str = "gan.classifier";
const VERSION: u32 = 1;

/// Images classified at once.
const CHUNK: usize = 256;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Parts {
    pub(super) config: ImageClassifier,
    pub(super) shape: ImageShape,
    pub(super) classes: usize,
}

/// A trained classifier of images.
#[derive(Debug, Clone)]
pub struct ImageClassifierModel {
    pub(super) parts: Parts,
    pub(super) net: ClassifierNet,
    pub(super) device: Device,
}

impl ImageClassifierModel {
    /// The configuration it was trained with.
    pub fn config(&self) -> &ImageClassifier {
        &self.parts.config
    }

    /// The shape of the images it knows.
    pub fn shape(&self) -> ImageShape {
        self.parts.shape
    }

    /// How many classes it tells apart.
    pub fn classes(&self) -> usize {
        self.parts.classes
    }

    /// The features of each image, `[image, feature]`, none negative.
    ///
    /// # Errors
    /// [`Error::Shape`] for images of another shape; [`Error::Device`].
    pub fn features(&self, images: &Images) -> Result<Vec<f32>> {
        self.run(images, |(_, features)| features)
    }

    /// The probability of each class for each image, `[image, class]`.
    ///
    /// # Errors
    /// As [`ImageClassifierModel::features`].
    pub fn probabilities(&self, images: &Images) -> Result<Vec<f32>> {
        self.run(images, |(logits, _)| softmax(logits, 1))
    }

    /// The likeliest class of each image.
    ///
    /// # Errors
    /// As [`ImageClassifierModel::features`].
    pub fn classify(&self, images: &Images) -> Result<Vec<u32>> {
        let rows = self.probabilities(images)?;
        let best = |row: &[f32]| {
            let all = row.iter().copied().enumerate();
            all.fold((0, -1.0), |a, b| if b.1 > a.1 { b } else { a }).0 as u32
        };
        Ok(rows
            .chunks_exact(self.parts.classes.max(1))
            .map(best)
            .collect())
    }

    /// The share of labelled images whose likeliest class is their label.
    ///
    /// # Errors
    /// [`Error::Class`] without labels, [`Error::Empty`], and as [`ImageClassifierModel::features`].
    pub fn accuracy(&self, images: &Images) -> Result<f64> {
        let Some(labels) = images.labels() else {
            return Err(Error::Class("accuracy needs labelled images".to_string()));
        };
        if images.is_empty() {
            return Err(Error::Empty {
                what: "images to classify",
            });
        }
        let found = self.classify(images)?;
        let right = found.iter().zip(labels).filter(|(a, b)| a == b).count();
        Ok(right as f64 / images.len() as f64)
    }

    /// The mode of each stacked image (see [`Images::stacked`]): each channel is classified by itself,
    /// and the classes are the digits of the mode's number, the first channel's first.
    ///
    /// # Errors
    /// [`Error::Shape`] when the classifier knows images of more than one channel, or the images have
    /// other sides; [`Error::Device`].
    pub fn modes(&self, images: &Images) -> Result<Vec<usize>> {
        let known = self.parts.shape;
        let shape = images.shape();
        if known.channels != 1 {
            let expected = "a classifier of images of one channel";
            return Err(Error::shape("modes", expected, known));
        }
        let planes = ImageShape {
            channels: 1,
            ..shape
        };
        let planes = Images::unclamped(planes, images.pixels().to_vec(), None, 0);
        let digits = self.classify(&planes)?;
        let number = |digits: &[u32]| {
            digits.iter().fold(0usize, |n, &d| {
                n.saturating_mul(self.parts.classes)
                    .saturating_add(d as usize)
            })
        };
        Ok(digits.chunks_exact(shape.channels).map(number).collect())
    }

    fn run(
        &self,
        images: &Images,
        part: impl Fn((Tensor<2>, Tensor<2>)) -> Tensor<2>,
    ) -> Result<Vec<f32>> {
        let shape = self.parts.shape;
        images.expect_shape("images to classify", shape)?;
        let mut all = Vec::new();
        for some in images.pixels().chunks(CHUNK * shape.len()) {
            let count = some.len() / shape.len();
            let rows = part(
                self.net
                    .forward(input(some.to_vec(), count, shape, &self.device)),
            );
            all.extend(host(rows.flatten(0, 1))?);
        }
        Ok(all)
    }

    /// Writes the classifier to a `*.refrain` file of kind `gan.classifier`.
    ///
    /// # Errors
    /// [`refrain_core::Error::Io`]; [`Error::Device`].
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        Ok(self.writer()?.write(path)?)
    }

    /// The bytes [`ImageClassifierModel::save`] writes.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.writer()?.to_bytes()?)
    }

    fn writer(&self) -> Result<ModelWriter<'static>> {
        let file = ModelWriter::new(KIND, VERSION).config(&self.parts)?;
        params::write(file, "net", &self.net)
    }

    /// Reads what [`ImageClassifierModel::save`] wrote.
    ///
    /// # Errors
    /// [`refrain_core::Error`] for a file that cannot be read or holds something else,
    /// [`Error::Saved`] when its parts do not fit together.
    pub fn load(path: impl AsRef<std::path::Path>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::open(path)?, device)
    }

    /// Reads a classifier from the bytes of its file.
    ///
    /// # Errors
    /// As [`ImageClassifierModel::load`].
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::from_bytes(bytes)?, device)
    }

    fn read(file: &ModelFile, device: &Device) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let parts: Parts = file.config()?;
        parts.config.check()?;
        params::check_size(
            file,
            "net",
            parts.config.weights(parts.shape, parts.classes),
        )?;
        let device = device.clone().inner();
        let net = parts.config.build(parts.shape, parts.classes, &device);
        let net = params::read(file, "net", net, &device)?;
        Ok(Self { parts, net, device })
    }
}
