//! Popularity: what most people had, the same for everyone.
//!
//! ```text
//! score(j) = Σ over events on j of 2^(−age / half_life)        age counts back from the newest event
//! ```
//!
//! Without a half-life every event counts 1: the number of users who had the item.
//!
//! **When.** The baseline that every other model has to beat, and the answer for people about whom
//! nothing is known. With a half-life: what is popular *now*.
//!
//! **Cost.** One pass over the log. The same bits for any number of threads.

use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use crate::{Contribution, Error, Memory, Reason, Recommender, Result, Who};

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
        let memory = Memory::new(log);
        let users: Vec<u32> = log.item_counts();
        let scores = match self.half_life {
            None => users.iter().map(|&count| count as f32).collect(),
            Some(half_life) => decayed(log, half_life)?,
        };
        Ok(PopularityModel {
            config: self.clone(),
            memory,
            users,
            scores,
        })
    }
}

fn decayed(log: &Interactions, half_life: f64) -> Result<Vec<f32>> {
    if half_life.is_nan() || half_life <= 0.0 {
        return Err(Error::Config {
            model: NAME,
            field: "half_life",
            value: half_life.to_string(),
            expected: "must be above 0",
        });
    }
    if !log.has_times() {
        let reason = "half_life needs a log with times".to_string();
        return Err(Error::Data {
            model: NAME,
            reason,
        });
    }
    let newest = log
        .iter()
        .filter_map(|event| event.time)
        .max()
        .unwrap_or_default();
    let mut sums = vec![0.0f64; log.n_items()];
    for event in log.iter() {
        // In f64, as two i64 may lie further apart than an i64 reaches.
        let age = newest as f64 - event.time.unwrap_or(newest) as f64;
        if let Some(sum) = sums.get_mut(event.item as usize) {
            *sum += (-age / half_life).exp2();
        }
    }
    Ok(sums.into_iter().map(|sum| sum as f32).collect())
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
        let scores = file.f32("scores")?.expect_shape("scores", &[n])?;
        let (users, scores) = (users.data.into_owned(), scores.data.into_owned());
        Ok(Box::new(Self {
            config: file.config()?,
            memory,
            users,
            scores,
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
