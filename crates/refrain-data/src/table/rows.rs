//! Splitting text into rows and fields.
//!
//! The rules are those of RFC 4180 (a quoted field may hold separators, line ends and doubled
//! quotes) with what real files need beside: separators of any length (`::`), comment lines, files
//! that are not UTF-8, and the exact number of the line where a row begins. Blank lines are
//! skipped. A line without a quote is split without copying anything.

use std::borrow::Cow;
use std::io::BufRead;
use std::ops::Range;

use crate::{Error, Result};

/// How bytes become text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Encoding {
    /// UTF-8; anything else is an error that names the line. A byte order mark is skipped.
    #[default]
    Utf8,
    /// ISO 8859-1: every byte is the character of that number. Older data sets use it.
    Latin1,
}

/// The form of a table.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    /// Between fields; `None` finds it out from the first row.
    pub(crate) separator: Option<String>,
    /// Lines that begin with this are skipped.
    pub(crate) comment: Option<String>,
    pub(crate) quote: Option<u8>,
    pub(crate) encoding: Encoding,
}

/// A quoted field longer than this is taken for a quote that was never closed.
const LONGEST_QUOTED: usize = 1 << 20;

/// Reads rows one by one.
pub(crate) struct Rows<R> {
    input: R,
    origin: String,
    comment: Option<Vec<u8>>,
    quote: Option<u8>,
    encoding: Encoding,
    separator: Vec<u8>,
    /// Lines read so far.
    lines: u64,
    /// The line where the current row begins.
    line: u64,
    /// The current row; further lines are appended when a quoted field goes on.
    text: Vec<u8>,
    /// Contents of quoted fields, without their quotes.
    unquoted: Vec<u8>,
    fields: Vec<Place>,
    /// The current row is to be given again.
    again: bool,
}

#[derive(Clone)]
struct Place {
    quoted: bool,
    range: Range<usize>,
}

/// One field: its bytes, without blanks around them unless it was quoted.
#[derive(Clone, Copy)]
pub(crate) struct Field<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) quoted: bool,
}

impl Field<'_> {
    /// Nothing between two separators; `""` is an empty text instead.
    pub(crate) fn is_missing(&self) -> bool {
        self.bytes.is_empty() && !self.quoted
    }
}

/// One row and where it came from.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    text: &'a [u8],
    unquoted: &'a [u8],
    fields: &'a [Place],
    encoding: Encoding,
    origin: &'a str,
    pub(crate) line: u64,
}

impl<'a> Row<'a> {
    pub(crate) fn len(&self) -> usize {
        self.fields.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Field<'a>> {
        let Place { quoted, range } = self.fields.get(index)?.clone();
        let source = if quoted { self.unquoted } else { self.text };
        Some(Field {
            bytes: source.get(range)?,
            quoted,
        })
    }

    pub(crate) fn text(&self, field: Field<'a>) -> Result<Cow<'a, str>> {
        match self.encoding {
            Encoding::Latin1 if !field.bytes.is_ascii() => Ok(field
                .bytes
                .iter()
                .map(|&b| char::from(b))
                .collect::<String>()
                .into()),
            _ => match std::str::from_utf8(field.bytes) {
                Ok(text) => Ok(text.into()),
                Err(_) => {
                    Err(self.error("text is not UTF-8; if it is older, set the encoding to Latin1"))
                }
            },
        }
    }

    pub(crate) fn error(&self, reason: impl Into<String>) -> Error {
        Error::row(self.origin, self.line, reason)
    }
}

impl<R: BufRead> Rows<R> {
    pub(crate) fn new(input: R, origin: impl Into<String>, format: &Format) -> Result<Self> {
        let origin = origin.into();
        if format.separator.as_deref() == Some("") {
            return Err(Error::Config {
                field: "separator",
                value: "empty".into(),
                must: "at least one character",
            });
        }
        let mut rows = Self {
            input,
            origin,
            comment: format
                .comment
                .clone()
                .map(String::into_bytes)
                .filter(|c| !c.is_empty()),
            quote: format.quote,
            encoding: format.encoding,
            separator: format.separator.clone().unwrap_or_default().into_bytes(),
            lines: 0,
            line: 0,
            text: Vec::new(),
            unquoted: Vec::new(),
            fields: Vec::new(),
            again: false,
        };
        if rows.separator.is_empty() {
            rows.separator = b",".to_vec();
            if rows.read_row_line()? {
                rows.separator = guess_separator(&rows.text);
                rows.split()?;
                rows.again = true;
            }
        }
        Ok(rows)
    }

