//! Drawing text from a language model.
//!
//! Each step turns the model's logits into one token, in this order: repetition penalty, the
//! caller's filter, then greedy choice, or temperature, top-k, top-p and a draw. Top-k keeps the
//! `k` likeliest tokens; top-p (nucleus sampling, Holtzman et al., 2020) keeps the smallest set of
//! likeliest tokens whose probabilities reach `p`; the token that crosses `p` is kept. Equal
//! logits are ranked by token number. The repetition penalty is that of CTRL (Keskar et al.,
//! 2019): the logit of each token that already stands in the text is divided by it when positive
//! and multiplied when negative.
//!
//! One step costs one pass over the vocabulary beside the model's own work.

use rand::RngExt;
use refrain_core::rng;

use crate::language_model::log_probability;
use crate::{Error, LanguageModel, LanguageState, Result};

/// How to choose the next token. The default draws from the model's own distribution.
///
/// ```no_run
/// # use refrain_sequence::{Sampler, LanguageModel};
/// # fn f(model: &dyn LanguageModel) -> refrain_sequence::Result<()> {
/// let sampler = Sampler { temperature: 0.8, top_p: Some(0.95), seed: 7, ..Sampler::default() };
/// let generated = sampler.generate(model, &[0])?;
/// for token in sampler.stream(model, &[0])? {
///     println!("{}", token?.token);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Sampler {
    /// Divides the logits: below 1 is safer, above 1 is wilder, 0 always takes the likeliest.
    pub temperature: f32,
    /// Keep only so many of the likeliest tokens.
    pub top_k: Option<usize>,
    /// Keep only the likeliest tokens that together reach this probability.
    pub top_p: Option<f32>,
    /// Discourages tokens that already stand in the prompt or the text; 1 does nothing.
    pub repetition_penalty: f32,
    /// How many of the last tokens the penalty looks at; `None` looks at all.
    pub repetition_window: Option<usize>,
    /// Tokens that end the text; the one that ended it is the text's last.
    pub stop: Vec<u32>,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// The same seed, model and prompt give the same text.
    pub seed: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            repetition_penalty: 1.0,
            repetition_window: None,
            stop: Vec::new(),
            max_tokens: 256,
            seed: 0,
        }
    }
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token was drawn.
    Stop,
    /// [`Sampler::max_tokens`] were drawn.
    Length,
}

/// One generated token.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GeneratedToken {
    /// The token.
    pub token: u32,
    /// Its natural log-probability under the model itself, before penalties and filters.
    pub log_probability: f32,
}

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// The model's own log-probability of each.
    pub log_probabilities: Vec<f32>,
    /// Why it ended.
    pub finish: Finish,
}

impl Generated {
    /// The mean log-probability per token: how likely the model finds its own text.
    pub fn mean_log_probability(&self) -> f32 {
        let n = self.log_probabilities.len().max(1) as f32;
        self.log_probabilities.iter().sum::<f32>() / n
    }
}

/// Changes the logits before a choice: sees the prompt and text so far. A logit of `-∞` rules a
/// token out.
pub type Filter<'a> = dyn FnMut(&[u32], &mut [f32]) + 'a;

impl Sampler {
    /// Generates a text after `prompt`.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field, [`Error::TooShort`] for an empty prompt,
    /// [`Error::Token`] for a prompt outside the vocabulary, [`Error::NoTokenLeft`].
    pub fn generate(&self, model: &dyn LanguageModel, prompt: &[u32]) -> Result<Generated> {
        self.stream(model, prompt)?.finish()
    }

    /// Generates with a filter: a grammar, a list of banned tokens.
    ///
    /// # Errors
    /// As [`Sampler::generate`].
    pub fn generate_with(
        &self,
        model: &dyn LanguageModel,
        prompt: &[u32],
        filter: impl FnMut(&[u32], &mut [f32]),
    ) -> Result<Generated> {
        self.stream(model, prompt)?.with_filter(filter).finish()
    }

    /// `n` different texts after one prompt, which is read once. Text `i` is what a sampler
    /// continuing this seed as stream `i` draws; the first is [`Sampler::generate`]'s.
    ///
    /// # Errors
    /// As [`Sampler::generate`].
    pub fn generate_many(
        &self,
        model: &dyn LanguageModel,
        prompt: &[u32],
        n: usize,
    ) -> Result<Vec<Generated>> {
        self.check(model, prompt)?;
        let mut state = model.start()?;
        let logits = state.feed(prompt)?;
        (0..n as u64)
            .map(|i| {
                self.continue_from(state.fork(), logits.clone(), prompt, i)
                    .finish()
            })
            .collect()
    }

