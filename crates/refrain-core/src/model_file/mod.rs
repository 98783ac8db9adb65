//! The `*.refrain` model file.
//!
//! A safetensors file, so that other programs can read its tensors, whose metadata holds one JSON
//! header under the key `refrain`:
//!
//! ```json
//! {"format": 1, "kind": "recommenders.als", "version": 1, "config": { … }}
//! ```
//!
//! `format` is the version of this container, `kind` and `version` say which model wrote it, and
//! `config` is whatever that model needs beside its tensors. Id tables are two tensors each,
//! `ids.NAME.bytes` (U8, the names end to end) and `ids.NAME.ends` (U64, where each ends), since a
//! catalogue of millions would not fit a JSON header.
//!
//! A third, `ids.NAME.slots` (U32), may be the hash table of the names, for a reader that looks an id up
//! without reading them all: 2ᵏ slots, at least twice as many as names, each the number of a name or
//! 4,294,967,295 for none. A name's own slot is `(h ^ h >> 32) mod 2ᵏ`, `h` being FNV-1a of 64 bits over its
//! UTF-8; where that was taken it stands in the next free one of the 1,023 that follow, around the end.
//!
//! Reading maps the file into memory, checks every size against the file before anything is
//! allocated, refuses what it does not know, and executes nothing.
//!
//! ```
//! use refrain_core::{IdMap, ModelFile, ModelWriter};
//!
//! let ids = IdMap::from_ids(["a", "b"])?;
//! let bytes = ModelWriter::new("example.tiny", 1)
//!     .config(&("any", "thing"))?
//!     .ids("items", &ids)?
//!     .f32("factors", &[2, 3], vec![0.0, 1.0, 2.0, 3.0, 4.0, 5.0])?
//!     .to_bytes()?;
//! let file = ModelFile::from_bytes(bytes)?;
//! file.expect("example.tiny", 1)?;
//! assert_eq!(file.ids("items")?, ids);
//! assert_eq!(file.f32("factors")?.data[4], 4.0);
//! # Ok::<(), refrain_core::Error>(())
//! ```

mod read;
mod write;

use std::borrow::Cow;
use std::fmt::Display;

use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};
pub use read::ModelFile;
pub use write::ModelWriter;

/// The version of the container that this build writes and the newest it reads.
const FORMAT: u32 = 1;
const KEY: &str = "refrain";

#[derive(Serialize, Deserialize)]
struct Header {
    format: u32,
    kind: String,
    version: u32,
    #[serde(default)]
    config: serde_json::Value,
}

fn bad(origin: &str, reason: impl Display) -> Error {
    Error::ModelFile {
        origin: origin.to_string(),
        reason: reason.to_string(),
    }
}

macro_rules! element_types {
    ($($name:ident: $t:ty = $dtype:ident),* $(,)?) => {
        impl<'a> ModelWriter<'a> {$(
            #[doc = concat!("Adds a tensor of `", stringify!($t), "`, row-major.")]
            ///
            /// # Errors
            /// [`Error::Shape`] when the product of `shape` is not the number of values, and
            /// [`Error::ModelFile`] when the name is taken.
            pub fn $name(
                self,
                name: impl Into<String>,
                shape: &[usize],
                values: impl Into<Cow<'a, [$t]>>,
            ) -> Result<Self> {
                self.push(name.into(), Dtype::$dtype, shape, values.into())
            }
        )*}
        impl ModelFile {$(
            #[doc = concat!("The tensor `name` of `", stringify!($t), "`; borrowed from the file where its place allows.")]
            ///
            /// # Errors
            /// [`Error::ModelFile`] when there is none, or it has another type.
            pub fn $name(&self, name: &str) -> Result<Array<'_, $t>> {
                self.array(name, Dtype::$dtype)
            }
        )*}
    };
}
element_types!(f32: f32 = F32, u32: u32 = U32, u64: u64 = U64, i64: i64 = I64, u8: u8 = U8);

/// Values with a shape, row-major; borrowed from the file where possible.
#[derive(Debug, Clone, PartialEq)]
pub struct Array<'a, T: Clone> {
    /// The length of each dimension.
    pub shape: Vec<usize>,
    /// The values, as many as the product of `shape`.
    pub data: Cow<'a, [T]>,
}

