//! GPT-2's two files: `vocab.json` with the number of each piece, `merges.txt` with the pairs of pieces
//! that become one, the first merged first.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde_json::json;

use super::{HuggingFaceTokenizer, added, byte_pairs, bytes};
use crate::{Error, Result, hugging_face};

/// Begins and ends texts of GPT-2.
const END: &str = "<|endoftext|>";

impl HuggingFaceTokenizer {
    /// Reads GPT-2's byte pairs (Radford et al., 2019) from `vocab.json` and `merges.txt`. Where the
    /// vocabulary has `<|endoftext|>`, that is never cut and stands for no text.
    ///
    /// ```
    /// use refrain_sequence::HuggingFaceTokenizer;
    /// # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/gpt2_tokenizer");
    /// let [vocabulary, merges] = ["vocab.json", "merges.txt"].map(|name| format!("{folder}/{name}"));
    /// let tokenizer = HuggingFaceTokenizer::from_gpt2(vocabulary, merges)?;
    /// let tokens = tokenizer.encode("née the")?.tokens;
    /// assert_eq!(tokens.last().copied(), tokenizer.token("Ġthe"));
    /// assert_eq!(tokenizer.decode(&tokens)?, "née the");
    /// # Ok::<(), refrain_sequence::Error>(())
    /// ```
    ///
    /// # Errors
    /// When a file cannot be read; [`Error::Tokenizer`] naming the file, and the line where it has any,
    /// when it is no such file: two pieces of one number, a number without a piece, a merge that is no pair
    /// or of pieces that the vocabulary lacks.
    pub fn from_gpt2(vocabulary: impl AsRef<Path>, merges: impl AsRef<Path>) -> Result<Self> {
        read(vocabulary.as_ref(), merges.as_ref(), BTreeMap::new(), false)
    }
}

/// What a folder says of its tokenizer beside the two files.
#[derive(Default, Deserialize)]
struct Rules {
    add_prefix_space: Option<bool>,
    tokenizer_class: Option<String>,
}

/// The tokenizer of a folder that has these two files and no `tokenizer.json`.
pub(super) fn in_folder(folder: &Path) -> Result<Option<HuggingFaceTokenizer>> {
    let [vocabulary, merges] = ["vocab.json", "merges.txt"].map(|name| folder.join(name));
    if folder.join("tokenizer.json").exists() || !vocabulary.exists() || !merges.exists() {
        return Ok(None);
    }
    let rules = folder.join("tokenizer_config.json");
    let Rules {
        add_prefix_space,
        tokenizer_class,
    } = match rules.exists() {
        true => hugging_face::json(&rules)?,
        false => Rules::default(),
    };
    if let Some(class) = tokenizer_class
        && class.trim_end_matches("Fast") != "GPT2Tokenizer"
    {
        let reason = format_args!(
            "without a tokenizer.json only a GPT2Tokenizer can be read, and this is a {class:?}"
        );
        return Err(Error::tokenizer(&rules.display().to_string(), reason));
    }
    let more = folder.join("added_tokens.json");
    let more = match more.exists() {
        true => hugging_face::json(&more)?,
        false => BTreeMap::new(),
    };
    let prefix = add_prefix_space.unwrap_or(false);
    read(&vocabulary, &merges, more, prefix).map(Some)
}

/// `more` are tokens beside those of the vocabulary, never cut and standing for no text; `prefix`
/// puts a space before every text.
fn read(
    vocabulary: &Path,
    merges: &Path,
    more: BTreeMap<String, u32>,
    prefix: bool,
) -> Result<HuggingFaceTokenizer> {
    let origin = vocabulary.display().to_string();
    let pieces: BTreeMap<String, u32> = serde_json::from_slice(&hugging_face::bytes(vocabulary)?)
        .map_err(|e| Error::tokenizer(&origin, e))?;
    let mut never_cut = more;
    if let Some(&end) = pieces.get(END) {
        never_cut.insert(END.to_string(), end);
    }
    let all = pieces.iter().chain(&never_cut).collect();
    check_numbers(&origin, all)?;
    let merges = pairs(merges, &pieces)?;
    let never_cut = never_cut
        .iter()
        .map(|(name, &token)| added(token, name, true));
    let model = json!({"type": "BPE", "vocab": pieces, "merges": merges});
    let value = byte_pairs(never_cut.collect(), vec![bytes(prefix, true)], model);
    HuggingFaceTokenizer::read(value.to_string().as_bytes(), origin)
}

