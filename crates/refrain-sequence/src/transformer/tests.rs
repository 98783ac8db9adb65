use std::collections::HashMap;

use proptest::prelude::*;
use serde::Deserialize;

use super::*;
use crate::batch::{Dropout, Example, UNSCORED, scored};
use crate::engine::Update;
use crate::train::Decay;

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

fn names(n: usize) -> Vocabulary {
    Vocabulary::numbered(n).unwrap()
}

const TINY: usize = 11;

/// Every variant, small.
fn variants() -> Vec<TransformerConfig> {
    let small = TransformerConfig {
        layers: 2,
        heads: 2,
        width: 12,
        context: 10,
        ..TransformerConfig::default()
    };
    vec![
        small.clone(),
        TransformerConfig {
            positions: Positions::Learned,
            norm: Norm::Layer,
            feed_forward: FeedForward::Gelu,
            bias: Biases::All,
            ..small.clone()
        },
        TransformerConfig {
            feed_forward: FeedForward::SwiGlu,
            tied: false,
            ..small.clone()
        },
        TransformerConfig {
            norm: Norm::Layer,
            feed_forward: FeedForward::Relu,
            hidden: Some(20),
            ..small.clone()
        },
        TransformerConfig {
            heads: 6,
            key_value_heads: Some(2),
            window: Some(3),
            rotary_scaling: Some(RotaryScaling::Linear { factor: 2.0 }),
            feed_forward: FeedForward::SwiGlu,
            ..small.clone()
        },
        TransformerConfig {
            heads: 4,
            head_width: Some(6),
            key_value_heads: Some(2),
            feed_forward: FeedForward::SwiGlu,
            bias: Biases::QueriesKeysValues,
            ..small.clone()
        },
        TransformerConfig {
            head_width: Some(4),
            bias: Biases::FeedForward,
            ..small
        },
    ]
}

/// A model whose weights are far from their first values, in both ways of computing.
fn both(config: &TransformerConfig) -> [Transformer; 2] {
    let model = Transformer::new(config, names(TINY), 1, &cpu()).unwrap();
    let shaken = model.weights.iter().enumerate();
    let shaken = shaken
        .map(|(i, w)| w + 0.2 * (i as f32 * 0.7).sin())
        .collect();
    let model = model.reweighted(shaken).unwrap();
    [Compute::Kernels, Compute::Program].map(|way| model.with_compute(way).unwrap())
}

fn tokens(n: usize, seed: u32) -> Vec<u32> {
    (0..n as u32)
        .map(|i| (i * i + 3 * i * seed + seed) % TINY as u32)
        .collect()
}

/// Sequences of different length, with targets that are not scored.
fn ragged() -> Vec<Example> {
    let mut batch: Vec<Example> = [8, 3, 11, 2, 6]
        .iter()
        .zip(0..)
        .map(|(&n, i)| Example::of(&tokens(n, i), i.into()))
        .collect();
    batch[0].targets[2] = UNSCORED;
    batch[4].targets[0] = UNSCORED;
    batch
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!(
            (x - y).abs() <= tolerance * (1.0 + y.abs()),
            "{i}: {x} and {y}"
        );
    }
}

#[test]
fn the_cache_gives_the_logits_of_a_full_pass() {
    for config in variants() {
        for model in both(&config) {
            let text = tokens(10, 2);
            let full = model.logits(&text).unwrap();
            let mut state = model.start().unwrap();
            for (i, token) in text.iter().enumerate() {
                let row = state.feed(&[*token]).unwrap();
                close(&row, &full[i * TINY..(i + 1) * TINY], 1e-5);
            }
            assert_eq!(state.position(), 10);
            // In pieces, and from a fork.
            let mut state = model.start().unwrap();
            state.feed(&text[..4]).unwrap();
            let forked = state.fork().feed(&text[4..9]).unwrap();
            close(&forked, &full[8 * TINY..9 * TINY], 1e-5);
            close(
                &state.feed(&text[4..5]).unwrap(),
                &full[4 * TINY..5 * TINY],
                1e-5,
            );
        }
    }
}

#[test]
fn the_past_does_not_see_the_future() {
    for config in variants() {
        for model in both(&config) {
            let mut text = tokens(10, 1);
            let before = model.logits(&text).unwrap();
            text[6] = (text[6] + 1) % TINY as u32;
            let after = model.logits(&text).unwrap();
            assert_eq!(before[..6 * TINY], after[..6 * TINY]);
            assert_ne!(before[6 * TINY..], after[6 * TINY..]);
        }
    }
}

