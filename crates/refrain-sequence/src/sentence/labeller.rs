//! A label for each word.

use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Int, Tensor, TensorData};
use refrain_core::IdMap;
use serde::{Deserialize, Serialize};

use super::encode::Known;
use super::labelling::paths;
use super::reader::{Reader, seeded};
use super::{EncodedSentence, Sentence, SentenceConfig, file};
use crate::metrics::{Matches, SpanScores};
use crate::ragged::check_size;
use crate::train::{Learner, Learning};
use crate::{Crf, Error, Result};

/// Which label may follow which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LabelScheme {
    /// Any may follow any.
    #[default]
    Plain,
    /// `I-x` only after `B-x` or `I-x` (Tjong Kim Sang and Veenstra, 1999).
    /// [`to_iob2`](crate::metrics::to_iob2) makes such labels of others.
    Iob2,
}

impl LabelScheme {
    /// Whether a label may stand after another, or at the beginning.
    fn allows(self, before: Option<&str>, label: &str) -> bool {
        match (self, label.strip_prefix("I-")) {
            (Self::Iob2, Some(kind)) => before.is_some_and(|before| {
                let kind_before = before.strip_prefix("B-").or(before.strip_prefix("I-"));
                kind_before == Some(kind)
            }),
            _ => true,
        }
    }
}

/// How words are labelled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LabellerConfig {
    /// How a sentence is read.
    pub reading: SentenceConfig,
    /// Which label may follow which.
    pub scheme: LabelScheme,
    /// Whether labels are judged together by a [`Crf`] that is trained too; else each word's by a
    /// softmax of its own.
    pub crf: bool,
    /// Decides the first weights.
    pub seed: u64,
}

impl Default for LabellerConfig {
    fn default() -> Self {
        Self {
            reading: SentenceConfig::default(),
            scheme: LabelScheme::Iob2,
            crf: true,
            seed: 0,
        }
    }
}

/// What a [`Labeller`] learns from: [`Labeller::examples`] makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelledSentence {
    sentence: EncodedSentence,
    labels: Vec<u32>,
}

/// A score that rules a label out.
const NEVER: f32 = -1e4;

/// Labels each word of a sentence: entities (Lample et al., 2016; Ma and Hovy, 2016), roles, parts of
/// speech. A [`Trainer`](crate::Trainer) fits it.
///
/// Words and letters as a [`SentenceConfig`] says, then recurrent layers in both directions or
/// attention, a score for each label, and a [`Crf`] or a softmax. What the scheme forbids is never
/// given, whichever it is.
///
/// ```
/// use refrain_sequence::{Labeller, LabellerConfig, Sentence, SentenceConfig, Trainer};
///
/// let mut training = Vec::new();
/// for name in ["Ada", "Grace", "Emmy", "Alan", "Kurt", "Mary", "Sofia", "Paul"] {
///     for verb in ["met", "saw", "knew"] {
///         let sentence = Sentence::new(["yesterday", name, verb, "the", "whale"]);
///         training.push((sentence, ["O", "B-person", "O", "O", "O"].map(String::from).to_vec()));
///     }
/// }
/// let reading = SentenceConfig { word_width: 8, filters: 8, ..SentenceConfig::default() };
/// let config = LabellerConfig { reading, ..LabellerConfig::default() };
/// let labeller = Labeller::new(&config, &training, &refrain_core::device("cpu")?)?;
/// let examples = labeller.examples(&training)?;
/// let trainer = Trainer { steps: 30, learning_rate: 1e-2, warm_up: 5, ..Trainer::default() };
/// let labeller = trainer.fit_module(&labeller, &examples, &[])?.model;
/// let found = labeller.label(&[Sentence::new(["yesterday", "Zoe", "met", "Ada"])])?;
/// assert_eq!(found[0][1].label, "B-person"); // a name never seen
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Labeller {
    reader: Reader,
    head: Linear,
    pub(super) crf: Crf,
    #[module(skip)]
    pub(super) config: LabellerConfig,
    #[module(skip)]
    pub(super) known: Arc<Known>,
    #[module(skip)]
    pub(super) labels: Arc<IdMap>,
}

