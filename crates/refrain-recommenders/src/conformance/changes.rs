//! A model that learns or forgets is what a new fit would be, where it says so.

use super::*;

/// Whatever calls itself exact after a change answers like a model fitted on what is then there.
pub(crate) fn changes(fit: Fit) {
    let log = blocks_log();
    let without = |user: &str, item: &str| {
        let (user, item) = (log.users().get(user), log.items().get(item));
        let kept = log.filter(|e| Some(e.user) != user && Some(e.item) != item);
        kept.unwrap().compact().unwrap()
    };

    let mut model = fit(&log).unwrap();
    let before = answers(&*model);
    let unknown = model.forget_user("nobody").unwrap_err();
    assert!(matches!(unknown, Error::UnknownUser { .. }), "{unknown}");
    let unknown = model.forget_item("nothing").unwrap_err();
    assert!(matches!(unknown, Error::UnknownItem { .. }), "{unknown}");
    assert_eq!(answers(&*model), before);

    if let Some(change) = changed(model.forget_user("u3")) {
        assert!(model.recommend("u3", 1).is_err());
        let expected = fit(&without("u3", "")).unwrap();
        compare(&*model, &*expected, change);
        // What has changed is saved and read back.
        let file = ModelFile::from_bytes(model.to_file().unwrap().to_bytes().unwrap()).unwrap();
        assert_eq!(answers(&*from_file(&file).unwrap()), answers(&*model));
    }
    let mut model = fit(&log).unwrap();
    if let Some(change) = changed(model.forget_item("i4")) {
        assert!(model.similar_items("i4", 1).is_err());
        compare(&*model, &*fit(&without("", "i4")).unwrap(), change);
    }

    // Some new users, a new item, more of what was there.
    let early = |e: &refrain_data::Event| {
        e.user < 30 && e.item != 29 && !(e.user + e.item).is_multiple_of(5)
    };
    let first = log.filter(early).unwrap().compact().unwrap();
    let rest = log
        .filter(|e| !early(e) || e.user == 7)
        .unwrap()
        .compact()
        .unwrap();
    let mut model = fit(&first).unwrap();
    if let Some(change) = changed(model.update(&rest)) {
        let users = (model.users().len(), model.items().len());
        assert_eq!(users, (36, 30));
        let expected = fit(&model.memory().to_log().unwrap()).unwrap();
        compare(&*model, &*expected, change);
    }
}

fn changed(result: Result<Change>) -> Option<Change> {
    match result {
        Ok(change) => Some(change),
        Err(Error::Unsupported { .. }) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Two models by their ids: the same histories and, if the change was exact, the same scores but for
/// rounding.
fn compare(model: &dyn Recommender, expected: &dyn Recommender, change: Change) {
    assert_eq!(model.users().len(), expected.users().len());
    assert_eq!(model.items().len(), expected.items().len());
    let item = |i: usize| {
        model
            .items()
            .get(expected.items().name(i as u32).unwrap())
            .unwrap()
    };
    for (u, name) in (0u32..).zip(expected.users().iter()) {
        let here = model.users().get(name).unwrap();
        let theirs = history(expected, u)
            .into_iter()
            .map(|(i, w)| (item(i as usize), w));
        let mut theirs: Vec<(u32, f32)> = theirs.collect();
        theirs.sort_by_key(|&(i, _)| i);
        assert_eq!(history(model, here), theirs);
        let (got, scores) = (scores_of(model, here), scores_of(expected, u));
        assert!(got.iter().all(|score| score.is_finite()));
        if change == Change::Exact {
            let largest = scores.iter().fold(1e-6f32, |m, s| m.max(s.abs()));
            for (i, score) in scores.iter().enumerate() {
                let got = got[item(i) as usize];
                assert!(
                    (got - score).abs() <= 1e-3 * largest,
                    "{name} {i}: {got} {score}"
                );
            }
        }
    }
}
