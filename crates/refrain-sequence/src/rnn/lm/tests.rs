use proptest::prelude::*;

use super::*;
use crate::batch::{Batcher, Dropout};
use crate::train::tests::unplugged_at;
use crate::{Characters, Corpus, Sampler, Tokenizer, Trained, Trainer, Transformer};

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

const CELLS: [Cell; 3] = [Cell::Elman, Cell::Gru, Cell::Lstm];
const WAYS: [Compute; 2] = [Compute::Kernels, Compute::Program];

fn tiny(cell: Cell) -> RnnConfig {
    RnnConfig {
        cell,
        layers: 2,
        width: 12,
        bptt: 10,
        ..RnnConfig::default()
    }
}

fn model(config: &RnnConfig) -> RnnLm {
    RnnLm::new(config, Vocabulary::numbered(7).unwrap(), 1, &cpu()).unwrap()
}

const TEXT: &str = "the quick brown fox jumps over the lazy dog; ";

fn corpus() -> Corpus {
    let text = TEXT.repeat(30);
    let corpus = Corpus::text(&Characters::from_text(&text).unwrap(), &text).unwrap();
    corpus.hold_out(0.1, 0).unwrap()
}

fn trainer() -> Trainer {
    Trainer {
        steps: 24,
        batch: 4,
        learning_rate: 1e-2,
        warm_up: 4,
        evaluate_every: 5,
        ..Trainer::default()
    }
}

#[test]
fn every_cell_learns_a_tiny_text_by_heart() {
    for (cell, tied, compute) in [
        (Cell::Elman, false, Compute::Kernels),
        (Cell::Gru, true, Compute::Kernels),
        (Cell::Lstm, false, Compute::Kernels),
        (Cell::Gru, true, Compute::Program),
    ] {
        let config = RnnConfig {
            width: 48,
            layers: 1,
            tied,
            ..tiny(cell)
        };
        let trainer = Trainer {
            steps: 200,
            batch: 8,
            evaluate_every: 50,
            compute,
            ..trainer()
        };
        let trained = trainer.fit(&config, &corpus(), &cpu()).unwrap();
        let loss = trained.curve.best().unwrap().loss;
        assert!(loss < 0.35, "{cell:?}: {loss}");
        let characters = Characters::from_text(TEXT).unwrap();
        let prompt = characters.encode("the lazy dog; the quick br").unwrap();
        let greedy = Sampler {
            temperature: 0.0,
            max_tokens: 20,
            ..Sampler::default()
        };
        let text = greedy.generate(&trained.model, &prompt).unwrap();
        let text = characters.decode(&text.tokens).unwrap();
        assert_eq!(text, "own fox jumps over t", "{cell:?}");
        let again = trained.model.loss(corpus().validation().unwrap()).unwrap();
        assert!((again as f32 - loss).abs() < 1e-4, "{again} {loss}");
    }
}

#[test]
fn resuming_is_the_same_as_not_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<Vec<u32>> = (0..30u32)
        .map(|i| (0..5 + i % 13).map(|j| (i + j * j) % 9).collect())
        .collect();
    let documents = Corpus::documents(Vocabulary::numbered(9).unwrap(), documents).unwrap();
    let documents = documents.hold_out(0.2, 1).unwrap();
    for (name, corpus) in [("stream", corpus()), ("documents", documents)] {
        for (cell, compute) in [
            (Cell::Gru, Compute::Kernels),
            (Cell::Lstm, Compute::Kernels),
            (Cell::Lstm, Compute::Program),
        ] {
            let path = folder
                .path()
                .join(format!("{name}-{cell:?}-{compute:?}.refrain"));
            let config = RnnConfig {
                dropout: 0.1,
                variational: cell == Cell::Gru,
                ..tiny(cell)
            };
            let trainer = Trainer {
                accumulate: 2,
                compute,
                ..trainer()
            };
            let unbroken = trainer.fit(&config, &corpus, &cpu()).unwrap();
            let saving = Trainer {
                checkpoint: Some(path.clone()),
                checkpoint_every: 7,
                ..trainer.clone()
            };
            let monitor = unplugged_at(17);
            assert!(saving.fit_with(&config, &corpus, &cpu(), &monitor).is_err());
            let resumed: Trained<RnnLm> = saving.resume(&path, &corpus, &cpu()).unwrap();
            assert_eq!(resumed.curve, unbroken.curve, "{name} {cell:?}");
            let bytes = |trained: &Trained<RnnLm>| trained.model.to_bytes().unwrap();
            assert_eq!(bytes(&resumed), bytes(&unbroken));
            // A checkpoint of another model is refused.
            let error = saving
                .resume::<Transformer>(&path, &corpus, &cpu())
                .unwrap_err();
            assert!(error.to_string().contains("checkpoint.rnn"), "{error}");
        }
    }
}

