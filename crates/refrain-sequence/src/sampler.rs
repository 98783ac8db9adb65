//! Drawing text from a language model.
//!
//! Each step turns the model's logits into one token, in this order: biases, penalties, the caller's
//! filter, then greedy choice, or temperature, top-k, typical, top-p, min-p and a draw.
//!
//! | | keeps | |
//! |---|---|---|
//! | top-k | the `k` likeliest tokens | Fan et al., 2018 |
//! | typical | the tokens whose surprise −ln p is nearest to the expected one, until they reach the probability | Meister et al., 2022 |
//! | top-p, nucleus | the likeliest tokens until they reach the probability; the one that crosses it is kept | Holtzman et al., 2020 |
//! | min-p | the tokens with at least this share of the likeliest one's probability | Nguyen et al., 2024 |
//!
//! Equal logits are ranked by token number. The repetition penalty is that of CTRL (Keskar et al.,
//! 2019): the logit of each token that already stands in the text is divided by it when positive
//! and multiplied when negative. The presence penalty is subtracted from the logit of such a token, and
//! the frequency penalty as often as it stands there.
//!
//! One step costs one pass over the vocabulary beside the model's own work.

mod generation;

use rand::RngExt;
use rayon::prelude::*;
use refrain_core::rng;

pub use generation::{Generation, Prompt};

use crate::language_model::{Room, log_probability};
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
    /// Keep only the tokens with at least this share of the likeliest one's probability.
    pub min_p: Option<f32>,
    /// Keep only the tokens that are about as surprising as expected, up to this probability.
    pub typical_p: Option<f32>,
    /// Discourages tokens that already stand in the prompt or the text; 1 does nothing.
    pub repetition_penalty: f32,
    /// Taken off the logit of a token that already stands there; 0 does nothing, less than 0 encourages.
    pub presence_penalty: f32,
    /// Taken off the logit of a token as often as it stands there.
    pub frequency_penalty: f32,
    /// How many of the last tokens the penalties look at; `None` looks at all.
    pub repetition_window: Option<usize>,
    /// Added to the logits of tokens; −∞ rules one out.
    pub logit_bias: Vec<(u32, f32)>,
    /// Tokens that end the text; the one that ended it is the text's last.
    pub stop: Vec<u32>,
    /// Runs of tokens that end the text, and are its last.
    pub stop_sequences: Vec<Vec<u32>>,
    /// How many of the likeliest tokens are told beside each, with their log-probabilities.
    pub alternatives: usize,
    /// The most tokens to generate.
    pub max_tokens: usize,
    /// What happens when prompt and text fill the model's [context](LanguageModel::context).
    pub when_full: WhenFull,
    /// The same seed, model and prompt give the same text.
    pub seed: u64,
}

impl Default for Sampler {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            min_p: None,
            typical_p: None,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_window: None,
            logit_bias: Vec::new(),
            stop: Vec::new(),
            stop_sequences: Vec::new(),
            alternatives: 0,
            max_tokens: 256,
            when_full: WhenFull::Slide,
            seed: 0,
        }
    }
}

/// What happens to a text that is longer than a model's context.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenFull {
    /// The text goes on, and the model sees the end of it alone: the newest half of the context is read
    /// again from position 0, as often as it is full. Numbers are exactly those of a text that begins
    /// there, where turning the kept keys to new positions (llama.cpp's context shift) would keep values
    /// that were made of what is forgotten. A prompt longer than the context loses its beginning.
    #[default]
    Slide,
    /// The text ends with [`Finish::Context`]; after a prompt that is as long as the context, nothing is
    /// written.
    Stop,
}

/// Why a text ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// A stop token was drawn, or a stop sequence or string stands at the end.
    Stop,
    /// [`Sampler::max_tokens`] were drawn.
    Length,
    /// Prompt and text fill the model's context, and [`WhenFull::Stop`] was asked for or the model does not
    /// [slide](LanguageModel::slides).
    Context,
}

/// One generated token.
#[derive(Debug, Clone, PartialEq)]
pub struct GeneratedToken {
    /// The token.
    pub token: u32,
    /// Its natural log-probability under the model itself, before penalties and filters.
    pub log_probability: f32,
    /// The [likeliest tokens](Sampler::alternatives) in its place and their log-probabilities under the
    /// model itself, likeliest first.
    pub alternatives: Vec<(u32, f32)>,
}

