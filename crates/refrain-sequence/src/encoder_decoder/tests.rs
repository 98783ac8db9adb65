//! Against what `transformers` computes with the folders in `tests/golden`, made by
//! `tests/golden/make_marian.py`.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{AdamWConfig, GradientsParams};
use burn::tensor::Tensor;
use proptest::prelude::*;
use safetensors::SafeTensors;
use serde::Deserialize;

use super::*;
use crate::rnn::DropoutDraw;
use crate::{Finish, LanguageModel, LanguageState, NormPlace, Sampler, Trainer};

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name)
}

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

#[derive(Deserialize)]
struct Expected {
    pairs: Vec<ExpectedPair>,
    loss: f64,
    /// Norm, and the sum of value i times sin(0.7 i).
    gradients: BTreeMap<String, [f64; 2]>,
    /// The loss of each step of AdamW.
    steps: Vec<f64>,
    trained: BTreeMap<String, [f64; 2]>,
}

#[derive(Deserialize)]
struct ExpectedPair {
    source: Vec<u32>,
    target: Vec<u32>,
    states: Vec<f32>,
    logits: Vec<f32>,
    encoder: Vec<Vec<f32>>,
    decoder: Vec<Vec<f32>>,
    across: Vec<Vec<f32>>,
    greedy: Vec<u32>,
}

