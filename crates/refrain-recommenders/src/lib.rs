//! Collaborative, content-based and hybrid recommenders with explanations and evaluation.

mod als;
mod error;
mod explain;
mod load;
mod memory;
mod query;
mod recommender;

pub use error::{Error, Result};
pub use explain::{Contribution, Explanation, Reason, Who};
pub use load::{from_file, load};
pub use memory::Memory;
pub use query::Query;
pub use recommender::{Recommendation, Recommender};
