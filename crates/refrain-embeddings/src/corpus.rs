//! Where sentences come from. A [`Corpus`] can be read more than once and never has to lie in
//! memory: training reads it once, and again each epoch when its word numbers would not fit
//! [`Word2Vec::cache_tokens`](crate::Word2Vec::cache_tokens).

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use refrain_core::{Error as CoreError, IdMap};
use refrain_data::Interactions;

use crate::vocabulary::{END, Sink};
use crate::{Error, Result};

/// Sentences of tokens, from text, files, iterators or listening sessions.
///
/// ```
/// use refrain_embeddings::{Corpus, Vocabulary, tokenize};
///
/// // text, a sentence a line
/// let a = Corpus::from_text("the cat sat\nthe dog sat", tokenize::words);
/// // anything that gives sentences of tokens
/// let b = Corpus::from_sentences([["the", "cat", "sat"], ["the", "dog", "sat"]])?;
/// // a stream that can be started again
/// let lines = ["the cat sat", "the dog sat"];
/// let c = Corpus::from_fn(|| lines.iter().map(|line| line.split(' ')));
/// // poems, a character a token
/// let d = Corpus::from_text("床前明月光\n疑是地上霜", tokenize::characters);
/// for corpus in [a, b, c] {
///     assert_eq!(Vocabulary::build(&corpus, 1)?.count(0), Some(2));
/// }
/// assert_eq!(Vocabulary::build(&d, 1)?.len(), 10);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
pub struct Corpus<'a> {
    /// Parts that can be read at the same time; no sentence is in two.
    parts: usize,
    visit: Box<Visit<'a>>,
}

type Visit<'a> = dyn Fn(usize, &mut dyn Sink) -> Result<()> + Send + Sync + 'a;

/// Bytes of a part of a text or a file, and tokens of one in memory.
const PART: usize = if cfg!(test) { 8 } else { 1 << 22 };

impl std::fmt::Debug for Corpus<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Corpus").finish_non_exhaustive()
    }
}

impl<'a> Corpus<'a> {
    fn new(
        parts: usize,
        visit: impl Fn(usize, &mut dyn Sink) -> Result<()> + Send + Sync + 'a,
    ) -> Self {
        Self {
            parts,
            visit: Box::new(visit),
        }
    }

    /// Pours the corpus, from its beginning, into `sink`.
    pub(crate) fn visit(&self, sink: &mut dyn Sink) -> Result<()> {
        (0..self.parts).try_for_each(|part| self.visit_part(part, sink))
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.parts
    }

    /// Pours one part into `sink`.
    pub(crate) fn visit_part(&self, part: usize, sink: &mut dyn Sink) -> Result<()> {
        (self.visit)(part, sink)
    }

    /// Text with a sentence on each line, cut by `tokenizer` (see [`tokenize`](crate::tokenize)).
    pub fn from_text(
        text: impl Into<Cow<'a, str>>,
        tokenizer: impl Fn(&str, &mut dyn FnMut(&str)) + Send + Sync + 'a,
    ) -> Self {
        let text = text.into();
        let parts = cut(&text, |_| true);
        Self::new(parts.len(), move |part, sink| {
            for line in text[parts[part].clone()].lines() {
                pour_line(line, &tokenizer, sink)?;
                sink.end()?;
            }
            Ok(())
        })
    }

    /// Text whose sentences are paragraphs: an empty line ends one, the end of a line does not.
    /// The choice for books, whose lines are broken for the page.
    pub fn from_paragraphs(
        text: impl Into<Cow<'a, str>>,
        tokenizer: impl Fn(&str, &mut dyn FnMut(&str)) + Send + Sync + 'a,
    ) -> Self {
        let text = text.into();
        let parts = cut(&text, |line| line.trim().is_empty());
        Self::new(parts.len(), move |part, sink| {
            for line in text[parts[part].clone()].lines() {
                pour_line(line, &tokenizer, sink)?;
                if line.trim().is_empty() {
                    sink.end()?;
                }
            }
            match part + 1 == parts.len() {
                true => sink.end(),
                false => Ok(()),
            }
        })
    }

