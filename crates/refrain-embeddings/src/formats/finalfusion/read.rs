use std::ops::RangeInclusive;
use std::path::Path;

use rayon::prelude::*;
use refrain_core::{IdMap, MappedFile, Values, kernels};

use super::super::bytes::{self, Bytes};
use super::super::{Gathered, bad};
use super::{
    F32, FASTTEXT, FLORET, HASHED, LISTED, MAGIC, METADATA, NORMS, QUANTISED, ROWS, U8, WORDS,
    padding,
};
use crate::embeddings::inverse_norm;
use crate::{Embeddings, Error, Result, SubwordHashing, Subwords, Vocabulary};

/// The most values that a vector may have.
const MOST: usize = 1 << 20;

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
    Chunks::find(bytes, origin)?.gather(bytes, origin, true)
}

/// Maps a file into memory: its words are read now, and vectors when they are asked for. It must not be
/// changed in place meanwhile.
///
/// Vectors stay as they stand in the file, of length 1 if their lengths are told apart, so that similarity,
/// neighbours and analogies are those of [`read()`], and a [`vector`](crate::Embeddings::vector) is its direction.
/// They are trusted to be finite and, where lengths are told, of length 1. Quantised rows, and all rows
/// where a word stands twice, are read into memory.
///
/// # Errors
/// As [`read()`].
pub fn open(path: impl AsRef<Path>) -> Result<Embeddings> {
    let (file, origin) = bytes::open(path.as_ref())?;
    map(&file, &origin)
}

pub(super) fn map(file: &MappedFile, origin: &str) -> Result<Embeddings> {
    let mut chunks = Chunks::find(file, origin)?;
    let Rows::Plain(place) = chunks.rows.clone() else {
        return chunks.gather(file, origin, false);
    };
    let names = std::mem::take(&mut chunks.names);
    let Ok(ids) = IdMap::from_parts(names.text.into_bytes(), names.ends) else {
        return Chunks::find(file, origin)?.gather(file, origin, false);
    };
    let dim = chunks.dim;
    let split = place.start + ids.len() * dim * 4;
    let vectors = Values::at(file, place.start..split);
    let inverse_norms = match &chunks.norms {
        None => vectors.par_chunks(dim).map(inverse_norm).collect(),
        Some(norms) => {
            if let Some(at) = norms.iter().position(|norm| !norm.is_finite()) {
                let word = ids.name(at as u32).unwrap_or_default().to_string();
                return Err(Error::NotFinite { word });
            }
            let inverse = |&norm: &f32| if norm > 0.0 { 1.0 } else { 0.0 };
            norms.iter().map(inverse).collect()
        }
    };
    let counts = vec![1; ids.len()];
    let vocabulary = Vocabulary::from_ids(ids, counts);
    let words = Embeddings::from_values(vocabulary, dim, vectors, inverse_norms);
    chunks.with_ngrams(words, Values::at(file, split..place.end), origin)
}

/// What stands in a file, checked against its size and each other.
struct Chunks {
    names: Names,
    ngrams: Option<Ngrams>,
    dim: usize,
    /// Of words, and then of n-grams.
    rows: Rows,
    norms: Option<Vec<f32>>,
}

/// Words, end to end.
#[derive(Default)]
struct Names {
    text: String,
    ends: Vec<u64>,
}

impl Names {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let name = |(start, &end)| self.text.get(start as usize..end as usize);
        starts
            .zip(&self.ends)
            .map(move |place| name(place).unwrap_or_default())
    }
}

#[derive(Clone)]
enum Rows {
    /// Where they stand in the file.
    Plain(std::ops::Range<usize>),
    Decoded(Vec<f32>),
}

impl Rows {
    /// How many values they have.
    fn len(&self) -> usize {
        match self {
            Self::Plain(place) => place.len() / 4,
            Self::Decoded(values) => values.len(),
        }
    }
}

struct Ngrams {
    lengths: RangeInclusive<usize>,
    buckets: usize,
    hashing: SubwordHashing,
}

