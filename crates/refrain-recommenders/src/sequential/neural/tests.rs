//! What all neural models share: gradients by differences, both ways of computing, conformance.

use refrain_core::{CancelToken, Device, Monitor};
use refrain_data::Interactions;
use refrain_sequence::parts::{Dropout, Rows};

use super::body::{Body, BodyTape};
use super::engine::{Batch, Engine};
use super::fit::Plan;
use super::gru::Gru;
use super::objective::{Draws, NONE};
use super::table::{Adam, Table, normal};
use super::two_tower_tests::small_tower;
use super::*;
use crate::Error;
use crate::conformance::blocks_log;

pub(super) fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

pub(super) fn quick(epochs: usize) -> Training {
    Training {
        epochs,
        patience: None,
        validate: false,
        batch: 8,
        learning_rate: 1e-2,
        ..Training::default()
    }
}

fn small_sasrec(order: Order, loss: NextItemLoss) -> SasRec {
    SasRec {
        width: 16,
        layers: 1,
        context: 10,
        dropout: 0.0,
        order,
        training: Training { loss, ..quick(20) },
        ..SasRec::default()
    }
}

crate::conformance!(sasrec, sequential, |log| {
    small_sasrec(Order::Learned, NextItemLoss::Auto).fit(log, &cpu())
});
crate::conformance!(sasrec_gbce, sequential, |log| {
    let loss = NextItemLoss::Gbce {
        negatives: 12,
        calibration: 0.75,
    };
    small_sasrec(Order::Rotary, loss).fit(log, &cpu())
});
crate::conformance!(sasrec_sampled, sequential, |log| {
    let loss = NextItemLoss::SampledSoftmax { negatives: 12 };
    small_sasrec(Order::Rotary, loss).fit(log, &cpu())
});
crate::conformance!(gru4rec, sequential, |log| {
    Gru4Rec {
        width: 16,
        context: 10,
        dropout: 0.0,
        training: quick(20),
        ..Gru4Rec::default()
    }
    .fit(log, &cpu())
});
crate::conformance!(bert4rec, sequential, |log| {
    Bert4Rec {
        width: 16,
        layers: 1,
        context: 6, // all lengths it is asked at are trained
        dropout: 0.0,
        training: quick(100),
        ..Bert4Rec::default()
    }
    .fit(log, &cpu())
});

fn plans() -> [Plan; 4] {
    let sasrec = SasRec {
        width: 8,
        layers: 1,
        context: 6,
        ..SasRec::default()
    };
    let bert = Bert4Rec {
        width: 8,
        layers: 1,
        context: 6,
        ..Bert4Rec::default()
    };
    let gru = Gru4Rec {
        width: 8,
        layers: 2,
        context: 6,
        ..Gru4Rec::default()
    };
    let tower = TwoTower {
        width: 8,
        hidden: 6,
        ..TwoTower::default()
    };
    [
        sasrec.plan().unwrap(),
        bert.plan().unwrap(),
        gru.plan().unwrap(),
        tower.plan().unwrap(),
    ]
}

/// `Σ y · c` has the gradient `c`: rows and weights by central differences.
fn differences(body: &Body, dropout: Option<Dropout>) {
    let tile = [Rows::rows(3, 1), Rows::rows(1, 2), Rows::rows(5, 3)];
    let w: Vec<f32> = body.initial(4).iter().map(|x| x * 3.0).collect();
    let (x, c) = (normal(72, 0.7, 5, 0), normal(72, 1.0, 6, 0));
    let loss = |w: &[f32], x: &[f32]| -> f64 {
        let mut tape = BodyTape::default();
        let y = body.forward(w, &tile, dropout, x, &mut tape);
        y.iter().zip(&c).map(|(y, c)| f64::from(y * c)).sum()
    };
    let (mut tape, mut g) = (BodyTape::default(), vec![0.0; w.len()]);
    body.forward(&w, &tile, dropout, &x, &mut tape);
    let dx = body
        .backward(&w, &mut g, &tile, dropout, &c, &mut tape)
        .to_vec();
    let close = |got: f32, values: &[f32], at: usize, f: &dyn Fn(&[f32]) -> f64, what: &str| {
        let step = 1e-2f32;
        let moved = |by: f32| {
            let mut values = values.to_vec();
            values[at] += by;
            f(&values)
        };
        let slope = (moved(step) - moved(-step)) / (2.0 * f64::from(step));
        let scale = 1.0 + slope.abs();
        assert!(
            (f64::from(got) - slope).abs() < 2e-2 * scale,
            "{what} {at}: {got} {slope}"
        );
    };
    for at in (0..72).step_by(5) {
        close(dx[at], &x, at, &|x| loss(&w, x), "row");
    }
    for at in (8..w.len()).step_by(29) {
        close(g[at], &w, at, &|w| loss(w, &x), "weight");
    }
}

