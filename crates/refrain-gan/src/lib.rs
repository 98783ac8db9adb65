//! Generative adversarial networks for images: train one, know whether it worked, paint with it.
//!
//! Two networks play a game. The *discriminator* learns to tell real images from painted ones; the
//! *generator* learns to be taken for real. When the game goes well, the generator paints new images
//! of the kind it was shown.
//!
//! | type | is |
//! |---|---|
//! | [`Images`] | the training images, checked once: bytes, floats, labels, splits, resizing |
//! | [`ImageFolder`] | pictures of a folder as such |
//! | [`Gan`] | the configuration; [`Gan::fit`] plays the game to its end |
//! | [`ConvGenerator`], [`ResidualGenerator`], [`MlpGenerator`] and their discriminators | the networks: DCGAN's, R3GAN's, and plain ones |
//! | [`Loss`], [`Penalty`], [`Conditional`], [`Augment`], [`Adam`] | the rules of the game and how it is learnt |
//! | [`Trainer`] | the same game step by step: sheets, metrics, checkpoints, a loop of your own |
//! | [`EpochReport`], [`Alarm`] | how it goes, and in words when it goes wrong |
//! | [`GanModel`] | the trained generator: samples, classes, walks between images, a file |
//! | [`Latent`], [`Inversion`] | points to paint from: walks, directions, the point of a given image |
//! | [`metrics`] | numbers that say whether the painted images are like real ones |
//! | [`ImageClassifier`] | the features and classes that the metrics ask for |
//! | [`Gan::points`], [`Mixture`] | settings for rows of a few numbers; rings and grids of points, on which collapse is easy to see |
//! | [`PianoRoll`] | bars of music as images, or as sequences |
//! | `SequenceGan`, `SequenceTrainer` (feature `sequence`) | language models trained further against a discriminator |
//! | [`Sheets`] | a picture of each epoch and an animated GIF of all, painted while training |
//! | [`Grid`], [`grid_png`], [`animation_gif`] | sheets and animations of images |
//!
//! # Paint digits
//!
//! The bundled 8×8 digits, a small network, and a few steps so that this page is tested in seconds.
//! The defaults take about a minute and paint digits that a nearest-neighbour judge reads.
//!
//! ```
//! use refrain_core::Monitor;
//! use refrain_gan::{ConvDiscriminator, ConvGenerator, Gan, Grid, ImageShape, Images, grid_png};
//!
//! let digits = refrain_data::bundled::digits()?;
//! let pixels: Vec<f32> = digits.images.iter().flatten().map(|&v| f32::from(v)).collect();
//! let labels = digits.labels.iter().map(|&label| u32::from(label)).collect();
//! let images = Images::scaled(ImageShape::square(1, 8), &pixels, 16.0)?.with_labels(labels, 10)?;
//! let (train, held_out) = images.split(0.2, 1)?;
//!
//! let device = refrain_core::device("cpu")?;
//! let gan = Gan {
//!     generator: ConvGenerator { base_channels: 8, channels: vec![8], ..Default::default() }.into(),
//!     discriminator: ConvDiscriminator { channels: vec![8], ..Default::default() }.into(),
//!     epochs: 1,
//!     ..Gan::default()
//! };
//! let model = gan.fit_with(&train, &device, &Monitor::silent())?; // `Monitor::bars()` shows progress
//!
//! let sheet = model.sheet(3, 7)?; // three of each digit, from seed 7
//! let png = grid_png(&sheet, &Grid { columns: model.columns(), ..Grid::default() })?;
//! # assert!(!png.is_empty());
//! let sevens = model.sample_labels(&[7, 7], 1)?;
//! # assert_eq!(sevens.len(), 2);
//!
//! let quality = refrain_gan::metrics::quality(&model.sample(300, 1)?, &train, &held_out)?;
//! println!("{quality}");
//! assert!(quality.real.frechet < quality.painted.frechet);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Is it working?
//!
//! The losses of a game do not go down; they balance. Look at four things instead:
//! - the sheets: with [`Gan::sheets`] each epoch is painted from the same noise into a folder, and all of
//!   them into an animated GIF; [`Trainer::sheet`] paints one in a loop of your own;
//! - each [`EpochReport`]: the discriminator should be right more often than not, and wrong at times;
//!   `variety` should come near 1, and `modes` near `modes_in_data`. When it looks like a collapse, an
//!   [`Alarm`] says so in words and names the setting to change (after the first ten epochs or thousand
//!   steps, when also a good game would look like one);
//! - the curves ([`GanModel::curves`]) of any metric that [`Trainer::measure`] is given;
//! - [`metrics::quality`]: a table with real images as the floor and noise as the ceiling.
//!
//! # Which setting when
//!
//! | you have | set |
//! |---|---|
//! | labels | nothing: classes are used where there are some; [`Conditional::None`] leaves them out |
//! | points or other rows of a few numbers | [`Gan::points`], [`Images::values`] |
//! | bars of music | [`PianoRoll`]: an image, or with [`PianoRoll::keys_as_channels`] a sequence, over whose time alone the networks convolve |
//! | larger images | more `channels` in both networks; from 32 × 32 on, [`ResidualGenerator`] and [`ResidualDiscriminator`] |
//! | few images | [`Augment`]; a larger `gamma` of the [`Penalty`] |
//! | images that are all alike | packs: `pac: 2` and more, without classes |
//! | a discriminator that always wins | a larger `gamma`, a lower `discriminator_adam.rate` |
//! | a game that is good and never settles | [`Gan::decay`]: both rates fall to nothing |
//! | to compare with a paper | its [`Loss`] and [`Penalty`]: WGAN-GP, SNGAN (hinge and `spectral`), LSGAN … |
//! | a GPU | the feature `wgpu` or `cuda`, and `refrain_core::device("wgpu")` |
//!
//! The same seed gives the same images on one machine's CPU, bit for bit, also across a checkpoint
//! ([`Trainer::save`], [`Trainer::resume`]); processors of other instruction sets round otherwise.
//!
//! A [`GanModel`]'s file is safetensors; with the feature `onnx`, `GanModel::export_onnx` writes the
//! generator for other programs. The discriminator is in a checkpoint only.

