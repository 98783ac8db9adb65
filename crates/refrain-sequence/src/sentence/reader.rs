//! From words to states: the part that all models of sentences share.

use std::collections::HashMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::nn::activation::ActivationConfig;
use burn::nn::transformer::{
    TransformerEncoder, TransformerEncoderConfig, TransformerEncoderInput,
};
use burn::nn::{Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig};
use burn::tensor::{Bool, Device, Int, Tensor, TensorData};
use rand::RngExt;
use refrain_core::rng;

use super::encode::EncodedSentence;
use super::{Body, SentenceConfig};
use crate::Result;
use crate::rnn::{Pass, Recurrent, RecurrentConfig};
use crate::train::Learning;

/// Where dropout draws; recurrent layers have the sites below.
const WORDS: usize = 100;
const INPUTS: usize = 101;
const STATES: usize = 102;

/// A convolution over letters.
#[derive(Module, Debug)]
struct Spelling {
    letters: Embedding,
    /// Of three letters side by side.
    filters: Linear,
}

/// Layers of attention.
#[derive(Module, Debug)]
struct Attention {
    input: Linear,
    layers: TransformerEncoder,
    norm: LayerNorm,
}

#[derive(Module, Debug)]
pub(super) struct Reader {
    words: Option<Embedding>,
    spelling: Option<Spelling>,
    recurrent: Option<Recurrent>,
    attention: Option<Attention>,
    #[module(skip)]
    config: SentenceConfig,
}

impl Reader {
    /// For so many words and letters, unknown ones not counted.
    pub(super) fn new(
        config: &SentenceConfig,
        [words, letters]: [usize; 2],
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        config.validate()?;
        let table = |rows: usize, width: usize, seed: u64| {
            seeded(EmbeddingConfig::new(rows, width).init(device), seed)
        };
        let (mut recurrent, mut attention) = (None, None);
        match config.body {
            Body::Recurrent {
                cell,
                hidden,
                layers,
            } => {
                let layers = RecurrentConfig {
                    cell,
                    input: config.inputs(),
                    hidden,
                    layers,
                    bidirectional: true,
                    dropout: config.dropout,
                    ..RecurrentConfig::default()
                };
                recurrent = Some(Recurrent::new(&layers, seed ^ 3, device)?);
            }
            Body::Transformer {
                width,
                heads,
                hidden,
                layers,
            } => {
                let layers = TransformerEncoderConfig::new(width, hidden, heads, layers)
                    .with_dropout(0.0)
                    .with_norm_first(true)
                    .with_activation(ActivationConfig::Relu);
                let layers = Attention {
                    input: LinearConfig::new(config.inputs(), width).init(device),
                    layers: layers.init(device),
                    norm: LayerNormConfig::new(width).init(device),
                };
                attention = Some(seeded(layers, seed ^ 4));
            }
        }
        let tabled = (config.word_width > 0).then(|| {
            let table = table(words + 1, config.word_width, seed ^ 1);
            match config.tune_words {
                true => table,
                false => table.no_grad(),
            }
        });
        Ok(Self {
            words: tabled,
            spelling: (config.filters > 0).then(|| Spelling {
                letters: table(letters + 2, config.letter_width, seed ^ 2),
                filters: seeded(
                    LinearConfig::new(3 * config.letter_width, config.filters).init(device),
                    seed ^ 5,
                ),
            }),
            recurrent,
            attention,
            config: config.clone(),
        })
    }

    /// The same with these vectors for some words, by number.
    pub(super) fn with_vectors(mut self, rows: &[(u32, Vec<f32>)]) -> Result<Self> {
        let Some(table) = self.words.take() else {
            return Ok(self);
        };
        let mut values = crate::adamw::read(&table)?;
        let width = self.config.word_width;
        for (number, vector) in rows {
            let from = *number as usize * width;
            if let Some(row) = values.get_mut(from..from + width) {
                row.copy_from_slice(vector);
            }
        }
        let table = crate::train::with_weights(table, &values);
        self.words = Some(match self.config.tune_words {
            true => table,
            false => table.no_grad(),
        });
        Ok(self)
    }

    /// The states of the words, `[batch, words, states]`, meaningless after a sentence's end.
    pub(super) fn states(
        &self,
        batch: &[&EncodedSentence],
        lengths: &[usize],
        learning: &Learning<'_>,
        device: &Device,
    ) -> Result<Tensor<3>> {
        let config = &self.config;
        let time = lengths.iter().copied().max().unwrap_or(0);
        let shape = [batch.len(), time];
        let mut parts = Vec::new();
        if let Some(table) = &self.words {
            let words = padded(batch.iter().map(|s| s.words.as_slice()), time);
            let ids = Tensor::<2, Int>::from_data(TensorData::new(words, shape), device);
            let ones = Tensor::<3>::ones([batch.len(), time, 1], device);
            let kept = learning.drop(ones, config.word_dropout, WORDS);
            parts.push(table.forward(ids) * kept);
        }
        if let Some(spelling) = &self.spelling {
            let rows = spelling.forward(batch, time, device);
            parts.push(rows.reshape([batch.len(), time, config.filters]));
        }
        if config.given() > 0 {
            let mut values = Vec::with_capacity(batch.len() * time * config.given());
            for (i, sentence) in batch.iter().enumerate() {
                values.extend_from_slice(&sentence.values);
                values.resize((i + 1) * time * config.given(), 0.0);
            }
            let data = TensorData::new(values, [batch.len(), time, config.given()]);
            parts.push(Tensor::from_data(data, device));
        }
        let x = learning.drop(Tensor::cat(parts, 2), config.dropout, INPUTS);
        let x = match (&self.recurrent, &self.attention) {
            (Some(layers), _) => {
                let pass = Pass {
                    lengths: Some(lengths),
                    dropout: learning.dropout,
                    ..Pass::default()
                };
                layers.forward(x, pass)?.0
            }
            (None, Some(layers)) => layers.forward(x, lengths, device),
            (None, None) => x,
        };
        Ok(learning.drop(x, config.dropout, STATES))
    }
}

