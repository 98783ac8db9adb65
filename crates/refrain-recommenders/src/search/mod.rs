//! Finding good settings: grid, random and successive halving, judged on a part of the training log.
//!
//! A part of the log is set aside (never the test log, which the search does not see). Each trial fits
//! a model with settings from a [`Space`] on the rest and is judged by one metric on what was set
//! aside.
//!
//! | [`Strategy`] | tries |
//! |---|---|
//! | [`Grid`](Strategy::Grid) | points evenly apart; for one or two settings |
//! | [`Random`](Strategy::Random) | draws; better than a grid from three settings on (Bergstra and Bengio, 2012) |
//! | [`Halving`](Strategy::Halving) | draws on little data or few iterations, the best again on more (Jamieson and Talwalkar, 2016) |
//!
//! **Budget.** `trials`, and `seconds` after which none begins; at least one does.
//!
//! **Resuming.** With a `journal` each finished trial is a line in a file. The same search on the same
//! log with that file goes on where it was, whatever stopped it, also with more trials or a wider
//! space: what was tried is not tried again.
//!
//! **Determinism.** By the seed, however many trials run at once. A limit in seconds ends it where
//! the machine has got to.

mod goal;
mod journal;
mod report;
mod space;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rand::RngExt;
use refrain_core::{Monitor, Stage, rng};
use refrain_data::{Interactions, split};

use crate::{Error, Evaluator, Metric, Recommender, Result};
use goal::Judge;
use journal::{Header, Journal};

pub use goal::Goal;
pub use report::{Finished, SearchReport};
pub use space::{Range, Space, Trial, Value};

const NAME: &str = "search";

/// How settings are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Strategy {
    /// Every combination of points evenly apart in each range; by the seed a sample of them where
    /// there are more than trials.
    Grid {
        /// Points per range of numbers; whole numbers and words are taken once each.
        steps: usize,
    },
    /// Independent draws.
    Random,
    /// All draws with a small share of the work, the best of them with more, and so on up to all of it.
    /// `trials` counts the draws.
    Halving {
        /// One in so many goes on, with so many times the work.
        factor: usize,
        /// The share of the work at first.
        start: f64,
        /// What there is less of.
        resource: Resource,
    },
}

/// What early trials of successive halving get less of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resource {
    /// Users: the log is that of a share of them, drawn by the seed. For any model.
    Users,
    /// Whatever the closure makes of [`Trial::share`], such as [`Trial::cut`] of its iterations.
    Work,
}

/// A search for settings.
///
/// ```
/// use refrain_data::Interactions;
/// use refrain_recommenders::{ItemKnn, Search, Space, Strategy};
///
/// let log = Interactions::from_events((0..900).map(|n| (n / 30, (n * n + n / 30) % 40, 1.0)))?;
/// let search = Search {
///     space: Space::new().int_log("neighbours", 5..=40).log("shrinkage", 0.1..=100.0),
///     strategy: Strategy::Random,
///     trials: 8,
///     ..Search::default()
/// };
/// let (model, report) = search.fit(&log, |trial, log| {
///     let knn = ItemKnn {
///         neighbours: trial.size("neighbours")?,
///         shrinkage: trial.f32("shrinkage")?,
///         ..ItemKnn::default()
///     };
///     Ok(Box::new(knn.fit(log)?))
/// })?;
/// println!("{report}");
/// assert_eq!(model.recommend("7", 3)?.len(), 3);
///
/// // models that predict ratings, by their error
/// use refrain_recommenders::{BiasedMf, Goal};
/// let search = Search {
///     space: Space::new().int("factors", 2..=8),
///     metric: Goal::Rmse,
///     trials: 3,
///     ..Search::default()
/// };
/// let report = search.run(&log, |trial, log| {
///     let factors = trial.size("factors")?;
///     Ok(Box::new(BiasedMf { factors, epochs: 3, ..BiasedMf::default() }.fit(log)?))
/// })?;
/// assert!(report.best().is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// The settings and their ranges.
    pub space: Space,
    /// Settings tried before any other: a model's defaults, or the best of an earlier search. A grid
    /// has no use for them.
    pub first: Vec<Vec<(String, Value)>>,
    /// How they are chosen.
    pub strategy: Strategy,
    /// What counts: a metric of lists, `Metric::Ndcg(10).into()`, or the error of predicted ratings.
    pub metric: Goal,
    /// The share of the events that is set aside.
    pub validation: f64,
    /// How many trials at most, up to a million.
    pub trials: usize,
    /// After so many seconds no trial begins any more.
    pub seconds: Option<f64>,
    /// How many trials run at once. Models use all threads already: more than 1 pays for models that
    /// do not, and costs memory.
    pub parallel: usize,
    /// The file of finished trials, to be able to go on. It knows the metric, the data and the settings
    /// of a trial but not what fits them: each kind of model needs a file of its own.
    pub journal: Option<PathBuf>,
    /// The seed of the split and of the draws.
    pub seed: u64,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            space: Space::new(),
            first: Vec::new(),
            strategy: Strategy::Random,
            metric: Goal::Ranking(Metric::Ndcg(10)),
            validation: 0.2,
            trials: 20,
            seconds: None,
            parallel: 1,
            journal: None,
            seed: 0,
        }
    }
}