    /// The next row, or nothing at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Row<'_>>> {
        if !std::mem::take(&mut self.again) {
            if !self.read_row_line()? {
                return Ok(None);
            }
            self.split()?;
        }
        Ok(Some(Row {
            text: &self.text,
            unquoted: &self.unquoted,
            fields: &self.fields,
            encoding: self.encoding,
            origin: &self.origin,
            line: self.line,
        }))
    }

    /// Gives the current row once more.
    pub(crate) fn again(&mut self) {
        self.again = true;
    }

    /// Appends one line, without its end, to `text`; false at the end of the file.
    fn read_line(&mut self) -> Result<bool> {
        let before = self.text.len();
        let read = self
            .input
            .read_until(b'\n', &mut self.text)
            .map_err(|e| Error::row(&self.origin, self.lines + 1, e.to_string()))?;
        self.lines += 1;
        if self.text.len() > before && self.text.last() == Some(&b'\n') {
            self.text.pop();
            if self.text.len() > before && self.text.last() == Some(&b'\r') {
                self.text.pop();
            }
        }
        if self.lines == 1 && self.text.starts_with(b"\xef\xbb\xbf") {
            self.text.drain(..3);
        }
        Ok(read > 0)
    }

    /// Reads on to the next line that is neither blank nor a comment.
    fn read_row_line(&mut self) -> Result<bool> {
        loop {
            self.text.clear();
            if !self.read_line()? {
                return Ok(false);
            }
            let comment = self
                .comment
                .as_deref()
                .is_some_and(|c| self.text.starts_with(c));
            // A row of separators only, tabs for instance, is not a blank line.
            let blank = |b: &u8| b.is_ascii_whitespace() && !self.separator.contains(b);
            if !comment && !self.text.iter().all(blank) {
                self.line = self.lines;
                return Ok(true);
            }
        }
    }

    fn split(&mut self) -> Result<()> {
        self.fields.clear();
        self.unquoted.clear();
        let mut at = 0;
        loop {
            let start = at + leading_blanks(&self.text[at..], &self.separator);
            if self.quote.is_some() && self.text.get(start).copied() == self.quote {
                at = self.split_quoted(start)?;
            } else {
                let end = find_bytes(&self.text[at..], &self.separator)
                    .map_or(self.text.len(), |found| at + found);
                let end_trimmed = end - trailing_blanks(&self.text[start.min(end)..end]);
                self.fields.push(Place {
                    quoted: false,
                    range: start.min(end)..end_trimmed,
                });
                at = end;
            }
            if at >= self.text.len() {
                break;
            }
            at += self.separator.len();
        }
        if self.separator == b" " {
            self.fields
                .retain(|place| place.quoted || !place.range.is_empty());
        }
        Ok(())
    }

    /// Takes the quoted field that opens at `open`; returns where the separator after it begins.
    fn split_quoted(&mut self, open: usize) -> Result<usize> {
        let Some(quote) = self.quote else {
            return Ok(open);
        };
        let start = self.unquoted.len();
        let mut at = open + 1;
        loop {
            match self.text[at..].iter().position(|&b| b == quote) {
                Some(found) => {
                    self.unquoted.extend_from_slice(&self.text[at..at + found]);
                    at += found + 1;
                    if self.text.get(at) == Some(&quote) {
                        self.unquoted.push(quote);
                        at += 1;
                        continue;
                    }
                    break;
                }
                None => {
                    self.unquoted.extend_from_slice(&self.text[at..]);
                    self.unquoted.push(b'\n');
                    at = self.text.len();
                    if self.text.len() - open > LONGEST_QUOTED || !self.read_line()? {
                        let reason = "a quote is opened and never closed; if quotes have no \
                                      meaning in this file, set `quote` to None";
                        return Err(Error::row(&self.origin, self.line, reason));
                    }
                }
            }
        }
        // Like other readers: what stands between the closing quote and the separator is kept.
        let end = find_bytes(&self.text[at..], &self.separator)
            .map_or(self.text.len(), |found| at + found);
        let rest = at..end - trailing_blanks(&self.text[at..end]);
        self.unquoted.extend_from_slice(&self.text[rest]);
        self.fields.push(Place {
            quoted: true,
            range: start..self.unquoted.len(),
        });
        Ok(end)
    }
}

fn is_blank(byte: u8, separator: &[u8]) -> bool {
    (byte == b' ' || byte == b'\t') && !separator.contains(&byte)
}

fn leading_blanks(text: &[u8], separator: &[u8]) -> usize {
    text.iter().take_while(|&&b| is_blank(b, separator)).count()
}

fn trailing_blanks(text: &[u8]) -> usize {
    text.iter()
        .rev()
        .take_while(|&&b| b == b' ' || b == b'\t')
        .count()
}

fn find_bytes(text: &[u8], pattern: &[u8]) -> Option<usize> {
    match pattern {
        [byte] => text.iter().position(|b| b == byte),
        _ => text
            .windows(pattern.len().max(1))
            .position(|window| window == pattern),
    }
}

