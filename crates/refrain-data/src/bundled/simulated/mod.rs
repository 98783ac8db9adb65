//! A *simulated* listening log over the bundled tunes.
//!
//! Nobody real is in it: listeners are called `listener-0001`, and every play is drawn from the model
//! below. Because the truth behind the plays is known, a test can ask whether a recommender finds it.
//!
//! **Tunes.** Tune *i* has a rhythm *r*, a mode *m*, a range *x* and a difficulty *d* (both
//! standardised), all from the catalogue, and two things the catalogue does not show: a fame
//! *wᵢ ∝ rankᵢ^−γ* (ranks are shuffled, *γ* = [`SimulatedLog::popularity`]) and a flavour
//! *qᵢ ~ N(0, I₃)*. A part of the tunes ([`SimulatedLog::new_tunes`]) appears only during the log.
//! Up to four companions, near in flavour and key and of the same rhythm, are the tunes it is
//! followed by in a set.
//!
//! **Listeners.** Listener *u* plays one of seven instruments, whose players lean to the same rhythms,
//! modes and range, and belongs to one of sixteen circles, who like the same flavours. Around what is
//! shared lie the listener's own liking *a* of each rhythm and *b* of each mode, the best range *ρ*
//! and difficulty *δ*, and a direction *p* in the space of flavours:
//!
//! ```text
//! a[u, r] = A[instrument, r] + 0.35 ε     b[u, m] = B[instrument, m] + 0.25 ε     A, B ~ 1.2 ε
//! ρ[u] = R[instrument] + 0.5 ε            δ[u] = ε − 0.3                           R ~ 1.2 ε
//! p[u] = 2/√3 (√0.9 c[circle] + √0.1 ε)                                            c, ε ~ N(0, 1)
//! ```
//!
//! Numbers of plays are log-normal with σ = 1. The utility of tune *i* at time *t*, and the chance to
//! play it, are
//!
//! ```text
//! U(u, i, t) = a[u, rᵢ](t) + b[u, mᵢ] − ½((xᵢ − ρ[u]) / 2)² − ½((dᵢ − δ[u](t)) / 1.2)² + p[u]·qᵢ
//! P(i | u, t) ∝ wᵢ · exp(τ U(u, i, t))        τ = SimulatedLog::taste
//! ```
//!
//! Each quarter of a year, *a* takes a random step and *δ* grows, as learners get better.
//!
//! **Sessions** start mostly in the evening and at the weekend and have a geometric length. Each has
//! a rhythm as its theme, drawn by P. The next play is, with the chances in [`SimulatedLog`]: an
//! exploration (by fame alone, or, one in four, blind); the next tune of a set (a companion of the
//! last); a replay of one of the listener's earlier plays; else a tune drawn by P within the theme,
//! which changes now and then. No tune comes twice in a session.
//!
//! The same configuration and catalogue give the same plays on every machine and any number of
//! threads. Cost: `O(listeners × quarters × tunes)`, about a quarter of a second for the defaults.

mod draw;
mod listening;
mod simulation;
mod taste;
mod world;

use rayon::prelude::*;

use self::draw::Draw;
use self::taste::Society;
use self::world::World;
use super::TuneRecord;
use crate::{Error, Result};

pub use self::simulation::Simulation;
pub use self::taste::Taste;

const DAY: i64 = 86_400;
const FLAVOURS: usize = 3;

/// How the log is simulated. The defaults give [`listening_log`](super::listening_log).
///
/// ```
/// use refrain_data::bundled::{SimulatedLog, tunes};
///
/// let tunes = tunes()?;
/// let log = SimulatedLog { listeners: 50, plays: 2_000, ..SimulatedLog::default() }.generate(&tunes)?;
/// assert_eq!(log.plays.len(), 2_000);
/// let first = &log.plays[0];
/// println!("{} plays {}", log.listeners[first.listener as usize].id, tunes[first.tune as usize].title);
/// # Ok::<(), refrain_data::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SimulatedLog {
    /// Number of listeners.
    pub listeners: usize,
    /// Number of plays, all listeners together; at least five a listener.
    pub plays: usize,
    /// Length of the log in days.
    pub days: u32,
    /// Start of the log, in seconds since 1970.
    pub start: i64,
    /// Seed of everything random.
    pub seed: u64,
    /// Exponent γ of the power law of fame.
    pub popularity: f64,
    /// Strength of tastes: 0 leaves fame alone, larger values make listeners choosier.
    pub taste: f64,
    /// Mean number of plays in a session.
    pub session_length: f64,
    /// Chance that a play explores: by fame alone, or blind.
    pub exploration: f64,
    /// Chance that a play goes on with the set the last tune belongs to.
    pub sets: f64,
    /// Chance that a play repeats something the listener played before.
    pub replays: f64,
    /// Size of the step that tastes take each quarter of a year.
    pub drift: f64,
    /// Part of the tunes that appear only during the log.
    pub new_tunes: f64,
}

impl Default for SimulatedLog {
    fn default() -> Self {
        Self {
            listeners: 2_000,
            plays: 200_000,
            days: 730,
            start: 1_704_067_200, // 2024-01-01 00:00:00 UTC
            seed: 42,
            popularity: 0.7,
            taste: 1.5,
            session_length: 6.0,
            exploration: 0.08,
            sets: 0.3,
            replays: 0.15,
            drift: 0.25,
            new_tunes: 0.15,
        }
    }
}

/// One play of the simulated log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Play {
    /// Index into [`Simulation::listeners`].
    pub listener: u32,
    /// Index into the catalogue.
    pub tune: u32,
    /// Number of the session, from 0; a session belongs to one listener.
    pub session: u32,
    /// Seconds since 1970.
    pub time: i64,
}

