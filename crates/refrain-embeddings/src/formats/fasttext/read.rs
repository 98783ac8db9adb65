use std::path::Path;

use rayon::prelude::*;
use refrain_core::{IdMap, kernels};

use super::super::bytes::{self, Bytes};
use super::MAGIC;
use crate::{Embeddings, Result, Subwords, Vocabulary};

/// Centroids of a part of a quantised row: one for each value of a byte.
const CENTROIDS: usize = 256;

/// Reads the words, their vectors and their n-grams.
///
/// # Errors
/// [`Error::Vectors`](crate::Error::Vectors) naming the place in the file.
pub fn read(path: impl AsRef<Path>) -> Result<Embeddings> {
    let (file, origin) = bytes::open(path.as_ref())?;
    parse(&file, &origin)
}

/// Reads the bytes of a file, which `origin` names in errors.
///
/// # Errors
/// As [`read()`].
pub fn parse(bytes: &[u8], origin: &str) -> Result<Embeddings> {
    let mut bytes = Bytes::new(bytes, origin);
    let (magic, version) = (bytes.i32()?, bytes.i32()?);
    if magic != MAGIC {
        return Err(bytes.bad("not a model of fastText: its first number is another".to_string()));
    }
    if !(11..=12).contains(&version) {
        return Err(bytes.bad(format!("version {version}: 11 and 12 can be read")));
    }
    let mut settings = [0i32; 12];
    for setting in &mut settings {
        *setting = bytes.i32()?;
    }
    bytes.bytes(8)?; // the threshold of subsampling
    let [dim, .., model, buckets, least, most, _] = settings;
    let dim = bytes.count(dim, 1, 1 << 20, "values in a vector")?;
    let buckets = bytes.count(buckets, 0, u32::MAX as usize, "rows of n-grams")?;
    // Supervised models of version 11 had no n-grams of characters, whatever their settings say.
    let most = if version == 11 && model == 3 { 0 } else { most };
    let lengths = usize::try_from(least).unwrap_or(0)..=usize::try_from(most).unwrap_or(0);

    let (words, kept) = bytes.dictionary()?;
    let quantised = bytes.u8()? != 0;
    let rows = match quantised {
        false => bytes.matrix(dim)?,
        true => bytes.quantised(dim)?,
    };
    let (own, ngrams) = match rows.len().checked_sub(words.len() * dim) {
        Some(_) => rows.split_at(words.len() * dim),
        None => {
            let reason = format!("{} words but {} rows", words.len(), rows.len() / dim);
            return Err(bytes.bad(reason));
        }
    };
    let rest = ngrams.len() / dim;
    let subwords = match (*lengths.end() > 0 && rest > 0, kept) {
        (false, _) => None,
        (true, None) => {
            if rest != buckets {
                return Err(bytes.bad(format!("{buckets} rows of n-grams said, {rest} found")));
            }
            Some(Subwords::new(lengths, dim, ngrams.to_vec())?)
        }
        (true, Some(mut kept)) => {
            // In the order of their numbers, as they are looked up.
            kept.sort_unstable();
            let mut values = Vec::with_capacity(ngrams.len());
            for &(_, row) in &kept {
                let row = row as usize * dim;
                let Some(row) = ngrams.get(row..row + dim) else {
                    return Err(bytes.bad("an n-gram's row that is not there".to_string()));
                };
                values.extend_from_slice(row);
            }
            let kept: Vec<u32> = kept.into_iter().map(|(bucket, _)| bucket).collect();
            match kept.is_empty() {
                true => None,
                false => Some(Subwords::pruned(lengths, dim, values, buckets, kept)?),
            }
        }
    };
    let mut vectors = own.to_vec();
    if let Some(subwords) = &subwords {
        let names: Vec<&str> = words.ids().iter().collect();
        vectors
            .par_chunks_mut(dim)
            .zip(&names)
            .for_each(|(vector, word)| compose(vector, subwords, word));
    }
    let words = Embeddings::new(words, dim, vectors)?;
    match subwords {
        None => Ok(words),
        Some(subwords) => words.with_subwords(subwords),
    }
}

/// A word's own row becomes the mean of it and its n-grams'.
fn compose(own: &mut [f32], subwords: &Subwords, word: &str) {
    let (mut count, dim) = (1u32, own.len());
    subwords.rows(word, |row| {
        let at = row as usize * dim;
        kernels::axpy(1.0, &subwords.values()[at..at + dim], own);
        count += 1;
    });
    kernels::scale(1.0 / count as f32, own);
}

/// Numbers in a pruned model: an n-gram's number and the row it has.
type Kept = Vec<(u32, u32)>;

