//! Token vectors as safetensors with a `tokenizer.json`: Model2Vec, WordLlama, and the static
//! embeddings of sentence-transformers.
//!
//! *Reading* takes the matrix `embeddings` or `embedding.weight` (32-bit, 16-bit or brain floats) and
//! the vocabulary of a Hugging Face tokenizer (WordPiece, WordLevel, BPE or Unigram, and added tokens).
//! Where there are a `mapping`, tokens share rows; where there are `weights`, each token's row is times
//! its own. Words are the tokens as the tokenizer writes them: `##ing`, `▁the`, or bytes in the alphabet
//! of GPT-2 are left as they are. Splitting text into tokens is left to the crate `tokenizers`.
//!
//! *WordLlama* keeps vectors of 16 bits as `embedding.weight` in a file of any name, to be given to
//! [`read_files`] with its tokenizer. What it says of a text is then
//! [`sentence`](Embeddings::sentence) of the text's tokens with weights of 1; its `trunc_dim` is
//! [`truncated`](Embeddings::truncated) before that; its binary form keeps only which values of the mean are
//! above 0, the first in the highest bit of the first byte, eight bytes a little-endian number. A text
//! without tokens is zeros there and `None` here; a token beyond the rows has the last row there and is an
//! error here.
//!
//! *Writing* makes a folder that Model2Vec loads: words are whole tokens of a WordLevel tokenizer that
//! cuts at spaces and signs.

use std::borrow::Cow;
use std::path::Path;

use half::{bf16, f16};
use refrain_core::{Error as CoreError, IdMap};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::Deserialize;
use serde_json::json;

use super::bad;
use crate::{Embeddings, Result, Vocabulary};

/// Reads a folder with `model.safetensors` and `tokenizer.json`.
///
/// # Errors
/// As [`read_files`].
pub fn read(folder: impl AsRef<Path>) -> Result<Embeddings> {
    let folder = folder.as_ref();
    read_files(
        folder.join("model.safetensors"),
        folder.join("tokenizer.json"),
    )
}

/// Reads a file of vectors and a tokenizer.
///
/// # Errors
/// When a file cannot be read; [`Error::Vectors`](crate::Error::Vectors) naming the file and what is wrong in it.
pub fn read_files(vectors: impl AsRef<Path>, tokenizer: impl AsRef<Path>) -> Result<Embeddings> {
    let load = |path: &Path| std::fs::read(path).map_err(|e| CoreError::io(path, e));
    let (vectors, tokenizer) = (vectors.as_ref(), tokenizer.as_ref());
    let names = (
        vectors.display().to_string(),
        tokenizer.display().to_string(),
    );
    read_bytes((&load(vectors)?, &names.0), (&load(tokenizer)?, &names.1))
}

/// Reads what is in memory; the names are for errors.
///
/// # Errors
/// As [`read_files`].
pub fn read_bytes(vectors: (&[u8], &str), tokenizer: (&[u8], &str)) -> Result<Embeddings> {
    let (bytes, origin) = vectors;
    let tensors = SafeTensors::deserialize(bytes)
        .map_err(|error| bad(origin, "header", error.to_string()))?;
    let matrix = ["embeddings", "embedding.weight"]
        .iter()
        .find_map(|name| tensors.tensor(name).ok());
    let Some(matrix) = matrix else {
        let found = tensors.names().join(", ");
        let reason = format!("no tensor embeddings or embedding.weight among {found:?}");
        return Err(bad(origin, "header", reason));
    };
    let [rows, dim] = matrix.shape()[..] else {
        let reason = format!(
            "embeddings of shape {:?}, not rows and columns",
            matrix.shape()
        );
        return Err(bad(origin, "header", reason));
    };
    let values = floats(&matrix, origin)?;
    let tokens = tokens(tokenizer.0, tokenizer.1)?;
    let optional = |name: &str| tensors.tensor(name).ok();
    let mapping = optional("mapping")
        .map(|t| integers(&t, origin))
        .transpose()?;
    let weights = optional("weights")
        .map(|t| floats(&t, origin))
        .transpose()?;
    let expected = mapping.as_ref().map_or(rows, Vec::len);
    if tokens.len() > expected || weights.as_ref().is_some_and(|w| w.len() < tokens.len()) {
        let reason = format!("{} tokens, but {expected} rows", tokens.len());
        return Err(bad(tokenizer.1, "vocabulary", reason));
    }
    let mut all = Vec::with_capacity(tokens.len() * dim);
    for id in 0..tokens.len() {
        let row = mapping
            .as_ref()
            .map_or(Some(id), |mapping| mapping.get(id).copied());
        let row =
            row.and_then(|row| values.get(row.checked_mul(dim)?..(row + 1).checked_mul(dim)?));
        let Some(row) = row else {
            return Err(bad(
                origin,
                format_args!("token {id}"),
                "has no row".to_string(),
            ));
        };
        let weight = weights
            .as_ref()
            .and_then(|w| w.get(id))
            .copied()
            .unwrap_or(1.0);
        all.extend(row.iter().map(|value| value * weight));
    }
    Embeddings::new(
        Vocabulary::from_ids(tokens.clone(), vec![1; tokens.len()]),
        dim,
        all,
    )
}

