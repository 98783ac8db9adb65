//! Polyphonic music as frames of keys: a recurrent network says which keys sound next.
//!
//! At equal steps of time a frame tells which of the piano's keys sound. The network has read the
//! frames so far, and gives each key a probability of its own for the next one (Boulanger-Lewandowski
//! et al., 2012):
//!
//! `-ln p(x₁ … x_n | x₀) = -Σₜ Σₖ x[t, k] ln p[t, k] + (1 - x[t, k]) ln(1 - p[t, k])`
//!
//! The loss is in nats per frame, summed over the keys; the first frame is given.

use std::path::Path;

use burn::module::{Module, Param};
use burn::nn::Linear;
use burn::tensor::activation::relu;
use burn::tensor::{Device, Tensor, TensorData};
use rand::RngExt;
use refrain_core::{ModelFile, rng};
use serde::{Deserialize, Serialize};

use crate::entries::{Entries, Init, Role, initial};
use crate::ragged::on_host;
use crate::sentence::file;
use crate::train::{Learner, Learning};
use crate::{Cell, Error, Pass, Recurrent, RecurrentConfig, RecurrentState, Result};

/// Frames of a piece: of each the keys that sound, as numbers below [`FrameConfig::keys`].
///
/// ```
/// use refrain_sequence::Frames;
/// let cadence = Frames(vec![vec![39, 43, 46], vec![38, 41, 46], vec![39, 43, 46]]);
/// assert_eq!(cadence.transposed(2).unwrap().0[1], [40, 43, 48]);
/// assert_eq!(cadence.transposed(-39), None);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Frames(pub Vec<Vec<u32>>);

impl Frames {
    /// Every key higher by `steps`, or lower; `None` where one would be below 0.
    pub fn transposed(&self, steps: i32) -> Option<Self> {
        let frame = |keys: &Vec<u32>| -> Option<Vec<u32>> {
            keys.iter().map(|&k| k.checked_add_signed(steps)).collect()
        };
        self.0.iter().map(frame).collect::<Option<_>>().map(Self)
    }

    /// The lowest and the highest key; `None` where nothing sounds.
    pub fn range(&self) -> Option<(u32, u32)> {
        let keys = || self.0.iter().flatten().copied();
        Some((keys().min()?, keys().max()?))
    }
}

/// The size and the kind of a [`FrameModel`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FrameConfig {
    /// Keys of a frame: 88 of a piano.
    pub keys: usize,
    /// The step of a layer.
    pub cell: Cell,
    /// Layers.
    pub layers: usize,
    /// The length of each hidden state.
    pub hidden: usize,
    /// The share of values dropped between layers and before the output while training.
    pub dropout: f32,
}

impl Default for FrameConfig {
    fn default() -> Self {
        Self {
            keys: 88,
            cell: Cell::Lstm,
            layers: 1,
            hidden: 256,
            dropout: 0.2,
        }
    }
}

/// A model of polyphonic music; a [`Trainer`](crate::Trainer) fits it to [`Frames`].
///
/// ```
/// use refrain_sequence::{FrameConfig, FrameModel, Frames, Trainer};
///
/// // Two keys take turns.
/// let piece = |first: u32| Frames((0..12).map(|t| vec![(t + first) % 2]).collect());
/// let config = FrameConfig { keys: 2, hidden: 8, dropout: 0.0, ..FrameConfig::default() };
/// let model = FrameModel::new(&config, 0, &refrain_core::device("cpu")?)?;
/// let trainer = Trainer { steps: 150, batch: 2, learning_rate: 3e-2, warm_up: 5, ..Trainer::default() };
/// let trained = trainer.fit_module(&model, &[piece(0), piece(1)], &[piece(1)])?;
/// assert!(trained.model.loss_per_frame(&[piece(0)])? < 0.5);
/// let next = trained.model.generate(&piece(0), 4, 0.1, 7)?;
/// assert_eq!(next, piece(0).0[..4]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
pub struct FrameModel {
    layers: Recurrent,
    head: Linear,
    #[module(skip)]
    config: FrameConfig,
}

/// Where dropout before the output draws from; between layers `k - 1` and `k` it is `k`.
const BEFORE_OUTPUT: usize = 1 << 12;

const KIND: &str = "sequence.frames";

/// No instrument has more.
const MOST_KEYS: usize = 1 << 12;

