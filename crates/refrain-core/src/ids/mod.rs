mod stored;

use std::fmt;
use std::hash::BuildHasher;

use hashbrown::hash_table::Entry;
use hashbrown::{DefaultHashBuilder, HashTable};
use rayon::prelude::*;

use crate::{Error, Result};
pub(crate) use stored::{Stored, slots};

/// A user's ids ↔ dense numbers `0..len`, in order of first appearance.
///
/// Ids are text; integers are accepted and kept as their decimal digits, so `7` and `"7"` are the
/// same id. The names lie end to end in one buffer: an id costs its own bytes, 8 for its place and
/// about 5 for the hash table. Inserting an id twice gives the same number.
///
/// Those of a model file may [stay in it](crate::ModelFile::ids_in_place), until one is added.
///
/// ```
/// use refrain_core::IdMap;
/// let mut ids = IdMap::new();
/// assert_eq!(ids.insert("alice")?, 0);
/// assert_eq!(ids.insert(42)?, 1);
/// assert_eq!(ids.get("42"), Some(1));
/// assert_eq!(ids.get("bob"), None);
/// assert_eq!(ids.iter().collect::<Vec<_>>(), ["alice", "42"]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone)]
pub struct IdMap(Place);

#[derive(Clone)]
enum Place {
    Memory(Names),
    File(Stored),
}

impl Default for IdMap {
    fn default() -> Self {
        Self(Place::Memory(Names::default()))
    }
}

/// Names in memory.
#[derive(Clone, Default)]
struct Names {
    /// All names, one after the other.
    bytes: String,
    /// Where each name ends in `bytes`.
    ends: Vec<u64>,
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

/// What can serve as an id: text or an integer.
pub trait AsId {
    /// Calls `f` with the id as text.
    fn with_id<R>(&self, f: impl FnOnce(&str) -> R) -> R;
}

impl AsId for str {
    fn with_id<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        f(self)
    }
}

impl AsId for String {
    fn with_id<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        f(self)
    }
}

impl<T: AsId + ?Sized> AsId for &T {
    fn with_id<R>(&self, f: impl FnOnce(&str) -> R) -> R {
        (**self).with_id(f)
    }
}

macro_rules! integer_ids {
    ($($t:ty),*) => {$(
        impl AsId for $t {
            fn with_id<R>(&self, f: impl FnOnce(&str) -> R) -> R {
                f(itoa::Buffer::new().format(*self))
            }
        }
    )*};
}
integer_ids!(i32, i64, u32, u64, usize);

impl IdMap {
    /// An empty map.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty map with room for so many ids of so many bytes in all.
    pub fn with_capacity(ids: usize, bytes: usize) -> Self {
        Self(Place::Memory(Names {
            bytes: String::with_capacity(bytes),
            ends: Vec::with_capacity(ids),
            table: HashTable::with_capacity(ids),
            hasher: DefaultHashBuilder::default(),
        }))
    }

    /// Ids that stay where they are.
    pub(crate) fn from_stored(stored: Stored) -> Self {
        Self(Place::File(stored))
    }

