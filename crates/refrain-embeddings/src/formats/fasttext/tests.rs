use proptest::prelude::*;

use super::super::testing::{assert_nearly_the_same, broken, draws, numbered};
use super::*;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords};

/// Made by `tests/golden/make_fasttext.py` with fastText itself, as are the vectors below.
const WORDS: &[u8] = include_bytes!("../../../tests/golden/words.bin");
const LABELS: &[u8] = include_bytes!("../../../tests/golden/labels.ftz");

fn parse(bytes: &[u8]) -> Result<Embeddings> {
    super::parse(bytes, "memory")
}

fn assert_vector(words: &Embeddings, word: &str, expected: [f64; 3]) {
    let found = words.embed(word).unwrap();
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (f64::from(*found) - expected).abs() < 1e-6,
            "{word}: {found} {expected}"
        );
    }
}

#[test]
fn vectors_are_those_of_fasttext() {
    let words = parse(WORDS).unwrap();
    let list = [
        "the", "</s>", "sat", "cat", "on", "mat", "猫", "cats", "and", "mats",
    ];
    assert_eq!(words.vocabulary().ids().iter().collect::<Vec<_>>(), list);
    assert_eq!(words.vocabulary().count(0), Some(9));
    for (word, vector) in [
        (
            "the",
            [
                0.006201417651027441,
                -0.0904136523604393,
                0.06899628788232803,
            ],
        ),
        (
            "猫",
            [
                -0.06965961307287216,
                0.003452308475971222,
                0.009133528918027878,
            ],
        ),
        (
            "cats",
            [
                -0.001092797378078103,
                -0.11551089584827423,
                0.1579298973083496,
            ],
        ),
        (
            "hat",
            [
                0.042460788041353226,
                -0.1443355828523636,
                0.16248998045921326,
            ],
        ),
        (
            "猫s",
            [
                -0.11815860867500305,
                -0.08588257431983948,
                0.056365083903074265,
            ],
        ),
        (
            "</s>",
            [-0.06799440830945969, 0.1623416393995285, 0.0402599535882473],
        ),
    ] {
        assert_vector(&words, word, vector);
    }
    assert_eq!(words.vector("hat"), None);

    // Quantised, with lengths apart, and pruned.
    let words = parse(LABELS).unwrap();
    assert_eq!(words.len(), 40);
    assert!(words.vocabulary().get("__label__up").is_none());
    assert!(words.subwords().unwrap().kept().is_some());
    for (word, vector) in [
        (
            "x1",
            [
                -0.23513251543045044,
                -0.029960066080093384,
                -0.04344955086708069,
            ],
        ),
        (
            "word169",
            [
                -0.34337231516838074,
                -0.028240477666258812,
                -0.278973788022995,
            ],
        ),
        (
            "wordy",
            [
                -0.6333906650543213,
                -0.1501610279083252,
                -0.5062412023544312,
            ],
        ),
        (
            "zzz",
            [
                0.06218115985393524,
                0.02236434817314148,
                -0.3012581169605255,
            ],
        ),
    ] {
        assert_vector(&words, word, vector);
    }
}

#[test]
fn round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.bin");
    let words = parse(WORDS).unwrap();
    write(&words, &path).unwrap();
    let again = read(&path).unwrap();
    assert_eq!(again.vocabulary(), words.vocabulary());
    assert_eq!(again.subwords(), words.subwords());
    for (a, b) in again.vectors().iter().zip(words.vectors()) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
    let plain = Embeddings::from_vectors([("a", [1.0, -2.5]), ("b c", [0.0, 1e-20])]).unwrap();
    write(&plain, &path).unwrap();
    let again = read(&path).unwrap();
    assert_eq!((again.vectors(), again.subwords()), (plain.vectors(), None));

    let pruned = parse(LABELS).unwrap();
    assert!(write(&pruned, folder.path().join("no.bin")).is_err());
    let others = Subwords::hashed(3..=3, 1, vec![1.0], SubwordHashing::Finalfusion).unwrap();
    let others = Embeddings::from_subwords(others, ["cat"]).unwrap();
    assert!(write(&others, folder.path().join("no.bin")).is_err());
    let zero = Embeddings::from_vectors([("a\0", [1.0])]).unwrap();
    assert!(write(&zero, folder.path().join("no.bin")).is_err());
    assert!(!folder.path().join("no.bin").exists());
}

#[test]
fn small_files_hold_nearly_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.ftz");
    let mut draw = draws();
    let plain = numbered(600, 8, &mut draw);
    let whole = Subwords::new(3..=4, 8, draw(8 * 500)).unwrap();
    let kept: Vec<u32> = (0..300).map(|i| i * 3).collect();
    let pruned = Subwords::pruned(3..=4, 8, draw(8 * 300), 900, kept).unwrap();
    for subwords in [None, Some(whole), Some(pruned)] {
        let words = match subwords {
            None => plain.clone(),
            Some(subwords) => plain.clone().with_subwords(subwords).unwrap(),
        };
        write_quantised(&words, &path, 2).unwrap();
        assert_nearly_the_same(&read(&path).unwrap(), &words);
    }
    for part in [0, 3] {
        assert!(matches!(
            write_quantised(&plain, &path, part),
            Err(Error::Config { .. })
        ));
    }
}

#[test]
fn every_truncation_is_an_error() {
    // What is told comes last and is not read.
    let told = 17 + 10 * 3 * 4;
    for end in 0..WORDS.len() - told {
        assert!(parse(&WORDS[..end]).is_err(), "{end} bytes");
    }
    assert!(parse(&WORDS[..WORDS.len() - told]).is_ok());
    for end in (0..4000).step_by(7) {
        assert!(parse(&LABELS[..end]).is_err(), "{end} bytes");
    }
    let error = parse(b"7 300\nthe 0.1").unwrap_err().to_string();
    assert!(error.contains("not a model of fastText"), "{error}");
    let mut newer = WORDS.to_vec();
    newer[4] = 13;
    assert!(
        parse(&newer)
            .unwrap_err()
            .to_string()
            .contains("version 13")
    );
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in prop_oneof![broken(WORDS), broken(LABELS)]) {
        let _ = parse(&bytes);
    }
}
