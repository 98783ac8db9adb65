use rand::RngExt;
use refrain_core::rng;
use refrain_data::Features;

use super::*;
use crate::{Change, Error, FactorizationMachine, Reason, Recommender};

// Few factors for few items: more would learn the log by heart.
crate::conformance!(plain, personal, |log| LightFm {
    factors: 8,
    ..LightFm::default()
}
.fit(log, None, None));
crate::conformance!(bpr, personal, |log| LightFm {
    loss: RankingLoss::Bpr,
    factors: 8,
    ..LightFm::default()
}
.fit(log, None, None));
crate::conformance!(with_features, personal, |log: &Interactions| {
    let kind = |at: usize| ["a", "b", "c"][at % 3];
    let ids = log.items().iter().enumerate();
    let kinds = ids.map(|(at, id)| (id.to_string(), kind(at)));
    let kinds = Features::builder().category("kind", kinds).unwrap();
    let config = LightFm {
        factors: 8,
        ..LightFm::default()
    };
    config.fit(log, Some(&kinds.build().unwrap()), None)
});
crate::conformance!(machine, personal, |log| FactorizationMachine {
    factors: 8,
    ..FactorizationMachine::default()
}
.fit(log, None, None));

/// Two kinds of people and of tunes: each has 8 of the 12 tunes of their kind among the first 24.
fn world() -> (Interactions, Features, Features) {
    let kind = |at: usize| ["reel", "jig"][at % 2];
    let mut rng = rng::stream(8, 0);
    let mut events = Vec::new();
    for u in 0..30usize {
        for i in (0..24usize).filter(|i| i % 2 == u % 2) {
            if rng.random::<f32>() < 0.7 {
                events.push((format!("u{u}"), format!("i{i}"), 1.0));
            }
        }
    }
    let items = (0..30).map(|i| (format!("i{i}"), kind(i)));
    let users = (0..36).map(|u| (format!("u{u}"), kind(u)));
    (
        Interactions::from_events(events).unwrap(),
        Features::builder()
            .category("rhythm", items)
            .unwrap()
            .build()
            .unwrap(),
        Features::builder()
            .category("plays", users)
            .unwrap()
            .build()
            .unwrap(),
    )
}

/// A new item goes to those who like its kind, a new user gets what their kind likes.
#[test]
fn cold_start_is_kept_as_promised() {
    let (log, tunes, people) = world();
    let losses = [
        RankingLoss::Bpr,
        RankingLoss::Warp { trials: 20 },
        RankingLoss::KosWarp {
            k: 3,
            of: 5,
            trials: 20,
        },
        RankingLoss::Logistic { samples: 4 },
    ];
    let mut models = Vec::new();
    for loss in losses {
        let config = LightFm {
            factors: 16,
            loss,
            ..LightFm::default()
        };
        models.push(config.fit(&log, Some(&tunes), Some(&people)).unwrap());
        let config = FactorizationMachine {
            factors: 16,
            loss,
            ..FactorizationMachine::default()
        };
        models.push(config.fit(&log, Some(&tunes), Some(&people)).unwrap());
    }
    for mut model in models {
        let what = format!("{:?}", model.config());
        let before = model.recommend("u1", 3).unwrap();
        assert_eq!(model.add_items(&tunes).unwrap(), 6);
        assert_eq!(model.add_users(&people).unwrap(), 6);
        assert_eq!(model.add_items(&tunes).unwrap(), 0);
        assert_eq!((model.users().len(), model.items().len()), (36, 30));
        let again = model.recommend_where(
            "u1",
            &crate::Query::top(3).filter(|id| id[1..].parse::<usize>().unwrap() < 24),
        );
        assert_eq!(again.unwrap(), before, "{what}");
        for u in 0..36usize {
            let score = |i: usize| {
                let why = model.explain(&format!("u{u}"), &format!("i{i}")).unwrap();
                assert!((why.total() - f64::from(why.score)).abs() < 1e-4, "{why}");
                why.score
            };
            for i in 24..30 {
                let other = if i % 2 == 0 { i + 1 } else { i - 1 };
                assert_eq!(score(i) > score(other), i % 2 == u % 2, "{what}: u{u} i{i}");
            }
        }
        // The 12 tunes of their own kind that anyone had come before the 12 others.
        let mut right = 0;
        for u in 30..36usize {
            for best in model.recommend(&format!("u{u}"), 8).unwrap() {
                right += usize::from(best.item[1..].parse::<usize>().unwrap() % 2 == u % 2);
            }
        }
        assert!(right >= 45, "{what}: {right} of 48");
        // u0 likes reels: that one is a reel speaks more for it than that the other is a jig.
        let part = |item: &str, feature: &str| {
            let why = model.explain("u0", item).unwrap();
            let named = Reason::Feature(feature.to_string());
            let found = why.reasons.iter().find(|part| part.reason == named);
            found.unwrap().weight
        };
        assert!(part("i28", "rhythm=reel") > part("i29", "rhythm=jig"));

        let file =
            refrain_core::ModelFile::from_bytes(model.to_file().unwrap().to_bytes().unwrap());
        let loaded = crate::from_file(&file.unwrap()).unwrap();
        assert_eq!(
            loaded.recommend("u33", 9).unwrap(),
            model.recommend("u33", 9).unwrap()
        );
        assert_eq!(
            loaded.recommend("u3", 9).unwrap(),
            model.recommend("u3", 9).unwrap()
        );
    }
}

