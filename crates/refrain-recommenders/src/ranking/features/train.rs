//! Stochastic gradients on the embeddings of features: one event after the other, so that the same
//! bits come out for any number of threads.

use rand::RngExt;
use rand::seq::SliceRandom;
use refrain_core::kernels::{axpy, dot};
use refrain_core::rng::{self, Stream};
use refrain_core::{Monitor, Stage};

use super::super::objective::{Objective, hinge, log_loss, rank_weight};
use super::super::step::{EPSILON, kept};
use super::super::{Negatives, Optimizer, engine};
use crate::neighbours::sparse::Csr;
use crate::{Error, Result};

/// How often a negative is drawn anew when the user had it.
const TRIES: usize = 16;

/// What the trainer needs to know of a config.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub model: &'static str,
    pub factors: usize,
    pub epochs: usize,
    pub learning_rate: f32,
    pub regularization: f32,
    pub objective: Objective,
    /// Whether the features of an item go with each other too, as in a factorisation machine.
    pub pairs: bool,
    pub init_scale: f32,
    pub seed: u64,
}

impl Settings {
    /// Refuses settings out of range.
    pub(super) fn check(&self, feature_weight: f32) -> Result<()> {
        let plain = engine::Settings {
            model: self.model,
            factors: self.factors,
            epochs: self.epochs,
            learning_rate: self.learning_rate,
            regularization: self.regularization,
            optimizer: Optimizer::AdaGrad,
            negatives: Negatives::Uniform,
            objective: self.objective,
            init_scale: self.init_scale,
            seed: self.seed,
        };
        plain.check()?;
        match feature_weight > 0.0 && feature_weight.is_finite() {
            true => Ok(()),
            false => Err(Error::Config {
                model: self.model,
                field: "feature_weight",
                value: feature_weight.to_string(),
                expected: "must be above 0 and finite",
            }),
        }
    }
}

/// One side: which features each row has, and their embeddings.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub rows: Csr,
    /// features × (f + 1): the embedding and, last, the bias.
    pub table: Vec<f32>,
    /// What AdaGrad has seen of an embedding and of a bias.
    squares: Vec<[f32; 2]>,
}

impl Side {
    pub(super) fn new(rows: Csr, settings: &Settings, stream: u64) -> Self {
        let (n, f) = (rows.width(), settings.factors);
        let mut rng = rng::stream(settings.seed, stream);
        let width = settings.init_scale * (12.0 / f as f32).sqrt();
        let mut table = vec![0.0; n * (f + 1)];
        for row in table.chunks_exact_mut(f + 1) {
            for value in &mut row[..f] {
                *value = (rng.random::<f32>() - 0.5) * width;
            }
        }
        Self {
            rows,
            table,
            squares: vec![[0.0; 2]; n],
        }
    }

    /// The sum of a row's embeddings, bias last; with `pairs` what its features are worth beside each
    /// other is added to the bias.
    pub(super) fn sum(&self, row: u32, pairs: bool, out: &mut [f32]) {
        out.fill(0.0);
        let f = out.len() - 1;
        let mut own = 0.0;
        for (feature, x) in self.rows.pairs(row) {
            let embedding = self.embedding(feature, f + 1);
            axpy(x, embedding, out);
            if pairs {
                own += x * x * dot(&embedding[..f], &embedding[..f]);
            }
        }
        if pairs {
            let (sum, bias) = out.split_at_mut(f);
            bias[0] += 0.5 * (dot(sum, sum) - own);
        }
    }

    pub(super) fn embedding(&self, feature: u32, width: usize) -> &[f32] {
        &self.table[feature as usize * width..][..width]
    }

