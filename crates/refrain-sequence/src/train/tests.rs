use refrain_core::Event;

use super::*;
use crate::batch::Batcher;
use crate::{Cell, Crf, RnnConfig, TransformerConfig};
use crate::{Characters, Keep, LanguageModel, Sampler, TokenSequences, Tokenizer, Vocabulary};

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

/// A step keeps what a parameter was told about what to keep.
#[test]
fn parameters_stay_checkpointed() {
    use burn::module::{Module, ModuleVisitor, Param};
    use burn::optim::GradientsParams;
    use burn::tensor::{GradientCheckpointingStrategy, Tensor};
    struct All(Option<GradientCheckpointingStrategy>);
    impl ModuleVisitor for All {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            assert_eq!(param.val().gradient_checkpointing_strategy(), self.0);
        }
    }
    let plain = cpu().autodiff();
    for device in [plain.clone(), plain.gradient_checkpointing()] {
        let wanted = Tensor::<1>::zeros([1], &device).gradient_checkpointing_strategy();
        let crf = Crf::new(3, 1, &device).unwrap();
        let entries = crate::train::module::entries(&crf);
        let mut moments = crate::adamw::moments(&entries.list, None, &device);
        let loss = crf
            .negative_log_likelihood(Tensor::zeros([1, 2, 3], &device), &[&[0, 1]])
            .unwrap();
        let mut gradients = GradientsParams::from_grads(loss.sum().backward(), &crf);
        let update = crate::engine::Update {
            learning_rate: 0.1,
            beta1: 0.9,
            beta2: 0.99,
            epsilon: 1e-8,
            weight_decay: 0.0,
            decay: Decay::Matrices,
            clip: None,
            step: 1,
        };
        let (crf, _) =
            crate::adamw::step(crf, &mut gradients, &mut moments, &entries.list, &update).unwrap();
        assert!(wanted.is_some());
        crf.visit(&mut All(wanted));
    }
}

