//! Vectors of documents (Le and Mikolov, *Distributed Representations of Sentences and Documents*,
//! 2014).
//!
//! Each document has a row of its own beside the words'. With [`Architecture::Cbow`](crate::Architecture::Cbow) it is one more of
//! the rows whose mean tells the word in the centre of each window: *distributed memory*, PV-DM. With
//! [`Architecture::SkipGram`](crate::Architecture::SkipGram) it tells each of its words by itself: the *distributed bag of words*,
//! PV-DBOW, beside which the words may be trained by skip-gram.
//!
//! A document that was not trained on gets a row by the same training, in which only that row moves.

use std::path::Path;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::rng::stream;
use refrain_core::{IdMap, ModelFile, ModelWriter, Monitor};
use serde::{Deserialize, Serialize};

use super::Word2Vec;
use super::kernel::Rows;
use super::windows::Plan;
use super::worker::{Piece, Table, Worker};
use crate::{Corpus, Embeddings, Error, Result, Vocabulary};

const KIND: &str = "embeddings.documents";
const VERSION: u32 = 1;

/// How documents take part in training, see [`Word2Vec::documents`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Documents {
    /// Whether skip-gram trains the words beside the documents; without it their vectors stay as they
    /// were drawn. The continuous bag of words always trains both.
    pub words: bool,
}

impl Default for Documents {
    fn default() -> Self {
        Self { words: true }
    }
}

impl Word2Vec {
    /// Trains a vector for each sentence of the corpus, with its number as its name.
    ///
    /// ```
    /// use refrain_embeddings::{Corpus, Documents, Word2Vec, tokenize};
    /// let text = "the cat chased the mouse\nthe mouse fled the cat\n\
    ///             stocks and bonds fell\nbonds fell with stocks\n".repeat(30);
    /// let config = Word2Vec { dim: 8, threads: 1, epochs: 30, ..Word2Vec::default() };
    /// let corpus = Corpus::from_text(text, tokenize::whitespace);
    /// let model = config.fit_documents(&corpus)?;
    /// assert_eq!(model.documents().len(), 120);
    ///
    /// let unseen = model.infer(&["the", "cat", "and", "the", "mouse"], 30);
    /// let near: u32 = model.documents().nearest(&unseen, 1)?[0].index;
    /// assert!(near % 4 < 2, "a document of cats");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// Without [`Word2Vec::documents`] their default is taken.
    ///
    /// # Errors
    /// As [`Word2Vec::fit`].
    pub fn fit_documents(&self, corpus: &Corpus<'_>) -> Result<DocumentVectors> {
        self.fit_documents_with(corpus, &Monitor::silent())
    }

    /// The same, telling `monitor` the loss and the speed.
    ///
    /// # Errors
    /// As [`Word2Vec::fit_with`].
    pub fn fit_documents_with(
        &self,
        corpus: &Corpus<'_>,
        monitor: &Monitor,
    ) -> Result<DocumentVectors> {
        let mut config = self.clone();
        config.documents.get_or_insert_default();
        let mut training = config.start_with(corpus, monitor)?;
        while !training.is_finished() {
            training.epoch(corpus, monitor)?;
        }
        training.finish_documents()
    }

    pub(super) fn expect_documents(&self) -> Result<()> {
        match self.documents {
            Some(_) => Ok(()),
            None => Err(Error::Config {
                field: "documents",
                value: "None".to_string(),
                reason: "training began without documents",
            }),
        }
    }

    /// How many documents so many sentences are.
    pub(super) fn count_documents(&self, sentences: u64) -> Result<usize> {
        const MOST: u64 = 1 << 31;
        match self.documents {
            None => Ok(0),
            Some(_) if sentences <= MOST => Ok(sentences as usize),
            Some(_) => Err(Error::Config {
                field: "documents",
                value: sentences.to_string(),
                reason: "there can be at most 2147483648",
            }),
        }
    }
}

/// Documents with a vector each, and what gives new documents theirs.
#[derive(Debug)]
pub struct DocumentVectors {
    config: Word2Vec,
    words: Embeddings,
    documents: Embeddings,
    /// Rows of words and n-grams, and of what is told.
    inputs: Rows,
    outputs: Rows,
    plan: Plan,
}

impl DocumentVectors {
    pub(super) fn new(
        config: Word2Vec,
        vocabulary: Vocabulary,
        mut inputs: Vec<f32>,
        outputs: Vec<f32>,
    ) -> Result<Self> {
        let first = config.rows(vocabulary.len()) * config.dim;
        let vectors = inputs.split_off(first);
        let count = vectors.len() / config.dim;
        let ids = IdMap::from_ids(0..count)?;
        let names = Vocabulary::from_ids(ids, vec![1; count]);
        let documents = Embeddings::new(names, config.dim, vectors)?;
        Self::assemble(config, vocabulary, documents, &inputs, &outputs)
    }

    fn assemble(
        config: Word2Vec,
        vocabulary: Vocabulary,
        documents: Embeddings,
        inputs: &[f32],
        outputs: &[f32],
    ) -> Result<Self> {
        let mut plan = config.plan(&vocabulary);
        // Nothing but a document moves from here on.
        plan.documents = plan.documents.map(|(first, _)| (first, false));
        Ok(Self {
            words: plan.words(&config, vocabulary, inputs)?,
            documents,
            inputs: Rows::from_dense(inputs, config.dim),
            outputs: Rows::from_dense(outputs, config.dim),
            plan,
            config,
        })
    }

    /// The documents, named by their numbers unless they were [named](DocumentVectors::named).
    pub fn documents(&self) -> &Embeddings {
        &self.documents
    }