    /// A step for every feature of a row: `slope` is that of the row's sum, `by` its gradient, and
    /// `own` the row's sum where its features go with each other.
    fn learn(
        &mut self,
        row: u32,
        slope: f32,
        by: &[f32],
        own: Option<&[f32]>,
        biased: bool,
        rates: Rates,
    ) {
        let f = by.len();
        let mut gradient = vec![0.0; f];
        let (columns, values) = self.rows.row(row);
        for (&feature, &x) in columns.iter().zip(values) {
            let embedding = &mut self.table[feature as usize * (f + 1)..][..f + 1];
            gradient.copy_from_slice(by);
            if let Some(own) = own {
                // d/dv of ½ (‖Σ x v‖² − Σ x² ‖v‖²) is x (Σ x v − x v).
                axpy(1.0, &own[..f], &mut gradient);
                axpy(-x, &embedding[..f], &mut gradient);
            }
            let [square, of_bias] = &mut self.squares[feature as usize];
            *square += slope * slope * x * x * dot(&gradient, &gradient) / f as f32;
            let size = rates.rate / (*square + EPSILON).sqrt();
            let keep = kept(size, rates.decay);
            for (value, gradient) in embedding[..f].iter_mut().zip(&gradient) {
                *value = keep * *value + size * slope * x * gradient;
            }
            if biased {
                *of_bias += slope * slope * x * x;
                let size = rates.rate / (*of_bias + EPSILON).sqrt();
                let bias = &mut embedding[f];
                *bias = kept(size, rates.decay) * *bias + size * slope * x;
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Rates {
    rate: f32,
    decay: f32,
}

/// Both sides while they learn, and room for the sums of a user and two items.
pub(super) struct Trainer<'a> {
    pub settings: &'a Settings,
    pub users: Side,
    pub items: Side,
    /// What each user had, ascending.
    pub positives: &'a [Vec<u32>],
}

impl Trainer<'_> {
    /// Runs all epochs; returns the mean loss of each.
    pub(super) fn run(&mut self, monitor: &Monitor) -> Result<Vec<f64>> {
        let stage = monitor.start(self.settings.model, Some(self.settings.epochs as u64));
        let users = (0u32..).zip(self.positives);
        let mut events: Vec<(u32, u32)> = users
            .flat_map(|(user, items)| items.iter().map(move |&item| (user, item)))
            .collect();
        (0..self.settings.epochs)
            .map(|epoch| self.epoch(&mut events, epoch, &stage))
            .collect()
    }

    fn epoch(&mut self, events: &mut [(u32, u32)], epoch: usize, stage: &Stage) -> Result<f64> {
        let mut rng = rng::stream(self.settings.seed, 2 + epoch as u64);
        events.shuffle(&mut rng);
        let left = 1.0 - epoch as f32 / self.settings.epochs as f32;
        let rates = Rates {
            rate: self.settings.learning_rate * left,
            decay: self.settings.regularization,
        };
        let width = self.settings.factors + 1;
        let mut room = Room {
            p: vec![0.0; width],
            i: vec![0.0; width],
            j: vec![0.0; width],
        };
        let mut sum = 0.0f64;
        for (at, &(user, item)) in events.iter().enumerate() {
            sum += f64::from(self.event(user, item, rates, &mut room, &mut rng));
            if at % 65_536 == 0 {
                stage.check()?;
            }
        }
        let loss = sum / events.len().max(1) as f64;
        let size = self.users.table.iter().chain(&self.items.table);
        let size = size.fold(0.0f32, |m, x| {
            m.max(if x.is_nan() { f32::INFINITY } else { x.abs() })
        });
        if !(loss.is_finite() && size < 1e4) {
            return Err(Error::Diverged {
                model: self.settings.model,
                iteration: epoch,
                reason: format!(
                    "the mean loss is {loss:.3e} and the largest factor {size:.3e}; make learning_rate \
                     smaller than {} or regularization larger",
                    self.settings.learning_rate
                ),
            });
        }
        stage.advance(1, format_args!("loss {loss:.4}"))?;
        Ok(loss)
    }

    /// Takes a step for one event; returns its loss.
    fn event(
        &mut self,
        user: u32,
        item: u32,
        rates: Rates,
        room: &mut Room,
        rng: &mut Stream,
    ) -> f32 {
        let mut item = item;
        self.users.sum(user, false, &mut room.p);
        if let Objective::KosWarp { k, of, .. } = self.settings.objective {
            item = self.kth_best(user, item, k, of, room, rng);
        }
        self.items.sum(item, self.settings.pairs, &mut room.i);
        let score = room.score(&room.i);
        match self.settings.objective {
            Objective::Bpr => {
                let Some(other) = self.negative(user, rng) else {
                    return 0.0;
                };
                self.items.sum(other, self.settings.pairs, &mut room.j);
                let (loss, slope) = log_loss(score - room.score(&room.j));
                self.pair(user, item, other, slope, rates, room);
                loss
            }
            Objective::Warp { trials } | Objective::KosWarp { trials, .. } => {
                let n = self.items.rows.n_rows();
                for draw in 1..=trials {
                    let other = rng.random_range(0..n as u32);
                    if self.had(user, other) {
                        continue;
                    }
                    self.items.sum(other, self.settings.pairs, &mut room.j);
                    let x = score - room.score(&room.j);
                    if x < 1.0 {
                        let (loss, slope) = hinge(x, rank_weight(n, draw));
                        self.pair(user, item, other, slope, rates, room);
                        return loss;
                    }
                }
                0.0
            }
            Objective::Logistic { negatives } => {
                let mut sum = self.point(user, item, 1.0, rates, room);
                for _ in 0..negatives {
                    if let Some(other) = self.negative(user, rng) {
                        self.users.sum(user, false, &mut room.p);
                        self.items.sum(other, self.settings.pairs, &mut room.i);
                        sum += self.point(user, other, -1.0, rates, room);
                    }
                }
                sum
            }
        }
    }

    fn had(&self, user: u32, item: u32) -> bool {
        self.positives[user as usize].binary_search(&item).is_ok()
    }

    fn negative(&self, user: u32, rng: &mut Stream) -> Option<u32> {
        let n = self.items.rows.n_rows() as u32;
        (0..TRIES)
            .map(|_| rng.random_range(0..n))
            .find(|&item| !self.had(user, item))
    }

    /// The k-th best of `of` items drawn from those the user had.
    fn kth_best(
        &self,
        user: u32,
        item: u32,
        k: u32,
        of: u32,
        room: &mut Room,
        rng: &mut Stream,
    ) -> u32 {
        let had = &self.positives[user as usize];
        let mut drawn = Vec::with_capacity(of as usize);
        for _ in 0..of {
            let item = had[rng.random_range(0..had.len())];
            self.items.sum(item, self.settings.pairs, &mut room.i);
            drawn.push((room.score(&room.i), item));
        }
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        drawn.get(k as usize - 1).map_or(item, |best| best.1)
    }

    /// A step of size `slope` for item i above item j, whose sums are in `room`.
    fn pair(&mut self, user: u32, i: u32, j: u32, slope: f32, rates: Rates, room: &Room) {
        let f = self.settings.factors;
        let own = |sum: &[f32]| self.settings.pairs.then(|| sum.to_vec());
        let apart: Vec<f32> = room.i[..f]
            .iter()
            .zip(&room.j)
            .map(|(i, j)| i - j)
            .collect();
        self.users.learn(user, slope, &apart, None, false, rates);
        self.items
            .learn(i, slope, &room.p[..f], own(&room.i).as_deref(), true, rates);
        self.items.learn(
            j,
            -slope,
            &room.p[..f],
            own(&room.j).as_deref(),
            true,
            rates,
        );
    }

    /// A logistic step for the item whose sum is `room.i`, up or down. Returns its loss.
    fn point(&mut self, user: u32, item: u32, sign: f32, rates: Rates, room: &Room) -> f32 {
        let f = self.settings.factors;
        let (loss, slope) = log_loss(sign * room.score(&room.i));
        let own = self.settings.pairs.then_some(&room.i[..]);
        self.users
            .learn(user, sign * slope, &room.i[..f], None, false, rates);
        self.items
            .learn(item, sign * slope, &room.p[..f], own, true, rates);
        loss
    }
}

/// The sums of a user and two items.
struct Room {
    p: Vec<f32>,
    i: Vec<f32>,
    j: Vec<f32>,
}

impl Room {
    fn score(&self, item: &[f32]) -> f32 {
        let f = item.len() - 1;
        dot(&self.p[..f], &item[..f]) + item[f]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trainer<'a>(settings: &'a Settings, positives: &'a [Vec<u32>]) -> Trainer<'a> {
        let mut users = Csr::with_width(3);
        users.push_row([(0, 1.0), (2, 0.5)]);
        let mut items = Csr::with_width(5);
        items.push_row([(0, 1.0), (2, 0.5), (3, -0.7)]);
        items.push_row([(1, 1.0), (2, 0.8), (4, 0.3)]);
        Trainer {
            settings,
            users: Side::new(users, settings, 0),
            items: Side::new(items, settings, 1),
            positives,
        }
    }

    /// The loss of the one event, in f64 and by its definition.
    fn loss(t: &Trainer<'_>) -> f64 {
        let f = t.settings.factors;
        let features = |side: &Side, row: u32| -> Vec<(f64, Vec<f64>)> {
            let wide = |g: u32| {
                side.embedding(g, f + 1)
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect()
            };
            side.rows
                .pairs(row)
                .map(|(g, x)| (f64::from(x), wide(g)))
                .collect()
        };
        let score = |item: u32| {
            let (user, item) = (features(&t.users, 0), features(&t.items, item));
            let product = |a: &[f64], b: &[f64]| (0..f).map(|k| a[k] * b[k]).sum::<f64>();
            let mut sum: f64 = item.iter().map(|(x, v)| x * v[f]).sum();
            for (at, (x, v)) in item.iter().enumerate() {
                sum += user.iter().map(|(y, w)| x * y * product(v, w)).sum::<f64>();
                if t.settings.pairs {
                    sum += item[..at]
                        .iter()
                        .map(|(y, w)| x * y * product(v, w))
                        .sum::<f64>();
                }
            }
            sum
        };
        let log = |x: f64| (1.0 + (-x).exp()).ln();
        match t.settings.objective {
            Objective::Bpr => log(score(0) - score(1)),
            Objective::Logistic { .. } => log(score(0)) + log(-score(1)),
            _ => f64::from(rank_weight(2, 1)) * (1.0 - score(0) + score(1)).max(0.0),
        }
    }

    #[test]
    fn steps_go_down_the_loss() {
        let positives = [vec![0]];
        for pairs in [false, true] {
            for objective in [Objective::Bpr, Objective::Logistic { negatives: 1 }] {
                let settings = Settings {
                    model: "test",
                    factors: 3,
                    epochs: 1,
                    learning_rate: 1e-4,
                    regularization: 0.0,
                    objective,
                    pairs,
                    init_scale: 1.0,
                    seed: 4,
                };
                let before = trainer(&settings, &positives);
                let mut after = trainer(&settings, &positives);
                after.run(&Monitor::silent()).unwrap();
                // AdaGrad's step is along the row's gradient, of the same size for each row.
                for (side, rows) in [(0, 3usize), (1, 5)] {
                    let table = |t: &Trainer<'_>| {
                        if side == 0 {
                            t.users.table.clone()
                        } else {
                            t.items.table.clone()
                        }
                    };
                    let (start, end) = (table(&before), table(&after));
                    for row in 0..rows {
                        let mut slopes = Vec::new();
                        for k in 0..3 {
                            let at = row * 4 + k;
                            let mut moved = trainer(&settings, &positives);
                            let mut value = |h: f32| {
                                let table = if side == 0 {
                                    &mut moved.users.table
                                } else {
                                    &mut moved.items.table
                                };
                                table[at] = start[at] + h;
                                loss(&moved)
                            };
                            slopes.push((value(1e-3) - value(-1e-3)) / 2e-3);
                        }
                        let steps: Vec<f64> = (0..3)
                            .map(|k| f64::from(end[row * 4 + k] - start[row * 4 + k]))
                            .collect();
                        let size = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
                        if size(&slopes) < 1e-6 {
                            assert!(size(&steps) < 1e-9);
                            continue;
                        }
                        // What is met twice takes two steps, each with a size of its own.
                        let twice = side == 1 && row == 2;
                        if twice || matches!(objective, Objective::Logistic { .. }) && side == 0 {
                            continue;
                        }
                        let cosine: f64 =
                            slopes.iter().zip(&steps).map(|(a, b)| -a * b).sum::<f64>()
                                / (size(&slopes) * size(&steps));
                        assert!(
                            cosine > 0.999,
                            "{objective:?} {pairs} {side} {row}: {cosine}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn sums_hold_the_pairs() {
        let settings = Settings {
            model: "test",
            factors: 3,
            epochs: 1,
            learning_rate: 0.1,
            regularization: 0.0,
            objective: Objective::Bpr,
            pairs: true,
            init_scale: 1.0,
            seed: 4,
        };
        let t = trainer(&settings, &[]);
        let mut sum = [0.0; 4];
        t.items.sum(0, true, &mut sum);
        let v = |g: u32| &t.items.embedding(g, 4)[..3];
        let expected = 0.5 * dot(v(0), v(2)) - 0.7 * dot(v(0), v(3)) - 0.35 * dot(v(2), v(3));
        assert!((sum[3] - expected).abs() < 1e-6, "{} {expected}", sum[3]);
    }
}
