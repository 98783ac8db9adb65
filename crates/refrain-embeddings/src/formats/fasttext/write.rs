use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;
use refrain_core::{Error as CoreError, kernels};

use super::super::bad;
use super::super::bytes::float_bytes;
use super::MAGIC;
use crate::quantized::product::Product;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords};

/// Of the first centroids.
const SEED: u64 = 42;

/// Writes the words, their vectors and their n-grams.
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming a word that does not fit the format, or that n-grams
/// were pruned or are another program's; and when the file cannot be written.
pub fn write(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    let subwords = embeddings.subwords();
    if subwords.is_some_and(|subwords| subwords.kept().is_some()) {
        let origin = path.as_ref().display().to_string();
        let reason = "those of which some were pruned are written quantised only".to_string();
        return Err(bad(&origin, "n-grams", reason));
    }
    write_as(embeddings, path.as_ref(), None)
}

/// Writes a `.ftz` file: all rows, of words and of n-grams, as their lengths in 256 steps and their
/// directions in parts of `part` values, a byte each (see [`Quantization`](crate::Quantization)). With
/// parts of two values a file is a seventh to an eighth of what it was.
///
/// # Errors
/// As [`write()`], and [`Error::Config`](crate::Error::Config) unless `part` divides the length of the
/// vectors.
pub fn write_quantised(embeddings: &Embeddings, path: impl AsRef<Path>, part: usize) -> Result<()> {
    if part == 0 || !embeddings.dim().is_multiple_of(part) {
        return Err(Error::Config {
            field: "part",
            value: part.to_string(),
            reason: "must divide the length of the vectors",
        });
    }
    write_as(embeddings, path.as_ref(), Some(part))
}

fn write_as(embeddings: &Embeddings, path: &Path, part: Option<usize>) -> Result<()> {
    let origin = path.display().to_string();
    let (dim, words) = (embeddings.dim(), embeddings.vocabulary());
    let subwords = embeddings.subwords();
    let kept = subwords.and_then(Subwords::kept);
    if subwords.is_some_and(|subwords| *subwords.hashing() != SubwordHashing::FastText) {
        let reason = "they are not hashed as fastText does".to_string();
        return Err(bad(&origin, "n-grams", reason));
    }
    if let Some(word) = words.ids().iter().find(|word| word.contains('\0')) {
        let reason = format!("the word {word:?} has a zero byte");
        return Err(bad(&origin, "words", reason));
    }
    let number = |n: usize, what: &str| {
        i32::try_from(n).map_err(|_| bad(&origin, what, format!("{n} do not fit the format")))
    };
    let count = number(words.len(), "words")?;
    let (least, most, buckets) = match subwords {
        None => (0, 0, 0),
        Some(subwords) => (
            number(*subwords.lengths().start(), "lengths")?,
            number(*subwords.lengths().end(), "lengths")?,
            number(subwords.buckets(), "rows of n-grams")?,
        ),
    };
    let io = |error| CoreError::io(path, error);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(io);
    // dim, window, epochs, least count, negatives, n-grams of words, loss, model, …
    let settings = [
        number(dim, "values in a vector")?,
        5,
        5,
        1,
        5,
        1,
        2,
        2,
        buckets,
        least,
        most,
        100,
    ];
    for value in [MAGIC, 12].into_iter().chain(settings) {
        put(&value.to_le_bytes())?;
    }
    put(&1e-4f64.to_le_bytes())?;
    for value in [count, count, 0] {
        put(&value.to_le_bytes())?;
    }
    put(&words.tokens().to_le_bytes())?;
    put(&kept.map_or(-1, |kept| kept.len() as i64).to_le_bytes())?;
    for (word, count) in words.iter() {
        put(word.as_bytes())?;
        put(&[0])?;
        put(&count.to_le_bytes())?;
        put(&[0])?;
    }
    for (row, &bucket) in kept.unwrap_or_default().iter().enumerate() {
        put(&number(bucket as usize, "n-grams")?.to_le_bytes())?;
        put(&number(row, "n-grams")?.to_le_bytes())?;
    }
    let ngrams = subwords.map_or(&[][..], Subwords::values);
    let rows = words.len() + ngrams.len() / dim;
    let own = |(word, vector): (&str, &[f32])| own_row(vector, subwords, word);
    put(&[u8::from(part.is_some())])?;
    match part {
        None => {
            put(&(rows as u64).to_le_bytes())?;
            put(&(dim as u64).to_le_bytes())?;
            for row in embeddings.iter().map(own) {
                put(&float_bytes(&row))?;
            }
            for rows in ngrams.chunks(1 << 16) {
                put(&float_bytes(rows))?;
            }
        }
        Some(part) => {
            let mut values: Vec<f32> = embeddings.iter().flat_map(own).collect();
            values.extend_from_slice(ngrams);
            let lengths: Vec<f32> = values.par_chunks_mut(dim).map(kernels::normalize).collect();
            let directions = Product::train(&values, dim, dim / part, SEED);
            let scales = Product::train(&lengths, 1, 1, SEED);
            let codes = directions.encode(&values);
            put(&[1])?; // lengths apart
            put(&(rows as u64).to_le_bytes())?;
            put(&(dim as u64).to_le_bytes())?;
            put(&number(codes.len(), "bytes of codes")?.to_le_bytes())?;
            put(&codes)?;
            for (product, part) in [(&directions, part), (&scales, 1)] {
                if std::ptr::eq(product, &scales) {
                    put(&scales.encode(&lengths))?;
                }
                // Values, parts, values of a part and of the last one.
                for n in [product.dim, product.parts, part, part] {
                    put(&number(n, "values in a vector")?.to_le_bytes())?;
                }
                put(&float_bytes(&product.centroids))?;
            }
        }
    }
    put(&[0])?;
    put(&(words.len() as u64).to_le_bytes())?;
    put(&(dim as u64).to_le_bytes())?;
    let zeros = vec![0; dim * 4];
    for _ in 0..words.len() {
        put(&zeros)?;
    }
    Ok(out.flush().map_err(io)?)
}

/// What a word's own row must be for its vector to be the mean of it and its n-grams'.
fn own_row(vector: &[f32], subwords: Option<&Subwords>, word: &str) -> Vec<f32> {
    let Some(subwords) = subwords else {
        return vector.to_vec();
    };
    let mut own: Vec<f64> = vec![0.0; vector.len()];
    let mut count = 1.0;
    subwords.rows(word, |row| {
        let at = row as usize * vector.len();
        let row = &subwords.values()[at..at + vector.len()];
        own.iter_mut()
            .zip(row)
            .for_each(|(sum, &v)| *sum -= f64::from(v));
        count += 1.0;
    });
    let values = own.iter().zip(vector);
    values
        .map(|(rest, &v)| (rest + count * f64::from(v)) as f32)
        .collect()
}
