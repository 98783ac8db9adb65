//! Implicit alternating least squares: *people who had these have tastes like this*.
//!
//! Every pair of user and item counts, had or not. An event of weight r says with confidence
//! c = 1 + α g(r) that the item is liked (p = 1); every other pair says with confidence 1 that it is
//! not (p = 0). The factors x of users and y of items minimise
//!
//! ```text
//! Σ_ui c_ui (p_ui − x_u·y_i)² + Σ_u λ_u ‖x_u‖² + Σ_i λ_i ‖y_i‖²        score(u, i) = x_u·y_i
//! ```
//!
//! by solving for all users with the items held, then for all items with the users held, and again.
//! Hu, Koren and Volinsky, *Collaborative filtering for implicit feedback datasets*, 2008; conjugate
//! gradients in place of a factorisation, Takács, Pilászy and Tikk, *Applications of the conjugate
//! gradient method for implicit feedback collaborative filtering*, 2011; regularisation by frequency
//! and small initial factors, Rendle, Krichene, Zhang and Koren, *Revisiting the performance of iALS
//! on item recommendation benchmarks*, 2022.
//!
//! **When.** The first factor model to try on listens, clicks and purchases: accurate at its
//! defaults, fast, deterministic, folds in new users exactly and explains every score by the
//! history. It has no use for order in time or for features.
//!
//! **Weights.** Above 0 is a like, the surer the larger. Below 0 is a dislike: the pair stays p = 0,
//! with confidence 1 + α g(|r|). An event of weight 0 is ignored. For ratings where *having rated* is
//! the evidence, give every event weight 1.
//!
//! **Regularisation** is told in units of chance ([`Regularization::Relative`]): a matrix of the same
//! confidences without any taste in it still has singular values up to about
//! σ = √(Σc²/users) + √(Σc²/items). A direction survives the penalty λ when its singular value exceeds
//! λ, so λ = ½σ means the same on 10⁵ events as on 10⁸, with any α.
//!
//! **Cost.** An iteration is 32 · events · f + 4 · (users + items) · f² floating-point operations with
//! three steps of conjugate gradients: after rotating both sides so that `YᵀY` is diagonal, no step
//! of a row touches an f × f matrix, and the diagonal is the preconditioner. A step reads each
//! counterpart once, 8 · f · events bytes an iteration from memory or the shared cache and three
//! times that from the core's own. Loading, not multiplying, is the bound: five loads go with four
//! multiply-adds. One core of an EPYC 7003 shared with other work did 4.1 million events an
//! iteration at 17 (f = 64) and 22 (f = 128) GFLOP/s, about a fifth and a quarter of its peak.
//! Memory: 4 bytes × f × (users + items), and 8 bytes an event on top of the log, while fitting and
//! afterwards.
//!
//! **Biases** ([`Als::biases`]) add b_u + b_i to the score, learned with the factors and penalised like
//! them. They are off: every pair counts here, so the factors carry how much is liked already, and on
//! MovieLens-100K NDCG@10 fell from .4505 to .4317 with them (defaults, seed 42).
//!
//! **Changes.** New events, users and items are learned by half-iterations over what they touch, then
//! by one over all users; those with new events are solved exactly. The result is near a fit, not
//! equal. A forgotten user or item is gone, but has left its mark on the other side until the next
//! fit.
//!
//! **Determinism.** The same bits for any number of threads, on processors with the same vector
//! width.
//!
//! **Defaults.** Chosen on MovieLens-100K and on the play counts of Last.fm (HetRec) by validation
//! splits inside the training part;
//! this one setting is within 1 % of the best found on each.

mod change;
mod factors;
mod model;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod refusal_tests;
pub(crate) mod simd;
#[cfg(test)]
mod simd_tests;
mod solve;
mod sweep;
#[cfg(test)]
mod tests;

use rand::RngExt;
use refrain_core::{IdMap, Monitor, rng};
use refrain_data::Interactions;
use serde::{Deserialize, Serialize};

use crate::{Error, Memory, Result};
use factors::Factors;
pub use model::AlsModel;
use model::Basis;
pub(crate) use model::READER;
use solve::Method;
use sweep::{Half, Side, half_sweep};

const NAME: &str = "ALS";
const OVERFLOW: &str = "numbers overflowed; make alpha or the weights smaller";

