//! A label for a whole text, by a pretrained encoder that is tuned.

use std::path::Path;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use refrain_core::{AsId, IdMap, ModelFile, ModelWriter, rng};

use super::{Encoder, EncoderInput, EncoderModule, Pooling, TextEncoder};
use crate::batch::Dropout;
use crate::sentence::file::in_batches;
use crate::sentence::{Judgement, negative_likelihood};
use crate::{Error, Learner, Learning, Result};

const KIND: &str = "sequence.encoder-classifier";
const VERSION: u32 = 1;
const FILE: &str = "classifier.refrain";

/// Tells the label of a text: a [`TextEncoder`], whose pooled states a matrix turns into scores.
///
/// Untrained it knows nothing of its labels: a [`Trainer`](crate::Trainer) fits its
/// [`module`](Self::module), encoder and matrix together (Devlin et al., *BERT*, 2019, §4), or the matrix
/// alone where the encoder is [frozen](EncoderClassifierModule::frozen). In training a fifth of the pooled
/// values is dropped, and a tenth of the tokens [hidden](EncoderClassifierModule::with_hidden).
///
/// ```no_run
/// use refrain_sequence::{EncoderClassifier, TextEncoder, Trainer};
///
/// let device = refrain_core::device("cpu")?;
/// let encoder = TextEncoder::load("all-MiniLM-L6-v2", &device)?.with_most(64)?;
/// let labelled = [("a film to see twice", "praise"), ("two hours that I want back", "blame")];
///
/// let classifier = EncoderClassifier::new(encoder, ["blame", "praise"], 1)?;
/// let examples = classifier.examples(&labelled)?;
/// let trainer = Trainer { steps: 750, batch: 32, learning_rate: 7e-5, ..Trainer::default() };
/// let trained = trainer.fit_module(&classifier.module(&device), &examples, &[])?;
///
/// let classifier = classifier.with_module(&trained.model)?;
/// println!("{}", classifier.classify(&["what a joy"])?[0][0].label); // the likeliest stands first
/// classifier.save("praise-or-blame")?; // a folder
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct EncoderClassifier {
    text: TextEncoder,
    labels: Arc<IdMap>,
    /// `[width, labels]`, then `[labels]`.
    head: Vec<f32>,
}

/// Tokens of a text, and the number of its label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LabelledText {
    /// As the encoder reads them.
    pub tokens: Vec<u32>,
    /// Each token's type; empty for all 0.
    pub types: Vec<u32>,
    /// Among the classifier's labels.
    pub label: u32,
}

impl LabelledText {
    fn input(&self) -> EncoderInput<'_> {
        EncoderInput {
            tokens: &self.tokens,
            types: &self.types,
        }
    }
}

/// The layers of a [`EncoderClassifier`], for a [`Trainer`](crate::Trainer).
#[derive(Module, Debug)]
pub struct EncoderClassifierModule {
    encoder: EncoderModule,
    head: Linear,
    #[module(skip)]
    pooling: Pooling,
    #[module(skip)]
    hiding: Hiding,
}

#[derive(Debug, Clone, Copy)]
struct Hiding {
    rate: f32,
    /// What stands in place of a hidden token.
    mask: u32,
}

impl EncoderClassifier {
    /// An untrained classifier; `seed` decides its matrix. Texts are cut as the encoder cuts them.
    ///
    /// # Errors
    /// [`Error::TooShort`] for fewer than two labels; [`Error::Core`] for too many.
    pub fn new<S: AsId>(
        text: TextEncoder,
        labels: impl IntoIterator<Item = S>,
        seed: u64,
    ) -> Result<Self> {
        let labels = IdMap::from_ids(labels)?;
        if labels.len() < 2 {
            return Err(Error::TooShort {
                what: "labels to tell apart".to_string(),
                needed: 2,
                found: labels.len(),
            });
        }
        let mut draw = rng::stream(seed, 0x6865_6164);
        let bound = 1.0 / (text.width() as f32).sqrt();
        let weights = (0..text.width() * labels.len()).map(|_| draw.random_range(-bound..bound));
        let mut head: Vec<f32> = weights.collect();
        head.resize(head.len() + labels.len(), 0.0);
        Ok(Self {
            text,
            labels: Arc::new(labels),
            head,
        })
    }

    /// The labels, by their numbers.
    pub fn labels(&self) -> impl ExactSizeIterator<Item = &str> {
        self.labels.iter()
    }

    /// The encoder inside: after training, one whose vectors are apart where labels are.
    pub fn encoder(&self) -> &TextEncoder {
        &self.text
    }

    /// Texts with their labels, as a trainer takes them.
    ///
    /// # Errors
    /// [`Error::Label`] for a label that the classifier does not have, telling which text's; those of
    /// the tokenizer.
    pub fn examples<T: AsRef<str>, L: AsRef<str>>(
        &self,
        labelled: &[(T, L)],
    ) -> Result<Vec<LabelledText>> {
        let texts: Vec<&str> = labelled.iter().map(|(text, _)| text.as_ref()).collect();
        let read = self.text.tokenized(&texts)?;
        let examples = read.into_iter().zip(labelled).enumerate();
        let example = |(i, (text, (_, label))): (usize, (crate::TokenizedText, &(T, L)))| {
            let number = self.labels.get(label.as_ref());
            Ok(LabelledText {
                tokens: text.tokens,
                types: text.types,
                label: number.ok_or_else(|| Error::Label {
                    place: format!("text {i}"),
                    label: label.as_ref().to_string(),
                })?,
            })
        };
        examples.map(example).collect()
    }

