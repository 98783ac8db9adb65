//! Who met what, how much, and when.
//!
//! An [`Interactions`] is a sparse matrix of users × items with the ids kept beside it. Rows are
//! users, in compressed sparse rows (CSR): 4 bytes for the item and 4 for the weight of each pair,
//! 8 more for its time if the log has times, and 8 per user. The same matrix by item is made when
//! it is first asked for and kept.
//!
//! While it is built, an event costs 12 bytes (20 with a time, and 4 more under
//! [`Duplicates::Last`]) and the sort is in place, so the peak is that, plus the id tables, plus
//! at most one block of 64 MB (128 MB with times).
//!
//! A pair of a user and an item occurs once; [`Duplicates`] says what becomes of repetitions.

use std::sync::{Arc, OnceLock};

use refrain_core::{AsId, IdMap};
use sprs::CsMatI;

use crate::{Error, Result};

mod build;
mod columns;
mod csv;
mod file;
mod filter;
#[cfg(feature = "parquet")]
mod parquet;
mod sort;

pub use build::{Duplicates, InteractionsBuilder};
pub use columns::Columns;

/// A sparse matrix as this workspace uses it: `f32` values, `u32` indices.
pub type Sparse = CsMatI<f32, u32, usize>;

/// One user and one item, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Event {
    /// The user's number in [`Interactions::users`].
    pub user: u32,
    /// The item's number in [`Interactions::items`].
    pub item: u32,
    /// How much: a rating, a count of plays, 1.
    pub weight: f32,
    /// When, if the log has times; usually Unix seconds.
    pub time: Option<i64>,
}

/// Who met what, how much, and when. Cloning is cheap: copies share their data.
///
/// ```
/// use refrain_data::Interactions;
/// let log = Interactions::from_events([
///     ("alice", "Acacia", 3.0),
///     ("alice", "Drowsy Maggie", 1.0),
///     ("bob", "Acacia", 1.0),
///     ("alice", "Acacia", 2.0), // added to the first
/// ])?;
/// assert_eq!((log.n_users(), log.n_items(), log.len()), (2, 2, 3));
/// assert_eq!(log.user_items(0), (&[0, 1][..], &[5.0, 1.0][..]));
/// assert_eq!(log.item_users(0), (&[0, 1][..], &[5.0, 1.0][..]));
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Clone)]
pub struct Interactions {
    users: Arc<IdMap>,
    items: Arc<IdMap>,
    rows: Arc<Matrices>,
}

struct Matrices {
    by_user: Sparse,
    times: Option<Vec<i64>>,
    by_item: OnceLock<Sparse>,
}

impl Interactions {
    /// A log of these events, given as user, item, weight; duplicates are added.
    ///
    /// # Errors
    /// [`Error::Weight`] for a weight that is NaN or infinite; too many ids.
    pub fn from_events<U: AsId, I: AsId>(
        events: impl IntoIterator<Item = (U, I, f32)>,
    ) -> Result<Self> {
        let mut builder = Self::builder();
        for (user, item, weight) in events {
            builder.push(user, item, weight, None)?;
        }
        builder.build()
    }

    /// Collects events one by one, with times and a choice of what becomes of duplicates.
    pub fn builder() -> InteractionsBuilder {
        InteractionsBuilder::new(Arc::default(), Arc::default())
    }

    fn assemble(
        users: Arc<IdMap>,
        items: Arc<IdMap>,
        by_user: Sparse,
        times: Option<Vec<i64>>,
    ) -> Self {
        Self {
            users,
            items,
            rows: Arc::new(Matrices {
                by_user,
                times,
                by_item: OnceLock::new(),
            }),
        }
    }

    /// The users' ids.
    pub fn users(&self) -> &IdMap {
        &self.users
    }

    /// The items' ids.
    pub fn items(&self) -> &IdMap {
        &self.items
    }

    /// The users' ids, to keep.
    pub fn shared_users(&self) -> Arc<IdMap> {
        self.users.clone()
    }

    /// The items' ids, to keep.
    pub fn shared_items(&self) -> Arc<IdMap> {
        self.items.clone()
    }

    /// How many users the id table holds, with or without events.
    pub fn n_users(&self) -> usize {
        self.users.len()
    }

    /// How many items the id table holds, with or without events.
    pub fn n_items(&self) -> usize {
        self.items.len()
    }

