//! The fitted encoding: what each row's values are. One pass over the rows, in time proportional to
//! the values (for text, the words) times the logarithm of the number of names.

use serde::{Deserialize, Serialize};

use super::column::Values;
use super::fit::Fitted;
use super::{FeatureMatrix, Features, words};
use crate::interactions::matrix;
use crate::{Error, Result};

/// A fitted [`FeatureEncoding`](crate::FeatureEncoding): it gives rows that come later the same features.
///
/// ```
/// use refrain_data::{FeatureEncoding, Features};
/// let known = Features::builder().category("rhythm", [("a", "jig"), ("b", "reel")])?.build()?;
/// let encoder = FeatureEncoding::default().fit(&known)?;
/// let new = Features::builder().category("rhythm", [("c", "reel"), ("d", "polka")])?.build()?;
/// let rows = encoder.encode(&new)?;
/// assert_eq!(rows.names, ["rhythm=jig", "rhythm=reel"]);
/// assert_eq!(rows.to_dense(), [0.0, 1.0, 0.0, 0.0]); // a polka is unknown to it
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureEncoder {
    pub(super) columns: Vec<Column>,
    pub(super) names: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) weight: f32,
    /// The number of its first feature.
    pub(super) first: u32,
    pub(super) fitted: Fitted,
    /// The number of the feature that says the value is missing.
    pub(super) missing: Option<u32>,
}

impl FeatureEncoder {
    /// What each feature is.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The rows as numbers. Columns that were not there when this was fitted are ignored, and so
    /// are names it has not seen.
    ///
    /// # Errors
    /// [`Error::NoColumn`] for a column that was there and is not; [`Error::Config`] for one whose
    /// kind has changed.
    pub fn encode(&self, features: &Features) -> Result<FeatureMatrix> {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|column| Ok((column, self.source(column, features)?)))
            .collect::<Result<_>>()?;
        let mut starts = vec![0];
        let (mut indices, mut data) = (Vec::new(), Vec::new());
        let mut row_entries = Vec::new();
        for row in 0..features.len() {
            for (column, values) in &columns {
                row_entries.clear();
                column.entries(values, row, &mut row_entries);
                for &(feature, value) in &row_entries {
                    if value != 0.0 {
                        indices.push(feature);
                        data.push(value);
                    }
                }
            }
            starts.push(indices.len());
        }
        if let Some(bad) = data.iter().find(|value| !value.is_finite()) {
            let value = bad.to_string();
            return Err(Error::Config {
                field: "an encoded value",
                value,
                must: "finite",
            });
        }
        let shape = (features.len(), self.names.len());
        Ok(FeatureMatrix {
            matrix: matrix(shape, starts, indices, data)?,
            names: self.names.clone(),
            ids: features.shared_ids(),
        })
    }

    fn source<'a>(&self, column: &Column, features: &'a Features) -> Result<&'a Values> {
        let found = features
            .columns
            .iter()
            .find(|(name, _)| *name == column.name);
        let Some((name, values)) = found else {
            let known: Vec<_> = features
                .columns()
                .map(|(name, _)| format!("{name:?}"))
                .collect();
            return Err(Error::NoColumn {
                origin: "features".into(),
                column: format!("{:?}", column.name),
                known: known.join(", "),
            });
        };
        let fits = match (&column.fitted, values) {
            (Fitted::Scaled { .. } | Fitted::Buckets { .. }, Values::Numeric(_)) => true,
            (Fitted::Levels { .. }, v) => !matches!(v, Values::Numeric(_) | Values::Vector { .. }),
            (Fitted::Vector { dim }, Values::Vector { dim: d, .. }) => d == dim,
            (Fitted::Nothing, _) => true,
            _ => false,
        };
        match fits {
            true => Ok(values),
            false => Err(Error::Config {
                field: "column",
                value: format!("{name:?} of kind {:?}", values.kind()),
                must: "of the kind it had when the encoding was fitted",
            }),
        }
    }
}

