//! Tokenizers of Hugging Face: `tokenizer.json` read, written, applied and trained through the crate
//! `tokenizers` (feature `tokenizers`).

mod gguf;
mod gpt2;
mod training;

use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::{EncodeInput, Encoding, PostProcessor, TruncationParams};
pub use training::{Pieces, TokenizerTraining};

use crate::{Error, Result, Tokenizer, Vocabulary, hugging_face};

/// A text as tokens.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TokenizedText {
    /// The tokens, with those that the tokenizer puts around a text (`[CLS]`, `[SEP]`).
    pub tokens: Vec<u32>,
    /// Which of two texts each token belongs to: 0 or 1.
    pub types: Vec<u32>,
    /// The bytes of its text that each token stands for; empty for those put around it.
    pub bytes: Vec<Range<usize>>,
}

/// A tokenizer as Hugging Face keeps it: rules that clean and cut a text, and a vocabulary of pieces.
///
/// ```
/// use refrain_sequence::{HuggingFaceTokenizer, Pieces, TokenizerTraining};
///
/// let texts = ["row, row, row your boat", "gently down the stream"];
/// let training = TokenizerTraining { pieces: Pieces::WordPiece, size: 60, ..Default::default() };
/// let tokenizer = training.fit(texts)?; // or HuggingFaceTokenizer::load("tokenizer.json")
/// let text = tokenizer.encode("Row the boat!")?;
/// assert_eq!(tokenizer.name(text.tokens[0]).as_deref(), Some("[CLS]"));
/// assert_eq!(&"Row the boat!"[text.bytes[1].clone()], "Row");
/// assert_eq!(tokenizer.decode(&text.tokens)?, "row the boat [UNK]".replace(" [UNK]", ""));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct HuggingFaceTokenizer {
    inner: tokenizers::Tokenizer,
    origin: String,
    vocabulary: Vocabulary,
    /// How the names of pieces stand for text.
    spelling: Spelling,
    /// The token put before every text that does not begin with it.
    begin: Option<u32>,
}

/// How the name of a piece stands for its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spelling {
    /// A character for each byte (GPT-2).
    Bytes,
    /// `▁` for a space; the first of a text may stand for nothing, and `<0x0A>` for a byte.
    Spaces {
        strip: bool,
        bytes: bool,
    },
    /// `##` for a piece that does not begin a word.
    Words,
    Plain,
}

impl Spelling {
    fn of(decoder: &Value) -> Self {
        let one = std::slice::from_ref(decoder);
        let parts = decoder.get("decoders").and_then(Value::as_array);
        let parts = parts.map_or(one, Vec::as_slice);
        let find = |kind| parts.iter().find(|part| part["type"] == kind);
        let replace = find("Replace").is_some_and(|part| part["pattern"]["String"] == "▁");
        let meta = find("Metaspace");
        match (find("ByteLevel"), find("WordPiece")) {
            (Some(_), _) => Self::Bytes,
            (_, Some(_)) => Self::Words,
            _ if replace || meta.is_some() => Self::Spaces {
                strip: find("Strip").is_some()
                    || meta.is_some_and(|part| part["prepend_scheme"] != "never"),
                bytes: find("ByteFallback").is_some(),
            },
            _ => Self::Plain,
        }
    }
}

