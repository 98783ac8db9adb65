use std::collections::BTreeMap;

use refrain_core::IdMap;
use refrain_data::{FeatureValue, ItemFeatures};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What kinds items are of: genres, artists, tags. An item may be of none or of several, each in a
/// share.
///
/// ```
/// use refrain_recommenders::Groups;
/// let groups = Groups::new([("Acacia", "jig"), ("Kesh", "jig"), ("Banshee", "reel")]);
/// assert_eq!(groups.names().collect::<Vec<_>>(), ["jig", "reel"]);
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Groups {
    names: Vec<String>,
    /// Each item's groups with shares that add up to 1, by the item's id.
    of: BTreeMap<String, Vec<(u32, f32)>>,
}

impl Groups {
    /// From pairs of item and group; an item with several groups is of each in equal parts.
    pub fn new<I: Into<String>, G: Into<String>>(pairs: impl IntoIterator<Item = (I, G)>) -> Self {
        let pairs = pairs.into_iter();
        Self::weighted(pairs.map(|(item, group)| (item.into(), group.into(), 1.0)))
    }

    /// The groups in a category or tags column of features; weighted tags count by their weights.
    ///
    /// # Errors
    /// [`Error::Config`] when there is no such column or it is neither.
    pub fn from_features(features: &ItemFeatures, column: &str) -> Result<Self> {
        use refrain_data::FeatureKind::{Category, Tags};
        let kind = features.columns().find(|(name, _)| *name == column);
        if !matches!(kind, Some((_, Category | Tags))) {
            return Err(Error::Config {
                model: "groups",
                field: "column",
                value: column.to_string(),
                expected: "must be a category or tags column of the features",
            });
        }
        let rows = (0u32..).zip(features.ids().iter());
        Ok(Self::weighted(rows.flat_map(|(row, id)| {
            let found = match features.value(row, column) {
                Some(FeatureValue::Category(name)) => vec![(name, 1.0)],
                Some(FeatureValue::Tags(tags)) => tags,
                _ => Vec::new(),
            };
            let named = found.into_iter();
            named
                .map(|(name, weight)| (id.to_string(), name.to_string(), weight))
                .collect::<Vec<_>>()
        })))
    }

    fn weighted(triples: impl Iterator<Item = (String, String, f32)>) -> Self {
        let mut names: Vec<String> = Vec::new();
        let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
        let mut of: BTreeMap<String, Vec<(u32, f32)>> = BTreeMap::new();
        for (item, group, weight) in triples.filter(|t| t.2.is_finite() && t.2 > 0.0) {
            let number = *numbers.entry(group.clone()).or_insert_with(|| {
                names.push(group);
                names.len() as u32 - 1
            });
            let row = of.entry(item).or_default();
            match row.iter_mut().find(|(other, _)| *other == number) {
                Some((_, sum)) => *sum += weight,
                None => row.push((number, weight)),
            }
        }
        for row in of.values_mut() {
            row.sort_unstable_by_key(|&(group, _)| group);
            let total: f32 = row.iter().map(|r| r.1).sum();
            row.iter_mut().for_each(|r| r.1 /= total);
        }
        Self { names, of }
    }

    /// The groups' names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        self.names.iter().map(String::as_str)
    }

    /// The groups of a model's items, by their numbers.
    pub(super) fn resolve(&self, items: &IdMap) -> Kinds {
        let of = |id| self.of.get(id).cloned().unwrap_or_default();
        let known = self.names.len() as u32;
        let rows = items.iter().map(|id| {
            let mut row = of(id);
            // A damaged file may name groups that are none.
            row.retain(|&(group, share)| group < known && share.is_finite());
            row
        });
        Kinds {
            n: self.names.len(),
            rows: rows.collect(),
        }
    }
}

/// The groups of a model's items.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Kinds {
    pub n: usize,
    rows: Vec<Vec<(u32, f32)>>,
}

impl Kinds {
    /// An item's groups and shares.
    pub fn of(&self, item: u32) -> &[(u32, f32)] {
        self.rows.get(item as usize).map_or(&[], Vec::as_slice)
    }

    /// Cosine of two items' shares; 0 when one is of no group.
    pub fn cosine(&self, a: u32, b: u32) -> f32 {
        let (left, right) = (self.of(a), self.of(b));
        let norm = |row: &[(u32, f32)]| row.iter().map(|r| r.1 * r.1).sum::<f32>();
        let dot: f32 = left
            .iter()
            .flat_map(|x| right.iter().map(move |y| (x, y)))
            .filter(|(x, y)| x.0 == y.0)
            .map(|(x, y)| x.1 * y.1)
            .sum();
        match norm(left) * norm(right) {
            0.0 => 0.0,
            square => dot / square.sqrt(),
        }
    }

    /// How much of each group there is in weighted items, adding up to 1; all 0 when there is none.
    pub fn mix(&self, items: impl Iterator<Item = (u32, f32)>) -> Vec<f64> {
        let mut mix = vec![0.0; self.n];
        for (item, weight) in items {
            for &(group, share) in self.of(item) {
                if let Some(sum) = mix.get_mut(group as usize) {
                    *sum += f64::from(weight.max(0.0) * share);
                }
            }
        }
        let total: f64 = mix.iter().sum();
        if total > 0.0 {
            mix.iter_mut().for_each(|value| *value /= total);
        }
        mix
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cosines_and_mixes() {
        let groups = Groups::new([("a", "x"), ("a", "y"), ("b", "x"), ("c", "z"), ("a", "x")]);
        let items = IdMap::from_ids(["a", "b", "c", "none"]).unwrap();
        let kinds = groups.resolve(&items);
        assert_eq!(kinds.of(0), [(0, 2.0 / 3.0), (1, 1.0 / 3.0)]);
        assert_eq!(kinds.cosine(1, 1), 1.0);
        assert_eq!((kinds.cosine(1, 2), kinds.cosine(0, 3)), (0.0, 0.0));
        assert!((kinds.cosine(0, 1) - 2.0 / 5f32.sqrt()).abs() < 1e-6);
        let mix = kinds.mix([(1, 3.0), (2, 1.0), (3, 9.0), (2, -5.0)].into_iter());
        assert_eq!(mix, [0.75, 0.0, 0.25]);
        assert_eq!(kinds.mix(std::iter::empty()), [0.0; 3]);
    }

    #[test]
    fn columns_of_features() {
        let features = ItemFeatures::builder()
            .category("rhythm", [("a", "jig"), ("b", "reel")])
            .and_then(|b| b.weighted_tags("tags", [("a", "old", 3.0), ("a", "irish", 1.0)]))
            .and_then(|b| b.numeric("tempo", [("a", 1.0)]))
            .unwrap()
            .build()
            .unwrap();
        let rhythm = Groups::from_features(&features, "rhythm").unwrap();
        assert_eq!(rhythm, Groups::new([("a", "jig"), ("b", "reel")]));
        let tags = Groups::from_features(&features, "tags").unwrap();
        let kinds = tags.resolve(features.ids());
        assert!(kinds.of(0).iter().any(|g| (g.1 - 0.75).abs() < 1e-6));
        for column in ["tempo", "none"] {
            assert!(Groups::from_features(&features, column).is_err());
        }
    }
}
