use std::collections::BTreeMap;
use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use crate::batch::Example;
use crate::engine::Update;
use crate::train::Decay;
use crate::transformer::Biases;
use crate::{Compute, LanguageModel, Sampler};

/// Made by `tests/golden/make_decoders.py` with PyPI transformers.
fn golden(name: &str) -> PathBuf {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");
    Path::new(root).join(name)
}

#[derive(Deserialize)]
struct Golden {
    tokens: Vec<u32>,
    logits: Vec<f32>,
    losses: Vec<f64>,
}

const NAMES: [&str; 6] = [
    "gpt2",
    "llama",
    "mistral",
    "llama_biases",
    "llama_heads",
    "qwen2",
];

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

/// The values of a file whose names are those of the model's parameters, in our order.
fn flat(model: &Transformer, path: PathBuf) -> Vec<f32> {
    let file = std::fs::read(path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    let mut flat = vec![f32::NAN; model.layout.total];
    for part in Names::new(&model.config, &model.layout).parts {
        let tensor = file.tensor(&part.name).unwrap();
        assert_eq!(tensor.shape(), part.shape, "{}", part.name);
        let values = tensor.data().as_chunks::<4>().0;
        for (from, to) in part.places() {
            flat[to] = f32::from_le_bytes(values[from]);
        }
    }
    assert!(flat.iter().all(|v| v.is_finite()), "all are there");
    flat
}

fn close(what: &str, found: &[f32], expected: &[f32], tolerance: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (i, (x, y)) in found.iter().zip(expected).enumerate() {
        let error = (x - y).abs();
        assert!(error <= tolerance * (1.0 + y.abs()), "{what} {i}: {x} {y}");
    }
}

#[test]
fn logits_gradients_and_steps_are_those_of_transformers() {
    for name in NAMES {
        let folder = golden(name);
        let model = Transformer::from_hugging_face(&folder, &cpu()).unwrap();
        let golden: Golden = hugging_face::json(&folder.join("golden.json")).unwrap();
        let example = Example::of(&golden.tokens, 0);
        for way in [Compute::Kernels, Compute::Program] {
            let model = model.with_compute(way).unwrap();
            let logits = model.logits(&example.inputs).unwrap();
            close(name, &logits, &golden.logits, 2e-5);
            let n = example.len() as f64;
            let batch = std::slice::from_ref(&example);
            let mut engine = model.engine(way).unwrap();
            engine.accumulate(batch, 1.0 / n, None).unwrap();
            let gradient = engine.take_gradient().unwrap();
            close(
                name,
                &gradient,
                &flat(&model, folder.join("gradient.safetensors")),
                2e-5,
            );
            for (step, expected) in (1..).zip(&golden.losses) {
                let loss = engine.accumulate(batch, 1.0 / n, None).unwrap() / n;
                assert!(
                    (loss - expected).abs() < 1e-4,
                    "{name} {step}: {loss} {expected}"
                );
                let update = Update {
                    learning_rate: 1e-2,
                    beta1: 0.9,
                    beta2: 0.99,
                    epsilon: 1e-6,
                    weight_decay: 0.1,
                    decay: Decay::Matrices,
                    clip: None,
                    step,
                };
                engine.update(&update).unwrap();
            }
            let after = flat(&model, folder.join("after.safetensors"));
            close(name, &engine.weights().unwrap(), &after, 2e-4);
        }
    }
}

/// All tensors of a folder, by name.
fn tensors(folder: &Path) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("model") && name.ends_with(".safetensors") {
            let bytes = std::fs::read(&path).unwrap();
            let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            for (name, tensor) in file.tensors() {
                all.insert(name, (tensor.shape().to_vec(), tensor.data().to_vec()));
            }
        }
    }
    all
}

