//! What every language model can do, whatever computes it.

use crate::Result;

/// A model of the next token.
///
/// Object-safe: the sampler and the tools take `&dyn LanguageModel`.
pub trait LanguageModel: Send + Sync {
    /// How many tokens the model knows.
    fn vocabulary_size(&self) -> usize;

    /// The most tokens it looks at, when that is bounded. Where it [slides](Self::slides), a
    /// [state](Self::start) may be fed more.
    fn context(&self) -> Option<usize>;

    /// Whether a full state that is fed more forgets the oldest tokens, see [`WhenFull`](crate::WhenFull). Where
    /// it does not, as in an encoder-decoder, feeding more is an error, and a text ends there.
    fn slides(&self) -> bool {
        true
    }

    /// An empty state: no token read yet.
    ///
    /// # Errors
    /// When the device fails.
    fn start(&self) -> Result<Box<dyn LanguageState + '_>>;

    /// The natural logarithm of the probability of each token but the first, given those before
    /// it; as long as `tokens` less one.
    ///
    /// # Errors
    /// As [`LanguageState::feed`].
    fn log_probabilities(&self, tokens: &[u32]) -> Result<Vec<f32>> {
        crate::tokenizer::check_tokens("tokens", tokens, self.vocabulary_size())?;
        let mut state = self.start()?;
        tokens
            .windows(2)
            .map(|pair| Ok(log_probability(&state.feed(&pair[..1])?, pair[1])))
            .collect()
    }
}

/// How long a text may become.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) context: Option<usize>,
    pub(crate) slides: bool,
}

impl Room {
    pub(crate) fn of(model: &dyn LanguageModel) -> Self {
        Self {
            context: model.context(),
            slides: model.slides(),
        }
    }
}

/// What a model has read: a key/value cache, or hidden state.
pub trait LanguageState: Send {
    /// Reads tokens and returns the logits of the next one, as long as the vocabulary.
    ///
    /// # Errors
    /// [`crate::Error::Token`] for a token outside the vocabulary, [`crate::Error::TooShort`] for
    /// no token at all, [`crate::Error::Device`].
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>>;

    /// Reads tokens and returns the logits after each of them.
    ///
    /// # Errors
    /// As [`feed`](Self::feed).
    fn feed_each(&mut self, tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        tokens.iter().map(|&token| self.feed(&[token])).collect()
    }

    /// Forgets the tokens after the first `position` and tells whether it could; if not, nothing has
    /// changed, and a [`fork`](Self::fork) made there will do.
    fn rewind(&mut self, position: usize) -> bool {
        position == self.position()
    }

    /// How many tokens were read.
    fn position(&self) -> usize;

    /// A copy that continues on its own: a prompt is read once and continued many times.
    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's;

    /// A copy to be continued in several ways at once.
    fn beams<'s>(&self) -> Box<dyn LanguageBeams + 's>
    where
        Self: 's,
    {
        Box::new(Forks(vec![self.fork()]))
    }
}

/// Texts that are continued side by side, as in [`BeamSearch`](crate::BeamSearch).
pub trait LanguageBeams: Send {
    /// Replaces the texts by as many as there are `tokens`, each the text number `parents[i]` with
    /// `tokens[i]` behind it; the logits of the next token of each.
    ///
    /// # Errors
    /// As [`LanguageState::feed`]; a parent that there is not is left out.
    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<Vec<Vec<f32>>>;
}

/// Beams of any model: a state of its own for each.
struct Forks<'a>(Vec<Box<dyn LanguageState + 'a>>);

impl LanguageBeams for Forks<'_> {
    fn advance(&mut self, parents: &[usize], tokens: &[u32]) -> Result<Vec<Vec<f32>>> {
        let parents = parents.iter().filter_map(|&parent| self.0.get(parent));
        let mut states: Vec<_> = parents.map(|state| state.fork()).collect();
        let fed = states.iter_mut().zip(tokens);
        let logits = fed.map(|(state, &token)| state.feed(&[token])).collect();
        self.0 = states;
        logits
    }
}

/// `ln softmax(logits)`, summed in double precision.
pub(crate) fn log_probabilities_of(logits: &[f32]) -> impl Iterator<Item = f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    let log = sum.ln();
    logits
        .iter()
        .map(move |&x| (f64::from(x - most) - log) as f32)
}

/// `ln softmax(logits)[token]`, summed in double precision.
pub(crate) fn log_probability(logits: &[f32], token: u32) -> f32 {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|&x| f64::from(x - most).exp()).sum();
    logits.get(token as usize).map_or(f32::NEG_INFINITY, |&x| {
        (f64::from(x - most) - sum.ln()) as f32
    })
}
