//! Speech to labels: recurrent layers below CTC.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::tensor::{Device, Tensor, TensorData};
use rand::{Rng, RngExt};
use refrain_core::{IdMap, ModelFile, rng};
use serde::{Deserialize, Serialize};

use crate::metrics::ErrorRate;
use crate::ragged::check_size;
use crate::rnn::{Cell, Pass, Recurrent, RecurrentConfig};
use crate::sentence::{file, seeded};
use crate::train::{Learner, Learning};
use crate::{Ctc, Error, Result};

/// The size of a [`Recogniser`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecogniserConfig {
    /// Values of a frame: the bands of a [`LogMel`](crate::LogMel).
    pub frame: usize,
    /// How many frames one step reads; the network takes so many times fewer steps.
    pub stack: usize,
    /// The kind of its recurrent layers.
    pub cell: Cell,
    /// The length of a hidden state, in each direction.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Whether each band is brought to mean 0 and deviation 1 over its recording, which takes the
    /// microphone out; else all values together, which leaves a short recording its spectrum.
    pub each_band: bool,
    /// How many stretches of bands, up to a quarter of them, and of steps, up to an eighth, are
    /// masked in a recording in training (SpecAugment: Park et al., 2019).
    pub masks: usize,
    /// The share of values dropped in training, of the frames, between layers and of the states.
    pub dropout: f32,
    /// Decides the first weights.
    pub seed: u64,
}

impl Default for RecogniserConfig {
    fn default() -> Self {
        Self {
            frame: 40,
            stack: 3,
            cell: Cell::Lstm,
            hidden: 128,
            layers: 2,
            each_band: true,
            masks: 0,
            dropout: 0.2,
            seed: 0,
        }
    }
}

/// What a [`Recogniser`] learns from: [`Recogniser::example`] makes it.
#[derive(Debug, Clone, PartialEq)]
pub struct Utterance {
    /// `[steps, stack · frame]`.
    values: Vec<f32>,
    steps: usize,
    labels: Vec<u32>,
}

/// Reads frames of features and tells what was said, labels in order: words, letters, phones. A
/// [`Trainer`](crate::Trainer) fits it.
///
/// Values are brought to mean 0 and deviation 1 over their recording, so that loudness has little
/// say; recurrent layers in both directions score labels and a blank; the
/// loss is [`Ctc`]'s, nobody has to say when a word was spoken.
///
/// ```
/// use refrain_sequence::{Recogniser, RecogniserConfig, Trainer};
///
/// // "low" and "high" as tones of three frames, silence between.
/// let sound = |words: &[&str]| -> Vec<f32> {
///     let frames = words.iter().flat_map(|word| match *word {
///         "low" => [[0.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.0]],
///         _ => [[0.0, 0.0], [0.0, 1.0], [0.1, 1.0], [0.0, 1.0]],
///     });
///     frames.flatten().collect()
/// };
/// let config = RecogniserConfig {
///     frame: 2, stack: 1, hidden: 8, layers: 1, dropout: 0.0, ..RecogniserConfig::default()
/// };
/// let model = Recogniser::new(&config, ["low", "high"], &refrain_core::device("cpu")?)?;
/// let said = [["low", "high"], ["high", "low"], ["low", "low"], ["high", "high"]];
/// let examples: Vec<_> =
///     said.iter().map(|words| model.example(&sound(words), words)).collect::<Result<_, _>>()?;
/// let trainer = Trainer { steps: 100, batch: 4, learning_rate: 3e-2, warm_up: 5, ..Trainer::default() };
/// let model = trainer.fit_module(&model, &examples, &[])?.model;
/// let heard = model.recognise(&[&sound(&["high", "low", "low"])])?;
/// assert_eq!(heard[0].0, ["high", "low", "low"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct Recogniser {
    recurrent: Recurrent,
    head: Linear,
    #[module(skip)]
    config: RecogniserConfig,
    #[module(skip)]
    labels: Arc<IdMap>,
}

