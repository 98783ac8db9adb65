//! Files of models that are burn modules, and reading in batches of like lengths.

use burn::module::Module;
use refrain_core::{IdMap, ModelFile, ModelWriter};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Body, SentenceConfig};
use crate::entries::{read_weights, write_weights};
use crate::train::{entries, with_weights};
use crate::{Error, Result, adamw};

const VERSION: u32 = 1;

/// The config in the header, id tables, each parameter as a tensor of its path; `done` takes the file.
pub(crate) fn write<M: Module, R>(
    kind: &str,
    config: &impl Serialize,
    tables: &[(&str, &IdMap)],
    module: &M,
    done: impl FnOnce(ModelWriter<'_>) -> Result<R>,
) -> Result<R> {
    let mut file = ModelWriter::new(kind, VERSION).config(config)?;
    for (name, table) in tables {
        file = file.ids(name, table)?;
    }
    let weights = adamw::read(module)?;
    done(write_weights(file, &entries(module).list, &weights)?)
}

/// The config of a file of this kind.
pub(crate) fn open<C: DeserializeOwned>(file: &ModelFile, kind: &str) -> Result<C> {
    file.expect(kind, VERSION)?;
    Ok(file.config()?)
}

/// The module with the file's parameters.
pub(crate) fn read<M: Module>(file: &ModelFile, module: M) -> Result<M> {
    let weights = read_weights(file, &entries(&module).list)?;
    Ok(with_weights(module, &weights))
}

/// Refuses a config that asks for more layers than there are tensors, or wider ones, before any is
/// made.
pub(crate) fn check_reading(file: &ModelFile, config: &SentenceConfig) -> Result<()> {
    config.validate()?;
    let (layers, name, shape) = match config.body {
        Body::Recurrent {
            cell,
            hidden,
            layers,
        } => {
            let name = "reader.recurrent.directions.0.hidden";
            (layers, name, [cell.gates() * hidden, hidden])
        }
        Body::Transformer {
            layers,
            width,
            hidden,
            ..
        } => {
            let name = "reader.attention.layers.layers.0.pwff.linear_inner.weight";
            (layers, name, [width, hidden])
        }
    };
    check_layers(file, layers, name, &shape)?;
    if config.word_width > 0 {
        let rows = file.ids("words")?.len() + 1;
        let table = file.f32("reader.words.weight")?;
        table.expect_shape("reader.words.weight", &[rows, config.word_width])?;
    }
    Ok(())
}

/// One layer's shape, and no more layers than tensors.
pub(crate) fn check_layers(
    file: &ModelFile,
    layers: usize,
    name: &str,
    shape: &[usize],
) -> Result<()> {
    if layers > file.names().count() {
        let claimed = format_args!("claims {layers} layers");
        return Err(Error::file(file.origin(), claimed));
    }
    file.f32(name)?.expect_shape(name, shape)?;
    Ok(())
}

/// What `read` makes of batches of like lengths, in the order of the inputs.
pub(crate) fn in_batches<T, R>(
    inputs: &[&T],
    batch: usize,
    length: impl Fn(&T) -> usize,
    mut read: impl FnMut(&[&T]) -> Result<Vec<R>>,
) -> Result<Vec<R>> {
    let mut order: Vec<(usize, &T)> = inputs.iter().copied().enumerate().collect();
    order.sort_by_key(|(_, input)| length(input));
    let mut out = Vec::with_capacity(inputs.len());
    for part in order.chunks(batch) {
        let own: Vec<&T> = part.iter().map(|(_, input)| *input).collect();
        let places = part.iter().map(|(place, _)| *place);
        out.extend(places.zip(read(&own)?));
    }
    out.sort_by_key(|(place, _)| *place);
    Ok(out.into_iter().map(|(_, result)| result).collect())
}
