//! Tokenizers of Hugging Face: `tokenizer.json` read, written, applied and trained through the crate
//! `tokenizers` (feature `tokenizers`).

use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::Metaspace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, EncodeInput, Encoding, PostProcessor, TruncationParams, decoders};

use crate::gguf::{GgufFile, GgufValue};
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

impl From<&Encoding> for TokenizedText {
    fn from(encoding: &Encoding) -> Self {
        let places = encoding.get_offsets().iter();
        Self {
            tokens: encoding.get_ids().to_vec(),
            types: encoding.get_type_ids().to_vec(),
            bytes: places.map(|&(from, to)| from..to).collect(),
        }
    }
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
}

/// How the name of a piece stands for its bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Spelling {
    /// A character for each byte (GPT-2).
    Bytes,
    /// `▁` for a space.
    Spaces,
    /// `##` for a piece that does not begin a word.
    Words,
    Plain,
}

impl HuggingFaceTokenizer {
    /// Reads a `tokenizer.json`. Padding and truncation that stand in it are left out: a text gives
    /// all of its tokens and no others, unless [`with_most`](Self::with_most) is asked for.
    ///
    /// # Errors
    /// When the file cannot be read; [`Error::Tokenizer`] when it is no such tokenizer.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
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
        let spelling = match decoder.get("type").and_then(Value::as_str) {
            Some("ByteLevel") => Spelling::Bytes,
            Some("Metaspace") => Spelling::Spaces,
            Some("WordPiece") => Spelling::Words,
            _ => Spelling::Plain,
        };
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
        })
    }

    /// The tokenizer in a GGUF file: byte pairs as in GPT-2, cut as the family of the model cuts (`gpt-2`,
    /// `smollm`).
    ///
    /// # Errors
    /// [`Error::Tokenizer`] for another kind of tokenizer, and as [`load`](Self::load); what is missing in
    /// the file is named.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let (kind, family) = (
            file.text("tokenizer.ggml.model")?,
            file.text("tokenizer.ggml.pre")?,
        );
        let digits = match (kind, family) {
            ("gpt2", "gpt-2" | "default") => None,
            ("gpt2", "smollm") => Some(json!({"type": "Digits", "individual_digits": true})),
            _ => {
                let reason = format_args!("the kind {kind:?} of {family:?} cannot be read");
                return Err(Error::tokenizer(file.origin(), reason));
            }
        };
        let names = file.texts("tokenizer.ggml.tokens")?;
        let types = match file.metadata().get("tokenizer.ggml.token_type") {
            Some(GgufValue::Array(types)) => types.as_slice(),
            _ => &[],
        };
        // Control tokens are 3, tokens that users added 4.
        let special = |at: usize| match types.get(at) {
            Some(GgufValue::Signed(kind)) => (3..=4).contains(kind),
            Some(GgufValue::Unsigned(kind)) => (3..=4).contains(kind),
            _ => false,
        };
        let added = names.iter().enumerate().filter(|(at, _)| special(*at));
        let added: Vec<Value> = added
            .map(|(at, name)| {
                json!({
                    "id": at, "content": name, "special": true, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false,
                })
            })
            .collect();
        let bytes = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true,
        });
        let cut: Vec<Value> = digits.into_iter().chain([bytes.clone()]).collect();
        let vocabulary: serde_json::Map<String, Value> = (0u32..)
            .zip(&names)
            .map(|(at, name)| (name.to_string(), at.into()))
            .collect();
        let value = json!({
            "version": "1.0",
            "added_tokens": added,
            "normalizer": null,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": cut},
            "post_processor": null,
            "decoder": bytes,
            "model": {
                "type": "BPE",
                "vocab": vocabulary,
                "merges": file.texts("tokenizer.ggml.merges")?,
            },
        });
        Self::read(value.to_string().as_bytes(), file.origin().to_string())
    }

    /// Writes a `tokenizer.json`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let text = self.inner.to_string(true).map_err(|e| self.error(e))?;
        hugging_face::replace(path.as_ref(), text.as_bytes())
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
        Ok(TokenizedText::from(&encoding))
    }

    /// Two texts as one row of tokens, of types 0 and 1.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_pair(&self, first: &str, second: &str) -> Result<TokenizedText> {
        let encoding = self.inner.encode((first, second), true);
        Ok(TokenizedText::from(&encoding.map_err(|e| self.error(e))?))
    }

    /// Many texts, on all threads.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn encode_batch<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<TokenizedText>> {
        let inputs: Vec<EncodeInput<'_>> = texts.iter().map(|t| t.as_ref().into()).collect();
        let encodings = self.inner.encode_batch(inputs, true);
        let encodings = encodings.map_err(|e| self.error(e))?;
        Ok(encodings.iter().map(TokenizedText::from).collect())
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

    /// Special tokens stand for nothing. Of word pieces a space stands before each that begins a word.
    fn decode_into(&self, token: u32, bytes: &mut Vec<u8>) -> Result<()> {
        self.vocabulary.check("token", &[token])?;
        let added = self.inner.get_added_tokens_decoder();
        if added.get(&token).is_some_and(|token| token.special) {
            return Ok(());
        }
        let name = self.vocabulary.name(token).unwrap_or_default();
        match self.spelling {
            Spelling::Bytes if !added.contains_key(&token) => {
                bytes.extend(name.chars().map(|c| byte_of(c).unwrap_or(b'?')))
            }
            Spelling::Spaces => bytes.extend(name.replace('▁', " ").bytes()),
            Spelling::Words => match name.strip_prefix("##") {
                Some(rest) => bytes.extend(rest.bytes()),
                None => {
                    bytes.push(b' ');
                    bytes.extend(name.bytes());
                }
            },
            _ => bytes.extend(name.bytes()),
        }
        Ok(())
    }

    fn decode(&self, tokens: &[u32]) -> Result<String> {
        HuggingFaceTokenizer::decode(self, tokens)
    }
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