impl Chunks {
    fn find(bytes: &[u8], origin: &str) -> Result<Self> {
        let mut bytes = Bytes::new(bytes, origin);
        if bytes.take()? != MAGIC {
            let reason = "not a file of finalfusion: it does not begin with FiFu";
            return Err(bytes.bad(reason.to_string()));
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
                    bytes.bytes(length)?;
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
        let (names, ngrams): (Names, Option<Ngrams>) =
            words.ok_or_else(|| bad("there is none of words".to_string()))?;
        let (dim, rows) = rows.ok_or_else(|| bad("there is none of vectors".to_string()))?;
        let (named, found) = (names.ends.len(), rows.len() / dim);
        let buckets = ngrams.as_ref().map_or(0, |ngrams| ngrams.buckets);
        if named.checked_add(buckets) != Some(found) {
            return Err(bad(format!(
                "{named} words and {buckets} n-grams, but {found} vectors"
            )));
        }
        if let Some(norms) = norms
            .as_ref()
            .filter(|norms: &&Vec<f32>| norms.len() != named)
        {
            return Err(bad(format!("{named} words, but {} lengths", norms.len())));
        }
        Ok(Self {
            names,
            ngrams,
            dim,
            rows,
            norms,
        })
    }

    /// All in memory; vectors are multiplied by their lengths if `scaled`.
    fn gather(mut self, bytes: &[u8], origin: &str, scaled: bool) -> Result<Embeddings> {
        let dim = self.dim;
        let mut rows = match std::mem::replace(&mut self.rows, Rows::Plain(0..0)) {
            Rows::Plain(place) => bytes::floats(bytes.get(place).unwrap_or_default()),
            Rows::Decoded(values) => values,
        };
        let ngrams = rows.split_off(self.names.ends.len() * dim);
        let mut gathered = Gathered::new();
        let norms = self.norms.take().filter(|_| scaled);
        for (at, (name, row)) in self.names.iter().zip(rows.chunks(dim)).enumerate() {
            let norm = norms.as_ref().and_then(|norms| norms.get(at));
            let norm = norm.copied().unwrap_or(1.0);
            let start = gathered.values.len();
            gathered.values.extend(row.iter().map(|value| value * norm));
            gathered.name(name, start)?;
        }
        self.with_ngrams(gathered.finish(dim)?, Values::Owned(ngrams), origin)
    }

    fn with_ngrams(self, words: Embeddings, values: Values, origin: &str) -> Result<Embeddings> {
        let Some(ngrams) = self.ngrams.filter(|ngrams| ngrams.buckets > 0) else {
            return Ok(words);
        };
        let (lengths, hashing) = (ngrams.lengths, ngrams.hashing);
        let subwords = match values {
            Values::Owned(values) => Subwords::hashed(lengths, self.dim, values, hashing),
            mapped => Subwords::from_values(lengths, self.dim, mapped, None, hashing),
        };
        words.with_subwords(subwords.map_err(|error| match error {
            Error::Config { .. } => bad(origin, "chunks", error.to_string()),
            other => other,
        })?)
    }
}

impl Bytes<'_> {
    fn words(&mut self, kind: u32) -> Result<(Names, Option<Ngrams>)> {
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
                            begin: self.string()?.into_owned(),
                            end: self.string()?.into_owned(),
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
        let mut names = Names::default();
        names.ends.reserve(count);
        for _ in 0..count {
            names.text.push_str(&self.string()?);
            names.ends.push(names.text.len() as u64);
        }
        Ok((names, ngrams))
    }

    fn string(&mut self) -> Result<std::borrow::Cow<'_, str>> {
        let length = self.u32()?;
        let length = self.fitting(length, 1, "bytes in a word")?;
        Ok(String::from_utf8_lossy(self.bytes(length)?))
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
        self.bytes(padding(self.at())).map(drop)
    }

    /// The length of the vectors and their values.
    fn rows(&mut self) -> Result<(usize, Rows)> {
        let (rows, dim) = (self.u64()?, self.u32()?);
        let dim = self.count(dim, 1, MOST, "values in a vector")?;
        self.of_type(F32)?;
        self.pad()?;
        let rows = self.fitting(rows, dim * 4, "vectors")?;
        Ok((dim, Rows::Plain(self.place(rows * dim * 4)?)))
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
    fn decoded(&mut self) -> Result<(usize, Rows)> {
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
        Ok((dim, Rows::Decoded(values)))
    }
}
