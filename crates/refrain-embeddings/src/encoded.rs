//! The corpus in pieces: runs of whole sentences, of about equal length, in word numbers.

use std::ops::Range;
use std::sync::mpsc::{SyncSender, sync_channel};

use refrain_core::Error as CoreError;

use crate::vocabulary::{Counter, END, Sink, Vocabulary};
use crate::{Corpus, Error, Result};

/// Longer sentences are cut.
pub(crate) const MAX_SENTENCE: usize = 10_000;

/// Says where a stream of word numbers is cut: after the sentence that fills a piece.
#[derive(Debug, Clone, Copy)]
struct Cutter {
    size: usize,
    tokens: usize,
}

impl Cutter {
    /// Whether a piece ends after `id`.
    fn push(&mut self, id: u32) -> bool {
        let cut = match id {
            END => self.tokens >= self.size,
            _ => {
                self.tokens += 1;
                self.tokens >= self.size + MAX_SENTENCE
            }
        };
        if cut {
            self.tokens = 0;
        }
        cut
    }
}

/// The numbers of a whole corpus, if they fit in memory.
#[derive(Debug)]
pub(crate) struct Encoded {
    stream: Option<Vec<u32>>,
    /// How many sentences there are.
    pub(crate) sentences: u64,
    /// How many words of the vocabulary there are.
    pub(crate) tokens: u64,
}

impl Encoded {
    /// Counts the words of `corpus` and keeps their numbers if they are not too many.
    pub(crate) fn count(
        corpus: &Corpus<'_>,
        (min_count, max_vocabulary): (u64, usize),
        budget: usize,
        threads: usize,
    ) -> Result<(Vocabulary, Self)> {
        let counter = Counter::of(corpus, budget, threads, max_vocabulary)?;
        let sentences = counter.sentences;
        let (vocabulary, stream) = counter.finish(min_count)?;
        let encoded = Self {
            stream,
            sentences,
            tokens: vocabulary.tokens(),
        };
        Ok((vocabulary, encoded))
    }

    /// Adds to a vocabulary the words that occur `min_count` times in another corpus, and its counts to
    /// theirs; the corpus in the new numbers, and how often each word occurs in it.
    pub(crate) fn extend(
        corpus: &Corpus<'_>,
        vocabulary: &Vocabulary,
        min_count: u64,
        budget: usize,
    ) -> Result<(Vocabulary, Self, Vec<u64>)> {
        let found = match Vocabulary::build(corpus, min_count) {
            // Known words may be rarer than that in the new corpus.
            Err(Error::EmptyVocabulary { .. }) => Vocabulary::default(),
            found => found?,
        };
        let vocabulary = vocabulary.extended(&found)?;
        let (encoded, seen) = Self::encode(corpus, &vocabulary, budget)?;
        if encoded.tokens == 0 {
            return Err(Error::EmptyVocabulary {
                tokens: 0,
                min_count,
            });
        }
        Ok((vocabulary.with_more(&seen), encoded, seen))
    }

    /// Encodes `corpus` with a vocabulary that is already known, and counts its words there.
    pub(crate) fn encode(
        corpus: &Corpus<'_>,
        vocabulary: &Vocabulary,
        budget: usize,
    ) -> Result<(Self, Vec<u64>)> {
        struct Keep<'a> {
            vocabulary: &'a Vocabulary,
            kept: Option<Vec<u32>>,
            budget: usize,
            seen: Vec<u64>,
            sentences: u64,
        }
        impl Keep<'_> {
            fn push(&mut self, id: u32) {
                if self.kept.as_ref().is_some_and(|k| k.len() >= self.budget) {
                    self.kept = None;
                }
                if let Some(kept) = &mut self.kept {
                    kept.push(id);
                }
            }
        }
        impl Sink for Keep<'_> {
            fn token(&mut self, token: &str) -> Result<()> {
                if let Some(id) = self.vocabulary.get(token) {
                    if let Some(count) = self.seen.get_mut(id as usize) {
                        *count += 1;
                    }
                    self.push(id);
                }
                Ok(())
            }
            fn end(&mut self) -> Result<()> {
                self.sentences += 1;
                self.push(END);
                Ok(())
            }
        }
        let mut keep = Keep {
            vocabulary,
            kept: Some(Vec::new()),
            budget,
            seen: vec![0; vocabulary.len()],
            sentences: 0,
        };
        corpus.visit(&mut keep)?;
        let encoded = Self {
            stream: keep.kept,
            sentences: keep.sentences,
            tokens: keep.seen.iter().sum(),
        };
        Ok((encoded, keep.seen))
    }

    /// Calls `round` with `group` pieces of about `size` tokens at a time, in order; the last round
    /// may have fewer. The pieces are the same whether they come from memory or from the corpus.
    pub(crate) fn rounds(
        &self,
        corpus: &Corpus<'_>,
        vocabulary: &Vocabulary,
        size: usize,
        group: usize,
        mut round: impl FnMut(&[&[u32]]) -> Result<()>,
    ) -> Result<()> {
        match &self.stream {
            Some(stream) => {
                let pieces: Vec<&[u32]> = ranges(stream, size)
                    .into_iter()
                    .map(|r| &stream[r])
                    .collect();
                pieces.chunks(group).try_for_each(round)
            }
            None => std::thread::scope(|scope| {
                let (sender, receiver) = sync_channel(2 * group);
                let reader = scope.spawn(move || {
                    let cutter = Cutter { size, tokens: 0 };
                    let mut reader = Reader {
                        vocabulary,
                        cutter,
                        piece: Vec::new(),
                        sender,
                    };
                    corpus.visit(&mut reader)?;
                    reader.flush()
                });
                let mut trained = Ok(());
                let mut pieces: Vec<Vec<u32>> = Vec::new();
                loop {
                    let piece = receiver.recv().ok();
                    let last = piece.is_none();
                    pieces.extend(piece);
                    if pieces.len() == group || (last && !pieces.is_empty()) {
                        let views: Vec<&[u32]> = pieces.iter().map(Vec::as_slice).collect();
                        trained = round(&views);
                        pieces.clear();
                    }
                    if last || trained.is_err() {
                        break;
                    }
                }
                drop(receiver);
                let read = reader
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                trained.and(read)
            }),
        }
    }
}