impl Labeller {
    /// An untrained model that knows the words, letters and labels of these sentences.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, or without a label.
    pub fn new(
        config: &LabellerConfig,
        training: &[(Sentence, Vec<String>)],
        device: &Device,
    ) -> Result<Self> {
        config.reading.validate()?;
        let sentences = training.iter().map(|(sentence, _)| sentence);
        let known = Known::of(&config.reading, sentences)?;
        let labels = training.iter().flat_map(|(_, labels)| labels);
        let labels: std::collections::BTreeSet<&str> = labels.map(String::as_str).collect();
        let labels = IdMap::from_ids(labels)?;
        Self::of(config, known, labels, device)
    }

    fn of(config: &LabellerConfig, known: Known, labels: IdMap, device: &Device) -> Result<Self> {
        let sizes = [known.words.len(), known.letters.len()];
        let reader = Reader::new(&config.reading, sizes, config.seed, device)?;
        let head = LinearConfig::new(config.reading.states(), labels.len()).init(device);
        Ok(Self {
            reader,
            head: seeded(head, config.seed ^ 6),
            crf: crf(config, &labels, device)?,
            config: config.clone(),
            known: Arc::new(known),
            labels: Arc::new(labels),
        })
    }

    /// The same model with first vectors for the words that it knows, where `vector` has one: those of
    /// word2vec, say. They are asked for as they stand in the vocabulary, in lower case where the config
    /// says so.
    ///
    /// # Errors
    /// [`Error::Core`] for a vector of another length, [`Error::Tensor`] for one that is not finite.
    pub fn with_vectors(self, vector: impl FnMut(&str) -> Option<Vec<f32>>) -> Result<Self> {
        let rows = rows(&self.known, self.config.reading.word_width, vector)?;
        Ok(Self {
            reader: self.reader.with_vectors(&rows)?,
            ..self
        })
    }

    /// The same model with `by` added to every score of a label: less for `O` finds more entities, of
    /// which fewer are right. Held-out sentences tell how much is best.
    ///
    /// # Errors
    /// [`Error::Label`] for a label that the model does not have, [`Error::Tensor`] where `by` is not
    /// finite.
    pub fn with_bias(mut self, label: &str, by: f32) -> Result<Self> {
        let number = self.labels.get(label).ok_or_else(|| Error::Label {
            place: "bias".to_string(),
            label: label.to_string(),
        })?;
        if !by.is_finite() {
            return Err(Error::tensor("bias", format_args!("of {by} is not finite")));
        }
        let added = (0..self.labels.len() as u32).map(|l| if l == number { by } else { 0.0 });
        let added = TensorData::new(added.collect::<Vec<f32>>(), [self.labels.len()]);
        let added = Tensor::<1>::from_data(added, &self.device());
        let bias = self.head.bias.take();
        self.head.bias = bias.map(|bias| bias.map(|bias| bias + added));
        Ok(self)
    }

    /// The config.
    pub fn config(&self) -> &LabellerConfig {
        &self.config
    }

