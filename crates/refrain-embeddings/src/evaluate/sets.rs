//! Files of words in groups, as vecto-ai/word-benchmarks has them.

use std::io::Read;
use std::path::Path;

use super::files::{bad, open, records};
use crate::Result;

/// A set of words that belong together, and one that does not.
pub type OutlierSet = (Vec<String>, String);

/// Reads words with their categories, for [`categories`](super::categories): AP, Battig, BLESS.
///
/// # Errors
/// As [`parse_categories`], and when there is no such file.
pub fn read_categories(path: impl AsRef<Path>) -> Result<Vec<(String, String)>> {
    let (reader, origin) = open(path.as_ref())?;
    parse_categories(reader, &origin)
}

/// Reads words with their categories; `origin` names them in errors.
///
/// A table with commas whose first line names the columns `category` and `word`; lines without a word are
/// passed over.
///
/// ```
/// use refrain_embeddings::evaluate::parse_categories;
/// let table = ",category,word\n0,bird,crow\n1,bird,\n";
/// let words = parse_categories(table.as_bytes(), "an example")?;
/// assert_eq!(words, [("crow".to_string(), "bird".to_string())]);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming the line.
pub fn parse_categories(reader: impl Read, origin: &str) -> Result<Vec<(String, String)>> {
    let mut words = Vec::new();
    for (line, [category, word]) in columns(reader, origin, ["category", "word"])? {
        if category.is_empty() {
            return Err(bad(origin, line, "a word without a category".to_string()));
        }
        if !word.is_empty() {
            words.push((word, category));
        }
    }
    Ok(words)
}

/// Reads sets of words for [`outliers`](super::outliers): 8-8-8, WikiSem500.
///
/// # Errors
/// As [`parse_outliers`], and when there is no such file.
pub fn read_outliers(path: impl AsRef<Path>) -> Result<Vec<OutlierSet>> {
    let (reader, origin) = open(path.as_ref())?;
    parse_outliers(reader, &origin)
}

/// Reads sets of words; `origin` names them in errors.
///
/// A table with commas whose first line names the columns `outliers` and `words`, each field of which is a
/// list as Python writes it. Each outlier makes a set with all the words of its line.
///
/// ```
/// use refrain_embeddings::evaluate::parse_outliers;
/// let table = "category,outliers,words\nmonths,\"['day', '']\",\"['May', 'June']\"\n";
/// let sets = parse_outliers(table.as_bytes(), "an example")?;
/// assert_eq!(sets, [(vec!["May".to_string(), "June".to_string()], "day".to_string())]);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming the line.
pub fn parse_outliers(reader: impl Read, origin: &str) -> Result<Vec<OutlierSet>> {
    let mut sets = Vec::new();
    for (line, fields) in columns(reader, origin, ["outliers", "words"])? {
        let [outliers, words] = fields.map(|field| {
            list(&field)
                .ok_or_else(|| bad(origin, line, format!("expected a list, found {field:?}")))
        });
        let words = words?;
        sets.extend(
            outliers?
                .into_iter()
                .map(|outlier| (words.clone(), outlier)),
        );
    }
    Ok(sets)
}

/// Two columns of a table by their names, with the numbers of the lines; lines that have neither are left
/// out.
fn columns(reader: impl Read, origin: &str, names: [&str; 2]) -> Result<Vec<(u64, [String; 2])>> {
    let mut records = records(reader, origin)?.into_iter();
    let Some((line, first)) = records.next() else {
        return Ok(Vec::new());
    };
    let find = |name: &str| first.iter().position(|other| other.trim() == name);
    let [Some(a), Some(b)] = names.map(find) else {
        let reason = format!("expected columns {} and {}", names[0], names[1]);
        return Err(bad(origin, line, reason));
    };
    let fields = records.map(|(line, fields)| {
        let field = |at: usize| fields.get(at).map(|f| f.trim().to_string());
        (line, [a, b].map(|at| field(at).unwrap_or_default()))
    });
    Ok(fields
        .filter(|(_, fields)| fields.iter().any(|field| !field.is_empty()))
        .collect())
}

/// The words of a list as Python writes it, without empty ones.
fn list(field: &str) -> Option<Vec<String>> {
    let inner = field.strip_prefix('[')?.strip_suffix(']')?;
    let mut words = Vec::new();
    let mut chars = inner.chars();
    while let Some(sign) = chars.next() {
        match sign {
            ',' | ' ' => continue,
            '\'' | '"' => {}
            _ => return None,
        }
        let mut word = String::new();
        loop {
            match chars.next()? {
                '\\' => word.push(chars.next()?),
                end if end == sign => break,
                other => word.push(other),
            }
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    Some(words)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn categories(text: &str) -> Result<Vec<(String, String)>> {
        parse_categories(text.as_bytes(), "memory")
    }

    fn outliers(text: &str) -> Result<Vec<OutlierSet>> {
        parse_outliers(text.as_bytes(), "memory")
    }

    #[test]
    fn lists_of_python_are_read() {
        // print([["a'b", 'c"d', 'e, f', 'g\'h"i', ''], []])
        let text = "words,outliers\r\n\
            \"[\"\"a'b\"\", 'c\"\"d', 'e, f', 'g\\'h\"\"i', '']\",\"['x', 'y']\"\r\n\
            \"['z']\",[]\r\n";
        let words = ["a'b", "c\"d", "e, f", "g'h\"i"].map(String::from).to_vec();
        let want = [(words.clone(), "x".to_string()), (words, "y".to_string())];
        assert_eq!(outliers(text).unwrap(), want);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, says) in [
            (
                "kind,word\na,b\n",
                "line 1: expected columns category and word",
            ),
            (
                "category,word\na,b\n,c\n",
                "line 3: a word without a category",
            ),
        ] {
            let error = categories(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
        for (text, says) in [
            (
                "category,word\n",
                "line 1: expected columns outliers and words",
            ),
            (
                "outliers,words\n['a'],['b']\n['a'],b\n",
                "line 3: expected a list, found \"b\"",
            ),
            ("outliers,words\n['a'],['b\n", "line 2"),
            ("outliers,words\n['a'],['b' c]\n", "line 2"),
            ("outliers,words\n['a'],\n", "line 2"),
        ] {
            let error = outliers(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
        assert!(categories("").unwrap().is_empty() && outliers("").unwrap().is_empty());
        assert!(categories("category,word\n,\n").unwrap().is_empty());
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[ab ,.\\['\"\\]\\\\\n\r\u{e9}]{0,60}") {
            let _ = categories(&format!("category,word\n{text}"));
            let _ = outliers(&format!("outliers,words\n{text}"));
            let _ = list(&text);
        }
    }
}
