//! Where the examples of a run lie: in memory, or in a file that is read as they are drawn.

use std::borrow::Borrow;
use std::fmt;
use std::path::{Path, PathBuf};

use refrain_core::MappedFile;
use serde::de::DeserializeOwned;

use crate::{Error, Result};

/// Examples by number, for a [`Trainer`](crate::Trainer) to draw: a slice, a vector or an array in memory,
/// [`JsonLines`] in a file, or a source of your own (a database, a folder of recordings).
///
/// Training reads each once when it begins, for its length, and then those of a step; it keeps two numbers
/// of each. A number must give the same example each time.
pub trait Examples<E> {
    /// An example while it is used: borrowed from memory, or made for the while.
    type Held<'a>: Borrow<E>
    where
        Self: 'a;

    /// How many there are.
    fn count(&self) -> usize;

    /// The example of this number, which is less than [`count`](Self::count).
    ///
    /// # Errors
    /// When it cannot be read; that ends the run.
    fn example(&self, number: usize) -> Result<Self::Held<'_>>;
}

impl<E> Examples<E> for [E] {
    type Held<'a>
        = &'a E
    where
        E: 'a;

    fn count(&self) -> usize {
        self.len()
    }

    fn example(&self, number: usize) -> Result<&E> {
        self.get(number).ok_or_else(|| missing(number, self.len()))
    }
}

impl<E> Examples<E> for Vec<E> {
    type Held<'a>
        = &'a E
    where
        E: 'a;

    fn count(&self) -> usize {
        self.len()
    }

    fn example(&self, number: usize) -> Result<&E> {
        self.as_slice().example(number)
    }
}

impl<E, const N: usize> Examples<E> for [E; N] {
    type Held<'a>
        = &'a E
    where
        E: 'a;

    fn count(&self) -> usize {
        N
    }

    fn example(&self, number: usize) -> Result<&E> {
        self.as_slice().example(number)
    }
}

/// Examples behind a reference or a pointer.
macro_rules! behind {
    ($pointer:ty) => {
        impl<E, X: Examples<E> + ?Sized> Examples<E> for $pointer {
            type Held<'a>
                = X::Held<'a>
            where
                Self: 'a;

            fn count(&self) -> usize {
                (**self).count()
            }

            fn example(&self, number: usize) -> Result<Self::Held<'_>> {
                (**self).example(number)
            }
        }
    };
}

behind!(&X);
behind!(Box<X>);
behind!(std::sync::Arc<X>);

fn missing(number: usize, found: usize) -> Error {
    Error::TooShort {
        what: format!("examples, of which number {number} is asked for"),
        needed: number.saturating_add(1),
        found,
    }
}

/// Records in a file of [JSON Lines](https://jsonlines.org): a record in each line, from which a function
/// makes the example whenever it is drawn. The file is mapped, and eight bytes for each line are in memory.
///
/// The file must not be changed while it is open; replacing it is safe.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("reviews.jsonl");
/// # std::fs::write(&path, r#"{"text": "a fine film", "label": "good"}
/// # {"text": "a dull film", "label": "bad"}
/// # "#.repeat(4)).unwrap();
/// use refrain_sequence::{
///     Examples, JsonLines, Sentence, SentenceClassifier, SentenceConfig, Trainer,
/// };
/// use serde::Deserialize;
///
/// #[derive(Deserialize)]
/// struct Review { text: String, label: String }
///
/// // {"text": "a fine film", "label": "good"}
/// let labelled = |review: Review| {
///     Ok((Sentence::new(review.text.split(' ')), review.label))
/// };
/// let reviews = JsonLines::open(&path, labelled)?;
/// // A model learns words and labels from what it is given first: here all, else the first so many.
/// let known = (0..reviews.count()).map(|i| reviews.example(i)).collect::<Result<Vec<_>, _>>()?;
/// let config = SentenceConfig { word_width: 8, filters: 0, ..SentenceConfig::default() };
/// let model = SentenceClassifier::new(&config, &known, 0, &refrain_core::device("cpu")?)?;
///
/// let encoded = JsonLines::open(&path, |review| model.example(&labelled(review)?))?;
/// let trainer = Trainer { steps: 100, batch: 2, learning_rate: 1e-2, warm_up: 5, ..Trainer::default() };
/// let trained = trainer.fit_module(&model, &encoded, &[])?;
/// let judged = trained.model.classify(&[Sentence::new(["a", "fine", "film"])])?;
/// assert_eq!(judged[0][0].label, "good");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct JsonLines<'m, E> {
    path: PathBuf,
    file: MappedFile,
    /// Where each line that is not empty begins.
    begins: Vec<u64>,
    make: Make<'m, E>,
}

/// Makes an example of a line.
type Make<'m, E> = Box<dyn Fn(&[u8]) -> Result<E, String> + Send + Sync + 'm>;

impl<E> fmt::Debug for JsonLines<'_, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JsonLines")
            .field("path", &self.path)
            .field("lines", &self.begins.len())
            .finish()
    }
}

impl<'m, E> JsonLines<'m, E> {
    /// Maps a file and finds its lines; empty ones are none. `make` is asked for an example each time that
    /// its line is drawn.
    ///
    /// # Errors
    /// When the file cannot be opened. A line that does not fit is told when it is read:
    /// [`Error::Line`] names it.
    pub fn open<R: DeserializeOwned>(
        path: impl AsRef<Path>,
        make: impl Fn(R) -> Result<E> + Send + Sync + 'm,
    ) -> Result<Self> {
        let path = path.as_ref();
        let file = std::fs::metadata(path).map_err(|e| refrain_core::Error::io(path, e))?;
        if !file.is_file() {
            let reason = "is no file that can be mapped";
            return Err(Error::file(&path.display().to_string(), reason));
        }
        let file = match file.len() {
            0 => MappedFile::from(Vec::new()), // There is nothing to map.
            _ => MappedFile::open(path)?,
        };
        let mark = b"\xef\xbb\xbf"; // Some programs begin a file with it.
        let mut at = if file.starts_with(mark) { 3 } else { 0 };
        let mut begins = Vec::new();
        for line in file.get(at..).unwrap_or_default().split(|&b| b == b'\n') {
            if !line.trim_ascii().is_empty() {
                begins.push(at as u64);
            }
            at += line.len() + 1;
        }
        let make = move |line: &[u8]| {
            let record = serde_json::from_slice(line).map_err(|e| {
                let (told, column) = (e.to_string(), e.column());
                let reason = told.split(" at line ").next().unwrap_or_default();
                format!("column {column}: {reason}")
            })?;
            make(record).map_err(|e| e.to_string())
        };
        Ok(Self {
            path: path.to_path_buf(),
            file,
            begins,
            make: Box::new(make),
        })
    }
}

impl<E> Examples<E> for JsonLines<'_, E> {
    type Held<'a>
        = E
    where
        Self: 'a;

    fn count(&self) -> usize {
        self.begins.len()
    }

    fn example(&self, number: usize) -> Result<E> {
        let begin = self.begins.get(number).map(|&begin| begin as usize);
        let begin = begin.ok_or_else(|| missing(number, self.begins.len()))?;
        let rest = self.file.get(begin..).unwrap_or_default();
        let line = rest.split(|&b| b == b'\n').next().unwrap_or_default();
        (self.make)(line.trim_ascii()).map_err(|reason| {
            let before = self.file.get(..begin).unwrap_or_default();
            Error::Line {
                file: self.path.clone(),
                line: 1 + before.iter().filter(|&&b| b == b'\n').count(),
                reason,
            }
        })
    }
}
