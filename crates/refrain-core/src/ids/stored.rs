//! Ids that stay in a file, with a hash table that stands there too.

use crate::{Error, IdMap, Result, Values};

use super::Names;

/// A slot of no id.
const EMPTY: u32 = u32::MAX;
/// How many slots are looked at for one id. Where they do not suffice no table is written; a table of
/// others cannot make a search longer.
const PROBES: usize = 1024;

/// Names end to end, where each ends, and slots; all may stand in a file.
///
/// Nothing but sizes is checked before it is asked for, so that opening takes no time. In a broken file
/// some names are none or unknown.
#[derive(Clone)]
pub(crate) struct Stored {
    /// What they are, for messages.
    origin: String,
    bytes: Values<u8>,
    ends: Values<u64>,
    slots: Values<u32>,
}

impl Stored {
    /// Ids whose parts have sizes that fit one another.
    pub fn new(
        origin: String,
        bytes: Values<u8>,
        ends: Values<u64>,
        slots: Values<u32>,
    ) -> Option<Self> {
        let fits = ends.last().copied().unwrap_or(0) == bytes.len() as u64
            && slots.len().is_power_of_two()
            && ends.len() < slots.len()
            && ends.len() < EMPTY as usize;
        fits.then_some(Self {
            origin,
            bytes,
            ends,
            slots,
        })
    }

    pub fn len(&self) -> usize {
        self.ends.len()
    }

    pub fn name(&self, index: u32) -> Option<&str> {
        std::str::from_utf8(slice(&self.bytes, &self.ends, index)?).ok()
    }

    pub fn get(&self, name: &str) -> Option<u32> {
        let (bytes, ends, slots) = (&self.bytes[..], &self.ends[..], &self.slots[..]);
        for at in probes(name, slots.len()) {
            match *slots.get(at)? {
                EMPTY => return None,
                id if slice(bytes, ends, id) == Some(name.as_bytes()) => return Some(id),
                _ => {}
            }
        }
        None
    }

    /// All names and where each ends.
    pub fn parts(&self) -> (&[u8], &[u64]) {
        (&self.bytes, &self.ends)
    }

    /// Reads and checks everything, as what is added to must be.
    pub(super) fn read(&self) -> Result<Names> {
        let names = Names::from_parts(self.bytes.to_vec(), self.ends.to_vec());
        names.map_err(|bad| Error::ModelFile {
            origin: self.origin.clone(),
            reason: bad.to_string(),
        })
    }
}

/// The bytes of a name.
fn slice<'a>(bytes: &'a [u8], ends: &[u64], index: u32) -> Option<&'a [u8]> {
    let index = index as usize;
    let end = usize::try_from(*ends.get(index)?).ok()?;
    let start = match index {
        0 => 0,
        _ => usize::try_from(*ends.get(index - 1)?).ok()?,
    };
    bytes.get(start..end)
}

/// The slots of a name, one after the other from its own: FNV-1a of 64 bits, the upper half folded into
/// the lower.
fn probes(name: &str, slots: usize) -> impl Iterator<Item = usize> {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    let own = (hash ^ (hash >> 32)) as usize;
    (0..PROBES.min(slots)).map(move |step| own.wrapping_add(step) & (slots - 1))
}

