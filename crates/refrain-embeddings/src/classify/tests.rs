use super::model::Work;
use super::*;
use crate::embeddings::subwords;
use crate::tokenize;

fn small() -> TextClassifier {
    TextClassifier {
        dim: 10,
        buckets: 1000,
        ..TextClassifier::default()
    }
}

/// Texts of two topics; those of a third differ from the first only by the order of two words.
fn examples(count: usize) -> Vec<Example> {
    let mut rng = stream(9, 9);
    (0..count)
        .map(|i| {
            let mut word = |topic: &str| format!("{topic}{}", rng.random_range(0..8));
            let noise = word("noise");
            match i % 3 {
                0 => Example::new(
                    "a",
                    [noise, "dog".into(), "bites".into(), "man".into(), word("x")],
                ),
                1 => Example::new("b", [word("b"), noise, word("b"), word("x")]),
                _ => Example::new(
                    "c",
                    [noise, "man".into(), "bites".into(), "dog".into(), word("x")],
                ),
            }
        })
        .collect()
}

#[test]
fn topics_and_orders_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("classifier.refrain");
    let (train, test) = (examples(600), examples(900).split_off(600));
    for several in [false, true] {
        let ngrams = several.then(|| Ngrams {
            buckets: 500,
            ..Ngrams::default()
        });
        let config = TextClassifier {
            several,
            ngrams,
            ..small()
        };
        let model = config.fit(&train).unwrap();
        let report = model.evaluate(&test);
        assert!(report.accuracy > 0.98, "{report}");
        assert_eq!(report.confusion.iter().flatten().sum::<u64>(), 300);
        assert_eq!(config.fit(&train).unwrap(), model, "not deterministic");
        let probabilities = model.probabilities(&test[0].tokens);
        let sum: f32 = probabilities.iter().sum();
        assert!(several || (sum - 1.0).abs() < 1e-5);
        model.save(&path).unwrap();
        assert_eq!(TextClassifierModel::load(&path).unwrap(), model);
        let words = model.telling_words("b", 6);
        assert!(
            words.iter().all(|(word, _)| word.starts_with('b')),
            "{words:?}"
        );
        let unknown = model.probabilities(&["nothing"]);
        assert!(several || unknown.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-6));
        assert_eq!(model.predict(&["nothing"], 9).len(), 3);
    }
    // Without n-grams of words the two orders are one.
    let words = TextClassifier {
        word_ngrams: 1,
        ..small()
    }
    .fit(&train)
    .unwrap();
    let report = words.evaluate(&test);
    assert!(report.accuracy > 0.6 && report.accuracy < 0.75, "{report}");
}

#[test]
fn a_resumed_training_is_the_unbroken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.refrain");
    let (data, monitor) = (examples(1500), Monitor::silent());
    let config = TextClassifier {
        epochs: 4,
        learning_rate: 0.1 + 0.2, // a number whose last digits matter
        ngrams: Some(Ngrams {
            buckets: 300,
            ..Ngrams::default()
        }),
        ..small()
    };
    let unbroken = config.fit(&data).unwrap();
    let mut training = config.start(&data).unwrap();
    for epoch in 1..=3 {
        let report = training.epoch(&data, &monitor).unwrap();
        assert_eq!(
            (report.epoch, report.loss),
            (epoch, training.losses()[epoch - 1])
        );
        assert_eq!(report.tokens, 5 * 1000 + 4 * 500);
        training.save(&path).unwrap();
        training = TextClassifierTraining::load(&path).unwrap();
    }
    assert!(training.losses()[2] < training.losses()[0]);
    assert_eq!(training.config(), &config);

    // Other examples are noticed, and cancelling leaves nothing half trained to be saved.
    let error = training.epoch(&data[1..], &monitor).unwrap_err();
    assert!(matches!(error, Error::CorpusChanged { .. }), "{error}");
    let mut turned = data.clone();
    turned.swap(0, 1);
    let error = training.epoch(&turned, &monitor).unwrap_err();
    assert!(matches!(error, Error::ExamplesChanged), "{error}");
    let cancelled = Monitor::silent();
    cancelled.cancel_token().cancel();
    let error = training.epoch(&data, &cancelled).unwrap_err().to_string();
    assert!(
        error.contains("cancelled during classifier, epoch 4/4"),
        "{error}"
    );
    let interrupted = |error: Error| matches!(error, Error::Interrupted { epoch: 4 });
    assert!(interrupted(
        training.save(folder.path().join("never")).unwrap_err()
    ));
    assert!(interrupted(training.epoch(&data, &monitor).unwrap_err()));
    assert!(interrupted(training.model().map(drop).unwrap_err()));
    assert!(interrupted(training.finish().map(drop).unwrap_err()));

    let mut training = TextClassifierTraining::load(&path).unwrap();
    assert_ne!(training.model().unwrap(), &unbroken);
    let last = training.epoch(&data, &monitor).unwrap();
    assert!(training.is_finished());
    let after = training.epoch(&data, &monitor).unwrap();
    assert_eq!((after.epoch, after.loss, after.tokens), (4, last.loss, 0));
    assert_eq!(training.finish().unwrap(), unbroken);

    std::fs::write(&path, &std::fs::read(&path).unwrap()[..900]).unwrap();
    assert!(TextClassifierTraining::load(&path).is_err());
    unbroken.save(&path).unwrap();
    assert!(TextClassifierTraining::load(&path).is_err(), "a model");
}

