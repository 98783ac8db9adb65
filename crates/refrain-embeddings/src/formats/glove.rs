//! The text format of GloVe: as [word2vec's](super::word2vec), without the line of counts.
//!
//! A line for each word with its values, separated by spaces. Quirks: nothing says how many values
//! there are, so the first line decides, all of whose fields but the first are values; some
//! published files hold words with spaces (`. . .` in `glove.840B.300d`), which are read as they
//! are; the word `<unk>`, which newer files end with, is a word like others. A first line of two
//! numbers is a line of counts, which gensim's converter adds, and is passed over.

use std::io::BufRead;
use std::path::Path;

use super::lines::{self, Lines};
use super::{Gathered, bad};
use crate::{Embeddings, Result};

/// Reads a file of text.
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming the line.
pub fn read(path: impl AsRef<Path>) -> Result<Embeddings> {
    let (reader, origin) = lines::open(path.as_ref())?;
    parse(reader, &origin)
}

/// Reads text; `origin` names it in errors.
///
/// ```
/// use refrain_embeddings::formats::glove;
/// let words = glove::parse("the 0.5 -1\n. . 0 0.25\n".as_bytes(), "an example")?;
/// assert_eq!(words.vector(". ."), Some(&[0.0, 0.25][..]));
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
///
/// # Errors
/// As [`read`].
pub fn parse(reader: impl BufRead, origin: &str) -> Result<Embeddings> {
    let mut lines = Lines::new(reader, origin);
    let mut found = Gathered::new();
    let mut dim = None;
    while lines.next()? {
        let line = lines.line();
        let dim = match dim {
            Some(dim) => dim,
            None => {
                let fields: Vec<&str> = line.split(' ').collect();
                let numbers = fields.iter().all(|field| field.parse::<u64>().is_ok());
                if let ([_, _], true) = (&fields[..], numbers) {
                    continue;
                }
                // A first word with spaces has fields that are not values.
                let values = fields.iter().rev();
                let values = values.take_while(|field| field.parse::<f32>().is_ok());
                let values = values.count().min(fields.len() - 1);
                if values == 0 {
                    return Err(lines.bad("expected a word and its values".to_string()));
                }
                *dim.insert(values)
            }
        };
        lines.take(dim, &mut found)?;
    }
    match dim {
        Some(dim) => found.finish(dim),
        None => Err(bad(origin, "line 1", "the file is empty".to_string())),
    }
}

/// Writes a file of text.
///
/// # Errors
/// As [`word2vec::write_text`](super::word2vec::write_text).
pub fn write(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    lines::write(embeddings, path.as_ref(), false)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Result<Embeddings> {
        parse(text.as_bytes(), "memory")
    }

    #[test]
    fn reads_what_glove_writes() {
        // Two lines of glove.6B.50d.txt, cut to four values, and one of glove.840B.300d.txt.
        let text = "the 0.418 0.24968 -0.41242 0.1217\n\
                    , 0.013441 0.23682 -0.16899 0.40951\n\
                    . . . -0.1573 -0.29517 0.30453 -0.54773\n";
        let words = parsed(text).unwrap();
        assert_eq!((words.len(), words.dim()), (3, 4));
        assert_eq!(words.vector("the").unwrap()[3], 0.1217);
        assert_eq!(words.vector(". . .").unwrap()[0], -0.1573);
        // gensim 4.4.0: KeyedVectors.save_word2vec_format("v.txt", write_header=False).
        let text = "the 1.0 -0.5 0.002\nnew york 0.0 0.25 1.0\ncafé 1e-20 3.0 -7.125\n";
        let words = parsed(text).unwrap();
        assert_eq!(words.vector("the"), Some(&[1.0, -0.5, 0.002][..]));
        assert_eq!(words.vector("new york"), Some(&[0.0, 0.25, 1.0][..]));
        assert_eq!(words.vector("café"), Some(&[1e-20, 3.0, -7.125][..]));
        // Words that are numbers, first and later.
        let words = parsed("2 1.5 2.5\n3 4 5\n").unwrap();
        assert_eq!(words.vector("2"), Some(&[1.5, 2.5][..]));
        assert_eq!(words.vector("3"), Some(&[4.0, 5.0][..]));
        // gensim.scripts.glove2word2vec adds the counts.
        let words = parsed("2 1\na 1\nb 2\n").unwrap();
        assert_eq!(words.vector("b"), Some(&[2.0][..]));
    }

    #[test]
    fn errors_name_the_line() {
        for (text, says) in [
            ("", "line 1: the file is empty"),
            ("word\n", "line 1: expected a word and its values"),
            ("a 1 2\nb 1\n", "line 2: expected 2 values, found \"b\""),
            ("a 1 2\nb\n", "line 2: expected 2 values"),
            ("a 1 2\nb 1 x\n", "line 2: expected 2 values, found \"x\""),
            (
                "a 1 NaN\n",
                "vector of \"a\" has a value that is not a finite",
            ),
        ] {
            let error = parsed(text).map(|words| words.len()).unwrap_err();
            let error = error.to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.txt");
        let words = Embeddings::from_vectors([("a b", [0.1, -3e-9]), ("猫", [7.0, 0.3])]).unwrap();
        write(&words, &path).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again.vectors(), words.vectors());
        assert_eq!(again.vocabulary(), words.vocabulary());
    }

    proptest! {
        #[test]
        fn hostile_text_never_panics(text in "[a-c0-9 .\n\r\u{e9}-]{0,60}") {
            let _ = parsed(&text);
        }
    }
}