    /// All labels, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter()
    }

    /// Sentences with a label for each word, as a trainer takes them.
    ///
    /// # Errors
    /// [`Error::TooShort`] for a sentence without words, [`Error::Core`] for other numbers of labels or
    /// features than it needs, [`Error::Label`] for a label that the model does not have, and
    /// [`Error::Config`] for one that the scheme forbids where it stands.
    pub fn examples(&self, labelled: &[(Sentence, Vec<String>)]) -> Result<Vec<LabelledSentence>> {
        let numbered = labelled.iter().enumerate();
        numbered.map(|(i, one)| self.numbered(i, one)).collect()
    }

    /// One of [`examples`](Self::examples), for those that come one by one.
    ///
    /// # Errors
    /// As [`examples`](Self::examples).
    pub fn example(&self, labelled: &(Sentence, Vec<String>)) -> Result<LabelledSentence> {
        self.numbered(0, labelled)
    }

    fn numbered(
        &self,
        i: usize,
        (sentence, labels): &(Sentence, Vec<String>),
    ) -> Result<LabelledSentence> {
        let what = format!("labels of sentence {i}");
        check_size(&what, sentence.words.len(), labels.len())?;
        let mut before = None;
        let mut numbers = Vec::with_capacity(labels.len());
        for (at, label) in labels.iter().enumerate() {
            if !self.config.scheme.allows(before, label) {
                let value = format_args!("{label} at word {at} of sentence {i}");
                return Err(Error::config("label", value, "allowed where it stands"));
            }
            before = Some(label.as_str());
            let number = self.labels.get(label.as_str());
            numbers.push(number.ok_or_else(|| Error::Label {
                place: format!("sentence {i}, word {at}"),
                label: label.clone(),
            })?);
        }
        Ok(LabelledSentence {
            sentence: self.known.encode(&self.config.reading, sentence)?,
            labels: numbers,
        })
    }

    pub(super) fn device(&self) -> Device {
        self.head.weight.val().device().inner()
    }

    /// `[batch, words, labels]`.
    pub(super) fn scores(
        &self,
        batch: &[&EncodedSentence],
        lengths: &[usize],
        learning: &Learning<'_>,
        device: &Device,
    ) -> Result<Tensor<3>> {
        let states = self.reader.states(batch, lengths, learning, device)?;
        Ok(self.head.forward(states))
    }

    /// Writes the model to a `*.refrain` file of kind `sequence.labeller`.
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

    fn tables(&self) -> [(&str, &IdMap); 3] {
        let known = &self.known;
        [
            ("words", &known.words),
            ("letters", &known.letters),
            ("labels", &self.labels),
        ]
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
        let config: LabellerConfig = file::open(file, KIND)?;
        file::check_reading(file, &config.reading)?;
        let known = Known {
            words: file.ids("words")?,
            letters: file.ids("letters")?,
        };
        let model = Self::of(&config, known, file.ids("labels")?, device)?;
        file::read(file, model)
    }
}

const KIND: &str = "sequence.labeller";

/// Vectors for the words that are known, by number.
pub(super) fn rows(
    known: &Known,
    width: usize,
    mut vector: impl FnMut(&str) -> Option<Vec<f32>>,
) -> Result<Vec<(u32, Vec<f32>)>> {
    let mut rows = Vec::new();
    for (number, word) in known.words.iter().enumerate() {
        if let Some(values) = vector(word) {
            check_size(
                &format!("values of the vector of {word:?}"),
                width,
                values.len(),
            )?;
            if values.iter().any(|x| !x.is_finite()) {
                let name = format!("of the word {word:?}");
                return Err(Error::tensor(&name, "is not finite"));
            }
            rows.push((number as u32 + 1, values));
        }
    }
    Ok(rows)
}

/// Scores of neighbours: those that are trained, or zeros, but for what the scheme forbids.
fn crf(config: &LabellerConfig, labels: &IdMap, device: &Device) -> Result<Crf> {
    let count = labels.len();
    // A CRF of its own first values: nothing beside it draws from this seed.
    let drawn = Crf::new(count, config.seed ^ 7, device)?;
    let values = match config.crf {
        true => crate::adamw::read(&drawn)?,
        false => vec![0.0; count * count + 2 * count],
    };
    let (transitions, ends) = values.split_at(count * count);
    let (mut transitions, mut start) = (transitions.to_vec(), ends[..count].to_vec());
    for (to, label) in labels.iter().enumerate() {
        if !config.scheme.allows(None, label) {
            start[to] = NEVER;
        }
        for (from, before) in labels.iter().enumerate() {
            if !config.scheme.allows(Some(before), label) {
                transitions[from * count + to] = NEVER;
            }
        }
    }
    let crf = Crf::from_scores(&transitions, &start, &ends[count..], device)?;
    Ok(match config.crf {
        true => crf,
        false => crf.no_grad(),
    })
}

