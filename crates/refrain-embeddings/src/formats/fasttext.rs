//! fastText's binary models: `.bin`, and the quantised `.ftz`.
//!
//! ```text
//! magic, version 11 or 12 · settings · words and labels, with counts · numbers of pruned n-grams
//! rows of words and n-grams, plain or quantised · rows of what is told
//! ```
//!
//! A word's vector is the mean of its own row and its n-grams'; n-grams make words that the file does
//! not name, as fastText's `get_word_vector` does (see [`Subwords`]).
//!
//! *Reading* takes skip-gram, bag-of-words and supervised models. Quantised rows are decoded: a `.ftz`
//! file grows to what it was before it was made small. Labels and what is told (the output matrix) are
//! left out; `</s>`, the end of a line, is a word as it is for fastText.
//!
//! *Writing* makes version 12 of a skip-gram model that fastText and gensim load, with zeros for what
//! is told: to ask for vectors, not to go on training. Vectors may differ in their last bits, since a
//! word's own row is what is left of its vector less its n-grams'. N-grams of which some were pruned or
//! that are hashed as another program does, and words with a zero byte, cannot be written.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use rayon::prelude::*;
use refrain_core::{Error as CoreError, IdMap, kernels};

use super::bad;
use super::bytes::Bytes;
use crate::quantized::product::Product;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords, Vocabulary};

const MAGIC: i32 = 793_712_314;
/// Of the first centroids.
const SEED: u64 = 42;
/// Centroids of a part of a quantised row: one for each value of a byte.
const CENTROIDS: usize = 256;

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
    bytes.skip(8)?; // the threshold of subsampling
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

