//! Features from a table of text.

use std::io::BufRead;
use std::path::Path;

use super::build::FeaturesBuilder;
use super::{FeatureKind, Features};
use crate::table::{self, Column, Encoding, Format, Header, Place, Rows};
use crate::{Error, Result};

/// How a table of features is read: one row per id, one column per feature.
///
/// Without [`columns`](Self::columns), every column but the id is taken, and its kind is guessed:
/// numbers only → numeric; any field with [`tag_separator`](Self::tag_separator) → tags; at most 50
/// different values, each standing for two rows or more on average → category; else text.
///
/// ```
/// use refrain_data::{FeatureKind, FeatureValue, Features, Schema};
/// let text = "movieId,title,genres,year\n1,Toy Story,Animation|Comedy,1995\n2,Heat,Crime,\n";
/// let schema = Schema {
///     columns: vec![
///         ("title".into(), FeatureKind::Text),
///         ("genres".into(), FeatureKind::Tags),
///         ("year".into(), FeatureKind::Numeric),
///     ],
///     ..Schema::default()
/// };
/// let movies = Features::from_csv_reader(text.as_bytes(), "movies.csv", &schema)?;
/// assert_eq!(movies.value(0, "year"), Some(FeatureValue::Numeric(1995.0)));
/// assert_eq!(movies.value(1, "year"), None);
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Schema {
    /// The id; by default the first column.
    pub id: Column,
    /// The columns to take and their kinds. [`FeatureKind::Vector`] takes numbers divided by
    /// [`tag_separator`](Self::tag_separator). Empty takes all and guesses.
    pub columns: Vec<(Column, FeatureKind)>,
    /// Between the tags of one field.
    pub tag_separator: String,
    /// Fields that mean "not known", beside empty ones.
    pub missing: Vec<String>,
    /// Between fields; `None` finds it out.
    pub separator: Option<String>,
    /// Whether the first row names the columns. Without names, a column is called by its position.
    pub header: bool,
    /// Lines that begin with this are skipped.
    pub comment: Option<String>,
    /// Around fields that hold separators or line ends; `None` gives quotes no meaning.
    pub quote: Option<u8>,
    /// How bytes become text.
    pub encoding: Encoding,
}

impl Default for Schema {
    fn default() -> Self {
        Self {
            id: Column::Position(0),
            columns: Vec::new(),
            tag_separator: "|".into(),
            missing: Vec::new(),
            separator: None,
            header: true,
            comment: Some("#".into()),
            quote: Some(b'"'),
            encoding: Encoding::Utf8,
        }
    }
}

const ID: &[&str] = &[
    "id", "item", "itemid", "user", "userid", "movieid", "artistid", "trackid", "songid", "tuneid",
];
/// More different values than this are no category.
const MOST_LEVELS: usize = 50;

impl Features {
    /// Features from a table in a file, which may be gzipped.
    ///
    /// # Errors
    /// Each names the file, and the line where there is one: a file that cannot be read, columns
    /// that are not there, an id that is missing or occurs twice, fields that should be numbers and
    /// are none, NaN.
    pub fn from_csv(path: impl AsRef<Path>, schema: &Schema) -> Result<Self> {
        let path = path.as_ref();
        read(table::open(path)?, &path.display().to_string(), schema)
    }

    /// As [`from_csv`](Self::from_csv), from anything that can be read; `origin` is its name in
    /// messages. Not decompressed.
    ///
    /// # Errors
    /// As [`from_csv`](Self::from_csv).
    pub fn from_csv_reader(
        reader: impl BufRead,
        origin: impl Into<String>,
        schema: &Schema,
    ) -> Result<Self> {
        read(reader, &origin.into(), schema)
    }
}

/// One column as text: the line and the field of each row that has one, and the row's number.
struct Raw {
    name: String,
    kind: Option<FeatureKind>,
    cells: Vec<(u32, u64, Box<str>)>,
}

