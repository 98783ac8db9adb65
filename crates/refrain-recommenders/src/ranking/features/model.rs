//! The fitted model of [`LightFm`] and [`FactorizationMachine`]: scores, cold start, reasons, files.

mod answers;

use std::sync::Arc;

use refrain_core::{IdMap, ModelFile, Monitor, kernels};
use refrain_data::{
    FeatureEncoder, FeatureEncoding, Features, Interactions, ItemFeatures, UserFeatures,
};
use serde::{Deserialize, Serialize};

use super::super::engine::Positives;
use super::super::fold::{Ridge, centre, row};
use super::super::model::{liked, likes, mean};
use super::train::{Settings, Side, Trainer};
use super::{FactorizationMachine, LightFm};
use crate::memory::finite;
use crate::neighbours::sparse::Csr;
use crate::{Error, Memory, Recommender, Result};

const KIND: &str = "recommenders.features";

/// Which settings a [`FeatureModel`] was fitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeatureConfig {
    /// The LightFM-style hybrid.
    LightFm(LightFm),
    /// The factorisation machine.
    FactorizationMachine(FactorizationMachine),
}

impl FeatureConfig {
    fn settings(&self) -> Settings {
        match self {
            Self::LightFm(config) => config.settings(),
            Self::FactorizationMachine(config) => config.settings(),
        }
    }

    fn features(&self) -> (&FeatureEncoding, f32) {
        match self {
            Self::LightFm(c) => (&c.encoding, c.feature_weight),
            Self::FactorizationMachine(c) => (&c.encoding, c.feature_weight),
        }
    }

    pub(super) fn fit(
        self,
        log: &Interactions,
        items: Option<&ItemFeatures>,
        users: Option<&UserFeatures>,
        monitor: &Monitor,
    ) -> Result<FeatureModel> {
        let settings = self.settings();
        let (encoding, weight) = self.features();
        settings.check(weight)?;
        let encode = |ids, features| Encoded::fit(settings.model, ids, features, encoding, weight);
        let of_items = encode(log.shared_items(), items)?;
        let of_users = encode(log.shared_users(), users)?;
        let memory = Memory::new(log);
        let positives = liked(&memory);
        if positives.len() == 0 {
            let reason = "no event of the log has a weight above 0".to_string();
            return Err(Error::Data {
                model: settings.model,
                reason,
            });
        }
        let positives: Vec<Vec<u32>> = (0..positives.users())
            .map(|user| positives.of(user).to_vec())
            .collect();
        let mut trainer = Trainer {
            settings: &settings,
            users: Side::new(of_users.with_identities(), &settings, 0),
            items: Side::new(of_items.with_identities(), &settings, 1),
            positives: &positives,
        };
        let losses = trainer.run(monitor)?;
        let Trainer { users, items, .. } = trainer;
        FeatureModel::finish(self, memory, (of_users, users), (of_items, items), losses)
    }
}

/// What is known of one side: an encoder, if there are features, and a row of them for each id.
#[derive(Debug, Clone, PartialEq)]
struct Encoded {
    encoder: Option<FeatureEncoder>,
    rows: Csr,
}

impl Encoded {
    fn fit(
        model: &'static str,
        ids: Arc<IdMap>,
        features: Option<&Features>,
        encoding: &FeatureEncoding,
        weight: f32,
    ) -> Result<Self> {
        let mut rows = Csr::with_width(0);
        let Some(features) = features else {
            (0..ids.len()).for_each(|_| rows.push_row([]));
            return Ok(Self {
                encoder: None,
                rows,
            });
        };
        let (joined, report) = features.join(&ids)?;
        if report.matched == 0 {
            let reason = "no id of the log has features; are the ids the same?".to_string();
            return Err(Error::Data { model, reason });
        }
        let encoder = encoding.fit(&joined)?;
        let rows = encoded(&encoder, &joined, weight)?;
        Ok(Self {
            encoder: Some(encoder),
            rows,
        })
    }

