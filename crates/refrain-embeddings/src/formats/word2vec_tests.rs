use proptest::prelude::*;

use super::super::testing::broken;
use super::*;

fn parse(text: impl AsRef<[u8]>) -> Result<Embeddings> {
    parse_text(text.as_ref(), "memory")
}

#[test]
fn reads_what_others_write() {
    // gensim 4.4.0: KeyedVectors.save_word2vec_format("v.txt"); the second as word2vec.c does.
    for text in [
        "2 3\nthe 1 -0.5 2e-3\ncat 0 0.25 1.0\n",
        "2 3\r\nthe 1 -0.5 0.002 \r\ncat 0 0.25 1 ",
    ] {
        let words = parse(text).unwrap();
        assert_eq!(words.vector("the"), Some(&[1.0, -0.5, 0.002][..]));
        assert_eq!(words.vector("cat"), Some(&[0.0, 0.25, 1.0][..]));
    }
    assert_eq!(
        parse("1 2\nnew york 1 2\n")
            .unwrap()
            .vocabulary()
            .get("new york"),
        Some(0)
    );
    assert_eq!(
        parse("2 1\na 1\na 2\n").unwrap().vector("a"),
        Some(&[1.0][..])
    );
    assert_eq!(
        parse(b"1 1\ncaf\xe9 1\n").unwrap().vocabulary().word(0),
        Some("caf\u{fffd}")
    );
}

#[test]
fn errors_name_the_line() {
    for (text, says) in [
        ("", "line 1: expected two numbers"),
        ("5 x\n", "line 1"),
        ("1 0\n", "length 0"),
        ("2 2\na 1 2\n", "line 3: the file ends after 1 of 2 words"),
        ("1 2\na 1\n", "line 2"),
        (
            "2 2\na 1 2\nb 1 x\n",
            "line 3: expected 2 values, found \"x\"",
        ),
        ("99999999999 99999999999\na 1\n", "line 2"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(says), "{text:?}: {error}");
    }
}

#[test]
fn round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.txt");
    let words =
        Embeddings::from_vectors([("a", [0.1, f32::MIN_POSITIVE]), ("猫", [-1e30, 0.3])]).unwrap();
    write_text(&words, &path).unwrap();
    let again = read_text(&path).unwrap();
    assert_eq!(again.vectors(), words.vectors());
    assert_eq!(again.vocabulary(), words.vocabulary());
    let broken = Embeddings::from_vectors([("a\nb", [1.0])]).unwrap();
    assert!(write_text(&broken, &path).is_err());
}

#[test]
fn reads_both_habits_of_binary() {
    // gensim 4.4.0: KeyedVectors.save_word2vec_format("v.bin", binary=True) of a, (1, -2) and
    // caf\xc3\xa9, (0.5, 3); then as word2vec.c does, with line breaks.
    let gensim = b"2 2\na \0\0\x80?\0\0\0\xc0caf\xc3\xa9 \0\0\0?\0\0@@";
    let original = b"2 2\na \0\0\x80?\0\0\0\xc0\ncaf\xc3\xa9 \0\0\0?\0\0@@\n";
    for bytes in [&gensim[..], original] {
        let words = parse_binary(bytes, "memory").unwrap();
        assert_eq!(words.vector("a"), Some(&[1.0, -2.0][..]));
        assert_eq!(words.vector("caf\u{e9}"), Some(&[0.5, 3.0][..]));
        for end in 0..bytes.len() - 1 {
            let cut = parse_binary(&bytes[..end], "memory");
            assert!(cut.is_err(), "{end}");
        }
    }
    let error = parse_binary(&gensim[..20], "memory").unwrap_err();
    assert!(error.to_string().contains("word 2 of 2"), "{error}");
    let error = parse_binary(&gensim[..gensim.len() - 3], "memory").unwrap_err();
    assert!(error.to_string().contains("3 of 8 bytes"), "{error}");
    let huge = b"9 4611686018427387905\na 1234";
    assert!(parse_binary(&huge[..], "memory").is_err());
}

#[test]
fn of_equal_words_the_first_is_kept() {
    // More than one block of rows; the second word and the last are the first again, once as bytes that
    // are not UTF-8.
    let mut bytes = b"600 1\n".to_vec();
    for number in 0..600u16 {
        let word = match number {
            0 | 1 => "caf\u{fffd}".as_bytes().to_vec(),
            599 => b"caf\xe9".to_vec(),
            _ => format!("w{number}").into_bytes(),
        };
        bytes.extend(word);
        bytes.push(b' ');
        bytes.extend(f32::from(number).to_le_bytes());
    }
    let words = parse_binary(&bytes, "memory").unwrap();
    assert_eq!(words.len(), 598);
    assert_eq!(words.vector("caf\u{fffd}"), Some(&[0.0][..]));
    for number in 2..599u16 {
        let vector = words.vector(&format!("w{number}"));
        assert_eq!(vector, Some(&[f32::from(number)][..]));
    }
}

#[test]
fn binary_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("v.bin");
    let words = Embeddings::from_vectors([("a", [0.1, 1e-40]), ("\u{732b}", [-1e30, 0.3])]);
    let words = words.unwrap();
    write_binary(&words, &path).unwrap();
    let again = read_binary(&path).unwrap();
    assert_eq!(again.vectors(), words.vectors());
    assert_eq!(again.vocabulary(), words.vocabulary());
    let broken = Embeddings::from_vectors([("a", [1.0]), ("a b", [1.0])]).unwrap();
    let path = folder.path().join("none.bin");
    assert!(write_binary(&broken, &path).is_err());
    assert!(!path.exists());
}

proptest! {
    #[test]
    fn hostile_binary_never_panics(bytes in broken(b"2 2\na \0\0\x80?\0\0\0\xc0\nb \0\0\0?\0\0@@\n")) {
        let _ = parse_binary(&bytes, "memory");
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in broken(b"3 2\nthe 1.5 -2\ncat 0.25 1e-3\ndog 7 8\n")) {
        let _ = parse(&bytes);
    }
}
