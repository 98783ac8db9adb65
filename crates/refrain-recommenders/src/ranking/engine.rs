//! The engine: stochastic gradient steps on disjoint blocks, the same bits for any number of threads.
//!
//! An epoch deals the items into B blocks anew, at random, and takes the users in B fixed blocks. In
//! turn s of B, user block b meets item block (b + s) mod B: no two of the B tasks of a turn share a
//! row, so they run in parallel without locks or races, and each draws from a random stream of its
//! own (Gemulla et al., *Large-scale matrix factorization with distributed stochastic gradient
//! descent*, 2011). Negatives come from the item block at hand, which is a fresh random sample of the
//! catalogue each epoch; its rows, and the user at hand, stay in the core's own cache meanwhile.
//!
//! What a user had is marked in a bitmap of the block while the user is at work: no positive is ever
//! drawn as a negative, at the price of one bit's test.

use rand::RngExt;
use rand::seq::SliceRandom;
use rayon::prelude::*;
use refrain_core::{Monitor, rng};

use super::negatives::Table;
use super::objective::Objective;
use super::step::Task;
use super::{Negatives, Optimizer};
use crate::als::simd::{Aligned, padded};
use crate::{Error, Result};

/// Marks an event that is not learned from here, but is no negative either.
pub(super) const KNOWN: u32 = 1 << 31;
/// At most so many blocks of each side.
const MAX_BLOCKS: usize = 16;
/// A block has at least so many users, and so many items, if there is more than one.
const MIN_ROWS: usize = 100;

/// What the engine needs to know of a config.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub model: &'static str,
    pub factors: usize,
    pub epochs: usize,
    pub learning_rate: f32,
    pub regularization: f32,
    pub optimizer: Optimizer,
    pub negatives: Negatives,
    pub objective: Objective,
    pub init_scale: f32,
    pub seed: u64,
}

impl Settings {
    /// Refuses settings out of range.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |field, value: String, expected| {
            Err(Error::Config {
                model: self.model,
                field,
                value,
                expected,
            })
        };
        if !(1..=4095).contains(&self.factors) {
            return refuse("factors", self.factors.to_string(), "must be 1 to 4095");
        }
        if self.epochs == 0 {
            return refuse("epochs", "0".to_string(), "must be at least 1");
        }
        for (field, value) in [
            ("learning_rate", self.learning_rate),
            ("init_scale", self.init_scale),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                return refuse(field, value.to_string(), "must be above 0 and finite");
            }
        }
        if !(self.regularization >= 0.0 && self.regularization.is_finite()) {
            let value = self.regularization.to_string();
            return refuse("regularization", value, "must be at least 0 and finite");
        }
        match self.negatives {
            Negatives::Popularity { power } if !(-4.0..=4.0).contains(&power) => {
                return refuse("negatives.power", power.to_string(), "must be -4 to 4");
            }
            Negatives::Hardest { of: 0 } => {
                return refuse("negatives.of", "0".to_string(), "must be at least 1");
            }
            _ => {}
        }
        match self.objective {
            Objective::Warp { trials: 0 } | Objective::KosWarp { trials: 0, .. } => {
                refuse("trials", "0".to_string(), "must be at least 1")
            }
            Objective::KosWarp { k, of, .. } if k == 0 || k > of => {
                refuse("k", k.to_string(), "must be at least 1 and at most `of`")
            }
            Objective::Logistic { negatives: 0 } => {
                refuse("samples", "0".to_string(), "must be at least 1")
            }
            _ => Ok(()),
        }
    }

    /// Refuses a log without anything to learn from.
    pub(super) fn check_data(&self, positives: &Positives, items: usize) -> Result<()> {
        let reason = match () {
            () if positives.len() == 0 => "no event of the log has a weight above 0",
            () if items >= KNOWN as usize => "there are more than 2³¹ items",
            () => return Ok(()),
        };
        Err(Error::Data {
            model: self.model,
            reason: reason.to_string(),
        })
    }
}

/// Who had what, ascending; an item with [`KNOWN`] set is not learned from.
#[derive(Debug, Clone, Default)]
pub(super) struct Positives {
    ends: Vec<usize>,
    items: Vec<u32>,
}

impl Positives {
    pub(super) fn push(&mut self, items: impl IntoIterator<Item = u32>) {
        self.items.extend(items);
        self.ends.push(self.items.len());
    }

    pub(super) fn of(&self, user: usize) -> &[u32] {
        let start = user.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.items[start..self.ends[user]]
    }

    pub(super) fn users(&self) -> usize {
        self.ends.len()
    }

    /// How many events are learned from.
    pub(super) fn len(&self) -> usize {
        self.items.iter().filter(|&item| item & KNOWN == 0).count()
    }

    fn counts(&self, n_items: usize) -> Vec<u32> {
        let mut counts = vec![0; n_items];
        for item in &self.items {
            counts[(item & !KNOWN) as usize] += 1;
        }
        counts
    }
}