    /// How many ids there are.
    pub fn len(&self) -> usize {
        match &self.0 {
            Place::Memory(names) => names.ends.len(),
            Place::File(stored) => stored.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The number of `id`, giving it the next free one if it is new.
    ///
    /// # Errors
    /// [`Error::TooManyIds`] beyond 4,294,967,295 ids; [`Error::ModelFile`] when they are in a file that is
    /// broken.
    pub fn insert(&mut self, id: impl AsId) -> Result<u32> {
        id.with_id(|name| {
            let stored = match &mut self.0 {
                Place::Memory(names) => return names.insert(name),
                Place::File(stored) => stored,
            };
            if let Some(known) = stored.get(name) {
                return Ok(known);
            }
            let mut names = stored.read()?;
            let new = names.insert(name);
            self.0 = Place::Memory(names);
            new
        })
    }

    /// The number of `id`, if it is known.
    pub fn get(&self, id: impl AsId) -> Option<u32> {
        id.with_id(|name| match &self.0 {
            Place::Memory(names) => names.get(name),
            Place::File(stored) => stored.get(name),
        })
    }

    /// The id with this number.
    pub fn name(&self, index: u32) -> Option<&str> {
        match &self.0 {
            Place::Memory(names) => slice(&names.bytes, &names.ends, index),
            Place::File(stored) => stored.name(index),
        }
    }

    /// All ids, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &str> + '_ {
        (0..self.len()).map(|i| self.name(i as u32).unwrap_or_default())
    }

    /// All names end to end, and where each ends.
    pub(crate) fn parts(&self) -> (&[u8], &[u64]) {
        match &self.0 {
            Place::Memory(names) => (names.bytes.as_bytes(), &names.ends),
            Place::File(stored) => stored.parts(),
        }
    }

    /// A map of these ids, in this order.
    ///
    /// # Errors
    /// [`Error::TooManyIds`]; ids that repeat keep their first number.
    pub fn from_ids<T: AsId>(ids: impl IntoIterator<Item = T>) -> Result<Self> {
        let mut map = Self::new();
        for id in ids {
            map.insert(id)?;
        }
        Ok(map)
    }
}

impl Names {
    fn insert(&mut self, name: &str) -> Result<u32> {
        let (bytes, ends, hasher) = (&self.bytes, &self.ends, &self.hasher);
        let entry = self.table.entry(
            hasher.hash_one(name),
            |&i| slice(bytes, ends, i) == Some(name),
            |&i| hasher.hash_one(slice(bytes, ends, i).unwrap_or_default()),
        );
        let vacant = match entry {
            Entry::Occupied(found) => return Ok(*found.get()),
            Entry::Vacant(vacant) => vacant,
        };
        let next = u32::try_from(ends.len())
            .ok()
            .filter(|&n| n < u32::MAX)
            .ok_or(Error::TooManyIds {
                count: ends.len().saturating_add(1),
            })?;
        vacant.insert(next);
        self.bytes.push_str(name);
        self.ends.push(self.bytes.len() as u64);
        Ok(next)
    }

    fn get(&self, name: &str) -> Option<u32> {
        let hash = self.hasher.hash_one(name);
        self.table
            .find(hash, |&i| slice(&self.bytes, &self.ends, i) == Some(name))
            .copied()
    }
}

/// Why names that lie end to end are no map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadIds {
    /// The name with this number is not text that ends where it is said to.
    Broken(usize),
    /// The name with this number stood before.
    Twice(usize),
    /// There are bytes after the last name.
    LeftOver,
}

impl fmt::Display for BadIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(at) => write!(f, "entry {at} is broken"),
            Self::Twice(at) => write!(f, "entry {at} stood before"),
            Self::LeftOver => f.write_str("bytes left over"),
        }
    }
}

impl std::error::Error for BadIds {}

impl IdMap {
    /// A map of names that lie end to end, `ends` telling where each ends: many times as fast as
    /// inserting one after the other.
    ///
    /// ```
    /// use refrain_core::{BadIds, IdMap};
    /// let ids = IdMap::from_parts(b"annbob".to_vec(), vec![3, 6]);
    /// assert_eq!(ids.map(|ids| ids.get("bob")), Ok(Some(1)));
    /// assert_eq!(IdMap::from_parts(b"anan".to_vec(), vec![2, 4]), Err(BadIds::Twice(1)));
    /// ```
    ///
    /// # Errors
    /// [`BadIds`].
    pub fn from_parts(bytes: Vec<u8>, ends: Vec<u64>) -> Result<Self, BadIds> {
        Names::from_parts(bytes, ends).map(|names| Self(Place::Memory(names)))
    }
}

