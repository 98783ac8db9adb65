//! Session-based nearest neighbours: *people who lately went the same way went on to Y*.
//!
//! The current history is compared with the most recent others that share an item. Its newest items
//! count most, and rare ones more; a neighbour votes for what stands near the newest shared item m:
//!
//! ```text
//! s(h, n) = Σ_{i ∈ h ∩ n} 2^(−age(i) / half_life) · idf(i) / √(|h| · |n|)
//! score(j) = Σ_{n ∈ N(h)} s(h, n) · 2^(−|place_n(j) − place_n(m)| / proximity)
//! ```
//!
//! Ages and places are counted in steps. Ludewig and Jannach, *Evaluation of session-based
//! recommendation algorithms*, 2018 (V-SkNN); the nearness of the vote is from Garg et al., *Sequence
//! and time aware neighborhood for session-based recommendations*, 2019 (STAN).
//!
//! **When.** Sessions and playlists, also of people never seen: nothing is trained, and a new session
//! counts at once. Hard to beat where sessions are short.
//!
//! **Cost.** Fit: one pass over the log. An answer: at most `sample` sessions for each item of the
//! history, then the items of `neighbours` sessions.
//!
//! A history given to [`recommend_for`](Recommender::recommend_for) counts as someone new's: that of a
//! user of the log finds this user among its neighbours.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by the last-but-one item of each user.

use std::collections::HashMap;

use refrain_core::kernels::TopK;
use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::{Sequences, check, ordered};
use crate::neighbours::sparse::Csr;
use crate::{Change, Contribution, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.session_knn";
const NAME: &str = "session-kNN";

/// Settings of session-based nearest neighbours.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionKnn {
    /// How many neighbours vote.
    pub neighbours: usize,
    /// How many of the most recent sessions with an item are looked at.
    pub sample: usize,
    /// After how many steps an item of the current history counts half.
    pub half_life: f32,
    /// How many steps away from the shared item a neighbour's vote is halved.
    pub proximity: f32,
    /// Whether rare shared items count more.
    pub idf: bool,
}

impl Default for SessionKnn {
    fn default() -> Self {
        Self {
            neighbours: 100,
            sample: 1000,
            half_life: 5.0,
            proximity: 20.0,
            idf: true,
        }
    }
}

impl SessionKnn {
    /// Indexes the sessions.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range, [`Error::Data`](crate::Error::Data) for a log without times.
    pub fn fit(&self, log: &Interactions) -> Result<SessionKnnModel> {
        self.validate()?;
        let (memory, sequences) = (Memory::new(log), Sequences::new(log)?);
        Ok(SessionKnnModel::new(self.clone(), memory, sequences))
    }

    fn validate(&self) -> Result<()> {
        for (field, value) in [("neighbours", self.neighbours), ("sample", self.sample)] {
            check(NAME, field, value as f64, value >= 1, "must be at least 1")?;
        }
        for (field, value) in [("half_life", self.half_life), ("proximity", self.proximity)] {
            check(NAME, field, value.into(), value > 0.0, "must be above 0")?;
        }
        Ok(())
    }
}

/// Fitted session-based nearest neighbours.
///
/// A score is a sum of the neighbours' votes: it compares within a history, not across them, and is 0
/// where no neighbour had the item.
#[derive(Debug, Clone)]
pub struct SessionKnnModel {
    config: SessionKnn,
    memory: Memory,
    sequences: Sequences,
    /// The users by their latest event, newest first.
    recent: Vec<u32>,
    /// Row per item: who had it, as places in `recent`, and at which step.
    index: Csr,
    idf: Vec<f32>,
}

/// A session that votes.
struct Neighbour {
    user: u32,
    similarity: f32,
    /// The step at which it had the newest shared item.
    place: usize,
}

