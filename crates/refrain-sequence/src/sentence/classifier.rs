//! One label for a whole sentence.

use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use refrain_core::IdMap;

use super::encode::Known;
use super::labeller::{negative_likelihood, rows};
use super::reader::{Reader, seeded};
use super::{EncodedSentence, Judgement, Sentence, SentenceConfig, file};
use crate::train::{Learner, Learning};
use crate::{Error, Result};

/// Tells the label of a sentence: what it is about, whether it praises. A
/// [`Trainer`](crate::Trainer) fits it to the sentences and labels of [`examples`](Self::examples).
///
/// It reads a sentence as a [`Labeller`](crate::Labeller) does; the mean and the highest of each
/// value over the words then score the labels.
///
/// ```
/// use refrain_sequence::{Sentence, SentenceClassifier, SentenceConfig, Trainer};
///
/// let text = |text: &str, label: &str| (Sentence::new(text.split(' ')), label.to_string());
/// let training: Vec<_> = ["film", "book", "play", "song"]
///     .iter()
///     .flat_map(|it| [
///         text(&format!("a fine {it} I loved"), "good"),
///         text(&format!("a dull {it} I hated"), "bad"),
///     ])
///     .collect();
/// let config = SentenceConfig { word_width: 16, filters: 0, ..SentenceConfig::default() };
/// let device = refrain_core::device("cpu")?;
/// let model = SentenceClassifier::new(&config, &training, 0, &device)?;
/// let examples = model.examples(&training)?;
/// let trainer = Trainer { steps: 40, batch: 8, learning_rate: 1e-2, warm_up: 5, ..Trainer::default() };
/// let model = trainer.fit_module(&model, &examples, &[])?.model;
/// let judged = model.classify(&[Sentence::new("what a dull opera".split(' '))])?;
/// assert_eq!(judged[0][0].label, "bad"); // the likeliest stands first
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct SentenceClassifier {
    reader: Reader,
    head: Linear,
    #[module(skip)]
    config: SentenceConfig,
    #[module(skip)]
    known: Arc<Known>,
    #[module(skip)]
    labels: Arc<IdMap>,
}

/// Sentences read at a time.
const BATCH: usize = 32;
const KIND: &str = "sequence.sentence-classifier";

impl SentenceClassifier {
    /// An untrained model that knows the words, letters and labels of these sentences; `seed` decides
    /// the first weights.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::TooShort`] for fewer than two labels.
    pub fn new(
        config: &SentenceConfig,
        training: &[(Sentence, String)],
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let known = Known::of(config, training.iter().map(|(sentence, _)| sentence))?;
        let labels = training.iter().map(|(_, label)| label.as_str());
        let labels: std::collections::BTreeSet<&str> = labels.collect();
        Self::of(config, known, IdMap::from_ids(labels)?, seed, device)
    }

    fn of(
        config: &SentenceConfig,
        known: Known,
        labels: IdMap,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        if labels.len() < 2 {
            return Err(Error::TooShort {
                what: "labels to tell apart".to_string(),
                needed: 2,
                found: labels.len(),
            });
        }
        let sizes = [known.words.len(), known.letters.len()];
        let reader = Reader::new(config, sizes, seed, device)?;
        let head = LinearConfig::new(2 * config.states(), labels.len()).init(device);
        Ok(Self {
            reader,
            head: seeded(head, seed ^ 6),
            config: config.clone(),
            known: Arc::new(known),
            labels: Arc::new(labels),
        })
    }

    /// The same model with first vectors for words, as
    /// [`Labeller::with_vectors`](crate::Labeller::with_vectors) takes them.
    ///
    /// # Errors
    /// [`Error::Core`] for a vector of another length, [`Error::Tensor`] for one that is not finite.
    pub fn with_vectors(self, vector: impl FnMut(&str) -> Option<Vec<f32>>) -> Result<Self> {
        let rows = rows(&self.known, self.config.word_width, vector)?;
        Ok(Self {
            reader: self.reader.with_vectors(&rows)?,
            ..self
        })
    }

    /// How it reads.
    pub fn config(&self) -> &SentenceConfig {
        &self.config
    }

