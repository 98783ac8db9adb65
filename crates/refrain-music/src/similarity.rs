//! How much one tune copies another.
//!
//! A tune becomes the sequence of its steps: the interval to the next note and how the two lengths
//! compare. Transposition and notation (2/4 in semiquavers or C| in quavers) make no difference. The
//! longest run shared with a corpus is found by a suffix automaton of the tune (Blumer et al., 1985):
//! built once in time linear in the tune, then each note of the corpus is one step in it.

use std::collections::HashMap;

use crate::tune::Tune;

/// A step between two notes: semitones, and length against the next length on a log scale.
pub type Step = (i8, i8);

/// The longest run found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedRun {
    /// Notes in the run (steps and one); 0 if the tunes share no step.
    pub notes: usize,
    /// Which tune of the corpus.
    pub tune: usize,
    /// Its first note there, in the order written.
    pub corpus_note: usize,
    /// Its first note in the tune asked about.
    pub note: usize,
}

/// Steps of a tune as written, repeats once, grace notes left out.
pub fn steps(tune: &Tune) -> Vec<Step> {
    let notes = tune.perform_once().notes;
    notes
        .windows(2)
        .map(|w| {
            let interval = (i32::from(w[1].pitch) - i32::from(w[0].pitch)).clamp(-60, 60) as i8;
            let ratio = (w[1].duration / w[0].duration).to_f64().max(1e-3);
            // Two steps an octave of lengths: a dotted pair and a triplet stay apart.
            let ratio = (ratio.log2() * 4.0).round().clamp(-40.0, 40.0) as i8;
            (interval, ratio)
        })
        .collect()
}

/// The longest run of notes that `tune` shares with any tune of `corpus`.
///
/// ```
/// use refrain_music::{Tune, longest_shared_run};
/// let a = Tune::parse("X:1\nM:C\nL:1/8\nK:G\nGABc dedB|c2 A2 G4|]\n")?;
/// let b = Tune::parse("X:1\nM:2/4\nL:1/16\nK:D\nF4|DEFG ABAF|D8|]\n")?;
/// let run = longest_shared_run(&a, [&b]);
/// assert_eq!(run.notes, 8); // GABc dedB and DEFG ABAF
/// assert_eq!((run.note, run.corpus_note), (0, 1));
/// # Ok::<(), refrain_music::Error>(())
/// ```
pub fn longest_shared_run<'a>(
    tune: &Tune,
    corpus: impl IntoIterator<Item = &'a Tune>,
) -> SharedRun {
    let index = RunIndex::new(tune);
    let mut best = SharedRun {
        notes: 0,
        tune: 0,
        corpus_note: 0,
        note: 0,
    };
    for (i, other) in corpus.into_iter().enumerate() {
        let run = index.longest(&steps(other));
        if run.notes > best.notes {
            best = SharedRun { tune: i, ..run };
        }
    }
    best
}

/// A tune prepared to be compared with many others, whose [`steps`] may be kept.
#[derive(Clone, Debug)]
pub struct RunIndex {
    states: Vec<State>,
}

#[derive(Clone, Debug, Default)]
struct State {
    next: HashMap<Step, usize>,
    link: Option<usize>,
    length: usize,
    /// Where its first occurrence ends.
    end: usize,
}

impl RunIndex {
    /// Builds the suffix automaton of a tune's steps.
    pub fn new(tune: &Tune) -> Self {
        Self::from_steps(&steps(tune))
    }

    /// Builds it from steps.
    pub fn from_steps(steps: &[Step]) -> Self {
        let mut states = vec![State::default()];
        let mut last = 0;
        for (i, step) in steps.iter().enumerate() {
            let current = states.len();
            states.push(State {
                length: states[last].length + 1,
                end: i + 1,
                ..State::default()
            });
            let mut p = Some(last);
            while let Some(k) = p {
                if states[k].next.contains_key(step) {
                    break;
                }
                states[k].next.insert(*step, current);
                p = states[k].link;
            }
            states[current].link = Some(match p {
                None => 0,
                Some(k) => {
                    let q = states[k].next[step];
                    if states[q].length == states[k].length + 1 {
                        q
                    } else {
                        let clone = states.len();
                        let copy = State {
                            length: states[k].length + 1,
                            ..states[q].clone()
                        };
                        states.push(copy);
                        let mut p = Some(k);
                        while let Some(k) = p {
                            match states[k].next.get_mut(step) {
                                Some(to) if *to == q => *to = clone,
                                _ => break,
                            }
                            p = states[k].link;
                        }
                        states[q].link = Some(clone);
                        clone
                    }
                }
            });
            last = current;
        }
        Self { states }
    }

    /// The longest run that also stands in these steps; `tune` in the answer is 0.
    pub fn longest(&self, other: &[Step]) -> SharedRun {
        let mut best = SharedRun {
            notes: 0,
            tune: 0,
            corpus_note: 0,
            note: 0,
        };
        let (mut state, mut length) = (0, 0);
        for (i, step) in other.iter().enumerate() {
            while state != 0 && !self.states[state].next.contains_key(step) {
                state = self.states[state].link.unwrap_or(0);
                length = self.states[state].length;
            }
            match self.states[state].next.get(step) {
                Some(to) => {
                    state = *to;
                    length += 1;
                }
                None => length = 0,
            }
            if length > 0 && length + 1 > best.notes {
                best = SharedRun {
                    notes: length + 1,
                    tune: 0,
                    corpus_note: i + 1 - length,
                    note: self.states[state].end - length,
                };
            }
        }
        best
    }
}

/// The same by comparing every pair of places: slow, obvious.
pub fn longest_shared_run_reference(a: &[Step], b: &[Step]) -> usize {
    let mut best = 0;
    for i in 0..a.len() {
        for j in 0..b.len() {
            let run = a[i..]
                .iter()
                .zip(&b[j..])
                .take_while(|(x, y)| x == y)
                .count();
            best = best.max(run);
        }
    }
    if best == 0 { 0 } else { best + 1 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn automaton_agrees_with_brute_force(
            a in prop::collection::vec((0i8..3, 0i8..2), 0..60),
            b in prop::collection::vec((0i8..3, 0i8..2), 0..60),
        ) {
            let run = RunIndex::from_steps(&a).longest(&b);
            prop_assert_eq!(run.notes, longest_shared_run_reference(&a, &b));
            if run.notes > 0 {
                let n = run.notes - 1;
                prop_assert_eq!(&a[run.note..run.note + n], &b[run.corpus_note..run.corpus_note + n]);
            }
        }
    }

    #[test]
    fn a_tune_is_its_own_copy() {
        let t = Tune::parse("X:1\nM:C\nL:1/8\nK:G\nGABc dedB|c2 A2 G4|]\n").unwrap();
        let moved = t.transpose(5).unwrap();
        assert_eq!(longest_shared_run(&t, [&moved]).notes, 11);
        assert_eq!(longest_shared_run(&t, []).notes, 0);
    }
}
