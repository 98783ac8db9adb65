use proptest::prelude::*;

use super::super::testing::broken;
use super::*;

fn tensors(parts: &[(&str, Dtype, &[usize], Vec<u8>)]) -> Vec<u8> {
    let views = parts.iter().map(|(name, dtype, shape, data)| {
        (
            *name,
            TensorView::new(*dtype, shape.to_vec(), data).unwrap(),
        )
    });
    safetensors::serialize(views, None).unwrap()
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

fn parse(vectors: &[u8], tokenizer: &str) -> Result<Embeddings> {
    read_bytes((vectors, "vectors"), (tokenizer.as_bytes(), "tokenizer"))
}

const NUMBERED: &str = r###"{"model": {"type": "WordPiece", "vocab": {"a": 0, "##b": 2, "c": 1}},
    "added_tokens": [{"id": 0, "content": "a"}, {"id": 3, "content": "<s>"}]}"###;
const LISTED: &str =
    r###"{"model": {"vocab": [["a", -1.5], ["c", -2.0], ["##b", 0], ["<s>", 0]]}}"###;

#[test]
fn all_forms_say_the_same() {
    let values = [1.0f32, 2.0, -3.0, 0.5, 4.0, 0.0, 0.25, -8.0];
    let halves = values
        .iter()
        .flat_map(|&v| f16::from_f32(v).to_le_bytes())
        .collect();
    let brains = values
        .iter()
        .flat_map(|&v| bf16::from_f32(v).to_le_bytes())
        .collect();
    let index = |rows: [i64; 4]| {
        rows.iter()
            .flat_map(|r| r.to_le_bytes())
            .collect::<Vec<u8>>()
    };
    // Rows in another order, with weights: what the mapping says must be the same again.
    let other = [4.0f32, 0.0, 1.0, 2.0, 0.125, -4.0, -3.0, 0.5];
    for (vectors, tokenizer) in [
        (
            tensors(&[("embeddings", Dtype::F32, &[4, 2], bytes(&values))]),
            NUMBERED,
        ),
        (
            tensors(&[("embedding.weight", Dtype::F16, &[4, 2], halves)]),
            LISTED,
        ),
        (
            tensors(&[("embeddings", Dtype::BF16, &[4, 2], brains)]),
            LISTED,
        ),
        (
            tensors(&[
                ("embeddings", Dtype::F32, &[4, 2], bytes(&other)),
                ("mapping", Dtype::I64, &[4], index([1, 3, 0, 2])),
                ("weights", Dtype::F32, &[4], bytes(&[1.0, 1.0, 1.0, 2.0])),
            ]),
            NUMBERED,
        ),
    ] {
        let words = parse(&vectors, tokenizer).unwrap();
        assert_eq!(words.vectors(), values);
        let names: Vec<&str> = words.vocabulary().ids().iter().collect();
        assert_eq!(names, ["a", "c", "##b", "<s>"]);
    }
}

/// Made by `tests/golden/make_model2vec.py` with Model2Vec itself, as are the vectors.
#[test]
fn vectors_are_those_of_model2vec() {
    let vectors = include_bytes!("../../tests/golden/model2vec.safetensors");
    let tokenizer = include_str!("../../tests/golden/model2vec.json");
    let words = parse(vectors, tokenizer).unwrap();
    let names: Vec<&str> = words.vocabulary().ids().iter().collect();
    assert_eq!(names, ["[PAD]", "[UNK]", "the", "cat", "cats", "##s", "猫"]);
    for (word, expected) in [
        (
            "the",
            [
                -0.32578930258750916,
                0.2263389676809311,
                0.11159364134073257,
            ],
        ),
        (
            "cat",
            [-0.8054298162460327, 0.8716771602630615, 0.5468586087226868],
        ),
        (
            "cats",
            [-0.5369532108306885, 0.581118106842041, 0.3645724058151245],
        ),
        (
            "猫",
            [
                -1.4729081392288208,
                -0.3258199095726013,
                -0.9642386436462402,
            ],
        ),
    ] {
        for (found, expected) in words.vector(word).unwrap().iter().zip(expected) {
            assert!((f64::from(*found) - expected).abs() < 1e-6, "{word}");
        }
    }
}

