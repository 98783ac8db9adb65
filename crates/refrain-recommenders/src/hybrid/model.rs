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
//! answer for new items. Each explanation names the member a reason came through.
//!
//! **Cost.** The members' scores, plus a sort per member for ranks. The file holds each member whole.
//!
//! **Determinism.** As the members'.

use std::sync::Arc;

use refrain_core::{ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use crate::{Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.blend";
/// A blend may have blends as members, this deep.
const MAX_DEPTH: usize = 4;

/// How members are mixed.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Mix {
    /// A weighted sum of standardised scores.
    #[default]
    Scores,
    /// Weighted reciprocal rank fusion.
    Ranks {
        /// Larger makes the first places count less against the following ones; 60 is usual.
        constant: f32,
    },
}

impl Mix {
    /// Rank fusion with the usual constant of 60.
    pub fn ranks() -> Self {
        Mix::Ranks { constant: 60.0 }
    }

    fn check(self) -> Result<()> {
        match self {
            Mix::Ranks { constant } if !(constant.is_finite() && constant > 0.0) => {
                Err(Error::Config {
                    model: "blend",
                    field: "mix.constant",
                    value: constant.to_string(),
                    expected: "must be above 0",
                })
            }
            _ => Ok(()),
        }
    }

    /// Makes one member's scores comparable with the others', in place.
    pub(super) fn level(self, scores: &mut [f32], seen: &[u32]) -> Level {
        match self {
            Mix::Scores => {
                let n = unseen(scores, seen).count().max(1) as f64;
                let mean = unseen(scores, seen).map(f64::from).sum::<f64>() / n;
                let squares = unseen(scores, seen).map(|s| (f64::from(s) - mean).powi(2));
                let scale = (1.0 / (squares.sum::<f64>() / n).sqrt()) as f32;
                // All the same: this member has nothing to say.
                let scale = if scale.is_finite() { scale } else { 0.0 };
                let mean = mean as f32;
                scores.iter_mut().for_each(|s| *s = (*s - mean) * scale);
                Level { mean, scale }
            }
            Mix::Ranks { constant } => {
                let mut order: Vec<f32> = unseen(scores, seen).collect();
                order.sort_unstable_by(|a, b| b.total_cmp(a));
                for score in scores {
                    let rank = order.partition_point(|other| other >= score);
                    *score = constant / (constant + rank as f32);
                }
                Level {
                    mean: 0.0,
                    scale: 1.0,
                }
            }
        }
    }
}

/// The scores of the items that are not in `seen`, which ascends.
fn unseen<'a>(scores: &'a [f32], seen: &'a [u32]) -> impl Iterator<Item = f32> + 'a {
    let mut seen = seen.iter().copied().peekable();
    let all = (0u32..).zip(scores);
    all.filter(move |(item, _)| seen.next_if_eq(item).is_none())
        .map(|(_, &score)| score)
}

/// How scores were made comparable.
#[derive(Clone, Copy)]
pub(super) struct Level {
    mean: f32,
    scale: f32,
}

struct Member {
    model: Arc<dyn Recommender>,
    name: String,
    weight: f32,
}

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
pub struct BlendModel {
    mix: Mix,
    members: Vec<Member>,
    memory: Memory,
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
    /// [`Error::Data`] without members, [`Error::Mismatch`] for models with other ids.
    pub fn new(
        mix: Mix,
        members: impl IntoIterator<Item = (Arc<dyn Recommender>, f32)>,
    ) -> Result<Self> {
        let members = members.into_iter().map(|(model, weight)| {
            let name = model.name();
            Member {
                model,
                name,
                weight,
            }
        });
        Self::of(mix, members.collect())
    }

    /// As [`new`](Self::new), with names for tables and reasons.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn named(
        mix: Mix,
        members: impl IntoIterator<Item = (String, Arc<dyn Recommender>, f32)>,
    ) -> Result<Self> {
        let members = members.into_iter();
        Self::of(
            mix,
            members
                .map(|(name, model, weight)| Member {
                    model,
                    name,
                    weight,
                })
                .collect(),
        )
    }

    fn of(mix: Mix, members: Vec<Member>) -> Result<Self> {
        mix.check()?;
        let Some(first) = members.first() else {
            return Err(Error::Data {
                model: "blend",
                reason: "it has no members".to_string(),
            });
        };
        let memory = first.model.memory().clone();
        for member in &members {
            let other = member.model.memory();
            for (what, same) in [
                ("users", other.users() == memory.users()),
                ("items", other.items() == memory.items()),
            ] {
                if !same {
                    let (left, right) = (first.name.clone(), member.name.clone());
                    return Err(Error::Mismatch { left, right, what });
                }
            }
            if !(member.weight.is_finite() && member.weight >= 0.0) {
                return Err(weight_error(member.weight, "must be at least 0"));
            }
        }
        if members.iter().all(|member| member.weight == 0.0) {
            return Err(weight_error(0.0, "one of them must be above 0"));
        }
        Ok(Self {
            mix,
            members,
            memory,
        })
    }

    /// How the members are mixed.
    pub fn mix(&self) -> Mix {
        self.mix
    }

    /// The members' names and weights.
    pub fn weights(&self) -> Vec<(&str, f32)> {
        self.members
            .iter()
            .map(|member| (member.name.as_str(), member.weight))
            .collect()
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        Ok(Box::new(Self::read_at(file, 0)?))
    }

    fn read_at(file: &ModelFile, depth: usize) -> Result<Self> {
        file.expect(KIND, 1)?;
        let header: Header = file.config()?;
        let broken = |reason: &str| refrain_core::Error::ModelFile {
            origin: file.origin().to_string(),
            reason: reason.to_string(),
        };
        if depth >= MAX_DEPTH {
            return Err(broken("blends within blends, too deep").into());
        }
        if header.weights.len() != header.names.len() {
            return Err(broken("a blend with another number of names than weights").into());
        }
        let mut members = Vec::new();
        for (at, (name, &weight)) in header.names.into_iter().zip(&header.weights).enumerate() {
            let bytes = file.u8(&format!("member.{at}"))?.data.into_owned();
            let inner = ModelFile::from_bytes(bytes)?;
            let model: Arc<dyn Recommender> = match inner.kind() == KIND {
                true => Arc::new(Self::read_at(&inner, depth + 1)?),
                false => crate::from_file(&inner)?.into(),
            };
            members.push(Member {
                model,
                name,
                weight,
            });
        }
        Self::of(header.mix, members)
    }

    /// Each active member's own scores for someone.
    fn member_scores(&self, member: &Member, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        match who {
            Who::User(user) => member.model.score(user, out),
            Who::History(history) => member.model.score_history(history, out),
        }
    }

    fn blend(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        let (seen, _) = self.memory.history_of(who)?;
        out.fill(0.0);
        let mut own = vec![0.0; out.len()];
        for member in self.members.iter().filter(|member| member.weight > 0.0) {
            self.member_scores(member, who, &mut own)?;
            self.mix.level(&mut own, &seen);
            for (sum, score) in out.iter_mut().zip(&own) {
                *sum += member.weight * score;
            }
        }
        Ok(())
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
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.blend(Who::User(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.blend(Who::History(history), out)
    }

    /// The members' similarities, mixed like scores; members that cannot compare items are left out.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        let mut own = vec![0.0; out.len()];
        let mut any = false;
        for member in self.members.iter().filter(|member| member.weight > 0.0) {
            match member.model.similarity(item, &mut own) {
                Err(Error::Unsupported { .. }) => continue,
                other => other?,
            }
            any = true;
            self.mix.level(&mut own, &[item]);
            for (sum, score) in out.iter_mut().zip(&own) {
                *sum += member.weight * score;
            }
        }
        match any {
            true => Ok(()),
            false => Err(Error::Unsupported {
                model: self.name(),
                what: "compare items",
            }),
        }
    }

    /// With scores, each member's parts in their share of the sum, and one constant per member for
    /// its average item. With ranks, a member's share is divided among its parts that speak for the
    /// item, by their size.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let (seen, _) = self.memory.history_of(who)?;
        let mut own = vec![0.0; self.memory.n_items()];
        let mut all = Vec::new();
        for member in self.members.iter().filter(|member| member.weight > 0.0) {
            self.member_scores(member, who, &mut own)?;
            let level = self.mix.level(&mut own, &seen);
            let parts = member.model.contributions(who, item)?;
            let mut add = |reason: Reason, weight: f32| {
                let reason = Reason::Member {
                    model: member.name.clone(),
                    reason: Box::new(reason),
                };
                all.push(Contribution::new(reason, weight));
            };
            match self.mix {
                Mix::Scores => {
                    for part in parts {
                        add(part.reason, part.weight * level.scale * member.weight);
                    }
                    let average = -level.mean * level.scale * member.weight;
                    add(Reason::Constant("less the average item"), average);
                }
                Mix::Ranks { .. } => {
                    let share = own.get(item as usize).copied().unwrap_or_default() * member.weight;
                    let positive = |part: &&Contribution| part.weight > 0.0;
                    let total: f32 = parts.iter().filter(positive).map(|part| part.weight).sum();
                    if total > 0.0 && total.is_finite() {
                        for part in parts.iter().filter(positive) {
                            add(part.reason.clone(), share * (part.weight / total));
                        }
                    } else {
                        add(Reason::Constant("for its rank"), share);
                    }
                }
            }
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let header = Header {
            mix: self.mix,
            weights: self.members.iter().map(|member| member.weight).collect(),
            names: self
                .members
                .iter()
                .map(|member| member.name.clone())
                .collect(),
        };
        let mut writer = ModelWriter::new(KIND, 1).config(&header)?;
        for (at, member) in self.members.iter().enumerate() {
            let bytes = member.model.to_file()?.to_bytes()?;
            writer = writer.u8(format!("member.{at}"), &[bytes.len()], bytes)?;
        }
        Ok(writer)
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
    fn ties_share_the_worst_rank_and_seen_items_do_not_count() {
        let mut scores = [5.0, 3.0, 3.0, 9.0, 0.0];
        Mix::Ranks { constant: 1.0 }.level(&mut scores, &[3]);
        assert_eq!(scores, [1.0 / 2.0, 1.0 / 4.0, 1.0 / 4.0, 1.0, 1.0 / 5.0]);
        let mut flat = [2.0; 3];
        Mix::Scores.level(&mut flat, &[]);
        assert_eq!(flat, [0.0; 3]);
    }

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
        for depth in 1..=5 {
            model = Arc::new(BlendModel::new(Mix::Scores, [(model, 1.0)]).unwrap());
            let bytes = model.to_file().unwrap().to_bytes().unwrap();
            let read = crate::from_file(&ModelFile::from_bytes(bytes).unwrap());
            assert_eq!(read.is_ok(), depth <= 4, "{depth}");
        }
    }
}