#[test]
fn without_features_nothing_can_be_added() {
    let (log, tunes, people) = world();
    let mut model = LightFm::default().fit(&log, None, None).unwrap();
    assert!(matches!(
        model.add_items(&tunes),
        Err(Error::Unsupported { .. })
    ));
    assert!(matches!(
        model.add_users(&people),
        Err(Error::Unsupported { .. })
    ));
    let strangers = Features::builder()
        .category("kind", [("nobody", "x")])
        .unwrap()
        .build()
        .unwrap();
    let error = LightFm::default()
        .fit(&log, Some(&strangers), None)
        .unwrap_err();
    assert!(matches!(error, Error::Data { .. }), "{error}");
}

#[test]
fn learns_of_new_events_and_forgets() {
    let (log, tunes, people) = world();
    let mut model = LightFm::default()
        .fit(&log, Some(&tunes), Some(&people))
        .unwrap();
    let events = [("new", "i0", 1.0), ("new", "i2", 1.0), ("u1", "fresh", 1.0)];
    let events = Interactions::from_events(events).unwrap();
    assert_eq!(model.update(&events).unwrap(), Change::Approximate);
    assert_eq!((model.users().len(), model.items().len()), (31, 25));
    for best in model.recommend("new", 6).unwrap() {
        assert_eq!(best.item[1..].parse::<usize>().unwrap() % 2, 0, "{best:?}");
    }
    assert!(model.explain("u1", "fresh").unwrap().reasons.is_empty());
    let u5 = model.recommend("u5", 4).unwrap();
    model.forget_user("u4").unwrap();
    assert!(matches!(
        model.recommend("u4", 1),
        Err(Error::UnknownUser { .. })
    ));
    assert_eq!(model.recommend("u5", 4).unwrap(), u5);
}

/// Every user's scores.
fn scores(model: &FeatureModel) -> Vec<f32> {
    let n = model.items().len();
    let mut all = vec![0.0; model.users().len() * n];
    for (user, out) in (0u32..).zip(all.chunks_exact_mut(n)) {
        model.score(user, out).unwrap();
    }
    all
}

fn assert_near(got: &[f32], expected: &[f32]) {
    assert_eq!(got.len(), expected.len());
    let far = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4 * b.abs().max(1.0);
    assert!(!got.iter().zip(expected).any(far), "{got:?} {expected:?}");
}

#[test]
fn updates_that_bring_nothing_change_nothing() {
    let (log, tunes, people) = world();
    let mut model = LightFm::default()
        .fit(&log, Some(&tunes), Some(&people))
        .unwrap();
    let before = scores(&model);
    let nothing = Interactions::from_events::<&str, &str>([]).unwrap();
    let first = log.iter().next().unwrap();
    let user = log.users().name(first.user).unwrap();
    let item = log.items().name(first.item).unwrap();
    let again = Interactions::from_events([(user, item, 1.0)]).unwrap();
    for _ in 0..20 {
        model.update(&nothing).unwrap();
        model.update(&again).unwrap();
        assert_eq!(scores(&model), before);
    }
}

