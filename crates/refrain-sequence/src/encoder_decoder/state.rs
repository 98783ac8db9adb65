//! Writing with a source at hand: the decoder with a cache of keys and values.

use burn::tensor::Tensor;

use super::EncoderDecoder;
use super::kernels::{Arranged, Network, arranged};
use super::layout::Kind;
use super::module::{KeysValues, Pass, keep};
use crate::encoder::{NormPlace, activation};
use crate::kernels::attention;
use crate::kernels::norm;
use crate::{Error, LanguageBeams, LanguageModel, LanguageState, Result, tokenizer};

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
    Program(Box<Tensor<2>>),
}

impl<'a> Conditioned<'a> {
    pub(super) fn new(model: &'a EncoderDecoder, memory: Memory) -> Self {
        Self { model, memory }
    }

    /// Refuses tokens that the model does not have, and texts of more than it has positions.
    fn check(&self, tokens: &[u32], length: usize) -> Result<()> {
        let config = self.model.config();
        tokenizer::check_tokens("tokens", tokens, config.vocabulary)?;
        match length > config.positions {
            true => Err(Error::config(
                "the length of a target",
                length,
                "at most the model's positions",
            )),
            false => Ok(()),
        }
    }
}

impl LanguageModel for Conditioned<'_> {
    fn vocabulary_size(&self) -> usize {
        self.model.config().vocabulary
    }

    fn context(&self) -> Option<usize> {
        Some(self.model.config().positions)
    }

    fn slides(&self) -> bool {
        false
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
        self.given.check(tokens, self.tokens + tokens.len())?;
        let start = self.tokens;
        self.tokens += tokens.len();
        match (&self.given.memory, &mut self.cache) {
            (Memory::Kernels(memory), Cache::Kernels(cache)) => {
                let text = Text { tokens, cache };
                let logits = model.extend(memory, start, &mut [text]);
                let from = match last_only {
                    true => logits.len() - model.config().vocabulary,
                    false => 0,
                };
                Ok(logits.get(from..).unwrap_or_default().to_vec())
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
                    memory: Some(memory.as_ref().clone()),
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

    fn beams<'s>(&self) -> Box<dyn LanguageBeams + 's>
    where
        Self: 's,
    {
        Box::new(Beams(vec![self.clone()]))
    }
}

/// Targets of equal length, whose new rows go through the matrices together.
struct Beams<'a>(Vec<State<'a>>);

impl LanguageBeams for Beams<'_> {
    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        let parents = parents.iter().filter_map(|&parent| self.0.get(parent));
        self.0 = parents.cloned().collect();
        let Some(State {
            given,
            tokens: start,
            ..
        }) = self.0.first()
        else {
            return Ok(Vec::new());
        };
        let (given, start) = (*given, *start);
        let Memory::Kernels(memory) = &given.memory else {
            let fed = self.0.iter_mut().zip(tokens);
            return fed.map(|(state, token)| state.feed(&[*token])).collect();
        };
        given.check(tokens, start + 1)?;
        let mut texts = Vec::with_capacity(tokens.len());
        for (state, token) in self.0.iter_mut().zip(tokens) {
            state.tokens += 1;
            if let Cache::Kernels(cache) = &mut state.cache {
                let tokens = std::slice::from_ref(token);
                texts.push(Text { tokens, cache });
            }
        }
        let logits = given.model.extend(memory, start, &mut texts);
        let rows = logits.chunks_exact(given.model.config().vocabulary);
        Ok(rows.map(<[f32]>::to_vec).collect())
    }
}

/// New tokens of a target, and the keys and values of those before, per layer `[tokens, 2 · width]`.
struct Text<'t> {
    tokens: &'t [u32],
    cache: &'t mut Vec<Vec<f32>>,
}

