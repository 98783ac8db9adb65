//! Labelled sentences in columns, as the shared tasks of CoNLL keep them: a word a line, an empty
//! line between sentences; and those of PropBank in the columns of CoNLL-U.

use std::io::BufRead;
use std::path::Path;

use crate::table::open;
use crate::{Error, Result};

/// The most bytes of a line: longer ones are no words.
const LONGEST: u64 = 1 << 20;

/// A sentence of a file in columns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConllSentence {
    /// The line of its first word, counted from 1.
    pub line: u64,
    /// A row per word; all rows have as many columns.
    pub rows: Vec<Vec<String>>,
}

impl ConllSentence {
    /// A column, counted from 0; `None` where there are fewer.
    pub fn column(&self, index: usize) -> Option<Vec<&str>> {
        let cells = self.rows.iter().map(|row| row.get(index));
        cells.map(|cell| cell.map(String::as_str)).collect()
    }
}

/// The sentences of a file in columns, parted by tabs where a line has any, else by spaces. Gzip is
/// recognised. Lines of `-DOCSTART-` are left out; `#` begins no comment, for it begins words.
///
/// # Errors
/// [`Error::Row`] naming file and line where a row has fewer or more columns than the first of its
/// sentence; when the file cannot be read.
pub fn read(path: impl AsRef<Path>) -> Result<Vec<ConllSentence>> {
    let path = path.as_ref();
    parse(open(path)?, &path.display().to_string(), |row| {
        row.first().is_none_or(|word| word != "-DOCSTART-")
    })
}

/// One verb or noun with what stands around it in its roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposition {
    /// The word's index in the sentence.
    pub predicate: usize,
    /// Its sense, as in `nominate.01`.
    pub roleset: String,
    /// The role of each word, as in `ARG0`; `_` for none.
    pub roles: Vec<String>,
}

/// A sentence with its propositions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropBankSentence {
    /// Its words.
    pub words: Vec<String>,
    /// Their universal parts of speech.
    pub tags: Vec<String>,
    /// One for each predicate, in order.
    pub propositions: Vec<Proposition>,
}

/// The sentences of a Universal PropBank (Akbik et al., 2015): CoNLL-U, in column 11 the predicates'
/// rolesets, and after it a column of roles for each predicate. Comments, and the rows of words that
/// were split or left out, are skipped.
///
/// # Errors
/// [`Error::Row`] naming file and line where a sentence has another number of predicates than of
/// columns for them; otherwise as [`read`].
pub fn read_propbank(path: impl AsRef<Path>) -> Result<Vec<PropBankSentence>> {
    let path = path.as_ref();
    let origin = path.display().to_string();
    let whole = |row: &[String]| {
        row.first()
            .is_some_and(|id| id.bytes().all(|b| b.is_ascii_digit()))
    };
    let sentences = parse(open(path)?, &origin, whole)?;
    sentences
        .iter()
        .map(|sentence| propositions(sentence, &origin))
        .collect()
}

fn propositions(sentence: &ConllSentence, origin: &str) -> Result<PropBankSentence> {
    let row = |reason: String| Error::Row {
        origin: origin.to_string(),
        line: sentence.line,
        reason,
    };
    let columns = sentence.rows.first().map_or(0, Vec::len);
    let column = |index: usize| -> Result<Vec<String>> {
        let cells = sentence.column(index);
        let cells = cells.ok_or_else(|| row(format!("{columns} columns; expected at least 10")))?;
        Ok(cells.into_iter().map(str::to_string).collect())
    };
    let rolesets = match columns > 10 {
        true => column(10)?,
        false => Vec::new(), // a sentence that nobody has annotated
    };
    let predicates: Vec<usize> = (0..rolesets.len())
        .filter(|&i| {
            rolesets
                .get(i)
                .is_some_and(|r| !matches!(r.as_str(), "_" | ""))
        })
        .collect();
    let given = columns.saturating_sub(11);
    // A lone column of `_` says that there is no predicate.
    let empty = predicates.is_empty() && given <= 1;
    if predicates.len() != given && !empty {
        let reason = format!(
            "{} predicates, and columns of roles for {given}",
            predicates.len()
        );
        return Err(row(reason));
    }
    let propositions = predicates.iter().enumerate().map(|(i, &predicate)| {
        Ok(Proposition {
            predicate,
            roleset: rolesets.get(predicate).cloned().unwrap_or_default(),
            roles: column(11 + i)?,
        })
    });
    Ok(PropBankSentence {
        propositions: propositions.collect::<Result<_>>()?,
        words: column(1)?,
        tags: column(3)?,
    })
}