impl HuggingFaceTokenizer {
    /// Reads a `tokenizer.json`, or that of a folder; in a folder without one, `vocab.json` and
    /// `merges.txt` as [`from_gpt2`](Self::from_gpt2) does. Padding and truncation that stand in it are
    /// left out: a text gives all of its tokens and no others, unless [`with_most`](Self::with_most) is
    /// asked for.
    ///
    /// # Errors
    /// When the file cannot be read; [`Error::Tokenizer`] when it is no such tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if path.is_dir() {
            return match gpt2::in_folder(path)? {
                Some(tokenizer) => Ok(tokenizer),
                None => Self::load(path.join("tokenizer.json")),
            };
        }
        Self::read(&hugging_face::bytes(path)?, path.display().to_string())
    }

    /// Reads a `tokenizer.json` that is in memory.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes, "memory".to_string())
    }

    fn read(bytes: &[u8], origin: String) -> Result<Self> {
        let broken = |e: serde_json::Error| Error::tokenizer(&origin, e);
        let mut value: Value = serde_json::from_slice(bytes).map_err(broken)?;
        if let Some(fields) = value.as_object_mut() {
            fields.remove("padding");
            fields.remove("truncation");
        }
        check_templates(value.get("post_processor"), &origin)?;
        let inner = serde_json::from_value(value).map_err(broken)?;
        Self::of(inner, origin)
    }

    fn of(inner: tokenizers::Tokenizer, origin: String) -> Result<Self> {
        let decoder = serde_json::to_value(inner.get_decoder()).unwrap_or_default();
        let spelling = Spelling::of(&decoder);
        let names = inner.get_vocab(true);
        let size = names.values().max().map_or(0, |&most| most as usize + 1);
        if size > 1 << 24 {
            return Err(Error::tokenizer(&origin, format_args!("{size} tokens")));
        }
        // Numbers without a token get a name that no text makes.
        let mut ordered: Vec<String> = (0..size).map(|i| format!("\0unused {i}")).collect();
        for (name, token) in names {
            if let Some(place) = ordered.get_mut(token as usize) {
                *place = name;
            }
        }
        Ok(Self {
            inner,
            origin,
            vocabulary: Vocabulary::named(ordered)?,
            spelling,
            begin: None,
        })
    }

    /// Writes a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.inner.to_string(true).map_err(|e| self.error(e))?;
        Ok(refrain_core::replace_file(path.as_ref(), text.as_bytes())?)
    }

    /// The same tokenizer, cutting every text to `most` tokens, those around it included.
    ///
    /// # Errors
    /// [`Error::Config`] when that leaves no room for a text.
    pub fn with_most(&self, most: usize) -> Result<Self> {
        let around = self
            .inner
            .get_post_processor()
            .map_or(0, |p| p.added_tokens(true).max(p.added_tokens(false)));
        if most <= around {
            return Err(Error::config(
                "the most tokens of a text",
                most,
                "more than stand around it",
            ));
        }
        let mut cut = self.clone();
        let parameters = TruncationParams {
            max_length: most,
            ..TruncationParams::default()
        };
        cut.inner
            .with_truncation(Some(parameters))
            .map_err(|e| self.error(e))?;
        Ok(cut)
    }

    /// How many tokens there are.
    pub fn len(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name of a token, as it stands in the file.
    pub fn name(&self, token: u32) -> Option<String> {
        self.inner.id_to_token(token)
    }

    /// The token of a name.
    pub fn token(&self, name: &str) -> Option<u32> {
        self.inner.token_to_id(name)
    }

    /// A text as tokens.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] when the rules fail on it: a piece is missing and no token stands for
    /// unknown ones, or a pattern gives up.
    pub fn encode(&self, text: &str) -> Result<TokenizedText> {
        let encoding = self.inner.encode(text, true).map_err(|e| self.error(e))?;
        Ok(self.tokenized(&encoding))
    }

    /// Two texts as one row of tokens, of types 0 and 1.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<TokenizedText> {
        let encoding = self.inner.encode((first, second), true);
        Ok(self.tokenized(&encoding.map_err(|e| self.error(e))?))
    }

    /// Many texts, on all threads.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<TokenizedText>> {
        let inputs: Vec<EncodeInput<'_>> = texts.iter().map(|t| t.as_ref().into()).collect();
        let encodings = self.inner.encode_batch(inputs, true);
        let encodings = encodings.map_err(|e| self.error(e))?;
        Ok(encodings.iter().map(|e| self.tokenized(e)).collect())
    }

    fn tokenized(&self, encoding: &Encoding) -> TokenizedText {
        let tokens = encoding.get_ids();
        let twice = match (self.begin, tokens) {
            (Some(begin), [first, second, ..]) => *first == begin && *second == begin,
            _ => false,
        };
        let from = usize::from(twice);
        let places = encoding.get_offsets().iter().skip(from);
        TokenizedText {
            tokens: tokens.iter().skip(from).copied().collect(),
            types: encoding.get_type_ids().iter().skip(from).copied().collect(),
            bytes: places.map(|&(from, to)| from..to).collect(),
        }
    }

    /// The text of tokens, without those around it.
    ///
    /// # Errors
    /// [`Error::Token`] for one that is not in the vocabulary; [`Error::Tokenizer`] when the rules
    /// fail.
    pub fn decode(&self, tokens: &[u32]) -> Result<String> {
        for (i, &token) in tokens.iter().enumerate() {
            if self.name(token).is_none() {
                return Err(Error::Token {
                    place: format!("token {i}"),
                    token,
                    vocabulary: self.len(),
                });
            }
        }
        self.inner.decode(tokens, true).map_err(|e| self.error(e))
    }

    fn error(&self, e: impl std::fmt::Display) -> Error {
        Error::tokenizer(&self.origin, e)
    }
}

