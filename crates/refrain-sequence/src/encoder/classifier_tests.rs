#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::Trainer;
use crate::encoder::tests::golden;

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

fn untrained() -> EncoderClassifier {
    let text = TextEncoder::load(golden("bert"), &cpu()).unwrap();
    EncoderClassifier::new(text, ["wet", "dry"], 3).unwrap()
}

const TEXTS: [(&str, &str); 4] = [
    ("rain", "wet"),
    ("the rain", "wet"),
    ("sun", "dry"),
    ("the sun and the sun", "dry"),
];

fn trained(module: EncoderClassifierModule) -> (EncoderClassifier, EncoderClassifier) {
    let before = untrained();
    let examples = before.examples(&TEXTS).unwrap();
    let trainer = Trainer {
        steps: 60,
        batch: 4,
        learning_rate: 1e-2,
        warm_up: 5,
        ..Trainer::default()
    };
    let module = trainer
        .fit_module(&module, &examples, &examples)
        .unwrap()
        .model;
    assert_eq!(module.validation_error(&examples).unwrap(), Some(0.0));
    let after = before.with_module(&module).unwrap();
    (before, after)
}

#[test]
fn labels_are_learnt_and_a_folder_keeps_them() {
    let (before, after) = trained(untrained().module(&cpu()));
    assert_ne!(
        before.encoder().encode(&["rain"]).unwrap(),
        after.encoder().encode(&["rain"]).unwrap()
    );
    let texts = TEXTS.map(|(text, _)| text);
    let judged = after.classify(&texts).unwrap();
    for (all, (text, label)) in judged.iter().zip(TEXTS) {
        assert_eq!(all[0].label, label, "{text}");
        assert!((all.iter().map(|j| j.probability).sum::<f32>() - 1.0).abs() < 1e-6);
    }
    // What the kernels tell is what the module does.
    let module = after.module(&cpu());
    let examples = after.examples(&TEXTS).unwrap();
    let batch: Vec<&LabelledText> = examples.iter().collect();
    let logs = module
        .log_probabilities(&batch, &Learning::default())
        .unwrap();
    let logs = logs.try_into_vec_as::<f32>().unwrap();
    for (all, row) in judged.iter().zip(logs.chunks(2)) {
        let wet = all.iter().find(|j| j.label == "wet").unwrap();
        assert!((wet.probability - row[0].exp()).abs() < 1e-4);
    }
    let folder = tempfile::tempdir().unwrap();
    after.save(folder.path()).unwrap();
    let again = EncoderClassifier::load(folder.path(), &cpu()).unwrap();
    assert_eq!(again.classify(&texts).unwrap(), judged);
    assert!(TextEncoder::load(folder.path(), &cpu()).is_ok());

    // The parts of two classifiers do not mix.
    let other = tempfile::tempdir().unwrap();
    before.save(other.path()).unwrap();
    let weights = "model.safetensors";
    std::fs::copy(folder.path().join(weights), other.path().join(weights)).unwrap();
    let mixed = EncoderClassifier::load(other.path(), &cpu()).unwrap_err();
    assert!(mixed.to_string().contains("for another encoder"), "{mixed}");

    let refused = |folder: &Path| {
        EncoderClassifier::load(folder, &cpu())
            .unwrap_err()
            .to_string()
    };
    let path = folder.path().join(FILE);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() - 3]).unwrap();
    assert!(refused(folder.path()).contains(FILE));
    std::fs::remove_file(&path).unwrap();
    assert!(refused(folder.path()).contains(FILE));
}

#[test]
fn tokens_are_hidden_in_training_but_for_the_first_and_the_last() {
    let module = untrained().module(&cpu());
    let module = EncoderClassifierModule {
        encoder: module.encoder.with_dropout(0.0),
        ..module
    };
    let text = |tokens: Vec<u32>| LabelledText {
        types: Vec::new(),
        label: 0,
        tokens,
    };
    let logs = |module: &EncoderClassifierModule, tokens: Vec<u32>, training: bool| {
        let draw = crate::rnn::DropoutDraw {
            seed: 1,
            sequences: &[3],
        };
        let learning = Learning {
            dropout: training.then_some(draw),
            ..Learning::default()
        };
        let logs = module.log_probabilities(&[&text(tokens)], &learning);
        logs.unwrap().try_into_vec_as::<f32>().unwrap()
    };
    let (all, none) = (module.clone().with_hidden(0.99), module.with_hidden(0.0));
    let (long, other) = (
        vec![7, 10, 11, 12, 13, 14, 15, 9],
        vec![7, 20, 21, 22, 23, 24, 25, 9],
    );
    // Almost every token within is hidden, so that two texts look alike; the ends are not.
    assert_eq!(
        logs(&all, long.clone(), true),
        logs(&all, other.clone(), true)
    );
    assert_ne!(
        logs(&none, long.clone(), true),
        logs(&none, other.clone(), true)
    );
    let mut ends = long.clone();
    ends[7] = 8;
    assert_ne!(logs(&all, long.clone(), true), logs(&all, ends, true));
    assert_ne!(logs(&all, long.clone(), false), logs(&all, other, false));
    assert_eq!(logs(&all, long.clone(), false), logs(&none, long, false));
}

#[test]
fn a_frozen_encoder_stays() {
    let module = untrained().module(&cpu()).frozen();
    let (before, after) = trained(module);
    let vector = |of: &EncoderClassifier| of.encoder().encode(&["rain"]).unwrap();
    assert_eq!(vector(&before), vector(&after));
    assert_ne!(before.head, after.head);
}

#[test]
fn ways_of_pooling_agree() {
    let states: Vec<f32> = (0u8..24).map(|i| (f32::from(i) * 1.7).sin()).collect();
    let batch = Tensor::<3>::from_data(TensorData::new(states.clone(), [2, 4, 3]), &cpu());
    for way in [
        Pooling::Mean,
        Pooling::First,
        Pooling::Max,
        Pooling::MeanRoot,
    ] {
        let pooled = way.pool_batch(batch.clone(), &[4, 2]);
        let pooled = pooled.try_into_vec_as::<f32>().unwrap();
        let expected = [way.pool(&states[..12], 3), way.pool(&states[12..18], 3)].concat();
        assert_eq!(pooled.len(), expected.len());
        for (a, b) in pooled.iter().zip(&expected) {
            assert!((a - b).abs() < 1e-6, "{way:?}: {a} and {b}");
        }
    }
}

#[test]
fn what_does_not_fit_is_told() {
    let classifier = untrained();
    let told = classifier.examples(&[("rain", "wet"), ("rain", "damp")]);
    assert_eq!(
        told.unwrap_err().to_string(),
        "text 1: no label is called \"damp\""
    );
    let text = TextEncoder::load(golden("bert"), &cpu()).unwrap();
    assert!(EncoderClassifier::new(text.clone(), ["one"], 0).is_err());
    let three = EncoderClassifier::new(text, ["a", "b", "c"], 0).unwrap();
    assert!(classifier.with_module(&three.module(&cpu())).is_err());
    let mut example = three.examples(&[("rain", "c")]).unwrap().remove(0);
    let loss = |example: &LabelledText| {
        classifier
            .module(&cpu())
            .loss(&[example], &Learning::default())
    };
    assert!(matches!(loss(&example), Err(Error::Token { token: 2, .. })));
    example.label = 0;
    example.tokens = vec![5; 1000];
    assert!(loss(&example).is_err());
    assert!(classifier.classify::<&str>(&[]).unwrap().is_empty());
}
