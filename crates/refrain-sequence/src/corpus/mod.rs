//! What a language model learns from: one long stream of tokens, or many documents.
//!
//! A **stream** (a book, a log) is cut into random windows while training and into consecutive
//! ones for validation. **Documents** (tunes, poems, sentences) stay apart: one document is one
//! example, never continued into the next; a document longer than the context is cut into
//! consecutive windows. Either way each token of the validation part is scored exactly once.
//! [`Corpus::packed`] makes a stream of documents.
//!
//! What does not fit into memory is written to a file by [`CorpusWriter`], text after text, and
//! mapped by [`Corpus::open`]: training reads it once, then the windows it draws. What is held out of it
//! is in memory while a model trains, so hold out a share that fits.

mod file;
mod sequences;

pub use file::CorpusWriter;
pub use sequences::TokenSequences;

use crate::{Error, Result, Tokenizer, Vocabulary};

/// Tokens with their vocabulary, and the part of them that is held out for validation.
///
/// ```
/// use refrain_sequence::{Characters, Corpus, Vocabulary};
/// let text = "to be or not to be ".repeat(20);
/// let corpus = Corpus::text(&Characters::from_text(&text)?, &text)?.hold_out(0.1, 0)?;
/// assert_eq!(corpus.validation().map(|v| v.tokens()), Some(38));
///
/// // Tokens made elsewhere: tunes, for instance, one document each.
/// let names = Vocabulary::named(["<begin>", "A", "B", "<end>"])?;
/// let tunes = vec![vec![0, 1, 1, 2, 3], vec![0, 2, 1, 3]];
/// let corpus = Corpus::documents(names, tunes)?;
/// assert_eq!(corpus.train().targets(), 7);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Corpus {
    vocabulary: Vocabulary,
    train: TokenSequences,
    validation: Option<TokenSequences>,
}

impl Corpus {
    /// One text, as a stream.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and [`Error::TooShort`] for fewer than two tokens.
    pub fn text(tokenizer: &dyn Tokenizer, text: &str) -> Result<Self> {
        Self::stream(tokenizer.vocabulary().clone(), tokenizer.encode(text)?)
    }

    /// Many texts, one document each.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`], and [`Error::TooShort`] when there is nothing to predict.
    pub fn texts<S: AsRef<str>>(
        tokenizer: &dyn Tokenizer,
        texts: impl IntoIterator<Item = S>,
    ) -> Result<Self> {
        let documents: Result<Vec<_>> = texts
            .into_iter()
            .map(|text| tokenizer.encode(text.as_ref()))
            .collect();
        Self::documents(tokenizer.vocabulary().clone(), documents?)
    }

    /// A stream of tokens made elsewhere.
    ///
    /// # Errors
    /// [`Error::TooShort`] for fewer than two tokens, [`Error::Token`] for one outside the
    /// vocabulary.
    pub fn stream(vocabulary: Vocabulary, tokens: Vec<u32>) -> Result<Self> {
        Self::of(vocabulary, TokenSequences::stream(tokens))
    }

    /// Documents of tokens made elsewhere. Those with fewer than two tokens teach nothing and are
    /// left out.
    ///
    /// # Errors
    /// As [`Corpus::stream`].
    pub fn documents(vocabulary: Vocabulary, documents: Vec<Vec<u32>>) -> Result<Self> {
        let documents = documents.iter().filter(|d| d.len() > 1);
        Self::of(vocabulary, TokenSequences::documents(documents))
    }

    fn of(vocabulary: Vocabulary, train: TokenSequences) -> Result<Self> {
        train.check("corpus", vocabulary.len())?;
        Ok(Self {
            vocabulary,
            train,
            validation: None,
        })
    }

    /// Holds out a part for validation: the end of a stream, or documents drawn by `seed`.
    ///
    /// # Errors
    /// [`Error::Config`] for a fraction outside (0, 1), [`Error::TooShort`] when a part would have
    /// nothing to predict.
    pub fn hold_out(self, fraction: f64, seed: u64) -> Result<Self> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::config(
                "hold_out",
                fraction,
                "a fraction between 0 and 1",
            ));
        }
        let (train, validation) = self.train.hold_out(fraction, seed);
        train.check_length("the training part")?;
        validation.check_length("the validation part")?;
        Ok(Self {
            vocabulary: self.vocabulary,
            train,
            validation: Some(validation),
        })
    }

    /// The documents of each part one after another as one stream, whose windows go on from one
    /// document into the next, as GPT-2 is trained: no window is shorter than the context. Each document
    /// should end in a token that says so. A stream stays as it is.
    ///
    /// Before [`Corpus::hold_out`] nothing is copied.
    #[must_use]
    pub fn packed(mut self) -> Self {
        self.train = self.train.packed();
        self.validation = self.validation.map(TokenSequences::packed);
        self
    }

    /// Validates on these tokens instead.
    ///
    /// # Errors
    /// As [`Corpus::stream`].
    pub fn with_validation(mut self, validation: TokenSequences) -> Result<Self> {
        validation.check("the validation part", self.vocabulary.len())?;
        self.validation = Some(validation);
        Ok(self)
    }

    /// The names of the tokens.
    pub fn vocabulary(&self) -> &Vocabulary {
        &self.vocabulary
    }

    /// What is trained on.
    pub fn train(&self) -> &TokenSequences {
        &self.train
    }

    /// What is held out.
    pub fn validation(&self) -> Option<&TokenSequences> {
        self.validation.as_ref()
    }
}

#[cfg(test)]
mod tests;
