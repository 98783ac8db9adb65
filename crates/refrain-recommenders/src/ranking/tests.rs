use refrain_core::{Event, Monitor};
use refrain_data::Interactions;

use super::*;
use crate::conformance::{blocks_log, checkerboard_log};
use crate::{Change, Error, Reason, Recommender};

type Fit = fn(&Interactions) -> crate::Result<FactorModel>;

const FITS: [Fit; 4] = [
    |log| {
        Bpr {
            factors: 8,
            ..Bpr::default()
        }
        .fit(log)
    },
    |log| {
        Warp {
            factors: 8,
            ..Warp::default()
        }
        .fit(log)
    },
    |log| {
        KosWarp {
            factors: 4,
            ..KosWarp::default()
        }
        .fit(log)
    },
    |log| {
        LogisticMf {
            factors: 8,
            ..LogisticMf::default()
        }
        .fit(log)
    },
];

#[test]
fn bad_settings_are_refused_by_name() {
    let log = blocks_log();
    let refused = |result: crate::Result<FactorModel>, field: &str| match result {
        Err(Error::Config { field: found, .. }) => assert_eq!(found, field),
        other => panic!("{field}: {other:?}"),
    };
    let bpr = Bpr::default();
    refused(
        Bpr {
            factors: 0,
            ..bpr.clone()
        }
        .fit(&log),
        "factors",
    );
    refused(
        Bpr {
            factors: 4096,
            ..bpr.clone()
        }
        .fit(&log),
        "factors",
    );
    refused(
        Bpr {
            epochs: 0,
            ..bpr.clone()
        }
        .fit(&log),
        "epochs",
    );
    refused(
        Bpr {
            learning_rate: 0.0,
            ..bpr.clone()
        }
        .fit(&log),
        "learning_rate",
    );
    refused(
        Bpr {
            learning_rate: f32::NAN,
            ..bpr.clone()
        }
        .fit(&log),
        "learning_rate",
    );
    refused(
        Bpr {
            init_scale: f32::INFINITY,
            ..bpr.clone()
        }
        .fit(&log),
        "init_scale",
    );
    refused(
        Bpr {
            regularization: -1.0,
            ..bpr.clone()
        }
        .fit(&log),
        "regularization",
    );
    let negatives = Negatives::Popularity { power: f32::NAN };
    refused(
        Bpr {
            negatives,
            ..bpr.clone()
        }
        .fit(&log),
        "negatives.power",
    );
    refused(
        Bpr {
            negatives: Negatives::Hardest { of: 0 },
            ..bpr
        }
        .fit(&log),
        "negatives.of",
    );
    refused(
        Warp {
            trials: 0,
            ..Warp::default()
        }
        .fit(&log),
        "trials",
    );
    refused(
        KosWarp {
            trials: 0,
            ..KosWarp::default()
        }
        .fit(&log),
        "trials",
    );
    refused(
        KosWarp {
            k: 0,
            ..KosWarp::default()
        }
        .fit(&log),
        "k",
    );
    refused(
        KosWarp {
            k: 11,
            ..KosWarp::default()
        }
        .fit(&log),
        "k",
    );
    refused(
        LogisticMf {
            samples: 0,
            ..LogisticMf::default()
        }
        .fit(&log),
        "samples",
    );
}

#[test]
fn steps_too_large_are_told_with_their_epoch() {
    let log = blocks_log();
    for (rate, regularization) in [(1e4, 0.0), (10.0, 5.0), (f32::MAX, 0.0)] {
        let error = Warp {
            learning_rate: rate,
            regularization,
            ..Warp::default()
        }
        .fit(&log)
        .unwrap_err();
        assert!(
            matches!(error, Error::Diverged { model: "WARP", .. }),
            "{error}"
        );
        assert!(
            error.to_string().contains("make learning_rate smaller"),
            "{error}"
        );
        let error = Bpr {
            learning_rate: rate,
            regularization,
            ..Bpr::default()
        }
        .fit(&log)
        .unwrap_err();
        assert!(matches!(error, Error::Diverged { .. }), "{error}");
    }
}

