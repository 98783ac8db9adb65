//! Against what `transformers` computes with the folders in `tests/golden`, made by
//! `tests/golden/make_bert.py`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::GradientsParams;
use burn::tensor::TensorData;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;

use super::*;

pub(super) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

#[derive(Deserialize)]
struct Expected {
    texts: Vec<ExpectedText>,
    loss: f64,
    /// Norm, and the sum of value i times sin(0.7 i).
    gradients: BTreeMap<String, [f64; 2]>,
}

#[derive(Deserialize)]
struct ExpectedText {
    tokens: Vec<u32>,
    types: Vec<u32>,
    /// Embeddings, each layer, and after the last norm.
    states: Vec<Vec<f32>>,
    attention: Vec<Vec<f32>>,
    pooled: Option<Vec<f32>>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let text = std::fs::read(golden(name).join("expected.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn inputs(&self) -> Vec<EncoderInput<'_>> {
        let texts = self.texts.iter();
        texts
            .map(|t| EncoderInput {
                tokens: &t.tokens,
                types: &t.types,
            })
            .collect()
    }
}

fn close(got: &[f32], expected: &[f32], tolerance: f32, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (a, b)) in got.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= tolerance, "{what}, {i}: {a} and {b}");
    }
}

#[test]
fn states_attention_and_pooler_are_those_of_transformers() {
    for name in ["bert", "prenorm"] {
        let expected = Expected::read(name);
        let encoder = Encoder::load(golden(name), &cpu()).unwrap();
        assert_eq!(encoder.config().pooler, name == "bert");
        for compute in [Compute::Kernels, Compute::Program] {
            let encoder = encoder.with_compute(compute).unwrap();
            let states = encoder.encode(&expected.inputs()).unwrap();
            for (got, text) in states.iter().zip(&expected.texts) {
                close(got, text.states.last().unwrap(), 1e-5, name);
            }
        }
        let traces = encoder.trace(&expected.inputs()).unwrap();
        assert_eq!(traces.len(), expected.texts.len());
        for (got, text) in traces.iter().zip(&expected.texts) {
            close(&got.states, text.states.last().unwrap(), 1e-5, name);
            // `transformers` tells the last layer's states after the last norm.
            for (i, (got, expected)) in got.layers.iter().zip(&text.states).take(2).enumerate() {
                close(got, expected, 1e-5, &format!("{name}, layer {i}"));
            }
            for (got, expected) in got.attention.iter().zip(&text.attention) {
                close(got, expected, 1e-6, "attention");
            }
            assert_eq!(got.layers.len(), 3);
            assert_eq!(got.attention.len(), 2);
            assert_eq!(got.pooled.is_some(), text.pooled.is_some());
            if let (Some(got), Some(expected)) = (&got.pooled, &text.pooled) {
                close(got, expected, 1e-5, "pooler");
            }
        }
        assert!(expected.texts.iter().any(|text| !text.attention.is_empty()));
    }
}

struct ReadGradients<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor for ReadGradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        match self.gradients.get::<D>(param.id) {
            Some(gradient) => self
                .values
                .extend(gradient.try_into_vec_as::<f32>().unwrap()),
            // Parameters that this loss does not reach.
            None => self
                .values
                .resize(self.values.len() + param.shape().num_elements(), 0.0),
        }
    }
}

