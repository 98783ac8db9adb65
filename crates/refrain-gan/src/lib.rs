//! Generative adversarial networks for images.

mod adam;
mod checkpoint;
mod conv;
mod ema;
mod error;
mod gan;
mod images;
mod loss;
pub mod metrics;
mod model;
mod net;
mod params;
mod penalty;
mod random;
mod report;
mod sheet;
mod trainer;

pub use adam::Adam;
pub use conv::{ConvDiscriminator, ConvGenerator, Norm};
pub use error::{Error, Result};
pub use gan::Gan;
pub use images::{ImageShape, Images};
pub use loss::{Loss, cross_entropy};
pub use model::{GanModel, Latent};
pub use penalty::Penalty;
pub use report::{Alarm, EpochReport, StepReport};
pub use sheet::{Grid, grid_png, save_grid};
pub use trainer::Trainer;
