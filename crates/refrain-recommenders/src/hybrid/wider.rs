//! A member beside others that know more items.

use std::sync::Arc;

use refrain_core::ModelWriter;

use super::mix::unseen;
use crate::{Contribution, Error, Memory, Reason, Recommender, Result, Who};

/// A model that takes the items it does not know, which follow its own, for its average item: in a
/// blend it speaks neither for them nor against them.
///
/// Its file is the model's; a blend that is read makes it anew.
pub(super) struct Wider {
    model: Arc<dyn Recommender>,
    memory: Memory,
}

impl Wider {
    /// `memory` has the model's users and items, and more items.
    pub(super) fn new(model: Arc<dyn Recommender>, memory: Memory) -> Self {
        Self { model, memory }
    }

    fn known(&self) -> usize {
        self.model.memory().n_items()
    }

    /// The history as far as the model knows it.
    fn cut(&self, history: &[(u32, f32)]) -> Vec<(u32, f32)> {
        let known = self.known();
        let (own, _): (Vec<_>, Vec<_>) = history
            .iter()
            .partition(|(item, _)| (*item as usize) < known);
        own
    }

    /// Scores of the model's items, and their mean for all others.
    fn fill(
        &self,
        seen: &[u32],
        out: &mut [f32],
        score: impl FnOnce(&mut [f32]) -> Result<()>,
    ) -> Result<()> {
        self.memory.check_scores(out)?;
        let (own, others) = out.split_at_mut(self.known());
        score(own)?;
        let n = unseen(own, seen).count().max(1) as f64;
        let mean = unseen(own, seen).map(f64::from).sum::<f64>() / n;
        others.fill(mean as f32);
        Ok(())
    }
}

impl Recommender for Wider {
    fn name(&self) -> String {
        self.model.name()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.fill(self.model.history(user).0, out, |own| {
            self.model.score(user, own)
        })
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        let (seen, _) = self.memory.tidy(history)?;
        let history = self.cut(history);
        self.fill(&seen, out, |own| self.model.score_history(&history, own))
    }

    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        self.memory.check_scores(out)?;
        let (own, others) = out.split_at_mut(self.known());
        others.fill(0.0);
        match (item as usize) < own.len() {
            true => self.model.similarity(item, own),
            false => {
                own.fill(0.0);
                Ok(())
            }
        }
    }

    fn user_similarity(&self, user: u32, out: &mut [f32]) -> Result<()> {
        self.model.user_similarity(user, out)
    }

    fn contributions(&self, who: Who<'_>, item: u32) -> Result<Vec<Contribution>> {
        self.memory.check_item(item)?;
        let cut;
        let own = match who {
            Who::User(user) => Who::User(user),
            Who::History(history) => {
                cut = self.cut(history);
                Who::History(&cut)
            }
        };
        if (item as usize) < self.known() {
            return self.model.contributions(own, item);
        }
        let mut scores = vec![0.0; self.memory.n_items()];
        match who {
            Who::User(user) => self.score(user, &mut scores)?,
            Who::History(history) => self.score_history(history, &mut scores)?,
        }
        let score = scores.get(item as usize).copied().unwrap_or_default();
        let reason = Reason::Constant("its average item, since it does not know this one");
        Ok(vec![Contribution::new(reason, score)])
    }

    fn to_file(&self) -> Result<ModelWriter<'_>> {
        self.model.to_file()
    }
}