impl FrameModel {
    /// A model whose first values are drawn on the host: a seed means the same on every device.
    ///
    /// # Errors
    /// [`Error::Config`] naming the field.
    pub fn new(config: &FrameConfig, seed: u64, device: &Device) -> Result<Self> {
        let keys = config.keys;
        if keys == 0 || keys > MOST_KEYS {
            return Err(Error::config(
                "FrameConfig.keys",
                keys,
                "between 1 and 4096",
            ));
        }
        let recurrent = RecurrentConfig {
            cell: config.cell,
            input: keys,
            hidden: config.hidden,
            layers: config.layers,
            dropout: config.dropout,
            ..RecurrentConfig::default()
        };
        let layers = Recurrent::new(&recurrent, seed, device)?;
        let mut entries = Entries::default();
        let shape = [config.hidden, keys];
        let init = Init::Uniform(1.0 / (config.hidden as f32).sqrt());
        entries.push("head".to_string(), shape.to_vec(), Role::Matrix, init);
        let weight = initial(&entries.list, seed ^ 1);
        // At first a key sounds as seldom as keys do: four of a piano's.
        let bias = vec![-3.0f32; keys];
        Ok(Self {
            layers,
            head: Linear {
                weight: Param::from_data(TensorData::new(weight, shape), device),
                bias: Some(Param::from_data(TensorData::new(bias, [keys]), device)),
            },
            config: config.clone(),
        })
    }

    /// Its shape.
    pub fn config(&self) -> &FrameConfig {
        &self.config
    }

    /// The mean loss of all frames but the first of each piece, in nats.
    ///
    /// # Errors
    /// [`Error::Token`] for a key that there is not, [`Error::TooShort`] where no piece has two
    /// frames.
    pub fn loss_per_frame(&self, pieces: &[Frames]) -> Result<f64> {
        let mut pieces: Vec<&Frames> = pieces.iter().filter(|p| p.0.len() > 1).collect();
        pieces.sort_by_key(|piece| piece.0.len());
        let count: usize = pieces.iter().map(|piece| Self::targets(piece)).sum();
        if count == 0 {
            return Err(Error::TooShort {
                what: "frames of the longest piece".to_string(),
                needed: 2,
                found: usize::from(!pieces.is_empty()),
            });
        }
        let mut sum = 0.0;
        for batch in pieces.chunks(32) {
            let loss = self.loss(batch, &Learning::default())?;
            sum += f64::from(loss.try_into_scalar::<f32>().map_err(Error::device)?);
        }
        Ok(sum / count as f64)
    }

    /// Draws `count` frames after a prompt, each key by its own probability; a temperature below 1
    /// makes likely keys likelier.
    ///
    /// # Errors
    /// [`Error::TooShort`] for an empty prompt, [`Error::Token`] for a key that there is not,
    /// [`Error::Config`] for a temperature that is not positive.
    pub fn generate(
        &self,
        prompt: &Frames,
        count: usize,
        temperature: f32,
        seed: u64,
    ) -> Result<Vec<Vec<u32>>> {
        if !(temperature > 0.0 && temperature.is_finite()) {
            return Err(Error::config("the temperature", temperature, "positive"));
        }
        if prompt.0.is_empty() {
            return Err(Error::TooShort {
                what: "frames of the prompt".to_string(),
                needed: 1,
                found: 0,
            });
        }
        let mut draw = rng::stream(seed, 0);
        let (mut state, mut read) = (None, prompt.0.clone());
        let mut written = Vec::new();
        while written.len() < count {
            let (logits, next) = self.read(&read, state)?;
            state = Some(next);
            let sounds = |&z: &f32| draw.random::<f32>() < 1.0 / (1.0 + (-z / temperature).exp());
            let sounding: Vec<bool> = logits.iter().map(sounds).collect();
            let keys = (0..).zip(sounding).filter(|(_, sounds)| *sounds);
            let frame: Vec<u32> = keys.map(|(key, _)| key).collect();
            read = vec![frame.clone()];
            written.push(frame);
        }
        Ok(written)
    }