#[test]
fn gradients_are_differences() {
    let dropout = Some(Dropout { rate: 0.3, seed: 9 });
    let [_, bert, gru, tower] = plans();
    for body in [&bert.body, &gru.body, &tower.body] {
        differences(body, None);
        differences(body, dropout);
    }
}

/// Five steps by both ways, on the CPU's device: losses, weights and vectors.
#[test]
fn kernels_and_tensor_programs_agree() {
    let losses = [
        NextItemLoss::Softmax,
        NextItemLoss::SampledSoftmax { negatives: 9 },
        NextItemLoss::Gbce {
            negatives: 9,
            calibration: 0.75,
        },
        NextItemLoss::InBatchSoftmax,
    ];
    let draws = Draws::new(&[1; 12], 0.0);
    for plan in plans() {
        for loss in losses {
            let run = |program: bool| {
                let table = Table::new(normal(13 * 8, 0.3, 1, 0), 8);
                let body = plan.body.clone();
                let mut engine = Engine::new(body, table, 2.8, 12, loss, 3, &cpu());
                if program {
                    engine.use_program(&cpu());
                }
                let mut out = Vec::new();
                for step in 1..=5u64 {
                    let mut batch = Batch::default();
                    for s in 0..4u32 {
                        let length = 2 + (s + step as u32) % 4;
                        for i in 0..length {
                            batch.inputs.push((s * 5 + i * 3 + step as u32) % 13);
                            let target = (s + i * 7) % 12;
                            batch.targets.push(if i == 1 { NONE } else { target });
                        }
                        let number = step * 10 + u64::from(s);
                        batch.sequences.push(Rows::rows(length as usize, number));
                    }
                    let candidates = match loss {
                        NextItemLoss::InBatchSoftmax => draws.in_batch(&batch.targets),
                        _ => draws.candidates(loss, 1, step),
                    };
                    let dropout = Some(Dropout { rate: 0.2, seed: 2 });
                    let adam = Adam { rate: 1e-3, step };
                    out.push(engine.step(&batch, &candidates, dropout, adam).unwrap() as f32);
                }
                out.extend(engine.weights().unwrap());
                out.extend(&engine.table.rows);
                out
            };
            let (kernels, program) = (run(false), run(true));
            assert_eq!(kernels.len(), program.len());
            for (at, (a, b)) in kernels.iter().zip(&program).enumerate() {
                assert!((a - b).abs() < 2e-3, "{} {loss:?} {at}: {a} {b}", plan.name);
            }
        }
    }
}

#[test]
fn a_step_touches_only_its_rows() {
    let plan = &plans()[0];
    let start = normal(1000 * 8, 0.3, 1, 0);
    let loss = NextItemLoss::SampledSoftmax { negatives: 5 };
    let draws = Draws::new(&[1; 1000], 0.0);
    let candidates = draws.candidates(loss, 1, 1);
    let table = Table::new(start.clone(), 8);
    let mut engine = Engine::new(plan.body.clone(), table, 1.0, 1000, loss, 3, &cpu());
    let batch = Batch {
        sequences: vec![Rows::rows(3, 1)],
        inputs: vec![7, 500, 9],
        targets: vec![500, 9, 999],
    };
    let adam = Adam {
        rate: 1e-2,
        step: 1,
    };
    engine.step(&batch, &candidates, None, adam).unwrap();
    for item in 0..1000u32 {
        let at = item as usize * 8;
        let moved = engine.table.rows[at..at + 8] != start[at..at + 8];
        let touched = [7, 500, 9, 999].contains(&item) || candidates.items.contains(&item);
        assert_eq!(moved, touched, "{item}");
    }
}

