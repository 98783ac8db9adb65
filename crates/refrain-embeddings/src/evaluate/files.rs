//! Files of judgements: the forms in which the field's test sets are passed around.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use refrain_core::Error as CoreError;

use crate::{Error, Result};

/// A pair of words and how alike people found them.
pub type JudgedPair = (String, String, f64);

/// "The first is to the second as the third is to the fourth", and the section it stands in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Question {
    /// As in the file, such as `capital-common-countries`; empty before the first.
    pub section: String,
    /// The four words.
    pub words: [String; 4],
}

pub(super) fn open(path: &Path) -> Result<(BufReader<File>, String)> {
    let file = File::open(path).map_err(|e| CoreError::io(path, e))?;
    Ok((BufReader::new(file), path.display().to_string()))
}

pub(super) fn bad(origin: &str, line: u64, reason: String) -> Error {
    Error::Vectors {
        origin: origin.to_string(),
        place: format!("line {line}"),
        reason,
    }
}

/// Reads scored pairs of words: WordSim-353, SimLex-999, MEN, RW and files like them.
///
/// # Errors
/// As [`parse_pairs`], and when there is no such file.
pub fn read_pairs(path: impl AsRef<Path>) -> Result<Vec<JudgedPair>> {
    let (reader, origin) = open(path.as_ref())?;
    parse_pairs(reader, &origin)
}

/// Reads scored pairs of words; `origin` names them in errors.
///
/// Fields are separated by tabs, commas or spaces, whichever the first line has. Lines that begin with
/// `#` are passed over. A first line without a score names the columns: of `word1`, `word2` and one of
/// `similarity`, `score`, `simlex999` or `human (mean)`, in any case; without such names, and without
/// such a line, the first three fields count. Where every word ends in a part of speech (MEN's `sun-n`)
/// it is cut off.
///
/// ```
/// use refrain_embeddings::evaluate::parse_pairs;
/// let pairs = parse_pairs("# of ten\ntiger\tcat\t7.35\n".as_bytes(), "an example")?;
/// assert_eq!(pairs, [("tiger".to_string(), "cat".to_string(), 7.35)]);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::Vectors`] naming the line.
pub fn parse_pairs(reader: impl Read, origin: &str) -> Result<Vec<JudgedPair>> {
    let mut columns = [0, 1, 2];
    let mut pairs: Vec<JudgedPair> = Vec::new();
    for (at, (line, fields)) in records(reader, origin)?.into_iter().enumerate() {
        let field = |at: usize| fields.get(at).map(|field| field.trim()).unwrap_or_default();
        if columns.iter().all(|&column| field(column).is_empty()) {
            continue; // a number and nothing else, as at the end of some tables
        }
        let Ok(score) = field(columns[2]).parse::<f64>() else {
            if at == 0 {
                columns = named_columns(&fields).unwrap_or(columns);
                continue;
            }
            let found = fields.join(" ");
            let reason = format!("expected two words and a score, found {found:?}");
            return Err(bad(origin, line, reason));
        };
        let (a, b) = (field(columns[0]), field(columns[1]));
        if a.is_empty() || b.is_empty() || !score.is_finite() {
            let found = fields.join(" ");
            let reason = format!("expected two words and a finite score, found {found:?}");
            return Err(bad(origin, line, reason));
        }
        pairs.push((a.to_string(), b.to_string(), score));
    }
    let tagged = |word: &String| {
        let tag = word.rsplit_once('-');
        tag.is_some_and(|(word, tag)| !word.is_empty() && matches!(tag, "n" | "v" | "j" | "a"))
    };
    if pairs.iter().all(|(a, b, _)| tagged(a) && tagged(b)) {
        for (a, b, _) in &mut pairs {
            a.truncate(a.len() - 2);
            b.truncate(b.len() - 2);
        }
    }
    Ok(pairs)
}

/// Where the words and the score stand, by the names of the columns.
fn named_columns(names: &[String]) -> Option<[usize; 3]> {
    let find = |wanted: &[&str]| {
        let mut names = names.iter().map(|name| name.trim().to_lowercase());
        names.position(|name| wanted.contains(&name.as_str()))
    };
    Some([
        find(&["word1", "word 1"])?,
        find(&["word2", "word 2"])?,
        find(&["similarity", "score", "simlex999", "human (mean)"])?,
    ])
}

