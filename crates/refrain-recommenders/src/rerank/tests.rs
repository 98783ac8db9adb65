use std::sync::Arc;

use refrain_core::ModelFile;
use refrain_data::Interactions;

use super::*;
use crate::conformance::blocks_log;
use crate::{ItemKnn, Popularity, Query, Recommender, Who};

fn item(i: usize) -> String {
    format!("i{i}")
}

fn knn(log: &Interactions) -> Arc<dyn Recommender> {
    Arc::new(ItemKnn::default().fit(log).unwrap())
}

/// Item i is of group i mod 3, as in the log's blocks.
fn groups() -> Groups {
    Groups::new((0..30).map(|i| (item(i), format!("g{}", i % 3))))
}

fn all(log: &Interactions) -> Vec<Reranked> {
    let artists = Groups::new((0..30).map(|i| (item(i), format!("artist {}", i / 10))));
    let ways: Vec<Rerank> = vec![
        Mmr::default().into(),
        Mmr {
            lambda: 0.5,
            alike: Alike::Groups(groups()),
        }
        .into(),
        Debias { strength: 0.5 }.into(),
        Calibrate::new(groups()).into(),
        Rules::new()
            .deny(["i1", "i9"])
            .cap(artists, 2)
            .fresh_first(["i4", "i17", "i28"])
            .into(),
        Explore::epsilon(0.5, 3).into(),
        Explore::thompson(2.0, 3).into(),
    ];
    let model = knn(log);
    ways.into_iter()
        .map(|how| Reranked::new(model.clone(), how).unwrap())
        .collect()
}

#[test]
fn lists_are_honest_whatever_the_order() {
    let log = blocks_log();
    let plain = knn(&log);
    for model in all(&log) {
        let mut moved = false;
        for user in 0..36 {
            let id = format!("u{user}");
            let seen = model.history(user).0;
            let named = |i: &u32| model.items().name(*i).unwrap().to_string();
            let seen: Vec<String> = seen.iter().map(named).collect();
            let whole = model.recommend(&id, 1000).unwrap();
            let mut once: Vec<&str> = whole.iter().map(|r| r.item.as_str()).collect();
            once.sort_unstable();
            once.dedup();
            assert_eq!(once.len(), whole.len(), "{model:?}");
            assert!(whole.iter().all(|r| !seen.contains(&r.item)));
            let rules = matches!(model.how(), Rerank::Rules(_));
            if !rules {
                assert_eq!(whole.len(), 30 - seen.len(), "{model:?}");
            }
            let mut scores = vec![0.0; 30];
            plain.score(user, &mut scores).unwrap();
            for r in &whole {
                let at = model.items().get(r.item.as_str()).unwrap();
                assert_eq!(r.score, scores[at as usize], "the score is the model's own");
            }
            let few = model.recommend(&id, 5).unwrap();
            assert_eq!(few.len(), 5, "{model:?}");
            assert_eq!(few, model.recommend_batch(&[&id], 5).unwrap()[0]);
            moved |= few != plain.recommend(&id, 5).unwrap();
            assert!(model.recommend(&id, 0).unwrap().is_empty());

            let query = Query::top(9).deny(["i3", "i5"]).filter(|id| id != "i7");
            for r in model.recommend_where(&id, &query).unwrap() {
                assert!(!["i3", "i5", "i7"].contains(&r.item.as_str()) && !seen.contains(&r.item));
            }
            let some = Query::top(9).allow(["i2", "i29", "none"]).with_seen();
            assert_eq!(model.recommend_where(&id, &some).unwrap().len(), 2);
            let above = model
                .recommend_where(&id, &Query::top(30).above(0.0))
                .unwrap();
            assert!(above.iter().all(|r| r.score > 0.0));
            assert_eq!(
                model.explain(&id, "i8").unwrap(),
                plain.explain(&id, "i8").unwrap()
            );
        }
        assert!(moved, "{model:?} changes nothing");
        let new = model.recommend_for(&[("i1", 1.0), ("i4", 2.0)], 6).unwrap();
        assert_eq!(new.len(), 6);
        assert!(new.iter().all(|r| r.item != "i1" && r.item != "i4"));
        assert_eq!(model.recommend_for(&[], 3).unwrap().len(), 3);
        assert!(model.recommend("nobody", 3).is_err());
        assert!(model.recommend_for(&[("i1", f32::NAN)], 3).is_err());
    }
}