impl Column {
    /// The row's features in this column, in order.
    fn entries(&self, values: &Values, row: usize, out: &mut Vec<(u32, f32)>) {
        let known = values.get(row).is_some();
        let feature = |i: usize| self.first + i as u32;
        match (&self.fitted, values) {
            (Fitted::Scaled { mean, scale }, Values::Numeric(rows)) => {
                if let Some(&Some(x)) = rows.get(row) {
                    out.push((self.first, ((f64::from(x) - mean) * scale) as f32));
                }
            }
            (Fitted::Buckets { edges }, Values::Numeric(rows)) => {
                if let Some(&Some(x)) = rows.get(row) {
                    out.push((feature(edges.partition_point(|&edge| edge <= x)), 1.0));
                }
            }
            (Fitted::Vector { .. }, Values::Vector { .. }) => {
                if let Some(super::FeatureValue::Vector(vector)) = values.get(row) {
                    out.extend(vector.iter().enumerate().map(|(i, &x)| (feature(i), x)));
                }
            }
            (
                Fitted::Levels {
                    names,
                    idf,
                    weighted,
                },
                _,
            ) => {
                let mut add = |name: &str, weight: f32| {
                    if let Ok(at) = names.binary_search_by(|n| n.as_str().cmp(name)) {
                        out.push((feature(at), weight));
                    }
                };
                match values {
                    Values::Category { levels, rows } => {
                        if let Some(name) = rows
                            .get(row)
                            .copied()
                            .flatten()
                            .and_then(|l| levels.name(l))
                        {
                            add(name, 1.0);
                        }
                    }
                    Values::Text(rows) => {
                        let text = rows.get(row).and_then(|t| t.as_deref()).unwrap_or_default();
                        words(text).for_each(|word| add(&word, 1.0));
                    }
                    _ => values
                        .tags(row)
                        .for_each(|(t, w)| add(t, if *weighted { w } else { 1.0 })),
                }
                merge(out);
                if let Some(idf) = idf {
                    scale(out, |feature| {
                        idf.get((feature - self.first) as usize).copied()
                    });
                }
            }
            _ => {}
        }
        out.iter_mut().for_each(|(_, value)| *value *= self.weight);
        if let Some(missing) = self.missing
            && !known
        {
            out.push((missing, self.weight));
        }
    }
}

/// Sorts by feature and adds up what occurs twice.
fn merge(entries: &mut Vec<(u32, f32)>) {
    entries.sort_by_key(|entry| entry.0);
    entries.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 += next.1;
        }
        same
    });
}

