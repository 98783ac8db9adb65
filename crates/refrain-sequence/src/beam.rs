//! The likeliest text instead of a drawn one: beam search.

use crate::language_model::log_probabilities_of;
use crate::{Error, Finish, Generated, LanguageModel, Prompt, Result};

/// Beam search: keeps the `width` likeliest beginnings, continues each with all tokens, and keeps the
/// likeliest again. For translations and summaries; open-ended text comes out dull and repeats itself
/// (Holtzman et al., 2020).
///
/// Finished texts are ranked by `log p / length^length_penalty` (after Wu et al., *Google's Neural Machine
/// Translation System*, 2016): 0 prefers short texts, 1 is the mean per token. Ends when no text that is
/// not finished can become better than the worst of `width` finished ones, at `max_tokens`, or where a model
/// that does not [slide](LanguageModel::slides) is full, one token later than a
/// [`Sampler`](crate::Sampler), for the last is not read.
///
/// What of a [`Sampler`](crate::Sampler) has no place here: temperature and its kin, penalties, biases, stop
/// strings, a filter, alternatives.
///
/// ```no_run
/// # use refrain_sequence::{BeamSearch, LanguageModel};
/// # fn f(model: &dyn LanguageModel) -> refrain_sequence::Result<()> {
/// let search = BeamSearch { width: 5, stop: vec![2], ..BeamSearch::default() };
/// for text in search.generate(model, &[0])? {
///     println!("{:.2} {:?}", text.mean_log_probability(), text.tokens);
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct BeamSearch {
    /// How many beginnings are kept; 1 is greedy choice.
    pub width: usize,
    /// The power of the length that a text's log-probability is divided by.
    pub length_penalty: f32,
    /// Tokens that end a text; the one that ended it is the text's last.
    pub stop: Vec<u32>,
    /// The most tokens of a text.
    pub max_tokens: usize,
    /// No run of so many tokens stands in a text twice; 0 allows all.
    pub no_repeat: usize,
}

impl Default for BeamSearch {
    fn default() -> Self {
        Self {
            width: 4,
            length_penalty: 1.0,
            stop: Vec::new(),
            max_tokens: 256,
            no_repeat: 0,
        }
    }
}

/// A beginning.
struct Beam {
    logits: Vec<f32>,
    tokens: Vec<u32>,
    log_probabilities: Vec<f32>,
    sum: f64,
}

impl BeamSearch {
    /// Up to `width` texts after the prompt, the best first.
    ///
    /// # Errors
    /// [`Error::Config`] for no beams or a penalty that is no number, [`Error::TooShort`] for an empty
    /// prompt, [`Error::Token`], [`Error::NoTokenLeft`].
    pub fn generate(&self, model: &dyn LanguageModel, prompt: &[u32]) -> Result<Vec<Generated>> {
        self.continue_prompt(&Prompt::read(model, prompt)?)
    }

