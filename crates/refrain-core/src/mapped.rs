use std::fmt;
use std::fs::File;
use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;

use crate::{Error, Result};

/// The bytes of a file, mapped into memory: they are read when they are looked at, and opening takes no
/// time. Clones share them.
///
/// The file must not be changed in place while it is mapped; replacing it is safe.
///
/// ```
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("small");
/// # std::fs::write(&path, b"FiFu").unwrap();
/// use refrain_core::MappedFile;
/// let file = MappedFile::open(&path)?;
/// assert_eq!(&file[..2], b"Fi");
/// assert_eq!(&MappedFile::from(b"FiFu".to_vec())[..], &file[..]);
/// # Ok::<(), refrain_core::Error>(())
/// ```
#[derive(Clone)]
pub struct MappedFile(Arc<Backing>);

enum Backing {
    Map(memmap2::Mmap),
    Bytes(Vec<u8>),
}

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| Error::io(path, error))?;
        // SAFETY: a private read-only map. Rust cannot rule out that another process changes the
        // file meanwhile; every value read from it is plain data, checked where it is used, and
        // our own writer replaces files instead of changing them.
        let map = unsafe { memmap2::Mmap::map(&file) }.map_err(|error| Error::io(path, error))?;
        Ok(Self(Arc::new(Backing::Map(map))))
    }
}

/// Bytes that are in memory already.
impl From<Vec<u8>> for MappedFile {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Backing::Bytes(bytes)))
    }
}

impl Deref for MappedFile {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match &*self.0 {
            Backing::Map(map) => map,
            Backing::Bytes(bytes) => bytes,
        }
    }
}

impl fmt::Debug for MappedFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MappedFile({} bytes)", self.len())
    }
}