#[test]
fn bad_settings_and_data_are_errors() {
    let log = blocks_log();
    let config = |wrong: SasRec| matches!(wrong.fit(&log, &cpu()), Err(Error::Config { .. }));
    let default = SasRec::default;
    let training = Training::default;
    for wrong in [
        SasRec {
            width: 0,
            ..default()
        },
        SasRec {
            heads: 3,
            ..default()
        },
        SasRec {
            context: 0,
            ..default()
        },
        SasRec {
            dropout: 1.0,
            ..default()
        },
        SasRec {
            dropout: f32::NAN,
            ..default()
        },
        SasRec {
            training: Training {
                batch: 0,
                ..training()
            },
            ..default()
        },
        SasRec {
            training: Training {
                learning_rate: f32::NAN,
                ..training()
            },
            ..default()
        },
        SasRec {
            training: Training {
                negative_power: 2.0,
                ..training()
            },
            ..default()
        },
        SasRec {
            training: Training {
                loss: NextItemLoss::SampledSoftmax { negatives: 0 },
                ..training()
            },
            ..default()
        },
    ] {
        assert!(config(wrong.clone()), "{wrong:?}");
    }
    let gru = Gru4Rec {
        layers: 0,
        ..Gru4Rec::default()
    };
    assert!(matches!(gru.fit(&log, &cpu()), Err(Error::Config { .. })));
    let bert = Bert4Rec {
        cloze: 0.0,
        ..Bert4Rec::default()
    };
    assert!(matches!(bert.fit(&log, &cpu()), Err(Error::Config { .. })));

    let mut once = Interactions::builder();
    once.push("a", "x", 1.0, Some(1)).unwrap();
    once.push("b", "y", 1.0, Some(1)).unwrap();
    let once = once.build().unwrap();
    assert!(matches!(
        default().fit(&once, &cpu()),
        Err(Error::Data { .. })
    ));

    let wild = SasRec {
        training: Training {
            learning_rate: 1e30,
            ..quick(3)
        },
        ..small_sasrec(Order::Learned, NextItemLoss::Softmax)
    };
    let error = wild.fit(&log, &cpu()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");

    let cancel = CancelToken::new();
    cancel.cancel();
    let monitor = Monitor::silent().with_cancel(cancel);
    assert!(default().fit_with(&log, &cpu(), &monitor).is_err());
}

#[test]
fn validation_keeps_the_best_and_stops() {
    use std::sync::{Arc, Mutex};
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let monitor = Monitor::new(move |event: &refrain_core::Event<'_>| {
        if let refrain_core::Event::Advance { message, .. } = event {
            heard.lock().unwrap().push((*message).to_string());
        }
    });
    let config = SasRec {
        training: Training {
            validate: true,
            patience: Some(3),
            ..quick(60)
        },
        ..small_sasrec(Order::Learned, NextItemLoss::Auto)
    };
    config.fit_with(&blocks_log(), &cpu(), &monitor).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen.len() < 60, "{} epochs", seen.len());
    assert!(
        seen.iter().all(|m| m.contains("validation NDCG@10")),
        "{seen:?}"
    );
}