/// The most trials, and the most steps of a grid.
const MOST_TRIALS: usize = 1_000_000;

/// What a search judges on: a log to fit on and one to find.
struct Task<'a, F> {
    search: &'a Search,
    train: &'a Interactions,
    valid: &'a Interactions,
    fit: F,
    began: Instant,
    stage: Stage,
    journal: Mutex<Journal>,
}

impl Search {
    /// Sets a random part of `log` aside and tries settings.
    ///
    /// A trial that fails is part of the report and the search goes on.
    ///
    /// # Errors
    /// [`Error::Config`], [`Error::Data`] when there is nothing to find, [`Error::Journal`].
    pub fn run<F>(&self, log: &Interactions, fit: F) -> Result<SearchReport>
    where
        F: Fn(&Trial, &Interactions) -> Result<Box<dyn Recommender>> + Sync,
    {
        self.run_with(log, fit, &Monitor::silent())
    }

    /// As [`run`](Self::run), telling `monitor`.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when cancelled.
    pub fn run_with<F>(&self, log: &Interactions, fit: F, monitor: &Monitor) -> Result<SearchReport>
    where
        F: Fn(&Trial, &Interactions) -> Result<Box<dyn Recommender>> + Sync,
    {
        let (train, valid) = split::random(log, self.validation, self.seed)?;
        self.run_on(&train, &valid, fit, monitor)
    }

    /// As [`run`](Self::run), and the model of the best settings, fitted on the whole log.
    ///
    /// # Errors
    /// As [`run`](Self::run), and [`Error::Data`] with the first reason when every trial failed.
    pub fn fit<F>(&self, log: &Interactions, fit: F) -> Result<(Box<dyn Recommender>, SearchReport)>
    where
        F: Fn(&Trial, &Interactions) -> Result<Box<dyn Recommender>> + Sync,
    {
        let report = self.run(log, &fit)?;
        let Some(best) = report.best() else {
            let first = report.trials.iter().find_map(|t| t.error.as_deref());
            return Err(Error::Data {
                model: NAME,
                reason: format!("every trial failed: {}", first.unwrap_or("none was run")),
            });
        };
        // Whatever round it was found in, the work is done in full now.
        let full = Trial {
            share: 1.0,
            ..best.trial.clone()
        };
        Ok((fit(&full, log)?, report))
    }

