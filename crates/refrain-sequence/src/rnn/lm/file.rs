//! A recurrent language model as a `*.refrain` file of kind `sequence.rnn`: the config and the
//! kind of tokens in the header, the token names as an id table, each parameter as a tensor of its
//! name; those of the layers are PyTorch's with `rnn.` in front.

use std::path::Path;

use refrain_core::{Device, ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use super::{RnnConfig, RnnLm};
use crate::entries::{read_weights, write_weights};
use crate::tokenizer::TokenKind;
use crate::trainable::Sealed;
use crate::{Error, Result, Vocabulary};

const KIND: &str = "sequence.rnn";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    rnn: RnnConfig,
    tokens: TokenKind,
}

impl RnnLm {
    fn writer(&self) -> Result<ModelWriter<'_>> {
        let header = Header {
            rnn: self.config.clone(),
            tokens: self.vocabulary.kind(),
        };
        let file = ModelWriter::new(KIND, VERSION)
            .config(&header)?
            .ids("tokens", self.vocabulary.ids())?;
        write_weights(file, &self.entries, &self.weights)
    }

    /// Writes the model to a file.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        Ok(self.writer()?.write(path)?)
    }

    /// The model as the bytes of its file.
    ///
    /// # Errors
    /// When the header grows beyond what the format holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        Ok(self.writer()?.to_bytes()?)
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no such model, is damaged, or comes from a newer version.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::open(path)?, device)
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// As [`RnnLm::load`].
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::from_bytes(bytes)?, device)
    }

    fn read(file: &ModelFile, device: &Device) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let header: Header = file.config()?;
        let names = file.ids("tokens")?;
        // No layer is laid out that has no tensor.
        if header.rnn.layers > file.names().count() {
            let claimed = format_args!("claims {} layers", header.rnn.layers);
            return Err(Error::file(file.origin(), claimed));
        }
        let entries = header.rnn.entries(names.len())?;
        let weights = read_weights(file, &entries.list)?;
        let vocabulary = Vocabulary::from_parts(header.tokens, names);
        Self::with_flat(&header.rnn, vocabulary, weights, device)
    }
}
