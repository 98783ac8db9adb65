//! From features to numbers: the settings and the result. See [`FeatureEncoding`].

use std::sync::Arc;

use refrain_core::IdMap;
use serde::{Deserialize, Serialize};

use crate::Sparse;

/// What becomes of numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NumericEncoding {
    /// `(x − mean) / standard deviation` over the rows that have a value. A missing value becomes
    /// 0, which is the mean. A column of one value only has no feature.
    Standardise,
    /// One feature per bucket, 1 in the bucket that holds the value; the buckets hold about equal
    /// numbers of rows (quantiles). A missing value is in none.
    Buckets(usize),
    /// The number itself; a missing one becomes 0.
    AsIs,
}

/// What becomes of tags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TagEncoding {
    /// 1 for each tag that the row has.
    Binary,
    /// The tag's weight.
    Weight,
    /// The tag's weight times its inverse document frequency, each row scaled to length 1, as for
    /// text.
    TfIdf,
}

/// How features become numbers.
///
/// Words: term frequency times `ln((1 + rows) / (1 + rows with the word)) + 1`, each row scaled to
/// length 1 (scikit-learn's defaults). A row counts towards `rows` when it has a text.
///
/// Missing values never make a feature of their own unless [`missing_flags`](Self::missing_flags)
/// is set: a category, tags, text or vector that is missing gives no entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureEncoding {
    /// What becomes of numbers.
    pub numeric: NumericEncoding,
    /// What becomes of tags.
    pub tags: TagEncoding,
    /// Categories, tags and words that fewer rows have are left out.
    pub min_rows: u32,
    /// At most this many words per text column, the most frequent first.
    pub max_words: usize,
    /// Factors for columns whose say should be larger or smaller than the others'; 1 for those not
    /// named.
    pub weights: Vec<(String, f32)>,
    /// Adds a feature `COLUMN is missing` to each column that has missing values.
    pub missing_flags: bool,
}

impl Default for FeatureEncoding {
    fn default() -> Self {
        Self {
            numeric: NumericEncoding::Standardise,
            tags: TagEncoding::Binary,
            min_rows: 1,
            max_words: 10_000,
            weights: Vec::new(),
            missing_flags: false,
        }
    }
}

/// Encoded features: one row per id, one column per feature.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureMatrix {
    /// Rows × features.
    pub matrix: Sparse,
    /// What each feature is: `tempo`, `tempo in [90, 110)`, `rhythm=reel`, `tags=slow`,
    /// `title: maggie`, `embedding[3]`, `tempo is missing`.
    pub names: Vec<String>,
    /// The rows' ids.
    pub ids: Arc<IdMap>,
}

impl FeatureMatrix {
    /// A row's features and their values. Empty for an unknown row.
    pub fn row(&self, row: u32) -> (&[u32], &[f32]) {
        crate::interactions::row(&self.matrix, row)
    }

    /// The same numbers as rows of `names.len()` values each, one after the other.
    pub fn to_dense(&self) -> Vec<f32> {
        let width = self.names.len();
        let mut dense = vec![0.0; self.matrix.rows() * width];
        for row in 0..self.matrix.rows() {
            let (features, values) = self.row(row as u32);
            for (&feature, &value) in features.iter().zip(values) {
                dense[row * width + feature as usize] = value;
            }
        }
        dense
    }
}
