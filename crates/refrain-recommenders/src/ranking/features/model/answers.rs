//! What a fitted hybrid answers.

use refrain_core::kernels::{self, Scored};
use refrain_core::{IdMap, ModelWriter};
use refrain_data::{Interactions, ItemFeatures};

use super::super::super::fold::row;
use super::super::super::model::best_products;
use super::{FeatureModel, KIND, encoded};
use crate::neighbours::sparse::Csr;
use crate::{Change, Contribution, Memory, Query, Reason, Recommender, Result, Who};

impl Recommender for FeatureModel {
    fn name(&self) -> String {
        self.config.settings().model.to_string()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_scores(out)?;
        kernels::scores(row(&self.users, user, self.width()), &self.items, out);
        Ok(())
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.memory.check_scores(out)?;
        kernels::scores(&self.fold_in(history)?, &self.items, out);
        Ok(())
    }

    /// The cosine of the items' vectors.
    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        kernels::cosines(row(&self.items, item, self.width()), &self.items, out);
        Ok(())
    }

    /// The cosine of the users' vectors.
    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_user(user)?;
        self.memory.check_user_scores(out)?;
        kernels::cosines(row(&self.users, user, self.width()), &self.users, out);
        Ok(())
    }

    /// What each feature of the item adds for this user.
    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let folded;
        let user = match who {
            Who::User(user) => {
                self.memory.check_user(user)?;
                row(&self.users, user, self.width())
            }
            Who::History(history) => {
                folded = self.fold_in(history)?;
                &folded
            }
        };
        if self.of_items.row(item).0.is_empty() {
            return Ok(Vec::new());
        }
        let mut sum = vec![0.0; self.width()];
        let mut parts = Vec::new();
        for (feature, x) in self.of_items.pairs(item) {
            let embedding = row(&self.item_embeddings, feature, self.width());
            kernels::axpy(x, embedding, &mut sum);
            let name = (feature as usize)
                .checked_sub(self.fitted)
                .and_then(|at| self.item_encoder.as_ref()?.names().get(at).cloned());
            let reason = name.map_or(
                Reason::Constant("what those who had it have in common"),
                Reason::Feature,
            );
            parts.push(Contribution::new(reason, x * kernels::dot(user, embedding)));
        }
        let popular = user.last().copied().unwrap_or_default();
        let together = popular * self.pairs(item, &sum);
        parts.push(Contribution::new(
            Reason::Constant("how its features go together"),
            together,
        ));
        let average = -kernels::dot(user, &self.centre);
        parts.push(Contribution::new(
            Reason::Constant("less the average item"),
            average,
        ));
        Ok(parts)
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        let width = self.width();
        let config = (&self.config, &self.item_encoder, &self.user_encoder);
        let writer = self
            .memory
            .write(ModelWriter::new(KIND, 1).config(&config)?)?;
        let writer = self.of_items.write(writer, "of_items")?;
        let writer = self.of_users.write(writer, "of_users")?;
        let columns = self.item_embeddings.len() / width;
        let features = self.user_embeddings.len() / width;
        Ok(writer
            .u64("fitted", &[1], vec![self.fitted as u64])?
            .f32("item_embeddings", &[columns, width], &self.item_embeddings)?
            .f32("user_embeddings", &[features, width], &self.user_embeddings)?
            .f32("centre", &[width], &self.centre)?
            .f32("items", &[self.memory.n_items(), width], &self.items)?
            .f32("users", &[self.memory.n_users(), width], &self.users)?
            .f32("average", &[width], &self.average)?)
    }

    fn top(&self, users: &[u32], query: &Query) -> Result<Vec<Vec<Scored>>> {
        best_products(
            &self.memory,
            (&self.users, &self.items),
            self.width(),
            users,
            query,
        )
    }

    fn add_items(&mut self, features: &ItemFeatures) -> Result<usize> {
        let Some(encoder) = &self.item_encoder else {
            return Err(self.unsupported("add items: it was fitted without their features"));
        };
        let rows = encoded(encoder, features, self.config.features().1)?;
        let before = self.memory.n_items();
        let memory = self.memory.with_ids(IdMap::new(), features.ids().clone())?;
        let fitted = self.fitted as u32;
        for id in memory.items().iter().skip(before) {
            let at = features.ids().get(id).unwrap_or(u32::MAX);
            let own = rows.pairs(at).map(|(feature, x)| (fitted + feature, x));
            self.of_items.push_row(own);
        }
        self.memory = memory;
        self.place_new(before);
        Ok(self.memory.n_items() - before)
    }

    /// Solves for the users with their new events; embeddings stay. New users and items have no
    /// features: add those that have with [`add_users`](Self::add_users) and
    /// [`add_items`](Self::add_items) first. An item without any is an average one.
    fn update(&mut self, events: &Interactions) -> Result<Change> {
        let mut new = self.clone();
        new.memory = self.memory.extended(events)?;
        (self.memory.n_users()..new.memory.n_users()).for_each(|_| new.of_users.push_row([]));
        (self.memory.n_items()..new.memory.n_items()).for_each(|_| new.of_items.push_row([]));
        new.place_new(self.memory.n_items());
        new.solve()?;
        *self = new;
        Ok(Change::Approximate)
    }

    /// The user's own row is gone; what the embeddings learned from it stays.
    fn forget_user(&mut self, user: &str) -> Result<Change> {
        let user = self.memory.user(user)?;
        let width = self.width();
        self.memory = self.memory.without_user(user)?;
        let mut rows = Csr::with_width(self.of_users.width());
        for other in (0..self.of_users.n_rows() as u32).filter(|&other| other != user) {
            rows.push_row(self.of_users.pairs(other));
        }
        self.of_users = rows;
        self.users
            .drain(user as usize * width..(user as usize + 1) * width);
        Ok(Change::Approximate)
    }

    /// The item's row and its own embedding are gone and users are solved for without it; what else
    /// was learned from it stays, in other embeddings and in the average user.
    fn forget_item(&mut self, item: &str) -> Result<Change> {
        let item = self.memory.item(item)?;
        let mut new = self.clone();
        new.memory = self.memory.without_item(item)?;
        new.drop_item(item);
        new.solve()?;
        *self = new;
        Ok(Change::Approximate)
    }
}