    /// Files of text, a sentence a line, read as a stream on every pass; names in `.gz` are
    /// unpacked. Of a folder all files are read, those of folders within it too, in the order of their
    /// names and without those that begin with a dot. Bytes that are not UTF-8 become `U+FFFD`.
    pub fn from_files<P: AsRef<Path>>(
        paths: impl IntoIterator<Item = P>,
        tokenizer: impl Fn(&str, &mut dyn FnMut(&str)) + Send + Sync + 'a,
    ) -> Self {
        let parts: Vec<(PathBuf, Range<u64>)> = paths
            .into_iter()
            .flat_map(|path| files(path.as_ref()))
            .flat_map(|path| ranges(&path))
            .collect();
        Self::new(parts.len(), move |part, sink| {
            let (path, range) = &parts[part];
            let error = |e| CoreError::io(path, e);
            let mut reader = open(path, range.start)?;
            let (mut line, mut at) = (Vec::new(), range.start);
            let mut next = |line: &mut Vec<u8>| {
                line.clear();
                reader.by_ref().take(MAX_LINE).read_until(b'\n', line)
            };
            // The byte before the part tells whether a line begins with it; if none does, the line
            // is the part before's.
            let mut whole = range.start == 0;
            while !whole {
                let n = next(&mut line).map_err(error)?;
                at += n as u64;
                whole = n == 0 || line.ends_with(b"\n");
            }
            let mut begins = true;
            while !begins || at <= range.end {
                let n = next(&mut line).map_err(error)?;
                if n == 0 {
                    break;
                }
                at += n as u64;
                begins = line.ends_with(b"\n");
                pour_line(&String::from_utf8_lossy(&line), &tokenizer, sink)?;
                sink.end()?;
            }
            Ok(())
        })
    }

    /// Sentences from an iterator, which is read once; its tokens are kept as numbers.
    ///
    /// # Errors
    /// When there are more than 4,294,967,294 different tokens.
    pub fn from_sentences<S>(sentences: impl IntoIterator<Item = S>) -> Result<Self>
    where
        S: IntoIterator<Item: AsRef<str>>,
    {
        let (mut ids, mut stream) = (IdMap::new(), Vec::new());
        for sentence in sentences {
            for token in sentence {
                stream.push(ids.insert(token.as_ref())?);
            }
            stream.push(END);
        }
        let mut ends = Vec::new();
        let mut start = 0;
        for (at, &id) in stream.iter().enumerate() {
            if id == END && (at + 1 - start >= PART || at + 1 == stream.len()) {
                ends.push(start..at + 1);
                start = at + 1;
            }
        }
        Ok(Self::new(ends.len(), move |part, sink| {
            for &id in &stream[ends[part].clone()] {
                match ids.name(id) {
                    Some(token) => sink.token(token)?,
                    None => sink.end()?,
                }
            }
            Ok(())
        }))
    }

