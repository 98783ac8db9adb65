//! English text for embeddings and language models: a novel and speeches of two centuries.

use super::{broken, unpack_text};
use crate::Result;

const NAME: &str = "speeches";
static NOVEL: &[u8] = include_bytes!("../../data/text/moby-dick.txt.gz");
static SPEECHES: &[u8] = include_bytes!("../../data/text/speeches.tsv.gz");

/// A speech of a president of the United States on the state of the Union.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Speech {
    /// The year it was given.
    pub year: u16,
    /// Who gave it.
    pub president: String,
    /// What was said.
    pub text: String,
}

/// Herman Melville's *Moby-Dick* (1851): one paragraph a line, an empty line between chapters.
pub fn moby_dick() -> Result<String> {
    unpack_text("novel", NOVEL)
}

/// 47 speeches on the state of the Union, every fifth year from 1790 to 2020.
pub fn speeches() -> Result<Vec<Speech>> {
    parse(&unpack_text(NAME, SPEECHES)?)
}

/// All of it, 3.4 MB: the novel, then the speeches, one a line.
///
/// ```
/// let text = refrain_data::bundled::text()?;
/// assert!(text.starts_with("CHAPTER 1. Loomings.\nCall me Ishmael."));
/// assert!(text.split_whitespace().count() > 500_000);
/// # Ok::<(), refrain_data::Error>(())
/// ```
pub fn text() -> Result<String> {
    let mut text = moby_dick()?;
    for speech in speeches()? {
        text.push('\n');
        text.push_str(&speech.text);
        text.push('\n');
    }
    Ok(text)
}

fn parse(table: &str) -> Result<Vec<Speech>> {
    let line = |(number, line): (usize, &str)| {
        let wrong = || broken(NAME, format!("line {} is not year, name, text", number + 1));
        let mut parts = line.split('\t');
        match (
            parts.next().map(str::parse),
            parts.next(),
            parts.next(),
            parts.next(),
        ) {
            (Some(Ok(year)), Some(president), Some(text), None) => Ok(Speech {
                year,
                president: president.to_owned(),
                text: text.to_owned(),
            }),
            _ => Err(wrong()),
        }
    };
    table.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_novel_is_whole() {
        let novel = moby_dick().unwrap();
        assert!(novel.contains("\n\nCHAPTER 135. The Chase"));
        assert!(novel.trim_end().ends_with("only found another orphan."));
        assert_eq!(novel.matches("\nCHAPTER ").count() + 1, 135);
        assert!(!novel.contains(['\r', '\t']));
    }

    #[test]
    fn speeches_are_every_fifth_year() {
        let speeches = speeches().unwrap();
        assert_eq!(speeches.len(), 47);
        assert!(
            speeches
                .iter()
                .all(|s| s.year % 5 == 0 && s.text.len() > 1_000)
        );
        assert_eq!(
            (speeches[0].year, speeches[0].president.as_str()),
            (1790, "George Washington")
        );
        assert!(speeches.windows(2).all(|w| w[0].year <= w[1].year));
    }

    #[test]
    fn damage_is_an_error() {
        assert!(parse("1790\tsomebody").is_err());
        assert!(parse("year\tsomebody\ttext").is_err());
        assert!(parse("1790\ta\tb\tc").is_err());
    }
}
