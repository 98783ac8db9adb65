use super::program::KeysValues;
use super::{Transformer, Way};
use crate::kernels::decode::Cache;
use crate::{Error, LanguageState, Result};

/// A text being read: its tokens, and their keys and values.
///
/// When the context is full, the newest half is read again from position 0: two rows of work per
/// token on average, where recomputing the window would cost one per token of context.
#[derive(Clone)]
pub(super) struct TransformerState<'a> {
    model: &'a Transformer,
    /// All tokens read.
    tokens: Vec<u32>,
    /// How many of the last ones are cached.
    cached: usize,
    /// How many were read when the cache was last filled anew.
    renewed: usize,
    cache: Cached,
}

#[derive(Clone)]
enum Cached {
    Program(Vec<KeysValues>),
    Kernels(Cache),
}

impl<'a> TransformerState<'a> {
    pub(super) fn new(model: &'a Transformer) -> Self {
        let cache = match model.way {
            Way::Program(_) => Cached::Program(Vec::new()),
            Way::Kernels(_) => Cached::Kernels(Cache::default()),
        };
        Self {
            model,
            tokens: Vec::new(),
            cached: 0,
            renewed: 0,
            cache,
        }
    }

    /// Of how many tokens keys and values are there.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        match &self.cache {
            Cached::Kernels(cache) => cache.kept(),
            Cached::Program(cache) => {
                let first = cache.first().and_then(Option::as_ref);
                first.map_or(0, |(k, _)| k.dims()[2])
            }
        }
    }

    /// Logits after the new tokens: of all of them (as many as fit the context) or of the last.
    pub(super) fn read(&mut self, tokens: &[u32], last_only: bool) -> Result<Vec<f32>> {
        if tokens.is_empty() {
            return Err(Error::TooShort {
                what: "tokens to read".to_string(),
                needed: 1,
                found: 0,
            });
        }
        self.model.vocabulary().check("tokens", tokens)?;
        self.tokens.extend_from_slice(tokens);
        let context = self.model.config().context;
        let mut new = tokens.len();
        if self.cached + new > context {
            new = match self.cached {
                0 => context,
                _ => context.div_ceil(2),
            };
            new = new.min(self.tokens.len());
            self.cached = 0;
            self.renewed = self.tokens.len();
            match &mut self.cache {
                Cached::Program(cache) => cache.clear(),
                Cached::Kernels(cache) => cache.clear(),
            }
        }
        let window = &self.tokens[self.tokens.len() - new..];
        let start = self.cached;
        self.cached += new;
        match (&self.model.way, &mut self.cache) {
            (Way::Program(program), Cached::Program(cache)) => {
                program.extend(window, start, cache, last_only)
            }
            (Way::Kernels(network), Cached::Kernels(cache)) => {
                Ok(network.extend(&self.model.weights, window, cache, last_only))
            }
            _ => Err(Error::device("a state of another model")),
        }
    }
}

impl LanguageState for TransformerState<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.read(tokens, true)
    }

    fn feed_each(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        let vocabulary = self.model.vocabulary().len();
        if tokens.is_empty() {
            return Ok(Vec::new());
        }
        if self.cached + tokens.len() > self.model.config().context {
            return tokens.iter().map(|&token| self.feed(&[token])).collect();
        }
        let logits = self.read(tokens, false)?;
        Ok(logits.chunks(vocabulary).map(<[f32]>::to_vec).collect())
    }

    fn rewind(&mut self, position: usize) -> bool {
        let forgotten = match position >= self.renewed {
            true => self.tokens.len().checked_sub(position),
            false => None,
        };
        let Some(kept) = forgotten.and_then(|n| self.cached.checked_sub(n)) else {
            return false;
        };
        let could = match &mut self.cache {
            Cached::Kernels(cache) => cache.truncate(kept, self.model.config().window),
            Cached::Program(_) => position == self.tokens.len(),
        };
        if !could {
            return false;
        }
        self.cached = kept;
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
