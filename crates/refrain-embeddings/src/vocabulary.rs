use rayon::prelude::*;
use refrain_core::{IdMap, Values};

use crate::{Corpus, Error, Result};

/// The words a model knows, most frequent first, with how often each occurs in its corpus.
///
/// Words of equal count stand in order of first appearance, so a corpus has one vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Vocabulary {
    ids: IdMap,
    counts: Values<u64>,
}

impl Vocabulary {
    /// Counts the tokens of `corpus` and keeps those that occur at least `min_count` times.
    ///
    /// # Errors
    /// [`Error::EmptyVocabulary`] when none does; whatever reading the corpus reports.
    pub fn build(corpus: &Corpus<'_>, min_count: u64) -> Result<Self> {
        Ok(Counter::of(corpus, 0, 0, usize::MAX)?.finish(min_count)?.0)
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
        Ok(Self::from_ids(ids, counts))
    }

    /// Words with a count for each.
    pub(crate) fn from_ids(ids: IdMap, counts: impl Into<Values<u64>>) -> Self {
        let counts = counts.into();
        debug_assert_eq!(ids.len(), counts.len());
        Self { ids, counts }
    }

    /// These words and behind them those of `other` that are not among them, which count nothing yet.
    pub(crate) fn extended(&self, other: &Self) -> Result<Self> {
        let mut ids = self.ids.clone();
        for (word, _) in other.iter() {
            ids.insert(word)?;
        }
        let mut counts = self.counts.to_vec();
        counts.resize(ids.len(), 0);
        Ok(Self::from_ids(ids, counts))
    }

    /// The same words, that many times more each.
    pub(crate) fn with_more(self, more: &[u64]) -> Self {
        let mut counts = self.counts.to_vec();
        for (count, more) in counts.iter_mut().zip(more) {
            *count = count.saturating_add(*more);
        }
        Self::from_ids(self.ids, counts)
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
        total(&self.counts)
    }
}

/// The sum of counts; those of a damaged file may not fit.
pub(crate) fn total(counts: &[u64]) -> u64 {
    counts.iter().copied().fold(0, u64::saturating_add)
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
    /// Words that occurred no more often than this were forgotten at some time.
    forgotten: u64,
}

impl Counter {
    /// Counts `corpus`, its parts on `threads` threads (0: all); the result does not depend on them.
    /// When there are more than `most` words the rarest are forgotten.
    pub(crate) fn of(
        corpus: &Corpus<'_>,
        budget: usize,
        threads: usize,
        most: usize,
    ) -> Result<Self> {
        let threads = match threads {
            0 => rayon::current_num_threads().max(1),
            n => n,
        };
        let mut whole = Self::new(budget);
        let parts: Vec<usize> = (0..corpus.parts()).collect();
        for group in parts.chunks(threads) {
            let count = |&part: &usize| {
                let mut counter = Self::new(budget);
                corpus.visit_part(part, &mut counter)?;
                Ok(counter)
            };
            let counted: Vec<Result<Self>> = group.par_iter().map(count).collect();
            for part in counted {
                whole.absorb(part?)?;
                whole.prune(most)?;
            }
        }
        Ok(whole)
    }

    /// Adds the counts of the part of the corpus that follows.
    fn absorb(&mut self, part: Self) -> Result<()> {
        if self.tokens == 0 && self.sentences == 0 && self.ids.is_empty() {
            *self = Self {
                budget: self.budget.min(part.budget),
                ..part
            };
            return Ok(());
        }
        let mut numbers = Vec::with_capacity(part.ids.len());
        for (name, &count) in part.ids.iter().zip(&part.counts) {
            let id = self.ids.insert(name)?;
            match self.counts.get_mut(id as usize) {
                Some(sum) => *sum += count,
                None => self.counts.push(count),
            }
            numbers.push(id);
        }
        self.tokens += part.tokens;
        self.sentences += part.sentences;
        let fits = part.budget > 0 && self.kept.len() + part.kept.len() <= self.budget;
        if fits {
            let renamed = |&id: &u32| numbers.get(id as usize).copied().unwrap_or(END);
            self.kept.extend(part.kept.iter().map(renamed));
        } else {
            (self.budget, self.kept) = (0, Vec::new());
        }
        Ok(())
    }

    /// Forgets the rarest words while there are more than `most`, as the program word2vec does. The
    /// numbers kept so far go with them.
    fn prune(&mut self, most: usize) -> Result<()> {
        while self.ids.len() > most {
            (self.budget, self.kept) = (0, Vec::new());
            self.forgotten += 1;
            let (mut ids, mut counts) = (IdMap::new(), Vec::new());
            for (name, &count) in self.ids.iter().zip(&self.counts) {
                if count > self.forgotten {
                    ids.insert(name)?;
                    counts.push(count);
                }
            }
            (self.ids, self.counts) = (ids, counts);
        }
        Ok(())
    }

    /// Keeps up to `budget` numbers.
    pub(crate) fn new(budget: usize) -> Self {
        Self {
            ids: IdMap::new(),
            counts: Vec::new(),
            tokens: 0,
            sentences: 0,
            kept: Vec::new(),
            budget,
            forgotten: 0,
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
        let counts: Vec<u64> = order.iter().map(|&i| self.counts[i as usize]).collect();
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
        Ok((Vocabulary::from_ids(ids, counts), kept))
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
        let counter = Counter::of(&corpus, 100, 1, usize::MAX).unwrap();
        let (_, kept) = counter.finish(2).unwrap();
        assert_eq!(kept.unwrap(), [0, 1, 0, END, 1, 0, END]);
        let counter = Counter::of(&corpus, 3, 1, usize::MAX).unwrap();
        assert_eq!(counter.finish(2).unwrap().1, None);
    }

    #[test]
    fn parts_counted_at_once_are_the_whole() {
        let lines: Vec<String> = (0..200)
            .map(|i| {
                format!(
                    "w{} w{} {}",
                    i % 7,
                    i * i % 31,
                    if i % 9 == 0 { "" } else { "x" }
                )
            })
            .collect();
        let text = lines.join("\n");
        let corpus = Corpus::from_text(text.as_str(), tokenize::whitespace);
        assert!(corpus.parts() > 20);
        let mut slow = Counter::new(1000);
        corpus.visit(&mut slow).unwrap();
        let sentences = slow.sentences;
        let slow = slow.finish(2).unwrap();
        for threads in [1, 3] {
            let counter = Counter::of(&corpus, 1000, threads, usize::MAX).unwrap();
            assert_eq!(counter.sentences, sentences);
            assert_eq!(counter.finish(2).unwrap(), slow);
            let counter = Counter::of(&corpus, 100, threads, usize::MAX).unwrap();
            assert_eq!(counter.finish(2).unwrap(), (slow.0.clone(), None));
        }
        let words = Vocabulary::build(&Corpus::from_text("", tokenize::words), 1);
        assert!(matches!(
            words,
            Err(Error::EmptyVocabulary { tokens: 0, .. })
        ));
    }

    #[test]
    fn the_rarest_are_forgotten_when_there_are_too_many() {
        // Every line has a word of its own, and one that all share.
        let text: String = (0..100).map(|i| format!("own{i} shared\n")).collect();
        let corpus = Corpus::from_text(text, tokenize::whitespace);
        let counter = Counter::of(&corpus, 1000, 2, 20).unwrap();
        assert!(counter.ids.len() <= 20);
        let (words, kept) = counter.finish(1).unwrap();
        assert_eq!((words.get("shared"), words.count(0)), (Some(0), Some(100)));
        assert_eq!(
            kept, None,
            "forgotten words may come again: the corpus is read anew"
        );
    }
}