/// The fields of the lines that say something, with their numbers.
pub(super) fn records(mut reader: impl Read, origin: &str) -> Result<Vec<(u64, Vec<String>)>> {
    let mut bytes = Vec::new();
    let read = reader.read_to_end(&mut bytes);
    read.map_err(|error| bad(origin, 1, error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = (1..).zip(text.lines());
    let lines = lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'));
    let mut delimiter = None;
    let mut records = Vec::new();
    for (number, line) in lines {
        let delimiter = *delimiter.get_or_insert_with(|| {
            let sign = ['\t', ','].into_iter().find(|&sign| line.contains(sign));
            sign.map_or(b' ', |sign| sign as u8)
        });
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .from_reader(line.as_bytes());
        let mut record = csv::StringRecord::new();
        let read = reader.read_record(&mut record);
        read.map_err(|error| bad(origin, number, error.to_string()))?;
        records.push((number, record.iter().map(str::to_string).collect()));
    }
    Ok(records)
}

/// Reads analogies: Google's `questions-words.txt`, MSR's in that form, or a table.
///
/// # Errors
/// As [`parse_analogies`], and when there is no such file.
pub fn read_analogies(path: impl AsRef<Path>) -> Result<Vec<Question>> {
    let (reader, origin) = open(path.as_ref())?;
    parse_analogies(reader, &origin)
}

/// Reads analogies; `origin` names them in errors.
///
/// Either four words on each line, separated by spaces, under lines `: section`; or a table with commas
/// whose first line names the columns `type`, `word1`, `word2`, `word3` and `target`.
///
/// ```
/// use refrain_embeddings::evaluate::parse_analogies;
/// let text = ": capitals\nAthens Greece Oslo Norway\n";
/// let questions = parse_analogies(text.as_bytes(), "an example")?;
/// assert_eq!((questions[0].section.as_str(), questions[0].words[3].as_str()), ("capitals", "Norway"));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::Vectors`] naming the line.
pub fn parse_analogies(mut reader: impl BufRead, origin: &str) -> Result<Vec<Question>> {
    let mut bytes = Vec::new();
    let read = reader.read_to_end(&mut bytes);
    read.map_err(|error| bad(origin, 1, error.to_string()))?;
    let text = String::from_utf8_lossy(&bytes);
    let mut lines = (1..).zip(text.lines()).peekable();
    let mut order = None;
    if let Some((_, names)) = lines.peek().filter(|(_, line)| line.contains(',')) {
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        let find = |name: &str| names.iter().position(|other| *other == name);
        let found = ["type", "word1", "word2", "word3", "target"].map(find);
        let [section, Some(a), Some(b), Some(c), Some(d)] = found else {
            let reason = "expected columns word1, word2, word3 and target".to_string();
            return Err(bad(origin, 1, reason));
        };
        order = Some((section, [a, b, c, d]));
        lines.next();
    }
    let mut section = String::new();
    let mut questions = Vec::new();
    for (line, text) in lines {
        let short = || bad(origin, line, format!("expected four words, found {text:?}"));
        if text.trim().is_empty() || text.starts_with('#') {
            continue;
        }
        let words: Vec<&str> = match order {
            Some((column, order)) => {
                let fields: Vec<&str> = text.split(',').map(str::trim).collect();
                if let Some(name) = column.and_then(|at| fields.get(at)) {
                    section = (*name).to_string();
                }
                order
                    .iter()
                    .filter_map(|&at| fields.get(at).copied())
                    .collect()
            }
            None => match text.strip_prefix(':') {
                Some(name) => {
                    section = name.trim().to_string();
                    continue;
                }
                None => text.split_whitespace().collect(),
            },
        };
        let words: [&str; 4] = words.try_into().map_err(|_| short())?;
        if words.iter().any(|word| word.is_empty()) {
            return Err(short());
        }
        questions.push(Question {
            section: section.clone(),
            words: words.map(str::to_string),
        });
    }
    Ok(questions)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Result<Vec<JudgedPair>> {
        parse_pairs(text.as_bytes(), "memory")
    }

    #[test]
    fn all_forms_of_pairs_say_the_same() {
        let want = [("tiger".to_string(), "cat".to_string(), 7.35)];
        for text in [
            "tiger\tcat\t7.35\n",
            "# a comment\ntiger cat 7.35",
            "tiger-n cat-n 7.35\n",
            "Word 1,Word 2,Human (mean)\r\ntiger,cat,7.35\r\n",
            ",word1,word2,similarity\n0,tiger,cat,7.35\n1,,,\n",
            "word1\tword2\tPOS\tSimLex999\tconc(w1)\ntiger\tcat\tN\t7.35\t5\n",
            "first,second,score of people\ntiger,cat,7.35\n",
        ] {
            assert_eq!(pairs(text).unwrap(), want, "{text:?}");
        }
        // Only when all words have one is a part of speech cut off.
        assert_eq!(pairs("t-n cat 1\n").unwrap()[0].0, "t-n");
        assert!(pairs("").unwrap().is_empty());
    }

    #[test]
    fn all_forms_of_analogies_say_the_same() {
        for text in [
            ": family\nboy girl king queen\n",
            ",type,word1,word2,word3,target\n0,family,boy,girl,king,queen\n",
        ] {
            let found = parse_analogies(text.as_bytes(), "memory").unwrap();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].section, "family");
            assert_eq!(found[0].words, ["boy", "girl", "king", "queen"]);
        }
    }

    #[test]
    fn errors_name_the_line() {
        for (text, says) in [
            (
                "a b 1\nc d\n",
                "memory, line 2: expected two words and a score",
            ),
            ("a b 1\nc d x\n", "line 2"),
            ("a b 1\n\n# c\nc d inf\n", "line 4"),
            ("a\tb\t1\n\tb\t2\n", "line 2"),
        ] {
            let error = pairs(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
        for (text, says) in [
            ("a b c\n", "line 1: expected four words"),
            (": x\na b c d\na b c d e\n", "line 3"),
            ("x,y\n", "line 1: expected columns"),
            ("word1,word2,word3,target\na,b,c\n", "line 2"),
        ] {
            let error = parse_analogies(text.as_bytes(), "memory").unwrap_err();
            assert!(error.to_string().contains(says), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[a-c0-9 ,.:#\"\t\n\r\u{e9}-]{0,60}") {
            let _ = pairs(&text);
            let _ = parse_analogies(text.as_bytes(), "memory");
        }
    }
}
