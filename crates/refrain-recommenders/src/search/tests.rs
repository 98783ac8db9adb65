use std::sync::atomic::AtomicUsize;

use refrain_core::{CancelToken, Event};

use super::*;
use crate::conformance::blocks_log;
use crate::{ItemKnn, Random as Chance};

fn search() -> Search {
    Search {
        space: Space::new()
            .int_log("neighbours", 1..=30)
            .choice("model", ["knn", "chance"]),
        metric: Metric::Ndcg(5).into(),
        trials: 12,
        ..Search::default()
    }
}

fn fit(trial: &Trial, log: &Interactions) -> Result<Box<dyn Recommender>> {
    Ok(match trial.choice("model")? {
        "knn" => Box::new(
            ItemKnn {
                neighbours: trial.size("neighbours")?,
                ..ItemKnn::default()
            }
            .fit(log)?,
        ),
        _ => Box::new(Chance::default().fit(log)?),
    })
}

fn untimed(report: &SearchReport) -> Vec<(Trial, Option<f64>, Option<String>)> {
    let trials = report.trials.iter();
    trials
        .map(|t| (t.trial.clone(), t.score, t.error.clone()))
        .collect()
}

#[test]
fn each_strategy_finds_the_model_that_knows() {
    let log = blocks_log();
    for (strategy, trials) in [
        (Strategy::Grid { steps: 4 }, 8),
        (Strategy::Random, 12),
        (
            Strategy::Halving {
                factor: 3,
                start: 0.4,
                resource: Resource::Users,
            },
            12 + 4,
        ),
        (
            Strategy::Halving {
                factor: 2,
                start: 0.25,
                resource: Resource::Work,
            },
            12 + 6 + 3,
        ),
    ] {
        let search = Search {
            strategy,
            ..search()
        };
        let (model, report) = search.fit(&log, fit).unwrap();
        assert_eq!(report.trials.len(), trials, "{report}");
        let best = report.best().unwrap();
        assert_eq!(best.trial.choice("model").unwrap(), "knn", "{report}");
        assert_eq!(best.trial.share, 1.0);
        assert_eq!(model.name(), "item-kNN");
        assert!(report.to_string().contains("model knn"));
        // Two at once find the same.
        let parallel = Search {
            parallel: 3,
            ..search
        };
        let again = parallel.run(&log, fit).unwrap();
        assert_eq!(untimed(&again), untimed(&report));
    }
}

#[test]
fn known_settings_are_tried_first() {
    let log = blocks_log();
    let values = |neighbours: Value, model: &str| {
        vec![
            ("model".to_string(), Value::from(model)),
            ("neighbours".to_string(), neighbours),
        ]
    };
    let drawn = search().run(&log, fit).unwrap();
    let search = Search {
        first: vec![values(99.into(), "chance")],
        ..search()
    };
    let report = search.run(&log, fit).unwrap();
    assert_eq!(report.trials.len(), drawn.trials.len());
    assert_eq!(report.trials[0].trial.size("neighbours").unwrap(), 99);
    assert_eq!(report.trials[0].trial.choice("model").unwrap(), "chance");
    for (before, after) in drawn.trials.iter().zip(&report.trials[1..]) {
        assert_eq!(before.trial.values, after.trial.values);
    }
    for wrong in [
        values(1.5.into(), "knn"),
        values(3.into(), "als"),
        values(3.into(), "knn")[..1].to_vec(),
        [values(3.into(), "knn"), vec![("x".into(), 1.into())]].concat(),
    ] {
        let first = vec![wrong];
        let search = Search {
            first,
            ..search.clone()
        };
        let error = search.run(&log, fit).unwrap_err();
        assert!(
            matches!(error, Error::Config { field: "first", .. }),
            "{error}"
        );
    }
}

#[test]
fn the_best_is_fitted_in_full_though_time_ran_out() {
    let shares = Mutex::new(Vec::new());
    let search = Search {
        strategy: Strategy::Halving {
            factor: 2,
            start: 0.25,
            resource: Resource::Work,
        },
        seconds: Some(0.0),
        ..search()
    };
    let found = search.fit(&blocks_log(), |trial, log| {
        shares.lock().unwrap().push(trial.share);
        fit(trial, log)
    });
    assert!(found.unwrap().1.stopped);
    assert_eq!(*shares.lock().unwrap(), [0.25, 1.0]);
}

