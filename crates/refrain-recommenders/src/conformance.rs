//! What every recommender promises, as one suite that each model runs with one macro line.
//!
//! ```ignore
//! crate::conformance!(default, personal, |log| ItemKnn::default().fit(log));
//! crate::conformance!(default, general, |log| Popularity::default().fit(log));
//! crate::conformance!(default, personal, fold_in = 0.05, |log| Als::default().fit(log));
//! crate::conformance!(default, sequential, |log| Markov::default().fit(log));
//! ```
//!
//! *personal* models also have to find the obvious answer on a checkerboard and on blocks. `fold_in`
//! is how far, relative to the largest score, a user's scores may differ from those of someone unseen
//! with the same history. For *sequential* models the order of a history matters and items may come
//! again; they have to find the next step on a ring, and what they change they change as a new fit
//! would, where they say that it is exact.

use rand::RngExt;
use refrain_core::{ModelFile, rng};
use refrain_data::Interactions;

use crate::{Change, Error, Query, Recommender, Result, Who, from_file};

mod changes;
mod order;

pub(crate) use changes::changes;
pub(crate) use order::{changes_by_order, folds_in_by_order, ring};

pub(crate) type Model = Box<dyn Recommender>;
pub(crate) type Fit = fn(&Interactions) -> Result<Model>;

macro_rules! conformance {
    ($name:ident, $kind:ident, $fit:expr) => {
        $crate::conformance!($name, $kind, fold_in = 1e-4, $fit);
    };
    ($name:ident, personal, fold_in = $fold_in:expr, $fit:expr) => {
        mod $name {
            use super::*;
            $crate::conformance!(@shared $fold_in, $fit);

            #[test]
            fn checkerboard() {
                $crate::conformance::checkerboard(fit);
            }

            #[test]
            fn blocks() {
                $crate::conformance::blocks(fit);
            }
        }
    };
    ($name:ident, general, fold_in = $fold_in:expr, $fit:expr) => {
        mod $name {
            use super::*;
            $crate::conformance!(@shared $fold_in, $fit);
        }
    };
    ($name:ident, sequential, fold_in = $fold_in:expr, $fit:expr) => {
        mod $name {
            use super::*;
            $crate::conformance!(@every $fit);

            #[test]
            fn folds_in_by_order() {
                $crate::conformance::folds_in_by_order(fit, $fold_in);
            }

            #[test]
            fn next_on_the_ring() {
                $crate::conformance::ring(fit);
            }

            #[test]
            fn changes_as_it_says() {
                $crate::conformance::changes_by_order(fit);
            }
        }
    };
    (@shared $fold_in:expr, $fit:expr) => {
        $crate::conformance!(@every $fit);

        #[test]
        fn folds_in() {
            $crate::conformance::folds_in(fit, $fold_in);
        }

        #[test]
        fn changes_as_it_says() {
            $crate::conformance::changes(fit);
        }
    };
    (@every $fit:expr) => {
        fn fit(log: &refrain_data::Interactions) -> $crate::Result<$crate::conformance::Model> {
            let fit = $fit;
            fit(log).map(|model| Box::new(model) as $crate::conformance::Model)
        }

        #[test]
        fn lists_are_honest() {
            $crate::conformance::lists_are_honest(fit);
        }

        #[test]
        fn same_bits_again_and_on_any_threads() {
            $crate::conformance::same_bits(fit);
        }

        #[test]
        fn saves_and_loads() {
            $crate::conformance::saves_and_loads(fit);
        }

        #[test]
        fn refuses_what_it_does_not_know() {
            $crate::conformance::refuses(fit);
        }

        #[test]
        fn explains_its_scores() {
            $crate::conformance::explains(fit);
        }
    };
}
pub(crate) use conformance;

fn user(u: usize) -> String {
    format!("u{u}")
}

fn item(i: usize) -> String {
    format!("i{i}")
}

/// 20 users × 20 items: even users have the even items and odd users the odd ones, but for the item
/// of their own number, which is the answer.
pub(crate) fn checkerboard_log() -> Interactions {
    let cells = (0..20).flat_map(|u| (0..20).map(move |i| (u, i)));
    let events = cells.filter(|(u, i)| u % 2 == i % 2 && u != i);
    Interactions::from_events(events.map(|(u, i)| (user(u), item(i), 1.0))).unwrap()
}

