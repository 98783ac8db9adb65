//! Text ↔ tokens.
//!
//! A [`Vocabulary`] is the table of token names a model was trained on, and is saved with it. A
//! [`Tokenizer`] turns text into those tokens and back: [`Characters`], [`Words`] and [`Bytes`] live
//! here; anything else (notes, a foreign tokenizer) brings its own and hands over the numbers, with
//! [`Vocabulary::named`] to keep their names.

mod words;

pub use words::Words;

use refrain_core::IdMap;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// What the tokens of a vocabulary stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TokenKind {
    /// One Unicode character each; see [`Characters`].
    Characters,
    /// One byte each; see [`Bytes`].
    Bytes,
    /// One word, sign or run of white space each; see [`Words`].
    Words,
    /// Whatever the caller's own tokenizer says.
    External,
}

/// The names of the tokens `0..len`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vocabulary {
    kind: TokenKind,
    names: IdMap,
}

impl Vocabulary {
    /// Tokens with these names, numbered in this order; the tokenizer is the caller's.
    ///
    /// # Errors
    /// [`Error::Config`] when a name stands twice.
    pub fn named<S: AsRef<str>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::of(TokenKind::External, names)
    }

    /// `size` tokens named `0`, `1`, …
    ///
    /// # Errors
    /// Only when `size` does not fit a `u32`.
    pub fn numbered(size: usize) -> Result<Self> {
        Self::named((0..size).map(|i| i.to_string()))
    }

    pub(crate) fn of<S: AsRef<str>>(
        kind: TokenKind,
        names: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let mut map = IdMap::new();
        for name in names {
            let before = map.len();
            map.insert(name.as_ref())?;
            if map.len() == before {
                return Err(Error::config(
                    "Vocabulary",
                    name.as_ref(),
                    "a name stands only once",
                ));
            }
        }
        Ok(Self { kind, names: map })
    }

    pub(crate) fn from_parts(kind: TokenKind, names: IdMap) -> Self {
        Self { kind, names }
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// What the tokens stand for.
    pub fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The name of a token.
    pub fn name(&self, token: u32) -> Option<&str> {
        self.names.name(token)
    }

    /// The token of a name.
    pub fn token(&self, name: &str) -> Option<u32> {
        self.names.get(name)
    }

    /// All names, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        self.names.iter()
    }

    pub(crate) fn ids(&self) -> &IdMap {
        &self.names
    }

    /// The tokenizer behind this vocabulary, where it is one of this crate's.
    pub fn tokenizer(&self) -> Option<Box<dyn Tokenizer>> {
        match self.kind {
            TokenKind::Characters => Characters::from_vocabulary(self).map(|t| Box::new(t) as _),
            TokenKind::Bytes => Some(Box::new(Bytes::new())),
            TokenKind::Words => Words::from_vocabulary(self).map(|t| Box::new(t) as _),
            TokenKind::External => None,
        }
    }

    /// Refuses a token this vocabulary does not have.
    pub(crate) fn check(&self, place: &str, tokens: &[u32]) -> Result<()> {
        check_tokens(place, tokens, self.len())
    }
}

pub(crate) fn check_tokens(place: &str, tokens: &[u32], vocabulary: usize) -> Result<()> {
    match tokens.iter().position(|&t| t as usize >= vocabulary) {
        None => Ok(()),
        Some(at) => Err(Error::Token {
            place: format!("{place}, position {at}"),
            token: tokens.get(at).copied().unwrap_or_default(),
            vocabulary,
        }),
    }
}

/// Text to tokens and back.
pub trait Tokenizer: Send + Sync + std::fmt::Debug {
    /// The tokens this tokenizer makes.
    fn vocabulary(&self) -> &Vocabulary;

    /// The tokens of `text`.
    ///
    /// # Errors
    /// [`Error::Symbol`] for text the vocabulary cannot express.
    fn encode(&self, text: &str) -> Result<Vec<u32>>;

