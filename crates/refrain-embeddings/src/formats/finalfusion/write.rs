use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use rayon::prelude::*;
use refrain_core::{Error as CoreError, kernels};

use super::super::bad;
use super::super::bytes::float_bytes;
use super::{F32, FASTTEXT, FLORET, HASHED, MAGIC, NORMS, QUANTISED, ROWS, U8, WORDS, padding};
use crate::quantized::product::Product;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords};

/// Of the first centroids.
const SEED: u64 = 42;

/// Writes the words, their vectors and their n-grams.
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming what does not fit the format; and when the file cannot be written.
pub fn write(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    write_as(embeddings, path.as_ref(), None)
}

/// Writes the directions of all rows in `parts` bytes each (see
/// [`Quantization`](crate::Quantization)), and their lengths.
///
/// # Errors
/// As [`write()`], and [`Error::Config`](crate::Error::Config) unless the parts divide the length of the vectors.
pub fn write_quantised(
    embeddings: &Embeddings,
    path: impl AsRef<Path>,
    parts: usize,
) -> Result<()> {
    if parts == 0 || !embeddings.dim().is_multiple_of(parts) {
        return Err(Error::Config {
            field: "parts",
            value: parts.to_string(),
            reason: "must divide the length of the vectors",
        });
    }
    write_as(embeddings, path.as_ref(), Some(parts))
}

fn write_as(embeddings: &Embeddings, path: &Path, parts: Option<usize>) -> Result<()> {
    let origin = path.display().to_string();
    let (kind, words) = words(embeddings, &origin)?;
    let mut norms = Vec::with_capacity(embeddings.len());
    for (word, vector) in embeddings.iter() {
        let squares = vector.iter().map(|&value| f64::from(value).powi(2));
        let norm = squares.sum::<f64>().sqrt() as f32;
        if !norm.is_finite() {
            let reason = format!("the vector of {word:?} is too long for the format");
            return Err(bad(&origin, "lengths", reason));
        }
        norms.push(norm);
    }
    let dim = embeddings.dim();
    let columns = u32::try_from(dim).map_err(|_| {
        bad(
            &origin,
            "vectors",
            format!("{dim} values do not fit the format"),
        )
    })?;
    let ngrams = embeddings.subwords().map_or(&[][..], Subwords::values);
    let rows = embeddings.len() + ngrams.len() / dim;

    let io = |error| CoreError::io(path, error);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).map_err(io)?);
    let mut put = |bytes: &[u8]| out.write_all(bytes).map_err(io);
    let matrix = if parts.is_some() { QUANTISED } else { ROWS };
    let kinds = match kind {
        FLORET => &[kind, matrix][..],
        _ => &[kind, matrix, NORMS],
    };
    put(&MAGIC)?;
    for number in [0, kinds.len() as u32].iter().chain(kinds) {
        put(&number.to_le_bytes())?;
    }
    put(&kind.to_le_bytes())?;
    put(&(words.len() as u64).to_le_bytes())?;
    put(&words)?;

    // All else before the rows has a length that is a multiple of four, and so have they.
    let pad = padding(words.len());
    let units = embeddings.iter().zip(&norms).map(|((_, vector), &norm)| {
        let norm = if norm > 0.0 { f64::from(norm) } else { 1.0 };
        let unit = vector.iter().map(|&value| (f64::from(value) / norm) as f32);
        unit.collect::<Vec<f32>>()
    });
    put(&matrix.to_le_bytes())?;
    match parts {
        None => {
            put(&((16 + pad + rows * dim * 4) as u64).to_le_bytes())?;
            put(&(rows as u64).to_le_bytes())?;
            put(&columns.to_le_bytes())?;
            put(&F32.to_le_bytes())?;
            put(&[0; 4][..pad])?;
            for unit in units {
                put(&float_bytes(&unit))?;
            }
            for values in ngrams.chunks(1 << 16) {
                put(&float_bytes(values))?;
            }
        }
        Some(parts) => {
            let mut values: Vec<f32> = units.flatten().collect();
            values.extend_from_slice(ngrams);
            let lengths: Vec<f32> = values.par_chunks_mut(dim).map(kernels::normalize).collect();
            let product = Product::train(&values, dim, parts, SEED);
            let size = 36 + pad + 4 * product.centroids.len() + rows * (4 + parts);
            put(&(size as u64).to_le_bytes())?;
            // No projection, and lengths.
            for number in [0, 1, parts as u32, columns, 256] {
                put(&number.to_le_bytes())?;
            }
            put(&(rows as u64).to_le_bytes())?;
            put(&U8.to_le_bytes())?;
            put(&F32.to_le_bytes())?;
            put(&[0; 4][..pad])?;
            put(&float_bytes(&product.centroids))?;
            put(&float_bytes(&lengths))?;
            put(&product.encode(&values))?;
        }
    }
    if kind != FLORET {
        // Codes are as many bytes as they are; all else but them ends at a multiple of four.
        let pad = padding(rows * parts.unwrap_or(0));
        put(&NORMS.to_le_bytes())?;
        put(&((12 + pad + norms.len() * 4) as u64).to_le_bytes())?;
        put(&(norms.len() as u64).to_le_bytes())?;
        put(&F32.to_le_bytes())?;
        put(&[0; 4][..pad])?;
        put(&float_bytes(&norms))?;
    }
    Ok(out.flush().map_err(io)?)
}

