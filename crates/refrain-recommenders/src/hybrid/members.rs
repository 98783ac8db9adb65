//! What all blends share: named models over the same users, and items that begin with the same ones.

use std::sync::Arc;

use refrain_core::{ModelFile, ModelWriter, kernels};
use refrain_data::ItemFeatures;

use super::Mix;
use super::mix::Level;
use super::wider::{Wider, union};
use crate::load::{duplicate, nested};
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

/// A model and what it is called in reasons.
pub(super) struct Member {
    pub model: Arc<dyn Recommender>,
    pub name: String,
}

/// One or more models with the same users. Items that some of them have and others do not follow those
/// that all have.
pub(super) struct Members {
    pub list: Vec<Member>,
    pub memory: Memory,
}

/// Models under their own names.
pub(super) fn by_name(models: impl IntoIterator<Item = Arc<dyn Recommender>>) -> Vec<Member> {
    let models = models.into_iter();
    models
        .map(|model| Member {
            name: model.name(),
            model,
        })
        .collect()
}

impl Members {
    /// `kind` is the blend's name in messages.
    pub fn new(kind: &'static str, list: Vec<Member>) -> Result<Self> {
        if list.is_empty() {
            return Err(Error::Data {
                model: kind,
                reason: "it has no members".to_string(),
            });
        }
        let memories = list.iter().map(|m| (m.name.as_str(), m.model.memory()));
        let memory = union(memories)?;
        let wide = |member: Member| match member.model.items() == memory.items() {
            true => member,
            false => Member {
                model: Arc::new(Wider::new(member.model, memory.clone())),
                name: member.name,
            },
        };
        let list = list.into_iter().map(wide).collect();
        Ok(Self { list, memory })
    }

    pub fn names(&self) -> Vec<String> {
        self.list.iter().map(|member| member.name.clone()).collect()
    }

    /// Adds each member whole.
    pub fn write<'a>(&'a self, mut writer: ModelWriter<'a>) -> Result<ModelWriter<'a>> {
        for (at, member) in self.list.iter().enumerate() {
            let bytes = member.model.to_file()?.to_bytes()?;
            writer = writer.u8(format!("member.{at}"), &[bytes.len()], bytes)?;
        }
        Ok(writer)
    }

    pub fn read(kind: &'static str, file: &ModelFile, names: Vec<String>) -> Result<Self> {
        let mut list = Vec::new();
        for (at, name) in names.into_iter().enumerate() {
            let model = nested(file, &format!("member.{at}"))?.into();
            list.push(Member { model, name });
        }
        Self::new(kind, list)
    }