mod activation;
mod adam;
mod alarm;
mod animation;
mod augment;
mod checkpoint;
mod classifier;
mod conv;
mod convolution;
mod curves;
mod ema;
mod error;
mod folder;
mod fused;
#[cfg(test)]
mod game_tests;
mod gan;
mod images;
mod latent;
mod loss;
mod measure;
pub mod metrics;
mod mixture;
mod mlp;
mod model;
mod net;
#[cfg(feature = "onnx")]
mod onnx;
mod painter;
mod params;
mod penalty;
mod piano_roll;
mod plan;
mod players;
mod random;
mod report;
mod residual;
#[cfg(feature = "sequence")]
mod sequence;
mod sheet;
mod sheets;
mod spectral;
mod step;
mod trainer;
mod variety;

pub use activation::Activation;
pub use adam::Adam;
pub use alarm::Alarm;
pub use animation::{animation_gif, save_animation};
pub use augment::{Augment, Chance};
pub use classifier::{ImageClassifier, ImageClassifierModel};
pub use conv::{ConvDiscriminator, ConvGenerator, Norm, Upsample};
pub use error::{Error, Result};
pub use folder::{Fit, FolderImages, ImageFolder};
pub use gan::Gan;
pub use images::{ImageShape, Images};
pub use latent::{Inversion, Inverted};
pub use loss::{Loss, cross_entropy};
pub use mixture::Mixture;
pub use mlp::{MlpDiscriminator, MlpGenerator, Output};
pub use model::{GanModel, Latent};
pub use penalty::Penalty;
pub use piano_roll::{PianoRoll, RollNote};
pub use players::{Conditional, DiscriminatorConfig, GeneratorConfig};
pub use report::{EpochReport, StepReport};
pub use residual::{ResidualDiscriminator, ResidualGenerator};
#[cfg(feature = "sequence")]
pub use sequence::{
    RoundReport, SequenceDiscriminator, SequenceGan, SequenceTrainer, Sweep, SweepPoint, TextFrame,
    TrainedSequenceGan, reverse_perplexity, sweep,
};
pub use sheet::{Grid, grid_png, save_grid};
pub use sheets::Sheets;
pub use trainer::Trainer;
