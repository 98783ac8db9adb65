//! Rates, and settings that are refused.

use super::*;

#[test]
fn the_learning_rate_warms_up_and_falls() {
    let trainer = Trainer {
        steps: 100,
        warm_up: 10,
        learning_rate: 1.0,
        ..Trainer::default()
    };
    let rates: Vec<f64> = (0..100).map(|i| trainer.learning_rate_at(i)).collect();
    assert!(rates[..10].windows(2).all(|w| w[0] < w[1]) && rates[0] > 0.0);
    assert!(rates[10..].windows(2).all(|w| w[0] > w[1]));
    assert_eq!(rates[10], 1.0);
    assert!((rates[55] - 0.55).abs() < 1e-9, "{}", rates[55]);
    assert!((0.1..0.11).contains(&rates[99]));
    let all_warm = Trainer {
        steps: 5,
        warm_up: 10,
        ..trainer
    };
    assert!((0..5).all(|i| all_warm.learning_rate_at(i) <= 1.0));
}

#[test]
fn impossible_settings_are_refused() {
    for (trainer, word) in [
        (
            Trainer {
                steps: 0,
                ..trainer()
            },
            "steps",
        ),
        (
            Trainer {
                batch: 0,
                ..trainer()
            },
            "batch",
        ),
        (
            Trainer {
                accumulate: 0,
                ..trainer()
            },
            "accumulate",
        ),
        (
            Trainer {
                evaluate_every: 0,
                ..trainer()
            },
            "evaluate_every",
        ),
        (
            Trainer {
                learning_rate: f64::NAN,
                ..trainer()
            },
            "learning_rate",
        ),
        (
            Trainer {
                final_share: 2.0,
                ..trainer()
            },
            "final_share",
        ),
        (
            Trainer {
                betas: (1.0, 0.9),
                ..trainer()
            },
            "betas.0",
        ),
        (
            Trainer {
                betas: (0.9, -0.1),
                ..trainer()
            },
            "betas.1",
        ),
        (
            Trainer {
                epsilon: 0.0,
                ..trainer()
            },
            "epsilon",
        ),
        (
            Trainer {
                clip: Some(0.0),
                ..trainer()
            },
            "clip",
        ),
        (
            Trainer {
                weight_decay: f64::INFINITY,
                ..trainer()
            },
            "weight_decay",
        ),
        (
            Trainer {
                checkpoint: Some("x".into()),
                checkpoint_every: 0,
                ..trainer()
            },
            "checkpoint_every",
        ),
    ] {
        let error = trainer
            .fit(&tiny(), &corpus(), &cpu())
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
    let data = TokenSequences::stream(vec![0]);
    assert!(corpus().with_validation(data).is_err());
}

#[test]
fn the_rate_warms_up_and_falls() {
    let trainer = Trainer {
        steps: 100,
        warm_up: 10,
        learning_rate: 1.0,
        final_share: 0.2,
        ..trainer()
    };
    let rate = |schedule, step| {
        let trainer = Trainer {
            schedule,
            ..trainer.clone()
        };
        trainer.learning_rate_at(step)
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant] {
        near(rate(schedule, 4), 5.0 / 11.0);
        near(rate(schedule, 10), 1.0);
    }
    near(rate(Schedule::Cosine, 55), 0.6);
    near(rate(Schedule::Linear, 55), 0.6);
    near(rate(Schedule::Linear, 100), 0.2);
    near(rate(Schedule::Constant, 99), 1.0);
    near(rate(Schedule::InverseSqrt, 9), 10.0 / 11.0);
    near(rate(Schedule::InverseSqrt, 39), 0.5);
}
