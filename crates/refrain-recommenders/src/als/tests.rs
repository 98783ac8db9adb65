use rand::RngExt;

use super::reference::Dense;
use super::*;
use crate::{Change, Recommender, Who};

crate::conformance!(default, personal, |log| Als {
    factors: 8,
    ..Als::default()
}
.fit(log));
crate::conformance!(cholesky, personal, |log| {
    Als {
        factors: 8,
        solver: Solver::Cholesky,
        ..Als::default()
    }
    .fit(log)
});

crate::conformance!(blocks, personal, |log| {
    Als {
        factors: 20,
        solver: Solver::Block { size: 16 },
        ..Als::default()
    }
    .fit(log)
});

crate::conformance!(biases, personal, |log| {
    Als {
        factors: 3,
        biases: true,
        regularization: Regularization::Relative(0.2), // biases leave less for the factors
        ..Als::default()
    }
    .fit(log)
});

/// 40 users × 30 items in three tastes, with dislikes, weights of zero, a user and an item without
/// events, and a user with everything.
fn mixed_log() -> Interactions {
    let mut rng = rng::stream(5, 0);
    let mut events = Vec::new();
    for u in 0..40usize {
        for i in 0..30usize {
            let inside = u % 3 == i % 3;
            let chance = if u == 7 {
                1.0
            } else if inside {
                0.6
            } else {
                0.1
            };
            if u == 11 || i == 13 || rng.random::<f64>() >= chance {
                continue;
            }
            let weight = match rng.random_range(0..12u8) {
                0 => 0.0,
                1 => -2.0,
                n => f32::from(n) / 2.0,
            };
            events.push((u, i, weight));
        }
    }
    // Ids for everyone, the idle ones too.
    let mut builder = Interactions::builder();
    for u in 0..40usize {
        builder.push(format!("u{u}"), "i13", 1.0, None).unwrap();
    }
    for i in 0..30usize {
        builder.push("u11", format!("i{i}"), 1.0, None).unwrap();
    }
    for (u, i, w) in events {
        builder
            .push(format!("u{u}"), format!("i{i}"), w, None)
            .unwrap();
    }
    let all = builder.build().unwrap();
    let (idle_user, idle_item) = (all.users().get("u11"), all.items().get("i13"));
    all.filter(|event| Some(event.user) != idle_user && Some(event.item) != idle_item)
        .unwrap()
}

fn scores(model: &AlsModel) -> Vec<f32> {
    let mut all = Vec::new();
    let mut scores = vec![0.0; model.items().len()];
    for user in 0..model.users().len() as u32 {
        model.score(user, &mut scores).unwrap();
        all.extend_from_slice(&scores);
    }
    all
}

fn exact(factors: usize) -> Als {
    Als {
        factors,
        iterations: 4,
        solver: Solver::Cholesky,
        init_scale: 1.0,
        ..Als::default()
    }
}

fn assert_close(fast: &[f32], slow: &[f32], tolerance: f32) {
    let largest = slow.iter().fold(0.0f32, |m, s| m.max(s.abs()));
    assert!(largest > 0.0);
    assert_eq!(fast.len(), slow.len());
    for (at, (a, b)) in fast.iter().zip(slow).enumerate() {
        assert!((a - b).abs() <= tolerance * largest, "place {at}: {a} {b}");
    }
}

#[test]
fn equals_the_dense_reference() {
    let log = mixed_log();
    for (factors, regularization, confidence, exponent, biases) in [
        (
            5,
            Regularization::Relative(0.5),
            Confidence::Log,
            0.5,
            false,
        ),
        (
            16,
            Regularization::Absolute(0.7),
            Confidence::Linear,
            0.0,
            false,
        ),
        (
            20,
            Regularization::Relative(0.1),
            Confidence::Binary,
            1.0,
            false,
        ),
        (5, Regularization::Relative(0.5), Confidence::Log, 0.5, true),
        (
            14,
            Regularization::Absolute(2.0),
            Confidence::Binary,
            0.0,
            true,
        ),
    ] {
        let frequency_exponent = exponent;
        let config = Als {
            regularization,
            confidence,
            frequency_exponent,
            biases,
            ..exact(factors)
        };
        let (model, dense) = (config.fit(&log).unwrap(), Dense::fit(&config, &log));
        let expected: Vec<f32> = dense
            .scores()
            .transpose()
            .iter()
            .map(|&score| score as f32)
            .collect();
        assert_close(&scores(&model), &expected, 1e-4);
        for (a, b) in model.losses().iter().zip(&dense.losses) {
            assert!((a / b - 1.0).abs() < 1e-5, "loss {a} {b}");
        }
        assert_eq!(model.losses().len(), 4);
    }
}

