//! Sequence models: train, checkpoint, load and generate text and tunes.
//!
//! A [`Corpus`] holds tokens with their [`Vocabulary`]; a [`Trainer`] fits a [`Transformer`] or a
//! recurrent [`RnnLm`] to it; a [`Sampler`] writes with it, or with anything else that is a
//! [`LanguageModel`].
//!
//! ```
//! use refrain_sequence::{
//!     Characters, Corpus, LanguageModel, Sampler, Tokenizer, Trainer, Transformer, TransformerConfig,
//! };
//!
//! // A text, one token per character, its last tenth held out.
//! let text = "row, row, row your boat, gently down the stream. ".repeat(40);
//! let characters = Characters::from_text(&text)?;
//! let corpus = Corpus::text(&characters, &text)?.hold_out(0.1, 0)?;
//!
//! // A tiny model, trained for a moment.
//! let config = TransformerConfig { layers: 1, heads: 2, width: 32, context: 32, ..Default::default() };
//! let trainer = Trainer { steps: 120, learning_rate: 1e-2, warm_up: 10, ..Trainer::default() };
//! let trained = trainer.fit(&config, &corpus, &refrain_core::device("cpu")?)?;
//! assert!(trained.curve.best().unwrap().loss < 1.0); // nats per character, on the held-out part
//!
//! // Generate, save, load.
//! let sampler = Sampler { temperature: 0.0, max_tokens: 12, ..Sampler::default() };
//! let prompt = characters.encode("row, row, row your")?;
//! let written = sampler.generate(&trained.model, &prompt)?;
//! assert_eq!(characters.decode(&written.tokens)?, " boat, gentl");
//!
//! let bytes = trained.model.to_bytes()?; // or .save("boat.refrain")
//! let model = Transformer::from_bytes(bytes, &refrain_core::device("cpu")?)?;
//! assert_eq!(sampler.generate(&model, &prompt)?, written);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which piece when
//!
//! | you have | take |
//! |---|---|
//! | one long text | [`Corpus::text`] with [`Characters`], [`Words`] or [`Bytes`]: random windows |
//! | many short texts, tunes, poems | [`Corpus::texts`] or [`Corpus::documents`]: one example each, never run together |
//! | tokens from elsewhere | [`Vocabulary::named`] and [`Corpus::documents`] |
//! | labelled texts, pairs, recordings; a burn module of your own | [`Learner`] with [`Trainer::fit_module`] |
//! | a model that should lean towards a few favourites | [`Trainer::fine_tune`] with [`Trainer::fine_tuning`] |
//! | a large model and a few megabytes to give away | [`Trainer::fine_tune_low_rank`], of modules [`Trainer::fit_module_low_rank`]: LoRA, merged or kept apart |
//! | hours of training | [`Trainer::checkpoint`], then [`Trainer::resume`]: the same losses as an unbroken run |
//! | a run that diverged or was cancelled, to go on with other settings | [`Trained::from_checkpoint`] |
//! | your own idea of a valid next token | [`Sampler::generate_with`]: a filter on the logits |
//! | text in, text out, as it is written | [`Sampler::write`], with stop strings |
//! | many texts, or the best of them | [`Sampler::generate_many`], [`Sampler::best_of`], [`Sampler::generate_batch`] |
//! | the likeliest text: translations, summaries | [`BeamSearch`] |
//! | a prompt that is continued again and again; a chat | [`Prompt`] |
//! | a model of the Llama family (Qwen2 too) in a GGUF file | [`Llama::open`]: it stays packed in memory |
//! | GPT-2, Llama, Mistral or Qwen2 in a Hugging Face folder, to train further | [`Transformer::from_hugging_face`], [`Transformer::save_hugging_face`] |
//! | a summary or translation by a model that follows instructions | `prompts` and its `ChatTemplate` (feature `tokenizers`) |
//! | summaries to be judged | [`metrics::Rouge`] |
//! | a large model and a small one | [`Sampler::generate_with_draft`]: the same text, sooner |
//! | a stream without end, or little time per token | [`RnnConfig`] in place of [`TransformerConfig`] |
//! | chords, many notes at once | [`FrameModel`]: frames of keys |
//! | labels for each word: entities, roles | [`Labeller`]; one label for all: [`SentenceClassifier`] |
//! | labels in order without their times: speech | [`Recogniser`] on [`LogMel`] features |
//! | what labels, spans and transcripts are worth | [`metrics`] |
//! | a network of your own with labels for each step | [`Recurrent`] below a [`Crf`] or [`Ctc`] |
//! | a text whose meaning is wanted, as a vector | [`Encoder`], or `TextEncoder` with its tokenizer (feature `tokenizers`) |
//! | few labelled texts, and a pretrained encoder | `EncoderClassifier` (feature `tokenizers`): tuned, or as features |
//! | why a text was scored so, word by word | [`integrated_gradients`] |
//! | where a model looks | [`Transformer::attention`], [`Encoder::trace`] |
//! | a sequence that becomes another: translation | [`EncoderDecoder`] |
//! | more text than memory | [`CorpusWriter`], then [`Corpus::open`]; labelled or in pairs: [`JsonLines`] |
//! | a text to be judged, not written | [`LanguageModel::log_probabilities`], [`Transformer::loss`] |
//!
//! # Tunes, or any tokens with a beginning that says what follows
//!
//! Put what a text should be conditioned on in front of it, as tokens of their own, and prompt
//! with them later:
//!
//! ```
//! use refrain_sequence::{Corpus, Sampler, Trainer, TransformerConfig, Vocabulary};
//!
//! let names = Vocabulary::named(["<up>", "<down>", "<end>", "1", "2", "3", "4", "5"])?;
//! let scales = (0..60).map(|i| match i % 2 {
//!     0 => vec![0, 3, 4, 5, 6, 7, 2],
//!     _ => vec![1, 7, 6, 5, 4, 3, 2],
//! });
//! let corpus = Corpus::documents(names, scales.collect())?.hold_out(0.1, 7)?;
//! let config = TransformerConfig { layers: 1, heads: 2, width: 16, context: 16, ..Default::default() };
//! let trainer = Trainer { steps: 100, learning_rate: 1e-2, warm_up: 10, ..Trainer::default() };
//! let device = refrain_core::device("cpu")?;
//! let model = trainer.fit(&config, &corpus, &device)?.model;
//!
//! let sampler = Sampler { stop: vec![2], max_tokens: 20, temperature: 0.1, seed: 3, ..Sampler::default() };
//! let down = sampler.generate(&model, &[1])?;
//! assert_eq!(down.tokens, [7, 6, 5, 4, 3, 2]);
//!
//! // Several at once, the likeliest first.
//! let mut many = sampler.generate_many(&model, &[0], 4)?;
//! many.sort_by(|a, b| b.mean_log_probability().total_cmp(&a.mean_log_probability()));
//! assert_eq!(many[0].tokens, [3, 4, 5, 6, 7, 2]);
//!
//! // Lean towards one listener's favourites.
//! let favourites = Corpus::documents(corpus.vocabulary().clone(), vec![vec![0, 3, 5, 7, 2]; 8])?;
//! let tuned = Trainer::fine_tuning().fine_tune(&model, &favourites)?.model;
//! # let _ = tuned;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Recurrent layers, labels and alignments
//!
//! [`RnnConfig`] goes wherever [`TransformerConfig`] went: the same trainer, checkpoints, sampler
//! and files. Reading a stream, it carries its state from window to window.
//!
//! ```
//! use refrain_sequence::{Cell, Corpus, RnnConfig, RnnLm, Sampler, Trained, Trainer, Vocabulary};
//!
//! let device = refrain_core::device("cpu")?;
//! let beat: Vec<u32> = (0..600).map(|i| [0, 2, 1, 2][i % 4]).collect();
//! let corpus = Corpus::stream(Vocabulary::named(["kick", "snare", "hat"])?, beat)?;
//! let config = RnnConfig { cell: Cell::Gru, layers: 1, width: 16, bptt: 12, ..Default::default() };
//! let trainer = Trainer { steps: 60, batch: 4, learning_rate: 3e-2, warm_up: 5, ..Trainer::default() };
//! let trained: Trained<RnnLm> = trainer.fit(&config, &corpus, &device)?;
//! let sampler = Sampler { temperature: 0.0, max_tokens: 4, ..Sampler::default() };
//! assert_eq!(sampler.generate(&trained.model, &[0, 2, 1, 2])?.tokens, [0, 2, 1, 2]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`Recurrent`] and [`Crf`] are modules of burn's, on batches of sequences of different lengths;
//! [`Ctc`] is a loss with its decoders. A module of your own that says what it learns from is a
//! [`Learner`], and trains with all that the [`Trainer`] has: schedules, averaged weights,
//! checkpoints. Here each step has the label of the *next* one, which only the backward direction
//! can see:
//!
//! ```
//! use burn::module::Module;
//! use burn::nn::{Linear, LinearConfig};
//! use burn::tensor::{Tensor, TensorData};
//! use refrain_sequence::{
//!     Cell, Crf, Learner, Learning, Pass, Recurrent, RecurrentConfig, Result, Trainer,
//! };
//!
//! #[derive(Module, Debug)]
//! struct Tagger { layers: Recurrent, head: Linear, crf: Crf }
//!
//! /// Steps, and the label of each.
//! type Labelled = (Vec<f32>, Vec<u32>);
//!
//! impl Tagger {
//!     /// `[sequences, steps, labels]`
//!     fn scores(&self, batch: &[&Labelled]) -> Result<Tensor<3>> {
//!         let lengths: Vec<usize> = batch.iter().map(|(steps, _)| steps.len()).collect();
//!         let longest = lengths.iter().copied().max().unwrap_or(0);
//!         let padded = |(steps, _): &&Labelled| {
//!             (0..longest).map(|t| steps.get(t).copied().unwrap_or(0.0)).collect::<Vec<f32>>()
//!         };
//!         let x: Vec<f32> = batch.iter().flat_map(padded).collect();
//!         let x = TensorData::new(x, [batch.len(), longest, 1]);
//!         let x = Tensor::from_data(x, &self.head.weight.val().device().inner());
//!         let pass = Pass { lengths: Some(&lengths), ..Pass::default() };
//!         Ok(self.head.forward(self.layers.forward(x, pass)?.0))
//!     }
//! }
//!
//! impl Learner for Tagger {
//!     type Example = Labelled;
//!     fn length(example: &Labelled) -> usize { example.0.len() }
//!     fn targets(example: &Labelled) -> usize { example.1.len() }
//!     fn loss(&self, batch: &[&Labelled], _: &Learning<'_>) -> Result<Tensor<1>> {
//!         let labels: Vec<&[u32]> = batch.iter().map(|(_, labels)| labels.as_slice()).collect();
//!         Ok(self.crf.negative_log_likelihood(self.scores(batch)?, &labels)?.sum())
//!     }
//! }
//!
//! let device = refrain_core::device("cpu")?;
//! let config = RecurrentConfig {
//!     cell: Cell::Gru, input: 1, hidden: 8, bidirectional: true, ..Default::default()
//! };
//! let tagger = Tagger {
//!     layers: Recurrent::new(&config, 0, &device)?,
//!     head: LinearConfig::new(config.output(), 2).init(&device),
//!     crf: Crf::new(2, 0, &device)?,
//! };
//! let examples: [Labelled; 2] = [
//!     (vec![1.0, 0.0, 0.0, 1.0, 0.0], vec![0, 0, 1, 0, 0]),
//!     (vec![0.0, 1.0, 1.0], vec![1, 1, 0]),
//! ];
//! let trainer = Trainer { steps: 80, batch: 2, learning_rate: 3e-2, ..Trainer::default() };
//! let tagger = trainer.fit_module(&tagger, &examples, &[])?.model;
//! let scores = tagger.scores(&[&examples[0], &examples[1]])?;
//! let found = tagger.crf.viterbi(scores, Some(&[5, 3]))?;
//! assert_eq!(found[0].labels, examples[0].1);
//! assert_eq!(found[1].labels, examples[1].1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Pretrained encoders: vectors of tokens and of sentences
//!
//! An [`Encoder`] reads BERT and its kin from a folder of Hugging Face (`config.json`,
//! `model.safetensors`), and writes such folders: what was trained here loads there.
//!
//! ```
//! use refrain_sequence::{Encoder, EncoderConfig, EncoderInput, Pooling};
//!
//! let device = refrain_core::device("cpu")?;
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/bert");
//! let encoder = Encoder::load(folder, &device)?;
//! let texts: [&[u32]; 2] = [&[2, 17, 30, 3], &[2, 44, 3]]; // [CLS] … [SEP]
//! let inputs = texts.map(EncoderInput::from);
//! let states = encoder.encode(&inputs)?; // a vector per token, [tokens, width] per text
//! assert_eq!(states[1].len(), 3 * encoder.config().width);
//! let sentences = encoder.pool(&inputs, Pooling::Mean)?; // a vector per text
//! let trace = encoder.trace(&inputs)?; // all layers, and where each head looks
//! assert_eq!(trace[0].attention[0].len(), encoder.config().heads * 4 * 4);
//! # let _ = sentences;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![cfg_attr(
    feature = "tokenizers",
    doc = "
