//! Words of a text.

/// The words of `text` in lower case: runs of letters and digits of any script, with apostrophes
/// inside them kept (`o'neill's`). Scripts that write no spaces (Chinese, Japanese kana) give one
/// word per character.
///
/// ```
/// let words: Vec<String> = refrain_data::words("The Morning-Dew, O'Neill 74; 床前明月").collect();
/// assert_eq!(words, ["the", "morning", "dew", "o'neill", "74", "床", "前", "明", "月"]);
/// ```
pub fn words(text: &str) -> impl Iterator<Item = String> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let start = rest.find(char::is_alphanumeric)?;
        rest = rest.get(start..)?;
        let end = word_end(rest);
        let (word, after) = rest.split_at_checked(end)?;
        rest = after;
        Some(
            word.chars()
                .flat_map(char::to_lowercase)
                .map(plain_apostrophe)
                .collect(),
        )
    })
}

/// Where the word that begins `text` ends.
fn word_end(text: &str) -> usize {
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if alone(c) {
            return if at == 0 { c.len_utf8() } else { at };
        }
        let goes_on = c.is_alphanumeric()
            || plain_apostrophe(c) == '\''
                && chars
                    .peek()
                    .is_some_and(|&(_, next)| next.is_alphabetic() && !alone(next));
        if !goes_on {
            return at;
        }
    }
    text.len()
}

fn plain_apostrophe(c: char) -> char {
    if c == '\u{2019}' { '\'' } else { c }
}

/// A character that is a word of its own.
fn alone(c: char) -> bool {
    matches!(u32::from(c),
        0x3040..=0x30ff | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn apostrophes_bind_only_inside() {
        let of = |text: &str| words(text).collect::<Vec<_>>();
        assert_eq!(
            of("'Tis the lads' O\u{2019}Brien's ''"),
            ["tis", "the", "lads", "o'brien's"]
        );
        assert_eq!(of("reel月jig"), ["reel", "月", "jig"]);
        assert_eq!(of(" -- "), Vec::<String>::new());
        assert_eq!(of("STRASSE İ"), ["strasse", "i\u{307}"]);
    }

    proptest! {
        #[test]
        fn every_letter_is_in_one_word(text in "[a-zA-Z0-9'’ é月の,.-]{0,40}|.{0,20}") {
            let lower = |s: &str| -> String {
                s.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
            };
            let joined: String = words(&text).collect();
            let joined: String = joined.chars().filter(|&c| c != '\'').collect();
            prop_assert_eq!(joined, lower(&text));
            prop_assert!(words(&text).all(|w| !w.is_empty()));
        }
    }
}
