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
        let mut order: Vec<&LabelledText> = examples.iter().collect();
        order.sort_by_key(|text| text.tokens.len());
        let mut wrong = 0;
        for batch in order.chunks(BATCH) {
            let logs = self.log_probabilities(batch, &Learning::default())?;
            let labels = logs.dims()[1];
            let logs = logs.try_into_vec_as::<f32>().map_err(Error::device)?;
            let rows = logs.chunks_exact(labels.max(1)).zip(batch);
            wrong += rows
                .filter(|(row, text)| {
                    let own = row.get(text.label as usize).copied();
                    let own = own.unwrap_or(f32::NEG_INFINITY);
                    row.iter().any(|&p| p > own)
                })
                .count();
        }
        Ok(Some(wrong as f64 / examples.len().max(1) as f64))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use super::*;
    use crate::Trainer;
    use crate::encoder::tests::golden;

    fn cpu() -> Device {
        refrain_core::device("cpu").unwrap()
    }

    fn untrained() -> EncoderClassifier {
        let text = TextEncoder::load(golden("bert"), &cpu()).unwrap();
        EncoderClassifier::new(text, ["wet", "dry"], 3).unwrap()
    }

    const TEXTS: [(&str, &str); 4] = [
        ("rain", "wet"),
        ("the rain", "wet"),
        ("sun", "dry"),
        ("the sun and the sun", "dry"),
    ];

    fn trained(module: EncoderClassifierModule) -> (EncoderClassifier, EncoderClassifier) {
        let before = untrained();
        let examples = before.examples(&TEXTS).unwrap();
        let trainer = Trainer {
            steps: 60,
            batch: 4,
            learning_rate: 1e-2,
            warm_up: 5,
            ..Trainer::default()
        };
        let module = trainer
            .fit_module(&module, &examples, &examples)
            .unwrap()
            .model;
        assert_eq!(module.validation_error(&examples).unwrap(), Some(0.0));
        let after = before.with_module(&module).unwrap();
        (before, after)
    }

    #[test]
    fn labels_are_learnt_and_a_folder_keeps_them() {
        let (before, after) = trained(untrained().module(&cpu()));
        assert_ne!(
            before.encoder().encode(&["rain"]).unwrap(),
            after.encoder().encode(&["rain"]).unwrap()
        );
        let texts = TEXTS.map(|(text, _)| text);
        let judged = after.classify(&texts).unwrap();
        for (all, (text, label)) in judged.iter().zip(TEXTS) {
            assert_eq!(all[0].label, label, "{text}");
            assert!((all.iter().map(|j| j.probability).sum::<f32>() - 1.0).abs() < 1e-6);
        }
        // What the kernels tell is what the module does.
        let module = after.module(&cpu());
        let examples = after.examples(&TEXTS).unwrap();
        let batch: Vec<&LabelledText> = examples.iter().collect();
        let logs = module
            .log_probabilities(&batch, &Learning::default())
            .unwrap();
        let logs = logs.try_into_vec_as::<f32>().unwrap();
        for (all, row) in judged.iter().zip(logs.chunks(2)) {
            let wet = all.iter().find(|j| j.label == "wet").unwrap();
            assert!((wet.probability - row[0].exp()).abs() < 1e-4);
        }
        let folder = tempfile::tempdir().unwrap();
        after.save(folder.path()).unwrap();
        let again = EncoderClassifier::load(folder.path(), &cpu()).unwrap();
        assert_eq!(again.classify(&texts).unwrap(), judged);
        assert!(TextEncoder::load(folder.path(), &cpu()).is_ok());

        // The parts of two classifiers do not mix.
        let other = tempfile::tempdir().unwrap();
        before.save(other.path()).unwrap();
        let weights = "model.safetensors";
        std::fs::copy(folder.path().join(weights), other.path().join(weights)).unwrap();
        let mixed = EncoderClassifier::load(other.path(), &cpu()).unwrap_err();
        assert!(mixed.to_string().contains("for another encoder"), "{mixed}");

        let refused = |folder: &Path| {
            EncoderClassifier::load(folder, &cpu())
                .unwrap_err()
                .to_string()
        };
        let path = folder.path().join(FILE);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
        assert!(refused(folder.path()).contains(FILE));
        std::fs::remove_file(&path).unwrap();
        assert!(refused(folder.path()).contains(FILE));
    }

    #[test]
    fn tokens_are_hidden_in_training_but_for_the_first_and_the_last() {
        let module = untrained().module(&cpu());
        let module = EncoderClassifierModule {
            encoder: module.encoder.with_dropout(0.0),
            ..module
        };
        let text = |tokens: Vec<u32>| LabelledText {
            types: Vec::new(),
            label: 0,
            tokens,
        };
        let logs = |module: &EncoderClassifierModule, tokens: Vec<u32>, training: bool| {
            let draw = crate::rnn::DropoutDraw {
                seed: 1,
                sequences: &[3],
            };
            let learning = Learning {
                dropout: training.then_some(draw),
                ..Learning::default()
            };
            let logs = module.log_probabilities(&[&text(tokens)], &learning);
            logs.unwrap().try_into_vec_as::<f32>().unwrap()
        };
        let (all, none) = (module.clone().with_hidden(0.99), module.with_hidden(0.0));
        let (long, other) = (
            vec![7, 10, 11, 12, 13, 14, 15, 9],
            vec![7, 20, 21, 22, 23, 24, 25, 9],
        );
        // Almost every token within is hidden, so that two texts look alike; the ends are not.
        assert_eq!(
            logs(&all, long.clone(), true),
            logs(&all, other.clone(), true)
        );
        assert_ne!(
            logs(&none, long.clone(), true),
            logs(&none, other.clone(), true)
        );
        let mut ends = long.clone();
        ends[7] = 8;
        assert_ne!(logs(&all, long.clone(), true), logs(&all, ends, true));
        assert_ne!(logs(&all, long.clone(), false), logs(&all, other, false));
        assert_eq!(logs(&all, long.clone(), false), logs(&none, long, false));
    }

    #[test]
    fn a_frozen_encoder_stays() {
        let module = untrained().module(&cpu()).frozen();
        let (before, after) = trained(module);
        let vector = |of: &EncoderClassifier| of.encoder().encode(&["rain"]).unwrap();
        assert_eq!(vector(&before), vector(&after));
        assert_ne!(before.head, after.head);
    }

    #[test]
    fn ways_of_pooling_agree() {
        let states: Vec<f32> = (0u8..24).map(|i| (f32::from(i) * 1.7).sin()).collect();
        let batch = Tensor::<3>::from_data(TensorData::new(states.clone(), [2, 4, 3]), &cpu());
        for way in [
            Pooling::Mean,
            Pooling::First,
            Pooling::Max,
            Pooling::MeanRoot,
        ] {
            let pooled = way.pool_batch(batch.clone(), &[4, 2]);
            let pooled = pooled.try_into_vec_as::<f32>().unwrap();
            let expected = [way.pool(&states[..12], 3), way.pool(&states[12..18], 3)].concat();
            assert_eq!(pooled.len(), expected.len());
            for (a, b) in pooled.iter().zip(&expected) {
                assert!((a - b).abs() < 1e-6, "{way:?}: {a} and {b}");
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let classifier = untrained();
        let told = classifier.examples(&[("rain", "wet"), ("rain", "damp")]);
        assert_eq!(
            told.unwrap_err().to_string(),
            "text 1: no label is called \"damp\""
        );
        let text = TextEncoder::load(golden("bert"), &cpu()).unwrap();
        assert!(EncoderClassifier::new(text.clone(), ["one"], 0).is_err());
        let three = EncoderClassifier::new(text, ["a", "b", "c"], 0).unwrap();
        assert!(classifier.with_module(&three.module(&cpu())).is_err());
        let mut example = three.examples(&[("rain", "c")]).unwrap().remove(0);
        let loss = |example: &LabelledText| {
            classifier
                .module(&cpu())
                .loss(&[example], &Learning::default())
        };
        assert!(matches!(loss(&example), Err(Error::Token { token: 2, .. })));
        example.label = 0;
        example.tokens = vec![5; 1000];
        assert!(loss(&example).is_err());
        assert!(classifier.classify::<&str>(&[]).unwrap().is_empty());
    }
}
