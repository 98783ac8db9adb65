//! Training step by step, as a file between epochs, and with more examples.

use std::path::Path;
use std::time::Instant;

use rand::seq::SliceRandom;
use refrain_core::rng::stream;
use refrain_core::{ModelFile, ModelWriter, Monitor};

use super::model::Work;
use super::{Example, TextClassifier, TextClassifierModel};
use crate::{EpochReport, Error, Result};

const KIND: &str = "embeddings.classifier_training";
const VERSION: u32 = 1;
/// Examples between two reports.
const STEP: usize = 1024;

/// A classifier between epochs: run the next one, look at the model so far, save, resume.
///
/// ```
/// use refrain_core::Monitor;
/// use refrain_embeddings::{Example, TextClassifier, TextClassifierTraining};
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("checkpoint.refrain");
/// let examples: Vec<Example> = (0..60)
///     .map(|i| match i % 2 {
///         0 => Example::new("sea", ["the", "whale", "swam"]),
///         _ => Example::new("land", ["the", "horse", "ran"]),
///     })
///     .collect();
/// let monitor = Monitor::silent();
/// let config = TextClassifier { dim: 8, epochs: 3, buckets: 100, ..TextClassifier::default() };
///
/// let mut training = config.start(&examples)?;
/// training.epoch(&examples, &monitor)?;
/// training.save(&path)?;
///
/// // another day
/// let mut training = TextClassifierTraining::load(&path)?;
/// while !training.is_finished() {
///     let report = training.epoch(&examples, &monitor)?;
///     println!("epoch {}: loss {:.4}", report.epoch, report.loss);
/// }
/// assert_eq!(training.finish()?, config.fit(&examples)?);
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug)]
pub struct TextClassifierTraining {
    model: TextClassifierModel,
    /// The examples in numbers; made again after a resume.
    texts: Option<Vec<Text>>,
    /// What [`amounts`] says of the examples.
    amounts: [u64; 3],
    losses: Vec<f64>,
    interrupted: bool,
}

/// An example in numbers.
#[derive(Debug)]
struct Text {
    rows: Vec<u32>,
    labels: Vec<u32>,
    /// Known words.
    tokens: u64,
}

impl TextClassifier {
    /// Counts words and labels and draws the first rows; the caller runs the epochs.
    ///
    /// # Errors
    /// As [`TextClassifier::fit`].
    pub fn start(&self, examples: &[Example]) -> Result<TextClassifierTraining> {
        TextClassifierTraining::new(self.begin(examples)?, examples)
    }
}

impl TextClassifierModel {
    /// Goes on with other examples for `epochs` epochs, from what was learnt so far, with the learning rate
    /// back at its first value. Words of these examples that occur [`TextClassifier::min_count`] times in
    /// them, and their labels, are added behind those that are known.
    ///
    /// What only the old examples had is forgotten little by little: mix some of them among the new ones.
    ///
    /// ```
    /// use refrain_core::Monitor;
    /// use refrain_embeddings::{Example, TextClassifier};
    /// let old = vec![Example::new("sea", ["whale"]), Example::new("land", ["horse"])];
    /// let new = vec![Example::new("air", ["heron"]), Example::new("sea", ["seal"])];
    /// let model = TextClassifier { dim: 8, buckets: 100, ..TextClassifier::default() }.fit(&old)?;
    /// let mut training = model.extend(&new, 20)?;
    /// while !training.is_finished() {
    ///     training.epoch(&new, &Monitor::silent())?;
    /// }
    /// assert_eq!(training.finish()?.predict(&["heron"], 1)[0].label, "air");
    /// # Ok::<(), refrain_embeddings::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`TextClassifier::fit`].
    pub fn extend(self, examples: &[Example], epochs: usize) -> Result<TextClassifierTraining> {
        let mut config = self.config;
        config.epochs = epochs;
        config.validate()?;
        let (known, dim) = (self.words.len(), config.dim);
        let (words, labels) = config.names(examples, self.words, self.labels)?;
        let mut inputs = config.first_rows(words.len());
        let (rows, hashed) = self.inputs.split_at(known * dim);
        inputs[..rows.len()].copy_from_slice(rows);
        inputs[words.len() * dim..].copy_from_slice(hashed);
        let mut outputs = self.outputs;
        outputs.resize(labels.len() * dim, 0.0);
        let model = Self {
            config,
            words,
            labels,
            inputs,
            outputs,
        };
        TextClassifierTraining::new(model, examples)
    }
}