impl Spelling {
    /// `[batch · words, filters]`; a spelling that occurs twice is looked at once.
    fn forward(&self, batch: &[&EncodedSentence], time: usize, device: &Device) -> Tensor<2> {
        let mut known: HashMap<&[u32], i32> = HashMap::from([(&[] as &[u32], 0)]);
        let mut spellings: Vec<&[u32]> = vec![&[]];
        let mut rows = Vec::with_capacity(batch.len() * time);
        for (i, sentence) in batch.iter().enumerate() {
            for word in &sentence.letters {
                let row = *known.entry(word).or_insert_with(|| {
                    spellings.push(word);
                    spellings.len() as i32 - 1
                });
                rows.push(row);
            }
            rows.resize((i + 1) * time, 0);
        }
        let longest = spellings
            .iter()
            .map(|word| word.len())
            .max()
            .unwrap_or(0)
            .max(1);
        let count = spellings.len();
        // A letter that is none stands at each end.
        let (mut letters, mut absent) = (Vec::new(), Vec::new());
        for (i, word) in spellings.iter().enumerate() {
            letters.push(0);
            letters.extend(word.iter().map(|&l| l as i32));
            letters.resize((i + 1) * (longest + 2), 0);
            absent.extend((0..longest).map(|at| if at < word.len() { 0.0f32 } else { -1e4 }));
        }
        let shape = [count, longest + 2];
        let letters = Tensor::<2, Int>::from_data(TensorData::new(letters, shape), device);
        let letters = self.letters.forward(letters);
        let three = (0..3).map(|from| letters.clone().narrow(1, from, longest));
        let found = self.filters.forward(Tensor::cat(three.collect(), 2));
        let absent = TensorData::new(absent, [count, longest, 1]);
        let found = found + Tensor::<3>::from_data(absent, device);
        let best = found.max_dim(1).reshape([count as i32, -1]);
        let best = burn::tensor::activation::relu(best);
        let n = rows.len();
        best.select(
            0,
            Tensor::<1, Int>::from_data(TensorData::new(rows, [n]), device),
        )
    }
}

impl Attention {
    fn forward(&self, x: Tensor<3>, lengths: &[usize], device: &Device) -> Tensor<3> {
        let x = self.input.forward(x);
        let [batch, time, width] = x.dims();
        let x = x + sinusoids(time, width, device).unsqueeze();
        let absent = lengths.iter().flat_map(|&n| (0..time).map(move |t| t >= n));
        let absent = TensorData::new(absent.collect::<Vec<bool>>(), [batch, time]);
        let absent = Tensor::<2, Bool>::from_data(absent, device);
        let input = TransformerEncoderInput::new(x).mask_pad(absent);
        self.norm.forward(self.layers.forward(input))
    }
}

/// Where each word stands (Vaswani et al., 2017), `[time, width]`.
fn sinusoids(time: usize, width: usize, device: &Device) -> Tensor<2> {
    let value = |t: usize, i: usize| {
        let angle = t as f64 / 10_000f64.powf((i / 2 * 2) as f64 / width as f64);
        (if i.is_multiple_of(2) {
            angle.sin()
        } else {
            angle.cos()
        }) as f32
    };
    let values = (0..time).flat_map(|t| (0..width).map(move |i| value(t, i)));
    Tensor::from_data(
        TensorData::new(values.collect::<Vec<f32>>(), [time, width]),
        device,
    )
}

/// Rows of `time` numbers, zeros at their ends.
fn padded<'a>(rows: impl Iterator<Item = &'a [u32]>, time: usize) -> Vec<i32> {
    let mut values = Vec::new();
    for (i, row) in rows.enumerate() {
        values.extend(row.iter().map(|&n| n as i32));
        values.resize((i + 1) * time, 0);
    }
    values
}

/// The same module with first values drawn on the host, so that a seed means the same on every
/// device: rows of tables from U(±√(3 / width)), other matrices from U(±√(6 / (in + out)))
/// (Glorot and Bengio, 2010), biases 0; the scales of norms stay 1.
pub(crate) fn seeded<M: Module>(module: M, seed: u64) -> M {
    module.map(&mut Seeded {
        draw: rng::stream(seed, 0x5eed),
        path: Vec::new(),
    })
}

struct Seeded<R> {
    draw: R,
    /// Names and containers.
    path: Vec<(String, bool)>,
}

impl<R: rand::Rng> ModuleMapper for Seeded<R> {
    fn enter_module(&mut self, name: &str, container: &str) {
        let table = container == "Struct:Embedding";
        self.path.push((name.to_string(), table));
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let shape = param.val().dims();
        let size: usize = shape.iter().product();
        let values: Vec<f32> = match shape.as_slice() {
            [rows, columns] => {
                let table = self.path.iter().any(|(_, table)| *table);
                let most = match table {
                    true => (3.0 / *columns as f32).sqrt(),
                    false => (6.0 / (rows + columns) as f32).sqrt(),
                };
                let draw = || (2.0 * self.draw.random::<f32>() - 1.0) * most;
                std::iter::repeat_with(draw).take(size).collect()
            }
            _ => {
                let scale = self.path.last().is_some_and(|(name, _)| name == "gamma");
                vec![if scale { 1.0 } else { 0.0 }; size]
            }
        };
        let device = param.val().device();
        param.map(|_| Tensor::from_data(TensorData::new(values, shape), &device))
    }
}
