//! Spans of labelled tokens: entities, chunks.

use std::collections::{BTreeMap, HashSet};

use super::{Matches, check_pairs};
use crate::Result;
use crate::ragged::check_size;

/// Tokens that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Span {
    /// Of what kind: `person` of `B-person`; `_` of a label that is only `B`.
    pub kind: String,
    /// The first token.
    pub from: usize,
    /// The token after the last.
    pub to: usize,
}

/// The spans of a sequence of labels, read leniently as CoNLL's script and PyPI `seqeval` do by
/// default: `B` and `S` begin a span, so does an `I` or `E` of another kind than the token before,
/// and one after `O`; `E`, `S`, `O` and a change of kind end it. So IOB1, IOB2 and IOBES are all
/// read.
///
/// ```
/// use refrain_sequence::metrics::spans;
/// let found = spans(&["B-person", "I-person", "O", "I-place"]);
/// assert_eq!((found[0].kind.as_str(), found[0].from, found[0].to), ("person", 0, 2));
/// assert_eq!((found[1].kind.as_str(), found[1].from, found[1].to), ("place", 3, 4));
/// ```
pub fn spans(labels: &[impl AsRef<str>]) -> Vec<Span> {
    let mut found = Vec::new();
    let (mut before, mut kind, mut from) = ('O', "", 0);
    let labels = labels.iter().map(AsRef::as_ref);
    for (i, label) in labels.chain(std::iter::once("O")).enumerate() {
        let (tag, own) = parse(label);
        if ends(before, tag) || (inside(before) && kind != own) {
            found.push(Span {
                kind: kind.to_string(),
                from,
                to: i,
            });
        }
        if begins(before, tag) || (inside(tag) && kind != own) {
            from = i;
        }
        (before, kind) = (tag, own);
    }
    found
}

/// The same spans as labels of IOB2: `B-` at a span's first token, `I-` at the others, `O` elsewhere.
pub fn to_iob2(labels: &[impl AsRef<str>]) -> Vec<String> {
    let mut out = vec!["O".to_string(); labels.len()];
    for span in spans(labels) {
        for (i, label) in out.iter_mut().enumerate().take(span.to).skip(span.from) {
            let tag = if i == span.from { 'B' } else { 'I' };
            *label = format!("{tag}-{}", span.kind);
        }
    }
    out
}

/// `B-person` as `B` and `person`.
pub(crate) fn parse(label: &str) -> (char, &str) {
    let tag = label.chars().next().unwrap_or('O');
    let kind = label
        .split_once('-')
        .map_or(label.get(tag.len_utf8()..), |(_, kind)| Some(kind));
    (tag, kind.filter(|kind| !kind.is_empty()).unwrap_or("_"))
}

fn inside(tag: char) -> bool {
    !matches!(tag, 'O' | '.')
}

fn ends(before: char, tag: char) -> bool {
    matches!(before, 'E' | 'S') || (matches!(before, 'B' | 'I') && matches!(tag, 'B' | 'S' | 'O'))
}

fn begins(before: char, tag: char) -> bool {
    matches!(tag, 'B' | 'S') || (matches!(before, 'E' | 'S' | 'O') && matches!(tag, 'E' | 'I'))
}

/// How well spans were found; one counts where kind, first and last token are right.
///
/// ```
/// use refrain_sequence::metrics::SpanScores;
/// let truth = [vec!["B-person", "I-person", "O", "B-place"]];
/// let found = [vec!["B-person", "O", "O", "B-place"]];
/// let scores = SpanScores::new(&truth, &found)?;
/// assert_eq!(scores.micro().f1(), 0.5);
/// assert_eq!(scores.kinds["place"].f1(), 1.0);
/// # Ok::<(), refrain_sequence::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SpanScores {
    /// The scores of each kind.
    pub kinds: BTreeMap<String, Matches>,
}