/// Made by `tests/golden/make_wordllama.py` with WordLlama itself, as are tokens, means and bits.
#[test]
fn texts_are_those_of_wordllama() {
    #[derive(Deserialize)]
    struct Expected {
        tokens: Vec<String>,
        mean: Vec<f32>,
        unit: Vec<f32>,
        cut: Vec<f32>,
        bits: Vec<u64>,
    }
    let vectors = include_bytes!("../../tests/golden/wordllama.safetensors");
    let words = parse(vectors, include_str!("../../tests/golden/wordllama.json")).unwrap();
    assert_eq!((words.len(), words.dim()), (20, 64));
    let expected = include_str!("../../tests/golden/wordllama_expected.json");
    let expected: Vec<Expected> = serde_json::from_str(expected).unwrap();
    assert_eq!(expected.len(), 3);
    let short = words.truncated(16).unwrap();
    let unit = |vector: &[f32]| {
        let length = vector.iter().map(|v| v * v).sum::<f32>().sqrt();
        vector.iter().map(|v| v / length).collect::<Vec<f32>>()
    };
    let near = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(expected) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
    };
    for text in expected {
        let mean = words.sentence(&text.tokens, |_| 1.0).unwrap();
        near(&mean, &text.mean);
        near(&unit(&mean), &text.unit);
        near(
            &unit(&short.sentence(&text.tokens, |_| 1.0).unwrap()),
            &text.cut,
        );
        let byte = |eight: &[f32]| {
            eight
                .iter()
                .fold(0, |byte, &v| byte << 1 | u8::from(v > 0.0))
        };
        let bytes: Vec<u8> = mean.chunks(8).map(byte).collect();
        let (bits, _) = bytes.as_chunks::<8>();
        let bits: Vec<u64> = bits
            .iter()
            .map(|&eight| u64::from_le_bytes(eight))
            .collect();
        assert_eq!(bits, text.bits);
    }
    assert!(words.truncated(0).is_err() && words.truncated(65).is_err());
}

#[test]
fn round_trip_and_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model");
    let words = Embeddings::from_vectors([("cat", [1.0, 2.0]), ("猫", [0.5, -1.0])]).unwrap();
    write(&words, &path).unwrap();
    let again = read(&path).unwrap();
    assert_eq!(again.len(), 3);
    assert_eq!(again.vector("猫"), words.vector("猫"));
    assert_eq!(again.vector("[UNK]"), Some(&[0.0, 0.0][..]));

    let good = tensors(&[("embeddings", Dtype::F32, &[4, 2], bytes(&[0.0; 8]))]);
    let few = tensors(&[("embeddings", Dtype::F32, &[2, 2], bytes(&[0.0; 4]))]);
    let flat = tensors(&[("embeddings", Dtype::F32, &[8], bytes(&[0.0; 8]))]);
    let named = tensors(&[("weights", Dtype::F32, &[8], bytes(&[0.0; 8]))]);
    let gap = r#"{"model": {"vocab": {"a": 0, "b": 2}}}"#;
    let twice = r#"{"model": {"vocab": [["a", 0], ["a", 0]]}}"#;
    for (vectors, tokenizer, message) in [
        (&few, NUMBERED, "4 tokens, but 2 rows"),
        (&flat, NUMBERED, "not rows and columns"),
        (&named, NUMBERED, "no tensor embeddings"),
        (&good, gap, "has number 2, expected 1"),
        (&good, twice, "stands twice"),
        (&good, "{\n\n]", "line 3"),
    ] {
        let error = parse(vectors, tokenizer).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
    for end in 0..good.len() {
        assert!(parse(&good[..end], NUMBERED).is_err());
    }
    assert!(read("/no/such/folder").is_err());
}

proptest! {
    #[test]
    fn hostile_bytes_never_panic(
        vectors in broken(&tensors(&[
            ("embeddings", Dtype::F32, &[4, 2], bytes(&[1.0; 8])),
            ("mapping", Dtype::I64, &[4], vec![0; 32]),
        ])),
        tokenizer in broken(NUMBERED.as_bytes()),
    ) {
        let _ = read_bytes((&vectors, "vectors"), (NUMBERED.as_bytes(), "tokenizer"));
        let _ = read_bytes((&vectors, "vectors"), (&tokenizer, "tokenizer"));
    }
}
