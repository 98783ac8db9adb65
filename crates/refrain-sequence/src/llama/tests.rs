use proptest::prelude::*;

use super::*;
use crate::Sampler;

/// Made by `tests/golden/make_llama.py` with PyPI transformers, as are the logits.
const FILE: &[u8] = include_bytes!("../../tests/golden/llama.gguf");
const EXPECTED: &str = include_str!("../../tests/golden/llama.json");

/// The same of a Qwen2.
const QWEN2: &[u8] = include_bytes!("../../tests/golden/qwen2.gguf");
const QWEN2_EXPECTED: &str = include_str!("../../tests/golden/qwen2.gguf.json");
const LLAMA3: &[u8] = include_bytes!("../../tests/golden/llama3.gguf");
const LLAMA3_EXPECTED: &str = include_str!("../../tests/golden/llama3.gguf.json");

fn read(file: &[u8]) -> Llama {
    let file = GgufFile::from_bytes(file.to_vec(), "llama.gguf").unwrap();
    Llama::from_gguf(&file).unwrap()
}

fn model() -> Llama {
    read(FILE)
}

fn expected(golden: &str) -> (Vec<u32>, Vec<Vec<f32>>) {
    let golden: serde_json::Value = serde_json::from_str(golden).unwrap();
    let tokens = serde_json::from_value(golden["tokens"].clone()).unwrap();
    (
        tokens,
        serde_json::from_value(golden["logits"].clone()).unwrap(),
    )
}

fn near(found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() <= tolerance, "{found} {expected}");
    }
}

#[test]
fn logits_are_those_of_transformers_however_the_text_is_fed() {
    for (file, golden) in [
        (FILE, EXPECTED),
        (QWEN2, QWEN2_EXPECTED),
        (LLAMA3, LLAMA3_EXPECTED),
    ] {
        logits_are(&read(file), expected(golden));
    }
}

fn logits_are(model: &Llama, (tokens, logits): (Vec<u32>, Vec<Vec<f32>>)) {
    assert_eq!(
        (model.config().shared_heads, model.config().rotary_base),
        (2, 1000.0)
    );
    for split in 0..tokens.len() {
        let mut state = model.start().unwrap();
        let (first, rest) = tokens.split_at(split);
        let mut found = state.feed_each(first).unwrap();
        found.extend(state.feed_each(rest).unwrap());
        for (found, expected) in found.iter().zip(&logits) {
            near(found, expected, 1e-4);
        }
    }
    let mut state = model.start().unwrap();
    near(&state.feed(&tokens).unwrap(), logits.last().unwrap(), 1e-4);
    assert!(state.rewind(5) && state.position() == 5);
    near(&state.feed(&tokens[5..7]).unwrap(), &logits[6], 1e-4);
    assert!(!state.rewind(20) && state.feed(&[40]).is_err() && state.feed(&[]).is_err());
}

#[test]
fn drafts_and_long_texts() {
    let model = model();
    let sampler = Sampler {
        max_tokens: 150,
        seed: 3,
        ..Sampler::default()
    };
    let plain = sampler.generate(&model, &[1, 2]).unwrap();
    let (text, _) = sampler
        .generate_with_draft(&model, &model, &[1, 2], 5)
        .unwrap();
    assert_eq!(text.tokens, plain.tokens);
    assert_eq!(plain.tokens.len(), 150);
}

/// The same model with some of its metadata or tensors changed.
fn changed(from: &str, to: &str) -> Result<Llama> {
    let at = FILE
        .windows(from.len())
        .position(|w| w == from.as_bytes())
        .unwrap();
    let mut bytes = FILE.to_vec();
    bytes[at..at + to.len()].copy_from_slice(to.as_bytes());
    Llama::from_gguf(&GgufFile::from_bytes(bytes, "changed.gguf")?)
}

