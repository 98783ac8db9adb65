//! RecBole's atomic files: tab-separated tables whose header gives each column a type, as in
//! `user_id:token`, `rating:float`, `class:token_seq` (<https://recbole.io/docs/user_guide/data/atomic_files.html>).

use std::path::Path;

use crate::table::{self, Encoding, Format, Header, Rows};
use crate::{Columns, Duplicates, Error, FeatureKind, Features, Interactions, Result, Schema};

/// The events of an `.inter` file: its user, its item, and its rating and time if it has them. A pair
/// that occurs again counts with its last event.
///
/// # Errors
/// As [`Interactions::from_csv`].
pub fn atomic_interactions(path: impl AsRef<Path>) -> Result<Interactions> {
    let columns = Columns {
        separator: Some("\t".into()),
        header: Some(true),
        comment: None,
        quote: None,
        duplicates: Duplicates::Last,
        ..Columns::default()
    };
    Interactions::from_csv(path, &columns)
}

/// The rows of an `.item` or `.user` file. The first column is the id; `token` becomes a category,
/// `token_seq` tags, `float` a number; `float_seq` is left out, since its length may vary.
///
/// # Errors
/// As [`Features::from_csv`]; [`Error::File`] for a header without types.
pub fn atomic_features(path: impl AsRef<Path>) -> Result<Features> {
    let path = path.as_ref();
    let origin = path.display().to_string();
    let format = Format {
        separator: Some("\t".into()),
        comment: None,
        quote: None,
        encoding: Encoding::Utf8,
    };
    let mut rows = Rows::new(table::open(path)?, &*origin, &format)?;
    let header = rows.next()?.map(Header::read).transpose()?;
    let names = header.map(|header| header.names).unwrap_or_default();
    let mut columns = Vec::new();
    for (i, name) in names.iter().enumerate().skip(1) {
        let kind = match name.rsplit_once(':').map(|(_, kind)| kind) {
            Some("token") => FeatureKind::Category,
            Some("token_seq") => FeatureKind::Tags,
            Some("float") => FeatureKind::Numeric,
            Some("float_seq") => continue,
            _ => {
                let reason = format!(
                    "column {name:?} has none of the types token, token_seq, float, float_seq"
                );
                return Err(Error::File { origin, reason });
            }
        };
        columns.push((i.into(), kind));
    }
    let schema = Schema {
        columns,
        tag_separator: " ".into(),
        separator: format.separator,
        comment: None,
        quote: None,
        ..Schema::default()
    };
    Features::from_csv(path, &schema)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FeatureValue;

    #[test]
    fn types_are_taken_from_the_header() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.item");
        std::fs::write(
            &path,
            "item_id:token\tclass:token_seq\tprice:float\tshop:token\n7\ta b\t2.5\tz\n",
        )
        .unwrap();
        let items = atomic_features(&path).unwrap();
        assert_eq!(
            items.value(0, "class"),
            Some(FeatureValue::Tags(vec![("a", 1.0), ("b", 1.0)]))
        );
        assert_eq!(items.value(0, "price"), Some(FeatureValue::Numeric(2.5)));
        std::fs::write(&path, "item_id:token\tclass\n7\ta b\n").unwrap();
        assert!(matches!(atomic_features(&path), Err(Error::File { .. })));
        std::fs::write(
            &path,
            "session_id:token\tuser_id:token\titem_id:token\ttimestamp:float\n9\t1\t7\t5.0\n",
        )
        .unwrap();
        let log = atomic_interactions(&path).unwrap();
        assert_eq!(log.users().name(0), Some("1"));
        assert_eq!(log.user_times(0), Some(&[5][..]));
    }
}