fn ranges(stream: &[u32], size: usize) -> Vec<Range<usize>> {
    let mut cutter = Cutter { size, tokens: 0 };
    let (mut ranges, mut start) = (Vec::new(), 0);
    for (i, &id) in stream.iter().enumerate() {
        if cutter.push(id) {
            ranges.push(start..i + 1);
            start = i + 1;
        }
    }
    if cutter.tokens > 0 {
        ranges.push(start..stream.len());
    }
    ranges
}

/// Encodes a corpus into pieces and sends them to the trainer.
struct Reader<'a> {
    vocabulary: &'a Vocabulary,
    cutter: Cutter,
    piece: Vec<u32>,
    sender: SyncSender<Vec<u32>>,
}

impl Reader<'_> {
    fn push(&mut self, id: u32) -> Result<()> {
        self.piece.push(id);
        match self.cutter.push(id) {
            true => self.send(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<()> {
        match self.cutter.tokens > 0 {
            true => self.send(),
            false => Ok(()),
        }
    }

    fn send(&mut self) -> Result<()> {
        // The trainer hung up: it has an error of its own, which is the one that is reported.
        self.sender
            .send(std::mem::take(&mut self.piece))
            .map_err(|_| {
                Error::Core(CoreError::Cancelled {
                    stage: "reading the corpus".into(),
                })
            })
    }
}

impl Sink for Reader<'_> {
    fn token(&mut self, token: &str) -> Result<()> {
        match self.vocabulary.get(token) {
            Some(id) => self.push(id),
            None => Ok(()),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.push(END)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenize;

    #[test]
    fn pieces_are_the_same_from_memory_and_from_the_corpus() {
        let text = "a b c\n\nd e\na a a a a a a\nb\nrare c d\n".repeat(7);
        let corpus = Corpus::from_text(text.as_str(), tokenize::whitespace);
        let (vocabulary, memory) = Encoded::count(&corpus, (8, usize::MAX), 1 << 20, 1).unwrap();
        assert_eq!(vocabulary.len(), 4);
        let (_, stream) = Encoded::count(&corpus, (8, usize::MAX), 0, 1).unwrap();
        let again = Encoded::encode(&corpus, &vocabulary, 1 << 20).unwrap();
        assert!(memory.stream.is_some() && stream.stream.is_none());
        assert_eq!(memory.stream, again.0.stream);
        assert!(
            Encoded::encode(&corpus, &vocabulary, 20)
                .unwrap()
                .0
                .stream
                .is_none()
        );
        let collect = |encoded: &Encoded| {
            let mut all = Vec::new();
            encoded
                .rounds(&corpus, &vocabulary, 5, 3, |pieces| {
                    all.push(pieces.iter().map(|p| p.to_vec()).collect::<Vec<_>>());
                    Ok(())
                })
                .unwrap();
            all
        };
        let pieces = collect(&memory);
        assert_eq!(pieces, collect(&stream));
        assert!(pieces.len() > 2 && pieces[..pieces.len() - 1].iter().all(|r| r.len() == 3));
        let tokens = pieces
            .iter()
            .flatten()
            .flatten()
            .filter(|&&id| id != END)
            .count();
        assert_eq!(tokens as u64, vocabulary.tokens());
    }

    #[test]
    fn an_error_in_a_round_stops_the_reader() {
        let corpus = Corpus::from_fn(|| (0..10_000).map(|_| ["a", "b"]));
        let (vocabulary, stream) = Encoded::count(&corpus, (1, usize::MAX), 0, 1).unwrap();
        let error = stream
            .rounds(&corpus, &vocabulary, 2, 2, |_| {
                Err(Error::UnknownWord {
                    word: "mine".to_string(),
                })
            })
            .unwrap_err();
        assert!(error.to_string().contains("mine"));
    }

    #[test]
    fn endless_sentences_are_cut() {
        let stream = vec![0; 3 * MAX_SENTENCE];
        let ranges = ranges(&stream, 100);
        assert_eq!(ranges[0], 0..MAX_SENTENCE + 100);
        assert_eq!(ranges.last().unwrap().end, stream.len());
    }
}