const KIND: &str = "sequence.recogniser";
/// Recordings read at a time.
const BATCH: usize = 32;
const LIMIT: usize = 1 << 14;
/// Where dropout draws; recurrent layers have the sites below.
const FRAMES: usize = 100;
const STATES: usize = 101;
const MASKS: u64 = 102;
/// More masks than this hide everything.
const MOST_MASKS: usize = 64;
/// Width of the beam that reads the labels off.
const BEAM: usize = 8;

impl RecogniserConfig {
    fn validate(&self) -> Result<()> {
        for (field, value) in [
            ("RecogniserConfig.frame", self.frame),
            ("RecogniserConfig.stack", self.stack),
            ("RecogniserConfig.hidden", self.hidden),
            ("RecogniserConfig.layers", self.layers),
        ] {
            if value == 0 || value > LIMIT {
                return Err(Error::config(field, value, "between 1 and 16384"));
            }
        }
        if self.masks > MOST_MASKS {
            let field = "RecogniserConfig.masks";
            return Err(Error::config(field, self.masks, "at most 64"));
        }
        match (0.0..1.0).contains(&self.dropout) {
            true => Ok(()),
            false => Err(Error::config(
                "RecogniserConfig.dropout",
                self.dropout,
                "at least 0, below 1",
            )),
        }
    }
}

impl Recogniser {
    /// An untrained model of these labels.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, or for a label that stands twice; [`Error::TooShort`]
    /// without labels.
    pub fn new<S: AsRef<str>>(
        config: &RecogniserConfig,
        labels: impl IntoIterator<Item = S>,
        device: &Device,
    ) -> Result<Self> {
        let mut names = IdMap::new();
        for label in labels {
            let before = names.len();
            names.insert(label.as_ref())?;
            if names.len() == before {
                return Err(Error::config("label", label.as_ref(), "stands only once"));
            }
        }
        Self::of(config, names, device)
    }