fn read(reader: impl BufRead, origin: &str, schema: &Schema) -> Result<Features> {
    let format = Format {
        separator: schema.separator.clone(),
        comment: schema.comment.clone(),
        quote: schema.quote,
        encoding: schema.encoding,
    };
    let empty = || Error::File {
        origin: origin.to_owned(),
        reason: "there are no rows".into(),
    };
    let mut rows = Rows::new(reader, origin, &format)?;
    let first = rows
        .next()?
        .map(Header::read)
        .transpose()?
        .ok_or_else(empty)?;
    let width = first.names.len();
    let header = schema.header.then_some(&first);
    if header.is_none() {
        rows.again();
    }
    let find = |column: &Column, role: &str, usual: &[&str], place: usize| {
        table::find(column, header, width, role, usual, place, origin)?.ok_or_else(|| {
            Error::NoColumn {
                origin: origin.to_owned(),
                column: format!("for the {role}"),
                known: first.to_string(),
            }
        })
    };
    let id = find(&schema.id, "id", ID, 0)?;
    let mut places: Vec<(Place, Option<FeatureKind>)> = Vec::new();
    for (column, kind) in &schema.columns {
        places.push((find(column, "feature", &[], usize::MAX)?, Some(*kind)));
    }
    if schema.columns.is_empty() {
        for index in (0..width).filter(|&index| index != id.index) {
            places.push((find(&Column::Position(index), "feature", &[], index)?, None));
        }
    }
    let mut columns: Vec<Raw> = Vec::new();
    for (place, kind) in &places {
        let name = match header {
            Some(_) => table::untyped(&place.name).to_owned(),
            None => place.index.to_string(),
        };
        columns.push(Raw {
            name,
            kind: *kind,
            cells: Vec::new(),
        });
    }

    let mut ids = refrain_core::IdMap::new();
    while let Some(row) = rows.next()? {
        let field = row.get(id.index).filter(|field| !field.is_missing());
        let field = field.ok_or_else(|| row.error(format!("{} is missing", id.name)))?;
        let name = row.text(field)?;
        let before = ids.len();
        let number = ids.insert(&*name)?;
        if ids.len() == before {
            return Err(row.error(format!("{} {name:?} has a row already", id.name)));
        }
        for ((place, _), column) in places.iter().zip(&mut columns) {
            let Some(field) = row.get(place.index).filter(|field| !field.bytes.is_empty()) else {
                continue;
            };
            let text = row.text(field)?;
            if !schema.missing.iter().any(|m| *m == text) {
                column.cells.push((number, row.line, text.into()));
            }
        }
    }
    if ids.is_empty() {
        return Err(empty());
    }
    let names: Vec<String> = ids.iter().map(str::to_owned).collect();
    let mut builder = Features::builder().ids(ids.into());
    for column in columns {
        builder = add(builder, column, &names, schema, origin)?;
    }
    builder.build()
}

fn add(
    builder: FeaturesBuilder,
    column: Raw,
    ids: &[String],
    schema: &Schema,
    origin: &str,
) -> Result<FeaturesBuilder> {
    let Raw { name, kind, cells } = column;
    let id = |row: u32| ids.get(row as usize).map_or("", String::as_str);
    let number = |line: u64, text: &str| match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(_) => Err(Error::row(
            origin,
            line,
            format!("{name} is {text}; leave the field empty for a missing value"),
        )),
        Err(_) => Err(Error::row(
            origin,
            line,
            format!("{name} is {text:?}, which is no number"),
        )),
    };
    let parts = |text: &str| -> Vec<String> {
        let parts = text.split(schema.tag_separator.as_str()).map(str::trim);
        parts
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    match kind.unwrap_or_else(|| guess(&cells, &schema.tag_separator)) {
        FeatureKind::Numeric => {
            let values = cells
                .iter()
                .map(|(row, line, text)| Ok((id(*row), number(*line, text)?)));
            builder.numeric(&name, values.collect::<Result<Vec<_>>>()?)
        }
        FeatureKind::Category => builder.category(
            &name,
            cells.iter().map(|(row, _, text)| (id(*row), &**text)),
        ),
        FeatureKind::Text => builder.text(
            &name,
            cells.iter().map(|(row, _, text)| (id(*row), &**text)),
        ),
        FeatureKind::Tags => {
            let tags = cells
                .iter()
                .flat_map(|(row, _, text)| parts(text).into_iter().map(move |tag| (id(*row), tag)));
            builder.tags(&name, tags.collect::<Vec<_>>())
        }
        FeatureKind::Vector(dim) => {
            let mut vectors = Vec::new();
            for (row, line, text) in &cells {
                let vector: Vec<f32> = parts(text)
                    .iter()
                    .map(|part| number(*line, part))
                    .collect::<Result<_>>()?;
                if vector.len() != dim {
                    let reason = format!("{name} has {} components, not {dim}", vector.len());
                    return Err(Error::row(origin, *line, reason));
                }
                vectors.push((id(*row), vector));
            }
            builder.vector(&name, vectors)
        }
    }
}

