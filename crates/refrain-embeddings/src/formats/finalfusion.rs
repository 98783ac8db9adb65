//! finalfusion's files, `.fifu`: chunks of words, vectors and their lengths.
//!
//! ```text
//! FiFu, version 0, kinds of the chunks · each chunk with its kind and length:
//! metadata · words and how n-grams are hashed · rows of words and n-grams, plain or quantised · lengths
//! ```
//!
//! *Reading* takes all kinds but n-grams that are listed one by one instead of hashed. Words' rows have
//! length 1 and their lengths stand apart; they are multiplied, so that vectors are what they were before.
//! Quantised rows are decoded. Metadata are left out.
//!
//! *Writing* makes plain rows and lengths, or [quantised](write_quantised) ones, and n-grams as they are
//! hashed: fastText's, finalfusion's own in a number of rows that is a power of two, or floret's, which
//! stand without words. N-grams of which some were pruned cannot be written. Vectors may differ in their
//! last bits, since they are divided by their lengths.
//!
//! Quirks: before rows there are 1 to 4 bytes, 4 where none were needed. finalfusion takes the sum of the
//! n-grams' rows for a word that it does not know, and makes it of length 1; here it is their mean, which
//! points the same way. It takes a mark alone for an n-gram of fastText's and floret's too, which those do
//! not; this can matter where the least length is 1, and they are followed. Lengths of chunks are used for
//! metadata only. Of words that stand twice the first is kept.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::ops::RangeInclusive;
use std::path::Path;

use rayon::prelude::*;
use refrain_core::{Error as CoreError, kernels};

use super::bytes::Bytes;
use super::{Gathered, bad};
use crate::quantized::product::Product;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords};

const MAGIC: [u8; 4] = *b"FiFu";

// Kinds of chunks.
const WORDS: u32 = 1;
const ROWS: u32 = 2;
const HASHED: u32 = 3;
const QUANTISED: u32 = 4;
const METADATA: u32 = 5;
const NORMS: u32 = 6;
const FASTTEXT: u32 = 7;
const LISTED: u32 = 8;
const FLORET: u32 = 9;

// Types of numbers.
const U8: u32 = 1;
const F32: u32 = 10;

/// Of the first centroids.
const SEED: u64 = 42;
/// The most values that a vector may have.
const MOST: usize = 1 << 20;

/// Reads the words, their vectors and their n-grams.
///
/// # Errors
/// [`Error::Vectors`] naming the place in the file.
pub fn read(path: impl AsRef<Path>) -> Result<Embeddings> {
    let path = path.as_ref();
    let io = |error| CoreError::io(path, error);
    let file = File::open(path).map_err(io)?;
    let size = file.metadata().map_err(io)?.len();
    let reader = BufReader::with_capacity(1 << 20, file);
    read_from(reader, size, &path.display().to_string())
}

