//! Tests of the sequence game.

use refrain_core::{CancelToken, Event};
use refrain_sequence::{
    Cell, LanguageModel, ModelConfig, RnnConfig, Trainer, Transformer, TransformerConfig,
    Vocabulary,
};

use super::texts::{rollouts, texts, write};
use super::*;

const FRAME: TextFrame = TextFrame {
    start: 0,
    end: 1,
    longest: 6,
};

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

/// Lines of three to five rising tokens.
fn corpus() -> Corpus {
    let line = |i: u32| {
        let from = 2 + i % 3;
        let mut line = vec![0];
        line.extend(from..from + 3 + i % 2);
        line.push(1);
        line
    };
    Corpus::documents(
        Vocabulary::numbered(9).unwrap(),
        (0..60).map(line).collect(),
    )
    .unwrap()
}

fn pretrained(steps: usize) -> RnnLm {
    let config = RnnConfig {
        cell: Cell::Gru,
        layers: 1,
        width: 12,
        ..RnnConfig::default()
    };
    trained(&config, steps)
}

fn transformer(steps: usize) -> Transformer {
    let config = TransformerConfig {
        layers: 1,
        heads: 2,
        width: 12,
        context: 8,
        ..TransformerConfig::default()
    };
    trained(&config, steps)
}

fn trained<C: ModelConfig>(config: &C, steps: usize) -> C::Model {
    let trainer = Trainer {
        steps,
        learning_rate: 2e-2,
        warm_up: 2,
        ..Trainer::default()
    };
    trainer.fit(config, &corpus(), &cpu()).unwrap().model
}

fn at_rate(rate: f32) -> Adam {
    Adam { rate, ..ADAM }
}

fn small() -> SequenceGan {
    SequenceGan {
        discriminator: SequenceDiscriminator {
            width: 8,
            filters: 8,
            windows: vec![2, 3],
        },
        rounds: 3,
        warm_up: 3,
        batch: 6,
        rollouts: 2,
        ..SequenceGan::default()
    }
}

/// The share of texts in which every token but the ends is one more than the one before.
fn rising(model: &dyn LanguageModel) -> f64 {
    let texts = write(model, &FRAME, 1.0, 200, 77).unwrap();
    let rises = |text: &&Vec<u32>| {
        let inner: Vec<u32> = text.iter().copied().filter(|&t| t > 1).collect();
        inner.len() >= 3 && inner.windows(2).all(|p| p[1] == p[0] + 1) && text.last() == Some(&1)
    };
    texts.iter().filter(rises).count() as f64 / 200.0
}

#[test]
fn the_game_makes_texts_more_real() {
    let gan = SequenceGan {
        rounds: 60,
        warm_up: 60,
        batch: 32,
        rollouts: 2,
        generator_adam: at_rate(5e-3),
        discriminator_adam: at_rate(5e-3),
        ..small()
    };
    let rnn = pretrained(40);
    let trained = gan.fit(&rnn, &corpus(), FRAME, &cpu()).unwrap();
    let (before, after) = (rising(&rnn), rising(&trained.generator));
    assert!(after > before + 0.1, "{before} {after}");

    let transformer = transformer(40);
    let trained = gan.fit(&transformer, &corpus(), FRAME, &cpu()).unwrap();
    let (before, after) = (rising(&transformer), rising(&trained.generator));
    assert!(after > before + 0.1, "{before} {after}");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    fn check<M: TrainableModel>(start: &M, bytes: impl Fn(&M) -> Vec<u8>) {
        for rollouts in [0, 2] {
            let run = |seed| {
                let gan = SequenceGan {
                    seed,
                    rollouts,
                    ..small()
                };
                let trained = gan.fit(start, &corpus(), FRAME, &cpu()).unwrap();
                (trained.history, bytes(&trained.generator))
            };
            assert!(run(1) == run(1));
            assert!(run(1).1 != run(2).1);
        }
    }
    check(&pretrained(5), |model| model.to_bytes().unwrap());
    check(&transformer(5), |model| model.to_bytes().unwrap());
}

