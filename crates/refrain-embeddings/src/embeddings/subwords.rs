//! Vectors of character n-grams, from which words that were never seen get vectors too (Bojanowski,
//! Grave, Joulin and Mikolov, *Enriching Word Vectors with Subword Information*, 2017).
//!
//! A word is written with a mark at each end, `<where>`, and cut into all n-grams of a range of
//! lengths, `<wh`, `whe`, `her`, `ere`, `re>`. Each n-gram is hashed to one of a fixed number of
//! rows, and a word's vector is the mean of its n-grams' rows and, if the word is known, of its own.

use std::ops::RangeInclusive;

use refrain_core::kernels;

use super::file::Values;
use crate::{Error, Result};

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
    dim: usize,
    values: Values,
}

impl Subwords {
    /// N-grams of `lengths` characters, whose rows of `dim` values lie end to end in `values`.
    ///
    /// # Errors
    /// [`Error::Config`] when the range is empty or begins below 1, or there are no rows;
    /// [`Error::Shape`] when `values` are not whole rows; [`Error::NotFinite`].
    pub fn new(lengths: RangeInclusive<usize>, dim: usize, values: Vec<f32>) -> Result<Self> {
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::NotFinite {
                word: format!("row {} of the n-grams", at / dim.max(1)),
            });
        }
        Self::from_values(lengths, dim, Values::Owned(values), None)
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
        Self::from_values(lengths, dim, whole.values, Some((buckets, kept)))
    }

    /// Rows whose values were checked when they were written.
    pub(super) fn from_values(
        lengths: RangeInclusive<usize>,
        dim: usize,
        values: Values,
        kept: Option<(usize, Vec<u32>)>,
    ) -> Result<Self> {
        let (least, most) = (*lengths.start(), *lengths.end());
        check_lengths(least, most)?;
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
        let buckets = self.buckets as u32;
        rows(word, self.least, self.most, buckets, |bucket| {
            match &self.kept {
                None => each(bucket),
                Some(kept) => {
                    if let Ok(row) = kept.binary_search(&bucket) {
                        each(row as u32);
                    }
                }
            }
        });
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

/// The row of each n-gram of `<word>` as the program fastText numbers them: FNV-1a of the bytes,
/// each taken as a signed number, modulo the rows. An n-gram of one character that is a mark is
/// left out, and so is the whole of `</s>`, which stands for the end of a line.
pub(crate) fn rows(word: &str, least: usize, most: usize, buckets: u32, mut each: impl FnMut(u32)) {
    if word == "</s>" || buckets == 0 {
        return;
    }
    let marked = format!("<{word}>");
    let starts: Vec<usize> = marked
        .char_indices()
        .map(|(at, _)| at)
        .chain([marked.len()])
        .collect();
    let bytes = marked.as_bytes();
    let characters = starts.len() - 1;
    for first in 0..characters {
        for n in least..=most.min(characters - first) {
            if n == 1 && (first == 0 || first + 1 == characters) {
                continue;
            }
            let ngram = bytes
                .get(starts[first]..starts[first + n])
                .unwrap_or_default();
            each(fnv(ngram) % buckets);
        }
    }
}

/// FNV-1a with bytes as signed numbers, as fastText has it.
pub(crate) fn fnv(bytes: &[u8]) -> u32 {
    bytes.iter().fold(2_166_136_261, |hash, &byte| {
        (hash ^ i32::from(byte as i8) as u32).wrapping_mul(16_777_619)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(word: &str, least: usize, most: usize) -> Vec<u32> {
        let mut found = Vec::new();
        rows(word, least, most, 2_000_000, |row| found.push(row));
        found
    }

    /// `model.get_subwords(word)` less the number of words, of PyPI fasttext-wheel 0.9.2 trained with
    /// `minn=3, maxn=6, bucket=2000000`; and published values of FNV-1a for bytes below 128.
    #[test]
    fn rows_are_those_of_fasttext() {
        assert_eq!((fnv(b"a"), fnv(b"foobar")), (0xe40c_292c, 0xbf9c_f968));
        let where_ = [
            167652, 989715, 1526707, 1071586, 420941, 312621, 969176, 121234, 1473420, 1540811,
            114991, 1529033, 1568469, 867498,
        ];
        assert_eq!(list("where", 3, 6), where_);
        assert_eq!(list("猫", 3, 6), [1757861]);
        let cafe = [
            916747, 1991831, 794639, 17187, 369661, 454601, 761685, 960362, 1966012, 1609697,
        ];
        assert_eq!(list("café", 3, 6), cafe);
    }

    #[test]
    fn ngrams_are_all_those_of_the_lengths() {
        let hash = |text: &str| fnv(text.as_bytes()) % 2_000_000;
        assert_eq!(
            list("where", 3, 4),
            [
                "<wh", "<whe", "whe", "wher", "her", "here", "ere", "ere>", "re>"
            ]
            .map(hash)
        );
        assert_eq!(list("猫", 2, 3), ["<猫", "<猫>", "猫>"].map(hash));
        assert_eq!(list("ab", 1, 1), ["a", "b"].map(hash));
        assert_eq!(list("", 3, 6), [0u32; 0]);
        assert_eq!(list("", 1, 2), ["<>"].map(hash));
        assert_eq!(list("</s>", 3, 6), [0u32; 0]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(Subwords::new(0..=3, 1, vec![1.0]).is_err());
        #[allow(clippy::reversed_empty_ranges)]
        let reversed = 4..=3;
        assert!(Subwords::new(reversed, 1, vec![1.0]).is_err());
        assert!(Subwords::new(3..=6, 2, vec![1.0; 3]).is_err());
        assert!(Subwords::new(3..=6, 2, Vec::new()).is_err());
        assert!(Subwords::new(3..=6, 0, vec![1.0]).is_err());
        assert!(Subwords::new(3..=6, 1, vec![f32::NAN]).is_err());
        let pruned = |kept| Subwords::pruned(3..=6, 1, vec![1.0, 2.0], 10, kept);
        assert!(pruned(vec![3, 9]).is_ok());
        for kept in [vec![3, 3], vec![3, 10], vec![9, 3], vec![1], vec![]] {
            assert!(pruned(kept).is_err());
        }
    }

    #[test]
    fn left_out_rows_are_no_part_of_a_word() {
        let whole = Subwords::new(3..=4, 1, (0..10).map(|i| i as f32).collect()).unwrap();
        let kept = vec![1, 4, 8];
        let pruned = Subwords::pruned(3..=4, 1, vec![1.0, 4.0, 8.0], 10, kept.clone()).unwrap();
        for word in ["where", "whale", "them", "a", "苔の生すまで"] {
            let (mut rows, mut found) = (Vec::new(), Vec::new());
            whole.rows(word, |row| rows.extend(kept.contains(&row).then_some(row)));
            pruned.rows(word, |row| found.push(kept[row as usize]));
            assert_eq!(found, rows);
            let sum: u32 = rows.iter().sum();
            let mean = (!rows.is_empty()).then(|| sum as f32 / rows.len() as f32);
            let embedded = pruned.embed(word).map(|vector| vector[0]);
            assert_eq!(
                embedded.map(|v| (v * 1e4).round()),
                mean.map(|v| (v * 1e4).round())
            );
        }
    }
}
