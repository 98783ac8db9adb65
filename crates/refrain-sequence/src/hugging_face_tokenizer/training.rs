//! Vocabularies learnt from texts.

use std::collections::HashSet;

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::models::wordpiece::{WordPiece, WordPieceTrainer};
use tokenizers::models::{ModelWrapper, TrainerWrapper};
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::Metaspace;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, decoders};

use super::HuggingFaceTokenizer;
use crate::{Error, Result};

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