/// The hash table of ids for a file: at least two slots for each, a power of two in all, each the number of
/// an id or [`EMPTY`]. None where many ids fall on the same slots, which only happens on purpose.
pub(crate) fn slots(ids: &IdMap) -> Option<Vec<u32>> {
    let count = ids.len().checked_mul(2)?.checked_next_power_of_two()?;
    let mut slots = vec![EMPTY; count];
    for (id, name) in (0u32..).zip(ids.iter()) {
        let free = probes(name, count).find(|&at| slots.get(at) == Some(&EMPTY))?;
        if let Some(slot) = slots.get_mut(free) {
            *slot = id;
        }
    }
    Some(slots)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn stored(ids: &IdMap, slots: Vec<u32>) -> IdMap {
        let (bytes, ends) = ids.parts();
        let (bytes, ends) = (bytes.to_vec().into(), ends.to_vec().into());
        let stored = Stored::new("test".to_string(), bytes, ends, slots.into());
        IdMap::from_stored(stored.unwrap())
    }

    /// The hash and the layout are of the file's format: they may not change.
    #[test]
    fn the_table_is_this() {
        // FNV-1a of "a" is af63dc4c8601ec8c, of "foobar" 85944171f73967e8 (Fowler, Noll and Vo's own
        // test vectors); halves folded end in c0 and 99.
        assert_eq!(probes("a", 256).next(), Some(0xc0));
        assert_eq!(probes("foobar", 256).next(), Some(0x99));
        let table = slots(&IdMap::from_ids(["a", "foobar", "b"]).unwrap()).unwrap();
        // af63df4c8601f1a5 folded ends in e9: slot 1 of 8, where "foobar" stands already.
        assert_eq!(table, [0, 1, 2, EMPTY, EMPTY, EMPTY, EMPTY, EMPTY]);
        assert_eq!(slots(&IdMap::new()), Some(vec![EMPTY]));
    }

    #[test]
    fn names_on_the_same_slots_have_no_table() {
        // All in the last 1% of a table of 2^17 slots.
        let crowded = (0..).map(|i: u32| format!("n{i}"));
        let crowded = crowded.filter(|name| probes(name, 1 << 17).next() > Some(129_700));
        let ids = IdMap::from_ids(crowded.take(34_000)).unwrap();
        assert_eq!(slots(&ids), None);
    }

    proptest! {
        #[test]
        fn stored_ids_are_those_in_memory(
            names in proptest::collection::vec(".{0,4}", 0..150),
            others in proptest::collection::vec(".{0,4}", 0..50),
        ) {
            let ids = IdMap::from_ids(&names).unwrap();
            let mut stored = stored(&ids, slots(&ids).unwrap());
            prop_assert_eq!(&stored, &ids);
            for name in names.iter().chain(&others) {
                prop_assert_eq!(stored.get(name), ids.get(name));
            }
            prop_assert!(stored.iter().eq(ids.iter()));
            prop_assert_eq!(stored.name(ids.len() as u32), None);
            let mut model: HashMap<&str, u32> = ids.iter().zip(0..).collect();
            for name in &others {
                let next = model.len() as u32;
                prop_assert_eq!(stored.insert(name).unwrap(), *model.entry(name).or_insert(next));
            }
            prop_assert_eq!(stored.len(), model.len());
        }

        /// Whatever stands in the parts: what is found has that name, and the rest is unknown or an error.
        #[test]
        fn broken_parts_never_panic(
            bytes in proptest::collection::vec(prop_oneof![Just(b'a'), Just(b'b'), any::<u8>()], 0..12),
            ends in proptest::collection::vec(prop_oneof![0u64..12, any::<u64>()], 0..8),
            slots in proptest::collection::vec(prop_oneof![0u32..8, Just(EMPTY), any::<u32>()], 16),
            few in 0u32..5,
        ) {
            let slots = slots[..1 << few].to_vec();
            let mut all = ends.clone();
            all.push(bytes.len() as u64);
            let stored = Stored::new("test".to_string(), bytes.into(), all.into(), slots.into());
            prop_assert_eq!(stored.is_some(), ends.len() + 1 < 1 << few);
            if let Some(stored) = stored {
                let mut ids = IdMap::from_stored(stored);
                for name in ["", "a", "b", "aa", "ab", "\u{fffd}"] {
                    if let Some(id) = ids.get(name) {
                        prop_assert_eq!(ids.name(id), Some(name));
                    }
                }
                prop_assert_eq!(ids.iter().count(), ends.len() + 1);
                let known = ids.clone();
                match ids.insert("new name") {
                    Ok(id) => prop_assert_eq!((id as usize, ids.len()), (known.len(), known.len() + 1)),
                    Err(error) => {
                        prop_assert!(error.to_string().starts_with("test: "));
                        prop_assert_eq!(ids, known);
                    }
                }
            }
        }
    }
}
