use proptest::prelude::*;

use super::*;
use crate::Sampler;

/// Made by `tests/golden/make_llama.py` with PyPI transformers, as are the logits.
const FILE: &[u8] = include_bytes!("../../tests/golden/llama.gguf");
const EXPECTED: &str = include_str!("../../tests/golden/llama.json");

/// The same of a Qwen2.
const QWEN2: &[u8] = include_bytes!("../../tests/golden/qwen2.gguf");
const QWEN2_EXPECTED: &str = include_str!("../../tests/golden/qwen2.gguf.json");

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
    for (file, golden) in [(FILE, EXPECTED), (QWEN2, QWEN2_EXPECTED)] {
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
        "rope_freqs.weight",
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