#[test]
fn gradients_are_those_of_pytorch() {
    for name in ["bert", "prenorm"] {
        let expected = Expected::read(name);
        let encoder = Encoder::load(golden(name), &cpu()).unwrap();
        let module = encoder.module(&cpu().autodiff());
        let inputs = expected.inputs();
        let lengths: Vec<usize> = inputs.iter().map(|text| text.tokens.len()).collect();
        let longest = lengths.iter().copied().max().unwrap();
        let width = encoder.config().width;
        // The same factors, at the rows that are not padding.
        let (mut factors, mut at) = (vec![0.0f32; lengths.len() * longest * width], 0);
        for (row, &n) in factors.chunks_mut(longest * width).zip(&lengths) {
            for factor in &mut row[..n * width] {
                *factor = (0.3 * f64::from(at)).sin() as f32;
                at += 1;
            }
        }
        let factors = TensorData::new(factors, [lengths.len(), longest, width]);
        let factors = Tensor::<3>::from_data(factors, &cpu());
        let states = module.forward(&inputs, &Learning::default()).unwrap();
        let loss = (states * factors).sum();
        let value = loss.clone().inner().try_into_scalar::<f32>().unwrap();
        assert!((f64::from(value) - expected.loss).abs() < 1e-4, "{value}");
        let gradients = GradientsParams::from_grads(loss.backward(), &module);
        let mut read = ReadGradients {
            gradients: &gradients,
            values: Vec::new(),
        };
        module.visit(&mut read);
        assert_eq!(read.values.len(), encoder.parameters());
        let mut compared = 0;
        for entry in &encoder.layout.entries {
            let Some([norm, dot]) = expected.gradients.get(&entry.name) else {
                assert!(entry.name.starts_with("pooler"), "{}", entry.name);
                continue;
            };
            let own = read.values[entry.range.clone()]
                .iter()
                .map(|&g| f64::from(g));
            let own_norm = own.clone().map(|g| g * g).sum::<f64>().sqrt();
            let own_dot: f64 = own
                .zip(0..)
                .map(|(g, i)| g * (0.7 * f64::from(i)).sin())
                .sum();
            // A key's bias shifts all scores of a query alike: its gradient is 0, up to rounding.
            let tolerance = 1e-5 * norm + 2e-5;
            assert!(
                (own_norm - norm).abs() < tolerance,
                "{}: {own_norm}, {norm}",
                entry.name
            );
            assert!(
                (own_dot - dot).abs() < 5.0 * tolerance,
                "{}: {own_dot}, {dot}",
                entry.name
            );
            compared += 1;
        }
        assert_eq!(compared, expected.gradients.len());
    }
}

fn small(norm: NormPlace) -> EncoderConfig {
    EncoderConfig {
        vocabulary: 40,
        layers: 2,
        heads: 3,
        width: 12,
        hidden: 20,
        positions: 30,
        first_position: 3,
        norm,
        padding: 2,
        ..EncoderConfig::default()
    }
}

/// An encoder whose weights are far from their first values.
fn shaken(config: &EncoderConfig) -> Encoder {
    let encoder = Encoder::new(config, 5, &cpu()).unwrap();
    let weights = encoder.weights.iter().zip(0u16..);
    let weights = weights
        .map(|(w, i)| w + 0.2 * (f32::from(i) * 0.7).sin())
        .collect();
    Encoder::from_weights(config, weights, &cpu()).unwrap()
}

#[test]
fn a_batch_gives_what_each_text_gives_alone() {
    for norm in [NormPlace::After, NormPlace::Before] {
        let encoder = shaken(&small(norm));
        let texts: Vec<Vec<u32>> = [
            1, 9, 27, 2, 27, 27, 5, 14, 3, 3, 26, 11, 8, 25, 24, 23, 22, 21,
        ]
        .iter()
        .zip(0..)
        .map(|(&n, i)| (0..n).map(|j| (j * j + 5 * i + 1) % 40).collect())
        .collect();
        let inputs: Vec<EncoderInput<'_>> = texts.iter().map(|t| t.as_slice().into()).collect();
        assert!(tiles(&inputs, false).count() > 1);
        assert_eq!(
            tiles(&inputs, true).map(<[_]>::len).sum::<usize>(),
            inputs.len()
        );
        let program = encoder.with_compute(Compute::Program).unwrap();
        for encoder in [&encoder, &program] {
            let together = encoder.encode(&inputs).unwrap();
            for (input, got) in inputs.iter().zip(&together) {
                let alone = encoder.encode(&[*input]).unwrap();
                close(got, &alone[0], 2e-6, "alone");
            }
        }
        close(
            &encoder.encode(&inputs).unwrap().concat(),
            &program.encode(&inputs).unwrap().concat(),
            5e-6,
            "both ways",
        );
        let pooled = encoder.pool(&inputs, Pooling::Max).unwrap();
        let states = program.encode(&inputs).unwrap();
        let most = |i: usize, j: usize| states[i].chunks(12).map(|row| row[j]).fold(-1e9, f32::max);
        let expected: Vec<f32> = (0..12).map(|j| most(7, j)).collect();
        close(&pooled[7], &expected, 5e-6, "largest");
    }
}

