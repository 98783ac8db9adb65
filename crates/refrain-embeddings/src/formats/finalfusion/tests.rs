use proptest::prelude::*;

use super::super::testing::{assert_nearly_the_same, broken, draws, numbered};
use super::super::{fasttext, floret};
use super::read::map;
use super::*;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords};

// Made by `tests/golden/make_finalfusion.py` and, the last, `make_finalfusion.rs` with finalfusion
// itself, as are the vectors below.
const FASTTEXT: &[u8] = include_bytes!("../../../tests/golden/fasttext.fifu");
const BUCKET: &[u8] = include_bytes!("../../../tests/golden/bucket.fifu");
const QUANTISED: &[u8] = include_bytes!("../../../tests/golden/quantised.fifu");
const FLORET: &[u8] = include_bytes!("../../../tests/golden/floret.fifu");
const FILES: [&[u8]; 4] = [FASTTEXT, BUCKET, QUANTISED, FLORET];

#[test]
fn small_files_hold_nearly_the_same_vectors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.fifu");
    let mut draw = draws();
    // Numbers of words and of bytes of all remainders by four.
    for count in 600..604 {
        let plain = numbered(count, 6, &mut draw);
        let ngrams = Subwords::hashed(3..=4, 6, draw(6 * 512), SubwordHashing::Finalfusion);
        let whole = plain.clone().with_subwords(ngrams.unwrap()).unwrap();
        for words in [plain, whole] {
            write_quantised(&words, &path, 3).unwrap();
            assert_nearly_the_same(&read(&path).unwrap(), &words);
            for parts in [0, 4] {
                assert!(matches!(
                    write_quantised(&words, &path, parts),
                    Err(Error::Config { .. })
                ));
            }
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Embeddings> {
    super::parse(bytes, "memory")
}

/// The vector of `word`, made of so many rows, is the sum that finalfusion gives.
fn assert_sum(words: &Embeddings, word: &str, rows: usize, expected: &[f64]) {
    let found = words.embed(word).unwrap();
    for (found, expected) in found.iter().zip(expected) {
        let found = f64::from(*found) * rows as f64;
        assert!(
            (found - expected).abs() < 1e-5 * rows as f64,
            "{word}: {found} {expected}"
        );
    }
}

#[test]
fn vectors_are_those_of_finalfusion() {
    let words = parse(FASTTEXT).unwrap();
    let list = [
        "the", "</s>", "sat", "cat", "on", "mat", "猫", "cats", "and", "mats",
    ];
    assert_eq!(words.vocabulary().ids().iter().collect::<Vec<_>>(), list);
    for (word, rows, sum) in [
        (
            "the",
            1,
            [
                0.006201416254043579,
                -0.0904136523604393,
                0.06899628788232803,
            ],
        ),
        (
            "猫",
            1,
            [
                -0.06965961307287216,
                0.003452308475971222,
                0.009133528918027878,
            ],
        ),
        (
            "cats",
            1,
            [
                -0.0010927972616627812,
                -0.11551090329885483,
                0.15792988240718842,
            ],
        ),
        (
            "hat",
            9,
            [0.3821471333503723, -1.2990202903747559, 1.4624097347259521],
        ),
        (
            "猫s",
            6,
            [-0.7089516520500183, -0.5152954459190369, 0.3381905257701874],
        ),
    ] {
        assert_sum(&words, word, rows, &sum);
    }
    let model = include_bytes!("../../../tests/golden/words.bin");
    let model = fasttext::parse(model, "memory").unwrap();
    assert_eq!(words.subwords(), model.subwords());

    let words = parse(BUCKET).unwrap();
    let subwords = words.subwords().unwrap();
    assert_eq!(subwords.hashing(), &SubwordHashing::Finalfusion);
    assert_eq!((subwords.lengths(), subwords.buckets()), (1..=4, 8));
    for (word, rows, sum) in [
        (
            "two",
            1,
            [-1.3031572103500366, 0.9053559303283691, 0.4463745951652527],
        ),
        (
            "naïve 猫",
            1,
            [-0.5369532108306885, 0.581118106842041, 0.3645724058151245],
        ),
        (
            "three",
            22,
            [-4.744568824768066, -2.7313413619995117, 3.076782703399658],
        ),
        (
            "猫",
            6,
            [
                -0.448728084564209,
                -0.09859273582696915,
                -0.2948557138442993,
            ],
        ),
        (
            "incomprehensible",
            66,
            [
                -23.92610740661621,
                -13.256156921386719,
                -0.12464720010757446,
            ],
        ),
    ] {
        assert_sum(&words, word, rows, &sum);
    }

    let words = parse(QUANTISED).unwrap();
    assert_eq!((words.len(), words.dim()), (5, 6));
    let a = [
        1.5924687385559082,
        -1.7635321617126465,
        -0.35590824484825134,
        -0.18964913487434387,
        0.04393095150589943,
        -0.9236869215965271,
    ];
    assert_sum(&words, "a", 1, &a);
    let ef = [
        0.019194036722183228,
        0.026999082416296005,
        0.13751183450222015,
        0.14154689013957977,
        0.06939766556024551,
        0.1610785871744156,
    ];
    assert_sum(&words, "e f", 1, &ef);

    let words = parse(FLORET).unwrap();
    let text = include_str!("../../../tests/golden/words.floret");
    let subwords = floret::parse(text.as_bytes(), "memory").unwrap();
    assert_eq!((words.len(), words.subwords()), (0, Some(&subwords)));
    assert_sum(&words, "cats", 39, &[2.296229, -0.35413894, 5.2887726]);
    assert_sum(&words, "猫", 12, &[-0.4952371, -0.68035704, 1.619314]);
}

#[test]
fn round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.fifu");
    let plain = [
        ("", [0.0, 0.0]),
        ("a b", [1.0, -2.5]),
        ("猫", [1e20, -1e15]),
    ];
    let plain = Embeddings::from_vectors(plain).unwrap();
    let mut all = vec![plain];
    all.extend(FILES.map(|bytes| parse(bytes).unwrap()));
    for words in all {
        write(&words, &path).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again.vocabulary(), words.vocabulary());
        assert_eq!(again.subwords(), words.subwords());
        for (a, b) in again.vectors().iter().zip(words.vectors()) {
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}");
        }
    }
    // What has no lengths is the same to the last byte, and so are the chunks of what has.
    write(&parse(FLORET).unwrap(), &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), FLORET);
    write(&parse(BUCKET).unwrap(), &path).unwrap();
    let again = std::fs::read(&path).unwrap();
    assert_eq!((again.len(), &again[..120]), (BUCKET.len(), &BUCKET[..120]));
}

