//! The fitted neural model: plain weights, asked on the CPU.

use refrain_core::{IdMap, ModelFile, ModelWriter, kernels};
use refrain_data::{FeatureEncoder, Interactions, ItemFeatures};
use refrain_sequence::parts::Rows;
use serde::{Deserialize, Serialize};

use super::super::{Sequences, ordered};
use super::body::{Body, BodyTape};
use super::fit::Plan;
use super::{Bert4Rec, Gru4Rec, SasRec, TwoTower};
use crate::memory::finite;
use crate::{Change, Contribution, Error, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.next_item";

/// The settings of the model that was fitted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Settings {
    /// Of a [`SasRec`].
    SasRec(SasRec),
    /// Of a [`Gru4Rec`].
    Gru4Rec(Gru4Rec),
    /// Of a [`Bert4Rec`].
    Bert4Rec(Bert4Rec),
    /// Of a [`TwoTower`].
    TwoTower(TwoTower),
}

impl Settings {
    pub(super) fn plan(&self) -> Result<Plan> {
        match self {
            Self::SasRec(settings) => settings.plan(),
            Self::Gru4Rec(settings) => settings.plan(),
            Self::Bert4Rec(settings) => settings.plan(),
            Self::TwoTower(settings) => settings.plan(),
        }
    }
}

/// The layers with their weights and the items' vectors.
#[derive(Debug, Clone)]
pub(super) struct Network {
    pub(super) body: Body,
    pub(super) weights: Vec<f32>,
    /// `[items, width]`, and the row at which a model that reads both ways is asked.
    pub(super) vectors: Vec<f32>,
    /// `[features, width]`; empty without features.
    pub(super) features: Vec<f32>,
    pub(super) width: usize,
    pub(super) context: usize,
    pub(super) scale: f32,
    pub(super) items: usize,
    pub(super) asks_at_end: bool,
}

/// Rows that go through the layers at once.
const TILE: usize = 4096;

impl Network {
    pub(super) fn is_finite(&self) -> bool {
        self.weights
            .iter()
            .chain(&self.vectors)
            .all(|x| x.is_finite())
    }

    /// The part of a history that is looked at.
    fn window<'h>(&self, history: &'h [u32]) -> &'h [u32] {
        // The row at the end takes a place, but for a mean, which has none.
        let place = self.asks_at_end && !matches!(self.body, Body::Mean(_));
        let most = self.context - usize::from(place);
        history
            .get(history.len().saturating_sub(most)..)
            .unwrap_or_default()
    }

    /// The vector of what comes next after each history, none of which is empty.
    pub(super) fn next(&self, histories: &[&[u32]]) -> Vec<f32> {
        let mut out = Vec::with_capacity(histories.len() * self.width);
        let mut tape = BodyTape::default();
        for histories in histories.chunks((TILE / self.context).max(1)) {
            let (mut tile, mut x) = (Vec::new(), Vec::new());
            for history in histories {
                let before = x.len();
                let hidden = self.asks_at_end.then_some(self.items as u32);
                for &item in self.window(history).iter().chain(&hidden) {
                    let at = item as usize * self.width;
                    let row = self.vectors.get(at..at + self.width).unwrap_or_default();
                    x.extend(row.iter().map(|x| x * self.scale));
                }
                tile.push(Rows::rows((x.len() - before) / self.width, 0));
            }
            let y = self.body.forward(&self.weights, &tile, None, &x, &mut tape);
            let mut end = 0;
            for sequence in &tile {
                end += sequence.len() * self.width;
                out.extend_from_slice(&y[end - self.width..end]);
            }
        }
        out
    }

    /// The mean of the items' vectors.
    fn mean(&self) -> Vec<f32> {
        let mut mean = vec![0.0; self.width];
        for row in self.vectors.chunks_exact(self.width).take(self.items) {
            kernels::axpy(1.0 / self.items.max(1) as f32, row, &mut mean);
        }
        mean
    }

    /// Adds vectors of new items.
    fn append(&mut self, rows: &[f32]) {
        let end = self.items * self.width;
        self.vectors.splice(end..end, rows.iter().copied());
        self.items += rows.len() / self.width;
    }

    fn vector(&self, item: u32) -> &[f32] {
        let at = item as usize * self.width;
        self.vectors.get(at..at + self.width).unwrap_or_default()
    }
}