#[test]
fn a_grid_larger_than_the_budget_is_sampled_without_repeats() {
    let search = Search {
        strategy: Strategy::Grid { steps: 30 },
        trials: 20,
        ..search()
    };
    let (mut trials, _) = search.plan();
    assert_eq!(trials.len(), 20);
    trials.sort_by_key(|t| format!("{:?}", t.values));
    trials.dedup_by(|a, b| a.values == b.values);
    assert_eq!(trials.len(), 20);
}

#[test]
fn a_search_goes_on_from_its_journal() {
    let log = blocks_log();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("search.jsonl");
    // A third setting, so that no two draws are the same.
    let wide = Search {
        space: search().space.log("unused", 0.1..=100.0),
        ..search()
    };
    let whole = wide.run(&log, fit).unwrap();
    let resumable = Search {
        journal: Some(path.clone()),
        ..wide
    };
    // Cancelled in the fifth trial, and then cut in the middle of a line.
    let token = CancelToken::new();
    let (monitor, fits) = (
        Monitor::silent().with_cancel(token.clone()),
        AtomicUsize::new(0),
    );
    let counted = |trial: &Trial, log: &Interactions| {
        if fits.fetch_add(1, Ordering::Relaxed) == 4 {
            token.cancel();
        }
        fit(trial, log)
    };
    let error = resumable.run_with(&log, counted, &monitor).unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    let text = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text.lines().count(), 6);
    std::fs::write(&path, &text[..text.len() - 9]).unwrap();

    let fits = AtomicUsize::new(0);
    let counted = |trial: &Trial, log: &Interactions| {
        fits.fetch_add(1, Ordering::Relaxed);
        fit(trial, log)
    };
    let resumed = resumable.run(&log, counted).unwrap();
    assert_eq!(untimed(&resumed), untimed(&whole));
    assert_eq!(fits.load(Ordering::Relaxed), 8);
    // More trials cost only what is new; the file now has all.
    let more = Search {
        trials: 14,
        ..resumable.clone()
    };
    assert_eq!(more.run(&log, counted).unwrap().trials.len(), 14);
    assert_eq!(fits.load(Ordering::Relaxed), 10);

    // Another search, another log and a damaged line are refused.
    let other = Search {
        metric: Metric::Recall(5).into(),
        ..resumable.clone()
    };
    let error = other.run(&log, fit).unwrap_err();
    assert!(matches!(error, Error::Journal { line: 1, .. }), "{error}");
    let fewer = log.filter(|event| event.user != 3).unwrap();
    assert!(resumable.run(&fewer, fit).is_err());
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replacen("\"score\":0", "\"score\":x", 2)).unwrap();
    let error = resumable.run(&log, fit).unwrap_err();
    assert!(matches!(error, Error::Journal { line: 2, .. }), "{error}");
}

#[test]
fn failures_are_reported_and_time_limits_kept() {
    let log = blocks_log();
    let picky = |trial: &Trial, log: &Interactions| {
        ItemKnn {
            neighbours: trial.size("neighbours")? - 1,
            ..ItemKnn::default()
        }
        .fit(log)
        .map(|model| Box::new(model) as Box<dyn Recommender>)
    };
    let small = Search {
        space: Space::new().int("neighbours", 1..=3),
        strategy: Strategy::Grid { steps: 3 },
        ..search()
    };
    let (_, report) = small.fit(&log, picky).unwrap();
    let failed = report.trials.iter().filter(|t| t.score.is_none()).count();
    assert_eq!((report.trials.len(), failed), (3, 1));
    assert!(report.to_string().contains("failed"), "{report}");
    let never = |_: &Trial, _: &Interactions| Err(missing_model());
    assert!(matches!(small.fit(&log, never), Err(Error::Data { .. })));

    let rushed = Search {
        seconds: Some(0.0),
        ..search()
    };
    let report = rushed.run(&log, fit).unwrap();
    assert_eq!((report.trials.len(), report.stopped), (1, true));
    assert!(report.to_string().contains("stopped by the time limit"));
}

fn missing_model() -> Error {
    Error::Unsupported {
        model: "none".into(),
        what: "be fitted",
    }
}

