//! Words, punctuation and white space as tokens; see [`Words`].

use std::collections::HashMap;

use unicode_segmentation::UnicodeSegmentation;

use super::{TokenKind, Tokenizer, Vocabulary};
use crate::{Error, Result};

/// One token for each word, sign and run of white space that training texts contain.
///
/// A text is cut at the word boundaries of Unicode Standard Annex #29: `don't` and `3.5` are words,
/// punctuation stands alone, so does each Chinese character, and upper case is kept. The space before
/// a piece belongs to it, as in GPT-2: `the cat, the dog` is `the`, ` cat`, `,`, ` the`, ` dog`. The
/// names of the tokens are these pieces as they stand, so decoding joins them and nothing else.
///
/// A piece that is unknown with its space is written as the space and the piece without it; one that is
/// unknown without it too becomes the [unknown token](Self::UNKNOWN), which decodes to `<unk>`. Hence a
/// text of known pieces comes back exactly, and any other with `<unk>` for each piece that is not known,
/// white space included.
///
/// ```
/// use refrain_sequence::{Tokenizer, Words};
/// let words = Words::from_text("The cat sat on the mat. The dog didn't.")?;
/// let tokens = words.encode("The dog sat, the mat didn't.")?;
/// assert_eq!(tokens.len(), 8);
/// assert_eq!(words.decode(&tokens)?, "The dog sat<unk> the mat didn't.");
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Words {
    vocabulary: Vocabulary,
    unknown: u32,
    space: Option<u32>,
}

impl Words {
    /// The name of the token for what is unknown. No text has it as a piece.
    pub const UNKNOWN: &str = "<unk>";

    /// All pieces of `text`: nothing of it is unknown.
    ///
    /// # Errors
    /// As [`from_texts`](Self::from_texts).
    pub fn from_text(text: &str) -> Result<Self> {
        Self::from_texts([text], 1, usize::MAX)
    }

    /// The pieces that occur at least `least` times in all texts together; of these the most frequent,
    /// so that there are at most `size` tokens. The first token is the unknown one, the second a single
    /// space; the others follow by falling count, and in Unicode order where counts are equal.
    ///
    /// # Errors
    /// [`Error::Config`] for a `size` below 3; [`Error::TooShort`] when no text has a piece, or none so
    /// often.
    pub fn from_texts<S: AsRef<str>>(
        texts: impl IntoIterator<Item = S>,
        least: u64,
        size: usize,
    ) -> Result<Self> {
        const ALWAYS: [&str; 2] = [Words::UNKNOWN, SPACE];
        if size <= ALWAYS.len() {
            let expected = "at least 3: the unknown token, a space and a word";
            return Err(Error::config("the size of a vocabulary", size, expected));
        }
        let mut counts: HashMap<String, u64> = HashMap::new();
        for text in texts {
            for piece in pieces(text.as_ref()) {
                match counts.get_mut(piece) {
                    Some(count) => *count += 1,
                    None => {
                        counts.insert(piece.to_string(), 1);
                    }
                }
            }
        }
        let most_frequent = counts.values().copied().max().unwrap_or(0);
        if most_frequent < least.max(1) {
            return Err(Error::TooShort {
                what: "occurrences of the most frequent word".to_string(),
                needed: usize::try_from(least.max(1)).unwrap_or(usize::MAX),
                found: usize::try_from(most_frequent).unwrap_or(usize::MAX),
            });
        }
        counts.remove(SPACE);
        let mut counts: Vec<(String, u64)> = counts.into_iter().filter(|c| c.1 >= least).collect();
        counts.sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        counts.truncate(size - ALWAYS.len());
        let learnt = counts.iter().map(|(piece, _)| piece.as_str());
        let names = ALWAYS.into_iter().chain(learnt);
        Ok(Self::of(
            Vocabulary::of(TokenKind::Words, names)?,
            0,
            Some(1),
        ))
    }

    /// The tokenizer of a vocabulary that has the [unknown token](Self::UNKNOWN), else `None`.
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Option<Self> {
        let unknown = vocabulary.token(Self::UNKNOWN)?;
        let space = vocabulary.token(SPACE);
        Some(Self::of(vocabulary.clone(), unknown, space))
    }

