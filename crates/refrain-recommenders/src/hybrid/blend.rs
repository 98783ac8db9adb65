//! Fitting a blend: members, and weights from validation data.
//!
//! A part of the log is set aside, every member is fitted on the rest, the weights are those with the
//! best NDCG on what was set aside, and every member is fitted again on the whole log.
//!
//! **Cost.** Each member is fitted twice; the search itself takes seconds.

use std::sync::Arc;

use rayon::prelude::*;
use refrain_core::Monitor;
use refrain_data::{Interactions, split};

use super::members::{Member, Members};
use super::stack::{self, StackModel, StackWeights};
use super::switch::{self, SwitchModel};
use super::tune::{self, Case};
use super::{BlendModel, Mix};
use crate::evaluate::liked;
use crate::{Error, Recommender, Result};

/// How a member of a [`Blend`] is fitted on a log.
pub type FitMember<'a> = Box<dyn Fn(&Interactions) -> Result<Arc<dyn Recommender>> + 'a>;

/// Members to blend, and how to find their weights.
///
/// ```
/// use refrain_data::Interactions;
/// use refrain_recommenders::{Blend, ItemKnn, Popularity, Recommender};
///
/// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let blend = Blend { cutoff: 5, ..Blend::default() }
///     .member("popularity", |log| Popularity::default().fit(log))
///     .member("item-kNN", |log| ItemKnn::default().fit(log));
/// let model = blend.fit(&log)?;
/// println!("{:?}", model.weights());
/// assert_eq!(model.recommend("7", 5)?.len(), 5);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Blend<'a> {
    /// How members are mixed.
    pub mix: Mix,
    /// The share of the events that is set aside to find the weights.
    pub validation: f64,
    /// The length of the lists whose NDCG counts.
    pub cutoff: usize,
    /// At most this many users judge the weights, the first by number.
    pub max_users: usize,
    /// The seed of the split.
    pub seed: u64,
    /// The members' names and how each is fitted; [`member`](Blend::member) adds one.
    pub members: Vec<(String, FitMember<'a>)>,
}

impl Default for Blend<'_> {
    fn default() -> Self {
        Self {
            mix: Mix::Scores,
            validation: 0.2,
            cutoff: 10,
            max_users: 2000,
            seed: 0,
            members: Vec::new(),
        }
    }
}

impl std::fmt::Debug for Blend<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self.members.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Blend")
            .field("mix", &self.mix)
            .field("members", &names)
            .finish()
    }
}

impl<'a> Blend<'a> {
    /// Adds a member: a name, and how to fit it on a log.
    #[must_use]
    pub fn member<M: Recommender + 'static>(
        mut self,
        name: impl Into<String>,
        fit: impl Fn(&Interactions) -> Result<M> + 'a,
    ) -> Self {
        let fit: FitMember<'a> = Box::new(move |log| Ok(Arc::new(fit(log)?)));
        self.members.push((name.into(), fit));
        self
    }

    /// Finds the weights and fits every member on the whole log.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Data`] when the log is too small to set a part aside, and whatever
    /// the members return.
    pub fn fit(&self, log: &Interactions) -> Result<BlendModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<BlendModel> {
        let weights = self.tune_with(log, monitor)?.weights(self.mix)?;
        let members = self.fit_members(log, monitor)?.into_iter().zip(weights);
        BlendModel::named(
            self.mix,
            members.map(|(m, weight)| (m.name, m.model, weight)),
        )
    }

    /// Learns how members' scores and ranks combine (see [`StackModel`]), and fits every member on the
    /// whole log. [`mix`](Self::mix) is not used.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_stack(&self, log: &Interactions) -> Result<StackModel> {
        self.fit_stack_with(log, &Monitor::silent())
    }

    /// As [`fit_stack`](Self::fit_stack), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn fit_stack_with(&self, log: &Interactions, monitor: &Monitor) -> Result<StackModel> {
        let weights = self.tune_with(log, monitor)?.stack()?;
        let members = self.fit_members(log, monitor)?;
        StackModel::of(Members::new(stack::NAME, members)?, weights)
    }

    /// Finds the best member for each range of history lengths (see [`SwitchModel`]), ranges beginning
    /// at `bounds`, and fits every member on the whole log. [`mix`](Self::mix) is not used.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Config`] for bounds that do not rise from 0.
    pub fn fit_switch(&self, log: &Interactions, bounds: &[u32]) -> Result<SwitchModel> {
        self.fit_switch_with(log, bounds, &Monitor::silent())
    }

    /// As [`fit_switch`](Self::fit_switch), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit_switch`](Self::fit_switch), and when cancelled.
    pub fn fit_switch_with(
        &self,
        log: &Interactions,
        bounds: &[u32],
        monitor: &Monitor,
    ) -> Result<SwitchModel> {
        let chosen = self.tune_with(log, monitor)?.switch(bounds)?;
        let members = self.fit_members(log, monitor)?;
        let chosen = bounds.iter().copied().zip(chosen).collect();
        SwitchModel::of(Members::new(switch::NAME, members)?, chosen)
    }

    fn fit_members(&self, log: &Interactions, monitor: &Monitor) -> Result<Vec<Member>> {
        let stage = monitor.start("blend: members", Some(self.members.len() as u64));
        let mut members = Vec::new();
        for (name, fit) in &self.members {
            let (name, model) = (name.clone(), fit(log)?);
            stage.advance(1, &name)?;
            members.push(Member { model, name });
        }
        Ok(members)
    }

    /// Sets a random part of `log` aside and fits every member on the rest, for finding weights of
    /// one or more mixes without fitting again.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn tune(&self, log: &Interactions) -> Result<Tuning> {
        self.tune_with(log, &Monitor::silent())
    }

    /// As [`tune`](Self::tune), telling `monitor`.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn tune_with(&self, log: &Interactions, monitor: &Monitor) -> Result<Tuning> {
        let (train, valid) = split::random(log, self.validation, self.seed)?;
        self.tune_on(&train, &valid, monitor)
    }

    /// Fits every member on `train`, to judge weights on `valid`: for a split of your own, by time
    /// for instance.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and when cancelled.
    pub fn tune_on(
        &self,
        train: &Interactions,
        valid: &Interactions,
        monitor: &Monitor,
    ) -> Result<Tuning> {
        for (field, value) in [("cutoff", self.cutoff), ("max_users", self.max_users)] {
            if value == 0 {
                return Err(Error::Config {
                    model: "blend",
                    field,
                    value: value.to_string(),
                    expected: "must be at least 1",
                });
            }
        }
        if self.members.is_empty() {
            return Err(Error::Data {
                model: "blend",
                reason: "it has no members".to_string(),
            });
        }
        let stage = monitor.start("blend: validation", Some(self.members.len() as u64));
        let mut models = Vec::new();
        for (name, fit) in &self.members {
            let model = fit(train)?;
            model.memory().same_ids(valid, name, "the validation log")?;
            models.push(model);
            stage.advance(1, name)?;
        }
        let relevant = |user: u32| {
            let seen = train.user_items(user).0;
            let items = liked(valid, user);
            let items = items.filter(|item| seen.binary_search(item).is_err());
            let items: Vec<u32> = items.collect();
            (!items.is_empty()).then(|| (user, seen.to_vec(), items))
        };
        let users = (0..valid.n_users() as u32)
            .filter_map(relevant)
            .take(self.max_users);
        let cases: Vec<(u32, Vec<u32>, Vec<u32>)> = users.collect();
        if cases.is_empty() {
            let reason = "nothing was set aside that its users had not had".to_string();
            return Err(Error::Data {
                model: "blend",
                reason,
            });
        }
        Ok(Tuning {
            models,
            cases,
            cutoff: self.cutoff,
        })
    }
}