/// Reads from `reader`, which gives `size` bytes; `origin` names it in errors.
///
/// # Errors
/// As [`read`].
pub fn read_from(reader: impl Read, size: u64, origin: &str) -> Result<Embeddings> {
    let mut bytes = Bytes::new(reader, size, origin);
    if bytes.take()? != MAGIC {
        return Err(bytes.bad("not a file of finalfusion: it does not begin with FiFu".to_string()));
    }
    let version = bytes.u32()?;
    if version != 0 {
        return Err(bytes.bad(format!("version {version}: 0 can be read")));
    }
    let count = bytes.u32()?;
    let count = bytes.fitting(count, 4, "chunks")?;
    let kinds: Result<Vec<u32>> = (0..count).map(|_| bytes.u32()).collect();
    let (mut words, mut rows, mut norms) = (None, None, None);
    for said in kinds? {
        let (kind, length) = (bytes.u32()?, bytes.u64()?);
        if kind != said {
            return Err(bytes.bad(format!("a chunk of kind {kind} where {said} was said")));
        }
        let twice = match kind {
            WORDS | HASHED | FASTTEXT | FLORET => words.replace(bytes.words(kind)?).is_some(),
            ROWS => rows.replace(bytes.rows()?).is_some(),
            QUANTISED => rows.replace(bytes.decoded()?).is_some(),
            NORMS => norms.replace(bytes.norms()?).is_some(),
            METADATA => {
                let length = bytes.fitting(length, 1, "bytes of metadata")?;
                bytes.skip(length)?;
                false
            }
            LISTED => {
                let reason = "n-grams that are listed one by one cannot be read";
                return Err(bytes.bad(reason.to_string()));
            }
            _ => return Err(bytes.bad(format!("a chunk of unknown kind {kind}"))),
        };
        if twice {
            return Err(bytes.bad(format!("a second chunk like that of kind {kind}")));
        }
    }
    let bad = |reason: String| bad(origin, "chunks", reason);
    let words: Words = words.ok_or_else(|| bad("there is none of words".to_string()))?;
    let (dim, mut rows) = rows.ok_or_else(|| bad("there is none of vectors".to_string()))?;
    let (named, found) = (words.names.len(), rows.len() / dim);
    let buckets = words.ngrams.as_ref().map_or(0, |ngrams| ngrams.buckets);
    if named.checked_add(buckets) != Some(found) {
        return Err(bad(format!(
            "{named} words and {buckets} n-grams, but {found} vectors"
        )));
    }
    if let Some(norms) = norms.as_ref().filter(|norms| norms.len() != named) {
        return Err(bad(format!("{named} words, but {} lengths", norms.len())));
    }
    let ngrams = rows.split_off(named * dim);
    let mut gathered = Gathered::new();
    for (at, (name, row)) in words.names.iter().zip(rows.chunks(dim)).enumerate() {
        let norm = norms.as_ref().and_then(|norms| norms.get(at));
        let norm = norm.copied().unwrap_or(1.0);
        let start = gathered.values.len();
        gathered.values.extend(row.iter().map(|value| value * norm));
        gathered.name(name, start)?;
    }
    let embeddings = gathered.finish(dim)?;
    match words.ngrams.filter(|ngrams| ngrams.buckets > 0) {
        None => Ok(embeddings),
        Some(Ngrams {
            lengths, hashing, ..
        }) => {
            let subwords = Subwords::hashed(lengths, dim, ngrams, hashing);
            embeddings.with_subwords(subwords.map_err(|error| match error {
                Error::Config { .. } => bad(error.to_string()),
                other => other,
            })?)
        }
    }
}

/// The chunk of words.
struct Words {
    names: Vec<String>,
    ngrams: Option<Ngrams>,
}

struct Ngrams {
    lengths: RangeInclusive<usize>,
    buckets: usize,
    hashing: SubwordHashing,
}