/// 36 users × 30 items in three blocks; each user has about 6 in 10 items of their block, one item
/// of another block, weights from 1 to 5, and a time for each event.
pub(crate) fn blocks_log() -> Interactions {
    let mut rng = rng::stream(3, 0);
    let mut builder = Interactions::builder();
    for u in 0..36usize {
        for i in 0..30usize {
            let inside = u % 3 == i % 3;
            let stray = i == (u * 7 + 1) % 30;
            if stray || (inside && rng.random::<f32>() < 0.6) {
                let (weight, time) = (rng.random_range(1..=5u8), (i * 7 + u) % 30);
                let added = builder.push(user(u), item(i), weight.into(), Some(time as i64));
                added.unwrap();
            }
        }
    }
    builder.build().unwrap()
}

fn scores_of(model: &dyn Recommender, user: u32) -> Vec<f32> {
    let mut scores = vec![f32::NAN; model.items().len()];
    model.score(user, &mut scores).unwrap();
    scores
}

fn folded(model: &dyn Recommender, history: &[(u32, f32)]) -> Vec<f32> {
    let mut scores = vec![f32::NAN; model.items().len()];
    model.score_history(history, &mut scores).unwrap();
    scores
}

fn history(model: &dyn Recommender, user: u32) -> Vec<(u32, f32)> {
    let (items, weights) = model.history(user);
    items.iter().copied().zip(weights.iter().copied()).collect()
}

/// Everything a model answers, for comparing two models to the bit.
fn answers(model: &dyn Recommender) -> Vec<u32> {
    let mut all = Vec::new();
    for u in 0..model.users().len() as u32 {
        all.extend(scores_of(model, u));
        all.extend(folded(model, &history(model, u)));
    }
    let mut scores = vec![0.0; model.items().len()];
    for i in 0..model.items().len() as u32 {
        if model.similarity(i, &mut scores).is_ok() {
            all.extend(&scores);
        }
        all.extend(
            model
                .contributions(Who::User(1), i)
                .unwrap()
                .iter()
                .map(|part| part.weight),
        );
    }
    assert!(all.iter().all(|score| score.is_finite()));
    all.into_iter().map(f32::to_bits).collect()
}

pub(crate) fn checkerboard(fit: Fit) {
    let log = checkerboard_log();
    let model = fit(&log).unwrap();
    for u in 0..20 {
        let best = model.recommend(&user(u), 3).unwrap();
        assert_eq!(best[0].item, item(u), "for u{u}: {best:?}");
        assert!(best[0].score > best[1].score, "for u{u}: {best:?}");
    }
    let best = model
        .recommend_for(&[("i0", 1.0), ("i2", 1.0), ("i4", 1.0)], 7)
        .unwrap();
    for r in best {
        let number: usize = r.item[1..].parse().unwrap();
        assert_eq!(number % 2, 0, "{r:?}");
    }
    if let Ok(similar) = model.similar_items("i1", 9) {
        let even = similar
            .iter()
            .filter(|r| r.item[1..].parse::<usize>().unwrap() % 2 == 0);
        assert_eq!(even.count(), 0, "{similar:?}");
    }
}

pub(crate) fn blocks(fit: Fit) {
    let model = fit(&blocks_log()).unwrap();
    let (mut inside, mut all) = (0, 0);
    for u in 0..36 {
        for r in model.recommend(&user(u), 2).unwrap() {
            inside += usize::from(r.item[1..].parse::<usize>().unwrap() % 3 == u % 3);
            all += 1;
        }
    }
    assert!(
        inside * 10 >= all * 9,
        "{inside} of {all} lie in the user's block"
    );
    let (mut inside, mut all) = (0, 0);
    for u in 0..36 {
        for near in model.similar_users(&user(u), 3).unwrap() {
            inside += usize::from(near.user[1..].parse::<usize>().unwrap() % 3 == u % 3);
            all += 1;
        }
    }
    assert!(
        inside * 10 >= all * 8,
        "{inside} of {all} similar users share the block"
    );
}