/// Runs of each kind, by kernels and by tensor programs, cancelled and taken up again.
#[test]
fn a_resumed_run_is_the_unbroken_one() {
    use crate::Recommender;
    use refrain_core::{CancelToken, Event};
    let folder = tempfile::tempdir().unwrap();
    let log = blocks_log();
    let settings = |training: Training| {
        let sasrec = SasRec {
            training: training.clone(),
            ..small_sasrec(Order::Learned, NextItemLoss::Auto)
        };
        let gru = Gru4Rec {
            width: 8,
            context: 6,
            training: training.clone(),
            ..Gru4Rec::default()
        };
        let tower = TwoTower {
            training,
            ..small_tower()
        };
        [
            Settings::SasRec(sasrec),
            Settings::Gru4Rec(gru),
            Settings::TwoTower(tower),
        ]
    };
    let training = Training {
        epochs: 5,
        validate: true,
        ..quick(5)
    };
    let fit = |settings: Settings, monitor: &Monitor| match settings {
        Settings::SasRec(s) => s.fit_with(&log, &cpu(), monitor),
        Settings::Gru4Rec(s) => s.fit_with(&log, &cpu(), monitor),
        Settings::TwoTower(s) => s.fit_with(&log, None, &cpu(), monitor),
        Settings::Bert4Rec(s) => s.fit_with(&log, &cpu(), monitor),
    };
    let nowhere = Training {
        checkpoint: Some(folder.path().join("no/such.refrain")),
        ..training.clone()
    };
    let error = fit(settings(nowhere)[0].clone(), &Monitor::silent()).unwrap_err();
    assert!(error.to_string().contains("no"), "{error}");
    for (kind, unbroken) in settings(training.clone()).into_iter().enumerate() {
        let path = folder.path().join(format!("{kind}.refrain"));
        let saving = Training {
            checkpoint: Some(path.clone()),
            ..training.clone()
        };
        let saved = settings(saving.clone())[kind].clone();
        std::fs::write(&path, "").unwrap(); // as a writer leaves it that was stopped at once
        let token = CancelToken::new();
        let stop = token.clone();
        let monitor = Monitor::new(move |event: &Event<'_>| {
            if let Event::Advance { done: 2, .. } = event {
                stop.cancel();
            }
        });
        assert!(fit(saved.clone(), &monitor.with_cancel(token)).is_err());
        let resumed = fit(saved.clone(), &Monitor::silent()).unwrap();
        let unbroken = fit(unbroken, &Monitor::silent()).unwrap();
        let bytes = |model: &NextItemModel| model.to_file().unwrap().to_bytes().unwrap();
        assert!(bytes(&resumed) == bytes(&unbroken), "{kind}");
        // All epochs are there: asked again, it is at its end at once.
        assert!(bytes(&fit(saved, &Monitor::silent()).unwrap()) == bytes(&unbroken));
        let other = Training { seed: 9, ..saving };
        let error = fit(settings(other)[kind].clone(), &Monitor::silent()).unwrap_err();
        assert!(error.to_string().contains("other settings"), "{error}");
        // Truncated, it is refused.
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(
            fit(
                settings(Training {
                    checkpoint: Some(path),
                    ..training.clone()
                })[kind]
                    .clone(),
                &Monitor::silent()
            )
            .is_err()
        );
    }
}

#[test]
fn tensor_programs_are_restored() {
    let draws = Draws::new(&[1; 12], 0.0);
    let loss = NextItemLoss::Softmax;
    let candidates = draws.candidates(loss, 1, 1);
    for plan in plans() {
        let engine = || {
            let table = Table::new(normal(13 * 8, 0.3, 1, 0), 8);
            let mut engine = Engine::new(plan.body.clone(), table, 2.8, 12, loss, 3, &cpu());
            engine.use_program(&cpu());
            engine
        };
        let learn = |engine: &mut Engine, step: u64| {
            let batch = Batch {
                sequences: vec![Rows::rows(3, step)],
                inputs: vec![1, 5, 7],
                targets: vec![5, 7, 2],
            };
            let adam = Adam { rate: 1e-2, step };
            engine.step(&batch, &candidates, None, adam).unwrap();
        };
        let (mut one, mut two) = (engine(), engine());
        learn(&mut one, 1);
        two.restore(one.parameters().unwrap()).unwrap();
        two.table = one.table.clone();
        learn(&mut one, 2);
        learn(&mut two, 2);
        assert_eq!(one.parameters().unwrap(), two.parameters().unwrap());
    }
}

#[test]
fn recurrent_units_by_hand() {
    // One unit, one step: weights of r, z, n are 1, 2, 3; all biases 0.
    let gru = Gru {
        width: 1,
        layers: 1,
    };
    let w = [1.0, 2.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    let body = Body::Recurrent(gru);
    let y = body.forward(
        &w,
        &[Rows::rows(1, 0)],
        None,
        &[0.5],
        &mut BodyTape::default(),
    )[0];
    let z = 1.0 / (1.0 + (-1.0f32).exp());
    assert!((y - (1.0 - z) * 1.5f32.tanh()).abs() < 1e-6);
}
