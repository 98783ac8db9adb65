#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::*;

const TEXTS: [&str; 4] = [
    "The cat sat on the mat, and the dog sat on the cat.",
    "A tune in the evening rain; everybody hums it quietly.",
    "Müller's café — 50 % off! 雨の音",
    "the the the cat cat dog dog",
];

fn trained(pieces: Pieces, size: usize) -> HuggingFaceTokenizer {
    let training = TokenizerTraining {
        pieces,
        size,
        least: 1,
        special: vec!["<end>".to_string()],
    };
    training.fit(TEXTS).unwrap()
}

#[test]
fn byte_pairs_give_every_text_back() {
    let tokenizer = trained(Pieces::Bpe, 300);
    assert_eq!(tokenizer.len(), 300);
    assert_eq!(tokenizer.token("<end>"), Some(0));
    for text in TEXTS.iter().chain(&["never seen 🎵\n\t", ""]) {
        let read = tokenizer.encode(text).unwrap();
        assert_eq!(tokenizer.decode(&read.tokens).unwrap(), *text);
    }
    // Frequent words are one token.
    let cat = tokenizer.encode(" cat").unwrap();
    assert_eq!(cat.tokens.len(), 1);
    assert_eq!(cat.bytes.first(), Some(&(0..4)));
    // Token by token, as text is written.
    let mut stream = crate::TextStream::new(&tokenizer);
    let text = TEXTS[2];
    let read = tokenizer.encode(text).unwrap().tokens;
    let pieces: Vec<String> = read.iter().map(|&t| stream.push(t).unwrap()).collect();
    assert_eq!(pieces.concat() + &stream.finish(), text);
    // One marked as special is never cut, and left out of the text.
    let read = tokenizer.encode("cat<end>").unwrap();
    assert_eq!(read.tokens.last(), Some(&0));
    assert_eq!(tokenizer.decode(&read.tokens).unwrap(), "cat");
}

#[test]
fn word_pieces_stand_between_cls_and_sep() {
    let tokenizer = trained(Pieces::WordPiece, 120);
    let name = |t: &u32| tokenizer.name(*t).unwrap();
    let read = tokenizer.encode_pair("The cat", "DOG").unwrap();
    let names: Vec<String> = read.tokens.iter().map(name).collect();
    assert_eq!(names, ["[CLS]", "the", "cat", "[SEP]", "dog", "[SEP]"]);
    assert_eq!(read.types, [0, 0, 0, 0, 1, 1]);
    let cut = tokenizer.with_most(4).unwrap();
    let cut = cut.encode("the cat sat on the mat").unwrap();
    let names: Vec<String> = cut.tokens.iter().map(name).collect();
    assert_eq!(names, ["[CLS]", "the", "cat", "[SEP]"]);
    let error = tokenizer.with_most(3).unwrap_err();
    assert!(matches!(error, Error::Config { .. }), "{error}");
}

#[test]
fn unigrams_keep_spaces() {
    let tokenizer = trained(Pieces::Unigram, 120);
    let read = tokenizer.encode("the cat sat").unwrap();
    assert_eq!(tokenizer.decode(&read.tokens).unwrap(), "the cat sat");
    assert!(tokenizer.token("<unk>").is_some());
    assert_eq!(streamed(&tokenizer, &[], &read.tokens), "the cat sat");
}

fn streamed(tokenizer: &HuggingFaceTokenizer, before: &[u32], tokens: &[u32]) -> String {
    let mut stream = crate::TextStream::after(tokenizer, before);
    let text = tokens.iter().map(|&token| stream.push(token).unwrap());
    text.collect::<String>() + &stream.finish()
}