#[test]
fn saved_and_changed_they_answer_the_same() {
    let log = blocks_log();
    let news = Interactions::from_events([("u36", "i30", 1.0), ("u36", "i3", 1.0)]).unwrap();
    for mut model in all(&log) {
        let bytes = model.to_file().unwrap().to_bytes().unwrap();
        let again = crate::from_file(&ModelFile::from_bytes(bytes.clone()).unwrap()).unwrap();
        assert_eq!(again.name(), model.name());
        assert_eq!(again.to_file().unwrap().to_bytes().unwrap(), bytes);
        for user in ["u0", "u7", "u35"] {
            let list = model.recommend(user, 7).unwrap();
            assert_eq!(again.recommend(user, 7).unwrap(), list);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
            let single = pool.unwrap().install(|| model.recommend(user, 7).unwrap());
            assert_eq!(single, list);
        }
        // It learns and forgets when the model beneath does.
        let changed = model
            .forget_item("i20")
            .and_then(|_| model.forget_user("u35"))
            .and_then(|_| model.update(&news));
        match changed {
            Ok(_) => {
                let list = model.recommend("u36", 40).unwrap();
                assert!(list.iter().all(|r| r.item != "i20" && r.item != "i30"));
                assert!(model.recommend("u35", 3).is_err());
            }
            Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{error}"),
        }
    }
}

#[test]
fn diversity_and_rarity_rise() {
    let log = blocks_log();
    let plain = knn(&log);
    let kinds = groups().resolve(plain.items());
    let users: Vec<u32> = (0..36).collect();
    let alike = |lists: &[Vec<Scored>]| -> f32 {
        let pairs = lists.iter().flat_map(|list| {
            let of = |s: &Scored| s.index;
            list.iter()
                .flat_map(move |a| list.iter().map(move |b| (of(a), of(b))))
        });
        pairs
            .filter(|(a, b)| a != b)
            .map(|(a, b)| kinds.cosine(a, b))
            .sum()
    };
    let count = |lists: &[Vec<Scored>]| -> usize {
        let items = lists.iter().flatten();
        items.map(|s| log.item_users(s.index).0.len()).sum()
    };
    let query = Query::top(5);
    let before = plain.top(&users, &query).unwrap();
    let with = |how: Rerank| {
        let model = Reranked::new(plain.clone(), how).unwrap();
        model.top(&users, &query).unwrap()
    };
    let mut last = alike(&before);
    for lambda in [0.8, 0.5, 0.1] {
        let alike = alike(&with(
            Mmr {
                lambda,
                alike: Alike::Groups(groups()),
            }
            .into(),
        ));
        assert!(alike <= last, "{lambda}: {alike} {last}");
        last = alike;
    }
    assert!(last < 0.5 * alike(&before));
    assert!(
        alike(&with(
            Mmr {
                lambda: 0.3,
                ..Mmr::default()
            }
            .into()
        )) < alike(&before)
    );
    assert!(count(&with(Debias { strength: 0.6 }.into())) < count(&before));
    // At the ends nothing changes.
    for how in [
        Mmr {
            lambda: 1.0,
            ..Mmr::default()
        }
        .into(),
        Debias { strength: 0.0 }.into(),
        Calibrate {
            lambda: 0.0,
            ..Calibrate::new(groups())
        }
        .into(),
        Explore::epsilon(0.0, 1).into(),
        Explore::thompson(0.0, 1).into(),
        Rules::new().into(),
    ] {
        assert_eq!(with(how), before);
    }
}

#[test]
fn a_list_is_calibrated_to_a_taste() {
    // 7 of 10 of what “a” had are jigs; everyone else likes jigs only.
    let mut events: Vec<(String, String)> = Vec::new();
    for i in 0..10 {
        let kind = if i < 7 { "jig" } else { "reel" };
        events.push(("a".into(), format!("{kind} {i}")));
    }
    for other in 0..30 {
        events.push((format!("o{other}"), format!("jig {}", other % 7)));
        events.push((format!("o{other}"), format!("jig {}", 20 + other % 15)));
        events.push((format!("p{other}"), format!("reel {}", 20 + other)));
    }
    let log = events.iter().map(|(u, i)| (u.as_str(), i.as_str(), 1.0));
    let log = Interactions::from_events(log).unwrap();
    let groups = Groups::new(log.items().iter().map(|id| {
        let kind = id.split(' ').next().unwrap_or_default();
        (id.to_string(), kind.to_string())
    }));
    let model: Arc<dyn Recommender> = Arc::new(Popularity::default().fit(&log).unwrap());
    let jigs = |model: &dyn Recommender| {
        let list = model.recommend("a", 10).unwrap();
        list.iter().filter(|r| r.item.starts_with("jig")).count()
    };
    assert_eq!(jigs(&*model), 10);
    let calibrate = Calibrate {
        lambda: 0.99,
        ..Calibrate::new(groups)
    };
    let calibrated = Reranked::new(model, calibrate).unwrap();
    assert_eq!(jigs(&calibrated), 7);
}