/// Members fitted on a part of the log, and what was set aside.
pub struct Tuning {
    models: Vec<Arc<dyn Recommender>>,
    /// User, what they had, what they should be recommended.
    cases: Vec<(u32, Vec<u32>, Vec<u32>)>,
    cutoff: usize,
}

impl std::fmt::Debug for Tuning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tuning")
            .field("members", &self.models.len())
            .field("users", &self.cases.len())
            .finish()
    }
}

impl Tuning {
    /// The weights of the members for a mix, in their order, adding up to 1.
    ///
    /// # Errors
    /// Whatever the members' scoring returns.
    pub fn weights(&self, mix: Mix) -> Result<Vec<f32>> {
        let cases = self.cases(&[mix])?;
        Ok(tune::search(&cases, self.models.len(), self.cutoff).0)
    }

    /// The learned combination of the members' scores and ranks, for [`StackModel::new`].
    ///
    /// # Errors
    /// Whatever the members' scoring returns, and [`Error::Data`] when no member finds anything.
    pub fn stack(&self) -> Result<StackWeights> {
        let cases = self.cases(&[Mix::Scores, Mix::ranks()])?;
        stack::fit(&cases, self.models.len())
    }

    /// The number of the best member for each range of history lengths, the ranges beginning at
    /// `bounds`. A range that too few users fall into has the member that is best over all.
    ///
    /// # Errors
    /// Whatever the members' scoring returns, and [`Error::Config`] for bounds that do not rise from 0.
    pub fn switch(&self, bounds: &[u32]) -> Result<Vec<usize>> {
        switch::check(bounds.iter().copied())?;
        let cases = self.cases(&[Mix::Scores])?;
        Ok(switch::choose(
            &cases,
            self.models.len(),
            bounds,
            self.cutoff,
        ))
    }

    fn cases(&self, mixes: &[Mix]) -> Result<Vec<Case>> {
        let members: Vec<&dyn Recommender> = self.models.iter().map(|model| &**model).collect();
        self.cases
            .par_iter()
            .map(|(user, seen, relevant)| Case::new(&members, mixes, *user, seen, relevant))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::blocks_log;
    use crate::{ItemKnn, Random};

    #[test]
    fn weights_go_to_the_member_that_knows() {
        let log = blocks_log();
        for mix in [Mix::Scores, Mix::ranks()] {
            let blend = Blend {
                mix,
                cutoff: 3,
                ..Blend::default()
            }
            .member("chance", |log| Random::default().fit(log))
            .member("item-kNN", |log| ItemKnn::default().fit(log));
            let model = blend.fit(&log).unwrap();
            let weights = model.weights();
            assert!(weights[1].1 > 0.5, "{weights:?}");
            assert_eq!(weights[1].0, "item-kNN");
        }
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let log = blocks_log();
        assert!(matches!(
            Blend::default().fit(&log),
            Err(Error::Data { .. })
        ));
        let blend = |cutoff, validation| {
            Blend {
                cutoff,
                validation,
                ..Blend::default()
            }
            .member("chance", |log| Random::default().fit(log))
        };
        assert!(matches!(blend(0, 0.2).fit(&log), Err(Error::Config { .. })));
        assert!(blend(5, 1.5).fit(&log).is_err());
    }
}