    fn of(vocabulary: Vocabulary, unknown: u32, space: Option<u32>) -> Self {
        Self {
            vocabulary,
            unknown,
            space,
        }
    }

    /// The token for what is unknown: give it a bias of `-∞` in a [`Sampler`](crate::Sampler), and it
    /// is never written.
    pub fn unknown(&self) -> u32 {
        self.unknown
    }
}

impl Tokenizer for Words {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// Never fails.
    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        let mut tokens = Vec::with_capacity(text.len() / 4);
        for piece in pieces(text) {
            let known = self.vocabulary.token(piece);
            let rest = piece.strip_prefix(SPACE).filter(|rest| !rest.is_empty());
            match (known, rest, self.space) {
                (Some(token), ..) => tokens.push(token),
                (None, Some(rest), Some(space)) => {
                    let rest = self.vocabulary.token(rest);
                    tokens.extend([space, rest.unwrap_or(self.unknown)]);
                }
                _ => tokens.push(self.unknown),
            }
        }
        Ok(tokens)
    }

    fn decode_into(&self, _: &[u32], token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.vocabulary.check("decode", &[token])?;
        bytes.extend_from_slice(self.vocabulary.name(token).unwrap_or_default().as_bytes());
        Ok(())
    }
}

const SPACE: &str = " ";

/// A text cut at word boundaries, with the space before a word or sign at its beginning. Joined, the
/// pieces are the text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let mut words = rest.split_word_bounds();
        let first = words.next()?;
        let length = match words.next() {
            Some(next) if blank(first) && first.ends_with(SPACE) && !blank(next) => {
                match first.len() - SPACE.len() {
                    0 => first.len() + next.len(),
                    before => before,
                }
            }
            _ => first.len(),
        };
        let (piece, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(piece)
    })
}