    /// Sentences from a stream that `start` begins anew on every pass; it must give the same
    /// sentences each time.
    pub fn from_fn<S, I>(start: impl Fn() -> I + Send + Sync + 'a) -> Self
    where
        S: IntoIterator<Item: AsRef<str>>,
        I: IntoIterator<Item = S>,
    {
        Self::new(1, move |_, sink| {
            for sentence in start() {
                for token in sentence {
                    sink.token(token.as_ref())?;
                }
                sink.end()?;
            }
            Ok(())
        })
    }

    /// Listening sessions as sentences, for item2vec (Barkan and Koenigstein, 2016): each user's
    /// items in order of time, a new session after a pause longer than `gap` (in the unit of the
    /// log's times; `None` keeps a user's history in one).
    ///
    /// A log without times gives one sentence a user, in the order of the item numbers: choose a
    /// [`window`](crate::Word2Vec::window) as long as the histories then, so that order does not
    /// matter.
    ///
    /// # Errors
    /// [`Error::Config`] when `gap` is negative.
    pub fn from_interactions(log: &'a Interactions, gap: Option<i64>) -> Result<Self> {
        if let Some(gap) = gap.filter(|&gap| gap < 0) {
            return Err(Error::Config {
                field: "gap",
                value: gap.to_string(),
                reason: "a pause cannot be negative",
            });
        }
        let group = PART.div_ceil(64);
        Ok(Self::new(
            log.n_users().div_ceil(group),
            move |part, sink| {
                let mut plays: Vec<(i64, u32)> = Vec::new();
                let users = part * group..((part + 1) * group).min(log.n_users());
                for user in users.start as u32..users.end as u32 {
                    let (items, _) = log.user_items(user);
                    let times = log.user_times(user).unwrap_or_default();
                    plays.clear();
                    plays.extend(
                        items
                            .iter()
                            .enumerate()
                            .map(|(i, &item)| (times.get(i).copied().unwrap_or_default(), item)),
                    );
                    plays.sort_unstable();
                    let mut before = None;
                    for &(time, item) in &plays {
                        let pause = before.map_or(0, |b: i64| time.saturating_sub(b));
                        if gap.is_some_and(|gap| pause > gap) {
                            sink.end()?;
                        }
                        before = Some(time);
                        if let Some(name) = log.items().name(item) {
                            sink.token(name)?;
                        }
                    }
                    sink.end()?;
                }
                Ok(())
            },
        ))
    }
}

/// A line longer than this is cut, so that a file without line breaks cannot fill the memory.
const MAX_LINE: u64 = 1 << 24;

fn pour_line(
    line: &str,
    tokenizer: &impl Fn(&str, &mut dyn FnMut(&str)),
    sink: &mut dyn Sink,
) -> Result<()> {
    let mut result = Ok(());
    tokenizer(line, &mut |token| {
        if result.is_ok() {
            result = sink.token(token);
        }
    });
    result
}

/// Runs of lines of about a part's size, each ending with a line that `ends` accepts.
fn cut(text: &str, ends: impl Fn(&str) -> bool) -> Vec<Range<usize>> {
    let (mut parts, mut start, mut at) = (Vec::new(), 0, 0);
    for line in text.split_inclusive('\n') {
        at += line.len();
        if at - start >= PART && ends(line) {
            parts.push(start..at);
            start = at;
        }
    }
    if start < at || parts.is_empty() {
        parts.push(start..at);
    }
    parts
}

/// The files of a folder and of those within it, by their names; those that begin with a dot are left out.
/// A file is itself.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(folder) = path.read_dir() else {
        return vec![path.to_path_buf()];
    };
    let mut entries: Vec<_> = folder
        .filter_map(|entry| entry.ok())
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .collect();
    entries.sort_by_key(|entry| entry.file_name());
    let inner = entries.into_iter().flat_map(|entry| {
        // Links to folders may lead in a circle.
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        match link && entry.path().is_dir() {
            true => Vec::new(),
            false => files(&entry.path()),
        }
    });
    inner.collect()
}

/// A file in parts. One that cannot tell its length, as a pipe, is read in one; so is one that is not
/// there, which reports its error then.
fn ranges(path: &Path) -> Vec<(PathBuf, Range<u64>)> {
    let length = match is_packed(path) {
        true => None,
        false => path
            .metadata()
            .ok()
            .filter(|m| m.is_file())
            .map(|m| m.len()),
    };
    let part = |range| (path.to_path_buf(), range);
    match length.filter(|&length| length > 0) {
        None => vec![part(0..u64::MAX)],
        Some(length) => (0..length.div_ceil(PART as u64))
            .map(|i| i * PART as u64)
            .map(|start| part(start..start.saturating_add(PART as u64)))
            .collect(),
    }
}

fn is_packed(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("gz"))
}

/// A reader from byte `start` on.
fn open(path: &Path, start: u64) -> Result<Box<dyn BufRead>> {
    let error = |e| CoreError::io(path, e);
    let mut file = File::open(path).map_err(error)?;
    if start > 0 {
        file.seek(SeekFrom::Start(start)).map_err(error)?;
    }
    let file = BufReader::with_capacity(1 << 16, file);
    match is_packed(path) {
        true => Ok(Box::new(BufReader::with_capacity(
            1 << 16,
            MultiGzDecoder::new(file),
        ))),
        false => Ok(Box::new(file)),
    }
}

#[cfg(test)]
#[path = "corpus_tests.rs"]
mod tests;