    /// The tokens one by one, as they are drawn.
    ///
    /// # Errors
    /// As [`Sampler::generate`].
    pub fn stream<'a>(
        &self,
        model: &'a dyn LanguageModel,
        prompt: &[u32],
    ) -> Result<Generation<'a>> {
        self.check(model, prompt)?;
        let mut state = model.start()?;
        let logits = state.feed(prompt)?;
        Ok(self.continue_from(state, logits, prompt, 0))
    }

    fn continue_from<'a>(
        &self,
        state: Box<dyn LanguageState + 'a>,
        logits: Vec<f32>,
        prompt: &[u32],
        stream: u64,
    ) -> Generation<'a> {
        Generation {
            sampler: self.clone(),
            state,
            logits,
            text: prompt.to_vec(),
            prompt: prompt.len(),
            draw: rng::stream(self.seed, stream),
            filter: None,
            finish: (self.max_tokens == 0).then_some(Finish::Length),
            failed: false,
        }
    }

    fn check(&self, model: &dyn LanguageModel, prompt: &[u32]) -> Result<()> {
        let positive = |x: f32| x.is_finite() && x > 0.0;
        if !(positive(self.temperature) || self.temperature == 0.0) {
            return Err(Error::config(
                "Sampler.temperature",
                self.temperature,
                "0 or positive",
            ));
        }
        if self.top_k == Some(0) {
            return Err(Error::config("Sampler.top_k", 0, "at least 1"));
        }
        if let Some(p) = self.top_p
            && !(positive(p) && p <= 1.0)
        {
            return Err(Error::config("Sampler.top_p", p, "above 0, at most 1"));
        }
        if !positive(self.repetition_penalty) {
            let value = self.repetition_penalty;
            return Err(Error::config(
                "Sampler.repetition_penalty",
                value,
                "positive",
            ));
        }
        if prompt.is_empty() {
            return Err(Error::TooShort {
                what: "the prompt".to_string(),
                needed: 1,
                found: 0,
            });
        }
        crate::tokenizer::check_tokens("the prompt", prompt, model.vocabulary_size())
    }

    /// Divides positive and multiplies negative logits of tokens that stand in `text`, once each.
    fn penalise(&self, text: &[u32], logits: &mut [f32]) {
        if self.repetition_penalty == 1.0 {
            return;
        }
        let window = self.repetition_window.unwrap_or(text.len()).min(text.len());
        let mut recent = text[text.len() - window..].to_vec();
        recent.sort_unstable();
        recent.dedup();
        for token in recent {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit = match *logit > 0.0 {
                    true => *logit / self.repetition_penalty,
                    false => *logit * self.repetition_penalty,
                };
            }
        }
    }

    /// The tokens that may be drawn with their probabilities, likeliest first. Empty when every
    /// token is ruled out.
    fn candidates(&self, logits: &[f32]) -> Vec<(u32, f64)> {
        let likelier = |a: &(u32, f64), b: &(u32, f64)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
        let mut kept: Vec<(u32, f64)> = logits
            .iter()
            .enumerate()
            .filter(|(_, x)| **x > f32::NEG_INFINITY)
            .map(|(i, &x)| (i as u32, f64::from(x)))
            .collect();
        let most = if self.temperature == 0.0 {
            1
        } else {
            self.top_k.unwrap_or(usize::MAX)
        };
        if most < kept.len() {
            kept.select_nth_unstable_by(most - 1, likelier);
            kept.truncate(most);
        }
        kept.sort_unstable_by(likelier);
        let Some(&(_, best)) = kept.first() else {
            return kept;
        };
        let temperature = if self.temperature == 0.0 {
            1.0
        } else {
            f64::from(self.temperature)
        };
        let mut sum = 0.0;
        for (_, x) in &mut kept {
            // Two infinite logits are equally likely, not NaN.
            *x = if *x == best {
                1.0
            } else {
                ((*x - best) / temperature).exp()
            };
            sum += *x;
        }
        if let Some(p) = self.top_p {
            let enough = f64::from(p) * sum;
            let mut reached = 0.0;
            let kept_tokens = kept.iter().take_while(|(_, x)| {
                let before = reached;
                reached += x;
                before < enough
            });
            let n = kept_tokens.count();
            kept.truncate(n);
            sum = kept.iter().map(|(_, x)| x).sum();
        }
        kept.iter_mut().for_each(|(_, x)| *x /= sum);
        kept
    }
}

/// Tokens as they are drawn: an iterator that ends at a stop token or at the sampler's length.
pub struct Generation<'a> {
    sampler: Sampler,
    state: Box<dyn LanguageState + 'a>,
    /// Of the next token.
    logits: Vec<f32>,
    /// Prompt and text.
    text: Vec<u32>,
    prompt: usize,
    draw: rng::Stream,
    filter: Option<Box<Filter<'a>>>,
    finish: Option<Finish>,
    failed: bool,
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
            draw: self.draw,
            finish: self.finish,
            failed: self.failed,
        }
    }

    /// The text so far, without the prompt.
    pub fn text(&self) -> &[u32] {
        self.text.get(self.prompt..).unwrap_or_default()
    }

    /// Draws the rest.
    ///
    /// # Errors
    /// As [`Sampler::generate`].
    pub fn finish(mut self) -> Result<Generated> {
        let mut log_probabilities = Vec::new();
        for token in self.by_ref() {
            log_probabilities.push(token?.log_probability);
        }
        let finish = self.finish.unwrap_or(Finish::Length);
        let tokens = self.text.split_off(self.prompt.min(self.text.len()));
        let drawn = tokens.len() - log_probabilities.len().min(tokens.len());
        Ok(Generated {
            tokens: tokens[drawn..].to_vec(),
            log_probabilities,
            finish,
        })
    }

    fn step(&mut self) -> Result<GeneratedToken> {
        let mut logits = self.logits.clone();
        self.sampler.penalise(&self.text, &mut logits);
        if let Some(filter) = &mut self.filter {
            filter(&self.text, &mut logits);
        }
        let candidates = self.sampler.candidates(&logits);
        let Some(&(mut token, _)) = candidates.first() else {
            return Err(Error::NoTokenLeft {
                position: self.text.len(),
            });
        };
        if candidates.len() > 1 {
            let mut left: f64 = self.draw.random();
            for &(candidate, probability) in &candidates {
                token = candidate;
                left -= probability;
                if left < 0.0 {
                    break;
                }
            }
        }
        let log_probability = log_probability(&self.logits, token);
        self.text.push(token);
        if self.sampler.stop.contains(&token) {
            self.finish = Some(Finish::Stop);
        } else if self.text.len() - self.prompt >= self.sampler.max_tokens {
            self.finish = Some(Finish::Length);
        } else {
            self.logits = self.state.feed(&[token])?;
        }
        Ok(GeneratedToken {
            token,
            log_probability,
        })
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

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
