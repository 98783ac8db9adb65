//! A tiny game on every device compiled in, held against flex: losses and images within 1e-3.
//!
//! The devices sum in different orders, so numbers agree to rounding, which a few steps of training
//! enlarge; three steps stay far within the tolerance.
#![cfg(any(feature = "ndarray", feature = "wgpu", feature = "cuda"))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use refrain_core::Device;
use refrain_gan::*;

const TOLERANCE: f32 = 1e-3;

fn images() -> Images {
    let shape = ImageShape {
        channels: 2,
        height: 6,
        width: 5,
    };
    let pixels = (0..8 * shape.len())
        .map(|i| ((i * i) % 17) as f32 / 16.0)
        .collect();
    let labels = (0..8).map(|i| i % 3).collect();
    Images::from_f32(shape, pixels)
        .unwrap()
        .with_labels(labels, 3)
        .unwrap()
}

/// One of each kind of network, loss and penalty.
fn games() -> Vec<Gan> {
    let conv = |norm, upsample| ConvGenerator {
        noise: 3,
        base: 2,
        base_channels: 4,
        channels: vec![3],
        upsample,
        norm,
    };
    let critic = ConvDiscriminator {
        base: 2,
        channels: vec![3, 4],
        ..ConvDiscriminator::default()
    };
    let base = Gan {
        generator: conv(Norm::None, Upsample::Resize).into(),
        discriminator: critic.clone().into(),
        batch: 4,
        ..Gan::default()
    };
    let silu = MlpDiscriminator {
        hidden: vec![6],
        activation: Activation::Silu,
        spectral: false,
    };
    vec![
        base.clone(),
        Gan {
            generator: conv(Norm::Pixel, Upsample::Transposed).into(),
            discriminator: ConvDiscriminator {
                spectral: true,
                ..critic
            }
            .into(),
            loss: Loss::Hinge,
            penalty: Penalty::R1 { gamma: 1.0 },
            augment: Some(Augment::default()),
            ..base.clone()
        },
        Gan {
            generator: ResidualGenerator {
                noise: 3,
                base: 2,
                channels: vec![3, 4],
            }
            .into(),
            discriminator: ResidualDiscriminator {
                base: 2,
                channels: vec![3, 4],
                spectral: false,
            }
            .into(),
            conditional: Conditional::Auxiliary { weight: 1.0 },
            ..base.clone()
        },
        Gan {
            generator: MlpGenerator {
                noise: 3,
                hidden: vec![5],
                ..MlpGenerator::default()
            }
            .into(),
            discriminator: silu.into(),
            loss: Loss::Wasserstein,
            penalty: Penalty::GradientPenalty {
                weight: 10.0,
                target: 1.0,
            },
            pac: 2,
            conditional: Conditional::None,
            ..base
        },
    ]
}

/// Losses of three steps and the pixels of a sheet.
fn play(gan: &Gan, device: &Device) -> Vec<f32> {
    let mut trainer = gan.trainer(&images(), device).unwrap();
    let mut numbers = Vec::new();
    for _ in 0..3 {
        let report = trainer.step().unwrap();
        numbers.extend([
            report.discriminator_loss,
            report.generator_loss,
            report.penalty,
        ]);
    }
    let model = trainer.into_model();
    // Through a file, read back on the same device.
    let model = refrain_gan::GanModel::from_bytes(model.to_bytes().unwrap(), device).unwrap();
    numbers.extend_from_slice(model.sheet(2, 1).unwrap().pixels());
    numbers
}

#[test]
fn every_device_agrees_with_flex() {
    let flex = refrain_core::device("flex").unwrap();
    for gan in games() {
        let expected = play(&gan, &flex);
        for name in refrain_core::devices()
            .into_iter()
            .filter(|name| *name != "flex")
        {
            let found = play(&gan, &refrain_core::device(name).unwrap());
            assert_eq!(found.len(), expected.len());
            for (i, (a, b)) in expected.iter().zip(&found).enumerate() {
                assert!(
                    (a - b).abs() <= TOLERANCE * (1.0 + a.abs()),
                    "{name}, {gan:?}, number {i}: {a} on flex, {b}"
                );
            }
        }
    }
}
