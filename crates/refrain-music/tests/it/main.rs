//! The whole catalogue through the whole crate, and noise through the parser.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod catalogue;
mod noise;