A [`TextEncoder`] takes texts themselves: tokenizer, encoder, pooling and normalisation as
sentence-transformers keeps them in one folder.

```
use refrain_sequence::TextEncoder;

# let folder = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/tests/golden/bert\");
let encoder = TextEncoder::load(folder, &refrain_core::device(\"cpu\")?)?;
let vectors = encoder.encode(&[\"A cat sat on the mat.\", \"Rain\"])?;
assert_eq!(vectors[1].len(), encoder.width());
# Ok::<(), Box<dyn std::error::Error>>(())
```

[`HuggingFaceTokenizer`] reads any `tokenizer.json`, GPT-2's two files and the tokenizers of GGUF
files; [`TokenizerTraining`] learns byte pairs, word
pieces or unigrams from texts.
"
)]
//!
//! # How it computes
//!
//! Every model is a tensor program that runs on any device burn knows, but for [`Llama`], which stays packed and
//! computes by kernels on the CPU alone. On the device `"cpu"`
//! language models also have kernels of their own (the transformer's nearly twice as fast), held
//! to the program by tests; [`Compute`] chooses, and by itself chooses well. The same seed gives the same first weights,
//! batches and dropout everywhere, and the same bits for the same number of threads on the CPU.

mod adamw;
mod attribution;
mod audio;
mod batch;
mod beam;
#[cfg(feature = "tokenizers")]
mod chat;
mod corpus;
mod crf;
mod ctc;
mod encoder;
mod encoder_decoder;
mod engine;
mod entries;
mod error;
mod fnv;
mod frames;
pub mod gguf;
mod hugging_face;
#[cfg(feature = "tokenizers")]
mod hugging_face_tokenizer;
mod kernels;
mod language_model;
mod llama;
mod loss;
pub mod metrics;
#[doc(hidden)]
pub mod parts;
#[cfg(feature = "tokenizers")]
pub mod prompts;
mod quantized;
mod ragged;
mod recogniser;
mod rnn;
mod sampler;
mod sentence;
mod speculative;
mod tokenizer;
mod train;
mod trainable;
mod transformer;
mod writing;