#[test]
fn many_steps_equal_a_factorisation() {
    let log = mixed_log();
    let solver = Solver::ConjugateGradient { steps: 60 };
    for biases in [true, false] {
        let slow = Als {
            biases,
            ..exact(20)
        };
        let fast = Als {
            solver,
            ..slow.clone()
        };
        let (slow, fast) = (slow.fit(&log).unwrap(), fast.fit(&log).unwrap());
        assert_close(&scores(&fast), &scores(&slow), 1e-3);
    }
    let slow = exact(20).fit(&log).unwrap();
    // And a few steps end at nearly the same loss.
    let few = Als {
        solver: Solver::ConjugateGradient { steps: 3 },
        ..exact(20)
    };
    let few = few.fit(&log).unwrap();
    let (a, b) = (few.losses()[3], slow.losses()[3]);
    assert!((a / b - 1.0).abs() < 1e-2, "{a} {b}");
}

#[test]
fn biases_are_told_and_are_not_taste() {
    let log = mixed_log();
    let config = Als {
        biases: true,
        ..exact(6)
    };
    let (model, dense) = (config.fit(&log).unwrap(), Dense::fit(&config, &log));
    let close = |got: Option<f32>, expected: f64| (f64::from(got.unwrap()) - expected).abs() < 1e-3;
    for (id, &bias) in model.users().iter().zip(&dense.biases[0]) {
        assert!(close(model.user_bias(id), bias), "{id}");
    }
    for (id, &bias) in model.items().iter().zip(&dense.biases[1]) {
        assert!(close(model.item_bias(id), bias), "{id}");
    }
    assert_eq!(exact(6).fit(&log).unwrap().user_bias("u1"), None);
    let mut similar = vec![0.0; 30];
    for item in 0..30 {
        model.similarity(item, &mut similar).unwrap();
        let own = dense.y.row(item as usize);
        for (&got, other) in similar.iter().zip(dense.y.row_iter()) {
            let size = own.norm() * other.norm();
            let expected = if size > 1e-6 {
                own.dot(&other) / size
            } else {
                0.0
            };
            assert!(
                size < 1e-2 || (f64::from(got) - expected).abs() < 1e-2,
                "{got} {expected}"
            );
        }
    }
    let again = Als {
        iterations: 1,
        ..config.clone()
    };
    let again = again.fit_from(&log, &model, &Monitor::silent()).unwrap();
    assert!(again.losses()[0] <= model.losses()[3]);
}

#[test]
fn a_block_of_all_factors_is_exact() {
    let log = mixed_log();
    let slow = exact(20).fit(&log).unwrap();
    let fast = Als {
        solver: Solver::Block { size: 20 },
        ..exact(20)
    };
    let fast = fast.fit(&log).unwrap();
    assert_close(&scores(&fast), &scores(&slow), 1e-3);
    for (a, b) in fast.losses().iter().zip(slow.losses()) {
        assert!((a / b - 1.0).abs() < 1e-4, "loss {a} {b}");
    }
}