#[test]
fn what_is_missing_is_named() {
    for (from, to) in [
        ("llama.block_count", "llama.block_kount"),
        ("blk.1.ffn_gate", "blk.1.ffn_gade"),
        ("output_norm", "output_morm"),
        ("token_embd", "taken_embd"),
    ] {
        let error = changed(from, to).unwrap_err().to_string();
        assert!(
            error.contains(from) && error.contains("changed.gguf"),
            "{error}"
        );
    }
    assert!(Llama::open("/no/such.gguf").is_err());
}

#[test]
fn tensors_that_would_change_the_numbers_are_refused() {
    assert!(is_read("blk.1.attn_q.weight", 2) && is_read("token_embd.weight", 2));
    for name in [
        "rope_freqs.bias",
        "blk.0.attn_output.bias",
        "blk.2.attn_q.bias",
        "blk.2.attn_q.weight",
    ] {
        assert!(!is_read(name, 2), "{name}");
    }
    let key = b"llama.block_count";
    let at = FILE.windows(key.len()).position(|w| w == key).unwrap() + key.len();
    let mut bytes = FILE.to_vec();
    assert_eq!(bytes[at..at + 8], [4, 0, 0, 0, 2, 0, 0, 0]);
    bytes[at + 4] = 1;
    let file = GgufFile::from_bytes(bytes, "short.gguf").unwrap();
    let error = Llama::from_gguf(&file).unwrap_err();
    assert!(error.to_string().contains("tensor blk.1."), "{error}");
}

/// The golden Llama with two more entries of metadata.
fn scaled(kind: &str, factor: f32) -> Result<Llama> {
    let mut bytes = FILE[..24].to_vec();
    bytes[16] += 3; // entries
    let mut text = |key: &str, value: &str| {
        let length = |text: &str| (text.len() as u64).to_le_bytes();
        bytes.extend([&length(key)[..], key.as_bytes()].concat());
        match value {
            "" => bytes.extend([&6u32.to_le_bytes()[..], &factor.to_le_bytes()].concat()),
            _ => {
                bytes.extend(8u32.to_le_bytes());
                bytes.extend([&length(value)[..], value.as_bytes()].concat());
            }
        }
    };
    text("llama.rope.scaling.type", kind);
    text("llama.rope.scaling.factor", "");
    // What follows must lie at multiples of 32, as it did.
    text("x", &"-".repeat(23 - kind.len()));
    assert_eq!(bytes.len() % 32, 24);
    bytes.extend(&FILE[24..]);
    Llama::from_gguf(&GgufFile::from_bytes(bytes, "scaled.gguf")?)
}

#[test]
fn rotary_positions_are_scaled() {
    let (linear, plain) = (scaled("linear", 4.0).unwrap(), model());
    assert_eq!(linear.config().rotary_factors, [4.0; 4]);
    assert_eq!(linear.config().turns(12), plain.config().turns(3));
    let none = scaled("none", 4.0).unwrap();
    assert_eq!(none.config(), plain.config());
    let of_llama3 = read(LLAMA3).config().rotary_factors.clone();
    assert_eq!((of_llama3[0], of_llama3[3]), (1.0, 8.0));
    assert!(of_llama3.is_sorted());
    let told = |kind, factor| scaled(kind, factor).unwrap_err().to_string();
    assert!(told("yarn", 4.0).contains("\"yarn\"; known: linear, none"));
    for factor in [0.0, f32::NAN, -1.0] {
        assert!(told("linear", factor).contains("is divided by"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn hostile_files_never_panic(
        edits in proptest::collection::vec((0usize..2000, any::<u8>()), 1..4),
    ) {
        let mut bytes = FILE.to_vec();
        for (at, value) in edits {
            bytes[at] = value;
        }
        let file = GgufFile::from_bytes(bytes, "hostile.gguf");
        if let Ok(model) = file.and_then(|file| Llama::from_gguf(&file))
            && let Ok(mut state) = model.start()
        {
            let _ = state.feed(&[0, 1]);
        }
    }
}