    /// The same after a prompt that was read before.
    ///
    /// # Errors
    /// As [`generate`](Self::generate).
    pub fn continue_prompt(&self, prompt: &Prompt<'_>) -> Result<Vec<Generated>> {
        if self.width == 0 {
            return Err(Error::config("BeamSearch.width", 0, "at least 1"));
        }
        if !(self.length_penalty.is_finite() && self.length_penalty >= 0.0) {
            let value = self.length_penalty;
            return Err(Error::config(
                "BeamSearch.length_penalty",
                value,
                "0 or more",
            ));
        }
        let mut states = prompt.state().beams();
        let mut beams = vec![Beam {
            logits: prompt.logits().to_vec(),
            tokens: Vec::new(),
            log_probabilities: Vec::new(),
            sum: 0.0,
        }];
        let mut finished: Vec<(f64, Generated)> = Vec::new();
        let most = self.most(prompt);
        for length in 1..=most {
            // All continuations of all beams, the likeliest first; equal ones by beam and token.
            let mut next: Vec<(f64, usize, u32, f32)> = Vec::new();
            for (at, beam) in beams.iter().enumerate() {
                let banned = self.banned(prompt.tokens(), &beam.tokens);
                let own = log_probabilities_of(&beam.logits);
                let own = (0u32..)
                    .zip(own)
                    .filter(|(token, log)| *log > f32::NEG_INFINITY && !banned.contains(token));
                let mut own: Vec<_> = own
                    .map(|(token, log)| (beam.sum + f64::from(log), at, token, log))
                    .collect();
                let better = |a: &(f64, usize, u32, f32), b: &(f64, usize, u32, f32)| {
                    b.0.total_cmp(&a.0).then(a.2.cmp(&b.2))
                };
                // Stop tokens among the best must not leave fewer than `width` to go on.
                let own_most = self.width.saturating_add(self.stop.len());
                if own.len() > own_most {
                    own.select_nth_unstable_by(own_most, better);
                    own.truncate(own_most);
                }
                own.sort_by(better);
                next.extend(own);
            }
            next.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
            if next.is_empty() && finished.is_empty() {
                return Err(Error::NoTokenLeft {
                    position: prompt.tokens().len() + length - 1,
                });
            }
            let mut kept = Vec::new();
            for (rank, (sum, at, token, log)) in next.into_iter().enumerate() {
                let stops = self.stop.contains(&token);
                if (stops && rank >= self.width) || kept.len() == self.width {
                    continue;
                }
                let Some(beam) = beams.get(at) else { continue };
                let mut tokens = beam.tokens.clone();
                tokens.push(token);
                let mut log_probabilities = beam.log_probabilities.clone();
                log_probabilities.push(log);
                match stops || length == most {
                    true => {
                        let finish = match stops {
                            true => Finish::Stop,
                            false if length < self.max_tokens => Finish::Context,
                            false => Finish::Length,
                        };
                        let text = Generated {
                            alternatives: vec![Vec::new(); tokens.len()],
                            tokens,
                            log_probabilities,
                            finish,
                        };
                        finished.push((self.score(sum, length), text));
                    }
                    false => kept.push((sum, at, tokens, log_probabilities)),
                }
            }
            finished.sort_by(|a, b| b.0.total_cmp(&a.0));
            finished.truncate(self.width);
            let best = kept.first().map(|beam| beam.0);
            // No more tokens make a text likelier; more of them divide by more.
            let hope = best.map(|sum| self.score(sum, most).max(self.score(sum, length)));
            let worst = finished.last().map(|(score, _)| *score);
            let enough = finished.len() == self.width && hope <= worst;
            if kept.is_empty() || enough {
                break;
            }
            let parents: Vec<usize> = kept.iter().map(|beam| beam.1).collect();
            let newest: Vec<u32> = kept.iter().filter_map(|b| b.2.last().copied()).collect();
            let logits = states.advance(&parents, &newest)?;
            beams = kept
                .into_iter()
                .zip(logits)
                .map(|((sum, _, tokens, log_probabilities), logits)| Beam {
                    logits,
                    tokens,
                    log_probabilities,
                    sum,
                })
                .collect();
        }
        Ok(finished.into_iter().map(|(_, text)| text).collect())
    }

    /// The most tokens of a text after a prompt.
    fn most(&self, prompt: &Prompt<'_>) -> usize {
        match prompt.room.context.filter(|_| !prompt.room.slides) {
            Some(context) => {
                // The last token is not read any more.
                let left = context
                    .saturating_add(1)
                    .saturating_sub(prompt.tokens().len());
                self.max_tokens.min(left)
            }
            None => self.max_tokens,
        }
    }

    fn score(&self, sum: f64, length: usize) -> f64 {
        sum / (length as f64).powf(f64::from(self.length_penalty))
    }