#[test]
fn kernels_agree_with_the_program() {
    for mut config in variants() {
        for rate in [0.0, 0.3] {
            config.dropout = rate;
            let [kernels, program] = both(&config);
            let text = tokens(9, 3);
            close(
                &kernels.logits(&text).unwrap(),
                &program.logits(&text).unwrap(),
                1e-5,
            );

            let dropout = (rate > 0.0).then_some(Dropout { rate, seed: 4 });
            let batch = ragged();
            let run = |model: &Transformer| {
                let mut engine = model.engine(model.compute()).unwrap();
                let loss = engine.accumulate(&batch, 0.1, dropout).unwrap();
                let gradient = engine.take_gradient().unwrap();
                // A few steps of the optimizer.
                let mut norms = Vec::new();
                for step in 1..4 {
                    engine.accumulate(&batch, 0.1, dropout).unwrap();
                    let update = Update {
                        learning_rate: 1e-2,
                        beta1: 0.9,
                        beta2: 0.99,
                        epsilon: 1e-8,
                        weight_decay: 0.1,
                        decay: Decay::Matrices,
                        clip: Some(0.5),
                        step,
                    };
                    norms.push(engine.update(&update).unwrap() as f32);
                }
                (loss as f32, gradient, norms, engine.weights().unwrap())
            };
            let (a, b) = (run(&kernels), run(&program));
            close(&[a.0], &[b.0], 1e-5);
            close(&a.1, &b.1, 2e-4);
            close(&a.2, &b.2, 1e-3);
            close(&a.3, &b.3, 2e-3);
        }
    }
}

#[test]
fn a_batch_is_the_sum_of_its_examples_and_so_is_accumulation() {
    for config in variants() {
        for model in both(&config) {
            let batch = ragged();
            let mut engine = model.engine(model.compute()).unwrap();
            let scale = 1.0 / scored(&batch) as f64;
            let whole = engine.accumulate(&batch, scale, None).unwrap();
            let gradient = engine.take_gradient().unwrap();
            let mut sum = 0.0;
            for example in &batch {
                sum += engine
                    .accumulate(std::slice::from_ref(example), scale, None)
                    .unwrap();
            }
            close(&[sum as f32], &[whole as f32], 1e-5);
            close(&engine.take_gradient().unwrap(), &gradient, 1e-4);
            close(
                &[engine.evaluate(&batch).unwrap() as f32],
                &[whole as f32],
                1e-5,
            );
        }
    }
}

#[test]
fn dropout_is_off_outside_training() {
    let config = variants().remove(0);
    let dropping = TransformerConfig {
        dropout: 0.5,
        ..config.clone()
    };
    let data = TokenSequences::stream(tokens(40, 1));
    for (plain, dropping) in both(&config).iter().zip(&both(&dropping)) {
        assert_eq!(plain.loss(&data).unwrap(), dropping.loss(&data).unwrap());
        assert_eq!(
            plain.logits(&[1, 2]).unwrap(),
            dropping.logits(&[1, 2]).unwrap()
        );
        let engine = || dropping.engine(dropping.compute()).unwrap();
        let dropout = Some(Dropout { rate: 0.5, seed: 0 });
        let trained = engine().accumulate(&ragged(), 1.0, dropout).unwrap();
        assert_eq!(
            trained,
            engine().accumulate(&ragged(), 1.0, dropout).unwrap()
        );
        assert_ne!(trained, engine().evaluate(&ragged()).unwrap());
    }
}

#[test]
fn a_full_context_slides() {
    for model in both(&variants()[0]) {
        let text = tokens(27, 5);
        let mut state = model.start().unwrap();
        for (i, token) in text.iter().enumerate() {
            let logits = state.feed(&[*token]).unwrap();
            assert_eq!(logits.len(), TINY);
            // At the 11th token, the last 5 are read again; so at the 16th less 10 …
            if i == 10 {
                let window = model.logits(&text[6..11]).unwrap();
                close(&logits, &window[4 * TINY..], 1e-5);
            }
        }
        // A long prompt keeps as much as fits.
        let prompt = model.start().unwrap().feed(&text).unwrap();
        let window = model.logits(&text[17..]).unwrap();
        close(&prompt, &window[9 * TINY..], 1e-5);
        assert!(model.logits(&text).is_err());
        assert!(model.start().unwrap().feed(&[]).is_err());
        assert!(model.start().unwrap().feed(&[TINY as u32]).is_err());
    }
}