/// Settings of implicit ALS.
///
/// ```
/// use refrain_recommenders::{Als, Recommender};
/// # let log = refrain_data::Interactions::from_events(
/// #     [("ann", "reel", 3.0), ("ann", "jig", 1.0), ("bob", "reel", 2.0), ("bob", "air", 1.0)])?;
/// let model = Als { factors: 8, ..Als::default() }.fit(&log)?;
/// let best = model.recommend("ann", 5)?;
/// assert_eq!(best[0].item, "air"); // ann had the other two
/// # Ok::<(), refrain_recommenders::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Als {
    /// Length of a user's and an item's vector, 1 to 4096.
    pub factors: usize,
    /// How often both sides are solved.
    pub iterations: usize,
    /// α: how much surer an event makes us, above 0.
    pub alpha: f32,
    /// g: what an event's weight says.
    pub confidence: Confidence,
    /// λ: how strongly factors are pulled to zero.
    pub regularization: Regularization,
    /// ν: λ of a row is multiplied by (its total confidence / the mean of that)^ν. 0 treats all rows
    /// alike, 1 penalises as if each confidence were a rating.
    pub frequency_exponent: f32,
    /// Whether users and items have a bias each, besides their factors; not with [`Solver::Block`].
    #[serde(default)]
    pub biases: bool,
    /// How each row is solved.
    pub solver: Solver,
    /// Standard deviation of the initial factors, times √f.
    pub init_scale: f32,
    /// Of the initial factors.
    pub seed: u64,
}

impl Default for Als {
    fn default() -> Self {
        Self {
            factors: 64,
            iterations: 15,
            alpha: 4.0,
            confidence: Confidence::Log,
            regularization: Regularization::Relative(0.5),
            frequency_exponent: 0.5,
            biases: false,
            solver: Solver::ConjugateGradient { steps: 3 },
            init_scale: 0.1,
            seed: 42,
        }
    }
}

/// What the weight r of an event says. All three agree on r = 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Confidence {
    /// g = 1: that it happened.
    Binary,
    /// g = log₂(1 + r): for counts, which spread over decades.
    Log,
    /// g = r: as the paper has it; for weights that are confidences already.
    Linear,
}

/// How strongly factors are pulled to zero.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Regularization {
    /// In units of the largest singular value that chance alone would give (see the top of this
    /// page). Fits logs of all sizes.
    Relative(f32),
    /// λ itself, as in other libraries. The best value grows with the log and with α.
    Absolute(f32),
}

/// How each row is solved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Solver {
    /// So many preconditioned steps from where the last iteration left the row. Users are solved
    /// exactly once the iterations end.
    ConjugateGradient {
        /// At least 1; 3 lose nothing measurable over an exact solution.
        steps: usize,
    },
    /// Exactly, each time: for research, or short histories.
    Cholesky,
    /// So many factors at a time, each block exactly with the others held, from where the last
    /// iteration left the row (iALS++: Rendle, Krichene, Zhang and Koren, *iALS++: speeding up matrix
    /// factorization with subspace optimization*, 2021). Users are solved exactly once the iterations
    /// end. Here conjugate gradients are quicker to the same loss, for in their basis a step costs no
    /// more than reading the events.
    Block {
        /// At least 1; rounded up to a multiple of 16.
        size: usize,
    },
}

impl Als {
    /// Fits the factors.
    ///
    /// # Errors
    /// [`Error::Config`] for a setting out of range, [`Error::Data`] for an empty log or weights too
    /// large to square, [`Error::Diverged`] when numbers overflow.
    pub fn fit(&self, log: &Interactions) -> Result<AlsModel> {
        self.fit_with(log, &Monitor::silent())
    }

    /// As [`fit`](Self::fit), telling `monitor` the loss of each iteration.
    ///
    /// # Errors
    /// As [`fit`](Self::fit), and [`Error::Core`] when cancelled.
    pub fn fit_with(&self, log: &Interactions, monitor: &Monitor) -> Result<AlsModel> {
        self.check()?;
        let pins = self.pins();
        let users = Factors::zeros(log.n_users(), self.width());
        let items = Factors::from_dense(&self.initial(log.n_items(), 0), self.width());
        let [of_users, of_items] = pins.each_ref().map(Option::as_deref);
        self.train(log, users.held(of_users), items.held(of_items), monitor)
    }

    /// The length of a row: the factors, and with biases one's own bias and a 1 for the other's.
    fn width(&self) -> usize {
        self.factors + 2 * usize::from(self.biases)
    }

