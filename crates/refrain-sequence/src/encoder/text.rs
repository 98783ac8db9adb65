//! Sentence vectors: a text goes in, one vector comes out.
//!
//! A [`TextEncoder`] is an [`Encoder`], its tokenizer and a [`Pooling`], read from a folder as
//! sentence-transformers keeps it (Reimers and Gurevych, *Sentence-BERT*, 2019): `modules.json` lists
//! the parts, `1_Pooling/config.json` says how to pool, `sentence_bert_config.json` where to cut.

use std::path::{Component, Path};

use refrain_core::{Device, Monitor};
use serde::Deserialize;
use serde_json::{Value, json};

use super::pooling::normalise;
use super::{Encoder, EncoderInput, Pooling};
use crate::{Error, HuggingFaceTokenizer, Result, TokenizedText, hugging_face};

/// Tokens computed between two reports of progress.
const CHUNK: usize = 8192;

/// Vectors of texts.
///
/// Texts are sorted by length, so that those computed together are alike; the vectors come in the
/// order of the texts. What goes beyond the model's length is cut off. An empty text has a vector too:
/// that of the tokens around it.
///
/// ```no_run
/// use refrain_sequence::TextEncoder;
///
/// let encoder = TextEncoder::load("all-MiniLM-L6-v2", &refrain_core::device("cpu")?)?;
/// let vectors = encoder.encode(&["A cat sat on the mat.", "The dog slept.", "Rates rose again."])?;
/// let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f32>();
/// assert!(cosine(&vectors[0], &vectors[1]) > cosine(&vectors[0], &vectors[2]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TextEncoder {
    encoder: Encoder,
    tokenizer: HuggingFaceTokenizer,
    pooling: Pooling,
    normalise: bool,
    lower_case: bool,
    most: usize,
}

#[derive(Deserialize)]
struct Part {
    #[serde(default)]
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Cut {
    max_seq_length: Option<usize>,
    do_lower_case: bool,
}

impl TextEncoder {
    /// A text encoder of these parts; `normalise` makes every vector's length 1. Texts are cut to the
    /// encoder's context.
    ///
    /// # Errors
    /// [`Error::Config`] when the tokenizer has tokens that the encoder has not.
    pub fn new(
        encoder: Encoder,
        tokenizer: &HuggingFaceTokenizer,
        pooling: Pooling,
        normalise: bool,
    ) -> Result<Self> {
        if tokenizer.len() > encoder.config().vocabulary {
            return Err(Error::config(
                "the tokenizer's vocabulary",
                tokenizer.len(),
                "no larger than the encoder's",
            ));
        }
        let most = encoder.config().context();
        Ok(Self {
            tokenizer: tokenizer.with_most(most)?,
            encoder,
            pooling,
            normalise,
            lower_case: false,
            most,
        })
    }

    /// The same encoder, cutting texts to `most` tokens, those around them included.
    ///
    /// # Errors
    /// [`Error::Config`] when that is more than the encoder's context, or leaves no room for a text.
    pub fn with_most(&self, most: usize) -> Result<Self> {
        if most > self.encoder.config().context() {
            let expected = "at most the encoder's context";
            return Err(Error::config("the most tokens of a text", most, expected));
        }
        Ok(Self {
            tokenizer: self.tokenizer.with_most(most)?,
            most,
            ..self.clone()
        })
    }

