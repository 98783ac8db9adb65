use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use refrain_core::IdMap;

type Keep = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// What to recommend from: how many, and which items may or may not be among them.
///
/// What a user already had is left out unless [`with_seen`](Self::with_seen) says otherwise. An
/// excluded item is never returned and nothing is padded: when fewer items remain than were asked
/// for, fewer come back. Ids in the lists that the model does not know are no error, as it could
/// not recommend them anyway.
///
/// ```
/// # use refrain_recommenders::*;
/// # let log = refrain_data::Interactions::from_events(
/// #     [("a", "x", 1.0), ("a", "y", 1.0), ("b", "y", 1.0), ("b", "z", 1.0), ("b", "w", 1.0)])?;
/// let model = ItemKnn::default().fit(&log)?;
/// let query = Query::top(10).deny(["w"]).filter(|id| id != "v");
/// let found = model.recommend_where("a", &query)?;
/// assert_eq!(found.len(), 1); // x and y are a's own, w is denied: only z is left
/// assert_eq!(found[0].item, "z");
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone)]
pub struct Query {
    k: usize,
    seen: bool,
    allow: Option<HashSet<String>>,
    deny: HashSet<String>,
    keep: Option<Keep>,
    above: Option<f32>,
}

impl Query {
    /// The best `k`.
    pub fn top(k: usize) -> Self {
        Self {
            k,
            seen: false,
            allow: None,
            deny: HashSet::new(),
            keep: None,
            above: None,
        }
    }

    /// Only these items; called again, only those in both lists.
    #[must_use]
    pub fn allow<T: Into<String>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        let items: HashSet<String> = items.into_iter().map(Into::into).collect();
        self.allow = Some(match self.allow {
            Some(before) => before.intersection(&items).cloned().collect(),
            None => items,
        });
        self
    }

    /// None of these items; lists add up.
    #[must_use]
    pub fn deny<T: Into<String>>(mut self, items: impl IntoIterator<Item = T>) -> Self {
        self.deny.extend(items.into_iter().map(Into::into));
        self
    }

    /// Only items whose id passes `keep`; filters add up.
    #[must_use]
    pub fn filter(mut self, keep: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.keep = Some(match self.keep {
            Some(before) => Arc::new(move |id| before(id) && keep(id)),
            None => Arc::new(keep),
        });
        self
    }

    /// Only items that score above `threshold`; `above(0.0)` leaves out items without any evidence
    /// in the neighbourhood models.
    #[must_use]
    pub fn above(mut self, threshold: f32) -> Self {
        self.above = Some(threshold);
        self
    }

    /// Items the user already had may come back too.
    #[must_use]
    pub fn with_seen(mut self) -> Self {
        self.seen = true;
        self
    }

    /// How many are asked for.
    pub fn k(&self) -> usize {
        self.k
    }

    /// The same with another number.
    pub(crate) fn and_top(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    /// The same without a threshold.
    pub(crate) fn at_any_score(mut self) -> Self {
        self.above = None;
        self
    }

    pub(crate) fn hides_seen(&self) -> bool {
        !self.seen
    }

    pub(crate) fn threshold(&self) -> f32 {
        self.above.unwrap_or(f32::NEG_INFINITY)
    }

    /// Which items may be recommended; `None` when all may.
    pub(crate) fn mask(&self, items: &IdMap) -> Option<Vec<bool>> {
        if self.allow.is_none() && self.deny.is_empty() && self.keep.is_none() {
            return None;
        }
        let allowed = |id: &str| self.allow.as_ref().is_none_or(|allow| allow.contains(id));
        let kept = |id: &str| self.keep.as_ref().is_none_or(|keep| keep(id));
        Some(
            items
                .iter()
                .map(|id| allowed(id) && !self.deny.contains(id) && kept(id))
                .collect(),
        )
    }
}

impl fmt::Debug for Query {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("k", &self.k)
            .field("with_seen", &self.seen)
            .field("allow", &self.allow.as_ref().map(HashSet::len))
            .field("deny", &self.deny.len())
            .field("filtered", &self.keep.is_some())
            .field("above", &self.above)
            .finish()
    }
}
