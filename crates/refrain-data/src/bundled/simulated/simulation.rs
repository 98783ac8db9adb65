//! What a simulation hands out: matrices, sessions, features and files.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use refrain_core::IdMap;

use super::{Listener, Play};
use crate::{Error, Event, Interactions, Result, UserFeatures};

/// A simulated log with the truth behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Simulation {
    /// The listeners.
    pub listeners: Vec<Listener>,
    /// Ids of the tunes, as in the catalogue.
    pub tunes: Vec<String>,
    /// All plays, ordered by time.
    pub plays: Vec<Play>,
    /// Number of sessions.
    pub sessions: usize,
    /// The rhythms that [`Taste::rhythms`](super::Taste::rhythms) speaks of.
    pub rhythms: Vec<String>,
    /// The modes that [`Taste::modes`](super::Taste::modes) speaks of.
    pub modes: Vec<String>,
    pub(super) seed: u64,
}

impl Simulation {
    /// The tunes of each session in the order they were played: the sentences of item2vec.
    pub fn sessions(&self) -> Vec<Vec<u32>> {
        let mut sessions = vec![Vec::new(); self.sessions];
        for play in &self.plays {
            if let Some(session) = sessions.get_mut(play.session as usize) {
                session.push(play.tune);
            }
        }
        sessions
    }

    /// The log as a matrix: the weight of a pair is its number of plays, its time that of the first
    /// play, so that a split by time asks for tunes the listener has not met. Users are numbered as
    /// [`listeners`](Self::listeners), items as the catalogue, played or not.
    pub fn interactions(&self) -> Result<Interactions> {
        self.matrix(self.plays.iter())
    }

    /// Train and test by time: the plays of the first part of the log, and the pairs first met in
    /// the last `test_fraction` of all plays. Unlike a split of [`interactions`](Self::interactions),
    /// no weight of a training pair counts later plays.
    pub fn split(&self, test_fraction: f64) -> Result<(Interactions, Interactions)> {
        if !(test_fraction > 0.0 && test_fraction < 1.0) {
            return Err(Error::Config {
                field: "test_fraction",
                value: test_fraction.to_string(),
                must: "between 0 and 1",
            });
        }
        let cut = (self.plays.len() as f64 * (1.0 - test_fraction)) as usize;
        let (before, after) = self.plays.split_at(cut.min(self.plays.len()));
        let known: HashSet<(u32, u32)> = before.iter().map(|p| (p.listener, p.tune)).collect();
        let new = after
            .iter()
            .filter(|p| !known.contains(&(p.listener, p.tune)));
        Ok((self.matrix(before.iter())?, self.matrix(new)?))
    }

    fn matrix<'a>(&self, plays: impl Iterator<Item = &'a Play>) -> Result<Interactions> {
        let mut pairs: HashMap<(u32, u32), (f32, i64)> = HashMap::new();
        for play in plays {
            pairs
                .entry((play.listener, play.tune))
                .or_insert((0.0, play.time))
                .0 += 1.0;
        }
        let users = IdMap::from_ids(self.listeners.iter().map(|l| l.id.as_str()))?;
        let items = IdMap::from_ids(self.tunes.iter().map(String::as_str))?;
        let mut builder = Interactions::builder().ids(Arc::new(users), Arc::new(items));
        for ((user, item), (weight, time)) in pairs {
            builder.push_event(Event {
                user,
                item,
                weight,
                time: Some(time),
            })?;
        }
        builder.build()
    }

    /// What a service would know of its listeners: instrument and circle, as categories. Rows are
    /// numbered as [`listeners`](Self::listeners).
    pub fn features(&self) -> Result<UserFeatures> {
        let listeners = || self.listeners.iter();
        UserFeatures::builder()
            .category(
                "instrument",
                listeners().map(|l| (l.id.as_str(), l.instrument)),
            )?
            .category(
                "circle",
                listeners().map(|l| (l.id.as_str(), format!("circle-{}", l.circle))),
            )?
            .build()
    }

    /// Writes one line per play, `listener,tune,time,session`, under a comment that says the log is
    /// simulated.
    pub fn write_csv(&self, mut out: impl Write) -> std::io::Result<()> {
        writeln!(
            out,
            "# simulated by refrain-data, seed {}: these listeners do not exist",
            self.seed
        )?;
        writeln!(out, "listener,tune,time,session")?;
        for play in &self.plays {
            let listener = self
                .listeners
                .get(play.listener as usize)
                .map_or("", |l| l.id.as_str());
            let tune = self
                .tunes
                .get(play.tune as usize)
                .map_or("", String::as_str);
            writeln!(out, "{listener},{tune},{},{}", play.time, play.session)?;
        }
        out.flush()
    }

    /// [`write_csv`](Self::write_csv) into a file.
    pub fn save_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let file = std::fs::File::create(path).map_err(|e| Error::io(path, e))?;
        self.write_csv(std::io::BufWriter::new(file))
            .map_err(|e| Error::io(path, e))
    }
}
