//! Random scores: the floor of every leaderboard.
//!
//! Each (user, item) pair has a number in [0, 1) drawn from the seed, so the lists differ between
//! users, cover the whole catalogue, and are the same each time they are asked for. Someone unseen
//! gets numbers drawn from their history.
//!
//! **When.** To see what a metric is worth on a data set before believing any other row.

use rand::RngExt;
use refrain_core::{ModelFile, ModelWriter, rng};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.random";
const NAME: &str = "random";

/// Settings of the random model.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Random {
    /// The seed.
    pub seed: u64,
}

impl Random {
    /// Remembers the log and nothing else.
    ///
    /// # Errors
    /// None today.
    pub fn fit(&self, log: &Interactions) -> Result<RandomModel> {
        Ok(RandomModel {
            config: self.clone(),
            memory: Memory::new(log),
        })
    }
}

/// Random scores from 0 to 1 that stay the same.
#[derive(Debug, Clone, PartialEq)]
pub struct RandomModel {
    config: Random,
    memory: Memory,
}

impl RandomModel {
    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        Ok(Box::new(Self {
            config: file.config()?,
            memory: Memory::read(file)?,
        }))
    }

    fn draw(&self, items: &[u32], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        // FNV-1a over the history: users with the same history get the same list.
        let stream = items.iter().fold(0xcbf2_9ce4_8422_2325u64, |hash, &item| {
            (hash ^ u64::from(item)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut rng = rng::stream(self.config.seed, stream);
        out.fill_with(|| rng.random());
        Ok(())
    }
}

impl Recommender for RandomModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.draw(self.memory.history(user).0, out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.draw(&self.memory.tidy(history)?.0, out)
    }

    fn similarity(&self, item: u32, _: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        Err(Error::Unsupported {
            model: self.name(),
            what: "compare items",
        })
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let mut scores = vec![0.0; self.memory.n_items()];
        self.draw(&self.memory.history_of(who)?.0, &mut scores)?;
        let score = scores.get(item as usize).copied().unwrap_or_default();
        Ok(vec![Contribution::new(
            Reason::Constant("by chance"),
            score,
        )])
    }

    /// Exact: there is nothing to learn.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.memory = self.memory.extended(events)?;
        Ok(Change::Exact)
    }

    /// Exact: there is nothing to learn.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.memory = self.memory.without_user(self.memory.user(user)?)?;
        Ok(Change::Exact)
    }

    /// Exact: there is nothing to learn.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.memory = self.memory.without_item(self.memory.item(item)?)?;
        Ok(Change::Exact)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        self.memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, RandomModel::read);

#[cfg(test)]
mod tests {
    use super::*;

    crate::conformance!(default, general, |log| Random::default().fit(log));

    #[test]
    fn seeds_differ() {
        let log = Interactions::from_events((0..50).map(|i| (0, i, 1.0))).unwrap();
        let lists: Vec<_> = (0..2)
            .map(|seed| {
                Random { seed }
                    .fit(&log)
                    .unwrap()
                    .recommend_for(&[], 9)
                    .unwrap()
            })
            .collect();
        assert_ne!(lists[0], lists[1]);
    }
}
