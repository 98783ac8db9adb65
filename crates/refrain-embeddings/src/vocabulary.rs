use refrain_core::IdMap;

use crate::{Corpus, Error, Result};

/// The words a model knows, most frequent first, with how often each occurs in its corpus.
///
/// Words of equal count stand in order of first appearance, so a corpus has one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vocabulary {
    ids: IdMap,
    counts: Vec<u64>,
}

impl Vocabulary {
    /// Counts the tokens of `corpus` and keeps those that occur at least `min_count` times.
    ///
    /// # Errors
    /// [`Error::EmptyVocabulary`] when none does; whatever reading the corpus reports.
    pub fn build(corpus: &Corpus<'_>, min_count: u64) -> Result<Self> {
        let mut counter = Counter::new(0);
        corpus.visit(&mut counter)?;
        Ok(counter.finish(min_count)?.0)
    }

    /// Words with their counts, in this order.
    ///
    /// # Errors
    /// [`Error::Config`] when a word stands twice.
    pub fn from_counts<W: AsRef<str>>(words: impl IntoIterator<Item = (W, u64)>) -> Result<Self> {
        let (mut ids, mut counts) = (IdMap::new(), Vec::new());
        for (word, count) in words {
            if ids.insert(word.as_ref())? as usize != counts.len() {
                return Err(Error::Config {
                    field: "words",
                    value: format!("{:?}", word.as_ref()),
                    reason: "each word may stand once",
                });
            }
            counts.push(count);
        }
        Ok(Self { ids, counts })
    }

    /// Words with a count for each.
    pub(crate) fn from_ids(ids: IdMap, counts: Vec<u64>) -> Self {
        debug_assert_eq!(ids.len(), counts.len());
        Self { ids, counts }
    }

    /// These words and behind them those of `other` that are not among them, which count nothing yet.
    pub(crate) fn extended(&self, other: &Self) -> Result<Self> {
        let mut ids = self.ids.clone();
        for (word, _) in other.iter() {
            ids.insert(word)?;
        }
        let mut counts = self.counts.clone();
        counts.resize(ids.len(), 0);
        Ok(Self { ids, counts })
    }

    /// The same words, that many times more each.
    pub(crate) fn with_more(mut self, more: &[u64]) -> Self {
        for (count, more) in self.counts.iter_mut().zip(more) {
            *count = count.saturating_add(*more);
        }
        self
    }

    /// How many words there are.
    pub fn len(&self) -> usize {
        self.counts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty()
    }

    /// The number of `word`: 0 is the most frequent.
    pub fn get(&self, word: &str) -> Option<u32> {
        self.ids.get(word)
    }

    /// The word with this number.
    pub fn word(&self, index: u32) -> Option<&str> {
        self.ids.name(index)
    }

    /// How often the word with this number occurs.
    pub fn count(&self, index: u32) -> Option<u64> {
        self.counts.get(index as usize).copied()
    }

    /// All counts, in the order of the numbers.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The table of words.
    pub fn ids(&self) -> &IdMap {
        &self.ids
    }

    /// Words and counts, most frequent first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, u64)> + '_ {
        self.ids.iter().zip(self.counts.iter().copied())
    }

    /// How many tokens of the corpus are words of the vocabulary.
    pub fn tokens(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Separates sentences in a stream of word numbers.
pub(crate) const END: u32 = u32::MAX;

/// What a [`Corpus`] is poured into.
pub(crate) trait Sink {
    fn token(&mut self, token: &str) -> Result<()>;
    /// A sentence ends.
    fn end(&mut self) -> Result<()>;
}

/// Counts tokens, and keeps their raw numbers while they fit a budget, so that a corpus of usual
/// size is tokenized once.
pub(crate) struct Counter {
    ids: IdMap,
    counts: Vec<u64>,
    tokens: u64,
    /// Sentences so far.
    pub(crate) sentences: u64,
    kept: Vec<u32>,
    budget: usize,
}

impl Counter {
    /// Keeps up to `budget` numbers.
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            ids: IdMap::new(),
            counts: Vec::new(),
            tokens: 0,
            sentences: 0,
            kept: Vec::new(),
            budget,
        }
    }

    fn keep(&mut self, value: u32) {
        if self.kept.len() < self.budget {
            self.kept.push(value);
        } else {
            (self.budget, self.kept) = (0, Vec::new());
        }
    }

    /// The vocabulary and, if the budget sufficed, the corpus in its numbers.
    pub(crate) fn finish(mut self, min_count: u64) -> Result<(Vocabulary, Option<Vec<u32>>)> {
        let mut order: Vec<u32> = (0..self.counts.len() as u32)
            .filter(|&i| self.counts[i as usize] >= min_count.max(1))
            .collect();
        if order.is_empty() {
            return Err(Error::EmptyVocabulary {
                tokens: self.tokens,
                min_count,
            });
        }
        order.sort_by_key(|&i| (std::cmp::Reverse(self.counts[i as usize]), i));
        let mut ids = IdMap::new();
        let mut renamed = vec![None; self.counts.len()];
        for &old in &order {
            renamed[old as usize] = Some(ids.insert(self.ids.name(old).unwrap_or_default())?);
        }
        let counts = order.iter().map(|&i| self.counts[i as usize]).collect();
        let kept = (self.budget > 0).then(|| {
            self.kept
                .retain_mut(|id| match renamed.get(*id as usize).copied() {
                    Some(Some(new)) => {
                        *id = new;
                        true
                    }
                    Some(None) => false,
                    None => true, // the end of a sentence
                });
            self.kept.shrink_to_fit();
            self.kept
        });
        Ok((Vocabulary { ids, counts }, kept))
    }
}

impl Sink for Counter {
    fn token(&mut self, token: &str) -> Result<()> {
        let id = self.ids.insert(token)?;
        match self.counts.get_mut(id as usize) {
            Some(count) => *count += 1,
            None => self.counts.push(1),
        }
        self.tokens += 1;
        self.keep(id);
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.sentences += 1;
        self.keep(END);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize;

    #[test]
    fn counts_sorted_and_pruned() {
        let corpus = Corpus::from_text("b a b\nc a b\nd", tokenize::whitespace);
        let words = Vocabulary::build(&corpus, 1).unwrap();
        assert_eq!(
            words.iter().collect::<Vec<_>>(),
            [("b", 3), ("a", 2), ("c", 1), ("d", 1)]
        );
        let words = Vocabulary::build(&corpus, 2).unwrap();
        assert_eq!((words.len(), words.tokens()), (2, 5));
        assert_eq!((words.get("b"), words.get("c")), (Some(0), None));
        let error = Vocabulary::build(&corpus, 9).unwrap_err().to_string();
        assert!(
            error.contains("7 tokens") && error.contains("9 times"),
            "{error}"
        );
        assert!(Vocabulary::from_counts([("a", 1), ("a", 2)]).is_err());
    }

    #[test]
    fn the_kept_stream_is_the_corpus() {
        let corpus = Corpus::from_text("b a b\nc a b", tokenize::whitespace);
        let mut counter = Counter::new(100);
        corpus.visit(&mut counter).unwrap();
        let (_, kept) = counter.finish(2).unwrap();
        assert_eq!(kept.unwrap(), [0, 1, 0, END, 1, 0, END]);
        let mut counter = Counter::new(3);
        corpus.visit(&mut counter).unwrap();
        assert_eq!(counter.finish(2).unwrap().1, None);
    }
}