#[test]
fn lanes_carry_the_state_from_window_to_window() {
    for (cell, compute) in CELLS.iter().flat_map(|&cell| WAYS.map(|way| (cell, way))) {
        let model = model(&tiny(cell));
        let stream: Vec<u32> = (0..61).map(|i| (i * i + i / 3) % 7).collect();
        let data = TokenSequences::stream(stream);
        // 2 lanes of 30 targets, 3 windows each.
        let mut batcher = Batcher::new(&data, 10, 0).in_lanes(2);
        let mut engine = model.trainable(compute).unwrap();
        let mut sum = 0.0;
        for step in 0..3 {
            sum += engine
                .accumulate(&batcher.batch(step, 2), 1.0, None)
                .unwrap();
        }
        // Without updates, the windows cost what the lanes cost read at once.
        let whole = model.trainable(compute).unwrap();
        let lanes = everything(&data, 30);
        let at_once = whole.evaluate(&lanes).unwrap();
        assert!((sum - at_once).abs() < 1e-3, "{cell:?}: {sum} {at_once}");
        // From the start again: nothing is left of the end.
        let again = engine.accumulate(&batcher.batch(3, 2), 1.0, None).unwrap();
        let first = whole.evaluate(&batcher.batch(0, 2)).unwrap();
        assert!((again - first).abs() < 1e-4);

        // Windows that begin anew know less and cost something else.
        let mut fresh = 0.0;
        for step in 0..3 {
            let mut batch = batcher.batch(step, 2);
            batch.iter_mut().for_each(|e| e.lane = None);
            fresh += whole.evaluate(&batch).unwrap();
        }
        assert!((fresh - at_once).abs() > 1e-3);
    }
}

#[test]
fn a_batch_is_the_sum_of_its_examples() {
    let config = RnnConfig {
        dropout: 0.3,
        ..tiny(Cell::Lstm)
    };
    let model = model(&config);
    let documents: Vec<Vec<u32>> = (2..8u32)
        .map(|n| (0..n).map(|i| (i * n) % 7).collect())
        .collect();
    let data = TokenSequences::documents(documents);
    let batch = Batcher::new(&data, 10, 0).batch(0, 6);
    let dropout = Some(Dropout { rate: 0.3, seed: 4 });
    for compute in WAYS {
        let mut together = model.trainable(compute).unwrap();
        let mut apart = model.trainable(compute).unwrap();
        let loss = together.accumulate(&batch, 1.0, dropout).unwrap();
        let mut sum = 0.0;
        for example in batch.chunks(1) {
            sum += apart.accumulate(example, 1.0, dropout).unwrap();
        }
        assert!((loss - sum).abs() < 1e-4, "{loss} {sum}");
        let pairs = together.take_gradient().unwrap().into_iter();
        for (a, b) in pairs.zip(apart.take_gradient().unwrap()) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
        assert!((together.evaluate(&batch).unwrap() - loss).abs() > 1e-3);
    }
}