#[test]
fn values_are_dropped_in_training_alone_and_by_the_example() {
    for norm in [NormPlace::After, NormPlace::Before] {
        let encoder = shaken(&EncoderConfig {
            dropout: 0.3,
            ..small(norm)
        });
        let module = encoder.module(&cpu());
        let texts = [&[7u32, 8, 9][..], &[1, 2, 3, 4]];
        let states = |texts: &[&[u32]], sequences: &[u64]| {
            let inputs: Vec<EncoderInput<'_>> = texts.iter().map(|&t| t.into()).collect();
            let learning = Learning {
                dropout: Some(crate::rnn::DropoutDraw { seed: 2, sequences }),
                ..Learning::default()
            };
            host(module.forward(&inputs, &learning).unwrap()).unwrap()
        };
        let (one, other) = (states(&texts[1..], &[5]), states(&texts[1..], &[6]));
        let plain = encoder.encode(&[texts[1].into()]).unwrap().concat();
        let far = |a: &[f32], b: &[f32]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 0.05);
        assert!(far(&one, &other) && far(&one, &plain));
        // The longest of a batch is what it is alone, and twice the same.
        let batch = states(&texts, &[9, 5]);
        close(&batch[4 * 12..], &one, 2e-6, "alone");
        assert_eq!(batch, states(&texts, &[9, 5]));
    }
}

#[test]
fn tables_are_embeddings() {
    let module = shaken(&small(NormPlace::After)).module(&cpu());
    let entries = crate::train::entries(&module).list;
    let tables: Vec<&str> = entries
        .iter()
        .filter(|entry| entry.role == crate::entries::Role::Embedding)
        .map(|entry| entry.name.as_str())
        .collect();
    assert_eq!(tables, ["words.weight", "positions.weight", "types.weight"]);
}

#[test]
fn a_training_step_comes_back_from_the_module() {
    let encoder = shaken(&small(NormPlace::Before));
    let module = encoder.module(&cpu().autodiff());
    let again = Encoder::from_module(&module, &cpu()).unwrap();
    assert_eq!(again.weights, encoder.weights);
}

#[test]
fn pooling_by_hand() {
    let states = [1.0, -4.0, 3.0, 0.0, 5.0, 1.0, 0.0, 0.0];
    assert_eq!(Pooling::Mean.pool(&states, 2), [2.25, -0.75]);
    assert_eq!(Pooling::First.pool(&states, 2), [1.0, -4.0]);
    assert_eq!(Pooling::Max.pool(&states, 2), [5.0, 1.0]);
    assert_eq!(Pooling::MeanRoot.pool(&states, 2), [4.5, -1.5]);
    assert_eq!(Pooling::Mean.pool(&[], 2), [0.0, 0.0]);
    assert!(Pooling::Mean.pool(&states, 0).is_empty());
}

#[test]
fn what_is_saved_is_what_transformers_saved() {
    let folder = tempfile::tempdir().unwrap();
    let encoder = Encoder::load(golden("bert"), &cpu()).unwrap();
    encoder.save(folder.path()).unwrap();
    let (ours, theirs) = (
        std::fs::read(folder.path().join("model.safetensors")).unwrap(),
        std::fs::read(golden("bert").join("model.safetensors")).unwrap(),
    );
    let ours = SafeTensors::deserialize(&ours).unwrap();
    let theirs = SafeTensors::deserialize(&theirs).unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (name, tensor) in theirs.iter() {
        let own = ours.tensor(name).unwrap();
        assert_eq!(own.dtype(), tensor.dtype(), "{name}");
        assert_eq!(own.shape(), tensor.shape(), "{name}");
        assert_eq!(own.data(), tensor.data(), "{name}");
    }
    // All that we write stands in their file too, with the same values.
    let read = |path: PathBuf| -> BTreeMap<String, serde_json::Value> {
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    };
    let theirs = read(golden("bert").join("config.json"));
    for (key, value) in read(folder.path().join("config.json")) {
        if key == "layer_norm_eps" {
            let (a, b) = (value.as_f64().unwrap(), theirs[&key].as_f64().unwrap());
            assert!((a - b).abs() < 1e-7 * b);
        } else {
            assert_eq!(value, theirs[&key], "{key}");
        }
    }
    // And another kind, there and back.
    let encoder = Encoder::load(golden("prenorm"), &cpu()).unwrap();
    encoder.save(folder.path()).unwrap();
    let again = Encoder::load(folder.path(), &cpu()).unwrap();
    assert_eq!(again.config(), encoder.config());
    assert_eq!(again.weights, encoder.weights);
}