    /// Reads a folder: the encoder's files and the [tokenizer's](HuggingFaceTokenizer::load). Without
    /// `modules.json`, vectors are the mean over the tokens, not normalised.
    ///
    /// # Errors
    /// As [`Encoder::load`] and [`HuggingFaceTokenizer::load`]; when `modules.json` lists a part that
    /// is not known here, or more than one way of pooling is asked for.
    pub fn load(folder: impl AsRef<Path>, device: &Device) -> Result<Self> {
        let folder = folder.as_ref();
        let modules = folder.join("modules.json");
        let (mut inner, mut pooling, mut normalise) = (folder.to_path_buf(), Pooling::Mean, false);
        if modules.exists() {
            for part in hugging_face::json::<Vec<Part>>(&modules)? {
                let plain =
                    |c: Component<'_>| matches!(c, Component::Normal(_) | Component::CurDir);
                if !Path::new(&part.path).components().all(plain) {
                    let reason = format!("{:?} is no path inside the folder", part.path);
                    return Err(Error::file(&modules.display().to_string(), reason));
                }
                let path = folder.join(&part.path);
                match part.kind.rsplit('.').next().unwrap_or_default() {
                    "Transformer" => inner = path,
                    "Pooling" => pooling = read_pooling(&path.join("config.json"))?,
                    "Normalize" => normalise = true,
                    _ => {
                        let reason = format!(
                            "a part of type {:?}; known: Transformer, Pooling, Normalize",
                            part.kind
                        );
                        return Err(Error::file(&modules.display().to_string(), reason));
                    }
                }
            }
        }
        let encoder = Encoder::load(&inner, device)?;
        let tokenizer = HuggingFaceTokenizer::load(&inner)?;
        let cut = inner.join("sentence_bert_config.json");
        let cut: Cut = match cut.exists() {
            true => hugging_face::json(&cut)?,
            false => Cut::default(),
        };
        let mut read = Self::new(encoder, &tokenizer, pooling, normalise)?;
        read.lower_case = cut.do_lower_case;
        match cut.max_seq_length {
            Some(most) => read.with_most(most.min(read.most)),
            None => Ok(read),
        }
    }

    /// Writes a folder that sentence-transformers reads.
    ///
    /// # Errors
    /// As [`Encoder::save`] and [`HuggingFaceTokenizer::save`].
    pub fn save(&self, folder: impl AsRef<Path>) -> Result<()> {
        let folder = folder.as_ref();
        self.encoder.save(folder)?;
        self.tokenizer.save(folder.join("tokenizer.json"))?;
        let below = folder.join("1_Pooling");
        std::fs::create_dir_all(&below).map_err(|e| refrain_core::Error::io(&below, e))?;
        let write = |path: &Path, value: Value| {
            Ok(refrain_core::replace_file(
                path,
                format!("{value:#}\n").as_bytes(),
            )?)
        };
        let mut modules = vec![("", "Transformer"), ("1_Pooling", "Pooling")];
        if self.normalise {
            modules.push(("2_Normalize", "Normalize"));
        }
        let modules = modules.iter().enumerate().map(|(i, (path, kind))| {
            let kind = format!("sentence_transformers.models.{kind}");
            json!({"idx": i, "name": i.to_string(), "path": path, "type": kind})
        });
        write(&folder.join("modules.json"), modules.collect())?;
        let is = |pooling| self.pooling == pooling;
        let pooling = json!({
            "word_embedding_dimension": self.width(),
            "pooling_mode_cls_token": is(Pooling::First),
            "pooling_mode_mean_tokens": is(Pooling::Mean),
            "pooling_mode_max_tokens": is(Pooling::Max),
            "pooling_mode_mean_sqrt_len_tokens": is(Pooling::MeanRoot),
        });
        write(&below.join("config.json"), pooling)?;
        let cut = json!({"max_seq_length": self.most, "do_lower_case": self.lower_case});
        write(&folder.join("sentence_bert_config.json"), cut)
    }

    /// The length of a vector.
    pub fn width(&self) -> usize {
        self.encoder.config().width
    }

    /// The most tokens of a text, those around it included.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The encoder inside.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The tokenizer inside, which cuts texts to [`most`](Self::most) tokens.
    pub fn tokenizer(&self) -> &HuggingFaceTokenizer {
        &self.tokenizer
    }

    /// A vector per text.
    ///
    /// # Errors
    /// Those of the tokenizer's rules and of the device.
    pub fn encode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        self.encode_with(texts, &Monitor::silent())
    }

    /// As [`encode`](Self::encode), telling progress in texts.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and when it is cancelled.
    pub fn encode_with<S: AsRef<str>>(
        &self,
        texts: &[S],
        monitor: &Monitor,
    ) -> Result<Vec<Vec<f32>>> {
        let mut vectors = self.pooled_with(texts, monitor)?;
        if self.normalise {
            vectors.iter_mut().for_each(|vector| normalise(vector));
        }
        Ok(vectors)
    }

    /// The tokens of each text, cut to [`most`](Self::most).
    pub(super) fn tokenized<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<TokenizedText>> {
        match self.lower_case {
            true => {
                let lower: Vec<String> = texts.iter().map(|t| t.as_ref().to_lowercase()).collect();
                self.tokenizer.encode_batch(&lower)
            }
            false => self.tokenizer.encode_batch(texts),
        }
    }