impl Expected {
    fn read(name: &str) -> Self {
        let text = std::fs::read(golden(name).join("expected.json")).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn pairs(&self) -> Vec<Pair> {
        let pairs = self.pairs.iter();
        pairs
            .map(|p| Pair {
                source: p.source.clone(),
                target: p.target.clone(),
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

/// Decoder inputs: the start, and all targets but the last.
fn inputs(config: &EncoderDecoderConfig, target: &[u32]) -> Vec<u32> {
    let before = target[..target.len() - 1].iter().copied();
    std::iter::once(config.start).chain(before).collect()
}

#[test]
fn logits_states_and_attention_are_those_of_transformers() {
    for name in ["marian", "pegasus"] {
        let expected = Expected::read(name);
        let loaded = EncoderDecoder::load(golden(name), &cpu()).unwrap();
        for compute in [Compute::Kernels, Compute::Program] {
            let model = loaded.with_compute(compute).unwrap();
            for pair in &expected.pairs {
                let trace = model.trace(&pair.source, &pair.target).unwrap();
                close(&trace.states, &pair.states, 1e-5, name);
                close(&trace.logits, &pair.logits, 1e-5, name);
                for (got, expected) in [
                    (&trace.encoder, &pair.encoder),
                    (&trace.decoder, &pair.decoder),
                    (&trace.across, &pair.across),
                ] {
                    assert_eq!(got.len(), 2);
                    close(&got.concat(), &expected.concat(), 1e-6, "attention");
                }
                // The same however the target is fed, and with a cache.
                let given = model.given(&pair.source).unwrap();
                let inputs = inputs(model.config(), &pair.target);
                for split in 0..inputs.len() {
                    let mut state = given.start().unwrap();
                    let (first, rest) = inputs.split_at(split);
                    let mut found = state.feed_each(first).unwrap();
                    let mut fork = state.fork();
                    found.extend(rest.iter().map(|&token| fork.feed(&[token]).unwrap()));
                    close(&found.concat(), &pair.logits, 1e-5, "cached");
                    assert_eq!((state.position(), fork.position()), (split, inputs.len()));
                    if fork.rewind(split) && split > 0 {
                        let again = fork.feed(&inputs[split..]).unwrap();
                        close(&again, found.last().unwrap(), 1e-5, "rewound");
                    } else {
                        assert!(split == 0 || compute == Compute::Program);
                    }
                }
                let sampler = Sampler {
                    temperature: 0.0,
                    max_tokens: 12,
                    stop: vec![model.config().end],
                    ..Sampler::default()
                };
                let greedy = sampler.generate(&given, &[model.config().start]).unwrap();
                assert_eq!(greedy.tokens, pair.greedy, "{name}");
            }
            let loss = model.loss(&expected.pairs()).unwrap();
            let targets: usize = expected.pairs.iter().map(|p| p.target.len()).sum();
            assert!((loss * targets as f64 - expected.loss).abs() < 1e-5 * expected.loss);
        }
    }
}

/// Values of each parameter's gradient, in the order of the layout.
struct Gradients<'a> {
    gradients: &'a GradientsParams,
    values: Vec<f32>,
}

impl ModuleVisitor for Gradients<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let gradient = self.gradients.get::<D>(param.id).unwrap();
        self.values
            .extend(gradient.try_into_vec_as::<f32>().unwrap());
    }
}

fn gradients(module: &EncoderDecoderModule, loss: &Tensor<1>) -> Vec<f32> {
    let gradients = GradientsParams::from_grads(loss.backward(), module);
    let mut read = Gradients {
        gradients: &gradients,
        values: Vec::new(),
    };
    module.visit(&mut read);
    read.values
}

fn value(loss: Tensor<1>) -> f64 {
    f64::from(loss.inner().try_into_scalar::<f32>().unwrap())
}

/// Norm and dot product of each named tensor among flat values.
fn compare(
    model: &EncoderDecoder,
    values: &[f32],
    expected: &BTreeMap<String, [f64; 2]>,
    share: f64,
) {
    let entries = &model.layout().entries;
    assert_eq!(values.len(), entries.total);
    for entry in &entries.list {
        let [norm, dot] = expected[&entry.name];
        let own = values[entry.range.clone()].iter().map(|&g| f64::from(g));
        let own_norm = own.clone().map(|g| g * g).sum::<f64>().sqrt();
        let own_dot: f64 = own
            .zip(0..)
            .map(|(g, i)| g * (0.7 * f64::from(i)).sin())
            .sum();
        // A key's bias shifts all scores of a query alike: its gradient is 0, up to rounding.
        let tolerance = share * norm + 2e-5;
        let name = &entry.name;
        assert!(
            (own_norm - norm).abs() < tolerance,
            "{name}: {own_norm}, {norm}"
        );
        assert!(
            (own_dot - dot).abs() < 5.0 * tolerance,
            "{name}: {own_dot}, {dot}"
        );
    }
    assert_eq!(entries.list.len(), expected.len());
}

/// By kernels and by the tensor program.
type Loss = fn(&EncoderDecoderModule, &[&Pair], &Learning<'_>) -> Tensor<1>;
const WAYS: [Loss; 2] = [
    |module, batch, learning| module.kernel_loss(batch, learning).unwrap(),
    |module, batch, learning| module.program_loss(batch, learning),
];

#[test]
fn gradients_and_ten_steps_of_adamw_are_those_of_pytorch() {
    let smooth = Learning {
        label_smoothing: 0.1,
        ..Learning::default()
    };
    for name in ["marian", "pegasus"] {
        let expected = Expected::read(name);
        let model = EncoderDecoder::load(golden(name), &cpu()).unwrap();
        let pairs = expected.pairs();
        let batch: Vec<&Pair> = pairs.iter().collect();
        let targets: usize = pairs.iter().map(|p| p.target.len()).sum();
        for loss_of in WAYS {
            let mut module = model.module(&cpu().autodiff());
            let loss = loss_of(&module, &batch, &Learning::default());
            assert!((value(loss.clone()) - expected.loss).abs() < 1e-5 * expected.loss);
            compare(
                &model,
                &gradients(&module, &loss),
                &expected.gradients,
                1e-5,
            );
            let mut adam = AdamWConfig::new()
                .with_weight_decay(0.01)
                .with_epsilon(1e-8)
                .init();
            for step in &expected.steps {
                let mean = loss_of(&module, &batch, &smooth) / targets as f64;
                assert!((value(mean.clone()) - step).abs() < 2e-5 * step, "{step}");
                let gradients = GradientsParams::from_grads(mean.backward(), &module);
                module = adam.step(1e-3, module, gradients);
            }
            let trained = EncoderDecoder::from_module(&module, &cpu()).unwrap();
            // A step of Adam has a size of its own where the gradient is only rounding.
            let (mut own, mut values) = (expected.trained.clone(), trained.weights.to_vec());
            for entry in &model.layout().entries.list {
                if entry.name.ends_with("k_proj.bias") {
                    values[entry.range.clone()].fill(0.0);
                    own.insert(entry.name.clone(), [0.0, 0.0]);
                }
            }
            compare(&trained, &values, &own, 2e-5);
        }
    }
}

fn small(norm: NormPlace) -> EncoderDecoderConfig {
    EncoderDecoderConfig {
        vocabulary: 30,
        encoder_layers: 2,
        decoder_layers: 2,
        heads: 3,
        width: 12,
        hidden: 20,
        positions: 24,
        norm,
        ..EncoderDecoderConfig::default()
    }
}

fn some_pairs() -> Vec<Pair> {
    let lengths = [(3, 5), (24, 1), (1, 24), (9, 8), (9, 9), (2, 7)];
    let text = |n: u32, k: u32| (0..n).map(|j| (j * j + 5 * k + 1) % 30).collect();
    let pairs = lengths.iter().zip(0..);
    pairs
        .map(|(&(s, t), i)| Pair {
            source: text(s, i),
            target: text(t, i + 7),
        })
        .collect()
}

#[test]
fn kernels_are_the_program_with_dropout_and_a_batch_is_its_pairs() {
    let pairs = some_pairs();
    let batch: Vec<&Pair> = pairs.iter().collect();
    for norm in [NormPlace::After, NormPlace::Before] {
        let config = EncoderDecoderConfig {
            dropout: 0.2,
            scaled: norm == NormPlace::After,
            ..small(norm)
        };
        let model = EncoderDecoder::new(&config, 3, &cpu()).unwrap();
        let module = model.module(&cpu().autodiff());
        let numbers = [4, 9, 1, 77, 2, 8];
        let learning = |sequences| Learning {
            dropout: Some(DropoutDraw { seed: 5, sequences }),
            label_smoothing: 0.1,
        };
        let [kernels, program] = WAYS.map(|way| way(&module, &batch, &learning(&numbers)));
        let (a, b) = (value(kernels.clone()), value(program.clone()));
        assert!((a - b).abs() < 1e-5 * b, "{a} {b}");
        let (a, b) = (gradients(&module, &kernels), gradients(&module, &program));
        close(&a, &b, 2e-4, "gradients");
        // The last two pairs, whatever stood beside them.
        let alone: f64 = (0..6)
            .map(|i| {
                let own = learning(&numbers[i..=i]);
                value(WAYS[i % 2](&module, &batch[i..=i], &own))
            })
            .sum();
        let all = value(kernels);
        assert!((alone - all).abs() < 1e-5 * all, "{alone} {all}");
        let smooth = Learning {
            dropout: None,
            ..learning(&numbers)
        };
        let without = value(WAYS[0](&module, &batch, &smooth));
        assert!((without - all).abs() > 1e-3 * all);
    }
}

#[test]
fn it_learns_to_turn_texts_around() {
    let config = EncoderDecoderConfig {
        vocabulary: 10,
        encoder_layers: 1,
        decoder_layers: 1,
        heads: 2,
        width: 32,
        hidden: 32,
        positions: 8,
        norm: NormPlace::Before,
        dropout: 0.0,
        ..EncoderDecoderConfig::default()
    };
    let module = EncoderDecoder::new(&config, 1, &cpu())
        .unwrap()
        .module(&cpu());
    let pair = |n: u32| {
        let text: Vec<u32> = (0..3 + n % 3).map(|i| 2 + n / 8u32.pow(i) % 8).collect();
        let end = [config.end];
        Pair {
            source: [&text[..], &end].concat(),
            target: text.iter().rev().copied().chain(end).collect(),
        }
    };
    let pairs: Vec<Pair> = (0..640).map(|i| pair(i * 37)).collect();
    let trainer = Trainer {
        steps: 300,
        batch: 32,
        learning_rate: 1e-2,
        warm_up: 30,
        evaluate_every: 100,
        ..Trainer::default()
    };
    let trained = trainer.fit_module(&module, &pairs, &pairs[..64]).unwrap();
    let model = EncoderDecoder::from_module(&trained.model, &cpu()).unwrap();
    let unseen: Vec<Pair> = (0..50).map(|i| pair(i * 91 + 24_000)).collect();
    let sources: Vec<&[u32]> = unseen.iter().map(|p| p.source.as_slice()).collect();
    let search = BeamSearch {
        max_tokens: 8,
        ..BeamSearch::default()
    };
    let written = model.translate(&sources, &search).unwrap();
    let right = written
        .iter()
        .zip(&unseen)
        .filter(|(texts, pair)| texts[0].tokens == pair.target);
    let right = right.count();
    assert!(right >= 30, "{right}");
}

#[test]
fn a_text_ends_where_the_positions_do() {
    let config = EncoderDecoderConfig {
        vocabulary: 10,
        encoder_layers: 1,
        decoder_layers: 1,
        heads: 2,
        width: 8,
        hidden: 8,
        positions: 6,
        ..EncoderDecoderConfig::default()
    };
    let model = EncoderDecoder::new(&config, 1, &cpu()).unwrap();
    let given = model.given(&[3, 4]).unwrap();
    // Everything has room for 256 tokens but the model.
    let text = Sampler::default()
        .generate(&given, &[config.start])
        .unwrap();
    assert_eq!((text.tokens.len(), text.finish), (5, Finish::Context));
    let (guessed, _) = Sampler::default()
        .generate_with_draft(&given, &given, &[config.start], 3)
        .unwrap();
    assert_eq!(guessed, text);
    for text in BeamSearch::default()
        .generate(&given, &[config.start])
        .unwrap()
    {
        assert_eq!((text.tokens.len(), text.finish), (6, Finish::Context)); // the last is not read
    }
    let full = [config.start; 6];
    assert!(
        Sampler::default()
            .generate(&given, &full)
            .unwrap()
            .tokens
            .is_empty()
    );
    let last = BeamSearch::default().generate(&given, &full).unwrap();
    assert!(last.iter().all(|text| text.tokens.len() == 1));
}

/// The same model without beams of its own.
struct Plain<'a>(Conditioned<'a>);

struct PlainState<'a>(Box<dyn LanguageState + 'a>);

impl LanguageModel for Plain<'_> {
    fn vocabulary_size(&self) -> usize {
        self.0.vocabulary_size()
    }