impl Learner for Labeller {
    type Example = LabelledSentence;

    fn length(example: &LabelledSentence) -> usize {
        example.labels.len()
    }

    fn targets(example: &LabelledSentence) -> usize {
        example.labels.len()
    }

    fn loss(&self, batch: &[&LabelledSentence], learning: &Learning<'_>) -> Result<Tensor<1>> {
        let device = self.device();
        let sentences: Vec<&EncodedSentence> = batch.iter().map(|e| &e.sentence).collect();
        let lengths: Vec<usize> = sentences.iter().map(|s| s.len()).collect();
        let scores = self.scores(&sentences, &lengths, learning, &device)?;
        let labels: Vec<&[u32]> = batch.iter().map(|e| e.labels.as_slice()).collect();
        if self.config.crf {
            learning.expect_sharp()?;
            return Ok(self.crf.negative_log_likelihood(scores, &labels)?.sum());
        }
        let [rows, time, count] = scores.dims();
        let logs = log_softmax(scores.reshape([rows * time, count]), 1);
        Ok(negative_likelihood(
            logs,
            &labels,
            time,
            learning.label_smoothing,
            &device,
        ))
    }

    /// One minus the F1 of the spans; in the plain scheme, of all labels but `O`.
    fn validation_error(&self, examples: &[LabelledSentence]) -> Result<Option<f64>> {
        let sentences: Vec<[&EncodedSentence; 1]> =
            examples.iter().map(|e| [&e.sentence]).collect();
        let found = paths(&[self], &self.crf, &sentences, false)?;
        let name = |&label: &u32| self.labels.name(label).unwrap_or_default();
        if self.config.scheme == LabelScheme::Iob2 {
            let names = |labels: &[u32]| labels.iter().map(name).collect::<Vec<&str>>();
            let truth: Vec<_> = examples.iter().map(|e| names(&e.labels)).collect();
            let found: Vec<_> = found.iter().map(|(labels, _)| names(labels)).collect();
            return Ok(Some(1.0 - SpanScores::new(&truth, &found)?.micro().f1()));
        }
        let mut matches = Matches::default();
        for (example, (found, _)) in examples.iter().zip(&found) {
            for (truth, found) in example.labels.iter().map(name).zip(found.iter().map(name)) {
                matches.truth += usize::from(truth != "O");
                matches.found += usize::from(found != "O");
                matches.right += usize::from(truth == found && truth != "O");
            }
        }
        Ok(Some(1.0 - matches.f1()))
    }
}

/// The sum of the losses of the labels, of log-probabilities `[batch · time, labels]`.
pub(crate) fn negative_likelihood(
    logs: Tensor<2>,
    labels: &[&[u32]],
    time: usize,
    smoothing: f32,
    device: &Device,
) -> Tensor<1> {
    let (mut numbers, mut weights) = (Vec::new(), Vec::new());
    for (i, row) in labels.iter().enumerate() {
        numbers.extend(row.iter().map(|&l| l as i32));
        numbers.resize((i + 1) * time, 0);
        weights.extend(row.iter().map(|_| 1.0f32));
        weights.resize((i + 1) * time, 0.0);
    }
    let n = numbers.len();
    let numbers = Tensor::<2, Int>::from_data(TensorData::new(numbers, [n, 1]), device);
    let weights = Tensor::<2>::from_data(TensorData::new(weights, [n, 1]), device);
    let mut likely = logs.clone().gather(1, numbers);
    if smoothing > 0.0 {
        likely = likely * (1.0 - smoothing) + logs.mean_dim(1) * smoothing;
    }
    (likely * weights).sum().neg()
}
