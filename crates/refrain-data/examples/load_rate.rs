//! How fast events become [`Interactions`], and how much memory that takes.
//!
//! ```text
//! cargo run --release -p refrain-data --example load_rate -- [EVENTS] [times] [csv|iterator]
//! ```
//!
//! Makes EVENTS events (10,000,000 unless told otherwise) of EVENTS / 100 users and EVENTS / 500
//! items, popular ones more often, in no order; loads them from an iterator and from a CSV file in the
//! temporary folder; prints events per second and, on Linux, the peak of resident memory. Name one of
//! the two ways to see that way's peak alone.

#![allow(clippy::print_stdout)]

use std::io::{BufWriter, Write};
use std::time::Instant;

use rand::RngExt;
use refrain_core::rng;
use refrain_data::{Columns, Interactions};

type AnyError = Box<dyn std::error::Error>;

fn main() -> Result<(), AnyError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = args
        .iter()
        .find_map(|arg| arg.replace('_', "").parse::<u64>().ok());
    let events = number.unwrap_or(10_000_000);
    let has = |word: &str| args.iter().any(|arg| arg == word);
    let (timed, both) = (has("times"), has("csv") == has("iterator"));
    println!("{events} events{}", if timed { " with times" } else { "" });
    println!("before: resident {} MB", resident("VmRSS:"));

    if both || has("iterator") {
        let start = Instant::now();
        let mut builder = Interactions::builder();
        for (user, item, weight, time) in made(events) {
            builder.push(user, item, weight, timed.then_some(time))?;
        }
        println!("  pushed after {:.2} s", start.elapsed().as_secs_f64());
        report("iterator", events, start, &builder.build()?);
    }
    if both || has("csv") {
        let file =
            std::env::temp_dir().join(format!("refrain-load-rate-{}.csv", std::process::id()));
        let mut out = BufWriter::new(std::fs::File::create(&file)?);
        for (user, item, weight, time) in made(events) {
            match timed {
                true => writeln!(out, "{user},{item},{weight},{time}")?,
                false => writeln!(out, "{user},{item},{weight}")?,
            }
        }
        out.flush()?;
        drop(out);
        let megabytes = std::fs::metadata(&file)?.len() as f64 / 1e6;
        let start = Instant::now();
        let log = Interactions::from_csv(&file, &Columns::default());
        std::fs::remove_file(&file)?;
        let log = log?;
        println!("  {:.0} MB/s", megabytes / start.elapsed().as_secs_f64());
        report("csv", events, start, &log);
    }
    Ok(())
}

/// Users and items by the square and the cube of a uniform number: few have much, many little.
fn made(events: u64) -> impl Iterator<Item = (u64, u64, f32, i64)> {
    let (users, items) = ((events / 100).max(1) as f64, (events / 500).max(1) as f64);
    let mut draws = rng::stream(1, 0);
    (0..events).map(move |i| {
        let (u, v): (f64, f64) = (draws.random(), draws.random());
        (
            (u * u * users) as u64,
            (v * v * v * items) as u64,
            1.0 + (i % 5) as f32,
            i as i64,
        )
    })
}

fn report(way: &str, events: u64, start: Instant, log: &Interactions) {
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{way}: {:.2} s, {:.2} million events/s, {} users, {} items, {} pairs",
        seconds,
        events as f64 / seconds / 1e6,
        log.n_users(),
        log.n_items(),
        log.len()
    );
    let peak = resident("VmHWM:");
    println!(
        "  resident now {} MB, peak {peak} MB, {:.1} bytes an event at the peak",
        resident("VmRSS:"),
        peak as f64 * 1e6 / events as f64
    );
}

/// A line of /proc/self/status in MB; 0 where there is none.
fn resident(line: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|l| l.strip_prefix(line));
    found
        .and_then(|l| l.split_whitespace().next()?.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
        / 1_000_000
}
