//! Chinese poems of the Tang dynasty (618 to 907), in traditional characters.

use super::{broken, unpack_text};
use crate::Result;

const NAME: &str = "Tang poems";
static PACKED: &[u8] = include_bytes!("../../data/tang/poems.tsv.gz");

/// A poem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poem {
    /// Its title.
    pub title: String,
    /// Who wrote it.
    pub author: String,
    /// Its couplets, with their punctuation.
    pub lines: Vec<String>,
}

/// 4,710 poems by 30 poets: four or eight verses, all of five or all of seven characters.
///
/// ```
/// let poems = refrain_data::bundled::tang_poems()?;
/// let night = poems.iter().find(|p| p.author == "李白" && p.title == "靜夜思").unwrap();
/// assert_eq!(night.lines, ["牀前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"]);
/// # Ok::<(), refrain_data::Error>(())
/// ```
pub fn tang_poems() -> Result<Vec<Poem>> {
    parse(&unpack_text(NAME, PACKED)?)
}

fn parse(table: &str) -> Result<Vec<Poem>> {
    let line = |(number, line): (usize, &str)| {
        let mut parts = line.split('\t').map(str::to_owned);
        let (title, author) = (parts.next(), parts.next());
        let lines: Vec<String> = parts.collect();
        match (title, author) {
            (Some(title), Some(author)) if !lines.is_empty() => Ok(Poem {
                title,
                author,
                lines,
            }),
            _ => Err(broken(
                NAME,
                format!("line {} is not title, author, lines", number + 1),
            )),
        }
    };
    table.lines().enumerate().map(line).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn poems_are_regular() {
        let poems = tang_poems().unwrap();
        assert_eq!(poems.len(), 4_710);
        assert_eq!(
            poems
                .iter()
                .map(|p| &p.author)
                .collect::<HashSet<_>>()
                .len(),
            30
        );
        for poem in &poems {
            let text = poem.lines.concat();
            let verses: Vec<usize> = text
                .split(['，', '。', '？', '！', '；', '：', '、'])
                .map(|v| v.chars().count())
                .filter(|&n| n > 0)
                .collect();
            assert!(matches!(verses.len(), 4 | 8), "{poem:?}");
            assert!(
                verses.iter().all(|&n| n == verses[0] && (n == 5 || n == 7)),
                "{poem:?}"
            );
        }
    }

    #[test]
    fn damage_is_an_error() {
        assert!(parse("title\tauthor").is_err());
        assert!(parse("title\tauthor\tline").is_ok());
    }
}