#[test]
fn a_stream_knows_what_stands_before() {
    for pieces in [Pieces::WordPiece, Pieces::Unigram] {
        let tokenizer = trained(pieces, 120);
        let read = tokenizer.encode("the cat sat on the mat").unwrap().tokens;
        assert_eq!(streamed(&tokenizer, &[], &read), "the cat sat on the mat");
        let at = read.len() / 2;
        let both = [&read[..at], &read[at..]];
        let rest = streamed(&tokenizer, both[0], both[1]);
        let whole = streamed(&tokenizer, &[], both[0]) + &rest;
        assert_eq!(whole, "the cat sat on the mat");
    }
}

#[test]
fn saved_and_read_it_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    for pieces in [Pieces::Bpe, Pieces::WordPiece, Pieces::Unigram] {
        let tokenizer = trained(pieces, 280);
        tokenizer.save(&path).unwrap();
        let again = HuggingFaceTokenizer::load(&path).unwrap();
        assert_eq!(
            again.encode_batch(&TEXTS).unwrap(),
            tokenizer.encode_batch(&TEXTS).unwrap()
        );
    }
    let unknown = HuggingFaceTokenizer::load(&path)
        .unwrap()
        .decode(&[0, 9999])
        .unwrap_err();
    assert!(matches!(unknown, Error::Token { token: 9999, .. }));
}

#[test]
fn impossible_trainings_are_errors() {
    let fit = |size, pieces| {
        let training = TokenizerTraining {
            pieces,
            size,
            ..TokenizerTraining::default()
        };
        training.fit(TEXTS)
    };
    assert!(matches!(fit(0, Pieces::Bpe), Err(Error::Config { .. })));
    let few = fit(20, Pieces::Unigram);
    assert!(matches!(few, Err(Error::Tokenizer { .. })));
    for pieces in [Pieces::Bpe, Pieces::WordPiece, Pieces::Unigram] {
        let training = TokenizerTraining {
            pieces,
            ..TokenizerTraining::default()
        };
        for nothing in [&[][..], &["", " \n"]] {
            let error = training.fit(nothing).unwrap_err();
            assert!(matches!(error, Error::TooShort { .. }), "{error}");
        }
    }
}

#[test]
fn a_template_with_an_unknown_token_is_refused() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bert/tokenizer.json");
    let text = std::fs::read_to_string(path).unwrap();
    let changed = text
        .replacen("\"id\":\"[CLS]\"", "\"id\":\"[XXX]\"", 1)
        .replacen("\"id\": \"[CLS]\"", "\"id\": \"[XXX]\"", 1);
    assert_ne!(text, changed);
    let error = HuggingFaceTokenizer::from_bytes(changed.as_bytes()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "memory: the template single has an unknown token \"[XXX]\""
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn any_text_can_be_learned_from(
        texts in prop::collection::vec(".{0,12}", 1..4),
        size in 1..300usize,
        which in 0..3usize,
    ) {
        let pieces = [Pieces::Bpe, Pieces::WordPiece, Pieces::Unigram][which];
        let training = TokenizerTraining { pieces, size, ..TokenizerTraining::default() };
        if let Ok(tokenizer) = training.fit(&texts) {
            for text in &texts {
                let read = tokenizer.encode(text);
                if pieces == Pieces::Bpe {
                    prop_assert_eq!(&tokenizer.decode(&read.unwrap().tokens).unwrap(), text);
                }
            }
        }
    }

    #[test]
    fn no_tokenizer_file_makes_it_panic(
        cut in prop::option::of(0.0..1.0f64),
        edits in prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..4),
    ) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/bert/tokenizer.json");
        let mut content = std::fs::read(path).unwrap();
        for (at, byte) in edits {
            let at = (at * content.len() as f64) as usize;
            content[at] = byte;
        }
        if let Some(cut) = cut {
            content.truncate((cut * content.len() as f64) as usize);
        }
        if let Ok(tokenizer) = HuggingFaceTokenizer::from_bytes(&content) {
            let _ = tokenizer.encode("The cat, [CLS] ünknown");
            let _ = tokenizer.encode_pair("a", "b");
            let _ = tokenizer.decode(&[2, 70, 3]);
        }
    }
}
