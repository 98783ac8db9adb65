//! Vectors of character n-grams, from which words that were never seen get vectors too (Bojanowski,
//! Grave, Joulin and Mikolov, *Enriching Word Vectors with Subword Information*, 2017).
//!
//! A word is written with a mark at each end, `<where>`, and cut into all n-grams of a range of
//! lengths, `<wh`, `whe`, `her`, `ere`, `re>`. Each n-gram is hashed to one of a fixed number of
//! rows, and a word's vector is the mean of its n-grams' rows and, if the word is known, of its own.
//! [`SubwordHashing`] says which rows.

use std::ops::RangeInclusive;

use refrain_core::{Values, kernels};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How n-grams are numbered, which each program does in its own way.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SubwordHashing {
    /// fastText, and our own training: FNV-1a of 32 bits, which takes bytes as signed numbers. A mark
    /// alone is no n-gram.
    #[default]
    FastText,
    /// floret: MurmurHash3, whose 128 bits are four numbers. The whole of a word with its marks counts as
    /// one n-gram more; a mark alone is none. Lengths up to 0 leave the whole words.
    Floret {
        /// How many of the four numbers an n-gram has, each of which gives it a row.
        hashes: u32,
        /// Where hashing begins.
        seed: u32,
        /// The mark at the begin of a word, `<` in floret itself.
        begin: String,
        /// The mark at the end, `>`.
        end: String,
    },
    /// finalfusion: FNV-1a of 64 bits, which takes the number of characters and then the characters. A mark
    /// alone is an n-gram of one.
    Finalfusion,
}

/// The n-grams of a range of lengths and their vectors.
///
/// ```
/// use refrain_embeddings::{Embeddings, Subwords};
/// // four rows of one value; a word's vector is the mean of its n-grams' rows
/// let subwords = Subwords::new(3..=3, 1, vec![1.0, 2.0, 3.0, 4.0])?;
/// let words = Embeddings::from_vectors([("cat", [2.5])])?.with_subwords(subwords)?;
/// assert_eq!(words.vector("cats"), None); // not a word of the vocabulary
/// assert!(words.embed("cats").is_some_and(|v| v[0] >= 1.0));
/// assert_eq!(words.embed(""), None); // the marks alone make no n-gram of three letters
/// # Ok::<(), refrain_embeddings::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Subwords {
    least: usize,
    most: usize,
    buckets: usize,
    /// The buckets that have rows, ascending, when not all have.
    kept: Option<Vec<u32>>,
    hashing: SubwordHashing,
    dim: usize,
    values: Values,
}

impl Subwords {
    /// N-grams of `lengths` characters, whose rows of `dim` values lie end to end in `values`; they are
    /// numbered as fastText does.
    ///
    /// # Errors
    /// [`Error::Config`] when the range is empty or begins below 1, or there are no rows;
    /// [`Error::Shape`] when `values` are not whole rows; [`Error::NotFinite`].
    pub fn new(lengths: RangeInclusive<usize>, dim: usize, values: Vec<f32>) -> Result<Self> {
        Self::hashed(lengths, dim, values, SubwordHashing::FastText)
    }