pub(crate) fn lists_are_honest(fit: Fit) {
    let model = fit(&blocks_log()).unwrap();
    let names: Vec<String> = model.users().iter().map(str::to_string).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let batch = model.recommend_batch(&names, 5).unwrap();
    let denied = ["i3", "i4", "i5", "nobody knows this"];
    let query = Query::top(9).deny(denied).filter(|id| id != "i7");
    for (&name, batched) in names.iter().zip(&batch) {
        let seen: Vec<String> = history(&*model, model.users().get(name).unwrap())
            .iter()
            .map(|&(i, _)| model.items().name(i).unwrap().to_string())
            .collect();
        // More than there is: all but the seen, once each, none invented.
        let all = model.recommend(name, 1000).unwrap();
        assert_eq!(all.len(), 30 - seen.len());
        let mut once: Vec<&str> = all.iter().map(|r| r.item.as_str()).collect();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), all.len());
        assert!(
            all.iter()
                .all(|r| !seen.contains(&r.item) && r.score.is_finite())
        );
        assert!(all.windows(2).all(|pair| pair[0].score >= pair[1].score));
        let single = model.recommend(name, 5).unwrap();
        assert_eq!(single.len(), 5.min(all.len()));
        for (a, b) in single.iter().zip(batched) {
            assert!(
                (a.score - b.score).abs() <= 1e-5 * a.score.abs().max(1.0),
                "{a:?} {b:?}"
            );
        }
        assert!(model.recommend(name, 0).unwrap().is_empty());

        let filtered = model.recommend_where(name, &query).unwrap();
        for r in &filtered {
            assert!(
                !denied.contains(&r.item.as_str()) && r.item != "i7",
                "{r:?}"
            );
            assert!(!seen.contains(&r.item));
        }
        let few = Query::top(9)
            .allow(["i1", "i2", "i9"])
            .allow(["i2", "i9", "none"]);
        let few = model.recommend_where(name, &few.with_seen()).unwrap();
        assert_eq!(few.len(), 2);
        let bar = single[2].score;
        let above = model
            .recommend_where(name, &Query::top(30).above(bar))
            .unwrap();
        assert!(above.len() <= 2 && above.iter().all(|r| r.score > bar));
    }
    // Someone without a history gets a list too.
    let new = model.recommend_for(&[], 4).unwrap();
    assert_eq!(new.len(), 4);
    assert!(new.iter().all(|r| r.score.is_finite()));
    let one = model.recommend_for(&[("i1", 1.0)], 1000).unwrap();
    assert_eq!(one.len(), 29);
    match model.similar_items("i2", 100) {
        Ok(similar) => {
            assert!((1..=29).contains(&similar.len()));
            let known = |score: f32| score.is_finite() && score != 0.0;
            assert!(similar.iter().all(|r| r.item != "i2" && known(r.score)));
            assert!(
                similar
                    .windows(2)
                    .all(|pair| pair[0].score >= pair[1].score)
            );
        }
        Err(error) => assert!(matches!(error, Error::Unsupported { .. }), "{error}"),
    }
}

pub(crate) fn same_bits(fit: Fit) {
    let log = blocks_log();
    let expected = answers(&*fit(&log).unwrap());
    assert_eq!(
        answers(&*fit(&log).unwrap()),
        expected,
        "a second fit differs"
    );
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        let got = pool.install(|| answers(&*fit(&log).unwrap()));
        assert_eq!(got, expected, "{threads} threads differ");
    }
}