    /// Fits on `train` and judges on `valid`: for a split of your own, by time for instance.
    ///
    /// # Errors
    /// As [`run`](Self::run), and when cancelled.
    pub fn run_on<F>(
        &self,
        train: &Interactions,
        valid: &Interactions,
        fit: F,
        monitor: &Monitor,
    ) -> Result<SearchReport>
    where
        F: Fn(&Trial, &Interactions) -> Result<Box<dyn Recommender>> + Sync,
    {
        self.check()?;
        Evaluator::new(train, valid)?;
        let (drawn, rounds) = self.plan();
        let total: usize = rounds.iter().map(|round| round.0).sum();
        let resource = match self.strategy {
            Strategy::Halving { resource, .. } => format!("{resource:?}"),
            _ => "all".to_string(),
        };
        let journal = match &self.journal {
            None => Journal::none(),
            Some(path) => {
                let print = fingerprint(train).rotate_left(1) ^ fingerprint(valid);
                let metric = self.metric.to_string();
                Journal::open(path, &Header::new(metric, resource, self.seed, print))?
            }
        };
        let task = Task {
            search: self,
            train,
            valid,
            fit,
            began: Instant::now(),
            stage: monitor.start(NAME, Some(total as u64)),
            journal: Mutex::new(journal),
        };
        let mut trials: Vec<Trial> = drawn;
        let mut all = Vec::new();
        for (count, share) in rounds {
            trials.truncate(count);
            for trial in &mut trials {
                trial.share = share;
            }
            let done = task.round(&trials)?;
            let stopped = done.len() < trials.len();
            let mut ranked: Vec<&Finished> = done.iter().filter(|f| f.score.is_some()).collect();
            ranked.sort_by(|a, b| report::better_first(self.metric, a, b));
            trials = ranked.into_iter().map(|f| f.trial.clone()).collect();
            all.extend(done);
            if stopped {
                break;
            }
        }
        Ok(SearchReport {
            metric: self.metric,
            stopped: all.len() < total && self.out_of_time(task.began),
            trials: all,
        })
    }

    /// The trials of the first round, and for each round how many there are and with what share.
    fn plan(&self) -> (Vec<Trial>, Vec<(usize, f64)>) {
        let trial = |number, values| Trial {
            number,
            values,
            share: 1.0,
        };
        match self.strategy {
            Strategy::Grid { steps } => {
                let points = self.space.grid_len(steps);
                let numbers: Vec<usize> = match points {
                    Some(points) if points <= self.trials => (0..points).collect(),
                    // A sample without replacement, by rejection: trials are few.
                    points => {
                        let mut rng = rng::stream(self.seed, u64::MAX);
                        let mut chosen: Vec<usize> = Vec::new();
                        while chosen.len() < self.trials {
                            let number = rng.random_range(0..points.unwrap_or(usize::MAX));
                            if !chosen.contains(&number) {
                                chosen.push(number);
                            }
                        }
                        chosen
                    }
                };
                let points = numbers.iter().map(|&n| self.space.grid_point(steps, n));
                let trials: Vec<Trial> = (0..).zip(points).map(|(n, v)| trial(n, v)).collect();
                let rounds = vec![(trials.len(), 1.0)];
                (trials, rounds)
            }
            Strategy::Random | Strategy::Halving { .. } => {
                let first = self.first.iter().map(|values| self.space.ordered(values));
                let more = (0..).map(|n| self.space.draw(self.seed, n));
                let drawn = (0..self.trials)
                    .zip(first.chain(more))
                    .map(|(n, values)| trial(n, values));
                let mut rounds = Vec::new();
                if let Strategy::Halving { factor, start, .. } = self.strategy {
                    let (mut count, mut share) = (self.trials, start);
                    while share < 0.999 && count > 1 {
                        rounds.push((count, share));
                        count = count.div_ceil(factor);
                        share *= factor as f64;
                    }
                    rounds.push((count, 1.0));
                } else {
                    rounds.push((self.trials, 1.0));
                }
                (drawn.collect(), rounds)
            }
        }
    }

    fn out_of_time(&self, began: Instant) -> bool {
        let limit = self.seconds.unwrap_or(f64::INFINITY);
        began.elapsed().as_secs_f64() >= limit
    }

    fn check(&self) -> Result<()> {
        self.space.check()?;
        self.first
            .iter()
            .try_for_each(|values| self.space.check_values(values))?;
        let bad = |field, value: String, expected| {
            Err(Error::Config {
                model: NAME,
                field,
                value,
                expected,
            })
        };
        for (field, value) in [("trials", self.trials), ("parallel", self.parallel)] {
            if !(1..=MOST_TRIALS).contains(&value) {
                return bad(field, value.to_string(), "must be from 1 to 1,000,000");
            }
        }
        self.metric.check()?;
        if self.seconds.is_some_and(|s| s.is_nan() || s < 0.0) {
            return bad(
                "seconds",
                format!("{:?}", self.seconds),
                "must be at least 0",
            );
        }
        match self.strategy {
            Strategy::Grid { steps } if !(1..=MOST_TRIALS).contains(&steps) => {
                bad("steps", steps.to_string(), "must be from 1 to 1,000,000")
            }
            Strategy::Halving { factor, .. } if factor < 2 => {
                bad("factor", factor.to_string(), "must be at least 2")
            }
            Strategy::Halving { start, .. } if !(start > 0.0 && start <= 1.0) => {
                bad("start", start.to_string(), "must be above 0 and at most 1")
            }
            _ => Ok(()),
        }
    }
}