    /// N-grams that are numbered as another program does.
    ///
    /// # Errors
    /// As [`Subwords::new`], but floret's lengths may be 0; and [`Error::Config`] unless it has 1 to 4
    /// hashes.
    pub fn hashed(
        lengths: RangeInclusive<usize>,
        dim: usize,
        values: Vec<f32>,
        hashing: SubwordHashing,
    ) -> Result<Self> {
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                word: format!("row {} of the n-grams", at / dim.max(1)),
            });
        }
        Self::from_values(lengths, dim, Values::Owned(values), None, hashing)
    }

    /// N-grams of which only those that hash to one of the ascending numbers `kept` of `buckets` have a
    /// row, in this order; words are made of these alone.
    ///
    /// # Errors
    /// As [`Subwords::new`], and [`Error::Config`] unless `kept` ascends below `buckets`.
    pub fn pruned(
        lengths: RangeInclusive<usize>,
        dim: usize,
        values: Vec<f32>,
        buckets: usize,
        kept: Vec<u32>,
    ) -> Result<Self> {
        let whole = Self::new(lengths.clone(), dim, values)?;
        let kept = Some((buckets, kept));
        Self::from_values(lengths, dim, whole.values, kept, SubwordHashing::FastText)
    }

    /// Rows whose values were checked when they were written.
    pub(crate) fn from_values(
        lengths: RangeInclusive<usize>,
        dim: usize,
        values: Values,
        kept: Option<(usize, Vec<u32>)>,
        hashing: SubwordHashing,
    ) -> Result<Self> {
        let (least, most) = (*lengths.start(), *lengths.end());
        match hashing {
            SubwordHashing::Floret { hashes, .. } if !(1..=4).contains(&hashes) => {
                return Err(Error::Config {
                    field: "hashes",
                    value: hashes.to_string(),
                    reason: "choose between 1 and 4",
                });
            }
            SubwordHashing::Floret { .. } if least <= most && most == 0 => {}
            SubwordHashing::Floret { .. } => check_lengths(least.max(1), most)?,
            _ => check_lengths(least, most)?,
        }
        let rows = values.len() / dim.max(1);
        let (buckets, kept) = match kept {
            None => (rows, None),
            Some((buckets, kept)) => {
                let rising = kept.windows(2).all(|pair| pair[0] < pair[1]);
                let last = kept.last().map_or(0, |&last| last as usize + 1);
                if !rising || last > buckets || kept.len() != rows {
                    return Err(Error::Config {
                        field: "kept",
                        value: format!("{} numbers up to {last}", kept.len()),
                        reason: "must ascend below the number of buckets, one for each row",
                    });
                }
                (buckets, Some(kept))
            }
        };
        if rows == 0 || buckets > u32::MAX as usize {
            return Err(Error::Config {
                field: "buckets",
                value: buckets.to_string(),
                reason: "choose between 1 and 4294967295",
            });
        }
        if rows * dim != values.len() {
            return Err(Error::Shape {
                what: format!("rows of n-grams, {dim} values each"),
                expected: rows * dim,
                found: values.len(),
            });
        }
        Ok(Self {
            least,
            most,
            buckets,
            kept,
            hashing,
            dim,
            values,
        })
    }

    /// The same n-grams with other rows, as many.
    pub(crate) fn with_values(&self, values: Vec<f32>) -> Self {
        debug_assert_eq!(values.len(), self.values.len());
        Self {
            values: Values::Owned(values),
            ..self.clone()
        }
    }

    /// How many characters the n-grams have.
    pub fn lengths(&self) -> RangeInclusive<usize> {
        self.least..=self.most
    }

    /// The numbers that have rows, when not all have.
    pub fn kept(&self) -> Option<&[u32]> {
        self.kept.as_deref()
    }

    /// How n-grams are numbered.
    pub fn hashing(&self) -> &SubwordHashing {
        &self.hashing
    }

    /// How many numbers n-grams are hashed to.
    pub fn buckets(&self) -> usize {
        self.buckets
    }

    /// The length of the rows.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All rows, `[buckets, dim]` unless some were left out.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Calls `each` with the row number of each n-gram of `word`; one that occurs twice comes twice.
    pub fn rows(&self, word: &str, mut each: impl FnMut(u32)) {
        let (least, most, buckets) = (self.least, self.most, self.buckets as u32);
        let mut row = |bucket: u32| match &self.kept {
            None => each(bucket),
            Some(kept) => {
                if let Ok(row) = kept.binary_search(&bucket) {
                    each(row as u32);
                }
            }
        };
        match &self.hashing {
            SubwordHashing::FastText => rows(word, least, most, buckets, row),
            SubwordHashing::Floret {
                hashes,
                seed,
                begin,
                end,
            } => {
                if word == END_OF_LINE {
                    return;
                }
                let marked = format!("{begin}{word}{end}");
                let mut number = |ngram: &str| {
                    let hash = murmur3(ngram.as_bytes(), *seed);
                    (0..*hashes).for_each(|part| row((hash >> (32 * part)) as u32 % buckets));
                };
                number(&marked);
                ngrams(&marked, least.max(1), most, |ngram, mark| {
                    if !mark {
                        number(ngram);
                    }
                });
            }
            SubwordHashing::Finalfusion => {
                ngrams(&format!("<{word}>"), least, most, |ngram, _| {
                    row((fnv64(ngram) % u64::from(buckets)) as u32);
                });
            }
        }
    }

    /// The mean of the rows of `word`'s n-grams; `None` when it has none.
    pub fn embed(&self, word: &str) -> Option<Vec<f32>> {
        let (mut sum, mut count) = (vec![0.0; self.dim], 0u32);
        self.rows(word, |row| {
            let at = row as usize * self.dim;
            if let Some(values) = self.values.get(at..at + self.dim) {
                kernels::axpy(1.0, values, &mut sum);
                count += 1;
            }
        });
        let mean = 1.0 / count as f32;
        sum.iter_mut().for_each(|value| *value *= mean);
        (count > 0).then_some(sum)
    }
}

