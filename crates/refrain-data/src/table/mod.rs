//! Tables of text: opening, splitting into rows, naming columns, reading times.

mod header;
mod open;
mod rows;
mod time;
mod write;

pub use header::Column;
pub(crate) use header::{Header, Place, find, normal, untyped};
pub(crate) use open::open;
pub use rows::Encoding;
pub(crate) use rows::{Field, Format, Row, Rows};
pub(crate) use time::parse_time;
pub(crate) use write::write_field;
