//! Prompts that have been read, and texts as they are drawn.

use refrain_core::rng;

use super::{Filter, Finish, Generated, GeneratedToken, Sampler};
use crate::language_model::Room;
use crate::{Error, LanguageModel, LanguageState, Result};

/// A prompt that a model has read, to be continued many times or read on: a system prompt, the turns of
/// a chat so far.
///
/// ```no_run
/// # use refrain_sequence::{LanguageModel, Prompt, Sampler};
/// # fn f(model: &dyn LanguageModel) -> refrain_sequence::Result<()> {
/// let mut prompt = Prompt::read(model, &[0, 1])?;
/// for seed in 0..3 {
///     let sampler = Sampler { seed, ..Sampler::default() };
///     println!("{:?}", sampler.continue_prompt(&prompt)?.finish()?.tokens);
/// }
/// prompt.push(&[2])?; // only the new token is computed
/// # Ok(())
/// # }
/// ```
pub struct Prompt<'a> {
    pub(super) state: Box<dyn LanguageState + 'a>,
    /// Of the token that follows.
    pub(super) logits: Vec<f32>,
    pub(super) tokens: Vec<u32>,
    /// The model's.
    pub(crate) room: Room,
}

impl std::fmt::Debug for Prompt<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Prompt")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl<'a> Prompt<'a> {
    /// Reads the tokens.
    ///
    /// # Errors
    /// [`Error::TooShort`] for none, [`Error::Token`] for one outside the vocabulary, [`Error::Device`].
    pub fn read(model: &'a dyn LanguageModel, tokens: &[u32]) -> Result<Self> {
        if tokens.is_empty() {
            return Err(Error::TooShort {
                what: "the prompt".to_string(),
                needed: 1,
                found: 0,
            });
        }
        crate::tokenizer::check_tokens("the prompt", tokens, model.vocabulary_size())?;
        let mut state = model.start()?;
        let logits = state.feed(tokens)?;
        Ok(Self {
            state,
            logits,
            tokens: tokens.to_vec(),
            room: Room::of(model),
        })
    }

    /// Reads more tokens.
    ///
    /// # Errors
    /// As [`read`](Self::read), after which nothing has changed unless the device failed.
    pub fn push(&mut self, tokens: &[u32]) -> Result<()> {
        crate::tokenizer::check_tokens("the prompt", tokens, self.logits.len())?;
        if !tokens.is_empty() {
            self.logits = self.state.feed(tokens)?;
            self.tokens.extend_from_slice(tokens);
        }
        Ok(())
    }

    pub(crate) fn state(&self) -> &(dyn LanguageState + 'a) {
        &*self.state
    }

    /// The tokens read.
    pub fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    /// The logits of the token that follows.
    pub fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// Tokens as they are drawn: an iterator that ends at a stop token, at the sampler's length, or where
/// the context is full if the sampler asks for that.
pub struct Generation<'a> {
    pub(super) sampler: Sampler,
    pub(super) state: Box<dyn LanguageState + 'a>,
    /// Of the next token.
    pub(super) logits: Vec<f32>,
    /// Prompt and text.
    pub(super) text: Vec<u32>,
    pub(super) prompt: usize,
    pub(super) room: Room,
    pub(super) draw: rng::Stream,
    pub(super) filter: Option<Box<Filter<'a>>>,
    pub(super) finish: Option<Finish>,
    pub(super) failed: bool,
}

impl std::fmt::Debug for Generation<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Generation")
            .field("text", &self.text)
            .finish_non_exhaustive()
    }
}

impl<'a> Generation<'a> {
    /// Lets `filter` change the logits before each choice.
    #[must_use]
    pub fn with_filter<'b>(self, filter: impl FnMut(&[u32], &mut [f32]) + 'b) -> Generation<'b>
    where
        'a: 'b,
    {
        Generation {
            filter: Some(Box::new(filter)),
            sampler: self.sampler,
            state: self.state,
            logits: self.logits,
            text: self.text,
            prompt: self.prompt,
            room: self.room,
            draw: self.draw,
            finish: self.finish,
            failed: self.failed,
        }
    }

    /// The text so far, without the prompt.
    pub fn text(&self) -> &[u32] {
        self.text.get(self.prompt..).unwrap_or_default()
    }

    /// Why the text has ended, if it has.
    pub fn ended(&self) -> Option<Finish> {
        self.finish
    }

    /// Whether this is the stop token that ended the text.
    pub(crate) fn ended_by(&self, token: u32) -> bool {
        self.finish == Some(Finish::Stop) && self.sampler.stop.contains(&token)
    }

    /// Draws the rest.
    ///
    /// # Errors
    /// As [`Sampler::generate`].
    pub fn finish(mut self) -> Result<Generated> {
        let (mut log_probabilities, mut alternatives) = (Vec::new(), Vec::new());
        for token in self.by_ref() {
            let token = token?;
            log_probabilities.push(token.log_probability);
            alternatives.push(token.alternatives);
        }
        let finish = self.finish.unwrap_or(Finish::Length);
        let tokens = self.text.split_off(self.prompt.min(self.text.len()));
        let drawn = tokens.len() - log_probabilities.len().min(tokens.len());
        Ok(Generated {
            tokens: tokens[drawn..].to_vec(),
            log_probabilities,
            alternatives,
            finish,
        })
    }

    fn step(&mut self) -> Result<GeneratedToken> {
        let filter = self.filter.as_deref_mut();
        let token = self
            .sampler
            .choose(&self.text, &self.logits, filter, &mut self.draw)?;
        let told = self.sampler.told(&self.logits, token);
        self.text.push(token);
        self.finish = self.sampler.ends(&self.text, self.prompt, self.room);
        if self.finish.is_none() {
            self.logits = self.state.feed(&[token])?;
        }
        Ok(told)
    }
}

impl Iterator for Generation<'_> {
    type Item = Result<GeneratedToken>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finish.is_some() || self.failed {
            return None;
        }
        let token = self.step();
        self.failed = token.is_err();
        Some(token)
    }
}
