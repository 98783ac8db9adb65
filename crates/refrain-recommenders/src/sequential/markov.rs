//! A Markov chain over items: *what follows what*, from the last few items only.
//!
//! The chance of item j after the last k items c_k (the newest of them c_1) leans on the chance after
//! one item fewer, as far as c_k was seldom seen:
//!
//! ```text
//! p_k(j) = ( n(c_k → j) + smoothing · p_{k−1}(j) ) / ( n(c_k) + smoothing )
//! p_0(j) = ( users of j + 1 ) / ( events + items )
//! ```
//!
//! At order 1 items up to `reach` steps apart count as following each other, by 1 / distance; that
//! makes a *sequential rule* of a bigram and is what works where histories are not strict. Back-off by
//! a Dirichlet prior: MacKay and Peto, *A hierarchical Dirichlet language model*, 1995; sequential
//! rules: Ludewig and Jannach, *Evaluation of session-based recommendation algorithms*, 2018.
//!
//! **When.** Short sessions, playlists, anything where the last item says most; a baseline that every
//! neural model has to beat. Knows nothing of what lies further back than its order.
//!
//! **Cost.** One pass over the log and a sort of its (context, next) pairs, `reach` of them an event.
//! An answer costs the successors of the last items.
//!
//! **Determinism.** The same bits for any number of threads.
//!
//! **Defaults.** Chosen on MovieLens-100K by the last-but-one item of each user.

use refrain_core::{ModelFile, ModelWriter};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use super::{Sequences, check, ordered};
use crate::neighbours::sparse::Csr;
use crate::{Change, Contribution, Memory, Reason, Recommender, Result, Who};

const KIND: &str = "recommenders.markov";
const NAME: &str = "Markov";

/// Settings of a Markov chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Markov {
    /// How many of the last items a context has at most; 1 to 8.
    pub order: usize,
    /// How many steps apart one item still counts as following another, by 1 / distance.
    pub reach: usize,
    /// How many observations the shorter context is worth; above 0.
    pub smoothing: f32,
}

impl Default for Markov {
    fn default() -> Self {
        Self {
            order: 1,
            reach: 10,
            smoothing: 100.0,
        }
    }
}

impl Markov {
    /// Counts what follows what.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a setting out of range, [`Error::Data`](crate::Error::Data) for a log without times.
    pub fn fit(&self, log: &Interactions) -> Result<MarkovModel> {
        self.validate()?;
        let (memory, sequences) = (Memory::new(log), Sequences::new(log)?);
        Ok(MarkovModel::new(self.clone(), memory, sequences))
    }

    fn validate(&self) -> Result<()> {
        let (order, reach) = (self.order, self.reach);
        check(
            NAME,
            "order",
            order as f64,
            (1..=8).contains(&order),
            "must be from 1 to 8",
        )?;
        check(
            NAME,
            "reach",
            reach as f64,
            reach >= 1,
            "must be at least 1",
        )?;
        let smoothing = f64::from(self.smoothing);
        check(
            NAME,
            "smoothing",
            smoothing,
            smoothing > 0.0,
            "must be above 0",
        )
    }
}

/// What followed each context of one length.
#[derive(Debug, Clone, PartialEq)]
struct Transitions {
    length: usize,
    /// Contexts one behind the other, oldest item first, in ascending order.
    contexts: Vec<u32>,
    /// Row per context: what followed, and how often.
    next: Csr,
    totals: Vec<f64>,
}

impl Transitions {
    fn count(sequences: &Sequences, items: usize, length: usize, reach: usize) -> Self {
        let mut seen: Vec<(&[u32], u32, f32)> = Vec::new();
        for sequence in sequences.iter() {
            for (at, context) in sequence.windows(length).enumerate() {
                let after = sequence.iter().skip(at + length).take(reach);
                let after = after.enumerate();
                seen.extend(after.map(|(apart, &next)| (context, next, 1.0 / (apart + 1) as f32)));
            }
        }
        // Stable, so that equal pairs add up in the order of the users.
        seen.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
        let (mut contexts, mut next) = (Vec::new(), Csr::with_width(items));
        let mut totals = Vec::new();
        for row in seen.chunk_by(|a, b| a.0 == b.0) {
            contexts.extend(row.iter().take(1).flat_map(|(context, ..)| context.iter()));
            let counts = row.chunk_by(|a, b| a.1 == b.1).filter_map(|same| {
                let count: f64 = same.iter().map(|&(.., weight)| f64::from(weight)).sum();
                same.first().map(|&(_, item, _)| (item, count as f32))
            });
            next.push_row(counts);
            totals.push(
                next.pairs(totals.len() as u32)
                    .map(|(_, n)| f64::from(n))
                    .sum(),
            );
        }
        Self {
            length,
            contexts,
            next,
            totals,
        }
    }

