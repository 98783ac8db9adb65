//! A weighted sum of rating models, its weights fitted on ratings set aside.
//!
//! ```text
//! r(u, i) = c + Σ_m w_m r_m(u, i)        w, c: least squares on what was set aside
//! ```
//!
//! A part of the log is set aside, every member is fitted on the rest, and the weights are the ridge
//! regression of the true ratings on the members' predictions, pulled toward equal weights; then
//! every member is fitted on all of the log. Models that err differently correct each other, which is
//! how the Netflix prize was won (Bell, Koren and Volinsky, *The BellKor solution to the Netflix
//! prize*, 2007). Weights below 0 are no mistake: one member may tell what another overdoes.
//!
//! **When.** The best predictions this crate has. Members may have any settings, and may be the same
//! model more than once.
//!
//! **Cost.** Every member fitted twice, and asked whenever the blend is. The file holds each whole.
//!
//! **Determinism.** As the members'.

use std::fmt;
use std::sync::Arc;

use nalgebra::{Cholesky, DMatrix, DVector};
use refrain_core::{ModelFile, ModelWriter, Monitor};
use refrain_data::{Interactions, split};
use serde::{Deserialize, Serialize};

use super::{READERS, RatingPredictor, RatingScale};
use crate::load::Reader;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.rating_blend";
const NAME: &str = "rating blend";

type FitRatings = Arc<dyn Fn(&Interactions) -> Result<Arc<dyn RatingPredictor>> + Send + Sync>;

/// Settings of a blend of rating models.
///
/// ```
/// use refrain_recommenders::{Baseline, KnnBaseline, RatingBlend, RatingPredictor};
/// # let log = refrain_data::Interactions::from_events(
/// #     (0..600).map(|n| (n / 20, (n * n + n / 20) % 30, (n % 5 + 1) as f32)))?;
/// let model = RatingBlend::default()
///     .member("baseline", |log| Baseline::default().fit(log))
///     .member("neighbours", |log| KnnBaseline::default().fit(log))
///     .fit(&log)?;
/// println!("{:?}: {}", model.weights(), model.predict("3", "7")?);
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Clone)]
pub struct RatingBlend {
    /// The part of the log on which weights are fitted.
    pub validation: f64,
    /// As many ratings of that part pull the weights toward being equal.
    pub regularization: f64,
    /// Of the split.
    pub seed: u64,
    members: Vec<(String, FitRatings)>,
}

impl Default for RatingBlend {
    fn default() -> Self {
        Self {
            validation: 0.1,
            regularization: 10.0,
            seed: 42,
            members: Vec::new(),
        }
    }
}

impl fmt::Debug for RatingBlend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.members.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("RatingBlend")
            .field("validation", &self.validation)
            .field("regularization", &self.regularization)
            .field("seed", &self.seed)
            .field("members", &names)
            .finish()
    }
}