#[test]
fn what_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.fifu");
    let refused = |subwords: Subwords| {
        let words = Embeddings::from_subwords(subwords, ["cat"]).unwrap();
        write(&words, &path).unwrap_err().to_string()
    };
    let three = Subwords::hashed(1..=3, 1, vec![1.0; 3], SubwordHashing::Finalfusion);
    assert!(refused(three.unwrap()).contains("power of two"));
    let kept = (0..4).collect();
    let pruned = Subwords::pruned(1..=3, 1, vec![1.0; 4], 4, kept).unwrap();
    assert!(refused(pruned).contains("pruned"));
    let floret = parse(FLORET).unwrap().subwords().cloned().unwrap();
    assert!(refused(floret).contains("without words"));
    let long = Embeddings::from_vectors([("a", [f32::MAX; 2])]).unwrap();
    assert!(write(&long, &path).is_err());
    assert!(!path.exists());
}

/// Mapped vectors, multiplied by their lengths, are those that are read into memory, bit by bit.
fn assert_mapped(path: &std::path::Path, lengths: impl Fn(usize) -> f32) {
    let (mapped, read) = (open(path).unwrap(), read(path).unwrap());
    assert_eq!(mapped.vocabulary(), read.vocabulary());
    assert_eq!(mapped.subwords(), read.subwords());
    for (at, ((_, unit), (word, vector))) in mapped.iter().zip(read.iter()).enumerate() {
        let scaled: Vec<f32> = unit.iter().map(|value| value * lengths(at)).collect();
        assert_eq!(scaled, vector, "{word}");
    }
    for (word, _) in read.iter().take(9) {
        let (a, b) = (
            mapped.neighbours(word, 5).unwrap(),
            read.neighbours(word, 5).unwrap(),
        );
        for (a, b) in a.iter().zip(&b) {
            assert!((a.similarity - b.similarity).abs() < 1e-5, "{a:?} {b:?}");
        }
        assert_eq!(a.len(), b.len());
    }
    for word in ["cats", "猫s", "incomprehensible", "", "the"] {
        assert_eq!(mapped.embed(word).is_some(), read.embed(word).is_some());
        if read.vector(word).is_none() {
            assert_eq!(mapped.embed(word), read.embed(word));
        }
    }
}

#[test]
fn a_mapped_file_has_the_vectors_of_one_that_was_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("words.fifu");
    for file in FILES {
        std::fs::write(&path, file).unwrap();
        // The last chunk is that of lengths, but quantised rows have theirs beside them.
        let words = parse(file).unwrap().len();
        let lengths = super::super::bytes::floats(&file[file.len() - 4 * words..]);
        let apart = file != QUANTISED;
        assert_mapped(&path, |at| if apart { lengths[at] } else { 1.0 });
    }
    for file in [FASTTEXT, BUCKET, FLORET] {
        let mapped = map(&file.to_vec().into(), "memory").unwrap();
        assert!(format!("{mapped:?}").contains("MappedFile"));
    }

    // Words, of which the longest are of several bytes, in numbers of all remainders by four.
    for count in 0..5 {
        let rows = (0..count).map(|i| ("猫".repeat(i), [i as f32, -2.0, 0.5]));
        let words = Embeddings::from_vectors(rows).unwrap();
        write(&words, &path).unwrap();
        let lengths = |at| (at as f32 * at as f32 + 4.25).sqrt();
        assert_mapped(&path, lengths);
    }
}

