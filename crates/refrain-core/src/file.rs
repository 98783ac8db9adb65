//! Files that are whole or not there.

use std::path::Path;

use crate::{Error, Result};

/// Writes a file beside its place and moves it there, so that whoever opens it finds all of it, or what
/// was there before.
///
/// # Errors
/// [`Error::Io`].
pub fn replace_file(path: impl AsRef<Path>, bytes: &[u8]) -> Result<()> {
    let path = path.as_ref();
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.part", std::process::id()));
    let beside = path.with_file_name(name);
    let written = std::fs::write(&beside, bytes).and_then(|()| std::fs::rename(&beside, path));
    if written.is_err() {
        std::fs::remove_file(&beside).ok();
    }
    written.map_err(|e| Error::io(path, e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_a_file_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let names = || -> Vec<_> {
            let entries = std::fs::read_dir(folder.path()).unwrap();
            entries.map(|e| e.unwrap().file_name()).collect()
        };
        let path = folder.path().join("a.bin");
        for text in ["first", "second"] {
            replace_file(&path, text.as_bytes()).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
            assert_eq!(names(), ["a.bin"]);
        }
        // A folder is not replaced by a file.
        let taken = folder.path().join("b");
        std::fs::create_dir_all(taken.join("inner")).unwrap();
        assert!(replace_file(&taken, b"x").is_err());
        assert_eq!(names().len(), 2);
        assert!(replace_file(folder.path().join("no/such/a.bin"), b"x").is_err());
        assert!(replace_file("", b"x").is_err());
    }
}
