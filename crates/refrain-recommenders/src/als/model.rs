//! The fitted model: scores, fold-in, similar items and reasons.

use nalgebra::{DMatrix, DVector};
use refrain_core::kernels::{self, Scored, top_k_products};
use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;

use super::factors::Factors;
use super::simd::{self, Aligned, Events, padded};
use super::sweep::solve_alone;
use super::{Als, NAME, Penalty};
use crate::memory::finite;
use crate::{Change, Contribution, Error, Memory, Query, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.als";

/// What rows are told in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Basis {
    /// Eigenvalues of the items' Gram matrix, padded.
    spectrum: Vec<f32>,
    /// With biases, the directions in which rows of users and of items say 1, padded.
    pins: Option<[Vec<f32>; 2]>,
}

impl Basis {
    pub(super) fn new(spectrum: Vec<f32>, users: &Factors, items: &Factors) -> Self {
        let pins = users.pin.clone().zip(items.pin.clone());
        Self {
            spectrum,
            pins: pins.map(<[_; 2]>::from),
        }
    }

    /// Where a row of users is held.
    fn of_users(&self) -> Option<&[f32]> {
        self.pins.as_ref().map(|[users, _]| users.as_slice())
    }
}

/// Fitted implicit ALS. A score is a predicted preference: near 1 for what the user surely likes, near
/// 0 for the rest; it compares across users.
///
/// The columns of both factor matrices are the eigenvectors of the items' Gram matrix, by falling
/// eigenvalue: the first few hold most of the taste.
#[derive(Debug, Clone, PartialEq)]
pub struct AlsModel {
    pub(super) config: Als,
    pub(super) memory: Memory,
    penalty: Penalty,
    basis: Basis,
    /// users × width
    pub(super) users: Vec<f32>,
    /// items × width
    pub(super) items: Vec<f32>,
    /// Length of each item's factors, biases left out.
    norms: Vec<f32>,
    losses: Vec<f64>,
}

impl AlsModel {
    pub(super) fn new(
        config: Als,
        memory: Memory,
        penalty: Penalty,
        basis: Basis,
        users: Vec<f32>,
        items: Vec<f32>,
        losses: Vec<f64>,
    ) -> Self {
        let rows = items.chunks_exact(config.width());
        let mut model = Self {
            config,
            memory,
            penalty,
            basis,
            users,
            norms: Vec::new(),
            items: Vec::new(),
            losses,
        };
        model.norms = rows
            .map(|row| model.taste(row, row).max(0.0).sqrt())
            .collect();
        model.items = items;
        model
    }

    /// The inner product of the factors of two rows, biases left out.
    fn taste(&self, a: &[f32], b: &[f32]) -> f32 {
        let all = kernels::dot(a, b);
        self.basis
            .pins
            .iter()
            .flatten()
            .fold(all, |sum, pin| sum - said(pin, a) * said(pin, b))
    }

    /// Where rows of users and of items say 1.
    pub(super) fn pins(&self) -> [Option<&[f32]>; 2] {
        match &self.basis.pins {
            Some([users, items]) => [Some(users), Some(items)],
            None => [None, None],
        }
    }

    /// How much more or less likely the user is to like anything; `None` without biases.
    pub fn user_bias(&self, user: &str) -> Option<f32> {
        let [_, items] = self.basis.pins.as_ref()?;
        Some(said(items, self.user_factors(user)?))
    }

