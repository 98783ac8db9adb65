//! ABC notation: reading and writing.

pub(crate) mod body;
pub(crate) mod cursor;
pub(crate) mod header;
pub(crate) mod symbols;
pub(crate) mod write;
