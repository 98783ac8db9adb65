//! Tests of the sequence game.

use refrain_core::{CancelToken, Event};
use refrain_sequence::{Cell, RnnConfig, Trainer, Vocabulary};

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
    let trainer = Trainer {
        steps,
        learning_rate: 2e-2,
        warm_up: 2,
        ..Trainer::default()
    };
    trainer.fit(&config, &corpus(), &cpu()).unwrap().model
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
fn rising(model: &RnnLm) -> f64 {
    let texts = write(model, &FRAME, 1.0, 200, 77).unwrap();
    let rises = |text: &&Vec<u32>| {
        let inner: Vec<u32> = text.iter().copied().filter(|&t| t > 1).collect();
        inner.len() >= 3 && inner.windows(2).all(|p| p[1] == p[0] + 1) && text.last() == Some(&1)
    };
    texts.iter().filter(rises).count() as f64 / 200.0
}

#[test]
fn the_game_makes_texts_more_real() {
    let start = pretrained(40);
    let gan = SequenceGan {
        rounds: 60,
        warm_up: 60,
        batch: 32,
        rollouts: 2,
        generator_rate: 5e-3,
        discriminator_rate: 5e-3,
        ..small()
    };
    let trained = gan.fit(&start, &corpus(), FRAME, &cpu()).unwrap();
    let (before, after) = (rising(&start), rising(&trained.generator));
    assert!(after > before + 0.1, "{before} {after}");
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    let start = pretrained(5);
    for rollouts in [0, 2] {
        let run = |seed| {
            let gan = SequenceGan {
                seed,
                rollouts,
                ..small()
            };
            let trained = gan.fit(&start, &corpus(), FRAME, &cpu()).unwrap();
            (trained.history, trained.generator.tensors())
        };
        assert_eq!(run(1), run(1));
        assert_ne!(run(1).1, run(2).1);
    }
}

#[test]
fn rollouts_begin_as_their_text_and_advantages_cancel() {
    let start = pretrained(5);
    let config = SequenceGan {
        rollouts: 3,
        ..small()
    };
    let game = Game {
        config: &config,
        frame: FRAME,
        policy: Policy::new(&start, 1e-3, &cpu()).unwrap(),
        discriminator: Discriminator::new(&config, 9, FRAME.longest + 1, &cpu()).unwrap(),
        generator: start.clone(),
        real: texts(&corpus(), &FRAME).unwrap(),
    };
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
        Some((&rnn, &trainer, &cpu())),
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
        sweep(&model, &none, &real, &model, None),
        Err(Error::Config { .. })
    ));
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
            generator_rate: f64::NAN,
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
