//! Learning and forgetting without a fit.

use refrain_data::Interactions;

use super::factors::Factors;
use super::solve::Method;
use super::sweep::half_sweep;
use super::{Als, AlsModel, Error, NAME, OVERFLOW};
use crate::{Change, Memory, Result};

impl AlsModel {
    /// Users by the events, then the touched items exactly, then all users exactly.
    pub(super) fn learn(&self, events: &Interactions) -> Result<Self> {
        let memory = self.memory.extended(events)?;
        let touched = events.items().iter().map(|id| memory.items().get(id));
        let mut kept = vec![true; memory.n_items()];
        for item in touched.flatten() {
            if let Some(kept) = kept.get_mut(item as usize) {
                *kept = false;
            }
        }
        let (mut x, mut y) = (self.users.clone(), self.items.clone());
        x.resize(memory.n_users() * self.config.factors, 0.0);
        y.resize(memory.n_items() * self.config.factors, 0.0);
        self.config.refresh(&memory, &x, &y, Some(kept))
    }

    pub(super) fn without_user(&self, user: u32) -> Result<Self> {
        let memory = self.memory.without_user(user)?;
        let mut model = self.clone();
        let f = self.config.factors;
        model
            .users
            .drain(user as usize * f..(user as usize + 1) * f);
        model.memory = memory;
        Ok(model)
    }

    pub(super) fn without_item(&self, item: u32) -> Result<Self> {
        let memory = self.memory.without_item(item)?;
        let mut y = self.items.clone();
        let f = self.config.factors;
        y.drain(item as usize * f..(item as usize + 1) * f);
        self.config.refresh(&memory, &self.users, &y, None)
    }

    pub(super) fn become_one(&mut self, other: Result<Self>) -> Result<Change> {
        *self = other?;
        Ok(Change::Approximate)
    }
}

impl Als {
    /// A model of `memory` from factors that are nearly right: items that are not `kept` are solved
    /// (`None`: no item is), and then all users.
    fn refresh(
        &self,
        memory: &Memory,
        x: &[f32],
        y: &[f32],
        kept: Option<Vec<bool>>,
    ) -> Result<AlsModel> {
        let log = memory.to_log()?;
        let (users, mut items, of_users) = self.sides(&log)?;
        let mut x = Factors::from_dense(x, self.factors);
        let mut y = Factors::from_dense(y, self.factors);
        let pool = Default::default();
        let diverged = || Error::Diverged {
            model: NAME,
            iteration: 0,
            reason: OVERFLOW.to_string(),
        };
        if let Some(kept) = kept {
            half_sweep(&users, &mut x, &mut y, self.method(), &pool).ok_or_else(diverged)?;
            items.kept = kept;
            half_sweep(&items, &mut y, &mut x, Method::Exact, &pool).ok_or_else(diverged)?;
        }
        let half = half_sweep(&users, &mut x, &mut y, Method::Exact, &pool);
        let spectrum = half.ok_or_else(diverged)?.spectrum;
        let (x, y) = (x.to_dense(), y.to_dense());
        let (config, memory) = (self.clone(), memory.clone());
        Ok(AlsModel::new(
            config,
            memory,
            of_users,
            spectrum,
            x,
            y,
            Vec::new(),
        ))
    }
}