fn blank(piece: &str) -> bool {
    piece.chars().all(char::is_whitespace)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{TextStream, Transformer, TransformerConfig};

    fn cut(text: &str) -> Vec<&str> {
        pieces(text).collect()
    }

    #[test]
    fn a_space_belongs_to_what_follows_it() {
        let text = "The cat  sat, didn't it?\n\n\t“3.5 yes” ";
        let expected = [
            "The", " cat", " ", " sat", ",", " didn't", " it", "?", "\n", "\n", "\t", "“", "3.5",
            " yes", "”", " ",
        ];
        assert_eq!(cut(text), expected);
        assert_eq!(cut("床前 明月"), ["床", "前", " 明", "月"]);
        assert_eq!(cut(" \n a"), [" ", "\n", " a"]);
        assert!(cut("").is_empty());
        assert_eq!(cut(Words::UNKNOWN).len(), 3);
    }

    #[test]
    fn the_most_frequent_pieces_are_kept() {
        let texts = ["a b b b c c", " c d\nd", "d"];
        let names = |least, size| {
            let words = Words::from_texts(texts, least, size).unwrap();
            words.vocabulary().iter().map(str::to_string).collect()
        };
        let all: Vec<String> = names(1, usize::MAX);
        assert_eq!(
            all,
            ["<unk>", " ", " b", " c", "d", "\n", " d", "a"].map(String::from)
        );
        assert_eq!(names(2, usize::MAX), all[..5]);
        assert_eq!(names(1, 4), all[..4]);
    }

    #[test]
    fn what_is_unknown_is_seen_in_the_text() {
        let words = Words::from_texts(["the cat the dog the cat"], 2, 10).unwrap();
        let name = |&t: &u32| words.vocabulary().name(t).unwrap().to_string();
        let tokens = words.encode("the dog the cat!").unwrap();
        let names: Vec<String> = tokens.iter().map(name).collect();
        assert_eq!(names, ["<unk>", " ", "<unk>", " the", " cat", "<unk>"]);
        assert_eq!(words.unknown(), tokens[0]);
        // A word without its space is found behind one.
        let words = Words::from_text("dog\ncat").unwrap();
        let tokens = words.encode("cat dog cow").unwrap();
        assert_eq!(words.decode(&tokens).unwrap(), "cat dog <unk>");
    }

    #[test]
    fn a_saved_model_gives_its_words_back() {
        let words = Words::from_text("the cat sat").unwrap();
        let config = TransformerConfig {
            layers: 1,
            heads: 1,
            width: 4,
            context: 4,
            ..TransformerConfig::default()
        };
        let device = refrain_core::device("cpu").unwrap();
        let model = Transformer::new(&config, words.vocabulary().clone(), 0, &device).unwrap();
        let model = Transformer::from_bytes(model.to_bytes().unwrap(), &device).unwrap();
        let vocabulary = model.vocabulary();
        assert_eq!(vocabulary.kind(), TokenKind::Words);
        let again = vocabulary.tokenizer().unwrap();
        let text = "the cat saw";
        assert_eq!(again.encode(text).unwrap(), words.encode(text).unwrap());
        // What files say of the other kinds.
        for (kind, written) in [
            (TokenKind::Characters, "\"characters\""),
            (TokenKind::Bytes, "\"bytes\""),
            (TokenKind::External, "\"external\""),
        ] {
            assert_eq!(serde_json::to_string(&kind).unwrap(), written);
        }
    }

    #[test]
    fn impossible_vocabularies_are_errors() {
        let none: [&str; 0] = [];
        for error in [
            Words::from_text("").unwrap_err(),
            Words::from_texts(none, 0, 9).unwrap_err(),
            Words::from_texts(["a b"], 2, 9).unwrap_err(),
        ] {
            assert!(matches!(error, Error::TooShort { .. }), "{error}");
        }
        let error = Words::from_texts(["a b"], 1, 2).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
        let words = Words::from_text("a").unwrap();
        let error = words.decode(&[3]).unwrap_err();
        assert!(matches!(error, Error::Token { token: 3, .. }), "{error}");
        let foreign = Vocabulary::named(["a"]).unwrap();
        assert!(Words::from_vocabulary(&foreign).is_none());
    }

    proptest! {
        #[test]
        fn known_text_comes_back(text in "(\\PC|[ a-c\n\t.']){1,40}") {
            prop_assert_eq!(cut(&text).concat(), text.clone());
            let words = Words::from_text(&text).unwrap();
            let tokens = words.encode(&text).unwrap();
            prop_assert!(!tokens.contains(&words.unknown()));
            prop_assert_eq!(tokens.len(), cut(&text).len());
            prop_assert_eq!(words.decode(&tokens).unwrap(), text);
            let again = words.vocabulary().tokenizer().unwrap();
            prop_assert_eq!(again.encode(words.vocabulary().name(2).unwrap_or("")).unwrap().len(),
                usize::from(words.vocabulary().len() > 2));
        }

        #[test]
        fn unknown_pieces_become_the_unknown_token(
            known in "[a-c ]{1,20}", text in "([a-e .\n]|é|床){0,30}",
        ) {
            let words = Words::from_text(&known).unwrap();
            let tokens = words.encode(&text).unwrap();
            // Piece by piece, in the plainest way.
            let is_known = |piece: &str| cut(&known).contains(&piece) || piece == " ";
            let expected: String = cut(&text)
                .into_iter()
                .map(|piece| match piece.strip_prefix(' ') {
                    _ if is_known(piece) => piece.to_string(),
                    Some(rest) if is_known(rest) => piece.to_string(),
                    Some(rest) if !rest.is_empty() => " <unk>".to_string(),
                    _ => "<unk>".to_string(),
                })
                .collect();
            prop_assert_eq!(&words.decode(&tokens).unwrap(), &expected);
            let mut stream = TextStream::new(&words);
            let streamed: Vec<String> =
                tokens.iter().map(|&t| stream.push(t).unwrap()).collect();
            prop_assert_eq!(stream.finish(), "");
            let names = tokens.iter().map(|&t| words.vocabulary().name(t).unwrap());
            prop_assert!(names.eq(streamed.iter().map(String::as_str)));
        }
    }
}
