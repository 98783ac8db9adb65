use proptest::prelude::*;

use super::encode::Known;
use super::*;
use crate::metrics::to_iob2;
use crate::{Cell, Crf, Learner, Learning, Trainer};

fn device() -> crate::Device {
    refrain_core::device("cpu").unwrap()
}

fn bodies() -> [Body; 2] {
    [
        Body::Recurrent {
            cell: Cell::Gru,
            hidden: 6,
            layers: 2,
        },
        Body::Transformer {
            width: 8,
            heads: 2,
            hidden: 12,
            layers: 2,
        },
    ]
}

fn config(body: Body) -> SentenceConfig {
    SentenceConfig {
        word_width: 5,
        min_count: 1,
        filters: 4,
        letter_width: 3,
        features: 2,
        body,
        ..SentenceConfig::default()
    }
}

fn sentence(text: &str) -> Sentence {
    let mut sentence = Sentence::new(text.split(' '));
    sentence.features = (0..2 * sentence.words.len())
        .map(|i| i as f32 / 9.0)
        .collect();
    sentence
}

fn training() -> Vec<(Sentence, Vec<String>)> {
    let labels = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
    vec![
        (sentence("Ada King met Bo"), labels("B-per I-per O B-per")),
        (sentence("in New York"), labels("O B-loc I-loc")),
        (sentence("rain"), labels("O")),
    ]
}

fn labeller(body: Body, crf: bool) -> Labeller {
    let config = LabellerConfig {
        reading: config(body),
        crf,
        ..LabellerConfig::default()
    };
    Labeller::new(&config, &training(), &device()).unwrap()
}

fn classifier(body: Body) -> SentenceClassifier {
    let all = [
        (sentence("a fine film"), "good".to_string()),
        (sentence("dull"), "bad".to_string()),
    ];
    SentenceClassifier::new(&config(body), &all, 0, &device()).unwrap()
}