    fn of(config: &RecogniserConfig, labels: IdMap, device: &Device) -> Result<Self> {
        config.validate()?;
        if labels.is_empty() {
            return Err(Error::TooShort {
                what: "labels to recognise".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let layers = RecurrentConfig {
            cell: config.cell,
            input: config.frame * config.stack,
            hidden: config.hidden,
            layers: config.layers,
            bidirectional: true,
            dropout: config.dropout,
            ..RecurrentConfig::default()
        };
        let head = LinearConfig::new(layers.output(), labels.len() + 1).init(device);
        Ok(Self {
            recurrent: Recurrent::new(&layers, config.seed, device)?,
            head: seeded(head, config.seed ^ 6),
            config: config.clone(),
            labels: Arc::new(labels),
        })
    }

    /// The config.
    pub fn config(&self) -> &RecogniserConfig {
        &self.config
    }

    /// All labels, in order.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter()
    }

    /// A recording's frames, `[frames, frame]` row-major, with what is said in it, as a trainer
    /// takes them.
    ///
    /// # Errors
    /// [`Error::Core`] for values that are no whole number of frames, [`Error::Tensor`] for one that
    /// is not finite, [`Error::Label`] for a label that the model does not have,
    /// [`Error::TooShort`] where there are too few steps for the labels.
    pub fn example(&self, frames: &[f32], labels: &[impl AsRef<str>]) -> Result<Utterance> {
        let mut utterance = self.listen(frames)?;
        for (at, label) in labels.iter().enumerate() {
            let number = self.labels.get(label.as_ref());
            let number = number.ok_or_else(|| Error::Label {
                place: format!("label {at}"),
                label: label.as_ref().to_string(),
            })?;
            utterance.labels.push(number + 1);
        }
        let repeats = utterance
            .labels
            .windows(2)
            .filter(|pair| pair[0] == pair[1]);
        let needed = utterance.labels.len() + repeats.count();
        match utterance.steps >= needed {
            true => Ok(utterance),
            false => Err(Error::TooShort {
                what: "steps of a recording for its labels".to_string(),
                needed,
                found: utterance.steps,
            }),
        }
    }

    /// What is said in each recording, and the natural logarithm of its probability, by a beam of
    /// width 8.
    ///
    /// # Errors
    /// As [`example`](Self::example), for what concerns the frames; those of the device.
    pub fn recognise(&self, recordings: &[&[f32]]) -> Result<Vec<(Vec<String>, f32)>> {
        let heard = recordings.iter().map(|frames| self.listen(frames));
        let heard = heard.collect::<Result<Vec<Utterance>>>()?;
        let found = self.decode(&heard.iter().collect::<Vec<_>>())?;
        let name = |&label: &u32| self.labels.name(label - 1).unwrap_or_default().to_string();
        let named = found
            .iter()
            .map(|(labels, likely)| (labels.iter().map(name).collect(), *likely));
        Ok(named.collect())
    }

    fn decode(&self, utterances: &[&Utterance]) -> Result<Vec<(Vec<u32>, f32)>> {
        file::in_batches(
            utterances,
            BATCH,
            |u| u.steps,
            |batch| {
                let lengths: Vec<usize> = batch.iter().map(|u| u.steps).collect();
                let scores = self.scores(batch, &lengths, &Learning::default())?;
                let found = Ctc::default().beam(scores, Some(&lengths), BEAM)?;
                let best = found.into_iter().map(|beam| {
                    let best = beam.into_iter().next();
                    best.map_or((Vec::new(), f32::NEG_INFINITY), |h| {
                        (h.labels, h.log_probability)
                    })
                });
                Ok(best.collect())
            },
        )
    }

    /// Normalised and stacked frames; the last step is filled up with zeros.
    fn listen(&self, frames: &[f32]) -> Result<Utterance> {
        let width = self.config.frame;
        let count = frames.len() / width;
        check_size(
            "values of a recording's frames",
            count.max(1) * width,
            frames.len(),
        )?;
        if let Some(at) = frames.iter().position(|x| !x.is_finite()) {
            let reason = format_args!("value {at} is not finite");
            return Err(Error::tensor("frames of a recording", reason));
        }
        let mut values = frames.to_vec();
        let groups = if self.config.each_band { width } else { 1 };
        for group in 0..groups {
            standardise(&mut values, group, groups);
        }
        let steps = count.div_ceil(self.config.stack);
        values.resize(steps * self.config.stack * width, 0.0);
        Ok(Utterance {
            values,
            steps,
            labels: Vec::new(),
        })
    }

    /// Hides stretches of bands and of steps of a recording behind zeros, its mean.
    fn mask(&self, values: &mut [f32], mut draw: impl Rng) {
        let (bands, step) = (self.config.frame, self.config.frame * self.config.stack);
        let steps = values.len() / step;
        let mut stretch = |all: usize, most: usize| {
            let long = draw.random_range(0..=most);
            let from = draw.random_range(0..=all - long);
            from..from + long
        };
        for _ in 0..self.config.masks {
            let hidden = stretch(bands, bands / 4);
            for frame in values.chunks_exact_mut(bands) {
                frame.get_mut(hidden.clone()).unwrap_or_default().fill(0.0);
            }
            let hidden = stretch(steps, steps / 8);
            let hidden = values.get_mut(hidden.start * step..hidden.end * step);
            hidden.unwrap_or_default().fill(0.0);
        }
    }

    /// `[batch, steps, labels + 1]`.
    fn scores(
        &self,
        batch: &[&Utterance],
        lengths: &[usize],
        learning: &Learning<'_>,
    ) -> Result<Tensor<3>> {
        let device = self.head.weight.val().device().inner();
        let width = self.config.frame * self.config.stack;
        let time = lengths.iter().copied().max().unwrap_or(0);
        let mut values = Vec::with_capacity(batch.len() * time * width);
        for (i, utterance) in batch.iter().enumerate() {
            values.extend_from_slice(&utterance.values);
            if let Some(draw) = learning.dropout {
                let number = draw.sequences.get(i).copied().unwrap_or_default();
                let own = values.get_mut(i * time * width..).unwrap_or_default();
                self.mask(own, rng::stream(draw.seed, number ^ (MASKS << 48)));
            }
            values.resize((i + 1) * time * width, 0.0);
        }
        let data = TensorData::new(values, [batch.len(), time, width]);
        let rate = self.config.dropout;
        let x = learning.drop(Tensor::<3>::from_data(data, &device), rate, FRAMES);
        let pass = Pass {
            lengths: Some(lengths),
            dropout: learning.dropout,
            ..Pass::default()
        };
        let states = self.recurrent.forward(x, pass)?.0;
        Ok(self.head.forward(learning.drop(states, rate, STATES)))
    }

    /// Writes the model to a `*.refrain` file of kind `sequence.recogniser`.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let tables = [("labels", &*self.labels)];
        file::write(KIND, &self.config, &tables, self, |file| {
            Ok(file.write(path)?)
        })
    }

    /// The model as the bytes of its file.
    ///
    /// # Errors
    /// Those of the device.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let tables = [("labels", &*self.labels)];
        file::write(KIND, &self.config, &tables, self, |file| {
            Ok(file.to_bytes()?)
        })
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no such model, is damaged, or comes from a newer version.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::open(path)?, device)
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::from_bytes(bytes)?, device)
    }

    fn read(file: &ModelFile, device: &Device) -> Result<Self> {
        let config: RecogniserConfig = file::open(file, KIND)?;
        config.validate()?;
        let rows = config.cell.gates() * config.hidden;
        let inputs = config.frame * config.stack;
        for (name, columns) in [("hidden", config.hidden), ("input", inputs)] {
            let name = format!("recurrent.directions.0.{name}");
            file::check_layers(file, config.layers, &name, &[rows, columns])?;
        }
        let model = Self::of(&config, file.ids("labels")?, device)?;
        file::read(file, model)
    }
}

