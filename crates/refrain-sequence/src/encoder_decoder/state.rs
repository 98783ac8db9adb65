//! Writing with a source at hand: the decoder with a cache of keys and values.

use burn::tensor::Tensor;

use super::EncoderDecoder;
use super::kernels::Network;
use super::layout::Kind;
use super::module::{KeysValues, Pass, keep};
use crate::encoder::{NormPlace, activation};
use crate::kernels::attention;
use crate::kernels::norm;
use crate::{Error, LanguageModel, LanguageState, Result, tokenizer};

/// An encoder-decoder that has read its source: a [`LanguageModel`] of the target. See
/// [`EncoderDecoder::given`].
///
/// Targets begin with [`start`](super::EncoderDecoderConfig::start): prompt with it.
#[derive(Debug, Clone)]
pub struct Conditioned<'a> {
    model: &'a EncoderDecoder,
    memory: Memory,
}

/// What the decoder looks at of the source.
#[derive(Debug, Clone)]
pub(super) enum Memory {
    /// Keys and values per layer, `[source rows, 2 · width]`.
    Kernels(Vec<Vec<f32>>),
    /// The encoder's output, `[source rows, width]`.
    Program(Tensor<2>),
}

impl<'a> Conditioned<'a> {
    pub(super) fn new(model: &'a EncoderDecoder, memory: Memory) -> Self {
        Self { model, memory }
    }
}

impl LanguageModel for Conditioned<'_> {
    fn vocabulary_size(&self) -> usize {
        self.model.config().vocabulary
    }

    fn context(&self) -> Option<usize> {
        Some(self.model.config().positions)
    }

    fn start(&self) -> Result<Box<dyn LanguageState + '_>> {
        let cache = match &self.memory {
            Memory::Kernels(_) => Cache::Kernels(Vec::new()),
            Memory::Program(_) => Cache::Program(Vec::new()),
        };
        Ok(Box::new(State {
            given: self,
            tokens: 0,
            cache,
        }))
    }
}

/// A target being written.
#[derive(Clone)]
struct State<'a> {
    given: &'a Conditioned<'a>,
    /// How many were read.
    tokens: usize,
    cache: Cache,
}

#[derive(Clone)]
enum Cache {
    /// Keys and values of the tokens read, per layer `[tokens, 2 · width]`.
    Kernels(Vec<Vec<f32>>),
    /// One per part; that of attention over the source never grows.
    Program(Vec<Option<KeysValues>>),
}

impl State<'_> {
    /// Logits after the new tokens, of each or of the last.
    fn read(&mut self, tokens: &[u32], last_only: bool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::TooShort {
                what: "tokens to read".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let model = self.given.model;
        let config = model.config();
        tokenizer::check_tokens("tokens", tokens, config.vocabulary)?;
        if self.tokens + tokens.len() > config.positions {
            let (value, expected) = (self.tokens + tokens.len(), "at most the model's positions");
            return Err(Error::config("the length of a target", value, expected));
        }
        let start = self.tokens;
        self.tokens += tokens.len();
        match (&self.given.memory, &mut self.cache) {
            (Memory::Kernels(memory), Cache::Kernels(cache)) => {
                let (network, bias) = (&model.network, model.bias.as_deref());
                Ok(network.extend(
                    &model.weights,
                    bias,
                    memory,
                    tokens,
                    start,
                    cache,
                    last_only,
                ))
            }
            (Memory::Program(memory), Cache::Program(cache)) => {
                let Some(program) = &model.program else {
                    return Err(Error::device("a state of another model"));
                };
                cache.resize(model.layout().decoder.parts.len(), None);
                let seen = start + tokens.len();
                let pass = Pass {
                    decoder: true,
                    start,
                    mask: (tokens.len() > 1).then(|| program.causal(tokens.len(), seen)),
                    memory_mask: None,
                    memory: Some(memory.clone()),
                    cache: Some(cache),
                    drop: &keep,
                    seen: None,
                };
                let mut x = program.stack(&[tokens], pass);
                if last_only {
                    x = x.narrow(0, tokens.len() - 1, 1);
                }
                let logits = program.head(x);
                logits.try_into_vec_as::<f32>().map_err(Error::device)
            }
            _ => Err(Error::device("a state of another model")),
        }
    }
}

