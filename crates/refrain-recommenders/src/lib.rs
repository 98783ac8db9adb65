//! Recommenders that remember what they need: fitted once, they answer in your own ids, hide what was
//! seen, say why, and fit in one file.
//!
//! Three things to know. A **config** is a plain struct whose defaults are meant to be used
//! ([`ItemKnn`], [`Als`], [`ContentBased`], [`Blend`], …). Its `fit` takes [`Interactions`] and
//! returns a **fitted model**. Every fitted model is a [`Recommender`]: recommendations for someone
//! known, for someone new, similar items, explanations, saving.
//!
//! ```
//! use refrain_data::{Interactions, split};
//! use refrain_recommenders::{ItemKnn, Metric, Recommender, evaluate};
//!
//! let log = Interactions::from_events([
//!     ("ann", "Banshee", 3.0), ("ann", "Cooley's", 1.0),
//!     ("ben", "Banshee", 1.0), ("ben", "Cooley's", 2.0), ("ben", "Kesh", 1.0),
//!     ("cat", "Cooley's", 1.0), ("cat", "Kesh", 5.0), ("cat", "Tripping Up", 1.0),
//! ])?;
//! let model = ItemKnn::default().fit(&log)?;
//!
//! let best = model.recommend("ann", 10)?; // at most 10, never what she had
//! assert_eq!(best[0].item, "Kesh");
//! let why = model.explain("ann", "Kesh")?; // its parts add up to the score
//! assert_eq!(why.because(1)[0].reason.to_string(), "because of “Cooley's”");
//! # Ok::<(), refrain_recommenders::Error>(())
//! ```
//!
//! # Which model when
//!
//! | you have | take | why |
//! |---|---|---|
//! | a log, and the top of the list counts | [`Warp`], [`Bpr`] | trained to rank |
//! | a log of who had what | [`Als`] | good at its defaults on logs of any size; small and fast to ask |
//! | the same, and reasons matter | [`ItemKnn`] | “because of X”; no training for new users |
//! | up to some ten thousand items | [`Ease`], [`Slim`] | hard to beat there; SLIM keeps few weights |
//! | a few items that take most of the events | [`Rp3Beta`] | as cheap as item-kNN, and reaches the long tail |
//! | few users, many items | [`UserKnn`] | like-minded people vote |
//! | features and a log; new items and users | [`LightFm`] | places those who have no history yet |
//! | features of items, new items | [`ContentBased`] | needs no one to have had an item |
//! | two or more of these | [`Blend`] | weights fitted on validation data, seldom below its best member; to be compared with it: [stacked](StackModel), [by history length](SwitchModel), [in stages](CascadeModel) |
//! | nothing about someone | [`Popularity`] | with a half-life: what is popular now |
//! | times, and what comes next | [`SessionKnn`], [`Markov`] | the order of a history; a new session counts at once |
//! | the same, many events, time to train | `SasRec`, `Gru4Rec`, `Bert4Rec` (feature `sequential`) | networks that learn the order, on any device |
//! | new items with features | `TwoTower` (feature `sequential`) | an item nobody had is its features |
//! | ratings, and want to predict them | [`SvdPlusPlus`], [`RatingBlend`] | see [`RatingPredictor`] for all of them |
//! | a metric you want to understand | [`Random`] | the floor |
//!
//! # Someone new
//!
//! Anyone with a history can be answered, whether or not they were there at `fit`:
//!
//! ```
//! # use refrain_recommenders::*;
//! # let log = refrain_data::Interactions::from_events(
//! #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
//! let model = ItemKnn::default().fit(&log)?;
//! let best = model.recommend_for(&[("3", 2.0), ("7", 1.0)], 5)?;
//! assert_eq!(best.len(), 5);
//! # Ok::<(), Error>(())
//! ```
//!
//! # Allow, deny, filter
//!
//! ```
//! # use refrain_recommenders::*;
//! # let log = refrain_data::Interactions::from_events(
//! #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
//! # let model = ItemKnn::default().fit(&log)?;
//! let query = Query::top(10).deny(["5", "6"]).filter(|id| id.len() == 1);
//! for r in model.recommend_where("0", &query)? {
//!     assert!(r.item.len() == 1 && r.item != "5");
//! }
//! # Ok::<(), Error>(())
//! ```
//!
//! # Which is better?
//!
//! [`evaluate`] measures one model, [`Leaderboard`] and [`compare`] several; the definitions stand on
//! the [`metrics`] page. [`Report::interval`] says how sure a number is, [`Report::versus`] whether two
//! models differ.
//!
//! ```
//! # use refrain_data::{Interactions, split};
//! # use refrain_recommenders::*;
//! # let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
//! let (train, test) = split::random(&log, 0.2, 7)?;
//! let mut board = Leaderboard::new(&train, &test)?;
//! board.run("popularity", || Popularity::default().fit(&train))?;
//! let knn = board.run("item-kNN", || ItemKnn::default().fit(&train))?;
//! let blend = Blend::default()
//!     .member("popularity", |log| Popularity::default().fit(log))
//!     .member("item-kNN", |log| ItemKnn::default().fit(log));
//! board.run("blend", || blend.fit(&train))?;
//! println!("{board}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Another order
//!
//! [`Reranked`] wraps any model: lists that are diverse ([`Mmr`]), less popular ([`Debias`]), of the
//! user's own mix ([`Calibrate`]), by business [`Rules`], or that [`Explore`].
//!
//! # Probabilities, and everyone at once
//!
//! [`Probabilities`] turns scores into shares of held-out data. [`recommend_stream`] and
//! [`recommend_to_csv`] answer for millions of users in little memory.
//!
//! # Better settings
//!
//! [`Search`] tries settings on a part of the training log: a grid, draws or successive halving, with
//! a budget, and a journal to go on from.
//!
//! # Saving
//!
//! [`Recommender::save`] writes one file and [`load`] reads any of them back to the same bits; a
//! loaded model needs nothing else.
//!
//! ```
//! # use refrain_recommenders::*;
//! # let log = refrain_data::Interactions::from_events([("a", "x", 1.0), ("b", "x", 1.0), ("b", "y", 1.0)])?;
//! # let folder = std::env::temp_dir().join(format!("refrain-guide-{}", std::process::id()));
//! # std::fs::create_dir_all(&folder).ok();
//! let path = folder.join("knn.refrain");
//! let model = ItemKnn::default().fit(&log)?;
//! model.save(&path)?;
//! let again: Box<dyn Recommender> = load(&path)?; // any model; load_as::<ItemKnnModel>(&path)? one type
//! assert_eq!(again.recommend("a", 3)?, model.recommend("a", 3)?);
//! # std::fs::remove_dir_all(&folder).ok();
//! # Ok::<(), Error>(())
//! ```
//!
//! # A model of your own
//!
//! Implement the seven required methods of [`Recommender`]: the rest, blends and evaluation come with
//! it. [`Memory`] keeps ids and histories for you. [`load`] knows the models of this crate alone: keep a file
//! of your own for yours, and for a blend that holds one.
//!
//! # Threads
//!
//! Work is shared out among rayon's current pool: as many threads as cores, `RAYON_NUM_THREADS`, or those
//! of a pool of yours, `pool.install(|| model.fit(&log))`. Results do not depend on their number unless a
//! model's page says so.
//!
//! [`Interactions`]: refrain_data::Interactions