/// A simulated listener.
#[derive(Debug, Clone, PartialEq)]
pub struct Listener {
    /// `listener-0001` and so on.
    pub id: String,
    /// What the listener plays; it tells something about the taste.
    pub instrument: &'static str,
    /// The number of the circle the listener plays in, whose members like the same flavours.
    pub circle: usize,
    /// Number of plays.
    pub plays: usize,
    /// The true taste at the end of the log.
    pub taste: Taste,
}

impl SimulatedLog {
    /// Draws the log over a catalogue.
    pub fn generate(&self, catalogue: &[TuneRecord]) -> Result<Simulation> {
        self.validate(catalogue)?;
        let world = World::new(self, catalogue);
        let mut draw = Draw::new(self.seed, 1);
        let society = Society::new(&mut draw, &world);
        let counts = self.play_counts(&mut draw);

        let heard: Vec<(Listener, Vec<listening::RawPlay>)> = counts
            .into_par_iter()
            .enumerate()
            .map(|(u, plays)| {
                let mut draw = Draw::new(self.seed, 2 + u as u64);
                let (instrument, circle, mut taste) = society.member(&mut draw);
                let events = listening::listen(self, &world, &mut draw, &mut taste, plays);
                let id = format!("listener-{:04}", u + 1);
                (
                    Listener {
                        id,
                        instrument,
                        circle,
                        plays,
                        taste,
                    },
                    events,
                )
            })
            .collect();

        let mut listeners = Vec::with_capacity(heard.len());
        let mut plays = Vec::with_capacity(self.plays);
        for (u, (listener, events)) in heard.into_iter().enumerate() {
            listeners.push(listener);
            plays.extend(events.iter().map(|e| Play {
                listener: u as u32,
                tune: e.tune,
                session: e.session,
                time: self.start + e.time,
            }));
        }
        plays.sort_by_key(|p| (p.time, p.listener));
        let sessions = number_sessions(&mut plays, listeners.len());
        Ok(Simulation {
            listeners,
            tunes: catalogue.iter().map(|t| t.id.clone()).collect(),
            plays,
            sessions,
            rhythms: world.rhythms,
            modes: world.modes,
            seed: self.seed,
        })
    }

    fn validate(&self, catalogue: &[TuneRecord]) -> Result<()> {
        let config = |field, value: String, must| Err(Error::Config { field, value, must });
        if catalogue.is_empty() {
            return Err(Error::Empty {
                origin: "catalogue of the simulated log".to_owned(),
            });
        }
        if self.listeners == 0 || self.listeners > 10_000_000 {
            return config(
                "listeners",
                self.listeners.to_string(),
                "from 1 to 10000000",
            );
        }
        if self.plays < 5 * self.listeners || self.plays > u32::MAX as usize {
            return config(
                "plays",
                self.plays.to_string(),
                "at least 5 a listener, below 2^32",
            );
        }
        if self.days == 0 || self.days > 36_500 {
            return config("days", self.days.to_string(), "from 1 to 36500");
        }
        // Far enough from the limits of i64 that no play overflows.
        if self.start.unsigned_abs() > 1 << 40 {
            return config("start", self.start.to_string(), "seconds since 1970");
        }
        if !(1.0..=60.0).contains(&self.session_length) {
            return config(
                "session_length",
                self.session_length.to_string(),
                "from 1 to 60",
            );
        }
        if !(0.0..=3.0).contains(&self.popularity) {
            return config("popularity", self.popularity.to_string(), "from 0 to 3");
        }
        if !(0.0..=10.0).contains(&self.taste) {
            return config("taste", self.taste.to_string(), "from 0 to 10");
        }
        if !(0.0..=2.0).contains(&self.drift) {
            return config("drift", self.drift.to_string(), "from 0 to 2");
        }
        for (field, value) in [
            ("exploration", self.exploration),
            ("sets", self.sets),
            ("replays", self.replays),
            ("new_tunes", self.new_tunes),
            (
                "exploration + sets + replays",
                self.exploration + self.sets + self.replays,
            ),
        ] {
            if !(0.0..=0.9).contains(&value) {
                return config(field, value.to_string(), "a chance from 0 to 0.9");
            }
        }
        if let Some(tune) = catalogue
            .iter()
            .find(|t| !t.range.is_finite() || !t.difficulty.is_finite())
        {
            return Err(Error::Feature {
                id: tune.id.clone(),
                column: "range or difficulty".to_owned(),
                reason: "not a finite number".to_owned(),
            });
        }
        Ok(())
    }

    /// Plays of each listener: five, and log-normal shares of the rest, which add up exactly.
    fn play_counts(&self, draw: &mut Draw) -> Vec<usize> {
        let shares: Vec<f64> = (0..self.listeners)
            .map(|_| draw::exp(draw.normal()))
            .collect();
        let total: f64 = shares.iter().sum();
        let rest = self.plays - 5 * self.listeners;
        let mut given = 0;
        let mut running = 0.0;
        shares
            .iter()
            .enumerate()
            .map(|(u, share)| {
                running += share;
                let upto = if u + 1 == self.listeners {
                    rest
                } else {
                    ((rest as f64 * (running / total)) as usize).clamp(given, rest)
                };
                let plays = 5 + upto - given;
                given = upto;
                plays
            })
            .collect()
    }
}

/// Numbers sessions by their first play, and returns how many there are.
fn number_sessions(plays: &mut [Play], listeners: usize) -> usize {
    let mut current = vec![(u32::MAX, 0_u32); listeners]; // (session of the listener, its number)
    let mut next = 0;
    for play in plays {
        let state = &mut current[play.listener as usize];
        if state.0 != play.session {
            *state = (play.session, next);
            next += 1;
        }
        play.session = state.1;
    }
    next as usize
}

#[cfg(test)]
mod tests;
