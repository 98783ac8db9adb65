//! Checkpoints: everything a run needs to go on as if it had not stopped.

use std::path::Path;

use refrain_core::{ModelFile, ModelWriter};
use serde::{Deserialize, Serialize};

use super::engine::Engine;
use super::model::{Network, Settings};
use crate::memory::finite;
use crate::neighbours::sparse::Csr;
use crate::{Error, Result};

const KIND: &str = "recommenders.next_item.checkpoint";
const VERSION: u32 = 1;

/// How far a run has come.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Run {
    /// The next epoch.
    pub(super) epoch: usize,
    /// Steps done.
    pub(super) step: u64,
    /// Sequences seen.
    pub(super) number: u64,
    /// Epochs since the best validation.
    pub(super) stale: usize,
}

#[derive(Serialize, Deserialize)]
struct Header {
    /// As JSON text: a number that went through a JSON value may come back one bit off.
    settings: String,
    data: u64,
    run: Run,
}

/// A number that changes when the histories or the features do (FNV-1a).
pub(super) fn fingerprint<'a>(
    items: usize,
    sequences: impl Iterator<Item = &'a [u32]>,
    features: Option<&Csr>,
) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    let mut add = |x: u32| hash = (hash ^ u64::from(x)).wrapping_mul(0x0100_0000_01b3);
    add(items as u32);
    for sequence in sequences {
        add(sequence.len() as u32);
        sequence.iter().for_each(|&item| add(item));
    }
    if let Some(features) = features {
        for item in 0..items as u32 {
            add(features.pairs(item).count() as u32);
            for (feature, value) in features.pairs(item) {
                add(feature);
                add(value.to_bits());
            }
        }
    }
    hash
}

/// Whether there is a checkpoint. Its folder has to be there at once, not after the first epoch; an empty
/// file is what is left of a writer that was stopped at its start.
pub(super) fn is_there(path: &Path) -> Result<bool> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        let found = std::fs::metadata(folder);
        found.map_err(|error| refrain_core::Error::io(folder, error))?;
    }
    Ok(std::fs::metadata(path).is_ok_and(|file| file.len() > 0))
}

fn text(path: &Path, settings: &Settings) -> Result<String> {
    serde_json::to_string(settings).map_err(|error| refuse(path, error))
}

fn refuse(path: &Path, reason: impl ToString) -> Error {
    refrain_core::Error::ModelFile {
        origin: path.display().to_string(),
        reason: reason.to_string(),
    }
    .into()
}

pub(super) fn write(
    path: &Path,
    settings: &Settings,
    data: u64,
    run: Run,
    engine: &Engine,
    best: Option<&(f64, Network)>,
) -> Result<()> {
    let header = Header {
        settings: text(path, settings)?,
        data,
        run,
    };
    let mut file = ModelWriter::new(KIND, VERSION).config(&header)?;
    for (name, values) in ["weights", "first", "second"]
        .into_iter()
        .zip(engine.parameters()?)
    {
        file = file.f32(name, &[values.len()], values)?;
    }
    for (name, values) in engine.table.state() {
        file = file.f32(name, &[values.len()], values)?;
    }
    if let Some((found, network)) = best {
        file = file
            .u64("best.found", &[1], vec![found.to_bits()])?
            .f32("best.weights", &[network.weights.len()], &network.weights)?
            .f32("best.vectors", &[network.vectors.len()], &network.vectors)?;
        if !network.features.is_empty() {
            let n = network.features.len();
            file = file.f32("best.features", &[n], &network.features)?;
        }
    }
    Ok(file.write(path)?)
}

/// Brings the engine to where the checkpoint was written; `like` is a network of the right shape.
pub(super) fn read(
    path: &Path,
    settings: &Settings,
    data: u64,
    engine: &mut Engine,
    like: Network,
) -> Result<(Run, Option<(f64, Network)>)> {
    let file = ModelFile::open(path)?;
    file.expect(KIND, VERSION)?;
    let header: Header = file.config()?;
    if header.settings != text(path, settings)? {
        return Err(refuse(path, "a checkpoint of a model with other settings"));
    }
    if header.data != data {
        return Err(refuse(path, "a checkpoint of training on other data"));
    }
    let values = |name, n| finite(&file, name, &[n]);
    let n = like.weights.len();
    engine.restore([
        values("weights", n)?,
        values("first", n)?,
        values("second", n)?,
    ])?;
    for (name, to) in engine.table.state_mut() {
        *to = values(name, to.len())?;
    }
    if !file.names().any(|name| name == "best.found") {
        return Ok((header.run, None));
    }
    let found = file.u64("best.found")?.expect_shape("best.found", &[1])?;
    let found = f64::from_bits(found.data.first().copied().unwrap_or_default());
    let mut best = like;
    best.weights = values("best.weights", n)?;
    best.vectors = values("best.vectors", best.vectors.len())?;
    if !best.features.is_empty() {
        best.features = values("best.features", best.features.len())?;
    }
    Ok((header.run, Some((found, best))))
}
