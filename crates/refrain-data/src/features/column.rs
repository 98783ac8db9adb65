//! How the values of one column are kept.

use refrain_core::IdMap;

/// The kinds of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FeatureKind {
    /// A number.
    Numeric,
    /// One of a few names.
    Category,
    /// Any number of names, each with a weight.
    Tags,
    /// Words.
    Text,
    /// A dense vector of this many components.
    Vector(usize),
}

/// One value of a row.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FeatureValue<'a> {
    /// A number.
    Numeric(f32),
    /// A name.
    Category(&'a str),
    /// Names and their weights.
    Tags(Vec<(&'a str, f32)>),
    /// Words.
    Text(&'a str),
    /// A dense vector.
    Vector(&'a [f32]),
}

/// The values of one column, one per row. Tags are sparse (CSR), the others dense.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    Numeric(Vec<Option<f32>>),
    Category {
        levels: IdMap,
        rows: Vec<Option<u32>>,
    },
    Tags {
        levels: IdMap,
        starts: Vec<usize>,
        tags: Vec<u32>,
        weights: Vec<f32>,
    },
    Text(Vec<Option<Box<str>>>),
    /// `places` holds the row's place among the vectors.
    Vector {
        dim: usize,
        places: Vec<Option<u32>>,
        data: Vec<f32>,
    },
}

impl Values {
    pub(super) fn kind(&self) -> FeatureKind {
        match self {
            Self::Numeric(_) => FeatureKind::Numeric,
            Self::Category { .. } => FeatureKind::Category,
            Self::Tags { .. } => FeatureKind::Tags,
            Self::Text(_) => FeatureKind::Text,
            Self::Vector { dim, .. } => FeatureKind::Vector(*dim),
        }
    }

    /// The tags of a row and their weights; none if this column has no tags.
    pub(super) fn tags(&self, row: usize) -> impl Iterator<Item = (&str, f32)> + '_ {
        let (levels, span, tags, weights) = match self {
            Self::Tags {
                levels,
                starts,
                tags,
                weights,
            } => {
                let span = starts
                    .get(row)
                    .zip(starts.get(row + 1))
                    .map_or(0..0, |(&a, &b)| a..b);
                (Some(levels), span, &tags[..], &weights[..])
            }
            _ => (None, 0..0, &[][..], &[][..]),
        };
        let tags = tags.get(span.clone()).unwrap_or_default();
        let weights = weights.get(span).unwrap_or_default();
        tags.iter()
            .zip(weights)
            .filter_map(move |(&tag, &w)| Some((levels?.name(tag)?, w)))
    }

    pub(super) fn get(&self, row: usize) -> Option<FeatureValue<'_>> {
        match self {
            Self::Numeric(rows) => (*rows.get(row)?).map(FeatureValue::Numeric),
            Self::Category { levels, rows } => {
                levels.name((*rows.get(row)?)?).map(FeatureValue::Category)
            }
            Self::Tags { .. } => {
                let tags: Vec<_> = self.tags(row).collect();
                (!tags.is_empty()).then_some(FeatureValue::Tags(tags))
            }
            Self::Text(rows) => rows.get(row)?.as_deref().map(FeatureValue::Text),
            Self::Vector { dim, places, data } => {
                let start = (*places.get(row)?)? as usize * dim;
                data.get(start..start + dim).map(FeatureValue::Vector)
            }
        }
    }

    /// The values of these rows of the old column, `None` giving a missing value.
    pub(super) fn gather(&self, sources: &[Option<usize>]) -> Self {
        fn pick<T: Clone>(rows: &[Option<T>], sources: &[Option<usize>]) -> Vec<Option<T>> {
            sources.iter().map(|&s| rows.get(s?)?.clone()).collect()
        }
        match self {
            Self::Numeric(rows) => Self::Numeric(pick(rows, sources)),
            Self::Category { levels, rows } => Self::Category {
                levels: levels.clone(),
                rows: pick(rows, sources),
            },
            Self::Text(rows) => Self::Text(pick(rows, sources)),
            Self::Vector { dim, places, data } => Self::Vector {
                dim: *dim,
                places: pick(places, sources),
                data: data.clone(),
            },
            Self::Tags {
                levels,
                starts,
                tags,
                weights,
            } => {
                let (mut new_starts, mut new_tags, mut new_weights) =
                    (vec![0], Vec::new(), Vec::new());
                for &source in sources {
                    let span = source
                        .and_then(|s| Some(*starts.get(s)?..*starts.get(s + 1)?))
                        .unwrap_or_default();
                    new_tags.extend_from_slice(tags.get(span.clone()).unwrap_or_default());
                    new_weights.extend_from_slice(weights.get(span).unwrap_or_default());
                    new_starts.push(new_tags.len());
                }
                Self::Tags {
                    levels: levels.clone(),
                    starts: new_starts,
                    tags: new_tags,
                    weights: new_weights,
                }
            }
        }
    }
}
