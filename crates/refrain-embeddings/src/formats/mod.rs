//! Vectors in other programs' formats, one file each, reader and writer together.

pub mod word2vec;
