//! What models that read a history in its order promise.

use super::*;

/// 60 users who go 8 steps each on a ring of 20 items.
fn ring_events() -> impl Iterator<Item = (usize, usize, i64)> {
    let steps = |u| (0..8).map(move |step| (u, (u * 7 + step) % 20, step as i64));
    (0..60).flat_map(steps)
}

fn ring_log(events: impl Iterator<Item = (usize, usize, i64)>) -> Interactions {
    let mut builder = Interactions::builder();
    for (u, i, time) in events {
        builder.push(user(u), item(i), 1.0, Some(time)).unwrap();
    }
    builder.build().unwrap()
}

pub(crate) fn ring(fit: Fit) {
    let model = fit(&ring_log(ring_events())).unwrap();
    for u in 0..20 {
        let best = model.recommend(&user(u), 3).unwrap();
        assert_eq!(best[0].item, item((u * 7 + 8) % 20), "for u{u}: {best:?}");
        let names: Vec<String> = (u..u + 5).map(|i| item(i % 20)).collect();
        let mut history: Vec<(&str, f32)> = names.iter().map(|n| (n.as_str(), 1.0)).collect();
        let best = model.recommend_for(&history, 3).unwrap();
        assert_eq!(
            best[0].item,
            item((u + 5) % 20),
            "after {history:?}: {best:?}"
        );
        // The same items in another order are another history.
        history.reverse();
        assert_ne!(model.recommend_for(&history, 3).unwrap(), best);
    }
}

pub(crate) fn folds_in_by_order(fit: Fit, tolerance: f32) {
    let log = blocks_log();
    let model = fit(&log).unwrap();
    let sequences = crate::Sequences::new(&log).unwrap();
    for u in 0..36 {
        let mine: Vec<(u32, f32)> = sequences.of(u).iter().map(|&i| (i, 1.0)).collect();
        let (known, new) = (scores_of(&*model, u), folded(&*model, &mine));
        let largest = known.iter().fold(0.0f32, |m, s| m.max(s.abs()));
        for i in (0..30).filter(|i| mine.iter().all(|&(seen, _)| seen != *i)) {
            let (a, b) = (known[i as usize], new[i as usize]);
            assert!((a - b).abs() <= tolerance * largest, "u{u} i{i}: {a} {b}");
        }
        // What did not happen does not count, and the same item may come again.
        let mut more = mine.clone();
        more.insert(0, (3, 0.0));
        more.push((4, -1.0));
        assert_eq!(folded(&*model, &more), new);
        more.extend(mine);
        assert!(folded(&*model, &more).iter().all(|score| score.is_finite()));
    }
}

pub(crate) fn changes_by_order(fit: Fit) {
    let early = || ring_events().filter(|&(u, _, time)| u < 50 && time < 6);
    let late = || ring_events().filter(|&(u, _, time)| u >= 50 || time >= 6);
    let all = ring_log(early().chain(late()));
    let exact = |change: Result<crate::Change>| match change {
        Ok(change) => change == crate::Change::Exact,
        Err(error) => {
            assert!(matches!(error, Error::Unsupported { .. }), "{error}");
            false
        }
    };
    let mut model = fit(&ring_log(early())).unwrap();
    if exact(model.update(&ring_log(late()))) {
        assert_eq!(answers(&*model), answers(&*fit(&all).unwrap()));
    }
    let mut model = fit(&all).unwrap();
    if exact(model.forget_user("u7")) {
        let left = early().chain(late()).filter(|&(u, ..)| u != 7);
        assert_eq!(answers(&*model), answers(&*fit(&ring_log(left)).unwrap()));
    }
    let mut model = fit(&all).unwrap();
    if exact(model.forget_item("i3")) {
        let left = early().chain(late()).filter(|&(_, i, _)| i != 3);
        assert_eq!(answers(&*model), answers(&*fit(&ring_log(left)).unwrap()));
    }
    let unknown = model.forget_user("nobody").unwrap_err();
    assert!(matches!(unknown, Error::UnknownUser { .. }), "{unknown}");
    let unknown = model.forget_item("nothing").unwrap_err();
    assert!(matches!(unknown, Error::UnknownItem { .. }), "{unknown}");
}