fn floats(tensor: &TensorView<'_>, origin: &str) -> Result<Vec<f32>> {
    let data = tensor.data();
    let pairs = || data.chunks_exact(2).map(|b| [b[0], b[1]]);
    Ok(match tensor.dtype() {
        Dtype::F32 => data
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect(),
        Dtype::F16 => pairs().map(|b| f16::from_le_bytes(b).to_f32()).collect(),
        Dtype::BF16 => pairs().map(|b| bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F64 => data
            .chunks_exact(8)
            .map(|b| f64::from_le_bytes(b.try_into().unwrap_or_default()) as f32)
            .collect(),
        Dtype::I8 => data.iter().map(|&b| f32::from(b as i8)).collect(),
        other => {
            let reason = format!("numbers of type {other:?} cannot be read");
            return Err(bad(origin, "header", reason));
        }
    })
}

fn integers(tensor: &TensorView<'_>, origin: &str) -> Result<Vec<usize>> {
    let data = tensor.data();
    let index = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
    match tensor.dtype() {
        Dtype::I64 => {
            let values = data.chunks_exact(8);
            let values = values.map(|b| i64::from_le_bytes(b.try_into().unwrap_or_default()));
            Ok(values.map(index).collect())
        }
        Dtype::I32 => {
            let values = data.chunks_exact(4);
            let values = values.map(|b| i32::from_le_bytes(b.try_into().unwrap_or_default()));
            Ok(values.map(|value| index(value.into())).collect())
        }
        other => Err(bad(
            origin,
            "header",
            format!("a mapping of type {other:?}"),
        )),
    }
}

#[derive(Deserialize)]
struct Tokenizer<'a> {
    #[serde(borrow)]
    model: Model<'a>,
    #[serde(default)]
    added_tokens: Vec<Added>,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(borrow)]
    vocab: Words<'a>,
}

/// Tokens with their numbers, or with scores in the order of their numbers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words<'a> {
    #[serde(borrow)]
    Numbered(std::collections::HashMap<Cow<'a, str>, u64>),
    Listed(Vec<(String, f64)>),
}

#[derive(Deserialize)]
struct Added {
    id: u64,
    content: String,
}

/// The tokens in the order of their numbers, which must have no gaps.
fn tokens(bytes: &[u8], origin: &str) -> Result<IdMap> {
    let read: Tokenizer<'_> = serde_json::from_slice(bytes).map_err(|error| {
        let place = format!("line {}", error.line().max(1));
        bad(origin, place, error.to_string())
    })?;
    let mut numbered: Vec<(u64, String)> = match read.model.vocab {
        Words::Numbered(words) => words
            .into_iter()
            .map(|(w, id)| (id, w.into_owned()))
            .collect(),
        Words::Listed(words) => (0..).zip(words).map(|(id, (word, _))| (id, word)).collect(),
    };
    numbered.extend(
        read.added_tokens
            .into_iter()
            .map(|added| (added.id, added.content)),
    );
    numbered.sort();
    numbered.dedup();
    let mut ids = IdMap::new();
    for (expected, (id, word)) in (0u64..).zip(&numbered) {
        if *id != expected {
            let reason = format!("the token {word:?} has number {id}, expected {expected}");
            return Err(bad(origin, "vocabulary", reason));
        }
        if u64::from(ids.insert(word)?) != expected {
            let reason = format!("the token {word:?} stands twice");
            return Err(bad(origin, "vocabulary", reason));
        }
    }
    Ok(ids)
}

/// Writes `model.safetensors`, `tokenizer.json`, `config.json` and `modules.json` into a folder, which
/// is made if it is not there.
///
/// # Errors
/// When a file cannot be written.
pub fn write(embeddings: &Embeddings, folder: impl AsRef<Path>) -> Result<()> {
    const UNKNOWN: &str = "[UNK]";
    let folder = folder.as_ref();
    std::fs::create_dir_all(folder).map_err(|e| CoreError::io(folder, e))?;
    let words = embeddings.vocabulary();
    let vocabulary: serde_json::Map<String, serde_json::Value> = words
        .ids()
        .iter()
        .enumerate()
        .map(|(id, word)| (word.to_string(), json!(id)))
        .collect();
    // Unknown words get zeros, in a row of their own behind the others.
    let (mut vocabulary, mut values) = (vocabulary, embeddings.vectors().to_vec());
    if !vocabulary.contains_key(UNKNOWN) {
        vocabulary.insert(UNKNOWN.to_string(), json!(words.len()));
        values.extend(std::iter::repeat_n(0.0, embeddings.dim()));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN},
    });
    let config = json!({
        "model_type": "model2vec", "normalize": true, "embedding_dtype": "float32",
        "hidden_dim": embeddings.dim(),
    });
    let modules = json!([
        {"idx": 0, "name": "0", "path": ".", "type": "sentence_transformers.models.StaticEmbedding"},
    ]);
    let bytes: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    let shape = vec![values.len() / embeddings.dim().max(1), embeddings.dim()];
    let path = folder.join("model.safetensors");
    let origin = path.display().to_string();
    let wrong = |error: safetensors::SafeTensorError| bad(&origin, "header", error.to_string());
    let view = TensorView::new(Dtype::F32, shape, &bytes).map_err(wrong)?;
    let packed = safetensors::serialize([("embeddings", view)], None).map_err(wrong)?;
    for (name, contents) in [
        ("model.safetensors", packed),
        ("tokenizer.json", tokenizer.to_string().into_bytes()),
        ("config.json", config.to_string().into_bytes()),
        ("modules.json", modules.to_string().into_bytes()),
    ] {
        let path = folder.join(name);
        std::fs::write(&path, contents).map_err(|e| CoreError::io(&path, e))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "model2vec_tests.rs"]
mod tests;