    /// All labels, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter()
    }

    /// Sentences with their labels' numbers, as a trainer takes them.
    ///
    /// # Errors
    /// [`Error::TooShort`] for a sentence without words, [`Error::Core`] for other numbers of features
    /// than it needs, [`Error::Label`] for a label that the model does not have.
    pub fn examples(&self, labelled: &[(Sentence, String)]) -> Result<Vec<(EncodedSentence, u32)>> {
        let numbered = labelled.iter().enumerate();
        numbered.map(|(i, one)| self.numbered(i, one)).collect()
    }

    /// One of [`examples`](Self::examples), for those that come one by one.
    ///
    /// # Errors
    /// As [`examples`](Self::examples).
    pub fn example(&self, labelled: &(Sentence, String)) -> Result<(EncodedSentence, u32)> {
        self.numbered(0, labelled)
    }

    fn numbered(
        &self,
        position: usize,
        (sentence, label): &(Sentence, String),
    ) -> Result<(EncodedSentence, u32)> {
        let number = self.labels.get(label.as_str());
        let number = number.ok_or_else(|| Error::Label {
            place: format!("sentence {position}"),
            label: label.clone(),
        })?;
        Ok((self.known.encode(&self.config, sentence)?, number))
    }

    /// All labels of each sentence, the likeliest first; their probabilities sum to 1.
    ///
    /// # Errors
    /// As [`examples`](Self::examples), for what concerns the words; those of the device.
    pub fn classify(&self, sentences: &[Sentence]) -> Result<Vec<Vec<Judgement>>> {
        let encode = |s| self.known.encode(&self.config, s);
        let encoded = sentences.iter().map(encode).collect::<Result<Vec<_>>>()?;
        let rows = self.probabilities(&encoded.iter().collect::<Vec<_>>())?;
        let judged = rows.into_iter().map(|row| {
            let judgement = |(label, probability): (&str, f32)| Judgement {
                label: label.to_string(),
                probability,
            };
            let mut all: Vec<Judgement> = self.labels.iter().zip(row).map(judgement).collect();
            all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            all
        });
        Ok(judged.collect())
    }

    fn probabilities(&self, sentences: &[&EncodedSentence]) -> Result<Vec<Vec<f32>>> {
        file::in_batches(
            sentences,
            BATCH,
            |s| s.len(),
            |batch| {
                let scores = self.log_probabilities(batch, &Learning::default())?;
                let all = scores.exp().try_into_vec_as::<f32>();
                let all = all.map_err(Error::device)?;
                Ok(all
                    .chunks_exact(self.labels.len())
                    .map(<[f32]>::to_vec)
                    .collect())
            },
        )
    }

    fn device(&self) -> Device {
        self.head.weight.val().device().inner()
    }

    /// `[batch, labels]`.
    fn log_probabilities(
        &self,
        batch: &[&EncodedSentence],
        learning: &Learning<'_>,
    ) -> Result<Tensor<2>> {
        let device = self.device();
        let lengths: Vec<usize> = batch.iter().map(|s| s.len()).collect();
        let states = self.reader.states(batch, &lengths, learning, &device)?;
        let [count, time, width] = states.dims();
        let present = lengths.iter().flat_map(|&n| (0..time).map(move |t| t < n));
        let present: Vec<f32> = present.map(|p| if p { 1.0 } else { 0.0 }).collect();
        let present = TensorData::new(present, [count, time, 1]);
        let present = Tensor::<3>::from_data(present, &device);
        let lengths: Vec<f32> = lengths.iter().map(|&n| n as f32).collect();
        let lengths = Tensor::<2>::from_data(TensorData::new(lengths, [count, 1]), &device);
        let sum = (states.clone() * present.clone())
            .sum_dim(1)
            .reshape([count, width]);
        let most = states + (present - 1.0) * 1e4;
        let most = most.max_dim(1).reshape([count, width]);
        let both = Tensor::cat(vec![sum / lengths, most], 1);
        Ok(log_softmax(self.head.forward(both), 1))
    }

    fn tables(&self) -> [(&str, &IdMap); 3] {
        let known = &self.known;
        [
            ("words", &known.words),
            ("letters", &known.letters),
            ("labels", &self.labels),
        ]
    }

    /// Writes the model to a `*.refrain` file of kind `sequence.sentence-classifier`.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn save(&self, path: impl AsRef<std::path::Path>) -> Result<()> {
        file::write(KIND, &self.config, &self.tables(), self, |file| {
            Ok(file.write(path)?)
        })
    }

    /// The model as the bytes of its file.
    ///
    /// # Errors
    /// Those of the device.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        file::write(KIND, &self.config, &self.tables(), self, |file| {
            Ok(file.to_bytes()?)
        })
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no such model, is damaged, or comes from a newer version.
    pub fn load(path: impl AsRef<std::path::Path>, device: &Device) -> Result<Self> {
        Self::read(&refrain_core::ModelFile::open(path)?, device)
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::read(&refrain_core::ModelFile::from_bytes(bytes)?, device)
    }

    fn read(file: &refrain_core::ModelFile, device: &Device) -> Result<Self> {
        let config: SentenceConfig = file::open(file, KIND)?;
        file::check_reading(file, &config)?;
        let known = Known {
            words: file.ids("words")?,
            letters: file.ids("letters")?,
        };
        let model = Self::of(&config, known, file.ids("labels")?, 0, device)?;
        file::read(file, model)
    }
}

impl Learner for SentenceClassifier {
    type Example = (EncodedSentence, u32);

    fn length((sentence, _): &Self::Example) -> usize {
        sentence.len()
    }

    fn targets(_: &Self::Example) -> usize {
        1
    }

    fn loss(&self, batch: &[&Self::Example], learning: &Learning<'_>) -> Result<Tensor<1>> {
        let sentences: Vec<&EncodedSentence> = batch.iter().map(|(s, _)| s).collect();
        let labels: Vec<[u32; 1]> = batch.iter().map(|(_, label)| [*label]).collect();
        let labels: Vec<&[u32]> = labels.iter().map(|l| l.as_slice()).collect();
        let logs = self.log_probabilities(&sentences, learning)?;
        let smoothing = learning.label_smoothing;
        Ok(negative_likelihood(
            logs,
            &labels,
            1,
            smoothing,
            &self.device(),
        ))
    }

    /// The share of sentences whose label is not told.
    fn validation_error(&self, examples: &[Self::Example]) -> Result<Option<f64>> {
        let sentences: Vec<&EncodedSentence> = examples.iter().map(|(s, _)| s).collect();
        let rows = self.probabilities(&sentences)?;
        let wrong = rows.iter().zip(examples).filter(|(row, (_, label))| {
            let own = row.get(*label as usize).copied().unwrap_or(0.0);
            row.iter().any(|&p| p > own)
        });
        Ok(Some(wrong.count() as f64 / examples.len().max(1) as f64))
    }
}