impl TextClassifierTraining {
    fn new(model: TextClassifierModel, examples: &[Example]) -> Result<Self> {
        let texts = encode(&model, examples)?;
        Ok(Self {
            model,
            amounts: amounts(&texts),
            texts: Some(texts),
            losses: Vec::new(),
            interrupted: false,
        })
    }

    /// The settings.
    pub fn config(&self) -> &TextClassifier {
        self.model.config()
    }

    /// The mean loss of a text in each epoch so far.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// Whether all epochs are done.
    pub fn is_finished(&self) -> bool {
        self.losses.len() >= self.config().epochs
    }

    /// Trains one epoch. Once all are done it does nothing but repeat the last loss. After a
    /// [resume](Self::load) the examples are those that training began with, in their order.
    ///
    /// # Errors
    /// Cancellation, [`Error::Diverged`]; after a resume [`Error::CorpusChanged`] for other numbers of words,
    /// [`Error::Labels`] and [`Error::ExamplesChanged`] for other examples or another order. After an error
    /// the epoch is half done: go back to the last checkpoint.
    pub fn epoch(&mut self, examples: &[Example], monitor: &Monitor) -> Result<EpochReport> {
        self.check_whole()?;
        let began = Instant::now();
        let mut tokens = 0;
        if !self.is_finished() {
            let texts = match self.texts.take() {
                Some(texts) => texts,
                None => self.encode_again(examples)?,
            };
            self.interrupted = true;
            let loss = self.pass(&texts, monitor)?;
            self.losses.push(loss);
            self.interrupted = false;
            self.texts = Some(texts);
            tokens = self.amounts[1];
        }
        Ok(EpochReport {
            epoch: self.losses.len(),
            loss: self.losses.last().copied().unwrap_or_default(),
            tokens,
            tokens_per_second: tokens as f64 / began.elapsed().as_secs_f64().max(1e-9),
        })
    }

    /// One step for each text, in an order drawn for this epoch; the mean loss.
    fn pass(&mut self, texts: &[Text], monitor: &Monitor) -> Result<f64> {
        let (epoch, config) = (self.losses.len(), self.model.config.clone());
        let title = format!("classifier, epoch {}/{}", epoch + 1, config.epochs);
        let stage = monitor.start(title, Some(texts.len() as u64));
        let total = (texts.len() * config.epochs) as f64;
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.shuffle(&mut stream(config.seed, (1 << 40) + epoch as u64));
        let mut work = Work::default();
        let began = Instant::now();
        let (mut loss, mut told, mut tokens, mut done) = (0.0, 0u64, 0, 0);
        for chunk in order.chunks(STEP) {
            for &at in chunk {
                let past = (epoch * texts.len() + done) as f64;
                let rate = (config.learning_rate * (1.0 - past / total)) as f32;
                let text = &texts[at];
                if let Some(own) = self.model.step(&text.rows, &text.labels, rate, &mut work) {
                    (loss, told) = (loss + f64::from(own), told + 1);
                }
                (tokens, done) = (tokens + text.tokens, done + 1);
            }
            let speed = tokens as f64 / began.elapsed().as_secs_f64().max(1e-9) / 1e3;
            let mean = loss / told.max(1) as f64;
            let message = format_args!("{speed:.0}k words/s, loss {mean:.4}");
            stage.advance(chunk.len() as u64, message)?;
        }
        let loss = loss / told.max(1) as f64;
        match loss.is_finite() {
            true => Ok(loss),
            false => Err(Error::Diverged {
                loss,
                step: ((epoch + 1) * texts.len()) as u64,
                epoch: epoch + 1,
            }),
        }
    }

