//! From *recommending* content to *creating* it.
//!
//! refrain learns what people like from what they did, recommends with reasons, and makes something
//! new in that taste: a tune, a text, a picture. It is a family of crates behind one dependency;
//! this one re-exports them, each behind a feature of the same name.
//!
//! | module | for |
//! |---|---|
//! | [`data`] | interactions from events or files, features, splits, bundled data |
#![cfg_attr(
    feature = "recommenders",
    doc = "| [`recommenders`] | neighbours, factors, rankers, ratings, content, hybrids, sequential models; reasons; re-ranking; search; evaluation |"
)]
#![cfg_attr(
    feature = "embeddings",
    doc = "| [`embeddings`] | vectors for words and items: train, neighbours, analogies |"
)]
#![cfg_attr(
    feature = "sequence",
    doc = "| [`sequence`] | transformers and recurrent models to train, checkpoint and generate with; CRF and CTC |"
)]
#![cfg_attr(
    feature = "gan",
    doc = "| [`gan`] | image GANs: train, sample, measure |"
)]
#![cfg_attr(
    feature = "music",
    doc = "| [`music`] | ABC notation, tokens, MIDI, WAV, scores as pictures |"
)]
#![cfg_attr(
    all(feature = "music", feature = "sequence"),
    doc = "| [`AbcTokenizer`] | tunes in ABC as what a language model reads and writes |"
)]
//!
//! # Ten lines: recommend, with a reason
//!
#![cfg_attr(
    all(feature = "recommenders", feature = "bundled"),
    doc = "```
use refrain::prelude::*;

let log = refrain::data::bundled::listening_log(7)?;          // simulated listeners, real tunes
let (train, test) = refrain::data::split::temporal(&log, 0.1)?;
let model = Als::default().fit(&train)?;
let someone = log.users().name(0).unwrap_or_default();
for r in model.recommend(someone, 3)? {
    println!(\"{} {:.3}\", r.item, r.score);
}
let report = evaluate(&model, &train, &test, &[Metric::Ndcg(10)])?;
println!(\"{report}\");
# Ok::<(), Box<dyn std::error::Error>>(())
```"
)]
//!
//! # Devices
//!
//! What trains by gradients runs on the device it is given: [`device`]`("cpu")`, `"wgpu"`, … The
//! features `flex` (default), `ndarray`, `wgpu`, `wgpu-fusion` and `cuda` say which are compiled in.

#[cfg(all(feature = "music", feature = "sequence"))]
mod abc;

#[cfg(all(feature = "music", feature = "sequence"))]
pub use abc::AbcTokenizer;
pub use refrain_core::{
    AsId, CancelToken, Event, IdMap, ModelFile, ModelWriter, Monitor, Progress, Silent, Stage,
    kernels, model_file, rng,
};
#[cfg(any(
    feature = "flex",
    feature = "ndarray",
    feature = "wgpu",
    feature = "cuda"
))]
pub use refrain_core::{Device, device, device_from_env, devices};
pub use refrain_data as data;
#[cfg(feature = "embeddings")]
pub use refrain_embeddings as embeddings;
#[cfg(feature = "gan")]
pub use refrain_gan as gan;
#[cfg(feature = "music")]
pub use refrain_music as music;
#[cfg(feature = "recommenders")]
pub use refrain_recommenders as recommenders;
#[cfg(feature = "sequence")]
pub use refrain_sequence as sequence;

/// The names most programs start with.
pub mod prelude {
    pub use refrain_core::{IdMap, Monitor};
    pub use refrain_data::Interactions;
    #[cfg(feature = "recommenders")]
    pub use refrain_recommenders::{Als, ItemKnn, Metric, Recommender, evaluate};
}
