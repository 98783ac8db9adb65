//! Features from pairs of an id and a value, column by column.

use std::sync::Arc;

use refrain_core::{AsId, IdMap};

use super::Features;
use super::column::Values;
use crate::{Error, Result};

/// Collects columns of features. An id that a column does not mention has no value there.
///
/// Rows are numbered in the order in which ids first appear, unless [`ids`](Self::ids) gave them
/// their numbers.
#[derive(Debug, Default)]
pub struct FeaturesBuilder {
    ids: Arc<IdMap>,
    columns: Vec<(String, Given)>,
}

/// What was said, by row, before the number of rows is known.
#[derive(Debug)]
enum Given {
    Numeric(Vec<(u32, f32)>),
    Category(IdMap, Vec<(u32, u32)>),
    Tags(IdMap, Vec<(u32, u32, f32)>),
    Text(Vec<(u32, Box<str>)>),
    Vector(usize, Vec<u32>, Vec<f32>),
}

impl FeaturesBuilder {
    /// Starts from these ids, so that row numbers agree with them. Other ids follow behind.
    #[must_use]
    pub fn ids(mut self, ids: Arc<IdMap>) -> Self {
        self.ids = ids;
        self
    }

    /// A column of numbers.
    ///
    /// # Errors
    /// [`Error::Feature`] for NaN, infinity, or an id given twice; [`Error::Config`] for a column
    /// that exists.
    pub fn numeric<I: AsId>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = (I, f32)>,
    ) -> Result<Self> {
        let mut column = Vec::new();
        for (id, value) in values {
            let row = self.row(&id)?;
            if !value.is_finite() {
                return Err(self.error(row, name, not_finite(value)));
            }
            column.push((row, value));
        }
        self.add(name, Given::Numeric(column))
    }

    /// A column of names, one per id.
    ///
    /// # Errors
    /// As [`numeric`](Self::numeric).
    pub fn category<I: AsId, N: AsId>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = (I, N)>,
    ) -> Result<Self> {
        let (mut levels, mut column) = (IdMap::new(), Vec::new());
        for (id, level) in values {
            column.push((self.row(&id)?, levels.insert(level)?));
        }
        self.add(name, Given::Category(levels, column))
    }

    /// A column of names, any number per id: one pair for each. A name given to an id again counts
    /// once more.
    ///
    /// # Errors
    /// As [`numeric`](Self::numeric), but an id may be given many times.
    pub fn tags<I: AsId, N: AsId>(
        self,
        name: &str,
        values: impl IntoIterator<Item = (I, N)>,
    ) -> Result<Self> {
        self.weighted_tags(name, values.into_iter().map(|(id, tag)| (id, tag, 1.0)))
    }

    /// As [`tags`](Self::tags), with a weight for each; the weights of a name given to an id again
    /// are added.
    ///
    /// # Errors
    /// As [`tags`](Self::tags).
    pub fn weighted_tags<I: AsId, N: AsId>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = (I, N, f32)>,
    ) -> Result<Self> {
        let (mut levels, mut column) = (IdMap::new(), Vec::new());
        for (id, tag, weight) in values {
            let row = self.row(&id)?;
            if !weight.is_finite() {
                return Err(self.error(row, name, not_finite(weight)));
            }
            column.push((row, levels.insert(tag)?, weight));
        }
        self.add(name, Given::Tags(levels, column))
    }

    /// A column of texts.
    ///
    /// # Errors
    /// As [`numeric`](Self::numeric).
    pub fn text<I: AsId, T: AsRef<str>>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = (I, T)>,
    ) -> Result<Self> {
        let mut column = Vec::new();
        for (id, text) in values {
            column.push((self.row(&id)?, text.as_ref().into()));
        }
        self.add(name, Given::Text(column))
    }

    /// A column of dense vectors of one length.
    ///
    /// # Errors
    /// As [`numeric`](Self::numeric), and for vectors of different lengths or of none.
    pub fn vector<I: AsId, V: AsRef<[f32]>>(
        mut self,
        name: &str,
        values: impl IntoIterator<Item = (I, V)>,
    ) -> Result<Self> {
        let (mut dim, mut rows, mut data) = (0, Vec::new(), Vec::new());
        for (id, vector) in values {
            let (row, vector) = (self.row(&id)?, vector.as_ref());
            if rows.is_empty() {
                dim = vector.len();
            }
            if vector.len() != dim || dim == 0 {
                let reason = format!("has {} components, the first has {dim}", vector.len());
                return Err(self.error(row, name, reason));
            }
            if let Some(&bad) = vector.iter().find(|v| !v.is_finite()) {
                return Err(self.error(row, name, not_finite(bad)));
            }
            rows.push(row);
            data.extend_from_slice(vector);
        }
        self.add(name, Given::Vector(dim, rows, data))
    }

    /// The rows.
    ///
    /// # Errors
    /// [`Error::Feature`] for an id that has two values in one column.
    pub fn build(self) -> Result<Features> {
        let n = self.ids.len();
        let mut features = Features {
            ids: self.ids,
            columns: Vec::new(),
        };
        for (name, given) in self.columns {
            let twice = |row: u32| features.feature_error(row as usize, &name, "has two values");
            let values = match given {
                Given::Numeric(pairs) => Values::Numeric(spread(n, pairs).map_err(twice)?),
                Given::Category(levels, pairs) => Values::Category {
                    levels,
                    rows: spread(n, pairs).map_err(twice)?,
                },
                Given::Text(pairs) => Values::Text(spread(n, pairs).map_err(twice)?),
                Given::Vector(dim, rows, data) => {
                    let pairs = rows.into_iter().zip(0..).collect();
                    Values::Vector {
                        dim,
                        places: spread(n, pairs).map_err(twice)?,
                        data,
                    }
                }
                Given::Tags(levels, triples) => tags(n, levels, triples),
            };
            features.columns.push((name, values));
        }
        Ok(features)
    }

    fn row(&mut self, id: &impl AsId) -> Result<u32> {
        match self.ids.get(id) {
            Some(row) => Ok(row),
            None => Ok(Arc::make_mut(&mut self.ids).insert(id)?),
        }
    }

    fn add(mut self, name: &str, column: Given) -> Result<Self> {
        if self.columns.iter().any(|(n, _)| n == name) {
            return Err(Error::Config {
                field: "column name",
                value: format!("{name:?}"),
                must: "different from the other columns' names",
            });
        }
        self.columns.push((name.to_owned(), column));
        Ok(self)
    }

    fn error(&self, row: u32, column: &str, reason: impl Into<String>) -> Error {
        let id = self.ids.name(row).unwrap_or_default().to_owned();
        Error::Feature {
            id,
            column: column.to_owned(),
            reason: reason.into(),
        }
    }
}