    /// The same, around another encoder of the same config.
    pub(super) fn with_encoder(&self, encoder: Encoder) -> Self {
        Self {
            encoder,
            ..self.clone()
        }
    }

    /// How the vectors of tokens become one.
    pub fn pooling(&self) -> Pooling {
        self.pooling
    }

    /// A vector per text, not normalised.
    pub(super) fn pooled<S: AsRef<str>>(&self, texts: &[S]) -> Result<Vec<Vec<f32>>> {
        self.pooled_with(texts, &Monitor::silent())
    }

    fn pooled_with<S: AsRef<str>>(&self, texts: &[S], monitor: &Monitor) -> Result<Vec<Vec<f32>>> {
        let stage = monitor.start("encode texts", u64::try_from(texts.len()).ok());
        let read = self.tokenized(texts)?;
        // The longest first: what runs out of memory does so at once, and the end is even.
        let mut order: Vec<(usize, &TokenizedText)> = read.iter().enumerate().collect();
        order.sort_by_key(|(i, text)| (std::cmp::Reverse(text.tokens.len()), *i));
        let mut vectors = vec![Vec::new(); texts.len()];
        let mut rest = order.as_slice();
        while !rest.is_empty() {
            let mut rows = 0;
            let count = rest
                .iter()
                .take_while(|(_, text)| {
                    rows += text.tokens.len();
                    rows <= CHUNK
                })
                .count();
            let (now, later) = rest.split_at(count.clamp(1, rest.len()));
            rest = later;
            let inputs: Vec<EncoderInput<'_>> = now
                .iter()
                .map(|(_, text)| EncoderInput {
                    tokens: &text.tokens,
                    types: &text.types,
                })
                .collect();
            let pooled = self.encoder.pool(&inputs, self.pooling)?;
            for ((i, _), vector) in now.iter().zip(pooled) {
                if let Some(slot) = vectors.get_mut(*i) {
                    *slot = vector;
                }
            }
            stage.advance(u64::try_from(now.len()).unwrap_or(u64::MAX), "")?;
        }
        Ok(vectors)
    }
}