/// What a vocabulary is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Pieces {
    /// Byte pairs merged by frequency (Sennrich et al., 2016), over bytes, as in GPT-2: every text can
    /// be written, and decoding gives it back exactly.
    #[default]
    Bpe,
    /// Word pieces by likelihood, lower-cased and cut at signs, as in BERT: `[CLS]` and `[SEP]` stand
    /// around a text, `[UNK]` for what is unknown.
    WordPiece,
    /// The likeliest vocabulary of a unigram model (Kudo, 2018), spaces kept as `▁`, as in T5 and XLM-R.
    /// It holds all texts at once, and needs room for twice as many pieces as there are characters.
    Unigram,
}

/// How to train a tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenizerTraining {
    /// What the vocabulary is made of.
    pub pieces: Pieces,
    /// How many tokens at most. Of byte pairs there are at least the 256 bytes.
    pub size: usize,
    /// How often a pair must occur to be merged; [`Pieces::Unigram`] does not ask.
    pub least: u64,
    /// Tokens that are never cut, numbered first. [`Pieces::WordPiece`] adds the five of BERT and
    /// [`Pieces::Unigram`] adds `<unk>` where they are missing.
    pub special: Vec<String>,
}

impl Default for TokenizerTraining {
    fn default() -> Self {
        Self {
            pieces: Pieces::Bpe,
            size: 8000,
            least: 2,
            special: Vec::new(),
        }
    }
}