    fn encode_again(&self, examples: &[Example]) -> Result<Vec<Text>> {
        let texts = encode(&self.model, examples)?;
        let found = amounts(&texts);
        match found == self.amounts {
            true => Ok(texts),
            false if found[1] == self.amounts[1] => Err(Error::ExamplesChanged),
            false => Err(Error::CorpusChanged {
                expected: self.amounts[1],
                found: found[1],
            }),
        }
    }

    fn check_whole(&self) -> Result<()> {
        match self.interrupted {
            true => Err(Error::Interrupted {
                epoch: self.losses.len() + 1,
            }),
            false => Ok(()),
        }
    }

    /// The model so far.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn model(&self) -> Result<&TextClassifierModel> {
        self.check_whole()?;
        Ok(&self.model)
    }

    /// The model; epochs that are left are left out.
    ///
    /// # Errors
    /// [`Error::Interrupted`].
    pub fn finish(self) -> Result<TextClassifierModel> {
        self.check_whole()?;
        Ok(self.model)
    }

    /// Writes a checkpoint: the model and how many epochs are done, not the examples.
    ///
    /// # Errors
    /// When an epoch was interrupted, or the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.check_whole()?;
        let losses: Vec<u64> = self.losses.iter().map(|loss| loss.to_bits()).collect();
        let writer = ModelWriter::new(KIND, VERSION)
            .u64("losses", &[losses.len()], losses)?
            .u64("amounts", &[3], &self.amounts[..])?;
        Ok(self.model.fill(writer)?.write(path)?)
    }

    /// Reads a checkpoint. Training goes on with [`epoch`](Self::epoch) on the same examples, and gives the
    /// same bits as if it had never stopped.
    ///
    /// # Errors
    /// When the file is none, or broken.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let file = ModelFile::open(path)?;
        file.expect(KIND, VERSION)?;
        let losses = file.u64("losses")?.data;
        let amounts = file.u64("amounts")?.expect_shape("amounts", &[3])?.data;
        let amount = |at: usize| amounts.get(at).copied().unwrap_or_default();
        Ok(Self {
            model: TextClassifierModel::from_file(&file)?,
            texts: None,
            amounts: [0, 1, 2].map(amount),
            losses: losses.iter().map(|&bits| f64::from_bits(bits)).collect(),
            interrupted: false,
        })
    }
}

/// Examples in the numbers of a model.
fn encode(model: &TextClassifierModel, examples: &[Example]) -> Result<Vec<Text>> {
    let text = |(at, example): (usize, &Example)| {
        let labels = example.labels.iter();
        let labels: Vec<u32> = labels.filter_map(|label| model.labels.get(label)).collect();
        model.config.check_labels(at, labels.len())?;
        let rows = model.rows(&example.tokens);
        let known = |&&row: &&u32| (row as usize) < model.words.len();
        let tokens = rows.iter().filter(known).count() as u64;
        Ok(Text {
            rows,
            labels,
            tokens,
        })
    };
    examples.iter().enumerate().map(text).collect()
}

/// Texts, known words, and FNV-1a of 64 bits over all rows and labels, which tells other examples apart.
fn amounts(texts: &[Text]) -> [u64; 3] {
    let tokens = texts.iter().map(|text| text.tokens).sum();
    let numbers = texts.iter().flat_map(|text| {
        let sizes = [text.rows.len() as u32, text.labels.len() as u32];
        let numbers = text.rows.iter().chain(&text.labels).copied();
        sizes.into_iter().chain(numbers)
    });
    let hash = numbers.fold(0xcbf2_9ce4_8422_2325, |hash: u64, number| {
        (hash ^ u64::from(number)).wrapping_mul(0x100_0000_01b3)
    });
    [texts.len() as u64, tokens, hash]
}