    /// One of [`examples`](Self::examples), for those that come one by one, say from
    /// [`JsonLines`](crate::JsonLines).
    ///
    /// # Errors
    /// As [`examples`](Self::examples).
    pub fn example(&self, text: &str, label: &str) -> Result<LabelledText> {
        let mut one = self.examples(&[(text, label)])?;
        one.pop().ok_or(Error::TooShort {
            what: "tokenized texts".to_string(),
            needed: 1,
            found: 0,
        })
    }

    /// The layers with a copy of the weights, on a plain device.
    pub fn module(&self, device: &Device) -> EncoderClassifierModule {
        let (width, labels) = (self.text.width(), self.labels.len());
        let (weight, bias) = self.head.split_at(width * labels);
        let tokenizer = self.text.tokenizer();
        let mask = ["[MASK]", "<mask>"]
            .iter()
            .find_map(|name| tokenizer.token(name));
        EncoderClassifierModule {
            encoder: self.text.encoder().module(device),
            head: Linear {
                weight: Param::from_data(TensorData::new(weight.to_vec(), [width, labels]), device),
                bias: Some(Param::from_data(
                    TensorData::new(bias.to_vec(), [labels]),
                    device,
                )),
            },
            pooling: self.text.pooling(),
            hiding: Hiding {
                rate: if mask.is_some() { 0.1 } else { 0.0 },
                mask: mask.unwrap_or_default(),
            },
        }
    }

    /// The classifier with the weights of a module.
    ///
    /// # Errors
    /// [`Error::Config`] for a module of another size; those of the device.
    pub fn with_module(&self, module: &EncoderClassifierModule) -> Result<Self> {
        let head = crate::adamw::read(&module.head)?;
        let own = self.text.encoder().config();
        let encoder = module.encoder.clone().with_dropout(own.dropout);
        let same = encoder.config() == own && module.pooling == self.text.pooling();
        if !same || head.len() != self.head.len() {
            let expected = "made by this classifier";
            return Err(Error::config("the module", "another", expected));
        }
        let encoder = Encoder::from_module(&encoder, self.text.encoder().device())?;
        Ok(Self {
            text: self.text.with_encoder(encoder),
            labels: self.labels.clone(),
            head,
        })
    }

    /// All labels of each text, the likeliest first; their probabilities sum to 1.
    ///
    /// # Errors
    /// Those of the tokenizer's rules and of the device.
    pub fn classify<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<Judgement>>> {
        let vectors = self.text.pooled(texts)?;
        let judged = vectors.iter().map(|vector| {
            let scores = self.scores(vector);
            let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f32 = scores.iter().map(|s| (s - most).exp()).sum();
            let judgement = |(label, score): (&str, &f32)| Judgement {
                label: label.to_string(),
                probability: (score - most).exp() / sum,
            };
            let mut all: Vec<_> = self.labels.iter().zip(&scores).map(judgement).collect();
            all.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            all
        });
        Ok(judged.collect())
    }

    /// Before softmax.
    fn scores(&self, vector: &[f32]) -> Vec<f32> {
        let labels = self.labels.len();
        let (weight, bias) = self.head.split_at(self.head.len() - labels);
        let mut scores = bias.to_vec();
        for (x, row) in vector.iter().zip(weight.chunks_exact(labels)) {
            for (score, w) in scores.iter_mut().zip(row) {
                *score += x * w;
            }
        }
        scores
    }

    /// Writes a folder: that of the encoder, which other programs read, and `classifier.refrain` with
    /// labels and matrix.
    ///
    /// # Errors
    /// As [`TextEncoder::save`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        self.text.save(folder)?;
        let (width, labels) = (self.text.width(), self.labels.len());
        let (weight, bias) = self.head.split_at(width * labels);
        ModelWriter::new(KIND, VERSION)
            .config(&self.text.encoder().fingerprint())?
            .ids("labels", &self.labels)?
            .f32("head.weight", &[width, labels], weight)?
            .f32("head.bias", &[labels], bias)?
            .write(folder.join(FILE))?;
        Ok(())
    }

    /// Reads such a folder.
    ///
    /// # Errors
    /// As [`TextEncoder::load`]; when `classifier.refrain` is missing, damaged, or of another width than
    /// the encoder.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let file = ModelFile::open(folder.join(FILE))?;
        file.expect(KIND, VERSION)?;
        let labels = file.ids("labels")?;
        let text = TextEncoder::load(folder, device)?;
        let mut read = Self::new(text, labels.iter(), 0)?;
        let made_for: String = file.config()?;
        if made_for != read.text.encoder().fingerprint() {
            let reason = "was written for another encoder than the one beside it";
            return Err(Error::file(file.origin(), reason));
        }
        let (width, labels) = (read.text.width(), read.labels.len());
        let weight = file.f32("head.weight")?;
        let weight = weight.expect_shape("head.weight", &[width, labels])?.data;
        let bias = file.f32("head.bias")?;
        let bias = bias.expect_shape("head.bias", &[labels])?.data;
        read.head = weight.iter().chain(bias.iter()).copied().collect();
        if let Some(x) = read.head.iter().find(|x| !x.is_finite()) {
            let reason = format_args!("holds the value {x}");
            return Err(Error::file_tensor(&folder.join(FILE), "head", reason));
        }
        Ok(read)
    }
}

