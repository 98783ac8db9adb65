//! Tokenizers in GGUF files, as llama.cpp reads them: byte pairs (`gpt2`) with the rules of the model's
//! family, and SentencePiece's byte pairs (`llama`).

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{HuggingFaceTokenizer, added, byte_pairs, bytes};
use crate::gguf::{GgufFile, GgufValue};
use crate::{Error, Result};

const TOKENS: &str = "tokenizer.ggml.tokens";
const TYPES: &str = "tokenizer.ggml.token_type";
const SCORES: &str = "tokenizer.ggml.scores";

/// The most characters of a piece.
const LONGEST: usize = 256;

impl HuggingFaceTokenizer {
    /// The tokenizer in a GGUF file: byte pairs as in GPT-2 (`tokenizer.ggml.model` is `gpt2`), cut as
    /// the family of the model cuts (`tokenizer.ggml.pre`: `llama-bpe`, `qwen2`, `smollm`, `gpt-2`,
    /// `tekken`, `gpt-4o` and others of the same rules), or SentencePiece's byte pairs with scores
    /// (`llama`), as in Llama 2 and Mistral.
    ///
    /// Where the file says so, the token that begins a text stands before it; a text that itself begins
    /// with that token, as chat templates write it, gets no second one.
    ///
    /// # Errors
    /// [`Error::Tokenizer`] naming a kind or family that is not known here, and as [`load`](Self::load);
    /// what is missing in the file is named.
    pub fn from_gguf(file: &GgufFile) -> Result<Self> {
        let pieces = PieceTable::read(file)?;
        let (mut value, begins) = match file.text("tokenizer.ggml.model")? {
            "gpt2" => {
                let family = Family::of(file)?;
                (gpt2(file, &pieces, &family)?, family.begins)
            }
            "llama" => (sentence_piece(file, &pieces)?, true),
            kind => {
                let reason = format_args!("a tokenizer of the kind {kind:?} cannot be read");
                return Err(Error::tokenizer(file.origin(), reason));
            }
        };
        let begin = pieces.around(file, "bos", begins, 1)?;
        let end = pieces.around(file, "eos", false, 2)?;
        if let Some(fields) = value.as_object_mut() {
            fields.insert("post_processor".to_string(), template(begin, end));
        }
        let mut read = Self::read(value.to_string().as_bytes(), file.origin().to_string())?;
        read.begin = begin.map(|(token, _)| token);
        Ok(read)
    }
}

/// How a piece is used.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Normal,
    /// Stands for no text: control tokens and that for what is unknown.
    Control,
    /// Found in a text before all others.
    UserDefined,
    /// A byte, or nothing that a text is made of.
    Other,
}

/// The vocabulary of a file.
struct PieceTable<'a> {
    names: Vec<&'a str>,
    kinds: Vec<Kind>,
}

impl<'a> PieceTable<'a> {
    fn read(file: &'a GgufFile) -> Result<Self> {
        let names = file.texts(TOKENS)?;
        let kinds = match file.metadata().get(TYPES) {
            None => vec![Kind::Normal; names.len()],
            Some(GgufValue::Array(types)) if types.len() >= names.len() => {
                let kind = |value: &GgufValue| match value {
                    GgufValue::Signed(2 | 3) | GgufValue::Unsigned(2 | 3) => Kind::Control,
                    GgufValue::Signed(4) | GgufValue::Unsigned(4) => Kind::UserDefined,
                    GgufValue::Signed(5 | 6) | GgufValue::Unsigned(5 | 6) => Kind::Other,
                    _ => Kind::Normal,
                };
                types.iter().take(names.len()).map(kind).collect()
            }
            Some(_) => {
                let reason = format!("{TYPES:?} is no list of {} numbers", names.len());
                return Err(file.bad(reason));
            }
        };
        Ok(Self { names, kinds })
    }

    fn iter(&self) -> impl Iterator<Item = (u32, &'a str, Kind)> {
        let both = self.names.iter().zip(&self.kinds);
        (0u32..)
            .zip(both)
            .map(|(at, (name, kind))| (at, *name, *kind))
    }

    /// The tokens that are never cut, as they stand in a text.
    fn never_cut(&self, text: impl Fn(&str) -> String) -> Vec<Value> {
        let named = self.iter().filter(|(_, name, _)| !name.is_empty());
        let found = named.filter_map(|(at, name, kind)| match kind {
            Kind::Control => Some(added(at, name, true)),
            Kind::UserDefined => Some(added(at, &text(name), false)),
            _ => None,
        });
        found.collect()
    }