    /// How much more or less likely the item is to be liked by anyone; `None` without biases.
    pub fn item_bias(&self, item: &str) -> Option<f32> {
        let [users, _] = self.basis.pins.as_ref()?;
        Some(said(users, self.item_factors(item)?))
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &Als {
        &self.config
    }

    /// The loss after each iteration: all pairs and both regularisations. Empty for a loaded
    /// or updated model.
    pub fn losses(&self) -> &[f64] {
        &self.losses
    }

    /// A user's factors; with biases two values longer and in a basis where each value has a share of
    /// them, so that the inner product with an item's is the whole score.
    pub fn user_factors(&self, user: &str) -> Option<&[f32]> {
        self.user(self.memory.users().get(user)?)
    }

    /// An item's factors, as [`user_factors`](Self::user_factors) has them.
    pub fn item_factors(&self, item: &str) -> Option<&[f32]> {
        self.item(self.memory.items().get(item)?)
    }

    fn user(&self, user: u32) -> Option<&[f32]> {
        let f = self.config.width();
        self.users.get(user as usize * f..(user as usize + 1) * f)
    }

    fn item(&self, item: u32) -> Option<&[f32]> {
        let f = self.config.width();
        self.items.get(item as usize * f..(item as usize + 1) * f)
    }

    /// The factors of anyone with this history: what an exact half-iteration would give them. For a
    /// user of the training data and their own history these are the stored ones.
    ///
    /// # Errors
    /// [`Error::Index`] for an unknown item, [`Error::Weight`] for a weight that is not finite,
    /// [`Error::Data`] for weights too large to square.
    pub fn fold_in(&self, history: &[(u32, f32)]) -> Result<Vec<f32>> {
        let (items, weights) = self.memory.tidy(history)?;
        let f = self.config.width();
        if items.is_empty() && self.basis.pins.is_none() {
            return Ok(vec![0.0; f]);
        }
        let stride = padded(f);
        let mut table = Aligned::zeros(items.len() * stride);
        for (to, &item) in table.chunks_exact_mut(stride).zip(&items) {
            to[..f].copy_from_slice(self.item(item).unwrap_or_default());
        }
        let indices: Vec<u32> = (0..items.len() as u32).collect();
        let weights = self.weigh(&weights);
        let lambda = self.penalty.of(&weights);
        let events = Events {
            indices: &indices,
            weights: &weights,
        };
        let (spectrum, pin) = (&self.basis.spectrum, self.basis.of_users());
        let x = solve_alone(&table, spectrum, pin, events, lambda).ok_or_else(too_large)?;
        Ok(x[..f].to_vec())
    }

    fn weigh(&self, weights: &[f32]) -> Vec<f32> {
        weights.iter().map(|&r| self.config.weigh(r)).collect()
    }

    /// `A⁻¹ y_item`, with A the normal matrix of this history; in f64, as sums of many small parts
    /// should add up. With biases it is taken orthogonal to the pin q, and the second value is what is
    /// left of the score: `y_item·A⁻¹q / q·A⁻¹q`.
    fn influence(
        &self,
        items: &[u32],
        weights: &[f32],
        item: &[f32],
    ) -> Option<(DVector<f64>, f64)> {
        let f = self.config.width();
        let lambda = f64::from(self.penalty.of(weights));
        let diagonal = self
            .basis
            .spectrum
            .iter()
            .take(f)
            .map(|&value| f64::from(value) + lambda);
        let mut a = DMatrix::from_diagonal(&DVector::from_iterator(f, diagonal));
        for (&item, &weight) in items.iter().zip(weights) {
            let y = wide(self.item(item)?);
            a.ger(f64::from(weight.abs()), &y, &y, 1.0);
        }
        let (a, item) = (a.cholesky()?, wide(item));
        let v = a.solve(&item);
        let Some(pin) = self.basis.of_users() else {
            return Some((v, 0.0));
        };
        let pin = wide(pin.get(..f)?);
        let along = a.solve(&pin);
        let rest = along.dot(&item) / along.dot(&pin);
        Some((v - along * rest, rest))
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: Als = file.config()?;
        config.check()?;
        let memory = Memory::read(file)?;
        let f = config.width();
        let finite = |name, shape: &[usize]| finite(file, name, shape);
        let users = finite("users", &[memory.n_users(), f])?;
        let items = finite("items", &[memory.n_items(), f])?;
        let mut spectrum = finite("spectrum", &[f])?;
        let penalty = finite("penalty", &[2])?;
        let (lambda, mean) = match penalty[..] {
            [lambda, mean] if lambda > 0.0 && mean > 0.0 => (lambda, mean),
            _ => return Err(damaged(file, "penalty is not above 0".to_string())),
        };
        if spectrum.iter().any(|&value| value < 0.0) {
            return Err(damaged(file, "spectrum has a value below 0".to_string()));
        }
        spectrum.resize(padded(f), 0.0);
        let mut pins = None;
        if config.biases {
            let mut both = finite("pins", &[2, f])?;
            let mut items = both.split_off(f);
            both.resize(padded(f), 0.0);
            items.resize(padded(f), 0.0);
            let unit = |pin: &[f32]| (kernels::norm(pin) - 1.0).abs() < 1e-2;
            if !unit(&both) || !unit(&items) || kernels::dot(&both, &items).abs() > 1e-2 {
                let reason = "pins are not two directions of length 1".to_string();
                return Err(damaged(file, reason));
            }
            pins = Some([both, items]);
        }
        let exponent = config.frequency_exponent;
        let penalty = Penalty {
            lambda,
            mean,
            others: memory.n_items(),
            exponent,
        };
        let losses = Vec::new();
        Ok(Box::new(Self::new(
            config,
            memory,
            penalty,
            Basis { spectrum, pins },
            users,
            items,
            losses,
        )))
    }
}

/// What a row says in the direction of a pin.
fn said(pin: &[f32], row: &[f32]) -> f32 {
    kernels::dot(pin.get(..row.len()).unwrap_or_default(), row)
}

fn wide(x: &[f32]) -> DVector<f64> {
    DVector::from_iterator(x.len(), x.iter().map(|&x| f64::from(x)))
}

fn too_large() -> Error {
    Error::Data {
        model: NAME,
        reason: "alpha times a weight is too large".to_string(),
    }
}

fn damaged(file: &ModelFile, reason: String) -> Error {
    refrain_core::Error::ModelFile {
        origin: file.origin().to_string(),
        reason,
    }
    .into()
}

impl Recommender for AlsModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_scores(out)?;
        kernels::scores(self.user(user).unwrap_or_default(), &self.items, out);
        Ok(())
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        kernels::scores(&self.fold_in(history)?, &self.items, out);
        Ok(())
    }

    /// The cosine of the items' factors.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        let own = self.item(item).unwrap_or_default();
        let size = self.norms.get(item as usize).copied().unwrap_or_default();
        let rows = self.items.chunks_exact(self.config.width());
        for ((score, norm), row) in out.iter_mut().zip(&self.norms).zip(rows) {
            let size = size * norm;
            *score = if size > 0.0 {
                self.taste(own, row) / size
            } else {
                0.0
            };
        }
        Ok(())
    }

    /// The cosine of the users' factors.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        let size = |row: &[f32]| self.taste(row, row).max(0.0).sqrt();
        let own = self.user(user).unwrap_or_default();
        let own_size = size(own);
        let rows = self.users.chunks_exact(self.config.width());
        for (score, row) in out.iter_mut().zip(rows) {
            let size = own_size * size(row);
            *score = match size > 0.0 {
                true => self.taste(own, row) / size,
                false => 0.0,
            };
        }
        Ok(())
    }

    /// c_uj s_ij of each event j, after Hu et al.: `s_ij = y_iᵀ A⁻¹ y_j`; with biases also what an item
    /// has without any event.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        let (items, weights) = self.memory.history_of(who)?;
        self.memory.check_item(item)?;
        let weights = self.weigh(&weights);
        let (v, rest) = self
            .influence(&items, &weights, self.item(item).unwrap_or_default())
            .ok_or_else(too_large)?;
        let part = |(&j, &weight): (&u32, &f32)| {
            let part = f64::from(simd::gain(weight)) * wide(self.item(j)?).dot(&v);
            Some(Contribution::new(
                Reason::Item(self.memory.item_name(j)),
                part as f32,
            ))
        };
        let mut all: Vec<_> = items.iter().zip(&weights).filter_map(part).collect();
        if self.config.biases {
            all.push(Contribution::new(
                Reason::Constant("liked by many"),
                rest as f32,
            ));
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let f = self.config.width();
        let penalty = vec![self.penalty.lambda, self.penalty.mean];
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&self.config)?)?;
        let spectrum = self.basis.spectrum.get(..f).unwrap_or_default();
        let mut writer = writer
            .f32("users", &[self.memory.n_users(), f], &self.users)?
            .f32("items", &[self.memory.n_items(), f], &self.items)?
            .f32("spectrum", &[f], spectrum)?
            .f32("penalty", &[2], penalty)?;
        if let Some(pins) = &self.basis.pins {
            let rows = pins.iter().flat_map(|pin| pin.iter().take(f)).copied();
            writer = writer.f32("pins", &[2, f], rows.collect::<Vec<f32>>())?;
        }
        Ok(writer)
    }

    fn update(&mut self, events: &Interactions) -> Result<Change> {
        self.become_one(self.learn(events))
    }

    /// The user's factors go; what items learned from them stays until the next fit.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        self.become_one(self.without_user(self.memory.user(user)?))
    }

    /// The item goes and users take a step without it, those who had it an exact one; what other items learned from it through
    /// them stays until the next fit.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        self.become_one(self.without_item(self.memory.item(item)?))
    }

    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        let mut queries = Vec::with_capacity(users.len() * self.config.width());
        for &user in users {
            self.memory.check_user(user)?;
            queries.extend_from_slice(self.user(user).unwrap_or_default());
        }
        let mask = query.mask(self.items());
        let skip = |at: u32, item: u32| {
            let masked = mask.as_ref().is_some_and(|mask| !mask[item as usize]);
            let seen = || {
                let user = users.get(at as usize).copied().unwrap_or(u32::MAX);
                query.hides_seen() && self.history(user).0.binary_search(&item).is_ok()
            };
            masked || seen()
        };
        let mut best = top_k_products(&queries, &self.items, self.config.width(), query.k(), &skip);
        for list in &mut best {
            list.retain(|scored| scored.score > query.threshold());
        }
        Ok(best)
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, AlsModel::read);