impl LanguageState for State<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, true)
    }

    fn feed_each(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        let logits = self.read(tokens, false)?;
        let rows = logits.chunks_exact(self.given.model.config().vocabulary);
        Ok(rows.map(<[f32]>::to_vec).collect())
    }

    fn rewind(&mut self, position: usize) -> bool {
        match &mut self.cache {
            _ if position == self.tokens => true,
            Cache::Kernels(layers) if position < self.tokens => {
                for layer in layers {
                    layer.truncate(2 * self.given.model.config().width * position);
                }
                self.tokens = position;
                true
            }
            _ => false,
        }
    }

    fn position(&self) -> usize {
        self.tokens
    }

    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's,
    {
        Box::new(self.clone())
    }
}

impl Network {
    /// Keys and values of a source for each layer of the decoder, given the encoder's output.
    pub(super) fn memory(&self, w: &[f32], output: &[f32]) -> Vec<Vec<f32>> {
        let parts = self.layout.decoder.parts.iter();
        parts
            .filter_map(|part| {
                let at = part.memory.as_ref()?;
                let mut kv = vec![0.0; 2 * output.len()];
                self.linear(w, at, output, &mut kv);
                Some(kv)
            })
            .collect()
    }

    /// Logits after the new tokens: of each, or of the last. A new token costs one row through every
    /// matrix, and one pass over the keys and values.
    #[allow(clippy::too_many_arguments)]
    fn extend(
        &self,
        w: &[f32],
        bias: Option<&[f32]>,
        memory: &[Vec<f32>],
        tokens: &[u32],
        start: usize,
        cache: &mut Vec<Vec<f32>>,
        last_only: bool,
    ) -> Vec<f32> {
        let (width, n) = (self.config.width, tokens.len());
        cache.resize_with(self.config.decoder_layers, Vec::new);
        let (mut cache, mut memory) = (cache.iter_mut(), memory.iter());
        let mut x = vec![0.0; n * width];
        for (i, (&token, row)) in tokens.iter().zip(x.chunks_exact_mut(width)).enumerate() {
            self.embed_row(w, token, start + i, row);
        }
        let mut normed = vec![0.0; n * width];
        let mut branch = vec![0.0; n * width];
        let mut stats = vec![[0.0; 2]; n];
        let (mut projected, mut mixed, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
        for at in &self.layout.decoder.parts {
            let read = match self.config.norm {
                NormPlace::Before => {
                    self.norm(w, &at.norm, &x, &mut normed, &mut stats);
                    &normed
                }
                NormPlace::After => &x,
            };
            projected.resize(n * at.input.bias.len(), 0.0);
            self.linear(w, &at.input, read, &mut projected);
            mixed.resize(n * (at.output.weight.len() / width), 0.0);
            match at.kind {
                Kind::Feed => activation::apply(self.config.activation, &projected, &mut mixed),
                kind => {
                    let none = Vec::new();
                    let (kv, stride): (&Vec<f32>, usize) = match kind {
                        Kind::Across => (memory.next().unwrap_or(&none), width),
                        _ => {
                            let Some(kv) = cache.next() else { continue };
                            for row in projected.chunks_exact(3 * width) {
                                kv.extend_from_slice(&row[width..]);
                            }
                            (kv, 3 * width)
                        }
                    };
                    let keys = kv.len() / (2 * width);
                    probabilities.resize(self.config.heads * n * keys, 0.0);
                    attention::forward(
                        self.heads(kind == Kind::Own),
                        (&projected, stride),
                        (kv, kv.get(width..).unwrap_or_default(), 2 * width),
                        (n, keys),
                        &mut probabilities,
                        &mut mixed,
                    );
                }
            }
            self.linear(w, &at.output, &mixed, &mut branch);
            norm::add(&mut x, &branch);
            if self.config.norm == NormPlace::After {
                self.norm(w, &at.norm, &x, &mut normed, &mut stats);
                std::mem::swap(&mut x, &mut normed);
            }
        }
        let from = if last_only { (n - 1) * width } else { 0 };
        if let Some(last) = &self.layout.decoder.last {
            self.norm(w, last, &x, &mut normed, &mut stats);
            std::mem::swap(&mut x, &mut normed);
        }
        let x = &x[from..];
        let mut logits = vec![0.0; x.len() / width * self.config.vocabulary];
        self.head(w, bias, x, &mut logits);
        logits
    }
}