    /// Appends the bytes of a token that stands after the tokens `before`.
    ///
    /// # Errors
    /// [`Error::Token`] for a token outside the vocabulary.
    fn decode_into(&self, before: &[u32], token: u32, bytes: &mut Vec<u8>) -> Result<()>;

    /// The text of `tokens`; bytes that are no UTF-8 become `�`.
    ///
    /// # Errors
    /// [`Error::Token`] for a token outside the vocabulary.
    fn decode(&self, tokens: &[u32]) -> Result<String> {
        let mut bytes = Vec::with_capacity(tokens.len());
        for (at, &token) in tokens.iter().enumerate() {
            self.decode_into(tokens.get(..at).unwrap_or_default(), token, &mut bytes)?;
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// One token for each character that a training text contains.
///
/// ```
/// use refrain_sequence::{Characters, Tokenizer};
/// let characters = Characters::from_text("春眠不觉晓")?;
/// let tokens = characters.encode("不眠")?;
/// assert_eq!(characters.decode(&tokens)?, "不眠");
/// assert!(characters.encode("x").is_err());
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Characters {
    vocabulary: Vocabulary,
}

impl Characters {
    /// The characters of `text`, numbered in Unicode order.
    ///
    /// # Errors
    /// [`Error::TooShort`] when `text` is empty.
    pub fn from_text(text: &str) -> Result<Self> {
        let set: std::collections::BTreeSet<char> = text.chars().collect();
        if set.is_empty() {
            let what = "the text of a character tokenizer".to_string();
            return Err(Error::TooShort {
                what,
                needed: 1,
                found: 0,
            });
        }
        let mut buffer = [0; 4];
        let names = set
            .into_iter()
            .map(|c| c.encode_utf8(&mut buffer).to_string());
        Ok(Self {
            vocabulary: Vocabulary::of(TokenKind::Characters, names)?,
        })
    }

    /// The tokenizer of a vocabulary whose names are single characters, else `None`.
    pub fn from_vocabulary(vocabulary: &Vocabulary) -> Option<Self> {
        let single = vocabulary.iter().all(|name| name.chars().count() == 1);
        single.then(|| Self {
            vocabulary: vocabulary.clone(),
        })
    }
}

impl Tokenizer for Characters {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        // Most texts are ASCII: a table answers those without hashing.
        let mut ascii = [None; 128];
        for (token, name) in self.vocabulary.iter().enumerate() {
            if let [byte] = name.as_bytes()
                && let Some(slot) = ascii.get_mut(*byte as usize)
            {
                *slot = Some(token as u32);
            }
        }
        let mut buffer = [0; 4];
        text.char_indices()
            .map(|(position, c)| {
                let token = match ascii.get(c as usize) {
                    Some(known) => *known,
                    None => self.vocabulary.token(c.encode_utf8(&mut buffer)),
                };
                token.ok_or_else(|| Error::Symbol {
                    symbol: c.to_string(),
                    position,
                })
            })
            .collect()
    }

    fn decode_into(&self, _: &[u32], token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.vocabulary.check("decode", &[token])?;
        bytes.extend_from_slice(self.vocabulary.name(token).unwrap_or_default().as_bytes());
        Ok(())
    }
}

/// One token for each of the 256 bytes: any text, no training, longer sequences.
#[derive(Debug, Clone)]
pub struct Bytes {
    vocabulary: Vocabulary,
}

impl Default for Bytes {
    fn default() -> Self {
        Self::new()
    }
}

impl Bytes {
    /// The byte tokenizer.
    pub fn new() -> Self {
        let names = (0..256u32).map(|b| format!("{b:02x}"));
        let vocabulary = Vocabulary::of(TokenKind::Bytes, names).unwrap_or_else(|_| Vocabulary {
            kind: TokenKind::Bytes,
            names: IdMap::new(),
        });
        Self { vocabulary }
    }
}

impl Tokenizer for Bytes {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(text.bytes().map(u32::from).collect())
    }

    fn decode_into(&self, _: &[u32], token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.vocabulary.check("decode", &[token])?;
        bytes.push(token as u8);
        Ok(())
    }
}

/// Turns tokens into text as they arrive, never splitting a character.
///
/// ```
/// use refrain_sequence::{Bytes, TextStream, Tokenizer};
/// let bytes = Bytes::new();
/// let mut stream = TextStream::new(&bytes);
/// let pieces: Vec<String> =
///     bytes.encode("né")?.into_iter().map(|t| stream.push(t)).collect::<Result<_, _>>()?;
/// assert_eq!(pieces, ["n", "", "é"]);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug)]
pub struct TextStream<'a> {
    tokenizer: &'a dyn Tokenizer,
    before: Vec<u32>,
    pending: Vec<u8>,
}

