//! The same model on every device: a few steps of training and the logits afterwards, compared
//! with the CPU's. Run with `--features ndarray` or `--features wgpu`.
#![cfg(any(feature = "ndarray", feature = "wgpu", feature = "cuda"))]
#![allow(clippy::unwrap_used)]

use refrain_sequence::{
    Cell, Compute, Corpus, EncoderDecoder, EncoderDecoderConfig, LanguageModel, ModelConfig, Pair,
    RnnConfig, Trainer, TransformerConfig, Vocabulary,
};

/// How far two devices may drift apart in five steps: sums are taken in another order.
const TOLERANCE: f32 = 2e-3;

fn corpus() -> Corpus {
    let documents = (0..12u32)
        .map(|i| (0..4 + i % 5).map(|j| (i * j + j) % 7).collect())
        .collect();
    let names = Vocabulary::numbered(7).unwrap();
    Corpus::documents(names, documents)
        .unwrap()
        .hold_out(0.25, 0)
        .unwrap()
}

/// Training losses, validation losses, and logits by the key/value cache.
fn run<C: ModelConfig>(config: &C, device: &str, compute: Compute) -> [Vec<f32>; 3] {
    let device = refrain_core::device(device).unwrap();
    let trainer = Trainer {
        steps: 5,
        batch: 3,
        learning_rate: 1e-2,
        warm_up: 2,
        evaluate_every: 5,
        compute,
        ..Trainer::default()
    };
    let trained = trainer.fit(config, &corpus(), &device).unwrap();
    let mut state = trained.model.start().unwrap();
    let mut logits = state.feed(&[1, 2]).unwrap();
    logits.extend(state.feed(&[3]).unwrap());
    let losses = |points: &[refrain_sequence::LossPoint]| points.iter().map(|p| p.loss).collect();
    [
        losses(&trained.curve.train),
        losses(&trained.curve.validation),
        logits,
    ]
}

#[test]
fn every_device_trains_and_answers_alike() {
    let small = TransformerConfig {
        layers: 1,
        heads: 2,
        width: 8,
        context: 6,
        dropout: 0.1,
        ..TransformerConfig::default()
    };
    let gpt2 = TransformerConfig {
        layers: 1,
        heads: 2,
        width: 8,
        context: 6,
        ..TransformerConfig::gpt2()
    };
    for config in [small, gpt2] {
        compare(&config, Compute::Kernels);
    }
    for cell in [Cell::Elman, Cell::Gru, Cell::Lstm] {
        let config = RnnConfig {
            cell,
            width: 8,
            bptt: 6,
            dropout: 0.1,
            ..RnnConfig::default()
        };
        compare(&config, Compute::Auto);
    }
}

/// The CPU, computing in this way, against the tensor program on every device.
fn compare<C: ModelConfig>(config: &C, compute: Compute) {
    let expected = run(config, "flex", compute);
    alike(&expected, |device| run(config, device, Compute::Program));
}

fn alike(expected: &[Vec<f32>; 3], run: impl Fn(&str) -> [Vec<f32>; 3]) {
    for device in refrain_core::devices() {
        if device == "cuda" {
            continue; // compiled in on machines that have none
        }
        let got = run(device);
        for (got, expected) in got.iter().zip(expected) {
            assert_eq!(got.len(), expected.len());
            for (a, b) in got.iter().zip(expected) {
                assert!((a - b).abs() <= TOLERANCE, "{device}: {a} and {b}");
            }
        }
    }
}

/// The same of an encoder-decoder: its kernels train on the CPU, its tensor program elsewhere.
fn translator(device: &str) -> [Vec<f32>; 3] {
    let device = refrain_core::device(device).unwrap();
    let config = EncoderDecoderConfig {
        vocabulary: 12,
        encoder_layers: 1,
        decoder_layers: 1,
        heads: 2,
        width: 8,
        hidden: 12,
        positions: 8,
        ..EncoderDecoderConfig::default()
    };
    let pairs: Vec<Pair> = (0..9u32)
        .map(|i| Pair {
            source: (0..1 + i % 7).map(|j| (i + j * j) % 12).collect(),
            target: (0..1 + i * 3 % 7).map(|j| (i * 5 + j) % 12).collect(),
        })
        .collect();
    let trainer = Trainer {
        steps: 5,
        batch: 3,
        learning_rate: 1e-2,
        warm_up: 2,
        evaluate_every: 5,
        label_smoothing: 0.1,
        ..Trainer::default()
    };
    let module = EncoderDecoder::new(&config, 1, &device)
        .unwrap()
        .module(&device);
    let trained = trainer.fit_module(&module, &pairs, &pairs[6..]).unwrap();
    let model = EncoderDecoder::from_module(&trained.model, &device).unwrap();
    let given = model.given(&[3, 4, 5]).unwrap();
    let mut state = given.start().unwrap();
    let mut logits = state.feed(&[0, 2]).unwrap();
    logits.extend(state.feed(&[3]).unwrap());
    let losses = |points: &[refrain_sequence::LossPoint]| points.iter().map(|p| p.loss).collect();
    [
        losses(&trained.curve.train),
        losses(&trained.curve.validation),
        logits,
    ]
}

#[test]
fn every_device_translates_alike() {
    alike(&translator("flex"), translator);
}