impl Names {
    fn from_parts(bytes: Vec<u8>, ends: Vec<u64>) -> Result<Self, BadIds> {
        let bytes = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to() as u64;
            BadIds::Broken(ends.iter().take_while(|&&end| end <= valid).count())
        })?;
        let mut start = 0;
        for (at, &end) in ends.iter().enumerate() {
            let whole = usize::try_from(end).is_ok_and(|end| bytes.is_char_boundary(end));
            if !whole || end < start || at >= u32::MAX as usize {
                return Err(BadIds::Broken(at));
            }
            start = end;
        }
        if start != bytes.len() as u64 {
            return Err(BadIds::LeftOver);
        }
        let hasher = DefaultHashBuilder::default();
        let hash = |i: u32| hasher.hash_one(slice(&bytes, &ends, i).unwrap_or_default());
        let hashes: Vec<u64> = (0..ends.len() as u32).into_par_iter().map(hash).collect();
        let mut table = HashTable::with_capacity(ends.len());
        for (i, &hash) in (0u32..).zip(&hashes) {
            let name = slice(&bytes, &ends, i);
            let rehash = |&i: &u32| hashes.get(i as usize).copied().unwrap_or_default();
            match table.entry(hash, |&other| slice(&bytes, &ends, other) == name, rehash) {
                Entry::Occupied(_) => return Err(BadIds::Twice(i as usize)),
                Entry::Vacant(vacant) => vacant.insert(i),
            };
        }
        Ok(Self {
            bytes,
            ends,
            table,
            hasher,
        })
    }
}

fn slice<'a>(bytes: &'a str, ends: &[u64], index: u32) -> Option<&'a str> {
    let index = index as usize;
    let end = *ends.get(index)? as usize;
    let start = match index {
        0 => 0,
        _ => *ends.get(index - 1)? as usize,
    };
    bytes.get(start..end)
}

impl PartialEq for IdMap {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for IdMap {}

impl fmt::Debug for IdMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdMap({} ids", self.len())?;
        for name in self.iter().take(3) {
            write!(f, ", {name:?}")?;
        }
        f.write_str(if self.len() > 3 { ", …)" } else { ")" })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_hash_map(names in proptest::collection::vec(".{0,6}", 0..200)) {
            let mut ids = IdMap::new();
            let mut model: HashMap<String, u32> = HashMap::new();
            for name in &names {
                let next = model.len() as u32;
                let expected = *model.entry(name.clone()).or_insert(next);
                prop_assert_eq!(ids.insert(name).unwrap(), expected);
            }
            prop_assert_eq!(ids.len(), model.len());
            for (name, &index) in &model {
                prop_assert_eq!(ids.get(name), Some(index));
                prop_assert_eq!(ids.name(index), Some(name.as_str()));
            }
            prop_assert_eq!(ids.name(model.len() as u32), None);
            let again = IdMap::from_ids(ids.iter()).unwrap();
            prop_assert_eq!(again, ids);
        }
    }

    #[test]
    fn parts_are_checked() {
        let parts = |bytes: &str, ends: &[u64]| IdMap::from_parts(bytes.into(), ends.to_vec());
        let ids = parts("ann五bob", &[3, 3, 6, 9]).unwrap_or_default();
        assert_eq!(ids, IdMap::from_ids(["ann", "", "五", "bob"]).unwrap());
        assert_eq!(
            (ids.get("五"), ids.get(""), ids.get("b")),
            (Some(2), Some(1), None)
        );
        assert!(matches!(parts("aXa", &[1, 2, 3]), Err(BadIds::Twice(2))));
        assert!(matches!(parts("五", &[1, 3]), Err(BadIds::Broken(0))));
        assert!(matches!(parts("ab", &[2, 1]), Err(BadIds::Broken(1))));
        assert!(matches!(parts("ab", &[1, 3]), Err(BadIds::Broken(1))));
        assert!(matches!(parts("ab", &[1]), Err(BadIds::LeftOver)));
        let text = IdMap::from_parts(vec![b'a', 0xff, b'b'], vec![1, 2, 3]);
        assert!(matches!(text, Err(BadIds::Broken(1))));
    }
}