impl<'a> TextStream<'a> {
    /// A stream that begins a text.
    pub fn new(tokenizer: &'a dyn Tokenizer) -> Self {
        Self::after(tokenizer, &[])
    }

    /// A stream that continues a text of these tokens, a prompt.
    pub fn after(tokenizer: &'a dyn Tokenizer, before: &[u32]) -> Self {
        Self {
            tokenizer,
            before: before.to_vec(),
            pending: Vec::new(),
        }
    }

    /// Adds a token; returns the characters that are complete now.
    ///
    /// # Errors
    /// [`Error::Token`] for a token outside the vocabulary.
    pub fn push(&mut self, token: u32) -> Result<String> {
        self.tokenizer
            .decode_into(&self.before, token, &mut self.pending)?;
        self.before.push(token);
        let complete = match std::str::from_utf8(&self.pending) {
            Ok(_) => self.pending.len(),
            // An unfinished character stays; broken bytes go out as `�`.
            Err(e) => match e.error_len() {
                None => e.valid_up_to(),
                Some(broken) => e.valid_up_to() + broken,
            },
        };
        let rest = self.pending.split_off(complete);
        let done = std::mem::replace(&mut self.pending, rest);
        Ok(String::from_utf8_lossy(&done).into_owned())
    }

    /// What was held back, at the end.
    pub fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.pending)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in "\\PC{1,60}") {
            let characters = Characters::from_text(&text).unwrap();
            let bytes = Bytes::new();
            for tokenizer in [&characters as &dyn Tokenizer, &bytes] {
                let tokens = tokenizer.encode(&text).unwrap();
                tokenizer.vocabulary().check("test", &tokens).unwrap();
                prop_assert_eq!(tokenizer.decode(&tokens).unwrap(), text.clone());
                let mut stream = TextStream::new(tokenizer);
                let mut streamed = String::new();
                for token in tokens {
                    streamed.push_str(&stream.push(token).unwrap());
                }
                streamed.push_str(&stream.finish());
                prop_assert_eq!(&streamed, &text);
            }
        }

        #[test]
        fn any_bytes_decode_without_panic(tokens in proptest::collection::vec(0u32..300, 0..40)) {
            let bytes = Bytes::new();
            let inside = tokens.iter().all(|&t| t < 256);
            prop_assert_eq!(bytes.decode(&tokens).is_ok(), inside);
            let mut stream = TextStream::new(&bytes);
            for &token in &tokens {
                prop_assert_eq!(stream.push(token).is_ok(), token < 256);
            }
            stream.finish();
        }
    }

    #[test]
    fn errors_name_the_place() {
        let characters = Characters::from_text("abc").unwrap();
        let error = characters.encode("abé").unwrap_err();
        assert_eq!(error.to_string(), "byte 2: \"é\" is not in the vocabulary");
        let error = characters.decode(&[7]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "decode, position 0: token 7 is not in a vocabulary of 3"
        );
        assert!(Characters::from_text("").is_err());
        assert!(Vocabulary::named(["a", "b", "a"]).is_err());
        assert!(Vocabulary::numbered(3).unwrap().tokenizer().is_none());
    }
}
