//! BLEU, how much of a translation's n-grams stand in a reference.
//!
//! `BLEU = min(1, e^(1 - r/h)) · (p₁ p₂ p₃ p₄)^¼` (Papineni et al., *BLEU: a method for automatic
//! evaluation of machine translation*, 2002): `pₙ` is the share of n-grams of all texts that stand in the
//! references too, each counted as often as in the reference where it stands most often; `h` and `r` are
//! the lengths of the texts and of the references closest to them in length, the shorter of two.
//!
//! The numbers are those of sacreBLEU (Post, *A call for clarity in reporting BLEU scores*, 2018) with
//! its defaults: mteval's tokenization 13a, case kept, and for an order without any match
//! `pₙ = 1 / (2ᵏ · n-grams)`, `k` counting such orders (Chen and Cherry, 2014, method 3).

use std::collections::HashMap;

use super::{check_references, words};
use crate::Result;

/// The highest order of n-grams.
pub(super) const ORDER: usize = 4;

/// How BLEU is computed. The default is sacreBLEU's, signature
/// `case:mixed|eff:no|tok:13a|smooth:exp`.
///
/// ```
/// use refrain_sequence::metrics::Bleu;
///
/// let written = ["A dog runs on the beach.", "Two men are talking."];
/// let references = [["A dog runs along the beach."], ["Two men talk."]];
/// let bleu = Bleu::default().corpus(&written, &references)?;
/// assert_eq!(format!("{:.2}", bleu.score), "29.73"); // of 100
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bleu {
    /// Whether upper and lower case are the same.
    pub lowercase: bool,
    /// Whether the texts are tokens already, with spaces between them; else 13a cuts them.
    pub tokenized: bool,
}

/// A BLEU score with what it is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct BleuScore {
    /// From 0 to 100.
    pub score: f64,
    /// Of each order of n-grams, from 0 to 100, smoothed.
    pub precisions: [f64; ORDER],
    /// What the precisions are multiplied with, at most 1.
    pub brevity_penalty: f64,
    /// n-grams that stand in a reference.
    pub matches: [usize; ORDER],
    /// n-grams.
    pub totals: [usize; ORDER],
    /// Tokens of the texts.
    pub length: usize,
    /// Tokens of the references closest in length.
    pub reference_length: usize,
}

#[derive(Default)]
pub(super) struct Counts {
    pub(super) matches: [usize; ORDER],
    pub(super) totals: [usize; ORDER],
    pub(super) length: usize,
    pub(super) reference_length: usize,
}

impl Bleu {
    /// The score of all texts together; `references` holds those of each text.
    ///
    /// # Errors
    /// When there are not as many lists of references as texts, or one of them is empty.
    pub fn corpus<S, R, T>(&self, texts: &[S], references: &[R]) -> Result<BleuScore>
    where
        S: AsRef<str>,
        R: AsRef<[T]>,
        T: AsRef<str>,
    {
        check_references(texts.len(), references)?;
        let mut counts = Counts::default();
        for (text, references) in texts.iter().zip(references) {
            self.count(text.as_ref(), references.as_ref(), &mut counts);
        }
        Ok(counts.score(false))
    }

    /// The score of one text, over the orders that it is long enough for (sacreBLEU's effective order).
    /// The mean of such scores is not the score of a corpus.
    ///
    /// # Errors
    /// When there is no reference.
    pub fn sentence<T: AsRef<str>>(&self, text: &str, references: &[T]) -> Result<BleuScore> {
        check_references(1, &[references])?;
        let mut counts = Counts::default();
        self.count(text, references, &mut counts);
        Ok(counts.score(true))
    }

    /// A text's tokens with spaces between them.
    pub fn tokenize(&self, text: &str) -> String {
        let lower;
        let text = if self.lowercase {
            lower = text.to_lowercase();
            &lower
        } else {
            text
        };
        let text = if self.tokenized {
            text.to_string()
        } else {
            mteval_13a(text)
        };
        words(&text).collect::<Vec<_>>().join(" ")
    }

    fn count<T: AsRef<str>>(&self, text: &str, references: &[T], counts: &mut Counts) {
        let text = self.tokenize(text);
        let text: Vec<&str> = words(&text).collect();
        let references: Vec<String> = references
            .iter()
            .map(|r| self.tokenize(r.as_ref()))
            .collect();
        let references: Vec<Vec<&str>> = references.iter().map(|r| words(r).collect()).collect();
        counts.length += text.len();
        let closest = references.iter().map(Vec::len);
        let closest = closest.min_by_key(|&n| (n.abs_diff(text.len()), n));
        counts.reference_length += closest.unwrap_or(0);
        for n in 1..=ORDER {
            let mut most: HashMap<&[&str], usize> = HashMap::new();
            for reference in &references {
                for (gram, count) in ngrams(reference, n) {
                    let most = most.entry(gram).or_default();
                    *most = count.max(*most);
                }
            }
            for (gram, count) in ngrams(&text, n) {
                counts.totals[n - 1] += count;
                counts.matches[n - 1] += count.min(most.get(gram).copied().unwrap_or(0));
            }
        }
    }
}

pub(super) fn ngrams<'t, 's>(tokens: &'t [&'s str], n: usize) -> HashMap<&'t [&'s str], usize> {
    let mut counts = HashMap::new();
    for gram in tokens.windows(n) {
        *counts.entry(gram).or_default() += 1;
    }
    counts
}

