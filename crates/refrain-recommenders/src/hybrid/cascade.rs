//! A cascade: the first member proposes, each next one chooses among what is left.
//!
//! ```text
//! stage s keeps the best n_s of what stage s − 1 kept; the last one ranks
//! score(u, j) = stages that j got through + (1 − rank of j in the stage where it fell out / number of items)
//! ```
//!
//! **When.** A cheap member (popularity, neighbours) narrows a large catalogue, a careful one orders what
//! is left; or a member that must be right about the few decides over one that is right about the many.
//!
//! **Cost.** The members' scores and a sort for each. **Determinism.** As the members'.

use std::iter::repeat;
use std::sync::Arc;

use refrain_core::{ModelFile, ModelWriter};
use refrain_data::{Interactions, ItemFeatures};
use serde::{Deserialize, Serialize};

use super::members::{Member, Members, by_name};
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.cascade";
const NAME: &str = "cascade";

#[derive(Serialize, Deserialize)]
struct Header {
    names: Vec<String>,
    keeps: Vec<u64>,
}

/// Members that answer one after another. A score says how far an item got and where it stood there; it
/// compares within a user.
///
/// ```
/// # use std::sync::Arc;
/// # use refrain_recommenders::*;
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let popular: Arc<dyn Recommender> = Arc::new(Popularity::default().fit(&log)?);
/// let knn: Arc<dyn Recommender> = Arc::new(ItemKnn::default().fit(&log)?);
/// let model = CascadeModel::new([(popular, 20)], knn)?; // the best of the 20 most popular
/// assert_eq!(model.recommend("7", 5)?.len(), 5);
/// # Ok::<(), Error>(())
/// ```
pub struct CascadeModel {
    members: Members,
    /// How many items each member but the last lets through.
    keeps: Vec<usize>,
}

impl std::fmt::Debug for CascadeModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CascadeModel")
            .field("members", &self.members.names())
            .field("keeps", &self.keeps)
            .finish()
    }
}

impl CascadeModel {
    /// Members that narrow, each with how many items it lets through, and the one that ranks what is
    /// left.
    ///
    /// # Errors
    /// [`Error::Config`] for a stage that lets nothing through, [`Error::Mismatch`] for models with
    /// other ids.
    pub fn new(
        narrow: impl IntoIterator<Item = (Arc<dyn Recommender>, usize)>,
        rank: Arc<dyn Recommender>,
    ) -> Result<Self> {
        let (mut models, keeps): (Vec<_>, Vec<_>) = narrow.into_iter().unzip();
        models.push(rank);
        Self::of(Members::new(NAME, by_name(models))?, keeps)
    }

    fn of(members: Members, keeps: Vec<usize>) -> Result<Self> {
        if keeps.contains(&0) {
            return Err(Error::Config {
                model: NAME,
                field: "keep",
                value: "0".to_string(),
                expected: "must be at least 1",
            });
        }
        Ok(Self { members, keeps })
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let header: Header = file.config()?;
        let members = Members::read(NAME, file, header.names)?;
        let keeps: Vec<usize> = header.keeps.iter().map(|&n| n as usize).collect();
        if keeps.len() + 1 != members.list.len() {
            return Err(Error::Core(refrain_core::Error::ModelFile {
                origin: file.origin().to_string(),
                reason: "a cascade with another number of stages than members".to_string(),
            }));
        }
        Ok(Box::new(Self::of(members, keeps)?))
    }