impl RatingBlend {
    /// Adds a model, told by how it is fitted.
    #[must_use]
    pub fn member<M: RatingPredictor + 'static>(
        mut self,
        name: impl Into<String>,
        fit: impl Fn(&Interactions) -> Result<M> + Send + Sync + 'static,
    ) -> Self {
        let fit: FitRatings = Arc::new(move |log| Ok(Arc::new(fit(log)?)));
        self.members.push((name.into(), fit));
        self
    }

    /// Fits the weights, then every member on all of the log.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, [`Error::Data`] without members,
    /// [`Error::Interactions`] for a log too small to split, and those of the members.
    pub fn fit(&self, log: &Interactions) -> Result<RatingBlendModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), with progress.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`] when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<RatingBlendModel> {
        if !(self.regularization.is_finite() && self.regularization >= 0.0) {
            return Err(Error::Config {
                model: NAME,
                field: "regularization",
                value: self.regularization.to_string(),
                expected: "must be at least 0",
            });
        }
        let (train, valid) = split::random(log, self.validation, self.seed)?;
        let stage = monitor.start(NAME, Some(2 * self.members.len() as u64));
        let mut columns = Vec::with_capacity(self.members.len());
        for (name, fit) in &self.members {
            columns.push(predictions(&*fit(&train)?, &valid)?);
            stage.advance(1, name)?;
        }
        let truth: Vec<f64> = by_user(&valid).map(|(.., r)| f64::from(r)).collect();
        let (constant, weights) = regress(&columns, &truth, self.regularization)?;
        let mut members = Vec::with_capacity(self.members.len());
        for ((name, fit), weight) in self.members.iter().zip(weights) {
            members.push((name.clone(), fit(log)?, weight));
            stage.advance(1, name)?;
        }
        RatingBlendModel::new(constant, members)
    }
}

/// Events by user, as [`predictions`] sees them.
fn by_user(log: &Interactions) -> impl Iterator<Item = (u32, u32, f32)> + '_ {
    (0..log.n_users() as u32).flat_map(|user| {
        let (items, ratings) = log.user_items(user);
        let pairs = items.iter().zip(ratings);
        pairs.map(move |(&item, &rating)| (user, item, rating))
    })
}

/// A model's prediction for each event of a log with the same numbers.
fn predictions(model: &dyn RatingPredictor, log: &Interactions) -> Result<Vec<f64>> {
    model.memory().same_ids(log, &model.name(), "the log")?;
    let mut scores = vec![0.0f32; log.n_items()];
    let mut all = Vec::with_capacity(log.len());
    for user in 0..log.n_users() as u32 {
        let items = log.user_items(user).0;
        if items.is_empty() {
            continue;
        }
        model.score(user, &mut scores)?;
        let score = |&item: &u32| scores.get(item as usize).copied().unwrap_or_default();
        all.extend(items.iter().map(|item| f64::from(score(item))));
    }
    Ok(all)
}

/// The constant and the weights.
fn regress(columns: &[Vec<f64>], truth: &[f64], pull: f64) -> Result<(f32, Vec<f32>)> {
    let (m, n) = (columns.len(), truth.len().max(1) as f64);
    let no = |reason: &str| Error::Data {
        model: NAME,
        reason: reason.to_string(),
    };
    if m == 0 {
        return Err(no("it has no members"));
    }
    let mean = |x: &[f64]| x.iter().sum::<f64>() / n;
    let means: Vec<f64> = columns.iter().map(|x| mean(x)).collect();
    let middle = mean(truth);
    let product = |a: &[f64], b: &[f64], c: f64, d: f64| -> f64 {
        let pairs = a.iter().zip(b);
        pairs.map(|(a, b)| (a - c) * (b - d)).sum()
    };
    let mut matrix = DMatrix::from_fn(m, m, |i, j| {
        product(&columns[i], &columns[j], means[i], means[j])
    });
    let mut right = DVector::from_fn(m, |i, _| product(&columns[i], truth, means[i], middle));
    // In units of the members' variance, so that `pull` counts ratings; a trace of it stays, as
    // members may be alike.
    let variance = matrix.trace() / (m as f64 * n);
    let pull = (pull + 1e-6 * n) * if variance > 0.0 { variance } else { 1.0 };
    for i in 0..m {
        matrix[(i, i)] += pull;
        right[i] += pull / m as f64;
    }
    let weights = Cholesky::new(matrix)
        .ok_or_else(|| no("its members' predictions are too large"))?
        .solve(&right);
    let constant = middle - weights.iter().zip(&means).map(|(w, x)| w * x).sum::<f64>();
    let weights: Vec<f32> = weights.iter().map(|&w| w as f32).collect();
    Ok((constant as f32, weights))
}

struct Member {
    name: String,
    /// One that predicts ratings.
    model: Arc<dyn Recommender>,
    weight: f32,
}

impl Member {
    fn ratings(&self) -> Result<&dyn RatingPredictor> {
        let ratings = self.model.ratings();
        ratings.ok_or_else(|| self.model.unsupported("predict ratings"))
    }

    /// A copy whose model is `change`d.
    fn changed(&self, change: impl Fn(&mut dyn Recommender) -> Result<Change>) -> Result<Self> {
        let file = ModelFile::from_bytes(self.model.to_file()?.to_bytes()?)?;
        let read = reader(file.kind()).ok_or_else(|| {
            self.model
                .unsupported("be changed in a blend: fit that again")
        })?;
        let mut model = read(&file)?;
        change(&mut *model)?;
        Ok(Self {
            name: self.name.clone(),
            model: model.into(),
            weight: self.weight,
        })
    }
}

/// Who reads a member of this kind. Not a blend again: nothing here is read without end.
fn reader(kind: &str) -> Option<Reader> {
    let known = READERS.iter().find(|(known, _)| *known == kind);
    known
        .filter(|(kind, _)| *kind != KIND)
        .map(|&(_, read)| read)
}

#[derive(Serialize, Deserialize)]
struct Header {
    constant: f32,
    names: Vec<String>,
    weights: Vec<f32>,
}

/// A fitted blend of rating models. A score is a predicted rating, not yet clamped, and compares
/// across users. Members that were told another scale widen the blend's.
///
/// `update`, `forget_user` and `forget_item` change every member and leave the weights, so they are
/// approximate. A member of a kind that is not of this crate cannot be changed.
pub struct RatingBlendModel {
    constant: f32,
    members: Vec<Member>,
    memory: Memory,
    scale: RatingScale,
}

impl fmt::Debug for RatingBlendModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RatingBlendModel")
            .field("constant", &self.constant)
            .field("weights", &self.weights())
            .finish()
    }
}

impl RatingBlendModel {
    /// Blends models that were fitted on the same log, with given weights.
    ///
    /// # Errors
    /// [`Error::Config`] for a weight that is not finite, [`Error::Data`] without members,
    /// [`Error::Mismatch`] for models with other ids, [`Error::Unsupported`] for a model that does
    /// not say that it predicts ratings ([`Recommender::ratings`]).
    pub fn new(
        constant: f32,
        members: impl IntoIterator<Item = (String, Arc<dyn RatingPredictor>, f32)>,
    ) -> Result<Self> {
        let members = members.into_iter().map(|(name, model, weight)| Member {
            name,
            model,
            weight,
        });
        Self::of(constant, members.collect())
    }

    fn of(constant: f32, members: Vec<Member>) -> Result<Self> {
        let Some(first) = members.first() else {
            let reason = "it has no members".to_string();
            return Err(Error::Data {
                model: NAME,
                reason,
            });
        };
        let memory = first.model.memory().clone();
        let mut scale = first.ratings()?.scale();
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
            let own = member.ratings()?.scale();
            scale.min = scale.min.min(own.min);
            scale.max = scale.max.max(own.max);
        }
        let numbers = members.iter().map(|member| member.weight);
        if let Some(bad) = numbers.chain([constant]).find(|w| !w.is_finite()) {
            return Err(Error::Config {
                model: NAME,
                field: "weight",
                value: bad.to_string(),
                expected: "must be finite",
            });
        }
        Ok(Self {
            constant,
            memory,
            scale,
            members,
        })
    }

    /// The members' names and weights.
    pub fn weights(&self) -> Vec<(&str, f32)> {
        let members = self.members.iter();
        members
            .map(|member| (member.name.as_str(), member.weight))
            .collect()
    }

    /// What is added to the weighted sum.
    pub fn constant(&self) -> f32 {
        self.constant
    }

    /// Changes copies of all members, so that after an error none has changed.
    fn change(
        &mut self,
        change: impl Fn(&mut dyn Recommender) -> Result<Change>,
    ) -> Result<Change> {
        let members = self.members.iter().map(|member| member.changed(&change));
        *self = Self::of(self.constant, members.collect::<Result<_>>()?)?;
        Ok(Change::Approximate)
    }

    fn fill(&self, who: Who<'_>, out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        out.fill(self.constant);
        let mut own = vec![0.0; out.len()];
        for member in &self.members {
            match who {
                Who::User(user) => member.model.score(user, &mut own)?,
                Who::History(history) => member.model.score_history(history, &mut own)?,
            }
            refrain_core::kernels::axpy(member.weight, &own, out);
        }
        Ok(())
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let header: Header = file.config()?;
        let broken = |reason: String| refrain_core::Error::ModelFile {
            origin: file.origin().to_string(),
            reason,
        };
        if header.weights.len() != header.names.len() {
            return Err(broken("it has another number of names than weights".to_string()).into());
        }
        let mut members = Vec::new();
        for (at, (name, &weight)) in header.names.into_iter().zip(&header.weights).enumerate() {
            let bytes = file.u8(&format!("member.{at}"))?.data.into_owned();
            let inner = ModelFile::from_bytes(bytes)?;
            let read = reader(inner.kind())
                .ok_or_else(|| broken(format!("{:?} cannot be a member", inner.kind())))?;
            let model = read(&inner)?.into();
            members.push(Member {
                name,
                model,
                weight,
            });
        }
        Ok(Box::new(Self::of(header.constant, members)?))
    }
}

impl RatingPredictor for RatingBlendModel {
    fn scale(&self) -> RatingScale {
        self.scale
    }

    fn rating(&self, who: Who<'_>, item: Option<u32>) -> Result<f32> {
        let mut sum = self.constant;
        for member in &self.members {
            sum += member.weight * member.ratings()?.rating(who, item)?;
        }
        Ok(sum)
    }
}

impl Recommender for RatingBlendModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.fill(Who::User(user), out)
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.fill(Who::History(history), out)
    }

    /// The mean over the members that can compare items.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        let mut own = vec![0.0; out.len()];
        let mut able = 0;
        for member in &self.members {
            match member.model.similarity(item, &mut own) {
                Err(Error::Unsupported { .. }) => continue,
                other => other?,
            }
            able += 1;
            refrain_core::kernels::axpy(1.0, &own, out);
        }
        match able {
            0 => Err(self.unsupported("compare items")),
            _ => {
                refrain_core::kernels::scale(1.0 / able as f32, out);
                Ok(())
            }
        }
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        let constant = Reason::Constant("what the members miss on average");
        let mut all = vec![Contribution::new(constant, self.constant)];
        for member in &self.members {
            for part in member.model.contributions(who, item)? {
                let reason = Reason::Member {
                    model: member.name.clone(),
                    reason: Box::new(part.reason),
                };
                all.push(Contribution::new(reason, member.weight * part.weight));
            }
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let members = self.members.iter();
        let header = Header {
            constant: self.constant,
            names: members.clone().map(|member| member.name.clone()).collect(),
            weights: members.map(|member| member.weight).collect(),
        };
        let mut writer = ModelWriter::new(KIND, 1).config(&header)?;
        for (at, member) in self.members.iter().enumerate() {
            let bytes = member.model.to_file()?.to_bytes()?;
            writer = writer.u8(format!("member.{at}"), &[bytes.len()], bytes)?;
        }
        Ok(writer)
    }

    fn ratings(&self) -> Option<&dyn RatingPredictor> {
        Some(self)
    }

    /// Every member learns; the weights stay.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.change(|model| model.update(events))
    }

    /// Every member forgets; the weights stay.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.memory.user(user)?;
        self.change(|model| model.forget_user(user))
    }

    /// Every member forgets; the weights stay.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.memory.item(item)?;
        self.change(|model| model.forget_item(item))
    }
}

pub(super) const READER: (&str, crate::load::Reader) = (KIND, RatingBlendModel::read);

#[cfg(test)]
mod tests;