/// A file of plain rows of two values, with lengths if there are any.
fn plain(words: &[&str], rows: &[f32], lengths: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    let put = |bytes: &mut Vec<u8>, numbers: &[u32]| {
        numbers.iter().for_each(|n| bytes.extend(n.to_le_bytes()));
    };
    match lengths {
        None => put(&mut bytes, &[0, 2, WORDS, ROWS]),
        Some(_) => put(&mut bytes, &[0, 3, WORDS, ROWS, NORMS]),
    }
    put(&mut bytes, &[WORDS, 0, 0, words.len() as u32, 0]);
    for word in words {
        put(&mut bytes, &[word.len() as u32]);
        bytes.extend(word.as_bytes());
    }
    put(&mut bytes, &[ROWS, 0, 0, rows.len() as u32 / 2, 0, 2, F32]);
    bytes.resize(bytes.len() + padding(bytes.len()), 0);
    rows.iter()
        .for_each(|value| bytes.extend(value.to_le_bytes()));
    if let Some(lengths) = lengths {
        put(&mut bytes, &[NORMS, 0, 0, lengths.len() as u32, 0, F32]);
        bytes.resize(bytes.len() + padding(bytes.len()), 0);
        lengths
            .iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
    }
    bytes
}

#[test]
fn what_a_map_cannot_take_as_it_is() {
    let map = |bytes: Vec<u8>| map(&bytes.into(), "memory");
    let rows = [0.6, 0.8, 0.0, 0.0, 1.0, 0.0];
    let words = map(plain(&["a", "b", "c"], &rows, Some(&[5.0, 0.0, 2.0]))).unwrap();
    assert_eq!(words.vectors(), rows);
    assert_eq!(words.similarity("a", "c").unwrap(), 0.6);
    assert_eq!(words.similarity("a", "b").unwrap(), 0.0);
    // A word that stands twice keeps its first vector.
    let words = map(plain(&["a", "b", "a"], &rows, Some(&[5.0, 0.0, 2.0]))).unwrap();
    assert_eq!((words.len(), words.vectors()), (2, &rows[..4]));
    // Rows without lengths may have any.
    let words = map(plain(&["a", "b"], &[3.0, 4.0, 0.0, 2.0], None)).unwrap();
    assert!((words.similarity("a", "b").unwrap() - 0.8).abs() < 1e-6);
    assert!(format!("{words:?}").contains("MappedFile"));
    let endless = map(plain(&["a", "b"], &rows[..4], Some(&[1.0, f32::NAN])));
    assert!(matches!(endless, Err(Error::NotFinite { word }) if word == "b"));
    assert!(
        open("/no/such.fifu")
            .unwrap_err()
            .to_string()
            .contains("no/such")
    );
}

#[test]
fn every_truncation_is_an_error() {
    for file in FILES {
        for end in 0..file.len() {
            assert!(parse(&file[..end]).is_err(), "{end} bytes");
            assert!(
                map(&file[..end].to_vec().into(), "memory").is_err(),
                "{end} bytes"
            );
        }
    }
}

#[test]
fn errors_say_what_is_wrong() {
    let edited = |bytes: &[u8], at: usize, value: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = value;
        parse(&bytes).map(|_| ()).unwrap_err().to_string()
    };
    // The header of BUCKET: FiFu, version, 3 chunks, of kinds 3, 2 and 6; then the chunk of words:
    // its kind and length, 3 words, lengths 1 to 4, exponent 3.
    for (at, value, says) in [
        (0, b'f', "does not begin with FiFu"),
        (4, 1, "version 1"),
        (11, 1, "chunks"),
        (12, 1, "a chunk of kind 3 where 1 was said"),
        (39, 1, "words"),
        (44, 5, "lengths is 5 to 4"),
        (52, 4, "3 words and 16 n-grams, but 11 vectors"),
        (52, 32, "32 as the exponent"),
    ] {
        let error = edited(BUCKET, at, value);
        assert!(error.contains(says), "{at} {value}: {error}");
    }
    let chunk = |kind: u32| {
        let mut bytes = MAGIC.to_vec();
        for number in [0, 1, kind, kind, 0, 0] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([0; 40]);
        parse(&bytes).map(|_| ()).unwrap_err().to_string()
    };
    assert!(chunk(LISTED).contains("listed one by one"));
    assert!(chunk(10).contains("unknown kind 10"));
    assert!(chunk(METADATA).contains("none of words"));
    assert!(chunk(WORDS).contains("none of vectors"));
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(bytes in (0..FILES.len()).prop_flat_map(|file| broken(FILES[file]))) {
        let mapped = map(&bytes.clone().into(), "memory");
        for words in [parse(&bytes), mapped].into_iter().flatten() {
            let _ = words.embed("words");
            let _ = words.neighbours("two", 2);
        }
    }
}
