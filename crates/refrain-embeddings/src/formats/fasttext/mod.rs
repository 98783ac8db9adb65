//! fastText's binary models: `.bin`, and the quantised `.ftz`.
//!
//! ```text
//! magic, version 11 or 12 · settings · words and labels, with counts · numbers of pruned n-grams
//! rows of words and n-grams, plain or quantised · rows of what is told
//! ```
//!
//! A word's vector is the mean of its own row and its n-grams'; n-grams make words that the file does
//! not name, as fastText's `get_word_vector` does (see [`Subwords`](crate::Subwords)).
//!
//! *Reading* takes skip-gram, bag-of-words and supervised models. Quantised rows are decoded: a `.ftz`
//! file grows to what it was before it was made small. Labels and what is told (the output matrix) are
//! left out; `</s>`, the end of a line, is a word as it is for fastText.
//!
//! *Writing* makes version 12 of a skip-gram model that fastText and gensim load, with zeros for what
//! is told: to ask for vectors, not to go on training. Vectors may differ in their last bits, since a
//! word's own row is what is left of its vector less its n-grams'. N-grams of which some were pruned or
//! that are hashed as another program does, and words with a zero byte, cannot be written.

mod read;
#[cfg(test)]
mod tests;
mod write;

pub use read::{parse, read};
pub use write::{write, write_quantised};

const MAGIC: i32 = 793_712_314;