/// Brings every `each`th value from `first` on to mean 0 and deviation 1.
fn standardise(values: &mut [f32], first: usize, each: usize) {
    let own = || values.iter().skip(first).step_by(each);
    let own = || own().map(|&x| f64::from(x));
    let count = own().count().max(1) as f64;
    let mean = own().sum::<f64>() / count;
    let square = own().map(|x| (x - mean) * (x - mean)).sum::<f64>();
    let scale = 1.0 / ((square / count).sqrt() + 1e-3);
    for value in values.iter_mut().skip(first).step_by(each) {
        *value = ((f64::from(*value) - mean) * scale) as f32;
    }
}

impl Learner for Recogniser {
    type Example = Utterance;

    fn length(example: &Utterance) -> usize {
        example.steps
    }

    fn targets(example: &Utterance) -> usize {
        example.labels.len().max(1)
    }

    fn loss(&self, batch: &[&Utterance], learning: &Learning<'_>) -> Result<Tensor<1>> {
        learning.expect_sharp()?;
        let lengths: Vec<usize> = batch.iter().map(|u| u.steps).collect();
        let labels: Vec<&[u32]> = batch.iter().map(|u| u.labels.as_slice()).collect();
        let scores = self.scores(batch, &lengths, learning)?;
        Ok(Ctc::default().loss(scores, Some(&lengths), &labels)?.sum())
    }

    /// The word error rate, the words being labels.
    fn validation_error(&self, examples: &[Utterance]) -> Result<Option<f64>> {
        let found = self.decode(&examples.iter().collect::<Vec<_>>())?;
        let mut sum = ErrorRate::default();
        for (example, (labels, _)) in examples.iter().zip(&found) {
            sum += ErrorRate::of(&example.labels, labels);
        }
        Ok(Some(sum.rate()))
    }
}

#[cfg(test)]
#[path = "recogniser_tests.rs"]
mod tests;
