//! What is known about items or users, beside what they did.
//!
//! A [`Features`] has one row per id and columns of five kinds:
//!
//! | kind | one row holds | encoded as |
//! |---|---|---|
//! | [`FeatureKind::Numeric`] | a number | one standardised feature, or one per bucket |
//! | [`FeatureKind::Category`] | one of a few names | one feature per name (one-hot) |
//! | [`FeatureKind::Tags`] | any number of names, with weights | one feature per name (multi-hot) |
//! | [`FeatureKind::Text`] | words | TF-IDF, one feature per word |
//! | [`FeatureKind::Vector`] | a dense vector, an embedding for instance | its components |
//!
//! Any value may be missing; each kind's encoding says what that becomes ([`FeatureEncoding`]).
//! [`Features::join`] lines the rows up with a log's ids and reports what did not match.

use std::sync::Arc;

use refrain_core::IdMap;

use crate::{Error, Result};

mod build;
mod column;
mod csv;
mod encode;
mod encoder;
mod fit;
mod text;

pub use build::FeaturesBuilder;
pub use column::{FeatureKind, FeatureValue};
pub use csv::Schema;
pub use encode::{FeatureEncoding, FeatureMatrix, NumericEncoding, TagEncoding};
pub use encoder::FeatureEncoder;
pub use text::words;

use column::Values;

/// Features of items.
pub type ItemFeatures = Features;
/// Features of users.
pub type UserFeatures = Features;

/// One row of values per id. Made by [`Features::builder`] or [`Features::from_csv`].
///
/// ```
/// use refrain_data::{FeatureEncoding, Features, Interactions};
/// let tunes = Features::builder()
///     .numeric("tempo", [("Acacia", 104.0), ("Drowsy Maggie", 112.0)])?
///     .category("rhythm", [("Acacia", "jig"), ("Drowsy Maggie", "reel"), ("Morning Dew", "reel")])?
///     .tags("tags", [("Acacia", "slow"), ("Acacia", "learned young")])?
///     .build()?;
///
/// let log = Interactions::from_events([("alice", "Acacia", 3.0), ("bob", "Boys of Malin", 1.0)])?;
/// let (rows, report) = tunes.join(&log.shared_items())?;
/// assert_eq!(report.matched, 1);
/// assert_eq!(report.without_features, ["Boys of Malin"]);
/// assert_eq!(report.unused, ["Drowsy Maggie", "Morning Dew"]);
///
/// let encoded = rows.to_matrix(&FeatureEncoding::default())?;
/// assert_eq!(encoded.matrix.rows(), log.n_items());
/// assert_eq!(encoded.names, ["rhythm=jig", "tags=learned young", "tags=slow"]);
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Features {
    ids: Arc<IdMap>,
    columns: Vec<(String, Values)>,
}

/// What [`Features::join`] found on both sides, and what on one only.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JoinReport {
    /// Ids on both sides.
    pub matched: usize,
    /// Ids of the log that have no row of features.
    pub without_features: Vec<String>,
    /// Rows of features whose id the log does not have.
    pub unused: Vec<String>,
}

impl std::fmt::Display for JoinReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} matched", self.matched)?;
        for (list, what) in [
            (&self.without_features, "without features"),
            (&self.unused, "with features not used"),
        ] {
            if let Some(first) = list.first() {
                let more = if list.len() > 1 { ", …" } else { "" };
                write!(f, "; {} {what} ({first:?}{more})", list.len())?;
            }
        }
        Ok(())
    }
}

impl Features {
    /// Collects columns; see [`FeaturesBuilder`].
    pub fn builder() -> FeaturesBuilder {
        FeaturesBuilder::default()
    }

    /// The rows' ids.
    pub fn ids(&self) -> &IdMap {
        &self.ids
    }

    /// The rows' ids, to keep.
    pub fn shared_ids(&self) -> Arc<IdMap> {
        self.ids.clone()
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The columns' names and kinds.
    pub fn columns(&self) -> impl Iterator<Item = (&str, FeatureKind)> + '_ {
        self.columns
            .iter()
            .map(|(name, values)| (name.as_str(), values.kind()))
    }