impl TokenizerTraining {
    /// Learns a vocabulary. The same texts give the same vocabulary.
    ///
    /// # Errors
    /// [`Error::Config`] for a size of 0 or above 2²⁴; [`Error::Tokenizer`] when the texts hold too
    /// little to learn from, or too many characters for so few pieces.
    pub fn fit<S: AsRef<str> + Send>(
        &self,
        texts: impl IntoIterator<Item = S, IntoIter: Send>,
    ) -> Result<HuggingFaceTokenizer> {
        let expected = "between 1 and 16777216";
        if self.size == 0 || self.size > 1 << 24 {
            return Err(Error::config("TokenizerTraining.size", self.size, expected));
        }
        let failed = |e: tokenizers::Error| Error::tokenizer("training", e);
        let mut special = self.special.clone();
        let own: &[&str] = match self.pieces {
            Pieces::Bpe => &[],
            Pieces::WordPiece => &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
            Pieces::Unigram => &["<unk>"],
        };
        for name in own {
            if !special.iter().any(|s| s == name) {
                special.push((*name).to_string());
            }
        }
        let special: Vec<AddedToken> = special
            .into_iter()
            .map(|name| AddedToken::from(name, true))
            .collect();
        let model: ModelWrapper = match self.pieces {
            Pieces::Bpe => BPE::default().into(),
            Pieces::WordPiece => WordPiece::default().into(),
            Pieces::Unigram => Unigram::default().into(),
        };
        let mut inner = tokenizers::Tokenizer::new(model);
        let mut trainer: TrainerWrapper = match self.pieces {
            Pieces::Bpe => {
                let bytes = ByteLevel::new(false, true, true);
                inner.with_pre_tokenizer(Some(bytes));
                inner.with_decoder(Some(bytes));
                BpeTrainer::builder()
                    .vocab_size(self.size)
                    .min_frequency(self.least)
                    .show_progress(false)
                    .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
                    .special_tokens(special)
                    .build()
                    .into()
            }
            Pieces::WordPiece => {
                inner
                    .with_normalizer(Some(BertNormalizer::default()))
                    .map_err(failed)?;
                inner.with_pre_tokenizer(Some(BertPreTokenizer));
                inner.with_decoder(Some(decoders::wordpiece::WordPiece::default()));
                WordPieceTrainer::builder()
                    .vocab_size(self.size)
                    .min_frequency(self.least)
                    .show_progress(false)
                    .special_tokens(special)
                    .build()
                    .into()
            }
            Pieces::Unigram => {
                inner.with_pre_tokenizer(Some(Metaspace::default()));
                inner.with_decoder(Some(Metaspace::default()));
                UnigramTrainer::builder()
                    .vocab_size(u32::try_from(self.size).unwrap_or(u32::MAX))
                    .show_progress(false)
                    .special_tokens(special)
                    .unk_token(Some("<unk>".to_string()))
                    .build()
                    .map_err(|e| Error::tokenizer("training", e))?
                    .into()
            }
        };
        // Blank texts teach nothing, and the library takes for granted that some text is not.
        let mut texts = texts.into_iter().filter(|t| !t.as_ref().trim().is_empty());
        let Some(first) = texts.next() else {
            return Err(Error::TooShort {
                what: "texts to learn a vocabulary from".to_string(),
                needed: 1,
                found: 0,
            });
        };
        let texts = std::iter::once(first).chain(texts);
        let trained = match self.pieces {
            Pieces::Unigram => {
                let texts: Vec<S> = texts.collect();
                self.check_unigram(&texts)?;
                inner.train(&mut trainer, texts.into_iter())
            }
            _ => inner.train(&mut trainer, texts),
        };
        trained.map_err(failed)?;
        if self.pieces == Pieces::WordPiece {
            let known = |name: &str| Some((name.to_string(), inner.token_to_id(name)?));
            let around: Vec<(String, u32)> =
                ["[CLS]", "[SEP]"].iter().filter_map(|n| known(n)).collect();
            let template = TemplateProcessing::builder()
                .try_single("[CLS] $A [SEP]")
                .and_then(|b| b.try_pair("[CLS] $A [SEP] $B:1 [SEP]:1"))
                .map_err(|e| Error::tokenizer("training", e))?
                .special_tokens(around)
                .build()
                .map_err(|e| Error::tokenizer("training", e))?;
            inner.with_post_processor(Some(template));
        }
        HuggingFaceTokenizer::of(inner, "memory".to_string())
    }

    /// Refuses a vocabulary with hardly more room than for single characters: the library drops
    /// pieces until the rest is small enough, and goes on for ever where it may drop none.
    fn check_unigram<S: AsRef<str>>(&self, texts: &[S]) -> Result<()> {
        let characters: HashSet<char> = texts.iter().flat_map(|t| t.as_ref().chars()).collect();
        let least = 2 * characters.len() + self.special.len() + 16;
        if self.size < least {
            let (size, count) = (self.size, characters.len());
            let reason = format!(
                "a size of {size}: texts of {count} different characters need at least {least}"
            );
            return Err(Error::tokenizer("training", reason));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