#[test]
fn gradients_agree_with_finite_differences() {
    for (cell, tied, compute) in [
        (Cell::Elman, true, Compute::Kernels),
        (Cell::Gru, false, Compute::Kernels),
        (Cell::Lstm, true, Compute::Kernels),
        (Cell::Gru, false, Compute::Program),
    ] {
        let config = RnnConfig {
            width: 4,
            tied,
            ..tiny(cell)
        };
        let model = model(&config);
        let batch = vec![
            Example::of(&[1, 5, 2, 0, 6, 3], 0),
            Example::of(&[4, 4, 1], 1),
        ];
        let mut engine = model.trainable(compute).unwrap();
        engine.accumulate(&batch, 1.0, None).unwrap();
        let gradient = engine.take_gradient().unwrap();
        assert_eq!(gradient.len(), model.parameters());
        let at = |i: usize, step: f32| {
            let mut weights = model.weights.to_vec();
            weights[i] += step;
            let model = model.reweighted(weights).unwrap();
            model
                .trainable(Compute::Program)
                .unwrap()
                .evaluate(&batch)
                .unwrap()
        };
        for i in (0..gradient.len()).step_by(7) {
            let slope = (at(i, 1e-2) - at(i, -1e-2)) / 2e-2;
            assert!(
                (slope - f64::from(gradient[i])).abs() < 5e-3,
                "{cell:?} {i}: {slope} {}",
                gradient[i]
            );
        }
    }
}

#[test]
fn token_by_token_is_the_text_at_once() {
    for (cell, way) in CELLS.iter().flat_map(|&cell| WAYS.map(|way| (cell, way))) {
        let model = model(&tiny(cell)).with_compute(way).unwrap();
        let tokens: Vec<u32> = (0..PIECE as u32 + 40).map(|i| (i * i + 3) % 7).collect();
        let all = model.logits(&tokens).unwrap();
        assert_eq!(all.len(), tokens.len() * 7);
        let mut state = model.start().unwrap();
        let first = state.feed(&tokens[..5]).unwrap();
        let close = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5);
        assert!(close(&first, &all[4 * 7..5 * 7]));
        {
            let mut fork = state.fork();
            fork.feed(&[0, 0, 0]).unwrap();
            assert_eq!(fork.position(), 8);
        }
        for i in 5..12 {
            let logits = state.feed(&tokens[i..=i]).unwrap();
            assert!(close(&logits, &all[i * 7..(i + 1) * 7]), "{cell:?} {i}");
        }
        assert_eq!(state.position(), 12);
        let rest = state.feed(&tokens[12..]).unwrap();
        assert!(close(&rest, &all[all.len() - 7..]));
        assert!(matches!(state.feed(&[]), Err(Error::TooShort { .. })));
        assert!(matches!(state.feed(&[7]), Err(Error::Token { .. })));

        // Log-probabilities are those of validation.
        let likely = model.log_probabilities(&tokens).unwrap();
        assert_eq!(likely.len(), tokens.len() - 1);
        let mean = -likely.iter().map(|&l| f64::from(l)).sum::<f64>() / likely.len() as f64;
        let loss = model
            .loss(&TokenSequences::documents(vec![tokens]))
            .unwrap();
        assert!((mean - loss).abs() < 1e-5, "{mean} {loss}");
        assert!(model.log_probabilities(&[]).unwrap().is_empty());
        assert!(model.log_probabilities(&[7]).is_err());
    }
}

#[test]
fn a_saved_model_comes_back() {
    for tied in [true, false] {
        let config = RnnConfig {
            tied,
            ..tiny(Cell::Gru)
        };
        let model = model(&config);
        let bytes = model.to_bytes().unwrap();
        let again = RnnLm::from_bytes(bytes.clone(), &cpu()).unwrap();
        assert_eq!(again.config(), model.config());
        assert_eq!(
            again.logits(&[1, 2]).unwrap(),
            model.logits(&[1, 2]).unwrap()
        );
        assert_eq!(again.to_bytes().unwrap(), bytes);
        assert_eq!(model.parameters(), config.parameters(7).unwrap());
        // 2 layers of 3 gates, and the table, and its bias.
        let table = 7 * 12;
        let layers = 2 * 3 * 12 * (12 + 12 + 2);
        let tables = if tied { table } else { 2 * table };
        assert_eq!(model.parameters(), layers + tables + 7);
        // Another kind of model.
        assert!(Transformer::from_bytes(bytes, &cpu()).is_err());
    }
}