impl<R: Read> Bytes<'_, R> {
    fn words(&mut self, kind: u32) -> Result<Words> {
        let count = match kind {
            FLORET => 0,
            _ => self.u64()?,
        };
        let ngrams = match kind {
            WORDS => None,
            _ => {
                let (least, most) = (self.u32()?, self.u32()?);
                let (buckets, hashing) = match kind {
                    HASHED => {
                        let exponent = self.u32()?;
                        let exponent = self.count(exponent, 0, 31, "as the exponent of n-grams")?;
                        (1 << exponent, SubwordHashing::Finalfusion)
                    }
                    FASTTEXT => (self.u32()?.into(), SubwordHashing::FastText),
                    _ => (
                        self.u64()?,
                        SubwordHashing::Floret {
                            hashes: self.u32()?,
                            seed: self.u32()?,
                            begin: self.string()?,
                            end: self.string()?,
                        },
                    ),
                };
                Some(Ngrams {
                    lengths: least as usize..=most as usize,
                    buckets: self.count(buckets, 0, u32::MAX as usize, "rows of n-grams")?,
                    hashing,
                })
            }
        };
        let count = self.fitting(count, 4, "words")?;
        let names: Result<Vec<String>> = (0..count).map(|_| self.string()).collect();
        Ok(Words {
            names: names?,
            ngrams,
        })
    }

    fn string(&mut self) -> Result<String> {
        let length = self.u32()?;
        let length = self.fitting(length, 1, "bytes in a word")?;
        Ok(String::from_utf8_lossy(&self.bytes(length)?).into_owned())
    }

    /// Refuses numbers of another type.
    fn of_type(&mut self, wanted: u32) -> Result<()> {
        match self.u32()? {
            found if found == wanted => Ok(()),
            found => Err(self.bad(format!("numbers of type {found}, not {wanted}"))),
        }
    }

    /// Goes to the next place that is a multiple of four, and not the one where it stands.
    fn pad(&mut self) -> Result<()> {
        self.skip(padding(self.at()))
    }

    /// The length of the vectors and their values.
    fn rows(&mut self) -> Result<(usize, Vec<f32>)> {
        let (rows, dim) = (self.u64()?, self.u32()?);
        let dim = self.count(dim, 1, MOST, "values in a vector")?;
        self.of_type(F32)?;
        self.pad()?;
        let rows = self.fitting(rows, dim * 4, "vectors")?;
        Ok((dim, self.floats(rows * dim)?))
    }

    fn norms(&mut self) -> Result<Vec<f32>> {
        let count = self.u64()?;
        self.of_type(F32)?;
        self.pad()?;
        let count = self.fitting(count, 4, "lengths")?;
        self.floats(count)
    }

    /// Quantised rows as they were, nearly: each part is that of a centroid, all are turned if there is a
    /// projection, and multiplied by the row's length if there is one.
    fn decoded(&mut self) -> Result<(usize, Vec<f32>)> {
        let (turned, scaled) = (self.u32()? != 0, self.u32()? != 0);
        let (parts, dim) = (self.u32()?, self.u32()?);
        let (centroids, rows) = (self.u32()?, self.u64()?);
        let dim = self.count(dim, 1, MOST, "values in a vector")?;
        let parts = self.count(parts, 1, dim, "parts of a vector")?;
        let centroids = self.count(centroids, 1, 256, "centroids")?;
        if dim % parts != 0 {
            return Err(self.bad(format!("vectors of {dim} values in {parts} parts")));
        }
        self.of_type(U8)?;
        self.of_type(F32)?;
        self.pad()?;
        let projection = match turned {
            false => None,
            true => {
                let square = self.fitting((dim as i128).pow(2), 4, "values in a projection")?;
                Some(self.floats(square)?)
            }
        };
        let points = self.fitting((centroids * dim) as i128, 4, "values in centroids")?;
        let points = self.floats(points)?;
        let bytes = parts + if scaled { 4 } else { 0 };
        let rows = self.fitting(rows, bytes, "vectors")?;
        let norms = match scaled {
            false => None,
            true => Some(self.floats(rows)?),
        };
        let codes = self.bytes(rows * parts)?;
        if let Some(code) = codes.iter().find(|&&code| usize::from(code) >= centroids) {
            return Err(self.bad(format!("centroid {code} of {centroids}")));
        }
        // Much larger than the file, it may be.
        let mut values = Vec::new();
        let count = rows.checked_mul(dim);
        let Some(count) = count.filter(|&count| values.try_reserve_exact(count).is_ok()) else {
            return Err(self.bad(format!("no memory for {rows} vectors of {dim} values")));
        };
        values.resize(count, 0.0);
        let size = dim / parts;
        let decode = |(at, (row, codes)): (usize, (&mut [f32], &[u8]))| {
            for (part, (to, &code)) in row.chunks_mut(size).zip(codes).enumerate() {
                let from = (part * centroids + usize::from(code)) * size;
                to.copy_from_slice(&points[from..from + size]);
            }
            if let Some(projection) = &projection {
                let turned = projection.chunks(dim).map(|axis| kernels::dot(axis, row));
                let turned: Vec<f32> = turned.collect();
                row.copy_from_slice(&turned);
            }
            if let Some(norms) = &norms {
                kernels::scale(norms[at], row);
            }
        };
        let coded = values.par_chunks_mut(dim).zip(codes.par_chunks(parts));
        coded.enumerate().for_each(decode);
        Ok((dim, values))
    }
}