/// The memory of the model with the most items; the others' are the same but for its last ones.
pub(super) fn widest<'a>(models: impl Iterator<Item = (&'a str, &'a Memory)>) -> Result<Memory> {
    let models: Vec<(&str, &Memory)> = models.collect();
    let most = models
        .iter()
        .rev()
        .max_by_key(|(_, memory)| memory.n_items());
    let Some((left, memory)) = most else {
        return Err(Error::Data {
            model: "blend",
            reason: "it has no members".to_string(),
        });
    };
    for (right, other) in &models {
        let mut items = other.items().iter().zip(memory.items().iter());
        for (what, same) in [
            ("users", other.users() == memory.users()),
            ("items", items.all(|(a, b)| a == b)),
        ] {
            if !same {
                return Err(Error::Mismatch {
                    left: left.to_string(),
                    right: right.to_string(),
                    what,
                });
            }
        }
    }
    Ok((*memory).clone())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use refrain_core::ModelFile;
    use refrain_data::{Interactions, ItemFeatures};

    use crate::{Als, BlendModel, CascadeModel, ContentBased, Error, Mix, Popularity, Recommender};

    /// Two genres of ten items; fifty users with a taste for one of them.
    fn log() -> Interactions {
        let events = (0..50).flat_map(|u| {
            let taste = u % 2 * 10;
            (0..6).map(move |i| {
                (
                    format!("u{u}"),
                    format!("i{}", taste + (u / 2 + i) % 10),
                    1.0,
                )
            })
        });
        Interactions::from_events(events).unwrap()
    }

    fn features(items: impl Iterator<Item = usize>) -> ItemFeatures {
        let genre = |i: usize| ["folk", "rock"][i / 10 % 2];
        let rows = items.map(|i| (format!("i{i}"), genre(i)));
        let builder = ItemFeatures::builder().category("genre", rows).unwrap();
        builder.build().unwrap()
    }

    fn members() -> Vec<(Arc<dyn Recommender>, f32)> {
        let log = log();
        let content = ContentBased::default().fit(&log, &features(0..20)).unwrap();
        vec![
            (
                Arc::new(
                    Als {
                        factors: 4,
                        ..Als::default()
                    }
                    .fit(&log)
                    .unwrap(),
                ),
                1.0,
            ),
            (Arc::new(content), 1.0),
            (Arc::new(Popularity::default().fit(&log).unwrap()), 0.5),
        ]
    }

    #[test]
    fn new_items_are_recommended_by_the_members_that_can_place_them() {
        for mix in [Mix::Scores, Mix::ranks()] {
            let mut model = BlendModel::new(mix, members()).unwrap();
            let before = model.recommend("u2", 20).unwrap();
            // i20 is folk, i30 is rock.
            let new = features([20, 30].into_iter());
            assert_eq!(model.add_items(&new).unwrap(), 2);
            assert_eq!(model.add_items(&new).unwrap(), 0, "they are there already");
            let place = |model: &dyn Recommender, user: &str, item: &str| {
                let list = model.recommend(user, 30).unwrap();
                list.iter().position(|r| r.item == item).unwrap()
            };
            assert!(place(&model, "u2", "i20") < place(&model, "u2", "i30"));
            assert!(place(&model, "u3", "i30") < place(&model, "u3", "i20"));
            // The best of those that were known stay in their order.
            let after = model.recommend("u2", 30).unwrap();
            let order = |list: &[crate::Recommendation]| {
                let known = list.iter().filter(|r| r.item != "i20" && r.item != "i30");
                known.take(4).map(|r| r.item.clone()).collect::<Vec<_>>()
            };
            assert_eq!(order(&after), order(&before));
            assert_eq!(after.len(), before.len() + 2);

            // The parts add up for new items too, and histories may hold them.
            for item in ["i20", "i3"] {
                let why = model.explain("u2", item).unwrap();
                let sum: f32 = why.reasons.iter().map(|c| c.weight).sum();
                assert!((sum - why.score).abs() < 1e-4, "{mix:?} {why:?}");
            }
            let list = model
                .recommend_for(&[("i20", 1.0), ("i3", 1.0)], 5)
                .unwrap();
            assert!(list.iter().all(|r| r.item != "i20"));
            let why = model.explain_for(&[("i20", 1.0)], "i30").unwrap();
            let sum: f32 = why.reasons.iter().map(|c| c.weight).sum();
            assert!((sum - why.score).abs() < 1e-4, "{why:?}");

            // Read again it is the same, and what it gained can be forgotten.
            let bytes = model.to_file().unwrap().to_bytes().unwrap();
            let mut again = crate::from_file(&ModelFile::from_bytes(bytes).unwrap()).unwrap();
            assert_eq!(
                again.recommend("u3", 9).unwrap(),
                model.recommend("u3", 9).unwrap()
            );
            again.forget_item("i3").unwrap();
            again.forget_item("i20").unwrap();
            assert!(again.items().get("i20").is_none() && again.items().get("i30").is_some());
        }
    }

    #[test]
    fn what_no_member_can_place_is_refused() {
        let log = log();
        let popular: Arc<dyn Recommender> = Arc::new(Popularity::default().fit(&log).unwrap());
        let als: Arc<dyn Recommender> = Arc::new(Als::default().fit(&log).unwrap());
        let mut model = CascadeModel::new([(als, 5)], popular).unwrap();
        let error = model.add_items(&features([20].into_iter())).unwrap_err();
        assert!(matches!(error, Error::Unsupported { .. }), "{error}");
        assert!(model.items().get("i20").is_none());
    }
}