fn not_finite(value: f32) -> String {
    format!("is {value}; leave a missing value out instead")
}

/// One slot per row; `Err` with the row that is given twice.
fn spread<T>(n: usize, pairs: Vec<(u32, T)>) -> Result<Vec<Option<T>>, u32> {
    let mut rows: Vec<Option<T>> = std::iter::repeat_with(|| None).take(n).collect();
    for (row, value) in pairs {
        match rows.get_mut(row as usize) {
            Some(slot @ None) => *slot = Some(value),
            _ => return Err(row),
        }
    }
    Ok(rows)
}

fn tags(n: usize, levels: IdMap, mut triples: Vec<(u32, u32, f32)>) -> Values {
    triples.sort_by_key(|&(row, tag, _)| (row, tag));
    triples.dedup_by(|next, kept| {
        let same = (next.0, next.1) == (kept.0, kept.1);
        if same {
            kept.2 += next.2;
        }
        same
    });
    let mut starts = vec![0; n + 1];
    for &(row, ..) in &triples {
        starts[row as usize + 1] += 1;
    }
    for i in 1..starts.len() {
        starts[i] += starts[i - 1];
    }
    let tags = triples.iter().map(|t| t.1).collect();
    Values::Tags {
        levels,
        starts,
        tags,
        weights: triples.iter().map(|t| t.2).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_values_are_named() {
        let message = |built: Result<FeaturesBuilder>| {
            built
                .and_then(FeaturesBuilder::build)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(
            message(Features::builder().numeric("tempo", [("a", f32::NAN)])),
            "\"a\", column \"tempo\": is NaN; leave a missing value out instead"
        );
        assert_eq!(
            message(Features::builder().numeric("tempo", [("a", 1.0), ("a", 2.0)])),
            "\"a\", column \"tempo\": has two values"
        );
        assert_eq!(
            message(Features::builder().vector("v", [("a", vec![1.0]), ("b", vec![1.0, 2.0])])),
            "\"b\", column \"v\": has 2 components, the first has 1"
        );
        let twice = Features::builder()
            .text("t", [("a", "x")])
            .unwrap()
            .text("t", [("a", "x")]);
        assert!(matches!(twice, Err(Error::Config { .. })));
    }
}
