//! A blend of fitted recommenders.
//!
//! ```text
//! Mix::Scores   score(u, j) = Σ_m w_m · (s_m(u, j) − mean_m(u)) / deviation_m(u)
//! Mix::Ranks    score(u, j) = Σ_m w_m · c / (c + rank_m(u, j))
//! ```
//!
//! Scores of different models do not compare, so the weighted blend first standardises each
//! over the items the user has not had. The rank blend (reciprocal rank fusion: Cormack, Clarke and Büttcher, 2009,
//! c = 60) ignores scores and keeps orders; the rank of an item is the number of items the user has
//! not had that score at least as high, so equal scores share the worst of their ranks.
//!
//! **When.** Almost always: a blend whose weights were fitted on validation data
//! ([`Blend`](crate::Blend)) is seldom worse than its best member, and content-based members let it
//! answer for items that nobody had, if the log names them. Each explanation names the member a reason came through.
//!
//! **Cost.** The members' scores, plus a sort per member for ranks. The file holds each member whole.
//!
//! **Determinism.** As the members'.

use std::sync::Arc;

use refrain_core::{ModelFile, ModelWriter};
use refrain_data::{Interactions, ItemFeatures};
use serde::{Deserialize, Serialize};

use super::Mix;
use super::members::{Member, Members, by_name};
use crate::{Change, Contribution, Error, Memory, Recommender, Result, Who};

const KIND: &str = "recommenders.blend";
const NAME: &str = "blend";

#[derive(Serialize, Deserialize)]
struct Header {
    mix: Mix,
    weights: Vec<f32>,
    names: Vec<String>,
}

/// A blend of fitted recommenders; see [`Blend`](crate::Blend) for fitting its weights.
///
/// A score is a weighted sum of standardised scores, or of reciprocal ranks, and compares within a
/// user.
///
/// Updating and forgetting pass to the members; the weights stay.
pub struct BlendModel {
    mix: Mix,
    members: Members,
    weights: Vec<f32>,
}

impl std::fmt::Debug for BlendModel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BlendModel")
            .field("mix", &self.mix)
            .field("weights", &self.weights())
            .finish()
    }
}

impl BlendModel {
    /// Blends models that were fitted on the same log, with given weights.
    ///
    /// # Errors
    /// [`Error::Config`] for a weight below 0 or not finite, or when none is above 0,
    /// [`Error::Data`] without members, [`Error::Mismatch`] for models of other users or
    /// catalogues.
    pub fn new(
        mix: Mix,
        members: impl IntoIterator<Item = (Arc<dyn Recommender>, f32)>,
    ) -> Result<Self> {
        let (models, weights): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        Self::of(mix, Members::new(NAME, by_name(models))?, weights)
    }