/// The parameters: padded rows on cache lines, and what AdaGrad has seen of each row.
pub(super) struct Tables {
    pub factors: usize,
    pub users: Aligned,
    pub items: Aligned,
    pub bias: Vec<f32>,
    pub user_squares: Vec<f32>,
    /// Of the row and of the bias.
    pub item_squares: Vec<[f32; 2]>,
}

impl Tables {
    pub(super) fn new(settings: &Settings, users: usize, items: usize) -> Self {
        let mut new = Self {
            factors: settings.factors,
            users: Aligned::default(),
            items: Aligned::default(),
            bias: Vec::new(),
            user_squares: Vec::new(),
            item_squares: Vec::new(),
        };
        new.users = new.initial(settings, users, 0);
        new.items = new.initial(settings, items, 1);
        new.bias = vec![0.0; items];
        new.user_squares = vec![0.0; users];
        new.item_squares = vec![[0.0; 2]; items];
        new
    }

    pub(super) fn stride(&self) -> usize {
        padded(self.factors)
    }

    /// Uniform noise of the given standard deviation; a row's depends on its number alone.
    fn initial(&self, settings: &Settings, rows: usize, side: u64) -> Aligned {
        let stride = self.stride();
        let width = settings.init_scale * (12.0 / self.factors as f32).sqrt();
        let mut table = Aligned::zeros(rows * stride);
        for (row, values) in table.chunks_exact_mut(stride).enumerate() {
            let mut rng = rng::stream(settings.seed, 2 * row as u64 + side);
            for value in &mut values[..self.factors] {
                *value = (rng.random::<f32>() - 0.5) * width;
            }
        }
        table
    }
}

/// One epoch's arrangement: which item is where, and which events meet in which task.
pub(super) struct Plan {
    /// The item at each place.
    pub order: Vec<u32>,
    /// Places in a block.
    pub block: usize,
    /// Where each block of users ends.
    pub user_ends: Vec<usize>,
    /// For each block of users and each block of items: (user, item), numbered within their blocks.
    pub buckets: Vec<Vec<Vec<(u32, u32)>>>,
}

impl Plan {
    pub(super) fn new(positives: &Positives, n_items: usize) -> Self {
        let n_users = positives.users();
        let blocks = (n_users / MIN_ROWS)
            .min(n_items / MIN_ROWS)
            .clamp(1, MAX_BLOCKS);
        let mut user_ends = Vec::with_capacity(blocks);
        for b in 1..=blocks {
            // As many events as users matter: a row costs about as much as an event.
            let share = (positives.items.len() + n_users) * b / blocks;
            let end = (0..n_users)
                .collect::<Vec<_>>()
                .partition_point(|&user| positives.ends[user] + user < share);
            user_ends.push(if b == blocks { n_users } else { end });
        }
        Self {
            order: (0..n_items as u32).collect(),
            block: n_items.div_ceil(blocks).max(1),
            user_ends,
            buckets: vec![vec![Vec::new(); blocks]; blocks],
        }
    }

    pub(super) fn blocks(&self) -> usize {
        self.buckets.len()
    }

    /// Deals items and events for an epoch.
    pub(super) fn deal(&mut self, positives: &Positives, seed: u64, epoch: usize) {
        let blocks = self.blocks() as u64;
        let mut rng = rng::stream(seed ^ 0x0dea_1ed0, epoch as u64 * (blocks + 1));
        let numbers = 0u32..;
        self.order
            .iter_mut()
            .zip(numbers)
            .for_each(|(item, number)| *item = number);
        self.order.shuffle(&mut rng);
        let mut places = vec![(0u32, 0u32); self.order.len()];
        for (place, &item) in self.order.iter().enumerate() {
            places[item as usize] = ((place / self.block) as u32, (place % self.block) as u32);
        }
        let ends = &self.user_ends;
        let buckets = self.buckets.par_iter_mut().enumerate();
        buckets.for_each(|(b, buckets)| {
            buckets.iter_mut().for_each(Vec::clear);
            let start = b.checked_sub(1).map_or(0, |before| ends[before]);
            let mut users: Vec<u32> = (0..(ends[b] - start) as u32).collect();
            let index = epoch as u64 * (blocks + 1) + 1 + b as u64;
            users.shuffle(&mut rng::stream(seed ^ 0x0dea_1ed0, index));
            for user in users {
                for &item in positives.of(start + user as usize) {
                    let (block, place) = places[(item & !KNOWN) as usize];
                    buckets[block as usize].push((user, place | item & KNOWN));
                }
            }
        });
    }

    /// The random stream of a task.
    pub(super) fn stream(&self, seed: u64, epoch: usize, turn: usize, b: usize) -> rng::Stream {
        let blocks = self.blocks();
        let index = (epoch * blocks + turn) * blocks + b;
        rng::stream(seed ^ 0x7a5c_0ffe, index as u64)
    }
}

