//! Which words occur near each other, and how often: the counting within a budget of memory.
//!
//! A pair at a distance of `d` tokens counts `1/d`. Sums are kept as whole numbers of 2⁻³², so that
//! they do not depend on the order of adding: the result is the same for any number of threads and
//! any budget. Pairs of frequent words lie in a square table; all others in a hash table, which is
//! sorted and written to a file when it outgrows its budget. In the end all are merged.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use hashbrown::HashMap;
use rayon::prelude::*;
use refrain_core::{Error as CoreError, Monitor};

use crate::encoded::{Encoded, MAX_SENTENCE};
use crate::vocabulary::END;
use crate::{Corpus, Error, Result, Vocabulary};

/// The whole numbers of 1.
const ONE: f64 = 4_294_967_296.0;

/// So many of the most frequent words have a square table of their pairs.
const FREQUENT: usize = if cfg!(test) { 4 } else { 1024 };

/// Bytes of a pair in a hash table, its empty places included.
const PAIR_BYTES: usize = 32;

/// Tokens of a piece that one thread counts at a time.
const PIECE: usize = 100_000;

/// A pair of words and how often they occur together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pair {
    pub(super) word: u32,
    pub(super) context: u32,
    pub(super) count: f32,
}

/// How pairs are counted.
pub(super) struct Counting<'a> {
    pub(super) window: usize,
    /// Whether what follows counts too, not only what stands before.
    pub(super) symmetric: bool,
    /// Bytes for the tables of all threads.
    pub(super) memory: usize,
    /// Where they are written when they outgrow it.
    pub(super) folder: Option<&'a Path>,
    pub(super) threads: usize,
}

/// One thread's counts. With symmetric counting only pairs whose first word is the rarer one are
/// kept: the others are their mirror images.
struct Counter {
    /// Pairs of frequent words, a row for each first word.
    square: Vec<u64>,
    side: usize,
    others: HashMap<u64, u64>,
    /// Files of sorted pairs.
    runs: Vec<File>,
}

impl Counter {
    fn new(words: usize) -> Self {
        let side = words.min(FREQUENT);
        Self {
            square: vec![0; side * side],
            side,
            others: HashMap::new(),
            runs: Vec::new(),
        }
    }

    fn piece(&mut self, piece: &[u32], how: &Counting<'_>) {
        let sentences = piece.split(|&id| id == END);
        for sentence in sentences.flat_map(|s| s.chunks(MAX_SENTENCE)) {
            for (i, &word) in sentence.iter().enumerate() {
                let first = i.saturating_sub(how.window);
                for (j, &before) in sentence[first..i].iter().enumerate() {
                    let distance = i - first - j;
                    let weight = (ONE / distance as f64) as u64;
                    let (a, b) = match how.symmetric && before > word {
                        true => (before, word),
                        false => (word, before),
                    };
                    let (row, column) = (a as usize, b as usize);
                    if row < self.side && column < self.side {
                        self.square[row * self.side + column] += weight;
                    } else {
                        *self.others.entry(key(a, b)).or_default() += weight;
                    }
                }
            }
        }
    }

    /// Writes the hash table when it is larger than its share of the budget.
    fn spill(&mut self, how: &Counting<'_>) -> Result<()> {
        let most = how.memory / how.threads.max(1) / PAIR_BYTES;
        if self.others.len() <= most.max(1) {
            return Ok(());
        }
        let Some(folder) = how.folder else {
            return Err(Error::Config {
                field: "memory",
                value: format!("{} bytes", how.memory),
                reason: "too little for the pairs of words: raise it, or name a folder for the rest",
            });
        };
        let error = |e| CoreError::io(folder, e);
        // It has no name, so that nothing is left of it whatever happens.
        let mut file = tempfile::tempfile_in(folder).map_err(error)?;
        let mut out = BufWriter::with_capacity(1 << 20, &mut file);
        for (key, sum) in self.sorted() {
            out.write_all(&key.to_le_bytes()).map_err(error)?;
            out.write_all(&sum.to_le_bytes()).map_err(error)?;
        }
        out.flush().map_err(error)?;
        drop(out);
        file.seek(SeekFrom::Start(0)).map_err(error)?;
        self.runs.push(file);
        Ok(())
    }

