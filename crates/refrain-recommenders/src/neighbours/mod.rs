//! Recommenders that compare histories: item-kNN and user-kNN on one sparse kernel.

mod item_knn;
mod product;
pub(crate) mod sparse;
mod user_knn;
pub(crate) mod weighting;

pub use item_knn::{ItemKnn, ItemKnnModel};
pub use user_knn::{UserKnn, UserKnnModel};
pub use weighting::Weighting;

pub(crate) use item_knn::READER as ITEM_KNN;
pub(crate) use user_knn::READER as USER_KNN;

use crate::{Error, Result};

fn check_settings(
    model: &'static str,
    neighbours: usize,
    asymmetry: f32,
    shrinkage: f32,
) -> Result<()> {
    let (field, value, expected) = match () {
        () if neighbours == 0 => ("neighbours", neighbours.to_string(), "must be at least 1"),
        () if !(0.0..=1.0).contains(&asymmetry) => {
            ("asymmetry", asymmetry.to_string(), "must be from 0 to 1")
        }
        () if !(shrinkage.is_finite() && shrinkage >= 0.0) => {
            ("shrinkage", shrinkage.to_string(), "must be at least 0")
        }
        () => return Ok(()),
    };
    Err(Error::Config {
        model,
        field,
        value,
        expected,
    })
}
