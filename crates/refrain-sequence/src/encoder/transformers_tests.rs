//! Encoders that were trained here, read by `transformers` and `sentence-transformers`.

#![allow(clippy::unwrap_used, clippy::panic)]

use burn::module::Module;
use burn::tensor::{Device, Tensor};

use super::tests::golden;
use super::*;
use crate::{Learner, Learning, TextEncoder, Trainer};

/// Moves the mean of each text's states to a number.
#[derive(Module, Debug)]
struct Regression {
    encoder: EncoderModule,
}

impl Learner for Regression {
    type Example = (Vec<u32>, f32);

    fn length(example: &Self::Example) -> usize {
        example.0.len()
    }

    fn targets(_: &Self::Example) -> usize {
        1
    }

    fn loss(&self, batch: &[&Self::Example], _: &Learning<'_>) -> Result<Tensor<1>> {
        let losses = batch.iter().map(|(tokens, target)| {
            let text = EncoderInput::from(tokens.as_slice());
            let states = self.encoder.forward(&[text], &Learning::default())?;
            Ok((states.narrow(2, 0, 4).mean() - *target).square())
        });
        Ok(Tensor::cat(losses.collect::<Result<_>>()?, 0).sum())
    }
}

fn cpu() -> Device {
    refrain_core::device("cpu").unwrap()
}

/// The golden encoder after some steps on every weight but the pooler's.
fn trained(encoder: &Encoder) -> Encoder {
    let examples: Vec<(Vec<u32>, f32)> = (0..8)
        .map(|i| (vec![2, 5 + i, 9, 30 + i, 3], i as f32 / 4.0 - 1.0))
        .collect();
    let trainer = Trainer {
        steps: 12,
        batch: 4,
        learning_rate: 3e-3,
        warm_up: 2,
        ..Trainer::default()
    };
    let module = Regression {
        encoder: encoder.module(&cpu()),
    };
    let module = trainer.fit_module(&module, &examples, &[]).unwrap().model;
    Encoder::from_module(&module.encoder, &cpu()).unwrap()
}

/// With `REFRAIN_PYTHON`, a Python with `torch`, `transformers` and `sentence-transformers`, set,
/// `tests/golden/make_bert.py --check` reads each folder and compares.
#[test]
fn folders_of_trained_encoders_are_read_again() {
    let tokens = [vec![2, 17, 30, 59, 5, 3], vec![2, 44, 3]];
    let types = [vec![0; 6], vec![0; 3]];
    for name in ["bert", "prenorm"] {
        let folder = tempfile::tempdir().unwrap();
        let before = Encoder::load(golden(name), &cpu()).unwrap();
        let encoder = trained(&before);
        let inputs: Vec<EncoderInput<'_>> = tokens
            .iter()
            .zip(&types)
            .map(|(tokens, types)| EncoderInput { tokens, types })
            .collect();
        let states = encoder.encode(&inputs).unwrap();
        assert_ne!(states, before.encode(&inputs).unwrap());
        let mut told = serde_json::json!({ "tokens": tokens, "states": states });
        match name {
            "bert" => {
                let text = TextEncoder::load(golden(name), &cpu()).unwrap();
                let text =
                    TextEncoder::new(encoder, text.tokenizer(), Pooling::Mean, true).unwrap();
                let text = text.with_most(24).unwrap();
                let sentences = ["A cat sat on the mat.", "Rain"];
                told["sentences"] = sentences.into();
                told["vectors"] = serde_json::json!(text.encode(&sentences).unwrap());
                text.save(folder.path()).unwrap();
            }
            _ => encoder.save(folder.path()).unwrap(),
        }
        let again = Encoder::load(folder.path(), &cpu()).unwrap();
        assert_eq!(again.encode(&inputs).unwrap(), states);
        let Ok(python) = std::env::var("REFRAIN_PYTHON") else {
            continue;
        };
        std::fs::write(folder.path().join("told.json"), told.to_string()).unwrap();
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/make_bert.py");
        let run = std::process::Command::new(python)
            .args([script, "--check"])
            .arg(folder.path())
            .output()
            .unwrap();
        let out = String::from_utf8_lossy(&run.stdout).to_string();
        let errors = String::from_utf8_lossy(&run.stderr).to_string();
        println!("{name}: {out}");
        assert!(run.status.success(), "{out}\n{errors}");
    }
}
