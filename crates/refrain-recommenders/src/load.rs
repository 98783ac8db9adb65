use std::any::Any;
use std::cell::Cell;
use std::path::Path;

use refrain_core::ModelFile;

use crate::{Error, Recommender, Result};

pub(crate) type Reader = fn(&ModelFile) -> Result<Box<dyn Recommender>>;

/// The kinds of model files this crate writes, and who reads them; ratings have a list of their own.
const KINDS: &[(&str, Reader)] = &[
    crate::als::READER,
    crate::content::READER,
    crate::hybrid::BLEND,
    crate::hybrid::CASCADE,
    crate::hybrid::STACK,
    crate::hybrid::SWITCH,
    crate::neighbours::Ease::READER,
    crate::neighbours::ItemKnn::READER,
    crate::neighbours::P3Alpha::READER,
    crate::neighbours::Rp3Beta::READER,
    crate::neighbours::Slim::READER,
    crate::neighbours::USER_KNN,
    crate::popularity::READER,
    crate::probability::READER,
    crate::random::READER,
    crate::ranking::FACTORS,
    crate::ranking::FEATURES,
    crate::ranking::PURE_SVD,
    crate::rerank::READER,
    crate::sequential::MARKOV,
    crate::sequential::SESSION_KNN,
    #[cfg(feature = "sequential")]
    crate::sequential::NEXT_ITEM,
];

/// Reads any recommender from the file that [`Recommender::save`] wrote.
///
/// # Errors
/// [`Error::Core`] when the file is missing, damaged or from a newer version,
/// [`Error::UnknownKind`] when it holds something else.
pub fn load(path: impl AsRef<Path>) -> Result<Box<dyn Recommender>> {
    from_file(&ModelFile::open(path)?)
}

/// Reads a recommender of one type, for what only that type can do: go on from it, add items to it, look
/// into it.
///
/// # Errors
/// As [`load`], and [`Error::OtherModel`] when the file holds another type.
pub fn load_as<M: Recommender>(path: impl AsRef<Path>) -> Result<M> {
    let file = ModelFile::open(path)?;
    let model: Box<dyn Any> = from_file(&file)?;
    match model.downcast::<M>() {
        Ok(model) => Ok(*model),
        Err(_) => Err(Error::OtherModel {
            origin: file.origin().to_string(),
            kind: file.kind().to_string(),
            expected: std::any::type_name::<M>(),
        }),
    }
}

/// Reads any recommender from an opened file.
///
/// # Errors
/// As [`load`].
pub fn from_file(file: &ModelFile) -> Result<Box<dyn Recommender>> {
    let mut kinds = KINDS.iter().chain(crate::ratings::READERS);
    match kinds.find(|(kind, _)| *kind == file.kind()) {
        Some((_, read)) => read(file),
        None => Err(Error::UnknownKind {
            origin: file.origin().to_string(),
            kind: file.kind().to_string(),
        }),
    }
}

/// Models may hold models that hold models, this deep: a damaged file could else go on forever.
const MAX_DEPTH: u32 = 8;

thread_local! {
    /// How deep in models within models this thread reads.
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Reads a model that is held in a tensor of another's file.
pub(crate) fn nested(file: &ModelFile, tensor: &str) -> Result<Box<dyn Recommender>> {
    let depth = DEPTH.get();
    if depth >= MAX_DEPTH {
        return Err(Error::Core(refrain_core::Error::ModelFile {
            origin: file.origin().to_string(),
            reason: "it holds models within models, too deep".to_string(),
        }));
    }
    let inner = ModelFile::from_bytes(file.u8(tensor)?.data.into_owned())?;
    DEPTH.set(depth + 1);
    let model = from_file(&inner);
    DEPTH.set(depth);
    model
}

/// A copy, by way of its file, to be changed while the model stays as it is.
pub(crate) fn duplicate(model: &dyn Recommender) -> Result<Box<dyn Recommender>> {
    from_file(&ModelFile::from_bytes(model.to_file()?.to_bytes()?)?)
}