impl EncoderDecoder {
    /// [`Network::extend`] with this model's weights.
    fn extend(&self, memory: &[Vec<f32>], start: usize, texts: &mut [Text<'_>]) -> Vec<f32> {
        let (network, w) = (&self.network, &self.weights);
        let panels = self.arranged.get_or_init(|| network.arrange(w));
        let head = (panels, self.bias.as_deref());
        network.extend(w, head, memory, start, texts)
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

    /// Logits after each new token of texts that have read `start` tokens. A new token costs one row
    /// through every matrix, and one pass over the keys and values.
    fn extend(
        &self,
        w: &[f32],
        (panels, bias): (&Arranged, Option<&[f32]>),
        memory: &[Vec<f32>],
        start: usize,
        texts: &mut [Text<'_>],
    ) -> Vec<f32> {
        let width = self.config.width;
        let mut tiles = Vec::new();
        let n = texts.iter().map(|text| text.tokens.len()).sum::<usize>();
        let (mut layer, mut memory) = (0, memory.iter());
        let mut x = vec![0.0; n * width];
        let mut rows = x.chunks_exact_mut(width);
        for text in texts.iter_mut() {
            let layers = self.config.decoder_layers;
            text.cache.resize_with(layers, Vec::new);
            for ((i, &token), row) in text.tokens.iter().enumerate().zip(&mut rows) {
                self.embed_row(w, token, start + i, row);
            }
        }
        let mut normed = vec![0.0; n * width];
        let mut branch = vec![0.0; n * width];
        let mut stats = vec![[0.0; 2]; n];
        let (mut projected, mut mixed, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
        for (at, [input, output]) in self.layout.decoder.parts.iter().zip(&panels.parts) {
            let read = match self.config.norm {
                NormPlace::Before => {
                    self.norm(w, &at.norm, &x, &mut normed, &mut stats);
                    &normed
                }
                NormPlace::After => &x,
            };
            projected.resize(n * at.input.bias.len(), 0.0);
            let b = Some(&w[at.input.bias.clone()]);
            arranged(input, b, read, &mut projected, &mut tiles);
            mixed.resize(n * (at.output.weight.len() / width), 0.0);
            let mut attend = |causal, q: &[f32], stride, kv: &[f32], mixed: &mut [f32]| {
                let (queries, keys) = (mixed.len() / width, kv.len() / (2 * width));
                probabilities.resize(self.config.heads * queries * keys, 0.0);
                attention::forward(
                    self.heads(causal),
                    (q, stride),
                    (kv, kv.get(width..).unwrap_or_default(), 2 * width),
                    (queries, keys),
                    &mut probabilities,
                    mixed,
                );
            };
            match at.kind {
                Kind::Feed => activation::apply(self.config.activation, &projected, &mut mixed),
                Kind::Across => {
                    // All look at the same source.
                    let kv = memory.next().map(Vec::as_slice).unwrap_or_default();
                    attend(false, &projected, width, kv, &mut mixed);
                }
                Kind::Own => {
                    let mut first = 0;
                    for text in texts.iter_mut() {
                        let end = first + text.tokens.len();
                        let own = &projected[first * 3 * width..end * 3 * width];
                        if let Some(kv) = text.cache.get_mut(layer) {
                            for row in own.chunks_exact(3 * width) {
                                kv.extend_from_slice(&row[width..]);
                            }
                            let mixed = &mut mixed[first * width..end * width];
                            attend(true, own, 3 * width, kv, mixed);
                        }
                        first = end;
                    }
                    layer += 1;
                }
            }
            let b = Some(&w[at.output.bias.clone()]);
            arranged(output, b, &mixed, &mut branch, &mut tiles);
            norm::add(&mut x, &branch);
            if self.config.norm == NormPlace::After {
                self.norm(w, &at.norm, &x, &mut normed, &mut stats);
                std::mem::swap(&mut x, &mut normed);
            }
        }
        if let Some(last) = &self.layout.decoder.last {
            self.norm(w, last, &x, &mut normed, &mut stats);
            std::mem::swap(&mut x, &mut normed);
        }
        let mut logits = vec![0.0; n * self.config.vocabulary];
        arranged(&panels.head, bias, &x, &mut logits, &mut tiles);
        logits
    }
}
