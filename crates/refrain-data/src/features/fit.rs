//! Fitting an encoding: which features there are. One pass over the rows per column.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::column::Values;
use super::encoder::Column;
use super::{FeatureEncoder, FeatureEncoding, Features, NumericEncoding, TagEncoding, words};
use crate::{Error, Result};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Fitted {
    /// `(x − mean) · scale`
    Scaled { mean: f64, scale: f64 },
    /// The lower ends of all buckets but the first.
    Buckets { edges: Vec<f32> },
    /// Names in alphabetical order, and how much each counts under TF-IDF.
    Levels {
        names: Vec<String>,
        idf: Option<Vec<f32>>,
        weighted: bool,
    },
    /// Components of a vector.
    Vector { dim: usize },
    /// Nothing to tell rows apart by.
    Nothing,
}

impl FeatureEncoding {
    /// Finds the features that these rows have.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting outside its range or a weight for a column that is not
    /// there.
    pub fn fit(&self, features: &Features) -> Result<FeatureEncoder> {
        self.check(features)?;
        let (mut columns, mut names) = (Vec::new(), Vec::new());
        for (name, values) in &features.columns {
            let fitted = self.fit_column(values, features.len());
            let first = names.len() as u32;
            fitted.push_names(name, matches!(values, Values::Text(_)), &mut names);
            let has_missing = (0..features.len()).any(|row| values.get(row).is_none());
            let missing = (self.missing_flags && has_missing).then(|| {
                names.push(format!("{name} is missing"));
                names.len() as u32 - 1
            });
            let weight = self
                .weights
                .iter()
                .find(|(n, _)| n == name)
                .map_or(1.0, |w| w.1);
            columns.push(Column {
                name: name.clone(),
                weight,
                first,
                fitted,
                missing,
            });
        }
        if u32::try_from(names.len()).is_err() {
            return Err(Error::Core(refrain_core::Error::TooManyIds {
                count: names.len(),
            }));
        }
        Ok(FeatureEncoder { columns, names })
    }

    fn check(&self, features: &Features) -> Result<()> {
        let bad = |field, value: String, must| Err(Error::Config { field, value, must });
        if let NumericEncoding::Buckets(n) = self.numeric
            && n < 2
        {
            return bad("numeric", format!("Buckets({n})"), "at least Buckets(2)");
        }
        for (name, weight) in &self.weights {
            if !weight.is_finite() {
                return bad("weights", format!("{weight} for {name:?}"), "finite");
            }
            if !features.columns.iter().any(|(n, _)| n == name) {
                return bad(
                    "weights",
                    format!("for {name:?}"),
                    "for columns that are there",
                );
            }
        }
        Ok(())
    }

    fn fit_column(&self, values: &Values, n: usize) -> Fitted {
        match values {
            Values::Numeric(rows) => self.fit_numeric(rows.iter().flatten().copied().collect()),
            Values::Category { levels, rows } => {
                let given = rows
                    .iter()
                    .flatten()
                    .filter_map(|&level| levels.name(level));
                let counts = count(given.map(|name| [name.to_owned()]));
                Fitted::Levels {
                    names: self.frequent(counts, None),
                    idf: None,
                    weighted: false,
                }
            }
            Values::Tags { .. } => {
                let rows = (0..n).map(|row| values.tags(row).map(|(tag, _)| tag.to_owned()));
                let tagged = (0..n)
                    .filter(|&row| values.tags(row).next().is_some())
                    .count();
                let counts = count(rows);
                let names = self.frequent(counts.clone(), None);
                let idf = (self.tags == TagEncoding::TfIdf).then(|| idf(&names, &counts, tagged));
                Fitted::Levels {
                    names,
                    idf,
                    weighted: self.tags != TagEncoding::Binary,
                }
            }
            Values::Text(rows) => {
                let counts = count(rows.iter().flatten().map(|text| words(text)));
                let names = self.frequent(counts.clone(), Some(self.max_words));
                let idf = Some(idf(&names, &counts, rows.iter().flatten().count()));
                Fitted::Levels {
                    names,
                    idf,
                    weighted: true,
                }
            }
            Values::Vector { dim, .. } => Fitted::Vector { dim: *dim },
        }
    }

    fn fit_numeric(&self, mut values: Vec<f32>) -> Fitted {
        values.sort_unstable_by(f32::total_cmp);
        let (Some(&least), Some(&most)) = (values.first(), values.last()) else {
            return Fitted::Nothing;
        };
        match self.numeric {
            NumericEncoding::AsIs => Fitted::Scaled {
                mean: 0.0,
                scale: 1.0,
            },
            _ if least == most => Fitted::Nothing,
            NumericEncoding::Standardise => {
                let n = values.len() as f64;
                let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
                let squares = values
                    .iter()
                    .map(|&x| (f64::from(x) - mean).powi(2))
                    .sum::<f64>();
                Fitted::Scaled {
                    mean,
                    scale: (squares / n).sqrt().recip(),
                }
            }
            NumericEncoding::Buckets(buckets) => {
                let at = |b: usize| values.get(b * values.len() / buckets).copied();
                let mut edges: Vec<f32> = (1..buckets).filter_map(at).collect();
                edges.dedup();
                edges.retain(|&edge| edge > least);
                match edges.is_empty() {
                    true => Fitted::Buckets { edges: vec![most] },
                    false => Fitted::Buckets { edges },
                }
            }
        }
    }

    /// The names that enough rows have, at most `limit` of them, in alphabetical order.
    fn frequent(&self, counts: BTreeMap<String, u32>, limit: Option<usize>) -> Vec<String> {
        let mut kept: Vec<_> = counts
            .into_iter()
            .filter(|c| c.1 >= self.min_rows)
            .collect();
        if let Some(limit) = limit
            && kept.len() > limit
        {
            kept.sort_by_key(|&(_, rows)| std::cmp::Reverse(rows));
            kept.truncate(limit);
            kept.sort_unstable();
        }
        kept.into_iter().map(|(name, _)| name).collect()
    }
}

/// In how many rows each name occurs.
fn count(rows: impl Iterator<Item = impl IntoIterator<Item = String>>) -> BTreeMap<String, u32> {
    let mut counts = BTreeMap::new();
    for row in rows {
        let mut names: Vec<String> = row.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        for name in names {
            *counts.entry(name).or_insert(0) += 1;
        }
    }
    counts
}

fn idf(names: &[String], counts: &BTreeMap<String, u32>, rows: usize) -> Vec<f32> {
    let one = |name| {
        let with = f64::from(counts.get(name).copied().unwrap_or_default());
        (((1.0 + rows as f64) / (1.0 + with)).ln() + 1.0) as f32
    };
    names.iter().map(one).collect()
}

impl Fitted {
    fn push_names(&self, column: &str, text: bool, names: &mut Vec<String>) {
        match self {
            Self::Scaled { .. } => names.push(column.to_owned()),
            Self::Buckets { edges } => {
                let mut low = "−∞".to_owned();
                for edge in edges {
                    names.push(format!("{column} in [{low}, {edge})"));
                    low = edge.to_string();
                }
                names.push(format!("{column} in [{low}, ∞)"));
            }
            Self::Levels { names: levels, .. } => {
                // Words are told from tags by their sign, so that a name says what it is.
                let sign = if text { ": " } else { "=" };
                names.extend(levels.iter().map(|level| format!("{column}{sign}{level}")));
            }
            Self::Vector { dim } => names.extend((0..*dim).map(|i| format!("{column}[{i}]"))),
            Self::Nothing => {}
        }
    }
}
