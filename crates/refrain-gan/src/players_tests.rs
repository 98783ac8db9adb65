use super::*;
use crate::Upsample;
use crate::params::{host, tensor};
use crate::random::normal;

fn generators() -> Vec<GeneratorConfig> {
    let conv = |upsample| ConvGenerator {
        noise: 3,
        base_channels: 2,
        channels: vec![3, 2],
        upsample,
        ..ConvGenerator::default()
    };
    vec![
        MlpGenerator {
            noise: 3,
            hidden: vec![4, 5],
            ..MlpGenerator::default()
        }
        .into(),
        conv(Upsample::Resize).into(),
        conv(Upsample::Transposed).into(),
        ResidualGenerator {
            noise: 3,
            channels: vec![2, 3, 3],
            ..ResidualGenerator::default()
        }
        .into(),
    ]
}

fn discriminators(spectral: bool) -> Vec<DiscriminatorConfig> {
    vec![
        MlpDiscriminator {
            hidden: vec![4, 5],
            spectral,
            ..MlpDiscriminator::default()
        }
        .into(),
        ConvDiscriminator {
            channels: vec![2, 3],
            spectral,
            batch_spread: true,
            ..ConvDiscriminator::default()
        }
        .into(),
        ResidualDiscriminator {
            channels: vec![2, 3, 3],
            spectral,
            ..ResidualDiscriminator::default()
        }
        .into(),
    ]
}

#[test]
fn every_size_is_painted_and_judged_by_every_network() {
    let device = refrain_core::device("cpu").unwrap();
    for (height, width) in [(1, 1), (2, 3), (5, 5), (8, 8), (12, 7), (28, 28)] {
        for (channels, classes) in [(1, 0), (3, 4)] {
            let image = ImageShape {
                channels,
                height,
                width,
            };
            let class = (classes > 0).then(|| Tensor::<4>::ones([2, classes, 1, 1], &device));
            for config in generators() {
                let g = config.build(image, classes, 1, &device);
                assert_eq!(
                    config.weights(image, classes),
                    Some(g.num_params()),
                    "{config:?}"
                );
                let noise = Tensor::<4>::ones([2, 3, 1, 1], &device);
                let images = g.forward(noise, class.clone());
                assert_eq!(images.dims(), [2, channels, height, width], "{config:?}");
            }
            for conditional in [
                Conditional::Projection,
                Conditional::Auxiliary { weight: 1.0 },
            ] {
                for (config, pac) in discriminators(classes > 0)
                    .iter()
                    .flat_map(|d| [(d, 1), (d, 2)])
                {
                    let task = Task {
                        image,
                        classes: if pac > 1 { 0 } else { classes },
                        conditional,
                        pac,
                        output: Output::Brightness,
                    };
                    let d = config.build(&task, 1, &device);
                    assert_eq!(config.weights(&task), Some(d.num_params()), "{config:?}");
                    let images = Tensor::<4>::ones([2, channels, height, width], &device);
                    let class = class.clone().filter(|_| pac == 1);
                    let judged = d.judge(images, class);
                    assert_eq!(judged.logits.dims(), [2 / pac]);
                    let named = judged.classes.map(|c| c.dims());
                    let auxiliary = conditional != Conditional::Projection && task.classes > 0;
                    assert_eq!(named, auxiliary.then_some([2, classes]));
                }
            }
        }
    }
}

#[test]
fn first_activations_are_neither_tiny_nor_huge() {
    let device = refrain_core::device("cpu").unwrap();
    let image = ImageShape::square(1, 16);
    let networks: [(GeneratorConfig, DiscriminatorConfig); 3] = [
        (
            MlpGenerator::default().into(),
            MlpDiscriminator::default().into(),
        ),
        (
            ConvGenerator::default().into(),
            ConvDiscriminator::default().into(),
        ),
        (
            ResidualGenerator::default().into(),
            ResidualDiscriminator::default().into(),
        ),
    ];
    for (generator, discriminator) in networks {
        let noise = normal(&mut stream(3, Purpose::Step, 0), 64 * 64);
        let noise = tensor(noise, &device).reshape([64, 64, 1, 1]);
        let images = generator.build(image, 0, 5, &device).forward(noise, None);
        let pixels = host(images.clone().reshape([64 * 256])).unwrap();
        let mean = pixels.iter().sum::<f32>() / pixels.len() as f32;
        let spread = pixels.iter().map(|p| (p - mean).powi(2)).sum::<f32>() / pixels.len() as f32;
        assert!((0.005..0.24).contains(&spread), "{generator:?}: {spread}");
        let task = Task {
            image,
            classes: 0,
            conditional: Conditional::None,
            pac: 1,
            output: Output::Brightness,
        };
        let logits = discriminator
            .build(&task, 5, &device)
            .judge(images, None)
            .logits;
        let spread: f32 = logits.var(0).sqrt().try_into_scalar().unwrap();
        assert!((0.02..5.0).contains(&spread), "{discriminator:?}: {spread}");
    }
}

#[test]
fn widths_that_cannot_be_are_refused() {
    let zero = ConvGenerator {
        noise: 0,
        ..ConvGenerator::default()
    };
    let message = GeneratorConfig::from(zero).check().unwrap_err().to_string();
    assert_eq!(message, "generator.noise: must be at least 1");
    let huge = MlpDiscriminator {
        hidden: vec![4, 1 << 40],
        ..MlpDiscriminator::default()
    };
    assert!(DiscriminatorConfig::from(huge).check().is_err());
    let none = ResidualGenerator {
        channels: vec![],
        ..ResidualGenerator::default()
    };
    assert!(GeneratorConfig::from(none).check().is_err());
    let vast = ImageShape::square(usize::MAX, usize::MAX);
    for config in generators() {
        assert_eq!(config.weights(vast, usize::MAX), None, "{config:?}");
    }
}