pub use attribution::{Attribution, integrated_gradients};
pub use audio::{LogMel, Recording};
pub use beam::BeamSearch;
#[cfg(feature = "tokenizers")]
pub use chat::{ChatTemplate, Message};
pub use corpus::{Corpus, CorpusWriter, TokenSequences};
pub use crf::{Crf, LabelPath};
pub use ctc::{Ctc, Hypothesis};
pub use encoder::{
    Activation, Encoder, EncoderConfig, EncoderInput, EncoderModule, EncoderOutput, EncoderTrace,
    NormPlace, Pooling,
};
#[cfg(feature = "tokenizers")]
pub use encoder::{EncoderClassifier, EncoderClassifierModule, LabelledText, TextEncoder};
pub use encoder_decoder::{
    Conditioned, EncoderDecoder, EncoderDecoderConfig, EncoderDecoderModule, EncoderDecoderTrace,
    Pair,
};
pub use error::{Error, Result};
pub use frames::{FrameConfig, FrameModel, Frames};
#[cfg(feature = "tokenizers")]
pub use hugging_face_tokenizer::{HuggingFaceTokenizer, Pieces, TokenizedText, TokenizerTraining};
pub use language_model::{LanguageBeams, LanguageModel, LanguageState};
pub use llama::{Llama, LlamaConfig, RotaryPairs};
pub use quantized::QuantizedMatrix;
pub use recogniser::{Recogniser, RecogniserConfig, Utterance};
pub use refrain_core::Device;
pub use rnn::{
    Cell, DropoutDraw, NamedTensor, Pass, Recurrent, RecurrentConfig, RecurrentState, RnnConfig,
    RnnLm,
};
pub use sampler::{
    Filter, Finish, Generated, GeneratedToken, Generation, Prompt, Sampler, WhenFull,
};
pub use sentence::{
    Body, EncodedSentence, Judgement, LabelScheme, LabelledSentence, Labeller, LabellerConfig,
    Sentence, SentenceClassifier, SentenceConfig,
};
pub use speculative::Guesses;
pub use tokenizer::{Bytes, Characters, TextStream, TokenKind, Tokenizer, Vocabulary, Words};
pub use train::{
    Decay, Examples, Fit, JsonLines, Keep, Learner, Learning, LearningCurve, Lora, LossPoint,
    LowRank, Measure, Schedule, Trained, Trainer,
};
pub use trainable::{ModelConfig, TrainableModel};
pub use transformer::{
    Biases, Compute, FeedForward, Norm, Positions, RotaryScaling, Transformer, TransformerConfig,
};
pub use writing::{Writing, Written};
