//! Learning and forgetting without a fit.

use refrain_data::Interactions;

use super::factors::Factors;
use super::model::Basis;
use super::solve::Method;
use super::sweep::half_sweep;
use super::{AlsModel, Error, NAME, OVERFLOW};
use crate::{Change, Memory, Result};

/// Which rows are solved, and which only carried along.
struct Touched {
    users: Vec<u32>,
    /// `None`: no item is solved.
    items: Option<Vec<u32>>,
}

impl AlsModel {
    /// The touched users, then the touched items, then all users by the solver's steps and the touched
    /// ones exactly.
    pub(super) fn learn(&self, events: &Interactions) -> Result<Self> {
        let memory = self.memory.extended(events)?;
        let users = events
            .users()
            .iter()
            .filter_map(|id| memory.users().get(id));
        let items = events
            .items()
            .iter()
            .filter_map(|id| memory.items().get(id));
        let touched = Touched {
            users: users.collect(),
            items: Some(items.collect()),
        };
        let (mut x, mut y) = (self.users.clone(), self.items.clone());
        x.resize(memory.n_users() * self.config.width(), 0.0);
        y.resize(memory.n_items() * self.config.width(), 0.0);
        self.refresh(&memory, &x, &y, &touched)
    }

    pub(super) fn without_user(&self, user: u32) -> Result<Self> {
        let memory = self.memory.without_user(user)?;
        let mut model = self.clone();
        let f = self.config.width();
        model
            .users
            .drain(user as usize * f..(user as usize + 1) * f);
        model.memory = memory;
        Ok(model)
    }

    pub(super) fn without_item(&self, item: u32) -> Result<Self> {
        let memory = self.memory.without_item(item)?;
        let had = |user: &u32| self.memory.history(*user).0.binary_search(&item).is_ok();
        let touched = Touched {
            users: (0..memory.n_users() as u32).filter(had).collect(),
            items: None,
        };
        let mut y = self.items.clone();
        let f = self.config.width();
        y.drain(item as usize * f..(item as usize + 1) * f);
        self.refresh(&memory, &self.users, &y, &touched)
    }

    pub(super) fn become_one(&mut self, other: Result<Self>) -> Result<Change> {
        *self = other?;
        Ok(Change::Approximate)
    }

    /// A model of `memory` from factors that are nearly right.
    fn refresh(&self, memory: &Memory, x: &[f32], y: &[f32], touched: &Touched) -> Result<Self> {
        let (log, config) = (memory.to_log()?, &self.config);
        let (mut users, mut items, of_users) = config.sides(&log)?;
        let [of_x, of_y] = self.pins();
        let mut x = Factors::from_dense(x, config.width()).held(of_x);
        let mut y = Factors::from_dense(y, config.width()).held(of_y);
        let pool = Default::default();
        let diverged = || Error::Diverged {
            model: NAME,
            iteration: 0,
            reason: OVERFLOW.to_string(),
        };
        if let Some(rows) = &touched.items {
            users.kept = all_but(memory.n_users(), &touched.users);
            items.kept = all_but(memory.n_items(), rows);
            half_sweep(&users, &mut x, &mut y, Method::Exact, &pool).ok_or_else(diverged)?;
            half_sweep(&items, &mut y, &mut x, Method::Exact, &pool).ok_or_else(diverged)?;
            users.kept = Vec::new();
        }
        let half = half_sweep(&users, &mut x, &mut y, config.method(), &pool);
        let basis = Basis::new(half.ok_or_else(diverged)?.spectrum, &x, &y);
        let (x, y) = (x.into_dense(), y.into_dense());
        let (f, losses) = (config.width(), Vec::new());
        let (config, memory) = (config.clone(), memory.clone());
        let mut model = Self::new(config, memory, of_users, basis, x, y, losses);
        for &user in &touched.users {
            let (items, weights) = model.memory.history(user);
            let history = items.iter().copied().zip(weights.iter().copied());
            let factors = model.fold_in(&history.collect::<Vec<_>>())?;
            let at = user as usize * f;
            if let Some(row) = model.users.get_mut(at..at + f) {
                row.copy_from_slice(&factors);
            }
        }
        Ok(model)
    }
}

/// Every row but these is kept.
fn all_but(rows: usize, touched: &[u32]) -> Vec<bool> {
    let mut kept = vec![true; rows];
    for &row in touched {
        if let Some(kept) = kept.get_mut(row as usize) {
            *kept = false;
        }
    }
    kept
}