impl SessionKnnModel {
    fn new(config: SessionKnn, memory: Memory, sequences: Sequences) -> Self {
        let mut recent: Vec<u32> = (0..sequences.n_users() as u32).collect();
        recent.sort_by_key(|&user| std::cmp::Reverse(sequences.times(user).last().copied()));
        let mut sessions = Csr::with_width(memory.n_items());
        for &user in &recent {
            let items = sequences.of(user).iter().copied();
            let mut steps: Vec<(u32, f32)> = items.zip((0..).map(|n: u32| n as f32)).collect();
            steps.sort_by_key(|&(item, _)| item);
            sessions.push_row(steps);
        }
        let index = sessions.transpose();
        let n = recent.len() as f32;
        let idf = (0..memory.n_items() as u32)
            .map(|item| match (config.idf, index.row(item).0.len()) {
                (true, had) => (1.0 + n / had.max(1) as f32).ln(),
                (false, _) => 1.0,
            })
            .collect();
        Self {
            config,
            memory,
            sequences,
            recent,
            index,
            idf,
        }
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &SessionKnn {
        &self.config
    }

    /// The ordered histories it was fitted on.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: SessionKnn = file.config()?;
        config.validate()?;
        let memory = Memory::read(file)?;
        let sequences = Sequences::read(file, &memory)?;
        Ok(Box::new(Self::new(config, memory, sequences)))
    }

    /// The sessions most like a history, in the order of their recency.
    fn neighbours(&self, history: &[u32], own: Option<u32>) -> Vec<Neighbour> {
        // Similarity and the step of the newest shared item, by place in `recent`.
        let mut sums: HashMap<u32, (f32, f32)> = HashMap::new();
        let mut seen: Vec<u32> = Vec::new();
        for (age, &item) in history.iter().rev().enumerate() {
            let decay = (-(age as f32) / self.config.half_life).exp2();
            if decay == 0.0 {
                break;
            }
            if seen.contains(&item) {
                continue; // its newest occurrence counts
            }
            seen.push(item);
            let weight = decay * self.idf.get(item as usize).copied().unwrap_or_default();
            for (session, step) in self.index.pairs(item).take(self.config.sample) {
                sums.entry(session).or_insert((0.0, step)).0 += weight;
            }
        }
        let mut best = TopK::new(self.config.neighbours.min(sums.len()));
        for (&session, &(sum, _)) in &sums {
            let Some(&user) = self.recent.get(session as usize) else {
                continue;
            };
            if Some(user) != own {
                let sizes = history.len() * self.sequences.of(user).len();
                best.push(session, sum / (sizes as f32).sqrt());
            }
        }
        let mut found: Vec<_> = best.into_sorted();
        found.sort_by_key(|scored| scored.index);
        let neighbour = |scored: refrain_core::kernels::Scored| {
            Some(Neighbour {
                user: *self.recent.get(scored.index as usize)?,
                similarity: scored.score,
                place: sums.get(&scored.index)?.1 as usize,
            })
        };
        found.into_iter().filter_map(neighbour).collect()
    }

    /// A neighbour's vote for the item at one of its steps.
    fn vote(&self, neighbour: &Neighbour, step: usize) -> f32 {
        let apart = step.abs_diff(neighbour.place) as f32;
        neighbour.similarity * (-apart / self.config.proximity).exp2()
    }

    fn fill(&self, history: &[u32], own: Option<u32>, out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        out.fill(0.0);
        for neighbour in self.neighbours(history, own) {
            for (step, &item) in self.sequences.of(neighbour.user).iter().enumerate() {
                if let Some(score) = out.get_mut(item as usize) {
                    *score += self.vote(&neighbour, step);
                }
            }
        }
        Ok(())
    }

    fn renew(&mut self, memory: Memory, sequences: Sequences) -> Change {
        *self = Self::new(self.config.clone(), memory, sequences);
        Change::Exact
    }
}