#[test]
fn log_probabilities_are_those_of_validation() {
    for model in both(&variants()[2]) {
        let text = tokens(27, 5);
        let each = model.log_probabilities(&text).unwrap();
        assert_eq!(each.len(), 26);
        let mean = -each.iter().map(|&x| f64::from(x)).sum::<f64>() / 26.0;
        let loss = model.loss(&TokenSequences::stream(text.clone())).unwrap();
        assert!((mean - loss).abs() < 1e-5, "{mean} {loss}");
        assert!(model.log_probabilities(&[3]).unwrap().is_empty());
        assert!(model.log_probabilities(&[99]).is_err());
    }
}

#[test]
fn a_window_bounds_what_is_seen_and_kept() {
    let config = TransformerConfig {
        context: 64,
        layers: 1,
        ..variants().remove(4)
    };
    for model in both(&config) {
        let text = tokens(60, 5);
        let full = model.logits(&text).unwrap();
        let mut state = state::TransformerState::new(&model);
        for (i, token) in text.iter().enumerate() {
            close(
                &state.feed(&[*token]).unwrap(),
                &full[i * TINY..(i + 1) * TINY],
                1e-5,
            );
            assert!(state.kept() < 6, "{}", state.kept());
        }
        // What lies three tokens back has no say; with one layer, that is all.
        let mut other = text.clone();
        other[20] = (other[20] + 1) % TINY as u32;
        let other = model.logits(&other).unwrap();
        for (i, (a, b)) in full.chunks(TINY).zip(other.chunks(TINY)).enumerate() {
            match (20..23).contains(&i) {
                true => assert_ne!(a, b),
                false => close(a, b, 1e-6),
            }
        }
        // Back as far as keys are there, or not at all.
        let mut state = model.start().unwrap();
        state.feed(&text[..20]).unwrap();
        assert!(!state.rewind(4));
        if state.rewind(19) {
            close(
                &state.feed(&text[19..20]).unwrap(),
                &full[19 * TINY..20 * TINY],
                1e-5,
            );
        }
    }
}

#[derive(Deserialize)]
struct Golden {
    logits: Vec<f32>,
    loss: f64,
    gradient: Vec<f32>,
}

/// Against PyTorch 2.15.0: `python tests/golden/transformer.py` made the file.
#[test]
fn agrees_with_pytorch() {
    let golden: HashMap<String, Golden> =
        serde_json::from_str(include_str!("../../tests/golden/transformer.json")).unwrap();
    for (name, config) in [
        ("gpt2", TransformerConfig::gpt2()),
        ("llama", TransformerConfig::llama()),
    ] {
        let config = TransformerConfig {
            layers: 2,
            heads: 2,
            width: 8,
            context: 6,
            ..config
        };
        let golden = &golden[name];
        let model = Transformer::new(&config, names(5), 0, &cpu()).unwrap();
        let mut weights = Vec::new();
        for entry in &model.layout.entries {
            let is_norm = entry.name.contains("norm") && entry.name.ends_with("weight");
            let start = if is_norm { 1.0 } else { 0.0 };
            let number = |i: usize| (start + 0.4 * (0.7 * i as f64).sin()) as f32;
            weights.extend(entry.range.clone().map(number));
        }
        let model = model.reweighted(weights).unwrap();
        for way in [Compute::Kernels, Compute::Program] {
            let model = model.with_compute(way).unwrap();
            close(
                &model.logits(&[3, 1, 4, 1, 0, 2]).unwrap(),
                &golden.logits,
                1e-5,
            );
            let mut engine = model.engine(way).unwrap();
            let example = Example::of(&[3, 1, 4, 1, 0, 2, 2], 0);
            let loss = engine.accumulate(&[example], 1.0 / 6.0, None).unwrap() / 6.0;
            assert!((loss - golden.loss).abs() < 1e-5, "{name} {loss}");
            close(&engine.take_gradient().unwrap(), &golden.gradient, 2e-5);
        }
    }
}