    /// The weighted sum of the members' similarities, mixed like scores; members that cannot compare
    /// items, and those that do not count, are left out; whether any is in is returned.
    pub fn similarity(
        &self,
        mix: Mix,
        weights: impl Iterator<Item = f32>,
        item: u32,
        out: &mut [f32],
    ) -> Result<bool> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        let mut own = vec![0.0; out.len()];
        let mut any = false;
        let counted = self.list.iter().zip(weights).filter(|(_, w)| *w > 0.0);
        for (member, weight) in counted {
            match member.model.similarity(item, &mut own) {
                Err(Error::Unsupported { .. }) => continue,
                other => other?,
            }
            any = true;
            mix.level(&mut own, &[item]);
            kernels::axpy(weight, &own, out);
        }
        Ok(any)
    }

    /// The similarities of the first of some members that can compare items, and whether there is one.
    pub fn first_similarity<'a>(
        members: impl Iterator<Item = &'a Member>,
        item: u32,
        out: &mut [f32],
    ) -> Result<bool> {
        for member in members {
            match member.model.similarity(item, out) {
                Err(Error::Unsupported { .. }) => {}
                other => return other.map(|()| true),
            }
        }
        Ok(false)
    }

    /// The weighted mean of the members' similarities of users; members that cannot compare them, and
    /// those that do not count, are left out.
    pub fn user_similarity(
        &self,
        weights: impl Iterator<Item = f32>,
        user: u32,
        out: &mut [f32],
    ) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        out.fill(0.0);
        let mut own = vec![0.0; out.len()];
        let mut total = 0.0;
        for (member, weight) in self.list.iter().zip(weights) {
            if weight <= 0.0 {
                continue;
            }
            match member.model.user_similarity(user, &mut own) {
                Err(Error::Unsupported { .. }) => continue,
                other => other?,
            }
            total += weight;
            kernels::axpy(weight, &own, out);
        }
        if total > 0.0 {
            kernels::scale(1.0 / total, out);
        }
        Ok(())
    }

    /// Copies of all members, each changed; exact when each of them is.
    pub fn changed(
        &self,
        kind: &'static str,
        change: impl Fn(&mut dyn Recommender) -> Result<Change>,
    ) -> Result<(Self, Change)> {
        let mut list = Vec::new();
        let mut all = Change::Exact;
        for member in &self.list {
            let mut model = duplicate(&*member.model)?;
            match change(&mut *model) {
                // An item that was added to others.
                Err(Error::UnknownItem { .. }) => {}
                change => {
                    if change? == Change::Approximate {
                        all = Change::Approximate;
                    }
                }
            }
            let (model, name) = (model.into(), member.name.clone());
            list.push(Member { model, name });
        }
        Ok((Self::new(kind, list)?, all))
    }

    /// Copies of all members, with new items where a member can take them, and how many are new.
    pub fn with_items(&self, kind: &'static str, features: &ItemFeatures) -> Result<(Self, usize)> {
        let (mut list, mut refusal, mut taken) = (Vec::new(), None, false);
        for member in &self.list {
            let mut model = duplicate(&*member.model)?;
            match model.add_items(features) {
                Err(error @ Error::Unsupported { .. }) => refusal = Some(error),
                other => {
                    other?;
                    taken = true;
                }
            }
            let (model, name) = (model.into(), member.name.clone());
            list.push(Member { model, name });
        }
        let wider = Self::new(kind, list)?;
        let added = wider.memory.n_items() - self.memory.n_items();
        match refusal {
            Some(error) if !taken => Err(error),
            _ => Ok((wider, added)),
        }
    }
}

impl Member {
    /// The member's own scores for someone.
    pub fn scores(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        match who {
            Who::User(user) => self.model.score(user, out),
            Who::History(history) => self.model.score_history(history, out),
        }
    }

    /// A reason of this member's.
    pub fn reason(&self, reason: Reason) -> Reason {
        Reason::Member {
            model: self.name.clone(),
            reason: Box::new(reason),
        }
    }

    /// What the member's levelled score for an item, times a weight, is made of. With scores these are
    /// its parts in their share of the sum, and a constant for its average item. With ranks the share
    /// is divided among its parts that speak for the item, by their size.
    pub fn explain(
        &self,
        mix: Mix,
        weight: f32,
        level: Level,
        levelled: f32,
        parts: &[Contribution],
    ) -> Vec<Contribution> {
        let part = |reason: Reason, weight| Contribution::new(self.reason(reason), weight);
        match mix {
            Mix::Scores => {
                let scaled = parts.iter();
                let mut all: Vec<Contribution> = scaled
                    .map(|p| part(p.reason.clone(), p.weight * level.scale * weight))
                    .collect();
                let average = -level.mean * level.scale * weight;
                all.push(part(Reason::Constant("less the average item"), average));
                all
            }
            Mix::Ranks { .. } => self.share_out(levelled * weight, parts, "for its rank"),
        }
    }

    /// `share` divided among the parts that speak for the item, or named when there are none.
    pub fn share_out(
        &self,
        share: f32,
        parts: &[Contribution],
        otherwise: &'static str,
    ) -> Vec<Contribution> {
        let positive = || parts.iter().filter(|part| part.weight > 0.0);
        let total: f32 = positive().map(|part| part.weight).sum();
        if !(total > 0.0 && total.is_finite()) {
            let reason = self.reason(Reason::Constant(otherwise));
            return vec![Contribution::new(reason, share)];
        }
        positive()
            .map(|part| {
                let reason = self.reason(part.reason.clone());
                Contribution::new(reason, share * (part.weight / total))
            })
            .collect()
    }
}