/// Multiplies by the idf and brings the row to length 1.
fn scale(entries: &mut [(u32, f32)], idf: impl Fn(u32) -> Option<f32>) {
    for (feature, value) in entries.iter_mut() {
        *value *= idf(*feature).unwrap_or(1.0);
    }
    let norm = entries
        .iter()
        .map(|e| f64::from(e.1).powi(2))
        .sum::<f64>()
        .sqrt();
    if norm > 0.0 {
        entries
            .iter_mut()
            .for_each(|(_, value)| *value = (f64::from(*value) / norm) as f32);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{FeatureEncoding, NumericEncoding, TagEncoding};
    use super::*;

    fn rows(matrix: &FeatureMatrix) -> Vec<Vec<f32>> {
        matrix
            .to_dense()
            .chunks(matrix.names.len().max(1))
            .map(<[f32]>::to_vec)
            .collect()
    }

    #[test]
    fn numbers_are_standardised_and_missing_ones_are_the_mean() {
        let features = Features::builder()
            .category("kind", [("a", "x"), ("b", "x"), ("c", "x")])
            .unwrap()
            .numeric("tempo", [("a", 90.0), ("c", 110.0)])
            .unwrap()
            .numeric("same", [("a", 3.0), ("b", 3.0)])
            .unwrap()
            .build()
            .unwrap();
        let plain = features.to_matrix(&FeatureEncoding::default()).unwrap();
        assert_eq!(plain.names, ["kind=x", "tempo"]);
        assert_eq!(rows(&plain), [[1.0, -1.0], [1.0, 0.0], [1.0, 1.0]]);
        let flagged = FeatureEncoding {
            missing_flags: true,
            weights: vec![("tempo".into(), 2.0)],
            ..FeatureEncoding::default()
        };
        let flagged = features.to_matrix(&flagged).unwrap();
        assert_eq!(
            flagged.names,
            ["kind=x", "tempo", "tempo is missing", "same is missing"]
        );
        assert_eq!(rows(&flagged)[1], [1.0, 0.0, 2.0, 0.0]);
        assert_eq!(rows(&flagged)[2], [1.0, 2.0, 0.0, 1.0]);
    }

    #[test]
    fn buckets_hold_equal_shares() {
        let values = (0..8u32).map(|i| (i, i as f32));
        let features = Features::builder()
            .numeric("n", values)
            .unwrap()
            .build()
            .unwrap();
        let encoding = FeatureEncoding {
            numeric: NumericEncoding::Buckets(4),
            ..FeatureEncoding::default()
        };
        let encoded = features.to_matrix(&encoding).unwrap();
        assert_eq!(
            encoded.names,
            ["n in [−∞, 2)", "n in [2, 4)", "n in [4, 6)", "n in [6, ∞)"]
        );
        let sums: Vec<f32> = (0..4)
            .map(|f| rows(&encoded).iter().map(|r| r[f]).sum())
            .collect();
        assert_eq!(sums, [2.0; 4]);
        let skewed = [("a", 0.0), ("b", 0.0), ("c", 0.0), ("d", 9.0)];
        let features = Features::builder()
            .numeric("n", skewed)
            .unwrap()
            .build()
            .unwrap();
        let encoded = features.to_matrix(&encoding).unwrap();
        assert_eq!(encoded.names, ["n in [−∞, 9)", "n in [9, ∞)"]);
        assert_eq!(
            rows(&encoded),
            [[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]
        );
    }

    #[test]
    fn words_weigh_as_in_scikit_learn() {
        // scikit-learn 1.9.1, python3 -c "from sklearn.feature_extraction.text import *;
        // print(TfidfVectorizer().fit_transform(['the reel the jig', 'the reel', 'slow air']).toarray())"
        let texts = [
            ("a", "The reel, the JIG"),
            ("b", "the reel"),
            ("c", "slow air"),
        ];
        let features = Features::builder()
            .text("t", texts)
            .unwrap()
            .build()
            .unwrap();
        let encoded = features.to_matrix(&FeatureEncoding::default()).unwrap();
        assert_eq!(
            encoded.names,
            ["t: air", "t: jig", "t: reel", "t: slow", "t: the"]
        );
        let expected = [
            [0.0, 0.506_89, 0.385_502_9, 0.0, 0.771_005_84],
            [
                0.0,
                0.0,
                std::f32::consts::FRAC_1_SQRT_2,
                0.0,
                std::f32::consts::FRAC_1_SQRT_2,
            ],
            [
                std::f32::consts::FRAC_1_SQRT_2,
                0.0,
                0.0,
                std::f32::consts::FRAC_1_SQRT_2,
                0.0,
            ],
        ];
        for (got, expected) in rows(&encoded).iter().zip(expected) {
            for (got, expected) in got.iter().zip(expected) {
                assert!((got - expected).abs() < 1e-6, "{got} {expected}");
            }
        }
        let fewer = FeatureEncoding {
            max_words: 2,
            min_rows: 2,
            ..FeatureEncoding::default()
        };
        let fewer = features.to_matrix(&fewer).unwrap();
        assert_eq!(fewer.names, ["t: reel", "t: the"]);
        assert!(fewer.row(2).0.is_empty());
    }

    #[test]
    fn tags_by_presence_weight_or_idf() {
        let tags = [("a", "slow", 3.0), ("a", "sad", 1.0), ("b", "slow", 2.0)];
        let features = Features::builder()
            .weighted_tags("t", tags)
            .unwrap()
            .build()
            .unwrap();
        let encode = |tags| {
            let encoding = FeatureEncoding {
                tags,
                ..FeatureEncoding::default()
            };
            rows(&features.to_matrix(&encoding).unwrap())
        };
        assert_eq!(encode(TagEncoding::Binary), [[1.0, 1.0], [0.0, 1.0]]);
        assert_eq!(encode(TagEncoding::Weight), [[1.0, 3.0], [0.0, 2.0]]);
        let idf = encode(TagEncoding::TfIdf);
        assert_eq!(idf[1], [0.0, 1.0]);
        assert!((idf[0].iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn settings_and_columns_are_checked() {
        let features = Features::builder()
            .numeric("n", [("a", 1.0)])
            .unwrap()
            .build()
            .unwrap();
        let encoding = FeatureEncoding {
            weights: vec![("m".into(), 1.0)],
            ..Default::default()
        };
        assert!(matches!(encoding.fit(&features), Err(Error::Config { .. })));
        let encoding = FeatureEncoding {
            numeric: NumericEncoding::Buckets(1),
            ..Default::default()
        };
        assert!(matches!(encoding.fit(&features), Err(Error::Config { .. })));
        let encoding = FeatureEncoding {
            numeric: NumericEncoding::AsIs,
            ..Default::default()
        };
        let encoder = encoding.fit(&features).unwrap();
        let other = Features::builder()
            .text("n", [("a", "b")])
            .unwrap()
            .build()
            .unwrap();
        assert!(matches!(encoder.encode(&other), Err(Error::Config { .. })));
        let other = Features::builder()
            .numeric("m", [("a", 1.0)])
            .unwrap()
            .build()
            .unwrap();
        assert!(matches!(
            encoder.encode(&other),
            Err(Error::NoColumn { .. })
        ));
        let json = serde_json::to_string(&encoder).unwrap();
        assert_eq!(
            serde_json::from_str::<FeatureEncoder>(&json).unwrap(),
            encoder
        );
    }

    proptest! {
        #[test]
        fn rows_are_valid_whatever_is_missing(
            numbers in proptest::collection::vec((0u8..9, any::<f32>()), 0..9),
            names in proptest::collection::vec((0u8..9, "[a-c]"), 0..20),
            text in "[a-c A-C]{0,20}", buckets in 2usize..5,
        ) {
            let mut seen = std::collections::BTreeMap::new();
            for (id, x) in numbers.into_iter().filter(|n| n.1.is_finite()) {
                seen.insert(u32::from(id), x);
            }
            let features = Features::builder()
                .numeric("n", seen).unwrap()
                .tags("t", names.into_iter().map(|(id, tag)| (u32::from(id), tag))).unwrap()
                .text("w", [(3u32, text)]).unwrap()
                .build().unwrap();
            for numeric in [NumericEncoding::Standardise, NumericEncoding::Buckets(buckets)] {
                let encoding = FeatureEncoding { numeric, missing_flags: true, ..Default::default() };
                let encoded = features.to_matrix(&encoding).unwrap();
                prop_assert_eq!(encoded.matrix.shape(), (features.len(), encoded.names.len()));
                prop_assert!(encoded.matrix.data().iter().all(|x| x.is_finite() && *x != 0.0));
            }
        }
    }
}
