//! Whether the painted images are like the real ones, in numbers.
//!
//! | metric | says | best | worst |
//! |---|---|---|---|
//! | [`frechet_distance`] | how far apart two sets lie, mean and covariance | 0 | ∞ |
//! | [`Neighbours::judge`] | which class a sample is of, and whether it lies where real images do | | |
//! | [`quality`] | both, beside the same numbers for real images held out, and for noise | | |
//!
//! A number alone says little: distances depend on the features, their count and the number of samples.
//! [`quality`] therefore puts the floor (real images the model never saw) and the ceiling (noise)
//! beside each.

mod frechet;
mod neighbours;
mod quality;

pub use frechet::{frechet_distance, frechet_images};
pub use neighbours::{Judgement, Neighbours};
pub use quality::{Quality, SetQuality, quality};
