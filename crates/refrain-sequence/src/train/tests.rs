use refrain_core::Event;

use super::*;
use crate::TransformerConfig;
use crate::batch::Batcher;
use crate::{Characters, Keep, LanguageModel, Sampler, TokenSequences, Tokenizer, Vocabulary};

mod checkpoints;
mod settings;

/// A monitor that pulls the plug when so many steps are done.
pub(crate) fn unplugged_at(step: u64) -> Monitor {
    let token = refrain_core::CancelToken::new();
    let switch = token.clone();
    let monitor = Monitor::new(move |event: &Event<'_>| {
        if let Event::Advance { done, .. } = event
            && *done == step
        {
            switch.cancel();
        }
    });
    monitor.with_cancel(token)
}

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

fn tiny() -> TransformerConfig {
    TransformerConfig {
        layers: 1,
        heads: 2,
        width: 16,
        context: 12,
        ..Default::default()
    }
}

const TEXT: &str = "the quick brown fox jumps over the lazy dog; ";

fn corpus() -> Corpus {
    let text = TEXT.repeat(20);
    Corpus::text(&Characters::from_text(&text).unwrap(), &text)
        .unwrap()
        .hold_out(0.1, 0)
        .unwrap()
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
fn a_tiny_text_is_learned_by_heart() {
    let config = TransformerConfig {
        layers: 2,
        heads: 2,
        width: 32,
        ..tiny()
    };
    for compute in [Compute::Kernels, Compute::Program] {
        let trainer = Trainer {
            steps: 150,
            batch: 8,
            evaluate_every: 50,
            compute,
            ..trainer()
        };
        let trained = trainer.fit(&config, &corpus(), &cpu()).unwrap();
        let loss = trained.curve.best().unwrap().loss;
        assert!(loss < 0.35, "{compute:?}: {loss}");
        let characters = Characters::from_text(TEXT).unwrap();
        let prompt = characters.encode("the quick br").unwrap();
        let greedy = Sampler {
            temperature: 0.0,
            max_tokens: 20,
            ..Sampler::default()
        };
        let text = greedy.generate(&trained.model, &prompt).unwrap();
        assert_eq!(
            characters.decode(&text.tokens).unwrap(),
            "own fox jumps over t"
        );
        assert!(trained.tokens_per_second() > 0.0);
        assert_eq!(trained.tokens, 150 * 8 * 12);
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for compute in [Compute::Kernels, Compute::Program] {
        let run = |seed| {
            let trainer = Trainer {
                steps: 6,
                seed,
                compute,
                ..trainer()
            };
            trainer.fit(&tiny(), &corpus(), &cpu()).unwrap().curve
        };
        assert_eq!(run(3), run(3));
        assert_ne!(run(3), run(4));
    }
}

/// The step of AdamW, plainly, in double precision.
fn adamw_reference(w: f64, g: f64, update: &Update, decays: bool) -> f64 {
    let (m, v) = ((1.0 - update.beta1) * g, (1.0 - update.beta2) * g * g);
    let (c1, c2) = (1.0 - update.beta1, 1.0 - update.beta2);
    let decay = if decays {
        update.learning_rate * update.weight_decay * w
    } else {
        0.0
    };
    w - decay - update.learning_rate * (m / c1) / ((v / c2).sqrt() + update.epsilon)
}

#[test]
fn clipping_is_by_the_global_norm_and_decay_by_groups() {
    let model = Transformer::new(&tiny(), corpus().vocabulary().clone(), 0, &cpu()).unwrap();
    let batch = Batcher::new(corpus().train(), 12, 0).batch(0, 4);
    for compute in [Compute::Kernels, Compute::Program] {
        for (clip, decay) in [
            (Some(0.01), Decay::Matrices),
            (Some(1e9), Decay::NotEmbeddings),
            (None, Decay::All),
        ] {
            let mut engine = model.engine(compute).unwrap();
            engine.accumulate(&batch, 1.0, None).unwrap();
            let gradient = engine.take_gradient().unwrap();
            let norm = gradient
                .iter()
                .map(|&g| f64::from(g).powi(2))
                .sum::<f64>()
                .sqrt();
            engine.accumulate(&batch, 1.0, None).unwrap();
            // A large epsilon keeps the step proportional to the gradient.
            let update = Update {
                learning_rate: 0.1,
                beta1: 0.9,
                beta2: 0.99,
                epsilon: 10.0,
                weight_decay: 0.5,
                decay,
                clip,
                step: 1,
            };
            let before = engine.weights().unwrap();
            let told = engine.update(&update).unwrap();
            assert!((told / norm - 1.0).abs() < 1e-4, "{told} {norm}");
            let shrink = clip.map_or(1.0, |most| f64::min(1.0, most / norm));
            let after = engine.weights().unwrap();
            for entry in &model.layout().entries {
                for i in entry.range.clone() {
                    let decays = decay.applies(entry.role);
                    let (w, g) = (f64::from(before[i]), f64::from(gradient[i]) * shrink);
                    let expected = adamw_reference(w, g, &update, decays);
                    let got = f64::from(after[i]);
                    assert!(
                        (got - expected).abs() < 1e-5,
                        "{}: {got} {expected}",
                        entry.name
                    );
                }
            }
            // The gradient is used up.
            assert_eq!(engine.update(&Update { step: 2, ..update }).unwrap(), 0.0);
        }
    }
}

fn wild() -> Trainer {
    Trainer {
        learning_rate: 1e30,
        weight_decay: 0.0,
        warm_up: 0,
        clip: None,
        steps: 50,
        ..trainer()
    }
}

/// Windows of twelve letters, which stand in the text, and not all at one place.
fn told_of_divergence<M: std::fmt::Debug>(result: Result<Trained<M>>) {
    let error = result.unwrap_err();
    assert!(error.to_string().contains("lower learning rate"), "{error}");
    let Error::Diverged { step, batch, .. } = error else {
        panic!("{error}");
    };
    assert!((1..50).contains(&step));
    let told: Vec<&str> = batch.split('"').skip(1).step_by(2).collect();
    assert_eq!(told.len(), 3, "{batch}");
    for window in &told {
        assert_eq!(window.len(), 12, "{batch}");
        assert!(TEXT.repeat(2).contains(window), "{batch}");
    }
    assert!(told.iter().any(|window| window != &told[0]), "{batch}");
}

#[test]
fn divergence_stops_with_its_step_and_batch() {
    let model = Transformer::new(&tiny(), corpus().vocabulary().clone(), 0, &cpu()).unwrap();
    let recurrent = crate::RnnConfig {
        width: 8,
        bptt: 12,
        ..Default::default()
    };
    for compute in [Compute::Kernels, Compute::Program] {
        let trainer = Trainer { compute, ..wild() };
        told_of_divergence(trainer.fit(&tiny(), &corpus(), &cpu()));
        // What passes between its steps is squashed: only sums overflow.
        let wilder = Trainer {
            learning_rate: 1e38,
            ..trainer.clone()
        };
        told_of_divergence(wilder.fit(&recurrent, &corpus(), &cpu()));
        let lora = Lora::default();
        told_of_divergence(trainer.fine_tune_low_rank(&model, &corpus(), &lora));
    }
}

#[test]
fn early_stopping_returns_the_best_weights() {
    let trainer = Trainer {
        learning_rate: 0.3,
        steps: 400,
        evaluate_every: 2,
        patience: Some(3),
        ..trainer()
    };
    let corpus = corpus();
    let trained = trainer.fit(&tiny(), &corpus, &cpu()).unwrap();
    assert!(trained.stopped_early);
    let best = trained.curve.best().unwrap();
    let again = trained.model.loss(corpus.validation().unwrap()).unwrap() as f32;
    assert!((again - best.loss).abs() < 1e-5, "{again} {best:?}");
    assert!(trained.curve.train.len() < 400);
    let after_best = trained
        .curve
        .validation
        .iter()
        .filter(|p| p.step > best.step)
        .count();
    assert_eq!(after_best, 3);
    let last = Trainer {
        keep: Keep::Last,
        ..trainer
    }
    .fit(&tiny(), &corpus, &cpu())
    .unwrap();
    assert_eq!(last.curve, trained.curve);
    let end = last.model.loss(corpus.validation().unwrap()).unwrap() as f32;
    assert!((end - last.curve.validation.last().unwrap().loss).abs() < 1e-5);
}

#[test]
fn fine_tuning_moves_towards_the_new_text() {
    let characters = Characters::from_text(TEXT).unwrap();
    let trained = trainer().fit(&tiny(), &corpus(), &cpu()).unwrap();
    let other = Corpus::text(&characters, &"god yzal; ".repeat(30)).unwrap();
    let before = trained.model.loss(other.train()).unwrap();
    let tuner = Trainer {
        learning_rate: 3e-3,
        steps: 30,
        ..Trainer::fine_tuning()
    };
    let tuned = tuner.fine_tune(&trained.model, &other).unwrap();
    assert!(tuned.model.loss(other.train()).unwrap() < 0.9 * before);
    assert_eq!(trained.model.loss(other.train()).unwrap(), before);
    let foreign = Corpus::stream(Vocabulary::numbered(5).unwrap(), vec![1, 2, 3]).unwrap();
    let error = tuner
        .fine_tune(&trained.model, &foreign)
        .unwrap_err()
        .to_string();
    assert!(error.contains("vocabulary"), "{error}");
    assert_eq!(tuned.model.vocabulary_size(), characters.vocabulary().len());
}

fn flat(model: &Transformer) -> Vec<f32> {
    let engine = model.trainable(Compute::Auto).unwrap();
    engine.weights().unwrap()
}

#[test]
fn smoothed_labels_and_averaged_weights() {
    let plain = trainer();
    let smooth = Trainer {
        label_smoothing: 0.2,
        ..plain.clone()
    };
    let mut losses = Vec::new();
    for compute in [Compute::Kernels, Compute::Program] {
        let fit = |trainer: &Trainer| {
            let trainer = Trainer {
                compute,
                ..trainer.clone()
            };
            trainer.fit(&tiny(), &corpus(), &cpu()).unwrap()
        };
        // At first the loss is that of chance, smoothed or not; later smoothing costs.
        let (plain, smoothed) = (fit(&plain), fit(&smooth));
        let last = |trained: &Trained| trained.curve.train.last().unwrap().loss;
        assert!(last(&smoothed) > last(&plain) + 0.1);
        losses.push(smoothed.curve.train[2].loss);

        // The mean of the weights, by hand: d = min(decay, (1 + t) / (10 + t)).
        let constant = Trainer {
            schedule: Schedule::Constant,
            keep: Keep::Last,
            warm_up: 0,
            steps: 4,
            ..trainer()
        };
        let weights = |trainer: &Trainer| flat(&fit(trainer).model);
        let each: Vec<Vec<f32>> = (1..=4)
            .map(|steps| {
                weights(&Trainer {
                    steps,
                    ..constant.clone()
                })
            })
            .collect();
        let averaged = weights(&Trainer {
            average: Some(0.25),
            ..constant
        });
        for (i, &got) in averaged.iter().enumerate() {
            let expected = (1..4).fold(each[0][i], |a, t| {
                let d = f32::min(0.25, (2.0 + t as f32) / (11.0 + t as f32));
                d * a + (1.0 - d) * each[t][i]
            });
            assert!(
                (got - expected).abs() < 1e-5,
                "{compute:?}: {got} {expected}"
            );
        }
    }
    assert!((losses[0] - losses[1]).abs() < 1e-3, "{losses:?}");
}

/// The loss and the gradient of weighted targets are the weighted sums of those of each target alone,
/// whatever computes them.
#[test]
fn targets_count_by_their_weights() {
    use crate::batch::{Example, UNSCORED};
    use crate::trainable::{Sealed, TrainableModel};
    use crate::{Cell, RnnConfig, RnnLm, Transformer, TransformerConfig};

    fn check<M: TrainableModel>(model: &M) {
        for way in [Compute::Kernels, Compute::Program] {
            let gradient = |batch: &[Example]| {
                let mut engine = model.trainable(way).unwrap();
                let loss = engine.accumulate(batch, 0.5, None).unwrap();
                (loss, engine.take_gradient().unwrap())
            };
            let weights = [vec![0.5, -2.0, 0.0], vec![3.0]];
            let texts: [&[u32]; 3] = [&[0, 2, 1, 3], &[4, 4, 2], &[1, 0]];
            let plain = texts.map(|text| Example::of(text, 0));
            // The second of the first text's three, and the last text, count otherwise than once.
            let mut weighted = plain.clone();
            weighted[0].weights = weights[0].clone();
            weighted[2].weights = weights[1].clone();
            let (loss, found) = gradient(&weighted);
            let (mut sum, mut expected) = (0.0, vec![0.0; found.len()]);
            for (i, example) in plain.iter().enumerate() {
                for t in 0..example.len() {
                    let mut alone = example.clone();
                    let others = (0..example.len()).filter(|&other| other != t);
                    others.for_each(|other| alone.targets[other] = UNSCORED);
                    let (loss, gradient) = gradient(&[alone]);
                    let weight = weighted[i].weights.get(t).copied().unwrap_or(1.0);
                    sum += f64::from(weight) * loss;
                    let both = expected.iter_mut().zip(gradient);
                    both.for_each(|(e, g)| *e += weight * g);
                }
            }
            assert!((loss - sum).abs() < 1e-4, "{way:?}: {loss} {sum}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(
                    (found - expected).abs() < 1e-5,
                    "{way:?}: {found} {expected}"
                );
            }
        }
    }

    let device = refrain_core::device("cpu").unwrap();
    let names = || Vocabulary::numbered(5).unwrap();
    let config = TransformerConfig {
        layers: 1,
        heads: 2,
        width: 8,
        context: 8,
        ..TransformerConfig::default()
    };
    check(&Transformer::untrained(&config, names(), 1, &device).unwrap());
    for cell in [Cell::Elman, Cell::Gru, Cell::Lstm] {
        let config = RnnConfig {
            cell,
            layers: 1,
            width: 6,
            ..RnnConfig::default()
        };
        check(&RnnLm::untrained(&config, names(), 1, &device).unwrap());
    }
}