#[test]
fn learns_without_a_fit() {
    let log = mixed_log();
    let config = Als {
        factors: 8,
        ..Als::default()
    };
    let mut model = config.fit(&log).unwrap();
    let more = [
        ("new", "i0", 2.0),
        ("new", "i3", 3.0),
        ("new", "fresh", 2.0),
        ("u0", "fresh", 3.0),
        ("u3", "fresh", 3.0),
        ("u6", "fresh", 1.0),
    ];
    let more = Interactions::from_events(more).unwrap();
    assert_eq!(model.update(&more).unwrap(), Change::Approximate);
    assert_eq!((model.users().len(), model.items().len()), (41, 31));
    // Near a fit of everything, on the whole and for those who are new.
    let again = config.fit(&model.memory().to_log().unwrap()).unwrap();
    let (near, fitted) = (scores(&model), scores(&again));
    let distance = |a: &[f32], b: &[f32]| -> f64 {
        let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
        squares.sum::<f64>().sqrt()
    };
    let size = distance(&fitted, &vec![0.0; fitted.len()]);
    assert!(distance(&near, &fitted) < 0.2 * size);
    assert!(model.similar_items("fresh", 3).unwrap()[0].score > 0.3);
    let best = model.recommend("new", 4).unwrap();
    let third = |r: &&crate::Recommendation| r.item[1..].parse::<usize>().unwrap() % 3 == 0;
    assert!(best.iter().filter(third).count() >= 3, "{best:?}");
    // Those with new events are still their history.
    for id in ["new", "u0", "u3", "u6"] {
        let user = model.users().get(id).unwrap();
        let (items, weights) = model.history(user);
        let history: Vec<(u32, f32)> = items.iter().copied().zip(weights.iter().copied()).collect();
        let (folded, stored) = (model.fold_in(&history), model.user_factors(id));
        assert_eq!(folded.unwrap(), stored.unwrap(), "{id}");
    }
    let bad = Interactions::from_events([("u0", "i0", f32::MAX), ("u0", "i1", f32::MAX)]).unwrap();
    let linear = Als {
        confidence: Confidence::Linear,
        ..config
    };
    let mut model = linear.fit(&log).unwrap();
    let before = model.clone();
    assert!(model.update(&bad).is_err());
    assert_eq!(model, before);
}

#[test]
fn forgets_users_and_items() {
    let mut model = exact(6).fit(&mixed_log()).unwrap();
    let before = model.clone();
    assert_eq!(model.forget_user("u7").unwrap(), Change::Approximate);
    assert!(model.recommend("u7", 3).is_err());
    assert_eq!(model.user_factors("u8"), before.user_factors("u8"));
    assert_eq!(
        model.recommend("u8", 3).unwrap(),
        before.recommend("u8", 3).unwrap()
    );
    assert_eq!(model.forget_item("i4").unwrap(), Change::Approximate);
    assert_eq!(model.items().len(), 29);
    assert!(
        model
            .recommend("u1", 99)
            .unwrap()
            .iter()
            .all(|r| r.item != "i4")
    );
    assert!(model.history(1).0.len() + 1 >= before.history(1).0.len());
    assert!(model.forget_item("i4").is_err() && model.forget_user("u7").is_err());
}

#[test]
fn similar_users_share_a_taste() {
    let model = exact(6).fit(&mixed_log()).unwrap();
    let near = model.similar_users("u3", 5).unwrap();
    assert_eq!(near.len(), 5);
    assert!(near.iter().all(|s| s.user != "u3" && s.user != "u11"));
    let alike = near.iter().filter(|s| {
        let number: usize = s.user[1..].parse().unwrap();
        number.is_multiple_of(3) || number == 7
    });
    assert!(alike.count() >= 4, "{near:?}");
    assert!(near.windows(2).all(|pair| pair[0].score >= pair[1].score));
    assert!(model.similar_users("u11", 5).unwrap().is_empty());
    assert!(model.similar_users("nobody", 5).is_err());
}

#[test]
fn loss_falls_in_every_iteration() {
    let log = crate::conformance::blocks_log();
    for solver in [
        Solver::Cholesky,
        Solver::ConjugateGradient { steps: 1 },
        Solver::Block { size: 16 },
        Als::default().solver,
    ] {
        let config = Als {
            factors: 36,
            iterations: 12,
            solver,
            ..Als::default()
        };
        let losses = config.fit(&log).unwrap().losses().to_vec();
        assert_eq!(losses.len(), 12);
        for pair in losses.windows(2) {
            assert!(pair[1] <= pair[0] * (1.0 + 1e-6), "{solver:?}: {losses:?}");
        }
    }
}

#[test]
fn fold_in_is_the_stored_user() {
    let model = Als {
        factors: 20,
        ..Als::default()
    }
    .fit(&mixed_log())
    .unwrap();
    for (user, id) in (0u32..).zip(model.users().iter()) {
        let (items, weights) = model.history(user);
        let history: Vec<(u32, f32)> = items.iter().copied().zip(weights.iter().copied()).collect();
        assert_eq!(
            model.fold_in(&history).unwrap(),
            model.user_factors(id).unwrap(),
            "{id}"
        );
    }
}

