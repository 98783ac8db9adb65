//! What training refuses, and where it ends.

use super::*;

#[test]
fn what_cannot_be_is_refused_before_training() {
    let images = halves(12);
    let refused = |gan: Gan| gan.trainer(&images, &cpu()).unwrap_err().to_string();
    let mixing = ConvDiscriminator {
        channels: vec![4],
        batch_spread: true,
        ..Default::default()
    };
    let mut gan = Gan {
        discriminator: mixing.into(),
        ..tiny()
    };
    let message = refused(gan.clone());
    assert!(
        message.starts_with("penalty: ") && message.contains("batch_spread"),
        "{message}"
    );
    gan.penalty = Penalty::None;
    gan.trainer(&images, &cpu()).unwrap().step().unwrap();
    assert!(refused(Gan { pac: 2, ..tiny() }).contains("conditional"));
    let packs = Gan {
        pac: 16,
        batch: 16,
        conditional: Conditional::None,
        ..tiny()
    };
    assert!(refused(packs).contains("12 images"));
    let values = Images::values(ImageShape::square(1, 2), vec![0.0, 1.0, 2.0, 0.5]).unwrap();
    let error = tiny().trainer(&values, &cpu()).unwrap_err();
    assert!(matches!(error, Error::Pixel { position: 2, .. }), "{error}");
    assert!(Images::values(ImageShape::square(1, 1), vec![f32::NAN]).is_err());
    let matching = Gan {
        loss: Loss::FeatureMatching,
        ..tiny()
    };
    assert!(refused(matching.clone()).contains("know no class"));
    let auxiliary = Gan {
        conditional: Conditional::Auxiliary { weight: 1.0 },
        ..matching
    };
    auxiliary.trainer(&images, &cpu()).unwrap().step().unwrap();
    let huge = |channels: usize| ConvDiscriminator {
        channels: vec![channels; 2],
        ..Default::default()
    };
    let gan = Gan {
        discriminator: huge(1 << 16).into(),
        ..tiny()
    };
    let message = refused(gan);
    assert!(
        message.starts_with("discriminator: ") && message.contains("weights"),
        "{message}"
    );
    let steep = ConvDiscriminator {
        activation: Activation::LeakyRelu { slope: f64::NAN },
        ..huge(4)
    };
    let gan = Gan {
        discriminator: steep.into(),
        ..tiny()
    };
    assert!(refused(gan).starts_with("discriminator.activation.slope: "));
    let many = halves(12).with_labels(vec![0; 12], usize::MAX);
    assert!(matches!(many, Err(Error::Class(_))));
}

#[test]
fn divergence_is_an_error() {
    let images = halves(10);
    let adam = Adam {
        rate: 1e30,
        ..Adam::default()
    };
    let gan = Gan {
        generator_adam: adam,
        discriminator_adam: adam,
        epochs: 9,
        ..tiny()
    };
    let mut trainer = gan.trainer(&images, &cpu()).unwrap();
    let error = trainer.run(&Monitor::silent()).unwrap_err();
    assert!(matches!(error, Error::Diverged { .. }), "{error}");
    assert!(error.to_string().contains("_adam.rate"), "{error}");
    // What is left of such a game is neither played on nor saved.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.refrain");
    for error in [
        trainer.step().unwrap_err(),
        trainer.save(&path).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Broken { .. }), "{error}");
    }
    assert!(!path.exists());
}

#[test]
fn more_images_than_there_is_memory_for_are_refused() {
    let gan = Gan {
        epochs: 1,
        ..tiny()
    };
    let model = gan.fit(&halves(10), &cpu()).unwrap();
    let latent = model.latent(Some(0), 1).unwrap();
    for count in [usize::MAX, 1 << 61, 1 << 50] {
        for result in [
            model.sample(count, 1),
            model.sheet(count, 1),
            model.sample_truncated(count, 1.0, 1),
            model.interpolate(&latent, &latent, count),
            model.interpolate_straight(&latent, &latent, count),
            Mixture::ring().sample(count, 1),
            halves(2).stacked(count, 1),
        ] {
            let error = result.unwrap_err();
            assert!(error.to_string().starts_with("count: "), "{error}");
        }
        for (height, width) in [(count, 1), (1, count), (count, count)] {
            let error = halves(2).resized(height, width).unwrap_err();
            assert!(error.to_string().starts_with("size: "), "{error}");
        }
    }
    let many = halves(2).select(&[0; 1 << 15]); // 2^47 values at the longest sides
    let error = many.resized(1 << 16, 1 << 16).unwrap_err();
    assert!(error.to_string().starts_with("size: "), "{error}");
    let roll = PianoRoll {
        tracks: 1 << 16,
        bars: 1 << 16,
        steps: 1 << 16,
        lowest: 0,
        keys: 128,
    };
    let error = roll.image(&[]).unwrap_err();
    assert!(error.to_string().starts_with("roll: "), "{error}");
}