/// Each number from 0 on has one name.
fn check_numbers(origin: &str, tokens: BTreeMap<&String, &u32>) -> Result<()> {
    let mut names: Vec<Option<&str>> = vec![None; tokens.len()];
    let mut beyond = None;
    for (name, &token) in tokens {
        match names.get_mut(token as usize) {
            Some(Some(other)) => {
                let reason = format_args!("{other:?} and {name:?} both have the number {token}");
                return Err(Error::tokenizer(origin, reason));
            }
            Some(place) => *place = Some(name),
            None => beyond = Some((name, token)),
        }
    }
    let gap = names.iter().position(Option::is_none);
    if let (Some(gap), Some((name, token))) = (gap, beyond) {
        let reason = format_args!("no token has the number {gap}, but {name:?} has {token}");
        return Err(Error::tokenizer(origin, reason));
    }
    Ok(())
}

fn pairs(path: &Path, pieces: &BTreeMap<String, u32>) -> Result<Vec<[String; 2]>> {
    let origin = path.display().to_string();
    let text = String::from_utf8(hugging_face::bytes(path)?)
        .map_err(|e| Error::tokenizer(&origin, e.utf8_error()))?;
    let mut pairs = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || line.starts_with("#version") {
            continue;
        }
        let broken = |piece: &str, what: &str| {
            let start: String = piece.chars().take(40).collect();
            Error::tokenizer(&origin, format_args!("line {number}: {start:?} {what}"))
        };
        let Some((first, second)) = (line.split_once(' '))
            .filter(|(a, b)| !a.is_empty() && !b.is_empty() && !b.contains(' '))
        else {
            return Err(broken(line, "is no pair of pieces"));
        };
        let merged = [first, second].concat();
        for piece in [first, second, &merged] {
            if !pieces.contains_key(piece) {
                return Err(broken(piece, "is not in the vocabulary"));
            }
        }
        pairs.push([first.to_string(), second.to_string()]);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TextStream;

    /// Made by `tests/golden/make_gpt2_tokenizer.py`.
    fn golden() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/gpt2_tokenizer")
    }

    #[derive(Deserialize)]
    struct Expected {
        texts: Vec<(String, Vec<u32>)>,
        prefixed: Vec<(String, Vec<u32>)>,
    }

    #[test]
    fn tokens_are_those_of_transformers() {
        let folder = golden();
        let expected: Expected = hugging_face::json(&folder.join("expected.json")).unwrap();
        let [vocabulary, merges] = ["vocab.json", "merges.txt"].map(|name| folder.join(name));
        let tokenizer = HuggingFaceTokenizer::from_gpt2(&vocabulary, &merges).unwrap();
        for (text, tokens) in &expected.texts {
            assert_eq!(&tokenizer.encode(text).unwrap().tokens, tokens, "{text:?}");
            let decoded = tokenizer.decode(tokens).unwrap();
            assert_eq!(decoded, text.replace(END, ""));
            let mut stream = TextStream::new(&tokenizer);
            let pieces = tokens.iter().map(|&token| stream.push(token).unwrap());
            assert_eq!(pieces.collect::<String>() + &stream.finish(), decoded);
        }
        // A folder, and what else stands in it.
        let folder = tempfile::tempdir().unwrap();
        for path in [&vocabulary, &merges] {
            let name = path.file_name().unwrap();
            std::fs::copy(path, folder.path().join(name)).unwrap();
        }
        let load = || HuggingFaceTokenizer::load(folder.path());
        let write = |name: &str, text: &str| {
            std::fs::write(folder.path().join(name), text).unwrap();
        };
        let (text, tokens) = &expected.texts[0];
        assert_eq!(&load().unwrap().encode(text).unwrap().tokens, tokens);
        write("tokenizer_config.json", r#"{"add_prefix_space": true}"#);
        for (text, tokens) in &expected.prefixed {
            assert_eq!(&load().unwrap().encode(text).unwrap().tokens, tokens);
        }
        write(
            "tokenizer_config.json",
            r#"{"tokenizer_class": "RobertaTokenizer"}"#,
        );
        let error = load().unwrap_err().to_string();
        assert!(error.contains("RobertaTokenizer"), "{error}");
        write(
            "tokenizer_config.json",
            r#"{"tokenizer_class": "GPT2TokenizerFast"}"#,
        );
        let size = tokenizer.len();
        write("added_tokens.json", &format!(r#"{{"<pad>": {size}}}"#));
        let read = load().unwrap().encode("a<pad>").unwrap().tokens;
        assert_eq!(read.last(), Some(&(size as u32)));
        // A tokenizer.json comes first.
        write("tokenizer.json", "{}");
        assert!(load().is_err());
    }

    /// What is wrong with two files of these texts.
    fn wrong(vocabulary: &str, merges: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let [v, m] = ["v.json", "m.txt"].map(|name| folder.path().join(name));
        std::fs::write(&v, vocabulary).unwrap();
        std::fs::write(&m, merges).unwrap();
        let error = HuggingFaceTokenizer::from_gpt2(&v, &m).unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
        let text = error.to_string();
        text.split_once(".json: ")
            .or(text.split_once(".txt: "))
            .unwrap()
            .1
            .to_string()
    }

    #[test]
    fn broken_files_say_what_and_where() {
        let ab = r#"{"a": 0, "b": 1, "ab": 2}"#;
        for (vocabulary, merges, expected) in [
            (
                ab,
                "#version: 0.2\na b\nb c\n",
                "line 3: \"c\" is not in the vocabulary",
            ),
            (ab, "b a\n", "line 1: \"ba\" is not in the vocabulary"),
            (ab, "a b\n\nab", "line 3: \"ab\" is no pair of pieces"),
            (ab, "a b a", "line 1: \"a b a\" is no pair of pieces"),
            (ab, " a", "line 1: \" a\" is no pair of pieces"),
            (
                r#"{"a": 0, "b": 3}"#,
                "",
                "no token has the number 1, but \"b\" has 3",
            ),
            (
                r#"{"a": 0, "b": 4294967295}"#,
                "",
                "no token has the number 1, but \"b\" has 4294967295",
            ),
            (
                r#"{"a": 1, "b": 1}"#,
                "",
                "\"a\" and \"b\" both have the number 1",
            ),
        ] {
            assert_eq!(wrong(vocabulary, merges), expected);
        }
        assert!(wrong(r#"{"a": 0, "b"#, "").contains("line 1 column"));
        assert!(wrong(r#"{"a": -1}"#, "").contains("invalid value"));
        assert!(wrong("[]", "").contains("expected a map"));
        let none = golden().join("none");
        let error = HuggingFaceTokenizer::from_gpt2(&none, &none).unwrap_err();
        assert!(matches!(error, Error::Core(_)), "{error}");
    }

    #[test]
    fn every_truncation_is_an_error_or_a_shorter_file() {
        let folder = golden();
        let [vocabulary, merges] =
            ["vocab.json", "merges.txt"].map(|name| std::fs::read(folder.join(name)).unwrap());
        let cut = tempfile::tempdir().unwrap();
        let [v, m] = ["v.json", "m.txt"].map(|name| cut.path().join(name));
        std::fs::write(&m, &merges).unwrap();
        for end in (0..vocabulary.len() - 1).step_by(97) {
            std::fs::write(&v, &vocabulary[..end]).unwrap();
            assert!(HuggingFaceTokenizer::from_gpt2(&v, &m).is_err(), "{end}");
        }
        std::fs::write(&v, &vocabulary).unwrap();
        for end in (0..merges.len()).step_by(29) {
            std::fs::write(&m, &merges[..end]).unwrap();
            if let Ok(tokenizer) = HuggingFaceTokenizer::from_gpt2(&v, &m) {
                let tokens = tokenizer.encode("the king").unwrap().tokens;
                assert_eq!(tokenizer.decode(&tokens).unwrap(), "the king");
            }
        }
    }
}