    fn context(&self) -> Option<usize> {
        self.0.context()
    }

    fn start(&self) -> Result<Box<dyn LanguageState + '_>> {
        Ok(Box::new(PlainState(self.0.start()?)))
    }
}

impl LanguageState for PlainState<'_> {
    fn feed(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.0.feed(tokens)
    }

    fn position(&self) -> usize {
        self.0.position()
    }

    fn fork<'s>(&self) -> Box<dyn LanguageState + 's>
    where
        Self: 's,
    {
        Box::new(PlainState(self.0.fork()))
    }
}

#[test]
fn beams_together_are_beams_apart() {
    for norm in [NormPlace::After, NormPlace::Before] {
        let model = EncoderDecoder::new(&small(norm), 4, &cpu()).unwrap();
        for compute in [Compute::Kernels, Compute::Program] {
            let model = model.with_compute(compute).unwrap();
            let search = BeamSearch {
                width: 4,
                max_tokens: 9,
                stop: vec![1, 7],
                ..BeamSearch::default()
            };
            for pair in some_pairs() {
                let given = model.given(&pair.source).unwrap();
                let together = search.generate(&given, &[0]).unwrap();
                let apart = search.generate(&Plain(given), &[0]).unwrap();
                assert_eq!(together.len(), apart.len());
                for (a, b) in together.iter().zip(&apart) {
                    assert_eq!(a.tokens, b.tokens);
                    close(&a.log_probabilities, &b.log_probabilities, 1e-5, "beams");
                }
            }
            let given = model.given(&[3]).unwrap();
            let mut beams = given.start().unwrap().beams();
            assert!(beams.advance(&[0], &[30]).is_err());
        }
    }
}