impl Counts {
    pub(super) fn score(self, effective_order: bool) -> BleuScore {
        let (length, reference) = (self.length as f64, self.reference_length as f64);
        let brevity_penalty = match length {
            _ if length >= reference => 1.0,
            0.0 => 0.0,
            _ => (1.0 - reference / length).exp(),
        };
        let mut precisions = [0.0; ORDER];
        let (mut order, mut score) = (ORDER, 0.0);
        if self.matches.iter().any(|&n| n > 0) {
            let mut missed = 1.0;
            for (n, (&matches, &total)) in self.matches.iter().zip(&self.totals).enumerate() {
                if total == 0 {
                    break;
                }
                if effective_order {
                    order = n + 1;
                }
                precisions[n] = if matches == 0 {
                    missed *= 2.0;
                    100.0 / (missed * total as f64)
                } else {
                    100.0 * matches as f64 / total as f64
                };
            }
            let logs: f64 = precisions.iter().take(order).map(|p| p.ln()).sum();
            score = brevity_penalty * (logs / order as f64).exp();
        }
        BleuScore {
            score,
            precisions,
            brevity_penalty,
            matches: self.matches,
            totals: self.totals,
            length: self.length,
            reference_length: self.reference_length,
        }
    }
}

/// Spaces around signs, as mteval-v13a puts them.
fn mteval_13a(text: &str) -> String {
    let text = text.replace("<skipped>", "").replace("-\n", "");
    let text = text
        .replace('\n', " ")
        .replace("&quot;", "\"")
        .replace("&amp;", "&")
        .replace("&lt;", "<")
        .replace("&gt;", ">");
    let mut spaced = vec![' '];
    for c in text.chars() {
        match c {
            '{'..='~' | '['..='`' | ' '..='&' | '('..='+' | ':'..='@' | '/' => {
                spaced.extend([' ', c, ' ']);
            }
            _ => spaced.push(c),
        }
    }
    spaced.push(' ');
    let digit = |c: char| c.is_ascii_digit();
    let stop = |c: char| matches!(c, '.' | ',');
    // Full stops and commas but between digits, and a dash after a digit.
    let spaced = in_pairs(&spaced, |a, b| {
        (!digit(a) && stop(b)).then(|| vec![a, ' ', b, ' '])
    });
    let spaced = in_pairs(&spaced, |a, b| {
        (stop(a) && !digit(b)).then(|| vec![' ', a, ' ', b])
    });
    let spaced = in_pairs(&spaced, |a, b| {
        (digit(a) && b == '-').then(|| vec![a, ' ', b, ' '])
    });
    spaced.into_iter().collect()
}

/// Replaces pairs from left to right; what was replaced is not looked at again.
fn in_pairs(text: &[char], replace: impl Fn(char, char) -> Option<Vec<char>>) -> Vec<char> {
    let mut out = Vec::with_capacity(text.len() + 8);
    let mut rest = text;
    while let [a, tail @ ..] = rest {
        rest = tail;
        if let [b, after @ ..] = tail
            && let Some(new) = replace(*a, *b)
        {
            out.extend(new);
            rest = after;
        } else {
            out.push(*a);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    /// Made by `tests/golden/make_bleu.py` with PyPI sacrebleu.
    const GOLDEN: &str = include_str!("../../tests/golden/bleu.json");

    #[derive(Deserialize)]
    struct Golden {
        texts: Vec<String>,
        references: Vec<Vec<String>>,
        tokenized: Vec<String>,
        corpora: Vec<Corpus>,
        sentences: Vec<f64>,
    }

    #[derive(Deserialize)]
    struct Corpus {
        lowercase: bool,
        tokenized: bool,
        /// How many of the texts.
        first: usize,
        score: f64,
        precisions: [f64; ORDER],
        brevity_penalty: f64,
        matches: [usize; ORDER],
        totals: [usize; ORDER],
        length: usize,
        reference_length: usize,
    }

    #[test]
    fn scores_and_tokens_are_those_of_sacrebleu() {
        let golden: Golden = serde_json::from_str(GOLDEN).unwrap();
        let bleu = Bleu::default();
        for (text, tokens) in golden.texts.iter().zip(&golden.tokenized) {
            assert_eq!(&bleu.tokenize(text), tokens);
        }
        assert!(golden.corpora.len() > 4);
        for expected in &golden.corpora {
            let bleu = Bleu {
                lowercase: expected.lowercase,
                tokenized: expected.tokenized,
            };
            let n = expected.first;
            let (texts, references) = (&golden.texts[..n], &golden.references[..n]);
            let got = bleu.corpus(texts, references).unwrap();
            assert!((got.score - expected.score).abs() < 1e-9, "{got:?}");
            assert!((got.brevity_penalty - expected.brevity_penalty).abs() < 1e-12);
            for (a, b) in got.precisions.iter().zip(expected.precisions) {
                assert!((a - b).abs() < 1e-9);
            }
            assert_eq!(got.matches, expected.matches);
            assert_eq!(got.totals, expected.totals);
            assert_eq!(
                (got.length, got.reference_length),
                (expected.length, expected.reference_length)
            );
        }
        let all = golden.texts.iter().zip(&golden.references);
        for ((text, references), expected) in all.zip(&golden.sentences) {
            let got = bleu.sentence(text, references).unwrap().score;
            assert!((got - expected).abs() < 1e-9, "{text:?}: {got} {expected}");
        }
    }

    #[test]
    fn missing_references_are_named() {
        let bleu = Bleu::default();
        let none: [[&str; 0]; 1] = [[]];
        assert!(bleu.corpus(&["a"], &none).is_err());
        assert!(bleu.corpus(&["a", "b"], &[["a"]]).is_err());
        assert!(bleu.sentence::<&str>("a", &[]).is_err());
        let empty: [[&str; 1]; 0] = [];
        assert_eq!(bleu.corpus::<&str, _, _>(&[], &empty).unwrap().score, 0.0);
    }
}