#[test]
fn progress_counts_trials() {
    let seen = std::sync::Arc::new(AtomicUsize::new(0));
    let counter = seen.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { total, .. } = event {
            assert_eq!(*total, Some(12));
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    search().run_with(&blocks_log(), fit, &monitor).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 12);
}

#[test]
fn settings_out_of_range_are_refused() {
    let log = blocks_log();
    let halving = |factor, start| Strategy::Halving {
        factor,
        start,
        resource: Resource::Work,
    };
    for bad in [
        Search {
            trials: 0,
            ..search()
        },
        Search {
            parallel: 0,
            ..search()
        },
        Search {
            metric: Metric::Gini(5).into(),
            ..search()
        },
        Search {
            seconds: Some(f64::NAN),
            ..search()
        },
        Search {
            strategy: Strategy::Grid { steps: 0 },
            ..search()
        },
        Search {
            strategy: halving(1, 0.5),
            ..search()
        },
        Search {
            strategy: halving(2, 0.0),
            ..search()
        },
        Search {
            space: Space::new().int("n", std::ops::RangeInclusive::new(2, 1)),
            ..search()
        },
    ] {
        assert!(matches!(bad.run(&log, fit), Err(Error::Config { .. })));
    }
}

#[test]
fn ratings_are_judged_by_their_error() {
    // Ratings of a user's bias and an item's; a baseline with much shrinkage misses them.
    let rating = |u: u32, i: u32| 3.0 + (u % 3) as f32 - 1.0 + (i % 3) as f32 / 2.0;
    let events = (0..40u32).flat_map(|u| (0..12u32).map(move |i| (u, (i * 5 + u) % 30)));
    let log = Interactions::from_events(events.map(|(u, i)| (u, i, rating(u, i)))).unwrap();
    let fit = |trial: &Trial, log: &Interactions| -> crate::Result<Box<dyn Recommender>> {
        let shrinkage = trial.f32("shrinkage")?;
        let config = crate::Baseline {
            user_regularization: shrinkage,
            item_regularization: shrinkage,
            ..crate::Baseline::default()
        };
        Ok(Box::new(config.fit(log)?))
    };
    for goal in [Goal::Rmse, Goal::Mae] {
        let search = Search {
            space: Space::new().log("shrinkage", 0.1..=1000.0),
            strategy: Strategy::Grid { steps: 5 },
            metric: goal,
            ..Search::default()
        };
        let report = search.run(&log, fit).unwrap();
        let best = report.best().unwrap();
        assert!(
            (best.trial.f32("shrinkage").unwrap() - 0.1).abs() < 1e-4,
            "{report}"
        );
        let scores = report.trials.iter().filter_map(|t| t.score);
        assert_eq!(best.score, scores.reduce(f64::min));
        assert!(report.to_string().contains(&goal.to_string()), "{report}");
    }
    // Small errors win in each strategy, also when the search goes on from a journal.
    let folder = tempfile::tempdir().unwrap();
    let halving = Strategy::Halving {
        factor: 3,
        start: 0.4,
        resource: Resource::Users,
    };
    for (name, strategy) in [("random", Strategy::Random), ("halving", halving)] {
        let search = Search {
            space: Space::new().log("shrinkage", 0.1..=1000.0),
            strategy,
            trials: 9,
            metric: Goal::Rmse,
            ..Search::default()
        };
        let whole = search.run(&log, fit).unwrap();
        let full = whole.trials.iter().filter(|t| t.trial.share == 1.0);
        let least = full.filter_map(|t| t.score).reduce(f64::min);
        assert_eq!(whole.best().unwrap().score, least, "{whole}");
        let journal = Some(folder.path().join(name));
        let part = Search {
            journal: journal.clone(),
            seconds: Some(0.0),
            ..search.clone()
        };
        assert!(part.run(&log, fit).unwrap().stopped);
        let rest = Search { journal, ..search };
        assert_eq!(untimed(&rest.run(&log, fit).unwrap()), untimed(&whole));
    }
    let search = Search {
        metric: Goal::Rmse,
        trials: 1,
        ..Search::default()
    };
    let popular = |_: &Trial, log: &Interactions| -> crate::Result<Box<dyn Recommender>> {
        Ok(Box::new(crate::Popularity::default().fit(log)?))
    };
    let report = search.run(&log, popular).unwrap();
    assert!(report.to_string().contains("predict ratings"), "{report}");
}
