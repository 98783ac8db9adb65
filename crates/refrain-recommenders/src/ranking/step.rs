//! The steps of one task, compiled for the processor's vectors as a whole.

use pulp::{Arch, Simd, WithSimd};
use rand::RngExt;
use refrain_core::rng::Stream;

use super::engine::{KNOWN, Settings};
use super::negatives::{Table, marked};
use super::objective::{Objective, hinge, log_loss, rank_weight};
use super::{Negatives, Optimizer};
use crate::als::simd::{dot, vectors, vectors_mut};

/// Keeps AdaGrad's first step finite.
pub(super) const EPSILON: f32 = 1e-8;

/// What a step of this size leaves of a value. AdaGrad's steps are long where little was learned, and
/// decay must not pass zero: thrown back and forth, values would grow.
#[inline(always)]
pub(super) fn kept(size: f32, decay: f32) -> f32 {
    (1.0 - size * decay).max(0.0)
}

/// A block of users meets a block of items.
pub(super) struct Task<'a> {
    pub settings: &'a Settings,
    pub rate: f32,
    pub stride: usize,
    /// How many items there are in all blocks.
    pub catalogue: usize,
    /// users × stride
    pub users: &'a mut [f32],
    pub user_squares: &'a mut [f32],
    /// items × stride
    pub items: &'a mut [f32],
    pub bias: &'a mut [f32],
    pub item_squares: &'a mut [[f32; 2]],
    /// Events, those of a user side by side.
    pub pairs: &'a [(u32, u32)],
    pub draws: &'a Table,
    pub rng: Stream,
}

impl Task<'_> {
    /// Takes a step for each event; returns the sum of their losses.
    pub(super) fn run(self) -> f64 {
        // Two versions of the inner loops, so that plain steps pay nothing for AdaGrad.
        match self.settings.optimizer {
            Optimizer::Sgd => Arch::new().dispatch(Run::<false>(self)),
            Optimizer::AdaGrad => Arch::new().dispatch(Run::<true>(self)),
        }
    }
}

struct Run<'a, const ADAPT: bool>(Task<'a>);

impl<const ADAPT: bool> WithSimd for Run<'_, ADAPT> {
    type Output = f64;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> f64 {
        let Self(task) = self;
        let Task {
            settings,
            stride,
            pairs,
            ..
        } = task;
        let mut rows = Rows::<S, ADAPT> {
            simd,
            rate: task.rate,
            decay: settings.regularization,
            stride,
            factors: settings.factors as f32,
            items: task.items,
            bias: task.bias,
            squares: task.item_squares,
            catalogue: task.catalogue,
            candidates: match settings.negatives {
                Negatives::Hardest { of } => of,
                _ => 1,
            },
            draws: task.draws,
            rng: task.rng,
            marks: Vec::new(),
            drawn: Vec::new(),
        };
        rows.marks.resize(rows.bias.len().div_ceil(64), 0);
        let mut sum = 0.0f64;
        for events in pairs.chunk_by(|a, b| a.0 == b.0) {
            let user = events[0].0 as usize;
            let p = &mut task.users[user * stride..][..stride];
            let square = &mut task.user_squares[user];
            for &(_, item) in events {
                let place = (item & !KNOWN) as usize;
                rows.marks[place / 64] |= 1 << (place % 64);
            }
            for &(_, item) in events.iter().filter(|(_, item)| item & KNOWN == 0) {
                let loss = match settings.objective {
                    Objective::Bpr => rows.bpr(p, square, item),
                    Objective::Warp { trials } => rows.warp(p, square, item, trials),
                    Objective::KosWarp { k, of, trials } => {
                        let item = rows.kth_best(p, events, k, of).unwrap_or(item);
                        rows.warp(p, square, item, trials)
                    }
                    Objective::Logistic { negatives } => {
                        let mut loss = rows.point(p, square, item, 1.0);
                        for _ in 0..negatives {
                            if let Some(j) = rows.negative(p) {
                                loss += rows.point(p, square, j, -1.0);
                            }
                        }
                        loss
                    }
                };
                sum += f64::from(loss);
            }
            for &(_, item) in events {
                rows.marks[(item & !KNOWN) as usize / 64] = 0;
            }
        }
        sum
    }
}