    /// The token `bos` or `eos`, where a text has it around.
    fn around(
        &self,
        file: &GgufFile,
        which: &str,
        by_itself: bool,
        usual: usize,
    ) -> Result<Option<(u32, &'a str)>> {
        if !flag(
            file,
            &format!("tokenizer.ggml.add_{which}_token"),
            by_itself,
        )? {
            return Ok(None);
        }
        let key = format!("tokenizer.ggml.{which}_token_id");
        let at = match file.metadata().contains_key(&key) {
            true => file.number(&key)?,
            false => usual,
        };
        match (self.names.get(at), u32::try_from(at)) {
            (Some(name), Ok(token)) => Ok(Some((token, name))),
            _ => {
                let count = self.names.len();
                Err(file.bad(format_args!("{key:?} is {at}, of {count} tokens")))
            }
        }
    }
}

fn flag(file: &GgufFile, key: &str, by_itself: bool) -> Result<bool> {
    match file.metadata().get(key) {
        None => Ok(by_itself),
        Some(GgufValue::Bool(yes)) => Ok(*yes),
        Some(_) => Err(file.bad(format_args!("{key:?} is neither true nor false"))),
    }
}

/// What stands around a text.
fn template(begin: Option<(u32, &str)>, end: Option<(u32, &str)>) -> Value {
    if begin.is_none() && end.is_none() {
        return Value::Null;
    }
    let special = |(_, name): (u32, &str)| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let text = |id: &str, kind: u32| json!({"Sequence": {"id": id, "type_id": kind}});
    let (first, last) = (begin.map(special), end.map(special));
    let around = |texts: Vec<Value>| -> Value {
        first
            .clone()
            .into_iter()
            .chain(texts)
            .chain(last.clone())
            .collect()
    };
    let used: Map<String, Value> = begin
        .into_iter()
        .chain(end)
        .map(|(token, name)| {
            let value = json!({"id": name, "ids": [token], "tokens": [name]});
            (name.to_string(), value)
        })
        .collect();
    json!({
        "type": "TemplateProcessing",
        "single": around(vec![text("A", 0)]),
        "pair": around(vec![text("A", 0), text("B", 1)]),
        "special_tokens": used,
    })
}

/// How a family of models cuts texts into words before pairs of bytes are merged.
struct Family {
    /// The rules, one after the other.
    cut: Vec<Value>,
    /// A word that is a piece is taken as it is.
    whole_words: bool,
    /// A token begins every text.
    begins: bool,
}

// The rules are those of the models' own `tokenizer.json`; llama.cpp's are the same in other words.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

impl Family {
    fn of(file: &GgufFile) -> Result<Self> {
        let rules: (&[&str], bool, bool) = match file.text("tokenizer.ggml.pre")? {
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "exaone4" => (&[GPT2], false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone"
            | "minerva-7b" => (&[r"\p{N}", GPT2], false, false),
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral" | "lfm2" => {
                (&[LLAMA3], true, true)
            }
            "dbrx" | "smaug-bpe" | "glm4" | "chatglm-bpe" => (&[LLAMA3], false, false),
            "qwen2" | "deepseek-r1-qwen" | "stablelm2" | "hunyuan" | "megrez" => {
                (&[QWEN2], false, false)
            }
            "qwen35" => (&[QWEN35], false, false),
            "tekken" => (&[TEKKEN], true, true),
            "gpt-4o" | "llama4" => (&[GPT4O], false, false),
            "default" => {
                let digits = [r"\p{N}+", "[0-9][0-9][0-9]"];
                (
                    &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, digits[0], digits[1]],
                    false,
                    false,
                )
            }
            family => {
                let reason = format_args!(
                    "how the family {family:?} cuts texts (\"tokenizer.ggml.pre\") is not known here"
                );
                return Err(Error::tokenizer(file.origin(), reason));
            }
        };
        let (patterns, whole_words, begins) = rules;
        let split = |pattern: &&str| {
            json!({
                "type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false,
            })
        };
        Ok(Self {
            cut: patterns
                .iter()
                .map(split)
                .chain([bytes(false, false)])
                .collect(),
            whole_words,
            begins,
        })
    }
}