#[test]
fn rollouts_begin_as_their_text_and_advantages_cancel() {
    let start = pretrained(5);
    let config = SequenceGan {
        rollouts: 3,
        ..small()
    };
    let game = config.trainer(&start, &corpus(), FRAME, &cpu()).unwrap();
    let text = [0, 3, 4, 5, 1];
    let ends = rollouts(&start, &FRAME, 3, &text, 5).unwrap();
    assert_eq!(ends.len(), 3 * 3); // after the tokens 3, 4 and 5
    for (i, end) in ends.iter().enumerate() {
        let t = 1 + i / 3;
        assert_eq!(end[..=t], text[..=t]);
        assert!(end.len() <= FRAME.longest + 1 && end.len() > t + 1);
    }
    let written = write(&start, &FRAME, 1.0, 7, 2).unwrap();
    let (advantages, reward) = game.advantages(&written, 3).unwrap();
    assert!((0.0..=1.0).contains(&reward));
    for t in 0..FRAME.longest {
        let there: Vec<f32> = advantages
            .iter()
            .filter_map(|a| a.get(t))
            .copied()
            .collect();
        assert!(there.iter().sum::<f32>().abs() < 1e-5, "{there:?}");
    }
    assert!(
        advantages
            .iter()
            .zip(&written)
            .all(|(a, w)| a.len() == w.len() - 1)
    );
}

#[test]
fn a_colder_model_is_better_and_less_varied() {
    let model = pretrained(40);
    let config = Sweep {
        frame: FRAME,
        temperatures: vec![0.3, 1.0, 2.0],
        texts: 60,
        seed: 4,
    };
    let real = texts(&corpus(), &FRAME).unwrap();
    let rnn = RnnConfig {
        cell: Cell::Gru,
        layers: 1,
        width: 8,
        ..RnnConfig::default()
    };
    let trainer = Trainer {
        steps: 20,
        learning_rate: 2e-2,
        warm_up: 2,
        ..Trainer::default()
    };
    let points = sweep(
        &model,
        &config,
        &real,
        &model,
        Some((&rnn, model.vocabulary(), &trainer, &cpu())),
    )
    .unwrap();
    let [cold, own, hot] = points.as_slice() else {
        panic!("three points")
    };
    assert!(cold.bleu > own.bleu && own.bleu > hot.bleu, "{points:?}");
    assert!(
        cold.self_bleu > own.self_bleu && own.self_bleu > hot.self_bleu,
        "{points:?}"
    );
    assert!(
        cold.perplexity < own.perplexity && own.perplexity < hot.perplexity,
        "{points:?}"
    );
    assert!(
        points
            .iter()
            .all(|p| p.reverse_perplexity.is_some_and(|r| r > 1.0))
    );
    assert!(!cold.dominates(own) && !own.dominates(cold) && !own.dominates(own));
    let better = SweepPoint {
        bleu: own.bleu + 1.0,
        ..*own
    };
    assert!(better.dominates(own) && !own.dominates(&better));
    let none = Sweep {
        temperatures: vec![],
        ..config
    };
    assert!(matches!(
        sweep::<RnnConfig>(&model, &none, &real, &model, None),
        Err(Error::Config { .. })
    ));
}

#[test]
fn resume_gives_the_bits_of_an_unbroken_run() {
    for (cell, tied, broken_at) in [
        (Cell::Gru, true, 2), // while the discriminator warms up
        (Cell::Lstm, false, 4),
    ] {
        let config = RnnConfig {
            cell,
            tied,
            layers: 2,
            width: 6,
            ..RnnConfig::default()
        };
        let vocabulary = corpus().vocabulary().clone();
        let start = RnnLm::new(&config, vocabulary, 3, &cpu()).unwrap();
        resumes(&start, broken_at, |model| model.to_bytes().unwrap());
    }
    resumes(&transformer(1), 4, |model| model.to_bytes().unwrap());

    fn resumes<M: TrainableModel>(start: &M, broken_at: u64, bytes: impl Fn(&M) -> Vec<u8>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("game.refrain");
        let game = || small().trainer(start, &corpus(), FRAME, &cpu()).unwrap();
        let (mut unbroken, mut before) = (game(), game());
        for _ in 0..broken_at {
            assert_eq!(unbroken.step().unwrap(), before.step().unwrap());
        }
        before.save(&path).unwrap();
        drop(before);
        let mut resumed = SequenceTrainer::<M>::resume(&path, &corpus(), &cpu()).unwrap();
        assert_eq!(resumed.steps(), broken_at);
        assert!(bytes(resumed.generator()) == bytes(unbroken.generator()));
        while unbroken.steps() < unbroken.total_steps() {
            assert_eq!(unbroken.step().unwrap(), resumed.step().unwrap());
        }
        // The optimizers, too: what comes after the end, and the next checkpoint.
        assert_eq!(unbroken.step().unwrap(), resumed.step().unwrap());
        unbroken.save(&path).unwrap();
        let file = std::fs::read(&path).unwrap();
        resumed.save(&path).unwrap();
        assert!(file == std::fs::read(&path).unwrap());
        let (a, b) = (unbroken.into_trained(), resumed.into_trained());
        assert_eq!(a.history, b.history);
        assert!(bytes(&a.generator) == bytes(&b.generator));
        assert!(bytes(&a.generator) != bytes(start));
    }
}

