//! Whether the painted images are like the real ones, in numbers.
//!
//! | metric | says | best | worst |
//! |---|---|---|---|
//! | [`frechet_distance`] | how far apart two sets lie, mean and covariance | 0 | ∞ |
//! | [`kernel_distance`], [`KernelDistance`] | the same by three moments, without bias | 0 | ∞ |
//! | [`manifold`]: precision, density | whether the images lie where real ones do | 1 | 0 |
//! | [`manifold`]: recall, coverage | whether they lie everywhere real ones do | 1 | 0 |
//! | [`class_score`] | whether a classifier is sure of each and finds all classes | classes | 1 |
//! | [`mode_coverage`] | how many modes of the data are painted, and how evenly | all | 1 |
//! | [`Bins`] | the same for data without labels: kinds of sample (k-means bins) never painted | 0 | all |
//! | [`memorisation`] | whether they are copies of training images | ½ | 1 |
//! | [`Neighbours::judge`] | which class a sample is of, and whether it lies where real images do | | |
//! | [`quality`] | a table with real images as the floor and noise as the ceiling | | |
//! | [`piano_roll_quality`] | what is heard of piano rolls | as the data | |
//!
//! Those of the first block take feature vectors, rows of equal length one behind the other: pixels for
//! small images ([`Images::pixels`](crate::Images::pixels)), the features of an
//! [`ImageClassifierModel`](crate::ImageClassifierModel), or what another program says of the images. A
//! number alone says little: distances depend on the features, their count and the number of samples.
//! Measure real images that were held out beside the painted ones.
#![cfg_attr(
    feature = "sequence",
    doc = "
For text and tunes, [`sweep`](crate::sweep) measures at several temperatures: BLEU against real texts
([`Bleu::mean_against`](refrain_sequence::metrics::Bleu::mean_against)), which says how like them the written ones
are; self-BLEU ([`Bleu::self_score`](refrain_sequence::metrics::Bleu::self_score)), how alike they are among
themselves; the perplexity under a reference model, whether such a model would write them; and
[`reverse_perplexity`](crate::reverse_perplexity), whether a model that learns from them alone knows the real ones."
)]

mod bins;
mod class_score;
mod frechet;
#[cfg(test)]
mod golden;
mod kernel;
mod manifold;
mod memorisation;
mod modes;
mod neighbours;
mod piano_roll;
mod quality;
mod rows;

pub use bins::{BinReport, Bins};
pub use class_score::class_score;
pub use frechet::{frechet_distance, frechet_images};
pub use kernel::{Estimate, KernelDistance, kernel_distance};
pub use manifold::{Manifold, manifold};
pub use memorisation::{Memorisation, NearestTraining, memorisation};
pub use modes::{ModeCoverage, ModeSample, mode_coverage};
pub use neighbours::{Judgement, Neighbours};
pub use piano_roll::{PianoRollQuality, piano_roll_quality, tonal_distance};
pub use quality::{Quality, SetQuality, quality};
