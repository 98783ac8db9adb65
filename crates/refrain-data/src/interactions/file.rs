//! Interactions in a `*.refrain` file: kind `data.interactions`, the two id tables, and the rows as
//! the tensors `starts`, `items`, `weights` and, if there are any, `times`. Loading takes as long as
//! reading the file: nothing is parsed or sorted.

use std::path::Path;
use std::sync::Arc;

use refrain_core::{ModelFile, ModelWriter};

use super::{Interactions, matrix};
use crate::{Error, Result};

const KIND: &str = "data.interactions";
const VERSION: u32 = 1;

impl Interactions {
    /// Writes the log to a `*.refrain` file, with its id tables, in the same order.
    ///
    /// ```
    /// use refrain_data::Interactions;
    /// let log = Interactions::from_events([("alice", "Acacia", 3.0)])?;
    /// # let folder = tempfile::tempdir().map_err(|e| refrain_core::Error::io("temp", e))?;
    /// # let path = folder.path().join("log.refrain");
    /// log.save(&path)?;
    /// assert_eq!(Interactions::load(&path)?, log);
    /// # Ok::<(), refrain_data::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of the file system.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.writer()?.write(path)?)
    }

    /// Reads a log that [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// [`refrain_core::Error::ModelFile`] for a file of another kind or a later version, or a damaged
    /// one; [`Error::Matrix`] when the rows do not fit together.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        Self::from_file(&ModelFile::open(path)?)
    }

    fn writer(&self) -> Result<ModelWriter<'_>> {
        let starts: Vec<u64> = self
            .by_user()
            .indptr()
            .to_proper()
            .iter()
            .map(|&start| start as u64)
            .collect();
        let mut writer = ModelWriter::new(KIND, VERSION)
            .ids("users", self.users())?
            .ids("items", self.items())?
            .u64("starts", &[starts.len()], starts)?
            .u32("items", &[self.len()], self.by_user().indices())?
            .f32("weights", &[self.len()], self.by_user().data())?;
        if let Some(times) = self.times() {
            writer = writer.i64("times", &[self.len()], times)?;
        }
        Ok(writer)
    }

    fn from_file(file: &ModelFile) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let broken = |reason: &str| Error::Matrix {
            origin: file.origin().to_owned(),
            reason: reason.into(),
        };
        let (users, items) = (file.ids("users")?, file.ids("items")?);
        let starts = file
            .u64("starts")?
            .data
            .iter()
            .map(|&start| start as usize)
            .collect();
        let indices = file.u32("items")?.data.into_owned();
        let weights = file.f32("weights")?.data.into_owned();
        if weights.iter().any(|weight| !weight.is_finite()) {
            return Err(broken("a weight is not finite"));
        }
        let times = match file.names().any(|name| name == "times") {
            true => Some(file.i64("times")?.data.into_owned()),
            false => None,
        };
        if times
            .as_ref()
            .is_some_and(|times| times.len() != indices.len())
        {
            return Err(broken("there are not as many times as events"));
        }
        let by_user = matrix((users.len(), items.len()), starts, indices, weights)
            .map_err(|e| broken(&e.to_string()))?;
        Ok(Self::assemble(
            Arc::new(users),
            Arc::new(items),
            by_user,
            times,
        ))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn from_bytes(bytes: Vec<u8>) -> Result<Interactions> {
        Interactions::from_file(&ModelFile::from_bytes(bytes)?)
    }

    fn made(timed: bool) -> Interactions {
        let mut builder = Interactions::builder();
        for (user, item, time) in [("a", "x", 5), ("b", "y", 1), ("a", "z", 2)] {
            builder
                .push(user, item, 1.5, timed.then_some(time))
                .unwrap();
        }
        builder.build().unwrap()
    }

    #[test]
    fn logs_round_trip_with_ids_that_have_no_events() {
        for timed in [false, true] {
            let log = made(timed).filter(|e| e.user == 0).unwrap();
            let again = from_bytes(log.writer().unwrap().to_bytes().unwrap()).unwrap();
            assert_eq!(again, log);
            assert_eq!(again.users().name(1), Some("b"));
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        let ids = refrain_core::IdMap::from_ids(["a", "b"]).unwrap();
        let build = |starts: &[u64], items: &[u32], weights: &[f32], times: &[i64]| {
            let writer = ModelWriter::new(KIND, 1)
                .ids("users", &ids)
                .and_then(|w| w.ids("items", &ids))
                .and_then(|w| w.u64("starts", &[starts.len()], starts))
                .and_then(|w| w.u32("items", &[items.len()], items))
                .and_then(|w| w.f32("weights", &[weights.len()], weights))
                .and_then(|w| w.i64("times", &[times.len()], times));
            from_bytes(writer.unwrap().to_bytes().unwrap())
        };
        assert!(build(&[0, 1, 2], &[0, 1], &[1.0, 1.0], &[1, 2]).is_ok());
        for (starts, items, weights, times) in [
            (&[0, 1, 2][..], &[0, 2][..], &[1.0, 1.0][..], &[1, 2][..]),
            (&[0, 2, 1], &[0, 1], &[1.0, 1.0], &[1, 2]),
            (&[0, 2], &[0, 1], &[1.0, 1.0], &[1, 2]),
            (&[], &[0, 1], &[1.0, 1.0], &[1, 2]),
            (&[0, 1, u64::MAX], &[0, 1], &[1.0, 1.0], &[1, 2]),
            (&[5, 6, 7], &[0, 1], &[1.0, 1.0], &[1, 2]),
            (&[0, 2, 2], &[1, 0], &[1.0, 1.0], &[1, 2]),
            (&[0, 2, 2], &[1, 1], &[1.0, 1.0], &[1, 2]),
            (&[0, 1, 2], &[0, 1], &[1.0], &[1, 2]),
            (&[0, 1, 2], &[0, 1], &[1.0, f32::NAN], &[1, 2]),
            (&[0, 1, 2], &[0, 1], &[1.0, 1.0], &[1]),
        ] {
            assert!(
                build(starts, items, weights, times).is_err(),
                "{starts:?} {items:?}"
            );
        }
    }

    proptest! {
        #[test]
        fn damaged_files_are_refused_or_read(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = made(true).writer().unwrap().to_bytes().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            if let Ok(log) = from_bytes(bytes.clone()) {
                log.iter().for_each(drop);
                let _ = log.by_item();
            }
            bytes.truncate(at);
            prop_assert!(from_bytes(bytes).is_err());
        }
    }
}