/// A generated text.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The tokens, without the prompt.
    pub tokens: Vec<u32>,
    /// The model's own log-probability of each.
    pub log_probabilities: Vec<f32>,
    /// The [likeliest tokens](Sampler::alternatives) in the place of each, with their log-probabilities.
    pub alternatives: Vec<Vec<(u32, f32)>>,
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
        let prompt = Prompt::read(model, prompt)?;
        (0..n as u64)
            .map(|i| self.continue_from(&prompt, i)?.finish())
            .collect()
    }

    /// The likeliest of `n` texts after one prompt, by [their mean](Generated::mean_log_probability).
    ///
    /// # Errors
    /// As [`Sampler::generate`], and [`Error::Config`] for none.
    pub fn best_of(
        &self,
        model: &dyn LanguageModel,
        prompt: &[u32],
        n: usize,
    ) -> Result<Generated> {
        let many = self.generate_many(model, prompt, n)?.into_iter();
        let mean = Generated::mean_log_probability;
        many.reduce(|best, other| match mean(&other) > mean(&best) {
            true => other,
            false => best,
        })
        .ok_or_else(|| Error::config("best_of", n, "at least 1 text"))
    }

    /// A text after each of several prompts, on all cores; each is exactly what it is alone.
    ///
    /// # Errors
    /// As [`Sampler::generate`], for the first prompt that fails.
    pub fn generate_batch<P: AsRef<[u32]> + Sync>(
        &self,
        model: &dyn LanguageModel,
        prompts: &[P],
    ) -> Result<Vec<Generated>> {
        let texts = prompts.par_iter();
        texts
            .map(|prompt| self.generate(model, prompt.as_ref()))
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
        let prompt = Prompt::read(model, prompt)?;
        self.check(prompt.logits.len())?;
        let text = (prompt.tokens, prompt.room);
        Ok(self.begin(prompt.state, prompt.logits, text, 0))
    }

    /// The tokens one by one after a prompt that was read before, and stays as it is.
    ///
    /// # Errors
    /// [`Error::Config`], and as [`Sampler::generate`] while tokens are drawn.
    pub fn continue_prompt<'a>(&self, prompt: &'a Prompt<'_>) -> Result<Generation<'a>> {
        self.continue_from(prompt, 0)
    }

    fn continue_from<'a>(&self, prompt: &'a Prompt<'_>, stream: u64) -> Result<Generation<'a>> {
        self.check(prompt.logits.len())?;
        let (state, logits) = (prompt.state.fork(), prompt.logits.clone());
        let text = (prompt.tokens.clone(), prompt.room);
        Ok(self.begin(state, logits, text, stream))
    }

    fn begin<'a>(
        &self,
        state: Box<dyn LanguageState + 'a>,
        logits: Vec<f32>,
        (text, room): (Vec<u32>, Room),
        stream: u64,
    ) -> Generation<'a> {
        Generation {
            sampler: self.clone(),
            state,
            logits,
            prompt: text.len(),
            finish: self.ends_before(text.len(), room),
            text,
            room,
            draw: rng::stream(self.seed, stream),
            filter: None,
            failed: false,
        }
    }

    /// Refuses settings that no vocabulary of this size can have.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<()> {
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
        for (field, share) in [
            ("Sampler.top_p", self.top_p),
            ("Sampler.min_p", self.min_p),
            ("Sampler.typical_p", self.typical_p),
        ] {
            if let Some(p) = share
                && !(positive(p) && p <= 1.0)
            {
                return Err(Error::config(field, p, "above 0, at most 1"));
            }
        }
        if !positive(self.repetition_penalty) {
            let value = self.repetition_penalty;
            return Err(Error::config(
                "Sampler.repetition_penalty",
                value,
                "positive",
            ));
        }
        for (field, penalty) in [
            ("Sampler.presence_penalty", self.presence_penalty),
            ("Sampler.frequency_penalty", self.frequency_penalty),
        ] {
            if !penalty.is_finite() {
                return Err(Error::config(field, penalty, "finite"));
            }
        }
        if let Some((_, bias)) = self.logit_bias.iter().find(|(_, bias)| bias.is_nan()) {
            return Err(Error::config("Sampler.logit_bias", bias, "a number"));
        }
        let biased: Vec<u32> = self.logit_bias.iter().map(|(token, _)| *token).collect();
        crate::tokenizer::check_tokens("Sampler.logit_bias", &biased, vocabulary)
    }

    /// Adds the biases, and what the tokens that stand in `text` cost.
    fn penalise(&self, text: &[u32], logits: &mut [f32]) {
        for &(token, bias) in &self.logit_bias {
            if let Some(logit) = logits.get_mut(token as usize) {
                *logit += bias;
            }
        }
        let (presence, frequency) = (self.presence_penalty, self.frequency_penalty);
        if self.repetition_penalty == 1.0 && presence == 0.0 && frequency == 0.0 {
            return;
        }
        let window = self.repetition_window.unwrap_or(text.len()).min(text.len());
        let mut recent = text[text.len() - window..].to_vec();
        recent.sort_unstable();
        for same in recent.chunk_by(|a, b| a == b) {
            if let Some(logit) = logits.get_mut(same[0] as usize) {
                *logit = match *logit > 0.0 {
                    true => *logit / self.repetition_penalty,
                    false => *logit * self.repetition_penalty,
                };
                *logit -= presence + frequency * same.len() as f32;
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
        if let Some(p) = self.typical_p {
            kept = typical(kept, sum, f64::from(p));
            kept.sort_unstable_by(likelier);
            sum = kept.iter().map(|(_, x)| x).sum();
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
        if let Some(p) = self.min_p {
            let least = f64::from(p) * kept.first().map_or(0.0, |(_, x)| *x);
            kept.retain(|(_, x)| *x >= least);
            sum = kept.iter().map(|(_, x)| x).sum();
        }
        kept.iter_mut().for_each(|(_, x)| *x /= sum);
        kept
    }

    /// Whether nothing may be drawn after a prompt.
    pub(crate) fn ends_before(&self, prompt: usize, room: Room) -> Option<Finish> {
        let length = (self.max_tokens == 0).then_some(Finish::Length);
        length.or_else(|| self.full(prompt, room))
    }

    fn full(&self, tokens: usize, room: Room) -> Option<Finish> {
        let stops = self.when_full == WhenFull::Stop || !room.slides;
        let full = stops && room.context.is_some_and(|most| tokens >= most);
        full.then_some(Finish::Context)
    }

    /// Whether a text, of which the first `prompt` tokens were not drawn, is at its end.
    pub(crate) fn ends(&self, text: &[u32], prompt: usize, room: Room) -> Option<Finish> {
        let drawn = text.get(prompt..).unwrap_or_default();
        let last = drawn.last();
        let token = last.is_some_and(|last| self.stop.contains(last));
        let run = |run: &Vec<u32>| !run.is_empty() && drawn.ends_with(run);
        if token || self.stop_sequences.iter().any(run) {
            return Some(Finish::Stop);
        }
        let length = (drawn.len() >= self.max_tokens).then_some(Finish::Length);
        length.or_else(|| self.full(text.len(), room))
    }

    /// The token that a draw from `[0, 1)` chooses from a model's logits after `text`.
    pub(crate) fn choose(
        &self,
        text: &[u32],
        logits: &[f32],
        filter: Option<&mut Filter<'_>>,
        draw: &mut rng::Stream,
    ) -> Result<u32> {
        let mut logits = logits.to_vec();
        self.penalise(text, &mut logits);
        if let Some(filter) = filter {
            filter(text, &mut logits);
        }
        let candidates = self.candidates(&logits);
        let Some(&(mut token, _)) = candidates.first() else {
            return Err(Error::NoTokenLeft {
                position: text.len(),
            });
        };
        if candidates.len() > 1 {
            let mut left: f64 = draw.random();
            for &(candidate, probability) in &candidates {
                token = candidate;
                left -= probability;
                if left < 0.0 {
                    break;
                }
            }
        }
        Ok(token)
    }

    /// A token with what the model itself says of it.
    pub(crate) fn told(&self, logits: &[f32], token: u32) -> GeneratedToken {
        let mut alternatives = Vec::new();
        if self.alternatives > 0 {
            let best = refrain_core::kernels::top_k(logits, self.alternatives);
            let told = best.into_iter();
            alternatives = told
                .map(|s| (s.index, log_probability(logits, s.index)))
                .collect();
        }
        GeneratedToken {
            token,
            log_probability: log_probability(logits, token),
            alternatives,
        }
    }
}

/// The tokens whose surprise is nearest to the expected one until their weights reach the share `p` of
/// all, which add up to `sum`.
fn typical(mut weighted: Vec<(u32, f64)>, sum: f64, p: f64) -> Vec<(u32, f64)> {
    let surprise = |x: f64| -(x / sum).ln();
    let positive = weighted.iter().filter(|(_, x)| *x > 0.0);
    let expected: f64 = positive.map(|&(_, x)| x / sum * surprise(x)).sum();
    // Equal ones stay in the order of likelihood.
    weighted.sort_by(|a, b| {
        let off = |x: f64| (surprise(x) - expected).abs();
        off(a.1).total_cmp(&off(b.1))
    });
    let mut reached = 0.0;
    let kept = weighted.iter().take_while(|(_, x)| {
        let before = reached;
        reached += x;
        before < p * sum
    });
    let n = kept.count();
    weighted.truncate(n);
    weighted
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
pub(crate) mod tests;