/// Texts read at a time outside of training.
const BATCH: usize = 32;

impl EncoderClassifierModule {
    /// How many tokens stand hidden behind the encoder's mask in training, the first and the last of a text
    /// never: so a few thousand texts are not soon known by heart. A tenth at first; none where the tokenizer
    /// has no mask.
    #[must_use]
    pub fn with_hidden(self, rate: f32) -> Self {
        let hiding = Hiding {
            rate: rate.clamp(0.0, 0.99),
            ..self.hiding
        };
        Self { hiding, ..self }
    }

    /// The module with an encoder that stays as it is, hides and drops nothing: its states are features, and
    /// the matrix alone learns.
    #[must_use]
    pub fn frozen(self) -> Self {
        Self {
            encoder: self.encoder.no_grad().with_dropout(0.0),
            ..self
        }
        .with_hidden(0.0)
    }

    /// `[texts, labels]`.
    fn log_probabilities(
        &self,
        batch: &[&LabelledText],
        learning: &Learning<'_>,
    ) -> Result<Tensor<2>> {
        let mut shown: Vec<LabelledText> = batch.iter().map(|&text| text.clone()).collect();
        if let Some(draw) = learning.dropout.filter(|_| self.hiding.rate > 0.0) {
            let dropout = Dropout {
                rate: self.hiding.rate,
                seed: draw.seed,
            };
            for (text, &number) in shown.iter_mut().zip(draw.sequences) {
                let mut factors = vec![1.0; text.tokens.len()];
                dropout.fill_number(1, number, &mut factors);
                let inner = text.tokens.len().saturating_sub(2);
                let inner = text.tokens.iter_mut().zip(&factors).skip(1).take(inner);
                for (token, _) in inner.filter(|(_, factor)| **factor == 0.0) {
                    *token = self.hiding.mask;
                }
            }
        }
        let inputs: Vec<EncoderInput<'_>> = shown.iter().map(LabelledText::input).collect();
        let lengths: Vec<usize> = inputs.iter().map(|text| text.tokens.len()).collect();
        let states = self.encoder.forward(&inputs, learning)?;
        let pooled = self.pooling.pool_batch(states, &lengths);
        Ok(log_softmax(
            self.head.forward(learning.drop(pooled, 0.2, 0)),
            1,
        ))
    }
}

impl Learner for EncoderClassifierModule {
    type Example = LabelledText;

    fn length(text: &LabelledText) -> usize {
        text.tokens.len()
    }

    fn targets(_: &LabelledText) -> usize {
        1
    }

    fn loss(&self, batch: &[&LabelledText], learning: &Learning<'_>) -> Result<Tensor<1>> {
        let logs = self.log_probabilities(batch, learning)?;
        let count = logs.dims()[1];
        for (i, text) in batch.iter().enumerate() {
            if text.label as usize >= count {
                return Err(Error::Token {
                    place: format!("label of text {i}"),
                    token: text.label,
                    vocabulary: count,
                });
            }
        }
        let labels: Vec<[u32; 1]> = batch.iter().map(|text| [text.label]).collect();
        let labels: Vec<&[u32]> = labels.iter().map(<[u32; 1]>::as_slice).collect();
        let device = self.head.weight.val().device().inner();
        let smoothing = learning.label_smoothing;
        Ok(negative_likelihood(logs, &labels, 1, smoothing, &device))
    }

    /// The share of texts whose label is not told.
    fn validation_error(&self, examples: &[LabelledText]) -> Result<Option<f64>> {
        let texts: Vec<&LabelledText> = examples.iter().collect();
        let rows = in_batches(&texts, BATCH, Self::length, |batch| {
            let logs = self.log_probabilities(batch, &Learning::default())?;
            let labels = logs.dims()[1].max(1);
            let logs = logs.try_into_vec_as::<f32>().map_err(Error::device)?;
            Ok(logs.chunks_exact(labels).map(<[f32]>::to_vec).collect())
        })?;
        let wrong = rows.iter().zip(examples).filter(|(row, text)| {
            let own = row.get(text.label as usize).copied();
            let own = own.unwrap_or(f32::NEG_INFINITY);
            row.iter().any(|&p| p > own)
        });
        Ok(Some(wrong.count() as f64 / examples.len().max(1) as f64))
    }
}

#[cfg(test)]
#[path = "classifier_tests.rs"]
mod tests;