/// The first of the usual separators that the line contains.
fn guess_separator(line: &[u8]) -> Vec<u8> {
    ["::", "\t", ",", ";", "|", " "]
        .into_iter()
        .find(|s| find_bytes(line, s.as_bytes()).is_some())
        .unwrap_or(",")
        .into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(crate) fn format() -> Format {
        Format {
            separator: None,
            comment: None,
            quote: Some(b'"'),
            encoding: Encoding::Utf8,
        }
    }

    fn read(text: &[u8], format: &Format) -> Result<Vec<(u64, Vec<String>)>> {
        let mut rows = Rows::new(text, "t.csv", format)?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            let fields = (0..row.len()).map(|i| Ok(row.text(row.get(i).unwrap())?.into_owned()));
            all.push((row.line, fields.collect::<Result<_>>()?));
        }
        Ok(all)
    }

    fn simple(text: &str, separator: &str) -> Vec<Vec<String>> {
        let format = Format {
            separator: Some(separator.into()),
            ..format()
        };
        read(text.as_bytes(), &format)
            .unwrap()
            .into_iter()
            .map(|r| r.1)
            .collect()
    }

    #[test]
    fn fields_of_every_kind() {
        assert_eq!(simple("a,b\r\n\n c , d\n", ","), [["a", "b"], ["c", "d"]]);
        assert_eq!(simple("a,\"b,\"\"c\"\"\"\n", ","), [["a", "b,\"c\""]]);
        assert_eq!(
            simple("a,\"two\nlines\",c", ","),
            [["a", "two\nlines", "c"]]
        );
        assert_eq!(simple("1::One: Two::3", "::"), [["1", "One: Two", "3"]]);
        assert_eq!(simple("\t\t\na\tb\t", "\t"), [["", "", ""], ["a", "b", ""]]);
        assert_eq!(simple("a   b c", " "), [["a", "b", "c"]]);
        assert_eq!(simple("a,b,", ","), [["a", "b", ""]]);
    }

    #[test]
    fn lines_are_counted_through_comments_and_quotes() {
        let format = Format {
            comment: Some("#".into()),
            ..format()
        };
        let rows = read(
            b"\xef\xbb\xbf# made by hand\n\nu;i\n\"a\nb\";c\n#\nd;e",
            &format,
        )
        .unwrap();
        let lines: Vec<_> = rows.iter().map(|r| r.0).collect();
        assert_eq!(lines, [3, 4, 7]);
        assert_eq!(rows[1].1, ["a\nb", "c"]);
    }

    #[test]
    fn bad_text_is_named() {
        let error = read(b"a,b\nBj\xf6rk,c\n", &format())
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("t.csv, line 2: text is not UTF-8"),
            "{error}"
        );
        let latin = Format {
            encoding: Encoding::Latin1,
            ..format()
        };
        assert_eq!(read(b"Bj\xf6rk,c\n", &latin).unwrap()[0].1, ["Björk", "c"]);
        let error = read(b"a,b\n\"c,d\n", &format()).unwrap_err().to_string();
        assert!(
            error.starts_with("t.csv, line 2: a quote is opened and never closed"),
            "{error}"
        );
        let bare = Format {
            quote: None,
            ..format()
        };
        assert_eq!(read(b"a,\"b\n", &bare).unwrap()[0].1, ["a", "\"b"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            bytes in proptest::collection::vec(any::<u8>(), 0..200), latin in any::<bool>(),
        ) {
            let encoding = if latin { Encoding::Latin1 } else { Encoding::Utf8 };
            let _ = read(&bytes, &Format { encoding, ..format() });
        }

        /// The `csv` crate is the reference for what RFC 4180 says.
        #[test]
        fn agrees_with_the_csv_crate(
            table in proptest::collection::vec(
                proptest::collection::vec("[a\",\n é]{0,5}[a-z]", 3), 1..8),
        ) {
            let mut writer = csv::Writer::from_writer(Vec::new());
            for row in &table {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let format = Format { separator: Some(",".into()), ..format() };
            let rows: Vec<_> = read(&text, &format).unwrap().into_iter().map(|r| r.1).collect();
            let mut reader = csv::ReaderBuilder::new()
                .has_headers(false).trim(csv::Trim::None).from_reader(&text[..]);
            for (got, expected) in rows.iter().zip(reader.records()) {
                for (got, expected) in got.iter().zip(&expected.unwrap()) {
                    // An unquoted field loses its blanks; the writer quotes only what needs it.
                    prop_assert!(got == expected || got == expected.trim_matches(' '));
                }
            }
            prop_assert_eq!(rows.len(), table.len());
        }
    }
}