    /// Where rows of users and of items say 1 before the first rotation.
    fn pins(&self) -> [Option<Vec<f32>>; 2] {
        [self.factors, self.factors + 1].map(|at| {
            self.biases.then(|| {
                let mut pin = vec![0.0; self.width()];
                if let Some(one) = pin.get_mut(at) {
                    *one = 1.0;
                }
                pin
            })
        })
    }

    /// Starts from a fitted model's factors instead of noise, for users and items that it knows by
    /// id: a few iterations then bring a model up to date with a grown log.
    ///
    /// # Errors
    /// As [`fit_with`](Self::fit_with), and [`Error::Config`] when the numbers of factors differ or one
    /// of both has biases.
    pub fn fit_from(
        &self,
        log: &Interactions,
        model: &AlsModel,
        monitor: &Monitor,
    ) -> Result<AlsModel> {
        self.check()?;
        let other = model.config();
        let same = "must be the other model's to start from it";
        if other.factors != self.factors {
            return Err(refuse("factors", self.factors, same));
        }
        if other.biases != self.biases {
            return Err(refuse("biases", self.biases, same));
        }
        let mut users = vec![0.0; log.n_users() * self.width()];
        let known = |id: &str| model.user_factors(id);
        self.copy_known(&mut users, log.users(), known);
        let mut items = self.initial(log.n_items(), 0);
        let known = |id: &str| model.item_factors(id);
        self.copy_known(&mut items, log.items(), known);
        let [of_users, of_items] = model.pins();
        let users = Factors::from_dense(&users, self.width()).held(of_users);
        let items = Factors::from_dense(&items, self.width()).held(of_items);
        self.train(log, users, items, monitor)
    }

