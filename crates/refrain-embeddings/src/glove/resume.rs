//! Going on: from a checkpoint, and with another corpus.

use std::path::Path;

use refrain_core::{ModelFile, ModelWriter, Monitor};

use super::Glove;
use super::step::Layout;
use super::training::GloveTraining;
use crate::encoded::Encoded;
use crate::{Corpus, Error, Result, Vocabulary};

const KIND: &str = "embeddings.glove_training";
const VERSION: u32 = 1;

impl GloveTraining {
    /// Goes on with another corpus for `epochs` more epochs, from the vectors so far and the learning rates
    /// that AdaGrad gave them. Words of the new corpus that occur [`Glove::min_count`] times in it are added
    /// behind those that are known, and counts add up. The pairs are those of the new corpus alone.
    ///
    /// ```
    /// use refrain_core::Monitor;
    /// use refrain_embeddings::{Corpus, Glove};
    /// let first = Corpus::from_fn(|| (0..50).map(|_| ["red", "green", "blue"]));
    /// let second = Corpus::from_fn(|| (0..50).map(|_| ["red", "green", "violet"]));
    /// let monitor = Monitor::silent();
    /// let config = Glove { dim: 8, epochs: 3, threads: 1, ..Glove::default() };
    /// let mut training = config.start(&first, &monitor)?;
    /// while !training.is_finished() {
    ///     training.epoch(&first, &monitor)?;
    /// }
    /// let mut training = training.extend(&second, 2, &monitor)?;
    /// while !training.is_finished() {
    ///     training.epoch(&second, &monitor)?;
    /// }
    /// assert!(training.finish()?.vector("violet").is_some());
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Glove::start`], and [`Error::Interrupted`].
    pub fn extend(self, corpus: &Corpus<'_>, epochs: usize, monitor: &Monitor) -> Result<Self> {
        self.check_whole()?;
        let config = Glove {
            epochs,
            ..self.config.clone()
        };
        config.validate()?;
        let (vocabulary, encoded, seen) = Encoded::extend(
            corpus,
            &self.vocabulary,
            config.min_count,
            config.cache_tokens,
        )?;
        let mut training = Self::begin(config, vocabulary, seen, corpus, &encoded, monitor)?;
        // Words keep their numbers, and so their places in the groups.
        for (new, old) in [
            (&mut training.words, &self.words),
            (&mut training.contexts, &self.contexts),
        ] {
            for (new, old) in new.iter_mut().zip(old) {
                new[..old.len()].copy_from_slice(old);
            }
        }
        Ok(training)
    }

    /// Writes a checkpoint: the config, the words, both tables and how many epochs are done, not the
    /// pairs.
    ///
    /// # Errors
    /// When an epoch was interrupted, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check_whole()?;
        let shape = [self.vocabulary.len(), self.layout.stride()];
        let table = |groups: &[Vec<f32>]| -> Vec<f32> {
            let rows = (0..shape[0]).flat_map(|word| self.row(groups, word));
            rows.copied().collect()
        };
        // JSON need not keep the last bit of a number; a resume must.
        let reals = [
            self.config.x_max,
            self.config.alpha,
            self.config.learning_rate,
        ];
        let bits = |values: &[f64]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        ModelWriter::new(KIND, VERSION)
            .config(&self.config)?
            .u64("reals", &[reals.len()], bits(&reals))?
            .u64("losses", &[self.losses.len()], bits(&self.losses))?
            .ids("words", self.vocabulary.ids())?
            .u64("counts", &shape[..1], self.vocabulary.counts())?
            .u64("seen", &shape[..1], &self.seen[..])?
            .f32("word_rows", &shape, table(&self.words))?
            .f32("context_rows", &shape, table(&self.contexts))?
            .write(path)?;
        Ok(())
    }

    /// Reads a checkpoint. Training goes on with [`GloveTraining::epoch`] on the same corpus, which is
    /// counted again, and gives the same bits as if it had never stopped. [`Glove::folder`] is not part
    /// of it: see [`GloveTraining::spill_to`].
    ///
    /// # Errors
    /// When the file is none, or broken.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let mut config: Glove = file.config()?;
        let reals = file.u64("reals")?.expect_shape("reals", &[3])?;
        let fields = [
            &mut config.x_max,
            &mut config.alpha,
            &mut config.learning_rate,
        ];
        for (field, &bits) in fields.into_iter().zip(reals.data.iter()) {
            *field = f64::from_bits(bits);
        }
        config.validate()?;
        config.threads = config.threads.max(1);
        let losses = file.u64("losses")?.data;
        let ids = file.ids("words")?;
        let layout = Layout::new(config.dim);
        let shape = [ids.len(), layout.stride()];
        let counts = file.u64("counts")?.expect_shape("counts", &shape[..1])?;
        let counts = counts.data.into_owned();
        // Once a corpus was all there was to count.
        let seen = match file.names().any(|name| name == "seen") {
            true => {
                let seen = file.u64("seen")?.expect_shape("seen", &shape[..1])?;
                seen.data.into_owned()
            }
            false => counts.clone(),
        };
        let table = |name: &str| {
            let rows = file.f32(name)?.expect_shape(name, &shape)?.data;
            let mut groups = vec![Vec::new(); config.threads];
            for (word, row) in rows.chunks(layout.stride()).enumerate() {
                groups[word % config.threads].extend_from_slice(row);
            }
            Ok::<_, Error>(groups)
        };
        let (words, contexts) = (table("word_rows")?, table("context_rows")?);
        Ok(Self {
            config,
            vocabulary: Vocabulary::from_ids(ids, counts),
            layout,
            words,
            contexts,
            cells: None,
            seen,
            losses: losses.iter().map(|&bits| f64::from_bits(bits)).collect(),
            interrupted: false,
        })
    }

    /// Names the folder for pairs that do not fit the memory when they are counted again.
    pub fn spill_to(&mut self, folder: impl Into<std::path::PathBuf>) {
        self.config.folder = Some(folder.into());
    }
}
