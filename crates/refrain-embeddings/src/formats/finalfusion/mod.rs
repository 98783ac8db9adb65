//! finalfusion's files, `.fifu`: chunks of words, vectors and their lengths.
//!
//! ```text
//! FiFu, version 0, kinds of the chunks · each chunk with its kind and length:
//! metadata · words and how n-grams are hashed · rows of words and n-grams, plain or quantised · lengths
//! ```
//!
//! *Reading* takes all kinds but n-grams that are listed one by one instead of hashed. Words' rows have
//! length 1 and their lengths stand apart; [`read()`] multiplies them, so that vectors are what they were
//! before. [`open()`] leaves plain rows where they are, in the file, and takes no time to speak of. Quantised
//! rows are decoded. Metadata are left out.
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

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{open, parse, read};
pub use write::{write, write_quantised};

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

/// How many bytes stand before rows of numbers.
fn padding(at: usize) -> usize {
    4 - at % 4
}