    /// Empties the hash table.
    fn sorted(&mut self) -> Vec<(u64, u64)> {
        let mut pairs: Vec<(u64, u64)> = self.others.drain().collect();
        pairs.par_sort_unstable();
        pairs
    }
}

fn key(word: u32, context: u32) -> u64 {
    u64::from(word) << 32 | u64::from(context)
}

/// Sorted pairs, from memory or from a file.
enum Run {
    Memory(std::vec::IntoIter<(u64, u64)>),
    File(BufReader<File>),
}

impl Run {
    fn next(&mut self) -> std::io::Result<Option<(u64, u64)>> {
        match self {
            Self::Memory(pairs) => Ok(pairs.next()),
            Self::File(file) => {
                let mut bytes = [0; 16];
                match file.read_exact(&mut bytes) {
                    Ok(()) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
                    Err(e) => return Err(e),
                }
                let number = |b: &[u8]| u64::from_le_bytes(b.try_into().unwrap_or_default());
                Ok(Some((number(&bytes[..8]), number(&bytes[8..]))))
            }
        }
    }
}

/// Counts the pairs of a corpus: each with its sum, sorted by word and context.
pub(super) fn count(
    corpus: &Corpus<'_>,
    encoded: &Encoded,
    vocabulary: &Vocabulary,
    how: &Counting<'_>,
    monitor: &Monitor,
) -> Result<Vec<Pair>> {
    let stage = monitor.start("pairs of words", Some(encoded.tokens));
    let mut counters: Vec<Counter> = (0..how.threads.max(1))
        .map(|_| Counter::new(vocabulary.len()))
        .collect();
    let group = counters.len();
    encoded.rounds(corpus, vocabulary, PIECE, group, |pieces| {
        let work = pieces.par_iter().zip(counters.par_iter_mut());
        work.map(|(piece, counter)| {
            counter.piece(piece, how);
            counter.spill(how)
        })
        .collect::<Result<()>>()?;
        let tokens = pieces
            .iter()
            .flat_map(|p| p.iter())
            .filter(|&&id| id != END);
        let others: usize = counters.iter().map(|counter| counter.others.len()).sum();
        let files: usize = counters.iter().map(|counter| counter.runs.len()).sum();
        let message = format_args!("{others} pairs in memory, {files} files");
        Ok(stage.advance(tokens.count() as u64, message)?)
    })?;
    merge(counters, how, &stage)
}

fn merge(
    mut counters: Vec<Counter>,
    how: &Counting<'_>,
    stage: &refrain_core::Stage,
) -> Result<Vec<Pair>> {
    let mut pairs = Vec::new();
    let mut add = |key: u64, sum: u64| {
        let (word, context) = ((key >> 32) as u32, key as u32);
        let count = (sum as f64 / ONE) as f32;
        let pair = |word, context| Pair {
            word,
            context,
            count,
        };
        match how.symmetric {
            false => pairs.push(pair(word, context)),
            // Two of a word beside each other are each before and behind the other.
            true if word == context => pairs.push(pair(word, word).twice()),
            true => pairs.extend([pair(word, context), pair(context, word)]),
        }
    };
    let side = counters.first().map_or(0, |counter| counter.side);
    let mut square = vec![0u64; side * side];
    let mut heap = BinaryHeap::new();
    let mut runs = Vec::new();
    for counter in &mut counters {
        square
            .iter_mut()
            .zip(&counter.square)
            .for_each(|(sum, n)| *sum += n);
        runs.push(Run::Memory(counter.sorted().into_iter()));
        let files = counter.runs.drain(..);
        runs.extend(files.map(|file| Run::File(BufReader::with_capacity(1 << 18, file))));
    }
    drop(counters);
    for (at, &sum) in square.iter().enumerate().filter(|(_, sum)| **sum > 0) {
        add(key((at / side) as u32, (at % side) as u32), sum);
    }
    let error = |e| CoreError::io(how.folder.unwrap_or(Path::new("memory")), e);
    for (at, run) in runs.iter_mut().enumerate() {
        if let Some((key, sum)) = run.next().map_err(error)? {
            heap.push(Reverse((key, at, sum)));
        }
    }
    let mut last: Option<(u64, u64)> = None;
    let mut steps = 0u32;
    while let Some(Reverse((key, at, sum))) = heap.pop() {
        if let Some((next, sum)) = runs[at].next().map_err(error)? {
            heap.push(Reverse((next, at, sum)));
        }
        last = match last {
            Some((known, total)) if known == key => Some((known, total + sum)),
            other => {
                if let Some((key, sum)) = other {
                    add(key, sum);
                }
                Some((key, sum))
            }
        };
        steps = steps.wrapping_add(1);
        if steps.is_multiple_of(1 << 20) {
            stage.check()?;
        }
    }
    if let Some((key, sum)) = last {
        add(key, sum);
    }
    pairs.par_sort_unstable_by_key(|pair| key(pair.word, pair.context));
    Ok(pairs)
}