#[test]
fn logs_without_likes_are_refused_and_other_oddities_are_not() {
    let empty = Interactions::from_events::<&str, &str>([]).unwrap();
    let disliked = Interactions::from_events([("a", "x", -1.0), ("b", "y", 0.0)]).unwrap();
    // One user had everything, one a single item; one item nobody liked.
    let odd = [
        ("a", "x", 1.0),
        ("a", "y", 2.0),
        ("a", "z", 1.0),
        ("b", "x", 1.0),
        ("c", "w", -1.0),
    ];
    let odd = Interactions::from_events(odd).unwrap();
    for fit in FITS {
        assert!(matches!(fit(&empty), Err(Error::Data { .. })));
        assert!(matches!(fit(&disliked), Err(Error::Data { .. })));
        let model = fit(&odd).unwrap();
        for user in ["a", "b", "c"] {
            let best = model.recommend(user, 9).unwrap();
            assert!(best.iter().all(|r| r.score.is_finite()), "{best:?}");
        }
        // c liked nothing: the average user's list, and an explanation that says so.
        let why = model.explain("c", "x").unwrap();
        assert!(
            matches!(why.reasons[..], [ref part] if matches!(part.reason, Reason::Constant(_)))
        );
        assert!((why.total() - f64::from(why.score)).abs() < 1e-6);
    }
}

/// A user's own vector, and the vector of anyone with the same history, are one.
#[test]
fn folding_in_is_what_fit_did() {
    for fit in FITS {
        let model = fit(&blocks_log()).unwrap();
        for user in 0..36 {
            let (items, weights) = model.history(user);
            let history: Vec<(u32, f32)> =
                items.iter().copied().zip(weights.iter().copied()).collect();
            let own = model.user_factors(&format!("u{user}")).unwrap();
            assert_eq!(model.fold_in(&history).unwrap(), own);
        }
    }
}

#[test]
fn similar_users_share_a_block() {
    let model = FITS[0](&blocks_log()).unwrap();
    let mut inside = 0;
    for user in 0..36 {
        let similar = model.similar_users(&format!("u{user}"), 5).unwrap();
        assert_eq!(similar.len(), 5);
        let alike = |id: &str| id[1..].parse::<usize>().unwrap() % 3 == user % 3;
        inside += similar.iter().filter(|other| alike(&other.user)).count();
    }
    // By chance it would be a third of 180.
    assert!(inside >= 140, "{inside} of 180 share the block");
    assert!(matches!(
        model.similar_users("nobody", 1),
        Err(Error::UnknownUser { .. })
    ));
}

#[test]
fn learns_of_new_users_items_and_events() {
    for fit in FITS {
        let mut model = fit(&checkerboard_log()).unwrap();
        let mut events = Vec::new();
        for user in (0..20).filter(|user| user % 2 == 0) {
            events.push((format!("u{user}"), "fresh".to_string(), 1.0));
        }
        for item in [0, 2, 4, 6] {
            events.push(("new".to_string(), format!("i{item}"), 1.0));
        }
        let events = Interactions::from_events(events).unwrap();
        assert_eq!(model.update(&events).unwrap(), Change::Approximate);
        assert_eq!((model.users().len(), model.items().len()), (21, 21));
        let best = model.recommend("new", 7).unwrap();
        let even = |id: &str| id == "fresh" || id[1..].parse::<usize>().unwrap() % 2 == 0;
        assert!(
            best.iter().all(|r| even(&r.item)),
            "{} {best:?}",
            model.name()
        );
        assert!(
            best.iter().any(|r| r.item == "fresh"),
            "{} {best:?}",
            model.name()
        );
        assert_eq!(model.recommend("u3", 1).unwrap()[0].item, "i3");
        for r in model.similar_items("fresh", 5).unwrap() {
            assert!(even(&r.item), "{} {r:?}", model.name());
        }
    }
}

