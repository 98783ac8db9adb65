//! Lists for many users in little memory: to a callback, to CSV or (feature `parquet`) to Parquet.
//!
//! Users are taken a thousand at a time, so that memory holds their lists and no more, and models keep
//! their fast way of answering many at once.

#[cfg(feature = "parquet")]
mod parquet;

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use refrain_core::Monitor;

use crate::{Error, Query, Recommendation, Recommender, Result};

#[cfg(feature = "parquet")]
pub use parquet::recommend_to_parquet;

/// Users asked for at once.
const CHUNK: usize = 1024;

/// Recommends to many users, one list after another in their order, and says how many there were.
///
/// The callback may return an error of its own, which ends the work.
///
/// ```
/// # use refrain_core::Monitor;
/// # use refrain_recommenders::*;
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let model = ItemKnn::default().fit(&log)?;
/// let mut first = Vec::new();
/// let everyone = model.users().iter();
/// recommend_stream(&model, everyone, &Query::top(10), &Monitor::silent(), |user, list| {
///     first.push((user.to_string(), list[0].item.clone()));
///     Ok::<(), Error>(())
/// })?;
/// assert_eq!(first.len(), 30);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
/// [`Error::UnknownUser`], whatever the callback returns, and when cancelled. Lists before the error
/// have reached the callback.
pub fn recommend_stream<'u, E: From<Error>>(
    model: &dyn Recommender,
    users: impl IntoIterator<Item = &'u str>,
    query: &Query,
    monitor: &Monitor,
    mut each: impl FnMut(&str, &[Recommendation]) -> Result<(), E>,
) -> Result<u64, E> {
    let users = users.into_iter();
    let total = users.size_hint().1.map(|n| n as u64);
    let stage = monitor.start("recommend", total);
    let mut users = users.peekable();
    let mut done = 0;
    while users.peek().is_some() {
        let chunk: Vec<&str> = users.by_ref().take(CHUNK).collect();
        let lists = model.recommend_batch_where(&chunk, query)?;
        for (user, list) in chunk.iter().zip(&lists) {
            each(user, list)?;
        }
        done += chunk.len() as u64;
        stage.advance(chunk.len() as u64, "").map_err(Error::from)?;
    }
    Ok(done)
}

/// Writes the lists of many users as comma-separated values: `user,item,rank,score`, ranks from 1.
///
/// # Errors
/// As [`recommend_stream`], and [`Error::Core`] naming the path when it cannot be written.
pub fn recommend_to_csv<'u>(
    model: &dyn Recommender,
    users: impl IntoIterator<Item = &'u str>,
    query: &Query,
    path: impl AsRef<Path>,
    monitor: &Monitor,
) -> Result<u64> {
    let path = path.as_ref();
    let io = |error| Error::Core(refrain_core::Error::io(path, error));
    let mut out = BufWriter::new(File::create(path).map_err(io)?);
    out.write_all(b"user,item,rank,score\n").map_err(io)?;
    let done = recommend_stream(model, users, query, monitor, |user, list| {
        let user = quoted(user);
        for (rank, r) in (1u32..).zip(list) {
            writeln!(out, "{user},{},{rank},{}", quoted(&r.item), r.score).map_err(io)?;
        }
        Ok::<(), Error>(())
    })?;
    out.flush().map_err(io)?;
    Ok(done)
}

/// A field of comma-separated values, in quotes where it has to be.
pub(crate) fn quoted(field: &str) -> String {
    match field.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use refrain_data::Interactions;

    use super::*;
    use crate::{ItemKnn, Popularity};

    #[test]
    fn many_users_in_their_order() {
        let events =
            (0..3000usize).flat_map(|u| (0..3).map(move |n| (u, (u * 7 + n * n * 5) % 50, 1.0)));
        let log = Interactions::from_events(events).unwrap();
        let model = ItemKnn::default().fit(&log).unwrap();
        let query = Query::top(3).deny(["4"]);
        let mut seen = Vec::new();
        let users: Vec<&str> = model.users().iter().collect();
        let users = users.into_iter().rev();
        let done = recommend_stream(&model, users, &query, &Monitor::silent(), |user, list| {
            seen.push(user.to_string());
            if seen.len() % 500 == 1 {
                assert_eq!(list, model.recommend_where(user, &query).unwrap());
            }
            assert!(list.len() == 3 && list.iter().all(|r| r.item != "4"));
            Ok::<(), Error>(())
        });
        assert_eq!((done.unwrap(), seen.len()), (3000, 3000));
        assert_eq!((seen[0].as_str(), seen[2999].as_str()), ("2999", "0"));
    }

    #[test]
    fn errors_and_cancelling_end_it() {
        let log = crate::conformance::blocks_log();
        let model = Popularity::default().fit(&log).unwrap();
        let (query, silent) = (Query::top(2), Monitor::silent());
        let unknown = ["u1", "nobody"];
        let result = recommend_stream(&model, unknown, &query, &silent, |_, _| Ok::<(), Error>(()));
        assert!(matches!(result, Err(Error::UnknownUser { .. })));
        #[derive(Debug)]
        enum Own {
            Full,
            Other,
        }
        impl From<Error> for Own {
            fn from(_: Error) -> Self {
                Own::Other
            }
        }
        let full = recommend_stream(&model, ["u1"], &query, &silent, |_, _| Err(Own::Full));
        assert!(matches!(full, Err(Own::Full)));
        let other = recommend_stream(&model, ["x"], &query, &silent, |_, _| Ok::<(), Own>(()));
        assert!(matches!(other, Err(Own::Other)));
        let monitor = Monitor::silent();
        monitor.cancel_token().cancel();
        let users = model.users().iter();
        let result = recommend_stream(&model, users, &query, &monitor, |_, _| Ok::<(), Error>(()));
        assert!(result.unwrap_err().to_string().contains("cancelled"));
    }

    #[test]
    fn a_table_of_lists() {
        let log = [
            ("a", "x, \"y\"", 1.0),
            ("b", "x, \"y\"", 1.0),
            ("b", "z", 1.0),
            ("c", "z", 1.0),
        ];
        let log = Interactions::from_events(log).unwrap();
        let model = Popularity::default().fit(&log).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lists.csv");
        let (query, silent) = (Query::top(5), Monitor::silent());
        let done = recommend_to_csv(&model, ["a", "b", "c"], &query, &path, &silent).unwrap();
        assert_eq!(done, 3);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "user,item,rank,score\na,z,1,2\nc,\"x, \"\"y\"\"\",1,2\n"
        );
        let nowhere = folder.path().join("none").join("lists.csv");
        let error = recommend_to_csv(&model, ["a"], &query, &nowhere, &silent).unwrap_err();
        assert!(error.to_string().contains("none"), "{error}");
    }
}