    /// Each row and, before its features, the row itself.
    fn with_identities(&self) -> Csr {
        let n = self.rows.n_rows();
        let mut rows = Csr::with_width(n + self.rows.width());
        for own in 0..n as u32 {
            let features = self
                .rows
                .pairs(own)
                .map(|(feature, x)| (n as u32 + feature, x));
            rows.push_row([(own, 1.0)].into_iter().chain(features));
        }
        rows
    }
}

/// The rows of features, each scaled to the length `weight`.
fn encoded(encoder: &FeatureEncoder, features: &Features, weight: f32) -> Result<Csr> {
    let matrix = encoder.encode(features)?;
    let mut rows = Csr::with_width(matrix.names.len());
    for at in 0..features.len() as u32 {
        let (columns, values) = matrix.row(at);
        let length = values.iter().map(|v| v * v).sum::<f32>().sqrt();
        let pairs = columns.iter().copied().zip(values.iter().copied());
        rows.push_row(pairs.map(|(column, value)| (column, value / length * weight)));
    }
    Ok(rows)
}

/// Fitted [`LightFm`] or [`FactorizationMachine`].
///
/// An item is the sum of its features' embeddings. A user is the vector that their history gives by a
/// half step of least squares, items held, starting from what their features say; scores order the
/// items of one user and compare across users only roughly. Someone of whom nothing is known gets the
/// average user's scores.
///
/// [`add_items`](Self::add_items) and [`add_users`](Self::add_users) place those who have features but
/// no history. `update` solves for the users anew and leaves the embeddings and the average user;
/// `forget_user` drops a row, `forget_item` a row and its embedding; all three are approximate.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureModel {
    config: FeatureConfig,
    memory: Memory,
    ridge: Ridge,
    /// How many items were there at `fit`: the first so many columns of `of_items` are they.
    fitted: usize,
    item_encoder: Option<FeatureEncoder>,
    user_encoder: Option<FeatureEncoder>,
    /// Items × (items at fit + features).
    of_items: Csr,
    /// Users × features.
    of_users: Csr,
    /// (items at fit + features) × width: embedding and bias.
    item_embeddings: Vec<f32>,
    /// features × width: embedding and 1, shrunk to the users' present size.
    user_embeddings: Vec<f32>,
    /// The mean of the items at fit.
    centre: Vec<f32>,
    /// items × width: sum and bias, less their mean.
    items: Vec<f32>,
    /// users × width
    users: Vec<f32>,
    /// The mean of the users at fit, as their histories alone have them.
    average: Vec<f32>,
    losses: Vec<f64>,
}

impl FeatureModel {
    fn finish(
        config: FeatureConfig,
        memory: Memory,
        (of_users, users): (Encoded, Side),
        (of_items, items): (Encoded, Side),
        losses: Vec<f64>,
    ) -> Result<Self> {
        let settings = config.settings();
        let width = settings.factors + 1;
        let mut table = vec![0.0; memory.n_items() * width];
        for (item, out) in (0u32..).zip(table.chunks_exact_mut(width)) {
            items.sum(item, settings.pairs, out);
        }
        let centre = centre(&mut table, width);
        let histories = liked(&memory);
        let busy = |user: usize| !histories.of(user).is_empty();
        let learned: f64 = (0..memory.n_users() as u32)
            .filter(|&user| busy(user as usize))
            .map(|user| {
                let mut sum = vec![0.0; width];
                users.sum(user, false, &mut sum);
                sum.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>()
            })
            .sum();
        let mut new = Self {
            ridge: Ridge::new(&table, width),
            fitted: memory.n_items(),
            item_encoder: of_items.encoder,
            user_encoder: None,
            of_items: items.rows,
            of_users: Csr::with_width(0),
            item_embeddings: items.table,
            user_embeddings: Vec::new(),
            centre,
            items: table,
            users: Vec::new(),
            average: Vec::new(),
            config,
            memory,
            losses,
        };
        // What features say is told from the average user, so that user is found without them.
        let plain = new.half_step(&histories, &[])?;
        new.average = mean(&plain, width, busy);
        // The half step's users are shorter than those of the gradients; features follow.
        let solved = plain.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>();
        let shrink = (solved / learned).sqrt() as f32;
        let first = of_users.rows.n_rows() * width;
        new.user_embeddings = users.table.get(first..).unwrap_or_default().to_vec();
        for row in new.user_embeddings.chunks_exact_mut(width) {
            row.iter_mut().for_each(|x| *x *= shrink);
            row[width - 1] = 0.0;
        }
        (new.user_encoder, new.of_users) = (of_users.encoder, of_users.rows);
        new.solve()?;
        Ok(new)
    }

