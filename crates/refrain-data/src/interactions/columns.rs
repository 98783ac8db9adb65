//! How a table of events is read: which column is which, and what its text means.

use super::Duplicates;
use crate::table::{self, Column, Encoding, Format, Header, Place};
use crate::{Error, Result};

/// How a table of events is read. The default finds out what it can:
///
/// - separator: the first of `::`, tab, comma, semicolon, `|`, blank that the first row contains;
/// - header: present if the first row holds a usual name of a column, or a column is asked for by
///   its name;
/// - columns with a header: by their usual names, whatever their case (`user`, `userId`, `user_id:token`;
///   `item`, `movieId`, `artistID`; `rating`, `weight`, `plays`; `timestamp`, `time`, `date`);
///   without one: user, item, weight, time, in this order, as many as there are.
///
/// Without a weight every event counts 1. Times are whole numbers, or dates and times of ISO 8601,
/// which become Unix seconds. Blanks around fields do not count. Files may be gzipped.
///
/// ```
/// use refrain_data::{Columns, Interactions};
/// let text = "listener;tune;plays\nalice;Acacia;3\nbob;Acacia;1\n";
/// let columns = Columns { user: "listener".into(), item: "tune".into(), ..Columns::default() };
/// let log = Interactions::from_csv_reader(text.as_bytes(), "listens.csv", &columns)?;
/// assert_eq!(log.user_items(0).1, [3.0]);
/// # Ok::<(), refrain_data::Error>(())
/// ```
///
/// A log of several kinds of events, from a shop for instance:
///
/// ```
/// use refrain_data::{Columns, Interactions};
/// let text = "ts,visitorid,event,itemid\n5,a,view,x\n6,a,buy,x\n7,a,error,x\n";
/// let columns = Columns {
///     weight: "event".into(),
///     event_weights: vec![("view".into(), 1.0), ("buy".into(), 5.0)],
///     ..Columns::default()
/// };
/// let log = Interactions::from_csv_reader(text.as_bytes(), "shop.csv", &columns)?;
/// assert_eq!(log.user_items(0).1, [6.0]);
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Columns {
    /// Who.
    pub user: Column,
    /// What.
    pub item: Column,
    /// How much; [`Column::Absent`] ignores weights that are there.
    pub weight: Column,
    /// When; [`Column::Absent`] ignores times that are there.
    pub time: Column,
    /// Between fields; `None` finds it out.
    pub separator: Option<String>,
    /// Whether the first row names the columns; `None` finds it out.
    pub header: Option<bool>,
    /// Lines that begin with this are skipped.
    pub comment: Option<String>,
    /// Around fields that hold separators or line ends; `None` gives quotes no meaning.
    pub quote: Option<u8>,
    /// How bytes become text.
    pub encoding: Encoding,
    /// For logs of several kinds of events: what one of each kind counts. The weight column then
    /// holds the kind; events of a kind that is not listed are skipped. Empty for weights that are
    /// numbers.
    pub event_weights: Vec<(String, f32)>,
    /// What becomes of a pair that occurs twice.
    pub duplicates: Duplicates,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            user: Column::Auto,
            item: Column::Auto,
            weight: Column::Auto,
            time: Column::Auto,
            separator: None,
            header: None,
            comment: Some("#".into()),
            quote: Some(b'"'),
            encoding: Encoding::Utf8,
            event_weights: Vec::new(),
            duplicates: Duplicates::Sum,
        }
    }
}

const USER: &[&str] = &[
    "user",
    "userid",
    "uid",
    "listener",
    "listenerid",
    "reader",
    "viewer",
    "customer",
    "customerid",
    "account",
    "accountid",
    "member",
    "memberid",
    "visitor",
    "visitorid",
    "person",
    "username",
];
const ITEM: &[&str] = &[
    "item",
    "itemid",
    "iid",
    "movie",
    "movieid",
    "artist",
    "artistid",
    "track",
    "trackid",
    "song",
    "songid",
    "tune",
    "tuneid",
    "album",
    "albumid",
    "product",
    "productid",
    "book",
    "bookid",
    "article",
    "articleid",
    "video",
    "videoid",
    "game",
    "gameid",
    "sku",
    "asin",
    "isbn",
];
const WEIGHT: &[&str] = &[
    "rating",
    "weight",
    "plays",
    "playcount",
    "playcounts",
    "count",
    "listens",
    "score",
    "value",
    "quantity",
    "strength",
    "stars",
];
const TIME: &[&str] = &[
    "timestamp",
    "time",
    "date",
    "datetime",
    "ts",
    "unixtime",
    "when",
    "createdat",
    "eventtime",
];
/// Where the four columns stand.
pub(super) struct Places {
    pub(super) user: Place,
    pub(super) item: Place,
    pub(super) weight: Option<Place>,
    pub(super) time: Option<Place>,
}

impl Columns {
    pub(super) fn format(&self) -> Format {
        Format {
            separator: self.separator.clone(),
            comment: self.comment.clone(),
            quote: self.quote,
            encoding: self.encoding,
        }
    }

    pub(super) fn has_header(&self, first: &Header) -> bool {
        self.header.unwrap_or_else(|| {
            let named = [&self.user, &self.item, &self.weight, &self.time]
                .iter()
                .any(|column| matches!(column, Column::Name(_)));
            let usual = first
                .names
                .iter()
                .map(|name| table::normal(name))
                .any(|name| {
                    [USER, ITEM, WEIGHT, TIME]
                        .iter()
                        .any(|list| list.contains(&name.as_str()))
                });
            named || usual
        })
    }

    pub(super) fn places(
        &self,
        header: Option<&Header>,
        width: usize,
        origin: &str,
    ) -> Result<Places> {
        let find = |column, role, usual, place| {
            table::find(column, header, width, role, usual, place, origin)
        };
        let needed = |place: Option<Place>, role: &str, usual: &[&str]| {
            place.ok_or_else(|| Error::NoColumn {
                origin: origin.to_owned(),
                column: format!(
                    "for the {role} (looked for {} and the like)",
                    usual[..4].join(", ")
                ),
                known: header.map_or(
                    format!("{width} columns without names"),
                    ToString::to_string,
                ),
            })
        };
        Ok(Places {
            user: needed(find(&self.user, "user", USER, 0)?, "user", USER)?,
            item: needed(find(&self.item, "item", ITEM, 1)?, "item", ITEM)?,
            weight: find(&self.weight, "weight", WEIGHT, 2)?,
            time: find(&self.time, "time", TIME, 3)?,
        })
    }
}