/// The items of a task and how they learn.
struct Rows<'a, S: Simd, const ADAPT: bool> {
    simd: S,
    rate: f32,
    decay: f32,
    stride: usize,
    factors: f32,
    items: &'a mut [f32],
    bias: &'a mut [f32],
    squares: &'a mut [[f32; 2]],
    catalogue: usize,
    /// Of so many negatives the best is taken.
    candidates: u32,
    draws: &'a Table,
    rng: Stream,
    /// A bit for each item that the user at work had.
    marks: Vec<u64>,
    drawn: Vec<(f32, u32)>,
}

impl<S: Simd, const ADAPT: bool> Rows<'_, S, ADAPT> {
    #[inline(always)]
    fn score(&self, p: &[f32], item: u32) -> f32 {
        let q = &self.items[item as usize * self.stride..][..p.len()];
        dot(self.simd, p, q) + self.bias[item as usize]
    }

    #[inline(always)]
    fn negative(&mut self, p: &[f32]) -> Option<u32> {
        let first = self.draws.unmarked(&mut self.rng, &self.marks)?;
        if self.candidates == 1 {
            return Some(first);
        }
        let mut best = (self.score(p, first), first);
        for _ in 1..self.candidates {
            let other = self.draws.any(&mut self.rng);
            if !marked(&self.marks, other) {
                let score = self.score(p, other);
                if score > best.0 {
                    best = (score, other);
                }
            }
        }
        Some(best.1)
    }

    #[inline(always)]
    fn bpr(&mut self, p: &mut [f32], square: &mut f32, item: u32) -> f32 {
        let Some(other) = self.negative(p) else {
            return 0.0;
        };
        let (loss, slope) = log_loss(self.margin(p, item, other));
        self.pair(p, square, item, other, slope);
        loss
    }

    #[inline(always)]
    fn warp(&mut self, p: &mut [f32], square: &mut f32, item: u32, trials: u32) -> f32 {
        let score = self.score(p, item);
        for draw in 1..=trials {
            let other = self.draws.any(&mut self.rng);
            if marked(&self.marks, other) {
                continue;
            }
            let x = score - self.score(p, other);
            if x < 1.0 {
                let (loss, slope) = hinge(x, rank_weight(self.catalogue, draw));
                self.pair(p, square, item, other, slope);
                return loss;
            }
        }
        0.0
    }

    /// The k-th best of `of` drawn events, or of as many as there are.
    #[inline(always)]
    fn kth_best(&mut self, p: &[f32], events: &[(u32, u32)], k: u32, of: u32) -> Option<u32> {
        let mut drawn = std::mem::take(&mut self.drawn);
        drawn.clear();
        for _ in 0..of {
            let bits = u64::from(self.rng.random::<u32>());
            let item = events[((bits * events.len() as u64) >> 32) as usize].1;
            if item & KNOWN == 0 {
                drawn.push((self.score(p, item), item));
            }
        }
        drawn.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let at = (k as usize).min(drawn.len()).checked_sub(1);
        let item = at.map(|at| drawn[at].1);
        self.drawn = drawn;
        item
    }

    /// score(u, i) − score(u, j)
    #[inline(always)]
    fn margin(&self, p: &[f32], i: u32, j: u32) -> f32 {
        let simd = self.simd;
        let row = |item: u32| vectors::<S>(&self.items[item as usize * self.stride..][..p.len()]);
        let (p, qi, qj) = (vectors::<S>(p), row(i), row(j));
        let zero = simd.splat_f32s(0.0);
        let mut sums = [zero; 2];
        for (at, ((&p, &qi), &qj)) in p.iter().zip(qi).zip(qj).enumerate() {
            let sum = &mut sums[at % 2];
            *sum = simd.mul_add_f32s(p, simd.sub_f32s(qi, qj), *sum);
        }
        let sum = simd.reduce_sum_f32s(simd.add_f32s(sums[0], sums[1]));
        sum + self.bias[i as usize] - self.bias[j as usize]
    }

    /// A step of size rate · slope for i above j.
    #[inline(always)]
    fn pair(&mut self, p: &mut [f32], square: &mut f32, i: u32, j: u32, slope: f32) {
        let (i, j) = (i as usize, j as usize);
        let stride = self.stride;
        let simd = self.simd;
        let Ok([qi, qj]) = self
            .items
            .get_disjoint_mut([i * stride..(i + 1) * stride, j * stride..(j + 1) * stride])
        else {
            return;
        };
        let [mut of_p, mut of_i, mut of_j] = [self.rate; 3];
        let mut of_bias = [self.rate; 2];
        if ADAPT {
            let mut sums = [simd.splat_f32s(0.0); 2];
            let both = vectors::<S>(qi).iter().zip(vectors::<S>(qj));
            for (&p, (&qi, &qj)) in vectors::<S>(p).iter().zip(both) {
                let d = simd.sub_f32s(qi, qj);
                sums[0] = simd.mul_add_f32s(d, d, sums[0]);
                sums[1] = simd.mul_add_f32s(p, p, sums[1]);
            }
            let gain = slope * slope / self.factors;
            let of_items = gain * simd.reduce_sum_f32s(sums[1]);
            *square += gain * simd.reduce_sum_f32s(sums[0]);
            of_p = self.rate / (*square + EPSILON).sqrt();
            for (at, rate, bias) in [(i, &mut of_i, 0), (j, &mut of_j, 1)] {
                let [row, own] = &mut self.squares[at];
                *row += of_items;
                *own += slope * slope;
                *rate = self.rate / (*row + EPSILON).sqrt();
                of_bias[bias] = self.rate / (*own + EPSILON).sqrt();
            }
        }
        let bias = |b: &mut f32, rate: f32, slope: f32, decay: f32| {
            *b = kept(rate, decay) * *b + rate * slope;
        };
        bias(&mut self.bias[i], of_bias[0], slope, self.decay);
        bias(&mut self.bias[j], of_bias[1], -slope, self.decay);
        // x ← max(0, 1 − rate · decay) x + rate · slope · gradient
        let keep = |rate: f32| simd.splat_f32s(kept(rate, self.decay));
        let pull = |rate: f32| simd.splat_f32s(rate * slope);
        let (keep_p, keep_i, keep_j) = (keep(of_p), keep(of_i), keep(of_j));
        let (pull_p, pull_i, pull_j) = (pull(of_p), pull(of_i), pull(-of_j));
        let both = vectors_mut::<S>(qi).iter_mut().zip(vectors_mut::<S>(qj));
        for (p, (qi, qj)) in vectors_mut::<S>(p).iter_mut().zip(both) {
            let old = *p;
            *p = simd.mul_add_f32s(pull_p, simd.sub_f32s(*qi, *qj), simd.mul_f32s(keep_p, old));
            *qi = simd.mul_add_f32s(pull_i, old, simd.mul_f32s(keep_i, *qi));
            *qj = simd.mul_add_f32s(pull_j, old, simd.mul_f32s(keep_j, *qj));
        }
    }

    /// A logistic step: the item up (sign 1) or down (−1). Returns its loss.
    #[inline(always)]
    fn point(&mut self, p: &mut [f32], square: &mut f32, i: u32, sign: f32) -> f32 {
        let (loss, slope) = log_loss(sign * self.score(p, i));
        let slope = sign * slope;
        let (i, simd) = (i as usize, self.simd);
        let q = &mut self.items[i * self.stride..][..p.len()];
        let [mut of_p, mut of_q, mut of_bias] = [self.rate; 3];
        if ADAPT {
            let gain = slope * slope / self.factors;
            let [row, own] = &mut self.squares[i];
            *square += gain * dot(simd, q, q);
            *row += gain * dot(simd, p, p);
            *own += slope * slope;
            of_p /= (*square + EPSILON).sqrt();
            of_q /= (*row + EPSILON).sqrt();
            of_bias /= (*own + EPSILON).sqrt();
        }
        self.bias[i] = kept(of_bias, self.decay) * self.bias[i] + of_bias * slope;
        let keep = |rate: f32| simd.splat_f32s(kept(rate, self.decay));
        let pull = |rate: f32| simd.splat_f32s(rate * slope);
        let (keep_p, keep_q, pull_p, pull_q) = (keep(of_p), keep(of_q), pull(of_p), pull(of_q));
        for (p, q) in vectors_mut::<S>(p).iter_mut().zip(vectors_mut::<S>(q)) {
            let old = *p;
            *p = simd.mul_add_f32s(pull_p, *q, simd.mul_f32s(keep_p, old));
            *q = simd.mul_add_f32s(pull_q, old, simd.mul_f32s(keep_q, *q));
        }
        loss
    }
}