#[test]
fn a_saved_model_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.refrain");
    for config in variants() {
        let [model, _] = both(&config);
        model.save(&path).unwrap();
        let again = Transformer::load(&path, &cpu()).unwrap();
        assert_eq!(
            (again.config(), again.vocabulary()),
            (model.config(), model.vocabulary())
        );
        assert_eq!(again.weights, model.weights);
        assert_eq!(
            again.logits(&[1, 2, 3]).unwrap(),
            model.logits(&[1, 2, 3]).unwrap()
        );
        assert_eq!(again.to_bytes().unwrap(), model.to_bytes().unwrap());
    }
    let error = Transformer::load(folder.path().join("none"), &cpu())
        .unwrap_err()
        .to_string();
    assert!(error.contains("none"), "{error}");
}

#[test]
fn files_that_lie_are_refused() {
    use refrain_core::{IdMap, ModelWriter};
    let ids = IdMap::from_ids(["a", "b"]).unwrap();
    let with = |config: serde_json::Value| {
        let header = serde_json::json!({ "transformer": config, "tokens": "external" });
        let file = ModelWriter::new("sequence.transformer", 1)
            .config(&header)
            .unwrap();
        file.ids("tokens", &ids).unwrap().to_bytes().unwrap()
    };
    for (config, word) in [
        (
            serde_json::json!({ "layers": 1_000_000, "width": 1_000_000, "heads": 4 }),
            "layers",
        ),
        (serde_json::json!({ "layers": 1, "heads": 0 }), "heads"),
        (serde_json::json!({ "heads": -1 }), "config"),
        (serde_json::json!({ "layers": 1, "depth": 3 }), "depth"),
        (serde_json::json!({ "layers": 1 }), "embedding"),
    ] {
        let error = Transformer::from_bytes(with(config), &cpu())
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
    let model = Transformer::new(&variants()[0], names(TINY), 0, &cpu()).unwrap();
    let mut weights = model.weights.to_vec();
    weights[5] = f32::NAN;
    let bytes = model.reweighted(weights).unwrap().to_bytes().unwrap();
    let error = Transformer::from_bytes(bytes, &cpu())
        .unwrap_err()
        .to_string();
    assert!(error.contains("embedding.weight: value 5"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_files_never_panic(
        cut in proptest::option::of(0.0f64..1.0),
        flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 0..6),
    ) {
        let config =
            TransformerConfig { layers: 1, heads: 1, width: 2, context: 2, ..Default::default() };
        let model = Transformer::new(&config, names(3), 0, &cpu()).unwrap();
        let mut bytes = model.to_bytes().unwrap();
        for (at, value) in flips {
            // Mostly in the header, where damage is interesting.
            let at = (at * at * bytes.len() as f64) as usize;
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        if let Ok(model) = Transformer::from_bytes(bytes, &cpu()) {
            let _ = model.logits(&[0]);
        }
    }
}

#[test]
fn attention_is_told_and_explains_the_layer() {
    let config = TransformerConfig {
        layers: 2,
        heads: 2,
        width: 8,
        context: 6,
        ..Default::default()
    };
    let vocabulary = Vocabulary::numbered(5).unwrap();
    let model = Transformer::new(&config, vocabulary, 4, &cpu()).unwrap();
    let tokens = [3, 0, 4, 4];
    let told = model.attention(&tokens).unwrap();
    assert_eq!(told.len(), 2);
    for layer in &told {
        assert_eq!(layer.len(), 2 * 4 * 4);
        for (i, row) in layer.chunks_exact(4).enumerate() {
            assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            assert!(row.iter().skip(i % 4 + 1).all(|&w| w == 0.0));
        }
    }
    // A beginning looks where it looked with more behind it.
    let shorter = model.attention(&tokens[..2]).unwrap();
    for head in 0..2 {
        for row in 0..2 {
            let (long, short) = (
                &told[1][head * 16 + row * 4..],
                &shorter[1][head * 4 + row * 2..],
            );
            assert!((long[0] - short[0]).abs() < 1e-5 && (long[1] - short[1]).abs() < 1e-5);
        }
    }
    assert!(model.attention(&[]).is_err());
    assert!(
        model
            .attention(&[9])
            .unwrap_err()
            .to_string()
            .contains("token 9")
    );
    assert!(
        model
            .attention(&[0; 7])
            .unwrap_err()
            .to_string()
            .contains("context")
    );
}
