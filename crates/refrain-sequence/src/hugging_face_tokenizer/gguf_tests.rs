#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::{TextStream, hugging_face};

/// Made by `tests/golden/make_gguf_tokenizers.py`.
const SENTENCE_PIECE: &[u8] =
    include_bytes!("../../tests/golden/gguf_tokenizers/sentence_piece.gguf");
const BYTE_PAIRS: &[u8] = include_bytes!("../../tests/golden/gguf_tokenizers/byte_pairs.gguf");

fn read(bytes: &[u8]) -> Result<HuggingFaceTokenizer> {
    HuggingFaceTokenizer::from_gguf(&GgufFile::from_bytes(bytes.to_vec(), "memory")?)
}

fn reason(bytes: &[u8]) -> String {
    let error = read(bytes).unwrap_err().to_string();
    error.strip_prefix("memory: ").unwrap().to_string()
}

fn expected(name: &str) -> Value {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gguf_tokenizers");
    hugging_face::json(&std::path::Path::new(folder).join(name)).unwrap()
}

fn texts(value: &Value) -> Vec<String> {
    serde_json::from_value(value["texts"].clone()).unwrap()
}

fn tokens(text: &HuggingFaceTokenizer, of: &str) -> Vec<u32> {
    text.encode(of).unwrap().tokens
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// Where these bytes stand.
fn place(bytes: &[u8], what: &[u8]) -> usize {
    bytes.windows(what.len()).position(|w| w == what).unwrap()
}

/// The file with another string instead of the first such one behind a key.
fn with_string(bytes: &[u8], key: &str, from: &str, to: &str) -> Vec<u8> {
    let key = place(bytes, &string(key));
    let (from, to) = (string(from), string(to));
    let at = key + place(&bytes[key..], &from);
    [&bytes[..at], &to, &bytes[at + from.len()..]].concat()
}

/// The file with one more entry that is true or false.
fn with_flag(bytes: &[u8], key: &str, value: bool) -> Vec<u8> {
    let count = u64::from_le_bytes(bytes[16..24].try_into().unwrap()) + 1;
    let entry = [&string(key)[..], &7u32.to_le_bytes(), &[u8::from(value)]].concat();
    [&bytes[..16], &count.to_le_bytes(), &entry, &bytes[24..]].concat()
}

fn streamed(tokenizer: &HuggingFaceTokenizer, tokens: &[u32]) -> String {
    let mut stream = TextStream::new(tokenizer);
    let text = tokens.iter().map(|&token| stream.push(token).unwrap());
    text.collect::<String>() + &stream.finish()
}

#[test]
fn tokens_are_those_of_sentence_piece_and_of_llama_cpp() {
    let tokenizer = read(SENTENCE_PIECE).unwrap();
    let expected = expected("sentence_piece.json");
    let mut compared = 0;
    for (at, text) in texts(&expected).iter().enumerate() {
        let found = tokens(&tokenizer, text);
        assert_eq!(json!(found), expected["llama.cpp"][at], "{text:?}");
        let decoded = &expected["decoded"][at];
        // SentencePiece takes names of control tokens for text, and puts no space after one of a user's.
        if decoded.is_null() || text.contains("<user>") {
            continue;
        }
        compared += 1;
        assert_eq!(json!(found), expected["sentencepiece"][at], "{text:?}");
        assert_eq!(&json!(tokenizer.decode(&found).unwrap()), decoded);
        assert_eq!(&json!(streamed(&tokenizer, &found)), decoded);
    }
    assert!(compared > 5);
    // What users defined is text, control tokens are none.
    let found = tokens(&tokenizer, "hello<s><user>");
    assert_eq!(tokenizer.decode(&found).unwrap(), "hello<user>");
    assert_eq!(streamed(&tokenizer, &found), "hello<user>");
}

#[test]
fn byte_pairs_are_cut_as_llama_cpp_cuts_for_each_family() {
    let all = expected("byte_pairs.json");
    let families = all
        .as_object()
        .unwrap()
        .keys()
        .filter(|key| *key != "texts");
    let mut count = 0;
    for family in families {
        let file = with_string(BYTE_PAIRS, "tokenizer.ggml.pre", "llama-bpe", family);
        let tokenizer = read(&file).unwrap();
        for (at, text) in texts(&all).iter().enumerate() {
            let found = tokens(&tokenizer, text);
            // Of these, llama.cpp's rules know no combining marks; the models' own, which are ours, do.
            let marks = text.contains('\u{94d}') && ["gpt-4o", "tekken"].contains(&family.as_str());
            assert_eq!(
                json!(found) == all[family][at],
                !marks,
                "{family}: {text:?}"
            );
            let plain = text.replace("<s>", "").replace("</s>", "");
            assert_eq!(tokenizer.decode(&found).unwrap(), plain);
            assert_eq!(streamed(&tokenizer, &found), plain);
        }
        count += 1;
    }
    assert_eq!(count, 9);
}

#[test]
fn what_stands_around_a_text_is_what_the_file_says() {
    let tokenizer = read(SENTENCE_PIECE).unwrap();
    let found = tokens(&tokenizer, "the whale");
    assert_eq!(found[0], 1);
    // Chat templates write it themselves.
    let chat = tokenizer.encode("<s>the whale").unwrap();
    assert_eq!(chat.tokens, found);
    assert_eq!(chat.bytes.first(), Some(&(0..3)));
    let batch = tokenizer.encode_batch(&["<s>the whale"]).unwrap();
    assert_eq!(batch[0].tokens, found);
    let (bos, eos) = (
        "tokenizer.ggml.add_bos_token",
        "tokenizer.ggml.add_eos_token",
    );
    let bare = read(&with_flag(SENTENCE_PIECE, bos, false)).unwrap();
    assert_eq!(tokens(&bare, "the whale"), found[1..]);
    let both = read(&with_flag(SENTENCE_PIECE, eos, true)).unwrap();
    assert_eq!(tokens(&both, "the whale"), [&found[..], &[2]].concat());
    // Without a space before every text.
    let key = "tokenizer.ggml.add_space_prefix";
    let plain = read(&with_flag(SENTENCE_PIECE, key, false)).unwrap();
    assert_eq!(tokens(&plain, " the whale"), found);
    assert_eq!(plain.decode(&found).unwrap(), " the whale");
    assert_eq!(streamed(&plain, &found), " the whale");
    let families = with_string(BYTE_PAIRS, "tokenizer.ggml.pre", "llama-bpe", "qwen2");
    let begun = read(&with_flag(&families, bos, true)).unwrap();
    assert_eq!(tokens(&begun, "a")[0], 1);
}

#[test]
fn saved_and_read_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for file in [SENTENCE_PIECE, BYTE_PAIRS] {
        let tokenizer = read(file).unwrap();
        tokenizer
            .save(folder.path().join("tokenizer.json"))
            .unwrap();
        let again = HuggingFaceTokenizer::load(folder.path()).unwrap();
        for text in texts(&expected("byte_pairs.json")) {
            let found = tokens(&tokenizer, &text);
            assert_eq!(tokens(&again, &text), found);
            assert_eq!(streamed(&again, &found), again.decode(&found).unwrap());
        }
    }
}

