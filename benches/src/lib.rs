//! Shared pieces of the benchmarks, and the place where the code of the README is tested.

mod peer;
mod torch;
mod words;

use std::error::Error;

use rand::RngExt;
use rand::seq::SliceRandom;
use refrain::data::Interactions;
use refrain::rng;

pub use peer::Peer;
pub use torch::{Torch, script};
pub use words::{Judge, processor_seconds, write_tokens};

/// A log of `draws` events: users by a Pareto law of exponent 1.2, items by 1 / (rank + 10)^0.9. Pairs
/// drawn again add up; users and items that are never drawn are not there.
///
/// # Errors
/// Those of the data crate.
pub fn generated_log(
    users: usize,
    items: usize,
    draws: usize,
    seed: u64,
) -> refrain::data::Result<Interactions> {
    let mut rng = rng::stream(seed, 0);
    let users: Vec<f64> = (0..users)
        .map(|_| (1.0 - rng.random::<f64>()).powf(-1.0 / 1.2))
        .collect();
    let mut items: Vec<f64> = (0..items)
        .map(|rank| (rank as f64 + 10.0).powf(-0.9))
        .collect();
    items.shuffle(&mut rng);
    let (users, items) = (cumulated(&users), cumulated(&items));
    let mut draw = |sums: &[f64]| {
        let at = rng.random::<f64>() * sums.last().copied().unwrap_or_default();
        sums.partition_point(|&sum| sum <= at) as u32
    };
    let mut pairs: Vec<(u32, u32)> = (0..draws).map(|_| (draw(&users), draw(&items))).collect();
    // In order, so that neighbouring numbers are no more alike than elsewhere.
    pairs.sort_unstable();
    Interactions::from_events(pairs.into_iter().map(|(user, item)| (user, item, 1.0)))
}

fn cumulated(weights: &[f64]) -> Vec<f64> {
    let mut sum = 0.0;
    let add = |&weight: &f64| {
        sum += weight;
        sum
    };
    weights.iter().map(add).collect()
}

/// A line of `/proc/self/status` in megabytes: `VmHWM` is the peak of resident memory, `VmRSS` what is
/// resident now.
///
/// # Errors
/// Where there is no such file or line: only Linux has it.
pub fn megabytes(line: &str) -> Result<f64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")
        .map_err(|e| format!("memory is known on Linux alone: {e}"))?;
    let rest = status.lines().find_map(|l| l.strip_prefix(line));
    let kilobytes = rest.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next());
    Ok(kilobytes.ok_or("no such line")?.parse::<f64>()? / 1000.0)
}

/// Makes the peak of resident memory what is resident now.
///
/// # Errors
/// As [`megabytes`].
pub fn forget_peak() -> Result<(), Box<dyn Error>> {
    Ok(std::fs::write("/proc/self/clear_refs", "5")?)
}

/// The upper median; NaN of nothing.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The README, whose code must compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;

/// The Chinese README, whose code must compile and run.
#[cfg(doctest)]
#[doc = include_str!("../../README.zh-CN.md")]
pub struct ReadmeZhCn;
