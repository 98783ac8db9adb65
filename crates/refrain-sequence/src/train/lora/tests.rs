use refrain_core::Device;

use super::*;
use crate::entries::{Role, initial};
use crate::train::tests::unplugged_at;
use crate::trainable::Sealed;
use crate::{Characters, Compute, RnnConfig, Tokenizer, Transformer, TransformerConfig};

const TEXT: &str = "the quick brown fox jumps over the lazy dog; ";

fn cpu() -> Device {
    refrain_core::device("flex").unwrap()
}

fn corpus(text: &str) -> Corpus {
    let characters = Characters::from_text(TEXT).unwrap();
    let corpus = Corpus::text(&characters, &text.repeat(12)).unwrap();
    corpus.hold_out(0.1, 0).unwrap()
}

fn model() -> Transformer {
    let config = TransformerConfig {
        layers: 1,
        heads: 2,
        width: 16,
        context: 12,
        ..Default::default()
    };
    let vocabulary = corpus(TEXT).vocabulary().clone();
    Transformer::new(&config, vocabulary, 3, &cpu()).unwrap()
}

fn trainer(compute: Compute) -> Trainer {
    Trainer {
        steps: 20,
        batch: 4,
        learning_rate: 1e-2,
        warm_up: 2,
        evaluate_every: 5,
        compute,
        ..Trainer::default()
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    let model = model();
    let shape = Shape::of(
        Lora {
            rank: 2,
            alpha: 3.0,
        },
        model.entries(),
    );
    let batch: Vec<Example> = ["a lazy dog", "quick brow"]
        .map(|text| {
            let tokens = Characters::from_text(TEXT).unwrap().encode(text).unwrap();
            Example::of(&tokens, 0)
        })
        .to_vec();
    for compute in [Compute::Kernels, Compute::Program] {
        let mut engine = LowRankEngine::new(&trainer(compute), &model, shape.clone()).unwrap();
        // B begins as zeros, and then A has no gradient: somewhere else.
        let mut weights = initial(&engine.change.own.list, 8);
        for (i, w) in weights.iter_mut().enumerate() {
            *w += 0.3 * ((i * 37 % 11) as f32 / 11.0 - 0.5);
        }
        engine.replace_weights(&weights).unwrap();
        engine.accumulate(&batch, 1.0, None).unwrap();
        let gradient = engine.take_gradient().unwrap();
        for i in (0..weights.len()).step_by(weights.len() / 40) {
            let mut at = |change: f32| {
                let mut moved = weights.clone();
                moved[i] += change;
                engine.replace_weights(&moved).unwrap();
                engine.evaluate(&batch).unwrap()
            };
            let slope = (at(2e-2) - at(-2e-2)) / 4e-2;
            let got = f64::from(gradient[i]);
            assert!(
                (got - slope).abs() < 5e-3 + 0.02 * slope.abs(),
                "{compute:?} {i}: {got} {slope}"
            );
        }
    }
}

#[test]
fn a_change_is_small_moves_the_model_and_is_merged() {
    let longer = Trainer {
        steps: 80,
        ..trainer(Compute::Auto)
    };
    let model = longer.fine_tune(&model(), &corpus(TEXT)).unwrap().model;
    let corpus = corpus("a lazy fox; ");
    let lora = Lora {
        rank: 2,
        ..Lora::default()
    };
    for compute in [Compute::Kernels, Compute::Program] {
        let longer = Trainer {
            steps: 80,
            ..trainer(compute)
        };
        let trained = longer.fine_tune_low_rank(&model, &corpus, &lora).unwrap();
        let change = trained.model;
        let whole = model.trainable(Compute::Auto).unwrap().weights().unwrap();
        assert!(change.parameters() < whole.len() / 3);
        let merged = change.merge(&model).unwrap();
        // The merged model is the one that was judged.
        let loss = merged.loss(corpus.validation().unwrap()).unwrap() as f32;
        assert!((loss - trained.curve.best().unwrap().loss).abs() < 1e-4);
        assert!(loss < model.loss(corpus.validation().unwrap()).unwrap() as f32 - 0.3);
        // Only matrices have changed.
        let after = merged.trainable(Compute::Auto).unwrap().weights().unwrap();
        for entry in model.entries() {
            let same = whole[entry.range.clone()] == after[entry.range.clone()];
            assert_eq!(same, entry.role != Role::Matrix, "{}", entry.name);
        }
    }
}

#[test]
fn a_recurrent_model_is_adapted_too_and_resumes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("change.refrain");
    let config = RnnConfig {
        layers: 1,
        width: 12,
        bptt: 8,
        ..Default::default()
    };
    let corpus = corpus("a lazy fox; ");
    let trainer = Trainer {
        average: Some(0.9),
        ..trainer(Compute::Auto)
    };
    let short = Trainer {
        steps: 3,
        ..trainer.clone()
    };
    let model = short.fit(&config, &corpus, &cpu()).unwrap().model;
    let lora = Lora::default();
    let unbroken = trainer.fine_tune_low_rank(&model, &corpus, &lora).unwrap();
    let saving = Trainer {
        checkpoint: Some(path.clone()),
        checkpoint_every: 4,
        ..trainer
    };
    let monitor = unplugged_at(9);
    saving
        .fine_tune_low_rank_with(&model, &corpus, &lora, &monitor)
        .unwrap_err();
    let resume_of = |model, lora: &Lora| {
        saving.resume_low_rank_with(&path, model, &corpus, lora, &Monitor::silent())
    };
    let resume = |lora: &Lora| resume_of(&model, lora);
    let another = short.fine_tune(&model, &corpus).unwrap().model;
    let refused = resume_of(&another, &lora).unwrap_err().to_string();
    assert!(refused.contains("of another model"), "{refused}");
    let resumed = resume(&lora).unwrap();
    assert_eq!(resumed.curve, unbroken.curve);
    assert_eq!(resumed.model, unbroken.model);
    let other = Lora { alpha: 1.0, ..lora };
    assert!(resume(&other).unwrap_err().to_string().contains("another"));

    let kept = Trained::from_low_rank_checkpoint(&path).unwrap();
    assert_eq!((kept.model, kept.tokens), (unbroken.model, unbroken.tokens));

    // To a file and back; and to a model that has no such matrices.
    resumed.model.save(&path).unwrap();
    assert_eq!(LowRank::load(&path).unwrap(), resumed.model);
    let error = resumed.model.merge(&self::model()).unwrap_err();
    assert!(error.to_string().contains("of the model"), "{error}");
    let zero = Lora { rank: 0, ..lora };
    let error = saving.fine_tune_low_rank(&model, &corpus, &zero);
    assert!(error.unwrap_err().to_string().contains("Lora.rank"));
    let bytes = std::fs::read(&path).unwrap();
    for length in [0, 9, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        LowRank::load(&path).unwrap_err();
    }
}
