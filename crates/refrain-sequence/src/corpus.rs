//! What a language model learns from: one long stream of tokens, or many documents.
//!
//! A **stream** (a book, a log) is cut into random windows while training and into consecutive
//! ones for validation. **Documents** (tunes, poems, sentences) stay apart: one document is one
//! example, never continued into the next; a document longer than the context is cut into
//! consecutive windows. Either way each token of the validation part is scored exactly once.

use rand::seq::SliceRandom;
use refrain_core::rng;

use crate::{Error, Result, Tokenizer, Vocabulary};

/// Tokens to train on or to score.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSequences {
    /// One long stream.
    Stream(Vec<u32>),
    /// Documents that have nothing to do with each other.
    Documents(Vec<Vec<u32>>),
}

impl TokenSequences {
    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        match self {
            Self::Stream(tokens) => tokens.len(),
            Self::Documents(documents) => documents.iter().map(Vec::len).sum(),
        }
    }

    /// How many of them can be predicted from one before.
    pub fn targets(&self) -> usize {
        match self {
            Self::Stream(tokens) => tokens.len().saturating_sub(1),
            Self::Documents(docs) => docs.iter().map(|d| d.len().saturating_sub(1)).sum(),
        }
    }

    /// Every sequence, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> + '_ {
        let (stream, documents) = match self {
            Self::Stream(tokens) => (Some(tokens.as_slice()), [].as_slice()),
            Self::Documents(documents) => (None, documents.as_slice()),
        };
        stream
            .into_iter()
            .chain(documents.iter().map(Vec::as_slice))
    }

    pub(crate) fn check(&self, what: &str, vocabulary: usize) -> Result<()> {
        if self.targets() == 0 {
            let what = format!("{what}: a sequence of tokens");
            return Err(Error::TooShort {
                what,
                needed: 2,
                found: self.tokens().min(1),
            });
        }
        for (i, sequence) in self.iter().enumerate() {
            crate::tokenizer::check_tokens(&format!("{what}, sequence {i}"), sequence, vocabulary)?;
        }
        Ok(())
    }

    /// A number that changes when the tokens do (FNV-1a), for checkpoints.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut eat = |value: u64| hash = (hash ^ value).wrapping_mul(0x0000_0100_0000_01b3);
        for sequence in self.iter() {
            eat(sequence.len() as u64);
            sequence.iter().for_each(|&token| eat(u64::from(token)));
        }
        hash
    }
}

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
        Self::of(vocabulary, TokenSequences::Stream(tokens))
    }

    /// Documents of tokens made elsewhere. Those with fewer than two tokens teach nothing and are
    /// left out.
    ///
    /// # Errors
    /// As [`Corpus::stream`].
    pub fn documents(vocabulary: Vocabulary, documents: Vec<Vec<u32>>) -> Result<Self> {
        let documents = documents.into_iter().filter(|d| d.len() > 1).collect();
        Self::of(vocabulary, TokenSequences::Documents(documents))
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
        let (train, validation) = match self.train {
            TokenSequences::Stream(mut tokens) => {
                let keep = (tokens.len() as f64 * (1.0 - fraction)) as usize;
                let tail = tokens.split_off(keep.min(tokens.len()));
                (TokenSequences::Stream(tokens), TokenSequences::Stream(tail))
            }
            TokenSequences::Documents(documents) => {
                let held = ((documents.len() as f64 * fraction).round() as usize).max(1);
                let mut is_held: Vec<bool> = (0..documents.len()).map(|i| i < held).collect();
                is_held.shuffle(&mut rng::stream(seed, 0x6865_6c64));
                let mut parts = (Vec::new(), Vec::new());
                for (document, held) in documents.into_iter().zip(is_held) {
                    if held {
                        parts.1.push(document)
                    } else {
                        parts.0.push(document)
                    }
                }
                (
                    TokenSequences::Documents(parts.0),
                    TokenSequences::Documents(parts.1),
                )
            }
        };
        train.check("the training part", self.vocabulary.len())?;
        validation.check("the validation part", self.vocabulary.len())?;
        Ok(Self {
            vocabulary: self.vocabulary,
            train,
            validation: Some(validation),
        })
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
mod tests {
    use super::*;

    #[test]
    fn held_out_documents_are_disjoint_and_seeded() {
        let documents: Vec<Vec<u32>> = (0..50).map(|i| vec![i, i]).collect();
        let corpus = Corpus::documents(Vocabulary::numbered(50).unwrap(), documents).unwrap();
        let split = |seed| {
            let corpus = corpus.clone().hold_out(0.2, seed).unwrap();
            (corpus.train().clone(), corpus.validation().unwrap().clone())
        };
        let (train, held) = split(1);
        assert_eq!((train.tokens(), held.tokens()), (80, 20));
        let mut all: Vec<u32> = train.iter().chain(held.iter()).map(|d| d[0]).collect();
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
        assert_eq!(split(1), (train.clone(), held));
        assert_ne!(split(2).0, train);
    }

    #[test]
    fn bad_tokens_and_short_parts_are_refused() {
        let names = || Vocabulary::numbered(4).unwrap();
        let error = Corpus::stream(names(), vec![0, 1, 4])
            .unwrap_err()
            .to_string();
        assert_eq!(
            error,
            "corpus, sequence 0, position 2: token 4 is not in a vocabulary of 4"
        );
        assert!(Corpus::stream(names(), vec![]).is_err());
        assert!(Corpus::documents(names(), vec![vec![1], vec![]]).is_err());
        let corpus = Corpus::stream(names(), vec![0; 8]).unwrap();
        assert!(corpus.clone().hold_out(f64::NAN, 0).is_err());
        assert!(corpus.clone().hold_out(0.05, 0).is_err());
        assert!(
            corpus
                .with_validation(TokenSequences::Stream(vec![9, 9]))
                .is_err()
        );
    }
}