/// How many bytes stand before rows of numbers.
fn padding(at: u64) -> usize {
    4 - (at % 4) as usize
}

/// Writes the words, their vectors and their n-grams.
///
/// # Errors
/// [`Error::Vectors`] naming what does not fit the format; and when the file cannot be written.
pub fn write(embeddings: &Embeddings, path: impl AsRef<Path>) -> Result<()> {
    write_as(embeddings, path.as_ref(), None)
}

/// Writes the directions of all rows in `parts` bytes each (see
/// [`Quantization`](crate::Quantization)), and their lengths.
///
/// # Errors
/// As [`write()`], and [`Error::Config`] unless the parts divide the length of the vectors.
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
    let pad = padding(words.len() as u64);
    let floats =
        |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|v| v.to_le_bytes()).collect() };
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
                put(&floats(&unit))?;
            }
            for values in ngrams.chunks(1 << 16) {
                put(&floats(values))?;
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
            put(&floats(&product.centroids))?;
            put(&floats(&lengths))?;
            put(&product.encode(&values))?;
        }
    }
    if kind != FLORET {
        // Codes are as many bytes as they are; all else but them ends at a multiple of four.
        let pad = padding((rows * parts.unwrap_or(0)) as u64);
        put(&NORMS.to_le_bytes())?;
        put(&((12 + pad + norms.len() * 4) as u64).to_le_bytes())?;
        put(&(norms.len() as u64).to_le_bytes())?;
        put(&F32.to_le_bytes())?;
        put(&[0; 4][..pad])?;
        put(&floats(&norms))?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{fasttext, floret};
    use super::*;

    // Made by `tests/golden/make_finalfusion.py` and, the last, `make_finalfusion.rs` with finalfusion
    // itself, as are the vectors below.
    const FASTTEXT: &[u8] = include_bytes!("../../tests/golden/fasttext.fifu");
    const BUCKET: &[u8] = include_bytes!("../../tests/golden/bucket.fifu");
    const QUANTISED: &[u8] = include_bytes!("../../tests/golden/quantised.fifu");
    const FLORET: &[u8] = include_bytes!("../../tests/golden/floret.fifu");
    const FILES: [&[u8]; 4] = [FASTTEXT, BUCKET, QUANTISED, FLORET];

    #[test]
    fn small_files_hold_nearly_the_same_vectors() {
        use rand::RngExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.fifu");
        let mut rng = refrain_core::rng::stream(1, 2);
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        // Numbers of words and of bytes of all remainders by four.
        for count in 600..604 {
            let rows: Vec<_> = (0..count).map(|i| (format!("word{i}"), draw(6))).collect();
            let plain = Embeddings::from_vectors(rows).unwrap();
            let ngrams = Subwords::hashed(3..=4, 6, draw(6 * 512), SubwordHashing::Finalfusion);
            let whole = plain.clone().with_subwords(ngrams.unwrap()).unwrap();
            for words in [plain, whole] {
                write_quantised(&words, &path, 3).unwrap();
                let again = read(&path).unwrap();
                assert_eq!(again.vocabulary().ids(), words.vocabulary().ids());
                assert_eq!(again.subwords().is_some(), words.subwords().is_some());
                let (mut off, mut all) = (0.0, 0.0);
                for word in ["word1", "word333", "word599", "sword", "wordy"] {
                    let (Some(a), Some(b)) = (again.embed(word), words.embed(word)) else {
                        continue;
                    };
                    off += a.iter().zip(&*b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
                    all += b.iter().map(|v| v * v).sum::<f32>();
                }
                assert!(off < 0.03 * all, "{off} of {all}");
                for parts in [0, 4] {
                    assert!(matches!(
                        write_quantised(&words, &path, parts),
                        Err(Error::Config { .. })
                    ));
                }
            }
        }
    }

    fn parse(bytes: &[u8]) -> Result<Embeddings> {
        read_from(bytes, bytes.len() as u64, "memory")
    }

    /// The vector of `word`, made of so many rows, is the sum that finalfusion gives.
    fn assert_sum(words: &Embeddings, word: &str, rows: usize, expected: &[f64]) {
        let found = words.embed(word).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            let found = f64::from(*found) * rows as f64;
            assert!(
                (found - expected).abs() < 1e-5 * rows as f64,
                "{word}: {found} {expected}"
            );
        }
    }

    #[test]
    fn vectors_are_those_of_finalfusion() {
        let words = parse(FASTTEXT).unwrap();
        let list = [
            "the", "</s>", "sat", "cat", "on", "mat", "猫", "cats", "and", "mats",
        ];
        assert_eq!(words.vocabulary().ids().iter().collect::<Vec<_>>(), list);
        for (word, rows, sum) in [
            (
                "the",
                1,
                [
                    0.006201416254043579,
                    -0.0904136523604393,
                    0.06899628788232803,
                ],
            ),
            (
                "猫",
                1,
                [
                    -0.06965961307287216,
                    0.003452308475971222,
                    0.009133528918027878,
                ],
            ),
            (
                "cats",
                1,
                [
                    -0.0010927972616627812,
                    -0.11551090329885483,
                    0.15792988240718842,
                ],
            ),
            (
                "hat",
                9,
                [0.3821471333503723, -1.2990202903747559, 1.4624097347259521],
            ),
            (
                "猫s",
                6,
                [-0.7089516520500183, -0.5152954459190369, 0.3381905257701874],
            ),
        ] {
            assert_sum(&words, word, rows, &sum);
        }
        let model = include_bytes!("../../tests/golden/words.bin");
        let model = fasttext::read_from(&model[..], model.len() as u64, "memory").unwrap();
        assert_eq!(words.subwords(), model.subwords());

        let words = parse(BUCKET).unwrap();
        let subwords = words.subwords().unwrap();
        assert_eq!(subwords.hashing(), &SubwordHashing::Finalfusion);
        assert_eq!((subwords.lengths(), subwords.buckets()), (1..=4, 8));
        for (word, rows, sum) in [
            (
                "two",
                1,
                [-1.3031572103500366, 0.9053559303283691, 0.4463745951652527],
            ),
            (
                "naïve 猫",
                1,
                [-0.5369532108306885, 0.581118106842041, 0.3645724058151245],
            ),
            (
                "three",
                22,
                [-4.744568824768066, -2.7313413619995117, 3.076782703399658],
            ),
            (
                "猫",
                6,
                [
                    -0.448728084564209,
                    -0.09859273582696915,
                    -0.2948557138442993,
                ],
            ),
            (
                "incomprehensible",
                66,
                [
                    -23.92610740661621,
                    -13.256156921386719,
                    -0.12464720010757446,
                ],
            ),
        ] {
            assert_sum(&words, word, rows, &sum);
        }

        let words = parse(QUANTISED).unwrap();
        assert_eq!((words.len(), words.dim()), (5, 6));
        let a = [
            1.5924687385559082,
            -1.7635321617126465,
            -0.35590824484825134,
            -0.18964913487434387,
            0.04393095150589943,
            -0.9236869215965271,
        ];
        assert_sum(&words, "a", 1, &a);
        let ef = [
            0.019194036722183228,
            0.026999082416296005,
            0.13751183450222015,
            0.14154689013957977,
            0.06939766556024551,
            0.1610785871744156,
        ];
        assert_sum(&words, "e f", 1, &ef);

        let words = parse(FLORET).unwrap();
        let text = include_str!("../../tests/golden/words.floret");
        let subwords = floret::parse(text.as_bytes(), "memory").unwrap();
        assert_eq!((words.len(), words.subwords()), (0, Some(&subwords)));
        assert_sum(&words, "cats", 39, &[2.296229, -0.35413894, 5.2887726]);
        assert_sum(&words, "猫", 12, &[-0.4952371, -0.68035704, 1.619314]);
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.fifu");
        let plain = [
            ("", [0.0, 0.0]),
            ("a b", [1.0, -2.5]),
            ("猫", [1e20, -1e15]),
        ];
        let plain = Embeddings::from_vectors(plain).unwrap();
        let mut all = vec![plain];
        all.extend(FILES.map(|bytes| parse(bytes).unwrap()));
        for words in all {
            write(&words, &path).unwrap();
            let again = read(&path).unwrap();
            assert_eq!(again.vocabulary(), words.vocabulary());
            assert_eq!(again.subwords(), words.subwords());
            for (a, b) in again.vectors().iter().zip(words.vectors()) {
                assert!((a - b).abs() <= 1e-6 * b.abs(), "{a} {b}");
            }
        }
        // What has no lengths is the same to the last byte, and so are the chunks of what has.
        write(&parse(FLORET).unwrap(), &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), FLORET);
        write(&parse(BUCKET).unwrap(), &path).unwrap();
        let again = std::fs::read(&path).unwrap();
        assert_eq!((again.len(), &again[..120]), (BUCKET.len(), &BUCKET[..120]));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("none.fifu");
        let refused = |subwords: Subwords| {
            let words = Embeddings::from_subwords(subwords, ["cat"]).unwrap();
            write(&words, &path).unwrap_err().to_string()
        };
        let three = Subwords::hashed(1..=3, 1, vec![1.0; 3], SubwordHashing::Finalfusion);
        assert!(refused(three.unwrap()).contains("power of two"));
        let kept = (0..4).collect();
        let pruned = Subwords::pruned(1..=3, 1, vec![1.0; 4], 4, kept).unwrap();
        assert!(refused(pruned).contains("pruned"));
        let floret = parse(FLORET).unwrap().subwords().cloned().unwrap();
        assert!(refused(floret).contains("without words"));
        let long = Embeddings::from_vectors([("a", [f32::MAX; 2])]).unwrap();
        assert!(write(&long, &path).is_err());
        assert!(!path.exists());
    }

    #[test]
    fn every_truncation_is_an_error() {
        for file in FILES {
            for end in 0..file.len() {
                assert!(parse(&file[..end]).is_err(), "{end} bytes");
            }
        }
    }

    #[test]
    fn errors_say_what_is_wrong() {
        let edited = |bytes: &[u8], at: usize, value: u8| {
            let mut bytes = bytes.to_vec();
            bytes[at] = value;
            parse(&bytes).map(|_| ()).unwrap_err().to_string()
        };
        // The header of BUCKET: FiFu, version, 3 chunks, of kinds 3, 2 and 6; then the chunk of words:
        // its kind and length, 3 words, lengths 1 to 4, exponent 3.
        for (at, value, says) in [
            (0, b'f', "does not begin with FiFu"),
            (4, 1, "version 1"),
            (11, 1, "chunks"),
            (12, 1, "a chunk of kind 3 where 1 was said"),
            (39, 1, "words"),
            (44, 5, "lengths is 5 to 4"),
            (52, 4, "3 words and 16 n-grams, but 11 vectors"),
            (52, 32, "32 as the exponent"),
        ] {
            let error = edited(BUCKET, at, value);
            assert!(error.contains(says), "{at} {value}: {error}");
        }
        let chunk = |kind: u32| {
            let mut bytes = MAGIC.to_vec();
            for number in [0, 1, kind, kind, 0, 0] {
                bytes.extend(number.to_le_bytes());
            }
            bytes.extend([0; 40]);
            parse(&bytes).map(|_| ()).unwrap_err().to_string()
        };
        assert!(chunk(LISTED).contains("listed one by one"));
        assert!(chunk(10).contains("unknown kind 10"));
        assert!(chunk(METADATA).contains("none of words"));
        assert!(chunk(WORDS).contains("none of vectors"));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            file in 0usize..4,
            places in proptest::collection::vec((any::<usize>(), any::<u8>()), 1..8),
            early in any::<bool>(),
        ) {
            let mut bytes = FILES[file].to_vec();
            for (at, byte) in places {
                let within = if early { 120 } else { bytes.len() };
                bytes[at % within] = byte;
            }
            if let Ok(words) = parse(&bytes) {
                let _ = words.embed("words");
            }
        }
    }
}