/// A fitted [`SasRec`], [`Gru4Rec`], [`Bert4Rec`] or [`TwoTower`].
///
/// [`add_items`](Self::add_items) places new items of a [`TwoTower`] that was fitted on features.
///
/// A score is the inner product of the item's vector with the one the history leads to. With a softmax
/// loss scores are logarithms of chances up to a constant of the history: they compare within a
/// history, not across users. Someone without a history gets the logarithm of each item's share of the
/// events, one added to each item's. Only the last `context` items of a history count.
///
/// Explanations leave one item out: its contribution is the score less the score without it, and what
/// is left stands as a constant, so that the parts add up. Contributions of items that stand in for
/// each other are small one by one, as the others still speak.
#[derive(Debug, Clone)]
pub struct NextItemModel {
    settings: Settings,
    memory: Memory,
    sequences: Sequences,
    network: Network,
    /// Of the items' features, when it was fitted with them.
    encoder: Option<FeatureEncoder>,
    /// Users per item.
    users: Vec<u32>,
}

impl NextItemModel {
    pub(super) fn new(
        settings: Settings,
        memory: Memory,
        sequences: Sequences,
        network: Network,
        encoder: Option<FeatureEncoder>,
    ) -> Self {
        let mut users = vec![0; memory.n_items()];
        for &item in sequences.iter().flatten() {
            if let Some(n) = users.get_mut(item as usize) {
                *n += 1;
            }
        }
        Self {
            settings,
            memory,
            sequences,
            network,
            encoder,
            users,
        }
    }

    /// The same model after its events changed.
    fn changed(&self, memory: Memory, sequences: Sequences, network: Network) -> Self {
        let (settings, encoder) = (self.settings.clone(), self.encoder.clone());
        Self::new(settings, memory, sequences, network, encoder)
    }

    /// The settings it was fitted with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The ordered histories it answers from.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    /// The vector of an item; `None` for an unknown number.
    pub fn item_vector(&self, item: u32) -> Option<&[f32]> {
        ((item as usize) < self.memory.n_items()).then(|| self.network.vector(item))
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let (settings, encoder): (Settings, Option<FeatureEncoder>) = file.config()?;
        let plan = settings.plan()?;
        plan.training.validate(plan.name)?;
        let memory = Memory::read(file)?;
        let sequences = Sequences::read(file, &memory)?;
        let items = memory.n_items();
        let rows = items + usize::from(plan.reading.asks_at_end());
        let read = |name, shape: &[usize]| finite(file, name, shape);
        let network = Network {
            weights: read("weights", &[plan.body.total()])?,
            vectors: read("vectors", &[rows, plan.width])?,
            features: match &encoder {
                Some(encoder) => read("features", &[encoder.names().len(), plan.width])?,
                None => Vec::new(),
            },
            body: plan.body,
            width: plan.width,
            context: plan.context,
            scale: (plan.width as f32).sqrt(),
            items,
            asks_at_end: plan.reading.asks_at_end(),
        };
        Ok(Box::new(Self::new(
            settings, memory, sequences, network, encoder,
        )))
    }

    /// What is read of a history: its newest items, in their order or as a set.
    fn read_history(&self, who: Who<'_>) -> Result<Vec<u32>> {
        let history = ordered(&self.memory, &self.sequences, who)?;
        let mut window = self.network.window(&history).to_vec();
        if matches!(self.settings, Settings::TwoTower(_)) {
            window.sort_unstable();
            window.dedup();
        }
        Ok(window)
    }

    fn popularity(&self, users: u32) -> f32 {
        let all = self.sequences.n_events() + self.users.len();
        ((users + 1) as f32 / all.max(1) as f32).ln()
    }

    fn fill(&self, history: &[u32], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        if history.is_empty() {
            for (score, &users) in out.iter_mut().zip(&self.users) {
                *score = self.popularity(users);
            }
            return Ok(());
        }
        let next = self.network.next(&[history]);
        kernels::scores(&next, &self.network.vectors, out);
        Ok(())
    }
}

impl Recommender for NextItemModel {
    fn name(&self) -> String {
        let name = match self.settings {
            Settings::SasRec(_) => super::sasrec::NAME,
            Settings::Gru4Rec(_) => super::gru4rec::NAME,
            Settings::Bert4Rec(_) => super::bert4rec::NAME,
            Settings::TwoTower(_) => super::two_tower::NAME,
        };
        name.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.fill(&self.read_history(Who::User(user))?, out)
    }

