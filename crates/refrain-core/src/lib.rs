//! What every refrain crate shares, and nothing else.
//!
//! | module | what |
//! |---|---|
//! | [`IdMap`] | a user's ids ↔ dense `u32`, in order of first appearance |
//! | [`MappedFile`] | a file's bytes, read when they are looked at |
//! | [`Values`] | numbers in memory, or in a mapped file |
//! | [`Monitor`] | progress and cancellation, in one value passed to long work |
//! | [`rng`] | seeded random streams, one per thread or per row |
//! | [`kernels`] | dot, axpy, norms, blocked scoring and top-k, dispatched on the processor at run time |
//! | [`model_file`] | the `*.refrain` file: safetensors and a JSON header, read without trust |
#![cfg_attr(
    feature = "device",
    doc = "| [`device()`] | a CPU or GPU by name, or from `REFRAIN_DEVICE` |"
)]
#![cfg_attr(
    feature = "device",
    doc = "| [`operation`] | differentiable steps of one's own among burn's, on the CPU |"
)]
//!
//! ```
//! use refrain_core::{IdMap, kernels};
//!
//! let mut items = IdMap::new();
//! let a = items.insert("Drowsy Maggie")?;
//! assert_eq!(items.insert("Drowsy Maggie")?, a); // the same id, the same number
//! assert_eq!(items.name(a), Some("Drowsy Maggie"));
//!
//! let scores = [0.1, 0.9, 0.4];
//! let best = kernels::top_k(&scores, 2);
//! assert_eq!(best[0].index, 1);
//! # Ok::<(), refrain_core::Error>(())
//! ```

#[cfg(feature = "device")]
mod device;
mod error;
mod file;
mod ids;
pub mod kernels;
mod mapped;
pub mod model_file;
#[cfg(feature = "device")]
pub mod operation;
mod progress;
pub mod rng;
mod values;

#[cfg(feature = "device")]
pub use device::{Device, device, device_from_env, devices, is_cpu};
pub use error::{Error, Result};
pub use file::replace_file;
pub use ids::{AsId, BadIds, IdMap};
pub use mapped::MappedFile;
pub use model_file::{ModelFile, ModelWriter};
#[cfg(feature = "indicatif")]
pub use progress::Bars;
pub use progress::{CancelToken, Event, Monitor, Progress, Silent, Stage};
pub use values::Values;