impl<F> Task<'_, F>
where
    F: Fn(&Trial, &Interactions) -> Result<Box<dyn Recommender>> + Sync,
{
    /// Runs trials of one share, some at once; in their order, fewer when time is up.
    fn round(&self, trials: &[Trial]) -> Result<Vec<Finished>> {
        let share = trials.first().map_or(1.0, |trial| trial.share);
        let cut = match self.search.strategy {
            Strategy::Halving {
                resource: Resource::Users,
                ..
            } if share < 1.0 => {
                let mine = |user: u32| {
                    rng::stream(self.search.seed ^ 0x5eed, user.into()).random::<f64>() < share
                };
                let of = |log: &Interactions| log.filter(|event| mine(event.user));
                Some((of(self.train)?, of(self.valid)?))
            }
            _ => None,
        };
        let (train, valid) = match &cut {
            Some((train, valid)) => (train, valid),
            None => (self.train, self.valid),
        };
        let judge = Judge::new(self.search.metric, train, valid)?;
        let next = AtomicUsize::new(0);
        let found: Mutex<Vec<Finished>> = Mutex::new(Vec::new());
        let failed: Mutex<Option<Error>> = Mutex::new(None);
        let work = || {
            while let Some(trial) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.trial(trial, train, &judge) {
                    Ok(Some(finished)) => locked(&found).push(finished),
                    Ok(None) => break,
                    Err(error) => {
                        next.store(trials.len(), Ordering::Relaxed);
                        locked(&failed).get_or_insert(error);
                        break;
                    }
                }
            }
        };
        // In the caller's pool, as everything else.
        rayon::scope(|scope| {
            for _ in 1..self.search.parallel.min(trials.len()) {
                scope.spawn(|_| work());
            }
            work();
        });
        if let Some(error) = locked(&failed).take() {
            return Err(error);
        }
        let mut found = std::mem::take(&mut *locked(&found));
        found.sort_by_key(|f| trials.iter().position(|t| t.number == f.trial.number));
        Ok(found)
    }

    /// One trial; `None` when time is up before it begins.
    fn trial(
        &self,
        trial: &Trial,
        train: &Interactions,
        judge: &Judge<'_>,
    ) -> Result<Option<Finished>> {
        let known = locked(&self.journal).find(trial);
        if let Some(known) = known {
            self.stage.advance(1, "from the journal")?;
            return Ok(Some(known));
        }
        self.stage.check()?;
        // The very first one runs, so that a search has something to show.
        if trial.number > 0 && self.search.out_of_time(self.began) {
            return Ok(None);
        }
        let began = Instant::now();
        let metric = self.search.metric;
        let outcome = (self.fit)(trial, train).and_then(|model| judge.score(&*model));
        let seconds = began.elapsed().as_secs_f64();
        let (score, error) = match outcome {
            Ok(Some(score)) => (Some(score), None),
            Ok(None) => (None, Some(format!("{metric} is not a number"))),
            Err(Error::Core(cancelled @ refrain_core::Error::Cancelled { .. })) => {
                return Err(cancelled.into());
            }
            Err(error) => (None, Some(error.to_string())),
        };
        let finished = Finished {
            trial: trial.clone(),
            score,
            error,
            seconds,
        };
        locked(&self.journal).add(&finished)?;
        self.stage.advance(1, &finished)?;
        Ok(Some(finished))
    }
}

/// Another thread's panic does not make our data wrong: each push is whole.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A number that other events hardly share (FNV-1a over users, items and weights).
fn fingerprint(log: &Interactions) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut eat = |word: u32| hash = (hash ^ u64::from(word)).wrapping_mul(0x100_0000_01b3);
    for event in log.iter() {
        eat(event.user);
        eat(event.item);
        eat(event.weight.to_bits());
    }
    hash
}

#[cfg(test)]
mod tests;