    /// Writes the model to a `*.refrain` file of kind `sequence.frames`.
    ///
    /// # Errors
    /// When the file cannot be written; the error names it.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        file::write(KIND, &self.config, &[], self, |file| Ok(file.write(path)?))
    }

    /// The model as the bytes of its file.
    ///
    /// # Errors
    /// Those of the device.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        file::write(KIND, &self.config, &[], self, |file| Ok(file.to_bytes()?))
    }

    /// Reads a model from a file.
    ///
    /// # Errors
    /// When the file is no such model, is damaged, or comes from a newer version.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<Self> {
        Self::from_file(&ModelFile::open(path)?, device)
    }

    /// Reads a model from the bytes of its file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_bytes(bytes: Vec<u8>, device: &Device) -> Result<Self> {
        Self::from_file(&ModelFile::from_bytes(bytes)?, device)
    }

    fn from_file(file: &ModelFile, device: &Device) -> Result<Self> {
        let config: FrameConfig = file::open(file, KIND)?;
        // No sizes but those of the file's own tensors are made room for.
        let rows = config.cell.gates().saturating_mul(config.hidden);
        for (name, columns) in [("hidden", config.hidden), ("input", config.keys)] {
            let name = format!("layers.directions.0.{name}");
            file::check_layers(file, config.layers, &name, &[rows, columns])?;
        }
        file::read(file, Self::new(&config, 0, device)?)
    }

    /// The logits of the keys after some frames, and the state.
    fn read(
        &self,
        frames: &[Vec<u32>],
        state: Option<RecurrentState>,
    ) -> Result<(Vec<f32>, RecurrentState)> {
        let x = self.rolls(&[frames], frames.len())?;
        let pass = Pass {
            state,
            ..Pass::default()
        };
        let (y, state) = self.layers.forward(x, pass)?;
        let last = y.narrow(1, frames.len() - 1, 1);
        let logits = on_host(self.head.forward(last), None)?;
        Ok((logits.concat(), state.detach()))
    }

    /// Frames as zeros and ones, `[pieces, time, keys]`.
    fn rolls(&self, pieces: &[&[Vec<u32>]], time: usize) -> Result<Tensor<3>> {
        let keys = self.config.keys;
        let mut values = vec![0.0f32; pieces.len() * time * keys];
        let rolls = values.chunks_mut((time * keys).max(1));
        for (number, (piece, roll)) in pieces.iter().zip(rolls).enumerate() {
            for (t, (frame, row)) in piece.iter().zip(roll.chunks_mut(keys)).enumerate() {
                for &key in frame {
                    *row.get_mut(key as usize).ok_or_else(|| Error::Token {
                        place: format!("piece {number} of a batch, frame {t}"),
                        token: key,
                        vocabulary: keys,
                    })? = 1.0;
                }
            }
        }
        let device = self.head.weight.val().device().inner();
        let data = TensorData::new(values, [pieces.len(), time, keys]);
        Ok(Tensor::from_data(data, &device))
    }
}

impl Learner for FrameModel {
    type Example = Frames;

    fn length(piece: &Frames) -> usize {
        piece.0.len()
    }

    fn targets(piece: &Frames) -> usize {
        piece.0.len().saturating_sub(1)
    }

    fn loss(&self, batch: &[&Frames], learning: &Learning<'_>) -> Result<Tensor<1>> {
        learning.expect_sharp()?;
        let lengths: Vec<usize> = batch.iter().map(|piece| Self::targets(piece)).collect();
        let time = lengths.iter().copied().max().unwrap_or(0);
        if time == 0 {
            // Pieces of one frame have nothing to predict, and a batch may hold such alone.
            return Ok((self.head.weight.val().sum() * 0.0).reshape([1]));
        }
        let (mut inputs, mut targets) = (Vec::new(), Vec::new());
        for (piece, &n) in batch.iter().zip(&lengths) {
            inputs.push(piece.0.get(..n).unwrap_or_default());
            targets.push(piece.0.get(1..).unwrap_or_default());
        }
        let pass = Pass {
            lengths: Some(&lengths),
            dropout: learning.dropout,
            ..Pass::default()
        };
        let (y, _) = self.layers.forward(self.rolls(&inputs, time)?, pass)?;
        let y = learning.drop(y, self.config.dropout, BEFORE_OUTPUT);
        let z = self.head.forward(y);
        let targets = self.rolls(&targets, time)?;
        // ln(1 + eᶻ) - x z, without overflow; padding has no say.
        let loss = relu(z.clone()) - z.clone() * targets + z.abs().neg().exp().log1p();
        let inside: Vec<f32> = lengths
            .iter()
            .flat_map(|&n| (0..time).map(move |t| if t < n { 1.0 } else { 0.0 }))
            .collect();
        let data = TensorData::new(inside, [batch.len(), time, 1]);
        let inside = Tensor::<3>::from_data(data, &self.head.weight.val().device().inner());
        Ok((loss * inside).sum())
    }
}

#[cfg(test)]
#[path = "frames_tests.rs"]
mod tests;
