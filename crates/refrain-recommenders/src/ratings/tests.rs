//! What each rating model has to find, and what they have in common.

use rand::RngExt;
use refrain_core::rng;
use refrain_data::{Interactions, split};

use super::*;
use crate::{Recommender, Who};

/// 40 users × 30 items in two tastes: even users rate even items 4 or 5 and odd ones 1 or 2, odd
/// users the other way round. Four in five pairs are there; training and test parts.
pub(crate) fn tastes() -> (Interactions, Interactions) {
    let mut rng = rng::stream(17, 0);
    let mut events = Vec::new();
    for u in 0..40usize {
        for i in 0..30usize {
            if u < 5 || i < 5 || rng.random::<f32>() < 0.8 {
                let low = if u % 2 == i % 2 { 4 } else { 1 };
                let rating = low + rng.random_range(0..2u8);
                events.push((format!("u{u}"), format!("i{i}"), f32::from(rating)));
            }
        }
    }
    split::random(&Interactions::from_events(events).unwrap(), 0.2, 3).unwrap()
}

/// A model fitted on the training part predicts the test part to about the noise of 0.5, for those
/// who were there and for newcomers with their ratings.
pub(crate) fn finds_tastes(model: &dyn RatingPredictor) {
    let (_, test) = tastes();
    let report = evaluate_ratings(model, &test).unwrap();
    assert!(report.rmse < 0.75, "{report}");
    let ratings: usize = report.users.iter().map(|user| user.ratings).sum();
    assert_eq!((report.ratings, ratings), (test.len(), test.len()));
    assert!(model.predict("u0", "i2").unwrap() > 3.5);
    assert!(model.predict("u0", "i3").unwrap() < 2.5);
    let odd = [
        ("i1", 5.0),
        ("i3", 4.0),
        ("i0", 1.0),
        ("i7", 5.0),
        ("i8", 2.0),
    ];
    let (odd_one, even_one) = (
        model.predict_for(&odd, "i9").unwrap(),
        model.predict_for(&odd, "i4").unwrap(),
    );
    assert!(odd_one > even_one + 0.7, "{odd_one} {even_one}");
    never_nan(model);
}

/// Whoever asks for whatever gets a rating on the scale.
pub(crate) fn never_nan(model: &dyn RatingPredictor) {
    let scale = model.scale();
    let sound = |rating: f32| assert!(rating >= scale.min && rating <= scale.max, "{rating}");
    for user in ["u0", "nobody"] {
        for item in ["i0", "nothing"] {
            sound(model.predict(user, item).unwrap());
        }
    }
    for history in [&[][..], &[("i0", -1e9)], &[("i0", 1e9), ("i1", 3.0)]] {
        for item in ["i0", "i5", "nothing"] {
            sound(model.predict_for(history, item).unwrap());
        }
    }
    let none = model.rating(Who::History(&[]), None).unwrap();
    assert!((none - 3.0).abs() < 0.5, "{none}");
    assert!(model.rating(Who::User(4000), None).is_err());
    assert!(model.rating(Who::User(0), Some(4000)).is_err());
    assert!(model.predict_for(&[("nothing", 3.0)], "i0").is_err());
    assert!(model.predict_for(&[("i0", f32::NAN)], "i1").is_err());
}

/// u0 rates i0 anew: 5 where there was 4.
fn rated_again<M: Recommender>(fit: impl Fn(&Interactions) -> crate::Result<M>) -> (M, M) {
    let (log, _) = tastes();
    let with = |rating: f32| {
        let ids = |ids: &refrain_core::IdMap, at| ids.name(at).unwrap().to_string();
        let named =
            |e: refrain_data::Event| (ids(log.users(), e.user), ids(log.items(), e.item), e.weight);
        let events = log.iter().map(named);
        let kept = events.filter(|(user, item, _)| (user.as_str(), item.as_str()) != ("u0", "i0"));
        let own = ("u0".to_string(), "i0".to_string(), rating);
        Interactions::from_events(std::iter::once(own).chain(kept)).unwrap()
    };
    let mut model = fit(&with(4.0)).unwrap();
    model
        .update(&Interactions::from_events([("u0", "i0", 5.0)]).unwrap())
        .unwrap();
    (model, fit(&with(5.0)).unwrap())
}