mod als;
#[cfg(test)]
mod conformance;
mod content;
mod error;
mod evaluate;
mod explain;
mod hybrid;
mod leaderboard;
mod load;
mod memory;
pub mod metrics;
mod neighbours;
mod popularity;
mod probability;
mod query;
mod random;
mod ranking;
mod ratings;
mod recommender;
mod rerank;
mod search;
mod sequential;
mod stream;

pub use als::{Als, AlsModel, Confidence, Regularization, Solver};
#[cfg(test)]
pub(crate) use conformance::conformance;
pub use content::{ContentBased, ContentBasedModel, FeatureWeights};
pub use error::{Error, Result};
pub use evaluate::{
    Bootstrap, Evaluator, Interval, Paired, Report, evaluate, evaluate_sampled_biased,
};
pub use explain::{Contribution, Explanation, Reason, Who};
pub use hybrid::{
    Blend, BlendModel, CascadeModel, FitMember, Mix, StackModel, StackWeights, SwitchModel, Tuning,
};
pub use leaderboard::{Leaderboard, Row, compare};
pub use load::{from_file, load, load_as};
pub use memory::Memory;
pub use metrics::Metric;
pub use neighbours::{
    Ease, EaseModel, ItemKnn, ItemKnnModel, ItemModel, P3Alpha, P3AlphaModel, Rp3Beta,
    Rp3BetaModel, Similarity, Slim, SlimModel, UserKnn, UserKnnModel, Weighting,
};
pub use popularity::{Popularity, PopularityModel};
pub use probability::{Method, Probabilities, ProbabilityModel};
pub use query::Query;
pub use random::{Random, RandomModel};
pub use ranking::{
    Bpr, FactorConfig, FactorModel, FactorizationMachine, FeatureConfig, FeatureModel, KosWarp,
    LightFm, LogisticMf, Negatives, Optimizer, PureSvd, PureSvdModel, RankingLoss, Warp,
};
pub use ratings::{
    Baseline, BaselineModel, BiasedMf, BiasedMfModel, ExplicitAls, ExplicitAlsModel, KnnBaseline,
    KnnBaselineModel, Neighbours, Nmf, NmfModel, RatingBlend, RatingBlendModel, RatingPredictor,
    RatingReport, RatingScale, SlopeOne, SlopeOneModel, SvdPlusPlus, SvdPlusPlusModel, UserRatings,
    cross_validate_ratings, evaluate_ratings,
};
pub use recommender::{Change, Recommendation, Recommender, SimilarUser};
#[cfg(feature = "sequential")]
pub use refrain_core::Device;
pub use rerank::{Alike, Calibrate, Debias, Explore, Groups, Mmr, Rerank, Reranked, Rules};
pub use search::{
    Finished, Goal, Range, Resource, Search, SearchReport, Space, Strategy, Trial, Value,
};
#[cfg(feature = "sequential")]
pub use sequential::{
    Bert4Rec, Gru4Rec, NextItemLoss, NextItemModel, Order, SasRec, Settings as NextItemSettings,
    Training, TwoTower,
};
pub use sequential::{Markov, MarkovModel, Sequences, SessionKnn, SessionKnnModel};
#[cfg(feature = "parquet")]
pub use stream::recommend_to_parquet;
pub use stream::{recommend_stream, recommend_to_csv};