#[test]
fn progress_is_words_a_second_and_loss() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = seen.clone();
    let monitor = Monitor::new(move |event: &refrain_core::Event<'_>| {
        if let refrain_core::Event::Advance {
            done,
            total,
            message,
            ..
        } = event
        {
            log.lock()
                .unwrap()
                .push(format!("{done}/{total:?} {message}"));
        }
    });
    let one = TextClassifier {
        epochs: 1,
        ..small()
    };
    one.fit_with(&examples(1500), &monitor).unwrap();
    let seen = seen.lock().unwrap();
    assert!(seen[0].starts_with("1024/Some(1500) "), "{seen:?}");
    assert!(seen[1].starts_with("1500/Some(1500) "), "{seen:?}");
    assert!(
        seen.iter().all(|line| line.contains("k words/s, loss ")),
        "{seen:?}"
    );
}

#[test]
fn new_words_and_labels_are_learnt_and_old_ones_kept() {
    let monitor = Monitor::silent();
    let old = small().fit(&examples(300)).unwrap();
    let mut new = examples(60);
    new.extend((0..40).map(|i| Example::new("d", [format!("d{}", i % 5), "noise1".into()])));
    let mut training = old.clone().extend(&new, 3).unwrap();
    let first = training.model().unwrap();
    assert_eq!(
        first.labels().iter().collect::<Vec<_>>(),
        ["a", "b", "c", "d"]
    );
    assert_eq!(first.words().len(), old.words().len() + 5);
    // Before any step old texts have the scores they had, up to the new label's.
    let text = ["noise3", "man", "bites", "dog", "d1"];
    let known = ["noise3", "man", "bites", "dog"];
    let ratio = |model: &TextClassifierModel, text: &[&str]| {
        let p = model.probabilities(text);
        (p[2] / p[0]).ln()
    };
    assert!((ratio(first, &known) - ratio(&old, &known)).abs() < 1e-4);
    while !training.is_finished() {
        training.epoch(&new, &monitor).unwrap();
    }
    let model = training.finish().unwrap();
    assert_eq!(model.predict(&["d4"], 1)[0].label, "d");
    assert_eq!(model.predict(&text, 1)[0].label, "c");
    assert!(model.evaluate(&examples(300)).accuracy > 0.95);
    assert!(matches!(
        old.clone().extend(&[], 1),
        Err(Error::EmptyVocabulary { .. })
    ));
    assert!(old.extend(&new, 0).is_err());
}