    /// Fills in the scores; what the user had takes no one's place.
    fn fill(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        self.memory().check_scores(out)?;
        let (seen, _) = self.memory().history_of(who)?;
        let items = out.len();
        let mut own = vec![0.0; items];
        // Unseen items are ranked; seen ones follow, in the last member's order.
        let is_seen = |item: &u32| seen.binary_search(item).is_ok();
        let mut left: Vec<u32> = (0..items as u32).filter(|i| !is_seen(i)).collect();
        out.fill(0.0);
        for (stage, member) in self.members.list.iter().enumerate() {
            member.scores(who, &mut own)?;
            let score = |item: &u32| own.get(*item as usize).copied().unwrap_or_default();
            left.sort_unstable_by(|a, b| score(b).total_cmp(&score(a)).then(a.cmp(b)));
            let mut last = None;
            let mut rank = 0;
            for (at, item) in left.iter().enumerate() {
                // Equal scores share a rank.
                if last != Some(score(item)) {
                    (last, rank) = (Some(score(item)), at);
                }
                if let Some(place) = out.get_mut(*item as usize) {
                    *place = stage as f32 + 1.0 - rank as f32 / items.max(1) as f32;
                }
            }
            match self.keeps.get(stage) {
                Some(&keep) => left.truncate(keep),
                None => {
                    // As the last member would rank them among what is left.
                    for item in &seen {
                        let rank = left.partition_point(|other| score(other) > score(item));
                        if let Some(place) = out.get_mut(*item as usize) {
                            *place = stage as f32 + 1.0 - rank as f32 / items.max(1) as f32;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// The stage at which an item of this score fell out, or the last.
    fn stage(&self, score: f32) -> Option<&Member> {
        let last = self.members.list.len().saturating_sub(1);
        let stage = (score.ceil() as usize).saturating_sub(1).min(last);
        self.members.list.get(stage)
    }

    fn change(
        &mut self,
        change: impl Fn(&mut dyn Recommender) -> Result<Change>,
    ) -> Result<Change> {
        let (members, changed) = self.members.changed(NAME, change)?;
        self.members = members;
        Ok(changed)
    }
}

impl Recommender for CascadeModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.members.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.fill(Who::User(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.fill(Who::History(history), out)
    }

    /// By the last member that can compare items.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        match Members::first_similarity(self.members.list.iter().rev(), item, out)? {
            true => Ok(()),
            false => Err(self.unsupported("compare items")),
        }
    }

    /// By the mean of the members.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.members.user_similarity(repeat(1.0), user, out)
    }

    /// The stages got through count 1 each; the place in the stage where an item fell out is divided
    /// among that member's parts that speak for the item, by their size.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory().check_item(item)?;
        let mut scores = vec![0.0; self.memory().n_items()];
        self.fill(who, &mut scores)?;
        let score = scores.get(item as usize).copied().unwrap_or_default();
        let Some(member) = self.stage(score) else {
            return Ok(Vec::new());
        };
        let parts = member.model.contributions(who, item)?;
        let through = (score.ceil() - 1.0).max(0.0);
        let mut all = member.share_out(score - through, &parts, "for its rank");
        for earlier in self.members.list.iter().take(through as usize) {
            let reason = earlier.reason(Reason::Constant("let it through"));
            all.push(Contribution::new(reason, 1.0));
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let header = Header {
            names: self.members.names(),
            keeps: self.keeps.iter().map(|&n| n as u64).collect(),
        };
        self.members
            .write(ModelWriter::new(KIND, 1).config(&header)?)
    }

    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let (members, added) = self.members.with_items(NAME, features)?;
        self.members = members;
        Ok(added)
    }

    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.change(|model| model.update(events))
    }

    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.memory().user(user)?;
        self.change(|model| model.forget_user(user))
    }

    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.memory().item(item)?;
        self.change(|model| model.forget_item(item))
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, CascadeModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::blocks_log;
    use crate::{ItemKnn, Popularity, UserKnn};

    fn model(log: &Interactions) -> Result<CascadeModel> {
        let first: Arc<dyn Recommender> = Arc::new(UserKnn::default().fit(log)?);
        CascadeModel::new([(first, 8)], Arc::new(ItemKnn::default().fit(log)?))
    }

    crate::conformance!(two_stages, personal, fold_in = 0.05, model);

    #[test]
    fn the_first_proposes_and_the_last_ranks() {
        let log = blocks_log();
        let popular: Arc<dyn Recommender> = Arc::new(Popularity::default().fit(&log).unwrap());
        let knn: Arc<dyn Recommender> = Arc::new(ItemKnn::default().fit(&log).unwrap());
        let model = CascadeModel::new([(popular.clone(), 6)], knn.clone()).unwrap();
        for user in 0..36 {
            let id = format!("u{user}");
            let names = |model: &dyn Recommender, k: usize| -> Vec<String> {
                let list = model.recommend(&id, k).unwrap();
                list.into_iter().map(|r| r.item).collect()
            };
            let proposed = names(&*popular, 6);
            let expected: Vec<String> = names(&*knn, 30)
                .into_iter()
                .filter(|item| proposed.contains(item))
                .collect();
            let found = names(&model, 30);
            assert_eq!(found[..6], expected);
            assert_eq!(found[6..], names(&*popular, 30)[6..]);
        }
        assert!(CascadeModel::new([(popular, 0)], knn).is_err());
    }
}