impl Bytes<'_> {
    /// The words, which stand before the labels, and the rows that pruned n-grams have.
    fn dictionary(&mut self) -> Result<(Vocabulary, Option<Kept>)> {
        let size = self.i32()?;
        let size = self.fitting(size, 10, "entries")?;
        let words = self.i32()?;
        let words = self.count(words, 0, size, "words")?;
        let _labels = self.i32()?;
        let _tokens = self.i64()?;
        let pruned = self.i64()?;
        let (mut ids, mut counts) = (IdMap::new(), Vec::new());
        for entry in 0..size {
            let word = String::from_utf8_lossy(self.until_zero()?);
            let (count, kind) = (self.i64()?, self.u8()?);
            let is_word = kind == 0;
            if is_word != (entry < words) {
                return Err(self.bad("words and labels in another order than said".to_string()));
            }
            if is_word {
                if ids.insert(&*word)? as usize != counts.len() {
                    return Err(self.bad(format!("the word {word:?} a second time")));
                }
                counts.push(u64::try_from(count).unwrap_or_default());
            }
        }
        let kept = match pruned {
            -1 => None,
            count => {
                let count = self.fitting(count, 8, "pruned n-grams")?;
                let mut kept = Vec::with_capacity(count);
                for _ in 0..count {
                    let (bucket, row) = (self.i32()?, self.i32()?);
                    match (u32::try_from(bucket), u32::try_from(row)) {
                        (Ok(bucket), Ok(row)) => kept.push((bucket, row)),
                        _ => return Err(self.bad(format!("n-gram {bucket} in row {row}"))),
                    }
                }
                Some(kept)
            }
        };
        Ok((Vocabulary::from_ids(ids, counts), kept))
    }

    fn shape(&mut self, dim: usize, bytes: usize) -> Result<usize> {
        let (rows, columns) = (self.i64()?, self.i64()?);
        if columns != dim as i64 {
            return Err(self.bad(format!("rows of {columns} values, not {dim}")));
        }
        self.fitting(rows, bytes, "rows")
    }

    fn matrix(&mut self, dim: usize) -> Result<Vec<f32>> {
        let rows = self.shape(dim, dim * 4)?;
        self.floats(rows * dim)
    }

    /// Rows as numbers of centroids, part by part, and perhaps their lengths.
    fn quantised(&mut self, dim: usize) -> Result<Vec<f32>> {
        let with_norms = self.u8()? != 0;
        let rows = self.shape(dim, 1)?;
        let codes = self.i32()?;
        let codes = self.fitting(codes, 1, "codes")?;
        let codes = self.bytes(codes)?;
        let parts = self.quantiser(dim)?;
        if codes.len() != rows * parts.count {
            return Err(self.bad(format!("{} codes for {rows} rows", codes.len())));
        }
        let norms = match with_norms {
            false => None,
            true => {
                let codes = self.bytes(rows)?;
                Some((codes, self.quantiser(1)?))
            }
        };
        let mut values = vec![0.0; rows * dim];
        for (i, (row, codes)) in values
            .chunks_mut(dim)
            .zip(codes.chunks(parts.count))
            .enumerate()
        {
            for (at, (part, &code)) in row.chunks_mut(parts.size).zip(codes).enumerate() {
                part.copy_from_slice(parts.centroid(at, code, part.len()));
            }
            if let Some((codes, lengths)) = &norms {
                kernels::scale(lengths.centroid(0, codes[i], 1)[0], row);
            }
        }
        Ok(values)
    }

    fn quantiser(&mut self, dim: usize) -> Result<Parts> {
        let said = [self.i32()?, self.i32()?, self.i32()?, self.i32()?];
        let [whole, count, size, last] = said.map(|n| usize::try_from(n).unwrap_or(0));
        let fits = whole == dim
            && (1..=dim).contains(&size)
            && count == dim.div_ceil(size)
            && last == dim - (count - 1) * size;
        if !fits {
            return Err(self.bad(format!("vectors of {dim} values in parts of {said:?}")));
        }
        self.fitting(dim as i64, CENTROIDS * 4, "values in centroids")?;
        let centroids = self.floats(dim * CENTROIDS)?;
        Ok(Parts {
            count,
            size,
            centroids,
        })
    }
}

/// A product quantiser: vectors are cut into parts, each near one of 256 centroids.
struct Parts {
    count: usize,
    size: usize,
    /// All centroids of the first part, then of the second, and so on; the last may be shorter.
    centroids: Vec<f32>,
}

impl Parts {
    fn centroid(&self, part: usize, code: u8, length: usize) -> &[f32] {
        let start = part * CENTROIDS * self.size + usize::from(code) * length;
        &self.centroids[start..start + length]
    }
}