impl SpanScores {
    /// The scores of labels, a sequence of them for each sequence of true ones.
    ///
    /// # Errors
    /// [`Error::Core`](crate::Error::Core) for other numbers of sequences or of labels in one,
    /// [`Error::TooShort`](crate::Error::TooShort) without any sequence.
    pub fn new<A: AsRef<str>, B: AsRef<str>>(truth: &[Vec<A>], found: &[Vec<B>]) -> Result<Self> {
        check_pairs(truth.len(), found.len())?;
        let mut scores = Self::default();
        for (i, (truth, found)) in truth.iter().zip(found).enumerate() {
            check_size(&format!("labels of sequence {i}"), truth.len(), found.len())?;
            let (truth, found) = (spans(truth), spans(found));
            let right: HashSet<&Span> = truth.iter().collect();
            for span in &truth {
                scores.kind(span).truth += 1;
            }
            for span in &found {
                let kind = scores.kind(span);
                kind.found += 1;
                kind.right += usize::from(right.contains(span));
            }
        }
        Ok(scores)
    }

    fn kind(&mut self, span: &Span) -> &mut Matches {
        self.kinds.entry(span.kind.clone()).or_default()
    }

    /// The scores of all spans together.
    pub fn micro(&self) -> Matches {
        let mut sum = Matches::default();
        self.kinds.values().for_each(|kind| sum.add(kind));
        sum
    }

    /// The mean of the kinds' F1.
    pub fn macro_f1(&self) -> f64 {
        let sum: f64 = self.kinds.values().map(Matches::f1).sum();
        sum / self.kinds.len().max(1) as f64
    }
}

impl std::fmt::Display for SpanScores {
    /// A row per kind and one for all: precision, recall, F1, and how many there are.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:20} precision  recall      F1  there", "")?;
        let all = ("all", &self.micro());
        let kinds = self
            .kinds
            .iter()
            .map(|(kind, scores)| (kind.as_str(), scores));
        for (kind, scores) in kinds.chain(std::iter::once(all)) {
            let (p, r, f1) = (scores.precision(), scores.recall(), scores.f1());
            writeln!(f, "{kind:20} {p:9.3} {r:7.3} {f1:7.3} {:6}", scores.truth)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Golden {
        truth: Vec<Vec<String>>,
        found: Vec<Vec<String>>,
        spans: Vec<(String, usize, usize)>,
        precision: f64,
        recall: f64,
        f1: f64,
    }

    /// Made by `tests/golden/metrics/make.py`.
    #[test]
    fn spans_and_scores_equal_seqevals() {
        let golden = include_str!("../../tests/golden/metrics/spans.json");
        let golden: Vec<Golden> = serde_json::from_str(golden).unwrap();
        assert!(golden.len() >= 30);
        for case in &golden {
            let first = spans(&case.found[0]).into_iter();
            let first: Vec<_> = first.map(|s| (s.kind, s.from, s.to - 1)).collect();
            assert_eq!(first, case.spans, "{:?}", case.found[0]);
            let scores = SpanScores::new(&case.truth, &case.found).unwrap().micro();
            for (own, other) in [
                (scores.precision(), case.precision),
                (scores.recall(), case.recall),
                (scores.f1(), case.f1),
            ] {
                assert!(
                    (own - other).abs() < 1e-12,
                    "{:?}: {own} {other}",
                    case.found
                );
            }
        }
    }

    proptest! {
        #[test]
        fn iob2_keeps_the_spans(
            labels in proptest::collection::vec("[BIESO](-[ab])?|", 0..9)
        ) {
            let iob2 = to_iob2(&labels);
            prop_assert_eq!(spans(&iob2), spans(&labels));
            // An I never begins.
            let mut before = "O".to_string();
            for label in iob2 {
                if let Some(kind) = label.strip_prefix("I-") {
                    prop_assert!(before.ends_with(&format!("-{kind}")), "{} {}", before, label);
                }
                before = label;
            }
        }
    }

    #[test]
    fn sizes_are_checked() {
        assert!(SpanScores::new(&[vec!["O"]], &[vec!["O", "O"]]).is_err());
        assert!(SpanScores::new(&[vec!["O"]], &[vec!["O"], vec!["O"]]).is_err());
        let nothing = SpanScores::new(&[vec!["O"]], &[vec!["O"]]).unwrap();
        assert_eq!((nothing.micro().f1(), nothing.macro_f1()), (0.0, 0.0));
    }
}
