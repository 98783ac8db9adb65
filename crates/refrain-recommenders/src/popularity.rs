//! Popularity: what most people had, the same for everyone.
//!
//! ```text
//! score(j) = Σ over events on j of 2^(−age / half_life)        age counts back from the newest event
//! ```
//!
//! Without a half-life every event counts 1: the number of users who had the item. Events with weights
//! at or below zero, dislikes, do not count.
//!
//! **When.** The baseline that every other model has to beat, and the answer for people about whom
//! nothing is known. With a half-life: what is popular *now*.
//!
//! **Cost.** One pass over the log. The same bits for any number of threads.

use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use crate::memory::finite;
use crate::neighbours::weighting::decay;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.popularity";
const NAME: &str = "popularity";

/// Settings of the popularity model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Popularity {
    /// After this long an event counts half, in the unit of the log's times (seconds, mostly); needs
    /// a log with times. `None`: all events count the same.
    pub half_life: Option<f64>,
}

impl Popularity {
    /// Counts.
    ///
    /// # Errors
    /// [`Error::Config`] for a half-life that is not above 0, [`Error::Data`] for one on a log
    /// without times.
    pub fn fit(&self, log: &Interactions) -> Result<PopularityModel> {
        let mut model = PopularityModel::count(Memory::new(log), self.clone());
        if let Some(half_life) = self.half_life {
            let mut sums = vec![0.0f64; log.n_items()];
            for (event, worth) in log.iter().zip(decay(NAME, log, half_life)?) {
                if event.weight > 0.0
                    && let Some(sum) = sums.get_mut(event.item as usize)
                {
                    *sum += f64::from(worth);
                }
            }
            model.scores = sums.into_iter().map(|sum| sum as f32).collect();
        }
        Ok(model)
    }
}

/// Fitted popularity. A score is a (decayed) number of users and compares across users.
#[derive(Debug, Clone, PartialEq)]
pub struct PopularityModel {
    config: Popularity,
    memory: Memory,
    users: Vec<u32>,
    scores: Vec<f32>,
}

impl PopularityModel {
    fn count(memory: Memory, config: Popularity) -> Self {
        let mut users = vec![0u32; memory.n_items()];
        for user in 0..memory.n_users() as u32 {
            let (items, weights) = memory.history(user);
            for (&item, &weight) in items.iter().zip(weights) {
                if weight > 0.0
                    && let Some(count) = users.get_mut(item as usize)
                {
                    *count += 1;
                }
            }
        }
        let scores = users.iter().map(|&count| count as f32).collect();
        Self {
            config,
            memory,
            users,
            scores,
        }
    }

    /// Counts anew: one pass over what is remembered, which holds no times.
    fn count_again(&mut self, change: impl FnOnce(&Memory) -> Result<Memory>) -> Result<Change> {
        if self.config.half_life.is_some() {
            return Err(self.unsupported("change once times have faded: fit it again"));
        }
        *self = Self::count(change(&self.memory)?, self.config.clone());
        Ok(Change::Exact)
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &Popularity {
        &self.config
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let memory = Memory::read(file)?;
        let n = memory.n_items();
        let users = file
            .u32("users_per_item")?
            .expect_shape("users_per_item", &[n])?;
        Ok(Box::new(Self {
            config: file.config()?,
            memory,
            users: users.data.into_owned(),
            scores: finite(file, "scores", &[n])?,
        }))
    }

    fn fill(&self, out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        out.copy_from_slice(&self.scores);
        Ok(())
    }
}

impl Recommender for PopularityModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.fill(out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.memory.tidy(history)?;
        self.fill(out)
    }

    fn similarity(&self, item: u32, _: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        Err(Error::Unsupported {
            model: self.name(),
            what: "compare items",
        })
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.history_of(who)?;
        self.memory.check_item(item)?;
        let at = item as usize;
        let users = self.users.get(at).copied().unwrap_or_default();
        let score = self.scores.get(at).copied().unwrap_or_default();
        Ok(vec![Contribution::new(Reason::Popularity { users }, score)])
    }

    /// Exact, in one pass over the histories; with a half-life it has to be fitted again.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.count_again(|memory| memory.extended(events))
    }

    /// As [`update`](Self::update).
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.count_again(|memory| memory.without_user(memory.user(user)?))
    }

    /// As [`update`](Self::update).
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.count_again(|memory| memory.without_item(memory.item(item)?))
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let n = self.memory.n_items();
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        Ok(writer
            .u32("users_per_item", &[n], &self.users)?
            .f32("scores", &[n], &self.scores)?)
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, PopularityModel::read);

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(default, general, |log| Popularity::default().fit(log));

    fn timed() -> Interactions {
        let mut builder = Interactions::builder();
        for (user, item, time) in [
            ("a", "old", 0),
            ("b", "old", 0),
            ("c", "old", 0),
            ("a", "new", 100),
            ("b", "new", 95),
        ] {
            builder.push(user, item, 1.0, Some(time)).unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn counts_and_decay() {
        let log = timed();
        let everything = Popularity::default().fit(&log).unwrap();
        assert_eq!(everything.recommend("c", 1).unwrap()[0].score, 2.0);
        assert_eq!(everything.recommend_for(&[], 1).unwrap()[0].item, "old");
        let recent = Popularity {
            half_life: Some(5.0),
        }
        .fit(&log)
        .unwrap();
        let best = recent.recommend_for(&[], 2).unwrap();
        assert_eq!((best[0].item.as_str(), best[0].score), ("new", 1.5));
        assert!(best[1].score < 1e-4);
        let why = recent.explain("c", "new").unwrap();
        assert_eq!(why.reasons[0].reason.to_string(), "chosen by 2 users");
    }

    #[test]
    fn dislikes_do_not_count() {
        let mut builder = Interactions::builder();
        for (user, item, weight) in [
            ("a", "liked", 0.5),
            ("a", "disliked", -1.0),
            ("b", "disliked", -2.0),
            ("c", "disliked", 1.0),
            ("c", "neither", 0.0),
        ] {
            builder.push(user, item, weight, Some(7)).unwrap();
        }
        let log = builder.build().unwrap();
        for half_life in [None, Some(5.0)] {
            let model = Popularity { half_life }.fit(&log).unwrap();
            let best = model.recommend_for(&[], 3).unwrap();
            let best: Vec<(&str, f32)> = best.iter().map(|r| (r.item.as_str(), r.score)).collect();
            assert_eq!(best, [("liked", 1.0), ("disliked", 1.0), ("neither", 0.0)]);
            let why = model.explain("a", "disliked").unwrap();
            assert_eq!(why.reasons[0].reason, Reason::Popularity { users: 1 });
        }
    }

    #[test]
    fn a_file_whose_scores_are_no_numbers_is_refused() {
        let mut model = Popularity::default().fit(&timed()).unwrap();
        model.scores[0] = f32::INFINITY;
        let file = ModelFile::from_bytes(model.to_file().unwrap().to_bytes().unwrap()).unwrap();
        let error = PopularityModel::read(&file).map(drop).unwrap_err();
        assert!(matches!(error, Error::Core(_)), "{error}");
        assert!(error.to_string().contains("scores"), "{error}");
    }

    #[test]
    fn decay_needs_times_and_a_sound_half_life() {
        let log = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        let decaying = Popularity {
            half_life: Some(5.0),
        };
        assert!(matches!(decaying.fit(&log), Err(Error::Data { .. })));
        for half_life in [0.0, -1.0, f64::NAN] {
            let model = Popularity {
                half_life: Some(half_life),
            };
            assert!(matches!(model.fit(&timed()), Err(Error::Config { .. })));
        }
    }
}