/// Refuses lengths of n-grams that make none.
pub(crate) fn check_lengths(least: usize, most: usize) -> Result<()> {
    match 1 <= least && least <= most && most <= 64 {
        true => Ok(()),
        false => Err(Error::Config {
            field: "lengths",
            value: format!("{least} to {most}"),
            reason: "choose a range of lengths between 1 and 64",
        }),
    }
}

/// The word that stands for the end of a line in fastText and floret, and has no n-grams.
const END_OF_LINE: &str = "</s>";

/// The row of each n-gram of `<word>` as the program fastText numbers them: FNV-1a of the bytes,
/// each taken as a signed number, modulo the rows. An n-gram of one character that is a mark is
/// left out, and so is the whole of `</s>`, which stands for the end of a line.
pub(crate) fn rows(word: &str, least: usize, most: usize, buckets: u32, mut each: impl FnMut(u32)) {
    if word == END_OF_LINE || buckets == 0 {
        return;
    }
    ngrams(&format!("<{word}>"), least, most, |ngram, mark| {
        if !mark {
            each(fnv(ngram.as_bytes()) % buckets);
        }
    });
}

/// The n-grams of a word with its marks, by their starts and then their lengths, and whether they are
/// no more than the first or last character.
fn ngrams(marked: &str, least: usize, most: usize, mut each: impl FnMut(&str, bool)) {
    let starts: Vec<usize> = marked
        .char_indices()
        .map(|(at, _)| at)
        .chain([marked.len()])
        .collect();
    let characters = starts.len() - 1;
    for first in 0..characters {
        for n in least..=most.min(characters - first) {
            let ngram = marked.get(starts[first]..starts[first + n]);
            let mark = n == 1 && (first == 0 || first + 1 == characters);
            each(ngram.unwrap_or_default(), mark);
        }
    }
}

/// FNV-1a with bytes as signed numbers, as fastText has it.
pub(crate) fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, &byte| {
        (hash ^ i32::from(byte as i8) as u32).wrapping_mul(16_777_619)
    })
}

/// FNV-1a of 64 bits over the number of characters and the characters, as finalfusion has it.
fn fnv64(ngram: &str) -> u64 {
    let length = (ngram.chars().count() as u64).to_le_bytes();
    let characters = ngram.chars().flat_map(|char| u32::from(char).to_le_bytes());
    let bytes = length.into_iter().chain(characters);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    })
}

/// MurmurHash3 of 128 bits for machines of 64, by Austin Appleby (public domain).
fn murmur3(bytes: &[u8], seed: u32) -> u128 {
    const C1: u64 = 0x87c3_7b91_1142_53d5;
    const C2: u64 = 0x4cf5_ad43_2745_937f;
    let first = |k: u64| k.wrapping_mul(C1).rotate_left(31).wrapping_mul(C2);
    let second = |k: u64| k.wrapping_mul(C2).rotate_left(33).wrapping_mul(C1);
    let halves = |block: [u8; 16]| {
        let block = u128::from_le_bytes(block);
        (first(block as u64), second((block >> 64) as u64))
    };
    let finish = |mut k: u64| {
        k = (k ^ (k >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        k = (k ^ (k >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        k ^ (k >> 33)
    };
    let (mut h1, mut h2) = (u64::from(seed), u64::from(seed));
    let (blocks, rest) = bytes.as_chunks::<16>();
    for &block in blocks {
        let (k1, k2) = halves(block);
        h1 = (h1 ^ k1).rotate_left(27).wrapping_add(h2);
        h1 = h1.wrapping_mul(5).wrapping_add(0x52dc_e729);
        h2 = (h2 ^ k2).rotate_left(31).wrapping_add(h1);
        h2 = h2.wrapping_mul(5).wrapping_add(0x3849_5ab5);
    }
    let mut last = [0; 16];
    last.iter_mut().zip(rest).for_each(|(to, &from)| *to = from);
    let (k1, k2) = halves(last);
    h1 ^= k1 ^ bytes.len() as u64;
    h2 ^= k2 ^ bytes.len() as u64;
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    (h1, h2) = (finish(h1), finish(h2));
    h1 = h1.wrapping_add(h2);
    h2 = h2.wrapping_add(h1);
    u128::from(h1) | u128::from(h2) << 64
}

#[cfg(test)]
#[path = "subwords_tests.rs"]
mod tests;