fn guess(cells: &[(u32, u64, Box<str>)], tag_separator: &str) -> FeatureKind {
    let texts = || cells.iter().map(|(.., text)| &**text);
    if texts().all(|text| text.parse::<f32>().is_ok()) {
        return FeatureKind::Numeric;
    }
    if !tag_separator.is_empty() && texts().any(|text| text.contains(tag_separator)) {
        return FeatureKind::Tags;
    }
    let different: std::collections::BTreeSet<&str> = texts().collect();
    match different.len() <= MOST_LEVELS && different.len() * 2 <= cells.len() {
        true => FeatureKind::Category,
        false => FeatureKind::Text,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn load(text: &str, schema: &Schema) -> Result<Features> {
        Features::from_csv_reader(text.as_bytes(), "tunes.csv", schema)
    }

    #[test]
    fn kinds_are_guessed() {
        let text = "id,tempo,rhythm,tags,title\n1,100,jig,a|b,One\n2,,jig,b,Two\n3,90,reel,,Three\n4,80,reel,c,Four\n";
        let tunes = load(text, &Schema::default()).unwrap();
        let kinds: Vec<_> = tunes.columns().collect();
        assert_eq!(
            kinds,
            [
                ("tempo", FeatureKind::Numeric),
                ("rhythm", FeatureKind::Category),
                ("tags", FeatureKind::Tags),
                ("title", FeatureKind::Text)
            ]
        );
        assert_eq!(tunes.value(1, "tempo"), None);
        assert_eq!(tunes.value(2, "tags"), None);
    }

    #[test]
    fn vectors_and_files_without_names() {
        let schema = Schema {
            header: false,
            tag_separator: " ".into(),
            columns: vec![(1.into(), FeatureKind::Vector(2))],
            ..Schema::default()
        };
        let tunes = load("a,1 2\nb,\n", &schema).unwrap();
        assert_eq!(
            tunes.value(0, "1"),
            Some(crate::FeatureValue::Vector(&[1.0, 2.0]))
        );
        let error = load("a,1 2 3\n", &schema).unwrap_err().to_string();
        assert_eq!(error, "tunes.csv, line 1: 1 has 3 components, not 2");
    }

    #[test]
    fn errors_name_the_line() {
        let schema = Schema {
            columns: vec![("tempo".into(), FeatureKind::Numeric)],
            missing: vec!["?".into()],
            ..Schema::default()
        };
        let message = |text: &str| load(text, &schema).unwrap_err().to_string();
        assert_eq!(
            message("id,tempo\na,?\nb,NaN\n"),
            "tunes.csv, line 3: tempo is NaN; leave the field empty for a missing value"
        );
        assert_eq!(
            message("id,tempo\na,fast\n"),
            "tunes.csv, line 2: tempo is \"fast\", which is no number"
        );
        assert_eq!(
            message("id,tempo\na,1\na,2\n"),
            "tunes.csv, line 3: id \"a\" has a row already"
        );
        assert_eq!(
            message("id,tempo\n,1\n"),
            "tunes.csv, line 2: id is missing"
        );
        assert_eq!(
            message("id,speed\na,1\n"),
            "tunes.csv: no column \"tempo\" for the feature; it has \"id\", \"speed\""
        );
        assert_eq!(message("id,tempo\n"), "tunes.csv: there are no rows");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[a-b,|\"\n0-9.#]{0,120}", header in any::<bool>()) {
            let _ = load(&text, &Schema { header, ..Schema::default() });
        }
    }
}