pub(crate) fn saves_and_loads(fit: Fit) {
    let model = fit(&blocks_log()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.refrain");
    model.save(&path).unwrap();
    let loaded = crate::load(&path).unwrap();
    assert_eq!(answers(&*loaded), answers(&*model));
    assert_eq!(loaded.name(), model.name());
    assert_eq!(loaded.memory(), model.memory());
    assert_eq!(
        loaded.recommend("u4", 7).unwrap(),
        model.recommend("u4", 7).unwrap()
    );

    // A damaged file is an error or still a sound model; it never panics.
    let bytes = model.to_file().unwrap().to_bytes().unwrap();
    assert_eq!(loaded.to_file().unwrap().to_bytes().unwrap(), bytes);
    let mut rng = rng::stream(11, 0);
    for _ in 0..60 {
        let mut broken = bytes.clone();
        match rng.random_range(0..3u8) {
            0 => broken.truncate(rng.random_range(0..bytes.len())),
            _ => {
                let at = rng.random_range(0..bytes.len());
                broken[at] ^= 1 << rng.random_range(0..8u8);
            }
        }
        if let Ok(model) = ModelFile::from_bytes(broken).and_then(|f| {
            from_file(&f).map_err(|e| refrain_core::Error::ModelFile {
                origin: "memory".into(),
                reason: e.to_string(),
            })
        }) {
            let mut scores = vec![0.0; model.items().len()];
            for u in 0..model.users().len() as u32 {
                let _ = model.score(u, &mut scores);
                let _ = model.contributions(Who::User(u), 0);
            }
        }
    }
}

pub(crate) fn refuses(fit: Fit) {
    let model = fit(&blocks_log()).unwrap();
    let unknown_user = |error: Error| matches!(error, Error::UnknownUser { id } if id == "nobody");
    let unknown_item = |error: Error| matches!(error, Error::UnknownItem { id } if id == "nothing");
    assert!(unknown_user(model.recommend("nobody", 3).unwrap_err()));
    assert!(unknown_user(
        model.recommend_batch(&["u1", "nobody"], 3).unwrap_err()
    ));
    assert!(unknown_user(model.explain("nobody", "i1").unwrap_err()));
    assert!(unknown_item(model.explain("u1", "nothing").unwrap_err()));
    assert!(unknown_item(model.similar_items("nothing", 3).unwrap_err()));
    assert!(unknown_item(
        model.recommend_for(&[("nothing", 1.0)], 3).unwrap_err()
    ));
    for weight in [f32::NAN, f32::INFINITY] {
        let error = model.recommend_for(&[("i1", weight)], 3).unwrap_err();
        assert!(matches!(error, Error::Weight { .. }), "{error}");
    }
    let mut scores = vec![0.0; 30];
    let index = |result: Result<()>| matches!(result, Err(Error::Index { .. }));
    assert!(index(model.score(36, &mut scores)));
    assert!(index(model.score_history(&[(30, 1.0)], &mut scores)));
    assert!(model.similarity(30, &mut scores).is_err());
    assert!(index(model.contributions(Who::User(36), 0).map(drop)));
    assert!(index(model.contributions(Who::User(0), 30).map(drop)));
    assert!(index(
        model.contributions(Who::History(&[(30, 1.0)]), 0).map(drop)
    ));
    assert!(matches!(
        model.score(0, &mut scores[1..]),
        Err(Error::Length { .. })
    ));
    assert!(matches!(
        model.score_history(&[], &mut scores[1..]),
        Err(Error::Length { .. })
    ));
    assert_eq!(model.history(36), (&[][..], &[][..]));
    assert!(unknown_user(model.similar_users("nobody", 3).unwrap_err()));
    let mut users = vec![f32::NAN; 36];
    assert!(index(model.user_similarity(36, &mut users)));
    model.user_similarity(3, &mut users).unwrap();
    assert!(users.iter().all(|score| score.abs() < 1.0 + 1e-5));
    let length = model.user_similarity(3, &mut users[1..]);
    assert!(matches!(length, Err(Error::Length { .. })));
    let alike = model.similar_users("u3", 100).unwrap();
    assert!(!alike.is_empty() && alike.iter().all(|s| s.user != "u3" && s.score != 0.0));
}

pub(crate) fn explains(fit: Fit) {
    let model = fit(&blocks_log()).unwrap();
    for u in 0..12 {
        let mine = history(&*model, u as u32);
        let largest = scores_of(&*model, u as u32)
            .iter()
            .fold(0.0f32, |m, s| m.max(s.abs()));
        let tolerance = 1e-4 * f64::from(largest.max(1e-3));
        for i in 0..30 {
            let why = model.explain(&user(u), &item(i)).unwrap();
            assert!(
                (why.total() - f64::from(why.score)).abs() <= tolerance,
                "{why}"
            );
            assert_eq!(why.item, item(i));
            let named: Vec<(&str, f32)> = mine
                .iter()
                .map(|&(i, w)| (model.items().name(i).unwrap(), w))
                .collect();
            let why = model.explain_for(&named, &item(i)).unwrap();
            assert!(
                (why.total() - f64::from(why.score)).abs() <= tolerance,
                "{why}"
            );
            assert!(
                why.reasons
                    .windows(2)
                    .all(|p| p[0].weight.abs() >= p[1].weight.abs())
            );
        }
    }
}

pub(crate) fn folds_in(fit: Fit, tolerance: f32) {
    let model = fit(&blocks_log()).unwrap();
    for u in 0..36 {
        let mine = history(&*model, u);
        let (known, new) = (scores_of(&*model, u), folded(&*model, &mine));
        let largest = known.iter().fold(0.0f32, |m, s| m.max(s.abs()));
        for i in (0..30).filter(|i| mine.iter().all(|&(seen, _)| seen != *i)) {
            let (a, b) = (known[i as usize], new[i as usize]);
            assert!((a - b).abs() <= tolerance * largest, "u{u} i{i}: {a} {b}");
        }
        // The order of a history does not matter, and the same item twice is their sum; of two ratings
        // the last counts.
        let mut twice: Vec<(u32, f32)> = mine.iter().map(|&(i, w)| (i, w / 2.0)).collect();
        twice.reverse();
        match model.ratings() {
            Some(_) => twice.extend(&mine),
            None => twice.extend_from_within(..),
        }
        assert_eq!(folded(&*model, &twice), new);
    }
}
