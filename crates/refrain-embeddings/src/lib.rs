//! Vectors of words, items, sentences and documents: train, save, load and query.
//!
//! A [`Corpus`] gives sentences of tokens, [`Word2Vec`] or [`Glove`] learns a vector for each word, and
//! [`Embeddings`] answer: which words are near, how alike two are, what completes an analogy.
//!
//! # Words
//!
//! ```
//! use refrain_embeddings::{Analogy, Corpus, Embeddings, Word2Vec, tokenize};
//!
//! let text = refrain_data::bundled::text()?; // Moby-Dick and speeches of presidents
//! let corpus = Corpus::from_text(text, tokenize::words);
//! let words = Word2Vec { dim: 40, epochs: 2, threads: 1, ..Word2Vec::default() }.fit(&corpus)?;
//!
//! assert!(words.similarity("whale", "sperm")? > words.similarity("whale", "tax")?);
//! for near in words.neighbours("congress", 5)? {
//!     println!("{:12} {:.3}", near.word, near.similarity);
//! }
//! println!("{:?}", words.analogy("man", "men", "whale", 3, Analogy::Add)?);
//! assert_eq!(words.vector("xylophone"), None);
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("words.refrain");
//! words.save(&path)?;
//! let words = Embeddings::load(&path)?; // the vectors stay in the file until they are needed
//! # assert_eq!(words.dim(), 40);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Items
//!
//! Sessions are sentences and items are words: this is item2vec. The window is wide, since the order
//! within a session says little, and nothing is skipped for being popular.
//!
//! ```
//! use refrain_embeddings::{Corpus, Word2Vec};
//!
//! let log = refrain_data::bundled::listening_log(1)?; // simulated
//! let sessions = Corpus::from_interactions(&log, Some(60 * 60))?;
//! let config = Word2Vec { dim: 16, window: 10, epochs: 1, threads: 1, subsample: 0.0, ..Word2Vec::default() };
//! let tunes = config.fit(&sessions)?;
//! let favourite = tunes.vocabulary().word(0).unwrap_or_default();
//! for near in tunes.neighbours(favourite, 5)? {
//!     println!("{:30} {:.3}", near.word, near.similarity);
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Chinese, and your own segmenter
//!
//! A tokenizer is a closure that is given a line and calls `emit` with each token.
//!
//! ```
//! use refrain_embeddings::{Corpus, Word2Vec, tokenize};
//!
//! let poems = refrain_data::bundled::tang_poems()?;
//! let text = poems.iter().map(|p| p.lines.concat()).collect::<Vec<_>>().join("\n");
//! let config = Word2Vec { dim: 24, epochs: 3, threads: 1, ..Word2Vec::default() };
//!
//! let characters = config.fit(&Corpus::from_text(text.as_str(), tokenize::characters))?;
//! assert!(characters.similarity("東", "西")? > characters.similarity("東", "酒")?);
//!
//! // pairs of characters, by a closure of our own
//! let pairs = config.fit(&Corpus::from_text(text.as_str(), |line, emit| {
//!     for verse in line.split(['，', '。']) {
//!         let starts: Vec<usize> = verse.char_indices().map(|(at, _)| at).collect();
//!         for pair in starts.chunks(2) {
//!             let end = pair.last().map_or(0, |&at| at + verse[at..].chars().next().map_or(0, char::len_utf8));
//!             emit(&verse[pair[0]..end]);
//!         }
//!     }
//! }))?;
//! assert!(pairs.vector("明月").is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which model when
//!
//! | model | when |
//! |---|---|
//! | [`Word2Vec::default`], skip-gram | the usual choice for words and items; good for rare ones |
//! | [`Architecture::Cbow`] | several times as fast per epoch, a little behind in analogies |
//! | [`Objective::HierarchicalSoftmax`] | rare words; small corpora |
//! | [`Word2Vec::fast_text`] | words of many forms, misspellings, words never seen |
//! | [`Glove`] | a large corpus, counted once and trained on many times |
//! | [`Word2Vec::fit_documents`] | documents of some length that are to be compared |
//! | [`SentenceVectors`] | short texts, from word vectors that are there |
//! | [`TextClassifier`] | labels of texts, in milliseconds |
//!
//! # Which call when
//!
//! | you have or want | call |
//! |---|---|
//! | text with a sentence a line; books | [`Corpus::from_text`]; [`Corpus::from_paragraphs`] |
//! | files too large for memory, packed or not; a folder of them | [`Corpus::from_files`] |
//! | sentences from your own code | [`Corpus::from_sentences`] once, [`Corpus::from_fn`] as a stream |
//! | listening sessions | [`Corpus::from_interactions`] |
//! | progress, cancelling | [`Word2Vec::fit_with`] |
//! | a GPU | [`Word2Vec::fit_on`] |
//! | epochs one by one, checkpoints, resuming | [`Word2Vec::start`], [`Word2VecTraining`]; [`GloveTraining`]; [`TextClassifierTraining`] |
//! | faster search that finds the same; many questions at once | [`Embeddings::indexed`]; [`Embeddings::nearest_batch`] |
//! | vectors in a quarter of their bytes, or a fiftieth | [`Embeddings::quantized`] |
//! | neighbours among some words only | [`Embeddings::nearest_where`] |
//! | go on with another corpus and its new words | [`Word2VecTraining::extend`], [`GloveTraining::extend`], [`TextClassifierModel::extend`] |
//! | a vector of a word that was never seen | [`Embeddings::embed`] |
//! | arithmetic, analogies, the odd one out | [`Embeddings::combine`], [`Embeddings::analogy`], [`Embeddings::doesnt_match`] |
//! | a picture of some words; of their groups | [`Embeddings::project`]; [`Tsne`] |
//! | two languages, or two trainings, in one space | [`Alignment`] |
//! | vectors of other programs | [`formats`]: word2vec (text, binary), fastText, floret, finalfusion, GloVe, Model2Vec, numpy |
//! | how good they are, what prejudices they hold, which neighbours are chance | [`evaluate`] |
//! | answers in microseconds, some of them missed (feature `hnsw`) | `Approximate` |
//!
//! # Two engines, one config
//!
//! On the CPU windows are small matrix products on vector registers, and threads never race: each
//! trains on its own piece of the corpus and their changes are merged at fixed points, so one
//! (seed, threads) pair gives the same bits on every run. On other devices a step is a tensor
//! program whose cost follows its batch and not the vocabulary. Both are held against a slow
//! reference in 64-bit numbers, and that against finite differences.

mod alignment;
#[cfg(feature = "hnsw")]
mod approximate;
mod classify;
mod corpus;
mod embeddings;
mod encoded;
mod error;
pub mod evaluate;
pub mod formats;
mod glove;
mod projection;
mod quantized;
mod sentence;
pub mod tokenize;
mod tsne;
mod vocabulary;
mod word2vec;

pub use alignment::Alignment;
#[cfg(feature = "hnsw")]
pub use approximate::{Approximate, ApproximateEmbeddings};
pub use classify::{
    ClassificationReport, Example, LabelReport, Prediction, TextClassifier, TextClassifierModel,
    TextClassifierTraining,
};
pub use corpus::Corpus;
pub use embeddings::{Analogy, Embeddings, Neighbour, SubwordHashing, Subwords};
pub use error::{Error, Result};
pub use glove::{Glove, GloveEpoch, GloveTraining};
pub use projection::Projection;
pub use quantized::{Quantization, QuantizedEmbeddings};
pub use sentence::SentenceVectors;
pub use tsne::Tsne;
pub use vocabulary::Vocabulary;
pub use word2vec::{
    Architecture, DocumentVectors, Documents, Engine, EpochReport, Ngrams, Objective, Word2Vec,
    Word2VecTraining,
};