/// The average user is the mean of what histories alone say, and stays so; whoever has features but
/// no history starts from there, at `fit` as later.
#[test]
fn features_are_told_from_the_plain_average() {
    let (log, tunes, people) = world();
    // Of an odd and an even number, who like nothing.
    let dislikes = [("u34", "i0", -1.0), ("u35", "i0", -1.0)];
    let idle = Interactions::from_events(dislikes).unwrap();
    let mut events: Vec<(String, String, f32)> = Vec::new();
    for log in [&log, &idle] {
        let name = |ids: &refrain_core::IdMap, at| ids.name(at).unwrap().to_string();
        let named = |e: refrain_data::Event| {
            (
                name(log.users(), e.user),
                name(log.items(), e.item),
                e.weight,
            )
        };
        events.extend(log.iter().map(named));
    }
    let log = Interactions::from_events(events).unwrap();
    let mut model = LightFm::default()
        .fit(&log, Some(&tunes), Some(&people))
        .unwrap();

    let width = model.fold_in(&[]).unwrap().len();
    let mut mean = vec![0.0; width];
    for user in (0..30).map(|u| log.users().get(format!("u{u}")).unwrap()) {
        let (items, weights) = log.user_items(user);
        let history: Vec<_> = items.iter().copied().zip(weights.iter().copied()).collect();
        let vector = model.fold_in(&history).unwrap();
        refrain_core::kernels::axpy(1.0 / 30.0, &vector, &mut mean);
    }
    assert_near(&model.fold_in(&[]).unwrap(), &mean);

    model.add_users(&people).unwrap();
    for (early, late) in [("u34", "u32"), ("u35", "u33")] {
        let (early, late) = (model.user_factors(early), model.user_factors(late));
        assert_near(late.unwrap(), early.unwrap());
    }
    let average = model.fold_in(&[]).unwrap();
    let more = [("u1", "i3", 1.0), ("u1", "i5", 1.0), ("u2", "i1", 1.0)];
    let more = Interactions::from_events(more).unwrap();
    model.update(&more).unwrap();
    assert_eq!(model.fold_in(&[]).unwrap(), average);
}

#[test]
fn forgets_items_old_and_new() {
    let (log, tunes, people) = world();
    let mut model = LightFm::default()
        .fit(&log, Some(&tunes), Some(&people))
        .unwrap();
    model.add_items(&tunes).unwrap();
    // i27 came after `fit` and is in nobody's history: only its column of the scores goes.
    let n = model.items().len();
    let gone = model.items().get("i27").unwrap() as usize;
    let (before, i28) = (scores(&model), model.item_factors("i28").unwrap().to_vec());
    assert_eq!(model.forget_item("i27").unwrap(), Change::Approximate);
    let left = (0..before.len()).filter(|at| at % n != gone);
    let left: Vec<f32> = left.map(|at| before[at]).collect();
    assert_eq!(scores(&model), left);
    // i4 was there at `fit`: the others keep their vectors and reasons, and the file its order.
    model.forget_item("i4").unwrap();
    assert!(matches!(
        model.explain("u0", "i4"),
        Err(Error::UnknownItem { .. })
    ));
    assert_eq!(model.item_factors("i28").unwrap(), i28);
    for item in ["i0", "i6", "i23", "i28"] {
        let why = model.explain("u0", item).unwrap();
        assert!((why.total() - f64::from(why.score)).abs() < 1e-4, "{why}");
    }
    let bytes = model.to_file().unwrap().to_bytes().unwrap();
    let file = refrain_core::ModelFile::from_bytes(bytes).unwrap();
    let mut loaded = crate::from_file(&file).unwrap();
    let nothing = Interactions::from_events::<&str, &str>([]).unwrap();
    for user in ["u0", "u5"] {
        let expected = model.recommend(user, 9).unwrap();
        assert_eq!(loaded.recommend(user, 9).unwrap(), expected);
        loaded.update(&nothing).unwrap();
        assert_eq!(loaded.recommend(user, 9).unwrap(), expected);
    }
}

#[test]
fn bad_settings_and_steps_too_large_are_told() {
    let (log, _, _) = world();
    for config in [
        LightFm {
            factors: 0,
            ..LightFm::default()
        },
        LightFm {
            feature_weight: 0.0,
            ..LightFm::default()
        },
        LightFm {
            learning_rate: f32::NAN,
            ..LightFm::default()
        },
        LightFm {
            loss: RankingLoss::Warp { trials: 0 },
            ..LightFm::default()
        },
        LightFm {
            loss: RankingLoss::KosWarp {
                k: 6,
                of: 5,
                trials: 9,
            },
            ..LightFm::default()
        },
    ] {
        assert!(
            matches!(config.fit(&log, None, None), Err(Error::Config { .. })),
            "{config:?}"
        );
    }
    let wild = LightFm {
        learning_rate: 1e5,
        ..LightFm::default()
    };
    let error = wild.fit(&log, None, None).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("learning_rate"), "{error}");
}
