//! Every device compiled in trains the same vectors as the CPU's kernels and tensors on `flex`.
#![cfg(any(feature = "ndarray", feature = "wgpu", feature = "cuda"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use refrain_core::Monitor;
use refrain_embeddings::{Architecture, Corpus, Engine, Ngrams, Objective, Word2Vec};

#[test]
fn devices_agree() {
    let corpus = Corpus::from_fn(|| {
        (0..60).map(|i| {
            let list = if i % 2 == 0 {
                ["red", "green", "blue"]
            } else {
                ["one", "two", "three"]
            };
            (0..5).map(move |j| list[(i / 2 + j * j) % 3])
        })
    });
    let skip_gram = Word2Vec {
        dim: 12,
        epochs: 3,
        batch: 16,
        engine: Engine::Tensors,
        learning_rate: 0.1,
        ..Word2Vec::default()
    };
    let bag_of_ngrams = Word2Vec {
        architecture: Architecture::Cbow,
        objective: Objective::HierarchicalSoftmax,
        ngrams: Some(Ngrams {
            buckets: 50,
            ..Ngrams::default()
        }),
        ..skip_gram.clone()
    };
    for config in [skip_gram, bag_of_ngrams] {
        compare(&config, &corpus);
    }
}

fn compare(config: &Word2Vec, corpus: &Corpus<'_>) {
    let train = |name: &str| {
        let device = refrain_core::device(name).unwrap();
        let mut training = config.start(corpus).unwrap().on(&device).unwrap();
        while !training.is_finished() {
            training.epoch(corpus, &Monitor::silent()).unwrap();
        }
        let losses = training.losses().to_vec();
        (losses, training.finish().unwrap())
    };
    let (losses, words) = train("flex");
    for name in refrain_core::devices().into_iter().skip(1) {
        let (other_losses, other) = train(name);
        for (a, b) in losses.iter().zip(&other_losses) {
            assert!((a - b).abs() < 1e-4, "{name}: loss {a} {b}");
        }
        for (a, b) in words.vectors().iter().zip(other.vectors()) {
            assert!((a - b).abs() < 1e-4, "{name}: {a} {b}");
        }
        let near = |w: &refrain_embeddings::Embeddings| {
            w.neighbours("red", 1).unwrap()[0].word.to_string()
        };
        assert_eq!(near(&words), near(&other));
    }
}
