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
