//! Shared pieces of the benchmarks, and the place where the code of the README is tested.

/// The README, whose code must compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The Chinese README, whose code must compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.zh-CN.md")]
pub struct ReadmeZhCn;