/// The sentences of what `keep` keeps of the rows.
fn parse(
    mut reader: impl BufRead,
    origin: &str,
    keep: impl Fn(&[String]) -> bool,
) -> Result<Vec<ConllSentence>> {
    let mut sentences = Vec::new();
    let mut sentence = ConllSentence::default();
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let row = |reason: String| Error::Row {
            origin: origin.to_string(),
            line,
            reason,
        };
        let mut limited = std::io::Read::take(&mut reader, LONGEST);
        let read = limited.read_until(b'\n', &mut bytes);
        let read = read.map_err(|e| row(e.to_string()))?;
        if read as u64 == LONGEST {
            return Err(row(format!("longer than {LONGEST} bytes")));
        }
        let text = String::from_utf8_lossy(&bytes);
        let text = match line {
            1 => text.trim_start_matches('\u{feff}'),
            _ => &text,
        };
        if text.trim().is_empty() {
            if !sentence.rows.is_empty() {
                sentences.push(std::mem::take(&mut sentence));
            }
            if read == 0 {
                break;
            }
            continue;
        }
        let text = text.trim_end_matches(['\r', '\n']);
        let cells: Vec<String> = match text.contains('\t') {
            true => text
                .split('\t')
                .map(|cell| cell.trim().to_string())
                .collect(),
            false => text.split_whitespace().map(str::to_string).collect(),
        };
        if !keep(&cells) {
            continue;
        }
        match sentence.rows.first().map(Vec::len) {
            None => sentence.line = line,
            Some(columns) if columns != cells.len() => {
                return Err(row(format!(
                    "{} columns; the first word of the sentence has {columns}",
                    cells.len()
                )));
            }
            Some(_) => {}
        }
        sentence.rows.push(cells);
    }
    Ok(sentences)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentences(text: &str) -> Result<Vec<ConllSentence>> {
        parse(text.as_bytes(), "test", |_| true)
    }

    fn propbank(text: &str) -> Result<Vec<PropBankSentence>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.conllu");
        std::fs::write(&path, text).unwrap();
        read_propbank(path)
    }

    #[test]
    fn sentences_are_parted_by_empty_lines() {
        let found =
            sentences("\u{feff}#tag\tO\nNew York\tB-place\r\n\t\n\nEU B-org\nis O").unwrap();
        let lines: Vec<u64> = found.iter().map(|s| s.line).collect();
        assert_eq!(lines, [1, 5]);
        assert_eq!(found[0].column(0).unwrap(), ["#tag", "New York"]);
        assert_eq!(found[1].column(1).unwrap(), ["B-org", "O"]);
        assert_eq!(found[1].column(2), None);
        assert!(sentences("").unwrap().is_empty());
    }

    #[test]
    fn a_row_of_another_length_is_named() {
        let error = sentences("a O\nb O\n\nc O\nd").unwrap_err();
        let expected = "test, line 5: 1 columns; the first word of the sentence has 2";
        assert_eq!(error.to_string(), expected);
        let long = "x".repeat(LONGEST as usize + 5);
        assert!(sentences(&long).unwrap_err().to_string().contains("line 1"));
    }

    const TEXT: &str = "# text = Bush left.\n\
        1\tBush\t_\tPROPN\t_\t_\t_\t_\t_\t_\t_\tARG0\n\
        1-2\tBushleft\t_\t_\t_\t_\t_\t_\t_\t_\n\
        2\tleft\t_\tVERB\t_\t_\t_\t_\t_\t_\tleave.01\tV\n\n\
        1\tNo\t_\tX\t_\t_\t_\t_\t_\t_\n\n\
        # propbank = no-up\n1\tYes\t_\tX\t_\t_\t_\t_\t_\t_\t\t\n";

    #[test]
    fn propositions_are_read() {
        let found = propbank(TEXT).unwrap();
        assert_eq!(found.len(), 3);
        assert_eq!(found[0].words, ["Bush", "left"]);
        assert_eq!(found[0].tags, ["PROPN", "VERB"]);
        let expected = Proposition {
            predicate: 1,
            roleset: "leave.01".to_string(),
            roles: vec!["ARG0".to_string(), "V".to_string()],
        };
        assert_eq!(found[0].propositions, [expected]);
        assert!(found[1].propositions.is_empty() && found[2].propositions.is_empty());
    }

    #[test]
    fn predicates_without_columns_are_named() {
        let error = propbank(&TEXT.replace("\t_\tARG0", "\tbush.01\tARG0")).unwrap_err();
        let error = error.to_string();
        assert!(
            error.ends_with("line 2: 2 predicates, and columns of roles for 1"),
            "{error}"
        );
    }
}
