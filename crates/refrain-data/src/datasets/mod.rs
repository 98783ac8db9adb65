//! Data sets that people have on their disks.
//!
//! | data set | loader | from | terms |
//! |---|---|---|---|
//! | MovieLens 100K, 1M, 10M | [`MovieLens::load`] | <https://grouplens.org/datasets/movielens/> | research; no redistribution, no commercial use without permission |
//! | MovieLens 20M, 25M, 32M, latest | [`MovieLens::load`] | the same | research; redistribution under the same terms, no commercial use without permission |
//! | MovieLens-100K as RecBole ships it | [`MovieLens::load`] | the Python package `recbole` | as MovieLens 100K |
//! | HetRec 2011 Last.fm 2K | [`LastFm::load`] | <https://grouplens.org/datasets/hetrec-2011/> | non-commercial research |
//! | RecBole's atomic files | [`atomic_interactions`], [`atomic_features`] | <https://recbole.io/dataset_list.html> | each its own |
//! | any table of events | [`Interactions::from_csv`](crate::Interactions::from_csv) | you | |
//!
//! None of them ships with this crate. A loader takes the folder into which the archive was
//! unpacked; a file that is missing is an [`Error::DataSet`] that repeats the lines above.

use std::path::{Path, PathBuf};

use crate::table::{self, Encoding, Format, Row, Rows};
use crate::{Error, Result};

mod atomic;
mod lastfm;
mod movielens;

pub use atomic::{atomic_features, atomic_interactions};
pub use lastfm::LastFm;
pub use movielens::{Edition, MovieLens};

/// Where a data set comes from.
struct Source {
    name: &'static str,
    url: &'static str,
    terms: &'static str,
}

impl Source {
    /// The path of a file of the data set, if it is there.
    fn file(&self, folder: &Path, file: &str) -> Result<PathBuf> {
        let path = folder.join(file);
        match path.is_file() {
            true => Ok(path),
            false => Err(Error::DataSet {
                path,
                name: self.name,
                url: self.url,
                terms: self.terms,
            }),
        }
    }
}

/// A table without quotes or comments, as these data sets have.
struct Table<'a> {
    separator: &'a str,
    encoding: Encoding,
    /// How many rows to skip at the top.
    skip: usize,
    /// How many fields each row has at least.
    fields: usize,
}

impl Table<'_> {
    /// Calls `each` for every row of the file.
    fn read(&self, path: &Path, mut each: impl FnMut(Row<'_>) -> Result<()>) -> Result<()> {
        let format = Format {
            separator: Some(self.separator.to_owned()),
            comment: None,
            quote: None,
            encoding: self.encoding,
        };
        let mut rows = Rows::new(table::open(path)?, path.display().to_string(), &format)?;
        let mut skip = self.skip;
        while let Some(row) = rows.next()? {
            if skip > 0 {
                skip -= 1;
            } else if row.len() < self.fields {
                return Err(row.error(format!("{} fields; expected {}", row.len(), self.fields)));
            } else {
                each(row)?;
            }
        }
        Ok(())
    }
}

/// The text of a field that `Table::fields` promises.
fn text(row: Row<'_>, index: usize) -> Result<String> {
    row.get(index)
        .map_or(Ok(String::new()), |field| Ok(row.text(field)?.into_owned()))
}

/// A number in a field, `None` if it is empty.
fn number(row: Row<'_>, index: usize, name: &str) -> Result<Option<f32>> {
    let text = text(row, index)?;
    if text.is_empty() {
        return Ok(None);
    }
    match text.parse::<f32>() {
        Ok(value) if value.is_finite() => Ok(Some(value)),
        _ => Err(row.error(format!("{name} is {text:?}, which is no number"))),
    }
}