impl Recommender for SessionKnnModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.fill(self.sequences.of(user), Some(user), out)
    }

    /// The order of the slice is the order in time, the newest last.
    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        let history = ordered(&self.memory, &self.sequences, Who::History(history))?;
        self.fill(&history, None, out)
    }

    /// The cosine of the sets of sessions that had the items.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        for &session in self.index.row(item).0 {
            let user = self.recent.get(session as usize).copied();
            for &other in user.map_or(&[][..], |user| self.sequences.of(user)) {
                if let Some(score) = out.get_mut(other as usize) {
                    *score += 1.0;
                }
            }
        }
        let size = |item: u32| self.index.row(item).0.len() as f32;
        for (other, score) in (0u32..).zip(out).filter(|(_, score)| **score > 0.0) {
            *score /= (size(item) * size(other)).sqrt();
        }
        Ok(())
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let history = ordered(&self.memory, &self.sequences, who)?;
        let own = match who {
            Who::User(user) => Some(user),
            Who::History(_) => None,
        };
        let parts = self.neighbours(&history, own).into_iter();
        let parts = parts.filter_map(|neighbour| {
            let session = self.sequences.of(neighbour.user);
            let step = session.iter().position(|&had| had == item)?;
            let reason = Reason::User(self.memory.user_name(neighbour.user));
            Some(Contribution::new(reason, self.vote(&neighbour, step)))
        });
        Ok(parts.collect())
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = ModelWriter::new(KIND, 1).config(&self.config)?;
        self.sequences.write(self.memory.write(writer)?)
    }

    /// Exact; indexes anew, in one pass over the log.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let memory = self.memory.extended(events)?;
        let sequences = self.sequences.extended(&memory, events)?;
        Ok(self.renew(memory, sequences))
    }

    /// Exact.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        let sequences = self.sequences.without_user(user);
        Ok(self.renew(self.memory.without_user(user)?, sequences))
    }

    /// Exact.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let sequences = self.sequences.without_item(item);
        Ok(self.renew(self.memory.without_item(item)?, sequences))
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, SessionKnnModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    crate::conformance!(default, sequential, |log| SessionKnn::default().fit(log));
    crate::conformance!(plain, sequential, |log| {
        SessionKnn {
            idf: false,
            half_life: 1.0,
            proximity: 1.0,
            ..SessionKnn::default()
        }
        .fit(log)
    });

    #[test]
    fn who_lately_went_the_same_way_votes() {
        let mut builder = Interactions::builder();
        for (user, items) in ["xyz", "xab", "yzw"].into_iter().enumerate() {
            for (step, item) in items.chars().enumerate() {
                let time = (10 * user + step) as i64;
                builder
                    .push(user, item.to_string(), 1.0, Some(time))
                    .unwrap();
            }
        }
        let log = builder.build().unwrap();
        let config = SessionKnn {
            neighbours: 1,
            sample: 1,
            idf: false,
            ..SessionKnn::default()
        };
        let model = config.fit(&log).unwrap();
        // Only the latest session with x is looked at.
        let best = model.recommend_for(&[("x", 1.0)], 9).unwrap();
        assert_eq!((best[0].item.as_str(), best[1].item.as_str()), ("a", "b"));
        assert!(best[0].score > best[1].score && best[2].score == 0.0);
        let why = model.explain_for(&[("x", 1.0)], "a").unwrap();
        assert_eq!(why.reasons[0].reason, Reason::User("1".into()));
        // √(1 · 3) for the sizes, one step from x.
        let vote = (-1.0f32 / config.proximity).exp2() / 3f32.sqrt();
        assert!((why.score - vote).abs() < 1e-6, "{why}");
        // "yzw" as someone new's finds the user it is; asked for that user, it does not.
        let history = [("y", 1.0), ("z", 1.0), ("w", 1.0)];
        let new = model.explain_for(&history, "w").unwrap();
        assert!(
            new.reasons
                .iter()
                .any(|c| c.reason == Reason::User("2".into()))
        );
        let own = model.explain("2", "w").unwrap();
        assert!(
            own.reasons
                .iter()
                .all(|c| c.reason != Reason::User("2".into()))
        );
        for wrong in [
            SessionKnn {
                neighbours: 0,
                ..config.clone()
            },
            SessionKnn {
                sample: 0,
                ..config.clone()
            },
            SessionKnn {
                half_life: 0.0,
                ..config.clone()
            },
            SessionKnn {
                proximity: f32::NAN,
                ..config.clone()
            },
        ] {
            assert!(matches!(wrong.fit(&log), Err(Error::Config { .. })));
        }
    }
}
