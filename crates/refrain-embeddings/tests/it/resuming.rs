//! Resuming, cancelling, and what is refused.

use std::sync::{Arc, Mutex};

use refrain_core::{Event, Monitor};
use refrain_embeddings::{Corpus, Engine, Error, Ngrams, Word2Vec, Word2VecTraining, tokenize};

use super::{blocks, small, variants};

#[test]
fn resuming_gives_the_same_bits_as_never_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.refrain");
    let corpus = Corpus::from_sentences(blocks(3, 8, 400)).unwrap();
    let device = refrain_core::device("cpu").unwrap();
    for (threads, cache_tokens, engine) in [
        (1, 1 << 20, Engine::Auto),
        (2, 0, Engine::Auto),
        (3, 1 << 20, Engine::Auto),
        (1, 1 << 20, Engine::Tensors),
    ] {
        let config = Word2Vec {
            learning_rate: 0.1 / 3.0,
            epochs: 4,
            threads,
            cache_tokens,
            engine,
            ..small()
        };
        let monitor = Monitor::silent();
        let unbroken = config.fit_on(&corpus, &device, &monitor).unwrap();
        let again = config.fit_on(&corpus, &device, &monitor).unwrap();
        assert_eq!(
            unbroken.vectors(),
            again.vectors(),
            "not deterministic: {threads} {engine:?}"
        );

        let mut training = config.start(&corpus).unwrap().on(&device).unwrap();
        let mut losses = vec![training.epoch(&corpus, &monitor).unwrap().loss];
        while !training.is_finished() {
            training.save(&path).unwrap();
            training = Word2VecTraining::load(&path).unwrap().on(&device).unwrap();
            losses.push(training.epoch(&corpus, &monitor).unwrap().loss);
        }
        assert_eq!(training.losses(), losses);
        assert!(losses.last() < losses.first(), "{losses:?}");
        assert_eq!(training.finish().unwrap().vectors(), unbroken.vectors());
    }
    let streamed = Word2Vec {
        cache_tokens: 0,
        ..small()
    }
    .fit(&corpus)
    .unwrap();
    assert_eq!(streamed.vectors(), small().fit(&corpus).unwrap().vectors());
    let other = Word2Vec { seed: 8, ..small() }.fit(&corpus).unwrap();
    assert_ne!(other.vectors(), streamed.vectors());
}

#[test]
fn progress_cancel_and_what_follows() {
    let corpus = Corpus::from_sentences(blocks(3, 8, 400)).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = seen.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance {
            stage,
            done,
            total,
            message,
        } = event
        {
            log.lock()
                .unwrap()
                .push(format!("{stage} {done}/{total:?} {message}"));
        }
    });
    small().fit_with(&corpus, &monitor).unwrap();
    let lines = seen.lock().unwrap().join("\n");
    assert!(
        lines.contains("vocabulary") && lines.contains("24 words"),
        "{lines}"
    );
    assert!(lines.contains("epoch 10/10 3200/Some(3200)"), "{lines}");
    assert!(lines.contains("words/s, loss "), "{lines}");

    let monitor = Monitor::silent();
    let mut training = small().start(&corpus).unwrap();
    monitor.cancel_token().cancel();
    let error = training.epoch(&corpus, &monitor).unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(matches!(
        training.save("never written"),
        Err(Error::Interrupted { epoch: 1 })
    ));
    assert!(matches!(
        training.epoch(&corpus, &Monitor::silent()),
        Err(Error::Interrupted { .. })
    ));
}

#[test]
fn bad_input_is_a_typed_error() {
    let corpus = Corpus::from_text("a b a b a b a b a b a b", tokenize::whitespace);
    let fit = |config: Word2Vec| config.fit(&corpus).map(|_| ()).unwrap_err().to_string();
    for (config, field) in [
        (Word2Vec { dim: 0, ..small() }, "dim is 0"),
        (
            Word2Vec {
                window: 0,
                ..small()
            },
            "window is 0",
        ),
        (
            Word2Vec {
                negatives: 0,
                ..small()
            },
            "negatives is 0",
        ),
        (
            Word2Vec {
                epochs: 0,
                ..small()
            },
            "epochs is 0",
        ),
        (
            Word2Vec {
                threads: 5000,
                ..small()
            },
            "threads is 5000",
        ),
        (
            Word2Vec {
                learning_rate: f64::NAN,
                ..small()
            },
            "learning_rate is NaN",
        ),
        (
            Word2Vec {
                learning_rate: 0.0,
                ..small()
            },
            "learning_rate is 0",
        ),
        (
            Word2Vec {
                subsample: -1.0,
                ..small()
            },
            "subsample is -1",
        ),
        (
            Word2Vec {
                power: f64::INFINITY,
                ..small()
            },
            "power is inf",
        ),
        (
            Word2Vec {
                ngrams: Some(Ngrams {
                    least: 4,
                    most: 3,
                    buckets: 10,
                }),
                ..small()
            },
            "lengths is 4 to 3",
        ),
        (
            Word2Vec {
                ngrams: Some(Ngrams {
                    buckets: 0,
                    ..Ngrams::default()
                }),
                ..small()
            },
            "buckets is 0",
        ),
        (
            Word2Vec {
                min_count: 100,
                ..small()
            },
            "of 12 tokens no word occurs at least 100",
        ),
    ] {
        let error = fit(config);
        assert!(error.contains(field), "{error}");
    }
    let error = fit(Word2Vec {
        learning_rate: 1e30,
        threads: 1,
        ..small()
    });
    assert!(
        error.contains("diverged") && error.contains("step"),
        "{error}"
    );
    let empty = Corpus::from_text("", tokenize::words);
    assert!(matches!(
        small().fit(&empty),
        Err(Error::EmptyVocabulary { tokens: 0, .. })
    ));

    // A corpus that shrinks between the count and the epoch.
    let mut training = small().start(&corpus).unwrap();
    let _ = training.epoch(&corpus, &Monitor::silent()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.refrain");
    training.save(&path).unwrap();
    let mut training = Word2VecTraining::load(&path).unwrap();
    let shorter = Corpus::from_text("a b a b", tokenize::whitespace);
    let error = training.epoch(&shorter, &Monitor::silent()).unwrap_err();
    assert!(
        matches!(
            error,
            Error::CorpusChanged {
                expected: 12,
                found: 4
            }
        ),
        "{error}"
    );
    assert!(Word2VecTraining::load("/no/such.refrain").is_err());
    // One word alone has no context, and no negative but itself.
    let alone = Corpus::from_text("a\na\na\na\na\na", tokenize::whitespace);
    for config in variants() {
        assert_eq!(config.fit(&alone).unwrap().len(), 1);
    }
}