#[test]
fn wrong_texts_are_named() {
    let encoder = shaken(&small(NormPlace::After));
    let error = |tokens: &[u32], types: &[u32]| {
        let good: EncoderInput<'_> = [1u32].as_slice().into();
        let text = EncoderInput { tokens, types };
        let error = encoder.encode(&[good, text]).unwrap_err();
        let traced = encoder.trace(&[good, text]).unwrap_err();
        assert_eq!(traced.to_string(), error.to_string());
        let module = encoder.module(&cpu());
        let taught = module.forward(&[good, text], &Learning::default());
        assert_eq!(taught.unwrap_err().to_string(), error.to_string());
        error.to_string()
    };
    assert_eq!(error(&[], &[]), "text 1: needs at least 1, found 0");
    assert_eq!(
        error(&[3, 40], &[]),
        "text 1, token 1: token 40 is not in a vocabulary of 40"
    );
    assert_eq!(
        error(&[3, 4], &[0, 2]),
        "text 1, type of token 1: token 2 is not in a vocabulary of 2"
    );
    assert_eq!(
        error(&[3, 4], &[0]),
        "types of text 1: expected 2 values, found 1"
    );
    assert_eq!(
        error(&[3; 28], &[]),
        "the length of a text is 28 (text 1): at most the encoder's context"
    );
    assert!(encoder.encode(&[]).unwrap().is_empty());
    assert!(encoder.module(&cpu()).trace(&[]).is_err());
}

/// A copy of a golden folder, in which one file is changed.
fn changed(name: &str, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            let content = std::fs::read(entry.path()).unwrap();
            let content = match entry.file_name() == file {
                true => change(content),
                false => content,
            };
            std::fs::write(folder.path().join(entry.file_name()), content).unwrap();
        }
    }
    folder
}

fn text_changed(name: &str, file: &str, from: &str, to: &str) -> String {
    let folder = changed(name, file, |content| {
        // The header of a safetensors file keeps its length.
        let content = content.into_iter().map(char::from).collect::<String>();
        assert!(content.contains(from), "{from}");
        let content = content.replacen(from, to, 1);
        content.chars().map(|c| c as u8).collect()
    });
    let error = Encoder::load(folder.path(), &cpu())
        .unwrap_err()
        .to_string();
    error.replace(&format!("{}/", folder.path().display()), "")
}

