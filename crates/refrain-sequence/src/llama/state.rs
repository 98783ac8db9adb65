//! A text being read.

use super::Llama;
use crate::{Error, LanguageState, Result};

/// Runs on one of the threads that share the work: from outside, each part would wake them anew.
fn on_the_threads<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| work())
}

/// Keys and values of the tokens read so far, `[tokens, shared heads · head]` of each layer.
#[derive(Debug, Clone, Default)]
pub(super) struct Cache {
    pub(super) layers: Vec<(Vec<f32>, Vec<f32>)>,
    pub(super) tokens: usize,
}

/// A text being read. When the context is full, the newest half is read again from position 0; see
/// [`WhenFull`](crate::WhenFull).
#[derive(Clone)]
pub(super) struct LlamaState<'a> {
    model: &'a Llama,
    /// All tokens read.
    tokens: Vec<u32>,
    cache: Cache,
    /// How many were read when the cache was last filled anew.
    renewed: usize,
}

impl<'a> LlamaState<'a> {
    pub(super) fn new(model: &'a Llama) -> Self {
        Self {
            model,
            tokens: Vec::new(),
            cache: Cache::default(),
            renewed: 0,
        }
    }

    fn read(&mut self, tokens: &[u32], last_only: bool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::TooShort {
                what: "tokens to read".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let config = &self.model.config;
        crate::tokenizer::check_tokens("tokens", tokens, config.vocabulary)?;
        self.tokens.extend_from_slice(tokens);
        let mut new = tokens.len();
        if self.cache.tokens + new > config.context {
            new = match self.cache.tokens {
                0 => config.context,
                _ => config.context.div_ceil(2),
            };
            new = new.min(self.tokens.len());
            self.cache = Cache::default();
            self.renewed = self.tokens.len();
        }
        let window = &self.tokens[self.tokens.len() - new..];
        let (model, cache) = (self.model, &mut self.cache);
        Ok(on_the_threads(|| model.extend(window, cache, last_only)))
    }
}

impl LanguageState for LlamaState<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, true)
    }

    fn feed_each(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        let config = &self.model.config;
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        if self.cache.tokens + tokens.len() > config.context {
            return tokens.iter().map(|&token| self.feed(&[token])).collect();
        }
        let logits = self.read(tokens, false)?;
        let rows = logits.chunks_exact(self.model.config.vocabulary);
        Ok(rows.map(<[f32]>::to_vec).collect())
    }

    fn rewind(&mut self, position: usize) -> bool {
        let forgotten = self.tokens.len().checked_sub(position);
        let kept = forgotten.and_then(|n| self.cache.tokens.checked_sub(n));
        let Some(kept) = kept.filter(|_| position >= self.renewed) else {
            return false;
        };
        let shared = self.model.config.shared_heads * self.model.config.head_width;
        for (keys, values) in &mut self.cache.layers {
            keys.truncate(kept * shared);
            values.truncate(kept * shared);
        }
        self.cache.tokens = kept;
        self.tokens.truncate(position);
        true
    }

    fn position(&self) -> usize {
        self.tokens.len()
    }

    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's,
    {
        Box::new(self.clone())
    }
}