#[test]
fn what_cannot_be_read_is_named() {
    let kind = "tokenizer.ggml.model";
    for (bytes, expected) in [
        (
            with_string(SENTENCE_PIECE, kind, "llama", "rwkv"),
            "a tokenizer of the kind \"rwkv\" cannot be read",
        ),
        (
            with_string(BYTE_PAIRS, "tokenizer.ggml.pre", "llama-bpe", "klingon"),
            "how the family \"klingon\" cuts texts (\"tokenizer.ggml.pre\") is not known here",
        ),
        (
            with_string(SENTENCE_PIECE, SCORES, SCORES, "other"),
            "it has no \"tokenizer.ggml.scores\"",
        ),
        (
            with_string(SENTENCE_PIECE, TOKENS, TOKENS, "other"),
            "it has no \"tokenizer.ggml.tokens\"",
        ),
        (
            with_string(SENTENCE_PIECE, kind, "llama", "gpt2"),
            "it has no \"tokenizer.ggml.merges\"",
        ),
    ] {
        assert!(reason(&bytes).contains(expected), "{}", reason(&bytes));
    }
    // Behind a key: type, and for lists the type of their values and how many there are.
    let behind = |key: &str| place(SENTENCE_PIECE, &string(key)) + string(key).len();
    let changed = |at: usize, value: &[u8]| {
        let mut bytes = SENTENCE_PIECE.to_vec();
        bytes[at..at + value.len()].copy_from_slice(value);
        reason(&bytes)
    };
    let scores = changed(behind(SCORES) + 16, &f32::NAN.to_le_bytes());
    assert_eq!(
        scores,
        "\"tokenizer.ggml.scores\" is no list of 620 finite numbers"
    );
    let bos = changed(
        behind("tokenizer.ggml.bos_token_id") + 4,
        &9999u32.to_le_bytes(),
    );
    assert_eq!(
        bos,
        "\"tokenizer.ggml.bos_token_id\" is 9999, of 620 tokens"
    );
    let merge = with_string(BYTE_PAIRS, "tokenizer.ggml.merges", "h e", "h \u{4e00}");
    assert!(
        reason(&merge).contains("out of vocabulary"),
        "{}",
        reason(&merge)
    );
    let merge = with_string(BYTE_PAIRS, "tokenizer.ggml.merges", "h e", "he");
    assert!(reason(&merge).contains("line"), "{}", reason(&merge));
    let long = with_string(SENTENCE_PIECE, TOKENS, "▁the", &"x".repeat(300));
    assert!(
        reason(&long).contains("300 characters"),
        "{}",
        reason(&long)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn hostile_files_never_panic(
        which in any::<bool>(),
        edits in proptest::collection::vec((0.0..1.0f64, any::<u8>()), 1..8),
    ) {
        let mut bytes = if which { SENTENCE_PIECE } else { BYTE_PAIRS }.to_vec();
        for (at, value) in edits {
            let at = (at * bytes.len() as f64) as usize;
            bytes[at] = value;
        }
        if let Ok(tokenizer) = read(&bytes) {
            for text in ["", "the <s>whale\u{301} 雨 \0", "<user>x 123"] {
                if let Ok(found) = tokenizer.encode(text) {
                    let _ = tokenizer.decode(&found.tokens);
                    streamed(&tokenizer, &found.tokens);
                }
            }
        }
    }
}