#[test]
fn resume_refuses_other_texts_and_files_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("game.refrain");
    let start = pretrained(1);
    let mut game = small().trainer(&start, &corpus(), FRAME, &cpu()).unwrap();
    game.save(&path).unwrap();
    let refused = |corpus: &Corpus| {
        SequenceTrainer::<RnnLm>::resume(&path, corpus, &cpu())
            .unwrap_err()
            .to_string()
    };
    let names = Vocabulary::numbered(9).unwrap();
    let other = Corpus::documents(names, vec![vec![0, 2, 3, 1]; 3]).unwrap();
    assert!(refused(&other).contains("other texts"));
    start.save(&path).unwrap();
    assert!(refused(&corpus()).contains("sequence.rnn"));
    // Of a game of another kind of model.
    let other = transformer(1);
    let other = small().trainer(&other, &corpus(), FRAME, &cpu()).unwrap();
    other.save(&path).unwrap();
    assert!(refused(&corpus()).contains("gan.transformer.checkpoint"));
    // A broken file is an error, wherever it is cut.
    game.step().unwrap();
    game.save(&path).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for share in 0..20 {
        std::fs::write(&path, &whole[..whole.len() * share / 20]).unwrap();
        refused(&corpus());
    }
}

#[test]
fn a_broken_game_is_not_saved() {
    let gan = SequenceGan {
        generator_adam: at_rate(f32::MAX),
        warm_up: 0,
        ..small()
    };
    let start = pretrained(1);
    let mut game = gan.trainer(&start, &corpus(), FRAME, &cpu()).unwrap();
    let error = game.run(&Monitor::silent()).unwrap_err();
    assert!(!matches!(error, Error::Broken { .. }), "{error}");
    let path = tempfile::tempdir().unwrap().path().join("x.refrain");
    for error in [game.step().unwrap_err(), game.save(&path).unwrap_err()] {
        assert!(matches!(error, Error::Broken { .. }), "{error}");
    }
}

#[test]
fn bad_texts_and_settings_are_refused_and_cancel_works() {
    let start = pretrained(1);
    let fit = |gan: &SequenceGan, corpus: &Corpus, frame| gan.fit(&start, corpus, frame, &cpu());
    let short = TextFrame {
        longest: 3,
        ..FRAME
    };
    assert!(matches!(
        fit(&small(), &corpus(), short),
        Err(Error::Shape { .. })
    ));
    let beyond = TextFrame {
        longest: 9, // than the transformer's context of 8
        ..FRAME
    };
    assert!(matches!(
        small().fit(&transformer(1), &corpus(), beyond, &cpu()),
        Err(Error::Config { .. })
    ));
    let other = TextFrame { start: 5, ..FRAME };
    assert!(matches!(
        fit(&small(), &corpus(), other),
        Err(Error::Shape { .. })
    ));
    let names = Vocabulary::numbered(4).unwrap();
    let few = Corpus::documents(names, vec![vec![0, 2, 1]]).unwrap();
    assert!(matches!(
        fit(&small(), &few, FRAME),
        Err(Error::Shape { .. })
    ));
    for bad in [
        SequenceGan {
            batch: 0,
            ..small()
        },
        SequenceGan {
            generator_adam: at_rate(f32::NAN),
            ..small()
        },
        SequenceGan {
            discriminator: SequenceDiscriminator {
                windows: vec![],
                ..Default::default()
            },
            ..small()
        },
    ] {
        assert!(matches!(
            fit(&bad, &corpus(), FRAME),
            Err(Error::Config { .. })
        ));
    }
    let token = CancelToken::new();
    let inner = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { done: 2, .. } = event {
            inner.cancel();
        }
    });
    let stopped = small()
        .fit_with(
            &start,
            &corpus(),
            FRAME,
            &cpu(),
            &monitor.with_cancel(token),
        )
        .unwrap_err();
    assert!(
        matches!(stopped, Error::Core(refrain_core::Error::Cancelled { .. })),
        "{stopped}"
    );
}