#[test]
fn nothing_known_is_zero() {
    let model = exact(6).fit(&mixed_log()).unwrap();
    assert_eq!(model.user_factors("u11").unwrap(), [0.0; 6]);
    assert_eq!(model.item_factors("i13").unwrap(), [0.0; 6]);
    assert_eq!(model.user_factors("nobody"), None);
    assert_eq!(model.fold_in(&[]).unwrap(), [0.0; 6]);
    let item = model.items().get("i13").unwrap();
    let mut similar = vec![1.0; 30];
    model.similarity(item, &mut similar).unwrap();
    assert_eq!(similar, [0.0; 30]);
}

#[test]
fn a_dislike_lowers_the_score_and_zero_changes_nothing() {
    let model = exact(6).fit(&crate::conformance::blocks_log()).unwrap();
    let score = |history: &[(u32, f32)], item: usize| {
        let mut scores = vec![0.0; 30];
        model.score_history(history, &mut scores).unwrap();
        scores[item]
    };
    let liked = score(&[(0, 3.0), (3, 3.0)], 6);
    assert!(liked > score(&[(0, 3.0), (3, -3.0)], 6));
    assert_eq!(score(&[(0, 3.0), (3, 0.0)], 6), score(&[(0, 3.0)], 6));
    let why = model
        .contributions(Who::History(&[(0, 3.0), (3, -3.0)]), 6)
        .unwrap();
    assert_eq!(
        why[1].weight, 0.0,
        "a dislike pulls at the others, it adds nothing itself"
    );
}

#[test]
fn starts_from_a_saved_model() {
    let log = crate::conformance::blocks_log();
    let folder = tempfile::tempdir().unwrap();
    for biases in [false, true] {
        let config = Als {
            factors: 8,
            biases,
            ..Als::default()
        };
        let path = folder.path().join("als.refrain");
        let model = config.fit(&log).unwrap();
        model.save(&path).unwrap();
        let loaded: AlsModel = crate::load_as(&path).unwrap();
        let again = |model| config.fit_from(&log, model, &Monitor::silent()).unwrap();
        assert_eq!(again(&loaded), again(&model));
        let error = crate::load_as::<crate::PopularityModel>(&path).unwrap_err();
        assert!(matches!(error, Error::OtherModel { .. }), "{error}");
    }
}

#[test]
fn a_block_may_be_larger_than_everything() {
    let log = crate::conformance::blocks_log();
    let huge = Als {
        factors: 8,
        solver: Solver::Block { size: usize::MAX },
        ..Als::default()
    };
    let all = Als {
        solver: Solver::Block { size: 8 },
        ..huge.clone()
    };
    let (huge, all) = (huge.fit(&log).unwrap(), all.fit(&log).unwrap());
    assert_eq!(scores(&huge), scores(&all));
}

#[test]
fn starts_from_a_fitted_model() {
    let log = crate::conformance::blocks_log();
    let config = Als {
        factors: 8,
        ..Als::default()
    };
    let model = config.fit(&log).unwrap();
    let mut events: Vec<(String, String, f32)> = vec![("new".into(), "i3".into(), 2.0)];
    for e in log.iter() {
        let user = log.users().name(e.user).unwrap().to_string();
        events.push((
            user,
            log.items().name(e.item).unwrap().to_string(),
            e.weight,
        ));
    }
    let grown = Interactions::from_events(events).unwrap();
    let one = Als {
        iterations: 1,
        ..config.clone()
    };
    let warm = one.fit_from(&grown, &model, &Monitor::silent()).unwrap();
    let cold = one.fit(&grown).unwrap();
    assert!(warm.losses()[0] < cold.losses()[0]);
    assert!((warm.losses()[0] / model.losses()[14] - 1.0).abs() < 0.02);
    assert_ne!(warm.user_factors("new").unwrap(), [0.0; 8]);
    let other = Als { factors: 9, ..one };
    let error = other
        .fit_from(&grown, &model, &Monitor::silent())
        .unwrap_err();
    assert!(
        matches!(
            error,
            Error::Config {
                field: "factors",
                ..
            }
        ),
        "{error}"
    );
}
