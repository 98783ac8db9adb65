//! Which column is which.

use std::fmt;

use super::Row;
use crate::{Error, Result};

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Column {
    /// Found by its usual names, or by its usual place in a table without a header.
    #[default]
    Auto,
    /// The table has no such column.
    Absent,
    /// By its name in the header.
    Name(String),
    /// By its place, counted from 0.
    Position(usize),
}

impl From<&str> for Column {
    fn from(name: &str) -> Self {
        Self::Name(name.to_owned())
    }
}

impl From<String> for Column {
    fn from(name: String) -> Self {
        Self::Name(name)
    }
}

impl From<usize> for Column {
    fn from(position: usize) -> Self {
        Self::Position(position)
    }
}

/// A column that was found: its place, and what to call it in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) index: usize,
    pub(crate) name: String,
}

/// The names in a table's first row.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) names: Vec<String>,
}

impl Header {
    pub(crate) fn read(row: Row<'_>) -> Result<Self> {
        let names = (0..row.len())
            .filter_map(|i| row.get(i))
            .map(|f| row.text(f));
        Ok(Self {
            names: names.map(|n| n.map(Into::into)).collect::<Result<_>>()?,
        })
    }

    /// The column of this name; `user_id` also finds RecBole's `user_id:token`.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        let typed = |n: &String| untyped(n) == name;
        self.names
            .iter()
            .position(|n| n == name)
            .or_else(|| self.names.iter().position(typed))
    }
}

impl fmt::Display for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 20;
        for (i, name) in self.names.iter().take(SHOWN).enumerate() {
            write!(f, "{}{name:?}", if i > 0 { ", " } else { "" })?;
        }
        f.write_str(if self.names.len() > SHOWN {
            ", …"
        } else {
            ""
        })
    }
}

/// A name without RecBole's type.
pub(crate) fn untyped(name: &str) -> &str {
    match name.rsplit_once(':') {
        Some((before, "token" | "token_seq" | "float" | "float_seq")) => before,
        _ => name,
    }
}

/// A name without case, blanks, signs and RecBole's type.
pub(crate) fn normal(name: &str) -> String {
    untyped(name)
        .chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Where `column` stands; `usual` are its usual names (normal form) and `place` its usual place.
pub(crate) fn find(
    column: &Column,
    header: Option<&Header>,
    width: usize,
    role: &str,
    usual: &[&str],
    place: usize,
    origin: &str,
) -> Result<Option<Place>> {
    let named = |index: usize| Place {
        index,
        name: header
            .and_then(|h| h.names.get(index))
            .map_or(role, |n| n.as_str())
            .to_owned(),
    };
    let missing = |column: String| Error::NoColumn {
        origin: origin.to_owned(),
        column,
        known: header.map_or(
            format!("{width} columns without names"),
            ToString::to_string,
        ),
    };
    match (column, header) {
        (Column::Absent, _) => Ok(None),
        (Column::Position(index), _) => match *index < width {
            true => Ok(Some(named(*index))),
            false => Err(missing(format!(
                "at position {index} (counted from 0) for the {role}"
            ))),
        },
        (Column::Name(name), Some(header)) => match header.position(name) {
            Some(index) => Ok(Some(named(index))),
            None => Err(missing(format!("{name:?} for the {role}"))),
        },
        (Column::Name(name), None) => Err(missing(format!("{name:?} for the {role}"))),
        (Column::Auto, Some(header)) => {
            let normal: Vec<String> = header.names.iter().map(|n| normal(n)).collect();
            let found = usual
                .iter()
                .find_map(|u| normal.iter().position(|n| n == u));
            Ok(found.map(named))
        }
        (Column::Auto, None) => Ok((place < width).then(|| named(place))),
    }
}
