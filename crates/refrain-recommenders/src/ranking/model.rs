//! The fitted model that the ranking losses share: scores, fold-in, similar items and users, reasons,
//! learning on, and files.

use refrain_core::kernels::{self, Scored, top_k_products};
use refrain_core::{ModelFile, ModelWriter, Monitor};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::engine::{KNOWN, Positives, Settings, Tables, train};
use super::fold::{Ridge, centre, row};
use super::{Bpr, KosWarp, LogisticMf, Warp};
use crate::memory::finite;
use crate::{Change, Contribution, Error, Memory, Query, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.factors";

/// Which settings a [`FactorModel`] was fitted with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FactorConfig {
    /// Bayesian personalised ranking.
    Bpr(Bpr),
    /// Weighted approximate-rank pairwise.
    Warp(Warp),
    /// k-order-statistic WARP.
    KosWarp(KosWarp),
    /// Logistic matrix factorisation.
    LogisticMf(LogisticMf),
}

impl FactorConfig {
    fn settings(&self) -> Settings {
        match self {
            Self::Bpr(config) => config.settings(),
            Self::Warp(config) => config.settings(),
            Self::KosWarp(config) => config.settings(),
            Self::LogisticMf(config) => config.settings(),
        }
    }

    pub(super) fn fit(self, log: &Interactions, monitor: &Monitor) -> Result<FactorModel> {
        let settings = self.settings();
        settings.check()?;
        let memory = Memory::new(log);
        let positives = liked(&memory);
        settings.check_data(&positives, memory.n_items())?;
        let mut tables = Tables::new(&settings, memory.n_users(), memory.n_items());
        let losses = train(&settings, &positives, &mut tables, monitor)?;
        FactorModel::finish(self, memory, tables, losses)
    }
}

/// What each user had with a weight above 0.
pub(super) fn liked(memory: &Memory) -> Positives {
    let mut positives = Positives::default();
    for user in 0..memory.n_users() as u32 {
        positives.push(likes(memory.history(user)));
    }
    positives
}

pub(super) fn likes((items, weights): (&[u32], &[f32])) -> Vec<u32> {
    let liked = items
        .iter()
        .zip(weights)
        .filter(|&(_, &weight)| weight > 0.0);
    liked.map(|(&item, _)| item).collect()
}

/// The mean of the rows that count.
pub(super) fn mean(rows: &[f32], width: usize, counts: impl Fn(usize) -> bool) -> Vec<f32> {
    let mut sums = vec![0.0f64; width];
    let mut n = 0usize;
    for (_, row) in rows
        .chunks_exact(width)
        .enumerate()
        .filter(|(at, _)| counts(*at))
    {
        sums.iter_mut()
            .zip(row)
            .for_each(|(sum, &x)| *sum += f64::from(x));
        n += 1;
    }
    sums.iter()
        .map(|sum| (sum / n.max(1) as f64) as f32)
        .collect()
}

/// The best items of many users where a score is the product of two rows, blocked.
pub(super) fn best_products(
    memory: &Memory,
    (of_users, of_items): (&[f32], &[f32]),
    width: usize,
    users: &[u32],
    query: &Query,
) -> Result<Vec<Vec<Scored>>> {
    let mut queries = Vec::with_capacity(users.len() * width);
    for &user in users {
        memory.check_user(user)?;
        queries.extend_from_slice(row(of_users, user, width));
    }
    let mask = query.mask(memory.items());
    let skip = |at: u32, item: u32| {
        let masked = mask.as_ref().is_some_and(|mask| !mask[item as usize]);
        let seen = || {
            let user = users.get(at as usize).copied().unwrap_or(u32::MAX);
            query.hides_seen() && memory.history(user).0.binary_search(&item).is_ok()
        };
        masked || seen()
    };
    let mut best = top_k_products(&queries, of_items, width, query.k(), &skip);
    for list in &mut best {
        list.retain(|scored| scored.score > query.threshold());
    }
    Ok(best)
}

/// Fitted factors of [`Bpr`], [`Warp`], [`KosWarp`] or [`LogisticMf`].
///
/// A user is the vector that their history gives by a half step of least squares, items held (see the
/// page of the family), and a score is its product with the item's vector. Scores order the items of
/// one user: those that were had lie near 1, the average item at 0. They compare across users only
/// roughly. Someone without a history gets the average user's scores.
///
/// `update` goes on with the gradients for the new events, `forget_user` and `forget_item` drop a
/// row; all three are approximate.
#[derive(Debug, Clone, PartialEq)]
pub struct FactorModel {
    config: FactorConfig,
    memory: Memory,
    ridge: Ridge,
    /// users × width
    users: Vec<f32>,
    /// items × width: vector and bias, less their mean.
    items: Vec<f32>,
    /// The mean of the users.
    average: Vec<f32>,
    /// How much longer the users' vectors were while learning.
    stretch: f32,
    losses: Vec<f64>,
}