    /// The words.
    pub fn words(&self) -> &Embeddings {
        &self.words
    }

    /// Gives the documents names, in their order.
    ///
    /// # Errors
    /// [`Error::Shape`] when there are more or fewer names than documents, [`Error::Config`] when
    /// two are equal.
    pub fn named<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Result<Self> {
        let names = Vocabulary::from_counts(names.into_iter().map(|name| (name, 1)))?;
        self.documents =
            Embeddings::new(names, self.config.dim, self.documents.vectors().to_vec())?;
        Ok(self)
    }

    /// A vector for a document of these tokens, from `epochs` rounds of training in which nothing
    /// else moves; unknown words say nothing, and a document without a known one keeps the vector it
    /// began with, which is near zero. The same tokens give the same vector.
    ///
    /// More rounds than training had are usual: an unseen document has no others to learn from.
    pub fn infer<T: AsRef<str>>(&self, tokens: &[T], epochs: usize) -> Vec<f32> {
        let vocabulary = self.words.vocabulary();
        let ids: Vec<u32> = tokens
            .iter()
            .filter_map(|token| vocabulary.get(token.as_ref()))
            .collect();
        let dim = self.config.dim;
        let row = self.inputs.as_slice().len() / self.inputs.stride();
        let mut values = vec![0.0; dim];
        let half = 0.5 / dim as f32;
        let mut rng = stream(self.config.seed, u64::MAX);
        values
            .iter_mut()
            .for_each(|value| *value = rng.random_range(-half..half));
        let mut inputs = Frozen::new(&self.inputs, Some((row as u32, &values)));
        let mut outputs = Frozen::new(&self.outputs, None);
        let mut worker = Worker::default();
        let tokens = ids.len() as u64;
        for epoch in 0..epochs as u64 {
            let piece = Piece {
                tokens: &ids,
                first: epoch * tokens,
                total: tokens.saturating_mul(epochs as u64),
                sentence: 0,
                rng: stream(self.config.seed, epoch),
            };
            worker.train(&self.plan, piece, &mut inputs, &mut outputs);
        }
        inputs.scratch.as_slice()[..dim].to_vec()
    }

    /// [`DocumentVectors::infer`] for many documents, on all cores.
    pub fn infer_batch<D: AsRef<[T]> + Sync, T: AsRef<str>>(
        &self,
        documents: &[D],
        epochs: usize,
    ) -> Vec<Vec<f32>> {
        documents
            .par_iter()
            .map(|document| self.infer(document.as_ref(), epochs))
            .collect()
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let dim = self.config.dim;
        let (words, documents) = (self.words.vocabulary(), self.documents.vocabulary());
        let inputs = self.inputs.to_dense(dim);
        ModelWriter::new(KIND, VERSION)
            .config(&self.config)?
            .u64("reals", &[3], self.config.reals())?
            .ids("words", words.ids())?
            .u64("counts", &[words.len()], words.counts())?
            .ids("documents", documents.ids())?
            .f32("inputs", &[inputs.len() / dim, dim], inputs)?
            .f32("outputs", &[words.len(), dim], self.outputs.to_dense(dim))?
            .f32("vectors", &[documents.len(), dim], self.documents.vectors())?
            .write(path)?;
        Ok(())
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When there is none, it is broken, or another model's.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let config = Word2Vec::from_file(&file)?;
        config.expect_documents()?;
        let (words, names) = (file.ids("words")?, file.ids("documents")?);
        let (count, dim) = (words.len(), config.dim);
        let counts = file.u64("counts")?.expect_shape("counts", &[count])?;
        let rows = |name: &str, count: usize| {
            let shape = [count, config.dim];
            Ok::<_, Error>(file.f32(name)?.expect_shape(name, &shape)?.data)
        };
        let vectors = rows("vectors", names.len())?.into_owned();
        let ones = vec![1; names.len()];
        let documents = Embeddings::new(Vocabulary::from_ids(names, ones), dim, vectors)?;
        let vocabulary = Vocabulary::from_ids(words, counts.data.into_owned());
        let inputs = rows("inputs", config.rows(count))?;
        let outputs = rows("outputs", count)?;
        Self::assemble(config, vocabulary, documents, &inputs, &outputs)
    }
}

/// Rows that do not move, each copied when a window asks for it; one that does.
struct Frozen<'a> {
    base: &'a Rows,
    /// The number of the row that moves; it lies in the first place of `scratch`.
    moving: Option<u32>,
    scratch: Rows,
    used: usize,
}

impl<'a> Frozen<'a> {
    fn new(base: &'a Rows, moving: Option<(u32, &[f32])>) -> Self {
        let mut scratch = Rows::zeros(0, base.stride());
        scratch.reserve(1);
        if let Some((_, values)) = moving {
            scratch.copy(0, values, values.len());
        }
        Self {
            base,
            moving: moving.map(|(row, _)| row),
            scratch,
            used: 1,
        }
    }
}

impl Table for Frozen<'_> {
    fn begin(&mut self) {
        self.used = 1;
    }

    fn row(&mut self, row: u32) -> usize {
        if self.moving == Some(row) {
            return 0;
        }
        let stride = self.base.stride();
        let (from, to) = (row as usize * stride, self.used * stride);
        self.used += 1;
        self.scratch.reserve(self.used);
        self.scratch.as_mut_slice()[to..to + stride]
            .copy_from_slice(&self.base.as_slice()[from..from + stride]);
        to
    }

    fn values(&mut self) -> &mut [f32] {
        self.scratch.as_mut_slice()
    }

    fn stride(&self) -> usize {
        self.base.stride()
    }
}
