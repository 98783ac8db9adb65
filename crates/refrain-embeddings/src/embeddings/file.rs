//! Embeddings as a `*.refrain` file: words, counts, vectors and their lengths, and the rows of
//! n-grams if there are any.

use std::path::Path;

use refrain_core::{Error as CoreError, ModelFile, ModelWriter, Values};

use super::codes::Codes;
use super::{Embeddings, SubwordHashing, Subwords};
use crate::{Result, Vocabulary};

const KIND: &str = "embeddings.vectors";
/// Version 2 names the hashing of n-grams beside the length of vectors. Where it is fastText's, or there
/// are no n-grams, version 1 is written.
const VERSION: u32 = 2;
const VECTORS: &str = "vectors";
const NORMS: &str = "inverse_norms";
const CODES: &str = "codes";
const SCALES: &str = "code_scales";
const ERRORS: &str = "code_errors";
const NGRAMS: &str = "ngrams";
const LENGTHS: &str = "ngram_lengths";
const KEPT: &str = "ngrams_kept";

impl Embeddings {
    /// Words whose vectors are in a file, and the inverses of their lengths; both are trusted.
    pub(crate) fn from_values(
        vocabulary: Vocabulary,
        dim: usize,
        vectors: Values,
        inverse_norms: Vec<f32>,
    ) -> Self {
        debug_assert_eq!(vocabulary.len() * dim, vectors.len());
        Self {
            vocabulary,
            dim,
            vectors,
            inverse_norms: Values::Owned(inverse_norms),
            codes: None,
            subwords: None,
        }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.writer()?.write(path)?)
    }

    fn writer(&self) -> Result<ModelWriter<'_>> {
        let shape = [self.len(), self.dim];
        let hashing = self.subwords.as_ref().map(Subwords::hashing);
        let writer = match hashing {
            None | Some(SubwordHashing::FastText) => ModelWriter::new(KIND, 1).config(&self.dim)?,
            Some(hashing) => ModelWriter::new(KIND, VERSION).config(&(self.dim, hashing))?,
        };
        let mut writer = writer
            .ids_in_place("words", self.vocabulary.ids())?
            .u64("counts", &shape[..1], self.vocabulary.counts())?
            .f32(VECTORS, &shape, self.vectors())?
            .f32(NORMS, &shape[..1], &self.inverse_norms[..])?;
        if let Some(codes) = &self.codes {
            writer = writer
                .u8(CODES, &shape, &codes.codes[..])?
                .f32(SCALES, &shape[..1], &codes.scales[..])?
                .f32(ERRORS, &shape[..1], &codes.errors[..])?;
        }
        if let Some(subwords) = &self.subwords {
            let lengths = subwords.lengths();
            let numbers = [*lengths.start(), *lengths.end(), subwords.buckets()];
            let rows = subwords.values().len() / self.dim.max(1);
            writer = writer
                .u64(LENGTHS, &[3], numbers.map(|n| n as u64).to_vec())?
                .f32(NGRAMS, &[rows, self.dim], subwords.values())?;
            if let Some(kept) = subwords.kept() {
                let kept: Vec<u64> = kept.iter().map(|&bucket| bucket.into()).collect();
                writer = writer.u64(KEPT, &[kept.len()], kept)?;
            }
        }
        Ok(writer)
    }

    /// Opens a file. Words and vectors stay in it and are read as they are needed, so that opening takes no
    /// longer for more of them; only files of earlier versions have their words read now. It must not be
    /// changed in place meanwhile; replacing it is safe.
    ///
    /// # Errors
    /// When there is none, its parts do not fit one another, or it is another model's. Words are not looked
    /// at: in a file that was damaged some may be unknown or empty.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(ModelFile::open(path)?)
    }

    fn from_file(file: ModelFile) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let (dim, hashing): (usize, _) = match file.version() {
            1 => (file.config()?, SubwordHashing::FastText),
            _ => file.config()?,
        };
        let ids = file.ids_in_place("words")?;
        let shape = [ids.len(), dim];
        let counts = file.u64("counts")?.expect_shape("counts", &shape[..1])?;
        let vocabulary = Vocabulary::from_ids(ids, file.keep(counts.data));
        let origin = file.origin().to_string();
        let broken = |reason: &str| CoreError::ModelFile {
            origin: origin.clone(),
            reason: reason.to_string(),
        };
        if dim == 0 {
            return Err(broken("vectors of length 0").into());
        }
        let floats = |name: &str, shape: &[usize]| -> Result<Values> {
            Ok(file.keep(file.f32(name)?.expect_shape(name, shape)?.data))
        };
        let vectors = floats(VECTORS, &shape)?;
        let inverse_norms = floats(NORMS, &shape[..1])?;
        let has = |wanted: &str| file.names().any(|name| name == wanted);
        let subwords = match has(NGRAMS) {
            false => None,
            true => {
                let numbers = file.u64(LENGTHS)?.expect_shape(LENGTHS, &[3])?.data;
                let number = |i: usize| numbers.get(i).map_or(0, |&n| n as usize);
                let [rows, _] = file.f32(NGRAMS)?.shape[..] else {
                    return Err(broken("ngrams: expected rows and columns").into());
                };
                let values = floats(NGRAMS, &[rows, dim])?;
                let kept = match has(KEPT) {
                    false => None,
                    true => {
                        let kept = file.u64(KEPT)?.expect_shape(KEPT, &[rows])?.data;
                        let kept = kept.iter().map(|&n| u32::try_from(n).unwrap_or(u32::MAX));
                        Some((number(2), kept.collect()))
                    }
                };
                let lengths = number(0)..=number(1);
                Some(Subwords::from_values(lengths, dim, values, kept, hashing)?)
            }
        };
        let codes = match has(CODES) {
            false => None,
            true => Some(Codes {
                codes: file.keep(file.u8(CODES)?.expect_shape(CODES, &shape)?.data),
                scales: floats(SCALES, &shape[..1])?,
                errors: floats(ERRORS, &shape[..1])?,
            }),
        };
        Ok(Self {
            vocabulary,
            dim,
            vectors,
            inverse_norms,
            codes,
            subwords,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        assert!(matches!(again.vectors, Values::Mapped(..)));
        assert_eq!(again.vocabulary(), words.vocabulary());
        assert_eq!(again.vectors(), words.vectors());
        assert_eq!(
            again.neighbours("the", 2).unwrap(),
            words.neighbours("the", 2).unwrap()
        );
        assert_eq!(again.clone().vector("猫"), Some(&[0.0, 0.0][..]));
        assert_eq!(again.subwords(), None);

        let ngrams = Subwords::new(2..=4, 2, (0..14).map(|i| i as f32).collect()).unwrap();
        let words = words.with_subwords(ngrams).unwrap();
        words.save(&path).unwrap();
        let again = Embeddings::load(&path).unwrap();
        assert_eq!(again.subwords(), words.subwords());
        assert_eq!(again.embed("thee"), words.embed("thee"));
        assert!(words.embed("thee").is_some());

        let ngrams = Subwords::pruned(2..=4, 2, vec![1.0, 2.0, 3.0, 4.0], 9, vec![2, 7]).unwrap();
        let words = words.with_subwords(ngrams).unwrap();
        words.save(&path).unwrap();
        assert_eq!(
            Embeddings::load(&path).unwrap().subwords(),
            words.subwords()
        );

        // Words of others' n-grams, of which a file of version 1 could not tell.
        let floret = SubwordHashing::Floret {
            hashes: 3,
            seed: 7,
            begin: "[".to_string(),
            end: "]".to_string(),
        };
        for (hashing, version) in [
            (SubwordHashing::FastText, 1),
            (SubwordHashing::Finalfusion, 2),
            (floret, 2),
        ] {
            let values = (0..14).map(|i| i as f32).collect();
            let ngrams = Subwords::hashed(2..=4, 2, values, hashing).unwrap();
            let words = Embeddings::from_subwords(ngrams, ["the", "猫"]).unwrap();
            words.save(&path).unwrap();
            let again = Embeddings::load(&path).unwrap();
            assert_eq!(again.subwords(), words.subwords());
            assert_eq!(again.vectors(), words.vectors());
            assert_eq!(again.embed("thee"), words.embed("thee"));
            assert_eq!(ModelFile::open(&path).unwrap().version(), version);
        }
    }

    /// Words stay in the file, and what needs them in memory reads them.
    #[test]
    fn words_stay_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.refrain");
        let count = 3000;
        let names = (0..count).map(|i| (format!("w{i}"), u64::from(2 * count - i)));
        let values: Vec<f32> = (0..2 * count).map(|i| (i * i % 97) as f32 - 40.0).collect();
        let words = Embeddings::new(Vocabulary::from_counts(names).unwrap(), 2, values).unwrap();
        words.save(&path).unwrap();
        let again = Embeddings::load(&path).unwrap();
        assert_eq!(again.vocabulary(), words.vocabulary());
        for i in (0..2 * count).step_by(7) {
            let word = format!("w{i}");
            assert_eq!(again.vector(&word), words.vector(&word));
            assert_eq!(again.vocabulary().get(&word), words.vocabulary().get(&word));
        }
        let near = again.neighbours("w17", 5).unwrap();
        assert_eq!(near, words.neighbours("w17", 5).unwrap());
        let few = again.most_frequent(10).unwrap();
        assert_eq!(
            few.vocabulary(),
            words.most_frequent(10).unwrap().vocabulary()
        );
        let other = Vocabulary::from_counts([("new", 1), ("w3", 1)]).unwrap();
        let more = again.vocabulary().extended(&other).unwrap();
        assert_eq!(more, words.vocabulary().extended(&other).unwrap());
        assert_eq!(more.get("new"), Some(count));
        let copy = folder.path().join("copy.refrain");
        again.save(&copy).unwrap();
        assert_eq!(std::fs::read(copy).unwrap(), std::fs::read(&path).unwrap());

        // As it was written before there were slots.
        let shape = [count as usize, 2];
        let writer = ModelWriter::new(KIND, 1)
            .config(&2usize)
            .and_then(|w| w.ids("words", words.vocabulary().ids()))
            .and_then(|w| w.u64("counts", &shape[..1], words.vocabulary().counts()))
            .and_then(|w| w.f32(VECTORS, &shape, words.vectors()))
            .and_then(|w| w.f32(NORMS, &shape[..1], &words.inverse_norms[..]));
        writer.unwrap().write(&path).unwrap();
        let old = Embeddings::load(&path).unwrap();
        assert_eq!(old.vocabulary(), words.vocabulary());
        assert_eq!(old.neighbours("w17", 5).unwrap(), near);
    }

    proptest! {
        #[test]
        fn hostile_files_never_panic(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            coded in any::<bool>(),
        ) {
            let names = ["the", "猫", "", "of", "a"];
            let vectors = (0..5).map(|i| [i as f32, 1.0, -0.5]);
            let words = Embeddings::from_vectors(names.iter().zip(vectors)).unwrap();
            let ngrams = Subwords::new(2..=3, 3, vec![0.5; 6]).unwrap();
            let words = words.with_subwords(ngrams).unwrap();
            let words = if coded { words.indexed() } else { words };
            let mut bytes = words.writer().unwrap().to_bytes().unwrap();
            for (at, value) in &edits {
                let at = at.index(bytes.len());
                bytes[at] = *value;
            }
            let words = ModelFile::from_bytes(bytes).map(Embeddings::from_file);
            if let Ok(Ok(words)) = words {
                for name in names {
                    if let Some(id) = words.vocabulary().get(name) {
                        prop_assert_eq!(words.vocabulary().word(id), Some(name));
                    }
                    let _ = words.neighbours(name, 3);
                    let _ = words.embed(name);
                }
                prop_assert_eq!(words.iter().count(), words.len());
                let _ = (words.folded(), words.most_frequent(3), words.writer());
                let _ = words.neighbours_batch(&["the", "猫"], 2);
                let other = Vocabulary::from_counts([("new", 1)]).unwrap();
                let _ = words.vocabulary().extended(&other);
            }
        }
    }

    #[test]
    fn other_files_are_refused() {
        let bytes = |w: ModelWriter<'_>| ModelFile::from_bytes(w.to_bytes().unwrap()).unwrap();
        let none = refrain_core::IdMap::new();
        let other = ModelWriter::new("recommenders.als", 1);
        assert!(Embeddings::from_file(bytes(other)).is_err());
        let empty = ModelWriter::new(KIND, 1)
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
        let short = ModelWriter::new(KIND, 1)
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