/// Runs all epochs; returns the mean loss of each.
pub(super) fn train(
    settings: &Settings,
    positives: &Positives,
    tables: &mut Tables,
    monitor: &Monitor,
) -> Result<Vec<f64>> {
    let stage = monitor.start(settings.model, Some(settings.epochs as u64));
    let n_items = tables.bias.len();
    let mut plan = Plan::new(positives, n_items);
    let counts = positives.counts(n_items);
    let mut losses = Vec::with_capacity(settings.epochs);
    for epoch in 0..settings.epochs {
        let loss = run_epoch(settings, positives, tables, &mut plan, &counts, epoch);
        sound(settings, tables, loss, epoch)?;
        losses.push(loss);
        stage.advance(1, format_args!("loss {loss:.4}"))?;
    }
    Ok(losses)
}

/// The step's size in an epoch: it falls linearly, and ends near zero.
pub(super) fn rate(settings: &Settings, epoch: usize) -> f32 {
    settings.learning_rate * (1.0 - epoch as f32 / settings.epochs as f32)
}

pub(super) fn run_epoch(
    settings: &Settings,
    positives: &Positives,
    tables: &mut Tables,
    plan: &mut Plan,
    counts: &[u32],
    epoch: usize,
) -> f64 {
    plan.deal(positives, settings.seed, epoch);
    let plan = &*plan;
    let (stride, block, blocks) = (tables.stride(), plan.block, plan.blocks());
    // The items in the order of this epoch, so that a block of them is one slice.
    let mut items = Aligned::zeros(tables.items.len());
    let mut bias = vec![0.0; tables.bias.len()];
    let mut squares = vec![[0.0; 2]; tables.bias.len()];
    for (place, &item) in plan.order.iter().enumerate() {
        let from = item as usize;
        items[place * stride..][..stride].copy_from_slice(&tables.items[from * stride..][..stride]);
        bias[place] = tables.bias[from];
        squares[place] = tables.item_squares[from];
    }
    let draws: Vec<Table> = plan
        .order
        .par_chunks(block)
        .map(|items| Table::new(&settings.negatives, items, counts))
        .collect();

    struct Users<'a> {
        rows: &'a mut [f32],
        squares: &'a mut [f32],
    }
    struct Items<'a> {
        rows: &'a mut [f32],
        bias: &'a mut [f32],
        squares: &'a mut [[f32; 2]],
    }
    let mut of_users = Vec::with_capacity(blocks);
    let (mut rows, mut rest) = (&mut tables.users[..], &mut tables.user_squares[..]);
    let mut start = 0;
    for &end in &plan.user_ends {
        let (own, more) = rows.split_at_mut((end - start) * stride);
        let (squares, more_squares) = rest.split_at_mut(end - start);
        of_users.push(Users { rows: own, squares });
        (rows, rest, start) = (more, more_squares, end);
    }
    let mut of_items: Vec<Items<'_>> = items
        .chunks_mut(block * stride)
        .zip(bias.chunks_mut(block))
        .zip(squares.chunks_mut(block))
        .map(|((rows, bias), squares)| Items {
            rows,
            bias,
            squares,
        })
        .collect();
    let rate = rate(settings, epoch);
    let mut sum = 0.0;
    for turn in 0..blocks {
        // Block b meets (b + turn) mod blocks: the items move on by one each turn.
        let work: Vec<_> = of_users.iter_mut().zip(&mut of_items).enumerate().collect();
        let found: Vec<f64> = work
            .into_par_iter()
            .map(|(b, (users, items))| {
                let at = (b + turn) % blocks;
                Task {
                    settings,
                    rate,
                    stride,
                    catalogue: counts.len(),
                    users: users.rows,
                    user_squares: users.squares,
                    items: items.rows,
                    bias: items.bias,
                    item_squares: items.squares,
                    pairs: &plan.buckets[b][at],
                    draws: &draws[at],
                    rng: plan.stream(settings.seed, epoch, turn, b),
                }
                .run()
            })
            .collect();
        sum += found.iter().sum::<f64>();
        of_items.rotate_left(1);
    }
    for (place, &item) in plan.order.iter().enumerate() {
        let to = item as usize;
        tables.items[to * stride..][..stride].copy_from_slice(&items[place * stride..][..stride]);
        tables.bias[to] = bias[place];
        tables.item_squares[to] = squares[place];
    }
    sum / positives.len().max(1) as f64
}

/// Refuses numbers that have left all bounds.
fn sound(settings: &Settings, tables: &Tables, loss: f64, epoch: usize) -> Result<()> {
    let largest = |table: &[f32]| {
        let size = |values: &[f32]| {
            values.iter().fold(0.0f32, |m, x| {
                m.max(if x.is_nan() { f32::INFINITY } else { x.abs() })
            })
        };
        table.par_chunks(1 << 14).map(size).reduce(|| 0.0, f32::max)
    };
    let size = largest(&tables.users)
        .max(largest(&tables.items))
        .max(largest(&tables.bias));
    match loss.is_finite() && size < 1e4 {
        true => Ok(()),
        false => Err(Error::Diverged {
            model: settings.model,
            iteration: epoch,
            reason: format!(
                "the mean loss is {loss:.3e} and the largest factor {size:.3e}; make learning_rate \
                 smaller than {} or regularization larger",
                settings.learning_rate
            ),
        }),
    }
}
