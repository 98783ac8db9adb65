//! Writing one field so that it is read back as it was.

use std::io::{self, Write};

/// Writes `text`, quoted if it holds anything that a reader would take for something else.
pub(crate) fn write_field(out: &mut impl Write, text: &str) -> io::Result<()> {
    let special = |b: u8| matches!(b, b'"' | b',' | b'\n' | b'\r');
    let plain = !text.is_empty()
        && !text.bytes().any(special)
        && !text.starts_with(['#', ' ', '\t', '\u{feff}'])
        && !text.ends_with([' ', '\t']);
    match plain {
        true => out.write_all(text.as_bytes()),
        false => write!(out, "\"{}\"", text.replace('"', "\"\"")),
    }
}