#[test]
fn rules_hold_and_the_pool_grows_to_fill_a_list() {
    let log = blocks_log();
    let artists = Groups::new((0..30).map(|i| (item(i), format!("artist {}", i / 3))));
    let rules = Rules::new()
        .allow((0..29).map(item))
        .deny(["i2"])
        .cap(artists, 1)
        .fresh_first(["i26", "i28"]);
    let model = Reranked::new(knn(&log), rules).unwrap().pool(3);
    for user in 0..36 {
        let list = model.recommend(&format!("u{user}"), 8).unwrap();
        let number = |r: &crate::Recommendation| r.item[1..].parse::<usize>().unwrap();
        let mut seen: Vec<usize> = list.iter().map(|r| number(r) / 3).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), list.len());
        assert!(list.iter().all(|r| ![2, 29].contains(&number(r))));
        // Nine or ten artists are left; a list of eight is always filled but for what was seen.
        assert!(list.len() >= 6, "u{user}: {list:?}");
    }
    let everything = Reranked::new(knn(&log), Rules::new().fresh_first(["i26", "i28"])).unwrap();
    let list = everything.recommend("u0", 30).unwrap();
    let fresh = list
        .iter()
        .take_while(|r| ["i26", "i28"].contains(&r.item.as_str()));
    let unseen = ["i26", "i28"]
        .iter()
        .filter(|id| list.iter().any(|r| r.item == **id));
    assert_eq!(fresh.count(), unseen.count());
}

#[test]
fn exploration_is_seeded_and_as_frequent_as_asked() {
    let log = blocks_log();
    let plain = knn(&log);
    let with = |how: Explore| Reranked::new(plain.clone(), how).unwrap();
    let list = |model: &Reranked, user: &str| model.recommend(user, 5).unwrap();
    for make in [
        Explore::epsilon as fn(f32, u64) -> Explore,
        Explore::thompson,
    ] {
        let (a, b) = (with(make(0.7, 1)), with(make(0.7, 2)));
        let users: Vec<String> = (0..36).map(|u| format!("u{u}")).collect();
        assert!(users.iter().all(|u| list(&a, u) == list(&a, u)));
        assert!(users.iter().any(|u| list(&a, u) != list(&b, u)));
    }
    let explored = with(Explore::epsilon(0.3, 9));
    let mut changed = 0;
    for user in 0..36 {
        let id = format!("u{user}");
        let best = plain.recommend(&id, 1).unwrap();
        changed += usize::from(list(&explored, &id)[0] != best[0]);
    }
    assert!((4..20).contains(&changed), "{changed} of 36");
    // Someone unseen is one person, whatever the order of their history.
    let (one, two) = ([("i1", 1.0), ("i4", 2.0)], [("i4", 2.0), ("i1", 1.0)]);
    assert_eq!(
        explored.recommend_for(&one, 9).unwrap(),
        explored.recommend_for(&two, 9).unwrap()
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let log = blocks_log();
    let refused = |how: Rerank| Reranked::new(knn(&log), how).unwrap_err();
    for how in [
        Mmr {
            lambda: 1.5,
            ..Mmr::default()
        }
        .into(),
        Debias { strength: f32::NAN }.into(),
        Calibrate {
            lambda: -0.1,
            ..Calibrate::new(groups())
        }
        .into(),
        Rules::new().cap(groups(), 0).into(),
        Explore::epsilon(2.0, 0).into(),
        Explore::thompson(f32::INFINITY, 0).into(),
    ] {
        let error = refused(how);
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
    let popular: Arc<dyn Recommender> = Arc::new(Popularity::default().fit(&log).unwrap());
    let error = Reranked::new(popular, Mmr::default()).unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }));
    let mut scores = vec![0.0; 3];
    assert!(all(&log)[0].score(0, &mut scores).is_err());
    assert!(all(&log)[0].contributions(Who::User(99), 0).is_err());
}