#[test]
fn a_step_is_the_gradient() {
    let data = examples(9);
    for several in [false, true] {
        let mut model = TextClassifier {
            dim: 4,
            several,
            ..small()
        }
        .begin(&data)
        .unwrap();
        // Outputs begin at zero, where the inputs have no gradient.
        for (i, value) in model.outputs.iter_mut().enumerate() {
            *value = ((i * 7) % 5) as f32 / 5.0 - 0.4;
        }
        let (rows, labels) = (model.rows(&data[0].tokens), [0u32]);
        let loss = |model: &TextClassifierModel| -> f64 {
            let p = model.probabilities(&data[0].tokens);
            let own = |(i, &p): (usize, &f32)| match (i == 0, several) {
                (true, _) => -f64::from(p).ln(),
                (false, true) => -(1.0 - f64::from(p)).ln(),
                (false, false) => 0.0,
            };
            p.iter().enumerate().map(own).sum()
        };
        let mut stepped = model.clone();
        let told = stepped
            .step(&rows, &labels, 1.0, &mut Work::default())
            .unwrap();
        assert!((f64::from(told) - loss(&model)).abs() < 1e-5);
        let h = 1e-2;
        let slope = |change: &dyn Fn(&mut TextClassifierModel, f32)| {
            let (mut up, mut down) = (model.clone(), model.clone());
            change(&mut up, h);
            change(&mut down, -h);
            (loss(&up) - loss(&down)) / (2.0 * f64::from(h))
        };
        for i in 0..model.outputs.len() {
            let expected = slope(&|m, h| m.outputs[i] += h);
            let found = f64::from(model.outputs[i] - stepped.outputs[i]);
            assert!(
                (found - expected).abs() < 1e-3,
                "output {i}: {found} {expected}"
            );
        }
        for i in (0..rows.len()).flat_map(|r| (0..4).map(move |d| (r, d))) {
            let at = rows[i.0] as usize * 4 + i.1;
            let expected = slope(&|m, h| m.inputs[at] += h);
            let found = f64::from(model.inputs[at] - stepped.inputs[at]);
            assert!(
                (found - expected).abs() < 1e-3,
                "input {i:?}: {found} {expected}"
            );
        }
    }
}

#[test]
fn files_and_hostile_input() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("train.txt");
    std::fs::write(
        &path,
        "__label__a __label__b some text\n\n  __label__c\n__label__a more",
    )
    .unwrap();
    let read = Example::read(&path, tokenize::whitespace).unwrap();
    assert_eq!(read.len(), 3);
    assert_eq!((read[0].labels.len(), read[0].tokens.len()), (2, 2));
    assert_eq!((read[1].labels[0].as_str(), read[1].tokens.len()), ("c", 0));
    assert!(
        TextClassifier {
            several: true,
            ..small()
        }
        .fit(&read)
        .is_ok()
    );
    let error = small().fit(&read).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Labels {
                example: 0,
                found: 2
            }
        ),
        "{error}"
    );
    std::fs::write(&path, "__label__a x\nno label").unwrap();
    let error = Example::read(&path, tokenize::whitespace)
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 2"), "{error}");
    assert!(Example::read("/no/such.txt", tokenize::whitespace).is_err());

    let some = examples(9);
    let refused = |config: TextClassifier| config.fit(&some).map(drop).unwrap_err().to_string();
    assert!(refused(TextClassifier { dim: 0, ..small() }).contains("dim is 0"));
    assert!(
        refused(TextClassifier {
            buckets: 0,
            ..small()
        })
        .contains("buckets is 0")
    );
    assert!(
        refused(TextClassifier {
            learning_rate: -1.0,
            ..small()
        })
        .contains("learning_rate")
    );
    assert!(
        refused(TextClassifier {
            min_count: 99,
            ..small()
        })
        .contains("99 times")
    );
    assert!(
        refused(TextClassifier {
            learning_rate: 1e38,
            ..small()
        })
        .contains("diverged")
    );
    assert!(matches!(
        small().fit(&[]),
        Err(Error::EmptyVocabulary { .. })
    ));
    let monitor = Monitor::silent();
    monitor.cancel_token().cancel();
    assert!(small().fit_with(&some, &monitor).is_err());
}

/// fastText's dictionary hashes "the cat" to `h(the) · 116049371 + h(cat)` in 64 bits, of hashes that
/// are signed numbers of 32 bits; here in 128 bits, where nothing wraps.
#[test]
fn word_ngrams_are_hashed_as_signed_numbers() {
    let model = TextClassifier {
        buckets: 1 << 20,
        ..small()
    }
    .begin(&[Example::new("a", ["the", "cat"])])
    .unwrap();
    let h = |word: &str| i128::from(subwords::fnv(word.as_bytes()) as i32);
    let joined = (h("the") * 116_049_371 + h("cat")).rem_euclid(1 << 64) as u64;
    let expected = 2 + (joined % (1 << 20)) as u32;
    assert_eq!(model.rows(&["the", "cat"]), [0, 1, expected]);
}
