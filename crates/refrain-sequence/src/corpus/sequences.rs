use std::ops::Range;
use std::sync::Arc;

use rand::seq::SliceRandom;
use refrain_core::{Values, rng};

use crate::fnv::Fnv;
use crate::tokenizer::check_tokens;
use crate::{Error, Result};

/// Tokens to train on or to score: one long stream, or documents that have nothing to do with each
/// other. In memory or in a mapped file; clones and parts share them.
///
/// ```
/// use refrain_sequence::TokenSequences;
/// let documents = TokenSequences::documents([vec![0, 1, 2], vec![3, 4]]);
/// assert_eq!((documents.len(), documents.tokens(), documents.targets()), (2, 5, 3));
/// assert_eq!(documents.get(1), Some(&[3, 4][..]));
/// assert_eq!(documents.packed(), TokenSequences::stream(vec![0, 1, 2, 3, 4]));
/// ```
#[derive(Debug, Clone)]
pub struct TokenSequences {
    tokens: Arc<Values<u32>>,
    /// Where each sequence lies among the tokens; never outside.
    places: Vec<Range<usize>>,
    stream: bool,
}

fn one(place: Range<usize>) -> Vec<Range<usize>> {
    std::iter::once(place).collect()
}

impl TokenSequences {
    /// One long stream.
    pub fn stream(tokens: Vec<u32>) -> Self {
        Self::stream_of(tokens.into())
    }

    pub(super) fn stream_of(tokens: Values<u32>) -> Self {
        Self {
            places: one(0..tokens.len()),
            tokens: Arc::new(tokens),
            stream: true,
        }
    }

    /// Documents that have nothing to do with each other.
    pub fn documents<D: AsRef<[u32]>>(documents: impl IntoIterator<Item = D>) -> Self {
        let (mut tokens, mut places) = (Vec::new(), Vec::new());
        for document in documents {
            let from = tokens.len();
            tokens.extend_from_slice(document.as_ref());
            places.push(from..tokens.len());
        }
        Self {
            tokens: Arc::new(tokens.into()),
            places,
            stream: false,
        }
    }

    /// Documents by their ends among the tokens; `None` where an end lies before the one before it or
    /// outside. Those of fewer than two tokens are left out.
    pub(super) fn documents_of(tokens: Values<u32>, ends: &[u64]) -> Option<Self> {
        let (mut places, mut from) = (Vec::new(), 0);
        for &end in ends {
            let end = usize::try_from(end).ok()?;
            if end < from || end > tokens.len() {
                return None;
            }
            if end - from > 1 {
                places.push(from..end);
            }
            from = end;
        }
        Some(Self {
            tokens: Arc::new(tokens),
            places,
            stream: false,
        })
    }

    /// Whether it is one stream.
    pub fn is_stream(&self) -> bool {
        self.stream
    }

    /// How many sequences there are: documents, or 1.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there is no sequence.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The sequence of this number.
    pub fn get(&self, index: usize) -> Option<&[u32]> {
        self.tokens.get(self.places.get(index)?.clone())
    }

    /// Every sequence, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u32]> + '_ {
        let tokens = &self.tokens[..];
        let places = self.places.iter();
        places.map(move |place| tokens.get(place.clone()).unwrap_or_default())
    }

    /// How many tokens there are.
    pub fn tokens(&self) -> usize {
        self.places.iter().map(Range::len).sum()
    }

    /// How many of them can be predicted from one before.
    pub fn targets(&self) -> usize {
        let lengths = self.places.iter().map(Range::len);
        lengths.map(|length| length.saturating_sub(1)).sum()
    }

    /// The sequences one after another as one stream; nothing is copied where they lie so already.
    #[must_use]
    pub fn packed(self) -> Self {
        let adjoin = |pair: &[Range<usize>]| match pair {
            [a, b] => a.end == b.start,
            _ => true,
        };
        if !self.places.windows(2).all(adjoin) {
            return Self::stream(self.iter().flatten().copied().collect());
        }
        let from = self.places.first().map_or(0, |place| place.start);
        let to = self.places.last().map_or(0, |place| place.end);
        Self {
            tokens: self.tokens,
            places: one(from..to),
            stream: true,
        }
    }

    /// The end of a stream, or documents drawn by `seed`, apart from the rest.
    pub(super) fn hold_out(self, fraction: f64, seed: u64) -> (Self, Self) {
        let (kept, held) = match (self.stream, self.places.as_slice()) {
            (true, [place]) => {
                let keep = (place.len() as f64 * (1.0 - fraction)) as usize;
                let cut = place.start + keep.min(place.len());
                (one(place.start..cut), one(cut..place.end))
            }
            (_, places) => {
                let held = ((places.len() as f64 * fraction).round() as usize).max(1);
                let mut is_held: Vec<bool> = (0..places.len()).map(|i| i < held).collect();
                is_held.shuffle(&mut rng::stream(seed, 0x6865_6c64));
                let part = |held: bool| {
                    let places = places.iter().zip(&is_held);
                    let places = places.filter(|(_, is)| **is == held);
                    places.map(|(place, _)| place.clone()).collect()
                };
                (part(false), part(true))
            }
        };
        let part = |places| Self {
            tokens: self.tokens.clone(),
            places,
            stream: self.stream,
        };
        (part(kept), part(held))
    }

    /// Refuses tokens outside the vocabulary, and too few of them.
    pub(crate) fn check(&self, what: &str, vocabulary: usize) -> Result<()> {
        self.check_length(what)?;
        for (i, sequence) in self.iter().enumerate() {
            if sequence.iter().any(|&token| token as usize >= vocabulary) {
                let place = format!("{what}, sequence {i}");
                return check_tokens(&place, sequence, vocabulary);
            }
        }
        Ok(())
    }

    /// Refuses where nothing can be predicted.
    pub(super) fn check_length(&self, what: &str) -> Result<()> {
        if self.targets() == 0 {
            let what = format!("{what}: a sequence of tokens");
            return Err(Error::TooShort {
                what,
                needed: 2,
                found: self.tokens().min(1),
            });
        }
        Ok(())
    }

    /// A number that changes when the tokens do, for checkpoints.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hash = Fnv::new();
        for sequence in self.iter() {
            hash.eat(sequence.len() as u64);
            sequence.iter().for_each(|&token| hash.eat(token.into()));
        }
        hash.finish()
    }
}

/// The same sequences, wherever they lie.
impl PartialEq for TokenSequences {
    fn eq(&self, other: &Self) -> bool {
        self.stream == other.stream && self.iter().eq(other.iter())
    }
}

impl Eq for TokenSequences {}