    /// One value; `None` when it is missing, or there is no such row or column.
    ///
    /// ```
    /// use refrain_data::{FeatureValue, Features};
    /// let tunes = Features::builder().category("rhythm", [("Acacia", "jig")])?.build()?;
    /// assert_eq!(tunes.value(0, "rhythm"), Some(FeatureValue::Category("jig")));
    /// # Ok::<(), refrain_data::Error>(())
    /// ```
    pub fn value(&self, row: u32, column: &str) -> Option<FeatureValue<'_>> {
        let (_, values) = self.columns.iter().find(|(name, _)| name == column)?;
        values.get(row as usize)
    }

    /// The rows for `ids`, in their order, and what did not match. Ids without features get a row
    /// of missing values.
    ///
    /// # Errors
    /// None that features built here can cause.
    pub fn join(&self, ids: &Arc<IdMap>) -> Result<(Self, JoinReport)> {
        let mut report = JoinReport::default();
        let mut rows = Vec::with_capacity(ids.len());
        for id in ids.iter() {
            let row = self.ids.get(id);
            match row {
                Some(_) => report.matched += 1,
                None => report.without_features.push(id.to_owned()),
            }
            rows.push(row.map(|row| row as usize));
        }
        report.unused = self
            .ids
            .iter()
            .filter(|&id| ids.get(id).is_none())
            .map(str::to_owned)
            .collect();
        let columns = self
            .columns
            .iter()
            .map(|(n, values)| (n.clone(), values.gather(&rows)));
        Ok((
            Self {
                ids: ids.clone(),
                columns: columns.collect(),
            },
            report,
        ))
    }

    /// The features as numbers, with the encoding fitted to these same rows. For rows that come
    /// later, keep the fitted [`FeatureEncoder`]: `encoding.fit(&features)?`.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting outside its range; too many features for a `u32`.
    pub fn to_matrix(&self, encoding: &FeatureEncoding) -> Result<FeatureMatrix> {
        encoding.fit(self)?.encode(self)
    }

    fn feature_error(&self, row: usize, column: &str, reason: impl Into<String>) -> Error {
        let id = self.ids.name(row as u32).unwrap_or_default().to_owned();
        Error::Feature {
            id,
            column: column.to_owned(),
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tunes() -> Features {
        Features::builder()
            .numeric("tempo", [("a", 100.0), ("b", 120.0)])
            .unwrap()
            .category("rhythm", [("c", "reel"), ("a", "jig")])
            .unwrap()
            .weighted_tags("tags", [("a", "x", 2.0), ("a", "x", 1.0), ("c", "y", 1.0)])
            .unwrap()
            .text("title", [("b", "The Boys")])
            .unwrap()
            .vector("embedding", [("c", &[1.0, 2.0][..])])
            .unwrap()
            .build()
            .unwrap()
    }

    #[test]
    fn values_of_every_kind_and_missing_ones() {
        let tunes = tunes();
        assert_eq!(tunes.ids().iter().collect::<Vec<_>>(), ["a", "b", "c"]);
        assert_eq!(tunes.value(1, "tempo"), Some(FeatureValue::Numeric(120.0)));
        assert_eq!(tunes.value(2, "tempo"), None);
        assert_eq!(
            tunes.value(0, "rhythm"),
            Some(FeatureValue::Category("jig"))
        );
        assert_eq!(
            tunes.value(0, "tags"),
            Some(FeatureValue::Tags(vec![("x", 3.0)]))
        );
        assert_eq!(tunes.value(1, "tags"), None);
        assert_eq!(
            tunes.value(1, "title"),
            Some(FeatureValue::Text("The Boys"))
        );
        assert_eq!(
            tunes.value(2, "embedding"),
            Some(FeatureValue::Vector(&[1.0, 2.0]))
        );
        assert_eq!(tunes.value(9, "tempo"), None);
        assert_eq!(tunes.value(0, "colour"), None);
    }

    #[test]
    fn joining_moves_rows_and_reports() {
        let ids = Arc::new(IdMap::from_ids(["z", "c", "a"]).unwrap());
        let (rows, report) = tunes().join(&ids).unwrap();
        assert_eq!(
            report.to_string(),
            "2 matched; 1 without features (\"z\"); 1 with features not used (\"b\")"
        );
        for (column, _) in tunes().columns() {
            assert_eq!(rows.value(0, column), None);
            assert_eq!(rows.value(1, column), tunes().value(2, column));
            assert_eq!(rows.value(2, column), tunes().value(0, column));
        }
    }
}