impl<R: Read> Bytes<'_, R> {
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
            let mut word = Vec::new();
            loop {
                match self.u8()? {
                    0 => break,
                    byte => word.push(byte),
                }
            }
            let (count, kind) = (self.i64()?, self.u8()?);
            let is_word = kind == 0;
            if is_word != (entry < words) {
                return Err(self.bad("words and labels in another order than said".to_string()));
            }
            if is_word {
                let word = String::from_utf8_lossy(&word);
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

/// Writes the words, their vectors and their n-grams.
///
/// # Errors
/// [`Error::Vectors`] naming a word that does not fit the format, or that n-grams
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
/// As [`write()`], and [`Error::Config`] unless `part` divides the length of the
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
    let floats = |values: &[f32]| -> Vec<u8> {
        values
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
    };
    let ngrams = subwords.map_or(&[][..], Subwords::values);
    let rows = words.len() + ngrams.len() / dim;
    let own = |(word, vector): (&str, &[f32])| own_row(vector, subwords, word);
    put(&[u8::from(part.is_some())])?;
    match part {
        None => {
            put(&(rows as u64).to_le_bytes())?;
            put(&(dim as u64).to_le_bytes())?;
            for row in embeddings.iter().map(own) {
                put(&floats(&row))?;
            }
            for rows in ngrams.chunks(1 << 16) {
                put(&floats(rows))?;
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
                put(&floats(&product.centroids))?;
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Made by `tests/golden/make_fasttext.py` with fastText itself, as are the vectors below.
    const WORDS: &[u8] = include_bytes!("../../tests/golden/words.bin");
    const LABELS: &[u8] = include_bytes!("../../tests/golden/labels.ftz");

    fn parse(bytes: &[u8]) -> Result<Embeddings> {
        read_from(bytes, bytes.len() as u64, "memory")
    }

    fn assert_vector(words: &Embeddings, word: &str, expected: [f64; 3]) {
        let found = words.embed(word).unwrap();
        for (found, expected) in found.iter().zip(expected) {
            assert!(
                (f64::from(*found) - expected).abs() < 1e-6,
                "{word}: {found} {expected}"
            );
        }
    }

    #[test]
    fn vectors_are_those_of_fasttext() {
        let words = parse(WORDS).unwrap();
        let list = [
            "the", "</s>", "sat", "cat", "on", "mat", "猫", "cats", "and", "mats",
        ];
        assert_eq!(words.vocabulary().ids().iter().collect::<Vec<_>>(), list);
        assert_eq!(words.vocabulary().count(0), Some(9));
        for (word, vector) in [
            (
                "the",
                [
                    0.006201417651027441,
                    -0.0904136523604393,
                    0.06899628788232803,
                ],
            ),
            (
                "猫",
                [
                    -0.06965961307287216,
                    0.003452308475971222,
                    0.009133528918027878,
                ],
            ),
            (
                "cats",
                [
                    -0.001092797378078103,
                    -0.11551089584827423,
                    0.1579298973083496,
                ],
            ),
            (
                "hat",
                [
                    0.042460788041353226,
                    -0.1443355828523636,
                    0.16248998045921326,
                ],
            ),
            (
                "猫s",
                [
                    -0.11815860867500305,
                    -0.08588257431983948,
                    0.056365083903074265,
                ],
            ),
            (
                "</s>",
                [-0.06799440830945969, 0.1623416393995285, 0.0402599535882473],
            ),
        ] {
            assert_vector(&words, word, vector);
        }
        assert_eq!(words.vector("hat"), None);

        // Quantised, with lengths apart, and pruned.
        let words = parse(LABELS).unwrap();
        assert_eq!(words.len(), 40);
        assert!(words.vocabulary().get("__label__up").is_none());
        assert!(words.subwords().unwrap().kept().is_some());
        for (word, vector) in [
            (
                "x1",
                [
                    -0.23513251543045044,
                    -0.029960066080093384,
                    -0.04344955086708069,
                ],
            ),
            (
                "word169",
                [
                    -0.34337231516838074,
                    -0.028240477666258812,
                    -0.278973788022995,
                ],
            ),
            (
                "wordy",
                [
                    -0.6333906650543213,
                    -0.1501610279083252,
                    -0.5062412023544312,
                ],
            ),
            (
                "zzz",
                [
                    0.06218115985393524,
                    0.02236434817314148,
                    -0.3012581169605255,
                ],
            ),
        ] {
            assert_vector(&words, word, vector);
        }
    }

    #[test]
    fn round_trip() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.bin");
        let words = parse(WORDS).unwrap();
        write(&words, &path).unwrap();
        let again = read(&path).unwrap();
        assert_eq!(again.vocabulary(), words.vocabulary());
        assert_eq!(again.subwords(), words.subwords());
        for (a, b) in again.vectors().iter().zip(words.vectors()) {
            assert!((a - b).abs() < 1e-6, "{a} {b}");
        }
        let plain = Embeddings::from_vectors([("a", [1.0, -2.5]), ("b c", [0.0, 1e-20])]).unwrap();
        write(&plain, &path).unwrap();
        let again = read(&path).unwrap();
        assert_eq!((again.vectors(), again.subwords()), (plain.vectors(), None));

        let pruned = parse(LABELS).unwrap();
        assert!(write(&pruned, folder.path().join("no.bin")).is_err());
        let others = Subwords::hashed(3..=3, 1, vec![1.0], SubwordHashing::Finalfusion).unwrap();
        let others = Embeddings::from_subwords(others, ["cat"]).unwrap();
        assert!(write(&others, folder.path().join("no.bin")).is_err());
        let zero = Embeddings::from_vectors([("a\0", [1.0])]).unwrap();
        assert!(write(&zero, folder.path().join("no.bin")).is_err());
        assert!(!folder.path().join("no.bin").exists());
    }

    #[test]
    fn small_files_hold_nearly_the_same_vectors() {
        use rand::RngExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("words.ftz");
        let mut rng = refrain_core::rng::stream(1, 2);
        let mut draw =
            |n: usize| -> Vec<f32> { (0..n).map(|_| rng.random_range(-1.0..1.0)).collect() };
        let rows: Vec<_> = (0..600).map(|i| (format!("word{i}"), draw(8))).collect();
        let plain = Embeddings::from_vectors(rows).unwrap();
        let whole = Subwords::new(3..=4, 8, draw(8 * 500)).unwrap();
        let kept: Vec<u32> = (0..300).map(|i| i * 3).collect();
        let pruned = Subwords::pruned(3..=4, 8, draw(8 * 300), 900, kept).unwrap();
        for subwords in [None, Some(whole), Some(pruned)] {
            let words = match subwords {
                None => plain.clone(),
                Some(subwords) => plain.clone().with_subwords(subwords).unwrap(),
            };
            write_quantised(&words, &path, 2).unwrap();
            let again = read(&path).unwrap();
            assert_eq!(again.vocabulary(), words.vocabulary());
            let kept = |words: &Embeddings| words.subwords().map(|s| s.kept().map(<[u32]>::to_vec));
            assert_eq!(kept(&again), kept(&words));
            let (mut off, mut all) = (0.0, 0.0);
            for word in ["word1", "word333", "word599", "sword", "wordy"] {
                let (Some(a), Some(b)) = (again.embed(word), words.embed(word)) else {
                    continue;
                };
                off += a.iter().zip(&*b).map(|(a, b)| (a - b).powi(2)).sum::<f32>();
                all += b.iter().map(|v| v * v).sum::<f32>();
            }
            assert!(off < 0.03 * all, "{off} of {all}");
        }
        for part in [0, 3] {
            assert!(matches!(
                write_quantised(&plain, &path, part),
                Err(Error::Config { .. })
            ));
        }
    }

    #[test]
    fn every_truncation_is_an_error() {
        // What is told comes last and is not read.
        let told = 17 + 10 * 3 * 4;
        for end in 0..WORDS.len() - told {
            assert!(parse(&WORDS[..end]).is_err(), "{end} bytes");
        }
        assert!(parse(&WORDS[..WORDS.len() - told]).is_ok());
        for end in (0..4000).step_by(7) {
            assert!(parse(&LABELS[..end]).is_err(), "{end} bytes");
        }
        let error = parse(b"7 300\nthe 0.1").unwrap_err().to_string();
        assert!(error.contains("not a model of fastText"), "{error}");
        let mut newer = WORDS.to_vec();
        newer[4] = 13;
        assert!(
            parse(&newer)
                .unwrap_err()
                .to_string()
                .contains("version 13")
        );
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(
            places in proptest::collection::vec((0usize..7885, any::<u8>()), 1..8),
            labels in any::<bool>(),
        ) {
            let mut bytes = if labels { LABELS } else { WORDS }.to_vec();
            for (at, byte) in places {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            let _ = parse(&bytes);
        }
    }
}
