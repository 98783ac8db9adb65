use super::*;
use crate::ratings::tests::{finds_tastes, tastes};
use crate::{Baseline, KnnBaseline, SlopeOne, evaluate_ratings};

fn blend() -> RatingBlend {
    RatingBlend::default()
        .member("baseline", |log| Baseline::default().fit(log))
        .member("Slope One", |log| SlopeOne::default().fit(log))
        .member("neighbours", |log| KnnBaseline::default().fit(log))
}

// General: what was not rated says nothing to its members.
crate::conformance!(default, general, |log| blend().fit(log));

#[test]
fn weights_go_to_the_member_that_knows() {
    let (log, test) = tastes();
    let model = blend().fit(&log).unwrap();
    finds_tastes(&model);
    let weights = model.weights();
    assert!(
        weights[2].1 > 0.5 && weights[2].1 > weights[0].1,
        "{weights:?}"
    );
    let alone = KnnBaseline::default().fit(&log).unwrap();
    let alone = evaluate_ratings(&alone, &test).unwrap();
    let report = evaluate_ratings(&model, &test).unwrap();
    assert!(report.rmse < alone.rmse + 0.01, "{report} {alone}");
}

#[test]
fn a_regression_by_hand() {
    // truth = 2 a − b + 1, exactly.
    let a = vec![1.0, 2.0, 3.0, 5.0];
    let b = vec![1.0, 0.0, 2.0, 1.0];
    let truth: Vec<f64> = a.iter().zip(&b).map(|(a, b)| 2.0 * a - b + 1.0).collect();
    let (constant, weights) = regress(&[a.clone(), b.clone()], &truth, 0.0).unwrap();
    assert!((constant - 1.0).abs() < 1e-3, "{constant}");
    assert!((weights[0] - 2.0).abs() < 1e-3 && (weights[1] + 1.0).abs() < 1e-3);
    // A strong pull makes them equal; a member twice shares its weight.
    let (_, equal) = regress(&[a.clone(), b], &truth, 1e9).unwrap();
    assert!((equal[0] - 0.5).abs() < 1e-3 && (equal[1] - 0.5).abs() < 1e-3);
    let (_, twins) = regress(&[a.clone(), a.clone()], &a, 1.0).unwrap();
    assert!((twins[0] - twins[1]).abs() < 1e-6 && (twins[0] - 0.5).abs() < 1e-3);
}

#[test]
fn members_change_and_weights_stay() {
    let (log, _) = tastes();
    let mut model = blend().fit(&log).unwrap();
    let weights: Vec<f32> = model.weights().iter().map(|w| w.1).collect();
    let constant = model.constant();
    let again = [("u0", "i0", 1.0), ("u0", "inew", 5.0), ("unew", "i0", 2.0)];
    let again = Interactions::from_events(again).unwrap();
    assert_eq!(model.update(&again).unwrap(), Change::Approximate);
    model.forget_user("u9").unwrap();
    model.forget_item("i9").unwrap();
    // All its members change exactly: they are what a fit on what is left gives.
    let left = model.memory().to_log().unwrap();
    let members: [Arc<dyn RatingPredictor>; 3] = [
        Arc::new(Baseline::default().fit(&left).unwrap()),
        Arc::new(SlopeOne::default().fit(&left).unwrap()),
        Arc::new(KnnBaseline::default().fit(&left).unwrap()),
    ];
    for (user, item) in [("u0", "i3"), ("unew", "i2"), ("u7", "inew")] {
        let sum = members.iter().zip(&weights).map(|(member, weight)| {
            let who = Who::User(left.users().get(user).unwrap());
            weight * member.rating(who, left.items().get(item)).unwrap()
        });
        let expected = constant + sum.sum::<f32>();
        let who = Who::User(model.users().get(user).unwrap());
        let got = model.rating(who, model.items().get(item)).unwrap();
        assert!(
            (got - expected).abs() < 1e-4,
            "{user} {item}: {got} {expected}"
        );
    }
    let unknown = model.forget_item("i9").unwrap_err();
    assert!(matches!(unknown, Error::UnknownItem { .. }), "{unknown}");
}

#[test]
fn a_member_that_cannot_change_leaves_all_as_they_were() {
    let (log, _) = tastes();
    let inner = RatingBlend::default().member("baseline", |log| Baseline::default().fit(log));
    let mut model = RatingBlend::default()
        .member("baseline", |log| Baseline::default().fit(log))
        .member("a blend", move |log| inner.fit(log))
        .fit(&log)
        .unwrap();
    let before = model.predict("u0", "i3").unwrap();
    let error = model.forget_user("u5").unwrap_err();
    assert!(matches!(error, Error::Unsupported { .. }), "{error}");
    assert_eq!(model.predict("u0", "i3").unwrap(), before);
    assert!(model.users().get("u5").is_some());
}

#[test]
fn refuses_what_it_cannot_blend() {
    let (log, test) = tastes();
    let nothing = RatingBlend::default().fit(&log).unwrap_err();
    assert!(matches!(nothing, Error::Data { .. }), "{nothing}");
    let none = RatingBlend {
        validation: 0.0,
        ..blend()
    };
    assert!(none.fit(&log).is_err());
    let fit = |log: &Interactions| -> Arc<dyn RatingPredictor> {
        Arc::new(Baseline::default().fit(log).unwrap())
    };
    let other = test
        .filter(|event| event.user < 9)
        .unwrap()
        .compact()
        .unwrap();
    let members = [
        ("a".to_string(), fit(&log), 1.0),
        ("b".to_string(), fit(&other), 1.0),
    ];
    let error = RatingBlendModel::new(0.0, members).unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error}");
    let members = [("a".to_string(), fit(&log), f32::NAN)];
    let error = RatingBlendModel::new(0.0, members).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
}

#[test]
fn no_blend_in_a_file_of_a_blend() {
    let model = blend().fit(&tastes().0).unwrap();
    let inner = model.to_file().unwrap().to_bytes().unwrap();
    let header = Header {
        constant: 0.0,
        names: vec!["again".to_string()],
        weights: vec![1.0],
    };
    let writer = ModelWriter::new(KIND, 1).config(&header).unwrap();
    let writer = writer.u8("member.0", &[inner.len()], inner).unwrap();
    let file = ModelFile::from_bytes(writer.to_bytes().unwrap()).unwrap();
    assert!(RatingBlendModel::read(&file).is_err());
}