#[test]
fn what_is_written_has_the_names_and_values_that_transformers_wrote() {
    for name in NAMES {
        let folder = tempfile::tempdir().unwrap();
        let model = Transformer::from_hugging_face(golden(name), &cpu()).unwrap();
        model.save_hugging_face(folder.path()).unwrap();
        assert!(tensors(folder.path()) == tensors(&golden(name)), "{name}");
        let again = Transformer::from_hugging_face(folder.path(), &cpu()).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!(again.weights, model.weights);
        // Whatever both configs say is the same.
        let read = |folder: &Path| -> BTreeMap<String, Value> {
            hugging_face::json(&folder.join("config.json")).unwrap()
        };
        let (ours, theirs) = (read(folder.path()), read(&golden(name)));
        for (key, value) in &ours {
            if let Some(other) = theirs.get(key).filter(|other| !other.is_null()) {
                let same = match (value.as_f64(), other.as_f64()) {
                    (Some(a), Some(b)) => (a - b).abs() <= 1e-7 * b,
                    _ => value == other || key == "rope_parameters",
                };
                assert!(same, "{name} {key}: {value} {other}");
            }
        }
    }
    let odd = TransformerConfig::default();
    let model = Transformer::new(&odd, Vocabulary::numbered(5).unwrap(), 0, &cpu()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = model
        .save_hugging_face(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("ReluSquared"), "{error}");
    // Mistral has no biases, GPT-2 no heads of their own width.
    for odd in [
        TransformerConfig {
            window: Some(4),
            bias: Biases::Attention,
            ..TransformerConfig::llama()
        },
        TransformerConfig {
            head_width: Some(8),
            ..TransformerConfig::gpt2()
        },
        TransformerConfig {
            bias: Biases::None,
            ..TransformerConfig::gpt2()
        },
    ] {
        let model = Transformer::new(&odd, Vocabulary::numbered(5).unwrap(), 0, &cpu()).unwrap();
        model.save_hugging_face(folder.path()).unwrap_err();
    }
}

#[test]
fn a_window_is_generated_past() {
    let model = Transformer::from_hugging_face(golden("mistral"), &cpu()).unwrap();
    assert_eq!(
        (model.config().window, model.config().key_value_heads),
        (Some(4), Some(2))
    );
    let names = Vocabulary::named((0..23).map(|i| format!("t{i}"))).unwrap();
    let model = model.with_vocabulary(names).unwrap();
    assert_eq!(model.vocabulary().name(4), Some("t4"));
    assert!(
        model
            .with_vocabulary(Vocabulary::numbered(22).unwrap())
            .is_err()
    );
    let sampler = Sampler {
        max_tokens: 50,
        ..Sampler::default()
    };
    assert_eq!(sampler.generate(&model, &[1]).unwrap().tokens.len(), 50);
    assert_eq!(model.context(), Some(32));
    // Later models of Mistral have none.
    let model = changed("mistral", "config.json", |bytes| {
        let mut config: Value = serde_json::from_slice(bytes).unwrap();
        config["sliding_window"] = Value::Null;
        *bytes = serde_json::to_vec(&config).unwrap();
    });
    assert_eq!(model.unwrap().config().window, None);
}

/// A copy of a golden folder with one file changed.
fn changed(name: &str, file: &str, change: impl Fn(&mut Vec<u8>)) -> Result<Transformer> {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(golden(name)).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let own = path.file_name().unwrap();
        if own == file {
            change(&mut bytes);
        }
        std::fs::write(folder.path().join(own), bytes).unwrap();
    }
    Transformer::from_hugging_face(folder.path(), &cpu())
}

#[test]
fn what_is_not_computed_or_not_there_is_named() {
    let edit = |name: &str, key: &'static str, value: Value| {
        changed(name, "config.json", |bytes| {
            let mut config: Value = serde_json::from_slice(bytes).unwrap();
            config[key] = value.clone();
            *bytes = serde_json::to_vec(&config).unwrap();
        })
        .unwrap_err()
        .to_string()
    };
    for (name, key, value, word) in [
        ("llama", "attention_bias", json!(true), "q_proj.bias"),
        ("llama", "mlp_bias", json!(true), "gate_proj.bias"),
        ("llama", "head_dim", json!(8), "q_proj"),
        ("llama", "head_dim", json!(u64::MAX), "head_width"),
        (
            "qwen2",
            "use_sliding_window",
            json!(true),
            "use_sliding_window",
        ),
        ("llama", "hidden_act", json!("relu"), "relu"),
        ("llama", "num_key_value_heads", json!(3), "key_value_heads"),
        ("llama", "num_hidden_layers", json!(99_999), "99999 layers"),
        ("llama", "num_hidden_layers", json!(3), "layers.2"),
        ("llama", "intermediate_size", json!(32), "gate_proj"),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "yarn"}),
            "yarn",
        ),
        (
            "llama",
            "rope_parameters",
            json!({"rope_type": "linear"}),
            "numbers",
        ),
        ("llama", "vocab_size", json!(1_000_000), "embed_tokens"),
        ("llama", "hidden_size", json!(u64::MAX), "width"),
        (
            "gpt2",
            "scale_attn_weights",
            json!(false),
            "scale_attn_weights",
        ),
        ("gpt2", "tie_word_embeddings", json!(false), "lm_head"),
        ("gpt2", "model_type", json!("mamba"), "mamba"),
        ("gpt2", "n_positions", json!(0), "context"),
    ] {
        let error = edit(name, key, value);
        assert!(error.contains(word), "{key}: {error}");
    }
    let error = Transformer::from_hugging_face("/no/such", &cpu()).unwrap_err();
    assert!(error.to_string().contains("/no/such"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn damaged_folders_never_panic(
        file in 0usize..4,
        cut in proptest::option::of(0.0f64..1.0),
        flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 0..5),
    ) {
        let (name, file) = [
            ("gpt2", "model.safetensors"),
            ("llama", "model.safetensors.index.json"),
            ("llama", "model-00001-of-00003.safetensors"),
            ("mistral", "config.json"),
        ][file];
        let read = changed(name, file, |bytes| {
            for &(at, value) in &flips {
                // Mostly in the header, where damage is interesting.
                let at = (at * at * at * bytes.len() as f64) as usize;
                bytes[at] = value;
            }
            if let Some(cut) = cut {
                bytes.truncate((cut * bytes.len() as f64) as usize);
            }
        });
        if let Ok(model) = read {
            let _ = model.logits(&[0, 1]);
        }
    }
}
