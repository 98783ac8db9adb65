//! Texts: those to learn from, checked; and those that a model writes.

use rand::RngExt;
use rayon::prelude::*;
use refrain_sequence::{Corpus, LanguageModel, Prompt, Sampler};

use super::TextFrame;
use crate::random::{Purpose, stream};
use crate::{Error, Result};

/// The training texts, which must fit the frame.
pub(super) fn texts(corpus: &Corpus, frame: &TextFrame) -> Result<Vec<Vec<u32>>> {
    let fits = |text: &[u32]| {
        text.first() == Some(&frame.start)
            && text.last() == Some(&frame.end)
            && (2..=frame.longest + 1).contains(&text.len())
    };
    let all: Vec<Vec<u32>> = corpus.train().iter().map(<[u32]>::to_vec).collect();
    if all.is_empty() {
        return Err(Error::Empty {
            what: "texts to learn from",
        });
    }
    match all.iter().position(|text| !fits(text)) {
        None => Ok(all),
        Some(at) => {
            let expected = format!(
                "token {}, then at most {} with {} as the last",
                frame.start, frame.longest, frame.end
            );
            let found = format!(
                "{} tokens that begin and end otherwise, or too many",
                all[at].len()
            );
            Err(Error::shape(format!("text {at}"), expected, found))
        }
    }
}

/// `count` texts by a model, with the token they begin with.
pub(super) fn write(
    model: &dyn LanguageModel,
    frame: &TextFrame,
    temperature: f32,
    count: usize,
    seed: u64,
) -> Result<Vec<Vec<u32>>> {
    let text = |i: usize| -> Result<Vec<u32>> {
        let sampler = Sampler {
            temperature,
            stop: vec![frame.end],
            max_tokens: frame.longest,
            seed: stream(seed, Purpose::Sequence, i as u64).random(),
            ..Sampler::default()
        };
        let mut text = vec![frame.start];
        text.extend(sampler.generate(model, &[frame.start])?.tokens);
        Ok(text)
    };
    (0..count).into_par_iter().map(text).collect()
}

/// For each token of a text after the first and before the last, `count` ends that the generator writes
/// after it, with the text so far.
pub(super) fn rollouts(
    generator: &dyn LanguageModel,
    frame: &TextFrame,
    count: usize,
    text: &[u32],
    seed: u64,
) -> Result<Vec<Vec<u32>>> {
    let mut prompt = Prompt::read(generator, &text[..1])?;
    let mut ends = Vec::new();
    for t in 1..text.len() - 1 {
        prompt.push(&text[t..=t])?;
        for rollout in 0..count {
            let index = (t * count + rollout) as u64;
            let sampler = Sampler {
                stop: vec![frame.end],
                max_tokens: frame.longest - t,
                seed: stream(seed, Purpose::Sequence, index).random(),
                ..Sampler::default()
            };
            let mut end = text[..=t].to_vec();
            end.extend(sampler.continue_prompt(&prompt)?.finish()?.tokens);
            ends.push(end);
        }
    }
    Ok(ends)
}