#[test]
fn wrong_files_are_named() {
    let model = "model.safetensors";
    assert_eq!(
        text_changed("bert", model, "pooler.dense.bias", "pooler.dense.bus_"),
        "model.safetensors, tensor pooler.dense.bias: is missing"
    );
    assert_eq!(
        text_changed(
            "bert",
            "config.json",
            "\"hidden_size\": 32",
            "\"hidden_size\": 34"
        ),
        "model.safetensors, tensor embeddings.word_embeddings.weight: has shape [100, 32], \
         expected [100, 34]"
    );
    assert_eq!(
        text_changed(
            "bert",
            model,
            "\"F32\",\"shape\":[32]",
            "\"I32\",\"shape\":[32]"
        ),
        "model.safetensors, tensor embeddings.LayerNorm.bias: numbers of type I32 cannot be read"
    );
    assert_eq!(
        text_changed("bert", "config.json", "\"bert\"", "\"t5\""),
        "config.json: model_type is \"t5\"; known: bert, roberta, xlm-roberta, camembert, \
         roberta-prelayernorm"
    );
    assert_eq!(
        text_changed("bert", "config.json", "\"gelu\"", "\"mish\""),
        "config.json: hidden_act is \"mish\"; known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, \
         swish"
    );
    let layers = "\"num_hidden_layers\": ";
    let error = text_changed(
        "bert",
        "config.json",
        &format!("{layers}2"),
        &format!("{layers}999"),
    );
    assert_eq!(error, "config.json: claims 999 layers");
    let error = text_changed(
        "bert",
        "config.json",
        &format!("{layers}2"),
        &format!("{layers}3"),
    );
    assert!(error.ends_with("encoder.layer.2.attention.self.query.weight: is missing"));

    let index = "model.safetensors.index.json";
    let error = text_changed("prenorm", index, "model-00001", "../model-00001");
    assert!(error.starts_with(index) && error.ends_with("is no name of a file in the same folder"));
    let error = text_changed("prenorm", index, "model-00001", "model-00002");
    assert!(error.starts_with(index) && error.ends_with("is not in the file listed for it"));
    let error = text_changed("prenorm", index, "model-00001", "model-00009");
    assert!(
        error.starts_with("model-00009-of-00002.safetensors: "),
        "{error}"
    );

    let broken = changed("bert", model, |mut content| {
        let last = content.len() - 4;
        content[last..].copy_from_slice(&f32::NAN.to_le_bytes());
        content
    });
    let error = Encoder::load(broken.path(), &cpu()).unwrap_err();
    assert!(
        error.to_string().ends_with("is not a finite number"),
        "{error}"
    );
    assert!(matches!(error, Error::FileTensor { .. }));
}

#[test]
fn old_names_and_brain_floats_are_read() {
    let encoder = Encoder::load(golden("bert"), &cpu()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        golden("bert").join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let packed: Vec<(String, Vec<usize>, Vec<u8>)> = encoder
        .layout
        .entries
        .iter()
        .map(|entry| {
            let name = entry.name.replace("LayerNorm.weight", "LayerNorm.gamma");
            let name = format!("bert.{}", name.replace("LayerNorm.bias", "LayerNorm.beta"));
            let values = &encoder.weights[entry.range.clone()];
            // The upper half of a 32-bit float is a brain float.
            let bytes = values
                .iter()
                .flat_map(|x| [x.to_le_bytes()[2], x.to_le_bytes()[3]])
                .collect();
            (name, entry.shape.clone(), bytes)
        })
        .collect();
    let views = packed.iter().map(|(name, shape, bytes)| {
        let dtype = safetensors::Dtype::BF16;
        (
            name,
            safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap(),
        )
    });
    let bytes = safetensors::serialize(views, None).unwrap();
    std::fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
    let read = Encoder::load(folder.path(), &cpu()).unwrap();
    for (a, b) in read.weights.iter().zip(encoder.weights.iter()) {
        assert_eq!(a.to_bits(), b.to_bits() >> 16 << 16);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic(
        which in 0..4usize,
        cut in prop::option::of(0.0..1.0f64),
        edits in prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..6),
        header in any::<bool>(),
    ) {
        let (name, file) = [
            ("bert", "model.safetensors"),
            ("bert", "config.json"),
            ("prenorm", "model-00001-of-00002.safetensors"),
            ("prenorm", "model.safetensors.index.json"),
        ][which];
        let folder = changed(name, file, |mut content| {
            // Most of what can go wrong is in the header.
            let reach = if header { content.len().min(3000) } else { content.len() };
            for (at, byte) in &edits {
                let at = (at * reach as f64) as usize;
                content[at] = *byte;
            }
            if let Some(cut) = cut {
                content.truncate((cut * content.len() as f64) as usize);
            }
            content
        });
        if let Ok(encoder) = Encoder::load(folder.path(), &cpu()) {
            let _ = encoder.encode(&[[1u32, 2].as_slice().into()]);
        } else {
            prop_assert!(cut.is_some() || !edits.is_empty());
        }
    }
}
