//! BLEU of many texts against many: whether generated texts read like real ones, and whether they read
//! like each other.
//!
//! A text's score is its sentence BLEU with *all* other texts as references, and the metric is the mean:
//! with real texts as references a measure of quality, with the generated ones themselves (each but
//! itself) the self-BLEU of Zhu et al., *Texygen*, 2018: high where a generator repeats itself.
//!
//! **Cost**: each reference's n-grams are counted once, not once per text.

use std::collections::HashMap;

use super::bleu::{Bleu, Counts, ORDER, ngrams};
use super::words;
use crate::{Error, Result};

/// How often an n-gram stands in the reference where it stands most often, which reference that is, and
/// how often it stands in the best of the others.
#[derive(Clone, Copy, Default)]
struct Most {
    first: usize,
    holder: usize,
    second: usize,
}

impl Bleu {
    /// The mean sentence score, from 0 to 100, of `texts`, each against all `references`.
    ///
    /// # Errors
    /// [`Error::TooShort`] without texts or references.
    pub fn mean_against<S: AsRef<str>, R: AsRef<str>>(
        &self,
        texts: &[S],
        references: &[R],
    ) -> Result<f64> {
        self.mean_of(texts, references, false)
    }

    /// Self-BLEU: the mean sentence score, from 0 to 100, of each text against all others. Lower is
    /// more varied; real texts have one too.
    ///
    /// # Errors
    /// [`Error::TooShort`] for fewer than two texts.
    ///
    /// ```
    /// use refrain_sequence::metrics::Bleu;
    /// let bleu = Bleu::default();
    /// let same = bleu.self_score(&["the sea is wide and blue", "the sea is wide and blue"])?;
    /// let other = bleu.self_score(&["the sea is wide and blue", "a dog ran over the hill"])?;
    /// assert!((same - 100.0).abs() < 1e-9 && other < 15.0);
    /// # Ok::<(), refrain_sequence::Error>(())
    /// ```
    pub fn self_score<S: AsRef<str>>(&self, texts: &[S]) -> Result<f64> {
        self.mean_of(texts, texts, true)
    }

    fn mean_of<S: AsRef<str>, R: AsRef<str>>(
        &self,
        texts: &[S],
        references: &[R],
        leave_out: bool,
    ) -> Result<f64> {
        let needed = if leave_out { 2 } else { 1 };
        for (what, needed, found) in [
            ("texts to score", needed, texts.len()),
            ("references", needed, references.len()),
        ] {
            if found < needed {
                let what = what.to_string();
                return Err(Error::TooShort {
                    what,
                    needed,
                    found,
                });
            }
        }
        let tokenized: Vec<String> = references
            .iter()
            .map(|r| self.tokenize(r.as_ref()))
            .collect();
        let tokens: Vec<Vec<&str>> = tokenized.iter().map(|r| words(r).collect()).collect();
        let mut most: Vec<HashMap<&[&str], Most>> = vec![HashMap::new(); ORDER];
        for (n, most) in most.iter_mut().enumerate() {
            for (holder, reference) in tokens.iter().enumerate() {
                for (gram, count) in ngrams(reference, n + 1) {
                    let most = most.entry(gram).or_default();
                    if count > most.first {
                        *most = Most {
                            first: count,
                            holder,
                            second: most.first,
                        };
                    } else {
                        most.second = most.second.max(count);
                    }
                }
            }
        }
        // Length and how many references have it.
        let mut lengths: HashMap<usize, usize> = HashMap::new();
        tokens
            .iter()
            .for_each(|r| *lengths.entry(r.len()).or_default() += 1);

        let mut sum = 0.0;
        for (i, text) in texts.iter().enumerate() {
            let text = self.tokenize(text.as_ref());
            let text: Vec<&str> = words(&text).collect();
            let mut counts = Counts {
                length: text.len(),
                ..Counts::default()
            };
            let others = |(&length, &count): (&usize, &usize)| {
                let own = usize::from(leave_out && length == text.len());
                (count > own).then_some(length)
            };
            let closest = lengths.iter().filter_map(others);
            let closest = closest.min_by_key(|&n| (n.abs_diff(text.len()), n));
            counts.reference_length = closest.unwrap_or(0);
            for (n, most) in most.iter().enumerate() {
                for (gram, count) in ngrams(&text, n + 1) {
                    let most = most.get(gram).copied().unwrap_or_default();
                    let limit = if leave_out && most.holder == i {
                        most.second
                    } else {
                        most.first
                    };
                    counts.totals[n] += count;
                    counts.matches[n] += count.min(limit);
                }
            }
            sum += counts.score(true).score;
        }
        Ok(sum / texts.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn equals_the_mean_of_single_scores(
            texts in prop::collection::vec(prop::collection::vec(0u8..5, 0..9), 2..7),
            references in prop::collection::vec(prop::collection::vec(0u8..5, 0..9), 1..7),
        ) {
            let write = |tokens: &Vec<u8>| {
                tokens.iter().map(|t| format!("w{t}")).collect::<Vec<_>>().join(" ")
            };
            let texts: Vec<String> = texts.iter().map(write).collect();
            let references: Vec<String> = references.iter().map(write).collect();
            let bleu = Bleu { tokenized: true, ..Bleu::default() };
            let n = texts.len() as f64;

            let single = |t: &String| bleu.sentence(t, &references).unwrap().score;
            let expected = texts.iter().map(single).sum::<f64>() / n;
            let got = bleu.mean_against(&texts, &references).unwrap();
            prop_assert!((got - expected).abs() < 1e-9, "{got} {expected}");

            let single = |i: usize| {
                let mut others = texts.clone();
                let own = others.remove(i);
                bleu.sentence(&own, &others).unwrap().score
            };
            let expected = (0..texts.len()).map(single).sum::<f64>() / n;
            let got = bleu.self_score(&texts).unwrap();
            prop_assert!((got - expected).abs() < 1e-9, "{got} {expected}");
        }
    }

    #[test]
    fn too_few_texts_are_refused() {
        let bleu = Bleu::default();
        assert!(matches!(
            bleu.self_score(&["one"]),
            Err(Error::TooShort { .. })
        ));
        assert!(bleu.mean_against(&["one"], &[""; 0]).is_err());
        assert!(bleu.mean_against(&[""; 0], &["one"]).is_err());
    }
}