impl Tokenizer for HuggingFaceTokenizer {
    fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    fn encode(&self, text: &str) -> Result<Vec<u32>> {
        Ok(HuggingFaceTokenizer::encode(self, text)?.tokens)
    }

    /// Special tokens stand for nothing. Of word pieces a space stands before each that begins a word,
    /// but for the first of a text.
    fn decode_into(&self, before: &[u32], token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.vocabulary.check("token", &[token])?;
        let added = self.inner.get_added_vocabulary().get_added_tokens_decoder();
        let silent = |token: &u32| added.get(token).is_some_and(|token| token.special);
        if silent(&token) {
            return Ok(());
        }
        let first = || before.iter().all(silent);
        let name = self.vocabulary.name(token).unwrap_or_default();
        match self.spelling {
            _ if added.contains_key(&token) => bytes.extend(name.bytes()),
            Spelling::Bytes => bytes.extend(name.chars().map(|c| byte_of(c).unwrap_or(b'?'))),
            Spelling::Spaces { bytes: true, .. } if hexadecimal(name).is_some() => {
                bytes.extend(hexadecimal(name));
            }
            Spelling::Spaces { strip, .. } => match name.strip_prefix('▁') {
                Some(rest) if strip && first() => bytes.extend(rest.replace('▁', " ").bytes()),
                _ => bytes.extend(name.replace('▁', " ").bytes()),
            },
            Spelling::Words => match name.strip_prefix("##") {
                Some(rest) => bytes.extend(rest.bytes()),
                None => {
                    if !first() {
                        bytes.push(b' ');
                    }
                    bytes.extend(name.bytes());
                }
            },
            Spelling::Plain => bytes.extend(name.bytes()),
        }
        Ok(())
    }

    fn decode(&self, tokens: &[u32]) -> Result<String> {
        HuggingFaceTokenizer::decode(self, tokens)
    }
}

/// The byte of a piece such as `<0x0A>`.
fn hexadecimal(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    plain.then(|| u8::from_str_radix(digits, 16).ok())?
}

/// The byte that GPT-2 writes as this character: itself where it can be printed, and the others from
/// U+0100 on.
fn byte_of(c: char) -> Option<u8> {
    let printed = |b: u8| matches!(b, 33..=126 | 161..=172 | 174..=255);
    match u32::from(c) {
        n @ 0..256 => Some(n as u8).filter(|&b| printed(b)),
        n => (0..=255u8).filter(|&b| !printed(b)).nth((n - 256) as usize),
    }
}

/// A `tokenizer.json` of byte pairs: `never_cut` are tokens that no text is cut inside, `cut` says how it
/// is cut.
fn byte_pairs(never_cut: Vec<Value>, cut: Vec<Value>, model: Value) -> Value {
    json!({
        "version": "1.0",
        "added_tokens": never_cut,
        "normalizer": null,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": cut},
        "post_processor": null,
        "decoder": bytes(false, true),
        "model": model,
    })
}

/// Bytes written as characters: with a space before every text, and cut as GPT-2 cuts.
fn bytes(prefix: bool, cut: bool) -> Value {
    json!({
        "type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": true, "use_regex": cut,
    })
}

/// A token that is never cut; a special one stands for no text.
fn added(token: u32, name: &str, special: bool) -> Value {
    json!({
        "id": token, "content": name, "special": special, "single_word": false,
        "lstrip": false, "rstrip": false, "normalized": false,
    })
}

/// A template may only name special tokens that it lists: the library takes that for granted.
fn check_templates(processor: Option<&Value>, origin: &str) -> Result<()> {
    let Some(processor) = processor else {
        return Ok(());
    };
    let listed = processor.get("special_tokens").and_then(Value::as_object);
    for template in ["single", "pair"] {
        let pieces = processor.get(template).and_then(Value::as_array);
        for piece in pieces.into_iter().flatten() {
            let name = piece.pointer("/SpecialToken/id").and_then(Value::as_str);
            if let Some(name) = name
                && listed.is_none_or(|listed| !listed.contains_key(name))
            {
                let reason = format!("the template {template} has an unknown token {name:?}");
                return Err(Error::tokenizer(origin, reason));
            }
        }
    }
    let inner = processor.get("processors").and_then(Value::as_array);
    inner
        .into_iter()
        .flatten()
        .try_for_each(|processor| check_templates(Some(processor), origin))
}

#[cfg(test)]
mod tests;
