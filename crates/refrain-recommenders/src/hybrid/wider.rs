//! A member beside others that know more items.

use std::sync::Arc;

use refrain_core::{IdMap, ModelWriter};

use super::mix::unseen;
use crate::{Contribution, Error, Memory, Reason, Recommender, Result, Who};

/// A model that takes the items it does not know for its average item: in a blend it speaks neither for
/// them nor against them.
///
/// Its file is the model's; a blend that is read makes it anew.
pub(super) struct Wider {
    model: Arc<dyn Recommender>,
    memory: Memory,
    /// For each of the model's items its number here.
    places: Vec<u32>,
    /// For each item here its number in the model, or [`UNKNOWN`].
    numbers: Vec<u32>,
}

const UNKNOWN: u32 = u32::MAX;

impl Wider {
    /// `memory` has the model's users, and all its items among others.
    pub(super) fn new(model: Arc<dyn Recommender>, memory: Memory) -> Self {
        let mut numbers = vec![UNKNOWN; memory.n_items()];
        let mut places = Vec::new();
        for (number, id) in (0u32..).zip(model.items().iter()) {
            let place = memory.items().get(id).unwrap_or(UNKNOWN);
            if let Some(own) = numbers.get_mut(place as usize) {
                *own = number;
            }
            places.push(place);
        }
        Self {
            model,
            memory,
            places,
            numbers,
        }
    }

    /// The item's number in the model.
    fn own(&self, item: u32) -> Option<u32> {
        let number = self.numbers.get(item as usize).copied();
        number.filter(|&number| number != UNKNOWN)
    }

    /// The history as far as the model knows it.
    fn cut(&self, history: &[(u32, f32)]) -> Vec<(u32, f32)> {
        let own = |&(item, weight): &(u32, f32)| Some((self.own(item)?, weight));
        history.iter().filter_map(own).collect()
    }

    /// The model's values at its items' places, and for all others what `rest` makes of them.
    fn spread(
        &self,
        out: &mut [f32],
        values: impl FnOnce(&mut [f32]) -> Result<()>,
        rest: impl FnOnce(&[f32]) -> f32,
    ) -> Result<()> {
        self.memory.check_scores(out)?;
        let mut own = vec![0.0; self.places.len()];
        values(&mut own)?;
        out.fill(rest(&own));
        for (&place, value) in self.places.iter().zip(own) {
            if let Some(out) = out.get_mut(place as usize) {
                *out = value;
            }
        }
        Ok(())
    }
}

/// The mean of the scores of what is not in `seen`, which ascends.
fn mean(scores: &[f32], seen: &[u32]) -> f32 {
    let n = unseen(scores, seen).count().max(1) as f64;
    (unseen(scores, seen).map(f64::from).sum::<f64>() / n) as f32
}

impl Recommender for Wider {
    fn name(&self) -> String {
        self.model.name()
    }

    fn memory(&self) -> &Memory {
        &self.memory
    }

    fn score(&self, user: u32, out: &mut [f32]) -> Result<()> {
        let seen = self.model.history(user).0;
        let score = |own: &mut [f32]| self.model.score(user, own);
        self.spread(out, score, |own| mean(own, seen))
    }

    fn score_history(&self, history: &[(u32, f32)], out: &mut [f32]) -> Result<()> {
        self.memory.tidy(history)?;
        let history = self.cut(history);
        let mut seen: Vec<u32> = history.iter().map(|&(item, _)| item).collect();
        seen.sort_unstable();
        seen.dedup();
        let score = |own: &mut [f32]| self.model.score_history(&history, own);
        self.spread(out, score, |own| mean(own, &seen))
    }

    fn similarity(&self, item: u32, out: &mut [f32]) -> Result<()> {
        self.memory.check_item(item)?;
        let values = |own: &mut [f32]| match self.own(item) {
            Some(item) => self.model.similarity(item, own),
            None => Ok(()),
        };
        self.spread(out, values, |_| 0.0)
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
        if let Some(item) = self.own(item) {
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

/// A memory with the items of all models, which have the same users, and share at least half of the
/// items of the one that knows the fewest: the others were added to some of them later.
pub(super) fn union<'a>(models: impl Iterator<Item = (&'a str, &'a Memory)>) -> Result<Memory> {
    let models: Vec<(&str, &Memory)> = models.collect();
    let fewest = models.iter().min_by_key(|(_, memory)| memory.n_items());
    let most = models
        .iter()
        .rev()
        .max_by_key(|(_, memory)| memory.n_items());
    let (Some((left, common)), Some((_, widest))) = (fewest, most) else {
        return Err(Error::Data {
            model: "blend",
            reason: "it has no members".to_string(),
        });
    };
    let mut all = (*widest).clone();
    for (right, other) in &models {
        let shared = common.items().iter();
        let shared = shared.filter(|id| other.items().get(id).is_some()).count();
        for (what, same) in [
            ("users", other.users() == common.users()),
            ("items", 2 * shared >= common.n_items()),
        ] {
            if !same {
                return Err(Error::Mismatch {
                    left: left.to_string(),
                    right: right.to_string(),
                    what,
                });
            }
        }
        if other.items().iter().any(|id| all.items().get(id).is_none()) {
            all = all.with_ids(IdMap::new(), other.items().clone())?;
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use refrain_core::ModelFile;
    use refrain_data::{Interactions, ItemFeatures};

    use crate::{
        Als, BlendModel, CascadeModel, ContentBased, Error, Mix, Popularity, Recommender,
        StackModel, StackWeights, SwitchModel,
    };

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
            // A member that cannot place new items meets the second of them first.
            let events = [("u3", "i30", 1.0)];
            again
                .update(&Interactions::from_events(events).unwrap())
                .unwrap();
            let list = again.recommend("u3", 40).unwrap();
            assert!(list.iter().all(|r| r.item != "i30") && list.iter().any(|r| r.item == "i20"));
            let why = again.explain("u3", "i20").unwrap();
            let sum: f32 = why.reasons.iter().map(|c| c.weight).sum();
            assert!((sum - why.score).abs() < 1e-4, "{why:?}");
            again.forget_item("i3").unwrap();
            again.forget_item("i20").unwrap();
            assert!(again.items().get("i20").is_none() && again.items().get("i30").is_some());
        }
    }

    #[test]
    fn switches_and_stacks_take_new_items_too() {
        let models = || members().into_iter().map(|(model, _)| model);
        let weights = StackWeights {
            members: vec![[1.0, 0.0, 0.5, 0.0]; 3],
            context: (0.0, 1.0),
        };
        let stack = StackModel::new(models(), weights).unwrap();
        // Short histories are the content model's.
        let content = models().nth(1).unwrap();
        let switch = SwitchModel::new([(0, content), (9, models().next().unwrap())]).unwrap();
        let all: [Box<dyn Recommender>; 2] = [Box::new(stack), Box::new(switch)];
        for mut model in all {
            let new = features([20, 30].into_iter());
            assert_eq!(model.add_items(&new).unwrap(), 2);
            for (user, near, far) in [("u2", "i20", "i30"), ("u3", "i30", "i20")] {
                let list = model.recommend(user, 30).unwrap();
                let place = |item: &str| list.iter().position(|r| r.item == item).unwrap();
                assert!(place(near) < place(far), "{} {user}", model.name());
            }
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