#[test]
fn forgets_users_and_items() {
    let mut model = Bpr::default().fit(&blocks_log()).unwrap();
    let before = model.recommend("u8", 6).unwrap();
    assert_eq!(model.forget_user("u7").unwrap(), Change::Approximate);
    assert!(matches!(
        model.recommend("u7", 1),
        Err(Error::UnknownUser { .. })
    ));
    let after = model.recommend("u8", 6).unwrap();
    for (a, b) in before.iter().zip(&after) {
        assert!((a.score - b.score).abs() < 1e-5, "{a:?} {b:?}");
    }
    assert_eq!(model.forget_item("i8").unwrap(), Change::Approximate);
    assert!(matches!(
        model.similar_items("i8", 1),
        Err(Error::UnknownItem { .. })
    ));
    assert_eq!(model.items().len(), 29);
    assert!(model.forget_user("nobody").is_err() && model.forget_item("nothing").is_err());
    let inside = model.recommend("u8", 2).unwrap();
    assert!(
        inside
            .iter()
            .all(|r| r.item[1..].parse::<usize>().unwrap() % 3 == 2),
        "{inside:?}"
    );
}

#[test]
fn tells_its_losses_and_can_be_stopped() {
    let model = Warp {
        epochs: 7,
        ..Warp::default()
    }
    .fit(&blocks_log())
    .unwrap();
    assert_eq!(model.losses().len(), 7);
    assert!(model.losses()[6] < model.losses()[0]);
    let token = refrain_core::CancelToken::new();
    let stop = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if matches!(event, Event::Advance { .. }) {
            stop.cancel();
        }
    });
    let error = Bpr::default()
        .fit_with(&blocks_log(), &monitor.with_cancel(token))
        .unwrap_err();
    assert!(
        matches!(error, Error::Core(refrain_core::Error::Cancelled { .. })),
        "{error}"
    );
}

/// AdaGrad's steps are long where little was learned. On a log of five events the decay would throw
/// factors past zero and back, further each time.
#[test]
fn strong_decay_shrinks_and_never_throws() {
    let log = Interactions::from_events([
        ("ann", "reel", 1.0),
        ("ann", "jig", 1.0),
        ("bob", "reel", 1.0),
        ("bob", "air", 1.0),
        ("cat", "polka", 1.0),
    ])
    .unwrap();
    for regularization in [0.1, 1.0, 10.0] {
        let optimizer = Optimizer::AdaGrad;
        let models = [
            Bpr {
                optimizer,
                regularization,
                ..Bpr::default()
            }
            .fit(&log),
            Warp {
                optimizer,
                regularization,
                ..Warp::default()
            }
            .fit(&log),
            LogisticMf {
                optimizer,
                regularization,
                ..LogisticMf::default()
            }
            .fit(&log),
        ];
        for model in models {
            let model = model.unwrap_or_else(|error| panic!("{regularization}: {error}"));
            let factors = model.item_factors("reel").unwrap();
            assert!(factors.iter().all(|x| x.abs() < 100.0), "{factors:?}");
        }
    }
}

/// WARP looks for violators among uniform or popular items; the hardest of several is what it finds
/// anyway.
#[test]
fn negatives_of_warp_are_drawn_as_asked() {
    type FitWith = fn(&Interactions, Negatives) -> crate::Result<FactorModel>;
    let warp: FitWith = |log, negatives| {
        let (factors, epochs) = (8, 3);
        Warp {
            factors,
            epochs,
            negatives,
            ..Warp::default()
        }
        .fit(log)
    };
    let kos_warp: FitWith = |log, negatives| {
        let (factors, epochs) = (8, 3);
        KosWarp {
            factors,
            epochs,
            negatives,
            ..KosWarp::default()
        }
        .fit(log)
    };
    let log = crate::conformance::blocks_log();
    for fit in [warp, kos_warp] {
        let vector = |negatives| {
            let model = fit(&log, negatives).unwrap();
            model.item_factors("i3").unwrap().to_vec()
        };
        let alike = vector(Negatives::Uniform);
        assert_ne!(alike, vector(Negatives::Popularity { power: 1.0 }));
        assert_eq!(alike, vector(Negatives::Hardest { of: 5 }));
    }
}