impl<T: Clone> Array<'_, T> {
    /// Checks the shape before the values are used; `name` is for the message.
    ///
    /// # Errors
    /// [`Error::ModelFile`] when it differs.
    pub fn expect_shape(self, name: &str, shape: &[usize]) -> Result<Self> {
        match self.shape == shape {
            true => Ok(self),
            false => Err(bad(
                "model file",
                format_args!(
                    "tensor {name} has shape {:?}, expected {shape:?}",
                    self.shape
                ),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::IdMap;

    fn sample() -> Vec<u8> {
        ModelWriter::new("test.kind", 2)
            .config(&vec![1, 2])
            .unwrap()
            .ids("users", &IdMap::from_ids(["ann", "", "五"]).unwrap())
            .unwrap()
            .f32("w", &[2, 2], vec![1.0, 2.0, 3.0, f32::NAN])
            .unwrap()
            .ids_in_place("items", &IdMap::from_ids(["x", "yy"]).unwrap())
            .unwrap()
            .u32("n", &[3], vec![7, 8, 9])
            .unwrap()
            .i64("t", &[1], vec![-1])
            .unwrap()
            .to_bytes()
            .unwrap()
    }

    /// Reads everything a file says it has; must never panic.
    fn read_all(bytes: Vec<u8>) -> Result<()> {
        let file = ModelFile::from_bytes(bytes)?;
        file.expect("test.kind", 2)?;
        let _: Result<Vec<i32>> = file.config();
        let _ = file.ids("users");
        if let Ok(mut ids) = file.ids_in_place("items") {
            for name in ["x", "yy", "z"] {
                let found = ids.get(name).map(|id| ids.name(id));
                assert!(matches!(found, None | Some(Some(_))));
            }
            let (all, len) = (ids.iter().count(), ids.len());
            assert_eq!(all, len);
            let _ = ids.insert("z");
        }
        for name in file.names() {
            let _ = (
                file.f32(name),
                file.u32(name),
                file.u64(name),
                file.i64(name),
                file.u8(name),
            );
        }
        Ok(())
    }

    #[test]
    fn round_trip_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.refrain");
        let bytes = sample();
        assert_eq!(bytes, sample(), "the same model must give the same bytes");
        let ids = IdMap::from_ids(["a"]).unwrap();
        let values = [1.5f32, -2.0];
        for _ in 0..2 {
            ModelWriter::new("k", 1)
                .ids("x", &ids)
                .unwrap()
                .f32("v", &[2], &values[..])
                .unwrap()
                .write(&path)
                .unwrap();
            let file = ModelFile::open(&path).unwrap();
            assert_eq!(file.f32("v").unwrap().data[..], values);
            assert!(matches!(file.f32("v").unwrap().data, Cow::Borrowed(_)));
            assert_eq!(file.ids("x").unwrap(), ids);
            assert_eq!(file.ids_in_place("x").unwrap(), ids, "without slots");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn ids_stay_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.refrain");
        let ids = IdMap::from_ids(["ann", "", "五"]).unwrap();
        let writer = ModelWriter::new("k", 1).ids_in_place("x", &ids).unwrap();
        writer.write(&path).unwrap();
        let file = ModelFile::open(&path).unwrap();
        let again = file.ids_in_place("x").unwrap();
        let (names, _) = again.parts();
        let place = file.bytes().as_ptr_range();
        assert!(place.contains(&names.as_ptr()), "not copied");
        assert_eq!((&again, &file.ids("x").unwrap()), (&ids, &ids));
        assert_eq!((again.get("五"), again.get("bob")), (Some(2), None));
        // What stays in a file is written as what does not.
        let copy = ModelWriter::new("k", 1).ids_in_place("x", &again).unwrap();
        assert_eq!(copy.to_bytes().unwrap(), &file.bytes()[..]);
        let more = {
            let mut more = again.clone();
            assert_eq!(more.insert("bob").unwrap(), 3);
            more
        };
        assert_eq!((more.len(), again.len()), (4, 3));

        // Slots too few, or ends beyond the names.
        for (ends, slots) in [(vec![1, 2], vec![0, 1]), (vec![1, 3], vec![0, 1, 9, 9])] {
            let writer = ModelWriter::new("k", 1)
                .u8("ids.x.bytes", &[2], b"ab".to_vec())
                .and_then(|w| w.u64("ids.x.ends", &[2], ends))
                .and_then(|w| w.u32("ids.x.slots", &[slots.len()], slots));
            let file = ModelFile::from_bytes(writer.unwrap().to_bytes().unwrap()).unwrap();
            let error = file.ids_in_place("x").unwrap_err().to_string();
            assert!(error.contains("ids x"), "{error}");
        }
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        let file = ModelFile::from_bytes(sample()).unwrap();
        assert_eq!(file.config::<Vec<i32>>().unwrap(), [1, 2]);
        let says = |r: Result<()>| r.unwrap_err().to_string();
        assert!(says(file.expect("other", 2)).contains("\"test.kind\""));
        assert!(says(file.expect("test.kind", 1)).contains("newer"));
        assert!(says(file.f32("n").map(|_| ())).contains("U32"));
        assert!(says(file.f32("zzz").map(|_| ())).contains("zzz"));
        assert!(says(file.config::<String>().map(|_| ())).contains("config"));
        assert!(says(ModelFile::open("/no/such.refrain").map(|_| ())).contains("no/such"));
        let plain =
            safetensors::serialize(Vec::<(&str, safetensors::tensor::TensorView)>::new(), None)
                .unwrap();
        assert!(says(read_all(plain)).contains("no refrain header"));
        let wrong = ModelWriter::new("k", 1).f32("w", &[2, 2], vec![0.0; 3]);
        assert!(matches!(
            wrong,
            Err(Error::Shape {
                expected: 4,
                found: 3,
                ..
            })
        ));
        let mut bytes = sample();
        let key = br#"format\":"#;
        let at = bytes.windows(key.len()).position(|w| w == key).unwrap();
        bytes[at + key.len()] = b'9';
        assert!(says(read_all(bytes)).contains("newer"));
    }

    #[test]
    fn every_truncation_is_an_error() {
        let bytes = sample();
        for n in 0..bytes.len() {
            assert!(
                read_all(bytes[..n].to_vec()).is_err(),
                "{n} bytes of {}",
                bytes.len()
            );
        }
        read_all(bytes).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn hostile_bytes_never_panic(
            edits in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            noise in proptest::collection::vec(any::<u8>(), 0..64),
            as_is in any::<bool>(),
        ) {
            let mut bytes = sample();
            for (at, value) in edits {
                let at = at.index(bytes.len());
                bytes[at] = value;
            }
            if as_is { bytes = noise; }
            let _ = read_all(bytes);
        }
    }
}
