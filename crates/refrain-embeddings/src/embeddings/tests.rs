use rand::RngExt;

use super::*;

fn random(count: usize, dim: usize) -> Embeddings {
    let mut rng = refrain_core::rng::stream(3, 4);
    Embeddings::from_vectors((0..count).map(|i| {
        (
            format!("w{i}"),
            (0..dim)
                .map(|_| rng.random_range(-1.0..1.0))
                .collect::<Vec<f32>>(),
        )
    }))
    .unwrap()
}

#[test]
fn neighbours_equal_a_slow_search() {
    let words = random(5000, 7);
    for word in ["w0", "w4999", "w17"] {
        let mut slow: Vec<(f32, &str)> = words
            .iter()
            .filter(|(other, _)| *other != word)
            .map(|(other, _)| (words.similarity(word, other).unwrap(), other))
            .collect();
        slow.sort_by(|a, b| b.0.total_cmp(&a.0));
        let fast = words.neighbours(word, 12).unwrap();
        assert_eq!(fast.len(), 12);
        for (fast, slow) in fast.iter().zip(&slow) {
            assert_eq!(fast.word, slow.1);
            assert!((fast.similarity - slow.0).abs() < 1e-5);
        }
    }
    assert_eq!(words.neighbours("w0", 10_000).unwrap().len(), 4999);
    assert!(words.neighbours("w0", 0).unwrap().is_empty());
}

#[test]
fn bad_input_is_an_error_or_nothing() {
    let words = random(10, 4);
    assert!(matches!(
        words.neighbours("x", 3),
        Err(Error::UnknownWord { .. })
    ));
    assert!(matches!(
        words.nearest(&[1.0; 3], 3),
        Err(Error::Shape { expected: 4, .. })
    ));
    assert!(words.nearest(&[f32::NAN; 4], 3).unwrap().is_empty());
    assert_eq!(words.nearest(&[0.0; 4], 3).unwrap().len(), 3);
    assert!(matches!(
        words.doesnt_match(&["w1"]),
        Err(Error::TooFewWords { .. })
    ));
    assert!(matches!(words.combine(&[]), Err(Error::TooFewWords { .. })));
    assert_eq!(words.row(10), None);
    assert!(Embeddings::from_vectors([("a", vec![1.0]), ("b", vec![1.0, 2.0])]).is_err());
    assert!(Embeddings::from_vectors([("a", [1.0]), ("a", [2.0])]).is_err());
    let broken = Embeddings::from_vectors([("a", [1.0]), ("b", [f32::INFINITY])]);
    assert!(matches!(broken, Err(Error::NotFinite { word }) if word == "b"));
    assert!(Embeddings::from_vectors([("a", [0.0f32; 0])]).is_err());
    let none = Embeddings::from_vectors(Vec::<(&str, Vec<f32>)>::new()).unwrap();
    assert!(none.is_empty() && none.nearest(&[1.0], 3).unwrap().is_empty());
}

#[test]
fn unknown_words_are_made_of_their_ngrams() {
    // One row: every word that is not known lies in its direction.
    let ngrams = Subwords::new(3..=4, 2, vec![3.0, 4.0]).unwrap();
    let words = [("cat", [0.0, 1.0]), ("dog", [1.0, 0.1])];
    let words = Embeddings::from_vectors(words).unwrap();
    assert!(words.neighbours("cats", 2).is_err());
    let words = words.with_subwords(ngrams).unwrap();
    assert_eq!(words.embed("cat").unwrap()[..], [0.0, 1.0]);
    let made = words.embed("cats").unwrap();
    assert!((made[0] - 3.0).abs() < 1e-6 && (made[1] - 4.0).abs() < 1e-6);
    assert!((words.similarity("cats", "cat").unwrap() - 0.8).abs() < 1e-6);
    let near = words.neighbours("cats", 3).unwrap();
    assert_eq!(
        near.iter().map(|n| n.word).collect::<Vec<_>>(),
        ["cat", "dog"]
    );
    assert_eq!(
        words.doesnt_match(&["cat", "kitten", "dog"]).unwrap(),
        "dog"
    );
    let best = words
        .analogy("cats", "cat", "dogs", 1, Analogy::Mul)
        .unwrap();
    assert_eq!(best[0].word, "dog");
    assert!(
        words.similarity("cat", "").is_err(),
        "no n-grams, no vector"
    );
    let wide = Subwords::new(3..=4, 3, vec![1.0; 3]).unwrap();
    assert!(words.with_subwords(wide).is_err());
}
