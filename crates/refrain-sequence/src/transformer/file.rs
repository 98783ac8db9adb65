//! A transformer as a `*.refrain` file of kind `sequence.transformer`: the config and the kind of
//! tokens in the header, the token names as an id table, each parameter as a tensor of its name.

use std::path::Path;

use refrain_core::{Device, ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use super::Transformer;
use super::config::TransformerConfig;
use super::layout::Layout;
use crate::entries::{read_weights, write_weights};
use crate::tokenizer::TokenKind;
use crate::{Error, Result, Vocabulary};

const KIND: &str = "sequence.transformer";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Header {
    transformer: TransformerConfig,
    tokens: TokenKind,
}

impl Transformer {
    fn writer(&self) -> Result<ModelWriter<'_>> {
        let header = Header {
            transformer: self.config.clone(),
            tokens: self.vocabulary.kind(),
        };
        let mut file = ModelWriter::new(KIND, VERSION)
            .config(&header)?
            .ids("tokens", self.vocabulary.ids())?;
        file = write_weights(file, &self.layout.entries, &self.weights)?;
        Ok(file)
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
    /// As [`Transformer::load`].
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::read(&ModelFile::from_bytes(bytes)?, device)
    }

    fn read(file: &ModelFile, device: &Device) -> Result<Self> {
        file.expect(KIND, VERSION)?;
        let header: Header = file.config()?;
        let names = file.ids("tokens")?;
        // A claimed size is only believed where the file holds the values: no layer is laid out
        // that has no tensor.
        let most = file.names().count();
        if header.transformer.layers > most {
            let claimed = header.transformer.layers;
            return Err(Error::file(
                file.origin(),
                format_args!("claims {claimed} layers"),
            ));
        }
        let layout = Layout::new(&header.transformer, names.len())?;
        let weights = read_weights(file, &layout.entries)?;
        let vocabulary = Vocabulary::from_parts(header.tokens, names);
        Self::from_weights(&header.transformer, vocabulary, weights, device)
    }
}
