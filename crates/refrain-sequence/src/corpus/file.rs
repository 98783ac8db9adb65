//! A corpus as a `*.refrain` file of kind `sequence.corpus`: the tokens one after another, the ends of the
//! documents, and the names of the tokens.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use refrain_core::{MappedFile, ModelFile, ModelWriter, Values};
use serde::{Deserialize, Serialize};

use super::{Corpus, TokenSequences};
use crate::tokenizer::{TokenKind, check_tokens};
use crate::{Error, Result, Tokenizer, Vocabulary};

const KIND: &str = "sequence.corpus";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    stream: bool,
    tokens: TokenKind,
}

/// Writes a corpus to a file, text after text: one text at a time is in memory, and 8 bytes for each
/// document.
///
/// While it writes, the tokens lie in a file beside, with the number of the process and `.part` at the end
/// of its name, four bytes each.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("lines.refrain");
/// use refrain_sequence::{Bytes, Corpus, CorpusWriter, Tokenizer};
/// let bytes = Bytes::new();
/// let mut writer = CorpusWriter::documents(&path, bytes.vocabulary().clone())?;
/// for line in ["Row, row, row your boat", "gently down the stream"] {
///     writer.push_text(&bytes, line)?;
/// }
/// assert_eq!(writer.finish()?.train().len(), 2);
///
/// let corpus = Corpus::open(&path)?.hold_out(0.5, 1)?; // mapped: as large as the disk allows
/// assert_eq!(corpus.train().len(), 1);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug)]
pub struct CorpusWriter {
    path: PathBuf,
    part: Part,
    vocabulary: Vocabulary,
    stream: bool,
    ends: Vec<u64>,
    length: u64,
    pushed: u64,
}

/// The file of the tokens while they come; it goes with its owner.
#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.file = None;
        std::fs::remove_file(&self.path).ok();
    }
}

impl CorpusWriter {
    /// A corpus of documents, each [pushed](Self::push) by itself.
    ///
    /// # Errors
    /// When the file beside `path` cannot be made, or another writer of this process has it; the error
    /// names it.
    pub fn documents(path: impl AsRef<Path>, vocabulary: Vocabulary) -> Result<Self> {
        Self::new(path.as_ref(), vocabulary, false)
    }

    /// A corpus of one stream: what is pushed goes on where it ended.
    ///
    /// # Errors
    /// As [`CorpusWriter::documents`].
    pub fn stream(path: impl AsRef<Path>, vocabulary: Vocabulary) -> Result<Self> {
        Self::new(path.as_ref(), vocabulary, true)
    }

    fn new(path: &Path, vocabulary: Vocabulary, stream: bool) -> Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.part", std::process::id()));
        let beside = PathBuf::from(beside);
        let file = File::create_new(&beside).map_err(|e| refrain_core::Error::io(&beside, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            part: Part {
                path: beside,
                file: Some(BufWriter::new(file)),
            },
            vocabulary,
            stream,
            ends: Vec::new(),
            length: 0,
            pushed: 0,
        })
    }

    /// Adds tokens: a document, or the next of a stream. A document of fewer than two tokens teaches
    /// nothing and is left out.
    ///
    /// # Errors
    /// [`Error::Token`] for one outside the vocabulary, naming the push (from 0) and the place; and when they
    /// cannot be written.
    pub fn push(&mut self, tokens: &[u32]) -> Result<()> {
        let place = format!("push {}", self.pushed);
        check_tokens(&place, tokens, self.vocabulary.len())?;
        self.pushed += 1;
        if !self.stream && tokens.len() < 2 {
            return Ok(());
        }
        self.write(tokens).map_err(|e| {
            self.part.file = None; // What follows half a document would be read amiss.
            refrain_core::Error::io(&self.part.path, e)
        })?;
        self.length += tokens.len() as u64;
        if !self.stream {
            self.ends.push(self.length);
        }
        Ok(())
    }

    fn write(&mut self, tokens: &[u32]) -> std::io::Result<()> {
        let file = self.part.file.as_mut();
        let file = file.ok_or_else(|| std::io::Error::other("an earlier write failed"))?;
        for token in tokens {
            file.write_all(&token.to_ne_bytes())?;
        }
        Ok(())
    }

    /// Adds a text, with its tokenizer.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`] and [`CorpusWriter::push`].
    pub fn push_text(&mut self, tokenizer: &dyn Tokenizer, text: &str) -> Result<()> {
        self.push(&tokenizer.encode(text)?)
    }

    /// Writes the file and opens it. An existing file is replaced in one step.
    ///
    /// # Errors
    /// [`Error::TooShort`] where there is nothing to predict, and when the file cannot be written.
    pub fn finish(mut self) -> Result<Corpus> {
        let flushed = self.write(&[]).and_then(|()| match self.part.file.take() {
            Some(mut file) => file.flush(),
            None => Ok(()),
        });
        flushed.map_err(|e| refrain_core::Error::io(&self.part.path, e))?;
        // An empty file cannot be mapped.
        let tokens: Values<u32> = match self.length {
            0 => Values::default(),
            _ => {
                let map = MappedFile::open(&self.part.path)?;
                Values::at(&map, 0..map.len())
            }
        };
        let ends = &self.ends[..];
        let header = Header {
            stream: self.stream,
            tokens: self.vocabulary.kind(),
        };
        sequences(self.stream, tokens.clone(), ends)
            .unwrap_or_else(|| TokenSequences::stream(Vec::new()))
            .check("corpus", self.vocabulary.len())?;
        ModelWriter::new(KIND, VERSION)
            .config(&header)?
            .ids("tokens", self.vocabulary.ids())?
            .u32("tokens", &[tokens.len()], &tokens[..])?
            .u64("ends", &[ends.len()], ends)?
            .write(&self.path)?;
        Corpus::open(&self.path)
    }
}

fn sequences(stream: bool, tokens: Values<u32>, ends: &[u64]) -> Option<TokenSequences> {
    match stream {
        true => Some(TokenSequences::stream_of(tokens)),
        false => TokenSequences::documents_of(tokens, ends),
    }
}

impl Corpus {
    /// Maps a file that a [`CorpusWriter`] made. Its tokens stay there: they are looked at now, once more
    /// when training begins, and then where it draws them.
    ///
    /// The file must not be changed while it is open; replacing it is safe.
    ///
    /// # Errors
    /// When the file is no such corpus, is damaged, or comes from a newer version;
    /// [`Error::Token`] where a token is outside its vocabulary, [`Error::TooShort`] where there is nothing to
    /// predict.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let header: Header = file.config()?;
        let vocabulary = Vocabulary::from_parts(header.tokens, file.ids("tokens")?);
        let tokens = file.keep(file.u32("tokens")?.data);
        let ends = file.u64("ends")?;
        let train = sequences(header.stream, tokens, &ends.data).ok_or_else(|| {
            Error::file(file.origin(), "the ends of its documents are not in order")
        })?;
        Self::of(vocabulary, train)
    }
}