/// What stands beside a sentence in its batch changes nothing.
#[test]
fn a_sentence_alone_is_judged_as_in_a_batch() {
    let sentences = [
        "one",
        "Ada met Ada in rain and in New York again",
        "King of rain",
    ];
    let sentences: Vec<Sentence> = sentences.iter().map(|text| sentence(text)).collect();
    for body in bodies() {
        let (labeller, classifier) = (labeller(body.clone(), true), classifier(body));
        let (labelled, judged) = (
            labeller.label(&sentences).unwrap(),
            classifier.classify(&sentences).unwrap(),
        );
        for (i, sentence) in sentences.iter().enumerate() {
            let alone = std::slice::from_ref(sentence);
            let pairs = [
                (&labelled[i], &labeller.label(alone).unwrap()[0]),
                (&judged[i], &classifier.classify(alone).unwrap()[0]),
            ];
            for (a, b) in pairs {
                assert_eq!(a.len(), b.len());
                for (a, b) in a.iter().zip(b) {
                    assert_eq!(a.label, b.label);
                    assert!((a.probability - b.probability).abs() < 1e-5, "{a:?} {b:?}");
                }
            }
            let sum: f32 = judged[i].iter().map(|j| j.probability).sum();
            assert!((sum - 1.0).abs() < 1e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn what_the_scheme_forbids_is_never_given(
        text in "[A-Za-z]{1,4}( [A-Za-z]{1,4}){0,7}", crf in any::<bool>(), seed in 0u64..99,
    ) {
        let config = LabellerConfig {
            reading: config(bodies()[0].clone()), crf, seed, ..LabellerConfig::default()
        };
        let labeller = Labeller::new(&config, &training(), &device()).unwrap();
        let found = labeller.label(&[sentence(&text)]).unwrap();
        let labels: Vec<&str> = found[0].iter().map(|j| j.label.as_str()).collect();
        // Lenient reading changes nothing of labels that are IOB2.
        prop_assert_eq!(to_iob2(&labels), labels);
    }
}

/// The softmax loss against its definition, from the probabilities that the model gives.
#[test]
fn the_losses_are_those_of_the_probabilities() {
    let mut config = LabellerConfig {
        reading: config(bodies()[0].clone()),
        crf: false,
        scheme: LabelScheme::Plain,
        ..LabellerConfig::default()
    };
    config.seed = 4;
    let labeller = Labeller::new(&config, &training(), &device()).unwrap();
    let found = labeller
        .label(&training().into_iter().map(|(s, _)| s).collect::<Vec<_>>())
        .unwrap();
    // The likeliest labels are the truth here, so their probabilities are those that were told.
    let told: Vec<(Sentence, Vec<String>)> = training()
        .into_iter()
        .zip(&found)
        .map(|((s, _), found)| (s, found.iter().map(|j| j.label.clone()).collect()))
        .collect();
    let examples = labeller.examples(&told).unwrap();
    let batch: Vec<&LabelledSentence> = examples.iter().collect();
    let loss = labeller.loss(&batch, &Learning::default()).unwrap();
    let expected: f32 = found.iter().flatten().map(|j| -j.probability.ln()).sum();
    let loss = loss.into_scalar::<f32>();
    assert!((loss - expected).abs() < 1e-4, "{loss} {expected}");
    assert_eq!(labeller.validation_error(&examples).unwrap(), Some(0.0));
}

#[test]
fn models_come_back_from_their_files() {
    let sentences = [sentence("Ada met rain"), sentence("unknown Wörter")];
    for body in bodies() {
        let own = labeller(body.clone(), false);
        let bytes = own.to_bytes().unwrap();
        let read = Labeller::from_bytes(bytes.clone(), &device()).unwrap();
        assert_eq!(
            read.label(&sentences).unwrap(),
            own.label(&sentences).unwrap()
        );
        assert_eq!(read.config(), own.config());
        for cut in (0..bytes.len()).step_by(97) {
            assert!(Labeller::from_bytes(bytes[..cut].to_vec(), &device()).is_err());
        }
        assert!(SentenceClassifier::from_bytes(bytes, &device()).is_err());

        let own = classifier(body);
        let read = SentenceClassifier::from_bytes(own.to_bytes().unwrap(), &device()).unwrap();
        assert_eq!(
            read.classify(&sentences).unwrap(),
            own.classify(&sentences).unwrap()
        );
    }
}

/// Sizes that a file only claims are refused before they are made.
#[test]
fn a_claim_of_huge_layers_is_refused() {
    let own = labeller(bodies()[0].clone(), true);
    let known = |name| IdMap::from_ids([name]).unwrap();
    use refrain_core::IdMap;
    for body in [
        Body::Recurrent {
            cell: Cell::Lstm,
            hidden: 16_384,
            layers: 2,
        },
        Body::Recurrent {
            cell: Cell::Gru,
            hidden: 6,
            layers: 16_000,
        },
        Body::Transformer {
            width: 16_384,
            heads: 1,
            hidden: 16_384,
            layers: 1,
        },
    ] {
        let config = LabellerConfig {
            reading: config(body),
            ..own.config().clone()
        };
        let (words, letters, labels) = (known("a"), known("b"), known("O"));
        let tables = [
            ("words", &words),
            ("letters", &letters),
            ("labels", &labels),
        ];
        let bytes = file::write("sequence.labeller", &config, &tables, &own, |f| {
            Ok(f.to_bytes()?)
        });
        assert!(Labeller::from_bytes(bytes.unwrap(), &device()).is_err());
    }
}

#[test]
fn given_vectors_are_kept_where_they_are_not_tuned() {
    for tune in [false, true] {
        let config = LabellerConfig {
            reading: SentenceConfig {
                tune_words: tune,
                ..config(bodies()[0].clone())
            },
            ..LabellerConfig::default()
        };
        let vector = |word: &str| (word == "rain").then(|| vec![0.25; 5]);
        let model = Labeller::new(&config, &training(), &device()).unwrap();
        let model = model.with_vectors(vector).unwrap();
        let examples = model.examples(&training()).unwrap();
        let trainer = Trainer {
            steps: 3,
            batch: 3,
            learning_rate: 0.1,
            warm_up: 0,
            ..Trainer::default()
        };
        let trained = trainer.fit_module(&model, &examples, &[]).unwrap().model;
        let weights = crate::adamw::read(&trained).unwrap();
        let kept = weights.windows(5).any(|w| w == [0.25; 5]);
        assert_eq!(kept, !tune);
    }
    let model = labeller(bodies()[0].clone(), true);
    assert!(model.clone().with_vectors(|_| Some(vec![0.0; 4])).is_err());
    assert!(model.with_vectors(|_| Some(vec![f32::NAN; 5])).is_err());
}

#[test]
fn what_does_not_fit_is_named() {
    let model = labeller(bodies()[0].clone(), true);
    let mut wrong = training();
    wrong[1].1[1] = "I-loc".to_string();
    let error = model.examples(&wrong).unwrap_err().to_string();
    assert_eq!(
        error,
        "label is I-loc at word 1 of sentence 1: allowed where it stands"
    );
    wrong[1].1[1] = "B-none".to_string();
    assert!(model.examples(&wrong).is_err());
    wrong[1].1 = vec!["O".to_string()];
    assert!(model.examples(&wrong).is_err());
    assert!(model.label(&[Sentence::default()]).is_err());
    assert!(model.label(&[Sentence::new(["no features"])]).is_err());
    let mut infinite = sentence("rain");
    infinite.features[1] = f32::INFINITY;
    assert!(model.label(&[infinite]).is_err());
    assert!(model.label(&[]).unwrap().is_empty());
    let nothing = SentenceConfig {
        word_width: 0,
        filters: 0,
        shape: false,
        features: 0,
        ..SentenceConfig::default()
    };
    assert!(nothing.validate().is_err());
    let one = [(sentence("a"), "good".to_string())];
    assert!(SentenceClassifier::new(&config(bodies()[0].clone()), &one, 0, &device()).is_err());
}

#[test]
fn words_have_numbers_and_shapes() {
    let config = SentenceConfig {
        min_count: 2,
        ..config(bodies()[0].clone())
    };
    let sentences = [sentence("The the a USA"), sentence("a b the")];
    let known = Known::of(&config, sentences.iter()).unwrap();
    assert_eq!(known.words.iter().collect::<Vec<_>>(), ["the", "a"]);
    let encoded = known.encode(&config, &sentence("USA The #é-1")).unwrap();
    assert_eq!(encoded.words, [0, 1, 0]);
    assert_eq!(encoded.letters[2][1], 1); // é is new
    let shapes: Vec<&[f32]> = encoded.values.chunks(11).map(|row| &row[..9]).collect();
    assert_eq!(shapes[0], [1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(shapes[1], [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(shapes[2], [0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 1.0, 0.0]);
}

/// Where each word is judged alone, a bias multiplies the odds of its label by its exponential.
#[test]
fn a_bias_multiplies_the_odds_of_its_label() {
    let sentences = [sentence("Ada met rain in New York")];
    let odds = |j: &Judgement| j.probability / (1.0 - j.probability);
    let all_o = labeller(bodies()[0].clone(), false).with_bias("O", 8.0);
    let all_o = all_o.unwrap();
    let before = all_o.label(&sentences).unwrap();
    let after = all_o.with_bias("O", -1.0).unwrap();
    let after = after.label(&sentences).unwrap();
    for (before, after) in before[0].iter().zip(&after[0]) {
        assert_eq!((&*before.label, &*after.label), ("O", "O"));
        let ratio = odds(after) / odds(before);
        assert!((ratio - (-1.0f32).exp()).abs() < 1e-2, "{ratio}");
    }
    let none = labeller(bodies()[1].clone(), true).with_bias("O", -1e3);
    let none = none.unwrap().label(&sentences).unwrap();
    assert!(none[0].iter().all(|judgement| judgement.label != "O"));
    let own = || labeller(bodies()[0].clone(), true);
    assert!(own().with_bias("B-org", 1.0).is_err());
    assert!(own().with_bias("O", f32::NAN).is_err());
}

/// Scores are linear in a bias: two biases together are their mean, with a CRF or without.
#[test]
fn models_together_have_the_mean_of_their_scores() {
    let sentences = [
        sentence("Ada met rain in New York"),
        sentence("King of rain"),
    ];
    for (body, crf) in bodies().into_iter().zip([true, false]) {
        let own = || labeller(body.clone(), crf);
        let with = |by| own().with_bias("B-per", by).unwrap();
        let alone = own().label(&sentences).unwrap();
        assert_eq!(
            Labeller::label_together(&[own()], &sentences).unwrap(),
            alone
        );
        let together = Labeller::label_together(&[with(3.0), with(-1.0)], &sentences).unwrap();
        let mean = with(1.0).label(&sentences).unwrap();
        for (a, b) in together.iter().flatten().zip(mean.iter().flatten()) {
            assert_eq!(a.label, b.label);
            assert!((a.probability - b.probability).abs() < 1e-5);
        }
        assert_ne!(mean, alone);
    }
    // Two that differ in the scores of neighbours alone.
    let mut one = labeller(bodies()[0].clone(), true);
    let mut two = one.clone();
    let scores = |by: f32| (0..5 * 5).map(move |i| by * (i as f32).sin());
    let crf = |all: Vec<f32>| Crf::from_scores(&all, &all[..5], &all[5..10], &device()).unwrap();
    one.crf = crf(scores(1.0).collect());
    two.crf = crf(scores(4.0).collect());
    let together = Labeller::label_together(&[one.clone(), two], &sentences).unwrap();
    one.crf = crf(scores(2.5).collect());
    let mean = one.label(&sentences).unwrap();
    for (a, b) in together.iter().flatten().zip(mean.iter().flatten()) {
        assert_eq!(a.label, b.label);
        assert!((a.probability - b.probability).abs() < 1e-5);
    }
}

#[test]
fn models_of_other_labels_do_not_work_together() {
    let one = labeller(bodies()[0].clone(), true);
    let config = one.config().clone();
    let other = Labeller::new(&config, &training()[..1], &device()).unwrap();
    let plain = LabellerConfig {
        scheme: LabelScheme::Plain,
        ..config
    };
    let plain = Labeller::new(&plain, &training(), &device()).unwrap();
    for models in [vec![], vec![one.clone(), other], vec![one, plain]] {
        let error = Labeller::label_together(&models, &[sentence("rain")]).unwrap_err();
        assert!(matches!(error, crate::Error::Config { .. }), "{error}");
    }
}

#[test]
fn gradient_checkpointing_changes_only_rounding() {
    let labeller = labeller(bodies()[0].clone(), true);
    let examples = labeller.examples(&training()).unwrap();
    let curve = |compute| {
        let trainer = Trainer {
            compute,
            steps: 4,
            ..Trainer::default()
        };
        let trained = trainer.fit_module(&labeller, &examples, &examples);
        let curve = trained.unwrap().curve;
        [curve.train, curve.validation].concat()
    };
    let plain = curve(crate::Compute::Program);
    let again = curve(crate::Compute::CheckpointedProgram);
    assert_eq!(plain.len(), 5);
    for (a, b) in plain.iter().zip(&again) {
        assert!((a.loss - b.loss).abs() < 1e-5, "{a:?} {b:?}");
    }
}