impl Pair {
    fn twice(mut self) -> Self {
        self.count *= 2.0;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::tokenize;

    fn counted(text: &str, how: &Counting<'_>) -> Result<Vec<Pair>> {
        let corpus = Corpus::from_text(text, tokenize::whitespace);
        let (vocabulary, encoded) = Encoded::count(&corpus, (1, usize::MAX), 1 << 20, 1).unwrap();
        count(&corpus, &encoded, &vocabulary, how, &Monitor::silent())
    }

    /// By the definition, in f64.
    fn slow(text: &str, window: usize, symmetric: bool) -> BTreeMap<(u32, u32), f64> {
        let corpus = Corpus::from_text(text, tokenize::whitespace);
        let words = Vocabulary::build(&corpus, 1).unwrap();
        let mut sums = BTreeMap::new();
        for line in text.lines() {
            let ids: Vec<u32> = line
                .split_whitespace()
                .map(|w| words.get(w).unwrap())
                .collect();
            for i in 0..ids.len() {
                for j in 0..ids.len() {
                    let distance = i.abs_diff(j);
                    let counts = j < i || (symmetric && j > i);
                    if counts && distance <= window {
                        *sums.entry((ids[i], ids[j])).or_default() += 1.0 / distance as f64;
                    }
                }
            }
        }
        sums
    }

    proptest! {
        #[test]
        fn pairs_are_those_of_the_definition(
            words in proptest::collection::vec(0u32..2000, 1..300),
            window in 1usize..6,
            symmetric in any::<bool>(),
            threads in 1usize..4,
        ) {
            let text: String = words.iter().enumerate().map(|(i, w)| {
                // Squares of numbers: some words often, many once.
                format!("w{} {}", w * w / 1900, if i % 9 == 8 { "\n" } else { "" })
            }).collect();
            let folder = tempfile::tempdir().unwrap();
            let how = |memory, folder| Counting { window, symmetric, memory, folder, threads };
            let whole = counted(&text, &how(1 << 20, None)).unwrap();
            let expected = slow(&text, window, symmetric);
            prop_assert_eq!(whole.len(), expected.len());
            for (pair, (&(word, context), &count)) in whole.iter().zip(&expected) {
                prop_assert_eq!((pair.word, pair.context), (word, context));
                prop_assert!((f64::from(pair.count) - count).abs() < 1e-5 * count);
            }
            let spilled = counted(&text, &how(0, Some(folder.path()))).unwrap();
            prop_assert_eq!(spilled, whole);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left");
        }
    }

    #[test]
    fn too_little_memory_and_no_folder_is_an_error() {
        let text: String = (0..3000).map(|i| format!("w{i} ")).collect();
        let how = Counting {
            window: 2,
            symmetric: true,
            memory: 100,
            folder: None,
            threads: 1,
        };
        let error = counted(&text, &how).unwrap_err().to_string();
        assert!(
            error.contains("memory is 100 bytes") && error.contains("folder"),
            "{error}"
        );
        let nowhere = Counting {
            folder: Some(Path::new("/no/such/folder")),
            ..how
        };
        let error = counted(&text, &nowhere).unwrap_err().to_string();
        assert!(error.contains("/no/such/folder"), "{error}");
    }
}