#[test]
fn what_is_saved_is_what_transformers_saved() {
    let folder = tempfile::tempdir().unwrap();
    let model = EncoderDecoder::load(golden("marian"), &cpu()).unwrap();
    model.save(folder.path()).unwrap();
    let (ours, theirs) = (
        std::fs::read(folder.path().join("model.safetensors")).unwrap(),
        std::fs::read(golden("marian").join("model.safetensors")).unwrap(),
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
    let theirs = read(golden("marian").join("config.json"));
    for (key, value) in read(folder.path().join("config.json")) {
        if key != "forced_eos_token_id" {
            assert_eq!(value, theirs[&key], "{key}");
        }
    }
    // And the other kind, there and back.
    let model = EncoderDecoder::load(golden("pegasus"), &cpu()).unwrap();
    model.save(folder.path()).unwrap();
    let again = EncoderDecoder::load(folder.path(), &cpu()).unwrap();
    assert_eq!(again.config(), model.config());
    assert_eq!(again.weights, model.weights);
    assert_eq!(again.bias, None);
}

#[test]
fn wrong_texts_and_configs_are_named() {
    let model = EncoderDecoder::new(&small(NormPlace::After), 1, &cpu()).unwrap();
    let error = |source: &[u32]| model.given(source).unwrap_err().to_string();
    assert_eq!(error(&[]), "source: needs at least 1, found 0");
    assert_eq!(
        error(&[3, 30]),
        "source, position 1: token 30 is not in a vocabulary of 30"
    );
    assert_eq!(
        error(&[3; 25]),
        "the length of a text is 25 (source): at most the model's positions"
    );
    let good = some_pairs().swap_remove(0);
    let bad = Pair {
        target: vec![31],
        ..good.clone()
    };
    let found = model.loss(&[good.clone(), bad]).unwrap_err().to_string();
    assert_eq!(
        found,
        "target 1, position 0: token 31 is not in a vocabulary of 30"
    );
    assert!(model.trace(&good.source, &[]).is_err());
    assert_eq!(model.loss(&[]).unwrap(), 0.0);
    let given = model.given(&good.source).unwrap();
    let mut state = given.start().unwrap();
    assert!(state.feed(&[]).is_err() && state.feed(&[30]).is_err());
    assert!(state.feed(&[2; 25]).is_err());
    assert!(state.feed(&[2; 24]).is_ok() && state.feed(&[2]).is_err());
    let good = small(NormPlace::After);
    for bad in [
        EncoderDecoderConfig {
            heads: 5,
            ..good.clone()
        },
        EncoderDecoderConfig {
            width: 9,
            ..good.clone()
        },
        EncoderDecoderConfig {
            positions: 0,
            ..good.clone()
        },
        EncoderDecoderConfig {
            decoder_layers: usize::MAX,
            ..good.clone()
        },
        EncoderDecoderConfig {
            dropout: 1.0,
            ..good.clone()
        },
        EncoderDecoderConfig {
            norm_epsilon: f32::NAN,
            ..good.clone()
        },
        EncoderDecoderConfig {
            end: 30,
            ..good.clone()
        },
    ] {
        let error = EncoderDecoder::new(&bad, 1, &cpu()).unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
    }
}

/// A copy of a golden folder, in which one file is changed.
fn changed(name: &str, file: &str, change: impl Fn(Vec<u8>) -> Vec<u8>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["config.json", "model.safetensors"] {
        let content = std::fs::read(golden(name).join(part)).unwrap();
        let content = if part == file {
            change(content)
        } else {
            content
        };
        std::fs::write(folder.path().join(part), content).unwrap();
    }
    folder
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn no_file_makes_it_panic(
        config in any::<bool>(),
        cut in prop::option::of(0.0..1.0f64),
        edits in prop::collection::vec((0.0..1.0f64, any::<u8>()), 0..6),
    ) {
        let file = if config { "config.json" } else { "model.safetensors" };
        let folder = changed("pegasus", file, |mut content| {
            // Most of what can go wrong is in the header.
            let reach = content.len().min(6000);
            for (at, byte) in &edits {
                let at = (at * reach as f64) as usize;
                content[at] = *byte;
            }
            if let Some(cut) = cut {
                content.truncate((cut * content.len() as f64) as usize);
            }
            content
        });
        if let Ok(model) = EncoderDecoder::load(folder.path(), &cpu()) {
            if let Ok(given) = model.given(&[1, 2]) {
                let _ = Sampler { max_tokens: 2, ..Sampler::default() }.generate(&given, &[0]);
            }
        } else {
            prop_assert!(cut.is_some() || !edits.is_empty());
        }
    }
}