/// What is computed again is what was forgotten.
#[test]
fn gradient_checkpointing_changes_no_number() {
    let run = |compute| Trainer {
        compute,
        steps: 6,
        ..trainer()
    };
    let [plain, again] = [Compute::Program, Compute::CheckpointedProgram].map(run);
    for dropout in [0.0, 0.2] {
        let config = TransformerConfig { dropout, ..tiny() };
        let curve = |trainer: &Trainer| trainer.fit(&config, &corpus(), &cpu()).unwrap().curve;
        assert_eq!(curve(&plain), curve(&again));
        for cell in [Cell::Gru, Cell::Lstm] {
            let config = RnnConfig {
                cell,
                width: 8,
                dropout,
                ..RnnConfig::default()
            };
            let curve = |trainer: &Trainer| trainer.fit(&config, &corpus(), &cpu()).unwrap().curve;
            assert_eq!(curve(&plain), curve(&again));
        }
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
fn resuming_is_the_same_as_not_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let documents: Vec<Vec<u32>> = (0..40u32)
        .map(|i| (0..5 + i % 13).map(|j| (i + j * j) % 9).collect())
        .collect();
    let documents = Corpus::documents(Vocabulary::numbered(9).unwrap(), documents)
        .unwrap()
        .hold_out(0.2, 1)
        .unwrap();
    for (name, corpus) in [("stream", corpus()), ("documents", documents)] {
        for compute in [Compute::Kernels, Compute::Program] {
            let path = folder.path().join(format!("{name}-{compute:?}.refrain"));
            let config = TransformerConfig {
                dropout: 0.1,
                ..tiny()
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
            // Pull the plug at step 17: the last checkpoint is that of step 14.
            let token = refrain_core::CancelToken::new();
            let switch = token.clone();
            let monitor = Monitor::new(move |event: &Event<'_>| {
                if let Event::Advance { done: 17, .. } = event {
                    switch.cancel();
                }
            })
            .with_cancel(token);
            let error = saving
                .fit_with(&config, &corpus, &cpu(), &monitor)
                .unwrap_err();
            assert!(error.to_string().contains("cancelled"), "{error}");
            let resumed: Trained = saving.resume(&path, &corpus, &cpu()).unwrap();
            assert_eq!(resumed.curve, unbroken.curve, "{name} {compute:?}");
            assert_eq!(
                resumed.model.to_bytes().unwrap(),
                unbroken.model.to_bytes().unwrap()
            );

            let other = Trainer {
                seed: 1,
                ..saving.clone()
            };
            let error = other
                .resume::<Transformer>(&path, &corpus, &cpu())
                .unwrap_err()
                .to_string();
            assert!(error.contains("other settings"), "{error}");
        }
    }
    let path = folder.path().join("stream-Kernels.refrain");
    let other = Corpus::stream(corpus().vocabulary().clone(), vec![1; 50]).unwrap();
    let trainer = Trainer {
        accumulate: 2,
        compute: Compute::Kernels,
        ..trainer()
    };
    let error = trainer
        .resume::<Transformer>(&path, &other, &cpu())
        .unwrap_err()
        .to_string();
    assert!(error.contains("another corpus"), "{error}");
}

#[test]
fn damaged_checkpoints_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.refrain");
    let saving = Trainer {
        checkpoint: Some(path.clone()),
        steps: 2,
        ..trainer()
    };
    saving.fit(&tiny(), &corpus(), &cpu()).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    for i in 0..60 {
        let mut damaged = bytes.clone();
        if i % 2 == 0 {
            damaged.truncate(bytes.len() * i / 60);
        } else {
            damaged[8 + i * 11] ^= 0x15;
        }
        std::fs::write(&path, &damaged).unwrap();
        // An error or, where the damage hit a number, a run: never a panic.
        let _ = saving.resume::<Transformer>(&path, &corpus(), &cpu());
    }
    // A model is no checkpoint.
    let model = Transformer::new(&tiny(), corpus().vocabulary().clone(), 0, &cpu()).unwrap();
    model.save(&path).unwrap();
    assert!(
        saving
            .resume::<Transformer>(&path, &corpus(), &cpu())
            .is_err()
    );
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

#[test]
fn divergence_stops_with_its_step() {
    let trainer = Trainer {
        learning_rate: 1e30,
        weight_decay: 0.0,
        warm_up: 0,
        clip: None,
        steps: 50,
        ..trainer()
    };
    for compute in [Compute::Kernels, Compute::Program] {
        let trainer = Trainer {
            compute,
            ..trainer.clone()
        };
        let error = trainer.fit(&tiny(), &corpus(), &cpu()).unwrap_err();
        assert!(
            matches!(error, Error::Diverged { step: 1..50, .. }),
            "{error}"
        );
        assert!(error.to_string().contains("lower learning rate"), "{error}");
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

#[test]
fn the_learning_rate_warms_up_and_falls() {
    let trainer = Trainer {
        steps: 100,
        warm_up: 10,
        learning_rate: 1.0,
        ..Trainer::default()
    };
    let rates: Vec<f64> = (0..100).map(|i| trainer.learning_rate_at(i)).collect();
    assert!(rates[..10].windows(2).all(|w| w[0] < w[1]) && rates[0] > 0.0);
    assert!(rates[10..].windows(2).all(|w| w[0] > w[1]));
    assert_eq!(rates[10], 1.0);
    assert!((rates[55] - 0.55).abs() < 1e-9, "{}", rates[55]);
    assert!((0.1..0.11).contains(&rates[99]));
    let all_warm = Trainer {
        steps: 5,
        warm_up: 10,
        ..trainer
    };
    assert!((0..5).all(|i| all_warm.learning_rate_at(i) <= 1.0));
}

#[test]
fn impossible_settings_are_refused() {
    for (trainer, word) in [
        (
            Trainer {
                steps: 0,
                ..trainer()
            },
            "steps",
        ),
        (
            Trainer {
                batch: 0,
                ..trainer()
            },
            "batch",
        ),
        (
            Trainer {
                accumulate: 0,
                ..trainer()
            },
            "accumulate",
        ),
        (
            Trainer {
                evaluate_every: 0,
                ..trainer()
            },
            "evaluate_every",
        ),
        (
            Trainer {
                learning_rate: f64::NAN,
                ..trainer()
            },
            "learning_rate",
        ),
        (
            Trainer {
                final_share: 2.0,
                ..trainer()
            },
            "final_share",
        ),
        (
            Trainer {
                betas: (1.0, 0.9),
                ..trainer()
            },
            "betas.0",
        ),
        (
            Trainer {
                betas: (0.9, -0.1),
                ..trainer()
            },
            "betas.1",
        ),
        (
            Trainer {
                epsilon: 0.0,
                ..trainer()
            },
            "epsilon",
        ),
        (
            Trainer {
                clip: Some(0.0),
                ..trainer()
            },
            "clip",
        ),
        (
            Trainer {
                weight_decay: f64::INFINITY,
                ..trainer()
            },
            "weight_decay",
        ),
        (
            Trainer {
                checkpoint: Some("x".into()),
                checkpoint_every: 0,
                ..trainer()
            },
            "checkpoint_every",
        ),
    ] {
        let error = trainer
            .fit(&tiny(), &corpus(), &cpu())
            .unwrap_err()
            .to_string();
        assert!(error.contains(word), "{error}");
    }
    let data = TokenSequences::Stream(vec![0]);
    assert!(corpus().with_validation(data).is_err());
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

#[test]
fn the_rate_warms_up_and_falls() {
    let trainer = Trainer {
        steps: 100,
        warm_up: 10,
        learning_rate: 1.0,
        final_share: 0.2,
        ..trainer()
    };
    let rate = |schedule, step| {
        let trainer = Trainer {
            schedule,
            ..trainer.clone()
        };
        trainer.learning_rate_at(step)
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
    for schedule in [Schedule::Cosine, Schedule::Linear, Schedule::Constant] {
        near(rate(schedule, 4), 5.0 / 11.0);
        near(rate(schedule, 10), 1.0);
    }
    near(rate(Schedule::Cosine, 55), 0.6);
    near(rate(Schedule::Linear, 55), 0.6);
    near(rate(Schedule::Linear, 100), 0.2);
    near(rate(Schedule::Constant, 99), 1.0);
    near(rate(Schedule::InverseSqrt, 9), 10.0 / 11.0);
    near(rate(Schedule::InverseSqrt, 39), 0.5);
}
