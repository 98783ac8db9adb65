//! The journal of a search: a line of JSON for what is searched and one for each finished trial, so
//! that a search that was stopped goes on where it was.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Finished, Trial};
use crate::{Error, Result};

const KIND: &str = "refrain.search";

/// What has to be the same for trials to compare.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    pub kind: String,
    pub version: u32,
    pub metric: String,
    pub resource: String,
    pub seed: u64,
    /// Of the training and the validation log.
    pub fingerprint: String,
}

impl Header {
    pub fn new(metric: String, resource: String, seed: u64, fingerprint: u64) -> Self {
        Self {
            kind: KIND.to_string(),
            version: 1,
            metric,
            resource,
            seed,
            fingerprint: format!("{fingerprint:016x}"),
        }
    }
}

/// An open journal, or none.
#[derive(Debug)]
pub(super) struct Journal {
    file: Option<(PathBuf, File)>,
    done: Vec<Finished>,
}

impl Journal {
    /// Nothing is written down.
    pub fn none() -> Self {
        Self {
            file: None,
            done: Vec::new(),
        }
    }

    /// Opens a journal, reading what is done, or begins one.
    pub fn open(path: &Path, header: &Header) -> Result<Self> {
        let io = |error| refrain_core::Error::io(path, error);
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(io(error).into()),
        };
        // A last line without an end was being written when the search was stopped.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        let mut lines = text.get(..whole).unwrap_or_default().lines().zip(1usize..);
        let bad = |line, reason: String| Error::Journal {
            path: path.display().to_string(),
            line,
            reason,
        };
        let mut done = Vec::new();
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .map_err(io)?;
        match lines.next() {
            None => {
                file.set_len(0).map_err(io)?;
                let line = json(header)?;
                file.write_all(line.as_bytes()).map_err(io)?;
            }
            Some((first, at)) => {
                let found: Header = serde_json::from_str(first)
                    .map_err(|e| bad(at, format!("not the journal of a search: {e}")))?;
                if found != *header {
                    let reason =
                        "it is of another search: the metric, the seed, the resource or the \
                                  data differ"
                            .to_string();
                    return Err(bad(at, reason));
                }
                for (line, at) in lines {
                    let trial = serde_json::from_str(line).map_err(|e| bad(at, e.to_string()))?;
                    done.push(trial);
                }
                file.set_len(whole as u64).map_err(io)?;
                std::io::Seek::seek(&mut file, std::io::SeekFrom::End(0)).map_err(io)?;
            }
        }
        Ok(Self {
            file: Some((path.to_path_buf(), file)),
            done,
        })
    }

    /// What came out of a trial with these values, when it is done.
    pub fn find(&self, trial: &Trial) -> Option<Finished> {
        let same = |found: &&Finished| {
            let (a, b) = (&found.trial, trial);
            (a.share - b.share).abs() < 1e-9
                && a.values.len() == b.values.len()
                && a.values
                    .iter()
                    .zip(&b.values)
                    .all(|(x, y)| x.0 == y.0 && x.1.same(&y.1))
        };
        let mut found = self.done.iter().find(same)?.clone();
        found.trial = trial.clone();
        Some(found)
    }

    /// Writes a finished trial down.
    pub fn add(&mut self, finished: &Finished) -> Result<()> {
        if let Some((path, file)) = &mut self.file {
            let line = json(finished)?;
            file.write_all(line.as_bytes())
                .and_then(|()| file.flush())
                .map_err(|error| refrain_core::Error::io(path, error))?;
        }
        self.done.push(finished.clone());
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    let line = serde_json::to_string(value).map_err(|e| Error::Data {
        model: "search",
        reason: format!("a trial cannot be written down: {e}"),
    })?;
    Ok(line + "\n")
}
