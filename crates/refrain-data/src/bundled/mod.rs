//! Data that ships inside the crate, so that examples and tests run without a download.
//!
//! | function | what | licence |
//! |---|---|---|
//! | [`tunes`], [`tune_features`] | 2,854 traditional tunes from books of 1883 and 1903, in ABC | public domain, transcribers credited |
//! | [`listening_log`], [`SimulatedLog`] | a **simulated** log of 2,000 listeners and 200,000 plays over them | made here |
//! | [`digits`] | 1,797 handwritten digits, 8×8 | CC BY 4.0 |
//! | [`text`], [`moby_dick`], [`speeches`] | 3.4 MB of English | public domain |
//! | [`tang_poems`] | 4,710 Chinese poems | MIT |
//!
//! Each set is decompressed when it is asked for, and again each time: keep what you got. A damaged
//! set is an [`Error::File`]. Where each set comes from and how it was made
//! stands in the `README.md` beside it, under `data/` in this crate.

mod digits;
mod simulated;
mod tang;
mod text;
mod tunes;

use std::io::Read;

use flate2::read::MultiGzDecoder;

pub use self::digits::{Digits, digits};
pub use self::simulated::{Listener, Play, SimulatedLog, Simulation, Taste};
pub use self::tang::{Poem, tang_poems};
pub use self::text::{Speech, moby_dick, speeches, text};
pub use self::tunes::{TuneRecord, tune_features, tunes};
use crate::{Error, Interactions, Result};

/// More than any bundled set unpacks to: a damaged length cannot make us read on for ever.
const LARGEST: u64 = 64 << 20;

/// The **simulated** log with its defaults and a seed: 2,000 listeners who do not exist and 200,000
/// plays of the bundled [`tunes`]. [`SimulatedLog`] tells how it is made, and gives more control.
///
/// ```
/// let log = refrain_data::bundled::listening_log(42)?;
/// assert_eq!(log.n_users(), 2_000);
/// assert_eq!(log.users().name(0), Some("listener-0001"));
/// # Ok::<(), refrain_data::Error>(())
/// ```
pub fn listening_log(seed: u64) -> Result<Interactions> {
    SimulatedLog {
        seed,
        ..SimulatedLog::default()
    }
    .generate(&tunes()?)?
    .interactions()
}

fn broken(name: &str, reason: impl ToString) -> Error {
    Error::File {
        origin: format!("bundled {name}"),
        reason: reason.to_string(),
    }
}

fn unpack(name: &str, packed: &[u8]) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    MultiGzDecoder::new(packed)
        .take(LARGEST)
        .read_to_end(&mut bytes)
        .map_err(|e| broken(name, e))?;
    Ok(bytes)
}

fn unpack_text(name: &str, packed: &[u8]) -> Result<String> {
    String::from_utf8(unpack(name, packed)?).map_err(|e| broken(name, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_sets_are_errors() {
        let packed = include_bytes!("../../data/digits/digits.bin.gz");
        assert!(unpack("digits", packed).is_ok());
        let half = unpack("digits", &packed[..packed.len() / 2]).unwrap_err();
        assert!(half.to_string().starts_with("bundled digits: "), "{half}");
        let mut flipped = packed.to_vec();
        flipped[packed.len() / 3] ^= 0x20;
        assert!(unpack("digits", &flipped).is_err());
        assert!(unpack("digits", b"not gzip").is_err());
    }
}