    fn copy_known<'a>(
        &self,
        to: &mut [f32],
        ids: &IdMap,
        known: impl Fn(&str) -> Option<&'a [f32]>,
    ) {
        for (to, id) in to.chunks_exact_mut(self.width()).zip(ids.iter()) {
            if let Some(from) = known(id) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Normal noise from the seed.
    fn initial(&self, rows: usize, stream: u64) -> Vec<f32> {
        let mut rng = rng::stream(self.seed, stream);
        let scale = self.init_scale / (self.factors as f32).sqrt();
        // Box and Muller, 1958.
        let noise = (0..rows * self.width()).map(|_| {
            let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
            (radius * (std::f64::consts::TAU * rng.random::<f64>()).cos()) as f32 * scale
        });
        noise.collect()
    }

    fn train(
        &self,
        log: &Interactions,
        mut x: Factors,
        mut y: Factors,
        monitor: &Monitor,
    ) -> Result<AlsModel> {
        let (users, items, of_users) = self.sides(log)?;
        let stage = monitor.start(NAME, Some(self.iterations as u64));
        let method = self.method();
        let pool = Default::default();
        let diverged = |iteration| Error::Diverged {
            model: NAME,
            iteration,
            reason: OVERFLOW.to_string(),
        };
        let mut losses = Vec::with_capacity(self.iterations);
        for iteration in 0..self.iterations {
            let found = half_sweep(&users, &mut x, &mut y, method, &pool);
            let Half { penalty, .. } = found.ok_or_else(|| diverged(iteration))?;
            let found = half_sweep(&items, &mut y, &mut x, method, &pool);
            let Half { loss, .. } = found.ok_or_else(|| diverged(iteration))?;
            losses.push(loss + penalty);
            stage.advance(1, format_args!("loss {:.4e}", loss + penalty))?;
        }
        // Users exactly, so that a stored user and a fold-in of the same history are one.
        let found = half_sweep(&users, &mut x, &mut y, Method::Exact, &pool);
        let Half { spectrum, .. } = found.ok_or_else(|| diverged(self.iterations))?;
        let basis = Basis::new(spectrum, &x, &y);
        let (x, y) = (x.into_dense(), y.into_dense());
        // Two copies of the confidences go before one of the log comes.
        drop((users, items));
        let memory = Memory::new(log);
        Ok(AlsModel::new(
            self.clone(),
            memory,
            of_users,
            basis,
            x,
            y,
            losses,
        ))
    }

    fn method(&self) -> Method {
        match self.solver {
            Solver::ConjugateGradient { steps } => Method::Steps(steps),
            Solver::Cholesky => Method::Exact,
            Solver::Block { size } => Method::Blocks(size),
        }
    }

    /// The events of users and of items with their λ, and how λ of a user is found.
    fn sides<'a>(&self, log: &'a Interactions) -> Result<(Side<'a>, Side<'a>, Penalty)> {
        if log.is_empty() {
            return Err(Error::Data {
                model: NAME,
                reason: "the log has no events".to_string(),
            });
        }
        let mut users = Side::new(log.by_user(), |r| self.weigh(r));
        let mut items = Side::new(log.by_item(), |r| self.weigh(r));
        let squares: f64 = users
            .weights
            .iter()
            .map(|&w| f64::from(simd::gain(w)).powi(2))
            .sum();
        if !squares.is_finite() {
            let reason = "alpha times a weight is too large".to_string();
            return Err(Error::Data {
                model: NAME,
                reason,
            });
        }
        let penalty = self.penalty(squares, &users, &items);
        let of_users = Penalty::new(penalty, &users, log.n_items(), self.frequency_exponent);
        let of_items = Penalty::new(penalty, &items, log.n_users(), self.frequency_exponent);
        of_users.set(&mut users);
        of_items.set(&mut items);
        Ok((users, items, of_users))
    }

    /// The signed weight α g(|r|) of an event of weight r.
    fn weigh(&self, r: f32) -> f32 {
        let strength = match self.confidence {
            Confidence::Binary => f32::from(r != 0.0),
            Confidence::Log => (1.0 + r.abs()).log2(),
            Confidence::Linear => r.abs(),
        };
        (self.alpha * strength).copysign(r)
    }

    /// λ before it is shared out by frequency.
    fn penalty(&self, squares: f64, users: &Side<'_>, items: &Side<'_>) -> f64 {
        match self.regularization {
            Regularization::Absolute(lambda) => f64::from(lambda),
            Regularization::Relative(part) => {
                let busy = |side: &Side<'_>| {
                    let busy = |&row: &usize| !side.events(row).indices.is_empty();
                    (0..side.rows()).filter(busy).count().max(1) as f64
                };
                let chance = (squares / busy(users)).sqrt() + (squares / busy(items)).sqrt();
                // Without a single like there is nothing to fit, but the penalty stays positive.
                f64::from(part) * if chance > 0.0 { chance } else { 1.0 }
            }
        }
    }

    fn check(&self) -> Result<()> {
        let positive = |field, value: f32| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(refuse(field, value, "must be above 0 and finite")),
        };
        if !(1..=4096).contains(&self.factors) {
            return Err(refuse("factors", self.factors, "must be 1 to 4096"));
        }
        if self.iterations == 0 {
            return Err(refuse("iterations", 0, "must be at least 1"));
        }
        positive("alpha", self.alpha)?;
        match self.regularization {
            Regularization::Relative(value) | Regularization::Absolute(value) => {
                positive("regularization", value)?;
            }
        }
        positive("init_scale", self.init_scale)?;
        if !(-2.0..=2.0).contains(&self.frequency_exponent) {
            let value = self.frequency_exponent;
            return Err(refuse("frequency_exponent", value, "must be -2 to 2"));
        }
        match self.solver {
            Solver::ConjugateGradient { steps: 0 } => {
                Err(refuse("solver.steps", 0, "must be at least 1"))
            }
            Solver::Block { size: 0 } => Err(refuse("solver.size", 0, "must be at least 1")),
            Solver::Block { .. } if self.biases => Err(refuse(
                "biases",
                true,
                "must be false with the block solver",
            )),
            _ => Ok(()),
        }
    }
}

fn refuse(field: &'static str, value: impl ToString, expected: &'static str) -> Error {
    Error::Config {
        model: NAME,
        field,
        value: value.to_string(),
        expected,
    }
}

/// λ of the rows of one side.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Penalty {
    lambda: f32,
    /// The mean total confidence of a row.
    mean: f32,
    /// How many rows the other side has.
    others: usize,
    exponent: f32,
}

impl Penalty {
    fn new(lambda: f64, side: &Side<'_>, others: usize, exponent: f32) -> Self {
        let mean = others as f64 + total(&side.weights) / side.rows().max(1) as f64;
        Self {
            lambda: lambda as f32,
            mean: mean as f32,
            others,
            exponent,
        }
    }

    /// λ of a row with these weights.
    fn of(&self, weights: &[f32]) -> f32 {
        let confidence = self.others as f64 + total(weights);
        let share = (confidence / f64::from(self.mean)).powf(f64::from(self.exponent));
        (f64::from(self.lambda) * share) as f32
    }

    fn set(&self, side: &mut Side<'_>) {
        side.lambda = (0..side.rows())
            .map(|row| self.of(side.events(row).weights))
            .collect();
    }
}

fn total(weights: &[f32]) -> f64 {
    weights.iter().map(|&w| f64::from(w.abs())).sum()
}
