//! What is kept: of a run for a resume, of a pass for its gradients.

use super::*;
use crate::{Cell, Crf, RnnConfig};

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
            let monitor = unplugged_at(17);
            let error = saving
                .fit_with(&config, &corpus, &cpu(), &monitor)
                .unwrap_err();
            assert!(error.to_string().contains("cancelled"), "{error}");
            let resumed: Trained = saving.resume(&path, &corpus, &cpu()).unwrap();
            assert_eq!(resumed.curve, unbroken.curve, "{name} {compute:?}");
            assert_eq!(resumed.tokens, unbroken.tokens);
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
fn a_checkpoint_gives_what_a_run_stopped_there_would_have_given() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.refrain");
    let corpus = corpus();
    // Its losses go up and down.
    let stopped = Trainer {
        learning_rate: 0.3,
        schedule: Schedule::Constant,
        steps: 20,
        evaluate_every: 2,
        ..trainer()
    };
    let saving = Trainer {
        steps: 40,
        checkpoint: Some(path.clone()),
        checkpoint_every: 10,
        ..stopped.clone()
    };
    let read = || Trained::<Transformer>::from_checkpoint(&path, &cpu());
    for average in [None, Some(0.5)] {
        let with = |trainer: &Trainer| Trainer {
            average,
            ..trainer.clone()
        };
        let monitor = unplugged_at(25);
        let broken = with(&saving).fit_with(&tiny(), &corpus, &cpu(), &monitor);
        broken.unwrap_err();
        let stopped = with(&stopped).fit(&tiny(), &corpus, &cpu()).unwrap();
        let kept = read().unwrap();
        assert_eq!(kept.curve, stopped.curve);
        assert_eq!(flat(&kept.model), flat(&stopped.model));
        assert_eq!((kept.tokens, kept.stopped_early), (20 * 4 * 12, false));
        let best = kept.curve.best().unwrap();
        assert!(best.step < 20 || average.is_some(), "{best:?}");
        let loss = kept.model.loss(corpus.validation().unwrap()).unwrap() as f32;
        assert!((loss - best.loss).abs() < 1e-5, "{loss} {best:?}");

        // Without validation it is the last weights, or their mean.
        let all = Corpus::stream(corpus.vocabulary().clone(), [1, 2, 3, 0].repeat(40)).unwrap();
        let last = Trainer {
            steps: 10,
            ..with(&saving)
        };
        let last = last.fit(&tiny(), &all, &cpu()).unwrap();
        assert_eq!(flat(&read().unwrap().model), flat(&last.model));
    }
    // From there a run goes on with other settings.
    let gentle = Trainer {
        learning_rate: 1e-3,
        steps: 5,
        ..trainer()
    };
    gentle.fine_tune(&read().unwrap().model, &corpus).unwrap();

    // Patience that has run out is told.
    let impatient = Trainer {
        patience: Some(3),
        steps: 400,
        ..saving
    };
    let ended = impatient.fit(&tiny(), &corpus, &cpu()).unwrap();
    let kept = read().unwrap();
    assert!(ended.stopped_early && kept.stopped_early);
    assert_eq!(flat(&kept.model), flat(&ended.model));
    let other = Trained::<crate::RnnLm>::from_checkpoint(&path, &cpu()).unwrap_err();
    assert!(
        other.to_string().contains("holds a model of kind"),
        "{other}"
    );
    let other = Trained::from_low_rank_checkpoint(&path).unwrap_err();
    assert!(
        other.to_string().contains("holds a model of kind"),
        "{other}"
    );
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
        let _ = Trained::<Transformer>::from_checkpoint(&path, &cpu());
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
