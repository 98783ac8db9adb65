//! Reading a text with a key/value cache: a new token costs one row through every matrix and one
//! pass over the cached keys and values.

use super::activation;
use super::attention;
use super::gemm::Into;
use super::network::Network;

/// Keys and values of the tokens read so far, per layer `[tokens, shared width]`; those that have left every
/// window are dropped now and then.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    /// How many were read.
    tokens: usize,
    /// How many of them were dropped.
    dropped: usize,
}

impl Cache {
    /// Keeps the first `tokens` alone and tells whether it could: what the next token sees may be gone.
    pub(crate) fn truncate(&mut self, tokens: usize, window: Option<usize>) -> bool {
        if tokens >= self.tokens {
            return true;
        }
        let oldest = window.map_or(0, |window| (tokens + 1).saturating_sub(window));
        if oldest < self.dropped {
            return false;
        }
        let kept = self.tokens - self.dropped;
        for (keys, values) in &mut self.layers {
            let width = keys.len() / kept;
            keys.truncate((tokens - self.dropped) * width);
            values.truncate((tokens - self.dropped) * width);
        }
        self.tokens = tokens;
        true
    }

    /// Forgets everything, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        (self.tokens, self.dropped) = (0, 0);
        for (keys, values) in &mut self.layers {
            keys.clear();
            values.clear();
        }
    }

    /// Drops what no later token sees, once that is as much as a window.
    fn trim(&mut self, window: Option<usize>) {
        let kept = self.tokens - self.dropped;
        let Some(window) = window.filter(|&window| kept >= window.saturating_mul(2)) else {
            return;
        };
        for (keys, values) in &mut self.layers {
            let gone = keys.len() / kept * (kept - window);
            keys.drain(..gone);
            values.drain(..gone);
        }
        self.dropped = self.tokens - window;
    }

    /// Of how many tokens keys and values are there.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.tokens - self.dropped
    }
}

impl Network {
    /// Logits after the new tokens: of each, or of the last. The caller checked that the tokens
    /// are in the vocabulary and that all fit the context.
    pub(crate) fn extend(
        &self,
        w: &[f32],
        tokens: &[u32],
        cache: &mut Cache,
        last_only: bool,
    ) -> Vec<f32> {
        let (width, hidden, n) = (self.config.width, self.config.inner(), tokens.len());
        let start = cache.tokens;
        let (stride, shared) = (self.heads().stride(), self.heads().shared_width());
        let own = self.heads().width();
        let keys_after = start - cache.dropped + n;
        cache
            .layers
            .resize_with(self.config.layers, Default::default);
        let mut x = vec![0.0; n * width];
        for (i, (&token, row)) in tokens.iter().zip(x.chunks_exact_mut(width)).enumerate() {
            self.embed_row(w, token, start + i, row);
        }
        let mut normed = vec![0.0; n * width];
        let mut stats = vec![[0.0; 2]; n];
        let mut qkv = vec![0.0; n * stride];
        let mut attended = vec![0.0; n * own];
        let mut probabilities = vec![0.0; self.config.heads * n * keys_after];
        let mut active = vec![0.0; n * hidden];
        let mut up = Vec::new();
        for (at, (keys, values)) in self.layout.layers.iter().zip(&mut cache.layers) {
            self.norm(w, &at.norm1, &x, &mut normed, &mut stats);
            self.linear(w, &at.qkv, &normed, &mut qkv, Into::Replace);
            if let Some((cos, sin)) = &self.rotary {
                attention::rotate(self.heads(), &mut qkv, (cos, sin), start, false);
            }
            for row in qkv.chunks_exact(stride) {
                keys.extend_from_slice(&row[own..own + shared]);
                values.extend_from_slice(&row[own + shared..]);
            }
            attention::forward(
                self.heads(),
                (&qkv, stride),
                (keys, values, shared),
                (n, keys_after),
                &mut probabilities,
                &mut attended,
            );
            self.linear(w, &at.output, &attended, &mut x, Into::Add);
            self.norm(w, &at.norm2, &x, &mut normed, &mut stats);
            up.resize(n * at.up.output, 0.0);
            self.linear(w, &at.up, &normed, &mut up, Into::Replace);
            activation::forward(self.config.feed_forward, hidden, &up, &mut active);
            self.linear(w, &at.down, &active, &mut x, Into::Add);
        }
        cache.tokens += n;
        cache.trim(self.config.window);
        let from = if last_only { (n - 1) * width } else { 0 };
        let x = &x[from..];
        let normed = &mut normed[from..];
        self.norm(w, &self.layout.norm, x, normed, &mut stats);
        let mut logits = vec![0.0; x.len() / width * self.layout.vocabulary];
        self.head(w, normed, &mut logits);
        logits
    }
}
