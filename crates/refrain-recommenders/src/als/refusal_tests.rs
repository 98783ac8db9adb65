//! What is refused, and how a fit is watched and stopped.

use std::sync::{Arc, Mutex};

use refrain_core::{CancelToken, Event};

use super::*;

#[test]
fn refuses_settings_and_data_it_cannot_use() {
    let log = crate::conformance::blocks_log();
    let good = Als::default();
    let bad = [
        (
            "factors",
            Als {
                factors: 0,
                ..good.clone()
            },
        ),
        (
            "factors",
            Als {
                factors: 5000,
                ..good.clone()
            },
        ),
        (
            "iterations",
            Als {
                iterations: 0,
                ..good.clone()
            },
        ),
        (
            "alpha",
            Als {
                alpha: 0.0,
                ..good.clone()
            },
        ),
        (
            "alpha",
            Als {
                alpha: f32::NAN,
                ..good.clone()
            },
        ),
        (
            "regularization",
            Als {
                regularization: Regularization::Relative(-1.0),
                ..good.clone()
            },
        ),
        (
            "regularization",
            Als {
                regularization: Regularization::Absolute(0.0),
                ..good.clone()
            },
        ),
        (
            "init_scale",
            Als {
                init_scale: f32::INFINITY,
                ..good.clone()
            },
        ),
        (
            "frequency_exponent",
            Als {
                frequency_exponent: f32::NAN,
                ..good.clone()
            },
        ),
        (
            "solver.steps",
            Als {
                solver: Solver::ConjugateGradient { steps: 0 },
                ..good.clone()
            },
        ),
        (
            "biases",
            Als {
                biases: true,
                solver: Solver::Block { size: 16 },
                ..good.clone()
            },
        ),
        (
            "solver.size",
            Als {
                solver: Solver::Block { size: 0 },
                ..good.clone()
            },
        ),
    ];
    for (expected, config) in bad {
        match config.fit(&log).unwrap_err() {
            Error::Config { field, .. } => assert_eq!(field, expected),
            error => panic!("{error}"),
        }
    }
    let nobody = log.filter(|_| false).unwrap();
    assert!(matches!(good.fit(&nobody).unwrap_err(), Error::Data { .. }));
    let huge = Als {
        alpha: f32::MAX,
        confidence: Confidence::Linear,
        ..good.clone()
    };
    let error = huge.fit(&log).unwrap_err();
    assert!(
        matches!(error, Error::Data { .. } | Error::Diverged { .. }),
        "{error}"
    );
    let model = Als {
        confidence: Confidence::Linear,
        ..good
    }
    .fit(&log)
    .unwrap();
    assert!(matches!(
        model.fold_in(&[(0, f32::MAX)]).unwrap_err(),
        Error::Data { .. }
    ));
}

#[test]
fn tells_its_progress_and_stops_when_asked() {
    let log = crate::conformance::blocks_log();
    let told = Arc::new(Mutex::new(Vec::new()));
    let (seen, token) = (told.clone(), CancelToken::new());
    let stop = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { done, message, .. } = event {
            seen.lock().unwrap().push(message.to_string());
            if *done == 3 {
                stop.cancel();
            }
        }
    })
    .with_cancel(token);
    let error = Als::default().fit_with(&log, &monitor).unwrap_err();
    assert_eq!(error.to_string(), "cancelled during ALS");
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 3);
    assert!(
        told.iter().all(|message| message.starts_with("loss ")),
        "{told:?}"
    );
}