fn gpt2(file: &GgufFile, pieces: &PieceTable<'_>, family: &Family) -> Result<Value> {
    let entries = pieces
        .iter()
        .map(|(at, name, _)| (name.to_string(), at.into()));
    let model = json!({
        "type": "BPE",
        "ignore_merges": family.whole_words,
        "vocab": entries.collect::<Map<_, _>>(),
        "merges": file.texts("tokenizer.ggml.merges")?,
    });
    let never_cut = pieces.never_cut(str::to_string);
    Ok(byte_pairs(never_cut, family.cut.clone(), model))
}

/// SentencePiece's byte pairs: a space is `▁`, the pair of the highest score is merged first, and what no
/// piece has is written as bytes.
fn sentence_piece(file: &GgufFile, pieces: &PieceTable<'_>) -> Result<Value> {
    // Tokens that users defined stand in texts as they are.
    let text = |name: &str| name.replace('▁', " ");
    let entries = pieces.iter().map(|(at, name, kind)| match kind {
        Kind::UserDefined => (text(name), at.into()),
        _ => (name.to_string(), at.into()),
    });
    let unknown = "tokenizer.ggml.unknown_token_id";
    let unknown = match file.metadata().contains_key(unknown) {
        true => file.number(unknown)?,
        false => 0,
    };
    let model = json!({
        "type": "BPE",
        "unk_token": pieces.names.get(unknown),
        "fuse_unk": true,
        "byte_fallback": true,
        "vocab": entries.collect::<Map<_, _>>(),
        "merges": merges(file, pieces)?,
    });
    let spaces = json!({"type": "Replace", "pattern": {"String": " "}, "content": "▁"});
    let mut normal = vec![spaces];
    let mut written = vec![
        json!({"type": "Replace", "pattern": {"String": "▁"}, "content": " "}),
        json!({"type": "ByteFallback"}),
        json!({"type": "Fuse"}),
    ];
    if flag(file, "tokenizer.ggml.add_space_prefix", true)? {
        normal.insert(0, json!({"type": "Prepend", "prepend": "▁"}));
        written.push(json!({"type": "Strip", "content": " ", "start": 1, "stop": 0}));
    }
    Ok(json!({
        "version": "1.0",
        "added_tokens": pieces.never_cut(text),
        "normalizer": {"type": "Sequence", "normalizers": normal},
        "pre_tokenizer": null,
        "decoder": {"type": "Sequence", "decoders": written},
        "model": model,
    }))
}

/// The pairs of pieces that make a piece, by falling score, then longer beginnings first: the order in
/// which Hugging Face's converter of SentencePiece models puts them.
fn merges<'a>(file: &GgufFile, pieces: &PieceTable<'a>) -> Result<Vec<[&'a str; 2]>> {
    let scores = scores(file, pieces.names.len())?;
    let normal = pieces.iter().filter(|(_, _, kind)| *kind == Kind::Normal);
    let known: HashMap<&str, u32> = normal.map(|(at, name, _)| (name, at)).collect();
    let mut merges = Vec::new();
    for ((at, name, kind), score) in pieces.iter().zip(scores) {
        if kind != Kind::Normal {
            continue;
        }
        let length = name.chars().count();
        if length > LONGEST {
            let reason = format!("{TOKENS:?}: token {at} has {length} characters");
            return Err(file.bad(reason));
        }
        let from = merges.len();
        for (left, (place, _)) in name.char_indices().enumerate().skip(1) {
            let (first, second) = name.split_at(place);
            if let (Some(a), Some(b)) = (known.get(first), known.get(second)) {
                merges.push((score, [left, length - left], [*a, *b], [first, second]));
            }
        }
        if let Some(own) = merges.get_mut(from..) {
            own.sort_by_key(|(_, _, tokens, _)| *tokens);
        }
    }
    merges.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
    Ok(merges.into_iter().map(|(_, _, _, pair)| pair).collect())
}

fn scores(file: &GgufFile, count: usize) -> Result<Vec<f64>> {
    let score = |value: &GgufValue| match *value {
        GgufValue::Float(x) if x.is_finite() => Some(x),
        GgufValue::Signed(n) => Some(n as f64),
        _ => None,
    };
    let scores: Option<Vec<f64>> = match file.metadata().get(SCORES) {
        Some(GgufValue::Array(values)) if values.len() >= count => {
            values.iter().take(count).map(score).collect()
        }
        None => return Err(file.bad(format_args!("it has no {SCORES:?}"))),
        _ => None,
    };
    scores.ok_or_else(|| {
        file.bad(format_args!(
            "{SCORES:?} is no list of {count} finite numbers"
        ))
    })
}

#[cfg(test)]
#[path = "gguf_tests.rs"]
mod tests;