/// The one way of pooling that a `1_Pooling/config.json` asks for.
fn read_pooling(path: &Path) -> Result<Pooling> {
    let bad = |reason: String| Error::file(&path.display().to_string(), reason);
    let config: serde_json::Map<String, Value> = hugging_face::json(path)?;
    let mut asked: Vec<String> = config
        .iter()
        .filter(|(_, value)| **value == Value::Bool(true))
        .filter_map(|(name, _)| name.strip_prefix("pooling_mode_"))
        .map(|name| {
            name.trim_end_matches("_token")
                .trim_end_matches("_tokens")
                .to_string()
        })
        .collect();
    // The newer spelling: one name, or a list of them.
    match config.get("pooling_mode") {
        Some(Value::String(name)) => asked = vec![name.clone()],
        Some(Value::Array(names)) => {
            asked = names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_string)
                .collect();
        }
        _ => {}
    }
    match asked.as_slice() {
        [name] => match name.as_str() {
            "mean" => Ok(Pooling::Mean),
            "cls" => Ok(Pooling::First),
            "max" => Ok(Pooling::Max),
            "mean_sqrt_len" | "mean_sqrt_len_tokens" => Ok(Pooling::MeanRoot),
            other => Err(bad(format!(
                "pooling {other:?}; known: mean, cls, max, mean_sqrt_len_tokens"
            ))),
        },
        several => Err(bad(format!(
            "asks for {several:?}, expected one way of pooling"
        ))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]

    use std::sync::{Arc, Mutex};

    use refrain_core::Event;

    use super::*;
    use crate::encoder::tests::golden;

    #[derive(Deserialize)]
    struct Expected {
        sentences: Vec<Sentence>,
    }

    #[derive(Deserialize)]
    struct Sentence {
        text: String,
        tokens: Vec<u32>,
        decoded: String,
        vector: Vec<f32>,
    }

    fn sentences() -> Vec<Sentence> {
        let text = std::fs::read(golden("bert").join("expected.json")).unwrap();
        serde_json::from_slice::<Expected>(&text).unwrap().sentences
    }

    fn cpu() -> Device {
        refrain_core::device("cpu").unwrap()
    }

    #[test]
    fn vectors_are_those_of_transformers() {
        let folder = tempfile::tempdir().unwrap();
        let read = TextEncoder::load(golden("bert"), &cpu()).unwrap();
        assert_eq!((read.width(), read.most()), (32, 24));
        read.save(folder.path()).unwrap();
        let again = TextEncoder::load(folder.path(), &cpu()).unwrap();
        let sentences = sentences();
        let texts: Vec<&str> = sentences.iter().map(|s| s.text.as_str()).collect();
        for encoder in [read, again] {
            let tokens = encoder.tokenizer().encode_batch(&texts).unwrap();
            let vectors = encoder.encode(&texts).unwrap();
            assert_eq!(vectors.len(), sentences.len());
            for ((sentence, tokens), vector) in sentences.iter().zip(&tokens).zip(&vectors) {
                assert_eq!(tokens.tokens, sentence.tokens, "{}", sentence.text);
                let decoded = encoder.tokenizer().decode(&tokens.tokens).unwrap();
                assert_eq!(decoded, sentence.decoded);
                for (a, b) in vector.iter().zip(&sentence.vector) {
                    assert!((a - b).abs() < 1e-5, "{}: {a} and {b}", sentence.text);
                }
            }
        }
        // The last one is longer than the model reads.
        assert_eq!(sentences.last().unwrap().tokens.len(), 24);
    }

    #[test]
    fn the_order_is_kept_and_progress_told() {
        let encoder = TextEncoder::load(golden("bert"), &cpu()).unwrap();
        let texts: Vec<String> = (0..2000).map(|i| "rain ".repeat(i * 7 % 13)).collect();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = seen.clone();
        let monitor = Monitor::new(move |event: &Event<'_>| {
            if let Event::Advance { done, .. } = event {
                log.lock().unwrap().push(*done);
            }
        });
        let vectors = encoder.encode_with(&texts, &monitor).unwrap();
        for i in [0, 1, 7, 450, 1999] {
            let alone = encoder.encode(&texts[i..=i]).unwrap();
            for (a, b) in vectors[i].iter().zip(&alone[0]) {
                assert!((a - b).abs() < 1e-6);
            }
            let length: f32 = vectors[i].iter().map(|x| x * x).sum();
            assert!((length - 1.0).abs() < 1e-5);
        }
        let seen = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen.len() > 1);
        assert_eq!(seen.last(), Some(&2000));
        assert!(encoder.encode::<&str>(&[]).unwrap().is_empty());
        let token = monitor.cancel_token();
        token.cancel();
        assert!(encoder.encode_with(&texts, &monitor).is_err());
    }

    #[test]
    fn ways_of_pooling_are_read_in_both_spellings() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read_pooling(&path).map_err(|e| e.to_string())
        };
        let old = |name: &str| {
            format!(r#"{{"pooling_mode_{name}": true, "word_embedding_dimension": 3}}"#)
        };
        assert_eq!(read(&old("mean_tokens")), Ok(Pooling::Mean));
        assert_eq!(read(&old("cls_token")), Ok(Pooling::First));
        assert_eq!(read(&old("max_tokens")), Ok(Pooling::Max));
        assert_eq!(read(&old("mean_sqrt_len_tokens")), Ok(Pooling::MeanRoot));
        assert_eq!(read(r#"{"pooling_mode": "cls"}"#), Ok(Pooling::First));
        assert_eq!(
            read(r#"{"pooling_mode": ["mean_sqrt_len_tokens"]}"#),
            Ok(Pooling::MeanRoot)
        );
        assert!(
            read(r#"{"pooling_mode": ["mean", "max"]}"#)
                .unwrap_err()
                .contains("expected one")
        );
        assert!(
            read(&old("weightedmean_tokens"))
                .unwrap_err()
                .contains("weightedmean")
        );
        assert!(read("{}").is_err());
    }

    #[test]
    fn parts_outside_the_folder_or_unknown_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("modules.json");
        let load = |kind: &str, inner: &str| {
            let parts = json!([{"idx": 0, "name": "0", "path": inner, "type": kind}]);
            std::fs::write(&path, parts.to_string()).unwrap();
            TextEncoder::load(folder.path(), &cpu())
                .unwrap_err()
                .to_string()
        };
        assert!(load("a.Transformer", "../elsewhere").contains("no path inside the folder"));
        assert!(load("a.Transformer", "/etc").contains("no path inside the folder"));
        assert!(load("sentence_transformers.models.Dense", "2_Dense").contains("models.Dense"));
    }
}
