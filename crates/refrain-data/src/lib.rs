//! Data for refrain: who met what, what is known about it, and how to hold some of it back.
//!
//! | type | what |
//! |---|---|
//! | [`Interactions`] | events of users with items: ids, weights, times; sparse, by user and by item |
//! | [`Features`] ([`ItemFeatures`], [`UserFeatures`]) | numbers, categories, tags, text and vectors by id, encoded as a sparse matrix |
//! | [`split`] | train and test: at random, the last of each user, in time, by user, k-fold |
//! | [`datasets`] | MovieLens, HetRec Last.fm, RecBole's files |
#![cfg_attr(
    feature = "bundled",
    doc = "| [`bundled`] | tunes, a simulated listening log, digits, English and Chinese text, inside the crate |"
)]
//!
//! Data comes in here once, is checked here, and everything behind it deals in dense numbers: a user
//! or an item is a `u32`, and the id tables ([`IdMap`](refrain_core::IdMap)) turn names into numbers
//! and back.
//!
//! # From a file to train and test
//!
//! [`Columns::default`] finds out the separator, the header and the columns of most files; gzip is
//! recognised. What it cannot use ends in an error that names the line.
//!
//! ```
//! use refrain_data::{Columns, Interactions, split};
//!
//! # let folder = tempfile::tempdir()?;
//! # let path = folder.path().join("listens.csv");
//! # let names = ["alice", "bob", "carol", "dave"];
//! # let mut text = "user,item,plays,timestamp\n".to_owned();
//! # for i in 0..40 {
//! #     text += &format!("{},tune {},{},{}\n", names[i % 4], (i * i) % 11, 1 + i % 3, 1000 + i);
//! # }
//! # std::fs::write(&path, text)?;
//! let log = Interactions::from_csv(&path, &Columns::default())?;
//! let regulars = log.k_core(2, 2)?.compact()?; // users and items with at least two events
//! let (train, test) = split::temporal(&regulars, 0.2)?; // the latest fifth
//!
//! let alice = train.users().get("alice").ok_or("no alice")?;
//! let (items, plays) = train.user_items(alice);
//! assert_eq!(items.len(), plays.len());
//! assert_eq!(train.len() + test.len(), regulars.len());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! A bad line says where it is and what is wrong:
//!
//! ```
//! use refrain_data::{Columns, Interactions};
//! let text = "user,item,rating\nalice,Acacia,4\nbob,Acacia,NaN\n";
//! let error = Interactions::from_csv_reader(text.as_bytes(), "ratings.csv", &Columns::default());
//! assert_eq!(error.unwrap_err().to_string(), "ratings.csv, line 3: rating is NaN");
//! ```
//!
//! # Events from anywhere
//!
//! [`Interactions::from_events`] takes an iterator; [`Interactions::builder`] takes events one by one,
//! with times and a choice of what becomes of [`Duplicates`]. A log of several kinds of events
//! (views, purchases) gives each kind a weight through [`Columns::event_weights`]. With the feature
//! `parquet`, `Interactions::from_parquet` and `Interactions::from_record_batches` read Parquet and
//! Arrow. [`Interactions::save`] and [`load`](Interactions::load) keep a log in a `*.refrain` file, and
//! [`Interactions::to_csv`] writes it for others.
//!
//! # What is known about items
//!
//! ```
//! use refrain_data::{FeatureEncoding, Features, Interactions, NumericEncoding};
//!
//! let log = Interactions::from_events([("alice", "Acacia", 3.0), ("bob", "Drowsy Maggie", 1.0)])?;
//! let tunes = Features::builder()
//!     .numeric("range", [("Acacia", 14.0), ("Drowsy Maggie", 11.0)])?
//!     .category("rhythm", [("Acacia", "jig"), ("Drowsy Maggie", "reel")])?
//!     .text("title", [("Acacia", "Acacia"), ("Drowsy Maggie", "Drowsy Maggie")])?
//!     .build()?;
//! let (rows, report) = tunes.join(&log.shared_items())?; // row i is item i of the log
//! assert_eq!(report.to_string(), "2 matched");
//!
//! let encoding = FeatureEncoding { numeric: NumericEncoding::Buckets(2), ..Default::default() };
//! let features = rows.to_matrix(&encoding)?;
//! assert_eq!(features.names[0], "range in [−∞, 14)");
//! assert_eq!(features.matrix.rows(), log.n_items());
//! # Ok::<(), refrain_data::Error>(())
//! ```
//!
//! # How large a log may be
//!
//! An event costs 12 bytes while the log is built (20 with a time) and the sort is in place, so the
//! events of 100 million rows are 1.2 GB at the peak; the id tables and one block of 64 MB come on top.
//! Measured with 10 million events, 100,000 users and 20,000 items: 142 MB at the peak, 14.2 bytes an
//! event with everything (239 MB with times). Afterwards a pair costs 8 bytes (16
//! with a time), and 8 more once [`Interactions::by_item`] is asked for. Users, items: up to
//! 4,294,967,295 each. `examples/load_rate.rs` measures the rate and the peak on your machine.

#[cfg(feature = "bundled")]
pub mod bundled;
pub mod conll;
pub mod datasets;
mod error;
mod features;
mod interactions;
pub mod split;
mod table;

pub use error::{Error, Result};
pub use features::{
    FeatureEncoder, FeatureEncoding, FeatureKind, FeatureMatrix, FeatureValue, Features,
    FeaturesBuilder, ItemFeatures, JoinReport, NumericEncoding, Schema, TagEncoding, UserFeatures,
    words,
};
pub use interactions::{Columns, Duplicates, Event, Interactions, InteractionsBuilder, Sparse};
pub use table::{Column, Encoding};
