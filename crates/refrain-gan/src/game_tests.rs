//! Whole steps of training beside PyTorch's.

use std::fmt::Write;

use crate::params::{host, map_weights, tensor, weights};
use crate::random::{Purpose, normal, stream};
use crate::{ConvDiscriminator, ConvGenerator, Gan, ImageShape, Images, Loss, Penalty};
use burn::module::Module;
use rand::RngExt;

const BATCH: usize = 4;
const NOISE: usize = 3;
const SIDE: usize = 7; // odd: 4 becomes 7, and 7 becomes 4

/// The first weights of `tests/golden/game.py`.
fn formula(i: usize, len: usize) -> Vec<f32> {
    let value = |j: usize| 0.5 * (1.3 * i as f64 + 0.7 * (j * j) as f64 + 0.2).sin();
    (0..len).map(|j| value(j) as f32).collect()
}

fn filled<M: Module>(module: M) -> M {
    map_weights(module, |i, old| {
        tensor(formula(i, old.dims()[0]), &old.device())
    })
}

fn flat(module: &impl Module) -> Vec<f32> {
    let all = weights(module).into_iter();
    all.flat_map(|weight| host(weight.values).unwrap())
        .collect()
}

#[track_caller]
fn close(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (at, (a, b)) in found.iter().zip(expected).enumerate() {
        // A step of Adam is about 1e-3 at every weight.
        assert!((a - b).abs() < 2e-5, "{what}, value {at}: {a}, PyTorch {b}");
    }
}

#[test]
fn golden_steps_of_pytorch() {
    let penalty = Penalty::R1R2 { gamma: 0.5 };
    let golden = include_str!("../tests/golden/game.txt");
    play(Loss::Relativistic, penalty, golden);
}

#[test]
fn golden_steps_of_wgan_gp() {
    let penalty = Penalty::GradientPenalty {
        weight: 10.0,
        target: 1.0,
    };
    let golden = include_str!("../tests/golden/wgan_gp.txt");
    play(Loss::Wasserstein, penalty, golden);
}

/// Three steps beside those of a golden file.
#[track_caller]
fn play(loss: Loss, penalty: Penalty, golden: &str) {
    let gan = Gan {
        generator: ConvGenerator {
            noise: NOISE,
            base: 3,
            base_channels: 4,
            channels: vec![3],
            ..ConvGenerator::default()
        }
        .into(),
        discriminator: ConvDiscriminator {
            base: 3,
            channels: vec![3, 4],
            ..ConvDiscriminator::default()
        }
        .into(),
        loss,
        penalty,
        batch: BATCH,
        epochs: 1, // of three steps
        decay: 1.0,
        ..Gan::default()
    };
    let pixels = (0..12 * SIDE * SIDE).map(|i| (i * i % 17) as f32 / 16.0);
    let images = Images::from_f32(ImageShape::square(1, SIDE), pixels.collect()).unwrap();
    let device = refrain_core::device("cpu").unwrap();
    let mut trainer = gan.trainer(&images, &device).unwrap();
    trainer.generator = filled(trainer.generator);
    trainer.discriminator = filled(trainer.discriminator);
    trainer.average = filled(trainer.average);

    let mut drawn = Vec::new();
    let mut told = Vec::new();
    for step in 0..3 {
        let mut numbers = trainer.real(step).pixels().to_vec();
        let mut rng = stream(1, Purpose::Step, step);
        numbers.extend(normal(&mut rng, BATCH * NOISE));
        if let Penalty::GradientPenalty { .. } = penalty {
            numbers.extend((0..BATCH).map(|_| rng.random::<f32>()));
        }
        numbers.extend(normal(&mut rng, BATCH * NOISE));
        drawn.push(numbers);
        let report = trainer.step().unwrap();
        told.push([
            report.discriminator_loss,
            report.penalty,
            report.generator_loss,
        ]);
    }
    if let Some(file) = std::env::var_os("REFRAIN_DRAWN") {
        let mut text = String::new();
        for numbers in &drawn {
            let line: Vec<String> = numbers.iter().map(f32::to_string).collect();
            writeln!(text, "{}", line.join(" ")).unwrap();
        }
        std::fs::write(file, text).unwrap();
    }

    let (mut drawn, mut told) = (drawn.iter(), told.iter());
    assert_eq!(golden.lines().count(), 3 * 2 + 3);
    for line in golden.lines() {
        let (name, numbers) = line.split_once(' ').unwrap();
        let golden: Vec<f32> = numbers.split(' ').map(|v| v.parse().unwrap()).collect();
        match name {
            "drawn" => close(drawn.next().unwrap(), &golden, "what the game draws"),
            "told" => close(told.next().unwrap(), &golden, "the losses"),
            "generator" => close(&flat(&trainer.generator), &golden, name),
            "average" => close(&flat(&trainer.average), &golden, name),
            _ => {
                // The last one is added to both sides of every comparison: its gradient is rounding
                // alone, of which Adam makes whole steps.
                let (all, last) = (flat(&trainer.discriminator), golden.len() - 1);
                close(&all[..last], &golden[..last], name);
                assert_eq!(all.len(), golden.len());
            }
        }
    }
}
