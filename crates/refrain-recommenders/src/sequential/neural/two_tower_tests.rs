//! Two towers: what they learn, and new items by their features.

use refrain_data::Interactions;

use super::tests::{cpu, quick};
use super::*;
use crate::Error;
use crate::conformance::blocks_log;

/// Without times the item that validation holds out is one by chance, not always the last number's.
#[test]
fn two_towers_learn_every_item_without_times() {
    use crate::Recommender;
    let timed = blocks_log();
    let mut builder = Interactions::builder().ids(timed.shared_users(), timed.shared_items());
    for event in timed.iter() {
        let id = timed.items().name(event.item).unwrap();
        let user = timed.users().name(event.user).unwrap();
        builder.push(user, id, event.weight, None).unwrap();
    }
    let log = builder.build().unwrap();
    let tower = small_tower();
    let training = Training {
        validate: true,
        ..tower.training.clone()
    };
    let model = TwoTower { training, ..tower }.fit(&log, &cpu()).unwrap();
    let near = model.similar_items("i29", 5).unwrap();
    let alike = near
        .iter()
        .filter(|r| r.item[1..].parse::<usize>().unwrap() % 3 == 2);
    assert!(alike.count() >= 4, "{near:?}");
}

/// A tower that looks at the newest needs to know what is new.
#[test]
fn events_without_times_do_not_undo_those_of_the_fit() {
    use crate::Recommender;
    let mut model = TwoTower {
        training: quick(1),
        ..small_tower()
    }
    .fit(&blocks_log(), &cpu())
    .unwrap();
    let before = model.sequences().clone();
    let news = Interactions::from_events([("u1", "i90", 1.0)]).unwrap();
    assert!(matches!(model.update(&news), Err(Error::Data { .. })));
    assert_eq!(model.sequences(), &before);
}

pub(super) fn small_tower() -> TwoTower {
    TwoTower {
        width: 16,
        hidden: 16,
        dropout: 0.0,
        training: quick(120),
        ..TwoTower::default()
    }
}

#[test]
fn new_items_are_recommended_by_their_features() {
    use crate::Recommender;
    use refrain_data::ItemFeatures;
    let log = blocks_log();
    // Items i30 … i35 exist, and nobody had them; the kind of an item is its block.
    let ids = (0..36).map(|i| format!("i{i}"));
    let items = std::sync::Arc::new(refrain_core::IdMap::from_ids(ids).unwrap());
    let mut builder = Interactions::builder().ids(log.shared_users(), items);
    for event in log.iter() {
        let id = log.items().name(event.item).unwrap();
        let user = log.users().name(event.user).unwrap();
        builder.push(user, id, event.weight, event.time).unwrap();
    }
    let log = builder.build().unwrap();
    let kinds = (0..36).map(|i| (format!("i{i}"), format!("block{}", i % 3)));
    let builder = ItemFeatures::builder().category("kind", kinds).unwrap();
    let features = builder.build().unwrap();
    let tower = TwoTower {
        cold: 0.3,
        ..small_tower()
    };
    let model = tower.fit_features(&log, &features, &cpu()).unwrap();
    let new: Vec<String> = (30..36).map(|i| format!("i{i}")).collect();
    for u in 0..36 {
        let query = crate::Query::top(2).allow(new.clone());
        let best = model.recommend_where(&format!("u{u}"), &query).unwrap();
        for r in best {
            let number: usize = r.item[1..].parse().unwrap();
            assert_eq!(number % 3, u % 3, "u{u}: {r:?}");
        }
    }
    // And those who come after the fit, as well as a saved model knows them.
    let mut model = model;
    let later = (0..39).map(|i| (format!("i{i}"), format!("block{}", i % 3)));
    let builder = ItemFeatures::builder().category("kind", later).unwrap();
    let later = builder.build().unwrap();
    assert_eq!(model.add_items(&later).unwrap(), 3);
    assert_eq!(model.add_items(&later).unwrap(), 0);
    let item = |id: &str| model.items().get(id).unwrap();
    assert_eq!(
        model.item_vector(item("i36")).unwrap(),
        model.item_vector(item("i33")).unwrap()
    );
    let bytes = model.to_file().unwrap().to_bytes().unwrap();
    let file = refrain_core::ModelFile::from_bytes(bytes).unwrap();
    let loaded = NextItemModel::read(&file).unwrap();
    for u in 0..36 {
        let query = crate::Query::top(1).allow(["i36", "i37", "i38"]);
        let best = loaded.recommend_where(&format!("u{u}"), &query).unwrap();
        let number: usize = best[0].item[1..].parse().unwrap();
        assert_eq!(number % 3, u % 3, "u{u}");
    }
    let strangers = ItemFeatures::builder()
        .category("kind", [("x", "y")])
        .unwrap()
        .build()
        .unwrap();
    let error = tower.fit_features(&log, &strangers, &cpu()).unwrap_err();
    assert!(error.to_string().contains("no item of the log"), "{error}");
    let mut plain = small_tower().fit(&log, &cpu()).unwrap();
    assert!(matches!(
        plain.add_items(&later),
        Err(Error::Unsupported { .. })
    ));
}

#[test]
fn a_context_of_one_reads_one_item() {
    use crate::Recommender;
    let config = TwoTower {
        context: 1,
        training: quick(5),
        ..small_tower()
    };
    let model = config.fit(&blocks_log(), &cpu()).unwrap();
    let scores = |item: u32| {
        let mut scores = vec![0.0; 30];
        model.score_history(&[(item, 1.0)], &mut scores).unwrap();
        scores
    };
    assert_ne!(scores(0), scores(1));
}

crate::conformance!(two_tower, personal, |log| small_tower().fit(log, &cpu()));

crate::conformance!(two_tower_in_batch, personal, |log| {
    let loss = NextItemLoss::InBatchSoftmax;
    let tower = small_tower();
    let training = Training {
        loss,
        ..tower.training.clone()
    };
    TwoTower { training, ..tower }.fit(log, &cpu())
});