    fn width(&self) -> usize {
        self.config.settings().factors + 1
    }

    /// Solves for the users. The average user stays: it is in what they start from.
    fn solve(&mut self) -> Result<()> {
        let histories = liked(&self.memory);
        let n = histories.users();
        let starts: Vec<Option<Vec<f32>>> = (0..n as u32).map(|user| self.start(user)).collect();
        self.users = self.half_step(&histories, &starts)?;
        for (user, to) in self.users.chunks_exact_mut(self.average.len()).enumerate() {
            if histories.of(user).is_empty() && starts.get(user).is_none_or(Option::is_none) {
                to.copy_from_slice(&self.average);
            }
        }
        Ok(())
    }

    /// The users by their histories, near where they start; 0 for those with neither.
    fn half_step(&self, histories: &Positives, starts: &[Option<Vec<f32>>]) -> Result<Vec<f32>> {
        let users = self.ridge.vectors(
            &self.items,
            histories.users(),
            |user| histories.of(user),
            |user| starts.get(user).and_then(Option::as_deref),
        );
        users.ok_or_else(|| self.overflow())
    }

    /// What a user's features say, if there are any: on top of the average user.
    fn start(&self, user: u32) -> Option<Vec<f32>> {
        if self.of_users.row(user).0.is_empty() {
            return None;
        }
        let mut sum = self.average.clone();
        for (feature, x) in self.of_users.pairs(user) {
            kernels::axpy(
                x,
                row(&self.user_embeddings, feature, self.width()),
                &mut sum,
            );
        }
        Some(sum)
    }

    fn overflow(&self) -> Error {
        let settings = self.config.settings();
        Error::Diverged {
            model: settings.model,
            iteration: settings.epochs,
            reason: "numbers overflowed; make learning_rate smaller".to_string(),
        }
    }

    /// The vector of an item: the sum of its features less the average item; 0 when it has none.
    fn place(&self, item: u32) -> Vec<f32> {
        let width = self.width();
        let mut sum = vec![0.0; width];
        if self.of_items.row(item).0.is_empty() {
            return sum;
        }
        for (feature, x) in self.of_items.pairs(item) {
            kernels::axpy(x, row(&self.item_embeddings, feature, width), &mut sum);
        }
        sum[width - 1] += self.pairs(item, &sum);
        kernels::axpy(-1.0, &self.centre, &mut sum);
        sum
    }

