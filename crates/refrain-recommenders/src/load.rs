use std::path::Path;

use refrain_core::ModelFile;

use crate::{Error, Recommender, Result};

pub(crate) type Reader = fn(&ModelFile) -> Result<Box<dyn Recommender>>;

/// Every kind of model file this crate writes, and who reads it.
const KINDS: &[(&str, Reader)] = &[
    crate::als::READER,
    crate::content::READER,
    crate::hybrid::READER,
    crate::neighbours::Ease::READER,
    crate::neighbours::ItemKnn::READER,
    crate::neighbours::P3Alpha::READER,
    crate::neighbours::Rp3Beta::READER,
    crate::neighbours::Slim::READER,
    crate::neighbours::USER_KNN,
    crate::popularity::READER,
    crate::random::READER,
    crate::ratings::BASELINE,
    crate::ratings::BIASED_MF,
    crate::sequential::MARKOV,
    crate::sequential::SESSION_KNN,
];

/// Reads any recommender from the file that [`Recommender::save`] wrote.
///
/// # Errors
/// [`Error::Core`] when the file is missing, damaged or from a newer version,
/// [`Error::UnknownKind`] when it holds something else.
pub fn load(path: impl AsRef<Path>) -> Result<Box<dyn Recommender>> {
    from_file(&ModelFile::open(path)?)
}

/// Reads any recommender from an opened file.
///
/// # Errors
/// As [`load`].
pub fn from_file(file: &ModelFile) -> Result<Box<dyn Recommender>> {
    match KINDS.iter().find(|(kind, _)| *kind == file.kind()) {
        Some((_, read)) => read(file),
        None => Err(Error::UnknownKind {
            origin: file.origin().to_string(),
            kind: file.kind().to_string(),
        }),
    }
}
