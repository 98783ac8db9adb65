//! A small model guesses ahead, and the large one reads its guesses at once.

use refrain_core::rng;

use crate::language_model::Room;
use crate::{Error, Finish, Generated, LanguageModel, Prompt, Result, Sampler};

/// How a guessed text went.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guesses {
    /// Tokens that the small model guessed.
    pub made: usize,
    /// Those that the large one would have drawn too.
    pub right: usize,
    /// How often the large model read.
    pub reads: usize,
}

impl Sampler {
    /// What [`generate`](Self::generate) gives, token by token, in fewer steps of `model`: `draft`, a
    /// smaller model of the same vocabulary, guesses up to `ahead` tokens, `model` reads them at once, and
    /// those are kept that it would have drawn itself with the same random numbers (after Leviathan,
    /// Kalman and Matias, *Fast Inference from Transformers via Speculative Decoding*, 2023, who keep
    /// guesses by chance and the distribution alone).
    ///
    /// Pays when the guesses are often right and reading several tokens costs little more than one:
    /// with weights that do not fit the caches, and at low temperatures.
    ///
    /// # Errors
    /// As [`generate`](Self::generate), and [`Error::Config`] for nothing ahead or a draft of another
    /// vocabulary.
    pub fn generate_with_draft(
        &self,
        model: &dyn LanguageModel,
        draft: &dyn LanguageModel,
        prompt: &[u32],
        ahead: usize,
    ) -> Result<(Generated, Guesses)> {
        if ahead == 0 {
            return Err(Error::config("ahead", ahead, "at least 1 token"));
        }
        if draft.vocabulary_size() != model.vocabulary_size() {
            let value = draft.vocabulary_size();
            return Err(Error::config("draft", value, "as many tokens as the model"));
        }
        let short = |context: usize| model.context().is_none_or(|own| own > context);
        if let Some(context) = draft.context().filter(|&c| !draft.slides() && short(c)) {
            let expected = "no less than the model's, as it does not slide";
            return Err(Error::config("the draft's context", context, expected));
        }
        let (large, small) = (Prompt::read(model, prompt)?, Prompt::read(draft, prompt)?);
        let (mut state, mut logits) = (large.state().fork(), large.logits().to_vec());
        let (mut guesser, mut guess) = (small.state().fork(), small.logits().to_vec());
        self.check(logits.len())?;
        let mut draw = rng::stream(self.seed, 0);
        let mut text = prompt.to_vec();
        let (mut told, mut guesses) = (Vec::new(), Guesses::default());
        let prompt = prompt.len();
        let room = Room::of(model);
        let mut finish = self.ends_before(prompt, room);
        while finish.is_none() {
            // Guesses, with the random numbers that the model will draw with.
            let (mut imagined, mut dice) = (text.clone(), draw.clone());
            let before = guesser.fork();
            let mut guessed = Vec::new();
            while guessed.len() < ahead {
                let Ok(token) = self.choose(&imagined, &guess, None, &mut dice) else {
                    break;
                };
                imagined.push(token);
                guessed.push(token);
                if self.ends(&imagined, prompt, room).is_some() {
                    break;
                }
                guess = guesser.feed(&[token])?;
            }
            guesses.made += guessed.len();
            // The model's logits after each of them.
            let start = state.position();
            let unread = state.fork();
            let after = state.feed_each(&guessed)?;
            guesses.reads += 1;
            let (mut kept, mut all) = (0, std::iter::once(logits.clone()).chain(after));
            for at in 0..=guessed.len() {
                let Some(own) = all.next() else { break };
                let token = self.choose(&text, &own, None, &mut draw)?;
                told.push(self.told(&own, token));
                text.push(token);
                finish = self.ends(&text, prompt, room);
                if finish.is_some() || guessed.get(at) != Some(&token) {
                    break;
                }
                kept += 1;
            }
            guesses.right += kept;
            if finish.is_some() {
                break;
            }
            // Both models have read what was kept, and then the token that was drawn last.
            let Some(&last) = text.last() else { break };
            if !state.rewind(start + kept) {
                state = unread;
                state.feed_each(&guessed[..kept])?;
            }
            logits = state.feed(&[last])?;
            guesser = before;
            let read = [&guessed[..kept], &[last]].concat();
            guess = guesser.feed(&read)?;
        }
        let (mut tokens, mut log_probabilities) = (Vec::new(), Vec::new());
        let mut alternatives = Vec::new();
        for token in told {
            tokens.push(token.token);
            log_probabilities.push(token.log_probability);
            alternatives.push(token.alternatives);
        }
        let generated = Generated {
            tokens,
            log_probabilities,
            alternatives,
            finish: finish.unwrap_or(Finish::Length),
        };
        Ok((generated, guesses))
    }
}