    /// What the features of an item are worth beside each other.
    fn pairs(&self, item: u32, sum: &[f32]) -> f32 {
        let f = self.width() - 1;
        if !self.config.settings().pairs {
            return 0.0;
        }
        let own = |(feature, x)| {
            let v = &row(&self.item_embeddings, feature, f + 1)[..f];
            x * x * kernels::dot(v, v)
        };
        0.5 * (kernels::dot(&sum[..f], &sum[..f]) - self.of_items.pairs(item).map(own).sum::<f32>())
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &FeatureConfig {
        &self.config
    }

    /// The mean loss of an event in each epoch. Empty for a loaded model.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// An item's vector: the sum of its embeddings and, last, its bias, less the average item's.
    pub fn item_factors(&self, item: &str) -> Option<&[f32]> {
        Some(row(
            &self.items,
            self.memory.items().get(item)?,
            self.width(),
        ))
    }

    /// A user's vector.
    pub fn user_factors(&self, user: &str) -> Option<&[f32]> {
        Some(row(
            &self.users,
            self.memory.users().get(user)?,
            self.width(),
        ))
    }

    /// Adds the users that are not there yet, from their features, so that they can be recommended to.
    /// Nothing else changes. Returns how many were new.
    ///
    /// # Errors
    /// As [`add_items`](Self::add_items), for users.
    pub fn add_users(&mut self, features: &UserFeatures) -> Result<usize> {
        let Some(encoder) = &self.user_encoder else {
            return Err(self.unsupported("add users: it was fitted without their features"));
        };
        let rows = encoded(encoder, features, self.config.features().1)?;
        let before = self.memory.n_users();
        let memory = self.memory.with_ids(features.ids().clone(), IdMap::new())?;
        for id in memory.users().iter().skip(before) {
            let at = features.ids().get(id).unwrap_or(u32::MAX);
            self.of_users.push_row(rows.pairs(at));
        }
        self.memory = memory;
        for user in before..self.memory.n_users() {
            let vector = self
                .start(user as u32)
                .unwrap_or_else(|| self.average.clone());
            self.users.extend(vector);
        }
        Ok(self.memory.n_users() - before)
    }

    /// Drops an item's row and, if it was there at fit, its embedding.
    fn drop_item(&mut self, item: u32) {
        let width = self.width();
        let own = (item as usize) < self.fitted;
        let mut rows = Csr::with_width(self.of_items.width() - usize::from(own));
        for other in (0..self.of_items.n_rows() as u32).filter(|&other| other != item) {
            let pairs = self.of_items.pairs(other);
            let pairs = pairs.filter(|&(column, _)| !own || column != item);
            rows.push_row(pairs.map(|(c, x)| (c - u32::from(own && c > item), x)));
        }
        self.of_items = rows;
        let places = item as usize * width..(item as usize + 1) * width;
        self.items.drain(places.clone());
        if own {
            self.item_embeddings.drain(places);
            self.fitted -= 1;
            let fitted = self.items.get(..self.fitted * width).unwrap_or_default();
            self.ridge = Ridge::new(fitted, width);
        }
    }

    /// Vectors for the items from number `from` on.
    fn place_new(&mut self, from: usize) {
        for item in from..self.memory.n_items() {
            let vector = self.place(item as u32);
            self.items.extend(vector);
        }
    }

    /// The vector of anyone with this history, of whom nothing else is known.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown item, [`Error::Weight`] for a weight that is not finite.
    pub fn fold_in(&self, history: &[(u32, f32)]) -> Result<Vec<f32>> {
        let (items, weights) = self.memory.tidy(history)?;
        let liked = likes((&items, &weights));
        match liked.is_empty() {
            true => Ok(self.average.clone()),
            false => self
                .ridge
                .vector(&self.items, &liked, None)
                .ok_or_else(|| self.overflow()),
        }
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let (config, item_encoder, user_encoder): (
            FeatureConfig,
            Option<FeatureEncoder>,
            Option<FeatureEncoder>,
        ) = file.config()?;
        config.settings().check(config.features().1)?;
        let memory = Memory::read(file)?;
        let width = config.settings().factors + 1;
        let count =
            |encoder: &Option<FeatureEncoder>| encoder.as_ref().map_or(0, |e| e.names().len());
        let centre = finite(file, "centre", &[width])?;
        let fitted = file.u64("fitted")?.expect_shape("fitted", &[1])?.data[0];
        let fitted = usize::try_from(fitted)
            .unwrap_or(usize::MAX)
            .min(memory.n_items());
        let columns = fitted + count(&item_encoder);
        let items = finite(file, "items", &[memory.n_items(), width])?;
        Ok(Box::new(Self {
            ridge: Ridge::new(items.get(..fitted * width).unwrap_or_default(), width),
            fitted,
            of_items: Csr::read(file, "of_items", memory.n_items(), columns)?,
            of_users: Csr::read(file, "of_users", memory.n_users(), count(&user_encoder))?,
            item_embeddings: finite(file, "item_embeddings", &[columns, width])?,
            user_embeddings: finite(file, "user_embeddings", &[count(&user_encoder), width])?,
            centre,
            items,
            users: finite(file, "users", &[memory.n_users(), width])?,
            average: finite(file, "average", &[width])?,
            losses: Vec::new(),
            item_encoder,
            user_encoder,
            config,
            memory,
        }))
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, FeatureModel::read);