#[test]
fn impossible_configs_are_refused_by_name() {
    let good = tiny(Cell::Lstm);
    for (bad, word) in [
        (
            RnnConfig {
                layers: 0,
                ..good.clone()
            },
            "layers",
        ),
        (
            RnnConfig {
                layers: usize::MAX,
                ..good.clone()
            },
            "layers",
        ),
        (
            RnnConfig {
                width: 0,
                ..good.clone()
            },
            "width",
        ),
        (
            RnnConfig {
                width: 1 << 20,
                ..good.clone()
            },
            "parameters",
        ),
        (
            RnnConfig {
                bptt: 0,
                ..good.clone()
            },
            "bptt",
        ),
        (
            RnnConfig {
                dropout: 1.0,
                ..good.clone()
            },
            "dropout",
        ),
    ] {
        let error = bad.parameters(7).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
    assert!(good.parameters(0).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn kernels_agree_with_the_program(
        lengths in proptest::collection::vec(1usize..9, 1..6),
        cell in 0usize..3,
        layers in 1usize..4,
        tied: bool,
        variational: bool,
        rate in prop_oneof![Just(0.0f32), Just(0.4f32)],
        lanes: bool,
    ) {
        let config = RnnConfig {
            layers, tied, variational, width: 8, dropout: rate, ..tiny(CELLS[cell])
        };
        let model = model(&config);
        let mut number = 0;
        let mut batch = || -> Vec<Example> {
            let examples = lengths.iter().enumerate().map(|(i, &n)| {
                number += 1;
                let tokens: Vec<u32> = (0..=n).map(|t| ((t * t + i * 5 + number) % 7) as u32).collect();
                let lane = lanes.then_some(crate::batch::Lane { index: i, begins: number <= 3 });
                Example { lane, ..Example::of(&tokens, number as u64) }
            });
            examples.collect()
        };
        let dropout = (rate > 0.0).then_some(Dropout { rate, seed: 9 });
        let mut engines = WAYS.map(|way| model.trainable(way).unwrap());
        for batch in [batch(), batch()] {
            let losses = engines.each_mut().map(|e| e.accumulate(&batch, 0.5, dropout).unwrap());
            prop_assert!((losses[0] - losses[1]).abs() < 1e-4, "{losses:?}");
        }
        let lanes = engines.each_ref().map(|e| e.parameters().unwrap().lanes);
        prop_assert_eq!(lanes[0].len(), lanes[1].len());
        let gradients = engines.each_mut().map(|e| e.take_gradient().unwrap());
        for (a, b) in [&lanes, &gradients].iter().flat_map(|p| p[0].iter().zip(&p[1])) {
            prop_assert!((a - b).abs() < 2e-5 * (1.0 + b.abs()), "{a} {b}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn damaged_files_never_panic(
        cut in proptest::option::of(0.0f64..1.0),
        flips in proptest::collection::vec((0.0f64..1.0, any::<u8>()), 0..6),
    ) {
        let config = RnnConfig { layers: 1, width: 2, ..tiny(Cell::Lstm) };
        let mut bytes = model(&config).to_bytes().unwrap();
        for (at, value) in flips {
            let at = (at * at * bytes.len() as f64) as usize;
            bytes[at] = value;
        }
        if let Some(cut) = cut {
            bytes.truncate((cut * bytes.len() as f64) as usize);
        }
        if let Ok(model) = RnnLm::from_bytes(bytes, &cpu()) {
            let _ = model.logits(&[0]);
        }
    }
}
