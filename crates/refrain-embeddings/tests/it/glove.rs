use refrain_core::Monitor;
use refrain_embeddings::{Corpus, Error, Glove, GloveTraining, tokenize};

use crate::{block_margin, blocks};

fn small() -> Glove {
    Glove {
        dim: 12,
        window: 5,
        x_max: 10.0,
        epochs: 15,
        threads: 2,
        ..Glove::default()
    }
}

#[test]
fn planted_blocks_are_found_on_any_threads() {
    let corpus = Corpus::from_sentences(blocks(4, 10, 1500)).unwrap();
    for threads in [1, 2, 5] {
        let words = Glove { threads, ..small() }.fit(&corpus).unwrap();
        let (within, between) = block_margin(&words, 4, 10);
        assert!(
            within > 0.6 && between < within - 0.4,
            "{threads}: {within} {between}"
        );
    }
}

#[test]
fn resuming_gives_the_same_bits_as_never_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.refrain");
    let corpus = Corpus::from_sentences(blocks(3, 8, 400)).unwrap();
    let monitor = Monitor::silent();
    for (threads, cache_tokens) in [(1, 1 << 20), (3, 0)] {
        let config = Glove {
            threads,
            cache_tokens,
            learning_rate: 0.1 / 3.0,
            epochs: 4,
            ..small()
        };
        let unbroken = config.fit(&corpus).unwrap();
        assert_eq!(config.fit(&corpus).unwrap().vectors(), unbroken.vectors());
        let mut training = config.start(&corpus, &monitor).unwrap();
        let mut losses = vec![training.epoch(&corpus, &monitor).unwrap().loss];
        while !training.is_finished() {
            training.save(&path).unwrap();
            training = GloveTraining::load(&path).unwrap();
            losses.push(training.epoch(&corpus, &monitor).unwrap().loss);
        }
        assert_eq!(training.losses(), losses);
        assert!(losses.last() < losses.first(), "{losses:?}");
        assert_eq!(training.finish().unwrap().vectors(), unbroken.vectors());
    }
    let training = GloveTraining::load(&path).unwrap();
    assert_eq!(training.vocabulary().len(), 24);
    let other = Corpus::from_sentences(blocks(3, 8, 300)).unwrap();
    let mut training = training;
    let error = training.epoch(&other, &monitor).unwrap_err();
    assert!(matches!(error, Error::CorpusChanged { .. }), "{error}");
}

#[test]
fn training_goes_on_with_new_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.refrain");
    let monitor = Monitor::silent();
    let (first, second) = (blocks(3, 8, 400), blocks(4, 8, 400));
    let first = Corpus::from_sentences(first).unwrap();
    // Without the first block, and with one that is new.
    let without = |sentence: &Vec<String>| sentence.iter().all(|word| !word.starts_with("b0"));
    let second: Vec<_> = second.into_iter().filter(without).collect();
    let second = Corpus::from_sentences(second).unwrap();
    for threads in [1, 3] {
        let config = Glove { threads, ..small() };
        let mut training = config.start(&first, &monitor).unwrap();
        while !training.is_finished() {
            training.epoch(&first, &monitor).unwrap();
        }
        let before = training.embeddings().unwrap();
        let counts = training.vocabulary().clone();
        let mut training = training.extend(&second, 12, &monitor).unwrap();
        assert_eq!(training.vocabulary().len(), 32);
        assert!(training.losses().is_empty());
        // Known words are where they were, at the head.
        let start = training.embeddings().unwrap();
        assert_eq!(start.vectors()[..before.vectors().len()], *before.vectors());
        let mut unbroken = None;
        for resumed in [false, true] {
            if resumed {
                training = GloveTraining::load(&path).unwrap();
            } else {
                training.save(&path).unwrap();
            }
            while !training.is_finished() {
                training.epoch(&second, &monitor).unwrap();
            }
            let words = training.embeddings().unwrap();
            match &unbroken {
                None => unbroken = Some(words),
                Some(unbroken) => assert_eq!(words.vectors(), unbroken.vectors()),
            }
        }
        let words = training.finish().unwrap();
        let (within, between) = block_margin(&words, 4, 8);
        assert!(within > between + 0.3, "{threads}: {within} {between}");
        for (word, vector) in before.iter().filter(|(word, _)| word.starts_with("b0")) {
            assert_eq!(
                words.vector(word),
                Some(vector),
                "was not in the new corpus"
            );
            let index = counts.get(word).unwrap();
            assert_eq!(words.vocabulary().count(index), counts.count(index));
        }
        let all: u64 = words.vocabulary().counts().iter().sum();
        assert!(all > counts.tokens());
    }
    let mut training = GloveTraining::load(&path).unwrap();
    let error = training.epoch(&first, &monitor).unwrap_err();
    assert!(matches!(error, Error::CorpusChanged { .. }), "{error}");
    let nothing = Corpus::from_text("un known words", tokenize::whitespace);
    let training = small().start(&first, &monitor).unwrap();
    let error = training.extend(&nothing, 3, &monitor).unwrap_err();
    assert!(matches!(error, Error::EmptyVocabulary { .. }), "{error}");
}

#[test]
fn what_cannot_be_trained_is_a_typed_error() {
    let corpus = Corpus::from_text("a b a b a b a b a b a b", tokenize::whitespace);
    let refused = |config: Glove| config.fit(&corpus).map(drop).unwrap_err().to_string();
    for (config, message) in [
        (Glove { dim: 0, ..small() }, "dim is 0"),
        (
            Glove {
                window: 0,
                ..small()
            },
            "window is 0",
        ),
        (
            Glove {
                epochs: 0,
                ..small()
            },
            "epochs is 0",
        ),
        (
            Glove {
                threads: 2000,
                ..small()
            },
            "threads is 2000",
        ),
        (
            Glove {
                x_max: 0.0,
                ..small()
            },
            "x_max is 0",
        ),
        (
            Glove {
                alpha: f64::NAN,
                ..small()
            },
            "alpha is NaN",
        ),
        (
            Glove {
                min_count: 100,
                ..small()
            },
            "at least 100 times",
        ),
        (
            Glove {
                learning_rate: 1e30,
                ..small()
            },
            "diverged",
        ),
    ] {
        let error = refused(config);
        assert!(error.contains(message), "{error}");
    }
    let alone = Corpus::from_text("a\na\na\na\na\na", tokenize::whitespace);
    let error = small().fit(&alone).unwrap_err();
    assert!(matches!(error, Error::NoPairs { tokens: 6 }), "{error}");

    let monitor = Monitor::silent();
    let mut training = small().start(&corpus, &monitor).unwrap();
    monitor.cancel_token().cancel();
    let error = training.epoch(&corpus, &monitor).unwrap_err();
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(matches!(
        training.embeddings(),
        Err(Error::Interrupted { epoch: 1 })
    ));
}