#[test]
fn the_last_rating_counts() {
    let (model, expected) = rated_again(|log| Baseline::default().fit(log));
    assert_eq!(model, expected);
    let (model, expected) = rated_again(|log| SlopeOne::default().fit(log));
    assert_eq!(model, expected);
    let (model, expected) = rated_again(|log| KnnBaseline::default().fit(log));
    assert_eq!(model, expected);
    let (model, expected) = rated_again(|log| ExplicitAls::default().fit(log));
    assert_eq!(model.memory(), expected.memory());
    assert_eq!(model.scale(), RatingScale { min: 1.0, max: 5.0 });
    let (model, _) = rated_again(|log| {
        RatingBlend::default()
            .member("baseline", |log| Baseline::default().fit(log))
            .member("factors", |log| BiasedMf::default().fit(log))
            .fit(log)
    });
    assert_eq!(model.scale(), RatingScale { min: 1.0, max: 5.0 });
    assert_eq!(model.memory(), expected.memory());
    // In a history that is given too.
    for model in [&model as &dyn RatingPredictor, &expected] {
        let once = model
            .predict_for(&[("i2", 1.0), ("i0", 5.0)], "i4")
            .unwrap();
        let twice = [("i0", 4.0), ("i2", 1.0), ("i0", 5.0)];
        assert_eq!(model.predict_for(&twice, "i4").unwrap(), once);
    }
}

#[test]
fn errors_by_hand() {
    let log = [("a", "x", 4.0), ("b", "x", 4.0), ("b", "y", 4.0)];
    let model = Baseline::default()
        .fit(&Interactions::from_events(log).unwrap())
        .unwrap();
    // Everything is predicted to be 4.
    let test = [("a", "y", 5.0), ("a", "z", 2.0), ("c", "x", 4.0)];
    let report = evaluate_ratings(&model, &Interactions::from_events(test).unwrap()).unwrap();
    assert!((report.rmse - (5.0f64 / 3.0).sqrt()).abs() < 1e-6);
    assert!((report.mae - 1.0).abs() < 1e-6);
    assert_eq!(report.users.len(), 2);
    assert!((report.users[0].rmse - 2.5f64.sqrt()).abs() < 1e-6);
    assert_eq!(report.users[1].ratings, 1);
    assert_eq!(
        report.to_string(),
        "baseline: RMSE 1.2910, MAE 1.0000 on 3 ratings of 2 users"
    );
    let nothing = Interactions::from_events([("a", "x", 1.0)]).unwrap();
    let nothing = nothing.filter(|_| false).unwrap();
    assert!(evaluate_ratings(&model, &nothing).is_err());
}

#[test]
fn a_loaded_model_still_predicts() {
    let (log, _) = tastes();
    let model = Baseline::default().fit(&log).unwrap();
    let bytes = model.to_file().unwrap().to_bytes().unwrap();
    let loaded = crate::from_file(&refrain_core::ModelFile::from_bytes(bytes).unwrap()).unwrap();
    let ratings = loaded.ratings().unwrap();
    assert_eq!(
        ratings.predict("u0", "i3").unwrap(),
        model.predict("u0", "i3").unwrap()
    );
    let counts = crate::Popularity::default().fit(&log).unwrap();
    assert!(counts.ratings().is_none());
}

#[test]
fn folds_are_all_judged() {
    let (log, _) = tastes();
    let reports = cross_validate_ratings(&log, 4, 1, |log| Baseline::default().fit(log)).unwrap();
    let ratings: usize = reports.iter().map(|report| report.ratings).sum();
    assert_eq!((reports.len(), ratings), (4, log.len()));
}
