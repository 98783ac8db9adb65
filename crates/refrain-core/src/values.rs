use std::ops::{Deref, Range};

use bytemuck::Pod;

use crate::MappedFile;

/// Numbers in memory, or those at a place in a mapped file, where they are read when they are looked at.
///
/// ```
/// use refrain_core::{MappedFile, Values};
/// let file = MappedFile::from(vec![1, 2, 3, 4]);
/// let there: Values<u8> = Values::at(&file, 1..3);
/// assert_eq!(there[..], [2, 3]);
/// assert_eq!(there, vec![2, 3].into());
/// ```
#[derive(Debug, Clone)]
pub enum Values<T = f32> {
    /// In memory.
    Owned(Vec<T>),
    /// The bytes at this place in a file; none where there is no such place, or it is not aligned.
    Mapped(MappedFile, Range<usize>),
}

impl<T: Pod> Values<T> {
    /// The numbers that stand at a place in a file, left there if the place allows.
    pub fn at(file: &MappedFile, place: Range<usize>) -> Self {
        let bytes = file.get(place.clone()).unwrap_or_default();
        match bytemuck::try_cast_slice::<u8, T>(bytes) {
            Ok(_) => Self::Mapped(file.clone(), place),
            Err(_) => Self::Owned(bytemuck::pod_collect_to_vec(bytes)),
        }
    }
}

impl<T> From<Vec<T>> for Values<T> {
    fn from(values: Vec<T>) -> Self {
        Self::Owned(values)
    }
}

impl<T> Default for Values<T> {
    fn default() -> Self {
        Self::Owned(Vec::new())
    }
}

impl<T: Pod> Deref for Values<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        match self {
            Self::Owned(values) => values,
            Self::Mapped(file, place) => {
                let bytes = file.get(place.clone()).unwrap_or_default();
                bytemuck::try_cast_slice(bytes).unwrap_or_default()
            }
        }
    }
}

impl<T: Pod + PartialEq> PartialEq for Values<T> {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

impl<T: Pod + Eq> Eq for Values<T> {}