impl FactorModel {
    /// Solves for the users and puts everything in its place.
    fn finish(
        config: FactorConfig,
        memory: Memory,
        tables: Tables,
        losses: Vec<f64>,
    ) -> Result<Self> {
        let (f, stride) = (tables.factors, tables.stride());
        let rows = tables.items.chunks_exact(stride.max(1)).zip(&tables.bias);
        let items = rows
            .flat_map(|(row, &bias)| row[..f].iter().copied().chain([bias]))
            .collect();
        let before = tables
            .users
            .iter()
            .map(|&x| f64::from(x).powi(2))
            .sum::<f64>();
        let mut new = Self {
            ridge: Ridge::new(&[], 1),
            users: Vec::new(),
            items,
            average: Vec::new(),
            stretch: 1.0,
            config,
            memory,
            losses,
        };
        new.solve()?;
        let vectors = new.users.chunks_exact(f + 1);
        let after: f64 = vectors
            .flat_map(|row| &row[..f])
            .map(|&x| f64::from(x).powi(2))
            .sum();
        let stretch = (before / after).sqrt() as f32;
        new.stretch = if stretch.is_finite() && stretch > 0.0 {
            stretch
        } else {
            1.0
        };
        Ok(new)
    }

    /// Everything that follows from items and histories.
    fn solve(&mut self) -> Result<()> {
        let width = self.width();
        centre(&mut self.items, width);
        self.ridge = Ridge::new(&self.items, width);
        let histories = liked(&self.memory);
        let users = self.ridge.vectors(
            &self.items,
            histories.users(),
            |user| histories.of(user),
            |_| None,
        );
        self.users = users.ok_or_else(|| self.overflow())?;
        self.average = mean(&self.users, width, |user| !histories.of(user).is_empty());
        for (user, to) in self.users.chunks_exact_mut(width).enumerate() {
            if histories.of(user).is_empty() {
                to.copy_from_slice(&self.average);
            }
        }
        Ok(())
    }

    fn overflow(&self) -> Error {
        let settings = self.config.settings();
        Error::Diverged {
            model: settings.model,
            iteration: settings.epochs,
            reason: "numbers overflowed; make learning_rate smaller".to_string(),
        }
    }

    fn width(&self) -> usize {
        self.config.settings().factors + 1
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &FactorConfig {
        &self.config
    }

    /// The mean loss of an event in each epoch. Empty for a loaded model.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// A user's vector: the factors and, last, how much they follow what is popular.
    pub fn user_factors(&self, user: &str) -> Option<&[f32]> {
        Some(row(
            &self.users,
            self.memory.users().get(user)?,
            self.width(),
        ))
    }

    /// An item's vector: the factors and, last, its bias, less the average item's.
    pub fn item_factors(&self, item: &str) -> Option<&[f32]> {
        Some(row(
            &self.items,
            self.memory.items().get(item)?,
            self.width(),
        ))
    }

    /// The vector of anyone with this history: a user's own, if it is theirs.
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

    /// The tables to learn on from, with rows for the users and items of `memory`.
    fn tables(&self, settings: &Settings, memory: &Memory) -> Tables {
        let (f, width) = (settings.factors, self.width());
        let mut tables = Tables::new(settings, memory.n_users(), memory.n_items());
        let stride = tables.stride();
        let rows = tables
            .users
            .chunks_exact_mut(stride)
            .zip(self.users.chunks_exact(width));
        for (to, from) in rows {
            to.iter_mut()
                .zip(&from[..f])
                .for_each(|(to, from)| *to = from * self.stretch);
        }
        let rows = tables.items.chunks_exact_mut(stride).zip(&mut tables.bias);
        for ((to, bias), from) in rows.zip(self.items.chunks_exact(width)) {
            to[..f].copy_from_slice(&from[..f]);
            *bias = from[f];
        }
        tables
    }

    /// Without row `at` of a table.
    fn drop_row(table: &mut Vec<f32>, at: u32, width: usize) {
        let start = (at as usize * width).min(table.len());
        table.drain(start..(start + width).min(table.len()));
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: FactorConfig = file.config()?;
        let settings = config.settings();
        settings.check()?;
        let memory = Memory::read(file)?;
        let width = settings.factors + 1;
        let users = finite(file, "users", &[memory.n_users(), width])?;
        let items = finite(file, "items", &[memory.n_items(), width])?;
        let average = finite(file, "average", &[width])?;
        let stretch = finite(file, "stretch", &[1])?.into_iter().sum();
        Ok(Box::new(Self {
            ridge: Ridge::new(&items, width),
            config,
            memory,
            users,
            items,
            average,
            stretch,
            losses: Vec::new(),
        }))
    }
}

impl Recommender for FactorModel {
    fn name(&self) -> String {
        self.config.settings().model.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_scores(out)?;
        kernels::scores(row(&self.users, user, self.width()), &self.items, out);
        Ok(())
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        kernels::scores(&self.fold_in(history)?, &self.items, out);
        Ok(())
    }

