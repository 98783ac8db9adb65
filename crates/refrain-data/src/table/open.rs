//! Opening a file that may be compressed.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::{Error, Result};

const BUFFER: usize = 1 << 18;

/// A reader of the file's text. Gzip is recognised by its first two bytes, whatever the name.
pub(crate) fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).map_err(|e| Error::io(path, e))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        let reason = "is a folder; expected a file".to_owned();
        return Err(Error::File {
            origin: path.display().to_string(),
            reason,
        });
    }
    let mut file = BufReader::with_capacity(BUFFER, file);
    let start = file.fill_buf().map_err(|e| Error::io(path, e))?;
    Ok(match start.starts_with(&[0x1f, 0x8b]) {
        true => Box::new(BufReader::with_capacity(BUFFER, MultiGzDecoder::new(file))),
        false => Box::new(file),
    })
}