    /// As [`new`](Self::new), with names for tables and reasons.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn named(
        mix: Mix,
        members: impl IntoIterator<Item = (String, Arc<dyn Recommender>, f32)>,
    ) -> Result<Self> {
        let named = members.into_iter();
        let (list, weights): (Vec<_>, Vec<_>) = named
            .map(|(name, model, weight)| (Member { model, name }, weight))
            .unzip();
        Self::of(mix, Members::new(NAME, list)?, weights)
    }

    fn of(mix: Mix, members: Members, weights: Vec<f32>) -> Result<Self> {
        mix.check()?;
        if let Some(&weight) = weights.iter().find(|w| !(w.is_finite() && **w >= 0.0)) {
            return Err(weight_error(weight, "must be at least 0"));
        }
        if weights.iter().all(|weight| *weight == 0.0) {
            return Err(weight_error(0.0, "one of them must be above 0"));
        }
        Ok(Self {
            mix,
            members,
            weights,
        })
    }

    /// How the members are mixed.
    pub fn mix(&self) -> Mix {
        self.mix
    }

    /// The members' names and weights.
    pub fn weights(&self) -> Vec<(&str, f32)> {
        let names = self.members.list.iter().map(|member| member.name.as_str());
        names.zip(self.weights.iter().copied()).collect()
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let header: Header = file.config()?;
        if header.weights.len() != header.names.len() {
            return Err(Error::Core(refrain_core::Error::ModelFile {
                origin: file.origin().to_string(),
                reason: "a blend with another number of names than weights".to_string(),
            }));
        }
        let members = Members::read(NAME, file, header.names)?;
        Ok(Box::new(Self::of(header.mix, members, header.weights)?))
    }

    /// The members that count, with their weights.
    fn active(&self) -> impl Iterator<Item = (&Member, f32)> {
        let all = self.members.list.iter().zip(self.weights.iter().copied());
        all.filter(|(_, weight)| *weight > 0.0)
    }

    fn blend(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        self.memory().check_scores(out)?;
        let (seen, _) = self.memory().history_of(who)?;
        out.fill(0.0);
        let mut own = vec![0.0; out.len()];
        for (member, weight) in self.active() {
            member.scores(who, &mut own)?;
            self.mix.level(&mut own, &seen);
            for (sum, score) in out.iter_mut().zip(&own) {
                *sum += weight * score;
            }
        }
        Ok(())
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

fn weight_error(weight: f32, expected: &'static str) -> Error {
    Error::Config {
        model: "blend",
        field: "weight",
        value: weight.to_string(),
        expected,
    }
}

impl Recommender for BlendModel {
    fn name(&self) -> String {
        match self.mix {
            Mix::Scores => "weighted blend".to_string(),
            Mix::Ranks { .. } => "rank blend".to_string(),
        }
    }

    fn memory(&self) -> &Memory {
        &self.members.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.blend(Who::User(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.blend(Who::History(history), out)
    }

    /// The members' similarities, mixed like scores; members that cannot compare items are left out.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        let weights = self.weights.iter().copied();
        match self.members.similarity(self.mix, weights, item, out)? {
            true => Ok(()),
            false => Err(self.unsupported("compare items")),
        }
    }

    /// The weighted mean of the members'.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        let weights = self.weights.iter().copied();
        self.members.user_similarity(weights, user, out)
    }

    /// With scores, each member's parts in their share of the sum, and one constant per member for
    /// its average item. With ranks, a member's share is divided among its parts that speak for the
    /// item, by their size.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory().check_item(item)?;
        let (seen, _) = self.memory().history_of(who)?;
        let mut own = vec![0.0; self.memory().n_items()];
        let mut all = Vec::new();
        for (member, weight) in self.active() {
            member.scores(who, &mut own)?;
            let level = self.mix.level(&mut own, &seen);
            let parts = member.model.contributions(who, item)?;
            let levelled = own.get(item as usize).copied().unwrap_or_default();
            all.extend(member.explain(self.mix, weight, level, levelled, &parts));
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let header = Header {
            mix: self.mix,
            weights: self.weights.clone(),
            names: self.members.names(),
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

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, BlendModel::read);

#[cfg(test)]
mod tests {
    use refrain_data::Interactions;

    use super::*;
    use crate::{ItemKnn, Popularity, UserKnn};

    fn members(log: &Interactions) -> Result<Vec<(Arc<dyn Recommender>, f32)>> {
        Ok(vec![
            (Arc::new(ItemKnn::default().fit(log)?), 1.0),
            (Arc::new(UserKnn::default().fit(log)?), 0.5),
            (Arc::new(Popularity::default().fit(log)?), 0.1),
        ])
    }

    crate::conformance!(scores, personal, |log| BlendModel::new(
        Mix::Scores,
        members(log)?
    ));
    crate::conformance!(ranks, personal, fold_in = 0.02, |log| {
        BlendModel::new(Mix::ranks(), members(log)?)
    });

    #[test]
    fn what_cannot_be_blended_is_refused() {
        let log = crate::conformance::blocks_log();
        let other = Interactions::from_events([("a", "x", 1.0)]).unwrap();
        let popular = |log: &Interactions| -> Arc<dyn Recommender> {
            Arc::new(Popularity::default().fit(log).unwrap())
        };
        let error = |members| BlendModel::new(Mix::Scores, members).unwrap_err();
        assert!(matches!(error(vec![]), Error::Data { .. }));
        assert!(matches!(
            error(vec![(popular(&log), 0.0)]),
            Error::Config { .. }
        ));
        assert!(matches!(
            error(vec![(popular(&log), f32::NAN)]),
            Error::Config { .. }
        ));
        let mixed = vec![(popular(&log), 1.0), (popular(&other), 1.0)];
        assert!(matches!(error(mixed), Error::Mismatch { .. }));
        let nothing = Mix::Ranks { constant: 0.0 };
        assert!(BlendModel::new(nothing, vec![(popular(&log), 1.0)]).is_err());
    }

    #[test]
    fn blends_nest_but_not_forever() {
        let log = crate::conformance::blocks_log();
        let mut model: Arc<dyn Recommender> = Arc::new(Popularity::default().fit(&log).unwrap());
        for depth in 1..=9 {
            model = Arc::new(BlendModel::new(Mix::Scores, [(model, 1.0)]).unwrap());
            let bytes = model.to_file().unwrap().to_bytes().unwrap();
            let read = crate::from_file(&ModelFile::from_bytes(bytes).unwrap());
            assert_eq!(read.is_ok(), depth <= 8, "{depth}");
        }
    }

    #[test]
    fn what_changes_in_the_members_changes_in_the_blend() {
        let log = crate::conformance::blocks_log();
        let mut model = BlendModel::new(Mix::Scores, members(&log).unwrap()).unwrap();
        let news = [("u1", "i90", 2.0), ("new", "i4", 1.0), ("new", "i90", 1.0)];
        let news = Interactions::from_events(news).unwrap();
        let change = match model.update(&news) {
            Err(Error::Unsupported { .. }) => return, // a member cannot, so neither can the blend
            other => other.unwrap(),
        };
        assert_eq!(model.forget_user("u5").unwrap(), change);
        model.forget_item("i7").unwrap();
        assert_eq!(change, Change::Exact);
        let left = model.memory().to_log().unwrap();
        assert!(left.users().get("new").is_some() && left.users().get("u5").is_none());
        let anew = BlendModel::new(Mix::Scores, members(&left).unwrap()).unwrap();
        for user in ["new", "u1", "u20"] {
            let (a, b) = (
                model.recommend(user, 9).unwrap(),
                anew.recommend(user, 9).unwrap(),
            );
            for (a, b) in a.iter().zip(&b) {
                assert!((a.score - b.score).abs() < 1e-3, "{a:?} {b:?}");
            }
        }
        // A member that cannot learn leaves the blend as it was.
        let random: Arc<dyn Recommender> = Arc::new(crate::Random::default().fit(&log).unwrap());
        let mut list = members(&log).unwrap();
        list.push((random, 1.0));
        let mut model = BlendModel::new(Mix::ranks(), list).unwrap();
        let before = model.recommend("u2", 5).unwrap();
        if model.update(&news).is_err() {
            assert_eq!(model.recommend("u2", 5).unwrap(), before);
        }
        assert!(matches!(
            model.forget_user("nobody"),
            Err(Error::UnknownUser { .. })
        ));
    }
}