    /// The order of the slice is the order in time, the newest last.
    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.fill(&self.read_history(Who::History(history))?, out)
    }

    /// The cosine of the items' vectors.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        kernels::cosines(self.network.vector(item), &self.network.vectors, out);
        Ok(())
    }

    /// The cosine of where the users' histories lead, 0 for those without one. Costs a pass of every
    /// history through the layers.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        out.fill(0.0);
        let own = self.read_history(Who::User(user))?;
        if own.is_empty() {
            return Ok(());
        }
        let own = self.network.next(&[&own]);
        let histories = (0..self.memory.n_users() as u32)
            .map(|user| self.read_history(Who::User(user)))
            .collect::<Result<Vec<_>>>()?;
        let asked = histories.iter().filter(|history| !history.is_empty());
        let next = self
            .network
            .next(&asked.map(Vec::as_slice).collect::<Vec<_>>());
        let mut cosines = vec![0.0; next.len() / self.network.width];
        kernels::cosines(&own, &next, &mut cosines);
        let places = out.iter_mut().zip(&histories);
        let places = places.filter(|(_, history)| !history.is_empty());
        for ((place, _), cosine) in places.zip(cosines) {
            *place = cosine;
        }
        Ok(())
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let window = &self.read_history(who)?[..];
        if window.is_empty() {
            let users = self.users.get(item as usize).copied().unwrap_or_default();
            let reason = Reason::Popularity { users };
            return Ok(vec![Contribution::new(reason, self.popularity(users))]);
        }
        let without: Vec<Vec<u32>> = (0..window.len())
            .map(|left| {
                let kept = window.iter().enumerate().filter(|&(at, _)| at != left);
                kept.map(|(_, &item)| item).collect()
            })
            .collect();
        let mut histories: Vec<&[u32]> = vec![window];
        // Nothing is left of a single item; it is the whole reason.
        histories.extend(without.iter().filter(|h| !h.is_empty()).map(Vec::as_slice));
        let vector = self.network.vector(item);
        let next = self.network.next(&histories);
        let mut scores = next
            .chunks_exact(self.network.width)
            .map(|next| kernels::dot(next, vector));
        let score = scores.next().unwrap_or_default();
        let mut rest = f64::from(score);
        let mut parts: Vec<Contribution> = window
            .iter()
            .map(|&had| {
                let weight = score - scores.next().unwrap_or_default();
                rest -= f64::from(weight);
                Contribution::new(Reason::Item(self.memory.item_name(had)), weight)
            })
            .collect();
        let reason = Reason::Constant("the history as a whole");
        parts.push(Contribution::new(reason, rest as f32));
        Ok(parts)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = ModelWriter::new(KIND, 1).config(&(&self.settings, &self.encoder))?;
        let network = &self.network;
        let shape = |values: &[f32]| [values.len() / network.width, network.width];
        let mut writer = self
            .sequences
            .write(self.memory.write(writer)?)?
            .f32("weights", &[network.weights.len()], &network.weights)?
            .f32("vectors", &shape(&network.vectors), &network.vectors)?;
        if self.encoder.is_some() {
            writer = writer.f32("features", &shape(&network.features), &network.features)?;
        }
        Ok(writer)
    }

    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let Some(encoder) = &self.encoder else {
            return Err(Error::Unsupported {
                model: self.name(),
                what: "add items: it was fitted without their features",
            });
        };
        let encoded = encoder.encode(features)?;
        let before = self.memory.n_items();
        let memory = self.memory.with_ids(IdMap::new(), features.ids().clone())?;
        let mut network = self.network.clone();
        let width = network.width;
        for id in memory.items().iter().skip(before) {
            let (columns, values) = match features.ids().get(id) {
                Some(row) => encoded.row(row),
                None => (&[][..], &[][..]),
            };
            // Of whom nothing is known, the mean is said.
            let mut sum = match columns.is_empty() {
                true => network.mean(),
                false => vec![0.0; width],
            };
            for (&feature, &value) in columns.iter().zip(values) {
                let at = feature as usize * width;
                if let Some(row) = network.features.get(at..at + width) {
                    kernels::axpy(value, row, &mut sum);
                }
            }
            network.append(&sum);
        }
        *self = self.changed(memory, self.sequences.clone(), network);
        Ok(self.memory.n_items() - before)
    }

    /// Approximate: histories grow at once, which is most of what a new event says; nothing is
    /// trained, and a new item has the mean vector until the next fit.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let memory = self.memory.extended(events)?;
        let sequences = match self.settings {
            Settings::TwoTower(_) if !events.has_times() && !self.sequences.has_times() => {
                Sequences::with_or_without_times(&memory.to_log()?)?
            }
            _ => self.sequences.extended(&memory, events)?,
        };
        let mut network = self.network.clone();
        network.append(&network.mean().repeat(memory.n_items() - network.items));
        *self = self.changed(memory, sequences, network);
        Ok(Change::Approximate)
    }

    /// Approximate: the history is gone; what the weights learned from it stays.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        let (memory, sequences) = (
            self.memory.without_user(user)?,
            self.sequences.without_user(user),
        );
        *self = self.changed(memory, sequences, self.network.clone());
        Ok(Change::Approximate)
    }

    /// Approximate: the item, its events and its vector are gone; what the weights learned stays.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let (memory, sequences) = (
            self.memory.without_item(item)?,
            self.sequences.without_item(item),
        );
        let mut network = self.network.clone();
        let at = item as usize * network.width;
        network.vectors.drain(at..at + network.width);
        network.items = memory.n_items();
        *self = self.changed(memory, sequences, network);
        Ok(Change::Approximate)
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, NextItemModel::read);
