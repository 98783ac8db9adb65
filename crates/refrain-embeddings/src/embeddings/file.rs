//! Embeddings as a `*.refrain` file: words, counts, vectors and their lengths.

use std::borrow::Cow;
use std::path::Path;

use refrain_core::{Error as CoreError, ModelFile, ModelWriter};

use super::{Embeddings, Vectors};
use crate::{Result, Vocabulary};

const KIND: &str = "embeddings.vectors";
const VERSION: u32 = 1;
const VECTORS: &str = "vectors";

impl Embeddings {
    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let shape = [self.len(), self.dim];
        ModelWriter::new(KIND, VERSION)
            .config(&self.dim)?
            .ids("words", self.vocabulary.ids())?
            .u64("counts", &shape[..1], self.vocabulary.counts())?
            .f32(VECTORS, &shape, self.vectors())?
            .f32("inverse_norms", &shape[..1], &self.inverse_norms[..])?
            .write(path)?;
        Ok(())
    }

    /// Opens a file. The vectors stay in it and are read as they are needed; the words are read now.
    ///
    /// # Errors
    /// When there is none, it is broken, or another model's.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(ModelFile::open(path)?)
    }

    fn from_file(file: ModelFile) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let dim: usize = file.config()?;
        let ids = file.ids("words")?;
        let shape = [ids.len(), dim];
        let counts = file.u64("counts")?.expect_shape("counts", &shape[..1])?;
        let vocabulary = Vocabulary::from_ids(ids, counts.data.into_owned());
        let norms = file
            .f32("inverse_norms")?
            .expect_shape("inverse_norms", &shape[..1])?;
        let inverse_norms = norms.data.into_owned();
        let vectors = match file.f32(VECTORS)?.expect_shape(VECTORS, &shape)?.data {
            Cow::Owned(values) => Some(values),
            Cow::Borrowed(_) => None,
        };
        if dim == 0 {
            let reason = "vectors of length 0".to_string();
            return Err(CoreError::ModelFile {
                origin: file.origin().to_string(),
                reason,
            }
            .into());
        }
        let vectors = vectors.map_or_else(|| Vectors::Mapped(file), Vectors::Owned);
        Ok(Self {
            vocabulary,
            dim,
            vectors,
            inverse_norms,
        })
    }
}

/// The vectors of a file that was checked when it was opened.
pub(super) fn mapped(file: &ModelFile) -> &[f32] {
    match file.f32(VECTORS) {
        Ok(array) => match array.data {
            Cow::Borrowed(values) => values,
            Cow::Owned(_) => &[],
        },
        Err(_) => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.refrain");
        let vocabulary = Vocabulary::from_counts([("the", 9), ("猫", 4), ("", 1)]).unwrap();
        let values = vec![1.0, 2.0, 0.0, 0.0, -1.5, 0.25];
        let words = Embeddings::new(vocabulary, 2, values).unwrap();
        words.save(&path).unwrap();
        let again = Embeddings::load(&path).unwrap();
        assert!(matches!(again.vectors, Vectors::Mapped(_)));
        assert_eq!(again.vocabulary(), words.vocabulary());
        assert_eq!(again.vectors(), words.vectors());
        assert_eq!(
            again.neighbours("the", 2).unwrap(),
            words.neighbours("the", 2).unwrap()
        );
        assert_eq!(again.clone().vector("猫"), Some(&[0.0, 0.0][..]));
    }

    #[test]
    fn other_files_are_refused() {
        let bytes = |w: ModelWriter<'_>| ModelFile::from_bytes(w.to_bytes().unwrap()).unwrap();
        let none = refrain_core::IdMap::new();
        let other = ModelWriter::new("recommenders.als", 1);
        assert!(Embeddings::from_file(bytes(other)).is_err());
        let empty = ModelWriter::new(KIND, VERSION)
            .config(&0usize)
            .and_then(|w| w.ids("words", &none))
            .and_then(|w| w.u64("counts", &[0], vec![]))
            .and_then(|w| w.f32(VECTORS, &[0, 0], vec![]))
            .and_then(|w| w.f32("inverse_norms", &[0], vec![]))
            .unwrap();
        assert!(
            Embeddings::from_file(bytes(empty))
                .unwrap_err()
                .to_string()
                .contains("length 0")
        );
        let short = ModelWriter::new(KIND, VERSION)
            .config(&2usize)
            .and_then(|w| w.ids("words", &refrain_core::IdMap::from_ids(["a"])?))
            .and_then(|w| w.u64("counts", &[1], vec![3]))
            .and_then(|w| w.f32(VECTORS, &[1, 1], vec![1.0]))
            .and_then(|w| w.f32("inverse_norms", &[1], vec![1.0]))
            .unwrap();
        assert!(
            Embeddings::from_file(bytes(short))
                .unwrap_err()
                .to_string()
                .contains("vectors")
        );
    }
}