/// The chunk of words: its kind and what is in it.
fn words(embeddings: &Embeddings, origin: &str) -> Result<(u32, Vec<u8>)> {
    let string = |text: &str| match u32::try_from(text.len()) {
        Ok(length) => Ok([&length.to_le_bytes(), text.as_bytes()].concat()),
        Err(_) => {
            let reason = format!("a word of {} bytes does not fit the format", text.len());
            Err(bad(origin, "words", reason))
        }
    };
    let refuse = |reason: &str| Err(bad(origin, "n-grams", reason.to_string()));
    let names = embeddings.vocabulary().ids();
    let count = (names.len() as u64).to_le_bytes();
    let (kind, mut chunk) = match embeddings.subwords() {
        None => (WORDS, count.to_vec()),
        Some(subwords) if subwords.kept().is_some() => {
            return refuse("those of which some were pruned cannot be written");
        }
        Some(subwords) => {
            let (lengths, buckets) = (subwords.lengths(), subwords.buckets());
            let lengths = [*lengths.start(), *lengths.end()];
            let lengths = lengths.map(|n| (n as u32).to_le_bytes()).concat();
            match subwords.hashing() {
                SubwordHashing::FastText => match i32::try_from(buckets) {
                    Ok(buckets) => (
                        FASTTEXT,
                        [&count, &lengths[..], &buckets.to_le_bytes()].concat(),
                    ),
                    Err(_) => return refuse("their rows are too many for the format"),
                },
                SubwordHashing::Finalfusion if buckets.is_power_of_two() => {
                    let exponent = buckets.trailing_zeros().to_le_bytes();
                    (HASHED, [&count, &lengths[..], &exponent].concat())
                }
                SubwordHashing::Finalfusion => {
                    return refuse("the number of their rows must be a power of two");
                }
                SubwordHashing::Floret { .. } if !names.is_empty() => {
                    return refuse("floret's are written without words");
                }
                SubwordHashing::Floret {
                    hashes,
                    seed,
                    begin,
                    end,
                } => {
                    let buckets = (buckets as u64).to_le_bytes();
                    let (hashes, seed) = (hashes.to_le_bytes(), seed.to_le_bytes());
                    let marks = [string(begin)?, string(end)?].concat();
                    (
                        FLORET,
                        [&lengths[..], &buckets, &hashes, &seed, &marks].concat(),
                    )
                }
            }
        }
    };
    for name in names.iter() {
        chunk.extend(string(name)?);
    }
    Ok((kind, chunk))
}