    /// How many pairs of a user and an item there are.
    pub fn len(&self) -> usize {
        self.rows.by_user.nnz()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A user's items, in the order of their numbers, and the weights. Empty for an unknown user.
    pub fn user_items(&self, user: u32) -> (&[u32], &[f32]) {
        row(&self.rows.by_user, user)
    }

    /// An item's users, in the order of their numbers, and the weights. Empty for an unknown item.
    pub fn item_users(&self, item: u32) -> (&[u32], &[f32]) {
        row(self.by_item(), item)
    }

    /// The times of a user's events, aligned with [`user_items`](Self::user_items). Empty for an
    /// unknown user, `None` when the log has no times.
    pub fn user_times(&self, user: u32) -> Option<&[i64]> {
        let times = self.rows.times.as_deref()?;
        Some(
            times
                .get(span(&self.rows.by_user, user))
                .unwrap_or_default(),
        )
    }

    /// Whether the events have times.
    pub fn has_times(&self) -> bool {
        self.rows.times.is_some()
    }

    /// All times, in the order of [`iter`](Self::iter).
    pub fn times(&self) -> Option<&[i64]> {
        self.rows.times.as_deref()
    }

    /// The matrix of users × items.
    pub fn by_user(&self) -> &Sparse {
        &self.rows.by_user
    }

    /// The matrix of items × users. The first call makes it.
    pub fn by_item(&self) -> &Sparse {
        self.rows
            .by_item
            .get_or_init(|| self.rows.by_user.to_other_storage().transpose_into())
    }

    /// Every event, by user and then by item.
    pub fn iter(&self) -> impl Iterator<Item = Event> + '_ {
        let times = self.rows.times.as_deref();
        let mut at = 0;
        (0..self.n_users() as u32).flat_map(move |user| {
            let (items, weights) = self.user_items(user);
            let start = at;
            at += items.len();
            items
                .iter()
                .zip(weights)
                .enumerate()
                .map(move |(i, (&item, &weight))| Event {
                    user,
                    item,
                    weight,
                    time: times.and_then(|times| times.get(start + i).copied()),
                })
        })
    }

    /// How many events each user has.
    pub fn user_counts(&self) -> Vec<u32> {
        (0..self.n_users() as u32)
            .map(|user| self.user_items(user).0.len() as u32)
            .collect()
    }

    /// How many events each item has.
    pub fn item_counts(&self) -> Vec<u32> {
        let mut counts = vec![0; self.n_items()];
        for &item in self.rows.by_user.indices() {
            if let Some(count) = counts.get_mut(item as usize) {
                *count += 1;
            }
        }
        counts
    }
}

impl std::fmt::Debug for Interactions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interactions")
            .field("users", &self.n_users())
            .field("items", &self.n_items())
            .field("events", &self.len())
            .field("times", &self.has_times())
            .finish()
    }
}

impl PartialEq for Interactions {
    /// Equal ids in equal order, and equal events.
    fn eq(&self, other: &Self) -> bool {
        self.users == other.users
            && self.items == other.items
            && self.rows.by_user == other.rows.by_user
            && self.rows.times == other.rows.times
    }
}

fn span(matrix: &Sparse, row: u32) -> std::ops::Range<usize> {
    match (row as usize) < matrix.rows() {
        true => matrix.indptr().outer_inds_sz(row as usize),
        false => 0..0,
    }
}

pub(crate) fn row(matrix: &Sparse, row: u32) -> (&[u32], &[f32]) {
    let span = span(matrix, row);
    (
        matrix.indices().get(span.clone()).unwrap_or_default(),
        matrix.data().get(span).unwrap_or_default(),
    )
}

/// A matrix of rows, or the reason why these parts are none.
pub(crate) fn matrix(
    shape: (usize, usize),
    starts: Vec<usize>,
    indices: Vec<u32>,
    values: Vec<f32>,
) -> Result<Sparse> {
    if starts.first() != Some(&0) || starts.last() != Some(&indices.len()) {
        let reason = format!("rows do not begin at 0 and end at {}", indices.len());
        return Err(Error::Matrix {
            origin: "rows".into(),
            reason,
        });
    }
    CsMatI::try_new(shape, starts, indices, values).map_err(|(.., reason)| Error::Matrix {
        origin: "rows".into(),
        reason: reason.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_logs_and_unknown_numbers_answer() {
        let log = Interactions::from_events(Vec::<(&str, &str, f32)>::new()).unwrap();
        assert!(log.is_empty());
        assert_eq!(log.iter().count(), 0);
        assert_eq!(log.user_items(7), (&[][..], &[][..]));
        assert_eq!(log.item_users(7), (&[][..], &[][..]));
        assert_eq!(log.user_times(7), None);
    }

    #[test]
    fn times_follow_their_items() {
        let mut builder = Interactions::builder();
        for (user, item, time) in [("a", "x", 5), ("b", "y", 1), ("a", "z", 2), ("a", "y", 9)] {
            builder.push(user, item, 1.0, Some(time)).unwrap();
        }
        let log = builder.build().unwrap();
        assert_eq!(log.user_items(0).0, [0, 1, 2]);
        assert_eq!(log.user_times(0), Some(&[5, 9, 2][..]));
        let times: Vec<_> = log.iter().map(|e| e.time.unwrap()).collect();
        assert_eq!(times, [5, 9, 2, 1]);
        assert_eq!(log.item_counts(), [1, 2, 1]);
        assert_eq!(log.user_counts(), [3, 1]);
    }
}