    /// What followed the last items of `history`, with the sum of the counts.
    fn after(&self, history: &[u32]) -> Option<(u32, f64)> {
        let context = history.get(history.len().checked_sub(self.length)?..)?;
        let n = self.totals.len();
        let at = |row: usize| {
            self.contexts
                .get(row * self.length..(row + 1) * self.length)
        };
        let (mut low, mut high) = (0, n);
        while low < high {
            let middle = (low + high) / 2;
            match at(middle)?.cmp(context) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => {
                    return Some((middle as u32, *self.totals.get(middle)?));
                }
            }
        }
        None
    }
}

/// A fitted Markov chain.
///
/// A score is the chance that the item comes next: scores of all items add up to 1 and compare across
/// users.
#[derive(Debug, Clone)]
pub struct MarkovModel {
    config: Markov,
    memory: Memory,
    sequences: Sequences,
    /// Users per item.
    users: Vec<u32>,
    /// By length of the context, from 1.
    orders: Vec<Transitions>,
}

impl MarkovModel {
    fn new(config: Markov, memory: Memory, sequences: Sequences) -> Self {
        let mut users = vec![0; memory.n_items()];
        for &item in sequences.iter().flatten() {
            if let Some(n) = users.get_mut(item as usize) {
                *n += 1;
            }
        }
        let orders = (1..=config.order)
            .map(|length| {
                let reach = if length == 1 { config.reach } else { 1 };
                Transitions::count(&sequences, memory.n_items(), length, reach)
            })
            .collect();
        Self {
            config,
            memory,
            sequences,
            users,
            orders,
        }
    }

    /// The settings it was fitted with.
    pub fn config(&self) -> &Markov {
        &self.config
    }

    /// The ordered histories it was fitted on.
    pub fn sequences(&self) -> &Sequences {
        &self.sequences
    }

    pub(crate) fn read(file: &ModelFile) -> Result<Box<dyn Recommender>> {
        file.expect(KIND, 1)?;
        let config: Markov = file.config()?;
        config.validate()?;
        let memory = Memory::read(file)?;
        let sequences = Sequences::read(file, &memory)?;
        Ok(Box::new(Self::new(config, memory, sequences)))
    }

    /// What each known context adds: its row, its length, and the worth of one count; and the worth
    /// of the base. Longest context last.
    fn mixture(&self, history: &[u32]) -> (Vec<(&Transitions, u32, f64)>, f64) {
        let smoothing = f64::from(self.config.smoothing);
        let (mut parts, mut rest) = (Vec::new(), 1.0);
        for order in self.orders.iter().rev() {
            if let Some((row, total)) = order.after(history) {
                parts.push((order, row, rest / (total + smoothing)));
                rest *= smoothing / (total + smoothing);
            }
        }
        parts.reverse();
        (parts, rest)
    }

    fn base(&self, users: u32) -> f64 {
        let all = self.sequences.n_events() + self.users.len();
        f64::from(users + 1) / all.max(1) as f64
    }

    fn fill(&self, history: &[u32], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        let (parts, rest) = self.mixture(history);
        for (score, &users) in out.iter_mut().zip(&self.users) {
            *score = (rest * self.base(users)) as f32;
        }
        for (order, row, worth) in parts {
            for (item, count) in order.next.pairs(row) {
                if let Some(score) = out.get_mut(item as usize) {
                    *score += (worth * f64::from(count)) as f32;
                }
            }
        }
        Ok(())
    }

    fn renew(&mut self, memory: Memory, sequences: Sequences) -> Change {
        *self = Self::new(self.config.clone(), memory, sequences);
        Change::Exact
    }
}

impl Recommender for MarkovModel {
    fn name(&self) -> String {
        NAME.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.fill(self.sequences.of(user), out)
    }

