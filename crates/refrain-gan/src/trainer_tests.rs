//! Tests of training steps and batches.

use super::*;
use crate::params::{host, weights};
use crate::{ConvDiscriminator, ConvGenerator, ImageShape, Penalty};

fn bits(module: &impl Module) -> Vec<u32> {
    let values = weights(module)
        .into_iter()
        .flat_map(|w| host(w.values).unwrap());
    values.map(f32::to_bits).collect()
}

/// Six images of two classes, and networks of one small layer.
fn small() -> (Images, Gan) {
    let pixels = (0..6 * 16).map(|i| (i % 7) as f32 / 6.0).collect();
    let images = Images::from_f32(ImageShape::square(1, 4), pixels)
        .unwrap()
        .with_labels(vec![0, 1, 0, 1, 0, 1], 2)
        .unwrap();
    let gan = Gan {
        generator: ConvGenerator {
            noise: 3,
            channels: vec![4],
            ..Default::default()
        }
        .into(),
        discriminator: ConvDiscriminator {
            channels: vec![4],
            ..Default::default()
        }
        .into(),
        ..Gan::default()
    };
    (images, gan)
}

#[test]
fn each_network_learns_alone() {
    let (images, gan) = small();
    let mut trainer = gan
        .trainer(&images, &refrain_core::device("cpu").unwrap())
        .unwrap();
    let mut rng = stream(1, Purpose::Step, 0);
    let (generator, discriminator) = (bits(&trainer.generator), bits(&trainer.discriminator));
    assert_eq!(bits(&trainer.average), generator);

    let real = trainer
        .discriminator_step(0, &mut rng, &mut StepReport::default())
        .unwrap();
    assert_eq!(bits(&trainer.generator), generator);
    let learnt = bits(&trainer.discriminator);
    assert!(
        learnt.iter().zip(&discriminator).all(|(a, b)| a != b),
        "a weight stood still"
    );

    trainer
        .generator_step(Some(real), &mut rng, &mut StepReport::default())
        .unwrap();
    assert_eq!(bits(&trainer.discriminator), learnt);
    let moved = bits(&trainer.generator);
    assert!(
        moved.iter().zip(&generator).all(|(a, b)| a != b),
        "a weight stood still"
    );
    assert_eq!(bits(&trainer.average), generator); // follows at the end of a step

    // The discriminator can learn again after it was held fixed.
    trainer
        .discriminator_step(0, &mut rng, &mut StepReport::default())
        .unwrap();
    assert!(bits(&trainer.discriminator) != learnt);
}

#[test]
fn a_clipped_discriminator_keeps_within_its_limit() {
    let (images, gan) = small();
    let gan = Gan {
        loss: Loss::Wasserstein,
        penalty: Penalty::WeightClip { limit: 0.01 },
        ..gan
    };
    let mut trainer = gan
        .trainer(&images, &refrain_core::device("cpu").unwrap())
        .unwrap();
    let largest = |module: &Discriminator| {
        let values = weights(module)
            .into_iter()
            .flat_map(|w| host(w.values).unwrap());
        values.fold(0f32, |most, v| most.max(v.abs()))
    };
    assert!(largest(&trainer.discriminator) > 0.02, "nothing to clip");
    let mut rng = stream(1, Purpose::Step, 0);
    trainer
        .discriminator_step(0, &mut rng, &mut StepReport::default())
        .unwrap();
    assert_eq!(largest(&trainer.discriminator), 0.01); // none beyond, some at it
}

#[test]
fn batches_cover_an_epoch_without_repeats() {
    let pixels: Vec<f32> = (0..10).map(|i| i as f32 / 10.0).collect();
    let images = Images::from_f32(ImageShape::square(1, 1), pixels.clone()).unwrap();
    let gan = Gan {
        batch: 3,
        ..Gan::default()
    };
    let mut trainer = gan
        .trainer(&images, &refrain_core::device("cpu").unwrap())
        .unwrap();
    for pass in 0..3 {
        let mut seen: Vec<f32> = (0..3)
            .flat_map(|i| trainer.real(3 * pass + i).pixels().to_vec())
            .collect();
        seen.sort_by(f32::total_cmp);
        seen.dedup();
        assert_eq!(seen.len(), 9);
    }
}

#[test]
fn a_game_whose_epoch_could_not_be_measured_is_not_saved() {
    let (images, gan) = small();
    let device = refrain_core::device("cpu").unwrap();
    let mut trainer = gan.trainer(&images, &device).unwrap();
    assert_eq!(trainer.steps_per_epoch(), 1);
    let other = Images::from_f32(ImageShape::square(3, 4), vec![0.5; 96]).unwrap();
    trainer.reference = Reference::new(&other, 1).unwrap();
    let failed = trainer.step().unwrap_err();
    assert!(!matches!(failed, Error::Broken { .. }), "{failed}");
    assert_eq!((trainer.steps(), trainer.history().len()), (0, 0));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("game.refrain");
    for error in [
        trainer.save(&path).unwrap_err(),
        trainer.step().unwrap_err(),
    ] {
        assert!(matches!(error, Error::Broken { step: 1 }), "{error}");
    }
    assert!(!path.exists());
}