    /// The cosine of the items' vectors.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        kernels::cosines(row(&self.items, item, self.width()), &self.items, out);
        Ok(())
    }

    /// The cosine of the users' vectors.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        kernels::cosines(row(&self.users, user, self.width()), &self.users, out);
        Ok(())
    }

    /// What each item of the history adds: 2 z_iᵀ A⁻¹ z_j, with A the matrix of the half step.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        let (items, weights) = self.memory.history_of(who)?;
        self.memory.check_item(item)?;
        let liked = likes((&items, &weights));
        if liked.is_empty() {
            let score = kernels::dot(&self.average, row(&self.items, item, self.width()));
            return Ok(vec![Contribution::new(
                Reason::Constant("what the average user likes"),
                score,
            )]);
        }
        let parts = self
            .ridge
            .influence(&self.items, &liked, item)
            .ok_or_else(|| self.overflow())?;
        let named = liked.iter().zip(parts);
        Ok(named
            .map(|(&had, part)| Contribution::new(Reason::Item(self.memory.item_name(had)), part))
            .collect())
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let width = self.width();
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        Ok(writer
            .f32("users", &[self.memory.n_users(), width], &self.users)?
            .f32("items", &[self.memory.n_items(), width], &self.items)?
            .f32("average", &[width], &self.average)?
            .f32("stretch", &[1], vec![self.stretch])?)
    }

    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        best_products(
            &self.memory,
            (&self.users, &self.items),
            self.width(),
            users,
            query,
        )
    }

    /// Goes on with gradient steps for the new events, new users and items starting from noise, then
    /// solves for all users again.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let settings = self.config.settings();
        let memory = self.memory.extended(events)?;
        let mut positives = Positives::default();
        for user in 0..memory.n_users() as u32 {
            let had = likes(self.memory.history(user));
            let news = match events.users().get(memory.user_name(user).as_str()) {
                Some(number) => likes(events.user_items(number)),
                None => Vec::new(),
            };
            let mut news: Vec<u32> = news
                .iter()
                .filter_map(|&item| memory.items().get(events.items().name(item)?))
                .collect();
            news.sort_unstable();
            // Nobody else's history matters, and one that did not grow need not be dealt.
            let all = match news.is_empty() {
                true => Vec::new(),
                false => likes(memory.history(user)),
            };
            let learned =
                |item: &u32| had.binary_search(item).is_ok() || news.binary_search(item).is_err();
            positives.push(
                all.iter()
                    .map(|item| if learned(item) { item | KNOWN } else { *item }),
            );
        }
        let mut tables = self.tables(&settings, &memory);
        train(&settings, &positives, &mut tables, &Monitor::silent())?;
        let stretch = self.stretch;
        *self = Self::finish(self.config.clone(), memory, tables, self.losses.clone())?;
        self.stretch = stretch;
        Ok(Change::Approximate)
    }

    /// The user's own row is gone; what the items learned from it stays.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        let memory = self.memory.without_user(user)?;
        let mut new = Self {
            memory,
            ..self.clone()
        };
        new.solve()?;
        *self = new;
        Ok(Change::Approximate)
    }

    /// The item's row is gone and users are solved for without it; what other items learned beside it
    /// stays.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let memory = self.memory.without_item(item)?;
        let mut new = Self {
            memory,
            ..self.clone()
        };
        Self::drop_row(&mut new.items, item, self.width());
        new.solve()?;
        *self = new;
        Ok(Change::Approximate)
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, FactorModel::read);