    /// Tokens that would end a run that stands in the text already.
    fn banned(&self, prompt: &[u32], tokens: &[u32]) -> Vec<u32> {
        let n = self.no_repeat;
        if n == 0 {
            return Vec::new();
        }
        let text: Vec<u32> = prompt.iter().chain(tokens).copied().collect();
        let Some(from) = (text.len() + 1).checked_sub(n) else {
            return Vec::new();
        };
        let last = &text[from..];
        let runs = text.windows(n).filter(|run| run.starts_with(last));
        runs.filter_map(|run| run.last().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampler::tests::Table;

    fn table(n: usize) -> Table {
        let row = |i: usize| {
            let value = |j: usize| ((i * 7 + j * 5 + i * j * 3) % 13) as f32 / 4.0;
            (0..n).map(value).collect()
        };
        Table((0..n).map(row).collect())
    }

    /// All texts with their scores, the best first.
    fn all(search: &BeamSearch, model: &Table, prompt: u32) -> Vec<(f64, Vec<u32>)> {
        let mut done = Vec::new();
        let mut open = vec![(0.0, vec![prompt])];
        for length in 1..=search.max_tokens {
            let mut next = Vec::new();
            for (sum, text) in open {
                let logits = &model.0[*text.last().unwrap() as usize];
                for (token, log) in log_probabilities_of(logits).enumerate() {
                    let text = [&text[..], &[token as u32]].concat();
                    let sum: f64 = sum + f64::from(log);
                    match search.stop.contains(&(token as u32)) || length == search.max_tokens {
                        true => done.push((search.score(sum, length), text[1..].to_vec())),
                        false => next.push((sum, text)),
                    }
                }
            }
            open = next;
        }
        done.sort_by(|a, b| b.0.total_cmp(&a.0));
        done
    }

    #[test]
    fn a_wide_search_finds_the_best_of_all() {
        let model = table(5);
        for length_penalty in [0.0, 0.6, 1.0, 2.0] {
            let search = BeamSearch {
                width: 700,
                length_penalty,
                stop: vec![4],
                max_tokens: 4,
                no_repeat: 0,
            };
            let expected = all(&search, &model, 1);
            let found = search.generate(&model, &[1]).unwrap();
            assert_eq!(found.len(), expected.len());
            for (text, (score, _)) in found.iter().zip(&expected) {
                let sum: f64 = text.log_probabilities.iter().map(|&l| f64::from(l)).sum();
                assert!((search.score(sum, text.tokens.len()) - score).abs() < 1e-5);
                assert_eq!(text.finish == Finish::Stop, text.tokens.last() == Some(&4));
            }
            assert_eq!(found[0].tokens, expected[0].1);
            // A narrow one finds no better ones, and ends as it should.
            let narrow = BeamSearch {
                width: 3,
                ..search.clone()
            };
            let texts = narrow.generate(&model, &[1]).unwrap();
            assert_eq!(texts.len(), 3);
        }
    }

    #[test]
    fn one_beam_is_greedy_and_runs_are_not_repeated() {
        let model = table(7);
        let search = BeamSearch {
            width: 1,
            max_tokens: 20,
            ..BeamSearch::default()
        };
        let greedy = crate::Sampler {
            temperature: 0.0,
            max_tokens: 20,
            ..Default::default()
        };
        let expected = greedy.generate(&model, &[2]).unwrap();
        assert_eq!(
            search.generate(&model, &[2]).unwrap()[0].tokens,
            expected.tokens
        );
        let search = BeamSearch {
            no_repeat: 2,
            width: 3,
            ..search
        };
        for text in search.generate(&model, &[2]).unwrap() {
            let text = [&[2], &text.tokens[..]].concat();
            let mut pairs: Vec<&[u32]> = text.windows(2).collect();
            let count = pairs.len();
            pairs.sort_unstable();
            pairs.dedup();
            assert_eq!(pairs.len(), count, "{text:?}");
        }
        let tiny = Table(vec![vec![0.0]]);
        let error = BeamSearch {
            no_repeat: 1,
            ..search.clone()
        }
        .generate(&tiny, &[0])
        .unwrap_err();
        assert!(matches!(error, Error::NoTokenLeft { .. }), "{error}");
        assert!(
            BeamSearch {
                width: 0,
                ..search.clone()
            }
            .generate(&model, &[2])
            .is_err()
        );
        assert!(
            BeamSearch {
                length_penalty: f32::NAN,
                ..search.clone()
            }
            .generate(&model, &[2])
            .is_err()
        );
        assert!(search.generate(&model, &[]).is_err());
        let all = BeamSearch {
            width: usize::MAX,
            max_tokens: 2,
            stop: vec![0],
            ..search.clone()
        };
        assert!(!all.generate(&model, &[2]).unwrap().is_empty());
        let none = BeamSearch {
            max_tokens: 0,
            ..search
        };
        assert!(none.generate(&model, &[2]).unwrap().is_empty());
    }
}
