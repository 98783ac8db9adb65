//! A generator with what feeds it: latents in, images out.

use burn::tensor::Tensor;
use refrain_core::Device;

use crate::images::expect_room;
use crate::params::{host, tensor};
use crate::players::Generator;
use crate::random::{Purpose, normal, stream};
use crate::{ImageShape, Images, Latent, Output, Result};

/// Images painted at once: bounds the memory a large request takes.
const CHUNK: usize = 256;

/// A generator and what is needed to feed it.
#[derive(Debug, Clone)]
pub(crate) struct Painter {
    pub(crate) generator: Generator,
    pub(crate) noise: usize,
    pub(crate) shape: ImageShape,
    pub(crate) classes: usize,
    pub(crate) shares: Vec<f32>, // how common each class is among the training images
    pub(crate) output: Output,
    pub(crate) device: Device,
}

impl Painter {
    /// The latents of images number `first` and on, of these classes.
    pub(crate) fn latents(
        &self,
        labels: &[u32],
        first: usize,
        seed: u64,
        purpose: Purpose,
    ) -> Vec<Latent> {
        // Image i has a stream of its own: the first ten of a hundred are the ten of ten.
        let latent = |(i, &label): (usize, &u32)| Latent {
            noise: normal(&mut stream(seed, purpose, (first + i) as u64), self.noise),
            class: Latent::one_hot(label, self.classes),
        };
        labels.iter().enumerate().map(latent).collect()
    }

    /// Refuses more images than there is memory for.
    pub(crate) fn expect_room(&self, count: usize) -> Result<()> {
        let each = self.shape.len() + self.noise + self.classes;
        expect_room("count", count, each, self.shape)
    }

    /// Pixels of the images at `latents`, whose lengths fit.
    pub(crate) fn pixels(&self, latents: &[Latent]) -> Result<Vec<f32>> {
        let mut pixels = Vec::with_capacity(latents.len().saturating_mul(self.shape.len()));
        for chunk in latents.chunks(CHUNK) {
            let input = |part: fn(&Latent) -> &[f32], width| {
                let flat: Vec<f32> = chunk.iter().flat_map(part).copied().collect();
                tensor(flat, &self.device).reshape([chunk.len(), width, 1, 1])
            };
            let noise = input(|l| &l.noise, self.noise);
            let class = (self.classes > 0).then(|| input(|l| &l.class, self.classes));
            let images: Tensor<4> = self.generator.forward(noise, class);
            pixels.extend(host(images.reshape([chunk.len() * self.shape.len()]))?);
        }
        Ok(pixels)
    }

    pub(crate) fn labelled(&self, labels: &[u32], seed: u64, purpose: Purpose) -> Result<Images> {
        let mut pixels = Vec::with_capacity(labels.len().saturating_mul(self.shape.len()));
        for (i, some) in labels.chunks(CHUNK).enumerate() {
            pixels.extend(self.pixels(&self.latents(some, i * CHUNK, seed, purpose))?);
        }
        let labels = (self.classes > 0).then(|| labels.to_vec());
        Ok(self.images(pixels, labels, self.classes))
    }

    pub(crate) fn images(
        &self,
        pixels: Vec<f32>,
        labels: Option<Vec<u32>>,
        classes: usize,
    ) -> Images {
        match self.output {
            Output::Brightness => Images::painted(self.shape, pixels, labels, classes),
            Output::Any => Images::unclamped(self.shape, pixels, labels, classes),
        }
    }

    pub(crate) fn sheet(&self, rows: usize, seed: u64, purpose: Purpose) -> Result<Images> {
        let columns = self.columns();
        let count = rows.saturating_mul(columns);
        self.expect_room(count)?;
        let labels: Vec<u32> = (0..count).map(|i| (i % columns) as u32).collect();
        self.labelled(&labels, seed, purpose)
    }

    pub(crate) fn columns(&self) -> usize {
        if self.classes > 0 { self.classes } else { 8 }
    }
}