    /// The order of the slice is the order in time, the newest last.
    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.fill(
            &ordered(&self.memory, &self.sequences, Who::History(history))?,
            out,
        )
    }

    /// The share with which an item follows, within the reach.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        out.fill(0.0);
        if let Some(order) = self.orders.first()
            && let Some((row, total)) = order.after(&[item])
        {
            for (next, count) in order.next.pairs(row) {
                if let Some(score) = out.get_mut(next as usize) {
                    *score = (f64::from(count) / total) as f32;
                }
            }
        }
        Ok(())
    }

    /// The part of a context is put down to its oldest item, the one that a shorter context lacks.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let history = ordered(&self.memory, &self.sequences, who)?;
        let (parts, rest) = self.mixture(&history);
        let users = self.users.get(item as usize).copied().unwrap_or_default();
        let base = (rest * self.base(users)) as f32;
        let mut all = vec![Contribution::new(Reason::Popularity { users }, base)];
        for (order, row, worth) in parts {
            let oldest = history.len().checked_sub(order.length);
            let Some(&oldest) = oldest.and_then(|at| history.get(at)) else {
                continue;
            };
            let weight = (worth * f64::from(order.next.get(row, item))) as f32;
            let reason = Reason::Item(self.memory.item_name(oldest));
            all.push(Contribution::new(reason, weight));
        }
        Ok(all)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let writer = ModelWriter::new(KIND, 1).config(&self.config)?;
        self.sequences.write(self.memory.write(writer)?)
    }

    /// Exact; counts anew, in one pass over the log.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let memory = self.memory.extended(events)?;
        let sequences = self.sequences.extended(&memory, events)?;
        Ok(self.renew(memory, sequences))
    }

    /// Exact.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        let sequences = self.sequences.without_user(user);
        Ok(self.renew(self.memory.without_user(user)?, sequences))
    }

    /// Exact: what stood before and after the item now follows each other.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let sequences = self.sequences.without_item(item);
        Ok(self.renew(self.memory.without_item(item)?, sequences))
    }
}

pub(crate) const READER: (&str, crate::load::Reader) = (KIND, MarkovModel::read);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    crate::conformance!(default, sequential, |log| Markov::default().fit(log));
    crate::conformance!(first_order, sequential, |log| {
        Markov {
            order: 1,
            reach: 1,
            smoothing: 0.5,
        }
        .fit(log)
    });
    crate::conformance!(fourth_order, sequential, |log| {
        Markov {
            order: 4,
            ..Markov::default()
        }
        .fit(log)
    });

    fn chain() -> Interactions {
        let mut builder = Interactions::builder();
        for (user, items) in ["xyz", "xyz", "ayb", "wx"].into_iter().enumerate() {
            for (time, item) in items.chars().enumerate() {
                builder
                    .push(user, item.to_string(), 1.0, Some(time as i64))
                    .unwrap();
            }
        }
        builder.build().unwrap()
    }

    #[test]
    fn by_hand() {
        let config = Markov {
            order: 2,
            reach: 1,
            smoothing: 1.0,
        };
        let model = config.fit(&chain()).unwrap();
        let item = |name| model.items().get(name).unwrap();
        let history = [(item("x"), 1.0), (item("y"), 1.0)];
        let mut scores = vec![0.0; 6];
        model.score_history(&history, &mut scores).unwrap();
        // 11 events, 6 items; z had 2 users. After y: z twice, b once. After x, y: z twice.
        let base = 3.0 / 17.0;
        let first = (2.0 + base) / (3.0 + 1.0);
        let second = (2.0 + first) / (2.0 + 1.0);
        assert!((scores[item("z") as usize] - second).abs() < 1e-6);
        assert!((scores.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        // The longer context tells z from b, which both follow y.
        let why = model.explain_for(&[("x", 1.0), ("y", 1.0)], "z").unwrap();
        assert_eq!(why.reasons[0].reason, Reason::Item("x".into()));
        assert_eq!(model.similar_items("y", 1).unwrap()[0].item, "z");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        let log = chain();
        let wrong = |order, reach, smoothing| {
            let config = Markov {
                order,
                reach,
                smoothing,
            };
            matches!(config.fit(&log), Err(Error::Config { .. }))
        };
        assert!(wrong(0, 1, 1.0) && wrong(9, 1, 1.0) && wrong(1, 0, 1.0));
        assert!(wrong(1, 1, 0.0) && wrong(1, 1, f32::NAN) && !wrong(1, 1, 1.0));
        let empty = Interactions::builder().build().unwrap();
        let model = Markov::default().fit(&empty).unwrap();
        assert!(model.orders.iter().all(|order| order.totals.is_empty()));
    }
}