#[cfg(test)]
mod tests {
    use crate::sampler::tests::Table;
    use crate::{Corpus, LanguageModel, Sampler, Transformer, TransformerConfig, Vocabulary};

    fn tables() -> [Table; 2] {
        let row = |seed: usize, i: usize| -> Vec<f32> {
            let value = |j: usize| ((i * 7 + j * 5 + seed * i * j) % 11) as f32 / 3.0;
            (0..9).map(value).collect()
        };
        // The second often guesses what the first says.
        [0, 1].map(|seed| {
            Table(
                (0..9)
                    .map(|i| row(if i % 3 == 0 { seed } else { 0 }, i))
                    .collect(),
            )
        })
    }

    fn assert_same(model: &dyn LanguageModel, draft: &dyn LanguageModel, steps: usize) {
        for temperature in [0.0, 0.7, 1.5] {
            for seed in 0..4 {
                let sampler = Sampler {
                    temperature,
                    seed,
                    top_p: Some(0.9),
                    frequency_penalty: 0.1,
                    alternatives: 2,
                    stop: vec![8],
                    max_tokens: steps,
                    ..Sampler::default()
                };
                let plain = sampler.generate(model, &[1, 2]).unwrap();
                for ahead in [1, 3, 7] {
                    let (text, guesses) = sampler
                        .generate_with_draft(model, draft, &[1, 2], ahead)
                        .unwrap();
                    assert_eq!(text.tokens, plain.tokens, "{temperature} {seed} {ahead}");
                    assert_eq!(text.finish, plain.finish);
                    for (a, b) in text.log_probabilities.iter().zip(&plain.log_probabilities) {
                        assert!((a - b).abs() < 1e-4);
                    }
                    assert!(guesses.right <= guesses.made && guesses.reads <= text.tokens.len());
                }
            }
        }
    }

    #[test]
    fn the_text_is_the_same_with_and_without_a_draft() {
        let [model, draft] = tables();
        assert_same(&model, &draft, 60);
        // A model that guesses itself is always right.
        let sampler = Sampler {
            max_tokens: 30,
            ..Sampler::default()
        };
        let (text, guesses) = sampler
            .generate_with_draft(&model, &model, &[1], 4)
            .unwrap();
        assert_eq!(
            (text.tokens.len(), guesses.made, guesses.reads),
            (30, guesses.right, 6)
        );
        let narrow = Table(vec![vec![0.0; 3]; 3]);
        assert!(
            sampler
                .generate_with_draft(&model, &narrow, &[1], 4)
                .is_err()
        );
        assert!(
            sampler
                .generate_with_draft(&model, &draft, &[1], 0)
                .is_err()
        );
    }

    #[test]
    fn transformers_guess_past_their_context() {
        let names = Vocabulary::named((0..9).map(|i| i.to_string())).unwrap();
        let corpus = Corpus::documents(names, vec![vec![0, 1, 2]]).unwrap();
        for device in ["cpu", "flex"] {
            let device = refrain_core::device(device).unwrap();
            let model = |layers, seed| {
                let config = TransformerConfig {
                    layers,
                    heads: 2,
                    width: 16,
                    context: 12,
                    ..Default::default()
                };
                Transformer::new(&config, corpus.vocabulary().clone(), seed, &device).unwrap()
            };
            assert_same(&model(2, 1), &model(1, 2), 30);
        }
    }
}
